"""HyperBand's books against their slow twin: random traces with losses, early ends, gaps, jumps and values that are no numbers."""

from __future__ import annotations

import math
import sys
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune._core import CONTINUE, PAUSE, STOP
from fasttune._rules import HyperBand
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model_hyperband import SlowHyperBand, Stage

PLANS: list[list[list[Stage]]] = [
    [[(3, 9)], [(5, 3), (2, 9)], [(9, 1), (3, 3), (1, 9)]],
    [[(9, 1), (3, 3), (1, 9)], [(5, 3), (2, 9)], [(3, 9)]],
    [[(4, 2), (2, 2), (1, 5)]],  # two stages with one milestone
    [[(1, 1)]],
    [[(6, 1.5), (3, 2.5), (2, 4)], [(2, 3)]],
]
SCORES = st.one_of(st.sampled_from([0.0, 1.0, 2.0, math.nan, math.inf, -math.inf]), st.floats(-3, 3))
MOVES = st.tuples(
    st.sampled_from(["add"] * 3 + ["run"] * 8 + ["lose", "complete", "again", "close", "halve", "retry", "elsewhere"]),
    st.integers(0, 40),
    st.sampled_from([0.5, 1, 1, 1, 2, 3, 3, 6, 9, -1, math.nan, math.inf]),
    SCORES,
)


def compare(core: HyperBand, slow: SlowHyperBand, added: list[int]) -> None:
    assert core.choose() == slow.choose()
    assert len(core) == len(slow.brackets)
    assert (core.num_stopped, core.halvings) == (slow.num_stopped, slow.halvings)
    for trial in added:
        if trial not in slow.home:
            assert core.state(trial) == "GONE"
            continue
        state = core.state(trial)
        assert (state in ("WAITING", "READY")) == (trial in slow.choosable)
        assert (state == "HELD") == (trial in slow.held)
        assert core.milestone(trial) == slow.milestone(trial)
    for bracket in slow.brackets:
        band, _, size, milestone, _, members = core.bracket(bracket.number)
        assert (band, size, milestone, members) == (bracket.band, bracket.size, bracket.milestone, bracket.members)


@given(
    plan=st.sampled_from(PLANS),
    maximise=st.booleans(),
    stop_last_trials=st.booleans(),
    fair=st.booleans(),
    moves=st.lists(MOVES, max_size=45),
)
@settings(max_examples=rounds(7000), deadline=None)
def test_C5_the_core_decides_as_its_slow_twin(
    plan: list[list[Stage]],
    maximise: bool,
    stop_last_trials: bool,
    fair: bool,
    moves: list[tuple[str, int, float, float]],
) -> None:
    core, slow = HyperBand(plan, maximise, stop_last_trials, fair), SlowHyperBand(plan, maximise, stop_last_trials, fair)
    added: list[int] = []
    for move, pick, step, score in moves:
        trial = added[pick % len(added)] if added else -1
        if move == "add":
            added.append(len(added))
            assert core.add(added[-1]) == slow.add(added[-1])
        elif move == "close":
            core.close()
            slow.close()
        elif move == "halve":
            assert core.halve_now() == slow.halve_now()
        elif move == "run":  # whoever is chosen runs a step on
            trial = slow.choose()
            if trial >= 0:
                core.started(trial)
                slow.started(trial)
                time = slow.time[trial] + step
                assert core.report(trial, time, score) == slow.report(trial, time, score)
        elif trial < 0:
            continue
        elif move in ("lose", "complete"):
            core.remove(trial, move == "lose")
            slow.remove(trial, move == "lose")
        elif move == "again":
            core.again(trial)
            slow.again(trial)
        elif move == "retry":  # failed, and tried again
            core.remove(trial, True)
            slow.remove(trial, True)
            assert core.add(trial) == slow.add(trial)
        else:  # a report that nobody expected
            assert core.report(trial, step, score) == slow.report(trial, step, score)
        assert core.take_ended() == slow.take_ended()
        compare(core, slow, added)


@given(
    plan=st.sampled_from(PLANS),
    maximise=st.booleans(),
    reports=st.lists(st.tuples(st.integers(0, 20), st.sampled_from([1.0, 2.0, 3.0, 9.0]), SCORES), max_size=80),
)
@settings(max_examples=rounds(3000), deadline=None)
def test_many_reports_at_once_are_decided_as_one_by_one(
    plan: list[list[Stage]], maximise: bool, reports: list[tuple[int, float, float]]
) -> None:
    many, single = HyperBand(plan, maximise), HyperBand(plan, maximise)
    for trial in range(21):
        many.add(trial)
        single.add(trial)
    decisions = array("b", [0] * len(reports))
    columns = [array(code, column) for code, column in zip("qdd", zip(*reports, strict=True), strict=False)]
    if columns:
        many.decide(*columns, decisions)
    assert list(decisions) == [single.report(*report) for report in reports]
    assert many.take_ended() == single.take_ended()


def test_a_bracket_halves_when_its_last_trial_has_come() -> None:
    rule = HyperBand([[(4, 1), (2, 3), (1, 9)]], True)
    for trial in range(4):
        rule.add(trial)
    assert [rule.report(trial, 1, score) for trial, score in enumerate([4.0, 1.0, 3.0, 2.0])] == [PAUSE, PAUSE, PAUSE, STOP]
    assert rule.take_ended() == [1]
    assert [rule.state(trial) for trial in range(4)] == ["READY", "GONE", "READY", "GONE"]
    assert rule.choose() == 0
    assert rule.report(0, 3, 1.0) == PAUSE
    assert rule.report(2, 3, 2.0) == CONTINUE
    assert rule.take_ended() == [0]
    assert rule.report(2, 9, 0.0) == STOP
    assert (rule.num_stopped, rule.halvings) == (3, 2)


def test_worst_are_those_without_a_number_then_the_least_and_ties_keep_the_later() -> None:
    rule = HyperBand([[(5, 1), (1, 2)]], True)
    for trial in range(5):
        rule.add(trial)
    for trial, score in enumerate([1.0, math.nan, -math.inf, 1.0, math.nan]):
        rule.report(trial, 1, score)
    assert rule.take_ended() == [1, 2, 0]
    assert rule.choose() == 3


def test_what_cannot_be_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one bracket"):
        HyperBand([], True)
    with pytest.raises(ValueError, match="at least one stage"):
        HyperBand([[]], True)
    with pytest.raises(ValueError, match="sizes must not grow"):
        HyperBand([[(2, 1), (3, 2)]], True)
    with pytest.raises(ValueError, match="milestones > 0"):
        HyperBand([[(2, 0)]], True)
    rule = HyperBand([[(2, 1)]], True)
    with pytest.raises(IndexError, match="trial 5 was never added"):
        rule.report(5, 1, 0.0)
    with pytest.raises(IndexError, match="trial 5 was never added"):
        rule.decide(array("q", [5]), array("d", [1]), array("d", [1]), array("b", [0]))
    with pytest.raises(ValueError, match="of one length"):
        rule.decide(array("q", [5]), array("d", []), array("d", [1]), array("b", [0]))
    with pytest.raises(IndexError, match="numbered from 0"):
        rule.add(-1)
