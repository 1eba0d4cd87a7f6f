"""Seeds of 64 bits, from whatever a user calls one."""

from __future__ import annotations

import operator
import os
import sys
from typing import Any

from fasttune import _draws
from fasttune.argument import shown

SEED_LIMIT = 2**64


def seed_from(random_state: Any = None, name: str = "random_state") -> int:
    """A 64-bit seed.

    An int is the seed itself; from a numpy Generator or RandomState, or a ``random.Random``, one is drawn.
    None draws from numpy's global generator if the program has imported numpy, so that ``np.random.seed(s)``
    makes a run reproducible, and from the operating system otherwise. ``name`` is what the argument is called.
    """
    if random_state is None:
        numpy = sys.modules.get("numpy")
        if numpy is None or not hasattr(numpy, "random"):
            return int.from_bytes(os.urandom(8), "little")
        random_state = numpy.random
    if isinstance(random_state, int) or hasattr(random_state, "__index__"):
        seed = operator.index(random_state)
        if not 0 <= seed < SEED_LIMIT:
            raise ValueError(f"{name} must be >= 0 and < 2**64 when it is an int, got {shown(seed)}")
        return seed
    if hasattr(random_state, "getrandbits"):
        return int(random_state.getrandbits(64))
    if hasattr(random_state, "integers"):
        return int(random_state.integers(0, 2**63 - 1))
    if hasattr(random_state, "randint"):
        return int(random_state.randint(0, 2**63 - 1, dtype="int64"))
    raise TypeError(
        f"{name} must be None, an int, a numpy Generator or RandomState, got {shown(random_state)}"
    )


def derive_seed(seed: int, number: int) -> int:
    """Seed number ``number`` of the family of ``seed``: independent of it and of its brothers."""
    low, high, *_ = _draws.philox4x32(
        (number & 0xFFFFFFFF, number >> 32, 0, 2), (seed & 0xFFFFFFFF, seed >> 32)
    )
    return low | high << 32
