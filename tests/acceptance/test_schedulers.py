"""Rows C1, C2, C3 and C13: schedulers in runs, built-in and user-written, on both executors."""

from __future__ import annotations

import math
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler


def curve(config: dict[str, Any]) -> None:
    for t in range(1, config.get("steps", 100) + 1):
        tune.report(score=config["x"] * t)


def iterations(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


def grid(*values: float) -> dict[str, Any]:
    return {"x": tune.grid_search(list(values))}


def serial(run: Any, *args: Any, **more: Any) -> tune.ExperimentAnalysis:
    """One trial after the other: decisions do not depend on who is faster."""
    found: tune.ExperimentAnalysis = run(*args, max_concurrent_trials=1, **more)
    return found


# ---- C1


def test_C1_fifo_runs_trials_in_their_order(run, tmp_path):
    notes = tmp_path / "notes"

    def noted(config):
        with open(notes, "a") as file:
            file.write(f"{config['x']}\n")
        tune.report(x=config["x"])

    analysis = serial(run, noted, config=grid(*range(10)), scheduler=FIFOScheduler())
    assert notes.read_text().split() == [str(k) for k in range(10)]
    assert iterations(analysis) == [1] * 10
    assert serial(run, noted, config=grid(1), scheduler="fifo").trials[0].status == "TERMINATED"


# ---- C2


def slow_asha(curves: list[list[float]], max_t: int, grace: int, eta: float) -> list[int]:
    """Iterations that trials, one after the other, get: the rule in its plainest words."""
    import numpy as np

    milestones = []
    t = grace
    while t <= max_t:
        milestones.append(t)
        t = int(t * eta)
    rungs: dict[int, list[float]] = {t: [] for t in milestones}
    got = []
    for values in curves:
        t = 0
        for t, value in enumerate(values, 1):
            if t >= max_t:
                rungs.get(t, []).append(value)
                break
            if t in rungs:
                cut = np.percentile(rungs[t], (1 - 1 / eta) * 100) if rungs[t] else math.nan
                rungs[t].append(value)
                if value < cut:
                    break
        got.append(t)
    return got


def from_list(config: dict[str, Any]) -> None:
    for value in config["curve"]:
        tune.report(score=value)


@pytest.mark.parametrize(("max_t", "grace", "eta"), [(16, 1, 2), (27, 1, 3), (20, 2, 4)])
def test_C2_asha_gives_each_trial_what_the_rule_says(run, max_t, grace, eta):
    import random

    rng = random.Random(7)
    curves = [[rng.random() for _ in range(max_t + 3)] for _ in range(25)]
    analysis = serial(
        run,
        from_list,
        config={"curve": tune.grid_search(curves)},
        metric="score",
        mode="max",
        scheduler=ASHAScheduler(max_t=max_t, grace_period=grace, reduction_factor=eta),
    )
    assert iterations(analysis) == slow_asha(curves, max_t, grace, eta)
    assert len(set(iterations(analysis))) > 2


def test_C2_only_a_strictly_worse_trial_is_stopped_and_min_is_the_mirror(run):
    scheduler = ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2)
    analysis = serial(run, curve, config=grid(5, 5, 4, 6), metric="score", mode="max", scheduler=scheduler)
    assert iterations(analysis) == [4, 4, 1, 4]
    scheduler = ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2)
    analysis = serial(run, curve, config=grid(5, 5, 6, 4), metric="score", mode="min", scheduler=scheduler)
    assert iterations(analysis) == [4, 4, 1, 4]


def test_C2_nan_stops_nobody_and_is_not_stopped(run):
    nan = float("nan")
    scheduler = ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2)
    analysis = serial(run, curve, config=grid(nan, 5, nan, 4), metric="score", mode="max", scheduler=scheduler)
    assert iterations(analysis) == [4, 4, 4, 1]


def test_C2_the_top_rung_is_not_lost(run):
    scheduler = ASHAScheduler(time_attr="t", max_t=1000, grace_period=1, reduction_factor=10)

    def jumps(config):
        for t in (1, 10, 100):
            tune.report(t=t, score=config["x"])

    serial(run, jumps, config=grid(3, 2, 1), metric="score", mode="max", scheduler=scheduler)
    assert "Iter 1000" in scheduler.debug_string()


def test_C2_a_missing_time_attribute_or_metric_of_the_scheduler_continues(run):
    def without_time(config):
        for _ in range(3):
            tune.report(score=config["x"])

    scheduler = ASHAScheduler(time_attr="epochs", max_t=2)
    analysis = serial(run, without_time, config=grid(3, 1), metric="score", mode="max", scheduler=scheduler)
    assert iterations(analysis) == [3, 3]


def test_C2_nested_metrics_and_a_reported_time(run):
    def nested(config):
        for t in range(1, 10):
            tune.report({"eval": {"score": config["x"]}, "epoch": 2 * t})

    scheduler = AsyncHyperBandScheduler(time_attr="epoch", metric="eval/score", mode="max", max_t=8, grace_period=2)
    analysis = serial(run, nested, config=grid(3, 1, 4), scheduler=scheduler)
    assert iterations(analysis) == [4, 1, 4]
    assert analysis.best_config["x"] == 4


@pytest.mark.parametrize("concurrent", [1, 2])
def test_C2_brackets_in_a_run(run, concurrent):
    analysis = run(
        curve,
        config={"x": tune.uniform(0, 1), "steps": 30},
        num_samples=30,
        metric="score",
        mode="max",
        scheduler=ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3, brackets=3),
        max_concurrent_trials=concurrent,
    )
    assert set(iterations(analysis)) <= {1, 3, 9, 27}
    assert max(iterations(analysis)) == 27
    assert len(set(iterations(analysis))) > 1


def test_C2_the_debug_string_tells_the_rungs(run):
    scheduler = ASHAScheduler(max_t=16, grace_period=1, reduction_factor=4)
    serial(run, curve, config=grid(3, 2, 1, 4), metric="score", mode="max", scheduler=scheduler)
    text = scheduler.debug_string()
    assert text.startswith("Using AsyncHyperBand: num_stopped=")
    assert "Bracket: Iter 16.000" in text


@pytest.mark.parametrize(
    "options",
    [{"max_t": 0}, {"max_t": 5, "grace_period": 6}, {"grace_period": 0}, {"reduction_factor": 1}, {"brackets": 0}],
)
def test_C2_wrong_options(options):
    with pytest.raises((ValueError, AssertionError)):
        ASHAScheduler(**options)
    with pytest.raises(TypeError):
        ASHAScheduler(max_tt=3)


# ---- C3


def test_C3_stop_last_trials_false(run):
    scheduler = ASHAScheduler(max_t=4, grace_period=2, reduction_factor=2, stop_last_trials=False)
    config = {**grid(10, 8, 6, 4), "steps": 12}
    analysis = serial(run, curve, config=config, metric="score", mode="max", scheduler=scheduler)
    assert iterations(analysis) == [12, 2, 2, 2]


# ---- C13: user-written schedulers


class Watching(TrialScheduler):
    """Notes every call; stops trials with x > 2 at their second report."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.calls: list[tuple[Any, ...]] = []

    def on_trial_add(self, state, trial):
        self.calls.append(("add", trial.config["x"]))

    def on_trial_result(self, state, trial, result):
        self.calls.append(("result", trial.config["x"], result["training_iteration"], result["score"]))
        assert state.get_trial(trial.trial_id) == trial
        assert trial in state.trials
        return self.STOP if result["config/x"] > 2 and result["training_iteration"] == 2 else self.CONTINUE

    def on_trial_complete(self, state, trial, result):
        self.calls.append(("complete", trial.config["x"], result.get("score")))

    def on_trial_error(self, state, trial):
        self.calls.append(("error", trial.config["x"]))

    def on_trial_remove(self, state, trial):
        self.calls.append(("remove", trial.config["x"]))


def test_C13_a_scheduler_of_ones_own_is_asked_about_everything(run):
    scheduler = Watching(metric="score", mode="max")
    analysis = serial(run, curve, config={**grid(1, 3), "steps": 3}, scheduler=scheduler)
    assert iterations(analysis) == [3, 2]
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    calls = scheduler.calls
    assert calls[:2] == [("add", 1), ("add", 3)]
    mine = [call for call in calls if call[1] == 1]
    assert mine[1:4] == [("result", 1, 1, 1), ("result", 1, 2, 2), ("result", 1, 3, 3)]
    assert mine[-1] == ("complete", 1, 3)
    other = [call for call in calls if call[1] == 3]
    assert other == [("add", 3), ("result", 3, 1, 3), ("result", 3, 2, 6), ("complete", 3, 6)]


def test_C13_a_retried_trial_is_added_again(run, tmp_path):
    def fails_once(config):
        tune.report(score=1)
        if not (tmp_path / "failed").exists():
            (tmp_path / "failed").touch()
            raise RuntimeError("once")

    scheduler = Watching()
    run(fails_once, config={"x": 1}, scheduler=scheduler, max_failures=1)
    assert [call[0] for call in scheduler.calls if call[0] != "result"] == ["add", "error", "add", "complete"]


class TakesTurns(TrialScheduler):
    """Pauses every trial after each report; runs the one that is least far."""

    def on_trial_result(self, state, trial, result):
        return self.PAUSE

    def choose_trial_to_run(self, state):
        waiting = [trial for trial in state.trials if trial.status in ("PENDING", "PAUSED")]
        return min(waiting, key=lambda t: t.last_result.get("training_iteration", 0), default=None)


def keeps_state(config: dict[str, Any]) -> None:
    total = 0
    for i in range(5):
        total += config["x"]
        tune.report(total=total, i=i)


class KeepsState(tune.Trainable):
    def setup(self, config):
        self.total = 0

    def step(self):
        self.total += self.config["x"]
        return {"total": self.total, "i": self.iteration, "done": self.iteration == 4}


@pytest.mark.parametrize("trainable", [keeps_state, KeepsState])
def test_C13_paused_trials_keep_their_state_and_take_turns(run, trainable):
    analysis = serial(run, trainable, config=grid(1, 10, 100), scheduler=TakesTurns())
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3
    assert [trial.last_result["total"] for trial in analysis.trials] == [5, 50, 500]
    assert iterations(analysis) == [5, 5, 5]
    for frame in analysis.trial_dataframes.values():
        assert list(frame["training_iteration"]) == [1, 2, 3, 4, 5]
    times = [list(frame["timestamp"]) for frame in analysis.trial_dataframes.values()]
    assert all(a == sorted(a) for a in times)


def test_C13_two_at_once_take_turns(run):
    analysis = run(keeps_state, config=grid(1, 10, 100, 1000), scheduler=TakesTurns())
    assert [trial.last_result["total"] for trial in analysis.trials] == [5, 50, 500, 5000]


def test_C13_paused_trials_that_nobody_chooses_end(run):
    class NeverAgain(Watching):
        def on_trial_result(self, state, trial, result):
            return self.PAUSE if trial.config["x"] == 1 else self.CONTINUE

        def choose_trial_to_run(self, state):
            return next((trial for trial in state.trials if trial.status == "PENDING"), None)

    scheduler = NeverAgain()
    analysis = serial(run, keeps_state, config=grid(1, 10), scheduler=scheduler)
    assert [call[:2] for call in scheduler.calls if call[0] in ("remove", "complete")] == [
        ("complete", 10),
        ("remove", 1),
    ]
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    assert iterations(analysis) == [1, 5]


def test_C13_a_subclass_of_fifo_is_asked(run):
    class StopsAtThree(FIFOScheduler):
        def on_trial_result(self, state, trial, result):
            return self.STOP if result["training_iteration"] >= 3 else self.NOOP

    assert iterations(run(curve, config=grid(1, 2), scheduler=StopsAtThree())) == [3, 3]


def test_C13_a_subclass_of_asha_is_asked(run):
    class Generous(ASHAScheduler):
        def on_trial_result(self, state, trial, result):
            found = super().on_trial_result(state, trial, result)
            return self.CONTINUE if trial.config["x"] == 1 else found

    scheduler = Generous(metric="score", mode="max", max_t=4, grace_period=1, reduction_factor=2)
    analysis = serial(run, curve, config={**grid(5, 4, 1), "steps": 6}, scheduler=scheduler)
    assert iterations(analysis) == [4, 1, 6]


def test_C13_wrong_answers_end_the_run_with_the_reason(run):
    class Forgets(TrialScheduler):
        def on_trial_result(self, state, trial, result):
            pass

    with pytest.raises(tune.TuneError, match="is a return missing"):
        run(curve, config=grid(1), scheduler=Forgets())

    class Raises(TrialScheduler):
        def on_trial_result(self, state, trial, result):
            raise LookupError("broken scheduler")

    with pytest.raises(LookupError, match="broken scheduler"):
        run(curve, config=grid(1), scheduler=Raises())

    class ChoosesFinished(TrialScheduler):
        def choose_trial_to_run(self, state):
            return state.trials[0]

    with pytest.raises(tune.TuneError, match="only PENDING and PAUSED trials"):
        serial(run, curve, config={**grid(1, 2), "steps": 1}, scheduler=ChoosesFinished())

    class ChoosesNobody(TrialScheduler):
        def choose_trial_to_run(self, state):
            return None

    with pytest.raises(tune.TuneError, match="it would wait for ever"):
        run(curve, config=grid(1), scheduler=ChoosesNobody())
    with pytest.raises(TypeError, match="scheduler must be a TrialScheduler"):
        run(curve, config=grid(1), scheduler=5)
    with pytest.raises(ValueError, match="fifo"):
        run(curve, config=grid(1), scheduler="asha_misspelt")


def test_C13_a_scheduler_under_a_stop_rule_and_a_budget(run):
    scheduler = TakesTurns()
    analysis = run(curve, config=grid(1, 2, 3), scheduler=scheduler, stop={"training_iteration": 4})
    assert iterations(analysis) == [4, 4, 4]
    analysis = run(curve, config={**grid(1, 2), "steps": 10**9}, scheduler=TakesTurns(), time_budget_s=0.4)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
