"""A searcher that tries every config of another one several times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fasttune.argument import checked_count
from fasttune.constraints import PREFIX
from fasttune.search.base import Searcher
from fasttune.search.delegating import DelegatingSearcher
from fasttune.space.nested import fresh

TRIAL_INDEX = "__trial_index__"


class _Group:
    """The trials of one config. The inner searcher knows them by the id of the first."""

    def __init__(self, first_trial: str, config: dict[str, Any]) -> None:
        self.first_trial = first_trial
        self.config = config
        self.trials: list[str] = [first_trial]
        self.results: dict[str, Mapping[str, Any]] = {}
        self.failures = 0


class Repeater(DelegatingSearcher):
    """Runs each suggestion ``repeat`` times and tells the searcher the mean of the metric, NaN left out.

    A result without the metric counts as NaN. A group that the run ends before it is complete is not told.

    Args:
        searcher: the searcher whose configs are repeated.
        repeat: how often.
        set_index: add ``__trial_index__``, 0 .. repeat-1, to the configs.
    """

    def __init__(self, searcher: Searcher, repeat: int = 1, set_index: bool = True) -> None:
        super().__init__(searcher)
        self.repeat = checked_count("repeat", repeat, least=1)
        self._set_index = set_index
        self._current: _Group | None = None
        self._groups: dict[str, _Group] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        group = self._current
        if group is None or len(group.trials) >= self.repeat:
            suggestion = self.searcher.suggest(trial_id)
            if not isinstance(suggestion, dict):
                return suggestion
            group = self._current = _Group(trial_id, suggestion)
        else:
            group.trials.append(trial_id)
        self._groups[trial_id] = group
        return self._numbered(group, group.config)

    @property
    def batch_size(self) -> int | None:
        inner = self.searcher.batch_size
        return None if inner is None else inner * self.repeat

    def _numbered(self, group: _Group, config: dict[str, Any]) -> dict[str, Any]:
        """The config for the newest trial of the group."""
        made: dict[str, Any] = fresh(config)
        if self._set_index:
            made[TRIAL_INDEX] = len(group.trials) - 1
        return made

    def _whole_config(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        group = self._groups[trial_id]
        return self._numbered(group, self.searcher._whole_config(group.first_trial, group.config))

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        return Searcher.replay(self, trial_id, suggestion)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """The searcher hears of groups that have ended only."""

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Once the last trial of a group has ended, tell the searcher. Trials not suggested here are
        ignored."""
        group = self._groups.pop(trial_id, None)
        if group is None:
            return
        group.results[trial_id] = result or {}
        group.failures += bool(error)
        if len(group.results) == self.repeat:
            self._tell(group)

    def _tell(self, group: _Group) -> None:
        """The group failed only if all of its trials did."""
        names = [self.metric] if isinstance(self.metric, str) else list(self.metric or [])
        names += sorted({name for result in group.results.values() for name in result if name.startswith(PREFIX)})
        means = {name: _mean([result.get(name) for result in group.results.values()]) for name in names}
        failed = group.failures == self.repeat
        self.searcher.on_trial_complete(group.first_trial, result=means, error=failed)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Left to a limiter around this: the inner searcher counts groups, not trials."""
        return False


def _mean(values: list[Any]) -> float:
    known = [float(value) for value in values if value is not None and not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
