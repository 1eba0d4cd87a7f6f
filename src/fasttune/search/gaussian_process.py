"""A Gaussian process over the unit cube, and how much better a point is expected to be than the best.

Matern 5/2 kernel with a length for each group of columns (Snoek, Larochelle, Adams 2012, Practical Bayesian Optimization,
section 3), fitted to the maximum of the posterior: lengths have the prior of Hvarfner, Hellsten, Nardi 2024, Vanilla
Bayesian Optimization Performs Great in High Dimensions, equation 3. Log expected improvement and its stable form: Ament et
al. 2023, Unexpected Improvements to Expected Improvement, section 4.1.

The gradient needs no array of n x n x dimensions: with a weight for each pair, the sum of weighted squared differences in
one column is two products of matrices. What is kept of the covariances is the inverse of their Cholesky factor: it costs once what
a solution does, and whatever is asked then is a product.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, special
from scipy.linalg import lapack

Array = NDArray[np.float64]

ROOT5 = math.sqrt(5.0)
NOISE = (-14.0, 0.0)  # bounds of the logarithm of the noise's variance; values are standardised
SIGNAL = (-3.0, 3.0)
LENGTH = (-4.0, 5.0)
NOISE_PRIOR = (-8.0, 2.0)  # mean and deviation of the logarithm
SIGNAL_PRIOR = (0.0, 1.0)
LENGTH_PRIOR = (0.2, 1.0)  # median in one dimension, and deviation of the logarithm
LARGE = 30.0  # deviations, from where the normal distribution is 1
ROOT_HALF_PI = math.sqrt(math.pi / 2)
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
FIRST_STEP, WIDEST_STEP = 0.05, 0.25  # of a climb, in widths of the cube
JITTERS = (0.0, 1e-8, 1e-6, 1e-4, 1e-2)


class Posterior:
    """What is known after n points: ``mean = k @ alpha``. Points may be added, for n^2 each.

    Args:
        x: the points, n x columns.
        scale: 1 / length of each column. signal, noise: variances of the function and of what is told of it.
    """

    def __init__(self, x: Array, scale: Array, signal: float, noise: float) -> None:
        self.x, self.scale, self.signal, self.noise = x, scale, signal, noise
        self._scaled = x * scale
        self.root = inverse_factor(matern(self._scaled, self._scaled, signal)[0], noise)
        self.alpha: Array = np.zeros(len(x))
        self._told = self.alpha

    def with_points(self, points: Array) -> Posterior:
        """The same with further points; values are to be told anew."""
        out = Posterior.__new__(Posterior)
        out.scale, out.signal, out.noise = self.scale, self.signal, self.noise
        out.x, out.root, out._scaled = self.x, self.root, self._scaled
        for point in points:
            out._add(point)
        return out

    def _add(self, point: Array) -> None:
        """One more row of the inverse factor: the factor's new row is ``root @ k``, and its inverse follows from it."""
        n = len(self.x)
        scaled = point * self.scale
        k, _ = matern(self._scaled, scaled[None, :], self.signal)
        row = self.root @ k[:, 0]
        left = max(self.signal + self.noise - float(row @ row), 1e-10)
        root = np.zeros((n + 1, n + 1))
        root[:n, :n] = self.root
        root[n, :n] = (row @ self.root) * (-1.0 / math.sqrt(left))
        root[n, n] = 1.0 / math.sqrt(left)
        self.root = root
        self.x = np.vstack([self.x, point])
        self._scaled = np.vstack([self._scaled, scaled])

    def tell(self, y: Array) -> None:
        """The standardised values of all points."""
        self.alpha = (self.root @ y) @ self.root
        self._told = y

    def mean(self, points: Array) -> Array:
        """What is expected at points."""
        k, _ = matern(self._scaled, points * self.scale, self.signal)
        out: Array = self.alpha @ k
        return out

    def least_mean(self) -> float:
        """The least of the means at its own points: what was told, without the part that is taken for noise."""
        return float(np.min(self._told - self.noise * self.alpha))

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at points (without noise)."""
        k, _ = matern(self._scaled, points * self.scale, self.signal)
        left = self.root @ k
        variance = self.signal - np.einsum("ij,ij->j", left, left)
        return self.alpha @ k, np.sqrt(np.maximum(variance, 1e-12))

    def log_improvement(self, points: Array, best: float) -> Array:
        """Log expected improvement below ``best``."""
        mean, deviation = self.predict(points)
        out: Array = log_h((best - mean) / deviation)[0] + np.log(deviation)
        return out

    def log_improvement_and_slope(self, points: Array, best: float) -> tuple[Array, Array]:
        """Log expected improvement at m points, and its gradient, m x columns."""
        scaled = points * self.scale
        k, slope = matern(self._scaled, scaled, self.signal)
        left = self.root @ k
        solved = left.T @ self.root
        variance = np.maximum(self.signal - np.einsum("ij,ij->j", left, left), 1e-12)
        deviation = np.sqrt(variance)
        z = (best - self.alpha @ k) / deviation
        value, ratio = log_h(z)
        # d k_i / d point = -slope_i * (point - x_i) * scale^2; its sum over i with weights needs no third axis
        weights = slope.T * ((ratio / deviation)[:, None] * self.alpha + ((1.0 - z * ratio) / variance)[:, None] * solved)
        pull = weights.sum(axis=1)[:, None] * scaled - weights @ self._scaled
        return value + np.log(deviation), pull * self.scale


def matern(a: Array, b: Array, signal: float) -> tuple[Array, Array]:
    """Covariances of scaled points, and minus their derivative by half the squared distance."""
    r = a @ b.T
    r *= -2.0
    r += np.einsum("ij,ij->i", a, a)[:, None]
    r += np.einsum("ij,ij->i", b, b)
    np.maximum(r, 0.0, out=r)
    np.sqrt(r, out=r)
    r *= ROOT5
    decay = np.exp(-r)
    decay *= signal
    slope = decay * (5.0 / 3.0)
    r += 1.0
    slope *= r
    # 1 + r + r^2 / 3 of the distance itself, which is one less by now
    r *= r + 1.0
    r += 1.0
    r *= decay
    r *= 1.0 / 3.0
    return r, slope


def log_h(z: Array) -> tuple[Array, Array]:
    """log(phi(z) + z Phi(z)), also where both are far below the least float; and its slope, Phi / (phi + z Phi)."""
    inner = np.minimum(z, LARGE)
    q = ROOT_HALF_PI * special.erfcx(inner * -math.sqrt(0.5))  # Phi / phi
    rest = inner * q
    rest += 1.0
    if z.min() < -1e4:  # the difference is lost; it tends to 1 / z^2, and the slope to -z
        rest = np.where(z < -1e4, 1.0 / (z * z), np.maximum(rest, 1e-300))
    value = np.log(rest) - 0.5 * inner * inner - HALF_LOG_2PI
    slope = q / rest
    if z.max() > LARGE:  # there it is z itself
        value, slope = np.where(z > LARGE, np.log(np.maximum(z, 1.0)), value), np.where(z > LARGE, 1.0 / z, slope)
    return value, slope


def climb(
    function: Callable[[Array], tuple[Array, Array]], starts: Array, steps: int, close: float = 0.0
) -> tuple[Array, Array]:
    """Uphill in the unit cube from m starts at once, each by its own quasi-Newton steps (BFGS: Nocedal and Wright 2006, section
    6.1), cut to the cube: the points come to, and their values.

    Args:
        function: values at m points, and their gradients, m x columns.
        steps: how often it is asked, at most.
        close: it is over when no step gains as much.
    """
    points = starts.copy()
    value, slope = function(points)
    m, d = points.shape
    inverse = np.zeros((m, d, d))
    length = np.sqrt(np.einsum("ij,ij->i", slope, slope)) + 1e-300
    inverse[:, range(d), range(d)] = (FIRST_STEP / length)[:, None]
    share = np.ones(m)
    for _ in range(steps - 1):
        blocked = ((points <= 0.0) & (slope < 0.0)) | ((points >= 1.0) & (slope > 0.0))
        pull = np.where(blocked, 0.0, slope)
        ahead = np.einsum("ijk,ik->ij", inverse, pull)
        ahead[blocked] = 0.0
        widest = np.abs(ahead).max(axis=1)
        ahead *= (share * np.minimum(1.0, WIDEST_STEP / (widest + 1e-300)))[:, None]
        tried = np.clip(points + ahead, 0.0, 1.0)
        new_value, new_slope = function(tried)
        better = new_value > value
        share = np.where(better, 1.0, 0.25 * share)
        step, bend = tried - points, slope - new_slope
        product = np.einsum("ij,ij->i", step, bend)
        learnt = better & (product > 1e-12 * np.einsum("ij,ij->i", step, step))
        if learnt.any():
            inverse[learnt] = updated(inverse[learnt], step[learnt], bend[learnt], product[learnt])
        gained = np.max(new_value - value)
        points[better], value[better], slope[better] = tried[better], new_value[better], new_slope[better]
        if 0.0 < gained < close or share.max() < 1e-2:
            break
    return points, value


def updated(inverse: Array, step: Array, bend: Array, product: Array) -> Array:
    """Inverses of second derivatives after steps along which slopes changed by ``bend``."""
    turned = np.einsum("ijk,ik->ij", inverse, bend)
    along = step / product[:, None]
    both = turned[:, :, None] * along[:, None, :]
    stretch = (1.0 + np.einsum("ij,ij->i", bend, turned) / product) / product
    out: Array = inverse - both - both.transpose(0, 2, 1) + stretch[:, None, None] * (step[:, :, None] * step[:, None, :])
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
        self._means = np.array([self.length_prior[0]] * self.count + [SIGNAL_PRIOR[0], NOISE_PRIOR[0]])
        self._deviations = np.array([self.length_prior[1]] * self.count + [SIGNAL_PRIOR[1], NOISE_PRIOR[1]])
        self._last: Posterior | None = None

    def posterior(self, x: Array, y: Array) -> Posterior:
        """Of points and standardised values under the hyperparameters as they are. What was computed for the first of the points is
        taken from the last time, if they are the same."""
        known = self._last
        if known is None or len(known.x) > len(x) or not np.array_equal(known.x, x[: len(known.x)]):
            scale = np.exp(-self.theta[: self.count])[self.groups]
            signal, noise = np.exp(self.theta[self.count :]).tolist()
            known = Posterior(x, scale, signal, noise)
        elif len(known.x) < len(x):
            known = known.with_points(x[len(known.x) :])
        self._last = known
        known.tell(y)
        return known

    def learn(self, x: Array, y: Array, steps: int) -> float:
        """Go on from the hyperparameters as they are, for at most that many steps of L-BFGS. Minus the log density."""
        bounds = [LENGTH] * self.count + [SIGNAL, NOISE]
        found = optimize.minimize(
            self._cost, self.theta, (x, y), "L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": steps, "ftol": 1e-6}
        )
        if np.all(np.isfinite(found.x)):
            self.theta = found.x
        self._last = None
        return float(found.fun)

    def _cost(self, theta: Array, x: Array, y: Array) -> tuple[float, Array]:
        """Minus the log posterior density, and its gradient."""
        scale = np.exp(-theta[: self.count])[self.groups]
        signal, noise = np.exp(theta[self.count :])
        z = x * scale
        k, slope = matern(z, z, signal)
        root = inverse_factor(k, noise)
        alpha = (root @ y) @ root
        weight = np.outer(alpha, alpha) - root.T @ root  # d log density / d K = half of it
        slope *= weight
        by_column = slope.sum(axis=1) @ (z * z) - np.einsum("ij,ij->j", z, slope @ z)
        gradient = np.empty_like(theta)
        gradient[: self.count] = np.bincount(self.groups, by_column, self.count)
        gradient[self.count] = 0.5 * np.vdot(weight, k)
        gradient[self.count + 1] = 0.5 * noise * np.trace(weight)
        value = -0.5 * y @ alpha + np.sum(np.log(np.diag(root)))
        off = (theta - self._means) / self._deviations
        return float(0.5 * off @ off - value), off / self._deviations - gradient


def inverse_factor(k: Array, noise: float) -> Array:
    """The inverse of the Cholesky factor of ``k`` with noise on its diagonal, with as much more as it takes. With it means and
    variances of many points are products of matrices, and a point is added for n^2."""
    n = len(k)
    for jitter in JITTERS:
        noisy = k.copy(order="F")
        noisy.ravel(order="K")[:: n + 1] += noise + jitter
        factor, failed = lapack.dpotrf(noisy, lower=1, clean=1, overwrite_a=1)
        if failed:
            continue
        inverse, failed = lapack.dtrtri(factor, lower=1, overwrite_c=1)
        if not failed:
            root: Array = inverse
            return root
    raise linalg.LinAlgError("covariances that are not finite")
