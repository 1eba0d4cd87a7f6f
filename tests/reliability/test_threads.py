"""Threads of a trial report for that trial: nothing is lost, nothing is booked on another one, nothing ends the run."""

from __future__ import annotations

import _thread
import asyncio
import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler


def run(trainable: Any, folder: Path, executor: str, **more: Any) -> Any:
    given: dict[str, Any] = {"metric": "loss", "mode": "min", "num_samples": 3, "verbose": 0}
    return tune.run(
        trainable,
        name="e",
        storage_path=str(folder),
        executor=executor,
        raise_on_failed_trial=False,
        **{**given, **more},
    )


class AsksAlways(TrialScheduler):
    """Is asked at every report, and lets everything go on."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.CONTINUE


SCHEDULERS = {
    "none": lambda: None,
    "asha": lambda: ASHAScheduler(max_t=10**6, grace_period=10**6),
    "asked": AsksAlways,
    "pbt": lambda: PopulationBasedTraining(
        perturbation_interval=10**6, hyperparam_mutations={"x": tune.uniform(0, 1)}, seed=1
    ),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_several_threads_report_and_every_report_is_there(tmp_path: Path, executor: str, scheduler: str) -> None:
    each, threads = (400, 4) if scheduler in ("none", "asha") else (60, 3)

    def train(config: dict[str, Any]) -> None:
        def work(number: int) -> None:
            for i in range(each):
                # names of its own now and then, and values that are no numbers: the long ways round
                more = {f"only{number}": 1.0} if i % 7 == 0 else {"note": "text"} if i % 11 == 0 else {}
                tune.report({"loss": float(number * each + i), **more})

        workers = [threading.Thread(target=work, args=(k,)) for k in range(1, threads)]
        for one in workers:
            one.start()
        work(0)
        for one in workers:
            one.join()

    analysis = run(train, tmp_path, executor, scheduler=SCHEDULERS[scheduler](), config={"x": tune.uniform(0, 1)})
    reopened = tune.ExperimentAnalysis(str(tmp_path / "e"), default_metric="loss", default_mode="min")
    for found in (analysis, reopened):
        assert [trial.status for trial in found.trials] == ["TERMINATED"] * 3
        for trial in found.trials:
            assert trial.last_result["training_iteration"] == each * threads
            frame = found.trial_dataframes[trial.trial_id] if hasattr(found, "trial_dataframes") else None
            if frame is not None:
                assert sorted(frame["loss"]) == [float(k) for k in range(each * threads)]


def test_a_thread_that_outlives_its_trial_is_told_so_and_touches_no_other(tmp_path: Path, executor: str) -> None:
    """It reports into the middle of the next trial, between two trials, and behind the last one. It is told so whatever this
    process has been told before, outside of runs or in another one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tune.report(loss=0.0)

    def train(config: dict[str, Any]) -> None:
        ended, said = config["ended"], config["said"]
        if config["i"] == 0:

            def late() -> None:
                ended.wait(20)
                with warnings.catch_warnings(record=True) as heard:
                    warnings.simplefilter("always")
                    for _ in range(50):
                        tune.report(loss=-1000.0)
                    said.append(([str(one.message) for one in heard], tune.get_trial_id()))

            config["threads"].append(threading.Thread(target=late))
            config["threads"][-1].start()
            tune.report(loss=1.0)
            return
        tune.report(loss=2.0)
        ended.set()
        for thread in config["threads"]:
            thread.join()
        tune.report(loss=3.0, said=len(said[0][0]) if said else -1, text=" ".join(said[0][0]), id=str(said[0][1]))

    shared: dict[str, Any] = {"ended": threading.Event(), "said": [], "threads": []}
    if executor == "process":  # a worker has its own: objects of the process that runs the trials

        def train_in_worker(config: dict[str, Any]) -> None:
            import sys

            here = sys.modules.setdefault("_shared_by_trials", type(sys)("_shared_by_trials"))
            if not hasattr(here, "told"):
                here.told = {"ended": threading.Event(), "said": [], "threads": []}
            train({**config, **here.told})

        trainable: Any = train_in_worker
    else:

        def train_inline(config: dict[str, Any]) -> None:
            train({**config, **shared})

        trainable = train_inline
    analysis = run(
        trainable, tmp_path, executor, config={"i": tune.grid_search([0, 1])}, num_samples=1, max_concurrent_trials=1
    )
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    assert [trial.last_result["loss"] for trial in analysis.trials] == [1.0, 3.0]
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [1, 2]
    last = analysis.trials[1].last_result
    assert last["said"] <= 2  # a report and a question: each is told once
    assert "is over, and what the thread reports is dropped" in last["text"]
    assert last["id"] == "None"
    assert tune.ExperimentAnalysis(str(tmp_path / "e")).get_best_trial("loss", "min").last_result["loss"] == 1.0


def test_pools_and_threads_of_threads_belong_to_the_trial(tmp_path: Path, executor: str) -> None:
    def train(config: dict[str, Any]) -> None:
        def inner(k: int) -> str | None:
            told: list[str | None] = []

            def report() -> None:
                tune.report(loss=float(k))
                told.append(tune.get_trial_id())

            thread = threading.Thread(target=report)
            thread.start()
            thread.join()
            return told[0]

        with ThreadPoolExecutor(3) as pool:
            ids = set(pool.map(inner, range(30)))
        tune.report(loss=-1.0, right=ids == {tune.get_trial_id()})

    analysis = run(train, tmp_path, executor)
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [31] * 3
    assert [trial.last_result["right"] for trial in analysis.trials] == [True] * 3


def test_threads_save_checkpoints_each_its_own(tmp_path: Path, executor: str) -> None:
    def train(config: dict[str, Any]) -> None:
        def work(k: int) -> None:
            for i in range(5):
                folder = tmp_path / f"{tune.get_trial_id()}_{k}"
                folder.mkdir(exist_ok=True)
                (folder / "what").write_text(f"{k} {i}")
                tune.report({"loss": 0.0, "k": k, "i": i}, checkpoint=tune.Checkpoint.from_directory(str(folder)))

        threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    analysis = run(train, tmp_path, executor, num_samples=2)
    for trial in analysis.trials:
        assert trial.status == "TERMINATED"
        saved = analysis.get_trial_checkpoints_paths(trial, "i")
        assert len({path for path, _ in saved}) == 15


class SlowPath(os.PathLike[str]):
    """A checkpoint whose copying begins, and goes on when it may."""

    def __init__(self, path: Path, begun: Path, go_on: Path) -> None:
        self._path, self._begun, self._go_on = path, begun, go_on

    def __fspath__(self) -> str:
        self._begun.touch()
        wait_for(self._go_on)
        return str(self._path)


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.001)


# In this process only threads that `threading` starts can report.
@pytest.mark.parametrize(
    ("executor", "start"),
    [("inline", "threading"), ("thread", "threading"), ("process", "threading"), ("process", "_thread")],
)
def test_a_checkpoint_that_is_copied_while_its_trial_ends_touches_no_other(
    tmp_path: Path, executor: str, start: str
) -> None:
    begun, go_on, over = tmp_path / "begun", tmp_path / "go_on", tmp_path / "over"

    def saved(n: int) -> Path:
        folder = tmp_path / f"source{n}"
        folder.mkdir(exist_ok=True)
        (folder / "of").write_text(str(n))
        return folder

    def train(config: dict[str, Any]) -> None:
        n = config["n"]

        def late() -> None:
            tune.report({"loss": -1.0}, checkpoint=SlowPath(saved(0), begun, go_on))
            over.touch()

        if n == 0:
            for _ in range(6):
                tune.report({"loss": 0.0}, checkpoint=saved(0))
            if start == "threading":
                threading.Thread(target=late).start()
            else:
                _thread.start_new_thread(late, ())
            wait_for(begun)
            return
        assert tune.get_checkpoint() is None
        for _ in range(3):
            tune.report({"loss": 1.0}, checkpoint=saved(n))
        if n == 1:
            go_on.touch()
            wait_for(over)
        tune.report({"loss": 1.0}, checkpoint=saved(n))

    settings = {"config": {"n": tune.grid_search([0, 1, 2])}, "num_samples": 1, "max_concurrent_trials": 1}
    analysis = run(train, tmp_path, executor, **settings)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3
    assert [trial.last_result["loss"] for trial in analysis.trials] == [0.0, 1.0, 1.0]
    for n, trial in enumerate(analysis.trials):
        paths = sorted(Path(trial.local_path).glob("checkpoint_*"))
        reported = [f"checkpoint_{k:06d}" for k in range(6 if n == 0 else 4)]
        assert [path.name for path in paths] == reported  # the seventh of the first trial came too late
        assert {(path / "of").read_text() for path in paths} == {str(n)}
        assert Path(analysis.get_trial_checkpoints_paths(trial, "loss")[-1][0]).name == reported[-1]


@pytest.mark.filterwarnings("ignore:tune.report:RuntimeWarning")
def test_a_thread_of_an_earlier_attempt_gives_no_checkpoint_a_name(tmp_path: Path, executor: str) -> None:
    """Both attempts save under the same name: what the later one has reported stays what it was."""
    begun, go_on, over = tmp_path / "begun", tmp_path / "go_on", tmp_path / "over"

    def saved(text: str) -> Path:
        folder = tmp_path / text
        folder.mkdir(exist_ok=True)
        (folder / "of").write_text(text)
        return folder

    def train(config: dict[str, Any]) -> None:
        def late() -> None:
            tune.report({"loss": -1.0}, checkpoint=SlowPath(saved("late"), begun, go_on))
            over.touch()

        if tune.get_checkpoint() is None:
            tune.report({"loss": 1.0}, checkpoint=saved("first"))
            threading.Thread(target=late).start()
            wait_for(begun)
            raise RuntimeError("the first attempt fails")
        tune.report({"loss": 0.5}, checkpoint=saved("second"))
        go_on.touch()
        wait_for(over)
        tune.report({"loss": 0.25}, checkpoint=saved("third"))

    analysis = run(train, tmp_path, executor, num_samples=1, max_failures=1)
    (trial,) = analysis.trials
    assert (trial.status, trial.num_failures, trial.last_result["loss"]) == ("TERMINATED", 1, 0.25)
    found = {path.name: (path / "of").read_text() for path in Path(trial.local_path).glob("checkpoint_*")}
    assert found == {"checkpoint_000000": "first", "checkpoint_000001": "second", "checkpoint_000002": "third"}
    assert not list((tmp_path / "e").rglob("*_late*"))
    assert not list((tmp_path / "e" / ".writing").glob("*"))


def test_a_thread_that_outlives_the_run_may_start_threads(tmp_path: Path) -> None:
    over, seen = threading.Event(), []

    def train(config: dict[str, Any]) -> None:
        def late() -> None:
            over.wait()
            another = threading.Thread(target=lambda: seen.append(1))
            another.start()
            another.join()

        left.append(threading.Thread(target=late))
        left[-1].start()
        tune.report({"loss": 1.0})

    left: list[threading.Thread] = []
    run(train, tmp_path, "inline")
    over.set()
    for one in left:
        one.join()
    assert seen == [1, 1, 1]


def test_trials_are_who_they_are_whatever_threads_an_earlier_one_has_left_start(tmp_path: Path) -> None:
    """Also while a trial waits for room in the ring to begin: then nobody runs, and the reporter has the last one's number."""

    def train(config: dict[str, Any]) -> None:
        def go_on() -> None:
            while True:
                one = threading.Thread(target=int)
                one.start()
                one.join()

        if config["n"] == 0:
            threading.Thread(target=go_on, daemon=True).start()
        tune.report({"loss": 1.0, "said": int(tune.get_trial_id().rsplit("_", 1)[1]), "text": "x" * 200_000})

    space = {"n": tune.grid_search(list(range(300)))}
    analysis = run(train, tmp_path, "process", config=space, num_samples=1, max_concurrent_trials=1)
    assert [trial.last_result["said"] for trial in analysis.trials] == list(range(300))


def test_a_thread_that_finds_the_ring_full_waits_for_nobody_who_waits_for_it(tmp_path: Path, executor: str) -> None:
    """The trial's own thread only joins it."""

    def train(config: dict[str, Any]) -> None:
        def work() -> None:
            for i in range(3000):
                tune.report(loss=float(i), text="x" * 2000)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    analysis = run(train, tmp_path, executor, num_samples=1)
    assert analysis.trials[0].last_result["training_iteration"] == 3000


def test_a_stop_reaches_every_thread(tmp_path: Path, executor: str) -> None:
    def train(config: dict[str, Any]) -> None:
        def work() -> None:
            for _ in range(10**6):
                tune.report(loss=1.0)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            work()
        finally:
            thread.join()

    analysis = run(train, tmp_path, executor, stop={"training_iteration": 50})
    for trial in analysis.trials:
        assert trial.status == "TERMINATED"
        assert 50 <= trial.last_result["training_iteration"] <= 52


def test_reports_that_nobody_was_asked_about_are_named(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        thread = threading.Thread(target=lambda: tune.report(loss=1.0))
        thread.start()
        thread.join()

    with pytest.warns(RuntimeWarning, match="only asked by reports of the thread that called the trainable"):
        run(train, tmp_path, "inline", scheduler=AsksAlways())


def test_a_thread_looks_the_same_as_without_us(tmp_path: Path) -> None:
    """Its run() is its own again when it runs; a thread outside trials is not touched at all."""
    seen: list[Any] = []

    class Mine(threading.Thread):
        def run(self) -> None:
            seen.append(self.run.__func__ is Mine.run)  # type: ignore[attr-defined]

    def train(config: dict[str, Any]) -> None:
        thread = Mine()
        thread.start()
        thread.join()
        tune.report(loss=1.0)

    run(train, tmp_path, "inline", num_samples=1)
    outside = Mine()
    outside.start()
    outside.join()
    assert seen == [True, True]
    assert "run" not in outside.__dict__


def test_a_trial_that_reports_within_asyncio_leaves_its_loop_to_nobody_else(tmp_path: Path, executor: str) -> None:
    """Each is left inside its report, in the thread that runs the next one."""

    async def inner(config: dict[str, Any]) -> None:
        for i in range(3):
            await asyncio.sleep(0)
            tune.report(loss=float(i))
            await asyncio.to_thread(tune.report, loss=float(i))

    def train(config: dict[str, Any]) -> None:
        asyncio.run(inner(config))

    analysis = run(train, tmp_path, executor, scheduler=SCHEDULERS["asked"](), num_samples=5)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 5
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [6] * 5
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_a_run_inside_a_coroutine_leaves_its_event_loop_running(tmp_path: Path) -> None:
    """As in a notebook: trials that are left and entered do not take the loop of whoever runs them."""

    def train(config: dict[str, Any]) -> None:
        for _ in range(3):
            tune.report(loss=1.0)

    async def notebook() -> bool:
        mine = asyncio.get_running_loop()
        run(train, tmp_path, "inline", scheduler=AsksAlways())
        await asyncio.sleep(0)
        return asyncio.get_running_loop() is mine

    assert asyncio.run(notebook())
