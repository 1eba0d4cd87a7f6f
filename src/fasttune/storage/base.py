"""The storage contract: append entries, read them back in the same order.

An entry is ``(source, position, data)``: whole records as bytes, the ring they came from (0: the loop itself) and the ring's
position behind them; the positions of a source only grow. A storage does not ask what records mean; only recovery, which reads
the rings that a dead run left, takes the checkpoints out of them. One process writes; :meth:`append` is one transaction: after
it returns, all of its entries survive the death of the process, before it none of them is visible. Errors of the file system
are raised as OSError and leave the storage unchanged, but for those of bringing it to the disk: then the storage takes nothing
more, what it has can be read, and whoever opens it next sees what is there. Not thread-safe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Entry = tuple[int, int, Any]  # source, position, bytes-like data
Held = tuple[int, int, bytes]  # trial, place (step, and attempt << 32), contents of a checkpoint in memory
Key = tuple[int, int]  # trial, place
Aside = tuple[int, str, bytes]  # source, why, records


class Storage(ABC):
    """Where an experiment's journal lives."""

    @abstractmethod
    def append(self, entries: Sequence[Entry], checkpoints: Sequence[Held] = (), dropped: Sequence[Key] = ()) -> None:
        """Store entries in one transaction, in their order; in the same one store ``checkpoints``, each in place of an
        earlier one of its trial and step, and forget those that are ``dropped``."""

    @abstractmethod
    def read(self, after: int = 0) -> Iterator[tuple[int, int, bytes]]:
        """Entries in the order they were appended, the first ``after`` of them left out."""

    @abstractmethod
    def positions(self) -> dict[int, int]:
        """Position behind the last entry of each source."""

    @abstractmethod
    def checkpoint(self, trial: int, step: int) -> bytes | None:
        """A stored checkpoint, None if there is none. JournalError when it is damaged."""

    @abstractmethod
    def checkpoint_keys(self) -> set[Key]:
        """Trial and step of every stored checkpoint."""

    @property
    def last_entry(self) -> int | None:
        """Number of the last entry, for who reads up to it later; None where entries have none."""
        return None

    def set_aside(self, records: Sequence[Aside]) -> None:  # noqa: B027
        """Keep records that fit nowhere, for whoever wants to know what they were; no reading gives them back. A storage
        without a place for them ignores it."""

    def write_table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:  # noqa: B027
        """Replace the table ``trials`` that people read; a storage without tables ignores it."""

    def write_file(self, name: str, text: str) -> None:  # noqa: B027
        """Leave a text file beside the journal, whole or as it was before; a storage without a folder ignores it."""

    def mend(self) -> bool:
        """Put everything from the first damaged entry on aside, so that what is appended next can be read.

        True if there was such an entry. Only for the process that writes.
        """
        return False

    def flush_to_disk(self) -> None:  # noqa: B027
        """Make what was appended survive a power cut as well, where the storage can. OSError with its number and path when
        the disk has failed; then nothing more is taken, since nobody knows what the disk has."""

    def flush_if_due(self) -> None:  # noqa: B027
        """:meth:`flush_to_disk` when enough was appended, or long enough ago. Called in every turn of the loop."""

    def gone(self) -> str | None:
        """Why what is appended is not where it belongs any more, in words: its folder was removed, replaced by another one
        or may not be written; None while all is well. What was opened can still be read."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Release the file; safe to call twice."""
