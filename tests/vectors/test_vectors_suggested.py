"""Rows whose configs a searcher suggests: together, and as one by one."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune.error import TuneError
from fasttune.schedulers import HyperBandScheduler
from fasttune.search import CMAESearch, EvolutionSearch, RandomSearch, Searcher, SobolSearch, TPESearch

SPACE = {"x": tune.uniform(-1, 1), "y": tune.uniform(-1, 1)}


def run(tmp_path: Path, searcher: Any, num_samples: int = 40, size: int | None = None, **more: Any) -> tuple[Any, list[int]]:
    sizes: list[int] = []

    def train(configs: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(configs["x"]))
        return {"loss": configs["x"] ** 2 + configs["y"] ** 2}

    made = tune.vectorized(train) if size is None else tune.vectorized(size=size)(train)
    analysis = tune.run(
        made, config=SPACE, num_samples=num_samples, metric="loss", mode="min", seed=3, search_alg=searcher, verbose=0,
        storage_path=str(tmp_path), name="run", **more,
    )  # fmt: skip
    return analysis, sizes


@pytest.mark.parametrize(
    ("searcher", "first"),
    [
        (lambda: RandomSearch(seed=1), 40),
        (lambda: SobolSearch(seed=1), 40),
        (lambda: CMAESearch(seed=1, population_size=10), 10),
        (lambda: EvolutionSearch(seed=1), 16),
        (lambda: TPESearch(seed=1), 16),
    ],
    ids=["random", "sobol", "cma-es", "evolution", "tpe"],
)
def test_a_call_has_as_many_rows_as_the_searcher_suggests_well(searcher: Any, first: int, tmp_path: Path) -> None:
    analysis, sizes = run(tmp_path, searcher())
    assert sizes[0] == first
    assert sum(sizes) == 40
    again = searcher()
    again.set_search_properties("loss", "min", SPACE)
    assert [again.suggest(trial.trial_id) for trial in analysis.trials[:first]] == [trial.config for trial in analysis.trials[:first]]


class Batches(Searcher):
    """Suggests by batch, whatever it is told to."""

    def __init__(self, says: Any = None) -> None:
        super().__init__(metric="loss", mode="min")
        self.asked: list[int] = []
        self.says = says

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"x": 0.5, "y": 0.0}

    def suggest_batch(self, trial_ids: Sequence[str]) -> Any:
        self.asked.append(len(trial_ids))
        return [self.suggest(one) for one in trial_ids] if self.says is None else self.says(trial_ids)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None: ...


def test_one_batch_is_one_call_of_the_searcher(tmp_path: Path) -> None:
    searcher = Batches()
    tune.run(
        tune.vectorized(size=8)(lambda configs: {"loss": configs["x"]}), num_samples=20, verbose=0, search_alg=searcher,
        storage_path=str(tmp_path), metric="loss", mode="min",
    )  # fmt: skip
    assert searcher.asked == [8, 8, 4]


@pytest.mark.parametrize(
    ("says", "match"),
    [
        (lambda ids: [{"x": 0.0, "y": 0.0}] * (len(ids) + 1), r"suggest_batch\(\) must return a list of 1 to 8 configs"),
        (lambda ids: {"x": 0.0}, r"suggest_batch\(\) must return a list of 1 to 8 configs.*got \{'x': 0.0\}"),
        (lambda ids: [], r"suggest_batch\(\) must return a list of 1 to 8 configs.*got \[\]"),
        (lambda ids: [3], r"suggest_batch\(\) must return a dict, None or Searcher.FINISHED, got 3"),
    ],
)  # fmt: skip
def test_a_batch_that_is_none_is_told(says: Any, match: str, tmp_path: Path) -> None:
    with pytest.raises(TuneError, match=match):
        tune.run(
            tune.vectorized(size=8)(lambda configs: {"loss": configs["x"]}), num_samples=20, verbose=0, search_alg=Batches(says),
            storage_path=str(tmp_path), metric="loss", mode="min",
        )  # fmt: skip


def test_a_batch_may_end_early(tmp_path: Path) -> None:
    """None: not now; FINISHED: there are no more."""
    left = [3]

    def says(ids: Sequence[str]) -> Any:
        n, left[0] = left[0], left[0] - 1
        return [{"x": 0.0, "y": 0.0}] * n + ([None] if n else [Searcher.FINISHED])

    sizes: list[int] = []

    def train(configs: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(configs["x"]))
        return {"loss": configs["x"]}

    analysis = tune.run(
        tune.vectorized(size=8)(train), num_samples=40, metric="loss", mode="min", search_alg=Batches(says), verbose=0,
        storage_path=str(tmp_path),
    )  # fmt: skip
    assert sizes == [6]  # it was asked again while there was room
    assert len(analysis.trials) == 6


def test_a_bracket_is_suggested_together(tmp_path: Path) -> None:
    """Also under a scheduler that chooses who runs."""

    def train(configs: dict[str, Any], state: Any = None) -> Any:
        while True:
            rows = yield {"loss": configs["x"] ** 2 + configs["y"] ** 2}, configs["x"]
            if rows is not None:
                configs = rows.configs

    analysis = tune.run(
        tune.vectorized(size=12)(train), config=SPACE, num_samples=30, metric="loss", mode="min", seed=3, verbose=0,
        search_alg=TPESearch(seed=1), scheduler=HyperBandScheduler(time_attr="training_iteration", max_t=9),
        storage_path=str(tmp_path), stop={"training_iteration": 9},
    )  # fmt: skip
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 30


KILLED = """
    import os, sys
    import fasttune as tune
    from fasttune.search import TPESearch

    calls = 0

    @tune.vectorized(size=10)
    def train(configs):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), 9)
        return {"loss": configs["x"] ** 2 + configs["y"] ** 2}

    tune.run(train, config={"x": tune.uniform(-1, 1), "y": tune.uniform(-1, 1)}, num_samples=50, metric="loss", mode="min", seed=3,
             search_alg=TPESearch(seed=1), verbose=0, storage_path=sys.argv[1], name=sys.argv[3], resume="AUTO")
"""


def test_killed_and_gone_on_with_the_searcher_suggests_what_it_would_have(tmp_path: Path) -> None:
    program = tmp_path / "killed.py"
    program.write_text(textwrap.dedent(KILLED))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for at, name, code in (("3", "cut", -9), ("-1", "cut", 0), ("-1", "whole", 0)):
        arguments = [sys.executable, str(program), str(tmp_path), at, name]
        done = forks.run(arguments, env=env, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
    cut, whole = (tune.ExperimentAnalysis(str(tmp_path / name)) for name in ("cut", "whole"))
    assert [trial.config for trial in cut.trials] == [trial.config for trial in whole.trials]
    assert [trial.status for trial in cut.trials] == ["TERMINATED"] * 50


@pytest.mark.parametrize("size", [None, 4095, 4096, 4097])
def test_a_size_that_is_said_holds_whatever_it_is(size: int | None, tmp_path: Path) -> None:
    asked: list[int] = []

    def columns(configs: dict[str, Any]) -> dict[str, Any]:
        asked.append(len(configs["x"]))
        return {"loss": configs["x"]}

    tune.run(
        tune.vectorized(columns) if size is None else tune.vectorized(size=size)(columns), config={"x": tune.uniform(0, 1)},
        num_samples=4097, metric="loss", mode="min", search_alg="tpe", storage_path=str(tmp_path), verbose=0,
    )  # fmt: skip
    assert max(asked) == (16 if size is None else min(size, 4097))
