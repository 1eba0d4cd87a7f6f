"""The searcher contract, bound to every searcher and to two written outside."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

import fasttune as tune
from fasttune import search
from fasttune.search import BasicVariantGenerator, ConcurrencyLimiter, Repeater, SearchAlgorithm, Searcher
from fasttune.search.base import Metric, Mode
from fasttune.space.dimensions import CATEGORICAL
from fasttune.testing import SearcherContract


class Variants(Searcher):
    """Random and grid search, asked one config at a time."""

    def __init__(self, generator: SearchAlgorithm) -> None:
        super().__init__()
        self.generator = generator
        self.number = 0

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        self._metric, self._mode = metric, mode
        assert isinstance(self.generator, BasicVariantGenerator)
        self.variants = self.generator.variants(100, config)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.number += 1
        return self.variants.config(self.number - 1)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        pass


class Climber(Searcher):
    """As somebody outside might write one: draws around the best so far, and finishes after ``most`` configs."""

    def __init__(self, seed: int = 1, most: int = 100) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.left = most
        self.best: tuple[float, float] | None = None
        self.out: dict[str, float] = {}

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        self._metric, self._mode = metric, mode
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.left == 0:
            return self.FINISHED
        self.left -= 1
        x = self.random.random() if self.best is None else self.best[1] + self.random.gauss(0, 0.1)
        self.out[trial_id] = min(1.0, max(0.0, x))
        return {"x": self.out[trial_id], "kind": self.random.choice("abc")}

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        x = self.out.pop(trial_id)
        value = None if error or result is None else result.get(str(self.metric))
        if value is not None and (self.best is None or value < self.best[0]):
            self.best = (value, x)


class OneAtATime(Climber):
    """Says "not now" while a trial is out."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return None if self.out else super().suggest(trial_id)


class TestRandom(SearcherContract):
    def make(self) -> Searcher:
        return Variants(BasicVariantGenerator(random_state=3))


class TestLimited(SearcherContract):
    def make(self) -> Searcher:
        return ConcurrencyLimiter(Climber(), max_concurrent=2)


class TestLimitedInBatches(SearcherContract):
    def make(self) -> Searcher:
        return ConcurrencyLimiter(Climber(), max_concurrent=3, batch=True)


class TestRepeated(SearcherContract):
    trials = 12

    def make(self) -> Searcher:
        return Repeater(Climber(), repeat=3)


class TestOneFromOutside(SearcherContract):
    def make(self) -> Searcher:
        return Climber()


class TestOneThatFinishesEarly(SearcherContract):
    def make(self) -> Searcher:
        return Climber(most=4)


class TestOneThatWaits(SearcherContract):
    def make(self) -> Searcher:
        return OneAtATime()


class OfNumbers(SearcherContract):
    """The contract for a searcher that takes no choice."""

    space: dict[str, Any] = {"x": tune.uniform(0, 1), "n": tune.randint(0, 3)}  # noqa: RUF012

    def check(self, config: Mapping[str, Any]) -> None:
        assert 0 <= config["x"] <= 1
        assert config["n"] in (0, 1, 2)


def bound(name: str) -> type[SearcherContract]:
    """The contract for a native searcher, which takes a seed and everything else from the run."""
    kind = getattr(search, name)
    base = SearcherContract if CATEGORICAL in getattr(kind, "kinds", [CATEGORICAL]) else OfNumbers
    return type(f"Test{name}", (base,), {"make": lambda self: kind(seed=1)})


NATIVE = set(search._HOME) - {"SearchSpace", "UniqueSearch"}
for native in sorted(NATIVE):
    globals()[f"Test{native}"] = bound(native)


class OfLongTrials(search.AutoSearch):
    """To which every trial takes a minute."""

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        super().on_trial_complete(trial_id, None if result is None else {**result, "time_total_s": 60.0}, error)


class TestAutoSearchOfLongTrials(SearcherContract):
    trials = 25

    def make(self) -> Searcher:
        return OfLongTrials(seed=1)


class TestUniqueSearch(SearcherContract):
    def make(self) -> Searcher:
        return search.UniqueSearch(search.TPESearch(seed=1))


def test_every_searcher_is_bound() -> None:
    """A searcher that is added to the package gets a class of tests above."""
    bases = {Searcher, SearchAlgorithm}
    offered = {name: getattr(search, name) for name in search.__all__}
    found = {
        name
        for name, kind in offered.items()
        if isinstance(kind, type) and issubclass(kind, (Searcher, SearchAlgorithm)) and kind not in bases
    }
    assert found - NATIVE == {
        "BasicVariantGenerator",
        "ConcurrencyLimiter",
        "Repeater",
        "SearchGenerator",
        "UniqueSearch",
    }


@pytest.mark.parametrize("name", sorted(name for name, kind in search._NAMES.items() if ":" not in kind))
def test_every_name_makes_a_searcher(name: str) -> None:
    assert isinstance(search.create_searcher(name), (Searcher, SearchAlgorithm))
