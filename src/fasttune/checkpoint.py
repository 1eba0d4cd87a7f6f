"""What a trial saved: a directory on this machine, and the notes kept with it.

A checkpoint is never half there: directories are written beside their final place and renamed into it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

METADATA_FILE = ".metadata.json"
WRITING = ".writing"  # beside the checkpoints: what is in here is not finished, and nothing refers to it


class _Gone:
    """A method of old releases: asking for it says what to call now."""

    def __init__(self, name: str, instead: str) -> None:
        self._text = f"Checkpoint.{name} is not offered: a checkpoint is a directory. Use {instead}."

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        raise AttributeError(self._text)


class Checkpoint:
    """A handle on a checkpoint directory. Making one reads and writes nothing.

    Two handles are equal when they name the same directory. A handle can be given wherever a path can.
    """

    __slots__ = ("path",)

    path: str

    def __init__(self, path: str | os.PathLike[str], filesystem: None = None) -> None:
        text = os.fspath(path)
        if not isinstance(text, str) or not text:
            raise TypeError(f"Checkpoint needs the path of a directory as text, got {path!r}")
        if filesystem is not None or "://" in text:
            raise ValueError(
                f"a checkpoint is a directory of this machine, got path {text!r} and filesystem "
                f"{filesystem!r}; "
                "copy it here first and give its local path"
            )
        self.path = os.path.abspath(text)

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """The handle on ``path``. Nothing is copied: the directory must stay until it has been reported."""
        return cls(path)

    @property
    def filesystem(self) -> None:
        """Always None: the local file system."""
        return None

    def to_directory(self, path: str | os.PathLike[str] | None = None) -> str:
        """Copy the contents into ``path`` (a new temporary directory if None) and return where they are."""
        import shutil
        import tempfile

        self._check_exists()
        target = tempfile.mkdtemp(prefix="checkpoint_") if path is None else os.path.abspath(os.fspath(path))
        if target != self.path:
            shutil.copytree(self.path, target, dirs_exist_ok=True)
        return target

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        """The directory itself, for reading. It is not a copy: what is changed in it stays changed."""
        self._check_exists()
        yield self.path

    def get_metadata(self) -> dict[str, Any]:
        """What ``set_metadata`` stored, {} if nothing was."""
        import json

        try:
            with open(os.path.join(self.path, METADATA_FILE), encoding="utf-8") as file:
                metadata: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return {}
        return metadata

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        """Store JSON values with the checkpoint, in place of earlier ones."""
        import json

        self._check_exists()
        target = os.path.join(self.path, METADATA_FILE)
        with open(target + ".new", "w", encoding="utf-8") as file:
            json.dump(metadata, file)
        os.replace(target + ".new", target)

    def update_metadata(self, metadata: dict[str, Any]) -> None:
        """Add JSON values to the stored ones; a key that is there already gets the new value."""
        self.set_metadata({**self.get_metadata(), **metadata})

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"Checkpoint(filesystem=local, path={self.path})"

    def __eq__(self, other: object) -> bool:
        return self.path == other.path if isinstance(other, Checkpoint) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.path)

    def _check_exists(self) -> None:
        if not os.path.isdir(self.path):
            raise FileNotFoundError(
                f"checkpoint directory {self.path} does not exist; "
                "was it deleted, or did the experiment keep only its best checkpoints (num_to_keep)?"
            )

    from_dict = _Gone("from_dict", "from_directory, after writing the dict to a file of your choice in it")
    to_dict = _Gone("to_dict", "as_directory, and read the file that was written there")
    from_bytes = _Gone("from_bytes", "from_directory")
    to_bytes = _Gone("to_bytes", "as_directory")
    from_uri = _Gone("from_uri", "from_directory, with a local directory")
    to_uri = _Gone("to_uri", "to_directory, with a local directory")


@contextmanager
def whole_directory(target: str) -> Iterator[str]:
    """A new directory of the same name to write in; it becomes ``target`` when the block ends well.

    If the block raises, nothing stays behind. A directory that stands at ``target`` is replaced in the end.
    """
    parent, name = os.path.split(target)
    staging = os.path.join(parent, WRITING)
    unfinished = os.path.join(staging, name)
    os.makedirs(staging, exist_ok=True)
    _remove(unfinished)  # of a trial that was killed here
    os.mkdir(unfinished)
    try:
        yield unfinished
        _rename_over(unfinished, target)
    except BaseException:
        _remove(unfinished)
        raise
    finally:
        _leave(os.rmdir, staging)


def copy_whole(source: str, target: str) -> None:
    """Copy a directory so that ``target`` is either all there or not at all. Links are followed."""
    import shutil

    if not os.path.isdir(source):
        raise FileNotFoundError(
            f"the reported checkpoint {source} is not a directory; "
            "report it before the temporary directory that holds it is deleted"
        )
    with whole_directory(target) as unfinished:
        shutil.copytree(source, unfinished, dirs_exist_ok=True)


def _rename_over(unfinished: str, target: str) -> None:
    """Rename a directory into place. An old one is moved aside first: directories cannot be swapped."""
    if os.path.isdir(target):
        old = unfinished + ".old"
        _remove(old)
        os.rename(target, old)
        os.rename(unfinished, target)
        _remove(old)
    else:
        os.rename(unfinished, target)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        import shutil

        shutil.rmtree(path)


def _leave(step: Callable[[str], object], path: str) -> None:
    """Do a tidying step that may fail without harm, as when somebody else still writes in the folder."""
    try:
        step(path)
    except OSError:
        return
