"""CMA-ES, the Gaussian process and evolution: that they get somewhere, with trials in parallel and with failures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import CMAESearch, EvolutionSearch, GPSearch, Searcher, create_searcher
from fasttune.space.domains import SearchSpaceError
from rounds import thinned

Objective = Callable[[dict[str, Any]], float]


def branin(config: dict[str, Any]) -> float:
    """Least value 0.397887, at three places."""
    x, y = config["x"], config["y"]
    bowl = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return bowl * bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


HARTMANN_A = [
    [10, 3, 17, 3.5, 1.7, 8],
    [0.05, 10, 17, 0.1, 8, 14],
    [3, 3.5, 1.7, 10, 17, 8],
    [17, 8, 0.05, 10, 0.1, 14],
]
HARTMANN_P = [
    [1312, 1696, 5569, 124, 8283, 5886],
    [2329, 4135, 8307, 3736, 1004, 9991],
    [2348, 1451, 3522, 2883, 3047, 6650],
    [4047, 8828, 8732, 5743, 1091, 381],
]


def hartmann6(config: dict[str, Any]) -> float:
    """Six minima in six dimensions; least value -3.32237."""
    x = [config[f"x{k}"] for k in range(6)]
    heights = zip((1.0, 1.2, 3.0, 3.2), HARTMANN_A, HARTMANN_P, strict=True)
    return -sum(
        height * math.exp(-sum(a * (v - p / 10_000) ** 2 for a, v, p in zip(row, x, place, strict=True)))
        for height, row, place in heights
    )


def rosenbrock(config: dict[str, Any]) -> float:
    """A bent valley in four dimensions; least value 0 where all are 1."""
    x = [config[f"x{k}"] for k in range(4)]
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x))


def mixed(config: dict[str, Any]) -> float:
    """Floats on two scales, an integer and a choice."""
    offset = {"a": 1.0, "b": 0.0, "c": 2.0}[config["kind"]]
    return (math.log10(config["lr"]) + 2) ** 2 + abs(config["n"] - 7) / 3 + offset + 4 * (config["u"] - 0.7) ** 2


def conditional(config: dict[str, Any]) -> float:
    """Each option has a parameter of its own; the option with the better floor is the narrower one."""
    model = config["model"]
    if model["name"] == "tree":
        return 1.0 + abs(model["depth"] - 12) / 10
    return 0.2 + abs(math.log10(model["c"]) - 1.5)


BRANIN = branin, {"x": tune.uniform(-5, 10), "y": tune.uniform(0, 15)}
HARTMANN6 = hartmann6, {f"x{k}": tune.uniform(0, 1) for k in range(6)}
ROSENBROCK = rosenbrock, {f"x{k}": tune.uniform(-2, 2) for k in range(4)}
MIXED = mixed, {
    "lr": tune.loguniform(1e-5, 1),
    "n": tune.randint(1, 31),
    "kind": tune.choice(["a", "b", "c"]),
    "u": tune.uniform(0, 1),
}
CONDITIONAL = conditional, {
    "model": tune.choice(
        [{"name": "tree", "depth": tune.randint(1, 40)}, {"name": "svm", "c": tune.loguniform(1e-4, 1e4)}]
    )
}


def best_of(searcher: Searcher, objective: Objective, trials: int, at_once: int = 1) -> float:
    """The least value after so many trials, ``at_once`` of them out at any time."""
    out: list[tuple[str, float]] = []
    best = math.inf
    for number in range(trials):
        config = searcher.suggest(f"t{number}")
        assert isinstance(config, dict)
        value = objective(config)
        best = min(best, value)
        out.append((f"t{number}", value))
        if len(out) >= at_once:
            trial, value = out.pop(0)
            searcher.on_trial_complete(trial, {"loss": value, "training_iteration": 1})
    return best


def median_of_seeds(name: str, problem: tuple[Objective, dict[str, Any]], trials: int, **more: Any) -> float:
    objective, space = problem
    found = [
        best_of(create_searcher(name, space=space, metric="loss", mode="min", seed=seed), objective, trials, **more)
        for seed in range(5)
    ]
    return sorted(found)[2]


def random_median(problem: tuple[Objective, dict[str, Any]], trials: int) -> float:
    """As :func:`median_of_seeds`, of configs that are drawn at random."""
    from fasttune.space.dimensions import Dimensions

    objective, space = problem
    found = []
    for seed in range(5):
        drawn = Dimensions(space, seed=seed)
        found.append(min(objective(drawn.config(drawn.draw(trial), trial)) for trial in range(trials)))
    return sorted(found)[2]


@pytest.mark.parametrize(
    ("name", "problem", "trials", "share"),
    thinned([
        ("cmaes", BRANIN, 120, 0.5),
        ("cmaes", ROSENBROCK, 200, 0.3),
        ("gp", BRANIN, 30, 0.3),
        ("gp", MIXED, 35, 0.5),
        ("gp", CONDITIONAL, 25, 0.5),
        ("cmaes", HARTMANN6, 200, 0.5),
        ("cmaes", MIXED, 200, 0.6),
        ("gp", HARTMANN6, 50, 0.5),
        ("tpe", BRANIN, 100, 0.5),
        ("tpe", HARTMANN6, 150, 0.6),
        ("tpe", ROSENBROCK, 200, 0.5),
        ("tpe", MIXED, 100, 0.4),
        ("tpe", CONDITIONAL, 80, 0.5),
        ("bohb", BRANIN, 100, 0.7),
        ("bohb", MIXED, 100, 0.6),
        ("bohb", CONDITIONAL, 80, 0.7),
        ("evolution", HARTMANN6, 250, 0.7),
        ("evolution", ROSENBROCK, 300, 0.5),
        ("evolution", MIXED, 150, 0.4),
        ("evolution", CONDITIONAL, 120, 0.5),
    ], quick=lambda name, *_: name != "gp"),  # which takes ten seconds
    ids=lambda value: getattr(value[0], "__name__", "") if isinstance(value, tuple) else None,
)
def test_it_comes_closer_than_random_search(
    name: str, problem: tuple[Objective, dict[str, Any]], trials: int, share: float
) -> None:
    """The median regret of five seeds is at most this share of that of random search."""
    least = {"branin": 0.397887, "hartmann6": -3.32237, "conditional": 0.2}.get(problem[0].__name__, 0.0)
    assert median_of_seeds(name, problem, trials) - least <= share * (random_median(problem, trials) - least)


@pytest.mark.parametrize(
    ("name", "trials"), thinned([("cmaes", 160), ("gp", 40), ("evolution", 200)], quick=lambda name, _: name != "gp")
)
def test_trials_in_parallel_help_as_well(name: str, trials: int) -> None:
    found = median_of_seeds(name, BRANIN, trials, at_once=4) - 0.397887
    assert found <= random_median(BRANIN, trials) - 0.397887


@pytest.mark.parametrize("name", ["cmaes", "gp", "evolution"])
def test_where_half_of_the_space_fails_the_other_half_is_searched(name: str) -> None:
    searcher = create_searcher(name, space={"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=0)
    asked = []
    for number in range(60 if name != "gp" else 25):
        config = searcher.suggest(f"t{number}")
        asked.append(config["x"])
        if config["x"] > 0.5:
            searcher.on_trial_complete(f"t{number}", None, error=True)
        else:
            searcher.on_trial_complete(f"t{number}", {"loss": abs(config["x"] - 0.4)})
    late = asked[len(asked) // 2 :]
    assert sum(x <= 0.5 for x in late) > 0.6 * len(late)
    assert min(abs(x - 0.4) for x in asked) < 0.05


def test_what_cma_es_cannot_search_is_refused_with_its_key() -> None:
    with pytest.raises(SearchSpaceError, match="'model/depth'"):
        CMAESearch(CONDITIONAL[1])


def test_cma_es_comes_to_the_best_options_alone_and_beside_numbers_of_every_kind() -> None:
    space = {
        "a": tune.choice(["x", "y", "z"]),
        "b": tune.choice([0, 1]),
        "n": tune.randint(0, 12),
        "step": tune.quniform(0, 1, 0.25),
        "lr": tune.loguniform(1e-4, 1),
        "many": tune.randint(0, 100_000),
        "one": tune.choice(["only"]),
    }

    def loss(config: dict[str, Any]) -> float:
        found = "zxy".index(config["a"]) + config["b"] + abs(config["n"] - 3) / 3 + abs(config["step"] - 0.75)
        return found + (math.log10(config["lr"]) + 2) ** 2 + abs(config["many"] / 1e5 - 0.4)

    searcher = CMAESearch(space, metric="loss", mode="min", seed=2)
    late = []
    for number in range(400):
        config = searcher.suggest(f"t{number}")
        assert isinstance(config, dict)
        assert config["one"] == "only"
        searcher.on_trial_complete(f"t{number}", {"loss": loss(config)})
        late.append((config["a"], config["b"], loss(config)))
    assert min(found for _, _, found in late) < 0.2
    assert sum(one[:2] == ("z", 0) for one in late[100:]) > 100  # a third of a sixth would be chance

    choices = {"a": tune.choice([0, 1, 2, 3]), "b": tune.choice([0, 1])}
    alone = CMAESearch(choices, metric="loss", mode="min", seed=1)
    for number in range(200):
        config = alone.suggest(f"t{number}")
        assert isinstance(config, dict)
        alone.on_trial_complete(f"t{number}", {"loss": config["a"] + config["b"]})
    assert alone._run > 0  # it has begun anew


def test_an_old_cmaes_is_told_what_to_do_about_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    import cmaes

    monkeypatch.delattr(cmaes, "CatCMAwM")
    searcher = CMAESearch(MIXED[1], metric="loss", mode="min", seed=1)
    with pytest.raises(ImportError, match=r"cmaes 0\.12 or newer"):
        searcher.suggest("t0")


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (lambda: CMAESearch(sigma0=0), "sigma0"),
        (lambda: CMAESearch(population_size=2), "population_size"),
        (lambda: CMAESearch(restarts="often"), "restarts"),
        (lambda: GPSearch(n_start=0), "n_start"),
        (lambda: EvolutionSearch(population_size=1), "population_size"),
        (lambda: EvolutionSearch(population_size=5, sample_size=6), "sample_size"),
    ],
)
def test_wrong_arguments_are_named(made: Callable[[], Searcher], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        made()


def test_cma_es_restarts_where_there_is_nothing_left_to_find() -> None:
    """The first 300 trials find the place to six digits; what follows looks elsewhere again."""
    searcher = CMAESearch({"x": tune.uniform(0, 1), "n": tune.randint(0, 50)}, metric="loss", mode="min", seed=0)
    asked = []
    for number in range(600):
        config = searcher.suggest(f"t{number}")
        assert isinstance(config, dict)
        asked.append(config["x"])
        searcher.on_trial_complete(f"t{number}", {"loss": (config["x"] - 0.2) ** 2})
    assert min(abs(x - 0.2) for x in asked[:300]) < 1e-5
    assert max(asked[300:]) - min(asked[300:]) > 0.2


def test_points_that_are_known_are_learnt_from() -> None:
    for name in ("gp", "evolution", "cmaes"):
        searcher = create_searcher(name, space=BRANIN[1], metric="loss", mode="min", seed=0)
        for x, y in ((-3.14, 12.2), (3.14, 2.3), (9.4, 2.5), (0.0, 0.0)):
            searcher.add_evaluated_point({"x": x, "y": y}, branin({"x": x, "y": y}))
        assert isinstance(searcher.suggest("t0"), dict)
