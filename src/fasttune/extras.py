"""Libraries that fasttune works with and does not need: each comes with an extra of the package."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def optional(module: str, extra: str, who: str) -> ModuleType:
    """The module, imported now. ImportError says what ``who`` needs and how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        library = module.split(".")[0]
        if error.name is not None and error.name.split(".")[0] != library:
            raise  # the library is there; what it needs itself is not
        raise ImportError(
            f"{who} needs the library {library!r}, which is not installed: pip install 'fasttune[{extra}]'",
            name=error.name,
        ) from error
