"""run: trials of a function or class from the command line, over a space in TOML."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fasttune.cli import INTERRUPTED, CommandError
from fasttune.cli import arguments as common

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.cli.order import Order
    from fasttune.error import IncompleteTrialsError

EXAMPLES = """\
  fasttune run train.py:train --space space.toml --metric loss --mode min --num-samples 50 --scheduler asha
  fasttune run mypackage.training:Trainer --set 'lr={loguniform=[1e-5, 1e-1]}' --set epochs=10 --num-samples 20
  fasttune run train.py:train --space space.toml --search tpe,multivariate=true --resources cpu=1,gpu=0.25
  fasttune run experiment.toml                          [run] trainable = "train.py:train", metric = "loss", ...
  fasttune run experiment.toml --name again --seed 7    what is said here goes before what the file says

space.toml:
  lr = {loguniform = [1e-5, 1e-1]}
  layers = {randint = [1, 5]}
  optimizer = {choice = ["sgd", "adam"]}
  batch = {grid_search = [32, 64]}
  epochs = 10"""

TRUTH = {"true": True, "false": False}  # of --resume, beside its words
TABLES = ("run", "space", "scheduler", "search")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("target", metavar="TARGET", help="module:function, script.py:function, or a TOML file with all of it")
    space = parser.add_argument_group("what is searched")
    space.add_argument("--space", metavar="FILE", help="TOML file: the space, or tables [space], [scheduler], [search], [run]")
    space.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="one parameter, over what the file says; a/b=1 is nested; VALUE as in TOML, else text",
    )  # fmt: skip
    space.add_argument("--num-samples", type=int, metavar="N", help="how often the space is sampled; -1: without end")
    space.add_argument("--search", metavar="NAME[,KEY=VALUE]", help="what suggests configs: tpe, gp, cmaes, auto, ...")
    space.add_argument(
        "--warm-start-from", action="append", default=[], metavar="EXP",
        help="an earlier experiment, whose best configs the search begins near",
    )  # fmt: skip
    space.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same configs")
    better = parser.add_argument_group("what is better, and what ends")
    better.add_argument(
        "--metric", action="append", help="the reported value by which trials are compared; several: each with its --mode behind it"
    )
    better.add_argument("--mode", action="append", choices=("min", "max"), help="which way it is better")
    better.add_argument("--scheduler", metavar="NAME[,KEY=VALUE]", help="what stops trials early: asha, hyperband, ...")
    better.add_argument(
        "--max-t", type=float, metavar="T",
        help="the longest a trial trains, in reports mostly: max_t of the scheduler; without one --scheduler auto --search auto",
    )  # fmt: skip
    add_limits(better)
    where = parser.add_argument_group("where")
    add_places(where)
    where.add_argument("--name", help="name of the experiment; default: the trainable's and the date")
    where.add_argument("--storage", metavar="FOLDER", help="where its folder is made; default: as fasttune lsx shows")
    where.add_argument(
        "--resume", nargs="?", const="AUTO", metavar="HOW",
        help="go on with the experiment of that name if there is one; HOW as tune.run takes it, default AUTO",
    )  # fmt: skip
    where.add_argument("--trust", action="store_true", help="go on with an experiment whose files are another user's")
    add_seen(parser)


def add_limits(parser: Any) -> None:
    """What ends trials, or the run."""
    parser.add_argument(
        "--stop", action="append", default=[], metavar="KEY=VALUE",
        help="a trial ends when it reports KEY >= VALUE; 'regret': the run ends when more trials would gain little",
    )  # fmt: skip
    parser.add_argument(
        "--constraint", action="append", default=[], metavar="'KEY <= N'",
        help="what has to hold of a result to be the best: 'latency <= 0.1', 'accuracy >= 0.9'",
    )  # fmt: skip
    parser.add_argument("--time-budget", type=common.seconds, metavar="TIME", help="the run ends after: 90, 30m, 1h30m")
    parser.add_argument("--trial-timeout", type=common.seconds, metavar="TIME", help="a trial is ended that has run for so long")


def add_places(parser: Any) -> None:
    """Where trials run."""
    parser.add_argument("--resources", metavar="KEY=N,...", help="what a trial needs: cpu=1,gpu=0.25, or gpu_memory=6GB")
    parser.add_argument(
        "--gpu-policy", choices=("pack", "spread", "close"),
        help="a share of a GPU goes to one that is shared already, or that is used least; close: several GPUs are the nearest",
    )  # fmt: skip
    parser.add_argument("--max-concurrent", type=common.count, metavar="N", help="at most so many trials at once")
    parser.add_argument(
        "--executor", type=executor_name, metavar="NAME",
        help='where trials run. "process": workers; "thread", "inline": this process; "async": async functions, at once; "vector": '
        'many trials in one call; "ray": the nodes of a Ray cluster; or what a package has registered. Default: async for async '
        "functions, vector for those of tune.vectorized, process for all others",
    )  # fmt: skip
    parser.add_argument("--max-failures", type=int, metavar="N", help="how often one trial is tried again; -1: always")


def executor_name(text: str) -> str:
    """The name of an executor that there is."""
    from fasttune.executors import check_executor

    try:
        return check_executor(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("executor ")) from None


def add_seen(parser: argparse.ArgumentParser) -> None:
    """What is printed."""
    parser.add_argument("--verbose", type=int, metavar="0-3", help="0: nothing, 1: status, 2: results, 3: in full")
    parser.add_argument("--json", action="store_true", help="print what came out as JSON, and nothing else")


def run(asked: argparse.Namespace) -> int:
    """Run it, and say what came out."""
    order = order_of(asked)
    verbose = order.settings.get("verbose")
    return tell(verbose, asked.json, lambda: order.carry_out(lambda spec: order.keep(spec.path), trust=asked.trust))


def order_of(asked: argparse.Namespace) -> Order:
    """What the files and the options say together; the options go before. CommandError for what means nothing."""
    from fasttune.cli.order import Order
    from fasttune.cli.target import whole_name

    tables, places = read_files(asked)
    settings = tables.pop("run", {})
    target, folder = place_of_trainable(asked, settings, places.get("run", ""))
    move_into_tables(settings, tables, places.get("run", ""))
    for name, text in (("scheduler", asked.scheduler), ("search", asked.search)):
        if text:
            tables[name] = with_arguments(text, f"--{name}")
    space = tables.get("space")
    for text in asked.set:
        space = put(space or {}, *pair(text, "--set"))
    in_file = {*settings, *tables}
    said = {
        "num_samples": asked.num_samples, "seed": asked.seed, "metric": one_or_all(asked.metric), "mode": one_or_all(asked.mode),
        "max_t": asked.max_t,
        "name": asked.name, "storage_path": asked.storage, "resume": TRUTH.get((asked.resume or "").lower(), asked.resume),
    }  # fmt: skip
    if asked.warm_start_from:
        from fasttune.cli.finding import find

        said["warm_start_from"] = [find(named) for named in asked.warm_start_from]
    on_line = settings_of(asked) | {name: value for name, value in said.items() if value is not None}
    settings |= on_line
    file = places.get("space") or places.get("run") or "the command line"
    order = Order(
        whole_name(target, folder), os.getcwd(), settings, space, tables.get("scheduler"), tables.get("search"), file
    )
    order.keys = tuple(sorted(in_file - set(on_line) - {name for name in ("scheduler", "search") if getattr(asked, name)}))
    return order


def one_or_all(said: list[str] | None) -> str | list[str] | None:
    """What an option that may come again was given."""
    return said[0] if said is not None and len(said) == 1 else said


def read_files(asked: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """The tables of the files that were named, and in which of them each one stands."""
    from fasttune.cli.toml import read_table

    tables: dict[str, Any] = {}
    places: dict[str, str] = {}
    for path in filter(None, (asked.target if is_file_of_run(asked) else None, asked.space)):
        found = tables_in(read_table(path), path, whole=path == asked.target)
        tables |= found
        places |= dict.fromkeys(found, path)
    return tables, places


def is_file_of_run(asked: argparse.Namespace) -> bool:
    """TARGET is a file that says all of it."""
    return bool(asked.target.endswith(".toml"))


def place_of_trainable(asked: argparse.Namespace, settings: dict[str, Any], path: str) -> tuple[str, str]:
    """What to run, and the folder from which a script is looked for: that of the file which names it."""
    said = settings.pop("trainable", None)
    if not is_file_of_run(asked):
        if said is not None:
            raise CommandError(f"{path}: [run] trainable is said twice, beside {asked.target}: fasttune run {path}")
        return asked.target, os.getcwd()
    if not isinstance(said, str):
        raise CommandError(f'{asked.target}: [run] needs trainable = "module:function" or "script.py:function", got {said!r}')
    return said, os.path.dirname(os.path.abspath(path))


def move_into_tables(settings: dict[str, Any], tables: dict[str, Any], path: str) -> None:
    """scheduler = "asha" in [run] is a table [scheduler] with that name. CommandError for what is no setting of a run."""
    from fasttune.cli.order import SETTINGS, check_names

    check_names(settings, (*SETTINGS, "scheduler", "search_alg"), f"{path}: [run]")
    for key, table in (("scheduler", "scheduler"), ("search_alg", "search")):
        if key in settings and table in tables:
            raise CommandError(f"{path}: {key} is said twice, in [run] and in [{table}]")
        if key in settings:
            tables[table] = {"name": settings.pop(key)}


def settings_of(asked: argparse.Namespace) -> dict[str, Any]:
    """Settings of tune.run that `fasttune resume` takes, too."""
    settings: dict[str, Any] = {}
    if asked.stop:
        from fasttune.stopper import BY_NAME

        names = [text for text in asked.stop if text in BY_NAME]
        unknown = [text for text in asked.stop if text not in BY_NAME and "=" not in text]
        if unknown:
            raise CommandError(f"--stop takes KEY=VALUE or a name ({', '.join(BY_NAME)}), got {unknown[0]!r}")
        limits = dict(pair(text, "--stop") for text in asked.stop if text not in BY_NAME)
        settings["stop"] = [*names, *([limits] if limits else [])] if names else limits
    if asked.constraint:
        settings["constraints"] = asked.constraint
    if asked.resources:
        settings["resources_per_trial"] = dict(pair(text, "--resources") for text in common.names(asked.resources))
    for name, value in {
        "time_budget_s": asked.time_budget, "trial_timeout_s": asked.trial_timeout,
        "max_concurrent_trials": asked.max_concurrent, "executor": asked.executor, "gpu_policy": asked.gpu_policy,
        "max_failures": asked.max_failures, "verbose": 0 if asked.json else asked.verbose,
    }.items():  # fmt: skip
        if value is not None:
            settings[name] = value
    return settings


def tables_in(found: dict[str, Any], path: str, whole: bool) -> dict[str, Any]:
    """The tables of a file. One that has none of their names is a space, unless it has to be the ``whole`` of a run."""
    known = [name for name in TABLES if isinstance(found.get(name), dict) and not looks_like_domain(found[name])]
    if not known and not whole:
        return {"space": found}
    for name in found:
        if name not in known:
            raise CommandError(
                f"{path}: there is no table [{name}]: beside {', '.join(f'[{one}]' for one in known) or 'nothing'} there may be "
                f"{', '.join(f'[{one}]' for one in TABLES)}; parameters stand in [space]"
            )
    return {name: found[name] for name in known}


def looks_like_domain(table: dict[str, Any]) -> bool:
    """A parameter may be called as one of the tables is."""
    from fasttune.cli.toml import CONSTANT, DOMAINS

    return len(table) == 1 and next(iter(table)) in (*DOMAINS, CONSTANT)


def pair(text: str, option: str) -> tuple[str, Any]:
    """KEY=VALUE."""
    from fasttune.cli.toml import read_value

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise CommandError(f"{option} takes KEY=VALUE, got {text!r}")
    return key.strip(), read_value(value.strip())


def put(space: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The space with one parameter more, or another one: "a/b" lies in the table "a"."""
    first, slash, rest = key.partition("/")
    if not slash:
        return {**space, first: value}
    inner = space.get(first, {})
    if not isinstance(inner, dict):
        raise CommandError(f"--set {key}: {first} is {inner!r} in the space, and nothing lies in that")
    return {**space, first: put(inner, rest, value)}


def with_arguments(text: str, option: str) -> dict[str, Any]:
    """NAME,KEY=VALUE,KEY=VALUE; commas within brackets are part of a value."""
    import re

    name, *rest = re.split(r",(?![^\[{]*[\]}])", text)
    return {"name": name.strip(), **dict(pair(one, option) for one in rest)}


# ---- what came out


def tell(verbose: Any, as_json: bool, carry_out: Callable[[], ExperimentAnalysis]) -> int:
    """Carry a run out and say what came out of it: 0, 1 when trials have failed, 130 when it was interrupted."""
    from fasttune.error import IncompleteTrialsError

    failure = ""
    try:
        analysis = carry_out()
    except IncompleteTrialsError as error:
        analysis, failure = error.analysis, told_failures(error)
    print_outcome(analysis, as_json, verbose)
    if failure:
        from fasttune.cli.words import one_line

        print(f"fasttune: {one_line(failure)}", file=sys.stderr)
        return 1
    return INTERRUPTED if analysis.interrupted else 0


def told_failures(error: IncompleteTrialsError) -> str:
    """How many trials failed, and why the first of them did; why no trial counts."""
    from fasttune.failure import read_reason

    if not error.trials:
        return str(error.args[0])
    analysis = error.analysis
    reason = str(read_reason(error.first_traceback, error.trials[0].trial_id)) if error.first_traceback else ""
    if "MissingMetricError" in reason:
        reason = f"{reason}; --metric names the value by which trials are compared"
    listed = f"fasttune ls {short_name(analysis.experiment_path)} --filter status=ERROR --columns trial_id,error"
    return f"{len(error.trials):,} of {len(analysis.trials):,} trials failed: {reason}; {listed}"


def print_outcome(analysis: ExperimentAnalysis, as_json: bool, verbose: Any) -> None:
    """The facts as JSON, or how to look at what came out."""
    from fasttune.cli.facts import facts_of
    from fasttune.cli.listing import print_json

    source: Any = analysis._source
    if as_json:
        print_json(facts_of(source, analysis))
    elif verbose != 0:
        name = short_name(source.path)
        print(f"fasttune show {name}, fasttune ls {name}" + (f", fasttune best {name}" if source.metric or source.objectives else ""))


def short_name(path: str) -> str:
    """What the commands call an experiment: its name, or its folder where it lies elsewhere."""
    import shlex

    from fasttune.resolve.places import default_storage

    root, name = os.path.split(path)
    return shlex.quote(name if root == default_storage() else path)
