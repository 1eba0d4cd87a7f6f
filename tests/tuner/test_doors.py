"""The doors with the whole machine behind them."""

from __future__ import annotations

import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.folder import JOURNAL


def objective(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        tune.report(score=config["a"] * step)


def run(trainable: Any = objective, **arguments: Any) -> Any:
    return tune.run(
        trainable,
        **{"config": {"a": tune.grid_search([1, 2])}, "verbose": 0, "executor": "inline", **arguments},
    )


def test_R1_a_run_gives_an_analysis(results_dir: Path) -> None:
    analysis = run(name="mine", metric="score", mode="max", num_samples=2)
    assert analysis.best_config == {"a": 2}
    assert analysis.best_result["score"] == 6
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 4
    assert (results_dir / "mine" / JOURNAL).exists()


def test_R13_what_a_trial_tells(results_dir: Path) -> None:
    trial = run().trials[1]
    assert (trial.config, trial.status) == ({"a": 2}, "TERMINATED")
    assert trial.placement_group_factory == tune.PlacementGroupFactory([{"CPU": 1}])
    assert trial.trial_id.endswith("_00001")


def test_P3_verbose_0_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    run(verbose=0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("verbose", "lines"), [(1, 2), (2, 2 + 4), (3, 2 + 2)])
def test_P3_verbose_adds_lines(capfd: pytest.CaptureFixture[str], verbose: int, lines: int) -> None:
    run(verbose=verbose)
    out = capfd.readouterr().out.splitlines()
    told = [line for line in out if line.startswith(("fasttune:", "Trial ", "Result for "))]
    if verbose < 3:
        assert len(told) == lines
    else:
        assert len([line for line in told if line.startswith("Result for ")]) == 2


def test_F2_the_exception_ends_with_the_trials_own_error() -> None:
    def failing(config: dict[str, Any]) -> None:
        tune.report(score=1)
        if config["a"] == 2:
            raise ZeroDivisionError("lr is 0")

    with pytest.raises(tune.TuneError, match="Trials did not complete") as caught:
        run(failing)
    assert [str(trial.trial_id)[-5:] for trial in caught.value.args[1]] == ["00001"]
    shown = "".join(traceback.format_exception(caught.value)).rstrip().splitlines()
    assert shown[-1] == "ZeroDivisionError: lr is 0"
    assert isinstance(caught.value.__cause__, (ZeroDivisionError, type(None)))
    analysis = run(failing, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR"]


def test_R9_experiments_from_a_dict() -> None:
    specs = {
        name: {"run": objective, "config": {"a": tune.grid_search(list(range(10)))}}
        for name in ("one", "two", "three")
    }
    trials = tune.run_experiments(specs, verbose=0)
    assert len(trials) == 30
    assert {trial.status for trial in trials} == {"TERMINATED"}


def test_R9_one_after_another() -> None:
    first = tune.Experiment("one", objective, config={"a": 1})
    second = tune.Experiment("two", objective, config={"a": 2})
    trials = tune.run_experiments(
        [first, {"three": {"run": objective, "config": {"a": 3}}}, second], verbose=0, concurrent=False
    )
    assert [trial.config["a"] for trial in trials] == [1, 3, 2]
    with pytest.raises(tune.TuneError, match="takes an Experiment, a dict"):
        tune.run_experiments(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Did you mean 'callbacks'"):
        tune.run_experiments(first, callback=[])


def test_R10_a_tuner_does_not_raise_for_failed_trials(results_dir: Path) -> None:
    def sometimes(config: dict[str, Any]) -> dict[str, Any]:
        if config["a"] == 1:
            raise ValueError("one is bad")
        return {"score": config["a"]}

    tuner = tune.Tuner(
        sometimes,
        param_space={"a": tune.grid_search([1, 2, 3])},
        tune_config=tune.TuneConfig(metric="score", mode="max"),
        run_config=tune.RunConfig(name="grid", verbose=0, executor="inline"),
    )
    with pytest.raises(RuntimeError, match="no results yet"):
        tuner.get_results()
    results = tuner.fit()
    assert (len(results), results.num_errors, results.num_terminated) == (3, 1, 2)
    assert results.get_best_result().config == {"a": 3}
    assert len(tuner.get_results()) == 3
    assert results.experiment_path == str(results_dir / "grid")


def interrupted(config: dict[str, Any]) -> None:
    """Fails as long as there is a file that says so."""
    tune.report(score=config["a"])
    if config["a"] == 2 and Path(config["fuse"]).exists():
        raise RuntimeError("the fuse is in")


def test_F5_a_tuner_is_restored(results_dir: Path, tmp_path: Path) -> None:
    fuse = tmp_path / "fuse"
    fuse.touch()
    space = {"a": tune.grid_search([1, 2]), "fuse": str(fuse)}
    run_config = tune.RunConfig(name="exp", verbose=0, executor="inline", seed=1)
    first = tune.Tuner(interrupted, param_space=space, run_config=run_config).fit()
    assert first.num_errors == 1
    fuse.unlink()
    folder = results_dir / "exp"
    assert tune.Tuner.can_restore(folder)
    assert not tune.Tuner.can_restore(tmp_path)
    assert len(tune.Tuner.restore(folder, interrupted).get_results()) == 2
    assert tune.Tuner.restore(folder, interrupted).fit().num_errors == 1  # a failed trial stays as it is
    again = tune.Tuner.restore(folder, interrupted, resume_errored=True, param_space=space).fit()
    assert (len(again), again.num_errors) == (2, 0)
    assert again.experiment_path == str(folder)


def test_F5_what_cannot_be_restored(results_dir: Path, tmp_path: Path) -> None:
    tuner = tune.Tuner(
        objective, param_space={"a": 1}, run_config=tune.RunConfig(name="exp", verbose=0, executor="inline")
    )
    tuner.fit()
    folder = results_dir / "exp"
    with pytest.raises(FileNotFoundError, match=r"no experiment to restore in .*: there is no experiment.db"):
        tune.Tuner.restore(tmp_path, objective)
    with pytest.raises(ValueError, match="needs the trainable"):
        tune.Tuner.restore(folder)
    with pytest.raises(ValueError, match="ran 'objective', and 'interrupted' was given"):
        tune.Tuner.restore(folder, interrupted)
    with pytest.raises(ValueError, match=r"a: 1 was, it is gone\n *b: it was not there, 1 is"):
        tune.Tuner.restore(folder, objective, param_space={"b": 1})
    with pytest.raises(ValueError, match="both true"):
        tune.Tuner.restore(folder, objective, resume_errored=True, restart_errored=True)
    with pytest.raises(AttributeError, match=r"Tuner\.restore\(path, trainable\)"):
        tuner.restore(str(folder), objective)
    (folder / "tuner.pkl").unlink()
    with pytest.raises(ValueError, match="give param_space, tune_config and run_config"):
        tune.Tuner.restore(folder, objective)
    own = tune.Tuner.restore(
        folder, objective, param_space={"a": 1}, tune_config=tune.TuneConfig(), run_config=tune.RunConfig()
    )
    assert len(own.get_results()) == 1


def test_F5_auto_starts_and_then_goes_on_with_the_same_configs(results_dir: Path) -> None:
    space = {"a": tune.uniform(0, 1)}
    first = run(name="exp", config=space, num_samples=3, resume="AUTO")
    second = run(name="exp", config=space, num_samples=3, resume="AUTO")
    assert [trial.config for trial in second.trials] == [trial.config for trial in first.trials]
    assert [path.name for path in results_dir.iterdir()] == ["exp"]
    with pytest.raises(ValueError, match="cannot go on with seed=5"):
        run(name="exp", config=space, num_samples=3, resume="AUTO", seed=5)


def test_H9_numpys_seed_repeats_a_run() -> None:
    import numpy as np

    def configs() -> list[dict[str, Any]]:
        np.random.seed(3)
        return [trial.config for trial in run(config={"a": tune.uniform(0, 1)}, num_samples=3).trials]

    assert configs() == configs()


def test_R14_in_a_thread_and_twice() -> None:
    lengths = []
    thread = threading.Thread(target=lambda: lengths.extend(len(run().trials) for _ in range(2)))
    thread.start()
    thread.join()
    assert lengths == [2, 2]


def test_import_loads_none_of_the_parts_and_knows_all_names() -> None:
    code = (
        "import sys; before = set(sys.modules); import fasttune; "
        "loaded = {name for name in set(sys.modules) - before if name.startswith('fasttune')}; "
        "missing = [name for name in fasttune.__all__ if not hasattr(fasttune, name)]; "
        "unlisted = set(fasttune.__all__) - set(dir(fasttune)); "
        "print(loaded, missing, sorted(unlisted), fasttune.schedulers.__name__); "
        "fasttune.nothing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "{'fasttune'} [] [] fasttune.schedulers\n", done.stderr
    assert "module 'fasttune' has no attribute 'nothing'" in done.stderr
