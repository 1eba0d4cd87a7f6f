"""A run that goes on with an earlier one: what it may ask otherwise, what is refused, and that the past stays as it was."""

from __future__ import annotations

import enum
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune import _core
from fasttune.engine.meta import read_metas
from fasttune.error import ResumeError
from fasttune.identity import described
from fasttune.schedulers import ASHAScheduler, PopulationBasedTraining
from fasttune.search import BasicVariantGenerator, ConcurrencyLimiter, TPESearch
from fasttune.storage.reader import SqliteReader
from fasttune.storage.sqlite import checksum


class Kind(enum.Enum):
    SMALL = 1
    LARGE = 2


def tells(config: dict[str, Any]) -> None:
    """Reports what it was trained with."""
    tune.report(loss=float(len(str(config))), seen=str(sorted(config.items(), key=str)))


def also_tells(config: dict[str, Any]) -> None:
    tells(config)


class Tells(tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"loss": 1.0, "done": True}


SPACE: dict[str, Any] = {"lr": tune.loguniform(1e-4, 1e-1), "kind": tune.choice(["adam", "sgd"]), "depth": 3}
WIDER: dict[str, Any] = {"lr": tune.loguniform(1e-3, 1.0), "kind": tune.choice(["lion", "sgd"]), "depth": 3}


def go(folder: Path, **asked: Any) -> tune.ExperimentAnalysis:
    given = {
        "trainable": tells, "config": SPACE, "num_samples": 4, "metric": "loss", "mode": "min", "name": "exp",
        "storage_path": folder, "verbose": 0, "executor": "inline", "resume": "AUTO",
    }  # fmt: skip
    given.update(asked)
    return tune.run(given.pop("trainable"), **given)


def as_trained(analysis: tune.ExperimentAnalysis) -> int:
    """How many trials there are; each shows the config that it was trained with."""
    for trial in analysis.trials:
        assert trial.last_result["seen"] == str(sorted(trial.config.items(), key=str))
        assert trial.last_result["config"] == trial.config
    return len(analysis.trials)


def opened(folder: Path) -> tune.ExperimentAnalysis:
    return tune.ExperimentAnalysis(folder / "exp", default_metric="loss", default_mode="min")


def journal(folder: Path) -> list[Any]:
    storage = SqliteReader(str(folder / "exp"))
    return [(source, position, bytes(data)) for source, position, data in storage.read()]


def refused(folder: Path, text: str, **asked: Any) -> None:
    """The run says so in words, and has written nothing."""
    before = journal(folder)
    with pytest.raises(ResumeError) as caught:
        go(folder, **asked)
    assert text in str(caught.value)
    assert journal(folder) == before


OTHERWISE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "bounds": ({}, {"config": WIDER}, "lr: loguniform(0.0001, 0.1) was, loguniform(0.001, 1.0) is"),
    "options": ({}, {"config": WIDER}, "kind: choice(['adam', 'sgd']) was, choice(['lion', 'sgd']) is"),
    "constant": ({}, {"config": {**SPACE, "depth": 4}}, "depth: 3 was, 4 is"),
    "key": ({}, {"config": {**SPACE, "more": 1}}, "more: it was not there, 1 is"),
    "grid": (
        {"config": {"a": tune.grid_search([1, 2])}}, {"config": {"a": tune.grid_search([1, 2, 3])}},
        "a: grid_search([1, 2]) was, grid_search([1, 2, 3]) is",
    ),
    "enum": (
        {"config": {"a": tune.choice([Kind.SMALL])}}, {"config": {"a": tune.choice([Kind.LARGE])}},
        "a: choice([test_going_on.Kind.SMALL]) was, choice([test_going_on.Kind.LARGE]) is",
    ),
    "functions": (
        {"config": {"a": tune.choice([tells])}}, {"config": {"a": tune.choice([also_tells])}},
        "a: choice([test_going_on.tells]) was, choice([test_going_on.also_tells]) is",
    ),
    "code": (
        {"config": {"a": tune.sample_from(lambda: 1)}}, {"config": {"a": tune.sample_from(lambda: 2)}},
        "its code or its contents are others",
    ),
    "metric": ({}, {"metric": "other"}, "metric: 'loss' was, 'other' is"),
    "mode": ({}, {"mode": "max"}, "mode: 'min' was, 'max' is"),
    "name": ({}, {"trainable": also_tells}, "trainable: tells was, also_tells is"),
    "random, tpe": ({}, {"search_alg": "tpe"}, "searcher: BasicVariantGenerator was, TPESearch is"),
    "tpe, random": ({"search_alg": "tpe"}, {"search_alg": None}, "searcher: TPESearch was, BasicVariantGenerator is"),
    "searcher": (
        {"search_alg": lambda: TPESearch(gamma=0.1)}, {"search_alg": lambda: TPESearch(gamma=0.2)}, "searcher/gamma: 0.1 was, 0.2 is",
    ),
    "points": (
        {}, {"search_alg": BasicVariantGenerator(points_to_evaluate=[{"lr": 0.01}])},
        "searcher/points_to_evaluate: [] was, [{'lr': 0.01}] is",
    ),
    "scheduler": ({}, {"scheduler": "asha"}, "scheduler: FIFOScheduler was, AsyncHyperBandScheduler is"),
    "rungs": (
        {"scheduler": lambda: ASHAScheduler(max_t=9)}, {"scheduler": lambda: ASHAScheduler(max_t=27)}, "scheduler/max_t: 9 was, 27 is",
    ),
    "duplicates": ({}, {"on_duplicate": "skip"}, "on_duplicate: 'allow' was, 'skip' is"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(OTHERWISE))
def test_what_would_be_another_past_is_refused_in_words(tmp_path: Path, what: str) -> None:
    first, then, text = OTHERWISE[what]

    def made(asked: dict[str, Any]) -> dict[str, Any]:
        return {name: value() if name in ("search_alg", "scheduler") and callable(value) else value for name, value in asked.items()}

    trained = go(tmp_path, **made(first)).trials
    refused(tmp_path, text, **made({**first, **then}))
    assert as_trained(go(tmp_path, **made(first))) == len(trained)


def test_a_class_of_the_same_name_is_not_the_function(tmp_path: Path) -> None:
    go(tmp_path)
    refused(tmp_path, "tells: a function was, a class is", trainable=type("tells", (Tells,), {}))


def test_another_seed_is_refused(tmp_path: Path) -> None:
    go(tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"seed: 1 was, 2 is"):
        go(tmp_path, seed=2)


THE_SAME: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "objects": lambda: {"config": {"a": tune.choice([Kind.SMALL, tells, Tells, (1, 2)]), "b": {1, 2}}},
    "lambda": lambda: {"config": {"a": tune.sample_from(lambda config: config["b"] + 1), "b": tune.randint(0, 9)}},
    "order": lambda: {"config": dict(reversed(SPACE.items()))} if journal_is_there() else {"config": SPACE},
    "searcher": lambda: {"search_alg": TPESearch()},
    "limited": lambda: {"search_alg": ConcurrencyLimiter(TPESearch(), 2 + journal_is_there())},
    "scheduler": lambda: {"scheduler": ASHAScheduler(max_t=9.0 if journal_is_there() else 9)},
    "stop": lambda: {"stop": {"training_iteration": 5 + journal_is_there()}},
    "how": lambda: {"max_concurrent_trials": 1 + journal_is_there(), "max_failures": int(journal_is_there())},
}
_SEEN: list[str] = []


def journal_is_there() -> bool:
    """Whether the second of two runs is being asked."""
    return bool(_SEEN)


@pytest.mark.parametrize("what", list(THE_SAME))
def test_an_equal_run_goes_on(tmp_path: Path, what: str) -> None:
    _SEEN.clear()
    first = go(tmp_path, num_samples=3, **THE_SAME[what]())
    trained = [trial.last_result["seen"] for trial in first.trials]
    _SEEN.append("first")
    again = go(tmp_path, num_samples=5, **THE_SAME[what]())
    _SEEN.clear()
    assert [trial.last_result["seen"] for trial in again.trials][:3] == trained
    assert len(again.trials) == len(opened(tmp_path).trials) == 5
    assert {trial.status for trial in again.trials} == {"TERMINATED"}


def test_fewer_samples_end_what_is_there_and_add_nothing(tmp_path: Path) -> None:
    go(tmp_path, num_samples=5)
    assert as_trained(go(tmp_path, num_samples=2)) == 5
    assert as_trained(go(tmp_path, num_samples=6)) == 6


def test_more_samples_of_a_grid_are_the_next_ones(tmp_path: Path) -> None:
    space = {"a": tune.grid_search([1, 2, 3]), "b": tune.uniform(0, 1)}
    go(tmp_path, config=space, num_samples=1)
    more = go(tmp_path, config=space, num_samples=3)
    assert as_trained(more) == 9
    assert [trial.config["a"] for trial in more.trials] == [1, 2, 3] * 3


def test_what_was_chosen_for_a_few_samples_goes_on_with_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasttune.search.auto.MOST_LEARNT", 4)
    first = go(tmp_path, search_alg="auto", num_samples=3)
    assert len(go(tmp_path, search_alg="auto", num_samples=6).trials) == 6
    metas = read_metas(SqliteReader(first.experiment_path), "")
    assert [meta["asked"]["searcher"]["kind"] for meta in metas] == ["AutoSearch", "AutoSearch"]


@pytest.mark.parametrize("search_alg", [None, "tpe"])
def test_several_experiments_each_get_their_samples(tmp_path: Path, search_alg: Any) -> None:
    def both(first: int, second: int) -> list[str]:
        experiments = [
            tune.Experiment("exp", one, config=SPACE, num_samples=n, storage_path=tmp_path)
            for one, n in ((tells, first), (also_tells, second))
        ]
        done = tune.run(
            experiments, metric="loss", mode="min", search_alg=search_alg, resume="AUTO", verbose=0, executor="inline"
        )
        as_trained(done)
        return [trial.trainable_name for trial in done.trials]

    assert both(2, 1) == ["tells", "tells", "also_tells"]
    assert sorted(both(3, 3)) == ["also_tells"] * 3 + ["tells"] * 3
    with pytest.raises(ResumeError, match=r"trainable: tells, also_tells was, tells is"):
        go(tmp_path, search_alg=search_alg)


@pytest.mark.parametrize("search_alg", [None, "tpe"])
@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_new_space_holds_from_the_next_trial_on(tmp_path: Path, search_alg: Any, executor: str) -> None:
    asked = {"search_alg": search_alg, "executor": executor}
    first = go(tmp_path, **asked)
    old = [trial.config for trial in first.trials]
    assert as_trained(go(tmp_path, config=WIDER, num_samples=3, resume="AUTO+NEW_SPACE", **asked)) == 7
    assert as_trained(go(tmp_path, config=WIDER, num_samples=5, **asked)) == 9  # the newest space is the one that is
    assert as_trained(go(tmp_path, config=WIDER, num_samples=5, resume=tune.ResumeConfig(new_space=True), **asked)) == 9
    refused(tmp_path, "lr: loguniform(0.001, 1.0) was, loguniform(0.0001, 0.1) is", **asked)
    assert as_trained(go(tmp_path, num_samples=2, resume="AUTO+NEW_SPACE", **asked)) == 11  # and back
    analysis = opened(tmp_path)
    assert as_trained(analysis) == 11
    assert [trial.config for trial in analysis.trials][:4] == old
    assert {trial.config["kind"] for trial in analysis.trials[4:9]} <= {"lion", "sgd"}
    assert {trial.config["kind"] for trial in analysis.trials[9:]} <= {"adam", "sgd"}
    assert len({trial.config["lr"] for trial in analysis.trials}) == 11  # another family of random numbers
    metas = read_metas(SqliteReader(str(tmp_path / "exp")), "")
    assert [meta.get("new_space") for meta in metas] == [None, True, False, True]
    tables = sqlite3.connect(tmp_path / "exp" / "experiment.db")
    rows = tables.execute('SELECT "config/lr" FROM trials ORDER BY trial').fetchall()
    tables.close()
    assert [lr for (lr,) in rows] == [trial.config["lr"] for trial in analysis.trials]


def fails_once(config: dict[str, Any]) -> None:
    marker = Path(config["marker"]) / f"{config['lr']:.9f}"
    if not marker.exists():
        marker.touch()
        raise RuntimeError("once")
    tells(config)


def test_trials_of_the_old_space_go_on_in_it(tmp_path: Path) -> None:
    marks = {"marker": str(tmp_path)}
    old = go(tmp_path, trainable=fails_once, config={**SPACE, **marks}, raise_on_failed_trial=False)
    new = {"trainable": fails_once, "config": {**WIDER, **marks}, "raise_on_failed_trial": False, "max_failures": 1}
    more = go(tmp_path, num_samples=2, resume="AUTO+ERRORED+NEW_SPACE", executor="process", **new)
    assert as_trained(more) == 6
    assert [trial.config for trial in more.trials[:4]] == [trial.config for trial in old.trials]
    assert as_trained(opened(tmp_path)) == 6


def test_objects_of_the_old_space_are_not_handed_out_as_text(tmp_path: Path) -> None:
    marks = {"marker": str(tmp_path), "lr": tune.uniform(0, 1)}
    asked = {"trainable": fails_once, "raise_on_failed_trial": False}
    go(tmp_path, config={**marks, "kind": tune.choice([Kind.SMALL, Kind.LARGE])}, **asked)
    before = journal(tmp_path)
    with pytest.raises(tune.TuneError, match=r"4 trials of the earlier search space are to go on.*hold objects"):
        go(tmp_path, config=marks, resume="AUTO+ERRORED+NEW_SPACE", **asked)
    assert journal(tmp_path) == before
    assert len(go(tmp_path, config=marks, resume="AUTO+NEW_SPACE", **asked).trials) == 8


def test_a_journal_of_an_earlier_version_goes_on_as_far_as_it_tells(tmp_path: Path) -> None:
    go(tmp_path, seed=3)
    forget_what_was_asked(tmp_path / "exp")
    refused(tmp_path, "lr: loguniform(0.0001, 0.1) was, loguniform(0.001, 1.0) is", config=WIDER)
    refused(tmp_path, "searcher: BasicVariantGenerator was, TPESearch is", search_alg="tpe")
    refused(tmp_path, "scheduler: FIFOScheduler was, AsyncHyperBandScheduler is", scheduler="asha")
    assert as_trained(go(tmp_path, num_samples=6)) == 6
    assert as_trained(opened(tmp_path)) == 6


def forget_what_was_asked(folder: Path) -> None:
    """Make the first record what versions wrote that knew nothing of going on."""
    database = sqlite3.connect(folder / "experiment.db")
    number, source, position, data = database.execute(
        "SELECT id, source, position, data FROM journal ORDER BY id LIMIT 1"
    ).fetchone()
    ((_, _, _, _, _, time, payload),) = _core.decode(data)
    meta = json.loads(payload.rstrip(b"\0"))
    del meta["asked"]
    data = _core.encode(_core.KIND_META, payload=json.dumps(meta).encode(), time=time)
    database.execute(
        "UPDATE journal SET data = ?, crc = ? WHERE id = ?", (data, checksum(source, position, data), number)
    )
    database.commit()
    database.close()


# -- the other doors -------------------------------------------------------------------------------------------------


def a_tuner(folder: Path, **tune_config: Any) -> tune.Tuner:
    return tune.Tuner(
        tells,
        param_space=SPACE,
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=3, **tune_config),
        run_config=tune.RunConfig(name="exp", storage_path=folder, verbose=0, executor="inline"),
    )


def test_a_restored_tuner_refuses_and_takes_a_new_space(tmp_path: Path) -> None:
    a_tuner(tmp_path).fit()
    kept = (tmp_path / "exp" / "tuner.pkl").read_bytes()
    with pytest.raises(ResumeError, match=r"lr: loguniform\(0.0001, 0.1\) was"):
        tune.Tuner.restore(tmp_path / "exp", tells, param_space=WIDER)
    assert (tmp_path / "exp" / "tuner.pkl").read_bytes() == kept
    assert len(tune.Tuner.restore(tmp_path / "exp", tells, param_space=SPACE).fit()) == 3
    assert len(tune.Tuner.restore(tmp_path / "exp", tells, param_space=WIDER, new_space=True).fit()) == 6
    assert len(tune.Tuner.restore(tmp_path / "exp", tells).fit()) == 6  # as the last one asked
    assert as_trained(opened(tmp_path)) == 6
    other = tune.TuneConfig(metric="loss", mode="max", num_samples=3)
    restored = tune.Tuner.restore(tmp_path / "exp", tells, tune_config=other)
    with pytest.raises(ResumeError, match=r"mode: 'min' was, 'max' is"):
        restored.fit()
    assert len(tune.Tuner.restore(tmp_path / "exp", tells).fit()) == 6  # what was refused was not kept


def test_a_restored_tuner_knows_what_its_scheduler_adds_to_the_space(tmp_path: Path) -> None:
    def pbt() -> PopulationBasedTraining:
        return PopulationBasedTraining(
            "training_iteration", perturbation_interval=1, hyperparam_mutations={"wd": tune.uniform(0, 1)}
        )

    a_tuner(tmp_path, scheduler=pbt()).fit()
    again = tune.TuneConfig(metric="loss", mode="min", num_samples=4, scheduler=pbt())
    assert len(tune.Tuner.restore(tmp_path / "exp", tells, tune_config=again).fit()) == 4


def test_an_open_experiment_refuses_and_takes_a_new_space(tmp_path: Path) -> None:
    def ask_and_tell(config: dict[str, Any], n: int, resume: Any = "AUTO") -> list[dict[str, Any]]:
        with tune.open_experiment(
            config, name="exp", metric="loss", mode="min", storage_path=tmp_path, resume=resume
        ) as experiment:
            for _ in range(n):
                asked = experiment.ask()
                assert asked is not None
                experiment.tell(asked, {"loss": 1.0, "seen": str(sorted(asked.config.items(), key=str))})
            as_trained(experiment.analysis)
            return [trial.config for trial in experiment.analysis.trials]

    old = ask_and_tell(SPACE, 3)
    with pytest.raises(ResumeError, match=r"lr: loguniform\(0.0001, 0.1\) was"):
        ask_and_tell(WIDER, 3)
    new = ask_and_tell(WIDER, 2, "AUTO+NEW_SPACE")
    assert new[:3] == old
    assert len(new) == as_trained(opened(tmp_path)) == 5


# -- finished trials that run again ----------------------------------------------------------------------------------


def counts(config: dict[str, Any]) -> None:
    """Counts on from its checkpoint: two steps in each session."""
    before = tune.get_checkpoint()
    n = 0 if before is None else before.to_dict()["n"]
    for _ in range(2):
        n += 1
        tune.report(loss=1 / n, n=n, checkpoint=tune.Checkpoint.from_dict({"n": n}))


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.parametrize("search_alg", [None, "tpe"])
def test_finished_trials_go_on_or_begin_anew_when_that_is_asked(tmp_path: Path, executor: str, search_alg: Any) -> None:
    asked = {"trainable": counts, "executor": executor, "search_alg": search_alg}
    go(tmp_path, **asked)
    on = go(tmp_path, resume=tune.ResumeConfig(finished="resume"), **asked)
    assert [(t.last_result["n"], t.last_result["training_iteration"]) for t in on.trials] == [(4, 4)] * 4
    assert [(t.last_result["n"], t.status) for t in go(tmp_path, **asked).trials] == [(4, "TERMINATED")] * 4
    anew = go(tmp_path, resume=tune.ResumeConfig(finished="restart"), **asked)
    assert [(t.last_result["n"], t.last_result["training_iteration"]) for t in anew.trials] == [(2, 2)] * 4
    assert [t.last_result["n"] for t in opened(tmp_path).trials] == [2] * 4
    assert len(go(tmp_path, num_samples=6, **asked).trials) == 6


@pytest.mark.parametrize("scheduler", ["asha", "asha_promotion", "pasha", "median_stopping_rule", "hyperband", "pbt"])
@pytest.mark.parametrize("wish", ["resume", "restart"])
def test_finished_trials_run_again_under_every_scheduler(tmp_path: Path, scheduler: str, wish: str) -> None:
    def asked() -> dict[str, Any]:
        if scheduler != "pbt":
            return {"trainable": counts, "scheduler": scheduler}
        mutations = {"lr": tune.uniform(0, 1)}
        pbt = PopulationBasedTraining("training_iteration", perturbation_interval=1, hyperparam_mutations=mutations)
        return {"trainable": counts, "scheduler": pbt}

    go(tmp_path, **asked())
    again = go(tmp_path, resume=tune.ResumeConfig(finished=wish), **asked())
    assert {trial.status for trial in again.trials} == {"TERMINATED"}
    for trial in again.trials:
        assert trial.last_result["n"] == trial.last_result["training_iteration"]
    assert len(go(tmp_path, num_samples=6, **asked()).trials) == 6


KILLED = """
import os, signal, sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
import test_going_on as t
import fasttune as tune

def dies(config):
    if t.tune.get_context().get_trial_id().endswith("2") and {left!r}:
        left = Path({left!r})
        n = int(left.read_text())
        if n:
            left.write_text(str(n - 1))
            os.kill(os.getpid(), signal.SIGKILL)
    t.counts(config)

dies.__name__ = dies.__qualname__ = "dies"
t.go(Path({folder!r}), trainable=dies, resume={resume})
"""


@pytest.mark.parametrize("wish", ["resume", "restart"])
def test_finished_trials_that_run_again_survive_kills(tmp_path: Path, wish: str) -> None:
    """The whole run is killed in its third trial, twice; then it goes on without being asked for more."""
    left = tmp_path / "left"

    def session(resume: str) -> int:
        script = KILLED.format(tests=str(Path(__file__).parent), left=str(left), folder=str(tmp_path), resume=resume)
        tests = Path(__file__).parents[1]
        light = tests / "light"  # no more of pytest than a program needs
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [Path(tune.__file__).parents[1], light, tests]))}
        done = forks.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=100)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    left.write_text("0")
    assert session("None") == 0
    left.write_text("2")
    assert session(f"tune.ResumeConfig(finished={wish!r})") == -signal.SIGKILL
    assert session("True") == -signal.SIGKILL
    assert session("True") == 0
    trials = opened(tmp_path).trials
    expected = 4 if wish == "resume" else 2
    assert [(t.status, t.last_result["n"], t.last_result["training_iteration"]) for t in trials] == [
        ("TERMINATED", expected, expected)
    ] * 4


def test_what_a_thing_is_does_not_depend_on_the_process_that_says_it() -> None:
    """Sets print in another order in each process, frames as wide as the terminal is: the same program is no other one."""
    import pandas  # at the top every worker would import it

    script = (
        "import json, sys\n"
        "import numpy as np, pandas as pd\n"
        "from dataclasses import dataclass, field\n"
        "from fasttune.identity import described\n"
        "@dataclass\n"
        "class Data:\n"
        "    names: frozenset = frozenset('abcdefgh')\n"
        "    tags: set = field(default_factory=lambda: set('ijklmno'))\n"
        "frame = pd.DataFrame(np.arange(400.0).reshape(4, 100))\n"
        "objects = np.array(['a', {'x', 'y', 'z'}, None], dtype=object)\n"
        "print(json.dumps(described({'s': set('pqrstuv'), 'd': Data(), 'f': frame, 'o': objects}), sort_keys=True))\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "COLUMNS": columns},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, columns in (("1", "40"), ("2", "300"), ("3", "80"))
    }
    assert len(told) == 1
    assert described(pandas.Series([1, 2])) != described(pandas.Series([1, 3]))


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_run_that_has_nothing_left_to_do_leaves_no_rings(tmp_path: Path, executor: str) -> None:
    """Killed behind its last trial, and gone on with: no worker is started, and no folder stays for one."""
    for _ in range(2):
        found = go(tmp_path, executor=executor)
        assert {trial.status for trial in found.trials} == {"TERMINATED"}
        assert not (tmp_path / "exp" / "rings").exists()


def test_a_name_with_a_number_behind_it_is_a_name_of_its_own(tmp_path: Path) -> None:
    """Somebody had named two experiments mnist and mnist_2, and went on with the first one: the trials came into the second."""

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=config["x"])

    def run(name: str, **more: Any) -> tune.ExperimentAnalysis:
        asked = {"config": {"x": tune.uniform(0, 1)}, "executor": "inline", "storage_path": tmp_path, "verbose": 0, **more}
        return tune.run(train, name=name, **asked)

    for name in ("mnist", "mnist_2"):
        run(name)
    assert Path(run("mnist", resume="AUTO", num_samples=3).experiment_path).name == "mnist"
    assert Path(run("mnist").experiment_path).name == "mnist_3"  # the second of that name
    assert Path(run("mnist", resume="AUTO", num_samples=2).experiment_path).name == "mnist_3"
    assert Path(run("mnist_2", resume="AUTO", num_samples=2).experiment_path).name == "mnist_2"
    counts = {name: len(tune.ExperimentAnalysis(tmp_path / name).trials) for name in ("mnist", "mnist_2", "mnist_3")}
    assert counts == {"mnist": 3, "mnist_2": 2, "mnist_3": 2}
