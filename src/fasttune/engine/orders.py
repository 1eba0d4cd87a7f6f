"""What a scheduler has ordered about other trials, until it is done; and which paused trials still live in memory.

Both are told what happened, and give the steps that follow from it: values, which ``ExperimentState.carry_out`` does one by one,
each before the next is asked for. They look at the experiment and act on nothing. What cannot be done yet waits here for the
record that it needs (PAUSED, CHECKPOINT), never in the loop.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fasttune.engine.instructions import Discard, SaveNow
from fasttune.engine.phases import (
    ALIVE,
    BEING_PAUSED,
    HANDED_OUT,
    LEAVING,
    LIVING,
    PAUSING,
    RETURNING,
    RUNNING,
    UNANSWERED,
    Phases,
)
from fasttune.error import TuneError
from fasttune.once import warn_in_run
from fasttune.schedulers.base import Change, End, Save

if TYPE_CHECKING:
    from fasttune import _core
    from fasttune.trial import Trial

OVER = ("TERMINATED", "ERROR")

Point = tuple[str, int, float]  # directory or name in memory of a checkpoint, iteration, seconds so far


class Remove(NamedTuple):
    """Step: a trial that does not run is over."""

    trial: int


class ChangeTo(NamedTuple):
    """Step: a trial that waits, or is paused, goes on otherwise, from the checkpoint that was ``found``."""

    trial: int
    change: Change
    found: Point | None


class AskToSave(NamedTuple):
    """Step: a trial saves where it is, if it can; see :meth:`Orders.save`."""

    trial: int


class Hold(NamedTuple):
    """Step: a checkpoint stays, whatever the rule says, until it is let go."""

    path: str


class LetGo(NamedTuple):
    """Step: what was held may go."""

    path: str


Step = Remove | ChangeTo | AskToSave | Hold | LetGo | SaveNow | Discard


class OrderSource(Protocol):
    """What is looked at of the experiment."""

    @property
    def live(self) -> bool: ...  # not an earlier session that is replayed
    @property
    def phases(self) -> Phases: ...
    @property
    def table(self) -> _core.TrialTable: ...
    @property
    def trials(self) -> Sequence[Trial]: ...
    def status(self, i: int) -> str: ...
    def saves_when_told(self, i: int) -> bool: ...
    def saves_rows(self, i: int) -> bool: ...
    def has_present_checkpoint(self, i: int) -> bool: ...
    def start_point(self, i: int) -> Point | None: ...


class Orders:
    """Orders that wait.

    saving   trials that were told to save, until their CHECKPOINT record is there
    due      those of them that run: they save with their next answer
    changes  trials that go on otherwise once they are paused and the donor has saved; nobody may choose them until then
    ends     trials that are over as soon as they are paused
    points   where those of ``changes`` go on that copy another trial: the donor's checkpoint as the scheduler knew it,
             however far the donor has come since; it stays until then
    """

    def __init__(self, known: OrderSource, scheduler: str) -> None:
        self._known = known
        self._scheduler = scheduler  # whose orders these are, for people
        self.saving: set[int] = set()
        self.due: set[int] = set()
        self.changes: dict[int, Change] = {}
        self.ends: set[int] = set()
        self.points: dict[int, tuple[str, int, float] | None] = {}
        self._wait_for: dict[int, set[int]] = {}  # donor -> trials whose change waits for its checkpoint
        self._warned = False

    def take(self, order: Any) -> Iterator[Step]:
        """What the scheduler has ordered: done as far as that can be had now."""
        if not isinstance(order, Save | End | Change):
            raise TuneError(f"{self._scheduler}.orders() must return Save, End or Change orders, got {order!r:.80}")
        i = order.trial.index
        if self._known.table.status(i) in OVER:
            return  # it ended meanwhile
        if isinstance(order, Save):
            yield from self.save(i)
        elif isinstance(order, End):
            yield from self._end(i)
        else:
            yield from self._change(i, order)

    def blocks(self, i: int) -> bool:
        """Trial i may not be chosen: something else is going to happen to it."""
        return i in self.changes or i in self.ends

    # -- saving --------------------------------------------------------------------------------------------------------

    def save(self, i: int) -> Iterator[Step]:
        """Trial i saves where it is now, if it is one that saves when it is told to, and has not done so."""
        known = self._known
        if not known.live or i in self.saving or not known.saves_when_told(i) or known.has_present_checkpoint(i):
            return
        phase = known.phases.of(i)
        if phase == RUNNING and known.saves_rows(i):  # its call stands still as soon as the loop is heard
            self.saving.add(i)
            yield SaveNow(i)
        elif phase in (RUNNING, *UNANSWERED, *HANDED_OUT):
            self.saving.add(i)
            self.due.add(i)
        elif phase in (PAUSING, ALIVE, LEAVING):
            self.saving.add(i)
            yield SaveNow(i)

    def takes_due(self, i: int) -> bool:
        """Whether trial i, which is answered now, is to save first."""
        if i not in self.due:
            return False
        self.due.discard(i)
        return True

    def saved(self, i: int) -> Iterator[Step]:
        """A checkpoint of trial i is there. In a journal that is replayed: it is what those wait for who were to copy it."""
        if self._known.live:
            if i not in self.due:
                yield from self._done(i)
            return
        for waiting, change in self.changes.items():
            if change.donor is not None and change.donor.index == i:
                yield from self._has_point(waiting, i)

    def _done(self, i: int) -> Iterator[Step]:
        self.saving.discard(i)
        self.due.discard(i)
        for waiting in sorted(self._wait_for.pop(i, ())):
            yield from self._settle(waiting)

    # -- ends and changes ----------------------------------------------------------------------------------------------

    def _end(self, i: int) -> Iterator[Step]:
        known = self._known
        if known.phases.is_in(i, BEING_PAUSED):
            self.ends.add(i)
        elif not known.live:
            self.ends.add(i)  # the journal holds its end, or it is done when all has been replayed
        elif known.status(i) == "RUNNING":
            raise TuneError(
                f"{self._scheduler} ordered the end of {known.trials[i]}, which is RUNNING: End is for trials that are "
                "PENDING or PAUSED; a running one is stopped by the answer to its report"
            )
        else:
            yield Remove(i)

    def _change(self, i: int, change: Change) -> Iterator[Step]:
        known = self._known
        if change.resources is not None:
            from fasttune.devices.resources import resolve_resources

            change = change._replace(resources=resolve_resources(change.resources))
        if known.live and known.status(i) == "RUNNING":
            raise TuneError(
                f"{self._scheduler} ordered a change of {known.trials[i]}, which is RUNNING: answer its report with "
                "PAUSE first"
            )
        self.changes[i] = change
        if known.live:
            yield from self._settle(i)
        elif change.donor is not None:
            donor = change.donor.index
            if not known.saves_when_told(donor) or known.has_present_checkpoint(donor):
                yield from self._has_point(i, donor)  # as it is at this place of the journal: the donor went on

    def _settle(self, i: int) -> Iterator[Step]:
        """The change of trial i, if nothing has to happen before."""
        known, change = self._known, self.changes.get(i)
        if change is None:
            return
        if change.donor is not None and not (yield from self._has_point(i, change.donor.index)):
            return
        if known.phases.is_in(i, BEING_PAUSED):
            return
        if change.donor is None:
            yield from self.save(i)  # it goes on from where it is
        if i in self.saving:
            self._wait_for.setdefault(i, set()).add(i)
            return
        del self.changes[i]
        found = known.start_point(i) if change.donor is None else self.points[i]
        if found is None and (change.donor is not None or known.table.iteration(i)):
            self._warn(i, i if change.donor is None else change.donor.index)
        else:
            yield ChangeTo(i, change, found)
        yield from self._forget_point(i)

    def _has_point(self, i: int, donor: int) -> Generator[Step, None, bool]:
        """Whether the donor has saved what trial i goes on from; if not, its checkpoint is waited for."""
        if i not in self.points:
            if self._known.saves_rows(donor):  # it is in step with who copies it: where it is now, not where it saved last
                yield from self.save(donor)
            if donor in self.saving:
                self._wait_for.setdefault(donor, set()).add(i)
                return False
            self.points[i] = found = self._known.start_point(donor)
            if found is not None:
                yield Hold(found[0])
        return True

    def _forget_point(self, i: int) -> Iterator[Step]:
        found = self.points.pop(i, None)
        if found is not None:
            yield LetGo(found[0])

    def _warn(self, i: int, source: int) -> None:
        """Say, once, that a change could not be carried out. A class saves when it is told to: if it has not, it was
        killed before it could, and there is nothing that its user should change."""
        if self._warned or self._known.saves_when_told(source):
            return
        self._warned = True

        trials = self._known.trials
        whose = f"{trials[source]} has" if source != i else "it has"
        warn_in_run(
            f"{trials[i]} was to go on from a checkpoint, and {whose} none: it stays as it was. A function must report "
            "checkpoints (tune.report(..., checkpoint=...)) for a scheduler that lets trials copy one another or "
            "changes them. This is said once",
            RuntimeWarning,
            stacklevel=2,
        )

    # -- what happened -------------------------------------------------------------------------------------------------

    def paused(self, i: int) -> Iterator[Step]:
        """Trial i is paused."""
        if i in self.ends:
            self.ends.discard(i)
            yield Remove(i)
        else:
            yield from self._settle(i)

    def started(self, i: int) -> Iterator[Step]:
        """Trial i runs; a change that the journal does not have was not to be."""
        self.changes.pop(i, None)
        yield from self._forget_point(i)

    def changed(self, i: int) -> Iterator[Step]:
        """The journal holds the change of trial i, and the checkpoint that it goes on from is in use."""
        self.changes.pop(i, None)
        if not self._known.live:
            yield from self._forget_point(i)

    def over(self, i: int) -> Iterator[Step]:
        """Trial i has ended, has failed, or its process has died."""
        self.ends.discard(i)
        yield from self._done(i)

    def ended(self, i: int) -> Iterator[Step]:
        """Trial i will not go on."""
        self.changes.pop(i, None)
        yield from self._forget_point(i)
        yield from self.over(i)

    def validate(self) -> None:
        """AssertionError if orders stand for trials that they cannot be carried out for."""
        assert self.due <= self.saving, (self.due, self.saving)
        table = self._known.table
        for i in (*self.saving, *self.changes, *self.ends):
            assert table.status(i) not in OVER, (i, table.status(i))
        assert self.points.keys() <= self.changes.keys(), (self.points, self.changes)

    def after_replay(self) -> Iterator[Step]:
        """What was ordered in an earlier session and not done any more."""
        table = self._known.table
        for i in sorted(self.ends):
            self.ends.discard(i)
            if table.status(i) not in OVER:
                yield Remove(i)
        for i in sorted(self.changes):
            if table.status(i) in ("PENDING", "PAUSED"):
                yield from self._settle(i)
        self.changes.clear()
        for i in list(self.points):
            yield from self._forget_point(i)


class PausedTrials:
    """Paused trials whose code lives on, the longest paused first; at most ``most``, as far as that can be had.

    One that has a checkpoint at its present iteration, or can save one, is put away when there are too many: its code is
    left, and it goes on from its checkpoint when it is chosen.
    """

    def __init__(self, known: OrderSource, most: int) -> None:
        self._known = known
        self._most = most
        self._can_go: dict[int, None] = {}

    def paused(self, i: int) -> Iterator[Step]:
        """Trial i was paused where it is."""
        phases = self._known.phases
        phases.step(i, ALIVE)
        self.back(i)
        while phases.count((ALIVE, RETURNING)) > self._most:
            first = next((j for j in self._can_go if not phases.is_in(j, HANDED_OUT)), None)
            if first is None:
                return
            del self._can_go[first]
            if self._known.has_present_checkpoint(first):
                yield from self.leave(first)
            else:
                phases.step(first, LEAVING)
                yield AskToSave(first)

    def back(self, i: int) -> None:
        """Trial i is paused where it is, perhaps after all: it may be put away, if it can go on from a checkpoint."""
        known = self._known
        if known.phases.of(i) == ALIVE and (known.saves_when_told(i) or known.has_present_checkpoint(i)):
            self._can_go.setdefault(i)

    def saved(self, i: int) -> Iterator[Step]:
        """Trial i has saved."""
        if self._known.phases.of(i) == LEAVING:
            yield from self.leave(i)

    def leave(self, i: int) -> Iterator[Step]:
        """Trial i goes on from a checkpoint, or not at all: its code is left, if it lives."""
        if self.gone(i):
            yield Discard(i)

    def gone(self, i: int) -> bool:
        """Trial i is where its status says; whether it was paused here, and its code lived."""
        self._can_go.pop(i, None)
        return self._known.phases.rest(i) in LIVING
