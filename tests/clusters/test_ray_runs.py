"""Runs on a Ray cluster, from ``tune.run`` to their results, beside the same runs in worker processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune import _core
from fasttune.executors.ray import RayExecutor
from fasttune.schedulers import ASHAScheduler, PopulationBasedTraining
from fasttune.storage.reader import SqliteReader

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

PATIENCE_S = 60.0
SPACE = {"x": tune.uniform(0.0, 1.0)}


def run(trainable: Any, folder: Path, name: str = "run", **more: Any) -> Any:
    more = {"config": SPACE, "num_samples": 4, "metric": "loss", "mode": "min", "seed": 3, "verbose": 0, "executor": "ray", **more}
    return tune.run(trainable, storage_path=str(folder), name=name, **more)


def until(holds: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"it never came true that {what}"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def falling(config: dict[str, Any]) -> None:
    for step in range(1, 28):
        tune.report(loss=config["x"] + 1 / step)


def records(path: str) -> list[tuple[Any, ...]]:
    """What trials did, without times, process ids and whose ring it was."""
    found: list[tuple[Any, ...]] = []
    for source, _, data in SqliteReader(path).read():
        if source:
            for kind, flags, _, trial, step, _, payload in _core.decode(data):
                found.append((kind, flags, trial, step, b"" if kind == _core.KIND_START else payload))
    return found


def test_asha_decides_in_lockstep_what_it_decides_in_processes(tmp_path: Path) -> None:
    journals = []
    for executor in ("process", "ray"):
        scheduler = ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3, brackets=2, seed=5)
        analysis = run(
            falling, tmp_path, executor, executor=executor, scheduler=scheduler, num_samples=60, max_concurrent_trials=1
        )
        assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
        journals.append(records(str(tmp_path / executor)))
    assert journals[0] == journals[1]
    judged = sum(kind == _core.KIND_REPORT and bool(flags & 8) for kind, flags, *_ in journals[0])
    assert judged > 60


def test_many_short_trials_are_all_run_once(tmp_path: Path) -> None:
    analysis = run(falling, tmp_path, num_samples=3000)
    assert len(analysis.trials) == 3000
    assert {trial.last_result["training_iteration"] for trial in analysis.trials} == {27}


def test_a_run_that_was_begun_in_processes_goes_on_there(tmp_path: Path) -> None:
    def asha() -> Any:
        return ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3)

    class Ends(tune.Callback):
        def on_trial_complete(self, **told: Any) -> None:
            if told["trial"].index == 20:
                os.kill(os.getpid(), signal.SIGUSR1)

    first = run(falling, tmp_path, scheduler=asha(), num_samples=400, executor="process", callbacks=[Ends()])
    assert len([trial for trial in first.trials if trial.status == "TERMINATED"]) < 400
    analysis = run(falling, tmp_path, scheduler=asha(), num_samples=400, resume="AUTO")
    assert len(analysis.trials) == 400
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert analysis.verify(asha()) == []


class Stepping(tune.Trainable):
    """Its state is in files."""

    def setup(self, config: dict[str, Any]) -> None:
        self.total = 0.0

    def step(self) -> dict[str, Any]:
        time.sleep(0.02)  # so that one has not ended before the next one begins
        self.total += self.config["rate"]
        return {"loss": -self.total, "done": self.iteration >= 11}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "total").write_text(repr(self.total))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.total = float(Path(checkpoint, "total").read_text())


def faltering(config: dict[str, Any]) -> None:
    """Saves a directory at each step, and fails once at the fourth."""
    import tempfile

    begin = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            begin = int(Path(folder, "step").read_text())
    for step in range(begin + 1, 7):
        if step == 4 and begin == 0:
            raise RuntimeError("it falters")
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "step").write_text(str(step))
            Path(folder, "deep").mkdir()
            Path(folder, "deep", "weights").write_bytes(bytes(200_000))
            tune.report({"loss": config["x"], "begun_at": begin}, checkpoint=tune.Checkpoint.from_directory(folder))


@pytest.fixture(params=[True, False], ids=["one_folder", "folders_apart"])
def apart(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether actors see the experiment's folder, as on the driver's machine, or have to be sent what lies there."""
    if not request.param:
        monkeypatch.setattr(RayExecutor, "_leave_token", lambda self: "")
    return not request.param


def test_checkpoints_travel(tmp_path: Path, apart: bool) -> None:
    analysis = run(faltering, tmp_path, max_failures=1, num_samples=3)
    for trial in analysis.trials:
        assert trial.status == "TERMINATED"
        assert trial.num_failures == 1
        assert trial.last_result["begun_at"] == 3
        assert trial.last_result["training_iteration"] == 6
        saved = trial.checkpoint.path
        assert saved.startswith(str(tmp_path))
        assert Path(saved, "step").read_text() == "6"
        assert Path(saved, "deep", "weights").stat().st_size == 200_000
        numbered = sorted(one.name for one in Path(saved).parent.glob("checkpoint_*"))
        assert numbered == [f"checkpoint_{k:06d}" for k in range(6)]


def test_populations_copy_each_other(tmp_path: Path, apart: bool) -> None:
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations={"rate": tune.uniform(0.0, 1.0)}, clip=True,
        quantile_fraction=0.5, seed=1, log_config=True,
    )  # fmt: skip
    analysis = run(Stepping, tmp_path, scheduler=scheduler, config={"rate": tune.uniform(0.0, 1.0)}, num_samples=4)
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert {trial.last_result["training_iteration"] for trial in analysis.trials} == {12}
    assert (tmp_path / "run" / "pbt_global.txt").read_text()  # somebody was copied
    saved = list((tmp_path / "run").glob("*/checkpoint_*"))
    assert saved
    for one in saved:
        assert float((one / "total").read_text()) > 0.0


def test_what_trials_print_is_printed_here(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def talking(config: dict[str, Any]) -> None:
        print(f"hello from {config['x']:.3f}")
        print(f"trouble in {config['x']:.3f}", file=sys.stderr)
        os.system("echo hello from a child")
        tune.report(loss=1.0)

    analysis = run(talking, tmp_path, num_samples=2)
    out, errors = capfd.readouterr()
    for trial in analysis.trials:
        assert f"hello from {trial.config['x']:.3f}\n" in out
        assert f"trouble in {trial.config['x']:.3f}\n" in errors
        assert "trouble" not in out
    assert out.count("hello from a child\n") == 2


def test_a_process_that_dies_costs_its_trial(tmp_path: Path) -> None:
    def dying(config: dict[str, Any]) -> None:
        tune.report(loss=config["x"])
        if config["x"] < 0.5:
            os.kill(os.getpid(), signal.SIGKILL)

    analysis = run(dying, tmp_path, num_samples=12, raise_on_failed_trial=False)
    for trial in analysis.trials:
        assert trial.status == ("ERROR" if trial.config["x"] < 0.5 else "TERMINATED")
        if trial.status == "ERROR":
            assert "SIGKILL" in Path(trial.error_file).read_text()


def test_an_actor_that_dies_costs_its_trial_which_is_tried_again(tmp_path: Path) -> None:
    """Also when all trials had begun, and no actor is left."""

    def killing(config: dict[str, Any]) -> None:
        saved = tune.get_checkpoint()
        if saved is None:
            tune.report({"loss": config["x"], "attempt": 0}, checkpoint=tune.Checkpoint.from_dict({"attempt": 0}))
            server = os.getppid()
            os.kill(int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
            time.sleep(PATIENCE_S)
        tune.report(loss=config["x"], attempt=1)

    analysis = run(killing, tmp_path, num_samples=2, max_failures=1, durability="full")  # what was reported has come here
    told = [(trial.status, trial.num_failures, trial.last_result["attempt"]) for trial in analysis.trials]
    assert told == [("TERMINATED", 1, 1)] * 2


def test_actors_that_die_again_and_again_before_a_trial_is_heard_of_end_the_run(tmp_path: Path) -> None:
    def killing(config: dict[str, Any]) -> None:
        os.kill(int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
        time.sleep(PATIENCE_S)

    with pytest.raises(tune.TuneError, match=r"Ray actors in a row were lost before it was heard of a trial"):
        run(killing, tmp_path, num_samples=2)


def test_trials_end_at_their_time(tmp_path: Path) -> None:
    def endless(config: dict[str, Any]) -> None:
        tune.report(loss=config["x"])
        while config["x"] < 0.5:
            pass

    analysis = run(endless, tmp_path, trial_timeout_s=1.0, num_samples=6)
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert all(trial.last_result["loss"] == trial.config["x"] for trial in analysis.trials)


def test_the_run_ends_at_its_time(tmp_path: Path) -> None:
    def deaf(config: dict[str, Any]) -> None:
        tune.report(loss=config["x"])
        while True:
            time.sleep(1.0)

    analysis = run(deaf, tmp_path, time_budget_s=20.0, num_samples=40)  # actors that start are on this clock
    begun = [trial for trial in analysis.trials if trial.last_result]
    assert begun
    assert {trial.status for trial in begun} == {"TERMINATED"}


def test_what_was_reported_is_stored_before_it_counts(tmp_path: Path) -> None:
    analysis = run(falling, tmp_path, durability="full", num_samples=4)
    assert {trial.last_result["training_iteration"] for trial in analysis.trials} == {27}


def test_a_searcher_is_asked_one_by_one(tmp_path: Path) -> None:
    analysis = run(falling, tmp_path, search_alg="tpe", num_samples=30, max_concurrent_trials=2)
    assert {trial.last_result["training_iteration"] for trial in analysis.trials} == {27}


def test_what_nobody_has_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the largest node of the Ray cluster has 2 CPUs"):
        run(falling, tmp_path, resources_per_trial={"cpu": 3})
    with pytest.raises(ValueError, match=r"licence=1, the largest node .* ray start --resources"):
        run(falling, tmp_path, resources_per_trial={"cpu": 1, "licence": 1})
    with pytest.raises(ValueError, match=r"resources=.*is about this machine"):
        run(falling, tmp_path, resources={"licence": 2})


def test_trials_that_ask_for_different_things_get_them(tmp_path: Path) -> None:
    def threads(config: dict[str, Any]) -> None:
        tune.report(loss=0.0, got=int(tune.get_context().get_trial_resources().required_resources["CPU"]))

    analysis = run(
        threads, tmp_path, config={"n": tune.grid_search([1, 2, 1, 2])}, num_samples=1,
        resources_per_trial=lambda config: {"cpu": config["n"]}, max_concurrent_trials=1,
    )  # fmt: skip
    assert [trial.last_result["got"] for trial in analysis.trials] == [1, 2, 1, 2]


SCRIPT = """
import json, os, sys, time
import fasttune as tune

def slow(config):
    with open(os.path.join(config["folder"], f"pid-{os.getpid()}"), "w"):
        pass
    for step in range(1, 41):
        time.sleep(0.05)
        tune.report(loss=config["x"], step=step)

if __name__ == "__main__":
    folder = sys.argv[1]
    tune.run(
        slow, config={"x": tune.uniform(0, 1), "folder": folder}, num_samples=6, metric="loss", mode="min", executor="ray",
        storage_path=folder, name="run", resume="AUTO", verbose=0, seed=2,
    )
"""


def started(folder: Path, cluster: Any) -> subprocess.Popen[bytes]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    source = str(Path(tune.__file__).parent.parent)
    environ = {**os.environ, "RAY_ADDRESS": cluster.address, "PYTHONPATH": source}
    return subprocess.Popen([sys.executable, str(script), str(folder)], env=environ, start_new_session=True)


def pids(folder: Path) -> list[int]:
    return [int(one.name[4:]) for one in folder.glob("pid-*")]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_ends_takes_its_actors_along_and_is_gone_on_with(tmp_path: Path, cluster: Any, how: int) -> None:
    driver = started(tmp_path, cluster)
    try:
        until(lambda: len(pids(tmp_path)) == 2, "two trials run")
        until(lambda: (tmp_path / "run" / "experiment.db").exists() and reports(tmp_path / "run") > 10, "they have reported")
        workers = pids(tmp_path)
        assert all(map(is_running, workers))
        driver.send_signal(how)
        driver.wait(PATIENCE_S)
        until(lambda: not any(map(is_running, workers)), "the workers have ended with their driver")
    finally:
        if driver.poll() is None:
            driver.kill()
    again = started(tmp_path, cluster)
    assert again.wait(2 * PATIENCE_S) == 0
    analysis = tune.ExperimentAnalysis(str(tmp_path / "run"))
    assert len(analysis.trials) == 6
    assert {(trial.status, trial.last_result["step"]) for trial in analysis.trials} == {("TERMINATED", 40)}


def reports(path: Path) -> int:
    try:
        return sum(kind == _core.KIND_REPORT for kind, *_ in records(str(path)))
    except Exception:
        return 0  # it is just being made
