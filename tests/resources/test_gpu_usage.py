"""What trials use of GPUs, on a pretended driver: asked by process, or of a device that a trial has alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

RUN = """
import os, time
import fasttune as tune

class Device(tune.Callback):
    '''From the first report on more of the device is in use.'''

    def on_trial_result(self, iteration, trials, trial, result, **info):
        os.environ["FAKE_USED"] = "60"

def train(config):
    while True:
        tune.report(loss=1.0)
        time.sleep(0.001)

os.environ["FAKE_USED"] = "10"
[trial] = tune.run(
    train, resources_per_trial={"cpu": 1, "gpu": 1}, measure_usage=True, stop={"peak_gpu_memory_bytes": 1},
    callbacks=[Device()], verbose=0, time_budget_s=60,  # the end of a test that fails
).trials
answer = {name: trial.last_result.get(name, 0) for name in ("peak_gpu_memory_bytes", "gpu_utilization", "peak_memory_bytes")}
"""


def test_a_trial_that_has_a_device_alone_reports_what_came_to_be_used(ask: Callable[..., Any], results_dir: object) -> None:
    """It ends at the first report that has more than nothing."""
    told = ask(RUN, FAKE_GPUS="1", FAKE_BUSY="40", FASTTUNE_RESULTS_DIR=os.environ["FASTTUNE_RESULTS_DIR"])
    assert told["peak_gpu_memory_bytes"] == (1 << 30) // 100 * 50
    assert told["gpu_utilization"] == 40.0
    assert told["peak_memory_bytes"] > 0


USAGE = """
from fasttune.devices.gpu_usage import GpuUsage
[gpu, *_] = detect().gpus
usage = GpuUsage()
answer = [usage.memory(gpu), usage.memory_of(gpu, [41, 42]), usage.percent(gpu), usage.percent_of(gpu, [41, 42])]
answer.append(usage.percent_of(gpu, [41, 42]))
usage.close()
answer.append(usage.memory(gpu))
"""


def test_processes_that_the_driver_knows_are_added_up(ask: Callable[..., Any]) -> None:
    told = ask(USAGE, FAKE_GPUS="1", FAKE_GPU_PROCS="41,7,42", FAKE_PROC_MIB="300", FAKE_BUSY="20")
    assert told == [1 << 20, 600 << 20, 20.0, 40.0, 40.0, None]


def test_where_it_knows_none_of_them_nobody_guesses(ask: Callable[..., Any]) -> None:
    assert ask(USAGE, FAKE_GPUS="1", FAKE_GPU_PROCS="7", FAKE_BUSY="20") == [1 << 20, None, 20.0, None, None, None]
    assert ask(USAGE, FAKE_GPUS="1") == [1 << 20, None, 0.0, None, None, None]


def test_a_driver_that_lacks_a_call_or_is_lost_costs_the_figure(ask: Callable[..., Any]) -> None:
    missing = "nvmlDeviceGetUtilizationRates,nvmlDeviceGetProcessUtilization,nvmlDeviceGetComputeRunningProcesses_v3"
    assert ask(USAGE, FAKE_GPUS="1", FAKE_MISSING=missing)[1:] == [None] * 5
    code = "from fasttune.devices.gpu_usage import GpuUsage\nfrom fasttune.devices.gpus import Gpu\n"
    code += "answer = GpuUsage().memory(Gpu('GPU-0', 'x', 0, 0))"
    assert ask(code, FAKE_GPUS="1", FAKE_NVML_INIT="9") is None
