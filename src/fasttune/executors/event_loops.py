"""The event loop that a run's trials are tasks of: one of the run's own, or that of whoever awaits the run.

``rest(seconds)`` lets tasks run until one of them calls ``wake()``, at most so long; ``close()`` leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from fasttune.trial_functions import outside_event_loops

if TYPE_CHECKING:
    import asyncio

_T = TypeVar("_T")


class OwnLoop:
    """An event loop that runs while the run rests, and stands still in between. The caller's, if one runs in this thread,
    stands still meanwhile."""

    def __init__(self) -> None:
        import asyncio

        self.loop = asyncio.new_event_loop()
        self._woken = False

    def wake(self) -> None:
        if not self._woken:
            self._woken = True
            self.loop.stop()

    def rest(self, seconds: float) -> None:
        timer = None
        if seconds <= 0 and not self._woken:
            self.wake()  # one round
        elif not self._woken:
            timer = self.loop.call_later(seconds, self.loop.stop)
        try:
            with outside_event_loops():
                self.loop.run_forever()
        except SystemExit:
            pass  # of a task: whoever awaits it is told; the event loop would end with it
        finally:
            self._woken = False
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        """End what trials have left: tasks that nobody has awaited, generators, the threads of the default pool."""
        import asyncio

        loop = self.loop
        if loop.is_closed():
            return
        self._woken = True  # trials that end only now stop the loop no more
        try:
            with outside_event_loops():
                left = asyncio.all_tasks(loop)
                for task in left:
                    task.cancel()
                if left:
                    loop.run_until_complete(asyncio.wait(left, timeout=1.0))
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


class AwaitedRun:
    """A run that somebody awaits. Whoever cancels the awaiting ends the run as a Ctrl-C does: softly, with all that was
    reported stored.

    ``in_tasks`` runs it in a greenlet of the event loop's thread, which comes back to the loop whenever the run rests: its
    trials are tasks of that loop, beside all others. ``in_thread`` runs one that rests in other ways.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop
        self.is_here = False  # it runs in the event loop's thread
        self._ends: Callable[[], None] | None = None
        self._cancelled = False
        self._hub: Any = None
        self._woken = False
        self._resting: asyncio.Future[None] | None = None

    def begins(self, ends: Callable[[], None]) -> None:
        """The run has begun; ``ends()`` ends it softly."""
        self._ends = ends
        if self._cancelled:
            ends()

    def _cancel(self) -> None:
        self._cancelled = True
        if self._ends is not None:
            self._ends()

    # -- in a greenlet ------------------------------------------------------------------------------------------------

    def in_tasks(self, call: Callable[[], _T]) -> Coroutine[Any, Any, _T]:
        """Awaits what ``call()`` returns, with the trials as tasks of the loop that runs."""
        self.is_here = True
        return self._drive(call)

    async def _drive(self, call: Callable[[], _T]) -> _T:
        import asyncio
        from contextvars import copy_context

        from greenlet import getcurrent, greenlet

        self.loop = asyncio.get_running_loop()
        run = greenlet(call)
        run.gr_context = copy_context()
        cancelled = None
        while True:
            self._hub = run.parent = getcurrent()
            got = run.switch()
            if run.dead:
                break
            try:
                await self._rested(got)
            except asyncio.CancelledError as error:
                cancelled = error
                self._cancel()
        if cancelled is not None:
            raise cancelled
        result: _T = got
        return result

    async def _rested(self, seconds: float) -> None:
        import asyncio

        if self._woken or seconds <= 0:
            self._woken = False
            await asyncio.sleep(0)
            return
        self._resting = future = self.loop.create_future()
        timer = self.loop.call_later(seconds, self.wake)
        try:
            await future
        finally:
            self._resting, self._woken = None, False
            timer.cancel()

    def wake(self) -> None:
        if self._resting is None:
            self._woken = True
        elif not self._resting.done():
            self._resting.set_result(None)

    def rest(self, seconds: float) -> None:
        self._hub.switch(seconds)

    def close(self) -> None:
        """The loop is somebody else's."""

    # -- in a thread --------------------------------------------------------------------------------------------------

    async def in_thread(self, call: Callable[[], _T]) -> _T:
        """Awaits what ``call()`` returns, in a thread of its own."""
        import asyncio
        from contextvars import copy_context
        from threading import Thread

        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()
        context = copy_context()

        def work() -> None:
            try:
                result = context.run(call)
            except BaseException as error:
                loop.call_soon_threadsafe(done.set_exception, as_raised(error))
            else:
                loop.call_soon_threadsafe(done.set_result, result)

        thread = Thread(target=work, name="fasttune.arun", daemon=True)
        thread.start()
        cancelled = None
        while not done.done():
            try:
                await asyncio.wait([done])
            except asyncio.CancelledError as error:
                cancelled = error
                self._cancel()
        thread.join()
        if cancelled is not None:
            failed = done.exception()
            raise cancelled if failed is None else failed
        return done.result()


def as_raised(error: BaseException) -> BaseException:
    """What a future can hold of it."""
    if isinstance(error, StopIteration):
        return RuntimeError(f"the run has raised {error!r}")
    return error
