"""What a reporter is told, and what all reporters that show trials as a table have in common.

The machine calls ``setup`` once, asks ``should_report`` once a turn and calls ``report(trials, done,
snapshot)`` when the answer is yes, and once at the end. ``trials`` is a lazy sequence: to look at all of it
costs time for every trial there ever was, so reporters take counts and the few rows they show from the
snapshot.
"""

from __future__ import annotations

import heapq
import math
import time as _time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.constraints import constraint_violation, score
from fasttune.failure import Reason
from fasttune.scope import DEFAULT_SCOPE, by_trial, measured, where
from fasttune.trial import ERROR, shown_status

from .table import cut_cell, wrap_title

if TYPE_CHECKING:
    from fasttune.pareto import ParetoFront
    from fasttune.trial import Trial

ROW_ORDER = ("RUNNING", "PAUSED", "PENDING", "TERMINATED", "ERROR")
DEFAULT_COLUMNS = {
    "mean_accuracy": "acc",
    "mean_loss": "loss",
    "training_iteration": "iter",
    "time_total_s": "total time (s)",
    "timesteps_total": "ts",
    "episode_reward_mean": "reward",
}
# Keys of a result that say nothing about how good a trial is: never shown unless asked for.
AUTO_KEYS = frozenset(
    [
        "checkpoint_dir_name",
        "config",
        "date",
        "done",
        "episodes_this_iter",
        "episodes_total",
        "experiment_id",
        "experiment_tag",
        "hist_stats",
        "hostname",
        "iterations_since_restore",
        "node_ip",
        "perf",
        "pid",
        "should_checkpoint",
        "time_since_restore",
        "time_this_iter_s",
        "time_total_s",
        "timestamp",
        "timesteps_since_restore",
        "timesteps_this_iter",
        "timesteps_total",
        "training_iteration",
        "trial_id",
        "trial_log_path",
        "warmup_time",
    ]
)
FINAL_ROWS = 1000  # more than this nobody reads; the analysis has them all
SCAN_LIMIT = 10_000  # trials that a reporter looks at one by one when the snapshot does not know the best
DRAWING_SHARE = 20  # drawing takes at most one part in so many of the run


class Standing(NamedTuple):
    """The best trial so far. ``step``: the iteration of the value, where the scope is "all"; ``failed``: it has failed, behind its
    last report; ``violation``: by how much it breaks its constraints, as all others do."""

    trial_id: str
    value: float
    params: Mapping[str, Any]
    step: int | None = None
    failed: bool = False
    violation: float = 0.0

    @property
    def by(self) -> str:
        """Whose value it is, in words."""
        return by_trial(self.trial_id, self.failed, self.violation)


def _no_rows(status: str, number: int) -> Sequence[Trial]:
    return []


@dataclass
class StatusSnapshot:
    """How the experiment stands at one moment, as the machine sees it; making one costs the same for any
    size.

    ``rows(status, n)`` gives the first n trials of a status; ``best`` is a Standing (trial_id, value of the metric, params,
    step), ``best_by(metric, mode)`` that by another metric, ``front`` what there is in the place of a best one where a run has several
    metrics (``on_front``: ids of its first trials), and ``scope`` says which values of a trial count for both.
    ``over``: the run has ended; ``reasons``: why trials have failed, each kind once. ``trials_per_s`` and ``reports_per_s``
    are those of the last while, of the whole run when it is over; ``left_s``: how long it will go on at that rate, and with the
    time that it may take (None: nobody knows).
    """

    time: float = 0.0
    elapsed: float = 0.0
    scheduler: str = ""
    resources: str = ""
    path: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    total: int | None = None
    best: Standing | tuple[str, float, Mapping[str, Any]] | None = None
    best_by: Callable[[str, str], Standing | None] | None = None
    scope: str = DEFAULT_SCOPE
    over: bool = False
    left_s: float | None = None
    reasons: Sequence[Reason] = ()
    reports_per_s: float = 0.0
    trials_per_s: float = 0.0
    message: str = ""
    front: ParetoFront | None = None
    on_front: frozenset[str] = frozenset()
    rows: Callable[[str, int], Sequence[Trial]] = _no_rows

    @property
    def leader(self) -> Standing | None:
        """``best``, with its step."""
        return None if self.best is None else Standing(*self.best)

    def best_words(self, metric: str) -> str:
        """What is best, in words: "last accuracy", or "accuracy so far"."""
        return measured(metric, self.scope, self.over)

    @property
    def started(self) -> int:
        """How many trials there are so far."""
        return sum(self.counts.values())

    @property
    def finished(self) -> int:
        """How many trials have ended, well or not."""
        return self.counts.get("TERMINATED", 0) + self.counts.get("ERROR", 0)

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last trial ends if things go on as they do now; None when nobody can know. Where ``left_s`` does
        not say it, as they did on average."""
        if self.left_s is not None:
            return self.left_s
        if self.total is None or not self.finished or self.elapsed <= 0:
            return None
        return max(0, self.total - self.finished) * self.elapsed / self.finished


class ProgressReporter:
    """Decides when to show the progress of a run, and shows it. Subclasses write the two methods.

    A subclass may count on: ``setup`` is called before the first ``report``; all calls come from one thread;
    the last call of ``report`` has ``done=True``. What it raises ends the reporting, not the run.
    """

    verbose: int = 3
    metric: str | None = None
    mode: str | None = None

    def should_report(self, trials: Sequence[Trial], done: bool = False) -> bool:
        """Whether ``report`` is to be called now. Asked once a turn, so the answer must be cheap."""
        raise NotImplementedError

    def report(self, trials: Sequence[Trial], done: bool, *sys_info: Any) -> None:
        """Shows the progress. ``sys_info`` is one StatusSnapshot."""
        raise NotImplementedError

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **more: Any,
    ) -> None:
        """Told once, before the first trial: the start, how many trials there will be, what is best."""

    def set_search_properties(self, metric: str | None, mode: str | None) -> bool:
        """Takes the run's metric and mode; False when the reporter was made with its own."""
        return True

    def catches(self) -> tuple[int, ...]:
        """Which streams (1: standard output, 2: errors) trials in other processes shall not write to, because that would
        wreck what is shown there; ``show_prints`` gets the lines. Asked once, before ``setup``."""
        return ()

    def show_prints(self, lines: str) -> None:
        """Shows lines that trials have printed, each with its end, and its trial's id in front. Called between ``setup`` and
        the last ``report``, when there are some."""

    def leave(self) -> None:
        """The run is over, also when an error has ended it, which may be before ``setup``. Called last, perhaps twice."""


class Table(NamedTuple):
    """Titles, rows of cells, and a line about the rows left out ("" if none were)."""

    titles: list[str]
    rows: list[list[object]]
    left_out: str


class TableReporter(ProgressReporter):
    """What the text and the notebook reporter have in common: which trials and columns are shown, and how
    often.

    Args:
        metric_columns: metrics to show, a list or ``{"a/b": title}``. Default: the usual ones that have a
            value, and up to ``infer_limit`` numbers that the trials report.
        parameter_columns: parameters to show, a list or a dict likewise. Default: all that were sampled.
        total_samples: how many trials there will be; default: what the run knows.
        max_progress_rows, max_error_rows: how many trials and failed trials are shown. Every status gets a
            fair share of the rows. The last table shows all trials, up to 1,000.
        max_column_length: longer texts are cut, longer titles wrapped.
        max_report_frequency: seconds between two reports, at least.
        print_intermediate_tables: show the table in every report; default: if verbose is 3.
        metric, mode: what is best, if the run does not say.
        sort_by_metric: TERMINATED trials are shown best first. This looks at all of them.
    """

    def __init__(
        self,
        metric_columns: Sequence[str] | Mapping[str, str] | None = None,
        parameter_columns: Sequence[str] | Mapping[str, str] | None = None,
        total_samples: int | None = None,
        *,
        max_progress_rows: int = 20,
        max_error_rows: int = 20,
        max_column_length: int = 20,
        max_report_frequency: float = 5,
        infer_limit: int = 3,
        print_intermediate_tables: bool | None = None,
        metric: str | None = None,
        mode: str | None = None,
        sort_by_metric: bool = False,
        clock: Callable[[], float] = _time.monotonic,
    ) -> None:
        if mode not in (None, "min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        if max_column_length < 6:
            raise ValueError(f"max_column_length must be at least 6, got {max_column_length}")
        self.metric_columns = _copy_columns(metric_columns, DEFAULT_COLUMNS)
        self.parameter_columns = _copy_columns(parameter_columns, [])
        self.total_samples = total_samples
        self.max_progress_rows = max_progress_rows
        self.max_error_rows = max_error_rows
        self.max_column_length = max_column_length
        self.max_report_frequency = max_report_frequency
        self.infer_limit = infer_limit
        self.print_intermediate_tables = print_intermediate_tables
        self.sort_by_metric = sort_by_metric
        self.metric, self.mode = metric, mode
        self._own = metric, mode
        self._infers = metric_columns is None
        self._inferred: dict[str, str] = {}
        self._guessed = "metric"
        self._clock = clock
        self._next_time = -math.inf
        self._start_time: float | None = None

    final_rows = FINAL_ROWS  # of the last table

    # -------- what the machine calls

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **more: Any,
    ) -> None:
        self._start_time = start_time
        self._next_time = -math.inf
        self._inferred = {}
        if total_samples is not None:
            self.total_samples = total_samples
        self.metric, self.mode = self._own[0] or metric, self._own[1] or mode

    def set_search_properties(self, metric: str | None, mode: str | None) -> bool:
        own_metric, own_mode = self._own
        if (own_metric is not None and metric is not None) or (own_mode is not None and mode is not None):
            return False
        self.metric, self.mode = own_metric or metric, own_mode or mode
        return True

    def should_report(self, trials: Sequence[Trial], done: bool = False) -> bool:
        return done or self._clock() >= self._next_time

    def report(self, trials: Sequence[Trial], done: bool, *sys_info: Any) -> None:
        began = self._clock()
        self.show(self.snapshot(trials, sys_info), done)
        ended = self._clock()
        # Whatever a user asks to see, the run gets nineteen parts of twenty.
        self._next_time = ended + max(self.max_report_frequency, DRAWING_SHARE * (ended - began))

    def show(self, snapshot: StatusSnapshot, done: bool) -> None:
        """Puts the status where people see it."""
        raise NotImplementedError

    # -------- what users set

    def add_metric_column(self, metric: str, representation: str | None = None) -> None:
        """Shows one more metric, under the title ``representation`` if the columns have titles."""
        self.metric_columns = _with_column(self.metric_columns, metric, representation, "metric")

    def add_parameter_column(self, parameter: str, representation: str | None = None) -> None:
        """Shows one more parameter, under the title ``representation`` if the columns have titles."""
        self.parameter_columns = _with_column(self.parameter_columns, parameter, representation, "parameter")

    # -------- what is shown

    def snapshot(self, trials: Sequence[Trial], sys_info: Sequence[Any]) -> StatusSnapshot:
        """The machine's snapshot, or one made from the trials when somebody else calls ``report``."""
        if sys_info and isinstance(sys_info[0], StatusSnapshot):
            status = sys_info[0]
        else:
            status = snapshot_of(trials, "\n".join(str(line) for line in sys_info), self._start_time)
        if status.best is None and self.mode is not None and 0 < len(trials) <= SCAN_LIMIT:
            metric = self.metric or self._only_metric(trials)
            if metric is not None:
                by = status.best_by or (lambda metric, mode: best_of(trials, metric, mode))
                return replace(status, best=by(metric, self.mode))
        return status

    def shows_table(self, done: bool) -> bool:
        """Whether this report has the table of trials."""
        if done:
            return self.verbose >= 2 or bool(self.print_intermediate_tables)
        return self.verbose >= 3 if self.print_intermediate_tables is None else self.print_intermediate_tables

    def trial_table(self, snapshot: StatusSnapshot, done: bool) -> Table:
        """The table of trials: a fair share of each status, in the order of ROW_ORDER."""
        limit = max(self.max_progress_rows, self.final_rows) if done else self.max_progress_rows
        shares = fair_shares(snapshot.counts, limit)
        shown = [
            trial for status in ROW_ORDER for trial in self._rows(snapshot, status, shares.get(status, 0))
        ]
        results = [trial.last_result or {} for trial in shown]
        parameters = self._parameters(shown)
        spans = snapshot.front.spans if snapshot.front is not None else ()
        metrics = self._metrics(results, [self.metric] if self.metric is not None else [span.metric for span in spans])
        width = self.max_column_length
        titles = ["Trial name", "status", "loc", *parameters.values(), *metrics.values()]
        rows = [
            [cut_cell(cell, width) for cell in (_parameter(trial, name) for name in parameters)]
            + [cut_cell(_plain(look_up(result, name)), width) for name in metrics]
            for trial, result in zip(shown, results, strict=True)
        ]
        return Table(
            [wrap_title(title, width) for title in titles],
            [
                [str(trial), shown_status(trial.status, not snapshot.over), location(trial), *row]
                for trial, row in zip(shown, rows, strict=True)
            ],
            _left_out(snapshot.counts, shares),
        )

    def error_table(self, snapshot: StatusSnapshot) -> Table:
        """The table of failed trials and where their tracebacks are."""
        shown = snapshot.rows("ERROR", self.max_error_rows)
        left = snapshot.counts.get("ERROR", 0) - len(shown)
        return Table(
            ["Trial name", "# failures", "error file"],
            [[str(trial), trial.num_failures, trial.error_file] for trial in shown],
            f"... {left} more failed trials not shown" if left > 0 else "",
        )

    def best_line(self, snapshot: StatusSnapshot) -> str:
        """One line about the best trial; "" when there is none."""
        best = snapshot.leader
        if best is None:
            return "" if snapshot.front is None else f"Several metrics: {snapshot.front.words()}"
        params = best.params
        if self.parameter_columns:
            params = {name: look_up(params, name) for name in self.parameter_columns}
        metric = self.metric or self._guessed
        # Ray Tune's line, byte for byte: it is about the last value
        said = "" if snapshot.scope == DEFAULT_SCOPE else f" (best {snapshot.best_words(metric)}{where(best.step)})"
        value = f"{metric}={_plain(best.value)}{said}"
        return f"Current best trial: {best.by} with {value} and parameters={dict(params)}"

    def _only_metric(self, trials: Sequence[Trial]) -> str | None:
        """The one number that trials report, when they report one only; else nobody knows what is meant."""
        found = infer_metrics((trial.last_result or {} for trial in trials[:FINAL_ROWS]), limit=2)
        if len(found) != 1:
            return None
        self._guessed = found[0]
        return found[0]

    def _rows(self, snapshot: StatusSnapshot, status: str, number: int) -> Sequence[Trial]:
        if number == 0 or status != "TERMINATED" or not self.sort_by_metric:
            return snapshot.rows(status, number) if number else []
        if snapshot.on_front:
            some = snapshot.rows(status, snapshot.counts[status])
            return sorted(some, key=lambda one: one.trial_id not in snapshot.on_front)[:number]
        if not (self.metric and self.mode):
            return snapshot.rows(status, number)
        sign = -1.0 if self.mode == "max" else 1.0
        metric = self.metric

        def badness(trial: Trial) -> float:
            value = _compared(trial.last_result or {}, metric, self.mode)
            return math.inf if value is None else sign * value

        return heapq.nsmallest(number, snapshot.rows(status, snapshot.counts[status]), key=badness)

    def _parameters(self, shown: Iterable[Trial]) -> dict[str, str]:
        if self.parameter_columns:
            return _titled(self.parameter_columns)
        names = sorted({name for trial in shown for name in trial.evaluated_params})
        return {name: name for name in names}

    def _metrics(self, results: Sequence[Mapping[str, Any]], steering: Sequence[str]) -> dict[str, str]:
        columns = _titled(self.metric_columns)
        if self._infers:
            known = frozenset(columns)
            for name in steering:
                if name not in known:
                    self._inferred.setdefault(name, name)
            for name in infer_metrics(results, limit=self.infer_limit, known=known):
                if len(self._inferred) < self.infer_limit:
                    self._inferred.setdefault(name, name)
            columns.update(self._inferred)
        return {
            name: title
            for name, title in columns.items()
            if any(look_up(result, name) is not None for result in results)
        }


# -------- the words of a status


def snapshot_of(trials: Sequence[Trial], scheduler: str, start_time: float | None) -> StatusSnapshot:
    """A snapshot made by looking at every trial."""
    by_status: dict[str, list[Trial]] = {}
    for trial in trials:
        by_status.setdefault(trial.status, []).append(trial)
    now = _time.time()
    path = getattr(trials[0], "local_experiment_path", "") if len(trials) else ""
    return StatusSnapshot(
        time=now,
        elapsed=0.0 if start_time is None else now - start_time,
        scheduler=scheduler,
        path=path if isinstance(path, str) else "",
        counts={status: len(some) for status, some in by_status.items()},
        rows=lambda status, number: by_status.get(status, [])[:number],
    )


def best_of(trials: Iterable[Trial], metric: str, mode: str) -> Standing | None:
    """The trial with the best last value of the metric, the first of equals; NaN is never best."""
    sign = -1.0 if mode == "min" else 1.0
    best: tuple[float, Trial] | None = None
    for trial in trials:
        value = _compared(trial.last_result or {}, metric, mode)
        if value is not None and not math.isnan(value) and (best is None or sign * value > best[0]):
            best = sign * value, trial
    if best is None:
        return None
    result = best[1].last_result
    config = result.get("config", best[1].config)
    failed, broken = best[1].status == ERROR, constraint_violation(result)
    return Standing(best[1].trial_id, look_up(result, metric), config, failed=failed, violation=broken)


def _compared(result: Mapping[str, Any], metric: str, mode: str | None) -> float | None:
    """What a result is ranked by; None without a number."""
    value = _number(look_up(result, metric))
    return None if value is None else score(value, constraint_violation(result), mode)


def time_line(now: float, elapsed: float) -> str:
    """The line with the time of day and how long the run goes on already."""
    clock = _time.strftime("%Y-%m-%d %H:%M:%S", _time.localtime(now))
    return f"Current time: {clock} (running for {exact_duration(elapsed)})"


def exact_duration(seconds: float) -> str:
    """ "01:31:22.00", after a day "2 days, 01:31:22.00"."""
    hundredths = max(0, round(seconds * 100))
    minutes, hundredths = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    text = f"{hours:02d}:{minutes:02d}:{hundredths / 100:05.2f}"
    return f"{days} days, {text}" if days else text


def duration(seconds: float) -> str:
    """ "0.8s", "42s", "3m 07s", "5h 02m", "2d 04h": a duration at a glance."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02d}h"
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


def rate(number: float, of: str) -> str:
    """ "412 reports/s", "120k reports/s", "1.5 trials/min": so many a second, or a minute, at a glance."""
    if 0 < number < 0.1:
        return f"{60 * number:.2g} {of}/min"
    if number >= 10_000_000:
        return f"{number / 1e6:.0f}M {of}/s"
    if number >= 100_000:
        return f"{number / 1e3:,.0f}k {of}/s"
    return f"{number:,.0f} {of}/s" if number >= 100 else f"{number:.1f} {of}/s"


def number_line(snapshot: StatusSnapshot, total: int | None) -> str:
    """ "Number of trials: 2/5 (1 RUNNING, 1 TERMINATED)"."""
    shown = {shown_status(status, not snapshot.over): number for status, number in snapshot.counts.items()}
    counts = ", ".join(f"{number} {status}" for status, number in sorted(shown.items()) if number)
    known = snapshot.total if snapshot.total is not None else total
    of = "" if known is None else "/infinite" if known < 0 or known >= 2**62 else f"/{known}"
    return f"Number of trials: {snapshot.started}{of}" + (f" ({counts})" if counts else "")


def fair_shares(counts: Mapping[str, int], limit: int) -> dict[str, int]:
    """How many rows each status gets: one each in turn, by their names, until the rows are used up."""
    shares = dict.fromkeys(sorted(counts), 0)
    left = min(limit, sum(counts.values()))
    while left > 0:
        for status in shares:
            if left > 0 and shares[status] < counts[status]:
                shares[status] += 1
                left -= 1
    return shares


def infer_metrics(
    results: Iterable[Mapping[str, Any]], *, limit: int, known: frozenset[str] = frozenset(DEFAULT_COLUMNS)
) -> list[str]:
    """The first numbers that trials report, by name."""
    found: dict[str, None] = {}
    for result in results:
        for name, value in result.items():
            if len(found) >= limit:
                return list(found)
            if name not in AUTO_KEYS and name not in known and is_comparable(value):
                found[name] = None
    return list(found)


def look_up(nested: Mapping[str, Any], name: str) -> Any:
    """The value at "a/b/0" in dicts and lists, or under that very key; None if there is none."""
    if name in nested:
        return nested[name]
    value: Any = nested
    for part in name.split("/"):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def location(trial: Trial) -> str:
    """Where the trial runs or ran, "ip:pid"; "" before its first report."""
    given = getattr(trial, "location", None)
    if isinstance(given, str):
        return given
    result = trial.last_result or {}
    pid = result.get("pid")
    return "" if pid is None else f"{result.get('node_ip', '')}:{pid}"


def _parameter(trial: Trial, name: str) -> object:
    sampled = trial.evaluated_params
    return _plain(sampled[name] if name in sampled else look_up(trial.config, name))


def is_comparable(value: object) -> bool:
    """Whether a value is a number that can be compared; True and False are answers, not numbers."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _number(value: object) -> float | None:
    if isinstance(value, Real):
        return float(value)
    return None


def _plain(value: Any) -> Any:
    """A numpy scalar as the Python number it stands for."""
    return value.item() if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0 else value


def _left_out(counts: Mapping[str, int], shares: Mapping[str, int]) -> str:
    left = {status: counts[status] - shares[status] for status in sorted(counts)}
    left = {status: number for status, number in left.items() if number > 0}
    if not left:
        return ""
    parts = ", ".join(f"{number} {status}" for status, number in left.items())
    return f"... {sum(left.values())} more trials not shown ({parts})"


def _copy_columns(
    given: Sequence[str] | Mapping[str, str] | None, default: Sequence[str] | Mapping[str, str]
) -> list[str] | dict[str, str]:
    chosen = default if given is None else given
    if isinstance(chosen, str):
        raise TypeError(f"columns must be a list of names or a dict of names and titles, got {chosen!r}")
    return dict(chosen) if isinstance(chosen, Mapping) else list(chosen)


def _with_column(
    columns: list[str] | dict[str, str], name: str, title: str | None, kind: str
) -> list[str] | dict[str, str]:
    if name in columns:
        raise ValueError(f"the {kind} column {name!r} is there already")
    if isinstance(columns, dict):
        return {**columns, name: title or name}
    if title is not None:
        if not columns:
            return {name: title}
        raise ValueError(
            f"the {kind} columns were given as a list, which has no titles: make the reporter with a dict "
            "to show "
            f"{name!r} as {title!r}"
        )
    return [*columns, name]


def _titled(columns: list[str] | dict[str, str]) -> dict[str, str]:
    return dict(columns) if isinstance(columns, dict) else {name: name for name in columns}
