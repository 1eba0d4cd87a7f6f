"""Processes of tests."""

import os
from collections.abc import Callable


def in_child(work: Callable[[], object]) -> int:
    """Run ``work()`` in a fork; its process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid
