"""Which signals count: an impatient finger, and GNU timeout, send more than are meant."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from fasttune.engine import interrupts
from fasttune.engine.interrupts import ONE_SIGNAL_S, Interrupts


class Loop:
    """A loop in its turns, which is told in a trial, or not."""

    interrupts = 0
    turning = True
    in_trial = False
    told = 0

    def interrupts_trial(self) -> None:
        self.told += 1


Send = Callable[..., bool]


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def send(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Send:
    """A signal, so many seconds after the last one; whether it raises KeyboardInterrupt."""
    signals, now = Interrupts(loop), [100.0]
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: now[0])

    def sent(after: float, number: int = signal.SIGINT) -> bool:
        now[0] += after
        try:
            signals._on_signal(number, None)
        except KeyboardInterrupt:
            return True
        return False

    return sent


def test_keys_that_are_pressed_until_something_happens_count_once_a_second(loop: Loop, send: Send) -> None:
    raised = [send(0.25 * ONE_SIGNAL_S) for _ in range(12)]
    assert raised == [False] * 4 + [True] + [False] * 3 + [True] + [False] * 3
    assert loop.interrupts == 3


def test_another_signal_counts_at_once(loop: Loop, send: Send) -> None:
    assert not send(0.0)
    assert send(0.01, signal.SIGTERM)
    assert loop.interrupts == 2


def test_while_results_are_brought_home_it_takes_one_more(loop: Loop, send: Send) -> None:
    loop.turning = False
    assert [send(ONE_SIGNAL_S) for _ in range(3)] == [False, False, True]


def test_a_trial_is_told_before_it_is_interrupted(loop: Loop, send: Send) -> None:
    loop.in_trial = True
    assert send(0.0)
    assert loop.told == 1
