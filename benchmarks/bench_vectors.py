"""What trials that report together cost: 4,096 rows from their beginning to their end, in the core alone, and as whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune import _core
from fasttune.schedulers import ASHAScheduler

ROWS = 4096


def vector(rule: Any = None) -> tuple[_core.RowReporter, _core.Ring]:
    ring = _core.Ring(bytearray(_core.Ring.nbytes(1 << 24)), create=True)
    return _core.RowReporter(_core.Reporter(ring, metric="loss", rule=rule), ROWS), ring


@pytest.mark.benchmark(group="vectors: 4,096 rows")
@pytest.mark.parametrize("rule", ["none", "asha"])
@pytest.mark.parametrize("metrics", [1, 8])
def bench_report(benchmark: Any, rule: str, metrics: int) -> None:
    """They begin, report once, end."""
    rows, ring = vector(_core.Asha(81, 1, 3, 1, False) if rule == "asha" else None)
    keys = ("loss", *(f"m{k}" for k in range(1, metrics)))
    columns = [np.random.default_rng(k).random(ROWS) for k in range(metrics)]
    decisions, none = np.zeros(ROWS, dtype=np.int8), np.empty(0, dtype=np.int64)

    def turn() -> None:
        rows.begin(0, ROWS)
        rows.report(keys, b"f" * metrics, columns, decisions, 0, True)
        rows.keep(none)
        ring.take()
        ring.release()

    benchmark(turn)


@pytest.mark.benchmark(group="vectors: 4,096 rows")
def bench_fold(benchmark: Any) -> None:
    """The table takes them in, with room made for them."""
    rows, ring = vector()
    rows.begin(0, ROWS)
    rows.report(("loss",), b"f", [np.zeros(ROWS)], np.zeros(ROWS, dtype=np.int8), 0, True)
    data = bytes(ring.take() or b"")
    announced = _core.encode(_core.KIND_CONFIGS, 0, ROWS, bytes(ROWS))

    def turn() -> None:
        table = _core.TrialTable("loss")
        table.apply(announced, 0)
        table.apply(data, 1)

    benchmark(turn)


@pytest.mark.benchmark(group="vectors: 1,000,000 trials have room made for them")
def bench_announce(benchmark: Any) -> None:
    announced = [_core.encode(_core.KIND_CONFIGS, first, 1 << 16, bytes(1 << 16)) for first in range(0, 1 << 20, 1 << 16)]

    def turn() -> None:
        table = _core.TrialTable("loss")
        for one in announced:
            table.apply(one, 0)

    benchmark(turn)


@tune.vectorized(size=ROWS)
def formula(configs: dict[str, Any]) -> dict[str, Any]:
    return {"loss": (configs["a"] - 0.3) ** 2 + configs["b"] ** 2 + configs["c"] * configs["d"]}


@tune.vectorized(size=ROWS)
def curve(configs: dict[str, Any]) -> Any:
    best, epoch = (configs["a"] - 0.3) ** 2, 0
    while True:
        epoch += 1
        rows = yield {"loss": best + 1 / epoch}
        if rows is not None:
            best = rows.take(best)


@pytest.mark.benchmark(group="vectors: runs of 200,000 trials")
@pytest.mark.parametrize("what", ["random", "asha"])
def bench_run(benchmark: Any, what: str, tmp_path: Path) -> None:
    def turn() -> None:
        tune.run(
            formula if what == "random" else curve,
            config={name: tune.uniform(0, 1) for name in "abcd"},
            num_samples=200_000,
            metric="loss",
            mode="min",
            scheduler=None if what == "random" else ASHAScheduler(max_t=81, grace_period=1, reduction_factor=3),
            storage_path=str(tmp_path),
            verbose=0,
            seed=1,
        )

    benchmark.pedantic(turn, rounds=5, warmup_rounds=1)
