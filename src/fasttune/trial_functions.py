"""How a user's function is run as a trial, whatever its form: what it returns or yields is reported, a coroutine is awaited."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from fasttune import _core
from fasttune.checkpoint import flush_directory
from fasttune.error import StopTrial
from fasttune.metric_values import is_number, plain_value, type_name
from fasttune.once import warn_once
from fasttune.session import StatusReporter, bare_name, deliver, obey
from fasttune.totals import totals_in
from fasttune.trial_checkpoints import bearing, checkpoint_directory
from fasttune.trial_context import Reporter, run_loop, running_loop

CONTINUE = _core.CONTINUE


def run_function(
    function: Callable[..., Any], config: dict[str, Any], reporter: Reporter, form: str = "config"
) -> None:
    """Run a trainable function to its end, as the trial of ``reporter``; its yields and return are reported.

    ``form`` is what ``trainable.call_form(function)`` said. A generator is closed when the trial is stopped.
    """
    if reporter.context.checkpoint is not None:
        reporter.context.count(totals_in(reporter.context.checkpoint))
    value = start_function(function, config, reporter, form)
    handle_end(reporter, value)
    end_function(reporter)


async def run_async_function(
    function: Callable[..., Any], config: dict[str, Any], reporter: Reporter, form: str = "config"
) -> None:
    """As :func:`run_function`, of an async function, within the event loop that runs."""
    if reporter.context.checkpoint is not None:
        reporter.context.count(totals_in(reporter.context.checkpoint))
    handle_end(reporter, await _outcome(reporter, start_function(function, config, reporter, form)))
    end_function(reporter)


async def _outcome(reporter: Reporter, value: Any) -> Any:
    """What a coroutine returns. Of an async generator each value is reported when it comes."""
    if not isinstance(value, AsyncGeneratorType):
        return await value
    try:
        async for part in value:
            handle_return(reporter, part)
    finally:
        await value.aclose()
    return None


def _run_coroutine(reporter: Reporter, value: Any) -> Any:
    """Run a trial's coroutine in an event loop of its own, where trials are plain calls."""
    import asyncio

    context = reporter.context

    async def whole() -> Any:
        context.task = asyncio.current_task()
        return await _outcome(reporter, value)

    try:
        with outside_event_loops(), asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(whole())
    except asyncio.CancelledError:
        if context.over:
            raise StopTrial from None
        raise
    finally:
        context.task, context.fresh = None, False


def start_function(
    function: Callable[..., Any], config: dict[str, Any], reporter: Reporter, form: str
) -> Any:
    """Call the function in the form it was written for; what comes back is a value or a generator."""
    if form == "config":
        return function(config)
    if form == "checkpoint_dir":
        return function(config, checkpoint_dir=checkpoint_directory(reporter.context))
    if form == "own checkpoint_dir":  # its default stands for a fresh start
        found = checkpoint_directory(reporter.context)
        return function(config) if found is None else function(config, checkpoint_dir=found)
    if form == "reporter":
        return function(config, StatusReporter(reporter.context))
    raise ValueError(f'form must be "config", "checkpoint_dir", "own checkpoint_dir" or "reporter", got {form!r}')


def end_function(reporter: Reporter) -> None:
    """A checkpoint that no report followed belongs to the last one; to none, if the function has never reported."""
    context = reporter.context
    pending, context.pending = context.pending, None
    if pending is None:
        return
    pending = bearing(context, pending, context.totals)
    if context.until_stored is not None and isinstance(pending, str):
        flush_directory(os.path.join(context.experiment_path, pending), context.experiment_path)
    payload = pending.encode() if isinstance(pending, str) else pending
    while not reporter.note(_core.KIND_CHECKPOINT, payload, True):
        context.flush()


def handle_return(reporter: Reporter, value: Any) -> None:
    """Report what a trainable function returned or yielded: a dict, or a number as the run's metric (0.0 too).

    None and an empty dict report nothing. Anything else is a ValueError.
    """
    if value is None:
        return
    if isinstance(value, Mapping):
        if value and not (type(value) is dict and _written_at_once(reporter, value)):
            deliver(reporter, dict(value), None)
        return
    name = bare_name(reporter)
    number = plain_value(name, value) if is_number(value) else None
    if number is None:
        raise ValueError(
            "a trainable function must return or yield a dict of metrics, a number or None, got "
            f"{type_name(value)}; report what you measured, and save models in a checkpoint"
        )
    if not _written_at_once(reporter, {name: number}):
        deliver(reporter, {name: number}, None)


def handle_end(reporter: Reporter, value: Any) -> None:
    """Report what a trainable function came back with. Of a generator each value is reported when it comes, and then what
    it returns; a coroutine is run to its end. A number of a function that has reported already is not reported: it would
    take the place of what it reported."""
    if isinstance(value, _STILL_RUNS):
        value = _run_generator(reporter, value) if isinstance(value, GeneratorType) else _run_coroutine(reporter, value)
    if not isinstance(value, Mapping) and is_number(value) and reporter.iteration > reporter.context.iteration0:
        warn_once(
            "a number after reports",
            f"the number that the function returned ({value!r:.40}) is dropped: it has reported before, so nobody can say "
            f"which metric this is. Report it under its name, e.g. tune.report({bare_name(reporter)}=...)",
        )
        return
    handle_return(reporter, value)


_STILL_RUNS = (GeneratorType, CoroutineType, AsyncGeneratorType)


def _run_generator(reporter: Reporter, generator: GeneratorType[Any, Any, Any]) -> Any:
    """What a generator returns. Each value that it yields is reported when it comes."""
    try:
        while True:
            try:
                part = next(generator)
            except StopIteration as end:
                return end.value
            handle_return(reporter, part)
    finally:
        generator.close()


def _written_at_once(reporter: Reporter, metrics: dict[str, Any]) -> bool:
    """The short way of ``report``, for plain numbers; False: nothing was written."""
    if not reporter.context.quick:
        return False
    code = reporter.report(metrics)
    if code > CONTINUE:
        obey(reporter, code)
    return code >= CONTINUE


@contextmanager
def outside_event_loops() -> Iterator[None]:
    """In the block no event loop runs in this thread, so that another one can: that of a notebook stands still meanwhile."""
    outer = running_loop()
    if outer is None:
        yield
        return
    swap_task = getattr(sys.modules["asyncio"].tasks, "_swap_current_task", lambda loop, task: None)  # Python 3.12
    task = swap_task(outer, None)
    run_loop(None)
    try:
        yield
    finally:
        run_loop(outer)
        swap_task(outer, task)
