"""The compiled TPE has the densities of slow lines that compute each from scratch, and suggests by them."""

from __future__ import annotations

import math
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune._draws import Tpe
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model_tpe import Dim, Numbers, SlowTpe, scale

FLOAT, INTEGER, CATEGORICAL, UNIT = Tpe.FLOAT, Tpe.INTEGER, Tpe.CATEGORICAL, Tpe.UNIT
DIMS: list[Dim] = [
    (FLOAT, -5.0, 10.0, False, 0.0, -1, -1),
    (FLOAT, 1e-4, 1.0, True, 0.0, -1, -1),
    (INTEGER, 1, 64, True, 1, -1, -1),
    (CATEGORICAL, 0, 2, False, 0.0, -1, -1),
    (FLOAT, 0.0, 2.0, False, 0.25, 3, 1),
    (INTEGER, 3, 30, False, 3, 3, 1),
    (CATEGORICAL, 0, 1, False, 0.0, 3, 2),
    (UNIT, -math.inf, math.inf, False, 0.0, -1, -1),
    (FLOAT, 2.0, 2.0, False, 0.0, -1, -1),
]
PLACES = st.one_of(st.floats(0.0, 1.0, width=32), st.sampled_from([0.0, 0.5, 0.5078125, 1.0]))


@st.composite
def rows(draw: Any) -> list[float | None]:
    option = draw(st.integers(0, 2))
    return [
        -5.0 + 15.0 * draw(PLACES),
        min(max(10.0 ** (4.0 * draw(PLACES) - 4.0), 1e-4), 1.0),
        draw(st.integers(1, 64)),
        option,
        draw(st.integers(0, 8)) * 0.25 if option == 1 else None,
        draw(st.integers(1, 10)) * 3 if option == 1 else None,
        draw(st.integers(0, 1)) if option == 2 else None,
        draw(PLACES),
        2.0,
    ]


ends = st.tuples(
    st.sampled_from([Tpe.WHOLE, Tpe.UNKNOWN, 1, 3, 9]),
    st.one_of(st.integers(0, 3).map(float), st.floats(-1.0, 1.0, width=32)),
    st.sampled_from([False, False, False, True]),
)
events = st.lists(st.tuples(rows(), st.one_of(st.none(), ends, ends, ends)), max_size=40)
settings_of_both = st.fixed_dictionaries(
    {
        "multivariate": st.booleans(),
        "most_bad": st.sampled_from([5, 8, 256]),
        "gamma": st.sampled_from([0.1, 0.3]),
        "most_good": st.sampled_from([3, 25]),
        "prior_weight": st.sampled_from([0.5, 1.0]),
        "candidates": st.sampled_from([1, 24]),
    }
)


def pair(told: list[Any], seed: int = 7, **more: Any) -> tuple[Tpe, SlowTpe]:
    """Both after the same events."""
    fast, slow = Tpe(DIMS, seed, **more), SlowTpe(DIMS, seed, **more)
    for numbers, end in told:
        assert fast.add(numbers) == slow.add(numbers)
        if end is not None:
            fast.tell(fast.n - 1, *end)
            slow.tell(fast.n - 1, *end)
    return fast, slow


@given(events, rows(), settings_of_both)
@settings(max_examples=rounds(300), deadline=None)
def test_densities_are_those_of_the_slow_lines(told: list[Any], asked: Numbers, more: dict[str, Any]) -> None:
    fast, slow = pair(told, **more)
    assert fast.score(asked) == pytest.approx(slow.score(asked), abs=2e-4, rel=1e-5)


@given(events, settings_of_both, st.integers(0, 2**63))
@settings(max_examples=rounds(200), deadline=None)
def test_suggestions_are_the_best_of_the_slow_candidates(told: list[Any], more: dict[str, Any], number: int) -> None:
    fast, slow = pair(told, **more)
    _, numbers = fast.ask(number)
    slow.check(number, [None if n is None else scale(dim, n) for dim, n in zip(DIMS, numbers, strict=True)])


def test_a_suggestion_depends_on_what_was_told_and_on_nothing_else() -> None:
    told = [([0.1 * k, 0.01, 1 + k, 0, None, None, None, 0.5, 2.0], (1, float(k % 7), False)) for k in range(40)]
    one, other = pair(told)[0], pair(told)[0]
    for k in range(5):
        other.score(told[k][0])
    copied = pickle.loads(pickle.dumps(one))
    for number in (3, 1, 2**40, 7):
        assert one.ask(number) == other.ask(number) == copied.ask(number)
    assert Tpe(DIMS, 8).ask(3) != Tpe(DIMS, 7).ask(3)


@given(events, settings_of_both, st.integers(0, 2**63), st.integers(0, 20))
@settings(max_examples=rounds(100), deadline=None)
def test_many_at_once_are_drawn_from_the_good_ones(told: list[Any], more: dict[str, Any], number: int, n: int) -> None:
    fast, slow = pair(told, **more)
    first, found = fast.ask_many(number, n)
    assert (first, fast.n, len(found)) == (len(told), len(told) + n, n)
    for numbers, units in zip(found, slow.drawn(number, n), strict=True):
        for dim, one, unit in zip(DIMS, numbers, units, strict=True):
            assert (one is None) == (unit is None)
            if one is not None and unit is not None:
                assert scale(dim, one) == pytest.approx(unit, abs=1e-3)


COUNTABLE: list[Dim] = [
    (INTEGER, 0, 4, False, 1, -1, -1),
    (CATEGORICAL, 0, 2, False, 0.0, -1, -1),
    (INTEGER, 2, 16, True, 2, 1, 1),
    (FLOAT, 0.5, 1.5, False, 0.25, 1, 2),
    (FLOAT, 1.0, 1.0, False, 0.0, -1, -1),
]


@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([1, 2, 24]), st.lists(st.integers(1, 200), max_size=3))
@settings(max_examples=rounds(60), deadline=None)
def test_a_countable_space_is_used_up_before_any_config_comes_again(
    seed: int, multivariate: bool, candidates: int, batches: list[int]
) -> None:
    """Whether results are told or not, one by one or many at once; and then it goes on."""
    size = 5 * (1 + 8 + 5)
    tpe = Tpe(COUNTABLE, seed, multivariate=multivariate, candidates=candidates)
    seen: list[tuple[Any, ...]] = []
    for number, n in enumerate([*batches, *[1] * size]):
        asked = [tpe.ask(number)] if n == 1 else list(enumerate(tpe.ask_many(number, n)[1], len(seen)))
        for row, numbers in asked:
            seen.append(tuple(numbers))
            if number % 3:
                tpe.tell(row, 1, abs(numbers[0] - 2) + numbers[1])
    assert len(set(seen[:size])) == size
    assert len(seen) > size or not batches
    again = pickle.loads(pickle.dumps(tpe))
    assert tuple(again.ask(9999)[1]) in set(seen)


@pytest.mark.parametrize("multivariate", [True, False])
def test_the_model_ranks_what_is_left(multivariate: bool) -> None:
    """When its favourites are used up it takes those next to them, and does not begin to draw from anywhere."""
    dims: list[Dim] = [(INTEGER, 0, 9, False, 1, -1, -1)] * 3
    tpe = Tpe(dims, 3, multivariate=multivariate)
    losses = []
    for number in range(120):
        row, numbers = tpe.ask(number)
        losses.append(sum((one - 6.0) ** 2 for one in numbers))
        tpe.tell(row, 1, losses[-1])
    anywhere = 3 * sum((one - 6.0) ** 2 for one in range(10)) / 10
    assert sum(losses[60:]) / 60 < 0.7 * anywhere


def test_rows_that_were_changed_are_known_by_what_they_are_now() -> None:
    tpe = Tpe([(INTEGER, 0, 1, False, 1, -1, -1)], 1)
    row = tpe.add([0])
    for k in range(1000):
        tpe.change(row, [k % 2])
    assert tpe.ask(5)[1] == [0]


def test_a_pending_row_keeps_others_away() -> None:
    """The liar: where a trial runs, the next one is less promising than before."""
    told = [([0.5 * k - 5, 0.1, 8, 0, None, None, None, 0.5, 2.0], (1, abs(k - 15.0), False)) for k in range(30)]
    tpe, _ = pair(told)
    best = told[15][0]
    before = tpe.score(best)
    row = tpe.add(best)
    running = tpe.score(best)
    tpe.tell(row, 1, 0.0, True)
    assert running < before
    assert tpe.score(best) < before  # failed there
    assert (tpe.n_pending, tpe.n_finished) == (0, 30)


@pytest.mark.parametrize(
    ("here", "there"),
    [((9, 2.0), (1, 1.0)), ((Tpe.WHOLE, 2.0), (1, 1.0)), ((1, 2.0), (Tpe.UNKNOWN, 1.0)), ((1, 1.0), (1, 2.0))],
)
def test_more_steps_rank_before_smaller_losses(here: tuple[int, float], there: tuple[int, float]) -> None:
    tpe = Tpe([(FLOAT, 0.0, 1.0, False, 0.0, -1, -1)], 0)
    tpe.tell(tpe.add([0.5]), 9, 9.0)
    for k in range(10):
        tpe.tell(tpe.add([0.2 + 0.01 * k]), *here)
        tpe.tell(tpe.add([0.7 + 0.01 * k]), *there)
    assert tpe.score([0.25]) > tpe.score([0.75])


def test_whole_trials_move_along_when_others_come_farther() -> None:
    tpe = Tpe([(FLOAT, 0.0, 1.0, False, 0.0, -1, -1)], 0)
    tpe.tell(tpe.add([0.1]), Tpe.WHOLE, 1.0)
    tpe.tell(tpe.add([0.9]), 5, 2.0)
    assert tpe.score([0.1]) > tpe.score([0.9])


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="kind from 0 to 3, got 9"):
        Tpe([(9, 0, 1, False, 0, -1, -1)], 0)
    with pytest.raises(ValueError, match="must come after its parent"):
        Tpe([(0, 0, 1, False, 0, 0, 1)], 0)
    with pytest.raises(ValueError, match=r"narrowest must be >= 1 / 128, got 0.001"):
        Tpe(DIMS, 0, narrowest=0.001)
    tpe = Tpe(DIMS[:1], 0)
    with pytest.raises(ValueError, match="a row has 1 numbers, got 2"):
        tpe.add([1.0, 2.0])
    with pytest.raises(ValueError, match="rows are numbered from 0 to -1, got 0"):
        tpe.tell(0, 1, 1.0)
    tpe.tell(tpe.add([1.0]), 1, 1.0)
    with pytest.raises(ValueError, match="row 0 was told already"):
        tpe.tell(0, 1, 1.0)


@pytest.mark.parametrize(
    ("k", "number"),
    [
        (0, math.nan), (1, -1.0), (1, math.nan), (2, math.nan), (3, 3), (3, -1), (3, 0.5), (3, math.nan), (3, math.inf),
        (7, 1.5), (7, -1e-9), (7, math.nan), (7, math.inf), (1, None), (8, None),
    ],
)  # fmt: skip
def test_a_number_that_has_no_place_is_refused_and_changes_nothing(k: int, number: float | None) -> None:
    """It was written as it came, and read as a place in an array on the stack."""
    tpe, row = Tpe(DIMS, 1), [0.0, 0.1, 3, 0, None, None, None, 0.5, 2.0]
    for unit in (0.25, 0.75):
        tpe.tell(tpe.add([*row[:7], unit, 2.0]), 1, unit)
    waiting = tpe.add(row)
    wrong = [*row[:k], number, *row[k + 1 :]]
    for call in (tpe.add, lambda one: tpe.change(waiting, one), tpe.score):
        with pytest.raises(ValueError, match="dimension"):
            call(wrong)
    tpe.tell(waiting, 1, 0.1)
    other = Tpe(DIMS, 1)
    for unit, loss in ((0.25, 0.25), (0.75, 0.75), (0.5, 0.1)):
        other.tell(other.add([*row[:7], unit, 2.0]), 1, loss)
    assert tpe.ask(0) == other.ask(0)


def test_half_of_a_conditional_group_is_refused() -> None:
    tpe = Tpe(DIMS, 1)
    with pytest.raises(ValueError, match="dimensions 4 and 5 are part of the same configs"):
        tpe.add([0.0, 0.1, 3, 1, 0.5, None, None, 0.5, 2.0])


@pytest.mark.parametrize("unit", [-1.0, 2.0, 1e300])
def test_a_damaged_pickle_is_refused(unit: float) -> None:
    tpe = Tpe(DIMS[:2], 1)
    tpe.add([0.0, 0.1])
    make, given = tpe.__reduce__()
    units = struct.pack("<2d", 0.5, unit)
    assert given[3] != units
    with pytest.raises(ValueError, match="row 0 is damaged"):
        make(*given[:3], units, *given[4:])
