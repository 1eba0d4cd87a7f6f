"""Which of a library's metrics are reported, and as what; and the errors, in words. Needs no library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.error import MissingMetricError
from fasttune.integration.reports import (
    ReportedMetrics,
    checked_events,
    checked_filename,
    checked_frequency,
    path_in,
    report_with_files,
    save_behind,
)

FOUND = {"valid-loss": 0.5, "valid-auc": 0.75}


@pytest.mark.parametrize(
    ("metrics", "reported"),
    [
        (None, FOUND),
        ([], FOUND),
        ("valid-auc", {"valid-auc": 0.75}),
        (["valid-auc", "valid-loss"], {"valid-auc": 0.75, "valid-loss": 0.5}),
        ({"auc": "valid-auc"}, {"auc": 0.75}),
    ],
    ids=["all", "none named", "a name", "names", "other names"],
)
def test_metrics_are_chosen_and_named(metrics: Any, reported: dict[str, float]) -> None:
    assert ReportedMetrics(metrics, "it")(FOUND) == reported


def test_a_function_has_the_last_word() -> None:
    doubled = ReportedMetrics(None, "it", lambda found: {name: 2 * value for name, value in found.items()})
    assert doubled(FOUND) == {"valid-loss": 1.0, "valid-auc": 1.5}
    with pytest.raises(TypeError, match="must return a dict of metrics, got float"):
        ReportedMetrics(None, "it", lambda found: 1.0)(FOUND)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="must be a function"):
        ReportedMetrics(None, "it", 3)  # type: ignore[arg-type]


def test_a_metric_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(MissingMetricError, match="'valid-acc', which XGBoost does not bring; it brings 'valid-loss', 'valid-auc'"):
        ReportedMetrics("valid-acc", "XGBoost")(FOUND)
    with pytest.raises(MissingMetricError, match="given data to validate on"):
        ReportedMetrics("valid-acc", "XGBoost")({})


def test_a_metric_that_comes_later_is_waited_for_until_the_end() -> None:
    metrics = ReportedMetrics(["loss", "val_loss", "val_auc"], "it")
    assert metrics({"loss": 1.0}, lambda name: True) == {"loss": 1.0}
    assert metrics({"val_loss": 2.0}, lambda name: True) == {"val_loss": 2.0}
    with pytest.raises(MissingMetricError, match="report 'val_auc', which it does not bring; it brings 'loss', 'val_loss'"):
        metrics.check_all_came()
    metrics({"val_auc": 3.0}, lambda name: True)
    metrics.check_all_came()


@pytest.mark.parametrize("metrics", [3, [3], {"a": 3}, {3: "a"}], ids=repr)
def test_what_names_no_metric_is_refused(metrics: Any) -> None:
    with pytest.raises(TypeError, match="metrics must be a name, a list of names or a dict"):
        ReportedMetrics(metrics, "it")


def test_arguments_are_checked_at_once() -> None:
    assert checked_filename("model.bin") == "model.bin"
    for name in ("", "a/b", "..", 3):
        with pytest.raises(ValueError, match="filename must be the name of a file"):
            checked_filename(name)
    with pytest.raises(ValueError, match=r"must end in \.keras or \.h5.*got 'model'"):
        checked_filename("model", (".keras", ".h5"))
    with pytest.raises(ValueError, match="frequency must be an integer >= 0, got -1"):
        checked_frequency(-1)
    assert checked_events("epoch_end", ["epoch_end"], "Keras") == ("epoch_end",)
    with pytest.raises(ValueError, match="on='epoch' is no event of Keras; there are epoch_begin, epoch_end"):
        checked_events(["epoch_end", "epoch"], ["epoch_end", "epoch_begin"], "Keras")
    with pytest.raises(ValueError, match="on must name an event"):
        checked_events([], ["epoch_end"], "Keras")


def write_model(folder: str) -> None:
    Path(folder, "model.txt").write_text("a model")


def test_a_file_that_a_checkpoint_lacks_is_said_with_what_it_has(tmp_path: Path) -> None:
    write_model(str(tmp_path))
    checkpoint = tune.Checkpoint(tmp_path)
    assert path_in(checkpoint, "model.txt") == str(tmp_path / "model.txt")
    with pytest.raises(FileNotFoundError, match=r"has no 'model\.bin'; it has model\.txt"):
        path_in(checkpoint, "model.bin")


def saves(config: dict[str, Any]) -> None:
    for step in range(4):
        report_with_files({"loss": step}, write_model if step == 1 else None, {"epoch": step})
    save_behind(write_model)


def test_checkpoints_belong_to_the_reports_they_came_with() -> None:
    analysis = tune.run(saves, metric="loss", mode="min", verbose=0, executor="inline", num_samples=1)
    (trial,) = analysis.trials
    found = analysis.get_trial_checkpoints_paths(trial, "training_iteration")
    assert [step for _, step in found] == [2, 4]
    assert [tune.Checkpoint(path).get_metadata() for path, _ in found] == [{"epoch": 1}, {}]
    assert all(Path(path, "model.txt").read_text() == "a model" for path, _ in found)


@pytest.mark.filterwarnings("ignore:tune.report")
def test_outside_of_a_trial_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report_with_files({"loss": 1.0}, write_model)
    save_behind(write_model)
    assert not list(tmp_path.iterdir())


LIBRARIES = ("xgboost", "lightgbm", "catboost", "keras", "pytorch_lightning", "transformers")


def test_a_library_that_is_not_installed_is_said_with_what_to_install() -> None:
    code = f"""
import sys, importlib
sys.modules.update(dict.fromkeys({(*LIBRARIES, "lightning")!r}))
for library in {LIBRARIES!r}:
    try:
        importlib.import_module(f"fasttune.integration.{{library}}")
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == len(LIBRARIES)
    for library, line in zip(LIBRARIES, said, strict=True):
        extra = "lightning" if library == "pytorch_lightning" else library
        assert line.startswith(f"fasttune.integration.{library} needs the library '")
        assert line.endswith(f"pip install 'fasttune[{extra}]'")
