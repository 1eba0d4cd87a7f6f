"""``memory`` of a request is a limit: who has more is ended, alone; what processes share is not counted twice."""

from __future__ import annotations

import logging
import mmap
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune.executors import memory_watch
from fasttune.executors.memory_watch import LOOK_S, MemoryWatch, memory_of
from fasttune.executors.program_file import ProgramFile
from fasttune.executors.slot import Slot
from fasttune.processes import family

MIB = 1 << 20
ASKED = {"cpu": 0.5, "memory": 150 * MIB}


def filled(size: int) -> bytearray:
    """So many MiB, each page of them its own."""
    return bytearray(os.urandom(MIB)) * size


def grows(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])
    held = []
    while config["x"] == 1:
        held.append(filled(8))
    tune.report(loss=config["x"] / 2)


def grows_once(config: dict[str, Any]) -> None:
    """The first attempt has too much."""
    flag = Path(config["flag"])
    tune.report(loss=1, first=not flag.exists())
    held = []
    if not flag.exists():
        flag.touch()
        while True:
            held.append(filled(8))
    tune.report(loss=2)


def run(trainable: Any, folder: Path, **more: Any) -> tune.ExperimentAnalysis:
    given = {"resources_per_trial": ASKED, "raise_on_failed_trial": False, "verbose": 0, **more}
    return tune.run(trainable, storage_path=str(folder), **given)


def test_only_the_trial_that_has_more_fails_and_the_error_says_what_to_do(tmp_path: Path) -> None:
    analysis = run(grows, tmp_path, config={"x": tune.grid_search([0, 1, 2, 3])})
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED", "TERMINATED"]
    assert [trial.last_result["loss"] for trial in analysis.trials] == [0, 1, 1, 1.5]
    told = str(analysis.trials[1].get_error())
    assert "was ended for its memory: it used " in told
    assert "the trial had asked for 150 MiB. Libraries that it imports count" in told
    more = int(told.rpartition('To give trials more: "memory": ')[2].partition(" * 2**20, beside what else")[0])
    assert more > 150


def test_it_is_tried_again_as_any_that_failed(tmp_path: Path) -> None:
    analysis = run(grows_once, tmp_path, config={"flag": str(tmp_path / "flag")}, max_failures=1)
    [trial] = analysis.trials
    assert trial.status == "TERMINATED"
    assert trial.num_failures == 1
    assert trial.last_result["loss"] == 2


def test_a_request_that_depends_on_the_config_is_held_too(tmp_path: Path) -> None:
    def request(config: dict[str, Any]) -> dict[str, Any]:
        return {"cpu": 0.5, "memory": (150 if config["x"] == 1 else 700) * MIB}

    def has_some(config: dict[str, Any]) -> None:
        tune.report(loss=config["x"])
        held = filled(300)
        while config["x"] == 1:
            pass
        tune.report(loss=len(held))

    analysis = run(
        tune.with_resources(has_some, request), tmp_path, config={"x": tune.grid_search([0, 1, 2])}, resources_per_trial=None
    )
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]


KEPT: list[bytearray] = []


def leaves_behind(config: dict[str, Any]) -> None:
    tune.report(pid=os.getpid(), found=len(KEPT))
    if config["x"] == 0:
        KEPT.append(filled(100))


def test_what_a_trial_leaves_behind_is_not_the_next_ones(tmp_path: Path) -> None:
    """A worker that keeps more than half of what a trial may have is replaced by a fresh one."""
    analysis = run(leaves_behind, tmp_path, config={"x": tune.grid_search([0, 1, 2])}, max_concurrent_trials=1)
    assert [trial.last_result["found"] for trial in analysis.trials] == [0, 0, 0]
    assert len({trial.last_result["pid"] for trial in analysis.trials}) > 1


def leaves_much(config: dict[str, Any]) -> None:
    KEPT.append(filled(100))
    tune.report(found=len(KEPT))


def test_who_has_a_worker_for_each_trial_is_told_why(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    run(leaves_much, tmp_path, num_samples=6, max_concurrent_trials=1)
    told = [str(one.message) for one in recwarn if "keep more than half of the 150 MiB" in str(one.message)]
    assert len(told) == 1


def test_a_call_of_many_trials_is_held_as_a_whole(tmp_path: Path) -> None:
    def steps(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"loss": config["x"]}
        held = []
        while True:
            held.append(filled(8))

    analysis = run(
        tune.vectorized(steps), tmp_path, config={"x": tune.grid_search([1.0, 2.0])}, executor="process",
    )  # fmt: skip
    assert [trial.status for trial in analysis.trials] == ["ERROR", "ERROR"]
    assert "was ended for its memory" in str(analysis.trials[1].get_error())


@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_where_it_cannot_be_held_it_is_said_once(tmp_path: Path, executor: str, caplog: pytest.LogCaptureFixture) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1)

    with caplog.at_level(logging.WARNING, "fasttune"):
        analysis = run(train, tmp_path, num_samples=3, executor=executor, resources_per_trial={"cpu": 1, "memory": MIB}, verbose=1)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3
    assert sum("it is counted, but a trial that has more is not ended" in record.getMessage() for record in caplog.records) == 1


def test_an_amount_that_no_worker_fits_in_is_refused_at_once(tmp_path: Path) -> None:
    """It was meant in other units."""
    with pytest.raises(ValueError, match=r"'memory' must be at least 6 MiB .* got 4: .*, and 4 GiB are 4 \* 2\*\*30"):
        run(grows, tmp_path, resources_per_trial={"cpu": 1, "memory": 4})
    analysis = run(lambda config: {"loss": 1}, tmp_path, resources_per_trial={"cpu": 1, "memory": 4}, executor="inline")
    assert analysis.trials[0].status == "TERMINATED"


def test_what_a_function_of_the_config_asks_for_costs_its_own_trial(tmp_path: Path) -> None:
    def least(config: dict[str, Any]) -> dict[str, Any]:
        return {"cpu": 1, "memory": 4 if config["x"] == 1 else "1GB"}

    asked: dict[str, Any] = {"config": {"x": tune.grid_search([1, 2])}, "raise_on_failed_trial": False, "resources_per_trial": least}
    analysis = run(lambda config: {"loss": 1}, tmp_path, **asked)
    assert [trial.status for trial in analysis.trials] == ["ERROR", "TERMINATED"]
    told = analysis.trials[0].get_error().traceback_text
    assert told.startswith("ValueError: resource 'memory' must be at least 6 MiB")
    analysis = run(lambda config: {"loss": 1}, tmp_path, **{**asked, "executor": "inline"})
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2


def test_nothing_is_looked_at_where_nobody_asks_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: Any) -> int:
        raise AssertionError("memory was looked at")

    monkeypatch.setattr(memory_watch, "memory_of", raises)
    monkeypatch.setattr(memory_watch, "MemoryWatch", raises)
    analysis = run(grows, tmp_path, config={"x": 2}, resources_per_trial={"cpu": 1})
    assert analysis.trials[0].status == "TERMINATED"


# -- what is counted ---------------------------------------------------------------------------------------------------


@contextmanager
def child(does: Callable[[int], Any]) -> Iterator[int]:
    """A child process that has done what it is there for, and waits."""
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            held = does(tells)
            os.write(tells, b".")
            signal.pause()
            del held
        finally:
            os._exit(1)
    os.close(tells)
    try:
        assert os.read(told, 1) == b"."
        yield pid
    finally:
        for one in reversed(family(pid)):
            os.kill(one, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(told)


def with_children(tells: int) -> bytearray:
    """100 MiB that four forked children have as well, without having written to them."""
    held = filled(100)
    for _ in range(4):
        if os.fork() == 0:
            signal.pause()
    return held


def test_what_forked_children_share_counts_once() -> None:
    with child(with_children) as pid:
        pids = family(pid)
        assert len(pids) == 5
        plain, exact = memory_of(pids, exact=False), memory_of(pids, exact=True)
        assert plain > 500 * MIB
        assert 50 * MIB < exact < plain - 350 * MIB  # all but one of the five hundreds


def test_mapped_files_are_nobodys_and_shared_memory_is_divided(on_disk: Path) -> None:
    path = on_disk / "data"
    path.write_bytes(filled(100))

    def maps_file(tells: int) -> mmap.mmap:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        assert sum(mapped[:: mmap.PAGESIZE])
        return mapped

    def maps_memory(tells: int) -> mmap.mmap:
        shared = mmap.mmap(-1, 100 * MIB)  # shared with those that it forks
        shared.write(filled(100))
        waits, has_read = os.pipe()
        if os.fork() == 0:
            assert sum(shared[:: mmap.PAGESIZE])
            os.write(has_read, b".")
            signal.pause()
        assert os.read(waits, 1) == b"."
        return shared

    with child(lambda tells: None) as nothing, child(maps_file) as pid:
        assert memory_of([pid], exact=True) < memory_of([nothing], exact=True) + 10 * MIB
    with child(maps_memory) as pid:
        pids = family(pid)
        plain, exact = memory_of(pids, exact=False), memory_of(pids, exact=True)
        assert memory_of([pid], exact=False) > 100 * MIB
        assert 95 * MIB < exact < plain - 95 * MIB


def test_what_the_run_shares_is_nobodys_until_it_is_written_to() -> None:
    def maps_data(tells: int) -> mmap.mmap:
        data = filled(100)
        held = ProgramFile(b"pickled", [memoryview(data)])
        _, place = held.places
        with open(place.path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), place.offset + place.size, access=mmap.ACCESS_COPY)
        assert sum(mapped[:: mmap.PAGESIZE])
        mapped[: 30 * MIB] = data[: 30 * MIB]
        data.clear()
        return mapped

    with child(lambda tells: None) as nothing, child(maps_data) as pid:
        assert memory_of([pid], exact=False) > 100 * MIB
        without = memory_of([nothing], exact=True)
        assert without + 25 * MIB < memory_of([pid], exact=True) < without + 50 * MIB


def test_a_trial_may_read_more_than_it_asked_for_of_what_the_run_shares(tmp_path: Path) -> None:
    """Also one that runs alone, whose part is all of it."""

    def reads(config: dict[str, Any], data: Any) -> None:
        total, until = int(data.sum()), time.monotonic() + 5 * LOOK_S
        while time.monotonic() < until:
            pass
        tune.report(loss=total)

    data = np.ones(200 * MIB, np.uint8)
    analysis = run(tune.with_parameters(reads, data=data), tmp_path)
    assert analysis.trials[0].last_result["loss"] == 200 * MIB


def test_a_process_that_is_not_there_has_nothing() -> None:
    with child(lambda tells: None) as pid:
        pass
    assert memory_of([pid], exact=False) == memory_of([pid], exact=True) == 0
    assert family(pid) == [pid]


# -- the watch ---------------------------------------------------------------------------------------------------------


def slot(pid: int, memory: int, **more: Any) -> Any:
    """A worker that runs its third trial."""
    ring = SimpleNamespace(up=SimpleNamespace(head=64, orders=more.pop("done", 0)))
    made = Slot(1, pid, ring, "", None, None, orders=3, memory=memory, **more)  # type: ignore[arg-type]
    made.wear.trials = 3
    return made


def test_it_looks_now_and_then_at_those_that_run_a_trial() -> None:
    now, asked = [0.0], []
    pids = [1 << 22, (1 << 22) + 1, (1 << 22) + 2]  # of nobody: the largest number of a process is below

    def used(of: Iterable[int], exact: bool) -> int:
        [pid] = of
        asked.append((pid - pids[0], exact))
        return {0: 100, 1: 300, 2: 300}[pid - pids[0]] * MIB if not exact or pid == pids[1] else 150 * MIB

    watch = MemoryWatch(used, lambda: now[0])
    slots = [slot(pid, 200 * MIB) for pid in pids] + [slot(1, 0), slot(2, MIB, done=3), slot(3, MIB, fate="said")]
    found = list(watch.look(slots, 0))
    assert [one.pid for one, _ in found] == [pids[1]]
    assert "it used 300 MiB, and the trial had asked for 200 MiB" in found[0][1]
    assert "what earlier trials left in the same process" in found[0][1]
    assert asked == [(0, False), (1, False), (1, True), (2, False), (2, True)]  # the exact count is asked for where it matters
    now[0] = LOOK_S / 2
    assert list(watch.look(slots, 0)) == []
    assert len(asked) == 5
    now[0] = LOOK_S
    assert len(list(watch.look(slots, 0))) == 1
    assert watch.rest(10.0) == LOOK_S


def test_who_is_paused_in_a_worker_has_memory_of_its_own() -> None:
    """Two others in it: three times as much. One of them is to leave, which it does when the running trial is over."""
    now, used = [0.0], [550 * MIB]
    watch = MemoryWatch(lambda pids, exact: used[0], lambda: now[0])
    one = slot(1 << 22, 200 * MIB, suspended={4, 5})
    assert list(watch.look([one], 0)) == []
    one.suspended.discard(5)
    one.leaving.append(one.orders)
    now[0] += LOOK_S
    assert list(watch.look([one], 0)) == []
    one.wire.up.orders, one.orders = 3, 4
    for expected in ([], [one]):  # it may be leaving at that very moment
        now[0] += LOOK_S
        assert [slot for slot, _ in watch.look([one], 0)] == expected
    used[0], now[0] = 401 * MIB, now[0] + LOOK_S
    [(_, said)] = watch.look([one], 0)
    assert "had asked for 200 MiB, as had each of the 1 that are paused in it" in said
    assert '"memory": 251 * 2**20,' in said


class Holds(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.held = filled(60)

    def step(self) -> dict[str, Any]:
        if self.iteration == 2 and self.config["x"] == self.config["greedy"]:
            while True:
                self.held += filled(8)
        return {"loss": self.config["x"], "pid": os.getpid()}


@pytest.mark.parametrize("greedy", [-1, 0])
def test_trials_that_pause_are_not_ended_for_what_their_neighbours_have(tmp_path: Path, greedy: int) -> None:
    """All of them in one worker, which has more than one of them may have; who grows without an end is ended all the same."""
    scheduler = tune.schedulers.HyperBandScheduler(time_attr="training_iteration", metric="loss", mode="min", max_t=9)
    config = {"x": tune.grid_search(list(range(5))), "greedy": greedy}
    analysis = run(Holds, tmp_path, config=config, scheduler=scheduler, max_concurrent_trials=1)
    ended = [trial.status for trial in analysis.trials]
    assert ended.count("ERROR") == (greedy >= 0)
    assert len({trial.last_result["pid"] for trial in analysis.trials}) == 1 or greedy >= 0


def test_what_takes_long_to_count_is_counted_seldom() -> None:
    """A second for each exact count: the next one is due after twenty, whatever the plain count says meanwhile."""
    now, counted = [0.0], []

    def used(of: Iterable[int], exact: bool) -> int:
        if exact:
            counted.append(now[0])
            now[0] += 1.0
        return (100 if exact else 300) * MIB

    watch, shares = MemoryWatch(used, lambda: now[0]), [slot(1 << 22, 200 * MIB)]
    while now[0] < 50:
        assert list(watch.look(shares, 0)) == []
        now[0] += LOOK_S
    assert [round(at) for at in counted] == [0, 21, 42]
