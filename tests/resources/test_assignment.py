"""Who gets what: pure functions of machine, environment and requests, so checked with any number of GPUs."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune.devices.gpus import Gpu, choose_gpus, visible_gpus
from fasttune.devices.machine import Machine
from fasttune.devices.resources import (
    Placement,
    PlacementGroupFactory,
    Supply,
    assign,
    check_possible,
    resolve_resources,
    slots,
)
from fasttune.devices.trial_process import THREAD_VARIABLES, trial_environ
from rounds import rounds


def gpus(count: int) -> tuple[Gpu, ...]:
    return tuple(Gpu(f"GPU-{k:02x}{7 * k:06x}-0000", f"Fake {k}", k, 2**30) for k in range(count))


def machine(cpus: int, gpu_count: int = 0, **more: object) -> Machine:
    return Machine(tuple(range(cpus)), gpus(gpu_count), **more)


def cut(whole: Gpu, into: int) -> tuple[Gpu, ...]:
    return tuple(Gpu(f"MIG-{whole.index:02x}{k:02x}", index=whole.index, parent=whole.uuid) for k in range(into))


# -------------------------------------------------------------------------------------------------- slices (MIG)


def test_each_slice_is_a_device_and_no_trial_gets_two() -> None:
    one, two, three = gpus(3)
    mixed = Machine(tuple(range(16)), (*cut(one, 2), two, *cut(three, 3)))
    single = assign(mixed, [PlacementGroupFactory([{"CPU": 1, "GPU": 1}])] * 7)
    assert [place and place.gpus[0][0].uuid for place in single] == [*(gpu.uuid for gpu in mixed.gpus), None]
    halves = assign(mixed, [PlacementGroupFactory([{"CPU": 1, "GPU": 0.5}])] * 13)
    assert sum(place is not None for place in halves) == 12
    for request in ([{"CPU": 1, "GPU": 2}], [{"CPU": 1, "GPU": 1}, {"GPU": 1}], [{"CPU": 1, "GPU": 1}, {"GPU": 0.5}]):
        with pytest.raises(ValueError, match=r"this machine has 6 GPUs: a process can use one slice \(MIG\) only"):
            check_possible(mixed, PlacementGroupFactory(request))
    more = Machine(tuple(range(16)), (*cut(one, 2), two, three))
    [pair, rest] = assign(more, [PlacementGroupFactory([{"CPU": 1, "GPU": 2}]), PlacementGroupFactory([{"CPU": 1, "GPU": 1}])])
    assert pair is not None
    assert [gpu for gpu, _ in pair.gpus] == [two, three]
    assert rest is not None
    assert trial_environ(rest, {}, gpu_id_format="index")["CUDA_VISIBLE_DEVICES"] == "MIG-0000"


def test_slices_are_chosen_one_by_one_or_by_their_gpu() -> None:
    one, two = gpus(2)
    visible = (*cut(one, 2), two)
    assert choose_gpus(visible, [1, 2]) == (visible[1], two)
    assert choose_gpus(visible, ["MIG-0001"]) == (visible[1],)
    assert choose_gpus(visible, [one.uuid]) == visible[:2]
    with pytest.raises(ValueError, match="not exactly one"):
        choose_gpus(visible, ["MIG-"])
    with pytest.raises(ValueError, match="twice"):
        choose_gpus(visible, [one.uuid, 0])


# ------------------------------------------------------------------------------------- CUDA_VISIBLE_DEVICES


@pytest.mark.parametrize(
    ("value", "indices"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("0", [0]),
        ("2,0", [2, 0]),
        (" 1 , 2", [1, 2]),
        ("0,7,1", [0]),  # an entry that names nothing hides itself and what follows
        ("0,-1,1", [0]),
        ("-1", []),
        ("NoDevFiles", []),
        ("1,1", []),  # a duplicate hides all
        ("1,GPU-01", []),
        ("0,1,9,1", [0, 1]),
        ("GPU-01", [1]),
        ("GPU-02,GPU-00", [2, 0]),
        ("GPU-0", []),  # fits several
        ("GPU-", []),
        ("G", []),
        ("MIG-01", []),
    ],
)
def test_the_parents_mask_follows_cudas_rules(value: str | None, indices: list[int]) -> None:
    assert [gpu.index for gpu in visible_gpus(gpus(3), value)] == indices


def test_an_index_means_the_place_in_pci_order_even_if_a_device_is_lost() -> None:
    healthy = tuple(gpu for gpu in gpus(3) if gpu.index != 1)
    assert [gpu.index for gpu in visible_gpus(healthy, "2")] == [2]
    assert visible_gpus(healthy, "1,2") == ()


def test_gpus_argument_counts_among_the_visible() -> None:
    visible = visible_gpus(gpus(4), "3,1")
    assert [gpu.index for gpu in choose_gpus(visible, [1, 0])] == [1, 3]
    assert [gpu.index for gpu in choose_gpus(visible, [gpus(4)[3].uuid])] == [3]
    assert choose_gpus(visible, None) == visible
    assert choose_gpus(visible, []) == ()


@pytest.mark.parametrize(
    ("wanted", "error", "text"),
    [
        ([2], ValueError, r"names 2, .* there is 0: GPU-03.* \(Fake 3\), 1: GPU-01"),
        ([-1], ValueError, "names -1"),
        (["GPU-02"], ValueError, "names 'GPU-02'"),
        (["GPU-0"], ValueError, "not exactly one"),
        ([""], ValueError, "names ''"),
        ([0, "GPU-03"], ValueError, "twice"),
        ([True], TypeError, "indices"),
        ([1.0], TypeError, "indices"),
        ("GPU-03", TypeError, "a list of indices or UUIDs"),
        (1, TypeError, r"one GPU is \[1\]"),
    ],
)
def test_gpus_argument_refuses_what_is_not_there(wanted: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        choose_gpus(visible_gpus(gpus(4), "3,1"), wanted)


def test_gpus_argument_without_any_gpu_says_so() -> None:
    with pytest.raises(ValueError, match=r"names 0, and there is no GPU that this process sees.*CUDA_VISIBLE_DEVICES"):
        choose_gpus((), [0])


# ------------------------------------------------------------------------------------------------ the books


@pytest.mark.parametrize(
    ("cpus", "gpu_count", "request_", "fit"),
    [
        (8, 0, {"cpu": 1}, 8),
        (8, 0, {"cpu": 3}, 2),
        (8, 0, {"cpu": 0.5}, 16),
        (100, 8, {"cpu": 1, "gpu": 0.15}, 48),
        (4, 8, {"cpu": 1, "gpu": 1}, 4),
        (16, 8, {"cpu": 1, "gpu": 3}, 2),
        (16, 8, {"gpu": 0.5}, 16),
        (2, 1, {"cpu": 0}, 1000),
        (2, 1, {"gpu": 2}, 0),
    ],
)
def test_G1_slots_are_total_over_need(cpus: int, gpu_count: int, request_: dict, fit: int) -> None:
    assert slots(machine(cpus, gpu_count), resolve_resources(request_), 1000) == fit


def test_R2_slots_stop_at_the_limit() -> None:
    assert slots(machine(8), resolve_resources({"cpu": 1}), 3) == 3


def test_G1_memory_and_custom_resources_limit_too() -> None:
    box = machine(8, memory_bytes=10 * 2**30, custom={"licence": 2})
    assert slots(box, resolve_resources({"cpu": 1, "memory": 4 * 2**30}), 99) == 2
    assert slots(box, resolve_resources({"cpu": 1, "licence": 0.5}), 99) == 4


def test_bundles_are_one_sum_but_each_fraction_lies_on_one_device() -> None:
    request = PlacementGroupFactory([{"CPU": 1}, {"CPU": 2, "GPU": 1}, {"GPU": 0.6}, {"GPU": 0.6}])
    [placement] = assign(machine(4, 3), [request])
    assert len(placement.cpus) == 3
    assert [(gpu.index, units) for gpu, units in placement.gpus] == [(0, 10_000), (1, 6_000), (2, 6_000)]
    assert assign(machine(4, 2), [request]) == [None]
    [together] = assign(machine(1, 1), [PlacementGroupFactory([{"GPU": 0.5}, {"GPU": 0.5}])])
    assert [(gpu.index, units) for gpu, units in together.gpus] == [(0, 10_000)]


def test_a_request_that_half_fits_takes_nothing() -> None:
    supply = Supply(machine(4, 2))
    request = PlacementGroupFactory([{"CPU": 1, "GPU": 0.6}] * 3)
    before = supply.available()
    assert supply.acquire(request) is None
    assert supply.missing(request) == {"gpu": (pytest.approx(1.8), 2.0, 2.0)}
    assert supply.available() == before == supply.total()


def test_released_once_only() -> None:
    supply = Supply(machine(2, 1))
    placement = supply.acquire(resolve_resources({"cpu": 1, "gpu": 1}))
    assert supply.missing(resolve_resources({"gpu": 0.5})) == {"gpu": (0.5, 0.0, 1.0)}
    supply.release(placement)
    assert supply.missing(resolve_resources({"gpu": 0.5})) == {}
    with pytest.raises(ValueError, match="released before"):
        supply.release(placement)


def test_spread_uses_every_gpu_first() -> None:
    requests = [resolve_resources({"gpu": 0.5})] * 4
    for policy, expected in [("pack", [0, 0, 1, 1]), ("spread", [0, 1, 0, 1])]:
        placements = assign(machine(4, 2), requests, policy)
        assert [placement.gpus[0][0].index for placement in placements] == expected


@pytest.mark.parametrize(
    ("box", "request_", "text"),
    [
        (
            machine(4, gpu_reason="no NVIDIA driver (libnvidia-ml.so.1 not found)"),
            {"cpu": 1, "gpu": 1},
            "trial asks gpu=1, this machine has 0 GPUs: no NVIDIA driver (libnvidia-ml.so.1 not found)",
        ),
        (machine(1, 1), {"gpu": 2}, "trial asks gpu=2, this machine has 1 GPU"),
        (
            machine(2, cpu_reason="a cgroup quota of 2 CPUs, on a mask of 8"),
            {"cpu": 4},
            "trial asks cpu=4, this machine has 2 CPUs: a cgroup quota of 2 CPUs, on a mask of 8",
        ),
        (
            machine(2, memory_bytes=2**30),
            {"cpu": 1, "memory": 2**31},
            "trial asks memory=2147483648 bytes (2 GiB), this machine has 1073741824 bytes (1 GiB)",
        ),
        (
            machine(2),
            {"cpu": 1, "licence": 1},
            "trial asks licence=1, this machine has 0: declare them, by "
            "tune.run(..., resources={'licence': 1}) or RunConfig(resources=...)",
        ),
        (
            machine(2, 1),
            {"cpu": 3, "gpu": 1.0, "licence": 1},
            "trial asks cpu=3, this machine has 2 CPUs; "
            "trial asks licence=1, this machine has 0: declare them, by "
            "tune.run(..., resources={'licence': 1}) or RunConfig(resources=...)",
        ),
    ],
)
def test_wish_9_impossible_requests_are_refused_with_request_and_supply(
    box: Machine, request_: dict, text: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole text is compared
        check_possible(box, resolve_resources(request_))
    assert str(error.value) == text


def test_fractions_that_fit_no_set_of_devices_say_so() -> None:
    with pytest.raises(ValueError, match=r"gpu=1\.2, this machine has 1 GPU$"):
        check_possible(machine(1, 1), PlacementGroupFactory([{"GPU": 0.6}] * 2))
    with pytest.raises(ValueError, match=r"gpu=1\.8, this machine has 2 GPUs: each fraction must lie on one"):
        check_possible(machine(1, 2), PlacementGroupFactory([{"GPU": 0.6}] * 3))


def test_possible_requests_pass() -> None:
    check_possible(machine(2, 1), resolve_resources({"cpu": 2, "gpu": 0.5}))
    check_possible(machine(1), resolve_resources(None))


# ------------------------------------------------------------------------------------ the child's environment


def test_G2_a_trial_sees_its_gpus_by_uuid_in_pci_order() -> None:
    one, two = gpus(2)
    variables = trial_environ(Placement((0,), ((two, 10_000), (one, 10_000))), {})
    assert variables["CUDA_VISIBLE_DEVICES"] == f"{two.uuid},{one.uuid}"
    assert variables["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    by_index = trial_environ(Placement((0,), ((two, 10_000),)), {}, gpu_id_format="index")
    assert by_index["CUDA_VISIBLE_DEVICES"] == "1"
    with pytest.raises(ValueError, match="'uuid' or 'index'"):
        trial_environ(Placement((0,)), {}, gpu_id_format="pci")


def test_G2_a_trial_without_gpus_sees_none_of_the_machines() -> None:
    [hidden] = assign(machine(1, 2), [resolve_resources(None)])
    [plain] = assign(machine(1), [resolve_resources(None)])
    assert trial_environ(hidden, {})["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in trial_environ(plain, {})


@pytest.mark.parametrize(("cpu", "threads"), [(0, "1"), (0.5, "1"), (1, "1"), (2.5, "2"), (4, "4")])
def test_wish_13_libraries_start_as_many_threads_as_the_trial_has_cpus(cpu: float, threads: str) -> None:
    [placement] = assign(machine(8), [resolve_resources({"cpu": cpu})])
    variables = trial_environ(placement, {"OMP_NUM_THREADS": "7", "HOME": "/"})
    assert variables == {name: threads for name in THREAD_VARIABLES if name != "OMP_NUM_THREADS"}


# ----------------------------------------------------------------------------------------------- properties

AMOUNTS = st.sampled_from([0, 0.0001, 0.1, 0.15, 0.3, 1 / 3, 0.5, 0.75, 1, 2, 3])
BUNDLES = st.lists(st.fixed_dictionaries({"CPU": AMOUNTS, "GPU": AMOUNTS}), min_size=1, max_size=3)
REQUESTS = st.lists(st.builds(PlacementGroupFactory, BUNDLES), max_size=25)
ENTRIES = st.integers(-1, 6).map(str) | st.integers(0, 6).map(lambda k: f"GPU-{k:02x}")
MASKS = st.none() | st.lists(ENTRIES, max_size=5).map(",".join)


def check_books(box: Machine, placements: list[Placement], allowed: set[str]) -> None:
    """Never over capacity, nobody beside an exclusive trial, nobody outside the parent's set."""
    users: Counter[str] = Counter()
    load: Counter[str] = Counter()
    for placement in placements:
        names = [gpu.uuid for gpu, _ in placement.gpus]
        assert len(set(names)) == len(names)
        assert set(names) <= allowed
        assert set(placement.cpus) <= set(box.cpus)
        users.update(names)
        for gpu, units in placement.gpus:
            load[gpu.uuid] += units
    assert all(units <= 10_000 for units in load.values())
    assert sum(placement.cpu for placement in placements) <= len(box.cpus) + 1e-3
    exclusive = [gpu.uuid for placement in placements for gpu, units in placement.gpus if units == 10_000]
    assert all(users[uuid] == 1 for uuid in exclusive)


@settings(max_examples=rounds(1500), deadline=None)
@given(st.integers(1, 9), st.integers(0, 6), MASKS, REQUESTS, st.sampled_from(["pack", "spread"]))
def test_assignments_keep_the_books(
    cpus: int, gpu_count: int, mask: str | None, requests: list[PlacementGroupFactory], policy: str
) -> None:
    visible = visible_gpus(gpus(gpu_count), mask)
    box = Machine(tuple(range(cpus)), visible)
    placements = assign(box, requests, policy)
    check_books(box, [placement for placement in placements if placement], {gpu.uuid for gpu in visible})
    for request, placement in zip(requests, placements, strict=True):
        if placement is not None:
            needed = request.required_resources
            assert placement.cpu == needed.get("CPU", 0)
            granted = sum(units for _, units in placement.gpus)
            assert granted == sum(round(bundle.get("GPU", 0) * 10_000) for bundle in request.bundles)
            check_possible(box, request)
            children = trial_environ(placement, {})
            seen = visible_gpus(gpus(gpu_count), children.get("CUDA_VISIBLE_DEVICES", mask))
            assert seen == tuple(gpu for gpu, _ in placement.gpus)


@settings(max_examples=rounds(1000), deadline=None)
@given(st.integers(1, 9), st.integers(0, 6), REQUESTS, st.randoms(use_true_random=False))
def test_trials_that_come_and_go_keep_the_books(cpus: int, gpu_count: int, requests: list, choice) -> None:
    box = machine(cpus, gpu_count)
    supply = Supply(box)
    held: list[Placement] = []
    for request in requests:
        lacking = supply.missing(request)
        placement = supply.acquire(request)
        assert (placement is None) == bool(lacking)
        if placement is not None:
            held.append(placement)
        elif held:
            supply.release(held.pop(choice.randrange(len(held))))
        check_books(box, held, {gpu.uuid for gpu in box.gpus})
    for placement in held:
        supply.release(placement)
    assert supply.available() == supply.total()
