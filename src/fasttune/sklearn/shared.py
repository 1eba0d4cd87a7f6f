"""One object, in one piece of memory, for all worker processes.

As ``tune.with_parameters`` shares what is large (``fasttune.out_of_band``), but for three things: every array is shared, also a
small one; it can only be read, as what joblib hands to scikit-learn's own workers: an estimator that changes its input would
change that of the next candidate; and it is mapped when it is first asked for.
"""

from __future__ import annotations

import os
from typing import Any

from fasttune.executors.program_file import ProgramFile
from fasttune.out_of_band import Buffers, Place, load

_last: tuple[str, Any] | None = None  # this process's object, by the mark of its file: all of a worker's trials have the same


class Shared:
    """Holds ``value``; pickled, it is where the value lies, and what it holds there is read-only.

    The file is written when it is first pickled, so trials in this process cost nothing. ``close`` lets go of it: what is
    mapped by then stays.
    """

    def __init__(self, value: Any) -> None:
        self._value = value
        self._file: ProgramFile | None = None
        self._mark = os.urandom(8).hex()

    def get(self) -> Any:
        """The value."""
        return self._value

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self._file is None:
            from fasttune.script import by_value

            buffers = Buffers(smallest=0)
            self._file = ProgramFile(by_value(self._value, buffers=buffers), buffers.kept)
        return Mapped, (self._file.places, self._mark)


class Mapped:
    """What a :class:`Shared` is in another process: the value is mapped when it is first asked for."""

    def __init__(self, places: list[Place], mark: str) -> None:
        self._places, self._mark = places, mark

    def get(self) -> Any:
        """The value. FileNotFoundError when the process that wrote it has let go of it."""
        import pickle

        global _last
        if _last is None or _last[0] != self._mark:
            _last = self._mark, load(self._places, pickle.loads, writable=False)
        return _last[1]
