"""fasttune log: an experiment, over or running, told to a logger."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

import fasttune as tune
import forks
from fasttune.cli import log
from fasttune.folder import JOURNAL, LOCK_FILE
from fasttune.storage.sqlite import SqliteStorage

LOGGER = '''
import os
import fasttune as tune
from fasttune.logger import JournalLogger

class Lines(JournalLogger):
    title = "Lines"
    key = "lines"

    def __init__(self, file="lines", *, word="", **limits):
        super().__init__(**limits)
        self.file, self.word = file, word

    def log_begin(self, experiment):
        if self.word == "broken":
            raise OSError("the server is not there")

    def log_trial_result(self, iteration, trial, result):
        with open(self.file, "a") as file:
            file.write(f"{trial.index} {iteration} {result['loss']}{self.word}\\n")

def slow(config):
    import time
    for epoch in range(5):
        time.sleep(0.1)
        tune.report(loss=epoch)

if __name__ == "__main__":
    tune.run(slow, config={"x": tune.grid_search([1, 2])}, name="live", verbose=0, max_concurrent_trials=1)
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("lines.py").write_text(textwrap.dedent(LOGGER))
    return tmp_path


def falls(config: dict[str, float]) -> None:
    for epoch in range(2):
        tune.report(loss=config["x"] - epoch)


@pytest.fixture
def exp(place: Path) -> str:
    space = {"x": tune.grid_search([3.0, 2.0, 1.0])}
    return tune.run(falls, config=space, metric="loss", mode="min", name="exp", verbose=0, executor="inline").experiment_path


def test_a_logger_of_ones_own_with_options(fasttune, exp, place):
    options = ["--option", "word=!", "--max-trials", 1, "--option", "best_trials=1"]
    code, out, err = fasttune("log", "exp", "--to", "lines.py:Lines", *options)
    assert (code, out) == (0, "")
    assert Path("lines").read_text() == "0 1 3.0!\n0 2 2.0!\n2 1 1.0!\n2 2 0.0!\n"
    left_out = "of 3 trials the first 1 and the 1 best of the others are written (max_trials=1; None: all)"
    assert err == f"Lines: 2 trials written; {left_out}\n"
    fasttune("log", "exp", "--to", "lines.py:Lines", "--max-trials", "all")
    assert [line.split()[0] for line in Path("lines").read_text().splitlines()] == ["0", "0", "2", "2", "1", "1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "papyrus"], "--to is one of tensorboard, mlflow, wandb, aim, comet, or module:Class of your own, got 'papyrus'"),
        (["--to", "lines.py:slow"], "it is no class that derives from fasttune.logger.JournalLogger"),
        (["--to", "lines.py:Lines", "--option", "word"], "--option is NAME=VALUE, got 'word'"),
        (["--to", "lines.py:Lines", "--option", "wrod=1"], "unexpected keyword argument 'wrod'"),
        (["--to", "lines.py:Lines", "--option", "max_trials=0"], "max_trials must be an integer"),
        (["--to", "lines.py:Lines", "--option", "word=broken"], "Lines: OSError: the server is not there"),
    ],
    ids=lambda words: " ".join(words[1:]) if isinstance(words, list) else "",
)
def test_what_is_wrong_is_one_line(fasttune, exp, words, said):
    code, out, err = fasttune("log", "exp", *words)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err


def test_a_library_that_is_not_there_is_named(fasttune, exp, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    code, _, err = fasttune("log", "exp", "--to", "mlflow")
    assert code == 1
    assert "needs the library 'mlflow', which is not installed: pip install 'fasttune[mlflow]'" in err


def test_a_run_that_begins_at_this_moment_is_waited_for(fasttune, exp, monkeypatch):
    """Its lock is held, and there is no record in its journal yet."""
    young = Path(exp).with_name("young")
    young.mkdir()
    SqliteStorage(str(young)).close()
    lock = open(young / LOCK_FILE, "w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX)
    looks = []

    def look(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            shutil.copy(Path(exp, JOURNAL), young / JOURNAL)
            lock.close()

    monkeypatch.setattr(log.time, "sleep", look)
    code, _, err = fasttune("log", "young", "--to", "lines.py:Lines")
    assert code == 0, err
    assert len(looks) == 3
    assert len(Path("lines").read_text().splitlines()) == 6


def test_an_experiment_that_runs_is_followed_to_its_end(fasttune, place):
    run = forks.Popen([sys.executable, "lines.py"], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    while not Path(os.environ["FASTTUNE_RESULTS_DIR"], "live", "experiment.db").exists():
        assert run.poll() is None
    code, _, err = fasttune("log", "live", "--to", "lines.py:Lines")
    assert code == 0, err
    assert sorted(Path("lines").read_text().splitlines()) == [f"{i} {step} {step - 1}" for i in (0, 1) for step in range(1, 6)]
    assert run.wait() == 0


def test_where_it_may_not_write_it_says_so(fasttune, exp, place):
    os.mkdir(Path(exp, "logged.lines.json"))
    code, _, err = fasttune("log", "exp", "--to", "lines.py:Lines")
    assert code == 1
    assert "logged.lines.json" in err


def test_a_position_is_a_line_of_json(fasttune, exp):
    fasttune("log", "exp", "--to", "lines.py:Lines")
    last = json.loads(Path(exp, "logged.lines.json").read_text().splitlines()[-1])
    assert last["failed"] == last["best"] == []
    assert last["entry"] > 1
