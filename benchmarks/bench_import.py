"""What `import fasttune` costs beside an interpreter that imports nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest


@pytest.mark.benchmark(group="a process that imports")
@pytest.mark.parametrize("module", ["sys", "fasttune", "fasttune.tuner"])
def bench_import(benchmark: Any, module: str) -> None:
    benchmark(lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True))
