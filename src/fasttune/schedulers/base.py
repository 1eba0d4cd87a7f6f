"""The scheduler contract: trials and results come in, decisions go out.

A scheduler returns values: it answers for the trial that reported, what it wants done about others it leaves in ``orders()``, and
what a searcher should know in ``tells_searcher()``. ``state`` is an :class:`~fasttune.schedulers.view.ExperimentView`: the
experiment, to be looked at.

Results are flattened ("a/b"). Of one that breaks a constraint the metric is a score, worse than all values (``constraints``).
The order is: ``on_trial_add`` once, ``on_trial_result`` per report unless a stop criterion ended
the trial first, then one of ``on_trial_complete`` (it ended or was stopped), ``on_trial_error`` (it failed; ``on_trial_add``
follows if it is tried again) or ``on_trial_remove`` (it was stopped while it was not running). Called from one thread. An
exception ends the run with that exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from fasttune.argument import taken_by
from fasttune.rule import NO_RULE, CompiledRule
from fasttune.schedulers.saved import read_state, write_state
from fasttune.schedulers.view import ExperimentView
from fasttune.trial import Trial

if TYPE_CHECKING:
    from fasttune.config import Mode


class Save(NamedTuple):
    """Order: a class Trainable that just reported, or is paused, saves a checkpoint now. Nobody waits for it. A function
    is not disturbed: its checkpoints are those it reports."""

    trial: Trial


class End(NamedTuple):
    """Order: a trial that is waiting or paused is over. ``on_trial_remove`` follows."""

    trial: Trial


class Change(NamedTuple):
    """Order: the trial, which is paused or was answered PAUSE just now, goes on as told here; what is None stays.

    With ``donor`` it goes on from that trial's newest checkpoint, once a Save that was ordered for it is done; when the
    donor ends without one, the trial stays as it was. ``config`` is what the trial gets then, ``tag`` what its name
    shows of it, ``resources`` a request in any form that ``resources_per_trial`` takes. The trial is PENDING afterwards
    and is run when ``choose_trial_to_run`` names it.
    """

    trial: Trial
    config: dict[str, Any] | None = None
    donor: Trial | None = None
    tag: str | None = None
    resources: Any = None


Order = Save | End | Change


class TrialScheduler:
    """Base of all schedulers; subclass it and override ``on_trial_result``."""

    CONTINUE = "CONTINUE"  # go on
    PAUSE = "PAUSE"  # keep the trial's state, give its resources to the trial that choose_trial_to_run names
    STOP = "STOP"  # end the trial
    NOOP = "NOOP"  # as CONTINUE

    supports_buffered_results = True
    takes_searcher = True  # whether a searcher may suggest the configs
    holds_back = False  # whether a trial that it pauses waits for others: the searcher is told (on_pause), and goes on suggesting
    pauses = False  # whether it answers PAUSE: where trials cannot be left inside their report, such a scheduler is refused
    pauses_to_change = False  # where all trials run at once it pauses only those that it changes, or all of them
    compares = False  # whether it holds trials against each other, and so must know by what, and which way is better

    _made_with: tuple[tuple[Any, ...], dict[str, Any]] = (), {}

    def __new__(cls, *args: Any, **keywords: Any) -> Self:
        made = super().__new__(cls)
        made._made_with = args, keywords  # what a later session that goes on with the run compares
        return made

    def __init__(self, *, metric: str | None = None, mode: Mode | None = None) -> None:
        if mode is not None and mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        self._metric = metric if metric is not None or mode is None else "_metric"
        self._mode: str | None = mode

    @property
    def metric(self) -> str | None:
        """The result key that the scheduler compares trials by."""
        return getattr(self, "_metric", None)

    @property
    def mode(self) -> str | None:
        """``"min"`` or ``"max"``."""
        return getattr(self, "_mode", None)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take the run's metric and mode over. False if the scheduler already has its own."""
        if (self.metric is not None and metric is not None) or (self.mode is not None and mode is not None):
            return False
        if metric is not None:
            self._metric = metric
        if mode is not None:
            self._mode = mode
        return True

    def check_metric(self) -> None:
        """ValueError if it compares trials, and neither it nor the run has said by what, and which way is better. Asked
        before the run begins."""
        if self.compares and (self.metric is None or self.mode is None):
            raise ValueError(
                f"{type(self).__name__} was run without a metric and mode, and so would stop nothing: "
                "give them to the scheduler or to the run, e.g. tune.run(..., metric='loss', mode='min')"
            )

    def reads(self) -> Mapping[str, str]:
        """Names of metrics that it decides by, besides ``metric``, and the argument that each was given as. One that
        reports never bring is said once, when the first trials have ended without it."""
        return {}

    def complete_space(self, space: Mapping[str, Any]) -> Mapping[str, Any]:
        """The search space with what the scheduler needs in it. Asked once per experiment, before anything is
        sampled."""
        return space

    def core_rule(self) -> CompiledRule | None:
        """The rule in compiled form, decided where reports are made. None: the scheduler is asked on every report."""
        return None

    def on_trial_add(self, state: ExperimentView, trial: Trial) -> None:
        """A trial was made, or will be tried again after a failure."""

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        """Decide: CONTINUE, PAUSE, STOP or NOOP."""
        return self.CONTINUE

    def tells_searcher(self, trial: Trial) -> Mapping[str, Any]:
        """What the searcher hears of the result that was decided about just now, besides what the trial reported."""
        return {}

    def ask_from(self, trial: Trial) -> int:
        """The ``training_iteration`` from which on this trial's reports have to be decided. Reports before it go on
        without asking, and ``on_trial_result`` is not called for them. Asked when the trial starts, goes on, and after
        each of its decisions."""
        return 0

    def orders(self) -> Sequence[Order]:
        """What else is to be done now, in this order. Asked after every hook; each order is given once."""
        return ()

    def on_trial_complete(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> None:
        """The trial ended; ``result`` is its last one."""

    def on_trial_remove(self, state: ExperimentView, trial: Trial) -> None:
        """The trial was stopped while it was waiting or paused."""

    def on_trial_error(self, state: ExperimentView, trial: Trial) -> None:
        """The trial failed."""

    def choose_trial_to_run(self, state: ExperimentView) -> Trial | None:
        """Which PENDING or PAUSED trial gets the free resources; None: none of them now."""
        for status in ("PENDING", "PAUSED"):
            for trial in state.trials_of(status, 1):
                found: Trial = trial
                return found
        return None

    def files(self, state: ExperimentView) -> Mapping[str, str]:
        """Texts by file name for the experiment's folder, written when the run ends."""
        return {}

    def debug_string(self) -> str:
        """One line for the status block."""
        return f"Using {type(self).__name__}."

    def save(self, checkpoint_path: str) -> None:
        """Write what was judged so far to a file, for another run. NotImplementedError from a scheduler that leaves that
        in the journal only, where a run that is resumed finds it."""
        raise NotImplementedError(
            f"{type(self).__name__} writes its state to no file: it is rebuilt from the journal. Go on with the run itself, "
            "by tune.run(..., name=..., resume='AUTO') or Tuner.restore()"
        )

    def restore(self, checkpoint_path: str) -> None:
        """Go on from what :meth:`save` wrote. ValueError if that was another scheduler, or made otherwise."""
        raise NotImplementedError(f"{type(self).__name__} writes its state to no file, and takes none: see save()")


def tell_goal(scheduler: TrialScheduler, metric: str | None, mode: str | None, spec: Mapping[str, Any]) -> bool:
    """``set_search_properties`` of any scheduler, also of one whose method takes no ``**spec``, or only a part of it."""
    method = scheduler.set_search_properties
    return method(metric, mode, **taken_by(method, spec))


class FIFOScheduler(TrialScheduler):
    """Runs trials in the order they were made and stops none."""

    def core_rule(self) -> CompiledRule | None:
        return NO_RULE

    def debug_string(self) -> str:
        return "Using FIFO scheduling algorithm."

    def save(self, checkpoint_path: str) -> None:
        write_state(checkpoint_path, self, None)

    def restore(self, checkpoint_path: str) -> None:
        read_state(checkpoint_path, self)


_HOOKS = (
    "on_trial_add",
    "on_trial_result",
    "on_trial_complete",
    "on_trial_remove",
    "on_trial_error",
    "choose_trial_to_run",
)


def compiled_rule(scheduler: TrialScheduler) -> CompiledRule | None:
    """The scheduler's compiled rule; None if it has none, or if a subclass overrides what the rule stands for."""
    order = type(scheduler).__mro__
    owner = next(i for i, cls in enumerate(order) if "core_rule" in vars(cls))
    if any(name in vars(cls) for cls in order[:owner] for name in _HOOKS):
        return None
    return scheduler.core_rule()
