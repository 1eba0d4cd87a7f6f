"""``on_duplicate``: a config that comes again is run again, passed over, or gets the earlier result; finite spaces end."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import RandomSearch, Searcher, TPESearch, UniqueSearch

SPACE: dict[str, Any] = {"a": tune.randint(0, 4), "b": tune.choice(["x", "yy", "zzz"]), "k": 5}
SIZE = 12


def train(config: dict[str, Any]) -> None:
    with open(config["log"], "a") as file:
        file.write(f"{config['a']} {config['b']}\n")
    for t in (2, 1):
        tune.report(loss=config["a"] + len(config["b"]) + t, nested={"t": t}, name=config["b"], done_by="training")


@pytest.fixture(params=["inline", "thread", "process"])
def executor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(folder: Path, **options: Any) -> tune.ExperimentAnalysis:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return tune.run(
            train,
            **{
                "config": {**SPACE, "log": str(folder / "log")},
                "num_samples": 40,
                "metric": "loss",
                "mode": "min",
                "seed": 2,
                "storage_path": folder,
                "verbose": 0,
                **options,
            },
        )


def pairs(analysis: tune.ExperimentAnalysis) -> list[tuple[int, str]]:
    return [(trial.config["a"], trial.config["b"]) for trial in analysis.trials]


def trained(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


@pytest.mark.parametrize("search_alg", [None, "random", "tpe", "evolution", "sobol", "hyperopt", "optuna"])
def test_skip_uses_a_finite_space_up_once_and_ends(tmp_path: Path, executor: str, search_alg: Any) -> None:
    analysis = run(tmp_path, on_duplicate="skip", search_alg=search_alg, executor=executor)
    assert len(pairs(analysis)) == SIZE == len(set(pairs(analysis)))
    assert sorted(trained(tmp_path)) == sorted(f"{a} {b}" for a, b in pairs(analysis))


def test_the_end_of_a_finite_space_is_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="all 4 configs of the search space have been tried: the search ends"):
        tune.run(
            lambda config: tune.report(loss=config["a"]),
            config={"a": tune.randint(0, 4)},
            num_samples=5,
            on_duplicate="skip",
            executor="inline",
            storage_path=tmp_path,
            verbose=0,
        )


@pytest.mark.parametrize("search_alg", [None, "tpe"])
def test_reuse_trains_each_config_once_and_every_trial_has_its_result(
    tmp_path: Path, executor: str, search_alg: Any
) -> None:
    analysis = run(
        tmp_path, on_duplicate="reuse", search_alg=search_alg, executor=executor, max_concurrent_trials=1
    )
    assert len(pairs(analysis)) == 40
    assert len(trained(tmp_path)) == len(set(pairs(analysis))) <= SIZE
    for trial in analysis.trials:
        assert trial.status == "TERMINATED"
        result = trial.last_result
        assert result["loss"] == trial.config["a"] + len(trial.config["b"]) + 1
        assert (result["nested"]["t"], result["name"], result["training_iteration"]) == (1, trial.config["b"], 2)
    read = tune.ExperimentAnalysis(analysis.experiment_path)
    assert read.dataframe()["loss"].tolist() == [trial.last_result["loss"] for trial in analysis.trials]


def test_reuse_under_a_scheduler_that_pauses_ends_every_trial(tmp_path: Path, executor: str) -> None:
    analysis = run(tmp_path, on_duplicate="reuse", scheduler="hyperband", executor=executor)
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert len(analysis.trials) == 40


def test_allow_is_the_default_and_runs_again(tmp_path: Path) -> None:
    analysis = run(tmp_path, executor="inline")
    assert len(trained(tmp_path)) == 40
    assert len(set(pairs(analysis))) <= SIZE


def test_random_search_keeps_its_configs_and_only_leaves_duplicates_out(tmp_path: Path) -> None:
    every = pairs(run(tmp_path, executor="inline"))
    unique = pairs(run(tmp_path, executor="inline", on_duplicate="skip", num_samples=8))
    assert unique == list(dict.fromkeys(every))[:8]
    again = pairs(run(tmp_path, executor="inline", on_duplicate="reuse"))
    assert again == every


def test_a_grid_is_run_once_however_many_samples(tmp_path: Path) -> None:
    space = {"a": tune.grid_search([0, 1, 2]), "b": tune.grid_search(["x", "yy"]), "log": str(tmp_path / "log")}
    analysis = run(tmp_path, config=space, num_samples=3, on_duplicate="skip", executor="inline")
    assert pairs(analysis) == [(a, b) for b in ("x", "yy") for a in (0, 1, 2)] or len(set(pairs(analysis))) == 6
    assert len(analysis.trials) == 6
    assert len(run(tmp_path, config=space, num_samples=3, on_duplicate="reuse", executor="inline").trials) == 18


@pytest.mark.parametrize("how", ["skip", "reuse"])
@pytest.mark.parametrize("search_alg", [None, "tpe"])
def test_a_resumed_run_knows_what_was_tried(tmp_path: Path, how: str, search_alg: Any) -> None:
    options = {"on_duplicate": how, "search_alg": search_alg, "executor": "inline", "name": "again"}
    options["max_concurrent_trials"] = 1
    first = run(tmp_path, num_samples=6, **options)
    resumed = run(tmp_path, num_samples=20, resume=True, **options)
    assert pairs(resumed)[:6] == pairs(first)
    assert len(trained(tmp_path)) == len(set(pairs(resumed)))
    assert len(resumed.trials) == (SIZE if how == "skip" else 20)


def test_a_config_that_failed_is_no_result(tmp_path: Path) -> None:
    calls = []

    def fails_once(config: dict[str, Any]) -> None:
        calls.append(config["a"])
        if len(calls) == 1:
            raise RuntimeError("once")
        tune.report(loss=1.0)

    analysis = tune.run(
        fails_once,
        config={"a": tune.choice([1])},
        num_samples=4,
        on_duplicate="reuse",
        executor="inline",
        raise_on_failed_trial=False,
        storage_path=tmp_path,
        verbose=0,
    )
    assert [trial.status for trial in analysis.trials] == ["ERROR", "TERMINATED", "TERMINATED", "TERMINATED"]
    assert len(calls) == 2


def test_the_tuner_takes_it_too(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = tune.Tuner(
            lambda config: tune.report(loss=config["a"]),
            param_space={"a": tune.randint(0, 3)},
            tune_config=tune.TuneConfig(num_samples=10, metric="loss", mode="min", on_duplicate="skip"),
            run_config=tune.RunConfig(storage_path=tmp_path, verbose=0),
        ).fit()
    assert len(results) == 3


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"on_duplicate": "drop"}, ValueError, r"on_duplicate must be one of 'allow', 'skip', 'reuse', got 'drop'"),
        ({"on_duplicate": None}, ValueError, "on_duplicate must be one of"),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path: Path, options: Any, error: Any, told: str) -> None:
    with pytest.raises(error, match=told):
        run(tmp_path, **options)
    assert not (tmp_path / "log").exists()


# ---- the searcher alone


class Stubborn(Searcher):
    """Suggests the same three over and over, and keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("loss", "min")
        self.asked, self.told = 0, []

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.asked += 1
        return {"a": self.asked % 3, "b": "x"}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.told.append((trial_id, None if result is None else result["loss"]))


def test_a_searcher_that_repeats_itself_is_told_the_results_and_then_led_on() -> None:
    inner = Stubborn()
    search = UniqueSearch(inner, SPACE)
    seen = []
    for number in range(SIZE):
        suggestion = search.suggest(f"t{number}")
        assert isinstance(suggestion, dict)
        seen.append((suggestion["a"], suggestion["b"]))
        search.on_trial_complete(f"t{number}", {"loss": float(suggestion["a"])})
    assert len(set(seen)) == SIZE
    assert {loss for trial, loss in inner.told if trial == "t3"} == {0.0, 1.0, 2.0}
    with pytest.warns(UserWarning, match="all 12 configs"):
        assert search.suggest("more") == Searcher.FINISHED


def test_of_an_endless_space_nothing_is_taken_twice() -> None:
    inner = Stubborn()
    search = UniqueSearch(inner, {"a": tune.uniform(0, 3), "b": "x"})
    for number in range(3):
        assert isinstance(search.suggest(f"t{number}"), dict)
    assert search.suggest("t3") is None  # what is out may bring it to other ideas
    for number in range(3):
        search.on_trial_complete(f"t{number}", {"loss": 1.0})
    assert search.suggest("t3") == Searcher.FINISHED


def test_a_saved_search_knows_what_was_tried(tmp_path: Path) -> None:
    def made() -> UniqueSearch:
        return UniqueSearch(RandomSearch(SPACE, metric="loss", mode="min", seed=3), SPACE)

    search, again = made(), made()
    for _ in range(10):
        search.tell(search.ask(), 1.0)
    search.save(str(tmp_path / "state"))
    again.restore(str(tmp_path / "state"))
    for one in (search, again):
        assert len({str(one.ask()) for _ in range(2)}) == 2
        with pytest.warns(UserWarning, match="all 12 configs"), pytest.raises(LookupError):
            one.ask()


def test_ask_and_tell_without_duplicates() -> None:
    search = UniqueSearch(TPESearch(SPACE, metric="loss", mode="min", seed=1), SPACE)
    seen = []
    for _ in range(SIZE):
        asked = search.ask()
        assert asked is not None
        assert asked.config["k"] == 5
        seen.append((asked.config["a"], asked.config["b"]))
        search.tell(asked, float(asked.config["a"]))
    assert len(set(seen)) == SIZE
    with pytest.warns(UserWarning, match="all 12 configs"), pytest.raises(LookupError):
        search.ask()


def test_random_search_one_by_one_gives_the_configs_of_a_run() -> None:
    space = {"x": tune.uniform(0, 1), "g": tune.grid_search([1, 2]), "k": 5}
    search = RandomSearch(space, num_samples=3, seed=4)
    asked = [search.ask() for _ in range(6)]
    assert [one.config for one in asked if one] == tune.SearchSpace(space).configs(3, seed=4)
    with pytest.raises(LookupError):
        search.ask()
    search.tell(asked[0], 1.0) if search.metric else None
    with pytest.raises(RuntimeError, match="does not know its space"):
        RandomSearch(seed=1).suggest("t")
    with pytest.raises(ValueError, match="num_samples must be"):
        RandomSearch(space, num_samples=0)
