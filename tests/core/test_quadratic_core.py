"""The compiled quadratic model: its suggestions are those of a slow twin, and come closer the better it knows the function."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from fasttune._draws import Quadratic

Loss = Callable[[Any], float]


def made(n_dims: int, seed: int = 1, **more: float) -> Quadratic:
    """One that always has its turn, and does not move its suggestions."""
    return Quadratic(n_dims, seed, **{"least": 1.0, "jitter": 0.0, **more})


def bowl(n_dims: int, seed: int) -> tuple[Loss, Any]:
    """A rotated bowl, and where its least value is."""
    draw = np.random.default_rng(seed)
    turn = np.linalg.qr(draw.standard_normal((n_dims, n_dims)))[0]
    curve = turn @ np.diag(10.0 ** draw.uniform(-1, 1, n_dims)) @ turn.T
    centre = draw.uniform(0.35, 0.65, n_dims)
    return lambda x: float((np.asarray(x) - centre) @ curve @ (np.asarray(x) - centre)), centre


def told(model: Quadratic, loss: Loss, points: Any, pattern: int = 0) -> None:
    for point in points:
        model.tell(list(point), loss(point), pattern)


def twin(points: Any, losses: Any, ridge: float, share: float, radius: float) -> Any:
    """The first suggestion, from coefficients: least squares with a price on each, and a search of the box."""
    best = int(np.argmin(losses))
    m = points.shape[1]
    far = np.sum((points - points[best]) ** 2, axis=1)
    near = np.argsort(far, kind="stable")[: int(share * 0.5 * (m + 1) * (m + 2))]
    n = len(near)
    scale = math.sqrt(far[near].sum() / (n * m))
    z = (points[near] - points[best]) / scale
    t = losses[near] - losses[best]
    weights = 1.0 - 0.95 * np.argsort(np.argsort(losses[near], kind="stable")) / n
    pairs = [(i, k) for i in range(m) for k in range(i, m)]
    terms = np.column_stack([z[:, i] * z[:, k] * (0.5 if i == k else 1.0) for i, k in pairs])
    columns = np.hstack([np.full((n, 1), math.sqrt(1e3)), 10.0 * z, terms])
    # a second derivative of one dimension counts half as much as a mixed one, which stands for two
    price = np.array([1.0] * (m + 1) + [0.5 if i == k else 1.0 for i, k in pairs])
    left = (columns.T * weights) @ columns + ridge * n * np.diag(price)
    found = np.linalg.solve(left, (columns.T * weights) @ (t / t.std()))
    slope, curve = 10.0 * found[1 : m + 1], np.zeros((m, m))
    for value, (i, k) in zip(found[m + 1 :], pairs, strict=True):
        curve[i, k] = curve[k, i] = value
    bounds = list(
        zip(np.maximum(-radius, -points[best]) / scale, np.minimum(radius, 1.0 - points[best]) / scale, strict=True)
    )
    answer = optimize.minimize(
        lambda p: slope @ p + 0.5 * p @ curve @ p, np.zeros(m), jac=lambda p: slope + curve @ p, bounds=bounds,
        method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10},
    )
    return points[best] + answer.x * scale


@pytest.mark.parametrize("seed", range(12))
def test_a_suggestion_is_that_of_a_slow_twin(seed: int) -> None:
    draw = np.random.default_rng(seed)
    m, n = int(draw.integers(1, 5)), int(draw.integers(25, 60))
    loss, _ = bowl(m, seed)
    points = draw.random((n, m))
    ridge, share, radius = 1e-3, float(draw.uniform(1.2, 2.5)), float(draw.uniform(0.05, 0.5))
    model = made(m, ridge=ridge, share=share, radius=radius)
    told(model, loss, points)
    found = model.ask(0)
    assert found is not None
    wanted = twin(points, np.array([loss(point) for point in points]), ridge, share, radius)
    assert found[1] == pytest.approx(wanted.tolist(), abs=1e-4)


@pytest.mark.parametrize("n_dims", [1, 2, 5, 10])
def test_it_finds_the_least_value_of_a_bowl(n_dims: int) -> None:
    """With fewer results than coefficients, too: what is not known yet is left as it was, so what is learnt adds up."""
    loss, centre = bowl(n_dims, n_dims)
    draw = np.random.default_rng(3)
    model = Quadratic(n_dims, 2, least=1.0, jitter=0.05)
    told(model, loss, draw.random((n_dims + 5, n_dims)))
    best = math.inf
    for number in range(6 * n_dims + 10):
        if (found := model.ask(number)) is not None:  # None: it is there
            best = min(best, loss(found[1]))
            model.tell(found[1], loss(found[1]), found[0], True)
        told(model, loss, np.clip(centre + 0.3 * draw.standard_normal((2, n_dims)), 0, 1))
    assert best < 1e-5


def test_it_stays_in_the_cube_and_in_its_box() -> None:
    model = made(3, radius=0.1)
    draw = random.Random(5)
    points = [[draw.random() for _ in range(3)] for _ in range(40)]
    told(model, sum, points)  # least in a corner
    best = min(points, key=sum)
    found = model.ask(0)
    assert found is not None
    for unit, start in zip(found[1], best, strict=True):
        assert unit is not None
        assert unit == pytest.approx(max(start - 0.1, 0.0), abs=1e-9)


def test_only_results_of_the_same_pattern_count() -> None:
    """The best result has options and dimensions of its own; the others may have another optimum."""
    draw = np.random.default_rng(4)
    alone, both = made(2), made(2)
    points = draw.random((20, 1))
    for model in (alone, both):
        for x in points[:, 0].tolist():
            model.tell([x, None], (x - 0.4) ** 2, 7)
    for x, y in draw.random((30, 2)).tolist():
        both.tell([x, y], 3.0 + (x - 0.9) ** 2 + y, 8)
    assert alone.ask(1) == both.ask(1)
    found = both.ask(2)
    assert found is None  # one is out
    both.miss()
    found = both.ask(2)
    assert found is not None
    assert found[0] == 7
    assert found[1][1] is None


def test_its_turns_follow_from_how_often_it_was_right() -> None:
    model = Quadratic(2, 3, least=0.1, span=0.8)
    told(model, bowl(2, 1)[0], np.random.default_rng(1).random((30, 2)))

    def turns() -> int:
        taken = 0
        for number in range(400):
            if model.ask(number) is not None:
                taken += 1
                model.miss(out=False) if model.score > 0.01 else model.miss()
        return taken

    assert model.score == 0.5
    assert turns() < 0.2 * 400
    assert model.score < 0.05


def test_its_box_follows_from_what_came_of_suggestions() -> None:
    model = made(2, radius=0.01)
    loss, _ = bowl(2, 6)
    told(model, loss, np.random.default_rng(1).random((30, 2)))
    found = model.ask(0)
    assert found is not None
    model.tell(found[1], loss(found[1]), found[0], True)  # as expected
    assert model.radius == pytest.approx(0.02)
    found = model.ask(1)
    assert found is not None
    model.tell(found[1], loss(found[1]) + 100.0, found[0], True)
    assert model.radius <= 0.01


def test_nothing_is_suggested_where_nothing_is_known() -> None:
    model = made(3)
    assert model.ask(0) is None
    told(model, lambda x: 1.0, np.random.default_rng(1).random((30, 3)))
    assert model.ask(0) is None  # all alike
    one_place = made(3)
    told(one_place, lambda x: 1.0, [[0.5, 0.5, 0.5]] * 30)
    one_place.tell([0.5, 0.5, 0.5], 0.0, 0)
    assert one_place.ask(0) is None
    many = made(50)
    told(many, sum, np.random.default_rng(1).random((100, 50)))
    assert many.ask(0) is None


def test_it_keeps_the_better_results() -> None:
    model = made(2)
    loss, centre = bowl(2, 3)
    draw = np.random.default_rng(2)
    told(model, loss, draw.random((5000, 2)))
    assert 512 <= model.n <= 1024
    found = model.ask(0)
    assert found is not None
    assert found[1] == pytest.approx(centre.tolist(), abs=1e-3)
    alike = made(2)
    told(alike, lambda x: 0.0, draw.random((3000, 2)))
    assert alike.n <= 1024


@pytest.mark.parametrize("size", [1e-300, 1e300, 0.0])
def test_losses_of_any_size(size: float) -> None:
    model = Quadratic(3, 1, least=1.0)
    draw = np.random.default_rng(8)
    for number in range(60):
        point = draw.random(3).tolist()
        model.tell(point, size * draw.standard_normal(), 0)
        found = model.ask(number)
        if found is not None:
            assert all(one is not None and 0.0 <= one <= 1.0 for one in found[1])
            model.miss()


def test_a_pickle_goes_on_with_the_same_suggestions() -> None:
    loss, _ = bowl(4, 2)
    model = Quadratic(4, 5)
    draw = np.random.default_rng(6)
    for number in range(80):
        point = draw.random(4).tolist()
        model.tell(point, loss(point), number % 2)
        copy = pickle.loads(pickle.dumps(model))
        found = model.ask(number)
        assert copy.ask(number) == found
        assert (copy.out, copy.radius, copy.score, copy.n) == (model.out, model.radius, model.score, model.n)
        if found is not None:
            model.tell(found[1], loss(found[1]), found[0], True)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="n_dims must be >= 1, got 0"):
        Quadratic(0, 1)
    with pytest.raises(ValueError, match="seed must be"):
        Quadratic(1, -1)
    model = made(2)
    with pytest.raises(ValueError, match="2 units, got 1"):
        model.tell([0.5], 1.0, 0)
    with pytest.raises(ValueError, match="loss must be finite, got nan"):
        model.tell([0.5, 0.5], math.nan, 0)
    with pytest.raises(TypeError):
        model.tell([0.5, "a"], 1.0, 0)  # type: ignore[list-item]
    assert model.n == 0
    with pytest.raises(ValueError, match="damaged"):
        model.restore(b"", [(1.0, 0)], b"", ())
