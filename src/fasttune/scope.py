"""The scope of "best": which of a trial's reports say how good the trial is, and how a screen says that.

"last" is the default everywhere, as it is for Ray Tune's users: the last value is that of the model which the trial has
left, in its newest checkpoint, and the luckiest of many noisy values is not. "all" is for runs whose checkpoints of the
best moment are kept, or which train the winner again for as long.
"""

from __future__ import annotations

from typing import Literal

Scope = Literal["last", "all", "avg", "last-5-avg", "last-10-avg"]
SCOPES: tuple[Scope, ...] = ("last", "all", "avg", "last-5-avg", "last-10-avg")
DEFAULT_SCOPE: Scope = "last"


def check_scope(scope: object) -> Scope:
    """The scope, if it is one; ValueError."""
    if scope not in SCOPES:
        raise ValueError(
            f"scope must be one of {', '.join(SCOPES)} (which values of a trial count: its last, its best of all, or "
            f"a mean), got {scope!r}"
        )
    return scope


def measured(metric: str, scope: str, over: bool = True) -> str:
    """What is best, in words: "last accuracy", "accuracy" ("accuracy so far" until it is ``over``), "mean accuracy"."""
    if scope == "all":
        return metric if over else f"{metric} so far"
    if scope == "avg":
        return f"mean {metric}"
    if scope.startswith("last-"):
        return f"mean of the last {scope.split('-')[1]} {metric}"
    return f"last {metric}"


def by_trial(trial_id: str, failed: bool, violation: float = 0.0) -> str:
    """Whose value the best one is; that its trial has failed, or breaks its constraints, as all others do, is said with it."""
    broken = f"breaks constraints by {violation:.4g}" if violation > 0 else ""
    said = ", ".join(filter(None, ["failed" if failed else "", broken]))
    return f"{trial_id} ({said})" if said else trial_id


def where(step: int | None) -> str:
    """Behind the value of one report: ", at iteration 61"; "" for all other values."""
    return "" if step is None else f", at iteration {step:,}"
