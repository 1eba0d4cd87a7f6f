"""What to run, by its place: "module:function", or "script.py:function"."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sys
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from fasttune.cli import CommandError

FORM = "what to run is module:function or script.py:function (a class derived from Trainable, too)"


def whole_name(target: str, folder: str | None = None) -> str:
    """The same place as seen from everywhere: a script by its whole path. ``folder``: where it was said."""
    place, colon, name = target.rpartition(":")
    if not place.endswith(".py"):
        return target
    return f"{os.path.abspath(os.path.join(folder or os.getcwd(), os.path.expanduser(place)))}{colon}{name}"


def trainable_of(target: str) -> Any:
    """The function or class at this place; its module is imported, from this folder too. CommandError says what is missing."""
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise CommandError(f"{FORM}, got {target!r}{suggested(target)}")
    module = script(os.path.abspath(os.path.expanduser(place))) if place.endswith(".py") else imported(place)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [one for one in vars(found) if not one.startswith("_")]
            near = get_close_matches(part, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise CommandError(f"{place} has no {part!r}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise CommandError(f"{target}: {FORM}, and this is a {type(found).__name__}")
    return found


def suggested(target: str) -> str:
    """Behind a script without a function: the functions that it has."""
    if not target.endswith(".py") or not os.path.isfile(target):
        return ""
    try:
        with open(target, "rb") as file:
            body = ast.parse(file.read()).body
    except (SyntaxError, ValueError):
        return ""
    known = [one.name for one in body if isinstance(one, ast.FunctionDef | ast.ClassDef) and not one.name.startswith("_")]
    return f"; it has {', '.join(f'{target}:{one}' for one in known[:6])}" if known else ""


def imported(name: str) -> ModuleType:
    """A module by its name; the working directory is looked into first, as ``python -m`` does."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        there = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of what is above it
        there = False
    except (ImportError, AttributeError, ValueError) as error:
        raise CommandError(f"{FORM}; {name!r} is no module: {error}") from error
    if not there:
        raise CommandError(f"there is no module {name!r}, neither in {here} nor among what is installed; {FORM}")
    return _loaded(name, lambda: importlib.import_module(name))


def script(path: str) -> ModuleType:
    """A script as a module: what stands behind ``if __name__ == "__main__"`` is not run. Workers import it by its name, or
    get what it defines by value where that name means something else."""
    if not os.path.isfile(path):
        raise CommandError(f"there is no script {path}")
    folder, file = os.path.split(path)
    name = file.removesuffix(".py")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    known = sys.modules.get(name)
    spec = known.__spec__ if known is not None else importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is not None and spec.origin is not None and os.path.exists(spec.origin) and os.path.samefile(spec.origin, path):
        return _loaded(file, lambda: importlib.import_module(name))
    return _loaded(file, lambda: _by_path(f"script_{name}", path))


def _by_path(name: str, path: str) -> ModuleType:
    import cloudpickle

    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module


def _loaded(name: str, load: Any) -> ModuleType:
    """The module; what it raises while it is imported is shown whole, as it is the user's."""
    from fasttune import nesting
    from fasttune.failure import failure_text

    try:
        with nesting.loading():  # a script without a guard would begin a run of its own
            found: ModuleType = load()
        return found
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        print(failure_text(error), file=sys.stderr, end="")
        first = (str(error).splitlines() or [""])[0]
        raise CommandError(f"{name} cannot be imported: {type(error).__name__}: {first}") from error
