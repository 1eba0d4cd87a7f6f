from __future__ import annotations

import time
from typing import Any

import pytest
from fake_trials import Clock, FakeTrial, five_trials, snapshot_over

from fasttune.reporter import CLIReporter, ProgressReporter
from fasttune.reporter.base import exact_duration, fair_shares

COUNTS = "Number of trials: 5 (1 PENDING, 3 RUNNING, 1 TERMINATED)"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def progress(reporter: CLIReporter, trials: list[FakeTrial]) -> str:
    return reporter.progress_text(snapshot_over(trials, path=""), False)


def test_P1_status_block_byte_for_byte(capsys: pytest.CaptureFixture[str]) -> None:
    trials = [
        FakeTrial(
            f"train_ab12c_0000{i}",
            "TERMINATED",
            config={"a": 2, "b": 4},
            evaluated_params={"a": 2, "b": 4},
            last_result={
                "score": 5.0 - i,
                "training_iteration": 20,
                "time_total_s": 0.25,
                "pid": 7,
                "node_ip": "127.0.0.1",
            },
            location=None,
        )
        for i in range(2)
    ]
    reporter = CLIReporter()
    reporter.setup(0.0, 2, "score", "max")
    best = ("train_ab12c_00000", 5.0, {"a": 2, "b": 4})
    reporter.report(trials, True, snapshot_over(trials, best=best, total=2))
    assert capsys.readouterr().out == (
        "== Status ==\n"
        "Current time: 2026-03-04 12:30:45 (running for 00:00:06.20)\n"
        "Using FIFO scheduling algorithm.\n"
        "Logical resource usage: 2.0/2 CPUs, 0/0 GPUs\n"
        "Current best trial: train_ab12c_00000 with score=5.0 and parameters={'a': 2, 'b': 4}\n"
        "Result logdir: /results/exp\n"
        "Number of trials: 2/2 (2 TERMINATED)\n"
        "+-------------------+------------+-------------+-----+-----+--------+------------------+---------+\n"
        "| Trial name        | status     | loc         |   a |   b |   iter |   total time (s) |   score |\n"
        "|-------------------+------------+-------------+-----+-----+--------+------------------+---------|\n"
        "| train_ab12c_00000 | TERMINATED | 127.0.0.1:7 |   2 |   4 |     20 |             0.25 |       5 |\n"
        "| train_ab12c_00001 | TERMINATED | 127.0.0.1:7 |   2 |   4 |     20 |             0.25 |       4 |\n"
        "+-------------------+------------+-------------+-----+-----+--------+------------------+---------+\n"
        "\n"
    )


def test_P2_rows_are_shared_fairly_in_the_order_of_states() -> None:
    reporter = CLIReporter(["metric_1"], ["a", "b"], max_progress_rows=3)
    assert progress(reporter, five_trials()) == (
        f"{COUNTS}\n"
        "+--------------+------------+-------+-----+-----+------------+\n"
        "|   Trial name | status     | loc   |   a |   b |   metric_1 |\n"
        "|--------------+------------+-------+-----+-----+------------|\n"
        "|        00002 | RUNNING    | here  |   2 |   4 |        1   |\n"
        "|        00001 | PENDING    | here  |   1 |   2 |        0.5 |\n"
        "|        00000 | TERMINATED | here  |   0 |   0 |        0   |\n"
        "+--------------+------------+-------+-----+-----+------------+\n"
        "... 2 more trials not shown (2 RUNNING)"
    )


def test_P2_parameter_columns_default_to_all_that_were_sampled() -> None:
    lines = progress(CLIReporter([]), five_trials()).splitlines()
    assert lines[2] == "|   Trial name | status     | loc   |   a |   b |   n/k/0 |   n/k/1 |"
    assert lines[4] == "|        00002 | RUNNING    | here  |   2 |   4 |       2 |       4 |"
    assert len(lines) == 10


def test_P2_titles_and_nested_names() -> None:
    reporter = CLIReporter({"nested/sub": "NestSub", "metric_2": "Metric 2"}, {"a": "A"}, max_progress_rows=3)
    assert progress(reporter, five_trials()).splitlines()[2:7] == [
        "|   Trial name | status     | loc   |   A |   NestSub |   Metric 2 |",
        "|--------------+------------+-------+-----+-----------+------------|",
        "|        00002 | RUNNING    | here  |   2 |       1   |       0.5  |",
        "|        00001 | PENDING    | here  |   1 |       0.5 |       0.25 |",
        "|        00000 | TERMINATED | here  |   0 |       0   |       0    |",
    ]


def test_P2_fair_shares_give_small_states_all_they_have() -> None:
    counts = {"PAUSED": 2, "ERROR": 2, "PENDING": 10, "RUNNING": 10, "TERMINATED": 10}
    assert fair_shares(counts, 13) == {"ERROR": 2, "PAUSED": 2, "PENDING": 3, "RUNNING": 3, "TERMINATED": 3}
    assert sum(fair_shares(counts, 14).values()) == 14
    assert fair_shares(counts, 1000) == counts


def three_ended() -> list[FakeTrial]:
    trials = [
        FakeTrial(
            f"{i:05d}", "TERMINATED" if i < 3 else "PENDING" if i == 3 else "RUNNING", {"a": i}, {}, {"a": i}
        )
        for i in range(5)
    ]
    for trial, value in zip(trials, (0.3, 0.2, 0.4), strict=False):
        trial.last_result = {"metric_1": value}
    return trials


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"mode": "max", "metric": "metric_1"}, ["00000", "00001"]),
        ({"mode": "min", "metric": "metric_1", "sort_by_metric": True}, ["00001", "00000"]),
        ({"mode": "max", "metric": "metric_1", "sort_by_metric": True}, ["00002", "00000"]),
        ({"metric": "metric_1", "sort_by_metric": True}, ["00000", "00001"]),
        ({"mode": "max", "sort_by_metric": True}, ["00000", "00001"]),
    ],
)
def test_P2_terminated_trials_are_sorted_when_that_is_asked(
    options: dict[str, Any], shown: list[str]
) -> None:
    reporter = CLIReporter(max_progress_rows=4, **options)
    text = progress(reporter, three_ended())
    ended = [line.split("|")[1].strip() for line in text.splitlines() if "TERMINATED |" in line]
    assert ended == shown
    assert text.endswith("... 1 more trials not shown (1 TERMINATED)")


def test_P2_sorting_by_the_metric_of_the_run() -> None:
    reporter = CLIReporter(max_progress_rows=4, sort_by_metric=True)
    assert reporter.set_search_properties("metric_1", "max")
    assert "|        00002 | TERMINATED | here  |   2 |        0.4 |" in progress(reporter, three_ended())


def test_P2_best_trial_line_without_a_snapshot_of_the_machine() -> None:
    trials = five_trials()
    for trial in trials:
        trial.evaluated_params = {"a": trial.config["a"]}
        trial.last_result = {"config": {"a": trial.config["a"]}, "metric_1": trial.config["a"] / 2}
    reporter = CLIReporter(mode="max")
    text = reporter.status_block(reporter.snapshot(trials, []), False)
    assert "Current best trial: 00004 with metric_1=2.0 and parameters={'a': 4}\n" in text


def test_P2_zero_is_a_value_and_nan_is_never_best() -> None:
    trials = [
        FakeTrial(f"{i}", "TERMINATED", {}, {"m": value}) for i, value in enumerate((7, 0, float("nan"), 0))
    ]
    best = CLIReporter(metric="m", mode="min").snapshot(trials, []).best
    assert best is not None
    assert best[0] == "1"


def test_P2_best_line_shows_the_chosen_parameters_only() -> None:
    reporter = CLIReporter(parameter_columns=["nested/conf"], metric="m", mode="min")
    status = snapshot_over(five_trials(), best=("1", 1.0, {"nested": {"conf": "deep"}, "top": "level"}))
    assert (
        reporter.best_line(status)
        == "Current best trial: 1 with m=1.0 and parameters={'nested/conf': 'deep'}"
    )


def test_P2_numbers_that_trials_report_become_columns() -> None:
    result = {
        "foo": 1,
        "flag": True,
        "text": "no",
        "bar": 2.5,
        "training_iteration": 3,
        "pid": 7,
        "baz": 3,
        "qux": 4,
    }
    trials = [FakeTrial("t0", "RUNNING", {}, result)]
    titles = progress(CLIReporter(), trials).splitlines()[2]
    assert [title.strip() for title in titles.split("|")[1:-1]] == [
        "Trial name",
        "status",
        "loc",
        "iter",
        "foo",
        "bar",
        "baz",
    ]
    assert "qux" in progress(CLIReporter(infer_limit=4), trials)
    assert "foo" not in progress(CLIReporter(["bar"]), trials)


def test_P2_the_metric_of_the_run_is_always_a_column() -> None:
    trials = [FakeTrial("t0", "RUNNING", {}, {"a": 1, "b": 2, "c": 3, "d": 4})]
    reporter = CLIReporter()
    reporter.setup(None, None, "d", "max")
    assert "   d |" in progress(reporter, trials)


def test_P2_columns_appear_once_there_is_a_value() -> None:
    trials = [FakeTrial("t0", "RUNNING")]
    reporter = CLIReporter(metric_columns=["done"])
    assert "done" not in progress(reporter, trials)
    trials[0].last_result = {"done": True}
    assert "| True   |" in progress(reporter, trials)


def test_P2_adding_columns() -> None:
    reporter = CLIReporter(metric_columns=["foo", "bar"])
    with pytest.raises(ValueError, match="'bar' is there already"):
        reporter.add_metric_column("bar")
    with pytest.raises(ValueError, match="no titles"):
        reporter.add_metric_column("baz", "qux")
    reporter.add_metric_column("baz")
    assert reporter.metric_columns == ["foo", "bar", "baz"]
    with_titles = CLIReporter()
    with_titles.add_metric_column("foo", "Foo")
    with_titles.add_parameter_column("p", "P")
    assert with_titles.metric_columns["foo"] == "Foo"  # type: ignore[call-overload]
    assert with_titles.parameter_columns == {"p": "P"}
    assert "foo" not in CLIReporter().metric_columns  # the defaults are nobody's own


def test_P2_failed_trials_have_a_table_of_their_own() -> None:
    trials = [FakeTrial("t0", "ERROR", num_failures=2, error_file="/results/exp/t0/error.txt")]
    text = CLIReporter().status_block(snapshot_over(trials), False)
    assert text.endswith(
        "Number of errored trials: 1\n"
        "+--------------+--------------+---------------------------+\n"
        "| Trial name   |   # failures | error file                |\n"
        "|--------------+--------------+---------------------------|\n"
        "| t0           |            2 | /results/exp/t0/error.txt |\n"
        "+--------------+--------------+---------------------------+"
    )


def test_P2_totals_known_open_and_endless() -> None:
    trials = [FakeTrial("t0", "RUNNING")]

    def numbers(total: int | None, own: int | None = None) -> str:
        text = CLIReporter(total_samples=own).progress_text(snapshot_over(trials, total=total), False)
        return text.splitlines()[1]

    assert numbers(None) == "Number of trials: 1 (1 RUNNING)"
    assert numbers(9) == "Number of trials: 1/9 (1 RUNNING)"
    assert numbers(None, 7) == "Number of trials: 1/7 (1 RUNNING)"
    assert numbers(-1) == "Number of trials: 1/infinite (1 RUNNING)"


def test_P2_durations() -> None:
    assert exact_duration(3600 + 31 * 60 + 22) == "01:31:22.00"
    assert exact_duration(2 * 86400 + 3600 + 31 * 60 + 22.005) == "2 days, 01:31:22.00"
    assert exact_duration(59.999) == "00:01:00.00"


def test_P2_long_parameters_do_not_widen_the_table() -> None:
    name = "verylong" * 20
    trials = [FakeTrial("t0", "TERMINATED", {name: 1}, {"some_metric": "evenlonger" * 100}, {name: 1})]
    text = progress(CLIReporter(metric_columns=["some_metric"]), trials)
    assert max(map(len, text.splitlines())) <= 90


def test_P2_reports_are_spaced_and_slow_drawing_is_spaced_more(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    reporter = CLIReporter(max_report_frequency=5, clock=clock)
    trials = five_trials()
    assert reporter.should_report(trials)
    reporter.report(trials, False, snapshot_over(trials))
    assert not reporter.should_report(trials)
    assert reporter.should_report(trials, done=True)
    clock.now += 5
    assert reporter.should_report(trials)

    class Slow(CLIReporter):
        def show(self, snapshot: Any, done: bool) -> None:
            clock.now += 2

    slow = Slow(clock=clock)
    slow.report(trials, False, snapshot_over(trials))
    clock.now += 39
    assert not slow.should_report(trials)
    clock.now += 1
    assert slow.should_report(trials)


def test_P2_a_million_trials_cost_the_rows_that_are_shown() -> None:
    asked = []

    def rows(status: str, number: int) -> list[FakeTrial]:
        asked.append(number)
        return [FakeTrial(f"{i}", status) for i in range(number)]

    class NotLookedAt(list[FakeTrial]):
        def __iter__(self) -> Any:
            raise AssertionError("a reporter walked over all trials")

        def __len__(self) -> int:
            return 1_000_000

    counts = {"TERMINATED": 999_990, "RUNNING": 10}
    status = snapshot_over([], counts=counts, rows=rows)
    reporter = CLIReporter(metric="m", mode="max")
    text = reporter.status_block(reporter.snapshot(NotLookedAt(), [status]), False)
    assert "Number of trials: 1000000 (10 RUNNING, 999990 TERMINATED)" in text
    assert sum(asked) == 20
    asked.clear()
    reporter.status_block(status, True)
    assert sum(asked) == 1000


@pytest.mark.parametrize(
    ("verbose", "intermediate", "now", "at_end"),
    [
        (1, None, False, False),
        (2, None, False, True),
        (3, None, True, True),
        (3, False, False, True),
        (1, True, True, True),
    ],
)
def test_P3_the_table_by_verbosity(verbose: int, intermediate: bool | None, now: bool, at_end: bool) -> None:
    reporter = CLIReporter(print_intermediate_tables=intermediate)
    reporter.verbose = verbose
    for done, expected in ((False, now), (True, at_end)):
        assert ("Trial name" in reporter.progress_text(snapshot_over(five_trials()), done)) is expected


def test_R8_metric_in_the_reporter_and_in_the_run() -> None:
    assert not CLIReporter(metric="m").set_search_properties("m", "max")
    assert CLIReporter(metric="m").set_search_properties(None, "max")
    reporter = CLIReporter()
    for _ in range(2):  # a reporter may serve two runs
        assert reporter.set_search_properties("m", "max")
        reporter.setup(0.0, 1, "m", "max")
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', got 'most'"):
        CLIReporter(mode="most")


def test_P2_unknown_options_are_errors() -> None:
    with pytest.raises(TypeError, match="max_rows"):
        CLIReporter(max_rows=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="list of names"):
        CLIReporter(metric_columns="loss")


def test_P2_a_reporter_of_ones_own_needs_two_methods() -> None:
    seen: list[Any] = []

    class Own(ProgressReporter):
        def should_report(self, trials: Any, done: bool = False) -> bool:
            return True

        def report(self, trials: Any, done: bool, *sys_info: Any) -> None:
            seen.append((len(trials), done, *sys_info))

    own = Own()
    own.setup(0.0, 5, "m", "max")
    assert own.set_search_properties("m", "max")
    status = snapshot_over(five_trials())
    own.report(five_trials(), True, status)
    assert seen == [(5, True, status)]
