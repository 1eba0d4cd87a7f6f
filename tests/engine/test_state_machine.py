"""A Hypothesis state machine over the loop and the state of an experiment, with an executor in memory whose workers write one
record at a time and may die behind any of them, and a driver that may be killed around any of its commits. Somebody outside ends
trials, a scheduler has others saved, ended, changed and copied, trials are functions or classes, and a searcher hears of each end
once. After each turn, after each kill and to whoever looks meanwhile, the experiment is what a slow obvious model says
(``slow_experiment.py``)."""

from __future__ import annotations

import copy
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from slow_experiment import DECISIONS, OVER, SlowExperiment, shown

import fasttune as tune
from fasttune import _core
from fasttune.config import FailureConfig, ResumeConfig, RunSpec, TrainableSpec
from fasttune.devices.machine import Machine as Computer
from fasttune.devices.resources import resolve_resources
from fasttune.engine.loop import TuneLoop
from fasttune.engine.records import ExperimentRecords
from fasttune.engine.state import ExperimentState
from fasttune.executors.base import Batch, Death, Executor, Job, Program
from fasttune.schedulers import FIFOScheduler, TrialScheduler
from fasttune.schedulers.base import Change, End, Save
from fasttune.search import Searcher
from fasttune.stopper import StopRules
from fasttune.storage.memory import MemoryStorage
from model import HEADER, schema_record
from rounds import rounds

NOWHERE = "no-such-folder"
NOBODY = 900  # number of a trial that there is not
ODD = (
    "unknown kind", "no such trial", "names never told", "it runs already", "it was not paused", "a config", "another's report",
    "the run's", "another's",
)  # fmt: skip
OF_THE_RUN = (
    _core.KIND_CONFIGS, _core.KIND_CONFIG, _core.KIND_META, _core.KIND_REQUEUED, _core.KIND_CHANGED, _core.KIND_CHOSEN,
    _core.KIND_DECISION,
)  # fmt: skip
LATE = (_core.KIND_END, _core.KIND_ERROR, _core.KIND_EXCEPTION, _core.KIND_CHECKPOINT, _core.KIND_PAUSED, _core.KIND_RESUMED)
COSTLY = ("names never told", "it runs already", "it was not paused")  # the trial fails, and its worker is killed
ENDS = {"end": _core.KIND_END, "fail": _core.KIND_ERROR, "raise": _core.KIND_EXCEPTION}
picks = st.integers(0, 99)
ORDERS = ("", "save", "end", "change", "copy")  # what the scheduler wants besides, by eighths of the score
SCORES = st.builds(
    lambda answer, order: answer + order / 8,
    st.sampled_from([0, 0, 0, 0, 2, 2, 2, 1]),  # few trials end: what is over is not tested any more
    st.sampled_from([0, 0, 0, 1, 2, 3, 4, 4]),
)
MOVES = st.sampled_from(["go on"] * 20 + [*ENDS, "die", "late", "late", "late", *ODD])


class Killed(BaseException):
    """The driver, by kill -9."""


class Obedient(TrialScheduler):
    """Answers what a report's score stands for, orders what its eighths do (if it ``orders_others``), and always chooses somebody:
    of those that wait, or of those that are paused."""

    paused_first = False

    def __init__(self, orders_others: bool) -> None:
        super().__init__()
        self.orders_others = orders_others
        self.given: list[Any] = []
        self.ended: set[int] = set()  # trials whose end it has ordered

    def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
        score = result["score"]
        what = ORDERS[int(score % 1 * 8)] if self.orders_others else ""
        others = [one for status in ("PAUSED", "PENDING") for one in state.trials_of(status) if one.index != trial.index]
        if what in ("save", "copy"):
            self.given.append(Save(trial))
        if what == "end" and others:
            self.given.append(End(others[0]))
            self.ended.add(others[0].index)
        if what in ("change", "copy") and others:
            self.given.append(Change(others[-1], config={"x": score}, donor=trial if what == "copy" else None))
        return {_core.CONTINUE: self.CONTINUE, _core.STOP: self.STOP, _core.PAUSE: self.PAUSE}[DECISIONS[int(score)]]

    def orders(self) -> list[Any]:
        given, self.given = self.given, []
        return given

    def choose_trial_to_run(self, state: Any) -> Any:
        order = ("PAUSED", "PENDING") if self.paused_first else ("PENDING", "PAUSED")
        return next((trial for status in order for trial in state.trials_of(status, 1)), None)


class Listening(Searcher):
    """Suggests any configs, and keeps what it hears in one session, with what that replays of those before."""

    def __init__(self) -> None:
        super().__init__("score", "max")
        self.ended: dict[int, bool] = {}  # trial -> whether with an error

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"x": 0.5}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        trial = int(trial_id.rpartition("_")[2])
        assert trial not in self.ended, f"it was told twice that {trial_id} is over"
        self.ended[trial] = error


class Steps(tune.Trainable):
    """A class Trainable: it can be told to save."""


class Followed(ExperimentState):
    """Shows the model what it writes of its scheduler's orders, as it does."""

    model: SlowExperiment

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        keep = self.out.keep

        def shown(data: bytes) -> None:
            self.model.follow(data, getattr(self.scheduler, "ended", ()))
            keep(data)

        self.out.keep = shown  # type: ignore[method-assign]


@dataclass
class Worker:
    """A process: what it does, and the ring that it writes."""

    source: int
    records: list[bytes] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # the ring's position behind each record
    polled: int = 0
    released: int = 0
    trial: int = -1
    does: str = "idle"  # begin, run, pause, stop, return: what its next record says; wait: for an answer; nothing: any more
    queue: list[tuple[int, Job]] = field(default_factory=list)
    steps: dict[int, int] = field(default_factory=dict)  # of its trial, and of those that are paused in it
    attempts: dict[int, int] = field(default_factory=dict)
    over: list[int] = field(default_factory=list)  # trials that have ended in it, and of which a thread may report
    told: bool = False  # the names of the metrics
    saves: list[int] = field(default_factory=list)  # trials that were told to save
    stopped: set[int] = field(default_factory=set)  # trials that were told to stop

    def write(self, *data: bytes) -> None:
        """Records that become visible together."""
        self.records.append(b"".join(data))
        self.ends.append((self.ends[-1] if self.ends else 0) + len(self.records[-1]))

    def report(self, trial: int, step: int, score: float, flags: int = 0, schema: int = 0) -> bytes:
        return HEADER.pack(32, _core.KIND_REPORT, flags, schema, trial, step, float(step)) + struct.pack("<d", score)

    def save_all(self) -> None:
        """Those that were told to, and are here."""
        for trial in self.saves:
            if trial in self.steps:
                flags = _core.HELD | self.attempts[trial] << 8
                self.write(_core.encode(_core.KIND_CHECKPOINT, trial, self.steps[trial], b"saved", flags))
        self.saves.clear()

    def leave(self) -> None:
        self.over.append(self.trial)
        self.stopped.discard(self.trial)
        del self.steps[self.trial]
        self.trial, self.does = -1, "idle"
        self.take_next()

    def take_next(self) -> None:
        if self.trial < 0 and self.queue:
            self.trial, job = self.queue.pop(0)
            self.steps[self.trial], self.attempts[self.trial] = job.iteration, job.attempt
            self.job, self.does = job, "begin"

    @property
    def busy(self) -> bool:
        return self.does not in ("idle", "wait", "nothing")


def single(data: bytes) -> list[bytes]:
    """The records in some bytes, one by one."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at : at + size])
        at += size
    return found


def told(records: ExperimentRecords) -> list[Any]:
    """As ``shown``, of the experiment itself."""
    table = records.table
    return [(table.status(i), table.iteration(i), table.failures(i), table.attempt(i), table.changes(i)) for i in range(len(table))]


class InMemory(Executor):
    """Workers that do one thing when they are told to. What is polled is told to the model, as the loop takes it."""

    name = "in memory"
    saves = False  # its trials are classes

    def __init__(self, model: SlowExperiment, most: int, first_source: int) -> None:
        self.model, self.most, self.next_source = model, most, first_source
        self.workers: list[Worker] = []  # alive
        self.rings: list[Worker] = []  # of all of them
        self.dead: list[Death] = []
        self.in_pieces = False

    def open(self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]) -> None:
        self.asks = program.asks
        self.saves = program.trainables[0].is_class

    def free(self) -> Worker | None:
        for worker in self.workers:
            if worker.trial < 0:
                return worker
        if len(self.workers) == self.most:
            return None
        worker = Worker(self.next_source)
        self.next_source += 1
        self.workers.append(worker)
        self.rings.append(worker)
        return worker

    def room(self) -> int:
        idle = sum(worker.trial < 0 for worker in self.workers) + self.most - len(self.workers)
        return idle if self.asks else 2 * idle

    def give(self, worker: Worker, job: Job) -> None:
        row = self.model.rows[job.trial]
        assert row.status in ("PENDING", "PAUSED"), row
        assert (job.iteration, job.attempt, job.changes) == (row.saved, row.attempts, row.changes), (job, row)
        assert all(job.trial not in one.steps and all(job.trial != i for i, _ in one.queue) for one in self.workers)
        worker.queue.append((job.trial, job))
        worker.take_next()

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        worker = self.free()
        assert worker is not None
        for k in range(n):
            self.give(worker, Job(first + k, experiment, local + k))

    def start(self, job: Job) -> bool:
        worker = self.free()
        if worker is not None:
            self.give(worker, job)
        return worker is not None

    def with_trial(self, trial: int) -> Worker | None:
        return next((worker for worker in self.workers if trial in worker.steps), None)

    def resume(self, trial: int, ask_from: int = 0) -> bool:
        worker = self.with_trial(trial)
        assert worker is not None
        if worker.trial >= 0:
            return False
        worker.trial, worker.does = trial, "return"
        return True

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        worker = self.with_trial(trial)
        if worker is None or worker.trial != trial or worker.does != "wait":
            return
        assert decision == self.model.rows[trial].decided
        if save:
            self.save(trial)
        worker.does = {_core.CONTINUE: "run", _core.STOP: "stop", _core.PAUSE: "pause"}[decision]

    def save(self, trial: int) -> None:
        assert self.saves, "functions save what they report"
        worker = self.with_trial(trial)
        if worker is not None:
            worker.saves.append(trial)

    def discard(self, trial: int) -> None:
        worker = self.with_trial(trial)
        if worker is not None and worker.trial != trial:
            del worker.steps[trial]

    def stop(self, trial: int) -> None:
        assert trial in self.model.wanted, "nobody ends this run"
        worker = self.with_trial(trial)
        if worker is not None and worker.trial == trial:
            worker.stopped.add(trial)

    def handed(self) -> set[int]:
        """Trials that it was given, and that have not begun, or gone on."""
        queued = {trial for worker in self.workers for trial, _ in worker.queue}
        return queued | {worker.trial for worker in self.workers if worker.does in ("begin", "return")}

    def kill(self, trial: int) -> None:
        worker = self.with_trial(trial)
        if worker is not None and worker.trial == trial:
            self.die(worker)

    def die(self, worker: Worker) -> None:
        """Records up to here are seen, and then the death."""
        self.workers.remove(worker)
        unstarted = [trial for trial, _ in worker.queue]
        ran = worker.trial
        if worker.does == "begin":
            unstarted, ran = [ran, *unstarted], -1
        paused = [trial for trial in worker.steps if trial != worker.trial or worker.does == "return"]
        self.dead.append(Death(worker.source, ran, unstarted, paused, "it died"))

    def poll(self, timeout: float) -> list[Batch]:
        found = []
        for worker in self.rings:
            while worker.polled < len(worker.records):
                until = worker.polled + 1 if self.in_pieces else len(worker.records)
                data = b"".join(worker.records[worker.polled : until])
                found.append(Batch(worker.source, worker.ends[until - 1], memoryview(data)))
                self.model.take(worker.source, single(data))
                worker.polled = until
        return found

    def release(self) -> None:
        for worker in self.rings:
            worker.released = worker.polled

    def deaths(self) -> list[Death]:
        found, self.dead = self.dead, []
        for death in found:
            self.model.died(death.source)
        return found

    def left(self, positions: dict[int, int], kept: bool = True) -> list[tuple[int, int, bytes]]:
        """What the rings hold behind these positions; with ``kept=False`` all that was written there, released or not."""
        found = []
        for worker in self.rings:
            at = max(positions.get(worker.source, 0), worker.ends[worker.released - 1] if kept and worker.released else 0)
            data = b"".join(record for record, end in zip(worker.records, worker.ends, strict=True) if end > at)
            if data:
                found.append((worker.source, worker.ends[-1], data))
        return found

    def close(self) -> None:
        """Nothing is left: it was memory."""

    @property
    def usage(self) -> str:
        return ""

    @property
    def idle(self) -> bool:
        return all(worker.trial < 0 for worker in self.workers)


class Storage(MemoryStorage):
    """Kills the driver before or behind one of its commits, and tells the model what the journal has."""

    def __init__(self, model: SlowExperiment) -> None:
        super().__init__()
        self.model = model
        self.kill_in: int | None = None  # commits
        self.stores_first = False

    def append(self, entries: Any, checkpoints: Any = (), dropped: Any = ()) -> None:
        kills = self.kill_in == 0
        if self.kill_in is not None:
            self.kill_in -= 1
        if kills and not self.stores_first:
            raise Killed
        super().append(entries, checkpoints, dropped)
        self.model.stored = len(self.model.log)
        if kills:
            raise Killed


class Loop(TuneLoop):
    """A session of the run: turns are made by hand, and no folder is there."""

    def __init__(self, spec: RunSpec, storage: Storage, model: SlowExperiment, workers: int, before: InMemory | None) -> None:
        super().__init__(spec)
        self._store_in(storage)
        self._journal.is_due = lambda got: self.commits  # type: ignore[method-assign]
        self.model, self.workers, self.before = model, workers, before
        self.commits = True
        self.keeps_paused = not isinstance(spec.scheduler, FIFOScheduler)
        with (
            patch("fasttune.engine.loop.ring_sources", lambda path: [one.source for one in before.rings] if before else []),
            patch("fasttune.engine.loop.read_rings", self.read_rings),
            patch("fasttune.engine.loop.remove_rings", self.remove_rings),
            patch("fasttune.engine.loop.ExperimentState", type("Followed", (Followed,), {"model": model})),
        ):
            self._prepare()

    def _make_executor(self, request: Any, first_source: int) -> Executor:
        self.lab = InMemory(self.model, self.workers, first_source)
        return self.lab

    def read_rings(self, path: str, positions: dict[int, int], wait: bool) -> Any:
        assert self.before is not None
        written = self.before.left(positions, kept=False)
        self.model.go_on([(source, single(data)) for source, _, data in written], keeps_paused=self.keeps_paused)
        return self.before.left(positions)

    def remove_rings(self, path: str) -> None:
        if self.before is not None:
            self.before.rings.clear()

class Experiment(RuleBasedStateMachine):
    """One run of up to six trials and all its sessions."""

    @initialize(
        trials=st.integers(1, 6), workers=st.integers(1, 3), asks=st.booleans(), failures=st.integers(0, 9), alive=st.integers(0, 2),
        searches=st.booleans(), classes=st.booleans(), orders_others=st.booleans(),
    )  # fmt: skip
    def begin(
        self, trials: int, workers: int, asks: bool, failures: int, alive: int, searches: bool = False, classes: bool = False,
        orders_others: bool = False,
    ) -> None:  # fmt: skip
        self.model = SlowExperiment(trials, failures)
        self.storage = Storage(self.model)
        self.workers, self.asks, self.searches, self.orders_others = workers, asks, searches, orders_others
        trainable: Any = Steps if classes else print
        self.spec = RunSpec(
            name="machine", path=NOWHERE, metric="score", mode="max", searcher=None, scheduler=FIFOScheduler(), stop=StopRules(),
            trainables=[TrainableSpec("f", trainable, resolve_resources(None), {"x": tune.uniform(0, 1)}, trials, "machine")],
            failure=FailureConfig(failures), max_suspended=alive, machine=Computer(cpus=(0,)), verbose=0, resume=ResumeConfig(),
        )  # fmt: skip
        self.loop = self.session(None)
        self.handed: set[int] = set()
        self.check()
        self.sound = True

    def session(self, before: InMemory | None) -> Loop:
        """One with a searcher and a scheduler that know nothing yet."""
        self.spec.scheduler = Obedient(self.orders_others) if self.asks else FIFOScheduler()
        self.spec.searcher = Listening() if self.searches else None
        return Loop(self.spec, self.storage, self.model, self.workers, before)

    @property
    def lab(self) -> InMemory:
        return self.loop.lab

    # -- what workers do ----------------------------------------------------------------------------------------------

    def work(self, moves: list[tuple[int, str, float, bool]]) -> None:
        """Workers write this and that, or die, until the loop looks again."""
        for pick, what, score, saves in moves:
            if not self.lab.workers:
                return
            worker = self.lab.workers[pick % len(self.lab.workers)]
            worker.save_all()
            if what == "die":
                self.lab.die(worker)
            elif what == "late":
                if worker.over:
                    self.write_late(worker, worker.over[pick % len(worker.over)], pick, saves)
            elif what in ODD:
                self.write_what_does_not_fit(worker, what, pick)
            elif worker.busy and worker.does != "run":
                self.obey(worker)
            elif worker.busy and worker.trial in worker.stopped:
                worker.does = "stop"
                self.obey(worker)
            elif worker.busy and what == "go on":
                self.report(worker, score, saves)
            elif worker.busy:
                self.end(worker, ENDS[what])

    def obey(self, worker: Worker) -> None:
        """A worker does what it was told to."""
        trial, step = worker.trial, worker.steps[worker.trial]
        if worker.does == "begin":
            job, worker.does = worker.job, "run"
            worker.over = [i for i in worker.over if i != trial]
            worker.write(_core.encode(_core.KIND_START, trial, step, struct.pack("<IId", 1, job.changes, job.base_total)))
        elif worker.does == "return":
            worker.does = "run"
            worker.write(_core.encode(_core.KIND_RESUMED, trial, step))
        elif worker.does == "pause":
            worker.trial, worker.does = -1, "idle"
            worker.write(_core.encode(_core.KIND_PAUSED, trial, step))
            worker.take_next()
        else:
            worker.write(_core.encode(_core.KIND_END, trial, step, flags=_core.STOP))
            worker.leave()

    def report(self, worker: Worker, score: float, saves: bool) -> None:
        """The names of the metrics are a record of their own; a checkpoint becomes visible with its report."""
        trial = worker.trial
        if not worker.told:
            worker.told = True
            worker.write(schema_record(0, ("score",), "f"))
            return
        worker.steps[trial] = step = worker.steps[trial] + 1
        flags = _core.HELD | worker.attempts[trial] << 8
        saved = _core.encode(_core.KIND_CHECKPOINT, trial, step, b"saved", flags) if saves else b""
        worker.write(saved, worker.report(trial, step, score, _core.WAIT if self.asks else 0))
        worker.does = "wait" if self.asks else "run"

    def end(self, worker: Worker, how: int) -> None:
        """A trial ends by itself, or fails; the exception is told before that it has failed."""
        worker.write(_core.encode(how, worker.trial, worker.steps[worker.trial], b"" if how == _core.KIND_END else b"why"))
        if how != _core.KIND_EXCEPTION:
            worker.leave()

    def write_late(self, worker: Worker, trial: int, pick: int, waits: bool) -> None:
        """A worker has gone on with a trial that is over, that waits again, or that has begun elsewhere."""
        kind = (*LATE, _core.KIND_REPORT)[pick % (len(LATE) + 1)]
        if kind == _core.KIND_REPORT:
            worker.write(worker.report(trial, 90, 0.0, _core.WAIT if self.asks and waits else 0))
        else:
            worker.write(_core.encode(kind, trial, 90, b"late", _core.HELD if kind == _core.KIND_CHECKPOINT else 0))

    def write_what_does_not_fit(self, worker: Worker, what: str, pick: int) -> None:
        trial = worker.trial if worker.does in ("run", "wait") else NOBODY
        if trial != NOBODY and what in COSTLY:
            worker.does = "nothing"
        another = next((i for i in range(self.model.trials) if i != worker.trial and i not in worker.steps), NOBODY)
        worker.write({
            "unknown kind": _core.encode(31, trial),
            "no such trial": worker.report(NOBODY, 1, 0.0),
            "names never told": worker.report(trial, 1, 0.0, schema=9),
            "it runs already": _core.encode(_core.KIND_START, trial, 0, struct.pack("<IId", 1, 0, 0.0)),
            "it was not paused": _core.encode(_core.KIND_RESUMED, trial),
            "a config": _core.encode(_core.KIND_CONFIG, NOBODY, 0, b"{}"),
            "another's report": worker.report(another, 70, 0.0),
            "the run's": _core.encode(OF_THE_RUN[pick % len(OF_THE_RUN)], another, 1, b"{}"),
            "another's": _core.encode(LATE[pick % len(LATE)], another, 70, b"no", _core.HELD),
        }[what])  # fmt: skip

    # -- what the run does --------------------------------------------------------------------------------------------

    @rule(
        moves=st.lists(st.tuples(picks, MOVES, SCORES, st.booleans()), max_size=8),
        commits=st.booleans(),
        in_pieces=st.booleans(),
        paused_first=st.booleans(),
        killed=st.sampled_from(["no"] * 8 + ["before the turn", "before a commit", "behind a commit"]),
        commit=st.integers(0, 1),
        again=st.booleans(),
    )
    def turn(self, moves: Any, commits: bool, in_pieces: bool, paused_first: bool, killed: str, commit: int, again: bool) -> None:
        """Workers do something and the loop makes a turn, if it is not killed before, or around its first or second commit;
        ``again``: and once more while it stores what was left."""
        self.sound = False  # until all of it went well
        self.work(moves)
        self.spec.scheduler.paused_first = paused_first  # type: ignore[attr-defined]
        self.loop.commits, self.lab.in_pieces = commits, in_pieces
        if killed.endswith("commit"):
            self.storage.kill_in, self.storage.stores_first = commit, killed == "behind a commit"
        with suppress(Killed):
            if killed != "before the turn" and not self.loop.state.finished:
                self.model.tell_stops(self.handed)
                self.loop._turn(0.0)
                self.model.end_turn()
        if killed != "no":
            self.go_on(again)
        self.handed = self.lab.handed()  # as the state has it until it looks again
        self.check()
        for worker in self.lab.workers:
            assert worker.does not in ("wait", "nothing"), f"trial {worker.trial} was neither answered nor killed"
        self.sound = True

    @rule(really=st.sampled_from([True, *[False] * 5]), pick=picks, at_once=st.booleans())
    def stop(self, really: bool, pick: int, at_once: bool) -> None:
        """Now and then somebody outside wants a trial to end."""
        if not really or not len(self.loop.state):
            return
        self.sound = False
        trial = pick % len(self.loop.state)
        self.model.ask_to_stop(trial, at_once, self.handed)
        self.loop.state.stop_trial(trial, at_once)
        self.loop._store_all()
        self.check()
        self.sound = True

    def go_on(self, again: bool) -> None:
        """Another session goes on with what the last one has left."""
        before = self.lab
        self.storage.kill_in = 0 if again else None
        for _ in range(2):
            with suppress(Killed):
                self.loop = self.session(before)
                break
        self.storage.kill_in = None

    # -- what holds ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        found = told(self.loop.state)
        assert found == shown(self.model.rows[: len(found)])
        assert all(row.status == "PENDING" for row in self.model.rows[len(found) :])
        if self.searches:
            over = {i: row.status == "ERROR" for i, row in enumerate(self.model.rows) if row.status in OVER}
            assert self.spec.searcher.ended == over  # type: ignore[union-attr]

    @invariant()
    def whoever_looks_sees_what_is_stored_and_left(self) -> None:
        if not hasattr(self, "loop"):
            return
        sound, self.sound = self.sound, False
        left = self.lab.left(self.storage.positions(), kept=False)
        records = ExperimentRecords.read(self.storage, NOWHERE, lambda positions: self.lab.left(positions))
        seen = copy.deepcopy(self.model)
        seen.look([(source, single(data)) for source, _, data in left])
        found = told(records)
        assert found == shown(seen.rows[: len(found)])
        self.sound = sound

    def teardown(self) -> None:
        """Whatever was, the run comes to its end when its trials do."""
        if not getattr(self, "sound", False):
            return
        for _ in range(200):
            if self.loop.state.finished:
                break
            self.turn([], True, False, False, "no", 0, False)
            for worker in list(self.lab.workers):
                worker.save_all()
                while worker.busy:
                    if worker.does == "run":
                        worker.write(_core.encode(_core.KIND_END, worker.trial, worker.steps[worker.trial]))
                        worker.leave()
                    else:
                        self.obey(worker)
        assert self.loop.state.finished
        assert {row.status for row in self.model.rows} <= {"TERMINATED", "ERROR"}


@pytest.mark.timeout(1200)  # a failure is made smaller for five minutes before it is told
def test_a_run_is_what_the_slow_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of records that do not fit
        monkeypatch.setattr("fasttune.engine.loop.GRACE_S", 1e9)  # nobody is killed because this machine is slow
        run_state_machine_as_test(
            Experiment,
            settings=settings(
                max_examples=rounds(1200),
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            ),
        )


def test_a_report_that_waits_and_a_record_that_does_not_fit_in_one_piece() -> None:
    """The report is decided about while its trial runs; then the trial fails, and is tried again."""
    run = Experiment()
    run.begin(trials=1, workers=1, asks=True, failures=1, alive=0)
    turn = {"commits": True, "in_pieces": False, "paused_first": False, "killed": "no", "commit": 0, "again": False}
    run.turn(moves=[], **turn)
    moves = [(0, "go on", 0.0, False)] * 3 + [(0, "names never told", 0.0, False)]  # it began, names, report
    with pytest.warns(RuntimeWarning, match="metric names 9 were never told"):
        run.turn(moves=moves, **turn)
    assert shown(run.model.rows) == [("PENDING", 1, 1, 1, 1)]
    run.teardown()
    assert shown(run.model.rows) == [("TERMINATED", 0, 1, 2, 1)]


@pytest.mark.parametrize("asks", [False, True])
def test_a_trial_whose_records_do_not_fit_fails_once_nobody_has_it(asks: bool) -> None:
    """Its START is damaged, so what follows does not fit either; its worker knows nothing of that, and is done with it."""
    run = Experiment()
    run.begin(trials=1, workers=1, asks=asks, failures=0, alive=0)
    run.loop._turn(0.0)
    worker = run.lab.workers[0]
    worker.write(_core.encode(_core.KIND_START, 0, 0, struct.pack("<IId", 1, 7, 0.0)))
    worker.write(_core.encode(_core.KIND_END, 0))
    worker.leave()
    with pytest.warns(RuntimeWarning, match="trial 0 began as one that had been put back or changed 7 times, and it has been 0"):
        run.loop._turn(0.0)
    for status in ("PENDING", "ERROR"):  # in the first turn its last record may have come behind the poll
        run.loop._turn(0.0)
        assert run.loop.state.table.status(0) == status
    assert "No worker has this trial any more" in str(run.loop.state.failure(0))
    assert run.loop.state.finished
