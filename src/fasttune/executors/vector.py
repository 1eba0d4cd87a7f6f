"""Many trials in one call, in this process: for functions made by ``tune.vectorized``.

A call has up to ``size`` trials, its rows. What they report at a step is one record (``_core.RowReporter``), decided there
where the scheduler's rule is compiled; where the loop has to be asked, the call waits until all rows that were asked about have
their answers. Rows that end are left out of the next step; with ``refill`` others take their places. A generator stands
still between two steps, so nothing here waits inside the user's code.

The ring is a memory-mapped file of the experiment's folder, as a worker's: reports survive this process as well.
"""

from __future__ import annotations

import math
import mmap
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import GeneratorType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from fasttune import _core
from fasttune.error import StopTrial, TuneError
from fasttune.executors.base import Batch, Death, Executor, ExecutorSite, Job, Program, ProgramTrainable
from fasttune.executors.ring_file import map_file, remove_ring, taken
from fasttune.failure import stored_exception, stored_text
from fasttune.folder import RINGS
from fasttune.nesting import stay_in
from fasttune.session import missing_metric
from fasttune.space.config_columns import NOTHING_KNOWN, ConfigColumns, drawn, gathered, joined
from fasttune.trainable import vector_of
from fasttune.vectors import Rows, metric_columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RING_BYTES = 1 << 24
UNSEEN_S = 0.01  # where steps are shorter, nobody sees that trials run before they report
SLICE_S = 0.02  # how long calls go on before the loop gets its turn
STOPPED, BY_ITSELF = 1, 2  # as RowReporter.end has it
AHEAD_OF_FREE = 8  # with refill: this share of the rows may be free before the loop is asked for more


class VectorExecutor(Executor):
    """Evaluates up to ``limit`` trials at once in this process."""

    name = "vector"
    here = True
    same_process = True

    @classmethod
    def at(cls, place: ExecutorSite) -> Self:
        return cls(place.folder, place.limit, place.usage(), place.first_source)

    def __init__(self, folder: str, limit: int, usage: str, source: int = 1) -> None:
        self._path = os.path.join(folder, RINGS, f"{source}.ring")
        self._source = source
        self._limit = limit
        self._usage = usage
        self._spans: deque[tuple[int, int, int, int]] = deque()  # experiment, first, limit, shift
        self._jobs: deque[Job] = deque()
        self._call: Call | None = None
        self._to_stop: set[int] = set()
        self._grant = 0  # trials to have ready for one slice
        self._hungry = False  # rows are free, and nothing is here to take them
        self._asked = self._dry = False  # for trials; and none came
        self._pace = math.inf  # seconds of the last step
        self._broken: BaseException | None = None  # raised by the loop within a call
        self._leaves_files = False
        self._memory: mmap.mmap | None = None
        self._users_code = UsersCode(os.getpid())

    def open(
        self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        check(program)
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        self._memory = map_file(self._path, _core.Ring.nbytes(RING_BYTES))
        self.ring = _core.Ring(self._memory, create=True, epoch=epoch)
        self.program = program
        self._drain = drain
        reporter = program.reporter(self.ring, rule)
        self._sizes = [max(1, min(vector_of(one.trainable).size, self._limit)) for one in program.trainables]
        self.rows = _core.RowReporter(reporter, max(self._sizes), os.getpid())

    # -- work ----------------------------------------------------------------------------------------------------------

    @property
    def _queued(self) -> int:
        return len(self._jobs) + sum(limit - first for _, first, limit, _ in self._spans)

    def room(self) -> int:
        if self._call is not None and not self._call.refill:
            return 0  # the next call begins when this one is over
        experiment = 0 if self._call is None else self._call.experiment
        size = self._sizes[experiment]
        whole = -(-self._grant // size) * size  # calls with all their rows
        suggested = self.program.trainables[experiment].variants is None  # by who learns: none before they are needed
        if self._call is None:
            free = size if suggested else max(size, whole)
        else:
            free = size - len(self.rows) + (0 if suggested else size // AHEAD_OF_FREE)
        self._asked = True
        return max(0, free - self._queued)

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        self._spans.append((experiment, first, first + n, first - local))

    def start(self, job: Job) -> bool:
        if job.checkpoint is not None:
            raise TuneError("a vectorized function has no checkpoints, so its trials cannot go on from one: leave restore= out")
        if self.room() <= 0:
            return False
        self._jobs.append(job)
        return True

    def withdraw(self) -> list[int]:
        withdrawn = [job.trial for job in self._jobs]
        self._spans.clear()
        self._jobs.clear()
        return withdrawn

    def resume(self, trial: int, ask_from: int = 0) -> bool:
        raise TuneError(f"trial {trial} is not paused: trials of a vector are not")

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        if self._call is not None:
            self._call.answer(trial, decision, ask_from)

    def save(self, trial: int) -> None:
        """There are no class Trainables here."""

    def discard(self, trial: int) -> None:
        """No trial is paused here."""

    def stop(self, trial: int) -> None:
        self._to_stop.add(trial)

    def kill(self, trial: int) -> None:
        """Nothing can end a call in this process but its function."""

    # -- the turn ------------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Batch]:
        began = time.monotonic()
        self._hungry = False
        self._dry = self._asked and not self._queued
        self._asked = False
        done = 0
        self.in_trial = True
        try:
            with outside_of_trials():
                while not (self._broken or self._hungry or time.monotonic() - began > SLICE_S or self.ring.filled > 0.5):
                    n = self._advance()
                    if n == 0:
                        break
                    done += n
        except StopTrial:
            if self._broken is None:
                raise
        finally:
            self.in_trial = False
        if self._broken is not None:
            raise self._broken
        if self._call is None:
            elapsed = time.monotonic() - began
            self._grant = max(1, min(1 << 16, int(done / max(elapsed, 1e-4) * SLICE_S)))
        return taken(self.ring, self._source)

    def _advance(self) -> int:
        """Do what can be done next; how many rows it was about, 0 when there is nothing."""
        if self._call is None:
            if not self._queued:
                return 0
            self._call = self._begin()
        elif self._call.waits:
            return 0
        call, n, began = self._call, len(self.rows), time.monotonic()
        try:
            goes_on = call.step()
            self._pace = time.monotonic() - began
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or self._broken is not None:
                self._call = None
                raise
            call.fail(error)
            goes_on = False
        if not goes_on:
            self._call = None
            if not self._queued:
                self._to_stop.clear()
        return n

    def _begin(self) -> Call:
        experiment = self._jobs[0].experiment if self._jobs else self._spans[0][0]
        self.rows.keep(_no_rows())
        columns = self.take_rows(experiment, self._sizes[experiment])
        one = self.program.trainables[experiment]
        call = Call(self, one, experiment, columns)
        if self.is_slow:
            call.tell_begun()
        return call

    def take_rows(self, experiment: int, free: int) -> ConfigColumns:
        """Up to ``free`` trials that wait become rows, behind those that there are; their configs."""
        parts: list[ConfigColumns] = []
        one, ask_from = self.program.trainables[experiment], 0 if self.program.asks else _core.NEVER_ASK
        names = one.names or NOTHING_KNOWN
        again: list[dict[str, Any]] = []
        while free and self._jobs and self._jobs[0].experiment == experiment:
            job = self._jobs.popleft()
            again.append(job.config if job.config is not None else one.variants.config(job.local))
            asks = ask_from if job.ask_from is None else job.ask_from
            self.until(lambda job=job, asks=asks: self.rows.begin_again(  # type: ignore[misc]
                job.trial, job.iteration, job.base_total, job.rung, asks, job.changes, *job.standing
            ))  # fmt: skip
            free -= 1
        if again:
            with self.users_code():
                parts.append(gathered(again, names))
        while free and self._spans and self._spans[0][0] == experiment:
            _, first, limit, shift = self._spans.popleft()
            middle = min(limit, first + free)
            if middle < limit:
                self._spans.appendleft((experiment, middle, limit, shift))
            self.rows.begin(first, middle - first, ask_from)
            with self.users_code():
                parts.append(drawn(one.variants, first - shift, middle - first, names))
            free -= middle - first
        return joined(parts) if parts else ConfigColumns({}, 0)

    def users_code(self) -> UsersCode:
        """In the block code of the user's is called."""
        return self._users_code

    @property
    def is_slow(self) -> bool:
        """A step takes so long that who looks shall see that trials run."""
        return self._pace > UNSEEN_S

    def wants_more(self) -> None:
        """Rows are free: the loop is to say what could take them, unless it had nothing when it was asked last."""
        self._hungry = not self._dry

    def take_stops(self, trials: Callable[[], NDArray[np.uint32]]) -> list[int]:
        """Rows of trials that are to stop at their next report."""
        if not self._to_stop:
            return []
        rows = [row for row, trial in enumerate(trials().tolist()) if trial in self._to_stop]
        self._to_stop.clear()
        return rows

    def until(self, done: Callable[[], bool]) -> None:
        """Write what needs room in the ring, which is drained until there is."""
        while not done():
            self.drain_within()

    def drain_within(self) -> None:
        """What goes wrong in the loop is no fault of the trials that it is called from: it is raised behind them."""
        try:
            self._drain()
        except BaseException as error:
            self._broken = error
            if isinstance(error, KeyboardInterrupt):
                raise
            raise StopTrial from error

    def drain_now(self) -> list[Batch]:
        return taken(self.ring, self._source)

    def release(self) -> None:
        self.ring.release()

    def deaths(self) -> list[Death]:
        return []

    @property
    def usage(self) -> str:
        return self._usage

    @property
    def idle(self) -> bool:
        return self._call is None and not self._queued

    def halt(self) -> None:
        if self._memory is None:
            return
        self._spans.clear()
        self._jobs.clear()
        call, self._call = self._call, None
        if call is not None:
            call.leave()

    def leave_files(self) -> None:
        self._leaves_files = True

    def close(self) -> None:
        if self._memory is None:
            return
        self.halt()
        whole = self.ring.released == self.ring.head
        del self.rows, self.ring, self._drain, self.program
        self._memory = None  # unmapped when the last view of it has gone
        if not self._leaves_files:
            remove_ring(self._path, whole)


class Call:
    """One call of a function: its generator, if it is one, and the rows of the executor, which are its trials.

    Attributes:
        refill: new trials take the places of those that end.
        waits: rows whose answer the loop owes.
    """

    def __init__(self, executor: VectorExecutor, one: ProgramTrainable, experiment: int, columns: ConfigColumns) -> None:
        self._executor = executor
        self._rows = executor.rows
        self._function = one.trainable
        self._name = one.name
        self.experiment = experiment
        self._columns = columns
        self._size = vector_of(one.trainable).size
        self.refill = vector_of(one.trainable).refill
        self._generator: GeneratorType[Any, Any, Any] | None = None
        self._over = False  # the function has returned
        self._tell: Rows | None = None  # what the next yield gives
        self.waits: dict[int, int] = {}  # trial -> row
        self._ends: Any = None  # per row, whether it has ended by its last report; None: none has
        self._told_here: Any = None  # those of them whose end is told
        self._called = False

    def tell_begun(self) -> None:
        """A step may take long: who looks sees these trials run."""
        told = 0
        while (told := self._rows.tell_begun(told)) < len(self._rows):
            self._executor.drain_within()

    def step(self) -> bool:
        """The next step, or what follows on the answers to the last one. False: the call is over."""
        may_grow = self.refill and not self._over and self._called and len(self._rows) < self._size
        if (self._ends is not None or may_grow) and not self._sort_out():
            return False
        told = None if self._over else self._next()
        if told is not None:
            self._report(told)
            if self.waits:
                return True
        elif not self._over:
            metric_columns(told, len(self._rows))  # which says what is wanted
        if self._over:
            self._end_all(BY_ITSELF)
            return False
        return True

    def _next(self) -> Any:
        """What the function says next; None at the end of a generator that returns nothing."""
        with self._executor.users_code():
            try:
                if not self._called:
                    self._called = True
                    value = self._function(self._columns.nested())
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

    def _report(self, told: Any) -> None:
        import numpy as np

        rows, executor = self._rows, self._executor
        n = len(rows)
        with executor.users_code():
            found = metric_columns(told, n, rows.reporter.metric)
        for row in executor.take_stops(self._trials):
            rows.ask_stop(row)
        decisions = np.zeros(n, dtype=np.int8)
        done = rows.report(found.keys, found.kinds, found.columns, decisions, 0, self._over)
        while 0 <= done < n:
            executor.drain_within()
            done = rows.report(found.keys, found.kinds, found.columns, decisions, done, self._over)
        if done == _core.MISSING:
            raise missing_metric(rows.reporter.metric, found.keys)
        if executor.program.durable:
            executor.drain_within()
        if rows.answers == 1 << _core.CONTINUE:  # nobody was stopped, and nobody is to be asked about
            if self._over:
                rows.keep(_no_rows())
            return
        asked = np.flatnonzero(decisions == _core.WAIT)
        if len(asked):
            trials = self._trials()
            self.waits = {int(trials[row]): int(row) for row in asked}
        self._ends = decisions == _core.STOP if not self._over else decisions != _core.WAIT
        self._told_here = self._ends.copy()  # these have ended with their report

    def _trials(self) -> NDArray[np.uint32]:
        import numpy as np

        return np.frombuffer(self._rows.numbers("trial"), dtype=np.uint32)

    def answer(self, trial: int, decision: int, ask_from: int) -> None:
        row = self.waits.pop(trial, None)
        if row is None:
            return
        if decision == _core.PAUSE:
            raise TuneError("a trial of a vector goes on with all others: its scheduler cannot answer PAUSE")
        if decision == _core.STOP:
            self._ends[row] = True
        else:
            self._rows.ask_again_from(row, ask_from)

    def _sort_out(self) -> bool:
        """Rows that have ended leave, others may come. False: none is left."""
        import numpy as np

        rows, executor = self._rows, self._executor
        if self._ends is None:
            self._ends = self._told_here = np.zeros(len(rows), dtype=np.bool_)
        ends, here, self._ends = self._ends, self._told_here, None
        answered = (ends & ~here).astype(np.int8)  # by the loop: their end is told now
        if answered.any():
            self._end(answered)
        if self._over:
            rows.keep(np.flatnonzero(~ends))
            return True
        kept = np.flatnonzero(~ends)
        rows.keep(kept)
        columns = self._columns.take(kept) if len(kept) < len(ends) else self._columns
        fresh = 0
        if self.refill and len(rows) < self._size:
            more = executor.take_rows(self.experiment, min(self._size, executor.rows.size) - len(rows))
            fresh = more.n
            if fresh:
                columns = joined([columns, more]) if len(kept) else more
                if executor.is_slow:
                    self.tell_begun()
            if (self._size - len(rows)) * AHEAD_OF_FREE >= self._size:
                executor.wants_more()
        self._columns = columns
        if not len(rows):
            self.leave()
            return False
        if fresh or len(kept) < len(ends):
            steps = np.frombuffer(rows.numbers("step"), dtype=np.uint32).astype(np.int64)
            self._tell = Rows(np.concatenate([kept, np.full(fresh, -1, dtype=np.int64)]), columns, steps)
        return True

    def _end_all(self, how: int) -> None:
        """The function has returned: what is left of its trials has ended."""
        import numpy as np

        if self._ends is not None:
            self._sort_out()
        if len(self._rows):
            self._end(np.full(len(self._rows), how, dtype=np.int8))

    def _end(self, ends: NDArray[np.int8]) -> None:
        done = 0
        while (done := self._rows.end(ends, done)) < len(self._rows):
            self._executor.drain_within()

    def fail(self, error: BaseException) -> None:
        """The function, or what it said, has failed: with it all trials that are left. One has the whole story."""
        import numpy as np

        if self._ends is not None:
            self.waits.clear()
            self._ends = self._told_here
            self._over = True
            self._sort_out()
        if isinstance(error, StopTrial):
            self._end_all(STOPPED)
            return
        self.tell_begun()  # a trial fails that has begun
        text, pickled = stored_text(error), stored_exception(error)
        trials, prefix = self._trials(), self._executor.program.prefix
        last = text.rstrip().rpartition(b"\n")[2]
        others = b"%s\nIt failed in the call that it was part of; its traceback is that of trial %s_%05d." % (
            last, prefix.encode(), int(trials[0]) if len(trials) else 0
        )  # fmt: skip
        for row in range(len(trials)):
            told, with_it = (text, pickled) if row == 0 else (others, b"")
            self._executor.until(lambda row=row, told=told, with_it=with_it: self._rows.fail(row, told, with_it))  # type: ignore[misc]
        self._rows.keep(np.empty(0, dtype=np.int64))
        self.leave()

    def leave(self) -> None:
        """Nobody asks for the next step: the generator's ``finally`` blocks run. What is wrong there is no fault of trials, which
        have ended, or of the run."""
        generator, self._generator = self._generator, None
        if generator is None:
            return
        try:
            with self._executor.users_code():
                generator.close()
        except StopTrial:
            return
        except Exception as error:
            warnings.warn(
                f"the generator of {self._name} was closed, and raised {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=2,
            )


class UsersCode:
    """A block in which code of the user's is called. A process that it forks, and that comes back, ends behind it: the run and its
    ring are those of the process that made this."""

    __slots__ = ("_pid",)

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> None:
        """Nothing is to be done before."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        stay_in(self._pid, error)


def check(program: Program) -> None:
    """TuneError for what trials of a vector cannot do."""
    if program.scheduler_pauses:
        raise TuneError(
            f"{program.scheduler_pauses} leaves trials paused, and a trial of a vector goes on with all others: take a scheduler "
            "that stops trials (ASHAScheduler, FIFOScheduler), or a function of one config"
        )
    if program.log_to_file:
        raise TuneError("log_to_file has no effect on trials that are evaluated in one call: leave it out")


@contextmanager
def outside_of_trials() -> Iterator[None]:
    """In the block this thread belongs to no trial, though a run may have been started within one."""
    outer = _core.binding()
    _core.rebind(None)
    try:
        yield
    finally:
        _core.rebind(outer)


def _no_rows() -> Any:
    import numpy as np

    return np.empty(0, dtype=np.int64)
