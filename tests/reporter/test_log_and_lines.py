from __future__ import annotations

import io
from typing import Any

import pytest
from fake_trials import Clock, FakeTrial, five_trials, snapshot_over

from fasttune.reporter import LogReporter, ResultLines, TerminalReporter, default_reporter
from fasttune.reporter.base import duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_P3_verbose_0_has_no_reporter() -> None:
    assert default_reporter(0) is None
    assert default_reporter(0, Terminal()) is None


def test_P3_the_default_reporter_fits_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("CI", raising=False)
    assert isinstance(default_reporter(1, Terminal()), TerminalReporter)
    assert isinstance(default_reporter(1, io.StringIO()), LogReporter)
    closed = io.StringIO()
    closed.close()
    assert isinstance(default_reporter(1, closed), LogReporter)


@pytest.mark.parametrize(
    ("term", "ci"),
    [("dumb", None), ("unknown", None), ("", None), (None, None), ("xterm-256color", "true")],
    ids=["dumb", "unknown", "empty", "unset", "build service"],
)
def test_P3_a_terminal_that_nobody_watches_gets_lines(
    term: str | None, ci: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TERM", term), ("CI", ci)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert isinstance(default_reporter(1, Terminal()), LogReporter)


def drive(reporter: LogReporter, clock: Clock, seconds: int) -> None:
    """A run that ends after so many seconds, with four turns a second."""
    trials = five_trials()
    reporter.setup(0.0, 5, "score", "max")
    for quarter in range(4 * seconds):
        clock.now = quarter / 4
        if reporter.should_report(trials):
            reporter.report(trials, False, snapshot_over(trials, elapsed=clock.now, total=5))
    reporter.report(
        trials, True, snapshot_over(trials, elapsed=seconds, total=5, best=("00001", 0.5, {"a": 1}))
    )


@pytest.mark.parametrize("seconds", [1, 59, 61, 119, 300])
def test_P3_at_most_five_lines_a_minute_when_nobody_watches(seconds: int) -> None:
    clock, when = Clock(), []

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            when.extend([clock.now] * text.count("\n"))
            return len(text)

    drive(LogReporter(Watched(), clock=clock), clock, seconds)
    assert len(when) >= 3
    for start in when:
        assert len([moment for moment in when if start <= moment < start + 60]) <= 5


def test_P3_what_the_log_says() -> None:
    clock, stream = Clock(), io.StringIO()
    drive(LogReporter(stream, clock=clock), clock, 21)
    assert stream.getvalue().splitlines() == [
        "fasttune: 5 trials, stored in /results/exp",
        "20s: 1/5 trials done, 3 running, 1m 20s left",
        "fasttune: 1 trial ended in 21s, 3 did not end, 1 still to run",
        "best last score 0.5 by trial 00001 with {'a': 1}",
    ]


def test_P3_a_message_of_the_run_is_shown() -> None:
    reporter = LogReporter(io.StringIO())
    status = snapshot_over(five_trials(), message="interrupted: what was reported is stored")
    assert reporter.status_line(status).endswith("3 running. interrupted: what was reported is stored")
    assert "interrupted" in reporter.last_lines(status)


def hear(lines: ResultLines, hook: str, trial: FakeTrial, **more: Any) -> None:
    getattr(lines, hook)(iteration=1, trials=[trial], trial=trial, **more)


def test_P3_verbose_2_is_one_line_for_each_result() -> None:
    stream = io.StringIO()
    lines = ResultLines(stream=stream, clock=Clock())
    trial = FakeTrial("f_00000", "RUNNING", {"a": 1}, {}, {"a": 1})
    result = {"acc": 5, "training_iteration": 1, "pid": 3}
    hear(lines, "on_trial_result", trial, result=result)
    trial.last_result = result
    hear(lines, "on_trial_complete", trial)
    assert stream.getvalue().splitlines() == [
        "Trial f_00000 iteration 1: acc=5, parameters {'a': 1}",
        "Trial f_00000 completed: acc=5",
    ]


def test_P3_results_of_one_trial_are_at_most_every_five_seconds_and_its_last_always() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = ResultLines(stream=stream, clock=clock)
    first, second = FakeTrial("t1", "RUNNING"), FakeTrial("t2", "RUNNING")
    for trial, step, seconds in ((first, 1, 0), (first, 2, 1), (second, 1, 0), (first, 3, 4), (first, 4, 1)):
        clock.now += seconds
        hear(
            lines, "on_trial_result", trial, result={"training_iteration": step, "x": step, "done": step == 4}
        )
    shown = [line.split(":")[0] for line in stream.getvalue().splitlines()]
    assert shown == [
        "Trial t1 iteration 1",
        "Trial t2 iteration 1",
        "Trial t1 iteration 3",
        "Trial t1 iteration 4",
    ]


def test_P3_verbose_3_shows_every_value() -> None:
    stream = io.StringIO()
    lines = ResultLines(full=True, stream=stream, clock=Clock())
    result = {"b": {"y": 2, "x": 1}, "a": "text", "config": {"lr": 1}}
    hear(lines, "on_trial_result", FakeTrial("t1", "RUNNING"), result=result)
    assert stream.getvalue() == "Result for t1:\n  a: text\n  b:\n    x: 1\n    y: 2\n\n"


def test_P3_a_failure_is_told_by_its_last_line() -> None:
    stream = io.StringIO()
    hear(ResultLines(stream=stream), "on_trial_error", FakeTrial("t1", "ERROR"))
    assert stream.getvalue() == "Trial t1 failed: ValueError: lr is 0\n"


def test_P3_durations_at_a_glance() -> None:
    assert [duration(s) for s in (0.84, 42.4, 59.7, 187, 5 * 3600 + 120, 187_200)] == [
        "0.8s",
        "42s",
        "1m 00s",
        "3m 07s",
        "5h 02m",
        "2d 04h",
    ]


@pytest.mark.parametrize("full", [False, True])
def test_P3_many_results_are_not_all_printed_but_all_are_counted(full: bool) -> None:
    """verbose=3 of 3,000 trials was 54,000 lines."""
    stream, clock = io.StringIO(), Clock()
    lines = ResultLines(full=full, stream=stream, clock=clock)
    result = {f"metric_{i}": i for i in range(15)}
    for number in range(3000):
        clock.now += 0.001
        trial = FakeTrial(f"t{number}", "RUNNING", last_result=result)
        hear(lines, "on_trial_result", trial, result={**result, "done": True})
        hear(lines, "on_trial_complete", trial)
    hear(lines, "on_trial_error", FakeTrial("last", "ERROR"))
    lines.on_experiment_end(trials=[])
    printed = stream.getvalue().splitlines()
    assert len(printed) < 520
    told = sum(line.startswith(("Trial t", "Result for t")) for line in printed)
    left_out = sum(int(line.split()[1].replace(",", "")) for line in printed if line.startswith("... "))
    assert told + left_out == 6000
    assert printed[-2] == "Trial last failed: ValueError: lr is 0"
    assert printed[-1].endswith("more results and ends of trials not shown; all are in the experiment's folder")
