"""Each logger against its real library: what was written is read back by the library's own reader.

In an environment of its own: `make test-loggers`.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.follower import Follower
from fasttune.logger import (
    BEHIND,
    AimLoggerCallback,
    CometLoggerCallback,
    JournalLogger,
    MLflowLoggerCallback,
    TBXLoggerCallback,
    WandbLoggerCallback,
)
from fasttune.logger.mlflow_names import Names

os.environ["COMET_DISABLE_AUTO_LOGGING"] = "1"  # where it is installed, it logs what others log

pytestmark = pytest.mark.loggers

Run = Callable[..., tune.ExperimentAnalysis]


def train(config: dict[str, Any]) -> None:
    tune.set_user_attr("dataset", "v3")
    for epoch in range(3):
        tune.report(loss=config["lr"] / (epoch + 1), net={"norm": epoch}, weights=[0.0, 1.0, 2.0], word="ok", odd=math.nan)
    if config["lr"] == 3.0:
        raise RuntimeError("diverged")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the one for all tests: these libraries keep threads and processes as long as this one lives."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for niced in (TBXLoggerCallback, MLflowLoggerCallback, WandbLoggerCallback, AimLoggerCallback, CometLoggerCallback):
        monkeypatch.setattr(niced, "niceness", 0)

    def call(*callbacks: JournalLogger, **more: Any) -> tune.ExperimentAnalysis:
        usual = {
            "config": {"lr": tune.grid_search([1.0, 2.0, 3.0]), "act": "relu"}, "metric": "loss", "mode": "min",
            "executor": "inline", "storage_path": tmp_path / "results", "name": "exp", "verbose": 0, "seed": 1,
            "raise_on_failed_trial": False,
        }  # fmt: skip
        return tune.run(train, callbacks=list(callbacks), **{**usual, **more})

    return call


def follow(path: str, logger: JournalLogger, reports: int = 0) -> Follower:
    """Log in this process. ``reports``: asked to stop behind so many."""
    follower = Follower(path, logger, lambda told: None)
    if reports:
        whole, seen = logger.log_trial_result, [0]

        def counted(*arguments: Any) -> None:
            whole(*arguments)
            seen[0] += 1
            follower.stop = follower.stop or seen[0] >= reports

        logger.log_trial_result = counted  # type: ignore[method-assign]
    try:
        follower.run(lambda: True, lambda seconds: None)
    finally:
        follower.close()
    return follower


LOSSES = [[lr / (epoch + 1) for epoch in range(3)] for lr in (1.0, 2.0, 3.0)]


def in_two_parts(run: Run, make: Callable[[], JournalLogger]) -> tune.ExperimentAnalysis:
    """Log a run behind it, but only its first reports; then the rest, by another logger."""
    analysis = run()
    path = analysis.experiment_path
    assert not follow(path, make(), reports=5).finished
    assert follow(path, make()).finished
    assert follow(path, make()).finished  # and nothing more
    return analysis


# ---- TensorBoard


def scalars(folder: str, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(folder, size_guidance={"scalars": 0})
    events.Reload()
    return [(one.step, one.value) for one in events.Scalars(tag)]


def test_tensorboard_reads_events_and_hparams(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    analysis = run(TBXLoggerCallback())
    for trial, losses in zip(analysis.trials, LOSSES, strict=True):
        assert scalars(trial.path, "loss") == [(step + 1, pytest.approx(loss)) for step, loss in enumerate(losses)]
        assert [value for _, value in scalars(trial.path, "net/norm")] == [0.0, 1.0, 2.0]
        events = EventAccumulator(trial.path, size_guidance={"histograms": 0})
        events.Reload()
        assert [one.step for one in events.Histograms("weights")] == [1, 2, 3]
        assert events.Histograms("weights")[0].histogram_value.num == 3
        told = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        session = plugin_data_pb2.HParamsPluginData.FromString(told).session_start_info
        assert session.hparams["lr"].number_value == trial.config["lr"]
        told = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
        about = plugin_data_pb2.HParamsPluginData.FromString(told).experiment
        assert [one.name.tag for one in about.metric_infos] == ["loss"]


def test_tensorboard_in_two_parts(run):
    analysis = in_two_parts(run, TBXLoggerCallback)
    for trial, losses in zip(analysis.trials, LOSSES, strict=True):
        assert scalars(trial.path, "loss") == [(step + 1, pytest.approx(loss)) for step, loss in enumerate(losses)]


# ---- MLflow


def mlflow_runs(uri: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    home = client.get_experiment_by_name("exp")
    runs = client.search_runs([home.experiment_id])
    return sorted(runs, key=lambda run: run.data.tags["fasttune_trial"])


def test_mlflow_client_reads_runs(run, tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    analysis = run(MLflowLoggerCallback(uri, tags={"team": "vision"}))
    runs = mlflow_runs(uri)
    assert [one.data.tags["fasttune_trial"] for one in runs] == [trial.trial_id for trial in analysis.trials]
    assert [one.info.status for one in runs] == ["FINISHED", "FINISHED", "FAILED"]
    for one, losses in zip(runs, LOSSES, strict=True):
        assert one.data.params == {"lr": str(losses[0]), "act": "relu"}
        assert (one.data.tags["team"], one.data.tags["dataset"]) == ("vision", "v3")
        history = MlflowClient(uri).get_metric_history(one.info.run_id, "loss")
        assert [(point.step, point.value) for point in history] == [(step + 1, loss) for step, loss in enumerate(losses)]
        assert one.data.metrics["net/norm"] == 2.0


ODD_NAMES = ["", "..", "a//b", "a/b", "sp%ace", "sp_ace", "\u00f6", "\u00e4", "x" * 400, "x" * 401, " ", "a:b (c)"]


def odd_names(config):
    tune.set_user_attr("sp%ace", "attached")
    tune.report({"loss": 1.0, **{name: float(k) for k, name in enumerate(ODD_NAMES)}})


def test_mlflow_takes_any_name_and_tells_all_apart(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tune.run(
        odd_names, config={name: k for k, name in enumerate(ODD_NAMES) if "/" not in name}, callbacks=[MLflowLoggerCallback(uri)],
        executor="inline", storage_path=tmp_path / "results", name="exp", verbose=0,
    )  # fmt: skip
    (one,) = mlflow_runs(uri)
    assert one.info.status == "FINISHED"
    names = Names()
    assert {name: one.data.metrics[names(name)] for name in ODD_NAMES} == {name: float(k) for k, name in enumerate(ODD_NAMES)}
    assert sorted(map(int, one.data.params.values())) == [k for k, name in enumerate(ODD_NAMES) if "/" not in name]
    assert one.data.tags["sp_ace"] == "attached"


def test_mlflow_in_two_parts(run, tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    in_two_parts(run, lambda: MLflowLoggerCallback(uri))
    runs = mlflow_runs(uri)
    assert [one.info.status for one in runs] == ["FINISHED", "FINISHED", "FAILED"]
    for one, losses in zip(runs, LOSSES, strict=True):
        history = MlflowClient(uri).get_metric_history(one.info.run_id, "loss")
        assert [point.value for point in history] == losses


def test_mlflow_saves_a_trials_folder(run, tmp_path):
    from mlflow import MlflowClient

    def writes(config: dict[str, Any]) -> None:
        Path(tune.get_context().get_trial_dir(), "notes.txt").write_text("hello")
        tune.report(loss=1.0)

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    logger = MLflowLoggerCallback(uri, save_artifact=True, log_params_on_trial_end=True)
    tune.run(writes, config={"lr": 1}, metric="loss", mode="min", executor="inline", storage_path=tmp_path, name="exp", verbose=0,
             callbacks=[logger])  # fmt: skip
    (one,) = mlflow_runs(uri)
    assert one.data.params == {"lr": "1"}
    assert [file.path for file in MlflowClient(uri).list_artifacts(one.info.run_id)] == ["notes.txt"]


def test_setup_mlflow_in_a_trial(run, tmp_path):
    from fasttune.integration.mlflow import setup_mlflow

    uri = f"sqlite:///{tmp_path}/mlflow.db"

    def logs(config: dict[str, Any]) -> None:
        mlflow = setup_mlflow(config, tracking_uri=uri, experiment_name="exp", create_experiment_if_not_exists=True)
        mlflow.log_metric("accuracy", config["lr"] * 2)
        tune.report(loss=1.0)

    analysis = tune.run(logs, config={"lr": tune.grid_search([1, 2])}, executor="inline", storage_path=tmp_path, name="exp", verbose=0)
    import mlflow

    mlflow.end_run()
    runs = mlflow_runs(uri)
    assert [one.info.run_name for one in runs] == [str(trial) for trial in analysis.trials]
    assert [(one.data.params["lr"], one.data.metrics["accuracy"]) for one in runs] == [("1", 2.0), ("2", 4.0)]
    with pytest.raises(ValueError, match="there is no MLflow experiment 'nobody'"):
        setup_mlflow({}, tracking_uri=uri, experiment_name="nobody")


# ---- Weights & Biases


def wandb_records(data: bytes) -> Iterator[bytes]:
    """The records of a file of W&B's: LevelDB's log format, blocks of 32 KiB, behind a header of 7 bytes."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        if at % 32768 > 32768 - 7:  # the rest of a block that has no room for a head
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""


def wandb_runs(folder: Path) -> dict[str, dict[str, Any]]:
    """What the files of W&B's offline runs say: by run id its reports, config, and how it ended."""
    from wandb.proto import wandb_internal_pb2

    runs: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime):
        name = file.stem.removeprefix("run-")
        told = runs.setdefault(name, {"history": [], "config": {}, "exit": None, "group": None})
        for data in wandb_records(file.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "history":
                items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
                told["history"].append(items)
            elif kind == "run":
                told["group"] = record.run.run_group
                told["config"].update({item.key: json.loads(item.value_json) for item in record.run.config.update})
            elif kind == "config":
                told["config"].update({item.key: json.loads(item.value_json) for item in record.config.update})
            elif kind == "exit":
                told["exit"] = record.exit.exit_code
    return runs


def test_wandb_offline_runs(run, tmp_path):
    analysis = run(WandbLoggerCallback(project="digits", mode="offline", excludes=["net/*"]))
    runs = wandb_runs(tmp_path)
    assert sorted(runs) == [trial.trial_id for trial in analysis.trials]
    for trial, losses in zip(analysis.trials, LOSSES, strict=True):
        told = runs[trial.trial_id]
        assert [one["loss"] for one in told["history"]] == losses
        assert [one["training_iteration"] for one in told["history"]] == [1, 2, 3]
        assert not any(name.startswith("net") for one in told["history"] for name in one)
        assert (told["config"]["lr"], told["config"]["act"], told["config"]["dataset"]) == (losses[0], "relu", "v3")
        assert (told["group"], told["exit"]) == ("exp", int(losses[0] == 3.0))


def test_wandb_in_two_parts(run, tmp_path):
    analysis = in_two_parts(run, lambda: WandbLoggerCallback(project="digits", mode="offline"))
    runs = wandb_runs(tmp_path)
    assert sorted(runs) == [trial.trial_id for trial in analysis.trials]
    for trial, losses in zip(analysis.trials, LOSSES, strict=True):
        assert [one["loss"] for one in runs[trial.trial_id]["history"]] == losses


def test_setup_wandb_in_a_trial(tmp_path):
    from fasttune.integration.wandb import setup_wandb

    folder = str(tmp_path)

    def logs(config: dict[str, Any]) -> None:
        one = setup_wandb(config, project="digits", mode="offline", dir=folder)
        one.log({"accuracy": config["lr"] * 2})
        tune.report(loss=1.0)
        one.finish()

    analysis = tune.run(logs, config={"lr": tune.grid_search([1, 2])}, executor="inline", storage_path=tmp_path, name="exp", verbose=0)
    runs = wandb_runs(tmp_path)
    assert sorted(runs) == [trial.trial_id for trial in analysis.trials]
    assert [runs[name]["history"][0]["accuracy"] for name in sorted(runs)] == [2, 4]


def test_wandb_without_a_key_is_said_and_costs_no_trial(run, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    analysis = run(WandbLoggerCallback(project="digits", mode="online"))
    assert len(analysis.trials) == 3
    assert "W&B: logging has stopped, the run is not concerned" in caplog.text
    assert "--to wandb --option project=digits --option mode=online" in caplog.text


# ---- Aim


AIM_READS = """
import json, sys
from aim import Repo
from aim.sdk.index_manager import RepoIndexManager

repo = Repo(sys.argv[1])
for name in repo.list_all_runs():
    RepoIndexManager.get_index_manager(repo).index(name)
found = {}
for one in Repo(sys.argv[1]).iter_runs():
    (frame,) = [metric.dataframe().sort_values("step") for metric in one.metrics() if metric.name == "loss"]
    assert list(frame["step"]) == [1, 2, 3]
    found[one["fasttune"]["trial"]] = one["hparams"], list(frame["value"])
print(json.dumps(found))
"""


def aim_runs(path: str) -> dict[str, tuple[dict[str, Any], list[float]]]:
    """What Aim's reader finds, once the runs are in its index, where `aim up` puts them: by trial id the config and losses.
    In a process of its own: Aim does not see in one that has written a repository all that was written there."""
    done = subprocess.run([sys.executable, "-c", AIM_READS, path], capture_output=True, text=True, check=True)
    return {name: (params, values) for name, (params, values) in json.loads(done.stdout.splitlines()[-1]).items()}


def test_aim_repo_reads_runs(run, tmp_path):
    repo = str(tmp_path / "aim")
    os.makedirs(repo)
    analysis = run(AimLoggerCallback(repo, metrics=["loss"]))
    found = aim_runs(repo)
    for trial, losses in zip(analysis.trials, LOSSES, strict=True):
        params, values = found.pop(trial.trial_id)
        assert (params["lr"], params["act"]) == (losses[0], "relu")
        assert values == losses
    assert not found


def test_aim_in_two_parts(run):
    analysis = in_two_parts(run, AimLoggerCallback)
    found = aim_runs(analysis.experiment_path)
    assert {name: values for name, (_, values) in found.items()} == {
        trial.trial_id: losses for trial, losses in zip(analysis.trials, LOSSES, strict=True)
    }


# ---- Comet


def comet_archives(folder: Path) -> dict[str, dict[str, list[Any]]]:
    """By trial id: the losses and parameters in the archives that `comet upload` would send."""
    by_key: dict[str, dict[str, list[Any]]] = {}
    for file in sorted(folder.glob("*.zip"), key=lambda path: path.stat().st_mtime):
        with zipfile.ZipFile(file) as archive:
            about = json.loads(archive.read("experiment.json"))
            told = by_key.setdefault(about["offline_id"], {"loss": [], "lr": [], "trial_id": []})
            for line in archive.read("messages.json").decode().splitlines():
                message = json.loads(line)["payload"]
                metric, param = message.get("metric") or {}, message.get("param") or {}
                if metric.get("metricName") == "loss":
                    told["loss"].append((metric["step"], float(metric["metricValue"])))
                if param.get("paramName") == "lr":
                    told["lr"].append(float(param["paramValue"]))
                if message.get("key") == "trial_id":
                    told["trial_id"].append(message["value"])
    return {one["trial_id"][0]: one for one in by_key.values()}


def test_comet_offline_archives(run, tmp_path):
    analysis = run(CometLoggerCallback(online=False, project_name="digits", offline_directory=str(tmp_path / "comet")))
    found = comet_archives(tmp_path / "comet")
    assert sorted(found) == [trial.trial_id for trial in analysis.trials]
    for trial, losses in zip(analysis.trials, LOSSES, strict=True):
        assert found[trial.trial_id]["loss"] == [(step + 1, pytest.approx(loss)) for step, loss in enumerate(losses)]
        assert found[trial.trial_id]["lr"] == [losses[0]]


def test_comet_in_two_parts(run):
    analysis = in_two_parts(run, lambda: CometLoggerCallback(online=False))
    found = comet_archives(Path(analysis.experiment_path, "comet"))
    assert {name: [value for _, value in one["loss"]] for name, one in found.items()} == {
        trial.trial_id: pytest.approx(losses) for trial, losses in zip(analysis.trials, LOSSES, strict=True)
    }


# ---- what is theirs alone


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: WandbLoggerCallback(api_key="very-secret", mode="offline"), "WANDB_API_KEY"),
        (lambda: MLflowLoggerCallback(tracking_token="very-secret"), "MLFLOW_TRACKING_TOKEN"),
        (lambda: CometLoggerCallback(api_key="very-secret"), "COMET_API_KEY"),
    ],
    ids=["wandb", "mlflow", "comet"],
)
def test_a_key_is_in_no_pickle_and_in_no_hint(make, name, monkeypatch):
    monkeypatch.setenv(name, "")
    logger = make()
    logger.setup(path="")
    assert os.environ[name] == "very-secret"
    assert b"very-secret" not in pickle.dumps(logger)
    assert "very-secret" not in logger.hint("exp")


@pytest.mark.parametrize("kind", BEHIND)
def test_an_unknown_option_is_an_error_at_once(kind):
    with pytest.raises(TypeError, match="unexpected keyword argument 'projcet'"):
        kind(projcet="digits")
