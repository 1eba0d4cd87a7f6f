"""Killed in the middle of a save, or right behind one: a checkpoint is whole or absent, and a report that returned holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import killed_script
import pytest
from savers import folders, stored

import fasttune as tune

SCRIPT = Path(killed_script.__file__)
ALL = list(killed_script.TRAINABLES)


def step_of(saved: str | tune.Checkpoint) -> int:
    """The step in a checkpoint; fails when it is not whole."""
    if isinstance(saved, str):
        return killed_script.read(saved)
    return int(saved.to_dict()["step"])


def all_whole(state: Any) -> list[list[int]]:
    """The steps of all checkpoints that the experiment says it has."""
    return [[step_of(saved) for saved, _ in state.checkpoints(i)] for i in range(len(state))]


def acknowledged(acks: Path) -> dict[str, int]:
    """The last acknowledged step by the trial's key."""
    found: dict[str, int] = {}
    for line in acks.read_text().splitlines():
        key, step = line.split()
        found[key] = int(step)
    return found


def told(lab: Any, trainable: str, executor: str, **more: Any) -> dict[str, Any]:
    given = {
        "trainable": trainable,
        "executor": executor,
        "folder": str(lab.folder),
        "acks": str(lab.acks_file),
        "steps": 1_000_000,
        **more,
    }
    lab.experiment = str(lab.folder / "exp")
    return given


def kill(lab: Any, process: Any) -> None:
    """All of it at once. The driver's lock is free when the driver has been waited for."""
    lab.kill_everything()
    process.wait()
    lab.nobody_left()


def nothing_is_left(analysis: tune.ExperimentAnalysis) -> None:
    assert sum(map(len, folders(analysis.experiment_path).values())) + len(stored(analysis.experiment_path)) == len(
        analysis.trials
    ), "one checkpoint of each trial, as num_to_keep=1 says"
    assert not os.path.exists(os.path.join(analysis.experiment_path, "rings"))


@pytest.mark.parametrize("trainable", ALL)
def test_K6_killed_in_the_middle_of_a_save(lab: Any, executor: str, trainable: str) -> None:
    from laboratory import wait_until

    stuck = lab.folder / "stuck"
    asked = told(lab, trainable, executor, samples=1, stuck=str(stuck), stuck_at=7)
    process = lab.start(asked, SCRIPT)
    wait_until(stuck.exists, "the middle of a save")
    kill(lab, process)
    state = lab.reopen()
    assert 6 in all_whole(state)[0]
    assert max(all_whole(state)[0]) == 6
    analysis = killed_script.run({**asked, "steps": 12})
    assert analysis.trials[0].last_result["n"] == 12
    assert analysis.trials[0].last_result["iterations_since_restore"] == 6
    nothing_is_left(analysis)


@pytest.mark.parametrize("trainable", ALL)
def test_K6_what_was_acknowledged_is_gone_on_with(lab: Any, executor: str, trainable: str) -> None:
    """Killed twice at some moment: each trial goes on from its last report that returned, or a later one."""
    from laboratory import wait_until

    asked = told(lab, trainable, executor)
    for lines in (40, 120):
        process = lab.start(asked, SCRIPT)
        wait_until(lambda n=lines: lab.acks_file.exists() and lab.acks_file.read_bytes().count(b"\n") >= n, "reports")
        kill(lab, process)
        found = acknowledged(lab.acks_file)
        state = lab.reopen()
        steps = all_whole(state)
        for i in range(len(state)):
            assert max(steps[i], default=0) >= found.get(state.config(i)["key"], 0)
    last = max(found.values()) + 30
    analysis = killed_script.run({**asked, "steps": last})
    for trial in analysis.trials:
        assert trial.last_result["n"] == trial.last_result["training_iteration"] == last
        assert last - trial.last_result["iterations_since_restore"] >= found.get(trial.config["key"], 0)
    nothing_is_left(analysis)


@pytest.mark.parametrize(("trainable", "step"), [("directories", 7), ("ClassOfFiles", 1)])
def test_K6_killed_between_a_whole_directory_and_its_report(lab: Any, executor: str, trainable: str, step: int) -> None:
    """Nothing refers to it; the next checkpoint takes its place."""
    from laboratory import wait_until

    stuck = lab.folder / "stuck"
    asked = told(lab, trainable, executor, samples=1, stuck=str(stuck), stuck_at=step)
    process = lab.start(asked, SCRIPT)
    wait_until(stuck.exists, "the middle of a save")
    kill(lab, process)
    state = lab.reopen()
    unreported = Path(state.path, state.trial_dirname(0), f"checkpoint_{step - 1:06d}")
    unreported.mkdir(parents=True)
    (unreported / "garbage").touch()
    analysis = killed_script.run({**asked, "steps": step + 3})
    assert analysis.trials[0].last_result["iterations_since_restore"] == 4
    assert analysis.trials[0].checkpoint.path == str(unreported.with_name(f"checkpoint_{step + 2:06d}"))
    nothing_is_left(analysis)


@pytest.mark.parametrize("trainable", ["dicts", "ClassOfDicts", "ClassOfFiles"])
def test_C14_a_killed_population_goes_on(lab: Any, executor: str, trainable: str) -> None:
    """Paused members, changes and donors' checkpoints are where they were; no step is counted that nobody made."""
    from laboratory import wait_until

    asked = told(lab, trainable, executor, samples=6, population=True)
    for lines in (60, 200):
        process = lab.start(asked, SCRIPT)
        wait_until(lambda n=lines: lab.acks_file.exists() and lab.acks_file.read_bytes().count(b"\n") >= n, "reports")
        kill(lab, process)
        all_whole(lab.reopen())
    state = lab.reopen()
    before = [state.table.iteration(i) for i in range(len(state))]
    changes = len(state.lineage())
    last = max(before) + 20
    analysis = killed_script.run({**asked, "last": last})  # a changed trial's config is the journal's
    for trial, reached in zip(analysis.trials, before, strict=True):
        assert trial.status == "TERMINATED"
        frame = analysis.trial_dataframes[trial.trial_id]
        assert list(frame["n"]) == list(frame["training_iteration"])
        assert len(frame) > 0
        assert max(frame["n"]) >= reached
    source: Any = analysis._source
    assert len(source.lineage()) >= changes
    assert any(one.donor is not None for one in source.lineage())
    assert not os.path.exists(os.path.join(analysis.experiment_path, ".writing"))


@pytest.mark.parametrize("trainable", ALL)
def test_K6_a_worker_that_dies_in_the_middle_of_a_save(lab: Any, trainable: str) -> None:
    """The trial is tried again from the checkpoint before; the half one is gone when the run is over."""
    asked = told(lab, trainable, "process", samples=1, steps=12, max_failures=1)
    analysis = killed_script.run({**asked, "stuck": str(lab.folder / "died"), "stuck_at": 7, "dies": True})
    (trial,) = analysis.trials
    assert (trial.status, trial.num_failures, trial.last_result["n"]) == ("TERMINATED", 1, 12)
    assert trial.last_result["iterations_since_restore"] == 6
    nothing_is_left(analysis)
