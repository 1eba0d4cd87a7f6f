"""The stub of the core names everything public that the core has, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import fasttune
from fasttune import _core

STUB = Path(fasttune.__file__).with_name("_core.pyi")
MADE_BY_CYTHON = {"__reduce_cython__", "__setstate_cython__"}


def public(names: object) -> set[str]:
    return {name for name in names if not name.startswith("_")}  # type: ignore[attr-defined]


def test_the_stub_is_complete() -> None:
    told: dict[str, set[str]] = {}
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            members = [item.name for item in node.body if isinstance(item, ast.FunctionDef)]
            members += [item.target.id for item in node.body if isinstance(item, ast.AnnAssign)]  # type: ignore[union-attr]
            told[node.name] = public(members)
        elif isinstance(node, ast.FunctionDef):
            told[node.name] = set()
        elif isinstance(node, ast.AnnAssign):
            told[node.target.id] = set()  # type: ignore[union-attr]
    assert set(told) == public(vars(_core))
    for name, members in told.items():
        found = getattr(_core, name)
        if isinstance(found, type) and not issubclass(found, Exception):
            assert members == public(vars(found)), name
