"""What a journal says of trials that add up their ``lr``, done again one trial at a time: slow and obvious."""

from __future__ import annotations

import json
from typing import Any

import fasttune as tune
from fasttune import _core

NAMES = {value: name[5:] for name, value in vars(_core).items() if name.startswith("KIND_")}


def records(analysis: Any) -> list[tuple[str, int, int, bytes]]:
    """(kind, trial, step, payload) of all that the journal holds, in order."""
    found = tune.ExperimentAnalysis(analysis.experiment_path)
    return [
        (NAMES[kind], trial, step, bytes(payload or b""))
        for _, _, data in found._source._entries()
        for kind, _, _, trial, step, _, payload in _core.decode(data)
    ]


def check_sums(analysis: Any) -> dict[str, int]:
    """AssertionError unless each trial's ``sum`` is, at every report, what it was where the trial went on from and the ``lr`` that it
    had then. How often what happened."""
    source = tune.ExperimentAnalysis(analysis.experiment_path)._source
    lr: dict[int, float] = {}
    at: dict[tuple[int, int], float] = {}  # the newest sum of a trial at a step
    now: dict[int, float] = {}
    given: dict[int, tuple[int, float]] = {}  # what a trial was given to go on from, as long as it has saved nothing itself
    counts: dict[str, int] = {}
    keys: list[str] = []
    for kind, trial, step, payload in records(analysis):
        counts[kind] = counts.get(kind, 0) + 1
        if kind == "SCHEMA":
            keys = _keys(payload)
        elif kind == "CHANGED":
            told = json.loads(payload.rstrip(b"\0"))
            if told["config"] is not None:
                lr[trial] = told["config"]["lr"]
            if told["donor"] is not None:
                given[trial] = told["iteration"], at[told["donor"], told["iteration"]]
        elif kind == "CHECKPOINT":
            given.pop(trial, None)
        elif kind == "START":
            if step and trial in given:
                since, now[trial] = given[trial]
                assert since == step, (trial, since, step)
            else:
                now[trial] = at[trial, step] if step else 0.0
        elif kind == "REPORT":
            now[trial] += lr.setdefault(trial, source.configs.as_suggested(trial)["lr"])
            at[trial, step] = now[trial]
            value = memoryview(payload[: 8 * len(keys)]).cast("d")[keys.index("sum")]
            assert abs(value - now[trial]) < 1e-9, (trial, step, value, now[trial])
    return counts


def _keys(payload: bytes) -> list[str]:
    text = payload.rstrip(b"\0")
    return [key for key in ("sum", "loss") if key.encode() in text] if b"loss" in text else ["sum"]
