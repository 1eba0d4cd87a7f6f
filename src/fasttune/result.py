"""What one report looks like: as a row of columns (ReportBlock), as a user's dict (make_result).

A report is stored as the numbers that the user gave, a trial index, a step and a time. Everything else that
Ray Tune's users expect in a result (the auto-filled keys) is derived when somebody looks, by ``make_result``.
"""

from __future__ import annotations

import math
import time as clock
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from fasttune.result_keys import CHECKPOINT_DIR_NAME as CHECKPOINT_DIR_NAME
from fasttune.result_keys import DEFAULT_METRIC as DEFAULT_METRIC
from fasttune.result_keys import DEFAULT_RESULT_KEYS as DEFAULT_RESULT_KEYS
from fasttune.result_keys import DONE as DONE
from fasttune.result_keys import EPISODE_REWARD_MEAN as EPISODE_REWARD_MEAN
from fasttune.result_keys import EPISODES_THIS_ITER as EPISODES_THIS_ITER
from fasttune.result_keys import EPISODES_TOTAL as EPISODES_TOTAL
from fasttune.result_keys import EXPERIMENT_TAG as EXPERIMENT_TAG
from fasttune.result_keys import EXPR_ERROR_FILE as EXPR_ERROR_FILE
from fasttune.result_keys import EXPR_PARAM_FILE as EXPR_PARAM_FILE
from fasttune.result_keys import EXPR_PROGRESS_FILE as EXPR_PROGRESS_FILE
from fasttune.result_keys import EXPR_RESULT_FILE as EXPR_RESULT_FILE
from fasttune.result_keys import HOSTNAME as HOSTNAME
from fasttune.result_keys import MEAN_ACCURACY as MEAN_ACCURACY
from fasttune.result_keys import MEAN_LOSS as MEAN_LOSS
from fasttune.result_keys import NEG_MEAN_LOSS as NEG_MEAN_LOSS
from fasttune.result_keys import NODE_IP as NODE_IP
from fasttune.result_keys import PID as PID
from fasttune.result_keys import SHOULD_CHECKPOINT as SHOULD_CHECKPOINT
from fasttune.result_keys import TIME_THIS_ITER_S as TIME_THIS_ITER_S
from fasttune.result_keys import TIME_TOTAL_S as TIME_TOTAL_S
from fasttune.result_keys import TIMESTEPS_THIS_ITER as TIMESTEPS_THIS_ITER
from fasttune.result_keys import TIMESTEPS_TOTAL as TIMESTEPS_TOTAL
from fasttune.result_keys import TRAINING_ITERATION as TRAINING_ITERATION
from fasttune.result_keys import TRIAL_ID as TRIAL_ID

DELIMITER = "/"

# The keys that make_result fills in, in the order in which they stand in a result.
AUTO_KEYS = (
    "done",
    "training_iteration",
    "trial_id",
    "date",
    "timestamp",
    "time_this_iter_s",
    "time_total_s",
    "pid",
    "hostname",
    "node_ip",
    "config",
    "time_since_restore",
    "iterations_since_restore",
)

# Keys of a result that repr(Result) does not show.
AUTO_RESULT_KEYS = frozenset(
    (
        *AUTO_KEYS,
        "experiment_tag",
        "experiment_id",
        "checkpoint_dir_name",
        "should_checkpoint",
        "timesteps_total",
        "timesteps_since_restore",
        "episodes_total",
        "warmup_time",
    )
)

# No statistics of these. How long a trial ran and how many steps it took are metrics like others.
DEBUG_KEYS = AUTO_RESULT_KEYS - {
    "training_iteration",
    "time_this_iter_s",
    "time_total_s",
    "timesteps_total",
    "episodes_total",
}


# In tables "config/lr" is what a trial was given, and "user_attrs/note" what was attached to it, never what it reported.
GIVEN_GROUPS = ("config", "user_attrs")
REPORTED = "reported"


def column_of_metric(name: str) -> str:
    """The column that a metric has in tables: its name, but for "config/x" and "user_attrs/x", which are columns of others and
    make it "reported/config/x". The one place where that is decided."""
    return f"{REPORTED}{DELIMITER}{name}" if name.partition(DELIMITER)[0] in GIVEN_GROUPS and DELIMITER in name else name


class ReportBlock(NamedTuple):
    """Some reports with the same metric names, as columns.

    An experiment's blocks together hold every report once. Rows of one block are in the order of reporting;
    between blocks a trial's rows are ordered by ``time`` (equal times: the earlier block first).
    """

    keys: tuple[str, ...]  # flattened metric names, "a/b"
    kinds: str  # one letter per key: f float, i int, b bool; the values are float64 all the same
    trial: Any  # buffer of int32[n], the trial's index
    step: Any  # buffer of int32[n], training_iteration as fasttune counts it
    time: Any  # buffer of float64[n], unix seconds
    values: Sequence[Any]  # one buffer of float64[n] per key
    extras: Mapping[int, Mapping[str, Any]]  # row -> the metrics of that row that are not plain numbers

    def __reduce__(self) -> tuple[type[ReportBlock], tuple[Any, ...]]:
        """Buffers (memoryviews, arrays) travel as bytes."""
        columns = [bytes(column) for column in self.values]
        times = (bytes(self.trial), bytes(self.step), bytes(self.time))
        return ReportBlock, (self.keys, self.kinds, *times, columns, dict(self.extras))


class Metrics(dict[str, Any]):
    """A nested result in which a metric that was reported as "a/b" is also found under that name.

    Iterating, comparing and printing are those of the nested dict; ``m["a/b"]``, ``m.get("a/b")`` and
    ``"a/b" in m`` walk down.
    """

    def __missing__(self, key: str) -> Any:
        found: Any = self
        if isinstance(key, str) and DELIMITER in key:
            for part in key.split(DELIMITER):
                if not isinstance(found, dict) or not dict.__contains__(found, part):
                    raise KeyError(key)
                found = dict.__getitem__(found, part)
            return found
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        if dict.__contains__(self, key):
            return True
        if not isinstance(key, str) or DELIMITER not in key:
            return False
        try:
            self.__missing__(key)
        except KeyError:
            return False
        return True

    def copy(self) -> Metrics:
        return Metrics(self)


def make_result(
    metrics: Mapping[str, Any],
    *,
    step: int,
    time: float,
    started: float,
    previous: float,
    trial_id: str,
    pid: int,
    hostname: str,
    node_ip: str,
    config: dict[str, Any],
    restored_step: int = 0,
    restored_time: float = 0.0,
    experiment_tag: str | None = None,
    done: bool = False,
) -> dict[str, Any]:
    """One report as users see it: their metrics, nested, then the 13 auto-filled keys in Ray Tune's order.

    A metric of the user with the name of an auto-filled key wins. ``config`` is taken as it is, not copied.

    Args:
        metrics: what was reported, flattened ("a/b").
        step: reports of this trial so far, this one included (and those before a restore).
        time: unix time of this report.
        started: unix time at which the trial began, or began again after its last restore.
        previous: unix time of the report before; ``started`` for the first one.
        restored_step: the step that the last restore went back to; 0 without one.
        restored_time: seconds that the trial had run, up to that step, before its last restore.
        experiment_tag: added at the end if given.
    """
    elapsed = time - started
    auto = {
        "done": done,
        "training_iteration": step,
        "trial_id": trial_id,
        "date": _date(whole_second(time)),
        "timestamp": whole_second(time),
        "time_this_iter_s": time - previous,
        "time_total_s": restored_time + elapsed,
        "pid": pid,
        "hostname": hostname,
        "node_ip": node_ip,
        "config": config,
        "time_since_restore": elapsed,
        "iterations_since_restore": step - restored_step,
    }
    if experiment_tag is not None:
        auto["experiment_tag"] = experiment_tag
    nested = DELIMITER in "".join(metrics)
    user: Mapping[str, Any] = unflatten(metrics) if nested else metrics
    result = {**user, **auto} if auto.keys().isdisjoint(user) else {**user, **auto, **user}
    return Metrics(result) if nested else result


def flattened_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What ``flatten`` makes of the config in a result."""
    return flatten({"config": config})


def make_flat_result(metrics: Mapping[str, Any], flat_config: Mapping[str, Any], **told: Any) -> dict[str, Any]:
    """``flatten(make_result(metrics, config=config, **told))`` for who has ``flattened_config(config)`` at hand."""
    if DELIMITER in "".join(metrics) or "config" in metrics:
        return flatten(make_result(metrics, config=unflatten(flat_config).get("config", {}), **told))
    result = make_result(metrics, config={}, **told)
    del result["config"]
    result.update(flat_config)
    return result


def whole_second(time: float) -> int:
    """The unix second of a time; 0 for what is none, in a journal that somebody has made up."""
    return int(time) if 0.0 <= time < LATEST else 0


def date_text(second: int) -> str:
    """Local date and time of a unix second as Ray Tune writes it: 2026-01-31_23-59-59."""
    if not 0 <= second < LATEST:
        second = 0
    return clock.strftime("%Y-%m-%d_%H-%M-%S", clock.localtime(second))


LATEST = 253_402_300_800  # the unix second at which the year 10000 begins: no calendar of the system goes further
_latest_date: tuple[int | None, str] = (None, "")


def _date(second: int) -> str:
    # strftime costs as much as the rest of a result, and thousands of results share a second
    global _latest_date
    known, text = _latest_date
    if known != second:
        text = date_text(second)
        _latest_date = (second, text)
    return text


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dicts as one dict with names "a/b"; an empty dict is a leaf."""
    flat: dict[str, Any] = {}
    _add_leaves(flat, nested, prefix)
    return flat


def _add_leaves(flat: dict[str, Any], nested: Mapping[str, Any], prefix: str) -> None:
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            _add_leaves(flat, value, f"{prefix}{key}{DELIMITER}")
        else:
            flat[f"{prefix}{key}" if prefix else key if type(key) is str else str(key)] = value


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts of names "a/b". Where "a" is itself a metric, "a/b" stays as it is."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        if DELIMITER not in key:
            if isinstance(nested.get(key), dict):  # "a/b" came first
                nested.update(flatten({key: nested[key]}))
            nested[key] = value
            continue
        inner, parts = nested, key.split(DELIMITER)
        for part in parts[:-1]:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                nested[key] = value
                break
        else:
            inner[parts[-1]] = value
    return nested


def effective(steps: Sequence[int]) -> list[int]:
    """Positions of the reports that count, of one trial's steps in the order of reporting.

    A trial that begins again (from a checkpoint or from scratch) repeats steps. What it had reported from
    there on is replaced: a report counts only if no later one has the same or a smaller step.
    """
    kept: list[int] = []
    lowest = math.inf
    for position in range(len(steps) - 1, -1, -1):
        if steps[position] < lowest:
            lowest = steps[position]
            kept.append(position)
    kept.reverse()
    return kept


class Report(NamedTuple):
    """One report, as it was stored."""

    step: int
    time: float
    metrics: dict[str, Any]  # flattened


def reports_by_trial(blocks: Sequence[ReportBlock]) -> dict[int, list[Report]]:
    """Trial -> its reports that count, in order. An object per report: for looking, not for computing."""
    trials: dict[int, list[Report]] = {}
    for block in blocks:
        for trial, report in _reports(block):
            trials.setdefault(trial, []).append(report)
    return {trial: history(reports) for trial, reports in trials.items()}


def history(reports: list[Report]) -> list[Report]:
    """One trial's reports that count, by step.

    Only a trial that repeated a step has begun again; without that the steps alone give the order, so that a
    clock that was set back loses nothing.
    """
    if len({report.step for report in reports}) == len(reports):
        return sorted(reports, key=lambda report: report.step)
    ordered = sorted(reports, key=lambda report: report.time)
    return [ordered[i] for i in effective([report.step for report in ordered])]


def _reports(block: ReportBlock) -> Iterator[tuple[int, Report]]:
    columns = [memoryview(column).cast("B").cast("d") for column in block.values]
    read = [READ[kind] for kind in block.kinds]
    trials = memoryview(block.trial).cast("B").cast("i")
    steps = memoryview(block.step).cast("B").cast("i")
    times = memoryview(block.time).cast("B").cast("d")
    for row in range(len(trials)):
        flat: dict[str, Any] = {
            key: kind(column[row]) for key, kind, column in zip(block.keys, read, columns, strict=True)
        }
        flat.update(block.extras.get(row, ()))
        yield trials[row], Report(steps[row], times[row], flat)


def report_at(block: ReportBlock, row: int) -> Report:
    """One row of a block."""
    flat: dict[str, Any] = {
        key: READ[kind](memoryview(column).cast("B").cast("d")[row])
        for key, kind, column in zip(block.keys, block.kinds, block.values, strict=True)
    }
    flat.update(block.extras.get(row, ()))
    step, time = memoryview(block.step).cast("B").cast("i")[row], memoryview(block.time).cast("B").cast("d")[row]
    return Report(step, time, flat)


def _as_int(value: float) -> int | float:
    return int(value) if math.isfinite(value) else value


READ: dict[str, Callable[[float], Any]] = {"f": float, "i": _as_int, "b": bool}  # what a kind's float64 stands for


class Timing(NamedTuple):
    """When a trial began, as far as its last report tells."""

    started: float  # unix time at which it began, or began again after its last restore
    restored_time: float  # seconds that it had run before its last restore
    restored_step: int

    @classmethod
    def read(cls, last_result: Mapping[str, Any], last_time: float) -> Timing:
        """``last_time`` is the unix time of the report that ``last_result`` shows."""
        elapsed = number(last_result.get("time_since_restore")) or 0.0
        total = number(last_result.get("time_total_s"))
        step = last_result.get("training_iteration")
        since = last_result.get("iterations_since_restore")
        counted = isinstance(step, int) and isinstance(since, int)
        return cls(
            started=last_time - elapsed,
            restored_time=0.0 if total is None else max(0.0, total - elapsed),
            restored_step=max(0, step - since) if counted else 0,  # type: ignore[operator]
        )


def results_of(reports: Sequence[Report], last_result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Users' dicts of one trial's reports, given the dict of the last one.

    Of a restored trial, the times of reports from before its last restore count from its first report.
    """
    if not reports:
        return []
    timing = Timing.read(last_result, reports[-1].time)
    first = min(timing.started, reports[0].time)
    before = Timing(first, 0.0, 0)
    results: list[dict[str, Any]] = []
    previous = first
    for step, time, metrics in reports:
        began = timing if time >= timing.started else before
        results.append(
            make_result(
                metrics,
                step=step,
                time=time,
                started=began.started,
                previous=max(previous, began.started),
                trial_id=last_result.get("trial_id", ""),
                pid=last_result.get("pid", 0),
                hostname=last_result.get("hostname", ""),
                node_ip=last_result.get("node_ip", ""),
                config=last_result.get("config", {}),
                restored_step=began.restored_step,
                restored_time=began.restored_time,
                experiment_tag=last_result.get("experiment_tag"),
            )
        )
        previous = time
    results[-1]["done"] = last_result.get("done", False)
    return results


def check_mode(mode: str | None) -> None:
    """Raises ValueError unless ``mode`` is "min" or "max"."""
    if mode not in ("min", "max"):
        raise ValueError(f'mode must be "min" or "max", got {mode!r}')


def number(value: Any) -> float | None:
    """The value as a float if it is a number (a bool is one), else None."""
    if not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:  # an int beyond 10^308
        return math.inf if value > 0 else -math.inf


def is_real(value: Any) -> TypeGuard[float]:
    """Whether a value is a number of Python's, and no truth."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def best_position(scores: Sequence[float], mode: str) -> int:
    """Position of the first best score. NaN is worse than any number."""
    sign = 1.0 if mode == "max" else -1.0
    ranks = [-math.inf if math.isnan(score) else sign * score for score in scores]
    usable = [not math.isnan(score) for score in scores]
    return max(range(len(scores)), key=lambda i: (usable[i], ranks[i]))
