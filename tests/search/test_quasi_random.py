"""Quasi-random search: even, the same on any number of workers, and an error that says what to install."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import HaltonSearch, QuasiRandomSearch, SobolSearch, create_searcher
from fasttune.space.domains import SearchSpaceError

SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-4, 1.0),
    "kind": tune.choice(["a", "b", {"deep": tune.uniform(0, 1)}]),
    "n": tune.randint(0, 16),
}


def configs(searcher: Any, n: int) -> list[dict[str, Any]]:
    return [searcher.suggest(str(number)) for number in range(n)]


@pytest.mark.parametrize("kind", [SobolSearch, HaltonSearch])
def test_each_stratum_gets_its_share(kind: type[SobolSearch]) -> None:
    """256 points put 16 in each sixteenth of every dimension; random ones miss that by several."""
    made = configs(kind(SPACE, "loss", "min", seed=1), 256)
    logs = Counter(int((math.log10(config["lr"]) + 4) * 4) for config in made)
    assert all(abs(logs[part] - 16) <= 3 for part in range(16)), logs
    assert all(abs(count - 16) <= 3 for count in Counter(config["n"] for config in made).values())


def test_points_go_on_over_the_end_of_a_block() -> None:
    whole = configs(SobolSearch(SPACE, "loss", "min", seed=1), 600)
    assert len({config["lr"] for config in whole}) == 600
    assert whole != configs(SobolSearch(SPACE, "loss", "min", seed=2), 600)


def test_Q7_the_same_configs_for_1_2_and_8_workers(tmp_path: Path) -> None:
    tables = []
    for workers in (1, 2, 8):
        analysis = tune.run(
            lambda config: tune.report({"loss": config["lr"]}),
            config=SPACE,
            search_alg=SobolSearch(seed=7),
            num_samples=40,
            metric="loss",
            mode="min",
            resources_per_trial={"cpu": 1 / workers},
            storage_path=str(tmp_path),
            verbose=0,
        )
        tables.append([trial.config for trial in analysis.trials])
    assert tables[0] == tables[1] == tables[2]


def test_names_and_wrong_arguments() -> None:
    assert isinstance(create_searcher("sobol"), SobolSearch)
    assert create_searcher("Halton", seed=1).sequence == "Halton"
    with pytest.raises(TypeError, match="sed"):
        create_searcher("sobol", sed=1)
    with pytest.raises(ValueError, match="sequence must be one of Sobol, Halton, got 'sobol'"):
        QuasiRandomSearch(sequence="sobol")
    with pytest.raises(SearchSpaceError, match="SobolSearch cannot walk through the grid_search at 'x'"):
        SobolSearch({"x": tune.grid_search([1, 2])}, "loss", "min")


def test_without_scipy_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['scipy'] = None\nfrom fasttune.search import SobolSearch\nSobolSearch()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "SobolSearch needs the library 'scipy', which is not installed: pip install 'fasttune[scipy]'" in done.stderr
