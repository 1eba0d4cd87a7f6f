"""GPUs as a pretended driver shows them: names, broken drivers, lost devices, restricted parents."""

from __future__ import annotations

from pathlib import Path

import pytest

MIG = "MIG-{:08x}-{:04x}-4000-8000-000000000000"
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
        ({"FAKE_NVML_INIT": "12"}, [], "the NVIDIA driver does not answer: NVML Shared Library Not Found (NVML error 12)"),
        ({"FAKE_NVML_INIT": "13"}, [], "the NVIDIA driver does not answer: Function Not Found (NVML error 13)"),
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


SLICES = "gpus, reason = detect_gpus(os.environ); answer = [[g.uuid for g in gpus], reason]"


@pytest.mark.parametrize(
    ("mask", "devices", "reason"),
    [
        (None, [MIG.format(0, 0), MIG.format(0, 1), UUIDS[1], MIG.format(3, 0)], ""),
        ("1,0", [UUIDS[1], MIG.format(0, 0), MIG.format(0, 1)], " hides 1 of 4 GPUs"),
        (UUIDS[0], [MIG.format(0, 0), MIG.format(0, 1)], " hides 2 of 4 GPUs"),
        (MIG.format(0, 1), [MIG.format(0, 1)], " hides 3 of 4 GPUs"),
        ("MIG-00000003", [MIG.format(3, 0)], " hides 3 of 4 GPUs"),
        ("MIG-00000000", [], " hides 4 of 4 GPUs"),  # fits two
        (f"0,{MIG.format(0, 0)}", [], " hides 4 of 4 GPUs"),  # named twice
        ("2", [], " hides 4 of 4 GPUs"),  # in MIG mode and not cut: nobody can use it
    ],
)
def test_a_gpu_that_is_cut_is_its_slices(ask, mask: str | None, devices: list[str], reason: str) -> None:
    environ = {"FAKE_GPUS": "4", "FAKE_MIG": "2,-,0,1"} | ({} if mask is None else {"CUDA_VISIBLE_DEVICES": mask})
    found, why = ask(SLICES, **environ)
    uncut = "GPU 2 skipped: it is in MIG mode and has no slices (nvidia-smi mig -cgi makes some)"
    assert (found, why) == (devices, uncut + (f"; CUDA_VISIBLE_DEVICES={mask!r}{reason}" if mask is not None else ""))


def test_a_slice_lies_where_its_gpu_does(ask) -> None:
    code = (
        "gpus, _ = detect_gpus(os.environ)\n"
        "answer = [[g.name, g.index, g.memory_bytes, g.cpus, g.parent, g.pci, g.numa] for g in gpus]"
    )
    place = [[4, 5, 6, 7], UUIDS[1], "00000000:02:00.0", 0]
    whole = ["Fake GPU 2", 2, 3 * 2**30, [8, 9, 10, 11], "", "00000000:03:00.0", 1]
    first = ["Fake GPU 0", 0, 2**30, [0, 1, 2, 3], "", "00000000:01:00.0", 0]
    assert ask(code, FAKE_GPUS="3", FAKE_MIG="-,2") == [first, *[["Fake GPU 1 MIG 1g", 1, 2**28, *place]] * 2, whole]


@pytest.mark.parametrize(
    "missing", ["nvmlDeviceGetMigMode", "nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetPciInfo_v3,nvmlDeviceGetNumaNodeId"]
)
def test_a_driver_that_knows_no_slices_has_whole_gpus(ask, missing: str) -> None:
    assert ask(SLICES, FAKE_GPUS="2", FAKE_MIG="-", FAKE_MISSING=missing) == [UUIDS[:2], ""]


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
    gpus, reason, _ = ask("answer = [*_read_nvml(), 0]", driver=tmp_path, new=True)
    if not gpus:
        assert reason.startswith("no NVIDIA driver (")


def test_detection_loads_no_cuda_and_no_framework(ask) -> None:
    code = (
        "import sys; m = detect(); maps = open('/proc/self/maps').read()\n"
        "answer = [len(m.gpus), 'libcuda' in maps, sorted({'torch', 'numpy', 'psutil'} & set(sys.modules))]"
    )
    assert ask(code, new=True, FAKE_GPUS="2") == [2, False, []]


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


def test_the_doctor_says_what_each_device_is_where_it_lies_and_who_uses_it(ask) -> None:
    code = "from fasttune.cli.doctor import devices; answer = [text for name, _, text in devices() if name in ('gpus', '')]"
    said = ask(code, FAKE_GPUS="2", FAKE_MIG="-,1", FAKE_GPU_PROCS="41,42")
    assert said == [
        f"0: Fake GPU 0, 1 GiB, {UUIDS[0]}, PCI 00000000:01:00.0, NUMA node 0, 1 MiB used, processes 41, 42",
        f"1: Fake GPU 1 MIG 1g, 0.25 GiB, {MIG.format(1, 0)}, a slice of {UUIDS[1]}, PCI 00000000:02:00.0, NUMA node 0, "
        "1 MiB used, processes 41, 42",
    ]
    [quiet] = ask(code, FAKE_GPUS="1")
    assert quiet.endswith("1 MiB used, no process computes on it")
    missing = "nvmlDeviceGetComputeRunningProcesses_v3,nvmlDeviceGetPciInfo_v3,nvmlDeviceGetNumaNodeId"
    [mute] = ask(code, FAKE_GPUS="1", FAKE_MISSING=missing)
    assert mute == f"0: Fake GPU 0, 1 GiB, {UUIDS[0]}, 1 MiB used"


def test_detection_and_the_doctor_show_what_lies_between_gpus(ask) -> None:
    code = (
        "from fasttune.cli.doctor import devices\n"
        "answer = [detect().links, [text for name, _, text in devices() if name in ('gpus', '')][4:]]"
    )
    links = ["NVLink: 1-2", "one PCIe switch: 0-1, 2-3", "across NUMA nodes: 0-2, 0-3, 1-3"]
    assert ask(code, FAKE_GPUS="4", FAKE_NVLINK="1-2") == [links, links]
    missing = "nvmlDeviceGetP2PStatus,nvmlDeviceGetTopologyCommonAncestor"
    assert ask(code, FAKE_GPUS="4", FAKE_NVLINK="1-2", FAKE_MISSING=missing) == [[], []]
    assert ask("answer = detect().links", FAKE_GPUS="1") == []
    assert ask("answer = detect(gpus=[2, 3]).links", FAKE_GPUS="4") == ["one PCIe switch: 2-3"]
    assert ask("answer = detect().links", FAKE_GPUS="2", FAKE_MIG="2,-") == []


def test_distances_are_read_by_pairs(ask) -> None:
    code = "from fasttune.devices.gpu_links import read_distances\nanswer = read_distances(detect().gpus)"
    assert ask(code, FAKE_GPUS="3", FAKE_NVLINK="0-2") == [[0, 10, -1], [10, 0, 50], [-1, 50, 0]]
    assert ask(code, FAKE_GPUS="3", FAKE_NVML_INIT="9") == []
    state = "from fasttune.devices.gpu_state import gpu_state\nanswer = gpu_state(Gpu('GPU-00000000-fa4e-4000-8000-000000000010'))"
    assert ask(state, FAKE_GPUS="1", FAKE_MISSING="nvmlDeviceGetMemoryInfo") == [None, None, None, ""]
    assert ask(state, FAKE_GPUS="1", FAKE_NVML_INIT="12") == [None, None, None, ""]
    assert ask(state, FAKE_GPUS="1", FAKE_LOST_GPU="0")[3].endswith(" is lost: GPU is lost (NVML error 15)")
    assert ask(state, FAKE_GPUS="0")[3].endswith(" is lost: Not Found (NVML error 6)")
