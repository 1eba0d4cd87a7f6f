"""What the replay of an earlier session has met, and no record of it has followed yet."""

from __future__ import annotations


class Unfollowed:
    """Empty while a session runs. What is left of it behind a replay, that session has not lived to do.

    decisions  about reports that waited: trial -> what was decided
    failures   trials that have failed
    retries    those of them that the session was to try again
    ending     the session was being ended: it tried nothing again
    """

    def __init__(self) -> None:
        self.decisions: dict[int, int] = {}
        self.failures: set[int] = set()
        self.retries: set[int] = set()
        self.ending = False

    def answered(self, i: int) -> None:
        """The journal has what came of the decision about trial i."""
        self.decisions.pop(i, None)

    def failed(self, i: int, again: bool) -> None:
        """Trial i has failed; whether it was to be tried again."""
        self.failures.add(i)
        if again:
            self.retries.add(i)

    def requeued(self, i: int) -> bool:
        """Trial i waits again. Whether it does because it had failed."""
        self.ending = False
        self.answered(i)
        self.retries.discard(i)
        had_failed = i in self.failures
        self.failures.discard(i)
        return had_failed

    def take_decisions(self) -> dict[int, int]:
        """Those that no record has followed."""
        decisions, self.decisions = self.decisions, {}
        return decisions

    def take_retries(self) -> list[int]:
        """Trials that the session was killed before it could try again, by number."""
        retries, self.retries = self.retries, set()
        return sorted(retries)
