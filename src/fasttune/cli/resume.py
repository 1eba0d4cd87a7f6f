"""resume: goes on with an experiment."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fasttune.cli import CommandError
from fasttune.cli import arguments as common
from fasttune.cli.run import add_limits, add_places, add_seen, settings_of, tell

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.cli.order import Order

EXAMPLES = """\
  fasttune resume mnist                                 what fasttune run began
  fasttune resume mnist --num-samples 200               and more samples
  fasttune resume mnist --errored resume                failed trials, too, from their checkpoints
  fasttune resume latest train.py:train                 what a program began: space, scheduler, searcher, metric, resources
                                                        and limits are those of the journal"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help="module:function or script.py:function; default: as fasttune run was told"
    )
    parser.add_argument("--num-samples", type=int, metavar="N", help="samples in all, those that are there included")
    parser.add_argument("--errored", choices=("resume", "restart"), help="failed trials run again: from a checkpoint, or anew")
    add_limits(parser)
    add_places(parser)
    parser.add_argument("--trust", action="store_true", help="go on although its files are another user's")
    add_seen(parser)


def run(asked: argparse.Namespace) -> int:
    """Go on with it, and say what came out."""
    from fasttune.cli.finding import find
    from fasttune.cli.order import Order
    from fasttune.folder import TUNER_FILE
    from fasttune.plain_files import check_before_writing

    folder = find(asked.experiment)
    check_before_writing(folder, asked.trust)
    kept = Order.kept_in(folder, asked.trust)
    if kept is None and asked.target is None:
        raise CommandError(
            f"the experiment in {folder} was begun by a program: say what to run, fasttune resume {asked.experiment} "
            "module:function (or script.py:function). The journal says everything else, but for functions and objects"
        )
    if kept is None and os.path.lexists(os.path.join(folder, TUNER_FILE)):
        return tell(settings_of(asked).get("verbose"), asked.json, lambda: by_tuner(folder, asked))
    return by_order(folder, kept, asked)


def by_order(folder: str, kept: Order | None, asked: argparse.Namespace) -> int:
    """As `fasttune run` was told, or as the journal says that a program had asked."""
    from fasttune.cli.target import whole_name
    from fasttune.config import ResumeConfig

    if kept is None:
        order, scheduler, searcher = of_the_journal(folder, whole_name(asked.target), bool(asked.stop))
    else:
        order, scheduler, searcher = kept, None, None
        order.target = order.target if asked.target is None else whole_name(asked.target)
        if order.folder not in sys.path and os.path.isdir(order.folder):
            sys.path.insert(0, order.folder)  # where its module was found
    for name in ("name", "storage_path", "resume", "verbose"):
        order.settings.pop(name, None)
    order.settings |= settings_of(asked)
    if asked.num_samples is not None:
        order.settings["num_samples"] = asked.num_samples

    def carry_out() -> ExperimentAnalysis:
        return order.carry_out(
            None if kept is None else lambda spec: order.keep(spec.path),
            go_on_in=folder, how=ResumeConfig(errored=asked.errored or "skip"), trust=asked.trust,
            scheduler=scheduler, searcher=searcher,
        )  # fmt: skip

    return tell(order.settings.get("verbose"), asked.json, carry_out)


def by_tuner(folder: str, asked: argparse.Namespace) -> ExperimentAnalysis:
    """As the Tuner that began it was made, which is kept beside it. IncompleteTrialsError when trials have failed."""
    from fasttune.cli.spoken import spoken, warnings_spoken
    from fasttune.cli.target import trainable_of
    from fasttune.config import FailureConfig
    from fasttune.error import IncompleteTrialsError
    from fasttune.tuner import Tuner

    said = settings_of(asked) | ({} if asked.num_samples is None else {"num_samples": asked.num_samples})
    if "resources_per_trial" in said:
        raise CommandError("--resources: what a trial of a Tuner needs is said by tune.with_resources, in the program")
    trainable = trainable_of(asked.target)
    try:
        tuner = Tuner.restore(
            folder, trainable, resume_errored=asked.errored == "resume", restart_errored=asked.errored == "restart",
            trust=asked.trust,
        )  # fmt: skip
        of_search = ("num_samples", "time_budget_s", "max_concurrent_trials", "constraints")
        searches = {name: said.pop(name) for name in of_search if name in said}
        if "max_failures" in said:
            said["failure_config"] = FailureConfig(max_failures=said.pop("max_failures"))
        tuner._tune_config = replace(tuner._tune_config, **searches)
        tuner._run_config = replace(tuner._run_config, **said)
        tuner._experiment()  # says what is wrong with them
    except (ValueError, TypeError) as error:
        raise CommandError(spoken(str(error))) from error
    with warnings_spoken():
        analysis = tuner.fit()._analysis
    source: Any = analysis._source
    failed = source.trials_of("ERROR")
    if failed:
        error_of_first = failed[0].get_error()
        text = getattr(error_of_first, "traceback_text", "") or str(error_of_first)
        raise IncompleteTrialsError("Trials did not complete", failed, analysis, text)
    return analysis


def told_of(told: Any, names: Sequence[str]) -> dict[str, Any]:
    """What a journal, perhaps a stranger's or of an earlier version, says under these names."""
    return {name: told[name] for name in names if told.get(name) is not None} if isinstance(told, dict) else {}


def of_the_journal(folder: str, target: str, stops: bool = False) -> tuple[Order, Any, Any]:
    """What a program had asked, as far as its journal says, with the scheduler and the searcher made again; ``stops``: what ends
    trials is said now."""
    from fasttune.cli.order import Order
    from fasttune.cli.rebuilt import asked_of, scheduler_of, searcher_of, stop_of
    from fasttune.cli.target import trainable_of
    from fasttune.config import CheckpointConfig
    from fasttune.devices.resources import PlacementGroupFactory
    from fasttune.engine.asked import KEPT, LIMITS
    from fasttune.engine.meta import read_meta
    from fasttune.storage.reader import SqliteReader
    from fasttune.trainable import attached_resources

    asked, meta = asked_of(folder), read_meta(SqliteReader(folder, fixed=True), folder)
    if len(asked["trainables"]) > 1:
        raise CommandError(f"{len(asked['trainables'])} trainables ran in {folder}: go on with them from Python")
    (trainable,) = asked["trainables"]
    options: dict[str, Any] = meta.get("options") or {}
    settings = {
        **{name: asked.get(name) for name in ("metric", "mode", "scope")},
        **({"metric": list(several), "mode": list(several.values())} if (several := asked.get("objectives")) else {}),
        "on_duplicate": asked.get("on_duplicate") or "allow",
        "num_samples": trainable["num_samples"],
        "stop": None if stops else stop_of(asked),
        **told_of(asked.get("limits"), LIMITS),
        "max_failures": meta.get("max_failures", 0),
        "checkpoint_config": CheckpointConfig(
            checkpoint_frequency=options.get("checkpoint_freq") or 0,
            checkpoint_at_end=options.get("checkpoint_at_end") or False,
            **told_of(options.get("kept"), KEPT),
        ),
        "log_to_file": options.get("log_to_file") or False,
    }
    if trainable["resources"] is not None and attached_resources(trainable_of(target)) is None:
        settings["resources_per_trial"] = PlacementGroupFactory(*trainable["resources"])
    return Order(target, os.getcwd(), settings), scheduler_of(asked), searcher_of(asked)
