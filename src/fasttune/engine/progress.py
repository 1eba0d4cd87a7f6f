"""What people see of a run while it goes on: snapshots of it for the progress reporter, and what its trials print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from fasttune.engine.remarks import remarks
from fasttune.failure import with_traceback
from fasttune.tables.best import Leader
from fasttune.tables.front import FrontWatch

if TYPE_CHECKING:
    from fasttune.config import RunSpec
    from fasttune.engine.clocks import Clock
    from fasttune.engine.state import ExperimentState
    from fasttune.hook_times import HookTimes
    from fasttune.reporter.base import Standing, StatusSnapshot
    from fasttune.reporter.pace import Pace
    from fasttune.space.variants import Variants


MOST_ON_FRONT = 100  # trials of a front that are named to who shows some of them


class Said(NamedTuple):
    """What the loop alone knows of a run."""

    usage: str  # of its resources, in words
    message: str  # why it ends, "" while it goes on


class Progress:
    """Shows a run to its ``progress_reporter``, if it has one.

    Args:
        clock: The run's.
        said: What the loop says of the run, asked for each time that something is shown.
    """

    def __init__(
        self, spec: RunSpec, state: ExperimentState, times: HookTimes, clock: Clock, said: Callable[[], Said]
    ) -> None:
        self._reporter = spec.progress_reporter
        self._spec = spec
        self._state = state
        self._times = times
        self._clock = clock
        self._said = said
        self._leader = Leader(state, spec.scope)
        self._front = FrontWatch(state, spec.scope)
        self._pace: Pace | None = None

    def begin(self) -> None:
        """The first trial is about to be handed out."""
        if self._reporter is None:
            return
        from fasttune.reporter.pace import Pace

        state, spec = self._state, self._spec
        self._pace = Pace(self._clock.elapsed(), state.table.finished, state.table.reports)
        self._reporter.setup(start_time=self._clock.now(), total_samples=state.total, metric=spec.metric, mode=spec.mode)

    def show(self, done: bool = False) -> None:
        """If it is time to, or the run is over."""
        reporter = self._reporter
        if reporter is None or not reporter.should_report(self._state.trials, done):
            return
        self._times.call(reporter.report, self._state.trials, done, self._snapshot(done))

    def show_prints(self, lines: str) -> None:
        """Lines of trials, on their way to whoever shows them."""
        if self._reporter is not None:
            self._reporter.show_prints(lines)  # not timed: it is as slow as the terminal
        else:
            sys.stdout.write(lines)

    def _snapshot(self, done: bool) -> StatusSnapshot:
        from fasttune.reporter.base import Standing, StatusSnapshot

        assert self._pace is not None
        state, table, said = self._state, self._state.table, self._said()
        elapsed = self._clock.elapsed()
        pace = self._pace.see(elapsed, table.finished, table.running, table.reports, state.total, done)

        def leader(metric: str | None, mode: str | None) -> Standing | None:
            found = self._leader(metric, mode, done)
            if found is None:
                return None
            trial, value, step, broken = found
            failed = state.status(trial) == "ERROR"
            return Standing(state.trial_id(trial), value, state.evaluated_params(trial), step, failed, broken)

        best = leader(state.metric, state.mode)
        front = self._front(state.objectives, done)
        told = [said.message, *(map(self._spec.in_words, remarks(state, best is not None, front)) if done else ())]
        return StatusSnapshot(
            time=self._clock.now(),
            elapsed=elapsed,
            left_s=self._left_s(pace.left_s),
            scheduler=state.scheduler.debug_string(),
            resources=said.usage,
            path=state.path,
            counts=table.counts(),
            total=state.total,
            best=best,
            best_by=leader,
            front=front,
            on_front=frozenset() if front is None else frozenset(map(state.trial_id, front.trials[:MOST_ON_FRONT])),
            scope=state.scope,
            over=done,
            reasons=state.reasons.kinds(),
            trials_per_s=pace.trials_per_s,
            reports_per_s=pace.reports_per_s,
            message=". ".join(filter(None, told)),
            rows=lambda status, n: state.trials_of(status, n),
        )

    def _left_s(self, at_this_pace: float | None) -> float | None:
        """How long the run will go on: until the last trial, or until its time is used up."""
        if self._spec.time_budget_s is None:
            return at_this_pace
        left = max(0.0, self._spec.time_budget_s - self._clock.elapsed())
        return left if at_this_pace is None else min(left, at_this_pace)


def raise_first_failure(state: ExperimentState) -> None:
    """The exception of the trial that ended the run, for ``fail_fast="raise"``, with its traceback."""
    failure = None if state.ending.failed_fast is None else state.failure(state.ending.failed_fast)
    if failure is not None and failure.exception is not None:
        error = with_traceback(failure.exception, failure.text)
        error.add_note(f"The results of the run are in {state.path}: ExperimentAnalysis(...) shows them")
        raise error


def tell_going_on(state: ExperimentState, in_words: Callable[[str], str]) -> None:
    """Say what of an earlier session is there, and what of it is run."""
    counts = state.table.counts()
    ended, failed = counts["TERMINATED"], counts["ERROR"]
    n = len(state)
    told = f"{n:,} trial{'s' if n != 1 else ''}, {ended + failed:,} of them ended"
    if failed:
        told += f" ({failed} failed; resume='AUTO+ERRORED' runs those again)"
    print(f"fasttune: going on with {state.path}: {in_words(told)}")


def tell_beside(spec: RunSpec) -> None:
    """Say that the run begins an experiment of its own, where who gave its name may have meant to go on with the one before."""
    if spec.beside:
        told = (
            f"there is an experiment {spec.beside!r} already, and this is a new one, {spec.name!r}: resume='AUTO' would go on with "
            "the last one of that name"
        )
        print(f"fasttune: {spec.in_words(told)}")


def tell_repeats(variants: list[Variants], in_words: Callable[[str], str]) -> None:
    """Say that a grid is run over and over, which ``num_samples`` means, and not everybody who writes it."""
    for one in variants:
        if one.repeats:
            told = (
                f"num_samples={one.num_samples} runs each of the {one.grid_size} configs of the grid "
                f"{one.num_samples} times: {len(one)} trials"
            )
            print(f"fasttune: {in_words(told)}")
