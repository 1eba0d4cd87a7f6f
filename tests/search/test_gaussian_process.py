"""The Gaussian process: what it computes in products of an inverse factor is what the formulas say."""

from __future__ import annotations

import math
import pickle
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from fasttune.search.gaussian_process import Fit, Posterior, climb, log_h, matern

ROOT5 = math.sqrt(5.0)


def slow_kernel(a: Any, b: Any, signal: float) -> float:
    r = ROOT5 * math.dist(a, b)
    return signal * (1.0 + r + r * r / 3.0) * math.exp(-r)


def made(n: int, d: int, seed: int = 1) -> tuple[Posterior, Any, Any]:
    draw = np.random.default_rng(seed)
    x = draw.random((n, d))
    y = np.sin(5 * x).sum(axis=1)
    y = (y - y.mean()) / y.std()
    posterior = Posterior(x, 1.0 / draw.uniform(0.3, 1.0, d), 1.3, 1e-3)
    posterior.tell(y)
    return posterior, x, y


def test_covariances_are_those_of_a_slow_twin() -> None:
    draw = np.random.default_rng(2)
    a, b = draw.random((7, 3)), draw.random((5, 3))
    k, slope = matern(a, b, 0.7)
    assert k == pytest.approx(np.array([[slow_kernel(p, q, 0.7) for q in b] for p in a]))
    half = 0.5e-6
    for i in range(7):
        for j in range(5):
            far = math.dist(a[i], b[j]) ** 2 / 2
            above, below = math.sqrt(2 * (far + half)), math.sqrt(2 * (far - half))
            change = slow_kernel([above], [0.0], 0.7) - slow_kernel([below], [0.0], 0.7)
            assert slope[i, j] == pytest.approx(-change / (2 * half), rel=1e-4)


def test_means_and_deviations_are_those_of_the_textbook() -> None:
    posterior, x, y = made(20, 3)
    points = np.random.default_rng(3).random((6, 3))
    k = matern(x * posterior.scale, x * posterior.scale, posterior.signal)[0] + posterior.noise * np.eye(20)
    across = matern(x * posterior.scale, points * posterior.scale, posterior.signal)[0]
    mean, deviation = posterior.predict(points)
    assert mean == pytest.approx(across.T @ np.linalg.solve(k, y))
    assert posterior.mean(points) == pytest.approx(mean)
    assert posterior.least_mean() == pytest.approx(posterior.mean(x).min())
    assert deviation**2 == pytest.approx(posterior.signal - np.sum(across * np.linalg.solve(k, across), axis=0))


def test_points_that_are_added_make_the_posterior_of_all_points() -> None:
    posterior, x, y = made(20, 3)
    more = np.random.default_rng(4).random((9, 3))
    values = np.linspace(-1, 1, 9)
    grown = posterior.with_points(more)
    grown.tell(np.concatenate([y, values]))
    fresh = Posterior(np.vstack([x, more]), posterior.scale, posterior.signal, posterior.noise)
    fresh.tell(np.concatenate([y, values]))
    assert grown.root == pytest.approx(fresh.root, abs=1e-8)
    points = np.random.default_rng(5).random((4, 3))
    assert grown.predict(points)[0] == pytest.approx(fresh.predict(points)[0])
    assert len(posterior.x) == 20  # the first one is as it was


def test_the_same_point_twice_is_no_matter() -> None:
    posterior, x, y = made(12, 2)
    grown = posterior.with_points(np.repeat(x[:1], 5, axis=0))
    grown.tell(np.concatenate([y, [y[0]] * 5]))
    assert np.all(np.isfinite(grown.predict(x)[0]))


@pytest.mark.parametrize("z", [-40.0, -12.0, -3.0, -1.0, -0.2, 0.0, 0.5, 4.0, 29.0, 31.0, 200.0])
def test_log_expected_improvement_is_that_of_its_integral(z: float) -> None:
    value, slope = log_h(np.array([z]))
    # h is the integral of (z + t) phi(t) over t > -z, taken by many trapezoids from its log at the lower end
    t = np.linspace(0.0, max(60.0, z + 12.0), 2_000_001)
    exponent = -0.5 * (t - z) ** 2
    top = exponent.max()
    integral = np.trapezoid(t * np.exp(exponent - top), t)
    assert value[0] == pytest.approx(math.log(integral) + top - 0.5 * math.log(2 * math.pi), abs=1e-5)
    step = 1e-4
    near = log_h(np.array([z - step, z + step]))[0]
    assert slope[0] == pytest.approx((near[1] - near[0]) / (2 * step), rel=1e-4)


def test_log_expected_improvement_where_nothing_is_expected() -> None:
    value, slope = log_h(np.array([-1e5, -1e8]))
    assert value[0] == pytest.approx(-0.5e10 - 2 * math.log(1e5), rel=1e-9)
    assert np.all(np.isfinite(value))
    assert slope == pytest.approx(np.array([1e5, 1e8]), rel=1e-3)
    assert NormalDist().cdf(0.0) / log_slope_base() == pytest.approx(log_h(np.array([0.0]))[1][0])


def log_slope_base() -> float:
    """phi(0): h where nothing is gained on average."""
    return 1.0 / math.sqrt(2 * math.pi)


def test_gradients_of_log_improvement_are_those_of_differences() -> None:
    posterior, _, y = made(30, 4)
    points = np.random.default_rng(6).random((5, 4))
    best = float(y.min())
    value, slope = posterior.log_improvement_and_slope(points, best)
    assert value == pytest.approx(posterior.log_improvement(points, best))
    for i in range(5):
        for j in range(4):
            near = np.repeat(points[i : i + 1], 2, axis=0)
            near[:, j] += (-1e-6, 1e-6)
            low, high = posterior.log_improvement(near, best)
            assert slope[i, j] == pytest.approx((high - low) / 2e-6, rel=1e-3, abs=1e-4)


def test_gradients_of_the_evidence_are_those_of_differences() -> None:
    _, x, y = made(25, 3)
    fit = Fit(np.array([0.0, 0.0, 1.0]))
    theta = np.array([-0.5, 0.3, 0.2, -4.0])
    _, slope = fit._cost(theta, x, y)
    for k in range(4):
        step = np.zeros(4)
        step[k] = 1e-5
        change = fit._cost(theta + step, x, y)[0] - fit._cost(theta - step, x, y)[0]
        assert slope[k] == pytest.approx(change / 2e-5, rel=1e-4, abs=1e-5)


def test_a_fit_takes_up_what_it_computed_for_the_first_points() -> None:
    _, x, y = made(25, 3)
    fit = Fit(np.array([0.0, 1.0, 2.0]))
    fit.learn(x[:20], y[:20], 10)
    first = fit.posterior(x[:20], y[:20])
    grown = fit.posterior(x, y)
    assert len(first.x) == 20
    fresh = Fit(np.array([0.0, 1.0, 2.0]))
    fresh.theta = fit.theta
    points = np.random.default_rng(7).random((4, 3))
    assert grown.predict(points)[1] == pytest.approx(fresh.posterior(x, y).predict(points)[1], rel=1e-5)
    copy = pickle.loads(pickle.dumps(fit))
    assert copy.posterior(x, y).mean(points) == pytest.approx(grown.mean(points))
    other = fit.posterior(x[5:], y[5:])  # other points: from scratch
    assert len(other.x) == 20


@pytest.mark.parametrize("d", [1, 3, 8])
def test_a_climb_comes_to_the_top_inside_and_at_the_edge(d: int) -> None:
    draw = np.random.default_rng(d)
    turn = np.linalg.qr(draw.standard_normal((d, d)))[0]
    curve = turn @ np.diag(10.0 ** np.linspace(0, 2, d)) @ turn.T
    inside, outside = np.full(d, 0.4), np.full(d, 1.5)

    def hill(points: Any) -> tuple[Any, Any]:
        off = points - inside
        return -0.5 * np.einsum("ij,jk,ik->i", off, curve, off), -off @ curve

    points, value = climb(hill, draw.random((5, d)), 60)
    assert value.max() > -1e-4
    assert np.all((points >= 0.0) & (points <= 1.0))

    def slope(points: Any) -> tuple[Any, Any]:
        return -np.sum((points - outside) ** 2, axis=1), -2 * (points - outside)

    points, _ = climb(slope, draw.random((5, d)), 40)
    assert points == pytest.approx(np.ones((5, d)), abs=1e-6)


def test_a_climb_never_goes_down() -> None:
    draw = np.random.default_rng(9)

    def rough(points: Any) -> tuple[Any, Any]:
        return np.sin(40 * points).sum(axis=1), 40 * np.cos(40 * points)

    starts = draw.random((6, 3))
    assert np.all(climb(rough, starts, 15)[1] >= rough(starts)[0])
