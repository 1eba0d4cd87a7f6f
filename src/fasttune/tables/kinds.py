"""Columns of a metric as what was reported: whole numbers, truths, or floats (see ``ReportBlock.kinds``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def of_kind(values: NDArray[np.float64], kind: str) -> NDArray[Any]:
    """A column without gaps. Whole numbers stay floats where one of them is none."""
    import numpy as np

    if kind == "i" and np.isfinite(values).all():
        return values.astype(np.int64)
    return values.astype(np.bool_) if kind == "b" else values


def of_kind_where(values: NDArray[np.float64], present: NDArray[np.bool_], kind: str) -> NDArray[Any]:
    """A column with gaps, which are NaN: whole numbers become floats there, and truths objects."""
    if present.all():
        return of_kind(values, kind)
    if kind != "b":
        return values
    column = values.astype(object)
    column[present] = of_kind(values[present], kind)
    return column
