"""Replaying a journal's judgements rebuilds the rungs; records encode and decode as themselves."""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune import _core
from fasttune._core import Asha, Reporter, Ring, TrialTable
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model import HEADER, report_record

word = st.integers(0, 2**32 - 1)


@given(
    kind=st.integers(1, 17), trial=word, step=word, payload=st.binary(max_size=70), flags=st.integers(0, 255)
)
def test_a_record_is_its_header_and_its_padded_payload(
    kind: int, trial: int, step: int, payload: bytes, flags: int
) -> None:
    data = _core.encode(kind, trial, step, payload, flags, 1.5)
    whole = payload + b"\0" * (-len(payload) % 8)
    held = kind == _core.KIND_CHECKPOINT and flags & 1  # of bytes, it says how many of its last ones are padding
    schema = len(whole) - len(payload) if held else 0
    assert data == HEADER.pack(24 + len(whole), kind, flags, schema, trial, step, 1.5) + whole
    assert _core.decode(data) == [(kind, flags, schema, trial, step, 1.5, whole)]


def replayed(data: bytes, seed: int, **settings: Any) -> Asha:
    """A rule with the judgements of a journal put back, as a resumed run does it."""
    rule = Asha(seed=seed, **settings)
    for _, trial, rung, told, raw, _ in sorted(_core.judgements(data), key=lambda found: found[0]):
        values = struct.unpack(f"<{len(raw) // 8}d", raw)
        rule.record(trial, rung, values[0] if told is None else values[told[0].index("m")])
    return rule


@given(
    seed=st.integers(0, 10**6),
    brackets=st.integers(1, 3),
    maximise=st.booleans(),
    stop_last=st.booleans(),
    max_t=st.sampled_from([9, 10, 27]),
)
@settings(max_examples=rounds(600), deadline=None)
def test_replay_rebuilds_the_rungs(
    seed: int, brackets: int, maximise: bool, stop_last: bool, max_t: int
) -> None:
    given = {
        "max_t": max_t,
        "grace_period": 1,
        "reduction_factor": 3,
        "brackets": brackets,
        "maximise": maximise,
    }
    asha = Asha(**given, stop_last_trials=stop_last, seed=seed, capacity=256)
    ring = Ring(bytearray(4096 + (1 << 18)), create=True)
    reporter = Reporter(ring, metric="m", rule=asha)
    draw = random.Random(seed)
    for trial in range(60):
        reporter.begin(trial)
        for _ in range(draw.randrange(1, 30)):
            value = draw.choice([draw.random(), draw.randrange(3), float("nan"), float("inf")])
            if draw.random() < 0.5:
                decision = reporter.report({"m": value})
            else:
                decision = reporter.report_extra({"x": 1, "m": value}, {"s": "t"}, b'{"s":"t"}', None)
            if decision == _core.STOP:
                break
        reporter.end()
    data = bytes(ring.take())
    again = replayed(data, seed, **given, stop_last_trials=stop_last, capacity=256)
    assert again.sequence == asha.sequence
    assert again.rung_sizes() == asha.rung_sizes()
    assert repr(again.cutoffs()) == repr(asha.cutoffs())
    table = TrialTable("m")
    table.apply(_core.encode(_core.KIND_CONFIGS, 0, 60), 0)
    table.apply(data, 1)
    assert table.judgements == asha.sequence
    assert table.counts()["TERMINATED"] == 60


def test_judgements_of_damaged_records_raise() -> None:
    report = bytearray(report_record(0, 0, 1, [1.0]))
    report[5] |= 0x08
    with pytest.raises(ValueError, match="never told"):
        _core.judgements(report)
    told = [(("m",), b"f")]
    with pytest.raises(ValueError, match="too short for 1 values"):
        _core.judgements(report, told)
    with pytest.raises(ValueError, match="too short for a judgement"):
        _core.judgements(_core.encode(_core.KIND_END, flags=0x08))
