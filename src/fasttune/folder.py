"""The names in the folders of experiments and trials that are ours: one list, for whoever makes these files and for
whoever lets a user name one.

A trial's folder, a scheduler's text or a note of such a name would be written over one of our files, or be deleted with
it. Names are compared without regard to upper and lower case: an experiment may lie on, or be copied to, a file system
that makes no difference.
"""

from __future__ import annotations

import os
import re

# ---- in an experiment's folder

JOURNAL = "experiment.db"  # SQLite adds -wal, -shm and -journal
LOCK_FILE = ".lock"
RINGS = "rings"  # a folder: the rings of workers
WRITING = ".writing"  # a folder: what is in it is not finished, nothing refers to it, and it is deleted
PROGRAM = "program.pkl"  # what workers of earlier versions ran, while they did
TUNER_FILE = "tuner.pkl"  # what a Tuner was made with
CALLBACKS_FILE = "callbacks.pkl"  # states that callbacks keep across sessions
COMMAND_FILE = "command.json"  # what `fasttune run` was told, for `fasttune resume`
LOGGED = "logged."  # and a logger's key: how far it is behind the run (.json), and what its library printed (.txt)
STOP_FILE = "stop.requests"  # what a run is asked to stop, from outside; gone when it has ended
PBT_GLOBAL = "pbt_global.txt"
PBT_POLICY = "pbt_policy_{trial_id}.txt"
UNFINISHED = ".writing"  # ending of a file that gets its name when it is whole

# ---- in a trial's folder

LONGEST_NAME = 200  # bytes of an experiment's name; file systems allow 255, and a date or a number may come behind it

# Patterns are compiled by `re` when they are used first, not at every start.
CHECKPOINT_NAME = r"checkpoint_(\d{6,})"
RESULT_JSON = "result.json"
PARAMS_JSON = "params.json"
PROGRESS_CSV = "progress.csv"
ERROR_TXT = "error.txt"

_FILES = [JOURNAL, LOCK_FILE, PROGRAM, TUNER_FILE, CALLBACKS_FILE, COMMAND_FILE, STOP_FILE]
_OF_THE_RUN = frozenset([*_FILES, RINGS, WRITING])
_BESIDE = rf"(?s:(?:{'|'.join(map(re.escape, _FILES))})[-.].*)"
_LOGGED = rf"{re.escape(LOGGED)}[\w-]+\.(?:json|txt)"
_POLICY = rf"(?s:{re.escape(PBT_POLICY).replace(re.escape('{trial_id}'), '.*')})"
_OF_TRIALS = frozenset([RESULT_JSON, PARAMS_JSON, PROGRESS_CSV, ERROR_TXT])


def is_ours(name: str) -> bool:
    """Whether fasttune makes, or may make, a file or a folder of this name in an experiment's folder."""
    folded = name.casefold()
    return is_of_the_run(name) or folded == PBT_GLOBAL or re.fullmatch(_POLICY, folded) is not None


def is_of_the_run(name: str) -> bool:
    """The same without the texts of our schedulers: names that no scheduler may give to a text of its own."""
    folded = name.casefold()
    return folded in _OF_THE_RUN or folded.endswith(UNFINISHED) or re.fullmatch(f"{_BESIDE}|{_LOGGED}", folded) is not None


def is_ours_in_trial(name: str) -> bool:
    """The same of a name in a trial's folder."""
    folded = name.casefold()
    return folded in _OF_TRIALS or folded == WRITING or re.fullmatch(CHECKPOINT_NAME, folded) is not None


def is_plain(name: str) -> bool:
    """Whether a name stays in its folder: no path, and neither the folder nor the one above."""
    return bool(name) and "/" not in name and "\0" not in name and name not in (".", "..")


def cut(name: str, nbytes: int) -> str:
    """The first characters of a name that take no more bytes than that."""
    return os.fsencode(name)[:nbytes].decode(errors="ignore") if len(os.fsencode(name)) > nbytes else name
