"""Optuna: random sampler, quiet, and its three storages."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from shared import (
    AT_ONCE,
    ETA,
    MAX_T,
    beside_one_process,
    boosted,
    boosting_data,
    computed,
    loss_at,
    main,
    note_first_result,
    objective,
    paced,
    run_again_and_again,
)


def suggested(trial: Any) -> dict[str, float]:
    return {
        "a": trial.suggest_float("a", 0.0, 1.0),
        "b": trial.suggest_float("b", 0.0, 1.0),
        "x": trial.suggest_float("x", -10.0, 10.0),
    }


def null_trial(trial: Any) -> float:
    return objective(**suggested(trial))


def first_trial(trial: Any) -> float:
    score = null_trial(trial)
    note_first_result()
    return score


def curve_trial(trial: Any) -> float:
    import optuna

    config = suggested(trial)
    for epoch in range(1, MAX_T + 1):
        loss = loss_at(epoch=epoch, **config)
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


def study_of(storage: Any = None, pruner: Any = None) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.create_study(storage=storage, sampler=sampler, pruner=pruner or optuna.pruners.NopPruner())


def journal(folder: str) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(os.path.join(folder, "journal.log")))


def sqlite(folder: str) -> str:
    return "sqlite:///" + os.path.join(folder, "study.db")


def optimized(args: argparse.Namespace, trial: Any, threads: int = 1, **keywords: Any) -> dict[str, Any]:
    study = study_of(**keywords)
    started = time.perf_counter()
    study.optimize(trial, n_trials=args.n, n_jobs=threads)
    seconds = time.perf_counter() - started
    trials = study.get_trials(deepcopy=False)
    return {
        "trials": len(trials),
        "reports": sum(len(trial.intermediate_values) for trial in trials),
        "seconds": seconds,
    }


def reports(args: argparse.Namespace) -> dict[str, Any]:
    import optuna

    def reporting(trial: Any) -> float:
        for step in range(args.n):
            trial.report(1.0 / (step + 1), step)
            trial.should_prune()
        return 0.0

    study = study_of(pruner=optuna.pruners.MedianPruner())
    started = time.perf_counter()
    study.optimize(reporting, n_trials=2, n_jobs=2)
    return {"reports": 2 * args.n, "seconds": time.perf_counter() - started}


def sleeping_trial(trial: Any) -> float:
    time.sleep(0.1)
    return 1.0


def computing_trial(trial: Any) -> float:
    return computed(trial.suggest_float("x", 0.0, 1.0))


def paced_reports(args: argparse.Namespace) -> dict[str, Any]:
    def reporting(trial: Any) -> float:
        paced(args.n, lambda step: trial.report(1.0 / (step + 1), step))
        return 0.0

    return optimized(argparse.Namespace(n=AT_ONCE), reporting, threads=AT_ONCE)


def again(args: argparse.Namespace, **keywords: Any) -> dict[str, Any]:
    return run_again_and_again(lambda: optimized(argparse.Namespace(n=1), null_trial, **keywords))


def boost(args: argparse.Namespace) -> dict[str, Any]:
    data = boosting_data()

    def boosting_trial(trial: Any) -> float:
        return boosted(data, trial.suggest_int("leaves", 8, 64), trial.suggest_float("rate", 0.02, 0.3))

    return optimized(args, boosting_trial, threads=2)


def second_trial(trial: Any) -> float:
    time.sleep(1.0)
    return 1.0


def halving(args: argparse.Namespace) -> dict[str, Any]:
    import optuna

    return optimized(args, curve_trial, pruner=optuna.pruners.SuccessiveHalvingPruner(1, ETA, 0))


main(
    {
        "null": lambda args: optimized(args, null_trial),
        "null-2-threads": lambda args: optimized(args, null_trial, threads=2),
        "null-journal": lambda args: optimized(args, null_trial, storage=journal(args.folder)),
        "null-sqlite": lambda args: optimized(args, null_trial, storage=sqlite(args.folder)),
        "second-threads": lambda args: optimized(args, second_trial, threads=args.n),
        "reports": reports,
        "halving": halving,
        "sleep-threads": lambda args: optimized(args, sleeping_trial, threads=16),
        "boost-threads": boost,
        "computing": lambda args: beside_one_process(args.n, lambda: optimized(args, computing_trial, threads=2)),
        "paced": paced_reports,
        "again": again,
        "again-sqlite": lambda args: again(args, storage=sqlite(args.folder)),
        "first": lambda args: optimized(args, first_trial),
    }
)
