"""A package outside registers a scheduler, a searcher or an executor by an entry point, and runs take them by name."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune

MODULE = """
from fasttune.executors.inline import InlineExecutor
from fasttune.schedulers import FIFOScheduler
from fasttune.search import Searcher


class Patient(FIFOScheduler):
    def __init__(self, patience=3):
        super().__init__()
        self.patience = patience


class Counting(Searcher):
    def __init__(self, metric=None, mode=None, first=0):
        super().__init__(metric=metric, mode=mode)
        self.given = first

    def set_search_properties(self, metric, mode, config):
        return True

    def suggest(self, trial_id):
        self.given += 1
        return {"x": self.given}

    def on_trial_complete(self, trial_id, result=None, error=False):
        pass


class Here(InlineExecutor):
    name = "here"
    opened = 0

    def open(self, *arguments):
        Here.opened += 1
        super().open(*arguments)


class NoExecutor:
    pass
"""
ENTRY_POINTS = """
[fasttune.schedulers]
patient = outside_of_fasttune:Patient

[fasttune.search]
counting = outside_of_fasttune:Counting

[fasttune.executors]
here = outside_of_fasttune:Here
none = outside_of_fasttune:NoExecutor
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A package that is installed: its module."""
    site = tmp_path / "site"
    about = site / "outside_of_fasttune-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "outside_of_fasttune.py").write_text(textwrap.dedent(MODULE))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-of-fasttune\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    import outside_of_fasttune  # type: ignore[import-not-found]

    yield outside_of_fasttune
    sys.modules.pop("outside_of_fasttune")


def train(config: dict[str, Any]) -> None:
    tune.report(loss=float(config["x"]))


def test_all_three_are_taken_by_their_names(outside: Any, tmp_path: Path) -> None:
    made = tune.run(
        train, config={"x": tune.randint(0, 10)}, num_samples=3, metric="loss", mode="min", scheduler="patient",
        search_alg="counting", executor="here", verbose=0, storage_path=str(tmp_path),
    )  # fmt: skip
    assert [trial.config["x"] for trial in made.trials] == [1, 2, 3]
    assert outside.Here.opened == 1
    assert isinstance(tune.create_scheduler("patient", patience=5), outside.Patient)
    assert isinstance(tune.create_searcher("counting", first=7), outside.Counting)


def test_unknown_names_are_told_those_of_other_packages_too(outside: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"executor must be one of 'process', 'inline', 'async', 'here', 'none', got 'there'"):
        tune.run(train, executor="there", storage_path=str(tmp_path))
    with pytest.raises(ValueError, match="patient"):
        tune.create_scheduler("patent")
    with pytest.raises(ValueError, match="counting"):
        tune.create_searcher("county")


def test_what_is_no_executor_is_refused(outside: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="the executor 'none' must be a subclass of Executor"):
        tune.run(train, executor="none", storage_path=str(tmp_path))


def test_the_command_line_and_the_benchmark_take_them_too(outside: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    from fasttune.bench.suite import plan
    from fasttune.cli.completion import executors
    from fasttune.cli.run import add_places

    assert executors()[:5] == ["process", "inline", "async", "here", "none"]
    assert {one.executor for one in plan(["fifo"], ["here"], 3)} == {"here"}
    parser = argparse.ArgumentParser()
    add_places(parser)
    assert parser.parse_args(["--executor", "here"]).executor == "here"
    with pytest.raises(SystemExit):
        parser.parse_args(["--executor", "there"])
    assert "argument --executor: must be one of 'process', 'inline', 'async', 'here', 'none', got 'there'" in capsys.readouterr().err
