"""Constraints of trials, and the one order that they and the metric make: what holds all of them comes first.

A report has its constraints as metrics ``constraints/<name>``, each at most 0 where it holds; their ``violation`` is the sum of
what is above 0. Where that is not 0, a report is compared by its *score* in place of the metric: a number that is worse than
every value of a metric, the more so the larger the violation is. All that compares (rules of schedulers, searchers, the best of
an analysis) compares numbers as before, so it knows nothing of constraints. All that shows shows the metric.

The score is made where a trial reports, and stands in its record as a last column without a name that a metric can bear
(``_core.SCORE``), so that the core judges and keeps it; tables make it anew of the columns of constraints.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune import _core
from fasttune.argument import check_called
from fasttune.error import TuneError
from fasttune.result import AUTO_RESULT_KEYS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONSTRAINTS = "constraints"
PREFIX: str = _core.CONSTRAINTS
BARRIER = 2.0**1000  # scores of broken constraints are from here to twice of it, and a mean of them is still a float64
_LOWEST, _SPAN = -1075.0, 2100.0  # the exponents of all float64 above 0
_LIMIT = re.compile(r"\s*(?P<metric>[^<>=]+?)\s*(?P<way><=|>=)\s*(?P<limit>[^<>=\s]+)\s*")


def constraint_violation(result: Mapping[str, Any]) -> float:
    """By how much a result breaks its constraints: the sum of those that are above 0. 0.0 if all hold, or there are none; inf if
    one is NaN.

    Args:
        result: of a trial: ``trial.last_result``, ``result.metrics``, or a dict of flat names ("constraints/memory").
    """
    told = [value for name, value in result.items() if name == CONSTRAINTS or name.startswith(PREFIX)]
    return violation_of(_numbers_in(told))


def _numbers_in(told: Iterable[Any]) -> Iterator[float]:
    """Those of nested mappings, too: a "/" in a name makes one."""
    for value in told:
        if isinstance(value, Mapping):
            yield from _numbers_in(value.values())
        else:
            yield value


def has_constraints(names: Iterable[str]) -> bool:
    """Whether a report with these flat names says whether constraints hold."""
    return any(name.startswith(PREFIX) or name == CONSTRAINTS for name in names)


def violation_of(values: Iterable[float]) -> float:
    """The sum of what is above 0; inf if one is NaN."""
    broken = 0.0
    for value in values:
        if not value <= 0:
            broken += math.inf if value != value else value
    return broken


def score(value: float, violation: float, mode: str | None) -> float:
    """What a value of a metric is compared by: itself, if nothing is violated; NaN stays NaN."""
    if not violation > 0 or value != value:
        return value
    worse = BARRIER * (1.0 + (math.log2(violation) - _LOWEST) / _SPAN if violation < math.inf else 2.0)
    return -worse if mode == "max" else worse


def scores(values: NDArray[np.float64], violations: NDArray[np.float64], mode: str | None) -> NDArray[np.float64]:
    """:func:`score` of columns."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        worse = BARRIER * (1.0 + (np.log2(violations) - _LOWEST) / _SPAN)
    worse = np.where(np.isinf(violations), 2.0 * BARRIER, worse)
    return np.where((violations > 0) & ~np.isnan(values), -worse if mode == "max" else worse, values)


def violation_in(value: float) -> float:
    """The violation that a score was made of, to about a billionth of it; 0.0 of a value that is none."""
    if not is_broken(value):
        return 0.0
    place = abs(value) / BARRIER - 1.0
    return math.inf if place >= 1.0 else 2.0 ** (place * _SPAN + _LOWEST)


def is_broken(value: float) -> bool:
    """A score is that of a report that breaks a constraint."""
    return BARRIER <= abs(value) <= 2.0 * BARRIER


def column_compared_by(keys: Sequence[str], metric: str | None) -> int:
    """Which column of a record trials are compared by, as the core has it; -1: none."""
    if metric not in keys:
        return -1
    return len(keys) - 1 if keys[-1] == _core.SCORE else keys.index(metric)


def as_compared(result: dict[str, Any], metric: str | None, mode: str | None) -> dict[str, Any]:
    """A flat result as those who decide are told it: the metric is the score, if a constraint is broken."""
    value = result.get(metric) if metric is not None else None
    if isinstance(value, (int, float)) and (violation := constraint_violation(result)) > 0:
        return {**result, str(metric): score(float(value), violation, mode)}
    return result


# ---- what a run is asked ---------------------------------------------------------------------------------------------


class Limit(NamedTuple):
    """A metric that must not be above (or below) a number."""

    text: str  # as the user wrote it: the name of the constraint
    metric: str
    sign: float  # 1: at most, -1: at least
    limit: float


class Constraints:
    """What a run compares by, and which constraints it makes of what trials report, beside those that they report themselves.

    Args:
        metric, mode: the run's.
        limits: of metrics.
        function: of a report's metrics by flat names; it gives numbers.
    """

    def __init__(
        self,
        metric: str | None = None,
        mode: str | None = None,
        limits: Sequence[Limit] = (),
        function: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.metric = metric
        self.mode = mode
        self.limits = tuple(limits)
        self.function = function

    def __bool__(self) -> bool:
        """Whether the run itself asks for any."""
        return bool(self.limits) or self.function is not None

    def of(self, numbers: dict[str, Any], extra: dict[str, Any]) -> None:
        """Add this run's constraints to a report (``numbers``, and ``extra``: what is no number), in place.

        Raises:
            TuneError: a constraint is no number.
        """
        plain_constraints(numbers, extra)
        for one in self.limits:
            if one.metric in numbers:
                numbers[f"{PREFIX}{one.text}"] = one.sign * (float(numbers[one.metric]) - one.limit)
        if self.function is not None:
            numbers.update(_named(self.function({**extra, **numbers})))

    def add_score(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """A report's numbers, with its score behind them if it breaks a constraint."""
        if self.metric is None or self.metric not in numbers or not has_constraints(numbers):
            return numbers
        violation = violation_of(value for name, value in numbers.items() if name.startswith(PREFIX))
        if not violation > 0:
            return numbers
        return {**numbers, _core.SCORE: score(float(numbers[self.metric]), violation, self.mode)}

    def whole(self, numbers: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        """Both: what a record has of a report."""
        self.of(numbers, extra)
        return self.add_score(numbers)

    def columns(
        self, keys: tuple[str, ...], kinds: bytes, columns: list[NDArray[np.float64]]
    ) -> tuple[tuple[str, ...], bytes, list[NDArray[np.float64]]]:
        """The same for the reports of many trials: keys, kinds and a column for each key."""
        if not self.limits and not has_constraints(keys):
            return keys, kinds, columns
        import numpy as np

        for name, kind in zip(keys, kinds, strict=True):
            if kind == ord("b") and has_constraints([name]):
                raise _no_number(name.removeprefix(PREFIX), True)
        keys = tuple(f"{PREFIX}0" if name == CONSTRAINTS else name for name in keys)
        found = dict(zip(keys, columns, strict=True))
        for one in self.limits:
            if one.metric in found:
                found[f"{PREFIX}{one.text}"] = one.sign * (found[one.metric] - one.limit)
        kinds += b"f" * (len(found) - len(keys))
        if self.metric in found:
            told = [np.where(np.isnan(one), np.inf, np.maximum(one, 0.0)) for name, one in found.items() if name.startswith(PREFIX)]
            violation = np.sum(told, axis=0) if told else np.zeros(1)
            if violation.any():
                found[_core.SCORE] = scores(found[self.metric], violation, self.mode)
                kinds += b"f"
        return tuple(found), kinds, list(found.values())


def plain_constraints(numbers: dict[str, Any], extra: dict[str, Any]) -> None:
    """What a trial has reported as ``constraints``, by names; a list has its positions as names. TuneError for what is no
    number."""
    bare = extra.pop(CONSTRAINTS, None) if CONSTRAINTS in extra else numbers.pop(CONSTRAINTS, None)
    if bare is not None and bare != {}:
        numbers.update(_named(bare))
    for name in [name for name in (*numbers, *extra) if name.startswith(PREFIX)]:
        value = numbers[name] if name in numbers else extra[name]
        if isinstance(value, bool) or name in extra:
            raise _no_number(name.removeprefix(PREFIX), value)


def _named(told: Any) -> dict[str, float]:
    """What says how far constraints are broken as metrics: of a mapping by its names, of a list by its positions."""
    if hasattr(told, "items") and not isinstance(told, Mapping):  # of pandas
        told = dict(told.items())
    if hasattr(told, "tolist"):
        told = told.tolist()
    if not isinstance(told, Mapping):
        told = dict(enumerate(told if isinstance(told, (list, tuple)) else [told]))
    found = {}
    for name, value in told.items():
        if hasattr(value, "item"):
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _no_number(str(name), value)
        found[f"{PREFIX}{name}"] = float(value)
    return found


def _no_number(name: str, value: object) -> TuneError:
    return TuneError(
        f"the constraint {name!r} must be a number, at most 0 where it holds, got {type(value).__name__}: {value!r:.80}. Usual "
        f"cause: whether it holds in place of by how much it is broken: constraints={{{name!r}: used - limit}}"
    )


def as_constraints(asked: Any, metric: str | None = None, mode: str | None = None) -> Constraints:
    """What ``tune.run(constraints=)`` takes: None, a text like "latency <= 0.1", a list of those, or a function of a result.

    Raises:
        TypeError: it is none of these.
        ValueError: a text that is no limit of a metric.
    """
    if asked is None:
        return Constraints(metric, mode)
    if callable(asked):
        check_called("constraints=function", asked)
        return Constraints(metric, mode, (), asked)
    texts = [asked] if isinstance(asked, str) else asked
    if not isinstance(texts, (list, tuple)) or not all(isinstance(one, str) for one in texts):
        raise TypeError(
            'constraints must be texts like "latency <= 0.1", or a function of a result that gives numbers (at most 0 where a '
            f"constraint holds), got {type(asked).__name__}: {asked!r:.80}"
        )
    return Constraints(metric, mode, [_limit(one) for one in texts])


def _limit(text: str) -> Limit:
    found = _LIMIT.fullmatch(text)
    limit = _finite(found["limit"]) if found is not None else None
    if found is None or limit is None:
        raise ValueError(
            f"a constraint must be a metric, <= or >=, and a number, e.g. 'latency <= 0.1', got {text!r}. For anything else: "
            "constraints=function of a result, or tune.report(loss=..., constraints={'memory': used - limit})"
        )
    metric = found["metric"]
    if metric in AUTO_RESULT_KEYS or metric.startswith("config/"):
        raise ValueError(
            f"the constraint {text!r} is about {metric!r}, which results have beside what trials report, and constraints are held "
            "against what is reported: report it, under a name of its own"
        )
    return Limit(f"{metric} {found['way']} {found['limit']}", metric, 1.0 if found["way"] == "<=" else -1.0, limit)


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def described_constraints(asked: Constraints) -> Any:
    """What the journal says of them: texts, or the name of a function; None."""
    if asked.function is not None:
        return {"function": getattr(asked.function, "__qualname__", type(asked.function).__name__)}
    return [one.text for one in asked.limits] or None
