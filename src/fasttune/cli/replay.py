"""replay: does a fresh scheduler decide as the journal says that it did."""

from __future__ import annotations

import argparse

from fasttune.cli import arguments as common
from fasttune.cli.words import one_line

EXAMPLES = """\
  fasttune replay mnist                                 0: it decides the same; 1: it does not, and where"""

SHOWN = 20  # differences that are listed


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    common.as_json(parser)


def run(asked: argparse.Namespace) -> int:
    """Ask it again about every report. 1 when a decision comes out otherwise."""
    from fasttune.analysis.verify import verify
    from fasttune.cli.finding import find, opened
    from fasttune.cli.listing import print_json
    from fasttune.cli.rebuilt import asked_of, scheduler_of

    folder = find(asked.experiment)
    scheduler = scheduler_of(asked_of(folder))
    source = opened(folder)
    found = [] if scheduler is None else verify(source, scheduler)
    if asked.json:
        print_json({
            "scheduler": source.meta["scheduler"], "reports": source.table.reports,
            "differences": [one._asdict() for one in found],
        })  # fmt: skip
        return int(bool(found))
    if scheduler is None:
        print("no scheduler decided anything: every trial ended by itself or by a stop criterion")
        return 0
    name = type(scheduler).__name__
    if not found:
        print(f"{name} decides again as the journal says, {source.table.reports:,} reports of {len(source):,} trials")
        return 0
    print(f"{name} decides {len(found):,} of {source.table.reports:,} reports otherwise:")
    for one in found[:SHOWN]:
        print("  " + one_line(f"{one.trial_id}, iteration {one.training_iteration}: {one.recorded} was, {one.replayed} is"))
    if len(found) > SHOWN:
        print(f"  and {len(found) - SHOWN:,} more (--json has all)")
    return 1
