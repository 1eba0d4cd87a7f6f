"""What every searcher has to keep: see :mod:`fasttune.search.base`."""

from __future__ import annotations

import copy
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fasttune.analysis import ExperimentAnalysis
from fasttune.search.base import Metric, Mode, Searcher, tell_properties
from fasttune.session import report
from fasttune.space.functions import choice, uniform
from fasttune.tuner import run
from fasttune.vectors import vectorized

PATIENCE = 1000  # how often a searcher may say "not now" although nothing is out


def parabola(config: dict[str, Any]) -> None:
    """Three reports of a loss that is least at x = 0.3."""
    for step in range(1, 4):
        report({"loss": (config["x"] - 0.3) ** 2 + 1.0 / step})


def sometimes_failing(config: dict[str, Any]) -> None:
    """As :func:`parabola`; configs on one side fail."""
    if config["x"] > 0.5:
        raise ArithmeticError("this config fails")
    parabola(config)


class WatchedSearcher(Searcher):
    """Passes everything on to ``inner`` and keeps what it was told and what it suggested."""

    def __init__(self, inner: Searcher) -> None:
        super().__init__()
        self.inner = inner
        self.suggested: dict[str, Any] = {}
        self.results: list[str] = []
        self.completed: list[tuple[str, Mapping[str, Any] | None, bool]] = []

    @property
    def metric(self) -> Metric:
        return self.inner.metric

    @property
    def mode(self) -> Mode:
        return self.inner.mode

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        return tell_properties(self.inner, metric, mode, config, spec)

    @property
    def batch_size(self) -> int | None:
        return self.inner.batch_size

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        suggestion = self.inner.suggest(trial_id)
        if isinstance(suggestion, dict):
            self.suggested[trial_id] = copy.deepcopy(suggestion)
        return suggestion

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        self.results.append(trial_id)
        self.inner.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        self.completed.append((trial_id, result, error))
        self.inner.on_trial_complete(trial_id, result=result, error=error)


class SearcherContract(ABC):
    """Derive from it and give :meth:`make`: a fresh searcher that was not told its metric and mode.

    It is given ``space`` by the run, unless ``own_space`` says that it was made with that space already. ``trials``
    is how many configs are asked for; a searcher that finishes earlier gives fewer. Values lie in ``space`` where
    the suite can tell: ``x`` in [0, 1), ``kind`` one of "a", "b", "c"; others may be added.
    """

    metric = "loss"
    mode = "min"
    trials = 10
    own_space = False
    space: dict[str, Any] = {"x": uniform(0, 1), "kind": choice(["a", "b", "c"])}  # noqa: RUF012
    trainable: Callable[[dict[str, Any]], Any] = staticmethod(parabola)

    @abstractmethod
    def make(self) -> Searcher:
        """A fresh searcher; two of them suggest the same."""

    def ready(self) -> Searcher:
        """A searcher that knows metric, mode and space."""
        searcher = self.make()
        taken = searcher.set_search_properties(self.metric, self.mode, {} if self.own_space else dict(self.space))
        assert taken or self.own_space, "the searcher did not take the space: say own_space = True if it has one"
        return searcher

    def next(self, searcher: Searcher, trial_id: str) -> dict[str, Any] | None:
        """The next config; None when the searcher has finished. Nothing may be out that it could wait for."""
        for _ in range(PATIENCE):
            suggestion = searcher.suggest(trial_id)
            if suggestion == Searcher.FINISHED:
                return None
            if suggestion is not None:
                assert isinstance(suggestion, dict), f"suggest() gave {suggestion!r}"
                return suggestion
        raise AssertionError("suggest() keeps saying None although no trial is out")

    def check(self, config: Mapping[str, Any]) -> None:
        """The config lies in the space."""
        assert 0 <= config["x"] <= 1
        assert config["kind"] in ("a", "b", "c")

    # -- by hand ------------------------------------------------------------------------------------------------------

    def test_suggestions_lie_in_the_space(self) -> None:
        searcher = self.ready()
        for number in range(self.trials):
            config = self.next(searcher, f"t{number}")
            if config is None:
                break
            self.check(config)
            searcher.on_trial_complete(f"t{number}", {self.metric: config["x"]}, error=False)

    def test_a_suggestion_belongs_to_whoever_asked(self) -> None:
        """What a trial does to its config must not reach a later suggestion."""
        spoilt, whole = self.ready(), self.ready()
        for number in range(self.trials):
            one, other = self.next(spoilt, f"t{number}"), self.next(whole, f"t{number}")
            assert one == other
            if one is None or other is None:
                break
            value = {self.metric: one["x"]}
            one.clear()
            spoilt.on_trial_complete(f"t{number}", value)
            whole.on_trial_complete(f"t{number}", value)

    def test_a_batch_is_what_is_suggested_one_by_one(self) -> None:
        """With nothing told in between; also behind results, and in several batches."""
        together, single = self.ready(), self.ready()
        size = together.batch_size
        assert size is None or size >= 1
        given = 0
        for n in (1, 3, self.trials - 4):
            ids = [f"t{number}" for number in range(given, given + n)]
            batch = together.suggest_batch(ids)
            assert 1 <= len(batch) <= n
            assert all(isinstance(one, dict) for one in batch[:-1])
            for trial_id, one in zip(ids, batch, strict=False):
                assert single.suggest(trial_id) == one
            if not isinstance(batch[-1], dict):
                return
            assert len(batch) == n
            for trial_id, one in zip(ids, batch, strict=True):
                assert isinstance(one, dict)
                self.check(one)
                for each in (together, single):
                    each.on_trial_complete(trial_id, {self.metric: one["x"]})
            given += n

    def test_failures_and_missing_results_do_no_harm(self) -> None:
        searcher = self.ready()
        told: list[tuple[dict[str, Any] | None, bool]] = [
            (None, True),
            ({}, True),
            ({self.metric: 1.0}, True),
            ({self.metric: math.nan}, False),
            ({self.metric: math.inf}, False),
            ({self.metric: 1.0, "a/b": "text"}, False),
        ]
        for number, (result, error) in enumerate(told * 2):
            config = self.next(searcher, f"t{number}")
            if config is None:
                return
            self.check(config)
            searcher.on_trial_result(f"t{number}", {self.metric: math.nan})
            searcher.on_trial_complete(f"t{number}", result, error=error)

    def test_a_saved_searcher_goes_on_with_the_same_sequence(self, tmp_path: Path) -> None:
        searcher = self.ready()
        for number in range(self.trials // 2):
            config = self.next(searcher, f"t{number}")
            if config is None:
                break
            searcher.on_trial_complete(f"t{number}", {self.metric: config["x"]})
        searcher.save(str(tmp_path / "searcher.pkl"))
        again = self.ready()
        again.restore(str(tmp_path / "searcher.pkl"))
        for number in range(self.trials // 2, self.trials):
            one, other = self.next(searcher, f"t{number}"), self.next(again, f"t{number}")
            assert one == other
            if one is None:
                break
            for each in (searcher, again):
                each.on_trial_complete(f"t{number}", {self.metric: one["x"]})

    def test_unknown_arguments_are_an_error(self) -> None:
        try:
            type(self.make())(no_such_argument=1)  # type: ignore[call-arg]
        except TypeError:
            return
        raise AssertionError("an argument that does not exist was accepted")

    def test_rows_of_a_call_are_suggested_together(self, tmp_path: Path) -> None:
        """As many as the searcher says where nobody else does; each hears of its end."""
        if self.trainable is not SearcherContract.trainable:
            return  # its configs are for a function of its own
        sizes: list[int] = []

        def parabolas(configs: dict[str, Any]) -> Any:
            sizes.append(len(configs["x"]))
            return {self.metric: [(x - 0.3) ** 2 for x in configs["x"]]}

        watched = WatchedSearcher(self.make())
        analysis = self.run(watched, tmp_path, trainable=vectorized(parabolas), executor="vector")
        assert sum(sizes) == len(analysis.trials) == len(watched.completed)
        assert max(sizes) <= (watched.batch_size or len(analysis.trials))
        for trial in analysis.trials:
            assert trial.last_result[self.metric] == (trial.config["x"] - 0.3) ** 2

    # -- in runs ------------------------------------------------------------------------------------------------------

    def run(self, searcher: Searcher, folder: Path, **more: Any) -> ExperimentAnalysis:
        """A whole run with the searcher's configs."""
        asked: dict[str, Any] = {
            "config": {} if self.own_space else self.space,
            "num_samples": self.trials,
            "metric": self.metric,
            "mode": self.mode,
            "executor": "inline",
            "storage_path": str(folder),
            "verbose": 0,
            **more,
        }
        return run(asked.pop("trainable", self.trainable), search_alg=searcher, **asked)

    def test_it_hears_of_every_end_once(self, tmp_path: Path) -> None:
        watched = WatchedSearcher(self.make())
        analysis = self.run(watched, tmp_path)
        ids = [trial.trial_id for trial in analysis.trials]
        assert ids
        assert sorted(trial_id for trial_id, _, _ in watched.completed) == sorted(ids)
        assert not any(error for _, _, error in watched.completed)
        for _, result, _ in watched.completed:
            assert result is not None
            assert self.metric in result
        for trial in analysis.trials:
            assert trial.status == "TERMINATED"
            assert trial.config == watched.suggested[trial.trial_id]
            self.check(trial.config)

    def test_trials_that_fail_do_not_stop_the_search(self, tmp_path: Path) -> None:
        watched = WatchedSearcher(self.make())
        analysis = self.run(
            watched, tmp_path, trainable=sometimes_failing, raise_on_failed_trial=False
        )
        failed = {trial.trial_id for trial in analysis.trials if trial.status == "ERROR"}
        assert {trial_id for trial_id, _, error in watched.completed if error} == failed
        assert len(watched.completed) == len(analysis.trials)

    def test_a_resumed_run_goes_on_where_it_was(self, tmp_path: Path) -> None:
        """The searcher sees the journal again, so it suggests what it would have suggested."""
        one: dict[str, Any] = {"resources_per_trial": {"cpu": len(os.sched_getaffinity(0))}}  # one at a time, so in a fixed order
        self.run(self.make(), tmp_path, num_samples=self.trials // 2, name="halves", **one)
        resumed = self.run(self.make(), tmp_path, name="halves", resume=True, **one)
        whole = self.run(self.make(), tmp_path, name="whole", **one)
        assert [trial.config for trial in resumed.trials] == [trial.config for trial in whole.trials]
