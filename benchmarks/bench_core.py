"""The core, one structure at a time, called from Python: a report, a decision, a placement, an event.

A figure is the time of LOOPS calls (the group's name says what one call is): minimum and median of many
rounds. Sizes run from 10^2 to 10^6, because what has to be flat is the growth.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice, repeat
from typing import Any

import pytest

from fasttune import _core

LOOPS = 1_000
SIZES = (100, 10_000, 1_000_000)
CONFIGS = 10  # the kind of a record that announces `step` trials from number `trial` on (ring.pxi)
RING_BYTES = _core.Ring.nbytes(1 << 22)


def values(n: int) -> list[float]:
    draw = random.Random(0).random
    return [draw() for _ in range(n)]


@pytest.mark.benchmark(group="event queue: push + pop, ready")
@pytest.mark.parametrize("size", SIZES)
def bench_queue_ready(benchmark: Any, size: int) -> None:
    queue = _core.EventQueue()
    for item in range(size):
        queue.push(item)

    def turn() -> None:
        for item in range(size, size + LOOPS):
            queue.push(item)
        for _ in range(LOOPS):
            queue.pop()

    benchmark(turn)


@pytest.mark.benchmark(group="event queue: push_at + pop_due, timed")
@pytest.mark.parametrize("size", SIZES)
def bench_queue_timed(benchmark: Any, size: int) -> None:
    queue = _core.EventQueue()
    for item, time in enumerate(values(size)):
        queue.push_at(time, item)
    times = values(LOOPS)

    def turn() -> None:
        for item, time in enumerate(times, size):
            queue.push_at(time, item)
            queue.pop_due(2.0)

    benchmark(turn)


@pytest.mark.benchmark(group="ledger: acquire + release")
@pytest.mark.parametrize(("cpus", "gpus", "cpu", "gpu"), [(2, 0, 1, 0), (64, 8, 1, 0.15), (256, 256, 0, 1)])
def bench_ledger(benchmark: Any, cpus: int, gpus: int, cpu: float, gpu: float) -> None:
    ledger = _core.Ledger(list(range(cpus)), gpus)

    def turn() -> None:
        for _ in range(LOOPS):
            ledger.release(ledger.acquire(cpu, gpu))

    benchmark(turn)


def rung_of(size: int) -> Any:
    rung = _core.Rung(2 / 3)
    for value in values(size):
        rung.push(value)
    return rung


@pytest.mark.benchmark(group="rung: push + cutoff")
@pytest.mark.parametrize("size", SIZES)
def bench_rung(benchmark: Any, size: int) -> None:
    rung = rung_of(size)
    news = values(LOOPS)

    def turn() -> None:
        for value in news:
            rung.cutoff()
            rung.push(value)

    benchmark.pedantic(turn, setup=lambda: rung.truncate(size), rounds=50)


@pytest.mark.benchmark(group="rung: LOOPS values taken back at once")
@pytest.mark.parametrize("size", SIZES)
def bench_rung_truncate(benchmark: Any, size: int) -> None:
    rung = rung_of(size)
    news = values(LOOPS)

    def grow() -> None:
        for value in news:
            rung.push(value)

    benchmark.pedantic(lambda: rung.truncate(size), setup=grow, rounds=50)


@pytest.mark.benchmark(group="asha: a judgement at a milestone")
@pytest.mark.parametrize("size", SIZES)
def bench_asha_judgement(benchmark: Any, size: int) -> None:
    olds, news = values(size), values(LOOPS)

    def filled() -> tuple[tuple[Any], dict[str, Any]]:
        rule = _core.Asha(81, 1, 3, 1, True)
        for trial, value in enumerate(olds):
            rule.judge(trial, 1.0, value)
        return (rule,), {}

    def turn(rule: Any) -> None:
        for trial, value in enumerate(news, size):
            rule.judge(trial, 1.0, value)

    benchmark.pedantic(turn, setup=filled, rounds=10)


def reporting(nbytes: int = RING_BYTES, **rules: Any) -> tuple[Any, Any]:
    """A reporter of a trial that has begun, and its ring."""
    ring = _core.Ring(bytearray(nbytes), True)
    reporter = _core.Reporter(ring, **rules)
    reporter.begin(0)
    return reporter, ring


@pytest.mark.benchmark(group="report: LOOPS reports, ring drained")
@pytest.mark.parametrize("keys", [2, 5, 20])
def bench_report(benchmark: Any, keys: int) -> None:
    reporter, ring = reporting()
    metrics = {f"metric_{key}": float(key) for key in range(keys)}

    def turn() -> None:
        report = reporter.report
        for _ in repeat(None, LOOPS):
            report(metrics)
        while ring.take() is not None:
            ring.release()

    benchmark(turn)


@pytest.mark.benchmark(group="report of 2 metrics: what its seal costs")
@pytest.mark.parametrize("sealed", [False, True], ids=["bare", "sealed"])
def bench_seal(benchmark: Any, sealed: bool) -> None:
    reporter, ring = reporting(RING_BYTES if sealed else 4096 + (1 << 22))
    metrics = {"loss": 1.0, "accuracy": 0.5}

    def turn() -> None:
        report = reporter.report
        for _ in repeat(None, LOOPS):
            report(metrics)
        while ring.take() is not None:
            ring.release()

    benchmark(turn)


@pytest.mark.benchmark(group="report under ASHA between milestones")
def bench_report_with_asha(benchmark: Any) -> None:
    reporter, ring = reporting(rule=_core.Asha(10**12, 10**11, 3, 1, True), metric="accuracy")
    metrics = {"accuracy": 0.5, "loss": 1.0}

    def turn() -> None:
        report = reporter.report
        for _ in repeat(None, LOOPS):
            report(metrics)
        while ring.take() is not None:
            ring.release()

    benchmark(turn)


def recorded(trials: int, reports: int, keys: int) -> bytes:
    """The records of trials that were suggested, began, reported and ended."""
    ring = _core.Ring(bytearray(RING_BYTES), True)
    ring.write(CONFIGS, 0, trials)
    reporter = _core.Reporter(ring)
    metrics = {f"metric_{key}": float(key) for key in range(keys)}
    for trial in range(trials):
        reporter.begin(trial)
        for _ in range(reports):
            reporter.report(metrics)
        reporter.end()
    return bytes(ring.take())


@pytest.mark.benchmark(group="fold: 10,000 reports of 2 metrics into the trial table")
@pytest.mark.parametrize(("trials", "reports"), [(10_000, 1), (100, 100)])
def bench_table_fold(benchmark: Any, trials: int, reports: int) -> None:
    data = recorded(trials, reports, 2)
    benchmark(lambda: _core.TrialTable("metric_0").apply(data, 0))


@pytest.mark.benchmark(group="columns: 10,000 reports of 2 metrics")
def bench_columns(benchmark: Any) -> None:
    data = recorded(100, 100, 2)

    def turn() -> Any:
        columns = _core.ReportColumns()
        columns.add(data, 0)
        return columns.blocks()

    benchmark(turn)


def variants_of(space: dict[str, Any]) -> Any:
    from fasttune.search import BasicVariantGenerator

    return BasicVariantGenerator(random_state=0).variants(10**9, space)


@pytest.mark.benchmark(group="sampling: LOOPS configs")
@pytest.mark.parametrize("shape", ["flat", "nested"])
def bench_sampling(benchmark: Any, shape: str) -> None:
    from fasttune.space import functions as tune

    flat = {name: tune.uniform(0.0, 1.0) for name in "abcd"}
    optimizer = {"lr": tune.loguniform(1e-5, 1e-1), "momentum": tune.uniform(0.5, 0.99)}
    nested = {"optimizer": optimizer, "layers": tune.choice([1, 2, 3]), "size": tune.randint(8, 65)}
    config: Callable[[int], Any] = variants_of(flat if shape == "flat" else nested).config

    def turn() -> None:
        for _ in islice(map(config, range(LOOPS)), LOOPS):
            pass

    benchmark(turn)
