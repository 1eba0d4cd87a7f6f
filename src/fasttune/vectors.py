"""Functions that evaluate many trials in one call, and what they are told between two steps.

``vectorized`` makes a trainable of one; ``Rows`` says at a ``yield`` which trials go on, and takes their part of whatever has
a first axis of trials; ``metric_columns`` makes columns of numbers of what came back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from fasttune.constraints import CONSTRAINTS
from fasttune.error import TuneError
from fasttune.metric_values import EXACT_INT
from fasttune.result import flatten
from fasttune.row_trees import joined, taken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.space.config_columns import ConfigColumns

SIZE = 4096  # trials in one call, unless something else is said
LARGEST = 1 << 20


class Vectorized:
    """A trainable that evaluates up to ``size`` trials in one call. Called, it is its function.

    Attributes:
        function: takes columns of configs; returns columns of metrics, or yields them step by step, perhaps with a state.
        size: the most trials in one call.
        size_is_given: somebody has said so; else a searcher that learns is asked for fewer.
        refill: new trials take the places of those that have ended, while a call goes on.
    """

    of_columns = True

    def __init__(self, function: Callable[..., Any], size: int | None, refill: bool) -> None:
        self.function = function
        self.size = SIZE if size is None else size
        self.size_is_given = size is not None
        self.refill = refill
        update_wrapper(self, function)

    def __call__(self, configs: dict[str, Any], **parameters: Any) -> Any:
        return self.function(configs, **parameters)

    def __get__(self, instance: Any, owner: type | None = None) -> Vectorized:
        """Of an object, if it was made of a method."""
        if instance is None:
            return self
        return Vectorized(MethodType(self.function, instance), self.size if self.size_is_given else None, self.refill)

    def __repr__(self) -> str:
        return f"tune.vectorized({self.function!r}, size={self.size}, refill={self.refill})"


@overload
def vectorized(function: Callable[..., Any], /) -> Vectorized: ...
@overload
def vectorized(*, size: int | None = None, refill: bool = False) -> Callable[[Callable[..., Any]], Vectorized]: ...
def vectorized(
    function: Callable[..., Any] | None = None, /, *, size: int | None = None, refill: bool = False
) -> Vectorized | Callable[[Callable[..., Any]], Vectorized]:
    """Make a trainable of a function that evaluates many trials in one call: numpy, ``jax.vmap``, ``torch.func``, a model
    server that takes batches.

    The function gets the configs of n trials as columns: a dict in the shape of a config, with an array of n floats, ints
    or bools (a list of n objects, where they are something else) in the place of each value. It returns a dict of metrics,
    each a column of n numbers, or, of what the run is not steered by, one number for all. Or it is a generator that yields
    such a dict for each step. A yield gives ``None``, if all trials go on as they are, or a :class:`Rows`, if some have ended
    and the columns of the next step are those of others.

    A function with a parameter ``state`` yields ``metrics, state``: a tree (dicts, lists, tuples) of arrays whose first axis are the
    trials, of all that its trials go on from. Then trials can be paused, copied and saved as one by one: a call of
    trials that go on gets their ``state``, one of trials that begin gets None.

    Args:
        size: the most trials in one call, 1 to 2^20; None: 4,096, of a searcher that learns as many as suit it.
        refill: new trials take the places of those that were stopped, at the next step. Steps count for each trial by
            itself, so such a function ends trials by ``stop=`` or a scheduler, and goes on as long as it is asked.

    Raises:
        ValueError: for a size that is none.
        TypeError: for what is no function.
    """
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= LARGEST):
        raise ValueError(f"size must be a whole number of trials from 1 to {LARGEST:,}, got {size!r:.80}")

    def made(function: Callable[..., Any]) -> Vectorized:
        from inspect import isasyncgenfunction, iscoroutinefunction

        if iscoroutinefunction(function) or isasyncgenfunction(function):
            raise TypeError(
                f"{function.__name__} is an async function, and what tune.vectorized takes is called in this thread: write it with "
                "a plain def"
            )
        if isinstance(function, type) or not callable(function):
            raise TypeError(f"tune.vectorized makes a trainable of a function of columns of configs, got {function!r:.80}")
        return Vectorized(function, size, refill)

    return made if function is None else made(function)


class Rows:
    """Which trials a vector has from its next step on: what a ``yield`` gives when these are not those of the last step.

    First come rows that go on from one of the last step: those that were there, and those that copy another trial or begin again
    where a row is. Then those that go on from a state that was kept (trials that were paused, or are tried again), and at last those
    that begin.

    Attributes:
        index: for each row, which row of the last step it goes on from; -1 for one that goes on from none.
        fresh: for each row, whether it begins.
        configs: the columns of their configs.
        steps: how often each has reported.
    """

    def __init__(
        self, index: NDArray[np.int64], columns: ConfigColumns, steps: NDArray[np.int64], saved: Any = None, n_saved: int = 0
    ) -> None:
        self.index = index
        self._going_on = int((index >= 0).sum())
        self._old = self._going_on + n_saved
        self.fresh = index < 0
        self.fresh[self._going_on : self._old] = False
        self.steps = steps
        self._columns = columns
        self._saved = saved

    @property
    def configs(self) -> dict[str, Any]:
        return self._columns.nested()

    @property
    def fresh_configs(self) -> dict[str, Any]:
        """The columns of the configs of those that begin."""
        import numpy as np

        return self._columns.take(np.arange(self._old, len(self.index))).nested()

    def __len__(self) -> int:
        return len(self.index)

    def take(self, tree: Any, fresh: Any = None) -> Any:
        """These rows of a tree of arrays (dicts, lists, tuples and named tuples of whatever has a first axis of rows: numpy,
        PyTorch, JAX, pandas; None stays None), behind them the rows of ``fresh``, a tree of the same shape for those that begin.
        Of a function that yields its state ``tree`` is that state: the rows that were kept elsewhere are in it then.

        Raises:
            ValueError: if there are rows that begin, and ``fresh`` is not given; if trees are not of one shape.
            TypeError: for what has no rows, as a list of texts: it is a tree, and texts are its leaves.
        """
        n = len(self.index) - self._old
        if n and fresh is None:
            raise ValueError(
                f"{n} rows begin, and Rows.take was not given what they begin with: "
                "rows.take(weights, fresh=start(rows.fresh_configs))"
            )
        parts = [taken(tree, self.index[: self._going_on])]
        if self._old > self._going_on:
            parts.append(self._saved)
        return joined([*parts, fresh] if n else parts)


class Yielded(NamedTuple):
    """What a function has returned or yielded: columns of metrics, and the state of its rows if it is among that."""

    metrics: Any
    state: Any
    has_state: bool


def apart(told: Any) -> Yielded:
    """The metrics and the state of what a function says."""
    if isinstance(told, tuple) and len(told) == 2 and isinstance(told[0], Mapping):
        return Yielded(told[0], told[1], True)
    return Yielded(told, None, False)


class MetricColumns(NamedTuple):
    """What a step of n trials reports: names, kinds as schemas have them, and an array of n float64 for each."""

    keys: tuple[str, ...]
    kinds: bytes
    columns: list[NDArray[np.float64]]


def metric_columns(told: Any, n: int, metric: str | None = None) -> MetricColumns:
    """Columns of numbers of what a function returned or yielded. TuneError, with name and shape, for what is none."""
    import numpy as np

    if (plain := _plain_columns(told, n)) is not None:
        return plain
    if not isinstance(told, Mapping) or not told:
        raise TuneError(
            "a vectorized function must return or yield a dict of columns, one number for each of its trials (or that and its state), "
            f"got {_described(told)}"
        )
    columns, kinds = [], bytearray()
    flat = flatten(_with_named_constraints(told))
    for name, value in flat.items():
        column = _as_array(name, value)
        if column.ndim == 0 and name == metric and n > 1:
            raise TuneError(
                f"the column {name!r} is one number for {n} trials: the metric of the run needs one for each of them. Usual cause: "
                "an axis that .mean() or .sum() was not given"
            )
        if column.ndim == 0:
            column = np.broadcast_to(column, (n,))
        if column.shape != (n,):
            left_over = column.ndim == 1 and len(column) > n
            raise TuneError(
                f"the column {name!r} has the shape {column.shape}, and this step has {n} trials: a column has one number for "
                "each of them, in their order" + (" (rows that have ended are to be left out: rows.take)" if left_over else "")
            )
        kind = {"f": b"f", "i": b"i", "u": b"i", "b": b"b"}.get(column.dtype.kind)
        if kind is None:
            raise TuneError(f"the column {name!r} must hold numbers, and is of dtype {column.dtype}")
        if kind == b"i" and len(column) and (column.max() > EXACT_INT or column.min() < -EXACT_INT):
            kind = b"f"
        kinds += kind
        columns.append(np.ascontiguousarray(column, dtype=np.float64))
    return MetricColumns(tuple(flat), bytes(kinds), columns)


def _with_named_constraints(told: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The same, with a column for each constraint, as a trial alone may give them: none, a list of columns, which have their positions
    as names. TuneError for a table of them, whose columns have none."""
    import numpy as np

    if CONSTRAINTS not in told:
        return told
    bare = told[CONSTRAINTS]
    if bare is None or (isinstance(bare, Mapping) and not bare):
        return {name: column for name, column in told.items() if name != CONSTRAINTS}
    if isinstance(bare, (list, tuple)) and all(np.ndim(one) for one in bare):
        return {**told, CONSTRAINTS: {str(k): one for k, one in enumerate(bare)}}
    if getattr(bare, "ndim", 0) > 1:
        raise TuneError(
            f"the constraints have the shape {tuple(bare.shape)}: give each a column of its own, {{'constraints': {{'memory': used - "
            "limit}}, or a list of columns"
        )
    return told


def _plain_columns(told: Any, n: int) -> MetricColumns | None:
    """Those of a dict of arrays of float64 as they are wanted, which most steps give; None for what has to be looked at."""
    import numpy as np

    if type(told) is not dict or not told:
        return None
    for name, column in told.items():
        if type(name) is not str or type(column) is not np.ndarray or column.dtype != np.float64 or column.shape != (n,):
            return None
        if not column.flags.c_contiguous:
            return None
    return MetricColumns(tuple(told), b"f" * len(told), list(told.values()))


def _as_array(name: str, value: Any) -> NDArray[Any]:
    import numpy as np

    if hasattr(value, "detach"):  # a tensor of PyTorch, with its graph, perhaps on a GPU
        value = value.detach().cpu()
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise TuneError(f"the column {name!r} is no array of numbers: {error}") from None


def _described(told: Any) -> str:
    if told is None:
        return "nothing (tune.report is for functions of one config)"
    if isinstance(told, Mapping):
        return "nothing"
    shape: Sequence[int] | None = getattr(told, "shape", None)
    return type(told).__name__ if shape is None else f"{type(told).__name__} of shape {tuple(shape)}"
