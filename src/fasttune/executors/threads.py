"""Threads that a trial starts belong to that trial: what they report is its own, and ends with it."""

from __future__ import annotations

import threading
from functools import wraps
from typing import Any

from fasttune import _core
from fasttune.error import StopTrial

POOL_OF_ASYNCIO = "asyncio_"  # names of threads that run whatever any task hands them, within the context of that task


class TrialThread(threading.Thread):
    """A thread that runs trials: it belongs to none, also where a trial has begun the run that starts it."""


def follow_threads() -> None:
    """From now on a thread that is started inside a trial is lent the trial's reporter. Outside trials nothing changes.

    It is ``Thread.start`` that knows both: where a thread comes from, and the thread. Pools start theirs through it,
    too. A thread that does not come from there belongs to the trial during which it first asks, in a worker process.
    """
    start = threading.Thread.start
    if hasattr(start, "follows_trials"):
        return

    @wraps(start)
    def start_in_trial(thread: threading.Thread) -> None:
        loan = None if isinstance(thread, TrialThread) else _core.loan()
        if loan is not None and not (loan[0].is_task and thread.name.startswith(POOL_OF_ASYNCIO)):
            if _is_trials_own() and loan[0].context is not None:  # None: no host runs trials with this reporter
                loan[0].context.hold()
            _lend(thread, loan)
        start(thread)

    start_in_trial.follows_trials = True  # type: ignore[attr-defined]
    threading.Thread.start = start_in_trial  # type: ignore[method-assign, assignment]


def _is_trials_own() -> bool:
    """This is the thread that calls the trainable. What another one starts finds its trial's context held already, or the
    trial is over and the reporter has another's."""
    bound = _core.binding()
    return bound is not None and bound[1] == 0


def _lend(thread: threading.Thread, loan: tuple[_core.Reporter, int]) -> None:
    """Make the thread's run() begin with the loan, and stay as it was to everybody who looks at it then."""
    own = thread.__dict__.get("run")
    run: Any = thread.run

    def run_in_trial() -> None:
        if own is None:
            del thread.__dict__["run"]
        else:
            thread.__dict__["run"] = own
        if loan[0].is_task:
            loan[0].enter()  # what the thread calls within another trial's context (asyncio.to_thread) is that one's
        else:
            _core.rebind(loan)  # `loan` keeps the reporter alive as long as this runs
        try:
            run()
        except StopTrial:  # its report was answered so: the thread ends, as the trial will
            pass
        except BaseException as error:
            if not (loan[0].is_task and type(error).__name__ == "CancelledError"):  # StopTrial, in a coroutine's trial
                raise
        finally:
            _core.rebind(None)

    thread.__dict__["run"] = run_in_trial
