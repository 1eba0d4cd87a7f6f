# Pasha: promotion that raises the highest rung only while the two highest disagree about who is better.
#
# The trials of the highest rung are compared pair by pair for the noise in their curves, and as a whole for their order.
# Both would grow with the square of the rung, so the newest MEMBERS of it take part.

cdef double ordered_at(const Ordered *s, uint64_t i) noexcept nogil:
    """The i-th smallest number, from 0."""
    cdef uint32_t j = 0
    if s.chunks == NULL:
        return s.flat[i]
    while i >= s.chunks.size[j]:
        i -= s.chunks.size[j]
        j += 1
    return s.chunks.at[j][i]


cdef double noise_between(const PromotionTrial *a, const PromotionTrial *b) noexcept nogil:
    """How far the two curves are apart where they were last compared, if they cross at least twice; else NaN."""
    cdef uint32_t i = 0, j = 0
    cdef int crossings = 0, side = 0, now
    cdef double apart = NAN
    while i < a.points and j < b.points:
        if a.curve[i].t < b.curve[j].t:
            i += 1
        elif a.curve[i].t > b.curve[j].t:
            j += 1
        else:
            now = (a.curve[i].value > b.curve[j].value) - (a.curve[i].value < b.curve[j].value)
            if now * side < 0:
                crossings += 1
            if now != 0:
                side = now
            if is_finite(a.curve[i].value - b.curve[j].value):
                apart = fabs(a.curve[i].value - b.curve[j].value)
            i += 1
            j += 1
    return apart if crossings >= 2 else NAN


cdef class Pasha(Promotion):
    """PASHA (Bohdal et al. 2023, PASHA: Efficient HPO and NAS with Progressive Resource Allocation, Algorithm 1).

    As :class:`Promotion`, but the highest rung is the second one at first. Whenever a trial enters it, the trials in it
    are ranked by their values there and by those in the rung below; if a trial's place is taken below by one that was
    more than ``epsilon`` better or worse than it, the order is not stable and one rung more is opened. ``epsilon`` is
    the 90th percentile, linear, of the distances between trials of the highest rung whose curves cross at least twice,
    at the last step they have in common; 0 before there are any. Both look at the newest 128 trials of the rung.
    """

    def __cinit__(self, double max_t, double grace_period, double reduction_factor, bint maximise):
        cdef int i
        self.limit = min(1, self.n_rungs - 1)
        self.apart = <double *>ft_malloc(MEMBERS * MEMBERS * sizeof(double))
        if self.apart == NULL:
            raise MemoryError()
        for i in range(MEMBERS * MEMBERS):
            self.apart[i] = NAN

    def __dealloc__(self):
        ft_free(self.apart)
        ordered_free(&self.distances)

    cdef int reported(self, PromotionTrial *of, double t, double v) noexcept nogil:
        """Keep the curve; one that goes back in time goes on from there."""
        cdef uint32_t room
        cdef void *grown
        while of.points > 0 and of.curve[of.points - 1].t >= t:
            of.points -= 1
        if of.points == of.room:
            room = 2 * of.room if of.room else 2
            grown = ft_realloc(of.curve, room * sizeof(CurvePoint))
            if grown == NULL:
                return -1
            of.curve = <CurvePoint *>grown
            of.room = room
        of.curve[of.points].t = t
        of.curve[of.points].value = v
        of.points += 1
        return 0

    cdef int entered(self, uint32_t trial, PromotionTrial *of) noexcept nogil:
        if of.value != of.value or of.below != of.below or self.limit == 0:
            return 0
        if self.join(trial) != 0:
            return -1
        if self.distances.n > 0:
            self.epsilon = self.percentile()
        if self.limit + 1 < self.n_rungs and not self.stable():
            self.limit += 1
            self.members = self.next_slot = 0
            ordered_free(&self.distances)
        return 0

    cdef int join(self, uint32_t trial) noexcept nogil:
        """The trial takes part in the comparison, in the place of the oldest if there are too many."""
        cdef uint32_t slot = self.next_slot, i
        cdef double apart
        if self.members == MEMBERS:
            self.drop(slot)
        else:
            self.members += 1
        self.next_slot = (slot + 1) % MEMBERS
        self.member[slot] = trial
        for i in range(self.members):
            apart = NAN if i == slot else noise_between(self.trials + trial, self.trials + self.member[i])
            self.apart[slot * MEMBERS + i] = self.apart[i * MEMBERS + slot] = apart
            if apart == apart and ordered_add(&self.distances, apart) != 0:
                return -1
        return 0

    cdef void drop(self, uint32_t slot) noexcept nogil:
        cdef int i
        for i in range(MEMBERS):
            if self.apart[slot * MEMBERS + i] == self.apart[slot * MEMBERS + i]:
                ordered_remove(&self.distances, self.apart[slot * MEMBERS + i])

    cdef double percentile(self) noexcept nogil:
        """numpy's linear 90th percentile of the distances."""
        cdef double at = 0.9 * <double>(self.distances.n - 1)
        cdef uint64_t i = <uint64_t>at
        cdef double a = ordered_at(&self.distances, i)
        cdef double b = ordered_at(&self.distances, i + 1) if i + 1 < self.distances.n else a
        cdef double t = at - <double>i
        return b - (b - a) * (1.0 - t) if t >= 0.5 else a + (b - a) * t

    cdef bint ranks_higher(self, uint32_t a, uint32_t b, bint by_value) noexcept nogil:
        """By the value in the highest rung, equal ones by the rung below; or by the rung below alone."""
        cdef const PromotionTrial *x = self.trials + a
        cdef const PromotionTrial *y = self.trials + b
        if by_value and x.value != y.value:
            return x.value > y.value
        return x.below > y.below

    cdef void rank(self, uint32_t *order, bint by_value) noexcept nogil:
        """Members, the best first. There are few, and they are nearly in order: insertion is quick."""
        cdef uint32_t i, j
        for i in range(self.members):
            j = i
            while j > 0 and self.ranks_higher(self.member[i], order[j - 1], by_value):
                order[j] = order[j - 1]
                j -= 1
            order[j] = self.member[i]

    cdef bint stable(self) noexcept nogil:
        """Whether each place is held by a trial that is as good, within epsilon, as the one that held it below."""
        cdef uint32_t now[MEMBERS]
        cdef uint32_t then[MEMBERS]
        cdef uint32_t i
        cdef double x, y
        self.rank(now, True)
        self.rank(then, False)
        for i in range(self.members):
            x = self.trials[now[i]].below
            y = self.trials[then[i]].below
            if x != y and not fabs(x - y) <= self.epsilon:
                return False
        return True
