"""What is tried next: blocks of configs that the space gives by number, or one config at a time from a searcher."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.argument import shown
from fasttune.error import TuneError
from fasttune.identity import without_addresses
from fasttune.result import flatten
from fasttune.search.base import Searcher
from fasttune.search.basic_variant import BasicVariantGenerator
from fasttune.space.as_json import comparable, config_to_json, to_json_value
from fasttune.space.domains import domains_of
from fasttune.space.nested import path_name, unflatten_dict
from fasttune.space.seeds import derive_seed
from fasttune.space.variants import Variants

if TYPE_CHECKING:
    from fasttune.config import RunSpec
    from fasttune.hook_times import HookTimes

MOST_IN_BLOCK = 1 << 16  # more configs that take no bytes a journal's reader does not believe
NEXT_SPACE = 1 << 32  # number of the seed of a later search space in the family of the one before


class Block(NamedTuple):
    """Configs start .. start+n-1 of an experiment's space."""

    experiment: int
    start: int
    n: int


class SuggestedConfig(NamedTuple):
    """A config that a searcher gave, with the constants of the space, and what the journal is told of it."""

    experiment: int
    config: dict[str, Any]
    told: dict[str, Any]


class Suggestions:
    """How many configs each experiment has been given, whether there are more, and which are equal.

    Attributes:
        searcher: who suggests; None: the space gives its configs by number.
    """

    def __init__(self, spec: RunSpec, times: HookTimes) -> None:
        self.searcher: Searcher | None = spec.searcher if isinstance(spec.searcher, Searcher) else None
        self._spec = spec
        self._times = times
        self._given = [0] * len(spec.trainables)
        self._searcher_done = self.searcher is None
        self._first_with: dict[str, int] = {}  # config -> the first trial that had it; only if results are used again
        self._equal: dict[int, int] = {}  # trial -> that trial

    # -- the spaces ---------------------------------------------------------------------------------------------------

    def _generator(self) -> BasicVariantGenerator:
        generator = self._spec.searcher
        if isinstance(generator, BasicVariantGenerator):
            return generator
        return BasicVariantGenerator(random_state=self._spec.seed)

    def first_variants(self) -> list[Variants]:
        """The configs by number of a new run; none where a searcher suggests."""
        if self.searcher is not None:
            return []
        generator = self._generator()
        return [generator.variants(one.num_samples, one.space) for one in self._spec.trainables]

    def variants_told(self, told: Sequence[dict[str, Any]]) -> list[Variants]:
        """Those of a journal, with the objects that this run's spaces hold."""
        # a journal of an earlier version is not compared by its points: then those that it tells
        points = self._generator().points_to_evaluate or None if self.searcher is None else None
        return [
            Variants.from_meta({**one, "num_samples": asked.num_samples}, asked.space, points)
            for one, asked in zip(told, self._spec.trainables, strict=True)
        ]

    def next_variants(self, before: Sequence[Variants]) -> list[Variants]:
        """Those of the space that this run was asked, behind those of the space before; none where a searcher suggests."""
        self._given = [0] * len(self._spec.trainables)
        generator = self._generator()
        return [
            Variants(
                asked.space,
                asked.num_samples,
                seed=derive_seed(one.seed, NEXT_SPACE),
                points=generator.points_to_evaluate,
                constant_grid_search=generator.constant_grid_search,
            )
            for one, asked in zip(before, self._spec.trainables, strict=False)
        ]

    # -- what is next -------------------------------------------------------------------------------------------------

    def total(self, variants: Sequence[Variants]) -> int | None:
        """How many there will be, None when that is open."""
        if self.searcher is None:
            sizes = [one.len for one in variants]
            return None if None in sizes else sum(size for size in sizes if size is not None)
        samples = [one.num_samples for one in self._spec.trainables]
        return None if -1 in samples else sum(samples)

    def exhausted(self, variants: Sequence[Variants]) -> bool:
        """There are no more."""
        if self.searcher is not None:
            return self._searcher_done
        return all(one.len == given for one, given in zip(variants, self._given, strict=True))

    def next_block(self, variants: Sequence[Variants], most: int) -> Block | None:
        """Up to so many configs that the space gives by number."""
        for k, one in enumerate(variants):
            given, size = self._given[k], one.len
            n = min(most, MOST_IN_BLOCK) if size is None else min(most, MOST_IN_BLOCK, size - given)
            if n > 0:
                self._given[k] += n
                return Block(k, given, n)
        return None

    def next_configs(self, trial_ids: Sequence[str]) -> list[SuggestedConfig]:
        """Ask the searcher for the configs of trials that are evaluated together. Fewer: nothing now, or nothing more."""
        searcher = self.searcher
        if searcher is None or self._searcher_done:
            return []
        experiments = self._next_experiments(len(trial_ids))
        if not experiments:
            self._searcher_done = True
            return []
        if len(experiments) == 1:
            suggested, how = [self._times.call(searcher.suggest, trial_ids[0])], "suggest"
        else:
            suggested = self._times.call(searcher.suggest_batch, trial_ids[: len(experiments)])
            how = "suggest_batch"
            if not isinstance(suggested, list) or not 0 < len(suggested) <= len(experiments):
                raise TuneError(
                    f"{type(searcher).__name__}.suggest_batch() must return a list of 1 to {len(experiments)} configs, as many trials "
                    f"were given, got {suggested!r:.80}"
                )
        found = []
        for experiment, suggestion in zip(experiments, suggested, strict=False):
            if not isinstance(suggestion, dict):
                self._check_none(suggestion, how)
                break
            self._given[experiment] += 1
            config = merged(self._spec.trainables[experiment].space, suggestion)
            refuse_domains(config, f"{type(searcher).__name__}.{how}()")
            told = {"experiment": experiment, "config": config_to_json(config), "params": config_to_json(flatten(suggestion))}
            found.append(SuggestedConfig(experiment, config, told))
        return found

    def _check_none(self, suggestion: object, how: str) -> None:
        """What a searcher gives where it gives no config."""
        if suggestion == Searcher.FINISHED:
            self._searcher_done = True
        elif suggestion is not None:
            raise TuneError(
                f"{type(self.searcher).__name__}.{how}() must return a dict, None or Searcher.FINISHED, got {suggestion!r:.80}"
            )

    def _next_experiments(self, most: int) -> list[int]:
        """Several experiments share a searcher: each gets its num_samples in turn. Those of the next configs; none are left: none."""
        found: list[int] = []
        for k, one in enumerate(self._spec.trainables):
            left = most - len(found)
            found += [k] * (left if one.num_samples == -1 else min(left, max(0, one.num_samples - self._given[k])))
        return found

    def config_again(self, trial_id: str, told: dict[str, Any]) -> dict[str, Any] | None:
        """The config that the journal tells as the searcher, brought to where it was, makes it again; None if that is another
        one."""
        assert self.searcher is not None
        again = self.searcher.replay(trial_id, unflatten_dict(told["params"]))
        config = merged(self._spec.trainables[told["experiment"]].space, again)
        return config if form_of(config) == form_of(told["config"]) else None

    def count(self, given: Iterable[tuple[int, int]]) -> None:
        """What an earlier session has suggested: (experiment, how many)."""
        self._given = [0] * len(self._given)
        for experiment, n in given:
            self._given[experiment] += n

    # -- equal configs ------------------------------------------------------------------------------------------------

    def note(self, i: int, config: Any, has_failed: Callable[[int], bool]) -> None:
        """Trial i has this config: which of the trials before had an equal one, and has not failed."""
        if self._spec.on_duplicate != "reuse":
            return
        key = comparable(config)
        first = i if key is None else self._first_with.setdefault(key, i)
        if key is not None and first != i and has_failed(first):
            first = self._first_with[key] = i
        self._equal[i] = first

    def equal_to(self, i: int) -> int:
        """The trial that trial i need not be run beside; itself if there is none."""
        return self._equal.get(i, i)


def merged(space: dict[str, Any], suggestion: dict[str, Any]) -> dict[str, Any]:
    """The constants of a space with a searcher's suggestion over them."""
    out = dict(space)
    for key, value in suggestion.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


def refuse_domains(config: dict[str, Any], who: str) -> None:
    """TuneError if something in a config is still to be sampled: a trial is never given a domain."""
    for path, left in domains_of(config):
        raise TuneError(
            f"{who} left {path_name(path)!r} to be sampled: a trial would be given {shown(left)} in place of a value. "
            "Usual cause: a domain in config that the searcher does not search, or a .sample() that is missing"
        )


def form_of(config: dict[str, Any]) -> str:
    """Equal for a config and what the journal has of it, an object that could not be kept as its text. Others may look the
    same: see ``comparable``."""
    return json.dumps(without_addresses(to_json_value(config)[0]), sort_keys=True)
