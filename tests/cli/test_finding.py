"""Experiments are found by what people call them, and what is not found is said with what there is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import fasttune as tune
from fasttune.cli import CommandError
from fasttune.cli.finding import find

Printed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def three(results_dir: Path) -> Path:
    """mnist, mnist_2 and cifar, begun in this order."""
    for name in ("mnist", "mnist_2", "cifar"):
        tune.run(lambda config: tune.report(loss=1.0), name=name, verbose=0, executor="inline")
    return results_dir


def test_an_experiment_goes_by_many_names(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(three)
    mnist = str(three / "mnist")
    for text in ("mnist", mnist, f"{mnist}/", "./mnist", f"{mnist}/experiment.db", os.path.relpath(mnist)):
        assert find(text) == mnist
    assert find("ci") == str(three / "cifar")  # the beginning of one name alone
    assert find("latest") == str(three / "cifar")
    monkeypatch.setenv("HOME", str(three))
    assert find("~/mnist") == mnist


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mn", "is the beginning of 2 experiments"), ("mnits", "did you mean 'mnist'"), ("nothing", "It holds cifar, mnist, mnist_2"),
        ("", "there is no experiment ''"), ("../mnist/../nothing", "there is no experiment"), ("a\0b", "there is no experiment"),
    ],
)  # fmt: skip
def test_what_is_not_found_is_said_with_what_there_is(three: Path, text: str, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        find(text)


def test_a_folder_of_experiments_is_none_itself(three: Path) -> None:
    with pytest.raises(CommandError, match="is a folder with 3 experiments, and none itself: cifar, mnist, mnist_2"):
        find(str(three))


def test_a_name_that_means_two_is_refused(three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tune.run(lambda config: tune.report(loss=1.0), name="mnist", storage_path=tmp_path, verbose=0, executor="inline")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError, match="say which by its folder"):
        find("mnist")
    assert find("./mnist") == str(tmp_path / "mnist")


def test_latest_is_the_one_that_runs(three: Path) -> None:
    from fasttune.storage.recovery import ExperimentLock

    lock = ExperimentLock(str(three / "mnist"))
    try:
        assert find("latest") == str(three / "mnist")
    finally:
        lock.release()


def test_where_there_is_nothing(results_dir: Path, fasttune: Printed) -> None:
    for argv in (["show", "latest"], ["ls", "mnist"], ["best", "mnist"]):
        code, out, err = fasttune(*argv)
        assert (code, out) == (1, "")
        assert "FASTTUNE_RESULTS_DIR" in err
        assert err.count("\n") == 1


def test_what_cannot_be_read_is_never_the_latest(three: Path) -> None:
    (three / "bad").mkdir()
    (three / "bad" / "experiment.db").write_bytes(b"nothing of ours" * 400)
    assert find("latest") == str(three / "cifar")


def test_the_journal_says_when_something_was_written(three: Path, fasttune: Printed) -> None:
    """Another program that opens the database, or a copy, changes the times of files."""
    before = fasttune("lsx", "--json")[1]
    for path in three.glob("*/experiment.db*"):
        os.utime(path, (0, 0))
    assert fasttune("lsx", "--json")[1] == before
    assert '"last_updated"' in before
