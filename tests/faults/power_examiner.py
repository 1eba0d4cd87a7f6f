"""Opens images of an experiment, goes on with them, and holds both against the truth: the reports that trials made, and
those that were acknowledged."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import power_script
from power_images import Image
from power_recording import DATABASE, JOURNAL, Recording, Report, read_truth

import fasttune
from fasttune.cli.examination import Examination, repaired
from fasttune.error import JournalError
from fasttune.result import reports_by_trial


class Shown(NamedTuple):
    """A trial as an opened experiment shows it."""

    status: str
    x: float
    raw: tuple[tuple[int, int, float, int], ...]  # step, number, loss, digest of all reports, in the order of their time
    counted: tuple[tuple[int, int], ...]  # step and number of those that count
    last: tuple[int, int] | None


@dataclass
class Figures:
    """What a round came to; sums of rounds are rounds."""

    images: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)
    resumed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0  # at the moments of cuts that a disk may leave
    lost: int = 0  # of these
    oldest: float = 0.0  # seconds before the cut at which the oldest of them was acknowledged
    stories: list[str] = field(default_factory=list)

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.images + other.images,
            self.opened + other.opened,
            self.resumed + other.resumed,
            self.refused + other.refused,
            self.faults + other.faults,
            self.acknowledged + other.acknowledged,
            self.lost + other.lost,
            max(self.oldest, other.oldest),
            self.stories + other.stories,
        )

    def row(self) -> dict[str, int]:
        """For the scorecard."""
        return {
            "images": self.images.total(),
            "opened": self.opened.total(),
            "refused in words": self.refused.total(),
            "resumed": self.resumed.total(),
            "wrong values": self.faults["wrong value"],
            "holes": self.faults["hole"],
            "promised acks lost": self.faults["promise"],
            "acks": self.acknowledged,
            "acks lost": self.lost,
            "oldest lost ack (ms)": round(1000 * self.oldest),
            "faults": self.faults.total(),
        }

    def __str__(self) -> str:
        lines = [", ".join(f"{name} {value}" for name, value in self.row().items())]
        for kind, n in sorted(self.images.items()):
            lines.append(f"  {kind}: opened {self.opened[kind]}/{n}, resumed {self.resumed[kind]}")
        lines += [f"  fault {word}: {n}" for word, n in self.faults.most_common()]
        return "\n".join(lines)


class Fault(Exception):
    """Something that must not be: ``word`` is its kind."""

    def __init__(self, word: str, text: str) -> None:
        super().__init__(text)
        self.word = word


class Refused(Exception):
    """An error in words, where that is an answer."""


def show(path: Path) -> dict[str, Shown]:
    """The experiment in a folder, as users are shown it."""
    analysis = fasttune.ExperimentAnalysis(str(path))
    source: Any = analysis._source
    raw: dict[int, list[tuple[float, int, int, float, int]]] = {}
    blocks = source.report_blocks()
    for block in blocks:
        columns = {name: numbers(block.values[at], "d") for at, name in enumerate(block.keys)}
        times, steps = numbers(block.time, "d"), numbers(block.step, "i")
        for row, trial in enumerate(numbers(block.trial, "i")):
            number, loss = (columns[name][row] if name in columns else float("nan") for name in ("number", "loss"))
            digest = columns["digest"][row] if "digest" in columns else 0.0
            told = (times[row], steps[row], as_int(number), loss, as_int(digest))
            raw.setdefault(trial, []).append(told)
    counted = reports_by_trial(blocks)
    shown: dict[str, Shown] = {}
    for trial in analysis.trials:
        last = trial.last_result
        shown[trial.trial_id] = Shown(
            trial.status,
            trial.config["x"],
            tuple(one[1:] for one in sorted(raw.get(trial.index, []), key=lambda one: one[0])),
            tuple((one.step, as_int(one.metrics.get("number", -1))) for one in counted.get(trial.index, [])),
            (last["training_iteration"], as_int(last["number"])) if "number" in last else None,
        )
    return shown


def numbers(column: Any, kind: str) -> list[Any]:
    """A column of a block."""
    return list(memoryview(column).cast("B").cast(kind))


def as_int(value: float) -> int:
    return int(value) if value == value and abs(value) < 1 << 62 else -1


def journal_rows(folder: Path) -> int:
    """How many entries the journal of a folder has, by SQLite alone, on a copy."""
    copy = folder.with_name(folder.name + "_alone")
    copy.mkdir()
    try:
        for name in JOURNAL:
            if (folder / name).exists():
                shutil.copy(folder / name, copy / name)
        connection = sqlite3.connect(copy / DATABASE)
        try:
            return int(connection.execute("SELECT count(*) FROM journal").fetchone()[0])
        except (sqlite3.DatabaseError, UnicodeDecodeError):  # the latter is SQLite's message, with a damaged name in it
            return 0
        finally:
            connection.close()
    finally:
        shutil.rmtree(copy)


def mend(path: Path) -> None:
    """The copy that `fasttune doctor --repair` makes, in the place of the experiment."""
    copy = repaired(Examination(str(path)))
    shutil.rmtree(path)
    os.rename(copy, path)


class Examiner:
    """Opens images of one recording and goes on with them, in ``folder``."""

    def __init__(self, recording: Recording, folder: Path, resumes: float = 1.0, seed: int = 0) -> None:
        self.recording = recording
        self.folder = folder
        self.figures = Figures()
        self._resumes = resumes  # share of the images that are also resumed
        self._draw = random.Random(seed)
        self._count = 0

    def known_of(self, image: Image) -> list[Report]:
        """The reports that an image shows, those of each trial in their order."""
        by_number = {report.number: report for report in self.recording.made}
        folder = self.folder / "known" / power_script.NAME
        image.store(folder)
        try:
            shown = show(folder)
        except JournalError:  # it had not begun
            return []
        finally:
            shutil.rmtree(folder.parent)
        return [by_number[number] for one in shown.values() for _, number, _, _ in one.raw]

    def examine(self, images: Iterator[Image]) -> Figures:
        for image in images:
            self._one(image)
        return self.figures

    def _one(self, image: Image) -> None:
        figures = self.figures
        home = self.folder / f"image{self._count}"
        self._count += 1
        figures.images[image.kind] += 1
        path = home / power_script.NAME
        image.store(path)
        truth = home / "truth"
        wrong = False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                before = self._open(image, path)
                figures.opened[image.kind] += 1
                if self._draw.random() < self._resumes:
                    self._resume(home, path, truth, before)
                    figures.resumed[image.kind] += 1
        except Refused:
            figures.refused[image.kind] += 1
        except Fault as fault:
            wrong = True
            figures.faults[fault.word] += 1
            figures.stories.append(f"{fault.word}: {image.kind}, {image.name}: {fault}")
        finally:
            if not wrong or not os.environ.get("POWER_KEEP"):
                shutil.rmtree(home)
            else:
                figures.stories[-1] += f" [{home}]"

    def _open(self, image: Image, path: Path) -> dict[str, Shown] | None:
        """What the image shows, checked; None when its experiment had not begun."""
        rows = journal_rows(path)
        try:
            shown = show(path)
        except JournalError as error:
            if image.may_refuse:
                raise Refused from error
            if rows:
                raise Fault("unreadable", f"{rows} entries, but {error}") from error
            shown = None
        except BaseException as error:
            raise Fault("unreadable", "".join(traceback.format_exception(error)[-3:])) from error
        found = {} if shown is None else shown
        self._check_values(found, self.recording.made)
        for trial, one in found.items():
            self._check_prefix(trial, one, [report for report in self.recording.made if report.trial == trial])
        acknowledged = [*self.recording.known, *self.recording.acknowledged_before(image.cut)]
        numbers = {number for one in found.values() for _, number, _, _ in one.raw}
        lost = [report for report in acknowledged if report.number not in numbers]
        if image.honest:
            self.figures.acknowledged += len(acknowledged)
            self.figures.lost += len(lost)
            if any(report in lost for report in self.recording.known):
                raise Fault("promise", "reports that were on the disk when it was gone on with are lost")
            if lost:
                gone, events = {report.number for report in lost}, self.recording.events
                first = min(k for k, report in self.recording.acknowledged if report.number in gone)
                age = events[image.cut - 1].time - events[max(0, first - 1)].time
                self.figures.oldest = max(self.figures.oldest, age)
            if lost and (image.whole or self.recording.full):
                raise Fault("promise", f"{len(lost)} of {len(acknowledged)} acknowledged reports are lost, e.g. {lost[0]}")
        return shown

    def _check_values(self, shown: Mapping[str, Shown], made: Sequence[Report]) -> None:
        """Every report that is shown was made by that trial, at that step, with these values; each once."""
        by_number = {report.number: report for report in made}
        seen: set[int] = set()
        for trial, one in shown.items():
            for step, number, loss, digest in one.raw:
                true = by_number.get(number)
                if true is None or (true.trial, true.step, true.loss, true.digest) != (trial, step, loss, digest):
                    raise Fault("wrong value", f"trial {trial}: step {step}, number {number}, loss {loss}; it made {true}")
                if number in seen:
                    raise Fault("twice", f"trial {trial}: step {step} is there twice")
                seen.add(number)
                if loss != power_script.loss_of(true.x, step):
                    raise Fault("wrong value", f"trial {trial}: step {step} of a config that it was not trained with")
            if one.last is not None and (not one.counted or one.last != one.counted[-1]):
                raise Fault("last result", f"trial {trial}: {one.last} after {one.counted[-3:]}")
            if one.last is None and one.counted:
                raise Fault("last result", f"trial {trial}: none after {one.counted[-3:]}")
            if one.raw and self.recording.told["kind"] != "population":
                true = by_number[one.raw[-1][1]]
                if one.x != true.x:
                    raise Fault("wrong value", f"trial {trial}: its config has x {one.x}, it was trained with {true.x}")

    def _check_prefix(self, trial: str, one: Shown, made: Sequence[Report]) -> None:
        """The reports of a trial are the first ones that it made, in their order."""
        numbers = [number for _, number, _, _ in one.raw]
        expected = [report.number for report in made[: len(numbers)]]
        if numbers != expected:
            steps = [step for step, _, _, _ in one.raw]
            raise Fault("hole", f"trial {trial} ({one.status}) shows steps {steps} of {[report.step for report in made]}")
        if one.status == "TERMINATED" and len(numbers) < len(made):
            raise Fault("hole", f"trial {trial} is finished with {len(numbers)} of {len(made)} reports")

    def _resume(self, home: Path, path: Path, truth: Path, before: dict[str, Shown] | None) -> None:
        told = {**self.recording.told, "folder": str(home)}
        kept = os.environ.get(power_script.TRUTH)
        os.environ[power_script.TRUTH] = str(truth)
        try:
            try:
                power_script.run(told)
            except JournalError as error:
                if "--repair" not in str(error):
                    raise
                mend(path)  # what the message says is to be true
                power_script.run(told)
        except BaseException as error:
            raise Fault("not resumed", "".join(traceback.format_exception(error)[-3:])) from error
        finally:
            os.environ.pop(power_script.TRUTH)
            if kept is not None:
                os.environ[power_script.TRUTH] = kept
        made, _ = read_truth(truth.read_text().splitlines() if truth.exists() else [])
        try:
            after = show(path)
        except BaseException as error:
            raise Fault("unreadable after", "".join(traceback.format_exception(error)[-3:])) from error
        self._check_values(after, [*self.recording.made, *made])
        self._check_whole(before or {}, after, made)
        if show(path) != after:
            raise Fault("changing", "a second opening shows something else")

    def _check_whole(self, before: Mapping[str, Shown], after: Mapping[str, Shown], made: Sequence[Report]) -> None:
        """The experiment is at its end: what had been there still is, and what was made since is there too."""
        told = self.recording.told
        if len(after) != told["samples"]:
            raise Fault("number of trials", f"{len(after)} of {told['samples']}")
        if not before.keys() <= after.keys():
            raise Fault("number of trials", f"trials have gone: {before.keys() - after.keys()}")
        new: dict[str, list[int]] = {}
        for report in made:
            new.setdefault(report.trial, []).append(report.number)
        for trial, one in after.items():
            was = before.get(trial)
            if one.status != "TERMINATED":
                raise Fault("not finished", f"trial {trial} is {one.status}")
            if was is not None and was.status == "TERMINATED" and (trial in new or one != was):
                raise Fault("finished again", f"trial {trial} was finished with {was.counted}, now {one.counted}")
            numbers = [number for _, number, _, _ in one.raw]
            expected = [number for _, number, _, _ in (was.raw if was is not None else ())] + new.get(trial, [])
            if numbers != expected:
                raise Fault("hole", f"trial {trial}: {len(numbers)} reports after it went on, {len(expected)} expected")
            self._check_steps(trial, [step for step, _ in one.counted])
        if told["kind"] == "population":
            self._check_chain([*self.recording.made, *made])

    def _check_steps(self, trial: str, steps: list[int]) -> None:
        kind = self.recording.told["kind"]
        last = power_script.STEPS[kind]
        if kind == "asha":
            last = min(last, max(steps, default=0))
        if kind == "population" and steps:  # one that copies what has come to its end reports nothing any more
            return
        if not steps or steps != list(range(1, last + 1)):
            raise Fault("hole", f"trial {trial} ended with steps {steps} of {last}")

    def _check_chain(self, made: Sequence[Report]) -> None:
        """Every step of a population goes on from a state that one of its members was in."""
        states = {(0, power_script.FIRST), *((report.step, report.digest) for report in made)}
        for report in made:
            if (report.step - 1, report.before) not in states:
                raise Fault("wrong value", f"trial {report.trial} went on at step {report.step} from a state nobody was in")
            if report.digest != power_script.digest_of(report.before, report.x, report.step):
                raise Fault("wrong value", f"trial {report.trial}: its state does not follow from its config")
