"""Searching with Ax: Bayesian optimisation by BoTorch (Balandat et al. 2020, BoTorch: A Framework for Efficient
Monte-Carlo Bayesian Optimization, NeurIPS), with constraints on parameters and on outcomes."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.extras import optional
from fasttune.search.base import Metric, Mode, Searcher
from fasttune.search.space_searcher import FAILED, SpaceSearcher, Told
from fasttune.space.dimensions import CATEGORICAL, FLOAT, INTEGER, Dimension, Dimensions, Number, Numbers

IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


class AxSearch(SpaceSearcher):
    """Asks Ax's client for configs. Worth its second or so a suggestion when a trial takes minutes.

    Needs Ax (``pip install 'fasttune[ax]'``), release 1.0 or newer, which brings PyTorch. Parameters of nested spaces have
    the name "net.layers" there, metrics such as "val/loss" "val_loss". Floats with logarithm and steps are rounded; choices
    are unordered. Conditional spaces and unbounded normals are refused.

    Args:
        space, metric, mode, points_to_evaluate, evaluated_rewards: see ``SpaceSearcher``; several metrics are optimised
            together.
        parameter_constraints: inequalities such as "x1 + x2 <= 2", of floats without logarithm and steps.
        outcome_constraints: inequalities of reported metrics such as "latency <= 0.5".
        ax_client: an ``ax.api.client.Client`` that is configured already; space and metrics are its own then, and of the
            rest only ``metric`` and ``mode`` may be given: those of the run.
        seed: of everything random.
        ax_kwargs: of ``Client.configure_generation_strategy``: method ("fast", "quality" or "random_search"),
            initialization_budget, ...
    """

    kinds = (FLOAT, INTEGER, CATEGORICAL)
    conditional = False

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        parameter_constraints: Sequence[str] | None = None,
        outcome_constraints: Sequence[str] | None = None,
        ax_client: Any = None,
        evaluated_rewards: Sequence[float] | None = None,
        *,
        seed: int | None = None,
        **ax_kwargs: Any,
    ) -> None:
        self._api: Any = optional("ax.api.client", "ax", type(self).__name__)
        self._errors: Any = optional("ax.exceptions.core", "ax", type(self).__name__)
        self._waits: Any = optional("ax.exceptions.generation_strategy", "ax", type(self).__name__)
        self._parameter_constraints = list(parameter_constraints or ())
        self._outcome_constraints = list(outcome_constraints or ())
        import inspect

        known = inspect.signature(self._api.Client.configure_generation_strategy).parameters
        for name in ax_kwargs:
            if name not in known:
                raise TypeError(
                    f"AxSearch() got an unexpected keyword argument {name!r}; Ax takes {', '.join(list(known)[1:])}"
                )
        self._options = ax_kwargs
        self._client = ax_client
        self._own = ax_client is not None
        self._trials: dict[str, tuple[int, Numbers]] = {}  # trial -> Ax's number of it, and what Ax had suggested
        self._heard: dict[str, Mapping[str, Any]] = {}  # trial -> its result, for the outcomes
        own_only = space, points_to_evaluate, parameter_constraints, outcome_constraints, ax_kwargs
        if self._own and any(own_only):
            raise ValueError(
                "AxSearch(ax_client=...) takes its space, constraints and options from that client: give them there"
            )
        super().__init__(space, metric, mode, points_to_evaluate, evaluated_rewards, seed=seed)
        if self._own:
            self._given_space = True
            self._begin_own()

    # -- getting ready --------------------------------------------------------------------------------------------------

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        taken = super().set_search_properties(metric, mode, config, **spec)
        if taken and self._own:
            self._begin_own()
        return taken

    def _compile(self) -> None:
        if not self._own:
            super()._compile()

    def _begin_own(self) -> None:
        if self._knows_goal:
            self._begun = True

    def _begin(self, dimensions: Dimensions) -> None:
        logging.getLogger("ax").setLevel(logging.WARNING)  # a line for every trial otherwise
        client = self._client = self._api.Client(random_seed=self._seed % 2**31)
        parameters = [self._parameter(one) for one in dimensions if one.size > 1]
        if not parameters:
            raise ValueError("AxSearch has nothing to search: every domain holds one value")
        client.configure_experiment(parameters=parameters, parameter_constraints=self._parameter_constraints)
        client.configure_optimization(
            objective=", ".join(f"{'' if mode == 'max' else '-'}{safe(name)}" for name, mode in self._goals()),
            outcome_constraints=self._outcome_constraints or None,
        )
        client.configure_generation_strategy(
            **{"initialization_random_seed": self._seed % 2**31, "initialize_with_center": False, **self._options}
        )

    def _goals(self) -> list[tuple[str, str]]:
        """Metrics and modes of what is optimised."""
        metrics = [self._metric] if isinstance(self._metric, str) else list(self._metric or ())
        modes = [self._mode] if isinstance(self._mode, str) else list(self._mode or ())
        return [(name, mode) for name, mode in zip(metrics, modes, strict=True) if mode != "obs"]

    def _parameter(self, one: Dimension) -> Any:
        configs: Any = optional("ax.api.configs", "ax", type(self).__name__)
        name = one.name.replace("/", ".")
        if one.kind == CATEGORICAL:
            return configs.ChoiceParameterConfig(
                name=name, values=list(range(len(one.options))), parameter_type="int", is_ordered=False
            )
        scaling = "log" if one.log else "linear"
        if on_lattice(one):
            steps = round(one.low / one.q), round(one.high / one.q)
            return configs.RangeParameterConfig(name=name, bounds=steps, parameter_type="int", scaling=scaling)
        return configs.RangeParameterConfig(
            name=name, bounds=(one.low, one.high), parameter_type="float", scaling=scaling
        )

    # -- suggesting -----------------------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self._own or not self._begun:
            return super().suggest(trial_id)
        found = self._next_of_client()
        if found is None or isinstance(found, str):
            return found
        index, parameters = found
        self._trials[trial_id] = index, []
        self._live[trial_id] = []
        return dict(parameters)

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        if not self._own:
            return super().replay(trial_id, suggestion)
        made = self.suggest(trial_id)
        return made if isinstance(made, dict) else suggestion

    def _whole_config(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        return suggestion if self._own else super()._whole_config(trial_id, suggestion)

    def _ask(self, trial_id: str) -> Numbers | str | None:
        found = self._next_of_client()
        if found is None or isinstance(found, str):
            return found
        index, parameters = found
        assert self.dimensions is not None
        numbers: Numbers = [number_of(one, parameters) for one in self.dimensions]
        self._trials[trial_id] = index, numbers
        return numbers

    def _next_of_client(self) -> tuple[int, dict[str, Any]] | str | None:
        try:
            found = self._client.get_next_trials(max_trials=1)
        except self._errors.OptimizationComplete:
            return Searcher.FINISHED
        except (self._errors.DataRequiredError, self._waits.MaxParallelismReachedException):
            return None  # it wants results first
        return next(iter(found.items()), None)

    # -- learning -------------------------------------------------------------------------------------------------------

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        self._heard[trial_id] = result or {}
        if self._own and self._live.pop(trial_id, None) is not None:
            losses = self.losses(result) if result else None
            told = Told(losses or (), FAILED if error or losses is None else "done")
            self._close(self._trials.pop(trial_id)[0], told, result or {})
        else:
            super().on_trial_complete(trial_id, result=result, error=error)
        self._heard.pop(trial_id, None)

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        known = self._trials.pop(trial_id, None) if trial_id is not None else None
        if known is not None and known[1] != numbers:  # a resumed run was given another one than its journal has
            self._client.mark_trial_abandoned(known[0])
            known = None
        index = known[0] if known is not None else self._attached(numbers)
        self._close(index, told, self._heard.get(trial_id or "", {}))

    def _attached(self, numbers: Numbers) -> int:
        assert self.dimensions is not None
        parameters = {
            one.name.replace("/", "."): value_of(one, number)
            for one, number in zip(self.dimensions, numbers, strict=True)
            if one.size > 1
        }
        index: int = self._client.attach_trial(parameters=parameters)
        return index

    def _close(self, index: int, told: Told, result: Mapping[str, Any]) -> None:
        """What came of a trial. One that failed is abandoned: Ax suggests what it holds for failed again."""
        outcomes = self._outcomes(told, result)
        if told.outcome == FAILED or outcomes is None:
            self._client.mark_trial_abandoned(index)
        else:
            self._client.complete_trial(index, raw_data=outcomes)

    def _outcomes(self, told: Told, result: Mapping[str, Any]) -> dict[str, float] | None:
        """The metrics that Ax needs; None when one that a constraint names was not reported."""
        goals = self._goals()
        found = {
            safe(name): -loss if mode == "max" else loss for (name, mode), loss in zip(goals, told.losses, strict=False)
        }
        reported = {safe(name): value for name, value in result.items()}
        for constraint in self._outcome_constraints:
            for name in set(IDENTIFIER.findall(constraint)) - found.keys() - {"baseline", "e", "E"}:
                if not isinstance(reported.get(name), (int, float)):
                    return None
                found[name] = float(reported[name])
        return found


def safe(metric: str) -> str:
    """The metric's name in Ax's expressions."""
    return re.sub(r"\W", "_", metric)


def on_lattice(one: Dimension) -> bool:
    """Whether Ax is asked for the number of the step instead of the value."""
    return one.kind == INTEGER or (bool(one.q) and not one.log)


def number_of(one: Dimension, parameters: Mapping[str, Any]) -> Number:
    """The number of a dimension in Ax's parameters."""
    if one.size == 1:
        return 0 if one.kind == CATEGORICAL else one.low if one.kind == FLOAT else int(one.low)
    value = parameters[one.name.replace("/", ".")]
    if one.kind == CATEGORICAL:
        return int(value)
    if on_lattice(one):
        number = round(value) * one.q
        return int(number) if one.kind == INTEGER else one.rounded(number)
    return one.rounded(float(value))


def value_of(one: Dimension, number: Number) -> float | int:
    """Ax's value of a number."""
    assert number is not None
    if one.kind == CATEGORICAL:
        return int(number)
    return round(number / one.q) if on_lattice(one) else float(number)
