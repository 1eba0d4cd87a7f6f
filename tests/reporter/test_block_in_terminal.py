"""The block on a real terminal, with trials that print in every way while it is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from terminal import in_terminal

BAR = "━"
COLOURS = re.compile(rb"\x1b\[[0-9;]*(?:3[0-9]|9[0-7])m")

EVERY_WAY = """
import ctypes, logging, subprocess, warnings

def train(config):
    print("begins with", config["x"])
    warnings.warn(f"careful {config['x']}")
    logging.warning("logged")
    if FORKS:
        ctypes.CDLL(None).printf(b"from C\\n")
        subprocess.run(["echo", "from a child"])
        os.write(2, b"straight\\n")
    for i in range(5):
        time.sleep(0.12)
        sys.stderr.write(f"\\r{20 * (i + 1)} % of {config['x']}")
        sys.stderr.flush()
        tune.report(loss=config["x"] + i)
    sys.stderr.write("\\n")
    for i in range(40):
        print("line", i)
    print("ends here")
    if FORKS:
        subprocess.run(["echo", "from a last child"])
    print("without an end", end="")

tune.run(train, config={"x": tune.grid_search([1, 2, 3, 4])}, metric="loss", mode="min", executor=EXECUTOR, name="e")
print("behind the run")
"""


@pytest.mark.parametrize("executor", ["process", "thread", "inline"])
def test_P1_what_trials_print_passes_the_block(tmp_path: Path, executor: str) -> None:
    forks = executor == "process"
    seen = in_terminal(f"EXECUTOR, FORKS = {executor!r}, {forks}\n{EVERY_WAY}", tmp_path, columns=200)
    assert seen.status == 0
    for trial in range(4):
        said = seen.of(trial)
        warned = next(line for line in said if "UserWarning" in line)
        assert warned.endswith(f"careful {trial + 1}")
        rest = [line for line in said if line is not warned and "warnings.warn" not in line]
        expected = [f"begins with {trial + 1}", "WARNING:root:logged"]
        if forks:
            expected += ["from C", "from a child", "straight"]
        assert sorted(rest[: len(expected)]) == sorted(expected)
        lines = rest[len(expected) :]
        states = [line for line in lines if "% of" in line]
        lines = [line for line in lines if "% of" not in line]
        assert states[-1] == f"100 % of {trial + 1}"
        # only what it said last; threads that draw at the same time share one stream, which has one line at a time
        assert len(states) == 1 or executor == "thread"
        last = ["ends here", *(["from a last child"] * forks), "without an end"]
        assert lines == [*(f"line {i}" for i in range(40)), *last]
    # the block was there, again and again, and stands once, at the end
    assert seen.raw.count(b"trials/s") > 2
    assert [i for i, line in enumerate(seen.lines) if BAR in line] == [len(seen.lines) - 5]
    assert "4 / 4  100 %" in seen.lines[-5]
    assert seen.lines[-2:] == [str(tmp_path / "e"), "behind the run"]
    # whole lines, and nothing else above it
    assert all(re.match(r"\(\w+_\d{5}\)( |$)", line) for line in seen.lines[:-5])


def test_P1_a_killed_worker_loses_nothing_that_it_has_written(tmp_path: Path) -> None:
    script = """
import signal

def train(config):
    time.sleep(0.7)
    print("whole")
    print("half", end="", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

tune.run(train, metric="loss", mode="min", raise_on_failed_trial=False)
"""
    seen = in_terminal(script, tmp_path)
    assert seen.of(0) == ["whole", "half"]
    assert seen.raw.count(BAR.encode()) > 0
    assert any("✗ 1 failed" in line for line in seen.lines)


def test_P1_errors_that_go_to_a_file_go_there(tmp_path: Path) -> None:
    script = """
def train(config):
    print("out")
    print("err", file=sys.stderr)
    return {"loss": 1}

tune.run(train, metric="loss", mode="min")
"""
    seen = in_terminal(script, tmp_path, to_file=2)
    assert seen.of(0) == ["out"]
    assert re.fullmatch(r"\(\w+_00000\) err\n", (tmp_path / "file").read_text())


def test_P1_callbacks_and_threads_pass_the_block_and_the_streams_are_put_back(tmp_path: Path) -> None:
    script = """
import builtins, logging, threading

class Tells(tune.Callback):
    def on_trial_complete(self, iteration, trials, trial, **more):
        print("callback", trial.config["x"])
        logging.getLogger().warning("log %d", trial.config["x"])
        thread = threading.Thread(target=print, args=("thread", trial.config["x"]))
        thread.start()
        thread.join()

logging.basicConfig(format="%(message)s")
def train(config):
    time.sleep(0.5)
    return {"loss": config["x"]}

before = sys.stdout, sys.stderr, builtins.input
tune.run(train, config={"x": tune.grid_search([1, 2, 3])}, metric="loss", mode="min", callbacks=[Tells()])
assert before == (sys.stdout, sys.stderr, builtins.input)
assert logging.getLogger().handlers[0].stream is sys.stderr
"""
    seen = in_terminal(script, tmp_path)
    assert seen.status == 0
    block = next(i for i, line in enumerate(seen.lines) if BAR in line)
    for x in (1, 2, 3):  # the handler of logging was made before
        assert {f"callback {x}", f"thread {x}", f"log {x}"} <= set(seen.lines[:block])


def test_P1_input_in_a_trial_has_the_terminal_to_itself(tmp_path: Path) -> None:
    script = """
def train(config):
    time.sleep(0.6)
    tune.report(loss=1)
    time.sleep(0.3)
    tune.report(loss=1)
    answer = input("go on? ")
    print("answered", answer)
    breakpoint()
    tune.report(loss=2)

tune.run(train, metric="loss", mode="min", executor="inline")
"""
    keys = [("go on? ", "yes\n"), ("(Pdb) ", "p 6 * 7\n"), ("(Pdb) ", "c\n")]
    seen = in_terminal(script, tmp_path, keys=keys)
    assert seen.status == 0
    assert [line for line in seen.lines if "go on?" in line] == ["go on? yes"]
    assert "answered yes" in seen.of(0)
    assert "42" in seen.of(0)
    assert sum(BAR in line for line in seen.lines) == 1


def test_P1_an_error_that_ends_the_run_takes_the_block_away(tmp_path: Path) -> None:
    script = """
class Breaks(tune.Callback):
    def on_trial_complete(self, iteration, trials, trial, **more):
        raise RuntimeError("of a callback")

def train(config):
    print("printed")
    time.sleep(0.8)
    return {"loss": 1}

class Searches(tune.search.Searcher):
    asked = 0
    def suggest(self, trial_id):
        self.asked += 1
        if self.asked > 1:
            raise RuntimeError("of a searcher")
        return {}
    def on_trial_complete(self, *_, **__):
        pass

tune.run(train, metric="loss", mode="min", num_samples=3, search_alg=Searches(), max_concurrent_trials=1)
"""
    seen = in_terminal(script, tmp_path)
    assert seen.status == 1
    assert BAR.encode() in seen.raw
    assert not any(BAR in line for line in seen.lines)
    assert seen.of(0) == ["printed"]
    assert seen.lines[-1] == "RuntimeError: of a searcher"


SILENT = """
def train(config):
    for i in range(4):
        time.sleep(0.15)
        tune.report(loss=config["x"], accuracy=1 - config["x"])
    if config["x"] == 0.5:
        raise ValueError("x is a half, which is too much for this model")

space = {"x": tune.grid_search([0.1, 0.2, 0.5, 0.3]), "a_long_name": "value", "y": tune.uniform(0, 1)}
tune.run(train, config=space, metric="loss", mode="min", raise_on_failed_trial=False, name="e")
"""


@pytest.mark.parametrize("columns", [40, 200])
def test_P1_narrow_and_wide(tmp_path: Path, columns: int) -> None:
    seen = in_terminal(SILENT, tmp_path, columns=columns)
    assert sum(BAR in line for line in seen.lines) == 1
    assert any("✓ 3" in line and "✗ 1" in line for line in seen.lines)
    assert any("trials/s" in line and "reports/s" in line for line in seen.lines)
    assert any("4 / 4  100 %" in line for line in seen.lines)
    assert seen.lines[0].startswith(BAR)
    assert COLOURS.search(seen.raw)


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"CI": "true"}], ids=lambda given: next(iter(given)))
def test_P1_where_no_block_can_be_drawn_there_are_plain_lines(tmp_path: Path, environ: dict[str, str]) -> None:
    seen = in_terminal(SILENT, tmp_path, environ=environ, columns=200)
    assert b"\x1b" not in seen.raw
    assert seen.lines[0] == f"fasttune: 4 trials, stored in {tmp_path / 'e'}"
    assert any(line.startswith("fasttune: 3 trials ended in") and "1 failed" in line for line in seen.lines)


def test_P1_no_color(tmp_path: Path) -> None:
    seen = in_terminal(SILENT, tmp_path, environ={"NO_COLOR": "1"})
    assert BAR.encode() in seen.raw
    assert not COLOURS.search(seen.raw)


def test_P1_a_process_that_a_trial_in_this_one_forks_prints_and_draws_nothing(tmp_path: Path) -> None:
    script = """
def train(config):
    print("half ", end="", flush=True)
    child = os.fork()
    if not child:
        print("of the child")
        os._exit(0)
    os.waitpid(child, 0)
    print("whole")
    return {"loss": 1}

tune.run(train, metric="loss", mode="min", executor="inline")
"""
    seen = in_terminal(script, tmp_path)
    assert "of the child" in seen.lines
    assert seen.of(0) == ["half whole"]
    assert sum(BAR in line for line in seen.lines) == 1
