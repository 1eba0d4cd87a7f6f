"""The command fasttune: exit codes, rows, and what it says when something is not as it should be."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune import cli
from fasttune.cli import doctor, listing, main
from fasttune.cli.show import how_to_go_on
from fasttune.folder import COMMAND_FILE

PACKAGE = str(Path(tune.__file__).resolve().parent.parent)
Printed = Callable[..., tuple[int, str, str]]


def train(config: dict[str, Any]) -> None:
    if config["lr"] == 0.3:
        raise ValueError("learning rate too large")
    for epoch in range(1, 4):
        tune.report(loss=config["lr"] + 1.0 / epoch, nested={"accuracy": epoch})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experiments: "small" of 4 trials, one of them failed, and "plain" without a metric."""
    root = tmp_path_factory.mktemp("cli")
    space = {"lr": tune.grid_search([0.1, 0.3, 0.2, 0.05]), "opt": {"name": "sgd"}}
    given: dict[str, Any] = {"storage_path": root, "verbose": 0, "executor": "inline", "seed": 7}
    tune.run(train, name="small", config=space, metric="loss", mode="min", raise_on_failed_trial=False, **given)
    tune.run(lambda config: tune.report(a=1), name="plain", **given)
    return root


def command(*argv: object, **more: Any) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    given = {"capture_output": True, "text": True, "check": False, "env": {**os.environ, "PYTHONPATH": PACKAGE}, **more}
    done: subprocess.CompletedProcess[str] = forks.run(
        [sys.executable, "-m", "fasttune", *map(str, argv)], **given
    )
    return done


# ---- the command line


def test_the_start_is_light() -> None:
    code = (
        "import sys; from fasttune.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*sorted({'numpy', 'pandas', 'rich', 'sqlite3', 'fasttune._core'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": PACKAGE}
    )
    assert done.stderr.strip() == ""
    assert "add-note" in done.stdout


@pytest.mark.parametrize(
    "argv",
    [[], ["nosuch"], ["ls"], ["ls", "x", "--limit", "0"], ["ls", "x", "--desc", "perhaps"], ["ls", "x", "--nosuch"],
     ["show", "x", "--mode", "best"], ["bench", "--repeats", "0"], ["bench", "--seconds", "long"]],
)  # fmt: skip
def test_a_line_that_nobody_understands_is_2(fasttune: Printed, argv: list[str]) -> None:
    code, out, err = fasttune(*argv)
    assert (code, out) == (2, "")
    assert "fasttune" in err.splitlines()[-1]
    assert "error:" in err


def test_help_and_version_are_0(fasttune: Printed) -> None:
    for argv in (["--help"], ["ls", "--help"], ["bench", "--help"], ["--version"]):
        code, out, err = fasttune(*argv)
        assert (code, err) == (0, "")
        assert "fasttune" in out


def test_what_cannot_be_done_is_1_and_one_line(fasttune: Printed, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "experiment.db").write_bytes(b"not a database, but long enough to be looked at" * 20)
    for argv in (
        ["ls", tmp_path / "nothing"], ["show", tmp_path], ["add-note", tmp_path, "x"], ["ls", tmp_path / "bad"],
        ["lsx", tmp_path / "nothing"], ["lsx", tmp_path / "bad"], ["ls", folder / "small", "--sort", "nosuch"],
        ["ls", folder / "small", "--columns", "loss,nosuch"], ["ls", folder / "small", "--filter", "loss => 3"],
        ["ls", folder / "small", "--output", tmp_path / "rows.xlsx"], ["add-note", folder / "small", " "],
        ["add-note", folder / "small", "x", "--filename", "../note.txt"], ["show", folder / "small", "--metric", "lss"],
        ["bench", "--schedulers", "nosuch"], ["bench", "--executors", "cluster"], ["bench", "--plot", "a.gif"],
    ):  # fmt: skip
        code, out, err = fasttune(*argv)
        assert (code, out) == (1, ""), argv
        assert err.startswith("fasttune: ")
        assert err.count("\n") == 1, err


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(asked: Namespace) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "run", broken)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_interrupted_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(asked: Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "run", interrupted)
    assert main(["doctor"]) == 130


def test_the_doctor_runs_a_trial_on_each_executor() -> None:
    assert [(name, why) for name, good, why in doctor.executors() if not good] == []


# ---- ls


def rows_of(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def test_I1_ls_lists_the_trials(fasttune: Printed, folder: Path) -> None:
    for name in ("ls", "list-trials"):
        code, out, err = fasttune(name, folder / "small")
        assert (code, err) == (0, "")
        head, *rows = rows_of(out)
        assert head == ["trial_id", "status", "training_iteration", "loss", "nested/accuracy", "lr", "error"]
        assert [row[1] for row in rows] == ["TERMINATED", "ERROR", "TERMINATED", "TERMINATED"]
        assert [row[3] for row in rows if row[1] == "TERMINATED"] == ["0.433333", "0.533333", "0.383333"]
        assert out.splitlines()[2].endswith("0.3  ValueError: learning rate too large")


def test_I1_ls_sorts_filters_and_limits(fasttune: Printed, folder: Path) -> None:
    def lrs(*options: str) -> list[str]:
        code, out, _ = fasttune("ls", folder / "small", "--columns", "lr", *options)
        assert code == 0
        return out.split()[1:]

    assert lrs("--sort", "loss") == ["0.05", "0.1", "0.2", "0.3"]  # the failed one has no loss: last
    assert lrs("--sort", "loss", "--desc", "True") == ["0.2", "0.1", "0.05", "0.3"]
    assert lrs("--sort", "loss", "--desc") == ["0.2", "0.1", "0.05", "0.3"]
    assert lrs("--sort", "loss", "--desc", "False") == ["0.05", "0.1", "0.2", "0.3"]
    assert lrs("--sort", "status,config/lr") == ["0.3", "0.05", "0.1", "0.2"]
    assert lrs("--desc") == ["0.05", "0.2", "0.3", "0.1"]
    assert lrs("--limit", "2") == ["0.1", "0.3"]
    assert lrs("--filter", "status == ERROR") == ["0.3"]
    assert lrs("--filter", "status != ERROR", "--filter", "loss<0.5") == ["0.1", "0.05"]
    assert lrs("--filter", "lr >= 0.2") == ["0.3", "0.2"]
    assert lrs("--filter", "loss > 99") == []
    assert lrs("--filter", "opt/name == sgd", "--limit", "1") == ["0.1"]


def test_I1_ls_writes_files(fasttune: Printed, folder: Path, tmp_path: Path) -> None:
    import pandas as pd

    for option, name in (("--output", "rows.csv"), ("-o", "rows.json"), ("-o", "rows.pkl")):
        code, out, err = fasttune("ls", folder / "small", option, tmp_path / name)
        assert (code, out) == (0, "")
        assert "4 rows written" in err
    with open(tmp_path / "rows.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["config/lr"] for line in lines] == ["0.1", "0.3", "0.2", "0.05"]
    assert [row["status"] for row in json.loads((tmp_path / "rows.json").read_text())][1] == "ERROR"
    assert pd.read_pickle(tmp_path / "rows.pkl")["config/lr"].tolist() == [0.1, 0.3, 0.2, 0.05]


def test_ls_as_json_is_for_programs(fasttune: Printed, folder: Path) -> None:
    code, out, _ = fasttune("ls", folder / "small", "--json", "--sort", "loss", "--limit", "1")
    (best,) = json.loads(out)
    assert code == 0
    assert best["config/lr"] == 0.05
    assert best["nested/accuracy"] == 3
    _, out, _ = fasttune("ls", folder / "small", "--json", "--columns", "lr")
    assert json.loads(out)[0] == {"config/lr": 0.1}


def test_ls_names_the_columns(fasttune: Printed, folder: Path) -> None:
    code, out, _ = fasttune("ls", folder / "small", "--columns", "?")
    assert code == 0
    assert {"trial_id", "loss", "config/opt/name", "time_total_s"} <= set(out.split())


def test_ls_takes_the_journal_too(fasttune: Printed, folder: Path) -> None:
    assert fasttune("ls", folder / "small" / "experiment.db")[0] == 0


def test_a_terminal_gets_what_fits(fasttune: Printed, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "56")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(listing, "ROWS_ON_A_TERMINAL", 3)
    _, out, err = fasttune("ls", folder / "small")
    lines = out.splitlines()
    assert lines[0].startswith("\033[1mtrial_id")
    assert len(lines) == 4
    assert all(len(line) <= 56 for line in lines[1:])
    assert "left out, for want of space: nested/accuracy, config/lr, error" in err
    assert "1 more trials; --limit 4 shows all" in err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in fasttune("ls", folder / "small")[1]


def test_a_reader_that_has_enough_ends_it_quietly(folder: Path) -> None:
    line = f"{sys.executable} -m fasttune ls {folder / 'small'} --json | head -c 10"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": PACKAGE}
    )
    assert len(done.stdout) == 10
    assert done.stderr == ""


def test_json_has_no_number_that_json_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    listing.print_json([{"a": float("nan"), "b": (float("inf"), 1.5), "c": Path("x")}])
    assert json.loads(capsys.readouterr().out) == [{"a": None, "b": [None, 1.5], "c": "x"}]


def test_a_cell_is_one_short_line() -> None:
    assert listing.cell("a\n b") == "a b"
    assert len(listing.cell("x" * 100)) == listing.CELL
    assert listing.title("config/lr", ["lr", "config/lr"]) == "config/lr"
    assert listing.title("config/lr", ["loss", "config/lr"]) == "lr"


# ---- lsx


def test_I1_lsx_lists_the_experiments(fasttune: Printed, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTTUNE_RESULTS_DIR", str(folder))
    for argv in (["lsx", folder], ["list-experiments"]):
        code, out, _ = fasttune(*argv)
        head, plain, small = rows_of(out)
        assert code == 0
        assert head[:3] == ["name", "status", "total_trials"]
        assert plain[:3] == ["plain", "finished", "1"]
        assert small[:6] == ["small", "finished", "4", "3", "1", "0"]
        assert small[6:9] == ["loss", "last", "0.383333"]


def test_I1_lsx_has_the_options_of_ls(fasttune: Printed, folder: Path) -> None:
    options = ["--sort", "total_trials", "--desc", "--limit", "1", "--filter", "status == finished", "--columns", "name"]
    assert fasttune("lsx", folder, *options)[1].split() == ["name", "small"]
    _, out, _ = fasttune("lsx", folder, "--json")
    assert [row["total_trials"] for row in json.loads(out)] == [1, 4]


def test_lsx_says_which_one_cannot_be_read(fasttune: Printed, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "experiment.db").write_bytes(b"")
    code, out, _ = fasttune("lsx", tmp_path, "--json")
    assert code == 0
    assert json.loads(out)[0]["status"].startswith("unreadable: ")


# ---- show and notes


def test_show_tells_the_state_and_the_best_trial(fasttune: Printed, folder: Path) -> None:
    code, out, _ = fasttune("show", folder / "small")
    assert code == 0
    assert "4 (3 TERMINATED, 1 ERROR)" in out
    assert "best last loss = 0.383333 (min), after 3 iterations" in out
    assert "  lr          0.05\n  opt/name    sgd" in out
    facts = json.loads(fasttune("show", folder / "small", "--json")[1])
    assert facts["best"]["config"] == {"lr": 0.05, "opt": {"name": "sgd"}}
    assert (facts["status"], facts["reports"], facts["seed"]) == ("finished", 9, 7)
    best = json.loads(fasttune("show", folder / "small", "--metric", "loss", "--mode", "max", "--json")[1])["best"]
    assert best["config"]["lr"] == 0.2
    assert "give --metric" in fasttune("show", folder / "plain")[1]


def test_I1_add_note(
    fasttune: Printed, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "plain"
    assert fasttune("add-note", path, "the", "first")[0] == 0
    assert fasttune("add-note", path, "the second")[0] == 0
    assert (path / "note.txt").read_text() == "the first\nthe second\n"
    assert "the first\n              the second" in fasttune("show", path)[1]
    assert command("add-note", path, "--filename", "more.md", input="from a pipe\n").returncode == 0
    assert (path / "more.md").read_text() == "from a pipe\n"

    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\necho edited >> $1\nexit 3\n")
    editor.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert fasttune("add-note", path)[0] == 3
    assert (path / "note.txt").read_text().endswith("edited\n")
    monkeypatch.setenv("EDITOR", str(tmp_path / "absent"))
    code, _, err = fasttune("add-note", path)
    assert code == 1
    assert "set EDITOR" in err


SLOW = """
import time
import fasttune as tune

def train(config):
    for epoch in range(1000):
        tune.report(loss=1.0 / (1 + epoch))
        time.sleep(0.01)

tune.run(train, name="slow", storage_path=".", metric="loss", mode="min", verbose=0, num_samples=2)
"""


def test_an_experiment_is_read_while_it_runs(fasttune: Printed, tmp_path: Path) -> None:
    run = forks.Popen([sys.executable, "-c", SLOW], cwd=tmp_path, env={**os.environ, "PYTHONPATH": PACKAGE})
    try:
        deadline = time.monotonic() + 30
        facts: dict[str, Any] = {}
        while facts.get("reports", 0) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
            code, out, _ = fasttune("show", tmp_path / "slow", "--json")
            facts = json.loads(out) if code == 0 else {}
        assert facts["status"] == "running"
        assert facts["writer"] == f"process {run.pid}"
        assert facts["best"] is not None
        assert "RUNNING" in fasttune("ls", tmp_path / "slow")[1]
        assert "running" in fasttune("lsx", tmp_path)[1]
    finally:
        run.terminate()
        run.wait()
    _, out, _ = fasttune("show", tmp_path / "slow")
    assert "unfinished: the same tune.run call with resume='AUTO'" in out


def test_what_was_begun_from_the_command_line_is_gone_on_with_there(tmp_path: Path) -> None:
    assert how_to_go_on(str(tmp_path)).startswith("the same tune.run call")
    (tmp_path / COMMAND_FILE).touch()
    assert how_to_go_on(str(tmp_path)) == f"fasttune resume {tmp_path}"


# ---- this machine


def test_doctor_finds_that_trials_run(fasttune: Printed) -> None:
    code, out, _ = fasttune("doctor")
    assert code == 0
    names = [line.split("  ")[0] for line in out.splitlines()]
    assert {"fasttune", "python", "cpus", "memory", "gpus", "results", "inline", "process"} <= set(names)
    facts = json.loads(fasttune("doctor", "--json")[1])
    assert facts["inline"]["ok"] is True


def test_doctor_says_what_does_not_work(fasttune: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **keywords: object) -> None:
        raise OSError("no space left\non the disk")

    monkeypatch.setattr(tune, "run", fails)
    monkeypatch.setattr(doctor, "installed", lambda package: None if package == "rich" else "1.0")
    code, out, _ = fasttune("doctor")
    assert code == 1
    assert "FAILED: OSError: no space left on the disk" in out
    assert "missing: rich" in out


def test_doctor_knows_a_folder_that_is_not_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    ((_, fine, text),) = doctor.places()
    assert not fine
    assert "set FASTTUNE_RESULTS_DIR" in text


def test_bench_prints_a_table_and_writes_what_was_asked(tmp_path: Path) -> None:
    small = ["--schedulers", "asha", "--executors", "inline", "--trials", "9", "--seconds", "0.001", "--repeats", "1"]
    done = command("bench", *small, "--json", tmp_path / "a.json", "--plot", tmp_path / "a.svg")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("this machine: ")
    assert "\033" not in done.stdout + done.stderr
    assert json.loads((tmp_path / "a.json").read_text())["rows"][0]["trials"] == 9
    assert (tmp_path / "a.svg").exists()


def test_bench_as_json_and_with_a_failure_is_1(fasttune: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    from fasttune.bench import suite

    def fails(task: Any, limit: float) -> dict[str, Any]:
        raise suite.MeasurementError("no luck")

    monkeypatch.setattr(suite, "measured", fails)
    code, out, _ = fasttune("bench", "--quick", "--schedulers", "asha", "--json", "-")
    assert code == 1
    assert json.loads(out)["rows"][0]["error"] == "no luck"


def test_bench_needs_matplotlib_for_a_picture(fasttune: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, err = fasttune("bench", "--plot", "a.png")
    assert code == 1
    assert "pip install 'fasttune[plots]'" in err


def test_a_closed_pipe_has_its_own_code() -> None:
    assert cli.PIPE_CLOSED == 141
