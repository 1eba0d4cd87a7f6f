"""The CPUs and the memory that a container really leaves, from faked /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from fasttune.devices.gpus import Gpu, visible_gpus
from fasttune.devices.machine import Machine, detect

CG = "sys/fs/cgroup"
EIGHT = tuple(range(8))
DOCKER_V1 = "4:cpu,cpuacct:/docker/abc\n3:cpuset:/docker/abc\n2:memory:/docker/abc\n1:name=systemd:/docker\n"
NO_LIMIT_V1 = "9223372036854771712"

# name: (files, affinity, CPUs, may be bound)
CONTAINERS = {
    "no cgroup files at all": ({}, EIGHT, EIGHT, True),
    "v2 host without limits": ({"proc/self/cgroup": "0::/"}, EIGHT, EIGHT, True),
    "v2 quota of 2": (
        {"proc/self/cgroup": "0::/", f"{CG}/cpu.max": "200000 100000\n"}, EIGHT, (0, 1), False,
    ),
    "v2 quota of 1.5 is rounded up": (
        {"proc/self/cgroup": "0::/", f"{CG}/cpu.max": "150000 100000"}, EIGHT, (0, 1), False,
    ),
    "v2 quota below one CPU": (
        {"proc/self/cgroup": "0::/", f"{CG}/cpu.max": "25000 100000"}, EIGHT, (0,), False,
    ),
    "v2 cpuset, no quota": (
        {"proc/self/cgroup": "0::/", f"{CG}/cpu.max": "max 100000", f"{CG}/cpuset.cpus.effective": "2-3,6\n"},
        EIGHT, (2, 3, 6), True,
    ),
    "v2 quota of the slice around": (
        {
            "proc/self/cgroup": "0::/user.slice/run.scope",
            f"{CG}/user.slice/cpu.max": "300000 100000",
            f"{CG}/user.slice/run.scope/cpu.max": "max 100000",
            f"{CG}/user.slice/run.scope/cpuset.cpus.effective": "",
            f"{CG}/user.slice/cpuset.cpus.effective": "0-5",
        },
        EIGHT, (0, 1, 2), False,
    ),
    "v2 container that sees the host's path": (
        {"proc/self/cgroup": "0::/../../kubepods/pod7", f"{CG}/cpu.max": "400000 100000"},
        EIGHT, (0, 1, 2, 3), False,
    ),
    "v1 docker: the host's path is not mounted": (
        {
            "proc/self/cgroup": DOCKER_V1,
            f"{CG}/cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
            f"{CG}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        EIGHT, (0, 1, 2, 3), False,
    ),
    "v1 quota -1 means none": (
        {
            "proc/self/cgroup": DOCKER_V1,
            f"{CG}/cpu/cpu.cfs_quota_us": "-1",
            f"{CG}/cpu/cpu.cfs_period_us": "100000",
        },
        EIGHT, EIGHT, True,
    ),
    "v1 cpuset": (
        {
            "proc/self/cgroup": DOCKER_V1,
            f"{CG}/cpuset/docker/abc/cpuset.cpus": "4-7",
            f"{CG}/cpuset/cpuset.cpus": "0-7",
        },
        EIGHT, (4, 5, 6, 7), True,
    ),
    "affinity is narrower than the quota": (
        {"proc/self/cgroup": "0::/", f"{CG}/cpu.max": "400000 100000"}, (5, 6), (5, 6), True,
    ),
    "hybrid: limits in v1, membership in both": (
        {
            "proc/self/cgroup": "3:cpu:/job\n0::/init.scope",
            f"{CG}/cpu/job/cpu.cfs_quota_us": "300000",
            f"{CG}/cpu/job/cpu.cfs_period_us": "100000",
            f"{CG}/unified/init.scope/cgroup.procs": "1",
        },
        EIGHT, (0, 1, 2), False,
    ),
    "membership unreadable, quota at the mount": ({f"{CG}/cpu.max": "200000 100000"}, EIGHT, (0, 1), False),
    "cpuset and affinity disagree": (
        {"proc/self/cgroup": "0::/", f"{CG}/cpuset.cpus.effective": "60-63"}, EIGHT, EIGHT, True,
    ),
    "files nobody can read": (
        {"proc/self/cgroup": "0::/\nnonsense", f"{CG}/cpu.max": "lots", f"{CG}/cpuset.cpus.effective": "a-b"},
        EIGHT, EIGHT, True,
    ),
}  # fmt: skip


def machine_of(root: Path, files: dict[str, str], affinity: tuple[int, ...] = EIGHT) -> Machine:
    for name, text in {"proc/meminfo": "MemTotal:       1048576 kB\nMemFree: 1 kB", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return detect({"CUDA_VISIBLE_DEVICES": ""}, str(root), affinity=affinity)


@pytest.mark.parametrize("case", CONTAINERS)
def test_containers_are_understood(tmp_path: Path, case: str) -> None:
    files, affinity, cpus, bind = CONTAINERS[case]
    machine = machine_of(tmp_path, files, affinity)
    assert (machine.cpus, machine.bind_cpus) == (cpus, bind)
    assert bool(machine.cpu_reason) == (not bind)


def test_a_quota_is_named_as_the_reason(tmp_path: Path) -> None:
    machine = machine_of(tmp_path, {"proc/self/cgroup": "0::/", f"{CG}/cpu.max": "150000 100000"})
    assert machine.cpu_reason == "a cgroup quota of 1.5 CPUs, on a mask of 8"


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({}, 2**30),
        ({"proc/self/cgroup": "0::/", f"{CG}/memory.max": "max"}, 2**30),
        ({"proc/self/cgroup": "0::/", f"{CG}/memory.max": "536870912\n"}, 2**29),
        ({"proc/self/cgroup": "0::/a/b", f"{CG}/a/memory.max": "1000", f"{CG}/a/b/memory.max": "2000"}, 1000),
        ({"proc/self/cgroup": DOCKER_V1, f"{CG}/memory/memory.limit_in_bytes": NO_LIMIT_V1}, 2**30),
        ({"proc/self/cgroup": DOCKER_V1, f"{CG}/memory/memory.limit_in_bytes": "4096"}, 4096),
    ],
)
def test_memory_is_what_the_cgroup_leaves(tmp_path: Path, files: dict[str, str], size: int) -> None:
    assert machine_of(tmp_path, files).memory_bytes == size


def test_this_machine_has_a_cpu_and_memory() -> None:
    machine = detect()
    assert len(machine.cpus) >= 1
    assert machine.memory_bytes > 2**20


def test_memory_without_proc_comes_from_psutil(tmp_path: Path) -> None:
    assert detect({"CUDA_VISIBLE_DEVICES": ""}, str(tmp_path), affinity=[0]).memory_bytes > 2**20


@pytest.mark.parametrize("text", ["0-99999999999", "0-" + "9" * 5000, "9" * 5000, "²", "1-²", "5-3", "-", "0,,1", "٣"])
def test_lists_of_cpus_that_no_system_writes(text: str) -> None:
    from fasttune.devices.cgroups import cpu_list

    assert cpu_list(text) == set()


def test_numbers_that_no_system_writes(tmp_path: Path) -> None:
    """Limits of a control group that are no limits, and a division by nothing."""
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/\n")
    for meminfo in ("MemTotal:", "MemTotal: x kB", "MemTotal: " + "9" * 5000 + " kB"):
        for limit in ("", "max", "100 0", "0 0", "9" * 5000 + " 1", "1 " + "9" * 400, "² ²", "1 2 3"):
            (tmp_path / "proc" / "meminfo").write_text(meminfo)
            (group / "cpu.max").write_text(limit)
            (group / "memory.max").write_text(limit.partition(" ")[0])
            machine = detect({"CUDA_VISIBLE_DEVICES": ""}, str(tmp_path), affinity=range(4))
            assert len(machine.cpus) == 4
            assert machine.memory_bytes >= 0


def test_numbers_in_cuda_visible_devices_that_no_driver_knows() -> None:
    gpus = (Gpu("GPU-a", index=0), Gpu("GPU-b", index=1))
    for text in ("9" * 5000, "²", "٣", "-1", "1" + "0" * 30, "", ",", "GPU-", "\0"):
        assert visible_gpus(gpus, text) == ()
    assert visible_gpus(gpus, "1," + "9" * 5000 + ",0") == gpus[1:]
