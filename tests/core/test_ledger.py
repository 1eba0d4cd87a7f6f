"""The ledger grants what is there, never more, and what is given back is exactly what was taken."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fasttune._core import Grant, Ledger
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model_resources import WHOLE, ModelGrant, ModelLedger


def acquire_all(ledger: Ledger, *request: float) -> list[Grant]:
    grants = []
    while (grant := ledger.acquire(*request)) is not None:
        grants.append(grant)
    return grants


@pytest.mark.parametrize(
    ("cpus", "need", "fit"),
    [
        (4, 1, 4), (4, 3, 1), (4, 0.5, 8), (2, 0.3, 6), (2, 0.4, 5), (3, 1.5, 2), (3, 0.6, 5), (5, 0.7, 7),
        (1, 0.0001, 10_000),
    ],
)
def test_G1_concurrency_is_total_over_need(cpus: int, need: float, fit: int) -> None:
    ledger = Ledger(range(cpus))
    grants = acquire_all(ledger, need)
    assert len(grants) == fit == math.floor(cpus / need + 1e-9)
    for grant in grants:
        ledger.release(grant)
    assert ledger.available() == ledger.total()


@pytest.mark.parametrize("policy", ["pack", "spread"])
def test_fraction_of_a_gpu_lies_on_one_device(policy: str) -> None:
    ledger = Ledger(range(100), 8, policy=policy)
    grants = acquire_all(ledger, 1, 0.15)
    assert len(grants) == 48  # six on each of 8; the sum alone would allow 53
    assert all(len(grant.gpus) == 1 for grant in grants)


def test_pack_fills_a_started_device_and_spread_takes_the_freest() -> None:
    pack, spread = Ledger(range(8), 4), Ledger(range(8), 4, policy="spread")
    assert [pack.acquire(1, 0.5).gpus[0][0] for _ in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [spread.acquire(1, 0.5).gpus[0][0] for _ in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_a_small_share_goes_where_it_just_fits() -> None:
    ledger = Ledger(range(8), 3)
    ledger.acquire(0, 0.3)
    ledger.acquire(0, 0.8)
    assert ledger.acquire(0, 0.2).gpus == ((1, 2000),)
    assert ledger.acquire(0, 0.2).gpus == ((0, 2000),)
    assert ledger.acquire(0, 1).gpus == ((2, WHOLE),)


def test_whole_gpus_are_exclusive_and_neighbours_when_possible() -> None:
    ledger = Ledger(range(16), 8)
    first, second = ledger.acquire(1, 2), ledger.acquire(1, 1)
    assert first.gpus == ((0, WHOLE), (1, WHOLE))
    assert second.gpus == ((2, WHOLE),)
    ledger.release(first)
    assert ledger.acquire(1, 4).gpus == tuple((index, WHOLE) for index in (3, 4, 5, 6))
    assert ledger.acquire(1, 3).gpus == tuple((index, WHOLE) for index in (0, 1, 7))
    assert ledger.acquire(0, 0.1) is None


def test_cpu_ids_are_the_given_ones_and_adjacent() -> None:
    ledger = Ledger([4, 5, 6, 7, 68, 69])
    assert ledger.acquire(1).cpus == (4,)
    assert ledger.acquire(2).cpus == (5, 6)
    ledger = Ledger(range(200))
    assert ledger.acquire(130).cpus == tuple(range(130))
    assert ledger.acquire(70).cpus == tuple(range(130, 200))
    assert ledger.acquire(0.1) is None


def test_fractions_of_cpus_share_one_cpu() -> None:
    ledger = Ledger(range(4))
    assert [ledger.acquire(0.5).cpus for _ in range(4)] == [(0,), (0,), (1,), (1,)]
    assert ledger.acquire(1.5).cpus == (2, 3)


def test_release_twice_or_elsewhere_is_refused() -> None:
    ledger, other = Ledger(range(2)), Ledger(range(2))
    grant = ledger.acquire(1)
    with pytest.raises(ValueError, match="another ledger"):
        other.release(grant)
    ledger.release(grant)
    assert not grant.live
    with pytest.raises(ValueError, match="released before"):
        ledger.release(grant)
    assert ledger.available()["cpu"] == 2.0


def test_a_grant_comes_from_a_ledger_only() -> None:
    with pytest.raises(TypeError, match=r"Ledger\.acquire"):
        Grant()
    empty = Grant.__new__(Grant)
    assert (empty.live, empty.cpus, empty.gpus) == (False, (), ())
    with pytest.raises(ValueError, match="another ledger"):
        Ledger([0]).release(empty)


def test_third_parts_add_up_to_exactly_nothing() -> None:
    ledger = Ledger(range(3), 2, custom={"licence": 1})
    start = ledger.available()
    for _ in range(1_000):
        grants = [ledger.acquire(1 / 3, 1 / 3, 0, {"licence": 1 / 3}) for _ in range(3)]
        for grant in grants:
            ledger.release(grant)
    assert ledger.available() == start


def test_memory_and_custom_resources_are_counted() -> None:
    ledger = Ledger(range(8), 0, 10_000, {"licence": 2, "disk": 0.5})
    grant = ledger.acquire(1, 0, 6_000, {"licence": 1.5, "disk": 0})
    assert (grant.memory, grant.custom) == (6_000, {"licence": 1.5})
    assert ledger.acquire(1, 0, 4_001) is None
    assert ledger.acquire(1, 0, 0, {"licence": 1}) is None
    assert ledger.acquire(1, 0, 0, {"tape": 1}) is None
    assert ledger.acquire(1, 0, 0, {"tape": 0}) is not None
    assert ledger.available() == {"cpu": 6.0, "gpu": 0.0, "memory": 4_000, "licence": 0.5, "disk": 0.5}


def test_a_refused_request_takes_nothing() -> None:
    ledger = Ledger(range(2), 1, 100, {"licence": 1})
    before = ledger.available()
    for request in [(3,), (1, 2), (1, 1, 101), (1, 1, 100, {"licence": 2}), (math.inf,), (1, math.inf)]:
        assert ledger.acquire(*request) is None
        assert ledger.available() == before


def test_missing_says_asked_free_and_total() -> None:
    ledger = Ledger(range(2), 2, 100, {"licence": 1})
    ledger.acquire(1, 0.5, 60)
    ledger.acquire(0, 0.7)
    assert ledger.missing(1, 0.5, 40, {"licence": 1}) == {}
    assert ledger.missing(4, 0.6, 50, {"licence": 2, "tape": 1}) == {
        "cpu": (4.0, 1.0, 2.0),
        "gpu": (0.6, 0.5, 2.0),
        "memory": (50, 40, 100),
        "licence": (2.0, 1.0, 1.0),
        "tape": (1.0, 0.0, 0.0),
    }
    assert ledger.missing(1, 1) == {"gpu": (1.0, 0.0, 2.0)}
    assert Ledger(range(1)).missing(1, 0.5) == {"gpu": (0.5, 0.0, 0.0)}


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ((-1,), "cpu must be a number >= 0, got -1"),
        ((math.nan,), "cpu must be a number >= 0, got nan"),
        ((1, -0.5), "gpu must be a number >= 0"),
        ((1, 1.5), "gpu must be a whole number when it is more than 1, got 1.5"),
        ((1, 0.00001), "at least 0.0001"),
        ((1, 0, -1), "memory must be >= 0 bytes"),
        ((1, 0, 0, {"licence": -1}), "licence must be a number >= 0"),
    ],
)
def test_refuses_amounts_no_machine_can_give(request_: tuple, text: str) -> None:
    ledger = Ledger(range(2), 2, 100, {"licence": 1})
    with pytest.raises(ValueError, match=text):
        ledger.acquire(*request_)


@pytest.mark.parametrize("devices", [((2, 1),), ((-1, 1),), ((0, 0),), ((0, WHOLE + 1),), ((0, 1), (0, 1))])
def test_devices_that_are_chosen_have_to_be_there(devices: tuple) -> None:
    ledger = Ledger(range(2), 2)
    with pytest.raises(ValueError, match=r"devices must hold \(position, units\) of GPUs, each once"):
        ledger.acquire(0, devices=devices)
    with pytest.raises(ValueError, match="gpu must be 0 beside devices"):
        ledger.acquire(0, 0.5, devices=((0, 1),))
    assert ledger.available() == ledger.total()
    grant = ledger.acquire(1, 0, devices=((1, 2500), (0, WHOLE)))
    assert (grant.cpus, grant.gpus) == ((0,), ((1, 2500), (0, WHOLE)))
    assert ledger.acquire(3, devices=((1, 1),)) is None
    ledger.release(grant)
    assert ledger.available() == ledger.total()


def test_refuses_a_machine_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="each CPU once"):
        Ledger([1, 1])
    with pytest.raises(ValueError, match="'pack' or 'spread'"):
        Ledger([1], policy="tight")
    with pytest.raises(ValueError, match="must be >= 0"):
        Ledger([1], -1)
    with pytest.raises(ValueError, match="positions of the 2 GPUs, got 2"):
        Ledger([1], 2, alone=[2])


SHARES = st.sampled_from([0, 0.0001, 0.1, 0.15, 0.25, 0.3, 1 / 3, 0.5, 0.9999, 1])


class LedgerTrace(RuleBasedStateMachine):
    """The compiled ledger and its twin get the same requests and must give the same answers."""

    @initialize(
        cpus=st.integers(0, 70),
        gpus=st.integers(0, 70),
        policy=st.sampled_from(["pack", "spread"]),
        slices=st.one_of(st.just(frozenset()), st.frozensets(st.integers(0, 69), max_size=30)),
    )
    def start(self, cpus: int, gpus: int, policy: str, slices: frozenset[int]) -> None:
        custom = {"licence": 2.5}
        self.ids = [3 * i for i in range(cpus)]
        alone = frozenset(at for at in slices if at < gpus)
        self.ledger = Ledger(self.ids, gpus, 1_000, custom, policy, alone)
        self.model = ModelLedger(cpus, gpus, 1_000, custom, policy, alone)
        self.held: list[tuple[Grant, ModelGrant]] = []

    @rule(
        cpu=st.one_of(SHARES, st.integers(0, 40), st.floats(0.001, 9)),
        gpu=st.one_of(SHARES, st.integers(0, 40)),
        memory=st.sampled_from([0, 0, 1, 400]),
        licence=st.sampled_from([0, 0, 0.5, 1.3]),
        times=st.integers(1, 5),
        joined=st.booleans(),
    )
    def acquire(self, cpu: float, gpu: float, memory: int, licence: float, times: int, joined: bool) -> None:
        custom = {"licence": licence}
        for _ in range(times):
            lacking = self.ledger.missing(cpu, gpu, memory, custom, joined)
            grant = self.ledger.acquire(cpu, gpu, memory, custom, joined)
            twin = self.model.acquire(cpu, gpu, memory, custom, joined)
            assert (grant is None) == (twin is None) == bool(lacking)
            if grant is None or twin is None:
                return
            assert sorted(grant.gpus) == sorted(twin.gpus)
            assert grant.cpu_units == twin.cpu
            assert set(grant.cpus) <= set(self.ids)
            assert len(set(grant.cpus)) == len(grant.cpus) >= cpu - 1e-4
            self.held.append((grant, twin))

    @precondition(lambda self: self.model.gpus)
    @rule(wanted=st.dictionaries(st.integers(0, 69), st.sampled_from([1, 2500, 5000, 9999, WHOLE]), min_size=1, max_size=6))
    def acquire_devices(self, wanted: dict[int, int]) -> None:
        devices = tuple({device % self.model.gpus: share for device, share in wanted.items()}.items())
        if len(devices) > 1 and any(device in self.model.alone for device, _ in devices):
            with pytest.raises(ValueError, match="never one of several"):
                self.ledger.acquire(0, devices=devices)
            return
        grant, twin = self.ledger.acquire(0, devices=devices), self.model.acquire_devices(devices)
        assert (grant is None) == (twin is None)
        if grant is not None and twin is not None:
            assert grant.gpus == devices
            self.held.append((grant, twin))

    @precondition(lambda self: self.held)
    @rule(choice=st.randoms(use_true_random=False))
    def release(self, choice) -> None:
        grant, twin = self.held.pop(choice.randrange(len(self.held)))
        self.ledger.release(grant)
        self.model.release(twin)

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "ledger"):
            return
        assert self.ledger.gpu_shares() == [(i, free / WHOLE) for i, free in enumerate(self.model.gpu)]
        assert self.ledger.available() == {
            "cpu": self.model.cpu / WHOLE,
            "gpu": sum(self.model.gpu) / WHOLE,
            "memory": self.model.memory,
            "licence": self.model.amounts["licence"] / WHOLE,
        }
        assert all(0 <= free <= 1 for _, free in self.ledger.cpu_shares())
        assert sum(round(free * WHOLE) for _, free in self.ledger.cpu_shares()) == self.model.cpu

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            for grant, _ in self.held:
                self.ledger.release(grant)
            assert self.ledger.available() == self.ledger.total()


TestLedgerTrace = LedgerTrace.TestCase
TestLedgerTrace.settings = settings(max_examples=rounds(60), stateful_step_count=40, deadline=None)
