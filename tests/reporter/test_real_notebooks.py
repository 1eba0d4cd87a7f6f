"""Runs in the cells of real notebooks: a kernel of its own, whose event loop runs while the cells do."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import fasttune

PACKAGE = str(Path(fasttune.__file__).resolve().parent.parent)
EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.ipynb"))

CELLS = [
    """
import asyncio
import time
import fasttune as tune

asyncio.get_running_loop()  # there is one, and it runs

def train(config):
    print("trial of", config["x"])
    for i in range(3):
        tune.report(loss=config["x"] / (i + 1))
""",
    """
analysis = tune.run(train, config={"x": tune.uniform(1, 2)}, num_samples=60, metric="loss", mode="min")
analysis.best_result["loss"]
""",
    """
analysis = tune.run(train, config={"x": tune.grid_search([1, 2])}, metric="loss", mode="min", executor="inline", verbose=2)
""",
    """
analysis = tune.run(train, config={"x": 1}, metric="loss", mode="min", verbose=0)
""",
    """
def fragile(config):
    tune.report(loss=1)
    divisor = config["x"]
    return {"loss": 1 / divisor}

tune.run(fragile, config={"x": 0}, metric="loss", mode="min")
""",
    """
def endless(config):
    tune.report(loss=1)
    print("ready")
    while True:
        time.sleep(0.01)
        tune.report(loss=1)

analysis = tune.run(endless, metric="loss", mode="min")
print("interrupted", analysis.interrupted, len(analysis.trials), analysis.best_result["loss"])
""",
    "print('the kernel goes on')",
]


class Client(NotebookClient):
    """Interrupts the kernel when a cell says that it is ready for that."""

    interrupting: Any = None

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] == "stream" and "ready" in msg["content"]["text"]:
            self.interrupting = asyncio.ensure_future(self.km.interrupt_kernel())
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([PACKAGE, *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("FASTTUNE_RESULTS_DIR", str(tmp_path / "results"))
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


def executed(book: Any, folder: Path, **settings: Any) -> list[Any]:
    """The cells of a notebook after its execution."""
    Client(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}, **settings).execute()
    return [cell for cell in book.cells if cell.cell_type == "code"]


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def pages(cell: Any) -> list[str]:
    """The blocks of a cell, as they were at its end."""
    return [
        output.data["text/html"] for output in cell.outputs
        if output.output_type == "display_data" and "fasttune-status" in output.data.get("text/html", "")
    ]  # fmt: skip


def test_P4_runs_in_a_real_notebook(tmp_path: Path) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    _, many, inline, silent, failed, stopped, last = executed(book, tmp_path, allow_errors=True)

    (page,) = pages(many)
    assert "60/60 (60 TERMINATED)" in page
    rows = re.findall(r"train_\w+_\d{5}", page)
    assert len(rows) == 15
    losses = [float(found) for found in re.findall(r"tabular-nums\">([\d.e-]+)</td></tr>", page)]
    assert losses == sorted(losses)  # the best first
    assert len(page) < 30_000
    told = re.findall(r"^\(\w+_(\d+)\) trial of [\d.]+$", printed(many), re.MULTILINE)
    assert sorted(told) == [f"{i:05d}" for i in range(60)]

    assert "2/2 (2 TERMINATED)" in pages(inline)[0]
    assert re.search(r"Trial train_\w+ iteration \d: loss=", printed(inline))
    assert printed(inline).count("trial of") == 2

    assert pages(silent) == []
    assert printed(silent) == "trial of 1\n"

    assert "1 ERROR" in pages(failed)[0]
    assert "return {&quot;loss&quot;: 1 / divisor}" in pages(failed)[0]  # the line of the cell
    (error,) = [output for output in failed.outputs if output.output_type == "error"]
    assert 'return {"loss": 1 / divisor}' in "\n".join(error.traceback)
    assert error.ename == "IncompleteTrialsError"

    assert "interrupted True 1 1" in printed(stopped)
    assert "interrupted; to go on" in pages(stopped)[0]
    assert printed(last) == "the kernel goes on\n"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_P4_the_example_notebooks(example: Path, tmp_path: Path) -> None:
    book = nbformat.read(example, as_version=4)
    nbformat.validate(book)
    assert not any(cell.get("outputs") for cell in book.cells), f"{example.name} is kept without outputs"
    for cell in executed(book, tmp_path):
        if "tune.run(" in cell.source:
            assert pages(cell), cell.source
