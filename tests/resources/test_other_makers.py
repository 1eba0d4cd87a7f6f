"""GPUs of AMD, counted by the kernel's list of a pretended machine, and of Apple; the one mask that their processes get."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from fasttune.devices.amd_gpus import detect_amd
from fasttune.devices.gpu import Gpu
from fasttune.devices.gpu_state import gpu_state
from fasttune.devices.gpus import detect_others
from fasttune.devices.machine import Machine
from fasttune.devices.resources import assign, resolve_resources
from fasttune.devices.trial_process import process_environ, trial_environ

GIB = 1 << 30


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A machine with a CPU, two GPUs of 64 GiB, and an old one without a name for life."""
    nodes = tmp_path / "sys/class/kfd/kfd/topology/nodes"
    told = [
        {"simd_count": 0, "cpu_cores_count": 64},
        {"simd_count": 440, "unique_id": 0x1234ABCD, "drm_render_minor": 128, "domain": 0, "location_id": 0xC100},
        {"simd_count": 440, "unique_id": 0x99, "drm_render_minor": 129, "domain": 1, "location_id": 0x2308},
        {"simd_count": 64, "unique_id": 0, "drm_render_minor": 130},
    ]
    for k, properties in enumerate(told):
        bank = nodes / str(k) / "mem_banks" / "0"
        bank.mkdir(parents=True)
        (nodes / str(k) / "properties").write_text("".join(f"{name} {value}\n" for name, value in properties.items()) + "odd\n")
        (nodes / str(k) / "name").write_text("gfx90a\n")
        (bank / "properties").write_text(f"heap_type {2 if k == 1 else 1 if k else 0}\nsize_in_bytes {64 * GIB}\n")
    device = tmp_path / "sys/class/drm/renderD128/device"
    device.mkdir(parents=True)
    for name, text in {"product_name": "Instinct", "numa_node": "1", "local_cpulist": "8-11", "mem_info_vram_used": "4096"}.items():
        (device / name).write_text(text + "\n")
    (tmp_path / "sys/class/drm/renderD129/device").mkdir(parents=True)
    (tmp_path / "sys/class/drm/renderD129/device/numa_node").write_text("-1\n")
    return str(tmp_path)


def test_amds_gpus_are_the_nodes_that_compute(root: str) -> None:
    gpus, reason = detect_amd({}, root)
    assert reason == ""
    first, second, old = gpus
    assert first == Gpu(
        "GPU-000000001234abcd", "Instinct", 0, 64 * GIB, (8, 9, 10, 11), pci="0000:c1:00.0", numa=1, maker="amd", vram=first.vram
    )
    assert (second.uuid, second.name, second.pci) == ("GPU-0000000000000099", "gfx90a", "0001:23:01.0")
    assert (second.numa, second.cpus) == (None, ())
    assert (old.uuid, old.index, old.pci) == ("AMD-2", 2, "")
    assert gpu_state(first).used == 4096
    assert gpu_state(Gpu("GPU-1", maker="amd", vram="/nowhere")).used is None
    assert gpu_state(second).used is None  # and nobody asks NVML


@pytest.mark.parametrize(
    ("environ", "indices"),
    [
        ({"ROCR_VISIBLE_DEVICES": "1,0"}, [1, 0]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-0000000000000099"}, [1]),
        ({"ROCR_VISIBLE_DEVICES": "0,9,1"}, [0]),
        ({"ROCR_VISIBLE_DEVICES": ""}, []),
        ({"ROCR_VISIBLE_DEVICES": "1,2", "HIP_VISIBLE_DEVICES": "1"}, [2]),  # counts among what is left
        ({"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1"}, [0]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [1]),
    ],
)
def test_masks_count_one_behind_the_other(root: str, environ: dict[str, str], indices: list[int]) -> None:
    gpus, reason = detect_amd(environ, root)
    assert [gpu.index for gpu in gpus] == indices
    assert next(iter(environ)) in reason


def test_a_trials_process_gets_one_mask_and_no_other(root: str) -> None:
    gpus, _ = detect_amd({}, root)
    [one, old, none] = assign(Machine((0, 1, 2), (gpus[0], gpus[2])), [resolve_resources({"cpu": 1, "gpu": k}) for k in (1, 1, 0)])
    parent = {"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "0", "GPU_DEVICE_ORDINAL": "0", "HOME": "/"}
    for placement, mask in ((one, "GPU-000000001234abcd"), (old, "2"), (none, "")):
        assert placement is not None
        environ = process_environ(placement, parent)
        assert environ["ROCR_VISIBLE_DEVICES"] == mask
        assert environ.keys() & parent.keys() == {"HOME"}
        assert "CUDA_DEVICE_ORDER" not in environ
    assert one is not None
    assert trial_environ(one, {}, gpu_id_format="index")["ROCR_VISIBLE_DEVICES"] == "0"


def test_memory_of_amds_is_shared_by_the_byte(root: str) -> None:
    gpus, _ = detect_amd({}, root)
    places = assign(Machine((0,), gpus[:1]), [resolve_resources({"cpu": 0, "gpu_memory": "30GiB"})] * 3)
    assert [place is not None for place in places] == [True, True, False]


def test_no_list_of_the_kernels_is_no_gpu(tmp_path: Path) -> None:
    assert detect_others({}, str(tmp_path)) == ((), "")
    (tmp_path / "sys/class/kfd/kfd/topology/nodes").mkdir(parents=True)
    assert detect_others({}, str(tmp_path)) == ((), "")


@pytest.mark.parametrize(("system", "machine", "count"), [("darwin", "arm64", 1), ("darwin", "x86_64", 0), ("linux", "arm64", 0)])
def test_an_apple_chip_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, machine: str, count: int) -> None:
    import os

    uname: Any = type("Uname", (), {"machine": machine})
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(os, "uname", uname)
    gpus, _ = detect_others({}, str(tmp_path))
    monkeypatch.undo()
    assert [gpu.maker for gpu in gpus] == ["apple"] * count
    if count:
        halves = assign(Machine((0, 1, 2), gpus), [resolve_resources({"cpu": 1, "gpu": 0.5})] * 3)
        assert [place is not None for place in halves] == [True, True, False]
        assert halves[0] is not None
        assert not {"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"} & trial_environ(halves[0], {}).keys()
