"""``tune.benchmark()``: how many trials, reports and decisions a second this machine does. See docs/benchmark.md."""

from __future__ import annotations

from .report import BenchmarkReport as BenchmarkReport
from .report import Row as Row
from .suite import benchmark as benchmark

__all__ = ["BenchmarkReport", "Row", "benchmark"]
