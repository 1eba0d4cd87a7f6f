"""What users write for resources_per_trial means what Ray Tune's users expect, and typos are refused."""

from __future__ import annotations

import math
import pickle

import pytest

from fasttune.devices.resources import PlacementGroupFactory, resolve_resources


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        (None, {"CPU": 1.0}),
        ({}, {"CPU": 1.0}),
        ({"cpu": 2}, {"CPU": 2.0}),
        ({"CPU": 2, "GPU": 0}, {"CPU": 2.0}),
        ({"gpu": 0.5}, {"GPU": 0.5}),
        ({"cpu": 0}, {}),
        ({"cpu": 1, "gpu": True}, {"CPU": 1.0, "GPU": 1.0}),
        ({"cpu": 1, "memory": 2**30}, {"CPU": 1.0, "memory": 2.0**30}),
        ({"cpu": 1, "custom_resources": {"licence": 1}}, {"CPU": 1.0, "licence": 1.0}),
        ({"cpu": 1, "tape": 0.5, "custom_resources": {"disk": 1}}, {"CPU": 1.0, "tape": 0.5, "disk": 1.0}),
        (PlacementGroupFactory([{"CPU": 1}, {"CPU": 2, "GPU": 1}]), {"CPU": 3.0, "GPU": 1.0}),
    ],
)
def test_G1_spellings_of_a_request(given: object, needed: dict[str, float]) -> None:
    assert resolve_resources(given).required_resources == needed


def test_T10_a_function_of_the_config_is_called_with_it() -> None:
    def by_width(config: dict) -> PlacementGroupFactory:
        return PlacementGroupFactory([{"CPU": config["width"]}])

    assert resolve_resources(by_width, {"width": 3}) == PlacementGroupFactory([{"CPU": 3}])
    assert resolve_resources(lambda config: {"cpu": 2}, {}) == PlacementGroupFactory([{"CPU": 2}])
    with pytest.raises(ValueError, match="needs a config"):
        resolve_resources(by_width)
    with pytest.raises(TypeError, match="another function"):
        resolve_resources(lambda config: by_width, {})


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"cpu": -1}, ValueError, r"'CPU' must be a finite number >= 0, got -1"),
        ({"cpu": math.nan}, ValueError, "finite number"),
        ({"gpu": math.inf}, ValueError, "finite number"),
        ({"cpu": "1"}, ValueError, r"'CPU' must be a number >= 0, got '1'"),
        ({"cpu": None}, ValueError, "must be a number"),
        ({"mem": "2GB"}, ValueError, r"'mem' must be a number >= 0, got '2GB'; did you mean 'memory'\?"),
        ({"GPU_MEMORY": "2GB"}, ValueError, r"got '2GB'; did you mean 'gpu_memory'\?"),
        ({"licence": "2GB"}, ValueError, "got '2GB'$"),
        ({"gpu": 1.5}, ValueError, "gpu must be a whole number when it is more than 1, got 1.5"),
        ({"gpu": 0.00001}, ValueError, "at least 0.0001"),
        ({"cpu": 1, "CPU": 2}, ValueError, "given twice"),
        ({"disk": 1, "custom_resources": {"disk": 1}}, ValueError, "'disk' a second time"),
        ({"custom_resources": 3}, TypeError, "custom_resources must be a dict"),
        ({1: 1}, TypeError, "named by a string, got 1"),
        ("cpu", TypeError, "resources must be a dict"),
        (4, TypeError, "resources must be a dict"),
    ],
)
def test_refuses_what_is_no_amount(given: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        resolve_resources(given)


def test_bundles_head_and_strategy() -> None:
    request = PlacementGroupFactory([{"CPU": 2, "GPU": 0}, {"CPU": 1}, {"gpu": 0.5}], strategy="SPREAD")
    assert request.bundles == [{"CPU": 2.0}, {"CPU": 1.0}, {"GPU": 0.5}]
    assert (request.head_cpus, request.head_bundle_is_empty, request.strategy) == (2.0, False, "SPREAD")
    request.bundles[0]["CPU"] = 9
    assert request.required_resources == {"CPU": 3.0, "GPU": 0.5}


@pytest.mark.parametrize("head", [{}, {"CPU": 0}])
def test_an_empty_head_needs_nothing(head: dict) -> None:
    request = PlacementGroupFactory([head, {"CPU": 4}])
    assert request.head_bundle_is_empty
    assert request.head_cpus == 0
    assert request.bundles == [{"CPU": 4.0}]
    assert request != PlacementGroupFactory([{"CPU": 4}])


def test_equal_and_hashed_by_value_and_picklable() -> None:
    first = PlacementGroupFactory([{}, {"CPU": 1, "GPU": 0.5}])
    second = PlacementGroupFactory([{"CPU": 0}, {"gpu": 0.5, "cpu": 1.0}])
    assert first == second
    assert len({first, second}) == 1
    assert first != PlacementGroupFactory([{}, {"CPU": 1, "GPU": 0.5}], "SPREAD")
    assert first != {"CPU": 1}
    assert pickle.loads(pickle.dumps(first)) == first
    assert eval(repr(first)) == first


def test_refuses_bundles_that_are_none() -> None:
    with pytest.raises(ValueError, match="at least one bundle"):
        PlacementGroupFactory([])
    with pytest.raises(ValueError, match="strategy must be one of PACK"):
        PlacementGroupFactory([{}], "TIGHT")
    with pytest.raises(TypeError, match="list of dicts, got one dict"):
        PlacementGroupFactory({"CPU": 1})
    with pytest.raises(TypeError, match="a bundle must be a dict"):
        PlacementGroupFactory([3])
    with pytest.raises(TypeError):
        PlacementGroupFactory([{}], lifetime="detached")
