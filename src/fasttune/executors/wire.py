"""The two rings of a worker in one file: reports up, work down; and the messages that go down."""

from __future__ import annotations

import mmap
import pickle
from typing import Any

from fasttune import _core

UP_BYTES = 1 << 22
DOWN_BYTES = 1 << 19
HEADER = 4096
UP_RING = _core.Ring.nbytes(UP_BYTES)  # sealed: it outlives its processes
FILE_BYTES = UP_RING + HEADER + DOWN_BYTES
CANNOT_LOAD = 77  # exit status of a worker that could not load the program


class Wire:
    """Both rings over one mapping."""

    def __init__(self, memory: mmap.mmap, *, create: bool, epoch: float = 0.0, bell_fd: int = -1) -> None:
        self.memory = memory
        view = memoryview(memory)
        self.up = _core.Ring(view[:UP_RING], create=create, epoch=epoch, bell_fd=bell_fd)
        self.down = _core.Ring(view[UP_RING:FILE_BYTES], create=create, epoch=epoch)

    def close(self) -> None:
        """Let go of the mapping; it is unmapped when the last view of it has gone."""
        del self.up, self.down, self.memory


def pack(value: Any) -> bytes:
    """A message's payload: plain data by pickle, anything else by cloudpickle."""
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:
        import cloudpickle

        data: bytes = cloudpickle.dumps(value)
        return data
