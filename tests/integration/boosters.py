"""Trainables of the tests: the same training by XGBoost, LightGBM and CatBoost, and what each library says of it itself.

A trial appends a line to ``<folder>/<trial id>`` when it begins: how many rounds its model has, and its ``eta``. What is to
go wrong stands in its config: ``fails`` ("raise" or "kill") with the round of its first attempt.
"""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

import fasttune as tune

ROUNDS = 12


@functools.cache
def data() -> tuple[Any, Any, Any, Any]:
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    x, y = load_breast_cancer(return_X_y=True)
    return tuple(train_test_split(x, y, test_size=0.3, stratify=y, random_state=0))  # type: ignore[return-value]


class Trouble:
    """Fails once, behind the report of a round, if the config says so."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.what, self.at = config.get("fails", (None, 0))
        self.begun = Path(config["folder"], tune.get_context().get_trial_id() or "outside")
        self.order = 99  # LightGBM calls its callbacks in this order

    def begin(self, done: int, eta: float) -> None:
        with self.begun.open("a") as file:
            file.write(f"{done} {eta}\n")

    def __call__(self, rounds: int) -> None:
        if rounds == self.at and self.what is not None and len(self.begun.read_text().splitlines()) == 1:
            if self.what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("as it was asked to")


def train_xgboost(config: dict[str, Any]) -> None:
    import xgboost

    from fasttune.integration.xgboost import TuneReportCheckpointCallback

    class Fails(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            trouble(model.num_boosted_rounds())
            return False

    before, trouble = tune.get_checkpoint(), Trouble(config)
    model = None if before is None else TuneReportCheckpointCallback.get_model(before)
    done = 0 if model is None else model.num_boosted_rounds()
    trouble.begin(done, config["eta"])
    report = TuneReportCheckpointCallback({"loss": "valid-logloss"}, frequency=config.get("frequency", 1))
    if done == ROUNDS:  # it was a copy of one that had finished
        return
    xgboost_direct(config["eta"], ROUNDS - done, [report, Fails()], model)


def xgboost_direct(eta: float, rounds: int = ROUNDS, callbacks: Any = (), before: Any = None) -> list[float]:
    import xgboost

    x, x_valid, y, y_valid = data()
    seen: dict[str, dict[str, list[float]]] = {}
    xgboost.train(
        {"objective": "binary:logistic", "eta": eta, "max_depth": 3, "nthread": 1, "seed": 0},
        xgboost.DMatrix(x, y, nthread=1),
        num_boost_round=rounds,
        evals=[(xgboost.DMatrix(x_valid, y_valid, nthread=1), "valid")],
        evals_result=seen,
        verbose_eval=False,
        callbacks=list(callbacks),
        xgb_model=before,
    )
    return seen["valid"]["logloss"]


def train_lightgbm(config: dict[str, Any]) -> None:
    from fasttune.integration.lightgbm import TuneReportCheckpointCallback

    before, trouble = tune.get_checkpoint(), Trouble(config)
    model = None if before is None else TuneReportCheckpointCallback.get_model(before)
    done = 0 if model is None else model.current_iteration()
    trouble.begin(done, config["eta"])
    if done == ROUNDS:
        return
    report = TuneReportCheckpointCallback({"loss": "valid-binary_logloss"}, frequency=config.get("frequency", 1))

    def fails(env: Any) -> None:
        trouble(env.iteration + 1)

    fails.order = 99  # type: ignore[attr-defined]
    lightgbm_direct(config["eta"], ROUNDS - done, [report, fails], model)


def lightgbm_direct(eta: float, rounds: int = ROUNDS, callbacks: Any = (), before: Any = None) -> list[float]:
    import lightgbm

    x, x_valid, y, y_valid = data()
    seen: dict[str, dict[str, list[float]]] = {}
    train = lightgbm.Dataset(x, y)
    lightgbm.train(
        {"objective": "binary", "learning_rate": eta, "num_leaves": 7, "num_threads": 1, "seed": 0, "verbosity": -1},
        train,
        num_boost_round=rounds,
        valid_sets=[lightgbm.Dataset(x_valid, y_valid, reference=train)],
        valid_names=["valid"],
        callbacks=[*callbacks, lightgbm.record_evaluation(seen)],
        init_model=before,
    )
    return seen["valid"]["binary_logloss"]


def train_catboost(config: dict[str, Any]) -> None:
    from fasttune.integration.catboost import TuneReportCheckpointCallback

    class Reports(TuneReportCheckpointCallback):
        """Fails behind the report that ends a piece."""

        def _piece(self, *arguments: Any) -> Any:
            piece = super()._piece(*arguments)
            trouble(piece.tree_count_)
            return piece

    before, trouble = tune.get_checkpoint(), Trouble(config)
    model = None if before is None else TuneReportCheckpointCallback.get_model(before)
    trouble.begin(0 if model is None else model.tree_count_, config["eta"])
    callback = Reports({"loss": "validation-Logloss"}, frequency=config.get("frequency", 1))
    x, x_valid, y, y_valid = data()
    callback.fit(catboost_model(config["eta"]), x, y, eval_set=(x_valid, y_valid), init_model=model)


def catboost_model(eta: float, rounds: int = ROUNDS) -> Any:
    import catboost

    return catboost.CatBoostClassifier(
        iterations=rounds,
        learning_rate=eta,
        depth=3,
        boost_from_average=False,
        bootstrap_type="No",
        random_strength=0,
        thread_count=1,
        random_seed=0,
        verbose=False,
        allow_writing_files=False,
    )


def catboost_direct(eta: float) -> list[float]:
    x, x_valid, y, y_valid = data()
    model = catboost_model(eta)
    model.fit(x, y, eval_set=(x_valid, y_valid), use_best_model=False)
    return list(model.get_evals_result()["validation"]["Logloss"])


TRAIN = {"xgboost": train_xgboost, "lightgbm": train_lightgbm, "catboost": train_catboost}
DIRECT = {"xgboost": xgboost_direct, "lightgbm": lightgbm_direct, "catboost": catboost_direct}
