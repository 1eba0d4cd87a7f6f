"""Figures: every picture in both libraries, and what a reader sees in them."""

from __future__ import annotations

import html
import sys
from io import BytesIO
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.figure import Figure
from searched import HOSTILE

import fasttune as tune
from fasttune import plot
from fasttune.plot.chart import Axis, Bars, Chart, Labels, Line, Panel, Points
from fasttune.plot.data import ExperimentData
from fasttune.plot.draw_matplotlib import figure as static
from fasttune.plot.draw_plotly import figure as moving

OF_SEVERAL = {"metrics": {"loss": "min", "seconds": "min"}}
ARGUMENTS: dict[str, dict[str, Any]] = {"pareto": OF_SEVERAL, "hypervolume": OF_SEVERAL}
OF_POPULATIONS = ("lineage",)
NAMES = list(plot.PICTURES)


def draw(name: str, backend: str, asha: ExperimentData, population: ExperimentData, **more: Any) -> Any:
    experiment = population if name in OF_POPULATIONS else asha
    return plot.PICTURES[name](experiment, **ARGUMENTS.get(name, {}), **more, backend=backend)


def texts_of(figure: Any) -> list[str]:
    return [text for trace in figure.data for text in np.ravel(trace.hovertext if trace.hovertext is not None else []).tolist()]


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_in_plotly(name: str, asha: ExperimentData, population: ExperimentData) -> None:
    figure = draw(name, "plotly", asha, population)
    assert isinstance(figure, go.Figure)
    assert figure.layout.title.text
    assert any(trace.x is not None and len(trace.x) for trace in figure.data)
    titles = [axis.title.text for axis in figure.select_xaxes()] + [axis.title.text for axis in figure.select_yaxes()]
    assert any(titles) or figure.layout.xaxis.ticktext  # parallel axes have their names as ticks
    assert texts_of(figure) or name == "edf"


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_in_matplotlib(name: str, asha: ExperimentData, population: ExperimentData) -> None:
    few = {"params": ["lr", "act"]} if name in ("slices", "contour", "rank") else {}
    figure = draw(name, "matplotlib", asha, population, **few)
    assert isinstance(figure, Figure)
    file = BytesIO()
    figure.savefig(file, format="svg")
    drawn = file.getvalue().decode()
    assert drawn.count("<path") > 10
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize("name", ["history", "curves", "parallel", "slices", "contour", "rank", "pareto"])
def test_hover_texts_tell_the_trial_and_its_config(name: str, asha: ExperimentData, population: ExperimentData) -> None:
    best = asha.analysis.best_trial
    texts = [text for text in texts_of(draw(name, "plotly", asha, population)) if f"trial {best.trial_id}" in text]
    assert any(f"lr = {best.config['lr']:.6g}" in text and f"act = {best.config['act']}" in text for text in texts)


def test_axes_are_those_of_the_space(asha: ExperimentData) -> None:
    figure = plot.slices(asha, params=["lr", "width", "act", "batch"])
    lr, width, act, batch = list(figure.select_xaxes())[:4]
    assert [axis.title.text for axis in (lr, width, act, batch)] == ["lr", "width", "act", "batch"]
    assert (lr.type, width.type) == ("log", "linear")
    np.testing.assert_allclose(10 ** np.array(lr.range), [1e-4, 1.0], rtol=0.4)
    assert list(act.ticktext) == ["relu", "tanh", "gelu"]
    assert list(batch.ticktext) == ["32", "64", "128"]
    assert next(iter(figure.select_yaxes())).title.text == "last loss (min)"


def test_markup_in_names_and_values_stays_text(hostile: Any) -> None:
    analysis = tune.ExperimentAnalysis(hostile)
    for name in ("history", "curves", "parallel", "slices", "contour", "rank", "edf", "importances", "timeline"):
        shown = str(getattr(analysis.plot, name)().to_dict())
        assert "<script" not in shown, name
        assert "<img" not in shown, name
        assert "<b>1" not in shown, name
    assert any(f"{html.escape(HOSTILE, quote=False)} = " in text for text in texts_of(analysis.plot.history()))


def test_dollars_are_no_formulas_in_matplotlib(hostile: Any) -> None:
    experiment = ExperimentData(hostile)
    for name in ("history", "parallel", "importances"):  # titles, ticks, labels
        plot.PICTURES[name](experiment, backend="matplotlib").draw_without_rendering()


def test_two_experiments_in_one_distribution(asha: ExperimentData, wide: ExperimentData) -> None:
    figure = plot.edf(asha, wide)
    assert [trace.name.split(" (")[1] for trace in figure.data] == ["120 trials)", "400 trials)"]


def test_a_chart_means_the_same_to_both_drawers() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 1000.0])
    marks = [Points(x, y, "a", hover=["p", "q", "r"]), Line(x, y, "b"), Labels(x[:1], y[:1], ["here"])]
    bars = Bars(np.array([0.0, 1.0]), np.array([2.0, 3.0]), "c", base=np.array([1.0, 0.0]))
    one = Panel(marks, Axis("across"), Axis("up", log=True), "one")
    chart = Chart("title", [one, Panel([bars], Axis("long"), Axis("", labels=["k", "l"]), "two")], "note", 2)
    plotly, matplotlib = moving(chart), static(chart)
    left, right = matplotlib.axes[:2]
    assert (left.get_xlabel(), left.get_ylabel(), left.get_yscale()) == ("across", "up", "log")
    assert (plotly.layout.xaxis.title.text, plotly.layout.yaxis.title.text, plotly.layout.yaxis.type) == ("across", "up", "log")
    assert [text.get_text() for text in left.get_yticklabels()] == list(plotly.layout.yaxis.ticktext) == ["1", "10", "100", "1000"]
    assert [text.get_text() for text in right.get_yticklabels()] == list(plotly.layout.yaxis2.ticktext) == ["k", "l"]
    assert [(p.get_x(), p.get_width()) for p in right.patches] == [(1.0, 2.0), (0.0, 3.0)]
    assert list(plotly.data[2].base) == [1.0, 0.0]
    assert "note" in plotly.layout.title.text
    assert [a.text for a in plotly.layout.annotations] == ["one", "two", "here"]


def test_pictures_of_an_analysis_by_name(asha: ExperimentData) -> None:
    analysis = asha.analysis
    assert dir(analysis.plot) == sorted(NAMES)
    assert isinstance(analysis.plot.history(over="time"), go.Figure)
    with pytest.raises(AttributeError, match="there is no picture 'histogram'; there are history, curves"):
        analysis.plot.histogram()
    with pytest.raises(TypeError, match="unexpected keyword"):
        analysis.plot.history(colour="red")
    with pytest.raises(ValueError, match="backend must be one of plotly, matplotlib, got 'bokeh'"):
        analysis.plot.history(backend="bokeh")
    with pytest.raises(ValueError, match="pareto needs two metrics or more"):
        analysis.plot.pareto({"loss": "min"})


def test_a_missing_library_says_what_to_install(asha: ExperimentData, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "plotly"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(ImportError, match=r"pip install 'fasttune\[plots\]'"):
        plot.history(asha)
    with pytest.raises(ImportError, match=r"pip install 'fasttune\[plots\]'"):
        plot.report(asha, "never.html")
