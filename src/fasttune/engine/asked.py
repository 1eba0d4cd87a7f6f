"""What a run is asked, as its journal is told: in its first record, and in that of a later session that is asked otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasttune.constraints import described_constraints
from fasttune.engine.meta import FORMAT
from fasttune.identity import arguments_of, described
from fasttune.result import flatten
from fasttune.schedulers.base import TrialScheduler
from fasttune.search.base import Searcher
from fasttune.space.as_json import to_json_value
from fasttune.stopper import parts_of
from fasttune.trainable import saves_when_told

if TYPE_CHECKING:
    from fasttune.config import RunSpec
    from fasttune.stopper import Stopper

NOT_COMPARED = frozenset(["self", "metric", "mode", "max_concurrent"])  # said by the run, or free to change
SEEDS = frozenset(["seed", "random_state", "random_state_seed"])  # of searchers: what comes next may be drawn otherwise
KEPT = ("num_to_keep", "checkpoint_score_attribute", "checkpoint_score_order", "scope")  # of a CheckpointConfig
LIMITS = ("time_budget_s", "trial_timeout_s")  # of a run, and of each trial
AS_THE_RUN_SAYS = ("ConcurrencyLimiter",)  # how many at once, not which
RANDOM = "BasicVariantGenerator"


def make_meta(spec: RunSpec, prefix: str, now: float, hostname: str, variants: list[Any]) -> dict[str, Any]:
    """What a journal says about its experiment, first of all."""
    return {
        "format": FORMAT,
        "name": spec.name,
        "asked_name": spec.asked_name or spec.name,
        "created": now,
        "prefix": prefix,
        "metric": spec.metric,
        "mode": spec.mode,
        "seed": spec.seed,
        "hostname": hostname,
        "pid": os.getpid(),
        "scheduler": type(spec.scheduler).__name__,
        "searcher": type(spec.searcher).__name__ if spec.searcher is not None else "BasicVariantGenerator",
        "max_failures": spec.failure.max_failures,
        "stop": spec.stop.thresholds,
        "options": options_of(spec),
        "trainables": [
            {
                "name": one.name,
                "experiment": one.experiment,
                "num_samples": one.num_samples,
                "is_class": isinstance(one.trainable, type),
                "saves": saves_when_told(one.trainable),
                "space": sorted(map(str, flatten(one.space))),
                "resources": None if callable(one.resources) else one.resources.__reduce__()[1],
            }
            for one in spec.trainables
        ],
        "variants": [one.meta() for one in variants],
        "asked": asked_of(spec),
    }


def options_of(spec: RunSpec) -> dict[str, Any]:
    """What was asked that trials show."""
    return {
        "checkpoint_freq": spec.checkpoint.checkpoint_frequency,
        "checkpoint_at_end": bool(spec.checkpoint.checkpoint_at_end),
        "restore_path": spec.restore,
        "log_to_file": spec.log_to_file,
        "kept": {name: getattr(spec.checkpoint, name) for name in KEPT},
    }


def session_record(spec: RunSpec, new_space: bool, variants: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the journal says of a session that was asked something else; with a new space that from here on trials are
    those of ``variants``, or of the searcher in its new space."""
    told: dict[str, Any] = {"session": True, "asked": asked_of(spec), "new_space": new_space}
    return {**told, "variants": list(variants)} if new_space else told


def asked_of(spec: RunSpec) -> dict[str, Any]:
    """What the journal says of what a run was asked, so that a later one can be compared with it."""
    return {
        "metric": spec.metric,
        "mode": spec.mode,
        "objectives": spec.objectives,
        "scope": spec.scope,
        "constraints": described_constraints(spec.constraints),
        "on_duplicate": spec.on_duplicate,
        "scheduler": settings_of(spec.scheduler),
        "searcher": settings_of(_searcher_of(spec)),
        "stop": described(spec.stop.thresholds),
        "stoppers": [stopper_form(one) for one in parts_of(spec.stop.stopper) if not getattr(one, "is_budget", False)],
        "limits": {name: getattr(spec, name) for name in LIMITS},
        "max_failures": spec.failure.max_failures,
        "user_attrs": spec.user_attrs,
        "warm_start_from": [to_json_value(one)[0] for one in spec.near],
        "warm_start": spec.taught,
        "resources": spec.resources,
        "trainables": [
            {
                "name": one.name,
                "is_class": isinstance(one.trainable, type),
                "num_samples": one.num_samples,
                "space": described(one.space),
                "resources": None if callable(one.resources) else list(one.resources.__reduce__()[1]),
            }
            for one in spec.trainables
        ],
    }


def _searcher_of(spec: RunSpec) -> Any:
    """The searcher that says which configs there are, without those around it that say when."""
    searcher: Any = spec.searcher
    while type(searcher).__name__ in AS_THE_RUN_SAYS:
        searcher = searcher.searcher
    return searcher


def settings_of(one: Any) -> dict[str, Any]:
    """Kind and arguments of a scheduler or a searcher, defaults among them."""
    if one is None:
        return {"kind": RANDOM, "settings": {"points_to_evaluate": [], "constant_grid_search": False}}
    given = _arguments(one)
    passed_over = NOT_COMPARED | SEEDS if isinstance(one, Searcher) else NOT_COMPARED
    kept = {name: value for name, value in given.items() if name not in passed_over and not name.startswith("_")}
    return {"kind": type(one).__name__, "settings": {name: _setting(value) for name, value in kept.items()}}


def stopper_form(one: Stopper) -> dict[str, Any]:
    """Kind and arguments of a stopper, without what it was not given."""
    import inspect

    given = arguments_of(one)
    defaults: dict[str, Any] = {"args": ()}  # of a class without an __init__
    defaults |= {name: known.default for name, known in inspect.signature(type(one).__init__).parameters.items() if name != "args"}
    kept = {name: _setting(value) for name, value in given.items() if value is not defaults.get(name, inspect.Parameter.empty)}
    return {"kind": type(one).__name__, "settings": kept}


def _arguments(one: Any) -> dict[str, Any]:
    if isinstance(one, TrialScheduler | Searcher):
        return arguments_of(one)
    return dict(getattr(one, "_made_with", ((), {}))[1])


def _setting(value: Any) -> Any:
    if isinstance(value, TrialScheduler | Searcher):
        return settings_of(value)
    form = described(value)
    if isinstance(form, dict) and form.get("~") == "object":  # a library's own: its state is not a setting
        form.pop("parts", None)
        if not _is_ours(value):
            form.pop("text", None)
    return form


def _is_ours(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "fasttune"
