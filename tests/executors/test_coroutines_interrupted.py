"""Coroutines whose process is killed or interrupted: what was reported is there, and a resume goes on with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune

PROGRAM = '''
import asyncio, os, signal, sys
import fasttune as tune
from fasttune.schedulers import ASHAScheduler, PopulationBasedTraining

folder, how, scheduler = sys.argv[1:]

async def train(config):
    found = tune.get_checkpoint()
    first = found.to_dict()["step"] + 1 if found else 1
    try:
        for step in range(first, 11):
            await asyncio.sleep(0)
            tune.report(loss=config["x"] / step, step=step, checkpoint=tune.Checkpoint.from_dict({"step": step}))
            if how != "resume" and step == 6 and tune.get_trial_id().endswith("00007"):
                if how == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGINT)
            if how == "interrupt" and step == 6:
                await asyncio.Event().wait()
            if how == "block" and step == 6 and tune.get_trial_id().endswith("00007"):
                while True:
                    pass
    finally:
        if how != "resume":
            open(os.path.join(folder, "cleaned_" + tune.get_trial_id()), "w").close()

SCHEDULERS = {
    "none": lambda: None,
    "asha": lambda: ASHAScheduler(max_t=10, grace_period=10),
    "pbt": lambda: PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=3, hyperparam_mutations={"x": tune.uniform(0, 1)}, seed=1, synch=True
    ),
}
analysis = tune.run(
    train, name="e", storage_path=folder, config={"x": tune.uniform(0, 1)}, num_samples=30, metric="loss", mode="min",
    scheduler=SCHEDULERS[scheduler](), verbose=0, seed=1, resume="AUTO" if how == "resume" else None,
)
print(analysis.interrupted, sorted({trial.status for trial in analysis.trials}), len(analysis.trials))
print(sorted({trial.last_result["step"] for trial in analysis.trials}))
'''


def program(folder: Path, how: str, scheduler: str) -> subprocess.CompletedProcess[str]:
    file = folder / "program.py"
    file.write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", str(file), str(folder), how, scheduler],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def latest(folder: Path) -> list[Any]:
    analysis = tune.ExperimentAnalysis(str(folder / "e"), default_metric="loss", default_mode="min")
    return [(trial.last_result or {}).get("step", 0) for trial in analysis.trials]


@pytest.mark.parametrize("scheduler", ["none", "asha", "pbt"])
def test_a_killed_run_goes_on(tmp_path: Path, scheduler: str) -> None:
    killed = program(tmp_path, "kill", scheduler)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert max(latest(tmp_path)) == 6
    went_on = program(tmp_path, "resume", scheduler)
    assert went_on.returncode == 0, went_on.stderr
    assert went_on.stdout.splitlines() == ["False ['TERMINATED'] 30", "[10]"]
    assert not (tmp_path / "e" / "rings").exists()


@pytest.mark.parametrize("scheduler", ["none", "asha"])
@pytest.mark.parametrize("how", ["interrupt", "block"])
def test_a_ctrl_c_ends_it_softly(tmp_path: Path, scheduler: str, how: str) -> None:
    """Also one that comes while a trial keeps the loop, which it gets out of there."""
    ended = program(tmp_path, how, scheduler)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0].startswith("True ")
    assert "destroyed" not in ended.stderr
    assert "never retrieved" not in ended.stderr
    begun = [step for step in latest(tmp_path) if step]
    assert len(list(tmp_path.glob("cleaned_*"))) == len(begun)
    assert not (tmp_path / "e" / "rings").exists()
    went_on = program(tmp_path, "resume", scheduler)
    assert went_on.returncode == 0, went_on.stderr
    assert went_on.stdout.splitlines() == ["False ['TERMINATED'] 30", "[10]"]


COMPUTES = '''
import asyncio, os, signal, sys, time
import fasttune as tune

folder = sys.argv[1]

def computes():
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        time.sleep(0.001)

async def train(config):
    tune.report(loss=1.0)
    await asyncio.sleep(0)
    try:
        computes()
    finally:
        for step in range(3):
            await asyncio.sleep(0.01)
        open(os.path.join(folder, "cleaned"), "w").close()

analysis = tune.run(train, name="e", storage_path=folder, metric="loss", mode="min", scheduler=sys.argv[2], verbose=0)
print(analysis.interrupted, [trial.status for trial in analysis.trials])
'''


@pytest.mark.parametrize("scheduler", ["fifo", "pbt"])
def test_a_ctrl_c_into_what_computes_lets_it_await_what_cleans_up(tmp_path: Path, scheduler: str) -> None:
    """It had been told by the KeyboardInterrupt, and was cancelled in its ``finally`` when the run ended."""
    (tmp_path / "program.py").write_text(COMPUTES.replace("scheduler=sys.argv[2]", {
        "fifo": "scheduler=None", "pbt": "scheduler=tune.schedulers.PopulationBasedTraining(hyperparam_mutations={'x': [1, 2]})"
    }[scheduler]))  # fmt: skip
    command = [sys.executable, "-X", "dev", str(tmp_path / "program.py"), str(tmp_path), scheduler]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("True ")
    assert (tmp_path / "cleaned").exists()
    assert "destroyed" not in ended.stderr
    assert "never retrieved" not in ended.stderr
