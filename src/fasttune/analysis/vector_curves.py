"""The curve of one config by a function that evaluates many in one call: a call of one row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import GeneratorType
from typing import Any

from fasttune.space.config_columns import gathered, names_of
from fasttune.trainable import takes_state
from fasttune.vectors import apart, metric_columns


def one_by_one(function: Callable[..., Any], space: Mapping[str, Any] | None) -> Callable[[dict[str, Any]], Iterator[Any]]:
    """A generator function of one config that yields what a vectorized function says of it, step by step."""
    names = names_of(space or {})
    more = {"state": None} if takes_state(function) else {}

    def curve(config: dict[str, Any]) -> Iterator[Any]:
        said = function(gathered([config], names).nested(), **more)
        if not isinstance(said, GeneratorType):
            yield only_row(said)
            return
        while True:
            try:
                told = next(said)
            except StopIteration as end:
                if end.value is not None:
                    yield only_row(end.value)
                return
            yield only_row(told)

    return curve


def only_row(said: Any) -> dict[str, Any]:
    """The report of the only row of a step."""
    found = metric_columns(apart(said).metrics, 1)
    kinds = {102: float, 105: int, 98: bool}
    return {
        key: kinds[kind](column[0]) if column[0] == column[0] else float("nan")
        for key, kind, column in zip(found.keys, found.kinds, found.columns, strict=True)
    }
