"""Charts as matplotlib Figures, for files that do not move: PNG, SVG, PDF. Nothing here touches pyplot or its settings."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np

from fasttune.extras import optional
from fasttune.plot.chart import (
    SCALE,
    TICK,
    TITLE,
    Axis,
    Band,
    Bars,
    Chart,
    Colours,
    Heat,
    Labels,
    Line,
    Mark,
    Panel,
    Points,
    cut,
    with_log_ticks,
)

INK, FAINT = "#24292f", "#d5d8dd"
PIXELS = 100.0  # to an inch
WIDTH = 11.0  # inches
SYMBOLS = {"circle": "o", "x": "x", "star": "*", "diamond": "D"}


def figure(chart: Chart) -> Any:
    """The Figure of a chart; ``figure.savefig(path)`` writes it."""
    optional("matplotlib", "plots", "a picture with backend='matplotlib'")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(chart.columns, len(chart.panels))
    rows = -(-len(chart.panels) // columns)
    heights = [max(p.height for p in chart.panels[r * columns : (r + 1) * columns]) / PIXELS + 0.8 for r in range(rows)]
    made = Figure(figsize=(WIDTH, sum(heights) + 0.7), facecolor="white", layout="constrained")
    FigureCanvasAgg(made)
    axes = made.subplots(rows, columns, squeeze=False, gridspec_kw={"height_ratios": heights}).ravel()
    for axis in axes[len(chart.panels) :]:
        axis.set_visible(False)
    for panel, axis in zip(chart.panels, axes, strict=False):
        _panel(axis, panel)
    _bar(made, chart, axes)
    _legend(made, axes, "\n".join(textwrap.wrap(plain(chart.note), 150)))
    made.suptitle(plain(cut(chart.title, 110)), x=0.01, ha="left", fontsize=14, color=INK)
    return made


def plain(text: str) -> str:
    """A text in which nothing is a formula."""
    return text.replace("$", r"\$")


def _panel(axis: Any, panel: Panel) -> None:
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=9, colors=INK)
    if panel.title not in ("", panel.x.title):
        axis.set_title(plain(cut(panel.title, TITLE)), fontsize=10, color=INK)
    for place, mark in enumerate(panel.marks):
        _mark(axis, mark, 2 + 0.01 * place)
    _axis(axis, "x", with_log_ticks(panel.x, panel, 0))
    _axis(axis, "y", with_log_ticks(panel.y, panel, 1))


def _axis(axis: Any, which: str, told: Axis) -> None:
    from matplotlib.ticker import NullFormatter

    getattr(axis, f"set_{which}label")(plain(cut(told.title, TITLE)), fontsize=10, color=INK)
    if told.log:
        getattr(axis, f"set_{which}scale")("log")
        getattr(axis, f"{which}axis").set_minor_formatter(NullFormatter())
    if told.grid and told.labels is None:
        axis.grid(axis=which, color=FAINT, lw=0.6)
    ticks = told.ticks
    if told.labels is not None:
        ticks = list(range(len(told.labels))), told.labels
        getattr(axis, f"set_{which}lim")(-0.6, len(told.labels) - 0.4)
    if ticks is not None:
        crowded = which == "x" and sum(map(len, ticks[1])) > 40
        turned = {"rotation": 30, "ha": "right"} if crowded else {}
        texts = [plain(cut(text, TICK)) for text in ticks[1]]
        getattr(axis, f"set_{which}ticks")(list(ticks[0]), texts, **turned)
    if told.range is not None:
        getattr(axis, f"set_{which}lim")(*told.range)


def _mark(axis: Any, mark: Mark, order: float) -> None:
    label = plain(mark.name) if not isinstance(mark, Heat | Labels) and mark.name else "_"
    if isinstance(mark, Points):
        _points(axis, mark, order, label)
    elif isinstance(mark, Line):
        style = "steps-post" if mark.step else "default"
        axis.plot(mark.x, mark.y, color=mark.colour, lw=mark.width, ls="--" if mark.dash else "-", drawstyle=style,
                  alpha=mark.opacity, zorder=order, label=label)  # fmt: skip
    elif isinstance(mark, Band):
        axis.fill_between(mark.x, mark.low, mark.high, color=mark.colour, alpha=mark.opacity, lw=0, zorder=order, label=label)
    elif isinstance(mark, Bars):
        _bars(axis, mark, order, label)
    elif isinstance(mark, Labels):
        for x, y, text in zip(mark.x, mark.y, mark.texts, strict=True):
            box = {"facecolor": "white", "alpha": 0.72, "linewidth": 0, "pad": 1.0}
            axis.annotate(plain(text), (x, y), (4, 0), textcoords="offset points", va="center", fontsize=8, zorder=order, bbox=box)
    else:
        z = np.ma.masked_invalid(mark.z)
        shades = {"cmap": _map(mark.reversed), "vmin": mark.low, "vmax": mark.high}
        axis.pcolormesh(_edges(mark.x), _edges(mark.y), z, zorder=order, **shades)


def _edges(middles: Any) -> Any:
    """Borders of cells around their middles."""
    if len(middles) == 1:
        return np.array([middles[0] - 0.5, middles[0] + 0.5])
    between = (middles[1:] + middles[:-1]) / 2
    return np.concatenate([[2 * middles[0] - between[0]], between, [2 * middles[-1] - between[-1]]])


def _points(axis: Any, mark: Points, order: float, label: str) -> None:
    size: dict[str, Any] = {"s": mark.size**2, "marker": SYMBOLS[mark.symbol], "zorder": order, "alpha": mark.opacity, "label": label}
    if mark.symbol != "x":
        size |= {"linewidths": 0.7, "edgecolors": "white"} if mark.symbol == "star" else {"linewidths": 0}
    if isinstance(mark.colour, Colours):
        c = mark.colour
        axis.scatter(mark.x, mark.y, c=c.values, cmap=_map(c.reversed), vmin=c.low, vmax=c.high, **size)
    else:
        axis.scatter(mark.x, mark.y, color=mark.colour, **size)


def _bars(axis: Any, mark: Bars, order: float, label: str) -> None:
    base = 0.0 if mark.base is None else mark.base
    if mark.horizontal:
        drawn = axis.barh(mark.places, mark.lengths, mark.thickness, left=base, color=mark.colour, zorder=order, label=label)
    else:
        drawn = axis.bar(mark.places, mark.lengths, mark.thickness, base, color=mark.colour, zorder=order, label=label)
    if mark.texts is not None:
        axis.bar_label(drawn, [plain(text) for text in mark.texts], padding=3, fontsize=8.5, color=INK)
        axis.margins(x=0.12) if mark.horizontal else axis.margins(y=0.12)


def _map(is_reversed: bool) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("score", SCALE[::-1] if is_reversed else SCALE)


def _bar(made: Any, chart: Chart, axes: Any) -> None:
    """A bar for the first colours that want one; all of a chart share it."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    for panel in chart.panels:
        for mark in panel.marks:
            told: Any = mark if isinstance(mark, Heat) else getattr(mark, "colour", None)
            if isinstance(told, Heat) or (isinstance(told, Colours) and told.bar):
                shades = ScalarMappable(Normalize(told.low, told.high), _map(told.reversed))
                drawn = [axis for axis in axes if axis.get_visible()]
                made.colorbar(shades, ax=drawn, label=plain(cut(told.title, TITLE)), fraction=0.04, pad=0.01, aspect=40)
                return


def _legend(made: Any, axes: Any, note: str) -> None:
    """The legend below the picture, and the note below that."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries or note:
        columns = min(len(entries), max(1, math.floor(85 / max(map(len, entries))))) if entries else 1
        drawn = made.legend(list(entries.values()), list(entries), loc="outside lower left", ncols=columns, fontsize=9, frameon=False,
                            title=note or None, title_fontsize=8.5, alignment="left")  # fmt: skip
        drawn.get_title().set_color("#666666")
