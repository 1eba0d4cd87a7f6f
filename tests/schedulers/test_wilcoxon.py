"""Averages race: a trial ends where a signed-rank test on the parts that it shares with the best one says that it is worse."""

from __future__ import annotations

import itertools
import math
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttune as tune
from fasttune.schedulers import WilcoxonStoppingRule, create_scheduler
from fasttune.schedulers.wilcoxon_stopping_rule import signed_rank_p
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[0]))
from stage import Stage

FOLDS = 10
HARD = [0.1 * k for k in range(FOLDS)]  # what a fold adds to every trial's error


def slow_p(differences: list[float]) -> float:
    """Every assignment of signs, counted."""
    left = [one for one in differences if one]
    sizes = [abs(one) for one in left]
    ranks = [sum(b < a for b in sizes) + (sum(b == a for b in sizes) + 1) / 2 for a in sizes]
    seen = sum(rank for rank, one in zip(ranks, left, strict=True) if one > 0)
    signs = list(itertools.product([0, 1], repeat=len(left)))
    return sum(sum(r for r, s in zip(ranks, one, strict=True) if s) >= seen for one in signs) / len(signs)


class SlowRule:
    """Lists of what each trial reported, gone through from the beginning at each report."""

    def __init__(self, sign: float, p: float, grace: int) -> None:
        self.sign, self.p, self.grace = sign, p, grace
        self.told: dict[int, dict[float, float]] = {}
        self.ended: list[int] = []

    def best(self) -> dict[float, float]:
        whole = [self.told[k] for k in self.ended if self.told[k]]
        most = max(map(len, whole), default=0)
        return min((one for one in whole if len(one) == most), key=lambda one: math.fsum(one.values()), default={})

    def report(self, trial: int, part: float, value: float) -> str:
        mine = self.told.setdefault(trial, {})
        if math.isfinite(value):
            mine[part] = self.sign * value
        best = self.best()
        apart = [mine[one] - best[one] for one in mine if one in best]
        hopeless = len(apart) >= self.grace and math.fsum(apart) > 0 and slow_p(apart) <= self.p
        return "STOP" if hopeless else "CONTINUE"


@given(st.lists(st.integers(-4, 4).map(float), max_size=9))
@settings(max_examples=rounds(200), deadline=None)
def test_probabilities_are_those_of_all_assignments_of_signs(differences: list[float]) -> None:
    assert signed_rank_p(differences) == pytest.approx(slow_p(differences), abs=1e-12)


@pytest.mark.parametrize("n", [20, 25, 26, 60])
def test_probabilities_are_those_of_scipy(n: int) -> None:
    from scipy import stats

    draw = random.Random(n)
    for shift in (-0.3, 0.0, 0.3):
        differences = [draw.gauss(shift, 1.0) for _ in range(n)]
        exact = stats.wilcoxon(differences, alternative="greater", method="exact").pvalue
        assert signed_rank_p(differences) == pytest.approx(exact, abs=5e-3 if n > 25 else 1e-9)


trial_lists = st.lists(
    st.tuples(st.permutations(range(7)), st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0, math.nan]), min_size=1, max_size=7)),
    min_size=2,
    max_size=7,
)


@given(trial_lists, st.sampled_from(["min", "max"]), st.sampled_from([0.05, 0.2, 0.4]), st.integers(1, 4), st.integers(0, 10**6))
@settings(max_examples=rounds(200), deadline=None)
def test_decisions_are_those_of_the_slow_rule(trials: list[Any], mode: str, p: float, grace: int, seed: int) -> None:
    """Trials of any length, side by side, each with its parts in an order of its own; some of them end early by themselves."""
    rule = WilcoxonStoppingRule("part", p_threshold=p, grace_period=grace)
    stage, slow, draw = Stage(rule, mode=mode), SlowRule(-1.0 if mode == "max" else 1.0, p, grace), random.Random(seed)
    made = stage.add(len(trials))
    stage.choose_all()
    left = {k: list(zip(parts, values, strict=False)) for k, (parts, values) in enumerate(trials)}
    while left:
        k = draw.choice(sorted(left))
        if not left[k]:
            del left[k]
            stage.complete(made[k])
            slow.ended.append(k)
            continue
        part, value = left[k].pop(0)
        answer = stage.report(made[k], part=part, score=value)
        assert answer == slow.report(k, part, value)
        if answer == "STOP":
            del left[k]


def test_a_trial_that_fails_and_is_tried_again_begins_anew() -> None:
    rule = WilcoxonStoppingRule("part")
    stage = Stage(rule, mode="min")
    good, tried = stage.add(2)
    stage.choose_all()
    for part in range(8):
        stage.report(good, part=part, score=1.0 + part)
    stage.complete(good)
    for part in range(3):
        assert stage.report(tried, part=part, score=2.0 + part) == "CONTINUE"
    stage.fail(tried)
    stage.try_again(tried)
    stage.choose_all()
    answers = [stage.report(tried, part=part, score=1.5 + part) for part in range(4)]
    assert answers == ["CONTINUE"] * 3 + ["STOP"]


def train(config: dict[str, Any]) -> None:
    draw, errors = random.Random(int(1e6 * config["x"])), []
    for fold in range(FOLDS):
        errors.append(abs(config["x"] - 0.4) + HARD[fold] + 0.02 * draw.random())
        tune.report(fold_error=errors[-1], error=sum(errors) / len(errors) if len(errors) == FOLDS else math.nan)


def test_it_spares_folds_and_keeps_what_is_found(tmp_path: Path) -> None:
    found = {}
    for name, scheduler in (("whole", None), ("raced", create_scheduler("wilcoxon", value_attr="fold_error"))):
        found[name] = tune.run(
            train, config={"x": tune.uniform(0, 1)}, num_samples=40, metric="error", mode="min", scheduler=scheduler,
            storage_path=tmp_path, name=name, seed=2, verbose=0, executor="inline",
        )  # fmt: skip
    whole, raced = (one.results_df["training_iteration"] for one in found.values())
    assert whole.sum() == 40 * FOLDS
    assert raced.sum() < 0.7 * whole.sum()
    means = {trial.config["x"]: trial.last_result["error"] for trial in found["whole"].trials}
    assert found["raced"].best_result["error"] == min(means.values())


def test_wrong_arguments() -> None:
    for p in (0, 1, -0.1, math.nan):
        with pytest.raises(ValueError, match="p_threshold"):
            WilcoxonStoppingRule(p_threshold=p)
    with pytest.raises(ValueError, match="grace_period must be an integer >= 1"):
        WilcoxonStoppingRule(grace_period=0)
    with pytest.raises(ValueError, match="mode must be"):
        WilcoxonStoppingRule(metric="loss", mode="low")  # type: ignore[arg-type]
    assert WilcoxonStoppingRule().debug_string() == "Using WilcoxonStoppingRule: no trial has ended yet."


@pytest.mark.parametrize("worst", [1.7e308, -1.7e308, sys.float_info.max, math.inf])
def test_values_whose_sums_are_no_numbers_are_compared_with_nothing(worst: float, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for fold in range(FOLDS):
            tune.report(error=worst if config["k"] == 1 or fold == 9 else float(config["k"] + fold))

    analysis = tune.run(
        train, config={"k": tune.grid_search([0, 1, 2])}, scheduler="wilcoxon", metric="error", mode="min", executor="inline",
        storage_path=str(tmp_path), verbose=0,
    )  # fmt: skip
    assert [trial.last_result["training_iteration"] for trial in analysis.trials][:2] == [FOLDS, FOLDS]


@pytest.mark.parametrize("name", ["value_attr", "time_attr"])
@pytest.mark.parametrize("key", [3, "", ["error"]])
def test_keys_are_names(name: str, key: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} must be the name of a reported value"):
        WilcoxonStoppingRule(**{name: key})


class Folds(tune.Trainable):
    """The trial of the least errors fails once, in the middle, and goes on from its checkpoint."""

    def setup(self, config: dict[str, Any]) -> None:
        self.error = config["error"]

    def step(self) -> dict[str, Any]:
        mark = Path(self.logdir) / "has_failed"
        if self.error == 1 and self.iteration == 4 and not mark.exists():
            mark.touch()
            raise RuntimeError("once")
        return {"error": self.error + HARD[self.iteration], "done": self.iteration == 7}

    def save_checkpoint(self, folder: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, saved: Any) -> None:
        pass


def test_one_that_failed_and_goes_on_has_the_folds_before(tmp_path: Path) -> None:
    analysis = tune.run(
        Folds, config={"error": tune.grid_search([5, 1, 3, 3])}, scheduler="wilcoxon", metric="error", mode="min",
        max_failures=3, checkpoint_freq=1, executor="inline", storage_path=str(tmp_path), verbose=0,
    )  # fmt: skip
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [8, 8, 4, 4]
