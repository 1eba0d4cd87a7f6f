"""What is told of a front, by the screen, a notebook, the dashboard and the analysis: all of them the same."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from starlette.testclient import TestClient

import fasttune as tune
from fasttune.cli import main
from fasttune.dashboard.app import application
from fasttune.pareto import MetricRange, ParetoFront
from fasttune.reporter import CLIReporter, JupyterNotebookReporter, TerminalReporter
from fasttune.reporter.base import StatusSnapshot
from fasttune.tables.front import FrontWatch, front_of
from rounds import rounds

RANGES = [MetricRange("loss", "min", 0.25, 0.5), MetricRange("size", "max", 2.0, 2.0)]
FRONT = ParetoFront([3, 1], RANGES, 0.125, [[0.25, 2.0], [0.5, 2.0]])
HERE, TOKEN = "http://127.0.0.1:8000", "a-word-of-many-letters"


def train(config: dict[str, Any]) -> None:
    tune.report(loss=9.0, size=0.0, held=config["x"])
    tune.report(loss=config["x"], size=config["y"], held=config["x"])


def run(points: list[tuple[float, float]], **more: Any) -> Any:
    space = {"x": tune.grid_search([x for x, _ in points]), "y": tune.sample_from(lambda config: dict(points)[config["x"]])}
    asked = {"metric": ["loss", "size"], "mode": ["min", "max"], "executor": "inline", "verbose": 0, **more}
    return tune.run(train, config=space, **asked)


@given(st.dictionaries(st.integers(0, 9), st.integers(0, 9), min_size=1, max_size=8))
@settings(max_examples=rounds(60), deadline=None)
def test_it_is_that_of_the_analysis(points: dict[int, int]) -> None:
    found = run([(float(x), float(y)) for x, y in points.items()])
    front = front_of(found._source, found.objectives, "last")
    assert front is not None
    assert [found._source.trial_id(k) for k in front.trials] == [trial.trial_id for trial in found.best_trials]
    assert front.values == [[trial.last_result["loss"], trial.last_result["size"]] for trial in found.best_trials]
    assert front.hypervolume == pytest.approx(found.hypervolume()["hypervolume"].iloc[-1])
    for span, column in zip(front.spans, zip(*front.values, strict=True), strict=True):
        assert (span.low, span.high) == (min(column), max(column))


def test_trials_that_break_their_constraints_are_not_on_it() -> None:
    points = [(0.1, 1.0), (0.2, 2.0), (0.3, 3.0)]
    found = run(points, constraints="held >= 0.2")
    front = front_of(found._source, found.objectives, "last")
    assert front is not None
    assert [found.trials[k].config["x"] for k in front.trials] == [0.2, 0.3]
    none = run(points, constraints="held >= 9")
    assert front_of(none._source, none.objectives, "last") == ParetoFront([], [], None, [])
    nothing = run([(float("nan"), 1.0)])
    assert front_of(nothing._source, nothing.objectives, "last") is None


def test_it_is_looked_for_in_a_twentieth_of_the_time() -> None:
    found = run([(0.1, 1.0)])
    times = iter([0.0, 0.0, 1.0, 1.0, 20.9, 21.0, 21.0, 22.0, 22.0, 30.0, 40.0, 50.0])
    watch = FrontWatch(found._source, "last", lambda: next(times))
    looked = [watch(found.objectives) for _ in range(3)]
    assert looked[0] is looked[1] is not looked[2]
    assert watch(found.objectives, over=True) is not looked[2]
    assert watch({}) is not None  # of the last look; a run with one metric never looks


def shown(front: ParetoFront | None, **more: Any) -> StatusSnapshot:
    return StatusSnapshot(counts={"TERMINATED": 4}, total=4, front=front, over=True, **more)


def test_screens_say_it_where_the_best_one_stands() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=False, color_system=None)
    reporter = TerminalReporter(console=console)
    console.print(reporter.block(shown(FRONT), True))
    assert "front 2 trials  loss 0.2500 to 0.5000  size 2.000  hypervolume 0.1250" in stream.getvalue().splitlines()
    told = "front of 2 trials: loss 0.25 to 0.5, size 2, hypervolume 0.125"
    assert FRONT.words() == told
    assert told in CLIReporter().status_block(shown(FRONT), True)
    assert told in JupyterNotebookReporter().html(shown(FRONT), True)
    broken = ParetoFront([], [], None, [])
    console.print(reporter.block(shown(broken), True))
    assert "no front, as no trial holds its constraints" in stream.getvalue()
    assert "no front" in JupyterNotebookReporter().html(shown(broken), True)


def test_a_run_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    run([(0.1, 1.0), (0.2, 2.0), (0.3, 1.5)], verbose=1)
    out = capsys.readouterr().out
    assert "2 trials are beaten by no other in loss (min), size (max): analysis.best_trials" in out
    assert "front of 2 trials: loss 0.1 to 0.2, size 1 to 2, hypervolume" in out


def test_the_last_table_of_a_notebook_begins_with_it() -> None:
    pages: list[str] = []

    class Kept(JupyterNotebookReporter):
        def show(self, snapshot: StatusSnapshot, done: bool) -> None:
            pages.append(self.html(snapshot, done))

    reporter = Kept(max_progress_rows=2, print_intermediate_tables=True)
    found = run([(0.3, 1.5), (0.1, 1.0), (0.2, 2.0)], progress_reporter=reporter, verbose=1)
    ids = [trial.trial_id for trial in found.trials]
    assert [name in pages[-1] for name in ids] == [False, True, True]
    assert pages[-1].index(">loss<") < pages[-1].index(">size<") < pages[-1].index(">held<")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    run([(0.1, 1.0), (0.2, 2.0), (0.3, 1.5)], name="front", storage_path=str(tmp_path))
    run([(0.1, 1.0)], name="broken", storage_path=str(tmp_path), constraints="held >= 9")
    with TestClient(application(str(tmp_path), TOKEN), base_url=HERE) as made:
        assert made.get(f"/?token={TOKEN}").status_code == 200
        yield made


def test_the_dashboard_says_it_and_draws_it(client: TestClient) -> None:
    listed = {one["name"]: one for one in client.get("/api/experiments").json()["experiments"]}
    assert listed["front"]["best"] is None
    assert listed["front"]["objectives"] == ["loss (min)", "size (max)"]
    assert listed["broken"]["front"]["words"] == "no front, as no trial holds its constraints"
    told = client.get("/api/experiment", params={"experiment": "front"}).json()
    assert told["front"]["size"] == 2
    assert [(one["trial"], one["values"]) for one in told["front"]["trials"]] == [(0, ["0.1", "1"]), (1, ["0.2", "2"])]
    assert [one["name"] for one in told["pictures"]][:2] == ["pareto", "hypervolume"]
    for name in ("pareto", "hypervolume", "history", "timeline"):
        drawn = client.get("/api/picture", params={"experiment": "front", "name": name}).json()
        assert bool(drawn["figures"]) == (name != "history"), drawn


def test_the_command_line_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run([(0.1, 1.0), (0.2, 2.0), (0.3, 1.5)], name="front", storage_path=str(tmp_path))
    capsys.readouterr()
    assert main(["watch", str(tmp_path / "front")]) == 0
    assert "front of 2 trials: loss 0.1 to 0.2, size 1 to 2, hypervolume" in capsys.readouterr().out
    assert main(["lsx", str(tmp_path)]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert "front" in head.split()
    assert "loss, size" in line
    run([(0.1, 1.0)], name="one", storage_path=str(tmp_path / "other"), metric="loss", mode="min")
    assert main(["lsx", str(tmp_path / "other")]) == 0
    assert "front" not in capsys.readouterr().out
