"""show: one experiment, its state, its best trial and its notes."""

from __future__ import annotations

import argparse
from typing import Any

from fasttune.cli import arguments as common

MOST_OF_FRONT = 20  # trials that are listed
EXAMPLES = """\
  fasttune show latest
  fasttune show mnist --metric accuracy --mode max --scope all
  fasttune show mnist --json | jq .best.config"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    common.goal(parser)
    common.as_json(parser)


def run(asked: argparse.Namespace) -> int:
    """The state of one experiment, its best trial and its notes."""
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.cli.facts import facts_of
    from fasttune.cli.finding import find, opened
    from fasttune.cli.listing import print_json

    source = opened(find(asked.experiment))
    analysis = ExperimentAnalysis(
        source, default_metric=asked.metric, default_mode=asked.mode, default_scope=asked.scope
    )
    facts = facts_of(source, analysis)
    if asked.json:
        print_json(facts)
    else:
        print_facts(facts)
    return 0


def how_to_go_on(folder: str) -> str:
    """What goes on with an unfinished experiment: what was typed to begin it is known, what a program called is not."""
    import os

    from fasttune.cli.run import short_name
    from fasttune.folder import COMMAND_FILE

    if os.path.isfile(os.path.join(folder, COMMAND_FILE)):
        return f"fasttune resume {short_name(folder)}"
    return "the same tune.run call with resume='AUTO', or fasttune resume,"


def print_facts(facts: dict[str, Any]) -> None:
    """The facts for people: a name and a text on each line."""
    from fasttune.cli.listing import cell
    from fasttune.cli.words import printable
    from fasttune.result import flatten
    from fasttune.scope import by_trial, measured, where

    status = facts["status"]
    if status == "running":
        status = f"running, {facts['writer']}"
    elif status == "unfinished":
        status = f"unfinished: {how_to_go_on(facts['path'])} goes on with it"
    elif facts["ended_because"]:
        status = f"finished: {facts['ended_because']}"
    counts = ", ".join(f"{n:,} {name}" for name, n in facts["statuses"].items())
    number, asked = f"{facts['trials']:,}", facts["asked_for"]
    if asked is not None and asked > facts["trials"]:
        number += f" of {asked:,}"
    lines = [
        ("experiment", facts["name"]),
        ("folder", facts["path"]),
        ("status", status),
        ("trials", number + (f" ({counts})" if counts else "")),
        *(("ended early", f"{n:,}: {cause}") for cause, n in facts["ended_early"].items()),
        ("reports", f"{facts['reports']:,}"),
        ("decided by", f"{facts['scheduler']}, {facts['searcher']}, seed {facts['seed']}"),
        ("began", facts["created"]),
        ("written", facts["last_updated"]),
    ]
    best = facts["best"]
    if facts["objectives"]:
        goal = ", ".join(f"{name} ({mode})" for name, mode in facts["objectives"].items())
        lines.append(("front", f"{len(facts['front']):,} trials that no other beats in {goal}"))
        for one in facts["front"][:MOST_OF_FRONT]:
            values = ", ".join(f"{name} = {cell(value)}" for name, value in one["values"].items())
            lines.append((f"  {by_trial(one['trial_id'], one['status'] == 'ERROR', one['violation'])}", values))
    elif facts["metric"] is None:
        lines.append(("best trial", "no metric is known: give --metric and --mode"))
    elif best is None:
        lines.append(("best trial", f"none has a number for {facts['metric']} yet"))
    else:
        words = measured(facts["metric"], facts["scope"])
        value = f"best {words} = {cell(best['value'])} ({facts['mode']}){where(best['at_iteration'])}"
        ran = ", after" if best["at_iteration"] is None else " of"
        trial = by_trial(best["trial_id"], best["status"] == "ERROR", best["violation"])
        lines.append(("best trial", f"{trial}, {value}{ran} {best['training_iteration']} iterations"))
        lines += [(f"  {name}", cell(value)) for name, value in flatten(best["config"]).items()]
        lines += [(f"  attached: {name}", cell(value)) for name, value in flatten(best["user_attrs"]).items()]
    lines += [(f"attached: {name}", cell(value)) for name, value in flatten(facts["user_attrs"]).items()]
    if facts["notes"]:
        lines.append(("notes", facts["notes"].replace("\n", "\n" + " " * 14)))
    width = max(12, *(len(name) for name, _ in lines))
    for name, text in lines:
        label = printable(name).replace("\n", " ")
        print(f"{label.ljust(width)}  {printable(text)}")
