"""Waiting for a GPU's memory, on a pretended driver."""

from __future__ import annotations

from typing import Any

import pytest

WAIT = "from fasttune.utils import wait_for_gpu\n"


def test_it_returns_once_the_memory_is_free(ask: Any) -> None:
    """The first look is that of finding the GPU."""
    code = WAIT + "import time\nnaps = []\ntime.sleep = naps.append\nanswer = wait_for_gpu(delay_s=3), naps"
    assert ask(code, FAKE_GPUS="1", FAKE_USED="90,90,50,0") == [True, [3, 3]]
    assert ask(code, FAKE_GPUS="1") == [True, []]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            "wait_for_gpu(retry=2, delay_s=0)",
            "RuntimeError: GPU 0 (GPU-00000000-fa4e-4000-8000-000000000010) uses 90% of its memory",
        ),
        (
            "wait_for_gpu('GPU-0000000', retry=0)",
            "ValueError: gpu_id='GPU-0000000' is not exactly one of the GPUs of this machine",
        ),
        ("wait_for_gpu(7)", "ValueError: gpu_id=7 is not exactly one"),
        ("wait_for_gpu(1.5)", "TypeError: gpu_id must be an index or a UUID"),
        ("wait_for_gpu(target_util=90)", "ValueError: target_util must be a number from 0 to 1, got 90"),
    ],
)
def test_what_cannot_be_waited_for_is_said(ask: Any, call: str, told: str) -> None:
    code = WAIT + f"try: {call}\nexcept Exception as error: answer = f'{{type(error).__name__}}: {{error}}'"
    assert told in ask(code, FAKE_GPUS="2", FAKE_USED="90")


def test_a_trial_waits_for_its_own_gpu(ask: Any) -> None:
    """A trial sees its GPU alone, by its UUID; another one is named by its index all the same."""
    code = (
        WAIT
        + "from fasttune.devices import free_gpu\nanswer = [free_gpu._asked_for(one).index for one in (None, 0, '1', 'GPU-00000001')]"
    )
    assert ask(code, FAKE_GPUS="2", CUDA_VISIBLE_DEVICES="GPU-00000001-fa4e-4000-8000-000000000011") == [1, 0, 1, 1]


def test_without_a_gpu(ask: Any) -> None:
    code = WAIT + "try: wait_for_gpu()\nexcept RuntimeError as error: answer = str(error)"
    assert "there is no GPU to wait for: the NVIDIA driver knows no GPU" in ask(code)
