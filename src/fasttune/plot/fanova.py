"""fANOVA: the share of a random forest's variance over the space that each parameter explains alone.

Hutter, Hoos, Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014. The forest is
scikit-learn's; the variances are computed exactly, from the boxes that the leaves of a tree cut the space into.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttune.extras import optional

Floats = NDArray[np.float64]

TREES = 64
MOST_TRIALS = 5000  # that the forest is fitted to: more cost minutes and change little


def variance_shares(units: Floats, losses: Floats, seed: int = 0) -> Floats:
    """For each column of ``units`` (trials x parameters, 0 to 1) the share of the variance that it explains alone.

    All zeros if the forest sees no difference between trials. ImportError says what to install.
    """
    ensemble = optional("sklearn.ensemble", "importance", "method='fanova'")
    if len(losses) > MOST_TRIALS:
        kept = np.random.default_rng(seed).choice(len(losses), MOST_TRIALS, replace=False)
        units, losses = units[kept], losses[kept]
    forest = ensemble.RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.7, random_state=seed, n_jobs=1)
    forest.fit(units, losses)
    shares = [share for tree in forest.estimators_ if (share := _of_tree(tree.tree_, units.shape[1])) is not None]
    return np.mean(shares, axis=0) if shares else np.zeros(units.shape[1])


def _of_tree(tree: Any, n: int) -> Floats | None:
    """The shares in one tree; None if it is a stump without any variance."""
    low, high, value = _leaves(tree, n)
    widths = high - low
    volume = widths.prod(axis=1)
    mean = float(volume @ value)
    total = float(volume @ (value - mean) ** 2)
    if total <= 0:
        return None
    shares = np.empty(n)
    for d in range(n):
        cuts = np.unique(np.concatenate([low[:, d], high[:, d]]))
        # the mean over all other parameters, along this one: each leaf adds its value from its lower to its upper cut
        weight = value * np.delete(widths, d, axis=1).prod(axis=1)
        change = np.zeros(len(cuts))
        np.add.at(change, np.searchsorted(cuts, low[:, d]), weight)
        np.add.at(change, np.searchsorted(cuts, high[:, d]), -weight)
        along = np.cumsum(change)[:-1]
        shares[d] = float(np.diff(cuts) @ (along - mean) ** 2) / total
    return shares


def _leaves(tree: Any, n: int) -> tuple[Floats, Floats, Floats]:
    """(lower corners, upper corners, values) of the leaves; each is a box in the unit cube."""
    low, high, value = [], [], []
    todo = [(0, np.zeros(n), np.ones(n))]
    while todo:
        node, a, b = todo.pop()
        left = int(tree.children_left[node])
        if left < 0:
            low.append(a)
            high.append(b)
            value.append(float(tree.value[node].ravel()[0]))
            continue
        d, cut = int(tree.feature[node]), float(np.clip(tree.threshold[node], 0.0, 1.0))
        below, above = b.copy(), a.copy()
        below[d], above[d] = min(cut, b[d]), max(cut, a[d])
        todo += [(left, a, below), (int(tree.children_right[node]), above, b)]
    return np.array(low), np.array(high), np.array(value)
