"""A hook that keeps the loop waiting is named, once, with its time; nobody else is blamed for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.callback import CallbackList
from fasttune.hook_times import SLOW_S, UNTIMED, HookTimes, hook_name

LONG = SLOW_S + 0.2


class Clock:
    """Goes on by as much as hooks say that they take."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "the run waited for it" in record.getMessage()]


def test_a_slow_call_is_named_once_with_its_time(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Slow(tune.Callback):
        def on_step_end(self, **told: Any) -> None:
            clock.now += 5.0

        def on_step_begin(self, **told: Any) -> None:
            clock.now += 0.5

    callbacks = CallbackList([Slow()])
    callbacks.times = HookTimes(clock)
    for _ in range(3):
        callbacks.fire("on_step_begin", iteration=0, trials=[])
        callbacks.fire("on_step_end", iteration=0, trials=[])
    (said,) = messages(caplog)
    assert said.startswith("Slow.on_step_end() took 5.0 s")


def test_each_hook_is_named(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Both(tune.Callback):
        def on_step_begin(self, **told: Any) -> None:
            clock.now += 2.0

        def on_step_end(self, **told: Any) -> None:
            clock.now += 3.0

    callbacks = CallbackList([Both()])
    callbacks.times = HookTimes(clock)
    for hook in ("on_step_begin", "on_step_end", "on_step_begin"):
        callbacks.fire(hook, iteration=0, trials=[])
    assert [said.partition(" took ")[0] for said in messages(caplog)] == ["Both.on_step_begin()", "Both.on_step_end()"]


def test_a_slow_hook_that_raises_is_named_too(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        clock.now += 4.0
        raise KeyError("x")

    with pytest.raises(KeyError):
        HookTimes(clock).call(fails)
    assert "fails() took 4.0 s" in messages(caplog)[0]


def test_names_of_hooks() -> None:
    def reached(trial_id: str, result: dict[str, Any]) -> bool:
        return False

    own = tune.stopper.FunctionStopper(reached)
    assert hook_name(own).startswith("the stop function ")
    assert "reached()" in hook_name(own)
    both = tune.stopper.CombinedStopper(own, tune.stopper.TimeoutStopper(5))
    assert "reached()" in hook_name(both)
    assert "TimeoutStopper" in hook_name(both.stop_all)
    assert hook_name(tune.stopper.TimeoutStopper(5).stop_all) == "TimeoutStopper.stop_all()"


def test_without_a_clock_nothing_is_counted() -> None:
    assert UNTIMED.call(lambda: 3) == 3


def one_report(config: dict[str, Any]) -> None:
    tune.report(loss=1.0)


def with_callback() -> dict[str, Any]:
    class Slow(tune.Callback):
        def on_trial_complete(self, **told: Any) -> None:
            time.sleep(LONG)

    return {"callbacks": [Slow()]}


def with_stopper() -> dict[str, Any]:
    class Slow(tune.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            time.sleep(LONG)
            return False

        def stop_all(self) -> bool:
            return False

    return {"stop": Slow()}


def with_scheduler() -> dict[str, Any]:
    class Slow(tune.schedulers.TrialScheduler):
        def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
            time.sleep(LONG if not result.get("done") else 0)
            return self.CONTINUE

    return {"scheduler": Slow()}


def with_searcher() -> dict[str, Any]:
    class Slow(tune.search.Searcher):
        def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
            return True

        def suggest(self, trial_id: str) -> dict[str, Any]:
            time.sleep(LONG)
            return {"x": 1}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None: ...

    return {"search_alg": Slow()}


@pytest.mark.parametrize(
    ("slow", "name"),
    [
        (with_callback, "Slow.on_trial_complete()"),
        (with_stopper, "Slow.__call__()"),
        (with_scheduler, "Slow.on_trial_result()"),
        (with_searcher, "Slow.suggest()"),
    ],
)
@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_run_with_a_slow_hook(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, executor: str, slow: Callable[[], dict[str, Any]], name: str
) -> None:
    with caplog.at_level(logging.WARNING, "fasttune"):
        analysis = tune.run(
            one_report, metric="loss", mode="min", storage_path=str(tmp_path), executor=executor, verbose=0, **slow()
        )
    assert [said.partition(" took ")[0] for said in messages(caplog) if said.startswith("Slow")] == [name]
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"]


def test_a_trial_that_is_told_to_stop_beside_a_slow_hook_cleans_up(tmp_path: Path) -> None:
    """It ends while the hook sleeps longer than the grace of deaf trials: that it has ended is seen first."""

    class Ends(tune.Stopper):
        asks_every_report = True
        over = False

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            self.over = self.over or (result["first"] == 1 and (tmp_path / "waits").exists())
            return self.over

        def stop_all(self) -> bool:
            return self.over

    class Slow(tune.Callback):
        slept = False

        def on_trial_complete(self, **told: Any) -> None:
            if not self.slept:
                self.slept = True
                time.sleep(LONG + 0.5)

    def train(config: dict[str, Any]) -> None:
        try:
            while True:
                if not config["first"]:
                    (tmp_path / "waits").touch()
                    time.sleep(0.5)  # its next report comes while the hook sleeps
                tune.report(loss=1.0, first=config["first"])
        finally:
            if not config["first"]:
                time.sleep(0.3)
                (tmp_path / "cleaned_up").touch()

    tune.run(
        train,
        config={"first": tune.grid_search([1, 0])},
        stop=Ends(),
        callbacks=[Slow()],
        resources_per_trial={"cpu": 0.5},
        storage_path=str(tmp_path / "runs"),
        executor="process",
        verbose=0,
    )
    assert (tmp_path / "cleaned_up").exists()
