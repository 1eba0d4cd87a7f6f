"""Every scheduler x what trials can do to it: nan, infinities, times that jump and go back, errors, early ends, other
attempts; drawn by Hypothesis, run on the real state in virtual time, one to four trials at a time. A missing metric fails
its trial and nothing else; that is tried in runs."""

from __future__ import annotations

import inspect
import math
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import fasttune as tune
from fasttune import schedulers
from fasttune.schedulers import TrialScheduler, create_scheduler
from rounds import rounds

SETTINGS: dict[str, Any] = {
    "time_attr": "t",
    "max_t": 9,
    "grace_period": 1,
    "reduction_factor": 3,
    "min_samples_required": 2,
    "perturbation_interval": 2,
    "hyperparam_mutations": {"x": tune.uniform(0, 1)},
    "hyperparam_bounds": {"x": [0.0, 1.0]},
    "require_attrs": False,
    "n": 9,
    "policy_file": Path(__file__).parents[1] / "contracts" / "pbt_policy.txt",
}
MOST = {"pbt_replay": 1}  # trials that a scheduler takes

values = st.one_of(
    st.floats(-5, 5),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e308, -1e308]),
)
times = st.sampled_from([1.0, 1.0, 1.0, 1.0, 0.0, -1.0, 2.0, 5.0, 100.0, 0.5])
steps = st.one_of(st.tuples(values, times), st.just("error"))
curves = st.lists(steps, max_size=14)
populations = st.lists(curves, min_size=1, max_size=9)


def names() -> list[str]:
    """One name for every scheduler that can be made of ``SETTINGS``."""
    made: dict[str, str] = {}
    for name, kind in sorted(schedulers._NAMES.items()):
        if small(name) is not None:
            made.setdefault(kind, name)
    return sorted(made.values())


def small(name: str, **more: Any) -> TrialScheduler | None:
    kind = getattr(schedulers, schedulers._NAMES[name])
    taken = inspect.signature(kind).parameters
    given_ = {key: value for key, value in SETTINGS.items() if key in taken}
    needed = [one for one in taken.values() if one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    return None if {one.name for one in needed} - given_.keys() else create_scheduler(name, **given_, **more)


def run(name: str, plan: list[Any], workers: int, max_failures: int, *, quiet: bool = True, **more: Any) -> Any:
    failed: set[int] = set()

    def curve(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        trial, t = config["trial"], 0.0
        for step in plan[trial]:
            if step == "error":
                if trial in failed:
                    continue
                failed.add(trial)
                raise RuntimeError("as planned")
            value, passed = step
            t += passed
            yield {"t": t, "score": value}

    with warnings.catch_warnings():
        if quiet:
            warnings.simplefilter("ignore")
        return tune.simulate(
            curve,
            {"trial": tune.grid_search(list(range(len(plan)))), "x": 0.5},
            metric="score",
            mode="max",
            scheduler=small(name, **more),
            workers=workers,
            max_failures=max_failures,
        )


def story(made: Any) -> list[Any]:
    return [(trial.status, repr(trial.last_result.get("t")), repr(trial.last_result.get("score"))) for trial in made.trials]


def check(name: str, plan: list[Any], workers: int, max_failures: int) -> None:
    """Every trial ends, only those fail that were to, and a second run decides alike. A run is ended early if three trials
    have ended well and nobody has reported the metric."""
    plan = plan[: MOST.get(name)]
    made = run(name, plan, workers, max_failures)
    states = {trial.status for trial in made.trials}
    event(f"states {sorted(states)}")
    ended_well = sum(trial.status == "TERMINATED" for trial in made.trials)
    if ended_well < 3 or any("score" in trial.last_result for trial in made.trials):
        assert len(made.trials) == len(plan)
        assert states <= {"TERMINATED", "ERROR"}  # nobody is left waiting
    else:
        event("nobody reported")
        assert "RUNNING" not in states
    for trial, curve in zip(made.trials, plan, strict=False):
        assert trial.status != "ERROR" or "error" in curve
    assert story(run(name, plan, workers, max_failures)) == story(made)


@pytest.mark.parametrize("name", [name for name in names() if name != "pb2"])
@settings(max_examples=rounds(150), suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(plan=populations, workers=st.integers(1, 4), max_failures=st.integers(0, 1))
def test_every_scheduler_ends_every_trial_and_decides_alike_again(
    name: str, plan: list[Any], workers: int, max_failures: int
) -> None:
    check(name, plan, workers, max_failures)


# PB2 fits a Gaussian process at every copy, about 20 ms: fewer traces.
@settings(max_examples=rounds(75), suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(plan=populations, workers=st.integers(1, 4), max_failures=st.integers(0, 1))
def test_pb2_ends_every_trial_and_decides_alike_again(plan: list[Any], workers: int, max_failures: int) -> None:
    check("pb2", plan, workers, max_failures)


@pytest.mark.parametrize("name", ["pbt", "pb2"])
def test_trials_that_get_worse_do_not_go_back_for_ever(name: str) -> None:
    """Each goes back in turn to where another was good, and would never be at the end of its training."""
    scores = [[1.0, 6.0, -6.0, -2.0], [1.0, 6.0, -5.0, -2.0], [3.0, 8.0, -5.8, -4.0]]
    plan = [[(score, 1.0) for score in curve] for curve in scores]
    with pytest.warns(RuntimeWarning, match="got no further, because the scores"):
        made = run(name, plan, 1, 0, quiet=False, compare="last_scores")
    assert [trial.last_result["t"] for trial in made.trials] == [4.0, 4.0, 4.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        made = run(name, plan, 1, 0, quiet=False)  # at equal times nobody is better for being behind
    assert [trial.last_result["t"] for trial in made.trials] == [4.0, 4.0, 4.0]


@pytest.mark.parametrize("name", names())
@settings(max_examples=rounds(24), suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(ends=st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=5))
def test_a_report_without_the_metric_fails_its_trial_alone(name: str, ends: list[tuple[int, bool]]) -> None:
    ends = ends[: MOST.get(name)]

    def train(config: dict[str, Any]) -> None:
        n, forgets = ends[config["trial"]]
        for t in range(1, n + 1):
            if t == n and forgets:
                tune.report(t=t, scores=1.0)
            tune.report(t=t, score=float(config["trial"]))

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        made = tune.run(
            train,
            config={"trial": tune.grid_search(list(range(len(ends)))), "x": 0.5},
            metric="score",
            mode="max",
            scheduler=small(name),
            executor="inline",
            storage_path=folder,
            raise_on_failed_trial=False,
            verbose=0,
        )
    assert len(made.trials) == len(ends)
    for trial, (n, forgets) in zip(made.trials, ends, strict=True):
        assert trial.status in ("TERMINATED", "ERROR")
        if trial.status == "ERROR":
            assert forgets
            assert trial.last_result.get("t", 0) == n - 1
