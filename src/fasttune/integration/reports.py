"""What the callbacks of all libraries share: which numbers they report under which names, and the model that goes along.

A callback gets a flat dict of what its library has just measured. ``ReportedMetrics`` takes from it what was asked for,
``report_with_files`` reports it, with a checkpoint if there is something to save. Everything else is the library's.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fasttune import session, trial_checkpoints, trial_context
from fasttune.argument import checked_count
from fasttune.checkpoint import Checkpoint
from fasttune.error import MissingMetricError
from fasttune.metric_values import type_name

Metrics = str | Sequence[str] | Mapping[str, str] | None
Postprocess = Callable[[dict[str, Any]], Mapping[str, Any]]


class ReportedMetrics:
    """Which of a library's metrics are reported, and as what.

    Args:
        metrics: one name, several, or {name in the report: name in the library}. None: all that there are.
        library: how the library is called in errors.
        postprocess: takes what would be reported and returns what is.
    """

    __slots__ = ("_library", "_never", "_postprocess", "_seen", "_wanted")

    def __init__(self, metrics: Metrics, library: str, postprocess: Postprocess | None = None) -> None:
        self._wanted = _checked_names(metrics)
        self._library = library
        if postprocess is not None and not callable(postprocess):
            raise TypeError(f"results_postprocessing_fn must be a function of a dict, got {type_name(postprocess)}")
        self._postprocess = postprocess
        self._seen: dict[str, None] = {}  # what the library has brought so far, in order
        self._never = dict.fromkeys((self._wanted or {}).values())  # what was asked for and has not come yet

    def __call__(self, found: Mapping[str, Any], later: Callable[[str], bool] | None = None) -> dict[str, Any]:
        """What to report of what the library has measured. {}: nothing of it was asked for.

        A metric that is not there is a MissingMetricError with the names that are, unless ``later(name)`` says that this is
        no wonder here: then it is left out.
        """
        self._seen.update(dict.fromkeys(found))
        if self._wanted is None:
            picked = dict(found)
        else:
            picked = {}
            for name, source in self._wanted.items():
                if source in found:
                    picked[name] = found[source]
                    self._never.pop(source, None)
                elif later is None or not later(source):
                    raise self._missing([source])
        return picked if self._postprocess is None or not picked else self._processed(picked)

    def asks_for(self, found: Mapping[str, Any]) -> bool:
        """Whether something of this is to be reported."""
        return bool(found) if self._wanted is None else not found.keys().isdisjoint(self._wanted.values())

    def check_all_came(self) -> None:
        """When the training is over: MissingMetricError if something that was asked for has never come."""
        if self._never and self._seen:
            raise self._missing(list(self._never))

    def _processed(self, picked: dict[str, Any]) -> dict[str, Any]:
        assert self._postprocess is not None
        processed = self._postprocess(picked)
        if not isinstance(processed, Mapping):
            raise TypeError(f"results_postprocessing_fn must return a dict of metrics, got {type_name(processed)}")
        return dict(processed)

    def _missing(self, names: Iterable[str]) -> MissingMetricError:
        wanted = ", ".join(repr(name) for name in names)
        brought = ", ".join(repr(name) for name in self._seen) or "nothing (was it given data to validate on?)"
        error = MissingMetricError(f"the callback is to report {wanted}, which {self._library} does not bring; it brings {brought}")
        error.reported = tuple(self._seen)
        return error


def _checked_names(metrics: Metrics) -> dict[str, str] | None:
    """Name in the report -> name in the library; None, if nothing was named: as Ray Tune has it, that is all."""
    if metrics is None:
        return None
    names: Any = metrics
    if isinstance(metrics, str):
        names = {metrics: metrics}
    elif isinstance(metrics, Sequence | set | frozenset):
        names = {name: name for name in metrics}
    if not isinstance(names, Mapping) or not all(isinstance(name, str) for pair in names.items() for name in pair):
        raise TypeError(
            "metrics must be a name, a list of names or a dict {name in the report: name in the library}, "
            f"got {metrics!r:.80}"
        )
    return dict(names) or None


def at_another_event(name: str) -> bool:
    """``later`` of a library each of whose events brings other metrics: only the end tells what never comes."""
    return True


def checked_filename(filename: Any, endings: tuple[str, ...] = ()) -> str:
    """The name of one file within a checkpoint; ValueError for a path, and for another ending than the library knows."""
    if not isinstance(filename, str) or not filename or os.path.basename(filename) != filename or filename in (".", ".."):
        raise ValueError(f"filename must be the name of a file within the checkpoint, without a folder, got {filename!r:.80}")
    if endings and not filename.endswith(endings):
        raise ValueError(f"filename must end in {' or '.join(endings)}, which tells the library the format, got {filename!r:.80}")
    return filename


def checked_events(on: str | Sequence[str], allowed: Iterable[str], library: str) -> tuple[str, ...]:
    """The events of the argument ``on``; ValueError for one that the library does not have."""
    events = (on,) if isinstance(on, str) else tuple(on)
    known = sorted(allowed)
    for event in events:
        if event not in known:
            raise ValueError(f"on={event!r} is no event of {library}; there are {', '.join(known)}")
    if not events:
        raise ValueError(f"on must name an event of {library}, got none; there are {', '.join(known)}")
    return events


def checked_frequency(frequency: Any) -> int:
    """How many iterations go by between two checkpoints; 0: none but the last."""
    return checked_count("frequency", frequency)


def report_with_files(
    metrics: Mapping[str, Any],
    write: Callable[[str], None] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Report, with a checkpoint whose files ``write(folder)`` writes. Outside of a trial nothing is written.

    Raises StopTrial, as ``tune.report`` does, if the trial has been stopped.
    """
    if write is None or trial_context.current_context() is None:
        session.report(dict(metrics))
        return
    with tempfile.TemporaryDirectory(prefix="checkpoint_") as folder:
        write(folder)
        checkpoint = Checkpoint.from_directory(folder)
        if metadata:
            checkpoint.set_metadata(dict(metadata))
        session.report(dict(metrics), checkpoint=checkpoint)


def save_behind(write: Callable[[str], None]) -> None:
    """A checkpoint that belongs to the last report, or to the next one if there is one. Outside of a trial nothing happens."""
    context = trial_context.current_context()
    if context is None or context.over:
        return
    with session.checkpoint_dir(trial_checkpoints.next_index(context)) as folder:
        write(folder)


def path_in(checkpoint: Checkpoint, filename: str) -> str:
    """The path of a file or folder in a checkpoint. FileNotFoundError says what the checkpoint has in its place."""
    folder = checkpoint.path
    path = os.path.join(folder, checked_filename(filename))
    if not os.path.exists(path):
        there = ", ".join(sorted(name for name in os.listdir(folder) if not name.startswith("."))) if os.path.isdir(folder) else ""
        raise FileNotFoundError(
            f"the checkpoint {folder} has no {filename!r}; it has {there or 'nothing'}. Give the filename= that the callback "
            "was given which saved it"
        )
    return path
