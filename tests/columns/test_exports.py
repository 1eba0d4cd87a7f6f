"""The tables of an experiment for Polars, Arrow and Parquet, and what is said where these libraries are not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from experiments import SPACES, odd_values, plain, run

import fasttune as tune
from fasttune.analysis import ResultGrid


@pytest.fixture
def analysis() -> Any:
    return run(plain, "calm", calm=True, config=SPACES["flat"], num_samples=30)


@pytest.fixture
def mixed() -> Any:
    """Trials without reports, columns of several types, lists and objects."""
    return run(odd_values, "odd", config=SPACES["objects"] | SPACES["nested"], num_samples=40)


def same_texts(found: list[Any], expected: list[Any]) -> bool:
    return [None if pd.api.types.is_scalar(one) and pd.isna(one) else str(one) for one in found] == [
        None if pd.api.types.is_scalar(one) and pd.isna(one) else str(one) for one in expected
    ]


@pytest.mark.arrow
def test_arrow_tables_equal_the_frames(analysis: Any, mixed: Any) -> None:
    assert analysis.to_arrow().to_pandas()["loss"].tolist() == analysis.dataframe()["loss"].tolist()
    for one in (analysis, mixed, ResultGrid(mixed)):
        frame = one.get_dataframe() if isinstance(one, ResultGrid) else one.dataframe()
        reports = one.get_reports() if isinstance(one, ResultGrid) else one.reports()
        for table, expected in (("trials", frame), ("reports", reports)):
            found = one.to_arrow(table)
            assert found.column_names == [str(name) for name in expected.columns]
            assert found.num_rows == len(expected)
            assert found["loss"].null_count == int(expected["loss"].isna().sum())
            assert same_texts(found["trial_id"].to_pylist(), expected["trial_id"].tolist())
    assert same_texts(mixed.to_arrow()["config/mixed"].to_pylist(), mixed.dataframe()["config/mixed"].tolist())
    assert same_texts(mixed.to_arrow()["config/thing"].to_pylist(), mixed.dataframe()["config/thing"].tolist())


@pytest.mark.arrow
def test_polars_frames_equal_the_frames(analysis: Any, mixed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import polars

    monkeypatch.setitem(sys.modules, "pyarrow", None)  # it does without
    for one in (analysis, mixed):
        for table, expected in (("trials", one.dataframe()), ("reports", one.reports())):
            found = one.to_polars(table)
            assert found.columns == [str(name) for name in expected.columns]
            assert found.height == len(expected)
            assert same_texts(found["trial_id"].to_list(), expected["trial_id"].tolist())
            assert found["loss"].null_count() == int(expected["loss"].isna().sum())
    assert analysis.to_polars()["loss"].to_list() == analysis.dataframe()["loss"].tolist()
    assert analysis.to_polars("reports").schema["trial_id"] == polars.Categorical
    assert analysis.to_polars().schema["config/layers"] == polars.Int64
    assert same_texts(mixed.to_polars()["config/thing"].to_list(), mixed.dataframe()["config/thing"].tolist())


@pytest.mark.arrow
def test_a_parquet_file_holds_the_reports(analysis: Any, tmp_path: Path) -> None:
    path = tmp_path / "reports.parquet"
    path.write_bytes(b"older")
    analysis.to_parquet(path, "reports")
    found, expected = pd.read_parquet(path), analysis.reports()
    assert [path.name for path in tmp_path.iterdir()] == ["reports.parquet"]
    pd.testing.assert_frame_equal(found.astype({"trial_id": str}), expected.astype({"trial_id": str}))


@pytest.mark.arrow
def test_the_command_line_writes_the_same_parquet(mixed: Any, tmp_path: Path) -> None:
    from fasttune.analysis.exports import to_arrow
    from fasttune.cli import main
    from fasttune.cli.trials import trials_of

    path = tmp_path / "trials.parquet"
    assert main(["export", mixed.experiment_path, "--to", "parquet", "-o", str(path)]) == 0
    import pyarrow.parquet as parquet

    found, expected = parquet.read_table(path), to_arrow(trials_of(mixed._source))
    assert found.column_names == expected.column_names
    for name in found.column_names:
        told = expected[name].to_pylist()
        if any(value == {} for value in told):  # Parquet has no type for them
            told = [None if value is None else str(value) for value in told]
        assert repr(found[name].to_pylist()) == repr(told), name
    assert any("{}" in found[name].to_pylist() for name in found.column_names)
    assert main(["export", mixed.experiment_path, "--to", "parquet", "--reports", "-o", str(path)]) == 0
    assert parquet.read_table(path).num_rows == len(mixed.reports())


def test_reports_of_some_metrics_and_trials(analysis: Any) -> None:
    from fasttune.analysis import ExperimentAnalysis

    everything = analysis.reports()
    assert analysis.reports(["even", "loss"]).columns.tolist() == [
        "trial_id",
        "training_iteration",
        "time",
        "even",
        "loss",
    ]
    some = ExperimentAnalysis(analysis._source, trials=[analysis.trials[4], analysis.trials[1]]).reports(["loss"])
    ids = [analysis.trials[4].trial_id, analysis.trials[1].trial_id]
    expected = pd.concat([everything[everything["trial_id"] == i] for i in ids])
    assert some["trial_id"].tolist() == expected["trial_id"].tolist()
    assert some["loss"].tolist() == expected["loss"].tolist()
    everything.loc[:, "loss"] = 0.0
    everything.loc[:, "time"] = 0.0
    assert analysis.reports()["loss"].max() > 0, "a frame is its owner's"
    assert analysis.reports()["time"].min() > 0


def test_what_is_refused(analysis: Any) -> None:
    with pytest.raises(
        ValueError, match="metrics must have been reported, got 'lose'; reported were: loss, count, even"
    ):
        analysis.reports(["lose"])
    with pytest.raises(TypeError, match=r"must be a list of names, got the str 'loss': write \['loss'\]"):
        analysis.reports("loss")
    with pytest.raises(ValueError, match='table must be "trials" or "reports", got \'rows\''):
        analysis.to_polars("rows")


@pytest.mark.parametrize("library", ["pyarrow", "polars"])
def test_a_library_that_is_missing_is_named(
    analysis: Any, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    calls = {
        "polars": [analysis.to_polars],
        "pyarrow": [analysis.to_arrow, lambda: analysis.to_parquet(tmp_path / "x")],
    }
    for call in calls[library]:
        with pytest.raises(
            ImportError, match=rf"needs the library '{library}', which is not installed: pip install 'fasttune"
        ):
            call()
    assert not list(tmp_path.iterdir())


def test_nothing_was_reported() -> None:
    silent = tune.run(lambda config: None, config={}, num_samples=20, verbose=0, executor="inline")
    assert silent.reports().columns.tolist() == ["trial_id", "training_iteration", "time"]
    assert len(silent.reports()) == 0
