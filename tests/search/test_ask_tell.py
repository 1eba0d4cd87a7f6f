"""Searchers without a run: ``ask``, ``report`` and ``tell``."""

from __future__ import annotations

from typing import Any

import pytest

import fasttune as tune
from fasttune.search import ConcurrencyLimiter, Repeater, Searcher, TPESearch, TuneBOHB, create_searcher

SPACE: dict[str, Any] = {
    "x": tune.uniform(-1, 1),
    "fixed": 7,
    "twice": tune.sample_from(lambda spec: 2 * spec.config.x),
    "net": tune.choice([{"kind": "small"}, {"kind": "large", "width": tune.randint(1, 9)}]),
}


@pytest.mark.parametrize("name", ["tpe", "evolution", "sobol", "gp", "bohb", "optuna", "hyperopt"])
def test_a_loop_of_ones_own(name: str) -> None:
    space = {"x": SPACE["x"], "fixed": 7, "net": SPACE["net"]}
    search = create_searcher(name, space=space, metric="loss", mode="min")
    ids = []
    for _ in range(15):
        asked = search.ask()
        assert asked is not None
        ids.append(asked.trial_id)
        assert asked.config["fixed"] == 7
        assert asked.config["net"]["kind"] in ("small", "large")
        search.tell(asked, asked.config["x"] ** 2)
    assert len(set(ids)) == 15


def test_values_that_are_computed_are_in_the_config() -> None:
    search = TPESearch(SPACE, "loss", "min", seed=1)
    for _ in range(15):
        asked = search.ask()
        assert asked is not None
        assert asked.config["twice"] == 2 * asked.config["x"]
        search.tell(asked.trial_id, {"loss": asked.config["x"], "training_iteration": 1})


def test_it_suggests_what_a_run_would() -> None:
    one, other = (TPESearch(SPACE, "loss", "min", seed=4) for _ in range(2))
    for k in range(20):
        asked = one.ask()
        suggested = other.suggest(f"{k:05d}")
        assert asked is not None
        assert isinstance(suggested, dict)
        assert asked.config["x"] == suggested["x"]
        one.tell(asked, asked.config["x"] ** 2)
        other.on_trial_complete(f"{k:05d}", {"loss": suggested["x"] ** 2})


def test_a_limit_says_not_now() -> None:
    search = ConcurrencyLimiter(TPESearch(SPACE, "loss", "min", seed=1), max_concurrent=1)
    asked = search.ask()
    assert asked is not None
    assert asked.config["fixed"] == 7
    assert search.ask() is None
    search.tell(asked, error=True)
    again = search.ask()
    assert again is not None
    assert again.trial_id == "00001"


def test_reports_on_the_way_are_heard() -> None:
    search = TuneBOHB({"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=1)
    asked = search.ask()
    assert asked is not None
    search.report(asked, {"loss": 0.5, "hyperband_info": {"budget": 3}})
    search.tell(asked, {"loss": 0.4, "training_iteration": 9})
    assert search.results == {3.0: 1, 9.0: 1}


class Two(Searcher):
    """Two configs, then none."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.left = 2
        self.told: list[Any] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        self.left -= 1
        return {"n": self.left} if self.left >= 0 else self.FINISHED

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.told.append((trial_id, result, error))


def test_ones_own_searcher_and_its_end() -> None:
    search = Two(metric=["a", "b"], mode=["min", "max"])
    first, second = search.ask(), search.ask()
    assert first is not None
    assert second is not None
    search.tell(second, [1.0, 2.0])
    search.tell(first, error=True)
    assert search.told == [("00001", {"a": 1.0, "b": 2.0}, False), ("00000", None, True)]
    with pytest.raises(LookupError, match="no more"):
        search.ask()
    with pytest.raises(ValueError, match="told 1 values"):
        search.tell(first, [1.0])


def test_a_value_needs_a_metric() -> None:
    search = Two()
    asked = search.ask()
    assert asked is not None
    with pytest.raises(ValueError, match="no metric"):
        search.tell(asked, 1.0)
    search.tell(asked, {"whatever": 1.0})


def test_a_repeater_asks_for_whole_configs_and_tells_their_mean() -> None:
    inner = TPESearch(SPACE, metric="loss", mode="min", seed=1)
    search = Repeater(inner, repeat=2)
    for number in range(6):
        pair = [search.ask(), search.ask()]
        first, second = (one.config for one in pair if one is not None)
        assert [first.pop("__trial_index__"), second.pop("__trial_index__")] == [0, 1]
        assert first == second
        assert (first["fixed"], first["twice"]) == (7, 2 * first["x"])
        for one, loss in zip(pair, (1.0, 2.0), strict=True):
            assert one is not None
            search.report(one, 5.0)
            search.tell(one, loss + number)
