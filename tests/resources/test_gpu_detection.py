"""GPUs as a pretended driver shows them: names, broken drivers, lost devices, restricted parents."""

from __future__ import annotations

from pathlib import Path

import pytest

UUIDS = [f"GPU-{k:08x}-fa4e-4000-8000-{k + 16:012x}" for k in range(4)]
OPTIONAL_CALLS = "nvmlDeviceGetName,nvmlDeviceGetMemoryInfo,nvmlDeviceGetCpuAffinity"
DETECT = "gpus, reason = detect_gpus(os.environ); answer = [[g.index for g in gpus], reason]"


def test_G2_detects_names_uuids_memory_and_near_cpus(ask) -> None:
    answer = ask(
        "gpus, reason = detect_gpus(os.environ)\n"
        "answer = [[g.uuid, g.name, g.index, g.memory_bytes, g.cpus] for g in gpus], reason",
        FAKE_GPUS="2",
    )
    assert answer == [
        [
            [UUIDS[0], "Fake GPU 0", 0, 2**30, [0, 1, 2, 3]],
            [UUIDS[1], "Fake GPU 1", 1, 2**31, [4, 5, 6, 7]],
        ],
        "",
    ]


@pytest.mark.parametrize(
    ("environ", "indices", "reason"),
    [
        ({"FAKE_GPUS": "0"}, [], "the NVIDIA driver knows no GPU"),
        ({"FAKE_NVML_INIT": "9"}, [], "the NVIDIA driver does not answer: Driver Not Loaded (NVML error 9)"),
        ({"FAKE_LOST_GPU": "1"}, [0, 2], "GPU 1 skipped: GPU is lost (NVML error 15)"),
        ({"FAKE_MISSING": OPTIONAL_CALLS}, [0, 1, 2], ""),
        (
            {"FAKE_MISSING": "nvmlDeviceGetCount_v2"},
            [],
            "the NVIDIA driver does not list its GPUs: Function Not Found (NVML error 13)",
        ),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, [2, 0], "CUDA_VISIBLE_DEVICES='2,0' hides 1 of 3 GPUs"),
        ({"CUDA_VISIBLE_DEVICES": UUIDS[1]}, [1], f"CUDA_VISIBLE_DEVICES={UUIDS[1]!r} hides 2 of 3 GPUs"),
        ({"CUDA_VISIBLE_DEVICES": ""}, [], "CUDA_VISIBLE_DEVICES is empty, which hides all GPUs"),
        (
            {"CUDA_VISIBLE_DEVICES": "0,1", "FAKE_LOST_GPU": "1"},
            [0],
            "GPU 1 skipped: GPU is lost (NVML error 15); CUDA_VISIBLE_DEVICES='0,1' hides 1 of 2 GPUs",
        ),
    ],
)
def test_G2_what_the_driver_and_the_parent_leave(ask, environ: dict, indices: list[int], reason: str) -> None:
    assert ask(DETECT, **{"FAKE_GPUS": "3", **environ}) == [indices, reason]


def test_a_driver_too_old_is_no_driver_and_says_so(ask, old_driver: Path) -> None:
    reason = "the NVIDIA driver does not answer: Function Not Found (NVML error 13)"
    assert ask(DETECT, driver=old_driver, FAKE_GPUS="3") == [[], reason]


def test_no_driver_costs_no_import_of_pynvml(ask, tmp_path: Path) -> None:
    code = "import sys; gpus, reason = _read_nvml(); answer = [len(gpus), reason, 'pynvml' in sys.modules]"
    gpus, reason, imported = ask(code, driver=tmp_path)
    if not gpus:  # a machine with a real driver has its own say
        assert (reason, imported) == ("no NVIDIA driver (libnvidia-ml.so.1 not found)", False)


def test_an_unusable_library_is_told_apart_from_none(ask, tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("this is no library")
    gpus, reason, _ = ask("answer = [*_read_nvml(), 0]", driver=tmp_path)
    if not gpus:
        assert reason.startswith("no NVIDIA driver (")


def test_detection_loads_no_cuda_and_no_framework(ask) -> None:
    code = (
        "import sys; m = detect(); maps = open('/proc/self/maps').read()\n"
        "answer = [len(m.gpus), 'libcuda' in maps, sorted({'torch', 'numpy', 'psutil'} & set(sys.modules))]"
    )
    assert ask(code, FAKE_GPUS="2") == [2, False, []]


def test_G2_run_gpus_chooses_among_the_visible(ask) -> None:
    code = "m = detect(gpus=[1, 'GPU-00000003']); answer = [[g.index for g in m.gpus], m.gpu_reason]"
    indices, reason = ask(code, FAKE_GPUS="4", CUDA_VISIBLE_DEVICES="3,2,0")
    assert indices == [2, 3]
    assert reason.endswith("chooses 2 of 3 visible GPUs")


def test_wish_9_an_impossible_request_names_request_supply_and_cause(ask) -> None:
    code = (
        "try:\n    check_possible(detect(affinity=[0]), resolve_resources({'cpu': 1, 'gpu': 1}))\n"
        "except ValueError as error:\n    answer = str(error)"
    )
    assert ask(code, FAKE_NVML_INIT="9") == (
        "trial asks gpu=1, this machine has 0 GPUs: "
        "the NVIDIA driver does not answer: Driver Not Loaded (NVML error 9)"
    )


def test_G2_children_see_exactly_their_device_and_stay_inside_their_parents_set(ask) -> None:
    code = (
        "machine = detect()\n"
        "requests = [resolve_resources({'cpu': 0.1, 'gpu': n}) for n in (1, 0.5, 0.5, 1, 0)]\n"
        "answer = [[p and trial_environ(p, os.environ) for p in assign(machine, requests)]]"
    )
    parent = {"FAKE_GPUS": "4", "CUDA_VISIBLE_DEVICES": "3,1"}
    [placements] = ask(code, **parent)
    assert placements[3] is None
    seen = [ask(DETECT, **{**parent, **placements[i]})[0] for i in (0, 1, 2, 4)]
    assert seen == [[3], [1], [1], []]
    grandchild = ask(code, **{**parent, **placements[1]})[0]
    assert {child["CUDA_VISIBLE_DEVICES"] for child in grandchild if child} == {UUIDS[1], ""}
