"""An Optuna study as a warm start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.warm_start.known import VALUE, KnownTrial, WarmStart

OUTCOME: dict[str, Any] = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}


def from_optuna(
    study: Any, *, metric: str | Sequence[str] | None = None, rename: Mapping[str, str | None] | None = None
) -> WarmStart:
    """The finished trials of a study (``optuna.load_study(...)``). A pruned one counts with its last intermediate value.

    Args:
        study: the study; only its ``trials`` and ``directions`` are looked at.
        metric: what the run calls the study's value, or a name for each of its objectives. None: the study's own names; one
            that has none is taken to be about the run's metric.
        rename: other names for parameters, e.g. ``{"learning_rate": "optimizer/lr"}``; None leaves one out.

    Raises:
        TypeError: it is no study.
        ValueError: ``metric`` has another number of names than the study has objectives.
    """
    if not hasattr(study, "trials") or not hasattr(study, "directions"):
        raise TypeError(
            f"from_optuna takes an Optuna study, got {type(study).__name__}: {study!r:.80}. Of a storage, "
            'optuna.load_study(study_name="...", storage="sqlite:///study.db")'
        )
    directions = [direction.name for direction in study.directions]
    names, unnamed = _names(study, metric, len(directions))
    modes = {name: "max" if way == "MAXIMIZE" else "min" for name, way in zip(names, directions, strict=True)}
    trials = [
        KnownTrial(trial.params, dict(zip(names, _values(trial), strict=False)), OUTCOME[trial.state.name])
        for trial in study.trials
        if trial.state.name in OUTCOME
    ]
    start = WarmStart(trials, f"the Optuna study {getattr(study, 'study_name', '')!r}", modes, unnamed)
    return start.renamed(rename) if rename else start


def _names(study: Any, metric: str | Sequence[str] | None, count: int) -> tuple[list[str], bool]:
    """(a name for each objective, whether nobody has named them)."""
    given = [metric] if isinstance(metric, str) else list(metric or getattr(study, "metric_names", None) or ())
    if given and len(given) != count:
        raise ValueError(f"metric must name each of the {count} objectives of the study, got {given}")
    if given:
        return given, False
    return [VALUE] if count == 1 else [f"{VALUE}_{k}" for k in range(count)], True


def _values(trial: Any) -> list[float]:
    """The values of a trial: of one without, its last intermediate value."""
    if trial.values is not None:
        return list(trial.values)
    reported: Mapping[int, float] = trial.intermediate_values
    return [reported[max(reported)]] if reported and trial.state.name != "FAIL" else []
