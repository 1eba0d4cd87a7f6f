"""What `fasttune run` is told, as values that are text: carried out, kept beside the experiment, and carried out again.

    target      where the trainable is: "module:function" or "/whole/path/script.py:function"
    folder      the working directory in which that was said
    settings    arguments of tune.run, by its names
    space       the search space as TOML has it (cli/toml.py); None: that of the experiment which is gone on with
    scheduler   name and arguments of a scheduler; None: nobody
    search      likewise of a searcher
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fasttune.cli import CommandError
from fasttune.error import IllegalTransitionError, IncompleteTrialsError, TuneError
from fasttune.folder import COMMAND_FILE, UNFINISHED

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.config import ResumeConfig, RunSpec

Table = dict[str, Any]

ABOUT_ONE = (
    "stop", "time_budget_s", "resources_per_trial", "num_samples", "checkpoint_config", "keep_checkpoints_num",
    "checkpoint_score_attr", "checkpoint_freq", "checkpoint_at_end", "log_to_file", "max_failures", "restore",
)  # fmt: skip
STEERING = (
    "name", "storage_path", "metric", "mode", "scope", "constraints", "warm_start_from", "on_duplicate",
    "fail_fast", "resume", "reuse_actors",
    "raise_on_failed_trial", "max_concurrent_trials", "max_suspended", "trial_timeout_s", "worker_max_trials",
    "worker_max_memory", "max_t", "cpu_affinity", "measure_usage", "durability", "executor", "gpus", "gpu_policy",
    "resources",
    "seed", "verbose",
)  # fmt: skip
SETTINGS = (*ABOUT_ONE, *STEERING)
SEEDS = ("seed", "random_state", "random_state_seed")  # what searchers call theirs
LONGEST = 1 << 24  # bytes of a file that is read


@dataclass
class Order:
    """See above."""

    target: str
    folder: str = ""
    settings: Table = field(default_factory=dict)
    space: Table | None = None
    scheduler: Table | None = None
    search: Table | None = None
    file: str = "the command line"  # where the space was said, for errors
    keys: tuple[str, ...] = field(default=(), init=False)  # settings and tables that a file said, for errors

    def carry_out(
        self,
        begin: Callable[[RunSpec], None] | None = None,
        *,
        go_on_in: str | None = None,
        how: ResumeConfig | None = None,
        trust: bool = False,
        scheduler: Any = None,
        searcher: Any = None,
    ) -> ExperimentAnalysis:
        """Run it, as ``tune.run`` would. ``go_on_in``: the folder of the experiment that it goes on with, ``how`` is what
        becomes of its trials; ``scheduler`` and ``searcher``: objects, where they are not told as text. CommandError for what
        cannot be, before any trial starts."""
        from fasttune.cli.spoken import warnings_spoken
        from fasttune.cli.target import trainable_of
        from fasttune.cli.toml import space_of
        from fasttune.config import FailureConfig, check_max_concurrent, one_storage_path
        from fasttune.resolve import Call
        from fasttune.tuner import carry_out

        begun = False

        def beginning(spec: RunSpec) -> None:
            nonlocal begun
            check_ready(spec)
            if begin is not None:
                begin(spec)
            begun = True

        trainable = trainable_of(self.target)
        in_words = self.words()
        told = dict(self.settings)
        about_one = {name: told.pop(name) for name in ABOUT_ONE if name in told}
        if self.space is not None:
            about_one["config"] = space_of(self.space, self.file)
        try:
            FailureConfig(about_one.get("max_failures", 0), told.get("fail_fast", False))
            told["storage_path"] = one_storage_path(told.get("storage_path"), None)
            told["max_concurrent"] = check_max_concurrent(told.pop("max_concurrent_trials", None))
            told["reuse_actors"] = bool(told.get("reuse_actors", False))
            call = Call(
                **told,
                scheduler=scheduler or made_scheduler(self.scheduler),
                search_alg=searcher or made_searcher(self.search, told.get("seed")),
                restored_path=go_on_in,
                resume_config=how,
                trust=trust,
                door="command",
                in_words=in_words,
            )
            with warnings_spoken(in_words):
                return carry_out(trainable, about_one, call, beginning)
        except (ValueError, TypeError, ImportError, TuneError) as error:
            if isinstance(error, (IncompleteTrialsError, IllegalTransitionError)) or (begun and not isinstance(error, TuneError)):
                raise
            words = in_words(str(error))
            of_file = self.file.endswith(".toml") and not isinstance(error, TuneError)
            raise CommandError(f"{self.file}: {words}" if of_file else words) from error

    def words(self) -> Callable[[str], str]:
        """What puts texts of the machine into the words of this order: options, or keys of the file that said them."""
        from fasttune.cli.spoken import spoken

        classes = cache(lambda: classes_of(self.scheduler, self.search, self.keys))  # made when the first is said
        return lambda text: spoken(text, classes(), self.keys)

    # -- beside the experiment

    def keep(self, folder: str) -> None:
        """Write it into an experiment's folder, for :meth:`kept_in`."""
        from fasttune.plain_files import write_whole

        write_whole(os.path.join(folder, COMMAND_FILE), json.dumps(asdict(self), indent=1).encode() + b"\n", UNFINISHED)

    @classmethod
    def kept_in(cls, folder: str, trust: bool = False) -> Order | None:
        """What an experiment was run with by `fasttune run`; None if it was begun otherwise. It names code that is to be
        run: ForeignFileError when the file is another user's. CommandError when it is damaged."""
        from fasttune.plain_files import check_owner, plain_opener

        path = os.path.join(folder, COMMAND_FILE)
        try:
            with open(path, "rb", opener=plain_opener) as file:
                if not trust:
                    check_owner(path, os.fstat(file.fileno()), "gone on with as it says")
                data = file.read(LONGEST)
        except FileNotFoundError:
            return None
        try:
            told = json.loads(data)
            known = {one.name: told[one.name] for one in fields(cls) if one.init}
            made = cls(**known)
            texts = isinstance(made.target, str) and isinstance(made.folder, str) and isinstance(made.file, str)
            tables = all(one is None or isinstance(one, dict) for one in (made.space, made.scheduler, made.search))
            if not (texts and tables and isinstance(made.settings, dict)):
                raise ValueError("its values are of other kinds")
            check_names(made.settings, SETTINGS, path)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CommandError(f"{path} cannot be read ({error}): say what to run, fasttune resume EXP module:function") from error
        return made


def check_ready(spec: RunSpec) -> None:
    """ValueError for a searcher that would not suggest anything, as it does not know what is better."""
    from fasttune.search.base import Searcher

    searcher: Any = spec.searcher
    while getattr(searcher, "searcher", None) is not None:  # a limit, or no config twice
        searcher = searcher.searcher
    if isinstance(searcher, Searcher) and not searcher.is_ready:
        raise ValueError(f"{type(searcher).__name__} learns from a metric: say --metric NAME and --mode min or max")


def classes_of(scheduler: Table | None, search: Table | None, keys: Collection[str]) -> dict[str, str]:
    """Class of the scheduler and of the searcher that were asked for -> the option that asked, or ``keys`` of a file."""
    from fasttune.schedulers import create_scheduler
    from fasttune.search import create_searcher

    found = {}
    for what, told, create in (("scheduler", scheduler, create_scheduler), ("search", search, create_searcher)):
        try:
            name, arguments = named(told or {}, what)
            found[type(create(name, **arguments)).__name__] = f"{what if what in keys else f'--{what}'} {name}"
        except (CommandError, ValueError, TypeError, ImportError):  # what is wrong with it is said where it is made
            continue
    return found


def check_names(table: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    """CommandError names the first key that means nothing, and the one that was probably meant."""
    from fasttune.other_words import ARGUMENTS

    for wrong in table:
        if wrong in known:
            continue
        near = [one for one in ARGUMENTS.get(wrong.lower(), ()) if one in known] or get_close_matches(wrong, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; they are {', '.join(known)}"
        raise CommandError(f"{place}: there is no setting {wrong!r}{hint}")


def made_scheduler(told: Table | None) -> Any:
    """The scheduler of a table {name, arguments}; its name where it has no arguments."""
    from fasttune.schedulers import create_scheduler

    if told is None:
        return None
    import fasttune.schedulers

    name, arguments = named(told, "scheduler")
    try:
        return create_scheduler(name, **arguments) if arguments else name
    except TypeError as error:
        raise_unknown(error, f"--scheduler {name}", fasttune.schedulers)
        raise


def made_searcher(told: Table | None, seed: Any) -> Any:
    """The searcher, likewise. One with arguments gets the run's seed, where it has one and was given none."""
    if told is None:
        return None
    name, arguments = named(told, "search")
    if not arguments:
        return name
    import inspect

    from fasttune.search import create_searcher

    if seed is not None and not any(one in arguments for one in SEEDS):
        known = inspect.signature(type(create_searcher(name))).parameters
        arguments.update({one: seed for one in SEEDS if one in known})
    import fasttune.search

    try:
        return create_searcher(name, **arguments)
    except TypeError as error:
        raise_unknown(error, f"--search {name}", fasttune.search)
        raise


def raise_unknown(error: TypeError, option: str, room: ModuleType) -> None:
    """CommandError for an argument that a class of the room does not have, with those that it has; nothing for other errors."""
    import inspect
    import re

    wrong = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    kind = getattr(room, wrong[1], None) if wrong is not None else None
    if wrong is None or kind is None:
        return
    known = [one for one in inspect.signature(kind).parameters if one not in ("metric", "mode", "unknown", "kwargs")]
    near = get_close_matches(wrong[2], known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise CommandError(f"{option} has no argument {wrong[2]!r}; {hint}It has {', '.join(known)}") from error


def named(told: Table, what: str) -> tuple[str, Table]:
    """The name in a table, and its other keys; there may be domains in them (the mutations of a population)."""
    from fasttune.cli.toml import space_of

    arguments = space_of(told, f"[{what}]")
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise CommandError(f"[{what}] needs a name, e.g. name = {'asha' if what == 'scheduler' else 'tpe'!r}, got {name!r}")
    return name, arguments
