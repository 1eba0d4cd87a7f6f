"""Trials that somebody else has run, and how searchers learn from them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

from fasttune.constraints import Constraints, constraint_violation, score
from fasttune.result import check_mode

DONE: Literal["done"] = "done"
PRUNED: Literal["pruned"] = "pruned"
FAILED: Literal["failed"] = "failed"
OUTCOMES = (DONE, PRUNED, FAILED)
VALUE = "value"  # of a source that does not name its metrics
SHOWN = 10  # names in errors


@dataclass(frozen=True)
class KnownTrial:
    """One trial that was run elsewhere. It can be given to ``Searcher.add_evaluated_trials``.

    Args:
        config: its parameters, nested or with flat names ("optimizer/lr").
        metrics: its values, by metric.
        outcome: "done", "pruned" (ended early: its values are those it had then) or "failed".
    """

    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    outcome: Literal["done", "pruned", "failed"] = DONE

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {', '.join(map(repr, OUTCOMES))}, got {self.outcome!r}")

    @property
    def last_result(self) -> dict[str, Any]:
        """Its values, as a trial of fasttune has them."""
        return {**self.metrics, "done": self.outcome == DONE}

    @property
    def status(self) -> str:
        """TERMINATED or ERROR."""
        return "ERROR" if self.outcome == FAILED else "TERMINATED"


class WarmStart(Sequence[KnownTrial]):
    """Known trials, for ``tune.run(..., warm_start=)``, ``TuneConfig(warm_start=)`` or ``searcher.add_evaluated_trials``.

    Args:
        trials: in any order.
        source: where they are from, for messages.
        modes: "min" or "max" for those metrics whose direction the source knows; a run that goes the other way is refused.
        unnamed: the metrics have no names of their own: they are the run's, whatever that calls them.
    """

    def __init__(
        self,
        trials: Sequence[KnownTrial],
        source: str = "known trials",
        modes: Mapping[str, str] | None = None,
        unnamed: bool = False,
    ) -> None:
        for trial in trials:
            if not isinstance(trial, KnownTrial):
                raise TypeError(f"a WarmStart is made of KnownTrial objects, got {trial!r:.80}")
        for mode in (modes or {}).values():
            check_mode(mode)
        self.trials = list(trials)
        self.source = source
        self.modes = dict(modes or {})
        self.unnamed = unnamed

    @overload
    def __getitem__(self, position: int) -> KnownTrial: ...
    @overload
    def __getitem__(self, position: slice) -> list[KnownTrial]: ...
    def __getitem__(self, position: int | slice) -> KnownTrial | list[KnownTrial]:
        return self.trials[position]

    def __len__(self) -> int:
        return len(self.trials)

    def __iter__(self) -> Iterator[KnownTrial]:
        return iter(self.trials)

    def __repr__(self) -> str:
        counts = [f"{n} {outcome}" for outcome in OUTCOMES if (n := sum(one.outcome == outcome for one in self.trials))]
        return f"<WarmStart of {len(self)} trials from {self.source}: {', '.join(counts) or 'none'}>"

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, in the order of first sight."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.metrics))

    def renamed(self, names: Mapping[str, str | None]) -> WarmStart:
        """The same with other names of parameters, e.g. ``{"clf__C": "C", "n_jobs": None}``; None leaves one out.

        Raises:
            ValueError: no trial has a parameter of one of these names, or two parameters would have one name.
        """
        there = dict.fromkeys(name for trial in self.trials for name in trial.config)
        unknown = [name for name in names if name not in there]
        if unknown and self.trials:
            raise ValueError(f"rename has {unknown[0]!r}, and {self.source} has {_listed(list(there))}")
        new = [names.get(name, name) for name in there]
        twice = [name for name in new if name is not None and new.count(name) > 1]
        if twice:
            both = [name for name in there if names.get(name, name) == twice[0]]
            raise ValueError(f"rename gives {' and '.join(map(repr, both))} the one name {twice[0]!r}: a value would be lost")
        kept = [
            replace(
                trial,
                config={
                    str(names.get(name, name)): value
                    for name, value in trial.config.items()
                    if names.get(name, name) is not None
                },
            )
            for trial in self.trials
        ]
        return WarmStart(kept, self.source, self.modes, self.unnamed)

    def held_against(self, constraints: Constraints) -> WarmStart:
        """The same, with what a run asks of results in their metrics, beside what they were reported with."""
        if not constraints:
            return self
        trials = []
        for trial in self.trials:
            numbers: dict[str, Any] = dict(trial.metrics)
            constraints.of(numbers, {})
            trials.append(replace(trial, metrics=numbers))
        return WarmStart(trials, self.source, self.modes, self.unnamed)

    def best(self, count: int, metric: str | None = None, mode: str | None = None) -> list[dict[str, Any]]:
        """The configs of the best trials that are done, best first, for ``points_to_evaluate``: a run tries them first.

        Raises:
            ValueError: which metric, or which way, is not known.
        """
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"count must be a whole number of at least 1, got {count!r}")
        if metric is None and len(self.metrics) > 1:
            raise ValueError(f"metric must be given, {self.source} has several: {_listed(self.metrics)}")
        name = metric if metric is not None else (self.metrics or [VALUE])[0]
        if name not in self.metrics:
            raise ValueError(f"metric {name!r} is not one of {self.source}, which has {_listed(self.metrics)}")
        way = mode or self.modes.get(name)
        if way is None:
            raise ValueError(f'mode must be given: {self.source} does not say whether "min" or "max" of {name!r} is better')
        check_mode(way)
        scored = [(trial.metrics[name], trial) for trial in self.trials if trial.outcome == DONE and name in trial.metrics]
        usable = sorted((one for one in scored if math.isfinite(one[0])), key=lambda one: one[0], reverse=way == "max")
        return [dict(trial.config) for _, trial in usable[:count]]

    def teach(self, searcher: Any) -> None:
        """Tell a searcher of these trials. Its space, metric and mode have to be known; ``tune.run`` does so by itself.

        What breaks its constraints counts as in a run: behind all that holds them, or as failed, for a model of values.

        Trials that do not lie in the space, or lack the metric, are left out with a warning that says how many, and why the
        first of them.

        Raises:
            TypeError: this kind of searcher learns nothing.
            ValueError: none of the trials lies in the space, no trial has the metric, or the source's direction is another.
        """
        add = _learner(searcher)
        wanted = [searcher.metric] if isinstance(searcher.metric, str) else list(searcher.metric or ())
        modes = [searcher.mode] if isinstance(searcher.mode, str) else list(searcher.mode or ())
        pairs = [(metric, mode) for metric, mode in zip(wanted, modes, strict=False) if mode != "obs"]
        names = self._names_of([metric for metric, _ in pairs])
        for (_, mode), name in zip(pairs, names, strict=True):
            if self.modes.get(name, mode) != mode:
                raise ValueError(
                    f"{self.source} was run with mode {self.modes[name]!r} of {name!r}, and this searcher has mode {mode!r}: "
                    "what was good there is bad here. Give the run the other mode, or negate the values of the trials"
                )
        several = not isinstance(searcher.metric, str)
        ranks = searcher._ranks()
        ways = [mode for _, mode in pairs]
        outside: list[str] = []
        taken = 0
        for trial in self.trials:
            values = [trial.metrics.get(name) for name in names]
            why = _why_not(searcher, trial, names, values)
            if why is None:
                try:
                    add(**_told(trial, values, ways, several, ranks))
                    taken += 1
                    continue
                except (ValueError, KeyError) as error:
                    why = str(error.args[0] if error.args else error)
            outside.append(why)
        self._say(outside, taken)

    def _names_of(self, wanted: list[str]) -> list[str]:
        """What the searcher's metrics are called here."""
        there = self.metrics
        if self.unnamed and len(there) == len(wanted):
            return there
        missing = [name for name in wanted if name not in there]
        if missing and any(trial.outcome != FAILED for trial in self.trials):
            hint = " (from_optuna(study, metric=...) names the values of a study)" if self.unnamed else ""
            raise ValueError(f"metric {missing[0]!r} is not one of {self.source}, which has {_listed(there)}{hint}")
        return wanted

    def _say(self, outside: list[str], taken: int) -> None:
        if not outside:
            return
        told = f"{len(outside):,} of the {len(self):,} trials of {self.source} cannot be learnt from"
        if not taken:
            raise ValueError(
                f"{told}; the first: {outside[0]}. Usual cause: parameters have other names there; "
                'from_...(..., rename={"their name": "name here", "only theirs": None})'
            )
        warnings.warn(f"{told} and are left out; the first: {outside[0]}", stacklevel=3)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(map(repr, names[:SHOWN])) or "none") + more


def _learner(searcher: Any) -> Any:
    """Its ``add_evaluated_point``; TypeError if it has none of its own."""
    from fasttune.search import Searcher
    from fasttune.search.space_searcher import SpaceSearcher

    inner = searcher
    while isinstance(getattr(inner, "searcher", None), Searcher):
        inner = inner.searcher
    learns = isinstance(inner, Searcher) and type(inner).add_evaluated_point is not Searcher.add_evaluated_point
    if not learns or (isinstance(inner, SpaceSearcher) and type(inner)._tell is SpaceSearcher._tell):  # Sobol, Halton
        raise TypeError(
            f"warm_start is for a searcher that learns, and {type(inner).__name__} does not: pass search_alg=\"tpe\" or another "
            "(docs/search.md), or only try the best ones first: points_to_evaluate=start.best(3)"
        )
    return searcher.add_evaluated_point


def _why_not(searcher: Any, trial: KnownTrial, names: list[str], values: list[float | None]) -> str | None:
    """Why a trial says nothing about this search; None: it does."""
    missing = [name for name, value in zip(names, values, strict=True) if value is None]
    if missing and trial.outcome != FAILED:
        return f"it has no value of {missing[0]!r}"
    dimensions = _dimensions(searcher)
    if dimensions is None:
        return None
    return next((f"it has {name!r}, {why}" for name, why in dimensions.strangers(trial.config)), None)


def _dimensions(searcher: Any) -> Any:
    while hasattr(searcher, "searcher"):
        searcher = searcher.searcher
    return getattr(searcher, "dimensions", None)


def _told(trial: KnownTrial, values: list[float | None], modes: Sequence[str], several: bool, ranks: bool) -> dict[str, Any]:
    violation = constraint_violation(trial.metrics)
    failed = trial.outcome == FAILED or (violation > 0 and not ranks)
    scored = [None if value is None else score(value, violation, mode) for value, mode in zip(values, modes, strict=True)]
    known = None if failed or None in scored else scored if several else scored[0]
    return {
        "parameters": dict(trial.config),
        "value": known,
        "error": failed,
        "pruned": trial.outcome == PRUNED,
    }
