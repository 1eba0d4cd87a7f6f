"""Kills for lack of memory, and limits on processes, as control groups of both versions tell them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.devices.cgroups import MemoryKills, process_limits
from fasttune.engine.opening import open_records
from fasttune.executors.worker_ends import reason

V2 = {
    "proc/self/cgroup": "0::/pod/mine\n",
    "sys/fs/cgroup/pod/memory.events": "low 0\noom 3\noom_kill 7\n",
    "sys/fs/cgroup/pod/memory.max": "536870912\n",
    "sys/fs/cgroup/pod/mine/memory.events": "low 0\nhigh 0\nmax 2\noom 2\noom_kill 1\noom_group_kill 0\n",
    "sys/fs/cgroup/pod/mine/memory.max": "max\n",
}
V1 = {
    "proc/self/cgroup": "4:memory:/pod/mine\n1:name=systemd:/\n0::/\n",
    "sys/fs/cgroup/memory/pod/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
    "sys/fs/cgroup/memory/pod/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/pod/mine/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "sys/fs/cgroup/memory/pod/mine/memory.limit_in_bytes": "268435456\n",
}


def write(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def count(root: Path, name: str, kills: int) -> None:
    """The kernel has killed so many in a group."""
    path = root / "sys/fs/cgroup" / name
    lines = [line for line in path.read_text().splitlines() if not line.startswith("oom_kill ")]
    path.write_text("\n".join([*lines, f"oom_kill {kills}"]) + "\n")


@pytest.mark.parametrize(
    ("files", "mine", "limit"),
    [
        (V2, "pod/mine/memory.events", "the cgroup's limit is 512 MiB (ROOT/sys/fs/cgroup/pod)"),
        (V1, "memory/pod/mine/memory.oom_control", "the cgroup's limit is 256 MiB (ROOT/sys/fs/cgroup/memory/pod/mine)"),
    ],
    ids=["v2", "v1"],
)
def test_a_kill_is_told_once_when_the_counter_has_gone_up(
    tmp_path: Path, files: dict[str, str], mine: str, limit: str
) -> None:
    kills = MemoryKills(write(tmp_path, files))
    assert kills.readable
    assert kills.next_one() is None, "those before do not count"
    count(tmp_path, mine, 3)
    told = limit.replace("ROOT", str(tmp_path))
    assert [kills.next_one() for _ in range(3)] == [told, told, None]
    count(tmp_path, mine, 4)
    assert kills.next_one() == told


def test_a_kill_in_another_group_is_not_ours(tmp_path: Path) -> None:
    kills = MemoryKills(write(tmp_path, V2))
    count(tmp_path, "pod/memory.events", 9)
    assert kills.next_one() is None


def test_a_container_whose_group_has_another_name_outside(tmp_path: Path) -> None:
    """The folder that /proc names is not there: the container's own counter is at the top."""
    files = {
        "proc/self/cgroup": "0::/kubepods/pod17/abc\n",
        "sys/fs/cgroup/memory.events": "oom_kill 0\n",
        "sys/fs/cgroup/memory.max": "1073741824\n",
    }
    kills = MemoryKills(write(tmp_path, files))
    count(tmp_path, "memory.events", 1)
    assert kills.next_one() == f"the cgroup's limit is 1024 MiB ({tmp_path}/sys/fs/cgroup/)"


def test_the_machines_own_count_where_no_group_counts(tmp_path: Path) -> None:
    kills = MemoryKills(write(tmp_path, {"proc/self/cgroup": "0::/\n", "proc/vmstat": "pgfault 5\noom_kill 2\n"}))
    assert kills.readable
    assert kills.next_one() is None
    (tmp_path / "proc/vmstat").write_text("pgfault 5\noom_kill 3\n")
    assert kills.next_one() == "the machine's memory was used up"


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill many\n", "oom_kill -1\n", "\0\xff"])
def test_counters_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    kills = MemoryKills(write(tmp_path, {**V2, "sys/fs/cgroup/pod/mine/memory.events": text}))
    count(tmp_path, "pod/memory.events", 8)
    assert kills.next_one() is not None, "then the next group outwards counts"
    nothing = MemoryKills(str(tmp_path / "nowhere"))
    assert not nothing.readable
    assert nothing.next_one() is None


def test_a_group_that_goes_away_is_no_kill(tmp_path: Path) -> None:
    kills = MemoryKills(write(tmp_path, V2))
    (tmp_path / "sys/fs/cgroup/pod/mine/memory.events").unlink()
    assert kills.next_one() is None


def test_what_is_said_of_a_sigkill(tmp_path: Path) -> None:
    kills = MemoryKills(write(tmp_path, V2))
    assert "killed from outside; the kernel counts no kill for lack of memory" in reason(-9, "", kills)
    count(tmp_path, "pod/mine/memory.events", 2)
    assert "out of memory" not in reason(-11, "", kills), "a segmentation fault is one"
    text = reason(-9, "the stack", kills)
    assert text.startswith("The worker process of this trial died of SIGKILL: out of memory, the kernel killed it; the cgr")
    assert "the cgroup's limit is 512 MiB" in text
    assert text.endswith("\nthe stack")
    assert "killed from outside" in reason(-9, "", kills)
    unknown = MemoryKills(str(tmp_path / "nowhere"))
    assert "whether for lack of memory cannot be read on this system" in reason(-9, "", unknown)


def test_a_trial_that_dies_while_the_kernel_counts_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two workers that are killed, one was out of memory."""
    import os
    import signal

    from fasttune.executors import process

    root = tmp_path / "root"
    write(root, V2)
    monkeypatch.setattr(process, "MemoryKills", lambda: MemoryKills(str(root)))

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": 1.0})
        if config["n"] == 1:
            count(root, "pod/mine/memory.events", 2)
        os.kill(os.getpid(), signal.SIGKILL)

    analysis = tune.run(
        trial,
        config={"n": tune.grid_search([0, 1, 2])},
        storage_path=tmp_path,
        verbose=0,
        max_concurrent_trials=1,
        raise_on_failed_trial=False,
    )
    state = open_records(analysis.experiment_path)
    texts = [state.failure(i).text for i in range(3)]  # type: ignore[union-attr]
    assert ["out of memory" in text for text in texts] == [False, True, False]


def test_limits_on_processes_are_named(tmp_path: Path) -> None:
    import resource

    files = {
        "proc/self/cgroup": "8:pids:/pod/mine\n0::/pod\n",
        "sys/fs/cgroup/pids/pod/mine/pids.max": "80\n",
        "sys/fs/cgroup/pids/pod/mine/pids.current": "79\n",
        "sys/fs/cgroup/pids/pod/pids.max": "max\n",
        "sys/fs/cgroup/pod/pids.max": "500\n",
        "proc/sys/kernel/pid_max": "32768\n",
    }
    text = process_limits(write(tmp_path, files))
    assert f"pids.max of {tmp_path}/sys/fs/cgroup/pids/pod/mine is 80 (79 in use)" in text
    assert f"pids.max of {tmp_path}/sys/fs/cgroup/pod is 500" in text
    assert "kernel.pid_max is 32768" in text
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    assert (f"RLIMIT_NPROC (ulimit -u) is {most}" in text) == (most != resource.RLIM_INFINITY)
