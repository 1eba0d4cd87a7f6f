"""A process that a trial forks is no trial: it cannot report, and does not run the host's code."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import HyperBandScheduler, TrialScheduler
from rounds import thinned


def run(trainable: Any, folder: Path, executor: str, **more: Any) -> Any:
    return tune.run(
        trainable,
        name="e",
        storage_path=str(folder),
        executor=executor,
        metric="loss",
        mode="min",
        num_samples=3,
        verbose=0,
        raise_on_failed_trial=False,
        **more,
    )


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def interrupt() -> None:
    raise KeyboardInterrupt


HOW = {
    "is interrupted": (interrupt, 1),
    "returns": (lambda: {"loss": -1e9}, 0),
    "exits": (lambda: sys.exit(7), 7),
    "raises": (lambda: 1 / 0, 1),
}


@pytest.mark.parametrize("how", HOW)
def test_the_child_of_a_function_reports_nothing_and_ends(tmp_path: Path, executor: str, how: str) -> None:
    leave, status = HOW[how]

    def train(config: dict[str, Any]) -> Any:
        tune.report(loss=1.0)
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its warnings and traceback
            tune.report(loss=-1e9)
            return leave()
        tune.report(loss=2.0, status=status_of(pid))
        return None

    analysis = run(train, tmp_path, executor)
    for found in (analysis, tune.ExperimentAnalysis(str(tmp_path / "e"))):
        assert [trial.status for trial in found.trials] == ["TERMINATED"] * 3
        assert [trial.last_result["loss"] for trial in found.trials] == [2.0] * 3
        assert [trial.last_result["status"] for trial in found.trials] == [status] * 3
        assert [trial.last_result["training_iteration"] for trial in found.trials] == [2] * 3


class Forks(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.n = 0

    def step(self) -> dict[str, Any]:
        self.n += 1
        pid = os.fork()
        if pid == 0:
            return {"loss": -1e9}
        return {"loss": float(self.n), "status": status_of(pid), "done": self.n == 3}

    def save_checkpoint(self, directory: str) -> dict[str, Any]:
        return {"n": self.n}

    def load_checkpoint(self, saved: Any) -> None:
        self.n = saved["n"]


def test_the_child_of_a_step_saves_nothing_and_ends(tmp_path: Path, executor: str) -> None:
    checkpoints = tune.CheckpointConfig(checkpoint_frequency=1)
    analysis = run(Forks, tmp_path, executor, checkpoint_config=checkpoints)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3
    assert [trial.last_result["loss"] for trial in analysis.trials] == [3.0] * 3
    assert [trial.last_result["status"] for trial in analysis.trials] == [0] * 3


def test_multiprocessing_by_fork_goes_on_as_ever(tmp_path: Path, executor: str) -> None:
    """A pool of a trial, as data loaders have; a nested run in a forked child is a run of its own."""

    def nested(folder: str) -> None:
        tune.run(lambda config: {"loss": 1.0}, storage_path=folder, executor="inline", verbose=0, num_samples=2)

    def train(config: dict[str, Any]) -> None:
        context = multiprocessing.get_context("fork")
        child = context.Process(target=nested, args=(str(tmp_path / tune.get_trial_id()),))
        child.start()
        child.join()
        tune.report(loss=1.0, code=child.exitcode)

    analysis = run(train, tmp_path, executor)
    assert [trial.last_result["code"] for trial in analysis.trials] == [0] * 3
    for trial in analysis.trials:
        assert len(list((tmp_path / trial.trial_id).iterdir())) == 1


def test_the_child_of_a_trial_that_is_being_left_ends(tmp_path: Path, executor: str) -> None:
    """Forked in a `finally` block, when the trial is told to stop, or a paused one is left for good."""
    forked = tmp_path / "forked"
    forked.mkdir()

    def train(config: dict[str, Any]) -> None:
        try:
            for step in range(30):
                tune.report(loss=config["x"] - step)
        finally:
            pid = os.fork()
            if pid:
                (forked / f"{pid} {status_of(pid)}").touch()

    analysis = run(
        train,
        tmp_path,
        executor,
        config={"x": tune.grid_search([1.0, 2.0, 3.0])},
        scheduler=HyperBandScheduler(max_t=9),
    )
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 9
    assert analysis.experiment_path is not None
    assert len(tune.ExperimentAnalysis(analysis.experiment_path).trials) == 9
    assert {name.name.split()[1] for name in forked.iterdir()} == {"0"}


@pytest.mark.parametrize("where", ["trial", "hook"])
def test_a_child_ends_by_the_signal_that_it_is_sent(tmp_path: Path, executor: str, where: str) -> None:
    """A pool ends its processes by SIGTERM; the run's own handlers are no business of theirs."""
    statuses = []

    def end_a_child() -> int:
        heard, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(told, b"up")  # what comes during the fork itself is lost on every Python process with a handler
            time.sleep(10)
            os._exit(3)
        os.read(heard, 2)
        os.close(heard)
        os.close(told)
        os.kill(pid, signal.SIGTERM)
        return status_of(pid)

    class Hook(tune.Callback):
        def on_trial_start(self, **info: Any) -> None:
            statuses.append(end_a_child())

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0, status=end_a_child() if where == "trial" else -signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    analysis = run(train, tmp_path, executor, callbacks=[Hook()] if where == "hook" else [])
    assert [trial.last_result["status"] for trial in analysis.trials] == [-signal.SIGTERM] * 3
    assert statuses == ([-signal.SIGTERM] * 3 if where == "hook" else [])
    assert signal.getsignal(signal.SIGTERM) == before


PLACES = ("sample_from", "resources", "trial_name_creator", "trial_dirname_creator", "repr")


def in_few_ways(_: str, how: str, executor: str) -> bool:
    """With workers once for each place."""
    return executor == "inline" or how == "returns"


@pytest.mark.parametrize(
    ("where", "how", "executor"), thinned(itertools.product(PLACES, HOW, ["inline", "thread", "process"]), in_few_ways)
)
def test_the_child_of_a_function_of_the_space_or_of_names_ends(
    tmp_path: Path, executor: str, how: str, where: str
) -> None:
    """It does not come out of tune.run, and touches nothing of the run."""
    leave, status = HOW[how]
    seen: list[int] = []

    def fork(here: str) -> None:
        if here != where or seen:
            return
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            leave()
            seen.append(-1)  # comes back as if nothing had been
            return
        seen.append(status_of(pid))

    class Shown:
        def __repr__(self) -> str:
            fork("repr")
            return "shown"

    def drawn(_: Any) -> float:
        fork("sample_from")
        return 1.0

    def needs(config: dict[str, Any]) -> dict[str, float]:
        fork("resources")
        return {"cpu": 1}

    def named(here: str) -> Any:
        def name(trial: Any) -> str:
            fork(here)
            return str(trial.trial_id)

        return name

    def train(config: dict[str, Any]) -> None:
        for step in range(3):
            tune.report(loss=config["x"] + step)

    parent = os.getpid()
    try:
        analysis = run(
            tune.with_resources(train, needs) if where == "resources" else train,
            tmp_path,
            executor,
            config={"x": tune.sample_from(drawn), "shown": Shown()},
            trial_name_creator=named("trial_name_creator") if where == "trial_name_creator" else None,
            trial_dirname_creator=named("trial_dirname_creator") if where == "trial_dirname_creator" else None,
        )
    finally:
        if os.getpid() != parent:
            os._exit(99)  # it has come out
    if executor == "inline":
        # an error may be a trial's failure first, and the child ends at the next turn of the run; a repr may not be asked for
        assert seen in ([status], [0], [])
        assert seen or where == "repr"
    for found in (analysis, tune.ExperimentAnalysis(str(tmp_path / "e"))):
        assert [trial.status for trial in found.trials] == ["TERMINATED"] * 3
        assert [trial.last_result["training_iteration"] for trial in found.trials] == [3] * 3


def test_a_child_that_lives_on_keeps_nothing_locked(tmp_path: Path) -> None:
    """Inline the lock of the experiment is this process's: its trial's child does not inherit it."""
    waits, goes = os.pipe()
    pids: list[int] = []

    def train(config: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            os.close(goes)
            os.read(waits, 1)
            os._exit(0)
        pids.append(pid)
        tune.report(loss=1.0)

    try:
        first = run(train, tmp_path, "inline")
        more = run(lambda config: {"loss": 0.0}, Path(first.experiment_path).parent, "inline")
        assert len(more.trials) == 3
    finally:
        os.write(goes, b"." * 10)
        os.close(goes)
        for pid in pids:
            os.waitpid(pid, 0)
        os.close(waits)


class ForksInHook(tune.Callback):
    """Forks once, at the first result; the child leaves the hook as it is told to."""

    def __init__(self, leave: Any) -> None:
        self.leave = leave
        self.status: int | None = None

    def on_trial_result(self, *arguments: Any, **named: Any) -> None:
        if self.status is not None:
            return
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its traceback
            self.leave()
            return
        self.status = status_of(pid)


class AsksAndForks(TrialScheduler):
    def __init__(self, forks: ForksInHook) -> None:
        super().__init__()
        self.forks = forks

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self.forks.on_trial_result()
        return self.CONTINUE


@pytest.mark.parametrize(
    ("where", "how", "executor"),
    thinned(itertools.product(["callback", "scheduler"], HOW, ["inline", "thread", "process"]), in_few_ways),
)
def test_the_child_of_a_hook_ends_when_it_comes_back(tmp_path: Path, executor: str, how: str, where: str) -> None:
    leave, status = HOW[how]
    forks = ForksInHook(leave)

    def train(config: dict[str, Any]) -> None:
        for i in range(5):
            tune.report(loss=float(i))

    given: dict[str, Any] = {"callbacks": [forks]} if where == "callback" else {"scheduler": AsksAndForks(forks)}
    analysis = run(train, tmp_path, executor, **given)
    assert forks.status == status
    for found in (analysis, tune.ExperimentAnalysis(str(tmp_path / "e"))):
        assert [trial.status for trial in found.trials] == ["TERMINATED"] * 3
        assert [trial.last_result["training_iteration"] for trial in found.trials] == [5] * 3
