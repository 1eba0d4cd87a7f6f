"""Names that are ours in the folders of experiments and trials: nobody's folder, text or note gets one of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.cli import main
from fasttune.folder import is_of_the_run, is_ours, is_ours_in_trial

OURS = [
    "experiment.db",
    "experiment.db-wal",
    "experiment.db-shm",
    "experiment.db-journal",
    ".lock",
    "rings",
    ".writing",
    "program.pkl",
    "tuner.pkl",
    "tuner.pkl.writing",
    "callbacks.pkl",
    "callbacks.pkl.writing",
    "pbt_global.txt",
    "pbt_policy_ab12c_00000.txt",
    "pbt_global.txt.writing",
]
FREE = ["experiment", "db", "lock", "rings_1", "ring", "writing", "my.lock", "program", "pbt", "train_ab12c_00000_0_x=1"]


def train(config: dict[str, Any]) -> None:
    tune.report({"loss": 1.0}, checkpoint=tune.Checkpoint.from_dict({"x": 1}))


def run(tmp_path: Path, **arguments: Any) -> tune.ExperimentAnalysis:
    return tune.run(
        train, storage_path=str(tmp_path), name="exp", executor="inline", verbose=0, metric="loss", mode="min", **arguments
    )


@pytest.mark.parametrize("name", OURS)
def test_names_of_ours_in_any_case(name: str) -> None:
    assert is_ours(name)
    assert is_ours(name.upper())
    assert is_ours(name.title())


@pytest.mark.parametrize("name", FREE)
def test_other_names_are_free(name: str) -> None:
    assert not is_ours(name)


def test_what_a_run_with_workers_leaves_is_on_the_list(tmp_path: Path) -> None:
    """And what it has while it runs, as a trial sees it: a file that is added has to be added to the list."""

    def looks(config: dict[str, Any]) -> None:
        tune.report({"loss": 1.0, "seen": " ".join(os.listdir(os.path.dirname(tune.get_trial_dir())))})

    scheduler = tune.schedulers.PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=1, hyperparam_mutations={"x": [1, 2]}
    )
    analysis = tune.run(
        looks,
        config={"x": 1},
        num_samples=2,
        storage_path=str(tmp_path),
        name="exp",
        verbose=0,
        metric="loss",
        mode="min",
        scheduler=scheduler,
        executor="process",
    )
    folders = {os.path.basename(str(trial.logdir)) for trial in analysis.trials}
    seen = {name for trial in analysis.trials for name in trial.last_result["seen"].split()}
    left = set(os.listdir(analysis.experiment_path))
    assert {name for name in (seen | left) - folders if not is_ours(name)} == set()
    assert "experiment.db" in left
    assert "rings" in seen


@pytest.mark.parametrize("name", [".writing", ".Lock", "EXPERIMENT.DB", "rings", "pbt_policy_x.txt"])
def test_a_trials_folder_of_our_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="fasttune uses that name itself") as caught:
        run(tmp_path, trial_dirname_creator=lambda trial: name)
    assert repr(name) in str(caught.value)
    assert "trial_dirname_creator" in str(caught.value)


def test_a_name_that_becomes_ours_by_cleaning_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'pbt_policy__\.txt'"):
        run(tmp_path, trial_dirname_creator=lambda trial: "pbt_policy_?.txt")


def test_a_text_of_a_scheduler_does_not_take_our_place(tmp_path: Path) -> None:
    class Leaves(tune.schedulers.FIFOScheduler):
        def files(self, state: Any) -> Mapping[str, str]:
            return {"experiment.db": "x", "../above.txt": "x", "mine.txt": "mine"}

    with pytest.warns(RuntimeWarning, match="the scheduler's file") as warned:
        analysis = run(tmp_path, scheduler=Leaves())
    told = " ".join(str(one.message) for one in warned)
    assert "'experiment.db'" in told
    assert "'../above.txt'" in told
    assert "mine.txt" not in told
    assert Path(analysis.experiment_path, "mine.txt").read_text() == "mine"
    assert not (tmp_path / "above.txt").exists()
    assert len(tune.ExperimentAnalysis(analysis.experiment_path).trials) == 1


def test_a_text_whose_name_a_folder_has_costs_nothing_but_itself(tmp_path: Path) -> None:
    class Leaves(tune.schedulers.FIFOScheduler):
        def files(self, state: Any) -> Mapping[str, str]:
            return {"taken": "x"}

    with pytest.warns(RuntimeWarning, match="'taken' is missing"):
        analysis = run(
            tmp_path,
            scheduler=Leaves(),
            trial_dirname_creator=lambda trial: "taken",
            callbacks=[tune.logger.JsonLoggerCallback()],
        )
    assert [name for name in os.listdir(analysis.experiment_path) if name.endswith(".writing")] == []


@pytest.mark.parametrize("name", ["result.json", "Progress.CSV", "checkpoint_000001", "../out", "/out", "a/b", ""])
def test_an_output_file_keeps_to_the_trials_folder_and_off_our_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="log_to_file must name a file of the trial's own folder"):
        run(tmp_path, log_to_file=(name, "err.txt"))
    assert not (tmp_path / "exp").exists()


def test_a_note_does_not_go_into_our_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path).experiment_path
    for name in (".lock", "Rings", "experiment.db-wal", "pbt_global.txt"):
        assert main(["add-note", folder, "text", "--filename", name]) != 0
        assert "none that fasttune uses itself" in capsys.readouterr().err
    assert main(["add-note", folder, "text", "--filename", "notes.md"]) == 0


def test_names_of_a_trials_files() -> None:
    assert all(map(is_ours_in_trial, ["result.json", "PARAMS.json", "progress.csv", "error.txt", "checkpoint_000012"]))
    assert not any(map(is_ours_in_trial, ["stdout", "stderr", "log.txt", "checkpoint", "checkpoint_best"]))
    assert is_of_the_run("rings")
    assert not is_of_the_run("pbt_global.txt")


@pytest.mark.parametrize("name", ["f" * 300, "ü" * 200], ids=["long", "two bytes each"])
def test_a_function_of_any_name_has_folders(tmp_path: Path, name: str) -> None:
    def function(config: dict[str, Any]) -> None:
        tune.report({"loss": config["x"]}, checkpoint=tune.Checkpoint.from_directory(source))

    source = tmp_path / "source"
    source.mkdir()
    function.__name__ = function.__qualname__ = name
    space = {"x": tune.grid_search([1, 2, 3]), "ä" * 90: "ö" * 90}
    analysis = tune.run(function, config=space, storage_path=str(tmp_path / "results"), executor="inline", verbose=0)
    folders = {trial.local_path for trial in analysis.trials}
    assert len(folders) == 3  # not one for all of them, cut to the same length
    for trial in analysis.trials:
        assert trial.trial_id in str(trial.local_path)
        assert trial.checkpoint is not None
        assert os.path.isdir(str(trial.checkpoint.path))
    assert len(tune.ExperimentAnalysis(analysis.experiment_path).trials) == 3


def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name must be at most 200 bytes long"):
        tune.run(train, storage_path=str(tmp_path / "results"), name="a/" + "n" * 201, verbose=0)
    assert not (tmp_path / "results").exists()


def test_environment_variables_in_the_storage_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SCRATCH", str(tmp_path))
    analysis = tune.run(train, storage_path="$MY_SCRATCH/here", executor="inline", verbose=0)
    assert analysis.experiment_path.startswith(str(tmp_path / "here"))
    monkeypatch.delenv("MY_SCRATCH")
    with pytest.raises(ValueError, match=r"variable that is not set: '\$MY_SCRATCH/here'"):
        tune.run(train, storage_path="$MY_SCRATCH/here", verbose=0)
