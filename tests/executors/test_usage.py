"""``measure_usage=True``: each report has what its trial has used of its worker so far, and nothing of other trials."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fasttune as tune
from fasttune.executors.gpu_meter import LOOK_S, GpuMeter
from fasttune.executors.usage import GAUGE_NUMBERS, GPU_BYTES, GPU_PERCENT, LIFE, MEASURED, Usage
from fasttune.schedulers import HyperBandScheduler

MIB = 1 << 20
KEYS = {"peak_memory_bytes", "cpu_seconds"}
BURNT = 0.05  # seconds of a processor


def burn(seconds: float = BURNT) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def run(trainable: Any, folder: Path, **more: Any) -> tune.ExperimentAnalysis:
    given = {"measure_usage": True, "max_concurrent_trials": 1, "storage_path": str(folder), "name": "e", "verbose": 0, **more}
    return tune.run(trainable, **given)


def has_some(config: dict[str, Any]) -> None:
    tune.report(pid=os.getpid())
    held = bytearray(os.urandom(MIB)) * config["mib"]
    tune.report(pid=os.getpid(), has=len(held))
    del held
    tune.report(pid=os.getpid())


def test_the_peak_is_that_of_the_trial_not_of_its_worker(tmp_path: Path) -> None:
    analysis = run(has_some, tmp_path, config={"mib": tune.grid_search([300, 100, 0])})
    for again in (analysis, tune.ExperimentAnalysis(str(tmp_path / "e"))):
        assert len({trial.last_result["pid"] for trial in again.trials}) == 1
        most, some, none = [trial.last_result["peak_memory_bytes"] for trial in again.trials]
        assert most > 300 * MIB > some > 100 * MIB > none
        first = [again.trial_dataframes[trial.trial_id]["peak_memory_bytes"].iloc[0] for trial in again.trials]
        assert max(first) < 100 * MIB  # as of its report
        assert set(again.results_df["peak_memory_bytes"]) == {most, some, none}
        assert set(again.results_df.columns) >= KEYS


def computes(config: dict[str, Any]) -> None:
    if config["how"] == "itself":
        burn(0.3)
    elif config["how"] == "child":
        subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    else:
        time.sleep(0.01)
    tune.report(done_by=config["how"])


def test_processor_time_is_that_of_the_trial_and_of_the_children_that_it_has_waited_for(tmp_path: Path) -> None:
    analysis = run(computes, tmp_path, config={"how": tune.grid_search(["nobody", "itself", "child", "nobody"])})
    idle, itself, child, idle_too = [trial.last_result["cpu_seconds"] for trial in analysis.trials]
    assert itself >= 0.3
    assert child >= 0.3
    assert max(idle, idle_too) < 0.2


class Steps(tune.Trainable):
    def step(self) -> dict[str, Any]:
        burn()
        return {"loss": self.iteration}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "x").touch()

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        pass


def steps(config: dict[str, Any]) -> Any:
    for k in range(100):
        burn()
        yield {"loss": k}


def reports(config: dict[str, Any]) -> None:
    for k in range(100):
        burn()
        tune.report({"loss": k}, checkpoint=tune.Checkpoint.from_dict({"k": k}) if k % 2 else None)


@pytest.mark.parametrize("trainable", [Steps, steps, reports])
def test_every_kind_of_trainable_and_every_report_has_it(tmp_path: Path, trainable: Any) -> None:
    analysis = run(trainable, tmp_path, stop={"training_iteration": 4}, num_samples=2)
    for frame in analysis.trial_dataframes.values():
        assert len(frame) == 4
        used = frame["cpu_seconds"].tolist()
        assert used == sorted(used)
        assert all(used[k] >= BURNT * (k + 1) for k in range(4))
        assert frame["peak_memory_bytes"].is_monotonic_increasing


@pytest.mark.parametrize("trainable", [Steps, steps])
def test_while_a_trial_is_paused_others_count_for_themselves(tmp_path: Path, trainable: Any) -> None:
    """All live in one worker, and have their turns in it."""
    scheduler = HyperBandScheduler(max_t=9, reduction_factor=3)
    analysis = run(trainable, tmp_path, scheduler=scheduler, metric="loss", mode="min", num_samples=9)
    frames = analysis.trial_dataframes.values()
    assert max(map(len, frames)) > 1
    for frame in frames:
        assert BURNT * len(frame) <= frame["cpu_seconds"].iloc[-1] < BURNT * (len(frame) + 3)


def test_a_metric_of_the_same_name_stays_and_a_run_may_steer_by_what_was_used(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        burn(config["burn"])
        tune.report(peak_memory_bytes=7)

    analysis = run(train, tmp_path, config={"burn": tune.grid_search([0.1, 0.0, 0.2])}, metric="cpu_seconds", mode="min")
    assert {trial.last_result["peak_memory_bytes"] for trial in analysis.trials} == {7}
    assert analysis.best_config == {"burn": 0.0}
    assert analysis.best_result["cpu_seconds"] < 0.1


def test_nothing_is_there_unless_it_was_asked_for(tmp_path: Path) -> None:
    analysis = run(reports, tmp_path, stop={"training_iteration": 2}, measure_usage=False)
    assert not KEYS & analysis.trials[0].last_result.keys()


def test_a_tuner_says_it_too_and_a_resumed_run_as_it_is_told(tmp_path: Path) -> None:
    config = tune.RunConfig(measure_usage=True, storage_path=str(tmp_path), name="e", verbose=0, stop={"training_iteration": 2})
    [result] = tune.Tuner(steps, run_config=config).fit()
    assert result.metrics.keys() >= KEYS
    more = {"resume": "AUTO", "num_samples": 2, "stop": {"training_iteration": 2}}
    analysis = run(steps, tmp_path, **more, measure_usage=False)
    assert [trial.last_result.keys() >= KEYS for trial in analysis.trials] == [True, False]


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_what_is_no_truth_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(TypeError, match="measure_usage must be True or False, got "):
        run(steps, tmp_path, measure_usage=wrong)


@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_where_trials_share_a_process_it_is_refused(tmp_path: Path, executor: str) -> None:
    with pytest.raises(ValueError, match=f"with executor='{executor}' all trials share this process: leave one of both out"):
        run(steps, tmp_path, executor=executor)


def test_an_async_function_is_told_where_it_could_be_measured(tmp_path: Path) -> None:
    async def waits(config: dict[str, Any]) -> None:
        tune.report(loss=1)

    with pytest.raises(ValueError, match=r"leave one of both out, or say executor='process'$"):
        run(waits, tmp_path)
    assert run(waits, tmp_path, executor="process").trials[0].last_result.keys() >= KEYS


@pytest.mark.parametrize("executor", ["vector", "process"])
def test_a_call_of_many_trials_is_refused(tmp_path: Path, executor: str) -> None:
    def many(config: dict[str, Any]) -> dict[str, Any]:
        return {"loss": config["x"]}

    with pytest.raises(ValueError, match="trials of one call share a process"):
        run(tune.vectorized(many), tmp_path, config={"x": tune.uniform(0, 1)}, executor=executor, max_concurrent_trials=None)


# -- GPUs: what the driver's process measures, and the worker reads ----------------------------------------------------


class Driver:
    """What it says: of devices, and of processes by the sum of what they have."""

    def __init__(self) -> None:
        self.of_device: dict[str, int | None] = {"a": 100, "b": 0}
        self.of_processes: dict[str, int | None] = {"a": None, "b": None}
        self.busy: float | None = None
        self.busy_with: float | None = None

    def memory(self, gpu: Any) -> int | None:
        return self.of_device[gpu.uuid]

    def memory_of(self, gpu: Any, pids: list[int]) -> int | None:
        return self.of_processes[gpu.uuid]

    def percent(self, gpu: Any) -> float | None:
        return self.busy

    def percent_of(self, gpu: Any, pids: list[int]) -> float | None:
        return self.busy_with


class Bench:
    """A worker with these GPUs, its gauge, and a meter whose clock is turned by hand."""

    def __init__(self, *gpus: tuple[str, int]) -> None:
        self.driver, self.now = Driver(), 0.0
        self.gauge = memoryview(bytearray(8 * GAUGE_NUMBERS)).cast("d")
        placement = SimpleNamespace(gpus=[(SimpleNamespace(uuid=uuid), units) for uuid, units in gpus])
        wire = SimpleNamespace(gauge=self.gauge)
        self.slot: Any = SimpleNamespace(source=3, pid=os.getpid(), lives=True, wire=wire, placement=placement)
        self.meter = GpuMeter(self.driver, lambda: self.now)
        self.meter.expect(3, placement)

    def look(self) -> None:
        self.now += LOOK_S
        self.meter.look([self.slot])


def test_a_device_that_a_trial_has_alone_is_its_own_but_for_what_was_in_use_before() -> None:
    bench = Bench(("a", 10_000), ("b", 10_000))
    usage = Usage(bench.gauge)
    assert not {"peak_gpu_memory_bytes", "gpu_utilization"} & usage.beside({}).keys()  # nobody has looked yet
    for used, busy in ((150, 10.0), (350, 20.0), (120, 60.0)):
        bench.driver.of_device = {"a": used, "b": 7}
        bench.driver.busy = busy
        bench.look()
    told = usage.beside({"loss": 1})
    assert told["loss"] == 1
    assert told["peak_gpu_memory_bytes"] == 250 + 7
    assert told["gpu_utilization"] == 30.0
    bench.driver.of_device["a"] = 900
    bench.meter.look([bench.slot])  # it has just looked
    assert usage.beside({})["peak_gpu_memory_bytes"] == 257
    bench.meter.forget(3)
    bench.look()
    assert usage.beside({})["peak_gpu_memory_bytes"] == 257


def test_of_a_shared_device_only_what_the_processes_of_the_trial_use_counts() -> None:
    bench = Bench(("a", 2_500))
    usage = Usage(bench.gauge)
    bench.driver.busy, bench.driver.of_device = 90.0, {"a": 5000}
    bench.look()
    assert not {"peak_gpu_memory_bytes", "gpu_utilization"} & usage.beside({}).keys()
    bench.driver.of_processes["a"], bench.driver.busy_with = 640, 12.5
    bench.look()
    told = usage.beside({})
    assert (told["peak_gpu_memory_bytes"], told["gpu_utilization"]) == (640, 12.5)


def test_what_the_driver_does_not_say_is_not_there() -> None:
    bench = Bench(("a", 10_000))
    bench.driver.of_device["a"] = None
    usage = Usage(bench.gauge)
    bench.look()
    assert bench.gauge[MEASURED] == bench.gauge[LIFE]
    assert math.isnan(bench.gauge[GPU_BYTES])
    assert math.isnan(bench.gauge[GPU_PERCENT])
    assert usage.beside({}).keys() == KEYS


def test_each_trial_begins_anew_and_one_that_was_left_goes_on() -> None:
    bench = Bench(("a", 10_000))
    first = Usage(bench.gauge)
    bench.driver.of_device["a"] = 1100
    bench.look()
    first.leave()
    bench.driver.of_device["a"] = 4100
    bench.look()  # nobody's
    assert first.beside({})["peak_gpu_memory_bytes"] == 1000
    second = Usage(bench.gauge)
    assert "peak_gpu_memory_bytes" not in second.beside({})
    bench.driver.of_device["a"] = 400
    bench.look()
    assert second.beside({})["peak_gpu_memory_bytes"] == 300
    second.leave()
    first.come()
    assert first.beside({})["peak_gpu_memory_bytes"] == 1000
    bench.look()
    assert first.beside({})["peak_gpu_memory_bytes"] == 1000
    bench.driver.of_device["a"] = 2100
    bench.look()
    assert first.beside({})["peak_gpu_memory_bytes"] == 2000
