"""What is attached to a trainable before it is run: objects that all of its trials get, and what each trial needs.

with_parameters   hand large objects, or such as do not belong into a config, to every trial
with_resources    say what one trial needs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fasttune.trainable.call_forms import Bound, as_partial, trainable_name
from fasttune.trainable.containers import copy_containers
from fasttune.trainable.stepped import Trainable, is_trainable_class


def with_parameters(trainable: Any, **parameters: Any) -> Any:
    """The trainable with objects that every trial gets: a function by keyword, a class through setup(config,
    ..).

    Objects travel to each worker once, not with each config. The contents of arrays and of data frames' columns of numbers and
    dates, also such as are within other objects, lie in memory once for all workers, if they have a MiB or more; what was mapped
    from a file (``np.load(path, mmap_mode="r")``) stays there. A worker that writes into one writes into a copy of its own.

    Dicts, lists and sets are rebuilt for every trial, so what one trial adds to them no other trial sees; arrays, data frames and
    other objects are shared by the trials of a process and must not be changed.

    Args:
        trainable: a function of the config, or a class derived from Trainable.
        parameters: the objects, by the names of the function's arguments, or of ``setup``'s.

    Raises:
        ValueError: the trainable is neither, or has no argument of such a name.
    """
    if is_trainable_class(trainable):
        return _class_with_parameters(trainable, parameters)
    if isinstance(trainable, type) or not callable(trainable):
        raise ValueError(
            f"with_parameters needs a function or a class derived from tune.Trainable, got {trainable!r}"
        )
    _check_parameters(trainable, parameters)
    return Bound(trainable, parameters, attached_resources(trainable))


def with_resources(trainable: Any, resources: Any) -> Any:
    """The trainable with what each trial needs: a dict, PlacementGroupFactory, or function of the config."""
    if not (isinstance(resources, Mapping) or hasattr(resources, "bundles") or callable(resources)):
        raise ValueError(
            "resources must be a dict, a PlacementGroupFactory or a function of the config, got "
            f"{resources!r}"
        )
    if is_trainable_class(trainable):
        return _class_with_resources(trainable, resources)
    if isinstance(trainable, type) or not callable(trainable):
        raise ValueError(
            f"with_resources needs a function or a class derived from tune.Trainable, got {trainable!r}"
        )
    return Bound(trainable, {}, resources)


def attached_resources(trainable: Any) -> Any:
    """What ``with_resources`` attached, None if nothing."""
    return getattr(trainable, "_resources", None)


def _check_parameters(function: Any, parameters: dict[str, Any]) -> None:
    import inspect

    try:
        signature = inspect.signature(as_partial(function))
    except ValueError:
        return
    takes_any = any(part.kind is part.VAR_KEYWORD for part in signature.parameters.values())
    unknown = [name for name in parameters if name not in signature.parameters]
    if unknown and not takes_any:
        raise ValueError(
            f"with_parameters gives {unknown} to {trainable_name(function)}{signature}, which has no such "
            "argument"
        )


def _class_with_parameters(trainable: type[Trainable], parameters: dict[str, Any]) -> type[Trainable]:
    def setup(self: Any, config: dict[str, Any], **more: Any) -> None:
        super(derived, self).setup(config, **copy_containers(parameters), **more)

    derived = _derive(trainable, {"setup": setup})
    return derived


def _class_with_resources(trainable: type[Trainable], resources: Any) -> type[Trainable]:
    def default_resource_request(cls: Any, config: dict[str, Any]) -> Any:
        asks = callable(resources) and not hasattr(resources, "bundles")
        return resources(config) if asks else resources

    methods = {"_resources": resources, "default_resource_request": classmethod(default_resource_request)}
    if callable(resources):
        methods["_resources"] = staticmethod(resources)
    return _derive(trainable, methods)


def _derive(trainable: type[Trainable], members: dict[str, Any]) -> type[Trainable]:
    """A class of the same name with other members. cloudpickle sends it by value, as only the original is
    found under its name.
    """
    same = {
        "__module__": trainable.__module__,
        "__qualname__": trainable.__qualname__,
        "__doc__": trainable.__doc__,
    }
    return type(trainable.__name__, (trainable,), {**same, **members})
