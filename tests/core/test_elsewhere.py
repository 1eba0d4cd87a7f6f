"""Reports that are judged in another process are judged as if they had been where they were made: same records, same answers."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from fasttune import _core

SETTINGS = (
    {},
    {"rank": True},
    {"patience": 2},
    {"smooth": True},
    {"brackets": 3, "seed": 5},
    {"stop_last_trials": False, "patience": 3, "smooth": True, "rank": True},
)


def rule_of(**more: Any) -> _core.Asha:
    return _core.Asha(**{"max_t": 27, "grace_period": 1, "reduction_factor": 3, "brackets": 1, "maximise": False, **more})


class Judged:
    """Trials whose reports are judged by one rule: in the reporter itself, or elsewhere."""

    def __init__(self, elsewhere: bool, **more: Any) -> None:
        self.rule = rule_of(**more)
        self.ring = _core.Ring(bytearray(_core.Ring.nbytes(1 << 16)), create=True)
        self.ring.hold(1000.0)
        there = rule_of(**more) if elsewhere else self.rule
        self.reporter = _core.Reporter(self.ring, metric="loss", rule=there, elsewhere=elsewhere)
        self.elsewhere = elsewhere
        self.records: list[tuple[Any, ...]] = []

    def take(self) -> list[tuple[int, int, int]]:
        data = b"".join(iter(self._taken, b""))
        answers: list[tuple[int, int, int]] = []
        if self.elsewhere:
            data, answers = _core.judge_records(self.rule, data)
        self.records += _core.decode(data)
        self.ring.release()
        return answers

    def _taken(self) -> bytes:
        data = self.ring.take()
        return b"" if data is None else bytes(data)

    def run(self, trial: int, losses: list[float], standing: tuple[int, int, float] = (-1, 0, math.nan)) -> int:
        """Returns how many reports it made; ends by itself behind the last one."""
        rung, strikes, best = standing
        assert self.reporter.begin(trial, 0, 0.0, rung, strikes=strikes, best=best)
        for step, loss in enumerate(losses, 1):
            code = self.reporter.report({"loss": loss})
            answers = self.take()
            if code == _core.WAIT:
                [(told, code, tag)] = answers
                assert told == trial
                self.reporter.judged(tag, code)
            if code == _core.STOP:
                assert self.reporter.end(_core.STOP)
                self.take()
                return step
        assert self.reporter.end()
        assert self.take() == []
        return len(losses)


def losses(drawn: random.Random) -> list[float]:
    n = drawn.choice((1, 2, 3, 5, 9, 14, 30))
    return [drawn.choice((math.nan, drawn.random(), drawn.random(), round(drawn.random(), 1))) for _ in range(n)]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(5))
def test_the_records_are_those_of_a_reporter_that_judges_itself(settings: dict[str, Any], seed: int) -> None:
    drawn = random.Random(seed)
    here, there = Judged(False, **settings), Judged(True, **settings)
    for trial in range(150):
        told = losses(drawn)
        standing = drawn.choice(((-1, 0, math.nan), (-1, 0, math.nan), (1, 1, 0.25)))
        assert here.run(trial, told, standing) == there.run(trial, told, standing)
    assert repr(here.records) == repr(there.records)  # NaN is equal to itself there
    assert here.rule.rung_sizes() == there.rule.rung_sizes()
    assert here.rule.num_stopped == there.rule.num_stopped > 0


def test_nothing_is_judged_and_nothing_waits_between_rungs() -> None:
    judged = Judged(True)
    assert judged.reporter.begin(0)
    codes = [judged.reporter.report({"loss": 1.0})]
    judged.reporter.judged(0, _core.CONTINUE)
    codes.append(judged.reporter.report({"loss": 1.0}))
    assert codes == [_core.WAIT, _core.CONTINUE]
    assert judged.rule.sequence == 0
    assert [trial for trial, _, _ in judged.take()] == [0]
    assert judged.rule.sequence == 1


def test_a_report_for_which_there_is_no_room_is_not_there_at_all() -> None:
    judged = Judged(True)
    judged.ring = ring = _core.Ring(bytearray(_core.Ring.nbytes(4096)), create=True)
    judged.rule = rule_of(grace_period=2)
    judged.reporter = reporter = _core.Reporter(ring, metric="loss", rule=rule_of(grace_period=2), elsewhere=True)
    assert reporter.begin(0)
    assert reporter.report({"loss": 1.0}) == _core.CONTINUE  # the names of metrics are known from here on
    while ring.write(_core.KIND_TOLD, 0, 0, b"12345678"):
        pass
    judged.take()
    before = ring.head
    left = 4096 - 72  # room for the report, and for half of what follows it
    while ring.head - before < left:
        assert ring.write(_core.KIND_TOLD, 0, 0, b"12345678" if left - (ring.head - before) > 32 else b"")
    head = ring.head
    assert reporter.report({"loss": 1.0}) == _core.FULL
    assert ring.head == head
    judged.take()
    assert reporter.report({"loss": 1.0}) == _core.WAIT
    [(trial, decision, _)] = judged.take()
    assert (trial, decision) == (0, _core.CONTINUE)
    assert judged.rule.rung_sizes() == [[1, 0, 0]]


def test_damaged_judgements_are_refused() -> None:
    judged = Judged(True)
    assert judged.reporter.begin(0)
    judged.reporter.report({"loss": 1.0})
    data = bytes(judged.ring.take())
    _core.judge_records(rule_of(), data)
    at = len(data) - 40
    for place, value in ((at + 32, 0xFF), (at + 36, 0x40), (at + 8, 7)):
        wrong = bytearray(data)
        wrong[place] = value
        with pytest.raises(ValueError, match="damaged judgement"):
            _core.judge_records(rule_of(), wrong)
    with pytest.raises(ValueError, match="damaged judgement"):
        _core.judge_records(rule_of(), data[at:])
    with pytest.raises(ValueError, match="damaged"):
        _core.judge_records(rule_of(), data[:-8])
