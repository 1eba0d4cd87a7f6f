"""The program as it travels to workers, and what of it cannot."""

from __future__ import annotations

from typing import Any

from fasttune import script
from fasttune.executors.base import Program
from fasttune.executors.program_file import ProgramFile
from fasttune.out_of_band import Buffers


def shared_program(program: Program, folder: str) -> ProgramFile:
    """The program, where workers find it, and what is large in it where they map it."""
    buffers = Buffers()
    return ProgramFile(pickled_program(program, buffers), buffers.kept, folder)


def pickled_program(program: Program, buffers: Buffers) -> bytes:
    """The program by cloudpickle, what is large left to ``buffers``; a TypeError names what cannot travel."""
    try:
        return script.by_value(program, sources=True, buffers=buffers)
    except Exception as error:
        culprit = find_unpicklable(program)
        raise TypeError(
            f"the trainable cannot be sent to worker processes: {culprit or error}. Create such objects inside the "
            "trainable, hand them over with tune.with_parameters if they can be pickled, or run with executor='thread' or 'inline'"
        ) from error


def find_unpicklable(program: Program) -> str | None:
    """Which captured object cannot be pickled, in words; None if it is not one that a function captures."""
    import cloudpickle

    from fasttune.trainable.call_forms import Bound

    def fails(value: Any) -> str | None:
        try:
            cloudpickle.dumps(value)
        except Exception as error:
            return f"{type(value).__name__} ({error})"
        return None

    for one in program.trainables:
        function = getattr(one.trainable, "__wrapped__", one.trainable)
        while isinstance(function, Bound):
            for name, value in function.parameters.items():
                if (why := fails(value)) is not None:
                    return f"with_parameters gives {one.name} {name!r}, a {why}"
            function = function.function
        code = getattr(function, "__code__", None)
        if code is not None:
            for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
                if (why := fails(cell.cell_contents)) is not None:
                    return f"{one.name} closes over {name!r}, a {why}"
            for name in code.co_names:
                value = function.__globals__.get(name, None)
                if value is not None and not hasattr(value, "__file__") and (why := fails(value)) is not None:
                    return f"{one.name} uses the global {name!r}, a {why}"
        if one.variants is not None and (why := fails(one.variants)) is not None:
            return f"the search space of {one.name} holds an object that cannot be pickled: a {why}"
    return None
