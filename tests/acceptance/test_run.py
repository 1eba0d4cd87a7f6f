"""Rows R1 to R14: what a run is asked to do, through the public doors, on both executors."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, FIFOScheduler
from fasttune.search import BasicVariantGenerator, ConcurrencyLimiter, Searcher
from fasttune.stopper import (
    CombinedStopper,
    ExperimentPlateauStopper,
    FunctionStopper,
    MaximumIterationStopper,
    NoopStopper,
    TimeoutStopper,
    TrialPlateauStopper,
)


def append(path: str | Path, line: object) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def counts(config: dict[str, Any]) -> None:
    for i in range(config.get("n", 10)):
        tune.report(i=i, a={"b": {"c": i}})


def sleeps(config: dict[str, Any]) -> None:
    """Goes on for ever, as trainables that wait to be stopped do."""
    i = 0
    while True:
        tune.report(i=i)
        i += 1
        time.sleep(0.002)


def iterations(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


# ---- R1: names and folders


def test_R1_samples_config_name_and_folder(run, tmp_path):
    analysis = run(counts, config={"n": 2, "x": tune.uniform(0, 1)}, num_samples=3, name="mine")
    assert analysis.experiment_path == str(tmp_path / "mine")
    assert len(analysis.trials) == 3
    assert iterations(analysis) == [2, 2, 2]
    assert {".lock", "experiment.db"} >= set(os.listdir(analysis.experiment_path)) - {"rings"}
    for trial in analysis.trials:
        assert os.path.dirname(trial.logdir) == analysis.experiment_path
        name = os.path.basename(trial.logdir)
        assert name == f"{trial}_{trial.experiment_tag}"


def test_R1_local_dir_is_the_old_name(executor, tmp_path):
    analysis = tune.run(counts, local_dir=tmp_path, name="old", executor=executor, verbose=0)
    assert analysis.experiment_path == str(tmp_path / "old")


def test_R1_default_name_is_trainable_and_date(run, tmp_path):
    first, second = run(counts), run(counts)  # in the same second, too
    assert os.path.basename(first.experiment_path).startswith("counts_20")
    assert first.experiment_path != second.experiment_path
    assert len(first.trials) == len(second.trials) == 1


def test_R1_a_name_that_is_taken_gets_a_number(run, tmp_path):
    first = run(counts, name="same")
    second = run(counts, name="same", config={"n": 3})
    assert (first.experiment_path, second.experiment_path) == (str(tmp_path / "same"), str(tmp_path / "same_2"))
    assert iterations(first) == [10]
    assert iterations(second) == [3]


def test_R1_the_config_given_is_not_changed(run):
    config = {"n": 1, "nested": {"x": tune.uniform(0, 1)}, "many": [1, 2]}

    def changes(given):
        given["nested"]["x"] = "changed"
        given["many"].append(3)
        given["new"] = 1

    before = {**config, "nested": dict(config["nested"]), "many": list(config["many"])}
    analysis = run(changes, config=config)
    assert config == before
    assert analysis.trials[0].config["many"] == [1, 2]
    with pytest.raises(ValueError, match="must be a dict"):
        run(changes, config=[1])


# ---- R2: several at once


def notes_overlap(config: dict[str, Any]) -> None:
    folder = Path(config["folder"])
    mine = folder / str(tune.get_trial_id())
    mine.write_text("")
    for _ in range(10):
        tune.report(together=len(list(folder.iterdir())))
        time.sleep(0.01)
    mine.unlink()


def meets_the_others(config: dict[str, Any]) -> None:
    """The first ``together`` trials end only when all of them are there."""
    folder = Path(config["folder"])
    (folder / tune.get_trial_id()).touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < config["together"]:
        assert time.monotonic() < deadline, "the others never came"
        time.sleep(0.001)
    tune.report(pid=os.getpid())


@pytest.mark.parametrize(("cpu", "together"), [(1, 2), (2, 1), (0.5, 4)])
def test_R2_as_many_at_once_as_the_cpus_hold(tmp_path, cpu, together, monkeypatch):
    """They meet, so they run at once; and there are no more processes than that."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(2)))
    folder = tmp_path / "alive"
    folder.mkdir()
    analysis = tune.run(
        meets_the_others,
        config={"folder": str(folder), "together": together},
        num_samples=6,
        resources_per_trial={"cpu": cpu},
        storage_path=tmp_path,
        verbose=0,
    )
    assert len({trial.last_result["pid"] for trial in analysis.trials}) == together


def t_results(trial: tune.experiment.Trial) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = trial._source.results(trial.index)
    return results


# ---- R3 and R4: stop criteria


def test_R3_a_nested_key(run):
    (trial,) = run(counts, stop={"a/b/c": 6}).trials
    assert trial.last_result["training_iteration"] == 7
    assert trial.status == "TERMINATED"


def test_R3_any_of_several_keys(run):
    assert iterations(run(counts, stop={"i": 100, "training_iteration": 4})) == [4]
    assert iterations(run(counts, stop={"time_total_s": 1e-9})) == [1]


def test_R3_a_dict_as_value_names_a_nested_metric(run):
    assert iterations(run(counts, stop={"a": {"b": {"c": 6}}})) == [7]
    with pytest.raises(ValueError, match="stop"):
        run(counts, stop={"a": {}})


def test_R3_a_function(run):
    assert iterations(run(counts, stop=lambda trial_id, result: result["a"]["b"]["c"] > 6)) == [8]
    with pytest.raises(ValueError, match="called with"):
        run(counts, stop=lambda result: True)


def test_R3_a_stopper_and_a_list_of_them(run):
    class FromThree(tune.Stopper):
        def __call__(self, trial_id, result):
            return result["i"] >= 3

        def stop_all(self):
            return False

    assert iterations(run(counts, num_samples=2, stop=FromThree())) == [4, 4]
    assert iterations(run(counts, stop=[FromThree(), MaximumIterationStopper(2)])) == [2]
    assert iterations(run(counts, stop=CombinedStopper(FromThree(), NoopStopper()))) == [4]
    with pytest.raises(ValueError, match="write FromThree"):
        run(counts, stop=FromThree)


def test_R3_a_stopper_that_raises_ends_the_run_with_its_error(run):
    def broken(trial_id, result):
        raise KeyError("no such thing")

    with pytest.raises(KeyError, match="no such thing"):
        run(counts, stop=broken)


def test_R3_a_stop_all_that_raises_is_no_fault_of_the_trial(run):
    class Broken(tune.Stopper):
        asks_every_report = False

        def __init__(self):
            self.turns = 0

        def __call__(self, trial_id, result):
            return False

        def stop_all(self):
            self.turns += 1
            if self.turns > 3:
                raise KeyError("no such thing")
            return False

    with pytest.raises(KeyError, match="no such thing"):
        run(sleeps, stop=Broken())


def test_R3_a_stopper_may_end_the_whole_experiment(run):
    class AfterTwenty(tune.Stopper):
        def __init__(self):
            self.seen = 0

        def __call__(self, trial_id, result):
            self.seen += 1
            return False

        def stop_all(self):
            return self.seen >= 20

    analysis = run(sleeps, num_samples=4, stop=AfterTwenty())
    assert {trial.status for trial in analysis.trials} <= {"TERMINATED", "PENDING"}
    assert sum(len(t_results(trial)) for trial in analysis.trials) >= 20


def replay(config: dict[str, Any]) -> None:
    for value in [10.0, 11.0, 12.0] + [20.0] * 10:
        tune.report(mean=value)


@pytest.mark.parametrize(
    ("options", "iteration"),
    [({}, 7), ({"grace_period": 9}, 9), ({"metric_threshold": 22.0, "mode": "max"}, 13)],
)
def test_R4_trial_plateau(run, options, iteration):
    stopper = TrialPlateauStopper("mean", num_results=4, **{"grace_period": 4, **options})
    assert iterations(run(replay, stop=stopper)) == [iteration]


def test_R4_all_stoppers_in_a_run(run):
    assert iterations(run(counts, stop=NoopStopper())) == [10]
    assert iterations(run(counts, stop=MaximumIterationStopper(3))) == [3]
    assert iterations(run(counts, stop=FunctionStopper(lambda i, r: r["i"] == 1))) == [2]


def test_R4_experiment_plateau(run):
    def flat(config):
        for _ in range(1000):
            tune.report(score=1.0)
            time.sleep(0.001)

    analysis = run(flat, stop=ExperimentPlateauStopper("score", top=5, mode="max"), num_samples=3)
    assert sum(len(t_results(trial)) for trial in analysis.trials) < 1000


def test_R4_timeout(run):
    analysis = run(sleeps, stop=TimeoutStopper(0.3))
    assert {trial.status for trial in analysis.trials} <= {"TERMINATED", "PENDING"}


# ---- R5 and R6: budgets


@pytest.mark.parametrize("budget", [0.4, timedelta(milliseconds=400)])
def test_R5_a_time_budget_ends_endless_trials(run, budget):
    analysis = run(sleeps, time_budget_s=budget)
    assert {trial.status for trial in analysis.trials} <= {"TERMINATED", "PENDING"}


def test_R5_a_budget_and_a_stop_dict(run):
    assert iterations(run(sleeps, time_budget_s=60, stop={"i": 3})) == [4]
    for wrong in (0, -1, "long"):
        with pytest.raises(ValueError, match="time_budget_s"):
            run(sleeps, time_budget_s=wrong)


class AfterReports(tune.Stopper):
    """Ends the experiment when it has seen so many reports."""

    def __init__(self, reports: int) -> None:
        self.left = reports

    def __call__(self, trial_id, result):
        self.left -= 1
        return False

    def stop_all(self):
        return self.left <= 0


def test_R6_no_end_but_the_budget(run):
    analysis = run(counts, num_samples=-1, time_budget_s=0.3, config={"x": tune.uniform(0, 1)})
    assert {trial.status for trial in analysis.trials} <= {"TERMINATED", "PENDING"}


def test_R6_no_end_but_a_stopper(run):
    analysis = run(counts, num_samples=-1, stop=AfterReports(45), config={"x": tune.uniform(0, 1)})
    statuses = [trial.status for trial in analysis.trials]
    assert statuses.count("TERMINATED") >= 4
    assert set(statuses) <= {"TERMINATED", "PENDING"}


def test_R6_no_end_with_a_searcher(run):
    class Endless(Searcher):
        def suggest(self, trial_id):
            return {"n": 2}

        def on_trial_complete(self, trial_id, result=None, error=False):
            pass

    analysis = run(counts, num_samples=-1, stop=AfterReports(10), time_budget_s=60, search_alg=Endless())
    statuses = [trial.status for trial in analysis.trials]
    assert len(statuses) >= 5
    assert statuses.count("PENDING") <= 2  # one for each worker
    assert set(statuses) <= {"TERMINATED", "PENDING"}


def test_R5_long_trials_are_seen_while_they_run(run):
    class Watch(tune.Callback):
        def __init__(self):
            self.seen: list[str] = []

        def on_trial_result(self, iteration, trials, trial, result, **info):
            self.seen.append(trial.status)

    def slow(config):
        for _ in range(6):
            tune.report(i=1)
            time.sleep(0.05)

    watch = Watch()
    run(slow, callbacks=[watch])
    assert len(watch.seen) == 6
    assert "RUNNING" in watch.seen


def test_R5_more_reports_than_a_ring_holds(run):
    def many(config):
        for i in range(120_000):
            tune.report(i=i, a=1.0, b=2.0, c=3.0, d=4.0)

    assert iterations(run(many)) == [120_000]


def test_R6_a_function_that_never_reports_is_ended(tmp_path):
    def deaf(config):
        while True:
            pass

    analysis = tune.run(deaf, num_samples=3, time_budget_s=0.2, storage_path=tmp_path, verbose=0)
    assert "RUNNING" not in {trial.status for trial in analysis.trials}


# ---- R7: concurrency


def test_R7_max_concurrent_trials(tmp_path, monkeypatch):
    folder = tmp_path / "alive"
    folder.mkdir()
    analysis = tune.run(
        meets_the_others,
        config={"folder": str(folder), "together": 3},
        num_samples=5,
        resources_per_trial={"cpu": 0.25},
        max_concurrent_trials=3,
        storage_path=tmp_path,
        verbose=0,
    )
    assert len({trial.last_result["pid"] for trial in analysis.trials}) == 3


def test_R7_the_generators_own_limit(tmp_path):
    folder = tmp_path / "alive"
    folder.mkdir()
    analysis = tune.run(
        notes_overlap,
        config={"folder": str(folder)},
        num_samples=3,
        search_alg=BasicVariantGenerator(max_concurrent=1),
        storage_path=tmp_path,
        verbose=0,
    )
    assert max(r["together"] for trial in analysis.trials for r in t_results(trial)) == 1


class Numbers(Searcher):
    """Suggests n = 1, 2, 3, .. and keeps what it is told."""

    def __init__(self, last: int | None = None, **more: Any) -> None:
        super().__init__(**more)
        self.last = last
        self.given: list[str] = []
        self.results: list[tuple[str, int]] = []
        self.completed: list[tuple[str, Any, bool]] = []

    def suggest(self, trial_id):
        if self.last is not None and len(self.given) >= self.last:
            return self.FINISHED
        self.given.append(trial_id)
        return {"n": len(self.given)}

    def on_trial_result(self, trial_id, result):
        self.results.append((trial_id, result["training_iteration"]))

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.completed.append((trial_id, result, error))


def test_R7_a_searcher_is_limited(run):
    class Watched(Numbers):
        most = 0

        def suggest(self, trial_id):
            found = super().suggest(trial_id)
            self.most = max(self.most, len(self.given) - len(self.completed))
            return found

    searcher = Watched()
    run(counts, num_samples=6, search_alg=searcher, max_concurrent_trials=1)
    assert len(searcher.completed) == 6
    assert searcher.most == 1


def test_R7_wrong_limits(run):
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="max_concurrent_trials"):
            run(counts, max_concurrent_trials=wrong)
    limited = ConcurrencyLimiter(Numbers(), max_concurrent=2)
    with pytest.raises(ValueError, match="max_concurrent_trials=3"):
        run(counts, search_alg=limited, max_concurrent_trials=3)


# ---- R8: metric and mode


def test_R8_metric_and_mode_reach_everybody(run):
    class Asked(Numbers):
        def set_search_properties(self, metric, mode, config, **spec):
            self.told = metric, mode, spec["num_samples"]
            return True

    searcher, scheduler = Asked(), ASHAScheduler(max_t=10)
    analysis = run(counts, metric="i", mode="max", search_alg=searcher, scheduler=scheduler, num_samples=2)
    assert searcher.told == ("i", "max", 2)
    assert (scheduler.metric, scheduler.mode) == ("i", "max")
    assert (analysis.default_metric, analysis.default_mode) == ("i", "max")
    assert analysis.best_config == {"n": 2}


def test_R8_conflicts_and_wrong_modes(run):
    with pytest.raises(ValueError, match="give them in one place"):
        run(counts, metric="i", mode="max", scheduler=ASHAScheduler(metric="i", mode="max"))
    with pytest.raises(ValueError, match="mode must be"):
        run(counts, metric="i", mode="best")
    with pytest.raises(ValueError, match="already instantiated with a search space"):
        run(counts, search_alg=Numbers(), config={"x": tune.uniform(0, 1)})


def test_R8_mode_alone_is_about_a_returned_number(run):
    analysis = run(lambda config: config["x"], config={"x": tune.grid_search([3, 1, 2])}, mode="min")
    assert analysis.best_config == {"x": 1}


@pytest.mark.parametrize("metric", ["training_iteration", "time_total_s"])
def test_R8_an_auto_filled_key_as_metric(run, metric):
    analysis = run(counts, metric=metric, mode="max", config={"n": tune.grid_search([2, 4])})
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    assert analysis.best_trial is not None


def test_R8_a_missing_metric_fails_its_own_trial(run):
    def sometimes(config):
        tune.report({"other": 1} if config["x"] == 2 else {"score": 1})

    analysis = run(
        sometimes,
        config={"x": tune.grid_search([1, 2, 3])},
        metric="score",
        mode="max",
        raise_on_failed_trial=False,
    )
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]
    text = str(analysis.trials[1].get_error())
    assert "'score'" in text
    assert "'other'" in text


# ---- R9: several experiments


def test_R9_several_experiments_at_once(run):
    def one(config):
        tune.report(which=1, x=config["x"])

    def two(config):
        tune.report(which=2, y=config["y"])

    class Three(tune.Trainable):
        def step(self):
            return {"which": 3, "done": True}

    analysis = run(
        [
            tune.Experiment("first", one, config={"x": tune.uniform(0, 1)}, num_samples=10),
            tune.Experiment("second", two, config={"y": tune.grid_search([1, 2])}, num_samples=5),
            tune.Experiment("third", Three, num_samples=10),
        ]
    )
    assert len(analysis.trials) == 30
    assert len(analysis.results_df) == 30
    assert len({trial.trial_id for trial in analysis.trials}) == 30
    expected = [("one", 1)] * 10 + [("two", 2)] * 10 + [("Three", 3)] * 10
    assert [(t.trainable_name, t.last_result["which"]) for t in analysis.trials] == expected
    again = tune.ExperimentAnalysis(analysis.experiment_path)
    assert [(t.trainable_name, t.last_result["which"]) for t in again.trials] == expected


def test_R9_several_functions_of_one_call(run):
    def other(config):
        tune.report(other=1)

    analysis = run([counts, other], config={"n": 1}, num_samples=2)
    assert [trial.trainable_name for trial in analysis.trials] == ["counts", "counts", "other", "other"]


@pytest.mark.parametrize("concurrent", [True, False])
def test_R9_run_experiments(tmp_path, concurrent):
    specs = {
        "a": {"run": counts, "config": {"n": 2}, "num_samples": 2, "storage_path": str(tmp_path)},
        "b": {"run": counts, "config": {"n": 3}, "stop": {"i": 1}, "storage_path": str(tmp_path)},
    }
    trials = tune.run_experiments(specs, verbose=0, concurrent=concurrent)
    assert [trial.last_result["training_iteration"] for trial in trials] == ([2, 2, 3] if concurrent else [2, 2, 2])
    one = tune.Experiment("c", counts, config={"n": 1}, storage_path=tmp_path)
    assert len(tune.run_experiments(one, verbose=0)) == 1
    assert len(tune.run_experiments([one, {"d": {"run": counts, "storage_path": tmp_path}}], verbose=0)) == 2


# ---- R10: Tuner


def test_R10_tuner(run_config):
    tuner = tune.Tuner(
        counts,
        param_space={"n": tune.grid_search([2, 5])},
        tune_config=tune.TuneConfig(metric="i", mode="max", num_samples=2),
        run_config=run_config(name="t"),
    )
    with pytest.raises(RuntimeError, match="no results yet"):
        tuner.get_results()
    grid = tuner.fit()
    assert [result.metrics["i"] for result in grid] == [1, 4, 1, 4]
    assert grid.get_best_result().config == {"n": 5}
    assert tuner.get_results().experiment_path == grid.experiment_path
    assert (grid.num_errors, grid.num_terminated) == (0, 4)
    with pytest.raises(AttributeError):
        tuner.restore("x", counts)


def test_R10_a_failed_trial_does_not_raise(run_config):
    def fails(config):
        tune.report(score=config["x"])
        if config["x"] == 2:
            raise ValueError("two")

    grid = tune.Tuner(fails, param_space={"x": tune.grid_search([1, 2, 3])}, run_config=run_config()).fit()
    assert (grid.num_errors, grid.num_terminated) == (1, 2)
    assert isinstance(grid.errors[0], ValueError)
    assert isinstance(grid[1].error, ValueError)
    assert grid[1].metrics["score"] == 2
    assert grid[0].error is None


def test_R10_wrong_settings_are_said_when_the_tuner_is_made(executor):
    with pytest.raises(ValueError, match="param_space must be a dict"):
        tune.Tuner(counts, param_space=[1])
    with pytest.raises(TypeError):
        tune.Tuner(counts, tune_config={"num_samples": 2})
    with pytest.raises(ValueError, match="num_samples"):
        tune.Tuner(counts, tune_config=tune.TuneConfig(num_samples=0))
    with pytest.raises(TypeError, match="num_sample"):
        tune.TuneConfig(num_sample=3)


def test_R10_class_trainables_are_saved_at_their_end(run_config):
    class Saves(tune.Trainable):
        def step(self):
            return {"done": self.iteration == 2}

        def save_checkpoint(self, checkpoint_dir):
            return {"iteration": self.iteration}

    (result,) = tune.Tuner(Saves, run_config=run_config()).fit()
    assert result.checkpoint is not None


# ---- R12 and R13: names and attributes


def test_R12_names_folders_ids_and_tags(run):
    config = {"n": 1, "alpha": tune.grid_search([0.1, 0.25]), "flag": tune.grid_search([True])}
    analysis = run(counts, config=config)
    prefix = analysis.trials[0].trial_id.split("_")[0]
    assert [t.trial_id for t in analysis.trials] == [f"{prefix}_00000", f"{prefix}_00001"]
    assert [t.experiment_tag for t in analysis.trials] == ["0_alpha=0.1000,flag=True", "1_alpha=0.2500,flag=True"]
    assert [str(t) for t in analysis.trials] == [f"counts_{prefix}_00000", f"counts_{prefix}_00001"]
    assert analysis.trials[0].evaluated_params == {"alpha": 0.1, "flag": True}


def named(config: dict[str, Any]) -> None:
    tune.report(name=tune.get_trial_name(), folder=tune.get_trial_dir())


def test_R12_own_names_and_folders(run):
    analysis = run(
        named,
        config={"x": tune.grid_search([1, 2])},
        trial_name_creator=lambda trial: f"mine_{trial.config['x']}",
        trial_dirname_creator=lambda trial: f"folder_{trial.evaluated_params['x']}",
    )
    for source in (analysis, tune.ExperimentAnalysis(analysis.experiment_path)):
        assert [str(trial) for trial in source.trials] == ["mine_1", "mine_2"]
        assert [os.path.basename(trial.logdir) for trial in source.trials] == ["folder_1", "folder_2"]
        assert [trial.last_result["name"] for trial in source.trials] == ["mine_1", "mine_2"]
        assert [trial.last_result["folder"] for trial in source.trials] == [t.logdir for t in source.trials]


def test_R12_folders_of_the_same_name_are_kept_apart(run):
    analysis = run(named, num_samples=2, trial_name_creator=lambda t: "all", trial_dirname_creator=lambda t: "one")
    assert [str(trial) for trial in analysis.trials] == ["all", "all"]
    assert len({trial.logdir for trial in analysis.trials}) == 2
    assert [t.last_result["folder"] for t in analysis.trials] == [t.logdir for t in analysis.trials]


def test_R12_wrong_names(run):
    with pytest.raises(ValueError, match="without '/'"):
        run(named, trial_dirname_creator=lambda trial: "a/b")
    with pytest.raises(tune.TuneError, match="must return a name, got None"):
        run(named, trial_name_creator=lambda trial: None)


def test_R13_attributes_of_a_trial(run):
    (trial,) = run(counts, config={"n": 2}, resources_per_trial={"cpu": 1}).trials
    assert trial.config == {"n": 2}
    assert trial.status == "TERMINATED"
    assert trial.is_finished()
    assert trial.placement_group_factory == tune.PlacementGroupFactory([{"CPU": 1}])
    assert trial.trainable_name == "counts"
    assert trial.num_failures == 0
    assert trial.get_error() is None
    assert trial.checkpoint is None
    assert trial.metric_analysis["i"] == {
        "max": 1, "min": 0, "avg": 0.5, "last": 1, "last-5-avg": 0.5, "last-10-avg": 0.5
    }  # fmt: skip
    assert trial.metric_analysis["a/b/c"]["max"] == 1


# ---- R14: where runs may happen


def test_R14_in_a_thread(run):
    found: list[Any] = []

    def body() -> None:
        try:
            found.append(run(counts, num_samples=2))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert isinstance(found[0], tune.ExperimentAnalysis), found
    assert iterations(found[0]) == [10, 10]


def test_R14_two_runs_in_two_threads_at_once(run):
    found: dict[int, Any] = {}

    def body(k: int) -> None:
        found[k] = iterations(run(counts, num_samples=3, config={"n": k}, name=f"thread{k}"))

    threads = [threading.Thread(target=body, args=(k,)) for k in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {3: [3, 3, 3], 4: [4, 4, 4]}


def test_R14_twice_in_one_process_with_the_same_objects(run):
    class Counter(tune.Callback):
        def __init__(self):
            self.setups = self.ends = 0

        def setup(self, **info):
            self.setups += 1

        def on_trial_complete(self, **info):
            self.ends += 1

    callback, scheduler = Counter(), FIFOScheduler()
    callbacks = [callback]
    for _ in range(2):
        run(counts, num_samples=2, callbacks=callbacks, scheduler=scheduler)
    assert callbacks == [callback]
    assert (callback.setups, callback.ends) == (2, 4)


def test_R14_a_run_inside_a_trial(run, tmp_path):
    def inner(config):
        tune.report(score=config["x"] * 10)

    def outer(config, folder):
        tune.report(before=1)
        found = tune.run(
            inner,
            config={"x": tune.grid_search([config["k"], config["k"] + 1])},
            storage_path=folder,
            executor="inline",
            verbose=0,
            metric="score",
            mode="max",
        )
        tune.report(best=found.best_result["score"], name=tune.get_trial_name())

    trainable = tune.with_parameters(outer, folder=str(tmp_path / "inner"))
    analysis = run(trainable, config={"k": tune.grid_search([1, 5])})
    assert [trial.last_result["best"] for trial in analysis.trials] == [20, 60]
    assert [trial.last_result["name"] for trial in analysis.trials] == [str(t) for t in analysis.trials]
    assert iterations(analysis) == [2, 2]


def test_R14_a_misspelt_option_is_named(run):
    with pytest.raises(TypeError, match="Did you mean 'num_samples'"):
        run(counts, num_sample=3)
    with pytest.raises(TypeError, match="'storage_pth'"):
        tune.run(counts, storage_pth="x")


def test_callbacks_see_every_hook(run):
    class Watch(tune.Callback):
        def __init__(self):
            self.seen: list[tuple[str, Any]] = []

        def setup(self, stop=None, num_samples=None, total_num_samples=None, **info):
            self.seen.append(("setup", total_num_samples))

        def on_trial_start(self, iteration, trials, trial, **info):
            self.seen.append(("start", trial.config["x"]))

        def on_trial_result(self, iteration, trials, trial, result, **info):
            self.seen.append(("result", (trial.config["x"], result["i"], result["training_iteration"])))

        def on_trial_complete(self, iteration, trials, trial, **info):
            self.seen.append(("complete", trial.config["x"]))

        def on_trial_error(self, iteration, trials, trial, **info):
            self.seen.append(("error", trial.config["x"]))

        def on_experiment_end(self, trials, **info):
            self.seen.append(("end", len(trials)))

    def two(config):
        for i in range(2):
            tune.report(i=i)
        if config["x"] == 2:
            raise ValueError("two")

    watch = Watch()
    run(two, config={"x": tune.grid_search([1, 2])}, callbacks=[watch], raise_on_failed_trial=False)
    assert watch.seen[0] == ("setup", 2)
    assert watch.seen[-1] == ("end", 2)
    assert [e for e in watch.seen if e[1] == 1 or (isinstance(e[1], tuple) and e[1][0] == 1)] == [
        ("start", 1),
        ("result", (1, 0, 1)),
        ("result", (1, 1, 2)),
        ("complete", 1),
    ]
    assert [e[0] for e in watch.seen].count("error") == 1


def test_a_callback_that_raises_is_dropped_and_the_run_goes_on(run):
    class Broken(tune.Callback):
        def on_trial_result(self, **info):
            raise RuntimeError("broken callback")

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert iterations(run(counts, callbacks=[Broken()])) == [10]
