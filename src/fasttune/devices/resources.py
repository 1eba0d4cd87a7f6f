"""What a trial asks for, and who gets which part of the machine.

    PlacementGroupFactory    a request: bundles of amounts, the sum of which one trial needs
    Supply                   the books: a request becomes a Placement, or says what is missing
    trial_environ()          a Placement becomes the environment of the trial's process

Everything here is a pure function of its arguments; what the machine has is found out in `machine`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from fasttune._core import Grant, Ledger
from fasttune.argument import as_count, as_number, shown
from fasttune.devices.gpus import Gpu
from fasttune.devices.machine import Machine

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


LARGEST = 1e12  # of CPUs, GPUs or a custom resource: more than any machine has, and still exact in units
LARGEST_MEMORY = 2.0**62  # bytes


def largest_amount(name: str) -> float:
    """The most of a resource that can be asked for."""
    return LARGEST_MEMORY if name == "memory" else LARGEST


def _amount(name: str, value: Any) -> float:
    """The amount as a float. Numbers only: "1" would be a typo that counts."""
    largest = largest_amount(name)
    amount = float(value) if isinstance(value, bool) else as_number(value)
    beyond = amount is None and (as_count(value) or 0) > 0  # an int that no float holds
    if amount is None and not beyond:
        raise ValueError(f"resource {name!r} must be a number >= 0, got {shown(value)}")
    if amount is not None and not 0 <= amount < math.inf:
        raise ValueError(f"resource {name!r} must be a finite number >= 0, got {shown(value)}")
    if amount is None or amount > largest:
        unit = " bytes" if name == "memory" else ""
        raise ValueError(f"resource {name!r} must be at most {largest:g}{unit}, got {shown(value)}")
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


DETECTED = ("CPU", "GPU", "memory", "custom_resources")  # no kinds that anybody declares


def check_declared(resources: object) -> dict[str, float]:
    """Kinds of resources that a run says there are, beside those that are found out: licences, say, or slots of a device.

    Raises:
        TypeError, ValueError: they are no dict of amounts, or name what is found out.
    """
    if not isinstance(resources, Mapping):
        raise TypeError(f"resources must be a dict of amounts such as {{'licence': 4}}, got {shown(resources)}")
    for name in resources:
        if isinstance(name, str) and (name in DETECTED or name.upper() in DETECTED[:2]):
            raise ValueError(
                f"resources={{...}} declares kinds of your own, and {name!r} is not one: CPUs and memory are what affinity "
                "and cgroups leave to this process, GPUs what it sees (gpus=[...] chooses among them), and what a trial "
                "needs is said in resources_per_trial"
            )
    return _bundle(resources)


def with_declared(machine: Machine, resources: Mapping[str, float]) -> Machine:
    """The machine, and what a run says there is besides."""
    return replace(machine, custom={**machine.custom, **resources}) if resources else machine


class _Demand(NamedTuple):
    """A request as the ledger takes it: sums, but each GPU fraction for itself: each lies on one device."""

    cpu: float
    whole_gpus: float
    gpu_fractions: tuple[float, ...]
    memory: int
    custom: dict[str, float]

    @property
    def gpu_parts(self) -> tuple[float, ...]:
        return ((self.whole_gpus,) if self.whole_gpus else ()) + self.gpu_fractions or (0.0,)

    @property
    def devices(self) -> float:
        """How many GPUs the trial uses, wholly or in part, at most."""
        return self.whole_gpus + len(self.gpu_fractions)


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
        for name, amount in needed.items():
            if amount > largest_amount(name):
                raise ValueError(
                    f"the bundles ask for {name}={amount:g} together: a trial can ask for at most {largest_amount(name):g}"
                )
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
        # mostly a worker's is the run's own: asked of each worker in each turn
        return self is other or self._value() == other._value()

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
        slices = [at for at, gpu in enumerate(machine.gpus) if gpu.is_slice]
        self._ledger = Ledger(machine.cpus, gpus, machine.memory_bytes, custom, policy, slices)

    def acquire(self, request: PlacementGroupFactory) -> Placement | None:
        """A Placement that holds all of the request, or None if it does not fit now."""
        demand = request._demand
        first, *others = demand.gpu_parts
        joined = demand.devices > 1
        grants = []
        grant = self._ledger.acquire(demand.cpu, first, demand.memory, demand.custom, joined)
        while grant is not None:
            grants.append(grant)
            if not others:
                return self._placement(demand, grants)
            grant = self._ledger.acquire(0.0, others.pop(0), joined=joined)
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

    def give_back(self, placement: Placement) -> None:
        """As release, of one in which a process has run."""
        self.release(placement)

    @property
    def waits(self) -> bool:
        """Something was given back and cannot be had yet."""
        return False

    def _give(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            self._ledger.release(grant)

    def missing(self, request: PlacementGroupFactory) -> dict[str, tuple[float, float, float]]:
        """What keeps the request from fitting now: name -> (asked, free, total); empty if it fits."""
        demand = request._demand
        gpu_parts = demand.gpu_parts
        lacking = self._ledger.missing(demand.cpu, gpu_parts[0], demand.memory, demand.custom, demand.devices > 1)
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


_MEANT = {
    "cpu": ("cpus", "num_cpus", "core", "cores", "n_cpus", "threads"),
    "gpu": ("gpus", "num_gpus", "n_gpus", "cuda", "accelerator", "accelerators"),
    "memory": ("mem", "ram", "memory_bytes"),
}


def _refusal(machine: Machine, name: str, asked: float, free: float, total: float) -> str:
    if name == "memory":
        asks = f"trial asks memory={asked:.0f} bytes ({_gib(asked)})"
        return f"{asks}, {machine.called} has {total:.0f} bytes ({_gib(total)})"
    if name == "cpu":
        supply, reason = _count(total, "CPU"), machine.cpu_reason
    elif name == "gpu":
        supply, reason = _count(total, "GPU"), machine.gpu_reason
        if asked <= total:
            cut = any(gpu.is_slice for gpu in machine.gpus)
            reason = "a process can use one slice (MIG) only" if cut else "each fraction must lie on one of them"
    else:
        supply, reason = f"{total:g}", "so many are declared by resources=..."
        if not total:
            meant = next((ours for ours, words in _MEANT.items() if name.lower() in words), None)
            reason = f"did you mean {meant!r}? A kind of your own is declared" if meant else "declare them,"
            if machine.kinds_by:
                reason += f" by {machine.kinds_by}"
            else:
                reason += f" by tune.run(..., resources={{{name!r}: {max(1.0, asked):g}}}) or RunConfig(resources=...)"
    return f"trial asks {name}={asked:g}, {machine.called} has {supply}" + (f": {reason}" if reason else "")


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
        gpu_id_format: "uuid", or "index" for libraries that call int() on CUDA_VISIBLE_DEVICES; a slice (MIG) has no index.
    """
    if gpu_id_format not in ("uuid", "index"):
        raise ValueError(f"gpu_id_format must be 'uuid' or 'index', got {gpu_id_format!r}")
    variables: dict[str, str] = {}
    if placement.gpus:
        names = [gpu.uuid if gpu_id_format == "uuid" or gpu.is_slice else str(gpu.index) for gpu, _ in placement.gpus]
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(names)
        variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # indices mean the same to CUDA, NVML and nvidia-smi
    elif placement.hide_gpus:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    threads = str(max(1, int(placement.cpu)))
    variables.update({name: threads for name in THREAD_VARIABLES if name not in environ})
    return variables
