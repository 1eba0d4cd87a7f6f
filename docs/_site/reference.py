"""The pages of the reference: which public name stands on which, in which order, and under which words.

Nothing is imported: ``__all__`` is read from the sources, so that the site is built without the compiled core. A public
name that stands nowhere is an error (:func:`check`), and so is one that stands here and is not public.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parent.parent.parent / "src" / "fasttune"


class Page(NamedTuple):
    """A page of the reference."""

    file: str
    title: str
    says: str  # in one sentence
    names: tuple[str, ...]  # what is on it, by full names
    imported_from: str  # the module that users import them from


def _of(module: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names)


def names_in(listed: ast.expr, tree: ast.Module) -> list[str]:
    """The names of a list that is written out, in which ``*table`` stands for the keys of a dict of the same module.
    ValueError for any other list."""
    tables = {
        getattr(target, "id", ""): node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    if not isinstance(listed, ast.List):
        raise ValueError("no list that is written out")
    names: list[str] = []
    for one in listed.elts:
        table = tables.get(getattr(one.value, "id", "")) if isinstance(one, ast.Starred) else None
        names += [ast.literal_eval(one)] if table is None else [ast.literal_eval(key) for key in table.keys if key is not None]
    return names


def public_names(room: str) -> list[str]:
    """What ``__all__`` of ``fasttune`` or one of its modules lists, by full names."""
    path = SOURCE / room
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    module = ".".join(filter(None, ("fasttune", room)))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return [f"{module}.{name}" for name in names_in(node.value, tree)]
    raise ValueError(f"{path} has no `__all__`: name what is public there")


PAGES = (
    Page(
        "running", "Running", "What begins an experiment, and the settings that it takes.",
        _of(
            "fasttune", "run", "arun", "Tuner", "TuneConfig", "RunConfig", "CheckpointConfig", "FailureConfig", "ResumeConfig",
            "ResumeType", "SyncConfig", "Experiment", "run_experiments", "open_experiment", "simulate", "benchmark",
            "register_trainable", "register_env",
        ),
        "fasttune",
    ),
    Page(
        "trainables", "Inside a trial", "What a trainable calls, and what it is made of.",
        _of(
            "fasttune", "report", "get_checkpoint", "Checkpoint", "Trainable", "with_parameters", "with_resources",
            "PlacementGroupFactory", "set_user_attr", "get_context", "TuneContext", "get_trial_id", "get_trial_name",
            "get_trial_dir", "get_trial_resources", "is_session_enabled", "checkpoint_dir", "vectorized", "Rows",
        ),
        "fasttune",
    ),
    Page(
        "space", "Search space", "What may stand in a search space.",
        _of(
            "fasttune", "uniform", "quniform", "loguniform", "qloguniform", "randn", "qrandn", "randint", "qrandint",
            "lograndint", "qlograndint", "choice", "grid_search", "sample_from", "SearchSpace",
        ),
        "fasttune",
    ),
    Page(
        "results", "Results", "What a run gives back, and what any experiment on disk opens as.",
        _of("fasttune", "ExperimentAnalysis", "ResultGrid", "Result", "Analysis", "constraint_violation")
        + _of("fasttune.engine.state", "Trial")
        + _of("fasttune.analysis", "Simulation"),
        "fasttune",
    ),
    Page(
        "schedulers", "Schedulers", "What decides which trials go on.",
        tuple(public_names("schedulers")),
        "fasttune.schedulers",
    ),
    Page(
        "search", "Search", "What suggests configs.",
        _of(
            "fasttune.search", "AutoSearch", "NSGA2Search", "MOTPESearch", "PriorSearch",
            "TPESearch", "GPSearch", "CMAESearch", "EvolutionSearch", "TuneBOHB", "SobolSearch",
            "HaltonSearch", "QuasiRandomSearch", "RandomSearch", "BasicVariantGenerator", "ConcurrencyLimiter", "Repeater",
            "UniqueSearch", "Searcher", "SearchAlgorithm", "SearchGenerator", "Suggestion", "create_searcher",
            "searcher_names", "seeded_searcher",
        )
        + _of("fasttune.search.space_searcher", "SpaceSearcher")
        + _of("fasttune.search.optuna", "OptunaSearch")
        + _of("fasttune.search.hyperopt", "HyperOptSearch")
        + _of("fasttune.search.bayesopt", "BayesOptSearch")
        + _of("fasttune.search.nevergrad", "NevergradSearch")
        + _of("fasttune.search.ax", "AxSearch"),
        "fasttune.search",
    ),
    Page(
        "watching", "Stoppers, callbacks, loggers", "What is asked and told while a run goes on.",
        _of(
            "fasttune.stopper", "Stopper", "MaximumIterationStopper", "ExperimentPlateauStopper", "TrialPlateauStopper",
            "RegretStopper", "TimeoutStopper", "FunctionStopper", "CombinedStopper", "NoopStopper",
        )
        + _of("fasttune", "Callback")
        + _of("fasttune.logger", "LoggerCallback", "CSVLoggerCallback", "JsonLoggerCallback", "pretty_print")
        + _of(
            "fasttune.logger", "TBXLoggerCallback", "TBXLogger", "MLflowLoggerCallback", "WandbLoggerCallback",
            "AimLoggerCallback", "CometLoggerCallback", "JournalLogger", "LoggedExperiment", "BEHIND",
        )
        + _of("fasttune", "ProgressReporter", "CLIReporter", "JupyterNotebookReporter"),
        "fasttune",
    ),
    Page(
        "warm_start", "Warm starts", "What was found elsewhere, as a beginning.",
        _of("fasttune.warm_start", "from_optuna", "from_ray", "from_cv_results", "from_experiment", "WarmStart", "KnownTrial"),
        "fasttune.warm_start",
    ),
    Page(
        "sklearn", "scikit-learn", "Search classes in the place of scikit-learn's.",
        _of("fasttune.sklearn", "TuneSearchCV", "TuneGridSearchCV"),
        "fasttune.sklearn",
    ),
    Page(
        "integration", "Training libraries", "Callbacks that report and keep checkpoints; a module for each library.",
        tuple(
            name
            for library in ("xgboost", "lightgbm", "catboost", "keras", "pytorch_lightning", "transformers")
            for name in _of(f"fasttune.integration.{library}", "TuneReportCallback", "TuneReportCheckpointCallback")
        )
        + _of("fasttune.logger.mlflow", "setup_mlflow")
        + _of("fasttune.logger.wandb", "setup_wandb"),
        "fasttune.integration",
    ),
    Page(
        "plot", "Pictures", "Each is also a method of `analysis.plot`.",
        _of(
            "fasttune.plot", "history", "curves", "parallel", "slices", "contour", "rank", "edf", "importances", "timeline",
            "rungs", "lineage", "pareto", "hypervolume", "importance_table", "report", "Plots", "PICTURES",
        ),
        "fasttune.plot",
    ),
    Page(
        "errors", "Errors", "Every exception that fasttune raises on purpose.",
        _of("fasttune", "TuneError")
        + _of(
            "fasttune.error", "MissingMetricError", "IncompleteTrialsError", "NoBestTrialError", "TrialFailedError",
            "WorkerDiedError", "ExperimentLockedError", "JournalError", "ForeignFileError", "JournalLockedError",
            "FolderGoneError", "ResumeError", "IllegalTransitionError", "StopTrial",
        ),
        "fasttune.error",
    ),
    Page(
        "utils", "Utilities, and test suites", "Small functions, and what tests a scheduler or searcher of your own.",
        _of(
            "fasttune.utils", "wait_for_gpu", "validate_save_restore", "diagnose_serialization", "flatten_dict",
            "unflatten_dict", "merge_dicts", "deep_update",
        )
        + _of("fasttune.resources", "detect", "Machine", "Gpu")
        + _of(
            "fasttune.testing", "SchedulerContract", "SearcherContract", "ExecutorContract", "StorageContract", "VirtualClock"
        ),
        "fasttune.utils",
    ),
)  # fmt: skip

# Those whose `__all__` has to be here.
ROOMS = ("", "schedulers", "search", "plot", "logger", "sklearn", "warm_start", "utils", "resources", "testing")


def check() -> list[str]:
    """What is wrong with ``PAGES``, a line for each: public names that are nowhere or twice, and names that are not public."""
    shown = [name for page in PAGES for name in page.names]
    last_names = {name.rpartition(".")[2] for name in shown}  # one name may be public in two modules
    wrong = [f"{name} is twice in the reference" for name in sorted({one for one in shown if shown.count(one) > 1})]
    for room in ROOMS:
        public = public_names(room)
        module = ".".join(filter(None, ("fasttune", room)))
        wrong += [
            f"{name} is public and not in the reference: add it to PAGES in docs/_site/reference.py"
            for name in public
            if name.rpartition(".")[2] not in last_names
        ]
        wrong += [
            f"{name} is in the reference and not in `__all__` of {module}"
            for name in shown
            if name.rpartition(".")[0] == module and name not in public
        ]
    return wrong


def text_of(page: Page) -> str:
    """The page as Markdown: mkdocstrings puts the docstrings into it."""
    listed = [f"# {page.title}", page.says]
    listed += [f"::: {name}\n    options:\n      show_root_full_path: {_by_its_path(page, name)}" for name in page.names]
    return "\n\n".join(listed) + "\n"


def _by_its_path(page: Page, name: str) -> str:
    return "false" if name.rpartition(".")[0] in ("fasttune", page.imported_from) else "true"


def index_text() -> str:
    """The first page: all names, by subject."""
    parts = [
        "# Reference",
        "Every public name, from its docstring. `import fasttune as tune` has those of *Running*, *Inside a trial*, *Search space*"
        " and most of *Results*; the others say where they are imported from.",
    ]
    for page in PAGES:
        names = " · ".join(f"[`{name.rpartition('.')[2]}`][{name}]" for name in page.names)
        parts.append(f"## [{page.title}]({page.file}.md)\n\n{page.says}\n\n{names}")
    return "\n\n".join(parts) + "\n"
