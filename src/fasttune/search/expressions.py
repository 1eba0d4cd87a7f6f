"""A search space of Hyperopt's expressions, in which domains of fasttune may stand too.

space --OwnSpace--> one expression that Hyperopt searches;  what it chose --OwnSpace--> config
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fasttune.space.dimensions import CATEGORICAL, INTEGER, Dimension, Dimensions, Number
from fasttune.space.domains import Categorical, Domain, SearchSpaceError, contains_domains, grid_of
from fasttune.space.nested import Path, fresh, path_name


class OwnSpace:
    """A space that holds expressions of Hyperopt.

    Args:
        space: an expression, or dicts, lists and tuples with expressions, domains and constants in them. SearchSpaceError
            names what cannot be searched.
        hyperopt: the library.
        number_expression: makes the expression of a dimension of numbers.
    """

    def __init__(self, space: Any, hyperopt: Any, number_expression: Callable[[Dimension], Any]) -> None:
        self.space = space
        self._hyperopt = hyperopt
        self._apply = hyperopt.pyll.Apply
        self._number_expression = number_expression
        self._dimensions: dict[Path, Dimension] = {}
        self._labels: dict[Path, str] = {}  # of choices of ours
        self._taken = self._labels_in(space)
        self.expression = self._expression(space, ())

    def config(self, chosen: Mapping[str, Any]) -> Any:
        """The config of what Hyperopt chose, by its labels."""
        return self._plain(self.space, self._hyperopt.space_eval(self.expression, dict(chosen)), (), chosen)

    # -- space -> expression ---------------------------------------------------------------------------------------------

    def _expression(self, node: Any, path: Path) -> Any:
        if isinstance(node, self._apply):
            self._refuse_domains_in(node, path)
            return node
        if isinstance(node, Categorical) and not node.is_grid():
            label = self._labels[path] = self._label(path)
            options = [self._expression(option, (*path, k)) for k, option in enumerate(node.categories)]
            return self._hyperopt.hp.choice(label, options)
        if isinstance(node, Domain) or grid_of(node) is not None:
            label = self._label(path)
            made = Dimensions({label: node}, "HyperOptSearch")  # refuses a grid
            if not len(made):
                raise SearchSpaceError(
                    f"HyperOptSearch cannot compute {path_name(path)!r}, a {node!r:.80}, beside expressions of Hyperopt: "
                    "compute it in the trainable, or write the whole space in fasttune's domains"
                )
            self._dimensions[path] = made[0]
            return self._number_expression(made[0])
        if not self._is_searched(node):
            return _Held()
        if isinstance(node, Mapping):
            return {key: self._expression(part, (*path, key)) for key, part in node.items()}
        return [self._expression(part, (*path, k)) for k, part in enumerate(node)]

    def _is_searched(self, node: Any) -> bool:
        return holds_expressions(node, self._apply) or contains_domains(node)

    def _label(self, path: Path) -> str:
        """A name of ours that no expression of the user's has."""
        label = path_name(path) or "space"
        while label in self._taken:
            label += "_"
        self._taken.add(label)
        return label

    def _labels_in(self, node: Any) -> set[str]:
        if isinstance(node, self._apply):
            params = (one for one in self._hyperopt.pyll.dfs(node) if one.name == "hyperopt_param")
            return {one.pos_args[0].obj for one in params}
        parts = node.values() if isinstance(node, Mapping) else node if isinstance(node, (list, tuple)) else ()
        if isinstance(node, Categorical):
            parts = node.categories
        return {label for part in parts for label in self._labels_in(part)}

    def _refuse_domains_in(self, expression: Any, path: Path) -> None:
        """Inside an expression a domain would be one of its constants."""
        for one in self._hyperopt.pyll.dfs(expression):
            if one.name == "literal" and contains_domains(one.obj):
                raise SearchSpaceError(
                    f"the expression of Hyperopt at {path_name(path) or 'the top'!r} holds {one.obj!r:.80}, which Hyperopt "
                    "would hand to trials as it is: write hp.uniform(...) and the like there, or tune.choice around it"
                )

    # -- what was chosen -> config ---------------------------------------------------------------------------------------

    def _plain(self, node: Any, value: Any, path: Path, chosen: Mapping[str, Any]) -> Any:
        if isinstance(node, self._apply):
            return as_plain(value)
        if path in self._labels:
            k = int(chosen[self._labels[path]])
            return self._plain(node.categories[k], value, (*path, k), chosen)
        if path in self._dimensions:
            return number_of(self._dimensions[path], value)
        if isinstance(value, _Held):
            return fresh(node)
        if isinstance(node, Mapping):
            return {key: self._plain(part, value[key], (*path, key), chosen) for key, part in node.items()}
        parts = [
            self._plain(part, one, (*path, k), chosen) for k, (part, one) in enumerate(zip(node, value, strict=True))
        ]
        return tuple(parts) if isinstance(node, tuple) else parts


class _Held:
    """Stands for a constant, whatever it is: Hyperopt would make other types of some."""


def number_of(one: Dimension, value: Any) -> Number:
    """Hyperopt's value as a number of the dimension."""
    import math

    if one.kind == CATEGORICAL:
        return int(value)
    if one.kind == INTEGER:
        return int(min(max(math.floor(value), one.low / one.q), one.high / one.q) * one.q)
    return one.rounded(float(value))


def holds_expressions(space: Any, kind: type) -> bool:
    """Whether a space is one of Hyperopt's, at least in a part."""
    if isinstance(space, kind):
        return True
    if isinstance(space, Categorical):
        space = space.categories
    if isinstance(space, Mapping):
        return any(holds_expressions(part, kind) for part in space.values())
    return isinstance(space, (list, tuple)) and any(holds_expressions(part, kind) for part in space)


def as_plain(value: Any) -> Any:
    """Hyperopt gives numpy's numbers."""
    if isinstance(value, Mapping):
        return {key: as_plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([as_plain(part) for part in value])
    return value.item() if hasattr(value, "item") else value
