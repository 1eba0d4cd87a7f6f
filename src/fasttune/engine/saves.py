"""What trials have saved, and what they were given to go on from: folded from records, found again in the folder.

A checkpoint goes by its path in the experiment's folder, or by a name in memory (``checkpoint.memory_name``), for as long as
it is kept. Which are kept is decided elsewhere (``kept_checkpoints``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from fasttune.checkpoint import Checkpoint, is_row_mark, memory_key, memory_name, step_of
from fasttune.engine.facts import Origin, Saved
from fasttune.folder import JOURNAL
from fasttune.plain_files import lies_in

if TYPE_CHECKING:
    from fasttune.storage.base import Storage


class Owner(Protocol):
    """The experiment whose checkpoints they are."""

    path: str  # its folder
    storage: Storage | None  # has the contents of those in memory
    rereads: bool  # they come from the journal, whoever wrote it: no run's own

    def trial_id(self, i: int) -> str: ...
    def trial_dirname(self, i: int) -> str: ...


class Saves:
    """The checkpoints of the trials of one experiment."""

    def __init__(self, owner: Owner) -> None:
        self.unsaved: dict[str, bytes] = {}  # checkpoints in memory by name that are not stored yet
        self._marks: dict[str, bytes] = {}  # those that are rows of a call that goes on: never stored
        self._owner = owner
        self._saved: dict[int, list[Saved]] = {}  # of each trial, oldest first
        self._stored: set[tuple[int, int]] | None = None  # checkpoints in memory that are stored, if only those count
        self._saved_at: dict[int, int] = {}  # iteration of the newest checkpoint since a trial began, or was changed
        self._origins: dict[int, Origin] = {}  # what trials were given
        self._on_given: set[int] = set()  # trials that have saved nothing since they were given their origin

    # -- folding ------------------------------------------------------------------------------------------------------

    def count_only(self, stored: set[tuple[int, int]]) -> None:
        """Of checkpoints in memory only these are there: a journal is read whose storage was asked once."""
        self._stored = stored

    def may_count(self, trial: int, place: int) -> bool:
        """Whether the checkpoint in memory that a record tells of may count."""
        return self._stored is None or (trial, place) in self._stored

    def take(self, name: str, contents: bytes) -> None:
        """A checkpoint in memory has come."""
        (self._marks if is_row_mark(contents) else self.unsaved)[name] = contents

    def take_held(self, held: Iterable[tuple[int, int, bytes]]) -> None:
        """Contents that were found with their records, and are not stored yet."""
        for trial, place, contents in held:
            if is_row_mark(contents):  # of a call that is over
                continue
            self.unsaved[memory_name(trial, place)] = contents
            if self._stored is not None:
                self._stored.add((trial, place))

    def add(self, trial: int, step: int, path: str, seconds: float) -> None:
        """Trial has saved a checkpoint of iteration ``step``, after so many seconds in all."""
        kept = self._saved.setdefault(trial, [])
        if kept and step <= kept[-1].step:  # another attempt, at the same place
            kept[:] = [one for one in kept if (one.step, one.path) != (step, path)]
        kept.append(Saved(step, path, seconds))
        self._on_given.discard(trial)
        self._saved_at[trial] = step

    def change(self, trial: int, origin: Origin | None) -> None:
        """Trial goes on otherwise than before; from this checkpoint, if it was given one."""
        self._saved_at.pop(trial, None)
        if origin is not None:
            self._origins[trial] = origin
            self._on_given.add(trial)

    def forget(self, trial: int) -> None:
        """Trial starts over."""
        self._saved.pop(trial, None)
        self._origins.pop(trial, None)
        self._on_given.discard(trial)
        self._saved_at.pop(trial, None)

    def unlist(self, trial: int, path: str) -> None:
        """A checkpoint of a trial is not kept any more."""
        self._marks.pop(path, None)
        relative = self.relative(path)
        kept = self._saved.get(trial, [])
        for k, one in enumerate(kept):  # each is there once; it is mostly one of the oldest that goes
            if one.path == relative:
                del kept[k]
                break
        origin = self._origins.get(trial)
        if origin is not None and origin.path == relative:
            del self._origins[trial]
            self._on_given.discard(trial)

    # -- of one trial -------------------------------------------------------------------------------------------------

    def savers(self) -> Iterable[int]:
        """The trials that have saved something."""
        return self._saved

    def has_any(self, trial: int) -> bool:
        """It has checkpoints, or was given one."""
        return trial in self._saved or trial in self._origins

    def of(self, trial: int) -> list[Saved]:
        """Those of its own that are kept, oldest first."""
        return self._saved.get(trial, [])

    def present(self, trial: int) -> list[Saved]:
        """Those of its own that are kept and are still there, oldest first."""
        return [one for one in self._saved.get(trial, ()) if self.has(one.path)]

    def paths(self, trial: int) -> list[str]:
        """The directories, or names in memory, of its own."""
        return [self.absolute(one.path) for one in self._saved.get(trial, ())]

    def saved_at(self, trial: int) -> int | None:
        """Iteration of the newest since it began, or was changed."""
        return self._saved_at.get(trial)

    def latest(self, trial: int) -> tuple[str, int] | None:
        """(directory or name in memory, iteration) of the newest of its own that is kept, or of that which it was given.
        Whether a directory is still there is not looked at."""
        kept, origin = self._saved.get(trial), self._origins.get(trial)
        if kept and trial not in self._on_given:
            return self.absolute(kept[-1].path), kept[-1].step
        return None if origin is None else (self.absolute(origin.path), origin.step)

    def origin(self, trial: int) -> tuple[str, float] | None:
        """(directory or name in memory, seconds so far) of what it was given."""
        found = self._origins.get(trial)
        return None if found is None else (self.absolute(found.path), found.seconds)

    def seconds_at(self, trial: int, step: int) -> float:
        """How many seconds it had taken in all when it saved this iteration last."""
        return next((one.seconds for one in reversed(self._saved.get(trial, ())) if one.step == step), 0.0)

    def given_points(self) -> list[str]:
        """What trials were given and go on from, because they have saved nothing since."""
        return [self.absolute(self._origins[trial].path) for trial in self._on_given]

    # -- where they are -----------------------------------------------------------------------------------------------

    def absolute(self, path: str) -> str:
        """A checkpoint's directory by its path in the experiment's folder; a name in memory as it is."""
        return path if memory_key(path) else os.path.join(self._owner.path, path)

    def relative(self, path: str) -> str:
        """The reverse of :meth:`absolute`."""
        return path if memory_key(path) else os.path.relpath(path, self._owner.path)

    def has(self, path: str) -> bool:
        """Whether what is called so is there: a directory (relative to the experiment's or not) or one in memory."""
        key = memory_key(path)
        if key is None:
            return self._is_directory(os.path.join(self._owner.path, path))
        if path in self.unsaved or self._stored is not None:
            return path in self.unsaved or key in (self._stored or ())
        storage = self._owner.storage
        return storage is not None and storage.checkpoint(*key) is not None

    def at(self, path: str) -> str | Checkpoint:
        """The directory of this name, or the checkpoint in memory; its bytes are read when somebody needs them."""
        key = memory_key(path)
        if key is None:
            return self.absolute(path)
        step, attempt = step_of(key[1]), key[1] >> 32
        name = f"saved_{step:06d}" + (f"_{attempt}" if attempt else "")
        home = os.path.join(self._owner.path, self._owner.trial_dirname(key[0]), name)
        return Checkpoint._holding(self.unsaved.get(path) or partial(self.held, path), home, self._read_from())

    def _read_from(self) -> str | None:
        """The file that stored checkpoints are read from; None for a run's own."""
        owner = self._owner
        return os.path.join(owner.path, JOURNAL) if owner.rereads and owner.storage is not None else None

    def contents(self, path: str) -> str | bytes:
        """What a trial is to go on from: the directory, or the bytes of a checkpoint in memory. FileNotFoundError."""
        if memory_key(path):
            return self.held(path)
        if not self._is_directory(path):
            raise FileNotFoundError(f"the checkpoint {path} is not there any more; was it deleted by hand?")
        return path

    def _is_directory(self, path: str) -> bool:
        """Whether a directory is there. One of the experiment's that a link leads to is none of its own."""
        if not os.path.isdir(path):
            return False
        own = path.startswith(self._owner.path + os.sep)  # else it is what the user said trials start from
        return not own or (not os.path.islink(path) and lies_in(path, self._owner.path))

    def held(self, name: str) -> bytes:
        """A checkpoint in memory by its name. FileNotFoundError when it is not kept any more."""
        found = self.unsaved.get(name, self._marks.get(name))
        key = memory_key(name)
        storage = self._owner.storage
        if found is None and key is not None and storage is not None:
            found = storage.checkpoint(*key)
        if found is None:
            trial, place = key or (0, 0)
            raise FileNotFoundError(
                f"the checkpoint of trial {self._owner.trial_id(trial)} at iteration {step_of(place)} is not in "
                f"{self._owner.path} any more; was a better or a newer one kept in its place (num_to_keep)?"
            )
        return found
