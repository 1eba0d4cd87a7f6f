"""Values that functions compute from the rest of a config: ``sample_from``, and domains with Python code of
their own.

Each function is called when its value is first read, so the order follows from what they read of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fasttune.space.domains import Domain, Function, RecursiveDependencyError, contains_domains
from fasttune.space.nested import Path, path_name
from fasttune.space.seeds import derive_seed

DrawInner = Callable[
    [Any, int, int, Any], Any
]  # (space, seed, trial, view) -> config, for domains in what a function returned


class CalledValue:
    """The value of one function in one config: computed when it is first needed, also by another function."""

    def __init__(self, path: Path, trial: int, seed: int, chain: list[CalledValue], draw: DrawInner) -> None:
        self.path = path
        self.is_active = False
        self._trial = trial
        self._seed = seed
        self._chain = chain  # the calls of this config that are being computed, each for the one before it
        self._draw = draw
        self._domain: Domain
        self._view: Any = None
        self._value: Any = None
        self._is_done = False

    def prepare(self, path: Path, domain: Domain, view: Any) -> None:
        """This call is part of the config, which ``view`` shows."""
        self.path, self._domain, self._view = path, domain, view
        self.is_active = True

    def settle(self, value: Any) -> None:
        """The value is known: the function is not called."""
        self._value, self._is_done = value, True

    def resolve(self) -> Any:
        """The value; RecursiveDependencyError if it takes itself to compute it."""
        if self._is_done:
            return self._value
        if self in self._chain:
            names = [path_name(call.path) for call in self._chain[self._chain.index(self) :]]
            around = " -> ".join([*names[1:], names[0]])
            raise RecursiveDependencyError(f"`{names[0]}` recursively depends on {around}")
        self._chain.append(self)
        try:
            self._value = self._compute()
        finally:
            self._chain.pop()
        self._is_done = True
        return self._value

    def _compute(self) -> Any:
        try:
            value = _plain(self._drawn())
            if contains_domains(value):
                return self._draw(value, self._seed, self._trial, self._view)
            return value
        except Exception as error:
            if not isinstance(error, RecursiveDependencyError):
                error.add_note(f"while {path_name(self.path)!r} was sampled for trial {self._trial}")
            raise

    def _drawn(self) -> Any:
        if isinstance(self._domain, Function):
            return self._domain.call(self._view)
        return self._domain.sample(config=self._view, random_state=derive_seed(self._seed, self._trial))


class Calls:
    """All functions of one config."""

    def __init__(self, leaves: Sequence[tuple[int, Any]], trial: int, seed: int, draw: DrawInner) -> None:
        chain: list[CalledValue] = []
        self.by_number = {
            number: CalledValue(leaf.path, trial, derive_seed(seed, number), chain, draw) for number, leaf in leaves
        }

    def values(self) -> dict[int, Any]:
        """Their values, by the number of the leaf; only of those that are part of the config."""
        return {number: call.resolve() for number, call in self.by_number.items() if call.is_active}


class SpecView(dict[Any, Any]):
    """What a ``sample_from`` function gets: reads as the config and as a spec.

    ``view["x"]``, ``view.x``, ``view.config.x`` and ``view["config"]["x"]`` are the same (unless the config
    has a key "config" of its own). Reading the place of another function computes that one first.
    """

    def __getitem__(self, key: Any) -> Any:
        if key == "config" and key not in self:
            return self
        value = super().__getitem__(key)
        return view_of(value.resolve()) if isinstance(value, CalledValue) else value

    def __getattr__(self, name: str) -> Any:
        if name == "config":
            return self
        if name in self:
            return self[name]
        raise AttributeError(f"the config has no {name!r}; it has {', '.join([str(key) for key in self])}")

    def __iter__(self) -> Iterator[Any]:  # also keeps dict(view) and **view from reading past __getitem__
        return super().__iter__()

    def get(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            return default
        return self[key]

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


class _ListView(list[Any]):
    """A list of the config in a SpecView. Reading it computes the functions in it."""

    def __getitem__(self, index: Any) -> Any:
        value = super().__getitem__(index)
        if isinstance(index, slice):
            return [view_of(item.resolve()) if isinstance(item, CalledValue) else item for item in value]
        return view_of(value.resolve()) if isinstance(value, CalledValue) else value

    def __iter__(self) -> Iterator[Any]:
        return iter([self[index] for index in range(len(self))])


def view_of(value: Any) -> Any:
    """The view of a config, or of a part of one."""
    kind = type(value)
    if kind is dict:
        return SpecView({key: view_of(part) for key, part in value.items()})
    if kind is list:
        return _ListView([view_of(part) for part in value])
    if kind is tuple:
        parts = [view_of(part) for part in value]
        return _ListView(parts) if any(isinstance(part, CalledValue) for part in parts) else tuple(parts)
    return value


def _plain(value: Any) -> Any:
    """What a function returned, without the views it was given."""
    if isinstance(value, SpecView) or type(value) is dict:
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, _ListView) or type(value) is list:
        return [_plain(part) for part in value]
    return tuple([_plain(part) for part in value]) if type(value) is tuple else value
