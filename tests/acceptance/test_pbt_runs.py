"""Rows C7 to C11 in whole runs, on both executors, with functions and classes."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune.schedulers import PB2, PopulationBasedTraining, PopulationBasedTrainingReplay
from fasttune.schedulers.pbt_replay import Policy, read_policy
from fasttune.search import Searcher


class Learner(tune.Trainable):
    """Its value grows by x at each step; a checkpoint holds the value and every x that made it."""

    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.history = config["x"], []

    def step(self) -> dict[str, Any]:
        self.history.append(self.x)
        return {"value": math.fsum(self.history), "x": self.x, "steps": len(self.history)}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"history": list(self.history)}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])


def learner(config: dict[str, Any]) -> None:
    """The same as a function that reports a checkpoint of each step."""
    history: list[float] = []
    before = tune.get_checkpoint()
    if before is not None:
        with before.as_directory() as folder:
            history = json.loads(Path(folder, "history").read_text())
    while len(history) < 30:
        history.append(config["x"])
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "history").write_text(json.dumps(history))
            tune.report(
                {"value": math.fsum(history), "x": config["x"], "steps": len(history)},
                checkpoint=tune.Checkpoint.from_directory(folder),
            )


def pbt(**more: Any) -> PopulationBasedTraining:
    given: dict[str, Any] = {
        "time_attr": "training_iteration",
        "perturbation_interval": 5,
        "hyperparam_mutations": {"x": tune.uniform(0, 10)},
        **more,
    }
    return PopulationBasedTraining(**given)


def settings(**more: Any) -> dict[str, Any]:
    return {
        "config": {"x": tune.uniform(0, 1)},
        "num_samples": 8,
        "metric": "value",
        "mode": "max",
        "stop": {"training_iteration": 30},
        **more,
    }


def lineage(analysis: tune.ExperimentAnalysis) -> list[list[Any]]:
    """The lines of pbt_global.txt."""
    path = Path(analysis.experiment_path, "pbt_global.txt")
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_continuity(analysis: tune.ExperimentAnalysis) -> None:
    """Every value is made of as many steps as the trial has iterations: nothing was lost or done twice."""
    for trial in analysis.trials:
        assert trial.status == "TERMINATED"
        last = trial.last_result
        assert last["steps"] == last["training_iteration"] == 30
        assert last["x"] == trial.config["x"]


def value_by_policy(analysis: tune.ExperimentAnalysis, trial: Any) -> float:
    """The value after 30 steps as the trial's policy file tells its story."""
    path = Path(analysis.experiment_path, f"pbt_policy_{trial.trial_id}.txt")
    if not path.exists():
        return 30 * float(trial.config["x"])
    with open(path) as file:
        config, policies = read_policy(file, str(path))
    value, at = 0.0, 0
    for policy in [*policies, Policy(30, {})]:
        value += config["x"] * (policy.iteration - at)
        at, config = policy
    return value


@pytest.mark.parametrize("trainable", [Learner, learner], ids=["class", "function"])
@pytest.mark.parametrize("synch", [False, True], ids=["async", "synch"])
def test_C9_value_goes_on_from_the_donors(run, trainable, synch):
    analysis = run(trainable, scheduler=pbt(synch=synch), **settings())
    check_continuity(analysis)
    copies = lineage(analysis)
    assert copies  # how many depends on who is ahead of whom
    for trial in analysis.trials:
        assert trial.last_result["value"] == pytest.approx(value_by_policy(analysis, trial))


def test_C7_files_tell_who_copied_whom(run):
    analysis = run(Learner, scheduler=pbt(), **settings())
    copies = lineage(analysis)
    tags = {trial.experiment_tag.split("@")[0] for trial in analysis.trials}
    for tag, donor_tag, iteration, donor_iteration, donor_config, config in copies:
        assert {tag, donor_tag} <= tags
        assert tag != donor_tag
        assert iteration % 5 == donor_iteration % 5 == 0
        assert config["x"] != donor_config["x"]
    last = {line[0]: line for line in copies}
    for trial in analysis.trials:
        tag = trial.experiment_tag.split("@")[0]
        path = Path(analysis.experiment_path, f"pbt_policy_{trial.trial_id}.txt")
        assert path.exists() == (tag in last)
        if tag in last:
            assert json.loads(path.read_text().splitlines()[-1]) == last[tag]
            assert trial.config["x"] == last[tag][5]["x"]
            assert trial.experiment_tag == f"{tag}@perturbed[x={trial.config['x']:.4f}]"


def test_C7_no_files_without_log_config(run):
    analysis = run(Learner, scheduler=pbt(log_config=False), **settings())
    assert not list(Path(analysis.experiment_path).glob("pbt_*"))


def test_C7_equal_seeds_give_equal_populations(tmp_path):
    found = []
    for name in ("a", "b"):
        more = settings(name=name, storage_path=tmp_path, verbose=0, seed=3, executor="inline")
        analysis = tune.run(Learner, scheduler=pbt(seed=5), max_concurrent_trials=1, **more)
        found.append((lineage(analysis), [trial.last_result["value"] for trial in analysis.trials]))
    assert found[0] == found[1]


def test_C7_what_the_config_does_not_name_is_sampled(run):
    analysis = run(Learner, scheduler=pbt(quantile_fraction=0.0), **settings(config={"other": 1}))
    values = [trial.config["x"] for trial in analysis.trials]
    assert len(set(values)) == 8
    assert all(0 <= value <= 10 for value in values)
    assert [trial.evaluated_params["x"] for trial in analysis.trials] == values


def test_C7_a_searcher_beside_it_is_an_error(run):
    with pytest.raises(ValueError, match="takes no searcher"):
        run(Learner, scheduler=pbt(), search_alg=LastOne(), **settings())
    assert run(Learner, scheduler=pbt(), search_alg="random", **settings(num_samples=1)).trials


class LastOne(Searcher):
    """A searcher that never gets to suggest."""

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        return True


def test_C7_functions_without_checkpoints_go_on_as_they_were(run):
    def plain(config):
        for step in range(1, 21):
            tune.report(value=config["x"] * step)

    with pytest.warns(RuntimeWarning, match="checkpoint"):
        analysis = run(plain, scheduler=pbt(), **settings(stop=None))
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [20] * 8
    assert not list(Path(analysis.experiment_path).glob("pbt_*"))


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {here!r})
from test_pbt_runs import Learner, pbt, settings
import fasttune as tune

class Killer(Learner):
    def step(self):
        if len(self.history) == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step()

Killer.__name__ = Learner.__name__
tune.run(Killer, scheduler=pbt(), name="killed", executor="inline", storage_path={folder!r}, verbose=0, seed=1,
         max_concurrent_trials=1, **settings())
"""


def test_C7_files_are_whole_after_a_kill_and_a_resume(tmp_path):
    script = SCRIPT.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = forks.run([sys.executable, "-c", script], env=environ, timeout=100, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not list((tmp_path / "killed").glob("pbt_*"))
    more = settings(name="killed", executor="inline", storage_path=tmp_path, verbose=0, seed=1)
    analysis = tune.run(Learner, scheduler=pbt(), max_concurrent_trials=1, resume=True, **more)
    check_continuity(analysis)
    iterations = [line[2] for line in lineage(analysis)]
    assert min(iterations) <= 15 < 20 <= max(iterations)  # of both sessions


def test_C10_a_replayed_trial_has_the_history_of_the_recorded_one(run):
    recorded = run(Learner, name="recorded", scheduler=pbt(), **settings())
    files = {path: path.read_text().count("\n") for path in Path(recorded.experiment_path).glob("pbt_policy_*")}
    path = max(sorted(files), key=lambda one: files[one])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    trial = next(one for one in recorded.trials if one.trial_id in path.name)
    scheduler = PopulationBasedTrainingReplay(path)
    replayed = run(Learner, name="replayed", scheduler=scheduler, **settings(config={}, num_samples=1))
    check_continuity(replayed)
    assert scheduler.debug_string().endswith(f"{len(scheduler.policies)} of {len(scheduler.policies)} changes made")
    assert replayed.trials[0].config["x"] == lines[-1][5]["x"]
    assert replayed.trials[0].last_result["value"] == pytest.approx(trial.last_result["value"])


def test_C11_pb2_keeps_its_bounds(run):
    scheduler = PB2("training_iteration", perturbation_interval=5, hyperparam_bounds={"x": [0.25, 0.75]})
    analysis = run(Learner, scheduler=scheduler, **settings(config={}))
    check_continuity(analysis)
    copies = lineage(analysis)
    assert copies
    assert all(0.25 <= line[5]["x"] <= 0.75 for line in copies)
