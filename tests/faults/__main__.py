"""Prints the scorecard: ``make faults`` (quick rounds), with ``--all`` all rounds, with numbers of rows only these.

Run from the root of the repository. The exit code is pytest's.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scorecard import BLOCKS, ROWS, Row

GREATEST = ("most", "oldest", "worst")  # how the names of figures begin that are not added up
EXTREME = ("median", "ms")


@dataclass
class Told:
    """What the tests of one row have come to."""

    passed: int = 0
    run: int = 0
    figures: dict[str, list[Any]] = field(default_factory=dict)

    def cell(self, row: Row) -> str:
        """The figures as the table shows them."""
        parts = [f"{name} {joined(name, values)}" for name, values in self.figures.items()]
        told = {part.rpartition(" ")[0] for part in parts}
        if self.run and self.passed == self.run:
            parts += [one for one in row.shown if one.rpartition(" ")[0] not in told]
        return ", ".join(parts) or "-"


def joined(name: str, values: list[Any]) -> str:
    """Several tests' values of one figure as one."""
    if not all(isinstance(value, (int, float)) for value in values):
        return "; ".join(str(value) for value in dict.fromkeys(values))
    greatest = name.startswith(GREATEST) or any(word in name.replace("_", " ").split() for word in EXTREME) or "(ms" in name
    value = max(values) if greatest else sum(values)
    return f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"


class Collector:
    """A pytest plugin: outcomes and figures by row."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.told = {row.number: Told() for row in rows}
        self.failed: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        over = report.when == "call" or report.failed
        if not over:
            return
        for row in self.rows:
            if not any(belongs(report.nodeid, proof) for proof in row.proofs):
                continue
            told = self.told[row.number]
            if report.when == "call":
                told.run += 1
                told.passed += report.passed
                for name, value in report.user_properties:
                    told.figures.setdefault(name.replace("_", " "), []).append(value)
            elif report.when == "setup":
                told.run += 1
            else:  # something was left behind by a test that had passed
                told.passed -= 1


def belongs(node: str, proof: str) -> bool:
    """Whether a test is one of a proof's: the same file, the same function."""
    plain = node.partition("[")[0]
    return plain == proof or plain.startswith(f"{proof}::")


def table(collector: Collector) -> list[str]:
    lines = []
    for block in BLOCKS:
        rows = [row for row in block.rows if row in collector.rows]
        if not rows:
            continue
        lines += ["", f"**{block.title}**", "", "| # | fault | promise | passed | figures |", "|---|---|---|---|---|"]
        for row in rows:
            told = collector.told[row.number]
            lines.append(f"| {row.number} | {row.fault} | {row.promise} | {told.passed} of {told.run} | {told.cell(row)} |")
    return lines


def machine() -> str:
    """Where the figures come from."""
    cpus = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{cpus} CPUs, {memory:.0f} GiB, Linux {platform.release().partition('-')[0]}, {python}, load {load:.1f} at the end"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, help="numbers of rows; none: all of them")
    parser.add_argument("--all", action="store_true", help="all rounds, which takes an hour or two")
    asked = parser.parse_args()
    rows = [row for row in ROWS if not asked.rows or row.number in asked.rows]
    collector = Collector(rows)
    nodes = list(dict.fromkeys(proof for row in rows for proof in row.proofs))
    chosen = [node for node in nodes if node.partition("::")[0] == node or node.partition("::")[0] not in nodes]
    marks = "not gpu" if asked.all else "not slow and not gpu"
    if asked.all:
        os.environ["FASTTUNE_ALL_ROUNDS"] = "1"
    began = time.monotonic()
    code = pytest.main(["-q", "-p", "no:cacheprovider", "-m", marks, *chosen], plugins=[collector])
    took = time.monotonic() - began
    rounds = "all rounds" if asked.all else "quick rounds"
    print(f"\nPrinted by `make faults{' ARGS=--all' if asked.all else ''}` on {time.strftime('%Y-%m-%d')}: {rounds} in {took:.0f} s;")
    print(f"{machine()}.")
    print("\n".join(table(collector)))
    return int(code)


if __name__ == "__main__":
    raise SystemExit(main())
