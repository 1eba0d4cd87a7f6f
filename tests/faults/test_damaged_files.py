"""Files that were cut, flipped or zeroed: what lies before is read, damage is said, nothing wrong is shown (C2 rows 4, 5)."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from laboratory import Lab

import fasttune as tune
from fasttune.cli.examination import Examination, repaired
from fasttune.error import JournalError

Note = Callable[[str, object], None]
Seen = dict[tuple[int, int], dict[str, float]]  # trial, step -> its numbers


class Killed:
    """The folder of a run that was killed, with what it shows while it is whole."""

    def __init__(self, lab: Lab, tmp_path: Path) -> None:
        process = lab.start(lab.told("endless", "process", samples=4, workers=2))
        assert lab.wait_for_acks(400, process)
        lab.kill_everything()
        process.wait()
        lab.nobody_left()
        self.whole = tmp_path / "whole"
        shutil.move(lab.experiment, self.whole)
        self.acks = set(lab.acks())
        self.copy = tmp_path / "copy" / "crash"
        self.said = 0  # times that damage was told
        self.seen = self.look()
        assert self.acks <= {int(numbers["number"]) for numbers in self.seen.values()}

    def look(self, damage: Callable[[Path], None] | None = None) -> Seen:
        """Every report that a reader shows of a copy that was damaged; nothing when it is refused in words."""
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.whole, self.copy)
        if damage is not None:
            damage(self.copy)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                analysis: Any = tune.ExperimentAnalysis(str(self.copy))
                blocks = analysis._source.report_blocks()
            except (JournalError, OSError):
                self.said += 1
                return {}
        self.said += bool(caught) if damage is not None else 0
        found: Seen = {}
        for block in blocks:
            trials, steps = (memoryview(one).cast("B").cast("i") for one in (block.trial, block.step))
            columns = {key: memoryview(one).cast("B").cast("d") for key, one in zip(block.keys, block.values, strict=True)}
            for row in range(len(trials)):
                found[trials[row], steps[row]] = {key: column[row] for key, column in columns.items()}
        return found


@pytest.fixture
def killed(lab: Lab, tmp_path: Path) -> Killed:
    return Killed(lab, tmp_path)


def files_of(folder: Path) -> list[Path]:
    """What holds reports: the database, its log, the rings."""
    found = [folder / "experiment.db", folder / "experiment.db-wal", *sorted((folder / "rings").glob("*"))]
    return [path for path in found if path.exists() and path.stat().st_size]


def written(content: bytes | bytearray) -> list[int]:
    """Where something lies, in steps of 64 bytes: the most of a ring is empty."""
    view = memoryview(content)
    empty = bytes(4096)
    pages = [at for at in range(0, len(content) - 4095, 4096) if view[at : at + 4096] != empty]
    return [at + k for at in pages for k in range(0, 4096, 64) if any(view[at + k : at + k + 64])]


def cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize(
    "cuts", [pytest.param(40, id="some"), pytest.param(4000, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_C2_4_files_that_were_cut(killed: Killed, cuts: int, record_property: Note) -> None:
    """The end of each file, byte by byte, and anywhere in it. What is shown was reported, without a hole."""
    draw = random.Random(cuts)
    tried = opened = wrong = 0
    for path in files_of(killed.whole):
        size = path.stat().st_size
        each = max(4, cuts // len(files_of(killed.whole)))
        near = list(range(size - 1, max(0, size - each // 2), -1))
        for at in near + [draw.randrange(size) for _ in range(each - len(near))]:
            def damage(folder: Path, path: Path = path, at: int = at) -> None:
                cut(folder / path.relative_to(killed.whole), at)

            found = killed.look(damage)
            tried += 1
            opened += bool(found)
            wrong += any(killed.seen.get(key) != value for key, value in found.items())
    record_property("cuts", tried)
    record_property("opened", opened)
    record_property("wrong values", wrong)
    assert wrong == 0


@pytest.mark.parametrize(
    "changes",
    [pytest.param(40, id="some"), pytest.param(10_000, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_C2_5_bytes_that_were_flipped_or_zeroed(killed: Killed, changes: int, record_property: Note) -> None:
    """One to 64 bytes anywhere: no crash, and no value that was not reported."""
    draw = random.Random(changes)
    opened = wrong = whole = 0
    files = files_of(killed.whole)
    for _ in range(changes):
        path = draw.choice(files)
        content = bytearray(path.read_bytes())
        at = draw.choice(written(content)) + draw.randrange(64)
        length = draw.choice([1, 1, 1, 8, 64])
        if draw.random() < 0.5:
            content[at] ^= 1 << draw.randrange(8)
        else:
            content[at : at + length] = bytes(len(content[at : at + length]))

        def damage(folder: Path, path: Path = path, content: bytearray = content) -> None:
            (folder / path.relative_to(killed.whole)).write_bytes(content)

        found = killed.look(damage)
        opened += bool(found)
        whole += found == killed.seen
        wrong += any(killed.seen.get(key) != value for key, value in found.items())
    record_property("changes", changes)
    record_property("opened", opened)
    record_property("nothing missing", whole)
    record_property("said", killed.said)
    record_property("wrong values", wrong)
    assert wrong == 0


def test_C2_5_what_sqlite_refuses_is_read_and_the_copy_that_the_message_names_goes_on(tmp_path: Path) -> None:
    """A bit in the words that say which tables there are: readers do without SQLite, which writes, and refuses."""

    def train(config: dict[str, Any]) -> None:
        for n in range(3):
            tune.report(loss=config["x"] * n)

    def run(name: str) -> tune.ExperimentAnalysis:
        space = {"x": tune.uniform(0, 1)}
        return tune.run(
            train, config=space, num_samples=6, name=name, storage_path=tmp_path, executor="inline", resume="AUTO", seed=1, verbose=0
        )

    run("whole")
    whole = (tmp_path / "whole" / "experiment.db").read_bytes()
    places = [found + 2 for name in ("journal", "checkpoints") for found in [whole.index(b"CREATE TABLE " + name.encode())]]
    opens = (20, 50)  # SQLite looks at neither
    for at in [1, 17, 100, 103, 108, *opens, *places, *(place + 13 for place in places), *(place + 30 for place in places)]:
        folder = tmp_path / f"bit_of_{at}"
        shutil.copytree(tmp_path / "whole", folder)
        damaged = bytearray(whole)
        damaged[at] ^= 4
        (folder / "experiment.db").write_bytes(damaged)
        if at not in opens:
            with pytest.raises(JournalError, match=f"fasttune doctor {folder} --repair"):
                run(folder.name)
            found = Examination(str(folder))
            assert any("--repair" in text for _, well, text in found.checks() if not well)
            assert len(run(Path(repaired(found)).name).trials) == 6
        assert tune.ExperimentAnalysis(folder).results_df.shape[0] == 6, at
        assert len(run(folder.name if at in opens else f"{folder.name}_repaired").trials) == 6
