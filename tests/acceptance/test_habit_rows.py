"""Rows T6, R3, R8, R11, R13, K1, K2, F5 and G1 again: forms and habits that programs for Ray Tune bring along."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

import fasttune as tune
import forks
from fasttune.devices.machine import detect

SOURCE = str(Path(tune.__file__).resolve().parent.parent)


def counts(config):
    for i in range(1, 21):
        tune.report({"a": {"b": {"c": i - 1}}, "timesteps_this_iter": 3, "episodes_this_iter": i - 1})


def test_T6_steps_and_episodes_of_a_function_add_up_and_may_stop_it(run):
    whole = run(counts, stop={"training_iteration": 10}).trials[0].last_result
    assert (whole["timesteps_total"], whole["episodes_total"]) == (30, 45)
    assert run(counts, stop={"timesteps_total": 12}).trials[0].last_result["training_iteration"] == 4


@pytest.mark.parametrize("stop", [{"a/b/c": 6}, {"a": {"b": {"c": 6}}}])
def test_R3_a_nested_criterion_in_both_forms(run, stop):
    assert run(counts, stop=stop).trials[0].last_result["training_iteration"] == 7


def test_R8_the_strict_check_can_be_turned_off(run, monkeypatch):
    monkeypatch.setenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        analysis = run(counts, num_samples=4, metric="lose", mode="min")
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 4
    assert [str(one.message) for one in told if "metric='lose' compares no trials" in str(one.message)] != []


def test_R8_a_misspelt_metric_ends_the_run_with_the_names_that_were_reported(run):
    with pytest.raises(tune.TuneError, match=r"reported the metric 'los'.* Did you mean 'loss'"):
        run(lambda config: tune.report(loss=1), num_samples=50, metric="los", mode="min")


PROGRAM = """
import os, signal, sys, time
import fasttune as tune

def train(config):
    for step in range(100_000):
        tune.report(step=step)
        if step == 5:
            os.kill(int(config["driver"]), signal.SIGUSR1)
        time.sleep(0.01)

if __name__ == "__main__":
    analysis = tune.run(train, config={"driver": os.getpid()}, storage_path=sys.argv[1], verbose=0)
    print("back", analysis.trials[0].last_result["step"])
"""


def test_R11_sigusr1_is_a_soft_interrupt(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(PROGRAM)
    done = forks.run(
        [sys.executable, str(script), str(tmp_path / "runs")],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("back")


class Saves(tune.Trainable):
    def step(self):
        return {"n": self.iteration, "done": self.iteration == 3}

    def save_checkpoint(self, checkpoint_dir):
        Path(checkpoint_dir, "n").write_text(str(self.iteration))

    def load_checkpoint(self, checkpoint):
        pass


def test_R13_a_trial_tells_what_it_was_asked(run):
    trial = run(
        Saves,
        config={"a": 2},
        checkpoint_freq=2,
        checkpoint_at_end=True,
        log_to_file=True,
        trial_name_creator=lambda trial: "mine",
    ).trials[0]
    assert (trial.config, trial.status) == ({"a": 2}, "TERMINATED")
    assert (trial.checkpoint_freq, trial.checkpoint_at_end) == (2, True)
    assert trial.log_to_file == ("stdout", "stderr")
    assert (trial.custom_trial_name, str(trial), trial.restore_path) == ("mine", "mine", None)
    assert trial.placement_group_factory.required_resources == {"CPU": 1}


def reports_directories(config):
    for step in range(2):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "step").write_text(str(step))
            tune.report({"step": step}, checkpoint=tune.Checkpoint.from_directory(folder))


def test_K1_results_name_their_checkpoint_and_it_has_a_path(run):
    trial = run(reports_directories).trials[0]
    assert trial.last_result["checkpoint_dir_name"] == "checkpoint_000001"
    assert trial.last_result["should_checkpoint"] is True
    assert trial.checkpoint.value == trial.checkpoint.local_path == trial.checkpoint.path


def test_K2_a_default_of_checkpoint_dir_is_kept(run):
    def train(config, checkpoint_dir="none yet"):
        tune.report(at=checkpoint_dir)

    assert run(train).trials[0].last_result["at"] == "none yet"


def test_F5_restoring_nothing_is_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no experiment to restore"):
        tune.Tuner.restore(str(tmp_path / "nothing"), counts)


@pytest.mark.parametrize("form", [{"cpu": 0.1, "custom_resources": {"hi": 1}}, {"cpu": 0.1, "hi": 1}])
def test_G1_kinds_of_resources_of_ones_own(tmp_path, form):
    assert len(detect().cpus) >= 1
    analysis = tune.run(
        lambda config: tune.report(pid=os.getpid()),
        resources_per_trial=form,
        resources={"hi": 1},
        num_samples=3,
        storage_path=tmp_path,
        verbose=0,
    )
    assert len({trial.last_result["pid"] for trial in analysis.trials}) == 1  # one at a time
    with pytest.raises(ValueError, match="hi"):
        tune.run(counts, resources_per_trial=form, storage_path=tmp_path, verbose=0)
