"""What people are told of an experiment, everywhere alike: of trials that nobody runs any more, of a best trial that has failed, of
reports that were taken back, of what was attached, and of metrics with the names of other columns."""

from __future__ import annotations

import io
import json
import sqlite3
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.cli import main
from fasttune.cli.trials import TrialTable, trials_of
from fasttune.cli.watch import Watcher
from fasttune.engine.opening import open_records
from fasttune.plot.data import experiment_of
from fasttune.plot.facts import facts_of
from fasttune.tables.columns import Columns, counting_reports

Said = Callable[..., str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What a command prints, and what it writes to the error stream."""

    def call(*words: object) -> str:
        assert main([str(word) for word in words]) == 0
        printed = capsys.readouterr()
        return printed.out + printed.err

    return call


def failing(config: dict[str, Any]) -> None:
    tune.set_user_attr("data", {"version": 3})
    for epoch in range(4):
        checkpoint = tune.Checkpoint.from_dict({"epoch": epoch}) if epoch == 1 else None
        tune.report(loss=config["x"] - epoch / 10, checkpoint=checkpoint)
    if config["x"] == 0:
        raise ValueError("late <b>")


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tune.ExperimentAnalysis:
    """The best trial has failed twice: it took two reports back, and reported them again."""
    return tune.run(
        failing, config={"x": tune.grid_search([2, 0, 1])}, metric="loss", mode="min", name="failed", executor="inline", verbose=0,
        storage_path=tmp_path_factory.mktemp("shown"), raise_on_failed_trial=False, max_failures=1,
        user_attrs={"why": "a look", "team": ["a", "b"]},
    )  # fmt: skip


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """An experiment whose run has ended while a trial was under way."""
    space = {"x": tune.uniform(0, 1)}
    with tune.open_experiment(space, metric="loss", mode="min", name="left", storage_path=tmp_path) as experiment:
        experiment.tell(experiment.ask(), 1.0)
        experiment.report(experiment.ask(), 2.0)
        assert statuses_in_tables(tmp_path / "left") == {"TERMINATED", "RUNNING"}
    return tmp_path / "left"


def statuses_in_tables(folder: Path) -> set[str]:
    source = open_records(str(folder))
    told = set(trials_of(source)["status"])
    table = TrialTable(source)
    assert set(table.columns(["status"])["status"]) == told
    assert {table.take([i])["status"].iloc[0] for i in range(len(source))} == told
    assert set(source.shown_counts()) == told
    return told


# ---- trials that nobody runs


def test_no_table_says_that_something_runs_which_nobody_runs(left: Path, said: Said, tmp_path: Path) -> None:
    assert statuses_in_tables(left) == {"TERMINATED", "INTERRUPTED"}
    for command in ("ls", "show", "watch"):
        text = said(command, left)
        assert "INTERRUPTED" in text
        assert "RUNNING" not in text
    assert json.loads(said("show", left, "--json"))["statuses"] == {"INTERRUPTED": 1, "TERMINATED": 1}
    assert len(json.loads(said("ls", left, "--filter", "status = INTERRUPTED", "--json"))) == 1
    (listed,) = json.loads(said("lsx", left.parent, "--json"))
    assert (listed["running"], listed["interrupted"], listed["terminated"], listed["total_trials"]) == (0, 1, 1, 2)
    analysis = tune.ExperimentAnalysis(str(left))
    html = analysis._repr_html_() + analysis.trials[1]._repr_html_()
    assert html.count("INTERRUPTED") == 3
    assert "RUNNING" not in html
    analysis.to_sqlite(tmp_path / "tables.db")
    with closing(sqlite3.connect(tmp_path / "tables.db")) as connection:
        assert {status for (status,) in connection.execute("SELECT status FROM trials")} == {"TERMINATED", "INTERRUPTED"}


def test_the_api_keeps_the_statuses_of_ray_tune(left: Path) -> None:
    analysis = tune.ExperimentAnalysis(str(left))
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "RUNNING"]
    assert analysis.status_counts() == {"RUNNING": 1, "TERMINATED": 1}


# ---- a best trial that has failed


def test_a_best_trial_that_failed_is_marked_wherever_it_is_shown(failed: tune.ExperimentAnalysis, said: Said) -> None:
    folder, name = failed.experiment_path, failed.trials[1].trial_id
    mark = f"{name} (failed)"
    assert f"best trial                {mark}, best last loss = -0.3" in said("show", folder)
    assert mark in said("watch", folder)
    assert json.loads(said("show", folder, "--json"))["best"]["status"] == "ERROR"
    assert "failed behind its last report: ValueError: late <b>" in said("best", folder)
    assert mark in said("lsx", Path(folder).parent, "--columns", "best_trial")
    html = failed._repr_html_()
    assert html.count("(failed)") == html.count(f"<td>{mark}</td>") == 1
    assert tune.ExperimentAnalysis(folder, default_mode="max")._repr_html_().count("(failed)") == 0


def test_facts_of_a_page_mark_it_and_tell_what_was_attached(failed: tune.ExperimentAnalysis) -> None:
    experiment = experiment_of(failed)
    facts = facts_of(experiment, experiment.goal(None, None, None))
    assert facts.best is not None
    assert facts.best.failed == "ValueError: late <b>"
    assert facts.best.attached == [("data/version", "3")]
    assert facts.attached == [("why", "a look"), ("team", "['a', 'b']")]
    assert facts.top[0][0] == f"{failed.trials[1].trial_id} (failed)"
    assert "(failed)" not in str(facts.top[1:])


def test_show_tells_what_was_attached_to_the_best_trial(failed: tune.ExperimentAnalysis, said: Said) -> None:
    text = said("show", failed.experiment_path)
    assert "  attached: data/version  3\n" in text
    assert "attached: team            ['a', 'b']\n" in text


@pytest.mark.parametrize("terminal", [False, True])
def test_the_end_of_a_run_marks_it(terminal: bool) -> None:
    from rich.console import Console

    from fasttune.reporter.base import Standing, StatusSnapshot, number_line
    from fasttune.reporter.block import block
    from fasttune.reporter.text import LogReporter

    counts = {"TERMINATED": 2, "ERROR": 1, "RUNNING": 3}
    snapshot = StatusSnapshot(counts=counts, best=Standing("t_1", 0.5, {"x": 1}, None, True), over=True)
    if terminal:
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(block(snapshot, True, 6, "loss", 120))
        text = console.export_text()
        assert "3 interrupted" in text
        assert "running" not in text
    else:
        text = LogReporter().last_lines(snapshot)
        assert number_line(snapshot, 6) == "Number of trials: 6/6 (1 ERROR, 3 INTERRUPTED, 2 TERMINATED)"
    assert "t_1 (failed)" in text


# ---- how many reports there are


def test_reports_that_were_taken_back_count_nowhere(failed: tune.ExperimentAnalysis, said: Said) -> None:
    source: Any = failed._source
    assert source.table.reports == 16
    n = len(failed.reports())
    assert n == 14
    assert counting_reports(source) == len(Columns(source)) == n
    assert json.loads(said("show", failed.experiment_path, "--json"))["reports"] == n
    assert f"reports                   {n}" in said("show", failed.experiment_path)
    assert f"{n} reports" in said("watch", failed.experiment_path)
    follow = Watcher(failed.experiment_path, Namespace(metric=None, mode=None, scope=None, every=1.0, json=False))
    assert follow.reports() == n
    assert json.loads(said("lsx", Path(failed.experiment_path).parent, "--json"))[0]["reports"] == n


# ---- metrics with the names of other columns


def misnaming(config: dict[str, Any]) -> None:
    tune.set_user_attr("a", 1)
    tune.report({"loss": config["x"], "config/x": "mine", "config": {"z": 3.0}, "user_attrs/a": 7, "config_x": 1})


@pytest.mark.parametrize("trials", [2, 40])
def test_a_metric_takes_no_column_of_configs_or_attributes(trials: int, tmp_path: Path, said: Said) -> None:
    space = {"x": tune.choice([0.25, 0.5])}
    analysis = tune.run(
        misnaming, config=space, num_samples=trials, metric="loss", mode="min", executor="inline", verbose=0, storage_path=tmp_path,
        name="misnamed",
    )  # fmt: skip
    drawn = [trial.config["x"] for trial in analysis.trials]
    with pytest.warns(UserWarning, match="metric 'config/x' has a name that tables keep .* its column is 'reported/config/x'"):
        frames = [analysis.dataframe(), analysis.results_df]
    for frame in frames:
        assert frame["config/x"].tolist() == drawn
        assert frame["user_attrs/a"].tolist() == [1] * trials
        assert frame["reported/config/x"].tolist() == ["mine"] * trials
        assert frame["reported/config/z"].tolist() == [3.0] * trials
        assert frame["reported/user_attrs/a"].tolist() == [7] * trials
        assert frame["config_x"].tolist() == [1] * trials
        assert "config/z" not in frame
    with pytest.warns(UserWarning, match="reported/config/z"):
        assert analysis.reports(["config/z"])["reported/config/z"].tolist() == [3.0] * trials
    rows = json.loads(said("ls", tmp_path / "misnamed", "--json"))
    assert [row["config/x"] for row in rows] == drawn
    assert {(row["reported/config/x"], row["reported/config/z"], row["reported/user_attrs/a"]) for row in rows} == {("mine", 3.0, 7)}
    assert not any("config/z" in row for row in rows)
    assert len(json.loads(said("ls", tmp_path / "misnamed", "--filter", "reported/config/z > 2", "--json"))) == trials


def test_warnings_about_attributes_call_them_so() -> None:
    from fasttune import metric_values
    from fasttune.user_attrs import check_user_attrs

    class Thing:
        pass

    with pytest.warns(UserWarning, match="^user attribute 'thing' has the type"):
        check_user_attrs({"thing": Thing()})
    with pytest.warns(UserWarning, match="^metric 'other' has the type"):
        metric_values.plain_value("other", type("Other", (), {})())
