"""The status in a terminal: one block that is updated in place.

A run that is over within half a second shows its last block only: rich is not loaded before there is
something to watch.
"""

from __future__ import annotations

import math
import time as _time
from collections.abc import Callable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, TextIO

from fasttune.metric_values import whole_text
from fasttune.scope import where

from .base import (
    AUTO_KEYS,
    DRAWING_SHARE,
    ProgressReporter,
    Standing,
    StatusSnapshot,
    duration,
    is_number,
    look_up,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from fasttune.trial import Trial

FIRST_DRAWING_S = 0.5
INTERVAL_S = 0.25
ROWS = 8
PARAMETERS = 5
METRICS = 3
REASONS = 3

_MARKS = (
    ("RUNNING", "●", "cyan", "running"),
    ("TERMINATED", "✓", "green", "done"),
    ("ERROR", "✗", "red", "failed"),
    ("PAUSED", "‖", "yellow", "paused"),
    ("PENDING", "○", "bright_black", "waiting"),
)


class TerminalReporter(ProgressReporter):
    """Draws one block: a bar with what is done, counts by status, the best so far, and the trials at work."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = _time.monotonic,
    ) -> None:
        self._stream = stream
        self._console = console
        self._clock = clock
        self._live: Live | None = None
        self._next_time = math.inf
        self._total: int | None = None

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **more: Any,
    ) -> None:
        self._total = total_samples
        self.metric, self.mode = metric, mode
        self._live = None
        self._next_time = self._clock() + FIRST_DRAWING_S

    def should_report(self, trials: Sequence[Trial], done: bool = False) -> bool:
        return done or self._clock() >= self._next_time

    def report(self, trials: Sequence[Trial], done: bool, *sys_info: Any) -> None:
        began = self._clock()
        block = self.block(sys_info[0], done)
        if self._live is None:
            self._live = self._begin()
        self._live.update(block, refresh=True)
        if done:
            self._live.stop()
            self._live = None
        self._next_time = self._clock() + max(INTERVAL_S, DRAWING_SHARE * (self._clock() - began))

    def _begin(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        console = self._console or Console(file=self._stream, highlight=False)
        # Drawn when we say so: a thread of rich's own would draw in the middle of somebody's print.
        live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        live.start()
        return live

    # -------- the block, from top to bottom

    def block(self, snapshot: StatusSnapshot, done: bool) -> RenderableType:
        """What is drawn for this status."""
        from rich.console import Group

        lines: list[RenderableType] = [self._bar(snapshot, done), _counts(snapshot, done)]
        best = snapshot.leader
        if best is not None:
            lines.append(self._best(snapshot, best))
        lines += _failures(snapshot)
        if not done:
            lines += self._at_work(snapshot)
        if snapshot.message:
            lines.append(_text(snapshot.message, "yellow"))
        return Group(*lines, *_foot(snapshot, done))

    def _bar(self, snapshot: StatusSnapshot, done: bool) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        total = self._total if snapshot.total is None else snapshot.total
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
            count.append(f"  {share:3.0f} %", "bright_black")
        grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
        grid.add_column(ratio=1)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_row(bar, count, _time_text(snapshot, done))
        return grid

    def _best(self, snapshot: StatusSnapshot, best: Standing) -> RenderableType:
        line = _text("best ", "bright_black")
        line.append(f"{snapshot.best_words(self.metric or 'value')} ", "default")
        line.append(_measured(best.value), "bold green")
        line.append(f"{where(best.step)}  {best.trial_id}", "bright_black")
        for name, parameter in best.params.items():
            line.append(whole_text(f"  {name}="), "bright_black")
            line.append(_short(parameter), "default")
        line.no_wrap, line.overflow = True, "ellipsis"
        return line

    def _at_work(self, snapshot: StatusSnapshot) -> list[RenderableType]:
        """The running trials, if each of them is there long enough to be read."""
        running = snapshot.counts.get("RUNNING", 0)
        if running == 0 or running < snapshot.trials_per_s:
            return []
        shown = list(snapshot.rows("RUNNING", ROWS))
        if not shown:
            return []
        table = self._trial_table(shown)
        more = running - len(shown)
        rows: list[RenderableType] = [_text(""), table]
        if more > 0:
            rows.append(_text(f"and {more:,} more at work", "bright_black"))
        return [*rows, _text("")]

    def _trial_table(self, shown: Sequence[Trial]) -> Table:
        from rich.table import Table

        results = [trial.last_result or {} for trial in shown]
        metrics = self._metrics(results)
        names = dict.fromkeys(name for trial in shown for name in trial.evaluated_params)
        parameters = list(names)[:PARAMETERS]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
        table.add_column("trial", style="cyan", no_wrap=True)
        table.add_column("iter", justify="right", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        for name in metrics:
            table.add_column(
                whole_text(name), justify="right", no_wrap=True, style="bold" if name == self.metric else ""
            )
        for name in parameters:
            table.add_column(whole_text(name), justify="right", no_wrap=True, style="bright_black")
        for trial, result in zip(shown, results, strict=True):
            seconds = result.get("time_total_s")
            table.add_row(
                trial.trial_id,
                str(result.get("training_iteration", "")),
                "" if seconds is None else duration(seconds),
                *(_measured(look_up(result, name)) for name in metrics),
                *(_short(trial.evaluated_params.get(name)) for name in parameters),
            )
        return table

    def _metrics(self, results: Sequence[dict[str, Any]]) -> list[str]:
        """The metric that matters, then the first others that are numbers."""
        found = dict.fromkeys([self.metric] if self.metric is not None else [])
        for result in results:
            for name, value in result.items():
                if name not in AUTO_KEYS and is_number(value):
                    found.setdefault(name)
        return list(found)[:METRICS]


def _counts(snapshot: StatusSnapshot, done: bool) -> RenderableType:
    from rich.table import Table

    line = _text("")
    for status, mark, colour, word in _MARKS:
        number = snapshot.counts.get(status, 0)
        if number:
            line.append(f"{mark} ", colour)
            line.append(f"{number:,}", f"bold {colour}")
            line.append(f" {word}   ", "default")
    speed = f"{_rate(snapshot.trials_per_s)} trials/s   {_rate(snapshot.reports_per_s)} reports/s"
    grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(line, _text(speed, "bright_black"))
    return grid


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


def _time_text(snapshot: StatusSnapshot, done: bool) -> Text:
    text = _text(duration(snapshot.elapsed), "default")
    if not done and snapshot.eta_s is not None:
        text.append(f"  {duration(snapshot.eta_s)} left", "cyan")
    return text


def _foot(snapshot: StatusSnapshot, done: bool) -> list[RenderableType]:
    """On what the trials run, and where the results are; at the end only that."""
    lines = [_text(snapshot.path, "bright_black")] if snapshot.path else []
    resources = "  ·  ".join(part for part in (snapshot.resources, snapshot.scheduler.split("\n")[0]) if part)
    if resources and not done:
        lines.insert(0, _text(resources, "bright_black"))
    for line in lines:
        line.no_wrap, line.overflow = not done, "ellipsis"
    return [*lines]


def _text(content: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(whole_text(content), style=style)


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
    if not is_number(value):
        return _short(value)
    number = float(str(value))
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e12 else f"{number:#.4g}"


def _rate(number: float) -> str:
    if number >= 10_000_000:
        return f"{number / 1e6:.0f}M"
    if number >= 100_000:
        return f"{number / 1e3:,.0f}k"
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"
