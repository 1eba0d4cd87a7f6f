"""Trials of others as a warm start: Optuna studies, ``cv_results_``, Ray's folders, experiments of our own."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

import fasttune as tune
from fasttune.search import TPESearch
from fasttune.warm_start import KnownTrial, WarmStart

SPACE = {"x": tune.uniform(-10, 10), "kind": tune.choice(["a", "b"])}


def loss_of(config: dict[str, Any]) -> float:
    return (config["x"] - 3) ** 2 + (config["kind"] == "b")


def train(config: dict[str, Any]) -> None:
    tune.report({"loss": loss_of(config)})


def studied(n: int = 40, direction: str = "minimize") -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), direction=direction, study_name="before")

    def objective(trial: optuna.Trial) -> float:
        config = {"x": trial.suggest_float("x", -10, 10), "kind": trial.suggest_categorical("kind", ["a", "b"])}
        trial.report(50.0, 0)
        if trial.number % 10 == 7:
            raise optuna.TrialPruned
        if trial.number % 10 == 8:
            raise ValueError("failed")
        return loss_of(config)

    study.optimize(objective, n_trials=n, catch=(ValueError,))
    return study


class Heard(TPESearch):
    """Notes what it is told of trials that others have run."""

    def __init__(self, **asked: Any) -> None:
        self.heard: list[tuple[dict[str, Any], Any, bool, bool]] = []
        super().__init__(**asked)

    def add_evaluated_point(self, parameters: dict[str, Any], value: Any, error: bool = False, pruned: bool = False,
                            intermediate_values: list[float] | None = None) -> None:  # fmt: skip
        super().add_evaluated_point(parameters, value, error, pruned, intermediate_values)
        self.heard.append((parameters, value, error, pruned))


def heard_by_run(start: Any, **asked: Any) -> list[tuple[dict[str, Any], Any, bool, bool]]:
    searcher = Heard(seed=1)
    options = {"config": SPACE, "metric": "loss", "mode": "min", "num_samples": 1, "executor": "inline", "verbose": 0}
    tune.run(train, warm_start=start, **{"search_alg": searcher, **options, **asked})
    return searcher.heard


def test_a_study_is_told_to_the_searcher_with_its_states() -> None:
    study = studied()
    start = tune.warm_start.from_optuna(study)
    assert repr(start) == "<WarmStart of 40 trials from the Optuna study 'before': 32 done, 4 pruned, 4 failed>"
    expected = []
    for trial in study.trials:
        failed, pruned = trial.number % 10 == 8, trial.number % 10 == 7
        value = None if failed else 50.0 if pruned else trial.value
        expected.append((trial.params, value, failed, pruned))
    assert heard_by_run(start) == expected


def test_a_warm_search_begins_where_the_study_ended() -> None:
    """Without it the first suggestions are random: their mean distance from the optimum is about 5."""
    options: dict[str, Any] = {"metric": "loss", "mode": "min", "num_samples": 10, "executor": "inline", "verbose": 0, "seed": 5}
    warm = tune.run(train, config=SPACE, search_alg="tpe", warm_start=tune.warm_start.from_optuna(studied(100)), **options)
    cold = tune.run(train, config=SPACE, search_alg="tpe", **options)
    distances = [np.mean([abs(trial.config["x"] - 3) for trial in one.trials]) for one in (warm, cold)]
    assert distances[0] < 2.5 < distances[1]


def test_tuner_and_open_experiment_take_it_too() -> None:
    start = tune.warm_start.from_optuna(studied(20))
    searcher = Heard(seed=1)
    tune.Tuner(
        train,
        param_space=SPACE,
        tune_config=tune.TuneConfig(metric="loss", mode="min", search_alg=searcher, warm_start=start),
        run_config=tune.RunConfig(verbose=0),
    ).fit()
    assert len(searcher.heard) == 20
    other = Heard(seed=1)
    with tune.open_experiment(SPACE, metric="loss", mode="min", search_alg=other, warm_start=start):
        assert len(other.heard) == 20


def test_limits_around_a_searcher_pass_it_on() -> None:
    start = tune.warm_start.from_optuna(studied(20))
    assert len(heard_by_run(start, max_concurrent_trials=2, on_duplicate="skip")) == 20


def test_a_run_that_goes_on_suggests_what_one_without_a_break_does() -> None:
    start = tune.warm_start.from_optuna(studied(20))
    asked: dict[str, Any] = {"config": SPACE, "metric": "loss", "mode": "min", "search_alg": "tpe", "warm_start": start, "seed": 1,
                             "executor": "inline", "verbose": 0}  # fmt: skip
    tune.run(train, name="broken", num_samples=4, **asked)
    went_on = tune.run(train, name="broken", resume=True, num_samples=8, **asked)
    whole = tune.run(train, name="whole", num_samples=8, **asked)
    assert [trial.config for trial in went_on.trials] == [trial.config for trial in whole.trials]


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "evolution", "bohb", "optuna", "bayesopt", "hyperopt"])
def test_every_searcher_that_learns_takes_it(name: str) -> None:
    start = tune.warm_start.from_optuna(studied(20), rename={"kind": None})
    made = tune.run(
        train, config={"x": tune.uniform(-10, 10), "kind": "a"}, num_samples=1, metric="loss", mode="min", search_alg=name,
        warm_start=start, executor="inline", verbose=0, seed=1,
    )  # fmt: skip
    assert made.trials[0].status == "TERMINATED"


@pytest.mark.parametrize("name", ["random", "sobol", "halton"])
def test_one_that_learns_nothing_says_so(name: str) -> None:
    with pytest.raises(TypeError, match=r"warm_start is for a searcher that learns, and \w+ does not"):
        heard_by_run(tune.warm_start.from_optuna(studied(5)), search_alg=name)


def test_the_best_ones_can_be_tried_first() -> None:
    study = studied()
    start = tune.warm_start.from_optuna(study)
    best = start.best(3)
    done = sorted((trial.value, trial.params["x"]) for trial in study.trials if trial.state.name == "COMPLETE")
    assert [point["x"] for point in best] == [x for _, x in done[:3]]
    made = tune.run(
        train, config=SPACE, num_samples=4, executor="inline", verbose=0,
        search_alg=tune.search.BasicVariantGenerator(points_to_evaluate=best),
    )  # fmt: skip
    assert [trial.config for trial in made.trials[:3]] == best


def test_searchers_take_it_by_their_own_method() -> None:
    searcher = Heard(space=SPACE, metric="loss", mode="min", seed=1)
    searcher.add_evaluated_trials(tune.warm_start.from_optuna(studied(20), metric="loss"), "loss")
    assert len(searcher.heard) == 20


def test_names_of_parameters_and_metrics_can_differ() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    distributions = {"position": optuna.distributions.FloatDistribution(-10, 10), "jobs": optuna.distributions.IntDistribution(1, 4)}
    study.add_trial(optuna.trial.create_trial(params={"position": 1.0, "jobs": 2}, distributions=distributions, values=[0.9, 7.0]))
    start = tune.warm_start.from_optuna(study, metric=["acc", "loss"], rename={"position": "deep/x", "jobs": None})
    assert start[0] == KnownTrial({"deep/x": 1.0}, {"acc": 0.9, "loss": 7.0})
    assert heard_by_run(start, config={"deep": {"x": tune.uniform(-10, 10)}, "kind": "a", "x": 0.0}) == [
        ({"deep/x": 1.0}, 7.0, False, False)
    ]


def test_trials_outside_the_space_are_counted_and_the_first_is_explained() -> None:
    study = studied()
    lies_in = [trial for trial in study.trials if abs(trial.params["x"]) <= 5]
    narrow = {"x": tune.uniform(-5, 5), "kind": tune.choice(["a", "b"])}
    first = next(trial for trial in study.trials if abs(trial.params["x"]) > 5)
    words = f"{40 - len(lies_in)} of the 40 trials of the Optuna study 'before' cannot be learnt from and are left out; the first: "
    with pytest.warns(UserWarning, match=words + f"'x' must be from -5 to 5, got {first.params['x']!r}"):
        heard = heard_by_run(tune.warm_start.from_optuna(study), config=narrow)
    assert [point for point, *_ in heard] == [trial.params for trial in lies_in]


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"y": tune.uniform(0, 1)}, "it has 'x', which the space does not have; it has y.*rename="),
        ({"x": tune.uniform(-10, 10), "kind": "c"}, "it has 'kind', which is 'c' in the space and not searched"),
        ({**SPACE, "depth": tune.randint(1, 5)}, "the config has no 'depth'"),
    ],
)
def test_a_study_of_another_space_is_refused(space: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        heard_by_run(tune.warm_start.from_optuna(studied(10)), config=space)


def test_what_cannot_be_is_said() -> None:
    start = tune.warm_start.from_optuna(studied(10, "maximize"))
    with pytest.raises(ValueError, match="was run with mode 'max' of 'value', and this searcher has mode 'min'"):
        heard_by_run(start)
    with pytest.raises(ValueError, match="metric 'loss' is not one of the Optuna study 'before', which has 'acc'"):
        heard_by_run(tune.warm_start.from_optuna(studied(10), metric="acc"))
    with pytest.raises(TypeError, match='BasicVariantGenerator does not: pass search_alg="tpe"'):
        tune.run(train, config=SPACE, metric="loss", mode="max", warm_start=start, verbose=0)
    with pytest.raises(TypeError, match=r"warm_start must be a WarmStart.*got dict"):
        heard_by_run({"x": 1})
    with pytest.raises(TypeError, match="from_optuna takes an Optuna study, got str"):
        tune.warm_start.from_optuna("sqlite:///study.db")
    with pytest.raises(ValueError, match="metric must name each of the 1 objectives"):
        tune.warm_start.from_optuna(studied(1), metric=["a", "b"])
    with pytest.raises(ValueError, match="rename has 'z', and the Optuna study 'before' has 'x', 'kind'"):
        tune.warm_start.from_optuna(studied(1), rename={"z": "x"})
    with pytest.raises(ValueError, match="mode must be given"):
        WarmStart([KnownTrial({"x": 1}, {"loss": 1.0})]).best(1)


def test_an_earlier_experiment_by_its_folder_and_by_its_analysis(
    analysis: tune.ExperimentAnalysis, mixed_space: dict[str, Any]
) -> None:
    start = tune.warm_start.from_experiment(analysis.experiment_path)
    assert len(start) == len(analysis.trials)
    for known, trial in zip(start, analysis.trials, strict=True):
        assert known.config == trial.evaluated_params
        assert known.metrics.get("loss") == trial.last_result.get("loss")
        assert (known.outcome == "failed") == (trial.status == "ERROR")
    assert {known.outcome for known in start} == {"done", "pruned", "failed"}
    for given in (analysis, tune.ResultGrid(analysis), analysis.experiment_path):
        assert len(heard_by_run(given, config=mixed_space, raise_on_failed_trial=False)) == len(analysis.trials)


# ---- scikit-learn


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    from sklearn.datasets import make_classification

    features, classes = make_classification(n_samples=80, n_features=5, random_state=0)
    return features, classes


def test_candidates_of_a_grid_search(data: tuple[Any, Any]) -> None:
    from sklearn.exceptions import FitFailedWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression())
    grid = {"logisticregression__C": np.array([0.01, 1.0, 1e9]), "logisticregression__solver": ["lbfgs", "wrong"]}
    search = GridSearchCV(model, grid, cv=2, error_score=np.nan)
    with pytest.warns() as told:
        search.fit(*data)
    assert any(issubclass(one.category, FitFailedWarning) for one in told)
    start = tune.warm_start.from_cv_results(
        search.cv_results_, rename={"logisticregression__C": "C", "logisticregression__solver": "solver"}
    )
    assert repr(start) == "<WarmStart of 6 trials from the search's cv_results_: 3 done, 3 failed>"
    assert start[0] == KnownTrial({"C": 0.01, "solver": "lbfgs"}, {"score": search.cv_results_["mean_test_score"][0]})
    assert type(start[0].config["C"]) is float
    assert start.best(1) == [{"C": search.best_params_["logisticregression__C"], "solver": "lbfgs"}]
    space = {"C": tune.loguniform(1e-3, 1e3), "solver": tune.choice(["lbfgs", "wrong"])}
    with pytest.warns(UserWarning, match=r"2 of the 6 trials of the search's cv_results_ .*'C' must be from 0.001 to 1000"):
        heard = heard_by_run(start, config=space, metric="loss", mode="max", raise_on_failed_trial=False)
    assert [point["C"] for point, *_ in heard] == [0.01, 0.01, 1.0, 1.0]
    with pytest.raises(ValueError, match="mode 'max' of 'score', and this searcher has mode 'min'"):
        heard_by_run(start, config=space)


def test_candidates_of_a_halving_search_count_once(data: tuple[Any, Any]) -> None:
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV
    from sklearn.tree import DecisionTreeClassifier

    search = HalvingGridSearchCV(
        DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, 3, 4, 5, 6]}, min_resources=20, factor=2, cv=2, random_state=0
    ).fit(*data)
    results = search.cv_results_
    start = tune.warm_start.from_cv_results(results, metric="accuracy")
    assert sorted(known.config["max_depth"] for known in start) == [1, 2, 3, 4, 5, 6]
    most = max(results["n_resources"])
    for known in start:
        rows = [k for k, params in enumerate(results["params"]) if params == known.config]
        last = max(rows, key=lambda k: results["n_resources"][k])
        assert known.metrics == {"accuracy": results["mean_test_score"][last]}
        assert known.outcome == ("done" if results["n_resources"][last] == most else "pruned")
    assert {known.outcome for known in start} == {"done", "pruned"}


def test_several_scores_keep_their_names() -> None:
    results = {"params": [{"C": 1}], "mean_test_acc": np.array([0.5]), "mean_test_f1": np.array([0.25]), "rank_test_acc": [1]}
    start = tune.warm_start.from_cv_results(results)
    assert start.trials == [KnownTrial({"C": 1}, {"acc": 0.5, "f1": 0.25})]
    assert start.modes == {"acc": "max", "f1": "max"}
    with pytest.raises(ValueError, match="names the score of a search with one scorer, and this one has acc, f1"):
        tune.warm_start.from_cv_results(results, metric="acc")
    with pytest.raises(ValueError, match=r"takes the cv_results_ of a fitted search.*got a"):
        tune.warm_start.from_cv_results({"a": [1]})


# ---- Ray


def test_a_folder_in_rays_layout(analysis: tune.ExperimentAnalysis, mixed_space: dict[str, Any], tmp_path: Path) -> None:
    """Folders that Ray has written are opened in test_ray_layout, which needs Ray."""
    analysis.export(tmp_path / "rayed", "ray")
    start = tune.warm_start.from_ray(tmp_path / "rayed")
    by_lr = {known.config["lr"]: known for known in start}
    assert len(by_lr) == len(analysis.trials)
    for trial in analysis.trials:
        known = by_lr[trial.config["lr"]]
        assert known.config == trial.config
        assert known.metrics.get("loss") == trial.last_result.get("loss")
        assert known.metrics.get("time/gpu") == (trial.last_result.get("time") or {}).get("gpu")
        assert known.outcome == ("failed" if trial.status == "ERROR" else "done")
    assert len(heard_by_run(start, config=mixed_space, raise_on_failed_trial=False)) == len(analysis.trials)


def write_trial(folder: Path, config: dict[str, Any], lines: list[str]) -> None:
    folder.mkdir(parents=True)
    (folder / "params.json").write_text(json.dumps(config))
    (folder / "result.json").write_text("".join(lines))


def test_a_folder_of_a_killed_run_without_its_state(tmp_path: Path) -> None:
    write_trial(tmp_path / "exp" / "t0", {"x": 1.0}, ['{"loss": 3.0, "done": false}\n', '{"loss": 2.0, "done": true}\n'])
    write_trial(tmp_path / "exp" / "t1", {"x": 2.0}, ['{"loss": 5.0, "done": false}\n', '{"loss": 4.'])
    write_trial(tmp_path / "exp" / "t2", {"x": 3.0}, [])
    (tmp_path / "exp" / "experiment_state-2020.json").write_text('{"trial_data": [["{')
    start = tune.warm_start.from_ray(tmp_path / "exp")
    assert start.trials == [KnownTrial({"x": 1.0}, {"loss": 2.0})], "the others were not over"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["FASTTUNE_TEST_BOMB"],)


def test_nothing_is_unpickled_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTTUNE_TEST_BOMB", str(tmp_path / "exploded"))
    write_trial(tmp_path / "exp" / "t0", {"x": "an object"}, ['{"loss": 2.0, "done": true}\n'])
    (tmp_path / "exp" / "t0" / "params.pkl").write_bytes(pickle.dumps({"x": Bomb()}))
    state = {"relative_logdir": "t0", "status": "TERMINATED", "storage": {"_type": "CLOUDPICKLE_FALLBACK", "value": "00"}}
    (tmp_path / "exp" / "experiment_state-1.json").write_text(json.dumps({"trial_data": [[json.dumps(state), "{}"]]}))
    assert tune.warm_start.from_ray(tmp_path / "exp").trials == [KnownTrial({"x": "an object"}, {"loss": 2.0})]
    assert not (tmp_path / "exploded").exists()
    tune.warm_start.from_ray(tmp_path / "exp", trust=True)
    assert (tmp_path / "exploded").exists()


def test_a_folder_that_is_none_of_rays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no trial of Ray Tune lies in"):
        tune.warm_start.from_ray(tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        tune.warm_start.from_ray(tmp_path / "nowhere")


def test_names_that_become_one_lose_no_value() -> None:
    known = WarmStart([KnownTrial({"a": 1, "b": 2}, {"loss": 1.0})])
    with pytest.raises(ValueError, match="rename gives 'a' and 'b' the one name 'b': a value would be lost"):
        known.renamed({"a": "b"})
