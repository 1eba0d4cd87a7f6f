"""A paused trial keeps its state and goes on where it was; reports before the next decision do not wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scripted import Counting, Scripted, counting, plain

import fasttune as tune

Run = Callable[..., tune.ExperimentAnalysis]


def steps(analysis: tune.ExperimentAnalysis) -> list[list[int]]:
    """The steps that each trial reported."""
    return [[result["training_iteration"] for result in trial._source.results(trial.index)] for trial in analysis.trials]


def last(analysis: tune.ExperimentAnalysis, key: str) -> list[Any]:
    """The last value of a key in each trial."""
    return [trial.last_result[key] for trial in analysis.trials]


@pytest.mark.parametrize("trainable", [Counting, counting, plain])
def test_C14_counters_continue_after_pauses(run: Run, trainable: Any) -> None:
    scheduler = Scripted(lambda self, state, trial, step: self.PAUSE)
    analysis = run(trainable, scheduler, trials=5, last=4)
    assert steps(analysis) == [[1, 2, 3, 4]] * 5
    assert last(analysis, "score") == [4.0, 8.0, 12.0, 16.0, 20.0]
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert last(analysis, "iterations_since_restore") == [4] * 5
    times = [result["time_total_s"] for trial in analysis.trials for result in trial._source.results(trial.index)]
    assert all(time >= 0.0 for time in times)


@pytest.mark.parametrize("trainable", [Counting, plain])
def test_reports_before_ask_from_do_not_wait(run: Run, trainable: Any) -> None:
    scheduler = Scripted(lambda self, state, trial, step: self.CONTINUE, every=4)
    analysis = run(trainable, scheduler, trials=3, last=9)
    assert steps(analysis) == [[1, 2, 3, 4, 5, 6, 7, 8, 9]] * 3
    for trial in range(3):
        heard = [step for hook, i, step in scheduler.heard if hook == "result" and i == trial]
        assert heard in ([4, 8], [4, 8, 9])  # a trial that ends by itself is seen as done


def test_callbacks_and_stoppers_still_see_every_report(run: Run) -> None:
    seen: list[int] = []

    class Watching(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **more: Any) -> None:
            seen.append(result["training_iteration"])

    scheduler = Scripted(lambda self, state, trial, step: self.CONTINUE, every=100)
    run(plain, scheduler, trials=2, last=5, callbacks=[Watching()])
    assert sorted(seen) == sorted([1, 2, 3, 4, 5] * 2)


def test_a_stop_function_is_asked_every_time(run: Run) -> None:
    scheduler = Scripted(lambda self, state, trial, step: self.CONTINUE, every=100)
    analysis = run(plain, scheduler, trials=2, last=9, stop=lambda trial_id, result: result["training_iteration"] >= 3)
    assert steps(analysis) == [[1, 2, 3]] * 2


def test_thresholds_end_trials_that_nobody_asks_about(run: Run) -> None:
    scheduler = Scripted(lambda self, state, trial, step: self.CONTINUE, every=100)
    analysis = run(plain, scheduler, trials=2, last=9, stop={"training_iteration": 3})
    assert steps(analysis) == [[1, 2, 3]] * 2


def test_too_many_paused_trials_are_put_away(run: Run) -> None:
    scheduler = Scripted(lambda self, state, trial, step: self.PAUSE)
    analysis = run(Counting, scheduler, trials=6, last=3, max_suspended=2)
    assert last(analysis, "score") == [3.0 * rate for rate in range(1, 7)]
    assert last(analysis, "training_iteration") == [3] * 6
    assert any(result["iterations_since_restore"] < 3 for result in (trial.last_result for trial in analysis.trials))


def test_functions_with_checkpoints_are_put_away_and_others_stay(run: Run) -> None:
    scheduler = Scripted(lambda self, state, trial, step: self.PAUSE)
    analysis = run(counting, scheduler, trials=4, last=3, max_suspended=1)
    assert last(analysis, "score") == [3.0 * rate for rate in range(1, 5)]
    scheduler = Scripted(lambda self, state, trial, step: self.PAUSE)
    analysis = run(plain, scheduler, trials=4, last=3, max_suspended=1, name="plain")
    assert last(analysis, "score") == [3.0 * rate for rate in range(1, 5)]
    assert last(analysis, "iterations_since_restore") == [3] * 4
