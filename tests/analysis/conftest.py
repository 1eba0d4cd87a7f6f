"""These tests need no journal."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Modules of other floors, replaced; the dict is path -> source, for open_records."""
    on_disk: dict[str, Any] = {}
    opening = ModuleType("fasttune.engine.opening")
    opening.open_records = on_disk.__getitem__  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fasttune.engine.opening", opening)
    return on_disk
