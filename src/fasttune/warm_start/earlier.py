"""Earlier experiments, of which only the order of their trials counts: ``tune.run(..., warm_start_from=[...])``.

Values of another data set, or of another model, mean something else here, and spaces are seldom the same. So of each experiment the
configs of its best trials are taken, and whatever of them lies in the new space is thought to be good (``space/near_prior.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasttune.constraints import Constraints, constraint_violation, score
from fasttune.result import flatten
from fasttune.space.dimensions import CATEGORICAL
from fasttune.warm_start.experiment import from_experiment
from fasttune.warm_start.known import DONE, KnownTrial, WarmStart

if TYPE_CHECKING:
    from fasttune.search.base import SearchAlgorithm, Searcher
    from fasttune.space.dimensions import Dimensions

SHARE = 0.1  # of an experiment's trials that are taken for good
MOST = 10  # of them


def good_configs(given: Any, goals: Mapping[str, str], constraints: Constraints | None = None) -> list[dict[str, Any]]:
    """The configs (flat names) of the best trials of earlier experiments: the best of each, then the second of each, and so on.

    Args:
        given: an experiment (its analysis or its folder) or a WarmStart, or a list of those.
        goals: "min" or "max" for each metric of the run.
        constraints: what the run asks of results: a trial that would have broken them is none of the best.

    Raises:
        TypeError: it is none of these.
        ValueError: the run has no metric, or none of an experiment's trials has a value of each.
    """
    several = list(given) if isinstance(given, (list, tuple)) else [given]
    if not goals:
        raise ValueError(
            "warm_start_from takes the best trials of earlier experiments, and the run has no metric and mode that say which"
        )
    held = Constraints() if constraints is None else constraints
    ranked = [_best_of(_as_known(one).held_against(held), goals) for one in several]
    return [flat[rank] for rank in range(max(map(len, ranked), default=0)) for flat in ranked if rank < len(flat)]


def _as_known(given: Any) -> WarmStart:
    if isinstance(given, WarmStart):
        return given
    try:
        return from_experiment(given)
    except TypeError:
        raise TypeError(
            "warm_start_from must be a list of experiments (analyses or folders) or WarmStarts, "
            f"got {type(given).__name__}: {given!r:.80}"
        ) from None


def _best_of(known: WarmStart, goals: Mapping[str, str]) -> list[dict[str, Any]]:
    import numpy as np

    from fasttune.search.motpe import first_fronts

    for metric, mode in goals.items():
        if known.modes.get(metric, mode) != mode:
            raise ValueError(
                f"warm_start_from: {known.source} was run with mode {known.modes[metric]!r} of {metric!r}, and this run has mode "
                f"{mode!r}: what was good there is bad here"
            )
    done = [trial for trial in known if trial.outcome == DONE]
    valued = [trial for trial in done if all(math.isfinite(trial.metrics.get(name, math.nan)) for name in goals)]
    if not valued:
        raise ValueError(
            f"warm_start_from: no finished trial of {known.source} has a value of {' and '.join(map(repr, goals))}; its metrics are "
            f"{', '.join(map(repr, known.metrics[:10])) or 'none'}"
        )
    holding = [trial for trial in valued if not constraint_violation(trial.metrics) > 0]
    usable = holding or valued  # where all break their constraints, those that break them least
    losses = np.array([_losses(trial, goals) for trial in usable])
    n = min(MOST, math.ceil(SHARE * len(usable)))
    return [flatten(dict(usable[row].config)) for row in first_fronts(losses, n).tolist()]


def _losses(trial: KnownTrial, goals: Mapping[str, str]) -> list[float]:
    """What a trial is ranked by, to be minimised: scores, if it breaks a constraint."""
    violation = constraint_violation(trial.metrics)
    values = ((trial.metrics[name], mode) for name, mode in goals.items())
    return [score(-value if mode == "max" else value, violation, "min") for value, mode in values]


def begin_near(searcher: Searcher | SearchAlgorithm, configs: Sequence[Mapping[str, Any]], strict: bool = True) -> None:
    """Have a searcher begin near these configs.

    Args:
        strict: they were given for this space; else for an earlier one of the same experiment.

    Raises:
        TypeError: it does not know its space.
        ValueError: none of them says anything of the space.
    """
    from fasttune.search.space_searcher import SpaceSearcher

    inner: Any = searcher
    while hasattr(inner, "searcher"):
        inner = inner.searcher
    if not isinstance(inner, SpaceSearcher) or inner.dimensions is None:
        raise TypeError(
            f'warm_start_from is for searchers that know their space, and {type(inner).__name__} does not: search_alg="tpe" or '
            "another (docs/search.md)"
        )
    if not inner.begin_near(configs) and strict:
        why = _why_none(configs, inner.dimensions)
        raise ValueError(f"warm_start_from: none of the earlier configs says anything of this space: {why}")


def _why_none(configs: Sequence[Mapping[str, Any]], dimensions: Dimensions) -> str:
    """Other names, or values that are none of these here; with what helps."""
    for one in dimensions:
        values = [config[one.name] for config in configs if one.name in config]
        if values:
            lies = f"from {one.low:g} to {one.high:g}" if one.kind != CATEGORICAL else f"one of {list(one.options)[:10]!r:.300}"
            return (
                f"{one.name!r} is {lies} here, and the best of them has {values[0]!r:.80}. Usual cause: another unit or scale, or "
                "other options: give WarmStart trials with the values that they would have here"
            )
    there = sorted({name for config in configs for name in config})
    return (
        f"they have {', '.join(there[:10])}, and it has {', '.join(one.name for one in dimensions)[:300]}. Usual cause: parameters "
        "have other names there, from_experiment(..., rename={'their name': 'name here'})"
    )
