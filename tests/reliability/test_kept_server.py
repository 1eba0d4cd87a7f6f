"""The server of a run that is over serves the next one, if it is what would be launched now; and it is never left over."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.executors import server
from fasttune.processes import is_running
from fasttune.schedulers import ASHAScheduler

PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server.end_resting()
    monkeypatch.setenv("FASTTUNE_KEEP_SERVER", "1")
    yield
    server.end_resting()


def tells_its_server(config: dict[str, Any]) -> None:
    tune.report(server=os.getppid(), worker=os.getpid(), cwd=os.getcwd(), umask=mask(), told=os.environ.get("TOLD", ""))


def mask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def run(folder: Path, trainable: Any = tells_its_server, **more: Any) -> Any:
    told = {"num_samples": 2, "verbose": 0, "storage_path": str(folder), **more}
    return tune.run(trainable, **told)


def servers(analysis: Any) -> set[int]:
    return {trial.last_result["server"] for trial in analysis.trials}


def is_there(pid: int) -> bool:
    return is_running(pid)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def test_the_next_run_has_the_same_server_and_other_workers(tmp_path: Path) -> None:
    first, second, third = (run(tmp_path) for _ in range(3))
    assert len(servers(first)) == 1
    assert servers(first) == servers(second) == servers(third)
    workers = [{trial.last_result["worker"] for trial in one.trials} for one in (first, second, third)]
    assert not workers[0] & workers[1]
    assert not any(is_there(pid) for one in workers for pid in one)
    assert is_there(*servers(first))


def test_what_is_read_late_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of trainables have one server: pytest sets a variable for each of them. Workers find what holds now."""

    def tells(config: dict[str, Any]) -> None:
        tune.report(server=os.getppid(), told=os.environ["FASTTUNE_OF_THIS_TEST"], test=os.environ["PYTEST_CURRENT_TEST"])

    seen = []
    for told in ("one", "two"):
        monkeypatch.setenv("FASTTUNE_OF_THIS_TEST", told)
        monkeypatch.setenv("PYTEST_CURRENT_TEST", f"test {told}")
        seen.append(run(tmp_path, tells))
        assert {(t.last_result["told"], t.last_result["test"]) for t in seen[-1].trials} == {(told, f"test {told}")}
    assert servers(seen[0]) == servers(seen[1])


def test_none_is_kept_if_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTTUNE_KEEP_SERVER", "0")
    analysis = run(tmp_path)
    assert not is_there(*servers(analysis))


def changed_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("TOLD", "now")
    return lambda result: result["told"] == "now"


def changed_mask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    before = os.umask(0o027)
    monkeypatch.callback = lambda: os.umask(before)  # type: ignore[attr-defined]
    return lambda result: result["umask"] == 0o027


def changed_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0 if soft else min(hard, 4096) if hard >= 0 else 4096, hard))
    monkeypatch.callback = lambda: resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))  # type: ignore[attr-defined]
    return lambda result: True


def another_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    file = os.open(tmp_path / "inherited", os.O_WRONLY | os.O_CREAT)
    os.set_inheritable(file, True)
    monkeypatch.callback = lambda: os.close(file)  # type: ignore[attr-defined]
    return lambda result: True


@pytest.mark.parametrize("change", [changed_environment, changed_mask, changed_limit, another_file])
def test_what_workers_inherit_has_changed(change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was started before would hand on what held then."""
    first = run(tmp_path)
    monkeypatch.callback = lambda: None  # type: ignore[attr-defined]
    try:
        holds = change(monkeypatch, tmp_path)
        second = run(tmp_path)
    finally:
        monkeypatch.callback()  # type: ignore[attr-defined]
    assert servers(first) != servers(second)
    assert not is_there(*servers(first))
    assert all(holds(trial.last_result) for trial in second.trials)


def test_another_folder_to_work_in_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    second = run(tmp_path)
    assert servers(first) == servers(second)
    assert {trial.last_result["cwd"] for trial in second.trials} == {str(tmp_path / "elsewhere")}


def test_modules_are_looked_for_where_this_process_does_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path)
    (tmp_path / "module_of_the_second_run.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def imports(config: dict[str, Any]) -> None:
        import module_of_the_second_run

        tune.report(server=os.getppid(), value=module_of_the_second_run.VALUE)

    second = run(tmp_path, imports)
    assert servers(first) == servers(second)
    assert {trial.last_result["value"] for trial in second.trials} == {7}


def test_one_that_was_killed_is_replaced_without_a_word(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    first = run(tmp_path)
    (pid,) = servers(first)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_there(pid))
    second = run(tmp_path)
    assert servers(second) != {pid}
    assert not [str(one.message) for one in recwarn if "server" in str(one.message)]


def test_a_server_that_died_in_its_second_run_is_launched_again(tmp_path: Path) -> None:
    first = run(tmp_path)

    def kills(config: dict[str, Any]) -> None:
        if not os.path.exists(config["mark"]):
            open(config["mark"], "w").close()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        tells_its_server(config)

    with pytest.warns(RuntimeWarning, match="was killed by SIGKILL"):
        second = run(tmp_path, kills, config={"mark": str(tmp_path / "mark")}, max_failures=2)
    third, fourth = run(tmp_path), run(tmp_path)  # the third may be what was launched while signals were the run's
    assert servers(third) == servers(fourth)
    assert not servers(third) & servers(first)
    assert len(second.trials) == 2


def curve(config: dict[str, Any]) -> None:
    for step in range(1, 10):
        tune.report(loss=config["x"] + 1 / step)


def test_each_run_has_rungs_of_its_own(tmp_path: Path) -> None:
    """Also when the first one's are looked at after the second has begun in the same server."""

    def asha() -> Any:
        return ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3, metric="loss", mode="min")

    first, second = asha(), asha()
    run(tmp_path, curve, config={"x": tune.uniform(0, 1)}, num_samples=20, scheduler=first, seed=1)
    before = first.live_rule.rung_sizes()
    run(tmp_path, curve, config={"x": tune.uniform(0, 1)}, num_samples=5, scheduler=second, seed=2)
    assert first.live_rule.rung_sizes() == before
    assert before[0][0] == 20
    assert second.live_rule.rung_sizes()[0][0] == 5
    del first, second


def leaves_a_process(config: dict[str, Any]) -> None:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    tune.report(server=os.getppid(), child=child.pid)


def test_what_trials_had_started_ends_with_their_run(tmp_path: Path) -> None:
    first = run(tmp_path, leaves_a_process)
    assert not any(is_there(int(trial.last_result["child"])) for trial in first.trials)
    assert servers(first) == servers(run(tmp_path))


def test_two_runs_at_once_have_two(tmp_path: Path) -> None:
    run(tmp_path)
    together = threading.Barrier(2)
    found: list[set[int]] = []

    def one(k: int) -> None:
        together.wait()
        found.append(servers(run(tmp_path / str(k))))

    threads = [threading.Thread(target=one, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    last = servers(run(tmp_path))
    assert last in found
    assert sum(is_there(pid) for one in found for pid in one) == 1  # at most one rests


def test_a_refused_run_leaves_it_to_the_next_one(tmp_path: Path) -> None:
    first = run(tmp_path)
    with pytest.raises(TypeError, match="num_samples"):
        run(tmp_path, num_samples="many")
    with pytest.raises(ValueError, match="metric"):
        run(tmp_path, scheduler="asha")
    assert servers(run(tmp_path)) == servers(first)


def test_a_run_that_fails_before_its_server_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first = run(tmp_path)

    def fails(*_: Any) -> Any:
        raise OSError("no place for the program")

    with monkeypatch.context() as patch:
        patch.setattr("fasttune.executors.program_pickle.ProgramFile", fails)
        with pytest.raises(OSError, match="no place"):
            run(tmp_path)
    assert servers(run(tmp_path)) == servers(first)
    assert "Traceback" not in capfd.readouterr().err


def prints(config: dict[str, Any]) -> None:
    print("printed", flush=True)
    tells_its_server(config)


def test_who_reads_what_a_run_has_printed_finds_its_end(tmp_path: Path) -> None:
    """A server that rests has no standard output open, and the next run's prints come where they should."""
    found = []
    for _ in range(2):
        reader, writer = os.pipe()
        kept = os.dup(1)
        os.dup2(writer, 1)
        os.close(writer)
        try:
            analysis = run(tmp_path, prints)
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        with open(reader, "rb") as file:
            found.append((servers(analysis), file.read().count(b"printed")))
    assert found == [(servers(analysis), 2)] * 2


def test_it_has_no_number_of_a_standard_stream(tmp_path: Path) -> None:
    """Where one is closed the system gives its number to the next file, and whoever opens that stream again means another one."""
    kept = os.dup(0)
    os.close(0)
    try:
        first = run(tmp_path)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    assert servers(run(tmp_path)) != servers(first)  # it has no standard input


SCRIPT = """
    import os, sys
    import fasttune as tune

    def trial(config):
        tune.report(server=os.getppid())

    if __name__ == "__main__":
        for _ in range(2):
            analysis = tune.run(trial, verbose=0, storage_path=sys.argv[1])
        print(int(analysis.trials[0].last_result["server"]), flush=True)
        {end}
"""


@pytest.mark.parametrize(
    "end",
    ["pass", "os._exit(3)", "os.kill(os.getpid(), 9)", "raise ArithmeticError", "os.execv('/bin/true', ['true'])",
     "os.fork() or __import__('time').sleep(20); os._exit(0)"],
)  # fmt: skip
def test_it_ends_with_this_process(end: str, tmp_path: Path) -> None:
    """Also where a child of the process keeps the socket open; and whoever waits for the end of its output is not kept waiting."""
    program = tmp_path / "script.py"
    program.write_text(textwrap.dedent(SCRIPT).format(end=end))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FASTTUNE_KEEP_SERVER": "1"}
    with open(tmp_path / "told", "w") as file:
        subprocess.run([sys.executable, str(program), str(tmp_path)], env=env, stdout=file, stderr=subprocess.DEVNULL, timeout=60)
    pid = int((tmp_path / "told").read_text())
    until(lambda: not is_there(pid))


def sockets() -> int:
    return sum(os.path.realpath(f"/proc/self/fd/{fd}").rpartition("/")[2].startswith("socket:") for fd in os.listdir("/proc/self/fd"))


def test_a_forked_child_has_none_of_ours(tmp_path: Path) -> None:
    (ours,) = servers(run(tmp_path))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            (other,) = servers(run(tmp_path / "child"))
            server.end_resting()
            status = 0 if other != ours and sockets() == 0 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert servers(run(tmp_path)) == {ours}
