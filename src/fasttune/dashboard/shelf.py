"""Experiments that are open: the few that were looked at last, and whether they have changed since.

Whether an experiment has changed is told by the sizes and times of its files, and by whether somebody writes it: a few
microseconds, whatever its size. It is read again only then, and for at most one part in ten of the time while it runs.
"""

from __future__ import annotations

import os
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from hashlib import blake2b
from secrets import token_bytes
from typing import TYPE_CHECKING, Any

from fasttune.folder import JOURNAL, RINGS
from fasttune.storage.recovery import writer_of

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.engine.records import ExperimentRecords
    from fasttune.plot.data import ExperimentData

KEPT = 6  # experiments that are open at a time; one of 10^5 trials takes some tens of megabytes
SHARE = 10  # reading takes at most one part in so many of the time
DATABASE = (JOURNAL, f"{JOURNAL}-wal")
WARNINGS = 20  # that are kept of one reading

Signature = tuple[Any, ...]


def signature_of(folder: str) -> Signature:
    """Something that is another one when the experiment in a folder has changed. FileNotFoundError when there is none."""
    told: list[Any] = [_told_of(os.stat(os.path.join(folder, JOURNAL))), writer_of(folder)]
    for name in DATABASE[1:]:
        try:
            told.append(_told_of(os.stat(os.path.join(folder, name))))
        except FileNotFoundError:
            told.append(None)
    try:
        with os.scandir(os.path.join(folder, RINGS)) as rings:
            told.append(sorted((ring.name, *_told_of(ring.stat(follow_symlinks=False))) for ring in rings))
    except (FileNotFoundError, NotADirectoryError):
        told.append(None)
    return tuple(told)


def _told_of(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Opened:
    """An experiment as it was when it was read. What is made of it is made once.

    folder     where it lies
    version    text that is another one for another state: the ETag of what is told of it
    source     its records
    said       warnings that came with the reading: damage, records that do not fit
    seconds    that the reading took, and what was made of it since; pictures do not count, which pages ask for at their own pace
    """

    def __init__(self, folder: str, version: str) -> None:
        from fasttune.engine.opening import open_records

        self.folder = folder
        self.version = version
        began = time.monotonic()
        self.running = writer_of(folder) is not None  # before it is read: what is read of one that has ended is all
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            self.source: ExperimentRecords = open_records(folder)
        told = (str(one.message) for one in said)  # the thread that draws may have warned of another one meanwhile
        self.said = list(dict.fromkeys(text for text in told if folder in text))[:WARNINGS]
        self.read_at = time.monotonic()
        self.seconds = self.read_at - began
        self._made: dict[tuple[Any, ...], Any] = {}

    @cached_property
    def analysis(self) -> ExperimentAnalysis:
        from fasttune.analysis import ExperimentAnalysis

        return ExperimentAnalysis(self.source)

    @cached_property
    def experiment(self) -> ExperimentData:
        """As pictures see it."""
        from fasttune.plot.data import ExperimentData

        return ExperimentData(self.analysis)

    def once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What ``make`` gave when it was first called for this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @contextmanager
    def working(self) -> Iterator[None]:
        """What is made within counts as part of the reading: it will be made again when the experiment is read again."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - began

    @property
    def fresh(self) -> bool:
        """Whether it is too early to read it again."""
        return time.monotonic() < self.read_at + SHARE * self.seconds


class Shelf:
    """The open experiments. Used by one thread."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._opened: OrderedDict[str, tuple[Signature, Opened]] = OrderedDict()
        self._salt = token_bytes(8)  # what one server calls a version is none of another's

    def version(self, folder: str) -> str:
        """The version that ``opened`` would give now; it opens nothing. FileNotFoundError when there is no experiment."""
        return self._looked_at(folder)[1]

    def opened(self, folder: str) -> Opened:
        """The experiment in a folder, read again if it has changed. JournalError or OSError when it cannot be read."""
        signature, version = self._looked_at(folder)
        known = self._opened.get(folder)
        if known is None or known[1].version != version:
            known = signature, Opened(folder, version)
            self._opened[folder] = known
        self._opened.move_to_end(folder)
        while len(self._opened) > self._kept:
            self._opened.popitem(last=False)
        return known[1]

    def _looked_at(self, folder: str) -> tuple[Signature, str]:
        signature = signature_of(folder)  # before it is read: what comes in between is seen at the next look
        known = self._opened.get(folder)
        if known is not None and (known[0] == signature or known[1].fresh):
            return known[0], known[1].version
        told = repr((folder, signature)).encode("utf-8", "backslashreplace")
        return signature, blake2b(told, key=self._salt, digest_size=12).hexdigest()
