"""A Searcher seen as a search algorithm: what a run makes of a Searcher by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fasttune.search.base import Metric, Mode, SearchAlgorithm, Searcher, tell_properties


class SearchGenerator(SearchAlgorithm):
    """Passes everything to ``searcher``. A run takes it apart again: giving it a searcher does the same."""

    def __init__(self, searcher: Searcher) -> None:
        if not isinstance(searcher, Searcher):
            raise TypeError(f"SearchGenerator takes a Searcher, got {searcher!r}")
        self.searcher = searcher

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        return tell_properties(self.searcher, metric, mode, config, spec)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        self.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        self.searcher.on_trial_complete(trial_id, result=result, error=error)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return self.searcher.set_max_concurrency(max_concurrent)
