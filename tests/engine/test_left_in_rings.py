"""What a killed run left in its rings is seen again in the turns in which the loop would have had it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fasttune import _core
from fasttune.engine.records import turns_of


def written(seed: int) -> tuple[bytes, list[int]]:
    """Records of trials of which some ask; and where a turn ends."""
    draw = random.Random(seed)
    ring = _core.Ring(bytearray(_core.Ring.HEADER + (1 << 16)), create=True)
    kinds: list[tuple[int, int]] = []
    for _trial in range(draw.randint(1, 12)):
        kinds += [(_core.KIND_START, 0)]
        for _ in range(draw.randint(0, 4)):
            kinds.append((_core.KIND_REPORT, draw.choice([_core.CONTINUE, _core.WAIT])))
            kinds += [(_core.KIND_CHECKPOINT, 0)] * draw.randint(0, 2)
        kinds.append((_core.KIND_END, 0))
    ends, at, asked = [], 0, False
    for kind, flags in kinds:
        if asked and kind != _core.KIND_CHECKPOINT:
            ends.append(at)
            asked = False
        asked = asked or flags == _core.WAIT
        assert ring.write(kind, 1, 1, bytes(8 * draw.randint(0, 3)), flags, False)
        at = ring.head
    return bytes(ring.take()), ends


@pytest.mark.parametrize("seed", range(40))
def test_a_part_ends_behind_a_report_that_asked_and_what_was_saved_with_it(seed: int) -> None:
    data, ends = written(seed)
    parts = [bytes(part) for part in turns_of(data)]
    assert b"".join(parts) == data
    lengths: list[int] = []
    for part in parts[:-1]:
        lengths.append(len(part) + (lengths[-1] if lengths else 0))
    assert lengths == ends


@pytest.mark.parametrize("data", [b"", bytes(8), bytes(7), b"\xff" * 64])
def test_what_is_no_record_is_one_part(data: Any) -> None:
    assert b"".join(map(bytes, turns_of(data))) == data
