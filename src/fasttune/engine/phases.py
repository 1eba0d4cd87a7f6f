"""Where each trial is on its way, beside the status that its records give it.

The journal knows five statuses; between two of them a trial may be handed out and not begun, decided about and not answered, paused
and still alive. Such a phase is kept here, for those trials alone: every other one is where its status says.

    waiting, shelved -> handed out -> (START) running
    running -> deciding -> (CONTINUE) running
                        -> (PAUSE) answering -> pausing -> (PAUSED) alive -> leaving -> (saved, discarded) shelved
                                                pausing -> returning early -> (PAUSED) returning
                                                           alive, leaving -> returning -> (RESUMED) running
                                                                             returning -> (no room) alive, leaving
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

NAMES = (
    "waiting", "running", "shelved", "over",
    "handed out", "deciding", "answering", "pausing", "returning early", "alive", "leaving", "returning",
)  # fmt: skip
WAITING, RUNNING, SHELVED, OVER = 0, 1, 2, 3  # what a status alone says
HANDED = 4  # an executor has it, and it is not known to have begun
DECIDING = 5  # its report waits, and is being decided about
ANSWERING = 6  # PAUSE was decided; what it is to do first is found out
PAUSING = 7  # it was answered PAUSE, and is not known to be paused
EARLY = 8  # likewise, and it was chosen again already
ALIVE = 9  # paused, and its code lives
LEAVING = 10  # likewise, and it saves, to be put away then
RETURNING = 11  # paused, alive, chosen again, and not known to have gone on

AT_REST = {"PENDING": WAITING, "RUNNING": RUNNING, "PAUSED": SHELVED, "TERMINATED": OVER, "ERROR": OVER}
STATUSES = {
    HANDED: ("PENDING", "PAUSED"), DECIDING: ("RUNNING",), ANSWERING: ("RUNNING",), PAUSING: ("RUNNING",), EARLY: ("RUNNING",),
    ALIVE: ("PAUSED",), LEAVING: ("PAUSED",), RETURNING: ("PAUSED",),
}  # fmt: skip
STEPS = {
    WAITING: (HANDED,), SHELVED: (HANDED,), RUNNING: (DECIDING,), OVER: (), HANDED: (), DECIDING: (ANSWERING,),
    ANSWERING: (PAUSING,), PAUSING: (EARLY, ALIVE), EARLY: (PAUSING, RETURNING), ALIVE: (LEAVING, RETURNING),
    LEAVING: (RETURNING,), RETURNING: (ALIVE, LEAVING),
}  # fmt: skip
HANDED_OUT = (HANDED, EARLY, RETURNING)
CHOSEN = {WAITING: HANDED, SHELVED: HANDED, PAUSING: EARLY, ALIVE: RETURNING, LEAVING: RETURNING}
TAKEN_BACK = {EARLY: PAUSING, RETURNING: ALIVE}  # else it is where its status says; and one that was leaving is so again
BEING_PAUSED = (ANSWERING, PAUSING, EARLY)
UNANSWERED = (DECIDING, ANSWERING)
SHOWN = {  # in which status those who look find it, where its own is not what is on the way there
    HANDED: "RUNNING", EARLY: "RUNNING", RETURNING: "RUNNING", ANSWERING: "PAUSED", PAUSING: "PAUSED",
}  # fmt: skip
LIVING = (ALIVE, LEAVING, RETURNING)


class IllegalStepError(AssertionError):
    """A trial was to be where it cannot come to from where it is: a mistake of the machine's, with the trial's story."""


class Phases:
    """``status_of`` gives a trial's status, ``story_of`` what the journal tells of it; ``show`` is told in which status a trial
    is to be shown (SHOWN), None: in its own again."""

    def __init__(
        self, status_of: Callable[[int], str], story_of: Callable[[int], str], show: Callable[[int, str | None], None]
    ) -> None:
        self._status_of = status_of
        self._story_of = story_of
        self._show = show
        self._of: dict[int, int] = {}
        self._were_leaving: set[int] = set()  # of those that return
        self._in: dict[int, dict[int, None]] = {phase: {} for phase in STATUSES}  # by phase, the longest in it first

    def of(self, trial: int) -> int:
        """Where a trial is."""
        phase = self._of.get(trial)
        return AT_REST[self._status_of(trial)] if phase is None else phase

    def is_in(self, trial: int, phases: Collection[int]) -> bool:
        """Whether it is in one of these, which no status says."""
        return self._of.get(trial, WAITING) in phases

    def those_in(self, phases: Iterable[int]) -> list[int]:
        """The trials that are in one of these, by number."""
        return sorted(trial for phase in phases for trial in self._in[phase])

    def count(self, phases: Iterable[int]) -> int:
        """How many are in one of these."""
        return sum([len(self._in[phase]) for phase in phases])

    def step(self, trial: int, phase: int) -> None:
        """The trial goes on to that phase. IllegalStepError if it cannot from where it is."""
        now = self.of(trial)
        if phase not in STEPS[now]:
            raise IllegalStepError(
                f"trial {trial} is {NAMES[now]} ({self._status_of(trial)}), and was to be {NAMES[phase]}; its story: "
                f"{self._story_of(trial)}"
            )
        self._move(trial, phase)

    def choose(self, trial: int) -> None:
        """It is handed out."""
        self.step(trial, CHOSEN.get(self.of(trial), HANDED))

    def take_back(self, trial: int) -> bool:
        """It was handed out, and will not begin: it is where it was. Whether it was handed out."""
        phase = self._of.get(trial)
        if phase not in HANDED_OUT:
            return False
        before = LEAVING if trial in self._were_leaving else TAKEN_BACK.get(phase)
        if before is None:
            self.rest(trial)
        else:
            self.step(trial, before)
        return True

    def rest(self, trial: int) -> int | None:
        """It is where its status says; the phase that it was in before, if that was another one."""
        phase = self._leave(trial)
        if phase in SHOWN:
            self._show(trial, None)
        return phase

    def _leave(self, trial: int) -> int | None:
        self._were_leaving.discard(trial)
        phase = self._of.pop(trial, None)
        if phase is not None:
            del self._in[phase][trial]
        return phase

    def _move(self, trial: int, phase: int) -> None:
        before = self._leave(trial)
        self._of[trial] = phase
        self._in[phase][trial] = None
        if phase == RETURNING and before == LEAVING:
            self._were_leaving.add(trial)
        shown = SHOWN.get(phase)
        if shown != SHOWN.get(WAITING if before is None else before):
            self._show(trial, shown)

    def validate(self) -> None:
        """IllegalStepError if a trial is where its status does not let it be. For tests, between two turns."""
        assert self._of == {trial: phase for phase, trials in self._in.items() for trial in trials}
        for trial, phase in self._of.items():
            status = self._status_of(trial)
            if status not in STATUSES[phase] or phase in UNANSWERED:
                story = self._story_of(trial)
                raise IllegalStepError(f"trial {trial} is {NAMES[phase]} between two turns, and {status}; its story: {story}")
