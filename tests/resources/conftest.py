"""A pretended NVIDIA driver, and the rule that tests on a real one are collected only where one answers."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import forks


def real_gpus() -> int:
    """How many GPUs a real driver knows; 0 without one."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() != 0:
            return 0
        count = ctypes.c_uint(0)
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        nvml.nvmlShutdown()
    except (OSError, AttributeError):
        return 0
    return count.value


collect_ignore = [] if real_gpus() else ["test_real_gpu.py"]

Ask = Callable[..., Any]


def compile_stub(folder: Path, *flags: str, name: str = "nvidia-ml", source_name: str = "stub_nvml.c") -> Path:
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    source = Path(__file__).with_name(source_name)
    library = folder / f"lib{name}.so.1"
    soname = f"-Wl,-soname,lib{name}.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", soname, *flags, "-o", library, source], check=True)
    return folder


@pytest.fixture(scope="session")
def fake_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pretended driver."""
    return compile_stub(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="session")
def fake_cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pretended driver with a libcuda."""
    folder = compile_stub(tmp_path_factory.mktemp("cuda"))
    return compile_stub(folder, name="cuda", source_name="stub_cuda.c")


@pytest.fixture(scope="session")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pretended driver that is too old to be initialised."""
    return compile_stub(tmp_path_factory.mktemp("old_driver"), "-DOLD_DRIVER")


@pytest.fixture
def ask(fake_driver: Path) -> Ask:
    """ask(code, driver=folder, **environ): what `code` leaves in `answer`, in a process with the driver; ``new``: that is a new
    interpreter."""

    def ask(code: str, driver: Path = fake_driver, new: bool = False, **environ: str) -> Any:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "FAKE_"))}
        paths = {"LD_LIBRARY_PATH": str(driver), "PYTHONPATH": os.pathsep.join(sys.path)}
        program = (
            "import json, os\n"
            "from fasttune.devices.gpus import *\n"
            "from fasttune.devices.gpus import _read_nvml\n"
            "from fasttune.devices.machine import *\n"
            "from fasttune.devices.resources import *\n"
            "from fasttune.devices.trial_process import *\n"
            f"{code}\n"
            "print(json.dumps(answer))"
        )
        done = (subprocess.run if new else forks.run)(
            [sys.executable, "-c", program],
            env={**plain, **paths, **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask
