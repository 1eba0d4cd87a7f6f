"""The sampler of ``_core``, slow and plain: what it must equal to the last bit."""

from __future__ import annotations

import math
from collections.abc import Sequence

MASK = 0xFFFFFFFF


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox4x32-10."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(second >> 32) ^ c[1] ^ k[0], second & MASK, (first >> 32) ^ c[3] ^ k[1], first & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def words(seed: int, trial: int, number: int, purpose: int) -> tuple[int, int]:
    block = philox([trial & MASK, trial >> 32, number, purpose], [seed & MASK, seed >> 32])
    return block[0] | block[1] << 32, block[2] | block[3] << 32


def unit(word: int) -> float:
    return (word >> 11) / 2**53


def normal(seed: int, trial: int, leaf: int) -> float:
    first, second = words(seed, trial, leaf, 1)
    return math.sqrt(-2.0 * math.log(1.0 - unit(first))) * math.cos(6.283185307179586 * unit(second))


def quantized(value: float, q: float, low: float, high: float) -> float:
    if q:
        value = round(value / q) * q  # round() is half-to-even, as C's rint
    return min(max(value, low), high)


def value(rule: tuple[str, float, float, float], leaf: int, seed: int, trial: int, place: int = 0) -> float:
    """The number of one leaf; ``place`` is the trial's place in the grid of its sample."""
    letter, a, b, q = rule
    word = words(seed, trial, leaf // 2, 0)[leaf % 2]
    if letter == "u":
        high = math.nextafter(b, a) if not q and b > a else b
        return quantized(a + unit(word) * (b - a), q, a, high)
    if letter == "l":
        return quantized(math.exp(math.log(a) + unit(word) * (math.log(b) - math.log(a))), q, a, b)
    if letter == "n":
        return quantized(a + normal(seed, trial, leaf) * b, q, -math.inf, math.inf)
    if letter == "i":
        return (int(a) + (word * int(b - a) >> 64)) * int(q)
    if letter == "j":
        drawn = math.floor(math.exp(math.log(a) + unit(word) * (math.log(b) - math.log(a))))
        return min(max(drawn, int(a)), int(b) - 1) * int(q)
    return place // int(a) % int(b)
