"""What the block in a terminal says, from top to bottom, and how it makes do with few columns.

    bar, how many of how many, how long, what is left
    counts by status, then rates: where there is no room, the rates go to a line of their own
    the best so far, what has failed, trials at work: columns that do not fit are left out, the last ones first
    what it runs on, where it is stored
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.metric_values import whole_text
from fasttune.scope import where

from .base import AUTO_KEYS, Standing, StatusSnapshot, duration, is_comparable, look_up, rate

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from fasttune.pareto import ParetoFront
    from fasttune.trial import Trial

ROWS = 8
PARAMETERS = 8
METRICS = 4
REASONS = 3
NARROW = 60  # columns; with fewer the bar has a line of its own
GAP = 2  # between columns of a table

_MARKS = (
    ("RUNNING", "●", "cyan", "running"),
    ("TERMINATED", "✓", "green", "done"),
    ("ERROR", "✗", "red", "failed"),
    ("PAUSED", "‖", "yellow", "paused"),
    ("PENDING", "○", "bright_black", "waiting"),
)
_LEFT = ("‖", "yellow", "interrupted")  # they were under way when the run ended
_AT_WORK = ("RUNNING", "PAUSED")


def block(snapshot: StatusSnapshot, done: bool, total: int | None, metric: str | None, width: int) -> RenderableType:
    """The block for a terminal of ``width`` columns."""
    from rich.console import Group

    lines: list[RenderableType] = [*_progress(snapshot, done, total, width), *_counts(snapshot, width)]
    best = snapshot.leader
    if best is not None:
        lines.append(_best(snapshot, best, metric))
    if snapshot.front is not None:
        lines.append(_front(snapshot.front))
    lines += _failures(snapshot)
    if not done:
        lines += _at_work(snapshot, _steering(snapshot, metric), width)
    if snapshot.message:
        line = _text(snapshot.message, "yellow")
        lines.append(_in_one_piece(line) if done else line)
    return Group(*lines, *_foot(snapshot, done))


# -------- how far it is


def _progress(snapshot: StatusSnapshot, done: bool, total: int | None, width: int) -> list[RenderableType]:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    total = total if snapshot.total is None else snapshot.total
    known = total is not None and 0 <= total < 2**62
    bar = ProgressBar(
        total=total if known else None,
        completed=snapshot.finished,
        width=None,
        pulse=not known and not done,
        animation_time=snapshot.elapsed,
        style="bright_black",
        complete_style="cyan",
        finished_style="green",
    )
    if done and not known:
        bar = ProgressBar(total=1, completed=1, finished_style="green")
    count = _text(f"{snapshot.finished:,}", "bold")
    if known and total is not None:
        share = 100 * snapshot.finished / total if total else 100
        count.append(f" / {total:,}", "default not bold")
        # 100 % is said when all have ended, not a moment before
        count.append(f"  {share if share >= 100 else min(99, share):3.0f} %", "bright_black")
    times = _text(duration(snapshot.elapsed), "default")
    if not done and snapshot.eta_s:
        times.append(f"  {duration(snapshot.eta_s)} left", "cyan")
    grid = Table.grid(expand=True, padding=(0, GAP, 0, 0))
    grid.add_column(ratio=1)
    if width < NARROW:
        grid.add_row(bar)
        return [grid, _cut(count.append("  ").append_text(times))]
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(bar, count, times)
    return [grid]


def _counts(snapshot: StatusSnapshot, width: int) -> list[RenderableType]:
    from rich.table import Table

    line = _count_line(snapshot, words=True)
    if len(line) > width:
        line = _count_line(snapshot, words=False)
    speed = _text(f"{rate(snapshot.trials_per_s, 'trials')}   {rate(snapshot.reports_per_s, 'reports')}", "bright_black")
    if len(line) + GAP + len(speed) > width:
        return [_cut(line), _cut(speed)]
    grid = Table.grid(expand=True, padding=(0, GAP, 0, 0))
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(line, speed)
    return [grid]


def _count_line(snapshot: StatusSnapshot, words: bool) -> Text:
    line = _text("")
    for status, mark, colour, word in _MARKS:
        number = snapshot.counts.get(status, 0)
        if status == "RUNNING" and snapshot.over:
            mark, colour, word = _LEFT
        if number:
            line.append("   " if len(line) and words else "  " if len(line) else "")
            line.append(f"{mark} ", colour)
            line.append(f"{number:,}", f"bold {colour}")
            if words:
                line.append(f" {word}", "default")
    return line


def _best(snapshot: StatusSnapshot, best: Standing, metric: str | None) -> RenderableType:
    line = _text("best ", "bright_black")
    line.append(f"{snapshot.best_words(metric or 'value')} ", "default")
    line.append(_measured(best.value), "bold green")
    line.append(f"{where(best.step)}  {best.by}", "bright_black")
    for name, parameter in best.params.items():
        line.append(whole_text(f"  {name}="), "bright_black")
        line.append(_short(parameter), "default")
    return _cut(line)


def _front(front: ParetoFront) -> RenderableType:
    """In the place of the best one, where a run has several metrics."""
    if not front.trials:
        return _cut(_text(front.words(), "default"))
    line = _text("front ", "bright_black")
    line.append(f"{len(front.trials):,}", "bold green").append(f" trial{'s' if len(front.trials) > 1 else ''}", "default")
    for span in front.spans:
        line.append(whole_text(f"  {span.metric} "), "bright_black")
        line.append(_measured(span.low) + (f" to {_measured(span.high)}" if span.high > span.low else ""), "default")
    if front.hypervolume is not None:
        line.append("  hypervolume ", "bright_black").append(_measured(front.hypervolume), "default")
    return _cut(line)


def _failures(snapshot: StatusSnapshot) -> list[RenderableType]:
    """Why trials have failed: each kind of reason in two lines."""
    lines: list[RenderableType] = []
    for reason in snapshot.reasons[:REASONS]:
        line = _text("✗ ", "red")
        line.append("" if reason.times == 1 else f"{reason.times:,} times ", "bold red")
        line.append(reason.what, "default")
        line.append(f"  {reason.trial_id}", "bright_black")
        lines.append(line)
        if reason.where:
            lines.append(_text(f"    {reason.where}", "bright_black"))
    more = len(snapshot.reasons) - REASONS
    return [*lines, _text(f"  and {more} more kinds of failures", "bright_black")] if more > 0 else lines


# -------- trials at work


class _Column(NamedTuple):
    title: str
    cells: list[str]
    style: str = "bright_black"
    right: bool = True

    @property
    def width(self) -> int:
        from rich.cells import cell_len

        return max(map(cell_len, [self.title, *self.cells]))


def _steering(snapshot: StatusSnapshot, metric: str | None) -> list[str]:
    """The metrics that say what is better."""
    if metric is not None:
        return [metric]
    return [] if snapshot.front is None else [span.metric for span in snapshot.front.spans]


def _at_work(snapshot: StatusSnapshot, metrics: Sequence[str], width: int) -> list[RenderableType]:
    """The running and the paused trials, if those that run are there long enough to be read."""
    running = snapshot.counts.get("RUNNING", 0)
    if running == 0 or running < snapshot.trials_per_s:
        return []
    shown: list[Trial] = []
    for status in _AT_WORK:
        if len(shown) < ROWS and snapshot.counts.get(status, 0):
            shown += snapshot.rows(status, ROWS - len(shown))
    if not shown:
        return []
    rows: list[RenderableType] = [_text(""), *_table(_columns(shown, metrics), width)]
    more = running - sum(trial.status == "RUNNING" for trial in shown)
    if more > 0:
        rows.append(_text(f"and {more:,} more at work", "bright_black"))
    return [*rows, _text("")]


def _columns(shown: Sequence[Trial], metrics: Sequence[str]) -> list[_Column]:
    """Who it is, how far it is, what it has reached, with what parameters."""
    results = [trial.last_result or {} for trial in shown]
    columns = [_Column("trial", [trial.trial_id for trial in shown], "cyan", False)]
    if any(trial.status == "PAUSED" for trial in shown):
        marks = {status: mark for status, mark, _, _ in _MARKS}
        columns.insert(0, _Column("", [marks[trial.status] for trial in shown], "default", False))
    columns.append(_Column("iter", [str(result.get("training_iteration", "")) for result in results], "default"))
    columns.append(_Column("time", [_time_of(result) for result in results], "default"))
    for name in _metrics(results, metrics):
        style = "bold" if name in metrics else "default"
        columns.append(_Column(whole_text(name), [_measured(look_up(result, name)) for result in results], style))
    names = dict.fromkeys(name for trial in shown for name in trial.evaluated_params)
    for name in list(names)[:PARAMETERS]:
        columns.append(_Column(whole_text(name), [_short(trial.evaluated_params.get(name)) for trial in shown]))
    return columns


def _table(columns: list[_Column], width: int) -> list[Text]:
    """The columns that fit, side by side. The time goes before the metric does."""
    columns = list(columns)
    while len(columns) > 1 and sum(column.width + GAP for column in columns) - GAP > width:
        last = len(columns) - 1
        time = next((k for k, column in enumerate(columns) if column.title == "time"), last)
        columns.pop(time if last == time + 1 else last)
    heads = [column.title for column in columns]
    rows = [heads, *([column.cells[k] for column in columns] for k in range(len(columns[0].cells)))]
    lines = []
    for k, row in enumerate(rows):
        line = _text("")
        for column, cell in zip(columns, row, strict=True):
            part = _text(cell, "bright_black" if k == 0 else column.style)
            part.align("right" if column.right else "left", column.width)
            line.append_text(part).append(" " * GAP)
        line.rstrip()
        lines.append(_cut(line))
    return lines


def _metrics(results: Sequence[dict[str, Any]], metrics: Sequence[str]) -> list[str]:
    """Those that matter, then the first others that are numbers."""
    found = dict.fromkeys(metrics)
    for result in results:
        for name, value in result.items():
            if name not in AUTO_KEYS and is_comparable(value):
                found.setdefault(name)
    return list(found)[:METRICS]


def _time_of(result: dict[str, Any]) -> str:
    seconds = result.get("time_total_s")
    return "" if seconds is None else duration(seconds)


# -------- the foot, and how things are written


def _foot(snapshot: StatusSnapshot, done: bool) -> list[RenderableType]:
    """On what the trials run, and where the results are; at the end only that."""
    lines = [_text(snapshot.path, "bright_black")] if snapshot.path else []
    resources = "  ·  ".join(part for part in (snapshot.resources, snapshot.scheduler.split("\n")[0]) if part)
    if resources and not done:
        lines.insert(0, _text(resources, "bright_black"))
    return [_in_one_piece(line) if done else _cut(line) for line in lines]


def _text(content: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(whole_text(content), style=style)


def _cut(line: Text) -> Text:
    """The line, cut where the terminal ends."""
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _in_one_piece(line: Text) -> Text:
    """The line with no end of a line in it, for who copies it from the terminal."""
    line.no_wrap, line.overflow = True, "ignore"
    return line


def _short(value: object) -> str:
    """A value in a few characters: four significant digits, long texts cut."""
    if value is None:
        return ""
    if isinstance(value, Real) and not isinstance(value, (bool, int)):
        return f"{float(value):.4g}"
    text = whole_text(str(value))
    return text if len(text) <= 16 else text[:15] + "…"


def _measured(value: object) -> str:
    """A metric with four digits, zeros at its end too, so that a column of them is aligned."""
    if not is_comparable(value):
        return _short(value)
    number = float(str(value))
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e12 else f"{number:#.4g}"
