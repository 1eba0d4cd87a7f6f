"""What the process of a trial is given by its placement: its environment, and the CPUs that it runs on."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fasttune.devices.gpu import Gpu
from fasttune.devices.resources import Placement

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
PINNING_VARIABLES = ("OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")  # whoever sets them places threads himself
AMD_MASKS = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")  # each counts among what ROCm's own leaves


def process_environ(placement: Placement, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a trial's process: this one, with what ``trial_environ`` says. Of AMD's masks one stays: a second would
    count among the devices of the first."""
    one_mask = placement.maker == "amd"
    kept = {name: value for name, value in environ.items() if not (one_mask and name in AMD_MASKS)}
    return {**kept, **trial_environ(placement, environ)}


def trial_environ(
    placement: Placement, environ: Mapping[str, str], *, gpu_id_format: str = "uuid"
) -> dict[str, str]:
    """The variables to set for the process of a trial: its GPUs and how many threads its libraries start.

    A trial that asked for no GPU sees none. Thread counts that the user has set in `environ` stay.

    Args:
        gpu_id_format: "uuid", or "index" for libraries that call int() on CUDA_VISIBLE_DEVICES; a slice (MIG) has no index.
    """
    if gpu_id_format not in ("uuid", "index"):
        raise ValueError(f"gpu_id_format must be 'uuid' or 'index', got {gpu_id_format!r}")
    variables: dict[str, str] = {}
    names = [_name(gpu, gpu_id_format == "index") for gpu, _ in placement.gpus]
    if placement.gpus or placement.hide_gpus:
        if placement.maker == "amd":
            variables["ROCR_VISIBLE_DEVICES"] = ",".join(names)
        elif placement.maker == "nvidia":
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(names)
            if names:
                variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # indices mean the same to CUDA, NVML and nvidia-smi
    threads = str(max(1, int(placement.cpu)))
    variables.update({name: threads for name in THREAD_VARIABLES if name not in environ})
    return variables


def _name(gpu: Gpu, by_index: bool) -> str:
    """What a mask calls it."""
    return str(gpu.index) if (by_index and not gpu.is_slice) or gpu.uuid.startswith("AMD-") else gpu.uuid


def near_cpus(placement: Placement, affinity: Collection[int]) -> tuple[int, ...]:
    """The CPUs next to a trial's GPUs, of those that it may run on; () where it may as well run on all: they are all near, or
    nobody says which are, or they are fewer than it has asked for."""
    if not placement.gpus or not all(gpu.cpus for gpu, _ in placement.gpus):
        return ()
    near = {cpu for gpu, _ in placement.gpus for cpu in gpu.cpus} & set(affinity)
    return tuple(sorted(near)) if placement.cpu <= len(near) < len(affinity) and near else ()


def is_pinned(environ: Mapping[str, str], affinity: Collection[int], allowed: Collection[int]) -> bool:
    """Whether somebody has said already where threads run: by a mask (``taskset``) narrower than what the system allows, or by
    variables of OpenMP."""
    return bool(allowed and set(affinity) < set(allowed)) or any(environ.get(name) for name in PINNING_VARIABLES)
