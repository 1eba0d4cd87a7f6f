from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from fake_trials import FakeTrial, five_trials, snapshot_over

from fasttune.reporter import JupyterNotebookReporter, default_reporter


class Block:
    def __init__(self, page: str) -> None:
        self.pages = [page]

    def update(self, page: str) -> None:
        self.pages.append(page)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[Block]:
    """A notebook that keeps what is displayed."""
    shown: list[Block] = []

    def display(page: str, display_id: bool) -> Block:
        shown.append(Block(page))
        return shown[-1]

    ipython, module = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    module.HTML = str  # type: ignore[attr-defined]
    module.display = display  # type: ignore[attr-defined]
    ipython.display = module  # type: ignore[attr-defined]
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


def test_P4_one_block_is_updated(blocks: list[Block]) -> None:
    reporter = JupyterNotebookReporter()
    for _ in range(2):  # two runs
        reporter.setup(0.0, 5, "metric_1", "max")
        for done in (False, False, True):
            reporter.report(five_trials(), done, snapshot_over(five_trials()))
    assert [len(block.pages) for block in blocks] == [3, 3]


def test_P4_without_overwrite_every_report_stays(blocks: list[Block]) -> None:
    reporter = JupyterNotebookReporter(overwrite=False)
    for _ in range(3):
        reporter.report(five_trials(), False, snapshot_over(five_trials()))
    assert [len(block.pages) for block in blocks] == [1, 1, 1]


def test_P4_the_page_is_well_formed_and_escapes_what_users_say() -> None:
    from html.parser import HTMLParser

    trials = [
        *five_trials(),
        FakeTrial("<bad>", "ERROR", {"a": "<script>"}, {}, {"a": "<script>"}, num_failures=1),
    ]
    reporter = JupyterNotebookReporter(metric="metric_1", mode="max", max_progress_rows=4)
    page = reporter.html(
        snapshot_over(trials, best=("00004", 2.0, {"a": 4}), total=10, message="a & b"), False
    )
    opened: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Checker().feed(page)
    assert not opened
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    for text in (
        "Best last metric_1",
        "2.0 by 00004",
        "6/10",
        "a &amp; b",
        "Number of errored trials: 1",
        "more trials not shown",
    ):
        assert text in page


def test_P4_a_running_kernel_gets_the_notebook_reporter(blocks: list[Block]) -> None:
    assert isinstance(default_reporter(1), JupyterNotebookReporter)


def test_P4_without_ipython_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(ImportError, match="pip install ipython"):
        JupyterNotebookReporter().report([], False, snapshot_over(five_trials()))


def test_P4_the_last_table_is_short_and_has_the_best_first() -> None:
    trials = [FakeTrial(f"t{i:03d}", "TERMINATED", {}, {"loss": (7 * i) % 500}, {}) for i in range(500)]
    reporter = JupyterNotebookReporter.block()
    reporter.verbose = 1
    reporter.setup(0.0, 500, "loss", "min")
    page = reporter.html(snapshot_over(trials), True)
    shown = [int(part[:3]) for part in page.split(">t")[1:] if part[:3].isdigit()]
    assert [(7 * i) % 500 for i in shown] == list(range(15))
    assert "485 more trials not shown" in page
    assert len(page) < 20_000
    assert not reporter.sort_by_metric
