"""Threads that do the work of requests, one thing after the other, so that the server can listen meanwhile.

They are daemons: Ctrl-C does not wait for a picture of a million reports.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Lane:
    """One thread. What it is given is done in the order in which it came; what nobody waits for any more is left out."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"fasttune dashboard: {name}", daemon=True)
        self._thread.start()

    async def do(self, work: Callable[[], _T]) -> _T:
        """What ``work`` gives, or raises, in the thread of the lane."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._jobs.put((loop, future, work))
        return await future

    def close(self) -> None:
        """The thread ends behind what it does now; it is not waited for."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, work = job
            if future.cancelled():
                continue
            tell: Callable[[asyncio.Future[Any], Any], None] = _give
            try:
                told = work()
            except BaseException as error:  # it is the answer, whatever it is
                tell, told = _fail, error
            with suppress(RuntimeError):  # the server has ended meanwhile
                loop.call_soon_threadsafe(tell, future, told)
            del job, future, work, told


def _give(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():
        future.set_result(answer)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
