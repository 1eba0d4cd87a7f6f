"""The compiled rule decides as ten slow lines do, on one process and on several that share its rungs."""

from __future__ import annotations

import math
import mmap
import os
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import in_child
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune._core import Asha
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model import SlowAsha

CONTINUE, STOP = 0, 1


def rule(max_t: float = 100, grace: float = 1, factor: float = 4, **given: Any) -> Asha:
    return Asha(max_t, grace, factor, **{"brackets": 1, "maximise": True, "capacity": 4096, **given})


class Asked:
    """A rule that is asked as a loop asks it."""

    def __init__(self, asha: Asha) -> None:
        self.asha = asha

    def judge(self, trial: int, t: float, value: float) -> bool:
        return self.asha.judge(trial, t, value) == STOP

    def complete(self, trial: int, t: float, value: float) -> None:
        self.asha.complete(trial, t, value)

    def rung(self, trial: int) -> int:
        return self.asha.standing(trial)[0]


values = st.one_of(
    st.integers(-3, 3).map(float), st.floats(-1.0, 1.0), st.sampled_from([math.nan, math.inf, -math.inf])
)
traces = st.lists(st.tuples(st.integers(0, 11), st.floats(0.0, 120.0), values, st.booleans()), max_size=80)


@given(
    trace=traces,
    max_t=st.sampled_from([1, 9, 16, 27, 64, 81, 99.5, 100]),
    grace=st.sampled_from([0.5, 1, 1, 2, 3]),
    factor=st.sampled_from([1.5, 2, 2.5, 3, 4, 10]),
    brackets=st.integers(1, 4),
    maximise=st.booleans(),
    stop_last=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
)
@settings(max_examples=rounds(400), deadline=None)
def test_C2_every_decision_is_that_of_the_slow_rule(
    trace: list[tuple[int, float, float, bool]],
    max_t: float,
    grace: float,
    factor: float,
    brackets: int,
    maximise: bool,
    stop_last: bool,
    seed: int,
) -> None:
    grace = min(grace, max_t)
    asha = rule(
        max_t,
        grace,
        factor,
        brackets=brackets,
        maximise=maximise,
        stop_last_trials=stop_last,
        seed=seed,
        capacity=128,
    )
    asked, slow = Asked(asha), SlowAsha(max_t, grace, factor, maximise, stop_last, asha.bracket)
    for trial, t, value, ends in trace:
        if ends:
            asked.complete(trial, t, value)
            slow.complete(trial, t, value)
        else:
            assert asked.judge(trial, t, value) == slow.judge(trial, t, value)
        assert asked.rung(trial) == slow.highest.get(trial, -1)
    sizes = {(s, k + s): n for s, row in enumerate(asha.rung_sizes()) for k, n in enumerate(row) if n}
    assert sizes == {key: len(rung.values) for key, rung in slow.rungs.items() if rung.values}
    assert asha.milestones_by_bracket == [slow.milestones[s:] for s in range(brackets)]


@pytest.mark.parametrize(
    ("max_t", "grace", "factor", "milestones"),
    [
        (100, 1, 4, [1, 4, 16, 64]),
        (243, 1, 3, [1, 3, 9, 27, 81, 243]),  # the float logarithm loses the last one
        (1000, 1, 10, [1, 10, 100, 1000]),
        (729, 1, 9, [1, 9, 81, 729]),
        (3**20, 1, 3, [3**k for k in range(21)]),
        (2**52, 1, 2, [2**k for k in range(53)]),
        (125, 5, 5, [5, 25, 125]),
        (124.999, 5, 5, [5, 25]),
        (10, 1, 2.5, [1, 2.5, 6.25]),
        (7, 7, 3, [7]),
    ],
)
def test_C2_milestones_are_exact(max_t: float, grace: float, factor: float, milestones: list[float]) -> None:
    assert rule(max_t, grace, factor).milestones_by_bracket == [milestones]


def test_C2_the_first_at_a_rung_passes_and_equal_survives() -> None:
    asked = Asked(rule())
    assert not asked.judge(0, 1, -1000.0)
    assert not asked.judge(1, 1, -1000.0)
    assert asked.judge(2, 1, -1000.1)


def test_C2_nan_never_stops_and_is_not_counted() -> None:
    asked = Asked(rule())
    assert not asked.judge(0, 1, math.nan)
    assert not asked.judge(1, 1, -5.0)
    assert not asked.judge(2, 1, math.nan)
    assert asked.asha.rung_sizes()[0][0] == 1
    assert asked.judge(3, 1, -6.0)


def test_C2_a_jump_is_judged_once_at_the_highest_rung() -> None:
    asked = Asked(rule())
    for trial in range(4):
        asked.judge(trial, 1, 10.0)
        asked.judge(trial, 4, 10.0)
    assert not asked.judge(9, 16, 1.0)  # the first at 16
    assert not asked.judge(9, 17, 0.0)  # the rungs that it skipped are not asked later
    assert asked.asha.rung_sizes() == [[4, 4, 1, 0]]


def test_C2_the_end_is_recorded_where_the_report_at_max_t_was_not() -> None:
    asked = Asked(rule(max_t=16))
    assert asked.judge(0, 16, 3.0)
    assert asked.asha.rung_sizes() == [[0, 0, 0]]
    asked.complete(0, 16, 3.0)
    assert asked.asha.rung_sizes() == [[0, 0, 1]]


def test_C3_stop_last_trials_false_goes_on_behind_the_last_rung() -> None:
    asked = Asked(rule(max_t=2, factor=2, stop_last_trials=False))
    assert [asked.judge(trial, 2, value) for trial, value in enumerate([10, 8, 6, 4])] == [
        False,
        True,
        True,
        True,
    ]
    assert not any(asked.judge(0, t, -100.0) for t in range(3, 50))


def test_C2_bracket_weights() -> None:
    """Brackets of an 81, 3 rule are drawn with .6652, .2447 and .0900."""
    asha = rule(81, 1, 3, brackets=3, seed=7)
    n = 200_000
    drawn = [asha.bracket(trial) for trial in range(n)]
    for bracket, weight in enumerate([0.6652, 0.2447, 0.0900]):
        spread = 4 * math.sqrt(weight * (1 - weight) / n)
        assert abs(drawn.count(bracket) / n - weight) < spread + 5e-5
    again = rule(81, 1, 3, brackets=3, seed=7)
    assert drawn[:1000] == [again.bracket(trial) for trial in range(1000)]
    assert drawn[:1000] != [rule(81, 1, 3, brackets=3, seed=8).bracket(trial) for trial in range(1000)]


def test_a_bracket_without_rungs_never_judges() -> None:
    asha = rule(2, 1, 2, brackets=4)
    trials = [trial for trial in range(2000) if asha.bracket(trial) >= 2]
    assert trials
    assert all(asha.judge(trial, 1.5, -1e9) == CONTINUE for trial in trials)
    assert asha.rung_sizes() == [[0, 0], [0], [], []]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_t": 0}, "0 < grace_period <= max_t"),
        ({"grace": 0}, "0 < grace_period"),
        ({"grace": 101}, "grace_period <= max_t"),
        ({"factor": 1}, "reduction_factor > 1"),
        ({"brackets": 0}, "1 to 16 brackets"),
        ({"brackets": 17}, "1 to 16 brackets"),
        ({"max_t": math.nan}, "grace_period <= max_t"),
        ({"factor": 1.01}, "more than 64 rungs"),
        ({"max_t": math.inf}, "more than 64 rungs"),
        ({"capacity": 0}, "capacity must be from 1 to 4294967296 values, got 0"),
        ({"capacity": 2**32 + 1}, "capacity must be from 1"),
    ],
)
def test_bad_arguments_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule(**given)


def test_a_full_rung_says_so_and_changes_nothing() -> None:
    asha = rule(capacity=3)
    for trial in range(3):
        asha.judge(trial, 1, float(trial))
    before = asha.sequence, asha.cutoffs(), asha.num_stopped
    with pytest.raises(OverflowError, match="3 trials have reached it"):
        asha.judge(3, 1, -1.0)
    assert (asha.sequence, asha.cutoffs(), asha.num_stopped) == before
    assert asha.judge(3, 4, -1.0) == CONTINUE
    assert asha.standing(3)[0] == 1


def test_only_judgements_of_the_same_rungs_can_be_put_back() -> None:
    asha = rule()
    for rung in (-1, 4, 255):
        with pytest.raises(ValueError, match=f"judged at rung {rung}; its bracket has the rungs 0 to 3"):
            asha.record(0, rung, 1.0)


def test_cutoffs_are_told_in_the_metrics_own_sign() -> None:
    asha = rule(maximise=False)
    for trial, value in enumerate([1.0, 2.0, 3.0, 4.0, 5.0]):
        asha.judge(trial, 1, value)
    assert asha.cutoffs() == [[(64.0, None), (16.0, None), (4.0, None), (1.0, 2.0)]]


# -- several processes -------------------------------------------------------------------------------------


@pytest.fixture
def memory() -> Iterator[int]:
    """A file that processes share."""
    fd = os.memfd_create("rungs")
    yield fd
    os.close(fd)


def shared(memory: int, max_t: float = 16, **given: Any) -> Asha:
    return rule(max_t, fd=memory, **{"capacity": 1 << 32, **given})


@pytest.mark.parametrize("value", [5.0, -1000.0, math.nan])
def test_a_process_that_dies_inside_the_lock_leaves_nothing(memory: int, value: float) -> None:
    asha = shared(memory)
    twin = rule(16)
    for trial in range(50):
        assert asha.judge(trial, 1, float(trial * 7 % 50)) == twin.judge(trial, 1, float(trial * 7 % 50))
    for round_ in range(3):
        pid = in_child(lambda: asha.die_inside_lock(0, value))
        assert os.waitpid(pid, 0)[1] == 0
        trial = 50 + round_
        assert asha.judge(trial, 1, 20.0 + round_) == twin.judge(trial, 1, 20.0 + round_)
        assert asha.rung_sizes() == twin.rung_sizes()
        assert (asha.cutoffs(), asha.num_stopped) == (twin.cutoffs(), twin.num_stopped)
        assert asha.sequence == twin.sequence + round_ + 1  # the number that the dead one took is missing


def test_what_a_dead_process_judged_can_be_put_back_by_its_number(memory: int) -> None:
    """It dies between the publication of its record and the end of the change: somebody who has the record knows."""
    asha = shared(memory)
    twin = rule(16)
    for trial in range(10):
        asha.judge(trial, 1, float(trial))
        twin.judge(trial, 1, float(trial))
    assert asha.repair() == []
    pid = in_child(lambda: asha.die_inside_lock(0, 3.5))
    assert os.waitpid(pid, 0)[1] == 0
    assert asha.repair() == [11]
    assert asha.repair() == []
    assert asha.rung_sizes() == twin.rung_sizes()
    asha.record(10, 0, 3.5, 11)
    twin.judge(10, 1, 3.5)
    assert asha.rung_sizes() == twin.rung_sizes()
    assert asha.cutoffs() == twin.cutoffs()


def test_a_second_look_at_the_same_rungs_sees_the_same(memory: int) -> None:
    asha = shared(memory)
    other = shared(memory, create=False)
    asha.judge(0, 1, 5.0)
    assert other.judge(1, 1, 4.0) == STOP
    assert asha.rung_sizes() == [[2, 0, 0]]


def test_processes_that_judge_at_once_decide_as_one_after_the_other(memory: int) -> None:
    """The sequence numbers are a permutation, and replaying in their order gives the same decisions."""
    import tempfile

    from fasttune._core import Reporter, Ring, judgements

    workers, trials = 4, 300
    asha = shared(memory)
    files = [tempfile.TemporaryFile() for _ in range(workers)]  # noqa: SIM115 - closed one by one below
    for file in files:
        file.truncate(4096 + (1 << 18))

    def work(number: int) -> None:
        ring = Ring(mmap.mmap(files[number].fileno(), 0), create=True)
        reporter = Reporter(ring, metric="m", rule=shared(memory, create=False))
        draw = random.Random(number)
        for trial in range(number * trials, (number + 1) * trials):
            assert reporter.begin(trial)
            for _ in range(5):
                if reporter.report({"m": draw.random()}) == STOP:
                    break
            assert reporter.end()

    pids = [in_child(lambda number=number: work(number)) for number in range(workers)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * workers

    found = []
    for file in files:
        view = mmap.mmap(file.fileno(), 0)
        ring = Ring(view)
        data = ring.take()
        for sequence, trial, rung, _, raw, decision in judgements(data):
            found.append((sequence, trial, rung, struct.unpack("<d", raw)[0], decision))
        del data, ring
        file.close()
    found.sort()
    assert [sequence for sequence, *_ in found] == list(range(1, asha.sequence + 1))
    twin = rule(16)
    for _, trial, rung, value, decision in found:
        if decision < 0:
            twin.record(trial, rung, value)
        else:
            assert twin.judge(trial, [1, 4, 16][rung], value) == decision
    assert twin.rung_sizes() == asha.rung_sizes()
    assert twin.cutoffs() == asha.cutoffs()
    assert asha.rung_sizes()[0][0] == workers * trials


def test_processes_killed_while_they_judge_do_not_spoil_the_rungs(memory: int) -> None:
    """After any kill -9 a rung is that of the values in its log: the cut-off is numpy's of them."""
    import signal
    import time

    asha = shared(memory)
    draw = random.Random(3)

    def work() -> None:
        seed = random.Random(os.getpid())
        for _ in range(20):  # more than it gets done before it is killed, unless the machine is busy: the rungs have an end
            for trial in range(1000):
                asha.judge(trial, 1, seed.random())
                asha.record(trial, 0, seed.random())
        signal.pause()

    for round_ in range(12):
        pids = [in_child(work) for _ in range(2)]
        time.sleep(draw.uniform(0.002, 0.01))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        asha.judge(1000 + round_, 1, 0.5)
        n = asha.rung_sizes()[0][0]
        assert asha.sequence >= n  # the numbers of those that died before they had told anybody are missing
        _, _, _, log = asha.state()["rungs"][0]
        assert len(log) == n
        twin = SlowAsha(16, 1, 4, True, True, asha.bracket)
        twin.rung(0, 0).values.extend(log)
        assert asha.cutoffs()[0][-1] == (1.0, twin.rung(0, 0).cutoff())


def test_a_lock_that_is_damaged_is_an_error_and_judges_nobody(memory: int) -> None:
    """It was judged without the lock, beside whoever had it."""
    asha = shared(memory, 100)
    asha.judge(0, 1.0, 0.5)
    whole = os.pread(memory, 40, 128)  # the mutex of the lowest rung
    os.pwrite(memory, b"\xff" * 40, 128)
    for call in (lambda: asha.judge(1, 1.0, 0.4), lambda: asha.complete(1, 1.0, 0.4), lambda: asha.record(1, 0, 0.4)):
        with pytest.raises(OSError, match="the lock of a rung cannot be taken"):
            call()
    assert asha.rung_sizes() == [[1, 0, 0, 0]]
    os.pwrite(memory, whole, 128)
    assert asha.judge(1, 1.0, 0.4) == STOP
