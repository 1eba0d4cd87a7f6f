"""A terminal to run scripts in: a real pseudo terminal, and a model of its screen that remembers what has scrolled away."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyte

import fasttune
import forks

PACKAGE = str(Path(fasttune.__file__).resolve().parent.parent)
HEAD = """
import os, sys, time
import fasttune as tune

"""


class Model:
    """What is seen of bytes that are written to a terminal."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=1)
        self._stream = pyte.ByteStream(self._screen)
        self._screen.set_mode(pyte.modes.LNM)  # an end of line begins a new one, as terminals are set

    def feed(self, data: bytes) -> None:
        self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        """All lines, those that have scrolled away first; empty ones at the end left out."""
        gone = [
            "".join(line[k].data for k in range(self._screen.columns)).rstrip() for line in self._screen.history.top
        ]
        lines = gone + [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines


@dataclass
class Seen:
    """What a script has left in its terminal, all that it wrote there, and how it ended."""

    lines: list[str]
    raw: bytes
    status: int

    def of(self, trial: int) -> list[str]:
        """What the lines of a trial say, without its id."""
        mark = f"_{trial:05d}) "
        return [line.partition(mark)[2] for line in self.lines if line.startswith("(") and mark in line]


def in_terminal(
    script: str,
    folder: Path,
    *,
    columns: int = 80,
    rows: int = 24,
    keys: Sequence[tuple[str, str]] = (),
    environ: Mapping[str, str] = {},
    to_file: int | None = None,
) -> Seen:
    """Run a script in a terminal until it ends. ``keys``: (what is waited for, what is typed then), one after the other.
    ``to_file``: this stream (1, 2) goes to the file "file" instead."""
    (folder / "script.py").write_text(HEAD + script, encoding="utf-8")
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "COLUMNS", "LINES")}
    path = os.pathsep.join([PACKAGE, *filter(None, [os.environ.get("PYTHONPATH")])])
    streams = {1: theirs, 2: theirs}
    if to_file is not None:
        streams[to_file] = os.open(folder / "file", os.O_WRONLY | os.O_CREAT, 0o644)
    process = forks.Popen(
        [sys.executable, "script.py"],
        cwd=folder,
        stdin=theirs,
        stdout=streams[1],
        stderr=streams[2],
        env={**known, "TERM": "xterm-256color", "PYTHONPATH": path, "FASTTUNE_RESULTS_DIR": str(folder), **environ},
        start_new_session=True,
    )
    for fd in {*streams.values(), theirs}:
        os.close(fd)
    model, raw, waiting, answered = Model(columns, rows), b"", list(keys), 0
    while data := _read(mine):
        raw += data
        model.feed(data)
        if waiting and waiting[0][0].encode() in raw[answered:]:
            answered = len(raw)
            os.write(mine, waiting.pop(0)[1].encode())
    os.close(mine)
    return Seen(model.lines, raw, process.wait())


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # nobody has the other end any more
        return b""
