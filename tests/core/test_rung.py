"""A rung gives numpy's percentile of what it holds, to the last bit, in whatever order the values came."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune._core import Rung
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model import SlowRung

numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-4, 4).map(float),  # ties
    st.floats(-1.0, 1.0),
)
percentiles = st.one_of(
    st.sampled_from(
        [0.0, 50.0, 75.0, 100.0, *((1 - 1 / factor) * 100 for factor in (1.01, 1.5, 2, 3, 4, 10, 1000))]
    ),
    st.floats(0.0, 100.0),
)


def same(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return left is right
    return left == right or (math.isnan(left) and math.isnan(right))


@given(percentile=percentiles, values=st.lists(numbers, max_size=60))
@settings(max_examples=rounds(3000), deadline=None)
def test_C2_cutoff_is_numpys_nanpercentile_to_the_last_bit(
    percentile: float, values: list[float]
) -> None:
    rung, slow = Rung(percentile), SlowRung(percentile)
    for value in values:
        assert same(rung.cutoff(), slow.cutoff())
        rung.push(value)
        slow.push(value)
    assert same(rung.cutoff(), slow.cutoff())
    assert len(rung) == len(slow.values)
    assert rung.seen == len(values)


@given(percentile=percentiles, values=st.lists(numbers, max_size=40), data=st.data())
@settings(max_examples=rounds(1500), deadline=None)
def test_a_truncated_rung_is_one_that_never_saw_the_rest(
    percentile: float, values: list[float], data: st.DataObject
) -> None:
    rung, slow = Rung(percentile), SlowRung(percentile)
    for value in values:
        rung.push(value)
        slow.push(value)
    keep = data.draw(st.integers(0, len(slow.values)))
    rung.truncate(keep)
    del slow.values[keep:]
    assert same(rung.cutoff(), slow.cutoff())
    for value in data.draw(st.lists(numbers, max_size=20)):
        rung.push(value)
        slow.push(value)
        assert same(rung.cutoff(), slow.cutoff())


def test_long_sorted_and_reversed_streams() -> None:
    for stream in (range(3000), range(3000, 0, -1), [7] * 3000, [k % 5 for k in range(3000)]):
        rung, slow = Rung(75.0), SlowRung(75.0)
        for k, value in enumerate(stream):
            rung.push(float(value))
            slow.push(float(value))
            if k % 97 == 0:
                assert rung.cutoff() == slow.cutoff()


def test_C2_an_all_nan_rung_has_no_cutoff() -> None:
    rung = Rung(75.0)
    rung.push(math.nan)
    assert rung.cutoff() is None
    assert (len(rung), rung.seen) == (0, 1)


@pytest.mark.parametrize(
    ("percentile", "message"),
    [
        (-1.0, "between 0 and 100"),
        (101.0, "between 0 and 100"),
        (math.nan, "between"),
    ],
)
def test_bad_arguments_are_named(percentile: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rung(percentile)


def test_more_cannot_be_kept_than_is_held() -> None:
    rung = Rung(50.0)
    rung.push(1.0)
    with pytest.raises(ValueError, match="holds 1 numbers, cannot keep 2"):
        rung.truncate(2)
