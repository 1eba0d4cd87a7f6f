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

    def build(self, fd: int = -1, create: bool = True) -> _core.Asha | None:
        """The rule on the shared file ``fd`` (in private memory if -1)."""
        if self.kind == "none":
            return None
        return _core.Asha(fd=fd, create=create, **self.arguments)


NO_RULE = CompiledRule("none")
