"""Virtual time: the loop, the state, the schedulers and searchers of a real run over learning curves that are known.

No trial runs. ``VirtualExecutor`` keeps the executor contract with an event queue in place of processes: a trial is a
position on its curve, and a step takes the virtual seconds that the curve says. What is written are the records that a
real run would write, with virtual times, by the same compiled reporter; so limits, rungs and decisions are the same code.
A trial that nobody needs to ask before a step gets there in one event.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from fasttune import _core
from fasttune.devices.machine import Machine
from fasttune.devices.resources import Supply
from fasttune.engine.asked import make_meta
from fasttune.engine.echo import Echo
from fasttune.engine.live_rule import LiveRule
from fasttune.engine.loop import TuneLoop
from fasttune.engine.program_of_run import program_of
from fasttune.engine.progress import Progress
from fasttune.engine.saves import Saves
from fasttune.engine.state import ExperimentState
from fasttune.executors.base import Batch, Death, Executor, Job, Program, Suspended
from fasttune.failure import failure_text
from fasttune.search.base import Searcher
from fasttune.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from fasttune.config import RunSpec, TrainableSpec

PREFIX = "sim"
SOURCE = 1
ECHO = 2  # of results that another trial had
RING_BYTES = 1 << 16
LONGEST_JUMP = 4096  # steps of one event
PATIENCE = 1000  # turns in a row in which a searcher has nothing although nothing runs


class Curve(Protocol):
    """What a trial would report, by step. Steps count from 1."""

    @property
    def truncated(self) -> bool:
        """Whether the curve ends because nobody went on recording it, not because training was over."""

    def at(self, step: int) -> dict[str, Any] | None:
        """The report of a step, flat, plain numbers only; None when training was over before it. An exception fails
        the trial."""

    def cost(self, step: int, metrics: Mapping[str, Any]) -> float:
        """Virtual seconds that the step takes."""


CurveOf = Callable[[int, dict[str, Any], int], Curve]  # trial, config, attempt (0: the first)


class Flight:
    """A trial that was started: where it is on its curve, and what comes next."""

    __slots__ = ("ask_from", "curve", "ends", "error", "reports", "saved", "since", "units")

    def __init__(self, curve: Curve, saved: Suspended, ask_from: int, units: float) -> None:
        self.curve = curve
        self.saved = saved  # the reporter's counters: trial, step, ...
        self.ask_from = ask_from
        self.units = units  # workers that it occupies
        self.reports: list[tuple[float, dict[str, Any]]] = []  # those of the next event, with their times
        self.since = 0.0  # when it was at the step that `saved` says
        self.ends = False  # the curve is over behind them
        self.error: str | None = None  # the trial fails behind them


class VirtualExecutor(Executor):
    """Trials as positions on curves. ``now`` is the virtual time; ``deadline`` is never passed while trials run.

    ``units_of(trial)`` is how many of the ``workers`` a trial occupies. ``every_step``: somebody hears each report, so
    that they have to come in the order of their times.
    """

    name = "virtual"
    here = True

    def __init__(self, curve_of: CurveOf, workers: int, units_of: Callable[[int], float], deadline: float) -> None:
        self.now = 0.0
        self.busy = 0.0  # seconds of all workers
        self.workers = workers
        self.truncated: list[int] = []
        self.every_step = False
        self._curve_of = curve_of
        self._units_of = units_of
        self._free = float(workers)
        self._deadline = deadline
        self._events = _core.EventQueue()
        self._running: dict[int, Flight] = {}
        self._waiting: dict[int, Flight] = {}  # for the answer to a report
        self._paused: dict[int, Flight] = {}
        self._batches: list[Batch] = []
        self._stops: list[int] | None = []
        self._last_step = math.inf
        self._limits: dict[str, float] = {}

    def open(
        self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        self._program = program
        self.ring = _core.Ring(bytearray(_core.Ring.HEADER + RING_BYTES), create=True)
        self.ring.hold(0.0)
        self.reporter = _core.Reporter(
            self.ring,
            metric=program.metric,
            strict=program.strict,
            rule=rule,
            time_attr=program.rule.time_attr,
            limits=program.limits,
        )
        self._limits = {key: value for key, value in program.limits.items() if key != _core.DEADLINE}
        self._last_step = self._limits.pop("training_iteration", math.inf)
        if rule is not None:
            self._stops = judged_steps(rule, program.rule.time_attr)

    # -- work ---------------------------------------------------------------------------------------------------------

    def room(self) -> int:
        return max(0, int(self._free))

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        for k in range(n):
            self._begin(Job(first + k, experiment, local + k), 1.0)

    def start(self, job: Job) -> bool:
        units = self._units_of(job.trial)
        if units > self._free and self._free < self.workers:
            return False
        self._begin(job, units)
        return True

    def _begin(self, job: Job, units: float) -> None:
        config = job.config
        if config is None:
            config = self._program.trainables[job.experiment].variants.config(job.local)
        curve = self._curve_of(job.trial, config, job.attempt)
        ask_from = job.ask_from
        if ask_from is None:
            ask_from = 0 if self._program.asks else _core.NEVER_ASK
        self._free -= units
        self.ring.hold(self.now)
        self.reporter.begin(job.trial, job.iteration, job.base_total, job.rung, ask_from, 0, job.changes, *job.standing)
        flight = self._running[job.trial] = Flight(curve, self.reporter.suspend(), ask_from, units)
        self._aim(job.trial, flight)

    def resume(self, trial: int, ask_from: int = 0) -> bool:
        flight = self._paused[trial]
        if flight.units > self._free and self._free < self.workers:
            return False
        del self._paused[trial]
        self._free -= flight.units
        flight.ask_from = ask_from
        # what it was away does not count for time_total_s
        before, began, after = flight.saved[:2], flight.saved[2], flight.saved[3:]
        flight.saved = (*before, began + self.now - flight.since, *after)
        self._note(flight, _core.KIND_RESUMED)
        self._running[trial] = flight
        self._aim(trial, flight)
        return True

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        flight = self._waiting.pop(trial, None)
        if flight is None:
            return
        flight.ask_from = ask_from
        if save:
            self._save(flight)
        if decision == _core.CONTINUE:
            self._running[trial] = flight
            self._aim(trial, flight)
        elif decision == _core.PAUSE:
            self._note(flight, _core.KIND_PAUSED)
            flight.since = self.now
            self._paused[trial] = flight
            self._free += flight.units
        else:
            self._leave(flight, _core.KIND_END, flags=_core.STOP)

    def save(self, trial: int) -> None:
        if trial in self._paused:
            self._save(self._paused[trial])

    def _save(self, flight: Flight) -> None:
        trial, step = flight.saved[:2]
        self._note(flight, _core.KIND_CHECKPOINT, f"{trial}/{step}".encode())

    def discard(self, trial: int) -> None:
        self._paused.pop(trial, None)

    def stop(self, trial: int) -> None:
        flight = self._running.pop(trial, None)
        if flight is not None:
            self._events.cancel(trial)
            self.busy += self.now - flight.since
            flight.ask_from = _core.NEVER_ASK  # it ends with what it reports at this very moment
            self._write(flight, [one for one in flight.reports if one[0] <= self.now])
        else:
            flight = self._waiting.pop(trial, None)
        if flight is not None:
            self._leave(flight, _core.KIND_END, flags=_core.STOP)

    def kill(self, trial: int) -> None:
        self.stop(trial)

    # -- time ---------------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Batch]:
        events = self._events
        while not self._batches:
            at = events.next_time()
            if at == math.inf:
                break
            if at > self._deadline:
                self.now = self._deadline
                break
            self.now = at
            if self._arrive(events.pop_due(at)):
                self._collect()
        batches, self._batches = self._batches, []
        return batches

    def _aim(self, trial: int, flight: Flight) -> None:
        """Look ahead on the curve to the next step at which something may be decided, and queue its time."""
        curve, reports, time, step = flight.curve, flight.reports, self.now, flight.saved[1]
        last = self._next_stop(step, flight.ask_from)
        reports.clear()
        flight.since = time
        while step < last:
            step += 1
            try:
                metrics = curve.at(step)
            except Exception as error:
                flight.error = failure_text(error)
                break
            if metrics is None:
                flight.ends = True
                break
            time += curve.cost(step, metrics)
            reports.append((time, metrics))
            if metrics.get("done") or (self._limits and self._reaches_a_limit(flight, time, metrics)):
                break
        self._events.push_at(time, trial)

    def _next_stop(self, step: int, ask_from: int) -> float:
        """The next step whose report is to be looked at when it comes, as far as it is known without its metrics."""
        if self.every_step or self._stops is None:
            return step + 1
        last = min(step + LONGEST_JUMP, max(step + 1, self._last_step))
        for stop in self._stops:
            if stop > step:
                last = min(last, stop)
                break
        return min(last, max(step + 1, ask_from))

    def _reaches_a_limit(self, flight: Flight, time: float, metrics: Mapping[str, Any]) -> bool:
        total = flight.saved[3] + time - flight.saved[2]
        values = {"time_total_s": total, **metrics}
        return any(values.get(key, -math.inf) >= limit for key, limit in self._limits.items())

    def _arrive(self, trial: int) -> bool:
        """Write what was due. True when the loop has something to do: an answer to give, or a place to fill."""
        flight = self._running.pop(trial)
        self.busy += self.now - flight.since
        code = self._write(flight, flight.reports)
        if code == _core.WAIT:
            self._waiting[trial] = flight
            return True
        if code == _core.STOP:
            self._leave(flight, _core.KIND_END, flags=_core.STOP, written=True)
        elif flight.error is not None:
            self._leave(flight, _core.KIND_ERROR, flight.error.encode(), written=True)
        elif flight.ends:
            if flight.curve.truncated:
                self.truncated.append(trial)
            self._leave(flight, _core.KIND_END, written=True)
        else:
            self._running[trial] = flight
            self._aim(trial, flight)
            return self.every_step
        return True

    # -- records ------------------------------------------------------------------------------------------------------

    def _write(self, flight: Flight, reports: list[tuple[float, dict[str, Any]]]) -> int:
        """Make the trial the one that reports, and report; returns what the last report was answered."""
        ring, reporter = self.ring, self.reporter
        reporter.resume(*flight.saved, flight.ask_from)
        code = _core.CONTINUE
        for at, metrics in reports:
            ring.hold(at)
            code = _core.NOT_PLAIN if self._program.constraints else reporter.report(metrics)
            if code == _core.FULL:
                self._collect()
                code = reporter.report(metrics)
            if code == _core.NOT_PLAIN:
                code = self._write_whole(metrics)
            if code < 0:
                raise self._refused(code, metrics)
        flight.saved = reporter.suspend()
        return code

    def _write_whole(self, metrics: dict[str, Any]) -> int:
        """Report what a curve holds, with whatever totals it has, as they were added up when it was recorded; compared by its
        constraints."""
        metrics = self._program.constraints.whole(dict(metrics), {})
        while (code := self.reporter.report_extra(metrics, {}, b"")) == _core.FULL:
            self._collect()
        return code

    def _refused(self, code: int, metrics: Mapping[str, Any]) -> Exception:
        if code == _core.MISSING:
            return ValueError(
                f"the simulation is steered by metric {self._program.metric!r}, and the curves have "
                f"{', '.join(map(repr, metrics)) or 'nothing'}: is it misspelt?"
            )
        return TypeError(f"a curve holds plain numbers under flat names, got {dict(metrics)!r:.200}")

    def _note(self, flight: Flight, kind: int, payload: bytes = b"") -> None:
        self.ring.hold(self.now)
        self.reporter.resume(*flight.saved, flight.ask_from)
        while not self.reporter.note(kind, payload):
            self._collect()
        flight.saved = self.reporter.suspend()
        self._collect()

    def _leave(self, flight: Flight, kind: int, text: bytes = b"", flags: int = 0, written: bool = False) -> None:
        """The trial is over. ``written``: its last report is the reporter's last one, which may count at a rung."""
        reporter = self.reporter
        self.ring.hold(self.now)
        if not written:
            reporter.resume(*flight.saved, flight.ask_from)
        while not (reporter.end(flags) if kind == _core.KIND_END else reporter.note(kind, text)):
            self._collect()
        self._free += flight.units
        self._collect()

    def _collect(self) -> None:
        while (data := self.ring.take()) is not None:
            self._batches.append(Batch(SOURCE, self.ring.position, memoryview(bytes(data))))
        self.ring.release()

    def drain_now(self) -> list[Batch]:
        self._collect()
        batches, self._batches = self._batches, []
        return batches

    def release(self) -> None:
        """Batches are copies: nothing waits for being released."""

    def deaths(self) -> list[Death]:
        return []

    def close(self) -> None:
        self._running.clear()
        self._waiting.clear()
        self._paused.clear()

    @property
    def usage(self) -> str:
        return f"{self.workers - self._free:g}/{self.workers} virtual workers"

    @property
    def idle(self) -> bool:
        return not (self._running or self._waiting)


def judged_steps(rule: Any, time_attr: str) -> list[int] | None:
    """The steps at which a compiled rule may decide, lowest first; None when any step may be one."""
    if time_attr != "training_iteration":
        return None
    found = {math.ceil(milestone) for row in rule.milestones_by_bracket for milestone in row}
    return sorted({*found, math.ceil(rule.max_t)})


class Marks(Saves):
    """Checkpoints that are marks in the journal: each that is kept is there."""

    def has(self, path: str) -> bool:
        return True


class VirtualState(ExperimentState):
    """As in a real run; checkpoints are marks in the journal, there are no directories."""

    def saves_when_told(self, i: int) -> bool:
        return True

    SAVES = Marks

    def contents(self, path: str) -> str | bytes:
        return path


class EventClock:
    """The executor's time, from 0. Nobody can wait in it."""

    second = "virtual seconds"
    epoch = 0.0

    def __init__(self, executor: VirtualExecutor) -> None:
        self._executor = executor

    def now(self) -> float:
        return self._executor.now

    elapsed = now

    def wait(self, seconds: float) -> None:
        """No time passes: nothing runs."""


class VirtualLoop(TuneLoop):
    """The loop of a run whose clock is the executor's: a turn per event. Nothing touches the disk."""

    def __init__(self, spec: RunSpec, curve_of: CurveOf, workers: int) -> None:
        deadline = math.inf if spec.time_budget_s is None else spec.time_budget_s
        self.virtual = VirtualExecutor(curve_of, workers, self._units_of, deadline)
        super().__init__(spec, EventClock(self.virtual))
        self._executor = self.virtual
        self._machine = Machine(cpus=tuple(range(workers)))
        self._supply = Supply(self._machine)

    def run(self) -> ExperimentState:
        self._store_in(MemoryStorage(), every_turn=True)
        self._prepare()
        self._turn_until_finished()
        self._finish()
        return self.state

    def _prepare(self) -> None:
        self.state = state = self._begin(frozenset())
        self._echo = Echo(ECHO, self.spec.metric, self.spec.constraints)
        pure = state.searcher is None and all(one.pure for one in state.configs.variants)
        self._simple = pure and not state.chooses and all(map(takes_one, self.spec.trainables))
        program = program_of(self.spec, self.state, self._limits())
        self.virtual.every_step = hears_reports(state)
        self._progress = Progress(self.spec, state, self.times, self.clock, self._said)
        rule = self._judge_by(LiveRule(program, self.virtual))
        self.virtual.open(program, self.clock.epoch, rule, self._drain_within, self._turn_within)
        state.at(0.0)

    def _begin(self, hooks: frozenset[str]) -> ExperimentState:
        meta = {**make_meta(self.spec, PREFIX, 0.0, "virtual", []), "pid": 0, "machine": self._supply.total()}
        for one in meta["trainables"]:
            one["is_class"] = one["saves"] = True
        state = VirtualState(self.spec, meta, self.storage, hooks)
        meta["variants"] = [one.meta() for one in state.configs.variants]
        self._store_meta(meta)
        return state

    @property
    def echoes(self) -> int:
        """Reports that nobody was trained for, as another trial had them."""
        return self._echo.written

    def _units_of(self, trial: int) -> float:
        """Workers that a trial occupies: its CPUs, one at least."""
        return max(1.0, self.state.resources(trial).required_resources.get("CPU", 1.0))


def takes_one(trainable: TrainableSpec) -> bool:
    """Each of its trials occupies one worker."""
    asked = trainable.resources
    return not callable(asked) and asked.required_resources.get("CPU", 1.0) <= 1.0


def hears_reports(state: ExperimentState) -> bool:
    """Whether somebody besides the scheduler is told of every report."""
    searcher = state.searcher
    hears = searcher is not None and type(searcher).on_trial_result is not Searcher.on_trial_result
    return hears or state.spec.stop.asks
