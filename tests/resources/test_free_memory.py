"""How much memory there still is: the machine's, or what the tightest control group leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from fasttune.devices.free_memory import free_memory

MEMORY = "MemTotal:       16000 kB\nMemFree:  1 kB\nMemAvailable:    8000 kB\n"
MACHINE = {"proc/meminfo": MEMORY, "proc/self/cgroup": "0::/pod/mine\n"}
STAT = "anon 100\nfile 7000000\ninactive_file 1000\nactive_file 500\nshmem 3\n"
POD = {"memory.max": "2000000\n", "memory.current": "1500000\n", "memory.stat": STAT}


def free_in(root: Path, files: dict[str, str]) -> int:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return free_memory(str(root))


def group(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"sys/fs/cgroup/{folder}/{name}": text for name, text in files.items()}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8_192_000),
        (group("pod", POD), 501_500),
        (group("pod", {**POD, "memory.max": "max\n"}), 8_192_000),
        (group("pod", {**POD, "memory.current": "9000000\n"}), 0),
        ({**group("pod", POD), **group("pod/mine", {**POD, "memory.max": "1500001"})}, 1501),
        (
            {
                "proc/self/cgroup": "4:memory:/job\n",
                **group("memory/job", {
                    "memory.limit_in_bytes": "3000000", "memory.usage_in_bytes": "1000000",
                    "memory.stat": "inactive_file 9\ntotal_inactive_file 7\ntotal_active_file 1\nodd\n",
                }),
            },
            2_000_008,
        ),
        ({"proc/self/cgroup": "4:memory:/job\n", **group("memory/job", {"memory.limit_in_bytes": str(2**63 - 4096)})}, 8_192_000),
    ],
    ids=["machine", "group", "no limit", "full", "inner group", "version 1", "version 1 without limit"],
)  # fmt: skip
def test_what_is_free(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert free_in(tmp_path, {**MACHINE, **files}) == expected


def test_this_machine_has_some() -> None:
    assert free_memory() > 0
