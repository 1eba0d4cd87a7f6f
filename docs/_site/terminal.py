"""Records what a run draws in a terminal, as a picture that moves: docs/pictures/terminal.svg.

    python docs/_site/terminal.py

The program below is run in a pseudo terminal. What is on its screen, as a terminal would show it (pyte), becomes a group of
lines in the picture for each moment at which it has changed; a style sheet shows one group after the other. Whoever asks for
no motion, or cannot draw it, sees the last one.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import pyte

ROOT = Path(__file__).resolve().parent.parent.parent
PICTURE = ROOT / "docs" / "pictures" / "terminal.svg"
COLUMNS, ROWS = 80, 19
BETWEEN_S = 1.0  # between two moments
PROGRAM = """
import math
import time

import fasttune as tune
from fasttune.schedulers import ASHAScheduler


def train(config):
    print(f"starts with lr {config['lr']:.4f}, width {config['width']}")
    for epoch in range(1, 28):
        time.sleep(EPOCH_S)
        if config["lr"] > 0.35:
            raise FloatingPointError("the loss is infinite")
        tune.report(loss=(math.log10(config["lr"]) + 2) ** 2 / 4 + 1 / (epoch + config["width"] / 8))


if __name__ == "__main__":
    tune.run(
        train,
        config={"lr": tune.loguniform(1e-4, 1), "width": tune.choice([16, 32, 64])},
        num_samples=SAMPLES,
        metric="loss",
        mode="min",
        scheduler=ASHAScheduler(max_t=27, reduction_factor=3),
        resources_per_trial={"cpu": 0.5},
        raise_on_failed_trial=False,
        name="first_search",
        seed=1,
    )
"""

# The palette of the picture. pyte names the eight colours, and writes the others as six hex digits.
BACKGROUND, FOREGROUND, FAINT = "#15202b", "#d5dde5", "#7d8b99"
COLOURS = {
    "default": FOREGROUND, "black": FAINT, "red": "#f0857d", "green": "#7ec699", "brown": "#e5c07b", "blue": "#7fb2e5",
    "magenta": "#c9a0dc", "cyan": "#76c7c0", "white": "#ffffff", "brightblack": FAINT, "brightgreen": "#98e0b0",
    "brightcyan": "#9be7e0", "brightred": "#ff9c94", "brightblue": "#9cc7f0", "brightmagenta": "#dbb8ea",
    "brightbrown": "#f2d8a0", "brightwhite": "#ffffff",
}  # fmt: skip
CELL, LINE, MARGIN = 8.0, 18.0, 16.0  # sizes in pixels


class Run(NamedTuple):
    """Neighbours on a line that look alike."""

    column: int
    text: str
    colour: str
    bold: bool


class Moment(NamedTuple):
    """What is on the screen from a time on."""

    time: float  # seconds since the first
    lines: list[list[Run]]

    @property
    def text(self) -> list[str]:
        """The lines as they read."""
        return ["".join(" " * (run.column - at) + run.text for at, run in _with_ends(line)) for line in self.lines]


def _with_ends(line: list[Run]) -> list[tuple[int, Run]]:
    ends = [0, *(run.column + len(run.text) for run in line)]
    return list(zip(ends, line, strict=False))


def record(samples: int = 24, epoch_s: float = 0.3, between_s: float = BETWEEN_S) -> list[Moment]:
    """Run the program and give what its terminal has shown, moment by moment; the last one is what stays."""
    program = PROGRAM.replace("EPOCH_S", str(epoch_s)).replace("SAMPLES", str(samples))
    screen = pyte.Screen(COLUMNS, ROWS)
    screen.set_mode(pyte.modes.LNM)
    stream = pyte.ByteStream(screen)
    moments: list[Moment] = []
    started = last = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tune_") as home:
        process, mine = _begin(program, home)
        while data := _read(mine):
            stream.feed(data)
            now = time.monotonic()
            if now - last >= between_s:
                last = now
                moments.append(Moment(now - started, _lines(screen)))
        os.close(mine)
        if process.wait() != 0:
            raise RuntimeError("the program has failed:\n" + "\n".join(screen.display))
    moments.append(Moment(time.monotonic() - started, _lines(screen)))
    shown = [moment for moment in moments if any(moment.lines)]
    return [moment._replace(time=moment.time - shown[0].time) for moment in shown]


def _begin(program: str, home: str) -> tuple[subprocess.Popen[bytes], int]:
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    ours = {"FASTTUNE_RESULTS_DIR": home, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT / "src")}
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    Path(home, "train.py").write_text(program, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "train.py"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=home, env={**kept, **ours},
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    return process, mine


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # nobody has the other end any more
        return b""


def _lines(screen: pyte.Screen) -> list[list[Run]]:
    return [_runs(screen, row) for row in range(screen.lines)]


def _runs(screen: pyte.Screen, row: int) -> list[Run]:
    runs: list[Run] = []
    for column in range(screen.columns):
        cell = screen.buffer[row][column]
        colour = COLOURS.get(cell.fg, f"#{cell.fg}")
        if cell.data == " ":
            continue
        gap = column - runs[-1].column - len(runs[-1].text) if runs else -1
        if runs and runs[-1][2:] == (colour, cell.bold) and 0 <= gap <= 1:
            runs[-1] = runs[-1]._replace(text=runs[-1].text + " " * gap + cell.data)
        else:
            runs.append(Run(column, cell.data, colour, cell.bold))
    return runs


def as_svg(moments: list[Moment]) -> str:
    """The picture. It begins again three seconds after its end."""
    whole = moments[-1].time + 3.0
    width, height = COLUMNS * CELL + 2 * MARGIN, ROWS * LINE + 2 * MARGIN
    starts = [moment.time for moment in moments] + [whole]
    style = [f"text {{ font: 13px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: {FOREGROUND} }}"]
    style += [".b { font-weight: bold }", "g { visibility: hidden }", f"#m{len(moments) - 1} {{ visibility: visible }}"]
    colours = {run.colour for moment in moments for line in moment.lines for run in line} - {FOREGROUND}
    style += [f".c{colour[1:]} {{ fill: {colour} }}" for colour in sorted(colours)]
    style.append("@media (prefers-reduced-motion: no-preference) {")
    for number, (begin, end) in enumerate(itertools.pairwise(starts)):
        begins, ends = 100 * begin / whole, 100 * end / whole
        before = "" if begin == 0 else "0% { visibility: hidden } "
        after = "" if end == whole else f" {ends:.2f}%, 100% {{ visibility: hidden }}"
        style.append(f"@keyframes k{number} {{ {before}{begins:.2f}% {{ visibility: visible }}{after} }}")
        style.append(f"#m{number} {{ animation: k{number} {whole:.1f}s step-end infinite }}")
    style.append("}")
    groups = [f'<g id="m{number}">{_group(moment)}</g>' for number, moment in enumerate(moments)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img">',
            "<title>What a run of fasttune draws in a terminal</title>",
            "<style>", *style, "</style>",
            f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
            *groups,
            "</svg>\n",
        ]
    )  # fmt: skip


def _group(moment: Moment) -> str:
    parts = []
    for row, line in enumerate(moment.lines):
        for run in line:
            x, y = MARGIN + run.column * CELL, MARGIN + (row + 0.75) * LINE
            looks = [*(["b"] if run.bold else []), *([] if run.colour == FOREGROUND else [f"c{run.colour[1:]}"])]
            names = f' class="{" ".join(looks)}"' if looks else ""
            size = f' textLength="{len(run.text) * CELL:g}"' if len(run.text) > 1 else ""
            parts.append(f'<text x="{x:g}" y="{y:g}"{size}{names}>{escape(run.text)}</text>')
    return "".join(parts)


if __name__ == "__main__":
    PICTURE.write_text(as_svg(record()), encoding="utf-8")
    print(PICTURE.relative_to(ROOT), f"{PICTURE.stat().st_size / 1000:.0f} KB")
