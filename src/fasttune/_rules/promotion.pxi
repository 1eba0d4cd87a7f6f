# Promotion: asynchronous successive halving that pauses trials at rungs and promotes them later (ASHA's Algorithm 2).
#
# A rung keeps its entries in order of arrival and three heaps of their numbers. `inside` are the best floor(n / eta),
# the worst of them on top; `outside` the rest, the best on top. An entry that comes inside and was not promoted yet
# goes into `free`, the best on top; it stays there if it is displaced, and is skipped when it comes up. So an arrival
# moves at most one entry across the line, and the next promotion is at the top of a heap: O(log n) each.

cdef enum:
    ENTRY_GONE = 1      # promoted, or over
    ENTRY_INSIDE = 2
    ENTRY_FREE = 4      # in the heap of that name


cdef inline bint ranks_before(const PromotionRung *rung, uint32_t a, uint32_t b) noexcept nogil:
    """Better, or equal and earlier."""
    cdef double x = rung.entries[a].value, y = rung.entries[b].value
    return x > y or (x == y and a < b)


cdef void entries_push(const PromotionRung *rung, uint32_t *heap, uint32_t *n, uint32_t entry,
                       bint worst_first) noexcept nogil:
    cdef uint32_t i = n[0], up
    check(i < rung.room)
    n[0] += 1
    while i > 0:
        up = (i - 1) >> 1
        if ranks_before(rung, entry, heap[up]) == worst_first:
            break
        heap[i] = heap[up]
        i = up
    heap[i] = entry


cdef uint32_t entries_pop(const PromotionRung *rung, uint32_t *heap, uint32_t *n, bint worst_first) noexcept nogil:
    cdef uint32_t top = heap[0], moving = heap[n[0] - 1], i = 0, child
    check(n[0] > 0)
    n[0] -= 1
    while True:
        child = 2 * i + 1
        if child >= n[0]:
            break
        if child + 1 < n[0] and ranks_before(rung, heap[child + 1], heap[child]) != worst_first:
            child += 1
        if ranks_before(rung, heap[child], moving) == worst_first:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = moving
    return top


cdef void come_inside(PromotionRung *rung, uint32_t entry) noexcept nogil:
    rung.entries[entry].flags |= ENTRY_INSIDE
    entries_push(rung, rung.inside, &rung.n_inside, entry, True)
    if not rung.entries[entry].flags & (ENTRY_GONE | ENTRY_FREE):
        rung.entries[entry].flags |= ENTRY_FREE
        entries_push(rung, rung.free, &rung.n_free, entry, False)


cdef void go_outside(PromotionRung *rung, uint32_t entry) noexcept nogil:
    rung.entries[entry].flags &= ~ENTRY_INSIDE
    entries_push(rung, rung.outside, &rung.n_outside, entry, False)


cdef int rung_grow(PromotionRung *rung) noexcept nogil:
    cdef uint32_t room = 2 * rung.room if rung.room else 16
    cdef void *grown
    if rung.n < rung.room:
        return 0
    grown = ft_realloc(rung.entries, room * sizeof(PromotionEntry))
    if grown == NULL:
        return -1
    rung.entries = <PromotionEntry *>grown
    grown = ft_realloc(rung.inside, room * sizeof(uint32_t))
    if grown == NULL:
        return -1
    rung.inside = <uint32_t *>grown
    grown = ft_realloc(rung.outside, room * sizeof(uint32_t))
    if grown == NULL:
        return -1
    rung.outside = <uint32_t *>grown
    grown = ft_realloc(rung.free, room * sizeof(uint32_t))
    if grown == NULL:
        return -1
    rung.free = <uint32_t *>grown
    rung.room = room
    return 0


cdef int rung_enter(PromotionRung *rung, uint32_t trial, double value, double factor) noexcept nogil:
    """A trial reached the rung. NaN is the worst there is, and is not promoted. -1 when there is no memory."""
    cdef uint32_t entry = rung.n, line
    if rung_grow(rung) != 0:
        return -1
    rung.entries[entry].trial = trial
    rung.entries[entry].flags = ENTRY_GONE if value != value else 0
    rung.entries[entry].value = -INFINITY if value != value else value
    rung.n += 1
    line = <uint32_t>(rung.n / factor)
    if rung.n_inside > 0 and ranks_before(rung, entry, rung.inside[0]):
        come_inside(rung, entry)
    else:
        go_outside(rung, entry)
    if rung.n_inside > line:
        go_outside(rung, entries_pop(rung, rung.inside, &rung.n_inside, True))
    elif rung.n_inside < line:
        come_inside(rung, entries_pop(rung, rung.outside, &rung.n_outside, False))
    check(rung.n_inside == line)
    check(rung.n_inside + rung.n_outside == rung.n)
    return 0


cdef int64_t rung_best(PromotionRung *rung) noexcept nogil:
    """The best entry that may be promoted now, -1 if there is none."""
    cdef uint8_t flags
    while rung.n_free > 0:
        flags = rung.entries[rung.free[0]].flags
        if flags & ENTRY_INSIDE and not flags & ENTRY_GONE:
            return rung.free[0]
        rung.entries[entries_pop(rung, rung.free, &rung.n_free, False)].flags &= ~ENTRY_FREE
    return -1


cdef class Promotion:
    """ASHA with promotions (Li et al. 2020, Massively Parallel Hyperparameter Tuning, Algorithm 2).

    Rungs are at ``grace_period * reduction_factor ** k`` below ``max_t``, exact for integers, and at ``max_t``. A trial
    enters the highest rung that a report reaches and is paused there; of the n trials of a rung the best
    floor(n / reduction_factor) may be promoted to the next one, each once, the best first, and those of the highest
    rung before those of lower ones. Of equal values the earlier is the better.
    """

    def __cinit__(self, double max_t, double grace_period, double reduction_factor, bint maximise):
        cdef double milestone = grace_period
        cdef int k = 0
        if not (0 < grace_period <= max_t and reduction_factor > 1 and max_t < INFINITY):
            raise ValueError("promotion needs 0 < grace_period <= max_t < inf and reduction_factor > 1, got "
                             f"{grace_period}, {max_t} and {reduction_factor}")
        while k + 1 < MAX_RUNGS and milestone < max_t * (1.0 - 1e-9):  # a power that rounding left below is max_t
            self.milestones[k] = milestone
            k += 1
            milestone = grace_period * pow(reduction_factor, k)
        if milestone < max_t * (1.0 - 1e-9):
            raise ValueError(f"a reduction_factor of {reduction_factor} makes more than {MAX_RUNGS} rungs from "
                             f"grace_period {grace_period} to max_t {max_t}")
        self.milestones[k] = max_t
        self.n_rungs = k + 1
        self.limit = k
        self.factor = reduction_factor
        self.sign = 1.0 if maximise else -1.0

    def __dealloc__(self):
        cdef uint64_t i
        cdef int k
        for k in range(MAX_RUNGS):
            ft_free(self.rungs[k].entries)
            ft_free(self.rungs[k].inside)
            ft_free(self.rungs[k].outside)
            ft_free(self.rungs[k].free)
        for i in range(self.room):
            ft_free(self.trials[i].curve)
        ft_free(self.trials)

    cdef PromotionTrial *trial_of(self, int64_t trial) except NULL:
        """The trial's row; there is one for every number up to it."""
        cdef uint64_t room = max(<uint64_t>64, self.room), i
        cdef void *grown
        if not 0 <= trial <= MOST_TRIALS:
            raise ValueError(f"trials are numbered from 0 to {MOST_TRIALS}, got {trial}")
        if <uint64_t>trial >= self.room:
            while room <= <uint64_t>trial:
                room *= 2
            grown = ft_realloc(self.trials, room * sizeof(PromotionTrial))
            if grown == NULL:
                raise MemoryError()
            self.trials = <PromotionTrial *>grown
            memset(self.trials + self.room, 0, (room - self.room) * sizeof(PromotionTrial))
            for i in range(self.room, room):
                self.trials[i].rung = -1
            self.room = room
        return self.trials + trial

    # -- what a progressive rule adds ---------------------------------------------------------------------------------

    cdef int reported(self, PromotionTrial *of, double t, double v) noexcept nogil:
        """A report, before it is judged. -1 when there is no memory."""
        return 0

    cdef int entered(self, uint32_t trial, PromotionTrial *of) noexcept nogil:
        """The trial entered the rung that is the highest for now. -1 when there is no memory."""
        return 0

    # -- deciding -----------------------------------------------------------------------------------------------------

    cdef int64_t promotable(self, int below, int *rung) noexcept nogil:
        """The trial that is promoted next from the rungs under ``below``, -1 for none."""
        cdef int k = min(below, self.limit) - 1
        cdef int64_t entry
        while k >= 0:
            entry = rung_best(&self.rungs[k])
            if entry >= 0:
                rung[0] = k
                return self.rungs[k].entries[entry].trial
            k -= 1
        return -1

    cdef void leave(self, PromotionTrial *of) noexcept nogil:
        """The trial is no candidate of its rung any more; it still counts there."""
        if of.rung >= 0:
            self.rungs[of.rung].entries[of.entry].flags |= ENTRY_GONE

    cdef int judge_one(self, uint32_t trial, double t, double value) noexcept nogil:
        cdef PromotionTrial *of = self.trials + trial
        cdef double v = self.sign * value
        cdef int k = self.limit
        if t != t:
            return 0
        if self.reported(of, t, v) != 0:
            return NO_MEMORY
        while k > of.rung and self.milestones[k] > t:
            k -= 1
        if k <= of.rung:
            self.leave(of)                      # it runs, so it was promoted
            return 1 if t >= self.milestones[self.n_rungs - 1] else 0
        self.leave(of)
        if rung_enter(&self.rungs[k], trial, v, self.factor) != 0:
            return NO_MEMORY
        of.below = of.value if of.rung == k - 1 else NAN
        of.value = v
        of.rung = k
        of.entry = self.rungs[k].n - 1
        if k == self.limit and self.entered(trial, of) != 0:
            return NO_MEMORY
        if t >= self.milestones[self.n_rungs - 1]:
            self.leave(of)
            return 1
        return 3

    def judge(self, int64_t trial, double t, double value):
        """The decision about a report: STOP at ``max_t``, PAUSE at a rung that the trial has not entered yet, else CONTINUE.
        It depends on the trial alone; who is promoted is another question, asked when a worker is free."""
        cdef int decision
        self.trial_of(trial)
        decision = self.judge_one(<uint32_t>trial, t, value)
        if decision == NO_MEMORY:
            raise MemoryError()
        return decision

    def decide(self, trials, times, values, decisions):
        """As :meth:`judge` for each row, in their order.

        ValueError unless all columns are of one length and no trial is negative.
        """
        cdef Batch batch = Batch(trials, times, values, decisions)
        cdef Py_ssize_t i
        cdef int decision = 0
        if batch.n == 0:
            return
        self.trial_of(batch.highest)
        with nogil:
            for i in range(batch.n):
                decision = self.judge_one(<uint32_t>batch.trials[i], batch.times[i], batch.values[i])
                if decision == NO_MEMORY:
                    break
                batch.decisions[i] = <signed char>decision
        if decision == NO_MEMORY:
            raise MemoryError()

    def candidate(self, int below=MAX_RUNGS):
        """(trial, rung) of the next promotion from the rungs under ``below``, None if there is none."""
        cdef int rung = -1
        cdef int64_t trial = self.promotable(below, &rung)
        return None if trial < 0 else (trial, rung)

    def promote(self, int64_t trial):
        """The trial goes on to the next rung."""
        self.leave(self.trial_of(trial))

    def withdraw(self, int64_t trial):
        """The trial is over: it is never promoted. It still counts in its rungs."""
        self.leave(self.trial_of(trial))

    def rung(self, int64_t trial):
        """The highest rung that the trial entered, -1 for none."""
        return self.trial_of(trial).rung

    def milestone(self, int64_t trial):
        """The time of the rung that the trial runs to."""
        cdef int k = self.trial_of(trial).rung + 1
        return self.milestones[min(k, self.n_rungs - 1)]

    @property
    def rung_milestones(self):
        return [self.milestones[k] for k in range(self.n_rungs)]

    def rung_sizes(self):
        """Entries per rung, lowest first."""
        return [self.rungs[k].n for k in range(self.n_rungs)]
