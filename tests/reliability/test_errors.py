"""What cannot be sent is named before a worker starts (C2 row 29); a stranger's folder executes nothing (row 32)."""

from __future__ import annotations

import os
import pickle
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.executors.process import ProcessExecutor


def a_run(trainable: Any, folder: Path, **more: Any) -> tune.ExperimentAnalysis:
    settings: dict[str, Any] = {
        "config": {"x": tune.uniform(0, 1)},
        "num_samples": 3,
        "storage_path": folder,
        "name": "run",
        "metric": "loss",
        "mode": "min",
        "seed": 1,
        "verbose": 0,
        "executor": "process",
        "raise_on_failed_trial": False,
    }
    return tune.run(trainable, **{**settings, **more})


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test that starts a worker."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(ProcessExecutor, "_new_slot", refuse)


@pytest.mark.usefixtures("no_workers")
def test_C2_29_a_captured_lock_is_named_before_any_worker_starts(tmp_path: Path) -> None:
    the_culprit = threading.Lock()

    def trial(config: dict[str, Any]) -> None:
        with the_culprit:
            tune.report({"loss": 1.0})

    with pytest.raises(TypeError, match=r"closes over 'the_culprit'.*lock") as caught:
        a_run(trial, tmp_path)
    assert "executor='thread' or 'inline'" in str(caught.value)
    assert not list(tmp_path.rglob("*.ring"))


@pytest.mark.usefixtures("no_workers")
@pytest.mark.parametrize("kind", ["generator", "file", "socket", "connection"])
def test_C2_29_each_kind_of_culprit_is_named(tmp_path: Path, kind: str) -> None:
    import socket

    made: dict[str, Any] = {
        "generator": lambda: (i for i in range(3)),
        "file": lambda: Path(os.devnull).open("rb"),  # noqa: SIM115 - closed at the end of the test
        "socket": socket.socket,
        "connection": lambda: sqlite3.connect(":memory:"),
    }
    the_culprit = made[kind]()

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": float(bool(the_culprit))})

    try:
        with pytest.raises(TypeError, match="the_culprit"):
            a_run(trial, tmp_path)
    finally:
        the_culprit.close()


def takes_data(config: dict[str, Any], first: Any = None, data: Any = None) -> None:
    tune.report({"loss": 1.0})


@pytest.mark.usefixtures("no_workers")
@pytest.mark.parametrize("within", [False, True])
def test_C2_29_a_culprit_among_the_parameters_is_named(tmp_path: Path, within: bool) -> None:
    data = {"lock": threading.Lock()} if within else threading.Lock()
    trial = tune.with_resources(tune.with_parameters(tune.with_parameters(takes_data, data=data), first=1), {"cpu": 1})
    with pytest.raises(TypeError, match=r"with_parameters gives takes_data 'data', a (dict|lock) \(cannot pickle '_thread.lock'"):
        a_run(trial, tmp_path)


@pytest.mark.usefixtures("no_workers")
def test_C2_29_a_culprit_in_the_space_is_named(tmp_path: Path) -> None:
    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": 1.0})

    with pytest.raises(TypeError, match=r"search space .* cannot be pickled.*lock"):
        a_run(trial, tmp_path, config={"x": tune.choice([threading.Lock(), 2])})


def test_C2_29_a_big_closure_arrives_whole(tmp_path: Path) -> None:
    """64 MB in the closure travel once for all workers, not with each trial."""
    data = bytes(range(256)) * (1 << 18)

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": float(len(data)), "last": data[-1]})

    analysis = a_run(trial, tmp_path, num_samples=20)
    assert {(one.last_result["loss"], one.last_result["last"]) for one in analysis.trials} == {(float(1 << 26), 255)}
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 1 << 24


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"ok": 1, "big": "x" * (1 << 20)}, r"takes \d+ bytes.*with_parameters"),
        ({"ok": 1, "lock": threading.Lock()}, r"config of trial 1 cannot be sent to a worker process: 'lock' \(cannot pickle"),
    ],
    ids=["big", "lock"],
)
def test_C2_29_a_config_that_cannot_be_sent_costs_its_trial_only(tmp_path: Path, bad: dict[str, Any], said: str) -> None:
    """A searcher's configs travel with each trial; the message says which value it was, or how large, and what to do."""

    class Suggestions(tune.search.Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            return bad if trial_id.endswith("1") else {"ok": 0}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            pass

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": 1.0})

    analysis = a_run(trial, tmp_path, config={}, num_samples=3, search_alg=Suggestions(), executor="process")
    assert [one.status for one in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]
    assert re.search(said, str(analysis.trials[1].get_error()))


def test_C2_29_a_report_that_is_too_big_costs_its_trial_only(tmp_path: Path) -> None:
    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": 1.0})
        if config["n"] == 1:
            tune.report({"loss": 1.0, "text": "x" * (10 << 20)})

    for executor in ("inline", "process"):
        analysis = a_run(trial, tmp_path, num_samples=1, config={"n": tune.grid_search([0, 1, 2])}, executor=executor)
        assert [one.status for one in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]
        assert "too large" in str(analysis.trials[1].get_error())


class Unpicklable(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class HalfPicklable(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


@pytest.mark.parametrize("error", [lambda: Unpicklable("told"), lambda: HalfPicklable("told", "x")], ids=["no", "half"])
def test_C2_29_exceptions_that_cannot_travel_arrive_as_text(tmp_path: Path, error: Any) -> None:
    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": 1.0})
        raise error()

    analysis = a_run(trial, tmp_path)
    assert {one.status for one in analysis.trials} == {"ERROR"}
    assert "told" in str(analysis.trials[0].get_error())


# -- a stranger's folder -------------------------------------------------------------------------------------


class Payload:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._path,)


def test_C2_32_opening_a_folder_executes_nothing_that_lies_in_it(tmp_path: Path) -> None:
    """Pickles that would tell are planted under every name that a run ever uses, and in the journal."""
    executed = tmp_path / "executed"
    evil = pickle.dumps(Payload(executed))

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": config["x"], "text": "a"})
        if config["x"] >= 0:
            raise Planted(str(executed))

    folder = Path(a_run(trial, tmp_path / "results").experiment_path)
    os.rmdir(executed) if executed.exists() else None
    for name in ("program.pkl", "tuner.pkl", "trainable.pkl", "searcher-state.pkl", "experiment_state-1.json", ".lock"):
        (folder / name).write_bytes(evil)
    rings = folder / "rings"
    rings.mkdir()
    (rings / "1.ring").write_bytes(evil)
    (rings / "77.ring").write_bytes(hostile_ring(evil))
    (rings / "78.ring").write_bytes(b"\xff" * 12288)
    (rings / "program.pkl").write_bytes(evil)
    with pytest.warns(RuntimeWarning, match="cannot be read"):
        analysis = tune.ExperimentAnalysis(str(folder))
    assert len(analysis.trials) == 3
    assert len(analysis.errors) == 3
    assert [str(error) for error in analysis.errors]
    analysis.dataframe()
    assert [one.config for one in analysis.trials]
    assert analysis.results
    assert analysis.best_config
    assert tune.Tuner.can_restore(str(folder))
    assert tune.ExperimentAnalysis(str(folder / "experiment.db")).trials
    assert not executed.exists()


class Planted(Exception):
    """An exception whose pickle executes something; it is in the journal."""

    def __init__(self, path: str) -> None:
        super().__init__("planted")
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def hostile_ring(evil: bytes) -> bytes:
    """A ring as a dead worker may have left it, with pickles in its records."""
    from fasttune import _core

    memory = bytearray(4096 + 16384)
    ring = _core.Ring(memory, create=True)
    ring.write(_core.KIND_EXCEPTION, 0, 1, evil)
    ring.write(_core.KIND_EXCEPTION, 1, 1, evil)
    return bytes(memory)


@pytest.mark.parametrize("length", [0, 10, 100, 5000])
def test_C2_32_a_journal_that_is_no_journal_says_so(tmp_path: Path, length: int) -> None:
    from fasttune.error import JournalError

    (tmp_path / "experiment.db").write_bytes(b"\x80\x04" * (length // 2))
    with pytest.raises(JournalError):
        tune.ExperimentAnalysis(str(tmp_path))
