"""Charts as plotly Figures. Texts of experiments are escaped: plotly reads some HTML in titles, labels and hover texts."""

from __future__ import annotations

import html
from collections.abc import Sequence
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

GRID = "rgba(128,128,128,0.22)"
GROUND, LABEL = "rgba(255,255,255,0.72)", "label"  # a page may look for this name, and give another ground
LEGEND, HEADING, BETWEEN = 34, 64, 80.0  # pixels


def figure(chart: Chart, bare: bool = False) -> Any:
    """The Figure of a chart. ``bare``: without title and note, and with no background of its own, for a page that has them."""
    optional("plotly", "plots", "a picture")
    from plotly.graph_objects import Figure
    from plotly.subplots import make_subplots

    rows = -(-len(chart.panels) // chart.columns)
    heights = [max(p.height for p in chart.panels[r * chart.columns : (r + 1) * chart.columns]) for r in range(rows)]
    if len(chart.panels) == 1:
        made = Figure()
    else:
        total = sum(heights) + BETWEEN * (rows - 1)
        made = make_subplots(
            rows,
            chart.columns,
            subplot_titles=[_title(panel) for panel in chart.panels],
            row_heights=[height / sum(heights) for height in heights],
            vertical_spacing=BETWEEN / total if rows > 1 else 0.0,
            horizontal_spacing=min(0.25 / chart.columns, 0.09),
        )
    in_legend: set[str] = set()
    bars = 0
    for place, panel in enumerate(chart.panels):
        at = {} if len(chart.panels) == 1 else {"row": place // chart.columns + 1, "col": place % chart.columns + 1}
        for mark in panel.marks:
            shown = _has_bar(mark) and not bars
            bars += shown
            for trace in _traces(mark, shown):
                name = trace.name or ""
                trace.showlegend = bool(name) and name not in in_legend
                trace.legendgroup = name or None
                in_legend.add(name)
                made.add_trace(trace, **at)
        made.update_xaxes(_axis(with_log_ticks(panel.x, panel, 0)), **at)
        made.update_yaxes(_axis(with_log_ticks(panel.y, panel, 1)), **at)
        for mark in panel.marks:
            if isinstance(mark, Labels):
                _label(made, mark, at)
    has_legend = len(in_legend - {""}) > 0
    _lay_out(made, chart, sum(heights) + BETWEEN * (rows - 1), has_legend, bare)
    return made


def single(chart: Chart, panel: Panel) -> Chart:
    """One panel of a chart as a chart."""
    return chart._replace(panels=[panel._replace(title="")], title=panel.title or chart.title, columns=1)


def _title(panel: Panel) -> str:
    """What stands above a panel, unless its axis says it already."""
    return "" if panel.title == panel.x.title else escaped(cut(panel.title, TITLE))


def _label(made: Any, mark: Labels, at: dict[str, int]) -> None:
    """Texts on a ground of their own: lines pass behind them."""
    for x, y, text in zip(mark.x.tolist(), mark.y.tolist(), mark.texts, strict=True):
        made.add_annotation(x=x, y=y, text=escaped(text), showarrow=False, xanchor="left", xshift=3, font={"size": 10},
                            bgcolor=GROUND, borderpad=1, name=LABEL, **at)  # fmt: skip


def escaped(text: str) -> str:
    """A plain text as plotly shows it: nothing in it is markup."""
    return html.escape(text, quote=False).replace("\n", "<br>")


def _lay_out(made: Any, chart: Chart, height: float, has_legend: bool, bare: bool) -> None:
    top = 34 if bare and len(chart.panels) > 1 else 26 if bare else HEADING
    made.update_layout(
        height=height + top + 40 + (LEGEND if has_legend else 0),
        margin={"l": 60, "r": 16, "t": top, "b": 44 + (LEGEND if has_legend else 0)},
        font={"family": "system-ui, sans-serif", "size": 12},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        hoverlabel={"align": "left"},
        hovermode="closest",
        barmode="overlay",
        bargap=0.3,
        template={},
    )
    if bare:
        clear = "rgba(0,0,0,0)"
        made.update_layout(paper_bgcolor=clear, plot_bgcolor=clear, modebar={"bgcolor": clear, "color": "#8b919b"})
        return
    note = f"<br><sub>{escaped(chart.note)}</sub>" if chart.note else ""
    made.update_layout(
        title={"text": escaped(chart.title) + note, "x": 0, "xref": "paper", "font": {"size": 16}, "y": 0.98, "yanchor": "top",
               "yref": "container"},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font_color="#24292f",
    )  # fmt: skip


def _axis(axis: Axis) -> dict[str, Any]:
    made: dict[str, Any] = {
        "title": {"text": escaped(cut(axis.title, TITLE)), "standoff": 8},
        "gridcolor": GRID,
        "showgrid": axis.grid,
        "zeroline": False,
        "linecolor": "rgba(128,128,128,0.6)",
        "showline": True,
        "ticks": "outside",
        "tickcolor": "rgba(128,128,128,0.6)",
        "automargin": True,
    }
    made["type"] = "log" if axis.log else "linear"
    if axis.labels is not None:
        made |= {"tickvals": list(range(len(axis.labels))), "ticktext": [escaped(cut(label, TICK)) for label in axis.labels]}
        made["range"] = [-0.6, len(axis.labels) - 0.4]
        made["showgrid"] = False
    if axis.ticks is not None:
        made |= {"tickvals": list(axis.ticks[0]), "ticktext": [escaped(cut(text, TICK)) for text in axis.ticks[1]]}
    if axis.range is not None:
        made["range"] = [float(np.log10(end)) for end in axis.range] if axis.log else list(axis.range)
    return made


def _has_bar(mark: Mark) -> bool:
    return isinstance(mark, Heat) or (isinstance(mark, Points) and isinstance(mark.colour, Colours) and mark.colour.bar)


def _scale(is_reversed: bool) -> list[list[Any]]:
    colours = SCALE[::-1] if is_reversed else SCALE
    return [[k / (len(colours) - 1), colour] for k, colour in enumerate(colours)]


def _bar(title: str) -> dict[str, Any]:
    text = escaped(cut(title, TITLE))
    return {"title": {"text": text, "side": "right"}, "thickness": 12, "outlinewidth": 0, "len": 1.0, "tickfont": {"size": 10}}


def _hover(hover: Sequence[str] | None) -> dict[str, Any]:
    if hover is None:
        return {"hoverinfo": "skip"}
    return {"hoverinfo": "text", "hovertext": [escaped(text) for text in hover]}


def _traces(mark: Mark, bar: bool) -> list[Any]:
    from plotly import graph_objects as go

    if isinstance(mark, Points):
        return [_points(go, mark, bar)]
    if isinstance(mark, Line):
        line = {"color": mark.colour, "width": mark.width, "dash": "dash" if mark.dash else "solid"}
        shape = {"shape": "hv"} if mark.step else {}
        return [
            go.Scatter(x=mark.x, y=mark.y, mode="lines", name=escaped(mark.name), line=line | shape, opacity=mark.opacity,
                       connectgaps=False, **_hover(mark.hover))
        ]  # fmt: skip
    if isinstance(mark, Band):
        return [
            go.Scatter(
                x=np.concatenate([mark.x, mark.x[::-1]]),
                y=np.concatenate([mark.high, mark.low[::-1]]),
                fill="toself",
                mode="lines",
                line={"width": 0},
                fillcolor=_faint(mark.colour, mark.opacity),
                name=escaped(mark.name),
                hoverinfo="skip",
            )
        ]
    if isinstance(mark, Bars):
        return [_bars(go, mark)]
    if isinstance(mark, Labels):
        return []
    return [
        go.Heatmap(
            x=mark.x, y=mark.y, z=mark.z, zmin=mark.low, zmax=mark.high, colorscale=_scale(mark.reversed), showscale=bar,
            colorbar=_bar(mark.title), hoverongaps=False,
            hoverinfo="skip" if mark.hover is None else "text",
            hovertext=None if mark.hover is None else [[escaped(text) for text in row] for row in mark.hover],
        )
    ]  # fmt: skip


def _points(go: Any, mark: Points, bar: bool) -> Any:
    marker: dict[str, Any] = {"size": mark.size, "symbol": mark.symbol, "opacity": mark.opacity}
    if mark.symbol == "star":
        marker["line"] = {"width": 1, "color": "white"}  # seen on any ground
    if isinstance(mark.colour, Colours):
        c = mark.colour
        marker |= {"color": c.values, "cmin": c.low, "cmax": c.high, "colorscale": _scale(c.reversed), "showscale": bar}
        if bar:
            marker["colorbar"] = _bar(c.title)
    else:
        marker["color"] = mark.colour
    return go.Scatter(x=mark.x, y=mark.y, mode="markers", name=escaped(mark.name), marker=marker, **_hover(mark.hover))


def _bars(go: Any, mark: Bars) -> Any:
    where = {"y": mark.places, "x": mark.lengths} if mark.horizontal else {"x": mark.places, "y": mark.lengths}
    texts = {} if mark.texts is None else {"text": [escaped(t) for t in mark.texts], "textposition": "outside", "cliponaxis": False}
    return go.Bar(
        **where, base=mark.base, width=mark.thickness, orientation="h" if mark.horizontal else "v", name=escaped(mark.name),
        marker={"color": mark.colour, "line": {"width": 0}}, **texts, **_hover(mark.hover),
    )  # fmt: skip


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
