from __future__ import annotations

import array
import pickle
import time
from typing import Any

import pytest
from fake_source import STARTED, FakeSource, FakeTrial
from hypothesis import given
from hypothesis import strategies as st

from fasttune.analysis.result import Result
from fasttune.checkpoint import Checkpoint
from fasttune.result import (
    AUTO_KEYS,
    Metrics,
    Report,
    ReportBlock,
    effective,
    flatten,
    flattened_config,
    history,
    make_flat_result,
    make_result,
    reports_by_trial,
    results_of,
    unflatten,
)
from fasttune.trial import Snapshot

GIVEN: dict[str, Any] = {
    "step": 7,
    "time": 1000.75,
    "started": 990.5,
    "previous": 1000.25,
    "trial_id": "ab12c_00003",
    "pid": 42,
    "hostname": "box",
    "node_ip": "127.0.0.1",
    "config": {"a": 1},
}


def test_T7_a_result_has_the_13_keys_in_order() -> None:
    result = make_result(
        {"score": 1.5}, **GIVEN, restored_step=5, restored_time=100.0, experiment_tag="3_a=1"
    )
    assert list(result) == ["score", *AUTO_KEYS, "experiment_tag"]
    assert len(AUTO_KEYS) == 13
    assert result == {
        "score": 1.5,
        "done": False,
        "training_iteration": 7,
        "trial_id": "ab12c_00003",
        "date": time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(1000)),
        "timestamp": 1000,
        "time_this_iter_s": 0.5,
        "time_total_s": 110.25,
        "pid": 42,
        "hostname": "box",
        "node_ip": "127.0.0.1",
        "config": {"a": 1},
        "time_since_restore": 10.25,
        "iterations_since_restore": 2,
        "experiment_tag": "3_a=1",
    }


def test_T7_a_users_own_value_wins() -> None:
    result = make_result({"training_iteration": 1000, "done": True}, **GIVEN)
    assert result["training_iteration"] == 1000
    assert result["done"] is True
    assert result["iterations_since_restore"] == 7


def test_T7_dates_follow_their_times() -> None:
    dates = [make_result({}, **{**GIVEN, "time": t})["date"] for t in (10.0, 10.9, 11.0, 10.0)]
    assert dates[0] == dates[1] == dates[3] != dates[2]


def test_T2_metrics_with_a_slash_are_nested_and_still_found_by_their_full_name() -> None:
    result = make_result({"val/loss": 0.5, "val/deep/acc": 1, "x": 2}, **GIVEN)
    assert result["val"] == {"loss": 0.5, "deep": {"acc": 1}}
    assert result["val/loss"] == result.get("val/loss") == 0.5
    assert "val/deep/acc" in result
    assert "val/none" not in result
    assert result.get("val/none", 3) == 3
    assert result.copy()["val/loss"] == 0.5
    with pytest.raises(KeyError, match="val/none"):
        result["val/none"]
    assert pickle.loads(pickle.dumps(result)) == result
    assert type(make_result({"x": 2}, **GIVEN)) is dict


def test_unflatten_keeps_a_name_that_is_both_a_leaf_and_a_branch() -> None:
    assert unflatten({"a": 1, "a/b": 2}) == {"a": 1, "a/b": 2}
    assert unflatten({"a/b": 2, "a": 1}) == {"a/b": 2, "a": 1}
    assert unflatten({"x/y": 1, "x/y/z": 2}) == {"x": {"y": 1}, "x/y/z": 2}


names = st.text("abc", min_size=1, max_size=2)
trees = st.recursive(st.integers(), lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3))


@given(st.dictionaries(names, trees, max_size=4))
def test_flatten_and_unflatten_are_inverse(nested: dict[str, Any]) -> None:
    assert unflatten(flatten(nested)) == nested
    assert all(Metrics(nested)[name] == value for name, value in flatten(nested).items())


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ([1, 2, 3], [0, 1, 2]),
        ([1, 2, 3, 4, 5, 4, 5, 6], [0, 1, 2, 5, 6, 7]),
        ([1, 2, 3, 4, 5, 1, 2], [5, 6]),
        ([1, 2, 2], [0, 2]),
        ([], []),
    ],
)
def test_reports_that_were_repeated_after_a_restore_count_once(steps: list[int], kept: list[int]) -> None:
    assert effective(steps) == kept


def test_a_clock_that_was_set_back_loses_nothing() -> None:
    reports = [Report(1, 100.0, {}), Report(2, 99.0, {}), Report(3, 99.5, {})]
    assert [report.step for report in history(reports)] == [1, 2, 3]


def test_reports_come_back_from_blocks_with_their_types() -> None:
    reports: list[dict[str, Any]] = [
        {"loss": 0.5, "n": 3, "ok": True, "note": "first"},
        {"loss": float("inf"), "n": -1, "ok": False, "big": 2**60},
    ]
    found = reports_by_trial(FakeSource([FakeTrial(), FakeTrial(reports)]).report_blocks())
    assert [report.metrics for report in found[1]] == reports
    assert type(found[1][0].metrics["n"]) is int
    assert found[1][0].metrics["ok"] is True
    assert found[1][1].time == STARTED + 11.001


def test_results_of_a_trial_that_was_restored() -> None:
    last = make_result(
        {"x": 3.0},
        **{**GIVEN, "step": 3, "time": 1010.0, "started": 1000.0, "previous": 1005.0},
        restored_step=1,
        restored_time=4.0,
    )
    reports = [Report(1, 504.0, {"x": 1.0}), Report(2, 1005.0, {"x": 2.0}), Report(3, 1010.0, {"x": 3.0})]
    first, second, third = results_of(reports, last)
    assert third == last
    assert (second["time_total_s"], second["time_this_iter_s"], second["iterations_since_restore"]) == (
        9.0,
        5.0,
        1,
    )
    assert (first["time_total_s"], first["iterations_since_restore"]) == (0.0, 1)


def test_a_snapshot_rebuilds_the_results_of_its_source() -> None:
    source = FakeSource([FakeTrial([{"x": k + 0.5, "s": "t"} for k in range(4)], {"i": i}) for i in range(3)])
    copy = Snapshot.of(source, range(3))
    for i in range(3):
        mine, theirs = copy.results(i), source.results(i)
        assert [list(result) for result in mine] == [list(result) for result in theirs]
        for mine_k, theirs_k in zip(mine, theirs, strict=True):
            assert mine_k.pop("config") == theirs_k.pop("config")
            assert mine_k == pytest.approx(theirs_k)


def test_a_block_of_any_buffers_can_be_pickled() -> None:
    block = ReportBlock(
        ("x",),
        "f",
        memoryview(array.array("i", [4])),
        array.array("i", [1]),
        array.array("d", [2.0]),
        [memoryview(array.array("d", [0.5]))],
        {},
    )
    assert reports_by_trial([pickle.loads(pickle.dumps(block))]) == {4: [Report(1, 2.0, {"x": 0.5})]}


def test_N6_result_repr_hides_bookkeeping() -> None:
    assert (
        repr(Result(make_result({"loss": 1.0}, **GIVEN), None, RuntimeError("x"), "./log_1"))
        == """Result(
  error='RuntimeError',
  metrics={'loss': 1.0},
  path='./log_1',
  filesystem='local',
  checkpoint=None
)"""
    )


def test_N7_best_checkpoint_of_a_result() -> None:
    nan = float("nan")
    saved = [
        (Checkpoint(f"/{k}"), {"m": {"loss": value}}) for k, value in enumerate((3.0, nan, 1.0, 1.0))
    ]
    result = Result({}, best_checkpoints=[*saved, (Checkpoint("/4"), {"other": 1})])  # type: ignore[list-item]
    assert result.get_best_checkpoint("m/loss", "min") == Checkpoint("/2")
    assert result.get_best_checkpoint("m/loss", "max") == Checkpoint("/0")
    with pytest.raises(
        RuntimeError, match="no checkpoint's report has metric 'nope'; they have: m/loss, other"
    ):
        result.get_best_checkpoint("nope", "min")
    with pytest.raises(ValueError, match='mode must be "min" or "max", got \'best\''):
        result.get_best_checkpoint("m/loss", "best")
    with pytest.raises(RuntimeError, match="no checkpoint exists"):
        Result({}).get_best_checkpoint("m/loss", "min")


NAMES = st.sampled_from(["a", "b", "a/b", "loss", "config", "config/a", "pid", "pid/x", "done", "date"])
VALUES = st.one_of(st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=2), st.lists(st.integers(), max_size=2))
KEYS = st.sampled_from(["a", "b", "lr"])
CONFIGS = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=3), lambda inner: st.dictionaries(KEYS, VALUES | inner, max_size=3), max_leaves=6
)


@given(metrics=st.dictionaries(NAMES, VALUES, max_size=4), config=CONFIGS, tag=st.sampled_from([None, "1_a=2"]))
def test_a_flat_result_is_the_flattened_one(metrics: dict[str, Any], config: dict[str, Any], tag: str | None) -> None:
    told = {name: value for name, value in GIVEN.items() if name != "config"} | {"experiment_tag": tag}
    expected = flatten(make_result(metrics, config=config, **told))
    assert make_flat_result(metrics, flattened_config(config), **told) == expected
