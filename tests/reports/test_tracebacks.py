"""Why a trial failed: the user's own file, line and source text, wherever it is read."""

from __future__ import annotations

import ctypes
import linecache
import sys
import traceback
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from snapshots import Kept

import fasttune as tune
import forks
from fasttune.cli import main
from fasttune.code_places import code_at, source_of
from fasttune.executors.wire import pack
from fasttune.failure import MOST_KINDS, Reasons, TrialTraceback, failure_text, read_reason, reason_of
from fasttune.reporter import CLIReporter, JupyterNotebookReporter, TerminalReporter

SCRIPT = """
import sys
import fasttune as tune

def divided(x):
    return 1 / x  # the line that fails

def train(config):
    tune.report(score=divided(config["x"]))

class Train(tune.Trainable):
    def step(self):
        return {"score": divided(self.config["x"])}

if __name__ == "__main__":
    trainable = {"function": train, "class": Train, "lambda": lambda config: divided(config["x"])}[sys.argv[1]]
    analysis = tune.run(trainable, config={"x": 0}, raise_on_failed_trial=False, verbose=1, executor=sys.argv[2])
    print(open(analysis.trials[0].error_file).read())
"""


@pytest.mark.parametrize("kind", ["function", "class", "lambda"])
def test_a_script_shows_its_own_lines(tmp_path: Path, kind: str) -> None:
    """A function of a script failed in '<dynamic-code>', line 5, without a word of source."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    done = forks.run([sys.executable, script, kind, "process"], capture_output=True, text=True, check=True)
    place = f'File "{script}", line 6, in divided\n    return 1 / x  # the line that fails'
    assert place in done.stdout
    assert (
        f"{script}, line 6, in divided: return 1 / x  # the line that fails" in done.stdout.partition("trials ended")[0]
    )
    assert "dynamic-code" not in done.stdout + done.stderr
    assert "fasttune/" not in done.stdout.partition("Traceback")[2]


def of_a_cell() -> Any:
    """A function of a notebook's cell: in no file, its text is known to linecache alone."""
    text = 'def train(config):\n    rate = config["x"]\n    return 1 / rate  # of a cell\n'
    name = "/tmp/ipykernel_77/1234567.py"
    linecache.cache[name] = len(text), None, text.splitlines(True), name
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), space)
    return space["train"]


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_cell_of_a_notebook_shows_its_lines(tmp_path: Path, executor: str) -> None:
    """In a notebook the traceback named a file that is nowhere, and no source."""
    run: dict[str, Any] = {"storage_path": tmp_path, "executor": executor, "verbose": 0}
    analysis = tune.run(of_a_cell(), config={"x": 0}, raise_on_failed_trial=False, **run)
    (error,) = analysis.errors
    shown = "".join(traceback.format_exception(error))
    assert isinstance(error, ZeroDivisionError)
    assert '1234567.py", line 3, in train\n    return 1 / rate  # of a cell' in shown
    assert isinstance(error.__cause__, TrialTraceback)
    again = tune.ExperimentAnalysis(analysis.experiment_path).errors[0]
    assert "line 3, in train\n    return 1 / rate  # of a cell" in str(again)


def test_the_text_is_that_of_the_start(tmp_path: Path) -> None:
    """The script was edited while its run went on, and the traceback showed lines of the new one."""
    script = tmp_path / "train.py"
    script.write_text("def train(config):\n    raise ValueError('old')  # old\n")
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(script.read_text(), str(script), "exec"), space)
    train = space["train"]

    def edited(config: dict[str, Any]) -> None:
        script.write_text("# new\n" * 5)
        train(config)

    run: dict[str, Any] = {"storage_path": tmp_path, "executor": "process", "verbose": 0}
    analysis = tune.run(edited, raise_on_failed_trial=False, **run)
    assert "line 2, in train\n    raise ValueError('old')  # old" in str(analysis.trials[0]._source.failure(0).text)  # type: ignore[union-attr]


def test_configs_do_not_carry_the_script() -> None:
    """A function in each config must not bring the text of its file along with each trial."""
    chosen = pack({"activation": lambda x: x + 1})
    assert source_of(__file__)
    assert len(chosen) < 2_000
    code = (lambda x: x).__code__
    assert code_at(("a.py", ""), lambda: code, ()).co_filename == "a.py"
    assert isinstance(code_at(("a.py", ""), lambda: code, ()), CodeType)


def test_frames_of_fasttune_are_left_out(tmp_path: Path) -> None:
    """The last thing on the screen was a line of somebody else's package, not of one's own."""

    def saves_nothing(config: dict[str, Any]) -> None:
        tune.report({"a": 1}, checkpoint="nowhere")  # type: ignore[arg-type]

    for executor in ("inline", "process"):
        run: dict[str, Any] = {"storage_path": tmp_path, "executor": executor, "verbose": 0}
        analysis = tune.run(saves_nothing, raise_on_failed_trial=False, **run)
        text = Path(str(analysis.trials[0].error_file)).read_text()
        assert 'tune.report({"a": 1}, checkpoint="nowhere")' in text
        assert "src/fasttune" not in text
        assert text.splitlines()[-1].startswith("FileNotFoundError")


def test_a_crash_names_the_users_line(tmp_path: Path) -> None:
    """A segmentation fault was told with the frames of the server and no line of one's own."""

    def crashes(config: dict[str, Any]) -> None:
        ctypes.string_at(0)

    analysis = tune.run(crashes, raise_on_failed_trial=False, storage_path=tmp_path, verbose=0)
    failure = analysis.trials[0]._source.failure(0)
    assert failure is not None
    reason = read_reason(failure.text)
    assert reason.what.startswith("The worker process of this trial died of SIGSEGV")
    assert reason.where.startswith(f"{__file__}, line ")
    assert "in crashes" in reason.where


def fails_in_two_ways(config: dict[str, Any]) -> None:
    tune.report(score=1.0)
    if config["x"] % 3 == 0:
        raise ValueError(f"bad rate {config['x']}")
    if config["x"] % 3 == 1:
        raise KeyError("rate")


def test_each_reason_is_said_once_while_the_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All trials failed for one misspelt name, and one learnt of it when the night was over."""
    reporter = Kept(writes=True)
    analysis = tune.run(
        fails_in_two_ways, config={"x": tune.grid_search(list(range(9)))}, progress_reporter=reporter,
        raise_on_failed_trial=False, storage_path=tmp_path, executor="inline",
    )  # fmt: skip
    said = capsys.readouterr().out
    assert said.count("ValueError: bad rate") == said.count("KeyError: 'rate'") == 1
    assert said.index("ValueError: bad rate") < said.index("trials ended in")
    assert any(one.reasons for one in reporter.seen[:-1])
    last = reporter.seen[-1].reasons
    assert [one.times for one in last] == [3, 3]
    assert last[0].trial_id == analysis.trials[0].trial_id
    assert last[0].where.startswith(f"{__file__}, line ")
    assert last[0].where.endswith("""in fails_in_two_ways: raise ValueError(f"bad rate {config['x']}")""")


def test_every_reporter_shows_the_reasons(tmp_path: Path) -> None:
    """The terminal counted failures and did not say why."""
    from rich.console import Console

    reporter = Kept(writes=True)
    tune.run(
        fails_in_two_ways, config={"x": tune.grid_search(list(range(9)))}, progress_reporter=reporter,
        raise_on_failed_trial=False, storage_path=tmp_path, executor="inline",
    )  # fmt: skip
    status = reporter.seen[-1]
    console = Console(width=200, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(TerminalReporter(console=console).block(status, True))
        drawn = console.export_text()
    for text in (drawn, CLIReporter().status_block(status, True), JupyterNotebookReporter().html(status, True)):
        assert text.count("3 times") + text.count(", and 2 times more)") == 2
        assert "ValueError: bad rate 0" in text
        assert "in fails_in_two_ways" in text


def test_retried_failures_are_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With max_failures a trial failed again and again, and nothing said so."""
    tune.run(
        fails_in_two_ways, config={"x": 3}, max_failures=2, raise_on_failed_trial=False, storage_path=tmp_path,
        executor="inline", verbose=1,
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "failed: ValueError: bad rate 3 (trial " in said
    assert ", and 2 times more)" in said


def test_the_line_of_a_failed_trial_says_what_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """'Trial t_3 failed: rate' was all; of a text of two lines there was only the second one."""

    def two_lines(config: dict[str, Any]) -> None:
        tune.report(score=1.0)
        raise ValueError("first line\nsecond line")

    analysis = tune.run(
        two_lines, raise_on_failed_trial=False, storage_path=tmp_path, executor="inline", verbose=2, config={"x": 1}
    )
    assert f"failed: ValueError: first line\n    {__file__}, line " in capsys.readouterr().out
    assert main(["ls", analysis.experiment_path, "--columns", "error"]) == 0
    assert "ValueError: first line" in capsys.readouterr().out
    assert reason_of(tune.ExperimentAnalysis(analysis.experiment_path).errors[0]).startswith("ValueError: first line\n")


def test_kinds_are_told_apart_and_counted() -> None:
    """A thousand failures with a thousand numbers in their texts are one kind, not a thousand lines."""
    reasons = Reasons()

    def text(line: int, value: float) -> str:
        return (
            f'Traceback (most recent call last):\n  File "a.py", line {line}, in f\n    g()\nValueError: rate {value}\n'
        )

    for value in range(1000):
        reasons.add(text(3, value), f"t_{value}")
    reasons.add(text(4, 0), "t_x")
    assert [(one.times, one.trial_id, one.what) for one in reasons.kinds()] == [
        (1000, "t_0", "ValueError: rate 0"),
        (1, "t_x", "ValueError: rate 0"),
    ]
    for line in range(2 * MOST_KINDS):
        reasons.add(text(100 + line, 0), "t")
    assert len(reasons.kinds()) == MOST_KINDS
    assert reasons.others == MOST_KINDS + 2


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("", "no traceback was left", ""),
        ("ValueError: of no frame\nsecond line", "ValueError: of no frame", ""),
        ('Traceback (most recent call last):\n  File "<string>", line 1, in f\nE: x', "E: x", ""),
        ("x" * 1000, "x" * 297 + "...", ""),
        ("Traceback\nStubbornError: 1 2", "StubbornError: 1 2", ""),
    ],
)
def test_texts_of_every_form_have_a_reason(text: str, what: str, where: str) -> None:
    """A failure without a traceback must not end the report about it."""
    reason = read_reason(text)
    assert (reason.what, reason.where) == (what, where)


def test_groups_and_causes_keep_their_own_lines() -> None:
    """Errors that hold others were cut to the outermost one."""

    def inner() -> None:
        raise KeyError("inner")

    try:
        try:
            inner()
        except KeyError as error:
            raise ExceptionGroup("several", [error, ValueError("second")]) from error
    except ExceptionGroup as group:
        text = failure_text(group)
    assert text.count("KeyError: 'inner'") == 2
    assert "ValueError: second" in text
    assert read_reason(text).what == "ExceptionGroup: several (2 sub-exceptions)"
    assert read_reason(text).where.startswith(f"{__file__}, line ")


@pytest.mark.parametrize("executor", ["async", "process"])
def test_a_report_that_was_awaited_is_told_to_be_called(tmp_path: Path, executor: str) -> None:
    async def train(config: dict[str, Any]) -> None:
        await tune.report(score=1.0)  # type: ignore[func-returns-value]

    analysis = tune.run(train, executor=executor, storage_path=str(tmp_path), verbose=0, raise_on_failed_trial=False)
    (error,) = analysis.errors
    first, place = reason_of(error).split("\n")
    assert first.startswith("TypeError: ")
    assert first.endswith("; tune.report() gives nothing that could be awaited: call it without await")
    assert "in train: await tune.report(score=1.0)" in place


def test_one_that_was_awaited_later_is_told_too(tmp_path: Path) -> None:
    async def train(config: dict[str, Any]) -> None:
        told: Any = tune.report(score=1.0)  # type: ignore[func-returns-value]
        await told

    analysis = tune.run(train, executor="async", storage_path=str(tmp_path), verbose=0, raise_on_failed_trial=False)
    assert "tune.report() gives nothing that could be awaited" in reason_of(analysis.errors[0])


def test_what_else_is_none_and_awaited_is_said_in_pythons_words_alone() -> None:
    async def nothing(value: Any) -> None:
        await value

    with pytest.raises(TypeError, match="NoneType") as raised:
        nothing(None).send(None)
    assert "call it without await" not in failure_text(raised.value)


def test_what_we_say_of_a_column_bears_no_frames_of_ours(tmp_path: Path) -> None:
    @tune.vectorized(size=4)
    def train(configs: Any) -> Any:
        return {"score": configs["x"][:3]}

    analysis = tune.run(
        train, config={"x": tune.uniform(0.0, 1.0)}, num_samples=4, storage_path=str(tmp_path), verbose=0, raise_on_failed_trial=False
    )
    text = Path(analysis.trials[0].error_file).read_text()
    assert "the column 'score' has the shape (3,), and this step has 4 trials" in text
    assert "File" not in text
    assert "Traceback" not in text


class Speechless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class SpeechlessType(TypeError):
    def __str__(self) -> str:
        raise ValueError("no words")


class LeavesWhenPickled(Exception):
    def __reduce__(self) -> Any:
        sys.exit(3)


@pytest.mark.parametrize("executor", ["inline", "thread"])
@pytest.mark.parametrize("error", [Speechless(), SpeechlessType(), SystemExit(Speechless()), LeavesWhenPickled()])
def test_an_exception_that_cannot_be_told_costs_its_trial_and_not_the_run(executor: str, error: BaseException) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(score=1.0)
        if config["x"] == 1:
            raise error

    analysis = tune.run(
        train, config={"x": tune.grid_search([0, 1, 2])}, raise_on_failed_trial=False, verbose=0, executor=executor
    )
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]
