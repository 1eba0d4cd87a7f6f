"""Configs as columns against the configs themselves, for random search spaces."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttune as tune
from fasttune import _core
from fasttune.result import flatten
from fasttune.space.plan_columns import PlanColumns
from fasttune.space.variants import Variants
from rounds import rounds

DOMAINS = st.sampled_from(
    [
        tune.uniform(-1, 1),
        tune.loguniform(1e-8, 1e8),
        tune.quniform(-3, 3, 0.25),
        tune.randn(0, 1),
        tune.randint(-(2**62), 2**62),
        tune.randint(0, 3),
        tune.choice(["a", "b/c", "ä", ""]),
        tune.choice([1, 2.0, None, True, 2**80]),
        tune.choice(range(3)),
    ]
)
CONSTANTS = st.sampled_from([0, 1.5, "x", None, True, (), {}, [], {"k": {"l": 1}}, [1, [2]], (3,)])
KEYS = st.sampled_from(["a", "b", "c", "lr", 3, 4])


def containers(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(parts, min_size=1, max_size=3)
    return st.one_of(st.dictionaries(KEYS, parts, max_size=3), lists, lists.map(tuple), lists.map(tune.choice))


SPACES = st.dictionaries(KEYS, st.recursive(st.one_of(DOMAINS, CONSTANTS), containers, max_leaves=8), max_size=3)
WITH_GRIDS = SPACES.flatmap(
    lambda space: st.booleans().map(lambda grid: {**space, "grid": tune.grid_search([1, {"g": 2}, [3]])} if grid else space)
)


@settings(max_examples=rounds(600), deadline=None)
@given(WITH_GRIDS, st.integers(0, 2**64 - 1), st.lists(st.integers(0, 200), min_size=1, max_size=12, unique=True))
def test_columns_equal_the_configs(space: dict[Any, Any], seed: int, trials: list[int]) -> None:
    variants = Variants(space, 300, seed=seed)
    configs = [flatten(variants.config(i)) for i in trials]
    _, plan = variants.body
    columns = PlanColumns(plan, np.array(trials, dtype=np.int64))
    seen: list[int] = []
    for shape in columns.shapes:
        at = shape.at.tolist()
        seen += at
        assert at == sorted(at)
        assert list(shape.names) == list(configs[at[0]])
        for name in shape.names:
            piece = shape.piece(name)
            assert len(piece) == len(at)
            expected = [configs[k][name] for k in at]
            assert repr(piece.values.tolist()) == repr(expected)
            assert piece.kinds == set(map(type, expected))
        parts = shape.tag_parts()
        texts = _core.texts(len(at), parts) if parts else [""] * len(at)
        assert [f"{trials[k]}_{text}" if text else f"{trials[k]}" for k, text in zip(at, texts, strict=True)] == [
            variants.tag(trials[k]) for k in at
        ]
    assert sorted(seen) == list(range(len(trials)))
    assert [shape.at[0] for shape in columns.shapes] == sorted(shape.at[0] for shape in columns.shapes)
