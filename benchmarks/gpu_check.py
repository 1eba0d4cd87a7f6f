"""Check on a real NVIDIA GPU what fasttune promises about GPUs, and print a table of what was seen.

    python -m benchmarks.gpu_check                 about a minute; exit status 1 if a row is not as it should be
    python -m benchmarks.gpu_check --only pinning,fractions

Needs the driver (libcuda, libnvidia-ml) and nothing of CUDA's toolkit; the rows on PyTorch are left out where it is not
installed. Every trial runs in a worker process; the driver process never makes a CUDA context.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from benchmarks.peers.report import machine as computer

import fasttune as tune
from fasttune.devices.gpus import Gpu
from fasttune.devices.machine import detect
from fasttune.utils import wait_for_gpu

GIB = 1 << 30
ROWS, STEPS = 4096, 20  # of networks in one call
PATIENCE = 30.0  # seconds until memory of a process that was killed has to be free again


@dataclass(frozen=True)
class Seen:
    """What a check expects and what it saw."""

    expected: str
    seen: str
    well: bool


SPIN = b"""
.version 6.4
.target sm_70
.address_size 64
.visible .entry spin(.param .u64 flag)
{
    .reg .u64 %address<3>;
    .reg .u32 %value<2>;
    .reg .pred %zero<2>;
    ld.param.u64 %address1, [flag];
    cvta.to.global.u64 %address2, %address1;
AGAIN:
    ld.volatile.global.u32 %value1, [%address2];
    setp.eq.u32 %zero1, %value1, 0;
    @%zero1 bra AGAIN;
    ret;
}
\0"""

Check = Callable[[tuple[Gpu, ...]], Seen]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


# ---------------------------------------------------------------------------------------------------------------------
# What runs in workers


class Cuda:
    """The driver's interface, as far as it is needed: devices that this process sees, a context, memory."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.code: int = self.library.cuInit(0)

    def call(self, name: str, *arguments: Any) -> None:
        code = getattr(self.library, name)(*arguments)
        if code:
            raise OSError(f"{name}: CUDA error {code}")

    def devices(self) -> list[str]:
        """The UUIDs that CUDA shows to this process."""
        if self.code:  # 100: no device
            return []
        count, found = ctypes.c_int(0), []
        self.call("cuDeviceGetCount", ctypes.byref(count))
        for k in range(count.value):
            device, raw = ctypes.c_int(0), (ctypes.c_ubyte * 16)()
            self.call("cuDeviceGet", ctypes.byref(device), k)
            self.call("cuDeviceGetUuid", raw, device)
            found.append(f"GPU-{uuid.UUID(bytes=bytes(raw))}")
        return found

    def take(self, size: int) -> ctypes.c_uint64:
        """A context on the first device, and `size` bytes of its memory, until this process ends; where they are."""
        device, context, pointer = ctypes.c_int(0), ctypes.c_void_p(), ctypes.c_uint64()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer

    def give_back(self, pointer: ctypes.c_uint64) -> None:
        """As the tensors of a trial are given back at its end; the worker and its context live on."""
        self.call("cuMemFree_v2", pointer)

    def spin(self, flag: ctypes.c_uint64) -> None:
        """Launch a kernel that reads a number over and over while it is 0, which it stays, and wait for its end."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuMemsetD8_v2", flag, ctypes.c_ubyte(0), ctypes.c_size_t(4))
        self.call("cuModuleLoadData", ctypes.byref(module), SPIN)
        self.call("cuModuleGetFunction", ctypes.byref(function), module, b"spin")
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(flag))
        sizes = [ctypes.c_uint(1)] * 6  # of the grid, and of its one block
        self.call("cuLaunchKernel", function, *sizes, ctypes.c_uint(0), None, arguments, None)
        self.call("cuCtxSynchronize")


def look(config: dict[str, Any]) -> None:
    began = time.monotonic()
    devices = Cuda().devices()
    time.sleep(config["sleep"])
    tune.report(devices=devices, pid=os.getpid(), began=began, ended=time.monotonic())


def hold_and_die(config: dict[str, Any]) -> None:
    """Takes memory, and dies with it by SIGKILL if the config says so."""
    Cuda().take(config["size"])
    tune.report(used=1)
    if config["dies"]:
        os.kill(os.getpid(), signal.SIGKILL)


def hold(config: dict[str, Any]) -> None:
    Cuda().take(config["size"])
    tune.report(used=1)
    print("held", flush=True)
    time.sleep(600)


def wait_hold_and_die(config: dict[str, Any]) -> None:
    began = time.monotonic()
    wait_for_gpu(target_util=0.05, retry=100, delay_s=0.1)
    waited = time.monotonic() - began
    Cuda().take(config["size"])
    tune.report(waited=waited)
    os.kill(os.getpid(), signal.SIGKILL)


def hold_a_while(config: dict[str, Any]) -> None:
    """Takes memory of its share, and keeps it for a moment."""
    began = time.monotonic()
    cuda = Cuda()
    held = cuda.take(config["size"])
    time.sleep(config["sleep"])
    cuda.give_back(held)
    tune.report(devices=cuda.devices(), began=began, ended=time.monotonic())


def stay(size: int) -> None:
    """Holds memory until it is killed: a stranger."""
    Cuda().take(size)
    print("held", flush=True)
    time.sleep(600)


def see_hold_and_die(config: dict[str, Any]) -> None:
    """Says what was used of its device before it took anything, and dies with its own by SIGKILL."""
    [uuid_of_mine] = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    before = memory_used(Gpu(uuid_of_mine))
    Cuda().take(config["size"])
    tune.report(before=before)
    os.kill(os.getpid(), signal.SIGKILL)


def never_ends(config: dict[str, Any]) -> None:
    """Sits in a kernel, or in Python, with memory; or does what it should."""
    cuda = Cuda()
    flag = cuda.take(config["size"])
    tune.report(began=time.monotonic())
    if config["how"] == "kernel":
        cuda.spin(flag)
    while config["how"] == "python":
        pass
    time.sleep(config["seconds"])
    tune.report(began=time.monotonic())


def network_losses(configs: dict[str, Any], steps: int) -> Iterator[Any]:
    """One small network for each learning rate, all at once: their losses after each step."""
    import torch

    device = torch.device("cuda:0")
    rate = torch.as_tensor(configs["lr"], device=device, dtype=torch.float32).reshape(-1, 1, 1)
    torch.manual_seed(0)
    x = torch.rand(256, 8, device=device).expand(len(rate), 256, 8)
    y = (x**2).sum(2, keepdim=True)
    first = (torch.randn(1, 8, 32, device=device) / 3).repeat(len(rate), 1, 1).requires_grad_()
    last = (torch.randn(1, 32, 1, device=device) / 6).repeat(len(rate), 1, 1).requires_grad_()
    for _ in range(steps):
        losses = ((torch.relu(x @ first) @ last - y) ** 2).mean((1, 2))
        of_first, of_last = torch.autograd.grad(losses.sum(), (first, last))
        with torch.no_grad():
            first -= rate * of_first
            last -= rate * of_last
        yield losses.detach()


@tune.vectorized(size=ROWS)
def networks_at_once(configs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    rows = len(configs["lr"])
    for losses in network_losses(configs, STEPS):
        yield {"loss": losses.cpu().numpy(), "rows": rows}


def one_network(config: dict[str, Any]) -> None:
    for losses in network_losses({"lr": [config["lr"]]}, STEPS):
        tune.report(loss=losses.item())


def train_network(config: dict[str, Any]) -> None:
    import torch

    torch.manual_seed(config["seed"])
    device = torch.device("cuda:0")
    x = torch.rand(4096, 8, device=device)
    y = (x**2).sum(1, keepdim=True)
    model = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    for _ in range(27):
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tune.report(loss=loss.item(), devices=torch.cuda.device_count(), name=torch.cuda.get_device_name(0))


def nothing(config: dict[str, Any]) -> None:
    tune.report(x=1)


# ---------------------------------------------------------------------------------------------------------------------
# The rows


def run(
    trainable: Callable[..., Any], config: dict[str, Any], trials: int, gpu: float | dict[str, Any], **options: Any
) -> tune.ExperimentAnalysis:
    """`gpu`: how much of one each trial asks for, or what else."""
    request = {"cpu": 0, **(gpu if isinstance(gpu, dict) else {"gpu": gpu})}
    return tune.run(
        trainable, config=config, num_samples=trials, resources_per_trial=request, verbose=0, raise_on_failed_trial=False, **options
    )


def most_at_once(rows: list[dict[str, Any]]) -> int:
    moments = sorted([(row["began"], 1) for row in rows] + [(row["ended"], -1) for row in rows])
    running = most = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    return most


def last_results(analysis: tune.ExperimentAnalysis) -> list[dict[str, Any]]:
    return [trial.last_result for trial in analysis.trials]


def whole_results(analysis: tune.ExperimentAnalysis) -> list[dict[str, Any]]:
    """... of trials none of which is to fail: raises what the first one failed with."""
    for trial in analysis.trials:
        if (error := trial.get_error()) is not None:
            raise error
    return last_results(analysis)


def memory_used(gpu: Gpu) -> int:
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
    used = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    pynvml.nvmlShutdown()
    return used


def of_devices() -> set[str]:
    """The device files of NVIDIA's driver that this process has open, or mapped."""
    with open("/proc/self/maps") as maps:
        found = {line.split()[-1] for line in maps}
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {name for name in found if name.startswith("/dev/nvidia")}


def until_free(gpu: Gpu, before: int) -> Iterator[float]:
    """Seconds gone by, until the device uses no more than before (plus what a driver rounds)."""
    began = time.monotonic()
    while memory_used(gpu) > before + GIB // 4:
        gone = time.monotonic() - began
        if gone > PATIENCE:
            return
        time.sleep(0.01)
    yield time.monotonic() - began


@check
def detection(gpus: tuple[Gpu, ...]) -> Seen:
    """NVML, read by the driver process, names the devices that CUDA has."""
    [row] = last_results(run(look, {"sleep": 0}, 1, len(gpus)))
    ours = sorted(gpu.uuid for gpu in gpus)
    return Seen(", ".join(ours), ", ".join(sorted(row["devices"])), ours == sorted(row["devices"]))


@check
def pinning(gpus: tuple[Gpu, ...]) -> Seen:
    """A trial that asks for one GPU sees exactly one, and no two see the same one at the same time."""
    trials = 20 * len(gpus)
    rows = last_results(run(look, {"sleep": 0.01}, trials, 1))
    single = sum(len(row["devices"]) == 1 and row["devices"][0] in {gpu.uuid for gpu in gpus} for row in rows)
    crowd = max(most_at_once([row for row in rows if row["devices"] == [gpu.uuid]] or rows[:1]) for gpu in gpus)
    return Seen(
        f"{trials} of {trials} see one device, 1 at a time on each",
        f"{single} of {trials} see one device, {crowd} at a time on each",
        single == trials and crowd == 1,
    )


@check
def without(gpus: tuple[Gpu, ...]) -> Seen:
    """A trial that asks for no GPU sees none."""
    rows = last_results(run(look, {"sleep": 0}, 8, 0, max_concurrent_trials=4))
    blind = sum(row["devices"] == [] for row in rows)
    return Seen("8 of 8 see none", f"{blind} of 8 see none", blind == 8)


@check
def fractions(gpus: tuple[Gpu, ...]) -> Seen:
    """Trials that ask for a quarter share a device by four, never by five."""
    rows = last_results(run(look, {"sleep": 0.2}, 16 * len(gpus), 0.25))
    most = max(most_at_once([row for row in rows if row["devices"] == [gpu.uuid]] or rows[:1]) for gpu in gpus)
    return Seen("4 at a time on each", f"{most} at a time on each", most == 4)


@check
def odd_fractions(gpus: tuple[Gpu, ...]) -> Seen:
    """0.15 of a device: six at a time (and not 1 / 0.15 rounded over all devices)."""
    rows = last_results(run(look, {"sleep": 0.2}, 18 * len(gpus), 0.15))
    most = most_at_once(rows)
    return Seen(f"{6 * len(gpus)} at a time", f"{most} at a time", most == 6 * len(gpus))


@check
def no_context(gpus: tuple[Gpu, ...]) -> Seen:
    """The process that calls tune.run holds nothing of a device: NVML may load libcuda, a context keeps the device open."""
    held = sorted(of_devices())
    return Seen("no device file is open or mapped", f"{', '.join(held) or 'no device file'} is open or mapped", not held)


@check
def killed_trial(gpus: tuple[Gpu, ...]) -> Seen:
    """Trials that die by SIGKILL with a quarter of the memory cost themselves; the others get their memory."""
    size = gpus[0].memory_bytes // 4
    before = memory_used(gpus[0])
    analysis = run(hold_and_die, {"size": size, "dies": tune.grid_search([True, False] * 4)}, 1, 1)
    ended = [trial.status for trial in analysis.trials]
    freed = next(until_free(gpus[0], before), None)
    return Seen(
        "4 failed, 4 ended, memory free again",
        f"{ended.count('ERROR')} failed, {ended.count('TERMINATED')} ended, "
        + ("memory NOT free" if freed is None else f"memory free again after {freed:.2f} s"),
        ended.count("ERROR") == 4 and ended.count("TERMINATED") == 4 and freed is not None,
    )


@check
def killed_driver(gpus: tuple[Gpu, ...]) -> Seen:
    """kill -9 of the driver while its trials hold memory: the workers end, the memory comes back."""
    before = memory_used(gpus[0])
    code = f"from benchmarks import gpu_check; gpu_check.run(gpu_check.hold, {{'size': {4 * GIB}}}, 1, 1)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    line = child.stdout.readline()
    held = memory_used(gpus[0]) - before
    child.kill()
    child.wait()
    freed = next(until_free(gpus[0], before), None)
    return Seen(
        "at least 4.0 GiB held, then free again",
        f"{held / GIB:.1f} GiB held, " + ("NOT free again" if freed is None else f"free again after {freed:.2f} s"),
        "held" in line and held >= 4 * GIB and freed is not None,
    )


@check
def waiting(gpus: tuple[Gpu, ...]) -> Seen:
    """Trials that take 60 % of the memory and are killed with it: wait_for_gpu lets the next one begin when it is free."""
    config = {"size": gpus[0].memory_bytes * 6 // 10}
    waited = [row["waited"] for row in last_results(run(wait_hold_and_die, config, 6, 1)) if "waited" in row]
    return Seen(
        "6 of 6 got their memory",
        f"{len(waited)} of 6 got their memory, after {max(waited, default=0.0):.2f} s at most",
        len(waited) == 6,
    )


@check
def by_memory(gpus: tuple[Gpu, ...]) -> Seen:
    """Trials that ask for 30 % of a device's memory each: three at a time."""
    size = gpus[0].memory_bytes
    rows = whole_results(run(hold_a_while, {"size": size // 4, "sleep": 0.5}, 9, {"gpu_memory": size * 3 // 10}, gpus=[0]))
    most = most_at_once(rows)
    return Seen("3 at a time", f"{most} at a time", most == 3)


@check
def stranger(gpus: tuple[Gpu, ...]) -> Seen:
    """... and one at a time beside another program that holds 60 %."""
    size = gpus[0].memory_bytes
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": gpus[0].uuid}
    code = f"from benchmarks import gpu_check; gpu_check.stay({size * 6 // 10})"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environ)
    try:
        assert other.stdout is not None
        line = other.stdout.readline()
        rows = whole_results(run(hold_a_while, {"size": size // 4, "sleep": 0.3}, 3, {"gpu_memory": size * 3 // 10}, gpus=[0]))
    finally:
        other.kill()
        other.wait()
    most = most_at_once(rows)
    return Seen("1 at a time", f"{most} at a time", "held" in line and most == 1)


@check
def given_again(gpus: tuple[Gpu, ...]) -> Seen:
    """Trials that hold 55 % of the memory and die by SIGKILL: the next one begins when that is free."""
    size, before = gpus[0].memory_bytes, memory_used(gpus[0])
    config = {"size": size * 55 // 100}
    analysis = run(see_hold_and_die, config, 6, {"gpu_memory": size * 6 // 10}, gpus=[0])
    above = [row["before"] - before for row in last_results(analysis) if "before" in row]
    free = sum(one < GIB // 4 for one in above)
    return Seen(
        "6 of 6 began with its memory free",
        f"{free} of {len(above)} began with its memory free, at most {max(above, default=0) >> 20:,} MiB more used than before",
        free == 6,
    )


@check
def timeout(gpus: tuple[Gpu, ...]) -> Seen:
    """trial_timeout_s=2 ends a trial that waits for an endless kernel and one in an endless loop; two neighbours finish."""
    size, before = gpus[0].memory_bytes // 10, memory_used(gpus[0])
    config = {"how": tune.grid_search(["kernel", "python", "", ""]), "size": size, "seconds": 1.0}
    analysis = run(never_ends, config, 1, 0.25, trial_timeout_s=2.0, gpus=[0])
    late = time.monotonic() - min(row["began"] for row in last_results(analysis))
    ended = ["trial_timeout_s" in str(trial.stop_reason) for trial in analysis.trials]
    finished = sum(trial.status == "TERMINATED" and trial.last_result["training_iteration"] == 2 for trial in analysis.trials)
    freed = next(until_free(gpus[0], before), None)
    return Seen(
        "2 ended, 2 finished, memory free again",
        f"{sum(ended)} ended, {finished} finished, all over after {late:.1f} s, "
        + ("memory NOT free" if freed is None else f"memory free again after {freed:.2f} s"),
        ended == [True, True, False, False] and finished == 2 and freed is not None,
    )


@check
def vectors(gpus: tuple[Gpu, ...]) -> Seen:
    """4,096 networks in one call of PyTorch (in a process of its own, which has the context), beside trials in workers."""
    code = "from benchmarks import gpu_check; gpu_check.say_vectors()"
    told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    calls, seconds = json.loads(told.splitlines()[-1])
    began = time.monotonic()
    rows = last_results(run(one_network, {"lr": tune.loguniform(1e-4, 1e-1)}, 64, 0.25, gpus=[0]))
    apart = time.monotonic() - began
    well = sum(row.get("training_iteration") == STEPS for row in rows)
    return Seen(
        f"{ROWS:,} rows in one call, 64 of 64 in workers",
        f"{calls:,.0f} rows in one call, {ROWS / seconds:,.0f} rows/s; {well} of 64 in workers, {64 / apart:.1f} trials/s",
        calls == ROWS and well == 64,
    )


def say_vectors() -> None:
    """Print how many rows the call had, and the seconds of a run after one that has warmed up."""
    for _ in range(2):
        began = time.monotonic()
        analysis = tune.run(
            networks_at_once, config={"lr": tune.loguniform(1e-4, 1e-1)}, num_samples=ROWS, metric="loss", mode="min", verbose=0
        )
        seconds = time.monotonic() - began
    print(json.dumps([float(analysis.best_result["rows"]), seconds]))


@check
def pytorch(gpus: tuple[Gpu, ...]) -> Seen:
    """ASHA over a network on cuda:0, four trials on each device."""
    scheduler = tune.schedulers.ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3)
    config = {"lr": tune.loguniform(1e-5, 1e-1), "seed": tune.randint(0, 1000)}
    began = time.monotonic()
    analysis = run(train_network, config, 32, 0.25, metric="loss", mode="min", scheduler=scheduler)
    seconds = time.monotonic() - began
    rows = last_results(analysis)
    well = sum(row.get("devices") == 1 for row in rows)
    full = sum(row.get("training_iteration") == 27 for row in rows)
    return Seen(
        "32 of 32 see one device, some are stopped early",
        f"{well} of 32 see one device, {32 - full} stopped early, {seconds:.1f} s, best loss {analysis.best_result['loss']:.4f}",
        well == 32 and 0 < full < 32,
    )


@check
def throughput(gpus: tuple[Gpu, ...]) -> Seen:
    """Trivial trials with a tenth of a GPU, after one run to warm up: what pinning costs."""

    def rate(gpu: float) -> float:
        began = time.monotonic()
        run(nothing, {"a": tune.uniform(0, 1)}, 20_000, gpu, max_concurrent_trials=10)
        return 20_000 / (time.monotonic() - began)

    rate(0.1)
    plain, pinned = rate(0), rate(0.1)
    return Seen("at least half of the rate without", f"{pinned:,.0f} trials/s, {plain:,.0f} without", pinned > plain / 2)


# ---------------------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="rows, by name: " + ",".join(CHECKS))
    only = [name for name in parser.parse_args().only.split(",") if name]
    if unknown := [name for name in only if name not in CHECKS]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    found = detect()
    if not found.gpus:
        raise SystemExit(f"there is no GPU here: {found.gpu_reason}")
    without_torch = () if find_spec("torch") else ("pytorch", "vectors")
    names = [name for name in CHECKS if (name in only or not only) and name not in without_torch]
    print(headline(found.gpus), "\n| row | expected | seen | |\n|---|---|---|---|", sep="\n", flush=True)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FASTTUNE_RESULTS_DIR"] = folder
        for name in names:
            row = outcome(CHECKS[name], found.gpus)
            failures += not row.well
            print(f"| {name} | {row.expected} | {row.seen} | {'yes' if row.well else '**NO**'} |", flush=True)
    print(f"\n{len(names) - failures} of {len(names)} as they should be")
    return 1 if failures else 0


def outcome(function: Check, gpus: tuple[Gpu, ...]) -> Seen:
    """A check that raises is a row that is not well: the others are still wanted."""
    try:
        return function(gpus)
    except Exception as error:
        return Seen("no exception", json.dumps(f"{type(error).__name__}: {error}"), well=False)


def headline(gpus: tuple[Gpu, ...]) -> str:
    import pynvml

    pynvml.nvmlInit()
    driver = pynvml.nvmlSystemGetDriverVersion()
    pynvml.nvmlShutdown()
    where = computer()
    devices = ", ".join(f"{gpu.name} with {gpu.memory_bytes / GIB:.0f} GiB" for gpu in gpus)
    computer_too = f"{where['cores']} CPUs ({where['cpu']}); Python {where['python']}; {where['date']}"
    return f"{len(gpus)} x {devices}; driver {driver}; {computer_too}"


if __name__ == "__main__":
    sys.exit(main())
