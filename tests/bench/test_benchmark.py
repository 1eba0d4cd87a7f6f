"""tune.benchmark(): what it measures, how it says it, and what it does with a load that fails."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.bench import BenchmarkReport, Row, loads, measure, suite
from fasttune.bench.picture import short
from fasttune.bench.report import MeasuredMachine, cpu_name, in_words
from fasttune.schedulers import ASHAScheduler, TrialScheduler

HERE = MeasuredMachine("A Processor", 4, 8.0, "Linux 6", "3.12.1", "0.1.0", "2026-01-02 03:04", 0.1, 2.0)


def report_of(*rows: Row, machine: MeasuredMachine = HERE, **settings: Any) -> BenchmarkReport:
    return BenchmarkReport(
        rows=list(rows), machine=machine, **{"seconds": 0.5, "repeats": 3, "seed": 0, **settings}
    )


def row(load: str, scheduler: str, executor: str, trials: int, reports: int, **more: Any) -> Row:
    given = {"seconds": 0.5, "fastest_s": 0.49, "slowest_s": 0.52, **more}
    return Row(load, scheduler, executor, trials=trials, reports=reports, **given)


FIGURES = report_of(
    row("trials", "FIFO", "inline", 365_000, 365_000),
    row("trials", "FIFO", "process", 100_000, 100_000),
    row("reports", "FIFO", "inline", 4, 1_520_000, report_us=(0.25, 1.5)),
    row("curves", "ASHA", "process", 125_400, 500_000, decisions=200_000, decided_in_report=True),
    row("curves", "Mine", "process", 500, 2_000, decisions=2_000, decision_us=(4.5, 120.0)),
)


# ---- measuring


def check_figures(rows: list[Row]) -> None:
    """What 20 trials of 9 reports come to, without a scheduler and under ASHA."""
    assert [row.error for row in rows] == [""] * len(rows)
    by_load = {(row.load, row.scheduler): row for row in rows}
    null, curves, asha = by_load["trials", "FIFO"], by_load["curves", "FIFO"], by_load["curves", "ASHA"]
    assert (null.trials, null.reports, null.decisions) == (20, 20, 0)
    assert (curves.trials, curves.reports) == (20, 180)
    assert asha.trials == 20
    assert 20 <= asha.reports < 180
    assert asha.decisions > 0
    assert asha.decided_in_report
    assert all(row.seconds > 0 and row.driver_mb > 5 and row.bytes_per_report > 20 for row in rows)
    assert all(row.report_us is not None for row in (curves, asha))


@pytest.mark.parametrize(
    ("executor", "schedulers"),
    [
        ("inline", ["fifo", "asha"]),
        pytest.param("inline", None, marks=pytest.mark.slow),
        pytest.param("process", None, marks=pytest.mark.slow),
    ],
)
def test_registered_schedulers_are_measured(executor: str, schedulers: list[str] | None) -> None:
    found = tune.benchmark(schedulers, [executor], trials=20, reports=9, seconds=0.001, repeats=1)
    assert [row.load for row in found.rows[:3]] == ["trials", "reports", "curves"]
    wanted = {"FIFO", "ASHA"} if schedulers else set(loads.measurable())
    assert {row.scheduler for row in found.rows} == wanted >= {"FIFO", "ASHA"}
    check_figures(found.rows)


@pytest.mark.filterwarnings("ignore:trial .* could have:RuntimeWarning")
def test_every_registered_scheduler_can_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, at a size that is given."""
    monkeypatch.setenv("FASTTUNE_RESULTS_DIR", str(tmp_path))
    rows = []
    for one in suite.plan(None, ["inline"], 9):
        size = 20 if one.load in ("trials", "curves") else 4
        task = measure.Task(one.load, one.executor, one.make, size, 9, 0.001, 1, 0)
        rows.append(Row.of(one.load, one.scheduler, one.executor, asdict(measure.measure(task))))
    assert {row.scheduler for row in rows} == set(loads.measurable()) >= {"FIFO", "ASHA"}
    check_figures(rows)


class Picky(TrialScheduler):
    """Asked on every report."""

    def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.STOP if result["training_iteration"] == 3 else self.CONTINUE


class Broken(TrialScheduler):
    def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
        raise RuntimeError("a rule with a hole")


def test_schedulers_of_your_own_are_measured_and_a_broken_one_is_a_row() -> None:
    found = tune.benchmark([Picky(), Broken(), "asha"], ["inline"], trials=10, repeats=1, seconds=0.001)
    picky, broken, asha = found.rows
    assert (picky.scheduler, picky.trials, picky.reports, picky.decisions) == ("Picky", 10, 30, 30)
    assert picky.decision_us is not None
    assert 0 < picky.decision_us[0] <= picky.decision_us[1]
    assert not picky.decided_in_report
    assert "a rule with a hole" in broken.error
    assert broken.trials_per_s is None
    assert not asha.error
    assert any("Broken inline failed: RuntimeError" in note for note in found.notes)
    assert "failed" in str(found)


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    tune.benchmark(["asha"], ["process"], trials=5, reports=2, seconds=0.001, repeats=1)
    assert list(tmp_path.iterdir()) == []


def test_a_measurement_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "LIMIT_S", 1.0)
    monkeypatch.setattr(suite, "SIZES_S", 0.0)
    (hanging,) = tune.benchmark([Hanging()], ["inline"], trials=2, repeats=1, seconds=0.001).rows
    assert hanging.error == "not finished after 1 s"


class Hanging(TrialScheduler):
    def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
        import time

        time.sleep(600)
        return self.CONTINUE


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"schedulers": ["nosuch"]}, ValueError, "no scheduler 'nosuch' to measure; the names are"),
        ({"schedulers": "asha"}, TypeError, "lists of names"),
        ({"schedulers": [3]}, TypeError, "names or TrialScheduler objects, got int"),
        ({"executors": ["cluster"]}, ValueError, "executor must be one of 'process', 'inline', 'async', got 'cluster'"),
        ({"trials": 0}, ValueError, "trials must be > 0, got 0"),
        ({"seconds": -1.0}, ValueError, "seconds must be > 0"),
        ({"repeats": 0}, ValueError, "repeats must be > 0"),
        ({"reports": math.nan}, ValueError, "reports must be > 0"),
    ],
)
def test_arguments_are_checked_before_anything_runs(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        tune.benchmark(**arguments)


def test_a_name_may_be_written_in_several_ways() -> None:
    for name in ("ASHA", "asha", "ASHAScheduler", "AsyncHyperBandScheduler", "async_hyperband"):
        (one,) = suite.plan([name], ["inline"], 81)
        assert (one.scheduler, one.load) == ("ASHA", "curves")
        assert isinstance(one.make(), ASHAScheduler)


def test_what_copies_is_measured_as_a_population() -> None:
    class Copying(TrialScheduler):
        def __init__(self, perturbation_interval: int = 5) -> None:
            super().__init__()

    (one,) = suite.plan([Copying()], ["inline"], 81)
    assert one.load == "population"
    assert suite.benchmark([Copying()], ["inline"], seconds=0.001, repeats=1).rows[0].trials == loads.POPULATION


def test_a_scheduler_that_no_load_fits_is_left_out() -> None:
    class Needs(TrialScheduler):
        def __init__(self, recording: str, metric: str | None = None) -> None:
            super().__init__(metric=metric)

    assert loads.wants(Needs) == ["recording"]
    assert loads.wants(ASHAScheduler) == []


# ---- saying it


def test_the_headline_is_made_of_the_best_figures() -> None:
    assert FIGURES.headline == "this machine: 730,000 trials/s, 3.0 million reports/s, 250,000 ASHA trials/s"
    assert report_of(FIGURES.rows[1]).headline == "this machine: 200,000 trials/s"
    assert report_of(FIGURES.rows[4]).headline == "this machine: 4,000 reports/s under Mine"
    assert report_of().headline == "this machine: nothing was measured"
    assert report_of(replace(FIGURES.rows[0], error="x")).headline == "this machine: nothing was measured"


@pytest.mark.parametrize(
    ("value", "words"),
    [(7.4, "7"), (951, "950"), (25_218, "25,000"), (999_499, "1,000,000"), (999_500, "1.0 million"),
     (3_040_000, "3.0 million"), (12_345_678, "12.3 million"), (212_000_000, "212 million")],
)  # fmt: skip
def test_figures_as_people_say_them(value: float, words: str) -> None:
    assert in_words(value) == words


@pytest.mark.parametrize(("value", "text"), [(31.4, "31.4"), (999.6, "1k"), (731_000, "731k"), (3_026_715, "3.03M")])
def test_figures_beside_a_bar(value: float, text: str) -> None:
    assert short(value) == text


def test_the_table_has_every_row_and_fits_its_terminal() -> None:
    from rich.console import Console

    text = str(FIGURES)
    assert "in report()" in text
    assert "4.50 / 120" in text
    assert "0.25 / 1.50" in text
    for width, titles in ((120, ["driver", "decision us", "trials/s"]), (95, ["decision us"]), (80, ["trials/s"])):
        console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        with console.file:
            console.print(FIGURES)
            lines = console.export_text().splitlines()
        assert max(map(len, lines)) <= width
        assert all(any(title in line for line in lines) for title in titles)
        assert "730,000" in "".join(lines)


def test_json_goes_there_and_back(tmp_path: Path) -> None:
    text = FIGURES.to_json(tmp_path / "bench.json")
    assert (tmp_path / "bench.json").read_text() == text
    assert BenchmarkReport.from_json(text) == FIGURES
    facts = json.loads(text)
    assert facts["headline"] == FIGURES.headline
    assert facts["rows"][0]["trials_per_s"] == 730_000
    assert facts["rows"][2]["trials_per_s"] is None


def test_the_frame_has_a_line_for_each_row() -> None:
    frame = FIGURES.dataframe()
    assert list(frame["executor"]) == ["inline", "process", "inline", "process", "process"]
    assert frame["decision_us_p99"].iloc[4] == 120.0
    assert frame["trials_per_s"].iloc[0] == 730_000
    assert "<table" in FIGURES._repr_html_()


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    for name, begins in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")):
        FIGURES.plot(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begins)
    report_of().plot(tmp_path / "empty.png")


def test_the_notes_say_what_stands_against_a_figure() -> None:
    def notes(machine: MeasuredMachine = HERE, *rows: Row, **settings: Any) -> str:
        return " | ".join(report_of(*rows, machine=machine, **settings).notes)

    assert "busy" not in notes()
    assert "load average 1.3 on 4 cores" in notes(replace(HERE, load_before=1.3))
    assert "a cgroup quota of 2 CPUs" in notes(replace(HERE, limit="a cgroup quota of 2 CPUs, on a mask of 8"))
    assert "quick" in notes(quick=True)
    assert "one run" in notes(repeats=1)
    assert "median of 3 runs" in notes()
    shaky = replace(FIGURES.rows[0], slowest_s=0.8)
    assert "differ by more than 30%: one report, no scheduler inline" in notes(HERE, shaky)
    assert "differ" not in notes(HERE, FIGURES.rows[0])


def test_the_processor_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some(R)  Core(TM) 9\nmodel name\t: other\n")
    assert cpu_name(str(tmp_path / "cpuinfo")) == "Some Core 9"
    assert cpu_name(str(tmp_path / "absent"))
