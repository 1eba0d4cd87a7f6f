"""Every row of the acceptance table has a test in this folder, which is named after it."""

from __future__ import annotations

import re
from pathlib import Path

ROWS = {"T": 14, "H": 10, "R": 14, "A": 13, "C": 15, "N": 7, "L": 5, "K": 6, "F": 7, "G": 3, "P": 4, "I": 1}
# Not here yet; docs/coming_from_ray_tune.md says what to do instead.
NOT_HERE: dict[str, str] = {}


def test_every_row_has_its_test() -> None:
    folder = Path(__file__).parent
    found = set()
    for path in folder.glob("test_*.py"):
        found |= set(re.findall(r"^def test_([A-Z]\d+)_", path.read_text(encoding="utf-8"), re.MULTILINE))
    rows = {f"{letter}{number}" for letter, most in ROWS.items() for number in range(1, most + 1)}
    assert rows - found - set(NOT_HERE) == set()
    assert not found & set(NOT_HERE)


def test_what_is_not_here_has_its_row_in_the_docs() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "coming_from_ray_tune.md").read_text(encoding="utf-8")
    assert [name for name in NOT_HERE.values() if f"`{name}`" not in page] == []
