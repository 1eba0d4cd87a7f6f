"""Priors of dimensions: what may be one, where it is kept, and that searchers begin there and leave."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.error import ResumeError
from fasttune.identity import described, from_description, words
from fasttune.search import BasicVariantGenerator, create_searcher
from fasttune.space.as_json import from_json_value, to_json_value
from fasttune.space.dimensions import Dimensions
from fasttune.space.near_prior import HALF, SHARE, Near

MADE: list[Any] = [
    tune.uniform(0, 1, prior=0.25),
    tune.quniform(0, 1, 0.25, prior=0.5),
    tune.loguniform(1e-5, 1e-1, prior=1e-3),
    tune.qloguniform(1, 64, 1, prior=8),
    tune.randint(1, 9, prior=8),
    tune.qrandint(0, 64, 8, prior=64),
    tune.lograndint(1, 257, prior=32),
    tune.qlograndint(8, 256, 8, prior=16),
    tune.choice(["adam", "sgd", None], prior="sgd"),
    tune.choice([{"kind": "a"}, {"kind": "b"}], prior={"kind": "b"}),
]


@pytest.mark.parametrize("domain", MADE, ids=repr)
def test_it_is_kept_wherever_a_space_is(domain: Any) -> None:
    assert f"prior={domain.prior!r}" in repr(domain)
    form, exact = to_json_value({"x": domain})
    assert exact
    for again in (from_json_value(form)["x"], from_description(described({"x": domain}))["x"], pickle.loads(pickle.dumps(domain))):
        assert again.has_prior
        assert again.prior == domain.prior
        assert repr(again) == repr(domain)
    assert "prior=" in words(described(domain))
    dimensions = Dimensions({"x": domain})
    assert dimensions.config(Near(dimensions).numbers(1, 0, 0) or []) == {"x": domain.prior}


def test_domains_without_one_are_as_they_were() -> None:
    assert not tune.uniform(0, 1).has_prior
    assert "prior" not in repr(tune.choice([1, None]))
    assert tune.choice([1, None], prior=None).has_prior
    assert "prior" not in to_json_value(tune.uniform(0, 1))[0]
    assert not Dimensions({"x": tune.uniform(0, 1)}).has_priors


def test_options_with_domains_of_their_own_are_named_by_themselves() -> None:
    deep = {"kind": "deep", "layers": tune.randint(2, 9, prior=4)}
    space = {"net": tune.choice([{"kind": "flat"}, deep], prior=deep)}
    dimensions = Dimensions(space)
    assert dimensions.config(Near(dimensions).numbers(1, 0, 0) or []) == {"net": {"kind": "deep", "layers": 4}}
    assert Dimensions(from_json_value(to_json_value(space)[0]))[0].prior == 1


@pytest.mark.parametrize("wrong", [
    lambda: tune.uniform(0, 1, prior=2),
    lambda: tune.loguniform(1e-5, 1e-1, prior=0),
    lambda: tune.uniform(0, 1, prior=math.nan),
    lambda: tune.quniform(0, 1, 0.25, prior=0.3),
    lambda: tune.randint(0, 9, prior=9),
    lambda: tune.randint(0, 9, prior=1.5),
    lambda: tune.qrandint(0, 64, 8, prior=7),
    lambda: tune.choice(["a", "b"], prior="c"),
    lambda: tune.uniform(0, 1, prior="0.5"),
])  # fmt: skip
def test_what_lies_outside_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(ValueError, match="prior must be a value of the domain"):
        wrong()


def test_the_share_near_it_fades_with_results() -> None:
    lr, kind = tune.loguniform(1e-5, 1e-1, prior=1e-2), tune.choice(list("abcd"), prior="c")
    dimensions = Dimensions({"a": lr, "b": kind, "c": tune.uniform(0, 1)})
    for results in (0, 10, 90):
        drawn = [Near(dimensions).numbers(5, number, results) for number in range(1, 2001)]
        near = [one for one in drawn if one is not None]
        assert len(near) / 2000 == pytest.approx(SHARE * HALF / (HALF + results), abs=0.03)
        units = [dimensions.to_units(one) for one in near]
        assert sum(abs(unit[0] - 0.75) < 0.3 for unit in units) / len(near) > 0.9
        assert sum(one[1] == 2 for one in near) / len(near) == pytest.approx(0.7 + 0.3 / 4, abs=0.07)
        assert sum(unit[2] < 0.5 for unit in units) / len(near) == pytest.approx(0.5, abs=0.12)
        assert drawn == [Near(dimensions).numbers(5, number, results) for number in range(1, 2001)]


def loss(config: dict[str, Any]) -> float:
    return float((math.log10(config["lr"]) + 3) ** 2 + (config["kind"] != "b"))


def space(lr: float, kind: str) -> dict[str, Any]:
    return {"lr": tune.loguniform(1e-6, 1.0, prior=lr), "kind": tune.choice(["a", "b", "c"], prior=kind)}


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "evolution", "nsga2", "motpe", "random", "prior", "optuna", None])
def test_every_searcher_begins_with_it(name: str | None) -> None:
    space_of = space(2e-3, "b")
    if name == "cmaes":
        del space_of["kind"]
    analysis = tune.run(
        lambda config: loss({"kind": "b", **config}), config=space_of, num_samples=12, metric="loss", mode="min",
        search_alg=name, seed=4, executor="inline", verbose=0,
    )  # fmt: skip
    first, *others = [trial.config for trial in analysis.trials]
    assert first == {"lr": pytest.approx(2e-3), **({"kind": "b"} if "kind" in space_of else {})}
    assert sum(abs(math.log10(one["lr"]) + 2.7) < 2 for one in others) >= 6
    assert len({one["lr"] for one in others}) > 6


@pytest.mark.parametrize("name", ["tpe", "gp", "evolution"])
def test_a_good_prior_helps_and_a_misleading_one_is_left(name: str) -> None:
    def best(space_of: dict[str, Any], seed: int, trials: int) -> float:
        made = create_searcher(name, space=space_of, metric="loss", mode="min", seed=seed)
        told = []
        for _ in range(trials):
            asked = made.ask()
            told.append(loss(asked.config))
            made.tell(asked, told[-1])
        return min(told)

    flat = {"lr": tune.loguniform(1e-6, 1.0), "kind": tune.choice(["a", "b", "c"])}
    seeds = range(8)
    assert sum(best(space(2e-3, "b"), seed, 8) <= best(flat, seed, 8) for seed in seeds) >= 7
    assert sum(best(space(0.5, "a"), seed, 90) for seed in seeds) / 8 < 0.2


def test_a_run_that_goes_on_goes_on_with_it(tmp_path: Path) -> None:
    def run(num_samples: int, space_of: Any = None, **more: Any) -> Any:
        return tune.run(
            loss, config=space_of or space(2e-3, "b"), num_samples=num_samples, metric="loss", mode="min", seed=4,
            executor="inline", verbose=0, **more,
        )  # fmt: skip

    where = {"name": "near", "storage_path": str(tmp_path), "resume": "AUTO"}
    for searcher in (None, "tpe"):
        where["name"] = f"near_{searcher}"
        run(7, search_alg=searcher, **where)
        parts = run(20, search_alg=searcher, **where)
        whole = run(20, search_alg=searcher)
        assert [trial.config for trial in parts.trials] == [trial.config for trial in whole.trials]
        with pytest.raises(ResumeError, match="prior"):
            run(21, space(2e-2, "b"), search_alg=searcher, **where)


def test_workers_and_vectors_are_given_them() -> None:
    @tune.vectorized
    def columns(config: dict[str, Any]) -> dict[str, Any]:
        return {"loss": config["lr"]}

    told: dict[str, Any] = {"metric": "loss", "mode": "min", "seed": 1, "verbose": 0}
    found = tune.run(columns, config={"lr": tune.uniform(0, 1, prior=0.25)}, num_samples=50, **told)
    assert found.trials[0].config["lr"] == 0.25
    found = tune.run(loss, config=space(2e-3, "b"), num_samples=6, search_alg="tpe", **told)
    assert found.trials[0].config["kind"] == "b"


def test_random_configs_are_the_same_for_any_number_of_workers() -> None:
    told: dict[str, Any] = {"config": space(2e-3, "b"), "num_samples": 40, "metric": "loss", "mode": "min", "seed": 6, "verbose": 0}
    one = tune.run(loss, executor="inline", **told)
    many = tune.run(loss, executor="thread", max_concurrent_trials=8, **told)
    assert [trial.config for trial in one.trials] == [trial.config for trial in many.trials]


@pytest.mark.parametrize("name", ["tpe", "gp", "evolution", "nsga2", "optuna", "auto", None])
def test_points_of_the_user_come_before_it(name: str | None, tmp_path: Path) -> None:
    """And it comes right behind them, whichever session that is in; one that is a point itself is tried once."""
    points = [{"lr": 0.5, "kind": "a"}, {"lr": 0.25}]
    first, second, third = {"lr": 0.5, "kind": "a"}, 0.25, {"lr": pytest.approx(2e-3), "kind": "b"}

    def run(points: list[dict[str, Any]], n: int, name_of: str) -> list[dict[str, Any]]:
        made: Any = BasicVariantGenerator(points) if name is None else create_searcher(name, points_to_evaluate=points)
        return [trial.config for trial in tune.run(
            loss, config=space(2e-3, "b"), num_samples=n, metric="loss", mode="min", search_alg=made, seed=1, executor="inline",
            verbose=0, name=name_of, storage_path=str(tmp_path), resume="AUTO",
        ).trials]  # fmt: skip

    run(points, 2, "points")
    found = run(points, 6, "points")
    assert (found[0], found[1]["lr"], found[2]) == (first, second, third)
    again = run([{"lr": 2e-3, "kind": "b"}], 12, "same")
    assert [config for config in again if config == third] == [third]


def test_results_that_are_known_are_not_tried_again() -> None:
    known: Any = create_searcher("tpe", points_to_evaluate=[{"lr": 2e-3, "kind": "b"}], evaluated_rewards=[0.1], seed=3)
    found = tune.run(
        loss, config=space(2e-3, "b"), num_samples=9, metric="loss", mode="min", search_alg=known, executor="inline", verbose=0
    )
    assert {"lr": pytest.approx(2e-3), "kind": "b"} not in [trial.config for trial in found.trials]


def test_where_it_has_no_effect_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="prior of 'lr', 'kind' has no effect beside the grid of 'k'"):
        tune.run(loss, config={**space(2e-3, "b"), "k": tune.grid_search([1, 2])}, metric="loss", mode="min")
    from fasttune.schedulers import PopulationBasedTraining

    class Steps(tune.Trainable):
        def step(self) -> dict[str, float]:
            return {"loss": loss(self.config)}

        def save_checkpoint(self, folder: str) -> None: ...
        def load_checkpoint(self, folder: Any) -> None: ...

    population = PopulationBasedTraining(hyperparam_mutations={"lr": tune.loguniform(1e-6, 1.0)}, perturbation_interval=2)
    tune.run(
        Steps, config=space(2e-3, "b"), num_samples=4, metric="loss", mode="min", scheduler=population, stop={"training_iteration": 4},
        verbose=0, executor="inline",
    )  # fmt: skip
    assert "prior of 'lr', 'kind' has no effect: PopulationBasedTraining explores configs itself" in caplog.text


def test_no_config_twice_and_simulations_know_of_it() -> None:
    found = tune.run(
        lambda config: config["k"], config={"k": tune.choice(list(range(6)), prior=4)}, num_samples=10, on_duplicate="skip",
        metric="loss", mode="min", seed=2, executor="inline", verbose=0,
    )  # fmt: skip
    assert found.trials[0].config["k"] == 4
    assert sorted(trial.config["k"] for trial in found.trials) == list(range(6))
    simulated = tune.simulate(
        lambda config, step: {"loss": loss(config)} if step < 2 else None, config=space(2e-3, "b"), num_samples=5,
        metric="loss", mode="min",
    )  # fmt: skip
    assert simulated.trials[0].config["kind"] == "b"


def test_a_file_of_the_command_line_has_them() -> None:
    from fasttune.cli.toml import read_value, space_of

    made = space_of({"lr": read_value("{loguniform = {lower = 1e-5, upper = 0.1, prior = 1e-3}}")}, "here")["lr"]
    assert made.prior == 1e-3


@pytest.mark.parametrize("name", ["tpe", "gp", "evolution", "random", "optuna", "hyperopt"])
def test_a_prior_at_the_upper_bound_is_tried(name: str, tmp_path: Path) -> None:
    """Which the space itself leaves out, by the smallest of steps."""
    analysis = tune.run(
        lambda config: {"loss": config["x"]}, config={"x": tune.uniform(0, 1, prior=1)}, num_samples=3, metric="loss", mode="min",
        search_alg=name, executor="inline", verbose=0, storage_path=str(tmp_path), seed=1,
    )  # fmt: skip
    assert analysis.trials[0].config["x"] == pytest.approx(1.0, abs=1e-12)
    assert all(0 <= trial.config["x"] < 1 for trial in analysis.trials)


def test_a_number_of_numpy_is_a_number() -> None:
    import numpy as np

    domain = tune.uniform(0, 1, prior=np.float64(0.5))
    assert repr(domain) == repr(tune.uniform(0, 1, prior=0.5))
    assert described({"x": domain}) == described({"x": tune.uniform(0, 1, prior=0.5)})


def test_arrays_and_nan_are_options_like_others() -> None:
    import numpy as np

    arrays = tune.choice([np.array([1, 2]), np.array([3, 4])], prior=np.array([3, 4]))
    assert Dimensions({"x": arrays})[0].prior == 1
    assert Dimensions({"x": tune.choice([1.0, math.nan], prior=float("nan"))})[0].prior == 1
    for wrong in (np.array([1, 3]), np.array([1]), [1, 2]):
        with pytest.raises(ValueError, match="prior must be a value of the domain"):
            tune.choice([np.array([1, 2]), np.array([3, 4])], prior=wrong)


def test_a_prior_may_go_with_the_space_that_had_it(tmp_path: Path) -> None:
    def run(n: int, x: Any, resume: str) -> Any:
        return tune.run(
            lambda config: config["x"], config={"x": x}, num_samples=n, metric="loss", mode="min", seed=4, executor="inline",
            name="a", storage_path=str(tmp_path), resume=resume, verbose=0,
        )  # fmt: skip

    run(2, tune.uniform(0, 1, prior=0.25), "AUTO")
    with pytest.raises(ResumeError, match="hold from the next trial on: resume='AUTO\\+NEW_SPACE'"):
        run(3, tune.uniform(0, 1), "AUTO")
    found = run(3, tune.uniform(2, 3), "AUTO+NEW_SPACE")
    assert [trial.config["x"] >= 2 for trial in found.trials] == [False] * 2 + [True] * 3
    assert len(run(5, tune.uniform(2, 3), "AUTO").trials) == 7
    found = run(2, tune.uniform(2, 3, prior=2.5), "AUTO+NEW_SPACE")
    assert found.trials[7].config["x"] == 2.5


def test_that_a_prior_makes_another_searcher_of_none_is_said(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"metric": "loss", "mode": "min", "executor": "inline", "name": "a", "storage_path": str(tmp_path)}
    asked["verbose"] = 0
    tune.run(lambda config: 1, config={"x": tune.uniform(0, 1)}, **asked)
    with pytest.raises(ResumeError, match="PriorSearch is \\(that of a run with a prior"):
        tune.run(lambda config: 1, config={"x": tune.uniform(0, 1, prior=0.5)}, resume="AUTO+NEW_SPACE", **asked)
