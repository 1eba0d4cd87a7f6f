"""Experiments by what people call them: a name below the results folder, the beginning of one, a folder, or "latest"."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from fasttune.cli import CommandError
from fasttune.folder import JOURNAL

if TYPE_CHECKING:
    from fasttune.engine.records import ExperimentRecords

LATEST = "latest"
MOST_NAMED = 8  # experiments that an error lists


def find(text: str, *, whole: bool = False) -> str:
    """The folder of an experiment.

    Args:
        text: its folder (or a file in it), its name below the results folder, the beginning of a name that fits one
            experiment alone, or "latest": the one that runs, of several the one begun last; else the one begun last.
        whole: the beginning of a name is not enough.

    Raises:
        CommandError: there is none, or more than one. It says what there is.
    """
    from fasttune.resolve.places import default_storage

    root = default_storage()
    places = [place for place in (as_folder(text), below(root, text)) if place is not None and holds_one(place)]
    if len({os.path.realpath(place) for place in places}) > 1:
        raise CommandError(f"{text!r} is the experiment {places[0]} and the experiment {places[1]}: say which by its folder")
    if places:
        return places[0]
    if text == LATEST:
        return latest(root)
    known = experiments_in(root)
    fitting = [] if whole or not text else [path for path in known if os.path.basename(path).startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise CommandError(f"{text!r} is the beginning of {len(fitting)} experiments in {root}: {named(fitting)}")
    raise CommandError(unknown(text, root, known))


def as_folder(text: str) -> str | None:
    """What ``text`` names as a path: a folder, or that of a file."""
    if not text:
        return None
    path = os.path.abspath(os.path.expanduser(text))
    return os.path.dirname(path) if os.path.isfile(path) else path


def below(root: str, name: str) -> str | None:
    """The folder of a name below the results folder; None for what is no such name."""
    if not name or name.startswith(("/", "./", "~")) or name.endswith("/") or "\0" in name or ".." in name.split("/"):
        return None
    return os.path.normpath(os.path.join(root, name))


def holds_one(folder: str) -> bool:
    """Whether a folder holds an experiment, of whatever state."""
    return os.path.lexists(os.path.join(folder, JOURNAL))


def experiments_in(folder: str) -> list[str]:
    """Paths of the experiments right below a folder, in the order of their names; [] where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if holds_one(entry.path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def latest(root: str) -> str:
    """The experiment that is meant when nobody says which; CommandError when there is none."""
    from fasttune.storage.recovery import writer_of

    known = experiments_in(root)
    begun = [(writer_of(path) is not None, when, path) for path in known if (when := begun_at(path)) is not None]
    if not begun:
        raise CommandError(f"there is no experiment in {root} yet: FASTTUNE_RESULTS_DIR says where to look")
    return max(begun)[2]


def begun_at(folder: str) -> float | None:
    """When an experiment began (unix time), as its journal says; None where that cannot be read."""
    from fasttune.engine.meta import first_meta
    from fasttune.error import TuneError
    from fasttune.storage.reader import SqliteReader

    try:
        return float(first_meta(iter(SqliteReader(folder, fixed=True).read()), folder)["created"])
    except (TuneError, OSError, KeyError, TypeError, ValueError):
        return None


def named(paths: Sequence[str]) -> str:
    """The names of experiments, for an error."""
    names = [os.path.basename(path) for path in paths]
    more = f" and {len(names) - MOST_NAMED} more (fasttune lsx lists them)" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def unknown(text: str, root: str, known: Sequence[str]) -> str:
    """Why nothing was found, and what there is."""
    place = as_folder(text)
    inside = experiments_in(place) if place is not None and os.path.isdir(place) else []
    if inside:
        return f"{text!r} is a folder with {len(inside)} experiments, and none itself: {named(inside)}"
    names = [os.path.basename(path) for path in known]
    near = get_close_matches(text, names, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    there = f"It holds {named(known)}" if known else "It holds none (FASTTUNE_RESULTS_DIR says where to look)"
    return f"there is no experiment {text!r}, neither as a folder nor in {root}{hint} {there}"


def opened(folder: str) -> ExperimentRecords:
    """The experiment in a folder, as far as it is stored."""
    from fasttune.engine.opening import open_records

    return open_records(folder)
