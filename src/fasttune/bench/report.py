"""What was measured: a line to quote, a table, JSON, a data frame and a picture."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

BUSY = 0.3  # load average per core from which on the figures are said to be too low
SPREAD = 0.3  # (slowest - fastest) / median of the repeats, likewise

TITLES = {"trials": "one report, no scheduler", "reports": "reports in a tight loop"}
WIDE, MIDDLING = 108, 90  # characters that a whole table takes, and one without memory and bytes


@dataclass(frozen=True)
class Row:
    """One load under one scheduler on one executor. ``error`` says why there are no figures."""

    load: str
    scheduler: str
    executor: str
    trials: int = 0
    reports: int = 0
    seconds: float = 0.0  # of a whole run, median of the repeats
    fastest_s: float = 0.0
    slowest_s: float = 0.0
    decisions: int = 0
    decided_in_report: bool = False  # compiled: nobody waits for the loop
    decision_us: tuple[float, float] | None = None  # of the loop's decisions: median, 99th percentile
    report_us: tuple[float, float] | None = None  # what a trial waits in report(), a pause included
    driver_mb: float = 0.0
    bytes_per_report: float = 0.0
    error: str = ""

    @classmethod
    def of(cls, load: str, scheduler: str, executor: str, figures: dict[str, Any]) -> Row:
        """From what a measurement wrote."""
        seconds = figures.pop("seconds")
        figures.pop("size")
        pairs = {name: tuple(pair) for name in ("decision_us", "report_us") if (pair := figures.pop(name))}
        spread = {"seconds": median(seconds), "fastest_s": min(seconds), "slowest_s": max(seconds)}
        known: dict[str, Any] = {**figures, **spread, **pairs}
        return cls(load, scheduler, executor, **known)

    @property
    def title(self) -> str:
        """What was run, for people."""
        return TITLES.get(self.load, self.scheduler)

    @property
    def trials_per_s(self) -> float | None:
        """None where a run has a handful of trials only."""
        return self._rate(self.trials) if self.load in ("trials", "curves") else None

    @property
    def reports_per_s(self) -> float | None:
        return self._rate(self.reports)

    @property
    def decisions_per_s(self) -> float | None:
        """None where nothing is decided."""
        return self._rate(self.decisions) if self.decisions else None

    def _rate(self, count: int) -> float | None:
        return None if self.error else count / self.seconds

    def as_dict(self) -> dict[str, Any]:
        rates = {name: getattr(self, name) for name in ("trials_per_s", "reports_per_s", "decisions_per_s")}
        return {**asdict(self), **rates}


@dataclass(frozen=True)
class MeasuredMachine:
    """Where it was measured, and how busy it was."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    fasttune: str
    date: str
    load_before: float
    load_after: float
    limit: str = ""  # why there are not more cores

    def __str__(self) -> str:
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        memory = f"{self.memory_gib:.1f} GiB"
        return f"{self.cpu}, {cores}, {memory}, {self.system}, Python {self.python}, fasttune {self.fasttune}"


def machine() -> MeasuredMachine:
    """This machine, as it is now."""
    from fasttune.devices.machine import detect

    here = detect(gpus=[])
    load = os.getloadavg()[0]
    return MeasuredMachine(
        cpu=cpu_name(),
        cores=len(here.cpus),
        memory_gib=round(here.memory_bytes / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        fasttune=version(),
        date=time.strftime("%Y-%m-%d %H:%M"),
        load_before=load,
        load_after=load,
        limit=here.cpu_reason,
    )


def version() -> str:
    """Of the installed fasttune; what runs from a folder of sources has none."""
    from importlib import metadata

    try:
        return metadata.version("fasttune")
    except metadata.PackageNotFoundError:
        return "from source"


def cpu_name(path: str = "/proc/cpuinfo") -> str:
    """As the processor calls itself."""
    try:
        with open(path, encoding="utf-8") as file:
            names = [line.partition(":")[2] for line in file if line.startswith(("model name", "Model\t"))]
    except OSError:
        names = []
    return " ".join((names[0] if names else platform.machine()).replace("(R)", "").replace("(TM)", "").split())


@dataclass(frozen=True)
class BenchmarkReport:
    """The outcome of ``tune.benchmark()``: ``print`` it, or take ``headline``, ``rows``, ``to_json()``, ``dataframe()``
    and ``plot(path)``."""

    rows: list[Row]
    machine: MeasuredMachine
    seconds: float
    repeats: int
    seed: int
    quick: bool = False
    notes: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", _notes(self))

    @property
    def headline(self) -> str:
        """The best figures in one line; what was not measured is not in it."""
        best = [
            (self._best("trials", "FIFO", "trials_per_s"), "trials/s"),
            (self._best("reports", "FIFO", "reports_per_s"), "reports/s"),
            (self._best("curves", "ASHA", "trials_per_s"), "ASHA trials/s"),
            (self._best("population", "PopulationBasedTraining", "reports_per_s"), "PBT steps/s"),
        ]
        said = [f"{in_words(value)} {unit}" for value, unit in best if value] or self._others()
        return f"this machine: {', '.join(said) or 'nothing was measured'}"

    def _others(self) -> list[str]:
        """What is said where none of the usual figures is there: the best of each scheduler."""
        best: dict[str, float] = {}
        for row in self.rows:
            if row.reports_per_s is not None:
                best[row.scheduler] = max(best.get(row.scheduler, 0.0), row.reports_per_s)
        return [f"{in_words(value)} reports/s under {scheduler}" for scheduler, value in best.items()]

    @property
    def busy(self) -> bool:
        """Whether others used the machine when it began."""
        return self.machine.load_before > BUSY * self.machine.cores

    def _best(self, load: str, scheduler: str, figure: str) -> float | None:
        found = [
            getattr(row, figure)
            for row in self.rows
            if (row.load, row.scheduler) == (load, scheduler) and not row.error
        ]
        return max(found, default=None)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Everything as JSON; written to a file as well, if one is named."""
        facts = {**asdict(self), "headline": self.headline, "rows": [row.as_dict() for row in self.rows]}
        text = json.dumps(facts, indent=1) + "\n"
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return text

    @classmethod
    def from_json(cls, text: str) -> BenchmarkReport:
        """The report that ``to_json`` wrote."""
        facts = json.loads(text)
        rows = [_row_of(row) for row in facts["rows"]]
        settings = {name: facts[name] for name in ("seconds", "repeats", "seed", "quick")}
        return cls(rows=rows, machine=MeasuredMachine(**facts["machine"]), **settings)

    def dataframe(self) -> pd.DataFrame:
        """One line per measurement; pairs are two columns, ``..._p50`` and ``..._p99``."""
        import pandas as pd

        lines = []
        for row in self.rows:
            line = row.as_dict()
            for name in ("decision_us", "report_us"):
                line[f"{name}_p50"], line[f"{name}_p99"] = line.pop(name) or (None, None)
            lines.append(line)
        return pd.DataFrame(lines)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the figures into a file; its ending says of which kind (.png, .svg, .pdf).

        Raises:
            ImportError: matplotlib is not installed: ``pip install 'fasttune[plots]'``.
        """
        from fasttune.bench.picture import draw

        draw(self, path)

    def table(self, width: int = WIDE) -> Table:
        """The figures as a table for rich; what a narrow one has no room for is left out."""
        from rich import box
        from rich.table import Table

        titles = ["trials/s", "reports/s", "decisions/s", "decision us\np50 / p99", "report() us\np50 / p99"]
        titles += ["driver\nMB", "bytes/\nreport"]
        titles = titles[: 7 if width >= WIDE else 5 if width >= MIDDLING else 3]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("", no_wrap=True)
        table.add_column("executor", style="dim", no_wrap=True)
        for title in titles:
            table.add_column(title, justify="right", no_wrap=True)
        above = None
        for row in self.rows:
            if above not in (None, row.title):
                table.add_section()
            table.add_row(row.title if row.title != above else "", row.executor, *_cells(row)[: len(titles)])
            above = row.title
        return table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        yield Text(self.headline, style="bold")
        yield Text(str(self.machine), style="dim")
        yield self.table(options.max_width)
        for note in self.notes:
            yield Text(f"- {note}", style="dim")

    def __str__(self) -> str:
        import io

        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=132, color_system=None, force_terminal=False).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def _repr_html_(self) -> str:
        import html

        return f"<p><b>{html.escape(self.headline)}</b></p>{self.dataframe().to_html(index=False)}"


def _row_of(facts: dict[str, Any]) -> Row:
    known = {name: value for name, value in facts.items() if not name.endswith("_per_s")}
    for name in ("decision_us", "report_us"):
        known[name] = tuple(known[name]) if known[name] else None
    return Row(**known)


def _cells(row: Row) -> list[str]:
    if row.error:
        return ["failed", *[""] * 6]
    decision = "in report()" if row.decided_in_report and row.decisions else _pair(row.decision_us)
    rates = [_number(rate) for rate in (row.trials_per_s, row.reports_per_s, row.decisions_per_s)]
    return [*rates, decision, _pair(row.report_us), f"{row.driver_mb:,.0f}", f"{row.bytes_per_report:,.0f}"]


def _number(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.0f}"


def _pair(pair: tuple[float, float] | None) -> str:
    return "-" if pair is None else " / ".join(f"{us:.2f}" if us < 10 else f"{us:,.0f}" for us in pair)


def in_words(value: float) -> str:
    """Two digits that count, as people say them: 730,000 or 3.0 million."""
    if value >= 999_500:
        return f"{value / 1e6:,.1f} million" if value < 99.95e6 else f"{value / 1e6:,.0f} million"
    digits = max(0, len(str(int(value))) - 2)
    return f"{round(value, -digits):,.0f}"


def _notes(report: BenchmarkReport) -> list[str]:
    """What a reader has to know before quoting a figure."""
    here = report.machine
    runs = "one run" if report.repeats == 1 else f"the median of {report.repeats} runs"
    notes = [
        f"each figure is {runs} of {report.seconds:g} s or more, start to analysis, journal on; {here.date}",
    ]
    loads = {row.load for row in report.rows}
    if "curves" in loads:
        notes.append("schedulers judge learning curves of many short trials; FIFO stops none of them")
    if "population" in loads:
        notes.append("a population is 16 trials with a checkpoint of 1 KB, perturbed every 5 steps; its reports are steps")
    if report.quick:
        notes.append("quick: short runs, of which starting is a good part: leave --quick out before you quote")
    if report.busy:
        notes.append(
            f"the machine was busy before it began (load average {here.load_before:.1f} on {here.cores} cores): "
            "idle, it does more"
        )
    if sys.dont_write_bytecode:
        notes.append("PYTHONDONTWRITEBYTECODE is set: where no bytecode is kept, starting a run takes longer")
    if here.limit:
        notes.append(f"not all of the machine was used: {here.limit}")
    shaky = [row for row in report.rows if not row.error and row.slowest_s - row.fastest_s > SPREAD * row.seconds]
    if shaky:
        named = ", ".join(f"{row.title} {row.executor}" for row in shaky[:3])
        more = f" and {len(shaky) - 3} more" if len(shaky) > 3 else ""
        notes.append(f"repeats differ by more than {SPREAD:.0%}: {named}{more}")
    notes += [f"{row.title} {row.executor} failed: {row.error}" for row in report.rows if row.error]
    return notes
