"""Many suggestions of TPE at once: apart from each other, the same after a resume, and none twice where configs can be counted."""

from __future__ import annotations

import pickle
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import AutoSearch, TPESearch, create_searcher
from fasttune.search.space_searcher import SpaceSearcher
from fasttune.search.tpe import MOST_COMPARED

Kind = type[TPESearch] | type[AutoSearch]
SPACE: dict[str, Any] = {
    "x": tune.uniform(0, 1),
    "n": tune.randint(0, 20),
    "kind": tune.choice(["a", {"name": "b", "rate": tune.loguniform(1e-4, 1)}]),
}
COUNTABLE: dict[str, Any] = {"a": tune.randint(0, 400), "b": tune.choice(list("pqrst")), "c": tune.quniform(0, 1, 0.25)}


def loss(config: dict[str, Any]) -> float:
    if "a" in config:
        return float(abs(config["a"] - 110) / 10 + "rpqst".index(config["b"]) + config["c"])
    return float((config["x"] - 0.3) ** 2 + abs(config["n"] - 7) / 20 + (config["kind"] == "a"))


def ready(space: dict[str, Any], results: int = 40, kind: Kind = TPESearch, **more: Any) -> SpaceSearcher:
    searcher = kind(space, "loss", "min", seed=4, **more)
    for _ in range(results):
        asked = searcher.ask()
        assert asked is not None
        searcher.tell(asked, loss(asked.config))
    return searcher


def batch(searcher: SpaceSearcher, n: int, name: str) -> dict[str, dict[str, Any]]:
    ids = [f"{name}{k}" for k in range(n)]
    made = searcher.suggest_batch(ids)
    assert len(made) == n
    return {trial_id: one for trial_id, one in zip(ids, made, strict=True) if isinstance(one, dict)}


@pytest.mark.parametrize("space", [SPACE, COUNTABLE])
@pytest.mark.parametrize("multivariate", [True, False])
def test_a_large_batch_has_the_configs_of_good_trials(space: dict[str, Any], multivariate: bool) -> None:
    searcher = ready(space, multivariate=multivariate)
    made = batch(searcher, MOST_COMPARED + 100, "t")
    fresh = tune.SearchSpace(space).configs(400, seed=1)
    assert statistics.mean(map(loss, made.values())) < 0.8 * statistics.mean(map(loss, fresh))
    if space is COUNTABLE:
        assert len({tuple(sorted(one.items())) for one in made.values()}) == len(made)


@pytest.mark.parametrize("kind", [TPESearch, AutoSearch])
@pytest.mark.parametrize("space", [SPACE, COUNTABLE])
def test_after_a_large_batch_a_resumed_search_goes_on_as_the_first_one(space: dict[str, Any], kind: Kind) -> None:
    """A later session is told one by one what was suggested together."""
    first, second = ready(space, kind=kind), ready(space, kind=kind)
    for name in "abc":
        made = batch(first, MOST_COMPARED + 44, name)
        for trial_id, config in made.items():
            assert second.replay(trial_id, config) == config
        for trial_id, config in made.items():
            for searcher in (first, second):
                searcher.on_trial_complete(trial_id, {"loss": loss(config)})
    for number in range(20):
        assert first.suggest(f"z{number}") == second.suggest(f"z{number}")


def test_a_large_batch_is_the_same_from_the_same_results() -> None:
    assert batch(ready(SPACE), 1000, "t") == batch(ready(SPACE), 1000, "t")


def test_a_space_that_is_used_up_within_a_batch() -> None:
    searcher = ready({"a": tune.randint(0, 20), "b": tune.choice(list("pqrst")), "c": tune.quniform(0, 1, 0.25)}, 30)
    made = [tuple(one.values()) for one in batch(searcher, 600, "t").values()]
    assert len(set(made[:470])) == 470


def test_many_that_run_keep_the_next_ones_apart() -> None:
    """Also where more of them run than count one by one."""
    searcher = ready({"x": tune.uniform(0, 1), "y": tune.uniform(0, 1), "b": tune.choice(["p", "q"])}, 0)
    for _ in range(30):
        asked = searcher.ask()
        assert asked is not None
        searcher.tell(asked, abs(asked.config["x"] - 0.5) + abs(asked.config["y"] - 0.5))
    made = [one for number in range(3) for one in batch(searcher, MOST_COMPARED, f"{number}-").values()]
    early = statistics.pstdev(one["x"] for one in made[:100])
    late = statistics.pstdev(one["x"] for one in made[-100:])
    assert late > early


@pytest.mark.parametrize("workers", [1, 5])
@pytest.mark.parametrize(
    ("name", "settings"),
    [("tpe", {"n_initial_points": 20}), ("tpe", {"n_initial_points": 20, "multivariate": False}), ("gp", {}), ("auto", {})],
)
def test_no_config_comes_again_while_there_are_others(name: str, settings: dict[str, Any], workers: int) -> None:
    """Neither one that has a result nor one that runs; also among the first ones, which no model makes."""
    space = {"a": tune.randint(0, 4), "b": tune.quniform(0, 1, 0.5), "c": tune.choice(["p", "q"])}
    for seed in range(5):
        searcher = create_searcher(name, space=space, metric="loss", mode="min", seed=seed, **settings)
        out, seen = [], set()
        for _ in range(4 * 3 * 2):
            asked = searcher.ask()
            assert asked is not None
            seen.add(tuple(asked.config.values()))
            out.append(asked)
            if len(out) == workers:
                done = out.pop(0)
                searcher.tell(done, {"loss": done.config["a"] + done.config["b"], "time_total_s": 60.0})
        assert len(seen) == 24


def bowl(config: dict[str, Any]) -> float:
    return float(sum((config[f"x{k}"] - 0.3) ** 2 for k in range(5)))


def least_of_many_workers(seed: int, quadratic: bool) -> float:
    """Of 200 trials, 16 of which run at once and end in any order."""
    searcher = TPESearch({f"x{k}": tune.uniform(-1, 1) for k in range(5)}, "loss", "min", seed=seed, quadratic=quadratic)
    draw, out, losses = random.Random(seed), [], []
    for number in range(216):
        if number < 200:
            out.append(searcher.ask())
        if len(out) == 16 or number >= 200:
            done = out.pop(draw.randrange(len(out)))
            assert done is not None
            losses.append(bowl(done.config))
            searcher.tell(done, losses[-1])
        if not out:
            break
    return min(losses)


def test_quadratic_models_work_beside_each_other_where_many_trials_run() -> None:
    with_them = statistics.median(least_of_many_workers(seed, True) for seed in range(5))
    without = statistics.median(least_of_many_workers(seed, False) for seed in range(5))
    assert with_them < 1e-2 * without


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_a_resumed_search_with_many_trials_out_goes_on_as_the_first_one(name: str) -> None:
    space = {f"x{k}": tune.uniform(-1, 1) for k in range(5)}
    first, second = (create_searcher(name, space=space, metric="loss", mode="min", seed=3) for _ in range(2))
    draw, out = random.Random(1), {}
    for number in range(60):
        made = first.suggest(f"t{number}")
        assert isinstance(made, dict)
        assert second.replay(f"t{number}", made) == made
        out[f"t{number}"] = made
        if len(out) == 12:
            trial_id = draw.choice(sorted(out))
            value = bowl(out.pop(trial_id))
            for searcher in (first, second):
                searcher.on_trial_complete(trial_id, {"loss": value})
    for number in range(60, 66):
        assert first.suggest(f"t{number}") == second.suggest(f"t{number}")


def test_a_saved_search_with_many_trials_out_goes_on_as_the_first_one() -> None:
    space = {f"x{k}": tune.uniform(-1, 1) for k in range(5)}
    first = TPESearch(space, "loss", "min", seed=3)
    out = {}
    for number in range(80):
        made = first.suggest(f"t{number}")
        assert isinstance(made, dict)
        out[f"t{number}"] = made
        if len(out) == 20:
            trial_id = next(iter(out))
            first.on_trial_complete(trial_id, {"loss": bowl(out.pop(trial_id))})
    second = TPESearch(space, "loss", "min", seed=3)
    second.set_state(pickle.loads(pickle.dumps(first.get_state())))
    for trial_id, config in out.items():
        for searcher in (first, second):
            searcher.on_trial_complete(trial_id, {"loss": bowl(config)})
    assert [first.suggest(f"n{k}") for k in range(30)] == [second.suggest(f"n{k}") for k in range(30)]


@pytest.mark.parametrize("searcher", ["tpe", "bohb"])
@pytest.mark.parametrize("domain", [tune.qrandn(0, 1, 0.1), tune.randn(0, 1), tune.qloguniform(0.1, 9.0, 0.1)])
def test_a_run_that_goes_on_with_rounded_normal_values_is_the_one_that_was_not_interrupted(
    searcher: str, domain: Any, tmp_path: Path
) -> None:
    def configs(samples: list[int], name: str) -> list[float]:
        for n in samples:
            found = tune.run(
                lambda config: tune.report(loss=(config["y"] - 0.3) ** 2), config={"y": domain}, num_samples=n,
                metric="loss", mode="min", search_alg=create_searcher(searcher, seed=1), executor="inline",
                max_concurrent_trials=1, seed=1, verbose=0, storage_path=str(tmp_path), name=name, resume="AUTO",
            )  # fmt: skip
        return [trial.config["y"] for trial in found.trials]

    assert configs([30, 60], "in_two") == configs([60], "in_one")
