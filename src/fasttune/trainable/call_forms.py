"""How a function that is a trainable wants to be called, and what it is called in tables and folders.

call_form         in which of its forms a function wants to be called
trainable_name    what it is called in tables and folders
Bound             a function with parameters or resources attached, as ``tune.with_parameters`` makes it
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fasttune.trainable.containers import copy_containers
from fasttune.vectors import Vectorized


class Bound:
    """A function with parameters or resources attached; the user's function itself is not touched."""

    def __init__(self, function: Callable[..., Any], parameters: dict[str, Any], resources: Any) -> None:
        self.function = function
        self.parameters = parameters
        self._resources = resources
        self.of_columns = is_vectorized(function)
        self.__name__ = trainable_name(function)
        self.__doc__ = getattr(function, "__doc__", None)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if not self.parameters:
            return self.function(*arguments, **keywords)
        return self.function(*arguments, **copy_containers(self.parameters), **keywords)

    def __repr__(self) -> str:
        return f"<{self.__name__} with parameters {sorted(self.parameters)}, resources {self._resources}>"


def check_function(function: Callable[..., Any]) -> None:
    """Raise ValueError unless ``function(config)`` can be called, or one of the two older forms."""
    call_form(function)


def call_form(function: Callable[..., Any]) -> str:
    """How the function wants to be called.

    "config": f(config); "checkpoint_dir": f(config, checkpoint_dir=None); "own checkpoint_dir": the same with a default of
    its own, which it gets where there is no checkpoint; "reporter": f(config, reporter); "columns": f(columns of configs), made
    by ``tune.vectorized``. ValueError for any other signature.
    """
    import inspect

    if isinstance(unwrapped(function), Vectorized):
        return "columns"
    try:
        signature = inspect.signature(as_partial(function))
    except ValueError:  # some compiled callables do not tell
        return "config"
    names = list(signature.parameters)
    if "checkpoint_dir" in names[1:] and _binds(signature, None, checkpoint_dir=None):
        default = signature.parameters["checkpoint_dir"].default
        return "checkpoint_dir" if default in (None, signature.empty) else "own checkpoint_dir"
    if _binds(signature, None):
        return "config"
    if names[1:2] == ["reporter"] and _binds(signature, None, None):
        return "reporter"
    raise ValueError(
        f"Unknown argument found in the Trainable function {trainable_name(function)}{signature}: it must "
        "take exactly one argument, the config (or: config, checkpoint_dir=None; or: config, reporter). "
        "To give it more, use tune.with_parameters(function, name=value)"
    )


def is_vectorized(trainable: Any) -> bool:
    """Whether it evaluates many trials in one call: ``tune.vectorized`` has made it."""
    return isinstance(unwrapped(trainable), Vectorized)


def vector_of(trainable: Any) -> Vectorized:
    """What ``tune.vectorized`` has made, behind partials and our wrappings. TypeError for what it has not."""
    inner = unwrapped(trainable)
    if not isinstance(inner, Vectorized):
        raise TypeError(f"{trainable_name(trainable)} evaluates one trial in a call: it was not made by tune.vectorized")
    return inner


def saves_when_told(trainable: Any) -> bool:
    """Whether its trials save at any of their reports: classes, and rows of a call, which stands still there."""
    return isinstance(trainable, type) or is_vectorized(trainable)


def takes_state(trainable: Any) -> bool:
    """Whether a function that evaluates many trials in one call goes on from a state: it has a parameter of that name, which no
    partial and no ``with_parameters`` has given."""
    import inspect

    given: set[str] = set()
    while not isinstance(trainable, Vectorized):
        given.update(trainable.keywords if isinstance(trainable, partial) else trainable.parameters)
        trainable = trainable.func if isinstance(trainable, partial) else trainable.function
    return "state" not in given and "state" in inspect.signature(trainable.function).parameters


def is_async(trainable: Any) -> bool:
    """Whether it is an async function, or an async generator function: what it gives back is to be awaited."""
    import inspect

    if isinstance(trainable, type):
        return False
    inner = unwrapped(trainable)
    calls = (inner, getattr(type(inner), "__call__", None))  # noqa: B004 - an object's class says what calling it is
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in calls)


def trainable_name(trainable: Any) -> str:
    """What it is called in tables and folders: the name of the function, of a partial's, or of the class."""
    inner = unwrapped(trainable)
    if isinstance(inner, str):
        return inner
    name: str = getattr(inner, "__name__", None) or type(inner).__name__
    return "lambda" if name == "<lambda>" else name


def _binds(signature: Any, *arguments: Any, **keywords: Any) -> bool:
    try:
        signature.bind(*arguments, **keywords)
    except TypeError:
        return False
    return True


def unwrapped(trainable: Any) -> Any:
    """The user's own function behind partials and our wrappings."""
    while True:
        if isinstance(trainable, partial):
            trainable = trainable.func
        elif isinstance(trainable, Bound):
            trainable = trainable.function
        else:
            return trainable


def as_partial(function: Any) -> Any:
    """Our wrappings as partials, whose signature Python knows."""
    if isinstance(function, Bound):
        return partial(as_partial(function.function), **function.parameters)
    return function
