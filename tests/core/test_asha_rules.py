"""Both rules of ASHA, patience, smoothing and batches against ten slow lines, on random traces."""

from __future__ import annotations

import math
import random
import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune._core import Asha, Reporter, Ring, judgements
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model_asha_rank import SlowRanked

Row = tuple[int, float, float, bool]  # trial, time, value, whether it ends with it
CONTINUE, STOP = 0, 1
TRACES = 25  # per example: 400 examples, 10^4 traces


def a_rule(**given: Any) -> Asha:
    told: dict[str, Any] = {"max_t": 27, "grace_period": 1, "reduction_factor": 3, "brackets": 1}
    return Asha(**{**told, "maximise": True, "capacity": 256, **given})


def trace(draw: random.Random) -> list[Row]:
    """Up to 60 reports of 12 trials: steps, jumps, steps back, times and values that are no numbers, ends."""
    now = [0.0] * 12
    found = []
    for _ in range(draw.randrange(60)):
        trial = draw.randrange(12)
        kind = draw.random()
        now[trial] += 1 if kind < 0.7 else draw.uniform(0, 20) if kind < 0.95 else -draw.uniform(0, 5)
        time = now[trial] if draw.random() < 0.97 else draw.choice([math.nan, math.inf, -math.inf])
        number = draw.choice([float(draw.randrange(4)), draw.random(), draw.gauss(0, 1e9)])
        value = number if draw.random() < 0.85 else draw.choice([math.nan, math.inf, -math.inf])
        found.append((trial, time, value, draw.random() < 0.1))
    return found


a_setting = st.fixed_dictionaries(
    {
        "max_t": st.sampled_from([9, 27, 30.5, 81]),
        "grace_period": st.sampled_from([0.5, 1, 2]),
        "reduction_factor": st.sampled_from([1.5, 2, 2.5, 3, 4]),
        "brackets": st.integers(1, 3),
        "maximise": st.booleans(),
        "stop_last_trials": st.booleans(),
        "rank": st.booleans(),
        "patience": st.integers(0, 3),
        "smooth": st.booleans(),
        "seed": st.integers(0, 2**64 - 1),
    }
)


@given(setting=a_setting, seed=st.integers(0, 2**32))
@settings(max_examples=rounds(400), deadline=None)
def test_C2_Q1_every_decision_is_that_of_the_slow_rule(setting: dict[str, Any], seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(TRACES):
        asha = a_rule(**setting)
        slow = SlowRanked(asha.bracket, **setting)
        rows = trace(draw)
        for trial, time, value, ends in rows:
            if ends:
                asha.complete(trial, time, value)
                slow.complete(trial, time, value)
            else:
                assert asha.judge(trial, time, value) == slow.judge(trial, time, value)
        for trial, one in slow.where.items():
            rung, strikes, best = asha.standing(trial)
            assert (rung, strikes) == (one.rung, one.strikes)
            assert repr(best) == repr(one.best if setting["maximise"] else -one.best)
        held = {(s, s + k): n for s, row in enumerate(asha.rung_sizes()) for k, n in enumerate(row) if n}
        assert held == {key: len(values) for key, values in slow.rungs.items() if values}


@given(setting=a_setting, seed=st.integers(0, 2**32))
@settings(max_examples=rounds(600), deadline=None)
def test_a_batch_decides_as_its_rows_one_by_one(setting: dict[str, Any], seed: int) -> None:
    draw = random.Random(seed)
    one_by_one, batches = a_rule(**setting), a_rule(**setting)
    for _ in range(4):
        rows = trace(draw)
        wanted = [one_by_one.judge(trial, time, value) for trial, time, value, _ in rows]
        decisions = np.full(len(rows), 9, np.int8)
        batches.decide(
            array("q", [row[0] for row in rows]),
            np.array([row[1] for row in rows], np.float64),
            array("d", [row[2] for row in rows]),
            decisions,
        )
        assert decisions.tolist() == wanted
    assert repr(batches.cutoffs()) == repr(one_by_one.cutoffs())
    assert batches.num_stopped == one_by_one.num_stopped


@given(setting=a_setting, seed=st.integers(0, 2**32))
@settings(max_examples=rounds(600), deadline=None)
def test_reports_are_decided_as_the_rule_is_and_replay_gives_the_same_rungs(
    setting: dict[str, Any], seed: int
) -> None:
    """Trials that fail in the middle and are tried again go on with their rung, strikes and best value."""
    draw = random.Random(seed)
    rule, twin = a_rule(**setting), a_rule(**setting)
    ring = Ring(bytearray(4096 + (1 << 18)), create=True)
    reporter = Reporter(ring, metric="m", rule=rule, time_attr="t")
    for trial in range(40):
        left: tuple[int, int, float] = (-1, 0, math.nan)
        for attempt in range(2):
            rung, strikes, best = left
            reporter.begin(trial, 0, 0.0, rung, changes=attempt, strikes=strikes, best=best)
            found = CONTINUE
            last = None
            for t in range(draw.randrange(12)):
                last = float(3 * t + attempt), draw.choice([draw.random(), float(draw.randrange(3)), math.nan])
                if draw.random() < 0.1:
                    reporter.report({"t": last[0]})  # no metric: decides nothing, and at the end it is not counted
                    last = None
                    continue
                found = reporter.report({"t": last[0], "m": last[1]})
                assert found == twin.judge(trial, *last)
                assert repr(reporter.suspend()[4:7]) == repr(
                    (*twin.standing(trial)[:2], twin.standing(trial)[2])
                )
                if found == STOP:
                    break
            left = twin.standing(trial)
            if attempt or found == STOP:
                reporter.end()
                if last is not None:
                    twin.complete(trial, *last)
                break
    data = bytes(ring.take())
    assert repr(rule.cutoffs()) == repr(twin.cutoffs())
    again = a_rule(**setting)
    smooth = (1 if setting["maximise"] else -1) if setting["smooth"] else 0
    for sequence, trial, rung, names, raw, decided in sorted(
        judgements(data, None, "m", smooth, {}), key=lambda one: one[0]
    ):
        values = array("d", raw)
        again.record(
            trial, rung, values[0] if names is None else values[names[0].index("m")], sequence, decided == STOP
        )
    assert repr(again.cutoffs()) == repr(rule.cutoffs())
    assert (again.sequence, again.num_stopped) == (rule.sequence, rule.num_stopped)


# -- the percentile rule -------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.5, 2, 3, 4, 10])
def test_Q1_the_percentile_rule_is_numpys_nanpercentile_on_long_streams(factor: float) -> None:
    draw = random.Random(1)
    asha = a_rule(reduction_factor=factor, max_t=1, capacity=2000, stop_last_trials=False)
    held: list[float] = []
    for trial in range(2000):
        value = draw.choice([draw.gauss(0, 1), draw.random() * 1e-300, float(draw.randrange(5)), math.nan])
        cutoff = np.nanpercentile(held, (1 - 1 / factor) * 100) if not np.isnan(held).all() else None
        assert asha.judge(trial, 1, value) == (cutoff is not None and value < cutoff)
        held.append(value)


# -- the paper's rule ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2, 2.5, 3, 4])
def test_Q1_rank_goes_on_iff_it_is_among_the_best_floor_of_n_over_eta(factor: float) -> None:
    draw = random.Random(2)
    asha = a_rule(rank=True, reduction_factor=factor, max_t=1, stop_last_trials=False, capacity=2000)
    values: list[float] = []
    went_on = 0
    for trial in range(2000):
        values.append(draw.random())
        rank = 1 + sum(value > values[-1] for value in values)
        goes_on = rank <= max(1, math.floor(len(values) / factor))
        assert asha.judge(trial, 1, values[-1]) == (CONTINUE if goes_on else STOP)
        went_on += goes_on
    assert asha.num_stopped == 2000 - went_on


TRANSFORMS = {
    "exp": lambda v: math.exp(v) if v < 700 else math.inf,
    "cube": lambda v: v**3,
    "arctan": math.atan,
    "to infinity": lambda v: -1 / v if v < 0 else math.inf,
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("maximise", [True, False])
@pytest.mark.parametrize("more", [{}, {"patience": 2}, {"smooth": True}, {"patience": 2, "smooth": True}])
def test_Q1_rank_is_unchanged_by_increasing_transforms(
    name: str, maximise: bool, more: dict[str, Any]
) -> None:
    draw = random.Random(3)
    rows = [(trial, t, -float(draw.randrange(1000)) / 100) for t in range(1, 28) for trial in range(30)]
    rules = [a_rule(rank=True, maximise=maximise, **more) for _ in range(2)]
    plain = [rules[0].judge(*row) for row in rows]
    assert plain == [rules[1].judge(trial, t, TRANSFORMS[name](value)) for trial, t, value in rows]
    assert STOP in plain


def test_Q1_rank_equal_values_share_the_better_rank_and_nan_is_the_worst() -> None:
    asha = a_rule(rank=True, reduction_factor=2)
    assert [asha.judge(trial, 1, 5.0) for trial in range(5)] == [CONTINUE] * 5
    assert asha.judge(5, 1, math.nan) == STOP
    assert asha.judge(6, 1, -math.inf) == STOP
    assert asha.judge(7, 1, math.inf) == CONTINUE
    assert asha.rung_sizes()[0][0] == 8
    assert a_rule(rank=True).judge(0, 1, math.nan) == CONTINUE  # the first is the best so far


def test_Q1_percentile_keeps_more_than_the_paper() -> None:
    """What goals.md saw in Ray Tune: some percent too many, and another choice under a transform."""
    draw = random.Random(4)
    values = [draw.random() for _ in range(300)]
    kept = {}
    for name, more in {"rank": {"rank": True}, "percentile": {}}.items():
        asha = a_rule(**more, max_t=1, capacity=300, stop_last_trials=False)
        kept[name] = sum(asha.judge(trial, 1, value) == CONTINUE for trial, value in enumerate(values))
    assert kept["rank"] < kept["percentile"]


# -- patience and smoothing ----------------------------------------------------------------------------------


def leader(**more: Any) -> Asha:
    """A rule with trial 0 ahead on every rung but the last."""
    asha = a_rule(**more)
    for t in (1, 3, 9):
        asha.judge(0, t, 10.0)
    return asha


def test_patience_stops_after_so_many_rungs_in_a_row() -> None:
    for patience, at in [(0, 1), (1, 1), (2, 3), (3, 9)]:
        asha = leader(patience=patience)
        told = {t: asha.judge(1, t, 5.0) for t in (1, 2, 3, 4, 9)}
        assert next(t for t, decision in told.items() if decision == STOP) == at
    asha = leader(patience=2)
    assert [asha.judge(1, t, v) for t, v in [(1, 5.0), (3, 20.0), (9, 5.0), (27, 0.0)]] == [0, 0, 0, 1]
    assert asha.standing(1) == (2, 1, pytest.approx(math.nan, nan_ok=True))  # max_t ended it


def test_smoothing_judges_and_records_the_best_value_so_far() -> None:
    asha = leader(smooth=True, max_t=26)
    assert asha.judge(1, 0.5, 12.0) == CONTINUE  # before the first rung
    assert asha.judge(1, 1, math.nan) == CONTINUE
    assert asha.judge(1, 3, -math.inf) == CONTINUE
    assert asha.judge(2, 1, 11.0) == STOP  # against 10 and 12
    assert asha.standing(1) == (1, 0, 12.0)
    assert a_rule(max_t=26, smooth=True, maximise=False).standing(7)[0] == -1


def test_smoothing_for_min_keeps_the_least() -> None:
    asha = a_rule(smooth=True, maximise=False)
    asha.judge(0, 1, 3.0)
    asha.judge(0, 2, 1.0)
    asha.judge(0, 3, 2.0)
    assert asha.standing(0) == (1, 0, 1.0)
    assert asha.cutoffs()[0][2:] == [(3.0, 1.0), (1.0, 3.0)]


# -- batches -------------------------------------------------------------------------------------------------


def test_batches_refuse_what_does_not_fit() -> None:
    asha = a_rule(capacity=2)
    columns = [array("q", [0]), array("d", [1.0]), array("d", [1.0]), array("b", [0])]
    for k in range(4):
        wrong = [*columns]
        wrong[k] = wrong[k] * 2
        with pytest.raises(ValueError, match="columns of one length"):
            asha.decide(*wrong)
    with pytest.raises(ValueError, match="row 0 is of trial -1"):
        asha.decide(array("q", [-1]), *columns[1:])
    decisions = array("b", [7] * 4)
    with pytest.raises(OverflowError, match="2 trials have reached it"):
        asha.decide(array("q", range(4)), array("d", [1.0] * 4), array("d", [3.0, 2.0, 1.0, 0.0]), decisions)
    assert list(decisions) == [CONTINUE, STOP, 7, 7]
    asha.decide(array("q"), array("d"), array("d"), array("b"))


def test_patience_is_checked() -> None:
    for patience in (-1, 65):
        with pytest.raises(ValueError, match="patience must be from 0 to 64 rungs"):
            a_rule(patience=patience)
