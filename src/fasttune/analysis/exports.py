"""Frames for other libraries: Polars, Arrow and Parquet. Each library is imported when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fasttune.extras import optional

if TYPE_CHECKING:
    import pandas as pd
    import polars
    import pyarrow


def to_arrow(frame: pd.DataFrame) -> pyarrow.Table:
    """The frame as an Arrow table. Missing values are null; of a categorical column the dictionary is kept. Columns of values
    that Arrow has no common type for hold their texts."""
    arrow: Any = optional("pyarrow", "arrow", "to_arrow")
    mixed = (arrow.ArrowException, OverflowError, TypeError, ValueError)

    def column(values: pd.Series[Any]) -> Any:
        return _or_texts(values, lambda told: arrow.array(told, from_pandas=True), mixed)

    names = [str(name) for name in frame.columns]
    return arrow.table([column(frame.iloc[:, place]) for place in range(len(names))], names=names)


def to_polars(frame: pd.DataFrame) -> polars.DataFrame:
    """The frame as a Polars one, likewise; without pyarrow."""
    polars: Any = optional("polars", "polars", "to_polars")
    mixed = (TypeError, ValueError, OverflowError, polars.exceptions.PolarsError)

    def series(name: str, values: pd.Series[Any]) -> Any:
        if values.dtype == "category":
            known = polars.Series(name, values.cat.categories.tolist(), dtype=polars.String)
            return known.gather(values.cat.codes.to_numpy()).cast(polars.Categorical)
        if values.dtype.kind in "fib" and values.dtype != object:
            return polars.Series(name, values.to_numpy(), nan_to_null=True)
        return _or_texts(values, lambda told: _plain_series(polars, name, told), mixed)

    made = [series(str(name), frame.iloc[:, place]) for place, name in enumerate(frame.columns)]
    found: polars.DataFrame = polars.DataFrame(made)
    return found


def to_parquet(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write the frame into a Parquet file, compressed by Snappy; a file that is there is replaced. Columns of empty dicts, for
    which Parquet has no type, hold their texts."""
    optional("pyarrow", "arrow", "to_parquet")
    parquet: Any = optional("pyarrow.parquet", "arrow", "to_parquet")
    table = _without_hollow(to_arrow(frame), frame)
    whole = f"{os.fspath(path)}.writing"  # nobody finds half a file
    try:
        parquet.write_table(table, whole)
        os.replace(whole, path)
    finally:
        if os.path.exists(whole):
            os.remove(whole)


def _without_hollow(table: Any, frame: pd.DataFrame) -> Any:
    """The table with texts in the place of values that have a struct without fields in them."""
    arrow: Any = optional("pyarrow", "arrow", "to_parquet")
    for place, field in enumerate(table.schema):
        if _is_hollow(arrow, field.type):
            values = frame.iloc[:, place]
            texts = values.astype(object).where(values.isna(), values.map(str))
            table = table.set_column(place, field.name, arrow.array(texts, from_pandas=True))
    return table


def _is_hollow(arrow: Any, kind: Any) -> bool:
    if arrow.types.is_list(kind):
        return _is_hollow(arrow, kind.value_type)
    if not arrow.types.is_struct(kind):
        return False
    return kind.num_fields == 0 or any(_is_hollow(arrow, kind.field(at).type) for at in range(kind.num_fields))


def _plain_series(polars: Any, name: str, values: Any) -> Any:
    told = [None if missing else value for value, missing in zip(values.tolist(), values.isna(), strict=True)]
    made = polars.Series(name, told)
    if made.dtype == polars.Object:
        raise TypeError(f"{name} holds objects")
    return made


def _or_texts(values: pd.Series[Any], make: Callable[[Any], Any], mixed: tuple[type[BaseException], ...]) -> Any:
    """The column, or that of its values' texts where they have no type in common."""
    try:
        return make(values)
    except mixed:
        missing = values.isna()
        return make(values.astype(object).where(missing, values.map(str)))
