"""The last step of every picture: a Chart becomes a Figure of the library that was asked for."""

from __future__ import annotations

from typing import Any

from fasttune.plot.chart import Chart

BACKENDS = ("plotly", "matplotlib")


def drawn(chart: Chart, backend: str) -> Any:
    """A plotly or a matplotlib Figure. ValueError for another backend, ImportError that says what to install."""
    if backend == "plotly":
        from fasttune.plot import draw_plotly

        return draw_plotly.figure(chart)
    if backend == "matplotlib":
        from fasttune.plot import draw_matplotlib

        return draw_matplotlib.figure(chart)
    raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
