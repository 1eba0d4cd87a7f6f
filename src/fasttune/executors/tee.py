"""A trial's prints, to files of its folder and still to where they would have gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

from fasttune.plain_files import plain_opener


class Tee:
    """A text stream that writes to two; everything else is the first one's."""

    def __init__(self, shown: TextIO, kept: TextIO) -> None:
        self._shown = shown
        self._kept = kept

    def write(self, text: str) -> int:
        self._kept.write(text)
        return self._shown.write(text)

    def flush(self) -> None:
        self._kept.flush()
        self._shown.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._shown, name)


@contextmanager
def tee(folder: str, out_name: str, err_name: str) -> Iterator[None]:
    """While the block runs, what is printed also goes to these files of ``folder``, appended."""
    with ExitStack() as stack:
        out = stack.enter_context(open(os.path.join(folder, out_name), "a", buffering=1, encoding="utf-8", opener=plain_opener))
        err = out if err_name == out_name else stack.enter_context(
            open(os.path.join(folder, err_name), "a", buffering=1, encoding="utf-8", opener=plain_opener)
        )
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = Tee(before[0], out), Tee(before[1], err)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
