"""Spaces in words, and parameters as axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune.identity import described
from fasttune.plot.chart import log_ticks, score_axis
from fasttune.plot.parameters import MOST_CATEGORIES, parameter_of, space_lines
from fasttune.space.as_json import to_json_value

SPACE: dict[Any, Any] = {
    "a": tune.grid_search([1, 2, 3]),
    "b": tune.choice([1, 2.5, "x", None, (1, 2)]),
    "c": tune.sample_from(lambda: 1),
    "d": {"e": tune.qrandint(2, 10, 2), "f": [tune.uniform(0, 1), 5]},
    "g": tune.randn(1, 2),
    "i": tune.qloguniform(1, 100, 0.5),
    "k": tune.randint(3, 9),
    "m": tune.choice([{"n": "p"}, {"n": "q", "r": tune.lograndint(1, 9)}]),
    5: tune.uniform(-1, 1),
    "constant": 4,
}
WORDS = {
    "a": "each of 1, 2, 3",
    "b": "one of 1, 2.5, x, None, (1, 2)",
    "c": "computed",
    "d/e": "a whole number from 2 to 10 in steps of 2",
    "d/f/0": "a number from 0 to 1",
    "g": "a number, normal with mean 1 and deviation 2",
    "i": "a number from 1 to 100 in steps of 0.5, on a logarithmic scale",
    "k": "a whole number from 3 to 8",
    "m": "one of n=p, n=q",
    "m/r": "a whole number from 1 to 8, on a logarithmic scale",
    "5": "a number from -1 to 1",
}


@pytest.mark.parametrize("form", ["asked", "variants"])
def test_a_space_in_words_as_either_record_has_it(form: str) -> None:
    if form == "asked":
        meta = {"asked": {"trainables": [{"space": described(SPACE)}]}}
    else:
        meta = {"variants": [{"space": to_json_value(SPACE)[0]}]}
    lines = space_lines(meta)
    assert {line.name: line.words for line in lines} == WORDS
    assert next(line for line in lines if line.name == "m/r").condition == "if n=q"
    assert space_lines({}) == []


def test_values_of_other_kinds_are_categories() -> None:
    found = parameter_of("x", [True, None, "a", (1, 2), True], None)
    assert found is not None
    assert found.labels == ("True", "a", "(1, 2)")
    assert found.values[[0, 2, 3, 4]].tolist() == [0, 1, 2, 0]
    assert math.isnan(found.values[1])


def test_what_does_not_differ_is_no_axis() -> None:
    assert parameter_of("x", [1, 1.0, None], None) is None
    assert parameter_of("x", ["a", "a"], None) is None
    assert parameter_of("x", [math.nan, math.inf, 2.0], None) is None


def test_too_many_categories_end_in_other() -> None:
    values = [f"v{k}" for k in range(100)] + ["common"] * 5
    found = parameter_of("x", values, None)
    assert found is not None
    assert found.labels is not None
    assert len(found.labels) == MOST_CATEGORIES
    assert "common" in found.labels
    assert found.labels[-1] == "other"
    assert found.values.max() == MOST_CATEGORIES - 1


def test_numbers_beyond_floats_are_left_out() -> None:
    found = parameter_of("x", [10**400, 1, 2], None)
    assert found is not None
    assert math.isnan(found.values[0])


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (1e-5, 1e-1, ["1e-05", "0.0001", "0.001", "0.01", "0.1"]),
        (1.0, 27.0, ["1", "3", "10"]),
        (4.0, 64.0, ["5", "10", "20", "50"]),
        (2.0, 3.5, ["2", "3"]),
        (1.2, 1.4, ["1.2", "1.4"]),
        (1e-12, 1e12, ["1e-12", "1e-08", "0.0001", "1", "1e+04", "1e+08", "1e+12"]),
    ],
)
def test_ticks_of_logarithmic_axes(low: float, high: float, texts: list[str]) -> None:
    assert log_ticks(low, high)[1] == texts


def test_the_axis_of_scores() -> None:
    spread = np.linspace(0.2, 0.9, 100)
    assert score_axis(spread, "accuracy", "max")[0].range is None
    diverged, note = score_axis(np.append(spread, 1e6), "loss + 1", "max")
    assert diverged.range is None  # the best is never left out
    axis, note = score_axis(np.append(spread - 0.5, 1e6), "loss", "min")
    assert axis.range is not None
    assert axis.range[1] < 10
    assert note.startswith("1 far worse value")
    assert score_axis(np.array([1e-6, 1e-3, 1.0]), "loss", "min")[0].log
    assert not score_axis(np.array([-1.0, 1.0]), "loss", "min")[0].log
