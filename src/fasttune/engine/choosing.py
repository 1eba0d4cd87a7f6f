"""Which trial is begun or gone on with next: a block of fresh ones, one that waits, or one that the scheduler chooses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fasttune.engine.instructions import Span
from fasttune.engine.phases import ALIVE, BEING_PAUSED, HANDED, HANDED_OUT, LEAVING, NAMES, PAUSING, SHOWN, Phases
from fasttune.error import TuneError

if TYPE_CHECKING:
    from fasttune import _core
    from fasttune.engine.configs import Configs
    from fasttune.engine.orders import Orders
    from fasttune.hook_times import HookTimes
    from fasttune.schedulers.base import TrialScheduler
    from fasttune.schedulers.view import ExperimentView
    from fasttune.trial import Trial

LOOKAHEAD = 200  # trials a scheduler that chooses may choose from


class Next(NamedTuple):
    """A trial that was chosen; whether its code lives, so that it goes on where it is."""

    trial: int
    alive: bool


class Choosable(Protocol):
    """What is asked of the experiment."""

    configs: Configs
    phases: Phases
    orders: Orders
    scheduler: TrialScheduler
    view: ExperimentView
    times: HookTimes
    chooses: bool  # the scheduler says which trial runs

    @property
    def table(self) -> _core.TrialTable: ...
    @property
    def trials(self) -> Sequence[Trial]: ...
    @property
    def exhausted(self) -> bool: ...
    @property
    def gives_blocks(self) -> bool: ...
    def __len__(self) -> int: ...
    def suggest(self, n: int) -> bool: ...
    def hear_orders(self) -> None: ...


class Choosing:
    """Trials that wait for a worker.

    Attributes:
        waiting: Trials to be run again: retries, and what a resumed run left. Where a scheduler chooses, nobody waits here.
    """

    def __init__(self, experiment: Choosable) -> None:
        self._experiment = experiment
        self.waiting: OrderedDict[int, None] = OrderedDict()  # a queue that knows at once who is in it
        self._fresh_from = 0  # trials from here on that exist have not been handed out
        self._aside: set[int] = set()  # chosen this turn, and could not be run
        self._asking = False  # the scheduler is being asked

    def all_are_known(self) -> None:
        """Those that exist wait, or are not run: fresh ones are still to be suggested."""
        self._fresh_from = len(self._experiment)

    # -- who is next --------------------------------------------------------------------------------------------------

    def next_span(self, n: int) -> Span | None:
        """Up to n trials that were never started, for an executor that computes configs itself."""
        experiment = self._experiment
        if self._fresh_from >= len(experiment):
            experiment.suggest(n)
        while self._fresh_from < len(experiment) and experiment.table.status(self._fresh_from) != "PENDING":
            self._fresh_from += 1
        first = self._fresh_from
        chunk = experiment.configs.chunk_of(first) if first < len(experiment) else None
        if chunk is None:
            return None
        limit = min(first + n, chunk.first + chunk.n)
        self._fresh_from = limit
        return Span(first, limit - first)

    def next(self, together: int = 1) -> Next | None:
        """A retry, what the scheduler chooses, or a fresh one; ``together`` are suggested if there is none. None: nothing now."""
        experiment = self._experiment
        if experiment.chooses:
            return self._chosen(together)
        if self.waiting:
            return Next(self.waiting.popitem(last=False)[0], False)
        if self._fresh_from >= len(experiment) and not experiment.suggest(together):
            return None
        self._fresh_from += 1
        return Next(self._fresh_from - 1, False)

    def wait(self, i: int) -> None:
        """Trial i is to be run again, behind those that wait already."""
        self.waiting.setdefault(i)

    def put_back(self, i: int, begins: bool) -> None:
        """There was no room for this trial after all. A scheduler that chooses may choose another one this turn."""
        if self._experiment.chooses:
            self._experiment.phases.take_back(i)
            self._aside.add(i)
        elif begins:
            self.waiting[i] = None
            self.waiting.move_to_end(i, last=False)

    def drop(self, i: int) -> None:
        """Trial i is over: it waits no more."""
        self.waiting.pop(i, None)

    def end_turn(self) -> None:
        """What could not be run this turn may be chosen again in the next one."""
        self._aside.clear()

    def _chosen(self, together: int) -> Next | None:
        experiment, phases = self._experiment, self._experiment.phases
        if not experiment.exhausted and not self.trials_of("PENDING", 1):
            experiment.suggest(LOOKAHEAD if experiment.gives_blocks else together)
        while (trial := self._ask()) is not None:
            i = trial.index
            if i in self._aside:
                return None  # it insists on what cannot be run now
            status = self.status(i)
            if status not in ("PENDING", "PAUSED"):
                raise TuneError(
                    f"{type(experiment.scheduler).__name__}.choose_trial_to_run() chose {trial}, which is {status}: "
                    "only PENDING and PAUSED trials can be run"
                )
            if experiment.orders.blocks(i):
                self._aside.add(i)
                continue
            alive = phases.of(i) in (PAUSING, ALIVE, LEAVING)
            phases.choose(i)
            return Next(i, alive)
        return None

    def _ask(self) -> Trial | None:
        experiment = self._experiment
        table, orders, phases = experiment.table, experiment.orders, experiment.phases
        hidden = phases.count(HANDED_OUT) + len(self._aside) + len(orders.changes) + len(orders.ends)
        if table.pending + table.paused + phases.count(BEING_PAUSED) <= hidden - len(self._aside & orders.changes.keys()):
            return None
        self._asking = True
        try:
            trial = experiment.times.call(experiment.scheduler.choose_trial_to_run, experiment.view)
        finally:
            self._asking = False
        experiment.hear_orders()
        return trial

    def out(self) -> list[int]:
        """Trials that run or were handed out, as far as is known, and that are not about to be paused."""
        experiment = self._experiment
        table, phases = experiment.table, experiment.phases
        running = [i for i in table.of_status("RUNNING") if not phases.is_in(i, BEING_PAUSED)]
        if experiment.chooses:
            return [*running, *phases.those_in((HANDED,))]
        return [*running, *[i for i in table.of_status("PENDING") if i < self._fresh_from and i not in self.waiting]]

    # -- what a scheduler is shown ------------------------------------------------------------------------------------

    def status(self, i: int) -> str:
        """As the journal has it, and what is on the way there: a trial that was handed out is RUNNING, one that was
        answered PAUSE is PAUSED. While the scheduler chooses, what cannot be run now is RUNNING to it."""
        experiment = self._experiment
        if experiment.phases.is_in(i, HANDED_OUT) or (self._asking and (i in self._aside or experiment.orders.blocks(i))):
            return "RUNNING"
        return "PAUSED" if experiment.phases.is_in(i, BEING_PAUSED) else experiment.table.status(i)

    def trials_of(self, status: str, most: int = -1) -> list[Trial]:
        """The first ``most`` trials of such a status, by number; all with -1. What is on the way to another status the table
        knows (Phases tells it), and steps over: a scheduler is asked for each trial, and thousands may be handed out."""
        experiment = self._experiment
        if status == "RUNNING" or not self._asking:
            hidden: set[int] = set()
        else:
            hidden = {*self._aside, *experiment.orders.changes, *experiment.orders.ends}
        found = experiment.table.shown_in(status, most if most < 0 else most + len(hidden))
        if hidden:
            found = [i for i in found if i not in hidden]
        return [experiment.trials[i] for i in (found if most < 0 else found[:most])]

    def validate(self) -> None:
        """AssertionError if the table shows a trial elsewhere than where it is on its way. For tests, between two turns."""
        phases, table = self._experiment.phases, self._experiment.table
        for shown in dict.fromkeys(SHOWN.values()):
            found = set(table.shown_in(shown))
            for phase, status in SHOWN.items():
                astray = [i for i in phases.those_in((phase,)) if (i in found) != (status == shown)]
                assert not astray, f"trials {astray} are {NAMES[phase]}, and {'not ' * (status == shown)}shown as {shown}"
            own = found.symmetric_difference(table.of_status(shown))
            strange = [i for i in own if phases.of(i) not in SHOWN]
            assert not strange, f"trials {strange} are shown in another status than their own"
