"""The scheduler contract, bound to population based training in its forms: on trials that can go on from checkpoints,
and on the suite's functions, which cannot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from fasttune import Trainable, uniform
from fasttune.schedulers import TrialScheduler, create_scheduler
from fasttune.testing import SchedulerContract
from fasttune.testing.schedulers import outcome

sys.path.insert(0, str(Path(__file__).parent))
from test_contract_schedulers import SMALL

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*checkpoint:RuntimeWarning"),  # some curves of the suite report none
    pytest.mark.filterwarnings("ignore:.*policy file:UserWarning"),  # the suite's space names x
]


class Curve(Trainable):
    """Nine reports of a score that the configs of all steps so far have made."""

    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.score = config["x"], 0.0

    def step(self) -> dict[str, Any]:
        self.score += self.x
        return {"score": self.score, "done": self.iteration >= 8}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"score": self.score}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.score = checkpoint["score"]


class Population(SchedulerContract):
    """Trials that come later make another population, so that only what has ended stays as it was."""

    trainable = Curve

    def test_resume_is_replay(self, tmp_path: Path) -> None:
        half: dict[str, Any] = {"max_concurrent_trials": 1, "name": "halves"}
        before = self.run(self.make(), tmp_path, num_samples=max(1, self.trials // 2), **half)
        resumed = self.run(self.make(), tmp_path, resume=True, **half)
        again = self.run(self.make(), tmp_path, resume=True, **half)
        assert outcome(resumed)[: len(before.trials)] == outcome(before)
        assert [status for _, status, _ in outcome(resumed)] == ["TERMINATED"] * self.trials
        assert outcome(again) == outcome(resumed)


class TestPBT(Population):
    def make(self) -> TrialScheduler:
        return create_scheduler("pbt", **SMALL["pbt"])


class TestPBTOfNumbers(Population):
    def make(self) -> TrialScheduler:
        mutations = {"x": uniform(0, 1)}
        return create_scheduler("pbt", **{**SMALL["pbt"], "hyperparam_mutations": mutations}, clip=True, burn_in_period=3)


class TestSynchronousPBT(Population):
    def make(self) -> TrialScheduler:
        return create_scheduler("pbt", **SMALL["pbt"], synch=True)


class TestPB2(Population):
    def make(self) -> TrialScheduler:
        return create_scheduler("pb2", **SMALL["pb2"])


class TestSynchronousPB2(Population):
    trials = 8

    def make(self) -> TrialScheduler:
        return create_scheduler("pb2", **SMALL["pb2"], synch=True)


class TestReplay(Population):
    trials = 1

    def make(self) -> TrialScheduler:
        return create_scheduler("pbt_replay", **SMALL["pbt_replay"])
