"""Forks programs off an interpreter that has loaded what nearly all of them load: a fraction of the work of a new interpreter.

Started and asked by ``forks``. What a program can see of its process is made as a new interpreter would have it: ``__main__``,
its arguments, environment (in ``/proc`` too), import path, standard streams, warnings, signals, session, and whose child it is.
Not so: the modules that are loaded already, and that are not taken apart at its end, ``/proc/PID/cmdline``, the seed of the hashes
of texts (one for all programs of a server), and the limits and the niceness, which are the server's.
"""

from __future__ import annotations

import array
import atexit
import builtins
import ctypes
import faulthandler
import fcntl
import gc
import io
import json
import multiprocessing.process
import os
import runpy
import signal
import socket
import sys
import threading
import types
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import BuiltinImporter, SourceFileLoader
from pathlib import Path
from typing import Any, Never

PRELOADED = ("numpy", "pandas", "psutil", "rich.console", "fasttune.tuner", "fasttune.engine.loop", "fasttune.analysis")
ROOM = "ROOM_FOR_AN_ENVIRONMENT"  # environment of the server: as long as that of a program may be
LENGTH = 8  # bytes of the length of a message
MANY_FILES = 64
FIRST_FREE = 200  # our own descriptors are above those that programs are given
AS_A_TERMINAL_STARTS_IT = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
HERE = __file__
LIBRARY_PATH = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)


def receive(sock: socket.socket) -> tuple[Any, list[int]]:
    """A message, and the files that came with it; None when the other side has gone."""
    head, files, _, _ = socket.recv_fds(sock, LENGTH, MANY_FILES)
    if not head:
        return None, []
    left, parts = int.from_bytes(head, "little"), []
    while left:
        parts.append(sock.recv(left))
        left -= len(parts[-1])
    return json.loads(b"".join(parts)), list(files)


def send(sock: socket.socket, message: Any, files: Sequence[int] = ()) -> None:
    data = json.dumps(message).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    sock.sendmsg([len(data).to_bytes(LENGTH, "little")], rights)
    sock.sendall(data)


def fork(sock: socket.socket) -> int:
    """A process that its parent leaves at once, which makes it a child of whoever collects orphans then: who asks for it. There it
    gives a descriptor, to be closed when the process is what it shall be; here -1, behind that."""
    told, tell = os.pipe()
    pids, say = os.pipe()
    left, leave = os.pipe()
    ready, begin = os.pipe()
    between = os.fork()
    if not between:
        os.close(leave)
        if child := os.fork():
            os.write(say, child.to_bytes(8, "little"))
            os.read(left, 1)
            os._exit(0)
        sock.close()
        for fd in (tell, left, pids, say, ready):
            os.close(fd)
        begun = os.read(told, 1)
        os.close(told)
        if not begun:  # the server has gone
            os._exit(1)
        return _above(begin)
    send(sock, int.from_bytes(os.read(pids, 8), "little"))
    receive(sock)  # orphans are collected now
    os.close(leave)
    os.waitpid(between, 0)
    send(sock, "orphaned")
    receive(sock)  # it has been put where it belongs
    os.write(tell, b"g")
    os.close(begin)
    os.read(ready, 1)  # to the end: who looks at its environment sees the mark of a test there
    send(sock, "begun")
    for fd in (told, tell, pids, say, left, ready):
        os.close(fd)
    return -1


# -- in the child ------------------------------------------------------------------------------------------------------


def become(asked: dict[str, Any], files: list[int]) -> None:
    """All but the program itself."""
    _place(files, asked["places"])
    for number in AS_A_TERMINAL_STARTS_IT:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked["session"]:
        os.setsid()
    elif asked["group"] is not None:
        os.setpgid(0, asked["group"])
    if asked["umask"] >= 0:
        os.umask(asked["umask"])
    os.chdir(asked["cwd"])
    _set_environment(asked["env"])
    _load_libraries()
    _open_streams()
    _set_warnings(asked["warnings"])
    sys.orig_argv[1:] = [*(word for option in asked["warnings"] for word in ("-W", option)), *asked["words"]]
    _look_again()
    if asked["hangs_after"]:
        faulthandler.dump_traceback_later(asked["hangs_after"], exit=True)


def _place(files: list[int], places: list[int]) -> None:
    apart = [_above(fd) for fd in files]  # none of them is where another one is to be
    for fd, place in zip(apart, places, strict=True):
        os.dup2(fd, place)
        os.close(fd)


def _set_environment(environ: dict[str, str]) -> None:
    """Also where others read it, in ``/proc/PID/environ``: the place on the stack where the server's stood."""
    os.environ.clear()
    os.environ.update(environ)
    with open("/proc/self/stat", "rb") as file:
        start, end = map(int, file.read().rpartition(b")")[2].split()[47:49])
    data = b"".join(b"%s=%s\0" % item for item in os.environb.items())
    if len(data) > end - start:
        raise ValueError(f"an environment of {len(data)} bytes is too long for one of {end - start}")
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, data, len(data))


def _load_libraries() -> None:
    """Of LD_LIBRARY_PATH, which is not looked at after an interpreter has begun: what is loaded is found by its name."""
    for folder in filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)):
        if folder not in LIBRARY_PATH:
            for path in Path(folder).glob("*.so*"):
                ctypes.CDLL(str(path))


def _open_streams() -> None:
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            raw = io.FileIO(fd, "r" if fd == 0 else "w", closefd=False)
        except OSError:  # it is closed
            stream = None
        else:
            raw.name = f"<{name}>"
            old = getattr(sys, f"__{name}__")
            stream = io.TextIOWrapper(
                io.BufferedReader(raw) if fd == 0 else raw if unbuffered else io.BufferedWriter(raw),
                encoding=old.encoding,
                errors=old.errors,
                newline=None if fd == 0 else "\n",
                line_buffering=not unbuffered and (fd == 2 or raw.isatty()),
                write_through=fd > 0 and unbuffered,
            )
            stream.mode = "r" if fd == 0 else "w"
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _set_warnings(options: list[str]) -> None:
    sys.warnoptions[:] = options
    warnings._processoptions(options)  # type: ignore[attr-defined]


def _look_again() -> None:
    """At what modules look at when they are loaded."""
    import numpy

    from fasttune.engine import loop
    from fasttune.executors import server

    numpy.random.seed()
    multiprocessing.process.ORIGINAL_DIR = os.getcwd()  # type: ignore[attr-defined]
    loop.CHECKS = os.environ.get("FASTTUNE_CHECKS", "") not in ("", "0")
    server._given = server.inherited_files()


def set_path(first: str) -> None:
    """What modules are looked for in: the program's folder, PYTHONPATH, and what an interpreter has by itself."""
    added = os.environ.get("PYTHONPATH", "")
    found = [os.path.abspath(folder) for folder in added.split(os.pathsep)] if added else []
    sys.path[:] = [first, *dict.fromkeys([*found, *BARE_PATH])]


def main_module(**more: Any) -> types.ModuleType:
    program = types.ModuleType("__main__")
    vars(program).update(__builtins__=builtins, __annotations__={}, **more)
    sys.modules["__main__"] = program
    return program


def run(words: list[str]) -> None:
    """What ``python`` does with these words."""
    what, *rest = words
    if what == "-c":
        sys.argv[:] = ["-c", *rest[1:]]
        set_path("")
        program = main_module(__loader__=BuiltinImporter)
        exec(compile(rest[0], "<string>", "exec", dont_inherit=True), vars(program))
    elif what == "-":
        sys.argv[:] = words
        set_path("")
        program = main_module(__loader__=BuiltinImporter)
        exec(compile(sys.stdin.read(), "<stdin>", "exec", dont_inherit=True), vars(program))
    elif what == "-m":
        sys.argv[:] = ["-m", *rest[1:]]
        set_path(os.getcwd())
        main_module(__loader__=BuiltinImporter)
        runpy._run_module_as_main(rest[0])  # type: ignore[attr-defined]
    else:
        sys.argv[:] = words
        set_path(os.path.dirname(os.path.realpath(what)))
        path = os.path.abspath(what)
        program = main_module(__loader__=SourceFileLoader("__main__", path), __file__=path, __cached__=None)
        with open(path, "rb") as file:
            source = file.read()
        exec(compile(source, path, "exec", dont_inherit=True), vars(program))


def status_of(error: BaseException) -> int:
    """What a program exits with that this exception leaves, which is told as an interpreter tells it."""
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == HERE:
        own = own.tb_next
    sys.excepthook(type(error), error.with_traceback(own), own)
    return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def _flush(*streams: Any) -> None:
    for stream in streams:
        with suppress(Exception):  # the other end is gone, it was closed, or it is something of the program
            stream.flush()


def leave(status: int) -> Never:
    """As an interpreter ends, but for what is loaded, which is not taken apart: that would copy it before."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    _flush(sys.stdout, sys.stderr)
    vars(sys.modules["__main__"]).clear()
    gc.collect()
    _flush(sys.__stdout__, sys.__stderr__)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)


# ----------------------------------------------------------------------------------------------------------------------


def serve(sock: socket.socket) -> list[str]:
    """Answer each request with the process that was forked for it. Returns in such a process, with what it is to run."""
    while True:
        asked, files = receive(sock)
        if asked is None:
            os._exit(0)
        if (ready := fork(sock)) >= 0:
            become(asked, files)
            os.close(ready)
            return asked["words"]
        for fd in files:
            os.close(fd)


def _above(fd: int) -> int:
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    os.close(fd)
    return moved


def prepare() -> socket.socket:
    for number in (signal.SIGHUP, signal.SIGINT):  # of a terminal: for programs, and for whoever started us
        signal.signal(number, signal.SIG_IGN)
    for name in PRELOADED:
        __import__(name)
    sock = socket.socket(fileno=_above(int(sys.argv[1])))
    gc.collect()
    gc.freeze()  # what is loaded is not looked through again, and so not copied into each program
    return sock


if __name__ == "__main__":
    BARE_PATH = sys.path[1:]
    sys.path.insert(0, sys.argv[2])
    words, status = serve(prepare()), 0
    try:
        run(words)
    except BaseException as error:
        status = status_of(error)
    leave(status)
