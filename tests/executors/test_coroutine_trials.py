"""Trials that are coroutines, as tasks of one thread: what they report, how they end, and what they leave."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.error import StopTrial
from fasttune.executors import coroutine, coroutine_trial
from fasttune.schedulers import (
    ASHAScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

SPACE = {"x": tune.uniform(0, 1)}


def run(trainable: Any, **more: Any) -> Any:
    given: dict[str, Any] = {"config": SPACE, "metric": "loss", "mode": "min", "num_samples": 4, "verbose": 0, "seed": 1}
    return tune.run(trainable, raise_on_failed_trial=False, **{**given, **more})


class AsksAlways(TrialScheduler):
    """Is asked at every report, and lets everything go on."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.CONTINUE


class StopsAt(TrialScheduler):
    """Is asked at every report, and stops trials at the third one."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.STOP if result["training_iteration"] >= 3 else self.CONTINUE


async def curve(config: dict[str, Any]) -> None:
    for step in range(1, 10):
        await asyncio.sleep(0)
        tune.report(loss=config["x"] / step, step=step)


def steps(analysis: Any) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


def statuses(analysis: Any) -> set[str]:
    return {trial.status for trial in analysis.trials}


# ---- what runs


def test_an_async_function_runs_here_by_default() -> None:
    pids = set()

    async def train(config: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        pids.add((os.getpid(), threading.get_ident()))
        tune.report(loss=config["x"])

    analysis = run(train)
    assert pids == {(os.getpid(), threading.get_ident())}
    assert statuses(analysis) == {"TERMINATED"}
    assert [trial.last_result["loss"] for trial in analysis.trials] == [trial.config["x"] for trial in analysis.trials]


def test_a_thousand_are_alive_at_one_moment() -> None:
    alive, all_here = set(), asyncio.Event()

    async def train(config: dict[str, Any]) -> None:
        alive.add(tune.get_trial_id())
        if len(alive) == 1000:
            all_here.set()
        await all_here.wait()  # never, unless all of them have begun
        tune.report(loss=config["x"])

    analysis = run(train, num_samples=1000)
    assert len(alive) == 1000
    assert statuses(analysis) == {"TERMINATED"}
    assert len(analysis.trials) == 1000


def test_at_most_so_many_at_once() -> None:
    alive, most = set(), []

    async def train(config: dict[str, Any]) -> None:
        alive.add(tune.get_trial_id())
        most.append(len(alive))
        for _ in range(5):
            await asyncio.sleep(0)
        alive.discard(tune.get_trial_id())
        tune.report(loss=1.0)

    run(train, num_samples=20, max_concurrent_trials=3)
    assert max(most) == 3


def test_a_resource_of_ones_own_is_kept_to() -> None:
    alive, most = set(), []

    async def train(config: dict[str, Any]) -> None:
        alive.add(tune.get_trial_id())
        most.append(len(alive))
        for _ in range(5):
            await asyncio.sleep(0)
        alive.discard(tune.get_trial_id())
        tune.report(loss=1.0)

    run(train, num_samples=20, resources={"licence": 4}, resources_per_trial={"licence": 2})
    assert max(most) == 2


def test_a_request_that_depends_on_the_config_is_kept_to() -> None:
    running: list[float] = []
    most = []

    async def train(config: dict[str, Any]) -> None:
        running.append(config["share"])
        most.append(sum(running))
        for _ in range(5):
            await asyncio.sleep(0)
        running.remove(config["share"])
        tune.report(loss=1.0)

    analysis = run(
        train,
        config={"share": tune.choice([1, 2, 3])},
        num_samples=20,
        resources={"licence": 3},
        resources_per_trial=lambda config: {"licence": config["share"]},
    )
    assert statuses(analysis) == {"TERMINATED"}
    assert max(most) == 3


def test_a_request_for_nothing_that_depends_on_the_config_is_not_held_to_cpus() -> None:
    alive, all_here = set(), asyncio.Event()

    async def train(config: dict[str, Any]) -> None:
        alive.add(tune.get_trial_id())
        if len(alive) == 100:
            all_here.set()
        await all_here.wait()
        tune.report(loss=1.0)

    assert statuses(run(train, num_samples=100, resources_per_trial=lambda config: {"cpu": 0})) == {"TERMINATED"}


def test_a_searcher_learns_from_what_has_ended() -> None:
    alive, most = set(), []

    async def train(config: dict[str, Any]) -> None:
        alive.add(tune.get_trial_id())
        most.append(len(alive))
        await asyncio.sleep(0)
        alive.discard(tune.get_trial_id())
        tune.report(loss=config["x"])

    run(train, num_samples=40, search_alg="tpe")
    assert max(most) <= 16


def test_what_an_async_generator_yields_is_reported() -> None:
    closed = []

    async def train(config: dict[str, Any]) -> AsyncIterator[dict[str, float]]:
        try:
            for step in range(1, 6):
                await asyncio.sleep(0)
                yield {"loss": config["x"] / step}
        finally:
            closed.append(tune.get_trial_id())

    assert steps(run(train)) == [5] * 4
    assert steps(run(train, stop={"training_iteration": 2})) == [2] * 4
    assert steps(run(train, scheduler=StopsAt())) == [3] * 4
    assert len(closed) == 12


def test_what_it_returns_is_reported() -> None:
    async def train(config: dict[str, Any]) -> float:
        await asyncio.sleep(0)
        return float(config["x"])

    analysis = run(train)
    assert [trial.last_result["loss"] for trial in analysis.trials] == [trial.config["x"] for trial in analysis.trials]


def test_parameters_and_objects_that_are_called() -> None:
    async def train(config: dict[str, Any], data: list[int]) -> None:
        await asyncio.sleep(0)
        tune.report(loss=float(sum(data)))

    class Trained:
        async def __call__(self, config: dict[str, Any]) -> None:
            await asyncio.sleep(0)
            tune.report(loss=7.0)

    assert run(tune.with_parameters(train, data=[1, 2])).trials[0].last_result["loss"] == 3.0
    assert run(Trained()).trials[0].last_result["loss"] == 7.0


@pytest.mark.parametrize("executor", ["process", "inline"])
def test_other_executors_run_it_in_an_event_loop_of_its_own(executor: str) -> None:
    async def train(config: dict[str, Any]) -> float:
        first, second = await asyncio.gather(asyncio.sleep(0, 1.0), asyncio.to_thread(lambda: 2.0))
        for step in range(4):
            await asyncio.sleep(0)
            tune.report(loss=first + second + step)
        return 9.0

    analysis = run(train, executor=executor)
    assert statuses(analysis) == {"TERMINATED"}
    assert steps(analysis) == [4] * 4


@pytest.mark.parametrize("executor", ["process", "inline", "async"])
@pytest.mark.parametrize("scheduler", [None, StopsAt])
def test_a_stop_is_a_cancelled_error_everywhere(tmp_path: Path, executor: str, scheduler: Any) -> None:
    async def train(config: dict[str, Any]) -> None:
        try:
            while True:
                await asyncio.sleep(0)
                tune.report(loss=1.0)
        except asyncio.CancelledError:
            (tmp_path / str(tune.get_trial_id())).write_text("cancelled")
            raise

    stop = None if scheduler else {"training_iteration": 3}
    analysis = run(train, executor=executor, stop=stop, scheduler=scheduler and scheduler())
    assert statuses(analysis) == {"TERMINATED"}
    assert steps(analysis) == [3] * 4
    assert {path.name for path in tmp_path.iterdir()} == {trial.trial_id for trial in analysis.trials}


# ---- schedulers


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda: ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
        lambda: MedianStoppingRule(grace_period=2, min_samples_required=2),
        AsksAlways,
        StopsAt,
    ],
)
def test_schedulers_decide_as_inline(scheduler: Any) -> None:
    """One at a time, so that reports come in the same order."""

    def plain(config: dict[str, Any]) -> None:
        for step in range(1, 10):
            tune.report(loss=config["x"] / step, step=step)

    there = run(plain, num_samples=20, scheduler=scheduler(), executor="inline", max_concurrent_trials=1)
    here = run(curve, num_samples=20, scheduler=scheduler(), max_concurrent_trials=1)
    assert steps(here) == steps(there)
    assert [trial.last_result["loss"] for trial in here.trials] == [trial.last_result["loss"] for trial in there.trials]


def test_asha_stops_many_at_once() -> None:
    analysis = run(curve, num_samples=300, scheduler=ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3))
    assert statuses(analysis) == {"TERMINATED"}
    assert len(set(steps(analysis))) > 1


@pytest.mark.parametrize("synch", [False, True])
def test_a_population_exploits_and_explores(synch: bool) -> None:
    async def train(config: dict[str, Any]) -> None:
        found = tune.get_checkpoint()
        value = found.to_dict()["value"] if found else 0.0
        while True:
            await asyncio.sleep(0)
            value += config["x"]
            tune.report(loss=-value, checkpoint=tune.Checkpoint.from_dict({"value": value}))

    scheduler = PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations={"x": tune.uniform(0, 1)}, seed=1,
        synch=synch,
    )  # fmt: skip
    analysis = run(train, num_samples=8, scheduler=scheduler, stop={"training_iteration": 20})
    assert statuses(analysis) == {"TERMINATED"}
    assert steps(analysis) == [20] * 8
    assert scheduler.num_perturbations > 0


def test_hyperband_pauses_and_goes_on_where_they_were() -> None:
    async def train(config: dict[str, Any]) -> None:
        for step in range(1, 100):
            await asyncio.sleep(0)
            tune.report(loss=config["x"], step=step)

    analysis = run(train, num_samples=17, scheduler=HyperBandScheduler(max_t=9))
    assert statuses(analysis) == {"TERMINATED"}
    assert len(set(steps(analysis))) > 1
    for frame in analysis.trial_dataframes.values():
        assert list(frame["step"]) == list(frame["training_iteration"]) == list(range(1, len(frame) + 1))


def test_a_time_limit_of_its_own_does_not_tear_a_report_that_waits() -> None:
    """The report has its answer first; then the limit is told."""

    class Late(AsksAlways):
        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            for task in asyncio_tasks:
                task.cancel()
            return self.CONTINUE

    asyncio_tasks: list[asyncio.Task[Any]] = []
    seen = []

    async def train(config: dict[str, Any]) -> None:
        asyncio_tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            tune.report(loss=1.0)
        except asyncio.CancelledError:
            seen.append("cancelled")
        asyncio_tasks.clear()
        tune.report(loss=2.0)

    analysis = run(train, num_samples=1, scheduler=Late())
    assert seen == ["cancelled"]
    assert statuses(analysis) == {"TERMINATED"}
    assert steps(analysis) == [2]


# ---- tasks and threads of a trial


@pytest.mark.parametrize("scheduler", [None, AsksAlways, lambda: ASHAScheduler(max_t=10**6, grace_period=10**6)])
def test_its_tasks_and_threads_report_for_it(scheduler: Any) -> None:
    async def train(config: dict[str, Any]) -> None:
        me = tune.get_trial_id()

        async def part(number: int) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
                assert tune.get_trial_id() == me
                tune.report(loss=config["x"], part=number)

        def in_thread() -> None:
            assert tune.get_trial_id() == me
            tune.report(loss=config["x"], part=10)

        await asyncio.gather(part(0), part(1), asyncio.to_thread(in_thread))
        async with asyncio.TaskGroup() as group:
            group.create_task(part(2))
        thread = threading.Thread(target=in_thread)
        thread.start()
        await asyncio.to_thread(thread.join)
        tune.report(loss=config["x"], part=11)

    analysis = run(train, num_samples=20, scheduler=scheduler and scheduler())
    assert statuses(analysis) == {"TERMINATED"}, analysis.errors
    assert steps(analysis) == [12] * 20
    for trial in analysis.trials:
        frame = analysis.trial_dataframes[trial.trial_id]
        assert set(frame["loss"]) == {trial.config["x"]}
        assert sorted(frame["part"]) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 10, 10, 11]


def test_a_stop_that_a_task_of_it_is_told_ends_the_trial() -> None:
    ended = []

    async def train(config: dict[str, Any]) -> None:
        async def part() -> None:
            while True:
                await asyncio.sleep(0)
                tune.report(loss=1.0)

        try:
            async with asyncio.TaskGroup() as group:  # which takes no notice of a task that was cancelled
                group.create_task(part())
                await asyncio.Event().wait()
        finally:
            ended.append(tune.get_trial_id())

    analysis = run(train, stop={"training_iteration": 5})
    assert steps(analysis) == [5] * 4
    assert statuses(analysis) == {"TERMINATED"}
    assert len(ended) == 4


def test_a_stop_that_a_thread_of_it_is_told_ends_the_trial() -> None:
    async def train(config: dict[str, Any]) -> None:
        def part() -> None:
            while True:
                tune.report(loss=1.0)

        await asyncio.to_thread(part)

    analysis = run(train, stop={"training_iteration": 5})
    assert steps(analysis) == [5] * 4
    assert statuses(analysis) == {"TERMINATED"}, analysis.errors


def test_what_a_trial_leaves_behind_reports_for_nobody() -> None:
    async def train(config: dict[str, Any]) -> None:
        async def late() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            tune.report(loss=100.0)

        if tune.get_trial_id().endswith("0"):  # type: ignore[union-attr]
            left.append(asyncio.create_task(late()))
        tune.report(loss=1.0)
        for _ in range(5 * len(left)):
            if tune.get_trial_id().endswith("1"):  # type: ignore[union-attr]
                await asyncio.sleep(0)

    left: list[asyncio.Task[None]] = []
    with pytest.warns(UserWarning, match="this task is of is over, and what it reports is dropped"):
        analysis = run(train, num_samples=2)
    assert steps(analysis) == [1, 1]


# ---- ends


def test_a_failure_is_its_own_and_has_its_traceback() -> None:
    async def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        await asyncio.sleep(0)
        if tune.get_context().get_trial_id().endswith("2"):  # type: ignore[union-attr]
            raise ArithmeticError("no luck with this one")
        tune.report(loss=2.0)

    analysis = run(train)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "TERMINATED", "ERROR", "TERMINATED"]
    [error] = analysis.errors
    assert isinstance(error, ArithmeticError)
    text = str(error.__cause__)
    assert "in train" in text
    assert "fasttune/executors" not in text


def test_a_cancellation_that_nobody_here_asked_for_is_a_failure() -> None:
    async def train(config: dict[str, Any]) -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await asyncio.sleep(0)

    analysis = run(train, num_samples=1, metric=None, mode=None)
    assert statuses(analysis) == {"ERROR"}


def test_stop_trial_ends_it() -> None:
    async def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        await asyncio.sleep(0)
        raise StopTrial

    assert statuses(run(train)) == {"TERMINATED"}


def test_a_failed_one_is_tried_again_from_its_checkpoint() -> None:
    begun: list[int] = []

    async def train(config: dict[str, Any]) -> None:
        found = tune.get_checkpoint()
        first = found.to_dict()["step"] + 1 if found else 1
        begun.append(first)
        for step in range(first, 6):
            await asyncio.sleep(0)
            tune.report(loss=1.0, checkpoint=tune.Checkpoint.from_dict({"step": step}))
            if step == 3 and first == 1:
                raise ArithmeticError

    analysis = run(train, num_samples=2, max_failures=1)
    assert sorted(begun) == [1, 1, 4, 4]
    assert steps(analysis) == [5, 5]


def test_checkpoints_in_directories(tmp_path: Path) -> None:
    async def train(config: dict[str, Any]) -> None:
        for step in range(3):
            folder = tmp_path / f"{tune.get_trial_id()}_{step}"
            folder.mkdir()
            (folder / "step").write_text(str(step))
            await asyncio.sleep(0)
            tune.report(loss=1.0, checkpoint=tune.Checkpoint.from_directory(folder))

    for trial in run(train).trials:
        assert (Path(trial.checkpoint.path) / "step").read_text() == "2"


def test_a_run_goes_on_with_another_executor() -> None:
    async def train(config: dict[str, Any]) -> None:
        found = tune.get_checkpoint()
        for step in range(found.to_dict()["step"] + 1 if found else 1, 6):
            await asyncio.sleep(0)
            tune.report(loss=1.0, step=step, checkpoint=tune.Checkpoint.from_dict({"step": step}))
            if step == 3 and not found:
                raise ArithmeticError

    assert steps(run(train, name="e")) == [3] * 4
    again = tune.ResumeConfig(errored=tune.ResumeType.RESUME)
    analysis = run(train, name="e", resume_config=again, executor="inline")
    assert [trial.last_result["step"] for trial in analysis.trials] == [5] * 4


def test_a_tuner_runs_coroutines() -> None:
    async def train(config: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        tune.report(loss=config["x"])

    results = tune.Tuner(
        train, param_space=SPACE, tune_config=tune.TuneConfig(num_samples=3), run_config=tune.RunConfig(verbose=0)
    ).fit()
    assert [result.metrics["loss"] for result in results] == [result.config["x"] for result in results]


def test_fail_fast_ends_the_others() -> None:
    async def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        if tune.get_trial_id().endswith("2"):  # type: ignore[union-attr]
            raise ArithmeticError
        await asyncio.Event().wait()

    analysis = run(train, fail_fast=True)
    assert [trial.status for trial in analysis.trials].count("ERROR") == 1


def test_a_time_budget_cancels_what_waits() -> None:
    begun, ended = [], []

    async def train(config: dict[str, Any]) -> None:
        begun.append(tune.get_trial_id())
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(tune.get_trial_id())

    analysis = run(train, time_budget_s=0.5, metric=None, mode=None)
    assert not analysis.errors
    assert ended == begun


def test_who_swallows_cancellation_is_left_alone_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    from fasttune.engine import loop

    monkeypatch.setattr(loop, "GRACE_S", 0.01)
    monkeypatch.setattr(coroutine, "AGAIN", 0.01)
    monkeypatch.setattr(coroutine, "GIVEN_UP", 0.05)

    begun: list[int] = []
    over: list[str] = []

    class Ends(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            over.append(trial.trial_id)

    class Begun(tune.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return bool(begun)

    async def train(config: dict[str, Any]) -> None:
        begun.append(1)
        while not over:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    with pytest.warns(RuntimeWarning, match="swallows asyncio.CancelledError"):
        analysis = run(train, num_samples=1, stop=Begun(), callbacks=[Ends()], metric=None, mode=None)
    assert statuses(analysis) == {"TERMINATED"}


def test_who_swallows_the_stop_of_a_report_is_left_alone_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coroutine, "AGAIN", 0.01)
    monkeypatch.setattr(coroutine, "GIVEN_UP", 0.05)
    cancelled: list[int] = []
    over: list[str] = []

    class Ends(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            over.append(trial.trial_id)

    async def train(config: dict[str, Any]) -> None:
        done = 0
        while not over:
            try:
                await asyncio.sleep(0.001)
                done += 1
                if done <= 3:
                    tune.report(loss=1.0)
            except asyncio.CancelledError:
                cancelled.append(done)

    with pytest.warns(RuntimeWarning, match="swallows asyncio.CancelledError"):
        analysis = run(train, num_samples=1, stop={"training_iteration": 3}, callbacks=[Ends()])
    assert statuses(analysis) == {"TERMINATED"}
    assert steps(analysis) == [3]
    assert len(cancelled) >= 2
    assert not over or cancelled[0] == 3


@pytest.mark.parametrize("scheduler", [None, AsksAlways])
def test_a_clean_up_that_awaits_is_not_torn_by_a_ctrl_c(scheduler: Any) -> None:
    """The report is where the trial is told, and then the run's end comes, while it cleans up."""
    told, cleaned = [], []

    async def train(config: dict[str, Any]) -> None:
        try:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
            await asyncio.sleep(0)
            time.sleep(0.1)  # the loop's turn is due, within the report
            tune.report(loss=1.0)
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            told.append(error)
            await asyncio.sleep(0.2)
            cleaned.append(error)
            raise

    analysis = run(train, num_samples=1, scheduler=scheduler and scheduler())
    assert analysis.interrupted
    assert len(told) == len(cleaned) == 1


@pytest.mark.parametrize("busy", [False, True])
def test_a_second_ctrl_c_waits_for_no_clean_up(monkeypatch: pytest.MonkeyPatch, busy: bool) -> None:
    """With a patience that has no end, it would never come back."""
    from fasttune.engine import interrupts

    monkeypatch.setattr(coroutine, "HALT_S", 1e9)
    monkeypatch.setattr(interrupts, "ONE_SIGNAL_S", 0.0)
    begun, cleaned = [], []

    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    async def train(config: dict[str, Any]) -> None:
        try:
            begun.append(1)
            if len(begun) == 2:
                asyncio.get_running_loop().call_soon(press)
            await asyncio.Event().wait()
        finally:
            if begun:
                begun.clear()
                asyncio.get_running_loop().call_later(0.1, press)
            while busy:
                await asyncio.sleep(0)
            await asyncio.Event().wait()
            cleaned.append(1)

    with pytest.raises(KeyboardInterrupt):
        run(train, num_samples=2)
    assert not cleaned


@pytest.mark.parametrize("scheduler", [None, StopsAt])
def test_a_clean_up_that_awaits_is_not_torn_by_the_runs_end(scheduler: Any) -> None:
    cleaning, cleaned = [], []

    class All(tune.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return bool(scheduler is None and result["training_iteration"] >= 3)

        def stop_all(self) -> bool:
            return bool(cleaning)  # one cleans up

    async def train(config: dict[str, Any]) -> None:
        try:
            while True:
                await asyncio.sleep(0)
                tune.report(loss=1.0)
        finally:
            cleaning.append(1)
            await asyncio.sleep(0.3)
            cleaned.append(1)

    run(train, stop=All(), scheduler=scheduler and scheduler())
    assert len(cleaning) == len(cleaned) == 4


def test_a_trial_that_keeps_the_loop_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coroutine_trial, "BLOCKED_S", -1.0)  # whatever it takes
    with pytest.warns(RuntimeWarning, match=r"trial \w+_0000\d kept the event loop for [\d.]+ s") as told:
        run(curve)
    assert len([one for one in told if "kept the event loop" in str(one.message)]) == 1


def test_who_only_reports_is_stopped_by_the_budget_all_the_same() -> None:
    async def train(config: dict[str, Any]) -> None:
        while True:
            tune.report(loss=1.0)

    assert not run(train, num_samples=2, time_budget_s=0.5).errors


def test_more_reports_than_a_ring_holds() -> None:
    async def train(config: dict[str, Any]) -> None:
        for step in range(60_000):
            tune.report(loss=1.0, step=step)

    assert steps(run(train, num_samples=3)) == [60_000] * 3


def test_durability_full_waits_for_the_disk_together() -> None:
    analysis = run(curve, num_samples=50, durability="full")
    assert steps(analysis) == [9] * 50


def test_logs_go_to_each_trials_own_files() -> None:
    async def train(config: dict[str, Any]) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            print("of", tune.get_trial_id())
        tune.report(loss=1.0)

    for trial in run(train, log_to_file=True).trials:
        assert (Path(trial.local_path) / "stdout").read_text() == f"of {trial.trial_id}\n" * 3


def test_who_calls_sys_exit_fails_alone() -> None:
    async def train(config: dict[str, Any]) -> None:
        async def part() -> None:
            await asyncio.sleep(0)
            if tune.get_trial_id().endswith("1"):  # type: ignore[union-attr]
                sys.exit(3)

        if tune.get_trial_id().endswith("2"):  # type: ignore[union-attr]
            sys.exit(3)
        await asyncio.gather(part())
        tune.report(loss=1.0)

    analysis = run(train)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "ERROR", "TERMINATED"]


@pytest.mark.parametrize("scheduler", [None, AsksAlways])
def test_a_process_that_a_trial_forks_reports_nothing_and_runs_no_loop(tmp_path: Path, scheduler: Any) -> None:
    async def train(config: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        ways = [lambda: tune.report(loss=100.0), lambda: None]
        for number, way in enumerate(ways):
            pid = os.fork()
            if not pid:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    way()
                (tmp_path / f"{tune.get_trial_id()}_{number}").touch()
                await asyncio.sleep(0)
                (tmp_path / "came back").touch()
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                await asyncio.sleep(0.001)
        tune.report(loss=1.0)

    analysis = run(train, num_samples=2, scheduler=scheduler and scheduler())
    assert steps(analysis) == [1, 1]
    assert not (tmp_path / "came back").exists()


# ---- what cannot be


def test_a_plain_function_is_refused_before_anything_is_made(results_dir: Path) -> None:
    def plain(config: dict[str, Any]) -> None: ...

    class Classy(tune.Trainable): ...

    with pytest.raises(TypeError, match=r"plain is a plain one.*write `async def plain\(config\)`"):
        run(plain, executor="async")
    with pytest.raises(TypeError, match="Classy is a class"):
        run(Classy, executor="async")
    with pytest.raises(TypeError, match="plain is a plain one"):
        tune.Tuner(plain, run_config=tune.RunConfig(executor="async")).fit()
    assert not results_dir.exists()


def test_plain_and_async_functions_together_run_in_workers() -> None:
    def plain(config: dict[str, Any]) -> None:
        tune.report(loss=1.0, pid=os.getpid())

    async def waiting(config: dict[str, Any]) -> None:
        tune.report(loss=1.0, pid=os.getpid())

    analysis = tune.run([plain, waiting], verbose=0)
    assert os.getpid() not in {trial.last_result["pid"] for trial in analysis.trials}


# ---- nothing is left


def test_nothing_is_left_of_it(recwarn: pytest.WarningsRecorder) -> None:
    async def train(config: dict[str, Any]) -> None:
        asyncio.create_task(asyncio.Event().wait())  # nobody awaits this one  # noqa: RUF006
        await asyncio.to_thread(time.sleep, 0)
        tune.report(loss=1.0)

    analysis = run(train)
    import gc

    gc.collect()
    assert not (Path(analysis.experiment_path) / "rings").exists()
    assert [str(one.message) for one in recwarn] == []
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_run_within_a_trial() -> None:
    async def inner(config: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        tune.report(loss=config["x"])

    async def outer(config: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            analysis = tune.run(inner, config=SPACE, num_samples=3, metric="loss", mode="min", verbose=0)
        await asyncio.sleep(0)
        tune.report(loss=analysis.best_result["loss"], inner=len(analysis.trials))

    analysis = run(outer, num_samples=2)
    assert statuses(analysis) == {"TERMINATED"}, analysis.errors
    assert [trial.last_result["inner"] for trial in analysis.trials] == [3, 3]
