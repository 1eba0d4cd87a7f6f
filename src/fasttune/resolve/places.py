"""The folder of a run: which one it is, who has it, and what is made for it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from fasttune.config import Experiment, ResumeConfig, TrainableSpec, resolve_resume
from fasttune.error import TuneError
from fasttune.folder import JOURNAL, LONGEST_NAME, cut
from fasttune.plain_files import check_before_writing
from fasttune.resolve.call import Call
from fasttune.working_directory import absolute

if TYPE_CHECKING:
    from fasttune.storage.recovery import ExperimentLock


class StoragePlace(NamedTuple):
    """Where a run is stored: in a folder of its own, or, to be gone on with, where the last one of that name is."""

    root: str
    name: str
    dated: bool
    restored: str | None = None  # the folder itself, when it was named
    resume: ResumeConfig | None = None
    trust: bool = False

    def beside(self, folder: str) -> str:
        """The name, if the folder is another one because an experiment was in that; "" if nothing could have been meant but a
        new one."""
        new = self.restored is None and self.resume is None and not self.dated
        return self.name if new and folder != numbered(self.root, self.name, 1) else ""

    def claim(self) -> Claim:
        """Take the folder, made if it is a new one. ExperimentLockedError when another process is writing there what
        this run would go on with."""
        if self.restored is not None:
            from fasttune.storage.recovery import ExperimentLock

            check_before_writing(self.restored, self.trust)
            return Claim(self.restored, ExperimentLock(self.restored), self.restored)
        if self.resume is not None:
            return claim_to_go_on(self.root, self.name, self.trust)
        return claim_folder(self.root, self.name, exclusive=self.dated)


class Claim(NamedTuple):
    """A folder whose lock is held: what was seen of it stays so."""

    folder: str
    lock: ExperimentLock
    earlier: str | None = None  # the folder, if it holds an experiment to go on with
    made: tuple[str, ...] = ()  # folders that were made for it, the outermost first

    def give_up(self) -> None:
        """Let go of it, and take away what was made."""
        if self.folder in self.made:
            self.lock.remove()
        for folder in reversed(self.made):
            with suppress(OSError):  # somebody has put something into it
                os.rmdir(folder)
        self.lock.release()


def find_place(experiments: Sequence[Experiment], trainables: Sequence[TrainableSpec], call: Call) -> StoragePlace:
    """Where the run is to be stored, and whether it goes on with what is there. Makes nothing yet."""
    if call.restored_path is not None:
        return StoragePlace("", "", False, call.restored_path, call.resume_config, call.trust)
    resume = call.resume_config or resolve_resume(call.resume)
    root = call.storage_path or experiments[0].storage_path or default_storage()
    given = call.name or next((one.name for one in experiments if one.name), None)
    name, dated = experiment_name(given, trainables[0].name, time.localtime(), os.environ)
    if resume is None:
        return StoragePlace(root, name, dated)
    if dated:
        raise ValueError(
            f"resume={call.resume!r} needs name=...: without one every run has a new folder with its date, "
            "so there is never anything to go on with"
        )
    if latest_folder(root, name) is None and (call.resume is True or call.resume_config is not None):
        raise ValueError(
            f"nothing to resume: there is no {JOURNAL} in {os.path.join(root, name)}. resume='AUTO' starts a "
            "new experiment in that case"
        )
    return StoragePlace(root, name, False, None, resume, call.trust)


def how_to_go_on(folder: str, door: str) -> str:
    """The call that goes on with this experiment, for people."""
    if door == "Tuner":
        return f"Tuner.restore({folder!r}, trainable).fit()"
    if door == "run_experiments":
        return "run_experiments(..., resume='AUTO')"
    root, name = os.path.split(folder)
    if door == "command":
        import shlex

        return f"fasttune resume {shlex.quote(name if root == default_storage() else folder)}"
    place = "" if root == default_storage() else f", storage_path={root!r}"
    return f"tune.run(..., name={name!r}{place}, resume='AUTO')"


def default_storage() -> str:
    """Where experiments are stored when nobody says where."""
    return absolute(os.environ.get("FASTTUNE_RESULTS_DIR") or "~/fasttune_results", "$FASTTUNE_RESULTS_DIR")


def experiment_name(
    given: str | None, trainable_name: str, now: time.struct_time, environ: Mapping[str, str]
) -> tuple[str, bool]:
    """The name of an experiment, and whether it bears the date and so belongs to this run alone."""
    if given is not None:
        if not given or os.path.isabs(given) or ".." in given.split("/") or "\0" in given:
            raise ValueError(f"name must be a folder name below storage_path, got {given!r}")
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in given.split("/")):
            raise ValueError(f"name must be at most {LONGEST_NAME} bytes long, which is what folders leave to it, got {given!r}")
        return given, False
    trainable_name = cut(trainable_name, LONGEST_NAME)
    if environ.get("TUNE_DISABLE_DATED_SUBDIR", "0") not in ("", "0"):
        return trainable_name, False
    return f"{trainable_name}_{time.strftime('%Y-%m-%d_%H-%M-%S', now)}", True


def claim_folder(root: str, name: str, *, exclusive: bool) -> Claim:
    """Takes ``root/name``, or ``root/name_2`` and so on: the first that holds no experiment yet, and that no other
    process is about to begin one in. With ``exclusive`` the folder is one that did not exist."""
    from fasttune.error import ExperimentLockedError
    from fasttune.storage.recovery import ExperimentLock

    attempt = 1
    while attempt < 1_000_000:
        folder = numbered(root, name, attempt)
        made = make_folders(folder)
        if folder not in made and (exclusive or not os.path.isdir(folder) or holds_experiment(folder)):
            attempt += 1
            continue
        try:
            lock = ExperimentLock(folder)
        except FileNotFoundError:  # whoever had made it was refused, and took it away
            continue
        except ExperimentLockedError:
            attempt += 1
            continue
        if not holds_experiment(folder):
            return Claim(folder, lock, None, made)
        lock.release()
        attempt += 1
    raise TuneError(f"{os.path.join(root, name)} and a million numbered folders beside it are taken")


def claim_to_go_on(root: str, name: str, trust: bool) -> Claim:
    """Takes the folder of the last experiment of that name, or the first one's to be. Of two processes that come at the
    same moment one gets the lock; the other one is refused, or finds what the first one has done."""
    from fasttune.storage.recovery import ExperimentLock

    while True:
        folder = latest_folder(root, name) or numbered(root, name, 1)
        made = make_folders(folder)
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise NotADirectoryError(f"{folder} is to be the folder of an experiment, and is a file")
        try:
            check_before_writing(folder, trust)
            lock = ExperimentLock(folder)
        except FileNotFoundError:  # whoever had made it was refused, and took it away
            continue
        if (latest_folder(root, name) or folder) == folder:
            return Claim(folder, lock, folder if holds_experiment(folder) else None, made)
        lock.release()  # a later one has appeared meanwhile


def make_folders(folder: str) -> tuple[str, ...]:
    """Makes a folder and those above it that are missing; which ones were made here, the outermost first."""
    missing = []
    above = folder
    while not os.path.lexists(above):
        missing.append(above)
        above = os.path.dirname(above)
    made: list[str] = []
    for one in reversed(missing):
        try:
            os.mkdir(one)
        except FileExistsError:  # another process makes it at the same moment
            continue
        except FileNotFoundError:
            if os.path.lexists(os.path.dirname(one)):
                raise
            return (*made, *make_folders(folder))  # another process takes away what it had made
        made.append(one)
    return tuple(made)


def holds_experiment(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, JOURNAL))


def latest_folder(root: str, name: str) -> str | None:
    """The folder of the last experiment of that name; None if there is none."""
    latest = None
    attempt = 1
    while os.path.isdir(folder := numbered(root, name, attempt)):
        if holds_experiment(folder) and (attempt == 1 or name_asked(folder, name) == name):
            latest = folder
        attempt += 1
    return latest


def name_asked(folder: str, otherwise: str) -> str:
    """The name that was asked for when the experiment in a folder began: mnist_2 may be the second of mnist, or somebody's
    mnist_2. Journals of earlier versions do not say."""
    from fasttune.engine.meta import first_meta
    from fasttune.error import JournalError
    from fasttune.storage.reader import SqliteReader

    try:
        found = first_meta(SqliteReader(folder).read(), folder).get("asked_name")
    except (JournalError, OSError):
        return otherwise
    return found if isinstance(found, str) else otherwise


def numbered(root: str, name: str, attempt: int) -> str:
    """The folder of the n-th experiment of one name."""
    return os.path.join(root, name if attempt == 1 else f"{name}_{attempt}")
