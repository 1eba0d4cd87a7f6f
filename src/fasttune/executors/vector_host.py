"""Evaluates trials where they live in calls of vectorized functions, one call after the other: in the loop's process, or in a worker.

What waits is of three kinds: fresh trials, trials that go on from a checkpoint (of their own, or of one that they copy), and
trials that were paused here and go on where they were. Fresh ones begin a call, or come into one that refills its rows; the
others come into whatever call there is, between two of its steps, or begin one together.

A generator stands still between two steps: then answers are heard, rows are saved, paused rows are taken aside. All
methods are for the thread that calls the functions.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune import _core
from fasttune.checkpoint import is_row_mark
from fasttune.error import TuneError
from fasttune.executors.base import Job, Program
from fasttune.executors.row_states import Held, RowCheckpoints, regrouped, rows_of, state_of
from fasttune.executors.vector_call import AHEAD_OF_FREE, BY_ITSELF, VectorCall, no_rows
from fasttune.failure import stored_exception, stored_text
from fasttune.nesting import stay_in
from fasttune.space.config_columns import NOTHING_KNOWN, ConfigColumns, drawn, gathered, joined
from fasttune.trainable import takes_state, vector_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.executors.host import Host

UNSEEN_S = 0.01  # where steps are shorter, nobody sees that trials run before they report
STOPPED_ASIDE = "{trials} to be paused while the others of its call go on, and {name} says not what they go on from: "
HOW_TO_YIELD = "take a parameter `state`, and `yield metrics, state` (see docs/vectors.md)"


class Coming(NamedTuple):
    """Trials that come into a call, from other places than its start."""

    copied: list[int]  # rows of the last step that the first of them go on from
    columns: list[ConfigColumns]
    saved: Any  # the state of the others
    n_saved: int

    def __len__(self) -> int:
        return len(self.copied) + self.n_saved


class VectorHost:
    """Trials of a program, evaluated on the ring of a Host's reporter.

    Args:
        host: of the program; its context names trials for their checkpoints.
        limit: the most trials in one call, whatever the functions say.
        flush: returns when the ring has room again.

    Attributes:
        call: the one that goes on.
        held: trials that are paused, and in no call.
        spare: fresh trials to have ready beyond one call; a guess of the caller's.
        hungry: a call has free rows that nobody takes.
        speaks: the function is asked for its next step: by :meth:`speak`, then :meth:`hear`.
        place_of: (experiment, number among its variants) of a trial that was part of a span.
        is_broken: whether what is raised is an error of the loop, which ``flush`` has met.
        in_loop: calls are in the loop's thread, so a Ctrl-C, and a mistake of the run's, are raised there.
        until_stored: in a run whose reports wait for the disk: returns when the disk has them.
    """

    def __init__(self, host: Host, limit: int, flush: Callable[[], None]) -> None:
        self.program: Program = host.program
        self.ring: _core.Ring = host.reporter.ring
        self.flush = flush
        self.sizes = [max(1, min(vector_of(one.trainable).size, limit)) for one in self.program.trainables]
        self.takes_state = [takes_state(one.trainable) for one in self.program.trainables]
        self.rows = _core.RowReporter(host.reporter, max(self.sizes) + 1, os.getpid())  # one for a trial that only ends
        self.checkpoints = RowCheckpoints(host)
        self.call: VectorCall | None = None
        self.held: dict[int, Held] = {}
        self.spare = 0
        self.hungry = self.dry = False
        self.place_of: Callable[[int], tuple[int, int]] = lambda trial: (0, trial)
        self.is_broken: Callable[[], bool] = bool
        self.in_loop = True
        self.until_stored = flush
        self.pace = math.inf  # seconds of the last step
        self.speaks = False
        self._said: tuple[Any, BaseException | None] = None, None
        self._began = 0.0  # the step
        self._spans: deque[tuple[int, int, int, int]] = deque()  # experiment, first, limit, shift
        self._fresh: deque[Job] = deque()
        self._returning: deque[Job] = deque()  # with a checkpoint
        self._resumed: dict[int, int] = {}  # of ``held``: the step to ask from
        self._over: dict[int, Held] = {}  # paused, and their function has returned
        self._apart: set[int] = set()  # were paused, and are not known to have begun again
        self._who: dict[int, Job] = {}  # of trials that were started one by one: without configs
        self._to_stop: set[int] = set()
        self._users_code = UsersCode(os.getpid())

    # -- work ----------------------------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """How many trials wait here."""
        alone = len(self._fresh) + len(self._returning) + len(self._resumed)
        return alone + sum(limit - first for _, first, limit, _ in self._spans)

    def room(self) -> int:
        """How many trials it would like to have."""
        call = self.call
        experiment = 0 if call is None else call.experiment
        size = self.sizes[experiment]
        suggested = self.program.trainables[experiment].variants is None  # by who learns: none before they are needed
        if call is None:
            whole = -(-self.spare // size) * size  # calls with all their rows
            free = size if suggested or self.program.pauses else max(size, whole)
        elif call.refill:
            free = size - call.going_on + (0 if suggested else size // AHEAD_OF_FREE)
        elif self._apart:
            free = size - call.going_on  # for those alone: fresh ones begin when this call is over
        else:
            return 0
        return max(0, free - self.queued)

    def add_span(self, experiment: int, first: int, n: int, local: int) -> None:
        self._spans.append((experiment, first, first + n, first - local))

    def start(self, job: Job) -> bool:
        """Take one trial, if there is room for what it is. TuneError for one that goes on from what is not there."""
        call = self.call
        if job.checkpoint is None and call is not None and not call.refill:
            return False
        if job.checkpoint is not None:
            self._check_can_go_on(job)
        if self.room() <= 0:
            return False
        self.take(job)
        return True

    def take(self, job: Job) -> None:
        """A trial waits here, whatever there is room for."""
        (self._fresh if job.checkpoint is None else self._returning).append(job)
        self._apart.discard(job.trial)
        if self.takes_state[job.experiment] or job.attempt:
            self._who[job.trial] = job._replace(config=None, checkpoint=None, packed=None)

    def _check_can_go_on(self, job: Job) -> None:
        if is_row_mark(job.checkpoint):
            if self.call is None or job.checkpoint not in self.call.saved:
                raise TuneError(
                    f"trial {job.trial} is to go on where another one was, which has come further since, or has ended: "
                    f"{self._how(job.experiment)}"
                )
        elif not self.takes_state[job.experiment]:
            raise TuneError(
                f"{self.program.trainables[job.experiment].name} has no state, so its trials cannot go on from a checkpoint: leave "
                f"restore= out, or {HOW_TO_YIELD}"
            )

    def _how(self, experiment: int) -> str:
        name = self.program.trainables[experiment].name
        return f"{name} must say what its trials go on from: {HOW_TO_YIELD}"

    def withdraw(self) -> list[int]:
        """Nothing that waits begins any more; the trials that were started one by one."""
        withdrawn = [job.trial for job in (*self._fresh, *self._returning)] + list(self._resumed)
        if self.call is not None:
            withdrawn += self.call.withdraw()
        self._spans.clear()
        self._fresh.clear()
        self._returning.clear()
        self._resumed.clear()
        return withdrawn

    @property
    def present(self) -> int:
        """How many trials wait here or are in the call, as far as is known; those that are paused are not."""
        return self.queued + (0 if self.call is None else self.call.going_on)

    @property
    def owes_ends(self) -> bool:
        """Rows were answered with a stop, and their ends are told before the next step."""
        return self.call is not None and self.call.owes_ends

    def has_paused(self, trial: int) -> bool:
        return trial in self.held or trial in self._over or (self.call is not None and trial in self.call.paused)

    def owes(self, trial: int) -> bool:
        """A row's report waits for an answer."""
        return self.call is not None and trial in self.call.waits

    def withdraw_spans(self) -> None:
        """Fresh trials of spans that wait do not begin."""
        self._spans.clear()

    def resume(self, trial: int, ask_from: int, forced: bool = False) -> bool:
        """Go on with a paused trial; False if there is no room, unless it is ``forced``. TuneError if it is not paused here."""
        if trial in self._over:
            self._end_over(self._over.pop(trial), ask_from)
            return True
        call = self.call
        here = call is not None and trial in call.paused
        if not here and trial not in self.held:
            raise TuneError(f"trial {trial} is not paused in this process")
        if trial in self._resumed or (self.room() <= 0 and not forced):
            return False
        if here:
            assert call is not None
            call.resume(trial, ask_from)
        else:
            self._resumed[trial] = ask_from
        self._apart.discard(trial)
        return True

    def _end_over(self, one: Held, ask_from: int) -> None:
        """The function of a paused trial has returned: it goes on, and so ends."""
        import numpy as np

        n = len(self.rows)
        self.until(lambda: self.rows.put_back(one.life, time.monotonic() - one.at, ask_from))
        ends = np.zeros(n + 1, dtype=np.int8)
        ends[n] = BY_ITSELF
        self.end(ends)
        self.rows.keep(np.arange(n))

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        if self.call is not None:
            self.call.answer(trial, decision, ask_from, save)
            if decision == _core.PAUSE:
                self._apart.add(trial)

    def save(self, trial: int) -> None:
        """A trial that is paused, or a row of the call, saves where it is."""
        if self.call is not None and self.call.save_now(trial):
            return
        if (one := self.held.get(trial)) is not None:
            with self.users_code():
                saved = self.checkpoints.keep(rows_of(one.block.tree, [one.row]), self.who(trial))
            self.write_checkpoint(trial, one.step, saved)

    def discard(self, trial: int) -> None:
        """A paused trial is left for good; it may be started anew."""
        if self.call is not None:
            self.call.discard(trial)
        self.held.pop(trial, None)
        self._over.pop(trial, None)
        self._resumed.pop(trial, None)

    def stop(self, trial: int) -> None:
        """A trial ends with its next report."""
        self._to_stop.add(trial)

    def who(self, trial: int) -> Job:
        """The trial, as its folder is named by."""
        found = self._who.get(trial)
        return Job(trial, *self.place_of(trial)) if found is None else found

    # -- the steps -----------------------------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Answers are owed to rows of a call."""
        return self.call is not None and bool(self.call.waits)

    def advance(self) -> int:
        """Do what can be done next; how many rows it was about, 0 when there is nothing."""
        n = self.prepare()
        if self.speaks:
            self.speak()
            self.hear()
        return n

    def prepare(self) -> int:
        """Do what can be done before the function is asked for its next step, which is to be done then (``speaks``); how many rows it
        was about, 0 when there is nothing."""
        if self.call is None:
            if not self.queued:
                return 0
            self.call = self._begin()
            if self.call is None:
                return 1
        elif self.call.waits:
            return 0
        call, n = self.call, len(self.rows)
        self._began = time.monotonic()
        try:
            call.settle()
            if call.is_left:
                call.leave()
                self._is_over()
            elif call.has_returned:
                call.finish(None)
                self._is_over()
            else:
                self.speaks = True
        except BaseException as error:
            self._failed(call, error)
        return max(1, n)

    def speak(self) -> None:
        """Ask the function for its next step."""
        assert self.call is not None
        try:
            self._said = self.call.say(), None
        except BaseException as error:
            self._said = None, error

    def hear(self) -> None:
        """Do with what the function has said what is to be done."""
        call, (said, error), self._said = self.call, self._said, (None, None)
        self.speaks = False
        if call is None:  # it was left meanwhile
            return
        try:
            if error is not None:
                raise error
            if not call.finish(said):
                self._is_over()
            self.pace = time.monotonic() - self._began
        except BaseException as error:
            self._failed(call, error)

    def _failed(self, call: VectorCall, error: BaseException) -> None:
        if call.is_of_the_run(error):
            self.call = None
            raise error
        call.fail(error)
        self._is_over()

    def _is_over(self) -> None:
        self.call = None
        if not self.queued:
            self._to_stop.clear()

    def _begin(self) -> VectorCall | None:
        self.rows.keep(no_rows())
        if self._fresh or self._spans:
            experiment = self._fresh[0].experiment if self._fresh else self._spans[0][0]
            call = VectorCall(self, experiment, self.take_fresh(experiment, self.sizes[experiment]), None)
        else:
            experiment = self._returning[0].experiment if self._returning else self.held[next(iter(self._resumed))].block.experiment
            coming = self.take_returning(experiment, self.sizes[experiment], None)
            if not coming:  # what they were to go on from could not be read
                return None
            call = VectorCall(self, experiment, joined(coming.columns), coming.saved)
        if self.is_slow:
            call.tell_begun()
        return call

    def take_fresh(self, experiment: int, free: int) -> ConfigColumns:
        """Up to ``free`` fresh trials become rows, behind those that there are; their configs."""
        parts: list[ConfigColumns] = []
        one, ask_from = self.program.trainables[experiment], self._ask_from
        names = one.names or NOTHING_KNOWN
        again: list[dict[str, Any]] = []
        while free and self._fresh and self._fresh[0].experiment == experiment:
            job = self._fresh.popleft()
            again.append(self._config(job))
            self._begin_row(job)
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

    @property
    def _ask_from(self) -> int:
        return 0 if self.program.asks else _core.NEVER_ASK

    def _config(self, job: Job) -> dict[str, Any]:
        if job.packed is not None:
            from fasttune import nesting
            from fasttune.executors import stand_in

            with nesting.loading():
                return stand_in.loads(job.packed)  # type: ignore[no-any-return]
        if job.config is not None:
            return job.config
        config: dict[str, Any] = self.program.trainables[job.experiment].variants.config(job.local)
        return config

    def _begin_row(self, job: Job) -> None:
        asks = self._ask_from if job.ask_from is None else job.ask_from
        self.until(lambda: self.rows.begin_again(
            job.trial, job.iteration, job.base_total, job.rung, asks, job.changes, *job.standing
        ))  # fmt: skip

    def returns(self, experiment: int) -> bool:
        """Trials wait that come into a call of this experiment."""
        if self._returning and self._returning[0].experiment == experiment:
            return True
        return bool(self._resumed) and self.held[next(iter(self._resumed))].block.experiment == experiment

    def take_returning(self, experiment: int, free: int, call: VectorCall | None) -> Coming:
        """Up to ``free`` trials that go on become rows, behind those that there are. Who copies a row of the call comes first."""
        copies: list[tuple[int, Job]] = []
        loads: list[tuple[Any, Job]] = []
        while free > len(copies) + len(loads) and self._returning and self._returning[0].experiment == experiment:
            job = self._returning.popleft()
            row = None if call is None else call.saved.get(job.checkpoint)  # type: ignore[arg-type]
            if row is not None:
                copies.append((row, job))
            elif (tree := self._loaded(job)) is not None:
                loads.append((tree, job))
        free -= len(copies) + len(loads)
        held = [
            (trial, ask_from) for trial, ask_from in self._resumed.items() if self.held[trial].block.experiment == experiment
        ][:free]
        back = [self.held.pop(trial) for trial, _ in held]
        groups = regrouped(back)
        columns = []
        names = self.program.trainables[experiment].names or NOTHING_KNOWN
        for _, job in copies:
            self._begin_row(job)
        for (trial, ask_from), one in zip(held, back, strict=True):
            del self._resumed[trial]
            self.until(lambda one=one, ask_from=ask_from: self.rows.put_back(  # type: ignore[misc]
                one.life, time.monotonic() - one.at, ask_from
            ))  # fmt: skip
        for _, job in loads:
            self._begin_row(job)
        with self.users_code():
            if copies:
                columns.append(gathered([self._config(job) for _, job in copies], names))
            for block, rows in groups:
                columns.append(block.columns.take(_as_index(rows)))
            if loads:
                columns.append(gathered([self._config(job) for _, job in loads], names))
            n_saved = len(back) + len(loads)
            saved = state_of(groups, [tree for tree, _ in loads]) if n_saved else None
        return Coming([row for row, _ in copies], columns, saved, n_saved)

    def _loaded(self, job: Job) -> Any:
        """What a trial goes on from; None if that cannot be had, and the trial has failed for it."""
        assert job.checkpoint is not None
        try:
            with self.users_code():
                if is_row_mark(job.checkpoint):
                    raise TuneError("the trial was to go on where another one was, whose call has failed since")
                return self.checkpoints.load(job.checkpoint)
        except Exception as error:
            self._begin_row(job)
            row = len(self.rows) - 1
            text, pickled = stored_text(error), stored_exception(error)
            self.until(lambda: self.rows.fail(row, text, pickled))
            self.rows.keep(_as_index(range(row)))
            return None

    # -- what calls need -----------------------------------------------------------------------------------------------

    def users_code(self) -> UsersCode:
        """In the block code of the user's is called."""
        return self._users_code

    @property
    def is_slow(self) -> bool:
        """A step takes so long that who looks shall see that trials run."""
        return self.pace > UNSEEN_S

    def wants_more(self) -> None:
        """Rows are free: the loop is to say what could take them, unless it had nothing when it was asked last."""
        self.hungry = not self.dry

    def take_stops(self, trials: Callable[[], NDArray[np.uint32]]) -> list[int]:
        """Rows of trials that are to stop at their next report."""
        if not self._to_stop:
            return []
        there = trials().tolist()
        rows = [row for row, trial in enumerate(there) if trial in self._to_stop]
        self._to_stop.difference_update(there)
        return rows

    def hold(self, trial: int, one: Held, over: bool) -> None:
        """A paused trial leaves its call; with ``over`` that has nothing to do any more."""
        (self._over if over else self.held)[trial] = one

    def refuse_to_hold(self, experiment: int, n: int) -> TuneError:
        name = self.program.trainables[experiment].name
        trials = "a trial is" if n == 1 else f"{n} trials are"
        return TuneError(STOPPED_ASIDE.format(trials=trials, name=name) + HOW_TO_YIELD)

    def write_checkpoint(self, trial: int, step: int, saved: str | bytes) -> None:
        held = _core.HELD | self.who(trial).attempt << 8
        payload, flags = (saved, held) if isinstance(saved, bytes) else (saved.encode(), 0)
        self.until(lambda: self.ring.write(_core.KIND_CHECKPOINT, trial, step, payload, flags, False))

    def end(self, ends: NDArray[np.int8]) -> None:
        """Tell of rows that end, see ``RowReporter.end``."""
        done = 0
        while (done := self.rows.end(ends, done)) < len(self.rows):
            self.flush()

    def until(self, done: Callable[[], bool]) -> None:
        """Write what needs room in the ring, which is drained until there is."""
        while not done():
            self.flush()

    def halt(self) -> None:
        """Nothing goes on."""
        self.speaks, self._said = False, (None, None)
        self.withdraw()
        self.held.clear()
        self._over.clear()
        call, self.call = self.call, None
        if call is not None:
            call.leave()


def _as_index(rows: Any) -> NDArray[np.int64]:
    import numpy as np

    return np.array(rows, dtype=np.int64)


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
