"""What a run that was cut off is called: not finished, while trials that were asked for have not been begun."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune.analysis.experiment_analysis import ExperimentAnalysis
from fasttune.cli import CommandError
from fasttune.cli.facts import facts_of, state_of
from fasttune.cli.toml import read_value
from fasttune.cli.words import one_sentence
from fasttune.engine.opening import open_records
from fasttune.search.base import Searcher

KILLED = """
import os, signal, sys
import fasttune as tune
from fasttune.search.base import Searcher
class Own(Searcher):
    n = 0
    def suggest(self, trial_id):
        self.n += 1
        if self.n == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"x": self.n}
    def on_trial_complete(self, trial_id, result=None, error=False):
        pass
tune.run(lambda config: {"loss": config["x"]}, num_samples=10, search_alg=Own(), executor="inline", storage_path=sys.argv[1], name="e",
         verbose=0)
"""


def facts(folder: Path) -> dict[str, Any]:
    return facts_of(open_records(str(folder)), ExperimentAnalysis(str(folder)))


def loss(config: dict[str, Any]) -> dict[str, float]:
    return {"loss": config["x"]}


def test_a_run_that_was_killed_between_two_suggestions(tmp_path: Path) -> None:
    done = forks.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    told = facts(tmp_path / "e")
    assert (told["status"], told["trials"], told["asked_for"], told["ended_because"]) == ("unfinished", 3, 10, None)
    assert set(told["statuses"]) <= {"TERMINATED"}


def test_a_run_that_had_no_time_says_so(tmp_path: Path) -> None:
    tune.run(
        loss, config={"x": tune.uniform(0, 1)}, num_samples=100, time_budget_s=1e-9, storage_path=str(tmp_path), name="e", verbose=0
    )
    told = facts(tmp_path / "e")
    assert told["trials"] < told["asked_for"] == 100
    assert "time budget" in told["ended_because"] or "time_budget_s" in told["ended_because"]


@pytest.mark.parametrize("search", [None, "random"])
def test_all_that_was_asked_for_is_finished(tmp_path: Path, search: Any) -> None:
    def once(n: int, **more: Any) -> dict[str, Any]:
        tune.run(
            loss, config={"x": tune.uniform(0, 1)}, num_samples=n, search_alg=search, executor="inline", storage_path=str(tmp_path),
            name="e", verbose=0, metric="loss", mode="min", **more,
        )  # fmt: skip
        return facts(tmp_path / "e")

    told = once(5)
    assert (told["status"], told["asked_for"]) == ("finished", 5)
    more = once(8, resume="AUTO")
    assert (more["status"], more["trials"], more["asked_for"]) == ("finished", 8, 8)


class AfterTwenty(tune.Stopper):
    looks = 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        self.looks += 1
        return self.looks > 20


def test_an_endless_run_that_was_ended_for_good_is_finished(tmp_path: Path) -> None:
    tune.run(
        loss, config={"x": tune.uniform(0, 1)}, num_samples=-1, stop=AfterTwenty(), executor="inline", storage_path=str(tmp_path),
        name="e", verbose=0,
    )  # fmt: skip
    told = facts(tmp_path / "e")
    assert (told["status"], told["asked_for"]) == ("finished", None)
    assert "AfterTwenty" in told["ended_because"]


def test_a_trial_that_waits_is_unfinished(tmp_path: Path) -> None:
    class Two(Searcher):
        n = 0

        def suggest(self, trial_id: str) -> dict[str, Any] | None:
            self.n += 1
            if self.n == 3:
                os.kill(os.getpid(), signal.SIGINT)
                return None
            return {"x": self.n}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Learns nothing."""

    analysis = tune.run(
        loss, num_samples=6, search_alg=Two(), executor="inline", storage_path=str(tmp_path), name="e", verbose=0
    )
    assert len(analysis.trials) == 2
    assert state_of(open_records(str(tmp_path / "e"))) == "unfinished"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{loguniform=[1e-4, 1e-1]", "is no TOML"),
        ("[1, 2", "is no TOML"),
        ('"a', "is no TOML"),
        ("loguniform[1e-4,1e-1]", "a domain is written {loguniform = [...]}"),
        ("choice(1, 2)", "a domain is written {choice = [...]}"),
        ("uniform: [0, 1]", "a domain is written {uniform = [...]}"),
    ],
)
def test_a_value_that_was_meant_as_toml_is_no_text(text: str, words: str) -> None:
    with pytest.raises(CommandError, match=re.escape(words)):
        read_value(text)


def test_what_is_a_text_stays_one() -> None:
    assert [read_value(one) for one in ("adam", "uniform", "a(b)", "x: 1")] == ["adam", "uniform", "a(b)", "x: 1"]
    assert [read_value(one) for one in ("1e-4", '"[1"', "{uniform = [0, 1]}")] == [1e-4, "[1", {"uniform": [0, 1]}]


def test_lines_become_one_sentence_after_the_other() -> None:
    assert one_sentence("another one now:\n    lr: 1 was, 2 is\nIts trials stay.\n\nSo it is") == (
        "another one now: lr: 1 was, 2 is; Its trials stay. So it is"
    )
