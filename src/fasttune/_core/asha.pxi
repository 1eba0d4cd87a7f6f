# Asha: the stopping rule of asynchronous successive halving, on rungs that several processes share.
#
# Whoever reports decides: a worker takes the lock for the ~100 ns that a judgement takes, so the loop is not on the hot
# path. Each judgement carries the sequence number that the lock gave it; replaying judgements in that order gives the
# same rungs. A process that dies inside the lock does not stop the others: the mutex is robust, and the rung it was
# changing is rebuilt from its log. If it dies in the few instructions between publishing its record and unlocking, the
# journal has a judgement that the rungs have not, until the next resume puts it back.

cdef extern from *:
    """
    static int ft_mutex_init(pthread_mutex_t *m) {
        pthread_mutexattr_t a;
        int e = pthread_mutexattr_init(&a);
        if (e) return e;
        pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    #if defined(__linux__)
        pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    #endif
        e = pthread_mutex_init(m, &a);
        pthread_mutexattr_destroy(&a);
        return e;
    }
    /* 0 locked, 1 locked but the last owner died inside, other: error */
    static int ft_mutex_lock(pthread_mutex_t *m) {
        /* it is held for ~100 ns: spinning that long beats sleeping (10 us and more) */
        int e = EBUSY, spin;
        for (spin = 0; spin < 100 && e == EBUSY; spin++) {
            e = pthread_mutex_trylock(m);
            if (e == EBUSY) ft_pause();
        }
        if (e == EBUSY) e = pthread_mutex_lock(m);
    #if defined(__linux__)
        if (e == EOWNERDEAD) { pthread_mutex_consistent(m); return 1; }
    #endif
        return e == 0 ? 0 : -1;
    }
    """
    ctypedef struct pthread_mutex_t:
        pass
    int ft_mutex_init(pthread_mutex_t *m) noexcept nogil
    int ft_mutex_lock(pthread_mutex_t *m) noexcept nogil
    int pthread_mutex_unlock(pthread_mutex_t *m) noexcept nogil
    double exp(double) noexcept nogil
    double pow(double, double) noexcept nogil
    double floor(double) noexcept nogil
    const double NAN


cdef enum:
    MAX_RUNGS = 64
    MAX_BRACKETS = 16

cdef struct SharedRungs:
    pthread_mutex_t mutex
    uint64_t sequence                    # judgements so far
    uint64_t stopped                     # trials stopped by a rung
    int64_t changing                     # rung that the lock's owner is changing, -1 none
    uint64_t length_before               # its number of values before that
    uint64_t sequence_before
    uint64_t stopped_before
    uint64_t n[MAX_BRACKETS * MAX_RUNGS]
    uint64_t left[MAX_BRACKETS * MAX_RUNGS]


cdef inline uint64_t mix64(uint64_t x) noexcept nogil:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a good hash of one integer."""
    x += <uint64_t>0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef class Asha:
    """ASHA's stopping rule (Li et al. 2020, Massively Parallel Hyperparameter Tuning, section 3; the percentile form).

    Rungs are at ``grace_period * reduction_factor ** (k + s)`` for bracket s, exact for integers, none above ``max_t``.
    A trial is judged at the highest rung that a report reaches, once: it stops if its value is strictly worse than the
    (1 - 1/reduction_factor) percentile of what the rung had recorded before, in numpy's linear arithmetic. NaN is
    recorded nowhere and never stops. ``buffer`` shares the rungs between processes; see :meth:`nbytes`.
    """

    def __cinit__(self, double max_t, double grace_period, double reduction_factor, int brackets, bint maximise,
                  bint stop_last_trials=True, uint64_t seed=0, uint64_t capacity=1 << 16, buffer=None,
                  bint create=True):
        cdef int s, top = 0
        if not (grace_period > 0 and max_t >= grace_period and reduction_factor > 1 and 0 < brackets <= MAX_BRACKETS):
            raise ValueError("ASHA needs 0 < grace_period <= max_t, reduction_factor > 1 and 1 to 16 brackets")
        self.max_t = max_t
        self.sign = 1.0 if maximise else -1.0
        self.stop_last_trials = stop_last_trials
        self.seed = seed
        self.brackets = brackets
        self.capacity = capacity
        while top + 1 < MAX_RUNGS and grace_period * pow(reduction_factor, top + 1) <= max_t:
            top += 1
        if grace_period * pow(reduction_factor, top + 1) <= max_t:
            raise ValueError(f"a reduction_factor of {reduction_factor} makes more than {MAX_RUNGS} rungs from "
                             f"grace_period {grace_period} to max_t {max_t}")
        self.rungs = top + 1
        for s in range(self.rungs):
            self.milestones[s] = grace_period * pow(reduction_factor, s)
        self.q = ((1.0 - 1.0 / reduction_factor) * 100.0) / 100.0
        size = self.nbytes(self.rungs, brackets, capacity)
        if buffer is None:
            buffer = bytearray(size)
        PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE | PyBUF_SIMPLE)
        self.has_view = True
        if self.view.len < size:
            raise ValueError(f"the shared rungs need {size} bytes, the buffer has {self.view.len}")
        self.base = self.view.buf
        cdef SharedRungs *shared = <SharedRungs *>self.base
        if create:
            memset(shared, 0, sizeof(SharedRungs))
            shared.changing = -1
            if ft_mutex_init(&shared.mutex) != 0:
                raise OSError("cannot make a process-shared mutex")

    def __dealloc__(self):
        if self.has_view:
            PyBuffer_Release(&self.view)

    @staticmethod
    def nbytes(int rungs, int brackets, uint64_t capacity):
        """Bytes of a buffer for so many rungs a bracket of ``capacity`` values each (untouched pages cost nothing)."""
        return sizeof(SharedRungs) + 2 * sizeof(double) * <uint64_t>rungs * brackets * capacity

    @property
    def milestones_by_bracket(self):
        return [[self.milestones[k] for k in range(s, self.rungs)] for s in range(self.brackets)]

    @property
    def num_stopped(self): return (<SharedRungs *>self.base).stopped

    @property
    def sequence(self): return (<SharedRungs *>self.base).sequence

    cdef RungState state(self, int bracket, int rung) noexcept nogil:
        cdef RungState s
        cdef int i = bracket * self.rungs + rung
        cdef double *base = <double *>(<char *>self.base + sizeof(SharedRungs)) + 2 * self.capacity * <uint64_t>i
        s.n = (<SharedRungs *>self.base).n[i]
        s.left = (<SharedRungs *>self.base).left[i]
        s.capacity = self.capacity
        s.q = self.q
        s.log = base
        s.heap = base + self.capacity
        return s

    cdef int lock(self) noexcept nogil:
        """Take the lock; puts right what a process that died inside has left."""
        cdef int got = ft_mutex_lock(&(<SharedRungs *>self.base).mutex)
        cdef RungState s
        cdef int i
        if got == 1 and (<SharedRungs *>self.base).changing >= 0:
            i = <int>(<SharedRungs *>self.base).changing
            s = self.state(i // self.rungs, i % self.rungs)
            rung_rebuild(&s, (<SharedRungs *>self.base).length_before)
            (<SharedRungs *>self.base).n[i] = s.n
            (<SharedRungs *>self.base).left[i] = s.left
            (<SharedRungs *>self.base).sequence = (<SharedRungs *>self.base).sequence_before
            (<SharedRungs *>self.base).stopped = (<SharedRungs *>self.base).stopped_before
            ft_in_order()
            (<SharedRungs *>self.base).changing = -1
        return 0 if got >= 0 else -1

    cdef void unlock(self) noexcept nogil:
        ft_in_order()
        (<SharedRungs *>self.base).changing = -1
        pthread_mutex_unlock(&(<SharedRungs *>self.base).mutex)

    cdef int bracket_of(self, uint64_t trial) noexcept nogil:
        """The trial's bracket, drawn from (seed, trial) with weight exp(number of rungs)."""
        cdef int s
        cdef double total = 0.0, u
        if self.brackets == 1:
            return 0
        for s in range(self.brackets):
            total += exp(<double>(max(0, self.rungs - s) - self.rungs))
        u = <double>(mix64(self.seed ^ mix64(trial)) >> 11) * (1.0 / 9007199254740992.0) * total
        for s in range(self.brackets):
            u -= exp(<double>(max(0, self.rungs - s) - self.rungs))
            if u < 0.0:
                return s
        return self.brackets - 1

    cdef int reached(self, int bracket, int last, double t) noexcept nogil:
        """The highest rung above ``last`` whose milestone t has reached, or -1."""
        cdef int k = self.rungs - 1
        cdef int low = last + 1 if last + 1 > bracket else bracket
        while k >= low:
            if self.milestones[k] <= t:
                return k
            k -= 1
        return -1

    cdef int judge_locked(self, int bracket, int rung, double value, bint decide) noexcept nogil:
        """Judge and record ``value`` at a rung; the lock is held. Returns CONTINUE, STOP, or -1 when it is full."""
        cdef int i = bracket * self.rungs + rung
        cdef RungState s = self.state(bracket, rung)
        cdef double v = self.sign * value
        cdef int decision = 0
        (<SharedRungs *>self.base).length_before = s.n
        (<SharedRungs *>self.base).sequence_before = (<SharedRungs *>self.base).sequence
        (<SharedRungs *>self.base).stopped_before = (<SharedRungs *>self.base).stopped
        ft_in_order()          # the compiler may not move, or drop, what another process reads after our death
        (<SharedRungs *>self.base).changing = i
        ft_in_order()
        if decide and s.n > 0 and v < rung_cutoff(&s):
            decision = 1
        if v == v and rung_push(&s, v) != 0:
            (<SharedRungs *>self.base).changing = -1
            return -1
        (<SharedRungs *>self.base).n[i] = s.n
        (<SharedRungs *>self.base).left[i] = s.left
        (<SharedRungs *>self.base).sequence += 1
        (<SharedRungs *>self.base).stopped += decision
        return decision

    # -- the same rule from Python: the loop's decisions, replay, tests -----------------------------------------------

    def bracket(self, uint64_t trial):
        return self.bracket_of(trial)

    def judge(self, uint64_t trial, int last, double t, double value):
        """(decision, rung) for a report at time ``t`` of a trial whose highest recorded rung is ``last`` (-1 none).

        Rungs are numbered by their milestone, lowest first. OverflowError when the rung is full.
        """
        cdef int bracket = self.bracket_of(trial), rung, decision
        if t >= self.max_t and self.stop_last_trials:
            return 1, last
        rung = self.reached(bracket, last, t)
        if rung < 0:
            return 0, last
        return self.record_at(bracket, rung, value, True), rung

    def complete(self, uint64_t trial, int last, double t, double value):
        """Record a trial's final value at the highest rung it reached, if not yet recorded. Returns that rung."""
        cdef int bracket = self.bracket_of(trial)
        cdef int rung = self.reached(bracket, last, t)
        if rung >= 0:
            self.record_at(bracket, rung, value, False)
            return rung
        return last

    def record(self, uint64_t trial, int rung, double value):
        """Put a judgement of an earlier session back, in the order of their sequence numbers.

        ValueError when the trial's bracket has no such rung: the journal belongs to a rule of other settings.
        """
        cdef int bracket = self.bracket_of(trial)
        if not bracket <= rung < self.rungs:
            raise ValueError(f"trial {trial} was judged at rung {rung}; its bracket has the rungs {bracket} to "
                             f"{self.rungs - 1}. Were the scheduler's settings changed?")
        self.record_at(bracket, rung, value, False)

    cdef int record_at(self, int bracket, int rung, double value, bint decide) except -1:
        cdef int decision
        with nogil:
            self.lock()
            decision = self.judge_locked(bracket, rung, value, decide)
            self.unlock()
        if decision < 0:
            raise OverflowError(f"a rung is full: {self.capacity} trials have reached it")
        return decision

    def rung_sizes(self):
        """Recorded values per bracket and rung, lowest rung first."""
        return [[(<SharedRungs *>self.base).n[s * self.rungs + k] for k in range(s, self.rungs)] for s in range(self.brackets)]

    def cutoffs(self):
        """[(milestone, cut-off or None)] per bracket, highest milestone first, in the metric's own sign."""
        cdef RungState s
        out = []
        for b in range(self.brackets):
            rows = []
            for k in range(self.rungs - 1, b - 1, -1):
                s = self.state(b, k)
                rows.append((self.milestones[k], None if s.n == 0 else self.sign * rung_cutoff(&s)))
            out.append(rows)
        return out

    def die_inside_lock(self, int rung, double value):
        """For tests: take the lock, change a rung and leave without unlocking, as a killed process does."""
        if not 0 <= rung < self.rungs:
            raise ValueError(f"rung must be from 0 to {self.rungs - 1}, got {rung}")
        self.lock()
        self.judge_locked(0, rung, value, True)
