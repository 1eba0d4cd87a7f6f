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
#
# The memory grows with what the rungs hold. Where a level of a rung lies in the shared file is a function of its number:
# for R rungs in all, piece k of rung r has 3 * 2 ** k values (log, left heap, right heap) and lies behind R of all smaller
# pieces; the first piece has the lowest 13 levels. So processes that grow a rung have nothing to agree on, and one that
# dies there leaves nothing half done: each maps the levels that hold values when it comes to need them, and has the
# system back the next pages before it writes to them (fallocate, never shrinking), so that a machine that is out of
# memory is an error here and no SIGBUS. The file's size says little, its pages are as many as there are values.
# Price: in 8,192 judgements at a rung three calls of fallocate, in twice as many as so far one of mmap.

cdef extern from *:
    """
    #include <fcntl.h>
    #include <sys/mman.h>
    #include <sys/stat.h>

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
    /* Errors are told as errno says them, 0: none. */
    static int ft_map(int fd, uint64_t at, uint64_t size, void **found) {
        *found = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);
        if (*found != MAP_FAILED) { ft_count(1, (int64_t)size); return 0; }
        *found = NULL;
        return errno;
    }
    static void ft_unmap(void *at, uint64_t size) { munmap(at, size); ft_count(-1, -(int64_t)size); }
    static int ft_share_fd(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 3); }
    static int ft_empty_file(int fd) { return ftruncate(fd, 0) == 0 ? 0 : errno; }
    static int ft_identity(int fd, uint64_t *device, uint64_t *inode) {
        struct stat s;
        if (fstat(fd, &s) != 0) return errno;
        *device = (uint64_t)s.st_dev;
        *inode = (uint64_t)s.st_ino;
        return 0;
    }
    /* Have pages of the file, which becomes longer, never shorter. */
    static int ft_back_pages(int fd, uint64_t at, uint64_t size) {
        struct stat s;
        int e;
    #if defined(__linux__)
        do {
            if (fallocate(fd, 0, (off_t)at, (off_t)size) == 0) return 0;
            e = errno;
        } while (e == EINTR);
        if (e != EOPNOTSUPP && e != ENOSYS) return e;
    #endif
        /* A file system that cannot: the byte is in nobody's use as long as the file ends before it. */
        if (fstat(fd, &s) != 0) return errno;
        if ((uint64_t)s.st_size >= at + size) return 0;
        return pwrite(fd, "", 1, (off_t)(at + size - 1)) == 1 ? 0 : errno;
    }
    static inline uint64_t ft_next(uint64_t *p) { return __atomic_add_fetch(p, 1, __ATOMIC_RELAXED); }
    """
    ctypedef struct pthread_mutex_t:
        pass
    int ft_mutex_init(pthread_mutex_t *m) noexcept nogil
    int ft_mutex_lock(pthread_mutex_t *m) noexcept nogil
    int ft_mutex_try(pthread_mutex_t *m) noexcept nogil
    int ft_map(int fd, uint64_t at, uint64_t size, void **found) noexcept nogil
    void ft_unmap(void *at, uint64_t size) noexcept nogil
    int ft_share_fd(int fd) noexcept nogil
    int ft_empty_file(int fd) noexcept nogil
    int ft_identity(int fd, uint64_t *device, uint64_t *inode) noexcept nogil
    int ft_back_pages(int fd, uint64_t at, uint64_t size) noexcept nogil
    int close(int fd) noexcept nogil
    int pthread_mutex_unlock(pthread_mutex_t *m) noexcept nogil
    uint64_t ft_next(uint64_t *p) noexcept nogil
    double exp(double) noexcept nogil
    double pow(double, double) noexcept nogil
    double floor(double) noexcept nogil


cdef enum:
    MAX_BRACKETS = 16
    RUNG_FULL = -1                       # in the place of a decision: nothing was done, because of that
    NO_LOCK = -2                         # a rung's lock cannot be taken
    NO_MEMORY = -3                       # a rung cannot grow
    STEP = 8192                          # values for which pages are asked for at a time, at most

cdef uint64_t PAGES = 65536              # a multiple of a page, wherever Linux runs
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
    instead of the last. ``fd``, a file, shares the rungs with other processes, which are told ``create=False``; the file is
    emptied first, and only this class writes to it. :meth:`judge`, :meth:`complete` and :meth:`decide` remember where each
    trial stands; reporters do so themselves. A rung grows until it has ``capacity`` values.

    OSError when there is no memory to begin with, or for a rung that shall grow; then nothing was judged.
    """

    def __cinit__(self, double max_t, double grace_period, double reduction_factor, int brackets, bint maximise,
                  bint stop_last_trials=True, uint64_t seed=0, uint64_t capacity=1 << 32, int fd=-1,
                  bint create=True, *, bint rank=False, int patience=1, bint smooth=False):
        cdef int s, i, top = 0
        if not (grace_period > 0 and max_t >= grace_period and reduction_factor > 1 and 0 < brackets <= MAX_BRACKETS):
            raise ValueError("ASHA needs 0 < grace_period <= max_t, reduction_factor > 1 and 1 to 16 brackets")
        if not 0 <= patience <= MAX_RUNGS:
            raise ValueError(f"patience must be from 0 to {MAX_RUNGS} rungs, got {patience}")
        if not 1 <= capacity <= LARGEST_RUNG:
            raise ValueError(f"capacity must be from 1 to {LARGEST_RUNG} values, got {capacity}")
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
        self.levels = <RungLevels *>ft_calloc(self.rungs * brackets, sizeof(RungLevels))
        if self.levels == NULL:
            raise MemoryError()
        self.base_bytes = (sizeof(SharedRungs) + rung_bytes() * self.rungs * brackets + PAGES - 1) & ~(PAGES - 1)
        if fd < 0:
            self.base = ft_calloc(self.base_bytes, 1)
            if self.base == NULL:
                raise MemoryError()
            create = True
        else:
            self.share(fd, create)
        if create:
            for i in range(self.rungs * brackets):
                if ft_mutex_init(&self.rung_at(0, i).mutex) != 0:
                    raise OSError("cannot make a process-shared mutex")

    cdef int share(self, int fd, bint create) except -1:
        """Map the locks. The file stays open here, for growing."""
        cdef int e
        self.fd = ft_share_fd(fd)
        if self.fd < 0:
            raise OSError(errno, f"file descriptor {fd} is none that can be shared: {strerror(errno).decode()}")
        self.shared = True
        e = ft_identity(self.fd, &self.device, &self.inode)
        if e == 0 and create:
            e = ft_empty_file(self.fd)
            if e == 0:
                e = ft_back_pages(self.fd, 0, self.base_bytes)
        if e == 0:
            e = ft_map(self.fd, 0, self.base_bytes, &self.base)
        if e != 0:
            raise OSError(e, f"no memory for the locks of {self.rungs * self.brackets} rungs: {strerror(e).decode()}")
        return 0

    def __dealloc__(self):
        cdef uint64_t i
        cdef int rung, level
        for i in range(self.n_standings):
            ft_free(self.standings[i])
        ft_free(self.standings)
        if self.levels != NULL:
            for rung in range(self.rungs * self.brackets):
                if not self.shared:
                    levels_free(&self.levels[rung])
                elif self.levels[rung].n > 0:
                    ft_unmap(piece_of(&self.levels[rung], 0), piece_bytes(0))
                    for level in range(FIRST_LEVELS, self.levels[rung].n):
                        ft_unmap(piece_of(&self.levels[rung], level), piece_bytes(level))
            ft_free(self.levels)
        if not self.shared:
            ft_free(self.base)
        else:
            if self.base != NULL:
                ft_unmap(self.base, self.base_bytes)
            if self.fd >= 0:
                close(self.fd)

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
        s.n = r.n
        s.left = r.left
        s.capacity = self.capacity
        s.q = self.q
        s.eta = self.eta
        s.at = &self.levels[bracket * self.rungs + rung]
        return s

    cdef RungState looked_at(self, int bracket, int rung) except *:
        """For those who only look, and do not wait for the lock: its values are here. This needs the GIL, which all have
        who look at, or put something into, rungs that are shared."""
        cdef RungState s = self.state_of(bracket, rung)
        cdef int e
        if self.shared:
            e = self.map_levels(bracket * self.rungs + rung, s.n)
            if e != 0:
                raise OSError(e, f"no memory to look at a rung: {strerror(e).decode()}")
        return s

    cdef int map_levels(self, uint64_t i, uint64_t n) noexcept nogil:
        """Have the levels of n values in this process's address space. 0, or what errno says."""
        cdef RungLevels *here = &self.levels[i]
        cdef uint64_t all = self.rungs * self.brackets, piece, at, device, inode
        cdef void *found
        cdef int e
        while first_of(here.n) < n:
            # If somebody closed all that is open, the number may be of another file by now.
            e = ft_identity(self.fd, &device, &inode)
            if e == 0 and (device != self.device or inode != self.inode):
                e = EBADF
            if e != 0:
                return e
            piece = piece_bytes(here.n)
            at = self.base_bytes + piece * (i if here.n == 0 else all + i)
            e = ft_map(self.fd, at, piece, &found)
            if e != 0:
                return e
            levels_lie_at(here, found)
        return 0

    cdef int back(self, uint64_t i, int array, uint64_t begin, uint64_t end) noexcept nogil:
        """Have pages for an array's values from ``begin`` to ``end``. 0, or what errno says."""
        cdef uint64_t all = self.rungs * self.brackets, stop, at
        cdef int level, e
        while begin < end:
            level = ft_level_of(begin)
            if level < FIRST_LEVELS:
                stop = first_of(FIRST_LEVELS)
                at = piece_bytes(0) * i + (sizeof(double) << FIRST_LEVELS) * array + sizeof(double) * begin
            else:
                stop = first_of(level + 1)
                at = piece_bytes(level) * (all + i) + (sizeof(double) << level) * array \
                    + sizeof(double) * (begin - first_of(level))
            if stop > end:
                stop = end
            e = ft_back_pages(self.fd, self.base_bytes + at, sizeof(double) * (stop - begin))
            if e != 0:
                return e
            begin = stop
        return 0

    cdef int grow(self, uint64_t i, uint64_t n) noexcept nogil:
        """Room for n values and some more; the rung, which has one less, is locked. 0, or what errno says."""
        cdef RungLevels *here = &self.levels[i]
        cdef uint64_t had, more
        cdef RungState s
        cdef int e
        if n > self.capacity:
            return 0                       # there will be no more
        if not self.shared:
            return 0 if levels_take(here, n) == 0 else ENOMEM
        e = self.map_levels(i, n)
        if e != 0:
            return e
        had = n - 1                        # whoever put these there had pages for them
        more = had + (STEP if had > STEP else 1024 if had < 1024 else had)
        if more > first_of(here.n):
            more = first_of(here.n)
        s.q, s.eta = self.q, self.eta
        e = self.back(i, 0, had, more)
        if e == 0:
            e = self.back(i, 1, left_size(&s, had) if had > 0 else 0, left_size(&s, more))
        if e == 0:
            e = self.back(i, 2, had - left_size(&s, had) if had > 0 else 0, more - left_size(&s, more))
        if e == 0:
            here.room = more
        return e

    cdef int entered(self, int bracket, int rung) noexcept nogil:
        """The rung's lock was taken: see what it holds, with room for one more, and put right what somebody left who died
        inside. If that cannot be, it is unlocked."""
        cdef SharedRung *r = self.rung_at(bracket, rung)
        cdef uint64_t i = bracket * self.rungs + rung
        cdef int e
        if r.n >= self.levels[i].room:
            e = self.grow(i, r.n + 1)
            if e != 0:
                self.failure = e
                pthread_mutex_unlock(&r.mutex)
                return NO_MEMORY
        if r.changing:
            self.take_back(bracket, rung)
        return 0

    cdef int lock(self, int bracket, int rung) noexcept nogil:
        """Take the rung's lock. NO_LOCK: it cannot be had, ever. NO_MEMORY: the rung has to grow, and cannot."""
        cdef SharedRung *r = self.rung_at(bracket, rung)
        if ft_mutex_lock(&r.mutex) < 0:
            return NO_LOCK
        if r.n >= self.levels[bracket * self.rungs + rung].room or r.changing:
            return self.entered(bracket, rung)
        return 0

    cdef void take_back(self, int bracket, int rung) noexcept nogil:
        """Undo what the last owner of the rung's lock had begun; the lock is held."""
        cdef SharedRung *r = self.rung_at(bracket, rung)
        cdef SharedRungs *shared = <SharedRungs *>self.base
        cdef RungState s = self.state_of(bracket, rung)
        check(r.length_before <= s.at.room)
        rung_rebuild(&s, r.length_before)
        r.n = s.n
        r.left = s.left
        r.stopped = r.stopped_before
        if r.number:
            shared.numbers[(ft_next(&shared.taken_back) - 1) % 14] = r.number
        ft_in_order()
        r.changing = 0

    cdef void settle(self, int bracket, int rung) noexcept nogil:
        """The last judgement stands; the lock is held."""
        ft_in_order()
        self.rung_at(bracket, rung).changing = 0
        ft_in_order()

    cdef void unlock(self, int bracket, int rung) noexcept nogil:
        self.settle(bracket, rung)
        pthread_mutex_unlock(&self.rung_at(bracket, rung).mutex)

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
        """Judge and record at a rung; its lock is held. Returns CONTINUE, STOP, or RUNG_FULL."""
        cdef SharedRung *r = self.rung_at(bracket, rung)
        cdef RungState s = self.state_of(bracket, rung)
        cdef int decision = 0
        cdef bint below
        if self.eta > 0.0 and v != v:
            v = -INFINITY
        check(bracket <= rung)
        check(rung < self.rungs)
        check(not r.changing)
        check(s.n < s.at.room or s.n == s.capacity)
        r.length_before = s.n
        r.stopped_before = r.stopped
        r.number = 0
        ft_in_order()          # the compiler may not move, or drop, what another process reads after our death
        r.changing = 1
        ft_in_order()
        below = decide and s.n > 0 and v < rung_cutoff(&s)
        if v == v and rung_push(&s, v) != 0:
            r.changing = 0
            return RUNG_FULL
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
        cdef int decision = self.lock(bracket, rung)
        if decision != 0:
            return decision
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
            grown = <Standing **>ft_realloc(self.standings, room * sizeof(Standing *))
            if grown == NULL:
                raise MemoryError()
            memset(&grown[self.n_standings], 0, (room - self.n_standings) * sizeof(Standing *))
            self.standings = grown
            self.n_standings = room
        if self.standings[at] == NULL:
            block = <Standing *>ft_malloc(1024 * sizeof(Standing))
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
        self.refuse(decision)
        return decision

    def complete(self, uint64_t trial, double t, double value):
        """Record a trial's final value at the highest rung it reached, if it is not yet recorded there."""
        cdef Standing *of = self.standing_of(trial)
        cdef int bracket = self.bracket_of(trial)
        cdef int rung = self.reached(bracket, of.rung, t)
        cdef double v = self.seen(of, value)
        if rung >= 0:
            self.refuse(self.record_at(bracket, rung, of, v, False))

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
        self.refuse(decision)

    cdef int refuse(self, int decision) except -1:
        if decision == NO_LOCK:
            raise OSError("the lock of a rung cannot be taken: the memory that the rungs lie in is damaged")
        if decision == NO_MEMORY:
            raise OSError(self.failure, f"no memory for the values of a rung: {strerror(self.failure).decode()}")
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
        self.refuse(self.record_at(bracket, rung, &nobody, self.sign * value, False))
        self.rung_at(bracket, rung).stopped += stopped
        if sequence > shared.sequence:
            shared.sequence = sequence

    def repair(self):
        """Put right what processes that died inside a lock have left; the numbers of the judgements that were taken back
        since the last call, the last 14 of them. One whose record is there after all is to be put back by :meth:`record`.
        """
        cdef SharedRungs *shared = <SharedRungs *>self.base
        cdef SharedRung *r
        cdef int b, k, got
        for b in range(self.brackets):
            for k in range(b, self.rungs):
                r = self.rung_at(b, k)
                got = ft_mutex_try(&r.mutex)
                if got != 0 and got != 1:
                    continue
                if not r.changing:
                    pthread_mutex_unlock(&r.mutex)
                elif self.entered(b, k) == 0:
                    self.unlock(b, k)
        cdef uint64_t n = ft_load(&shared.taken_back)
        first = max(self.repaired, n - 14 if n > 14 else 0)
        self.repaired = n
        return [shared.numbers[i % 14] for i in range(first, n)]

    def let_go(self):
        """Let go of the file: nobody judges any more. What the rungs hold is there to be looked at as ever; they cannot grow."""
        cdef int i
        if not self.shared or self.fd < 0:
            return
        for i in range(self.rungs * self.brackets):
            if self.map_levels(i, self.rung_at(0, i).n) != 0:
                return                     # no room in the address space: what is asked for later may find some
        close(self.fd)
        self.fd = -1

    def state(self):
        """All that was judged, as plain values for :meth:`restore`; values are in the sign in which larger is better."""
        cdef RungState s
        cdef Standing *of
        cdef uint64_t i
        rungs = []
        for b in range(self.brackets):
            for k in range(b, self.rungs):
                s = self.looked_at(b, k)
                rungs.append((b, k, self.rung_at(b, k).stopped, [logged(&s, i) for i in range(s.n)]))
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
                self.refuse(self.record_at(b, k, &nobody, value, False))
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
                s = self.looked_at(b, k)
                rows.append((self.milestones[k], None if s.n == 0 else self.sign * rung_cutoff(&s)))
            out.append(rows)
        return out

    def die_inside_lock(self, int rung, double value):
        """For tests: take the lock, change a rung and leave without unlocking, as a killed process does."""
        cdef Standing nobody
        if not 0 <= rung < self.rungs:
            raise ValueError(f"rung must be from 0 to {self.rungs - 1}, got {rung}")
        stand_fresh(&nobody)
        self.refuse(self.lock(0, rung))
        self.judge_locked(0, rung, &nobody, self.sign * value, True)
