"""Row G2: each trial has its own GPU, or its share of one, on a pretended driver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fasttune as tune
import forks

SOURCE = str(Path(tune.__file__).resolve().parent.parent)
STUB = Path(__file__).resolve().parents[1] / "resources" / "stub_nvml.c"

PROGRAM = """
import json, os, sys
import fasttune as tune

def seen(config):
    tune.report(gpu=os.environ.get("CUDA_VISIBLE_DEVICES", "unset"))

if __name__ == "__main__":
    analysis = tune.run(seen, resources_per_trial=json.loads(sys.argv[2]), num_samples=4, storage_path=sys.argv[1], verbose=0)
    print(json.dumps([trial.last_result["gpu"] for trial in analysis.trials]))
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretended")
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    soname = "-Wl,-soname,libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", soname, "-o", folder / "libnvidia-ml.so.1", STUB], check=True)
    return folder


@pytest.mark.parametrize(
    ("request_", "names", "each"),
    [
        ({"cpu": 0.5, "gpu": 1}, {0, 1}, 1),
        ({"cpu": 0.5, "gpu": 0.5}, {0, 1}, 1),
        ({"cpu": 0.5, "gpu": 2}, {0, 1}, 2),
        ({"cpu": 0.5}, set(), 0),
    ],
    ids=["one", "half", "two", "none"],
)
def test_G2_a_trial_sees_the_gpus_that_it_asked_for(tmp_path, driver, request_, names, each):
    script = tmp_path / "train.py"
    script.write_text(PROGRAM)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CUDA_")}
    done = forks.run(
        [sys.executable, str(script), str(tmp_path / "runs"), json.dumps(request_)],
        env={**environ, "PYTHONPATH": SOURCE, "LD_LIBRARY_PATH": str(driver), "FAKE_GPUS": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told) == 4
    devices = [[one for one in gpu.split(",") if one] for gpu in told]
    assert {len(one) for one in devices} == {each}
    uuids = {f"GPU-{k:08x}-fa4e-4000-8000-{k + 16:012x}" for k in names}
    assert {uuid for one in devices for uuid in one} <= uuids
