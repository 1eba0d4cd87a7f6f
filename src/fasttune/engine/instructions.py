"""What the state tells the loop to do, and what callbacks may want to hear of. Values, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fasttune.checkpoint import Checkpoint


class Span(NamedTuple):
    """Instruction: run the trials first .. first+n-1, whose configs the worker computes itself."""

    first: int
    n: int


class Start(NamedTuple):
    """Instruction: run one trial, perhaps from a checkpoint. ``config`` None: the worker computes it."""

    trial: int
    config: dict[str, Any] | None
    iteration: int
    base_total: float
    rung: int
    checkpoint: str | None
    attempt: int
    changes: int  # how often it was changed or requeued so far
    ask_from: int  # the first report that has to be decided
    standing: tuple[int, float]  # strikes and best value that earlier attempts have left


class Resume(NamedTuple):
    """Instruction: go on with a paused trial where it was."""

    trial: int
    ask_from: int


class Answer(NamedTuple):
    """Instruction: what a trial that waits in its report shall do."""

    trial: int
    decision: int
    ask_from: int
    save: bool  # first


class SaveNow(NamedTuple):
    """Instruction: a paused class Trainable, or a row of a call, saves."""

    trial: int


class Discard(NamedTuple):
    """Instruction: a paused trial's code is left for good."""

    trial: int


class Stop(NamedTuple):
    """Instruction: end a running trial, kindly first."""

    trial: int
    patient: bool = False  # it ends at its next report, however late that comes
    grace: float | None = None  # seconds that one has which does not report, unless it is waited for; None: as many as ever


Instruction = Span | Start | Resume | Answer | SaveNow | Discard | Stop


class Happening(NamedTuple):
    """Something a callback may want to hear of."""

    hook: str
    trial: int
    result: dict[str, Any] | None = None
    checkpoint: str | Checkpoint | None = None
    step: int = 0  # of the result
