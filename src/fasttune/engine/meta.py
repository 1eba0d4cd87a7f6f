"""What a journal says about its experiment: its first record, and those of later sessions that were asked something else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fasttune import _core
from fasttune.engine.going_on import asked_of
from fasttune.engine.record_checks import check_asked, check_meta, parsed
from fasttune.error import JournalError
from fasttune.result import flatten
from fasttune.trainable import saves_when_told

if TYPE_CHECKING:
    from fasttune.config import RunSpec
    from fasttune.storage.base import Storage

FORMAT = 1
META_KIND = bytes([_core.KIND_META])


def make_meta(spec: RunSpec, prefix: str, now: float, hostname: str, variants: list[Any]) -> dict[str, Any]:
    """What a journal says about its experiment, first of all."""
    return {
        "format": FORMAT,
        "name": spec.name,
        "asked_name": spec.asked_name or spec.name,
        "created": now,
        "prefix": prefix,
        "metric": spec.metric,
        "mode": spec.mode,
        "seed": spec.seed,
        "hostname": hostname,
        "pid": os.getpid(),
        "scheduler": type(spec.scheduler).__name__,
        "searcher": type(spec.searcher).__name__ if spec.searcher is not None else "BasicVariantGenerator",
        "max_failures": spec.failure.max_failures,
        "stop": spec.stop.thresholds,
        "options": options_of(spec),
        "trainables": [
            {
                "name": one.name,
                "experiment": one.experiment,
                "num_samples": one.num_samples,
                "is_class": isinstance(one.trainable, type),
                "saves": saves_when_told(one.trainable),
                "space": sorted(map(str, flatten(one.space))),
                "resources": None if callable(one.resources) else one.resources.__reduce__()[1],
            }
            for one in spec.trainables
        ],
        "variants": [one.meta() for one in variants],
        "asked": asked_of(spec),
    }


def options_of(spec: RunSpec) -> dict[str, Any]:
    """What was asked that trials show."""
    return {
        "checkpoint_freq": spec.checkpoint.checkpoint_frequency,
        "checkpoint_at_end": bool(spec.checkpoint.checkpoint_at_end),
        "restore_path": spec.restore,
        "log_to_file": spec.log_to_file,
    }


def read_metas(storage: Storage, path: str) -> list[dict[str, Any]]:
    """The meta record of a journal and those of its later sessions. JournalError when it is empty."""
    entries = iter(storage.read())
    return [first_meta(entries, path), *later_metas(entries)]


def read_meta(storage: Storage, path: str) -> dict[str, Any]:
    """The meta record of a journal. JournalError when it is empty."""
    return first_meta(iter(storage.read()), path)


def first_meta(entries: Iterator[tuple[int, int, bytes]], path: str) -> dict[str, Any]:
    """The record that a journal begins with."""
    for _, _, data in entries:
        try:
            decoded = _core.decode(data)
        except ValueError as error:
            raise JournalError(f"the journal of {path!r} cannot be read: {error}") from error
        for kind, _, _, _, _, _, payload in decoded:
            if kind == _core.KIND_META:
                meta = parsed(payload.rstrip(b"\0"), f"the description of the experiment at {path!r}")
                if meta.get("format") == FORMAT:  # another one is refused by name
                    check_meta(meta, path)
                return meta
    raise JournalError(f"the journal of {path!r} is empty: the run was killed before it began, or begins at this moment")


def later_metas(entries: Iterator[tuple[int, int, bytes]]) -> list[dict[str, Any]]:
    """What later sessions were asked, in their order, of a journal whose first record has been read. Such a record is the
    first of its entry."""
    return [
        read_session(payload.rstrip(b"\0"))
        for source, _, data in entries
        if source == 0 and data[4:5] == META_KIND
        for kind, _, _, _, _, _, payload in _core.decode(data)
        if kind == _core.KIND_META
    ]


def read_session(payload: str | bytes) -> dict[str, Any]:
    """The record of a later session; JournalError when it is none."""
    try:
        told = json.loads(payload)
        typed = isinstance(told, dict) and isinstance(told.get("asked"), dict)
        if typed and isinstance(told.get("variants"), list if told.get("new_space") else list | None):
            check_asked(told["asked"], "a record of a later session")
            return dict(told)
    except (ValueError, RecursionError):
        pass
    raise JournalError(f"a record of a later session cannot be read: {payload[:80]!r}")
