"""Steps and episodes of a function's reports, added up as a class Trainable adds up those of its steps.

    timesteps_this_iter -> timesteps_total        episodes_this_iter -> episodes_total

A total begins with the first report that has its key, and stands in every report from there on. It goes with the
checkpoints that are reported with it: whoever goes on from one begins with its totals.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fasttune.checkpoint import STATE_FILE, pack, unpack
from fasttune.metric_values import EXACT_INT, is_number
from fasttune.plain_files import plain_opener
from fasttune.result_keys import EPISODES_THIS_ITER, EPISODES_TOTAL, TIMESTEPS_THIS_ITER, TIMESTEPS_TOTAL

TOTALS = {TIMESTEPS_THIS_ITER: TIMESTEPS_TOTAL, EPISODES_THIS_ITER: EPISODES_TOTAL}


def added_up(totals: Mapping[str, Any], numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The totals behind a report that has these numbers."""
    new = dict(totals)
    for key, total in TOTALS.items():
        if key in numbers:
            added = new.get(total, 0) + numbers[key]
            new[total] = added if abs(added) <= EXACT_INT else float(added)  # a number of a report, as its parts are
    return new


def totals_in(saved: str | bytes | None) -> dict[str, Any]:
    """The totals that a checkpoint was reported with: a directory, the checkpoint itself, or None for no checkpoint."""
    if saved is None:
        return {}
    state = unpack(saved)[0].get("counters", {}) if isinstance(saved, bytes) else state_in(saved)
    return {total: state[total] for total in TOTALS.values() if is_number(state.get(total))}


def with_totals(held: bytes, totals: Mapping[str, Any]) -> bytes:
    """A checkpoint in memory that bears the totals of its report."""
    notes, data = unpack(held)
    return pack(data, {**notes, "counters": dict(totals)})


def write_totals(directory: str, totals: Mapping[str, Any]) -> None:
    """Leave the totals of its report in a checkpoint's directory."""
    import json

    with open(os.path.join(directory, STATE_FILE), "w", encoding="utf-8", opener=plain_opener) as file:
        json.dump(totals, file)


def state_in(directory: str) -> dict[str, Any]:
    """What was counted when a checkpoint's directory was written; {} if nothing was, or somebody else wrote it."""
    import json

    try:
        with open(os.path.join(directory, STATE_FILE), encoding="utf-8") as file:
            state = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
