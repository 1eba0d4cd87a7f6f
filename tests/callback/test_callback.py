"""The list of callbacks: order, cost of unused hooks, what happens to hooks that raise."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from fasttune.callback import HOOKS, Callback, CallbackList
from fasttune.logger import LoggerCallback

ARGUMENTS: dict[str, dict[str, Any]] = {
    "on_step_begin": {"iteration": 1, "trials": []},
    "on_step_end": {"iteration": 1, "trials": []},
    "on_trial_start": {"iteration": 1, "trials": [], "trial": "t"},
    "on_trial_restore": {"iteration": 1, "trials": [], "trial": "t"},
    "on_trial_save": {"iteration": 1, "trials": [], "trial": "t"},
    "on_trial_result": {"iteration": 1, "trials": [], "trial": "t", "result": {"a": 1}},
    "on_trial_complete": {"iteration": 1, "trials": [], "trial": "t"},
    "on_trial_recover": {"iteration": 1, "trials": [], "trial": "t"},
    "on_trial_error": {"iteration": 1, "trials": [], "trial": "t"},
    "on_checkpoint": {"iteration": 1, "trials": [], "trial": "t", "checkpoint": "c"},
    "on_experiment_end": {"trials": []},
}


def recording(hooks: tuple[str, ...], seen: list[Any], name: str = "") -> Callback:
    """A callback that overrides these hooks; each call is noted with its arguments."""

    def make(hook: str) -> Any:
        return lambda self, **arguments: seen.append((name + hook, arguments))

    return type("Recording", (Callback,), {hook: make(hook) for hook in hooks})()


def test_L3_every_hook_is_called_with_its_keywords() -> None:
    seen: list[Any] = []
    callbacks = CallbackList([recording(HOOKS, seen)])
    callbacks.setup(stop={"a": 1}, num_samples=3, total_num_samples=6)
    for hook, arguments in ARGUMENTS.items():
        callbacks.fire(hook, **arguments)
    assert [hook for hook, _ in seen] == list(HOOKS)
    assert dict(seen) == {"setup": {"stop": {"a": 1}, "num_samples": 3, "total_num_samples": 6}, **ARGUMENTS}


def test_the_base_class_takes_every_hook() -> None:
    callback = Callback()
    callback.setup()
    for hook, arguments in ARGUMENTS.items():
        assert getattr(callback, hook)(**arguments) is None
        assert getattr(callback, hook)(**arguments, something_new=1) is None


def test_hooks_that_nobody_overrides_are_not_wanted() -> None:
    callbacks = CallbackList([Callback(), recording(("on_trial_start",), [])])
    assert [hook for hook in HOOKS if callbacks.wants(hook)] == ["on_trial_start"]
    callbacks.fire("on_trial_result", anything=1)
    assert not any(CallbackList().wants(hook) for hook in HOOKS)


def test_a_hook_set_on_the_object_counts() -> None:
    seen: list[Any] = []
    callback = Callback()
    callback.on_step_end = lambda **arguments: seen.append(arguments)  # type: ignore[method-assign]
    CallbackList([callback]).fire("on_step_end", iteration=3, trials=[])
    assert seen == [{"iteration": 3, "trials": []}]


def test_callbacks_are_called_in_their_order_and_see_each_others_changes() -> None:
    class Adding(Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_trial_result(self, result: dict[str, Any], **rest: Any) -> None:
            result.setdefault("seen", []).append(self.name)

    result: dict[str, Any] = {}
    CallbackList([Adding("b"), Adding("a")]).fire("on_trial_result", result=result)
    assert result == {"seen": ["b", "a"]}


def test_the_users_list_is_left_alone() -> None:
    given = [Callback()]
    callbacks = CallbackList(given)
    callbacks.setup()
    assert len(given) == 1
    given.clear()
    assert len(callbacks) == len(list(callbacks)) == 1


class Breaking(Callback):
    def __init__(self, error: BaseException) -> None:
        self.error, self.calls = error, 0

    def on_trial_result(self, **arguments: Any) -> None:
        self.calls += 1
        raise self.error

    def on_trial_complete(self, **arguments: Any) -> None:
        self.calls += 100


def test_a_hook_that_raises_is_logged_once_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []
    broken = Breaking(RuntimeError("disk is full"))
    callbacks = CallbackList([broken, recording(("on_trial_result",), seen)])
    with caplog.at_level(logging.ERROR, "fasttune"):
        for _ in range(3):
            callbacks.fire("on_trial_result", **ARGUMENTS["on_trial_result"])
    callbacks.fire("on_trial_complete", **ARGUMENTS["on_trial_complete"])
    assert broken.calls == 101
    assert len(seen) == 3
    assert len(caplog.records) == 1
    assert "Breaking.on_trial_result() raised an error and is not called again" in caplog.text
    assert "RuntimeError: disk is full" in caplog.text


def test_ctrl_c_in_a_hook_passes() -> None:
    callbacks = CallbackList([Breaking(KeyboardInterrupt())])
    with pytest.raises(KeyboardInterrupt):
        callbacks.fire("on_trial_result", **ARGUMENTS["on_trial_result"])
    assert callbacks.wants("on_trial_result")


def test_a_callback_that_cannot_be_set_up_takes_no_part(caplog: pytest.LogCaptureFixture) -> None:
    class Keyless(Breaking):
        def setup(self, **arguments: Any) -> None:
            raise RuntimeError("no API key")

    broken = Keyless(RuntimeError())
    callbacks = CallbackList([broken])
    callbacks.setup()
    assert not any(callbacks.wants(hook) for hook in HOOKS)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["no API key"]


def test_setup_without_arguments_is_tolerated() -> None:
    class Old(Callback):
        ready = False

        def setup(self) -> None:  # type: ignore[override]
            self.ready = True

    old = Old()
    with pytest.warns(FutureWarning, match="total_num_samples"):
        CallbackList([old]).setup(stop=None)
    assert old.ready


def test_a_class_or_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match=r"is a pair of brackets \(\) missing"):
        CallbackList([Callback])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"derived from tune\.Callback"):
        CallbackList([print])  # type: ignore[list-item]


def test_L3_states_go_back_to_the_callbacks_they_came_from() -> None:
    class Counting(Callback):
        def __init__(self, count: int) -> None:
            self.count = count

        def get_state(self) -> dict[str, Any]:
            return {"count": self.count}

        def set_state(self, state: dict[str, Any]) -> None:
            self.count = state["count"]

    states = CallbackList([Counting(1), Callback(), Counting(3)]).get_state()
    assert states == {"0-Counting": {"count": 1}, "2-Counting": {"count": 3}}
    again = [Counting(0), Callback(), Counting(0)]
    CallbackList(again).set_state(states)
    assert [callback.count for callback in again if isinstance(callback, Counting)] == [1, 3]


def test_L4_a_logger_is_told_of_one_trial_at_a_time() -> None:
    seen: list[Any] = []

    class Mine(LoggerCallback):
        def log_trial_start(self, trial: Any) -> None:
            seen.append(("start", trial))

        def log_trial_restore(self, trial: Any) -> None:
            seen.append(("restore", trial))

        def log_trial_save(self, trial: Any) -> None:
            seen.append(("save", trial))

        def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
            seen.append(("result", iteration, trial, result))

        def log_trial_end(self, trial: Any, failed: bool = False) -> None:
            seen.append(("end", trial, failed))

    for callback in (Mine(), LoggerCallback()):
        callbacks = CallbackList([callback])
        for hook, arguments in ARGUMENTS.items():
            callbacks.fire(hook, **arguments)
    assert seen == [
        ("start", "t"),
        ("restore", "t"),
        ("save", "t"),
        ("result", 1, "t", {"a": 1}),
        ("end", "t", False),
        ("end", "t", True),
    ]
