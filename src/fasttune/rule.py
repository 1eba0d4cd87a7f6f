"""A scheduler's decision rule in its compiled form, as a value that travels to where reports are made."""

from __future__ import annotations

from typing import Any, NamedTuple

from fasttune import _core


class CompiledRule(NamedTuple):
    """``kind`` "none" never stops a trial; "asha" takes the arguments of ``_core.Asha``."""

    kind: str
    time_attr: str = "training_iteration"
    arguments: dict[str, Any] = {}  # noqa: RUF012 - never written to

    @property
    def smooth(self) -> int:
        """1 or -1 when trials are judged by their greatest or least value so far, 0 when by the last."""
        if not self.arguments.get("smooth"):
            return 0
        return 1 if self.arguments["maximise"] else -1

    def nbytes(self, capacity: int) -> int:
        """Bytes of shared memory that the rule needs for ``capacity`` trials; 0 for none."""
        if self.kind == "none":
            return 0
        probe = _core.Asha(capacity=1, **self.arguments)
        return _core.Asha.nbytes(probe.rungs, probe.brackets, capacity)

    def build(self, capacity: int, buffer: Any = None, create: bool = True) -> _core.Asha | None:
        """The rule on ``buffer`` (private memory if None)."""
        if self.kind == "none":
            return None
        return _core.Asha(capacity=capacity, buffer=buffer, create=create, **self.arguments)


NO_RULE = CompiledRule("none")
