# MedianRule: stops a trial whose best value is worse than the median of the others' running means at the same time.
#
# A trial's running mean changes only when it reports, so it is a number that holds over a stretch of time: from one
# report up to the next. Those stretches lie in a Timeline, and a decision asks it how many of the numbers that hold at
# t are at most the trial's best. The median itself is not needed for that, or just its two neighbours. A report adds
# one number at its own time and one for the time since the report before; when all trials report at the same steps
# nothing else ever happens, and a decision is one search in one ordered set.

cdef inline void add_exactly(double *high, double *low, double x) noexcept nogil:
    """high + low is the sum of what was added, to about twice the digits of a double (Neumaier 1974)."""
    cdef double s = high[0] + x
    cdef double b = s - high[0]
    low[0] += (high[0] - (s - b)) + (x - b)
    high[0] = s


cdef inline double exact_mean(double high, double low, uint32_t n) noexcept nogil:
    """(high + low) / n, rounded once: the mean of equal numbers is that number."""
    cdef double q = high / n
    return q + (fma(-q, n, high) + low) / n


cdef inline bint is_finite(double x) noexcept nogil:
    return x - x == 0.0


cdef class MedianRule:
    """The median stopping rule (Golovin et al. 2017, Google Vizier, section 3.2.1) as Ray Tune reads it.

    At a report at time t >= ``grace_period`` the others are the trials whose last report was at t or later; each counts
    with the mean of its values from ``grace_period`` to t, unless that is no finite number. With fewer than
    ``min_samples`` of them nothing is decided. The trial stops if its best value so far is strictly worse than the
    median of those means, ``patience`` times in a row; with ``last`` its newest value is compared and not its best. NaN
    is never the best; a trial without a number goes on. A report that goes back, in time or to a step that the trial has
    reported before, begins another attempt there: what was reported from there on is forgotten.
    """

    def __cinit__(self, double grace_period, uint64_t min_samples, bint maximise, int patience=1, bint last=False):
        if grace_period != grace_period:
            raise ValueError("grace_period must be a number, got nan")
        if patience < 0:
            raise ValueError(f"patience must be >= 0, got {patience}")
        self.grace_period = grace_period
        self.min_samples = min_samples
        self.sign = 1.0 if maximise else -1.0
        self.patience = max(1, patience)
        self.last = last

    def __dealloc__(self):
        cdef uint64_t i
        timeline_free(&self.means)
        for i in range(self.room):
            ft_free(self.trials[i].reports)
        ft_free(self.trials)

    cdef MedianTrial *trial_of(self, int64_t trial) except NULL:
        """The trial's row; there is one for every number up to it."""
        cdef uint64_t room = max(<uint64_t>64, self.room), i
        cdef void *grown
        if not 0 <= trial <= MOST_TRIALS:
            raise ValueError(f"trials are numbered from 0 to {MOST_TRIALS}, got {trial}")
        if <uint64_t>trial >= self.room:
            while room <= <uint64_t>trial:
                room *= 2
            grown = ft_realloc(self.trials, room * sizeof(MedianTrial))
            if grown == NULL:
                raise MemoryError()
            self.trials = <MedianTrial *>grown
            memset(self.trials + self.room, 0, (room - self.room) * sizeof(MedianTrial))
            for i in range(self.room, room):
                self.trials[i].mean = NAN
            self.room = room
        return self.trials + trial

    # -- a trial's means on the timeline ------------------------------------------------------------------------------

    cdef int absorb(self, MedianTrial *of, uint32_t i) noexcept nogil:
        """Report i, the newest: the mean before it ends, a new one begins."""
        cdef const MedianReport *now = of.reports + i
        cdef const MedianReport *before = now - 1
        if now.t < self.grace_period:
            return 0
        if is_finite(of.mean):
            if before.t == now.t:
                if timeline_change(&self.means, moment(now.t), moment(now.t), of.mean, False) != 0:
                    return -1
            elif moment(now.t) - moment(before.t) > 1:
                if timeline_change(&self.means, moment(before.t) + 1, moment(now.t) - 1, of.mean, True) != 0:
                    return -1
        add_exactly(&of.high, &of.low, now.value)
        of.counted += 1
        of.mean = exact_mean(of.high, of.low, of.counted)
        if is_finite(of.mean):
            return timeline_change(&self.means, moment(now.t), moment(now.t), of.mean, True)
        return 0

    cdef int withdraw(self, MedianTrial *of) noexcept nogil:
        """None of the trial's means is on the timeline any more."""
        cdef uint32_t i
        cdef uint64_t here, then
        cdef double mean
        of.high = of.low = 0.0
        of.counted = 0
        for i in range(of.n):
            if of.reports[i].t < self.grace_period:
                continue
            add_exactly(&of.high, &of.low, of.reports[i].value)
            of.counted += 1
            mean = exact_mean(of.high, of.low, of.counted)
            if not is_finite(mean):
                continue
            here = moment(of.reports[i].t)
            then = moment(of.reports[i + 1].t) if i + 1 < of.n else here + 1
            if then > here and timeline_change(&self.means, here, here, mean, False) != 0:
                return -1
            if then > here + 1 and timeline_change(&self.means, here + 1, then - 1, mean, False) != 0:
                return -1
        of.high = of.low = 0.0
        of.counted = 0
        of.mean = NAN
        return 0

    cdef int begin_again(self, MedianTrial *of, double t, uint32_t step) noexcept nogil:
        """Forget the reports that this one does not come after: they are of an attempt that was given up."""
        cdef uint32_t n = of.n, i
        while n > 0 and (of.reports[n - 1].t > t or (step > 0 and of.reports[n - 1].step >= step)):
            n -= 1
        if n == of.n:
            return 0
        while step == 0 and n > 0 and of.reports[n - 1].t == t:
            n -= 1
        if self.withdraw(of) != 0:
            return -1
        of.n = n
        for i in range(n):
            if self.absorb(of, i) != 0:
                return -1
        return 0

    cdef MedianReport *append(self, MedianTrial *of) noexcept nogil:
        """A new report, behind the others. NULL when there is no memory."""
        cdef uint32_t room
        cdef void *grown
        if of.n == of.room:
            room = 2 * of.room if of.room else 2
            grown = ft_realloc(of.reports, room * sizeof(MedianReport))
            if grown == NULL:
                return NULL
            of.reports = <MedianReport *>grown
            of.room = room
        of.n += 1
        return of.reports + of.n - 1

    # -- deciding -----------------------------------------------------------------------------------------------------

    cdef int compare(self, MedianReport *now) noexcept nogil:
        """STOP, CONTINUE, or TOO_FEW to compare with. The trial itself is not on the timeline at this time."""
        cdef double below, above, median
        cdef double v = now.value if self.last else now.best
        cdef uint64_t holding, up_to, better
        cdef bint worse
        up_to = timeline_up_to(&self.means, moment(now.t), v if v == v else 0.0, &holding, &below, &above)
        if holding < self.min_samples:
            return TOO_FEW
        if holding == 0 or v != v:
            return 0
        better = holding - up_to
        if holding % 2 == 0 and better == up_to:
            median = (below + above) / 2.0
            worse = v < median
        else:
            worse = better > up_to
        now.strikes = now.strikes + 1 if worse else 0
        return 1 if now.strikes >= <uint32_t>self.patience else 0

    cdef int judge_one(self, MedianTrial *of, double t, double value, uint32_t step, bint decide) noexcept nogil:
        """The decision; NO_MEMORY when there is none, and the trial's means may be lost then."""
        cdef MedianReport *now
        cdef int decision = 0
        if t != t:
            return 0
        if self.begin_again(of, t, step) != 0:
            return NO_MEMORY
        if is_finite(of.mean) and of.reports[of.n - 1].t == t:
            if timeline_change(&self.means, moment(t), moment(t), of.mean, False) != 0:
                return NO_MEMORY
            of.mean = NAN
        now = self.append(of)
        if now == NULL:
            return NO_MEMORY
        now.t = t
        now.value = self.sign * value
        now.step = step
        now.best = (now - 1).best if of.n > 1 else NAN
        now.strikes = (now - 1).strikes if of.n > 1 else 0
        if now.value == now.value and not now.value <= now.best:
            now.best = now.value
        if decide and t >= self.grace_period:
            decision = self.compare(now)
        if self.absorb(of, of.n - 1) != 0:
            return NO_MEMORY
        self.num_stopped += decision == 1
        return decision

    def judge(self, int64_t trial, double t, double value, uint32_t step=0):
        """The decision about a report: CONTINUE, STOP, or TOO_FEW (-1) when too few others were there. ``step`` is the
        report's number in its trial, from 1; 0 when there is none."""
        cdef int decision = self.judge_one(self.trial_of(trial), t, value, step, True)
        if decision == NO_MEMORY:
            raise MemoryError()
        return decision

    def record(self, int64_t trial, double t, double value, uint32_t step=0):
        """Count a report that nobody has to decide about."""
        if self.judge_one(self.trial_of(trial), t, value, step, False) == NO_MEMORY:
            raise MemoryError()

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
                decision = self.judge_one(self.trials + batch.trials[i], batch.times[i], batch.values[i], 0, True)
                if decision == NO_MEMORY:
                    break
                batch.decisions[i] = <signed char>decision
        if decision == NO_MEMORY:
            raise MemoryError()

    def others(self, double t):
        """How many trials count at time t."""
        cdef uint64_t holding
        cdef double below, above
        timeline_up_to(&self.means, moment(t), 0.0, &holding, &below, &above)
        return holding
