"""What a judgement of ASHA costs: by rule, by how much the rung holds, in batches, and when two processes judge at once.

A figure is the time of LOOPS judgements. Sizes run from 10^2 to 10^6, because what has to be flat is the growth.
"""

from __future__ import annotations

import mmap
import os
import random
from array import array
from typing import Any

import pytest

from fasttune import _core

LOOPS = 1_000
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
RULES: dict[str, dict[str, Any]] = {
    "percentile": {},
    "rank": {"rank": True},
    "rank, patience, best": {"rank": True, "patience": 2, "smooth": True},
}


def columns(first: int, n: int) -> tuple[Any, Any, Any, Any]:
    """Batches for ``decide``: trials from ``first`` on, all at the lowest rung."""
    draw = random.Random(first).random
    return array("q", range(first, first + n)), array("d", [1.0]) * n, array("d", (draw() for _ in range(n))), bytearray(n)


def filled(size: int, **rule: Any) -> _core.Asha:
    asha = _core.Asha(81, 1, 3, 1, True, **rule)
    decide(asha, *columns(0, size))
    return asha


def decide(asha: _core.Asha, trials: Any, times: Any, values: Any, decisions: Any) -> None:
    asha.decide(trials, times, values, memoryview(decisions).cast("b"))


@pytest.mark.benchmark(group="asha: a batch of judgements")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rule", RULES)
def bench_batch(benchmark: Any, rule: str, size: int) -> None:
    rows = columns(size, LOOPS)
    benchmark.pedantic(decide, setup=lambda: ((filled(size, **RULES[rule]), *rows), {}), rounds=10)


@pytest.mark.benchmark(group="asha: judgements from Python")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rule", RULES)
def bench_one_by_one(benchmark: Any, rule: str, size: int) -> None:
    trials, _, values, _ = columns(size, LOOPS)

    def turn(asha: _core.Asha) -> None:
        for trial, value in zip(trials, values, strict=True):
            asha.judge(trial, 1.0, value)

    benchmark.pedantic(turn, setup=lambda: ((filled(size, **RULES[rule]),), {}), rounds=10)


def trials_at_once(trials: int, asha: _core.Asha, gate: mmap.mmap, seed: int) -> None:
    """Run ``trials`` of up to 81 reports each in a ring of this process's own, reading it when it is full."""
    ring = _core.Ring(mmap.mmap(-1, 4096 + (1 << 22)), create=True)
    reporter = _core.Reporter(ring, metric="m", rule=asha)
    draw = random.Random(seed).random
    values = [draw() for _ in range(4096)]

    def drain() -> None:
        while ring.take() is not None:
            pass
        ring.release()

    while gate[0] == 0:
        pass
    for trial in range(seed * trials, (seed + 1) * trials):
        while not reporter.begin(trial):
            drain()
        for step in range(81):
            report = {"m": values[(trial * 7 + step) & 4095]}
            while (answer := reporter.report(report)) == _core.FULL:
                drain()
            if answer == _core.STOP:
                break
        while not reporter.end():
            drain()


@pytest.mark.benchmark(group="asha: 20,000 trials per process on the same rungs")
@pytest.mark.parametrize("processes", [1, 2])
def bench_processes(benchmark: Any, processes: int) -> None:
    trials = 20_000
    told: Any = (81, 1, 3, 1, True)

    def start() -> tuple[tuple[Any, ...], dict[str, Any]]:
        memory, gate = os.memfd_create("rungs"), mmap.mmap(-1, 4096)
        asha = _core.Asha(*told, fd=memory)
        os.close(memory)
        pids = []
        for seed in range(processes):
            pid = os.fork()
            if pid == 0:
                trials_at_once(trials, asha, gate, seed)
                os._exit(0)
            pids.append(pid)
        return (gate, pids), {}

    def turn(gate: mmap.mmap, pids: list[int]) -> None:
        gate[0] = 1
        for pid in pids:
            os.waitpid(pid, 0)

    benchmark.pedantic(turn, setup=start, rounds=5)
