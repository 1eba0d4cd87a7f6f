"""What a searcher is: it suggests configs, one at a time or a batch that is evaluated together, and learns from results.

A run either takes its configs from ``BasicVariantGenerator``, whose config i is a function of i alone, or
asks a ``Searcher`` whenever a slot is free.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from fasttune.argument import taken_by
from fasttune.constraints import constraint_violation, score
from fasttune.script import dumps
from fasttune.search.heard import Heard

BATCH = 16  # suggestions that a model which learns from each result is asked for blindly, where nobody says how many
Metric = str | Sequence[str] | None
Mode = str | Sequence[str] | None


class SearchAlgorithm:
    """Where a run's configs come from."""

    metric: Metric = None

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Take over what the run was started with. False: this algorithm has its own already."""
        return True

    @property
    def total_samples(self) -> int:
        """The number of trials, as far as it is known."""
        return 0

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """A trial reported and goes on."""

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended."""

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Whether the algorithm itself keeps to this number of trials at a time."""
        return False


def tell_properties(
    algorithm: SearchAlgorithm | Searcher, metric: Metric, mode: Mode, config: Mapping[str, Any], spec: Mapping[str, Any]
) -> bool:
    """``set_search_properties`` of any searcher, also of one whose method takes no ``**spec``, or only a part of it."""
    method = algorithm.set_search_properties
    taken = method(metric, mode, config, **taken_by(method, spec))
    if isinstance(algorithm, Searcher):
        algorithm._take_up((), now=True)
    return taken


class Suggestion(NamedTuple):
    """What ``Searcher.ask`` gives out."""

    trial_id: str
    config: dict[str, Any]


class Searcher:
    """Base class of searchers. Subclasses write ``suggest`` and ``on_trial_complete``.

    All methods are called from one thread. Results are flattened: a nested metric is "a/b". Of a result that breaks a constraint
    (``constraints/...`` above 0) the run's metric is a score, worse than all values, the more so the more it is broken: whoever ranks
    need not look; whoever computes with values leaves it out (``fasttune.constraints.is_broken``).
    ``on_trial_result`` is not called for the result on which a trial is stopped; its last result comes with
    ``on_trial_complete``.

    Args:
        metric: name of the metric, or a list of names.
        mode: "min" or "max" ("obs": only watched), or a list with one per metric.
    """

    FINISHED: ClassVar[str] = "FINISHED"
    CKPT_FILE_TMPL: ClassVar[str] = "searcher-state-{}.pkl"

    _made_with: tuple[tuple[Any, ...], dict[str, Any]] = (), {}
    _metric: Metric = None  # of one whose __init__ does not call this class's
    _mode: Mode = None
    _to_take_up: Sequence[Heard] = ()  # of another run, until it is ready

    def __new__(cls, *args: Any, **keywords: Any) -> Self:
        made = super().__new__(cls)
        made._made_with = args, keywords  # what a later session that goes on with the run compares
        return made

    def __init__(self, metric: Metric = None, mode: Mode = None) -> None:
        check_metric_and_mode(metric, mode)
        self._metric = metric
        self._mode = mode

    @property
    def metric(self) -> Metric:
        """What is optimised; None until it is known."""
        return self._metric

    @property
    def mode(self) -> Mode:
        """Which way; None until it is known."""
        return self._mode

    @property
    def _own_space(self) -> Mapping[str, Any] | None:
        """The search space that it was made with; None: that of the run, or one that only it knows."""
        return None

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Take over metric, mode and search space of the run. False: this searcher does not, or has its
        own."""
        return False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A config for this trial; None: not now, ask again; ``Searcher.FINISHED``: there are no more."""
        raise NotImplementedError(f"{type(self).__name__} must define suggest()")

    def suggest_batch(self, trial_ids: Sequence[str]) -> list[dict[str, Any] | str | None]:
        """Configs for trials that are evaluated together: the same that ``suggest`` gives for one after the other, with nothing
        told in between (a later session asks one by one). What is no config, None or ``Searcher.FINISHED``, is the last one.
        Override it where that is faster."""
        found: list[dict[str, Any] | str | None] = []
        for trial_id in trial_ids:
            found.append(self.suggest(trial_id))
            if not isinstance(found[-1], dict):
                break
        return found

    @property
    def batch_size(self) -> int | None:
        """How many configs it may be asked for before it hears of results, where many trials are evaluated together and nobody has
        said how many: a generation of those that have such. None: any number, it does not learn."""
        return BATCH

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        """An earlier session suggested this (as its journal has it: objects are text). Bring the state to where it was
        then, and return the suggestion with the objects in it. This one asks ``suggest`` again."""
        made = self.suggest(trial_id)
        return made if isinstance(made, dict) else suggestion

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """A trial reported and goes on."""

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended: with its last result, or without one, or with an error."""
        raise NotImplementedError(f"{type(self).__name__} must define on_trial_complete()")

    # -- ask and tell, without a run -----------------------------------------------------------------------------------

    def ask(self) -> Suggestion | None:
        """The next config to evaluate, whole, for a loop of your own; ``tell`` what came of it. None: not before more is
        told. The searcher needs its space, metric and mode.

        Raises:
            LookupError: there are no more configs.
        """
        number = self._asked_here = getattr(self, "_asked_here", -1) + 1
        trial_id = f"{number:05d}"
        suggestion = self.suggest(trial_id)
        if suggestion is None:
            self._asked_here -= 1
            return None
        if not isinstance(suggestion, dict):
            raise LookupError(f"{type(self).__name__} has no more configs to suggest")
        return Suggestion(trial_id, self._whole_config(trial_id, suggestion))

    def tell(self, asked: Suggestion | str, result: Any = None, *, error: bool = False) -> None:
        """What came of a suggestion (or its ``trial_id``): the metric's value, one value for each metric, or a dict of
        metrics. ``error=True``: it failed."""
        self.on_trial_complete(_id_of(asked), None if result is None else self._as_result(result), error=error)

    def report(self, asked: Suggestion | str, result: Any) -> None:
        """A result on the way, for searchers that learn from these; ``tell`` the last one."""
        self.on_trial_result(_id_of(asked), self._as_result(result))

    def _whole_config(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        """A suggestion that was just made, with what the space has besides."""
        return suggestion

    def _as_result(self, result: Any) -> dict[str, Any]:
        if isinstance(result, Mapping):
            return dict(result)
        if self.metric is None:
            raise ValueError(f"{type(self).__name__} has no metric: tell it a dict of metrics, or make it with metric=...")
        names = [self.metric] if isinstance(self.metric, str) else list(self.metric)
        values = [result] if isinstance(self.metric, str) else list(result)
        if len(names) != len(values):
            raise ValueError(f"{type(self).__name__} has the metrics {names}, and was told {len(values)} values")
        return dict(zip(names, values, strict=True))

    def on_pause(self, trial_id: str) -> None:
        """A trial was paused (BOHB)."""

    def on_unpause(self, trial_id: str) -> None:
        """A paused trial goes on (BOHB)."""

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Whether the searcher itself keeps to this number of trials at a time."""
        return False

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Learn from a config that was evaluated elsewhere."""
        raise NotImplementedError(f"{type(self).__name__} cannot take evaluated points")

    def add_evaluated_trials(self, trials_or_analysis: Any, metric: str) -> None:
        """Learn from the trials of another run: a trial, a list of trials, or anything with ``.trials``."""
        if type(self).add_evaluated_point is Searcher.add_evaluated_point:
            raise NotImplementedError(f"{type(self).__name__} cannot take evaluated points")
        trials = getattr(trials_or_analysis, "trials", trials_or_analysis)
        listed = [trials] if hasattr(trials, "last_result") else list(trials)
        mode = self.mode if isinstance(self.mode, str) and self._ranks() else None
        known = [point for point in (_point_of(trial, metric, mode) for trial in listed) if point is not None]
        outside: list[Exception] = []
        for point in known:
            try:
                self.add_evaluated_point(**point)
            except (ValueError, KeyError) as error:  # another space than this one's
                outside.append(error)
        if outside:
            warnings.warn(
                f"{len(outside)} of the {len(listed)} trials do not lie in this space and are left out; the first: "
                f"{outside[0]}",
                stacklevel=2,
            )
        if not any(point["value"] is not None for point in known):
            warnings.warn(f"none of the {len(listed)} trials has the metric {metric!r}", stacklevel=2)

    def _ranks(self) -> bool:
        """Losses are only compared, so that those of broken constraints may be scores."""
        inner: Any = self
        while hasattr(inner, "searcher"):
            inner = inner.searcher
        return bool(getattr(inner, "ranks", False))

    def get_state(self) -> dict[str, Any]:
        """What ``set_state`` needs to go on from here."""
        return {key: value for key, value in self.__dict__.items() if key != "_made_with"}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what ``get_state`` gave."""
        self.__dict__.update(state)

    def save(self, checkpoint_path: str) -> None:
        """Write the state to a file, replacing it as a whole."""
        from pathlib import Path

        path = Path(checkpoint_path)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(dumps(self.get_state()))
        os.replace(partial, path)

    def restore(self, checkpoint_path: str) -> None:
        """Read the state that ``save`` wrote. Only open files that you trust: they are pickles."""
        with open(checkpoint_path, "rb") as file:
            self.set_state(pickle.load(file))

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """``save`` under the searcher's file name in a directory."""
        self.save(os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format(session_str)))

    def restore_from_dir(self, checkpoint_dir: str | os.PathLike[str]) -> None:
        """``restore`` from the newest searcher file in a directory; or, of an experiment's folder, go on where its run
        ended: its journal says what was suggested, and what came of it. Nothing is unpickled then.
        """
        from pathlib import Path

        folder = Path(checkpoint_dir).expanduser()
        pattern = self.CKPT_FILE_TMPL.format("*")
        found = sorted(folder.glob(pattern), key=lambda path: (path.stat().st_mtime_ns, path.name))
        if found:
            self.restore(str(found[-1]))
            return
        from fasttune.search_history import heard_in

        heard = heard_in(str(folder))
        if heard is None:
            raise RuntimeError(f"no searcher state ({pattern}) and no experiment in {folder}")
        self._take_up(heard)

    @property
    def is_ready(self) -> bool:
        """Whether ``suggest`` can be called: what it wants to know of the run is known."""
        asks_the_run = type(self).set_search_properties is not Searcher.set_search_properties
        return self.metric is not None or not asks_the_run

    def _take_up(self, heard: Sequence[Heard], now: bool = False) -> None:
        """Go on from what happened in another run: what was suggested there is suggested again, and told. That is done
        once this searcher is ``is_ready``, or ``now``."""
        self._to_take_up = [*self._to_take_up, *heard]
        if not self._to_take_up or not (now or self.is_ready):
            return
        told, self._to_take_up = self._to_take_up, ()
        for one in told:
            self.replay(one.trial_id, one.suggestion)
            for result in one.results[:-1]:
                self.on_trial_result(one.trial_id, result)
            self.on_trial_complete(one.trial_id, result=one.results[-1] if one.results else None, error=one.error)


def check_metric_and_mode(metric: Metric, mode: Mode) -> None:
    """ValueError unless every metric has a mode and all modes are known ones."""
    modes = [mode] if isinstance(mode, str) else list(mode or [])
    for one in modes:
        if one not in ("min", "max", "obs"):
            raise ValueError(f"mode must be 'min', 'max' or 'obs', got {one!r}")
    if not metric or not mode:
        return
    if isinstance(metric, str) != isinstance(mode, str):
        raise ValueError(f"metric and mode must both be names or both be lists, got {metric!r} and {mode!r}")
    if not isinstance(metric, str) and len(metric) != len(modes):
        raise ValueError(f"metric and mode must have as many entries, got {len(metric)} and {len(modes)}")


def _point_of(trial: Any, metric: str, mode: str | None) -> dict[str, Any] | None:
    """What ``add_evaluated_point`` is told about a trial; None if it ended without the metric. One that breaks its constraints is
    told by its score for this mode; None: as failed."""
    result = trial.last_result or {}
    ended = trial.status == "TERMINATED"
    if ended and metric not in result:
        return None
    value, violation = result.get(metric), constraint_violation(result)
    if violation > 0 and value is not None and mode is not None:
        value = score(float(value), violation, mode)
    return {
        "parameters": trial.config,
        "value": value,
        "error": trial.status == "ERROR" or (violation > 0 and mode is None),
        "pruned": ended and not result.get("done", False),
        "intermediate_values": None,
    }


def _id_of(asked: Suggestion | str) -> str:
    return asked if isinstance(asked, str) else asked.trial_id
