"""Searching with Optuna's samplers (Akiba, Sano, Yanase, Ohta, Koyama 2019, Optuna, KDD)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from fasttune.constraints import violation_in
from fasttune.extras import optional
from fasttune.search.base import Metric, Mode
from fasttune.search.space_searcher import DONE, FAILED, PRUNED, SpaceSearcher, Told
from fasttune.space.dimensions import CATEGORICAL, FLOAT, INTEGER, Dimension, Dimensions, Number, Numbers
from fasttune.space.domains import Categorical, Float, Integer, SearchSpaceError
from fasttune.space.functions import choice
from fasttune.space.nested import unflatten_dict

DefineByRun = Callable[[Any], "Mapping[str, Any] | None"]
PLAIN = (type(None), bool, int, float, str)  # options that an Optuna storage can hold


class OptunaSearch(SpaceSearcher):
    """Asks an Optuna sampler for configs. Needs Optuna 4 or newer (``pip install 'fasttune[optuna]'``).

    Nothing of Optuna is changed globally, its loggers included. A trial that fails is told as FAIL and a reported metric
    as an intermediate value, as Optuna's own pruners would see it; stopping trials is the scheduler's part.

    Args:
        space: a search space; or a dict of Optuna distributions; or a function of an Optuna trial that calls
            ``trial.suggest_...`` and may return constants. None: the space of the run. Conditional spaces are
            defined by run, so a parameter is suggested only where it counts.
        metric, mode: one, or a list each for several objectives.
        points_to_evaluate, evaluated_rewards: see ``SpaceSearcher``.
        sampler: an Optuna sampler; None: ``TPESampler(seed=seed)``.
        study_name, storage: handed to ``optuna.create_study``; an existing study of that name is gone on with.
        seed: of the default sampler.

    Log-uniform domains with a step are searched without it and then rounded: Optuna has no such distribution.
    """

    ranks = True

    kinds = (FLOAT, INTEGER, CATEGORICAL)
    _extra: ClassVar[str] = "optuna"

    def __init__(
        self,
        space: Mapping[str, Any] | DefineByRun | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        sampler: Any = None,
        study_name: str | None = None,
        storage: Any = None,
        seed: int | None = None,
        evaluated_rewards: Sequence[float] | None = None,
    ) -> None:
        self._optuna: Any = optional("optuna", self._extra, type(self).__name__)
        if sampler is not None and seed is not None:
            raise ValueError("seed is for the default sampler: give it to the sampler itself")
        if sampler is not None and not isinstance(sampler, self._optuna.samplers.BaseSampler):
            raise TypeError(f"sampler must be an Optuna sampler, got {sampler!r}. Usual cause: a class without ().")
        self._sampler = sampler
        self._study_name = study_name
        self._storage = storage
        self._study: Any = None
        self._trials: dict[str, tuple[Any, Numbers]] = {}
        self._ranges: list[tuple[float, float]] = []  # least and greatest value of each metric, where constraints hold
        self._reported: dict[str, int] = {}
        self._define: DefineByRun | None = None
        searched: Mapping[str, Any] | None = None
        if isinstance(space, Mapping):
            searched = self._domain_of(space)
        elif callable(space):
            self._define = space
        super().__init__(searched, metric, mode, points_to_evaluate, evaluated_rewards, seed=seed)
        if self._define is not None:
            self._given_space = True
            self._begin_by_run()

    def _domain_of(self, value: Any) -> Any:
        """The domain that an Optuna distribution is; in dicts, lists and tuples those of the distributions in them."""
        if isinstance(value, Mapping):
            return {key: self._domain_of(part) for key, part in value.items()}
        if type(value) in (list, tuple):
            return type(value)([self._domain_of(part) for part in value])
        kinds = self._optuna.distributions
        if isinstance(value, kinds.FloatDistribution):
            real = Float(value.low, value.high)
            drawn = real.loguniform() if value.log else real.uniform()
            return drawn.quantized(value.step) if value.step else drawn
        if isinstance(value, kinds.IntDistribution):
            whole = Integer(value.low, value.high + 1)
            made = whole.loguniform() if value.log else whole.uniform()
            if value.step == 1:
                return made
            if value.low % value.step == 0:
                return Integer(value.low, value.high).uniform().quantized(value.step)
            return choice(range(value.low, value.high + 1, value.step))
        return Categorical(value.choices).uniform() if isinstance(value, kinds.CategoricalDistribution) else value

    # -- the study ------------------------------------------------------------------------------------------------------

    @property
    def study(self) -> Any:
        """The Optuna study; None before metric, mode and space are known."""
        return self._study

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        taken = super().set_search_properties(metric, mode, config, **spec)
        if taken and self._define is not None:
            self._begin_by_run()
        return taken

    def _compile(self) -> None:
        if self._define is None:
            self._config = self._domain_of(self._config)  # distributions in the config of the run
            super()._compile()

    def _begin_by_run(self) -> None:
        if self._begun or not self._knows_goal:
            return
        self._begun = True
        self._make_study()
        for point, reward in zip(self._points, self._rewards or [], strict=False):
            self._add_by_run(point, reward, DONE)
        if self._rewards is None:
            for point in self._points:
                self._refuse_strangers(point)
                self._study.enqueue_trial(point)
        self._points = []
        for point, value, outcome in self._earlier:
            self._add_by_run(point, value, outcome)

    def _refuse_strangers(self, point: Mapping[str, Any]) -> None:
        """A name that the function never suggests would be dropped: it is tried once, in a study of its own."""
        assert self._define is not None
        with without_announcement("optuna.study.study"):
            study = self._optuna.create_study(sampler=self._optuna.samplers.RandomSampler(seed=0))
        study.enqueue_trial(dict(point))
        trial = study.ask()
        self._define(trial)
        for name in point:
            if name not in trial.params:
                raise SearchSpaceError(
                    f"points_to_evaluate names {name!r}, which the space function does not suggest for this point; it "
                    f"suggests {', '.join(sorted(trial.params)) or 'nothing'}"
                )

    def _begin(self, dimensions: Dimensions) -> None:
        self._make_study()

    def _make_study(self) -> None:
        optuna = self._optuna
        modes = [self._mode] if isinstance(self._mode, str) else list(self._mode or ())
        directions = ["maximize" if mode == "max" else "minimize" for mode in modes if mode != "obs"]
        with without_announcement("optuna.study.study"):
            self._study = optuna.create_study(
                storage=self._storage,
                sampler=self._sampler or optuna.samplers.TPESampler(seed=self._seed % 2**32),
                pruner=optuna.pruners.NopPruner(),
                study_name=self._study_name,
                directions=directions,
                load_if_exists=True,
            )

    # -- suggesting -----------------------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._define is None or not self._begun:
            return super().suggest(trial_id)
        trial = self._study.ask()
        constants = self._define(trial)
        if constants is not None and not isinstance(constants, Mapping):
            raise TypeError(
                f"the space function must return None or a dict of constants, got {type(constants).__name__}. "
                "Usual cause: it returns an objective value; it only says what to search."
            )
        self._trials[trial_id] = trial, []
        self._live[trial_id] = []
        self._asked += 1
        return unflatten_dict({**trial.params, **(constants or {})})

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        if self._define is None:
            return super().replay(trial_id, suggestion)
        made = self.suggest(trial_id)
        return made if isinstance(made, dict) else suggestion

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        trial = self._study.ask()
        numbers: Numbers = []
        for one in self.dimensions:
            here = one.parent < 0 or numbers[one.parent] == one.option
            numbers.append(suggested(trial, one) if here else None)
        self._trials[trial_id] = trial, numbers
        return numbers

    # -- learning -------------------------------------------------------------------------------------------------------

    def _values(self, told: Told) -> list[float]:
        """The losses in the metrics' own directions."""
        modes = [self._mode] if isinstance(self._mode, str) else list(self._mode or ())
        used = [mode for mode in modes if mode != "obs"]
        if told.is_broken:  # its samplers compute with values: behind the worst one so far that holds its constraints
            told = told._replace(losses=tuple(worst + (worst - best or 1.0) for best, worst in self._range(len(used))))
        elif told.losses:
            self._ranges = [
                (min(loss, best), max(loss, worst))
                for loss, (best, worst) in zip(told.losses, self._ranges or [(one, one) for one in told.losses], strict=True)
            ]
        return [-loss if mode == "max" else loss for loss, mode in zip(told.losses, used, strict=True)]

    def _range(self, n: int) -> list[tuple[float, float]]:
        return self._ranges or [(0.0, 0.0)] * n

    def _report(self, trial_id: str, numbers: Numbers, told: Told) -> None:
        trial, _ = self._trials.get(trial_id, (None, None))
        if trial is None or len(told.losses) != 1 or told.step <= self._reported.get(trial_id, -1):
            return
        self._reported[trial_id] = told.step
        trial.report(self._values(told)[0], told.step)

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        trial, asked = self._trials.pop(trial_id or "", (None, None))
        self._reported.pop(trial_id or "", None)
        states = self._optuna.trial.TrialState
        if trial is not None and asked == numbers:
            if told.outcome == FAILED:
                self._study.tell(trial, state=states.FAIL)
            else:
                if told.is_broken and hasattr(trial, "set_constraint"):  # Optuna 5; before, only values can say it
                    trial.set_constraint("violation", violation_in(told.loss))
                self._study.tell(trial, self._values(told))
            return
        if trial is not None:  # the journal had another config for it
            self._study.tell(trial, state=states.FAIL)
        assert self.dimensions is not None
        known = [(one, n) for one, n in zip(self.dimensions, numbers, strict=True) if n is not None]
        self._add(
            {one.name: label(one, n) for one, n in known},
            {one.name: self._distribution(one) for one, _ in known},
            self._values(told) if told.losses else None,
            told.outcome,
        )

    def _add(self, params: dict[str, Any], distributions: dict[str, Any], values: Any, outcome: str) -> None:
        states = self._optuna.trial.TrialState
        state = {DONE: states.COMPLETE, PRUNED: states.PRUNED, FAILED: states.FAIL}[outcome]
        self._study.add_trial(
            self._optuna.trial.create_trial(
                params=params,
                distributions=distributions,
                values=values if outcome == DONE else None,
                intermediate_values={0: values[0]} if outcome == PRUNED and values else None,
                state=state,
            )
        )

    def _learn(self, parameters: dict[str, Any], value: Any, outcome: str) -> None:
        if self._define is None:
            super()._learn(parameters, value, outcome)
        else:
            self._add_by_run(parameters, value, outcome)

    def _add_by_run(self, point: Mapping[str, Any], value: Any, outcome: str) -> None:
        assert self._define is not None
        fixed = self._optuna.trial.FixedTrial(dict(point))
        self._define(fixed)
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        self._add(fixed.params, fixed.distributions, values, outcome)

    def _distribution(self, one: Dimension) -> Any:
        kinds = self._optuna.distributions
        if one.kind == CATEGORICAL:
            return kinds.CategoricalDistribution(choices(one))
        if one.kind == INTEGER:
            return kinds.IntDistribution(*whole_bounds(one), log=one.log, step=1)
        return kinds.FloatDistribution(one.low, one.high, log=one.log, step=one.q if one.q and not one.log else None)


def choices(one: Dimension) -> list[Any]:
    """The options as Optuna can hold them: themselves if they are plain and distinct, else their numbers."""
    plain = all(type(option) in PLAIN for option in one.options)
    distinct = plain and len({repr(option) for option in one.options} | set(one.options)) == len(one.options) * 2
    return list(one.options) if distinct else list(range(len(one.options)))


def whole_bounds(one: Dimension) -> tuple[int, int]:
    """Integers are searched as the number of the step, so that a step goes with a logarithm too."""
    return int(one.low // one.q), int(one.high // one.q)


def suggested(trial: Any, one: Dimension) -> Number:
    """What Optuna suggests, as a number of the dimension."""
    if one.kind == CATEGORICAL:
        offered = choices(one)
        chosen = trial.suggest_categorical(one.name, offered)
        return next(k for k, option in enumerate(offered) if option is chosen or option == chosen)
    if one.kind == INTEGER:
        low, high = whole_bounds(one)
        return int(trial.suggest_int(one.name, low, high, log=one.log) * one.q)
    if one.q and not one.log:
        return one.rounded(trial.suggest_float(one.name, one.low, one.high, step=one.q))
    return one.rounded(trial.suggest_float(one.name, one.low, one.high, log=one.log))


def label(one: Dimension, number: float) -> Any:
    """A number of the dimension as Optuna's parameter has it."""
    if one.kind == CATEGORICAL:
        return choices(one)[int(number)]
    return int(number // one.q) if one.kind == INTEGER else number


@contextmanager
def without_announcement(name: str) -> Iterator[None]:
    """Keep a logger silent within the block; its settings are not touched."""

    def silent(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO

    logger = logging.getLogger(name)
    logger.addFilter(silent)
    try:
        yield
    finally:
        logger.removeFilter(silent)
