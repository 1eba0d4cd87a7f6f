"""What a trial saved: a directory on this machine or a few bytes in memory, and the notes kept with it.

A checkpoint is never half there: directories are written in a place of their own and renamed into their final one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from fasttune.folder import WRITING as WRITING
from fasttune.plain_files import check_owner, is_own_path, may_write_below, plain_opener
from fasttune.script import dumps

METADATA_FILE = ".metadata.json"
DICT_FILE = "_dict_checkpoint.pkl"  # in a directory: what from_dict, from_bytes or save_checkpoint() was given
STATE_FILE = ".trainable.json"  # in a directory: iteration and totals of a class trainable

LARGEST_HELD = 1 << 16  # bytes of a checkpoint that is passed on in memory; a larger one becomes a directory

_MEMORY = "memory:"
_MEMORY_NAME = r"memory:[0-9]{1,10}/[0-9]{1,20}(?:/[0-9]{1,10})?"
_HEAD = 4  # bytes that give the length of the notes
_MARK = b"\xff" * _HEAD  # no notes are so long


class _Gone:
    """A method of old releases: asking for it says what to call now."""

    def __init__(self, name: str, instead: str) -> None:
        self._text = f"Checkpoint.{name} is not offered: a checkpoint is on this machine. Use {instead}."

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        raise AttributeError(self._text)


class Checkpoint:
    """A handle on what was saved: a directory of files, or a dict or bytes in memory (``from_dict``, ``from_bytes``).

    Making one of a directory reads and writes nothing, and ``path`` names it. One in memory costs microseconds to
    report; it is written as files only by who asks for files (``path``, ``to_directory``, ``as_directory``). Two handles
    are equal when they name the same directory, or hold the same bytes.
    """

    __slots__ = ("_held", "_home", "_origin", "_path")

    _path: str | None
    _held: bytes | Callable[[], bytes] | None  # notes and contents, see ``pack``; or what brings them
    _origin: str | None  # the file that it was read from, if whose that is matters to who unpickles it
    _home: str | None  # where it is written if its path is asked for; None: in a new temporary directory

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
        self._path = os.path.abspath(text)
        self._held = self._home = None
        self._origin = os.path.join(self._path, DICT_FILE)

    # ---- making one

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """The handle on ``path``. Nothing is copied: the directory must stay until it has been reported."""
        return cls(path)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Checkpoint:
        """A checkpoint in memory. ``data`` is copied now, by pickle: what it refers to may change afterwards."""
        if not isinstance(data, dict):
            raise TypeError(f"Checkpoint.from_dict needs a dict, got {type(data).__name__}: {data!r:.80}")
        return cls._holding(pack(dumps(data)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Checkpoint:
        """A checkpoint in memory, of bytes of your own or of what another's ``to_bytes`` gave."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"Checkpoint.from_bytes needs bytes, got {type(data).__name__}")
        return cls._holding(pack(bytes(data)))

    @classmethod
    def _holding(
        cls, held: bytes | Callable[[], bytes], home: str | None = None, origin: str | None = None
    ) -> Checkpoint:
        self = object.__new__(cls)
        self._path, self._held, self._home, self._origin = None, held, home, origin
        return self

    @classmethod
    def _of_a_run(cls, saved: str | bytes) -> Checkpoint:
        """What a run gives to its trial: whose it is was looked at before it went on."""
        if isinstance(saved, bytes):
            return cls._holding(saved)
        self = cls(saved)
        self._origin = None
        return self

    # ---- what is in it

    @property
    def value(self) -> str:
        """The same as ``path``."""
        return self.path

    @property
    def local_path(self) -> str:
        """The same as ``path``."""
        return self.path

    @property
    def in_memory(self) -> bool:
        """Whether it is in memory rather than a directory of files."""
        return self._path is None

    def to_bytes(self) -> bytes:
        """The bytes that ``from_bytes`` was given, or the pickled dict. ValueError for a directory of files."""
        if self._held is not None:
            return unpack(self.held())[1]
        try:
            with open(os.path.join(self.path, DICT_FILE), "rb", opener=plain_opener) as file:
                return file.read()
        except FileNotFoundError:
            self._check_exists()
            raise ValueError(
                f"the checkpoint {self.path} is a directory of files, not made of a dict or bytes: "
                "read the files, with as_directory()"
            ) from None

    def to_dict(self, *, trust: bool = False) -> dict[str, Any]:
        """An equal dict of your own. Unpickles, which can run any code: only for checkpoints whose origin you trust.

        One whose file (``_dict_checkpoint.pkl`` of a directory, the ``experiment.db`` of one in memory) belongs to another
        user is a ForeignFileError, unless ``trust`` is true.
        """
        import pickle

        if self._origin is not None and not trust:
            with suppress(FileNotFoundError):
                check_owner(self._origin, os.stat(self._origin), "unpickled")
        try:
            data = pickle.loads(self.to_bytes())
        except (pickle.UnpicklingError, EOFError) as error:
            raise ValueError(f"the checkpoint was made of bytes that are no dict ({error}): use to_bytes()") from None
        if not isinstance(data, dict):
            raise ValueError(f"the checkpoint holds a {type(data).__name__}, not a dict: use to_bytes()")
        return data

    def held(self) -> bytes:
        """What a checkpoint in memory is passed on as (see ``pack``). ValueError for a directory."""
        if callable(self._held):
            self._held = self._held()
        if self._held is None:
            raise ValueError(f"the checkpoint {self._path} is a directory, not in memory")
        return self._held

    # ---- as files

    @property
    def path(self) -> str:
        """The directory. One in memory is written as files by asking, once: to the trial's folder if it is a trial's,
        else to a new temporary directory, which stays."""
        if self._path is not None:
            return self._path
        if self._home is None or (self._origin is not None and not may_write_below(self._home, self._origin)):
            self._home = self.to_directory()
        elif not os.path.isdir(self._home):
            os.makedirs(os.path.dirname(self._home), exist_ok=True)
            with whole_directory(self._home) as unfinished:
                self._write_into(unfinished)
        return self._home

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
        if self._path is None:
            os.makedirs(target, exist_ok=True)
            self._write_into(target)
        elif target != self._path:
            shutil.copytree(self._path, target, dirs_exist_ok=True)
        return target

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        """The directory itself, for reading: what is changed in it stays changed. One in memory is written to a
        temporary directory for the length of the block."""
        import tempfile

        self._check_exists()
        if self._path is not None:
            yield self._path
            return
        with tempfile.TemporaryDirectory(prefix="checkpoint_") as folder:
            self._write_into(folder)
            yield folder

    def _write_into(self, folder: str) -> None:
        write_files(self.held(), folder)

    # ---- notes

    def get_metadata(self) -> dict[str, Any]:
        """What ``set_metadata`` stored, {} if nothing was."""
        import json

        if self._path is None:
            found: dict[str, Any] = unpack(self.held())[0].get("metadata", {})
            return found
        try:
            with open(os.path.join(self._path, METADATA_FILE), encoding="utf-8") as file:
                metadata: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return {}
        return metadata

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        """Store JSON values with the checkpoint, in place of earlier ones. In memory: with this handle, for when it is
        reported."""
        import json

        if self._path is None:
            notes, data = unpack(self.held())
            self._held = pack(data, {**notes, "metadata": json.loads(json.dumps(metadata))})
            return
        self._check_exists()
        target = os.path.join(self._path, METADATA_FILE)
        with open(target + ".new", "w", encoding="utf-8") as file:
            json.dump(metadata, file)
        os.replace(target + ".new", target)

    def update_metadata(self, metadata: dict[str, Any]) -> None:
        """Add JSON values to the stored ones; a key that is there already gets the new value."""
        self.set_metadata({**self.get_metadata(), **metadata})

    # ---- as a value

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        if self._path is None:
            return f"Checkpoint(in memory, {len(self.to_bytes())} bytes)"
        return f"Checkpoint(filesystem=local, path={self._path})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Checkpoint):
            return NotImplemented
        if self._path is not None or other._path is not None:
            return self._path == other._path
        return self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self._path if self._path is not None else self.to_bytes())

    def __reduce__(self) -> tuple[Any, ...]:
        if self._path is not None:
            return Checkpoint, (self._path,)
        return Checkpoint._holding, (self.held(), self._home, self._origin)

    def _check_exists(self) -> None:
        if self._path is not None and not os.path.isdir(self._path):
            raise FileNotFoundError(
                f"checkpoint directory {self._path} does not exist; "
                "was it deleted, or did the experiment keep only its best checkpoints (num_to_keep)?"
            )

    from_uri = _Gone("from_uri", "from_directory, with a local directory")
    to_uri = _Gone("to_uri", "to_directory, with a local directory")


# ---- checkpoints in memory ---------------------------------------------------------------------------------


def pack(data: bytes, notes: dict[str, Any] | None = None) -> bytes:
    """A checkpoint in memory as one piece: the length of the notes (uint32), the notes as JSON, the contents.

    Notes: ``counters`` of a class trainable, ``metadata`` of the user.
    """
    if not notes:
        return bytes(_HEAD) + data
    import json

    text = json.dumps(notes, default=lambda number: number.item()).encode()  # users count in numpy too
    return len(text).to_bytes(_HEAD, "little") + text + data


def unpack(held: bytes) -> tuple[dict[str, Any], bytes]:
    """(notes, contents) of what ``pack`` made."""
    n = int.from_bytes(held[:_HEAD], "little")
    if not n:
        return {}, held[_HEAD:]
    import json

    notes: dict[str, Any] = json.loads(held[_HEAD : _HEAD + n])
    return notes, held[_HEAD + n :]


def row_mark(row: str) -> bytes:
    """What stands for a checkpoint that is a row of a call, and no more: whoever goes on from it copies that row while the call
    stands there. Nobody has it later, so it is never stored."""
    return _MARK + row.encode()


def is_row_mark(held: bytes | str | None) -> bool:
    """Whether it is one that :func:`row_mark` has made."""
    return isinstance(held, bytes) and held.startswith(_MARK)


def write_files(held: bytes, folder: str) -> None:
    """Write a checkpoint in memory as the files that stand for it in a directory."""
    import json

    notes, data = unpack(held)
    with open(os.path.join(folder, DICT_FILE), "wb") as file:
        file.write(data)
    for name, note in ((STATE_FILE, notes.get("counters")), (METADATA_FILE, notes.get("metadata"))):
        if note is not None:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as text:
                json.dump(note, text)


def memory_name(trial: int, place: int) -> str:
    """What a checkpoint in memory is called where a directory has its path: "memory:3/20", and "memory:3/20/2" if trial 3
    had begun twice before. ``place`` is the step, and the attempt << 32: what a name stands for never changes."""
    return f"{_MEMORY}{trial}/{step_of(place)}" + (f"/{place >> 32}" if place >> 32 else "")


def memory_key(name: str) -> tuple[int, int] | None:
    """(trial, place) of such a name; None for a path."""
    if not name.startswith(_MEMORY):
        return None
    trial, step, *attempt = name[len(_MEMORY) :].split("/")
    return int(trial), int(step) | (int(attempt[0]) << 32 if attempt else 0)


def step_of(place: int) -> int:
    """The step of a checkpoint in memory."""
    return place & 0xFFFFFFFF


def is_checkpoint_name(name: object) -> bool:
    """Whether a journal may call a checkpoint so: a directory of the experiment's, or a name in memory."""
    if isinstance(name, str) and name.startswith(_MEMORY):
        return re.fullmatch(_MEMORY_NAME, name) is not None
    return is_own_path(name)


# ---- directories that are whole or not there ---------------------------------------------------------------


@contextmanager
def whole_directory(
    target: str, staging: str | None = None, own: str = "", publish: Callable[[str, str], None] | None = None
) -> Iterator[str]:
    """A new directory of the same name to write in; it becomes ``target`` when the block ends well.

    If the block raises, nothing stays behind. A directory that stands at ``target`` is replaced in the end. ``staging``:
    a folder of the same file system for unfinished ones, which stays; None: one beside the target, which does not. ``own``
    tells there who else may write one of that name; ``publish(unfinished, target)`` renames it, or raises.
    """
    parent, name = os.path.split(target)
    own = WRITING if staging is None else f"{os.getpid()}_{os.path.basename(parent)}{own}"
    folder = os.path.join(parent if staging is None else staging, own)
    unfinished = os.path.join(folder, name)
    os.makedirs(folder, exist_ok=True)
    _remove(unfinished)  # of a trial that was killed here
    os.mkdir(unfinished)
    try:
        yield unfinished
        (publish or rename_over)(unfinished, target)
    except BaseException:
        _remove(unfinished)
        raise
    finally:
        _leave(os.rmdir, folder)


def copy_whole(
    source: str, target: str, staging: str | None = None, own: str = "", publish: Callable[[str, str], None] | None = None
) -> None:
    """Copy a directory so that ``target`` is either all there or not at all (see `whole_directory`). Links are followed."""
    import shutil

    if not os.path.isdir(source):
        raise FileNotFoundError(
            f"the reported checkpoint {source} is not a directory; "
            "report it before the temporary directory that holds it is deleted"
        )
    with whole_directory(target, staging, own, publish) as unfinished:
        shutil.copytree(source, unfinished, dirs_exist_ok=True)


def rename_over(unfinished: str, target: str) -> None:
    """Rename a directory into place. An old one is moved aside first: directories cannot be swapped."""
    if os.path.lexists(target):
        old = unfinished + ".old"
        _remove(old)
        os.rename(target, old)
        os.rename(unfinished, target)
        _remove(old)
    else:
        os.rename(unfinished, target)


def flush_directory(path: str, above: str) -> None:
    """Bring a directory with all that is in it to the disk, and the names that lead to it from ``above``."""
    names = [path]
    for folder, folders, files in os.walk(path):
        names += [os.path.join(folder, name) for name in (*folders, *files)]
    while path != above and os.path.dirname(path) != path:
        path = os.path.dirname(path)
        names.append(path)
    for name in names:
        if os.path.islink(name) or not (os.path.isfile(name) or os.path.isdir(name)):
            continue
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _remove(path: str) -> None:
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        import shutil

        shutil.rmtree(path)


def _leave(step: Callable[[str], object], path: str) -> None:
    """Do a tidying step that may fail without harm, as when somebody else still writes in the folder."""
    try:
        step(path)
    except OSError:
        return


def remove_unfinished(folder: str) -> None:
    """Delete what killed processes left of checkpoints that they were writing, or deleting, in this experiment. A link
    of that name is not followed."""
    import shutil

    shutil.rmtree(os.path.join(folder, WRITING), ignore_errors=True)
