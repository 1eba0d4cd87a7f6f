"""Words of other tuners, and what they are called here: for the hint behind a name that does not exist."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from types import ModuleType

# what it may be called here, in the order of preference, and the words for it
_MEANT: tuple[tuple[tuple[str, ...], str], ...] = (
    (("num_samples",), "n_trials max_trials num_trials max_evals n_iter n_samples n_calls budget"),
    (("mode",), "direction directions goal maximize minimize optimize_mode"),
    (("metric",), "metrics monitor metric_name score"),
    (("run_or_experiment", "trainable", "run"), "objective func fn function train_fn target"),
    (("max_concurrent_trials",), "n_jobs n_workers num_workers max_workers workers max_concurrent n_parallel parallelism"),
    (("time_budget_s",), "timeout time_budget max_time max_runtime"),
    (("config", "param_space"), "space search_space params param_space config_space hyperparameters config"),
    (("search_alg",), "sampler searcher algo algorithm search_algorithm optimizer tuner"),
    (("scheduler",), "pruner early_stopping"),
    (("stop",), "stopper stopping_criterion stop_criterion early_stop"),
    (("storage_path",), "storage output_dir results_dir directory path log_dir"),
    (("name",), "study_name experiment_name project_name"),
    (("resume",), "load_if_exists overwrite continue_from"),
    (("resources_per_trial",), "cpu cpus num_cpus cpus_per_trial gpu num_gpus gpus_per_trial"),
    (("resources_per_trial",), "memory mem memory_limit max_memory gpu_memory vram"),
    (("seed",), "random_state random_seed rng"),
    (("verbose",), "show_progress_bar progress progress_bar verbosity"),
    (("max_failures",), "retries max_retries n_retries"),
    (("raise_on_failed_trial",), "catch"),
)
ARGUMENTS: Mapping[str, tuple[str, ...]] = {word: ours for ours, words in _MEANT for word in words.split()}

# what programs for other tuners look for in the module itself
NAMES: Mapping[str, str] = {
    "create_study": "tune.run(trainable, config=...), or tune.open_experiment(...) to ask and tell",
    "load_study": "tune.ExperimentAnalysis(path)",
    "Study": "tune.run(...) and the ExperimentAnalysis that it returns",
    "fmin": "tune.run(trainable, config=..., metric=..., mode='min')",
    "minimize": "tune.run(trainable, config=..., metric=..., mode='min')",
    "maximize": "tune.run(trainable, config=..., metric=..., mode='max')",
    "suggest_float": "tune.uniform or tune.loguniform in config",
    "suggest_int": "tune.randint in config",
    "suggest_categorical": "tune.choice in config",
    "TrialPruned": "nothing to raise: a scheduler such as ASHA ends trials inside tune.report",
    "should_prune": "nothing to ask: a scheduler such as ASHA ends trials inside tune.report",
    "ScalingConfig": "tune.with_resources(trainable, {'cpu': 2})",
    "init": "nothing: there is no server to connect to",
    "shutdown": "nothing: there is no server to end",
}


def unexpected(function: str, wrong: str, known: Iterable[str], elsewhere: Mapping[str, Collection[str]] = {}) -> TypeError:
    """The TypeError for an argument that ``function`` does not have. ``elsewhere`` are the places that settings which
    are not its own belong to, as they are written, and their names."""
    names = [name for name in known if not name.startswith("_")]
    return TypeError(f"{function}() got an unexpected keyword argument {wrong!r}.{_hint(wrong, names, elsewhere)}")


def _hint(wrong: str, names: list[str], elsewhere: Mapping[str, Collection[str]]) -> str:
    meant = [wrong, *ARGUMENTS.get(wrong.lower(), ())]
    for one in meant:
        if one in names:
            return f" Here it is called {one!r}: {_EXAMPLES[one]}" if one in _EXAMPLES else f" Here it is called {one!r}"
        for place, its in elsewhere.items():
            if one in its:
                return f" It belongs to {place.format(f'{one}=...')}"
    close = get_close_matches(wrong, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


_EXAMPLES = {
    "num_samples": "num_samples=100",
    "mode": "mode='min' or mode='max'",
    "run_or_experiment": "the first argument, tune.run(train, ...)",
    "resources_per_trial": "resources_per_trial={'cpu': 2, 'gpu': 0.5, 'memory': '4GB'}",
    "resume": "resume='AUTO' with name=...",
    "time_budget_s": "seconds, or a timedelta",
    "scheduler": "scheduler=ASHAScheduler(...)",
    "raise_on_failed_trial": "raise_on_failed_trial=False gives the results whatever trials fail",
}


def no_such_name(module: str, name: str, rooms: Iterable[ModuleType], known: Collection[str]) -> str:
    """What is said of a name that a module does not have, and perhaps one of the rooms below it has."""
    text = f"module {module!r} has no attribute {name!r}"
    for room in rooms:
        if name in getattr(room, "__all__", ()) or getattr(vars(room).get(name), "__module__", "") == room.__name__:
            return f"{text}: from {room.__name__} import {name}"
        if name in getattr(room, "_ADAPTERS", {}):
            return f"{text}: from {room.__name__}.{room._ADAPTERS[name]} import {name}"
    if name in NAMES:
        return f"{text}; here it is {NAMES[name]}"
    close = get_close_matches(name, known, n=1)
    return f"{text}. Did you mean {close[0]!r}?" if close else text
