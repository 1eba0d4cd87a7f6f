"""Runs with GPUs, from tune.run to what each trial sees, on a pretended driver."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

RUN = """
import os, time
import fasttune as tune

def trial(config):
    tune.report(
        a=config["a"],
        seen=os.environ.get("CUDA_VISIBLE_DEVICES", "unset"),
        order=os.environ.get("CUDA_DEVICE_ORDER", "unset"),
        pid=os.getpid(),
        began=time.monotonic(),
    )
    time.sleep(0.002)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
    tune.report(a=config["a"], seen=seen, ended=time.monotonic(), pid=os.getpid())


def run(resources, n, **options):
    analysis = tune.run(
        tune.with_resources(trial, resources), config={"a": tune.uniform(0, 1)}, num_samples=n, verbose=0, **options
    )
    rows = []
    for one in analysis.trials:
        first, last = analysis.trial_dataframes[one.trial_id].to_dict("records")
        rows.append([first["seen"], first["order"], first["pid"], first["began"], last["ended"]])
    return rows
"""


@pytest.fixture
def run(ask: Callable[..., Any], results_dir: object) -> Callable[..., Any]:
    """run(expression, FAKE_GPUS=.., ..): what the expression gives in a process that has the pretended driver."""

    def run(expression: str, **environ: str) -> Any:
        return ask(f"{RUN}\nanswer = {expression}", FASTTUNE_RESULTS_DIR=os.environ["FASTTUNE_RESULTS_DIR"], **environ)

    return run


def uuids(ask: Callable[..., Any], **environ: str) -> list[str]:
    found: list[str] = ask("answer = [gpu.uuid for gpu in detect().gpus]", **environ)
    return found


def most_at_once(rows: list[list[Any]]) -> int:
    """The most trials that ran at the same moment."""
    moments = sorted([(began, 1) for *_, began, _ in rows] + [(ended, -1) for *_, ended in rows])
    running = most = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    return most


def test_G2_each_trial_sees_exactly_its_device_by_uuid_and_a_worker_stays_on_it(ask, run) -> None:
    known = uuids(ask, FAKE_GPUS="2")
    rows = run("run({'cpu': 0.5, 'gpu': 1}, 40)", FAKE_GPUS="2")
    assert {seen for seen, *_ in rows} == set(known)
    assert {order for _, order, *_ in rows} == {"PCI_BUS_ID"}
    devices_of: dict[int, set[str]] = {}
    for seen, _, pid, *_ in rows:
        devices_of.setdefault(pid, set()).add(seen)
    assert all(len(seen) == 1 for seen in devices_of.values())
    for device in known:
        assert most_at_once([row for row in rows if row[0] == device]) == 1


def test_G2_fractions_share_one_device(ask, run) -> None:
    known = uuids(ask, FAKE_GPUS="1")
    rows = run("run({'cpu': 0.5, 'gpu': 0.25}, 40)", FAKE_GPUS="1")
    assert {seen for seen, *_ in rows} == set(known)
    assert 1 < most_at_once(rows) <= 4


def test_G2_several_gpus_for_one_trial(ask, run) -> None:
    known = uuids(ask, FAKE_GPUS="4")
    rows = run("run({'cpu': 0.5, 'gpu': 2}, 10)", FAKE_GPUS="4")
    seen = {tuple(one.split(",")) for one, *_ in rows}
    assert all(len(set(pair)) == 2 and set(pair) <= set(known) for pair in seen)


def test_several_gpus_of_a_trial_are_those_that_nvlink_connects(ask, run) -> None:
    known = uuids(ask, FAKE_GPUS="4")
    rows = run("run({'cpu': 0.5, 'gpu': 2}, 10)", FAKE_GPUS="4", FAKE_NVLINK="0-3,1-2")
    pairs = {",".join([known[0], known[3]]), ",".join([known[1], known[2]])}
    assert rows
    assert {one for one, *_ in rows} <= pairs


def test_pack_stays_on_one_device_and_spread_goes_to_both(ask, run) -> None:
    known = uuids(ask, FAKE_GPUS="2")
    for request in ("{'cpu': 0, 'gpu': 0.25}", "{'cpu': 0, 'gpu_memory': '100MB'}"):
        found = {}
        for policy in ("pack", "spread"):
            rows = run(f"run({request}, 80, gpu_policy={policy!r}, max_concurrent_trials=2)", FAKE_GPUS="2")
            found[policy] = {seen for seen, *_ in rows}
        assert found["spread"] == set(known)
        assert len(found["pack"]) == 1


def test_a_policy_that_there_is_not_is_refused_at_every_door(results_dir: object) -> None:
    import fasttune as tune

    text = "gpu_policy must be one of 'pack', 'spread', 'close', got 'tight'"
    with pytest.raises(ValueError, match=text):
        tune.run(lambda config: None, gpu_policy="tight", verbose=0)
    with pytest.raises(ValueError, match=text):
        tune.Tuner(lambda config: None, run_config=tune.RunConfig(gpu_policy="tight", verbose=0)).fit()


def test_G2_the_run_is_kept_to_the_gpus_it_was_given(ask, run) -> None:
    known = uuids(ask, FAKE_GPUS="3")
    rows = run("run({'cpu': 0.5, 'gpu': 1}, 12, gpus=[2])", FAKE_GPUS="3")
    assert {seen for seen, *_ in rows} == {known[2]}
    rows = run(f"run({{'cpu': 0.5, 'gpu': 1}}, 12, gpus=[{known[0]!r}])", FAKE_GPUS="3")
    assert {seen for seen, *_ in rows} == {known[0]}


def test_G2_a_restricted_parent_is_never_widened(ask, run) -> None:
    known = uuids(ask, FAKE_GPUS="3")
    rows = run("run({'cpu': 0.5, 'gpu': 1}, 12)", FAKE_GPUS="3", CUDA_VISIBLE_DEVICES="1")
    assert {seen for seen, *_ in rows} == {known[1]}


def test_G2_a_trial_that_asks_for_no_gpu_sees_none(run) -> None:
    rows = run("run({'cpu': 1}, 4)", FAKE_GPUS="2")
    assert {seen for seen, *_ in rows} == {""}


def test_G2_more_gpus_than_there_are_is_refused_at_once(ask) -> None:
    code = f"""{RUN}
try:
    run({{'gpu': 3}}, 1)
except ValueError as error:
    answer = str(error)
"""
    told = ask(code, FAKE_GPUS="2", FASTTUNE_RESULTS_DIR=os.environ["FASTTUNE_RESULTS_DIR"])
    assert "gpu=3" in told
    assert "2 GPUs" in told


def test_G2_resources_as_a_function_of_the_config(ask, run) -> None:
    known = uuids(ask, FAKE_GPUS="2")
    rows = run("run(lambda config: {'cpu': 0.5, 'gpu': 1} if config['a'] > 0.5 else {'cpu': 0.5}, 30)", FAKE_GPUS="2")
    assert {seen for seen, *_ in rows} == {"", *known}


def test_G2_each_trial_gets_a_slice_of_a_gpu_that_is_cut(run: Callable[..., Any], ask: Callable[..., Any]) -> None:
    cut = {"FAKE_GPUS": "2", "FAKE_MIG": "2,-"}
    rows = run('run({"cpu": 0.1, "gpu": 1}, 12)', **cut)
    assert {seen for seen, *_ in rows} <= set(uuids(ask, **cut))
    assert most_at_once(rows) <= 3
    assert {seen.partition("-")[0] for seen, *_ in run('run({"cpu": 0.1, "gpu": 1}, 4, gpus=[0, 1])', **cut)} == {"MIG"}
