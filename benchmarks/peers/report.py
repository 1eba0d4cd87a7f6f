"""What was measured, as a page for people and as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers.workloads import Column, Contender, Measurement, Workload


@dataclass
class Outcome:
    """All measurements of one workload."""

    workload: Workload
    quick: bool
    values: dict[str, list[list[float]]] = field(default_factory=dict)  # contender -> repeats -> columns
    failures: dict[str, str] = field(default_factory=dict)

    def size_of(self, contender: Contender) -> int:
        return contender.quick_n if self.quick else contender.n

    def add(self, contender: Contender, seen: Measurement) -> None:
        figures = [column.read(seen) for column in self.workload.columns]
        self.values.setdefault(contender.name, []).append(figures)

    def last(self, contender: Contender) -> str:
        figures = self.values[contender.name][-1]
        return ", ".join(show(column, x) for column, x in zip(self.workload.columns, figures, strict=True))

    def medians(self, name: str) -> list[float]:
        return [median(figures) for figures in zip(*self.values[name], strict=True)]


def show(column: Column, value: float) -> str:
    return f"{value:,.{column.digits}f} {column.title}"


def ratio(column: Column, ours: float, theirs: float) -> float:
    """How many times better we are: above 1 is better, whichever way the figure points."""
    above, below = (theirs, ours) if column.cost else (ours, theirs)
    return above / below if below else float("nan")


def machine() -> dict[str, Any]:
    """Where it was measured, and how busy it was at the end."""
    with open("/proc/cpuinfo") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


def write_report(
    folder: Path, outcomes: list[Outcome], versions: list[str], where: dict[str, Any], quick: bool
) -> Path:
    """Write peers.json and peers.md; gives the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "machine": where,
        "versions": versions,
        "quick": quick,
        "workloads": list(map(as_json, outcomes)),
    }
    (folder / "peers.json").write_text(json.dumps(facts, indent=1) + "\n")
    page = folder / "peers.md"
    page.write_text("\n".join([head(versions, where, quick), *map(table, outcomes)]))
    return page


def head(versions: list[str], where: dict[str, Any], quick: bool) -> str:
    lines = [
        "# fasttune beside its peers",
        "",
        f"{where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB, {where['system']}."
        f" {where['date']}, load average {where['load_average']:.1f}. {', '.join(versions)}.",
        "",
        "Medians; the contenders of a table took turns in the same run. x says how many times better the"
        " first row is. n is smaller where a peer would take minutes.",
    ]
    if quick:
        lines += ["", "**A quick run with small sizes: it shows that everything runs, not how fast.**"]
    return "\n".join([*lines, ""])


def table(outcome: Outcome) -> str:
    columns = outcome.workload.columns
    titles = [cell for column in columns for cell in (column.title, "x")]
    lines = [
        f"## {outcome.workload.key}: {outcome.workload.title}",
        "",
        "| | n | " + " | ".join(titles) + " |",
        "|---|--:|" + "--:|" * len(titles),
    ]
    first = outcome.workload.contenders[0].name
    ours = outcome.medians(first) if first in outcome.values else None
    for contender in outcome.workload.contenders:
        lines.append(row(outcome, contender, ours))
    return "\n".join([*lines, ""])


def row(outcome: Outcome, contender: Contender, ours: list[float] | None) -> str:
    columns = outcome.workload.columns
    cells = [contender.name, f"{outcome.size_of(contender):,}"]
    if contender.name not in outcome.values:
        reason = outcome.failures.get(contender.name, "not measured").replace("|", "/")
        return "| " + " | ".join([*cells, reason, *[""] * (2 * len(columns) - 1)]) + " |"
    for index, (column, value) in enumerate(zip(columns, outcome.medians(contender.name), strict=True)):
        better = f"{ratio(column, ours[index], value):,.3g}" if ours else ""
        cells += [f"{value:,.{column.digits}f}", better]
    return "| " + " | ".join(cells) + " |"


def as_json(outcome: Outcome) -> dict[str, Any]:
    first = outcome.workload.contenders[0].name
    ours = outcome.medians(first) if first in outcome.values else None
    rows = []
    for contender in outcome.workload.contenders:
        found: dict[str, Any] = {"name": contender.name, "n": outcome.size_of(contender)}
        if contender.name in outcome.failures:
            found["failure"] = outcome.failures[contender.name]
        if contender.name in outcome.values:
            found["repeats"] = outcome.values[contender.name]
            found["median"] = outcome.medians(contender.name)
            if ours:
                pairs = zip(outcome.workload.columns, ours, found["median"], strict=True)
                found["times_better"] = [ratio(column, mine, theirs) for column, mine, theirs in pairs]
        rows.append(found)
    titles = [column.title for column in outcome.workload.columns]
    return {"key": outcome.workload.key, "title": outcome.workload.title, "columns": titles, "rows": rows}
