"""Files of an experiment's folder, which may come from a stranger.

Whatever such a folder says, nothing outside it is read for it, written or deleted: links are not followed, only plain
files are opened (a FIFO would never answer), and a path that a journal names has to be one that fasttune gives.
What is written, or unpickled, has to belong to this user, or to root.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from fasttune.error import ForeignFileError
from fasttune.folder import (
    CALLBACKS_FILE,
    COMMAND_FILE,
    JOURNAL,
    LOCK_FILE,
    RINGS,
    STOP_FILE,
    TUNER_FILE,
    WRITING,
    is_ours,
    is_plain,
)

DATABASE = (JOURNAL, f"{JOURNAL}-wal", f"{JOURNAL}-shm", f"{JOURNAL}-journal")
FILES = (LOCK_FILE, *DATABASE, TUNER_FILE, CALLBACKS_FILE, COMMAND_FILE, STOP_FILE)
RESUMED = "written to, and what trials saved in it unpickled"
SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")  # ends an SQLite journal that names another file, to be deleted
KINDS = ((stat.S_ISLNK, "a symbolic link"), (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"),
         (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))  # fmt: skip


def open_plain(path: str, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
    """A descriptor of a plain file. ForeignFileError when the name is a link or no plain file, or (to be written) a file
    that has another name elsewhere; OSError as ``os.open``."""
    writes = flags & os.O_ACCMODE != os.O_RDONLY
    truncates = flags & os.O_TRUNC
    try:
        fd = os.open(path, flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV):  # what else it may be
            raise ForeignFileError(_refusal(path, os.lstat(path))) from None
        raise
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or (writes and found.st_nlink > 1):
            raise ForeignFileError(_refusal(path, found))
        if truncates:
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def plain_opener(path: str, flags: int) -> int:
    """``open(..., opener=plain_opener)``: :func:`open_plain` for files of Python's."""
    return open_plain(path, flags, 0o666)


def write_whole(path: str, data: bytes, ending: str = ".part") -> None:
    """Write a file so that it is there whole or as it was before. What stood at its name, a link too, is replaced.
    ``ending``: of its name until it is whole."""
    part = path + ending
    with suppress(FileNotFoundError):
        os.unlink(part)  # of a killed run
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with open(fd, "wb") as file:
        file.write(data)
    os.replace(part, path)


def check_folder(path: str) -> None:
    """ForeignFileError unless ``path`` is a folder itself, not a link to one, or not there at all."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise ForeignFileError(_refusal(path, found, "a folder"))


def check_before_writing(folder: str, trust: bool = False) -> None:
    """ForeignFileError unless an experiment may go on in ``folder``: our own names in it are what they should be, nothing in
    it is a link, and what is written or unpickled belongs to this user. ``trust``: to whomever it may. FileNotFoundError
    when there is no folder."""
    begun = os.path.lexists(os.path.join(folder, JOURNAL))
    if begun and not trust:
        check_owner(folder, os.stat(folder), RESUMED)
    with os.scandir(folder) as names:
        for one in names:
            if one.is_symlink():
                raise ForeignFileError(_refusal(one.path, one.stat(follow_symlinks=False), "a file or a folder"))
            if one.name in (RINGS, WRITING):
                check_folder(one.path)
            elif one.name in FILES and begun and not trust:
                with suppress(FileNotFoundError):  # a run that ends just now takes its log away
                    check_owner(one.path, one.stat(follow_symlinks=False), RESUMED)


def check_database(path: str) -> None:
    """ForeignFileError when SQLite should not open the database at ``path``: it follows links, writes into every name that a
    file has, and deletes what a rollback journal tells it to. There may be none."""
    for one in (path, f"{path}-wal", f"{path}-shm", f"{path}-journal"):
        try:
            found = os.lstat(one)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise ForeignFileError(_refusal(one, found))
    try:
        fd = open_plain(f"{path}-journal")
    except FileNotFoundError:
        return
    try:
        size = os.fstat(fd).st_size
        if size >= 8 and os.pread(fd, 8, size - 8) == SUPER_JOURNAL:
            raise ForeignFileError(f"{path}-journal names another file, to be deleted: fasttune writes no such journal")
    finally:
        os.close(fd)


def check_owner(path: str, found: os.stat_result, done: str) -> None:
    """ForeignFileError when a file belongs to somebody else. Root's may be used by everybody, who could do so anyway."""
    if found.st_uid not in (os.geteuid(), 0):
        raise ForeignFileError(
            f"{path} belongs to {owner_name(found.st_uid)}, and this process runs as {owner_name(os.geteuid())}: "
            f"it would be {done}, which can run any code. If you trust it, say trust=True"
        )


def owner_name(uid: int) -> str:
    """"anna (uid 1000)"."""
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _refusal(path: str, found: os.stat_result, wanted: str = "") -> str:
    kind = next((name for is_kind, name in KINDS if is_kind(found.st_mode)), "")
    if not kind and found.st_nlink > 1 and not wanted:
        return (
            f"{path} is a file that {found.st_nlink} names share: writing it would change the others. "
            "If it is a backup by hard links, copy it first"
        )
    return (
        f"{path} is {kind or 'a file'}, not {wanted or 'a plain file'}: "
        "fasttune makes no such thing, and does not follow it"
    )


def is_own_path(path: object) -> bool:
    """Whether a relative path is one that fasttune gives to a checkpoint: ``<trial folder>/<name>``."""
    if not isinstance(path, str):
        return False
    parts = path.split("/")
    return len(parts) == 2 and is_folder_name(parts[0]) and is_plain(parts[1])


def is_folder_name(name: object) -> bool:
    """Whether a trial's folder may bear this name: one name, none that means another place, none of our own."""
    return isinstance(name, str) and is_plain(name) and not is_ours(name)


def may_write_below(path: str, beside: str) -> bool:
    """Whether ``path`` can be made: it lies in the folder of the file ``beside``, which this user may write."""
    folder = os.path.dirname(beside)
    return os.access(folder, os.W_OK | os.X_OK) and not os.path.islink(os.path.dirname(path)) and lies_in(path, folder)


def lies_in(path: str, folder: str) -> bool:
    """Whether the place of ``path`` (its last name is not followed) lies in ``folder``, all links on the way taken."""
    home, place = os.path.realpath(folder), os.path.realpath(os.path.dirname(path))
    return os.path.commonpath([home, place]) == home and os.path.basename(path) not in ("", ".", "..")
