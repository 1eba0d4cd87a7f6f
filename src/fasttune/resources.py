"""What a trial asks for, what the machine has, and who gets which of it.

    PlacementGroupFactory    a request: bundles of amounts, the sum of which one trial needs
    Machine, detect()        the supply: CPU ids, GPUs and memory that this process may really use
    Supply                   the books: a request becomes a Placement, or says what is missing
    trial_environ()          a Placement becomes the environment of the trial's process

Everything but `detect` is a pure function of its arguments: a machine with eight GPUs is one line in a test.
Nothing here creates a CUDA context; GPUs are read through NVML.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fasttune._core import Grant, Ledger

UNITS = 10_000  # of one CPU or GPU: the smallest share is 1/10,000
STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

# -------------------------------------------------------------------------------------------------- requests


def _amount(name: str, value: Any) -> float:
    """The amount as a float. Numbers only: "1" would be a typo that counts."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        amount = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"resource {name!r} must be a number >= 0, got {value!r}") from None
    if not 0 <= amount < math.inf:
        raise ValueError(f"resource {name!r} must be a finite number >= 0, got {value!r}")
    if name == "GPU" and amount > 1 and amount != int(amount):
        raise ValueError(
            f"gpu must be a whole number when it is more than 1, got {value!r}: fractions share one device"
        )
    if 0 < amount < 0.5 / UNITS:
        raise ValueError(f"resource {name!r} must be 0 or at least 0.0001, the smallest share, got {value!r}")
    return amount


def _bundle(amounts: Mapping[str, Any]) -> dict[str, float]:
    """The bundle under the names CPU, GPU, memory and custom ones, without zeros."""
    if not isinstance(amounts, Mapping):
        raise TypeError(f"a bundle must be a dict of amounts such as {{'CPU': 1}}, got {amounts!r}")
    bundle: dict[str, float] = {}
    for name, value in amounts.items():
        if not isinstance(name, str):
            raise TypeError(f"a resource is named by a string, got {name!r}")
        name = name.upper() if name in ("cpu", "gpu") else name
        if name in bundle:
            raise ValueError(f"resource {name!r} is given twice, in upper and in lower case")
        bundle[name] = _amount(name, value)
    return {name: amount for name, amount in bundle.items() if amount > 0}


@dataclass(frozen=True, slots=True)
class _Demand:
    """A request as the ledger takes it: sums, but each GPU fraction for itself: each lies on one device."""

    cpu: float
    whole_gpus: float
    gpu_fractions: tuple[float, ...]
    memory: int
    custom: dict[str, float]

    @property
    def gpu_parts(self) -> tuple[float, ...]:
        return ((self.whole_gpus,) if self.whole_gpus else ()) + self.gpu_fractions or (0.0,)


class PlacementGroupFactory:
    """What one trial needs, as bundles: the first for the trainable itself, the others for what it starts.

    One machine holds all bundles of a trial, so what counts is their sum; only a fraction of a GPU stays one
    share of one device. `strategy` is kept for scripts that name one. Equal and hashed by value.

    Args:
        bundles: at least one dict of amounts ("CPU", "GPU", "memory" in bytes, any other name is a custom
            resource). An empty first bundle says that the trainable itself needs nothing. Zeros are dropped.
        strategy: "PACK", "SPREAD", "STRICT_PACK" or "STRICT_SPREAD".
    """

    __slots__ = ("_bundles", "_demand", "_head_bundle_is_empty", "_strategy")

    def __init__(self, bundles: Sequence[Mapping[str, float]], strategy: str = "PACK") -> None:
        if isinstance(bundles, Mapping):
            raise TypeError(f"bundles must be a list of dicts, got one dict: write [{dict(bundles)!r}]")
        clean = [_bundle(bundle) for bundle in bundles]
        if not clean:
            raise ValueError("PlacementGroupFactory needs at least one bundle, got []; [{}] asks for nothing")
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
        self._head_bundle_is_empty = not clean[0]
        self._bundles = clean[1:] if self._head_bundle_is_empty else clean
        self._strategy = strategy
        self._demand = self._sum_up()

    def _sum_up(self) -> _Demand:
        needed = self.required_resources
        shares = [bundle.get("GPU", 0.0) for bundle in self._bundles]
        return _Demand(
            cpu=needed.pop("CPU", 0.0),
            whole_gpus=sum(share for share in shares if share >= 1),
            gpu_fractions=tuple(share for share in shares if 0 < share < 1),
            memory=math.ceil(needed.pop("memory", 0.0)),
            custom={name: amount for name, amount in needed.items() if name != "GPU"},
        )

    @property
    def bundles(self) -> list[dict[str, float]]:
        """The bundles that ask for something, as fresh dicts."""
        return [dict(bundle) for bundle in self._bundles]

    @property
    def head_bundle_is_empty(self) -> bool:
        """True if the first bundle was empty: the trainable itself needs nothing."""
        return self._head_bundle_is_empty

    @property
    def head_cpus(self) -> float:
        """The CPUs of the trainable itself."""
        return 0.0 if self._head_bundle_is_empty else self._bundles[0].get("CPU", 0.0)

    @property
    def strategy(self) -> str:
        """The strategy as given."""
        return self._strategy

    @property
    def required_resources(self) -> dict[str, float]:
        """The sum over all bundles, by name."""
        needed: dict[str, float] = {}
        for bundle in self._bundles:
            for name, amount in bundle.items():
                needed[name] = needed.get(name, 0.0) + amount
        return needed

    def _value(self) -> tuple[object, ...]:
        bundles = tuple(tuple(sorted(bundle.items())) for bundle in self._bundles)
        return bundles, self._head_bundle_is_empty, self._strategy

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlacementGroupFactory):
            return NotImplemented
        return self._value() == other._value()

    def __hash__(self) -> int:
        return hash(self._value())

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        head: list[dict[str, float]] = [{}] if self._head_bundle_is_empty else []
        return type(self), (head + self.bundles, self._strategy)

    def __repr__(self) -> str:
        head: list[dict[str, float]] = [{}] if self._head_bundle_is_empty else []
        return f"PlacementGroupFactory({head + self._bundles!r}, strategy={self._strategy!r})"


ResourceRequest = Mapping[str, Any] | PlacementGroupFactory | Callable[[dict[str, Any]], Any] | None


def resolve_resources(
    resources: ResourceRequest, config: dict[str, Any] | None = None
) -> PlacementGroupFactory:
    """The request that a user's spelling of it means; one CPU if there is none.

    Args:
        resources: None or {} (one CPU), a dict with "cpu", "gpu", "memory" (bytes), "custom_resources" (a
            dict) and any other name as a custom resource, a PlacementGroupFactory, or a function of the
            config that returns one of these. A dict asks for what it names only: {"gpu": 1} needs no CPU.
        config: the trial's config, for a function.
    """
    if isinstance(resources, PlacementGroupFactory):
        return resources
    if resources is None:
        return PlacementGroupFactory([{"CPU": 1}])
    if callable(resources):
        if config is None:
            raise ValueError(f"resources {resources!r} is a function of the config and needs a config")
        answer = resources(config)
        if callable(answer):
            raise TypeError(f"resources {resources!r} must return amounts, got another function {answer!r}")
        return resolve_resources(answer)
    if not isinstance(resources, Mapping):
        raise TypeError(
            "resources must be a dict such as {'cpu': 1}, a PlacementGroupFactory or a function of the "
            f"config, got {resources!r}"
        )
    amounts = dict(resources)
    custom = amounts.pop("custom_resources", None) or {}
    if not isinstance(custom, Mapping):
        raise TypeError(f"custom_resources must be a dict of amounts, got {custom!r}")
    twice = sorted(set(amounts) & set(custom))
    if twice:
        raise ValueError(f"custom_resources names {twice[0]!r} a second time")
    return PlacementGroupFactory([{**amounts, **custom} if amounts or custom else {"CPU": 1}])


# ---------------------------------------------------------------------------------------------------- supply


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device. `uuid` is its name for life, `index` its place in PCI order until the next reboot."""

    uuid: str
    name: str = "NVIDIA GPU"
    index: int = 0
    memory_bytes: int = 0
    cpus: tuple[int, ...] = ()  # next to it (same NUMA node); () if the driver does not say


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
    cpus, bind_cpus, cpu_reason = _detect_cpus(root, _affinity() if affinity is None else affinity)
    visible, gpu_reason = detect_gpus(environ)
    chosen = choose_gpus(visible, gpus)
    if len(chosen) < len(visible):
        gpu_reason = _both(gpu_reason, f"gpus={gpus!r} chooses {len(chosen)} of {len(visible)} visible GPUs")
    return Machine(
        cpus=cpus,
        gpus=chosen,
        memory_bytes=_detect_memory(root),
        bind_cpus=bind_cpus,
        cpu_reason=cpu_reason,
        gpu_reason=gpu_reason,
    )


# ------------------------------------------------------------------------------------------- CPUs and memory


def _affinity() -> Iterable[int]:
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _detect_cpus(root: str, affinity: Iterable[int]) -> tuple[tuple[int, ...], bool, str]:
    """CPU ids, whether they may be bound to, and what limits them."""
    allowed = sorted(affinity) or [0]
    cpuset = _cgroup_cpuset(root)
    if cpuset & set(allowed):  # an empty intersection is a stale file, not a machine without CPUs
        allowed = sorted(cpuset & set(allowed))
    quota = _cgroup_quota(root)
    if quota is None or math.ceil(quota) >= len(allowed):
        return tuple(allowed), True, ""
    count = max(1, math.ceil(quota))
    reason = f"a cgroup quota of {quota:g} CPUs, on a mask of {len(allowed)}"
    return tuple(allowed[:count]), False, reason


def _detect_memory(root: str) -> int:
    """Bytes of memory, a cgroup's limit included."""
    sizes = [_installed_memory(root)]
    for controller, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
        for folder in _cgroup_folders(root, controller):
            text = _read(folder, name)
            if text.isdecimal():
                sizes.append(int(text))
    return min(sizes)


def _installed_memory(root: str) -> int:
    for line in _read(root, "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().total)


def _cgroup_folders(root: str, controller: str) -> Iterator[str]:
    """Where the limits of a controller are written, innermost first; controller "" is cgroup v2.

    Limits of outer groups bind too. Inside a container /proc/self/cgroup often names a folder of the host
    that does not exist here; then the walk outwards ends at the container's own limits.
    """
    memberships = _read(root, "proc/self/cgroup").splitlines() or [f"0:{controller}:/"]
    for line in memberships:
        if line.count(":") < 2:
            continue
        _, names, path = line.split(":", 2)
        if controller not in names.split(","):
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        mounts = (names, controller) if controller else ("", "unified")
        for mount in dict.fromkeys(mounts):
            for depth in range(len(parts), -1, -1):
                folder = os.path.join(root, "sys/fs/cgroup", mount, *parts[:depth])
                if os.path.isdir(folder):
                    yield folder


def _cgroup_quota(root: str) -> float | None:
    """The CPUs' worth of time that the tightest quota grants, None without one."""
    quotas = []
    for folder in _cgroup_folders(root, ""):
        quotas.append(_read(folder, "cpu.max").split())
    for folder in _cgroup_folders(root, "cpu"):
        quotas.append([_read(folder, "cpu.cfs_quota_us"), _read(folder, "cpu.cfs_period_us")])
    # "max" and -1 mean no quota
    limits = [int(q[0]) / int(q[1]) for q in quotas if len(q) == 2 and q[0].isdecimal() and q[1].isdecimal()]
    return min((limit for limit in limits if limit > 0), default=None)


def _cgroup_cpuset(root: str) -> set[int]:
    """The CPUs of the innermost cpuset that names any, empty without one."""
    for controller, names in (
        ("", ("cpuset.cpus.effective",)),
        ("cpuset", ("cpuset.effective_cpus", "cpuset.cpus")),
    ):
        for folder in _cgroup_folders(root, controller):
            for name in names:
                cpus = _cpu_list(_read(folder, name))
                if cpus:
                    return cpus
    return set()


def _cpu_list(text: str) -> set[int]:
    """The ids in "0-3,8"; empty if it is written in another way."""
    cpus: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            return set()
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def _read(folder: str, name: str) -> str:
    """The text of a small system file, "" if it cannot be read."""
    with suppress(OSError), open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""


# ------------------------------------------------------------------------------------------------------ GPUs


def detect_gpus(environ: Mapping[str, str] | None = None) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs that this process may use, and why there are not more ("" if there is no reason).

    Costs one failed dlopen on a machine without NVIDIA's driver. Never raises for a broken driver or device.
    """
    environ = os.environ if environ is None else environ
    mask = environ.get("CUDA_VISIBLE_DEVICES")
    if mask is not None and not mask.strip():
        return (), "CUDA_VISIBLE_DEVICES is empty, which hides all GPUs"
    present, reason = _read_nvml()
    visible = visible_gpus(present, mask)
    if len(visible) < len(present):
        hidden = f"CUDA_VISIBLE_DEVICES={mask!r} hides {len(present) - len(visible)} of {len(present)} GPUs"
        reason = _both(reason, hidden)
    return visible, reason


def _both(first: str, second: str) -> str:
    return f"{first}; {second}" if first else second


def _read_nvml() -> tuple[tuple[Gpu, ...], str]:
    """Every GPU that the driver knows, in PCI order."""
    if sys.platform == "linux":
        import ctypes

        try:  # before pynvml, which costs 20 ms: most machines without a GPU end here
            ctypes.CDLL("libnvidia-ml.so.1")
        except OSError as error:
            absent = "cannot open shared object" in str(error)
            return (), f"no NVIDIA driver ({'libnvidia-ml.so.1 not found' if absent else error})"
    try:
        import pynvml
    except ImportError as error:
        return (), f"the package nvidia-ml-py cannot be imported ({error}); install it to use GPUs"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return (), f"the NVIDIA driver does not answer: {_nvml_text(error)}"
    try:
        return _read_devices(pynvml)
    except pynvml.NVMLError as error:
        return (), f"the NVIDIA driver does not list its GPUs: {_nvml_text(error)}"
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read_devices(nvml: Any) -> tuple[tuple[Gpu, ...], str]:
    gpus, reasons = [], []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpus.append(_read_device(nvml, index))
        except nvml.NVMLError as error:
            reasons.append(f"GPU {index} skipped: {_nvml_text(error)}")
    return tuple(gpus), "; ".join(reasons) or ("" if gpus else "the NVIDIA driver knows no GPU")


def _read_device(nvml: Any, index: int) -> Gpu:
    """A device with its UUID, without which nobody can be sent to it, and what else the driver tells."""
    device = nvml.nvmlDeviceGetHandleByIndex(index)
    uuid = _text(nvml.nvmlDeviceGetUUID(device))
    name, memory = "NVIDIA GPU", 0
    cpus: tuple[int, ...] = ()
    with suppress(nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        name = _text(nvml.nvmlDeviceGetName(device))
    with suppress(nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        memory = int(nvml.nvmlDeviceGetMemoryInfo(device).total)
    with suppress(nvml.NVMLError):
        cpus = _mask_bits(nvml.nvmlDeviceGetCpuAffinity(device, 16))  # 16 words: 1,024 CPUs
    return Gpu(uuid, name, index, memory, cpus)


def _mask_bits(words: Iterable[int]) -> tuple[int, ...]:
    return tuple(64 * at + bit for at, word in enumerate(words) for bit in range(64) if word >> bit & 1)


def _text(value: str | bytes) -> str:
    """Older releases of the package answer in bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _nvml_text(error: Any) -> str:
    return f"{error} (NVML error {error.value})"


def visible_gpus(all_gpus: Sequence[Gpu], value: str | None) -> tuple[Gpu, ...]:
    """The GPUs that a CUDA_VISIBLE_DEVICES of `value` leaves, in its order, by CUDA's rules.

    None: all. Entries are indices in PCI order, UUIDs or beginnings of a UUID that fit one device only. An
    entry that names no device hides itself and everything after it; a device named twice hides all.
    """
    if value is None:
        return tuple(all_gpus)
    visible: list[Gpu] = []
    for entry in value.split(","):
        gpu = _gpu_named(all_gpus, entry.strip())
        if gpu is None:
            break
        if gpu in visible:
            return ()
        visible.append(gpu)
    return tuple(visible)


def _gpu_named(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    if entry.isdecimal():
        fitting = [gpu for gpu in gpus if gpu.index == int(entry)]
    else:
        fitting = [gpu for gpu in gpus if entry.startswith("GPU-") and gpu.uuid.startswith(entry)]
    return fitting[0] if len(fitting) == 1 else None


def choose_gpus(visible: Sequence[Gpu], gpus: Sequence[int | str] | None) -> tuple[Gpu, ...]:
    """The GPUs of run(gpus=[...]): int k is the k-th visible one, a string a UUID or its beginning."""
    if gpus is None:
        return tuple(visible)
    if isinstance(gpus, (str, int)):
        raise TypeError(f"gpus must be a list of indices or UUIDs, got {gpus!r}; one GPU is [{gpus!r}]")
    chosen: list[Gpu] = []
    for wanted in gpus:
        gpu = _choose_gpu(visible, wanted)
        if gpu in chosen:
            raise ValueError(f"gpus={list(gpus)!r} names {gpu.uuid} twice")
        chosen.append(gpu)
    return tuple(chosen)


def _choose_gpu(visible: Sequence[Gpu], wanted: int | str) -> Gpu:
    if isinstance(wanted, bool) or not isinstance(wanted, (int, str)):
        raise TypeError(f"gpus must hold indices (int) or UUIDs (str), got {wanted!r}")
    if isinstance(wanted, int):
        if 0 <= wanted < len(visible):
            return visible[wanted]
    else:
        fitting = [gpu for gpu in visible if wanted and gpu.uuid.startswith(wanted)]
        if len(fitting) == 1:
            return fitting[0]
    there = ", ".join(f"{k}: {gpu.uuid} ({gpu.name})" for k, gpu in enumerate(visible)) or "no GPU"
    raise ValueError(f"gpus names {wanted!r}, which is not exactly one of the visible GPUs; there is {there}")


# ------------------------------------------------------------------------------------------------ placements


@dataclass(frozen=True, slots=True)
class Placement:
    """What one trial has got: CPU ids, GPUs with their units (10,000: the whole device), memory, the rest."""

    cpus: tuple[int, ...]
    gpus: tuple[tuple[Gpu, int], ...] = ()
    cpu: float = 1.0  # the amount; `cpus` may be more ids, when fractions share them
    memory: int = 0
    custom: Mapping[str, float] = field(default_factory=dict)
    bind_cpus: bool = True
    hide_gpus: bool = False  # the machine has GPUs and this trial asked for none
    grants: tuple[Grant, ...] = field(default=(), repr=False, compare=False)


class Supply:
    """The books of a machine: who has what. Placements that are held never add up to more than the machine.

    Args:
        machine: what there is.
        policy: where a fraction of a GPU goes: "pack" fills a started device, "spread" takes the freest.
    """

    def __init__(self, machine: Machine, policy: str = "pack") -> None:
        self.machine = machine
        gpus, custom = len(machine.gpus), dict(machine.custom)
        self._ledger = Ledger(machine.cpus, gpus, machine.memory_bytes, custom, policy)

    def acquire(self, request: PlacementGroupFactory) -> Placement | None:
        """A Placement that holds all of the request, or None if it does not fit now."""
        demand = request._demand
        first, *others = demand.gpu_parts
        grants = []
        grant = self._ledger.acquire(demand.cpu, first, demand.memory, demand.custom)
        while grant is not None:
            grants.append(grant)
            if not others:
                return self._placement(demand, grants)
            grant = self._ledger.acquire(0.0, others.pop(0))
        self._give(grants)
        return None

    def _placement(self, demand: _Demand, grants: list[Grant]) -> Placement:
        units: dict[int, int] = {}
        for grant in grants:
            for index, share in grant.gpus:
                units[index] = units.get(index, 0) + share
        gpus = self.machine.gpus
        return Placement(
            cpus=grants[0].cpus,
            gpus=tuple((gpus[index], share) for index, share in units.items()),
            cpu=demand.cpu,
            memory=demand.memory,
            custom=demand.custom,
            bind_cpus=self.machine.bind_cpus,
            hide_gpus=bool(gpus) and not units,
            grants=tuple(grants),
        )

    def release(self, placement: Placement) -> None:
        """Gives a placement back. ValueError if it has been given back before or is another supply's."""
        self._give(placement.grants)

    def _give(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            self._ledger.release(grant)

    def missing(self, request: PlacementGroupFactory) -> dict[str, tuple[float, float, float]]:
        """What keeps the request from fitting now: name -> (asked, free, total); empty if it fits."""
        demand = request._demand
        gpu_parts = demand.gpu_parts
        lacking = self._ledger.missing(demand.cpu, gpu_parts[0], demand.memory, demand.custom)
        if lacking or len(gpu_parts) == 1:
            return lacking
        placement = self.acquire(request)
        if placement is None:
            books = self._ledger
            return {"gpu": (sum(gpu_parts), books.available()["gpu"], books.total()["gpu"])}
        self.release(placement)
        return {}

    def available(self) -> dict[str, float]:
        """What is free now: cpu, gpu, memory (bytes) and every custom resource."""
        return self._ledger.available()

    def total(self) -> dict[str, float]:
        """What there is: cpu, gpu, memory (bytes) and every custom resource."""
        return self._ledger.total()


def assign(
    machine: Machine, requests: Iterable[PlacementGroupFactory], policy: str = "pack"
) -> list[Placement | None]:
    """Who gets what if these trials start together; None for one that does not fit beside those before it."""
    supply = Supply(machine, policy)
    return [supply.acquire(request) for request in requests]


def slots(machine: Machine, request: PlacementGroupFactory, limit: int) -> int:
    """How many trials of this request the machine holds at once, at most `limit`."""
    supply = Supply(machine)
    count = 0
    while count < limit and supply.acquire(request) is not None:
        count += 1
    return count


def check_possible(machine: Machine, request: PlacementGroupFactory) -> None:
    """Refuses a request that not even the empty machine can hold.

    Raises:
        ValueError: names what is asked, what there is and, if known, why there is not more.
    """
    lacking = Supply(machine).missing(request)
    if lacking:
        raise ValueError("; ".join(_refusal(machine, name, *lacking[name]) for name in lacking))


def _refusal(machine: Machine, name: str, asked: float, free: float, total: float) -> str:
    if name == "memory":
        asks = f"trial asks memory={asked:.0f} bytes ({_gib(asked)})"
        return f"{asks}, this machine has {total:.0f} bytes ({_gib(total)})"
    if name == "cpu":
        supply, reason = _count(total, "CPU"), machine.cpu_reason
    elif name == "gpu":
        supply, reason = _count(total, "GPU"), machine.gpu_reason
        if asked <= total:
            reason = "each fraction must lie on one of them"
    else:
        supply, reason = f"{total:g}", "" if total else "custom resources must be declared by the machine"
    return f"trial asks {name}={asked:g}, this machine has {supply}" + (f": {reason}" if reason else "")


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}" + ("" if number == 1 else "s")


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"


def trial_environ(
    placement: Placement, environ: Mapping[str, str], *, gpu_id_format: str = "uuid"
) -> dict[str, str]:
    """The variables to set for the process of a trial: its GPUs and how many threads its libraries start.

    A trial that asked for no GPU sees none. Thread counts that the user has set in `environ` stay.

    Args:
        gpu_id_format: "uuid", or "index" for libraries that call int() on CUDA_VISIBLE_DEVICES.
    """
    if gpu_id_format not in ("uuid", "index"):
        raise ValueError(f"gpu_id_format must be 'uuid' or 'index', got {gpu_id_format!r}")
    variables: dict[str, str] = {}
    if placement.gpus:
        names = [gpu.uuid if gpu_id_format == "uuid" else str(gpu.index) for gpu, _ in placement.gpus]
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(names)
        variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # indices mean the same to CUDA, NVML and nvidia-smi
    elif placement.hide_gpus:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    threads = str(max(1, int(placement.cpu)))
    variables.update({name: threads for name in THREAD_VARIABLES if name not in environ})
    return variables
