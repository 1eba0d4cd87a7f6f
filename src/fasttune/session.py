"""What a function calls while it is a trial: report, checkpoints, and who it is.

``report`` is on the clock of 0.1 us. All it does for plain numbers is three look-ups and one compiled call;
everything else (nested metrics, numpy scalars, text, checkpoints) goes the long way round.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

from fasttune import _core
from fasttune.checkpoint import (
    Checkpoint,
    flush_directory,
    whole_directory,
)
from fasttune.constraints import has_constraints
from fasttune.error import MissingMetricError
from fasttune.metric_values import is_number, split_metrics, steer_by, to_json, type_name
from fasttune.once import warn_once
from fasttune.result import AUTO_RESULT_KEYS
from fasttune.result_keys import DEFAULT_METRIC
from fasttune.totals import TOTALS, added_up
from fasttune.trial_checkpoints import bearing, forget, keep_checkpoint, staging
from fasttune.trial_context import (
    Reporter,
    TrialContext,
    TrialOverError,
    back_from_absence,
    current_context,
    of_another_thread,
    why_absent,
)

CONTINUE, STOP, WAIT, TURN = _core.CONTINUE, _core.STOP, _core.WAIT, _core.TURN
NOT_PLAIN, FULL, MISSING, GONE, LATE = _core.NOT_PLAIN, _core.FULL, _core.MISSING, _core.GONE, _core.LATE

_NOBODY_ELSE = nullcontext()



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
            obey(reporter, code)
            return  # what is left goes the long way round: not plain, no room in the ring, no metric, no trial any more
    if reporter is None and back_from_absence():
        report(metrics, checkpoint=checkpoint, **keywords)
    elif reporter is None:
        warn_once("report", f"tune.report() does nothing here: {why_absent()}")
    elif reporter.context.is_class:
        warn_once(
            "report in a class",
            "tune.report() does nothing inside a class Trainable: return the metrics from step() instead",
        )
    else:
        context = reporter.context
        if checkpoint is not None and context.threads is None and of_another_thread():
            context.hold_unseen()
        if _core.current() is None:  # a thread whose trial has ended since the first line: it was the next one's
            report(metrics, checkpoint=checkpoint, **keywords)
        else:
            deliver(reporter, _gather(metrics, keywords, reporter), checkpoint, context)


def bare_name(reporter: Reporter) -> str:
    """What a number without a name is: the run's metric, unless that is one that results have anyway."""
    metric = reporter.metric
    return DEFAULT_METRIC if metric is None or metric in AUTO_RESULT_KEYS else metric


def obey(reporter: Reporter, code: int, metrics: Mapping[str, Any] = {}) -> None:
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
        gathered = {bare_name(reporter): metrics}
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
    if context.usage is not None:
        metrics = context.usage.beside(metrics)
    numbers, extra = split_metrics(metrics)  # before the copy: a wrong metric leaves no checkpoint behind
    steer_by(reporter.metric, numbers, extra)
    context.constraints.of(numbers, extra)
    try:
        with _NOBODY_ELSE if context.threads is None else context.threads.saving:
            name = keep_checkpoint(context, checkpoint)
    except TrialOverError:
        warn_once("report", f"tune.report() does nothing here: {why_absent()}")
        return
    if not context.is_class and (context.totals or not TOTALS.keys().isdisjoint(metrics)):
        code, name = _write_counted(reporter, context, numbers, extra, name)
    else:
        code = _write(reporter, context, numbers, extra, name)
    if code == GONE:
        warn_once("report", f"tune.report() does nothing here: {why_absent()}")
        return
    if code == LATE:
        if checkpoint is not None or context.is_class:  # one of a block may have the name of an earlier one
            forget(context, name)
        raise context.stopping()
    until_stored = context.until_stored
    if name is not None:
        context.checkpoint = name if isinstance(name, bytes) else os.path.join(context.experiment_path, name)
    if until_stored is not None and code >= CONTINUE:
        if code == WAIT:
            code = context.wait()
        until_stored()
    obey(reporter, code, {**numbers, **extra})


def _write(
    reporter: Reporter, context: TrialContext, numbers: dict[str, Any], extra: dict[str, Any], name: str | bytes | None
) -> int:
    """Write a report and its checkpoint, as soon as the ring has room for them. GONE: the trial is over."""
    numbers = context.constraints.add_score(numbers)
    text = to_json(extra) if extra else b""
    if context.until_stored is not None and isinstance(name, str):
        folder = context.experiment_path
        flush_directory(os.path.join(folder, name), folder)
    while True:
        plain = name is None and not extra and TOTALS.keys().isdisjoint(numbers) and not has_constraints(numbers)
        code = reporter.report(numbers) if plain else reporter.report_extra(numbers, extra, text, name)
        if code == FULL:
            context.flush()
        elif code != GONE or not back_from_absence():
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
            name = bearing(context, name, told)
        code = _write(reporter, context, {**numbers, **told}, extra, name)
        if code >= CONTINUE:
            context.count(totals)
    return code, name


# ---- checkpoints -------------------------------------------------------------------------------------------


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint to go on from, None for a fresh start. After a report with a checkpoint: that one."""
    context = _context_or_warn("get_checkpoint")
    if context is None or context.checkpoint is None:
        return None
    saved = context.checkpoint
    return Checkpoint._of_a_run(saved)


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
    if context.threads is None and of_another_thread():
        context.hold_unseen()
    try:
        with whole_directory(os.path.join(context.trial_dir(), name), *staging(context)) as directory:
            yield directory
    except TrialOverError:
        warn_once("checkpoint_dir", f"tune.checkpoint_dir() keeps nothing here: {why_absent()}")
        return
    context.pending = os.path.join(context.trial_dirname, name)
    context.quick = context.fresh = False
    context.next_checkpoint = None


def note_here(kind: int, payload: bytes, what: str) -> None:
    """A record about the trial that runs here, from whichever of its threads. Where none runs nothing is written, and
    a warning says so once, by the name of ``what`` was called."""
    while True:
        reporter: Reporter | None = _core.current()
        if reporter is None:
            if back_from_absence():
                continue
            warn_once(what, f"tune.{what}() does nothing here: {why_absent()}")
            return
        context = reporter.context
        if context.threads is None and of_another_thread():
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
        warn_once(name, f"tune.{name}() knows nothing here: {why_absent()}")
    return context
