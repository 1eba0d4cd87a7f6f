"""Random and grid search: what a config costs, one by one and as columns, and that the size of a grid costs nothing.

    python -m pytest benchmarks/bench_search.py --benchmark-only
    python -m benchmarks.bench_search            configs a second, as a line each: medians of five

A config is a dict of four floats. The goal is a million configs a second as columns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import BasicVariantGenerator, RandomSearch

N = 100_000
SPACE: dict[str, Any] = {
    "a": tune.uniform(0, 1),
    "b": tune.loguniform(1e-4, 1e-1),
    "c": tune.uniform(-1, 1),
    "d": tune.quniform(0, 1, 0.1),
}
HUGE = {key: tune.grid_search(range(1_000)) for key in "abc"}  # a grid of 10^9 points


def columns() -> None:
    tune.SearchSpace(SPACE).columns(N, seed=1)


def block() -> None:
    """What the journal stores and workers compute from: numbers, not yet values."""
    BasicVariantGenerator(random_state=1).variants(N, SPACE).block(0, N)


def configs() -> None:
    config = BasicVariantGenerator(random_state=1).variants(N, SPACE).config
    for i in range(N):
        config(i)


def one_by_one() -> None:
    search = RandomSearch(SPACE, seed=1)
    for i in range(N):
        search.suggest(str(i))


def huge_grid() -> None:
    """Opened, and asked for its last point."""
    variants = BasicVariantGenerator(random_state=1).variants(1, HUGE)
    assert variants.config(len(variants) - 1) == {"a": 999, "b": 999, "c": 999}


WAYS: dict[str, Callable[[], None]] = {
    "columns": columns,
    "block": block,
    "configs": configs,
    "one by one": one_by_one,
}


@pytest.mark.benchmark(group="random search: 100,000 configs of 4 floats")
@pytest.mark.parametrize("way", list(WAYS))
def bench_random(benchmark: Any, way: str) -> None:
    benchmark.pedantic(WAYS[way], rounds=5)


@pytest.mark.benchmark(group="a grid of a billion points: opened, and its last point")
def bench_huge_grid(benchmark: Any) -> None:
    benchmark(huge_grid)


def seconds(work: Callable[[], None]) -> float:
    """The median of five."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken)


def main() -> None:
    for name, work in WAYS.items():
        print(f"{name:<12}{N / seconds(work):14,.0f} configs a second")
    print(f"a grid of 10^9 points, opened, and its last point: {1e6 * seconds(huge_grid):,.0f} us")


if __name__ == "__main__":
    main()
