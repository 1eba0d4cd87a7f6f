"""What all workers run, as a file that has no name in any folder: nobody else finds it, nobody can put another in its place."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress

from fasttune.executors.server import anonymous_file


class ProgramFile:
    """The pickled program, or other bytes, piece by piece. ``path`` leads other processes of this user to it, as long as this
    one holds it."""

    def __init__(self, *pieces: bytes | memoryview) -> None:
        self._named = not os.path.isdir("/proc/self/fd")  # another system than Linux: in the user's temporary folder
        if self._named:
            self._fd, self.path = tempfile.mkstemp(prefix="fasttune-program-")
        else:
            self._fd = anonymous_file("fasttune-program")
            self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        with open(self._fd, "wb", closefd=False) as file:
            for piece in pieces:
                file.write(piece)

    def close(self) -> None:
        """Let go of it. Safe to call twice."""
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        if self._named:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
