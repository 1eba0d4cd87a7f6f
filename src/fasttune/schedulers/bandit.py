"""The time-varying Gaussian process bandit of PB2: which parameters to try next.

Parker-Holder et al. 2020, sections 4.1 and 4.2; the kernel is that of Bogunovic, Scarlett, Cevher: Time-Varying
Gaussian Process Bandit Optimization, AISTATS 2016: a squared exponential times (1 - eps) ** (|t - t'| / 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fasttune.extras import one_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SHORTEST, STEP = 200, 100  # windows of the last 200, 300, ... observations are compared
FITTED = 200  # observations that the kernel's parameters are fitted to
RESTARTS, CANDIDATES = 10, 200
FARTHEST = 1e6  # ranges of the scores seen: from there on nothing is known, however far it is
START = (0.0, 0.0, -2.197, -3.0)  # log variance 1, log length 1, logit of eps 0.1, log noise
LIMITS = ((-5.0, 5.0), (-5.0, 3.0), (-8.0, 2.0), (-8.0, 1.0))


def next_point(
    changes: Sequence[tuple[float, ...]],
    bounds: Sequence[tuple[float, float]],
    chosen: Sequence[tuple[float, ...]],
    now: float,
    score: float,
    interval: float,
    seed: int,
) -> tuple[float, ...]:
    """The point within ``bounds`` that maximises mean + sqrt(beta) * deviation at time ``now`` and score ``score``.

    ``changes`` are (time, score before, *point, change per time), oldest first, at least two. The deviation is taken
    after the points that were ``chosen`` already this round, so that they are not chosen again; it does not depend on
    how they will turn out. Times count in ``interval``. Equal arguments give equal points.
    """
    import numpy as np

    rows = np.asarray(changes, dtype=np.float64)
    low, high = np.asarray(bounds, dtype=np.float64).T
    width = np.where(high > low, high - low, 1.0)
    spread = max(float(np.ptp(rows[:, 1])), 1e-12)
    t = rows[:, 0] / interval
    x = np.column_stack([(rows[:, 1] - rows[:, 1].min()) / spread, (rows[:, 2:-1] - low) / width])
    y = (rows[:, -1] - rows[:, -1].mean()) / max(float(rows[:, -1].std()), 1e-12)
    here = float(np.clip((score - rows[:, 1].min()) / spread, -FARTHEST, FARTHEST))
    pending = [np.r_[here, (np.asarray(point) - low) / width] for point in chosen]
    with one_thread():
        process = Process(t, x, y)
        unit = process.best(now / interval, here, pending, len(bounds), np.random.default_rng(seed))
    return tuple(float(value) for value in np.clip(low + unit * width, low, high))


class Process:
    """A Gaussian process over (time, x), with parameters fitted to its newest observations."""

    def __init__(self, t: Array, x: Array, y: Array) -> None:
        self.parameters = fit(t[-FITTED:], x[-FITTED:], y[-FITTED:])
        n = best_window(self.parameters, t, x, y)
        self.t, self.x, self.y = t[-n:], x[-n:], y[-n:]

    def best(self, now: float, here: float, pending: Sequence[Array], dimensions: int, rng: Any) -> Array:
        """The point in the unit cube with the highest upper confidence bound."""
        import numpy as np
        from scipy.optimize import minimize

        bound = self._upper_bound(now, here, pending)
        candidates = rng.random((CANDIDATES, dimensions))
        starts = candidates[np.argsort(-bound(candidates), kind="stable")[:RESTARTS]]
        found = [
            minimize(lambda u: -bound(u[None])[0], start, bounds=[(0.0, 1.0)] * dimensions, options={"maxiter": 200})
            for start in starts
        ]
        best: Array = min(found, key=lambda one: float(one.fun)).x
        return best

    def _upper_bound(self, now: float, here: float, pending: Sequence[Array]) -> Any:
        import numpy as np
        from scipy.linalg import cho_factor, cho_solve, solve_triangular

        n = len(self.y)
        t = np.r_[self.t, np.full(len(pending), now)]
        x = np.vstack([self.x, *pending]) if pending else self.x
        covariance = kernel(self.parameters, t, x, t, x)
        covariance[np.diag_indices_from(covariance)] += noise(self.parameters)
        weights = cho_solve(cho_factor(covariance[:n, :n], lower=True), self.y)
        factor = np.linalg.cholesky(covariance)
        variance = float(np.exp(self.parameters[0]))
        beta = 0.2 + max(0.0, float(np.log(0.4 * n)))

        def bound(points: Array) -> Array:
            at = np.column_stack([np.full(len(points), here), points])
            between = kernel(self.parameters, np.full(len(points), now), at, t, x)
            left = solve_triangular(factor, between.T, lower=True)
            deviation = np.sqrt(np.maximum(variance - (left**2).sum(axis=0), 1e-12))
            found: Array = between[:, :n] @ weights + np.sqrt(beta) * deviation
            return found

        return bound


def kernel(parameters: Sequence[float], t: Array, x: Array, t2: Array, x2: Array) -> Array:
    return covariances(parameters, *distances(t, x, t2, x2))


def distances(t: Array, x: Array, t2: Array, x2: Array) -> tuple[Array, Array]:
    """Squared ones of the points, and those of their times."""
    import numpy as np
    from scipy.spatial.distance import cdist

    return cdist(x, x2, "sqeuclidean"), np.abs(t[:, None] - t2[None, :])


def covariances(parameters: Sequence[float], squared: Array, apart: Array) -> Array:
    """The kernel at these distances."""
    import numpy as np

    log_variance, log_length, logit_eps, _ = parameters
    remembered = 1.0 - 1.0 / (1.0 + np.exp(-logit_eps))
    found: Array = np.exp(log_variance - squared / np.exp(log_length) + apart * (np.log(remembered) / 2))
    return found


def noise(parameters: Sequence[float]) -> float:
    import numpy as np

    return float(np.exp(parameters[3])) + 1e-6


def unlikelihood(parameters: Sequence[float], squared: Array, apart: Array, y: Array) -> float:
    """Negative log marginal likelihood per observation. Rasmussen, Williams: Gaussian Processes for Machine Learning,
    equation 2.30."""
    return _factored(parameters, covariances(parameters, squared, apart), y)[0]


def _factored(parameters: Sequence[float], signal: Array, y: Array) -> tuple[float, Array | None, Array]:
    """The same, the Cholesky factor (None: there is none) and the weights of the observations."""
    import numpy as np
    from scipy.linalg import lapack

    n = len(y)
    factor, failed = lapack.dpotrf(signal + noise(parameters) * np.eye(n), lower=1)
    if failed:
        return 1e6, None, y
    weights, _ = lapack.dpotrs(factor, y, lower=1)
    return float(0.5 * y @ weights + np.log(np.diag(factor)).sum()) / n + 0.5 * float(np.log(2 * np.pi)), factor, weights


def slope(parameters: Sequence[float], squared: Array, apart: Array, y: Array) -> tuple[float, Array]:
    """:func:`unlikelihood` and its derivatives by the parameters (equation 5.9 there)."""
    import numpy as np
    from scipy.linalg import lapack

    signal = covariances(parameters, squared, apart)
    value, factor, weights = _factored(parameters, signal, y)
    if factor is None:
        return value, np.zeros(4)
    inverse, _ = lapack.dpotri(factor, lower=1)
    # of the symmetric inverse only the lower half was computed: the strict half counts twice
    pull = 2.0 * np.tril(inverse, -1) + np.diag(np.diag(inverse)) - np.outer(weights, weights)
    pulled = pull * signal
    slopes = [
        pulled.sum(),
        (pulled * squared).sum() / np.exp(parameters[1]),
        (pulled * apart).sum() / -2.0 / (1.0 + np.exp(-parameters[2])),
        np.trace(pull) * np.exp(parameters[3]),
    ]
    return value, 0.5 * np.asarray(slopes) / len(y)


def fit(t: Array, x: Array, y: Array) -> tuple[float, ...]:
    """Logarithms of variance and length, logit of eps, logarithm of the noise: the likeliest ones."""
    from scipy.optimize import minimize

    given = *distances(t, x, t, x), y
    found = minimize(slope, START, args=given, jac=True, bounds=LIMITS, options={"maxiter": 50})
    return tuple(float(value) for value in found.x)


def best_window(parameters: Sequence[float], t: Array, x: Array, y: Array) -> int:
    """How many of the newest observations to use: the number under which they are likeliest, one by one."""
    n = len(y)
    sizes = [*range(SHORTEST, n, STEP), n] if n > SHORTEST else [n]
    if len(sizes) == 1:
        return n
    squared, apart = distances(t, x, t, x)
    return min(
        sizes, key=lambda size: unlikelihood(parameters, squared[-size:, -size:], apart[-size:, -size:], y[-size:])
    )
