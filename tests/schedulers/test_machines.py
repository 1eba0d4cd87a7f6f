"""A Hypothesis state machine for every scheduler: on the stage, in any order, trials are added and chosen, report numbers
and what is none, at times that jump, stand still and go back, come to an early end, fail, are tried again, or report
without the metric. Whatever happens: decisions and choices are legal, orders can be carried out, and in the end every
trial ends."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stage import Stage
from test_hard_traces import MOST, names, small

from fasttune.devices.resources import PlacementGroupFactory
from rounds import rounds

STEPS = 12  # reports after which a trial is at the end of its training
PAUSES = ("asha_promotion", "auto", "pasha")  # what nobody promotes stays paused
ENDLESS = 3_000  # reports in which everything must have come to an end
picks = st.integers(0, 99)
scores = st.one_of(st.floats(-5, 5), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e308, -1e308]))
jumps = st.sampled_from([1.0, 1.0, 1.0, 1.0, 0.0, -1.0, 0.5, 2.0, 5.0, 100.0])


class Machine(RuleBasedStateMachine):
    """One scheduler, up to nine trials, one to four of them at once."""

    name: str

    @initialize(workers=st.integers(1, 4), total=st.integers(1, 9), known=st.booleans(), classes=st.booleans())
    def begin(self, workers: int, total: int, known: bool, classes: bool) -> None:
        scheduler = small(self.name)
        assert scheduler is not None
        self.stage = Stage(scheduler)
        self.stage.machine = {"cpu": float(workers), "gpu": 0.0}
        total = min(total, MOST.get(self.name, total))
        self.workers, self.total, self.classes = workers, total, classes
        self.stage.total = total if known else None
        self.add()

    # -- what is there ------------------------------------------------------------------------------------------------

    def of(self, status: str) -> list[Any]:
        return [trial for trial in self.stage.trials if trial.status == status]

    def one_of_the_running(self, pick: int) -> Any:
        running = self.of("RUNNING")
        return running[pick % len(running)]

    # -- what happens -------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.stage.trials) < self.total)
    @rule()
    def add(self) -> None:
        request = PlacementGroupFactory([{"CPU": 1}])
        self.stage.add(1, request=request, is_class=self.classes, x=len(self.stage.trials) / 9)

    @precondition(lambda self: len(self.of("RUNNING")) < self.workers)
    @rule()
    def choose(self) -> None:
        self.stage.choose()

    @precondition(lambda self: self.of("RUNNING"))
    @rule(pick=picks, score=scores, passed=jumps, saves=st.booleans())
    def report(self, pick: int, score: float, passed: float, saves: bool) -> None:
        trial = self.one_of_the_running(pick)
        if trial.last_result.get("training_iteration", 0) >= STEPS:
            self.stage.complete(trial)
        else:
            self.stage.report(trial, saves, score=score, t=trial.last_result.get("t", 0.0) + passed)

    @precondition(lambda self: self.of("RUNNING"))
    @rule(pick=picks)
    def end_early(self, pick: int) -> None:
        self.stage.complete(self.one_of_the_running(pick))

    @precondition(lambda self: self.of("RUNNING"))
    @rule(pick=picks, again=st.booleans())
    def fail(self, pick: int, again: bool) -> None:
        """Also what a report without the metric is: it fails where it is made, and the scheduler never sees it."""
        trial = self.one_of_the_running(pick)
        self.stage.fail(trial)
        if again:
            self.stage.try_again(trial)

    # -- what holds ---------------------------------------------------------------------------------------------------

    @invariant()
    def only_so_many_run(self) -> None:
        assert len(self.of("RUNNING")) <= self.workers

    @invariant()
    def who_is_over_stays_over(self) -> None:
        over = {trial.index for trial in self.stage.trials if trial.is_finished()}
        assert over >= getattr(self, "over", set())
        self.over = over

    def teardown(self) -> None:
        """Good reports from now on: everybody must come to an end. Those that are paused for ever, because no promotion
        is to come, are ended by the run when nothing else is left."""
        if not hasattr(self, "stage"):
            return
        while len(self.stage.trials) < self.total:
            self.add()
        self.stage.total = self.total
        for _ in range(ENDLESS):
            while len(self.of("RUNNING")) < self.workers and self.stage.choose() is not None:
                pass
            running = self.of("RUNNING")
            if not running:
                break
            trial = min(running, key=lambda one: one.last_result.get("training_iteration", 0))
            self.report(self.of("RUNNING").index(trial), float(trial.index), 1.0, False)
        waiting = [trial.index for trial in self.stage.trials if trial.status in ("PENDING", "RUNNING")]
        assert not waiting, f"{waiting} wait for ever"
        assert self.name in PAUSES or not self.of("PAUSED")


@pytest.mark.parametrize("name", names())
def test_whatever_happens_every_trial_ends(name: str) -> None:
    machine = type(name, (Machine,), {"name": name})
    few = name == "pb2"  # which fits a Gaussian process at every copy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=rounds(9 if few else 300),
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            ),
        )
