"""The rule that tests of real control groups are collected only where this user may make some."""

from __future__ import annotations

import os
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")


def may_make_groups() -> bool:
    """The machine's own group gives its memory controller to those below it, and lets this user make one."""
    try:
        return "memory" in (MOUNT / "cgroup.subtree_control").read_text().split() and os.access(
            MOUNT / "cgroup.procs", os.W_OK
        )
    except OSError:
        return False


collect_ignore = [] if may_make_groups() else ["test_real_memory_groups.py"]
