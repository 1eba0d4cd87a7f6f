"""In a debug build (`make debug`) every test of the core gives back the C memory that it took."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from fasttune import _core, _draws, _rules

COUNTED: list[Any] = [module for module in (_core, _rules, _draws) if hasattr(module, "_allocated")]


@pytest.fixture(autouse=COUNTED != [])
def memory_balanced(results_dir: object) -> Iterator[None]:
    """Blocks and bytes that live behind a test are those before it. What a test's frames and exceptions held is gone then."""
    gc.collect()
    before = [module._allocated() for module in COUNTED]
    yield
    gc.collect()
    after = [module._allocated() for module in COUNTED]
    if after != before:
        left = [
            f"{blocks - had_blocks:+} blocks and {size - had_size:+} bytes of {module.__name__}"
            for module, (blocks, size), (had_blocks, had_size) in zip(COUNTED, after, before, strict=True)
            if (blocks, size) != (had_blocks, had_size)
        ]
        pytest.fail("C memory is not balanced: " + ", ".join(left), pytrace=False)
