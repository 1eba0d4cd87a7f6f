"""Rows L1 to L5: what is written beside the journal when it is asked for, and callbacks of one's own."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.callback import HOOKS
from fasttune.logger import BEHIND, CSVLoggerCallback, JsonLoggerCallback, LoggerCallback, TBXLogger, TBXLoggerCallback


def grows(config: dict[str, Any]) -> None:
    tune.report(loss=1.0, net={"width": 3})
    tune.report(loss=0.5, net={"width": 4}, late=7)


def test_L1_csv_and_json_files_in_the_folder_of_each_trial(run):
    loggers = [CSVLoggerCallback(), JsonLoggerCallback()]
    analysis = run(grows, config={"lr": tune.grid_search([0.1, 0.2])}, callbacks=loggers)
    assert len(loggers) == 2  # the list is the caller's
    for trial in analysis.trials:
        folder = Path(trial.path)
        assert sorted(path.name for path in folder.iterdir()) == ["params.json", "progress.csv", "result.json"]
        rows = list(csv.DictReader((folder / "progress.csv").open()))
        assert [(row["loss"], row["net/width"], row["late"]) for row in rows] == [("1.0", "3", ""), ("0.5", "4", "7")]
        results = [json.loads(line) for line in (folder / "result.json").read_text().splitlines()]
        assert [result["training_iteration"] for result in results] == [1, 2]
        assert results[1]["net"] == {"width": 4}
        assert results[1]["config"] == json.loads((folder / "params.json").read_text()) == trial.config


def test_L1_without_loggers_the_folder_holds_the_journal_alone(run):
    analysis = run(grows)
    assert sorted(path.name for path in Path(analysis.experiment_path).iterdir()) == [".lock", "experiment.db"]


def events(folder: str) -> Iterator[Any]:
    """The events in a trial's folder, by tensorboardX's own description of them. TensorBoard's reader reads the same in
    tests/logger, in an environment of its own."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(Path(folder).glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            yield Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]


def test_L2_tensorboard_events_in_the_folder_of_each_trial(run, monkeypatch):
    monkeypatch.setattr(TBXLoggerCallback, "niceness", 0)
    analysis = run(grows, config={"lr": tune.grid_search([0.1, 0.2])}, metric="loss", mode="min", callbacks=[TBXLogger()])
    for trial in analysis.trials:
        told = [(event.step, one) for event in events(trial.path) for one in event.summary.value]
        assert [(step, one.simple_value) for step, one in told if one.tag == "loss"] == [(1, 1.0), (2, 0.5)]
        assert [(step, one.simple_value) for step, one in told if one.tag == "net/width"] == [(1, 3.0), (2, 4.0)]
        assert [one.tag for _, one in told if one.tag.startswith("_hparams_/")] == [
            "_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"
        ]  # fmt: skip


LIBRARIES = {"TBX": "tensorboardX", "MLflow": "mlflow", "Wandb": "wandb", "Aim": "aim", "Comet": "comet_ml"}


@pytest.mark.parametrize("kind", BEHIND, ids=lambda kind: kind.__name__)
def test_L5_adapters_are_here_and_say_what_to_install(kind, monkeypatch):
    library = LIBRARIES[kind.__name__.removesuffix("LoggerCallback")]
    monkeypatch.setitem(sys.modules, library, None)
    text = rf"{kind.__name__} needs the library '{library}', which is not installed: pip install 'fasttune\[{kind.key}\]'"
    with pytest.raises(ImportError, match=text):
        kind()


class Watching(tune.Callback):
    """Counts every hook, and the order of those about trials."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.order: list[str] = []


def _noting(hook: str) -> Any:
    def note(self: Watching, *_: Any, **told: Any) -> None:
        self.seen[hook] += 1
        if "trial" in told:
            self.order.append(hook.removeprefix("on_trial_").removeprefix("on_"))

    return note


for _hook in HOOKS:
    setattr(Watching, _hook, _noting(_hook))


class Saves(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.n = 0

    def step(self) -> dict[str, Any]:
        self.n += 1
        mark = Path(self.config["mark"])
        if self.n == 2 and not mark.exists():
            mark.touch()
            raise RuntimeError("once")
        return {"n": self.n, "done": self.n == 3}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"n": self.n}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.n = checkpoint["n"]


def test_L3_every_hook_is_called_in_its_order(run, tmp_path):
    watching = Watching()
    run(Saves, config={"mark": str(tmp_path / "mark")}, checkpoint_freq=1, max_failures=1, callbacks=[watching])
    assert watching.seen["setup"] == watching.seen["on_experiment_end"] == 1
    assert watching.seen["on_step_begin"] >= watching.seen["on_step_end"] >= 1
    told = [hook for hook in watching.order if hook in ("start", "result", "recover", "complete", "error")]
    assert told == ["start", "result", "recover", "start", "result", "result", "complete"]
    assert watching.seen["on_checkpoint"] == watching.seen["on_trial_save"] == 3


def test_L3_a_failed_trial_is_an_error(run):
    def fails(config):
        raise RuntimeError("always")

    watching = Watching()
    run(fails, callbacks=[watching], raise_on_failed_trial=False)
    assert (watching.seen["on_trial_error"], watching.seen["on_trial_complete"]) == (1, 0)


def test_L4_a_logger_of_ones_own_writes_what_it_likes(run):
    class Lines(LoggerCallback):
        def log_trial_start(self, trial):
            self.file = Path(trial.path, "lines.txt").open("a")  # noqa: SIM115 - closed at the end

        def log_trial_result(self, iteration, trial, result):
            self.file.write(f"{trial} {result['loss']}\n")

        def log_trial_end(self, trial, failed=False):
            self.file.write(f"failed={failed}\n")
            self.file.close()

    trial = run(grows, callbacks=[Lines()]).trials[0]
    assert Path(trial.path, "lines.txt").read_text() == f"{trial} 1.0\n{trial} 0.5\nfailed=False\n"
