"""ExperimentState: events in, instructions out. No clock, no threads, nothing written: of files it looks only at whether
checkpoints are there and whose they are, and reads the journal that it is given.

The loop hands in what happened (records), asks what to start, and carries out the instructions that come back. The
state's own entries for the journal (configs that were suggested, retries, trials it ended itself) are folded the same
way as everybody else's and wait in ``entries`` to be stored before anything is done that builds on them.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from fasttune import _core
from fasttune.checkpoint import DICT_FILE, Checkpoint, memory_name
from fasttune.constraints import as_compared
from fasttune.engine.asked import asked_of, options_of
from fasttune.engine.choosing import Choosing
from fasttune.engine.ending import Ending
from fasttune.engine.facts import ONE_TRIAL
from fasttune.engine.going_on import latest
from fasttune.engine.hearing import Hearing
from fasttune.engine.instructions import Answer, Discard, Happening, Resume, SaveNow, Span, Start, Stop
from fasttune.engine.judgements import Judgements
from fasttune.engine.kept_checkpoints import KeptCheckpoints
from fasttune.engine.orders import AskToSave, ChangeTo, Hold, Orders, PausedTrials, Remove, Step
from fasttune.engine.outbox import Outbox
from fasttune.engine.outside_stops import OutsideStops
from fasttune.engine.phases import (
    ANSWERING,
    DECIDING,
    EARLY,
    HANDED_OUT,
    PAUSING,
    RETURNING,
    Phases,
)
from fasttune.engine.records import ExperimentRecords
from fasttune.engine.suggestions import Suggestions, refuse_domains
from fasttune.engine.trial_names import Naming
from fasttune.engine.unfollowed import Unfollowed
from fasttune.engine.wanted_names import WantedNames
from fasttune.engine.watching import ENDS, WISHES, Watching
from fasttune.error import TuneError
from fasttune.failure import Reasons
from fasttune.hook_times import UNTIMED, HookTimes
from fasttune.identity import is_json
from fasttune.plain_files import check_owner
from fasttune.result import flatten, number
from fasttune.rule import CompiledRule
from fasttune.schedulers.base import Change, compiled_rule
from fasttune.schedulers.view import ExperimentView
from fasttune.space.as_json import config_to_json
from fasttune.trainable import is_vectorized, saves_when_told, takes_state

if TYPE_CHECKING:
    from fasttune.config import RunSpec
    from fasttune.devices.resources import PlacementGroupFactory
    from fasttune.storage.base import Entry, Storage
    from fasttune.trial import Trial

CODES = {"CONTINUE": _core.CONTINUE, "NOOP": _core.CONTINUE, "STOP": _core.STOP, "PAUSE": _core.PAUSE}


class ExperimentState(ExperimentRecords):
    """An experiment that runs: its records, and all that decides.

    ``hooks`` names the callback hooks that somebody listens to; ``prefix`` is the first part of trial ids.
    """

    def __init__(
        self,
        spec: RunSpec,
        meta: dict[str, Any],
        storage: Storage | None,
        hooks: frozenset[str] = frozenset(),
        times: HookTimes = UNTIMED,
    ) -> None:
        super().__init__(meta, storage, spec.path)
        self.spec = spec
        self.hooks = hooks
        self.scheduler = spec.scheduler
        self.view = ExperimentView(self)
        self.times = times
        self.suggestions = Suggestions(spec, times)
        self.searcher = self.suggestions.searcher
        self.rule: CompiledRule | None = compiled_rule(spec.scheduler)
        self.asks = self.rule is None or spec.stop.asks
        self.chooses = self.rule is None
        self.waits_for_wishes = WISHES in hooks and any(isinstance(one.trainable, type) for one in spec.trainables)
        self.asks = self.asks or self.waits_for_wishes
        self.out = Outbox()
        self._restoring: set[int] = set()  # trials that are to begin from a checkpoint
        self.phases = Phases(self.table.status, self.story, self.table.show)
        self.hearing = Hearing(self.searcher, times, self)
        self.orders = Orders(self, type(spec.scheduler).__name__)
        self.shelf = PausedTrials(self, spec.max_suspended)
        self.choosing = Choosing(self)
        self.unfollowed = Unfollowed()
        self._again: deque[int] = deque()  # who has failed in the batch that is looked at, and is to be tried again
        self._reacting = 0  # how deep within that: what follows from an event is an event
        self.stops = OutsideStops(self)
        self.ending = Ending()
        self._now = 0.0
        self.restored = (0, 0.0)  # iterations and seconds in the checkpoint that every trial starts from
        self._told_at: dict[int, float] = {}  # time of the report that was told last, of trials that run
        self.kept = KeptCheckpoints(spec.checkpoint, spec.metric, spec.mode, self.saves.unlist)
        self.reasons = Reasons()  # of the failures of this session
        self.live = True  # False: an earlier session is replayed
        self.handlers = self.HANDLERS  # of records that are decided about; a replay has more of them
        self.naming = Naming(spec)
        self.rereads = False
        self.scope = spec.scope
        self.space_since = 0  # the record of a session in the journal from which on its space is that of this run
        self._saves = [saves_when_told(one.trainable) for one in spec.trainables]
        self._in_rows = [takes_state(one.trainable) if is_vectorized(one.trainable) else None for one in spec.trainables]
        self.told_whole: list[bool] = []  # per experiment: the journal can say every config of its last space
        if not meta["variants"]:
            self.configs.variants = self.suggestions.first_variants()
        self.watching = Watching(
            hooks,
            hears_reports=self.hearing.of_reports,
            hears_ends=self.searcher is not None,
            stopper_asks=spec.stop.asks,
            asks=self.asks,
            chooses=self.chooses,
            ranks=self.kept.ruled,
        )
        self.wanted = WantedNames(self)

    def goes_on(self, metas: list[dict[str, Any]], new_space: bool = False) -> None:
        """The run goes on with the journal of these records, in the last of its spaces, or in a new one."""
        self.unpickles = True  # resolve() has looked whose folder it is
        since = [k for k, told in enumerate(metas) if k == 0 or told.get("new_space")]
        self.space_since = len(metas) if new_space else since[-1]
        self.told_whole = [one["space"] is not None and is_json(one["space"]) for one in latest(metas)["trainables"]]
        self.configs.variants = self._variants_of(metas[0]["variants"])

    def _variants_of(self, told: list[Any]) -> list[Any]:
        """Configs by number. Those of the space that is this run's hold the objects in it, of earlier ones their texts."""
        if self.sessions != self.space_since or not told:
            return super()._variants_of(told)
        return self.suggestions.variants_told(told)

    def take_new_requests(self) -> None:
        """Trials that begin from here on ask for what this run says, which may be another thing than before."""
        asked: list[Any] = asked_of(self.spec)["trainables"]
        self._session_requests.append((self._now, [one["resources"] for one in asked]))

    def is_of_this_space(self, i: int) -> bool:
        """Trial i was suggested in the space that holds now."""
        return self.sessions >= self.space_since and i >= self.configs.space_from

    def contents(self, path: str) -> str | bytes:
        """What a trial is to go on from. FileNotFoundError, or PermissionError where somebody else may have written it."""
        found = self.saves.contents(path)
        if isinstance(found, str) and not self.spec.trust:
            for one in (found, os.path.join(found, DICT_FILE)):
                with suppress(FileNotFoundError):
                    check_owner(one, os.lstat(one), "unpickled")
        return found

    @property
    def options(self) -> dict[str, Any]:
        return options_of(self.spec)

    # -- what the loop asks -------------------------------------------------------------------------------------------

    def at(self, now: float) -> None:
        """Tell the time of the turn; entries that the state makes carry it."""
        self._now = now

    @property
    def total(self) -> int | None:
        """How many trials there will be, None when that is open."""
        more = self.suggestions.total(self.configs.variants)
        return None if more is None else self.configs.space_from + more

    @property
    def finished(self) -> bool:
        """Nothing runs, waits or can still be suggested."""
        table = self.table
        if table.running or self.phases.count(HANDED_OUT) or (self.ending.why is None and (table.pending or table.paused)):
            return False
        return self.ending.why is not None or self.exhausted

    @property
    def exhausted(self) -> bool:
        """No more trials will be suggested."""
        return self.suggestions.exhausted(self.configs.variants)

    @property
    def gives_blocks(self) -> bool:
        """The space gives its configs by number, many at a time."""
        return self.searcher is None

    def next_spans(self, n: int) -> Span | None:
        """Up to n trials that were never started, for an executor that computes configs itself."""
        return None if self.ending.why is not None or n <= 0 else self.choosing.next_span(n)

    def next_start(self, together: int = 1) -> Start | Resume | None:
        """The next single trial to run: a retry, what the scheduler chooses, or a fresh one, of which so many are suggested
        ``together`` if there is none yet. None: nothing now."""
        chosen = self.choosing.next(together) if self.ending.why is None else None
        if chosen is None:
            return None
        self.hearing.goes_on(chosen.trial)
        return Resume(chosen.trial, self.ask_from(chosen.trial)) if chosen.alive else self.start_of(chosen.trial)

    def handed(self, start: Start | Resume) -> list[Entry]:
        """An executor has taken this start. What the journal is told of it, at any time: schedulers that choose ask who
        waits, and a replay shall tell them the same."""
        return [(0, 0, _core.encode(_core.KIND_CHOSEN, start.trial, time=self._now))] if self.chooses else []

    def put_back(self, start: Start | Resume) -> None:
        """There was no room for this start after all. A scheduler that chooses may choose another one this turn."""
        self.choosing.put_back(start.trial, isinstance(start, Start))
        if self.chooses:
            self.shelf.back(start.trial)

    def ask_from(self, i: int) -> int:
        """The report of trial i from which on the loop has to be asked."""
        if not self.asks:
            return _core.NEVER_ASK
        if self.waits_for_wishes or self.spec.stop.asks:
            return 0
        step = self.times.call(self.scheduler.ask_from, self.trials[i])
        return _core.NEVER_ASK if step >= _core.NEVER_ASK else max(0, math.ceil(step))

    def status(self, i: int) -> str:
        """As it is shown, see :meth:`Choosing.status`."""
        return self.choosing.status(i)

    def trials_of(self, status: str, most: int = -1) -> list[Trial]:
        return self.choosing.trials_of(status, most)

    def start_of(self, i: int) -> Start:
        """How to start trial i now: fresh, or from its newest checkpoint."""
        chunk = self.configs.chunk_of(i)
        # what a worker cannot compute itself travels with the start
        computed = chunk is not None and chunk.variants.pure and not self.configs.is_changed(i) and i >= self.configs.space_from
        config = None if computed else self.config(i)
        found = self.start_point(i)
        begun = self.table.attempt(i), self.table.changes(i), self.ask_from(i)
        most = self.rule is not None and self.rule.smooth > 0
        rung, standing = self.table.rung(i), (self.table.strikes(i), self.table.extremes(i)[most])
        if "on_trial_restore" in self.hooks and (found is not None or self.spec.restore is not None):
            self._restoring.add(i)
        if found is None:
            return Start(i, config, *self.restored, rung, self.spec.restore, *begun, standing)
        path, step, seconds = found
        self.kept.started(i, path)
        return Start(i, config, step, seconds, rung, path, *begun, standing)

    def start_point(self, i: int) -> tuple[str, int, float] | None:
        """(directory or name in memory, iteration, seconds so far) of the newest checkpoint that trial i has, or was
        given."""
        found = self.saves.latest(i)
        if found is None:
            return None
        path, step = found
        given = self.saves.origin(i)
        if given is not None and given[0] == path:
            return path, step, given[1]
        return path, step, self._seconds(i) if step == self.table.iteration(i) else self.saves.seconds_at(i, step)

    def saves_when_told(self, i: int) -> bool:
        """Trial i saves when it is told to: it is a class Trainable, or a row of a call."""
        return self._saves[self.experiment_of(i)]

    def saves_rows(self, i: int) -> bool:
        """Trial i is a row of a call: it is in step with those beside it."""
        return self._in_rows[self.experiment_of(i)] is not None

    def is_row_only(self, i: int) -> bool:
        """Trial i is a row, and nobody knows what it goes on from: what it has saved is good for its call."""
        return self._in_rows[self.experiment_of(i)] is False

    def changed_request(self, i: int) -> PlacementGroupFactory | None:
        """The resources that trial i was changed to have; None: those of its trainable."""
        return self.resources(i) if i in self._requests else None

    def has_present_checkpoint(self, i: int) -> bool:
        """Trial i has a checkpoint of where it is now."""
        return self.saves.saved_at(i) == self.table.iteration(i)

    @property
    def reuses_processes(self) -> bool:
        return self.spec.reuse_actors

    def can_begin_again(self, trial: Trial) -> bool:
        """Whether a trial that just reported loses nothing if it goes on in another place: it saves when it is told to (a
        class), or this report came with a checkpoint."""
        return self.saves_when_told(trial.index) or self.has_present_checkpoint(trial.index)

    # -- suggesting ---------------------------------------------------------------------------------------------------

    def suggest(self, n: int) -> bool:
        """There are up to n trials more; whether there are any."""
        return self._suggest_block(n) if self.gives_blocks else self._suggest_batch(n)

    def _suggest_block(self, n: int) -> bool:
        block = self.suggestions.next_block(self.configs.variants, n)
        if block is None:
            return False
        payload = self.configs.block(block.experiment, block.start, block.n)
        first = len(self)
        self.record(_core.KIND_CONFIGS, first, block.n, payload)
        self.add(range(first, first + block.n))
        return True

    def _suggest_batch(self, n: int) -> bool:
        first = len(self)
        found = self.suggestions.next_configs([self.trial_id(first + k) for k in range(n)])
        for i, one in enumerate(found, first):
            self.configs.given[i] = one.config
            self._note_equal(i, one.config)
            self.record(_core.KIND_CONFIG, i, 0, json.dumps(one.told).encode())
            self.add(range(i, i + 1))
        return bool(found)

    def _note_equal(self, i: int, config: Any) -> None:
        self.suggestions.note(i, config, lambda first: self.status(first) == "ERROR")

    def known_result(self, i: int) -> tuple[dict[str, Any], int, float] | None:
        """What an earlier trial with the config of trial i has come to: metrics, iteration, seconds of training. None if
        there is no such trial, or it has not ended well."""
        j = self.suggestions.equal_to(i)
        metrics = self.metrics(j) if j != i and self.status(j) == "TERMINATED" else None
        if metrics is None:
            return None
        return metrics, self.table.reported(j)[0], self.last_result(j)["time_total_s"]

    def add(self, numbers: range) -> None:
        """There are these trials more: the scheduler is told of them, and the user's functions are asked for their names."""
        if self.live and self.naming.is_wanted:
            for i in numbers:
                told = self._told[i] = {}  # what is said first is seen by what is asked next
                self.naming.ask(told, self.trials[i], self.experiment_of(i), partial(self.trial_dirname, i))
                self.record(_core.KIND_TOLD, i, 0, json.dumps(told).encode())
        if self.asks:
            for i in numbers:
                self.times.call(self.scheduler.on_trial_add, self.view, self.trials[i])
                self.hear_orders()

    # -- what happened ------------------------------------------------------------------------------------------------

    def handle(self, source: int, data: Any) -> None:
        """Fold what happened and decide; instructions, entries and happenings are left for the loop to fetch. A record that
        does not fit is an error: see ``fold_found``."""
        self.react(self.fold(source, data, self.watching.kinds))

    def react(self, events: Iterable[tuple[Any, ...]]) -> None:
        """Decide about what was folded; of an earlier session (``live`` false), let everybody see what was decided. Who is
        tried again waits until all of it was seen, as in the journal, where what comes of a batch stands behind it."""
        handlers = self.handlers
        self._reacting += 1
        try:
            for event in events:
                handler = handlers.get(event[0])
                if handler is not None:
                    handler(self, event)
        finally:
            self._reacting -= 1
        while self._again and not self._reacting:
            i = self._again.popleft()
            self.requeue(i)
            self._happen("on_trial_recover", i)

    def _on_start(self, event: tuple[Any, ...]) -> None:
        i = event[1]
        self.shelf.gone(i)
        self.hearing.goes_on(i)
        self.carry_out(self.orders.started(i))
        self._happen("on_trial_start", i)
        if event[0] == _core.KIND_START and i in self._restoring:
            self._restoring.discard(i)
            self._happen("on_trial_restore", i)

    def _on_report(self, event: tuple[Any, ...]) -> None:
        _, i, flags, step, time, (schema, values, extra) = event
        decision = flags & 7
        if self.kept.wants_score(i, step):
            self._score(i, step, time, (schema, values, extra))
        if not self.watching.reports and decision != _core.WAIT:
            return
        told = i, self.metrics_of(schema, values, extra), step, time, self._time_before(i, time), False
        result = self.result_of(*told) if self.watching.shown else {}
        # the searcher is handed the dict that the scheduler was, with what that tells it besides
        decided = decision == _core.WAIT or self.searcher is not None
        flat = self._compared(self.flat_result_of(*told), schema) if decided else {}
        if decision == _core.WAIT:
            decision = self._answer(i, result, flat)
        else:
            self._is_stopped(i, result)  # a limit has ended it, or it is over: what it reported counts for all of them
        if decision != _core.STOP:
            self.hearing.reported(i, flat)
        self._happen("on_trial_result", i, result, step=step)

    def _time_before(self, i: int, time: float) -> float:
        """When trial i had reported before the report of this time. The table knows that of its last one; more of them may
        have been folded together, and are told one after the other."""
        started, _, last, previous, *_ = self.table.times(i)
        told, self._told_at[i] = self._told_at.get(i, started), time
        return previous if time == last else min(time, max(told, started))

    def _answer(self, i: int, result: dict[str, Any], flat: dict[str, Any]) -> int:
        """Decide about a report that waits, do what the scheduler orders, and then answer it."""
        self.phases.rest(i)  # what a replayed scheduler decides otherwise than it did
        # What a killed run left in a ring comes in one piece, folded before its first event: the trial may be paused already, or over.
        waits = self.live or self.table.status(i) == "RUNNING"
        if waits:
            self.phases.step(i, DECIDING)
        decision = self.decide(i, result, flat)
        if decision == _core.PAUSE:
            if waits:
                self.phases.step(i, ANSWERING)
            if self.scheduler.holds_back:
                self.hearing.held_back(i)
        self.hear_orders()
        if waits and decision == _core.PAUSE:
            self.phases.step(i, PAUSING)
        else:
            self.phases.rest(i)
        if self.live:
            ask_from = self.ask_from(i) if decision == _core.CONTINUE else _core.NEVER_ASK
            self.out.instructions.append(Answer(i, decision, ask_from, self.orders.takes_due(i)))
        else:
            self.unfollowed.decisions[i] = decision
        return decision

    def _on_paused(self, event: tuple[Any, ...]) -> None:
        i = event[1]
        self.unfollowed.answered(i)
        if self.phases.of(i) == EARLY:  # it has been chosen again meanwhile
            self.phases.step(i, RETURNING)
        elif self.live:
            self.carry_out(self.shelf.paused(i))
            self.carry_out(self.orders.paused(i))
        else:
            self.phases.rest(i)

    def decide(self, i: int, result: dict[str, Any], flat: dict[str, Any]) -> int:
        """Stop criteria first, then the scheduler."""
        if self.ending.why is not None or self._is_stopped(i, result):
            return _core.STOP
        decision = self.times.call(self.scheduler.on_trial_result, self.view, self.trials[i], flat)
        if decision not in CODES:
            raise TuneError(
                f"{type(self.scheduler).__name__}.on_trial_result() must return CONTINUE, PAUSE, STOP or NOOP, "
                f"got {decision!r}; is a return missing at its end?"
            )
        if self.searcher is not None:
            flat.update(self.times.call(self.scheduler.tells_searcher, self.trials[i]))
        return CODES[decision]

    def _is_stopped(self, i: int, result: dict[str, Any]) -> bool:
        """Show a result to the stopper, if there is one that is shown them: whether it ends the trial."""
        stopper = self.spec.stop.stopper
        if stopper is None or not stopper.asks_every_report or self.ending.why is not None:
            return False
        return bool(self.times.call(stopper, self.trial_id(i), result))

    def _on_end(self, event: tuple[Any, ...]) -> None:
        _, i, flags, _, _, _ = event
        self._leave(i)
        flat = self._compared_last(i) if self.asks else None
        if flat is not None:
            if not flags & 7 and self.table.last(i) is not None:
                # a trial that ended by itself: seen as done
                self.times.call(self.scheduler.on_trial_result, self.view, self.trials[i], flat)
            if flags & _core.REMOVED:
                self.times.call(self.scheduler.on_trial_remove, self.view, self.trials[i])
            else:
                self.times.call(self.scheduler.on_trial_complete, self.view, self.trials[i], flat)
            self.hear_orders()
        self.carry_out(self.orders.ended(i))
        self.hearing.ended(i, lambda: self._compared_last(i) if flat is None else flat)
        self._happen("on_trial_complete", i)

    def _compared_last(self, i: int) -> dict[str, Any]:
        """The last result of trial i as those who decide are told it."""
        last = self.table.last(i)
        flat = flatten(self.last_result(i))
        return flat if last is None else self._compared(flat, last[0])

    def _compared(self, flat: dict[str, Any], schema: int) -> dict[str, Any]:
        """A flat result as those who decide are told it; its report has the metrics of this schema."""
        broken = self.table.schemas[schema].keys[-1:] == (_core.SCORE,)
        return as_compared(flat, self.metric, self.mode) if broken else flat

    def _leave(self, i: int, over: bool = True) -> None:
        """Trial i is over, or (``over=False``) this attempt of it."""
        self._told_at.pop(i, None)
        self.unfollowed.answered(i)
        self.hearing.left(i)
        self._flat.pop(i, None)
        self.carry_out(self.shelf.leave(i))
        self.kept.ended(i, over)

    def _on_checkpoint(self, event: tuple[Any, ...]) -> None:
        _, i, flags, step, _, path = event
        path = memory_name(i, path) if flags & _core.HELD else os.path.join(self.path, path)
        if flags & _core.HELD and self.kept.rule_those_in_memory():
            self.watching.kinds |= ENDS
        self.kept.saved(i, step, path)
        last = self.table.last(i)
        if last is not None and self.table.iteration(i) == step and self.kept.wants_score(i, step):
            self._score(i, step, self.table.times(i)[2], last)
        self.carry_out(self.orders.saved(i))
        if self.live:
            self.carry_out(self.shelf.saved(i))
            if "on_checkpoint" in self.hooks:
                self._happen("on_checkpoint", i, checkpoint=self.saves.at(path))
        self._happen("on_trial_save", i)

    def _score(self, i: int, step: int, time: float, report: tuple[int, Any, bytes | None]) -> None:
        """The report that a checkpoint belongs to has come."""
        attribute = self.kept.attribute
        found = self.metrics_of(*report)
        if attribute not in found:  # one of those that every result has, or none
            found = self.result_of(i, found, step, time, self.table.times(i)[3], False)
        if attribute == self.metric:
            found = as_compared(found, attribute, self.mode)
        self.kept.scored(i, step, number(found.get(attribute)))

    def _on_changed(self, event: tuple[Any, ...]) -> None:
        i = event[1]
        self.carry_out(self.shelf.leave(i))
        given = self.saves.origin(i)
        if given is not None:
            self.kept.started(i, given[0])
        self.carry_out(self.orders.changed(i))

    def tell_failed(self, i: int) -> None:
        """The searcher is told that trial i has failed for good."""
        self.hearing.ended(i, lambda: flatten(self.last_result(i)) or None, error=True)

    def may_try_again(self, i: int) -> bool:
        """Trial i, which has failed, is tried again; of an earlier session: was, by what that was asked."""
        if self.ending.why is not None or (not self.live and self.unfollowed.ending):
            return False
        limit = self.spec.failure.max_failures if self.live else self.max_failures
        return bool(limit == -1 or self.table.failures(i) <= limit)

    def _on_error(self, event: tuple[Any, ...]) -> None:
        i = event[1]
        again = i not in self.stops.asked and self.may_try_again(i)
        self._leave(i, over=False)  # also when it is not tried again: a later session may go on with it
        if self.asks:
            self.times.call(self.scheduler.on_trial_error, self.view, self.trials[i])
            self.hear_orders()
        if self.live:
            self.carry_out(self.orders.over(i))
        else:
            self.unfollowed.failed(i, again)
        if again:
            if self.live:
                self._again.append(i)
            return
        if self.live:
            self.carry_out(self.orders.ended(i))
        self.tell_failed(i)
        self._happen("on_trial_error", i)
        if self.live and self.spec.failure.fail_fast and self.ending.failed_fast is None:
            self.ending.failed_fast = i
            self.stop_all(f"trial {self.trial_id(i)} failed and fail_fast is set")

    HANDLERS: ClassVar[dict[int, Callable[[ExperimentState, tuple[Any, ...]], None]]] = {
        _core.KIND_START: _on_start,
        _core.KIND_RESUMED: _on_start,
        _core.KIND_REPORT: _on_report,
        _core.KIND_END: _on_end,
        _core.KIND_ERROR: _on_error,
        _core.KIND_CHECKPOINT: _on_checkpoint,
        _core.KIND_PAUSED: _on_paused,
        _core.KIND_CHANGED: _on_changed,
    }

    def suggest_again(self, i: int) -> None:
        """Trial i had this config of the searcher in an earlier session: the searcher, brought to where it was, makes it again;
        it is as the journal has it, if the two are not the same."""
        told = self.configs.suggestion(i)
        config = None
        if self.searcher is not None and self.sessions >= self.space_since:  # else it was made in another space
            config = self.suggestions.config_again(self.trial_id(i), told)
        self.configs.suggest_again(i, config)

    # -- what it does itself ------------------------------------------------------------------------------------------

    def add_again(self, i: int) -> None:
        """The scheduler, which knew trial i as over, is told that it is tried again."""
        if self.asks:
            self.times.call(self.scheduler.on_trial_add, self.view, self.trials[i])
            self.hear_orders()

    def requeue(self, i: int) -> None:
        """Trial i waits for another attempt."""
        self.record(_core.KIND_REQUEUED, i, 0, flags=self._from_start(i))
        self.add_again(i)
        if not self.chooses:
            self.choosing.wait(i)

    def _from_start(self, i: int) -> int:
        """Flag of another attempt of a trial whose call is over, and with it all that the trial has saved."""
        if not (self.is_row_only(i) and self.saves.has_any(i)):
            return 0
        self.kept.forget(i)
        return _core.FRESH

    def _hear_failure(self, trial: int, text: str) -> None:
        if self.live:
            self.reasons.add(text, self.trial_id(trial))

    def fail(self, i: int, text: str) -> None:
        """Trial i failed without being able to say so: its process died, or could not be given work."""
        self._own(_core.KIND_ERROR, i, 0, text.encode("utf-8", "backslashreplace"))

    def end(self, i: int) -> None:
        """Trial i is over because the run says so."""
        self._own(_core.KIND_END, i, 0, b"", flags=_core.STOP)

    def remove(self, i: int) -> None:
        """Trial i, which does not run, is over."""
        self._own(_core.KIND_END, i, 0, b"", flags=_core.STOP | _core.REMOVED)

    def change(self, i: int, change: Change, found: tuple[str, int, float] | None) -> None:
        """Trial i goes on with another config or other resources, from the checkpoint ``found``."""
        path, step, seconds = found or (None, 0, 0.0)
        if change.config is not None:
            refuse_domains(change.config, f"{type(self.scheduler).__name__} ordered a change that")
        told = {
            "config": None if change.config is None else config_to_json(change.config),
            "donor": None if change.donor is None else change.donor.index,
            "checkpoint": None if path is None else self.saves.relative(path),
            "iteration": step,
            "seconds": seconds,
            "tag": change.tag,
            "resources": None if change.resources is None else change.resources.__reduce__()[1],
        }
        self._own(_core.KIND_CHANGED, i, self.table.iteration(i), json.dumps(told).encode())
        if change.config is not None:
            self.configs.give(i, change.config)  # with the objects that JSON cannot hold

    def hear_orders(self) -> None:
        """Do what the scheduler orders, after one of its hooks."""
        while orders := self.times.call(self.scheduler.orders):
            for order in orders:
                self.carry_out(self.orders.take(order))

    def carry_out(self, steps: Iterable[Step | Stop]) -> None:
        """Do this, step by step: what is next may depend on what was done."""
        for step in steps:
            if isinstance(step, SaveNow | Discard | Stop):
                if self.live:
                    self.out.instructions.append(step)
            elif isinstance(step, AskToSave):
                self.carry_out(self.orders.save(step.trial))
            elif isinstance(step, Remove):
                self.choosing.drop(step.trial)
                self.remove(step.trial)
            elif isinstance(step, ChangeTo):
                self.change(*step)
            elif isinstance(step, Hold):
                self.kept.hold(step.path)
            else:
                self.kept.let_go(step.path)

    def take_back(self, i: int) -> None:
        """Trial i was paused in, or handed to, a process that has died before it could go on: it waits again."""
        self._wait_again(i)
        status = self.table.status(i)
        if status == "PAUSED":  # it goes on from its newest checkpoint
            self.shelf.gone(i)
            self.carry_out(self.orders.over(i))
        elif status == "PENDING" and not self.chooses:
            self.choosing.wait(i)

    def _wait_again(self, i: int) -> None:
        """Trial i was handed out, and will not begin."""
        if self.phases.take_back(i) and self.chooses:
            self.out.keep(_core.encode(_core.KIND_CHOSEN, i, flags=_core.BACK, time=self._now))

    def stop_all(self, why: str, grace: float | None = None) -> None:
        """Start nothing more and end what runs. ``grace``: as in :meth:`stop_trial`."""
        if self.ending.why is not None:
            return
        self.ending.why, self.ending.grace = why, grace
        told = why.encode("utf-8", "backslashreplace")
        self.record(_core.KIND_DECISION, 0, 0, told, flags=_core.STOP)  # what ends from here on, no scheduler ended
        self.out.let_nobody_go_on()  # who still waits for an answer does not go on first
        self.out.instructions.extend(Stop(i, grace=grace) for i in self.table.of_status("RUNNING"))

    def stop_trial(self, i: int, at_once: bool = False, why: str = "stopped from outside", grace: float | None = None) -> None:
        """Trial i is to end, which no scheduler has decided; the journal says why. ``grace``: the seconds that it has to end by
        itself, if it is not waited for; None: as ever."""
        if not self.stops.is_news(i, at_once):
            return
        if i not in self.stops.asked:
            self.record(_core.KIND_DECISION, i, 0, why.encode(), flags=_core.STOP | ONE_TRIAL)
        self.stops.ask(i, at_once, grace)
        self.carry_out(self.stops.steps())

    def validate(self) -> None:
        """AssertionError if what is known of trials contradicts itself: for tests, between two turns."""
        self.phases.validate()
        self.orders.validate()
        self.choosing.validate()

    def _happen(
        self,
        hook: str,
        i: int,
        result: dict[str, Any] | None = None,
        checkpoint: str | Checkpoint | None = None,
        step: int = 0,
    ) -> None:
        if hook in self.hooks and self.live:
            self.out.happened.append(Happening(hook, i, result, checkpoint, step))

    def record(self, kind: int, trial: int, step: int, payload: bytes = b"", flags: int = 0) -> None:
        """An entry of the state's own: folded, and kept for the journal."""
        data = _core.encode(kind, trial, step, payload, flags, self._now)
        self.fold(0, data)
        self.out.keep(data)

    def _own(self, kind: int, trial: int, step: int, payload: bytes, flags: int = 0) -> None:
        """As :meth:`record`, and handled as if a worker had said it."""
        data = _core.encode(kind, trial, step, payload, flags, self._now)
        self.out.keep(data)
        self.handle(0, data)

    # -- going on (see resuming.py) ------------------------------------------------------------------------------------

    def go_on_from_here(self) -> None:
        """All that an earlier session did is known."""
        self.user_attrs.update(self.spec.user_attrs)
        self.wanted.begin_again(self._now)
        self.choosing.all_are_known()
        self.suggestions.count(self.configs.of_this_space())
        for i in self.configs.suggested():
            self._note_equal(i, self.configs.suggestion(i)["config"])
        for i in self.phases.those_in(HANDED_OUT):  # to a process that has ended before they began
            self._wait_again(i)
            self.phases.rest(i)

    def restore_config(self, i: int) -> Iterable[str]:
        """Trial i is to be run again: what of its config is not in the journal as it was. Functions of the space are asked
        again."""
        chunk = self.configs.chunk_of(i)
        if chunk is not None and not self.configs.is_changed(i) and i >= self.configs.space_from:
            return [f"{name!r}, which is sampled again" for name in chunk.variants.sample_again(chunk.local + i - chunk.first)]
        return ["an object, of which it gets the text"] if self.configs.is_in_texts(i) else []

    def judgements(self) -> Judgements:
        """Each judgement of the compiled rule, in their order, read again."""
        found = Judgements(self.metric, self.rule.smooth if self.rule is not None else 0)
        for source, _, data in self._entries():
            found.add(source, data)
        return found
