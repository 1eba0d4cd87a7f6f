"""Images of an experiment's folder, made from a recording: what an honest disk may leave of a moment (``cuts``, whole
prefixes, torn tails), and what a dishonest one does (lost files, zeroed pages, flipped bits)."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from power_recording import (
    CREATE,
    DATABASE,
    INDEX,
    MKDIR,
    PAGE,
    PAGE_BYTES,
    RENAME,
    RMDIR,
    SECTOR,
    SIZE,
    SYNC_BEGINS,
    SYNC_ENDED,
    UNLINK,
    WAL,
    WRITE,
    Content,
    Disk,
    Recording,
    apply,
    disk_at,
    is_mapped,
    is_ring,
)

LEFT_OUT = (".lock",)  # says nothing after a cut


@dataclass
class Image:
    """A folder as a cut may have left it."""

    kind: str
    name: str
    cut: int  # event before which the power went
    disk: Disk
    honest: bool = False  # everything that was synced is there
    whole: bool = False  # everything that was written is there
    may_refuse: bool = False  # no cut does this: an error in words is an answer

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
    had since, sizes without bytes. Names are as they were at one moment, since file systems keep a journal of them.
    What was synced is there."""
    safe = synced_before(recording, cut)
    first: dict[str, int] = {}
    naming = []
    for k, event in enumerate(recording.events[:cut]):
        if event.op in (CREATE, UNLINK, RENAME) or event.path not in first:
            naming.append(k)
        first.setdefault(event.path, k)

    def is_synced_name(k: int) -> bool:
        path = recording.events[k].path
        return k < max(safe.get(path, -1), safe.get(os.path.dirname(path), -1))

    named = max([k + 1 for k in naming if is_synced_name(k)], default=0)
    named = draw.randint(named, cut) if draw.random() >= keep else cut
    disk: Disk = {}
    for k, event in enumerate(recording.events[:cut]):
        op, path = event.op, event.path
        certain = k < safe.get(path, -1)
        if op in (SYNC_BEGINS, SYNC_ENDED, MKDIR, RMDIR) or first[path] >= named:
            continue
        if op in (CREATE, UNLINK, RENAME):
            if k < named:
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
        cut = draw.randrange(recording.begins + 1, len(recording.events) + 1)
        keep = draw.choice([0.0, 0.1, 0.5, 0.9, 0.98])
        yield Image("cut", f"number {i} at event {cut}, {keep:.0%} kept", cut, survivors(recording, cut, draw, keep), honest=True)


def while_rings_exist(recording: Recording) -> list[int]:
    """Events at which there is a ring with something in it, and a database."""
    found, rings, database = [], set(), False
    for k, event in enumerate(recording.events):
        if is_ring(event.path):
            (rings.discard if event.op == UNLINK else rings.add)(event.path)
        database = database or (event.path == DATABASE and event.op == WRITE)
        if rings and database and k >= recording.begins:
            found.append(k)
    return found


def lost_logs(recording: Recording, draw: random.Random, n: int) -> Iterator[Image]:
    """The database's log is lost as a whole: not there, of no bytes, or of zeros; the rings are."""
    moments = while_rings_exist(recording)
    if not moments:
        return
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
    if not moments:
        return
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
    if not moments:
        return
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
    if not moments:
        return
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
    if not moments:
        return
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
    return [(a + 1, b) for a, b in itertools.pairwise(writes) if b > a + 1]


def flipped_bits(recording: Recording, draw: random.Random, n: int, where: str) -> Iterator[Image]:
    """One bit is another one: in a ring (mostly in what was written since the last commit), the log, the database."""
    moments, between = while_rings_exist(recording), commits(recording)
    if not (moments and between):
        return
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
        name = f"number {i}: bit {bit} of {path} at event {cut}"
        yield Image(f"bit in {where}", name, cut, disk, may_refuse=where == "database")


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
