"""The scorecard is whole: every proof exists, and the documented table has the rows of the registry."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
from scorecard import ROWS, Row

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"


@functools.cache
def tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name[:5] == "test_")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_every_proof_is_a_test(row: Row) -> None:
    assert row.proofs
    for proof in row.proofs:
        file, _, test = proof.partition("::")
        assert (ROOT / file).is_file(), file
        assert not test or test in tests_in(file), proof


def test_there_are_all_34_rows() -> None:
    numbers = [row.number for row in ROWS]
    assert sorted(numbers) == list(range(1, 35))
    assert len(set(numbers)) == len(numbers)


def test_the_page_shows_these_rows() -> None:
    shown = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (\d+) of (\d+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert [(int(number), fault, promise) for number, fault, promise, *_ in shown] == [
        (row.number, row.fault, row.promise) for row in ROWS
    ], "print the table anew: python -m tests.faults"


def test_the_page_shows_no_failure() -> None:
    shown = re.findall(r"^\| (\d+) \| .* \| (\d+) of (\d+) \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert [number for number, passed, run in shown if passed != run or run == "0"] == []
