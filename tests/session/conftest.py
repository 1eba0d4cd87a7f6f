from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_reporter import FakeReporter, make_context

from fasttune import _core, once


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trial runs here, and nobody has been warned yet."""
    monkeypatch.setattr(_core, "current", lambda: None, raising=False)
    once.warn_anew()


@pytest.fixture
def enter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., FakeReporter]:
    """Makes this thread a trial: enter(answers=(..), **changes of the context) -> its reporter."""

    def inside(answers: tuple[int, ...] = (), **changes: Any) -> FakeReporter:
        reporter = FakeReporter(make_context(tmp_path, **changes), answers)
        monkeypatch.setattr(_core, "current", lambda: reporter, raising=False)
        return reporter

    return inside
