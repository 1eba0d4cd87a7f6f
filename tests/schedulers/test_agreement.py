"""How far early steps can be trusted (``fasttune/agreement.py``)."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from fasttune.agreement import LEAST_PAIRS, StepValues, agreement, normal_score, usual


def pairs_of(rho: float, n: int, seed: int) -> list[tuple[float, float]]:
    """Draws from the normal distribution whose correlation is ``rho``."""
    draw = random.Random(seed)
    made = []
    for _ in range(n):
        x = draw.gauss(0, 1)
        made.append((x, rho * x + math.sqrt(1 - rho * rho) * draw.gauss(0, 1)))
    return made


@pytest.mark.parametrize("rho", [-0.8, 0.0, 0.5, 0.9])
def test_agreement_of_all_is_their_correlation(rho: float) -> None:
    pairs = pairs_of(rho, 400, seed=1)
    assert agreement(pairs, sorted(x for x, _ in pairs)) == pytest.approx(rho, abs=0.1)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_trials_that_were_chosen_by_the_early_value_tell_the_same(rho: float) -> None:
    """The best third alone agree less among each other, which is put right."""
    pairs = sorted(pairs_of(rho, 1200, seed=2))
    everyone, chosen = [x for x, _ in pairs], pairs[:400]
    assert agreement(chosen, everyone) == pytest.approx(rho, abs=0.15)
    if rho == 0.5:
        assert agreement(chosen, sorted(x for x, _ in chosen)) < 0.4  # as it would be without


def test_it_is_a_matter_of_ranks() -> None:
    pairs = pairs_of(0.7, 100, seed=3)
    bent = [(math.exp(3 * x), y**3) for x, y in pairs]
    assert agreement(bent, sorted(x for x, _ in bent)) == pytest.approx(agreement(pairs, sorted(x for x, _ in pairs)))


def test_few_or_equal_values_tell_nothing() -> None:
    assert agreement([(0.0, 0.0)] * (LEAST_PAIRS - 1), [0.0] * 9) == 0.0
    assert agreement([(1.0, y) for y in (1.0, 2.0, 3.0, 4.0)], [1.0] * 9) == 0.0
    assert agreement([(x, 1.0) for x in (1.0, 2.0, 3.0, 4.0)], [1.0, 2.0, 3.0, 4.0]) == 0.0
    assert normal_score([1.0, 1.0, 1.0], 1.0) == pytest.approx(0.0)


def curves(known: StepValues, rho: float, n: int, seed: int, share: float = 1 / 3, noise: float = 0.0) -> None:
    """Trials that come to step 1; the best of them to 64 and 81, where their values differ by noise alone."""
    draw = random.Random(seed)
    for trial, (x, y) in enumerate(pairs_of(rho, n, seed)):
        known.enter(trial, 1, x)
        if x < normal_quantile(share):
            known.enter(trial, 64, y + noise * draw.gauss(0, 1))
            known.enter(trial, 81, y + noise * draw.gauss(0, 1))
        known.over(trial)


def normal_quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)


def test_trust_is_what_is_usual_until_something_is_seen() -> None:
    known = StepValues()
    assert known.trust(1, 81) == pytest.approx(usual(1, 81)) == pytest.approx(0.9**4)
    assert known.trust(81, 81) == 1.0
    known.enter("a", 1, 0.5)
    assert known.trust(1, 81) == pytest.approx(0.9**4)


def test_trust_follows_what_is_seen() -> None:
    trusted = {}
    for rho in (-0.5, 0.0, 0.5, 0.95):
        known = StepValues()
        curves(known, rho, 200, seed=4)
        trusted[rho] = known.trust(1, 81)
    assert trusted[-0.5] < 0.1
    assert trusted[0.0] < 0.35
    assert trusted[0.0] < trusted[0.5] < trusted[0.95]
    assert trusted[0.95] > 0.8


def test_noise_at_the_end_is_not_the_early_steps_fault() -> None:
    """Values at the end that are half noise: an early step that knows all but the noise is trusted all the same."""
    noisy = StepValues()
    curves(noisy, 0.999, 400, seed=5, noise=1.0)
    bare = StepValues()
    curves(bare, 0.55, 400, seed=5)
    assert noisy.trust(1, 81) > bare.trust(1, 81) + 0.15


def test_a_step_that_tells_only_of_others_tells_nothing() -> None:
    """Those who came to the end are not known at the early step."""
    known = StepValues()
    for trial in range(20):
        known.enter(trial, 9 if trial % 2 else 1, float(trial))
    assert known.trust(1, 9) == 0.0


def test_a_trial_enters_a_step_once_and_is_forgotten_when_it_is_over() -> None:
    known = StepValues()
    assert known.enter("a", 1, 0.5)
    assert not known.enter("a", 1, 0.7)
    assert (known.count(1), known.count(3), known.steps) == (1, 0, [1])
    known.over("a")
    known.over("a")
    assert known.enter("a", 1, 0.7)
    assert known.count(1) == 2


def test_what_it_keeps_is_bounded() -> None:
    known: Any = StepValues()
    curves(known, 0.9, 5000, seed=6)
    assert not known._known
    assert max(len(values) for values in known._values.values()) <= 256
    assert max(len(pairs) for pairs in known._pairs.values()) <= 48
