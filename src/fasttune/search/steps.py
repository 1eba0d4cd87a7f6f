"""Losses of trials that were trained for different numbers of steps, for searchers that compare losses alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

WHOLE = 0  # the step of a result of which nobody said when it was told: it counts as the last one


def comparable(losses: Sequence[float], steps: Sequence[int], enough: int) -> list[float]:
    """The losses, of which those that were told too early count as no better than the middle of those that were not.

    Too early is before the largest step that ``enough`` results came to: after fewer steps a config looks worse than it is, or, where
    the metric grows with training, better. A loss that is not finite stays as it is.
    """
    if len(set(steps)) < 2:
        return list(losses)
    last = max(steps)
    told = sorted((step or last for step, loss in zip(steps, losses, strict=True) if math.isfinite(loss)), reverse=True)
    if not told:
        return list(losses)
    least = told[min(enough, len(told)) - 1]
    whole = [(step or last) >= least for step in steps]
    long = sorted(loss for loss, is_whole in zip(losses, whole, strict=True) if is_whole and math.isfinite(loss))
    middle = long[len(long) // 2]
    return [
        loss if is_whole or not math.isfinite(loss) else max(loss, middle) for loss, is_whole in zip(losses, whole, strict=True)
    ]
