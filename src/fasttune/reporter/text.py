"""Plain text: the status block that users of tuners know, a quiet log, and one line for each result."""

from __future__ import annotations

import math
import sys
import time as _time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from fasttune.callback import Callback
from fasttune.failure import reason_of
from fasttune.metric_values import whole_text
from fasttune.scope import where

from .base import (
    AUTO_KEYS,
    ProgressReporter,
    StatusSnapshot,
    Table,
    TableReporter,
    duration,
    number_line,
    time_line,
)
from .table import draw_table

if TYPE_CHECKING:
    from fasttune.trial import Trial

LOG_INTERVAL_S = 20.0  # with the first and the last lines: at most five in any minute
RESULT_INTERVAL_S = 5.0
MOST_RESULT_LINES = 400  # at once
RESULT_LINES_PER_S = 20.0  # more, later


class CLIReporter(TableReporter):
    """Prints the status and the table of trials as text. The arguments are those of TableReporter."""

    def show(self, snapshot: StatusSnapshot, done: bool) -> None:
        print(whole_text(self.status_block(snapshot, done)) + "\n", flush=True)

    def status_block(self, snapshot: StatusSnapshot, done: bool) -> str:
        """The text of one report."""
        lines = ["== Status ==", time_line(snapshot.time, snapshot.elapsed)]
        lines += [snapshot.scheduler] if snapshot.scheduler else []
        lines += [f"Logical resource usage: {snapshot.resources}"] if snapshot.resources else []
        best = self.best_line(snapshot)
        lines += [best] if best else []
        lines += [snapshot.message] if snapshot.message else []
        lines.append(self.progress_text(snapshot, done))
        if snapshot.counts.get("ERROR", 0):
            lines.append(f"Number of errored trials: {snapshot.counts['ERROR']}")
            lines.append(_drawn(self.error_table(snapshot)))
        lines += [str(reason) for reason in snapshot.reasons]
        return "\n".join(lines)

    def progress_text(self, snapshot: StatusSnapshot, done: bool) -> str:
        """Where the results go, how many trials there are, and the table of trials."""
        lines = [f"Result logdir: {snapshot.path}"] if snapshot.path else []
        lines.append(number_line(snapshot, self.total_samples))
        if snapshot.started and self.shows_table(done):
            lines.append(_drawn(self.trial_table(snapshot, done)))
        return "\n".join(lines)


def _drawn(table: Table) -> str:
    text = draw_table(table.titles, table.rows)
    return f"{text}\n{table.left_out}" if table.left_out else text


class LogReporter(ProgressReporter):
    """Plain lines for output that nobody watches: at the start, every 20 seconds, and at the end."""

    def __init__(self, stream: TextIO | None = None, *, clock: Callable[[], float] = _time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._next_time = -math.inf
        self._began = False
        self._said = 0  # kinds of reasons
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
        self._next_time, self._began, self._said = -math.inf, False, 0

    def should_report(self, trials: Sequence[Trial], done: bool = False) -> bool:
        return done or self._clock() >= self._next_time

    def report(self, trials: Sequence[Trial], done: bool, *sys_info: Any) -> None:
        snapshot: StatusSnapshot = sys_info[0]
        if not self._began:
            self._write(self.first_line(snapshot))
        elif not done:
            self._write(self.status_line(snapshot))
        for reason in snapshot.reasons[self._said :]:
            self._write(f"failed: {reason}")
        self._said = len(snapshot.reasons)
        if done:
            self._write(self.last_lines(snapshot))
        self._began = True
        self._next_time = self._clock() + LOG_INTERVAL_S

    def first_line(self, snapshot: StatusSnapshot) -> str:
        """What is about to run, and where it is stored."""
        total = self._total if snapshot.total is None else snapshot.total
        trials = "trials" if total is None else f"{total:,} trial{'s' if total != 1 else ''}"
        return f"fasttune: {trials}, stored in {snapshot.path}"

    def status_line(self, snapshot: StatusSnapshot) -> str:
        """How far the run is, in one line."""
        total = self._total if snapshot.total is None else snapshot.total
        of = "" if total is None else f"/{total:,}"
        parts = [f"{duration(snapshot.elapsed)}: {snapshot.finished:,}{of} trials done"]
        parts.append(f"{snapshot.counts.get('RUNNING', 0):,} running")
        if snapshot.counts.get("PAUSED", 0):
            parts.append(f"{snapshot.counts['PAUSED']:,} paused")
        if snapshot.counts.get("ERROR", 0):
            parts.append(f"{snapshot.counts['ERROR']:,} failed")
        best = snapshot.leader
        if best is not None:
            words = snapshot.best_words(self.metric or "value")
            parts.append(f"best {words} {best.value:.6g}{where(best.step)} ({best.trial_id}{', failed' if best.failed else ''})")
        if snapshot.front is not None:
            parts.append(snapshot.front.words())
        if snapshot.eta_s is not None:
            parts.append(f"{duration(snapshot.eta_s)} left")
        line = ", ".join(parts)
        return f"{line}. {snapshot.message}" if snapshot.message else line

    def last_lines(self, snapshot: StatusSnapshot) -> str:
        """How the run ended, and the best of it."""
        finished, failed = snapshot.counts.get("TERMINATED", 0), snapshot.counts.get("ERROR", 0)
        waiting = snapshot.counts.get("PENDING", 0)
        open_ones = snapshot.started - finished - failed - waiting
        parts = [f"fasttune: {finished:,} trial{'s' if finished != 1 else ''} ended in {duration(snapshot.elapsed)}"]
        parts += [f"{failed:,} failed"] if failed else []
        parts += [f"{open_ones:,} did not end"] if open_ones else []
        parts += [f"{waiting:,} still to run"] if waiting else []
        lines = ", ".join(parts) + (f". {snapshot.message}" if snapshot.message else "")
        if snapshot.front is not None:
            lines += f"\n{snapshot.front.words()}"
        best = snapshot.leader
        if best is None:
            return lines
        words = snapshot.best_words(self.metric or "value")
        by = f"by trial {best.by} with {dict(best.params)}"
        return f"{lines}\nbest {words} {best.value:.6g}{where(best.step)} {by}"

    def _write(self, text: str) -> None:
        print(whole_text(text), file=self._stream or sys.stdout, flush=True)


class ResultLines(Callback):
    """Prints what trials report: one line each, or with ``full`` every value.

    A trial's results are printed at most every five seconds, its last one always. All of them together are at most 400
    lines, and 20 more for each second: what is left out is counted, and the count printed. Failures are always printed.
    """

    def __init__(
        self,
        full: bool = False,
        stream: TextIO | None = None,
        *,
        clock: Callable[[], float] = _time.monotonic,
    ) -> None:
        self._full = full
        self._stream = stream
        self._clock = clock
        self._next_time: dict[str, float] = {}
        self._room = float(MOST_RESULT_LINES)  # lines that may be printed now
        self._room_at = clock()
        self._left_out = 0

    def on_trial_result(
        self, iteration: int, trials: Sequence[Trial], trial: Trial, result: dict[str, Any], **more: Any
    ) -> None:
        now = self._clock()
        if not result.get("done") and now < self._next_time.get(trial.trial_id, -math.inf):
            return
        self._next_time[trial.trial_id] = now + RESULT_INTERVAL_S
        if self._has_room():
            self._write(full_result(trial, result) if self._full else result_line(trial, result))

    def on_trial_complete(self, iteration: int, trials: Sequence[Trial], trial: Trial, **more: Any) -> None:
        self._next_time.pop(trial.trial_id, None)
        if self._has_room():
            self._write(f"Trial {trial} completed: {_numbers(trial.last_result or {})}")

    def on_trial_error(self, iteration: int, trials: Sequence[Trial], trial: Trial, **more: Any) -> None:
        self._next_time.pop(trial.trial_id, None)
        error = trial.get_error()
        why = "no report of why" if error is None else reason_of(error)
        self._write(f"Trial {trial} failed: {why}")

    def on_experiment_end(self, trials: Sequence[Trial], **more: Any) -> None:
        self._say_left_out()

    def _has_room(self) -> bool:
        """Whether more may be printed now; else it is counted as left out."""
        now = self._clock()
        self._room = min(MOST_RESULT_LINES, self._room + RESULT_LINES_PER_S * (now - self._room_at))
        self._room_at = now
        # once it was full it has to be emptier by some, so that not every other line is the count of what was left out
        if self._room < (RESULT_LINES_PER_S if self._left_out else 1):
            self._left_out += 1
            return False
        self._say_left_out()
        return True

    def _say_left_out(self) -> None:
        if self._left_out:
            number, self._left_out = self._left_out, 0
            self._write(f"... {number:,} more results and ends of trials not shown; all are in the experiment's folder")

    def _write(self, text: str) -> None:
        self._room -= text.count("\n") + 1
        print(whole_text(text), file=self._stream or sys.stdout, flush=True)


def result_line(trial: Trial, result: Mapping[str, Any]) -> str:
    """ "Trial f_ab12c_00000 iteration 3: score=0.5, parameters {'a': 1}"."""
    return (
        f"Trial {trial} iteration {result.get('training_iteration', '?')}: {_numbers(result)}, "
        f"parameters {trial.evaluated_params}"
    )


def full_result(trial: Trial, result: Mapping[str, Any]) -> str:
    """Every value of a result, nested as it was reported."""
    shown = {key: value for key, value in result.items() if key != "config"}
    return "\n".join([f"Result for {trial}:", *_outline(shown, "  "), ""])


def _outline(value: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for key in sorted(value, key=str):
        item = value[key]
        if isinstance(item, Mapping) and item:
            lines.append(f"{indent}{key}:")
            lines.extend(_outline(item, indent + "  "))
        else:
            lines.append(f"{indent}{key}: {item}")
    return lines


def _numbers(result: Mapping[str, Any]) -> str:
    own = {key: value for key, value in result.items() if key not in AUTO_KEYS}
    return ", ".join(f"{key}={value}" for key, value in own.items()) or "nothing reported"
