"""What an earlier session's failures mean for the one that goes on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune import _core
from fasttune.search import ConcurrencyLimiter, Searcher, create_searcher
from fasttune.storage.sqlite import SqliteStorage


class Hears(Searcher):
    """Suggests numbers, and keeps what it is told of trials that are over."""

    def __init__(self) -> None:
        super().__init__(metric="loss", mode="min")
        self.told: list[tuple[float, bool]] = []
        self._x: dict[str, float] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self._x[trial_id] = float(len(self._x))
        return {"x": self._x[trial_id]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.told.append((self._x[trial_id], error))


def run(folder: Path, searcher: Any, train: Any, samples: int = 6, **more: Any) -> tune.ExperimentAnalysis:
    space = {} if isinstance(getattr(searcher, "searcher", searcher), Hears) else {"x": tune.uniform(0, 10)}
    return tune.run(
        train, config=space, num_samples=samples,
        search_alg=searcher, metric="loss", mode="min", name="e", storage_path=folder, executor="inline", verbose=0,
        raise_on_failed_trial=False, resume="AUTO", **more,
    )  # fmt: skip


@pytest.mark.parametrize("retries", [0, 1])
def test_searchers_hear_of_them_in_their_order(tmp_path: Path, retries: int) -> None:
    calls: list[float] = []

    def train(config: dict[str, Any]) -> None:
        calls.append(config["x"])
        if config["x"] in (1.0, 3.0):
            raise ValueError("no")
        if config["x"] == 4.0 and calls.count(4.0) == 1:
            signal.raise_signal(signal.SIGINT)
        tune.report(loss=config["x"])

    before = Hears()
    run(tmp_path, before, train, max_failures=retries)
    assert before.told == [(0.0, False), (1.0, True), (2.0, False), (3.0, True)]
    after = Hears()
    analysis = run(tmp_path, after, train, max_failures=retries)
    assert after.told == [*before.told, (4.0, False), (5.0, False)]
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED", "ERROR", "TERMINATED", "TERMINATED"]
    assert calls.count(1.0) == calls.count(3.0) == 1 + retries


def test_a_limited_searcher_goes_on_behind_as_many_failures_as_it_lets_run(tmp_path: Path) -> None:
    """They counted as running for ever, and the run that went on ended with an error."""
    calls: list[float] = []

    def train(config: dict[str, Any]) -> None:
        calls.append(config["x"])
        if len(calls) <= 2:
            raise ValueError("no")
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        tune.report(loss=config["x"])

    for _ in range(2):
        analysis = run(tmp_path, ConcurrencyLimiter(create_searcher("tpe", seed=1), max_concurrent=2), train)
    assert [trial.status for trial in analysis.trials] == ["ERROR"] * 2 + ["TERMINATED"] * 4


KILLED = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import fasttune as tune
from fasttune.search import ConcurrencyLimiter
from {Path(__file__).stem} import Hears
from fasttune.engine.state import ExperimentState

# The driver dies when a failure is in the journal, and that it is tried again is not.
real = ExperimentState.requeue
def dies(self, i):
    self.storage.append(self.failed)
    os._exit(9)
ExperimentState.requeue = dies
fold = ExperimentState.fold_found
def keeps(self, source, data, watch=0):
    found = fold(self, source, data, watch)
    self.failed = [(source, 1 << 20, found[1])]
    return found
ExperimentState.fold_found = keeps

def train(config):
    raise ValueError("no")

asked = dict(name="e", storage_path=sys.argv[1], executor="inline", verbose=0)
tune.run(train, metric="loss", mode="min", max_failures=2, search_alg=ConcurrencyLimiter(Hears(), max_concurrent=1), **asked)
"""


@pytest.mark.parametrize("retries", [0, 2])
def test_what_was_to_be_tried_again_is(tmp_path: Path, retries: int) -> None:
    """A driver was killed between a failure and the record that the trial waits again: it had one try less."""
    killed = forks.run([sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert killed.returncode == 9
    storage = SqliteStorage(str(tmp_path / "e"))
    kinds = [kind for _, _, data in storage.read() for kind, *_ in _core.decode(data)]
    storage.close()
    assert kinds.count(_core.KIND_ERROR) == 1
    assert _core.KIND_REQUEUED not in kinds
    calls: list[int] = []

    def train(config: dict[str, Any]) -> None:
        calls.append(1)
        tune.report(loss=1.0)

    searcher = ConcurrencyLimiter(Hears(), max_concurrent=1)
    analysis = run(tmp_path, searcher, train, samples=2, max_failures=retries)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED" if retries else "ERROR", "TERMINATED"]
    assert len(calls) == (2 if retries else 1)
    assert searcher.searcher.told == [(0.0, not retries), (1.0, False)]


def test_each_session_has_its_own_number_of_tries(tmp_path: Path) -> None:
    """What the first session was asked was held for what all of them were: trials that had failed for good ran again, and a
    searcher with a limit waited for them."""
    calls: list[float] = []

    def train(config: dict[str, Any]) -> None:
        calls.append(config["x"])
        if len(calls) > 1:
            raise ValueError("no")
        tune.report(loss=config["x"])

    for retries, samples in ((2, 1), (0, 2), (2, 2), (0, 3), (-1, 3), (0, 4)):
        searcher = ConcurrencyLimiter(create_searcher("tpe", seed=1), max_concurrent=1)
        analysis = run(tmp_path, searcher, train, samples=samples, max_failures=retries)
        assert [trial.status for trial in analysis.trials] == ["TERMINATED", *["ERROR"] * (samples - 1)]
    assert len(calls) == 4


def test_tries_that_only_the_later_session_gave_are_owed(tmp_path: Path) -> None:
    interrupts = True

    def train(config: dict[str, Any]) -> None:
        if interrupts:
            signal.raise_signal(signal.SIGINT)
        tune.report(loss=1.0)

    run(tmp_path, ConcurrencyLimiter(Hears(), max_concurrent=1), train, samples=1)
    killed = forks.run(
        [sys.executable, "-c", KILLED.replace("max_failures=2", "max_failures=2, resume='AUTO'"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.returncode == 9

    interrupts = False
    analysis = run(tmp_path, ConcurrencyLimiter(Hears(), max_concurrent=1), train, samples=1, max_failures=2)
    assert [(trial.status, trial.num_failures) for trial in analysis.trials] == [("TERMINATED", 1)]
