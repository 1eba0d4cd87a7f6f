"""Reporters: what people see while a run goes on. ``default_reporter`` picks the one that fits the output."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from .base import ProgressReporter as ProgressReporter
from .base import StatusSnapshot as StatusSnapshot
from .base import TableReporter as TableReporter
from .notebook import JupyterNotebookReporter as JupyterNotebookReporter
from .terminal import TerminalReporter as TerminalReporter
from .text import CLIReporter as CLIReporter
from .text import LogReporter as LogReporter
from .text import ResultLines as ResultLines

__all__ = [
    "CLIReporter",
    "JupyterNotebookReporter",
    "LogReporter",
    "ProgressReporter",
    "ResultLines",
    "StatusSnapshot",
    "TableReporter",
    "TerminalReporter",
    "default_reporter",
    "in_notebook",
]


def default_reporter(verbose: int, stream: TextIO | None = None) -> ProgressReporter | None:
    """The reporter for this output: a block in a notebook or terminal, else a few lines; None for 0."""
    if verbose <= 0:
        return None
    if stream is None and in_notebook():
        reporter: ProgressReporter = JupyterNotebookReporter.block()
    elif _is_terminal(stream or sys.stdout) and _is_watched():
        reporter = TerminalReporter(stream)
    else:
        reporter = LogReporter(stream)
    return reporter


def in_notebook() -> bool:
    """Whether this program is the kernel of a notebook. Asks IPython only if it is running already."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell is not None and hasattr(shell, "kernel")


def _is_watched() -> bool:
    """Whether a terminal can move its cursor, and is not the log of a build service."""
    return os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown") and not os.environ.get("CI")


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # no stream at all (pythonw), or a closed one
        return False
