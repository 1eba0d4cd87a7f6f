"""Ids, configs, tags and folders of many trials as columns.

Trials of random and grid search are drawn as arrays (``space.plan_columns``). All others are odd: suggested by a searcher,
changed meanwhile, named by the user's functions, or with values that functions of the space gave. Each of those is looked at
as somebody who looks at one trial does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune import _core
from fasttune.metric_values import whole_text
from fasttune.result import flatten
from fasttune.space.plan_columns import Coded, Piece, PlanColumns, Shape, piece_of
from fasttune.tables.folded import FoldedSource, is_folded
from fasttune.trial import LONGEST_TRIAL_NAME, MAX_FOLDER_NAME, allowed_folder_name, trial_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.trial import TrialSource

    Ints = NDArray[np.int64]

FEW = 16  # trials that are looked at one by one


class Drawn(NamedTuple):
    """Trials of one plan."""

    at: Ints  # where they are among the trials that were asked for
    plan: PlanColumns
    experiment: int


class TrialColumns:
    """``trials`` (numbers that grow) of a source; every column has one entry for each of them, and is made when it is asked
    for."""

    def __init__(self, source: TrialSource, trials: Ints | Sequence[int]) -> None:
        import numpy as np

        self.source = source
        self.trials = np.asarray(trials, dtype=np.int64)
        self.drawn: list[Drawn] = []
        odd = np.ones(len(self.trials), dtype=np.bool_)
        if is_folded(source) and len(self.trials) > FEW:
            self._find_drawn(source, odd)
        self.odd: list[int] = np.flatnonzero(odd).tolist()  # where the odd trials are

    def _find_drawn(self, source: FoldedSource, odd: NDArray[np.bool_]) -> None:
        import numpy as np

        singular = np.fromiter(source.singular_trials(), dtype=np.int64)
        regular = ~np.isin(self.trials, singular) if len(singular) else np.ones(len(self.trials), dtype=np.bool_)
        found: dict[tuple[int, int], tuple[Any, list[Ints], list[Ints]]] = {}
        for first, end, local, experiment, variants in source.stretches():
            start, plan = variants.body
            from_here, to_here = np.searchsorted(self.trials, [max(first, first + start - local), end])
            if plan.calls or to_here <= from_here:
                continue
            at = np.arange(from_here, to_here)[regular[from_here:to_here]]
            _, places, numbers = found.setdefault((id(variants), experiment), (plan, [], []))
            places.append(at)
            numbers.append(self.trials[at] - first + local)
        for (_, experiment), (plan, places, numbers) in found.items():
            at = np.concatenate(places)
            if len(at):
                odd[at] = False
                self.drawn.append(Drawn(at, PlanColumns(plan, np.concatenate(numbers)), experiment))

    # ---- columns

    @property
    def ids(self) -> NDArray[Any]:
        """Trial ids."""
        if is_folded(self.source):
            head = ("text", f"{self.source.meta['prefix']}_")
            return _texts(_core.texts(len(self.trials), [head, ("digits", self.trials, 5)]))
        return self._each(self.source.trial_id)

    @property
    def tags(self) -> NDArray[Any]:
        """Experiment tags, as the last results have them."""
        of_odd: Callable[[int], str] = getattr(self.source, "last_tag", self.source.experiment_tag)
        return self._filled(lambda drawn, shape: _core.texts(len(shape.at), _tag(drawn, shape)), of_odd)

    @property
    def folders(self) -> NDArray[Any]:
        """Paths of the trials' folders; see ``trial_folder``."""
        return self._filled(self._folders, lambda i: trial_folder(self.source, i))

    def _folders(self, drawn: Drawn, shape: Shape) -> list[str]:
        source: Any = self.source
        name = source.meta["trainables"][drawn.experiment]["name"]
        trials = self.trials[drawn.at[shape.at]]
        longest = f"{name}_{source.trial_id(int(trials.max(initial=0)))}"
        if not longest.isascii() or len(longest) > LONGEST_TRIAL_NAME:
            return [trial_folder(source, i) for i in trials.tolist()]
        head = ("text", allowed_folder_name(f"{name}_{source.meta['prefix']}_"))
        parts = [head, ("digits", trials, 5), ("text", "_"), *_tag(drawn, shape)]
        above = os.path.join(source.path, "")
        if above.isascii():
            return _core.texts(len(trials), parts, above, MAX_FOLDER_NAME)
        above = whole_text(above)
        return [above + folder for folder in _core.texts(len(trials), parts, "", MAX_FOLDER_NAME)]

    def config_names(self) -> Mapping[str, list[tuple[Ints, Callable[[], Piece]]]]:
        """Flat names of the configs, in the order of first sight, and for each what gives the values of which trials."""
        import numpy as np

        found: list[tuple[int, Iterable[str], Any]] = []  # first trial, names, what they are of
        for drawn in self.drawn:
            found += [(int(drawn.at[shape.at[0]]), shape.names, (drawn, shape)) for shape in drawn.plan.shapes]
        found += [(position, config, config) for position, config in self._odd_configs.items()]
        found.sort(key=lambda one: one[0])
        odd: dict[str, tuple[list[int], list[Any]]] = {}
        named: dict[str, list[tuple[Ints, Callable[[], Piece]]]] = {}
        for position, names, of in found:
            for name in names:
                pieces = named.setdefault(name, [])
                if type(of) is tuple:
                    drawn, shape = of
                    pieces.append((drawn.at[shape.at], lambda shape=shape, name=name: shape.piece(name)))  # type: ignore[misc]
                    continue
                if name not in odd:
                    odd[name] = [], []
                odd[name][0].append(position)
                odd[name][1].append(of[name])
        for name, (positions, values) in odd.items():
            named[name].append((np.array(positions), lambda values=values: piece_of(values)))  # type: ignore[misc]
        return named

    def column(self, pieces: list[tuple[Ints, Callable[[], Piece]]]) -> NDArray[Any] | Coded:
        """The column of one name, NaN where a config does not have it."""
        return laid_out(len(self.trials), [(at, give()) for at, give in pieces])

    @cached_property
    def _odd_configs(self) -> dict[int, dict[str, Any]]:
        """Where an odd trial is -> its flattened config."""
        return {
            at: flatten(self.source.config(i)) for at, i in zip(self.odd, self.trials[self.odd].tolist(), strict=True)
        }

    def _filled(self, drawn_texts: Callable[[Drawn, Shape], list[str]], of_odd: Callable[[int], str]) -> NDArray[Any]:
        import numpy as np

        column = np.empty(len(self.trials), dtype=object)
        for drawn in self.drawn:
            for shape in drawn.plan.shapes:
                texts = drawn_texts(drawn, shape)
                column[slice(None) if len(texts) == len(column) else drawn.at[shape.at]] = texts
        for at in self.odd:
            column[at] = whole_text(of_odd(int(self.trials[at])))
        return column

    def _each(self, of_trial: Callable[[int], str]) -> NDArray[Any]:
        return _texts([whole_text(of_trial(i)) for i in self.trials.tolist()])


def laid_out(n: int, pieces: Sequence[tuple[Any, Piece]]) -> NDArray[Any] | Coded:
    """One column of n entries from pieces and where they belong; where none does it is NaN, which is a float."""
    import numpy as np

    if len(pieces) == 1 and len(pieces[0][1]) == n:  # there, in their order
        return pieces[0][1].column
    kinds = frozenset[type]().union(*(piece.kinds for _, piece in pieces))
    if sum(len(piece) for _, piece in pieces) < n:
        kinds |= {float}
    placed = [(at, piece.values) for at, piece in pieces]
    dtypes = {values.dtype for _, values in placed}
    dtype = next(iter(dtypes)) if len(kinds) == 1 and len(dtypes) == 1 else np.dtype(object)
    column = np.full(n, np.nan, dtype=dtype) if dtype.kind in "fO" else np.empty(n, dtype=dtype)
    for at, values in placed:
        column[at] = values if values.dtype == dtype else values.astype(object)
    return column


def _tag(drawn: Drawn, shape: Shape) -> list[tuple[Any, ...]]:
    """The experiment tags of some trials, as parts of texts."""
    import numpy as np

    sampled = shape.tag_parts()
    number = ("digits", np.ascontiguousarray(drawn.plan.trials[shape.at]), 0)
    return [number, ("text", "_"), *sampled] if sampled else [number]


def _texts(texts: list[str]) -> NDArray[Any]:
    import numpy as np

    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    return column
