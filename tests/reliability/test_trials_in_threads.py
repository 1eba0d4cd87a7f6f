"""Trials in threads of this process: nothing is pickled, what cannot be ended is named, and nothing is left behind."""

from __future__ import annotations

import _thread
import contextvars
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune import _core
from fasttune.devices.gpus import Gpu
from fasttune.devices.machine import Machine
from fasttune.devices.resources import Supply, resolve_resources
from fasttune.engine.stop_requests import StopRequest, ask
from fasttune.executors import ExecutorSite, make_executor, thread, thread_worker
from fasttune.executors.base import Job, Program, ProgramTrainable
from fasttune.schedulers import TrialScheduler
from fasttune.space.variants import Variants

PATIENCE_S = 30.0  # what has not happened by then never will


def run(trainable: Any, folder: Path, **more: Any) -> Any:
    given: dict[str, Any] = {"metric": "loss", "mode": "min", "num_samples": 3, "verbose": 0, "name": "e"}
    return tune.run(trainable, executor="thread", storage_path=str(folder), **{**given, **more})


def statuses(analysis: Any) -> list[str]:
    return [trial.status for trial in analysis.trials]


class AsksAlways(TrialScheduler):
    """Is asked at every report, and lets everything go on."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.CONTINUE


# ---- what is shared


def test_nothing_is_pickled(tmp_path: Path) -> None:
    """A lock, an open file, a lambda and a generator in the config, in the closure, and in the exception of a failure."""
    lock, data = threading.Lock(), bytearray(1000)
    seen: list[Any] = []

    class OddError(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("not to be pickled")

    with open(os.devnull) as file:

        def train(config: dict[str, Any]) -> None:
            with config["lock"]:
                seen.append((config["lock"] is lock, config["file"] is file, config["data"] is data, config["f"](2)))
            tune.report(loss=config["x"])
            if config["fails"]:
                raise OddError("as it was told to")

        space = {
            "x": tune.uniform(0, 1), "lock": lock, "file": file, "data": data, "f": lambda x: x + 1,
            "fails": tune.grid_search([False, True]),
        }  # fmt: skip
        analysis = run(train, tmp_path, config=space, num_samples=1, raise_on_failed_trial=False)
    assert seen == [(True, True, True, 3)] * 2
    assert statuses(analysis) == ["TERMINATED", "ERROR"]
    assert "OddError: as it was told to" in str(analysis.errors[0])
    assert "in train" in str(analysis.errors[0])


@pytest.mark.parametrize("form", ["function", "generator", "class", "paused"])
def test_trials_see_the_context_that_the_run_was_begun_in_and_change_their_own(tmp_path: Path, form: str) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    def seen() -> dict[str, float]:
        found = variable.get()
        variable.set(found + 1)
        return {"loss": float(found)}

    def function(config: dict[str, Any]) -> None:
        for _ in range(3):
            tune.report(seen())

    def generator(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        for _ in range(3):
            yield seen()

    class Steps(tune.Trainable):
        def step(self) -> dict[str, Any]:
            return {**seen(), "done": self.iteration >= 2}

    forms: dict[str, Any] = {"function": function, "generator": generator, "class": Steps, "paused": function}
    token = variable.set(7)
    try:
        scheduler = tune.create_scheduler("hyperband", max_t=3) if form == "paused" else None
        analysis = run(forms[form], tmp_path, num_samples=6, scheduler=scheduler)
        assert variable.get() == 7
    finally:
        variable.reset(token)
    for trial in analysis.trials:
        assert trial.last_result["loss"] == 6.0 + trial.last_result["training_iteration"]


def test_a_trial_that_waits_holds_up_none_that_were_handed_out_with_it(tmp_path: Path) -> None:
    """All threads take the next trial from one place."""
    others, ended = threading.Event(), []

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=0.0)
        if config["i"] == 0:
            assert others.wait(PATIENCE_S)
            return
        ended.append(config["i"])
        if len(ended) == 499:
            others.set()

    analysis = run(train, tmp_path, config={"i": tune.grid_search(list(range(500)))}, num_samples=1, max_concurrent_trials=2)
    assert statuses(analysis) == ["TERMINATED"] * 500
    assert sorted(ended) == list(range(1, 500))


def test_a_report_on_a_disk_that_shall_have_it_returns_when_it_has(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        ring: Any = _core.current().ring  # type: ignore[union-attr]
        for i in range(20):
            tune.report(loss=float(i))
            assert ring.released == ring.head

    analysis = run(train, tmp_path, durability="full", num_samples=4)
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [20] * 4


def test_as_many_run_at_once_as_was_asked_for(tmp_path: Path) -> None:
    """16 that wait for each other, on however few CPUs."""
    together = threading.Barrier(16)

    def train(config: dict[str, Any]) -> None:
        together.wait(PATIENCE_S)
        tune.report(loss=1.0)

    analysis = run(train, tmp_path, num_samples=16, resources_per_trial={"cpu": 1 / 16})
    assert statuses(analysis) == ["TERMINATED"] * 16


# ---- what cannot be ended


class Held:
    """A trainable of which trial 0 reports once and then waits until it is let go."""

    def __init__(self) -> None:
        self.holds, self.go_on, self.left = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        if config["i"] > 0:
            return
        try:
            self.holds.set()
            assert self.go_on.wait(PATIENCE_S)
            tune.report(loss=0.0)  # nobody hears this
        finally:
            self.left.set()

    def let_go(self) -> None:
        """What it was told long ago is carried out at its next report, and its thread ends."""
        self.go_on.set()
        assert self.left.wait(PATIENCE_S)


class EndsWhen(tune.stopper.Stopper):
    """Ends the run, as its time budget would, as soon as something has happened."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._event.is_set()


def test_a_trial_that_holds_on_is_named_and_the_run_ends(tmp_path: Path) -> None:
    held = Held()
    with pytest.warns(RuntimeWarning, match=r"trial \w+_00000 does not come to a report.*The run ends without it"):
        analysis = run(held.__call__, tmp_path, config={"i": 0}, num_samples=1, stop=EndsWhen(held.holds))
    assert statuses(analysis) == ["TERMINATED"]
    held.let_go()
    again = tune.ExperimentAnalysis(str(tmp_path / "e"))
    assert [trial.last_result["loss"] for trial in again.trials] == [1.0]


def test_others_go_on_without_one_that_is_stopped_and_does_not_listen(tmp_path: Path) -> None:
    """Its place is given to another one, and what is asked for from outside is done."""
    held = Held()

    def train(config: dict[str, Any]) -> None:
        if config["i"] == 1:
            assert held.holds.wait(PATIENCE_S)
            ask(str(tmp_path / "e"), [StopRequest(f"{tune.get_trial_id()[:-5]}00000", True)])
            while not seen_to_be_lost.is_set():
                tune.report(loss=2.0)
                seen_to_be_lost.wait(0.01)
        held(config)

    class Waits(tune.Callback):
        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            if any(str(one.message).count("The run goes on without it") for one in heard):
                seen_to_be_lost.set()

    seen_to_be_lost = threading.Event()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        analysis = run(
            train, tmp_path, config={"i": tune.grid_search([0, 1, 2, 3])}, num_samples=1, max_concurrent_trials=2,
            callbacks=[Waits()],
        )  # fmt: skip
    assert statuses(analysis) == ["TERMINATED"] * 4
    assert sum("does not come to a report" in str(one.message) for one in heard) == 1
    held.let_go()
    assert tune.ExperimentAnalysis(str(tmp_path / "e")).trials[0].last_result["training_iteration"] == 1


def test_paused_trials_of_a_thread_that_is_given_up_run_elsewhere(tmp_path: Path) -> None:
    """They live in that thread; they begin anew, or from their checkpoints, in another one."""
    held = Held()
    begun: list[int] = []

    class PausesOthers(TrialScheduler):
        """Pauses each trial but the first at its first report; the first one comes last."""

        chooses_trials = True

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            first = trial.config["i"] > 0 and result["training_iteration"] == 1 and begun.count(trial.config["i"]) == 1
            return self.PAUSE if first else self.CONTINUE

        def choose_trial_to_run(self, controller: Any) -> Any:
            waiting = [one for one in controller.get_trials() if one.status == "PENDING"]
            if waiting:
                return max(waiting, key=lambda one: one.config["i"])
            paused = [one for one in controller.get_trials() if one.status == "PAUSED"]
            return paused[0] if paused else None

    def train(config: dict[str, Any]) -> None:
        begun.append(config["i"])
        if config["i"] == 0:
            ask(str(tmp_path / "e"), [StopRequest(tune.get_trial_id(), True)])
        held(config)

    with pytest.warns(RuntimeWarning, match="does not come to a report"):
        analysis = run(
            train, tmp_path, config={"i": tune.grid_search([0, 1, 2])}, num_samples=1, max_concurrent_trials=1,
            scheduler=PausesOthers(), resources_per_trial={"cpu": 1},
        )  # fmt: skip
    held.let_go()
    assert statuses(analysis) == ["TERMINATED"] * 3
    assert begun[:3] == [2, 1, 0]


@pytest.mark.parametrize("saves", ["reports", "copies", "class"])
def test_what_a_trial_saves_after_it_was_given_up_is_nobodys_checkpoint(tmp_path: Path, saves: str) -> None:
    """The trial may have begun again by then, and save under the same names."""
    holds, go_on, over = threading.Event(), threading.Event(), threading.Event()
    source = tmp_path / "source"
    source.mkdir()

    def wait() -> None:
        holds.set()
        assert go_on.wait(PATIENCE_S)

    class Slow(os.PathLike[str]):
        """Its copying begins, and goes on when it may."""

        def __fspath__(self) -> str:
            wait()
            return str(source)

    def function(config: dict[str, Any]) -> None:
        (source / "of").write_text("first")
        tune.report({"loss": 1.0}, checkpoint=tune.Checkpoint.from_directory(str(source)))
        try:
            if saves == "reports":
                wait()
            tune.report({"loss": 0.0}, checkpoint=Slow() if saves == "copies" else str(source))
        finally:
            over.set()

    class Steps(tune.Trainable):
        def step(self) -> dict[str, Any]:
            return {"loss": 1.0 - self.iteration, "should_checkpoint": True}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            if self.iteration == 2:
                wait()
            Path(checkpoint_dir, "of").write_text(str(self.iteration))

        def cleanup(self) -> None:
            over.set()

    with pytest.warns(RuntimeWarning, match="does not come to a report"):
        analysis = run(Steps if saves == "class" else function, tmp_path, num_samples=1, stop=EndsWhen(holds))
    go_on.set()
    assert over.wait(PATIENCE_S)
    (trial,) = analysis.trials
    assert [path.name for path in Path(trial.local_path).glob("checkpoint_*")] == ["checkpoint_000000"]
    assert trial.last_result["training_iteration"] == 1


def test_a_program_ends_although_a_trial_of_its_run_does_not(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import sys, threading\n"
        "import fasttune as tune\n"
        "holds = threading.Event()\n"
        "class Ends(tune.stopper.Stopper):\n"
        "    def __call__(self, trial_id, result): return False\n"
        "    def stop_all(self): return holds.is_set()\n"
        "def train(config):\n"
        "    tune.report(loss=1.0)\n"
        "    holds.set()\n"
        "    threading.Event().wait()\n"
        "found = tune.run(train, executor='thread', stop=Ends(), verbose=0, storage_path=sys.argv[1])\n"
        "print(found.trials[0].status)\n"
    )
    done = forks.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "TERMINATED\n"), done.stderr
    assert "_00000 does not come to a report" in done.stderr


def test_a_stop_runs_what_stands_in_finally(tmp_path: Path) -> None:
    cleaned: list[str | None] = []

    def train(config: dict[str, Any]) -> None:
        try:
            while True:
                tune.report(loss=1.0)
        finally:
            cleaned.append(tune.get_trial_id())

    analysis = run(train, tmp_path, stop={"training_iteration": 5}, num_samples=4)
    assert sorted(map(str, cleaned)) == [trial.trial_id for trial in analysis.trials]


@pytest.mark.parametrize("pauses", [False, True])
def test_trials_that_wait_for_room_hear_of_the_end(tmp_path: Path, pauses: bool) -> None:
    """Those that find none for their reports, their beginning or their end, and those that are paused in the same thread."""
    left: list[str] = []

    def train(config: dict[str, Any]) -> None:
        me = str(tune.get_trial_id())[-1]
        try:
            tune.report(loss=0.0)
            while me != "0":
                tune.report(loss=1.0)
        finally:
            left.append(me)

    request = resolve_resources(None)
    place = ExecutorSite(str(tmp_path), Supply(Machine((0,))), request, 1, lambda placement: {}, lambda: "")
    executor = make_executor("thread", place)
    one = ProgramTrainable("t", train, False, "config", request, Variants({}, 10, seed=0))
    try:
        program = Program("e", str(tmp_path), "abcde", [one], asks=pauses, pauses=pauses, strict=False)
        executor.open(program, 0.0, None, lambda: None, lambda: None)
        if pauses:
            assert executor.start(Job(0, 0, 0))
            kinds: list[int] = []
            while _core.KIND_REPORT not in kinds:
                kinds += [record[0] for batch in executor.poll(0.01) for record in _core.decode(batch.data)]
            executor.answer(0, _core.PAUSE)
            while not executor.start(Job(1, 0, 1, ask_from=_core.NEVER_ASK)):
                executor.poll(0.01)
        else:
            executor.run_span(0, 1, 2, 1)
        (slot,) = executor._slots  # type: ignore[attr-defined]
        while slot.ring.filled < 0.99:
            time.sleep(0.001)
    finally:
        executor.close()
    assert sorted(left) == (["0", "1"] if pauses else ["1"])


# ---- GPUs


def opened(folder: Path, gpus: int, asked: Any, visible: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open the executor where a machine has so many GPUs, trials ask for that, and the process sees so many."""
    devices = tuple(Gpu(f"GPU-{k}", index=k) for k in range(max(gpus, visible)))
    monkeypatch.setattr(thread, "detect_gpus", lambda: (devices[:visible], ""))
    request = resolve_resources(asked)
    supply = Supply(Machine((0, 1), devices[:gpus]))
    executor = make_executor("thread", ExecutorSite(str(folder), supply, request, 4, lambda placement: {}, lambda: ""))
    one = ProgramTrainable("t", print, False, "config", request, Variants({}, 1, seed=0))
    try:
        executor.open(Program("e", str(folder), "abcde", [one]), 0.0, None, lambda: None, lambda: None)
    finally:
        executor.close()
    assert supply.available() == supply.total()


@pytest.mark.parametrize(
    ("gpus", "asked", "visible"),
    [(1, {"gpu": 1}, 1), (1, {"gpu": 0.25}, 1), (2, {"gpu": 2}, 2), (4, {"cpu": 1}, 4), (0, {"cpu": 1}, 0)],
)
def test_trials_that_see_the_same_gpus_may_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, asked: Any, visible: int
) -> None:
    opened(tmp_path, gpus, asked, visible, monkeypatch)


@pytest.mark.parametrize(("gpus", "asked", "visible"), [(2, {"gpu": 1}, 2), (2, {"gpu": 0.5}, 2), (1, {"gpu": 1}, 2)])
def test_trials_that_would_see_different_gpus_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, asked: Any, visible: int
) -> None:
    with pytest.raises(ValueError, match=r"all see the same GPUs.*1 of the 2 that this process sees"):
        opened(tmp_path, gpus, asked, visible, monkeypatch)
    assert not (tmp_path / "rings").exists()


# ---- what they print


def test_lines_bear_the_name_of_their_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    together = threading.Barrier(2)

    def train(config: dict[str, Any]) -> None:
        for i in range(20):
            together.wait(PATIENCE_S)
            print("line", i, config["i"])
        print("to errors", file=sys.stderr)
        tune.report(loss=1.0)

    before = sys.stdout, sys.stderr
    analysis = run(
        train, tmp_path, config={"i": tune.grid_search([0, 1])}, num_samples=1, max_concurrent_trials=2, verbose=1
    )
    assert (sys.stdout, sys.stderr) == before
    said = capsys.readouterr()
    for k, trial in enumerate(analysis.trials):
        named = [line for line in said.out.splitlines() if line.startswith(f"({trial.trial_id}) ")]
        assert named == [f"({trial.trial_id}) line {i} {k}" for i in range(20)]
        assert f"({trial.trial_id}) to errors\n" in said.err


def test_each_trial_has_its_own_files_of_what_it_prints(tmp_path: Path) -> None:
    together = threading.Barrier(2)

    def train(config: dict[str, Any]) -> None:
        together.wait(PATIENCE_S)
        print("out of", config["i"])
        together.wait(PATIENCE_S)
        for _ in range(2):
            one = threading.Thread(target=print, args=(f"thread of {config['i']}",))
            one.start()
            one.join()
        tune.report(loss=1.0)

    before = sys.stdout, sys.stderr
    space = {"i": tune.grid_search(list(range(6)))}
    analysis = run(train, tmp_path, config=space, num_samples=1, max_concurrent_trials=2, log_to_file=True)
    assert (sys.stdout, sys.stderr) == before
    for i, trial in enumerate(analysis.trials):
        text = (Path(trial.local_path) / "stdout").read_text()
        assert sorted(text.split("\n")) == ["", f"out of {i}", f"thread of {i}", f"thread of {i}"]


# ---- runs within runs


@pytest.mark.parametrize("inside", ["thread", "inline"])
def test_a_trial_may_tune_but_not_without_end(tmp_path: Path, inside: str) -> None:
    told: list[str] = []

    def innermost(config: dict[str, Any]) -> None:
        with pytest.raises(RuntimeError, match="at depth 2"):
            tune.run(lambda config: {"loss": 1.0}, verbose=0)
        told.append("refused")
        tune.report(loss=config["x"])

    def train(config: dict[str, Any]) -> None:
        mine = tune.get_trial_id()
        space = {"x": tune.grid_search([1.0, 2.0])}
        found = tune.run(
            innermost, config=space, metric="loss", mode="min", executor=inside, verbose=0,
            storage_path=str(tmp_path / str(mine)),
        )  # fmt: skip
        assert tune.get_trial_id() == mine
        tune.report(loss=found.best_result["loss"])

    analysis = run(train, tmp_path, num_samples=2)
    assert [trial.last_result["loss"] for trial in analysis.trials] == [1.0, 1.0]
    assert told == ["refused"] * 4


# ---- when something cannot be had


def test_a_thread_that_cannot_be_started_leaves_the_run_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = thread.map_file, []

    def full_after_one(path: str, size: int) -> Any:
        if made:
            raise OSError(28, "No space left on device", path)
        made.append(path)
        return real(path, size)

    monkeypatch.setattr(thread, "map_file", full_after_one)
    with pytest.warns(RuntimeWarning, match="goes on with 1 thread: another one cannot be started: .*No space left"):
        analysis = run(lambda config: {"loss": 1.0}, tmp_path, num_samples=20, resources_per_trial={"cpu": 0.1})
    assert statuses(analysis) == ["TERMINATED"] * 20


def test_where_not_one_can_be_started_the_run_ends_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, size: int) -> Any:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(thread, "map_file", full)
    with pytest.raises(OSError, match="No space left on device"):
        run(lambda config: {"loss": 1.0}, tmp_path)


def test_a_mistake_of_ours_in_a_thread_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, trial: int, experiment: int, shift: int) -> None:
        raise ZeroDivisionError("nobody expects this")

    monkeypatch.setattr(thread_worker.ThreadHost, "run_fresh", broken)
    with pytest.raises(ZeroDivisionError, match="nobody expects this"):
        run(lambda config: {"loss": 1.0}, tmp_path)


def test_a_keyboard_interrupt_that_a_trial_raises_is_its_own_failure(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    analysis = run(train, tmp_path, raise_on_failed_trial=False)
    assert statuses(analysis) == ["ERROR"] * 3


def test_threads_that_c_code_starts_belong_to_nobody(tmp_path: Path) -> None:
    """They cannot be told apart where several trials run in one process: it is said, and nothing is booked on another one."""

    def train(config: dict[str, Any]) -> None:
        done = threading.Event()

        def late() -> None:
            tune.report(loss=-1.0)
            done.set()

        _thread.start_new_thread(late, ())
        assert done.wait(PATIENCE_S)
        tune.report(loss=1.0)

    with pytest.warns(UserWarning, match="does nothing here"):
        analysis = run(train, tmp_path)
    assert [trial.last_result["loss"] for trial in analysis.trials] == [1.0] * 3
