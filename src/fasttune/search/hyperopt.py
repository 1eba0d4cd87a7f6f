"""Searching with Hyperopt's tree of Parzen estimators (Bergstra, Bardenet, Bengio, Kegl 2011)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.argument import checked_count, checked_number
from fasttune.extras import optional
from fasttune.search.base import Metric, Mode
from fasttune.search.expressions import OwnSpace, holds_expressions, number_of
from fasttune.search.space_searcher import FAILED, SpaceSearcher, Told
from fasttune.space.dimensions import CATEGORICAL, INTEGER, NORMAL, Dimension, Dimensions, Numbers


class HyperOptSearch(SpaceSearcher):
    """Asks Hyperopt's TPE for configs; nested and conditional spaces are its home.

    Needs hyperopt (``pip install 'fasttune[hyperopt]'``). A failed trial is told as one.

    Args:
        space: a search space, or one of Hyperopt's own (``{"x": hp.uniform("x", 0, 1)}``), in which fasttune's domains may
            stand too. None: that of the run.
        metric, mode, points_to_evaluate: see ``SpaceSearcher``.
        n_initial_points: so many random configs come first.
        random_state_seed: seed.
        gamma: share of the results that counts as good.
    """

    several = False

    seed_name = "random_state_seed"

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        n_initial_points: int = 20,
        random_state_seed: int | None = None,
        gamma: float = 0.25,
    ) -> None:
        self._hyperopt: Any = optional("hyperopt", "hyperopt", type(self).__name__)
        checked_count("n_initial_points", n_initial_points)
        checked_number("gamma", gamma, above=0, below=1)
        self._n_initial_points = n_initial_points
        self._gamma = gamma
        self._own: OwnSpace | None = None
        self._docs: dict[str, dict[str, Any]] = {}
        self._numbers: dict[str, Numbers] = {}
        if self._is_own(space):
            self._take_own(space, points_to_evaluate)
            space = None
        super().__init__(space, metric, mode, points_to_evaluate, seed=random_state_seed)
        if self._own is not None:
            self._given_space = True
            self._begin_own()

    # -- getting ready --------------------------------------------------------------------------------------------------

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        if not self._given_space and self._own is None and self._is_own(config):
            self._take_own(config, self._points)
        taken = super().set_search_properties(metric, mode, config, **spec)
        if taken and self._own is not None:
            self._begin_own()
        return taken

    def _is_own(self, space: Any) -> bool:
        return space is not None and holds_expressions(space, self._hyperopt.pyll.Apply)

    def _take_own(self, space: Any, points: Any) -> None:
        if points:
            raise ValueError("points_to_evaluate go with a space of fasttune's domains, not with Hyperopt's own")
        self._own = OwnSpace(space, self._hyperopt, self._number_expression)

    def _compile(self) -> None:
        if self._own is None:
            super()._compile()

    def _begin_own(self) -> None:
        if self._own is not None and not self._begun and self._knows_goal:
            self._begun = True
            self._open(self._own.expression)

    def _begin(self, dimensions: Dimensions) -> None:
        self._open(self._expression(dimensions, -1, -1))

    def _open(self, expression: Any) -> None:
        base: Any = optional("hyperopt.base", "hyperopt", type(self).__name__)
        self._domain = base.Domain(None, expression)
        self._trials = self._hyperopt.Trials()

    def _expression(self, dims: Dimensions, parent: int, option: int) -> dict[str, Any]:
        """What is searched below an option: names and Hyperopt's expressions, whose values are never computed."""
        made: dict[str, Any] = {}
        for k, one in enumerate(dims):
            if one.parent != parent or one.option != option:
                continue
            if one.kind == CATEGORICAL:
                inner = [self._expression(dims, k, index) or index for index in range(len(one.options))]
                made[one.name] = self._hyperopt.hp.choice(one.name, inner)
            else:
                made[one.name] = self._number_expression(one)
        return made

    def _number_expression(self, one: Dimension) -> Any:
        hp = self._hyperopt.hp
        if one.kind == NORMAL:
            if one.q:
                return hp.qnormal(one.name, one.mean, one.sd, one.q)
            return hp.normal(one.name, one.mean, one.sd)
        if one.kind == INTEGER:  # as reals that are rounded down: the numbers keep their order
            low, high = one.low / one.q, one.high / one.q + 1
            return hp.loguniform(one.name, *logs(low, high)) if one.log else hp.uniform(one.name, low, high)
        if one.q:
            if one.log:
                return hp.qloguniform(one.name, *logs(one.low, one.high), one.q)
            return hp.quniform(one.name, one.low, one.high, one.q)
        return hp.loguniform(one.name, *logs(one.low, one.high)) if one.log else hp.uniform(one.name, one.low, one.high)

    # -- suggesting -----------------------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._own is None or not self._begun:
            return super().suggest(trial_id)
        doc = self._new_doc(trial_id)
        self._live[trial_id] = []
        self._asked += 1
        chosen = {name: values[0] for name, values in doc["misc"]["vals"].items() if len(values)}
        config: dict[str, Any] = self._own.config(chosen)
        return config

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        if self._own is None:
            return super().replay(trial_id, suggestion)
        made = self.suggest(trial_id)
        return made if isinstance(made, dict) else suggestion

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        values = self._new_doc(trial_id)["misc"]["vals"]
        numbers = self.dimensions.active(
            [number_of(one, values[one.name][0]) if len(values[one.name]) else None for one in self.dimensions]
        )
        self._numbers[trial_id] = numbers
        return numbers

    def _new_doc(self, trial_id: str) -> dict[str, Any]:
        tpe: Any = optional("hyperopt.tpe", "hyperopt", type(self).__name__)
        tid = self._trials.new_trial_ids(1)[0]
        docs = tpe.suggest(
            [tid],
            self._domain,
            self._trials,
            (self._seed + tid * 7919) % 2**31,
            n_startup_jobs=self._n_initial_points,
            gamma=self._gamma,
            verbose=False,
        )
        self._trials.insert_trial_docs(docs)
        self._trials.refresh()
        doc: dict[str, Any] = next(doc for doc in reversed(self._trials._dynamic_trials) if doc["tid"] == tid)
        self._docs[trial_id] = doc
        return doc

    # -- learning -------------------------------------------------------------------------------------------------------

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        doc = self._docs.pop(trial_id or "", None)
        asked = self._numbers.pop(trial_id or "", numbers)
        if doc is None:
            self._insert(numbers, told)
            return
        if asked != numbers:  # the journal had another config for it
            self._finish(doc, Told((), FAILED))
            self._insert(numbers, told)
        else:
            self._finish(doc, told)
        self._trials.refresh()

    def _finish(self, doc: dict[str, Any], told: Told) -> None:
        failed = told.outcome == FAILED
        states = self._hyperopt
        doc["state"] = states.JOB_STATE_ERROR if failed else states.JOB_STATE_DONE
        doc["result"] = {"status": states.STATUS_FAIL} if failed else {"status": states.STATUS_OK, "loss": told.loss}

    def _insert(self, numbers: Numbers, told: Told) -> None:
        """A config that did not come from Hyperopt."""
        assert self.dimensions is not None
        tid = self._trials.new_trial_ids(1)[0]
        vals = {
            one.name: [] if number is None else [value_of(one, number)]
            for one, number in zip(self.dimensions, numbers, strict=True)
        }
        misc = {
            "tid": tid,
            "cmd": self._domain.cmd,
            "workdir": self._domain.workdir,
            "vals": vals,
            "idxs": {name: [tid] * len(values) for name, values in vals.items()},
        }
        doc = self._trials.new_trial_docs([tid], [None], [self._domain.new_result()], [misc])[0]
        self._finish(doc, told)
        self._trials.insert_trial_docs([doc])
        self._trials.refresh()


def logs(low: float, high: float) -> tuple[float, float]:
    return math.log(low), math.log(high)


def value_of(one: Dimension, number: float) -> float | int:
    """The middle of Hyperopt's values for this number."""
    if one.kind == CATEGORICAL:
        return int(number)
    return number / one.q + 0.5 if one.kind == INTEGER else number
