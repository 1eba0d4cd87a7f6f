"""Functions and methods that are called for their answers: async ones give none, and what they give would count as true."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

import fasttune as tune
from fasttune import argument
from fasttune.schedulers import FIFOScheduler
from fasttune.search import Searcher
from fasttune.stopper import Stopper


async def waits(*args: Any) -> bool:
    return False


async def waits_and_yields(*args: Any) -> Any:
    yield False


def yields(*args: Any) -> Any:
    yield True


class Waits:
    async def __call__(self, *args: Any) -> bool:
        return False


class Stops(Stopper):
    async def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # type: ignore[override]
        return False

    def stop_all(self) -> bool:
        return False


class Hears(tune.Callback):
    async def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # type: ignore[override]
        raise AssertionError


class Decides(FIFOScheduler):
    async def on_trial_result(self, view: Any, trial: Any, result: dict[str, Any]) -> str:  # type: ignore[override]
        return "STOP"


class Suggests(Searcher):
    async def suggest(self, trial_id: str) -> dict[str, Any]:  # type: ignore[override]
        return {}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None: ...


FUNCTIONS = [waits, waits_and_yields, yields, Waits(), functools.partial(waits, 1)]


def test_flags_are_those_of_the_interpreter() -> None:
    assert argument.ASYNC == inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    assert argument.GENERATOR == inspect.CO_GENERATOR
    for plain in (print, len, int, functools.partial(print), FIFOScheduler().on_trial_result, lambda: 1, object()):
        argument.check_called("it", plain)


@pytest.mark.parametrize("function", FUNCTIONS, ids=["async", "async generator", "generator", "object", "partial"])
@pytest.mark.parametrize("name", ["stop", "constraints", "resources_per_trial", "trial_name_creator", "trial_dirname_creator"])
def test_functions_are_refused_at_once(name: str, function: Any) -> None:
    asked: dict[str, Any] = {name: function}
    with pytest.raises(TypeError, match="and it is called for its answer, not awaited"):
        tune.run(lambda config: 1, config={}, metric="loss", mode="min", verbose=0, executor="inline", **asked)
    with pytest.raises(TypeError, match=r"sample_from is .* called for its answer"):
        tune.sample_from(function)


@pytest.mark.parametrize("asked", [
    {"stop": Stops()}, {"stop": ["regret", Stops()]}, {"callbacks": [Hears()]}, {"scheduler": Decides()}, {"search_alg": Suggests()},
], ids=["stopper", "stoppers", "callback", "scheduler", "searcher"])  # fmt: skip
def test_methods_are_refused_at_once(asked: dict[str, Any]) -> None:
    told: dict[str, Any] = {"config": {"x": tune.uniform(0, 1)}, "metric": "loss", "mode": "min", "verbose": 0, "executor": "inline"}
    with pytest.raises(TypeError, match=r"\w+\.\w+\(\) is an async function, and it is called for its answer"):
        tune.run(lambda config: 1, **told, **asked)


class CallsItselfOtherwise(Searcher):
    def __init__(this, step: float = 0.5) -> None:
        super().__init__(metric="loss", mode="min")
        this.step = step

    def set_search_properties(this, *args: Any, **more: Any) -> bool:
        return True

    def suggest(this, trial_id: str) -> dict[str, Any]:
        return {"x": this.step}

    def on_trial_complete(this, trial_id: str, result: Any = None, error: bool = False) -> None: ...


class TakesAnything(FIFOScheduler):
    def __init__(*args: Any, **more: Any) -> None:
        super(TakesAnything, args[0]).__init__()


def test_what_a_class_calls_itself_is_its_own_affair() -> None:
    """A journal that described it as one of its arguments described it without end."""
    told: dict[str, Any] = {"config": {"x": tune.uniform(0, 1)}, "num_samples": 2, "verbose": 0, "executor": "inline"}
    found = tune.run(lambda config: config["x"], search_alg=CallsItselfOtherwise(0.25), scheduler=TakesAnything(1, b=2), **told)
    assert [trial.config["x"] for trial in found.trials] == [0.25, 0.25]
    asked = found._source.meta["asked"]
    assert asked["searcher"]["settings"] == {"step": 0.25}
    assert asked["scheduler"]["settings"] == {"args": {"~": "tuple", "items": [1]}, "b": 2}
