"""Row A12: searchers by name."""

from __future__ import annotations

import importlib.util

import pytest

import fasttune as tune
from fasttune.search import BasicVariantGenerator, SearchAlgorithm, Searcher, create_searcher

NATIVE = ["bohb", "cmaes", "evolution", "gp", "halton", "quasi_random", "sobol", "tpe"]
LIBRARIES = ["bayesopt", "hyperopt", "optuna"]


@pytest.mark.parametrize("name", [*NATIVE, *LIBRARIES, "random", "variant_generator"])
def test_A12_every_name_makes_its_searcher_in_any_case_of_letters(name: str) -> None:
    for spelt in (name, name.upper(), name.title()):
        assert isinstance(create_searcher(spelt), (Searcher, SearchAlgorithm))


def test_A12_arguments_are_passed_on_and_unknown_ones_are_an_error() -> None:
    assert isinstance(create_searcher("random", max_concurrent=2), BasicVariantGenerator)
    assert create_searcher("tpe", metric="loss", mode="min").metric == "loss"
    with pytest.raises(TypeError, match="no_such"):
        create_searcher("tpe", no_such=1)


def test_A12_unknown_names_are_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"search_alg must be one of auto, ax, bayesopt, .*, got 'tepee'"):
        tune.create_searcher("tepee")
    with pytest.raises(TypeError, match="takes a name, got int"):
        tune.create_searcher(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["hebo", "zoopt", "skopt", "dragonfly", "sigopt", "blendsearch", "cfo"])
def test_A12_names_of_ray_tune_that_are_not_here_say_so(name: str) -> None:
    with pytest.raises(ValueError, match=rf"no adapter to the search library '{name}' here .* What to take instead: '\w+'"):
        create_searcher(name)


@pytest.mark.parametrize("name", ["ax", "nevergrad"])
def test_A12_a_library_that_is_not_installed_is_told_how_to_get_it(name: str) -> None:
    if importlib.util.find_spec(name) is not None:
        assert isinstance(create_searcher(name), Searcher)
        return
    with pytest.raises(ImportError, match=rf"pip install 'fasttune\[{name}\]'"):
        create_searcher(name)
