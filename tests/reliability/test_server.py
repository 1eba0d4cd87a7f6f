"""The processes that workers come from: a server that dies, forks that fail, what is left, and what is said of it."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import control_group, run_boxed
from laboratory import MARK, SOURCE, Lab, check_acks, wait_until

import fasttune as tune
import forks
from fasttune import _core
from fasttune.engine.opening import open_records
from fasttune.executors import process, server
from fasttune.executors.server import MARK as SERVER_MARK
from fasttune.executors.server import end_marked, marked
from fasttune.processes import is_running, standing_of


def a_run(trainable: Any, folder: Path, samples: int = 8, **more: Any) -> tune.ExperimentAnalysis:
    settings: dict[str, Any] = {
        "config": {"n": tune.grid_search(list(range(samples)))},
        "storage_path": folder,
        "name": "run",
        "metric": "loss",
        "mode": "min",
        "verbose": 0,
        "resources_per_trial": {"cpu": 0.5},
        "raise_on_failed_trial": False,
    }
    return tune.run(trainable, **{**settings, **more})


def texts_of(analysis: tune.ExperimentAnalysis) -> list[str]:
    """What the journal says of each trial that failed."""
    state = open_records(analysis.experiment_path)
    found = [state.failure(trial.index) for trial in analysis.trials]
    return [failure.text for failure in found if failure is not None]


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


# -- a server that dies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV], ids=lambda one: one.name)
def test_C2_18_a_trial_that_kills_the_server(tmp_path: Path, number: signal.Signals) -> None:
    """It costs the trials that ran in its workers; the others are run by new ones, and the signal is named."""

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": config["n"]})
        if config["n"] == 3:
            os.kill(os.getppid(), number)
            time.sleep(60)
        tune.report({"loss": config["n"] - 0.5})

    with pytest.warns(RuntimeWarning, match=rf"the server of the worker processes was killed by {number.name} \("):
        analysis = a_run(trial, tmp_path, samples=12)
    statuses = [one.status for one in analysis.trials]
    failed = [i for i, status in enumerate(statuses) if status == "ERROR"]
    assert 3 in failed
    assert len(failed) <= len(os.sched_getaffinity(0)) * 2
    assert statuses.count("TERMINATED") == 12 - len(failed)
    assert analysis.trials[3].last_result["loss"] == 3
    assert all(f"ended with the server of all workers, which was killed by {number.name}" in t for t in texts_of(analysis))


def test_C2_18_max_failures_goes_on_after_a_server(tmp_path: Path) -> None:
    """Each of three trials kills the server once: everything is trained in the end, by the same compiled rule on the
    same shared memory, whose decisions are those of the journal."""
    marks = tmp_path / "marks"
    marks.mkdir()

    def trial(config: dict[str, Any]) -> None:
        for step in range(1, 10):
            tune.report({"loss": config["n"] / step})
            if step == 1 and config["n"] in (3, 12, 20) and not (marks / str(config["n"])).exists():
                (marks / str(config["n"])).touch()
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)

    def asha() -> tune.schedulers.ASHAScheduler:
        return tune.schedulers.ASHAScheduler(max_t=9, grace_period=2, reduction_factor=3)

    with pytest.warns(RuntimeWarning, match="SIGKILL"):
        analysis = a_run(trial, tmp_path, samples=30, max_failures=3, scheduler=asha())
    assert {one.status for one in analysis.trials} == {"TERMINATED"}
    assert len(os.listdir(marks)) == 3
    assert analysis.verify(asha()) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_C2_18_a_killed_server_costs_its_trials_and_the_run_goes_on(lab: Lab, workers: int) -> None:
    """Every acknowledged report is there, nobody is left, the trials that had not begun are run."""
    told = lab.told("steady", "process", samples=60, workers=workers, reports=20)
    run = lab.start(told)
    assert lab.wait_for_acks(50, run)
    os.kill(children_of(run.pid)[0], signal.SIGKILL)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "RuntimeWarning: the server of the worker processes was killed by SIGKILL" in err
    lab.nobody_left()
    state = lab.reopen()
    check_acks(lab, state)
    counts = state.table.counts()
    assert counts["ERROR"] <= workers
    assert counts["TERMINATED"] == 60 - counts["ERROR"]
    assert sorted(os.listdir(lab.experiment)) == [".lock", "experiment.db"]


@pytest.mark.parametrize("workers", [1, 2])
def test_C2_18_a_killed_server_takes_all_grandchildren_along(lab: Lab, workers: int) -> None:
    """Those in the workers' process groups, and those that have left them: known by their environment."""
    run = lab.start(lab.told("brood", "process", samples=workers, workers=workers))
    assert lab.wait_for_acks(20, run)
    wait_until(lambda: len(lab.marked()) >= 2 + 3 * workers, "driver, server, and each worker with two children")
    server = children_of(run.pid)[0]
    old = set(lab.marked()) - {run.pid}
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not old & set(lab.marked()), "something of the dead server's is left", 5.0)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 0, err
    lab.nobody_left()


def test_C2_18_a_server_killed_while_the_run_ends(lab: Lab) -> None:
    """The time is up, a worker does not listen, and the server goes: nothing hangs and nobody is left."""
    run = lab.start(lab.told("stubborn", "process", samples=2, workers=2, budget=3.0))
    assert lab.wait_for_acks(20, run)  # a busy machine takes a second or two until there are some
    server = children_of(run.pid)[0]
    wait_until(lambda: lab.reopen_as_it_is().ended_because, "the time is up")  # workers have a second or more from then on
    os.kill(server, signal.SIGKILL)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 0, err
    lab.nobody_left()
    check_acks(lab, lab.reopen())


def start_with(folder: Path, sitecustomize: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every interpreter that is started from now on runs this first; ``is_server`` says whether it is a server's."""
    begin = "import errno, os, signal, sys, time\nis_server = os.environ.get('FASTTUNE_DEPTH') == 'loading'\n"
    (folder / "sitecustomize.py").write_text(begin + sitecustomize)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{SOURCE}")


FORKING = """
import os, sys, time
import fasttune as tune

class Forks(tune.Callback):
    def on_trial_result(self, **_):
        if not os.path.exists("forked"):
            open("forked", "w").close()
            if os.fork() == 0:
                time.sleep(1000)

def trial(config):
    while True:
        tune.report(loss=1.0)
        time.sleep(0.01)

tune.run(trial, num_samples=2, verbose=0, callbacks=[Forks()])
"""


def test_C2_18_a_killed_driver_whose_child_keeps_the_socket_open(tmp_path: Path) -> None:
    """A process that the driver has forked holds all that the driver had open: the server sees that the driver itself
    has gone, and ends with its workers."""
    process = forks.Popen(
        [sys.executable, "-c", FORKING],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    wait_until(lambda: (tmp_path / "forked").exists(), "the driver forks")
    wait_until(lambda: len(children_of(process.pid)) == 2, "the server and the forked child")
    children = set(children_of(process.pid))
    servers = {pid for pid in children if children_of(pid)}
    below = {worker for pid in servers for worker in children_of(pid)} | servers
    assert below > servers
    process.kill()
    process.wait()
    wait_until(lambda: not any(is_running(pid) for pid in below), "server and workers end")
    for pid in children - servers:
        assert is_running(pid)
        os.kill(pid, signal.SIGKILL)


DEADLY = {
    "os.kill(os.getpid(), signal.SIGKILL)": "was killed by SIGKILL",
    "os._exit(3)": "has ended with status 3",
    "sys.modules['fasttune._core'] = None": "has ended with status 1",
}


@pytest.mark.parametrize("end", DEADLY)
def test_servers_that_die_again_and_again_end_the_run_with_words(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with(tmp_path, f"if is_server:\n    {end}\n", monkeypatch)
    with (
        pytest.warns(RuntimeWarning, match=DEADLY[end]),
        pytest.raises(tune.TuneError, match=f"died 3 times in a row before a trial began; the last one {DEADLY[end]}"),
    ):
        a_run(kills_nobody, tmp_path)
    assert sorted(os.listdir(tmp_path / "run")) == [".lock", "experiment.db"]


def test_the_first_server_dies_and_the_second_one_runs_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = tmp_path / "once"
    start_with(
        tmp_path,
        f"if is_server and not os.path.exists({str(once)!r}):\n    open({str(once)!r}, 'w').close(); os._exit(7)\n",
        monkeypatch,
    )
    with pytest.warns(RuntimeWarning, match="has ended with status 7"):
        analysis = a_run(kills_nobody, tmp_path)
    assert {one.status for one in analysis.trials} == {"TERMINATED"}


def stops_the_server(config: dict[str, Any]) -> None:
    tune.report({"loss": 1.0})
    if config["n"] == 0:
        os.kill(os.getppid(), signal.SIGSTOP)
        os._exit(3)  # of which the driver hears by the server, and for which it wants another worker


def test_a_server_that_somebody_stops_is_told_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SILENT_S", 0.1)
    with pytest.warns(RuntimeWarning, match="had been stopped"):
        analysis = a_run(stops_the_server, tmp_path, 3, max_concurrent_trials=1)
    assert [one.status for one in analysis.trials] == ["ERROR", "TERMINATED", "TERMINATED"]


def test_an_answer_of_a_stopped_server_is_waited_for_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SILENT_S", 0.05)
    one = server.Server()
    try:
        os.kill(one.pid, signal.SIGSTOP)
        wait_until(lambda: (found := standing_of(one.pid)) is not None and found.state == "T", "stopped server")
        threading.Timer(0.5, one._sock.shutdown, [socket.SHUT_RDWR]).start()
        with pytest.warns(RuntimeWarning, match="had been stopped"), pytest.raises(server.ServerGoneError):
            one.hear()
        assert (found := standing_of(one.pid)) is None or found.state != "T"
    finally:
        one.end()


def kills_nobody(config: dict[str, Any]) -> None:
    tune.report({"loss": config["n"]})


def test_a_paused_trial_in_a_dead_server_is_run_anew(tmp_path: Path) -> None:
    """HyperBand has paused trials in the workers when the server dies."""
    once = tmp_path / "once"

    def trial(config: dict[str, Any]) -> None:
        for step in range(1, 10):
            if step == 4 and not once.exists():
                once.touch()
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)
            tune.report({"loss": config["n"]})

    scheduler = tune.schedulers.HyperBandScheduler(max_t=9)
    with pytest.warns(RuntimeWarning, match="SIGKILL"):
        analysis = a_run(trial, tmp_path, samples=12, max_failures=2, scheduler=scheduler)
    assert {one.status for one in analysis.trials} == {"TERMINATED"}


def test_a_server_within_a_server(tmp_path: Path) -> None:
    """The mark of a run within a trial names both servers, so that the outer one's death ends what the inner has."""

    def inner(config: dict[str, Any]) -> None:
        tune.report({"mark": os.environ[SERVER_MARK]})

    def outer(config: dict[str, Any]) -> None:
        analysis = tune.run(inner, storage_path=tmp_path, name="inner", verbose=0)
        tune.report({"loss": 1.0, "inner": analysis.trials[0].last_result["mark"], "mine": os.environ[SERVER_MARK]})

    (trial,) = a_run(outer, tmp_path, samples=1).trials
    mine, inner_mark = trial.last_result["mine"], trial.last_result["inner"]
    assert inner_mark.startswith(f"{mine}:")
    assert SERVER_MARK not in os.environ


def test_marked_processes_are_found_and_ended() -> None:
    def sleeper(mark: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["sleep", "1000"], env={**os.environ, SERVER_MARK: mark}, start_new_session=True
        )

    both = [sleeper("aa11:bb22"), sleeper("bb22")]
    other = sleeper("bb223:cc33")
    pids = {one.pid for one in both}
    wait_until(lambda: set(marked("bb22")) == pids, "the marks are in their environment")
    end_marked("bb22")
    assert [one.wait() for one in both] == [-signal.SIGKILL] * 2
    assert other.poll() is None
    assert marked("cc33") == [other.pid]
    other.kill()
    other.wait()


def test_workers_are_asked_for_without_waiting_for_each_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the first one: a system that has none to give is to be told at once."""
    events: list[str] = []
    tell, hear = server.Server.tell, server.Server.hear

    def tells(self: server.Server, message: Any, *files: int) -> None:
        events.append(message[0] if isinstance(message, tuple) else "run")
        tell(self, message, *files)

    def hears(self: server.Server) -> Any:
        message = hear(self)
        events.append(f"{message[0]}!")
        return message

    def trial(config: dict[str, Any]) -> None:
        (tmp_path / str(config["n"])).touch()
        wait_until(lambda: all((tmp_path / str(n)).exists() for n in range(6)), "all six at once")
        tune.report({"loss": config["n"]})

    monkeypatch.setattr(server.Server, "tell", tells)
    monkeypatch.setattr(server.Server, "hear", hears)
    analysis = a_run(trial, tmp_path / "results", 6, resources_per_trial={"cpu": 0.01}, max_concurrent_trials=6)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 6
    asked = [k for k, event in enumerate(events) if event == "fork"]
    assert len(asked) == 6
    assert events[asked[0] + 1] == "forked!"
    assert events[asked[1] : asked[5] + 1] == ["fork"] * 5
    assert events.count("forked!") == 6


# -- forks that fail -----------------------------------------------------------------------------------------

FORKS = """
if is_server:
    real, forks = os.fork, []
    def fork():
        if {refused}:
            raise OSError(errno.{error}, os.strerror(errno.{error}))
        forks.append(1)
        return real()
    os.fork = fork
"""


def meets(config: dict[str, Any]) -> None:
    tune.report({"loss": config["n"], "pid": os.getpid()})


@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
@pytest.mark.parametrize("several", [False, True])
def test_C2_25_a_failed_fork_leaves_the_workers_that_there_are(
    tmp_path: Path, error: str, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two can be had, eight are wanted: all trials run on two, and the limits are named once."""
    start_with(tmp_path, FORKS.format(refused="len(forks) >= 2", error=error), monkeypatch)
    more: dict[str, Any] = {"resources_per_trial": {"cpu": 0.05}, "max_concurrent_trials": 8}
    if several:  # trials are handed out one by one
        more["config"] = {"n": tune.grid_search(list(range(20))), "m": tune.sample_from(lambda spec: 1)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        analysis = a_run(meets, tmp_path, samples=20, **more)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 20
    assert len({trial.last_result["pid"] for trial in analysis.trials}) <= 2
    told = [str(one.message) for one in caught if issubclass(one.category, RuntimeWarning)]
    assert len(told) == 1
    assert "the run goes on with 2 worker processes: another one cannot be started" in told[0]
    assert os.strerror(getattr(__import__("errno"), error)) in told[0]
    assert "kernel.pid_max" in told[0]
    assert sorted(os.listdir(tmp_path / "run")) == [".lock", "experiment.db"]


def test_C2_25_forks_work_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody works, it is tried some times before that is an error."""
    start_with(tmp_path, FORKS.format(refused="len(forks) < 3 and not forks.append(1)", error="EAGAIN"), monkeypatch)
    analysis = a_run(kills_nobody, tmp_path, samples=3)
    assert {one.status for one in analysis.trials} == {"TERMINATED"}


def test_C2_25_not_one_worker_is_an_error_with_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_with(tmp_path, FORKS.format(refused="True", error="EAGAIN"), monkeypatch)
    with pytest.raises(tune.TuneError, match=r"no worker process can be started: Resource temporarily .*kernel\.pid_max"):
        a_run(kills_nobody, tmp_path)
    assert sorted(os.listdir(tmp_path / "run")) == [".lock", "experiment.db"]


@pytest.mark.usefixtures("no_resting_server")
def test_C2_25_a_server_that_cannot_be_started_is_an_error_with_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = sorted(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "posix_spawn", refuse)
    with pytest.raises(tune.TuneError, match=r"no worker processes can be started: Resource .*kernel\.pid_max"):
        a_run(kills_nobody, tmp_path)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_C2_26_a_ring_that_cannot_be_made_leaves_the_workers_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No space, or no descriptor, for the third worker's ring."""
    made: list[str] = []
    real = process.map_file

    def full(path: str, size: int) -> Any:
        if len(made) >= 2:
            Path(path).touch()  # as far as it came
            raise OSError(28, "No space left on device")
        made.append(path)
        return real(path, size)

    monkeypatch.setattr(process, "map_file", full)
    with pytest.warns(RuntimeWarning, match="goes on with 2 worker processes: another one cannot be started: .*No space"):
        analysis = a_run(meets, tmp_path, samples=20, resources_per_trial={"cpu": 0.05})
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 20
    assert sorted(os.listdir(tmp_path / "run")) == [".lock", "experiment.db"]


class Fuse:
    """Ends the process that unpickles it, but for the first ``n`` that do."""

    def __init__(self, folder: str, n: int, end: Callable[[], Any]) -> None:
        self.told = folder, n, end

    def __reduce__(self) -> tuple[Any, ...]:
        return burn, self.told


def burn(folder: str, n: int, end: Callable[[], Any]) -> None:
    for i in range(n):
        try:
            os.mkdir(os.path.join(folder, f"fuse{i}"))
            return
        except FileExistsError:
            continue
    deadline = time.monotonic() + 60  # those that can load it run by then: else nobody could, for all the driver knows
    while len([name for name in os.listdir(folder) if name.startswith("begun")]) < n and time.monotonic() < deadline:
        time.sleep(0.001)
    end()


def too_little_memory() -> None:
    raise MemoryError("on purpose")


def leave_at_once() -> None:
    os._exit(9)


@pytest.mark.parametrize("end", [leave_at_once, too_little_memory], ids=lambda end: end.__name__)
def test_C2_25_workers_that_die_before_they_begin_leave_those_that_work(
    tmp_path: Path, end: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only two processes can load the program: the run is theirs. Trials end when both are known to have begun."""
    monkeypatch.setattr(process, "FEWER_S", 0.05)
    fuse = Fuse(str(tmp_path), 2, end)

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": float(fuse is None), "pid": os.getpid()})
        (tmp_path / f"begun{config['n']}").touch()
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("begun*"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(0.1)

    with pytest.warns(RuntimeWarning, match="another one ended before it began a trial"):
        analysis = a_run(trial, tmp_path, samples=12, resources_per_trial={"cpu": 0.05}, max_concurrent_trials=4)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 12
    assert len({trial.last_result["pid"] for trial in analysis.trials}) == 2


# -- memory --------------------------------------------------------------------------------------------------

GREEDY = """
import os, signal
import fasttune as tune
import fasttune.engine.opening

def trial(config):
    tune.report(loss=1.0)
    if config["n"] == 1:
        if os.environ["GREEDY"]:
            os.kill(os.getpid(), signal.SIGKILL)
        kept = [bytearray(b"x" * (1 << 20)) for _ in range(1000)]

config = {"n": tune.grid_search([0, 1, 2, 3])}
analysis = tune.run(trial, config=config, verbose=0, max_concurrent_trials=2, raise_on_failed_trial=False)
print([trial.status for trial in analysis.trials])
print(fasttune.engine.opening.open_records(analysis.experiment_path).failure(1).text)
"""


@pytest.mark.slow
def test_C2_12_a_worker_that_the_kernel_kills_for_lack_of_memory(tmp_path: Path) -> None:
    """For real, in a control group of 200 MiB; where none can be made, a plain SIGKILL is not taken for it."""
    limit = 200 << 20
    v1 = {"memory.limit_in_bytes": limit, "memory.memsw.limit_in_bytes": limit}
    with control_group("memory", v1, {"memory.limit_in_bytes": limit}, {"memory.max": limit}) as enter:
        done = run_boxed(tmp_path, "-c", GREEDY, enter=enter, GREEDY="" if enter else "alone")
    assert done.returncode == 0, done.stderr
    assert "['TERMINATED', 'ERROR', 'TERMINATED', 'TERMINATED']" in done.stdout
    if enter is None:
        assert "died of SIGKILL: killed from outside" in done.stdout
    else:
        assert "died of SIGKILL: out of memory, the kernel killed it; the cgroup's limit is 200 MiB" in done.stdout


# -- streams -------------------------------------------------------------------------------------------------


class Broken:
    """A stream on which nothing works."""

    def __getattr__(self, name: str) -> Any:
        raise OSError("on purpose")


def close_both() -> None:
    sys.stderr.close()
    sys.stdout.close()


def close_descriptors() -> None:
    os.close(1)
    os.close(2)


def break_both() -> None:
    sys.stdout = sys.stderr = Broken()  # type: ignore[assignment]


def drop_both() -> None:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


def leave_closed() -> None:
    for name in ("stdout", "stderr"):
        setattr(sys, name, io.StringIO())
        getattr(sys, name).close()  # its flush() does not mind


WAYS_TO_BREAK = [close_both, close_descriptors, break_both, drop_both, leave_closed]
PRINTS = """
import os, sys, time
import fasttune as tune
import test_server

def trial(config):
    print("unflushed", config["n"], end=" ")
    print("trial", config["n"], flush=True)
    print("an error of", config["n"], file=sys.stderr, flush=True)
    tune.report(loss=1.0)
    print("left over", end="")
    if config["n"] in (1, 5):
        getattr(test_server, config["way"])()
    time.sleep(0.02)  # so that each is handed out by itself

config = {"n": tune.grid_search([0, 1, 2, 3, 4, 5]), "way": sys.argv[1]}
analysis = tune.run(trial, config=config, verbose=0, max_concurrent_trials=1, raise_on_failed_trial=False)
print([trial.status for trial in analysis.trials])
"""


@pytest.mark.parametrize("way", WAYS_TO_BREAK, ids=lambda way: way.__name__)
def test_a_trial_that_breaks_its_streams_costs_nobody_anything(
    tmp_path: Path, results_dir: Path, way: Callable[[], None]
) -> None:
    """No traceback at the worker's end, and the trials after it print as if nothing had been."""
    done = forks.run(
        [sys.executable, "-c", PRINTS, way.__name__],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path]), MARK: "streams"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert str(["TERMINATED"] * 6) in done.stdout
    assert done.stderr.splitlines() == [f"an error of {n}" for n in range(6)]
    assert [line for n in range(6) for line in done.stdout.splitlines() if f"trial {n}" in line]


@pytest.mark.parametrize("way", WAYS_TO_BREAK, ids=lambda way: way.__name__)
@pytest.mark.parametrize("status", [0, 1])
def test_a_worker_leaves_with_its_status_whatever_its_streams_are(way: Callable[[], None], status: int) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            print("something to flush")
            way()
            _core.leave_process(status)
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
