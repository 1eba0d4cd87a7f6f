"""What is said of executor="ray" before there is a cluster: where Ray is not installed, and of what it does not run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.devices.resources import resolve_resources
from fasttune.executors.ray_wire import actor_options, how_many_fit


def train(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])


def test_it_is_said_how_ray_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"executor='ray' needs the library 'ray', .*pip install 'fasttune\[ray\]'"):
        tune.run(train, config={"x": 1.0}, executor="ray", storage_path=str(tmp_path), verbose=0)
    assert list(tmp_path.glob("*/experiment.db")) == []


@pytest.mark.parametrize("given", [{"gpus": [0]}, {"resources": {"licence": 2}}])
def test_what_is_about_this_machine_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is about this machine, and executor='ray' runs trials on those of a cluster"):
        tune.run(train, config={"x": 1.0}, executor="ray", storage_path=str(tmp_path), verbose=0, **given)


def test_vectorized_functions_are_refused(tmp_path: Path) -> None:
    @tune.vectorized
    def columns(configs: dict[str, Any]) -> dict[str, Any]:
        return {"loss": configs["x"]}

    with pytest.raises(ValueError, match=r"evaluates many trials in one call, which executor='vector' or .* got executor='ray'"):
        tune.run(columns, config={"x": tune.uniform(0, 1)}, executor="ray", storage_path=str(tmp_path), verbose=0)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (None, {"num_cpus": 1.0, "num_gpus": 0.0}),
        ({"cpu": 0}, {"num_cpus": 0.0, "num_gpus": 0.0}),
        ({"cpu": 2, "gpu": 0.25}, {"num_cpus": 2.0, "num_gpus": 0.25}),
        ({"gpu": 2, "memory": 1e9, "licence": 1}, {"num_cpus": 0.0, "num_gpus": 2.0, "memory": 1e9, "resources": {"licence": 1.0}}),
        (tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 2, "GPU": 1}]), {"num_cpus": 3.0, "num_gpus": 1.0}),
    ],
)
def test_a_request_is_one_actor(request_: Any, expected: dict[str, Any]) -> None:
    options = actor_options(resolve_resources(request_))
    assert {name: value for name, value in options.items() if name not in ("max_concurrency", "max_restarts")} == expected


def test_more_than_one_gpu_and_a_part_of_one_is_refused() -> None:
    bundles = tune.PlacementGroupFactory([{"GPU": 1}, {"GPU": 0.5}])
    with pytest.raises(ValueError, match=r"this trial asks for 1\.5 in all: ask for 2, or for less than one"):
        actor_options(bundles)


def test_nodes_hold_as_many_as_the_scarcest_resource_allows() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 3.0}},
        {"Alive": False, "Resources": {"CPU": 100.0, "GPU": 100.0}},
    ]
    held = {2: None, 11: {"cpu": 1}, 5: {"cpu": 2}, 8: {"cpu": 1, "gpu": 0.25}, 0: {"cpu": 9}, 110: {"cpu": 0.1}}
    held[2] = {"gpu": 1}
    assert {how_many_fit(nodes, resolve_resources(asked)): asked for asked in held.values()} == held
