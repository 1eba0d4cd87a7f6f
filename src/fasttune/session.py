"""What a function calls while it is a trial: report, checkpoints, and who it is.

``report`` is on the clock of 0.1 us. All it does for plain numbers is three look-ups and one compiled call;
everything else (nested metrics, numpy scalars, text, checkpoints) goes the long way round.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TextIO

from fasttune import _core
from fasttune.checkpoint import (
    LARGEST_HELD,
    WRITING,
    Checkpoint,
    copy_whole,
    flush_directory,
    rename_over,
    whole_directory,
    write_files,
)
from fasttune.error import MissingMetricError, StopTrial
from fasttune.folder import CHECKPOINT_NAME
from fasttune.metric_values import is_number, plain_value, split_metrics, steer_by, to_json, type_name
from fasttune.once import warn_once
from fasttune.result import AUTO_RESULT_KEYS
from fasttune.result_keys import DEFAULT_METRIC
from fasttune.totals import TOTALS, added_up, totals_in, with_totals, write_totals

if TYPE_CHECKING:
    import asyncio

CONTINUE, STOP, WAIT, TURN = _core.CONTINUE, _core.STOP, _core.WAIT, _core.TURN
NOT_PLAIN, FULL, MISSING, GONE, LATE = _core.NOT_PLAIN, _core.FULL, _core.MISSING, _core.GONE, _core.LATE

_NOBODY_ELSE = nullcontext()
_savings = itertools.count()
_AWAY_S = 0.002  # how often a thread looks whether its trial, which is paused, goes on

os.register_at_fork(after_in_child=_core.forget_in_child)


class Reporter(Protocol):
    """What the compiled reporter of a trial offers. ``report`` answers NOT_PLAIN, and has written nothing, if
    a value is not a plain float, int or bool or a key is not text; then ``report_extra`` is the way.
    ``checkpoint`` is a path relative to the folder of the experiment, or the checkpoint itself.
    """

    @property
    def context(self) -> TrialContext: ...

    @property
    def iteration(self) -> int: ...

    @property
    def metric(self) -> str | None: ...

    def leave_child(self) -> None: ...

    def note(self, kind: int, payload: bytes, urgent: bool, /) -> bool: ...

    def report(self, metrics: dict[str, Any], /) -> int: ...

    def report_extra(
        self,
        numbers: dict[str, float | int | bool],
        extra: dict[str, Any],
        extra_json: bytes,
        checkpoint: str | bytes | None,
        /,
    ) -> int: ...


class Threads:
    """What the threads of one trial share when they save checkpoints.

    saving  held by the one that saves: no two save under the same name, and names come in the order of the reports
    ending  held by the trial's own thread while it ends, and by another while its checkpoint gets its name: never behind the
            end, when a next attempt may use that name
    """

    __slots__ = ("ending", "saving")

    def __init__(self) -> None:
        self.saving = threading.RLock()
        self.ending = threading.RLock()


class _TrialOverError(Exception):
    """The trial of a thread has ended while the thread was saving."""


class TrialContext:
    """Who the trial is that runs here. Made by executors; a trial's folder is made when it is asked for.

    experiment_path  folder of the experiment; the trial's own folder is ``trial_dirname`` in it
    resources        what the trial was given, a PlacementGroupFactory
    checkpoint       directory (or bytes) to go on from, or None; after a reported checkpoint, that one
    is_class         a class Trainable runs: its ``step`` returns results, ``report`` is not for it
    wait             blocks (or switches away) until the trial may go on; returns CONTINUE or STOP
    flush            returns when the ring has room again
    until_stored     returns when the disk has what was reported; None: nobody waits for that
    turn             lets the loop that shares this thread have a turn, when a report was answered with TURN
    iteration0       reports the trial had made before it was restored here
    quick            a report of plain numbers may go straight to the reporter: no class, no checkpoint
    fresh            the trial has left nothing here: the next one may have it as it is
    threads          what the threads of the trial share; None: it has started none. They may look here when it is over, so
                     the next one has a context of its own
    logs             files that its standard output and errors also go to, if they go to files
    totals           steps and episodes of its reports so far; {} until a report has them, or for a class
    pending          checkpoint that waits for the next report: of a ``checkpoint_dir`` block or a class's save
    next_checkpoint  index of the next checkpoint, None while the folder has not been looked at
    over             the trial has been told to stop
    task             of a trial that is a coroutine: the asyncio task that runs it
    attempt          how often the trial had begun before: a checkpoint in memory bears it
    """

    __slots__ = (
        "attempt",
        "checkpoint",
        "config",
        "experiment_name",
        "experiment_path",
        "flush",
        "fresh",
        "index",
        "is_class",
        "iteration0",
        "logs",
        "next_checkpoint",
        "over",
        "pending",
        "quick",
        "resources",
        "task",
        "threads",
        "totals",
        "trial_dirname",
        "trial_id",
        "trial_name",
        "turn",
        "until_stored",
        "wait",
    )

    def __init__(
        self,
        index: int,
        trial_id: str,
        trial_name: str,
        experiment_name: str,
        experiment_path: str,
        trial_dirname: str,
        config: dict[str, Any],
        resources: Any,
        wait: Callable[[], int],
        checkpoint: str | bytes | None = None,
        is_class: bool = False,
        iteration0: int = 0,
    ) -> None:
        self.index = index
        self.trial_id = trial_id
        self.trial_name = trial_name
        self.experiment_name = experiment_name
        self.experiment_path = experiment_path
        self.trial_dirname = trial_dirname
        self.config = config
        self.resources = resources
        self.wait = wait
        self.flush: Callable[[], None] = _no_flush
        self.turn: Callable[[], None] = _no_flush
        self.until_stored: Callable[[], None] | None = None
        self.checkpoint = checkpoint
        self.is_class = is_class
        self.iteration0 = iteration0
        self.quick = not is_class
        self.fresh = True
        self.threads: Threads | None = None
        self.logs: tuple[TextIO, TextIO] | None = None
        self.totals: dict[str, Any] = {}
        self.pending: str | bytes | None = None
        self.next_checkpoint: int | None = None
        self.attempt = 0
        self.over = False
        self.task: asyncio.Task[Any] | None = None

    def stopping(self) -> BaseException:
        """What is raised in a trial that is told to stop: StopTrial, and in a coroutine what stops coroutines."""
        return StopTrial() if self.task is None else _cancelled(self.task)

    def end(self) -> None:
        """The trial was told to stop: what it reports from now on is nothing but told so again."""
        self.over, self.quick, self.fresh = True, False, False

    def count(self, totals: dict[str, Any]) -> None:
        """These are the totals from now on, and every report bears them."""
        self.totals = totals
        if totals:
            self.quick = self.fresh = False

    def hold(self) -> None:
        """The trial that runs here starts a thread: this is its context from now on, and no other trial's."""
        if self.threads is None:
            self.threads, self.fresh = Threads(), False
        self.pin(self.who())

    def hold_unseen(self) -> None:
        """As :meth:`hold`, from a thread whose start nobody has seen. Its trial may be over by now, and this another's: who
        is meant is read first, and counts if the trial is still there afterwards."""
        who = self.who()
        if self.threads is None:
            self.threads, self.fresh = Threads(), False
        if _core.current() is not None:
            self.pin(who)

    def who(self) -> Any:
        """Which trial this is the context of, for :meth:`pin`."""

    def pin(self, who: Any) -> None:
        """Be the context of this trial, whichever runs."""

    @property
    def left(self) -> bool:
        """Nothing that the trial does counts any more: it is only left, so that it cleans up, and may run elsewhere by now."""
        return False

    @property
    def trial_path(self) -> str:
        """The trial's folder, whether it exists or not."""
        return os.path.join(self.experiment_path, self.trial_dirname)

    def trial_dir(self) -> str:
        """The trial's folder, made now if it is not there."""
        path = self.trial_path
        os.makedirs(path, exist_ok=True)
        return path


def _no_flush() -> None:
    """For a context whose reporter never runs out of room, and whose loop is in another process."""


# ---- report ------------------------------------------------------------------------------------------------


def report(
    metrics: Mapping[str, Any] | float | None = None,
    /,
    *,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    **keywords: Any,
) -> None:
    """Report metrics, and a checkpoint if there is one. Each call is one training iteration.

    Metrics come as a dict, as keywords, or as a bare number (the run's metric, or ``_metric`` if it has none). They may be numbers,
    text, None, lists and nested dicts ("a/b"); numpy scalars and arrays become numbers and lists. Anything else is kept
    as the nearest that JSON has (a set as a list, a duration as seconds), or as text, and a warning says so once. The
    checkpoint's directory is copied into the trial's folder before the report counts, so it may be deleted
    afterwards; one in memory (``Checkpoint.from_dict``) of up to 64 KB goes along with the report. When ``report``
    returns, both survive the death of every process (and, with ``durability="full"``, a power cut). If the trial has
    been stopped, StopTrial (a SystemExit) is raised here, so that ``finally`` blocks run; in a coroutine it is
    ``asyncio.CancelledError``.

    Every thread of a trial may report. A thread belongs to the trial in which it was started: when that is over its
    reports are dropped, with a warning; while it is paused they wait. Schedulers that are asked in the driver's process
    are asked by reports of the thread that called the trainable. A process that the trial forks cannot report.
    """
    reporter = _core.current()
    if checkpoint is None and reporter is not None and reporter.context.quick:
        if metrics is None:
            code = reporter.report(keywords)
        else:
            code = reporter.report(metrics) if type(metrics) is dict and not keywords else NOT_PLAIN
        if code == CONTINUE:
            return
        if code > CONTINUE:
            _obey(reporter, code)
            return  # what is left goes the long way round: not plain, no room in the ring, no metric, no trial any more
    if reporter is None and _back_from_absence():
        report(metrics, checkpoint=checkpoint, **keywords)
    elif reporter is None:
        warn_once("report", f"tune.report() does nothing here: {_why_absent()}")
    elif reporter.context.is_class:
        warn_once(
            "report in a class",
            "tune.report() does nothing inside a class Trainable: return the metrics from step() instead",
        )
    else:
        context = reporter.context
        if checkpoint is not None and context.threads is None and _of_another_thread():
            context.hold_unseen()
        if _core.current() is None:  # a thread whose trial has ended since the first line: it was the next one's
            report(metrics, checkpoint=checkpoint, **keywords)
        else:
            deliver(reporter, _gather(metrics, keywords, reporter), checkpoint, context)


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
    name = _bare_name(reporter)
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
            f"which metric this is. Report it under its name, e.g. tune.report({_bare_name(reporter)}=...)",
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
        _obey(reporter, code)
    return code >= CONTINUE


def _bare_name(reporter: Reporter) -> str:
    """What a number without a name is: the run's metric, unless that is one that results have anyway."""
    metric = reporter.metric
    return DEFAULT_METRIC if metric is None or metric in AUTO_RESULT_KEYS else metric


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


def _cancelled(task: asyncio.Task[Any]) -> BaseException:
    """What is raised in a coroutine that is told to stop. Where another task of the trial reports, or a thread, the trial's
    own is cancelled, too."""
    import asyncio

    loop = task.get_loop()
    if running_loop() is not loop:
        loop.call_soon_threadsafe(task.cancel)
    elif asyncio.current_task() is not task:
        task.cancel()
    return asyncio.CancelledError("the trial has been stopped")


def running_loop() -> Any:
    """The event loop that runs in this thread, None if there is none."""
    asyncio = sys.modules.get("asyncio")  # not loaded: then none runs
    return None if asyncio is None else asyncio._get_running_loop()


def run_loop(loop: Any) -> None:
    """From now on it is this event loop, or none, that runs in this thread."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        asyncio._set_running_loop(loop)


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


def start_function(
    function: Callable[..., Any], config: dict[str, Any], reporter: Reporter, form: str
) -> Any:
    """Call the function in the form it was written for; what comes back is a value or a generator."""
    if form == "config":
        return function(config)
    if form == "checkpoint_dir":
        return function(config, checkpoint_dir=_checkpoint_directory(reporter.context))
    if form == "own checkpoint_dir":  # its default stands for a fresh start
        found = _checkpoint_directory(reporter.context)
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
    pending = _bearing(context, pending, context.totals)
    if context.until_stored is not None and isinstance(pending, str):
        flush_directory(os.path.join(context.experiment_path, pending), context.experiment_path)
    payload = pending.encode() if isinstance(pending, str) else pending
    while not reporter.note(_core.KIND_CHECKPOINT, payload, True):
        context.flush()


def _obey(reporter: Reporter, code: int, metrics: Mapping[str, Any] = {}) -> None:
    """Carry out the answer of a report: wait if asked to, raise StopTrial if stopped."""
    if code == TURN:
        reporter.context.turn()
        return
    if code == WAIT:
        code = reporter.context.wait()
    if code == STOP:
        reporter.context.end()
        raise reporter.context.stopping()
    if code == MISSING:
        raise missing_metric(reporter.metric, metrics)
    if code != CONTINUE:
        raise AssertionError(f"a report was answered with {code}; expected CONTINUE (0) or STOP (1)")


def missing_metric(metric: str | None, metrics: Collection[str]) -> MissingMetricError:
    """The error of a report that has these metrics, and not the one that the run steers by as a number."""
    found = ", ".join(repr(name) for name in metrics) or "nothing"
    why = "it is there, but not a number" if metric in metrics else "is it misspelt, or reported elsewhere?"
    error = MissingMetricError(
        f"the run steers by metric {metric!r}, and this report does not have it as a number ({why}); "
        f"it reported {found}"
    )
    error.reported = tuple(metrics)
    return error


def _gather(
    metrics: Mapping[str, Any] | float | None, keywords: dict[str, Any], reporter: Reporter
) -> dict[str, Any]:
    """One dict of the three ways to give metrics."""
    if metrics is None:
        inner = keywords.get("metrics")
        # report(metrics={...}) means the dict itself, as it does for a positional one
        return dict(inner) if len(keywords) == 1 and isinstance(inner, Mapping) else keywords
    if isinstance(metrics, Mapping):
        gathered = dict(metrics)
    elif is_number(metrics):
        gathered = {_bare_name(reporter): metrics}
    else:
        raise TypeError(f"report() takes a dict of metrics, a number or keywords, got {type_name(metrics)}")
    for name, value in keywords.items():
        if name in gathered:
            raise ValueError(f"metric {name!r} is given twice to report(): in the dict and as a keyword")
        gathered[name] = value
    return gathered


def deliver(
    reporter: Reporter,
    metrics: dict[str, Any],
    checkpoint: Checkpoint | str | os.PathLike[str] | None,
    context: TrialContext | None = None,
) -> None:
    """Write one report, whatever is in it, and obey the answer. A thread hands in the context of its trial: while it
    copies, the trial may end and the next one have its turn."""
    reporter.leave_child()  # a process that the trial has forked and that came back from its code
    if context is None:
        context = reporter.context
    if context.over or context.left:  # it has caught what was raised before, or hears of its end here
        raise context.stopping()
    numbers, extra = split_metrics(metrics)  # before the copy: a wrong metric leaves no checkpoint behind
    steer_by(reporter.metric, numbers, extra)
    try:
        with _NOBODY_ELSE if context.threads is None else context.threads.saving:
            name = keep_checkpoint(context, checkpoint)
    except _TrialOverError:
        warn_once("report", f"tune.report() does nothing here: {_why_absent()}")
        return
    if not context.is_class and (context.totals or not TOTALS.keys().isdisjoint(metrics)):
        code, name = _write_counted(reporter, context, numbers, extra, name)
    else:
        code = _write(reporter, context, numbers, extra, name)
    if code == GONE:
        warn_once("report", f"tune.report() does nothing here: {_why_absent()}")
        return
    if code == LATE:
        if checkpoint is not None or context.is_class:  # one of a block may have the name of an earlier one
            _forget(context, name)
        raise context.stopping()
    until_stored = context.until_stored
    if name is not None:
        context.checkpoint = name if isinstance(name, bytes) else os.path.join(context.experiment_path, name)
    if until_stored is not None and code >= CONTINUE:
        if code == WAIT:
            code = context.wait()
        until_stored()
    _obey(reporter, code, {**numbers, **extra})


def _write(
    reporter: Reporter, context: TrialContext, numbers: dict[str, Any], extra: dict[str, Any], name: str | bytes | None
) -> int:
    """Write a report and its checkpoint, as soon as the ring has room for them. GONE: the trial is over."""
    text = to_json(extra) if extra else b""
    if context.until_stored is not None and isinstance(name, str):
        folder = context.experiment_path
        flush_directory(os.path.join(folder, name), folder)
    while True:
        plain = name is None and not extra and TOTALS.keys().isdisjoint(numbers)
        code = reporter.report(numbers) if plain else reporter.report_extra(numbers, extra, text, name)
        if code == FULL:
            context.flush()
        elif code != GONE or not _back_from_absence():
            return code


def _write_counted(
    reporter: Reporter, context: TrialContext, numbers: dict[str, Any], extra: dict[str, Any], name: str | bytes | None
) -> tuple[int, str | bytes | None]:
    """As :func:`_write`, with the totals that this report adds to; what was written of the checkpoint bears them."""
    for key in TOTALS:
        if extra.get(key) is not None:
            warn_once(key, f"{key} is not added up to {TOTALS[key]}: it is {type_name(extra[key])}, no number")
    with _NOBODY_ELSE if context.threads is None else context.threads.saving:  # no other report comes between
        totals = added_up(context.totals, numbers)
        told = {key: numbers.get(key, total) for key, total in totals.items() if key not in extra}  # their own word counts
        if name is not None:
            name = _bearing(context, name, told)
        code = _write(reporter, context, {**numbers, **told}, extra, name)
        if code >= CONTINUE:
            context.count(totals)
    return code, name


def _bearing(context: TrialContext, name: str | bytes, totals: dict[str, Any]) -> str | bytes:
    """A checkpoint of a function, with the totals of its report in it, if there are any."""
    if not totals or context.is_class:
        return name
    if isinstance(name, bytes):
        return with_totals(name, totals)
    write_totals(os.path.join(context.experiment_path, name), totals)
    return name


def _forget(context: TrialContext, name: str | bytes | None) -> None:
    """A report that came too late has no checkpoint either."""
    if isinstance(name, str):
        import shutil

        shutil.rmtree(os.path.join(context.experiment_path, name), ignore_errors=True)


# ---- checkpoints -------------------------------------------------------------------------------------------


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint to go on from, None for a fresh start. After a report with a checkpoint: that one."""
    context = _context_or_warn("get_checkpoint")
    if context is None or context.checkpoint is None:
        return None
    saved = context.checkpoint
    return Checkpoint._of_a_run(saved)


def _checkpoint_directory(context: TrialContext) -> str | None:
    """For functions that want a path: the directory to go on from, written if the checkpoint is in memory."""
    saved = context.checkpoint
    if not isinstance(saved, bytes):
        return saved
    return Checkpoint._holding(saved, os.path.join(context.trial_dir(), "restored")).path


@contextmanager
def checkpoint_dir(step: int) -> Iterator[str]:
    """A directory to write a checkpoint in; it is kept as ``checkpoint_<step>`` when the block ends well.

    It belongs to the next report. Outside a trial it is the working directory.
    """
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ValueError(f"checkpoint_dir(step=..) must be a whole number >= 0, got {step!r}")
    context = _context_or_warn("checkpoint_dir")
    if context is None or context.is_class:
        yield os.getcwd()
        return
    name = f"checkpoint_{step:06d}"
    if context.threads is None and _of_another_thread():
        context.hold_unseen()
    try:
        with whole_directory(os.path.join(context.trial_dir(), name), *_staging(context)) as directory:
            yield directory
    except _TrialOverError:
        warn_once("checkpoint_dir", f"tune.checkpoint_dir() keeps nothing here: {_why_absent()}")
        return
    context.pending = os.path.join(context.trial_dirname, name)
    context.quick = context.fresh = False
    context.next_checkpoint = None


def keep_checkpoint(
    context: TrialContext, checkpoint: Checkpoint | str | os.PathLike[str] | None
) -> str | bytes | None:
    """Copy a reported checkpoint into the trial's folder; its path, relative to the experiment's folder.

    A small one in memory is left there: it is its bytes.
    """
    pending, context.pending = context.pending, None
    context.quick = not context.is_class and context.until_stored is None and not context.totals
    if checkpoint is None:
        return pending
    context.fresh = False
    if not isinstance(checkpoint, (str, os.PathLike)):
        raise TypeError(
            f"checkpoint must be a Checkpoint or the path of a directory, got {type_name(checkpoint)}; "
            "use Checkpoint.from_dict(..), or write files and use Checkpoint.from_directory(folder)"
        )
    held = checkpoint.held() if isinstance(checkpoint, Checkpoint) and checkpoint.in_memory else None
    if held is not None and len(held) <= LARGEST_HELD:
        return held
    index = next_index(context)
    name = f"checkpoint_{index:06d}"
    target = os.path.join(context.trial_dir(), name)
    if held is None:
        copy_whole(os.fspath(checkpoint), target, *_staging(context))
    else:
        with whole_directory(target, *_staging(context)) as directory:
            write_files(held, directory)
    context.next_checkpoint = index + 1
    return os.path.join(context.trial_dirname, name)


def next_index(context: TrialContext) -> int:
    """One after the highest checkpoint in the trial's folder, 0 in an empty one."""
    if context.next_checkpoint is None:
        context.next_checkpoint = max((index_of(name, -1) for name in os.listdir(context.trial_dir())), default=-1) + 1
    return context.next_checkpoint


def index_of(name: str, otherwise: int) -> int:
    """The number in the name of a checkpoint's directory; ``otherwise`` if it is another name."""
    match = re.fullmatch(CHECKPOINT_NAME, name)
    return int(match[1]) if match else otherwise


def _staging(context: TrialContext) -> tuple[str, str, Callable[[str, str], None]]:
    """For `whole_directory`: where the experiment's unfinished checkpoints are (whoever opens it next finds there what was
    not finished), whose this is, and how it gets its name."""
    folder, threads = os.path.join(context.experiment_path, WRITING), context.threads

    def publish_alone(unfinished: str, target: str) -> None:
        if context.left:  # since the copy was begun; the name may be another attempt's
            raise StopTrial
        rename_over(unfinished, target)

    if threads is None:
        return folder, "", publish_alone

    def publish(unfinished: str, target: str) -> None:
        while True:
            with threads.ending:
                if context.left:
                    raise StopTrial
                if _core.current() is not None:
                    rename_over(unfinished, target)
                    return
            if not _back_from_absence():
                raise _TrialOverError

    return folder, f"_{next(_savings)}", publish  # no other thread or attempt writes there


def note_here(kind: int, payload: bytes, what: str) -> None:
    """A record about the trial that runs here, from whichever of its threads. Where none runs nothing is written, and
    a warning says so once, by the name of ``what`` was called."""
    while True:
        reporter: Reporter | None = _core.current()
        if reporter is None:
            if _back_from_absence():
                continue
            warn_once(what, f"tune.{what}() does nothing here: {_why_absent()}")
            return
        context = reporter.context
        if context.threads is None and _of_another_thread():
            context.hold_unseen()
        with _NOBODY_ELSE if context.threads is None else context.threads.ending:
            if _core.current() is not None and reporter.note(kind, payload, False):  # else the trial has ended in between
                return
        if _core.current() is not None:
            context.flush()


# ---- who am I ----------------------------------------------------------------------------------------------


class StorageContext(NamedTuple):
    """Where the experiment lies."""

    storage_fs_path: str | None
    experiment_fs_path: str | None
    experiment_dir_name: str | None
    trial_fs_path: str | None
    trial_dir_name: str | None


class TuneContext:
    """The trial that runs here, by name, id, resources and folder; every answer is None outside a trial."""

    __slots__ = ("_trial",)

    def __init__(self, trial: TrialContext | None) -> None:
        self._trial = trial

    def get_experiment_name(self) -> str | None:
        """Name of the experiment."""
        return None if self._trial is None else self._trial.experiment_name

    def get_trial_name(self) -> str | None:
        """Name of the trial, as in tables: the trainable's name and the trial's id."""
        return None if self._trial is None else self._trial.trial_name

    def get_trial_id(self) -> str | None:
        """Id of the trial, unique in the experiment."""
        return None if self._trial is None else self._trial.trial_id

    def get_trial_resources(self) -> Any:
        """What the trial was given, as a PlacementGroupFactory."""
        return None if self._trial is None else self._trial.resources

    def get_trial_dir(self) -> str | None:
        """The trial's own folder. It is made by asking for it."""
        return None if self._trial is None else self._trial.trial_dir()

    def get_storage(self) -> StorageContext:
        """Where the experiment lies. Makes no folder."""
        trial = self._trial
        if trial is None:
            return StorageContext(None, None, None, None, None)
        storage, name = os.path.split(trial.experiment_path)
        return StorageContext(storage, trial.experiment_path, name, trial.trial_path, trial.trial_dirname)

    def get_world_size(self) -> int:
        """1: a trial is one process. Like the ranks, only here for code that was written for groups of
        workers.
        """
        return 1

    def get_world_rank(self) -> int:
        """0, see ``get_world_size``."""
        return 0

    def get_local_rank(self) -> int:
        """0, see ``get_world_size``."""
        return 0

    def get_local_world_size(self) -> int:
        """1, see ``get_world_size``."""
        return 1

    def get_node_rank(self) -> int:
        """0, see ``get_world_size``."""
        return 0


class StatusReporter:
    """The second argument of ``def f(config, reporter)``: call it to report; it knows the trial too."""

    __slots__ = ("_trial",)

    def __init__(self, trial: TrialContext) -> None:
        self._trial = trial

    def __call__(self, metrics: Mapping[str, Any] | float | None = None, /, **keywords: Any) -> None:
        report(metrics, **keywords)

    @property
    def logdir(self) -> str:
        return self._trial.trial_dir()

    @property
    def trial_name(self) -> str:
        return self._trial.trial_name

    @property
    def trial_id(self) -> str:
        return self._trial.trial_id

    @property
    def trial_resources(self) -> Any:
        return self._trial.resources


def current_context() -> TrialContext | None:
    """The context of the trial that this thread belongs to, None outside a trial."""
    reporter: Reporter | None = _core.current()
    if reporter is None and _back_from_absence():
        reporter = _core.current()
    context = None if reporter is None else reporter.context
    return context if _core.current() is not None else None  # else the trial has ended in between: it is the next one's


def _of_another_thread() -> bool:
    """Whether this thread, which has a trial, may not be the one that runs trials: one whose start nobody has seen
    (`_thread`, C code), or one that has its trial by its context."""
    bound = _core.binding()
    return bound is None or bound[1] != 0


def _back_from_absence() -> bool:
    """Wait while the trial that this thread belongs to is paused; whether it has gone on since. False at once for a
    thread that was not kept waiting."""
    waited = False
    while _core.absence() == _core.AWAY:
        if running_loop() is not None and _core.binding() is None:  # a task of the trial: who waits here keeps the loop
            return False
        waited = True
        time.sleep(_AWAY_S)  # nobody knows when it is chosen again
    return waited and _core.current() is not None


def _why_absent() -> str:
    why = _core.absence()
    if why == _core.OVER:
        if _core.binding() is None:
            return "the trial that this task is of is over, and what it reports is dropped. Await a trial's tasks before it ends"
        return (
            "the trial in which this thread was started is over, and what the thread reports is dropped. Join the "
            "threads of a trial before it ends"
        )
    if why == _core.AWAY:
        return "the trial is paused in its own report, and what its other tasks report meanwhile is dropped"
    if why == _core.FORKED:
        return (
            "a trial has forked this process, and only the trial itself can report. Hand results back to it, through a "
            "pipe or a queue"
        )
    return "it reports for the trial that runs, and no trial does (a vectorized function returns or yields its columns)"


def is_session_enabled() -> bool:
    """Whether a trial runs here."""
    return _core.current() is not None


def get_context() -> TuneContext:
    """The trial that runs here. Outside a trial it answers None to every question."""
    return TuneContext(current_context())


def get_trial_name() -> str | None:
    """Name of the trial that runs here, None outside a trial."""
    return get_context().get_trial_name()


def get_trial_id() -> str | None:
    """Id of the trial that runs here, None outside a trial."""
    return get_context().get_trial_id()


def get_trial_resources() -> Any:
    """What the trial that runs here was given, None outside a trial."""
    return get_context().get_trial_resources()


def get_trial_dir() -> str | None:
    """Folder of the trial that runs here, made by asking for it; None outside a trial."""
    return get_context().get_trial_dir()



def _context_or_warn(name: str) -> TrialContext | None:
    context = current_context()
    if context is None:
        warn_once(name, f"tune.{name}() knows nothing here: {_why_absent()}")
    return context
