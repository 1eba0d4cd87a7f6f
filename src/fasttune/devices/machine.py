"""What this process may use of its machine: CPU ids, memory and GPUs.

``detect()`` reads affinity, cgroups v1 and v2, and NVML (``gpus.py``). A ``Machine`` is a value:
one with eight GPUs is one line in a test.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fasttune.devices.cgroups import ControlGroups, cpu_list, number_in, read
from fasttune.devices.gpu import Gpu, both
from fasttune.devices.gpu_links import described_links, read_distances
from fasttune.devices.gpus import choose_gpus, detect_gpus


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use of its machine.

    `cpus` are CPU ids. Where a quota allows fewer CPUs than the mask does, they are only as many ids as the
    quota allows, and `bind_cpus` is False: the threads may run anywhere, and binding them would crowd every
    container of the machine onto the same few.
    """

    cpus: tuple[int, ...]
    gpus: tuple[Gpu, ...] = ()
    memory_bytes: int = 0
    custom: Mapping[str, float] = field(default_factory=dict)
    bind_cpus: bool = True
    cpu_reason: str = ""  # why there are not more CPUs, "" if nothing limits them
    gpu_reason: str = ""  # why there are not more GPUs, "" if all are here
    called: str = "this machine"
    kinds_by: str = ""  # where custom kinds are declared, "" if that is the run

    @property
    def links(self) -> tuple[str, ...]:
        """What lies between its GPUs, as the driver says when it is asked: a line for each kind of link, the nearest first, such as
        "NVLink: 0-1, 2-3", with their indices. Empty with less than two, and where nobody knows."""
        return tuple(described_links(self.gpus, read_distances(self.gpus))) if len(self.gpus) > 1 else ()


def detect(
    environ: Mapping[str, str] | None = None,
    root: str = "/",
    *,
    affinity: Iterable[int] | None = None,
    gpus: Sequence[int | str] | None = None,
) -> Machine:
    """The CPUs, GPUs and memory that affinity, cgroups and CUDA_VISIBLE_DEVICES leave to this process.

    Args:
        environ: the environment; None: this process's.
        root: where /proc and /sys are read from.
        affinity: the CPU ids that the process may run on; None: asked from the system.
        gpus: use these only, see `choose_gpus`.
    """
    environ = os.environ if environ is None else environ
    groups = ControlGroups(root)
    cpus, bind_cpus, cpu_reason = _detect_cpus(groups, _affinity() if affinity is None else affinity)
    visible, gpu_reason = detect_gpus(environ, root)
    chosen = choose_gpus(visible, gpus)
    if len(chosen) < len(visible):
        gpu_reason = both(gpu_reason, f"gpus={gpus!r} chooses {len(chosen)} of {len(visible)} visible GPUs")
    return Machine(
        cpus=cpus,
        gpus=chosen,
        memory_bytes=_detect_memory(root, groups),
        bind_cpus=bind_cpus,
        cpu_reason=cpu_reason,
        gpu_reason=gpu_reason,
    )


# ------------------------------------------------------------------------------------------- CPUs and memory


def allowed_cpus(root: str = "/") -> set[int]:
    """The CPUs that the system leaves to whoever asks for no fewer: the online ones, or those of a cpuset. Empty: unknown."""
    online = cpu_list(read(root, "sys/devices/system/cpu/online"))
    cpuset = _cgroup_cpuset(ControlGroups(root))
    return online & cpuset or online if cpuset else online


def _affinity() -> Iterable[int]:
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _detect_cpus(groups: ControlGroups, affinity: Iterable[int]) -> tuple[tuple[int, ...], bool, str]:
    """CPU ids, whether they may be bound to, and what limits them."""
    allowed = sorted(affinity) or [0]
    cpuset = _cgroup_cpuset(groups)
    if cpuset & set(allowed):  # an empty intersection is a stale file, not a machine without CPUs
        allowed = sorted(cpuset & set(allowed))
    quota = _cgroup_quota(groups)
    if quota is None or math.ceil(quota) >= len(allowed):
        return tuple(allowed), True, ""
    count = max(1, math.ceil(quota))
    reason = f"a cgroup quota of {quota:g} CPUs, on a mask of {len(allowed)}"
    return tuple(allowed[:count]), False, reason


def _detect_memory(root: str, groups: ControlGroups) -> int:
    """Bytes of memory, a cgroup's limit included."""
    sizes = [_installed_memory(root)]
    for controller, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
        for folder in groups.folders(controller):
            size = number_in(read(folder, name))
            if size is not None:
                sizes.append(size)
    return min(sizes)


def _installed_memory(root: str) -> int:
    for line in read(root, "proc/meminfo").splitlines():
        if line.startswith("MemTotal:") and (kilobytes := number_in(line[9:].removesuffix("kB").strip())) is not None:
            return kilobytes * 1024
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().total)


def _cgroup_quota(groups: ControlGroups) -> float | None:
    """The CPUs' worth of time that the tightest quota grants, None without one."""
    quotas = []
    for folder in groups.folders(""):
        quotas.append(read(folder, "cpu.max").split())
    for folder in groups.folders("cpu"):
        quotas.append([read(folder, "cpu.cfs_quota_us"), read(folder, "cpu.cfs_period_us")])
    # "max" and -1 mean no quota
    pairs = [(number_in(q[0]), number_in(q[1])) for q in quotas if len(q) == 2]
    return min((quota / period for quota, period in pairs if quota and period), default=None)


def _cgroup_cpuset(groups: ControlGroups) -> set[int]:
    """The CPUs of the innermost cpuset that names any, empty without one."""
    for controller, names in (
        ("", ("cpuset.cpus.effective",)),
        ("cpuset", ("cpuset.effective_cpus", "cpuset.cpus")),
    ):
        for folder in groups.folders(controller):
            for name in names:
                cpus = cpu_list(read(folder, name))
                if cpus:
                    return cpus
    return set()
