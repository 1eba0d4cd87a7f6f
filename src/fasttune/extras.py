"""Libraries that fasttune works with and does not need: each comes with an extra of the package."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from types import ModuleType
from typing import Any


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


_threads: Any = None  # threadpoolctl's controller of the libraries that are loaded, made when it is first needed


def one_thread() -> AbstractContextManager[Any]:
    """Linear algebra within is done by one thread, where threadpoolctl is installed (it comes with scipy's extra).

    Matrices of some hundred rows gain nothing from more, and on a machine whose cores train trials the threads of one
    factorisation wait for each other.
    """
    global _threads
    if _threads is None:
        try:
            import_module("scipy.linalg")  # brings a library of its own, which has to be there to be found
            _threads = import_module("threadpoolctl").ThreadpoolController()
        except ImportError:
            return nullcontext()
    limited: AbstractContextManager[Any] = _threads.limit(limits=1)
    return limited
