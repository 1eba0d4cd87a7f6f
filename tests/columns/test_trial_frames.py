"""Frames and rows that are made of columns equal those that are made of a dict per trial, on real experiments."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import slow_columns as slow
from experiments import EXPERIMENTS
from hypothesis import given
from hypothesis import strategies as st

from fasttune.analysis import ExperimentAnalysis
from fasttune.cli.listing import cells_of
from fasttune.cli.trial_rows import TrialRows
from fasttune.cli.trials import TrialTable
from fasttune.tables import auto_columns, trial_columns
from fasttune.tables.cells import in_order
from fasttune.tables.columns import counting_reports
from fasttune.tables.conditions import quoted, read_conditions


@pytest.fixture(params=list(EXPERIMENTS))
def analyses(request: pytest.FixtureRequest) -> list[ExperimentAnalysis]:
    """An experiment as its run gives it, and as its folder does."""
    live = EXPERIMENTS[request.param]()
    return [live, ExperimentAnalysis(live.experiment_path)]


def assert_equal(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert list(found.columns) == list(expected.columns)
    assert found.dtypes.tolist() == expected.dtypes.tolist()
    assert found.index.equals(expected.index)
    for name in expected.columns:
        for ours, theirs in zip(found[name].tolist(), expected[name].tolist(), strict=True):
            assert type(ours) is type(theirs), name
            assert repr(ours) == repr(theirs), name


@pytest.mark.parametrize("few", [0, trial_columns.FEW])
@pytest.mark.filterwarnings("ignore:points_to_evaluate sets")
def test_frames_equal_those_made_of_dicts(
    analyses: list[ExperimentAnalysis], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_columns, "FEW", few)
    monkeypatch.setattr(auto_columns, "FEW", few)
    for analysis in analyses:
        source = analysis._source
        assert_equal(analysis.dataframe(), slow.dataframe(source))
        assert_equal(analysis.dataframe("loss", "max"), slow.dataframe(source, "loss", "max"))
        assert_equal(analysis.results_df, slow.results_df(source))
        assert_equal(analysis.reports(), slow.reports(source))
        some = ExperimentAnalysis(source, trials=[analysis.trials[i] for i in (7, 3, 5)])
        shown = some.dataframe()["trial_id"].tolist()
        expected = slow.dataframe(source).set_index("trial_id", drop=False)
        assert shown == [t.trial_id for t in some.trials if t.trial_id in expected.index]
        assert some.dataframe()["logdir"].tolist() == expected.loc[shown, "logdir"].tolist()


@pytest.mark.filterwarnings("ignore:points_to_evaluate sets")
def test_rows_of_ls_equal_those_made_of_dicts(analyses: list[ExperimentAnalysis]) -> None:
    for analysis in analyses:
        source: Any = analysis._source
        rows, expected = TrialRows(source), slow.trial_rows(source)
        names = list(dict.fromkeys(name for row in expected for name in row))
        assert rows.names == names
        assert [repr(rows.row(place)) for place in range(len(rows))] == [repr(row) for row in expected]
        table = TrialTable(source)
        assert sorted(table.names) == sorted(names)
        for name in names:
            told = [row.get(name) for row in expected]
            assert [repr(value) for value in rows.column(name)] == [repr(value) for value in told], name
            numbers = rows.numbers(name)
            if numbers is not None:
                values, present = numbers
                assert present.tolist() == [value is not None for value in told]
                assert repr(values[present].tolist()) == repr([float(value) for value in told if value is not None])
            ours, theirs = table.columns([name]), pd.DataFrame({name: pd.Series(told, dtype=object)})
            of_columns, of_rows = cells_of(table, ours, name), cells_of(table, theirs, name)
            for descending in (False, True):
                assert in_order([of_columns], descending).tolist() == in_order([of_rows], descending).tolist()
            for rest in ("> 0.5", "!= 1", "== True", "< a", "=", "~ 1"):
                (one,) = read_conditions(f"{quoted(name)} {rest}", names)
                if rest != "~ 1" or of_columns.dtype == of_rows.dtype:  # 1.0 has another text than True
                    assert one.holds(of_columns).tolist() == one.holds(of_rows).tolist(), rest


def test_as_many_reports_count_as_frames_have_rows(analyses: list[ExperimentAnalysis]) -> None:
    for analysis in analyses:
        assert counting_reports(analysis._source) == len(slow.SlowColumns(analysis._source).reports)


def test_what_the_experiments_are_there_for() -> None:
    """They hold what they are meant to hold."""
    population, paused, named = (EXPERIMENTS[name]() for name in ("of_a_population", "paused", "named_by_the_user"))
    assert len(population.lineage()) > 0
    source = paused._source
    assert any("PAUSED" in source.story(i) for i in range(len(source)))
    assert any(source._additions for source in [named._source])
    flat = EXPERIMENTS["flat"]()
    assert any(flat._source.table.attempt(i) > 1 for i in range(len(flat.trials)))
    assert any(flat._source.table.last(i) is None for i in range(len(flat.trials)))
    assert {"TERMINATED", "ERROR"} == set(flat.status_counts())


# ---- the parts


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=40),
    st.booleans(),
)
def test_rows_in_order_equal_a_sort(reports: list[tuple[int, int]], is_sorted: bool) -> None:
    from fasttune._core import rows_in_order

    if is_sorted:
        reports.sort(key=lambda report: report[0])
    trial = np.array([i for i, _ in reports], dtype=np.int32)
    step = np.array([s for _, s in reports], dtype=np.int32)
    positions, uneven = rows_in_order(trial, step, 6)
    order = sorted(range(len(reports)), key=lambda row: reports[row][0])
    found = list(range(len(reports))) if positions is None else np.frombuffer(positions, np.int64).tolist()
    assert found == order
    assert (positions is None) == (order == list(range(len(reports))))
    steps = [[s for t, s in reports if t == i] for i in range(6)]
    assert uneven == [i for i, one in enumerate(steps) if any(b <= a for a, b in itertools.pairwise(one))]


def test_rows_in_order_refuses_trials_that_are_not_there() -> None:
    from fasttune._core import rows_in_order

    with pytest.raises(ValueError, match="report 1 is of trial 3, and there are 3"):
        rows_in_order(np.array([0, 3], dtype=np.int32), np.array([1, 1], dtype=np.int32), 3)
    with pytest.raises(ValueError, match="2 trials of reports and 1 steps"):
        rows_in_order(np.array([0, 1], dtype=np.int32), np.array([1], dtype=np.int32), 3)


FLOATS = st.one_of(
    st.floats(),
    st.integers(-(10**9), 10**9).map(lambda n: n / 20000),  # ties of the fourth decimal
    st.floats(-2e6, 2e6),
)


@given(st.lists(st.tuples(FLOATS, st.integers(-(2**63), 2**63 - 1), st.integers(0, 2)), min_size=1, max_size=20))
def test_texts_are_those_of_python(rows: list[tuple[float, int, int]]) -> None:
    from fasttune._core import texts

    real = np.array([f for f, _, _ in rows])
    whole, option = (np.array([row[k] for row in rows], dtype=np.int64) for k in (1, 2))
    options = ["", "b", "cc"]
    parts = [("text", "x="), ("fixed", real), ("digits", whole, 5), ("option", option, options)]
    expected = [f"x={f:.4f}{n:05d}{options[k]}" for f, n, k in rows]
    assert texts(len(rows), parts) == expected
    assert texts(len(rows), parts, "/a/", 7) == [f"/a/{text[:7]}" for text in expected]


def test_texts_refuse_what_they_cannot_write() -> None:
    from fasttune._core import texts

    numbers = np.array([0, 3], dtype=np.int64)
    with pytest.raises(ValueError, match="a part is text, digits, fixed or option, got 'other'"):
        texts(2, [("other", numbers)])
    with pytest.raises(IndexError, match="option 3 of 2"):
        texts(2, [("option", numbers, ["a", "b"])])
    with pytest.raises(ValueError, match="a column of 2 numbers for 3 texts"):
        texts(3, [("digits", numbers, 0)])
    with pytest.raises(UnicodeEncodeError):
        texts(2, [("text", "ä")])


@given(st.lists(st.integers(-(2**40), 2**40) | st.integers(-3, 3), max_size=30))
def test_distinct_equals_unique(whole: list[int]) -> None:
    from fasttune.space.plan_columns import distinct

    array = np.array(whole, dtype=np.int64)
    used, which = distinct(array)
    expected, inverse = np.unique(array, return_inverse=True)
    assert used.tolist() == expected.tolist()
    assert which.tolist() == inverse.tolist()
