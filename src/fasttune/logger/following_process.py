"""The process that logs behind a run, as the run sees it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fasttune.folder import LOGGED

if TYPE_CHECKING:
    from fasttune.logger.behind import JournalLogger

SOURCE = "import sys; sys.path[:0] = [{folder!r}]; from fasttune.follower import main; main()"
SILENT_S = 1.0  # a logger that is done this soon behind the run is not spoken of
EVERY_S = 10.0  # so often it is said how far it is, while the run's end waits for it
BEHIND_S = 30.0  # one that is further behind is spoken of while the run goes on,
AGAIN_S = 300.0  # no more often than this
LAST_S = 30.0  # for a library to bring home what it holds, when it is told to stop


class FollowingProcess:
    """The process that logs, seen from the run's. It is told nothing about single trials."""

    def __init__(self, logger: JournalLogger, path: str) -> None:
        from fasttune.script import by_value, described, dumps, is_named_in

        self._orders = -1
        self._own = os.getpid()
        self._logger = logger
        self._path = path
        data = dumps(logger)
        if is_named_in(data):  # of the script's own: that is another module there
            data = by_value(logger)
        head = {"path": path, "sys_path": sys.path, "script": described(), "size": len(data), "nice": logger.niceness}
        self._sent = threading.Event()  # the logger was sent
        self._ended = threading.Event()  # the process is no more
        self.told: dict[str, Any] = {}  # the last that it has told
        self._spoken_at = time.monotonic() - AGAIN_S
        self._catches_up = self._left = False
        told = self._launch()
        threading.Thread(
            target=self._listen, args=(told, json.dumps(head).encode() + b"\n" + data), name="fasttune-logger", daemon=True
        ).start()

    def _launch(self) -> int:
        """Start it; the descriptor on which it tells. Its group is its own: a Ctrl-C is for the run alone."""
        import fcntl

        folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        key = self._logger.key or type(self._logger).__name__
        self.printed = log_file(self._path, key, "txt")
        orders, self._orders = os.pipe()
        told, tells = os.pipe()
        prints = os.open(self.printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        # above the numbers that they get in the child, so that none is overwritten there
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (orders, prints, prints, tells)]
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", SOURCE.format(folder=folder)],
                dict(os.environ),
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate(fds)],
                setpgroup=0,
            )
        except BaseException:
            os.close(self._orders)
            os.close(told)
            raise
        finally:
            for fd in (orders, prints, tells, *fds):
                os.close(fd)
        return told

    def _listen(self, told: int, logger: bytes) -> None:
        """In a thread of its own: send the logger, then hear what is told until the process ends."""
        with suppress(OSError):  # it has ended; why is seen below
            view = memoryview(logger)
            while view:
                view = view[os.write(self._orders, view) :]
        self._sent.set()
        with open(told, "rb") as lines:
            for line in lines:
                with suppress(ValueError):
                    self.told = json.loads(line)
                self._speak_of_lag()
        status = 0
        with suppress(ChildProcessError):  # where the program collects its children itself
            status = os.waitpid(self._pid, 0)[1]
        if not (self.told.get("over") or self._left):
            self._say_stopped(os.waitstatus_to_exitcode(status))
        with suppress(OSError):
            if not os.path.getsize(self.printed):
                os.unlink(self.printed)
        self._ended.set()

    def _say_stopped(self, code: int) -> None:
        import logging

        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        why = self.told.get("error") or f"its process ended by {how}; what it printed is in {self.printed}"
        logging.getLogger("fasttune").warning(
            "%s: logging has stopped, the run is not concerned: %s. To log the rest: %s",
            called(self._logger), why, self._logger.hint(self._path),
        )  # fmt: skip

    def _speak_of_lag(self) -> None:
        behind = self.told.get("behind_s", 0.0)
        now = time.monotonic()
        if behind < BEHIND_S or now - self._spoken_at < AGAIN_S or self._catches_up:
            return
        self._spoken_at = now
        say(f"{called(self._logger)}: {behind:.0f} s behind the run, {self.progress()}; it catches up when the run is over")

    def progress(self, trials: int | None = None) -> str:
        """How far it is."""
        written, wanted = self.told.get("written", 0), self.told.get("wanted", trials)
        if wanted is None:
            return f"{written:,} trial{'s' if written != 1 else ''} written"
        return f"{written:,} of {wanted:,} trials written"

    def catch_up(self, trials: int) -> None:
        """Wait until it has logged everything. ``trials``: how many the run had."""
        if self._own != os.getpid():
            return
        name = called(self._logger)
        self._catches_up = True
        began, said_at = time.monotonic(), 0.0
        try:
            self._sent.wait()
            with suppress(OSError):  # it has stopped, and that was said
                os.write(self._orders, f"end {trials}\n".encode())
            while not self._ended.wait(SILENT_S if not said_at else 0.5):
                if not said_at or time.monotonic() - said_at > EVERY_S:
                    say(f"{name}: {self.progress(trials)}, catching up (Ctrl-C leaves the rest for later)")
                    said_at = time.monotonic()
        except KeyboardInterrupt:
            self._leave()
            return
        finally:
            self.let_go()
        if self.told.get("over"):
            if said_at:
                say(f"{name}: {self.progress(trials)}, {time.monotonic() - began:.0f} s behind the run's end")
            if self.told.get("left_out"):
                say(f"{name}: {self.told['left_out']}")

    def let_go(self) -> None:
        """Say nothing more to it: it ends behind what is there. Safe to call twice."""
        orders, self._orders = self._orders, -1
        if orders >= 0:
            os.close(orders)

    def __del__(self) -> None:
        if self._own == os.getpid():
            self.let_go()

    def _leave(self) -> None:
        """What it holds it may bring home; the rest is for later."""
        self._left = True
        if not self._ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
        with suppress(KeyboardInterrupt):
            self._ended.wait(LAST_S)
        say(f"{called(self._logger)}: {self.progress()}, then it was interrupted. To go on: {self._logger.hint(self._path)}")


def say(line: str) -> None:
    """A line for who watches the run; what is not there to be printed to costs nothing."""
    with suppress(OSError, ValueError, AttributeError):
        print(line, file=sys.stderr, flush=True)


def log_file(path: str, key: str, ending: str) -> str:
    """A file of a logger in the experiment's folder."""
    return os.path.join(path, f"{LOGGED}{key}.{ending}")


def called(logger: JournalLogger) -> str:
    """What sentences call a logger."""
    return logger.title or type(logger).__name__
