"""What a run is asked to do: the settings users write, and ``RunSpec``, the same thing resolved and checked.

    TuneConfig, RunConfig, CheckpointConfig,
    FailureConfig, SyncConfig, ResumeConfig     what a ``Tuner`` takes
    Experiment                                  one trainable with its space, as ``run`` also takes it
    TrainableSpec, RunSpec                      what the doors hand to the machine; nobody else makes them

Each class checks what it can know by itself when it is made; what needs two of them together is checked by
the doors, before any trial starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Never, Self, TypedDict

from fasttune.argument import as_count, checked_count, checked_number, shown
from fasttune.constraints import Constraints, as_constraints
from fasttune.error import TuneError
from fasttune.folder import is_ours_in_trial, is_plain
from fasttune.scope import DEFAULT_SCOPE, Scope, check_scope
from fasttune.working_directory import absolute

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis, ResultGrid
    from fasttune.callback import Callback
    from fasttune.devices.machine import Machine
    from fasttune.devices.resources import PlacementGroupFactory
    from fasttune.executors.event_loops import AwaitedRun
    from fasttune.reporter.base import ProgressReporter
    from fasttune.schedulers.base import TrialScheduler
    from fasttune.search.base import SearchAlgorithm, Searcher
    from fasttune.stopper import StopRules
    from fasttune.storage.recovery import ExperimentLock
    from fasttune.trial import Trial
    from fasttune.warm_start import WarmStart

MOST_TRIALS = 2**32 - 1  # a record has 32 bits for the number of its trial
DURABILITIES = ("process", "full")
MAX_SUSPENDED = 1000  # paused trials whose code lives on
Mode = Literal["min", "max"]
MODES = ("min", "max")
Constraint = str | Sequence[str] | Callable[[dict[str, Any]], Any] | None


class _Settings:
    """What a dataclass of settings has in common with the others, made once and not at every start for each: equality of
    all fields, and a repr that lists only those that differ from their default."""

    def __new__(cls, *args: Any, **keywords: Any) -> Self:
        known = cls.__dataclass_fields__  # type: ignore[attr-defined]
        for name in keywords:
            if name not in known:
                from fasttune.other_words import unexpected

                elsewhere = {**settings_places(cls), "Tuner({})": ("param_space", "trainable")}
                raise unexpected(cls.__name__, name, known, elsewhere)
        return super().__new__(cls)

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = []
        for setting in fields(self):  # type: ignore[arg-type]
            value = getattr(self, setting.name)
            if not _is_default(setting, value):
                shown.append(f"{setting.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


def settings_places(without: type | None = None) -> dict[str, Collection[str]]:
    """Where the settings of a Tuner are said, as it is written, and their names."""
    its: dict[str, Collection[str]] = {
        place: [setting.name for setting in fields(kind)]
        for place, kind in {
            "tune_config=TuneConfig({})": TuneConfig,
            "run_config=RunConfig({})": RunConfig,
            "checkpoint_config=CheckpointConfig({}), in RunConfig": CheckpointConfig,
            "failure_config=FailureConfig({}), in RunConfig": FailureConfig,
        }.items()
        if kind is not without
    }
    return {**its, "the trainable: tune.with_resources(trainable, {{'cpu': 2, 'gpu': 0.5}})": ["resources_per_trial"]}


def _is_default(setting: Field[Any], value: object) -> bool:
    default = setting.default
    if default is MISSING and setting.default_factory is not MISSING:
        default = setting.default_factory()
    return value is default or (type(value) is type(default) and bool(value == default))


@dataclass(eq=False, repr=False)
class CheckpointConfig(_Settings):
    """Which checkpoints of a trial are made and which are kept.

    Args:
        num_to_keep: how many stay on disk, at least 1; None keeps all. The latest one is always kept besides.
        checkpoint_score_attribute: the metric ("a/b" when nested) that says which are best; None: the newest.
        checkpoint_score_order: "max" or "min", which end of that metric is better.
        checkpoint_frequency: class trainables save every so many iterations; 0: never by count.
        checkpoint_at_end: class trainables save when they end. None: the door decides.
        scope: "trial": num_to_keep counts for each trial; "experiment": for all of them together. Then the latest of a
            trial stays besides until the trial has ended; that of a failed one stays, as it may be gone on with.

    Of checkpoints in memory, None keeps a trial's newest and its best (by the score attribute, or the run's metric).
    """

    num_to_keep: int | None = None
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: str = "max"
    checkpoint_frequency: int = 0
    checkpoint_at_end: bool | None = None
    scope: Literal["trial", "experiment"] = "trial"

    def __post_init__(self) -> None:
        if self.scope not in ("trial", "experiment"):
            raise ValueError(f"scope must be 'trial' or 'experiment', got {self.scope!r}")
        if self.scope == "experiment" and self.num_to_keep is None:
            raise ValueError("scope='experiment' says what num_to_keep counts: give num_to_keep too")
        if self.num_to_keep is not None:
            # fewer would not do: the latest one is always kept, because a trial resumes from it
            rule = "None or at least 1"
            self.num_to_keep = checked_count("num_to_keep", self.num_to_keep, least=1, rule=rule)
        if self.checkpoint_score_order not in MODES:
            raise ValueError(
                f"checkpoint_score_order must be 'max' or 'min', got {self.checkpoint_score_order!r}"
            )
        rule = "0 (never) or more"
        self.checkpoint_frequency = checked_count("checkpoint_frequency", self.checkpoint_frequency, rule=rule)


@dataclass(eq=False, repr=False)
class FailureConfig(_Settings):
    """What happens when a trial fails.

    Args:
        max_failures: how often one trial is tried again; -1: without limit.
        fail_fast: True ends the run at the first failure; "raise" also raises the trial's own exception.
    """

    max_failures: int = 0
    fail_fast: bool | Literal["raise"] = False

    def __post_init__(self) -> None:
        rule = "-1 (no limit), 0 or more"
        self.max_failures = checked_count("max_failures", self.max_failures, least=-1, rule=rule)
        if not isinstance(self.fail_fast, bool) and self.fail_fast != "raise":
            raise ValueError(f"fail_fast must be True, False or 'raise', got {self.fail_fast!r}")
        if self.fail_fast and self.max_failures != 0:
            raise ValueError(
                f"fail_fast={self.fail_fast!r} ends the run at the first failure, so max_failures must be 0, "
                f"got {self.max_failures}"
            )


@dataclass(eq=False, repr=False)
class SyncConfig(_Settings):
    """Accepted so that programs written for a cluster run unchanged. On one machine nothing is copied
    elsewhere.

    The periods, time-outs and artifact switches have no effect; a place to upload to is refused.
    """

    sync_period: int = 300
    sync_timeout: int = 1800
    sync_artifacts: bool = False
    sync_artifacts_on_checkpoint: bool = True
    upload_dir: str | None = None
    syncer: str | None = "auto"
    sync_on_checkpoint: bool = True

    def __post_init__(self) -> None:
        if self.upload_dir is not None:
            raise ValueError(
                f"SyncConfig(upload_dir={self.upload_dir!r}): experiments stay on this machine. Set "
                "storage_path to "
                "a mounted folder, or copy the experiment's folder when the run has ended"
            )
        if self.syncer not in ("auto", None):
            raise ValueError(f"SyncConfig(syncer=...) must be 'auto' or None, got {self.syncer!r}")


class ResumeType(StrEnum):
    """What becomes of a trial when its experiment is resumed."""

    RESUME = "resume"
    RESTART = "restart"
    SKIP = "skip"


_Choice = ResumeType | str


@dataclass(eq=False, repr=False)
class ResumeConfig(_Settings):
    """Which trials of an earlier run go on (RESUME), start over (RESTART) or stay as they are (SKIP).

    Args:
        finished: RESUME goes on from a trial's last checkpoint, from its start if it has none; RESTART always from its
            start. It is then trained anew in every session that says so.
        unfinished, errored: as for finished ones. SKIP ends unfinished ones as they are.
        new_space: the search space may be another one than before. It holds from the next trial on: trials that exist keep
            their configs, and ``num_samples`` counts those of the new space. False: another space is an error.
    """

    ResumeType: ClassVar[type[ResumeType]] = ResumeType

    finished: _Choice = ResumeType.SKIP
    unfinished: _Choice = ResumeType.RESUME
    errored: _Choice = ResumeType.SKIP
    new_space: bool = False

    def __post_init__(self) -> None:
        for name in ("finished", "unfinished", "errored"):
            value = getattr(self, name)
            try:
                setattr(self, name, ResumeType(value))
            except ValueError:
                known = ", ".join(repr(one.value) for one in ResumeType)
                raise ValueError(f"ResumeConfig({name}=...) must be one of {known}, got {value!r}") from None
        if not isinstance(self.new_space, bool):
            raise TypeError(f"ResumeConfig(new_space=...) must be True or False, got {self.new_space!r}")


@dataclass(eq=False, repr=False)
class TuneConfig(_Settings):
    """How a ``Tuner`` searches. Every field means what the argument of that name means in ``run``."""

    metric: str | Sequence[str] | None = None
    mode: Mode | Sequence[Mode] | None = None
    search_alg: Searcher | SearchAlgorithm | str | None = None
    scheduler: TrialScheduler | str | None = None
    max_t: float | None = None
    num_samples: int = 1
    on_duplicate: str = "allow"
    max_concurrent_trials: int | None = None
    time_budget_s: float | timedelta | None = None
    reuse_actors: bool | None = None
    trial_name_creator: Callable[[Trial], str] | None = None
    trial_dirname_creator: Callable[[Trial], str] | None = None
    chdir_to_trial_dir: bool | None = None
    scope: Scope | None = None
    constraints: Constraint = None
    warm_start: WarmStart | ExperimentAnalysis | ResultGrid | str | os.PathLike[str] | None = None
    warm_start_from: Any = None

    def __post_init__(self) -> None:
        if self.scope is not None:
            check_scope(self.scope)
        as_constraints(self.constraints)
        if self.max_t is not None:
            check_max_t(self.max_t, self.scheduler)


@dataclass(eq=False, repr=False)
class RunConfig(_Settings):
    """How a ``Tuner`` runs and stores. Every field means what the argument of that name means in ``run``."""

    name: str | None = None
    storage_path: str | os.PathLike[str] | None = None
    storage_filesystem: object = None
    failure_config: FailureConfig | None = None
    checkpoint_config: CheckpointConfig | None = None
    sync_config: SyncConfig | None = None
    verbose: int | None = None
    stop: Any = None
    callbacks: list[Callback] | None = None
    progress_reporter: ProgressReporter | None = None
    log_to_file: bool | str | Sequence[str] = False
    local_dir: str | os.PathLike[str] | None = None
    executor: str | None = None
    gpus: list[int | str] | None = None
    gpu_policy: str = "pack"
    resources: Mapping[str, float] | None = None
    user_attrs: Mapping[str, Any] | None = None
    seed: int | None = None
    max_suspended: int | None = None
    trial_timeout_s: float | timedelta | None = None
    worker_max_trials: int | None = None
    worker_max_memory: int | str | None = None
    cpu_affinity: str | None = None
    measure_usage: bool = False
    durability: str = "process"


def resolve_resume(resume: object) -> ResumeConfig | None:
    """The ResumeConfig that a ``resume=`` argument stands for; None when nothing is to be resumed.

    "AUTO" or True go on with unfinished trials. "AUTO+ERRORED" also resumes failed ones,
    "AUTO+RESTART_ERRORED" starts failed ones over; with "_ONLY" at the end only failed trials run. "+NEW_SPACE" behind any
    of them lets another search space hold from the next trial on.
    """
    if resume is None or resume is False:
        return None
    if isinstance(resume, ResumeConfig):
        return resume
    if resume is True:
        return ResumeConfig()
    asked = resume.upper() if isinstance(resume, str) else ""
    new_space = asked.endswith("+NEW_SPACE")
    start, _, rest = asked.removesuffix("+NEW_SPACE").partition("+")
    forms = {
        "": ResumeConfig(),
        "ERRORED": ResumeConfig(errored=ResumeType.RESUME),
        "RESTART_ERRORED": ResumeConfig(errored=ResumeType.RESTART),
        "ERRORED_ONLY": ResumeConfig(unfinished=ResumeType.SKIP, errored=ResumeType.RESUME),
        "RESTART_ERRORED_ONLY": ResumeConfig(unfinished=ResumeType.SKIP, errored=ResumeType.RESTART),
    }
    if start == "ERRORED_ONLY" and not rest:
        start, rest = "AUTO", "ERRORED_ONLY"
    if start not in ("AUTO", "LOCAL") or rest not in forms:
        names = ", ".join("'AUTO" + ("+" + form if form else "") + "'" for form in forms)
        raise ValueError(
            f"resume must be None, False, True or one of {names}, with '+NEW_SPACE' behind it or not, got {resume!r}"
        )
    return replace(forms[rest], new_space=new_space)


def resolve_checkpoint_config(
    config: CheckpointConfig | Mapping[str, Any] | None,
    *,
    keep_checkpoints_num: int | None = None,
    checkpoint_score_attr: str | None = None,
    checkpoint_freq: int = 0,
    checkpoint_at_end: bool | None = None,
) -> CheckpointConfig:
    """The one CheckpointConfig that the new and the old way to ask for checkpoints add up to."""
    old = {
        "keep_checkpoints_num": keep_checkpoints_num,
        "checkpoint_score_attr": checkpoint_score_attr,
        "checkpoint_freq": checkpoint_freq,
        "checkpoint_at_end": checkpoint_at_end,
    }
    given = [name for name, value in old.items() if value]
    if config is not None:
        if given:
            raise ValueError(f"{given[0]} and checkpoint_config say the same thing twice: give one of them")
        if isinstance(config, CheckpointConfig):
            return config
        if isinstance(config, Mapping):
            return CheckpointConfig(**config)
        raise TypeError(
            f"checkpoint_config must be a CheckpointConfig, got {type(config).__name__}: {config!r}"
        )
    attribute, order = checkpoint_score_attr, "max"
    if attribute is not None and attribute.startswith("min-"):
        attribute, order = attribute.removeprefix("min-"), "min"
    return CheckpointConfig(keep_checkpoints_num, attribute, order, checkpoint_freq, checkpoint_at_end)


def resolve_log_to_file(value: object) -> tuple[str, str] | None:
    """The names of the two files that a trial's stdout and stderr also go to; None: to no file."""
    if value is None or value is False:
        return None
    if value is True:
        return "stdout", "stderr"
    if isinstance(value, str):
        return log_file(value), log_file(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        if len(value) == 2 and all(isinstance(name, str) for name in value):
            return log_file(value[0]), log_file(value[1])
        raise ValueError(
            f"log_to_file as a sequence must hold two file names (stdout, stderr), got {value!r}"
        )
    raise ValueError(f"log_to_file must be a bool, a file name or two file names, got {value!r}")


def log_file(name: str) -> str:
    """The name, if a file of it may be made in every trial's folder."""
    if not is_plain(name) or is_ours_in_trial(name):
        raise ValueError(
            "log_to_file must name a file of the trial's own folder, without '/' and none that fasttune writes there "
            f"itself (result.json, progress.csv, checkpoint_000000, ...), got {name!r}"
        )
    return name


def resolve_seconds(budget: float | timedelta | None, name: str = "time_budget_s") -> float | None:
    """A time budget in seconds."""
    if budget is None:
        return None
    seconds = budget.total_seconds() if isinstance(budget, timedelta) else budget
    return checked_number(name, seconds, above=0, rule="a positive number of seconds or a timedelta")


def resolve_num_samples(num_samples: object) -> int:
    """-1 (without end) or how many samples to draw."""
    # An integer of numpy says what it is through __index__, without an import of numpy here.
    if isinstance(num_samples, bool) or not hasattr(num_samples, "__index__"):
        raise TypeError(f"num_samples must be an integer, got {type(num_samples).__name__}: {shown(num_samples)}")
    if as_count(num_samples) == -1:
        return -1
    rule = f"at least 1, or -1 for no end, and at most {MOST_TRIALS}"
    return checked_count("num_samples", num_samples, least=1, most=MOST_TRIALS, rule=rule)


def check_config(config: object) -> dict[str, Any]:
    """The search space in dicts of its own, so that the caller's are never changed."""
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise ValueError(
            f"config must be a dict of names and values or domains, got {type(config).__name__}: "
            f"{config!r:.80}"
        )
    from fasttune.space.domains import refuse_equal_names

    refuse_equal_names(config)
    return _own_dicts(config)


def _own_dicts(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same values in dicts of our own, so that what the caller does to theirs later changes no run."""
    return {
        key: _own_dicts(value) if type(value) is dict else _no_leftover(key, value) for key, value in config.items()
    }


def _no_leftover(key: object, value: Any) -> Any:
    """The value, unless it is a domain's function that was not called, or a set that holds domains: no trial could use it."""
    if getattr(value, "__module__", "") == "fasttune.space.functions" and type(value).__name__ == "function":
        raise ValueError(f"config[{key!r}] is the function tune.{value.__name__} itself: call it, tune.{value.__name__}(...)")
    if isinstance(value, (set, frozenset)) and any(type(one).__module__ == "fasttune.space.domains" for one in value):
        raise ValueError(f"config[{key!r}] is a set of domains, which nobody samples: write a list, or tune.choice([...])")
    return value


def objectives_of(metric: object, mode: object) -> dict[str, Mode]:
    """What a run with several metrics was asked for: "min" or "max" for each; {} for one with a single metric, or none.

    Raises:
        TypeError: a name is no text.
        ValueError: fewer than two names, one twice, or not a mode for each.
    """
    if not isinstance(metric, (list, tuple)):
        if isinstance(mode, (list, tuple)):
            raise ValueError(f"mode={mode!r} is a list, and metric={metric!r} is none: give as many metrics")
        return {}
    for name in metric:
        if not isinstance(name, str):
            raise TypeError(f"metric must be a list of names of reported values, got the element {name!r}")
    if len(metric) < 2 or len(set(metric)) < len(metric):
        raise ValueError(f"metric must be one name, or a list of at least two different ones, got {metric!r}")
    modes = list(mode) if isinstance(mode, (list, tuple)) else [mode] * len(metric)
    if len(modes) != len(metric):
        raise ValueError(f"mode must be 'min' or 'max' for each of the metrics {list(metric)}, got {mode!r}")
    found: dict[str, Mode] = {}
    for name, one in zip(metric, modes, strict=True):
        known = as_mode(one)
        if known is None:
            raise no_mode(name)
        found[name] = known
    return found


def check_metric_mode(metric: object, mode: object) -> tuple[str | None, Mode | None]:
    """Metric and mode as the run steers by them; (None, None) where it has several, see :func:`objectives_of`. A mode alone is
    about ``_metric``, a returned number."""
    if objectives_of(metric, mode):
        return None, None
    if metric is not None and not isinstance(metric, str):
        raise TypeError(
            f"metric must be the name of a reported value, got {type(metric).__name__}: {metric!r}"
        )
    known = as_mode(mode)
    return ("_metric" if metric is None and known is not None else metric), known


def as_mode(mode: object) -> Mode | None:
    """The mode, if it is one. ValueError otherwise."""
    if mode is None:
        return None
    if mode in MODES:
        return "min" if mode == "min" else "max"
    raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")


_SMALLER = ("loss", "err", "cost", "mse", "mae", "rmse", "perplexity", "latency", "time", "regret")
_LARGER = ("acc", "auc", "f1", "reward", "score", "r2", "precision", "recall", "return", "bleu", "iou")


def no_mode(metric: object) -> ValueError:
    """What a metric without a mode is told: nobody but its user knows which way is better. A name may hint at it."""
    name = str(metric).lower()
    hint = next(
        (
            f" (a name like {metric!r} usually means mode={mode!r})"
            for mode, parts in (("min", _SMALLER), ("max", _LARGER))
            if any(part in name for part in parts)
        ),
        "",
    )
    return ValueError(
        f"metric={metric!r} was given without a mode: say mode='min' if smaller values are better, or mode='max' if "
        f"larger ones are{hint}"
    )


def check_max_t(max_t: object, scheduler: object) -> float:
    """The longest that a trial trains; it is said to the run only beside the name of a scheduler, or alone."""
    number = checked_number("max_t, the longest that a trial trains,", max_t, above=0, finite=True)
    if scheduler is not None and not isinstance(scheduler, str):
        kind = type(scheduler).__name__
        raise ValueError(
            f"max_t={number:g} was given to the run, whose scheduler is already made: say {kind}(max_t={number:g}), or leave max_t out"
        )
    return number


def check_max_concurrent(number: object) -> int | None:
    """How many trials may run at once; None: as many as fit."""
    if number is None:
        return None
    return checked_count("max_concurrent_trials", number, least=1, rule="None or at least 1")


def check_max_suspended(number: object) -> int:
    """How many paused trials may stay in memory; None: the default."""
    if number is None:
        return MAX_SUSPENDED
    return checked_count("max_suspended", number, rule="None or at least 0")


def check_durability(durability: object) -> str:
    """What a report that returned survives: the death of every process, or a power cut too."""
    if durability not in DURABILITIES:
        raise ValueError(
            "durability must be 'process' (a report survives the death of every process) or 'full' (a power cut too), "
            f"got {durability!r}"
        )
    return str(durability)


class Experiment:
    """One trainable with its search space and its limits, to be given to ``run`` or ``run_experiments``.

    Args:
        name: the experiment's name.
        run: a function, a Trainable class or a registered name.
        config: the search space. The rest means what the arguments of these names mean in ``run``.
    """

    def __init__(
        self,
        name: str | None,
        run: Callable[..., Any] | type | str,
        *,
        stop: Any = None,
        time_budget_s: float | timedelta | None = None,
        config: Mapping[str, Any] | None = None,
        resources_per_trial: Any = None,
        num_samples: int = 1,
        storage_path: str | os.PathLike[str] | None = None,
        storage_filesystem: object = None,
        sync_config: SyncConfig | None = None,
        checkpoint_config: CheckpointConfig | Mapping[str, Any] | None = None,
        trial_name_creator: Callable[[Trial], str] | None = None,
        trial_dirname_creator: Callable[[Trial], str] | None = None,
        log_to_file: bool | str | Sequence[str] = False,
        export_formats: Sequence[str] | None = None,
        max_failures: int = 0,
        restore: str | os.PathLike[str] | None = None,
        local_dir: str | os.PathLike[str] | None = None,
        keep_checkpoints_num: int | None = None,
        checkpoint_score_attr: str | None = None,
        checkpoint_freq: int = 0,
        checkpoint_at_end: bool | None = None,
        **unknown: Never,
    ) -> None:
        for wrong in unknown:
            from inspect import signature

            from fasttune.other_words import unexpected

            raise unexpected("Experiment", wrong, signature(type(self)).parameters)
        check_cluster_only(
            storage_filesystem=storage_filesystem, export_formats=export_formats, sync_config=sync_config
        )
        if run is None:
            raise TuneError("an Experiment needs something to run: a function, a Trainable class or a name")
        self.name = name
        self.run = run
        self.stop = stop
        self.time_budget_s = resolve_seconds(time_budget_s)
        self.config = check_config(config)
        self.has_config = config is not None  # else a run that goes on takes the one that was
        self.resources_per_trial = resources_per_trial
        self.num_samples = resolve_num_samples(num_samples)
        self.storage_path = one_storage_path(storage_path, local_dir)
        self.checkpoint_config = resolve_checkpoint_config(
            checkpoint_config,
            keep_checkpoints_num=keep_checkpoints_num,
            checkpoint_score_attr=checkpoint_score_attr,
            checkpoint_freq=checkpoint_freq,
            checkpoint_at_end=checkpoint_at_end,
        )
        self.trial_name_creator = trial_name_creator
        self.trial_dirname_creator = trial_dirname_creator
        self.log_to_file = resolve_log_to_file(log_to_file)
        self.max_failures = FailureConfig(max_failures=max_failures).max_failures
        self.restore = None if restore is None else absolute(restore, "restore")
        self.check_checkpointing(run)

    def check_checkpointing(self, trainable: object) -> None:
        """Refuses to save a function by count or at the end: it alone knows when its state is whole."""
        if isinstance(trainable, (str, type)) or _is_of_columns(trainable):
            return
        asked = self.checkpoint_config
        for name, value in (
            ("checkpoint_at_end", asked.checkpoint_at_end),
            ("checkpoint_frequency", asked.checkpoint_frequency),
        ):
            if value:
                raise ValueError(
                    f"{name}={value!r} works for Trainable classes only: a function saves with "
                    "tune.report(metrics, checkpoint=Checkpoint.from_directory(folder))"
                )

    @classmethod
    def from_json(cls, name: str, spec: Mapping[str, Any]) -> Experiment:
        """An experiment from a spec dict: the arguments of Experiment, with the trainable under "run"."""
        arguments = dict(spec)
        if "run" not in arguments:
            raise TuneError(
                f"the spec of experiment {name!r} names nothing to run: it has {sorted(arguments)}"
            )
        run = arguments.pop("run")
        if "env" in arguments:
            arguments["config"] = {**(arguments.get("config") or {}), "env": arguments.pop("env")}
        return cls(arguments.pop("name", name), run, **arguments)

    @property
    def public_spec(self) -> dict[str, Any]:
        """What callbacks and schedulers are told about the experiment."""
        return {"stop": self.stop, "num_samples": self.num_samples, "time_budget_s": self.time_budget_s}

    def __repr__(self) -> str:
        return f"Experiment({self.name!r}, {self.run!r}, num_samples={self.num_samples})"


def _is_of_columns(trainable: Any) -> bool:
    """Whether it evaluates many trials in one call: then its rows are saved, by their state."""
    while isinstance(trainable, partial):
        trainable = trainable.func
    return bool(getattr(trainable, "of_columns", False))


def one_storage_path(
    storage_path: str | os.PathLike[str] | None, local_dir: str | os.PathLike[str] | None
) -> str | None:
    """The folder that experiments go into, from its new and its old name; None: the default one."""
    if storage_path is not None and local_dir is not None and os.fspath(storage_path) != os.fspath(local_dir):
        raise ValueError(
            f"storage_path={os.fspath(storage_path)!r} and local_dir={os.fspath(local_dir)!r} are two names "
            "for one thing: give one of them"
        )
    given = storage_path if storage_path is not None else local_dir
    if given is None:
        return None
    path = os.fspath(given)
    if path.startswith("file://"):
        path = path.removeprefix("file://")
    if "://" in path:
        raise ValueError(f"storage_path must be a folder of this machine, got {path!r}: nothing is uploaded")
    path = os.path.expandvars(path)
    if path.startswith("$"):
        raise ValueError(f"storage_path begins with an environment variable that is not set: {path!r}")
    return absolute(path, "storage_path")


class ClusterOnly(TypedDict, total=False):
    """Arguments of ``run`` that mean something on a cluster only. They are taken, so that programs run unchanged, as
    long as they ask for nothing."""

    storage_filesystem: object
    sync_config: SyncConfig | None
    export_formats: Sequence[str] | None
    chdir_to_trial_dir: bool | None
    server_port: int | None
    trial_executor: object
    loggers: object
    _remote: bool | None


def check_cluster_only(**arguments: object) -> None:
    """Refuses arguments that mean something on a cluster only, unless they ask for nothing."""
    for name, value in arguments.items():
        if not value or (name == "sync_config" and isinstance(value, SyncConfig)):
            continue
        raise ValueError(
            f"{name}={value!r:.80} has no meaning on one machine: {_WHY.get(name, 'leave it out')}"
        )


_WHY = {
    "storage_filesystem": "experiments are stored in a local folder, see storage_path",
    "sync_config": "nothing is copied elsewhere; a SyncConfig is accepted and has no effect",
    "export_formats": "save a checkpoint and export the model from there",
    "server_port": "there is no server; look at the experiment with the fasttune command",
    "trial_executor": "choose with executor='process', 'thread', 'inline', 'async', 'vector' or 'ray'",
    "loggers": "give callbacks=[CSVLoggerCallback(), ...] instead",
    "chdir_to_trial_dir": "trials keep the working directory; write to tune.get_context().get_trial_dir()",
    "_remote": "the run happens in this process and its workers",
}


@dataclass(eq=False, repr=False)
class TrainableSpec:
    """One experiment of a run, resolved: what runs, on what, over which space and how often."""

    name: str
    trainable: Callable[..., Any] | type
    resources: PlacementGroupFactory | Callable[[dict[str, Any]], PlacementGroupFactory]
    space: dict[str, Any]
    num_samples: int
    experiment: str


@dataclass(eq=False, repr=False)  # nobody compares or prints one, and each method is compiled at every start
class RunSpec:
    """All that the machine needs to know to carry a run out: every name resolved, every value checked."""

    name: str
    path: str
    trainables: list[TrainableSpec]
    metric: str | None
    mode: str | None
    searcher: Searcher | SearchAlgorithm | None
    scheduler: TrialScheduler
    stop: StopRules
    scope: Scope = DEFAULT_SCOPE
    constraints: Constraints = field(default_factory=Constraints)
    objectives: dict[str, Mode] = field(default_factory=dict)  # of a run with several metrics; {} with one
    near: list[dict[str, Any]] = field(default_factory=list)  # configs that earlier experiments found good, the best first
    taught: str | None = None  # where results come from that the searcher was told of before the first trial
    on_duplicate: str = "allow"
    time_budget_s: float | None = None
    failure: FailureConfig = field(default_factory=FailureConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    max_concurrent: int | None = None
    max_suspended: int = MAX_SUSPENDED
    trial_timeout_s: float | None = None
    worker_max_trials: int | None = None
    worker_max_memory: int | None = None  # bytes
    pins_workers: bool = False  # to the CPUs of their trials
    measure_usage: bool = False
    durability: str = DURABILITIES[0]
    trust: bool = False  # go on in a folder whose files belong to somebody else
    executor: str = "process"
    gpus: list[int | str] | None = None
    gpu_policy: str = "pack"  # which GPUs a trial gets, see devices.gpu_choice
    resources: dict[str, float] = field(default_factory=dict)  # kinds of the run's own, and how much there is
    user_attrs: dict[str, Any] = field(default_factory=dict)
    asked_name: str = ""  # of the experiment; its folder may have a number behind it
    beside: str = ""  # that name, where somebody gave it, did not ask to go on, and one was there already
    machine: Machine | None = None  # what there is, if somebody has looked already
    callbacks: list[Callback] = field(default_factory=list)
    progress_reporter: ProgressReporter | None = None
    verbose: int = 1
    seed: int = 0
    resume: ResumeConfig | None = None
    metas: list[dict[str, Any]] = field(default_factory=list)  # what the journal says of its sessions, read under the lock
    awaited: AwaitedRun | None = None  # by whom, if the run is awaited
    lock: ExperimentLock | None = None  # of the folder, taken when it was decided what it holds
    restore: str | None = None
    reuse_actors: bool = False
    log_to_file: tuple[str, str] | None = None
    strict_metric: bool = True  # a report without the metric fails its trial
    trial_name_creator: Callable[[Trial], str] | None = None
    trial_dirname_creator: Callable[[Trial], str] | None = None
    raise_on_failed_trial: bool = True
    public_spec: dict[str, Any] = field(default_factory=dict)
    how_to_go_on: str = ""  # the call that does, for people
    in_words: Callable[[str], str] = str  # what is printed, in the words of the door: a command line has no arguments
