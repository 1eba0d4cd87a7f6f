"""The first ten lines that somebody writes: what they leave out, or misspell, is said before or soon after the start."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.config import CheckpointConfig
from fasttune.engine.retention import Retention
from fasttune.error import MissingMetricError, TuneError
from fasttune.schedulers import (
    ASHAScheduler,
    DistributeResourcesToTopJob,
    MedianStoppingRule,
    PopulationBasedTraining,
    ResourceChangingScheduler,
    create_scheduler,
)
from fasttune.search import create_searcher
from fasttune.tuner import IncompleteTrialsError

SPACE = {"lr": tune.uniform(0.0, 1.0)}
EXECUTORS = pytest.mark.parametrize("executor", ["inline", "thread", "process"])
COMPARING = (
    "asha",
    "async_hyperband",
    "hyperband",
    "median_stopping_rule",
    "hb_bohb",
    "asha_promotion",
    "pasha",
)


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def run(trainable: Any, **more: Any) -> Any:
        return tune.run(trainable, **{"config": SPACE, "storage_path": tmp_path, "verbose": 0, "seed": 1, **more})

    return run


def returns_a_number(config: dict[str, Any]) -> float:
    return float(config["lr"])


def reports_loss(config: dict[str, Any]) -> None:
    for i in range(3):
        tune.report(loss=config["lr"] + i)


# ---- metric and mode


@pytest.mark.parametrize("search", [None, "tpe", "random", "gp", "cmaes", "evolution"])
def test_a_loss_was_maximised_because_nobody_had_said_which_way_is_better(run: Any, search: str | None) -> None:
    """A user gave metric="loss" alone, and got the worst config as the best one."""
    with pytest.raises(ValueError, match=r"metric='loss' was given without a mode: say mode='min' .* mode='max'.*'min'"):
        run(reports_loss, metric="loss", search_alg=search)
    with pytest.raises(ValueError, match="without a mode"):
        tune.Tuner(reports_loss, tune_config=tune.TuneConfig(metric="loss"))


def test_a_name_that_says_nothing_gets_no_guess(run: Any) -> None:
    """A user read a proposal for a metric of which nobody else can know which way is better."""
    with pytest.raises(ValueError, match=r"or mode='max' if larger ones are$"):
        run(reports_loss, metric="q17")


@pytest.mark.parametrize("kind", ["tpe", "gp", "cmaes", "evolution"])
def test_a_searcher_made_with_a_metric_alone_is_refused(run: Any, kind: str) -> None:
    """A user made the searcher with a metric, the run without one, and the searcher maximised a loss."""
    with pytest.raises(ValueError, match="metric='loss' was given without a mode"):
        run(reports_loss, search_alg=create_searcher(kind, metric="loss"))
    searcher = create_searcher(kind, space=SPACE, metric="loss")
    with pytest.raises(RuntimeError, match=r"does not know its mode \('min' or 'max'\)"):
        searcher.suggest("a")


@pytest.mark.parametrize("kind", COMPARING)
def test_a_scheduler_without_a_metric_stopped_nothing(run: Any, kind: str) -> None:
    """A user gave a scheduler and no metric: every trial was trained to its end."""
    with pytest.raises(ValueError, match="without a metric and mode"):
        run(reports_loss, scheduler=create_scheduler(kind))
    with pytest.raises(ValueError, match="without a m"):
        run(reports_loss, scheduler=create_scheduler(kind), metric="loss")
    with pytest.raises(ValueError, match="without a metric and mode"):
        run(reports_loss, scheduler=create_scheduler(kind, metric="loss"))


def test_populations_and_wrapped_schedulers_need_a_metric_too(run: Any) -> None:
    """A user tuned with a population, or a scheduler inside another one, and nothing was ever compared."""
    for scheduler in (
        PopulationBasedTraining(hyperparam_mutations={"lr": [0.1, 0.2]}),
        ResourceChangingScheduler(ASHAScheduler()),
    ):
        with pytest.raises(ValueError, match="without a metric and mode"):
            run(reports_loss, scheduler=scheduler)


def test_what_the_scheduler_or_the_searcher_was_made_with_is_enough(run: Any) -> None:
    """A user gave metric and mode where they belong, and was asked for them again."""
    found = run(reports_loss, scheduler=ASHAScheduler(metric="loss", mode="min", max_t=3), num_samples=4, executor="inline")
    assert found.best_config["lr"] == min(trial.config["lr"] for trial in found.trials)
    found = run(reports_loss, search_alg=create_searcher("tpe", metric="loss", mode="min"), num_samples=4, executor="inline")
    assert found.best_config["lr"] == min(trial.config["lr"] for trial in found.trials)


def test_an_analysis_does_not_guess_which_way_is_better_either(run: Any, tmp_path: Path) -> None:
    """A user opened a run that had no metric, named one, and was given the trial with the largest loss."""
    found = run(reports_loss, num_samples=3, executor="inline", name="plain")
    opened = tune.ExperimentAnalysis(found.experiment_path, default_metric="loss")
    with pytest.raises(ValueError, match="mode"):
        _ = opened.best_config
    with pytest.raises(ValueError, match='mode="min" or "max"'):
        opened.get_best_trial()
    assert opened.get_best_trial(mode="min").config["lr"] == min(trial.config["lr"] for trial in found.trials)


# ---- a bare number


@EXECUTORS
def test_a_returned_number_is_the_runs_metric(run: Any, executor: str) -> None:
    """A user returned the score, named it in the run, and all trials failed at their end because it had another name."""

    def yields(config: dict[str, Any]) -> Any:
        yield 0.0
        yield config["lr"]

    def reports(config: dict[str, Any]) -> None:
        tune.report(config["lr"])

    for trainable in (returns_a_number, yields, reports):
        found = run(trainable, metric="score", mode="max", num_samples=4, executor=executor)
        assert [trial.last_result["score"] for trial in found.trials] == [trial.config["lr"] for trial in found.trials]
        assert "_metric" not in found.trials[0].last_result
        assert found.best_config["lr"] == max(trial.config["lr"] for trial in found.trials)


def test_without_a_metric_it_has_the_name_that_it_always_had(run: Any) -> None:
    """A user's program for runs without a metric looked for "_metric"."""
    for more in ({}, {"mode": "min"}, {"metric": "training_iteration", "mode": "max"}):
        found = run(returns_a_number, executor="inline", **more)
        assert found.trials[0].last_result["_metric"] == found.trials[0].config["lr"]


# ---- names that reports never bring


@EXECUTORS
def test_a_misspelt_metric_cost_every_trial(run: Any, executor: str) -> None:
    """A user misspelt the metric, and 100 trials were trained and failed, one after the other."""

    def train(config: dict[str, Any]) -> dict[str, float]:
        return {"accuracy": config["lr"], "time": 1.0}

    with pytest.raises(IncompleteTrialsError, match=r"reported the metric 'acuracy'.*'accuracy', 'time'. Did you mean 'acc"):
        run(train, metric="acuracy", mode="max", num_samples=100_000, executor=executor)


def test_the_trials_that_were_not_run_are_left_for_a_corrected_run(run: Any) -> None:
    """A user wants to correct the name, and finds that everything was marked as done."""

    def train(config: dict[str, Any]) -> dict[str, float]:
        assert config["lr"] < 2
        return {"accuracy": config["lr"]}

    with pytest.warns(RuntimeWarning, match="the run was ended: none of the .* has reported the metric 'acuracy'"):
        found = run(train, metric="acuracy", mode="max", num_samples=100_000, raise_on_failed_trial=False, executor="inline")
    assert 3 <= len([trial for trial in found.trials if trial.status == "ERROR"]) < 50_000
    assert "acuracy" in found.trials[0].get_error().args[0] or isinstance(found.trials[0].get_error(), MissingMetricError)


def test_who_switches_the_check_off_is_told_once_and_loses_nothing(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user had said that reports may lack the metric, and the run was ended for it."""
    monkeypatch.setenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    with pytest.warns(RuntimeWarning, match="metric='los' compares no trials: .* Did you mean 'loss'"):
        found = run(reports_loss, metric="los", mode="min", num_samples=6, executor="inline")
    assert [trial.last_result["training_iteration"] for trial in found.trials] == [3] * 6


@EXECUTORS
def test_a_function_that_reports_nothing_has_no_metric_either(run: Any, executor: str) -> None:
    """A user forgot the return, and 100 trials ended well without a result."""

    def forgets(config: dict[str, Any]) -> None:
        config["lr"] * 2

    for more in ({}, {"metric": "score", "mode": "max", "raise_on_failed_trial": False}):
        with pytest.warns(RuntimeWarning, match="reported anything, so nothing is known") as said:
            run(forgets, num_samples=20, executor=executor, **more)
        assert len([one for one in said if "reported anything" in str(one.message)]) == 1
    with (
        pytest.warns(RuntimeWarning, match="reported anything"),
        pytest.raises(TuneError, match="reported the metric 'score': they reported nothing"),
    ):
        run(forgets, metric="score", mode="max", num_samples=20, executor=executor)


def test_a_trial_that_begins_from_a_finished_checkpoint_has_nothing_to_report(run: Any) -> None:
    """A run was begun from the checkpoint of the last epoch, had nothing left to do, and was said to lack its metric."""

    def train(config: dict[str, Any]) -> None:
        found = tune.get_checkpoint()
        for epoch in range(found.to_dict()["epoch"] + 1 if found else 0, 3):
            tune.report({"loss": 1.0}, checkpoint=tune.Checkpoint.from_dict({"epoch": epoch}))

    more = {"metric": "loss", "mode": "min", "executor": "inline"}
    folder = run(train, **more).trials[0].checkpoint.to_directory()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run(train, restore=folder, **more)
    assert (found.trials[0].status, found.trials[0].last_result.get("loss")) == ("TERMINATED", None)


def test_trials_that_are_not_worth_it_end_no_run(run: Any) -> None:
    """A function returns at once for configs that are not worth it; the first three were such, and the run was ended while
    the fourth was in training."""

    def train(config: dict[str, Any]) -> None:
        if config["i"] >= 5:
            tune.report(loss=1.0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it is said that the first ones are silent depends on who is ahead
        found = run(train, config={"i": tune.grid_search(list(range(8)))}, metric="loss", mode="min", executor="process")
    assert [bool(trial.last_result.get("loss")) for trial in found.trials] == [False] * 5 + [True] * 3


@EXECUTORS
def test_a_corrected_function_goes_on_where_the_run_was_ended(run: Any, executor: str) -> None:
    """The name in the function was put right, and going on was ended for the trials of before."""
    wrong = True

    def train(config: dict[str, Any]) -> dict[str, float]:
        return {"los" if wrong else "loss": config["i"]}

    more = {
        "config": {"i": tune.grid_search(list(range(3000)))},
        "metric": "loss",
        "mode": "min",
        "name": "corrected",
        "executor": executor,
        "raise_on_failed_trial": False,
    }
    with pytest.warns(RuntimeWarning, match="the run was ended"):
        before = run(train, **more)
    failed = len([trial for trial in before.trials if trial.status == "ERROR"])
    assert failed < 3000
    wrong = False
    found = run(train, resume=True, **more)
    statuses = [trial.status for trial in found.trials]
    assert (statuses.count("ERROR"), statuses.count("TERMINATED")) == (failed, 3000 - failed)


def test_a_score_beyond_what_a_float_holds_is_one(run: Any) -> None:
    """A checkpoint score of 2**60 was called a name that nobody reports."""

    def saves(config: dict[str, Any]) -> None:
        for i in range(3):
            tune.report({"score": 2**60 + i}, checkpoint=tune.Checkpoint.from_dict({"i": i}))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(saves, keep_checkpoints_num=1, checkpoint_score_attr="score", executor="inline", num_samples=3)
    with pytest.warns(RuntimeWarning, match="stop={'name': 1} ends no trial: 'name' is reported, but not as a number"):
        run(lambda config: {"name": "a"}, stop={"name": 1}, executor="inline")


def test_trials_that_fail_by_themselves_say_nothing_about_the_metric(run: Any) -> None:
    """A user's first trials crashed, and the message spoke of the metric."""

    def train(config: dict[str, Any]) -> dict[str, float]:
        if config["i"] < 10:
            raise RuntimeError("out of luck")
        return {"loss": 1.0}

    config = {"i": tune.grid_search(list(range(12)))}
    found = run(train, config=config, metric="loss", mode="min", raise_on_failed_trial=False, executor="inline")
    assert [trial.status for trial in found.trials] == ["ERROR"] * 10 + ["TERMINATED"] * 2


def test_a_metric_that_one_trial_has_is_no_misspelt_one(run: Any) -> None:
    """A user's first trials diverged before their first report, and the run was ended for it."""

    def train(config: dict[str, Any]) -> dict[str, float]:
        return {} if 0 < config["i"] < 10 else {"loss": 1.0}

    found = run(train, config={"i": tune.grid_search(list(range(12)))}, metric="loss", mode="min", executor="inline")
    assert {trial.status for trial in found.trials} == {"TERMINATED"}


@EXECUTORS
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"stop": {"lss": 0.5}}, "stop={'lss': 0.5} ends no trial: .* reported 'lss'. Did you mean 'loss'?"),
        ({"stop": {"timesteps_total": 5}}, "stop={'timesteps_total': 5} ends no trial"),
        (
            {"scheduler": ASHAScheduler(time_attr="epoch"), "metric": "loss", "mode": "min"},
            r"\(time_attr='epoch'\) decides nothing",
        ),
        (
            {"scheduler": MedianStoppingRule(time_attr="epoch"), "metric": "loss", "mode": "min"},
            r"MedianStoppingRule\(time_attr='epoch'\) decides nothing",
        ),
        (
            {"scheduler": ResourceChangingScheduler(None, DistributeResourcesToTopJob(metric="los", mode="min"))},
            r"ResourceChangingScheduler\(metric='los'\) decides nothing",
        ),
        (
            {"search_alg": create_searcher("nsga2", metric=["loss", "size"], mode=["min", "min"])},
            r"NSGA2Search\(metric=\['loss', 'size'\]\) learns nothing: .* reported 'size'",
        ),
        (
            {"keep_checkpoints_num": 1, "checkpoint_score_attr": "los"},
            "checkpoint_score_attribute='los' ranks no checkpoint, and all of them are kept: .* Did you mean 'loss'?",
        ),
    ],
)
def test_a_misspelt_name_had_no_effect_and_nobody_said_so(run: Any, executor: str, more: Any, said: str) -> None:
    """A user misspelt a stop key, a time or a score: it had no effect at all, until the end of a long run."""
    from copy import deepcopy

    with pytest.warns(RuntimeWarning, match=said) as found:
        run(reports_loss, num_samples=8, executor=executor, **deepcopy(more))
    assert len(found) == 1


def test_names_that_come_are_not_spoken_of(run: Any) -> None:
    """A user who made no mistake was warned."""

    def train(config: dict[str, Any]) -> None:
        for i in range(3):
            tune.report({"nested": {"loss": i}, "epoch": i, "timesteps_this_iter": 1})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(
            train,
            num_samples=8,
            executor="inline",
            metric="nested/loss",
            mode="min",
            stop={"nested/loss": 100, "training_iteration": 100, "time_total_s": 100},
            scheduler=ASHAScheduler(time_attr="epoch"),
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="nested/loss"),
        )


@EXECUTORS
def test_a_misspelt_score_deleted_the_best_checkpoints(run: Any, executor: str) -> None:
    """A user misspelt the checkpoint score, and the best checkpoints of a long run were deleted."""

    def saves(config: dict[str, Any]) -> None:
        import tempfile

        for loss in (1.0, 5.0, 2.0):
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "loss").write_text(str(loss))
                tune.report({"loss": loss}, checkpoint=tune.Checkpoint.from_directory(folder))

    with pytest.warns(RuntimeWarning, match="all of them are kept"):
        found = run(saves, keep_checkpoints_num=1, checkpoint_score_attr="min-los", num_samples=2, executor=executor)
    for trial in found.trials:
        assert sum("checkpoint" in name for name in os.listdir(trial.logdir)) == 3


@pytest.mark.parametrize("scope", ["trial", "experiment"])
def test_scores_that_come_late_rank_what_was_kept_until_then(scope: Any) -> None:
    """A user validates every fifth epoch: checkpoints before the first score were ranked by their age."""
    rule = Retention(CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="val", scope=scope))
    for step in range(1, 4):
        assert rule.saved(0, step, f"a{step}") == []
        assert rule.reported(0, step, None) == []
    assert rule.ended(0) == []
    assert rule.saved(1, 1, "b1") == []
    gone = rule.reported(1, 1, 5.0)
    assert sorted(gone) == (["a1", "a2"] if scope == "trial" else ["a1", "a2", "a3"])
    assert rule.saved(1, 2, "b2") == []
    assert rule.reported(1, 2, None) == []  # worse than any, and the latest
    assert sorted(rule.kept) == (["a3"] if scope == "trial" else []) + ["b1", "b2"]


def test_what_is_kept_until_a_score_comes_goes_with_its_trials_fresh_start() -> None:
    """A user restarted failed trials, and their old checkpoints came back."""
    rule = Retention(CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="val"))
    rule.saved(0, 1, "a1")
    rule.reported(0, 1, None)
    assert rule.forget(0) == ["a1"]
    rule.saved(0, 1, "c1")
    assert rule.reported(0, 1, 1.0) == []
    assert list(rule.kept) == ["c1"]


# ---- a grid that is run again and again


def test_num_samples_multiplied_a_grid_and_nobody_said_so(run: Any, capsys: Any) -> None:
    """A user wrote num_samples=10 beside a grid of 3, expecting 10 trials, and got 30."""
    config = {"a": tune.grid_search([1, 2, 3]), "b": 4}
    run(lambda config: config["a"], config=config, num_samples=10, verbose=1, executor="inline")
    assert "num_samples=10 runs each of the 3 configs of the grid 10 times: 30 trials" in capsys.readouterr().out
    run(lambda config: config["a"], config={**config, **SPACE}, num_samples=10, verbose=1, executor="inline")
    run(lambda config: config["a"], config=config, verbose=1, executor="inline")
    run(lambda config: config["a"], config=config, num_samples=10, verbose=0, executor="inline")
    assert "runs each" not in capsys.readouterr().out


# ---- words of other tuners


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda f: tune.run(f, n_trials=3), "'n_trials'. Here it is called 'num_samples'"),
        (lambda f: tune.run(f, direction="minimize"), "'direction'. Here it is called 'mode'"),
        (lambda f: tune.run(f, n_jobs=3), "'n_jobs'. Here it is called 'max_concurrent_trials'"),
        (lambda f: tune.run(f, param_space={}), "'param_space'. Here it is called 'config'"),
        (lambda f: tune.run(f, cpus=2), r"'cpus'. Here it is called 'resources_per_trial': .*{'cpu': 2"),
        (lambda f: tune.run(f, num_sample=3), "Did you mean 'num_samples'"),
        (lambda f: tune.run(f, tune_config=None), r"It belongs to Tuner\(tune_config=...\)"),
        (lambda f: tune.Tuner(f, config={}), "Here it is called 'param_space'"),
        (lambda f: tune.Tuner(f, metric="x"), r"It belongs to tune_config=TuneConfig\(metric=...\)"),
        (lambda f: tune.Tuner(f, n_trials=3), r"It belongs to tune_config=TuneConfig\(num_samples=...\)"),
        (lambda f: tune.TuneConfig(n_trials=3), "Here it is called 'num_samples'"),
        (lambda f: tune.TuneConfig(name="x"), r"It belongs to run_config=RunConfig\(name=...\)"),
        (lambda f: tune.RunConfig(mode="min"), r"It belongs to tune_config=TuneConfig\(mode=...\)"),
        (lambda f: tune.RunConfig(num_to_keep=1), r"checkpoint_config=CheckpointConfig\(num_to_keep=...\), in RunConfig"),
        (lambda f: tune.CheckpointConfig(num_keep=1), "Did you mean 'num_to_keep'"),
        (lambda f: tune.Experiment("a", f, n_trials=3), "Here it is called 'num_samples'"),
        (lambda f: tune.run_experiments({"a": {"run": f, "n_trials": 3}}), "Here it is called 'num_samples'"),
        (lambda f: tune.run_experiments({"a": {"run": f}}, verbosity=3), "Here it is called 'verbose'"),
    ],
)
def test_an_argument_of_another_tuner_is_answered_with_its_name_here(call: Any, hint: str) -> None:
    """A user came from another tuner, and was told that its words do not exist, and nothing more."""
    with pytest.raises(TypeError, match=hint):
        call(returns_a_number)


@pytest.mark.parametrize(("word", "ours"), [("cpus", "cpu"), ("num_gpus", "gpu"), ("ram", "memory"), ("licence", None)])
def test_a_resource_by_another_word_is_answered_with_ours(run: Any, word: str, ours: str | None) -> None:
    """A user asked for {"cpus": 2}, and was told to declare them."""
    said = f"did you mean '{ours}'" if ours else "declare them, by tune.run"
    with pytest.raises(ValueError, match=said):
        run(returns_a_number, resources_per_trial={word: 2})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ASHAScheduler", "from fasttune.schedulers import ASHAScheduler$"),
        ("OptunaSearch", "from fasttune.search.optuna import OptunaSearch$"),
        ("TPESearch", "from fasttune.search import TPESearch$"),
        ("TrialPlateauStopper", "from fasttune.stopper import TrialPlateauStopper$"),
        ("CSVLoggerCallback", "from fasttune.logger import CSVLoggerCallback$"),
        ("create_study", "here it is tune.run"),
        ("loguniforn", "Did you mean 'loguniform'"),
        ("zzz", "has no attribute 'zzz'$"),
        ("_zzz", "has no attribute '_zzz'$"),
    ],
)
def test_a_name_that_is_elsewhere_is_answered_with_where(name: str, hint: str) -> None:
    """A user wrote tune.ASHAScheduler, and had to search for where it is."""
    with pytest.raises(AttributeError, match=hint):
        getattr(tune, name)


def test_the_docstring_tells_every_option_and_nothing_else_is_in_the_signature() -> None:
    """A user looked for an option with help(tune.run), and found half of them."""
    import inspect

    from fasttune.config import ClusterOnly

    told = inspect.getdoc(tune.run) or ""
    names = [name for name in inspect.signature(tune.run).parameters if name != "cluster_only"]
    assert [name for name in names if name not in told] == []
    assert not set(names) & set(ClusterOnly.__annotations__)
    assert "ClusterOnly" in told


@EXECUTORS
def test_the_first_run_loads_nothing_that_it_does_not_use(executor: str, tmp_path: Path) -> None:
    """The first run of a program took longer than it had to: pickle asks every module for every name, and ours looked for what
    was meant."""
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "before = set(sys.modules)  # some environments load much by themselves\n"
        "import fasttune as tune\n"
        "def train(config):\n"
        "    tune.report(loss=config['x'])\n"
        "if __name__ == '__main__':\n"
        "    config = {'x': tune.uniform(0, 1)}\n"
        f"    tune.run(train, config=config, metric='loss', mode='min', executor={executor!r}, storage_path={str(tmp_path)!r},\n"
        "             verbose=0)\n"
        "    print(*set(sys.modules) - before)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=120)
    heavy = {"numpy", "pandas", "decimal", "fractions", "difflib", "csv", "urllib", "pathlib", "base64", "hashlib"}
    ours = {"fasttune.logger", "fasttune.other_words", "fasttune.engine.report_index", "fasttune.analysis.frames"}
    ours |= {"fasttune.tables.auto_columns", "fasttune.tables.trial_columns", "fasttune.space.plan_columns"}
    assert (heavy | ours) & set(done.stdout.split()) == set()
