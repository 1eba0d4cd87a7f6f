"""ExperimentState: events in, instructions out. No clock, no threads, nothing written: it looks only at whether checkpoints
are there and whose they are, and ``load`` reads an experiment from its folder.

The loop hands in what happened (records), asks what to start, and carries out the instructions that come back. The
state's own entries for the journal (configs that were suggested, retries, trials it ended itself) are folded the same
way as everybody else's and wait in ``entries`` to be stored before anything is done that builds on them.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from zlib import crc32

from fasttune import _core
from fasttune.argument import shown
from fasttune.checkpoint import DICT_FILE, Checkpoint, memory_key, memory_name
from fasttune.config import Experiment as Experiment  # Ray Tune has it, and Trial, in a module of this name
from fasttune.engine.going_on import asked_of, latest
from fasttune.engine.judgements import Judgement, Judgements
from fasttune.engine.meta import options_of
from fasttune.engine.orders import OVER, Orders, Shelf
from fasttune.engine.phases import (
    ALIVE,
    ANSWERING,
    BEING_PAUSED,
    CHOSEN,
    DECIDING,
    EARLY,
    HANDED_OUT,
    LEAVING,
    PAUSING,
    RETURNING,
    Phases,
)
from fasttune.engine.records import CONFIGS_HEAD, ONE_TRIAL, ExperimentRecords, Unfit
from fasttune.engine.retention import Retention
from fasttune.engine.trial_names import cleaned, name_by, refuse_our_names
from fasttune.engine.wanted_names import WantedNames
from fasttune.error import JournalError, TuneError
from fasttune.failure import Reasons
from fasttune.hook_times import UNTIMED
from fasttune.identity import is_json, without_addresses
from fasttune.metric_values import kept_value
from fasttune.plain_files import check_owner
from fasttune.result import flatten, number
from fasttune.rule import CompiledRule
from fasttune.schedulers.base import Change, compiled_rule
from fasttune.schedulers.view import ExperimentView
from fasttune.search.base import Searcher
from fasttune.search.basic_variant import BasicVariantGenerator
from fasttune.space.as_json import comparable, config_to_json, to_json_value
from fasttune.space.domains import derive_seed, domains_of, path_name, unflatten_dict
from fasttune.space.variants import Variants
from fasttune.storage.reader import SqliteReader
from fasttune.storage.recovery import copied_rings, left_in, writer_of
from fasttune.trial import Trial as Trial

if TYPE_CHECKING:
    from fasttune.config import ResumeConfig, RunSpec
    from fasttune.devices.resources import PlacementGroupFactory
    from fasttune.storage.base import Entry, Storage

CODES = {"CONTINUE": _core.CONTINUE, "NOOP": _core.CONTINUE, "STOP": _core.STOP, "PAUSE": _core.PAUSE}
REPORT_BIT = 1 << _core.KIND_REPORT
SCORED = 1 << _core.KIND_CHECKPOINT  # the reports that checkpoints belong to
ENDS = 1 << _core.KIND_END
DECISIONS = 1 << _core.KIND_DECISION
STARTS = 1 << _core.KIND_START | 1 << _core.KIND_RESUMED
CHOICES = 1 << _core.KIND_CHOSEN  # what was handed out and is not known to have begun
NEXT_SPACE = 1 << 32  # number of the seed of a later search space in the family of the one before
WISHES = "should_checkpoint"  # among the hooks: callbacks may ask for a checkpoint of what they are told
LOOKAHEAD = 200  # trials a scheduler that chooses may choose from


class Span(NamedTuple):
    """Instruction: run the trials first .. first+n-1, whose configs the worker computes itself."""

    first: int
    n: int


class Start(NamedTuple):
    """Instruction: run one trial, perhaps from a checkpoint. ``config`` None: the worker computes it."""

    trial: int
    config: dict[str, Any] | None
    iteration: int
    base_total: float
    rung: int
    checkpoint: str | None
    attempt: int
    changes: int  # how often it was changed or requeued so far
    ask_from: int  # the first report that has to be decided
    standing: tuple[int, float]  # strikes and best value that earlier attempts have left


class Resume(NamedTuple):
    """Instruction: go on with a paused trial where it was."""

    trial: int
    ask_from: int


class Answer(NamedTuple):
    """Instruction: what a trial that waits in its report shall do."""

    trial: int
    decision: int
    ask_from: int
    save: bool  # first


class SaveNow(NamedTuple):
    """Instruction: a paused class Trainable saves."""

    trial: int


class Discard(NamedTuple):
    """Instruction: a paused trial's code is left for good."""

    trial: int


class Stop(NamedTuple):
    """Instruction: end a running trial, kindly first."""

    trial: int
    patient: bool = False  # it ends at its next report, however late that comes


Instruction = Span | Start | Resume | Answer | SaveNow | Discard | Stop


class Happening(NamedTuple):
    """Something a callback may want to hear of."""

    hook: str
    trial: int
    result: dict[str, Any] | None = None
    checkpoint: str | Checkpoint | None = None
    step: int = 0  # of the result


class ExperimentState(ExperimentRecords):
    """An experiment that runs: its records, and all that decides.

    ``hooks`` names the callback hooks that somebody listens to; ``prefix`` is the first part of trial ids.
    """

    def __init__(
        self, spec: RunSpec, meta: dict[str, Any], storage: Storage | None, hooks: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(meta, storage, spec.path)
        self.spec = spec
        self.hooks = hooks
        self.scheduler = spec.scheduler
        self.view = ExperimentView(self)
        self.searcher: Searcher | None = spec.searcher if isinstance(spec.searcher, Searcher) else None
        self.stopper = spec.stop.stopper
        self.rule: CompiledRule | None = compiled_rule(spec.scheduler)
        self.asks = self.rule is None or (self.stopper is not None and self.stopper.asks_every_report)
        self.chooses = self.rule is None
        self.waits_for_wishes = WISHES in hooks and any(isinstance(one.trainable, type) for one in spec.trainables)
        self.asks = self.asks or self.waits_for_wishes
        self.entries: list[Entry] = []
        self.instructions: list[Instruction] = []
        self.happened: list[Happening] = []
        self.waiting: deque[int] = deque()  # trials to be run again: retries, and what a resumed run left
        self._restoring: set[int] = set()  # trials that are to begin from a checkpoint
        self.phases = Phases(self.table.status, self.story)
        self._aside: set[int] = set()  # chosen this turn, and could not be run
        self._choosing = False
        self._held_back: set[int] = set()  # paused to wait for others, as the searcher was told
        self.orders = Orders(self)
        self.shelf = Shelf(self, spec.max_suspended)
        self._undone: dict[int, int] = {}  # replayed decisions that no record has followed yet
        self._errored: set[int] = set()  # replayed failures that no record has followed yet
        self._again: deque[int] = deque()  # who has failed in the batch that is looked at, and is to be tried again
        self._reacting = 0  # how deep within that: what follows from an event is an event
        self.asked_to_stop: dict[int, bool] = {}  # trials that somebody outside wants to end; whether at once
        self._stops_due: dict[int, bool] = {}  # those of them that were not told yet: they wait, or have not begun
        self.stopping: str | None = None  # why no trial is started any more
        self.lacking = ""  # what the run was ended for: its metric, which no report has
        self.all_over = False  # and none ever will be: a stopper says that the experiment is done
        self.failed_fast: int | None = None
        self._now = 0.0
        self.restored = (0, 0.0)  # iterations and seconds in the checkpoint that every trial starts from
        self._fresh_from = 0  # trials from here on that exist have not been handed out
        self._given_out: list[int] = [0] * len(spec.trainables)  # configs suggested per experiment
        self._searcher_done = self.searcher is None
        self._first_with: dict[str, int] = {}  # config -> the first trial that had it; only if results are used again
        self._equal: dict[int, int] = {}  # trial -> that trial
        self._seen_last: set[int] = set()
        self._told_at: dict[int, float] = {}  # time of the report that was told last, of trials that run
        self._added: set[int] = set()
        self.retention = Retention(spec.checkpoint) if spec.checkpoint.num_to_keep is not None else None
        self._surplus: dict[str, None] = {}  # checkpoints to be deleted once the journal holds what has been folded
        self._saved_by: dict[str, int] = {}  # trial of each checkpoint that the retention knows
        self._judged: Judgements | None = None  # what the replay has met, until it is asked for
        self.reasons = Reasons()  # of the failures of this session
        self.live = True  # False: an earlier session is replayed
        self.times = UNTIMED  # of the hooks; the loop has a clock, and brings its own
        self._folders: set[str] = set()  # that users' functions named
        self._names = (
            spec.trial_name_creator is not None
            or spec.trial_dirname_creator is not None
            or any(callable(one.resources) for one in spec.trainables)
        )
        self.rereads = False
        self.scope = spec.scope
        self.space_since = 0  # the record of a session in the journal from which on its space is that of this run
        self._told_whole: list[bool] = []  # per experiment: the journal can say every config of its last space
        self._unheard: set[int] = set()  # trials that begin again after they had ended: the searcher knows what it knows
        if self.searcher is None and not meta["variants"]:
            generator = self._generator()
            self.variants = [generator.variants(one.num_samples, one.space) for one in spec.trainables]
        self.watch = self._watch()
        self.wanted = WantedNames(self)

    def _generator(self) -> BasicVariantGenerator:
        generator = self.spec.searcher
        if isinstance(generator, BasicVariantGenerator):
            return generator
        return BasicVariantGenerator(random_state=self.spec.seed)

    def goes_on(self, metas: list[dict[str, Any]], new_space: bool = False) -> None:
        """The run goes on with the journal of these records, in the last of its spaces, or in a new one."""
        self.unpickles = True  # resolve() has looked whose folder it is
        since = [k for k, told in enumerate(metas) if k == 0 or told.get("new_space")]
        self.space_since = len(metas) if new_space else since[-1]
        self._told_whole = [one["space"] is not None and is_json(one["space"]) for one in latest(metas)["trainables"]]
        self.variants = self._variants_of(metas[0]["variants"])

    def _variants_of(self, told: list[Any]) -> list[Any]:
        """Configs by number. Those of the space that is this run's hold the objects in it, of earlier ones their texts."""
        if self.sessions != self.space_since or not told:
            return super()._variants_of(told)
        # a journal of an earlier version is not compared by its points: then those that it tells
        points = self._generator().points_to_evaluate or None if self.searcher is None else None
        return [
            Variants.from_meta({**one, "num_samples": asked.num_samples}, asked.space, points)
            for one, asked in zip(told, self.spec.trainables, strict=True)
        ]

    def take_new_requests(self) -> None:
        """Trials that begin from here on ask for what this run says, which may be another thing than before."""
        asked: list[Any] = asked_of(self.spec)["trainables"]
        self._session_requests.append((self._now, [one["resources"] for one in asked]))

    def _take_new_space(self) -> None:
        """From the next trial on the space is the one that this run was asked. TuneError if trials are to go on whose
        configs only the program of the earlier space could make."""
        alive = [i for status in ("PENDING", "RUNNING", "PAUSED") for i in self.table.of_status(status)]
        gone = [i for i in alive if not self._is_told_whole(i)]
        if gone:
            raise TuneError(
                f"{len(gone)} trials of the earlier search space are to go on (the first: {self.trial_id(gone[0])}), and "
                "their configs hold objects, which are text in the journal: finish them with the space that was, or end "
                "them with ResumeConfig(unfinished='skip', new_space=True)"
            )
        generator = self._generator()
        self.sessions = self.space_since
        self.space_from = len(self)
        self._given_out = [0] * len(self.spec.trainables)
        self.variants = [
            Variants(
                asked.space,
                asked.num_samples,
                seed=derive_seed(before.seed, NEXT_SPACE),
                points=generator.points_to_evaluate,
                constant_grid_search=generator.constant_grid_search,
            )
            for before, asked in zip(self.variants, self.spec.trainables, strict=False)  # none: a searcher suggests
        ]

    def _is_told_whole(self, i: int) -> bool:
        """The journal holds the config of trial i as it is, not as a text in places."""
        chunk = self.chunk_of(i)
        return chunk.variants.whole if chunk is not None else self._told_whole[self.experiment_of(i)]

    def _hears(self, i: int) -> bool:
        """The searcher is told of trial i: it suggested it, in the space that it searches, and does not know its end."""
        return self.sessions >= self.space_since and i >= self.space_from and i not in self._unheard

    def _watch(self) -> int:
        """Kinds of records that Python must see; none of them in the plainest case."""
        watch = 0
        searcher = self.searcher
        hears_results = searcher is not None and type(searcher).on_trial_result is not Searcher.on_trial_result
        self._hears_reports = hears_results or "on_trial_result" in self.hooks  # those that wait are seen anyway
        stops = self.stopper is not None and self.stopper.asks_every_report
        self._shows_results = stops or "on_trial_result" in self.hooks  # nested, as users see them
        if self._hears_reports:
            watch |= REPORT_BIT
        watch |= SCORED
        hears_ends = searcher is not None or bool(self.hooks & {"on_trial_complete", "on_trial_error"})
        if self.asks or hears_ends or self.retention is not None:
            watch |= ENDS
        if self.chooses or self.hooks & {"on_trial_start", "on_trial_restore"}:
            watch |= STARTS
        return watch

    def contents(self, path: str) -> str | bytes:
        found = super().contents(path)
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
        if self.searcher is None:
            sizes = [len_or_none(variants) for variants in self.variants]
            if any(size is None for size in sizes):
                return None
            return self.space_from + sum(size for size in sizes if size is not None)
        samples = [one.num_samples for one in self.spec.trainables]
        return None if -1 in samples else self.space_from + sum(samples)

    @property
    def finished(self) -> bool:
        """Nothing runs, waits or can still be suggested."""
        table = self.table
        if table.running or self.phases.count(HANDED_OUT) or (self.stopping is None and (table.pending or table.paused)):
            return False
        return self.stopping is not None or self._exhausted()

    def _exhausted(self) -> bool:
        if self.searcher is not None:
            return self._searcher_done
        return all(len_or_none(v) == given for v, given in zip(self.variants, self._given_out, strict=True))

    def next_spans(self, n: int) -> Span | None:
        """Up to n trials that were never started, for an executor that computes configs itself."""
        if self.stopping is not None or n <= 0:
            return None
        if self._fresh_from >= len(self):
            self._suggest_block(n)
        while self._fresh_from < len(self) and self.table.status(self._fresh_from) != "PENDING":
            self._fresh_from += 1
        first = self._fresh_from
        chunk = self.chunk_of(first) if first < len(self) else None
        if chunk is None:
            return None
        limit = min(first + n, chunk.first + chunk.n)
        self._fresh_from = limit
        return Span(first, limit - first)

    def next_start(self) -> Start | Resume | None:
        """The next single trial to run: a retry, what the scheduler chooses, or a fresh one. None: nothing now."""
        if self.stopping is not None:
            return None
        if self.chooses:
            return self._chosen()
        if self.waiting:
            return self.start_of(self.waiting.popleft())
        if self._fresh_from >= len(self) and not self._suggest(1):
            return None
        trial = self._fresh_from
        self._fresh_from += 1
        return self.start_of(trial)

    def handed(self, start: Start | Resume) -> list[Entry]:
        """An executor has taken this start. What the journal is told of it, at any time: schedulers that choose ask who
        waits, and a replay shall tell them the same."""
        return [(0, 0, _core.encode(_core.KIND_CHOSEN, start.trial, time=self._now))] if self.chooses else []

    def put_back(self, start: Start | Resume) -> None:
        """There was no room for this start after all. A scheduler that chooses may choose another one this turn."""
        if self.chooses:
            self.phases.take_back(start.trial)
            self.shelf.back(start.trial)
            self._aside.add(start.trial)
        elif isinstance(start, Start):
            self.waiting.appendleft(start.trial)

    def end_choosing(self) -> None:
        """What could not be run this turn may be chosen again in the next one."""
        self._aside.clear()

    def _chosen(self) -> Start | Resume | None:
        if not self._exhausted() and not self.trials_of("PENDING", 1):
            self._suggest(1 if self.searcher is not None else LOOKAHEAD)
        while (trial := self._choose()) is not None:
            i = trial.index
            if i in self._aside:
                return None  # it insists on what cannot be run now
            status = self.status(i)
            if status not in ("PENDING", "PAUSED"):
                raise TuneError(
                    f"{type(self.scheduler).__name__}.choose_trial_to_run() chose {trial}, which is {status}: "
                    "only PENDING and PAUSED trials can be run"
                )
            if self.orders.blocks(i):
                self._aside.add(i)
                continue
            alive = self.phases.of(i) in (PAUSING, ALIVE, LEAVING)
            self.phases.choose(i)
            self._hold_no_more(i)
            return Resume(i, self.ask_from(i)) if alive else self.start_of(i)
        return None

    def _hold_no_more(self, i: int) -> None:
        """Trial i goes on; the searcher is told so if it was told that it waits for others."""
        if i in self._held_back:
            self._held_back.discard(i)
            if self.searcher is not None:
                self.times.call(self.searcher.on_unpause, self.trial_id(i))

    def _choose(self) -> Trial | None:
        table, orders, phases = self.table, self.orders, self.phases
        hidden = phases.count(HANDED_OUT) + len(self._aside) + len(orders.changes) + len(orders.ends)
        if table.pending + table.paused + phases.count(BEING_PAUSED) <= hidden - len(self._aside & orders.changes.keys()):
            return None
        self._choosing = True
        try:
            trial = self.times.call(self.scheduler.choose_trial_to_run, self.view)
        finally:
            self._choosing = False
        orders.hear()
        return trial

    def ask_from(self, i: int) -> int:
        """The report of trial i from which on the loop has to be asked."""
        if not self.asks:
            return _core.NEVER_ASK
        if self.waits_for_wishes or (self.stopper is not None and self.stopper.asks_every_report):
            return 0
        step = self.times.call(self.scheduler.ask_from, self.trials[i])
        return _core.NEVER_ASK if step >= _core.NEVER_ASK else max(0, math.ceil(step))

    def status(self, i: int) -> str:
        """As the journal has it, and what is on the way there: a trial that was handed out is RUNNING, one that was
        answered PAUSE is PAUSED. While the scheduler chooses, what cannot be run now is RUNNING to it."""
        if self.is_handed(i) or (self._choosing and (i in self._aside or self.orders.blocks(i))):
            return "RUNNING"
        return "PAUSED" if self.phases.is_in(i, BEING_PAUSED) else self.table.status(i)

    def is_handed(self, i: int) -> bool:
        """Trial i was handed out and is not known to have begun yet."""
        return self.phases.is_in(i, HANDED_OUT)

    def trials_of(self, status: str, most: int = -1) -> list[Trial]:
        phases = self.phases
        hidden = self._hidden() if status != "RUNNING" else {i for i in phases.those_in(BEING_PAUSED) if not self.is_handed(i)}
        found = self.table.of_status(status, most if most < 0 else most + len(hidden))
        if status == "RUNNING" and phases.count(HANDED_OUT):
            found = sorted({*found, *phases.those_in(HANDED_OUT)})
        elif status == "PAUSED" and phases.count(BEING_PAUSED):
            found = sorted({*found, *phases.those_in(BEING_PAUSED)})
        if hidden:
            found = [i for i in found if i not in hidden]
        return [self.trials[i] for i in (found if most < 0 else found[:most])]

    def _hidden(self) -> set[int]:
        """Trials that count as running although the table does not say so."""
        handed = self.phases.those_in(HANDED_OUT)
        return {*handed, *self._aside, *self.orders.changes, *self.orders.ends} if self._choosing else {*handed}

    def start_of(self, i: int) -> Start:
        """How to start trial i now: fresh, or from its newest checkpoint."""
        chunk = self.chunk_of(i)
        # what a worker cannot compute itself travels with the start
        computed = chunk is not None and chunk.variants.pure and i not in self._configs and i >= self.space_from
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
        if self.retention is not None:
            self._drop(self.retention.started(i, path))
        return Start(i, config, step, seconds, rung, path, *begun, standing)

    def start_point(self, i: int) -> tuple[str, int, float] | None:
        """(directory or name in memory, iteration, seconds so far) of the newest checkpoint that trial i has, or was
        given."""
        found = self.latest_checkpoint(i)
        if found is None:
            return None
        path, step = found
        origin = self._origins.get(i)
        if origin is not None and self.absolute(origin.path) == path:
            return path, step, origin.seconds
        return path, step, self._seconds_up_to(i, step)

    def _seconds_up_to(self, i: int, step: int) -> float:
        """time_total_s of trial i at a step."""
        if step == self.table.iteration(i):
            return self._seconds(i)
        known = self._saved_at.get(i)
        if known is not None and known[0] == step:
            return known[1]
        for result in self.results(i):
            if result["training_iteration"] == step:
                seconds: float = result["time_total_s"]
                return seconds
        return 0.0

    def is_class(self, i: int) -> bool:
        """Trial i is a class Trainable, which can be told to save."""
        return isinstance(self.spec.trainables[self.experiment_of(i)].trainable, type)

    def changed_request(self, i: int) -> PlacementGroupFactory | None:
        """The resources that trial i was changed to have; None: those of its trainable."""
        return self.resources(i) if i in self._requests else None

    def has_present_checkpoint(self, i: int) -> bool:
        """Trial i has a checkpoint of where it is now."""
        known = self._saved_at.get(i)
        return known is not None and known[0] == self.table.iteration(i)

    @property
    def reuses_processes(self) -> bool:
        return self.spec.reuse_actors

    def can_begin_again(self, trial: Trial) -> bool:
        """Whether a trial that just reported loses nothing if it goes on in another place: it saves when it is told to (a
        class), or this report came with a checkpoint."""
        return self.is_class(trial.index) or self.has_present_checkpoint(trial.index)

    # -- suggesting ---------------------------------------------------------------------------------------------------

    def _suggest(self, n: int) -> bool:
        return self._suggest_block(n) if self.searcher is None else self._suggest_one()

    def _suggest_block(self, n: int) -> bool:
        for k, variants in enumerate(self.variants):
            given, size = self._given_out[k], len_or_none(variants)
            m = n if size is None else min(n, size - given)
            if m > 0:
                payload = CONFIGS_HEAD.pack(k, given) + variants.block(given, m)
                first = len(self)
                self._record(_core.KIND_CONFIGS, first, m, payload)
                self._given_out[k] += m
                self._add(range(first, first + m))
                return True
        return False

    def _suggest_one(self) -> bool:
        """Ask the searcher for one config."""
        searcher = self.searcher
        if searcher is None or self._searcher_done:
            return False
        experiment = self._experiment_for()
        if experiment is None:
            self._searcher_done = True
            return False
        i = len(self)
        suggestion = self.times.call(searcher.suggest, self.trial_id(i))
        if suggestion is None:
            return False
        if suggestion == Searcher.FINISHED:
            self._searcher_done = True
            return False
        if not isinstance(suggestion, dict):
            raise TuneError(
                f"{type(searcher).__name__}.suggest() must return a dict, None or Searcher.FINISHED, "
                f"got {suggestion!r:.80}"
            )
        self._given_out[experiment] += 1
        config = merged(self.spec.trainables[experiment].space, suggestion)
        refuse_domains(config, f"{type(searcher).__name__}.suggest()")
        self.given[i] = config
        told = {"experiment": experiment, "config": config_to_json(config), "params": config_to_json(flatten(suggestion))}
        self._note_equal(i, config)
        self._record(_core.KIND_CONFIG, i, 0, json.dumps(told).encode())
        self._add(range(i, i + 1))
        return True

    def _note_equal(self, i: int, config: Any) -> None:
        if self.spec.on_duplicate == "reuse":
            key = comparable(config)
            first = i if key is None else self._first_with.setdefault(key, i)
            if key is not None and first != i and self.status(first) == "ERROR":
                first = self._first_with[key] = i
            self._equal[i] = first

    def known_result(self, i: int) -> tuple[dict[str, Any], int, float] | None:
        """What an earlier trial with the config of trial i has come to: metrics, iteration, seconds of training. None if
        there is no such trial, or it has not ended well."""
        j = self._equal.get(i, i)
        metrics = self.metrics(j) if j != i and self.status(j) == "TERMINATED" else None
        if metrics is None:
            return None
        return metrics, self.table.reported(j)[0], self.last_result(j)["time_total_s"]

    def _experiment_for(self) -> int | None:
        """Several experiments share a searcher: each gets its num_samples in turn. None: they all have them."""
        for k, one in enumerate(self.spec.trainables):
            if one.num_samples == -1 or self._given_out[k] < one.num_samples:
                return k
        return None

    def _add(self, numbers: range) -> None:
        if self.live and self._names:
            for i in numbers:
                self._tell(i)
        if self.asks:
            for i in numbers:
                self.times.call(self.scheduler.on_trial_add, self.view, self.trials[i])
                self.orders.hear()

    def _tell(self, i: int) -> None:
        """Ask the user's functions for the trial's name, folder and resources, and put the answers into the journal."""
        told: dict[str, Any] = {}
        spec, trial = self.spec, self.trials[i]
        if spec.trial_name_creator is not None:
            self._told[i] = told
            told["name"] = name_by(spec.trial_name_creator, trial).replace("/", "_")
        if spec.trial_name_creator is not None or spec.trial_dirname_creator is not None:
            own = spec.trial_dirname_creator
            folder = cleaned(name_by(own, trial)) if own is not None else self.trial_dirname(i)
            refuse_our_names(folder, "trial_dirname_creator" if own is not None else "trial_name_creator")
            told["dirname"] = folder if folder not in self._folders else f"{folder}_{self.trial_id(i)}"
            self._folders.add(told["dirname"])
        request = spec.trainables[self.experiment_of(i)].resources
        if callable(request):
            with suppress(Exception):  # costs this trial only, and is told when it is to start
                told["resources"] = request(self.config(i)).__reduce__()[1]
        self._record(_core.KIND_TOLD, i, 0, json.dumps(told).encode())

    # -- what happened ------------------------------------------------------------------------------------------------

    def handle(self, source: int, data: Any) -> None:
        """Fold what happened and decide; instructions, entries and happenings are left for the loop to fetch. A record that
        does not fit is an error: see ``fold_found``."""
        self.react(self.fold(source, data, self.watch))

    def react(self, events: Iterable[tuple[Any, ...]]) -> None:
        """Decide about what was folded. Who is tried again waits until all of it was seen, as in the journal, where what
        comes of a batch stands behind it."""
        self._reacting += 1
        try:
            for event in events:
                handler = self._HANDLERS.get(event[0])
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
        self._hold_no_more(i)
        self.orders.started(i)
        self._happen("on_trial_start", i)
        if event[0] == _core.KIND_START and i in self._restoring:
            self._restoring.discard(i)
            self._happen("on_trial_restore", i)

    def add_to_result(self, i: int, step: int, added: dict[str, Any]) -> None:
        """Callbacks have added this to the result of a step of trial i."""
        told = {str(key): kept_value(str(key), value) for key, value in added.items()}
        self._record(_core.KIND_TOLD, i, step, json.dumps({"added": told}).encode())

    def why_no_wish(self, i: int, step: int) -> str | None:
        """Why a class Trainable cannot save on the wish of a callback that was told of this step; None: it can."""
        if not self.is_class(i):
            return "functions save what they report with a checkpoint"
        if not self.waits_for_wishes:
            return (
                "its trials do not wait for it. Write `asks_for_checkpoints = True` into the callback's class, and their "
                "reports do"
            )
        waits = any(isinstance(one, Answer) and one.trial == i for one in self.instructions)
        if not waits or self.table.iteration(i) != step:
            return "the trial had ended with that report: checkpoint_at_end=True saves there"
        return None

    def _on_report(self, event: tuple[Any, ...]) -> None:
        _, i, flags, step, time, (schema, values, extra) = event
        decision = flags & 7
        if self.retention is not None and self.retention.waits_for(i, step):
            self._score(i, step, time, (schema, values, extra))
        if not self._hears_reports and decision != _core.WAIT:
            return
        told = i, self.metrics_of(schema, values, extra), step, time, self._time_before(i, time), False
        result = self.result_of(*told) if self._shows_results else {}
        # the searcher is handed the dict that the scheduler was, with what that tells it besides
        flat = self.flat_result_of(*told) if decision == _core.WAIT or self.searcher is not None else {}
        if decision == _core.WAIT:
            decision = self._answer(i, result, flat)
        if decision != _core.STOP and self.searcher is not None and self._hears(i):
            self.times.call(self.searcher.on_trial_result, self.trial_id(i), flat)
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
        if self.live:
            self.phases.step(i, DECIDING)
        decision = self._decide(i, result, flat)
        if decision == _core.PAUSE:
            if self.live:
                self.phases.step(i, ANSWERING)
            else:
                self.phases.put(i, PAUSING)
            if self.searcher is not None and self.scheduler.holds_back:
                self._held_back.add(i)
                self.times.call(self.searcher.on_pause, self.trial_id(i))
        if self.live:
            self.orders.hear()
            if decision == _core.PAUSE:
                self.phases.step(i, PAUSING)
            else:
                self.phases.rest(i)
            ask_from = self.ask_from(i) if decision == _core.CONTINUE else _core.NEVER_ASK
            self.instructions.append(Answer(i, decision, ask_from, self.orders.takes_due(i)))
        else:
            self.orders.hear()
            self._undone[i] = decision
        return decision

    def _on_paused(self, event: tuple[Any, ...]) -> None:
        i = event[1]
        self._undone.pop(i, None)
        if self.phases.of(i) == EARLY:  # it has been chosen again meanwhile
            self.phases.step(i, RETURNING)
        elif self.live:
            self.shelf.paused(i)
            self.orders.paused(i)
        else:
            self.phases.rest(i)

    def _decide(self, i: int, result: dict[str, Any], flat: dict[str, Any]) -> int:
        """Stop criteria first, then the scheduler."""
        if self.stopping is not None:
            return _core.STOP
        stopper = self.stopper
        if stopper is not None and stopper.asks_every_report and self.times.call(stopper, self.trial_id(i), result):
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

    def _on_end(self, event: tuple[Any, ...]) -> None:
        _, i, flags, _, _, _ = event
        self._leave(i)
        result = self.last_result(i)
        flat = flatten(result)
        if self.asks:
            if not flags & 7 and self.table.last(i) is not None:
                # a trial that ended by itself: seen as done
                self.times.call(self.scheduler.on_trial_result, self.view, self.trials[i], flat)
            if flags & _core.REMOVED:
                self.times.call(self.scheduler.on_trial_remove, self.view, self.trials[i])
            else:
                self.times.call(self.scheduler.on_trial_complete, self.view, self.trials[i], flat)
            self.orders.hear()
        self.orders.ended(i)
        if self.searcher is not None and self._hears(i):
            self.times.call(self.searcher.on_trial_complete, self.trial_id(i), flat, error=False)
        self._happen("on_trial_complete", i)

    def _leave(self, i: int, over: bool = True) -> None:
        """Trial i is over, or (``over=False``) this attempt of it."""
        self._told_at.pop(i, None)
        self._undone.pop(i, None)
        self._held_back.discard(i)
        self._flat.pop(i, None)
        if self.shelf.gone(i):
            self.tell_to_discard(i)
        if self.retention is not None:
            self._drop(self.retention.ended(i, over))

    def _on_checkpoint(self, event: tuple[Any, ...]) -> None:
        _, i, flags, step, _, path = event
        path = memory_name(i, path) if flags & _core.HELD else os.path.join(self.path, path)
        if self.retention is None and flags & _core.HELD:  # there is always a rule for those in memory
            self.retention = Retention(self.spec.checkpoint, self.spec.metric, self.spec.mode)
            self.watch |= ENDS
        if self.retention is not None:
            self._surplus.pop(path, None)  # written anew
            self._saved_by[path] = i
            self._drop(self.retention.saved(i, step, path))
            last = self.table.last(i)
            if last is not None and self.table.iteration(i) == step and self.retention.waits_for(i, step):
                self._score(i, step, self.table.times(i)[2], last)
        if self.live:
            self.orders.saved(i)
            self.shelf.saved(i)
            if "on_checkpoint" in self.hooks:
                self._happen("on_checkpoint", i, checkpoint=self.checkpoint_at(path))
        else:
            self.orders.saved_before(i)
        self._happen("on_trial_save", i)

    def _score(self, i: int, step: int, time: float, report: tuple[int, Any, bytes | None]) -> None:
        """The report that a checkpoint belongs to has come."""
        assert self.retention is not None
        attribute = self.retention.attribute or ""
        found = self.metrics_of(*report)
        if attribute not in found:  # one of those that every result has, or none
            found = self.result_of(i, found, step, time, self.table.times(i)[3], False)
        self._drop(self.retention.reported(i, step, number(found.get(attribute))))

    def _drop(self, paths: list[str]) -> None:
        """These checkpoints are not kept any more."""
        for path in paths:
            self._surplus[path] = None
            self.unlist(self._saved_by.pop(path), path)

    def _on_changed(self, event: tuple[Any, ...]) -> None:
        i = event[1]
        if self.shelf.gone(i):
            self.tell_to_discard(i)
        origin = self._origins.get(i)
        if self.retention is not None and origin is not None:
            self._drop(self.retention.started(i, self.absolute(origin.path)))
        self.orders.changed(i)

    def _on_error(self, event: tuple[Any, ...]) -> None:
        i = event[1]
        limit = self.spec.failure.max_failures
        again = self.stopping is None and (limit == -1 or self.table.failures(i) <= limit)
        again = again and i not in self.asked_to_stop
        self._leave(i, over=False)  # also when it is not tried again: a later session may go on with it
        if not self.live:
            self._errored.add(i)
            if self.asks:
                self.times.call(self.scheduler.on_trial_error, self.view, self.trials[i])
                self.orders.hear()
            return
        if self.asks:
            self.times.call(self.scheduler.on_trial_error, self.view, self.trials[i])
            self.orders.hear()
        self.orders.over(i)
        if again:
            self._again.append(i)
            return
        self.orders.ended(i)
        if self.searcher is not None and self._hears(i):
            flat = flatten(self.last_result(i)) or None
            self.times.call(self.searcher.on_trial_complete, self.trial_id(i), flat, error=True)
        self._happen("on_trial_error", i)
        if self.spec.failure.fail_fast and self.failed_fast is None:
            self.failed_fast = i
            self.stop_all(f"trial {self.trial_id(i)} failed and fail_fast is set")

    _HANDLERS: ClassVar[dict[int, Callable[[ExperimentState, tuple[Any, ...]], None]]] = {
        _core.KIND_START: _on_start,
        _core.KIND_RESUMED: _on_start,
        _core.KIND_REPORT: _on_report,
        _core.KIND_END: _on_end,
        _core.KIND_ERROR: _on_error,
        _core.KIND_CHECKPOINT: _on_checkpoint,
        _core.KIND_PAUSED: _on_paused,
        _core.KIND_CHANGED: _on_changed,
    }

    def requeue(self, i: int) -> None:
        """Trial i waits for another attempt."""
        self._record(_core.KIND_REQUEUED, i, 0)
        if self.asks:
            self.times.call(self.scheduler.on_trial_add, self.view, self.trials[i])
            self.orders.hear()
        if not self.chooses:
            self.waiting.append(i)

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
            "checkpoint": None if path is None else self.relative(path),
            "iteration": step,
            "seconds": seconds,
            "tag": change.tag,
            "resources": None if change.resources is None else change.resources.__reduce__()[1],
        }
        self._own(_core.KIND_CHANGED, i, self.table.iteration(i), json.dumps(told).encode())
        if change.config is not None:
            self.given[i] = self._fresh(change.config)  # with the objects that JSON cannot hold

    def hold(self, path: str) -> None:
        """A trial is going to be changed to go on from this checkpoint: it stays until ``let_go``."""
        if self.retention is not None:
            self.retention.hold(path)

    def let_go(self, path: str) -> None:
        """What ``hold`` kept may go, if nothing else keeps it."""
        if self.retention is not None:
            self._drop(self.retention.let_go(path))

    def tell_to_save(self, i: int) -> None:
        """Trial i, which is paused, is to save."""
        if self.live:
            self.instructions.append(SaveNow(i))

    def tell_to_discard(self, i: int) -> None:
        """The code of trial i, which was paused, is of no use any more."""
        if self.live:
            self.instructions.append(Discard(i))

    def take_back(self, i: int) -> None:
        """Trial i was paused in, or handed to, a process that has died before it could go on: it waits again."""
        self._wait_again(i)
        status = self.table.status(i)
        if status == "PAUSED":  # it goes on from its newest checkpoint
            self.shelf.gone(i)
            self.orders.over(i)
        elif status == "PENDING" and not self.chooses and i not in self.waiting:
            self.waiting.append(i)

    def _wait_again(self, i: int) -> None:
        """Trial i was handed out, and will not begin."""
        if self.phases.take_back(i) and self.chooses:
            self._keep(_core.encode(_core.KIND_CHOSEN, i, flags=_core.BACK, time=self._now))

    def stop_all(self, why: str) -> None:
        """Start nothing more and end what runs."""
        if self.stopping is not None:
            return
        self.stopping = why
        told = why.encode("utf-8", "backslashreplace")
        self._record(_core.KIND_DECISION, 0, 0, told, flags=_core.STOP)  # what ends from here on, no scheduler ended
        self.instructions = [
            one._replace(decision=_core.STOP) if isinstance(one, Answer) and one.decision == _core.CONTINUE else one
            for one in self.instructions
        ]  # who still waits for an answer does not go on first
        self.instructions.extend(Stop(i) for i in self.table.of_status("RUNNING"))

    def stop_trial(self, i: int, at_once: bool = False) -> None:
        """Somebody outside wants trial i to end: at its next report, as if its scheduler had stopped it there, or (``at_once``)
        without waiting for that. One that does not run ends now. The journal says that no scheduler has ended it."""
        if self.table.status(i) in OVER or (i in self.asked_to_stop and (self.asked_to_stop[i] or not at_once)):
            return
        if i not in self.asked_to_stop:
            self._record(_core.KIND_DECISION, i, 0, b"stopped from outside", flags=_core.STOP | ONE_TRIAL)
        self.asked_to_stop[i] = self._stops_due[i] = at_once
        self.tell_stops()

    def tell_stops(self) -> None:
        """Carry out what was asked of trials, as far as that can be had now."""
        for i, at_once in list(self._stops_due.items()):
            if self._is_told_to_stop(i, at_once):
                del self._stops_due[i]

    def _is_told_to_stop(self, i: int, at_once: bool) -> bool:
        status = self.table.status(i)
        if status in OVER:
            return True
        if self.is_handed(i) or self.phases.is_in(i, BEING_PAUSED):
            return False  # it begins, or is paused, in a moment; then it is told between two turns, as the journal will say
        if status == "RUNNING":
            self.instructions.append(Stop(i, not at_once))
        elif status == "PENDING" and not self.chooses and i not in self.waiting:
            return False  # a worker has it
        else:
            if i in self.waiting:
                self.waiting.remove(i)
            self.remove(i)
        return True

    @property
    def has_stops(self) -> bool:
        """There are trials that are still to be told to stop."""
        return bool(self._stops_due)

    def end_lacking(self, why: str) -> None:
        """No trial of this run can be compared with another one: what is reported has another name than its metric."""
        self.lacking = why
        self.stop_all(why)

    def end_running(self) -> None:
        """Trials that began while the run was being ended have ended with it."""
        for i in self.table.of_status("RUNNING"):
            self.end(i)

    def end_paused(self) -> None:
        """Paused trials that nobody will choose any more are over."""
        for i in self.table.of_status("PAUSED"):
            if not self.is_handed(i):
                self.remove(i)

    def end_waiting(self) -> None:
        """Trials that wait are over, if the experiment is: nobody will start them."""
        if self.all_over:
            for status in ("PENDING", "PAUSED"):
                for i in self.table.of_status(status):
                    self.remove(i)

    def validate(self) -> None:
        """AssertionError if what is known of trials contradicts itself: for tests, between two turns."""
        self.phases.validate()
        self.orders.validate()

    def poll_stoppers(self) -> None:
        """Ask the stopper about the whole experiment, once a turn."""
        if self.stopping is None and self.stopper is not None and self.times.call(self.stopper.stop_all):
            self.all_over = self.stopper.ends_for_good()
            self.stop_all(f"{type(self.stopper).__name__} says so")

    def take_surplus(self) -> list[str]:
        """Directories and names in memory of the checkpoints that are to be deleted."""
        surplus, self._surplus = self._surplus, {}
        return list(surplus)

    def take_entries(self) -> list[Entry]:
        entries, self.entries = self.entries, []
        return entries

    def take_instructions(self) -> list[Instruction]:
        instructions, self.instructions = self.instructions, []
        return instructions

    def take_happenings(self) -> list[Happening]:
        happened, self.happened = self.happened, []
        return happened

    def _happen(
        self,
        hook: str,
        i: int,
        result: dict[str, Any] | None = None,
        checkpoint: str | Checkpoint | None = None,
        step: int = 0,
    ) -> None:
        if hook in self.hooks and self.live:
            self.happened.append(Happening(hook, i, result, checkpoint, step))

    def _record(self, kind: int, trial: int, step: int, payload: bytes = b"", flags: int = 0) -> None:
        """An entry of the state's own: folded, and kept for the journal."""
        data = _core.encode(kind, trial, step, payload, flags, self._now)
        self.fold(0, data)
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        """An entry of the state's own, for the journal."""
        self.entries.append((0, 0, data))

    def _own(self, kind: int, trial: int, step: int, payload: bytes, flags: int = 0) -> None:
        """As :meth:`_record`, and handled as if a worker had said it."""
        data = _core.encode(kind, trial, step, payload, flags, self._now)
        self._keep(data)
        self.handle(0, data)

    # -- resuming -----------------------------------------------------------------------------------------------------

    def replay(
        self,
        entries: Iterator[tuple[int, int, bytes]],
        resume: ResumeConfig,
        left: Callable[[dict[int, int]], Iterable[Entry]],
        new_space: bool = False,
    ) -> None:
        """Fold an earlier session's journal, and what it has ``left`` in rings behind the positions where that ends;
        schedulers, searchers and stoppers see it again, in its order. What fits of the latter is in ``leftovers``. With
        ``new_space`` what comes from here on is of another space."""
        self.live, self.rereads = False, True
        positions: dict[int, int] = {}
        judged = self._judgements() if self.rule is not None and self.rule.kind != "none" and not self.asks else None
        watch = self.watch | ENDS | CHOICES | DECISIONS
        for source, position, data in entries:
            positions[source] = position
            events, fits = self.fold_found(source, data, watch)
            if fits is not data:
                self._fitting[source, position, crc32(data)] = fits
            if judged is not None:
                judged.add(source, fits)
            for event in events:
                self._replay(event)
        for event in self.take_leftovers(left(positions), positions, watch):
            self._replay(event)
        if judged is not None:
            for source, _, data in self.leftovers:
                judged.add(source, data)
        self._judged = judged
        self.live, self.rereads = True, False
        self.user_attrs.update(self.spec.user_attrs)
        self.wanted.begin_again(self._now)
        self._fresh_from = len(self)
        for k in range(len(self._given_out)):
            blocks = sum(c.n for c in self._chunks if c.experiment == k and c.first >= self.space_from)
            alone = sum(told["experiment"] == k for i, told in self._suggested.items() if i >= self.space_from)
            self._given_out[k] = blocks + alone
        for i, told in sorted(self._suggested.items()):
            self._note_equal(i, told["config"])
        for i in self.phases.those_in(HANDED_OUT):  # to a process that has ended before they began
            self._wait_again(i)
            self.phases.rest(i)
        self._forget_missing_checkpoints()
        self._do_what_was_decided()
        self._requeue_unfinished(resume)
        if new_space:
            self._take_new_space()
        self.orders.after_replay()

    def _replay(self, event: tuple[Any, ...]) -> None:
        kind = event[0]
        if kind == _core.KIND_CONFIGS:
            self._add(range(event[1], event[1] + event[3]))
        elif kind == _core.KIND_CONFIG:
            i = event[1]
            config = self._suggested_again(i)
            if i not in self._configs:  # else it was changed since
                self.given[i] = config
            self._add(range(i, i + 1))
        elif kind == _core.KIND_DECISION:
            if event[2] & ONE_TRIAL and 0 <= event[1] < len(self):
                self.asked_to_stop[event[1]] = True
        elif kind == _core.KIND_CHOSEN:
            if event[2] & _core.BACK:
                self.phases.take_back(event[1])
            elif 0 <= event[1] < len(self) and self.phases.of(event[1]) in CHOSEN:  # a stranger's journal may say anything
                self.phases.choose(event[1])
        elif kind == _core.KIND_REQUEUED:
            if event[2] & _core.FRESH and self.retention is not None:
                self._drop(self.retention.forget(event[1]))
            self._undone.pop(event[1], None)
            self.phases.rest(event[1])
            self.asked_to_stop.pop(event[1], None)
            if event[2] & _core.AGAIN:
                self._unheard.add(event[1])
                self._add_again(event[1])
            elif event[1] in self._errored:
                self._errored.discard(event[1])
                self._add_again(event[1])
        elif kind in self._HANDLERS:
            self._HANDLERS[kind](self, event)

    def _forget_missing_checkpoints(self) -> None:
        """Bring what the rule keeps, and the replay says was dropped, together with what is there: the earlier session
        may have had another rule, or was killed before it had deleted."""
        stored = self.storage.checkpoint_keys() if self.storage is not None else set()
        stored |= {key for name in self.unsaved if (key := memory_key(name)) is not None}

        def exists(path: str) -> bool:
            key = memory_key(path)
            return os.path.isdir(path) if key is None else key in stored

        kept = set(self.retention.kept) if self.retention is not None else set()
        self._surplus = {path: None for path in self._surplus if exists(path)}
        self._surplus |= {name: None for key in stored if (name := memory_name(*key)) not in kept}
        if self.retention is not None:
            self.retention.keep_only(exists)
        for path in [path for path in kept if memory_key(path) and not exists(path)]:
            self.unlist(self._saved_by.pop(path), path)

    def _add_again(self, i: int) -> None:
        if self.asks:
            self.times.call(self.scheduler.on_trial_add, self.view, self.trials[i])
            self.orders.hear()

    def _do_what_was_decided(self) -> None:
        """Decisions about reports that the journal has, and that the earlier session did not live to answer."""
        undone, self._undone = self._undone, {}
        for i in self.phases.those_in(BEING_PAUSED):
            self.phases.rest(i)
        asked, self.asked_to_stop = self.asked_to_stop, {}
        for i in sorted(asked):  # they are over, as whoever asked was promised
            if self.table.status(i) not in OVER:
                (self.end if self.table.status(i) == "RUNNING" else self.remove)(i)
        for i, decision in undone.items():
            if self.table.status(i) != "RUNNING":
                continue
            if decision == _core.STOP:
                self.end(i)
            elif decision == _core.PAUSE:
                self._record(_core.KIND_PAUSED, i, self.table.iteration(i))

    def _suggested_again(self, i: int) -> dict[str, Any]:
        """The config of trial i as the searcher, brought to where it was, makes it again; as the journal has it, if the
        two are not the same."""
        told: dict[str, Any] = self._suggested[i]["config"]
        if self.searcher is None or self.sessions < self.space_since:
            return told  # or it was made in another space
        again = self.searcher.replay(self.trial_id(i), unflatten_dict(self._suggested[i]["params"]))
        config = merged(self.spec.trainables[self._suggested[i]["experiment"]].space, again)
        if form_of(config) != form_of(told):
            return told
        self._in_texts.discard(i)
        return config

    def _restore_config(self, i: int, lost: dict[str, list[int]]) -> None:
        """Trial i is to be run again: what its config holds is not in the journal as it was, perhaps. Functions of the space
        are asked again."""
        chunk = self.chunk_of(i)
        if chunk is not None and i not in self._configs and i >= self.space_from:
            for name in chunk.variants.sample_again(chunk.local + i - chunk.first):
                lost.setdefault(f"{name!r}, which is sampled again", []).append(i)
        elif i in self._in_texts:
            lost.setdefault("an object, of which it gets the text", []).append(i)

    def _requeue_unfinished(self, resume: ResumeConfig) -> None:
        from fasttune.config import ResumeType

        wishes = {"TERMINATED": resume.finished, "ERROR": resume.errored}
        lost: dict[str, list[int]] = {}  # what of configs is not in the journal as it was, and whose
        for i in range(len(self)):
            status = self.table.status(i)
            wish = wishes.get(status, resume.unfinished)
            if wish == ResumeType.SKIP:
                if status in ("PENDING", "RUNNING", "PAUSED"):
                    self._record(_core.KIND_END, i, 0, flags=_core.STOP)
                if self.retention is not None and status != "ERROR":
                    self._drop(self.retention.ended(i))
                continue
            self._restore_config(i, lost)
            again = _core.AGAIN if status == "TERMINATED" else 0
            if wish == ResumeType.RESTART and (i in self._checkpoints or i in self._origins):
                if self.retention is not None:
                    self._drop(self.retention.forget(i))
                for _, path in self._checkpoints.get(i, ()):
                    self._surplus[self.absolute(path)] = None
                self._record(_core.KIND_REQUEUED, i, 0, flags=_core.FRESH | again)
            elif status == "PAUSED" and self.chooses and wish != ResumeType.RESTART:
                continue  # it stays so until it is chosen
            elif status != "PENDING":
                self._record(_core.KIND_REQUEUED, i, 0, flags=again)
            if again:
                self._unheard.add(i)
            if status in ("ERROR", "TERMINATED"):
                self._add_again(i)
            if not self.chooses:
                self.waiting.append(i)
        for i in self._on_given:  # what another trial goes on from stays
            self._surplus.pop(self.absolute(self._origins[i].path), None)
        for what, trials in lost.items():
            warnings.warn(
                f"{self.path}: the configs of {len(trials)} trials that go on (the first: {self.trial_id(trials[0])}) hold "
                f"{what}: the journal does not have it as it was, because it could not be pickled or unpickled, or is too large",
                RuntimeWarning,
                stacklevel=2,
            )

    def judgements(self) -> Iterable[Judgement]:
        """Each judgement of the compiled rule, in their order: those that the replay has met, or read again."""
        found, self._judged = self._judged, None
        if found is None:
            found = self._judgements()
            for source, _, data in self._entries():
                found.add(source, data)
        return found

    def _judgements(self) -> Judgements:
        return Judgements(self.metric, self.rule.smooth if self.rule is not None else 0)

    @classmethod
    def load(cls, path: str) -> ExperimentRecords:
        """The experiment in a folder, as it is on disk at this moment: its journal, and what is in rings and not in the
        journal yet. Writes nothing.

        Raises JournalError when there is none.
        """
        path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        copies = copied_rings(path)  # before the journal: what leaves them meanwhile is in it
        written = writer_of(path) is not None  # what it writes between two of our looks does not fit; it will at the next one
        records = ExperimentRecords.read(
            SqliteReader(path, fixed=True), path, lambda positions: left_in(path, copies, positions, quiet=written)
        )
        if not written:
            warn_of_unfit(path, records.take_unfit())
        return records


def warn_of_unfit(path: str, unfit: list[Unfit], kept: str = "") -> None:
    """Say once how many records were left out, and why the first of them was."""
    if not unfit:
        return
    warnings.warn(
        f"{path}: {len(unfit)} records do not fit what the journal says and were left out{kept}; the first: {unfit[0].why}",
        RuntimeWarning,
        stacklevel=3,
    )


def len_or_none(variants: Any) -> int | None:
    """Number of configs, None when there is no end."""
    size: int | None = variants.len
    return size


def merged(space: dict[str, Any], suggestion: dict[str, Any]) -> dict[str, Any]:
    """The constants of a space with a searcher's suggestion over them."""
    out = dict(space)
    for key, value in suggestion.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


def refuse_domains(config: dict[str, Any], who: str) -> None:
    """TuneError if something in a config is still to be sampled: a trial is never given a domain."""
    for path, left in domains_of(config):
        raise TuneError(
            f"{who} left {path_name(path)!r} to be sampled: a trial would be given {shown(left)} in place of a value. "
            "Usual cause: a domain in config that the searcher does not search, or a .sample() that is missing"
        )


def form_of(config: dict[str, Any]) -> str:
    """Equal for a config and what the journal has of it, an object that could not be kept as its text. Others may look the
    same: see ``comparable``."""
    return json.dumps(without_addresses(to_json_value(config)[0]), sort_keys=True)


__all__ = ["Answer", "ExperimentState", "JournalError", "Resume", "Span", "Start", "Stop", "Trial"]
