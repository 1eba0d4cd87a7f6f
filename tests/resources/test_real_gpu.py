"""On a machine with a real NVIDIA GPU, what we detect is what CUDA sees. Needs the driver, no CUDA toolkit.

Collected only where a real driver answers (conftest.py of this folder). CUDA runs in child processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from fasttune.devices.gpus import detect_gpus
from fasttune.devices.machine import Machine, detect
from fasttune.devices.resources import assign, resolve_resources
from fasttune.devices.trial_process import trial_environ

pytestmark = pytest.mark.gpu

# Prints the UUIDs of the devices that CUDA shows to this process, through the driver library alone.
CUDA_DEVICES = """
import ctypes, json, uuid
cuda = ctypes.CDLL("libcuda.so.1")
code, count, found = cuda.cuInit(0), ctypes.c_int(0), []
if code == 0:
    assert cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
    for k in range(count.value):
        device, raw = ctypes.c_int(0), (ctypes.c_ubyte * 16)()
        assert cuda.cuDeviceGet(ctypes.byref(device), k) == 0
        assert cuda.cuDeviceGetUuid(raw, device) == 0
        found.append("GPU-" + str(uuid.UUID(bytes=bytes(raw))))
print(json.dumps([code, found]))
"""
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def cuda_devices(variables: dict[str, str]) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", CUDA_DEVICES],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    code, found = json.loads(done.stdout)
    return code, found


@pytest.fixture(scope="module")
def machine() -> Machine:
    return detect()


def test_G2_real_gpus_have_uuid_name_and_memory(machine: Machine) -> None:
    assert machine.gpus, machine.gpu_reason
    for gpu in machine.gpus:
        assert gpu.uuid.startswith("GPU-")
        assert gpu.name
        assert gpu.memory_bytes > 2**28
    assert [gpu.index for gpu in machine.gpus] == sorted({gpu.index for gpu in machine.gpus})


def test_G2_cuda_sees_the_same_devices(machine: Machine) -> None:
    code, found = cuda_devices({})
    assert code == 0
    assert sorted(found) == sorted(gpu.uuid for gpu in machine.gpus)


@pytest.mark.parametrize("gpu_id_format", ["uuid", "index"])
@pytest.mark.parametrize("share", [1, 0.25])
def test_G2_a_trial_sees_exactly_its_device(machine: Machine, share: float, gpu_id_format: str) -> None:
    requests = [resolve_resources({"cpu": 0, "gpu": share})] * len(machine.gpus)
    for placement in assign(machine, requests, "spread"):
        assert placement is not None
        variables = trial_environ(placement, os.environ, gpu_id_format=gpu_id_format)
        assert cuda_devices(variables) == (0, [gpu.uuid for gpu, _ in placement.gpus])


def test_G2_a_trial_that_asked_for_none_sees_none(machine: Machine) -> None:
    [placement] = assign(machine, [resolve_resources({"cpu": 1})])
    assert placement is not None
    assert cuda_devices(trial_environ(placement, os.environ)) == (NO_DEVICE, [])


def test_G2_masks_mean_to_us_what_they_mean_to_cuda(machine: Machine) -> None:
    first = machine.gpus[0]
    masks = [first.uuid, first.uuid[:12], str(first.index), "", "-1", f"{first.index},-1", "GPU-ffffffffffff"]
    for mask in [*masks, f"{first.index},{first.index}"]:
        variables = {"CUDA_VISIBLE_DEVICES": mask, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        ours, _ = detect_gpus(variables)
        assert [gpu.uuid for gpu in ours] == cuda_devices(variables)[1], mask


def test_wish_27_detection_creates_no_cuda_context(machine: Machine) -> None:
    """NVML itself may load libcuda (driver 580 does); a context keeps the device's files open and mapped."""
    code = (
        "import os\n"
        "from fasttune.devices.machine import detect\n"
        "print(len(detect().gpus))\n"
        "held = {line.split()[-1] for line in open('/proc/self/maps')}\n"
        "numbers = [fd for fd in os.listdir('/proc/self/fd') if os.path.lexists(f'/proc/self/fd/{fd}')]\n"
        "held |= {os.readlink(f'/proc/self/fd/{fd}') for fd in numbers}\n"
        "print(*(name for name in held if name.startswith('/dev/nvidia')))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(len(machine.gpus))]
