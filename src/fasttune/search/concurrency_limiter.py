"""A searcher that asks another one for only so many configs at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fasttune.argument import checked_count
from fasttune.search.base import Metric, Mode, Searcher, tell_properties
from fasttune.search.delegating import DelegatingSearcher


class ConcurrencyLimiter(DelegatingSearcher):
    """At most ``max_concurrent`` suggestions of ``searcher`` are out at the same time; beyond that it
    suggests None. Trials that the scheduler says wait for others (``on_pause``) do not count: a bracket of
    HyperBand that is larger than the limit is filled all the same.

    Args:
        searcher: the searcher to limit. If its own ``set_max_concurrency`` returns True it is left to it.
        max_concurrent: how many.
        batch: hold the ends of trials back until all trials that are out have ended, then tell them all.
    """

    def __init__(self, searcher: Searcher, max_concurrent: int, batch: bool = False) -> None:
        if not isinstance(searcher, Searcher):
            raise RuntimeError(
                f"ConcurrencyLimiter takes a Searcher, got {searcher!r}. Usual cause: BasicVariantGenerator "
                "has max_concurrent of its own, and run() has max_concurrent_trials."
            )
        _check_limit(max_concurrent)
        super().__init__(searcher)
        self.max_concurrent = max_concurrent
        self.batch = batch
        self.live_trials: set[str] = set()
        self.paused_trials: set[str] = set()  # of the live ones
        self._held: dict[str, tuple[Mapping[str, Any] | None, bool]] = {}
        self._is_limiting = not searcher.set_max_concurrency(max_concurrent)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Always True: this is what it does."""
        _check_limit(max_concurrent)
        self.max_concurrent = max_concurrent
        self._is_limiting = not self.searcher.set_max_concurrency(max_concurrent)
        return True

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        self._is_limiting = not self.searcher.set_max_concurrency(self.max_concurrent)
        return tell_properties(self.searcher, metric, mode, config, spec)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self._is_limiting:
            return self.searcher.suggest(trial_id)
        if len(self.live_trials) - len(self.paused_trials) >= self.max_concurrent:
            return None
        suggestion = self.searcher.suggest(trial_id)
        if suggestion is not None and suggestion != Searcher.FINISHED:
            self.live_trials.add(trial_id)
        return suggestion

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        if self._is_limiting:
            self.live_trials.add(trial_id)
        return self.searcher.replay(trial_id, suggestion)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass it on, at once or with its batch. Trials that were not suggested here are ignored."""
        self.paused_trials.discard(trial_id)
        if not self._is_limiting:
            self.searcher.on_trial_complete(trial_id, result=result, error=error)
        elif trial_id not in self.live_trials:
            return
        elif self.batch:
            self._held[trial_id] = (result, error)
            if len(self._held) == len(self.live_trials):
                self._end_batch()
        else:
            self.live_trials.remove(trial_id)
            self.searcher.on_trial_complete(trial_id, result=result, error=error)

    def _end_batch(self) -> None:
        held, self._held = self._held, {}
        self.live_trials.clear()
        for trial_id, (result, error) in held.items():
            self.searcher.on_trial_complete(trial_id, result=result, error=error)

    def on_pause(self, trial_id: str) -> None:
        if trial_id in self.live_trials:
            self.paused_trials.add(trial_id)
        self.searcher.on_pause(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        self.paused_trials.discard(trial_id)
        self.searcher.on_unpause(trial_id)

    def get_state(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key not in ("searcher", "_made_with")}
        return {**state, "live_trials": set(self.live_trials), "paused_trials": set(self.paused_trials), "_held": dict(self._held)}


def _check_limit(max_concurrent: int) -> None:
    checked_count("max_concurrent", max_concurrent, least=1)
