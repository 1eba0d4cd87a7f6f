"""What a run leaves in its folder beside the journal, at its end. The journal is whole: for none of it the run is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fasttune.engine.sql_table import table_rows
from fasttune.folder import is_of_the_run, is_plain
from fasttune.once import warn_in_run

if TYPE_CHECKING:
    from fasttune.engine.state import ExperimentState
    from fasttune.storage.base import Storage

TABLE_SHARE = 0.1  # of the run's time may go into writing the SQL table for people at its end


def write_table(state: ExperimentState, storage: Storage, seconds: float, look: Callable[[], object]) -> None:
    """The SQL table for people; if it would take longer than the run of so many seconds was worth, ``fasttune table`` makes it.
    ``look`` raises where the folder has gone."""
    if len(state) * 4e-6 > TABLE_SHARE * seconds:
        return
    try:
        storage.write_table(*table_rows(state))
    except OSError as error:
        look()
        warn_in_run(f"the table 'trials' is missing: {error}", RuntimeWarning, stacklevel=3)


def write_files(state: ExperimentState, storage: Storage) -> None:
    """What the scheduler wants to leave in the experiment's folder."""
    for name, text in state.scheduler.files(state.view).items():
        try:
            if not is_plain(name) or is_of_the_run(name):
                raise OSError("it is no name for a file of its own in the experiment's folder")
            storage.write_file(name, text)
        except OSError as error:
            warn_in_run(f"the scheduler's file {name!r} is missing: {error}", RuntimeWarning, stacklevel=3)
