"""Which GPUs a trial gets by memory, by policy and by links: pure functions, against slow obvious models."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune.devices.gpu import Gpu
from fasttune.devices.gpu_choice import WHOLE, GpuLeft, GpuPart, choose, nearest
from fasttune.devices.machine import Machine
from fasttune.devices.resources import (
    Placement,
    PlacementGroupFactory,
    Supply,
    check_possible,
    resolve_resources,
    slots,
)
from rounds import rounds

GIB = 1 << 30


def box(*sizes: int, **more: Any) -> Machine:
    """A machine with GPUs of so many GiB."""
    return Machine(tuple(range(64)), tuple(Gpu(f"GPU-{k:02x}", f"Fake {k}", k, size * GIB) for k, size in enumerate(sizes)), **more)


def asks(**amounts: Any) -> PlacementGroupFactory:
    return resolve_resources({"cpu": 0, **amounts})


def device(placement: Placement | None) -> int | None:
    return None if placement is None else placement.gpus[0][0].index


# ---- what is asked


@pytest.mark.parametrize(
    ("said", "size"),
    [("6GB", 6e9), ("6GiB", 6 * GIB), ("500MB", 5e8), (6_000_000_000, 6e9), (1.5e9, 1.5e9), ("0.5 GB", 5e8)],
)
def test_bytes_are_a_number_or_a_text(said: object, size: float) -> None:
    assert asks(gpu_memory=said).required_resources == {"gpu_memory": size}
    assert resolve_resources({"cpu": 1, "memory": said}).required_resources == {"CPU": 1.0, "memory": size}


@pytest.mark.parametrize("wrong", ["6", "GB", "-6GB", "6 pounds", "", -1, float("nan"), None, [1]])
def test_what_is_no_size_is_refused_by_name(wrong: object) -> None:
    for name in ("gpu_memory", "memory"):
        with pytest.raises(ValueError, match=f"resource '{name}' must be"):
            resolve_resources({name: wrong})


@pytest.mark.parametrize("small", [6, 24.0, 2**20 - 1, "6kB"])
def test_less_than_a_mebibyte_of_a_gpu_was_meant_in_another_unit(small: object) -> None:
    with pytest.raises(ValueError, match=r"'gpu_memory' must be at least 1 MiB .*: a number is bytes, and \d+ GiB are \d+ \* 2\*\*30"):
        resolve_resources({"gpu_memory": small})


def test_only_bytes_may_be_a_text() -> None:
    with pytest.raises(ValueError, match="'GPU' must be a number"):
        resolve_resources({"gpu": "1GB"})


def test_a_request_that_no_device_can_hold_names_request_and_devices() -> None:
    text = (
        "trial asks gpu_memory=42949672960 bytes (40 GiB) of one device, this machine has Fake 0 GPU-00 with 16 GiB, "
        "Fake 1 GPU-01 with 24 GiB"
    )
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole text is compared
        check_possible(box(16, 24), asks(gpu_memory="40GiB"))
    assert str(error.value) == text
    with pytest.raises(ValueError, match="this machine has no GPU: none here"):
        check_possible(box(gpu_reason="none here"), asks(gpu_memory="1GiB"))
    with pytest.raises(ValueError, match="with a memory that its driver does not tell"):
        check_possible(box(0), asks(gpu_memory="1GiB"))
    with pytest.raises(ValueError, match=r"trial asks gpu=2, this machine has 1 GPU"):
        check_possible(box(16), asks(gpu=2, gpu_memory="1GiB"))
    with pytest.raises(ValueError, match=r"trial asks gpu=2, of each gpu_memory=.* \(20 GiB\), .* GPU-00 with 16 GiB, .* with 24"):
        check_possible(box(16, 24), asks(gpu=2, gpu_memory="20GiB"))
    shares = PlacementGroupFactory([{"gpu_memory": "20GiB"}, {"gpu_memory": "20GiB"}, {"GPU": 0.5, "gpu_memory": "1GiB"}])
    text = r"trial asks 2 times gpu_memory=.* \(20 GiB\), each of one device and gpu=0.5 and gpu_memory=.* \(1 GiB\) of one device"
    with pytest.raises(ValueError, match=text):
        check_possible(box(16, 24), shares)
    with pytest.raises(ValueError, match="trial asks vram=1, this machine has 0: did you mean 'gpu_memory'"):
        check_possible(box(16), asks(vram=1))
    check_possible(box(16, 24), asks(gpu_memory="24GiB"))


# ---- shares by memory


@pytest.mark.parametrize(
    ("sizes", "request_", "fit"),
    [
        ((80,), {"gpu_memory": 24 * GIB}, 3),
        ((80,), {"gpu_memory": 80 * GIB}, 1),
        ((3,), {"gpu_memory": GIB}, 3),  # thirds, which no unit divides
        ((80, 24), {"gpu_memory": "24GiB"}, 4),
        ((80,), {"gpu_memory": "1GiB", "gpu": 0.5}, 2),  # both hold
        ((80,), {"gpu_memory": "30GiB", "gpu": 0.1}, 2),
        ((80, 24), {"gpu_memory": "30GiB", "gpu": 1}, 1),  # the large one only
        ((80, 24, 24), {"gpu_memory": "20GiB", "gpu": 2}, 1),
    ],
)
def test_as_many_trials_as_memory_and_share_allow(sizes: tuple[int, ...], request_: dict[str, Any], fit: int) -> None:
    assert slots(box(*sizes), asks(**request_), 1000) == fit


def test_a_device_that_is_given_whole_is_not_shared() -> None:
    supply = Supply(box(80))
    shared = supply.acquire(asks(gpu_memory="1GiB"))
    assert shared is not None
    assert supply.acquire(asks(gpu=1)) is None
    assert supply.acquire(asks(gpu=0.98)) is not None  # a trial by memory has as much of the device as of its memory
    other = Supply(box(80))
    whole = other.acquire(asks(gpu=1))
    assert whole is not None
    assert other.acquire(asks(gpu_memory="1GiB")) is None
    other.release(whole)
    assert other.acquire(asks(gpu_memory="1GiB")) is not None


def test_a_whole_device_by_memory_is_the_smallest_that_has_it() -> None:
    supply = Supply(box(80, 24, 48))
    assert [device(supply.acquire(asks(gpu=1, gpu_memory="20GiB"))) for _ in range(4)] == [1, 2, 0, None]


def test_what_is_promised_is_counted_in_the_sum() -> None:
    supply = Supply(box(80, 24))
    assert supply.total()["gpu_memory"] == 104 * GIB
    supply.acquire(asks(gpu_memory="20GiB"))
    assert supply.available()["gpu_memory"] == 84 * GIB
    assert "gpu_memory" not in Supply(box()).total()


def test_pack_fills_and_spread_takes_the_least_used() -> None:
    request = asks(gpu_memory="20GiB")
    found = {}
    for policy in ("pack", "close", "spread"):
        supply = Supply(box(80, 80, 80), policy)
        found[policy] = [device(supply.acquire(request)) for _ in range(6)]
    assert found == {"pack": [0, 0, 0, 0, 1, 1], "close": [0, 0, 0, 0, 1, 1], "spread": [0, 1, 2, 0, 1, 2]}
    with pytest.raises(ValueError, match="policy must be one of 'pack', 'spread', 'close', got 'tight'"):
        Supply(box(80), "tight")


def test_slices_are_shared_by_memory_and_no_trial_gets_two() -> None:
    cut = Machine((0,), tuple(Gpu(f"MIG-{k}", memory_bytes=10 * GIB, parent="GPU-0") for k in range(2)))
    assert slots(cut, asks(gpu_memory="5GiB"), 9) == 4
    two = PlacementGroupFactory([{"gpu_memory": GIB}, {"gpu_memory": GIB}])
    assert Supply(cut).acquire(two) is None


def test_bundles_each_lie_on_one_device() -> None:
    two = PlacementGroupFactory([{"CPU": 1, "gpu_memory": "6GiB"}, {"gpu_memory": "6GiB"}])
    apart, together = Supply(box(8, 8)).acquire(two), Supply(box(16)).acquire(two)
    assert apart is not None
    assert together is not None
    assert [(gpu.index, size) for (gpu, _), (_, size) in zip(apart.gpus, apart.promised, strict=True)] == [
        (0, 6 * GIB), (1, 6 * GIB),
    ]
    assert together.promised == ((0, 12 * GIB),)
    assert Supply(box(8)).acquire(two) is None


SIZES = st.lists(st.sampled_from([8, 16, 24]), min_size=1, max_size=5)
SHARES = st.fixed_dictionaries(
    {"gpu": st.sampled_from([0, 0, 0.25, 0.3, 1, 2]), "gpu_memory": st.sampled_from([0, 1, 5, 8, 9, 16, 24, 30])}
)


class Books:
    """The slow model: who holds what of each device, in plain lists."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.held: list[Placement] = []

    def of(self, at: int) -> list[tuple[int, int]]:
        """(units, bytes) of each who is on a device."""
        uuid = self.machine.gpus[at].uuid
        return [
            (units, dict(one.promised).get(at, 0)) for one in self.held for gpu, units in one.gpus if gpu.uuid == uuid
        ]

    def left(self, at: int) -> tuple[int, int]:
        users = self.of(at)
        return WHOLE - sum(units for units, _ in users), self.machine.gpus[at].memory_bytes - sum(size for _, size in users)

    def fitting(self, gpu: float, memory: int) -> list[int]:
        """Devices that have room for one who asks for so much of one."""
        found = []
        for at, one in enumerate(self.machine.gpus):
            units, size = self.left(at)
            wanted = round(min(gpu, 1) * WHOLE) or max(1, memory * WHOLE // one.memory_bytes)
            if units >= wanted and size >= memory:
                found.append(at)
        return found


@settings(max_examples=rounds(400), deadline=None)
@given(SIZES, st.lists(SHARES, max_size=30), st.sampled_from(["pack", "spread", "close"]), st.randoms(use_true_random=False))
def test_books_of_memory_hold_and_what_fits_is_had(sizes: list[int], wanted: list[dict], policy: str, choice: Any) -> None:
    machine = box(*sizes)
    supply, books = Supply(machine, policy), Books(machine)
    for one in wanted:
        gpu, memory = one["gpu"], one["gpu_memory"] * GIB
        if not gpu and not memory:
            continue
        fitting = books.fitting(gpu, memory)
        lefts = {at: books.left(at) for at in fitting}
        missing = supply.missing(asks(gpu=gpu, gpu_memory=memory))
        placement = supply.acquire(asks(gpu=gpu, gpu_memory=memory))
        assert (placement is None) == (len(fitting) < max(1, gpu)) == bool(missing)
        if placement is None:
            if books.held:
                supply.release(books.held.pop(choice.randrange(len(books.held))))
            continue
        chosen = [got.index for got, _ in placement.gpus]
        assert set(chosen) <= set(fitting)
        if memory and gpu < 1:
            best = max if policy == "spread" else min
            assert lefts[chosen[0]][0] == best(units for units, _ in lefts.values())
        books.held.append(placement)
        for at in range(len(sizes)):
            users = books.of(at)
            units, size = books.left(at)
            assert units >= 0
            assert size >= 0
            assert len(users) == 1 or all(share < WHOLE for share, _ in users)
    for placement in books.held:
        supply.release(placement)
    assert supply.available() == supply.total()
    for at, gpu in enumerate(machine.gpus):
        assert supply._memory_left(at) == gpu.memory_bytes


# ---- near each other

# two boards of four: NVLink in pairs, one switch for four, the two across sockets
BOARDS = tuple(
    tuple(0 if i == j else -1 if i // 2 == j // 2 else 10 if i // 4 == j // 4 else 50 for j in range(8)) for i in range(8)
)


def indices(placement: Placement | None) -> list[int] | None:
    return None if placement is None else [gpu.index for gpu, _ in placement.gpus]


@pytest.mark.parametrize("policy", ["pack", "spread", "close"])
def test_several_gpus_are_near_under_every_policy(policy: str) -> None:
    supply = Supply(box(*[80] * 8), policy, lambda gpus: BOARDS)
    assert device(supply.acquire(asks(gpu=1))) == 0
    assert indices(supply.acquire(asks(gpu=2))) == [2, 3]  # not 1 and 2, which are neighbours by number
    assert indices(supply.acquire(asks(gpu=4))) == [4, 5, 6, 7]


def test_of_sets_alike_the_one_that_breaks_no_other() -> None:
    supply = Supply(box(*[80] * 8), "pack", lambda gpus: BOARDS)
    first = supply.acquire(asks(gpu=2))
    assert indices(first) == [0, 1]
    assert indices(supply.acquire(asks(gpu=2))) == [2, 3]  # the rest of the board that is broken already
    assert indices(supply.acquire(asks(gpu=3))) == [4, 5, 6]


def test_close_waits_for_a_near_set_and_pack_takes_what_there_is() -> None:
    for policy, pair in (("pack", [1, 3]), ("close", None)):
        supply = Supply(box(*[80] * 8), policy, lambda gpus: BOARDS)
        singles = [supply.acquire(asks(gpu=1)) for _ in range(4)]
        assert indices(supply.acquire(asks(gpu=4))) == [4, 5, 6, 7]
        for one in (singles[1], singles[3]):
            assert one is not None
            supply.release(one)
        assert indices(supply.acquire(asks(gpu=2))) == pair
        assert not supply.missing(asks(gpu=2)) or pair is None or policy == "pack"
        if pair is None:
            assert singles[0] is not None
            supply.release(singles[0])
            assert indices(supply.acquire(asks(gpu=2))) == [0, 1]


def test_links_are_asked_for_once_and_only_where_they_matter() -> None:
    asked: list[int] = []

    def ask(gpus: Any) -> Any:
        asked.append(len(gpus))
        return BOARDS

    supply = Supply(box(*[80] * 8), "pack", ask)
    supply.acquire(asks(gpu=1))
    supply.acquire(asks(gpu=0.5))
    supply.acquire(asks(gpu_memory="1GiB"))
    assert asked == []
    supply.acquire(asks(gpu=2))
    supply.acquire(asks(gpu=2))
    assert asked == [8]
    two = Supply(box(80, 80), "pack", ask)
    assert indices(two.acquire(asks(gpu=2))) == [0, 1]
    assert asked == [8]


def test_gpus_that_are_all_as_near_are_neighbours_as_ever() -> None:
    alike = tuple(tuple(-1 for _ in range(8)) for _ in range(8))
    supply = Supply(box(*[80] * 8), "close", lambda gpus: alike)
    assert indices(supply.acquire(asks(gpu=1))) == [0]
    assert indices(supply.acquire(asks(gpu=2))) == [1, 2]


@settings(max_examples=rounds(300), deadline=None)
@given(st.integers(2, 8), st.randoms(use_true_random=False), st.data())
def test_no_set_is_nearer_than_the_one_that_is_taken(size: int, choice: Any, data: st.DataObject) -> None:
    far = [[0] * size for _ in range(size)]
    for i, j in combinations(range(size), 2):
        far[i][j] = far[j][i] = choice.choice([-1, 0, 10, 20, 30, 40, 50])
    distances = tuple(map(tuple, far))
    free = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=2)))
    count = data.draw(st.integers(2, len(free)))

    def cost(devices: Any) -> tuple[int, int]:
        pairs = [far[i][j] for i, j in combinations(devices, 2)]
        return max(pairs), sum(pairs)

    best = min(map(cost, combinations(free, count)))
    ideal = min(map(cost, combinations(range(size), count)))
    taken = nearest(count, free, range(size), False, distances)
    assert taken is not None
    assert set(taken) <= set(free)
    assert len(set(taken)) == count
    assert cost(taken) == best
    insisted = nearest(count, free, range(size), True, distances)
    assert insisted == (taken if best == ideal else None)


def test_of_very_many_gpus_a_set_grows_by_the_nearest() -> None:
    many = tuple(tuple(0 if i == j else 10 if i // 8 == j // 8 else 50 for j in range(32)) for i in range(32))
    free = [k for k in range(32) if k != 3]
    assert nearest(8, free, range(32), True, many) == tuple(range(8, 16))


def test_a_part_says_how_much_it_is_of_a_device() -> None:
    part = GpuPart(1, 0, 3)
    assert (part.units_of(10), part.units_of(9), GpuPart(1, 0, 1).units_of(10**9)) == (3000, 3333, 1)
    assert choose([part], [GpuLeft(WHOLE, 2, 10), GpuLeft(2999, 10, 10)], "pack") is None
