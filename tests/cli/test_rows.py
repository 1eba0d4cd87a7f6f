"""Rows that are filtered, sorted, exported and deleted; the best one; the terminal that follows a run."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune.cli import listing, watch
from fasttune.cli.toml import as_keywords, as_toml, space_of
from fasttune.cli.trials import trials_of
from fasttune.engine.opening import open_records

PACKAGE = str(Path(tune.__file__).resolve().parent.parent)
Printed = Callable[..., tuple[int, str, str]]


def train(config: dict[str, Any]) -> None:
    if config["lr"] == 0.3:
        raise ValueError("too large")
    for epoch in range(1, 4):
        tune.report(loss=config["lr"] + 1.0 / epoch, n=epoch, checkpoint=tune.Checkpoint.from_dict({"epoch": epoch}))


@pytest.fixture
def small(results_dir: Path) -> Path:
    """Four trials, one of which fails before it reports."""
    space = {"lr": tune.grid_search([0.1, 0.3, 0.2, 0.05]), "opt": {"name": tune.choice(["sgd"]), "more": (1, None)}, "class": 1}
    tune.run(
        train, name="small", config=space, metric="loss", mode="min", raise_on_failed_trial=False, verbose=0, executor="inline",
        seed=7,
    )  # fmt: skip
    return results_dir / "small"


def test_integers_stay_integers_beside_an_empty_cell(small: Path, fasttune: Printed) -> None:
    code, out, _ = fasttune("trials", "small", "--csv", "--columns", "n,training_iteration,lr", "--sort", "lr")
    assert code == 0
    assert out == "n,training_iteration,config/lr\n3,3,0.05\n3,3,0.1\n3,3,0.2\n,0,0.3\n"
    assert fasttune("ls", "small", "--csv", "--json")[0] == 1
    assert fasttune("ls", "small", "--filter", "status=ERROR", "--columns", "error")[1].splitlines()[1] == "ValueError: too large"
    assert trials_of(open_records(str(small)))["training_iteration"].tolist() == [3, 0, 3, 3]


def test_what_was_attached_to_trials_are_columns(results_dir: Path, fasttune: Printed) -> None:
    def attaches(config: dict[str, Any]) -> None:
        if config["n"] % 2:
            tune.set_user_attr("data", {"rows": 10 * config["n"], "by": "me"})
        tune.report(loss=1.0 / (1 + config["n"]), **({"word": "odd"} if config["n"] == 3 else {}))

    tune.run(attaches, name="noted", config={"n": tune.grid_search(list(range(5)))}, executor="inline", verbose=0)

    def listed(*asked: str) -> list[str]:
        columns = "n,user_attrs/data/rows,user_attrs/data/by"
        return fasttune("ls", "noted", "--csv", "--columns", columns, *asked)[1].splitlines()[1:]

    assert listed("--filter", "user_attrs/data/rows > 15") == ["3,30,me"]
    assert listed("--sort", "user_attrs/data/rows", "--desc") == ["3,30,me", "1,10,me", "0,,", "2,,", "4,,"]
    assert listed("--filter", "user_attrs/data/by =") == ["0,,", "2,,", "4,,"]
    assert listed("--filter", "user_attrs/data/by != you") == ["1,10,me", "3,30,me"]
    rows = json.loads(fasttune("ls", "noted", "--json")[1])
    assert [row.get("user_attrs/data/rows") for row in rows] == [None, 10, None, 30, None]


def test_what_a_stranger_wrote_does_nothing_to_the_terminal(results_dir: Path, fasttune: Printed) -> None:
    assert listing.cell("a\033[31mred\a\r\nb") == "a [31mred b"
    evil = "x\033]0;title\a"
    tune.run(
        lambda config: tune.report({"loss": 1.0, evil: evil}), config={evil: tune.choice([evil]), "a": 1}, name=f"evil{evil}",
        metric="loss", mode="min", verbose=0, executor="inline",
    )  # fmt: skip
    assert fasttune("add-note", "evil", f"note{evil}")[0] == 0
    lines = ("ls evil", "ls evil --columns ?", "lsx", "show evil", "watch evil", "doctor evil", "ls evil --sort no", "stop evil")
    for line in lines:
        _, out, err = fasttune(*line.split())
        assert out + err
        assert "\033" not in out + err, line
        assert "\a" not in out + err, line


# ---- best


def test_best_in_three_forms(small: Path, fasttune: Printed) -> None:
    config = {"lr": 0.05, "opt": {"name": "sgd", "more": [1, None]}, "class": 1}
    assert json.loads(fasttune("best", "small")[1]) == config
    assert json.loads(fasttune("best", "latest", "--json")[1])["config"] == config
    told: dict[str, Any] = {}
    exec(f"told.update({fasttune('best', 'small', '--as', 'python')[1]})", {"told": told})
    assert told == {**config, "opt": {"name": "sgd", "more": (1, None)}}
    code, out, err = fasttune("best", "small", "--as", "toml")
    assert (code, out) == (1, "")
    assert "opt is or holds None" in err
    assert json.loads(fasttune("best", "small", "--mode", "max", "--metric", "loss")[1])["lr"] == 0.2
    code, _, err = fasttune("best", "small", "--metric", "lss", "--mode", "min")
    assert code == 1
    assert "reported were loss, n" in err


def test_best_finds_the_checkpoint(small: Path, fasttune: Printed) -> None:
    code, out, _ = fasttune("best", "small", "--checkpoint")
    assert code == 0
    assert tune.Checkpoint.from_directory(out.strip()).to_dict() == {"epoch": 3}


def test_best_of_nothing(results_dir: Path, fasttune: Printed) -> None:
    tune.run(lambda config: tune.report(a=1), name="plain", verbose=0, executor="inline")
    assert "give --metric and --mode" in fasttune("best", "plain")[2]
    code, _, err = fasttune("best", "plain", "--metric", "a", "--mode", "min", "--checkpoint")
    assert code == 1
    assert "has no checkpoint" in err


@pytest.mark.parametrize(
    "config",
    [
        {"a": 1, "b": 1.5, "c": True, "d": "x\"y\\z\n\x7f\x01é😀", "e": [1, "two", [3.0]], "f": {"g": {"h": -1e-300}}},
        {"choice": {"uniform": [0, 1]}, "x": {"constant": {"choice": 3}}, "a b": 1, "": 2, "ü": {}, "n": {"grid": []}},
        {"near": {"loguniforn": []}, "function": {"sample_from": 1}},
        {"inf": float("inf"), "big": 10**18, "l": [{"uniform": 1}, {"a": 1, "b": 2}]},
    ],
)
def test_a_config_in_toml_reads_back_as_it_was(config: dict[str, Any]) -> None:
    import tomllib

    assert space_of(tomllib.loads(as_toml(config)), "best.toml") == config


def test_keywords_are_those_of_python() -> None:
    assert as_keywords({"a": 1, "class": 2, "b-c": "x"}) == "a=1, **{'class': 2, 'b-c': 'x'}"
    assert as_keywords({}) == ""


# ---- export


def test_export_of_trials_and_reports(small: Path, fasttune: Printed, tmp_path: Path) -> None:
    code, out, err = fasttune("export", "small", "--to", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, err, len(rows)) == (0, "", 4)
    told = [(row["status"], row["loss"], row["config/opt/name"]) for row in rows]
    assert told[:2] == [("TERMINATED", "0.43333333333333335", "sgd"), ("ERROR", "", "sgd")]
    code, out, _ = fasttune("export", "small", "--to", "jsonl", "--reports")
    reports = [json.loads(line) for line in out.splitlines()]
    assert [(row["training_iteration"], row["n"]) for row in reports] == [(1, 1), (2, 2), (3, 3)] * 3
    assert reports[0]["loss"] == 1.1
    code, out, err = fasttune("export", "small", "--to", "jsonl", "-o", tmp_path / "a.jsonl")
    assert (code, out) == (0, "")
    assert "4 rows written" in err
    assert json.loads((tmp_path / "a.jsonl").read_text().splitlines()[1])["loss"] is None


def test_parquet_needs_a_file_and_a_library(small: Path, fasttune: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "give -o FILE" in fasttune("export", "small", "--to", "parquet")[2]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = fasttune("export", "small", "--to", "parquet", "-o", tmp_path / "a.parquet")
    assert code == 1
    assert "pip install 'fasttune[arrow]'" in err


# ---- rm


def test_rm_deletes_an_experiment_and_follows_no_link(small: Path, fasttune: Printed, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    (small / "link").symlink_to(outside)
    code, _, err = fasttune("rm", "small")
    assert code == 1
    assert "say --yes" in err
    assert fasttune("rm", "smal", "--yes")[0] == 1  # the beginning of a name is not enough
    assert fasttune("rm", "small", "--yes") == (0, "", f"deleted {small}\n")
    assert not small.exists()
    assert (outside / "kept").exists()


def test_rm_asks(small: Path, fasttune: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, left in (("", True), ("n\n", True), ("yes\n", False)):
        stream = io.StringIO(answer)
        monkeypatch.setattr(stream, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", stream)
        code, _, err = fasttune("rm", "small")
        assert code == 0
        assert f"delete {small} (4 trials, 9 reports" in err
        assert small.exists() == left


@pytest.mark.parametrize("kind", ["no experiment", "damaged", "link", "others within", "home"])
def test_rm_deletes_nothing_else(small: Path, fasttune: Printed, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = small
    if kind == "no experiment":
        target = small.parent
    elif kind == "damaged":
        (small / "experiment.db").write_bytes(b"no journal" * 999)
        (small / "experiment.db-wal").unlink(missing_ok=True)
    elif kind == "link":
        target = small.parent / "linked"
        target.symlink_to(small)
    elif kind == "others within":
        tune.run(lambda config: tune.report(a=1), name="small/inner", verbose=0, executor="inline")
    else:
        monkeypatch.setenv("HOME", str(small))
    before = sorted(small.rglob("*"))
    code, out, err = fasttune("rm", target, "--yes")
    assert (code, out) == (1, "")
    assert err.startswith("fasttune: ")
    assert sorted(small.rglob("*")) == before


# ---- watch


def test_watch_of_what_has_ended_is_one_look(small: Path, fasttune: Printed) -> None:
    code, out, _ = fasttune("watch", "small")
    assert code == 0
    assert "finished, 4 trials: 3 TERMINATED, 1 ERROR, 9 reports, best last loss 0.383333 (min) by " in out
    assert json.loads(fasttune("watch", "small", "--json")[1])["reports"] == 9


def test_watch_follows_until_the_run_ends(small: Path, fasttune: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is held for two looks; in between the experiment is gone on with."""
    from fasttune.storage import recovery

    looks = iter([1, 1, None])
    monkeypatch.setattr(recovery, "writer_of", lambda folder: next(looks))

    def more(self: Any) -> None:
        monkeypatch.setattr(watch.Watcher, "rest", lambda self: None)

    monkeypatch.setattr(watch.Watcher, "rest", more)
    out = fasttune("watch", "small")[1]
    assert [line.split()[1] for line in out.splitlines()] == ["running,", "finished,"]  # nothing new: no line


def test_watch_on_a_terminal(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from argparse import Namespace

    from rich.console import Console

    follow = watch.Watcher(str(small), Namespace(metric=None, mode=None, scope=None, every=1.0, json=False))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(follow.picture())
    text = console.export_text()
    assert "small  finished" in text
    assert "0.433333" in text
    assert text.count("TERMINATED") == 4  # in the counts, and three rows


def test_watch_on_a_narrow_terminal_leaves_out_columns_and_cuts_no_id() -> None:
    lines = [["trial", "status", "loss", "lr"], ["3705d_00012", "TERMINATED", "0.5", "0.25"]]
    assert [watch.fitting(lines, width) for width in (10, 25, 30, 35, 80)] == [2, 2, 3, 4, 4]


def test_a_filter_without_a_value_is_none(small: Path, fasttune: Printed) -> None:
    assert "has no value to compare with" in fasttune("ls", "small", "--filter", "loss <")[2]


def test_show_tells_what_was_attached(fasttune: Printed) -> None:
    def train(config: Any) -> None:
        tune.report(loss=1.0)

    tune.run(train, name="attached", executor="inline", verbose=0, user_attrs={"data": {"version": 3}})
    assert "attached: data/version  3" in fasttune("show", "attached")[1]
    assert json.loads(fasttune("show", "attached", "--json")[1])["user_attrs"] == {"data": {"version": 3}}


# ---- completion


Complete = Callable[..., list[str]]


@pytest.fixture
def complete(results_dir: Path, fasttune: Printed, tmp_path: Path) -> Complete:
    """What bash offers for the last of some words behind "fasttune"."""
    path = tmp_path / "completion.bash"
    path.write_text(fasttune("completion", "bash")[1])
    command = f'fasttune() {{ {sys.executable} -m fasttune "$@"; }}'
    script = f'{command}; source {path}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _fasttune; printf "%s\\n" "${{COMPREPLY[@]}}"'

    def completed(*words: str) -> list[str]:
        done = subprocess.run(
            ["bash", "-c", script, "bash", "fasttune", *words], capture_output=True, text=True, check=True,
            env={**os.environ, "FASTTUNE_RESULTS_DIR": str(results_dir), "PYTHONPATH": PACKAGE},
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.splitlines()

    return completed


def test_completion(small: Path, complete: Complete, fasttune: Printed) -> None:
    (small.parent / "two words").mkdir()
    (small.parent / "two words" / "experiment.db").touch()
    (small.parent / "none").mkdir()
    assert complete("re") == ["resume", "report", "replay"]
    assert complete("show", "s") == ["small"]
    assert complete("show", "") == ["small", "two\\ words", "latest"]
    assert complete("trials", "small", "--so") == ["--sort"]
    assert complete("best", "small", "--as", "") == ["json", "toml", "python"]
    assert complete("ls", "small", "--sort", "") == [""]  # a value of one's own
    assert complete("completion", "") == ["bash", "zsh"]
    assert complete("run", "") == [""]  # files, by the shell
    assert complete("rm", "small", "s") == ["small"]
    assert "bashcompinit" in fasttune("completion", "zsh")[1]
    assert fasttune("completion", "fish")[0] == 2


def test_completion_knows_pictures_schedulers_searchers_and_forms(small: Path, complete: Complete) -> None:
    from fasttune.plot import PICTURES

    assert complete("plot", "small", "") == list(PICTURES)
    assert complete("plot", "-o", "x.svg", "small", "par") == ["parallel", "pareto"]
    assert complete("plot", "s") == ["small"]
    assert complete("plot", "small", "history", "") == [""]
    assert complete("run", "--scheduler", "pb") == ["pb2", "pbt", "pbt_replay"]
    assert complete("run", "train.py:train", "--search", "t") == ["tpe"]
    assert complete("export", "small", "--to", "j") == ["jsonl"]


def test_completion_knows_the_trials_that_can_be_stopped(small: Path, complete: Complete) -> None:
    with tune.open_experiment({"x": tune.uniform(0, 1)}, metric="loss", mode="min", name="asked") as experiment:
        alive = [experiment.ask().trial_id for _ in range(3)]
        experiment.tell(experiment.ask(), 1.0)
        assert complete("stop", "asked", "") == alive
        assert complete("stop", "asked", alive[0], "--wait", "3", alive[1][:-1]) == alive
    assert complete("stop", "small", "") == [""]
    assert complete("stop", "nothing", "") == [""]


def test_completion_where_there_is_nothing(complete: Complete) -> None:
    assert complete("show", "") == ["latest"]


# ---- every command


def test_every_command_has_help_with_examples(fasttune: Printed) -> None:
    from fasttune.cli import COMMANDS

    for one in COMMANDS:
        for name in one.names.split():
            code, out, err = fasttune(name, "--help")
            assert (code, err) == (0, "")
            assert "examples:\n  " in out, name


def test_every_command_that_prints_data_speaks_json(small: Path, fasttune: Printed) -> None:
    for line in ("ls small", "lsx", "show small", "best small", "replay small", "watch small", "doctor small"):
        code, out, err = fasttune(*line.split(), "--json")
        assert (code, err) == (0, ""), line
        json.loads(out)


def test_a_command_that_does_not_exist_is_said_with_what_is_near(fasttune: Printed) -> None:
    assert "did you mean 'show'?" in fasttune("shwo")[2]
    assert "they are run, resume, watch" in fasttune("nosuch")[2]


def test_an_experiment_without_trials(results_dir: Path, fasttune: Printed) -> None:
    with tune.open_experiment({"x": tune.uniform(0, 1)}, metric="loss", mode="min", name="empty"):
        pass
    assert fasttune("ls", "empty")[:2] == (0, "trial_id  status  training_iteration\n")
    assert fasttune("ls", "empty", "--json")[:2] == (0, "[]\n")
    for line in ("show", "watch", "replay", "export --to csv", "export --to jsonl --reports", "doctor"):
        name, *rest = line.split()
        assert fasttune(name, "empty", *rest)[0] == 0, line
    assert "has a number for 'loss' yet" in fasttune("best", "empty")[2]
    with tune.open_experiment({"x": tune.uniform(0, 1)}, metric="loss", mode="min", name="asked") as experiment:
        experiment.ask()
        assert "RUNNING" in fasttune("ls", "asked", "--sort", "loss")[1]
    assert "INTERRUPTED" in fasttune("ls", "asked", "--sort", "loss")[1]


def of_numpy(config: dict[str, Any]) -> float:
    return float(config["i"])


@pytest.mark.parametrize("form", ["toml", "json", "python"])
def test_values_of_numpy_come_back_as_what_they_are(form: str, fasttune: Printed, results_dir: Path) -> None:
    """As texts, "False" would be true in the run that takes them from a file."""
    config = {
        "i": tune.choice(np.arange(3, 4)), "share": np.float32(0.5), "on": tune.choice(np.array([False])),
        "many": np.arange(2), "deep": {"n": [np.int8(4)]},
    }  # fmt: skip
    tune.run(of_numpy, config=config, metric="v", mode="min", name="of_numpy", executor="inline", verbose=0)
    code, text, _ = fasttune("best", "of_numpy", "--as", form)
    assert code == 0
    found = {"toml": tomllib.loads, "json": json.loads, "python": lambda text: eval(f"dict({text})")}[form](text)
    assert found == {"i": 3, "share": 0.5, "on": False, "many": [0, 1], "deep": {"n": [4]}}
    assert [type(found[key]) for key in ("i", "share", "on")] == [int, float, bool]
