"""Every name that Ray Tune documents is here, or has its row in docs/coming_from_ray_tune.md."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import fasttune

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "coming_from_ray_tune.md").read_text(encoding="utf-8")

# Module below ray.tune -> the names that programs take from there, of Ray 1.x and 2.x.
NAMES = {
    "": """Analysis Callback CLIReporter Checkpoint CheckpointConfig DurableTrainable Experiment ExperimentAnalysis
        FailureConfig JupyterNotebookReporter PlacementGroupFactory ProgressReporter Result ResultGrid ResumeConfig RunConfig
        Stopper SyncConfig Trainable TuneConfig TuneContext TuneError Tuner checkpoint_dir choice create_scheduler
        create_searcher durable function get_checkpoint get_context get_trial_dir get_trial_id get_trial_name
        get_trial_resources grid_search is_session_enabled lograndint loguniform make_checkpoint_dir qlograndint
        qloguniform qrandint qrandn quniform randint randn register_env register_trainable report run run_experiments
        sample_from save_checkpoint track uniform with_parameters with_resources""",
    "analysis": "Analysis ExperimentAnalysis",
    "callback": "Callback CallbackList",
    "error": "TuneError",
    "execution.placement_groups": "PlacementGroupFactory",
    "experiment": "Experiment Trial",
    "experiment.trial": "Trial",
    "integration": "keras lightgbm pytorch_lightning xgboost",
    "logger": """CSVLogger CSVLoggerCallback JsonLogger JsonLoggerCallback LegacyLoggerCallback Logger LoggerCallback
        NoopLogger TBXLogger TBXLoggerCallback UnifiedLogger pretty_print""",
    "logger.aim": "AimLoggerCallback",
    "progress_reporter": "CLIReporter JupyterNotebookReporter ProgressReporter",
    "registry": "register_env register_trainable",
    "result_grid": "ResultGrid",
    "schedulers": """ASHAScheduler AsyncHyperBandScheduler FIFOScheduler HyperBandForBOHB HyperBandScheduler
        MedianStoppingRule PopulationBasedTraining PopulationBasedTrainingReplay ResourceChangingScheduler TrialScheduler
        create_scheduler""",
    "schedulers.async_hyperband": "ASHAScheduler AsyncHyperBandScheduler",
    "schedulers.hb_bohb": "HyperBandForBOHB",
    "schedulers.hyperband": "HyperBandScheduler",
    "schedulers.median_stopping_rule": "MedianStoppingRule",
    "schedulers.pb2": "PB2",
    "schedulers.pbt": "PopulationBasedTraining",
    "schedulers.resource_changing_scheduler": """DistributeResources DistributeResourcesToTopJob
        ResourceChangingScheduler""",
    "schedulers.trial_scheduler": "FIFOScheduler TrialScheduler",
    "search": """BasicVariantGenerator ConcurrencyLimiter Repeater SearchAlgorithm SearchGenerator Searcher
        create_searcher""",
    "search.ax": "AxSearch",
    "search.basic_variant": "BasicVariantGenerator",
    "search.bayesopt": "BayesOptSearch",
    "search.bohb": "TuneBOHB",
    "search.concurrency_limiter": "ConcurrencyLimiter",
    "search.hebo": "HEBOSearch",
    "search.hyperopt": "HyperOptSearch",
    "search.nevergrad": "NevergradSearch",
    "search.optuna": "OptunaSearch",
    "search.repeater": "Repeater",
    "search.sample": "Categorical Domain Float Function Integer",
    "search.searcher": "Searcher",
    "search.variant_generator": "generate_variants",
    "search.zoopt": "ZOOptSearch",
    "stopper": """CombinedStopper ExperimentPlateauStopper FunctionStopper MaximumIterationStopper NoopStopper Stopper
        TimeoutStopper TrialPlateauStopper""",
    "suggest": "ConcurrencyLimiter Repeater Searcher",
    "syncer": "SyncConfig Syncer",
    "trainable": "Trainable with_parameters with_resources wrap_function",
    "tune_config": "ResumeConfig TuneConfig",
    "tuner": "Tuner",
    "utils": """UtilMonitor deep_update diagnose_serialization flatten_dict merge_dicts unflatten_dict
        validate_save_restore wait_for_gpu warn_if_slow""",
}
ALL = [(module, name) for module, names in NAMES.items() for name in names.split()]


def is_here(module: str, name: str) -> bool:
    try:
        found = importlib.import_module(f"fasttune.{module}" if module else "fasttune")
        return hasattr(found, name)
    except ModuleNotFoundError:
        return False


def has_a_row(module: str, name: str) -> bool:
    """A line of a table that names it in backquotes, whole or as the last part of its path, or names its module."""
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    path = re.escape(f"ray.tune.{module}" if module else "ray.tune")
    wanted = re.compile(
        rf"`[^`]*\b{re.escape(name)}\b[^`]*`|`{path}[`.]" if module else rf"`[^`]*\b{re.escape(name)}\b[^`]*`"
    )
    return any(wanted.search(row.split("|", 3)[1] + row.split("|", 3)[2]) for row in rows)


@pytest.mark.parametrize(("module", "name"), ALL, ids=[f"{module or 'tune'}.{name}" for module, name in ALL])
def test_a_name_of_ray_tune_is_here_or_has_its_row(module: str, name: str) -> None:
    assert is_here(module, name) or has_a_row(module, name), (
        f"ray.tune.{module}.{name}: neither here nor in a row of the docs"
    )


def test_experiment_is_where_trials_are() -> None:
    from fasttune.experiment import Experiment, Trial

    assert Experiment is fasttune.Experiment
    assert Trial.__module__ == "fasttune.trial"
