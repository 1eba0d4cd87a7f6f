"""What a run is asked to stop from other processes: lines that are appended to a file in the experiment's folder.

    {"trial": "ab12c_00003", "now": false}    a trial; now: it is not waited for until it reports
    {"run": true, "end": false}               the run; end: trials that run are over, too, and not left to be gone on with

No server, no port. Who may write into the folder may ask, and nobody else is heard: the file has to be plain, and to belong
to the user who runs the experiment, or to root. A request means the session that it was written to: the file is removed when
one begins and when it ends. The loop looks once a second (2 us while there is no file).
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from fasttune.error import ForeignFileError, JournalError
from fasttune.folder import STOP_FILE
from fasttune.once import warn_in_run
from fasttune.plain_files import open_plain, owner_name

AT_ONCE = 1 << 20  # bytes that are read at one time


class StopRequest(NamedTuple):
    """What somebody wants to be stopped."""

    trial: str | None  # its id; None: the run
    at_once: bool = False  # of a trial: do not wait for its next report; of the run: its trials are over, too


class StopRequests:
    """The requests of one session, for the process that runs it."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, STOP_FILE)
        self._read = 0  # bytes of it
        self._inode = 0  # which file it was
        self._refused = ""

    def forget(self) -> None:
        """Whatever was asked before is over."""
        self._read = 0
        with suppress(OSError):
            os.unlink(self._path)

    def take(self) -> list[StopRequest]:
        """What was asked since the last call. What is no request is passed over; a file of somebody else's is told once."""
        try:
            there = os.lstat(self._path)
            if (there.st_size, there.st_ino) == (self._read, self._inode):
                return []
            data = self._new()
        except FileNotFoundError:
            return []
        except (JournalError, OSError) as error:
            if str(error) != self._refused:
                self._refused = str(error)
                warn_in_run(f"a request to stop is not heard: {error}", RuntimeWarning, stacklevel=2)
            return []
        return [found for line in data.splitlines() if (found := request_of(line)) is not None]

    def _new(self) -> bytes:
        """The whole lines behind those that were read."""
        fd = open_plain(self._path)
        try:
            found = os.fstat(fd)
            if found.st_uid not in (os.geteuid(), 0):
                raise ForeignFileError(
                    f"{self._path} belongs to {owner_name(found.st_uid)}: a run listens to the user who runs it, and to root"
                )
            if found.st_size < self._read or found.st_ino != self._inode:
                self._read = 0  # it was made anew
            self._inode = found.st_ino
            data = os.pread(fd, AT_ONCE, self._read)
        finally:
            os.close(fd)
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole) if whole or len(data) < AT_ONCE else len(data)  # no request is as long as that
        return whole


def request_of(line: bytes) -> StopRequest | None:
    """The request that a line is; None for what is none."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    if isinstance(told.get("trial"), str):
        return StopRequest(told["trial"], told.get("now") is True)
    return StopRequest(None, told.get("end") is True) if told.get("run") is True else None


def ask(folder: str, requests: Iterable[StopRequest]) -> None:
    """Ask the run in ``folder`` for this. OSError or ForeignFileError when the file cannot be written, or is no plain one."""
    lines = [
        {"run": True, "end": one.at_once} if one.trial is None else {"trial": one.trial, "now": one.at_once} for one in requests
    ]
    # behind what may be left of somebody's line, of which the end was never written
    data = ("\n" + "".join(json.dumps(line) + "\n" for line in lines)).encode()
    fd = open_plain(os.path.join(folder, STOP_FILE), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        written = os.write(fd, data)  # one call: lines of two who ask at the same moment stay whole
        if written < len(data):
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written", os.path.join(folder, STOP_FILE))
    finally:
        os.close(fd)


def is_unheard(folder: str) -> bool:
    """Whether there is no request any more: a session that began or ended in between has removed it."""
    return not os.path.lexists(os.path.join(folder, STOP_FILE))
