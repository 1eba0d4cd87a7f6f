"""Which trials no other trial beats."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fasttune as tune
from fasttune.pareto import pareto_front


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(st.integers(0, 5), min_size=width, max_size=width), max_size=40)
    )
)
def test_as_by_the_definition(rows: list[list[int]]) -> None:
    points = np.array(rows, dtype=float).reshape(len(rows), len(rows[0]) if rows else 1)
    slow = [
        i
        for i, a in enumerate(rows)
        if not any(all(y <= x for x, y in zip(a, b, strict=True)) and b != a for b in rows)
    ]
    front = pareto_front(points).tolist()
    assert sorted(front) == slow
    assert [rows[i] for i in front] == sorted(rows[i] for i in slow)


def train(config: dict[str, Any]) -> None:
    x = config["x"]
    tune.report(loss=(x - 3) ** 2, size=float(x), score=-float(x), odd=math.nan if x == 0 else float(x))


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> tune.ExperimentAnalysis:
    return tune.run(
        train,
        config={"x": tune.grid_search([5, 4, 3, 2, 1, 0])},
        metric="loss",
        mode="min",
        executor="inline",
        storage_path=str(tmp_path_factory.mktemp("pareto")),
        verbose=0,
    )


def xs(trials: list[Any]) -> list[int]:
    return [trial.config["x"] for trial in trials]


def test_small_loss_against_small_size(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    assert xs(analysis.pareto_front({"loss": "min", "size": "min"})) == [3, 2, 1, 0]
    assert xs(analysis.pareto_front({"size": "min", "loss": "min"})) == [0, 1, 2, 3]
    assert xs(analysis.pareto_front({"loss": "min", "score": "max"})) == [3, 2, 1, 0]
    assert xs(analysis.pareto_front({"loss": "min", "score": "min"})) == [3, 4, 5]


def test_without_metrics_it_is_the_best_trial(analysis: tune.ExperimentAnalysis) -> None:
    assert analysis.pareto_front() == [analysis.best_trial]


def test_what_is_not_finite_is_left_out(analysis: tune.ExperimentAnalysis) -> None:
    assert xs(analysis.pareto_front({"loss": "min", "odd": "min"})) == [3, 2, 1]


@pytest.mark.parametrize(
    ("metrics", "scope", "text"),
    [({}, "last", "needs metrics"), ({"loss": "least"}, "last", "least"), ({"loss": "min"}, "first", "scope")],
)
def test_bad_arguments(analysis: tune.ExperimentAnalysis, metrics: dict[str, str], scope: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        analysis.pareto_front(metrics, scope)
