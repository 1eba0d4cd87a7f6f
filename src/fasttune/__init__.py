"""fasttune: hyperparameter tuning on one machine. ``import fasttune as tune``.

Importing this package loads none of its parts: a name is loaded when it is first used, so that programs and
worker processes pay for what they touch only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names once more, for type checkers and editors
    from .analysis import Analysis as Analysis
    from .analysis import ExperimentAnalysis as ExperimentAnalysis
    from .analysis import Result as Result
    from .analysis import ResultGrid as ResultGrid
    from .analysis import simulate as simulate
    from .ask_tell import open_experiment as open_experiment
    from .bench import benchmark as benchmark
    from .callback import Callback as Callback
    from .checkpoint import Checkpoint as Checkpoint
    from .config import CheckpointConfig as CheckpointConfig
    from .config import Experiment as Experiment
    from .config import FailureConfig as FailureConfig
    from .config import ResumeConfig as ResumeConfig
    from .config import ResumeType as ResumeType
    from .config import RunConfig as RunConfig
    from .config import SyncConfig as SyncConfig
    from .config import TuneConfig as TuneConfig
    from .constraints import constraint_violation as constraint_violation
    from .devices.resources import PlacementGroupFactory as PlacementGroupFactory
    from .error import TuneError as TuneError
    from .registry import register_env as register_env
    from .registry import register_trainable as register_trainable
    from .reporter import CLIReporter as CLIReporter
    from .reporter import JupyterNotebookReporter as JupyterNotebookReporter
    from .reporter import ProgressReporter as ProgressReporter
    from .schedulers import create_scheduler as create_scheduler
    from .search import SearchSpace as SearchSpace
    from .search import create_searcher as create_searcher
    from .session import TuneContext as TuneContext
    from .session import checkpoint_dir as checkpoint_dir
    from .session import get_checkpoint as get_checkpoint
    from .session import get_context as get_context
    from .session import get_trial_dir as get_trial_dir
    from .session import get_trial_id as get_trial_id
    from .session import get_trial_name as get_trial_name
    from .session import get_trial_resources as get_trial_resources
    from .session import is_session_enabled as is_session_enabled
    from .session import report as report
    from .space import choice as choice
    from .space import grid_search as grid_search
    from .space import lograndint as lograndint
    from .space import loguniform as loguniform
    from .space import qlograndint as qlograndint
    from .space import qloguniform as qloguniform
    from .space import qrandint as qrandint
    from .space import qrandn as qrandn
    from .space import quniform as quniform
    from .space import randint as randint
    from .space import randn as randn
    from .space import sample_from as sample_from
    from .space import uniform as uniform
    from .stopper import Stopper as Stopper
    from .trainable import Trainable as Trainable
    from .trainable import with_parameters as with_parameters
    from .trainable import with_resources as with_resources
    from .tuner import Tuner as Tuner
    from .tuner import arun as arun
    from .tuner import run as run
    from .tuner import run_experiments as run_experiments
    from .user_attrs import set_user_attr as set_user_attr
    from .vectors import Rows as Rows
    from .vectors import vectorized as vectorized

# Where each public name lives.
_HOME = {
    "analysis": (
        "Analysis",
        "ExperimentAnalysis",
        "Result",
        "ResultGrid",
        "simulate",
    ),
    "ask_tell": ("open_experiment",),
    "bench": ("benchmark",),
    "callback": ("Callback",),
    "checkpoint": ("Checkpoint",),
    "config": (
        "CheckpointConfig",
        "Experiment",
        "FailureConfig",
        "ResumeConfig",
        "ResumeType",
        "RunConfig",
        "SyncConfig",
        "TuneConfig",
    ),
    "devices.resources": ("PlacementGroupFactory",),
    "error": ("TuneError",),
    "registry": (
        "register_env",
        "register_trainable",
    ),
    "reporter": (
        "CLIReporter",
        "JupyterNotebookReporter",
        "ProgressReporter",
    ),
    "schedulers": ("create_scheduler",),
    "search": (
        "SearchSpace",
        "create_searcher",
    ),
    "session": (
        "TuneContext",
        "checkpoint_dir",
        "get_checkpoint",
        "get_context",
        "get_trial_dir",
        "get_trial_id",
        "get_trial_name",
        "get_trial_resources",
        "is_session_enabled",
        "report",
    ),
    "space": (
        "choice",
        "grid_search",
        "lograndint",
        "loguniform",
        "qlograndint",
        "qloguniform",
        "qrandint",
        "qrandn",
        "quniform",
        "randint",
        "randn",
        "sample_from",
        "uniform",
    ),
    "stopper": ("Stopper",),
    "trainable": (
        "Trainable",
        "with_parameters",
        "with_resources",
    ),
    "tuner": (
        "Tuner",
        "arun",
        "run",
        "run_experiments",
    ),
    "constraints": ("constraint_violation",),
    "user_attrs": ("set_user_attr",),
    "vectors": ("Rows", "vectorized"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
_ROOMS = frozenset([*_HOME, "executors", "experiment", "logger", "plot", "resources", "storage", "trial", "utils", "warm_start"])

__all__ = [
    "Analysis",
    "CLIReporter",
    "Callback",
    "Checkpoint",
    "CheckpointConfig",
    "Experiment",
    "ExperimentAnalysis",
    "FailureConfig",
    "JupyterNotebookReporter",
    "PlacementGroupFactory",
    "ProgressReporter",
    "Result",
    "ResultGrid",
    "ResumeConfig",
    "ResumeType",
    "Rows",
    "RunConfig",
    "SearchSpace",
    "Stopper",
    "SyncConfig",
    "Trainable",
    "TuneConfig",
    "TuneContext",
    "TuneError",
    "Tuner",
    "arun",
    "benchmark",
    "checkpoint_dir",
    "choice",
    "constraint_violation",
    "create_scheduler",
    "create_searcher",
    "get_checkpoint",
    "get_context",
    "get_trial_dir",
    "get_trial_id",
    "get_trial_name",
    "get_trial_resources",
    "grid_search",
    "is_session_enabled",
    "lograndint",
    "loguniform",
    "open_experiment",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "register_env",
    "register_trainable",
    "report",
    "run",
    "run_experiments",
    "sample_from",
    "set_user_attr",
    "simulate",
    "uniform",
    "vectorized",
    "with_parameters",
    "with_resources",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value  # the next use finds it without coming here
        return value
    if name in _ROOMS:  # tune.schedulers.ASHAScheduler, without an import of its own
        return importlib.import_module(f".{name}", __name__)
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    raise _NoSuchName(name)


class _NoSuchName(AttributeError):
    """Looks for what was meant when somebody reads it: pickle asks every module for every name."""

    def __str__(self) -> str:
        (name,) = self.args
        if name.startswith("_"):
            return f"module {__name__!r} has no attribute {name!r}"
        import importlib

        from .other_words import no_such_name

        rooms = [importlib.import_module(f".{room}", __name__) for room in ("schedulers", "search", "stopper", "logger")]
        return no_such_name(__name__, name, rooms, __all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
