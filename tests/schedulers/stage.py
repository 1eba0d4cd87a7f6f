"""A stage for schedulers alone: trials without an executor, moved by what the scheduler answers.

It does what the machine does with decisions and orders, one trial at a time and at once, so that a test can write down
what is reported and see what is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fasttune.schedulers.base import Change, End, Save, TrialScheduler

ALIVE = ("PENDING", "RUNNING", "PAUSED")


@dataclass(eq=False)
class StageTrial:
    """What schedulers use of a Trial."""

    index: int
    config: dict[str, Any]
    status: str = "PENDING"
    last_result: dict[str, Any] = field(default_factory=dict)
    experiment_tag: str = ""
    resources: Any = None
    is_class: bool = True  # it saves when it is told to
    checkpoint: int | None = None  # iteration of the newest checkpoint
    saved: dict[str, Any] = field(default_factory=dict)  # its last result there
    path: str = "."  # folder of the experiment

    @property
    def trial_id(self) -> str:
        return f"{self.index:05d}"

    @property
    def placement_group_factory(self) -> Any:
        return self.resources

    def is_finished(self) -> bool:
        return self.status not in ALIVE


class Stage:
    """The view that a scheduler is handed, and the machine that obeys it. ``decisions`` keeps what was answered."""

    def __init__(self, scheduler: TrialScheduler, metric: str | None = "score", mode: str | None = "max") -> None:
        self.scheduler = scheduler
        self.trials: list[Any] = []
        self.decisions: list[tuple[str, str]] = []
        self.changes: list[Change] = []
        self.path = "."
        self.machine: dict[str, float] = {}  # what there is to give out; {}: this machine's
        self.total: int | None = None  # trials that there will be
        self.reuses_processes = False
        if metric is not None:
            assert scheduler.set_search_properties(metric, mode)

    # -- the view -----------------------------------------------------------------------------------------------------

    def get_trial(self, trial_id: str) -> Any:
        return next(trial for trial in self.trials if trial.trial_id == trial_id)

    def get_trials(self) -> list[Any]:
        return self.trials

    def get_live_trials(self) -> list[Any]:
        return [trial for trial in self.trials if trial.status in ALIVE]

    def trials_of(self, status: str, most: int = -1) -> list[Any]:
        found = [trial for trial in self.trials if trial.status == status]
        return found if most < 0 else found[:most]

    def can_begin_again(self, trial: Any) -> bool:
        return trial.is_class or trial.checkpoint == trial.last_result["training_iteration"]

    # -- what happens -------------------------------------------------------------------------------------------------

    def add(self, n: int = 1, *, request: Any = None, is_class: bool = True, **config: Any) -> list[Any]:
        """Suggest n trials; the scheduler hears of each."""
        added = []
        for _ in range(n):
            i = len(self.trials)
            trial = StageTrial(i, dict(config), experiment_tag=str(i), resources=request, is_class=is_class)
            self.trials.append(trial)
            self.scheduler.on_trial_add(self, trial)
            self._obey()
            added.append(trial)
        return added

    def choose(self) -> Any:
        """Run the trial that the scheduler chooses; None when it chooses none."""
        trial = self.scheduler.choose_trial_to_run(self)
        if trial is not None:
            assert trial.status in ("PENDING", "PAUSED"), (trial.trial_id, trial.status)
            trial.status = "RUNNING"
        self._obey()
        return trial

    def choose_all(self) -> list[Any]:
        """Run trials until the scheduler chooses none any more."""
        chosen = []
        while (trial := self.choose()) is not None:
            chosen.append(trial)
        return chosen

    def report(self, trial: Any, checkpoint: bool = False, **result: Any) -> str:
        """A running trial reports; returns what was decided. Reports that nobody asks for are passed over."""
        assert trial.status == "RUNNING", (trial.trial_id, trial.status)
        step = result.setdefault("training_iteration", trial.last_result.get("training_iteration", 0) + 1)
        trial.last_result = {**trial.last_result, **result}
        if checkpoint:
            self._save(trial)
        if step < self.scheduler.ask_from(trial):
            return "CONTINUE"
        decision = self.scheduler.on_trial_result(self, trial, dict(trial.last_result))
        assert decision in ("CONTINUE", "NOOP", "PAUSE", "STOP"), decision
        self.decisions.append((trial.trial_id, decision))
        if decision == "PAUSE":
            trial.status = "PAUSED"
        elif decision == "STOP":
            trial.status = "TERMINATED"
            self.scheduler.on_trial_complete(self, trial, dict(trial.last_result))
        self._obey()
        return decision

    def complete(self, trial: Any) -> None:
        """A running trial ends by itself."""
        trial.status = "TERMINATED"
        if trial.last_result:
            self.scheduler.on_trial_result(self, trial, dict(trial.last_result))
        self.scheduler.on_trial_complete(self, trial, dict(trial.last_result))
        self._obey()

    def fail(self, trial: Any) -> None:
        """A trial fails for good."""
        trial.status = "ERROR"
        self.scheduler.on_trial_error(self, trial)
        self._obey()

    def try_again(self, trial: Any) -> None:
        """A trial that has failed gets another attempt, from its newest checkpoint."""
        assert trial.status == "ERROR"
        trial.status = "PENDING"
        trial.last_result = dict(trial.saved)
        self.scheduler.on_trial_add(self, trial)
        self._obey()

    @staticmethod
    def _save(trial: Any) -> None:
        trial.checkpoint = trial.last_result["training_iteration"]
        trial.saved = dict(trial.last_result)

    def _obey(self) -> None:
        while orders := self.scheduler.orders():
            for order in orders:
                trial: Any = order.trial
                if isinstance(order, Save):
                    assert trial.status in ("RUNNING", "PAUSED")
                    if trial.is_class:  # a function saves when it wants to
                        self._save(trial)
                elif isinstance(order, End):
                    assert trial.status in ("PENDING", "PAUSED"), (trial.trial_id, trial.status)
                    trial.status = "TERMINATED"
                    self.scheduler.on_trial_remove(self, trial)
                else:
                    self._change(order)

    def _change(self, order: Change) -> None:
        trial: Any = order.trial
        donor: Any = order.donor
        assert trial.status == "PAUSED", (trial.trial_id, trial.status)
        self.changes.append(order)
        if donor is not None and donor.checkpoint is None:
            donor = None
            order = order._replace(config=None, tag=None)  # there is nothing to go on from: it stays as it was
        if donor is not None:
            trial.checkpoint, trial.saved = donor.checkpoint, donor.saved
            trial.last_result = dict(donor.saved)
        if order.config is not None:
            trial.config = order.config
        if order.tag is not None:
            trial.experiment_tag = order.tag
        if order.resources is not None:
            trial.resources = order.resources
        trial.status = "PENDING"
