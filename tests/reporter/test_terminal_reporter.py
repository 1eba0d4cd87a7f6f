from __future__ import annotations

import io
import subprocess
import sys

from fake_trials import Clock, FakeTrial, snapshot_over
from rich.console import Console

from fasttune.reporter import TerminalReporter


def running(number: int) -> list[FakeTrial]:
    return [
        FakeTrial(
            f"ab12c_{i:05d}",
            "RUNNING",
            {"lr": 0.001 * (i + 1)},
            {
                "accuracy": 0.9 + i / 100,
                "loss": 0.5,
                "flag": True,
                "training_iteration": i + 1,
                "time_total_s": 61.0,
            },
            {"lr": 0.001 * (i + 1), "activation": "relu"},
        )
        for i in range(number)
    ]


def drawn(status: object, done: bool = False, width: int = 100, metric: str | None = "accuracy") -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=False, color_system=None)
    reporter = TerminalReporter(console=console)
    reporter.setup(0.0, None, metric, "max")
    console.print(reporter.block(status, done))  # type: ignore[arg-type]
    return stream.getvalue()


def test_P1_the_block_shows_counts_best_speed_and_what_is_left() -> None:
    status = snapshot_over(
        running(2),
        counts={"RUNNING": 2, "TERMINATED": 1230, "ERROR": 4},
        total=2000,
        elapsed=84.0,
        trials_per_s=1.5,
        reports_per_s=412.0,
        best=("ab12c_00731", 0.97441, {"lr": 0.0031, "activation": "relu"}),
    )
    lines = drawn(status).splitlines()
    assert lines[0].endswith("1,234 / 2,000   62 %  1m 24s  52s left")
    assert "● 2 running   ✓ 1,230 done   ✗ 4 failed" in lines[1]
    assert "1.5 trials/s   412 reports/s" in lines[1]
    assert lines[2] == "best last accuracy 0.9744  ab12c_00731  lr=0.0031  activation=relu"
    assert lines[-2:] == ["2.0/2 CPUs, 0/0 GPUs  ·  Using FIFO scheduling algorithm.", "/results/exp"]


def test_P1_trials_at_work_are_listed_with_aligned_numbers() -> None:
    lines = drawn(snapshot_over(running(10), trials_per_s=0.2)).splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("trial"))
    assert lines[head].split() == ["trial", "iter", "time", "accuracy", "loss", "lr", "activation"]
    assert lines[head + 1].split() == ["ab12c_00000", "1", "1m", "01s", "0.9000", "0.5000", "0.001", "relu"]
    ends = {line.index("0.5000 ") for line in lines[head + 1 : head + 9]}
    assert len(ends) == 1
    assert lines[head + 9] == "and 2 more at work"


def test_P1_trials_too_short_to_read_are_not_listed() -> None:
    assert "ab12c_00000" not in drawn(snapshot_over(running(2), trials_per_s=5000.0))


def test_P1_a_narrow_window_cuts_and_does_not_break() -> None:
    status = snapshot_over(
        running(8), best=("ab12c_00731", 0.97, {f"parameter_{i}": i for i in range(20)}), total=9
    )
    for width in (20, 40, 60):
        assert max(map(len, drawn(status, width=width).splitlines())) <= width


def test_P1_no_total_no_trials_no_metric() -> None:
    assert "left" not in drawn(snapshot_over([], counts={}, elapsed=0.0), metric=None)
    assert drawn(snapshot_over([], counts={"TERMINATED": 3}), done=True).splitlines()[-1] == "/results/exp"
    assert "0 / 0  100 %" in drawn(snapshot_over([], counts={}, total=0))


def test_P1_nothing_is_drawn_in_the_first_half_second_and_then_four_times_a_second() -> None:
    clock, stream = Clock(), io.StringIO()
    reporter = TerminalReporter(console=Console(file=stream, width=80), clock=clock)
    reporter.setup(0.0, 3, "m", "max")
    trials = running(1)
    assert not reporter.should_report(trials)
    clock.now += 0.5
    assert reporter.should_report(trials)
    reporter.report(trials, False, snapshot_over(trials))
    clock.now += 0.2
    assert not reporter.should_report(trials)
    assert reporter.should_report(trials, done=True)
    clock.now += 0.05
    assert reporter.should_report(trials)
    reporter.report(trials, True, snapshot_over(trials))
    assert stream.getvalue().rstrip().endswith("/results/exp")


def test_P1_reporters_load_rich_only_to_draw() -> None:
    code = (
        "import sys; from fasttune.reporter import default_reporter, TerminalReporter; "
        "TerminalReporter().setup(0.0, 1, 'm', 'max'); default_reporter(1); "
        "print([name for name in ('rich', 'IPython', 'numpy', 'pandas') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"
