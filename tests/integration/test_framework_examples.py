"""The examples of docs/frameworks.md, each run as a program with fewer trials: what they print ends with the best config."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from example_runs import run_example


def run(name: str, num_samples: int, folder: Path) -> str:
    return run_example(f"{name}.py", folder, "--num-samples", str(num_samples), all_cpus=name != "pipeline_cv")


def test_folds_are_reported_one_by_one(tmp_path: Path) -> None:
    printed = run("pipeline_cv", 4, tmp_path)
    assert re.search(r"fits: \d+; all folds of all configurations take 40", printed)
    assert re.fullmatch(r"best config: \{'components': .*\}", printed.splitlines()[-1])


@pytest.mark.parametrize(
    ("name", "num_samples"),
    [
        pytest.param("xgboost_asha", 4, marks=pytest.mark.slow),
        pytest.param("lightgbm_hyperband", 12, marks=pytest.mark.slow),
        pytest.param("catboost_asha", 3, marks=pytest.mark.boosting),
        pytest.param("pytorch_asha", 4, marks=pytest.mark.torch),
        pytest.param("keras_pbt", 4, marks=pytest.mark.torch),
        pytest.param("lightning_asha", 3, marks=pytest.mark.torch),
        pytest.param("transformers_asha", 3, marks=pytest.mark.torch),
    ],
)
def test_an_example_ends_with_the_best_config(name: str, num_samples: int, tmp_path: Path) -> None:
    printed = run(name, num_samples, tmp_path)
    assert printed.splitlines()[-1].startswith("best config: {")
    if name != "lightgbm_hyperband":  # it tells how far trials got
        assert re.search(r"accuracy (of )?[01]\.\d{3}", printed)
