"""User attributes: names and values that somebody attaches to a run or to a trial. They are kept, shown and searched for, and
steer nothing. The name is Optuna's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fasttune import _core
from fasttune.metric_values import kept_value

MOST_BYTES = 1 << 16  # of the attributes that are set in one call, as JSON


def set_user_attr(name: str, value: Any) -> None:
    """Attaches a value to the trial that runs here; the same name again replaces it.

    ``trial.user_attrs`` has it at once, also while the trial runs, and data frames have a column ``user_attrs/<name>``. What
    JSON does not have is kept as the nearest that it has, or as text. Every thread of a trial may call it; where no trial runs
    it does nothing and says so once.

    Raises:
        TypeError, ValueError: the name is no text or is empty; name and value take more than 64 KiB.
    """
    from fasttune.session import note_here

    note_here(_core.KIND_TOLD, as_json(check_user_attrs({name: value})), "set_user_attr")


def check_user_attrs(given: object) -> dict[str, Any]:
    """The attributes as they are kept. TypeError, ValueError."""
    if not isinstance(given, Mapping):
        raise TypeError(f"user_attrs must be a dict of names and values, got {given!r}")
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"the name of a user attribute must be a text, got {name!r}")
        if not name:
            raise ValueError("the name of a user attribute must not be empty")
    kept = {name: kept_value(name, value, "user attribute") for name, value in given.items()}
    size = len(as_json(kept))
    if size > MOST_BYTES:
        raise ValueError(
            f"user attributes {', '.join(map(repr, list(kept)[:5]))} take {size:,} bytes, and at most {MOST_BYTES:,} are kept: "
            "put large things into a file or a checkpoint, and attach its name"
        )
    return kept


def as_json(attributes: Mapping[str, Any]) -> bytes:
    """What the journal says of a trial's attributes."""
    import json

    return json.dumps({"attributes": attributes}).encode()
