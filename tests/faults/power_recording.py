"""Recordings of runs: what was done to the files of an experiment, in order, and the disks that it makes.

The log is that of ``power_recorder.c``: writes, syncs, names, and the pages of mapped files in an order in which they can
have been.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import power_script

import fasttune

SOURCE = Path(fasttune.__file__).parents[1]
RECORDER = Path(__file__).with_name("power_recorder.c")
SCRIPT = Path(__file__).with_name("power_script.py")
HEAD = struct.Struct("<IIIIQQd")
MAGIC = 0x57504F57
WRITE, TRUNCATE, SYNC_BEGINS, SYNC_ENDED, RENAME, UNLINK, CREATE, MKDIR, RMDIR, PAGE, SIZE = range(1, 12)
PAGE_BYTES, SECTOR = 4096, 512
DATABASE, WAL, INDEX = "experiment.db", "experiment.db-wal", "experiment.db-shm"
JOURNAL = (DATABASE, WAL)


class Event(NamedTuple):
    """One thing that was done to a file. ``path`` is relative to the experiment's folder ("" for the folder itself)."""

    op: int
    path: str
    offset: int
    data: bytes
    time: float = 0.0  # of the clock that never jumps


class Report(NamedTuple):
    """A report as its trial has noted it."""

    trial: str
    step: int
    number: int
    x: float
    before: int
    loss: float
    digest: int


def compile_recorder(folder: Path) -> Path:
    """The shim, to be preloaded."""
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    library = folder / "power_recorder.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, RECORDER, "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


def read_truth(lines: Sequence[str]) -> tuple[list[Report], list[Report]]:
    """What trials made and what was acknowledged, each in its order."""
    made, acknowledged = [], []
    for line in lines:
        word, _, note = line.partition(" ")
        (made if word == "made" else acknowledged).append(Report(*json.loads(note)))
    return made, acknowledged


@dataclass
class Recording:
    """A run from its first write to its last. One that goes on with a folder begins with the events that made that."""

    told: dict[str, Any]
    events: list[Event]
    made: list[Report]
    acknowledged: list[tuple[int, Report]]  # event that its note came before, and the report
    begins: int = 0  # event that is the first of the run itself
    known: tuple[Report, ...] = ()  # reports that it began with

    @property
    def full(self) -> bool:
        """An acknowledged report is promised to survive."""
        return self.told.get("durability") == "full"

    def writes(self, paths: Sequence[str] = JOURNAL) -> list[int]:
        """Numbers of the events that changed one of these files."""
        changing = (WRITE, TRUNCATE, UNLINK)
        return [k for k, one in self.own() if one.path in paths and one.op in changing]

    def own(self) -> Iterator[tuple[int, Event]]:
        """Events of the run itself with their numbers."""
        return zip(range(self.begins, len(self.events)), self.events[self.begins :], strict=True)

    def acknowledged_before(self, cut: int) -> list[Report]:
        return [report for k, report in self.acknowledged if k < cut]


def record(
    told: dict[str, Any],
    folder: Path,
    recorder: Path,
    pause: float = 0.001,
    silence: float = 0.0,
    start: Disk | None = None,
    known: Sequence[Report] = (),
) -> Recording:
    """Run what was told in a process of its own, under the shim. ``pause``: seconds between two reports of a trial;
    ``silence``: those behind its last one. ``start``: the folder that it goes on with, in which these reports are
    ``known``."""
    folder.mkdir(parents=True)
    log, truth = folder / "log", folder / "truth"
    home = folder / "run"
    home.mkdir()
    for path, content in (start or {}).items():
        content.store(home / power_script.NAME / path)
    told = {**told, "folder": str(home)}
    environ = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "LD_PRELOAD": str(recorder),
        "RECORD_FOLDER": str(home / power_script.NAME),
        "RECORD_TRUTH": str(truth),
        "RECORD_LOG": str(log),
        power_script.TRUTH: str(truth),
        power_script.PAUSE: str(pause),
        power_script.SILENCE: str(silence),
    }
    subprocess.run([sys.executable, str(SCRIPT), json.dumps(told)], env=environ, check=True, timeout=100)
    recording = read_log(told, log.read_bytes(), str(home / power_script.NAME), str(truth))
    return recording if start is None else behind(start, known, recording)


def behind(start: Disk, known: Sequence[Report], recording: Recording) -> Recording:
    """The recording behind the events that make the disk it began with, all of it synced."""
    events: list[Event] = []
    for path, content in start.items():
        events.append(Event(CREATE, path, 1, b""))
        events += [Event(PAGE, path, number * PAGE_BYTES, page) for number, page in content.pages.items()]
        events += [Event(op, path, size, b"") for op, size in ((SIZE, content.size), (SYNC_BEGINS, 0), (SYNC_ENDED, 0))]
    for folder in {"", *(os.path.dirname(path) for path in start)}:
        events += [Event(SYNC_BEGINS, folder, 0, b""), Event(SYNC_ENDED, folder, 0, b"")]
    n = len(events)
    acknowledged = [(k + n, report) for k, report in recording.acknowledged]
    events += recording.events
    return Recording(recording.told, events, [*known, *recording.made], acknowledged, n, tuple(known))


def read_log(told: dict[str, Any], log: bytes, home: str, truth: str) -> Recording:
    events: list[Event] = []
    lines: list[tuple[int, str]] = []
    at = 0
    while at < len(log):
        magic, op, _, path_bytes, offset, n, seconds = HEAD.unpack_from(log, at)
        assert magic == MAGIC, f"the log is not whole at byte {at}"
        at += HEAD.size
        path = log[at : at + path_bytes].decode()
        data = log[at + path_bytes : at + path_bytes + n]
        at += path_bytes + n
        if path == truth:
            lines += [(len(events), line) for line in data.decode().splitlines()]
        else:
            to = os.path.relpath(data.decode(), home).encode() if op == RENAME else data
            relative = os.path.relpath(path, home)
            events.append(Event(op, "" if relative == "." else relative, offset, to, seconds))
    made = read_truth([line for _, line in lines])[0]
    acknowledged = [(k, read_truth([line])[1][0]) for k, line in lines if line.startswith("acknowledged")]
    return Recording(told, events, made, acknowledged)


# -- files as a disk has them -------------------------------------------------------------------------------------------


@dataclass
class Content:
    """Bytes of a file by page; what no page says is zero."""

    size: int = 0
    pages: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> Content:
        return Content(self.size, dict(self.pages))

    def write(self, at: int, data: bytes) -> None:
        self.size = max(self.size, at + len(data))
        done = 0
        while done < len(data):
            number, inside = divmod(at + done, PAGE_BYTES)
            n = min(PAGE_BYTES - inside, len(data) - done)
            page = self.pages.get(number, bytes(PAGE_BYTES))
            self.pages[number] = page[:inside] + data[done : done + n] + page[inside + n :]
            done += n

    def truncate(self, size: int) -> None:
        if size < self.size:
            last, inside = divmod(size, PAGE_BYTES)
            self.pages = {number: page for number, page in self.pages.items() if number <= last}
            if last in self.pages:
                self.pages[last] = self.pages[last][:inside].ljust(PAGE_BYTES, b"\0")
        self.size = size

    def read(self, at: int, n: int) -> bytes:
        whole = b"".join(
            self.pages.get(number, bytes(PAGE_BYTES)) for number in range(at // PAGE_BYTES, (at + n - 1) // PAGE_BYTES + 1)
        )
        return whole[at % PAGE_BYTES : at % PAGE_BYTES + n]

    def flip(self, bit: int) -> None:
        at = bit // 8
        self.write(at, bytes([self.read(at, 1)[0] ^ 1 << bit % 8]))

    def store(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            for number, page in self.pages.items():
                if number * PAGE_BYTES < self.size:
                    file.seek(number * PAGE_BYTES)
                    file.write(page[: self.size - number * PAGE_BYTES])
            file.truncate(self.size)


Disk = dict[str, Content]


def is_ring(path: str) -> bool:
    return path.startswith("rings/") and path.endswith(".ring")


def is_mapped(path: str) -> bool:
    return is_ring(path) or path == INDEX


def apply(disk: Disk, event: Event) -> None:
    """What an event did, done to a disk that keeps everything."""
    op, path, offset, data, _ = event
    if op in (WRITE, PAGE):
        disk.setdefault(path, Content()).write(offset, data)
    elif op in (TRUNCATE, SIZE):
        disk.setdefault(path, Content()).truncate(offset)
    elif op == CREATE:
        if offset or path not in disk:
            disk[path] = Content()
    elif op == RENAME:
        if path in disk:
            disk[data.decode()] = disk.pop(path)
    elif op == UNLINK:
        disk.pop(path, None)


def disk_at(recording: Recording, cut: int, start: Disk | None = None, since: int = 0) -> Disk:
    """Everything that was done before event ``cut``."""
    disk = {path: content.copy() for path, content in (start or {}).items()}
    for event in recording.events[since:cut]:
        apply(disk, event)
    return disk
