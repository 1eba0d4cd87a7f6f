"""Rows P1 to P4 and I1: what people see, on the screen, in a notebook and on the command line."""

from __future__ import annotations

import re
import sys
import types
from typing import Any

import pytest

import fasttune as tune
from fasttune import cli


def score(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        tune.report(score=config["a"] * step + config["b"])


GIVEN: dict[str, Any] = {"config": {"a": tune.grid_search([1, 2]), "b": 4}, "metric": "score", "mode": "max"}


def test_P1_the_status_block_of_key_concepts(tmp_path, capsys):
    reporter = tune.CLIReporter(max_report_frequency=0)
    tune.run(score, progress_reporter=reporter, executor="inline", storage_path=tmp_path, name="exp", **GIVEN)
    last = capsys.readouterr().out.rpartition("== Status ==\n")[2]
    assert "Using FIFO scheduling algorithm.\n" in last
    assert re.search(r"Logical resource usage: 0(\.0)?/\d+ CPUs, 0(\.0)?/\d+ GPUs\n", last)
    assert re.search(r"Current best trial: \w+_00001 with score=10(\.0)? and parameters=\{'a': 2", last)
    assert f"Result logdir: {tmp_path}/exp\n" in last
    assert "Number of trials: 2/2 (" in last
    assert "2 TERMINATED)" in last
    header = next(line for line in last.splitlines() if line.startswith("| Trial name"))
    assert [cell.strip() for cell in header.strip("|").split("|")][:5] == ["Trial name", "status", "loc", "a", "iter"]
    rows = [line for line in last.splitlines() if re.match(r"\| \S+_0000\d ", line)]
    assert len(rows) == 2
    assert all("TERMINATED" in row for row in rows)


def test_P2_the_options_of_the_cli_reporter(tmp_path, capsys):
    reporter = tune.CLIReporter(
        metric_columns={"score": "points", "training_iteration": "it"},
        parameter_columns={"a": "alpha"},
        max_progress_rows=3,
        max_report_frequency=0,
        sort_by_metric=True,
        metric="score",
        mode="max",
    )
    config = {"a": tune.grid_search([1, 2, 3, 4, 5]), "b": 4}
    tune.run(score, config=config, progress_reporter=reporter, executor="inline", storage_path=tmp_path)
    last = capsys.readouterr().out.rpartition("== Status ==\n")[2]
    header = next(line for line in last.splitlines() if line.startswith("| Trial name"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "Trial name",
        "status",
        "loc",
        "alpha",
        "points",
        "it",
    ]
    rows = [line.split("|") for line in last.splitlines() if re.match(r"\| \S+_0000\d ", line)]
    assert [int(row[4]) for row in rows] == [5, 4, 3, 2, 1]  # at the end all are shown
    with pytest.raises(TypeError, match="max_rows"):
        tune.CLIReporter(max_rows=3)


@pytest.mark.parametrize(("verbose", "least", "most"), [(0, 0, 0), (1, 1, 40), (2, 2, 60), (3, 6, 400)])
def test_P3_the_more_is_asked_the_more_is_said(tmp_path, capfd, verbose, least, most):
    tune.run(score, verbose=verbose, executor="inline", storage_path=tmp_path, **GIVEN)
    printed = capfd.readouterr()
    assert least <= len((printed.out + printed.err).splitlines()) <= most


def test_P4_a_notebook_shows_one_page_that_is_brought_up_to_date(tmp_path, monkeypatch):
    pages: list[str] = []

    def display(page, display_id):
        pages.append(page)
        return types.SimpleNamespace(update=pages.append)

    ipython, module = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    module.HTML, module.display, ipython.display = str, display, module
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=1)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    tune.run(score, executor="inline", storage_path=tmp_path, **GIVEN)  # a kernel gets it without being asked
    assert "TERMINATED" in pages[-1]
    assert pages[-1].lstrip().startswith("<")
    assert "_00001" in pages[-1]


def test_I1_the_command_lists_trials_and_experiments(tmp_path, capsys):
    tune.run(score, name="small", executor="inline", storage_path=tmp_path, verbose=0, **GIVEN)

    def told(*argv: object) -> tuple[int, str]:
        try:
            code = cli.main([str(word) for word in argv])
        except SystemExit as left:
            code = int(left.code or 0)
        return code, capsys.readouterr().out

    code, out = told(
        "ls", tmp_path / "small", "--sort", "score", "--desc", "True", "--columns", "trial_id,score", "--limit", "1"
    )
    assert code == 0
    assert "10" in out
    assert told("ls", tmp_path / "small", "--filter", "score > 8", "-o", tmp_path / "out.csv")[0] == 0
    assert (tmp_path / "out.csv").read_text().count("\n") == 2
    code, out = told("lsx", tmp_path)
    assert (code, "small" in out) == (0, True)
    assert told("ls", tmp_path / "small", "--sort", "no_such")[0] == 1
