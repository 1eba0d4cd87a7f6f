"""The command in this process, and a script to run."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from fasttune.cli import main

Printed = Callable[..., tuple[int, str, str]]

SCRIPT = """
import json, os
import fasttune as tune


def train(config):
    for epoch in range(1, 4):
        tune.report(loss=config["lr"] + 1 / epoch, checkpoint=tune.Checkpoint.from_dict({"epoch": epoch}))


def fails(config):
    raise ValueError("too large")


class Trainer(tune.Trainable):
    def setup(self, config):
        self.lr = config["lr"]

    def step(self):
        return {"loss": self.lr, "done": self.iteration >= 1}


NUMBER = 3

if __name__ == "__main__":
    raise SystemExit("this is not to be run")
"""


@pytest.fixture
def fasttune(capsys: pytest.CaptureFixture[str]) -> Printed:
    """Run a command line in this process: (exit code, what it printed, what it said on the error stream)."""

    def called(*argv: object) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in argv])
        except SystemExit as left:
            code = int(left.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return called


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the script ``job.py`` in it; modules that a test imports from it are forgotten."""
    import sys

    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "job.py").write_text(textwrap.dedent(SCRIPT))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("job", "random_job", "script_random"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder
