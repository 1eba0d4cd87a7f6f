"""What the state has decided, and the loop has not fetched yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasttune import _core
from fasttune.engine.instructions import Answer, Happening, Instruction

if TYPE_CHECKING:
    from fasttune.storage.base import Entry


class Outbox:
    """Three lists; who fetches one has all of it.

    Attributes:
        entries: For the journal, before anything is done that builds on them.
        instructions: To be carried out.
        happened: What callbacks may want to hear of.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.instructions: list[Instruction] = []
        self.happened: list[Happening] = []

    def keep(self, data: bytes) -> None:
        """A record of the run's own, for the journal."""
        self.entries.append((0, 0, data))

    def answers(self, i: int) -> bool:
        """Trial i waits for an answer, which is there."""
        return any(isinstance(one, Answer) and one.trial == i for one in self.instructions)

    def let_nobody_go_on(self) -> None:
        """The run ends: who still waits for an answer is stopped by it."""
        self.instructions = [
            one._replace(decision=_core.STOP) if isinstance(one, Answer) and one.decision == _core.CONTINUE else one
            for one in self.instructions
        ]

    def take_entries(self) -> list[Entry]:
        entries, self.entries = self.entries, []
        return entries

    def take_instructions(self) -> list[Instruction]:
        instructions, self.instructions = self.instructions, []
        return instructions

    def take_happenings(self) -> list[Happening]:
        happened, self.happened = self.happened, []
        return happened
