"""What only CatBoost has: a callback that cannot save, and a training in pieces."""

from __future__ import annotations

from typing import Any

import boosters
import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler

pytestmark = pytest.mark.boosting


def run(function: Any, **more: Any) -> tune.ExperimentAnalysis:
    return tune.run(function, **{"verbose": 0, "executor": "inline", **more})


def plain(config: dict[str, Any]) -> None:
    from fasttune.integration.catboost import TuneReportCallback

    x, x_valid, y, y_valid = boosters.data()
    model = boosters.catboost_model(config["eta"])
    callbacks = [TuneReportCallback({"loss": "validation-Logloss", "learned": "learn-Logloss"})]
    model.fit(x, y, eval_set=(x_valid, y_valid), use_best_model=False, callbacks=callbacks)
    tune.report(loss=-1.0, learned=float(model.tree_count_))


def test_a_plain_fit_reports_and_is_ended_in_its_own_way() -> None:
    analysis = run(
        plain,
        config={"eta": tune.grid_search([0.5, 0.001])},
        scheduler=ASHAScheduler(max_t=100, grace_period=2, reduction_factor=2),
        metric="loss",
        mode="min",
    )
    long, short = (analysis.trial_dataframes[trial.trial_id] for trial in analysis.trials)
    assert list(long["loss"][:-1]) == pytest.approx(boosters.catboost_direct(0.5))
    assert list(long["learned"])[-1] == boosters.ROUNDS
    assert len(short) == 2  # what the function reports behind its end does not count


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [({}, [12]), ({"frequency": 5}, [5, 10, 12]), ({"frequency": 5, "checkpoint_at_end": False}, [5, 10])],
    ids=["at the end", "every fifth", "every fifth only"],
)
def test_models_are_saved_as_often_as_asked(arguments: dict[str, Any], steps: list[int]) -> None:
    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.catboost import TuneReportCheckpointCallback

        x, x_valid, y, y_valid = boosters.data()
        callback = TuneReportCheckpointCallback({"loss": "validation-Logloss"}, **arguments)
        model = callback.fit(boosters.catboost_model(0.3), x, y, eval_set=(x_valid, y_valid))
        assert model.tree_count_ == boosters.ROUNDS
        assert model.predict(x_valid).shape == y_valid.shape

    analysis = run(train, metric="loss", mode="min")
    (trial,) = analysis.trials
    found = analysis.get_trial_checkpoints_paths(trial, "training_iteration")
    assert [step for _, step in found] == steps
    from fasttune.integration.catboost import TuneReportCheckpointCallback

    assert [TuneReportCheckpointCallback.get_model(tune.Checkpoint(path)).tree_count_ for path, _ in found] == steps
    assert list(analysis.trial_dataframes[trial.trial_id]["loss"]) == pytest.approx(boosters.catboost_direct(0.3))


def test_what_does_not_fit_is_said() -> None:
    from catboost import CatBoostClassifier, CatBoostError

    from fasttune.error import MissingMetricError
    from fasttune.integration.catboost import TuneReportCallback, TuneReportCheckpointCallback

    x, _, y, _ = boosters.data()
    model = CatBoostClassifier(iterations=2, thread_count=1, verbose=False, allow_writing_files=False)
    with pytest.raises(CatBoostError, match=r"call callback\.fit\(model, x, y, \.\.\.\) in place of"):
        model.fit(x, y, callbacks=[TuneReportCheckpointCallback()])
    with pytest.raises(CatBoostError, match="which CatBoost does not bring; it brings 'learn-Logloss'"):
        model.fit(x, y, callbacks=[TuneReportCallback("learn-AUC")])
    with pytest.raises(MissingMetricError, match="which CatBoost does not bring; it brings 'learn-Logloss'"):
        TuneReportCheckpointCallback("learn-AUC").fit(model, x, y)
    with pytest.raises(ValueError, match="early_stopping_rounds=5 is not for a training in pieces"):
        TuneReportCheckpointCallback(frequency=1).fit(model, x, y, early_stopping_rounds=5)
