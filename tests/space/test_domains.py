"""Domains: bounds, steps, errors, seeds, and the JSON form of a space."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys

import numpy as np
import pytest

import fasttune as tune
from fasttune.error import TuneError
from fasttune.search import sample
from fasttune.space.as_json import from_json_value, space_from_json, space_to_json, to_json_value
from fasttune.space.domains import Categorical, Domain, Float, Integer, SearchSpaceError
from fasttune.space.nested import flatten_dict, merge, unflatten_dict

KEY_CONCEPTS = {
    "uniform": tune.uniform(-5, -1),
    "quniform": tune.quniform(3.2, 5.4, 0.2),
    "loguniform": tune.loguniform(1e-4, 1e-1),
    "qloguniform": tune.qloguniform(1e-4, 1e-1, 5e-5),
    "randn": tune.randn(10, 2),
    "qrandn": tune.qrandn(10, 2, 0.2),
    "randint": tune.randint(-9, 15),
    "qrandint": tune.qrandint(-21, 12, 3),
    "lograndint": tune.lograndint(1, 10),
    "qlograndint": tune.qlograndint(1, 10, 2),
    "choice": tune.choice(["a", "b", "c"]),
}


def thousand(name):
    return KEY_CONCEPTS[name].sample(size=1000, random_state=1)


def is_step(values, q):
    return np.allclose(np.round(values / q) * q, values)


def test_H1_floats_stay_in_their_bounds_and_on_their_steps():
    values = thousand("uniform")
    assert (values >= -5).all()
    assert (values < -1).all()
    values = thousand("quniform")
    assert is_step(values, 0.2)
    assert values.min() == 3.2
    assert values.max() == 5.4
    values = thousand("loguniform")
    assert 1e-4 <= values.min() < 2e-4
    assert 5e-2 < values.max() < 1e-1
    values = thousand("qloguniform")
    assert is_step(values, 5e-5)
    assert values.min() >= 1e-4
    assert values.max() <= 1e-1
    values = thousand("randn")
    assert abs(values.mean() - 10) < 0.2
    assert abs(values.std() - 2) < 0.2
    assert is_step(thousand("qrandn"), 0.2)


def test_H1_every_integer_is_hit():
    assert set(thousand("randint")) == set(range(-9, 15))
    assert set(thousand("qrandint")) == set(range(-21, 13, 3))
    assert set(thousand("lograndint")) == set(range(1, 10))
    assert set(thousand("qlograndint")) == {2, 4, 6, 8, 10}
    assert set(thousand("choice")) == {"a", "b", "c"}


def test_H1_one_sample_is_a_plain_value():
    kinds = [type(domain.sample(random_state=3)) for domain in KEY_CONCEPTS.values()]
    assert kinds == [float] * 6 + [int] * 4 + [str]


def test_H2_qrandint_includes_the_upper_bound_unless_q_is_1():
    assert set(tune.qrandint(0, 3, 1).sample(size=300, random_state=1)) == {0, 1, 2}
    assert set(tune.qrandint(0, 3).sample(size=300, random_state=1)) == {0, 1, 2}
    assert set(tune.qrandint(1, 9, 4).sample(size=300, random_state=1)) == {4, 8}
    assert set(tune.qlograndint(1, 4, 1).sample(size=300, random_state=1)) == {1, 2, 3}
    assert set(tune.randint(0, 3).sample(size=300, random_state=1)) == {0, 1, 2}
    assert tune.randint(2**62, 2**62 + 1).sample() == 2**62


def test_H3_quniform_bounds_must_be_multiples():
    with pytest.raises(ValueError, match=r"upper bound must be a multiple of q \(3\)"):
        Float(0, 32).quantized(3)
    with pytest.raises(ValueError, match="lower bound"):
        tune.quniform(0.1, 1, 0.5)
    with pytest.raises(ValueError, match="bound must be a multiple"):
        tune.qloguniform(1e-4, 1e-1, 4e-5)
    assert 0 <= Float(0, 33).quantized(3).sample() <= 33


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tune.loguniform(0, 1), "lower bound greater than 0"),
        (lambda: tune.loguniform(-4, -1), r"write 10\*\*-4"),
        (lambda: tune.lograndint(0, 10), "lower bound greater than 0"),
        (lambda: tune.uniform(1, 0), "lower must be <= upper"),
        (lambda: tune.uniform(0, math.inf), "finite upper bound"),
        (lambda: Float().uniform(), "finite lower bound"),
        (lambda: tune.uniform(float("nan"), 1), "got nan"),
        (lambda: tune.randint(3, 3), "upper bound is excluded"),
        (lambda: tune.randint(0, 2**70), "64 bits"),
        (lambda: tune.qrandint(1, 2, 3), "no multiple of q"),
        (lambda: tune.quniform(0, 1, 0), "q must be > 0"),
        (lambda: tune.randn(0, 0), "sd, the standard deviation, must be > 0"),
        (lambda: Float(0, 1).normal(), "unbounded"),
        (lambda: tune.choice([]), "must not be empty"),
        (lambda: tune.grid_search([]), "at least one value"),
        (lambda: tune.sample_from(lambda a, b: a), "0 or 1 arguments"),
        (lambda: tune.quniform(0, 1, 0.5).quantized(0.5), "once only"),
        (lambda: tune.uniform(0, 1).uniform(), "has a sampler already"),
    ],
)
def test_wrong_domains_are_a_value_error_that_says_why(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: tune.uniform("a", 1),
        lambda: tune.randint(0.5, 3),
        lambda: tune.choice("abc"),
        lambda: tune.sample_from(3),
    ],
)
def test_wrong_types_are_a_type_error(make):
    with pytest.raises(TypeError):
        make()


def test_a_grid_needs_a_list_of_values():
    with pytest.raises(TuneError, match="expected a list"):
        tune.grid_search(5)
    assert tune.grid_search(range(3)) == {"grid_search": range(3)}


def test_base_is_ignored_with_a_warning():
    with pytest.warns(UserWarning, match="base has no effect"):
        tune.loguniform(1, 10, 2)


def test_domain_methods_give_new_domains():
    domain = Integer(0, 10)
    assert domain.uniform() is not domain
    assert domain.sampler is None
    with pytest.raises(ValueError, match="sampler already"):
        domain.uniform().set_sampler(sample.Uniform())
    assert Categorical([1, 2]).grid().is_grid()
    assert tune.sample_from(lambda: 1).is_function()
    assert len(tune.choice([1, 2])) == 2
    assert tune.choice([1, "x"])[1] == "x"


def test_is_valid_and_domain_str():
    assert tune.uniform(0, 1).is_valid(0.5)
    assert not tune.uniform(0, 1).is_valid(1.5)
    assert not tune.uniform(0, 1).is_valid("x")
    assert tune.randint(0, 3).is_valid(2)
    assert not tune.choice(["a"]).is_valid("b")
    assert tune.choice([np.zeros(2), 3]).is_valid(3)
    assert tune.uniform(0, 1).domain_str == "(0.0, 1.0)"
    assert "LogUniform" in repr(tune.loguniform(1, 2))


def test_choice_keeps_the_types_of_its_elements():
    domain = tune.choice([1.0, "str"])
    assert {type(domain.sample(random_state=seed)) for seed in range(20)} == {float, str}


def test_sample_is_reproducible_from_every_kind_of_random_state():
    domain = tune.uniform(0, 1)
    for make in (int, np.random.default_rng, np.random.RandomState, random.Random, np.int64):
        assert domain.sample(random_state=make(7)) == domain.sample(random_state=make(7))
    np.random.seed(5)
    first = [domain.sample() for _ in range(3)]
    np.random.seed(5)
    assert first == [domain.sample() for _ in range(3)]
    assert len(set(first)) == 3
    with pytest.raises(TypeError, match="random_state"):
        domain.sample(random_state="7")
    with pytest.raises(ValueError, match="random_state"):
        domain.sample(random_state=-1)


def test_user_domains_may_draw_in_python():
    class Coin(Domain):
        def sample(self, config=None, size=1, random_state=None):
            return "heads"

    assert Coin().rule() is None
    assert Coin().sample() == "heads"


def test_the_run_path_needs_no_numpy():
    code = (
        "import sys; before = set(sys.modules)  # some environments load much by themselves\n"
        "from fasttune import space; from fasttune.search import BasicVariantGenerator as B\n"
        "v = B().variants(3, {'a': space.uniform(0, 1), 'b': space.choice([1])}); v.config(0); v.tag(0)\n"
        "v.block(0, 3); space.uniform(0, 1).sample()\n"
        "heavy = {'numpy', 'pandas', 'cloudpickle', 'logging', 'inspect', 'asyncio'}\n"
        "print(sorted((heavy & set(sys.modules)) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_flatten_and_unflatten():
    nested = {"a": {"b": {"c": 1}, "d": [1, {"x": 2}]}, "e": {}, "f": 3}
    flat = {"a/b/c": 1, "a/d": [1, {"x": 2}], "e": {}, "f": 3}
    assert flatten_dict(nested) == flat
    assert unflatten_dict(flat) == nested
    assert flatten_dict(nested, delimiter=".")["a.b.c"] == 1
    with pytest.raises(ValueError, match="must not contain"):
        flatten_dict({"a/b": 1}, prevent_delimiter=True)
    with pytest.raises(ValueError, match="asks for a dict"):
        unflatten_dict({"a": 1, "a/b": 2})


def test_merge_overrides_dict_by_dict_and_shares_nothing():
    constants = {"a": {"b": 1, "c": [2]}, "d": 3}
    merged = merge(constants, {"a": {"b": 9}, "e": 4})
    assert merged == {"a": {"b": 9, "c": [2]}, "d": 3, "e": 4}
    assert merged["a"]["c"] is not constants["a"]["c"]


def test_a_space_survives_json():
    space = {
        **KEY_CONCEPTS,
        "grid": tune.grid_search([1, "x", None, (1, 2), {"k": tune.uniform(0, 1)}]),
        "many": tune.grid_search(range(5)),
        "nested": {"list": [tune.choice([{"a": tune.randn()}, 2])], "tuple": (1, tune.randint(0, 2))},
        "constants": {"nan": float("nan"), "inf": math.inf, "t": True, 1: "int key", "~": "tilde"},
        "grid_choice": Categorical([1, 2]).grid(),
        "plain": Float(0, 1),
        "quantized_plain": Integer(0, 8).quantized(4),
    }
    text = space_to_json(space)
    assert text is not None
    again = space_from_json(text)
    assert repr(again) == repr(space)
    assert space_to_json(again) == text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize(
    "value", [object(), tune.sample_from(lambda: 1), print, type]
)
def test_a_space_with_what_json_cannot_say_has_no_json(value):
    assert space_to_json({"a": [value]}) is None


@pytest.mark.parametrize("value", [np.float64(1), {1, 2}, np.arange(2), (1, 2), b"x"])
def test_values_that_are_no_json_come_back_as_they_were(value):
    again = space_from_json(space_to_json({"a": [value]}))["a"][0]
    assert type(again) is type(value)
    assert np.array_equal(again, value) if isinstance(value, np.ndarray) else again == value


def test_the_text_form_of_numbers_of_numpy_keeps_their_kind():
    value = {"a": np.float64(0.5), "b": np.int64(3), "c": np.bool_(True)}
    form, exact = to_json_value(value)
    assert exact
    again = from_json_value(json.loads(json.dumps(form)))
    assert again == value
    assert [type(one) for one in again.values()] == [type(one) for one in value.values()]


def test_a_function_read_from_json_says_that_its_code_is_gone():
    form, _ = to_json_value(tune.sample_from(lambda: 1))
    with pytest.raises(SearchSpaceError, match="does not hold its code"):
        from_json_value(form).sample()


def test_names_of_ray_tune():
    assert sample.uniform is tune.uniform
    assert sample.Domain is Domain
