"""All configs of a random and grid search, as an array that is never stored: config i is computed when it is
asked for.

Trials come in this order: each of ``points_to_evaluate`` in turn, with the grids that it leaves open; then,
sample by sample, the whole grid. A point uses up one sample.
"""

from __future__ import annotations

import json
import math
import struct
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fasttune.space.as_json import config_from_json, config_to_json, from_json_value, to_json_value
from fasttune.space.domains import SearchSpaceError
from fasttune.space.nested import Config, path_name
from fasttune.space.plan import Plan, active_calls
from fasttune.space.points import with_point

FORMAT = 1
_LENGTH = struct.Struct("<Q")  # bytes of JSON rows at the head of a block, a multiple of 8 with its padding


class Variants:
    """The configs of a space: ``config(i)`` is a pure function of (space, seed, i), in every process.

    The exception is a space with ``sample_from`` functions, which may return anything: ``pure`` is then
    False, each function is called once per trial and its value remembered here, so ask for such configs in
    one process only.

    Args:
        space: dict with domains in it; copied.
        num_samples: how often the grid is run (without grids: the number of configs); -1: endlessly.
        seed: 64-bit seed of all random values.
        points: configs, or parts of configs, to try first; each uses up one sample.
        constant_grid_search: the trials of one sample's grid share their random values.
    """

    def __init__(
        self,
        space: Mapping[str, Any],
        num_samples: int = 1,
        *,
        seed: int,
        points: Sequence[Mapping[str, Any]] = (),
        constant_grid_search: bool = False,
    ) -> None:
        if num_samples < -1:
            raise ValueError(f"num_samples must be >= 0, or -1 for no end, got {num_samples}")
        self.space = _copy_space(dict(space))
        self.num_samples = num_samples
        self.seed = seed
        self.points = [dict(point) for point in points]
        self.constant_grid_search = constant_grid_search
        self.whole = True  # False: it was read from a file that holds only the texts of its objects and functions
        self._texts: dict[int, list[int]] = {}  # trial -> functions whose values are not known as they were
        self._plans: list[Plan] = []  # one per point
        self._starts: list[int] = []  # first trial of each
        self._body_start = 0
        for point in self.points:
            plan = Plan(with_point(self.space, point), seed, self._body_start, constant_grid_search)
            self._starts.append(self._body_start)
            self._plans.append(plan)
            self._body_start += plan.grid
        self._body = Plan(self.space, seed, self._body_start, constant_grid_search)
        self._end: float = math.inf  # one past the last trial
        if num_samples != -1:
            self._end = self._body_start + self._body.grid * max(0, num_samples - len(self.points))
        self._draw: Callable[[int], Config] = (
            self._body.config if self._body.calls else self._body.sampler.config
        )

    def cover(self, n: int) -> None:
        """Have at least n configs: a run that was resumed may have asked for other ``num_samples``."""
        if n > self._end:
            self._end = n
            samples = len(self.points) + -(-(n - self._body_start) // self._body.grid)
            self.num_samples = max(self.num_samples, samples)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.space, self.num_samples, self.seed, self.points, self.constant_grid_search)

    @property
    def len(self) -> int | None:
        """The number of configs, None if there is no end."""
        return None if self._end == math.inf else int(self._end)

    def __len__(self) -> int:
        if self._end == math.inf:
            raise TypeError("an endless search (num_samples=-1) has no length")
        return int(self._end)

    @property
    def pure(self) -> bool:
        """Whether every process computes the same configs: no ``sample_from`` in the space."""
        return not self._body.calls and not any(plan.calls for plan in self._plans)

    @property
    def grid_size(self) -> int:
        """The number of configs that one sample gives."""
        return self._body.grid

    @property
    def repeats(self) -> bool:
        """Whether every sample is the same grid again, because nothing else in the space is drawn."""
        return self._body.grid > 1 and self.num_samples > 1 and all(leaf.rule[0] == "g" for leaf in self._body.leaves)

    @property
    def columns(self) -> list[str]:
        """The names "a/b" of what is sampled, one per column of a block; options of a choice may share a
        name."""
        return [path_name(leaf.path) for leaf in self._body.leaves]

    @property
    def body(self) -> tuple[int, Plan]:
        """The first trial behind those of points, and the plan of all from there on."""
        return self._body_start, self._body

    @property
    def drawn(self) -> tuple[int, Callable[[int], Config]]:
        """The first trial behind those of points, and what gives the config of each that there is from there on."""
        return self._body_start, self._draw

    def config(self, i: int) -> Config:
        """The config of trial i: new dicts, lists and tuples every time; objects are passed on as they
        are."""
        if self._body_start <= i < self._end:
            return self._draw(i)
        return self._plan(i).config(i)

    def evaluated_params(self, i: int) -> Config:
        """Everything that was sampled for trial i, by flat name "a/b"."""
        plan = self._plan(i)
        return plan.params(plan.sampler.values(i), plan.config(i))

    def tag(self, i: int, number: int | None = None) -> str:
        """The experiment tag of trial i: its number (from 0) and what was sampled, "0_a=0.1000,b=x"."""
        plan = self._plan(i)
        text = plan.tag(plan.sampler.values(i), plan.config(i))
        shown = i if number is None else number
        return f"{shown}_{text}" if text else f"{shown}"

    def _plan(self, i: int) -> Plan:
        if not 0 <= i < self._end:
            raise IndexError(f"trial {i} is not one of the {self.len} configs of this search")
        if i >= self._body_start:
            return self._body
        return self._plans[bisect_right(self._starts, i) - 1]

    # --- journal form ---

    def block(self, first: int, n: int) -> bytes:
        """What the journal has to hold of trials first .. first+n-1, for ``read_block`` and ``read_config``.

        8 bytes with the length of the JSON rows, then the JSON rows: those of points, and all rows where
        functions or integers beyond 2**53 are among the leaves. All others are drawn again by who reads them:
        they are a function of what ``meta`` tells and of their number.

        Earlier blocks have the drawn numbers behind them: one column of native float64 per leaf, a number, an index of
        an option, or NaN where a leaf is not part of a config.
        """
        if n < 0 or (n and not 0 <= first <= first + n <= self._end):
            raise IndexError(
                f"trials {first}..{first + n - 1} are not all among the {self.len} of this search"
            )
        rows = self._json_rows(first, n)
        text = b""
        if rows:
            text = json.dumps([self._row(i) for i in range(first, first + rows)]).encode()
            text += b" " * (-len(text) % 8)
        return _LENGTH.pack(len(text)) + text

    def _json_rows(self, first: int, n: int) -> int:
        """How many rows of a block come as JSON."""
        return min(n, max(0, self._body_start - first)) if self._body.columnar else n

    def _row(self, i: int) -> list[Any]:
        plan = self._plan(i)
        row: list[Any] = list(plan.sampler.values(i))
        for number, value in plan.call_values(i).items():
            row[number] = config_to_json(value)
        return row

    def meta(self) -> dict[str, Any]:
        """What makes blocks readable, and an exact space rebuildable, as JSON-able values.

        ``exact`` False: the space holds objects or functions, of which only the text is kept.
        """
        space, exact_space = to_json_value(self.space)
        points, exact_points = to_json_value(self.points)
        return {
            "format": FORMAT,
            "space": space,
            "points": points,
            "exact": exact_space and exact_points,
            "num_samples": self.num_samples,
            "seed": self.seed,
            "constant_grid_search": self.constant_grid_search,
            "columns": self.columns,
        }

    @classmethod
    def from_meta(
        cls,
        meta: Mapping[str, Any],
        space: Mapping[str, Any] | None = None,
        points: Sequence[Mapping[str, Any]] | None = None,
    ) -> Variants:
        """The variants that gave this ``meta``.

        Objects and functions come back only if the user's ``space`` and ``points`` are given; without them
        they are text. A space that samples something else than the one of ``meta`` is a SearchSpaceError.
        """
        if meta["format"] != FORMAT:
            raise SearchSpaceError(
                f"this search was written in format {meta['format']}, this version reads {FORMAT}"
            )
        made = cls(
            from_json_value(meta["space"]) if space is None else space,
            meta["num_samples"],
            seed=meta["seed"],
            points=from_json_value(meta["points"]) if points is None else points,
            constant_grid_search=meta["constant_grid_search"],
        )
        made.whole = space is not None or bool(meta["exact"])
        if made.columns != meta["columns"]:
            raise SearchSpaceError(
                f"the experiment samples {', '.join(meta['columns'])}, but the space given samples "
                f"{', '.join(made.columns)}. Usual cause: the space was edited before the run was resumed."
            )
        return made

    def remember(self, data: bytes, first: int, n: int, objects: bool = False) -> None:
        """Take the values of functions from a block, so that a resumed run does not call them again. ``objects``: those of
        types that JSON does not have, too, which unpickles them; without it they are the nearest, or their texts."""
        told = _text_rows(self, data, first, objects)
        if n > len(told):
            _cells(self, data, n - len(told))  # whether they are there; they are drawn again
        for i, (plan, _, calls) in enumerate(told, first):
            if calls:
                plan.remember(i, _values(calls))
                self._texts[i] = [number for number, (_, whole) in calls.items() if not whole]

    def sample_again(self, i: int) -> list[str]:
        """Functions whose values for trial i are not known as they were are called again when its config is made. Their
        names."""
        numbers = self._texts.pop(i, [])
        plan = self._plan(i)
        plan.forget(i, numbers)
        return [path_name(plan.leaves[number].path) for number in numbers]


def _rebuild(
    space: Config, num_samples: int, seed: int, points: list[Config], constant_grid_search: bool
) -> Variants:
    return Variants(space, num_samples, seed=seed, points=points, constant_grid_search=constant_grid_search)


def _copy_space(space: Any) -> Any:
    """New containers, so that what the user does to the space later is not seen."""
    kind = type(space)
    if kind is dict:
        return {key: _copy_space(part) for key, part in space.items()}
    if kind is list or kind is tuple:
        return kind([_copy_space(part) for part in space])
    return space


TextRow = tuple[Plan, Sequence[Any], dict[int, tuple[Any, bool]]]


def _rows(variants: Variants, data: bytes, first: int, n: int, objects: bool = False) -> list[TextRow]:
    """Plan, numbers and values of functions of every trial of a block, these with whether they are as they were."""
    made = _text_rows(variants, data, first, objects)
    count = n - len(made)
    if count > 0:
        cells = _cells(variants, data, count)
        if not cells:
            draw = variants._body.sampler.values
            return made + [(variants._body, draw(i), {}) for i in range(first + len(made), first + n)]
        columns = [
            _column(cells[k * count : (k + 1) * count], leaf.is_whole) for k, leaf in enumerate(variants._body.leaves)
        ]
        made += [(variants._body, [column[j] for column in columns], {}) for j in range(count)]
    return made


def _text_rows(variants: Variants, data: bytes, first: int, objects: bool) -> list[TextRow]:
    """Those rows of a block that come as JSON, which are its first ones."""
    (length,) = _LENGTH.unpack_from(data)
    texts = json.loads(data[_LENGTH.size : _LENGTH.size + length]) if length else []
    made: list[TextRow] = []
    for i, row in enumerate(texts, first):
        plan = variants._plan(i)
        calls = {
            number: config_from_json(row[number], objects) for number, _ in plan.calls if row[number] is not None
        }
        numbers = [0 if leaf.is_call else value for leaf, value in zip(plan.leaves, row, strict=True)]
        if len(calls) < len(plan.calls):  # not in this config, or None is their value
            active = {number for _, _, number in active_calls(plan.root, (), numbers)}
            calls.update({number: (None, True) for number in active if number not in calls})
        made.append((plan, numbers, calls))
    return made


def _cells(variants: Variants, data: bytes, n: int) -> memoryview[float]:
    """The numbers of the n other rows of a block, one column after the other; empty where they are to be drawn. ValueError when
    there are not as many."""
    (length,) = _LENGTH.unpack_from(data)
    cells = memoryview(data)[_LENGTH.size + length :].cast("d")
    if 0 < len(cells) < n * len(variants._body.leaves):
        raise ValueError(f"a block of {n} configs of {len(variants._body.leaves)} numbers holds {len(cells)} numbers")
    return cells


def _column(cells: Sequence[float], is_whole: bool) -> list[Any]:
    if is_whole:
        return [None if cell != cell else int(cell) for cell in cells]
    return [None if cell != cell else cell for cell in cells]


def read_block(meta: Mapping[str, Any], data: bytes, first: int, n: int) -> list[Config]:
    """The evaluated params of the n trials of a block, read without the user's code. Objects are their
    text."""
    rows = _rows(Variants.from_meta(meta), data, first, n)
    return [plan.params(numbers, plan.build(numbers, _values(calls))) for plan, numbers, calls in rows]


def _values(calls: dict[int, tuple[Any, bool]]) -> dict[int, Any]:
    return {number: value for number, (value, _) in calls.items()}


def read_config(meta: Mapping[str, Any], data: bytes, first: int, n: int, i: int) -> Config:
    """The whole config of trial i of a block, read without the user's code. Objects are their text."""
    if not first <= i < first + n:
        raise IndexError(f"trial {i} is not in the block of trials {first}..{first + n - 1}")
    plan, numbers, calls = _rows(Variants.from_meta(meta), data, first, n)[i - first]
    return plan.build(numbers, _values(calls))
