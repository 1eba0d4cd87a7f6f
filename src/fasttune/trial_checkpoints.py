"""How a trial's checkpoints get their names and their places: what it reports is there whole, or not at all."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from typing import Any

from fasttune import _core
from fasttune.checkpoint import LARGEST_HELD, WRITING, Checkpoint, copy_whole, rename_over, whole_directory, write_files
from fasttune.error import StopTrial
from fasttune.folder import CHECKPOINT_NAME
from fasttune.metric_values import type_name
from fasttune.totals import with_totals, write_totals
from fasttune.trial_context import TrialContext, TrialOverError, back_from_absence

_savings = itertools.count()


def keep_checkpoint(
    context: TrialContext, checkpoint: Checkpoint | str | os.PathLike[str] | None
) -> str | bytes | None:
    """Copy a reported checkpoint into the trial's folder; its path, relative to the experiment's folder.

    A small one in memory is left there: it is its bytes.
    """
    pending, context.pending = context.pending, None
    plain = not context.totals and context.usage is None and not context.constraints
    context.quick = plain and not context.is_class and context.until_stored is None
    if checkpoint is None:
        return pending
    context.fresh = False
    if not isinstance(checkpoint, (str, os.PathLike)):
        raise TypeError(
            f"checkpoint must be a Checkpoint or the path of a directory, got {type_name(checkpoint)}; "
            "use Checkpoint.from_dict(..), or write files and use Checkpoint.from_directory(folder)"
        )
    held = checkpoint.held() if isinstance(checkpoint, Checkpoint) and checkpoint.in_memory else None
    if held is not None and len(held) <= LARGEST_HELD:
        return held
    index = next_index(context)
    name = f"checkpoint_{index:06d}"
    target = os.path.join(context.trial_dir(), name)
    if held is None:
        copy_whole(os.fspath(checkpoint), target, *staging(context))
    else:
        with whole_directory(target, *staging(context)) as directory:
            write_files(held, directory)
    context.next_checkpoint = index + 1
    return os.path.join(context.trial_dirname, name)


def next_index(context: TrialContext) -> int:
    """One after the highest checkpoint in the trial's folder, 0 in an empty one."""
    if context.next_checkpoint is None:
        context.next_checkpoint = max((index_of(name, -1) for name in os.listdir(context.trial_dir())), default=-1) + 1
    return context.next_checkpoint


def index_of(name: str, otherwise: int) -> int:
    """The number in the name of a checkpoint's directory; ``otherwise`` if it is another name."""
    match = re.fullmatch(CHECKPOINT_NAME, name)
    return int(match[1]) if match else otherwise


def staging(context: TrialContext) -> tuple[str, str, Callable[[str, str], None]]:
    """For `whole_directory`: where the experiment's unfinished checkpoints are (whoever opens it next finds there what was
    not finished), whose this is, and how it gets its name."""
    folder, threads = os.path.join(context.experiment_path, WRITING), context.threads

    def publish_alone(unfinished: str, target: str) -> None:
        if context.left:  # since the copy was begun; the name may be another attempt's
            raise StopTrial
        rename_over(unfinished, target)

    if threads is None:
        return folder, "", publish_alone

    def publish(unfinished: str, target: str) -> None:
        while True:
            with threads.ending:
                if context.left:
                    raise StopTrial
                if _core.current() is not None:
                    rename_over(unfinished, target)
                    return
            if not back_from_absence():
                raise TrialOverError

    return folder, f"_{next(_savings)}", publish  # no other thread or attempt writes there


def checkpoint_directory(context: TrialContext) -> str | None:
    """For functions that want a path: the directory to go on from, written if the checkpoint is in memory."""
    saved = context.checkpoint
    if not isinstance(saved, bytes):
        return saved
    return Checkpoint._holding(saved, os.path.join(context.trial_dir(), "restored")).path


def bearing(context: TrialContext, name: str | bytes, totals: dict[str, Any]) -> str | bytes:
    """A checkpoint of a function, with the totals of its report in it, if there are any."""
    if not totals or context.is_class:
        return name
    if isinstance(name, bytes):
        return with_totals(name, totals)
    write_totals(os.path.join(context.experiment_path, name), totals)
    return name


def forget(context: TrialContext, name: str | bytes | None) -> None:
    """A report that came too late has no checkpoint either."""
    if isinstance(name, str):
        import shutil

        shutil.rmtree(os.path.join(context.experiment_path, name), ignore_errors=True)
