"""Benchmarks write their experiments to a temporary folder, and say where they were taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_report_header() -> str:
    load = os.getloadavg()[0]
    return f"load average {load:.2f} on {len(os.sched_getaffinity(0))} cores: compare idle runs only"


@pytest.fixture(autouse=True)
def results_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTTUNE_RESULTS_DIR", str(tmp_path))
    return tmp_path
