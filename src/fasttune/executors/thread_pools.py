"""Threads of libraries that were loaded before their process had the environment that says how many.

A worker's environment stands before anything is loaded in it, so what its trials import finds it there. What the server had loaded
for all workers (``preload``, a ``sitecustomize``) has made up its mind, and has to be told.
"""

from __future__ import annotations

import os
import sys

WITH_POOLS = ("numpy", "scipy", "sklearn", "torch")  # what brings libraries of linear algebra or OpenMP


def follow_environment() -> None:
    """What is loaded already uses as many threads as a process that finds this environment when it loads it."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # there may be a number for each level of nesting
    if said.isdecimal() and int(said) and any(name in sys.modules for name in WITH_POOLS):
        set_threads(int(said))


def set_threads(n: int) -> None:
    """Let the libraries that are loaded compute with so many threads: torch by its own function, those of linear algebra and OpenMP by
    threadpoolctl, where that is installed."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(n)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    threadpool_limits(limits=n)
