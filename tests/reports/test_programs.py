"""Whole programs, as users write them, run as scripts: what lives in ``__main__`` behaves otherwise than in a test."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import forks

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_a_program_does_what_its_first_line_says(program: Path, tmp_path: Path) -> None:
    """Somebody ran this program, or one like it, and got something else without a word."""
    done = forks.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env={**os.environ, "FASTTUNE_RESULTS_DIR": str(tmp_path / "results")},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"


def test_there_is_a_program_for_each_kind() -> None:
    """Somebody moved the programs, and none was run any more."""
    assert len(PROGRAMS) >= 13
