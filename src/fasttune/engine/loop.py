"""TuneLoop: the clock, the executor, the storage and the callbacks of a run; carries the state's instructions out.

One turn: take what happened, fold it, store it, act on what was decided, hand out work. What the state suggests or
decides is in the journal before anybody acts on it; what a ring holds stays there until the journal has it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fasttune import _core
from fasttune.checkpoint import memory_name, remove_unfinished
from fasttune.devices.free_memory import check_worker_memory
from fasttune.devices.resources import check_possible, resolve_resources
from fasttune.engine.asked import make_meta, session_record
from fasttune.engine.clocks import Clock, RunClock
from fasttune.engine.echo import Echo
from fasttune.engine.ending import end_paused, end_running, end_waiting, poll_stoppers
from fasttune.engine.folder_watch import FolderWatch
from fasttune.engine.going_on import check
from fasttune.engine.instructions import Answer, Discard, Instruction, Resume, SaveNow, Start, Stop
from fasttune.engine.interrupts import Interrupts
from fasttune.engine.journaling import Journaling, held_in_memory
from fasttune.engine.left_behind import write_files, write_table
from fasttune.engine.live_rule import LiveRule
from fasttune.engine.meta import read_metas
from fasttune.engine.opening import warn_of_unfit
from fasttune.engine.program_of_run import program_of
from fasttune.engine.progress import Progress, Said, raise_first_failure, tell_beside, tell_going_on, tell_repeats
from fasttune.engine.resuming import resume
from fasttune.engine.retention import delete
from fasttune.engine.state import ExperimentState
from fasttune.engine.stop_requests import StopRequests
from fasttune.engine.telling import Telling
from fasttune.engine.trial_timeouts import GRACE_S as TIMEOUT_GRACE_S
from fasttune.engine.trial_timeouts import TrialTimeouts
from fasttune.engine.watching import WISHES
from fasttune.engine.workplace import Workplace
from fasttune.error import FolderGoneError, ForeignFileError, JournalError, JournalLockedError, TuneError
from fasttune.executors.base import Batch, Death, Executor, Job
from fasttune.failure import failure_text
from fasttune.folder import JOURNAL
from fasttune.hook_times import HookTimes
from fasttune.nesting import stay_in
from fasttune.once import warn_in_run
from fasttune.plain_files import check_before_writing
from fasttune.stopper import budget_used_up
from fasttune.storage.memory import MemoryStorage
from fasttune.storage.reader import LARGEST_ENTRY, SqliteReader
from fasttune.storage.recovery import ExperimentLock, read_rings, recover_rings, remove_rings, ring_sources
from fasttune.storage.sqlite import SqliteStorage, who_writes
from fasttune.trainable import counted_in

if TYPE_CHECKING:
    from fasttune.config import RunSpec
    from fasttune.engine.judgements import Judgements
    from fasttune.storage.base import Entry, Storage

CHECKS = os.environ.get("FASTTUNE_CHECKS", "") not in ("", "0")  # what is known of trials is validated after each turn

LAST_WAIT_S = 1.0  # behind a Ctrl-C, for a process that holds the database
PATIENCE = 1000  # such turns in a row are taken for a searcher that will never suggest again
DEVICES_LOOK_S = 0.02  # while a device is waited for
GRACE_S = 1.0  # a trial that was told to stop and does not report is killed after this
LOG_HOOKS = (
    "on_trial_start",
    "on_trial_restore",
    "on_trial_result",
    "on_trial_complete",
    "on_trial_error",
    "on_trial_recover",
    "on_trial_save",
    "on_checkpoint",
)


def execute(spec: RunSpec) -> ExperimentState:
    """Carry a run out and return its state. A failed trial raises nothing, unless ``fail_fast="raise"``.

    Raises what makes the whole run impossible (a locked or damaged experiment, an impossible request, a trainable that
    cannot be sent to workers) before any trial starts, and what a user's scheduler, searcher or stopper raises.
    """
    return TuneLoop(spec).run()


class TuneLoop:
    """One run."""

    def __init__(self, spec: RunSpec, clock: Clock | None = None) -> None:
        self.spec = spec
        awaited = spec.awaited
        self.clock: Clock = clock or RunClock(time.sleep if awaited is None or not awaited.is_here else awaited.rest)
        self.state: ExperimentState
        self.storage: Storage
        self._pid = os.getpid()
        self.times = HookTimes(time.monotonic, self._pid)
        self._telling = Telling(spec, self.times)
        self._progress: Progress
        self.interrupts = 0  # signals that asked the run to end
        self.turning = False
        self._journal: Journaling
        self._timeouts = TrialTimeouts(spec.trial_timeout_s)
        self._deadlines = _core.EventQueue()  # trials that were told to stop, by when they have to
        self._turns = 0
        self._waits = 0  # turns in a row in which a searcher had nothing although nothing ran
        self._quiet = 0  # turns in a row in which nothing came of trials that no worker has
        self._executor: Executor | None = None
        self._folder = FolderWatch(lambda: self.storage.gone())
        self._requests: StopRequests | None = None  # a run in virtual time has no folder, and hears nobody
        self._ended_from_outside = False
        self._waits_for = ""  # who held the database, when somebody did
        self._interrupted_at = 0.0
        self._last_entry: int | None = None  # of the journal, when the run is over
        self._gone = ""  # why the results are in memory only
        self._rule: LiveRule
        self._judged: Judgements | None = None  # what an earlier session's rule did, until this one knows it

    def run(self) -> ExperimentState:
        spec = self.spec
        lock = self._take_lock()
        signals = Interrupts(self)
        if spec.awaited is not None:
            spec.awaited.begins(self.end_softly)
        try:
            self._store_in(self._open_storage())
            try:
                self._prepare()
                if spec.awaited is None:  # else whoever runs the event loop says what a Ctrl-C does
                    signals.catch()
                with self._place.told_to(self.executor), self._folder.in_time():
                    self._to_the_end(self._turn_until_finished, self._finish)
            except BaseException as error:
                stay_in(self._pid, error)
                self._abandon()
                raise
            finally:
                self.storage.close()
        except BaseException:
            self._leave_screen()
            raise
        finally:
            lock.release()
            signals.restore()
        if not self._gone:
            self.state.storage = SqliteReader(spec.path, keep=True, last=self._last_entry)
        try:
            self._say_goodbye()
        finally:
            self._leave_screen()
        signals.pass_on()
        return self.state

    # -- before -------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        spec = self.spec
        requests = [one.resources for one in spec.trainables]
        self._place = Workplace(spec)
        self._machine, self._supply = self._place.machine, self._place.supply
        fixed = [request for request in requests if not callable(request)]
        for request in fixed:
            check_possible(self._machine, request)
        remove_unfinished(spec.path)
        self._requests = StopRequests(spec.path)
        self._requests.forget()
        sources = self.storage.positions()
        callbacks = self._telling.callbacks
        hooks = frozenset(hook for hook in LOG_HOOKS if callbacks.wants(hook))
        if callbacks.asks_for_checkpoints:
            hooks |= {WISHES}
        first_source = max([0, *sources, *ring_sources(spec.path)]) + 1
        self._echo = Echo(first_source, spec.metric, spec.constraints)
        self.state = self._restore(hooks) if sources else self._begin(hooks)
        self._progress = Progress(spec, self.state, self.times, self.clock, self._said)
        self._executor = executor = self._make_executor(requests[0], first_source + 1)
        self.state.at(self.clock.now())
        if spec.restore is not None:
            self.state.restored = counted_in(spec.restore)
        program = program_of(spec, self.state, self._limits())
        self._simple = (
            self.state.searcher is None
            and all(variants.pure for variants in self.state.configs.variants)
            and not self.state.chooses
            and len(fixed) == len(requests)
            and all(request == fixed[0] for request in fixed)
            and spec.trial_name_creator is None
            and spec.trial_dirname_creator is None
            and spec.restore is None
        )
        rule = self._judge_by(LiveRule(program, executor))
        if spec.progress_reporter is not None:
            executor.pass_prints(spec.progress_reporter.catches(), self._progress.show_prints, True)
        elif "ipykernel" in sys.modules:  # a kernel shows what other processes print late, or not at all
            executor.pass_prints((1, 2), self._progress.show_prints, False)
        executor.open(program, self.clock.epoch, rule, self._drain_within, self._turn_within)
        executor.find_configs(self._place_in_variants)
        self._telling.begin(self.state.total)
        self._progress.begin()

    def _begin(self, hooks: frozenset[str]) -> ExperimentState:
        remove_rings(self.spec.path)  # of a run that was killed before it wrote what it is about
        prefix = os.urandom(3).hex()[:5]
        meta = make_meta(self.spec, prefix, self.clock.now(), os.uname().nodename, [])
        meta["machine"] = self._supply.total()
        state = ExperimentState(self.spec, meta, self.storage, hooks, self.times)
        meta["variants"] = [one.meta() for one in state.configs.variants]
        self._store_meta(meta)
        if self.spec.verbose > 0:
            tell_beside(self.spec)
            tell_repeats(state.configs.variants, self.spec.in_words)
        return state

    def _restore(self, hooks: frozenset[str]) -> ExperimentState:
        spec = self.spec
        if spec.resume is None:
            raise JournalError(
                f"there is already an experiment at {spec.path!r}: give this run another name, "
                "or resume='AUTO' to go on with it"
            )
        metas = spec.metas or read_metas(self.storage, spec.path)
        changes = check(metas, spec)
        state = ExperimentState(spec, metas[0], self.storage, hooks, self.times)
        state.goes_on(metas, bool(changes.space))
        entries = iter(self.storage.read())
        next(entries)  # the meta entry
        state.at(self.clock.now())
        self._judged = resume(
            state, entries, spec.resume, lambda positions: read_rings(spec.path, positions, wait=True), bool(changes.space)
        )
        state.machine = self._supply.total()
        self.state = state
        self._journal.add(state.leftovers)
        self._put_aside()
        if changes.space or changes.allowed:
            told = session_record(spec, bool(changes.space), [one.meta() for one in state.configs.variants])
            self._journal.add([(0, 0, self._meta_record(told))])
            state.take_new_requests()
        self._keep_own()
        self._commit()
        if ring_sources(spec.path):
            self.storage.flush_to_disk()  # the disk may have had what they hold for long
        remove_rings(spec.path)
        state.leftovers.clear()
        if spec.verbose > 0:
            tell_going_on(state, spec.in_words)
        return state

    def _store_meta(self, meta: dict[str, Any]) -> None:
        self.storage.append([(0, 0, self._meta_record(meta))])
        if self.spec.durability == "full":
            self.storage.flush_to_disk()  # what a report promises is worth nothing in a file that the disk does not know

    def _meta_record(self, meta: dict[str, Any]) -> bytes:
        import json

        data = json.dumps(meta, default=str).encode()
        if len(data) >= LARGEST_ENTRY // 2:
            raise ValueError(
                f"the search space and the settings of this run take {len(data)} bytes in the journal, which takes less than "
                f"{LARGEST_ENTRY // 2}: is there data in the search space? Give it to the trainable by tune.with_parameters"
            )
        return _core.encode(_core.KIND_META, payload=data, time=self.clock.now())

    def _limits(self) -> dict[str, float]:
        """Thresholds that reports are held against; the end of the run's time is one of them."""
        limits = dict(self.spec.stop.thresholds)
        if self.spec.time_budget_s is not None:
            limits[_core.DEADLINE] = self.clock.now() - self.clock.elapsed() + self.spec.time_budget_s
        return limits

    def _judge_by(self, rule: LiveRule) -> Any:
        """What reports are judged by, its rungs as the journal left them."""
        self._rule = rule
        if rule.compiled is None:
            return None
        if len(self.state):
            rule.record(self._judged if self._judged is not None else self.state.judgements())
            self._judged = None
        self.spec.scheduler.live_rule = rule.compiled  # type: ignore[attr-defined]
        return rule.compiled

    def _make_executor(self, request: Any, first_source: int) -> Executor:
        return self._place.executor(request, first_source, lambda: self.interrupts > 1)

    def _take_lock(self) -> ExperimentLock:
        """The one that was taken when it was decided what the folder holds, or a new one. FolderGoneError when the folder of
        the former is not there any more: another run could lock what is made in its place."""
        lock = self.spec.lock
        if lock is not None and lock.held:
            if not lock.is_in_place:
                raise FolderGoneError(f"{self.spec.path} has been removed or replaced before the run began")
            return lock
        os.makedirs(self.spec.path, exist_ok=True)
        check_before_writing(self.spec.path, self.spec.trust)
        return ExperimentLock(self.spec.path)

    def _store_in(self, storage: Storage, every_turn: bool = False) -> None:
        self.storage = storage
        self._journal = Journaling(storage, every_turn or self.spec.durability == "full")

    def _open_storage(self) -> SqliteStorage:
        return SqliteStorage(self.spec.path, durable=self.spec.durability == "full", while_locked=self._while_locked)

    # -- the turns -----------------------------------------------------------------------------------------------------

    @property
    def in_trial(self) -> bool:
        """The user's code runs in this thread."""
        return self._executor is not None and self._executor.in_trial

    def interrupts_trial(self) -> None:
        """A KeyboardInterrupt is about to be raised in it."""
        self.executor.is_interrupted()

    @property
    def executor(self) -> Executor:
        assert self._executor is not None
        return self._executor

    def _to_the_end(self, *steps: Callable[[], None]) -> None:
        """The run and its end; where its folder has gone, or the database is held by others, an end without it."""
        try:
            for step in steps:
                step()
        except (FolderGoneError, JournalLockedError, OSError) as error:
            stay_in(self._pid, error)
            why = str(error) if isinstance(error, TuneError) else self.storage.gone()
            if why is None:
                raise
            self._finish_in_memory(why, isinstance(error, JournalLockedError))

    def _turn_until_finished(self) -> None:
        timeout = 0.0
        self.turning = True
        while True:
            try:
                progressed = self._turn(timeout)
            except KeyboardInterrupt as error:
                stay_in(self._pid, error)
                if self.interrupts != 1:
                    raise
            if self.interrupts:
                self.state.interrupted = True
                break
            if self.state.finished:
                break  # what is not yet stored is when the executor closes
            timeout = self._rest(progressed)
        self.turning = False

    def _turn(self, timeout: float) -> bool:
        stay_in(self._pid)  # functions of a space, or of names, are not called through HookTimes
        state, executor = self.state, self.executor
        state.at(self.clock.now())
        self._turns += 1
        if self._folder.look():
            self._hear_requests()
        if state.stops.are_due:
            state.carry_out(state.stops.steps())
            self._keep_own()  # what has ended by it stands in the journal before what is reported next
        self._telling.step("on_step_begin", self._turns, state)
        got = self._take_all(executor.poll(timeout))
        for death in executor.deaths():
            self._bury(death)
        if state.wanted.open:
            state.wanted.look()
        self._keep_own()
        self._check_budget()  # first: it leaves trials less time than a stopper that says the same
        poll_stoppers(state)
        self._check_timeouts()
        if state.waits_for_wishes:
            self._tell_callbacks()
        self._carry_out(state.out.take_instructions())  # answers first: somebody waits for them
        gave = self._hand_out()
        self._carry_out(state.out.take_instructions())
        if state.ending.why is not None:
            self._stop_late_starters()
        self._kill_deaf_trials()
        if self._journal.waits and self._journal.is_due(got):
            self._commit()
        self.storage.flush_if_due()
        self._tell_callbacks()
        self._telling.step("on_step_end", self._turns, state)
        self._telling.save_if_due()
        self._progress.show()
        if CHECKS:
            state.validate()
        if not (got or gave):
            self._end_if_stuck()
        else:
            self._waits = self._quiet = 0
        return got or gave

    def _take_all(self, batches: list[Batch]) -> bool:
        """Whether there was anything. A function of its own: the error of a hook keeps the frames that it was called from, and what
        they hold; here that would be a ring's memory."""
        for source, position, data in batches:
            self._take_in(source, position, data)
        return bool(batches)

    def _rest(self, progressed: bool) -> float:
        """How long the next poll may sleep."""
        if self.executor.here and not self.executor.waits:
            return 0.0
        rest = self._timeouts.rest(self._journal.rest_s(progressed))
        return min(rest, DEVICES_LOOK_S) if self._supply.waits else rest

    def _take_in(self, source: int, position: int, data: Any) -> None:
        """Fold records, keep what fits for the journal, then decide: whatever a scheduler raises, they are not lost."""
        events, fits = self.state.fold_found(source, data, self.state.watching.kinds)
        rest, held = _core.without_held(fits)  # one that does not fit is not kept
        for trial, place, checkpoint in held:
            self.state.saves.take(memory_name(trial, place), checkpoint)
        self._journal.take(source, position, rest, len(data))
        self.state.react(events)
        if self.state.unfit:  # behind what fits of the same piece, as in the journal: a trial that is failed for it runs no more
            self._put_aside()
        self._keep_own()

    def _put_aside(self) -> None:
        """Records that do not fit what is known: they are kept apart, and cost the trial that they are about, no other."""
        state = self.state
        unfit = state.take_unfit()
        if self._journal.put_aside(unfit):
            warn_of_unfit(self.spec.path, unfit, "; they are kept in the table 'aside' of its experiment.db")
        table = state.table
        for one in unfit:
            known = 0 <= one.trial < len(table)
            if known and table.status(one.trial) == "RUNNING" and table.source(one.trial) == one.source:
                state.fail(one.trial, f"A record of trial {state.trial_id(one.trial)} does not fit: {one.why}")
                if self._executor is not None:
                    self._executor.kill(one.trial)

    def _keep_own(self) -> None:
        self._journal.keep_own(self.state)

    def _commit(self) -> None:
        """Store what has been folded, then let the rings reuse its space."""
        stay_in(self._pid)
        directories = self._journal.commit(self.state)
        if self._executor is not None:
            self._executor.release()
        if directories:
            self._folder.look(True)  # they are named by it
        for path in directories:
            delete(path, self.spec.path)

    def _while_locked(self) -> None:
        """Another process holds a write transaction of the database: the rings keep what is reported meanwhile. Called
        again and again, each time a moment later."""
        journal = os.path.join(self.spec.path, JOURNAL)
        if not self._waits_for:
            self._waits_for = who_writes(journal)
            warn_in_run(
                f"{self._waits_for} holds a write transaction of {journal}; the run waits for it (is the file "
                "open in a database browser?), reports are kept in memory-mapped files meanwhile",
                RuntimeWarning,
                stacklevel=2,
            )
        self._folder.look()
        if not self.interrupts:
            return
        self._interrupted_at = self._interrupted_at or time.monotonic()
        if self.turning or time.monotonic() - self._interrupted_at > LAST_WAIT_S:
            raise JournalLockedError(
                f"{self._waits_for} holds a write transaction of {journal}; what it kept from being stored is "
                "in the folder's rings, and stored when the experiment is gone on with"
            )

    def _hear_requests(self) -> None:
        """What other processes want to be stopped. It is in the journal before anything is done."""
        requests = self._requests.take() if self._requests is not None else []
        for asked in requests:
            if asked.trial is None:
                self._end_from_outside(asked.at_once)
                continue
            with suppress(KeyError):  # an id of another experiment
                self.state.stop_trial(self.state.index_of(asked.trial), asked.at_once)
        if requests:
            self._keep_own()
            self._commit()

    def end_softly(self) -> None:
        """The run ends, at its next turn, as by a Ctrl-C; from any thread."""
        self._end_from_outside(False)

    def _end_from_outside(self, end_trials: bool) -> None:
        """The run ends as by a Ctrl-C: its trials are left to be gone on with, unless they are to end, too."""
        if end_trials:
            self.state.stop_all("it was ended from outside (fasttune stop)")
        else:
            self._ended_from_outside = True
            self.interrupts = max(1, self.interrupts)

    def _drain_within(self) -> None:
        """A trial in this process found its ring full: fold and store without starting or ending anything."""
        executor = self.executor
        executor.in_trial = False  # a Ctrl-C waits until this is done
        for source, position, data in executor.drain_now():
            self._take_in(source, position, data)
        self._commit()
        executor.in_trial = True
        self._heed_interrupts()

    def _heed_interrupts(self) -> None:
        """A signal that came while the loop was at work within a trial has waited: it ends the trial now. So does a request,
        which no thread is the only one to hear."""
        if self.interrupts and (self._ended_from_outside or threading.current_thread() is threading.main_thread()):
            raise KeyboardInterrupt

    def _turn_within(self) -> None:
        """A trial in this process goes on for long: see to budgets, callbacks and reports from within its report."""
        state = self.state
        state.at(self.clock.now())
        looks = self._folder.look()
        self._drain_within()
        if looks:
            self._hear_requests()
            self._heed_interrupts()
        if state.stops.are_due:
            state.carry_out(state.stops.steps())
            self._keep_own()  # what has ended by it stands in the journal before what is reported next
        self.storage.flush_if_due()
        self._check_budget()  # first: it leaves trials less time than a stopper that says the same
        poll_stoppers(state)
        self._check_timeouts()
        self._carry_out(state.out.take_instructions())
        self._tell_callbacks()
        self._progress.show()

    # -- handing out work ----------------------------------------------------------------------------------------------

    def _hand_out(self) -> bool:
        return self._hand_out_spans() if self._simple else self._hand_out_singles()

    def _hand_out_spans(self) -> bool:
        state, executor = self.state, self.executor
        gave = self._hand_out_singles() if state.choosing.waiting else False
        while (room := executor.room()) > 0 and not state.choosing.waiting:
            span = state.next_spans(room)
            if span is None:
                if state.ending.why is None and executor.rebalance():
                    gave = True
                    continue
                break
            self._keep_own()
            self._commit()  # the configs are in the journal before anybody reports on them
            experiment, local = self._place_in_variants(span.first)
            executor.run_span(experiment, span.first, span.n, local)
            gave = True
        return gave

    def _place_in_variants(self, trial: int) -> tuple[int, int]:
        chunk = self.state.configs.chunk_of(trial)
        if chunk is None:
            return self.state.experiment_of(trial), trial
        return chunk.experiment, chunk.local + trial - chunk.first

    def _hand_out_singles(self) -> bool:
        """Give single trials to whoever is free. One that cannot be run now does not keep others from being chosen."""
        state, executor = self.state, self.executor
        gave = False
        while executor.room() > 0:
            start = state.next_start(executor.room() if executor.evaluates_together else 1)
            self._keep_own()
            if self._journal.owes:
                self._commit()  # what was suggested or changed is in the journal before anybody reports on it
            self._carry_out(state.out.take_instructions())
            if start is None:
                break
            if isinstance(start, Start) and (known := state.known_result(start.trial)) is not None:
                self._journal.add(state.handed(start))
                self._take_in(*self._echo.records(start, self.clock.now(), *known))
                gave = True
                continue
            begun = executor.resume(start.trial, start.ask_from) if isinstance(start, Resume) else self._start(start)
            if begun is None:
                return True
            if not begun:
                state.put_back(start)
                if not state.chooses:
                    break
                continue
            self._journal.add(state.handed(start))
            gave = True
            if self._simple and not state.choosing.waiting:
                break
        state.choosing.end_turn()
        return gave

    def _start(self, start: Start) -> bool | None:
        """Whether there was room for the trial; None: it has failed, what it asks for cannot be."""
        state = self.state
        experiment, local = self._place_in_variants(start.trial)
        spec = self.spec
        try:
            checkpoint = None if start.checkpoint is None else state.contents(start.checkpoint)
        except (FileNotFoundError, ForeignFileError) as error:  # another attempt goes on from the one before it
            state.saves.unlist(start.trial, start.checkpoint or "")
            state.fail(start.trial, f"trial {state.trial_id(start.trial)} cannot go on: {error}")
            return None
        job = Job(
            start.trial,
            experiment,
            local,
            start.config,
            start.iteration,
            start.base_total,
            start.rung,
            checkpoint,
            start.attempt,
            start.changes,
            state.trial_name(start.trial) if spec.trial_name_creator else None,
            state.trial_dirname(start.trial),
            start.ask_from,
            state.changed_request(start.trial),
            start.standing,
        )
        request = job.resources if job.resources is not None else spec.trainables[experiment].resources
        if callable(request) or job.resources is not None:
            try:
                found = resolve_resources(request, state.config(start.trial))
                check_possible(self._machine, found)
                if self.executor.holds_memory:
                    check_worker_memory([found.required_resources.get("memory", 0)])
            except Exception as error:  # what one config asks for costs its own trial only
                state.fail(start.trial, failure_text(error, asked=True))
                return None
        return self.executor.start(job)

    def _carry_out(self, instructions: list[Instruction]) -> None:
        for one in instructions:
            if isinstance(one, Answer):
                wished = self._telling.takes_wish(one.trial)
                self.executor.answer(one.trial, one.decision, one.ask_from, one.save or wished)
            elif isinstance(one, SaveNow):
                self.executor.save(one.trial)
            elif isinstance(one, Discard):
                self.executor.discard(one.trial)
            elif isinstance(one, Stop):
                self.executor.stop(one.trial)
                if not one.patient:
                    grace = GRACE_S if one.grace is None else one.grace
                    self._deadlines.push_at(time.monotonic() + grace, one.trial)

    def _stop_late_starters(self) -> None:
        """Trials that had been handed out when the run was ended, and began since."""
        for trial in self.executor.withdraw():
            self.state.take_back(trial)
        end_paused(self.state)
        self._keep_own()
        if self.state.table.running > len(self._deadlines):
            late = (i for i in self.state.table.of_status("RUNNING") if i not in self._deadlines)
            self._carry_out([Stop(i, grace=self.state.ending.grace) for i in late])

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _check_budget(self) -> None:
        budget = self.spec.time_budget_s
        if budget is not None and self.clock.elapsed() >= budget:
            self.state.stop_all(budget_used_up(budget, self.clock.second), TIMEOUT_GRACE_S)

    def _check_timeouts(self) -> None:
        state = self.state
        for trial, why in self._timeouts.over(state.table, self.clock.now(), state.seconds_at):
            state.stop_trial(trial, True, why, TIMEOUT_GRACE_S)

    def _kill_deaf_trials(self) -> None:
        now = time.monotonic()
        while len(self._deadlines) and (trial := self._deadlines.pop_due(now)) >= 0:
            if self.state.table.status(trial) == "RUNNING":
                self.executor.kill(trial)
                self._deadlines.push_at(now + GRACE_S, trial)

    def _bury(self, death: Death) -> None:
        """What a worker's death means for the trials it had. Its records say which ran: it may have died between writing
        one and saying so in any other place."""
        state = self.state
        for trial in state.table.of_status("RUNNING"):
            if state.table.source(trial) != death.source:
                continue
            if trial in self._deadlines or state.ending.why is not None:
                state.end(trial)
            else:
                state.fail(trial, death.why)
        for trial in (*death.suspended, *death.unstarted):
            state.take_back(trial)
        self._rule.mend(state, self._store_all)

    def _store_all(self) -> None:
        self._keep_own()
        self._commit()

    def _end_if_stuck(self) -> None:
        """Nothing runs, nothing was given out: what is still waiting or paused will never be chosen."""
        state = self.state
        if not self.executor.idle or self._supply.waits or state.ending.why is not None or state.finished:
            return
        if lost := state.choosing.out():
            self._fail_lost(lost)
            return
        if state.table.running or state.orders.saving:  # a paused trial saves
            return
        if state.searcher is not None and not (state.table.pending or state.table.paused):
            self._searcher_waits()
            return
        if state.table.paused and state.table.pending == 0:
            end_paused(state)
            self._keep_own()
        elif state.chooses and state.table.pending:
            raise TuneError(
                f"{type(state.scheduler).__name__}.choose_trial_to_run() returned None while "
                f"{state.table.pending} trials wait and nothing runs: it would wait for ever"
            )

    def _fail_lost(self, trials: list[int]) -> None:
        """No worker has these, so one is done with them; what it wrote did not fit, or did not say so. Not before a second turn
        in which nothing comes: it may have written the last record behind the poll of this one."""
        self._quiet += 1
        if self._quiet > 1:
            for i in trials:
                self.state.fail(i, "No worker has this trial any more, and no record says how it ended: it is damaged or lost.")
            self._keep_own()

    def _searcher_waits(self) -> None:
        """The searcher has nothing although nothing runs: it may need time of its own; give it some, not for ever."""
        self._waits += 1
        if self._waits > PATIENCE:
            raise TuneError(
                f"{type(self.state.searcher).__name__}.suggest() keeps returning None although no trial runs; "
                "return Searcher.FINISHED when there is nothing left to suggest"
            )
        self.clock.wait(min(0.1, 0.0005 * self._waits))

    def _finish(self) -> None:
        """End what runs, then store what it had written up to its end."""
        executor = self.executor
        executor.halt()
        for source, position, data in executor.drain_now():
            self._take_in(source, position, data)
        if not self.interrupts:
            self.state.wanted.close()
        if self.state.ending.why is not None:
            end_running(self.state)
        end_waiting(self.state)  # no process is left that might begin one
        if self._telling.keeps_anything:
            self._tell_callbacks()  # what they add, and their states, are kept
        self._keep_own()
        self.state.out.take_instructions()  # there is nobody left to carry them out
        self._folder.look(True)
        self._commit()
        executor.close()
        self._executor = None
        remove_unfinished(self.spec.path)
        write_table(self.state, self.storage, self.clock.elapsed(), lambda: self._folder.look(True))
        write_files(self.state, self.storage)
        self._telling.save()
        if self._requests is not None:
            self._requests.forget()
        self.storage.flush_to_disk()
        self._last_entry = self.storage.last_entry
        self._folder.look(True)  # removed while this was done, nothing of it would be found

    def _finish_in_memory(self, why: str, locked: bool) -> None:
        """An end without the folder: results are answered from memory, nothing is removed by names that may be another
        experiment's by now. What can be stored is, in the files that are open: a folder that was renamed is whole."""
        self.turning = False
        self.state.interrupted = True
        executor, self._executor = self._executor, None
        if executor is not None:
            if not locked:
                executor.leave_files()
            executor.halt()
            for source, position, data in executor.drain_now():
                self._take_in(source, position, data)
            self._keep_own()
        entries = self._journal.give_up()
        stored = not locked and self._stored_in_open_files(entries)
        memory = MemoryStorage.copy_of(self.storage)
        if not stored:
            memory.append(entries, held_in_memory(self.state))
        del entries
        if executor is not None:
            if stored:
                executor.release()
            executor.close()
        self.state.saves.unsaved.clear()
        self.state.storage = memory
        self._gone = why
        warn_in_run(
            f"the run was ended: {why}. Its results so far are in memory" + ("" if locked else " only"),
            RuntimeWarning,
            stacklevel=2,
        )

    def _stored_in_open_files(self, entries: list[Entry]) -> bool:
        try:
            self._journal.store_at_last(entries, self.state)
        except (OSError, TuneError):
            return False
        return True

    def _abandon(self) -> None:
        """An error ends the run: end what runs, and bring into the journal what it still takes. If it takes nothing
        any more, the rings stay where they are for whoever opens the experiment next."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        entries = self._journal.give_up()
        if self.storage.gone():
            executor.leave_files()
            executor.close()
            return
        executor.halt()
        try:
            if entries:
                self.storage.append(entries, held_in_memory(self.state))
            del entries
            executor.close()  # leaves the rings that hold more than was released
            recover_rings(self.spec.path, self.storage)
        except Exception:  # the error that ended the run is the one to tell
            executor.close()

    # -- who is told --------------------------------------------------------------------------------------------------

    def _tell_callbacks(self) -> None:
        self._telling.tell(self._turns, self.state)
        self._keep_own()

    def _said(self) -> Said:
        usage = self._last_usage if self._executor is None else self._executor.usage
        return Said(usage, self._gone or self.state.ending.why or self._interruption())

    def _interruption(self) -> str:
        if not self.interrupts:
            return ""
        how, what = self.spec.how_to_go_on, "stopped from outside" if self._ended_from_outside else "interrupted"
        return f"{what}; to go on: {how}" if how and not self.state.finished else what

    def _leave_screen(self) -> None:
        if self.spec.progress_reporter is not None:
            self.spec.progress_reporter.leave()

    def _say_goodbye(self) -> None:
        self._last_usage = self._place.usage()
        self._tell_callbacks()
        self._progress.show(True)
        self._telling.end(self.state)
        if self.spec.failure.fail_fast == "raise":
            raise_first_failure(self.state)
