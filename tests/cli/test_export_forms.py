"""`fasttune export --to optuna|ray|mlflow`: the same forms as ``analysis.export``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

import fasttune as tune
from fasttune.analysis.exchange import FORMATS
from fasttune.cli import main
from fasttune.cli.export import FORMS, WHOLE


@pytest.fixture
def named(results_dir: Path) -> str:
    def train(config: dict[str, Any]) -> None:
        tune.report({"loss": config["x"]})

    tune.run(train, name="sold", config={"x": tune.uniform(0, 1)}, num_samples=3, metric="loss", mode="min", seed=1,
             executor="inline", verbose=0)  # fmt: skip
    return "sold"


def test_every_form_is_offered() -> None:
    assert tuple(FORMATS) == (*FORMS, *WHOLE)


def test_a_study(named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", named, "--to", "optuna", "-o", str(tmp_path / "study.db")]) == 0
    assert capsys.readouterr().err == f"3 trials written to {tmp_path / 'study.db'}\n"
    assert len(optuna.load_study(study_name="sold", storage=f"sqlite:///{tmp_path / 'study.db'}").trials) == 3


def test_a_study_by_another_name_and_goal(named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["export", named, "--to", "optuna", "-o", str(tmp_path / "study.db")]
    assert main([*asked, "--name", "other", "--metrics", "loss=max", "--scope", "all"]) == 0
    study = optuna.load_study(study_name="other", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert (study.direction.name, study.user_attrs["scope"]) == ("MAXIMIZE", "all")
    assert main([*asked, "--name", "other"]) != 0
    assert "has a study named 'other' already: give another --name" in capsys.readouterr().err


def test_an_experiment_without_a_metric_is_asked_for_one(
    results_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune.run(lambda config: {"loss": 1.0}, name="aimless", executor="inline", verbose=0)
    assert main(["export", "aimless", "--to", "optuna", "-o", str(tmp_path / "study.db")]) != 0
    assert "say which, e.g. --metrics loss=min" in capsys.readouterr().err


def test_rays_folder(named: str, tmp_path: Path) -> None:
    assert main(["export", named, "--to", "ray", "-o", str(tmp_path / "rayed")]) == 0
    (state,) = (tmp_path / "rayed").glob("experiment_state-*.json")
    assert len(json.loads(state.read_text())["trial_data"]) == 3


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--to", "optuna"], "--to optuna is no text: give -o FILE"),
        (["--to", "ray", "--reports", "-o", "x"], "--to ray writes trials and their reports: leave --reports out"),
        (["--to", "optuna", "-o", "x"], "an Optuna storage is a file that ends with"),
        (["--to", "optuna", "-o", "nowhere/x.db"], "there is no folder"),
        (["--to", "csv", "-o", "nowhere/x.csv"], "there is no folder"),
        (["--to", "optuna", "-o", "x.db", "--metrics", "cost=min"], "metric 'cost' was never reported"),
        (["--to", "ray", "-o", "x", "--name", "other", "--scope", "all"], "--to ray takes no --scope, --name: optuna and mlflow do"),
    ],
)
def test_what_cannot_be_is_said(named: str, capsys: pytest.CaptureFixture[str], asked: list[str], words: str) -> None:
    assert main(["export", named, *asked]) != 0
    assert words in capsys.readouterr().err
