"""The main script, seen from other processes: what it defines travels by value, and can be looked up by name there.

pickle writes functions and classes of a module as its name and theirs, and ``__main__`` is another module in each process.
So what the driver's script defines is sent to workers by value (``by_value``). What a worker makes of it is in
``executors/stand_in.py``.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasttune.out_of_band import Buffers

NAMES = (
    "__main__",
    "__mp_main__",
)  # what the script's module is called: in a process that multiprocessing has spawned the second
STANDS_IN = "__fasttune_stands_in__"  # attribute of a main module that is none: it stands for another process's script


def is_named_in(data: bytes) -> bool:
    """Whether a pickle refers to what the main script defines by its name."""
    return any(name.encode() in data for name in NAMES)


def by_value(value: Any, sources: bool = False, buffers: Buffers | None = None) -> bytes:
    """By cloudpickle. What the main script defines goes by value, also where multiprocessing has imported the script
    under another name, in a process that it has spawned. ``sources``: with the text of the files that it was written in.
    ``buffers`` takes what is large out of it."""
    import cloudpickle  # type: ignore[import-untyped, unused-ignore]

    from fasttune import code_places

    script = sys.modules.get("__mp_main__")
    if script is None or script.__name__ != "__mp_main__":
        return code_places.dumps(value, sources, buffers)
    known = script.__name__ in cloudpickle.list_registry_pickle_by_value()
    if not known:
        cloudpickle.register_pickle_by_value(script)
    try:
        return code_places.dumps(value, sources, buffers)
    finally:
        if not known:
            cloudpickle.unregister_pickle_by_value(script)


def dumps(value: Any) -> bytes:
    """By pickle, and where that cannot, by value. In a worker the script's own goes by value, too: whoever reads it there
    has another main module."""
    import pickle

    try:
        data = pickle.dumps(value, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        return by_value(value)
    return by_value(value) if is_elsewhere() and is_named_in(data) else data


def is_elsewhere() -> bool:
    """Whether the main script runs in another process than this one, a worker."""
    return hasattr(sys.modules["__main__"], STANDS_IN)


def described() -> dict[str, str | None]:
    """What a process that multiprocessing spawns must know to import this process's script: its file, or its name if it was
    begun with ``python -m``. Neither for a script that never asks for its own name: it has no guard, and would begin the run
    again wherever it is imported."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    file = os.path.abspath(file) if isinstance(file, str) and os.path.isfile(file) else None
    guarded = file is not None and _asks_for_its_name(file)
    return {
        "name": main.__name__ if main.__name__ in NAMES else "__main__",
        "file": file if guarded else None,
        "module": spec.name if spec is not None and guarded else None,
    }


def _asks_for_its_name(file: str) -> bool:
    try:
        with open(file, "rb") as source:
            return re.search(rb"__name__\s*(==|!=|in\b)|(==|!=)\s*__name__", source.read()) is not None
    except OSError:
        return False
