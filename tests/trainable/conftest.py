from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fasttune import _core
from fasttune.session import CONTINUE
from fasttune.trial_context import TrialContext


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trial runs here."""
    monkeypatch.setattr(_core, "current", lambda: None, raising=False)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], TrialContext]:
    """Makes this thread the class trial of an id, of an experiment in tmp_path/exp."""

    def enter(trial_id: str) -> TrialContext:
        context = TrialContext(
            index=0,
            trial_id=trial_id,
            trial_name=f"Counter_{trial_id}",
            experiment_name="exp",
            experiment_path=str(tmp_path / "exp"),
            trial_dirname=f"Counter_{trial_id}",
            config={},
            resources={"cpu": 2},
            wait=lambda: CONTINUE,
            is_class=True,
        )
        monkeypatch.setattr(_core, "current", lambda: SimpleNamespace(context=context), raising=False)
        return context

    return enter
