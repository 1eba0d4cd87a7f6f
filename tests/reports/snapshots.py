"""A reporter that keeps what it is shown."""

from __future__ import annotations

from typing import Any

from fasttune.reporter import LogReporter, StatusSnapshot


class Kept(LogReporter):
    """Keeps each snapshot, and is asked at every turn. ``writes``: it prints its lines as well."""

    def __init__(self, writes: bool = False) -> None:
        super().__init__()
        self.seen: list[StatusSnapshot] = []
        self._writes = writes

    def should_report(self, trials: Any, done: bool = False) -> bool:
        return True

    def report(self, trials: Any, done: bool, *sys_info: Any) -> None:
        self.seen.append(sys_info[0])
        if self._writes:
            super().report(trials, done, *sys_info)
