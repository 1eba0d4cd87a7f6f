"""An experiment as it lies in a folder, for who only looks."""

from __future__ import annotations

import os

from fasttune.engine.facts import Unfit
from fasttune.engine.records import ExperimentRecords
from fasttune.once import warn_in_run
from fasttune.storage.reader import SqliteReader
from fasttune.storage.recovery import copied_rings, left_in, writer_of
from fasttune.working_directory import absolute


def open_records(path: str | os.PathLike[str]) -> ExperimentRecords:
    """The experiment in a folder, as it is on disk at this moment: its journal, and what is in rings and not in the
    journal yet. Writes nothing.

    Raises JournalError when there is none.
    """
    path = absolute(path, "the experiment")
    copies = copied_rings(path)  # before the journal: what leaves them meanwhile is in it
    written = writer_of(path) is not None  # what it writes between two of our looks does not fit; it will at the next one
    records = ExperimentRecords.read(
        SqliteReader(path, fixed=True), path, lambda positions: left_in(path, copies, positions, quiet=written)
    )
    if not written:
        warn_of_unfit(path, records.take_unfit())
    return records


def warn_of_unfit(path: str, unfit: list[Unfit], kept: str = "") -> None:
    """Say once how many records were left out, and why the first of them was."""
    if not unfit:
        return
    warn_in_run(
        f"{path}: {len(unfit)} records do not fit what the journal says and were left out{kept}; the first: {unfit[0].why}",
        RuntimeWarning,
        stacklevel=3,
    )
