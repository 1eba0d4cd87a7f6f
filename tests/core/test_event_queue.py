"""The event queue keeps order, time and length, whatever is cancelled in between."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune._core import EventQueue
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model_resources import ModelQueue

ITEMS = st.integers(0, 6)
TIMES = st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0, math.inf, -math.inf])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["push", "push_front", "cancel"]), ITEMS),
        st.tuples(st.just("push_at"), TIMES, ITEMS),
        st.tuples(st.sampled_from(["pop", "next_time"])),
        st.tuples(st.just("pop_due"), TIMES),
    ),
    max_size=200,
)
TRACE = ["push"] * 5 + ["push_front"] + ["push_at"] * 5 + ["pop"] * 3 + ["pop_due"] * 3 + ["cancel"] * 2


def drain(queue: EventQueue) -> list[int]:
    items = []
    while (item := queue.pop()) >= 0:
        items.append(item)
    return items


def test_ready_items_leave_in_order_of_arrival() -> None:
    queue = EventQueue()
    for item in (3, 1, 2, 3):
        queue.push(item)
    queue.push_front(9)
    assert (len(queue), queue.ready, queue.timed) == (5, 5, 0)
    assert drain(queue) == [9, 3, 1, 2, 3]
    assert queue.pop() == -1


def test_timed_items_leave_by_time_and_ties_by_arrival() -> None:
    queue = EventQueue()
    for time, item in [(2.0, 0), (1.0, 1), (2.0, 2), (1.0, 3), (math.inf, 4)]:
        queue.push_at(time, item)
    assert queue.next_time() == 1.0
    assert queue.pop_due(0.5) == -1
    assert [queue.pop_due(2.0) for _ in range(5)] == [1, 3, 0, 2, -1]
    assert queue.next_time() == math.inf
    assert len(queue) == 1


def test_cancel_takes_every_entry_and_leaves_later_ones() -> None:
    queue = EventQueue()
    queue.push(1)
    queue.push(2)
    queue.push_at(1.0, 1)
    assert queue.cancel(1) == 2
    assert 1 not in queue
    assert queue.cancel(1) == 0
    assert queue.next_time() == math.inf
    queue.push(1)
    assert drain(queue) == [2, 1]
    assert len(queue) == 0


def test_memory_follows_what_is_queued_not_what_was_cancelled() -> None:
    queue = EventQueue()
    for item in range(10_000):
        queue.push_at(1e9, item % 7)
        queue.cancel(item % 7)
    assert len(queue) == 0
    assert queue.held_entries <= 64


def test_items_are_full_64_bit_numbers() -> None:
    queue = EventQueue()
    items = [0, 2**63 - 1, 2**32, 2**62 + 1, 2**32 * 5 + 7]
    for item in items:
        queue.push(item)
    assert drain(queue) == items


def test_refuses_negative_items_and_times_that_are_no_number() -> None:
    queue = EventQueue()
    with pytest.raises(ValueError, match="must be >= 0, got -1"):
        queue.push(-1)
    with pytest.raises(ValueError, match="must be a number, got nan"):
        queue.push_at(math.nan, 3)
    with pytest.raises(ValueError, match="must be >= 0"):
        queue.push_at(1.0, -5)
    assert len(queue) == 0
    assert queue.held_entries == 0


@settings(max_examples=rounds(1500), deadline=None)
@given(OPERATIONS)
def test_answers_as_two_plain_lists_would(operations: list[tuple]) -> None:
    queue, model = EventQueue(), ModelQueue()
    for name, *arguments in operations:
        assert getattr(queue, name)(*arguments) == getattr(model, name)(*arguments), (name, arguments)
        assert (len(queue), queue.ready, queue.timed) == (len(model), len(model.ready), len(model.timed))
        assert all((item in queue) == (item in model) for item in range(7))
    assert drain(queue) == model.ready


@pytest.mark.parametrize("seed", range(3))
def test_long_traces_grow_and_sweep_without_losing_an_item(seed: int) -> None:
    generator = random.Random(seed)
    queue, model = EventQueue(), ModelQueue()
    for _ in range(4_000):
        name = generator.choice(TRACE)
        item, time = generator.randrange(300) * 2**20, float(generator.randrange(50))
        arguments = {"push_at": (time, item), "pop": (), "pop_due": (time,)}.get(name, (item,))
        assert getattr(queue, name)(*arguments) == getattr(model, name)(*arguments)
        assert len(queue) == len(model)
        assert queue.held_entries <= 2 * len(queue) + 65
    assert drain(queue) == model.ready
    assert [queue.pop_due(math.inf) for _ in model.timed] == [item for _, _, item in sorted(model.timed)]
