"""What trials print where no block is drawn: it arrives, whole and in order, in a file or a pipe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import fasttune
import forks

PACKAGE = str(Path(fasttune.__file__).resolve().parent.parent)
HEAD = "import os, sys, time\nimport fasttune as tune\n"


def outputs(script: str, folder: Path) -> tuple[str, str]:
    """What a script writes to its standard output, a file, and to its errors, a pipe."""
    (folder / "script.py").write_text(HEAD + script, encoding="utf-8")
    path = os.pathsep.join([PACKAGE, *filter(None, [os.environ.get("PYTHONPATH")])])
    known = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open(folder / "out", "w") as file:
        done = forks.run(
            [sys.executable, "script.py"],
            cwd=folder,
            env={**known, "PYTHONPATH": path, "FASTTUNE_RESULTS_DIR": str(folder)},
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return (folder / "out").read_text(encoding="utf-8"), done.stderr


MANY = """
import threading

def train(config):
    for i in range(300):
        print("x is", config["x"], "line", i)
        if i % 100 == 0:
            tune.report(loss=i)
    thread = threading.Thread(target=print, args=("of a thread",))
    thread.start()
    thread.join()
    sys.stdout.buffer.write(b"bytes\\n")
    os.write(1, b"straight\\n")
    print("error", config["x"], file=sys.stderr)
    print("no end", end="")

tune.run(train, config={"x": tune.grid_search(list(range(6)))}, metric="loss", mode="min", verbose=VERBOSE)
"""


def test_P3_lines_of_trials_arrive_whole_and_in_order_with_their_names(tmp_path: Path) -> None:
    out, err = outputs(f"VERBOSE = 1\n{MANY}", tmp_path)
    lines = out.splitlines()
    for x in range(6):
        mine = [line.partition(") ")[2] for line in lines if re.match(rf"\(\w+_{x:05d}\) ", line)]
        assert mine == [*(f"x is {x} line {i}" for i in range(300)), "of a thread", "bytes", "no end"]
    assert lines.count("straight") == 6
    assert len(lines) == 6 * 304 + 3  # and three of the status
    assert sorted(re.findall(r"^\(\w+_(\d+)\) error (\d)$", err, re.MULTILINE)) == [(f"{x:05d}", f"{x}") for x in range(6)]


def test_P3_with_verbose_0_they_are_what_was_printed_and_nothing_else(tmp_path: Path) -> None:
    out, err = outputs(f"VERBOSE = 0\n{MANY}", tmp_path)
    lines = [line.replace("no end", "") for line in out.splitlines()]
    for x in range(6):
        assert [line for line in lines if line.startswith(f"x is {x} ")] == [f"x is {x} line {i}" for i in range(300)]
    assert out.count("no end") == 6
    assert sorted(err.splitlines()) == [f"error {x}" for x in range(6)]


def test_P3_a_killed_worker_loses_nothing_that_it_has_written(tmp_path: Path) -> None:
    script = """
import ctypes, signal

def train(config):
    print("printed")
    ctypes.CDLL(None).printf(b"from C\\n")
    print("half", end="", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

for verbose in (0, 1):
    tune.run(train, metric="loss", mode="min", raise_on_failed_trial=False, verbose=verbose)
"""
    out, _ = outputs(script, tmp_path)
    assert re.match(r"printed\nfrom C\nhalffasttune: 1 trial, .*\n\(\w+_00000\) printed\nfrom C\n\(\w+_00000\) half", out)


def test_P3_what_a_trial_does_to_its_streams_is_its_own(tmp_path: Path) -> None:
    script = """
import multiprocessing

def square(x):
    print("in a pool", x)
    return x * x

def train(config):
    x = config["x"]
    if x == 0:
        sys.stdout.close()
    elif x == 1:
        os.close(1)
    elif x == 2:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.map(square, [3]) == [9]
    elif x == 3:
        sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
        print(sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.fileno(), sys.stdout.writable())
    elif x == 4:
        os._exit(3)
    print("at the end of", x)

config = {"x": tune.grid_search([0, 1, 2, 3, 4, 5])}
tune.run(train, config=config, max_concurrent_trials=1, raise_on_failed_trial=False)
"""
    out, _ = outputs(script, tmp_path)
    said = re.findall(r"^\(\w+_(\d+)\) (.*)$", out, re.MULTILINE)
    assert said == [
        ("00002", "at the end of 2"),
        ("00003", "False utf-8 1 True"),
        ("00003", "at the end of 3"),
        ("00005", "at the end of 5"),
    ]
    assert "in a pool 3\n" in out
