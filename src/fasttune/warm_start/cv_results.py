"""scikit-learn's ``cv_results_`` as a warm start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fasttune.warm_start.known import KnownTrial, WarmStart

TEST = "mean_test_"
RESOURCES = "n_resources"  # of HalvingGridSearchCV and HalvingRandomSearchCV: how much a candidate was given


def from_cv_results(
    cv_results: Mapping[str, Any], *, metric: str | None = None, rename: Mapping[str, str | None] | None = None
) -> WarmStart:
    """The candidates of ``GridSearchCV``, ``RandomizedSearchCV`` and their like, with their mean scores on the test folds.

    The metrics are called as the scorers ("score" of a search with one); scikit-learn's scores are to be maximized. Of a
    halving search a candidate counts once, with its score at the most resources that it was given; one that was left behind
    is "pruned". A candidate whose score is NaN has failed.

    Args:
        cv_results: ``search.cv_results_``, or a data frame of it.
        metric: what the run calls the only score.
        rename: other names for parameters, e.g. ``{"clf__C": "C"}``; None leaves one out.

    Raises:
        ValueError: it has no ``params`` or no ``mean_test_...``.
    """
    columns = {str(name): list(cv_results[name]) for name in cv_results if name in ("params", RESOURCES) or TEST in str(name)}
    scores = {name.removeprefix(TEST): values for name, values in columns.items() if name.startswith(TEST)}
    if "params" not in columns or not scores:
        raise ValueError(
            "from_cv_results takes the cv_results_ of a fitted search, with 'params' and 'mean_test_score', got "
            f"{', '.join(map(str, cv_results)) or 'nothing'}"
        )
    if metric is not None and len(scores) != 1:
        raise ValueError(f"metric={metric!r} names the score of a search with one scorer, and this one has {', '.join(scores)}")
    unnamed = metric is None and list(scores) == ["score"]
    if metric is not None:
        scores = {metric: next(iter(scores.values()))}
    found: dict[Any, tuple[float, KnownTrial]] = {}
    given = columns.get(RESOURCES) or [0] * len(columns["params"])
    for place, params in enumerate(columns["params"]):
        told = {name: float(values[place]) for name, values in scores.items()}
        failed = any(map(math.isnan, told.values()))
        config = {key: plain(value) for key, value in params.items()}
        trial = KnownTrial(config, {}, "failed") if failed else KnownTrial(config, told)
        key = repr(sorted(params.items(), key=lambda pair: pair[0])) if RESOURCES in columns else place
        if key not in found or given[place] >= found[key][0]:
            found[key] = float(given[place]), trial
    most = max((resources for resources, _ in found.values()), default=0.0)
    trials = [
        KnownTrial(trial.config, trial.metrics, "pruned") if resources < most and trial.outcome == "done" else trial
        for resources, trial in found.values()
    ]
    start = WarmStart(trials, "the search's cv_results_", dict.fromkeys(scores, "max"), unnamed)
    return start.renamed(rename) if rename else start


def plain(value: Any) -> Any:
    """A value of numpy as Python's own."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
