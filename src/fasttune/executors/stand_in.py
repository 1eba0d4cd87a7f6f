"""The main module of a worker process: it stands for the driver's script.

What the script defines comes by value (``fasttune.script``). Who pickles by name in a trial looks for it in ``__main__``: a
pool of processes, ``torch.save``. So a worker makes a module of what came.

    worker        take_place_of(script.described()), then loads(...) for the program and for configs
    trial         multiprocessing.Pool().map(function of the script): a forked child finds it in the module, a spawned one
                  imports the script's file, as multiprocessing does everywhere
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

from fasttune.script import NAMES, STANDS_IN

_MADE = (
    "_make_function",
    "_make_skeleton_class",
    "_make_skeleton_enum",
)  # by which cloudpickle makes what came by value


def take_place_of(script: dict[str, str | None]) -> None:
    """From now on this process's main module is one for the driver's script, which ``script.described()`` told. It is empty
    before something is loaded."""
    module = ModuleType(script["name"] or "__main__")
    setattr(module, STANDS_IN, frozenset())  # names in it that stay as they are
    if script["file"] is not None:
        module.__file__ = script["file"]
    module.__spec__ = ModuleSpec(script["module"], None) if script["module"] is not None else None
    sys.modules["__main__"] = sys.modules[module.__name__] = module


def loads(data: bytes, *, program: bool = False, buffers: Iterable[Any] = ()) -> Any:
    """Unpickle. In a worker what came by value is in the main module then, by its name; ``program``: and stays there.
    ``buffers`` were left out of the pickle."""
    main = sys.modules["__main__"]
    fixed = getattr(main, STANDS_IN, None)
    if fixed is None or b"cloudpickle" not in data:
        return pickle.loads(data, buffers=buffers)
    loader = _Loader(io.BytesIO(data), buffers)
    value = loader.load()
    names = loader.names()
    main.__dict__.update({name: one for name, one in names.items() if name not in fixed})
    if program:
        setattr(main, STANDS_IN, frozenset(names))
        return value
    return _with_those_of(main, value)


def _with_those_of(main: ModuleType, value: Any) -> Any:
    """A config with the module's own functions in place of copies of them: by name only these are found."""
    kind = type(value)
    if kind is dict:
        return {key: _with_those_of(main, part) for key, part in value.items()}
    if kind is list or kind is tuple:
        return kind([_with_those_of(main, part) for part in value])
    if kind is not FunctionType or value.__module__ not in NAMES or value.__closure__ is not None:
        return value
    own = main.__dict__.get(value.__qualname__)
    return own if type(own) is FunctionType and own.__code__ == value.__code__ else value


class _Loader(pickle.Unpickler):
    """Notes the functions and classes that it makes."""

    def __init__(self, file: io.BytesIO, buffers: Iterable[Any]) -> None:
        super().__init__(file, buffers=buffers)
        self._made: list[Any] = []

    def find_class(self, module: str, name: str, /) -> Any:
        found = super().find_class(module, name)
        if name not in _MADE or not module.startswith("cloudpickle"):
            return found
        all_made = self._made  # the loader itself would be in a circle with its memo, and all that was loaded with it

        def noted(*arguments: Any, **named: Any) -> Any:
            made = found(*arguments, **named)
            all_made.append(made)
            return made

        return noted

    def names(self) -> dict[str, Any]:
        """What the script defines of it: the functions and classes, and what these name of it."""
        found: dict[str, Any] = {}
        for one in self._made:
            if getattr(one, "__module__", None) not in NAMES:
                continue
            reached = getattr(one, "__globals__", {})
            found.update({name: value for name, value in reached.items() if not name.startswith("__")})
            if one.__qualname__ == one.__name__:  # not one within another
                found[one.__name__] = one
        return found
