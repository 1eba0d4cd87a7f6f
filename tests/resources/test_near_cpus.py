"""A trial's process runs on the CPUs next to its GPU, unless somebody has said where it runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from fasttune.devices.gpu import Gpu
from fasttune.devices.machine import allowed_cpus
from fasttune.devices.resources import Placement
from fasttune.devices.trial_process import is_pinned, near_cpus

FIRST, SECOND, NOWHERE = Gpu("GPU-0", cpus=(0, 1, 2, 3)), Gpu("GPU-1", index=1, cpus=(4, 5, 6, 7)), Gpu("GPU-2", index=2)


def placed(*gpus: Gpu, cpu: float = 1.0) -> Placement:
    return Placement((0,), tuple((gpu, 10_000) for gpu in gpus), cpu)


@pytest.mark.parametrize(
    ("placement", "affinity", "near"),
    [
        (placed(SECOND), range(8), (4, 5, 6, 7)),
        (placed(SECOND), (0, 5, 6), (5, 6)),  # within what the process may use
        (placed(FIRST, SECOND), range(8), ()),  # all of them
        (placed(FIRST, SECOND), range(12), (0, 1, 2, 3, 4, 5, 6, 7)),
        (placed(FIRST), range(4), ()),  # a machine with one node
        (placed(SECOND), range(4), ()),  # none of its own may be used
        (placed(NOWHERE), range(8), ()),
        (placed(FIRST, NOWHERE), range(8), ()),
        (placed(FIRST, cpu=5), range(8), ()),  # it has asked for more than lie there
        (placed(FIRST, cpu=0), range(8), (0, 1, 2, 3)),
        (placed(), range(8), ()),
    ],
)
def test_near_cpus_are_those_of_its_gpus_node(placement: Placement, affinity: Any, near: tuple[int, ...]) -> None:
    assert near_cpus(placement, affinity) == near


def test_who_has_said_where_threads_run_is_left_alone() -> None:
    assert not is_pinned({}, range(8), range(8))
    assert is_pinned({}, range(4), range(8))  # taskset
    assert not is_pinned({}, range(4), ())  # nobody knows what there is
    assert not is_pinned({}, range(8), range(4))
    for name in ("OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"):
        assert is_pinned({name: "cores"}, range(8), range(8))
        assert not is_pinned({name: ""}, range(8), range(8))


def test_what_the_system_allows_is_what_is_online_or_a_cpuset(tmp_path: Any) -> None:
    assert allowed_cpus(str(tmp_path)) == set()
    (tmp_path / "sys/devices/system/cpu").mkdir(parents=True)
    (tmp_path / "sys/devices/system/cpu/online").write_text("0-7\n")
    assert allowed_cpus(str(tmp_path)) == set(range(8))


WORKERS = """
import os, fasttune as tune
def trial(config):
    tune.report(cpus=sorted(os.sched_getaffinity(0)), seen=os.environ["CUDA_VISIBLE_DEVICES"][:12])
found = tune.run(trial, num_samples=8, resources_per_trial={"cpu": 0, "gpu": 1}, verbose=0)
answer = [sorted(os.sched_getaffinity(0)), [[one.last_result["seen"], one.last_result["cpus"]] for one in found.trials]]
"""


def test_workers_run_next_to_their_gpu(ask: Callable[..., Any], results_dir: object) -> None:
    first, *_, second = sorted(os.sched_getaffinity(0)) * 2  # the same one where there is no other
    told = {"FAKE_GPUS": "2", "FAKE_NEAR": f"{first},{second}", "FASTTUNE_RESULTS_DIR": os.environ["FASTTUNE_RESULTS_DIR"]}
    plain, rows = ask(WORKERS, **told)
    pinned = set(plain) < allowed_cpus()  # whoever runs these tests may have said where
    near = {"GPU-00000000": plain if pinned else [first], "GPU-00000001": plain if pinned else [second]}
    assert rows
    assert all(cpus == near[seen] for seen, cpus in rows)
    assert {seen for seen, _ in rows} <= near.keys()
    plain, rows = ask(WORKERS, OMP_PLACES="cores", **told)
    assert all(cpus == plain for _, cpus in rows)
