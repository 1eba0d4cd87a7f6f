"""A searcher around another one: everything that it does not change is the other's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fasttune.search.base import Metric, Mode, Searcher, tell_properties


class DelegatingSearcher(Searcher):
    """Passes everything on to ``searcher``; derive from it and override what is to be different.

    Args:
        searcher: the one to ask. TypeError if it is none.
    """

    def __init__(self, searcher: Searcher) -> None:
        if not isinstance(searcher, Searcher):
            raise TypeError(f"{type(self).__name__} takes a Searcher, got {searcher!r:.200}")
        self.searcher = searcher
        super().__init__(metric=searcher.metric, mode=searcher.mode)

    @property
    def metric(self) -> Metric:
        return self.searcher.metric

    @property
    def mode(self) -> Mode:
        return self.searcher.mode

    @property
    def _own_space(self) -> Mapping[str, Any] | None:
        return self.searcher._own_space

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        return tell_properties(self.searcher, metric, mode, config, spec)

    @property
    def is_ready(self) -> bool:
        return self.searcher.is_ready

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return self.searcher.set_max_concurrency(max_concurrent)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self.searcher.suggest(trial_id)

    @property
    def batch_size(self) -> int | None:
        return self.searcher.batch_size

    def _whole_config(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        return self.searcher._whole_config(trial_id, suggestion)

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        return self.searcher.replay(trial_id, suggestion)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        self.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        self.searcher.on_trial_complete(trial_id, result=result, error=error)

    def on_pause(self, trial_id: str) -> None:
        self.searcher.on_pause(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        self.searcher.on_unpause(trial_id)

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        self.searcher.add_evaluated_point(parameters, value, error, pruned, intermediate_values)

    def get_state(self) -> dict[str, Any]:
        """What this one itself knows."""
        return {key: value for key, value in self.__dict__.items() if key not in ("searcher", "_made_with")}

    def save(self, checkpoint_path: str) -> None:
        """The inner searcher's state: what this one knows is about the trials that are out."""
        self.searcher.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        self.searcher.restore(checkpoint_path)
