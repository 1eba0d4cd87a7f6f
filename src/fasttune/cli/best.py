"""best: the config of the best trial, for people and for programs."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from fasttune.cli import CommandError
from fasttune.cli import arguments as common

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.engine.records import ExperimentRecords

EXAMPLES = """\
  fasttune best latest                                  its config, as JSON
  fasttune best mnist --as toml > best.toml             fasttune run train.py:train --space best.toml trains it again
  fasttune best mnist --as python                       lr=0.003, layers=2
  fasttune best mnist --metric accuracy --mode max --checkpoint
  fasttune best mnist --json                            with its id, value and folder"""

FORMS = ("json", "toml", "python")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    common.goal(parser)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--as", dest="form", choices=FORMS, default="json", help="form of the config; default json")
    forms.add_argument("--checkpoint", action="store_true", help="print the folder of its best checkpoint instead")
    forms.add_argument("--json", action="store_true", help="print all that is known of the trial as JSON")


def run(asked: argparse.Namespace) -> int:
    """Print it; CommandError where no trial is the best."""
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.cli.facts import best_facts, best_trial
    from fasttune.cli.finding import find, opened
    from fasttune.cli.listing import print_json

    source = opened(find(asked.experiment))
    analysis = ExperimentAnalysis(
        source, default_metric=asked.metric, default_mode=asked.mode, default_scope=asked.scope
    )
    if analysis.objectives:
        return print_front(asked, analysis, source)
    if analysis.default_metric is None or analysis.default_mode is None:
        raise CommandError(f"{source.name!r} was run without a metric that says what is best: give --metric and --mode")
    best = best_trial(source, analysis)
    if best is None:
        raise CommandError(f"no trial of {source.name!r} has a number for {analysis.default_metric!r} yet")
    if source.status(best.trial) == "ERROR":
        from fasttune.cli.trial_rows import reason
        from fasttune.cli.words import one_line

        words = f"the best trial, {source.trial_id(best.trial)}, failed behind its last report: {reason(source, best.trial)}"
        print(f"fasttune: {one_line(words)}", file=sys.stderr)
    if best.violation > 0:
        broken = f"{source.trial_id(best.trial)} breaks its constraints by {best.violation:.4g}, and all others by no less"
        print(f"fasttune: {broken}", file=sys.stderr)
    if asked.checkpoint:
        print(checkpoint_of(source, analysis, best.trial))
    elif asked.json:
        print_json(best_facts(best, source))
    else:
        print(in_form(asked.form, source.config(best.trial)), end="")
    return 0


def print_front(asked: argparse.Namespace, analysis: ExperimentAnalysis, source: ExperimentRecords) -> int:
    """Of a run with several metrics: the configs of the trials that no other one beats, by the first metric."""
    from fasttune.cli.facts import front_facts
    from fasttune.cli.listing import print_json

    if asked.checkpoint or asked.form != "json":
        what = "--checkpoint" if asked.checkpoint else f"--as {asked.form}"
        several = ", ".join(analysis.objectives)
        raise CommandError(f"{what} is of one trial, and {source.name!r} has several metrics ({several}): say --metric")
    front = front_facts(analysis, source)
    if not front:
        raise CommandError(f"no trial of {source.name!r} has a number for each of {', '.join(analysis.objectives)} yet")
    print_json(front if asked.json else [{**one["values"], "config": one["config"]} for one in front])
    return 0


def checkpoint_of(source: ExperimentRecords, analysis: ExperimentAnalysis, i: int) -> str:
    """The folder of the best checkpoint of trial i; one that is kept in the journal is written to the trial's folder for it."""
    trial = source.trials[i]
    if not source.checkpoints(i):
        raise CommandError(f"the best trial, {trial.trial_id}, has no checkpoint: its trainable reported none, or none was kept")
    found = analysis.get_best_checkpoint(trial, analysis.default_metric, analysis.default_mode)
    if found is None:
        raise CommandError(f"no checkpoint of the best trial, {trial.trial_id}, has a number for {analysis.default_metric!r}")
    return str(found.path)


def in_form(form: str, config: dict[str, object]) -> str:
    """A config as text."""
    if form == "python":
        from fasttune.cli.toml import as_keywords

        return f"{as_keywords(config)}\n"
    if form == "toml":
        from fasttune.cli.toml import as_toml

        return as_toml(config)
    import json

    from fasttune.tables.cells import finite

    return json.dumps(finite(config), indent=1, default=str) + "\n"
