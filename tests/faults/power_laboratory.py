"""A laboratory for power cuts: a run is recorded (``power_recording.py``), the folders that a cut may have left of it are
made (``power_images.py``), opened and gone on with (``power_examiner.py``)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from power_examiner import Examiner, Figures
from power_images import (
    Image,
    cuts,
    damaged_pages,
    flipped_bits,
    lost_logs,
    mixed,
    odd_files,
    prefixes,
    stale_logs,
    torn_tails,
)
from power_recording import Recording, compile_recorder, record


def images_of(recording: Recording, draw: random.Random, scale: float) -> Iterator[Image]:
    """Images of every kind; with ``scale`` 1 every prefix, and some hundred of the others."""

    def some(n: int) -> int:
        return max(1, round(n * scale))

    every = recording.writes()
    yield from prefixes(recording, every if scale >= 1 else sorted(draw.sample(every, some(len(every)))))
    yield from torn_tails(recording, draw, None if scale > 1 else 2 if scale == 1 else 1, some(len(every)))
    yield from cuts(recording, draw, some(80))
    yield from lost_logs(recording, draw, some(9))
    yield from mixed(recording, draw, some(40))
    yield from stale_logs(recording, draw, some(20))
    yield from damaged_pages(recording, draw, some(60))
    yield from odd_files(recording, draw, some(30))
    for where, n in (("ring", 80), ("log", 40), ("database", 20)):
        yield from flipped_bits(recording, draw, some(n), where)


def a_round(
    told: dict[str, Any], folder: Path, *, scale: float = 1.0, resumes: float = 0.3, seed: int = 0, recorder: Path | None = None
) -> Figures:
    """Record a run, make its images, examine them all: the figures, for tests and for the scorecard."""
    folder.mkdir(parents=True, exist_ok=True)
    recording = record(told, folder / "recorded", recorder or compile_recorder(folder))
    examiner = Examiner(recording, folder / "images", resumes, seed)
    return examiner.examine(images_of(recording, random.Random(seed), scale))
