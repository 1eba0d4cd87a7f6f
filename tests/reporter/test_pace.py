"""How long a run will go on: runs in virtual time, whose end is known."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import pytest

from fasttune.reporter.pace import Pace


def run(places: int, total: int, lasts: Callable[[int], float], every: float) -> Iterator[tuple[float, int, int]]:
    """(time, finished, running) at each look at a run whose trial i lasts lasts(i) seconds; the last one is at its end."""
    ends = [lasts(i) for i in range(places)]
    heapq.heapify(ends)
    begun, finished, look = places, 0, every
    while ends:
        end = heapq.heappop(ends)
        while look < end:
            yield look, finished, len(ends) + 1
            look += every
        finished += 1
        if begun < total:
            heapq.heappush(ends, end + lasts(begun))
            begun += 1
    yield end, finished, 0


def estimates(places: int, total: int, lasts: Callable[[int], float], every: float) -> list[tuple[float, float | None]]:
    """(what is really left, what was said) at each look."""
    pace = Pace()
    seen = list(run(places, total, lasts, every))
    said = [pace.see(at, finished, running, finished, total).left_s for at, finished, running in seen]
    return [(seen[-1][0] - at, left) for (at, _, _), left in zip(seen, said, strict=True)]


RUNS = {
    "all alike": (4, 200, lambda i: 1.0),
    "long and short": (4, 200, lambda i: 0.2 + 2 * (i * 7919 % 101) / 100),
    "most stopped early": (8, 800, lambda i: 20.0 if i % 9 == 0 else 1.0),
    "a little shorter and shorter": (4, 400, lambda i: 4.0 / (1 + i / 400)),
    "many and quick": (2, 50_000, lambda i: 0.0005),
}


@pytest.mark.parametrize("name", list(RUNS))
def test_P1_what_is_left_is_never_far_off(name: str) -> None:
    places, total, lasts = RUNS[name]
    found = estimates(places, total, lasts, 0.25)
    whole = found[0][0]
    judged = [(left, said) for left, said in found if 0.1 * whole < left < 0.9 * whole]
    assert len(judged) > 10
    for left, said in judged:
        assert said is not None
        assert 0.5 < said / left < 1.8, (left, said)


def test_P1_a_run_that_goes_on_counts_from_where_it_was() -> None:
    pace = Pace(1.0, finished=900, reports=9000)
    assert pace.see(1.0, 900, 2, 9000, 1000) == (0.0, 0.0, None)
    rates = pace.see(6.0, 910, 2, 9100, 1000)
    assert rates == (2.0, 20.0, pytest.approx((1000 - 910 - 1) / 2.0))
    assert pace.see(11.0, 1000, 0, 10_000, 1000, done=True) == (10.0, 100.0, None)


def test_P1_nobody_knows_before_a_trial_has_ended_or_without_a_total() -> None:
    pace = Pace()
    assert pace.see(1.0, 0, 2, 50, 10).left_s is None
    assert pace.see(2.0, 5, 2, 50, None).left_s is None


def test_P1_few_looks_are_kept_of_a_long_run() -> None:
    pace = Pace()
    for i in range(100_000):
        pace.see(i * 0.25, i, 2, i, 200_000)
    assert len(pace._looks) <= 64
    assert pace.see(25_000.0, 100_000, 2, 100_000, 200_000).trials_per_s == pytest.approx(4.0, rel=0.01)
