"""The status as HTML, updated in place below the cell of a notebook."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from fasttune.metric_values import whole_text
from fasttune.result import is_real
from fasttune.scope import where

from .base import SCAN_LIMIT, StatusSnapshot, Table, TableReporter, duration, number_line, rate

_COLOURS = {
    "RUNNING": "#2f81f7",
    "PAUSED": "#9a6700",
    "PENDING": "#8b949e",
    "TERMINATED": "#2da44e",
    "ERROR": "#cf222e",
}
_CELL = "padding:2px 10px;text-align:{align};white-space:nowrap;border-bottom:1px solid rgba(128,128,128,.25)"


class JupyterNotebookReporter(TableReporter):
    """Shows the status in a notebook. With ``overwrite`` one block is updated, else each report adds one.

    The other arguments are those of TableReporter. The last table has no more rows than those before, the best trials first:
    a page with a thousand rows is slow to open for as long as the notebook is kept.
    """

    final_rows = 0

    def __init__(
        self,
        overwrite: bool = True,
        metric_columns: Sequence[str] | Mapping[str, str] | None = None,
        parameter_columns: Sequence[str] | Mapping[str, str] | None = None,
        total_samples: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(metric_columns, parameter_columns, total_samples, **options)
        self._overwrite = overwrite
        self._block: Any = None

    @classmethod
    def block(cls) -> JupyterNotebookReporter:
        """The reporter of a run that was given none: one block of at most twenty rows."""
        return cls(
            max_progress_rows=15, max_error_rows=5, max_report_frequency=0.5, print_intermediate_tables=True
        )

    def catches(self) -> tuple[int, ...]:
        """Both, in a kernel: what processes write there is shown by some front ends, in pieces, and lost by others."""
        return (1, 2) if "ipykernel" in sys.modules else ()

    def show_prints(self, lines: str) -> None:
        sys.stdout.write(lines)
        sys.stdout.flush()

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **more: Any,
    ) -> None:
        super().setup(start_time, total_samples, metric, mode, **more)
        self._block = None  # a second run in the same cell has a block of its own

    def show(self, snapshot: StatusSnapshot, done: bool) -> None:
        import importlib

        try:
            shown = importlib.import_module("IPython.display")
        except ImportError as error:
            raise ImportError("JupyterNotebookReporter needs IPython: pip install ipython") from error
        page = shown.HTML(self.html(snapshot, done))
        if self._overwrite and self._block is not None:
            self._block.update(page)
        else:
            self._block = shown.display(page, display_id=True)

    def html(self, snapshot: StatusSnapshot, done: bool) -> str:
        """The page of one report."""
        parts = [_bar(snapshot, self.total_samples), _facts(self._fact_rows(snapshot))]
        if snapshot.started and self.shows_table(done):
            parts.append(_table(self.trial_table(snapshot, done)))
        if snapshot.counts.get("ERROR", 0):
            parts.append(f"<b>Number of errored trials: {snapshot.counts['ERROR']}</b>")
            parts.append(_table(self.error_table(snapshot)))
        parts += [f"<pre>{escape(str(reason))}</pre>" for reason in snapshot.reasons]
        return f'<div class="fasttune-status" style="font-size:90%">{"".join(parts)}</div>'

    def trial_table(self, snapshot: StatusSnapshot, done: bool) -> Table:
        asked = self.sort_by_metric
        # the last one, of which few rows are left, has the best; that looks at all of them
        self.sort_by_metric = asked or (done and snapshot.finished <= SCAN_LIMIT)
        try:
            return super().trial_table(snapshot, done)
        finally:
            self.sort_by_metric = asked

    def _fact_rows(self, snapshot: StatusSnapshot) -> list[tuple[str, str]]:
        rows = [("Running for", duration(snapshot.elapsed))]
        rows.append(("Trials", number_line(snapshot, self.total_samples).removeprefix("Number of trials: ")))
        best = snapshot.leader
        if best is not None:
            words = snapshot.best_words(self.metric or self._guessed)
            by = f"by {best.by} with {dict(best.params)}"
            rows.append((f"Best {words}", f"{best.value}{where(best.step)} {by}"))
        if snapshot.front is not None:
            rows.append(("Pareto front", snapshot.front.words()))
        if snapshot.eta_s and not snapshot.over:
            rows.append(("Left", duration(snapshot.eta_s)))
        if snapshot.reports_per_s:
            rows.append(("Rates", f"{rate(snapshot.trials_per_s, 'trials')}, {rate(snapshot.reports_per_s, 'reports')}"))
        rows += [
            (title, text)
            for title, text in (
                ("Scheduler", snapshot.scheduler),
                ("Resources", snapshot.resources),
                ("Stored in", snapshot.path),
                ("Note", snapshot.message),
            )
            if text
        ]
        return rows


def _bar(snapshot: StatusSnapshot, total: int | None) -> str:
    """A bar with a stretch for each status."""
    whole = max(snapshot.started, snapshot.total or total or 0, 1)
    stretches = "".join(
        f'<div style="width:{100 * snapshot.counts[status] / whole:.2f}%;background:{colour}" '
        f'title="{snapshot.counts[status]} {status}"></div>'
        for status, colour in (
            ("TERMINATED", _COLOURS["TERMINATED"]),
            ("ERROR", _COLOURS["ERROR"]),
            ("RUNNING", _COLOURS["RUNNING"]),
            ("PAUSED", _COLOURS["PAUSED"]),
        )
        if snapshot.counts.get(status, 0)
    )
    return (
        '<div style="display:flex;height:8px;max-width:640px;border-radius:4px;overflow:hidden;'
        f'background:rgba(128,128,128,.25);margin:4px 0">{stretches}</div>'
    )


def _facts(rows: Sequence[tuple[str, str]]) -> str:
    lines = "".join(
        f'<tr><td style="{_CELL.format(align="left")}"><b>{escape(title)}</b></td>'
        f'<td style="{_CELL.format(align="left")}">{escape(text)}</td></tr>'
        for title, text in rows
    )
    return f'<table style="border-collapse:collapse;margin:4px 0">{lines}</table>'


def _table(table: Table) -> str:
    head = "".join(f'<th style="{_CELL.format(align="left")}">{escape(title)}</th>' for title in table.titles)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in table.rows)
    left_out = f"<div>{escape(table.left_out)}</div>" if table.left_out else ""
    return (
        '<table style="border-collapse:collapse;margin:4px 0">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{left_out}"
    )


def _cell(cell: object) -> str:
    if is_real(cell):
        return f'<td style="{_CELL.format(align="right")};font-variant-numeric:tabular-nums">{cell:.6g}</td>'
    text = "" if cell is None else whole_text(str(cell))
    colour = f";color:{_COLOURS[text]}" if text in _COLOURS else ""
    return f'<td style="{_CELL.format(align="left")}{colour}">{escape(text)}</td>'
