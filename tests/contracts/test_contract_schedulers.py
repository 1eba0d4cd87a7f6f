"""The scheduler contract, bound to every name that create_scheduler knows and to two written outside."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from fasttune import schedulers
from fasttune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    ResourceChangingScheduler,
    TrialScheduler,
    create_scheduler,
)
from fasttune.testing import SchedulerContract
from fasttune.testing.schedulers import outcome
from fasttune.trial import Trial

SMALL: dict[str, dict[str, Any]] = {
    "asha": {"max_t": 9, "reduction_factor": 3},
    "auto": {"max_t": 9, "reduction_factor": 3},
    "async_hyperband": {"max_t": 9, "reduction_factor": 3, "brackets": 2},
    "asynchyperband": {"max_t": 8, "grace_period": 2, "reduction_factor": 2, "stop_last_trials": False},
    "fifo": {},
    "pb2": {"time_attr": "training_iteration", "perturbation_interval": 2, "hyperparam_bounds": {"x": [0.0, 1.0]}},
    "pbt": {"time_attr": "training_iteration", "perturbation_interval": 2, "hyperparam_mutations": {"x": [0.1, 0.5]}},
    "pbt_replay": {"policy_file": Path(__file__).with_name("pbt_policy.txt")},
    "resource_changing": {},
    "hb_bohb": {"max_t": 9, "reduction_factor": 3},
    "hyperband": {"max_t": 9, "reduction_factor": 3},
    "successive_halving": {"n": 8, "max_t": 9, "reduction_factor": 2},
    "asha_promotion": {"max_t": 9, "reduction_factor": 3},
    "pasha": {"max_t": 9, "reduction_factor": 2},
    "median_stopping_rule": {"time_attr": "training_iteration", "grace_period": 2, "min_time_slice": math.inf},
    "wilcoxon": {"p_threshold": 0.2},
    "wilcoxon_stopping_rule": {"grace_period": 2, "p_threshold": 0.3},
    "medianstopping": {"time_attr": "training_iteration", "grace_period": 1, "min_samples_required": 1},
}


def registered() -> list[str]:
    """The names of schedulers that are part of this version."""
    return sorted(schedulers._NAMES)


@pytest.mark.parametrize("name", registered())
def test_every_registered_name_has_settings_here(name: str) -> None:
    assert name in SMALL, f"say in SMALL how {name} is made for nine steps, so that the contract is run on it"
    assert isinstance(create_scheduler(name, **SMALL[name]), TrialScheduler)


@pytest.mark.parametrize("name", registered())
def test_C15_every_name_refuses_a_misspelt_argument(name: str) -> None:
    for misspelt in ("max_tt", "grace", "reduction", "no_such_argument"):
        with pytest.raises(TypeError, match=misspelt):
            create_scheduler(name, **{**SMALL[name], misspelt: 1})
    assert type(create_scheduler(name.upper(), **SMALL[name])) is type(create_scheduler(name, **SMALL[name]))


def test_C15_unknown_names_are_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no scheduler called 'medain'.*median_stopping_rule"):
        create_scheduler("medain")
    with pytest.raises(TypeError, match="takes a name, got int"):
        create_scheduler(5)  # type: ignore[arg-type]


class TestFIFO(SchedulerContract):
    def make(self) -> TrialScheduler:
        return FIFOScheduler()


class TestASHA(SchedulerContract):
    def make(self) -> TrialScheduler:
        return ASHAScheduler(**SMALL["asha"])


class TestASHAInBrackets(SchedulerContract):
    trials = 20

    def make(self) -> TrialScheduler:
        return create_scheduler("async_hyperband", **SMALL["async_hyperband"])


class TestASHAThatLetsTheLastOnesRun(SchedulerContract):
    def make(self) -> TrialScheduler:
        return create_scheduler("asynchyperband", **SMALL["asynchyperband"])


class TestASHAByRank(SchedulerContract):
    trials = 20

    def make(self) -> TrialScheduler:
        return ASHAScheduler(**SMALL["asha"], rule="rank", brackets=2)


class TestASHAWithPatience(SchedulerContract):
    trials = 20

    def make(self) -> TrialScheduler:
        return ASHAScheduler(**SMALL["asha"], rule="rank", patience=2, smoothing="best")


@pytest.mark.filterwarnings("ignore:trial .* could have:RuntimeWarning")  # the curves report no checkpoints
class TestResourceChanging(SchedulerContract):
    def make(self) -> TrialScheduler:
        return ResourceChangingScheduler(ASHAScheduler(**SMALL["asha"]))


class TestHyperBand(SchedulerContract):
    trials = 16  # half of them fill two brackets, so that a run of half the trials decides as the whole

    def make(self) -> TrialScheduler:
        return create_scheduler("hyperband", **SMALL["hyperband"])


class TestHyperBandForBOHB(SchedulerContract):
    trials = 28  # a bracket of nine and one of five, twice

    def make(self) -> TrialScheduler:
        return create_scheduler("hb_bohb", **SMALL["hb_bohb"])


class TestSuccessiveHalving(SchedulerContract):
    trials = 16

    def make(self) -> TrialScheduler:
        return create_scheduler("successive_halving", **SMALL["successive_halving"])


class TestMedian(SchedulerContract):
    def make(self) -> TrialScheduler:
        return create_scheduler("median_stopping_rule", **SMALL["median_stopping_rule"])


class TestWilcoxon(SchedulerContract):
    def make(self) -> TrialScheduler:
        return create_scheduler("wilcoxon_stopping_rule", **SMALL["wilcoxon_stopping_rule"])


class LeavesTrialsPaused(SchedulerContract):
    """What is still paused ends with the run, so that two runs are not one: only what has ended stays as it was."""

    def test_resume_is_replay(self, tmp_path: Path) -> None:
        half: dict[str, Any] = {"max_concurrent_trials": 1, "name": "halves"}
        before = self.run(self.make(), tmp_path, num_samples=self.trials // 2, **half)
        resumed = self.run(self.make(), tmp_path, resume=True, **half)
        again = self.run(self.make(), tmp_path, resume=True, **half)
        assert outcome(resumed)[: self.trials // 2] == outcome(before)
        assert [status for _, status, _ in outcome(resumed)] == ["TERMINATED"] * self.trials
        assert outcome(again) == outcome(resumed)


class TestMedianThatMakesRoom(LeavesTrialsPaused):
    def make(self) -> TrialScheduler:
        return MedianStoppingRule("training_iteration", grace_period=2)


class TestMedianThatPauses(LeavesTrialsPaused):
    def make(self) -> TrialScheduler:
        return MedianStoppingRule("training_iteration", grace_period=2, min_samples_required=2, hard_stop=False)


class TestPromotion(LeavesTrialsPaused):
    def make(self) -> TrialScheduler:
        return create_scheduler("asha_promotion", **SMALL["asha_promotion"])


class TestAuto(LeavesTrialsPaused):
    def make(self) -> TrialScheduler:
        return create_scheduler("auto", **SMALL["auto"])


class TestAutoThatDoesNotKnowWhereTrialsEnd(LeavesTrialsPaused):
    def make(self) -> TrialScheduler:
        return create_scheduler("auto")


class TestPASHA(LeavesTrialsPaused):
    trials = 20

    def make(self) -> TrialScheduler:
        return create_scheduler("pasha", **SMALL["pasha"])


class WorseThanTheLast(TrialScheduler):
    """Stops a trial whose score is worse than the one before, after three reports."""

    def __init__(self, patience: int = 3) -> None:
        super().__init__()
        self.patience = patience
        self.before = 0.5

    def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
        late = result["training_iteration"] >= self.patience
        worse = late and result[self.metric or ""] < self.before
        if late:
            self.before = result[self.metric or ""]
        return self.STOP if worse else self.CONTINUE


class TestOneFromOutside(SchedulerContract):
    def make(self) -> TrialScheduler:
        return WorseThanTheLast()


class TakesTurns(TrialScheduler):
    """Pauses each trial after every third report and goes on with whoever has come least far."""

    def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
        return self.PAUSE if result["training_iteration"] % 3 == 0 and not result["done"] else self.CONTINUE

    def choose_trial_to_run(self, state: Any) -> Trial | None:
        waiting = [trial for trial in state.trials if trial.status in ("PENDING", "PAUSED")]
        return min(waiting, key=lambda trial: trial.last_result.get("training_iteration", 0), default=None)


class TestOneThatPauses(SchedulerContract):
    def make(self) -> TrialScheduler:
        return TakesTurns()
