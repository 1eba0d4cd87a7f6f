"""What the machine says, in the words of the command line."""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import fasttune as tune
import forks
from fasttune.cli import run as command
from fasttune.cli.order import SETTINGS
from fasttune.cli.spoken import IN_FILES, OPTIONS, spoken, warnings_spoken

Printed = Callable[..., tuple[int, str, str]]
PACKAGE = str(Path(tune.__file__).resolve().parent.parent)
SPACE = "x={uniform=[0,1]}"

SCRIPT = """
import fasttune as tune

def train(config):
    for epoch in range(2):
        tune.report(loss=config.get("x", 1) + epoch)
"""


@pytest.fixture
def asked(fasttune: Printed, results_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """The exit code of `fasttune run`, and what it wrote to the error stream."""
    monkeypatch.chdir(tmp_path)
    name = f"spoken_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SCRIPT)

    def run(*words: str) -> tuple[int, str]:
        code, _, err = fasttune("run", f"{name}.py:train", "--executor", "inline", *words)
        return code, err

    return run


GOAL = ("--metric", "loss", "--mode", "min")
PYTHON = re.compile(
    r"\b(?:metric|mode|name|seed|stop|config|resume|verbose|\w+_\w+)=['{\[\d.]|tune\.|Config\(|\(\.\.\.|__init__|search_alg"
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", SPACE, "--metric", "loss"), "--metric loss was given without a mode: say --mode min if smaller"),
        (("--set", SPACE, "--scheduler", "asha"), "--scheduler asha was run without a metric and mode"),
        (("--set", SPACE, "--scheduler", "asha"), "e.g. --metric loss --mode min"),
        (("--set", SPACE, "--search", "tpe"), "--search tpe learns from a metric: say --metric NAME and --mode min or max"),
        (("--set", SPACE, *GOAL, "--num-samples", "0"), "--num-samples must be at least 1"),
        (("--set", SPACE, *GOAL, "--seed", "-3"), "--seed must be an integer of at least 0"),
        (("--set", SPACE, *GOAL, "--verbose", "9"), "--verbose must be 0, 1, 2 or 3"),
        (("--set", SPACE, *GOAL, "--max-failures", "-7"), "--max-failures must be -1"),
        (("--set", SPACE, *GOAL, "--resources", "tpu=1"), "by resources = {tpu = 1} in [run] of a TOML file"),
        (("--set", SPACE, *GOAL, "--resources", "cpu=a"), "--resources: 'CPU' must be a number"),
        (("--set", SPACE, *GOAL, "--resources", "gpu_memory=much"), "--resources: 'gpu_memory' must be a number of bytes, or a text"),
        (("--set", SPACE, *GOAL, "--resources", "memory=4", "--executor", "process"), "--resources: 'memory' must be at least 6 MiB"),
        (("--set", SPACE, *GOAL, "--stop", "loss=a"), "--stop loss must be a number"),
        (("--set", SPACE, *GOAL, "--resume", "AUTO"), "--resume AUTO needs --name NAME: without one"),
        (("--set", SPACE, *GOAL, "--resume", "maybe", "--name", "a"), "--resume must be true or one of 'AUTO'"),
        (("--set", SPACE, *GOAL, "--resume", "true", "--name", "a"), "--resume AUTO starts a new experiment"),
        (("--set", SPACE, *GOAL, "--name", "../up"), "--name must be a folder name below --storage"),
        (("--set", SPACE, *GOAL, "--storage", "s3://b"), "--storage must be a folder of this machine"),
        (("--set", SPACE, *GOAL, "--scheduler", "asha,maxt=4"), "--scheduler asha has no argument 'maxt'; did you mean 'max_t'?"),
        (("--set", SPACE, *GOAL, "--search", "tpe,n_init=3"), "--search tpe has no argument 'n_init'; It has space"),
        (("--set", SPACE, *GOAL, "--search", "nosuch"), "--search must be one of auto, ax,"),
        (("--set", "x=1", *GOAL, "--search", "tpe"), "Usual cause: --set 'lr={loguniform=[1e-4, 1e-1]}' was meant"),
        (("--set", "x={grid_search=[1,2]}", *GOAL, "--search", "tpe"), "write {choice=[...]} instead"),
    ],
)
def test_what_is_refused_names_the_option(asked: Callable[..., tuple[int, str]], words: tuple[str, ...], said: str) -> None:
    code, err = asked(*words)
    assert code == 1
    assert said in err
    assert PYTHON.search(err) is None, err
    assert err.startswith("fasttune: ")
    assert err.count("\n") == 1


def test_policies_are_those_of_the_machine(asked: Callable[..., tuple[int, str]]) -> None:
    from fasttune.devices.gpu_choice import POLICIES

    code, err = asked("--set", SPACE, *GOAL, "--gpu-policy", "tight")
    assert code == 2
    assert all(repr(policy) in err for policy in POLICIES)
    for policy in POLICIES:
        assert asked("--set", SPACE, *GOAL, "--gpu-policy", policy, "--verbose", "0")[0] == 0


def test_what_does_not_go_on_names_the_option(asked: Callable[..., tuple[int, str]]) -> None:
    assert asked("--set", SPACE, *GOAL, "--name", "first", "--seed", "1") == (0, "")
    again = ("--name", "first", "--resume")
    for words, said in (
        (("--set", "x={uniform=[0,2]}", *GOAL), "hold from the next trial on: --resume AUTO+NEW_SPACE\n"),
        (("--set", SPACE, *GOAL, "--seed", "2"), "was begun with --seed 1 and cannot go on with --seed 2"),
        (("--set", SPACE, *GOAL, "--search", "sobol"), "BasicVariantGenerator was, --search sobol is"),
    ):
        code, err = asked(*words, *again)
        assert (code, said in err, PYTHON.search(err)) == (1, True, None), err


def test_warnings_and_notes_name_the_option(tmp_path: Path) -> None:
    """As a process prints them."""
    (tmp_path / "script.py").write_text(SCRIPT)
    words = ["script.py:train", "--set", "x={grid_search=[1,2]}", "--num-samples", "2", *GOAL]
    words += ["--stop", "foo=3", "--executor", "inline"]
    done = forks.run(
        [sys.executable, "-m", "fasttune", "run", *words], capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={**os.environ, "FASTTUNE_RESULTS_DIR": str(tmp_path / "results"), "PYTHONPATH": PACKAGE},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--num-samples 2 runs each of the 2 configs of the grid 2 times" in done.stdout
    warned = "fasttune: --stop foo=3 ends no trial: none of the 4 trials that have ended has reported 'foo'"
    assert done.stderr.splitlines() == [warned]


def test_a_metric_that_is_not_reported(asked: Callable[..., tuple[int, str]]) -> None:
    code, err = asked("--set", SPACE, "--metric", "los", "--mode", "min")
    assert code == 1
    assert "--metric names the value by which trials are compared" in err


def test_values_are_as_one_types_them() -> None:
    told = spoken("give metric='a b', mode='max', num_samples=5 or name=...")
    assert told == "give --metric 'a b', --mode max, --num-samples 5 or --name NAME"
    assert spoken("resources_per_trial={'cpu': 2, 'gpu': 0.5}") == "--resources cpu=2,gpu=0.5"
    refused = "resource 'memory' must be a number of bytes"
    assert spoken(refused) == "--resources: 'memory' must be a number of bytes"
    assert spoken(refused, keys=["resources_per_trial"]) == "resources_per_trial: 'memory' must be a number of bytes"
    assert spoken("durability='power', scope=...") == 'durability = "power" in [run] of a TOML file, scope in [run] of a TOML file'
    assert spoken("metric=None") == "no --metric"
    assert spoken("num_samples must be 1, seed=3", keys=("num_samples", "seed")) == "num_samples must be 1, seed = 3"
    assert spoken("Kind(time_attr='x', n=3) and Kind", {"Kind": "--search k"}) == "--search k,time_attr=x,n=3 and --search k"
    for text in ("the metric of a name", "user.name='x'", "f(name='x')", "file_num_samples", "a-mode", "'num_samples'"):
        assert spoken(text) == text


def test_every_setting_has_an_option_or_stands_in_a_file() -> None:
    from argparse import ArgumentParser

    parser = ArgumentParser()
    command.arguments(parser)
    options = {text for action in parser._actions for text in action.option_strings}
    assert set(OPTIONS.values()) <= options
    assert set(SETTINGS) <= {*OPTIONS, *IN_FILES}
    assert not set(OPTIONS) & set(IN_FILES)
    assert set(OPTIONS) - {"max_concurrent"} <= set(inspect.signature(tune.run).parameters)


def test_warnings_of_others_are_shown_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        shown: list[str] = []
        warnings.showwarning = lambda message, *rest, **named: shown.append(str(message))
        with warnings_spoken():
            warnings.warn_explicit("mode='min'", UserWarning, "/somewhere/else.py", 1)
            warnings.warn_explicit("mode='min'", UserWarning, f"{tune.__path__[0]}/loop.py", 1)
    assert shown == ["mode='min'"]
    assert capsys.readouterr().err == "fasttune: --mode min\n"


def test_what_a_program_writes_is_left_as_it_is(asked: Callable[..., tuple[int, str]]) -> None:
    assert spoken("say mode='min', or Thing(metric=..., mode='min')") == "say --mode min, or Thing(metric=..., mode='min')"
    for words, said in (
        (("--constraint", "nonsense"), "For anything else: tune.report(loss=..., constraints={'memory': used - limit})\n"),
        (("--stop", "nonsense"), "--stop takes KEY=VALUE or a name (regret), got 'nonsense'\n"),
    ):
        code, err = asked("--set", SPACE, *GOAL, *words)
        assert (code, err.endswith(said)) == (1, True), err
    code, err = asked("--set", SPACE, "--stop", "regret")
    assert (code, err.endswith("the run has not one metric and mode: give them\n")) == (1, True), err


def test_lines_of_the_log_name_the_option(asked: Callable[..., tuple[int, str]], caplog: pytest.LogCaptureFixture) -> None:
    quiet = (*GOAL, "--verbose", "0", "--search", "tpe")
    for name in ("first", "other"):
        assert asked("--set", SPACE, *quiet, "--name", name)[0] == 0
    again = ("--set", SPACE, *quiet, "--name", "second", "--resume", "AUTO")
    assert asked(*again, "--warm-start-from", "first")[0] == 0
    assert caplog.messages == []
    assert asked(*again, "--num-samples", "2", "--warm-start-from", "other")[0] == 0
    assert [said.split(",")[0] for said in caplog.messages] == ["--warm-start-from: the experiment was begun near 1 configs"]
