"""An experiment as its journal tells it: trials, configs, reports. What is looked at while it runs and after.

``ExperimentRecords`` folds entries of the journal into a TrialTable and answers for each trial (the TrialSource of
``trial.py``). It decides nothing: ``state.ExperimentState`` adds that.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar
from zlib import crc32

from fasttune import _core
from fasttune.checkpoint import Checkpoint, memory_key, memory_name
from fasttune.engine.configs import Configs
from fasttune.engine.facts import ONE_TRIAL, Changed, MachineTotals, Origin, Unfit
from fasttune.engine.meta import FORMAT, first_meta, read_session
from fasttune.engine.record_checks import (
    change,
    check_announced,
    check_told_by_trial,
    checkpoint_name,
    extras,
    is_request,
    naming,
    suggestion,
    variants_of,
)
from fasttune.engine.saves import Saves
from fasttune.error import IllegalTransitionError, JournalError, TrialFailedError
from fasttune.result import (
    CHECKPOINT_DIR_NAME,
    SHOULD_CHECKPOINT,
    ReportBlock,
    flatten,
    flattened_config,
    history,
    make_flat_result,
    make_result,
    reports_by_trial,
    results_of,
)
from fasttune.scope import DEFAULT_SCOPE
from fasttune.space.nested import fresh
from fasttune.trial import RUNNING, Trial, TrialFailure, Trials, folder_name, shown_status

if TYPE_CHECKING:
    from fasttune.devices.resources import PlacementGroupFactory
    from fasttune.engine.report_index import ReportIndex
    from fasttune.scope import Scope
    from fasttune.space.variants import Variants
    from fasttune.storage.base import Entry, Storage

TOLD = 1 << _core.KIND_TOLD | 1 << _core.KIND_DECISION
GOES_ON = frozenset([_core.KIND_META, _core.KIND_CONFIGS, _core.KIND_CONFIG])  # said by a run that has not been ended
ALIVE = ("PENDING", "RUNNING", "PAUSED")


class ExperimentRecords:
    """State of an experiment, folded from its journal.

    ``meta`` is what the journal says about the experiment; ``storage`` is read again when every report is asked for.
    """

    SAVES: ClassVar[type[Saves]] = Saves  # how checkpoints are looked for

    def __init__(self, meta: dict[str, Any], storage: Storage | None, path: str) -> None:
        if meta.get("format") != FORMAT:
            raise JournalError(f"this fasttune reads journals of format {FORMAT}, {path!r} has {meta.get('format')!r}")
        self.meta = meta
        self.storage = storage
        self.path = path
        self.name: str = meta["name"]
        self.metric: str | None = meta["metric"]
        self.mode: str | None = meta["mode"]
        self.objectives: dict[str, str] = objectives_told(meta)  # of a run with several metrics; {} with one
        self.scope: Scope = (meta.get("asked") or {}).get("scope", DEFAULT_SCOPE)  # which reports say who is best
        self.max_failures: int = meta.get("max_failures", 0)  # of the session whose records are folded
        self.machine: dict[str, float] = meta.get("machine", {})  # what the run has to give out: cpu, gpu, ...
        self.table = _core.TrialTable(self.metric)
        self.configs = Configs()
        self.sessions = 0  # records of later sessions that were asked something else
        self._session_requests: list[tuple[float, list[Any]]] = []  # when it began, and what trials then asked for
        self._told: dict[int, dict[str, Any]] = {}  # name, folder and resources where a user's function gave them
        self._additions: dict[int, tuple[int, dict[str, Any]]] = {}  # step, and what callbacks added to its result
        self.user_attrs: dict[str, Any] = dict((meta.get("asked") or {}).get("user_attrs", {}))  # of the run, by all sessions
        self._attributes: dict[int, dict[str, Any]] = {}  # of trials
        self._errors: dict[int, str] = {}
        self._stop_reasons: dict[int, str] = {}  # of trials that no scheduler ended
        self.ended_because: str | None = None  # why the run was ended before it had all its trials
        self._asked_trainables: list[Any] = meta["trainables"]  # of the latest session that says
        self._exceptions: dict[int, bytes] = {}
        self.saves = self.SAVES(self)
        self._flat: dict[int, tuple[dict[str, Any], str]] = {}  # of trials that run, see flat_result_of
        self._requests: dict[int, Any] = {}
        self._lineage: list[Changed] = []
        # of trials that were changed: time of the last report before it, and the config and the tag of that report
        self._before_change: dict[int, tuple[float, dict[str, Any], str]] = {}
        self._blocks: tuple[int, list[ReportBlock]] | None = None
        self._index: tuple[int, ReportIndex] | None = None
        self._looked_at = -1  # how many reports there were when one trial's were looked for
        self.unfit: list[Unfit] = []
        self.journal_ends: dict[int, int] = {}  # positions of the sources behind which they were left
        self._fitting: dict[tuple[int, int, int], Any] = {}  # what fits of stored entries that do not fit as a whole
        self.leftovers: list[Entry] = []  # what is still in rings: it was folded, and the journal does not have it
        self.interrupted = False
        self.rereads = True  # configs come from the journal: what functions of the space gave is taken from there
        self.unpickles = False  # whether objects in configs are made from what lies beside their texts: a run that goes on
        self.trials = Trials(self)

    # -- folding ----------------------------------------------------------------------------------------------------

    def fold(self, source: int, data: Any, watch: int = 0) -> list[tuple[Any, ...]]:
        """Fold records in; returns those that somebody watches (see ``TrialTable.apply``).

        For records of our own making: one that does not fit is an error. See :meth:`fold_found` for all others.
        """
        try:
            events = self.table.apply(data, source, watch | TOLD)
        except _core.IllegalTransition as error:
            raise IllegalTransitionError(f"{error}; its story: {self.story(error.trial)}") from error
        self._note(events)
        return events

    def fold_found(
        self, source: int, data: Any, watch: int = 0, recovered: bool = False
    ) -> tuple[list[tuple[Any, ...]], Any]:
        """Fold in what fits of records that somebody else has written, perhaps long ago; returns those that somebody
        watches, and what was folded. What does not fit is in ``unfit``: one bad record never costs the rest.

        ``recovered``: they come from a ring whose journal may have lost its end.
        """
        events, fits = self._fold_fitting(source, data, watch, recovered)
        self._note_found(source, events)
        return events, fits

    def _fold_fitting(self, source: int, data: Any, watch: int, recovered: bool) -> tuple[list[tuple[Any, ...]], Any]:
        unfit: list[tuple[int, int, int, str]] = []
        events = self.table.apply(data, source, watch | TOLD, unfit, recovered, self._check_announced)
        if not unfit:
            return events, data
        kept, behind = [], 0
        for offset, size, trial, why in unfit:
            self.unfit.append(Unfit(source, trial, why, bytes(data[offset : offset + size])))
            kept.append(bytes(data[behind:offset]))
            behind = offset + size
        return events, b"".join([*kept, bytes(data[behind:])])

    def _check_announced(self, trial: int, n: int, size: int) -> None:
        check_announced(trial, n, size, self.configs.variants, self.table.pending)

    def _note_found(self, source: int, events: list[tuple[Any, ...]]) -> None:
        for event in events:
            try:
                if source and event[0] == _core.KIND_TOLD:
                    check_told_by_trial(event[5], event[1])
                self._note([event])
            except JournalError as error:  # what is not known of a trial but its config, it can be shown without
                if event[0] in (_core.KIND_CONFIGS, _core.KIND_CONFIG):
                    raise
                self.unfit.append(Unfit(source, event[1], str(error), b""))

    def _note(self, events: list[tuple[Any, ...]]) -> None:
        for event in events:
            if event[0] in GOES_ON:
                self.ended_because = None
            note = self._NOTED.get(event[0])
            if note is not None:
                note(self, event)

    def take_unfit(self) -> list[Unfit]:
        """The records that did not fit since the last call."""
        unfit, self.unfit = self.unfit, []
        return unfit

    def _note_configs(self, event: tuple[Any, ...]) -> None:
        _, first, _, n, _, payload = event
        self.configs.add_block(first, n, payload, self.rereads, self.unpickles)

    def _note_session(self, event: tuple[Any, ...]) -> None:
        """A later session was asked something else: from here on, perhaps over another space."""
        told = read_session(event[5])
        self.sessions += 1
        self._asked_trainables = told["asked"]["trainables"]
        self.user_attrs.update(told["asked"].get("user_attrs", {}))
        if self.rereads:  # a run that goes on has one of its own
            self.scope = told["asked"].get("scope", self.scope)
        if isinstance(limit := told["asked"].get("max_failures"), int):
            self.max_failures = limit
        asked = [one.get("resources") for one in told["asked"]["trainables"] if "resources" in one]
        if all(map(is_request, asked)):
            self._session_requests.append((event[4], asked))
        if told.get("new_space"):
            self.configs.variants = self._variants_of(told["variants"])
            self.configs.space_from = len(self)

    def _variants_of(self, told: list[Any]) -> list[Any]:
        """The configs of a space by number, as the journal tells the space."""
        return variants_of(told, self.path)

    def _note_config(self, event: tuple[Any, ...]) -> None:
        told, whole = suggestion(event[5], event[1], len(self.meta["trainables"]), self.rereads and self.unpickles)
        self.configs.add_suggestion(event[1], told, whole)

    def _note_told(self, event: tuple[Any, ...]) -> None:
        if not 0 <= event[1] < len(self):
            raise JournalError(f"something is told of trial {event[1]}, and there are {len(self)}")
        told = naming(event[5], event[1])
        if told.get("added") is not None:
            self._additions[event[1]] = event[3], told["added"]
        elif told.get("attributes") is not None:
            self._attributes.setdefault(event[1], {}).update(told["attributes"])
        else:
            self._told[event[1]] = told

    def _note_error(self, event: tuple[Any, ...]) -> None:
        self._errors[event[1]] = event[5]
        self._hear_failure(event[1], event[5])

    def _hear_failure(self, trial: int, text: str) -> None:
        """A trial failed; for who tells that at once."""

    def _note_decision(self, event: tuple[Any, ...]) -> None:
        """A trial alone was ended, or the run."""
        said = bytes(event[5]).rstrip(b"\0").decode("utf-8", "replace")
        if event[2] & ONE_TRIAL:
            self._stop_reasons[event[1]] = said
        else:
            self.ended_because = said or None

    def _note_exception(self, event: tuple[Any, ...]) -> None:
        if not self.rereads:  # only what came from this run's own workers is ever unpickled
            self._exceptions[event[1]] = event[5]

    def _note_checkpoint(self, event: tuple[Any, ...]) -> None:
        _, trial, flags, step, _, path = event  # of one in memory: its place
        if flags & _core.HELD:
            if not self.saves.may_count(trial, path):
                return
            path = memory_name(trial, path)
        else:
            checkpoint_name(path, trial)
        if step == self.table.iteration(trial):
            seconds = self._seconds(trial)
        else:  # its report is not there yet, or others are
            started, _, _, _, base_total, _ = self.table.times(trial)
            seconds = base_total + event[4] - started
        self.saves.add(trial, step, path, seconds)

    def _note_requeued(self, event: tuple[Any, ...]) -> None:
        self._stop_reasons.pop(event[1], None)
        if event[2] & _core.FRESH:
            self.saves.forget(event[1])

    def _note_changed(self, event: tuple[Any, ...]) -> None:
        _, trial, _, step, time, text = event
        told, whole = change(text, trial, len(self), self.rereads and self.unpickles)
        before = self.config(trial)
        reported_at = self.table.reported(trial)[2]
        if self._before_change.get(trial, (math.nan,))[0] != reported_at:
            self._before_change[trial] = reported_at, before, self.experiment_tag(trial)
        self._flat.pop(trial, None)
        self.configs.change(trial, told["config"], told["tag"], whole)
        if told["resources"] is not None:
            self._requests[trial] = told["resources"]
        given = told["checkpoint"]
        self.saves.change(trial, None if given is None else Origin(given, told["iteration"], told["seconds"]))
        self._lineage.append(
            Changed(time, trial, step, told["donor"], told["iteration"], before, self.config(trial))
        )

    _NOTED: ClassVar[dict[int, Callable[[ExperimentRecords, tuple[Any, ...]], None]]] = {
        _core.KIND_CONFIGS: _note_configs,
        _core.KIND_CONFIG: _note_config,
        _core.KIND_TOLD: _note_told,
        _core.KIND_ERROR: _note_error,
        _core.KIND_EXCEPTION: _note_exception,
        _core.KIND_DECISION: _note_decision,
        _core.KIND_CHECKPOINT: _note_checkpoint,
        _core.KIND_REQUEUED: _note_requeued,
        _core.KIND_CHANGED: _note_changed,
        _core.KIND_META: _note_session,
    }

    @classmethod
    def read(
        cls, storage: Storage, path: str, left_in_rings: Callable[[dict[int, int]], Iterable[Entry]] = lambda _: ()
    ) -> ExperimentRecords:
        """Fold a whole journal, and what the rings hold behind the positions where it ends. JournalError when it does not
        begin as one."""
        entries = iter(storage.read())
        meta = first_meta(entries, path)
        records = cls(meta, storage, path)
        records.configs.variants = records._variants_of(meta["variants"])
        records.saves.count_only(storage.checkpoint_keys())
        for _ in records.fold_journal(entries):
            pass
        for _ in records.take_leftovers(left_in_rings(records.journal_ends), records.journal_ends):
            pass
        return records

    def fold_journal(
        self, entries: Iterable[Entry], watch: int = 0
    ) -> Iterator[tuple[int, Any, list[tuple[Any, ...]]]]:
        """Fold what is stored; of each entry its source, what of it fits, and the records that somebody watches."""
        self.journal_ends = {}
        for source, position, data in entries:
            self.journal_ends[source] = position
            events, fits = self.fold_found(source, data, watch)
            if fits is not data:
                self._fitting[source, position, crc32(data)] = fits
            yield source, fits, events

    def take_leftovers(
        self, entries: Iterable[Entry], positions: dict[int, int], watch: int = 0, in_turns: bool = False
    ) -> Iterator[tuple[Any, ...]]:
        """Fold what is left in rings behind these positions of the journal; the records that somebody watches. What fits is
        kept in ``leftovers``, without the checkpoints that it holds, which are in ``saves.unsaved``.

        ``in_turns``: what came of a later turn of the loop is folded when what came before was seen, as it was then."""
        self.journal_ends = positions
        for source, position, data in entries:
            kept: list[Any] = []
            for part in turns_of(data) if in_turns else (data,):
                events, fits = self._fold_fitting(source, part, watch, True)
                rest, held = _core.without_held(fits)  # one that does not fit would take the place of one that does
                self.saves.take_held(held)
                self._note_found(source, events)
                kept.append(rest)
                yield from events
            if any(map(len, kept)):
                self.leftovers.append((source, position, kept[0] if len(kept) == 1 else b"".join(kept)))

    def story(self, trial: int) -> str:
        """The records of one trial, as text."""
        names = {value: name[5:] for name, value in vars(_core).items() if name.startswith("KIND_")}
        told = []
        for _, _, data in self._entries():
            for kind, flags, _, number, step, _, _ in _core.decode(data):
                if number == trial and kind not in (_core.KIND_SCHEMA, _core.KIND_META, _core.KIND_CONFIGS):
                    told.append(f"{names.get(kind, kind)}(step={step}, flags={flags})")
        return " ".join(told[-40:]) or "nothing is stored of it yet"

    # -- answers about one trial (TrialSource) ------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.table)

    def asked_for(self) -> int | None:
        """How many trials there are to be; None where there is no end, or the journal does not say."""
        lengths = [variants.len for variants in self.configs.variants]
        if not lengths:
            lengths = [n if isinstance(n := one.get("num_samples"), int) and n >= 0 else None for one in self._asked_trainables]
        known = [n for n in lengths if n is not None]
        return max(len(self), self.configs.space_from + sum(known)) if len(known) == len(lengths) else None

    @property
    def is_over(self) -> bool:
        """Nothing is left to be done: all trials that were asked for have ended, or the run was ended for a reason of its own, with
        all that it had begun."""
        if self.table.finished < len(self):
            return False
        return self.ended_because is not None or len(self) >= (self.asked_for() or 0)

    def stretches(self) -> Iterator[tuple[int, int, int, int, Variants]]:
        """See :meth:`Configs.stretches`; of a data frame's source."""
        return self.configs.stretches()

    def singular_trials(self) -> set[int]:
        """Trials of which something is known that their block does not tell: a name, a folder, another config or tag."""
        return {*self.configs.singular(), *self._told, *self._before_change}

    def told_more(self) -> set[int]:
        """Trials whose last result may say more than what they reported: checkpoints, what callbacks added."""
        return {*self.saves.savers(), *self._additions, *self._before_change}

    def experiment_of(self, i: int) -> int:
        """Number of the experiment (of several in one run) that trial i belongs to."""
        return self.configs.experiment_of(i)

    def trial_id(self, i: int) -> str:
        return f"{self.meta['prefix']}_{i:05d}"

    def index_of(self, trial_id: str) -> int:
        """Number of a trial by its id; KeyError."""
        prefix, _, number = trial_id.rpartition("_")
        if prefix != self.meta["prefix"] or not number.isdigit() or int(number) >= len(self):
            raise KeyError(f"no trial {trial_id!r} in {self.name!r}: ids run from {self.trial_id(0)} on")
        return int(number)

    def trainable_name(self, i: int) -> str:
        name: str = self.meta["trainables"][self.experiment_of(i)]["name"]
        return name

    def config(self, i: int) -> dict[str, Any]:
        return self.configs.config(i)

    def evaluated_params(self, i: int) -> dict[str, Any]:
        return self.configs.params(i)

    def experiment_tag(self, i: int) -> str:
        return self.configs.tag(i)

    def last_tag(self, i: int) -> str:
        """The experiment tag in the last result of trial i: that of before, if it was changed and has not reported since."""
        since, _, tag = self._before_change.get(i, (math.nan, {}, ""))
        return tag if since == self.table.reported(i)[2] else self.experiment_tag(i)

    def status(self, i: int) -> str:
        return self.table.status(i)

    def is_run(self) -> bool:
        """Whether a process runs it at this moment, as the lock of its folder says."""
        from fasttune.storage.recovery import writer_of

        return bool(self.path) and writer_of(self.path) is not None

    def shown_statuses(self) -> tuple[str, ...]:
        """What people are told of each status, by its number in ``table.export("status")``."""
        runs = not self.table.running or self.is_run()
        return tuple(shown_status(status, runs) for status in _core.STATUSES)

    def shown_status(self, i: int) -> str:
        """What people are told of trial i's status."""
        status = self.status(i)
        return status if status != RUNNING else shown_status(status, self.is_run())

    def shown_counts(self) -> dict[str, int]:
        """How many trials people are told are of which status; without those that none is of."""
        names = dict(zip(_core.STATUSES, self.shown_statuses(), strict=True))
        return {names[status]: n for status, n in self.table.counts().items() if n}

    def metrics(self, i: int) -> dict[str, Any] | None:
        """What trial i reported last, flattened; None before its first report."""
        last = self.table.last(i)
        return None if last is None else self.metrics_of(*last)

    def metrics_of(self, schema: int, values: Iterable[float], extra: bytes | None) -> dict[str, Any]:
        """A report's metrics, flattened, as the user gave them."""
        told = self.table.schemas[schema]
        found: dict[str, Any] = {}
        for key, kind, value in zip(told.keys, told.kinds, values, strict=True):
            if key == _core.SCORE:  # what it is compared by: no metric
                continue
            if kind == 105 and value == value:  # "i"
                found[key] = int(value)
            else:
                found[key] = value != 0.0 if kind == 98 else value  # "b"
        if extra is not None:
            found.update(extras(extra))
        return found

    def result_of(
        self, i: int, metrics: dict[str, Any], step: int, time: float, previous: float, done: bool
    ) -> dict[str, Any]:
        """A report as users see it."""
        told = self._told_of(i, step, time, previous, done)
        since, config, tag = self._before_change.get(i, (math.nan, None, ""))
        if config is None or since != time:  # it was not changed, or has reported since
            config, tag = self.config(i), self.experiment_tag(i)
        result = make_result(metrics, config=fresh(config), experiment_tag=tag, **told)
        self._tell_checkpoint(i, step, result)
        return result

    def _tell_checkpoint(self, i: int, step: int, result: dict[str, Any]) -> None:
        """Say in a result of trial i that it came with a checkpoint, if it did and that is kept."""
        for saved_at, path, _ in reversed(self.saves.of(i)):
            if saved_at == step:
                result.setdefault(CHECKPOINT_DIR_NAME, None if memory_key(path) else os.path.basename(path))
                result.setdefault(SHOULD_CHECKPOINT, True)
            if saved_at <= step:
                return

    def flat_result_of(
        self, i: int, metrics: dict[str, Any], step: int, time: float, previous: float, done: bool
    ) -> dict[str, Any]:
        """``flatten(result_of(...))``, as schedulers and searchers see a report. They see many of each trial: its config
        and its tag are looked up once."""
        flat, tag = self._flat.get(i) or self._flatten(i)
        told = self._told_of(i, step, time, previous, done)
        return make_flat_result(metrics, flat, experiment_tag=tag, **told)

    def _flatten(self, i: int) -> tuple[dict[str, Any], str]:
        """The config of trial i, flattened, and its tag; remembered until either may be another one."""
        flat, tag = flattened_config(self.config(i)), self.experiment_tag(i)
        if not any(isinstance(value, list | dict) for value in flat.values()):  # nobody can change what others see
            self._flat[i] = flat, tag
        return flat, tag

    def _told_of(self, i: int, step: int, time: float, previous: float, done: bool) -> dict[str, Any]:
        """What a result says besides metrics, config and tag."""
        _, started, _, _, base_total, base_iteration, pid = self.table.reported(i)
        return {
            "step": step,
            "time": time,
            "started": started,
            "previous": previous,
            "trial_id": self.trial_id(i),
            "pid": pid or self.meta.get("pid", 0),
            "hostname": self.meta["hostname"],
            "node_ip": "127.0.0.1",
            "restored_step": base_iteration,
            "restored_time": base_total,
            "done": done,
        }

    def last_result(self, i: int) -> dict[str, Any]:
        """The last report of trial i, all of it from one report: one that has begun again, from a checkpoint of its own or
        another's, keeps it until it reports."""
        metrics = self.metrics(i)
        if metrics is None and self.table.attempt(i) == 0:
            return {}
        step, _, time, previous, *_ = self.table.reported(i)
        done = self.table.status(i) == "TERMINATED"
        if metrics is None:
            ended = self.table.times(i)[1]
            return self.result_of(i, {}, step, ended or time, previous, done) if done else {}
        result = self.result_of(i, metrics, step, time, previous, done)
        added = self._additions.get(i)
        if added is not None and added[0] == step:
            result.update((key, value) for key, value in added[1].items() if key not in result)
        return result

    def results(self, i: int) -> list[dict[str, Any]]:
        index = self._report_index()
        if index is not None:
            return results_of(index.reports(i), self.last_result(i))
        columns = _core.ReportColumns()
        for source, _, data in self._entries():
            columns.add(data, source, i)
        reports = reports_by_trial(as_blocks(columns)).get(i, [])
        return results_of(history(reports), self.last_result(i))

    def failure(self, i: int) -> TrialFailure | None:
        if i not in self._errors:
            return None
        text = self._errors[i]
        return TrialFailure(text, self._exception(i, text), self.table.failures(i))

    def _exception(self, i: int, text: str) -> BaseException:
        """The exception itself when it happened in this very run; from disk only its text is ever used."""
        if i in self._exceptions and not self.rereads:
            import pickle

            try:
                exception = pickle.loads(self._exceptions[i])
                if isinstance(exception, BaseException):
                    return exception
            except Exception:  # an exception that cannot be unpickled arrives as text
                pass
        return TrialFailedError(f"trial {self.trial_id(i)} failed:\n{text}", text)

    def stop_reason(self, i: int) -> str | None:
        """Why trial i was ended, if neither it nor a scheduler did that."""
        return self._stop_reasons.get(i)

    def stop_causes(self) -> dict[str, int]:
        """What ended trials, if neither they nor a scheduler did that (``trial_timeout_s=60``), and how many."""
        return dict(Counter(said.partition(":")[0] for said in self._stop_reasons.values()))

    def num_failures(self, i: int) -> int:
        return self.table.failures(i)

    def resources(self, i: int) -> PlacementGroupFactory:
        from fasttune.devices.resources import PlacementGroupFactory

        told = self._requests.get(i) or self._request_of(i) or self._told.get(i, {}).get("resources")
        return PlacementGroupFactory(*told) if told else PlacementGroupFactory([{"CPU": 1}])

    def _request_of(self, i: int) -> Any:
        """What trials of its kind asked for in the session in which trial i began last, or will begin."""
        experiment = self.experiment_of(i)
        found = self.meta["trainables"][experiment].get("resources")
        begun = self.table.times(i)[0] if self._session_requests and self.table.status(i) != "PENDING" else math.inf
        for since, requests in self._session_requests:
            if since <= begun and experiment < len(requests):
                found = requests[experiment]
        return found

    def trial_name(self, i: int) -> str:
        """The name that the user's function gave, or "<trainable>_<trial id>"."""
        return self._told.get(i, {}).get("name") or f"{self.trainable_name(i)}_{self.trial_id(i)}"

    def attributed(self) -> list[int]:
        """The trials to which something was attached."""
        return sorted(self._attributes)

    def attributes_of(self, i: int) -> dict[str, Any]:
        """What was attached to trial i, see ``user_attrs``."""
        return self._attributes.get(i, {})

    def trial_dirname(self, i: int) -> str:
        """The name of the trial's folder in that of the experiment."""
        return self._told.get(i, {}).get("dirname") or folder_name(self.trial_name(i), self.configs.tag_as_suggested(i))

    @property
    def options(self) -> dict[str, Any]:
        """What the run was asked that its trials show: how they save, where they log."""
        found = self.meta.get("options")
        return found if isinstance(found, dict) else {}

    def saved(self, i: int) -> list[str | Checkpoint]:
        """The checkpoints of trial i that are kept, oldest first, without a look at its reports."""
        return [self.saves.at(one.path) for one in self.saves.present(i)]

    def checkpoints(self, i: int) -> list[tuple[str | Checkpoint, dict[str, Any]]]:
        kept = [(one.step, one.path) for one in self.saves.present(i)]
        if not kept:
            return []
        index = self._report_index()
        if index is not None:
            results = index.results_at(i, [step for step, _ in kept], self.last_result(i))
        else:
            results = {result["training_iteration"]: result for result in self.results(i)}
        found: list[tuple[str | Checkpoint, dict[str, Any]]] = []
        later = kept[-1][0] + 1  # the lowest step of those behind it
        for step, path in reversed(kept):
            # One that the trial went back behind belongs to a report that was taken back: that of its step is another one.
            found.append((self.saves.at(path), results.get(step, {}) if step < later else {}))
            later = min(later, step)
        return found[::-1]

    def lineage(self) -> list[Changed]:
        """Which trials were changed, in order: who copied whom, when, and what changed."""
        return list(self._lineage)

    def _seconds(self, i: int) -> float:
        """time_total_s of trial i at its last report."""
        return self.seconds_at(i, self.table.times(i)[2])

    def seconds_at(self, i: int, moment: float) -> float:
        """How long trial i has run at a moment of its latest attempt, those before it included as far as it goes on from them."""
        started, _, _, _, base_total, _ = self.table.times(i)
        return base_total + moment - started

    # -- answers about all trials -------------------------------------------------------------------------------------

    def get_trial(self, trial_id: str) -> Trial:
        """The trial of an id; KeyError."""
        return self.trials[self.index_of(trial_id)]

    def get_trials(self) -> Trials:
        """All trials, for schedulers written for Ray Tune, whose first argument has this method."""
        return self.trials

    @property
    def trial_executor(self) -> ExperimentRecords:
        """For allocation functions written for Ray Tune 1.x, which ask it how much there is."""
        return self

    @property
    def _resource_updater(self) -> MachineTotals:
        return MachineTotals(self.machine)

    def get_live_trials(self) -> list[Trial]:
        """The trials that are not over yet."""
        alive = (self.trials_of(status) for status in ALIVE)
        return sorted((trial for found in alive for trial in found), key=lambda trial: trial.index)

    def trials_of(self, status: str, most: int = -1) -> list[Trial]:
        """The first ``most`` trials of a status."""
        return [self.trials[i] for i in self.table.of_status(status, most)]

    def report_blocks(self) -> list[ReportBlock]:
        reports = self.table.reports
        if self._blocks is None or self._blocks[0] != reports:
            columns = _core.ReportColumns()
            for source, _, data in self._entries():
                columns.add(data, source)
            blocks = as_blocks(columns)
            if sum(memoryview(block.time).nbytes for block in blocks) != 8 * reports:  # what is folded is not all stored yet
                return blocks
            self._blocks = reports, blocks
        return self._blocks[1]

    def _report_index(self) -> ReportIndex | None:
        """Where the reports of each trial are; None while only one trial has been looked at since the last report: its
        own are found by one reading, which keeps nothing in memory."""
        reports = self.table.reports
        if self._index is None or self._index[0] != reports:
            if self._looked_at != reports:
                self._looked_at = reports
                return None
            from fasttune.engine.report_index import ReportIndex

            self._index = reports, ReportIndex(self.report_blocks())
        return self._index[1]

    def _entries(self) -> Iterator[tuple[int, int, bytes]]:
        """All that was folded, as it is stored and as it was left in rings."""
        positions: dict[int, int] = {}
        for source, position, data in self.storage.read() if self.storage is not None else ():
            positions[source] = position
            if self._fitting:
                data = self._fitting.get((source, position, crc32(data)), data)
            yield source, position, data
        for source, position, data in self.leftovers:
            if positions.get(source, 0) == self.journal_ends.get(source, 0):  # else somebody has taken them over since
                yield source, position, data


def objectives_told(meta: dict[str, Any]) -> dict[str, str]:
    """The metrics of a run that has several, and their modes, as its journal says; {} where it says nothing that can be."""
    told = (meta.get("asked") or {}).get("objectives")
    known = isinstance(told, dict) and all(mode in ("min", "max") for mode in told.values())
    return dict(told) if isinstance(told, dict) and known else {}


def as_blocks(columns: _core.ReportColumns) -> list[ReportBlock]:
    """ReportBlocks of compiled columns, the JSON of each extra parsed and flattened."""
    found = []
    for keys, kinds, trial, step, time, values, texts in columns.blocks():
        shown = len(keys) - (_core.SCORE in keys[-1:])  # what reports are compared by is no metric
        more = {row: flatten(extras(text)) for row, text in texts.items()}
        found.append(ReportBlock(keys[:shown], kinds[:shown], trial, step, time, values[:shown], more))
    return found


def turns_of(data: Any) -> Iterator[Any]:
    """What a ring has left, in the parts in which the loop had it."""
    begun = 0
    for end in (*_core.ends_of_turns(data), len(data)):
        yield memoryview(data)[begun:end]
        begun = end
