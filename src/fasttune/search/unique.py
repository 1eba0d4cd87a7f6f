"""No config twice: a searcher around another one that passes duplicates over and knows when a space is used up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fasttune.once import warn_in_run
from fasttune.search.base import Metric, Mode, Searcher, tell_properties
from fasttune.search.delegating import DelegatingSearcher
from fasttune.search.space_searcher import SpaceSearcher
from fasttune.space.as_json import to_json_value
from fasttune.space.domains import contains_domains
from fasttune.space.nested import merge
from fasttune.space.search_space import SearchSpace

TRIES = 50  # duplicates in a row after which one that is left is taken in their place


class UniqueSearch(DelegatingSearcher):
    """Suggests what ``searcher`` suggests, but no config twice.

    When the searcher comes back to a config whose result is known, it is told that result again and asked for another.
    After 50 such answers in a row, a config of the space that was not tried yet is taken, and the search ends when there
    is none left. A run does this by itself with ``on_duplicate="skip"``.

    Args:
        searcher: the one to ask.
        space: what it searches; None: the space that the searcher was made with, or that of the run.
    """

    def __init__(self, searcher: Searcher, space: Mapping[str, Any] | None = None) -> None:
        super().__init__(searcher)
        self._space: SearchSpace | None = None if space is None else SearchSpace(space)
        self._out: dict[str, str] = {}  # trial -> key of its config
        self._results: dict[str, tuple[Mapping[str, Any] | None, bool] | None] = {}  # key -> what came of it
        self._own: set[str] = set()  # trials that the searcher does not know of
        self._left: Iterator[dict[str, Any]] | None = None

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        taken = tell_properties(self.searcher, metric, mode, config, spec)
        if taken and self._space is None:
            own = self.searcher._own_space
            if own is not None or contains_domains(config):  # else its space is known to the searcher alone, and has no end
                self._space = SearchSpace({**config, **(own or {})})
        return taken

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        size = self._size()
        if size is not None and len(self._results) >= size:
            return self._used_up(size)
        for _ in range(TRIES):
            suggestion = self.searcher.suggest(trial_id)
            if not isinstance(suggestion, dict):
                return suggestion
            key = key_of(self._whole(suggestion))
            if key not in self._results:
                return self._give(trial_id, key, suggestion)
            self._pass_over(trial_id, key)
        return self._one_that_is_left(trial_id)

    def _give(self, trial_id: str, key: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        self._results[key] = None
        self._out[trial_id] = key
        return suggestion

    def _pass_over(self, trial_id: str, key: str) -> None:
        """Tell the searcher what is known of its suggestion, if that is anything."""
        known = self._results[key]
        if known is not None:
            self.searcher.on_trial_complete(trial_id, result=known[0], error=known[1])

    def _one_that_is_left(self, trial_id: str) -> dict[str, Any] | str | None:
        size = self._size()
        if size is None:  # endless: it may well find another one later
            return None if any(known is None for known in self._results.values()) else Searcher.FINISHED
        if self._left is None:
            assert self._space is not None
            self._left = self._space.all_configs()
        for config in self._left:
            key = key_of(config)
            if key not in self._results:
                if isinstance(self.searcher, SpaceSearcher):
                    config = self.searcher.replay(trial_id, config)
                else:
                    self._own.add(trial_id)
                return self._give(trial_id, key, config)
        return self._used_up(size)

    def _used_up(self, size: int) -> str:
        warn_in_run(
            f"all {size} configs of the search space have been tried: the search ends", UserWarning, stacklevel=2
        )
        return Searcher.FINISHED

    def _size(self) -> int | None:
        if self._space is None:
            return None
        size = self._space.size()
        return size if isinstance(size, int) else None

    def _whole(self, suggestion: dict[str, Any]) -> dict[str, Any]:
        return merge(self._space, suggestion) if self._space is not None else suggestion

    def _whole_config(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        if trial_id in self._own:
            return suggestion
        return self.searcher._whole_config(trial_id, suggestion)

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        made = self.suggest(trial_id)
        wanted = key_of(self._whole(suggestion))
        if isinstance(made, dict) and self._out[trial_id] == wanted:
            return made
        if isinstance(made, dict):  # the searcher gives other configs this time: the journal's counts
            del self._results[self._out.pop(trial_id)]
        again = self.searcher.replay(trial_id, suggestion)
        return self._give(trial_id, wanted, again)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        if trial_id not in self._own:
            self.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        key = self._out.pop(trial_id, None)
        if key is not None:
            self._results[key] = (dict(result) if result else None, error)
        if trial_id not in self._own:
            self.searcher.on_trial_complete(trial_id, result=result, error=error)

    def get_state(self) -> dict[str, Any]:
        """What it knows, and the inner searcher's state."""
        own = {key: value for key, value in super().get_state().items() if key != "_left"}
        return {**own, "searcher_state": self.searcher.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        self.searcher.set_state(state["searcher_state"])
        super().set_state({**{key: value for key, value in state.items() if key != "searcher_state"}, "_left": None})

    def save(self, checkpoint_path: str) -> None:
        Searcher.save(self, checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        Searcher.restore(self, checkpoint_path)


def key_of(config: Mapping[str, Any]) -> str:
    """Equal for configs that are equal; objects are told apart by how they print."""
    return json.dumps(to_json_value(dict(config))[0], sort_keys=True)
