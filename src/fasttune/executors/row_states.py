"""What rows go on from when they are not in a call: states of paused trials, and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune import trial_checkpoints
from fasttune.checkpoint import Checkpoint, row_mark
from fasttune.error import TuneError
from fasttune.executors.base import Job
from fasttune.row_trees import joined, taken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.executors.host import Host
    from fasttune.space.config_columns import ConfigColumns


class HeldRows(NamedTuple):
    """Rows that were paused together: their state, and the columns of their configs."""

    experiment: int
    tree: Any
    columns: ConfigColumns


class Held(NamedTuple):
    """A trial that is paused, and in no call."""

    block: HeldRows
    row: int  # of the block
    life: bytes  # see ``RowReporter.put_back``
    at: float  # when it was paused
    step: int


def regrouped(held: Iterable[Held]) -> list[tuple[HeldRows, list[int]]]:
    """Blocks, and which rows of them, in this order; those of one block that follow each other are together."""
    groups: list[tuple[HeldRows, list[int]]] = []
    for one in held:
        if groups and groups[-1][0] is one.block:
            groups[-1][1].append(one.row)
        else:
            groups.append((one.block, [one.row]))
    return groups


def rows_of(tree: Any, rows: Iterable[int]) -> Any:
    """Some rows of a state; they are copied, so that the state may change."""
    return taken(tree, indices(rows))


def indices(rows: Iterable[int]) -> NDArray[np.int64]:
    import numpy as np

    return np.fromiter(rows, dtype=np.int64)


class RowCheckpoints:
    """Saves the state of rows as the checkpoints of their trials, and brings it back.

    A function without states has rows to be copied, and no more: its checkpoints are marks, see ``checkpoint.row_mark``.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._marks = 0

    def keep(self, tree: Any, who: Job) -> str | bytes:
        """The state of one row, saved: bytes, or the directory, relative to the experiment's folder, if it is large."""
        context = self._host.context
        context.renew(False, None, 0)
        context.job = who
        context.next_checkpoint = None  # its folder says
        saved = trial_checkpoints.keep_checkpoint(context, Checkpoint.from_dict({"state": tree}))
        assert saved is not None
        if self._host.program.durable and isinstance(saved, str):
            from fasttune.checkpoint import flush_directory

            flush_directory(os.path.join(self._host.program.path, saved), self._host.program.path)
        return saved

    def mark(self, trial: int, step: int) -> bytes:
        self._marks += 1
        return row_mark(f"trial {trial} at iteration {step}, {os.getpid()}.{id(self)}.{self._marks}")

    def load(self, saved: str | bytes) -> Any:
        """The state of one row. TuneError for a checkpoint of something else."""
        found = Checkpoint._of_a_run(saved).to_dict()
        if "state" not in found:
            raise TuneError(
                f"the trial goes on from a checkpoint of {', '.join(map(repr, found)) or 'nothing'}, and a vectorized function goes "
                "on from the 'state' that one like it has yielded"
            )
        return found["state"]


def state_of(groups: Iterable[tuple[HeldRows, list[int]]], loaded: Iterable[Any]) -> Any:
    """One state of rows that were held, and of those of checkpoints, behind each other."""
    return joined([*(rows_of(block.tree, rows) for block, rows in groups), *loaded])
