"""The picture of a benchmark: horizontal bars on a logarithmic scale, a colour for each executor."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from fasttune.extras import optional

if TYPE_CHECKING:
    from fasttune.bench.report import BenchmarkReport, Row

COLOURS = {"inline": "#2f6f9f", "process": "#e08a2c", "thread": "#4d9a5b"}
INK, FAINT = "#222222", "#8a8a8a"
PANELS = (
    ("trials_per_s", "trials a second"),
    ("reports_per_s", "reports a second"),
    ("decisions_per_s", "decisions a second"),
)
BARS = 0.72  # of the distance of two rows: the bars of all executors together


def draw(report: BenchmarkReport, path: str | os.PathLike[str]) -> None:
    """Write the picture to a file; see ``BenchmarkReport.plot``."""
    agg = optional("matplotlib.backends.backend_agg", "plots", "the picture of a benchmark")
    figures = optional("matplotlib.figure", "plots", "the picture of a benchmark")
    rows = [row for row in report.rows if not row.error]
    titles = list(dict.fromkeys(row.title for row in rows))
    figure = figures.Figure(figsize=(12.5, 1.9 + 0.52 * max(1, len(titles))), facecolor="white")
    agg.FigureCanvasAgg(figure)
    height = figure.get_figheight()
    axes = figure.subplots(1, len(PANELS), sharey=True)
    figure.subplots_adjust(left=0.2, right=0.965, top=1 - 1.15 / height, bottom=0.55 / height, wspace=0.1)
    for axis, (name, title) in zip(axes, PANELS, strict=True):
        _panel(axis, rows, titles, name, title)
    axes[0].set_yticks(range(len(titles)), titles, fontsize=10, color=INK)
    axes[0].set_ylim(len(titles) - 0.4, -0.6)
    _words(figure, report, rows)
    figure.savefig(path, dpi=150)


def _panel(axis: Any, rows: list[Row], titles: list[str], name: str, title: str) -> None:
    executors = list(dict.fromkeys(row.executor for row in rows))
    bar = BARS / max(1, len(executors))
    values = [value for row in rows if (value := getattr(row, name))]
    low, high = (10 ** math.floor(math.log10(min(values) / 1.5)), max(values) * 6) if values else (1.0, 10.0)
    for row in rows:
        value = getattr(row, name)
        if not value:
            continue
        offset = (executors.index(row.executor) - (len(executors) - 1) / 2) * bar
        place = titles.index(row.title) + offset
        axis.barh(place, value - low, bar * 0.92, left=low, color=COLOURS.get(row.executor, FAINT), zorder=2)
        axis.text(value, place, f" {short(value)}", va="center", fontsize=8, color=INK)
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    decades = [10.0**power for power in range(round(math.log10(low)), math.floor(math.log10(high)) + 1)]
    axis.set_xticks(decades, [short(decade) for decade in decades])
    axis.set_title(title, fontsize=10.5, color=INK, loc="left", pad=6)
    axis.tick_params(axis="both", length=0, labelsize=8, labelcolor=FAINT)
    axis.tick_params(axis="y", labelcolor=INK)
    axis.minorticks_off()
    axis.grid(axis="x", color="#e6e6e6", linewidth=0.8, zorder=0)
    for side in ("top", "right", "bottom", "left"):
        axis.spines[side].set_visible(False)


def _words(figure: Any, report: BenchmarkReport, rows: list[Row]) -> None:
    from matplotlib.patches import Patch

    height = figure.get_figheight()
    headline = report.headline.removeprefix("this machine: ")
    figure.text(0.012, 1 - 0.3 / height, headline, fontsize=14, fontweight="bold", color=INK, va="center")
    figure.text(0.012, 1 - 0.58 / height, str(report.machine), fontsize=9, color=FAINT, va="center")
    patches = [Patch(color=COLOURS.get(name, FAINT), label=name) for name in sorted({row.executor for row in rows})]
    figure.legend(
        handles=patches, loc="lower left", ncols=2, frameon=False, fontsize=9, bbox_to_anchor=(0.005, 0.02 / height)
    )
    busy = f"; load average {report.machine.load_before:.1f}" if report.busy else ""
    figure.text(
        0.965, 0.2 / height, f"fasttune bench, {report.machine.date}{busy}", fontsize=8, color=FAINT, ha="right"
    )


def short(value: float) -> str:
    """Three digits at most: 731k, 3.03M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
