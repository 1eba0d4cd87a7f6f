"""doctor EXP: what is whole of an experiment, and a copy of that."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fasttune.cli import CommandError
from fasttune.cli.checks import Check, tell
from fasttune.error import JournalError
from fasttune.folder import COMMAND_FILE, JOURNAL, LOCK_FILE, PROGRAM, RINGS, WRITING, is_of_the_run

if TYPE_CHECKING:
    from fasttune.engine.records import ExperimentRecords
    from fasttune.storage.reader import SqliteReader

SHOWN = 3  # things of a kind that are named
AT_ONCE = 200  # checkpoints that are copied in one transaction
NOT_COPIED = (JOURNAL, LOCK_FILE, PROGRAM, RINGS, WRITING)


def examine(folder: str, repair: bool = False, as_json: bool = False) -> int:
    """Tell what is whole; 1 when something is not. With ``repair`` a copy of what is whole is made beside it, and told of."""
    found = Examination(folder)
    code = tell(found.checks(), as_json and not repair)
    if not repair:
        return code
    copy = repaired(found)
    print(f"\nthe copy    {copy}", file=sys.stderr)
    return tell(Examination(copy).checks(), as_json)


class Examination:
    """One look at a folder. Writes nothing."""

    def __init__(self, folder: str) -> None:
        from fasttune.storage.reader import SqliteReader

        self.folder = folder
        self.reader: SqliteReader = SqliteReader(folder, fixed=True)
        self.records: ExperimentRecords | None = None

    def checks(self) -> list[Check]:
        journal = [*self._journal()]  # reads it, which what follows looks at
        return [*self._place(), *self._lock(), *journal, *self._rings(), *self._contents()]

    def _place(self) -> Iterator[Check]:
        from fasttune.plain_files import check_before_writing, owner_name
        from fasttune.storage.sqlite import refused

        told = os.stat(self.folder)
        may = os.access(self.folder, os.W_OK | os.X_OK)
        yield "folder", True, f"{self.folder}, of {owner_name(told.st_uid)}{'' if may else ', may only be read'}"
        try:
            check_before_writing(self.folder)
        except (JournalError, OSError) as error:
            yield "to go on", False, str(error)
        else:
            if (why := refused(os.path.join(self.folder, JOURNAL))) is not None:
                yield "to go on", False, why
        if stat.S_IMODE(told.st_mode) & 0o002:
            yield "rights", False, f"everybody may write to the folder ({stat.filemode(told.st_mode)}): chmod o-w"

    def _lock(self) -> Iterator[Check]:
        from fasttune.storage.recovery import writer_of

        writer = writer_of(self.folder)
        yield "written by", True, "nobody" if writer is None else f"process {writer or 'unknown'}, now"

    def _journal(self) -> Iterator[Check]:
        from fasttune.engine.meta import first_meta
        from fasttune.engine.records import ExperimentRecords

        damage: list[str] = []
        entries = bytes_of_them = 0
        try:
            for _, _, data in self.reader.salvaged(damage):
                entries += 1
                bytes_of_them += len(data)
            yield "journal", not damage, f"{entries:,} whole entries, {bytes_of_them:,} bytes" + some(damage, "damaged")
            first_meta(self.reader.salvaged([]), self.folder)
        except (JournalError, OSError) as error:
            yield "journal", False, str(error)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is all told here
            try:
                self.records = ExperimentRecords.read(self.reader, self.folder)
            except JournalError as error:
                yield "records", False, str(error)
                return
        unfit = [one.why for one in self.records.take_unfit()]
        yield "records", not unfit, f"{self.records.table.reports:,} reports of {len(self.records):,} trials" + some(
            unfit, "did not fit"
        )
        for table, why in (("damaged", "damaged entries"), ("aside", "records that did not fit")):
            n = self.reader.count(table)
            if n:
                yield "set aside", True, f"{n:,} {why}, by an earlier run, in the table {table!r}"

    def _rings(self) -> Iterator[Check]:
        from fasttune.storage.recovery import copied_rings, left_in

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damage of the journal is told already
            try:
                positions = self.reader.positions()
            except JournalError:
                positions = {}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            copies = copied_rings(self.folder)
            entries = left_in(self.folder, copies, positions)
        if not copies and not said:
            return
        n = 0
        unfit: list[str] = []
        if self.records is not None:
            before = self.records.table.reports
            for _ in self.records.take_leftovers(entries, positions):
                pass
            unfit = [one.why for one in self.records.take_unfit()]
            n = self.records.table.reports - before
        wrong = [str(one.message) for one in said if issubclass(one.category, RuntimeWarning)] + unfit
        yield "rings", not wrong, f"{len(copies)} hold {n:,} reports that the journal does not have yet" + some(wrong, "lost")

    def _contents(self) -> Iterator[Check]:
        records = self.records
        if records is None:
            return
        damaged = []
        keys = sorted(self.reader.checkpoint_keys())
        for key in keys:
            try:
                self.reader.checkpoint(*key)
            except JournalError as error:
                damaged.append(str(error))
        if keys:
            yield "in memory", not damaged, f"{len(keys):,} checkpoints" + some(damaged, "damaged")
        named = {path for i in range(len(records)) for path in map(str, records.saves.paths(i)) if not path.startswith("memory:")}
        there = {path for path in named if records.saves.has(path)}
        if named:
            gone = f", {len(named) - len(there):,} are not there (deleted by num_to_keep, or by hand)"
            yield "directories", True, f"{len(there):,} checkpoints" + (gone if len(named) > len(there) else "")
        lost = sorted(
            records.trial_id(i) for i in range(len(records))
            if records.status(i) not in ("TERMINATED", "ERROR") and (found := records.saves.latest(i)) is not None
            and not records.saves.has(found[0])
        )  # fmt: skip
        if lost:
            yield "to go on from", False, f"of {len(lost)} trials that are not over the checkpoint is missing: {', '.join(lost[:5])}"
        has = self.reader.has_table("trials")
        yield "for SQL", True, "the table 'trials' is there" if has else f"no table 'trials': fasttune table {self.folder}"


def some(reasons: list[str], what: str) -> str:
    """", 7 damaged: the first three of them", or nothing."""
    if not reasons:
        return ""
    more = "; ..." if len(reasons) > SHOWN else ""
    return f", {len(reasons):,} {what}: " + "; ".join(" ".join(one.split())[:200] for one in reasons[:SHOWN]) + more


# ---- a copy


def repaired(found: Examination) -> str:
    """The folder of a copy that holds every record, checkpoint and trial's folder that is whole. The experiment itself
    stays as it is."""
    from fasttune.storage.recovery import writer_of
    from fasttune.storage.sqlite import SqliteStorage

    if writer_of(found.folder) is not None:
        raise CommandError(f"{found.folder} is being written: what is whole of it is known when its run has ended")
    target = free_name(f"{found.folder}_repaired")
    os.mkdir(target)
    try:
        storage = SqliteStorage(target)
        try:
            copy_journal(found, storage)
        finally:
            storage.close()
        copy_files(found.folder, target)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def free_name(path: str) -> str:
    """The path, or with _2, _3, ... behind it: the first that is not there."""
    n, name = 1, path
    while os.path.lexists(name):
        n += 1
        name = f"{path}_{n}"
    return name


def copy_journal(found: Examination, storage: object) -> None:
    """Every whole entry with what fits of it, what the rings have more, and every whole checkpoint."""
    from fasttune.engine.meta import first_meta
    from fasttune.engine.record_checks import variants_of
    from fasttune.engine.records import ExperimentRecords
    from fasttune.engine.sql_table import table_rows
    from fasttune.storage.recovery import read_rings
    from fasttune.storage.sqlite import SqliteStorage

    assert isinstance(storage, SqliteStorage)
    reader, folder = found.reader, found.folder
    records = ExperimentRecords(first_meta(reader.salvaged([]), folder), storage, folder)
    records.configs.variants = variants_of(records.meta["variants"], folder)
    positions: dict[int, int] = {}
    batch = []
    for source, position, data in reader.salvaged([]):
        fits = records.fold_found(source, data)[1]
        if len(fits):
            batch.append((source, position, fits))
        positions[source] = max(position, positions.get(source, 0))
        if len(batch) >= AT_ONCE:
            storage.append(batch)
            batch = []
    for _ in records.take_leftovers(read_rings(folder, positions, quiet=True), positions):
        pass
    storage.append([*batch, *records.leftovers], held_in(records))
    copy_checkpoints(reader, storage)
    records.storage = None
    storage.write_table(*table_rows(records))


def held_in(records: ExperimentRecords) -> list[tuple[int, int, bytes]]:
    """Checkpoints that were in the rings."""
    from fasttune.checkpoint import memory_key

    return [(*key, data) for name, data in records.saves.unsaved.items() if (key := memory_key(name)) is not None]


def copy_checkpoints(reader: SqliteReader, storage: object) -> None:
    """Those in memory that are whole."""
    from fasttune.storage.sqlite import SqliteStorage

    assert isinstance(storage, SqliteStorage)
    keys = sorted(reader.checkpoint_keys() - storage.checkpoint_keys())
    for first in range(0, len(keys), AT_ONCE):
        whole = []
        for key in keys[first : first + AT_ONCE]:
            try:
                data = reader.checkpoint(*key)
            except JournalError:
                continue
            if data is not None:
                whole.append((*key, data))
        storage.append([], whole)


def copy_files(folder: str, target: str) -> None:
    """Trials' folders and texts, links left out. What a Tuner was made with comes along; it is not read."""
    with os.scandir(folder) as names:
        for one in names:
            if one.is_symlink() or one.name.startswith(JOURNAL) or one.name in NOT_COPIED:
                continue
            if one.is_dir():
                shutil.copytree(one.path, os.path.join(target, one.name), ignore=links_in)
            elif one.is_file() and (not is_of_the_run(one.name) or one.name in ("tuner.pkl", COMMAND_FILE)):
                shutil.copy2(one.path, os.path.join(target, one.name), follow_symlinks=False)


def links_in(folder: str, names: list[str]) -> list[str]:
    """What is neither a plain file nor a folder."""
    return [
        name for name in names
        if not stat.S_ISREG(mode := os.lstat(os.path.join(folder, name)).st_mode) and not stat.S_ISDIR(mode)
    ]  # fmt: skip
