"""Waiting until a GPU's memory is free: a process that has just ended holds its memory a little longer."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from fasttune.argument import checked_count, checked_number
from fasttune.devices.gpu import Gpu
from fasttune.devices.gpu_state import gpu_state
from fasttune.devices.gpus import detect_gpus, gpus_named


def wait_for_gpu(
    gpu_id: int | str | None = None, target_util: float = 0.01, retry: int = 20, delay_s: float = 5
) -> bool:
    """Returns True as soon as no more than a part of a GPU's memory is used. Call it at the start of a trial that needs all of it.

    Args:
        gpu_id: a UUID or its beginning, or an index in PCI order; of a GPU that is cut (MIG) the UUID of a slice. None: the
            first GPU that this process may see, which in a trial is its own.
        target_util: the part of the memory, 0 to 1, that may be used.
        retry: how often to look again.
        delay_s: seconds between two looks.

    Raises:
        ValueError: there is no such GPU.
        RuntimeError: this machine has none, or its memory is still used after the last look.
    """
    checked_number("target_util", target_util, least=0, most=1)
    checked_count("retry", retry, least=0)
    checked_number("delay_s", delay_s, least=0, finite=True)
    gpu = _asked_for(gpu_id)
    used = _memory_used(gpu)
    for _ in range(retry):
        if used <= target_util:
            break
        time.sleep(delay_s)
        used = _memory_used(gpu)
    if used > target_util:
        raise RuntimeError(
            f"GPU {gpu.index} ({gpu.uuid}) uses {used:.0%} of its memory, more than target_util={target_util:g}, after "
            f"{retry + 1} looks {delay_s:g} s apart: something else runs on it"
        )
    return True


def _asked_for(gpu_id: int | str | None) -> Gpu:
    environ = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES" or gpu_id is None}
    gpus, reason = detect_gpus(environ)
    if not gpus:
        raise RuntimeError(f"wait_for_gpu: there is no GPU to wait for: {reason}")
    if gpu_id is None:
        return gpus[0]
    if isinstance(gpu_id, bool) or not isinstance(gpu_id, (int, str)):
        raise TypeError(f"gpu_id must be an index or a UUID, got {gpu_id!r}")
    fitting = gpus_named(gpus, gpu_id)
    if len(fitting) != 1:
        raise ValueError(f"gpu_id={gpu_id!r} is not exactly one of the GPUs of this machine: {_listed(gpus)}")
    return fitting[0]


def _listed(gpus: Sequence[Gpu]) -> str:
    return ", ".join(f"{gpu.index}: {gpu.uuid} ({gpu.name})" for gpu in gpus)


def _memory_used(gpu: Gpu) -> float:
    """The part of a GPU's memory that is used by anybody. RuntimeError where its driver does not say."""
    state = gpu_state(gpu)
    if state.used is None:
        why = state.lost or "its driver does not say how much memory is used"
        raise RuntimeError(f"wait_for_gpu: GPU {gpu.index} ({gpu.uuid}): {why}")
    return state.used / (gpu.memory_bytes or 1)
