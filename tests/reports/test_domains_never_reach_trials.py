"""A trial is given values: never the domain that a value was to be drawn from."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hyperopt import hp

import fasttune as tune
from fasttune.error import TuneError
from fasttune.schedulers import FIFOScheduler
from fasttune.schedulers.base import Change, TrialScheduler
from fasttune.search import ConcurrencyLimiter, Searcher, SobolSearch, TPESearch, UniqueSearch
from fasttune.search.evolution import EvolutionSearch
from fasttune.search.hyperopt import HyperOptSearch
from fasttune.search.optuna import OptunaSearch
from fasttune.search.random_search import RandomSearch
from fasttune.space.domains import SearchSpaceError, contains_domains


def train(config: dict[str, Any]) -> None:
    assert not contains_domains(config), config
    tune.report(loss=float(config.get("x", 0)))


def run(trainable: Any = train, **more: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {
        "metric": "loss",
        "mode": "min",
        "executor": "inline",
        "verbose": 0,
        "num_samples": 4,
        "seed": 3,
    }
    return [trial.config for trial in tune.run(trainable, **{**given, **more}).trials]


class Completes(FIFOScheduler):
    """Puts a domain of its own into the space, as populations do."""

    def complete_space(self, space: Any) -> dict[str, Any]:
        return {"lr": tune.uniform(0.5, 1), **space}


SEARCHERS = {
    "none": lambda: None,
    "tpe": lambda: "tpe",
    "auto": lambda: "auto",
    "random": RandomSearch,
    "sobol": lambda: SobolSearch(seed=1),
    "evolution": lambda: EvolutionSearch(seed=1),
    "optuna": lambda: OptunaSearch(seed=1),
    "hyperopt": lambda: HyperOptSearch(random_state_seed=1),
    "limited": lambda: ConcurrencyLimiter(TPESearch(seed=1), 2),
    "unique": lambda: UniqueSearch(TPESearch(seed=1)),
}


@pytest.mark.parametrize("kind", SEARCHERS)
def test_a_searcher_is_told_the_space_that_the_scheduler_has_completed(kind: str) -> None:
    """Beside a searcher, what the scheduler had put into the space reached trials as a Float object."""
    for config in run(config={"x": tune.uniform(0, 1)}, scheduler=Completes(), search_alg=SEARCHERS[kind]()):
        assert 0 <= config["x"] < 1
        assert 0.5 <= config["lr"] < 1


def test_a_searcher_with_a_space_of_its_own_beside_one_that_is_completed() -> None:
    """What the scheduler had put in was searched by nobody."""
    with pytest.raises(
        ValueError, match="already instantiated with a search space, but config still holds domains: lr"
    ):
        run(scheduler=Completes(), search_alg=TPESearch({"x": tune.uniform(0, 1)}))


def test_a_simulation_completes_its_space_too() -> None:
    """A population in virtual time explored a key that no config had."""

    def curve(config: dict[str, Any], step: int) -> float:
        return float(config["lr"] + config["x"] / step)

    for searcher in (None, TPESearch(seed=1)):
        made = tune.simulate(
            curve, config={"x": tune.uniform(0, 1)}, scheduler=Completes(), search_alg=searcher, steps=2, num_samples=3,
            metric="loss", mode="min",
        )  # fmt: skip
        assert all(0.5 <= trial.config["lr"] < 1 for trial in made.trials)


def other(config: dict[str, Any]) -> None:
    train(config)


@pytest.mark.parametrize("kind", ["tpe", "optuna", "limited"])
def test_experiments_that_share_a_searcher_search_the_same_space(kind: str) -> None:
    """Of two experiments with one searcher the second one's trials got Float objects."""
    one = tune.Experiment("one", train, config={"x": tune.uniform(0, 1), "who": 1}, num_samples=2)
    for space, words in (
        ({"y": tune.uniform(0, 1)}, "x: uniform"),
        ({"x": tune.uniform(0, 2)}, "have different ones"),
        ({"x": 0.5}, "have different ones"),
    ):
        two = tune.Experiment("two", other, config=space, num_samples=2)
        with pytest.raises(ValueError, match=words):
            run([one, two], search_alg=SEARCHERS[kind](), num_samples=1)
    alike = tune.Experiment("two", other, config={"x": tune.uniform(0, 1), "who": 2}, num_samples=2)
    configs = run([one, alike], search_alg=SEARCHERS[kind](), num_samples=1)
    assert [config["who"] for config in configs] == [1, 1, 2, 2]  # constants are each one's own
    assert all(0 <= config["x"] < 1 for config in configs)


class Forgetful(Searcher):
    """Takes the space, and suggests what it likes."""

    def __init__(self, suggestion: dict[str, Any]) -> None:
        super().__init__()
        self.suggestion = suggestion

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return dict(self.suggestion)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None: ...


@pytest.mark.parametrize(
    "suggestion",
    [{}, {"x": tune.uniform(0, 1)}, {"x": 1, "net": {"layers": [tune.randint(1, 3)]}}, {"x": tune.grid_search([1])}],
)
def test_a_searcher_of_ones_own_that_leaves_something_open(suggestion: dict[str, Any]) -> None:
    """A searcher that forgot a key gave every trial a Float object, which failed far from the cause."""
    with pytest.raises(TuneError, match=r"Forgetful.suggest\(\) left '(x|net/layers/0)' to be sampled"):
        run(config={"x": tune.uniform(0, 1)}, search_alg=Forgetful(suggestion))


def test_a_scheduler_of_ones_own_that_orders_a_domain() -> None:
    """A change to ``tune.uniform(0, 1)`` gave the trial the object."""

    class Orders(TrialScheduler):
        given: Any = ()

        def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
            if result["training_iteration"] > 1:
                return self.CONTINUE
            self.given = (Change(trial, config={"x": tune.uniform(0, 1)}),)
            return self.PAUSE

        def orders(self) -> Any:
            given, self.given = self.given, ()
            return given

    def two(config: dict[str, Any]) -> None:
        tune.report({"loss": 1}, checkpoint=tune.Checkpoint.from_dict({"i": 1}))
        tune.report(loss=1)

    with pytest.raises(TuneError, match="Orders ordered a change that left 'x' to be sampled"):
        run(two, config={"x": 1.0}, scheduler=Orders())


MIXED = {
    "x": hp.uniform("x", 0, 1),
    "rate": tune.loguniform(1e-4, 1e-1),
    "n": tune.qrandint(16, 64, 16),
    "kind": tune.choice(["a", hp.uniform("b", 5, 6), {"n": tune.randint(1, 4), "list": [1, 2]}]),
    "net": {"layers": [tune.randint(1, 4), 7], "same": hp.choice("same", [1, 2])},
    "same": tune.quniform(0, 1, 0.25),
    "list": [1, (2, 3)],
}


@pytest.mark.parametrize("where", ["searcher", "run"])
def test_a_space_of_hyperopt_may_hold_domains(where: str) -> None:
    """A space that mixed hp.uniform with tune.uniform gave every trial a Float object."""
    searcher = HyperOptSearch(MIXED if where == "searcher" else None, random_state_seed=2, n_initial_points=4)
    configs = run(search_alg=searcher, num_samples=25, config=MIXED if where == "run" else None)
    rest = tune.SearchSpace({key: MIXED[key] for key in ("rate", "n", "same", "list")})
    kinds = set()
    for config in configs:
        assert rest.contains({key: config[key] for key in rest})
        assert config.keys() == MIXED.keys()
        assert config["net"]["layers"][0] in (1, 2, 3)
        assert config["net"]["layers"][1] == 7
        assert config["net"]["same"] in (1, 2)
        kinds.add(type(config["kind"]))
        if isinstance(config["kind"], dict):
            assert config["kind"]["n"] in (1, 2, 3)
            assert config["kind"]["list"] == [1, 2]
    assert kinds == {str, float, dict}


def test_what_a_space_of_hyperopt_cannot_hold_is_refused_by_name() -> None:
    """Inside hp.choice a domain of ours is one of Hyperopt's constants."""
    for space, words in (
        ({"x": hp.choice("x", [tune.uniform(0, 1), 2])}, "at 'x' holds"),
        ({"a": {"x": hp.choice("x", [{"y": tune.uniform(0, 1)}])}}, "at 'a/x' holds"),
        ({"x": hp.uniform("x", 0, 1), "f": tune.sample_from(lambda spec: 1)}, "cannot compute 'f'"),
        ({"x": hp.uniform("x", 0, 1), "g": tune.grid_search([1, 2])}, "grid_search at 'g'"),
    ):
        with pytest.raises(SearchSpaceError, match=words):
            HyperOptSearch(space, "loss", "min")


def test_optuna_distributions_at_any_depth() -> None:
    """A distribution in a nested dict, or in the config of the run, was handed to trials."""
    space = {
        "x": optuna.distributions.FloatDistribution(0, 1),
        "net": {"n": [optuna.distributions.IntDistribution(1, 3)]},
    }
    for more in ({"search_alg": OptunaSearch(space, seed=1)}, {"search_alg": OptunaSearch(seed=1), "config": space}):
        for config in run(**more):
            assert 0 <= config["x"] <= 1
            assert config["net"]["n"][0] in (1, 2, 3)


WITH_CONSTANTS = {"x": tune.uniform(0, 1), "fixed": 3, "net": {"width": [8, 8], "n": tune.randint(1, 4)}}


@pytest.mark.parametrize(
    "make",
    [
        lambda space: TPESearch(space, seed=1),
        lambda space: SobolSearch(space, seed=1),
        lambda space: EvolutionSearch(space, seed=1),
        lambda space: RandomSearch(space, seed=1),
        lambda space: OptunaSearch(space, seed=1),
        lambda space: HyperOptSearch(space, random_state_seed=1),
        lambda space: HyperOptSearch({**space, "more": hp.uniform("more", 0, 1)}, random_state_seed=1),
        lambda space: ConcurrencyLimiter(TPESearch(space, seed=1), 1),
    ],
    ids=["tpe", "sobol", "evolution", "random", "optuna", "hyperopt", "hyperopt's own", "limited"],
)
def test_constants_in_the_space_of_a_searcher_are_the_trials_too(make: Any) -> None:
    """HyperOptSearch({"lr": ..., "epochs": 10}) gave trials the learning rate alone."""
    for config in run(search_alg=make(WITH_CONSTANTS), config={"of_the_run": 5}):
        assert config["fixed"] == 3
        assert config["net"]["width"] == [8, 8]
        assert config["net"]["n"] in (1, 2, 3)
        assert config["of_the_run"] == 5


@pytest.mark.parametrize(
    "make",
    [
        lambda space: TPESearch(space, seed=1),
        lambda space: ConcurrencyLimiter(RandomSearch(space, seed=1), 1),
        lambda space: HyperOptSearch({"x": hp.choice("x", [1, 2, 3]), "more": 7}, random_state_seed=1),
    ],
    ids=["tpe", "random", "hyperopt's own"],
)
def test_duplicates_are_skipped_in_the_space_of_the_searcher(make: Any) -> None:
    """With on_duplicate="skip" a searcher that had a space of its own ended after one trial: "all 1 configs have been tried"."""
    configs = run(search_alg=make({"x": tune.choice([1, 2, 3]), "more": 7}), on_duplicate="skip", num_samples=3)
    assert sorted(config["x"] for config in configs) == [1, 2, 3]
    assert all(config["more"] == 7 for config in configs)


@pytest.mark.parametrize("given", [True, False])
def test_a_function_of_the_space_is_asked_once_for_each_config(given: bool) -> None:
    """``ask()`` called sample_from twice: the config that was trained was not the one that was suggested."""
    calls: list[int] = []

    def counted(spec: Any) -> int:
        calls.append(1)
        return len(calls)

    space = {"x": tune.uniform(0, 1), "k": 3, "n": {"f": tune.sample_from(counted), "fixed": [1]}}
    searcher = TPESearch(space if given else None, "loss", "min", seed=1)
    if not given:
        searcher.set_search_properties("loss", "min", space)
    for number in (1, 2):
        asked = searcher.ask()
        assert asked is not None
        assert (asked.config["k"], asked.config["n"]) == (3, {"f": number, "fixed": [1]})
        searcher.tell(asked, 1.0)
