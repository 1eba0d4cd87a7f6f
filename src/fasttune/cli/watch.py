"""watch: follows a running experiment by reading it again and again."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from heapq import nlargest
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from fasttune.cli import arguments as common
from fasttune.cli.words import one_line
from fasttune.trial import shown_status

if TYPE_CHECKING:
    from rich.console import Group

    from fasttune.engine.records import ExperimentRecords
    from fasttune.scope import Scope

EXAMPLES = """\
  fasttune watch latest                                 until the run ends, or Ctrl-C, which leaves the run alone
  fasttune watch mnist --every 10 | tee progress.log    a line every ten seconds, if something has happened"""

SHARE = 10  # reading takes at most one part in so many of the time
ROWS = 10  # trials that are shown
OVER = ("TERMINATED", "ERROR")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    common.goal(parser)
    parser.add_argument("--json", action="store_true", help="print a line of JSON whenever something has happened")
    parser.add_argument("--every", type=common.seconds, default=1.0, metavar="TIME", help="between two looks; default 1s")


def run(asked: argparse.Namespace) -> int:
    """Show the experiment until nobody runs it any more. Writes nothing, and is not known to the run."""
    from fasttune.cli.finding import find

    follow = Watcher(find(asked.experiment), asked)
    if sys.stdout.isatty() and not asked.json:
        follow.on_terminal()
    else:
        follow.in_lines()
    return 0


class Watcher:
    """Looks at an experiment now and then. ``source`` is what was seen last."""

    def __init__(self, folder: str, asked: argparse.Namespace) -> None:
        from fasttune.storage.recovery import writer_of

        self._folder = folder
        self._asked = asked
        self._writer_of = writer_of
        self.source: ExperimentRecords
        self.runs = False
        self._pause = 0.0
        self.look()
        self._pause = asked.every  # the first reading has loaded what it needs, too

    def look(self) -> None:
        """Read it. Whether it runs is looked at first: what is read then is its last state, if it does not."""
        from fasttune.cli.finding import opened

        began = time.monotonic()
        self.runs = self._writer_of(self._folder) is not None
        self.source = opened(self._folder)
        self._pause = max(self._asked.every, SHARE * (time.monotonic() - began))

    def rest(self) -> None:
        """Sleep until the next look."""
        time.sleep(self._pause)

    def in_lines(self) -> None:
        """A line whenever something has happened."""
        said = ""
        while True:
            line = self.facts() if self._asked.json else self.line()
            if line != said:
                print(line if self._asked.json else f"{time.strftime('%H:%M:%S')}  {line}", flush=True)
                said = line
            if not self.runs:
                return
            self.rest()
            self.look()

    def on_terminal(self) -> None:
        """A picture that is brought up to date."""
        from rich.console import Console
        from rich.live import Live

        console = Console(highlight=False, no_color="NO_COLOR" in os.environ)
        with Live(self.picture(), console=console, auto_refresh=False) as live:
            while self.runs:
                self.rest()
                self.look()
                live.update(self.picture(), refresh=True)

    # -- what is shown

    def line(self) -> str:
        """The state on one line."""
        best = self.best()
        return one_line(", ".join(filter(None, [self.state(), self.counts(), f"{self.reports():,} reports", best])))

    def facts(self) -> str:
        """The same for programs: what ``fasttune show --json`` prints, on one line."""
        from fasttune.analysis import ExperimentAnalysis
        from fasttune.cli.facts import facts_of
        from fasttune.tables.cells import finite

        metric, mode, scope = self.goal()
        analysis = ExperimentAnalysis(self.source, default_metric=metric, default_mode=mode, default_scope=scope)
        return json.dumps(finite(facts_of(self.source, analysis)), default=str)

    def state(self) -> str:
        """running, finished or unfinished."""
        if self.runs:
            return "running"
        return "finished" if self.source.is_over else "ended, with trials that can be gone on with"

    def counts(self) -> str:
        """How many trials there are of each state."""
        counts = self.source.table.counts()
        each = ", ".join(f"{n:,} {shown_status(status, self.runs)}" for status, n in counts.items() if n)
        return f"{len(self.source):,} trials" + (f": {each}" if each else "")

    def reports(self) -> int:
        """How many reports count."""
        from fasttune.tables.columns import counting_reports

        return counting_reports(self.source)

    def goal(self) -> tuple[str | None, str | None, Scope]:
        """Metric, mode and scope: those that were asked for, else the run's own."""
        asked, source = self._asked, self.source
        return asked.metric or source.metric, asked.mode or source.mode, asked.scope or source.scope

    def best(self) -> str:
        """The best trial in words, or the front of a run with several metrics; "" while there is none."""
        from fasttune.cli.listing import cell
        from fasttune.scope import by_trial, measured
        from fasttune.tables.best import best_of
        from fasttune.tables.front import front_of

        metric, mode, scope = self.goal()
        if not self.source.table.reports:
            return ""
        if self.source.objectives and self._asked.metric is None:
            front = front_of(self.source, self.source.objectives, scope)
            return "" if front is None else front.words()
        if metric is None or mode is None:
            return ""
        found = best_of(self.source, metric, mode, scope)
        if found is None:
            return ""
        words = measured(metric, scope, not self.runs)
        trial = by_trial(self.source.trial_id(found.trial), self.source.status(found.trial) == "ERROR", found.violation)
        return f"best {words} {cell(found.value)} ({mode}) by {trial}"

    def rows(self) -> list[int]:
        """The trials that are shown: those that run, then those that ended last."""
        table = self.source.table
        running = table.of_status("RUNNING", ROWS)
        if len(running) == ROWS or not table.finished:
            return running
        ended = table.export("ended")
        over = nlargest(ROWS, range(len(ended)), key=lambda i: (table.status(i) in OVER, ended[i], i))
        return [*running, *(i for i in over[: ROWS - len(running)] if table.status(i) in OVER)]

    def picture(self) -> Group:
        """Headline, counts, best, and a table of trials."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        from fasttune.cli.listing import cell

        source = self.source
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        metric = self.goal()[0]
        rows = self.rows()
        params = list(dict.fromkeys(name for i in rows for name in source.evaluated_params(i)))
        names = ["trial", "status", "reports", *([metric] if metric else []), *params]
        lines_of: list[list[str]] = []
        for i in rows:
            values: dict[str, Any] = source.metrics(i) or {}
            given = source.evaluated_params(i)
            cells = [source.trial_id(i), shown_status(source.status(i), self.runs), str(source.table.iteration(i))]
            cells += [cell(values.get(metric))] if metric else []
            lines_of.append([one_line(text) for text in [*cells, *(cell(given.get(name)) for name in params)]])
        shown = fitting([[one_line(name) for name in names], *lines_of], get_terminal_size().columns)
        for name in names[:shown]:
            table.add_column(Text(one_line(name)), no_wrap=True)
        for told in lines_of:
            table.add_row(*map(Text, told[:shown]))
        head = Text(one_line(source.name), style="bold") + Text(f"  {self.state()}  {one_line(source.path)}", style="default")
        lines = [head, Text(f"{self.counts()}; {self.reports():,} reports"), Text(one_line(self.best()))]
        return Group(*(line for line in lines if line.plain), table)


def fitting(lines: list[list[str]], width: int) -> int:
    """How many columns of a table stand whole on a line: an id that is cut is no use. At least two."""
    from rich.cells import cell_len

    total, n = 0, 0
    for column in zip(*lines, strict=True):
        total += max(map(cell_len, column)) + 2
        if total - 2 > width:
            break
        n += 1
    return max(2, n)
