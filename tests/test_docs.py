"""What stands in README.md and docs/ is true: every code block is run, every link leads somewhere.

The Python blocks of a page are one program, run as a script in an empty folder. Its SQL blocks are then asked of the
experiment that the program left behind.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import fasttune

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGE = str(Path(fasttune.__file__).resolve().parent.parent)  # the one that is tested, wherever a page is run


def blocks(page: Path, language: str, needs: str | None = None) -> list[tuple[int, str]]:
    """(line of its first line, text) of each code block of a language, of those that ``<!-- needs: .. -->`` stands above, or not."""
    text = page.read_text(encoding="utf-8")
    return [
        (text[: found.start(2)].count("\n") + 1, found.group(2))
        for found in re.finditer(rf"^(?:<!-- needs: (\w+) -->\n)?```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        if found.group(1) == needs
    ]


def program(page: Path, needs: str | None = None) -> str:
    """The page's Python blocks, each on the lines where it stands in the page."""
    lines: list[str] = []
    for first, text in blocks(page, "python", needs):
        lines += [""] * (first - 1 - len(lines))
        lines += text.splitlines()
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    script = tmp_path / f"{page.stem}.py"
    script.write_text(program(page), encoding="utf-8")
    results = tmp_path / "results"
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=tmp_path,
        env={**os.environ, "FASTTUNE_RESULTS_DIR": str(results), "PYTHONPATH": PACKAGE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{page.name}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    queries = blocks(page, "sql")
    if queries:
        (database,) = results.glob("*/experiment.db")
        connection = sqlite3.connect(database)
        for line, query in queries:
            rows = connection.execute(query).fetchall()
            assert rows, f"{page.name}:{line}: the query finds nothing"
        connection.close()


# What needs a library that `make test` does not install is a program of its own, run in that library's environment.
ELSEWHERE = [
    pytest.param(page, needs, marks=getattr(pytest.mark, needs), id=f"{page.name} {needs}")
    for page in PAGES
    for needs in ("boosting", "torch")
    if blocks(page, "python", needs)
]


@pytest.mark.parametrize(("page", "needs"), ELSEWHERE)
def test_the_code_that_needs_a_large_library_runs(page: Path, needs: str, tmp_path: Path) -> None:
    script = tmp_path / f"{page.stem}.py"
    script.write_text(program(page, needs), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env={
            **os.environ,
            "FASTTUNE_RESULTS_DIR": str(tmp_path / "results"),
            "PYTHONPATH": os.pathsep.join(filter(None, [PACKAGE, os.environ.get("PYTHONPATH")])),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{page.name}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_every_need_of_a_page_is_known() -> None:
    marked = re.compile(r"<!-- needs: (\w+) -->")
    assert {found for page in PAGES for found in marked.findall(page.read_text(encoding="utf-8"))} <= {"boosting", "torch"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_every_page_is_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [page.name for page in PAGES[1:] if f"docs/{page.name}" not in text]
    assert not missing, f"README.md does not lead to {missing}"
