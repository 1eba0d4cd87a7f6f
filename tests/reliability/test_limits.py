"""Full disks, few descriptors, a second driver (C2 rows 4, 9, 25)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crash_script
import pytest
from laboratory import SOURCE, Lab, check_acks, numbers_of

import fasttune as tune
import forks
from fasttune.error import ExperimentLockedError

LIMITED = """
import json, resource, sys
told = json.loads(sys.argv[1])
if told.get("files"):
    resource.setrlimit(resource.RLIMIT_NOFILE, (told["files"], told["files"]))
if told.get("bytes"):
    resource.setrlimit(resource.RLIMIT_FSIZE, (told["bytes"], told["bytes"]))
sys.path.insert(0, told["scripts"])
import crash_script
analysis = crash_script.run(told)
print(json.dumps([trial.status for trial in analysis.trials]))
"""


def limited(told: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """A run under limits of the system, in a process of its own."""
    told = {**told, "scripts": str(Path(crash_script.__file__).parent)}
    return forks.run(
        [sys.executable, "-c", LIMITED, json.dumps(told)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
    )


# -- a second driver -----------------------------------------------------------------------------------------


def test_C2_9_a_second_driver_is_refused_naming_the_first(lab: Lab) -> None:
    first = lab.start(lab.told("endless", "process", samples=2, workers=2))
    assert lab.wait_for_acks(10, first)
    told = lab.told("endless", "process", samples=2, resume="AUTO")
    for _ in range(8):
        with pytest.raises(ExperimentLockedError, match=rf"being written by process {first.pid}: "):
            crash_script.run(told)
    assert first.poll() is None
    before = len(lab.acks())
    assert lab.wait_for_acks(10, first), "the first driver was disturbed"
    assert len(lab.acks()) > before


def test_C2_9_reading_beside_the_driver_disturbs_nobody(lab: Lab, executor: str) -> None:
    """What was committed can be looked at at any time, as often as one likes; reports become more, never fewer."""
    process = lab.start(lab.told("steady", executor, samples=400, reports=4, workers=2))
    assert lab.wait_for_acks(30, process)
    seen = 0
    for _ in range(10):
        now = len(numbers_of(lab.reopen()))
        assert now >= seen
        seen = now
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["statuses"] == ["TERMINATED"] * 400
    assert check_acks(lab, lab.reopen()) == 1600


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_C2_9_two_drivers_that_start_at_once(
    lab: Lab, rounds: int, record_property: Callable[[str, object], None]
) -> None:
    """They get two folders, or one of them is refused at once: never one journal for two."""
    for _ in range(rounds):
        both = [lab.start(lab.told("steady", "inline", samples=20)) for _ in range(2)]
        for process in both:
            _, err = process.communicate(timeout=30)
            assert process.returncode == 0 or "ExperimentLockedError" in err or "already an experiment" in err
    found = [path for path in Path(lab.folder).glob("crash*") if (path / "experiment.db").exists()]
    numbers = [number for path in found for number in numbers_of(tune.ExperimentAnalysis(str(path))._source)]
    assert len(numbers) == len(set(numbers))
    assert set(lab.acks()) <= set(numbers)
    record_property("pairs at once", rounds)


def test_C2_9_the_name_of_a_killed_owner_is_never_told(tmp_path: Path) -> None:
    """The lock's file may still hold the number of a dead process: the lock is free all the same."""
    from fasttune.storage.recovery import LOCK_FILE, ExperimentLock, writer_of

    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    (tmp_path / LOCK_FILE).write_text(f"{child.pid}\n")
    lock = ExperimentLock(str(tmp_path))
    with pytest.raises(ExperimentLockedError, match=f"process {os.getpid()}: "):
        ExperimentLock(str(tmp_path))
    assert writer_of(str(tmp_path)) == os.getpid()
    lock.release()
    assert writer_of(str(tmp_path)) is None
    ExperimentLock(str(tmp_path)).release()


def test_who_looks_whether_somebody_writes_is_in_nobodys_way(tmp_path: Path) -> None:
    """The number in the file is that of a living process, which wrote the experiment before: it is not blamed for the
    reader that holds the lock for a moment."""
    import fcntl

    from fasttune.storage.recovery import LOCK_FILE, ExperimentLock

    (tmp_path / LOCK_FILE).write_text(f"{os.getpid()}\n")
    with (tmp_path / LOCK_FILE).open("rb") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        release = threading.Timer(0.05, fcntl.flock, (looked_at, fcntl.LOCK_UN))
        release.start()
        ExperimentLock(str(tmp_path)).release()
        release.join()


# -- a full disk ---------------------------------------------------------------------------------------------


def test_C2_4_a_full_disk_is_an_error_and_the_journal_opens(lab: Lab, executor: str) -> None:
    """No file may grow beyond 6 MB, which a journal of endless reports does: OSError with the reason, and everything
    that was acknowledged is there."""
    told = lab.told("storm", executor, samples=2, workers=2, reports=120_000)
    done = limited({**told, "bytes": 6 << 20})
    assert done.returncode == 1
    assert "OSError: [Errno 5] cannot write the journal: disk I/O error" in done.stderr.strip().splitlines()[-1]
    state = lab.reopen()
    check_acks(lab, state)
    assert len(numbers_of(state)) > 1000


def test_C2_4_no_room_for_even_a_ring_is_an_error_before_any_trial(lab: Lab, executor: str) -> None:
    done = limited(lab.told("steady", executor, samples=2, bytes=1 << 20))
    assert done.returncode == 1
    assert "OSError" in done.stderr.strip().splitlines()[-1]
    assert lab.acks() == []
    analysis = crash_script.run(lab.told("steady", executor, samples=2, resume="AUTO"))
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}


# -- few descriptors -----------------------------------------------------------------------------------------


def test_C2_25_few_open_files_mean_few_workers(lab: Lab) -> None:
    """A hundred trials would fit at once; 64 descriptors are enough for all of them, on fewer workers."""
    done = limited(lab.told("steady", "process", samples=100, cpu=0.001, workers=100, files=64))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["TERMINATED"] * 100


def test_C2_25_too_few_open_files_are_named(lab: Lab) -> None:
    done = limited(lab.told("steady", "process", samples=2, files=24))
    assert done.returncode == 1
    assert "open files" in done.stderr
    assert "24" in done.stderr
