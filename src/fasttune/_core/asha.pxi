# Asha: the stopping rule of asynchronous successive halving, on rungs that several processes share.
#
# Whoever reports decides: a worker takes the rung's lock for the ~100 ns that a judgement takes, so the loop is not on
# the hot path, and judgements at different rungs do not wait for each other. Each carries a sequence number, taken
# inside the lock from one counter: replaying judgements in that order gives the same rungs. A number may be missing.
# Price: 57 ns with 10^2 values in the rung, 115 ns with 10^6. Two processes that do nothing but report on the same rungs
# lose a quarter of their speed to each other's cache lines; with one lock for all rungs they lost a third.
#
# A process that dies inside a lock does not stop the others: the mutex is robust, and the rung that it was changing is
# rebuilt from its log, without what the dead one had not told anybody. Its record becomes visible and `changing` is
# cleared by two stores, one after the other; whoever takes back what a dead one did notes its number, and the loop, which
# sees the dead one's records, puts a judgement back that was told after all (`repair`).

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
    /* As above for one that must not wait: 2 when somebody who is alive has it. */
    static int ft_mutex_try(pthread_mutex_t *m) {
        int e = pthread_mutex_trylock(m);
    #if defined(__linux__)
        if (e == EOWNERDEAD) { pthread_mutex_consistent(m); return 1; }
    #endif
        return e == 0 ? 0 : e == EBUSY ? 2 : -1;
    }
    static inline uint64_t ft_next(uint64_t *p) { return __atomic_add_fetch(p, 1, __ATOMIC_RELAXED); }
    """
    ctypedef struct pthread_mutex_t:
        pass
    int ft_mutex_init(pthread_mutex_t *m) noexcept nogil
    int ft_mutex_lock(pthread_mutex_t *m) noexcept nogil
    int ft_mutex_try(pthread_mutex_t *m) noexcept nogil
    int pthread_mutex_unlock(pthread_mutex_t *m) noexcept nogil
    uint64_t ft_next(uint64_t *p) noexcept nogil
    double exp(double) noexcept nogil
    double pow(double, double) noexcept nogil
    double floor(double) noexcept nogil


cdef enum:
    MAX_BRACKETS = 16
    NO_LOCK = -2                         # in the place of a decision: a rung's lock cannot be taken

cdef uint64_t TAG_NUMBER = 0xFFFFFFFFFFFF

cdef struct SharedRungs:                 # a cache line of its own: all judgements count here
    uint64_t sequence                    # judgements so far
    uint64_t taken_back                  # how many of dead processes were
    uint64_t numbers[14]                 # of the last ones of these

cdef struct SharedRung:
    pthread_mutex_t mutex
    uint64_t changing                    # the lock's owner is changing the rung
    uint64_t number                      # of the judgement that does, 0 before it has one
    uint64_t length_before               # its number of values before that
    uint64_t stopped_before
    uint64_t n
    uint64_t left
    uint64_t stopped                     # trials that it stopped


cdef inline uint64_t rung_bytes() noexcept nogil:
    """Two rungs never share a cache line, nor a pair of them that is fetched together."""
    return (sizeof(SharedRung) + 127) & ~<uint64_t>127


cdef inline uint64_t tag_of(const Standing *of) noexcept nogil:
    """What a record says of a judgement: strikes (8 bits), sequence number (48), rung (8)."""
    return <uint64_t>of.strikes << 56 | (of.number & TAG_NUMBER) << 8 | <uint64_t>of.rung


cdef inline void stand_fresh(Standing *of) noexcept nogil:
    of.rung = -1
    of.strikes = 0
    of.best = NAN
    of.number = 0


cdef class Asha:
    """ASHA's stopping rule (Li et al. 2020, Massively Parallel Hyperparameter Tuning, section 3).

    Rungs are at ``grace_period * reduction_factor ** (k + s)`` for bracket s, exact for integers, none above ``max_t``.
    A trial is judged at the highest rung that a report reaches, once. It is below the cut-off there

    - by default, if its value is strictly worse than the (1 - 1/reduction_factor) percentile of what the rung had
      recorded before, in numpy's linear arithmetic; NaN is recorded nowhere and never below;
    - with ``rank``, if max(1, floor(n/reduction_factor)) of the n values of the rung, its own among them, are strictly
      better; NaN counts as the worst value there is.

    It stops when that is so at ``patience`` judgements in a row. ``smooth`` judges, and records, the best value so far
    instead of the last. ``buffer`` shares the rungs between processes; see :meth:`nbytes`. :meth:`judge`,
    :meth:`complete` and :meth:`decide` remember where each trial stands; reporters do so themselves.
    """

    def __cinit__(self, double max_t, double grace_period, double reduction_factor, int brackets, bint maximise,
                  bint stop_last_trials=True, uint64_t seed=0, uint64_t capacity=1 << 16, buffer=None,
                  bint create=True, *, bint rank=False, int patience=1, bint smooth=False):
        cdef int s, i, top = 0
        if not (grace_period > 0 and max_t >= grace_period and reduction_factor > 1 and 0 < brackets <= MAX_BRACKETS):
            raise ValueError("ASHA needs 0 < grace_period <= max_t, reduction_factor > 1 and 1 to 16 brackets")
        if not 0 <= patience <= MAX_RUNGS:
            raise ValueError(f"patience must be from 0 to {MAX_RUNGS} rungs, got {patience}")
        self.max_t = max_t
        self.sign = 1.0 if maximise else -1.0
        self.stop_last_trials = stop_last_trials
        self.seed = seed
        self.brackets = brackets
        self.capacity = capacity
        self.patience = max(1, patience)
        self.smooth = smooth
        while top + 1 < MAX_RUNGS and grace_period * pow(reduction_factor, top + 1) <= max_t:
            top += 1
        if grace_period * pow(reduction_factor, top + 1) <= max_t:
            raise ValueError(f"a reduction_factor of {reduction_factor} makes more than {MAX_RUNGS} rungs from "
                             f"grace_period {grace_period} to max_t {max_t}")
        self.rungs = top + 1
        for s in range(self.rungs):
            self.milestones[s] = grace_period * pow(reduction_factor, s)
        self.q = ((1.0 - 1.0 / reduction_factor) * 100.0) / 100.0
        self.eta = reduction_factor if rank else 0.0
        size = self.nbytes(self.rungs, brackets, capacity)
        if buffer is None:
            self.base = PyMem_RawCalloc(size, 1)    # pages that are not touched cost nothing
            if self.base == NULL:
                raise MemoryError()
            self.owned = create = True
        else:
            PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE | PyBUF_SIMPLE)
            self.has_view = True
            if self.view.len < size:
                raise ValueError(f"the shared rungs need {size} bytes, the buffer has {self.view.len}")
            self.base = self.view.buf
        if create:
            memset(self.base, 0, sizeof(SharedRungs) + rung_bytes() * self.rungs * brackets)
            for i in range(self.rungs * brackets):
                if ft_mutex_init(&self.rung_at(0, i).mutex) != 0:
                    raise OSError("cannot make a process-shared mutex")

    def __dealloc__(self):
        cdef uint64_t i
        for i in range(self.n_standings):
            PyMem_RawFree(self.standings[i])
        PyMem_RawFree(self.standings)
        if self.owned:
            PyMem_RawFree(self.base)
        if self.has_view:
            PyBuffer_Release(&self.view)

    @staticmethod
    def nbytes(int rungs, int brackets, uint64_t capacity):
        """Bytes of a buffer for so many rungs a bracket of ``capacity`` values each (untouched pages cost nothing)."""
        return sizeof(SharedRungs) + (rung_bytes() + 2 * sizeof(double) * capacity) * <uint64_t>rungs * brackets

    @property
    def milestones_by_bracket(self):
        return [[self.milestones[k] for k in range(s, self.rungs)] for s in range(self.brackets)]

    @property
    def num_stopped(self):
        """Trials that a rung has stopped."""
        return sum([self.rung_at(0, i).stopped for i in range(self.rungs * self.brackets)])

    @property
    def sequence(self):
        """Number of the last judgement."""
        return ft_load(&(<SharedRungs *>self.base).sequence)

    cdef SharedRung *rung_at(self, int bracket, int rung) noexcept nogil:
        return <SharedRung *>(<char *>self.base + sizeof(SharedRungs)
                              + rung_bytes() * <uint64_t>(bracket * self.rungs + rung))

    cdef RungState state_of(self, int bracket, int rung) noexcept nogil:
        cdef RungState s
        cdef SharedRung *r = self.rung_at(bracket, rung)
        cdef uint64_t i = bracket * self.rungs + rung
        s.n = r.n
        s.left = r.left
        s.capacity = self.capacity
        s.q = self.q
        s.eta = self.eta
        s.log = <double *>self.rung_at(self.brackets, 0) + 2 * self.capacity * i
        s.heap = s.log + self.capacity
        return s

    cdef int lock(self, int bracket, int rung) noexcept nogil:
        """Take the rung's lock; puts right what a process that died inside has left. -1: it cannot be had, ever."""
        cdef int got = ft_mutex_lock(&self.rung_at(bracket, rung).mutex)
        if got == 1:
            self.take_back(bracket, rung)
        return 0 if got >= 0 else -1

    cdef void take_back(self, int bracket, int rung) noexcept nogil:
        """Undo what the last owner of the rung's lock had begun; the lock is held."""
        cdef SharedRung *r = self.rung_at(bracket, rung)
        cdef SharedRungs *shared = <SharedRungs *>self.base
        cdef RungState s
        if not r.changing:
            return
        s = self.state_of(bracket, rung)
        rung_rebuild(&s, r.length_before)
        r.n = s.n
        r.left = s.left
        r.stopped = r.stopped_before
        if r.number:
            shared.numbers[(ft_next(&shared.taken_back) - 1) % 14] = r.number
        ft_in_order()
        r.changing = 0

    cdef void unlock(self, int bracket, int rung) noexcept nogil:
        cdef SharedRung *r = self.rung_at(bracket, rung)
        ft_in_order()
        r.changing = 0
        ft_in_order()
        pthread_mutex_unlock(&r.mutex)

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

    cdef double seen(self, Standing *of, double value) noexcept nogil:
        """What a trial is judged by that reports ``value``, in the sign in which larger is better."""
        cdef double v = self.sign * value
        if not self.smooth:
            return v
        if v > of.best or of.best != of.best:
            of.best = v
        return of.best

    cdef int judge_locked(self, int bracket, int rung, Standing *of, double v, bint decide) noexcept nogil:
        """Judge and record at a rung; its lock is held. Returns CONTINUE, STOP, or -1 (nothing done) when it is full."""
        cdef SharedRung *r = self.rung_at(bracket, rung)
        cdef RungState s = self.state_of(bracket, rung)
        cdef int decision = 0
        cdef bint below
        if self.eta > 0.0 and v != v:
            v = -INFINITY
        r.length_before = s.n
        r.stopped_before = r.stopped
        r.number = 0
        ft_in_order()          # the compiler may not move, or drop, what another process reads after our death
        r.changing = 1
        ft_in_order()
        below = decide and s.n > 0 and v < rung_cutoff(&s)
        if v == v and rung_push(&s, v) != 0:
            r.changing = 0
            return -1
        r.n = s.n
        r.left = s.left
        if decide:
            of.strikes = of.strikes + 1 if below else 0
            if of.strikes >= self.patience:
                decision = 1
                r.stopped += 1
        of.rung = rung
        of.number = r.number = ft_next(&(<SharedRungs *>self.base).sequence)
        return decision

    cdef int record_at(self, int bracket, int rung, Standing *of, double v, bint decide) noexcept nogil:
        cdef int decision
        if self.lock(bracket, rung) != 0:
            return NO_LOCK
        decision = self.judge_locked(bracket, rung, of, v, decide)
        self.unlock(bracket, rung)
        return decision

    cdef int judge_one(self, uint64_t trial, Standing *of, double t, double value) noexcept nogil:
        cdef int bracket = self.bracket_of(trial), rung
        cdef double v = self.seen(of, value)
        if t >= self.max_t and self.stop_last_trials:
            return 1
        rung = self.reached(bracket, of.rung, t)
        return 0 if rung < 0 else self.record_at(bracket, rung, of, v, True)

    # -- the same rule from Python: the loop's decisions, replay, tests -----------------------------------------------

    cdef Standing *standing_of(self, uint64_t trial) except NULL:
        """Where a trial stands. Grows in blocks: a million trials make no decision wait for their copying."""
        cdef Standing **grown
        cdef Standing *block
        cdef uint64_t room, i, at = trial >> 10
        if at >= self.n_standings:
            room = max(at + 1, 2 * self.n_standings)
            grown = <Standing **>PyMem_RawRealloc(self.standings, room * sizeof(Standing *))
            if grown == NULL:
                raise MemoryError()
            memset(&grown[self.n_standings], 0, (room - self.n_standings) * sizeof(Standing *))
            self.standings = grown
            self.n_standings = room
        if self.standings[at] == NULL:
            block = <Standing *>PyMem_RawMalloc(1024 * sizeof(Standing))
            if block == NULL:
                raise MemoryError()
            for i in range(1024):
                stand_fresh(&block[i])
            self.standings[at] = block
        return &self.standings[at][trial & 1023]

    def standing(self, uint64_t trial):
        """(highest rung it was recorded at or -1, judgements in a row below the cut-off, best value so far or NaN).

        Rungs are numbered by their milestone, lowest first. The best value is kept with ``smooth`` only.
        """
        cdef Standing *of = self.standing_of(trial)
        return of.rung, of.strikes, self.sign * of.best

    def bracket(self, uint64_t trial):
        return self.bracket_of(trial)

    def judge(self, uint64_t trial, double t, double value):
        """CONTINUE or STOP for a report at time ``t``. OverflowError when the rung is full."""
        cdef Standing *of = self.standing_of(trial)
        cdef int decision
        with nogil:
            decision = self.judge_one(trial, of, t, value)
        self.refuse_full(decision)
        return decision

    def complete(self, uint64_t trial, double t, double value):
        """Record a trial's final value at the highest rung it reached, if it is not yet recorded there."""
        cdef Standing *of = self.standing_of(trial)
        cdef int bracket = self.bracket_of(trial)
        cdef int rung = self.reached(bracket, of.rung, t)
        cdef double v = self.seen(of, value)
        if rung >= 0:
            self.refuse_full(self.record_at(bracket, rung, of, v, False))

    def decide(self, trials, times, values, decisions):
        """As :meth:`judge` for each row, in their order; CONTINUE or STOP is put into ``decisions``.

        ValueError unless all are of one length and no trial is negative; OverflowError when a rung is full (the rows
        before it have been decided).
        """
        cdef Batch batch = Batch(trials, times, values, decisions)
        cdef Standing *of
        cdef Py_ssize_t i
        cdef int decision = 0
        for i in range(batch.n):
            self.standing_of(batch.trials[i])
        with nogil:
            for i in range(batch.n):
                of = &self.standings[batch.trials[i] >> 10][batch.trials[i] & 1023]
                decision = self.judge_one(batch.trials[i], of, batch.times[i], batch.values[i])
                if decision < 0:
                    break
                batch.decisions[i] = <signed char>decision
        self.refuse_full(decision)

    cdef int refuse_full(self, int decision) except -1:
        if decision == NO_LOCK:
            raise OSError("the lock of a rung cannot be taken: the memory that the rungs lie in is damaged")
        if decision < 0:
            raise OverflowError(f"a rung is full: {self.capacity} trials have reached it")
        return 0

    def record(self, uint64_t trial, int rung, double value, uint64_t sequence=0, bint stopped=False):
        """Put a judgement of an earlier session back, in the order of their sequence numbers; later ones go on from
        ``sequence``.

        ValueError when the trial's bracket has no such rung: the journal belongs to a rule of other settings.
        """
        cdef int bracket = self.bracket_of(trial)
        cdef SharedRungs *shared = <SharedRungs *>self.base
        cdef Standing nobody
        if not bracket <= rung < self.rungs:
            raise ValueError(f"trial {trial} was judged at rung {rung}; its bracket has the rungs {bracket} to "
                             f"{self.rungs - 1}. Were the scheduler's settings changed?")
        stand_fresh(&nobody)
        self.refuse_full(self.record_at(bracket, rung, &nobody, self.sign * value, False))
        self.rung_at(bracket, rung).stopped += stopped
        if sequence > shared.sequence:
            shared.sequence = sequence

    def repair(self):
        """Put right what processes that died inside a lock have left; the numbers of the judgements that were taken back
        since the last call, the last 14 of them. One whose record is there after all is to be put back by :meth:`record`.
        """
        cdef SharedRungs *shared = <SharedRungs *>self.base
        cdef int b, k, got
        for b in range(self.brackets):
            for k in range(b, self.rungs):
                got = ft_mutex_try(&self.rung_at(b, k).mutex)
                if got == 1:
                    self.take_back(b, k)
                if got == 0 or got == 1:
                    self.unlock(b, k)
        cdef uint64_t n = ft_load(&shared.taken_back)
        first = max(self.repaired, n - 14 if n > 14 else 0)
        self.repaired = n
        return [shared.numbers[i % 14] for i in range(first, n)]

    def state(self):
        """All that was judged, as plain values for :meth:`restore`; values are in the sign in which larger is better."""
        cdef RungState s
        cdef Standing *of
        cdef uint64_t i
        rungs = []
        for b in range(self.brackets):
            for k in range(b, self.rungs):
                s = self.state_of(b, k)
                rungs.append((b, k, self.rung_at(b, k).stopped, [s.log[i] for i in range(s.n)]))
        standings = []
        for i in range(self.n_standings << 10):
            if self.standings[i >> 10] != NULL:
                of = &self.standings[i >> 10][i & 1023]
                if of.rung >= 0 or of.best == of.best:
                    standings.append((i, of.rung, of.strikes, of.best))
        return {"sequence": self.sequence, "rungs": rungs, "standings": standings}

    def restore(self, told):
        """Be where the rule was that :meth:`state` told of. ValueError if it had other rungs, or holds values already."""
        cdef Standing *of
        cdef Standing nobody
        wanted = [(b, k) for b in range(self.brackets) for k in range(b, self.rungs)]
        if [(b, k) for b, k, _, _ in told["rungs"]] != wanted:
            raise ValueError("the state is of a rule with other rungs. Were the scheduler's settings changed?")
        if self.sequence:
            raise ValueError(f"the rule has already judged {self.sequence} times: restore a fresh one")
        stand_fresh(&nobody)
        for b, k, stopped, values in told["rungs"]:
            for value in values:
                self.refuse_full(self.record_at(b, k, &nobody, value, False))
            self.rung_at(b, k).stopped = stopped
        for trial, rung, strikes, best in told["standings"]:
            of = self.standing_of(trial)
            of.rung, of.strikes, of.best = rung, strikes, best
        (<SharedRungs *>self.base).sequence = told["sequence"]

    def rung_sizes(self):
        """Recorded values per bracket and rung, lowest rung first."""
        return [[self.rung_at(s, k).n for k in range(s, self.rungs)] for s in range(self.brackets)]

    def cutoffs(self):
        """[(milestone, what the next value must not be below, or None)] per bracket, highest milestone first, in the
        metric's own sign."""
        cdef RungState s
        out = []
        for b in range(self.brackets):
            rows = []
            for k in range(self.rungs - 1, b - 1, -1):
                s = self.state_of(b, k)
                rows.append((self.milestones[k], None if s.n == 0 else self.sign * rung_cutoff(&s)))
            out.append(rows)
        return out

    def die_inside_lock(self, int rung, double value):
        """For tests: take the lock, change a rung and leave without unlocking, as a killed process does."""
        cdef Standing nobody
        if not 0 <= rung < self.rungs:
            raise ValueError(f"rung must be from 0 to {self.rungs - 1}, got {rung}")
        stand_fresh(&nobody)
        self.refuse_full(NO_LOCK if self.lock(0, rung) != 0 else 0)
        self.judge_locked(0, rung, &nobody, self.sign * value, True)
