"""One call of a vectorized function: its generator, if it is one, and the rows that are its trials.

A step is: the function says columns, they are reported as one record, and where the loop is asked, the answers come. Then
rows *settle*: those that have ended leave; paused ones leave, too, and are held by their state, unless they have been resumed by
then; others come. What the next ``yield`` gives (:class:`~fasttune.vectors.Rows`) says which rows are left.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from fasttune import _core
from fasttune.error import StopTrial, TuneError
from fasttune.executors.row_states import Held, HeldRows, indices, rows_of
from fasttune.failure import stored_exception, stored_text
from fasttune.once import warn_in_run
from fasttune.row_trees import check_rows
from fasttune.session import missing_metric
from fasttune.space.config_columns import ConfigColumns, joined
from fasttune.trainable import vector_of
from fasttune.vectors import MetricColumns, Rows, apart, metric_columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.executors.vector_host import VectorHost

STOPPED, BY_ITSELF = 1, 2  # as RowReporter.end has it
AHEAD_OF_FREE = 8  # with refill: this share of the rows may be free before the loop is asked for more
NOTHING = object()  # the state of a function that has yielded none


@dataclass
class Paused:
    """A row whose trial was paused at the last step."""

    row: int
    at: float
    ask_from: int | None = None  # it has been resumed, and is asked from this step on
    dropped: bool = False  # it is left for good, or goes on elsewhere


class CannotHoldError(TuneError):
    """Rows are paused, and nobody knows their state: a mistake of the run's, no failure of trials."""


class VectorCall:
    """One call of a function.

    Attributes:
        refill: new trials take the places of those that end.
        waits: rows whose answer the loop owes, by trial.
        paused: rows whose trials were paused at the last step, by trial.
        saved: checkpoints that are the state of a row at the last step.
    """

    def __init__(self, host: VectorHost, experiment: int, columns: ConfigColumns, state: Any) -> None:
        one = host.program.trainables[experiment]
        self._host = host
        self._rows = host.rows
        self._function = one.trainable
        self._name = one.name
        self.experiment = experiment
        self._columns = columns
        self._given = state
        self._takes_state = host.takes_state[experiment]
        self._size = min(host.sizes[experiment], vector_of(one.trainable).size)
        self.refill = vector_of(one.trainable).refill
        self._generator: GeneratorType[Any, Any, Any] | None = None
        self._over = False  # the function has returned
        self._tell: Rows | None = None  # what the next yield gives
        self.waits: dict[int, int] = {}
        self.paused: dict[int, Paused] = {}
        self._gone = 0  # rows that have ended or are paused, and were not resumed: asked for with each trial, so it is counted
        self.saved: dict[str | bytes, int] = {}
        self._state: Any = NOTHING
        self._ends: Any = None  # per row, whether it has ended by its last report; None: none has
        self._told_here: Any = None  # those of them whose end is told
        self._called = False
        self._spoilt: BaseException | None = None  # what went wrong when a row was saved

    def tell_begun(self) -> None:
        """A step may take long: who looks sees these trials run."""
        told = 0
        while (told := self._rows.tell_begun(told)) < len(self._rows):
            self._host.flush()

    @property
    def going_on(self) -> int:
        """How many rows the next step has, as far as is known, without those that come."""
        return len(self._rows) - self._gone

    @property
    def owes_ends(self) -> bool:
        """Rows have ended by an answer, and that was not told yet."""
        return self._ends is not None and bool((self._ends & ~self._told_here).any())

    # -- a step --------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """What follows on the answers to the last step, before the next one."""
        if self._spoilt is not None:
            raise self._spoilt
        host = self._host
        if not self._called:
            return
        may_grow = not self._over and (
            (self.refill and len(self._rows) < self._size) or (len(self._rows) < self._size and host.returns(self.experiment))
        )
        if self._ends is not None or self.paused or may_grow:
            self._sort_out()

    @property
    def is_left(self) -> bool:
        """It has no rows any more."""
        return self._called and not len(self._rows)

    @property
    def has_returned(self) -> bool:
        """The function says nothing more."""
        return self._over

    def finish(self, said: Any) -> bool:
        """The rest of a step: ``said`` is what the function has said; None: it says nothing more. False: the call is over."""
        if said is not None:
            self._report(said)
            if self.waits:
                return True
        elif not self._over:
            metric_columns(said, len(self._rows))  # which says what is wanted
        if self._over:
            self._end_all(BY_ITSELF)
            return False
        return True

    def say(self) -> Any:
        """What the function says next; None at the end of a generator that returns nothing. The user's code, and nothing else: perhaps
        in another thread."""
        self.saved.clear()
        self._state = NOTHING
        with self._host.users_code():
            try:
                if not self._called:
                    self._called = True
                    given, self._given = self._given, None
                    more = {"state": given} if self._takes_state else {}
                    value = self._function(self._columns.nested(), **more)
                    if not isinstance(value, GeneratorType):
                        self._over = True
                        return {} if value is None else value
                    self._generator = value
                    return next(value)
                assert self._generator is not None
                tell, self._tell = self._tell, None
                return self._generator.send(tell)
            except StopIteration as end:
                self._over, self._generator = True, None
                return end.value

    def _report(self, said: Any) -> None:
        import numpy as np

        rows, host = self._rows, self._host
        n = len(rows)
        with host.users_code():
            told = apart(said)
            found = metric_columns(told.metrics, n, rows.reporter.metric)
            found = MetricColumns(*host.program.constraints.columns(*found))
            if told.has_state:
                check_rows(told.state, n)
                self._state = told.state
        for row in host.take_stops(self._trials):
            rows.ask_stop(row)
        self._save_by_count()
        decisions = np.zeros(n, dtype=np.int8)
        done = rows.report(found.keys, found.kinds, found.columns, decisions, 0, self._over)
        while 0 <= done < n:
            host.flush()
            done = rows.report(found.keys, found.kinds, found.columns, decisions, done, self._over)
        if done == _core.MISSING:
            raise missing_metric(rows.reporter.metric, found.keys)
        if host.program.durable:
            host.until_stored()
        if rows.answers == 1 << _core.CONTINUE:  # nobody was stopped, and nobody is to be asked about
            if self._over:
                self._save_ended(np.arange(n))
                rows.keep(indices(()))
            return
        asked = np.flatnonzero(decisions == _core.WAIT)
        if len(asked):
            trials = self._trials()
            self.waits = {int(trials[row]): int(row) for row in asked}
        self._ends = decisions == _core.STOP if not self._over else decisions != _core.WAIT
        self._told_here = self._ends.copy()  # these have ended with their report
        self._gone = int(self._ends.sum())
        self._save_ended(np.flatnonzero(self._ends))

    def _trials(self) -> NDArray[np.uint32]:
        import numpy as np

        return np.frombuffer(self._rows.numbers("trial"), dtype=np.uint32)

    def _steps(self) -> NDArray[np.int64]:
        import numpy as np

        return np.frombuffer(self._rows.numbers("step"), dtype=np.uint32).astype(np.int64)

    # -- saving --------------------------------------------------------------------------------------------------------

    def _save_by_count(self) -> None:
        """Rows that save with every so manieth report, which comes now."""
        frequency = self._host.program.checkpoint_frequency
        if frequency > 0 and self._takes_state:
            import numpy as np

            for row in np.flatnonzero((self._steps() + 1) % frequency == 0).tolist():
                self._save(row, ahead=1)

    def _save_ended(self, rows: NDArray[np.int64]) -> None:
        program = self._host.program
        if program.checkpoint_at_end and self._takes_state:
            for row in rows.tolist():
                if not program.checkpoint_frequency or self._rows.told(row)[1] % program.checkpoint_frequency:
                    self._save(row)

    def _save(self, row: int, ahead: int = 0) -> None:
        """Save the state of a row at its last report, or at the one that comes (``ahead`` 1)."""
        host = self._host
        trial, step = self._rows.told(row)
        saved: str | bytes
        if self._takes_state:
            with host.users_code():
                saved = host.checkpoints.keep(rows_of(self._known_state(), [row]), host.who(trial))
        else:
            saved = host.checkpoints.mark(trial, step)
        host.write_checkpoint(trial, step + ahead, saved)
        self.saved[saved if isinstance(saved, bytes) else f"{host.program.path}/{saved}"] = row

    def _known_state(self) -> Any:
        if self._state is NOTHING:
            raise TuneError(
                f"{self._name} has a parameter `state`, and said no state with its metrics, which its trials could go on from: "
                "`yield metrics, state`"
            )
        return self._state

    def save_now(self, trial: int) -> bool:
        """A trial saves, if it is a row that has reported and not ended. Whether it is."""
        import numpy as np

        if not self._called:
            return False
        for row in np.flatnonzero(self._trials() == trial).tolist():
            if self._ends is None or not self._ends[row]:
                self._try_to_save(row)
                return True
        return False

    def _try_to_save(self, row: int) -> None:
        """What goes wrong is the failure of the call, as soon as that goes on."""
        try:
            self._save(row)
        except Exception as error:
            self._spoilt = error

    # -- answers -------------------------------------------------------------------------------------------------------

    def answer(self, trial: int, decision: int, ask_from: int, save: bool) -> None:
        row = self.waits.pop(trial, None)
        if row is None:
            return
        if save:
            self._try_to_save(row)
        if decision == _core.PAUSE:
            step = self._rows.told(row)[1]
            self._host.until(lambda: self._host.ring.write(_core.KIND_PAUSED, trial, step, b"", 0, False))
            self.paused[trial] = Paused(row, time.monotonic())
            self._gone += 1
        elif decision == _core.STOP:
            self._ends[row] = True
            self._gone += 1
        else:
            self._rows.ask_again_from(row, ask_from)

    def resume(self, trial: int, ask_from: int) -> None:
        self.paused[trial].ask_from = ask_from
        self._gone -= 1

    def discard(self, trial: int) -> None:
        one = self.paused.get(trial)
        if one is not None:
            self._gone += one.ask_from is not None
            one.dropped, one.ask_from = True, None

    def withdraw(self) -> list[int]:
        """Paused trials that were resumed, and have not gone on yet, stay where they are."""
        resumed = [trial for trial, one in self.paused.items() if one.ask_from is not None]
        for trial in resumed:
            self.paused[trial].ask_from = None
        self._gone += len(resumed)
        return resumed

    # -- rows leave, and come ------------------------------------------------------------------------------------------

    def _sort_out(self) -> None:
        """Rows that have ended or are paused leave, others may come."""
        import numpy as np

        rows, host = self._rows, self._host
        n, self._gone = len(rows), 0
        ends = np.zeros(n, dtype=np.bool_) if self._ends is None else self._ends
        if self._ends is not None:
            answered = (ends & ~self._told_here).astype(np.int8)  # by the loop: their end is told now
            self._ends = None
            if answered.any():
                host.end(answered)
                self._save_ended(np.flatnonzero(answered))
        stays = ~ends
        if self.paused:
            stays[self._put_aside()] = False
        kept = np.flatnonzero(stays)
        rows.keep(kept)
        if self._over:
            return
        parts = [self._columns.take(kept) if len(kept) < n else self._columns]
        free = self._size - len(rows)
        coming = host.take_returning(self.experiment, free, self) if free > 0 and host.returns(self.experiment) else None
        if coming:
            parts += coming.columns
        fresh = self._take_fresh(parts) if self.refill and len(rows) < self._size else 0
        if not len(rows):
            self._columns = ConfigColumns({}, 0)
            return
        if coming or fresh or len(kept) < n:
            self._columns = joined([part for part in parts if part.n])
            copied, n_saved, saved = ([], 0, None) if not coming else (coming.copied, coming.n_saved, coming.saved)
            index = np.concatenate([kept, indices(copied), np.full(n_saved + fresh, -1, dtype=np.int64)])
            self._tell = Rows(index, self._columns, self._steps(), saved, n_saved)

    def _take_fresh(self, parts: list[ConfigColumns]) -> int:
        host, rows = self._host, self._rows
        more = host.take_fresh(self.experiment, self._size - len(rows))
        if more.n:
            parts.append(more)
            if host.is_slow:
                self.tell_begun()
        if (self._size - len(rows)) * AHEAD_OF_FREE >= self._size:
            host.wants_more()
        return more.n

    def _put_aside(self) -> NDArray[np.int64]:
        """Paused trials leave the call, but for those that go on already. Their rows."""
        rows, host = self._rows, self._host
        paused, self.paused = self.paused, {}
        for one in paused.values():
            if one.ask_from is not None:
                away = time.monotonic() - one.at
                host.until(lambda one=one, away=away: rows.go_on(one.row, away, one.ask_from))  # type: ignore[misc]
        held = {trial: one for trial, one in paused.items() if one.ask_from is None and not one.dropped}
        if held:
            at = indices(one.row for one in held.values())
            block = HeldRows(self.experiment, None if self._over else self._aside(at), self._columns.take(at))
            for k, (trial, one) in enumerate(held.items()):
                host.hold(trial, Held(block, k, rows.life(one.row), one.at, rows.told(one.row)[1]), self._over)
        return indices(one.row for one in paused.values() if one.ask_from is None)

    def _aside(self, rows: NDArray[np.int64]) -> Any:
        if not self._takes_state:
            raise CannotHoldError(str(self._host.refuse_to_hold(self.experiment, len(rows))))
        with self._host.users_code():
            return rows_of(self._known_state(), rows)

    def is_of_the_run(self, error: BaseException) -> bool:
        """Whether it is no failure of these trials."""
        return (self._host.in_loop and isinstance(error, KeyboardInterrupt | CannotHoldError)) or self._host.is_broken()

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _end_all(self, how: int) -> None:
        """The function has returned: what is left of its trials has ended."""
        import numpy as np

        if self._ends is not None or self.paused:
            self._sort_out()
        if len(self._rows):
            self._host.end(np.full(len(self._rows), how, dtype=np.int8))

    def fail(self, error: BaseException) -> None:
        """The function, or what it said, has failed: with it all trials that are left, also those that are paused in it and whose
        state nobody has. One has the whole story."""
        import numpy as np

        self._spoilt = None
        self.waits.clear()
        if self._state is NOTHING:
            self.paused.clear()
        if self._ends is not None or self.paused:
            self._ends = self._told_here if self._ends is not None else None
            was_over, self._over = self._over, False
            self._sort_out_for_failure(was_over)
        self._over = True
        if isinstance(error, StopTrial):
            self._end_all(STOPPED)
            return
        self.tell_begun()  # a trial fails that has begun
        text, pickled = stored_text(error), stored_exception(error)
        trials, prefix = self._trials(), self._host.program.prefix
        last = text.rstrip().rpartition(b"\n")[2]
        others = b"%s\nIt failed in the call that it was part of; its traceback is that of trial %s_%05d." % (
            last, prefix.encode(), int(trials[0]) if len(trials) else 0
        )  # fmt: skip
        for row in range(len(trials)):
            told, with_it = (text, pickled) if row == 0 else (others, b"")
            self._host.until(lambda row=row, told=told, with_it=with_it: self._rows.fail(row, told, with_it))  # type: ignore[misc]
        self._rows.keep(np.empty(0, dtype=np.int64))
        self.leave()

    def _sort_out_for_failure(self, over: bool) -> None:
        """Those that have ended, and those that are paused and whose state is known, are none of those that fail."""
        import numpy as np

        stays = np.ones(len(self._rows), dtype=np.bool_) if self._ends is None else ~self._ends
        self._ends, self._over = None, over
        if self.paused:
            try:
                stays[self._put_aside()] = False
            except Exception:  # a state that has no such rows: it is what has failed
                self.paused.clear()
        self._rows.keep(np.flatnonzero(stays))

    def leave(self) -> None:
        """Nobody asks for the next step: the generator's ``finally`` blocks run. What is wrong there is no fault of trials, which
        have ended, or of the run."""
        generator, self._generator = self._generator, None
        if generator is None:
            return
        try:
            with self._host.users_code():
                generator.close()
        except StopTrial:
            return
        except Exception as error:
            warn_in_run(
                f"the generator of {self._name} was closed, and raised {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=2,
            )


def no_rows() -> Any:
    import numpy as np

    return np.empty(0, dtype=np.int64)
