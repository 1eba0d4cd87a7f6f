"""How long hooks of the user's callbacks, stoppers, schedulers and searchers keep the run's loop waiting.

The loop calls them one after the other, so a hook that sleeps holds up everything that the loop does. ``HookTimes`` says
which one it was, once for each hook.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from fasttune.nesting import stay_in

P = ParamSpec("P")
T = TypeVar("T")

SLOW_S = 1.0  # a hook that took longer is named


class HookTimes:
    """Calls hooks and takes their time. Costs half a microsecond a call.

    A process that a hook forks, and that comes back from it, ends there: the run is that of the process ``pid`` (0: of
    whichever calls).
    """

    def __init__(self, clock: Callable[[], float], pid: int = 0) -> None:
        self._clock = clock
        self._named: set[str] = set()
        self._pid = pid

    def call(self, hook: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """``hook(*arguments, **named)``; a hook that was slow is named, also when it raised."""
        began = self._clock()
        try:
            result = hook(*arguments, **named)
        except BaseException as error:
            if self._pid:
                stay_in(self._pid, error)
            raise
        finally:
            took = self._clock() - began
            if took >= SLOW_S:
                self._name(hook, took)
        if self._pid:
            stay_in(self._pid)
        return result

    def _name(self, hook: Callable[..., object], took: float) -> None:
        name = hook_name(hook)
        if name in self._named or getattr(getattr(hook, "__self__", None), "says_that_it_waits", False):
            return
        self._named.add(name)
        import logging  # 2 ms that most runs do without

        logging.getLogger("fasttune").warning(
            "%s took %.1f s, and the run waited for it: running trials go on and their reports are kept, but nothing is "
            "decided, started or stored meanwhile. Do slow work in a thread of your own, or less often (said once for "
            "each hook)",
            name,
            took,
        )


def hook_name(hook: Any) -> str:
    """What a user knows a hook by: "MyLogger.on_trial_result()", or the name of a function."""
    owner = getattr(hook, "__self__", None)
    named = getattr(hook if owner is None else owner, "hook_name", None)  # a function in a class of ours
    if isinstance(named, str):
        return named
    if owner is not None:
        return f"{type(owner).__name__}.{hook.__name__}()"
    if hasattr(hook, "__qualname__"):
        return f"{hook.__qualname__}()"
    return f"{type(hook).__name__}.__call__()"


UNTIMED = HookTimes(lambda: 0.0)  # where there is no clock: in virtual time, and while nothing runs
