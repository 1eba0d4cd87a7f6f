"""ls: the trials of an experiment."""

from __future__ import annotations

import argparse

from fasttune.cli import arguments as common

EXAMPLES = """\
  fasttune ls latest --sort loss --limit 5              the best five
  fasttune ls mnist --filter 'loss < 0.3' --filter '1e-4 <= lr <= 1e-2'
  fasttune ls mnist --filter status=ERROR --columns trial_id,lr,error
  fasttune ls mnist --columns '?'                       which columns there are
  fasttune ls mnist --csv > trials.csv                  or --json, or -o trials.csv, .json, .pkl"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    common.listing(parser, "trial_id, status, training_iteration, metrics and parameters")


def run(asked: argparse.Namespace) -> int:
    """One row for each trial: what it last reported, its config, its state."""
    from fasttune.cli.finding import find, opened
    from fasttune.cli.listing import RowFilter, give
    from fasttune.cli.trials import TrialTable, shown_columns

    wanted = RowFilter.of(asked)
    source = opened(find(asked.experiment))
    table = TrialTable(source)
    return give(table, shown_columns(table.names, source), wanted, "trials")
