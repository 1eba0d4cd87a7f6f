"""The compiled rule that reports are judged by while a run goes on, on the memory that all share who judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasttune.engine.judgements import Judgement
    from fasttune.engine.state import ExperimentState
    from fasttune.executors.base import Executor, Program


class LiveRule:
    """``compiled`` is None where no compiled rule judges."""

    def __init__(self, program: Program, executor: Executor) -> None:
        judges = program.rule.kind != "none" and not program.asks
        self.compiled: Any = executor.shared_rule(program) if judges else None

    def record(self, judgements: Iterable[Judgement]) -> None:
        """What was judged in an earlier session: the rungs are as the journal left them."""
        for judgement in judgements:
            self.compiled.record(*judgement)

    def mend(self, state: ExperimentState, store: Callable[[], None]) -> None:
        """A worker that died while it judged: what it had told nobody was taken back by whoever came to the rung next. If
        its record was visible by then, it counts all the same, once all is in the journal (``store``)."""
        if self.compiled is None or not hasattr(self.compiled, "repair"):
            return
        taken_back = frozenset(self.compiled.repair())
        if taken_back:
            store()
            self.record([judgement for judgement in state.judgements() if judgement[3] in taken_back])
