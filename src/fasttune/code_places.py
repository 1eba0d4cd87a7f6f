"""Functions that travel to workers by value, with where they were written: a trial's traceback names its user's file and
line and shows the source text there.

cloudpickle gives code that it rebuilds no file of its own ("<dynamic-code>", since 3.1.2). Here each code object keeps the
name of its file, and the text of that file travels along once: a notebook's cell is in no file, and a script may have been
edited when a trial fails.
"""

from __future__ import annotations

import io
import linecache
from collections import ChainMap
from functools import cache
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasttune.out_of_band import Buffers

LONGEST_SOURCE = 1 << 20  # characters of a file that travel


def dumps(value: Any, sources: bool, buffers: Buffers | None = None) -> bytes:
    """By cloudpickle; with ``sources`` the text of the files travels along. Large buffers are left to ``buffers``, if that is
    given."""
    file = io.BytesIO()
    _pickler_class()(file, sources, buffers).dump(value)
    return file.getvalue()


@cache
def _pickler_class() -> Any:
    import cloudpickle

    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc, unused-ignore]
        """Gives code objects the place that they have here."""

        def __init__(self, file: io.BytesIO, sources: bool, buffers: Buffers | None) -> None:
            self._sources = sources
            self._places: dict[str, tuple[str, str]] = {}
            self._as_usual = cloudpickle.CloudPickler.dispatch_table[CodeType]
            ours: dict[type, Any] = {CodeType: self._reduce_code, **({} if buffers is None else buffers.reducers())}
            self.dispatch_table = ChainMap(ours, cloudpickle.CloudPickler.dispatch_table)
            super().__init__(file, protocol=5, buffer_callback=buffers)  # looks for the table

        def _reduce_code(self, code: CodeType) -> tuple[Any, ...]:
            make, args = self._as_usual(code)[:2]
            name = code.co_filename
            place = self._places.get(name)
            if place is None:
                place = self._places[name] = name, source_of(name) if self._sources else ""
            return code_at, (place, make, args)  # the same place is pickled once

    return Pickler


def source_of(filename: str) -> str:
    """The text of a file, or of a cell that has none; "" when nobody knows it."""
    text = "".join(linecache.getlines(filename))
    return text if len(text) <= LONGEST_SOURCE else ""


def code_at(place: tuple[str, str], make: Any, args: tuple[Any, ...]) -> CodeType:
    """The code object, in its place."""
    filename, source = place
    if source and filename not in linecache.cache:
        # without a time of change: it is never looked for on the disk
        linecache.cache[filename] = len(source), None, source.splitlines(keepends=True), filename
    made: CodeType = make(*args)
    return made.replace(co_filename=filename)
