"""docs/command_line.md: what it shows is run, in its order, in one folder. (Its Python is run by tests/test_docs.py, too.)"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fasttune as tune
from fasttune.cli import PIPE_CLOSED

PACKAGE = str(Path(tune.__file__).resolve().parent.parent)
PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "command_line.md").read_text(encoding="utf-8")
Printed = Callable[..., tuple[int, str, str]]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_does_what_it_says(
    results_dir: Path, tmp_path: Path, fasttune: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "train", raising=False)
    (program,) = blocks("python")
    Path("train.py").write_text(program)
    for text in blocks("toml"):
        Path(text.splitlines()[0].removeprefix("# ")).write_text(text)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) > 15
    for line in lines:
        if set(line) & set("|>"):
            outside(line)
        else:
            name, *argv = shlex.split(line)
            assert name == "fasttune"
            inline = ["--executor", "inline"] if argv[0] in ("run", "resume") else []  # the process executor has its own tests
            code, out, err = fasttune(*argv, *inline)
            assert code == 0, (line, out, err)
            assert argv[0] == "rm" or out, line
    assert sorted(path.name for path in results_dir.iterdir()) == ["first", "small", "whole"]
    assert Path("trials.csv").read_text().startswith("trial_id,status,")


def outside(line: str) -> None:
    """A line with a pipe, in a shell."""
    script = f'set -o pipefail; fasttune() {{ {shlex.quote(sys.executable)} -m fasttune "$@"; }}; {line}'
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PYTHONPATH": PACKAGE}, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, PIPE_CLOSED), line
    assert done.stderr == "", line


def test_every_command_is_on_the_page() -> None:
    from fasttune.cli import COMMANDS

    for one in COMMANDS:
        assert f"`{one.names.split()[0]}`" in PAGE or f"fasttune {one.names.split()[0]}" in PAGE, one
