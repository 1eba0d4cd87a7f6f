"""table: the table of trials for SQL."""

from __future__ import annotations

import argparse
import sys

from fasttune.cli import arguments as common

EXAMPLES = """\
  fasttune table mnist && sqlite3 ~/fasttune_results/mnist/experiment.db 'SELECT * FROM trials ORDER BY loss LIMIT 5'"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)


def run(asked: argparse.Namespace) -> int:
    """Write the table ``trials`` as the journal is now."""
    from fasttune.cli.finding import find, opened
    from fasttune.engine.sql_table import table_rows
    from fasttune.plain_files import check_before_writing
    from fasttune.storage.recovery import ExperimentLock
    from fasttune.storage.sqlite import SqliteStorage

    source = opened(find(asked.experiment))  # first: where there is no experiment, none is made
    check_before_writing(source.path)
    lock = ExperimentLock(source.path)
    try:
        storage = SqliteStorage(source.path)
        try:
            storage.write_table(*table_rows(source))
        finally:
            storage.close()
    finally:
        lock.release()
    print(f"wrote {len(source):,} trials into the table 'trials' of {storage.path}", file=sys.stderr)
    return 0
