"""A scheduler's state in a file, with what it is a state of: a scheduler that is another one refuses it.

The file is JSON: opening it runs no code. A run that is resumed needs none, it has the journal.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.identity import arguments_of, described, differences

if TYPE_CHECKING:
    from fasttune.schedulers.base import TrialScheduler

SAID_BY_RUN = ("metric", "mode")  # or by the scheduler: compared by what holds


class SavedState(NamedTuple):
    """What a scheduler had left in a file."""

    state: Any
    metric: str | None  # None: it had none yet
    mode: str | None


def write_state(path: str | os.PathLike[str], scheduler: TrialScheduler, state: Any) -> None:
    """Write the state of a scheduler, and whose it is."""
    told = {
        "scheduler": type(scheduler).__name__,
        "metric": scheduler.metric,
        "mode": scheduler.mode,
        "settings": _settings(scheduler),
        "state": state,
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(told, file)


def read_state(path: str | os.PathLike[str], scheduler: TrialScheduler) -> SavedState:
    """What such a scheduler had written. ValueError with the differences if it was another one."""
    with open(path, encoding="utf-8") as file:
        try:
            told = json.load(file)
        except ValueError:
            told = None
    if not isinstance(told, dict) or not {"scheduler", "metric", "mode", "settings", "state"} <= told.keys():
        raise ValueError(f"{os.fspath(path)!r} is not what save() of a scheduler has written")
    if told["scheduler"] != type(scheduler).__name__:
        raise ValueError(
            f"{os.fspath(path)!r} is the state of {told['scheduler']}, and {type(scheduler).__name__} cannot go on from it"
        )
    found = differences(told["settings"], _settings(scheduler), loosely=True)
    found += unlike(told["metric"], told["mode"], scheduler.metric, scheduler.mode)
    if found:
        raise ValueError(
            f"{os.fspath(path)!r} is the state of another {told['scheduler']}: {'; '.join(found)}. Make this one as that was"
        )
    return SavedState(told["state"], told["metric"], told["mode"])


def unlike(metric: str | None, mode: str | None, own_metric: str | None, own_mode: str | None) -> list[str]:
    """In what the metric and the mode of a state differ from those that hold, as far as both are known."""
    pairs = (("metric", metric, own_metric), ("mode", mode, own_mode))
    return [f"{name}: {was!r} was, {own!r} is" for name, was, own in pairs if None not in (was, own) and was != own]


def _settings(scheduler: TrialScheduler) -> dict[str, Any]:
    given = arguments_of(scheduler)
    return {name: described(value) for name, value in given.items() if name not in SAID_BY_RUN}
