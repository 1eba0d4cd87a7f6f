"""What is known of an experiment, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fasttune.space.variants import Variants

ONE_TRIAL = 8  # flag of a DECISION: one trial is ended from outside, not the run


class Chunk(NamedTuple):
    """Configs that were suggested together."""

    first: int  # trial
    n: int
    experiment: int
    local: int  # number of the first one among its experiment's variants
    variants: Variants  # those of the space that held when they were suggested


class Origin(NamedTuple):
    """Where a changed trial goes on from: a checkpoint, perhaps another trial's."""

    path: str  # relative to the experiment's folder, or a name in memory
    step: int
    seconds: float  # time_total_s there


class Changed(NamedTuple):
    """One entry of a population's lineage: who copied whom, when, and what changed."""

    time: float  # unix seconds
    trial: int
    trial_iteration: int  # where it was
    donor: int | None  # None: it went on from its own checkpoint
    donor_iteration: int  # of the checkpoint that it went on from
    old_config: dict[str, Any]
    new_config: dict[str, Any]


class Saved(NamedTuple):
    """A checkpoint of a trial."""

    step: int
    path: str  # in the experiment's folder, or its name in memory
    seconds: float  # time_total_s there


class Unfit(NamedTuple):
    """A record that did not fit what was known, and was left out."""

    source: int
    trial: int  # -1: not about one
    why: str
    data: bytes


class MachineTotals:
    """What a run has to give out, as allocation functions written for Ray Tune ask for it."""

    def __init__(self, machine: dict[str, float]) -> None:
        self._machine = machine

    def get_num_cpus(self) -> int:
        """CPUs of the run, in use or not."""
        return int(self._machine.get("cpu", 0))

    def get_num_gpus(self) -> int:
        """GPUs of the run, in use or not."""
        return int(self._machine.get("gpu", 0))
