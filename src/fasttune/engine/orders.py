"""What a scheduler has ordered about other trials, until it is done; and which paused trials still live in memory.

Both belong to one ExperimentState, which tells them what happened; they answer with its instructions and entries. What
cannot be done yet waits here for the record that it needs (PAUSED, CHECKPOINT), never in the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
)
from fasttune.error import TuneError
from fasttune.schedulers.base import Change, End, Save

if TYPE_CHECKING:
    from fasttune.engine.state import ExperimentState

OVER = ("TERMINATED", "ERROR")


class Orders:
    """Orders that wait.

    saving   trials that were told to save, until their CHECKPOINT record is there
    due      those of them that run: they save with their next answer
    changes  trials that go on otherwise once they are paused and the donor has saved; nobody may choose them until then
    ends     trials that are over as soon as they are paused
    points   where those of ``changes`` go on that copy another trial: the donor's checkpoint as the scheduler knew it,
             however far the donor has come since; it stays until then
    """

    def __init__(self, state: ExperimentState) -> None:
        self._state = state
        self.saving: set[int] = set()
        self.due: set[int] = set()
        self.changes: dict[int, Change] = {}
        self.ends: set[int] = set()
        self.points: dict[int, tuple[str, int, float] | None] = {}
        self._wait_for: dict[int, set[int]] = {}  # donor -> trials whose change waits for its checkpoint
        self._warned = False

    def hear(self) -> None:
        """Take what the scheduler orders, after one of its hooks."""
        while orders := self._state.times.call(self._state.scheduler.orders):
            for order in orders:
                self._take(order)

    def _take(self, order: Any) -> None:
        if not isinstance(order, Save | End | Change):
            raise TuneError(f"{self._scheduler}.orders() must return Save, End or Change orders, got {order!r:.80}")
        i = order.trial.index
        if self._state.table.status(i) in OVER:
            return  # it ended meanwhile
        if isinstance(order, Save):
            self.save(i)
        elif isinstance(order, End):
            self._end(i)
        else:
            self._change(i, order)

    @property
    def _scheduler(self) -> str:
        return type(self._state.scheduler).__name__

    def blocks(self, i: int) -> bool:
        """Trial i may not be chosen: something else is going to happen to it."""
        return i in self.changes or i in self.ends

    # -- saving --------------------------------------------------------------------------------------------------------

    def save(self, i: int) -> None:
        """Trial i saves where it is now, if it is a class Trainable that has not done so."""
        state = self._state
        if not state.live or i in self.saving or not state.is_class(i) or state.has_present_checkpoint(i):
            return
        phase = state.phases.of(i)
        if phase in (RUNNING, *UNANSWERED, *HANDED_OUT):
            self.saving.add(i)
            self.due.add(i)
        elif phase in (PAUSING, ALIVE, LEAVING):
            self.saving.add(i)
            state.tell_to_save(i)

    def takes_due(self, i: int) -> bool:
        """Whether trial i, which is answered now, is to save first."""
        if i not in self.due:
            return False
        self.due.discard(i)
        return True

    def saved(self, i: int) -> None:
        """A checkpoint of trial i is there."""
        if i not in self.due:
            self._done(i)

    def _done(self, i: int) -> None:
        self.saving.discard(i)
        self.due.discard(i)
        for waiting in sorted(self._wait_for.pop(i, ())):
            self._settle(waiting)

    def saved_before(self, i: int) -> None:
        """The journal that is replayed has a checkpoint of trial i: what those wait for who were to copy it."""
        for waiting, change in self.changes.items():
            if change.donor is not None and change.donor.index == i:
                self._has_point(waiting, i)

    # -- ends and changes ----------------------------------------------------------------------------------------------

    def _end(self, i: int) -> None:
        state = self._state
        if state.phases.is_in(i, BEING_PAUSED):
            self.ends.add(i)
        elif not state.live:
            self.ends.add(i)  # the journal holds its end, or it is done when all has been replayed
        elif state.status(i) == "RUNNING":
            raise TuneError(
                f"{self._scheduler} ordered the end of {state.trials[i]}, which is RUNNING: End is for trials that are "
                "PENDING or PAUSED; a running one is stopped by the answer to its report"
            )
        else:
            state.remove(i)

    def _change(self, i: int, change: Change) -> None:
        state = self._state
        if change.resources is not None:
            from fasttune.devices.resources import resolve_resources

            change = change._replace(resources=resolve_resources(change.resources))
        if state.live and state.status(i) == "RUNNING":
            raise TuneError(
                f"{self._scheduler} ordered a change of {state.trials[i]}, which is RUNNING: answer its report with "
                "PAUSE first"
            )
        self.changes[i] = change
        if state.live:
            self._settle(i)
        elif change.donor is not None:
            donor = change.donor.index
            if not state.is_class(donor) or state.has_present_checkpoint(donor):
                self._has_point(i, donor)  # as it is at this place of the journal: the donor went on

    def _settle(self, i: int) -> None:
        """Carry the change of trial i out, if nothing has to happen before."""
        state, change = self._state, self.changes.get(i)
        if change is None or (change.donor is not None and not self._has_point(i, change.donor.index)):
            return
        if state.phases.is_in(i, BEING_PAUSED):
            return
        if change.donor is None:
            self.save(i)  # it goes on from where it is
        if i in self.saving:
            self._wait_for.setdefault(i, set()).add(i)
            return
        del self.changes[i]
        found = state.start_point(i) if change.donor is None else self.points[i]
        if found is None and (change.donor is not None or state.table.iteration(i)):
            self._warn(i, i if change.donor is None else change.donor.index)
        else:
            state.change(i, change, found)
        self._forget_point(i)

    def _has_point(self, i: int, donor: int) -> bool:
        """Whether the donor has saved what trial i goes on from; if not, its checkpoint is waited for."""
        if i not in self.points:
            if donor in self.saving:
                self._wait_for.setdefault(donor, set()).add(i)
                return False
            self.points[i] = found = self._state.start_point(donor)
            if found is not None:
                self._state.kept.hold(found[0])
        return True

    def _forget_point(self, i: int) -> None:
        found = self.points.pop(i, None)
        if found is not None:
            self._state.kept.let_go(found[0])

    def _warn(self, i: int, source: int) -> None:
        """Say, once, that a change could not be carried out. A class saves when it is told to: if it has not, it was
        killed before it could, and there is nothing that its user should change."""
        if self._warned or self._state.is_class(source):
            return
        self._warned = True
        import warnings

        trials = self._state.trials
        whose = f"{trials[source]} has" if source != i else "it has"
        warnings.warn(
            f"{trials[i]} was to go on from a checkpoint, and {whose} none: it stays as it was. A function must report "
            "checkpoints (tune.report(..., checkpoint=...)) for a scheduler that lets trials copy one another or "
            "changes them. This is said once",
            RuntimeWarning,
            stacklevel=2,
        )

    # -- what happened -------------------------------------------------------------------------------------------------

    def paused(self, i: int) -> None:
        """Trial i is paused."""
        if i in self.ends:
            self.ends.discard(i)
            self._state.remove(i)
        else:
            self._settle(i)

    def started(self, i: int) -> None:
        """Trial i runs; a change that the journal does not have was not to be."""
        self.changes.pop(i, None)
        self._forget_point(i)

    def changed(self, i: int) -> None:
        """The journal holds the change of trial i, and the checkpoint that it goes on from is in use."""
        self.changes.pop(i, None)
        if not self._state.live:
            self._forget_point(i)

    def over(self, i: int) -> None:
        """Trial i has ended, has failed, or its process has died."""
        self.ends.discard(i)
        self._done(i)

    def ended(self, i: int) -> None:
        """Trial i will not go on."""
        self.changes.pop(i, None)
        self._forget_point(i)
        self.over(i)

    def validate(self) -> None:
        """AssertionError if orders stand for trials that they cannot be carried out for."""
        assert self.due <= self.saving, (self.due, self.saving)
        table = self._state.table
        for i in (*self.saving, *self.changes, *self.ends):
            assert table.status(i) not in OVER, (i, table.status(i))
        assert self.points.keys() <= self.changes.keys(), (self.points, self.changes)

    def after_replay(self) -> None:
        """Carry out what was ordered in an earlier session and not done any more."""
        for i in sorted(self.ends):
            self.ends.discard(i)
            if self._state.table.status(i) not in OVER:
                self._state.remove(i)
        for i in sorted(self.changes):
            if self._state.table.status(i) in ("PENDING", "PAUSED"):
                self._settle(i)
        self.changes.clear()
        for i in list(self.points):
            self._forget_point(i)


class Shelf:
    """Paused trials whose code lives on, the longest paused first; at most ``most``, as far as that can be had.

    One that has a checkpoint at its present iteration, or can save one, is put away when there are too many: its code is
    left, and it goes on from its checkpoint when it is chosen.
    """

    def __init__(self, state: ExperimentState, most: int) -> None:
        self._state = state
        self._most = most
        self._can_go: dict[int, None] = {}

    def paused(self, i: int) -> None:
        """Trial i was paused where it is."""
        state, phases = self._state, self._state.phases
        phases.step(i, ALIVE)
        self.back(i)
        while phases.count((ALIVE, RETURNING)) > self._most:
            first = next((j for j in self._can_go if not state.is_handed(j)), None)
            if first is None:
                return
            del self._can_go[first]
            if state.has_present_checkpoint(first):
                self._put_away(first)
            else:
                phases.step(first, LEAVING)
                state.orders.save(first)

    def back(self, i: int) -> None:
        """Trial i is paused where it is, perhaps after all: it may be put away, if it can go on from a checkpoint."""
        state = self._state
        if state.phases.of(i) == ALIVE and (state.is_class(i) or state.has_present_checkpoint(i)):
            self._can_go.setdefault(i)

    def saved(self, i: int) -> None:
        """Trial i has saved."""
        if self._state.phases.of(i) == LEAVING:
            self._put_away(i)

    def _put_away(self, i: int) -> None:
        self.gone(i)
        self._state.tell_to_discard(i)

    def gone(self, i: int) -> bool:
        """Trial i is where its status says; whether it was paused here, and its code lived."""
        self._can_go.pop(i, None)
        return self._state.phases.rest(i) in LIVING
