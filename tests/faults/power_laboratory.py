"""A laboratory for power cuts: a run is recorded, and the folders that a cut may have left of it are opened and resumed.

A :class:`Recording` is the log of what a run did to its files (``power_recorder.c``): writes, syncs, names, and the pages
of mapped files in an order in which they can have been. The images are made from it: what an honest disk may leave of a
moment (:func:`cuts`), and what a dishonest one does (lost files, zeroed pages, flipped bits). :class:`Examiner` opens an
image, goes on with it, and holds both against the truth: the reports that trials made, and those that were acknowledged.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import power_script

import fasttune
from fasttune.error import JournalError
from fasttune.result import reports_by_trial

SOURCE = Path(fasttune.__file__).parents[1]
RECORDER = Path(__file__).with_name("power_recorder.c")
SCRIPT = Path(__file__).with_name("power_script.py")
HEAD = struct.Struct("<IIIIQQd")
MAGIC = 0x57504F57
WRITE, TRUNCATE, SYNC_BEGINS, SYNC_ENDED, RENAME, UNLINK, CREATE, MKDIR, RMDIR, PAGE, SIZE = range(1, 12)
PAGE_BYTES, SECTOR = 4096, 512
DATABASE, WAL, INDEX = "experiment.db", "experiment.db-wal", "experiment.db-shm"
JOURNAL = (DATABASE, WAL)
LEFT_OUT = (".lock",)  # says nothing after a cut


# -- recording ---------------------------------------------------------------------------------------------------------


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
    """A run from its first write to its last."""

    told: dict[str, Any]
    events: list[Event]
    made: list[Report]
    acknowledged: list[tuple[int, Report]]  # event that its note came before, and the report

    @property
    def full(self) -> bool:
        """An acknowledged report is promised to survive."""
        return self.told.get("durability") == "full"

    def writes(self, paths: Sequence[str] = JOURNAL) -> list[int]:
        """Numbers of the events that changed one of these files."""
        return [k for k, one in enumerate(self.events) if one.path in paths and one.op in (WRITE, TRUNCATE, UNLINK)]

    def acknowledged_before(self, cut: int) -> list[Report]:
        return [report for k, report in self.acknowledged if k < cut]


def record(told: dict[str, Any], folder: Path, recorder: Path, pause: float = 0.001) -> Recording:
    """Run what was told in a process of its own, under the shim."""
    folder.mkdir(parents=True)
    log, truth = folder / "log", folder / "truth"
    home = folder / "run"
    home.mkdir()
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
    }
    subprocess.run([sys.executable, str(SCRIPT), json.dumps(told)], env=environ, check=True, timeout=100)
    return read_log(told, log.read_bytes(), str(home / power_script.NAME), str(truth))


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


# -- images --------------------------------------------------------------------------------------------------------------


@dataclass
class Image:
    """A folder as a cut may have left it."""

    kind: str
    name: str
    cut: int  # event before which the power went
    disk: Disk
    honest: bool = False  # everything that was synced is there
    whole: bool = False  # everything that was written is there

    def store(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for path, content in self.disk.items():
            if path not in LEFT_OUT:
                content.store(folder / path)
        if any(is_ring(path) for path in self.disk):
            (folder / "rings").mkdir(exist_ok=True)


class States:
    """The disks of a recording's moments, each made from the one before it."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._at = 0
        self._disk: Disk = {}

    def at(self, cut: int) -> Disk:
        """A copy of what was there before event ``cut``."""
        if cut < self._at:
            self._at, self._disk = 0, {}
        for event in self.recording.events[self._at : cut]:
            apply(self._disk, event)
        self._at = cut
        return {path: content.copy() for path, content in self._disk.items()}


def prefixes(recording: Recording, cuts: Sequence[int] | None = None) -> Iterator[Image]:
    """The state behind every write of the database and its log: as if nothing had been left in the kernel."""
    states = States(recording)
    for k in recording.writes() if cuts is None else cuts:
        yield Image("prefix", f"event {k}", k + 1, states.at(k + 1), honest=True, whole=True)


def torn_tails(recording: Recording, draw: random.Random, each: int | None, n: int) -> Iterator[Image]:
    """``n`` writes of the database or its log cut as the last one, each at every sector, at some odd bytes and one byte
    short, or at ``each`` of these places."""
    states = States(recording)
    every = recording.writes()
    for k in every if n >= len(every) else sorted(draw.sample(every, n)):
        event = recording.events[k]
        if event.op != WRITE:
            continue
        size = len(event.data)
        places = {*range(SECTOR - event.offset % SECTOR, size, SECTOR), size - 1, *(draw.randrange(size) for _ in range(2))}
        kept = sorted(places) if each is None else draw.sample(sorted(places), min(each, len(places)))
        for place in kept:
            disk = states.at(k)
            apply(disk, event._replace(data=event.data[:place]))
            yield Image("torn", f"event {k} of {size} bytes cut at {place}", k, disk, honest=True)


def synced_before(recording: Recording, cut: int) -> dict[str, int]:
    """By file the event before which all that was written has reached the disk."""
    begun: dict[str, int] = {}
    safe: dict[str, int] = {}
    for k, event in enumerate(recording.events[:cut]):
        if event.op == SYNC_BEGINS:
            begun[event.path] = k
        elif event.op == SYNC_ENDED and not event.offset and event.path in begun:
            safe[event.path] = begun[event.path]
    return safe


def survivors(recording: Recording, cut: int, draw: random.Random, keep: float, tear: bool = True) -> Disk:
    """A disk on which of what was not synced only some is there: writes by sector, mapped pages at some state that they
    had since, sizes and names old or new. What was synced is there."""
    safe = synced_before(recording, cut)
    first: dict[str, int] = {}
    for k, event in enumerate(recording.events[:cut]):
        first.setdefault(event.path, k)

    def synced_name(path: str, k: int) -> bool:
        return k < max(safe.get(path, -1), safe.get(os.path.dirname(path), -1))

    absent = {path for path, k in first.items() if not synced_name(path, k) and draw.random() < 0.1 * (1 - keep)}
    disk: Disk = {}
    for k, event in enumerate(recording.events[:cut]):
        op, path = event.op, event.path
        certain = k < safe.get(path, -1)
        if op in (SYNC_BEGINS, SYNC_ENDED, MKDIR, RMDIR) or path in absent:
            continue
        if op in (CREATE, UNLINK, RENAME):
            if synced_name(path, k) or draw.random() < max(keep, 0.9):
                apply(disk, event)
        elif certain or (is_mapped(path) and op == SIZE):
            apply(disk, event)
        elif op == WRITE and tear and draw.random() < 0.2:
            for at in range(0, len(event.data), SECTOR):
                if draw.random() < keep:
                    apply(disk, event._replace(offset=event.offset + at, data=event.data[at : at + SECTOR]))
        elif draw.random() < keep:
            apply(disk, event)
        elif op == WRITE and draw.random() < 0.5:  # the size is there, the bytes are not
            content = disk.setdefault(path, Content())
            content.size = max(content.size, event.offset + len(event.data))
    return disk


def cuts(recording: Recording, draw: random.Random, n: int) -> Iterator[Image]:
    """Cuts at any moment; of what was not synced everything, nothing or anything has reached the disk."""
    for i in range(n):
        cut = draw.randrange(1, len(recording.events) + 1)
        keep = draw.choice([0.0, 0.1, 0.5, 0.9, 0.98])
        yield Image("cut", f"number {i} at event {cut}, {keep:.0%} kept", cut, survivors(recording, cut, draw, keep), honest=True)


def while_rings_exist(recording: Recording) -> list[int]:
    """Events at which there is a ring with something in it, and a database."""
    found, rings, database = [], set(), False
    for k, event in enumerate(recording.events):
        if is_ring(event.path):
            (rings.discard if event.op == UNLINK else rings.add)(event.path)
        database = database or (event.path == DATABASE and event.op == WRITE)
        if rings and database:
            found.append(k)
    return found


def lost_logs(recording: Recording, draw: random.Random, n: int) -> Iterator[Image]:
    """The database's log is lost as a whole: not there, of no bytes, or of zeros; the rings are."""
    moments = while_rings_exist(recording)
    states = States(recording)
    for i, cut in enumerate(sorted(draw.choices(moments, k=n))):
        disk = states.at(cut)
        wal = disk.pop(WAL, Content())
        disk.pop(INDEX, None)
        if i % 3:
            disk[WAL] = Content(0 if i % 3 == 1 else wal.size)
        yield Image("lost log", f"event {cut}, {('missing', 'empty', 'zeros')[i % 3]}", cut, disk)


def mixed(recording: Recording, draw: random.Random, n: int) -> Iterator[Image]:
    """The database and its log of one moment beside the rings of another: half of them older, half newer."""
    moments = while_rings_exist(recording)
    for i in range(n):
        first, second = sorted(draw.choices(moments, k=2))
        old, new = disk_at(recording, first), disk_at(recording, second)
        journal, rings = (old, new) if i % 2 else (new, old)
        disk = {path: content for path, content in journal.items() if not is_mapped(path)}
        disk.update({path: content for path, content in rings.items() if is_ring(path)})
        word = "older" if i % 2 else "newer"
        yield Image("mixed", f"number {i}: log {word} than rings, events {first} and {second}", second, disk)


def stale_logs(recording: Recording, draw: random.Random, n: int) -> Iterator[Image]:
    """The log cut at the end of a write, and one byte before, beside the rings of the last moment that has any."""
    moments = while_rings_exist(recording)
    last = disk_at(recording, moments[-1])
    writes = [k for k in recording.writes((WAL,)) if k < moments[-1] and recording.events[k].op == WRITE]
    for k in sorted(draw.sample(writes, min(n, len(writes)))):
        event = recording.events[k]
        for short in (0, 1):
            disk = {path: content.copy() for path, content in last.items()}
            disk.pop(INDEX, None)
            disk[WAL].truncate(event.offset + len(event.data) - short)
            yield Image("cut log", f"event {k}, {short} bytes short", moments[-1], disk)


def beside_older_log(disk: Disk, recording: Recording, cut: int, draw: random.Random) -> None:
    """The log ends at an earlier write, so that more of the rings is unread: nothing of it was ever synced."""
    writes = [k for k in recording.writes((WAL,)) if k < cut and recording.events[k].op == WRITE]
    if writes and WAL in disk:
        event = recording.events[draw.choice(writes)]
        disk[WAL].truncate(min(disk[WAL].size, event.offset + len(event.data)))


def damaged_pages(recording: Recording, draw: random.Random, n: int) -> Iterator[Image]:
    """A page of a ring is of zeros or from before, its header among them."""
    versions: dict[tuple[str, int], list[tuple[int, bytes]]] = {}
    for k, event in enumerate(recording.events):
        if event.op == PAGE and is_ring(event.path):
            versions.setdefault((event.path, event.offset // PAGE_BYTES), []).append((k, event.data))
    moments = while_rings_exist(recording)
    for i in range(n):
        cut = draw.choice(moments)
        disk = disk_at(recording, cut)
        there = [key for key in versions if key[0] in disk and versions[key][0][0] < cut]
        if not there:
            continue
        path, number = draw.choice(there)
        if i % 3 == 0:
            number = 0
        before = [data for k, data in versions.get((path, number), []) if k < cut]
        if i % 4 < 2:
            beside_older_log(disk, recording, cut, draw)
        page = bytes(PAGE_BYTES) if i % 2 or not before else draw.choice(before)
        disk[path].write(number * PAGE_BYTES, page)
        yield Image("page", f"number {i}: page {number} of {path} at event {cut}, {'zeros' if i % 2 else 'stale'}", cut, disk)


def odd_files(recording: Recording, draw: random.Random, n: int) -> Iterator[Image]:
    """Rings and the log's index of no bytes, cut off or gone; an index of another moment, or of noise."""
    moments = while_rings_exist(recording)
    for i in range(n):
        cut = draw.choice(moments)
        disk = disk_at(recording, cut)
        rings = sorted(path for path in disk if is_ring(path))
        path = draw.choice(rings) if i % 2 and rings else INDEX
        content = disk.setdefault(path, Content())
        what = draw.choice(["empty", "short", "gone", "another", "noise"] if path == INDEX else ["empty", "short", "gone"])
        if what == "empty":
            content.truncate(0)
        elif what == "short":
            content.truncate(draw.randrange(1, max(2, content.size)))
        elif what == "gone":
            del disk[path]
        elif what == "another":
            disk[path] = disk_at(recording, draw.choice(moments)).get(INDEX, Content())
        else:
            disk[path] = Content()
            disk[path].write(0, draw.randbytes(8 * PAGE_BYTES))
        yield Image("file", f"number {i}: {path} {what} at event {cut}", cut, disk)


def commits(recording: Recording) -> list[tuple[int, int]]:
    """(event behind the commit before, first event of the commit) of the journal's commits that rings stood beside."""
    exists = set(while_rings_exist(recording))
    writes = [k for k in recording.writes((WAL,)) if k in exists]
    return [(a + 1, b) for a, b in zip(writes, writes[1:], strict=False) if b > a + 1]


def flipped_bits(recording: Recording, draw: random.Random, n: int, where: str) -> Iterator[Image]:
    """One bit is another one: in a ring (mostly in what was written since the last commit), the log, the database."""
    moments, between = while_rings_exist(recording), commits(recording)
    wanted: Callable[[str], bool] = {"ring": is_ring, "log": WAL.__eq__, "database": DATABASE.__eq__}[where]
    for i in range(n):
        before, cut = draw.choice(between) if where == "ring" and i % 4 else (0, draw.choice(moments))
        disk = disk_at(recording, cut)
        places = changed_bytes(disk_at(recording, before), disk, wanted)
        if where == "ring" and not i % 4:
            beside_older_log(disk, recording, cut, draw)
        if not places:
            continue
        path, at = draw.choice(places)
        bit = 8 * at + draw.randrange(8)
        disk[path].flip(bit)
        yield Image(f"bit in {where}", f"number {i}: bit {bit} of {path} at event {cut}", cut, disk)


def changed_bytes(before: Disk, after: Disk, wanted: Callable[[str], bool]) -> list[tuple[str, int]]:
    """(path, offset) of what is not as it was, in words of eight bytes."""
    found: list[tuple[str, int]] = []
    for path, content in sorted(after.items()):
        if not wanted(path):
            continue
        old = before.get(path, Content())
        for number, page in sorted(content.pages.items()):
            was = old.pages.get(number, bytes(PAGE_BYTES))
            for at in range(0, min(PAGE_BYTES, content.size - number * PAGE_BYTES), 8):
                if page[at : at + 8] != was[at : at + 8]:
                    found += [(path, number * PAGE_BYTES + at + k) for k in range(8)]
    return found


# -- examining -----------------------------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """A trial as an opened experiment shows it."""

    status: str
    x: float
    raw: tuple[tuple[int, int, float, int], ...]  # step, number, loss, digest of all reports, in the order of their time
    counted: tuple[tuple[int, int], ...]  # step and number of those that count
    last: tuple[int, int] | None


@dataclass
class Figures:
    """What a round came to; sums of rounds are rounds."""

    images: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)
    resumed: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0  # at the moments of cuts that a disk may leave
    lost: int = 0  # of these
    oldest: float = 0.0  # seconds before the cut at which the oldest of them was acknowledged
    stories: list[str] = field(default_factory=list)

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.images + other.images,
            self.opened + other.opened,
            self.resumed + other.resumed,
            self.faults + other.faults,
            self.acknowledged + other.acknowledged,
            self.lost + other.lost,
            max(self.oldest, other.oldest),
            self.stories + other.stories,
        )

    def row(self) -> dict[str, int]:
        """For the scorecard."""
        return {
            "images": self.images.total(),
            "opened": self.opened.total(),
            "resumed": self.resumed.total(),
            "wrong values": self.faults["wrong value"],
            "holes": self.faults["hole"],
            "promised acks lost": self.faults["promise"],
            "acks": self.acknowledged,
            "acks lost": self.lost,
            "oldest lost ack (ms)": round(1000 * self.oldest),
            "faults": self.faults.total(),
        }

    def __str__(self) -> str:
        lines = [", ".join(f"{name} {value}" for name, value in self.row().items())]
        for kind, n in sorted(self.images.items()):
            lines.append(f"  {kind}: opened {self.opened[kind]}/{n}, resumed {self.resumed[kind]}")
        lines += [f"  fault {word}: {n}" for word, n in self.faults.most_common()]
        return "\n".join(lines)


class Fault(Exception):
    """Something that must not be: ``word`` is its kind."""

    def __init__(self, word: str, text: str) -> None:
        super().__init__(text)
        self.word = word


def show(path: Path) -> dict[str, Shown]:
    """The experiment in a folder, as users are shown it."""
    analysis = fasttune.ExperimentAnalysis(str(path))
    source: Any = analysis._source
    raw: dict[int, list[tuple[float, int, int, float, int]]] = {}
    blocks = source.report_blocks()
    for block in blocks:
        columns = {name: numbers(block.values[at], "d") for at, name in enumerate(block.keys)}
        times, steps = numbers(block.time, "d"), numbers(block.step, "i")
        for row, trial in enumerate(numbers(block.trial, "i")):
            number, loss = (columns[name][row] if name in columns else float("nan") for name in ("number", "loss"))
            digest = columns["digest"][row] if "digest" in columns else 0.0
            told = (times[row], steps[row], as_int(number), loss, as_int(digest))
            raw.setdefault(trial, []).append(told)
    counted = reports_by_trial(blocks)
    shown: dict[str, Shown] = {}
    for trial in analysis.trials:
        last = trial.last_result
        shown[trial.trial_id] = Shown(
            trial.status,
            trial.config["x"],
            tuple(one[1:] for one in sorted(raw.get(trial.index, []), key=lambda one: one[0])),
            tuple((one.step, as_int(one.metrics.get("number", -1))) for one in counted.get(trial.index, [])),
            (last["training_iteration"], as_int(last["number"])) if "number" in last else None,
        )
    return shown


def numbers(column: Any, kind: str) -> list[Any]:
    """A column of a block."""
    return list(memoryview(column).cast("B").cast(kind))


def as_int(value: float) -> int:
    return int(value) if value == value and abs(value) < 1 << 62 else -1


def journal_rows(folder: Path) -> int:
    """How many entries the journal of a folder has, by SQLite alone, on a copy."""
    copy = folder.with_name(folder.name + "_alone")
    copy.mkdir()
    try:
        for name in JOURNAL:
            if (folder / name).exists():
                shutil.copy(folder / name, copy / name)
        connection = sqlite3.connect(copy / DATABASE)
        try:
            return int(connection.execute("SELECT count(*) FROM journal").fetchone()[0])
        except sqlite3.DatabaseError:
            return 0
        finally:
            connection.close()
    finally:
        shutil.rmtree(copy)


class Examiner:
    """Opens images of one recording and goes on with them, in ``folder``."""

    def __init__(self, recording: Recording, folder: Path, resumes: float = 1.0, seed: int = 0) -> None:
        self.recording = recording
        self.folder = folder
        self.figures = Figures()
        self._resumes = resumes  # share of the images that are also resumed
        self._draw = random.Random(seed)
        self._count = 0

    def examine(self, images: Iterator[Image]) -> Figures:
        for image in images:
            self._one(image)
        return self.figures

    def _one(self, image: Image) -> None:
        figures = self.figures
        home = self.folder / f"image{self._count}"
        self._count += 1
        figures.images[image.kind] += 1
        path = home / power_script.NAME
        image.store(path)
        truth = home / "truth"
        wrong = False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                before = self._open(image, path)
                figures.opened[image.kind] += 1
                if self._draw.random() < self._resumes:
                    self._resume(image, home, path, truth, before)
                    figures.resumed[image.kind] += 1
        except Fault as fault:
            wrong = True
            figures.faults[fault.word] += 1
            figures.stories.append(f"{fault.word}: {image.kind}, {image.name}: {fault}")
        finally:
            if not wrong or not os.environ.get("POWER_KEEP"):
                shutil.rmtree(home)
            else:
                figures.stories[-1] += f" [{home}]"

    def _open(self, image: Image, path: Path) -> dict[str, Shown] | None:
        """What the image shows, checked; None when its experiment had not begun."""
        rows = journal_rows(path)
        try:
            shown = show(path)
        except JournalError as error:
            if rows:
                raise Fault("unreadable", f"{rows} entries, but {error}") from error
            shown = None
        except BaseException as error:
            raise Fault("unreadable", "".join(traceback.format_exception(error)[-3:])) from error
        found = {} if shown is None else shown
        self._check_values(found, self.recording.made)
        for trial, one in found.items():
            self._check_prefix(trial, one, [report for report in self.recording.made if report.trial == trial])
        acknowledged = self.recording.acknowledged_before(image.cut)
        numbers = {number for one in found.values() for _, number, _, _ in one.raw}
        lost = [report for report in acknowledged if report.number not in numbers]
        if image.honest:
            self.figures.acknowledged += len(acknowledged)
            self.figures.lost += len(lost)
            if lost:
                gone, events = {report.number for report in lost}, self.recording.events
                first = min(k for k, report in self.recording.acknowledged if report.number in gone)
                age = events[image.cut - 1].time - events[max(0, first - 1)].time
                self.figures.oldest = max(self.figures.oldest, age)
            if lost and (image.whole or self.recording.full):
                raise Fault("promise", f"{len(lost)} of {len(acknowledged)} acknowledged reports are lost, e.g. {lost[0]}")
        return shown

    def _check_values(self, shown: Mapping[str, Shown], made: Sequence[Report]) -> None:
        """Every report that is shown was made by that trial, at that step, with these values; each once."""
        by_number = {report.number: report for report in made}
        seen: set[int] = set()
        for trial, one in shown.items():
            for step, number, loss, digest in one.raw:
                true = by_number.get(number)
                if true is None or (true.trial, true.step, true.loss, true.digest) != (trial, step, loss, digest):
                    raise Fault("wrong value", f"trial {trial}: step {step}, number {number}, loss {loss}; it made {true}")
                if number in seen:
                    raise Fault("twice", f"trial {trial}: step {step} is there twice")
                seen.add(number)
                if loss != power_script.loss_of(true.x, step):
                    raise Fault("wrong value", f"trial {trial}: step {step} of a config that it was not trained with")
            if one.last is not None and (not one.counted or one.last != one.counted[-1]):
                raise Fault("last result", f"trial {trial}: {one.last} after {one.counted[-3:]}")
            if one.last is None and one.counted:
                raise Fault("last result", f"trial {trial}: none after {one.counted[-3:]}")
            if one.raw and self.recording.told["kind"] != "population":
                true = by_number[one.raw[-1][1]]
                if one.x != true.x:
                    raise Fault("wrong value", f"trial {trial}: its config has x {one.x}, it was trained with {true.x}")

    def _check_prefix(self, trial: str, one: Shown, made: Sequence[Report]) -> None:
        """The reports of a trial are the first ones that it made, in their order."""
        numbers = [number for _, number, _, _ in one.raw]
        expected = [report.number for report in made[: len(numbers)]]
        if numbers != expected:
            steps = [step for step, _, _, _ in one.raw]
            raise Fault("hole", f"trial {trial} ({one.status}) shows steps {steps} of {[report.step for report in made]}")
        if one.status == "TERMINATED" and len(numbers) < len(made):
            raise Fault("hole", f"trial {trial} is finished with {len(numbers)} of {len(made)} reports")

    def _resume(self, image: Image, home: Path, path: Path, truth: Path, before: dict[str, Shown] | None) -> None:
        told = {**self.recording.told, "folder": str(home)}
        kept = os.environ.get(power_script.TRUTH)
        os.environ[power_script.TRUTH] = str(truth)
        try:
            power_script.run(told)
        except BaseException as error:
            raise Fault("not resumed", "".join(traceback.format_exception(error)[-3:])) from error
        finally:
            os.environ.pop(power_script.TRUTH)
            if kept is not None:
                os.environ[power_script.TRUTH] = kept
        made, acknowledged = read_truth(truth.read_text().splitlines() if truth.exists() else [])
        try:
            after = show(path)
        except BaseException as error:
            raise Fault("unreadable after", "".join(traceback.format_exception(error)[-3:])) from error
        self._check_values(after, [*self.recording.made, *made])
        self._check_whole(before or {}, after, made)
        if show(path) != after:
            raise Fault("changing", "a second opening shows something else")

    def _check_whole(self, before: Mapping[str, Shown], after: Mapping[str, Shown], made: Sequence[Report]) -> None:
        """The experiment is at its end: what had been there still is, and what was made since is there too."""
        told = self.recording.told
        if len(after) != told["samples"]:
            raise Fault("number of trials", f"{len(after)} of {told['samples']}")
        if not before.keys() <= after.keys():
            raise Fault("number of trials", f"trials have gone: {before.keys() - after.keys()}")
        new: dict[str, list[int]] = {}
        for report in made:
            new.setdefault(report.trial, []).append(report.number)
        for trial, one in after.items():
            was = before.get(trial)
            if one.status != "TERMINATED":
                raise Fault("not finished", f"trial {trial} is {one.status}")
            if was is not None and was.status == "TERMINATED" and (trial in new or one != was):
                raise Fault("finished again", f"trial {trial} was finished with {was.counted}, now {one.counted}")
            numbers = [number for _, number, _, _ in one.raw]
            expected = [number for _, number, _, _ in (was.raw if was is not None else ())] + new.get(trial, [])
            if numbers != expected:
                raise Fault("hole", f"trial {trial}: {len(numbers)} reports after it went on, {len(expected)} expected")
            self._check_steps(trial, [step for step, _ in one.counted])
        if told["kind"] == "population":
            self._check_chain([*self.recording.made, *made])

    def _check_steps(self, trial: str, steps: list[int]) -> None:
        kind = self.recording.told["kind"]
        last = power_script.STEPS[kind]
        if kind == "asha":
            last = min(last, max(steps, default=0))
        if not steps or steps[-1] != last or (kind != "population" and steps != list(range(1, last + 1))):
            raise Fault("hole", f"trial {trial} ended with steps {steps} of {last}")

    def _check_chain(self, made: Sequence[Report]) -> None:
        """Every step of a population goes on from a state that one of its members was in."""
        states = {(0, power_script.FIRST), *((report.step, report.digest) for report in made)}
        for report in made:
            if (report.step - 1, report.before) not in states:
                raise Fault("wrong value", f"trial {report.trial} went on at step {report.step} from a state nobody was in")
            if report.digest != power_script.digest_of(report.before, report.x, report.step):
                raise Fault("wrong value", f"trial {report.trial}: its state does not follow from its config")


# -- rounds --------------------------------------------------------------------------------------------------------------


def images_of(recording: Recording, draw: random.Random, scale: float) -> Iterator[Image]:
    """Images of every kind; with ``scale`` 1 every prefix, and some hundred of the others."""

    def some(n: int) -> int:
        return max(1, round(n * scale))

    every = recording.writes()
    yield from prefixes(recording, every if scale >= 1 else sorted(draw.sample(every, some(len(every)))))
    yield from torn_tails(recording, draw, None if scale > 1 else 2, some(len(every)))
    yield from cuts(recording, draw, some(80))
    yield from lost_logs(recording, draw, some(9))
    yield from mixed(recording, draw, some(40))
    yield from stale_logs(recording, draw, some(20))
    yield from damaged_pages(recording, draw, some(60))
    yield from odd_files(recording, draw, some(30))
    for where, n in (("ring", 80), ("log", 40), ("database", 20)):
        yield from flipped_bits(recording, draw, some(n), where)


def a_round(
    told: dict[str, Any], folder: Path, *, scale: float = 1.0, resumes: float = 0.3, seed: int = 0, recorder: Path | None = None
) -> Figures:
    """Record a run, make its images, examine them all: the figures, for tests and for the scorecard."""
    folder.mkdir(parents=True, exist_ok=True)
    recording = record(told, folder / "recorded", recorder or compile_recorder(folder))
    examiner = Examiner(recording, folder / "images", resumes, seed)
    return examiner.examine(images_of(recording, random.Random(seed), scale))
