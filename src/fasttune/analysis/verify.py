"""Replay verification: does a scheduler decide again as the journal says it did?

A run that reports wait in is replayed as a resumed run is: the state folds the journal and asks the scheduler again. A
run whose rule was compiled is judged again, report by report, in the order of the rungs' lock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune import _core
from fasttune.analysis.fresh import copied
from fasttune.config import ResumeConfig, ResumeType, RunSpec, TrainableSpec
from fasttune.devices.resources import resolve_resources
from fasttune.engine.facts import ONE_TRIAL
from fasttune.engine.records import ExperimentRecords
from fasttune.engine.resuming import resume
from fasttune.engine.state import CODES, ExperimentState
from fasttune.engine.suggestions import form_of
from fasttune.space.as_json import from_json_value
from fasttune.stopper import StopRules, resolve_stop

if TYPE_CHECKING:
    from fasttune.schedulers import TrialScheduler

NAMES = {_core.CONTINUE: "CONTINUE", _core.STOP: "STOP", _core.PAUSE: "PAUSE"}
JUDGED = 0x08
SEQUENCE = (1 << 48) - 1  # the bits of a judgement's number, above those of its rung
SKIP = ResumeConfig(ResumeType.SKIP, ResumeType.SKIP, ResumeType.SKIP)
_TAG = Struct("<Q")
_START = Struct("<IId")


class Difference(NamedTuple):
    """A decision that comes out otherwise: what the journal has, and what the scheduler says now."""

    trial_id: str
    training_iteration: int
    recorded: str
    replayed: str


class Recorded(NamedTuple):
    """A record of the journal that concerns decisions."""

    kind: int
    flags: int
    trial: int
    step: int
    time: float
    metrics: dict[str, float]
    payload: bytes
    sequence: int  # that the rungs' lock gave its judgement; 0: not judged


def verify(records: ExperimentRecords, scheduler: TrialScheduler, stop: Any = None) -> list[Difference]:
    """The decisions of a journal that a fresh scheduler of the same settings does not repeat, in order; [] when it
    repeats them all.

    ``stop``: the run's stopper, if it was an object or a function (thresholds are in the journal). What ended because
    the run was ended, out of time or by Ctrl-C, no scheduler decided: it is not compared.

    ValueError when the scheduler is of another kind than the one that the journal names.
    """
    kind = type(scheduler).__name__
    if kind != records.meta["scheduler"]:
        raise ValueError(
            f"the experiment was run by {records.meta['scheduler']}, and a {kind} is to verify it: give a fresh "
            "scheduler of the same kind and settings"
        )
    scheduler = copied(scheduler)
    if scheduler.metric is None:
        scheduler.set_search_properties(records.metric, records.mode)
    replay = Replay(spec_of(records, scheduler, resolve_stop(stop)), records)
    told = list(journal(records))
    return replay.asked(told) if replay.asks else judged_again(replay, told)


class Replay(ExperimentState):
    """The state that a resume would build; it keeps what is decided on the way."""

    def __init__(self, spec: RunSpec, records: ExperimentRecords) -> None:
        self.recorded = records
        self.decided: list[tuple[int, int, int]] = []  # trial, step, decision
        self.changed: list[Difference] = []  # changes that were ordered otherwise, or not at all
        super().__init__(spec, records.meta, None)
        self.configs.variants = self._variants_of(records.meta["variants"])

    def _variants_of(self, told: list[Any]) -> list[Any]:
        return ExperimentRecords._variants_of(self, told)

    def saves_when_told(self, i: int) -> bool:
        one = self.meta["trainables"][self.experiment_of(i)]
        return bool(one.get("saves", one.get("is_class")))

    def decide(self, i: int, result: dict[str, Any], flat: dict[str, Any]) -> int:
        decision = super().decide(i, result, flat)
        self.decided.append((i, flat["training_iteration"], decision))
        return decision

    def react(self, events: Iterable[tuple[Any, ...]]) -> None:
        for event in events:
            if event[0] == _core.KIND_CHANGED:
                self._compare(event[1], event[3], json.loads(event[5]))
            super().react((event,))

    def _compare(self, i: int, step: int, told: dict[str, Any]) -> None:
        """A change as the journal has it, and as it is ordered now."""
        names = ("config", "donor", "tag", "resources")
        ordered = self.orders.changes.get(i)
        now = None if ordered is None else {
            "config": ordered.config,
            "donor": None if ordered.donor is None else ordered.donor.index,
            "tag": ordered.tag,
            "resources": None if ordered.resources is None else as_json(ordered.resources.__reduce__()[1]),
        }  # fmt: skip
        was = {name: told[name] for name in names} | {"config": from_json_value(told["config"])}
        if now is None or form_of(was) != form_of(now):
            self.changed.append(Difference(self.trial_id(i), step, f"change {was}", f"change {now}"))

    def asked(self, told: list[Recorded]) -> list[Difference]:
        """Ask again, in the journal's order."""
        assert self.recorded.storage is not None
        entries = iter(self.recorded.storage.read())
        next(entries)  # the meta entry
        resume(self, entries, SKIP, lambda _: self.recorded.leftovers)
        return [
            Difference(self.trial_id(i), step, NAMES[was], NAMES[now])
            for (i, step, now), was in zip(self.decided, recorded_answers(told), strict=True)
            if was is not None and was != now
        ] + self.changed


def as_json(value: Any) -> Any:
    """A value as it comes back from JSON."""
    return json.loads(json.dumps(value))


def recorded_answers(told: list[Recorded]) -> list[int | None]:
    """What each report that waited was answered, as what its trial did next tells; None when nothing tells."""
    answers: list[int | None] = []
    waiting: dict[int, int] = {}  # trial -> its place among the answers
    stopped: set[int] = set()  # trials that were ended from outside
    ended = False
    for one in told:
        if one.kind == _core.KIND_DECISION and one.flags & ONE_TRIAL:
            stopped.add(one.trial)
        elif one.kind == _core.KIND_DECISION:
            ended = True
        elif one.kind == _core.KIND_CONFIGS:
            ended = False  # the run was resumed
        place = waiting.pop(one.trial, None) if one.kind in _NEXT else None
        by_itself = one.kind != _core.KIND_END or one.trial not in stopped
        if place is not None and not ended and by_itself:
            answers[place] = _answer(one)
        if one.kind == _core.KIND_REPORT and one.flags & 7 == _core.WAIT:
            waiting[one.trial] = len(answers)
            answers.append(None)
    return answers


_NEXT = frozenset([
    _core.KIND_REPORT, _core.KIND_END, _core.KIND_ERROR, _core.KIND_EXCEPTION, _core.KIND_PAUSED, _core.KIND_REQUEUED,
])  # fmt: skip


def _answer(after: Recorded) -> int | None:
    if after.kind == _core.KIND_PAUSED:
        return _core.PAUSE
    if after.kind == _core.KIND_END and after.flags & 7 == _core.STOP:
        return _core.STOP
    return None if after.kind == _core.KIND_REQUEUED else _core.CONTINUE


def judged_again(replay: Replay, told: list[Recorded]) -> list[Difference]:
    """Judge again what a compiled rule judged, by the scheduler itself. Limits come before it: a report that reached one
    was not judged."""
    compiled, scheduler = replay.rule, replay.scheduler
    if compiled is None or compiled.kind == "none":
        return []
    found: list[Difference] = []
    clocks: dict[int, tuple[float, float]] = {}  # trial -> when its attempt began, seconds before it
    last: dict[int, dict[str, Any]] = {}  # trial -> its last report that the rule could judge
    over = compiled.arguments.get("max_t", math.inf)
    for one in in_order(told):
        i = one.trial
        if one.kind == _core.KIND_START:
            clocks[i] = one.time, _START.unpack_from(one.payload)[2]
            continue
        if one.kind == _core.KIND_END:
            if one.sequence and i in last:
                scheduler.on_trial_complete(replay.view, replay.recorded.trials[i], last[i])
            continue
        began, before = clocks[i]
        known = {"training_iteration": one.step, "time_total_s": before + one.time - began, **one.metrics}
        if not {replay.metric, compiled.time_attr} <= known.keys():
            continue
        assert replay.metric is not None
        compared = {**known, replay.metric: known.get(_core.SCORE, known[replay.metric])}
        last[i] = compared  # also of one that reached a limit: it is judged when the trial ends
        if limited(known, replay.meta.get("stop", {})):
            continue
        was = one.flags & 7
        if was == _core.STOP and not one.sequence and not known[compiled.time_attr] >= over:
            continue  # stopped from outside
        now = CODES[scheduler.on_trial_result(replay.view, replay.recorded.trials[i], compared)]
        if was != now:
            found.append(Difference(replay.trial_id(i), one.step, NAMES[was], NAMES[now]))
    return found


def limited(known: dict[str, Any], limits: dict[str, float]) -> bool:
    """Whether a report has reached a stop criterion."""
    reached = any(known.get(key, -math.inf) >= limit for key, limit in limits.items())
    return reached or known.get("done", 0.0) != 0.0


def in_order(told: list[Recorded]) -> Iterator[Recorded]:
    """Judgements in the order of the rungs' lock; everything else of a trial as it stands before its next one."""
    stories: dict[int, list[Recorded]] = {}
    turns: list[tuple[int, list[Recorded]]] = []
    for one in told:
        if one.kind not in (_core.KIND_START, _core.KIND_REPORT, _core.KIND_END):
            continue
        stories.setdefault(one.trial, []).append(one)
        if one.sequence:
            turns.append((one.sequence, stories.pop(one.trial)))
    turns.sort(key=lambda turn: turn[0])
    for _, story in turns:
        yield from story
    for story in stories.values():
        yield from story


def journal(records: ExperimentRecords) -> Iterator[Recorded]:
    """The records of a journal, reports with their metrics."""
    if records.storage is None:
        raise ValueError("there is no journal to replay")
    learnt: dict[int, list[tuple[str, ...]]] = {}
    for source, _, data in records.storage.read():
        names = learnt.setdefault(source, [])
        for kind, flags, schema, trial, step, time, payload in _core.decode(data):
            if kind == _core.KIND_SCHEMA:
                _learn(names, schema, payload)
                continue
            metrics: dict[str, float] = {}
            tag, n = 0, 0
            if kind == _core.KIND_REPORT:
                n = len(names[schema])
                metrics = dict(zip(names[schema], memoryview(payload)[: 8 * n].cast("d"), strict=True))
            if flags & JUDGED and kind in (_core.KIND_REPORT, _core.KIND_END):
                tag = _TAG.unpack_from(payload, 8 * n if kind == _core.KIND_REPORT else 8)[0]
            yield Recorded(kind, flags, trial, step, time, metrics, payload, tag >> 8 & SEQUENCE)


def _learn(names: list[tuple[str, ...]], number: int, payload: bytes) -> None:
    if number == len(names):
        names.append(tuple(json.loads(payload.rstrip(b"\0"))["keys"]))


def spec_of(records: ExperimentRecords, scheduler: TrialScheduler, stop: StopRules) -> RunSpec:
    """As much of the run's RunSpec as deciding needs."""
    trainables = [
        TrainableSpec(one["name"], print, resolve_resources(None), {}, one["num_samples"], one["experiment"])
        for one in records.meta["trainables"]
    ]
    return RunSpec(
        name=records.name,
        path=records.path,
        trainables=trainables,
        metric=records.metric,
        mode=records.mode,
        searcher=None,
        scheduler=scheduler,
        stop=stop,
        seed=records.meta["seed"],
    )
