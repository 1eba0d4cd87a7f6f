"""What stands in README.md and docs/ is true: every code block is run, every link leads somewhere.

A Python block is run alone, as somebody does who copies it from its page: as a script, in an empty folder. A block whose
first line says that it goes on from the block above (or from the blocks above) is run behind that one (or all of them).
SQL blocks are asked of the experiment that the Python block before them left behind. A block below ``<!-- needs: torch -->`` is
run where that library is, by the target of its marker, and not with the others.
"""

from __future__ import annotations

import inspect
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

import fasttune
import forks
from site_modules import site_module

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
SITE = ROOT / "mkdocs.yml"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGE = str(Path(fasttune.__file__).resolve().parent.parent)  # the one that is tested, wherever a page is run

GOES_ON = re.compile(r"# goes on from the (block|blocks) above\n")
HANGS_AFTER = 120  # seconds; a program of a page takes one or two


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


class Block(NamedTuple):
    line: int  # of its first line in the page, from 1
    language: str
    text: str
    needs: str | None = None  # the marker of an environment of its own


def blocks(page: Path, language: str, needs: str | None = None) -> list[Block]:
    """The code blocks of a language that need this, in their order."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^(?:<!-- needs: (\w+) -->\n+)?```(\w+)[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    made = [Block(text[: one.start(3)].count("\n") + 1, one.group(2), one.group(3), one.group(1)) for one in found]
    return [block for block in made if (block.language, block.needs) == (language, needs)]


def before(block: Block, earlier: list[Block]) -> list[Block]:
    """What has to be run before a block, as it says itself: nothing, the block above with what that needs, or all."""
    said = GOES_ON.match(block.text)
    if said is None:
        return []
    assert earlier, f"line {block.line} goes on from a block above, and there is none"
    if said.group(1) == "blocks":
        return earlier
    return [*before(earlier[-1], earlier[:-1]), earlier[-1]]


def programs(page: Path, needs: str | None = None) -> list[list[Block]]:
    """The Python blocks, in groups that are one program each. A block that others go on from is run with them only."""
    python = blocks(page, "python", needs)
    made = [[*before(block, python[:place]), block] for place, block in enumerate(python)]
    longer = {block.line for program in made for block in program[:-1]}
    return [program for program in made if program[-1].line not in longer]


def as_script(program: list[Block]) -> str:
    """The blocks, each on the lines where it stands in the page."""
    lines: list[str] = []
    for block in program:
        lines += [""] * (block.line - 1 - len(lines))
        lines += block.text.splitlines()
    return "\n".join(lines) + "\n"


def run(script: Path, folder: Path, results: Path) -> tuple[int, str]:
    """Runs a script in a folder, as a process of its own; gives its exit status and what it printed."""
    done = forks.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": PACKAGE, "FASTTUNE_RESULTS_DIR": str(results)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        hangs_after=HANGS_AFTER,
    )
    return done.returncode, done.stdout


MARKS = {ROOT / "docs" / "tutorial.md": [pytest.mark.slow]}  # each of its runs has workers that load scikit-learn


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=MARKS.get(p, [])) for p in PAGES if blocks(p, "python")], ids=name_of
)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    left: list[tuple[int, Path]] = []  # line of the last block of a program, and its results
    for program in programs(page):
        last = program[-1].line
        folder, results = tmp_path / str(last), tmp_path / f"results_{last}"
        folder.mkdir()
        script = folder / f"page_{page.stem}.py"  # a page may be called as a module is
        script.write_text(as_script(program), encoding="utf-8")
        status, printed = run(script, folder, results)
        assert status == 0, f"{name_of(page)}:{last}:\n{printed[-6000:]}"
        left.append((last, results))
    for query in blocks(page, "sql"):
        results = [found for line, found in left if line < query.line][-1]
        (database,) = results.glob("*/experiment.db")
        connection = sqlite3.connect(database)
        rows = connection.execute(query.text).fetchall()
        connection.close()
        assert rows, f"{name_of(page)}:{query.line}: the query finds nothing"


NEEDED = re.compile(r"^<!-- needs: (\w+) -->$", re.MULTILINE)
ELSEWHERE = [
    pytest.param(page, needs, marks=getattr(pytest.mark, needs), id=f"{name_of(page)} {needs}")
    for page in PAGES
    for needs in sorted(set(NEEDED.findall(page.read_text(encoding="utf-8"))))
]

if ELSEWHERE:

    @pytest.mark.parametrize(("page", "needs"), ELSEWHERE)
    def test_the_code_that_needs_a_large_library_runs(page: Path, needs: str, tmp_path: Path) -> None:
        for program in programs(page, needs):
            last = program[-1].line
            folder = tmp_path / str(last)
            folder.mkdir()
            script = folder / f"page_{page.stem}.py"
            script.write_text(as_script(program), encoding="utf-8")
            path = os.pathsep.join(filter(None, [PACKAGE, os.environ.get("PYTHONPATH")]))
            done = subprocess.run(
                [sys.executable, script.name],
                cwd=folder,
                env={**os.environ, "FASTTUNE_RESULTS_DIR": str(tmp_path / f"results_{last}"), "PYTHONPATH": path},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{name_of(page)}:{last}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_a_block_that_needs_a_large_library_is_not_run_with_the_others(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\na\n```\n<!-- needs: torch -->\n```python\nb\n```\n```python\nc\n```\n")
    assert [[block.text for block in program] for program in programs(page)] == [["a\n"], ["c\n"]]
    assert [[block.text for block in program] for program in programs(page, "torch")] == [["b\n"]]


def test_a_block_is_run_alone_or_behind_those_that_it_names(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    fences = ["a = 1", "# goes on from the block above\nb = a", "c = 1", "# goes on from the blocks above\nd = b"]
    page.write_text("".join(f"```python\n{text}\n```\n" for text in fences))
    assert [[block.text.split("\n")[-2] for block in program] for program in programs(page)] == [
        ["a = 1", "b = a", "c = 1", "d = b"]
    ]
    page.write_text("".join(f"```python\n{text}\n```\n" for text in fences[:3]))
    assert [[block.line for block in program] for program in programs(page)] == [[2, 5], [9]]
    assert as_script(programs(page)[0]).splitlines()[4] == "# goes on from the block above"


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names by which headings of a page are linked to, as the site and GitHub make them of plain headings."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?[^)]*\)", prose(page)):
        if "://" in target:
            continue
        goal = page.parent / target if target else page
        assert goal.exists(), f"{name_of(page)} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(goal), f"{name_of(page)} links to #{anchor} of {target}, which has no such heading"


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = set(re.findall(r"[\w/]+\.md", SITE.read_text(encoding="utf-8")))
    missing = [name for page in PAGES[1:] if (name := str(page.relative_to(ROOT / "docs"))) not in listed]
    assert not missing, f"{missing}: add a line to `nav` in {SITE.name}"


def test_every_public_name_is_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = site_module("reference")
    assert reference.check() == []
    fewer = tuple(page for page in reference.PAGES if page.file != "errors")
    monkeypatch.setattr(reference, "PAGES", fewer)
    assert reference.check() == [
        "fasttune.TuneError is public and not in the reference: add it to PAGES in docs/_site/reference.py"
    ]


def test_a_docstring_becomes_markdown() -> None:
    text = """Stops trials; see :class:`~fasttune.Tuner`.

    Args:
        metric, mode: what to compare,
            and how.
        rule: one of two.

            - ``"a"``: this.
        seed: of it.

    Raises:
        ValueError: it cannot be.

    Note: this is no title.
    """
    made = site_module("docstring_text").to_markdown(inspect.cleandoc(text)).splitlines()
    assert [line for line in made if line] == [
        "Stops trials; see `Tuner`.",
        "**Arguments**",
        "- `metric`, `mode`: what to compare,",
        "    and how.",
        "- `rule`: one of two.",
        '    - ``"a"``: this.',
        "- `seed`: of it.",
        "**Raises**",
        "- `ValueError`: it cannot be.",
        "Note: this is no title.",
    ]
    assert made[made.index("- `seed`: of it.") - 1] == ""  # else it would belong to the list within


def words(lines: list[str]) -> set[str]:
    """What is no number, no id and no path."""
    return {word for line in lines if "/first_search" not in line for word in re.findall(r"\b[a-zA-Z/]{3,}\b", line)}


def test_the_recording_is_of_what_is_drawn_now() -> None:
    terminal = site_module("terminal")
    recorded = words(re.findall(r">([^<]+)</text>", terminal.PICTURE.read_text(encoding="utf-8")))
    moments = terminal.record(samples=6, epoch_s=0.08, between_s=0.1)
    drawn = words([line for moment in moments for line in moment.text])
    assert {"running", "done", "best", "last", "loss", "trials/s", "left", "CPUs"} <= drawn
    new = drawn - recorded
    assert not new, f"{new}: record it again, by python docs/_site/terminal.py"


def test_a_recording_is_a_picture() -> None:
    terminal = site_module("terminal")
    line = [terminal.Run(2, "a < b", terminal.FOREGROUND, True), terminal.Run(9, "c", "#123456", False)]
    picture = terminal.as_svg([terminal.Moment(0.0, [line]), terminal.Moment(1.0, [])])
    root = ElementTree.fromstring(picture)
    texts = [(text.text, text.get("class")) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [("a < b", "b"), ("c", "c123456")]
    assert terminal.Moment(0.0, [line]).text == ["  a < b  c"]
    assert ".c123456 { fill: #123456 }" in picture
    assert "25.00% { visibility: visible } }" in picture  # the second of four seconds begins


@pytest.mark.slow  # it loads scikit-learn
def test_the_picture_is_of_the_run_that_it_says(tmp_path: Path) -> None:
    slices = site_module("slices")
    analysis = slices.run(str(tmp_path), num_samples=3)
    picture = ElementTree.parse(slices.PICTURE).getroot()
    shown = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {key.removeprefix("config/") for key in analysis.results_df if key.startswith("config/")} <= shown
    assert "best loss (min)" in shown
