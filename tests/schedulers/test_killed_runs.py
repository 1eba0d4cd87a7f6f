"""Killed runs under every scheduler go on: every trial gets as far as in a run
that nobody killed."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune import _core
from fasttune.engine.opening import open_records
from fasttune.schedulers import (
    ASHAPromotionScheduler,
    ASHAScheduler,
    AutoScheduler,
    HyperBandForBOHB,
    HyperBandScheduler,
    MedianStoppingRule,
    PASHAScheduler,
    PopulationBasedTraining,
    ResourceChangingScheduler,
    SuccessiveHalvingScheduler,
    TrialScheduler,
)
from rounds import thinned

TESTS = Path(__file__).parents[1]
PATHS = (Path(tune.__file__).parents[1], TESTS, TESTS / "light")  # with no more of pytest than a program needs


def schedulers() -> dict[str, TrialScheduler]:
    return {
        "asha": ASHAScheduler(max_t=9, reduction_factor=3, rule="rank", patience=2, smoothing="best"),
        "promotion": ASHAPromotionScheduler(max_t=9, reduction_factor=3),
        "auto": AutoScheduler(max_t=9, reduction_factor=3),
        "pasha": PASHAScheduler(max_t=9, reduction_factor=3),
        "median": MedianStoppingRule(
            "training_iteration", grace_period=2, min_time_slice=math.inf, patience=2, smoothing="last"
        ),
        "hyperband": HyperBandScheduler("training_iteration", max_t=9, reduction_factor=3),
        "bohb": HyperBandForBOHB("training_iteration", max_t=9, reduction_factor=3),
        "halving": SuccessiveHalvingScheduler(40, max_t=9, reduction_factor=3),
        "resources": ResourceChangingScheduler(ASHAScheduler(max_t=9, reduction_factor=3)),
    }


def slowly(config: dict[str, Any]) -> None:
    draw = random.Random(config["n"])
    good = draw.random()
    for _ in range(12):
        with open(config["notes"], "a") as file:
            file.write(".")
        time.sleep(0.001)
        tune.report(score=good + 0.1 * draw.random())


def the_run(folder: str, name: str, kind: str, executor: str, resume: Any = None) -> tune.ExperimentAnalysis:
    return tune.run(
        slowly,
        name=name,
        storage_path=folder,
        config={"n": tune.grid_search(list(range(40))), "notes": os.path.join(folder, "notes")},
        metric="score",
        mode="max",
        seed=1,
        verbose=0,
        executor=executor,
        max_concurrent_trials=1,
        resume=resume,
        scheduler=schedulers()[kind],
    )


def iterations(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


def killed(folder: Path, kind: str, executor: str, upto: int) -> None:
    """The run begins or goes on, in a session of its own, and is killed when so many steps have been made."""
    notes = folder / "notes"
    process = forks.Popen(
        [sys.executable, __file__, json.dumps([str(folder), "killed", kind, executor, "AUTO"])],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (notes.exists() and notes.stat().st_size >= upto):
        assert process.poll() is None, "the run ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def with_workers_once_for_each_way(kind: str, executor: str) -> bool:
    """A rule that workers decide by, one that pauses trials and one that chooses the next; populations of either kind."""
    return executor == "inline" or kind in ("asha", "hyperband", "promotion", "class", "function, synchronous")


@pytest.mark.parametrize(
    ("kind", "executor"), thinned(itertools.product(schedulers(), ["inline", "thread", "process"]), with_workers_once_for_each_way)
)
def test_a_killed_run_goes_on_with_the_same_decisions(tmp_path: Path, kind: str, executor: str) -> None:
    """kill -9 of everything in the middle, twice."""
    for upto in (20, 50):
        killed(tmp_path, kind, executor, upto)
    resumed = the_run(str(tmp_path), "killed", kind, executor, resume=True)
    whole = the_run(str(tmp_path), "whole", kind, executor)
    assert iterations(resumed) == iterations(whole)
    assert {trial.status for trial in resumed.trials} == {"TERMINATED"}
    assert len(set(iterations(whole))) > 1
    if kind == "asha":
        assert judged(resumed) == judged(whole)  # no trial was judged twice at a rung


def judged(analysis: tune.ExperimentAnalysis) -> list[tuple[int, int]]:
    """(trial, rung) of every judgement of a compiled rule; each has a number of its own."""
    state: Any = open_records(analysis.experiment_path)
    learnt: dict[int, list[Any]] = {}
    found = [
        (sequence, trial, rung)
        for source, _, data in state.storage.read()
        for sequence, trial, rung, *_ in _core.judgements(data, learnt.setdefault(source, []))
    ]
    assert len({sequence for sequence, *_ in found}) == len(found)
    return sorted((trial, rung) for _, trial, rung in found)


class Earns(tune.Trainable):
    """Its score is the sum of what the configs of all its steps were worth; a checkpoint has the steps."""

    def setup(self, config: dict[str, Any]) -> None:
        self.earned: list[float] = []

    def step(self) -> dict[str, Any]:
        with open(self.config["notes"], "a") as file:
            file.write(".")
        time.sleep(0.001)
        self.earned = [*self.earned, self.config["x"]]
        return {"score": sum(self.earned), "n": len(self.earned), "done": len(self.earned) >= 20}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"earned": self.earned}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.earned = list(checkpoint["earned"])


def earns(config: dict[str, Any]) -> None:
    """The same as a function."""
    before = tune.get_checkpoint()
    earned: list[float] = [] if before is None else before.to_dict()["earned"]
    while len(earned) < 20:
        with open(config["notes"], "a") as file:
            file.write(".")
        time.sleep(0.001)
        earned.append(config["x"])
        saved = tune.Checkpoint.from_dict({"earned": earned})
        tune.report(score=sum(earned), n=len(earned), checkpoint=saved)


POPULATIONS: dict[str, tuple[Any, bool]] = {
    "class": (Earns, False),
    "function": (earns, False),
    "class, synchronous": (Earns, True),
    "function, synchronous": (earns, True),
}


def a_population(folder: str, name: str, kind: str, executor: str, resume: Any = None) -> tune.ExperimentAnalysis:
    trainable, synch = POPULATIONS[kind]
    return tune.run(
        trainable,
        name=name,
        storage_path=folder,
        config={"x": tune.uniform(0, 1), "notes": os.path.join(folder, "notes")},
        num_samples=6,
        metric="score",
        mode="max",
        seed=1,
        verbose=0,
        executor=executor,
        max_concurrent_trials=2,
        resume=resume,
        checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
        scheduler=PopulationBasedTraining(
            "training_iteration",
            perturbation_interval=4,
            hyperparam_mutations={"x": tune.uniform(0, 1)},
            synch=synch,
            clip=True,
            seed=3,
        ),
    )


@pytest.mark.parametrize(
    ("kind", "executor"), thinned(itertools.product(POPULATIONS, ["inline", "thread", "process"]), with_workers_once_for_each_way)
)
def test_a_killed_population_goes_on_and_tells_its_whole_story(tmp_path: Path, kind: str, executor: str) -> None:
    """Three kills. Every trial comes to its end with steps that were made, each once, by it or those that it copied; the
    story of the copies is whole: what it says of the configs is what the steps were worth."""
    for upto in (15, 45, 80):
        killed(tmp_path, kind, executor, upto)
    resumed = a_population(str(tmp_path), "killed", kind, executor, resume=True)
    assert [trial.status for trial in resumed.trials] == ["TERMINATED"] * 6
    copies = resumed.lineage()["donor_id"].notna().sum()
    assert copies > 0
    whole_story = resumed.lineage()
    for trial in resumed.trials:
        result = trial.last_result
        assert result["n"] == result["training_iteration"]  # of one and the same report
        changes = whole_story[whole_story["trial_id"] == trial.trial_id]
        copied_an_end = len(changes) > 0 and changes["donor_iteration"].iloc[-1] == 20  # there was nothing left to report
        assert result["training_iteration"] == 20 or copied_an_end
    told = (tmp_path / "killed" / "pbt_global.txt").read_text().splitlines()
    assert len(told) == copies
    assert tune.ExperimentAnalysis(resumed.experiment_path).lineage().equals(resumed.lineage())
    for trial in resumed.trials:
        policy = tmp_path / "killed" / f"pbt_policy_{trial.trial_id}.txt"
        if policy.exists() and json.loads(policy.read_text().splitlines()[-1])[3] < 20:  # else nothing came after it
            assert trial.last_result["training_iteration"] == 20
            assert worth(policy) == pytest.approx(trial.last_result["score"])


def worth(policy: Path) -> float:
    """The score of a trial at its step 20, from the story of its configs alone."""
    total, upto, wanted, first = 0.0, 20, None, 0.0
    for line in reversed(policy.read_text().splitlines()):
        tag, donor, _, since, old, new = json.loads(line)
        if wanted not in (None, tag):
            break
        total += (upto - since) * new["x"]
        upto, wanted, first = since, donor, old["x"]
    return total + upto * first


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    (a_population if asked[2] in POPULATIONS else the_run)(*asked)
