"""Rows F1 to F5 and what users break: the right error, at the right time, and only its own trial pays."""

from __future__ import annotations

import datetime
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.error import TrialFailedError
from fasttune.search import Searcher


def append(path: str | Path, line: object) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def lines(path: str | Path) -> list[str]:
    return Path(path).read_text().splitlines() if os.path.exists(path) else []


def once(marker: Path) -> bool:
    """True for the first caller only, over all processes."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def saves(config: dict[str, Any]) -> None:
    """Counts to 10 from its checkpoint; fails as often as it is told."""
    import tempfile

    start = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        start = int(Path(checkpoint.path, "step").read_text())
    for i in range(start + 1, 11):
        for k in range(config["failures"]):
            if i == 5 and once(Path(config["folder"], f"failure{k}")):
                raise RuntimeError(f"failure {k}")
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "step").write_text(str(i))
            tune.report({"i": i}, checkpoint=tune.Checkpoint.from_directory(folder))


class Saves(tune.Trainable):
    """The same as a class."""

    def setup(self, config):
        self.i = 0

    def step(self):
        self.i += 1
        for k in range(self.config["failures"]):
            if self.i == 5 and once(Path(self.config["folder"], f"failure{k}")):
                raise RuntimeError(f"failure {k}")
        return {"i": self.i, "done": self.i == 10}

    def save_checkpoint(self, checkpoint_dir):
        return {"i": self.i}

    def load_checkpoint(self, checkpoint):
        self.i = checkpoint["i"]


# ---- F1: retries


@pytest.mark.parametrize("trainable", [saves, Saves])
def test_F1_a_failed_trial_goes_on_from_its_checkpoint(run, tmp_path, trainable):
    options: dict[str, Any] = {} if trainable is saves else {"checkpoint_freq": 1}
    analysis = run(trainable, config={"failures": 1, "folder": str(tmp_path)}, max_failures=2, **options)
    (trial,) = analysis.trials
    assert trial.status == "TERMINATED"
    assert trial.num_failures == 1
    frame = analysis.trial_dataframes[trial.trial_id]
    assert list(frame["i"]) == list(range(1, 11))
    assert list(frame["training_iteration"]) == list(range(1, 11))
    assert trial.last_result["iterations_since_restore"] == 6


def test_F1_without_a_checkpoint_it_starts_over(run, tmp_path):
    def counts(config):
        for i in range(1, 4):
            tune.report(i=i)
            if i == 2 and once(tmp_path / "failure"):
                raise RuntimeError("once")

    analysis = run(counts, max_failures=1)
    (trial,) = analysis.trials
    assert list(analysis.trial_dataframes[trial.trial_id]["i"]) == [1, 2, 3]
    assert trial.num_failures == 1


@pytest.mark.parametrize(
    ("allowed", "status", "tries"), [(0, "ERROR", 1), (2, "ERROR", 3), (3, "TERMINATED", 4), (-1, "TERMINATED", 4)]
)
def test_F1_as_often_as_allowed(run, tmp_path, allowed, status, tries):
    notes = tmp_path / "notes"

    def fails_thrice(config):
        append(notes, "try")
        if len(lines(notes)) <= 3:
            raise RuntimeError("again")
        tune.report(ok=1)

    analysis = run(fails_thrice, max_failures=allowed, raise_on_failed_trial=False)
    (trial,) = analysis.trials
    assert trial.status == status
    assert len(lines(notes)) == tries
    assert trial.num_failures == min(3, tries)


def test_F1_callbacks_and_searchers_hear_of_retries(run, tmp_path):
    class Watch(tune.Callback):
        def __init__(self):
            self.seen: list[str] = []

        def on_trial_start(self, **info):
            self.seen.append("start")

        def on_trial_recover(self, **info):
            self.seen.append("recover")

        def on_trial_error(self, **info):
            self.seen.append("error")

        def on_trial_complete(self, **info):
            self.seen.append("complete")

    def fails_once(config):
        if once(tmp_path / "failure"):
            raise RuntimeError("once")
        tune.report(ok=1)

    watch = Watch()
    run(fails_once, max_failures=1, callbacks=[watch])
    assert watch.seen == ["start", "recover", "start", "complete"]


# ---- F2: how a run tells


def fails_on_two(config: dict[str, Any]) -> None:
    tune.report(x=config["x"])
    if config["x"] == 2:
        raise ZeroDivisionError("two is too many")


THREE = {"x": tune.grid_search([1, 2, 3])}


def test_F2_run_raises_after_all_trials_have_ended(run):
    with pytest.raises(tune.TuneError, match="Trials did not complete") as caught:
        run(fails_on_two, config=THREE)
    trials = caught.value.args[1]
    assert [trial.config["x"] for trial in trials] == [2]
    assert "two is too many" in str(caught.value)
    path = trials[0].local_experiment_path
    assert [t.status for t in tune.ExperimentAnalysis(path).trials] == ["TERMINATED", "ERROR", "TERMINATED"]


def test_F2_unless_told_not_to(run):
    analysis = run(fails_on_two, config=THREE, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]


def slow_or_failing(config: dict[str, Any]) -> None:
    import time

    if config["x"] == 0:
        raise ZeroDivisionError("at once")
    for i in range(5000):
        tune.report(i=i)
        time.sleep(0.002)


def test_F2_fail_fast_ends_the_run(run):
    with pytest.raises(tune.TuneError, match="at once"):
        run(slow_or_failing, config={"x": tune.grid_search([0, 1, 2, 3])}, fail_fast=True)
    analysis = run(
        slow_or_failing,
        config={"x": tune.grid_search([0, 1, 2, 3])},
        fail_fast=True,
        raise_on_failed_trial=False,
    )
    statuses = [trial.status for trial in analysis.trials]
    assert statuses[0] == "ERROR"
    assert set(statuses[1:]) <= {"TERMINATED", "PENDING"}


def test_F2_fail_fast_raise_gives_the_trials_own_exception(run):
    with pytest.raises(ZeroDivisionError, match="at once"):
        run(slow_or_failing, config={"x": tune.grid_search([0, 1])}, fail_fast="raise")
    with pytest.raises(ValueError, match="max_failures must be 0"):
        run(slow_or_failing, fail_fast=True, max_failures=1)
    with pytest.raises(ValueError, match="fail_fast must be"):
        run(slow_or_failing, fail_fast="sometimes")


# ---- F3: processes that die


@pytest.mark.parametrize(
    ("death", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("__import__('ctypes').string_at(0)", "SIGSEGV"),
        ("os._exit(3)", "status 3"),
    ],
)
def test_F3_a_dead_worker_costs_its_own_trial(tmp_path, death, words):
    def dies(config):
        tune.report(x=config["x"])
        if config["x"] == 2:
            eval(config["death"], {"os": os, "signal": signal})
        tune.report(x=config["x"])

    analysis = tune.run(
        dies,
        config={"x": tune.grid_search([1, 2, 3, 4, 5]), "death": death},
        raise_on_failed_trial=False,
        storage_path=tmp_path,
        verbose=0,
    )
    assert [t.status for t in analysis.trials] == ["TERMINATED", "ERROR"] + ["TERMINATED"] * 3
    assert words in str(analysis.trials[1].get_error())
    assert analysis.trials[1].last_result["training_iteration"] == 1
    assert [len(analysis.trial_dataframes[t.trial_id]) for t in analysis.trials] == [2, 1, 2, 2, 2]


def test_F3_a_killed_trial_is_tried_again(tmp_path):
    def dies_once(config):
        tune.report(i=1)
        if once(tmp_path / "died"):
            os.kill(os.getpid(), signal.SIGKILL)
        tune.report(i=2)

    analysis = tune.run(dies_once, max_failures=1, storage_path=tmp_path / "runs", verbose=0)
    (trial,) = analysis.trials
    assert (trial.status, trial.num_failures) == ("TERMINATED", 1)
    assert list(analysis.trial_dataframes[trial.trial_id]["i"]) == [1, 2]


# ---- F4: what is left of an error


def test_F4_the_error_and_its_text(run):
    analysis = run(fails_on_two, config=THREE, raise_on_failed_trial=False)
    trial = analysis.trials[1]
    assert isinstance(trial.get_error(), ZeroDivisionError)
    assert trial.last_result["x"] == 2
    text = Path(trial.error_file).read_text()
    assert text.startswith("Failure # 1")
    assert "in fails_on_two" in text
    assert "ZeroDivisionError: two is too many" in text
    assert "fasttune/executors" not in text
    (error,) = analysis.errors
    assert isinstance(error, ZeroDivisionError)
    again = tune.ExperimentAnalysis(analysis.experiment_path).trials[1]
    assert isinstance(again.get_error(), TrialFailedError)
    assert "two is too many" in str(again.get_error())


class TwoArguments(Exception):
    """Cannot be unpickled from its args."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def test_F4_an_exception_that_cannot_travel_arrives_as_text(run):
    def raises(config):
        if config["x"] == 1:
            raise TwoArguments(1, 2)
        error = ValueError("holds a lambda")
        error.attached = lambda: None  # type: ignore[attr-defined]
        error.lock = __import__("threading").Lock()  # type: ignore[attr-defined]
        raise error

    analysis = run(raises, config={"x": tune.grid_search([1, 2])}, raise_on_failed_trial=False)
    texts = [str(trial.get_error()) for trial in analysis.trials]
    assert "1 and 2" in texts[0]
    assert "holds a lambda" in texts[1]


@pytest.mark.parametrize("code", [0, 1, None, "message"])
def test_F4_sys_exit_is_a_failure_that_says_so(run, code):
    def leaves(config):
        if config["x"] == 1:
            sys.exit(config["code"])
        tune.report(x=2)

    analysis = run(leaves, config={"x": tune.grid_search([1, 2]), "code": code}, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["ERROR", "TERMINATED"]
    failure = analysis.trials[0]._source.failure(0)
    assert "sys.exit" in failure.text


def test_F4_a_failing_setup_of_a_class(run):
    class Broken(tune.Trainable):
        def setup(self, config):
            raise OSError("no such data set")

    analysis = run(Broken, num_samples=2, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["ERROR", "ERROR"]
    assert isinstance(analysis.trials[0].get_error(), OSError)


def test_F4_cleanup_blocks_run_when_a_trial_is_stopped(run, tmp_path):
    notes = tmp_path / "notes"

    def tidy(config):
        try:
            for i in range(100):
                tune.report(i=i)
        finally:
            append(notes, "tidy")

    run(tidy, stop={"i": 3}, num_samples=2)
    assert lines(notes) == ["tidy", "tidy"]


def test_F4_nan_and_infinity_are_values(run):
    def strange(config):
        tune.report(score=config["x"])

    values = [float("nan"), float("inf"), 1.0, -float("inf")]
    analysis = run(strange, config={"x": tune.grid_search(values)}, metric="score", mode="max")
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 4
    assert analysis.best_config == {"x": 1.0}


def test_F4_a_value_that_nobody_steers_by_fails_no_trial(run):
    def reports_objects(config):
        tune.report(score=1.0, seen={3, 1}, took=datetime.timedelta(seconds=90), model=object())

    analysis = run(reports_objects, metric="score", mode="max")
    last = analysis.trials[0].last_result
    assert (analysis.trials[0].status, last["seen"], last["took"]) == ("TERMINATED", [1, 3], 90.0)
    assert last["model"].startswith("<object object at")


@pytest.mark.parametrize("scheduler", [None, "asha", "median_stopping_rule"])
def test_F4_a_metric_that_float64_does_not_hold_is_kept_and_steered_by(run, scheduler):
    def reports_large(config):
        for step in range(3):
            tune.report(score=2**60 + config["x"] + step)

    space = {"x": tune.grid_search([1, 2])}
    analysis = run(reports_large, config=space, metric="score", mode="max", scheduler=scheduler)
    for found in (analysis, tune.ExperimentAnalysis(analysis.experiment_path, default_metric="score", default_mode="max")):
        assert [trial.last_result["score"] for trial in found.trials] == [2**60 + 3, 2**60 + 4]
        assert found.best_result["score"] in (2**60 + 3, 2**60 + 4)


def test_F4_a_metric_that_is_no_number_fails_its_trial_by_name(run):
    def reports_object(config):
        tune.report(score=object() if config["x"] == 1 else 1)

    space = {"x": tune.grid_search([1, 2])}
    analysis = run(reports_object, config=space, metric="score", mode="max", raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["ERROR", "TERMINATED"]
    assert "it is there, but not a number" in str(analysis.trials[0].get_error())


def test_F4_an_unpicklable_closure_is_named_before_any_worker_starts(tmp_path):
    import threading

    lock = threading.Lock()

    def locked(config):
        with lock:
            tune.report(x=1)

    with pytest.raises(TypeError, match="closes over 'lock'"):
        tune.run(locked, storage_path=tmp_path, verbose=0)
    assert tune.run(locked, storage_path=tmp_path, verbose=0, executor="inline").trials[0].last_result["x"] == 1


def test_F4_too_many_cpus_are_refused_before_anything_happens(run, tmp_path):
    with pytest.raises(ValueError, match="10000"):
        run(fails_on_two, config=THREE, resources_per_trial={"cpu": 10_000}, name="big")
    assert not (tmp_path / "big").exists()


def test_F4_what_one_config_asks_for_costs_its_own_trial(run):
    def fine(config):
        tune.report(x=config["x"])

    asks = tune.with_resources(fine, lambda config: {"cpu": 10_000 if config["x"] == 2 else 1})
    analysis = run(asks, config=THREE, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]
    assert "10000" in str(analysis.trials[1].get_error())

    def raises(config):
        raise KeyError("gpus")

    analysis = run(tune.with_resources(fine, raises), config=THREE, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["ERROR"] * 3


def test_F4_a_function_of_the_space_that_raises(run):
    def fine(config):
        tune.report(x=config["x"])

    with pytest.raises(Exception, match="zero"):
        run(fine, config={"x": tune.sample_from(lambda spec: 1 / 0)})


# ---- F5: going on with an experiment


def four(config: dict[str, Any]) -> None:
    """Four trials that behave by plan; a second attempt of a trial does better. Each has reported 2, 1, 2, 1 times."""
    import tempfile

    folder, x = Path(config["folder"]), config["x"]
    again = (folder / "again").exists()
    checkpoint = tune.get_checkpoint()
    start = int(Path(checkpoint.path, "it").read_text()) if checkpoint is not None else 0
    for it in range(start + 1, 4):
        if not again and it == 2 and x in (1, 3):
            raise RuntimeError("failed")
        if not again and it == 3:
            return
        with tempfile.TemporaryDirectory() as made:
            Path(made, "it").write_text(str(it))
            tune.report({"it": it}, checkpoint=tune.Checkpoint.from_directory(made))


def its(trials: Any) -> list[int]:
    return [trial.last_result["it"] for trial in trials]


@pytest.fixture
def interrupted(run, tmp_path):
    """An experiment in which two of four trials failed after one report."""
    folder = tmp_path / "folder"
    folder.mkdir()
    config = {"x": tune.grid_search([0, 1, 2, 3]), "folder": str(folder)}
    analysis = run(four, config=config, name="exp", raise_on_failed_trial=False)
    assert its(analysis.trials) == [2, 1, 2, 1]
    (folder / "again").touch()
    return analysis, config


@pytest.mark.parametrize(
    ("resume", "expected", "statuses"),
    [
        ("AUTO", [2, 1, 2, 1], {"TERMINATED", "ERROR"}),
        (True, [2, 1, 2, 1], {"TERMINATED", "ERROR"}),
        ("AUTO+ERRORED", [2, 3, 2, 3], {"TERMINATED"}),
        ("AUTO+RESTART_ERRORED", [2, 3, 2, 3], {"TERMINATED"}),
        ("AUTO+ERRORED_ONLY", [2, 3, 2, 3], {"TERMINATED"}),
        ("AUTO+RESTART_ERRORED_ONLY", [2, 3, 2, 3], {"TERMINATED"}),
    ],
)
def test_F5_resume(run, interrupted, resume, expected, statuses):
    first, config = interrupted
    analysis = run(four, config=config, name="exp", resume=resume, raise_on_failed_trial=False)
    assert analysis.experiment_path == first.experiment_path
    assert its(analysis.trials) == expected
    assert {trial.status for trial in analysis.trials} == statuses
    assert [trial.trial_id for trial in analysis.trials] == [trial.trial_id for trial in first.trials]
    since = [trial.last_result["iterations_since_restore"] for trial in analysis.trials]
    if "RESTART" in str(resume):
        assert since == [2, 3, 2, 3]
    elif "ERRORED" in str(resume):
        assert since == [2, 2, 2, 2]
    again = tune.ExperimentAnalysis(analysis.experiment_path)
    assert its(again.trials) == expected


def test_F5_the_wrong_things_to_resume(run, tmp_path):
    with pytest.raises(ValueError, match="nothing to resume"):
        run(four, name="none", resume=True)
    with pytest.raises(ValueError, match="needs name="):
        run(four, resume="AUTO")
    with pytest.raises(ValueError, match="resume must be"):
        run(four, name="none", resume="PERHAPS")
    config = {"x": 0, "folder": str(tmp_path)}
    assert len(run(four, config=config, name="fresh", resume="AUTO").trials) == 1


def test_F5_resume_does_not_run_finished_trials_again(run, tmp_path):
    notes = tmp_path / "notes"

    def noted(config):
        append(notes, config["x"])
        tune.report(x=config["x"])

    config = {"x": tune.grid_search([1, 2, 3])}
    run(noted, config=config, name="exp")
    analysis = run(noted, config=config, name="exp", resume="AUTO")
    assert sorted(lines(notes)) == ["1", "2", "3"]
    assert [trial.last_result["x"] for trial in analysis.trials] == [1, 2, 3]


def test_F5_resume_with_more_samples_goes_on(run):
    def one(config):
        tune.report(x=config["x"])

    config = {"x": tune.uniform(0, 1)}
    first = run(one, config=config, name="exp", num_samples=3)
    second = run(one, config=config, name="exp", num_samples=6, resume="AUTO")
    whole = run(one, config=config, name="whole", num_samples=6)
    values = [trial.config["x"] for trial in second.trials]
    assert values[:3] == [trial.config["x"] for trial in first.trials]
    assert values == [trial.config["x"] for trial in whole.trials]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [2, 1, 2, 1]),
        ({"resume_errored": True}, [2, 3, 2, 3]),
        ({"restart_errored": True}, [2, 3, 2, 3]),
    ],
)
def test_F5_tuner_restore(executor, tmp_path, options, expected):
    folder = tmp_path / "folder"
    folder.mkdir()
    tuner = tune.Tuner(
        four,
        param_space={"x": tune.grid_search([0, 1, 2, 3]), "folder": str(folder)},
        run_config=tune.RunConfig(name="exp", storage_path=tmp_path, executor=executor, verbose=0),
    )
    grid = tuner.fit()
    assert [result.metrics["it"] for result in grid] == [2, 1, 2, 1]
    assert grid.num_errors == 2
    (folder / "again").touch()

    assert tune.Tuner.can_restore(tmp_path / "exp")
    restored = tune.Tuner.restore(str(tmp_path / "exp"), four, **options)
    assert [result.metrics["it"] for result in restored.get_results()] == [2, 1, 2, 1]
    grid = restored.fit()
    assert [result.metrics["it"] for result in grid] == expected
    assert grid.num_errors == (0 if options else 2)
    assert grid.experiment_path == str(tmp_path / "exp")


def test_F5_tuner_restore_refuses_another_experiment(run_config, tmp_path):
    def other(config):
        tune.report(x=1)

    tune.Tuner(four, param_space={"x": 0, "folder": str(tmp_path)}, run_config=run_config(name="exp")).fit()
    with pytest.raises(ValueError, match="'four'"):
        tune.Tuner.restore(tmp_path / "exp", other)
    with pytest.raises(ValueError, match="keys it had before"):
        tune.Tuner.restore(tmp_path / "exp", four, param_space={"y": 1})
    with pytest.raises(FileNotFoundError, match="no experiment to restore"):
        tune.Tuner.restore(tmp_path / "nothing", four)
    assert not tune.Tuner.can_restore(tmp_path / "nothing")


def test_F5_trials_that_never_ran_are_run_after_a_budget(run, tmp_path):
    import time

    def slow(config):
        time.sleep(0.1)
        tune.report(x=config["x"])

    config = {"x": tune.grid_search(list(range(8)))}
    run(slow, config=config, name="exp", time_budget_s=0.25, raise_on_failed_trial=False)
    analysis = run(slow, config=config, name="exp", resume="AUTO")
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 8
    finished = [t.last_result.get("x") for t in analysis.trials if t.last_result.get("x") is not None]
    assert sorted(finished) == finished


# ---- searchers and schedulers that fail


class Broken(Searcher):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def suggest(self, trial_id):
        if self.what == "raises":
            raise LookupError("broken searcher")
        return {"wrong": 5, "none": None}.get(self.what, 7)

    def on_trial_complete(self, trial_id, result=None, error=False):
        pass


def test_A2_a_searcher_that_raises_ends_the_run_with_its_error(run):
    with pytest.raises(LookupError, match="broken searcher"):
        run(fails_on_two, search_alg=Broken("raises"))
    with pytest.raises(tune.TuneError, match=r"Broken\.suggest\(\) must return a dict"):
        run(fails_on_two, search_alg=Broken("wrong"))


def test_F4_a_number_that_no_float_holds_is_a_number_all_the_same(run):
    def train(config):
        tune.report(loss=1.0, n=config["n"])

    analysis = run(train, config={"n": tune.grid_search([10**400, -(10**400), 3])})
    for found in (analysis, tune.ExperimentAnalysis(analysis.experiment_path)):
        assert found.dataframe()["n"].tolist() == [10**400, -(10**400), 3]
        assert found.results_df["n"].tolist() == [10**400, -(10**400), 3]
        assert found.get_best_config("n", "max") == found.get_best_config("n", "min") == {"n": 3}  # the others are infinite
