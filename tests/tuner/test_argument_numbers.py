"""Every numeric argument, given something that is no number or too large a one, is named in the error, with the value.

The arguments are found by their types: one that is added later is tried too.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import fasttune as tune
from fasttune import schedulers, search, stopper
from fasttune.argument import as_count, as_number, checked_count, checked_number, shown
from fasttune.devices.resources import PlacementGroupFactory, resolve_resources

HUGE = 10**400  # no float holds it
ENDLESS = 10**5000  # and this one has no text
NO_NUMBERS = {"text": "5", "bytes": b"5", "list": [], "object": object(), "complex": 1 + 1j}
TOO_LARGE = {"huge": HUGE, "endless": ENDLESS}

# What the others need to be made.
NEEDED: dict[str, Any] = {
    "searcher": search.RandomSearch(),
    "metric": "loss",
    "n": 8,
    "max_iter": 5,
    "timeout": 5,
    "repeat": 2,
    "hyperparam_mutations": {"x": [1, 2]},
    "hyperparam_bounds": {"x": [1, 2]},
}
FREE_OF_BOUNDS = {"metric_threshold"}  # any number may be meant


class Argument(NamedTuple):
    made: type
    name: str


def arguments() -> Iterator[Argument]:
    seen: set[type] = set()
    for room in (schedulers, search, stopper):
        for name in getattr(room, "__all__", [n for n in vars(room) if n.endswith("Stopper")]):
            made = getattr(room, name)
            if not inspect.isclass(made) or made in seen or not made.__module__.startswith("fasttune"):
                continue
            seen.add(made)
            for one in inspect.signature(made).parameters.values():
                if re.search(r"\b(int|float)\b", str(one.annotation)) and "Callable" not in str(one.annotation):
                    yield Argument(made, one.name)


def make(argument: Argument, value: Any) -> Any:
    parameters = inspect.signature(argument.made).parameters
    others = {name: NEEDED[name] for name in parameters if name in NEEDED}
    return argument.made(**{**others, argument.name: value})


ALL = list(arguments())


def test_the_arguments_are_found() -> None:
    assert len(ALL) > 40
    names = {name for _, name in ALL}
    assert {"perturbation_interval", "max_t", "gamma", "num_results", "increase_by", "evaluated_rewards", "seed"} <= names


@pytest.mark.parametrize("argument", ALL, ids=lambda a: f"{a.made.__name__}.{a.name}")
def test_what_is_no_number_is_named(argument: Argument) -> None:
    for value in NO_NUMBERS.values():
        if value == [] and argument.name in ("evaluated_rewards",):
            continue
        with pytest.raises((ValueError, TypeError), match=argument.name) as caught:
            make(argument, value)
        assert not isinstance(caught.value, OverflowError)
        assert "instances of" not in str(caught.value)  # Python's own words


@pytest.mark.parametrize("argument", ALL, ids=lambda a: f"{a.made.__name__}.{a.name}")
def test_a_number_that_is_too_large_is_named(argument: Argument) -> None:
    for value in TOO_LARGE.values():
        with pytest.raises((ValueError, TypeError), match=argument.name):
            make(argument, value)


@pytest.mark.parametrize("argument", ALL, ids=lambda a: f"{a.made.__name__}.{a.name}")
def test_nan_is_named(argument: Argument) -> None:
    with pytest.raises((ValueError, TypeError), match=argument.name):
        make(argument, math.nan)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_samples": HUGE},
        {"num_samples": "5"},
        {"max_concurrent_trials": HUGE},
        {"max_concurrent_trials": "5"},
        {"time_budget_s": HUGE},
        {"time_budget_s": "5"},
        {"max_failures": ENDLESS},
        {"max_failures": "5"},
        {"seed": HUGE},
        {"seed": "5"},
        {"verbose": ENDLESS},
        {"max_suspended": HUGE},
        {"max_suspended": "5"},
        {"stop": {"loss": HUGE}},
        {"stop": {"loss": "5"}},
    ],
    ids=lambda a: "-".join(a),
)
def test_arguments_of_a_run(tmp_path: Path, arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises((ValueError, TypeError), match=name):
        tune.run(lambda config: {"loss": 1.0}, storage_path=str(tmp_path), **{"verbose": 0, **arguments})
    assert list(tmp_path.iterdir()) == []  # said before anything is made


@pytest.mark.parametrize("name", ["num_to_keep", "checkpoint_frequency"])
@pytest.mark.parametrize("value", [*NO_NUMBERS.values(), *TOO_LARGE.values(), 1.5, math.nan, True], ids=lambda v: type(v).__name__)
def test_arguments_of_a_checkpoint_config(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        tune.CheckpointConfig(**{name: value})


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: tune.uniform(0, HUGE), "upper bound"),
        (lambda: tune.loguniform(1, HUGE), "upper bound"),
        (lambda: tune.quniform(0, 1, HUGE), "q must be finite"),
        (lambda: tune.randn(0, HUGE), "sd must be finite"),
        (lambda: tune.randint(0, ENDLESS), "upper must fit into 64 bits"),
        (lambda: tune.uniform("0", 1), "lower must be a number"),
    ],
)
def test_bounds_of_a_space(make: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        make()


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"memory": 1e30}, "resource 'memory' must be at most 4.61169e\\+18 bytes, got 1e\\+30"),
        ({"memory": 2**63}, "resource 'memory' must be at most"),
        ({"cpu": HUGE}, "resource 'CPU' must be at most 1e\\+12, got 1000"),
        ({"cpu": ENDLESS}, "resource 'CPU' must be at most 1e\\+12, got an integer of 16610 bits"),
        ({"cpu": -HUGE}, "resource 'CPU' must be a number >= 0"),
        ({"custom_resources": {"tape": HUGE}}, "resource 'tape' must be at most"),
        ({"tape": 1e300}, "resource 'tape' must be at most"),
        ({"cpu": bytearray(b"1")}, "resource 'CPU' must be a number >= 0"),
        ({"cpu": 1 + 1j}, "resource 'CPU' must be a number >= 0"),
        ({"cpu": [1]}, "resource 'CPU' must be a number >= 0"),
        ({"gpu": 0.1 + 1e-20 - 1}, "resource 'GPU' must be a finite number >= 0"),
    ],
)
def test_amounts_that_nothing_can_hold(tmp_path: Path, request_: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        tune.run(lambda config: {"loss": 1.0}, resources_per_trial=request_, storage_path=str(tmp_path), verbose=0)
    assert list(tmp_path.iterdir()) == []  # before any trial, and before a folder


def test_the_sum_of_bundles_is_held_against_the_same_bounds() -> None:
    with pytest.raises(ValueError, match=r"the bundles ask for memory=.* together"):
        PlacementGroupFactory([{"memory": 2**61}] * 3)
    with pytest.raises(ValueError, match=r"the bundles ask for CPU=.* together"):
        PlacementGroupFactory([{"CPU": 1e12}] * 2)


def test_a_request_of_a_class_costs_its_trials_when_it_cannot_be(tmp_path: Path) -> None:
    """It is a function of the config: known when there is one."""

    class Greedy(tune.Trainable):
        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> Any:
            return {"memory": 1e30 if config["x"] else 1}

        def step(self) -> dict[str, Any]:
            return {"loss": 1.0, "done": True}

    analysis = tune.run(
        Greedy,
        config={"x": tune.grid_search([0, 1])},
        storage_path=str(tmp_path),
        executor="inline",
        verbose=0,
        raise_on_failed_trial=False,
    )
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR"]
    assert "resource 'memory' must be at most" in str(analysis.trials[1].get_error())


def test_numbers_of_every_kind_count() -> None:
    for value in (2, 2.0, np.int64(2), np.float32(2), Fraction(2), Decimal(2), np.array(2.0)):
        assert as_number(value) == 2.0
    for value in (2, np.int64(2), np.uint8(2)):
        assert as_count(value) == 2
    for value in (True, np.bool_(True), "2", b"2", None, [2], 2j, HUGE):
        assert as_number(value) is None
    for value in (True, np.bool_(True), 2.0, np.float64(2), "2", None, np.array([2, 3])):
        assert as_count(value) is None
    assert resolve_resources({"cpu": np.float32(1), "memory": np.int64(5)}).required_resources == {"CPU": 1.0, "memory": 5.0}


def test_the_words() -> None:
    for given, text in (
        ({"above": 0}, "x must be a number > 0, got -1"),
        ({"least": 0, "most": 1}, "x must be a number from 0 to 1, got -1"),
        ({"above": 0, "below": 1}, "x must be a number > 0 and < 1, got -1"),
        ({"above": 0, "finite": True}, "x must be a finite number > 0, got -1"),
        ({"above": 0, "rule": "more than nothing"}, "x must be more than nothing, got -1"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            checked_number("x", -1, **given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^x must be an integer >= 0, got 1\.5$"):
        checked_count("x", 1.5)
    with pytest.raises(ValueError, match=r"^x must be an integer >= 0 and < 2\*\*63, got 9223372036854775808$"):
        checked_count("x", 2**63)


def test_a_value_is_shown_whatever_it_is() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert shown(ENDLESS) == "an integer of 16610 bits"
    assert shown(Rude()) == "a Rude whose repr() raises RuntimeError"
    assert len(shown("x" * 10_000)) < 100
