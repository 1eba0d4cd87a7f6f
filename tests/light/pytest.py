"""What worker processes see of pytest.

A trainable of a test module is found in a worker by importing the module, and the module's `import pytest` would cost
each worker more CPU than its start and its trials together (0.15 s, measured on an idle machine). Marks and fixtures
mean nothing there. Whoever asks for more gets it from the real one. `tests/conftest.py` puts this folder on the path
of workers; it is too late for the process that runs the tests, which has imported the real one.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))


def _as_it_is(*given: Any, **_: Any) -> Any:
    """A decorator, or what makes one: the function stays what it is."""
    if len(given) == 1 and not _ and callable(given[0]):
        return given[0]
    return lambda function: function


class _Marks:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _as_it_is


mark = _Marks()
fixture = _as_it_is


def param(*values: Any, **_: Any) -> tuple[Any, ...]:
    return values


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_real(), name)


def _real() -> Any:
    elsewhere = [folder for folder in sys.path if os.path.abspath(folder or ".") != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("pytest", elsewhere)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("No module named 'pytest'", name="pytest")
    module = importlib.util.module_from_spec(spec)
    sys.modules["pytest"] = module
    spec.loader.exec_module(module)
    return module
