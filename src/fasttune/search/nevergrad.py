"""Searching with Nevergrad's optimizers (Rapin and Teytaud 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.argument import shown
from fasttune.extras import optional
from fasttune.search.base import Metric, Mode
from fasttune.search.space_searcher import FAILED, SpaceSearcher, Told
from fasttune.space.dimensions import CATEGORICAL, Dimensions, Numbers
from fasttune.space.domains import SearchSpaceError


class NevergradSearch(SpaceSearcher):
    """Asks one of Nevergrad's optimizers for configs.

    Needs nevergrad (``pip install 'fasttune[nevergrad]'``; its 1.0 holds bayesian-optimization at 1.4, with which
    BayesOptSearch works too: ``pip install 'fasttune[bayesopt,nevergrad]'`` is one environment). Numbers are searched in
    [0, 1] under the space's own law, so logarithms and steps mean what they mean everywhere; a failed trial counts as the
    worst so far. Nevergrad 1.0's NGOpt fails inside the library with numpy 2.4 on small spaces; "OnePlusOne",
    "TwoPointsDE" and "CMA" are sound choices there.

    Args:
        optimizer: an optimizer's name ("NGOpt"), class or factory, or an optimizer that was made already: then its
            parametrization is the space.
        optimizer_kwargs: for a class or name: ``budget`` (trials, 100 unless told; NGOpt chooses by
            it) and ``num_workers``.
        space: a search space, or one of Nevergrad's (an ``ng.p.Dict``, or an ``ng.p.Instrumentation`` of keywords); for an
            optimizer whose parametrization has no names (an array, a tuple), the list of them. None: that of the run.
        metric, mode, points_to_evaluate: see ``SpaceSearcher``.
        seed: of the optimizer.
    """

    several = False

    def __init__(
        self,
        optimizer: Any = "NGOpt",
        optimizer_kwargs: Mapping[str, Any] | None = None,
        space: Mapping[str, Any] | Sequence[str] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        self._library: Any = optional("nevergrad", "nevergrad", type(self).__name__)
        self._options = {"budget": 100, **(optimizer_kwargs or {})}
        self._factory: Any = self._factory_of(optimizer)
        self._optimizer: Any = None
        self._candidates: dict[str, tuple[Any, Numbers]] = {}
        self._worst: float | None = None
        self._own: Any = None
        self._names: list[str] | None = None  # of the values of a parametrization that has none
        if isinstance(optimizer, self._library.optimizers.base.Optimizer):
            if optimizer_kwargs or isinstance(space, (Mapping, self._library.p.Parameter)):
                raise ValueError(
                    "an optimizer that was made already has its space and its arguments: give only it, or with "
                    "space=[...] the names of its values"
                )
            self._optimizer, self._own = optimizer, optimizer.parametrization
            self._names, space = None if space is None else list(space), None
        elif isinstance(space, self._library.p.Parameter):
            self._own, space = space, None
        if space is not None and not isinstance(space, Mapping):
            raise TypeError(f"space must be a dict or a parametrization of Nevergrad, got {shown(space)}")
        if self._own is not None:
            self._named(self._own.spawn_child().value)  # what cannot become a config is said before a trial starts
        elif space is not None:
            self._refuse_parameters(space, "space")
        if self._own is not None and points_to_evaluate:
            raise ValueError("points_to_evaluate go with a space of fasttune's domains, not with Nevergrad's own")
        super().__init__(space, metric, mode, points_to_evaluate, seed=seed)
        if self._own is not None:
            self._given_space = True
            self._begin_own()

    def _factory_of(self, optimizer: Any) -> Any:
        optimizers = self._library.optimizers
        if isinstance(optimizer, optimizers.base.Optimizer):
            return None
        if isinstance(optimizer, str):
            if optimizer not in optimizers.registry:
                raise ValueError(f"Nevergrad has no optimizer {optimizer!r}; ng.optimizers.registry lists them")
            return optimizers.registry[optimizer]
        if not callable(optimizer):
            raise TypeError(f"optimizer must be a name, a class or an optimizer of Nevergrad, got {optimizer!r}")
        return optimizer

    # -- getting ready --------------------------------------------------------------------------------------------------

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        self._refuse_parameters(config, "config")
        taken = super().set_search_properties(metric, mode, config, **spec)
        if taken and self._own is not None:
            self._begin_own()
        return taken

    def _refuse_parameters(self, node: Any, name: str) -> None:
        """A parameter of Nevergrad's in a dict would reach trials as it is."""
        if isinstance(node, self._library.p.Parameter):
            raise SearchSpaceError(
                f"NevergradSearch got the parameter {node!r:.80} as {name}: give the whole space as one ng.p.Dict, or in "
                "fasttune's domains"
            )
        parts = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, (list, tuple)) else ()
        for key, part in parts:
            self._refuse_parameters(part, f"{name}[{key!r}]")

    def _compile(self) -> None:
        if self._own is None:
            super()._compile()

    def _begin_own(self) -> None:
        if not self._begun and self._knows_goal:
            self._begun = True
            self._open(self._own)

    def _begin(self, dimensions: Dimensions) -> None:
        p = self._library.p
        parts = {
            one.name: p.Choice(len(one.options)) if one.kind == CATEGORICAL else p.Scalar(lower=0.0, upper=1.0)
            for one in dimensions
        }
        self._open(p.Dict(**parts))

    def _open(self, parametrization: Any) -> None:
        import numpy as np

        if self._optimizer is None:
            parametrization.random_state = np.random.RandomState(self._seed % 2**32)
            self._optimizer = self._factory(parametrization=parametrization, **self._options)

    # -- suggesting -----------------------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._own is None or not self._begun:
            return super().suggest(trial_id)
        candidate = self._optimizer.ask()
        self._candidates[trial_id] = candidate, []
        self._live[trial_id] = []
        self._asked += 1
        return self._named(candidate.value)

    def _named(self, value: Any) -> dict[str, Any]:
        """What one of Nevergrad's own parametrizations gives, as a config."""
        if isinstance(self._own, self._library.p.Instrumentation):
            positional, by_name = value
            if not positional:
                return dict(by_name)
            value = positional[0] if len(positional) == 1 and not by_name else positional
        if isinstance(value, Mapping):
            return dict(value)
        values = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(values, (list, tuple)):
            values = [values]
        if self._names is None or len(self._names) != len(values):
            raise ValueError(
                f"the parametrization of this optimizer gives {len(values)} values without names, and space must name each: "
                f"space=[...], got {self._names!r}; or make it of ng.p.Dict(lr=...), whose values have names"
            )
        return dict(zip(self._names, values, strict=True))

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        if self._own is None:
            return super().replay(trial_id, suggestion)
        made = self.suggest(trial_id)
        return made if isinstance(made, dict) else suggestion

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        candidate = self._optimizer.ask()
        numbers = self.dimensions.active(
            [
                int(candidate.value[one.name]) if one.kind == CATEGORICAL else one.value(float(candidate.value[one.name]))
                for one in self.dimensions
            ]
        )
        self._candidates[trial_id] = candidate, numbers
        return numbers

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        candidate, asked = self._candidates.pop(trial_id or "", (None, numbers))
        if told.outcome == FAILED:
            if self._worst is None:
                return
            loss = self._worst
        else:
            loss = told.loss
            self._worst = loss if self._worst is None else max(self._worst, loss)
        if candidate is None or asked != numbers:
            candidate = self._candidate_of(numbers)
        self._optimizer.tell(candidate, loss)

    def _candidate_of(self, numbers: Numbers) -> Any:
        assert self.dimensions is not None
        units = self.dimensions.to_units(numbers)
        value = {
            one.name: (number or 0) if one.kind == CATEGORICAL else unit
            for one, number, unit in zip(self.dimensions, numbers, units, strict=True)
        }
        return self._optimizer.parametrization.spawn_child(new_value=value)
