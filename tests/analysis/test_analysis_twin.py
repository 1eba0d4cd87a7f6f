"""The vectorised analysis against one written with dicts and loops, on random experiments."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from fake_source import FakeSource, FakeTrial
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune.analysis import ExperimentAnalysis
from fasttune.result import flatten
from fasttune.scope import SCOPES
from rounds import rounds

# small whole numbers, so that sums are exact and ties happen
values = st.one_of(
    st.integers(-3, 3).map(float),
    st.integers(-3, 3),
    st.booleans(),
    st.sampled_from([math.nan, math.inf, -math.inf]),
    st.sampled_from(["text", None, 2**60]),
)
reports = st.dictionaries(st.sampled_from(["score", "x"]), values, max_size=2).map(
    lambda flat: {"in": {"x": flat.pop("x")}, **flat} if "x" in flat else flat
)


@st.composite
def trials(draw: st.DrawFn) -> FakeTrial:
    """A trial that may have begun again, from some step that it had reported or from the first."""
    steps: list[int] = []
    for again in draw(st.lists(st.one_of(st.none(), st.integers(1, 12)), max_size=12)):
        last = steps[-1] if steps else 0
        steps.append(min(again, last) if again and last else last + 1)
    given_reports = [draw(reports) for _ in steps]
    return FakeTrial(given_reports, {"a": draw(st.integers(0, 9))}, steps=steps)


sources = st.builds(FakeSource, st.lists(trials(), min_size=2, max_size=6), rows_per_block=st.integers(1, 4))


def slow_history(source: FakeSource, i: int, metric: str) -> list[tuple[int, float]]:
    """(step, value) of the reports that have the metric as a number."""
    found = []
    for result in source.results(i):
        value = flatten(result).get(metric)
        if isinstance(value, (int, float)):
            found.append((result["training_iteration"], float(value)))
    return found


def slow_score(history: list[float], mode: str, scope: str) -> float:
    if scope == "last":
        return history[-1]
    if scope == "all":
        numbers = [value for value in history if not math.isnan(value)]
        pick = max if mode == "max" else min
        return pick(numbers) if numbers else math.nan
    recent = {"avg": history, "last-5-avg": history[-5:], "last-10-avg": history[-10:]}[scope]
    return sum(recent) / len(recent)


def slow_best(source: FakeSource, metric: str, mode: str, scope: str, filtered: bool) -> int | None:
    best: tuple[int, float] | None = None
    for i in range(len(source)):
        history = [value for _, value in slow_history(source, i, metric)]
        if not history:
            continue
        score = slow_score(history, mode, scope)
        if filtered and not math.isfinite(score):
            continue
        if (
            best is None
            or (math.isnan(best[1]) and not math.isnan(score))
            or (score > best[1] if mode == "max" else score < best[1])
        ):
            best = (i, score)
    return best and best[0]


@settings(max_examples=rounds(300), deadline=None)
@given(
    sources,
    st.sampled_from(["score", "in/x", "training_iteration"]),
    st.sampled_from(["min", "max"]),
    st.sampled_from(SCOPES),
    st.booleans(),
)
def test_N3_N4_best_trial_equals_the_slow_one(
    source: FakeSource, metric: str, mode: str, scope: str, filtered: bool
) -> None:
    trial = ExperimentAnalysis(source).get_best_trial(metric, mode, scope, filtered)
    assert (trial.index if trial else None) == slow_best(source, metric, mode, scope, filtered)


@settings(max_examples=rounds(100), deadline=None)
@given(sources, st.sampled_from(["min", "max"]))
def test_N2_dataframe_equals_the_slow_one(source: FakeSource, mode: str) -> None:
    expected = []
    for i in range(len(source)):
        history = [(step, value) for step, value in slow_history(source, i, "score") if not math.isnan(value)]
        if history:
            best = max(history, key=lambda entry: entry[1] if mode == "max" else -entry[1])
            expected.append((source.trial_id(i), *best))
    analysis = ExperimentAnalysis(source)
    if not any("score" in report for trial in source.trials for report in trial.reports):
        return  # a metric that was never reported: an error, tested elsewhere
    frame = analysis.dataframe("score", mode)
    if not expected:
        assert frame.empty
        return
    shown = zip(frame["trial_id"], frame["training_iteration"], frame["score"], strict=True)
    assert [(i, step, float(value)) for i, step, value in shown] == expected


@settings(max_examples=rounds(100), deadline=None)
@given(sources)
def test_N2_tables_equal_the_results(source: FakeSource) -> None:
    analysis = ExperimentAnalysis(source)
    table = analysis.results_df
    assert table.index.tolist() == [source.trial_id(i) for i in range(len(source))]
    for i in range(len(source)):
        results = source.results(i)
        frame = analysis.trial_dataframes[source.trial_id(i)]
        assert len(frame) == len(results)
        for line, result in enumerate(results):
            same(frame.iloc[line], flatten(result), i)
        if results:
            same(table.iloc[i], {k: v for k, v in flatten(results[-1]).items() if k != "trial_id"}, i)


def same(line: pd.Series[Any], result: dict[str, Any], trial: int) -> None:
    """A line of a frame shows this result; other columns are empty."""
    for key in line.index:
        if key == "time_this_iter_s":  # the fake does not know which report a restored trial went back to
            continue
        value = result.get(key)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            assert pd.isna(line[key])
        elif isinstance(value, float):
            assert line[key] == pytest.approx(value)
        else:
            assert line[key] == value
    missing = {key for key in result if key not in line.index and not _empty(result[key])}
    assert not missing


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
