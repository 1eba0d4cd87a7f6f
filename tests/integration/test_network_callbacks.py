"""The callbacks of Keras, Lightning and Transformers one by one: events, checkpoints, metrics that never come, arguments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import networks
import pytest

import fasttune as tune
from fasttune.error import MissingMetricError
from fasttune.schedulers import HyperBandScheduler

pytestmark = pytest.mark.torch


def run(function: Any, **more: Any) -> tune.ExperimentAnalysis:
    return tune.run(function, **{"verbose": 0, "executor": "inline", **more})


def reported(analysis: tune.ExperimentAnalysis) -> Any:
    (frame,) = analysis.trial_dataframes.values()
    return frame


def saved_at(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [step for _, step in analysis.get_trial_checkpoints_paths(analysis.trials[0], "training_iteration")]


# ---- Keras -------------------------------------------------------------------------------------------------------


def keras_with(*callbacks: Any, epochs: int = 4, **more: Any) -> Any:
    x, x_valid, y, y_valid = networks.data()
    given = {"validation_data": (x_valid, y_valid), **more}
    return networks.keras_model(0.02).fit(x, y, batch_size=31, epochs=epochs, verbose=0, callbacks=list(callbacks), **given)


def test_keras_saves_as_often_as_asked() -> None:
    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.keras import TuneReportCheckpointCallback

        keras_with(TuneReportCheckpointCallback("val_loss", filename="net.keras", frequency=2), epochs=5)

    analysis = run(train)
    assert saved_at(analysis) == [2, 4]
    from fasttune.integration.keras import TuneReportCheckpointCallback

    path, _ = analysis.get_trial_checkpoints_paths(analysis.trials[0], "training_iteration")[0]
    checkpoint = tune.Checkpoint(path)
    assert TuneReportCheckpointCallback.get_epoch(checkpoint) == 2
    model = TuneReportCheckpointCallback.get_model(checkpoint, "net.keras")
    _, x_valid, _, y_valid = networks.data()
    assert model.evaluate(x_valid, y_valid, verbose=0)[0] == pytest.approx(reported(analysis)["val_loss"][1], rel=1e-4)


def test_keras_reports_at_several_events() -> None:
    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.keras import TuneReportCheckpointCallback

        events = ["train_batch_end", "epoch_end"]
        keras_with(TuneReportCheckpointCallback(["loss", "val_loss"], on=events, frequency=[0, 1]), epochs=2)

    analysis = run(train)
    batches = -(-len(networks.data()[0]) // 31)
    frame = reported(analysis)
    assert len(frame) == 2 * (batches + 1)
    assert list(frame["val_loss"].notna()) == ([False] * batches + [True]) * 2
    assert saved_at(analysis) == [batches + 1, 2 * batches + 2]


def test_keras_under_the_name_of_ray_2() -> None:
    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.keras import ReportCheckpointCallback

        keras_with(ReportCheckpointCallback(checkpoint_on="train_end", report_metrics_on="epoch_end"), epochs=2)

    analysis = run(train)
    assert len(reported(analysis)) == 3
    assert saved_at(analysis) == [3]


def test_keras_validates_now_and_then() -> None:
    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.keras import TuneReportCheckpointCallback

        keras_with(TuneReportCheckpointCallback("val_loss", frequency=1), validation_freq=2)

    analysis = run(train)
    assert len(reported(analysis)) == 2
    assert saved_at(analysis) == [1, 2]


def test_keras_stops_within_an_epoch() -> None:
    ends: list[str] = []

    def train(config: dict[str, Any]) -> None:
        import keras

        from fasttune.integration.keras import TuneReportCallback

        class Other(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_end(self, logs: Any = None) -> None:
                ends.append("other")

        try:
            keras_with(Other(), TuneReportCallback("loss", on="train_batch_end"))
            ends.append("behind fit")
        finally:
            ends.append("finally")

    analysis = run(train, stop={"training_iteration": 2})
    assert len(reported(analysis)) == 2
    assert ends == ["other", "finally"]


def test_keras_pauses_within_fit() -> None:
    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.keras import TuneReportCallback

        networks.keras_fit(networks.keras_model(config["lr"]), 0, [TuneReportCallback({"loss": "val_loss"})])

    analysis = run(
        train,
        config={"lr": tune.grid_search([0.02, 0.001])},
        scheduler=HyperBandScheduler(max_t=4, reduction_factor=2),
        metric="loss",
        mode="min",
    )
    for trial in analysis.trials:
        found = list(analysis.trial_dataframes[trial.trial_id]["loss"])
        assert found == pytest.approx(networks.direct_keras(trial.config["lr"])[: len(found)], rel=1e-4)


def test_keras_metrics_that_never_come_are_said() -> None:
    from fasttune.integration.keras import TuneReportCallback

    with pytest.raises(MissingMetricError, match="'val_acc', which Keras does not bring; it brings 'accuracy', 'loss', 'val_acc"):
        keras_with(TuneReportCallback("val_acc"))
    with pytest.raises(MissingMetricError, match="'val_loss', which Keras does not bring; it brings 'accuracy', 'loss'"):
        keras_with(TuneReportCallback("val_loss"), validation_data=None)


def test_keras_arguments_are_checked() -> None:
    from fasttune.integration.keras import TuneReportCallback, TuneReportCheckpointCallback

    with pytest.raises(ValueError, match="on='validation_end' is no event of Keras; there are epoch_begin"):
        TuneReportCallback(on="validation_end")
    with pytest.raises(ValueError, match=r"filename must end in \.keras or \.h5"):
        TuneReportCheckpointCallback(filename="checkpoint")
    with pytest.raises(ValueError, match="frequency must have a number for each event"):
        TuneReportCheckpointCallback(on=["epoch_end"], frequency=[1, 2])


# ---- Lightning ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", ["train_epoch_end", ["validation_end"]], ids=["epoch", "validation"])
def test_lightning_goes_on_from_either_event(on: Any, tmp_path: Path) -> None:
    """Killed behind epoch 3 and tried again: the rest is as if nothing had happened."""
    config = {"folder": str(tmp_path), "lr": 0.02, "kills": 3, "on": on}
    analysis = run(networks.train_lightning, config=config, executor="process", max_failures=1)
    assert len((tmp_path / analysis.trials[0].trial_id).read_text().splitlines()) == 2
    assert list(reported(analysis)["loss"]) == pytest.approx(networks.direct_lightning(0.02), rel=1e-4)


def test_lightning_reports_what_is_logged_by_then(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.pytorch_lightning import TuneReportCallback

        networks.lightning_fit(networks.lightning_module(0.02), [TuneReportCallback()], str(tmp_path))

    analysis = run(train)
    frame = reported(analysis)
    assert len(frame) == networks.EPOCHS  # the sanity check before the training is none
    assert list(frame["train_loss"].notna()) == [False] + [True] * (networks.EPOCHS - 1)
    assert saved_at(analysis) == []


def test_lightning_metrics_that_never_come_are_said(tmp_path: Path) -> None:
    from fasttune.integration.pytorch_lightning import TuneReportCallback

    with pytest.raises(MissingMetricError, match="'val_acc', which Lightning does not bring; it brings 'val_loss', 'train_loss'"):
        networks.lightning_fit(networks.lightning_module(0.02), [TuneReportCallback(["val_acc"])], str(tmp_path))
    with pytest.raises(ValueError, match="on='save_checkpoint' is no event of Lightning"):
        TuneReportCallback(on="save_checkpoint")


# ---- Transformers ------------------------------------------------------------------------------------------------


def transformers_with(folder: Path, *callbacks: Any, **more: Any) -> Any:
    trainer = networks.transformers_trainer(0.02, str(folder), list(callbacks))
    for name, value in more.items():
        setattr(trainer.args, name, value)
    trainer.train()
    return trainer


def test_transformers_reports_each_log(tmp_path: Path) -> None:
    logs: list[Any] = []

    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.transformers import TuneReportCallback

        trainer = transformers_with(tmp_path, TuneReportCallback({"train": "loss"}, on="log"))
        logs.extend(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)

    frame = reported(run(train))
    assert list(frame["train"]) == logs
    assert len(logs) == networks.EPOCHS


def test_transformers_checkpoints_are_the_trainers_own(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.transformers import TuneReportCheckpointCallback

        transformers_with(tmp_path, TuneReportCheckpointCallback("eval_loss", filename="bert"))

    analysis = run(train)
    assert saved_at(analysis) == list(range(1, networks.EPOCHS + 1))
    from fasttune.integration.transformers import TuneReportCheckpointCallback

    path, _ = analysis.get_trial_checkpoints_paths(analysis.trials[0], "training_iteration")[-1]
    saved = TuneReportCheckpointCallback.get_path(tune.Checkpoint(path), "bert")
    assert not os.path.islink(saved)
    assert {"config.json", "trainer_state.json", "optimizer.pt"} <= set(os.listdir(saved))


def test_transformers_evaluations_that_are_not_saved_are_reported(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.transformers import TuneReportCheckpointCallback

        trainer = networks.transformers_trainer(0.02, str(tmp_path), [TuneReportCheckpointCallback("eval_loss")])
        trainer.args.save_strategy = "steps"
        trainer.args.save_steps = trainer.state.save_steps = 2 * len(trainer.get_train_dataloader())
        trainer.train()

    analysis = run(train)
    assert len(reported(analysis)) == networks.EPOCHS
    assert saved_at(analysis) == [2, 4, 6]


def test_transformers_metrics_that_never_come_are_said(tmp_path: Path) -> None:
    from fasttune.integration.transformers import TuneReportCallback, TuneReportCheckpointCallback

    with pytest.raises(MissingMetricError, match=r"'eval_accuracy', which the Trainer does not bring; it brings .*'eval_loss'"):
        transformers_with(tmp_path, TuneReportCallback("eval_accuracy"))
    with pytest.raises(ValueError, match="on='step' is no event of the Trainer; there are evaluate, log, save"):
        TuneReportCallback(on="step")
    trainer = networks.transformers_trainer(0.02, str(tmp_path), [TuneReportCheckpointCallback()])
    trainer.args.save_strategy = "best"
    with pytest.raises(ValueError, match='save_strategy="best" decides behind the report'):
        trainer.train()


# ---- PyTorch -----------------------------------------------------------------------------------------------------


def counts_threads(config: dict[str, Any]) -> None:
    import torch

    tune.report(threads=torch.get_num_threads())


def test_pytorch_has_the_threads_of_its_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # what the user has set stays
    for cpus in (1, 2):
        analysis = run(counts_threads, executor="process", resources_per_trial={"cpu": cpus})
        assert analysis.trials[0].last_result["threads"] == cpus
