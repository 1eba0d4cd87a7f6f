"""Ctrl-C once and twice, SIGTERM, and a run in a thread (C2 row 17)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import crash_script
import pytest
from laboratory import Lab, check_acks, wait_until


def press(process: subprocess.Popen[str], number: int = signal.SIGINT) -> None:
    process.send_signal(number)


def answer_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What the script printed behind its run."""
    out, err = process.communicate(timeout=30)
    assert out, err
    answer: dict[str, Any] = json.loads(out)
    return answer


def check_journal(lab: Lab) -> Any:
    """Nothing is left but a whole journal, with every report that was acknowledged."""
    lab.nobody_left()
    assert sorted(os.listdir(lab.experiment)) == [".lock", "experiment.db"]
    state = lab.reopen()
    check_acks(lab, state)
    return state


@pytest.mark.parametrize("acks", [1, 100])
def test_C2_17_one_interrupt_returns_the_results(lab: Lab, executor: str, acks: int) -> None:
    process = lab.start(lab.told("endless", executor, samples=3, workers=2, frame=True))
    assert lab.wait_for_acks(acks, process)
    press(process)
    answer = answer_of(process)
    assert process.returncode == 0
    assert answer["handlers_restored"]
    assert answer["rows"] >= 1
    assert "RUNNING" in answer["statuses"]
    assert "ERROR" not in answer["statuses"]
    check_journal(lab)


def test_C2_17_an_interrupted_experiment_goes_on_where_it_was(lab: Lab, executor: str) -> None:
    """The same script with resume="AUTO" finishes; what had ended is not run again, configs go on in their sequence."""
    told = lab.told("steady", executor, samples=300, reports=4, workers=2, seed=5, resume="AUTO")
    process = lab.start(told)
    assert lab.wait_for_acks(250, process)
    press(process)
    first = answer_of(process)
    ended = check_journal(lab)
    attempts = {i: ended.table.attempt(i) for i in range(len(ended)) if ended.status(i) == "TERMINATED"}
    assert 0 < len(attempts) < 300
    crash_script.run(told)
    state = check_journal(lab)
    assert state.table.counts()["TERMINATED"] == len(state) == 300
    assert {i: state.table.attempt(i) for i in attempts} == attempts
    assert [state.config(i)["x"] for i in range(len(first["configs"]))] == first["configs"]
    undisturbed = crash_script.run({**told, "name": "undisturbed", "resume": None, "acks": str(lab.folder / "others")})
    assert [state.config(i)["x"] for i in range(300)] == [trial.config["x"] for trial in undisturbed.trials]


def test_C2_17_interrupted_again_and_again(lab: Lab, executor: str) -> None:
    told = lab.told("steady", executor, samples=120, reports=4, workers=2, seed=5, resume="AUTO")
    for acks in (1, 40, 100):
        process = lab.start(told)
        lab.wait_for_acks(acks, process)
        press(process)
        process.communicate(timeout=30)
        assert process.returncode in (0, 1, -signal.SIGINT)  # before the run began it is a plain KeyboardInterrupt
        if Path(lab.experiment).exists():
            check_journal(lab)
    crash_script.run(told)
    assert check_journal(lab).table.counts()["TERMINATED"] == 120


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_C2_17_the_same_signal_twice_at_once_is_one(lab: Lab, executor: str, number: signal.Signals) -> None:
    """As GNU timeout sends it: to the process, and to the group that it is in."""
    process = lab.start(lab.told("endless", executor, samples=3, workers=2))
    assert lab.wait_for_acks(20, process)
    for _ in range(2):
        press(process, number)
        time.sleep(0.001)
    _, err = process.communicate(timeout=30)
    assert process.returncode == (0 if number == signal.SIGINT else -number), err
    check_journal(lab)


def test_C2_17_two_interrupts_end_the_program(lab: Lab, executor: str) -> None:
    """The second one is the script's own KeyboardInterrupt; the journal is whole all the same."""
    process = lab.start(lab.told("stubborn", executor, samples=3, workers=2))
    assert lab.wait_for_acks(20, process)
    press(process)
    press(process)
    # two signals sent at once may arrive as one: go on as an impatient person does
    for _ in range(100):
        try:
            process.wait(timeout=0.2)
            break
        except subprocess.TimeoutExpired:
            press(process)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (0, 1, -signal.SIGINT), err
    lab.nobody_left()
    check_acks(lab, lab.reopen())


def test_C2_17_a_second_interrupt_leaves_a_callback_that_does_not_come_back(lab: Lab) -> None:
    stuck = lab.folder / "stuck"
    process = lab.start(lab.told("endless", "process", samples=2, workers=1, stuck=str(stuck)))
    assert lab.wait_for_acks(20, process)
    stuck.touch()
    press(process)
    for _ in range(100):
        try:
            process.wait(timeout=0.2)
            break
        except subprocess.TimeoutExpired:
            press(process)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (1, -signal.SIGINT)
    assert "KeyboardInterrupt" in err
    check_journal(lab)


def test_C2_17_a_terminated_driver_brings_its_results_home(lab: Lab, executor: str) -> None:
    """SIGTERM ends the process by that signal, as it would any other, and leaves a whole journal and nobody behind."""
    process = lab.start(lab.told("endless", executor, samples=3, workers=2))
    assert lab.wait_for_acks(30, process)
    press(process, signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    check_journal(lab)


def test_C2_17_a_closed_terminal_ends_everything(lab: Lab, executor: str) -> None:
    """SIGHUP is not ours: the process dies of it; nobody is left, and nothing that was acknowledged is lost."""
    process = lab.start(lab.told("endless", executor, samples=3, workers=2))
    assert lab.wait_for_acks(30, process)
    press(process, signal.SIGHUP)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGHUP
    lab.nobody_left()
    check_acks(lab, lab.reopen())


def test_C2_17_a_users_own_handler_of_sigterm_stays(executor: str, tmp_path: Path) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        told = {"trainable": "steady", "executor": executor, "folder": str(tmp_path), "acks": str(tmp_path / "acks")}
        mine = signal.getsignal(signal.SIGTERM)
        crash_script.run({**told, "samples": 2})
        assert signal.getsignal(signal.SIGTERM) is mine
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_C2_17_handlers_are_restored_after_a_run_and_after_an_error(executor: str, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    told = {"trainable": "steady", "executor": executor, "folder": str(tmp_path), "acks": str(tmp_path / "acks")}
    crash_script.run({**told, "samples": 2})
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    analysis = crash_script.run({**told, "samples": 2, "acks": str(tmp_path / "no" / "such" / "folder")})
    assert {trial.status for trial in analysis.trials} == {"ERROR"}
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_R14_a_run_in_a_thread_touches_no_signal(lab: Lab, executor: str) -> None:
    process = lab.start(lab.told("steady", executor, samples=5, thread=True))
    answer = answer_of(process)
    assert answer["statuses"] == ["TERMINATED"] * 5
    assert answer["handlers_restored"]
    check_journal(lab)


def test_C2_17_a_signal_before_the_run_is_over_in_a_thread_run(lab: Lab) -> None:
    """The run is in a thread, so Ctrl-C is the main thread's; ending that one by force ends the workers."""
    process = lab.start(lab.told("endless", "process", samples=2, workers=2, thread=True))
    assert lab.wait_for_acks(20, process)
    process.kill()
    process.wait()
    lab.nobody_left()
    check_acks(lab, lab.reopen())
    wait_until(lambda: not lab.marked(), "processes are left")


def test_an_interrupt_while_a_trials_reports_are_stored_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inline, the loop stores from within a report. A signal that comes just then waited, and nobody heeded it."""
    import fasttune as tune
    from fasttune.storage.sqlite import SqliteStorage

    append = SqliteStorage.append
    stored = []

    def append_and_press(self: SqliteStorage, entries: Any, *more: Any) -> None:
        append(self, entries, *more)
        stored.append(len(entries))
        if len(stored) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SqliteStorage, "append", append_and_press)

    def train(config: dict[str, Any]) -> None:
        for _ in range(20_000):
            time.sleep(0.0005)
            tune.report(loss=1.0)

    analysis = tune.run(train, num_samples=3, executor="inline", storage_path=tmp_path, verbose=0)
    assert analysis.interrupted
    assert len(analysis.trials) == 1
