"""The stub of each compiled module names everything public that the module has, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from fasttune import _core, _draws, _rules

MADE_BY_CYTHON = {"__reduce_cython__", "__setstate_cython__"}


def public(names: object) -> set[str]:
    return {name for name in names if not name.startswith("_")}  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", [_core, _rules, _draws], ids=["_core", "_rules", "_draws"])
def test_the_stub_is_complete(module: Any) -> None:
    told: dict[str, set[str]] = {}
    stub = Path(module.__file__).with_name(f"{module.__name__.rpartition('.')[2]}.pyi")
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            members = [item.name for item in node.body if isinstance(item, ast.FunctionDef)]
            members += [item.target.id for item in node.body if isinstance(item, ast.AnnAssign)]  # type: ignore[union-attr]
            told[node.name] = public(members)
        elif isinstance(node, ast.FunctionDef):
            told[node.name] = set()
        elif isinstance(node, ast.AnnAssign):
            told[node.target.id] = set()  # type: ignore[union-attr]
    assert set(told) == public(vars(module))
    for name, members in told.items():
        found = getattr(module, name)
        if isinstance(found, type) and not issubclass(found, Exception):
            assert members == public(vars(found)), name
