"""AxSearch against the library itself, which brings PyTorch: in an environment of its own (`make test-ax`)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import create_searcher
from fasttune.space.dimensions import Dimensions
from fasttune.space.domains import SearchSpaceError
from fasttune.testing import SearcherContract

pytestmark = pytest.mark.ax

RICH: dict[str, Any] = {
    "lr": tune.loguniform(1e-5, 1e-1),
    "drop": tune.quniform(0, 1, 0.25),
    "layers": tune.randint(1, 5),
    "power": tune.qlograndint(2, 64, 2),
    "step": tune.qloguniform(0.1, 10.0, 0.1),
    "odd": tune.choice([1, True, "1", None]),
    "net": {"width": tune.lograndint(8, 129)},
    "one": tune.choice(["only"]),
    "fixed": 3,
}


def searcher_of(*args: Any, **arguments: Any) -> Any:
    from fasttune.search.ax import AxSearch

    return AxSearch(*args, **arguments)


class TestAx(SearcherContract):
    space: dict[str, Any] = {"x": tune.uniform(0, 1), "n": tune.randint(0, 3), "c": tune.choice(["a", "b"])}  # noqa: RUF012

    def make(self) -> Any:
        return searcher_of(seed=1)

    def check(self, config: Any) -> None:
        assert 0 <= config["x"] <= 1
        assert config["n"] in (0, 1, 2)
        assert config["c"] in ("a", "b")


def test_A7_the_space_is_converted_exactly() -> None:
    searcher = searcher_of(RICH, "loss", "min", seed=5)
    space, dims = tune.SearchSpace(RICH), Dimensions(RICH)
    for number in range(12):
        config: Any = searcher.suggest(str(number))
        assert dims.config(dims.numbers(config)) == config
        assert space.contains({**config, "fixed": 3})
        searcher.on_trial_complete(str(number), {"loss": float(config["lr"])})


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"x": tune.randn()}, "'x': an unbounded normal"),
        ({"x": tune.grid_search([1, 2])}, "cannot walk through the grid_search at 'x'"),
        ({"c": tune.choice([{"y": tune.uniform(0, 1)}, 2])}, "there only for one option of 'c'"),
    ],
)
def test_A7_what_ax_cannot_express_is_refused_with_its_key(space: dict[str, Any], told: str) -> None:
    with pytest.raises(SearchSpaceError, match=told):
        searcher_of(space, "loss", "min")


def test_it_finds_the_valley_of_a_bowl() -> None:
    space = {"x": tune.uniform(-5, 5), "y": tune.uniform(-5, 5)}
    search = searcher_of(space, "loss", "min", seed=1)
    best = math.inf
    for _ in range(20):
        asked = search.ask()
        loss = (asked.config["x"] - 1) ** 2 + (asked.config["y"] + 2) ** 2
        best = min(best, loss)
        search.tell(asked, loss)
    assert best < 0.1


def test_constraints_on_parameters_and_outcomes() -> None:
    space = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}
    search = searcher_of(
        space,
        "val/score",
        "max",
        parameter_constraints=["x + y <= 1.2"],
        outcome_constraints=["latency <= 0.5"],
        seed=1,
    )
    for _ in range(14):
        asked = search.ask()
        x, y = asked.config["x"], asked.config["y"]
        assert x + y <= 1.2 + 1e-6
        search.tell(asked, {"val/score": x + y, "latency": x})
    assert x <= 0.6  # what comes last keeps to the outcome's constraint, too
    search.tell(search.ask(), {"val/score": 1.0})  # without the outcome: not learnt from


def test_two_metrics_together() -> None:
    search = searcher_of({"x": tune.uniform(0, 1)}, ["a", "b"], ["min", "max"], seed=1)
    for _ in range(8):
        asked = search.ask()
        search.tell(asked, {"a": asked.config["x"], "b": asked.config["x"]})


def test_a_client_of_ones_own(tmp_path: Path) -> None:
    from ax.api.client import Client
    from ax.api.configs import RangeParameterConfig

    client = Client(random_seed=1)
    client.configure_experiment(parameters=[RangeParameterConfig(name="x", bounds=(0, 1), parameter_type="float")])
    client.configure_optimization(objective="-loss")
    analysis = tune.run(
        lambda config: tune.report(loss=(config["x"] - 0.3) ** 2 + config["k"]),
        config={"k": 1},
        search_alg=searcher_of(ax_client=client),
        metric="loss",
        mode="min",
        num_samples=8,
        executor="inline",
        storage_path=tmp_path,
        verbose=0,
    )
    assert all(0 <= trial.config["x"] <= 1 and trial.config["k"] == 1 for trial in analysis.trials)
    assert len(client.summarize()) == 8
    with pytest.raises(ValueError, match="takes its space, constraints and options from that client"):
        searcher_of({"x": tune.uniform(0, 1)}, ax_client=client)


def test_A13_failed_trials_do_not_hang_the_search(tmp_path: Path) -> None:
    def fails(config: dict[str, Any]) -> None:
        if config["x"] < 0.5:
            raise RuntimeError("as planned")
        tune.report(loss=config["x"])

    analysis = tune.run(
        fails,
        config={"x": tune.uniform(0, 1)},
        search_alg=create_searcher("ax", seed=1),
        metric="loss",
        mode="min",
        num_samples=12,
        raise_on_failed_trial=False,
        executor="inline",
        storage_path=tmp_path,
        verbose=0,
    )
    assert len(analysis.trials) == 12
    assert {"ERROR", "TERMINATED"} == {trial.status for trial in analysis.trials}


def test_A10_a_resumed_run_goes_on(tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "config": {"x": tune.uniform(0, 1)},
        "metric": "loss",
        "mode": "min",
        "executor": "inline",
        "max_concurrent_trials": 1,
        "storage_path": tmp_path,
        "verbose": 0,
    }

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=(config["x"] - 0.3) ** 2)

    def xs(analysis: Any) -> list[float]:
        return [trial.config["x"] for trial in analysis.trials]

    half = tune.run(train, name="a", num_samples=4, search_alg=searcher_of(seed=1), **common)
    resumed = tune.run(train, name="a", num_samples=8, resume=True, search_alg=searcher_of(seed=1), **common)
    whole = tune.run(train, name="b", num_samples=8, search_alg=searcher_of(seed=1), **common)
    assert xs(resumed)[:4] == xs(half)
    assert xs(resumed) == pytest.approx(xs(whole), abs=1e-3)
