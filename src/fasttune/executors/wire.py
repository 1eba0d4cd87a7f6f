"""The two rings of a worker in one file, reports up and work down, and its gauge; and the messages that go down."""

from __future__ import annotations

import mmap
import pickle
from typing import Any

from fasttune import _core
from fasttune.error import TuneError
from fasttune.executors.usage import GAUGE_NUMBERS
from fasttune.script import by_value, is_named_in

UP_BYTES = 1 << 22
DOWN_BYTES = 1 << 19
UP_RING = _core.Ring.nbytes(UP_BYTES)  # sealed: it outlives its processes
RINGS_BYTES = UP_RING + _core.Ring.HEADER + DOWN_BYTES
FILE_BYTES = RINGS_BYTES + 8 * GAUGE_NUMBERS
CANNOT_LOAD = 77  # exit status of a worker that could not load the program


class Wire:
    """Both rings, and the gauge, over one mapping."""

    def __init__(self, memory: mmap.mmap, *, create: bool, epoch: float = 0.0, bell_fd: int = -1) -> None:
        self.memory = memory
        view = memoryview(memory)
        self.up = _core.Ring(view[:UP_RING], create=create, epoch=epoch, bell_fd=bell_fd)
        self.down = _core.Ring(view[UP_RING:RINGS_BYTES], create=create, epoch=epoch)
        self.gauge = view[RINGS_BYTES:FILE_BYTES].cast("d")  # see executors.usage

    def close(self) -> None:
        """Let go of the mapping; it is unmapped when the last view of it has gone."""
        del self.up, self.down, self.gauge, self.memory


def pack(value: Any) -> bytes:
    """A message's payload: plain data by pickle, anything else by cloudpickle."""
    try:
        data = pickle.dumps(value, protocol=5)
    except Exception:
        return by_value(value)
    # what the script defines is not to be had in a worker by its name
    return by_value(value) if is_named_in(data) else data


def pack_config(config: dict[str, Any], trial: int, most: int) -> bytes:
    """A config on its way to a worker. One that cannot be sent, or takes more than ``most`` bytes, arrives as the error that
    says so: it is its trial's failure."""
    try:
        data = pack(config)
    except Exception as error:
        keys = ", ".join(repr(key) for key, value in config.items() if not _can_be_packed(value)) or "its values together"
        return pickle.dumps(_Refused(f"the config of trial {trial} cannot be sent to a worker process: {keys} ({error})"))
    if len(data) <= most:
        return data
    return pickle.dumps(_Refused(
        f"the config of trial {trial} takes {len(data)} bytes, too many to hand over with each trial; give large objects to "
        "all trials at once with tune.with_parameters"
    ))


def _can_be_packed(value: Any) -> bool:
    try:
        pack(value)
    except Exception:
        return False
    return True


class _Refused:
    """Raises a TuneError where it is unpacked."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, (self._why,)


def _refuse(why: str) -> None:
    raise TuneError(why)
