"""A trial as people, schedulers and callbacks see it: a view that is made when somebody looks.

Nothing here stores a trial. A source (the live ExperimentState, the same folded from a journal, a Snapshot)
answers for the trial of an index; ``Trial`` gives those answers the names of Ray Tune's Trial.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, overload
from weakref import WeakValueDictionary

from fasttune.checkpoint import Checkpoint
from fasttune.error import TrialFailedError
from fasttune.failure import read_reason, with_traceback
from fasttune.folder import ERROR_TXT, LONGEST_NAME, cut
from fasttune.plain_files import plain_opener
from fasttune.result import (
    AUTO_RESULT_KEYS,
    DEBUG_KEYS,
    DELIMITER,
    Metrics,
    Report,
    ReportBlock,
    flatten,
    number,
    reports_by_trial,
    results_of,
)
from fasttune.scope import DEFAULT_SCOPE

if TYPE_CHECKING:
    from fasttune.devices.resources import PlacementGroupFactory
    from fasttune.scope import Scope

PENDING = "PENDING"
RUNNING = "RUNNING"
PAUSED = "PAUSED"
TERMINATED = "TERMINATED"
ERROR = "ERROR"
STATUSES = (PENDING, RUNNING, PAUSED, TERMINATED, ERROR)
INTERRUPTED = "INTERRUPTED"  # a word of tables: under way when its run ended. A trial's ``status`` stays RUNNING, as Ray Tune's does


def shown_status(status: str, runs: bool) -> str:
    """What people are told of a status: without a process that ``runs`` the experiment, no trial of it runs."""
    return INTERRUPTED if status == RUNNING and not runs else status


MAX_FOLDER_NAME = 130  # characters, as in Ray Tune; file systems allow 255 bytes
LONGEST_TRIAL_NAME = 100  # bytes of it that are the trial's name


@dataclass(frozen=True)
class TrialFailure:
    """A trial's latest failure."""

    text: str  # traceback
    exception: BaseException | None  # None where only the text is left: after a restart, or not picklable
    count: int  # failures of this trial so far


class TrialSource(Protocol):
    """Answers for trials by index, 0 to len-1, in the order in which they were suggested.

    A source may also have ``trial_name(i)``, ``trial_dirname(i)`` (a user's own names), ``max_failures``,
    ``stopping_criterion``, ``scope``, ``options`` (what the run was asked, for its trials to show), ``user_attrs``,
    ``attributed()``, ``attributes_of(i)``, ``stop_reason(i)`` and ``saved(i)`` (the checkpoints
    alone); without them Trial uses its own.
    """

    @property
    def name(self) -> str: ...  # of the experiment
    @property
    def path(self) -> str: ...  # the experiment's folder
    @property
    def metric(self) -> str | None: ...
    @property
    def mode(self) -> str | None: ...  # "min" or "max"

    def __len__(self) -> int: ...
    def trial_id(self, i: int) -> str: ...
    def trainable_name(self, i: int) -> str: ...

    def config(self, i: int) -> dict[str, Any]:
        """What the trial got; a new nested dict each time."""
        ...

    def evaluated_params(self, i: int) -> dict[str, Any]:
        """Flat "a/b" -> value of everything that was sampled."""
        ...

    def experiment_tag(self, i: int) -> str: ...
    def status(self, i: int) -> str: ...

    def last_result(self, i: int) -> dict[str, Any]:
        """The latest report as ``make_result`` gives it; {} before the first one."""
        ...

    def results(self, i: int) -> list[dict[str, Any]]:
        """Every report that counts (see ``result.effective``), in order, each like ``last_result``. Slow."""
        ...

    def failure(self, i: int) -> TrialFailure | None: ...
    def num_failures(self, i: int) -> int: ...
    def resources(self, i: int) -> PlacementGroupFactory: ...

    def checkpoints(self, i: int) -> list[tuple[str | Checkpoint, dict[str, Any]]]:
        """(directory or checkpoint in memory, result it belongs to) of each checkpoint that is kept, oldest first."""
        ...

    def report_blocks(self) -> list[ReportBlock]:
        """Every report of the experiment, also those that were replaced after a restore."""
        ...


class Trial:
    """One trial of an experiment, under Ray Tune's names. Always shows the state of now.

    Two views are equal if they show the same trial of the same experiment folder. A pickled view becomes a
    snapshot of that moment.
    """

    __slots__ = ("__weakref__", "_index", "_source")

    PENDING = PENDING
    RUNNING = RUNNING
    PAUSED = PAUSED
    TERMINATED = TERMINATED
    ERROR = ERROR

    def __init__(self, source: TrialSource, index: int) -> None:
        self._source = source
        self._index = index

    @property
    def index(self) -> int:
        """Position of the trial in its experiment, from 0."""
        return self._index

    @property
    def trial_id(self) -> str:
        """Five characters that its experiment has, and its number: ``"3f2a1_00004"``."""
        return self._source.trial_id(self._index)

    @property
    def trainable_name(self) -> str:
        """What the function, the class or the registered trainable is called."""
        return self._source.trainable_name(self._index)

    @property
    def user_attrs(self) -> dict[str, Any]:
        """What :func:`fasttune.set_user_attr` has attached to the trial."""
        attributes_of = getattr(self._source, "attributes_of", None)
        return {} if attributes_of is None else _fresh(attributes_of(self._index))

    @property
    def experiment_tag(self) -> str:
        """Its number and what was sampled, in one line: ``"4_lr=0.0100"``."""
        return self._source.experiment_tag(self._index)

    @property
    def config(self) -> dict[str, Any]:
        """What the trial got; a new dict each time, so changing it changes nothing."""
        return self._source.config(self._index)

    @property
    def evaluated_params(self) -> dict[str, Any]:
        """Flat "a/b" -> value of everything that was sampled."""
        return self._source.evaluated_params(self._index)

    @property
    def placement_group_factory(self) -> PlacementGroupFactory:
        """What it asks for: CPUs, GPUs and the like."""
        return self._source.resources(self._index)

    @property
    def resources(self) -> PlacementGroupFactory:
        """The same as ``placement_group_factory``."""
        return self._source.resources(self._index)

    @property
    def max_failures(self) -> int:
        """How often the run tries a trial again that fails; -1: without limit."""
        return int(getattr(self._source, "max_failures", 0))

    @property
    def custom_trial_name(self) -> str | None:
        """The name that the run's ``trial_name_creator`` gave, if there was one."""
        usual = f"{self.trainable_name}_{self.trial_id}".replace("/", "_")
        return None if str(self) == usual else str(self)

    @property
    def log_to_file(self) -> tuple[str | None, str | None]:
        """Names of the files that its standard output and errors also go to; (None, None) if they do not."""
        found = self._option("log_to_file")
        return (str(found[0]), str(found[1])) if isinstance(found, list | tuple) and len(found) == 2 else (None, None)

    @property
    def stopping_criterion(self) -> dict[str, Any]:
        """The thresholds of the run's ``stop``: key of a result -> value that ends a trial when it is reached."""
        return dict(getattr(self._source, "stopping_criterion", None) or {})

    # ---- where it stands

    @property
    def status(self) -> str:
        """PENDING, RUNNING, PAUSED, TERMINATED or ERROR."""
        return self._source.status(self._index)

    def is_finished(self) -> bool:
        """True once the trial is TERMINATED or ERROR."""
        return self.status in (TERMINATED, ERROR)

    @property
    def last_result(self) -> dict[str, Any]:
        """The latest report, nested, with the auto-filled keys; {} before the first one."""
        return self._source.last_result(self._index)

    @property
    def node_ip(self) -> str | None:
        """The address of the machine, as its last result has it; None before the first."""
        found: str | None = self.last_result.get("node_ip")
        return found

    @property
    def metric_analysis(self) -> dict[str, dict[str, float]]:
        """{"a/b": {max, min, avg, last, last-5-avg, last-10-avg}} of every metric reported as number.

        Averages are over the reports that had the metric (Ray Tune divides by training_iteration); max and
        min leave NaN out.
        """
        return {name: statistics(values) for name, values in self._history().items()}

    @property
    def metric_n_steps(self) -> dict[str, dict[str, list[float]]]:
        """{"a/b": {"5": the last 5 values, "10": the last 10}}."""
        return {name: {"5": values[-5:], "10": values[-10:]} for name, values in self._history().items()}

    def _history(self) -> dict[str, list[float]]:
        history: dict[str, list[float]] = {}
        for result in self._source.results(self._index):
            shown = {k: v for k, v in result.items() if k not in DEBUG_KEYS}
            for name, value in flatten(shown).items():
                known = number(value)
                if known is not None:
                    history.setdefault(name, []).append(known)
        return history

    # ---- failures

    @property
    def num_failures(self) -> int:
        """How often it has failed."""
        return self._source.num_failures(self._index)

    def get_error(self) -> BaseException | None:
        """The latest failure: the trial's own exception, whose cause shows the trial's traceback, or a TrialFailedError with
        its text."""
        failure = self._source.failure(self._index)
        if failure is None:
            return None
        if failure.exception is not None:
            return with_traceback(failure.exception, failure.text)
        return TrialFailedError(f"trial {self.trial_id} failed: {read_reason(failure.text).what}", failure.text)

    @property
    def stop_reason(self) -> str | None:
        """Why the trial was ended, if neither it nor a scheduler or a stop criterion did that: "stopped from outside"
        (``fasttune stop``), or "trial_timeout_s=2: it had run for 2.1 s"."""
        said: str | None = getattr(self._source, "stop_reason", _nothing)(self._index)
        return said

    def get_pickled_error(self) -> BaseException | None:
        """The trial's own exception object, or None where only its text is left."""
        failure = self._source.failure(self._index)
        return None if failure is None else failure.exception

    @property
    def error_file(self) -> str | None:
        """Path of a text file with the traceback, written now if it is not there; None without a failure."""
        failure = self._source.failure(self._index)
        if failure is None:
            return None
        path = os.path.join(self.path, ERROR_TXT)
        text = f"Failure # {failure.count}\n{failure.text.rstrip()}\n"
        with suppress(OSError):  # a read-only experiment: the path is still where it would be
            _write_once(path, text)
        return path

    # ---- checkpoints

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The latest checkpoint."""
        saved = self._saved()
        if not saved:
            return None
        latest = saved[-1]
        return Checkpoint(latest) if isinstance(latest, str) else latest

    @property
    def latest_checkpoint_result(self) -> dict[str, Any] | None:
        """The result that the latest checkpoint belongs to."""
        saved = self._source.checkpoints(self._index)
        return saved[-1][1] if saved else None

    def has_checkpoint(self) -> bool:
        """Whether a checkpoint of it is kept."""
        return bool(self._saved())

    def _saved(self) -> Sequence[str | Checkpoint]:
        """The checkpoints that are kept, without the results they belong to if the source need not look for those."""
        saved: Callable[[int], Sequence[str | Checkpoint]] | None = getattr(self._source, "saved", None)
        return saved(self._index) if saved else [one for one, _ in self._source.checkpoints(self._index)]

    @property
    def checkpoint_freq(self) -> int:
        """A class saves every so many iterations; 0: never by count."""
        return int(self._option("checkpoint_freq") or 0)

    @property
    def checkpoint_at_end(self) -> bool:
        """Whether a class saves when it ends."""
        return bool(self._option("checkpoint_at_end"))

    @property
    def restore_path(self) -> str | None:
        """The checkpoint that every trial starts from, if that was asked."""
        found = self._option("restore_path")
        return found if isinstance(found, str) else None

    def _option(self, name: str) -> Any:
        options: dict[str, Any] = getattr(self._source, "options", {})
        return options.get(name)

    # ---- its folder

    @property
    def path(self) -> str:
        """The trial's folder, made if it is not there and the experiment's is."""
        folder = trial_folder(self._source, self._index)
        if os.path.isdir(self._source.path):
            with suppress(OSError):  # somebody else's read-only experiment can still be looked at
                os.makedirs(folder, exist_ok=True)
        return folder

    @property
    def logdir(self) -> str:
        """The same as ``path``."""
        return self.path

    @property
    def local_path(self) -> str:
        """The same as ``path``."""
        return self.path

    @property
    def local_experiment_path(self) -> str:
        """The experiment's folder."""
        return self._source.path

    @property
    def local_dir(self) -> str:
        """The experiment's folder."""
        return self._source.path

    # ---- identity

    def __str__(self) -> str:
        return trial_name(self._source, self._index)

    def __repr__(self) -> str:
        return f"<Trial {self} {self.status}>"

    def _repr_html_(self) -> str:
        from fasttune.html_table import facts_html, listed

        last = self.last_result
        facts = [
            ("status", getattr(self._source, "shown_status", self._source.status)(self._index)),
            ("iteration", str(last.get("training_iteration", 0))),
            ("last metrics", listed({name: value for name, value in flatten(last).items() if _is_own(name)})),
            ("config", listed(flatten(self.config))),
            ("folder", trial_folder(self._source, self._index)),
        ]
        error = self._source.failure(self._index)
        if error is not None:
            facts.append(("error", read_reason(error.text).what))
        return facts_html(str(self), facts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trial):
            return NotImplemented
        return self._index == other._index and self._source.path == other._source.path

    def __hash__(self) -> int:
        return hash((self._source.path, self._index))

    def __reduce__(self) -> tuple[type[Trial], tuple[TrialSource, int]]:
        return Trial, (Snapshot.of(self._source, [self._index]), self._index)


def _is_own(name: str) -> bool:
    """Whether a name of a flat result is one that the trial reported itself."""
    return name not in AUTO_RESULT_KEYS and not name.startswith(f"config{DELIMITER}")


def statistics(values: Sequence[float]) -> dict[str, float]:
    """max, min, avg, last, last-5-avg and last-10-avg of a metric's values (at least one)."""
    usable = [value for value in values if not math.isnan(value)] or values
    return {
        "max": max(usable),
        "min": min(usable),
        "avg": sum(values) / len(values),
        "last": values[-1],
        "last-5-avg": sum(values[-5:]) / len(values[-5:]),
        "last-10-avg": sum(values[-10:]) / len(values[-10:]),
    }


def trial_name(source: TrialSource, i: int) -> str:
    """ "<trainable>_<trial id>", or the name that the user's own naming gave."""
    named: Callable[[int], str] | None = getattr(source, "trial_name", None)
    text = named(i) if named else f"{source.trainable_name(i)}_{source.trial_id(i)}"
    return text.replace("/", "_")


_NOT_IN_FOLDER_NAMES = re.compile(r'[/()<>:"\\|?*]')


def trial_folder(source: TrialSource, i: int) -> str:
    """Path of the trial's folder; makes nothing. Trial ids are unique, so folder names need no date."""
    named: Callable[[int], str] | None = getattr(source, "trial_dirname", None)
    if named:
        return os.path.join(source.path, allowed_folder_name(named(i)))
    return os.path.join(source.path, folder_name(trial_name(source, i), source.experiment_tag(i)))


def folder_name(name: str, tag: str) -> str:
    """The usual name of a trial's folder. Of a long name the end stays, which tells trials apart."""
    if len(os.fsencode(name)) > LONGEST_TRIAL_NAME:
        name = cut(name, LONGEST_TRIAL_NAME - 20) + name[-20:]
    return allowed_folder_name(cut(f"{name}_{tag}"[:MAX_FOLDER_NAME], LONGEST_NAME))


def allowed_folder_name(name: str) -> str:
    """The name with what file systems or shells dislike replaced."""
    return _NOT_IN_FOLDER_NAMES.sub("_", name)


def _write_once(path: str, text: str) -> None:
    with suppress(FileNotFoundError), open(path, encoding="utf-8", opener=plain_opener) as file:
        if file.read() == text:
            return
    with open(path, "w", encoding="utf-8", opener=plain_opener) as file:
        file.write(text)


class Trials(Sequence[Trial]):
    """The trials of a source as a sequence. Views are made when looked at: a million trials cost nothing."""

    def __init__(self, source: TrialSource, indices: Sequence[int] | None = None) -> None:
        """``indices``: the trials that the sequence shows, in its order; by default all, also later ones."""
        self._source = source
        self._indices = indices
        self._views: WeakValueDictionary[int, Trial] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._source) if self._indices is None else len(self._indices)

    @overload
    def __getitem__(self, position: int) -> Trial: ...
    @overload
    def __getitem__(self, position: slice) -> Trials: ...
    def __getitem__(self, position: int | slice) -> Trial | Trials:
        indices = range(len(self._source)) if self._indices is None else self._indices
        if isinstance(position, slice):
            return Trials(self._source, indices[position])
        try:
            return self._view(indices[position])
        except IndexError:
            raise IndexError(f"trial {position} of an experiment of {len(indices)} trials") from None

    def __iter__(self) -> Iterator[Trial]:
        position = 0
        while position < len(self):  # trials may be added while somebody iterates
            yield self._view(position if self._indices is None else self._indices[position])
            position += 1

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, Trial) or value._source.path != self._source.path:
            return False
        return 0 <= value.index < len(self._source) if self._indices is None else value.index in self._indices

    def __repr__(self) -> str:
        shown = ", ".join(repr(trial) for trial in self[:3])
        return f"[{shown}{', ...' if len(self) > 3 else ''}] ({len(self)} trials)"

    def _view(self, index: int) -> Trial:
        view = self._views.get(index)
        if view is None:
            view = self._views[index] = Trial(self._source, index)
        return view

    def __reduce__(self) -> tuple[type[Trials], tuple[TrialSource, Sequence[int]]]:
        indices = list(range(len(self._source))) if self._indices is None else list(self._indices)
        return Trials, (Snapshot.of(self._source, indices), indices)


@dataclass(eq=False, repr=False)
class TrialRow:
    """What a snapshot keeps of one trial."""

    trial_id: str
    trainable_name: str
    config: dict[str, Any]
    evaluated_params: dict[str, Any]
    experiment_tag: str
    status: str
    last_result: dict[str, Any]
    failure: TrialFailure | None
    num_failures: int
    resources: Any
    checkpoints: list[tuple[str | Checkpoint, dict[str, Any]]]
    name: str
    folder: str
    attributes: dict[str, Any]
    stop_reason: str | None = None


@dataclass(eq=False, repr=False)
class Snapshot:
    """A TrialSource of plain values: what is left of an experiment when its trials are pickled."""

    name: str
    path: str
    metric: str | None
    mode: str | None
    scope: Scope
    rows: dict[int, TrialRow] = field(repr=False)  # by trial index
    blocks: list[ReportBlock] = field(repr=False)  # empty for a few trials: their results are kept instead
    kept_results: dict[int, list[dict[str, Any]]] = field(repr=False)
    interrupted: bool = False
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    user_attrs: dict[str, Any] = field(default_factory=dict, repr=False)
    objectives: dict[str, str] = field(default_factory=dict, repr=False)
    _reports: dict[int, list[Report]] | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, source: TrialSource, indices: Sequence[int]) -> Snapshot:
        """A copy of these trials of a source."""
        few = len(indices) < min(len(source), 100)
        return cls(
            source.name,
            source.path,
            source.metric,
            source.mode,
            getattr(source, "scope", DEFAULT_SCOPE),
            {i: _row(source, i) for i in indices},
            [] if few else list(source.report_blocks()),
            {i: source.results(i) for i in indices} if few else {},
            interrupted=bool(getattr(source, "interrupted", False)),
            options=dict(getattr(source, "options", {})),
            user_attrs=dict(getattr(source, "user_attrs", {})),
            objectives=dict(getattr(source, "objectives", {})),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def trial_id(self, i: int) -> str:
        return self.rows[i].trial_id

    def trainable_name(self, i: int) -> str:
        return self.rows[i].trainable_name

    def config(self, i: int) -> dict[str, Any]:
        return _fresh(self.rows[i].config)

    def evaluated_params(self, i: int) -> dict[str, Any]:
        return dict(self.rows[i].evaluated_params)

    def experiment_tag(self, i: int) -> str:
        return self.rows[i].experiment_tag

    def status(self, i: int) -> str:
        return self.rows[i].status

    def last_result(self, i: int) -> dict[str, Any]:
        return _fresh(self.rows[i].last_result)

    def failure(self, i: int) -> TrialFailure | None:
        return self.rows[i].failure

    def num_failures(self, i: int) -> int:
        return self.rows[i].num_failures

    def resources(self, i: int) -> PlacementGroupFactory:
        found: PlacementGroupFactory = self.rows[i].resources
        return found

    def checkpoints(self, i: int) -> list[tuple[str | Checkpoint, dict[str, Any]]]:
        return list(self.rows[i].checkpoints)

    def trial_name(self, i: int) -> str:
        return self.rows[i].name

    def trial_dirname(self, i: int) -> str:
        return self.rows[i].folder

    def attributed(self) -> list[int]:
        return [i for i, row in self.rows.items() if row.attributes]

    def attributes_of(self, i: int) -> dict[str, Any]:
        return self.rows[i].attributes

    def stop_reason(self, i: int) -> str | None:
        return self.rows[i].stop_reason

    def report_blocks(self) -> list[ReportBlock]:
        return self.blocks

    def results(self, i: int) -> list[dict[str, Any]]:
        if i in self.kept_results:
            return list(self.kept_results[i])
        if self._reports is None:
            self._reports = reports_by_trial(self.blocks)
        return results_of(self._reports.get(i, []), self.rows[i].last_result)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reports": None}


def _row(source: TrialSource, i: int) -> TrialRow:
    failure = source.failure(i)
    return TrialRow(
        trial_id=source.trial_id(i),
        trainable_name=source.trainable_name(i),
        config=source.config(i),
        evaluated_params=source.evaluated_params(i),
        experiment_tag=source.experiment_tag(i),
        status=source.status(i),
        last_result=source.last_result(i),
        failure=failure and replace(failure, exception=_if_picklable(failure.exception)),
        num_failures=source.num_failures(i),
        resources=source.resources(i),
        checkpoints=source.checkpoints(i),
        name=trial_name(source, i),
        folder=os.path.basename(trial_folder(source, i)),
        attributes=dict(source.attributes_of(i)) if hasattr(source, "attributes_of") else {},
        stop_reason=getattr(source, "stop_reason", _nothing)(i),
    )


def _nothing(_: int) -> None:
    """Of a source that does not say."""


def _if_picklable(exception: BaseException | None) -> BaseException | None:
    import pickle

    # an exception class with its own __init__ often dumps but does not load; its text is kept in any case
    try:
        pickle.loads(pickle.dumps(exception))
    except Exception:
        return None
    return exception


def _fresh(nested: dict[str, Any]) -> dict[str, Any]:
    """A copy of nested dicts, lists and tuples; objects and other containers are shared."""
    copy = {key: _fresh_value(value) for key, value in nested.items()}
    return Metrics(copy) if type(nested) is Metrics else copy


def _fresh_value(value: Any) -> Any:
    if type(value) is dict:
        return _fresh(value)
    if type(value) in (list, tuple):
        return type(value)(_fresh_value(inner) for inner in value)
    return value
