"""Trials and runs that are stopped from outside: by a file in the folder, at the next look of the loop."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune.analysis import ExperimentAnalysis
from fasttune.cli import main
from fasttune.engine import folder_watch
from fasttune.engine.stop_requests import StopRequest, StopRequests, ask, request_of
from fasttune.error import ForeignFileError
from fasttune.folder import STOP_FILE
from fasttune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler, create_scheduler
from fasttune.trial import Trial

PACKAGE = str(Path(tune.__file__).resolve().parent.parent)
FOREVER = 10**7  # reports; a trial that nobody stops runs into the time limit of the test


@pytest.fixture(autouse=True)
def looks_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop looks in every turn, not once a second."""
    monkeypatch.setattr(folder_watch, "WATCH_S", 0.0)


class Chooses(TrialScheduler):
    """Pauses every third report, and goes on with whoever waits longest: every report is asked about."""

    def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
        return self.PAUSE if result["training_iteration"] % 3 == 0 and not result["done"] else self.CONTINUE


SCHEDULERS = {"none": FIFOScheduler, "asha": lambda: ASHAScheduler(max_t=FOREVER, grace_period=5), "chooses": Chooses}


def asks(config: dict[str, Any]) -> None:
    """Trial 1 asks for what the file "wish" says, and reports for ever; the others report three times in all."""
    folder = Path(config["folder"])
    tune.report(loss=1.0 - config["x"])
    if config["x"] == 1:
        wish = json.loads((folder.parent / "wish").read_text())
        prefix = tune.get_trial_id()[:-1]
        trials = [StopRequest(f"{prefix}{i}", wish.get("now", False)) for i in wish.get("trials", ())]
        ask(str(folder), trials or [StopRequest(None, wish["end"])])
    for step in range(1, FOREVER if config["x"] == 1 else 3):
        sum(range(10_000 * (config["x"] == 1)))  # some work, or there are very many reports until the loop looks
        tune.report(loss=1.0 / (1 + step) - config["x"])


def run(folder: Path, wish: dict[str, Any], **more: Any) -> ExperimentAnalysis:
    (folder / "wish").write_text(json.dumps(wish))
    given: dict[str, Any] = {"executor": "inline", "num_samples": 1, "seed": 0, "verbose": 0, **more}
    space = {"x": tune.grid_search([0, 1, 2, 3]), "folder": str(folder / "exp")}
    return tune.run(asks, config=space, name="exp", storage_path=folder, metric="loss", mode="min", **given)


def iterations(analysis: ExperimentAnalysis) -> list[int]:
    return [trial.last_result.get("training_iteration", 0) for trial in analysis.trials]


@pytest.mark.parametrize(
    ("kind", "executor"), [("none", "inline"), ("asha", "inline"), ("asha", "process"), ("chooses", "inline"), ("chooses", "process")]
)
def test_a_trial_ends_as_if_its_scheduler_had_stopped_it(tmp_path: Path, kind: str, executor: str) -> None:
    analysis = run(tmp_path, {"trials": [1]}, scheduler=SCHEDULERS[kind](), executor=executor)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 4
    assert not analysis.interrupted
    steps = iterations(analysis)
    assert 0 < steps[1] < FOREVER
    assert [steps[i] for i in (0, 2, 3)] == [3, 3, 3]
    assert not (tmp_path / "exp" / STOP_FILE).exists()
    again = ExperimentAnalysis(tmp_path / "exp")
    assert iterations(again) == steps
    assert again.verify(SCHEDULERS[kind]()) == []  # no scheduler did it, and a replay knows that
    more = run(tmp_path, {"trials": [1]}, scheduler=SCHEDULERS[kind](), resume=True)
    assert iterations(more) == steps  # it was not begun again


@pytest.mark.parametrize("kind", ["none", pytest.param("chooses", marks=pytest.mark.slow)])
def test_a_trial_that_waits_does_not_begin(tmp_path: Path, kind: str) -> None:
    """There is one licence: trial 2 waits for it while trial 1 runs."""
    analysis = run(
        tmp_path, {"trials": [2, 1]}, scheduler=SCHEDULERS[kind](), executor="process", resources={"licence": 1},
        resources_per_trial=lambda config: {"cpu": 1, "licence": 1},
    )  # fmt: skip
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 4
    steps = iterations(analysis)
    assert (steps[0], steps[2], steps[3]) == (3, 0, 3)
    assert iterations(run(tmp_path, {"trials": [2, 1]}, scheduler=SCHEDULERS[kind](), resume=True)) == steps


def silent(config: dict[str, Any]) -> None:
    """Trial 1 asks to be stopped at once, and never reports again."""
    tune.report(loss=1.0)
    if config["x"] == 1:
        ask(config["folder"], [StopRequest(tune.get_trial_id(), True)])
        threading.Event().wait()


def test_at_once_does_not_wait_for_a_report(tmp_path: Path) -> None:
    space = {"x": tune.grid_search([0, 1]), "folder": str(tmp_path / "exp")}
    analysis = tune.run(silent, config=space, name="exp", storage_path=tmp_path, verbose=0, max_failures=3)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    assert iterations(analysis) == [1, 1]
    assert analysis.trials[1].num_failures == 0


@pytest.mark.parametrize(("executor", "end"), [("inline", False), ("inline", True), ("process", False)])
def test_a_run_ends_as_by_a_ctrl_c(tmp_path: Path, executor: str, end: bool) -> None:
    analysis = run(tmp_path, {"end": end}, executor=executor, max_concurrent_trials=1)
    statuses = [trial.status for trial in analysis.trials]
    assert analysis.interrupted is not end
    assert statuses[1] == ("TERMINATED" if end else "RUNNING")
    assert not (tmp_path / "exp" / STOP_FILE).exists()
    more = run(tmp_path, {"trials": [1]}, resume=True)
    assert [trial.status for trial in more.trials] == ["TERMINATED"] * 4


def test_a_run_in_another_thread_ends_too(tmp_path: Path) -> None:
    found: list[ExperimentAnalysis] = []
    thread = threading.Thread(target=lambda: found.append(run(tmp_path, {"end": False})))
    thread.start()
    thread.join()
    assert found[0].interrupted


def test_who_asks_and_tells_is_told_to_stop(tmp_path: Path) -> None:
    with tune.open_experiment({"x": tune.uniform(0, 1)}, metric="loss", mode="min", name="exp", storage_path=tmp_path) as experiment:
        first, second = experiment.ask(), experiment.ask()
        ask(str(tmp_path / "exp"), [StopRequest(first.trial_id)])
        experiment.tell(second, 0.5)
        assert ExperimentAnalysis(tmp_path / "exp").trials[0].status == "TERMINATED"
        ask(str(tmp_path / "exp"), [StopRequest(None)])
        with pytest.raises(LookupError):
            experiment.ask()


class Wanders(tune.Trainable):
    """Now and then it wants any trial of the experiment to be stopped."""

    def setup(self, config: dict[str, Any]) -> None:
        self.at = 0.0
        self.random = random.Random(f"{config['seed']} {config['k']}")

    def step(self) -> dict[str, Any]:
        self.at += self.random.random()
        if self.random.random() < 0.15:
            wanted = f"{self.trial_id[:-5]}{self.random.randrange(self.config['trials']):05d}"
            ask(self.config["folder"], [StopRequest(wanted, self.random.random() < 0.2)])
        return {"loss": self.at + self.config["k"] / 10, "done": self.iteration >= 11}

    def save_checkpoint(self, folder: str) -> dict[str, Any]:
        return {"at": self.at}

    def load_checkpoint(self, saved: dict[str, Any]) -> None:
        self.at = saved["at"]


WANDERED: dict[str, Any] = {
    "asha": lambda: create_scheduler("asha", max_t=12, grace_period=2, reduction_factor=2),
    "hyperband": lambda: create_scheduler("hyperband", max_t=12),
    "median_stopping_rule": lambda: create_scheduler("median_stopping_rule", grace_period=2, min_samples_required=2),
    "pasha": lambda: create_scheduler("pasha", max_t=12, grace_period=1, reduction_factor=2),
    "pbt": lambda: create_scheduler(
        "pbt", perturbation_interval=3, hyperparam_mutations={"lr": tune.uniform(0, 1)}, seed=1
    ),
}


AT_ONCE = [("hyperband", 0), ("hyperband", 6), ("asha", 1), ("pbt", 1)]  # in HyperBand the order of two records decides
OTHERS = [(kind, seed) for kind in WANDERED for seed in range(8) if (kind, seed) not in AT_ONCE]


@pytest.mark.parametrize(("kind", "seed"), [*AT_ONCE, *(pytest.param(*one, marks=pytest.mark.slow) for one in OTHERS)])
def test_whatever_is_stopped_when_a_replay_decides_the_same(tmp_path: Path, kind: str, seed: int) -> None:
    space = {"k": tune.grid_search(list(range(12))), "lr": tune.uniform(0, 1), "seed": seed, "trials": 12}
    space["folder"] = str(tmp_path / "exp")
    given: dict[str, Any] = {
        "name": "exp", "storage_path": tmp_path, "config": space, "metric": "loss", "mode": "min", "executor": "inline", "seed": seed,
        "verbose": 0, "max_concurrent_trials": 1 + seed % 4,
    }  # fmt: skip
    first = tune.run(Wanders, scheduler=WANDERED[kind](), **given)
    assert {trial.status for trial in first.trials} == {"TERMINATED"}
    read = ExperimentAnalysis(tmp_path / "exp")
    assert iterations(read) == iterations(first)
    assert read.verify(WANDERED[kind]()) == []
    assert iterations(tune.run(Wanders, scheduler=WANDERED[kind](), resume=True, **given)) == iterations(first)


# Leaves its process where a trial is told to stop: the journal has the wish and not the end.
DIES = """
import os, sys
sys.path.insert(0, sys.argv[2])
import fasttune as tune
from fasttune.engine import folder_watch
from fasttune.engine.stop_requests import StopRequest, ask

folder_watch.WATCH_S = 0.0
folder = os.path.join(sys.argv[1], "exp")

def train(config):
    if config["x"] == 1 and "first" in sys.argv:
        ask(folder, [StopRequest(tune.get_trial_id())])
    try:
        for step in range(10**7 if config["x"] == 1 else 3):
            tune.report(loss=1.0)
    except BaseException:
        os._exit(9)

tune.run(train, config={"x": tune.grid_search([0, 1, 2])}, name="exp", storage_path=sys.argv[1], resume="AUTO",
         executor="inline", verbose=0, metric="loss", mode="min")
"""


def test_what_was_asked_is_done_after_a_kill(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", DIES, str(tmp_path), PACKAGE]
    assert forks.run([*argv, "first"], check=False).returncode == 9
    assert ExperimentAnalysis(tmp_path / "exp").trials[1].status == "RUNNING"
    assert forks.run(argv, check=False).returncode == 0
    analysis = ExperimentAnalysis(tmp_path / "exp")
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3
    assert analysis.verify(FIFOScheduler()) == []


# ---- the file


def test_a_request_is_read_once_and_whole(tmp_path: Path) -> None:
    requests = StopRequests(str(tmp_path))
    assert requests.take() == []
    ask(str(tmp_path), [StopRequest("a_0"), StopRequest("a_1", True)])
    assert requests.take() == [StopRequest("a_0"), StopRequest("a_1", True)]
    assert requests.take() == []
    with open(tmp_path / STOP_FILE, "a") as file:
        file.write('{"trial": "a_2"')
        file.flush()
        assert requests.take() == []
        file.write("}\n")
    assert requests.take() == [StopRequest("a_2")]
    ask(str(tmp_path), [StopRequest(None, True)])
    assert requests.take() == [StopRequest(None, True)]
    requests.forget()
    assert not (tmp_path / STOP_FILE).exists()
    ask(str(tmp_path), [StopRequest(None)])
    assert requests.take() == [StopRequest(None)]


@pytest.mark.parametrize("line", [b"", b"stop", b"[]", b'{"trial": 3}', b'{"run": "yes"}', b"\xff", b"[" * 5000, b"{}"])
def test_what_is_no_request_is_passed_over(line: bytes) -> None:
    assert request_of(line) is None


def test_what_is_longer_than_any_request_is_passed_over(tmp_path: Path) -> None:
    requests = StopRequests(str(tmp_path))
    (tmp_path / STOP_FILE).write_bytes(b"x" * (3 << 20))
    assert [requests.take() for _ in range(4)] == [[], [], [], []]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "second name"])
def test_what_is_no_plain_file_is_not_heard(tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    other.write_text('{"run": true}\n')
    folder = tmp_path / "exp"
    folder.mkdir()
    path = folder / STOP_FILE
    {
        "link": lambda: path.symlink_to(other), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir,
        "second name": lambda: os.link(other, path),
    }[kind]()  # fmt: skip
    requests = StopRequests(str(folder))
    if kind == "second name":
        assert requests.take() == [StopRequest(None)]  # it is only read
    elif kind == "pipe":
        assert requests.take() == []  # empty
    else:
        with pytest.warns(RuntimeWarning, match="a request to stop is not heard"):
            assert requests.take() == []
        assert requests.take() == []  # said once
    with pytest.raises(ForeignFileError, match=r"stop\.requests"):
        ask(str(folder), [StopRequest(None)])
    assert other.read_text() == '{"run": true}\n'
    requests.forget()
    assert path.exists() == (kind == "folder")


def test_a_file_of_another_user_is_not_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(str(tmp_path), [StopRequest(None)])
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 4711)
    given = os.stat(tmp_path / STOP_FILE).st_uid
    os.chown(tmp_path / STOP_FILE, given + 1 if given == 0 and os.getuid() == 0 else given, -1)
    with pytest.warns(RuntimeWarning, match="belongs to"):
        assert StopRequests(str(tmp_path)).take() == []


# ---- the command


SLOW = """
import time
import fasttune as tune

def train(config):
    for epoch in range(100000):
        tune.report(loss=1.0 / (1 + epoch))
        time.sleep(0.01)

tune.run(train, name="slow", metric="loss", mode="min", verbose=0, num_samples=2, executor="inline")
"""


def test_the_command_stops_a_trial_and_then_the_run(results_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import time

    run = forks.Popen([sys.executable, "-c", SLOW], env={**os.environ, "PYTHONPATH": PACKAGE})
    try:
        deadline = time.monotonic() + 60
        while main(["ls", "slow"]) or "RUNNING" not in capsys.readouterr().out:
            assert time.monotonic() < deadline
        assert main(["stop", "slow", "0"]) == 0
        assert "has ended after" in capsys.readouterr().err
        assert main(["stop", "slow", "0"]) == 1
        assert "is over already" in capsys.readouterr().err
        assert main(["stop", "slow", "77"]) == 1
        assert "there is no trial '77'" in capsys.readouterr().err
        assert main(["rm", "slow", "--yes"]) == 1
        assert "fasttune stop ends it" in capsys.readouterr().err
        assert main(["stop", "latest", "--wait", "60"]) == 0
        assert "the run has ended" in capsys.readouterr().err
        assert run.wait() == 0
    finally:
        run.kill()
        run.wait()
    assert [trial.status for trial in ExperimentAnalysis(results_dir / "slow").trials] == ["TERMINATED", "RUNNING"]
    assert main(["stop", "slow"]) == 1
    assert "there is nothing to stop" in capsys.readouterr().err
    for argv in (["stop", "slow", "--now"], ["stop", "slow", "0", "--end"]):
        assert main(argv) == 1
        assert "fasttune: --" in capsys.readouterr().err


def test_virtual_time_has_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ask(str(tmp_path), [StopRequest(None)])
    given: dict[str, Any] = {"steps": 3, "num_samples": 2, "metric": "loss", "mode": "min"}
    made = tune.simulate(lambda config, step: {"loss": config["x"] / step}, {"x": 1.0}, **given)
    assert [trial.status for trial in made.trials] == ["TERMINATED"] * 2
    assert (tmp_path / STOP_FILE).exists()


def test_what_somebody_left_half_written_swallows_no_request(tmp_path: Path) -> None:
    from fasttune.engine.stop_requests import StopRequest, StopRequests, ask

    (tmp_path / "stop.requests").write_bytes(b'{"trial": "a_0')
    heard = StopRequests(str(tmp_path))
    assert heard.take() == []
    ask(str(tmp_path), [StopRequest("a_00001")])
    assert heard.take() == [StopRequest("a_00001")]
    other = tmp_path / "other"
    other.write_bytes((tmp_path / "stop.requests").read_bytes().replace(b"00001", b"00002"))
    os.replace(other, tmp_path / "stop.requests")  # of the same size
    assert heard.take() == [StopRequest("a_00002")]
