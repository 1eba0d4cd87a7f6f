"""What every scheduler has to keep: see :mod:`fasttune.schedulers.base`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fasttune.analysis import ExperimentAnalysis
from fasttune.rule import CompiledRule
from fasttune.schedulers.base import Order, TrialScheduler, compiled_rule, tell_goal
from fasttune.schedulers.view import ExperimentView
from fasttune.session import report
from fasttune.space.functions import uniform
from fasttune.trial import Trial
from fasttune.tuner import run

DECISIONS = {"CONTINUE", "PAUSE", "STOP", "NOOP"}


def learning_curve(config: dict[str, Any]) -> None:
    """Nine reports of a score that depends on the config alone and comes closer to ``x``."""
    for step in range(1, 10):
        report({"score": config["x"] - 1.0 / step})


def curve_with_gaps(config: dict[str, Any]) -> None:
    """As :func:`learning_curve`, with scores that are no numbers, or no finite ones."""
    for step in range(1, 10):
        score = {0: math.nan, 1: math.inf, 2: -math.inf}.get(int(config["x"] * 30 + step) % 5, config["x"])
        report({"score": score})


def failing_curve(config: dict[str, Any]) -> None:
    """As :func:`learning_curve`; every third config fails half way."""
    for step in range(1, 10):
        if step == 5 and int(config["x"] * 100) % 3 == 0:
            raise ArithmeticError("this config fails")
        report({"score": config["x"] - 1.0 / step})


class Watched(TrialScheduler):
    """Passes everything on to ``inner`` and keeps what was called: (hook, trial id, its status, the answer)."""

    def __init__(self, inner: TrialScheduler) -> None:
        super().__init__()
        self.inner = inner
        self.takes_searcher = inner.takes_searcher
        self.holds_back = inner.holds_back
        self.calls: list[tuple[str, str, str, Any]] = []

    @property
    def metric(self) -> str | None:
        return self.inner.metric

    @property
    def mode(self) -> str | None:
        return self.inner.mode

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return tell_goal(self.inner, metric, mode, spec)

    def _note(self, hook: str, trial: Trial, answer: Any = None) -> Any:
        self.calls.append((hook, trial.trial_id, trial.status, answer))
        return answer

    def on_trial_add(self, state: ExperimentView, trial: Trial) -> None:
        self._note("add", trial)
        self.inner.on_trial_add(state, trial)

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        answer: str = self._note("result", trial, self.inner.on_trial_result(state, trial, result))
        return answer

    def on_trial_complete(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> None:
        self._note("complete", trial)
        self.inner.on_trial_complete(state, trial, result)

    def on_trial_remove(self, state: ExperimentView, trial: Trial) -> None:
        self._note("remove", trial)
        self.inner.on_trial_remove(state, trial)

    def on_trial_error(self, state: ExperimentView, trial: Trial) -> None:
        self._note("error", trial)
        self.inner.on_trial_error(state, trial)

    def tells_searcher(self, trial: Trial) -> Mapping[str, Any]:
        return self.inner.tells_searcher(trial)

    def ask_from(self, trial: Trial) -> int:
        return self.inner.ask_from(trial)

    def orders(self) -> Sequence[Order]:
        return self.inner.orders()

    def complete_space(self, space: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.inner.complete_space(space)

    def files(self, state: ExperimentView) -> Mapping[str, str]:
        return self.inner.files(state)

    def choose_trial_to_run(self, state: ExperimentView) -> Trial | None:
        trial = self.inner.choose_trial_to_run(state)
        if trial is not None:
            self._note("choose", trial)
        return trial

    def debug_string(self) -> str:
        return self.inner.debug_string()

    def core_rule(self) -> CompiledRule | None:
        return None


class SchedulerContract(ABC):
    """Derive from it and give :meth:`make`: a fresh scheduler that was not told its metric and mode.

    ``trials`` of ``trainable`` over ``space`` are run in this process; the trainable must report ``metric`` and
    give the same reports for the same config. The scheduler must bring every trial to an end.
    """

    metric = "score"
    mode = "max"
    trials = 12
    space: dict[str, Any] = {"x": uniform(0, 1)}  # noqa: RUF012 - never written to
    trainable: Callable[[dict[str, Any]], Any] = staticmethod(learning_curve)

    @abstractmethod
    def make(self) -> TrialScheduler:
        """A fresh scheduler."""

    def run(self, scheduler: TrialScheduler, folder: Path, **more: Any) -> ExperimentAnalysis:
        """A whole run under the scheduler; everything is fixed, so that it can be repeated."""
        asked: dict[str, Any] = {
            "config": self.space,
            "num_samples": self.trials,
            "metric": self.metric,
            "mode": self.mode,
            "seed": 7,
            "executor": "inline",
            "storage_path": str(folder),
            "verbose": 0,
            **more,
        }
        return run(asked.pop("trainable", self.trainable), scheduler=scheduler, **asked)

    # -- settings -----------------------------------------------------------------------------------------------------

    def test_it_is_told_metric_and_mode_once(self) -> None:
        scheduler = self.make()
        assert scheduler.set_search_properties(None, None) is True
        assert scheduler.set_search_properties(self.metric, self.mode) is True
        assert (scheduler.metric, scheduler.mode) == (self.metric, self.mode)
        assert scheduler.set_search_properties("another", self.mode) is False

    def test_unknown_arguments_are_an_error(self) -> None:
        try:
            type(self.make())(no_such_argument=1)  # type: ignore[call-arg]
        except TypeError:
            return
        raise AssertionError("an argument that does not exist was accepted")

    def test_it_says_what_it_is_in_a_line(self) -> None:
        scheduler = self.make()
        scheduler.set_search_properties(self.metric, self.mode)
        text = scheduler.debug_string()
        assert isinstance(text, str)
        assert text

    def test_it_can_be_kept_for_a_resume(self) -> None:
        import cloudpickle

        again = cloudpickle.loads(cloudpickle.dumps(self.make()))
        assert type(again).__name__ == type(self.make()).__name__
        assert again.set_search_properties(self.metric, self.mode) is True

    # -- runs ---------------------------------------------------------------------------------------------------------

    def test_every_trial_ends(self, tmp_path: Path) -> None:
        analysis = self.run(self.make(), tmp_path)
        assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * self.trials
        assert max(trial.last_result["training_iteration"] for trial in analysis.trials) >= 1

    def test_decisions_and_choices_are_legal(self, tmp_path: Path) -> None:
        watched = Watched(self.make())
        self.run(watched, tmp_path)
        for hook, trial_id, status, answer in watched.calls:
            if hook == "result":
                assert answer in DECISIONS, f"{trial_id}: {answer!r} is not a decision"
            if hook == "choose":
                assert status in ("PENDING", "PAUSED"), f"{trial_id} was chosen, which is {status}"

    def test_hooks_are_called_in_the_order_of_the_contract(self, tmp_path: Path) -> None:
        watched = Watched(self.make())
        self.run(watched, tmp_path)
        for story in self.stories(watched).values():
            told = [hook for hook in story if hook != "choose"]
            assert told[0] == "add"
            assert told[-1] in ("complete", "remove")
            assert set(told[1:-1]) == {"result"}

    def test_a_trial_that_fails_costs_that_trial(self, tmp_path: Path) -> None:
        watched = Watched(self.make())
        analysis = self.run(watched, tmp_path, trainable=failing_curve, raise_on_failed_trial=False)
        stories = self.stories(watched)
        for trial in analysis.trials:
            ends = [h for h in stories[trial.trial_id] if h in ("complete", "remove", "error")]
            assert trial.status in ("TERMINATED", "ERROR")
            assert ends == (["error"] if trial.status == "ERROR" else ends[:1])

    def test_a_trial_that_is_tried_again_is_added_again(self, tmp_path: Path) -> None:
        watched = Watched(self.make())
        self.run(watched, tmp_path, trainable=failing_curve, max_failures=1, raise_on_failed_trial=False)
        for story in self.stories(watched).values():
            if "error" in story:
                assert story.count("add") == min(2, story.count("error") + 1)

    def test_scores_that_are_no_numbers_do_no_harm(self, tmp_path: Path) -> None:
        for scheduler in (self.make(), Watched(self.make())):
            analysis = self.run(scheduler, tmp_path, trainable=curve_with_gaps)
            assert {trial.status for trial in analysis.trials} == {"TERMINATED"}

    def test_the_same_reports_get_the_same_decisions(self, tmp_path: Path) -> None:
        runs = [self.run(self.make(), tmp_path / name, max_concurrent_trials=1) for name in "ab"]
        assert outcome(runs[0]) == outcome(runs[1])

    def test_the_compiled_rule_decides_as_the_scheduler_does(self, tmp_path: Path) -> None:
        """Reports come in the same order when one trial runs at a time, so the decisions must be equal."""
        scheduler = self.make()
        scheduler.set_search_properties(self.metric, self.mode)
        if compiled_rule(scheduler) is None:
            return  # there is one form only
        compiled = self.run(self.make(), tmp_path / "compiled", max_concurrent_trials=1)
        asked = self.run(Watched(self.make()), tmp_path / "asked", max_concurrent_trials=1)
        assert outcome(compiled) == outcome(asked)

    def test_resume_is_replay(self, tmp_path: Path) -> None:
        """Half the trials, and the rest in a resumed run, are the same as all of them at once."""
        half: dict[str, Any] = {"max_concurrent_trials": 1, "name": "halves"}
        self.run(self.make(), tmp_path, num_samples=self.trials // 2, **half)
        resumed = self.run(self.make(), tmp_path, resume=True, **half)
        whole = self.run(self.make(), tmp_path, max_concurrent_trials=1, name="whole")
        assert outcome(resumed) == outcome(whole)

    @staticmethod
    def stories(watched: Watched) -> dict[str, list[str]]:
        """The hooks that were called for each trial."""
        found: dict[str, list[str]] = {}
        for hook, trial_id, _, _ in watched.calls:
            found.setdefault(trial_id, []).append(hook)
        return found


def outcome(analysis: ExperimentAnalysis) -> list[tuple[Any, ...]]:
    """What became of each trial: config, status, reports."""
    return [
        (trial.config, trial.status, trial.last_result.get("training_iteration")) for trial in analysis.trials
    ]
