"""What a trial asks for, and who gets which part of the machine.

    PlacementGroupFactory    a request: bundles of amounts, the sum of which one trial needs
    Supply                   the books: a request becomes a Placement, or says what is missing

Everything here is a pure function of its arguments; what the machine has is found out in `machine`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from fasttune._core import Grant, Ledger
from fasttune.argument import as_count, as_number, checked_size, other_unit, shown
from fasttune.devices.gpu import Gpu
from fasttune.devices.gpu_choice import POLICIES, WHOLE, GpuLeft, GpuPart, GpuTaken, choose
from fasttune.devices.gpu_links import Distances
from fasttune.devices.machine import Machine

UNITS = 10_000  # of one CPU or GPU: the smallest share is 1/10,000
STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")

# -------------------------------------------------------------------------------------------------- requests


LARGEST = 1e12  # of CPUs, GPUs or a custom resource: more than any machine has, and still exact in units
LARGEST_MEMORY = 2.0**62  # bytes
LEAST_GPU_MEMORY = 1 << 20  # bytes: a CUDA context alone has a hundred times as much; who says less has meant another unit
OF_BYTES = ("memory", "gpu_memory")  # amounts that a text like "2GB" may say


def largest_amount(name: str) -> float:
    """The most of a resource that can be asked for."""
    return LARGEST_MEMORY if name in OF_BYTES else LARGEST


def _amount(name: str, value: Any) -> float:
    """The amount as a float. Numbers only: "1" would be a typo that counts; of bytes a text with its unit."""
    if name in OF_BYTES and isinstance(value, str):
        value = checked_size(f"resource {name!r}", value)
    largest = largest_amount(name)
    amount = float(value) if isinstance(value, bool) else as_number(value)
    beyond = amount is None and (as_count(value) or 0) > 0  # an int that no float holds
    if amount is None and not beyond:
        meant = _meant(name) if isinstance(value, str) else None  # only bytes have units
        hint = f"; did you mean {meant!r}?" if meant in OF_BYTES else ""
        raise ValueError(f"resource {name!r} must be a number >= 0, got {shown(value)}{hint}")
    if amount is not None and not 0 <= amount < math.inf:
        raise ValueError(f"resource {name!r} must be a finite number >= 0, got {shown(value)}")
    if amount is None or amount > largest:
        unit = " bytes" if name in OF_BYTES else ""
        raise ValueError(f"resource {name!r} must be at most {largest:g}{unit}, got {shown(value)}")
    if name == "GPU" and amount > 1 and amount != int(amount):
        raise ValueError(
            f"gpu must be a whole number when it is more than 1, got {value!r}: fractions share one device"
        )
    if name == "gpu_memory" and 0 < amount < LEAST_GPU_MEMORY:
        raise ValueError(
            f"resource 'gpu_memory' must be at least 1 MiB (a trial that computes on a GPU has a hundred times as much), got "
            f"{shown(value)}: {other_unit(amount)}"
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


DETECTED = ("CPU", "GPU", "memory", "gpu_memory", "custom_resources")  # no kinds that anybody declares


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
    chosen: tuple[GpuPart, ...] = ()  # what the ledger cannot choose: by memory, or several that lie near each other

    @property
    def gpu_parts(self) -> tuple[float, ...]:
        return ((self.whole_gpus,) if self.whole_gpus else ()) + self.gpu_fractions or (0.0,)

    @property
    def devices(self) -> float:
        """How many GPUs the trial uses, wholly or in part, at most."""
        return self.whole_gpus + len(self.gpu_fractions)


def _gpu_parts(bundles: Sequence[Mapping[str, float]]) -> tuple[GpuPart, ...]:
    """What bundles want of GPUs where it is to be chosen, whole ones first; () where a count of shares says it all."""
    by_memory = any("gpu_memory" in bundle for bundle in bundles)
    wanted: dict[int, int] = {}  # bytes of each -> how many whole devices
    shares = []
    for bundle in bundles:
        gpu, memory = bundle.get("GPU", 0.0), math.ceil(bundle.get("gpu_memory", 0.0))
        if gpu >= 1:
            wanted[memory] = wanted.get(memory, 0) + int(gpu)
        elif gpu or memory:
            shares.append(GpuPart(1, math.floor(gpu * UNITS + 0.5), memory))
    if not by_memory and sum(wanted.values()) < 2:
        return ()
    return (*(GpuPart(count, WHOLE, memory) for memory, count in sorted(wanted.items(), reverse=True)), *shares)


class PlacementGroupFactory:
    """What one trial needs, as bundles: the first for the trainable itself, the others for what it starts.

    One machine holds all bundles of a trial, so what counts is their sum; only a share of a GPU, a fraction or
    by its memory, stays a share of one device. `strategy` is kept for scripts that name one. Equal and hashed by value.

    Args:
        bundles: at least one dict of amounts ("CPU", "GPU", "memory" and "gpu_memory" in bytes or as a text like
            "6GB", any other name is a custom resource). "gpu_memory" alone is a share of one device by its memory,
            beside "GPU" it is of each device. An empty first bundle says that the trainable itself needs nothing.
            Zeros are dropped.
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
            custom={name: amount for name, amount in needed.items() if name not in ("GPU", "gpu_memory")},
            chosen=_gpu_parts(self._bundles),
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
        resources: None or {} (one CPU), a dict with "cpu", "gpu", "memory" and "gpu_memory" (bytes, or "6GB"),
            "custom_resources" (a dict) and any other name as a custom resource, a PlacementGroupFactory, or a
            function of the config that returns one of these. A dict asks for what it names only: {"gpu": 1} needs no CPU.
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


@dataclass(slots=True)  # not frozen: that is twice as dear, and one is made for each look whether a worker has room
class Placement:
    """What one trial has got: CPU ids, GPUs with their units (10,000: the whole device), memory, the rest."""

    cpus: tuple[int, ...]
    gpus: tuple[tuple[Gpu, int], ...] = ()
    cpu: float = 1.0  # the amount; `cpus` may be more ids, when fractions share them
    memory: int = 0
    custom: Mapping[str, float] = field(default_factory=dict)
    bind_cpus: bool = True
    hide_gpus: bool = False  # the machine has GPUs and this trial asked for none
    maker: str = "nvidia"  # of the machine's GPUs
    promised: tuple[tuple[int, int], ...] = ()  # (position of a GPU, bytes of its memory)
    grants: tuple[Grant, ...] = field(default=(), repr=False, compare=False)


class Supply:
    """The books of a machine: who has what. Placements that are held never add up to more than the machine.

    The ledger says who has which share; where it cannot choose the devices (see ``gpu_choice``) they are chosen here, and
    booked there. What is promised of a device's memory stands here alone.

    Args:
        machine: what there is.
        policy: where a share of a GPU goes: "pack" fills a started device, "spread" takes the freest, "close" is "pack" of which
            a trial of several GPUs waits for the nearest that there are.
        distances: how far GPUs are from each other; asked once, when a trial wants some of them.
    """

    def __init__(
        self, machine: Machine, policy: str = "pack", distances: Callable[[Sequence[Gpu]], Distances] | None = None
    ) -> None:
        self.machine = machine
        gpus, custom = len(machine.gpus), dict(machine.custom)
        slices = [at for at, gpu in enumerate(machine.gpus) if gpu.is_slice]
        if policy not in POLICIES:
            raise ValueError(f"policy must be one of {', '.join(map(repr, POLICIES))}, got {policy!r}")
        ours = "spread" if policy == "spread" else "pack"
        self._ledger = Ledger(machine.cpus, gpus, machine.memory_bytes, custom, ours, slices)
        self._policy = policy
        self._promised = [0] * gpus  # bytes of each GPU's memory
        self._read_distances = distances
        self._distances: Distances | None = None

    def acquire(self, request: PlacementGroupFactory) -> Placement | None:
        """A Placement that holds all of the request, or None if it does not fit now."""
        demand = request._demand
        if demand.chosen and self._chooses(demand):
            return self._acquire_chosen(demand)
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

    def _acquire_chosen(self, demand: _Demand) -> Placement | None:
        devices = self._choose(demand, self._memory_free)
        if devices is None:
            return None
        shares = tuple((one.device, one.units) for one in devices)
        grant = self._ledger.acquire(demand.cpu, 0.0, demand.memory, demand.custom, devices=shares)
        if grant is None:
            return None
        promised = tuple((one.device, one.memory) for one in devices if one.memory)
        for device, size in promised:
            self._promised[device] += size
        return self._placement(demand, [grant], promised)

    def _chooses(self, demand: _Demand) -> bool:
        """Whether devices are chosen here: the ledger does not know their memory, nor which of several lie nearer."""
        return any(part.memory for part in demand.chosen) or bool(self._distances_for(demand))

    def _choose(self, demand: _Demand, memory: Callable[[int], int]) -> list[GpuTaken] | None:
        """The devices of a demand, None if they are not free. ``memory``: how much of a device's can be promised."""
        return choose(demand.chosen, self._left(memory), self._policy, self._distances_for(demand))

    def _left(self, memory: Callable[[int], int]) -> list[GpuLeft]:
        gpus = self.machine.gpus
        return [
            GpuLeft(math.floor(share * UNITS + 0.5), memory(at), gpus[at].memory_bytes, not gpus[at].is_slice)
            for at, share in self._ledger.gpu_shares()
        ]

    def _memory_left(self, at: int) -> int:
        """Bytes of a GPU's memory that are promised to nobody."""
        return self.machine.gpus[at].memory_bytes - self._promised[at]

    def _memory_free(self, at: int) -> int:
        """Bytes of a GPU's memory that can be promised now."""
        return self._memory_left(at)

    def _distances_for(self, demand: _Demand) -> Distances:
        """How far GPUs are from each other, where that can matter: () if all are as near."""
        if self._distances is None and any(part.devices > 1 for part in demand.chosen):
            whole = sum(not gpu.is_slice for gpu in self.machine.gpus)
            found = self._read_distances(self.machine.gpus) if self._read_distances is not None and whole > 2 else ()
            kinds = {far for i, row in enumerate(found) for far in row[:i]}
            self._distances = found if len(kinds) > 1 else ()
        return self._distances or ()

    def _placement(
        self, demand: _Demand, grants: list[Grant], promised: tuple[tuple[int, int], ...] = ()
    ) -> Placement:
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
            maker=gpus[0].maker if gpus else "nvidia",
            promised=promised,
            grants=tuple(grants),
        )

    def release(self, placement: Placement) -> None:
        """Gives a placement back. ValueError if it has been given back before or is another supply's."""
        self._give(placement.grants)
        for device, size in placement.promised:
            self._promised[device] -= size

    def give_back(self, placement: Placement, pid: int = 0) -> None:
        """As release, of one in which a process has run: ``pid``, if that is known."""
        self.release(placement)

    @property
    def returning(self) -> bool:
        """Something was given back and cannot be had yet."""
        return False

    @property
    def waits(self) -> bool:
        """It may be that something can be had soon, of which no trial's end tells."""
        return False

    def has_workers(self, pids: Callable[[], Collection[int]]) -> None:
        """Tell by what to find the processes in which trials run."""

    def why_lost(self, placement: Placement) -> str:
        """Why nothing can run any more on the GPUs of a placement, in words; "" if they are well."""
        return ""

    def _give(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            self._ledger.release(grant)

    def missing(self, request: PlacementGroupFactory) -> dict[str, tuple[float, float, float]]:
        """What keeps the request from fitting now: name -> (asked, free, total); empty if it fits."""
        demand = request._demand
        if demand.chosen and self._chooses(demand):
            return self._missing_chosen(demand)
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

    def _missing_chosen(self, demand: _Demand) -> dict[str, tuple[float, float, float]]:
        """As missing(), of devices that are chosen here."""
        lacking = self._ledger.missing(demand.cpu, 0.0, demand.memory, demand.custom)
        if self._choose(demand, self._memory_left) is not None:
            return lacking
        left = self._left(self._memory_left)
        asked = max(part.memory for part in demand.chosen)
        free, total = max((one.memory for one in left), default=0), max((one.total for one in left), default=0)
        if asked > free:
            return {**lacking, "gpu_memory": (asked, free, total)}
        gpus = sum(part.devices if part.units == WHOLE else part.units / WHOLE for part in demand.chosen)
        return {**lacking, "gpu": (gpus, self._ledger.available()["gpu"], self._ledger.total()["gpu"])}

    def available(self) -> dict[str, float]:
        """What is free now: cpu, gpu, memory (bytes) and every custom resource; with GPUs also gpu_memory, of all together."""
        return self._with_gpu_memory(self._ledger.available(), sum(self._promised))

    def total(self) -> dict[str, float]:
        """What there is, by the names of :meth:`available`."""
        return self._with_gpu_memory(self._ledger.total(), 0)

    def _with_gpu_memory(self, amounts: dict[str, float], promised: int) -> dict[str, float]:
        size = sum(gpu.memory_bytes for gpu in self.machine.gpus)
        return {**amounts, "gpu_memory": size - promised} if size else amounts


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
    if not lacking:
        return
    texts = {name: _refusal(machine, name, *lacking[name]) for name in lacking}
    gpus = lacking.get("gpu")
    if gpus and gpus[0] <= gpus[2] and any(part.memory for part in request._demand.chosen):  # there are enough, and too small ones
        texts["gpu"] = f"trial asks {_parts_in_words(request._demand.chosen)}, this machine has {_gpus_in_words(machine)}"
    raise ValueError("; ".join(texts.values()))


def _parts_in_words(parts: Sequence[GpuPart]) -> str:
    """What a trial asks of GPUs, some of it by memory."""
    counts: dict[GpuPart, int] = {}
    for part in parts:
        counts[part] = counts.get(part, 0) + 1
    return " and ".join(_part_in_words(part, count) for part, count in counts.items())


def _part_in_words(part: GpuPart, count: int) -> str:
    memory = f"gpu_memory={part.memory} bytes ({_gib(part.memory)})" if part.memory else ""
    if part.units == WHOLE:
        return f"gpu={part.devices}" + (f", of each {memory}" if memory else "")
    share = " and ".join([*([f"gpu={part.units / WHOLE:g}"] if part.units else []), *([memory] if memory else [])])
    return f"{share} of one device" if count == 1 else f"{count} times {share}, each of one device"


def _gpus_in_words(machine: Machine) -> str:
    return ", ".join(f"{gpu.name} {gpu.uuid} with {_memory_of(gpu)}" for gpu in machine.gpus) or "no GPU"


_MEANT = {
    "cpu": ("cpus", "num_cpus", "core", "cores", "n_cpus", "threads"),
    "gpu": ("gpus", "num_gpus", "n_gpus", "cuda", "accelerator", "accelerators"),
    "memory": ("mem", "ram", "memory_bytes"),
    "gpu_memory": ("gpu_mem", "gpumem", "gpumemory", "vram", "gpu_memory_bytes", "gpu_ram", "cuda_memory"),
}


def _meant(name: str, kinds: Iterable[str] = ()) -> str | None:
    """What may have been meant by the name of a resource that nobody knows. ``kinds``: those of the run's own."""
    from difflib import get_close_matches

    known = next((ours for ours, words in _MEANT.items() if name not in DETECTED and name.lower() in (ours, *words)), None)
    return known or next(iter(get_close_matches(name, kinds, n=1)), None)


def _refusal(machine: Machine, name: str, asked: float, free: float, total: float) -> str:
    if name == "gpu_memory":
        there = _gpus_in_words(machine)
        why = f": {machine.gpu_reason}" if machine.gpu_reason and not machine.gpus else ""
        return f"trial asks gpu_memory={asked:.0f} bytes ({_gib(asked)}) of one device, this machine has {there}{why}"
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
            meant = _meant(name, machine.custom)
            reason = f"did you mean {meant!r}? A kind of your own is declared" if meant else "declare them,"
            if machine.kinds_by:
                reason += f" by {machine.kinds_by}"
            else:
                reason += f" by tune.run(..., resources={{{name!r}: {max(1.0, asked):g}}}) or RunConfig(resources=...)"
    return f"trial asks {name}={asked:g}, {machine.called} has {supply}" + (f": {reason}" if reason else "")


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}" + ("" if number == 1 else "s")


def _memory_of(gpu: Gpu) -> str:
    return _gib(gpu.memory_bytes) if gpu.memory_bytes else "a memory that its driver does not tell"


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"
