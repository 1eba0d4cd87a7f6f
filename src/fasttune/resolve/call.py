"""What a door was asked about a run as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fasttune.config import ResumeConfig

if TYPE_CHECKING:
    from datetime import timedelta

    from fasttune.callback import Callback
    from fasttune.executors.event_loops import AwaitedRun
    from fasttune.reporter.base import ProgressReporter
    from fasttune.schedulers.base import TrialScheduler
    from fasttune.scope import Scope
    from fasttune.search.base import SearchAlgorithm, Searcher

DEFAULT_VERBOSE = 1


@dataclass(eq=False, repr=False)
class Call:
    """How a run is steered: the arguments of ``run`` that are not about one experiment."""

    name: str | None = None
    storage_path: str | None = None
    metric: str | Sequence[str] | None = None
    mode: str | Sequence[str] | None = None
    scope: Scope | None = None
    constraints: Any = None
    search_alg: Searcher | SearchAlgorithm | str | None = None
    warm_start: Any = None
    warm_start_from: Any = None
    scheduler: TrialScheduler | str | None = None
    max_t: float | None = None
    on_duplicate: str = "allow"
    max_concurrent: int | None = None
    max_suspended: int | None = None
    trial_timeout_s: float | timedelta | None = None
    worker_max_trials: int | None = None
    worker_max_memory: int | str | None = None
    cpu_affinity: str | None = None
    measure_usage: bool = False
    durability: str = "process"
    trust: bool = False
    fail_fast: Any = False
    resume: object = None
    resume_config: ResumeConfig | None = None
    restored_path: str | None = None
    reuse_actors: bool = False
    callbacks: list[Callback] = field(default_factory=list)
    progress_reporter: ProgressReporter | None = None
    verbose: int | None = None
    executor: str | None = None
    gpus: list[int | str] | None = None
    gpu_policy: str = "pack"
    resources: Mapping[str, float] | None = None
    user_attrs: Mapping[str, Any] | None = None
    seed: int | None = None
    raise_on_failed_trial: bool = True
    awaited: AwaitedRun | None = None  # by whom, if the run is awaited
    door: str = "run"  # what the user has called
    in_words: Callable[[str], str] = str  # what is printed, as users of this door say it
