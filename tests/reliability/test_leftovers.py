"""What is left when a run has ended: nothing (C2 rows 18, 19; P13)."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from laboratory import MARK, Lab, check_acks, wait_until

import fasttune as tune
import forks

pytestmark = pytest.mark.usefixtures("no_resting_server")


def children_of(pid: int) -> list[int]:
    """All descendants of a process."""
    found: list[int] = []
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            for word in file.read().split():
                found += [int(word), *children_of(int(word))]
    except OSError:
        pass
    return found


def open_files() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return sorted(found)


def files_below(folder: Path | str) -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*") if not path.is_dir())


def quick(config: dict[str, Any]) -> None:
    tune.report({"loss": config["x"]})


def failing(config: dict[str, Any]) -> None:
    tune.report({"loss": config["x"]})
    raise ValueError("on purpose")


def interrupting(config: dict[str, Any]) -> None:
    tune.report({"loss": config["x"]})
    try:
        os.mkdir(config["once"])  # the first of them presses Ctrl-C
        os.kill(config["driver"], signal.SIGINT)
    except FileExistsError:
        pass
    while True:
        tune.report({"loss": config["x"]})


def a_run(trainable: Any, executor: str, folder: Path, samples: int = 4, **more: Any) -> tune.ExperimentAnalysis:
    return tune.run(
        trainable,
        config={"x": tune.uniform(0, 1), "driver": os.getpid(), "once": str(folder) + ".once"},
        num_samples=samples,
        storage_path=folder,
        name="run",
        metric="loss",
        mode="min",
        seed=1,
        verbose=0,
        executor=executor,
        raise_on_failed_trial=False,
        **more,
    )


# -- processes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_C2_18_nobody_outlives_a_killed_driver(lab: Lab, workers: int) -> None:
    """Workers, the server, their children, and children that have left the process group."""
    process = lab.start(lab.told("brood", "process", samples=workers, workers=workers))
    assert lab.wait_for_acks(30, process)
    wait_until(lambda: len(lab.marked()) >= 2 + 3 * workers, "driver, server, and each worker with two children")
    process.kill()
    process.wait()
    lab.nobody_left()
    check_acks(lab, lab.reopen())


def test_C2_18_nobody_outlives_the_end_of_a_run(lab: Lab) -> None:
    """A trial that is killed by the time budget, with its children."""
    # Both are to be under way when it is up, on a machine that is busy, too.
    process = lab.start(lab.told("brood", "process", samples=2, workers=2, budget=2.0))
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    lab.nobody_left()
    assert '"TERMINATED", "TERMINATED"' in out


# -- files, descriptors, memory ------------------------------------------------------------------------------


@pytest.mark.parametrize("trainable", [quick, failing, interrupting])
def test_C2_19_a_run_leaves_its_journal_and_nothing_else(
    tmp_path: Path, executor: str, trainable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a normal end, failures and Ctrl-C: no process, descriptor, ring, shared memory or temporary file."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv(MARK, tmp_path.name)
    a_run(quick, executor, tmp_path / "before")
    gc.collect()
    shared, descriptors = set(os.listdir("/dev/shm")), open_files()
    analysis = a_run(trainable, executor, tmp_path / "results")
    assert set(children_of(os.getpid())) <= forks.pids()
    assert files_below(temporary) == []
    wait_until(lambda: set(os.listdir("/dev/shm")) <= shared, "nothing new in /dev/shm")  # other programs come and go there
    names = {os.path.relpath(path, analysis.experiment_path) for path in files_below(analysis.experiment_path)}
    assert names == {"experiment.db", ".lock"}
    assert sorted(os.listdir(analysis.experiment_path)) == [".lock", "experiment.db"]
    del analysis
    gc.collect()
    assert open_files() == descriptors


def test_the_rungs_of_runs_that_are_over_hold_no_files(tmp_path: Path) -> None:
    """Also while their schedulers are kept, which are asked what they have decided, and before the collector comes."""
    scheduler = tune.create_scheduler("asha", max_t=3)
    a_run(quick, "process", tmp_path, scheduler=scheduler)
    before = open_files()
    schedulers = [tune.create_scheduler("asha", max_t=3) for _ in range(3)]
    gc.disable()
    try:
        analyses = [a_run(quick, "process", tmp_path / str(k), scheduler=one) for k, one in enumerate(schedulers)]
        assert [name for name in open_files() if "rungs" in name] == [name for name in before if "rungs" in name]
    finally:
        gc.enable()
    assert len(analyses) == 3
    assert all("num_stopped=" in one.debug_string() for one in schedulers)


def test_C2_19_many_runs_open_no_more_files_than_one(tmp_path: Path, executor: str) -> None:
    a_run(quick, executor, tmp_path)
    gc.collect()
    before = open_files()
    runs = 30 if executor == "inline" else 6
    analyses = [a_run(quick, executor, tmp_path, 2) for _ in range(runs)]
    opened = [tune.ExperimentAnalysis(one.experiment_path) for one in analyses]
    assert len({one.experiment_path for one in analyses}) == runs
    assert [len(one.trials) for one in opened] == [2] * runs
    assert open_files() == before


def test_C2_19_a_raising_callback_leaves_nothing(tmp_path: Path, executor: str) -> None:
    """Whatever a user's stopper raises ends the run; its workers and files go all the same, its reports stay."""

    class Raises(tune.stopper.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            raise RuntimeError("on purpose")

        def stop_all(self) -> bool:
            return False

    before = open_files()
    with pytest.raises(RuntimeError, match="on purpose"):
        a_run(quick, executor, tmp_path, stop=Raises())
    gc.collect()
    assert set(children_of(os.getpid())) <= forks.pids()
    assert sorted(os.listdir(tmp_path / "run")) == [".lock", "experiment.db"]
    assert open_files() == before
    assert len(tune.ExperimentAnalysis(str(tmp_path / "run")).dataframe()) >= 1


def test_P13_ten_thousand_trials_are_at_most_ten_files(tmp_path: Path, executor: str) -> None:
    analysis = a_run(quick, executor, tmp_path, 10_000)
    assert len(analysis.trials) == 10_000
    assert len(files_below(tmp_path)) <= 10
    tune.ExperimentAnalysis(analysis.experiment_path)
    assert len(files_below(tmp_path)) <= 10


def test_C2_27_nothing_is_written_outside_of_the_experiment(lab: Lab, executor: str) -> None:
    """A read-only /tmp (and home, and /dev/shm) is no obstacle: no file outside of the storage folder is written."""
    import subprocess
    import sys

    from laboratory import SOURCE

    script = (
        "import sys, os\n"
        "seen = []\n"
        "def hook(event, args):\n"
        "    if event == 'open' and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):\n"
        "        seen.append(os.path.abspath(args[0]))\n"
        "    elif event in ('os.mkdir', 'tempfile.mkstemp', 'tempfile.mkdtemp', 'socket.bind'):\n"
        "        seen.append(os.path.abspath(str(args[0])))\n"
        "sys.addaudithook(hook)\n"
        "import fasttune as tune\n"
        "def trial(config):\n"
        "    tune.report({'loss': config['x']})\n"
        "tune.run(trial, config={'x': tune.uniform(0, 1)}, num_samples=20, name='crash',\n"
        f"         storage_path={str(lab.folder)!r}, executor={executor!r}, verbose=0, metric='loss', mode='min')\n"
        f"print([path for path in seen if not path.startswith({str(lab.folder)!r})])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/proc/none"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
