"""The file that a ring lies in: made, mapped, emptied, removed. Used by every executor that has one."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress

from fasttune import _core
from fasttune.executors.base import Batch

RING_BYTES = 1 << 22  # of records, in one process


def taken(ring: _core.Ring, source: int) -> list[Batch]:
    """Everything that is in the ring and was not taken yet."""
    batches = []
    while (data := ring.take()) is not None:
        batches.append(Batch(source, ring.position, data))
    return batches


def remove_ring(path: str, whole: bool) -> None:
    """Remove a ring's file if the journal has all of it, and what lies beside it; the folder too, when it is empty."""
    with suppress(FileNotFoundError):
        os.unlink(path.removesuffix(".ring") + ".err")
    if whole:
        with suppress(FileNotFoundError):
            os.unlink(path)
    with suppress(OSError):
        os.rmdir(os.path.dirname(path))


def map_file(path: str, size: int) -> mmap.mmap:
    """A file of zeros of this size, mapped for writing; its blocks are reserved, so that a full disk is an OSError here
    and not a signal in the middle of a report."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        else:
            os.ftruncate(fd, size)
        return by_pages(mmap.mmap(fd, size))
    finally:
        os.close(fd)


def by_pages(memory: mmap.mmap) -> mmap.mmap:
    """The mapping, of which the system brings only the pages that are touched: otherwise the first byte brings two megabytes of
    zeros, 1.4 ms for each ring that is made, and half as much again when its file is removed."""
    if hasattr(mmap, "MADV_RANDOM"):
        memory.madvise(mmap.MADV_RANDOM)
    return memory
