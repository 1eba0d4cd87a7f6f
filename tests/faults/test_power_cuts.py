"""Power cuts: the folders that one may leave behind open, tell no lies and are gone on with (C2 rows 3, 4, 5)."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import power_script
import pytest
from power_examiner import Examiner, Figures
from power_images import Image, changed_bytes, cuts, survivors
from power_laboratory import a_round, images_of
from power_recording import (
    DATABASE,
    PAGE_BYTES,
    SYNC_BEGINS,
    SYNC_ENDED,
    TRUNCATE,
    WRITE,
    Content,
    Event,
    Recording,
    apply,
    compile_recorder,
    disk_at,
    is_ring,
    record,
)

from fasttune.executors import inline
from fasttune.storage import sqlite

RANDOM = {"kind": "random", "executor": "process", "samples": 12}
QUICK: dict[str, dict[str, Any]] = {
    "random, process": RANDOM,
    "asha, inline, full": {"kind": "asha", "executor": "inline", "samples": 12, "durability": "full"},
    "population, inline": {"kind": "population", "executor": "inline", "samples": 4},
}
WHOLE: dict[str, dict[str, Any]] = {
    "random, process": {**RANDOM, "samples": 24},
    "random, inline, small ring": {"kind": "random", "executor": "inline", "samples": 60, "ring": 1 << 13},
    "random, process, log brought in": {**RANDOM, "samples": 30, "flush_s": 0.03},
    "random, process, full": {**RANDOM, "durability": "full"},
    "asha, process": {"kind": "asha", "executor": "process", "samples": 20},
    "asha, inline, full": {"kind": "asha", "executor": "inline", "samples": 20, "durability": "full"},
    "searcher, inline": {"kind": "searcher", "executor": "inline", "samples": 16},
    "searcher, process, full": {"kind": "searcher", "executor": "process", "samples": 12, "durability": "full"},
    "population, process": {"kind": "population", "executor": "process", "samples": 4},
    "population, inline": {"kind": "population", "executor": "inline", "samples": 4},
    "population, process, full": {"kind": "population", "executor": "process", "samples": 4, "durability": "full"},
}

Note = Callable[[str, object], None]


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a disk would be asked to sync some thousand times, for nothing."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 28):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="power_", dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run has made smaller is as it was behind the test."""
    for module, name in ((inline, "RING_BYTES"), (sqlite, "FLUSH_S"), (sqlite, "FLUSH_SHARE")):
        monkeypatch.setattr(module, name, getattr(module, name))


def judge(figures: Figures, note: Note) -> None:
    """No image shows what was not, has a hole, or cannot be gone on with."""
    print(figures)
    for name, value in figures.row().items():
        note(name, value)
    assert not figures.faults, f"{figures}\n" + "\n".join(figures.stories[:10])
    assert figures.opened.total() + figures.refused.total() == figures.images.total()


@pytest.mark.parametrize("kind", QUICK)
def test_C2_3_what_a_power_cut_leaves_opens_and_goes_on(
    kind: str, quick_folder: Path, recorder: Path, record_property: Note
) -> None:
    judge(a_round(QUICK[kind], quick_folder, scale=0.06, resumes=0.15, seed=1, recorder=recorder), record_property)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", WHOLE)
def test_C2_3_every_prefix_and_torn_tail(
    kind: str, seed: int, quick_folder: Path, recorder: Path, record_property: Note
) -> None:
    told = WHOLE[kind]
    power_script.shrink(told)
    judge(a_round(told, quick_folder, scale=1.5, resumes=0.15, seed=seed, recorder=recorder), record_property)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", WHOLE)
def test_C2_3_cuts_of_runs_that_go_on_behind_a_cut(
    kind: str, seed: int, quick_folder: Path, recorder: Path, record_property: Note
) -> None:
    """What was on the disk when a run was gone on with is not lost by the next cut; twice over."""
    told = WHOLE[kind]
    power_script.shrink(told)
    draw = random.Random(seed)
    recording = record(told, quick_folder / "first", recorder)
    figures = Figures()
    for generation in range(2):
        examiner = Examiner(recording, quick_folder / f"images{generation}", resumes=0.15, seed=seed)
        begun = [image for image in cuts(recording, draw, 40) if examiner.known_of(image)]
        if not begun:
            break
        image = draw.choice(begun)
        recording = record(
            told, quick_folder / f"again{generation}", recorder, start=image.disk, known=examiner.known_of(image)
        )
        again = Examiner(recording, quick_folder / f"again_images{generation}", resumes=0.15, seed=seed)
        figures += again.examine(images_of(recording, draw, 0.4))
    judge(figures, record_property)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["process", "thread", "inline"])
def test_C2_3_no_more_than_the_last_seconds_are_lost(
    executor: str, tmp_path: Path, recorder: Path, record_property: Note
) -> None:
    """A run of some seconds that brings its log to the disk every half second; of what was never synced nothing is left."""
    told: dict[str, Any] = {"kind": "random", "executor": executor, "samples": 16, "workers": 1, "flush_s": 0.5}
    recording = record(told, tmp_path / "recorded", recorder, pause=0.05)
    draw = random.Random(1)
    moments = sorted(draw.sample(range(len(recording.events) // 2, len(recording.events)), 60))
    images = (
        Image("nothing unsynced", f"event {k}", k, survivors(recording, k, draw, keep=0.0), honest=True) for k in moments
    )
    figures = Examiner(recording, tmp_path / "images", resumes=0.1).examine(images)
    judge(figures, record_property)
    assert figures.oldest < told["flush_s"] + 3 * longest_sync(recording) + 1.0


@pytest.mark.slow
def test_C2_3_what_was_reported_before_a_long_silence_is_there(
    tmp_path: Path, recorder: Path, record_property: Note
) -> None:
    """Nobody reports any more, so nothing is stored: what was is brought to the disk all the same."""
    told = {"kind": "random", "executor": "process", "samples": 1, "workers": 1, "flush_s": 0.5}
    recording = record(told, tmp_path / "recorded", recorder, silence=3.0)
    times = [one.time for one in recording.events]
    cut = max(range(1, len(times)), key=lambda k: times[k] - times[k - 1])  # the silence's end, or that of its second half
    disk = survivors(recording, cut, random.Random(1), keep=0.0)
    figures = Examiner(recording, tmp_path / "images").examine(iter([Image("silence", "", cut, disk, honest=True)]))
    judge(figures, record_property)
    assert (figures.acknowledged, figures.lost) == (power_script.STEPS["random"], 0)


def longest_sync(recording: Recording) -> float:
    """Seconds that this machine's disk took."""
    times = [one.time for one in recording.events]
    return max(times[k] - times[k - 1] for k, one in enumerate(recording.events) if one.op == SYNC_ENDED)


# -- the laboratory itself ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording(recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record({"kind": "random", "executor": "inline", "samples": 6}, tmp_path_factory.mktemp("one") / "recorded", recorder)


def test_a_recording_is_the_whole_story(recording: Recording) -> None:
    """What was recorded, done again, is the folder that the run has left; all reports were noted."""
    disk = disk_at(recording, len(recording.events))
    folder = Path(recording.told["folder"]) / power_script.NAME
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path: content.read(0, content.size) for path, content in disk.items()} == found
    assert len(recording.made) == len(recording.acknowledged) == 6 * power_script.STEPS["random"]


def test_rings_are_seen_before_the_journal_has_them(recording: Recording) -> None:
    """Every acknowledged report is in the ring or the journal of the moment of its acknowledgement: no prefix loses one."""
    cut, _ = recording.acknowledged[len(recording.acknowledged) // 2]
    ring = next(content for path, content in disk_at(recording, cut).items() if is_ring(path))
    assert any(number > 0 and any(page) for number, page in ring.pages.items())


def test_the_examiner_sees_what_is_wrong(recording: Recording, tmp_path: Path) -> None:
    """A report that nobody made, a report that is missing, an acknowledged one that is lost."""
    examiner = Examiner(recording, tmp_path, resumes=0.0)
    last = len(recording.events)
    whole = disk_at(recording, last)
    assert not examiner.examine(iter([Image("whole", "", last, whole, honest=True, whole=True)])).faults

    made = list(recording.made)
    recording.made[7] = made[7]._replace(loss=0.0)
    assert examiner.examine(iter([Image("whole", "", last, whole)])).faults == {"wrong value": 1}
    recording.made[:] = [made[0], made[0]._replace(number=1, step=2), *made[1:]]
    assert examiner.examine(iter([Image("whole", "", last, whole)])).faults == {"wrong value": 1, "hole": 1}
    recording.made[:] = made

    early = disk_at(recording, recording.acknowledged[len(recording.acknowledged) // 2][0])
    found = examiner.examine(iter([Image("early", "", last, early, honest=True, whole=True)])).faults
    assert found == {"wrong value": 1, "hole": 1, "promise": 1}


def test_damage_is_placed_in_what_is_not_read_yet(recording: Recording) -> None:
    first, second = recording.acknowledged[3][0], recording.acknowledged[5][0]
    before, after = disk_at(recording, first), disk_at(recording, second)
    places = changed_bytes(before, after, is_ring)
    assert places
    for path, at in places:
        assert before[path].read(at // 8 * 8, 8) != after[path].read(at // 8 * 8, 8)


def test_a_disk_keeps_what_was_synced(recording: Recording) -> None:
    ended = [k for k, one in enumerate(recording.events) if one.op == SYNC_ENDED and one.path == DATABASE][-1]
    begun = [k for k in range(ended) if recording.events[k].op == SYNC_BEGINS and recording.events[k].path == DATABASE][-1]
    there = survivors(recording, ended + 1, random.Random(0), keep=0.0)[DATABASE]
    assert there.read(0, PAGE_BYTES) == disk_at(recording, begun)[DATABASE].read(0, PAGE_BYTES)


def test_contents_are_written_cut_and_flipped() -> None:
    disk: dict[str, Content] = {}
    apply(disk, Event(WRITE, "a", 4090, b"0123456789"))
    apply(disk, Event(TRUNCATE, "a", 4098, b""))
    apply(disk, Event(WRITE, "a", 4100, b"x"))
    whole = disk["a"].read(0, disk["a"].size)
    assert whole == bytes(4090) + b"01234567" + bytes(2) + b"x"
    disk["a"].flip(8 * 4100 + 1)
    assert disk["a"].read(4100, 1) == bytes([ord("x") ^ 2])
