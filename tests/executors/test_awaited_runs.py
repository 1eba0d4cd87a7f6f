"""``await tune.arun(...)``, and ``tune.run`` where an event loop runs."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, HyperBandScheduler, PopulationBasedTraining, TrialScheduler

SPACE = {"x": tune.uniform(0, 1)}
GIVEN: dict[str, Any] = {"config": SPACE, "metric": "loss", "mode": "min", "num_samples": 4, "verbose": 0, "seed": 1}


class AsksAlways(TrialScheduler):
    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.CONTINUE


async def curve(config: dict[str, Any]) -> None:
    for step in range(1, 10):
        await asyncio.sleep(0)
        tune.report(loss=config["x"] / step, step=step)


def plain(config: dict[str, Any]) -> None:
    for step in range(1, 10):
        tune.report(loss=config["x"] / step, step=step)


def steps(analysis: Any) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda: None,
        AsksAlways,
        lambda: ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
        lambda: HyperBandScheduler(max_t=9),
        lambda: PopulationBasedTraining(
            time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations={"x": tune.uniform(0, 1)}, seed=1
        ),
    ],
)
def test_it_is_awaited_beside_other_tasks(scheduler: Any) -> None:
    async def main() -> Any:
        turns, over = 0, False

        async def other() -> int:
            nonlocal turns
            while not over:
                turns += 1
                await asyncio.sleep(0)
            return turns

        beside = asyncio.create_task(other())
        loops = set()

        async def train(config: dict[str, Any]) -> None:
            loops.add(asyncio.get_running_loop())
            await curve(config)

        analysis = await tune.arun(train, scheduler=scheduler(), **{**GIVEN, "num_samples": 17})
        over = True
        assert await beside > 1
        assert loops == {asyncio.get_running_loop()}
        return analysis

    analysis = asyncio.run(main())
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert len(analysis.trials) == 17


def test_its_answers_are_those_of_run() -> None:
    asha = {"scheduler": ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3), "max_concurrent_trials": 1}
    here = tune.run(curve, **{**GIVEN, "num_samples": 20, **asha})
    asha["scheduler"] = ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3)
    there = asyncio.run(tune.arun(curve, **{**GIVEN, "num_samples": 20, **asha}))
    assert steps(here) == steps(there)
    assert here.best_config == there.best_config


@pytest.mark.parametrize("executor", ["process", "inline"])
def test_other_executors_run_in_a_thread(executor: str) -> None:
    async def main() -> Any:
        return await tune.arun(plain, executor=executor, **GIVEN)

    assert steps(asyncio.run(main())) == [9] * 4


def test_several_at_once() -> None:
    async def main() -> Any:
        return await asyncio.gather(*(tune.arun(curve, name=f"run{k}", **GIVEN) for k in range(5)))

    for analysis in asyncio.run(main()):
        assert steps(analysis) == [9] * 4


def test_what_is_wrong_is_raised_where_it_is_awaited() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="plain is a plain one"):
            await tune.arun(plain, executor="async", **GIVEN)
        with pytest.raises(ValueError, match="mode"):
            await tune.arun(curve, metric="loss", mode="best")
        with pytest.raises(TypeError, match="num_sample"):
            await tune.arun(curve, num_sample=3)

        async def failing(config: dict[str, Any]) -> None:
            await asyncio.sleep(0)
            raise ArithmeticError("no luck")

        with pytest.raises(tune.TuneError, match="no luck"):
            await tune.arun(failing, **GIVEN)

    asyncio.run(main())


@pytest.mark.parametrize("scheduler", [None, AsksAlways])
def test_who_cancels_the_awaiting_ends_the_run_softly(tmp_path: Path, scheduler: Any) -> None:
    begun, cleaned = set(), set()

    async def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        begun.add(tune.get_trial_id())
        if len(begun) == 4:
            all_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # cleaning up may await
            cleaned.add(tune.get_trial_id())

    async def finishing(config: dict[str, Any]) -> None:
        tune.report(loss=2.0)

    finishing.__name__ = "train"
    all_begun = asyncio.Event()
    where = {**GIVEN, "name": "e", "storage_path": str(tmp_path)}

    async def main() -> None:
        nonlocal all_begun
        all_begun = asyncio.Event()
        run = asyncio.create_task(tune.arun(train, scheduler=scheduler and scheduler(), **where))
        await all_begun.wait()
        await asyncio.sleep(0.05)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    assert cleaned == begun
    assert not (tmp_path / "e" / "rings").exists()
    kept = tune.ExperimentAnalysis(str(tmp_path / "e"), default_metric="loss", default_mode="min")
    assert [trial.last_result["loss"] for trial in kept.trials] == [1.0] * 4
    analysis = tune.run(finishing, resume="AUTO", scheduler=scheduler and scheduler(), **where)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 4
    assert [trial.last_result["loss"] for trial in analysis.trials] == [2.0] * 4


@pytest.mark.parametrize("executor", ["process", "inline"])
def test_who_cancels_a_run_in_a_thread_ends_it_softly(tmp_path: Path, executor: str) -> None:
    async def main() -> None:
        def endless(config: dict[str, Any]) -> None:
            (tmp_path / "begun").touch()
            while True:
                tune.report(loss=1.0)

        run = asyncio.create_task(
            tune.arun(endless, executor=executor, name="e", storage_path=str(tmp_path), **{**GIVEN, "num_samples": 1})
        )
        while not (tmp_path / "begun").exists():
            await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    kept = tune.ExperimentAnalysis(str(tmp_path / "e"), default_metric="loss", default_mode="min")
    assert kept.trials[0].last_result["loss"] == 1.0


def test_a_timeout_around_it() -> None:
    async def endless(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.timeout(0.3):
            await tune.arun(endless, **GIVEN)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


@pytest.mark.parametrize("scheduler", [lambda: None, AsksAlways, lambda: HyperBandScheduler(max_t=9)])
def test_run_where_a_loop_runs(scheduler: Any) -> None:
    """As in a notebook: the loop stands still, and goes on afterwards."""

    async def notebook() -> Any:
        mine = asyncio.get_running_loop()
        me = asyncio.current_task()
        analysis = tune.run(curve, scheduler=scheduler(), **{**GIVEN, "num_samples": 17})
        assert asyncio.get_running_loop() is mine
        assert asyncio.current_task() is me
        await asyncio.sleep(0)
        return analysis

    analysis = asyncio.run(notebook())
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_an_async_function_elsewhere_where_a_loop_runs(executor: str) -> None:
    async def notebook() -> Any:
        analysis = tune.run(curve, executor=executor, **GIVEN)
        await asyncio.sleep(0)
        return analysis

    assert steps(asyncio.run(notebook())) == [9] * 4


def test_a_run_that_a_trial_awaits() -> None:
    async def outer(config: dict[str, Any]) -> None:
        analysis = await tune.arun(curve, **GIVEN)
        tune.report(loss=analysis.best_result["loss"], inner=len(analysis.trials))

    for scheduler in (None, AsksAlways()):
        analysis = tune.run(outer, scheduler=scheduler, **{**GIVEN, "num_samples": 2})
        assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2, analysis.errors
        assert [trial.last_result["inner"] for trial in analysis.trials] == [4, 4]


def test_it_leaves_signals_alone() -> None:
    import signal

    async def main() -> Any:
        before = signal.getsignal(signal.SIGINT)

        async def train(config: dict[str, Any]) -> None:
            assert signal.getsignal(signal.SIGINT) is before
            tune.report(loss=1.0)

        return await tune.arun(train, **GIVEN)

    assert {trial.status for trial in asyncio.run(main()).trials} == {"TERMINATED"}


def test_it_works_in_a_thread_with_a_loop_of_its_own() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(tune.arun(curve, **GIVEN))))
    thread.start()
    thread.join()
    assert steps(found[0]) == [9] * 4
