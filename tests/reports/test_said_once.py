"""What a run is told once, each run of a process is told: also the second one of a notebook."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune


class Odd:
    """Of a type that nobody can store."""


def a_set(config: dict[str, Any]) -> None:
    for _ in range(2):
        tune.report(loss=1.0, seen={1, 2})


def an_object(config: dict[str, Any]) -> None:
    for _ in range(2):
        tune.report(loss=1.0, parts=[Odd(), Odd()])


def keys_that_look_alike(config: dict[str, Any]) -> None:
    for _ in range(2):
        tune.report({"loss": 1.0, 1: 2.0, "1": 3.0})


def an_attribute_of_a_trial(config: dict[str, Any]) -> None:
    for _ in range(2):
        tune.set_user_attr("of", {1, 2})
        tune.report(loss=1.0)


def a_total_that_is_no_number(config: dict[str, Any]) -> None:
    for _ in range(2):
        tune.report(loss=1.0, timesteps_this_iter="many")


def a_number_after_reports(config: dict[str, Any]) -> float:
    tune.report(loss=1.0)
    return 2.0


@pytest.mark.parametrize(
    ("train", "text", "options"),
    [
        (a_set, "'seen' has the type set", {}),
        (an_object, "'parts' has the type .*Odd", {}),
        (keys_that_look_alike, "two keys of a report are the same text", {}),
        (an_attribute_of_a_trial, "'of' has the type set", {}),
        (a_total_that_is_no_number, "timesteps_this_iter is not added up", {}),
        (a_number_after_reports, "is dropped: it has reported before", {}),
        (lambda config: 1.0, "user attribute 'owners' has the type set", {"user_attrs": {"owners": {"a"}}}),
    ],
)
def test_each_run_is_told_once(tmp_path: Path, train: Any, text: str, options: dict[str, Any]) -> None:
    for k in range(2):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            tune.run(
                train, config={"x": 1}, num_samples=3, metric="loss", mode="min", executor="inline", verbose=0,
                name=f"run{k}", storage_path=str(tmp_path), **options,
            )  # fmt: skip
        said = [str(one.message) for one in heard]
        assert any(re.search(text, one) for one in said), said
        assert len(set(said)) == len(said)
