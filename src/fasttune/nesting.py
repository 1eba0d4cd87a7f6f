"""Which process may begin a run: none that is still being loaded, and within trials only so deep.

A worker process imports the module of its trainable. If that module tunes when it is imported, each worker would begin
a run with workers of its own, without end; so a run is refused while a process is being loaded, as multiprocessing
refuses to start processes then. What cannot be seen in this way (a trial that calls the script which it belongs to) is
stopped by how deep runs may be within each other, which is counted in the environment.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, Never

from fasttune import _core

DEPTH = "FASTTUNE_DEPTH"  # of how many runs, one within the other, this process is a trial's
MOST = "FASTTUNE_MAX_DEPTH"
MOST_BY_DEFAULT = 1  # a trial may tune; what that run's trials do may not, unless MOST says so
LOADING = "loading"  # as a depth: a process in which nothing of the user's should run yet
GUARD = 'if __name__ == "__main__":'
IMPORT = ("importlib._bootstrap", "_frozen_importlib")
HOSTS = ("fasttune.executors.host", "fasttune.executors.coroutine_trial")


class _Here(threading.local):
    """What this thread is in the middle of."""

    runs = 0


_here = _Here()
_awaited_runs: ContextVar[int] = ContextVar("fasttune_runs", default=0)  # what this context is: other tasks of its thread are not
_loads = 0  # programs that this process is in the middle of loading, in whatever thread


@contextmanager
def loading() -> Iterator[None]:
    """While the block runs, this process loads what it shall work on: no run may begin in it, in any thread."""
    global _loads
    _loads += 1
    try:
        yield
    finally:
        _loads -= 1


@contextmanager
def begun(call: str, awaited: bool = False) -> Iterator[None]:
    """A run that ``call`` ("tune.run") begins lasts as long as the block. RuntimeError if it must not begin here: in a
    process that is still being loaded, or too deep within trials. A process that something of the user's has forked within
    the block does not come out of it: the run is its parent's. One that is ``awaited`` is in a context of its own."""
    check_loaded(call)
    pid = os.getpid()
    if depth() > most():
        raise RuntimeError(
            f"{call} was called at depth {depth()} ({_caller()}), within {depth()} other run{'s' * (depth() > 1)}, and at "
            f"most {most()} is allowed: runs whose trials tune multiply processes without end. Does a trial start the "
            f"script that it belongs to? If it is meant, set {MOST}={depth()} in the environment"
        )
    if awaited:
        _awaited_runs.set(_awaited_runs.get() + 1)
    else:
        _here.runs += 1
    try:
        yield
    except BaseException as error:
        stay_in(pid, error)
        raise
    finally:
        if not awaited:
            _here.runs -= 1
    stay_in(pid)


def check_loaded(call: str) -> None:
    """RuntimeError if ``call`` comes from a process that is still being loaded."""
    if _loads or os.environ.get(DEPTH) == LOADING:
        raise RuntimeError(_no_guard(call, "while a worker process was still loading the trainable"))
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(_no_guard(call, "while multiprocessing was still starting this process"))
    if _core.current() is not None and _importing(sys._getframe(1)):
        raise RuntimeError(_no_guard(call, "by the import of a module within a trial"))


def depth() -> int:
    """How many runs, one within the other, the caller is in."""
    return _number(os.environ, DEPTH, 0) + _here.runs + _awaited_runs.get()


def most() -> int:
    """The largest depth() at which another run may begin."""
    return _number(os.environ, MOST, MOST_BY_DEFAULT)


def runs_here() -> int:
    """How many runs, one within the other, this thread is in the middle of."""
    return _here.runs


def stand_within(runs: int) -> None:
    """This thread runs trials of a run that was begun in the middle of so many, itself included."""
    _here.runs = runs


def depth_within(environ: Mapping[str, str]) -> str:
    """What DEPTH is for the trials of the run that the caller is in."""
    return str(_number(environ, DEPTH, 0) + max(1, _here.runs + _awaited_runs.get()))


def _number(environ: Mapping[str, str], name: str, otherwise: int) -> int:
    text = environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise


def _no_guard(call: str, when: str) -> str:
    return (
        f"{call} was called {when}: {_caller()} calls it as it is imported. Every process that imports it would begin "
        f"the same run again, with processes of its own, without end. Put what begins the run behind a guard:\n\n"
        f"    {GUARD}\n        {call}(...)\n"
    )


def _caller() -> str:
    """File and line of the first frame that is not ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name: Any = frame.f_globals.get("__name__", "")
        if not str(name).startswith("fasttune.") and name not in ("fasttune", "contextlib"):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "somebody"


def _importing(frame: FrameType | None) -> bool:
    """Whether the trial that the caller is in is in the middle of an import. What called the trial does not count."""
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if name in HOSTS:
            return False
        if name in IMPORT:
            return True
        frame = frame.f_back
    return False


def stay_in(pid: int, error: BaseException | None = None) -> None:
    """Code of the user's has come back, with that exception or without: in another process than this one it ends here."""
    if os.getpid() != pid:
        end_process(error)


def end_process(error: BaseException | None) -> Never:
    """End this process, which was forked within a trial or a hook and has come back from there, as Python ends one with that
    exception: nothing of the run, which is its parent's, is touched on the way."""
    status = 0 if error is None else 1
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        import traceback

        traceback.print_exception(error)
    _core.leave_process(status)
