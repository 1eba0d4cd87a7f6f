"""These tests need no real checkpoints and no journal."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from fake_source import FakeCheckpoint


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Modules of other floors, replaced; the dict is path -> source, for open_records."""
    on_disk: dict[str, Any] = {}

    checkpoint, opening = ModuleType("fasttune.checkpoint"), ModuleType("fasttune.engine.opening")
    checkpoint.Checkpoint = FakeCheckpoint  # type: ignore[attr-defined]
    opening.open_records = on_disk.__getitem__  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fasttune.checkpoint", checkpoint)
    monkeypatch.setitem(sys.modules, "fasttune.engine.opening", opening)
    return on_disk
