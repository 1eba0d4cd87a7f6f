"""A debug build checks and counts; a release has nothing of it. `make debug` runs these with a debug build."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from fasttune import _core, _draws, _rules

MODULES: list[Any] = [_core, _rules, _draws]
DEBUG = os.environ.get("FASTTUNE_DEBUG", "") not in ("", "0")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_debug_build_is_one_and_a_release_is_none(module: Any) -> None:
    assert hasattr(module, "_allocated") == hasattr(module, "_check") == DEBUG


if DEBUG:

    @pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
    def test_a_check_that_fails_ends_the_process(module: Any) -> None:
        script = f"from {module.__name__} import _check; _check(True); print('there', flush=True); _check(False)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.returncode) == ("there\n", -signal.SIGABRT)
        assert "Assertion" in done.stderr

    def test_what_is_taken_is_counted_and_what_is_given_back_is_not() -> None:
        before = _core._allocated()
        queue = _core.EventQueue()
        blocks, size = _core._allocated()
        assert blocks - before[0] == 3
        assert size - before[1] > 64 * 16
        del queue
        assert _core._allocated() == before

    def test_mappings_count_as_blocks() -> None:
        before = _core._allocated()
        fd = os.memfd_create("rungs")
        asha = _core.Asha(1, 1, 3, 1, True, stop_last_trials=False, fd=fd)
        asha.judge(0, 1, 0.5)
        assert _core._allocated()[0] - before[0] == 5  # locks, a rung, its levels; a list of blocks of standings, one of these
        del asha
        os.close(fd)
        assert _core._allocated() == before
