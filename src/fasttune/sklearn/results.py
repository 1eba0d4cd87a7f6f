"""From the reports of a run to scikit-learn's ``cv_results_``."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_OF_SPLIT = re.compile(r"split(\d+)_(test|train)_(.+)")


class Evaluated(NamedTuple):
    """A candidate, what its trial has reported last under each name, and the trial's number."""

    params: dict[str, Any]
    values: Mapping[str, Any]
    iterations: int
    number: int


def cv_results(
    candidates: Sequence[Evaluated],
    n_splits: int,
    *,
    mode: str,
    error_score: float,
    train_scores: bool,
    iterative: bool,
    expected: Sequence[str] = (),
) -> dict[str, Any]:
    """The columns of ``cv_results_``, a row for each candidate: times in seconds, scores by split, mean, standard deviation and
    rank, and ``training_iteration``: folds that were scored, or steps of training.

    A candidate that was stopped between folds has NaN for those that it lacks, and the mean of those that it has. Ranks put
    it behind all that were stopped later: folds differ, and few of them say little. ``mode``: "max" or "min" has rank 1.
    ``expected``: names of scores that have their columns whatever the fits gave.
    """
    results: dict[str, Any] = {}
    for what in ("fit_time", "score_time"):
        times = _by_split(candidates, n_splits, f"split{{}}_{what}", np.nan)
        results[f"mean_{what}"], results[f"std_{what}"] = _moments(times)
    results |= param_columns([one.params for one in candidates])
    results["params"] = [one.params for one in candidates]
    failed = np.array([[f"split{k}_fit_error" in one.values for k in range(n_splits)] for one in candidates])
    names = _score_names(candidates, expected)
    reached = np.array([0 if iterative else one.iterations for one in candidates])
    known = _known(candidates, n_splits)
    for name in names:
        for what in ("test", "train") if train_scores else ("test",):
            scores = _by_split(candidates, n_splits, f"split{{}}_{what}_{name}", np.nan)
            scores[failed & np.isnan(scores)] = error_score
            _store(results, f"{what}_{name}", scores, known)
            if what == "test":
                results[f"rank_test_{name}"] = ranks(results[f"mean_test_{name}"], reached, mode)
    results["training_iteration"] = np.array([one.iterations for one in candidates], dtype=np.int64)
    return results


def ranks(means: Floats, reached: NDArray[np.int64], mode: str) -> NDArray[np.int32]:
    """1 for the best; equals share the smaller rank; more folds come before a better score, and NaN (a failed fit) behind all."""
    reached = np.where(np.isnan(means), 0, reached)
    losses = means if mode == "min" else -means
    losses = np.where(np.isnan(losses), np.inf, losses)
    places = np.lexsort((losses, -reached))
    found = np.empty(len(means), dtype=np.int32)
    before: tuple[int, float] | None = None
    rank = 0
    for n, i in enumerate(places):
        key = (int(reached[i]), float(losses[i]))
        if key != before:
            rank, before = n + 1, key
        found[i] = rank
    return found


def param_columns(params: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``param_C`` and so on: masked where a candidate lacks the parameter; numbers and bools keep their kind, all else are
    objects."""
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for one in params for name in one):
        there = [(k, one[name]) for k, one in enumerate(params) if name in one]
        values = np.empty(len(params), dtype=_kind_of([value for _, value in there]))
        lacking = np.ones(len(params), dtype=bool)
        for k, value in there:
            values[k], lacking[k] = value, False
        columns[f"param_{name}"] = np.ma.MaskedArray(values, mask=lacking)
    return columns


def _kind_of(values: list[Any]) -> np.dtype[Any]:
    """What numpy makes of these values if they are numbers; object if they are texts, arrays or anything else."""
    if all(isinstance(value, (bool, int, float)) for value in values):
        kind = np.array(values).dtype
        if kind.kind in "bif":
            return kind
    return np.dtype(object)


def _score_names(candidates: Sequence[Evaluated], expected: Sequence[str]) -> list[str]:
    """The expected ones, also one that no fit has a number for, and those that were found."""
    found = (_OF_SPLIT.fullmatch(key) for one in candidates for key in one.values)
    return list(dict.fromkeys([*expected, *(match.group(3) for match in found if match is not None)])) or ["score"]


def _known(candidates: Sequence[Evaluated], n_splits: int) -> NDArray[np.bool_]:
    """Which folds were scored, well or not."""
    return np.array([[f"split{k}_fit_time" in one.values for k in range(n_splits)] for one in candidates])


def _by_split(candidates: Sequence[Evaluated], n_splits: int, name: str, otherwise: float) -> Floats:
    return np.array([[one.values.get(name.format(k), otherwise) for k in range(n_splits)] for one in candidates], dtype=np.float64)


def _store(results: dict[str, Any], key: str, scores: Floats, known: NDArray[np.bool_]) -> None:
    for k in range(scores.shape[1]):
        results[f"split{k}_{key}"] = scores[:, k]
    means, deviations = _moments(scores, known)
    if not np.isfinite(means).all():
        what = key.split("_")[0]
        warnings.warn(f"One or more of the {what} scores are non-finite: {means}", UserWarning, stacklevel=5)
    results[f"mean_{key}"], results[f"std_{key}"] = means, deviations


def _moments(values: Floats, known: NDArray[np.bool_] | None = None) -> tuple[Floats, Floats]:
    """Mean and standard deviation over the splits that are known; NaN is known too, and spreads."""
    if known is None:
        known = ~np.isnan(values)
    count = known.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(known, values, 0.0).sum(axis=1) / count
        deviations = np.sqrt(np.where(known, (values - means[:, None]) ** 2, 0.0).sum(axis=1) / count)
    return means, deviations
