"""What searchers that know their space have in common, shown on the plainest one there can be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.search.space_searcher import DONE, FAILED, SpaceSearcher, Told
from fasttune.space.dimensions import Dimensions, Numbers
from fasttune.space.domains import SearchSpaceError
from fasttune.testing import SearcherContract


class Drawing(SpaceSearcher):
    """Suggests random configs and remembers what it was told."""

    def _begin(self, dimensions: Dimensions) -> None:
        self.told: list[tuple[Numbers, Told]] = []
        self.reports: list[Told] = []

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        return self.dimensions.draw(self._asked)

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        self.told.append((numbers, told))

    def _report(self, trial_id: str, numbers: Numbers, told: Told) -> None:
        self.reports.append(told)


class TestDrawing(SearcherContract):
    def make(self) -> Drawing:
        return Drawing(seed=1)


class TestDrawingWithItsOwnSpace(SearcherContract):
    own_space = True

    def make(self) -> Drawing:
        return Drawing(self.space, seed=1)


SPACE = {"x": tune.uniform(0, 1), "n": tune.choice([1, 2, 3])}


def test_points_come_first_and_may_be_partial() -> None:
    searcher = Drawing(SPACE, "loss", "min", [{"x": 0.25, "n": 2}, {"n": 3}], seed=0)
    assert searcher.suggest("a") == {"x": 0.25, "n": 2}
    second: Any = searcher.suggest("b")
    assert second["n"] == 3
    assert searcher.suggest("c") == searcher.dimensions.suggestion(searcher.dimensions.draw(2))  # type: ignore[union-attr]


def test_rewards_are_learnt_instead_of_run() -> None:
    searcher = Drawing(SPACE, "score", "max", [{"x": 0.25, "n": 2}], [7.0], seed=0)
    assert searcher.told == [([1, 0.25], Told((-7.0,), DONE))]
    assert searcher.suggest("a") != {"x": 0.25, "n": 2}


def test_a_wrong_point_is_refused_before_any_trial() -> None:
    with pytest.raises(ValueError, match="points_to_evaluate: 'x' must be from 0 to 1, got 5"):
        Drawing(SPACE, "loss", "min", [{"x": 5}])
    with pytest.raises(ValueError, match="one value for each of the 2 points_to_evaluate, got 1"):
        Drawing(SPACE, "loss", "min", [{"x": 0.5}, {"x": 0.6}], [1.0])


def test_a_space_without_domains_is_refused() -> None:
    with pytest.raises(SearchSpaceError, match=r"Drawing has nothing to search.*1e-1\)\} was meant"):
        Drawing({"x": 3}, "loss", "min")


def test_losses_are_minimised_and_unusable_ones_are_failures() -> None:
    searcher = Drawing(SPACE, "score", "max", seed=0)
    for number, result in enumerate([{"score": 2.0}, {"score": math.nan}, {"other": 1}, None, {"score": math.inf}]):
        searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), result)
    searcher.suggest("e")
    searcher.on_trial_complete("e", {"score": 1.0}, error=True)
    assert [(told.losses, told.outcome) for _, told in searcher.told] == [
        ((-2.0,), DONE),
        ((), FAILED),
        ((), FAILED),
        ((), FAILED),
        ((), FAILED),
        ((-1.0,), FAILED),
    ]


def test_several_metrics() -> None:
    searcher = Drawing(SPACE, ["loss", "speed", "seen"], ["min", "max", "obs"], seed=0)
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"loss": 1.0, "speed": 5.0})
    assert searcher.told[0][1].losses == (1.0, -5.0)


def test_evaluated_points_may_come_before_the_space_is_known() -> None:
    searcher = Drawing(seed=0)
    searcher.add_evaluated_point({"x": 0.5, "n": 1}, 3.0)
    assert searcher.set_search_properties("loss", "min", SPACE)
    assert searcher.told == [([0, 0.5], Told((3.0,), DONE))]


class Thing:
    """An option that JSON cannot hold."""


def test_A10_a_resumed_run_has_the_same_objects_in_its_configs(tmp_path: Path) -> None:
    options = [Thing(), Thing()]
    space = {"x": tune.uniform(0, 1), "thing": tune.choice(options)}

    def trainable(config: dict[str, Any]) -> None:
        assert config["thing"] in options
        tune.report({"loss": config["x"]})

    seen: dict[str, Any] = {"metric": "loss", "mode": "min", "executor": "inline", "verbose": 0, "name": "things"}
    seen["storage_path"] = str(tmp_path)
    first = tune.run(trainable, config=space, search_alg=Drawing(seed=4), num_samples=3, **seen)
    more = tune.run(trainable, config=space, search_alg=Drawing(seed=4), num_samples=6, resume=True, **seen)
    assert [trial.config["x"] for trial in more.trials[:3]] == [trial.config["x"] for trial in first.trials]
    assert len({trial.config["x"] for trial in more.trials}) == 6
    assert all(trial.config["thing"] in options for trial in more.trials)
