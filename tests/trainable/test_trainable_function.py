"""Functions as trainables: their forms, names, parameters and resources; and names that stand for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pytest

from fasttune import registry
from fasttune.error import TuneError
from fasttune.trainable import (
    Trainable,
    attached_resources,
    call_form,
    check_function,
    check_trainable,
    copy_containers,
    is_async,
    is_trainable_class,
    trainable_name,
    with_parameters,
    with_resources,
)


def plain(config: dict[str, Any]) -> Any:
    return config


class Model:
    def __call__(self, config: dict[str, Any]) -> Any:
        return config

    def fit(self, config: dict[str, Any]) -> Any:
        return config


class Steps(Trainable):
    def setup(self, config: dict[str, Any], data: Any = None, more: int = 0) -> None:
        self.data, self.more = data, more

    def step(self) -> dict[str, Any]:
        return {"n": len(self.data)}


@pytest.mark.parametrize(
    ("function", "form"),
    [
        (plain, "config"),
        (lambda config: 1, "config"),
        (lambda config, scale=2: 1, "config"),
        (lambda *args: 1, "config"),
        (lambda config, checkpoint_dir=None: 1, "checkpoint_dir"),
        (lambda config, checkpoint_dir: 1, "checkpoint_dir"),
        (lambda config, reporter: 1, "reporter"),
        (functools.partial(lambda config, data: 1, data=3), "config"),
        (functools.partial(lambda data, config: 1, 3), "config"),
        (functools.partial(lambda config, data, checkpoint_dir=None: 1, data=3), "checkpoint_dir"),
        (Model(), "config"),
        (Model().fit, "config"),
        (with_parameters(lambda config, data: 1, data=3), "config"),
        (with_parameters(lambda config, checkpoint_dir=None, data=None: 1, data=3), "checkpoint_dir"),
        (with_resources(with_parameters(lambda config, reporter, x: 1, x=3), {"cpu": 2}), "reporter"),
        (dict, "config"),
    ],
)
def test_call_form(function: Callable[..., Any], form: str) -> None:
    assert call_form(function) == form


@pytest.mark.parametrize(
    "function", [lambda: 1, lambda config, data: 1, lambda config, *, data: 1, lambda a, b, c: 1]
)
def test_wrong_arguments_are_told_at_once(function: Callable[..., Any]) -> None:
    with pytest.raises(
        ValueError, match=r"Unknown argument found in the Trainable function lambda\(.*with_param"
    ):
        check_function(function)


def test_what_is_async() -> None:
    async def train(config: dict[str, Any]) -> None: ...

    async def generator(config: dict[str, Any]) -> Any:
        yield 1

    class Called:
        async def __call__(self, config: dict[str, Any]) -> None: ...

    for function in (train, generator, Called(), functools.partial(train), with_parameters(train)):
        check_function(function)
        assert is_async(function)
    for other in (plain, Called, Model(), Steps, "name", None):
        assert not is_async(other)


def test_T13_names() -> None:
    assert trainable_name(plain) == "plain"
    assert trainable_name(lambda config: 1) == "lambda"
    assert trainable_name(functools.partial(functools.partial(plain))) == "plain"
    assert trainable_name(Model()) == "Model"
    assert trainable_name(Model().fit) == "fit"
    assert trainable_name(Steps) == "Steps"
    assert trainable_name("registered") == "registered"
    assert trainable_name(with_resources(with_parameters(Steps, data=[]), {"cpu": 1})) == "Steps"
    assert trainable_name(with_resources(with_parameters(plain), {"cpu": 1})) == "plain"


def test_what_is_no_trainable() -> None:
    assert is_trainable_class(Steps)
    assert not is_trainable_class(plain)
    check_trainable(plain)
    check_trainable(Steps)
    with pytest.raises(TypeError, match=r"Model is a class that does not derive from tune\.Trainable"):
        check_trainable(Model)
    with pytest.raises(TypeError, match="got 3"):
        check_trainable(3)


def test_T9_function_parameters_come_as_keywords() -> None:
    array = np.zeros(500_000)

    def train(config: dict[str, Any], data: Any, scale: int) -> Any:
        return data is array, len(data) * scale + config["a"]

    assert with_parameters(train, data=array, scale=2)({"a": 1}) == (True, 1_000_001)


def test_T9_one_trial_does_not_see_what_another_did_to_its_containers() -> None:
    data = {"list": [1], "deep": {"set": {1}}}

    def train(config: dict[str, Any], data: Any) -> Any:
        data["list"].append(2)
        data["deep"]["set"].add(2)
        data["new"] = 1
        return data

    bound = with_parameters(train, data=data)
    for _ in range(2):
        assert bound({}) == {"list": [1, 2], "deep": {"set": {1, 2}}, "new": 1}
    assert data == {"list": [1], "deep": {"set": {1}}}


def test_T9_half_a_million_elements_mutation_is_not_seen_by_the_driver() -> None:
    data = list(range(500_000))

    class Mutating(Steps):
        def step(self) -> dict[str, Any]:
            self.data[0] = -1
            return {"n": len(self.data)}

    bound = with_parameters(Mutating, data=data)
    assert bound({}).advance() == {"n": 500_000}
    assert data[0] == 0


def test_T9_class_parameters_come_through_setup() -> None:
    bound = with_parameters(with_parameters(Steps, data=[1, 2, 3]), more=4)
    trainable = bound({"a": 1})
    assert (trainable.advance(), trainable.more, trainable.config) == ({"n": 3}, 4, {"a": 1})
    assert issubclass(bound, Steps)
    assert bound.__name__ == "Steps"


def test_T9_wrong_uses_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"gives \['dta'\] to lambda\(config, data=None\)"):
        with_parameters(lambda config, data=None: 1, dta=3)
    with pytest.raises(ValueError, match="needs a function or a class"):
        with_parameters(Model, data=3)
    with pytest.raises(ValueError, match="needs a function or a class"):
        with_parameters("name", data=3)
    assert with_parameters(lambda config, **rest: rest, data=3)({}) == {"data": 3}


@pytest.mark.parametrize(
    "bind", [lambda t: with_parameters(t, data=[1, 2]), lambda t: with_resources(t, {"cpu": 2})]
)
def test_bound_trainables_travel(bind: Callable[[Any], Any]) -> None:
    def train(config: dict[str, Any], data: Any = None) -> Any:
        return config, data

    function = bind(train)
    there = cloudpickle.loads(cloudpickle.dumps(function))
    assert there({"a": 1}) == function({"a": 1})
    assert (there.__name__, attached_resources(there)) == ("train", attached_resources(function))
    cls = cloudpickle.loads(cloudpickle.dumps(bind(Steps)))
    assert (cls({}).data, attached_resources(cls)) == (bind(Steps)({}).data, attached_resources(function))


PGF = SimpleNamespace(bundles=[{"cpu": 2}])


@pytest.mark.parametrize("resources", [{"cpu": 2, "gpu": 0.5}, PGF, lambda config: {"cpu": config["n"]}])
def test_T10_resources_are_attached_without_touching_the_original(resources: Any) -> None:
    bound = with_resources(plain, resources)
    assert bound({"a": 1}) == {"a": 1}
    assert attached_resources(bound) is resources
    assert attached_resources(with_parameters(bound)) is resources
    assert attached_resources(plain) is None
    assert vars(plain) == {}
    assert attached_resources(with_resources(Model().fit, resources)) is resources


@pytest.mark.parametrize("resources", [{"cpu": 2, "gpu": 0.5}, PGF, lambda config: {"cpu": config["n"]}])
def test_T10_class_resources(resources: Any) -> None:
    bound = with_resources(Steps, resources)
    expected = {"cpu": 3} if callable(resources) else resources
    assert attached_resources(bound) is resources
    assert bound.default_resource_request({"n": 3}) == expected
    assert Steps.default_resource_request({"n": 3}) is None
    assert attached_resources(with_parameters(bound, data=[])) is resources


def test_T10_wrong_uses_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="resources must be a dict"):
        with_resources(plain, 2)
    with pytest.raises(ValueError, match="needs a function or a class"):
        with_resources(Model, {"cpu": 1})


def test_copy_containers_keeps_objects_shape_and_loops() -> None:
    marker, inner = object(), [1, 2]
    loop: dict[str, Any] = {"a": inner, "b": inner, "t": (inner, marker), "s": {1}, "o": marker}
    loop["self"] = loop
    copy = copy_containers(loop)
    assert copy["self"] is copy
    assert copy["a"] is copy["b"] is copy["t"][0]
    assert copy["a"] == inner
    assert copy["a"] is not inner
    assert copy["s"] is not loop["s"]
    assert copy["o"] is copy["t"][1] is marker


# ---- names


@pytest.fixture(autouse=True)
def _empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_trainables", {})
    monkeypatch.setattr(registry, "_envs", {})


@pytest.mark.parametrize("trainable", [plain, Steps, functools.partial(plain), Model(), lambda config: 1])
def test_T13_registered_names_stand_for_their_trainable(trainable: Any) -> None:
    registry.register_trainable("mine", trainable)
    assert registry.get_trainable("mine") is trainable


def test_T13_unknown_names_are_told_with_the_known_ones() -> None:
    with pytest.raises(TuneError, match=r"Unknown trainable 'x'.*none yet"):
        registry.get_trainable("x")
    registry.register_trainable("b", plain)
    registry.register_trainable("a", plain)
    with pytest.raises(TuneError, match=r"Unknown trainable 'x'.*: a, b\."):
        registry.get_trainable("x")


def test_T13_what_cannot_be_registered() -> None:
    with pytest.raises(TypeError, match="does not derive"):
        registry.register_trainable("x", Model)
    with pytest.raises(ValueError, match="Unknown argument found"):
        registry.register_trainable("x", lambda: 1)
    with pytest.raises(TypeError, match="must be text, got 3"):
        registry.register_trainable(3, plain)  # type: ignore[arg-type]


def test_T13_taking_a_name_over_is_told_unless_unwanted() -> None:
    registry.register_trainable("x", plain)
    registry.register_trainable("x", plain)
    with pytest.warns(UserWarning, match="'x' now stands for another trainable"):
        registry.register_trainable("x", Steps)
    registry.register_trainable("x", plain, warn=False)
    assert registry.get_trainable("x") is plain


def test_environments_by_name() -> None:
    registry.register_env("env", plain)
    assert registry.get_env("env") is plain
    with pytest.raises(TuneError, match=r"Unknown environment 'x'; registered: env"):
        registry.get_env("x")
    with pytest.raises(TypeError, match="needs a function"):
        registry.register_env("y", 3)  # type: ignore[arg-type]
