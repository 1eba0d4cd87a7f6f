"""Programs in processes of their own that begin in milliseconds: ``subprocess.run`` and ``subprocess.Popen`` for tests that need
another process, and not another interpreter.

    done = forks.run([sys.executable, "script.py", "--samples", "3"], capture_output=True, text=True)

The process is forked from ``fork_server``, which says there what it shares with others. It is a child of this one, so all that
can be done with a ``Popen`` can be done with it; it begins with the signals as a terminal starts a program. What a program is that
has to be a new interpreter, because of what is loaded, or of what it is started with (``-X``, ``LD_PRELOAD``), is ``subprocess``'.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import Any

import fasttune
import fork_server

SOURCE = str(Path(fasttune.__file__).parents[1])
SERVER = Path(fork_server.__file__)
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
LONGEST = 1 << 16  # bytes of the environment of a program
OF_AN_INTERPRETER = ("PYTHON", "LD_")  # variables that are read before a program begins
FREE = ("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH")  # but these are followed, or change nothing

ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # of the tests, before one has changed it

_servers: list[Server] = []  # one at most
_lock = threading.Lock()


class Server:
    """The process that programs are forked from, and the socket by which it is asked."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        fd = theirs.fileno()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, str(SERVER), str(fd), SOURCE],
                env={**ENVIRON, fork_server.ROOM: " " * LONGEST},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[fd],
            )

    def child(self, asked: dict[str, Any], files: list[int], placed: Callable[[int], object] | None) -> int:
        """The process, which begins when ``placed`` has returned."""
        pid = self._ask(asked, files)
        prctl = ctypes.CDLL(None).prctl
        prctl(SUBREAPER, 1)  # for a moment: the program's is the only process that loses its parent
        try:
            self._ask("leave it")
        finally:
            prctl(SUBREAPER, 0)
        if placed is not None:
            placed(pid)
        self._ask("begin")
        return int(pid)

    def _ask(self, what: Any, files: Sequence[int] = ()) -> Any:
        answer = None
        with suppress(ConnectionError):
            fork_server.send(self.sock, what, files)
            answer, _ = fork_server.receive(self.sock)
        if answer is None:
            _servers.remove(self)
            self.sock.close()
            raise RuntimeError(f"the fork server has died: {self.process.wait()}")
        return answer

    def end(self) -> None:
        self.sock.close()
        self.process.wait()


def server() -> Server:
    if not _servers:
        _servers.append(Server())
    return _servers[0]


def pids() -> set[int]:
    """Of the server, if there is one."""
    return {found.process.pid for found in _servers}


def _end_server() -> None:
    while _servers:
        _servers.pop().end()


def _leave_in_child() -> None:
    while _servers:
        _servers.pop().sock.close()


atexit.register(_end_server)
os.register_at_fork(after_in_child=_leave_in_child)


class Popen(subprocess.Popen[Any]):
    """As ``subprocess.Popen`` of ``[sys.executable, *words]``.

    Args:
        args: the interpreter, options ``-W``, and ``script.py``, ``-``, ``-c`` or ``-m`` with what follows.
        placed: called with the process's number before the program begins; what ``preexec_fn`` would be for.
        hangs_after: seconds until the program ends with the stacks of its threads in its standard error.
        more: of ``subprocess.Popen``; what cannot be had is a ValueError.
    """

    def __init__(
        self,
        args: Sequence[str | os.PathLike[str]],
        *,
        placed: Callable[[int], object] | None = None,
        hangs_after: float = 0.0,
        **more: Any,
    ) -> None:
        self._placed, self._hangs_after = placed, hangs_after
        super().__init__(args, **more)

    def _execute_child(self, *given: Any) -> None:
        asked = signature(subprocess.Popen._execute_child).bind(self, *given).arguments  # type: ignore[attr-defined]
        pipes = [asked[f"{pipe}{end}"] for pipe in ("p2c", "c2p", "err") for end in ("read", "write")]
        try:
            streams = [pipes[0], pipes[3], pipes[5]]
            files = [fd if pipe == -1 else pipe for fd, pipe in enumerate(streams)]
            request = self._request(asked)
            kept = sorted(asked["pass_fds"])
            request["places"] = [0, 1, 2, *kept]
            with _lock:
                self.pid = server().child(request, [*files, *kept], self._placed)
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _request(self, asked: dict[str, Any]) -> dict[str, Any]:
        refused = ("preexec_fn", "executable", "shell", "gid", "gids", "uid")
        if wrong := [name for name in refused if asked[name]]:
            raise ValueError(f"{wrong} cannot be had with a forked program: use subprocess")
        executable, *words = map(os.fspath, asked["args"])
        if executable != sys.executable:
            raise ValueError(f"a forked program is one of {sys.executable}, got {executable}")
        options = []
        while words[0] == "-W":
            options.append(words[1])
            del words[:2]
        if words[0].startswith("-") and words[0] not in ("-", "-c", "-m"):
            raise ValueError(f"{words[0]} needs a new interpreter: use subprocess")
        environ = dict(os.environ if asked["env"] is None else asked["env"])
        _check(environ)
        umask = os.umask(0o077)
        os.umask(umask)
        return {
            "words": words,
            "warnings": options,
            "env": environ,
            "cwd": os.path.abspath(asked["cwd"] or "."),
            "umask": umask if asked["umask"] == -1 else asked["umask"],
            "session": bool(asked["start_new_session"]),
            "group": None if asked["process_group"] == -1 else asked["process_group"],
            "hangs_after": self._hangs_after,
        }


def _check(environ: dict[str, str]) -> None:
    """ValueError if a new interpreter would be another one in this environment."""
    for name in environ.keys() | ENVIRON.keys():
        if name.startswith(OF_AN_INTERPRETER) and name not in FREE and environ.get(name) != ENVIRON.get(name):
            raise ValueError(f"{name}={environ.get(name)!r} needs a new interpreter: use subprocess")


def run(
    args: Sequence[str | os.PathLike[str]],
    *,
    input: str | bytes | None = None,  # noqa: A002 -- its name in subprocess
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **more: Any,
) -> subprocess.CompletedProcess[Any]:
    """As ``subprocess.run`` of ``[sys.executable, *words]``; ``more``: of :class:`Popen`."""
    if input is not None:
        more["stdin"] = subprocess.PIPE
    if capture_output:
        more.update(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with Popen(args, **more) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.send_signal(signal.SIGKILL)
            raise
    done: subprocess.CompletedProcess[Any] = subprocess.CompletedProcess(args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done
