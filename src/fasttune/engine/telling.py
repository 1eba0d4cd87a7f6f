"""What a run's callbacks are told, and what becomes of what they add to results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fasttune import _core
from fasttune.callback import CallbackList
from fasttune.checkpoint import Checkpoint
from fasttune.engine.callback_states import CallbackStates
from fasttune.metric_values import kept_value
from fasttune.once import warn_in_run
from fasttune.result import SHOULD_CHECKPOINT

if TYPE_CHECKING:
    from fasttune.config import RunSpec
    from fasttune.engine.state import ExperimentState
    from fasttune.hook_times import HookTimes


class Telling:
    """The callbacks of a run, between two sessions and within one."""

    def __init__(self, spec: RunSpec, times: HookTimes) -> None:
        self.callbacks = CallbackList(spec.callbacks)
        self.callbacks.times = times
        self._spec = spec
        self._states = CallbackStates(self.callbacks, spec.path)
        self._wishes: set[int] = set()  # trials that wait for an answer, and of which a callback wants a checkpoint
        self._told_off: set[str] = set()  # what was said of wishes that cannot be met

    def begin(self, total: int | None) -> None:
        """The first trial is about to be handed out; there will be ``total``, None when that is open."""
        spec = self._spec
        self.callbacks.setup(
            stop=spec.public_spec.get("stop"),
            num_samples=spec.public_spec.get("num_samples"),
            total_num_samples=total,
            path=spec.path,
        )
        if spec.resume is not None:
            self._states.restore(spec.trust)

    def step(self, hook: str, turn: int, state: ExperimentState) -> None:
        """A turn begins, or ends."""
        if self.callbacks.wants(hook):
            self.callbacks.fire(hook, iteration=turn, trials=state.trials)

    def tell(self, turn: int, state: ExperimentState) -> None:
        """What has happened. What they add to a result is in ``state.out`` then."""
        trials = state.trials
        for hook, trial, result, checkpoint, step in state.out.take_happenings():
            more: dict[str, Any] = {}
            if result is not None:
                more["result"] = result
            if checkpoint is not None:
                more["checkpoint"] = Checkpoint(checkpoint) if isinstance(checkpoint, str) else checkpoint
            reported = None if result is None else dict(result)
            self.callbacks.fire(hook, iteration=turn, trials=trials, trial=trials[trial], **more)
            if result is not None and reported is not None and len(result) != len(reported):
                self._take(state, trial, step, {key: value for key, value in result.items() if key not in reported})

    def _take(self, state: ExperimentState, trial: int, step: int, added: dict[str, Any]) -> None:
        """What was added to the result of a step: kept, and a checkpoint made if it asks for one."""
        if added.get(SHOULD_CHECKPOINT):
            why = why_no_wish(state, trial, step)
            if why is None:
                self._wishes.add(trial)
            elif why not in self._told_off:
                self._told_off.add(why)
                text = f"a callback set result[{SHOULD_CHECKPOINT!r}], and nothing is saved: {why}"
                warn_in_run(text, RuntimeWarning, stacklevel=2)
        if added:
            told = {str(key): kept_value(str(key), value) for key, value in added.items()}
            state.record(_core.KIND_TOLD, trial, step, json.dumps({"added": told}).encode())

    def takes_wish(self, trial: int) -> bool:
        """Whether a callback wants a checkpoint of this trial, which is answered now."""
        if trial not in self._wishes:
            return False
        self._wishes.discard(trial)
        return True

    @property
    def keeps_anything(self) -> bool:
        """Callbacks have states, or may add to results."""
        return self._states.wanted or self.callbacks.wants("on_trial_result")

    def save_if_due(self) -> None:
        """Their states, when that is long enough ago."""
        self._states.save_if_due()

    def save(self) -> None:
        """Their states."""
        self._states.save()

    def end(self, state: ExperimentState) -> None:
        """The run is over."""
        if self.callbacks.wants("on_experiment_end"):
            self.callbacks.fire("on_experiment_end", trials=state.trials)


def why_no_wish(state: ExperimentState, i: int, step: int) -> str | None:
    """Why a class Trainable cannot save on the wish of a callback that was told of this step of trial i; None: it can."""
    if not state.saves_when_told(i):
        return "functions save what they report with a checkpoint"
    if not state.waits_for_wishes:
        return "its trials do not wait for it. Write `asks_for_checkpoints = True` into the callback's class, and their reports do"
    if not state.out.answers(i) or state.table.iteration(i) != step:
        return "the trial had ended with that report: checkpoint_at_end=True saves there"
    return None
