"""Random and grid search: order, counts, points, tags, functions, and the journal form of configs."""

from __future__ import annotations

import collections
import json
import math
import pickle

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune.search import BasicVariantGenerator
from fasttune.search.basic_variant import Variants, read_block, read_config
from fasttune.space.domains import Domain, Float, Function, RecursiveDependencyError, SearchSpaceError
from fasttune.space.functions import (
    choice,
    grid_search,
    lograndint,
    loguniform,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
)
from fasttune.space.plan import draw_config
from rounds import rounds


def configs(space, num_samples=1, **options):
    options.setdefault("seed", 1)
    variants = Variants(space, num_samples, **options)
    return [variants.config(i) for i in range(len(variants))]


# --- functions ---


def test_H4_functions_read_the_config_in_both_forms():
    space = {
        "x": 1,
        "y": sample_from(lambda spec: spec.config.x + 1),
        "z": sample_from(lambda config: config["y"] + 1),
        "n": {"deep": sample_from(lambda spec: spec["config"]["n"]["base"] * 10), "base": 4},
        "none": sample_from(lambda: "no arguments"),
        "drawn": uniform(0, 1),
        "half": sample_from(lambda config: config.drawn / 2),
    }
    variants = Variants(space, seed=3)
    config = variants.config(0)
    assert (config["y"], config["z"], config["n"]["deep"], config["none"]) == (2, 3, 40, "no arguments")
    assert config["half"] == config["drawn"] / 2
    assert variants.evaluated_params(0) == {
        "drawn": config["drawn"],
        "half": config["half"],
        "n/deep": 40,
        "none": "no arguments",
        "y": 2,
        "z": 3,
    }
    assert not variants.pure


def test_H4_dependent_chains_are_computed_in_any_order_and_once():
    calls = []

    def after(name):
        def read(config):
            calls.append(name)
            return config[name] + 1

        return read

    space = {"a": sample_from(after("b")), "b": sample_from(after("c")), "c": sample_from(after("d")), "d": 0}
    variants = Variants(space, seed=1)
    assert variants.config(0) == variants.config(0) == {"a": 3, "b": 2, "c": 1, "d": 0}
    assert sorted(calls) == ["b", "c", "d"]


def test_H4_recursion_is_an_error_that_names_the_chain():
    space = {"x": sample_from(lambda c: c["y"]), "y": sample_from(lambda c: c.config.x)}
    with pytest.raises(RecursiveDependencyError, match="`x` recursively depends on y -> x"):
        configs(space)


def test_H4_functions_see_nested_places_lists_and_views_that_act_like_dicts():
    space = {
        "a": {
            "b": sample_from(lambda c: 5),
            "l": [sample_from(lambda c: c["x"]), 2],
            "t": (sample_from(lambda: 1),),
        },
        "x": 7,
        "read": sample_from(lambda spec: (spec.config.a.b, spec.a.l[0], list(spec.a.l), spec.a.t[0])),
        "copy": sample_from(lambda config: dict(**config["a"])),
        "got": sample_from(
            lambda config: (config.get("x"), config.get("missing", 3), sorted(config["a"].keys()))
        ),
        "slice": sample_from(lambda config: config["a"]["l"][:1]),
    }
    (config,) = configs(space)
    assert config["read"] == (5, 7, [7, 2], 1)
    assert config["copy"] == config["a"] | {"t": [1]}
    assert config["got"] == (7, 3, ["b", "l", "t"])
    assert config["slice"] == [7]
    assert type(config["a"]) is type(config["copy"]) is dict


def test_a_function_that_fails_says_where():
    space = {"a": {"f": sample_from(lambda spec: spec.config.missing)}, "x": 1}
    with pytest.raises(AttributeError, match="has no 'missing'; it has a, x") as caught:
        configs(space)
    assert caught.value.__notes__ == ["while 'a/f' was sampled for trial 0"]


def test_a_function_may_return_domains():
    space = {
        "n": randint(2, 5),
        "f": sample_from(lambda c: {"u": uniform(0, c["n"]), "g": sample_from(lambda d: d["n"])}),
    }
    for config in configs(space, 20):
        assert 0 <= config["f"]["u"] < config["n"] == config["f"]["g"]
    with pytest.raises(SearchSpaceError, match="returned a grid_search"):
        configs({"f": sample_from(lambda: grid_search([1, 2]))})


def test_values_of_functions_are_not_shared_between_configs():
    shared = [1, {"x": 2}]
    variants = Variants({"f": sample_from(lambda: shared)}, seed=1)
    variants.config(0)["f"][1]["x"] = 99
    assert variants.config(0)["f"] == [1, {"x": 2}]


def test_domains_with_python_code_are_pure_functions_of_seed_and_trial():
    class Noise(Domain):
        def sample(self, config=None, size=1, random_state=None):
            return np.random.RandomState(random_state % 2**32).randn()

        def is_valid(self, value):
            return True

    first, second = (configs({"n": Noise(), "m": Noise()}, 3, seed=4) for _ in range(2))
    assert first == second
    assert len({value for config in first for value in config.values()}) == 6


# --- grids ---


def test_H5_grids_cross_with_the_first_in_sorted_order_varying_fastest():
    space = {"foo": grid_search([1, 2, 3]), "bar": grid_search([True, False])}
    variants = Variants(space, 2, seed=1)
    made = [tuple(variants.config(i).values()) for i in range(12)]
    assert made == [(1, True), (1, False), (2, True), (2, False), (3, True), (3, False)] * 2
    assert [variants.tag(i) for i in range(3)] == [
        "0_bar=True,foo=1",
        "1_bar=False,foo=1",
        "2_bar=True,foo=2",
    ]
    assert variants.tag(0, number=41) == "41_bar=True,foo=1"
    assert variants.evaluated_params(1) == {"bar": False, "foo": 1}
    assert list(variants.config(0)) == ["foo", "bar"]


def test_H5_the_order_is_that_of_paths():
    space = {"b": grid_search([0, 1]), "c": {"d": grid_search([0, 1])}, "a": grid_search([0, 1])}
    made = [(c["a"], c["b"], c["c"]["d"]) for c in configs(space)]
    assert made == [(a, b, d) for d in (0, 1) for b in (0, 1) for a in (0, 1)]


def test_H5_tags_show_floats_short_and_nothing_when_nothing_is_sampled():
    variants = Variants(
        {"x": {"lr": grid_search([1e-9])}, "s": grid_search(["a b/c"]), "l": [grid_search([3])]}, seed=1
    )
    assert variants.tag(0) == "0_l_0=3,s=a_b_c,lr=0.0000"
    assert Variants({"x": 1}, seed=1).tag(0) == "0"
    assert Variants({"x": 1}, 3, seed=1).evaluated_params(2) == {}


def test_a_grid_of_any_size_costs_nothing_to_start():
    space = {name: grid_search(range(1000)) for name in "abc"} | {"huge": grid_search(range(10**9))}
    variants = Variants(space, seed=1)
    assert len(variants) == 10**18
    assert variants.config(10**18 - 1) == {"a": 999, "b": 999, "c": 999, "huge": 10**9 - 1}
    with pytest.raises(SearchSpaceError, match="at most 2"):
        Variants({name: grid_search(range(10**9)) for name in "abc"}, seed=1)


def test_random_values_are_new_for_every_trial_of_the_grid():
    made = configs({"g": grid_search([1, 2]), "u": uniform(0, 1)}, 5)
    assert len({config["u"] for config in made}) == 10


def test_H7_constant_grid_search_holds_random_values_within_a_sample():
    made = configs({"g": grid_search([1, 2, 3]), "u": uniform(0, 1)}, 2, constant_grid_search=True)
    values = [config["u"] for config in made]
    assert len(set(values[:3])) == len(set(values[3:])) == 1
    assert values[0] != values[3]


# --- nesting ---


def test_H6_domains_anywhere_in_dicts_lists_and_tuples():
    space = {
        "x": {"y": {"z": uniform(0, 1)}},
        "l": [1, {"k": randint(0, 5)}],
        "t": (choice(["a"]), [choice(["b"])]),
    }
    variants = Variants(space, seed=1)
    config = variants.config(0)
    assert config["t"] == ("a", ["b"])
    assert variants.evaluated_params(0) == {
        "l/1/k": config["l"][1]["k"],
        "t/0": "a",
        "t/1/0": "b",
        "x/y/z": config["x"]["y"]["z"],
    }


def test_H6_options_of_a_choice_may_be_spaces():
    space = {
        "opt": choice(
            [
                {"name": "sgd", "lr": loguniform(1e-3, 1)},
                {"name": "adam", "lr": uniform(2, 3), "b": {"c": randn()}},
            ]
        ),
        "v": choice([uniform(5, 6), "plain", choice([1, 2])]),
    }
    variants = Variants(space, 60, seed=1)
    seen = set()
    for i in range(60):
        config, params = variants.config(i), variants.evaluated_params(i)
        name = config["opt"]["name"]
        assert (config["opt"]["lr"] < 1.5) == (name == "sgd")
        assert params["opt/name"] == name
        assert params["opt/lr"] == config["opt"]["lr"]
        assert ("opt/b/c" in params) == (name == "adam")
        assert params["v"] == config["v"]
        seen |= {name, type(config["v"])}
    assert seen == {"sgd", "adam", float, str, int}


def test_H6_values_of_a_grid_may_be_spaces_and_grids():
    space = {"g": grid_search([{"u": uniform(0, 1), "inner": grid_search([1, 2])}, 3])}
    made = configs(space, 2)
    assert [config["g"] if config["g"] == 3 else config["g"]["inner"] for config in made] == [
        1,
        2,
        3,
        1,
        2,
        3,
    ]
    assert len({config["g"]["u"] for config in made if config["g"] != 3}) == 4
    space = {"a": grid_search([(grid_search([1, 2]), grid_search([3, 4])), [grid_search([5])]])}
    assert [config["a"] for config in configs(space)] == [(1, 3), (2, 3), (1, 4), (2, 4), [5]]


def test_H6_plain_containers_are_whole_values():
    variants = Variants({"layers": grid_search([[32, 32], [64]]), "c": choice([{"a": 1}])}, seed=1)
    assert variants.evaluated_params(0) == {"c": {"a": 1}, "layers": [32, 32]}
    assert variants.tag(0) == "0_c=a_1,layers=32_32"


def test_a_grid_inside_a_choice_is_refused():
    with pytest.raises(SearchSpaceError, match=r"'a/b'.* would depend on chance"):
        Variants({"a": choice([{"b": grid_search([1, 2])}])}, seed=1)


def test_eval_strings_are_refused():
    with pytest.raises(SearchSpaceError, match="eval"):
        Variants({"a": {"eval": "2 + 2"}}, seed=1)


def test_domains_in_named_tuples_are_refused_and_in_other_subclasses_found():
    point = collections.namedtuple("point", "x y")
    with pytest.raises(SearchSpaceError, match="not in the point"):
        Variants({"p": point(uniform(0, 1), 2)}, seed=1)
    ordered = collections.OrderedDict(b=randint(3, 4), a=1)
    assert configs({"p": point(1, 2), "o": ordered}) == [{"p": point(1, 2), "o": {"b": 3, "a": 1}}]


def test_keys_need_not_be_strings():
    variants = Variants({1: uniform(0, 1), "k": {None: grid_search([5]), (1, 2): 3}}, seed=1)
    assert list(variants.evaluated_params(0)) == ["1", "k/None"]
    assert variants.config(0)["k"] == {None: 5, (1, 2): 3}


def test_H10_objects_reach_the_trial_unchanged():
    class Model:
        pass

    model, array, picked = Model(), np.arange(3), Model()
    space = {"m": model, "deep": [{"a": array}], "c": choice([picked]), "f": len, "g": grid_search([model])}
    config = configs(space)[0]
    assert config["m"] is model
    assert config["deep"][0]["a"] is array
    assert config["c"] is picked
    assert config["f"] is len
    assert config["g"] is model


def test_containers_are_new_for_every_config():
    space = {"a": {"l": [1, {"x": (1, [2])}]}, "c": choice([[1, 2]]), "g": grid_search([{"k": []}])}
    variants = Variants(space, seed=1)
    first = variants.config(0)
    first["a"]["l"][1]["x"][1].append(9)
    first["c"].append(9)
    first["g"]["k"].append(9)
    space["a"]["l"].append("later")
    assert variants.config(0) == {"a": {"l": [1, {"x": (1, [2])}]}, "c": [1, 2], "g": {"k": []}}


# --- points_to_evaluate ---

GRIDS = {
    "grid_1": grid_search(["a", "b", "c", "d"]),
    "grid_2": grid_search(["x", "y", "z"]),
    "u": uniform(0, 1),
}


@pytest.mark.parametrize(
    ("points", "first", "total"),
    [
        ([{"grid_1": "b"}], 3, 3 + 60),
        ([{"grid_2": "z"}], 4, 4 + 60),
        ([{"grid_1": "b", "grid_2": "z"}], 1, 1 + 60),
        ([{"grid_1": "b"}, {"grid_2": "z"}, {"grid_1": "b", "grid_2": "z"}], 3, 44),
    ],
)
def test_H8_points_use_up_samples_and_run_the_grids_that_they_leave_open(points, first, total):
    variants = BasicVariantGenerator(points_to_evaluate=points, random_state=1).variants(6, GRIDS)
    assert len(variants) == total
    for i in range(first):
        assert points[0].items() <= variants.config(i).items()
        assert points[0].items() <= variants.evaluated_params(i).items()
    assert len({tuple(list(variants.config(i).values())[:2]) for i in range(first)}) == first
    assert len({variants.config(i)["u"] for i in range(total)}) == total


def test_H8_points_beyond_num_samples_are_all_run():
    points = [{"u": 0.25}, {"u": 0.5}, {"u": 0.75}]
    assert configs({"u": uniform(0, 1)}, 2, points=points) == points


def test_points_may_be_partial_nested_and_name_list_elements():
    space = {"n": {"a": uniform(0, 1), "b": uniform(0, 1)}, "l": [uniform(0, 1), 5], "t": (randint(0, 9), 1)}
    (config,) = configs(space, points=[{"n": {"a": 0.5}, "l/0": 0.25, "t": [3, 1]}])
    assert config["n"]["a"] == 0.5
    assert 0 <= config["n"]["b"] < 1
    assert config["l"] == [0.25, 5]
    assert config["t"] == (3, 1)
    assert configs({"n": {"a": randint(0, 3)}}, points=[{"n/a": 2}]) == [{"n": {"a": 2}}]


def test_points_outside_the_space_warn_and_unknown_keys_are_errors():
    for space, point in [
        ({"u": uniform(0, 1)}, {"u": 3}),
        ({"c": 5}, {"c": 6}),
        ({"g": grid_search([1])}, {"g": 2}),
    ]:
        with pytest.warns(UserWarning, match="outside of its domain"):
            assert configs(space, points=[point]) == [point]
    with pytest.raises(KeyError, match="names 'n/x'"):
        Variants({"n": {"y": 1}}, seed=1, points=[{"n": {"x": 1}}])
    with pytest.raises(KeyError, match="names 'l/2'"):
        Variants({"l": [1, 2]}, seed=1, points=[{"l": {"2": 1}}])


# --- seeds ---


def test_H9_configs_are_reproducible():
    space = {"a": uniform(0, 1), "b": choice(range(1000)), "c": {"d": randn()}}

    def made(random_state):
        variants = BasicVariantGenerator(random_state=random_state).variants(5, space)
        return [variants.config(i) for i in range(5)]

    for make in (int, np.random.default_rng, np.random.RandomState):
        assert made(make(1234)) == made(make(1234))
    assert made(1) != made(2)
    np.random.seed(1000)
    first = made(None)
    np.random.seed(1000)
    assert made(None) == first
    assert made(None) != first


def test_experiments_of_one_generator_have_seeds_of_their_own():
    generator = BasicVariantGenerator(random_state=1)
    first, second = (generator.variants(2, {"a": uniform(0, 1)}) for _ in range(2))
    assert first.config(0) != second.config(0)
    assert generator.total_samples == 4
    generator.variants(-1)
    assert generator.total_samples == 2**63 - 1


def test_A1_generator_takes_the_space_of_the_run_and_checks_its_arguments():
    generator = BasicVariantGenerator(max_concurrent=4)
    assert generator.max_concurrent == 4
    assert generator.set_search_properties("loss", "min", {"a": grid_search([1, 2])})
    assert [generator.variants(1).config(i) for i in range(2)] == [{"a": 1}, {"a": 2}]
    assert generator.set_max_concurrency(2)
    assert generator.max_concurrent == 2
    with pytest.raises(ValueError, match="max_concurrent"):
        BasicVariantGenerator(max_concurrent=-1)
    with pytest.raises(TypeError, match="list of dicts"):
        BasicVariantGenerator(points_to_evaluate=[3])
    with pytest.raises(ValueError, match="mode"):
        generator.set_search_properties("loss", "best", {})
    with pytest.raises(TypeError):
        BasicVariantGenerator(max_concurent=1)


def test_endless_and_empty_searches():
    endless = Variants({"a": uniform(0, 1)}, -1, seed=1)
    assert endless.len is None
    assert 0 <= endless.config(10**12)["a"] < 1
    with pytest.raises(TypeError, match="no length"):
        len(endless)
    empty = Variants({"a": 1}, 0, seed=1)
    assert len(empty) == 0
    for i in (0, -1):
        with pytest.raises(IndexError, match="not one of the 0 configs"):
            empty.config(i)
    with pytest.raises(ValueError, match="num_samples"):
        Variants({}, -2, seed=1)


def test_variants_travel_to_workers():
    space = {
        "f": sample_from(lambda c: c["u"] * 2),
        "u": uniform(0, 1),
        "g": grid_search([1, 2]),
        "o": choice([len]),
    }
    variants = Variants(space, 3, seed=9, points=[{"g": 2}])
    again = pickle.loads(cloudpickle.dumps(variants))
    assert [again.config(i) for i in range(5)] == [variants.config(i) for i in range(5)]


def test_draw_config_fills_in_what_a_searcher_left_open():
    config = draw_config(
        {"a": 1, "b": uniform(0, 1), "c": sample_from(lambda c: c["a"] + 1)}, seed=3, trial=7
    )
    assert config["c"] == 2
    assert 0 <= config["b"] < 1
    with pytest.raises(SearchSpaceError, match="not with a searcher"):
        draw_config({"g": grid_search([1, 2])}, seed=1)


# --- journal form ---


def read_all(variants, first, n):
    meta = json.loads(json.dumps(variants.meta()))
    data = variants.block(first, n)
    return read_block(meta, data, first, n), [
        read_config(meta, data, first, n, i) for i in range(first, first + n)
    ]


def test_a_block_holds_nothing_that_can_be_drawn_again():
    variants = Variants(
        {"u": uniform(0, 1), "c": choice(["x", "y"]), "k": {"i": randint(0, 9)}, "const": "z"}, 10, seed=1
    )
    assert variants.columns == ["c", "k/i", "u"]
    assert variants.block(2, 5) == bytes(8)
    params, whole = read_all(variants, 2, 5)
    assert params == [variants.evaluated_params(i) for i in range(2, 7)]
    assert whole == [variants.config(i) for i in range(2, 7)]
    assert variants.block(0, 0) == bytes(8)
    with pytest.raises(IndexError):
        variants.block(8, 3)


def test_earlier_blocks_that_hold_the_drawn_numbers_are_read():
    variants = Variants({"u": uniform(0, 1), "c": choice(["x", uniform(2, 3)])}, 10, seed=1, points=[{"u": 0.5}])
    _, plan = variants.body
    data = variants.block(0, 10) + plan.sampler.block(1, 9)
    meta = variants.meta()
    assert read_block(meta, data, 0, 10) == [variants.evaluated_params(i) for i in range(10)]
    variants.remember(data, 0, 10)
    with pytest.raises(ValueError, match="a block of 9 configs of 3 numbers holds 26 numbers"):
        variants.remember(data[:-8], 0, 10)


def test_blocks_with_points_functions_and_big_integers_are_read_back():
    space = {
        "f": sample_from(lambda c: [c["big"], (c["g"], math.inf)]),
        "big": randint(0, 2**62),
        "g": grid_search([1, 2]),
        "c": choice([{"a": uniform(0, 1)}, sample_from(lambda: "s")]),
    }
    variants = Variants(space, 6, seed=5, points=[{"g": 2}, {"big": 7}])
    assert len(variants) == 1 + 2 + 4 * 2
    for first, n in [(0, 11), (0, 2), (2, 5), (6, 1)]:
        params, whole = read_all(variants, first, n)
        assert params == [variants.evaluated_params(i) for i in range(first, first + n)]
        assert whole == [variants.config(i) for i in range(first, first + n)]


def test_points_come_as_json_rows_before_the_columns():
    variants = Variants({"u": uniform(0, 1), "v": uniform(0, 1)}, 6, seed=5, points=[{"u": 0.5}, {"v": 0.25}])
    for first, n in [(0, 6), (1, 3), (2, 4), (0, 1)]:
        params, _ = read_all(variants, first, n)
        assert params == [variants.evaluated_params(i) for i in range(first, first + n)]


def test_objects_are_read_back_as_their_text():
    class Loud:
        def __str__(self):
            return "LOUD"

    space = {"o": Loud(), "c": choice([Loud(), 1]), "n": np.float64(2.5), "f": sample_from(Loud)}
    variants = Variants(space, 4, seed=1)
    assert not variants.meta()["exact"]
    params, whole = read_all(variants, 0, 4)
    assert {config["o"] for config in whole} == {config["f"] for config in whole} == {"LOUD"}
    assert {row["c"] for row in params} == {"LOUD", 1}
    assert whole[0]["n"] == 2.5


def test_a_resumed_run_rebuilds_its_variants():
    space = {"u": uniform(0, 1), "g": grid_search([1, 2])}
    variants = Variants(space, 3, seed=2**64 - 1, points=[{"u": 0.5}], constant_grid_search=True)
    meta = json.loads(json.dumps(variants.meta()))
    assert meta["exact"]
    again = Variants.from_meta(meta)
    assert [again.config(i) for i in range(6)] == [variants.config(i) for i in range(6)]
    with pytest.raises(SearchSpaceError, match="format"):
        Variants.from_meta(meta | {"format": 99})
    with pytest.raises(SearchSpaceError, match="samples g, u, but the space given samples u"):
        Variants.from_meta(meta, {"u": uniform(0, 1)})


def test_a_resumed_run_does_not_call_functions_again():
    calls = []
    space = {"f": sample_from(lambda: calls.append(1) or len(calls))}
    variants = Variants(space, 3, seed=1)
    data = variants.block(0, 2)
    again = Variants.from_meta(variants.meta(), space)
    again.remember(data, 0, 2)
    assert [again.config(i)["f"] for i in range(3)] == [1, 2, 3]


# --- any space ---

numbers = st.one_of(
    st.just(uniform(-1, 1)),
    st.just(loguniform(1e-3, 1)),
    st.just(quniform(0, 1, 0.25)),
    st.just(randint(-5, 5)),
    st.just(lograndint(1, 100)),
)
constants = st.sampled_from([None, True, 3, 2.5, "text", (1, 2), [], {}])
spaces = st.recursive(
    st.one_of(numbers, constants),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abcde"), inner, max_size=3),
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.lists(inner, min_size=1, max_size=3).map(choice),
    ),
    max_leaves=12,
)
grids = st.lists(spaces, min_size=1, max_size=3).map(grid_search)
roots = st.dictionaries(st.sampled_from("abcdef"), st.one_of(spaces, grids), max_size=4)


def lies_in(value, space):
    """Whether a config, or a part of one, is one of this space."""
    if isinstance(space, dict) and "grid_search" in space:
        return any(lies_in(value, option) for option in space["grid_search"])
    if isinstance(space, Domain):
        if isinstance(space, (Float, Function)) or not hasattr(space, "categories"):
            return space.is_valid(value)
        return any(lies_in(value, option) for option in space.categories)
    if isinstance(space, dict):
        return (
            isinstance(value, dict)
            and list(value) == list(space)
            and all(lies_in(value[k], space[k]) for k in space)
        )
    if isinstance(space, (list, tuple)):
        return type(value) is type(space) and len(value) == len(space) and all(map(lies_in, value, space))
    return value == space and type(value) is type(space)


@given(space=roots, seed=st.integers(0, 2**64 - 1), num_samples=st.integers(1, 3), constant=st.booleans())
@settings(max_examples=rounds(150), deadline=None)
def test_every_config_lies_in_its_space_and_is_read_back_from_the_journal(space, seed, num_samples, constant):
    variants, again = (
        Variants(space, num_samples, seed=seed, constant_grid_search=constant) for _ in range(2)
    )
    n = len(variants)
    made = [variants.config(i) for i in range(n)]
    assert all(lies_in(config, space) for config in made)
    assert made == [again.config(i) for i in range(n)]
    assert variants.meta()["exact"]
    params, whole = read_all(variants, n // 2, n - n // 2)
    assert whole == made[n // 2 :]
    assert params == [variants.evaluated_params(i) for i in range(n // 2, n)]
