"""Runs trials one after the other where they live: in a worker process or inline.

One ``Host`` has one reporter and one TrialContext that it changes from trial to trial. Trials that never wait are plain
calls. Where the loop is asked on every report and may pause a trial, each runs in a greenlet, so that it can be left
inside its ``report()`` and continued there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from fasttune import _core, nesting, session, trial_checkpoints
from fasttune.checkpoint import WRITING, flush_directory, rename_over
from fasttune.error import StopTrial
from fasttune.executors import stand_in
from fasttune.executors.base import Job, Program, ProgramTrainable
from fasttune.failure import stored_exception, stored_text
from fasttune.once import warn_anew, warn_in_run
from fasttune.trial_context import TrialContext
from fasttune.trial_functions import end_function, handle_end, run_function

if TYPE_CHECKING:
    from fasttune.constraints import Constraints
    from fasttune.trainable import Trainable


GPUS_S = 1.0


class HostContext(TrialContext):
    """The context of whichever trial the host runs; names are made when somebody asks for them."""

    __slots__ = ("_experiment", "_job", "_shift", "host", "saved", "trainable")

    def __init__(self, host: Host) -> None:
        self.host = host
        self._job: Job | None = Job(0, 0, 0)
        self._experiment = self._shift = 0
        self.wait = host.wait
        self.flush = host.flush
        self.turn = host.turn
        self.until_stored = host.until_stored
        self.config: dict[str, Any] = {}
        self.renew(False, None, 0)

    def renew(self, is_class: bool, checkpoint: str | bytes | None, iteration: int) -> None:
        """Become the context of another trial."""
        self.is_class = is_class
        self.quick = not is_class and self.host.reports_are_plain
        self.fresh = True
        self.usage = None
        self.threads = None
        self.logs = None
        self.totals = {}
        self.checkpoint = checkpoint
        self.iteration0 = iteration
        self.pending = None
        self.next_checkpoint = None
        self.attempt = 0
        self.over = False
        self.task = None
        self.trainable: Trainable | None = None  # of a class, while it runs or is paused
        self.saved = -1  # iteration that it saved last at

    @property
    def job(self) -> Job:
        """The job of the trial that runs; within a span it is made when somebody asks."""
        if self._job is not None:
            return self._job
        trial = self.host.reporter.trial
        return Job(trial, self._experiment, trial - self._shift)

    @job.setter
    def job(self, job: Job) -> None:
        self._job = job

    def who(self) -> Job:
        return self.job

    def pin(self, who: Job) -> None:
        self._job = who  # within a span it is whichever trial runs

    def set_span(self, experiment: int, shift: int) -> None:
        """From now on be the context of whichever trial of a span runs."""
        self._job = None
        self._experiment = experiment
        self._shift = shift

    @property
    def constraints(self) -> Constraints:  # type: ignore[override]
        return self.host.program.constraints

    @property
    def left(self) -> bool:
        return self.host.leaving

    @property
    def index(self) -> int:  # type: ignore[override]
        return self.job.trial

    @property
    def trial_id(self) -> str:  # type: ignore[override]
        return f"{self.host.program.prefix}_{self.job.trial:05d}"

    @property
    def trial_name(self) -> str:  # type: ignore[override]
        name = self.job.name or f"{self.host.program.trainables[self.job.experiment].name}_{self.trial_id}"
        return name.replace("/", "_")

    @property
    def experiment_name(self) -> str:  # type: ignore[override]
        return self.host.program.name

    @property
    def experiment_path(self) -> str:  # type: ignore[override]
        return self.host.program.path

    @property
    def trial_dirname(self) -> str:  # type: ignore[override]
        from fasttune.trial import folder_name

        job = self.job
        variants = self.host.program.trainables[job.experiment].variants
        return job.dirname or folder_name(self.trial_name, variants.tag(job.local))

    def index_after(self, checkpoint: str | bytes | None) -> int | None:
        """Number of the next checkpoint of a trial that begins again. A directory that the attempt before wrote, and did
        not live to report, is in its place and is replaced. None: the folder says it."""
        if checkpoint is None:
            return 0
        if isinstance(checkpoint, bytes) or os.path.dirname(checkpoint) != self.trial_path:
            return None  # in memory, or another trial's
        return trial_checkpoints.index_of(os.path.basename(checkpoint), -1) + 1

    @property
    def resources(self) -> Any:
        from fasttune.devices.resources import resolve_resources

        job = self.job
        if job.resources is not None:
            return job.resources
        return resolve_resources(self.host.program.trainables[job.experiment].resources, self.config)


def _nothing() -> None:
    """No turn is due: the loop is in another process."""


class Host:
    """Runs the trials of ``program`` with ``reporter``.

    ``wait(context)`` blocks until the loop has answered and returns CONTINUE or STOP; ``flush()`` returns when the
    ring has room again; ``turn()`` lets a loop in this thread have a turn when a report was answered with TURN;
    ``until_stored()`` returns when the disk has what was reported, None where nobody has to wait for that. What is said
    once is said again when a run begins with this host, not where it is one more of a run (``begins_run`` False).
    """

    def __init__(
        self,
        program: Program,
        reporter: _core.Reporter,
        wait: Callable[[], int],
        flush: Callable[[], None],
        turn: Callable[[], None] = _nothing,
        until_stored: Callable[[], None] | None = None,
        begins_run: bool = True,
    ) -> None:
        if begins_run:
            warn_anew()
        self.program = program
        self.reporter = reporter
        self.wait = wait
        self.flush = flush
        self.turn = turn
        self.until_stored = until_stored
        self.reports_are_plain = until_stored is None and not program.constraints
        self.pid = os.getpid()
        self.ask_from = 0 if program.asks else _core.NEVER_ASK
        self.context = HostContext(self)
        self._reused: dict[int, Trainable] = {}  # experiment -> one that is free for the next trial
        self._scratch: str | None = None  # an empty directory for the next save
        self.alone = False  # in a process that only runs trials
        self._gpus_looked_at = -GPUS_S  # when it was looked whether they are still there
        self.gauge: memoryview[float] | None = None  # what the driver's process measures of this one
        self.leaving = False  # a trial is only left, so that it cleans up: nothing is recorded of that
        reporter.context = self.context
        # what a class saves behind its last step is of that step: it counts, also when the run was over before
        reporter.takes_late = program.checkpoint_at_end

    # -- whose trial ------------------------------------------------------------------------------------------------

    def config(self, job: Job) -> dict[str, Any]:
        """The trial's config, its own copy. What cannot be unpacked here is the trial's failure, as it has begun."""
        if job.packed is not None:
            with nesting.loading():  # it may hold objects of modules that are not loaded yet
                return stand_in.loads(job.packed)  # type: ignore[no-any-return]
        if job.config is not None:
            return job.config
        config: dict[str, Any] = self.program.trainables[job.experiment].variants.config(job.local)
        return config

    # -- running ------------------------------------------------------------------------------------------------------

    def run_span(self, experiment: int, shift: int, first: int = -1) -> None:
        """Run the fresh trials of the ring's span, behind ``first`` if there is such a one; the variant of a trial is trial -
        shift."""
        one = self.program.trainables[experiment]
        program = self.program
        slowly = program.log_to_file or program.pauses or program.measures_usage or program.constraints
        if one.is_class or one.form != "config" or slowly:
            trial = first if first >= 0 else self.reporter.ring.next_trial()
            while trial >= 0:
                self.run(Job(trial, experiment, trial - shift), urgent=False)
                trial = self.reporter.ring.next_trial()
            return
        reporter, context = self.reporter, self.context
        drawn_from, draw = one.variants.drawn
        span = one.trainable, one.variants.config, draw, drawn_from, shift, self.ask_from, self.pid
        each, waiting = self.until_stored is not None, first
        context.fresh = False
        while True:
            if not context.fresh:
                context = self._next_context()
                context.renew(False, None, 0)
                context.set_span(experiment, shift)
            flags = 0
            try:
                told = _core.run_trials(reporter, context, *span, each, waiting)
                if type(told) is tuple:  # what a function has come back with
                    if told[0] is not None:
                        handle_end(reporter, told[0])
                    if not context.quick:
                        end_function(reporter)
            except StopTrial:
                flags, told = 1, (None,)
            except BaseException as error:
                if self.is_interrupt(error):
                    raise
                if self.leaving:
                    return
                self.failed(error)
                waiting = -1
                continue
            if told is None:
                return
            waiting = told if type(told) is int else -1
            if waiting >= 0:
                self.flush()
                continue
            if reporter.unasked:
                self._say_unasked()
            if context.fresh:
                while not reporter.end(flags):
                    self.flush()
            else:
                self._end(flags, False)

    def _next_context(self) -> HostContext:
        """For the trial that begins: that of the last one, unless threads may still look at it."""
        if self.context.threads is not None:
            self.reporter.context = self.context = HostContext(self)
        return self.context

    def run(self, job: Job, urgent: bool = True) -> None:
        """Run one trial from its start (or checkpoint) to its end; its own errors are recorded, not raised."""
        one = self.program.trainables[job.experiment]
        context, reporter = self._next_context(), self.reporter
        context.job = job
        context.renew(one.is_class, job.checkpoint, job.iteration)
        context.attempt = job.attempt
        if job.next_checkpoint is not None:
            context.next_checkpoint = job.next_checkpoint
        elif job.attempt:
            context.next_checkpoint = context.index_after(job.checkpoint)
        ask_from = self.ask_from if job.ask_from is None else job.ask_from
        while not reporter.begin(
            job.trial, job.iteration, job.base_total, job.rung, ask_from, self.pid, job.changes, *job.standing
        ):
            self.flush()
        if self.program.measures_usage:
            self._measure(context)
        flags = _core.CONTINUE
        try:
            context.config = config = self.config(job)
            with self._logged():
                if one.is_class:
                    self._run_class(one, config, job)
                else:
                    run_function(one.trainable, config, reporter, one.form)
        except StopTrial:
            flags = _core.STOP
        except BaseException as error:
            if self.is_interrupt(error):
                raise
            if not self.leaving:
                self.failed(error)
            return
        self._come_back()
        if self.leaving:
            return
        if reporter.unasked:
            self._say_unasked()
        self._end(flags, urgent)

    def _measure(self, context: HostContext) -> None:
        """The trial that begins is measured, and each of its reports bears what it has used."""
        from fasttune.executors.usage import Usage

        context.usage, context.quick, context.fresh = Usage(self.gauge), False, False

    def _end(self, flags: int, urgent: bool) -> None:
        with self._ending():
            while not self.reporter.end(flags, urgent):
                self.flush()

    def _ending(self) -> Any:
        """Held while the trial ends: none of its threads is just giving a checkpoint its name."""
        threads = self.context.threads
        return nullcontext() if threads is None else threads.ending

    def _come_back(self, error: BaseException | None = None) -> None:
        """The trial's code has come back, in whatever way. A process that it has forked ends here."""
        if self.reporter.is_foreign:
            nesting.end_process(error)

    def _run_class(self, one: ProgramTrainable, config: dict[str, Any], job: Job) -> None:
        context = self.context
        trainable = context.trainable = self._instance(one, config, job)
        keep = False
        try:
            if isinstance(job.checkpoint, bytes):
                trainable.restore_held(job.checkpoint)
            elif job.checkpoint is not None:
                trainable.restore(job.checkpoint)
            self._step_on(trainable)
            keep = True
        except StopTrial:
            keep = True
            raise
        finally:
            self._come_back(sys.exception())
            context.trainable = None
            if keep and self.program.reuse_actors and job.experiment not in self._reused:
                self._reused[job.experiment] = trainable
            else:
                trainable.stop()

    def _instance(self, one: ProgramTrainable, config: dict[str, Any], job: Job) -> Trainable:
        """The trainable of an earlier trial made to be this one if that was asked for, else a new one."""
        kept = self._reused.pop(job.experiment, None)
        if kept is None:
            trainable: Trainable = one.trainable(config)
            return trainable
        try:
            kept.reset_or_raise(config)
        except BaseException:
            kept.stop()
            raise
        return kept

    def _step_on(self, trainable: Trainable) -> None:
        """Step until it is done or stopped, saving when it was asked to."""
        frequency, at_end = self.program.checkpoint_frequency, self.program.checkpoint_at_end
        reporter, context = self.reporter, self.context
        try:
            while True:
                metrics = trainable.advance()
                reporter.leave_child()  # before it saves anything
                due = bool(metrics.get("should_checkpoint")) or (
                    frequency > 0 and trainable.iteration % frequency == 0
                )
                if due:
                    context.pending = self._save(trainable)  # it belongs to the report that follows
                    context.saved = reporter.iteration + 1
                session.deliver(reporter, metrics, None)
        except StopTrial:
            if at_end and not self.leaving and context.saved != reporter.iteration:
                self.save_now()
            raise

    def save_now(self) -> None:
        """The class Trainable that has just reported here, or is paused, saves; for a function nothing happens."""
        trainable, reporter = self.context.trainable, self.reporter
        if trainable is None:
            return
        saved = self._save(trainable)
        if self.until_stored is not None and isinstance(saved, str):
            flush_directory(os.path.join(self.program.path, saved), self.program.path)
        self.context.saved = reporter.iteration
        held = _core.HELD | self.context.attempt << 8
        payload, flags = (saved, held) if isinstance(saved, bytes) else (saved.encode(), 0)
        while not reporter.note(_core.KIND_CHECKPOINT, payload, True, flags):
            self.flush()

    def _save(self, trainable: Trainable) -> str | bytes:
        """Save, whole or not at all: as bytes if it is a small dict, else into the trial's folder; then it is the path,
        relative to the experiment's folder."""
        scratch = self._empty_scratch()
        try:
            held = trainable.save_held(scratch)
        except BaseException:
            self._drop_scratch()
            raise
        if held is not None:
            return held
        if self.leaving:  # since it began to save: the name may be another attempt's by now
            raise StopTrial
        index = trial_checkpoints.next_index(self.context)
        name = f"checkpoint_{index:06d}"
        self._scratch = None
        rename_over(scratch, os.path.join(self.context.trial_dir(), name))
        self.context.next_checkpoint = index + 1
        return os.path.join(self.context.trial_dirname, name)

    def _empty_scratch(self) -> str:
        """Where the user's save may write: what it leaves there becomes the checkpoint. Kept while it stays empty, so
        that checkpoints without files touch no file."""
        if self._scratch is None:
            scratch = os.path.join(self.program.path, WRITING, f"{os.getpid()}_{id(self):x}")
            os.makedirs(scratch)
            self._scratch = scratch
        return self._scratch

    def _drop_scratch(self) -> None:
        if self._scratch is not None:
            import shutil

            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def close(self) -> None:
        """Clean up trainables that were kept for reuse."""
        while self._reused:
            _, trainable = self._reused.popitem()
            trainable.stop()
        self._drop_scratch()

    def let_go(self) -> None:
        """Break the circles of host, context and reporter, so that the ring's memory goes with its last user."""
        self.reporter.context = None
        self.until_stored = None
        del self.reporter, self.context, self.wait, self.flush

    def _logged(self) -> Any:
        if self.program.log_to_file is None:
            return nullcontext()
        from fasttune.executors.tee import tee

        return tee(self.context, *self.program.log_to_file)

    # -- failures -----------------------------------------------------------------------------------------------------

    def is_interrupt(self, error: BaseException) -> bool:
        """A Ctrl-C of whoever runs the experiment. Workers get none: one raised there is the trial's own failure."""
        self._come_back(error)
        return isinstance(error, KeyboardInterrupt) and not self.alone

    @staticmethod
    def _say_unasked() -> None:
        warn_in_run(
            "the last reports of a trial came from threads that it had started, and the scheduler (or stopper) of this run "
            "is only asked by reports of the thread that called the trainable: it has not decided about them. Report "
            "from there, too",
            RuntimeWarning,
            stacklevel=2,
        )

    def failed(self, error: BaseException) -> None:
        """Record that the trial failed with ``error``: its traceback as text, and the exception if it can travel."""
        text, pickled = stored_text(error) + self._of_lost_gpus(), stored_exception(error)
        with self._ending():
            while pickled and not self.reporter.note(_core.KIND_EXCEPTION, pickled):
                self.flush()
            while not self.reporter.note(_core.KIND_ERROR, text, True):
                self.flush()

    def _of_lost_gpus(self) -> bytes:
        """If the trial's GPU is lost, its name and that: an error of CUDA names none. Looked at once a second at most."""
        now = time.monotonic()
        if not self.alone or not os.environ.get("CUDA_VISIBLE_DEVICES") or now < self._gpus_looked_at + GPUS_S:
            return b""
        self._gpus_looked_at = now
        from fasttune.devices.gpu_state import lost_gpus

        return "".join(f"\n{why}\n" for why in lost_gpus()).encode()
