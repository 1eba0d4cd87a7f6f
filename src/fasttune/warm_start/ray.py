"""A folder of a Ray Tune experiment as a warm start. Ray is not needed, and nothing is unpickled unless asked."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

from fasttune.folder import PARAMS_JSON, RESULT_JSON
from fasttune.plain_files import plain_opener
from fasttune.result import flatten, number
from fasttune.warm_start.known import KnownTrial, WarmStart

PARAMS_PICKLE = "params.pkl"
STATE = "experiment_state-"
PICKLED = "CLOUDPICKLE_FALLBACK"  # how Ray's JSON marks a pickle
AUTO = frozenset(["done", "timestamp", "pid", "iterations_since_restore", "time_since_restore"])  # numbers that are no metrics


def from_ray(
    folder: str | os.PathLike[str], *, trust: bool = False, rename: Mapping[str, str | None] | None = None
) -> WarmStart:
    """The trials of an experiment's folder of Ray Tune, by their result.json and params.json, and the newest state of the
    experiment for how they ended. Values are those of the last report. A trial that was not over is left out.

    Args:
        folder: ``<storage_path>/<name>``.
        trust: unpickle configs (``params.pkl``), which can run any code: needed only for values that JSON does not have, which
            are their texts otherwise.
        rename: other names for parameters; None leaves one out.

    Raises:
        ValueError: there are no trials of Ray Tune in the folder.
    """
    path = os.path.abspath(os.path.expanduser(os.fspath(folder)))
    if not os.path.isdir(path):
        raise ValueError(f"{folder!r:.200} is no folder: from_ray takes that of an experiment, <storage_path>/<name>")
    known = states(path)
    found = [(name, one) for name, one in trials_in(path, trust)]
    if not found:
        raise ValueError(
            f"no trial of Ray Tune lies in {path}: none of its folders has a {PARAMS_JSON}. from_ray takes the folder of an "
            "experiment, <storage_path>/<name>"
        )
    trials = [trial for name, (config, last) in found if (trial := known_trial(config, last, known.get(name))) is not None]
    start = WarmStart(trials, f"the Ray experiment {os.path.basename(path)!r}")
    return start.renamed(rename) if rename else start


def trials_in(path: str, trust: bool) -> Iterator[tuple[str, tuple[dict[str, Any], dict[str, Any] | None]]]:
    """(name of a trial's folder, (config, last result or None)) of each trial, by name."""
    for name in sorted(os.listdir(path)):
        config = config_of(os.path.join(path, name), trust)
        if config is not None:
            yield name, (config, last_line(os.path.join(path, name, RESULT_JSON)))


def config_of(folder: str, trust: bool) -> dict[str, Any] | None:
    """The config of the trial in a folder; None if there is no trial."""
    if trust:
        try:
            with open(os.path.join(folder, PARAMS_PICKLE), "rb", opener=plain_opener) as pickled:
                return dict(pickle.load(pickled))
        except (FileNotFoundError, NotADirectoryError):
            pass
    try:
        with open(os.path.join(folder, PARAMS_JSON), encoding="utf-8", opener=plain_opener) as file:
            config = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ValueError(f"{os.path.join(folder, PARAMS_JSON)} is damaged: {error}") from None
    return config if isinstance(config, dict) else None


def last_line(path: str) -> dict[str, Any] | None:
    """The last whole result in a result.json; None if there is none. A killed run may have left half a line."""
    try:
        with open(path, encoding="utf-8", errors="replace", opener=plain_opener) as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return None


def states(path: str) -> dict[str, str]:
    """Name of a trial's folder -> its status, by the newest state of the experiment that can be read; {} without one."""
    names = sorted((name for name in os.listdir(path) if name.startswith(STATE) and name.endswith(".json")), reverse=True)
    for name in names:
        try:
            with open(os.path.join(path, name), encoding="utf-8", opener=plain_opener) as file:
                told = json.load(file)
            trials = [one[0] for one in told["trial_data"]]
            made = [json.loads(one) if isinstance(one, str) else one for one in trials]
            return {str(one["relative_logdir"]): str(one["status"]) for one in made if one.get("relative_logdir")}
        except (ValueError, KeyError, TypeError, IndexError):
            continue  # of another version, or half written
    return {}


def known_trial(config: dict[str, Any], last: dict[str, Any] | None, status: str | None) -> KnownTrial | None:
    """What is known of one trial; None if it was not over. Without a state, a trial whose last result says so is done."""
    if status is None:
        status = "TERMINATED" if last is not None and last.get("done") else "PENDING"
    if status not in ("TERMINATED", "ERROR"):
        return None
    reported = {name: value for name, value in (last or {}).items() if name not in AUTO and name != "config"}
    metrics = {name: value for name, told in flatten(reported).items() if (value := number(told)) is not None}
    return KnownTrial(plain_config(config), metrics, "failed" if status == "ERROR" or not metrics else "done")


def plain_config(value: Any) -> Any:
    """A config without the pickles that Ray's JSON may hold."""
    if isinstance(value, Mapping):
        if value.get("_type") == PICKLED:
            return "a pickled object"
        return {key: plain_config(part) for key, part in value.items()}
    return value
