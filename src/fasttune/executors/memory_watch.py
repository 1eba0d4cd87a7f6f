"""Workers whose trials asked for memory are held to it: what each of them and its child processes have is looked at while it runs.

What counts is memory that only the death of a process frees: anonymous memory, shared memory and what of both was swapped out.
Files that are mapped do not count, as the kernel drops their pages when it needs room. Memory that several processes share is
divided by their number (proportional set size), so that what forked children have not written to is not counted again for
each. To know that, the kernel walks the page tables, 25 us for each MiB of small pages here. So the plain counts are read first,
which cannot be less than that and cost 19 us, and the exact ones only where the plain ones are above what was asked for: at most a
twentieth of the time.

What the run shares among its workers (``program_file``) is no trial's. Divided by their number it would be the more the fewer
of them there are, and the last trial of a run would be ended for what its neighbours had had a part in.

Trials that are paused in a worker keep what they have, and nobody can say which page is whose. So a worker may have as much
again for each of them: one that runs beside many could take what they do not need, but none is ended for what the others have.

Where this process may divide its control group, the kernel holds each worker as well: also one that takes all there is between
two looks (``devices/memory_groups.py``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from fasttune.executors.program_file import NAME
from fasttune.once import warn_in_run
from fasttune.out_of_band import SMALLEST
from fasttune.processes import family, orphans, read_small

if TYPE_CHECKING:
    from fasttune.devices.memory_groups import MemoryGroups
    from fasttune.executors.slot import Slot

LOOK_S = 0.1  # how often
REST = 20  # times what it took to count exactly: so long that is not done again for the same worker
MOST_SINGLE = 3  # workers that are replaced after one trial, before that is said
MIB = 1 << 20
PLAIN = (b"RssAnon:", b"RssShmem:", b"VmSwap:")  # in /proc/PID/status
EXACT = (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:")  # in /proc/PID/smaps_rollup
OF_THE_RUN = f"/memfd:{NAME} ".encode()  # in the first line of a mapping of /proc/PID/smaps


class MemoryWatch:
    """Finds the workers that have more than what their trials asked for.

    Args:
        used: bytes that these processes have between them; ``exact``: shared ones divided.
        clock: seconds that never jump.
        groups: where the kernel holds workers to it, if it may be asked to.
    """

    def __init__(
        self,
        used: Callable[[Iterable[int], bool], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        groups: MemoryGroups | None = None,
    ) -> None:
        self._used = memory_of if used is None else used
        self._clock = clock
        self._groups = groups
        self._next = 0.0
        self._single = 0  # workers that were replaced, for what they kept, after their first trial
        self._has_said = False
        self._rests: dict[int, float] = {}  # pid -> until when it is not counted exactly

    def rest(self, seconds: float) -> float:
        """How long the poll may sleep, if that was as long as this."""
        return min(seconds, LOOK_S)

    def hold(self, slot: Slot) -> None:
        """The kernel is to let the worker have what it may have now, and no more."""
        if self._groups is not None and slot.memory and slot.lives:
            self._groups.hold(slot.pid, slot.most_memory)

    def forget(self, slot: Slot) -> str:
        """A worker has ended: why, if the kernel has ended it for its memory."""
        if self._groups is None or not self._groups.forget(slot.pid):
            return ""
        return _said(slot, "it took all at once what the kernel lets it have (memory.max of its control group)", slot.most_memory)

    def close(self) -> None:
        if self._groups is not None:
            self._groups.close()
            self._groups = None

    def look(self, slots: Iterable[Slot], server: int) -> Iterator[tuple[Slot, str]]:
        """The workers that are to be ended, and why, if it is time to look. ``server`` is their parent."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + LOOK_S
        watched = [slot for slot in slots if slot.memory and _runs_a_trial(slot)]
        left = orphans(server, {slot.pid for slot in watched}) if watched else {}
        for slot in watched:
            pids, most = family(slot.pid, *left.get(slot.pid, ())), slot.most_memory
            if self._used(pids, False) > most and (used := self._exactly(slot.pid, pids)) > most:
                yield slot, _said(slot, _used_by(len(pids) - 1, used), used)
            # only now: who has just left may still be freeing what it had
            slot.leaving = [orders for orders in slot.leaving if orders > slot.wire.up.orders]
            self.hold(slot)

    def was_replaced(self, slot: Slot) -> None:
        """A worker was ended between two trials. Says so, once, where what libraries take has it done after every trial."""
        self._single += slot.wear.is_heavy and slot.wear.trials == 1
        if self._single < MOST_SINGLE or self._has_said:
            return
        self._has_said = True
        warn_in_run(
            f"worker processes keep more than half of the {math.ceil(slot.memory / MIB):,} MiB that a trial may have, so each is "
            "replaced after its trial, and loads its libraries anew: trials that ask for more memory share one",
            RuntimeWarning,
            stacklevel=2,
        )

    def _exactly(self, worker: int, pids: list[int]) -> int:
        """What they have, or 0 if that was found out a moment ago."""
        began = self._clock()
        if began < self._rests.get(worker, 0.0):
            return 0
        used = self._used(pids, True)
        now = self._clock()
        self._rests[worker] = now + REST * (now - began)
        return used


def _runs_a_trial(slot: Slot) -> bool:
    """One that has not begun any yet is left alone: what it loads is told as the failure of the trial that it was loaded for."""
    return slot.lives and slot.busy and not slot.fate and slot.wire.up.head > 0


def _used_by(children: int, used: int) -> str:
    others = f" and {children} process{'es' * (children > 1)} that it had started" if children else ""
    return f"it{others} used {math.ceil(used / MIB):,} MiB"


def _said(slot: Slot, what: str, used: int) -> str:
    """Why it was ended, and what to do."""
    asked = math.ceil(slot.memory / MIB)
    left = ", and what earlier trials left in the same process" if slot.wear.trials > 1 else ""
    trials = slot.most_memory // slot.memory
    paused = f", as had each of the {trials - 1} that are paused in it" if trials > 1 else ""
    return (
        f"The worker process of this trial was ended for its memory: {what}, and the trial had asked for {asked:,} MiB{paused}. "
        f"Libraries that it imports count{left}. To give trials more: "
        f'"memory": {math.ceil(1.25 * used / trials / MIB)} * 2**20, beside what else stands in resources_per_trial'
    )


# -- what the system says ----------------------------------------------------------------------------------------------


def memory_of(pids: Iterable[int], exact: bool) -> int:
    """Bytes that these processes have and that are no file's; ``exact``: of those that are shared, their part, and of what the run
    shares only the pages that they have written to. 0 for one that is not there (or where /proc is not)."""
    return sum(map(_exact if exact else _plain, pids))


def _plain(pid: int) -> int:
    return _added_up(read_small(f"/proc/{pid}/status"), PLAIN)[0]


def _exact(pid: int) -> int:
    """The plain count, where the kernel does not divide (older than 5.9) or does not tell it."""
    text = read_small(f"/proc/{pid}/smaps_rollup")
    found, lines = _added_up(text, EXACT)
    if not lines:
        return _plain(pid)
    shared, _ = _added_up(text, (b"Pss_Shmem:",))
    return found - _of_the_run(pid) if shared >= SMALLEST else found


def _of_the_run(pid: int) -> int:
    """A process's part of the pages that the run shares among its workers, and that it has not written to."""
    _, *mappings = read_small(f"/proc/{pid}/smaps").split(OF_THE_RUN)
    return sum(map(_unwritten, mappings))


def _unwritten(text: bytes) -> int:
    """Bytes of the mapping that the text begins with, without those of which the process has a copy of its own."""
    one = text.partition(b"VmFlags:")[0]
    return max(0, _added_up(one, (b"Pss:",))[0] - _added_up(one, (b"Anonymous:",))[0])


def _added_up(text: bytes, names: tuple[bytes, ...]) -> tuple[int, int]:
    """The sum of these lines of "name: number kB", in bytes, and how many there are."""
    found = [int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith(names)]
    return sum(found), len(found)
