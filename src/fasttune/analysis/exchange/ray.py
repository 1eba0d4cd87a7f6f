"""An experiment as a folder in Ray Tune's layout, which Ray's ``ExperimentAnalysis`` opens (tried with Ray 2.60).

Ray itself is not needed. Its file of the experiment's state holds pickles of a few of Ray's own small objects, in which paths
and requests for resources stand: they are written here by hand, opcode by opcode.
"""

from __future__ import annotations

import csv
import json
import math
import os
import pickle
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.analysis.exchange.tables import whole_file
from fasttune.folder import ERROR_TXT, PARAMS_JSON, PROGRESS_CSV, RESULT_JSON
from fasttune.logger.json import plain
from fasttune.metric_values import whole_text, with_text_keys
from fasttune.result import flatten, number, reports_by_trial, results_of
from fasttune.tables.trial_columns import TrialColumns
from fasttune.trial import statistics

if TYPE_CHECKING:
    from fasttune.analysis.experiment_analysis import ExperimentAnalysis

STATE = "experiment_state-{}.json"
NO_METRIC = frozenset(["timestamp", "pid", "time_since_restore", "iterations_since_restore"])  # numbers without statistics
TO_JSON = json.JSONEncoder(default=plain)


def write(analysis: ExperimentAnalysis, path: str) -> str:
    """Make the folder: result.json, progress.csv and params.json for each trial, error.txt for one that failed, and the state
    of the experiment. Checkpoints stay where they are; the folder is to be looked at, not to be gone on with.

    Raises:
        ValueError: there is something at ``path`` that is no empty folder.
    """
    folder = os.path.abspath(path)
    if os.path.lexists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise ValueError(f"{path} is there already, and is no empty folder: Ray's layout is a folder of its own")
    os.makedirs(folder, exist_ok=True)
    source: Any = analysis._source
    indices = list(analysis._indices)
    reports = reports_by_trial(source.report_blocks())
    names = TrialColumns(source, sorted(indices)).folders.tolist()
    folder_of = dict(zip(sorted(indices), map(os.path.basename, names), strict=True))
    storage = (os.path.dirname(folder), os.path.basename(folder))
    created = (getattr(source, "meta", None) or {}).get("created") or 0.0
    session = datetime.fromtimestamp(created).strftime("%Y-%m-%d_%H-%M-%S")
    with whole_file(os.path.join(folder, STATE.format(session))) as state:
        state.write('{"trial_data": [')
        for place, i in enumerate(indices):
            name = folder_of[i]
            os.mkdir(os.path.join(folder, name))
            results = results_of(reports.pop(i, ()), source.last_result(i))
            written = write_trial(source, i, os.path.join(folder, name), results)
            told = [trial_state(source, i, storage, name, written), run_state(source, i, written)]
            state.write(f"{', ' if place else ''}{TO_JSON.encode(told)}")
        runner = {"_metric": source.metric, "_start_time": created, "_session_str": session}
        state.write(f'], "runner_data": {TO_JSON.encode(runner)}, "stats": {{"start_time": {TO_JSON.encode(created)}}}}}')
    return path


# ---- a trial's files


class Written(NamedTuple):
    """What of a trial stands in several places."""

    config: dict[str, Any]  # as JSON has it
    last: dict[str, Any]  # the last result, likewise; {} without one
    flat: list[dict[str, Any]]  # each result without its config, by flat names


def write_trial(source: Any, i: int, folder: str, results: list[dict[str, Any]]) -> Written:
    """The files in a trial's folder."""
    config = with_text_keys(source.config(i))
    with open(os.path.join(folder, PARAMS_JSON), "w", encoding="utf-8") as file:
        file.write(json.dumps(config, indent=2, default=plain))
    failure = source.failure(i)
    if failure is not None:
        with open(os.path.join(folder, ERROR_TXT), "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"Failure # {failure.count}\n{failure.text.rstrip()}\n")
    lines, flat = [], []
    last: dict[str, Any] = {}
    before, of_config = None, ""
    for result in results:
        given = result.pop("config", {})
        if given is not before:  # all results of a trial share one dict
            before, of_config = given, TO_JSON.encode(with_text_keys(given))
        result.pop("experiment_tag", None)
        flat.append(flatten(result))
        text = TO_JSON.encode(result)
        lines.append(f'{text[:-1]}, "config": {of_config}}}\n')
        last = result
    with open(os.path.join(folder, RESULT_JSON), "w", encoding="utf-8") as file:
        file.writelines(lines)
    if flat:
        same = all(row.keys() == flat[0].keys() for row in flat)
        columns = list(flat[0]) if same else list(dict.fromkeys(name for row in flat for name in row))
        with open(os.path.join(folder, PROGRESS_CSV), "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            table = csv.writer(file)
            table.writerow([whole_text(name) for name in columns])
            table.writerows([row.get(name, "") for name in columns] for row in flat)
    return Written(config, {**last, "config": config} if last else {}, flat)


# ---- the experiment's state


def trial_state(source: Any, i: int, storage: tuple[str, str], folder: str, written: Written) -> str:
    """What Ray keeps of a trial that does not change, as JSON. A running one is to Ray one that waits."""
    state = {
        "stub": True,
        "trainable_name": source.trainable_name(i),
        "trial_id": source.trial_id(i),
        "storage": embedded(storage_context(*storage, folder)),
        "config": written.config,
        "_Trial__unresolved_config": written.config,
        "evaluated_params": with_text_keys(source.evaluated_params(i)),
        "experiment_tag": source.experiment_tag(i),
        "stopping_criterion": dict(getattr(source, "stopping_criterion", None) or {}),
        "placement_group_factory": request(source.resources(i)).hex(),
        "_default_placement_group_factory": NONE.hex(),
        "_setup_default_resource": True,
        "results": NONE.hex(),
        "extra_arg": NONE.hex(),
        "_resources": NONE.hex(),
        "log_to_file": [None, None],
        "max_failures": int(getattr(source, "max_failures", 0)),
        "export_formats": [],
        "status": "PENDING" if source.status(i) == "RUNNING" else source.status(i),
        "relative_logdir": folder,
        "trial_name_creator": None,
        "trial_dirname_creator": None,
        "custom_trial_name": None,
        "custom_dirname": None,
        "restore_path": None,
        "_restore_checkpoint_result": None,
        "_state_json": None,
        "_default_result_or_future": None,
    }
    return TO_JSON.encode(state)


def run_state(source: Any, i: int, written: Written) -> str:
    """What Ray keeps of a trial's run, as JSON: its last result, and statistics of its metrics."""
    last = written.last
    failed = source.failure(i) is not None
    state = {
        "start_time": last.get("timestamp", 0) - last.get("time_total_s", 0.0) if last else None,
        "num_failures": source.num_failures(i),
        "num_failures_after_restore": source.num_failures(i),
        "error_filename": ERROR_TXT if failed else None,
        "pickled_error_filename": None,
        "last_result": last,
        "last_result_time": last.get("timestamp", -math.inf),
        "metric_analysis": metric_statistics(written.flat),
        "_n_steps": [5, 10],
        "metric_n_steps": {},
        "checkpoint_manager": embedded(NO_CHECKPOINTS),
    }
    return TO_JSON.encode(state)


def metric_statistics(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Flat name -> max, min, avg, last, last-5-avg, last-10-avg of each metric."""
    history: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.items():
            known = number(value)
            if known is not None and name not in NO_METRIC:
                history.setdefault(name, []).append(known)
    return {name: statistics(values) for name, values in history.items()}


# ---- pickles of Ray's objects

START, END = b"\x80\x04", b"."
NONE = START + b"N" + END


def embedded(pickled: bytes) -> dict[str, str]:
    """A pickle in Ray's JSON."""
    return {"_type": "CLOUDPICKLE_FALLBACK", "value": pickled.hex()}


def instance(module: str, name: str, state: Mapping[str, Any]) -> bytes:
    """The pickle of an object of a class that is not here, with ``state`` as its attributes."""
    return START + _instance(module, name, state) + END


class Instance(NamedTuple):
    """An object inside another one."""

    module: str
    name: str
    state: Mapping[str, Any]


def _instance(module: str, name: str, state: Mapping[str, Any]) -> bytes:
    """GLOBAL, EMPTY_TUPLE, NEWOBJ, the state as a dict, BUILD."""
    inside = b"".join(_inside(key) + _inside(value) for key, value in state.items())
    return f"c{module}\n{name}\n".encode() + b")\x81}(" + inside + b"ub"


def _inside(value: Any) -> bytes:
    """A value within a pickle: what ``pickle`` writes, without PROTO and STOP."""
    return _instance(*value) if isinstance(value, Instance) else pickle.dumps(value, protocol=2)[2:-1]


def storage_context(above: str, experiment: str, trial: str) -> bytes:
    """Where a trial lies. Ray puts the folder that it has opened in the place of this one, so that it can be moved."""
    state = {
        "custom_fs_provided": False,
        "experiment_dir_name": experiment,
        "trial_dir_name": trial,
        "current_checkpoint_index": -1,
        "sync_config": None,
        "storage_filesystem": None,
        "storage_fs_path": above,
        "syncer": None,
        "_timestamp": "",
    }
    return instance("ray.train._internal.storage", "StorageContext", state)


def request(resources: Any) -> bytes:
    """A PlacementGroupFactory."""
    state = {
        "_bundles": [dict(bundle) for bundle in resources.bundles],
        "_head_bundle_is_empty": bool(resources.head_bundle_is_empty),
        "_strategy": resources.strategy,
        "_args": [],
        "_kwargs": {},
    }
    return instance("ray.tune.execution.placement_groups", "PlacementGroupFactory", state)


KEEP_ALL = {
    "num_to_keep": None,
    "checkpoint_score_attribute": None,
    "checkpoint_score_order": "max",
    "checkpoint_frequency": 0,
    "checkpoint_at_end": None,
}
NO_CHECKPOINTS = instance(
    "ray.train._internal.checkpoint_manager",
    "_CheckpointManager",
    {
        "_checkpoint_config": Instance("ray.air.config", "CheckpointConfig", KEEP_ALL),
        "_checkpoint_results": [],
        "_latest_checkpoint_result": None,
    },
)
