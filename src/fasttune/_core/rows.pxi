# Rows: trials that are evaluated together, in one call, and report together.
#
# What n trials of one process do at one moment is one record, K_ROWS, of a byte per trial and what they report; each of its
# rows stands for up to three records of that trial: it begins, it reports, it ends. Its payload, every part padded to 8 bytes:
#
#   uint32   n, then pid (as in a record of a start)
#   float64  with R_BEGAN: when those have begun that begin
#   uint8    per row: W_*
#   uint32   per row the trial, with R_NUMBERED, growing; else they are `trial`, `trial` + 1, ...
#   uint32   per row the step, with R_STEPS; else all are at `step`
#   float64  with R_VALUES: they report; a column for each metric of `schema`, one after the other
#   uint64   per row, with R_TAGS: its judgement as a report has it, 0 without one
#
# Price (`benchmarks/bench_vectors.py`): a row of one metric is 9 bytes in the journal, where the three records are 104.

cdef enum:
    R_NUMBERED = 0x01
    R_STEPS = 0x02
    R_VALUES = 0x04
    R_TAGS = 0x08
    R_BEGAN = 0x10

    W_DECISION = 0x03    # CONTINUE, STOP, ASKED
    W_END_JUDGED = 0x04  # the tag is that of its end
    W_JUDGED = 0x08      # the tag is that of its report
    W_BEGAN = 0x10
    W_ENDED = 0x40       # by itself
    W_STOPPED = 0x80     # ended: it was told to stop

    MOST_ROWS = 4096     # of one record, at most


cdef struct RowParts:                    # where the parts of such a record lie
    uint32_t n
    uint32_t pid
    double began
    const uint8_t *flags
    const uint32_t *trials               # NULL: they follow each other
    const uint32_t *steps                # NULL: all at the record's
    const double *values                 # NULL: none reports
    const uint64_t *tags                 # NULL: none was judged


cdef inline Py_ssize_t rows_bytes(uint32_t n, int flags, int width) noexcept nogil:
    """Bytes of a record of n rows."""
    cdef Py_ssize_t quads = padded(4 * <Py_ssize_t>n)
    return (RECORD_HEADER + 8 + (8 if flags & R_BEGAN else 0) + padded(n) + (quads if flags & R_NUMBERED else 0) + (quads if flags & R_STEPS else 0)
            + (8 * <Py_ssize_t>n * width if flags & R_VALUES else 0) + (8 * <Py_ssize_t>n if flags & R_TAGS else 0))


cdef inline uint32_t rows_of(const Record *r) noexcept nogil:
    """How many rows a record says it has; 0 for one that is too short to say it."""
    return (<const uint32_t *>(<const char *>r + RECORD_HEADER))[0] if r.size >= RECORD_HEADER + 8 else 0


cdef int read_rows(const Record *r, int width, Py_ssize_t end, RowParts *to) except -1:
    """Find the parts of a record; ``end`` is the byte behind it. ValueError if they do not make up all of it."""
    cdef const char *p = <const char *>r + RECORD_HEADER
    cdef Py_ssize_t quads
    to.n = rows_of(r)
    if not 0 < to.n <= MOST_ROWS or r.size != rows_bytes(to.n, r.flags, width):
        raise ValueError(f"damaged record before byte {end}: {r.size} bytes are not those of {to.n} rows")
    to.pid = (<const uint32_t *>p)[1]
    p += 8
    to.began = r.time
    if r.flags & R_BEGAN:
        to.began = (<const double *>p)[0]
        p += 8
    to.flags = <const uint8_t *>p
    p += padded(to.n)
    quads = padded(4 * <Py_ssize_t>to.n)
    to.trials = to.steps = NULL
    to.values = NULL
    to.tags = NULL
    if r.flags & R_NUMBERED:
        to.trials = <const uint32_t *>p
        p += quads
    if r.flags & R_STEPS:
        to.steps = <const uint32_t *>p
        p += quads
    if r.flags & R_VALUES:
        to.values = <const double *>p
        p += 8 * <Py_ssize_t>to.n * width
    if r.flags & R_TAGS:
        to.tags = <const uint64_t *>p
    return 0


cdef inline uint32_t trial_of(const Record *r, const RowParts *of, uint32_t i) noexcept nogil:
    return of.trials[i] if of.trials != NULL else r.trial + i


cdef inline uint32_t step_of(const Record *r, const RowParts *of, uint32_t i) noexcept nogil:
    return of.steps[i] if of.steps != NULL else r.step


cdef int end_of_row(uint8_t flags) noexcept nogil:
    """The flags of a row's end, -1 if it does not end."""
    if flags & W_STOPPED:
        return 1 | (F_JUDGED if flags & W_END_JUDGED else 0)
    if flags & W_ENDED:
        return F_JUDGED if flags & W_END_JUDGED else 0
    return -1


cdef int decode_rows(const Record *r, Py_ssize_t at, list out) except -1:
    """The records that the rows of one stand for, in order; see ``decode``. What an end was judged by is not told: it is 0."""
    cdef RowParts of
    cdef uint32_t i, n = rows_of(r), begins = 0
    cdef int j, ended, width = 0
    cdef bytearray values
    if r.flags & R_VALUES and n:
        width = <int>((<Py_ssize_t>r.size - rows_bytes(n, r.flags, 0)) // (8 * <Py_ssize_t>n))
    read_rows(r, width, at + r.size, &of)
    values = bytearray(8 * width)
    if not r.flags & R_VALUES:
        begins = 1
    for i in range(of.n):
        trial, step, told = trial_of(r, &of, i), step_of(r, &of, i), of.flags[i]
        tag = PyBytes_FromStringAndSize(<const char *>&of.tags[i], 8) if of.tags != NULL else b""
        if told & W_BEGAN:
            out.append((K_START, 0, 0, trial, step - 1 + begins, of.began,
                        int(of.pid).to_bytes(4, "little") + bytes(12)))
        if r.flags & R_VALUES:
            for j in range(width):
                (<double *>PyByteArray_AS_STRING(values))[j] = of.values[j * <Py_ssize_t>of.n + i]
            out.append((K_REPORT, (told & W_DECISION) | (told & W_JUDGED), r.schema, trial, step, r.time,
                        bytes(values) + (tag if told & W_JUDGED else b"")))
        ended = end_of_row(told)
        if ended >= 0:
            out.append((K_END, ended, 0, trial, step, r.time, bytes(8) + tag if told & W_END_JUDGED else b""))
    return 0


cdef struct RowLife:                     # what a Reporter knows of the trial that runs, of one that waits for its turn
    uint32_t trial
    uint32_t iteration
    uint32_t ask_from
    int bracket
    double started
    double base_total
    double next_t
    Standing standing
    double last_value, last_t
    bint has_last
    bint told                            # to stop
    uint8_t flags                        # W_BEGAN: its beginning is still to be told


cdef class RowReporter:
    """Up to ``size`` trials that report together through ``reporter``, whose metric, rule, limits and ring are theirs.

    Rows are numbered as they came, from 0; :meth:`keep` leaves some out. One thread uses it, and nobody else the reporter.
    """

    def __cinit__(self, Reporter reporter not None, Py_ssize_t size, uint32_t pid=0):
        if not 0 < size <= 1 << 24:
            raise ValueError(f"size must be from 1 to 2^24 rows, got {size}")
        self.reporter = reporter
        self.pid = pid
        self.size = size
        self.lives = <RowLife *>ft_calloc(size, sizeof(RowLife))
        self.flags = <uint8_t *>ft_calloc(size, 1)
        self.tags = <uint64_t *>ft_calloc(size, sizeof(uint64_t))
        if self.lives == NULL or self.flags == NULL or self.tags == NULL:
            raise MemoryError()

    def __dealloc__(self):
        ft_free(self.lives)
        ft_free(self.flags)
        ft_free(self.tags)

    def __len__(self):
        return self.n

    # -- beginning ----------------------------------------------------------------------------------------------------

    def begin(self, uint32_t first, Py_ssize_t n, uint32_t ask_from=0xFFFFFFFF):
        """The trials first .. first+n-1 begin for the first time; the journal hears of it with their first report, or by
        :meth:`tell_begun`. ValueError if there are not as many rows left."""
        cdef Py_ssize_t i
        cdef RowLife life
        cdef Reporter of = self.reporter
        cdef double now = ring_now(of.ring)
        if not 0 <= n <= self.size - self.n:
            raise ValueError(f"{self.size - self.n} rows are free, and {n} trials are to begin")
        if self.n and self.lives[self.n - 1].flags & W_BEGAN:
            now = self.lives[self.n - 1].started  # with those, so that one record can tell of all
        memset(&life, 0, sizeof(RowLife))
        life.ask_from = ask_from
        life.started = now
        life.flags = W_BEGAN
        stand_fresh(&life.standing)
        life.next_t = INFINITY
        for i in range(n):
            life.trial = first + <uint32_t>i
            if of.rule is not None:
                life.bracket = of.rule.bracket_of(life.trial)
                life.next_t = of.rule.milestones[life.bracket] if life.bracket < of.rule.rungs else INFINITY
            self.lives[self.n + i] = life
        self.n += n

    def begin_again(self, uint32_t trial, uint32_t iteration=0, double base_total=0.0, int rung=-1, uint32_t ask_from=0xFFFFFFFF,
                    uint32_t changes=0, int strikes=0, double best=NAN):
        """One trial begins as :meth:`Reporter.begin` has it, with a record of its own. False when the ring is full."""
        if self.n >= self.size:
            raise ValueError(f"all {self.size} rows are taken")
        if not self.reporter.begin(trial, iteration, base_total, rung, ask_from, self.pid, changes, strikes, best):
            return False
        ft_store(&self.reporter.ring.h.busy_trial, 0)
        memset(&self.lives[self.n], 0, sizeof(RowLife))
        self.leave(self.reporter, &self.lives[self.n])
        self.n += 1
        return True

    cdef void enter(self, Reporter of, const RowLife *life) noexcept nogil:
        """Make this row's trial the one that runs."""
        of.trial = life.trial
        of.iteration = life.iteration
        of.ask_from = life.ask_from
        of.bracket = life.bracket
        of.started = life.started
        of.base_total = life.base_total
        of.next_t = life.next_t
        of.standing = life.standing
        of.told_to_stop = life.told

    cdef void leave(self, Reporter of, RowLife *life) noexcept nogil:
        life.trial = of.trial
        life.iteration = of.iteration
        life.ask_from = of.ask_from
        life.bracket = of.bracket
        life.started = of.started
        life.base_total = of.base_total
        life.next_t = of.next_t
        life.standing = of.standing

    # -- what is told of all ------------------------------------------------------------------------------------------

    cdef Py_ssize_t stretch(self, uint64_t capacity, Py_ssize_t start, int width, int *flags) noexcept nogil:
        """How many rows from ``start`` on make one record, and what it must have of R_NUMBERED, R_STEPS and R_BEGAN."""
        cdef Py_ssize_t n = 1
        cdef Py_ssize_t most = <Py_ssize_t>(capacity // 4) // (8 * width + 24)
        cdef const RowLife *a = &self.lives[start]
        flags[0] = R_BEGAN if a[0].flags & W_BEGAN else 0
        self.began = a[0].started
        most = 1 if most < 1 else MOST_ROWS if most > MOST_ROWS else most
        while n < most and start + n < self.n and a[n].trial > a[n - 1].trial:
            if a[n].flags & W_BEGAN and not self.begins_with(&a[n], flags):
                break
            if a[n].trial != a[n - 1].trial + 1:
                flags[0] |= R_NUMBERED
            if a[n].iteration != a[0].iteration:
                flags[0] |= R_STEPS
            n += 1
        return n

    cdef bint begins_with(self, const RowLife *life, int *flags) noexcept nogil:
        """Whether a record can tell of this beginning, too: it has one time for all."""
        if flags[0] & R_BEGAN:
            return life.started == self.began
        flags[0] |= R_BEGAN
        self.began = life.started
        return True

    cdef char *put(self, Record *r, Py_ssize_t start, uint32_t n, int flags, int schema, uint32_t more, double now) noexcept nogil:
        """Write a record up to its values, whose place is returned; ``more`` steps than so far have been done."""
        cdef char *p = <char *>r + RECORD_HEADER
        cdef const RowLife *a = &self.lives[start]
        cdef uint32_t i
        cdef uint32_t size = <uint32_t>rows_bytes(n, flags, self.width)
        fill(r, size, K_ROWS, flags, schema, a.trial, a.iteration + more, now)
        (<uint32_t *>p)[0] = n
        (<uint32_t *>p)[1] = self.pid
        p += 8
        if flags & R_BEGAN:
            (<double *>p)[0] = self.began
            p += 8
        (<uint64_t *>(p + padded(n) - 8))[0] = 0
        memcpy(p, self.flags + start, n)
        p += padded(n)
        if flags & R_NUMBERED:
            (<uint64_t *>(p + padded(4 * <Py_ssize_t>n) - 8))[0] = 0
            for i in range(n):
                (<uint32_t *>p)[i] = a[i].trial
            p += padded(4 * <Py_ssize_t>n)
        if flags & R_STEPS:
            (<uint64_t *>(p + padded(4 * <Py_ssize_t>n) - 8))[0] = 0
            for i in range(n):
                (<uint32_t *>p)[i] = a[i].iteration + more
            p += padded(4 * <Py_ssize_t>n)
        return p

    def tell_begun(self, Py_ssize_t start=0):
        """Tell of the beginnings that were not told, from row ``start`` on: how many rows were looked at, fewer than there are
        when the ring is full."""
        cdef Py_ssize_t n
        cdef int flags
        cdef Record *r
        cdef double now = ring_now(self.reporter.ring)
        self.width = 0
        while start < self.n:
            if not self.lives[start].flags & W_BEGAN:
                start += 1
                continue
            n = 1
            self.flags[start] = W_BEGAN
            while n < MOST_ROWS and start + n < self.n and self.lives[start + n].flags & W_BEGAN and (
                    self.lives[start + n].trial == self.lives[start].trial + n
                    and self.lives[start + n].started == self.lives[start].started):
                self.flags[start + n] = W_BEGAN
                n += 1
            flags = R_BEGAN
            self.began = self.lives[start].started
            r = self.reporter.ring.reserve(<uint32_t>rows_bytes(<uint32_t>n, flags, 0))
            if r == NULL:
                return start
            self.put(r, start, <uint32_t>n, flags, 0, 0, now)
            self.reporter.ring.publish(False)
            for i in range(n):
                self.lives[start + i].flags = 0
            start += n
        return self.n

    def report(self, tuple keys not None, bytes kinds not None, list columns not None, decisions, Py_ssize_t start=0,
               bint last=False):
        """All rows report, those from ``start`` on are told: how many rows have been by now, fewer than there are when the ring
        has to be drained first; MISSING (nothing is told) if the run's metric is not there.

        ``columns`` are of float64, one for each of ``keys``, as long as there are rows; ``kinds`` as in a schema. Per row
        CONTINUE, STOP or WAIT is put into ``decisions``. One that is told STOP has ended with that report; with ``last`` those
        that are told CONTINUE have, too, by themselves. ``answers`` has bit k where somebody was told k.
        """
        cdef Reporter of = self.reporter
        cdef Schema s
        cdef Numbers to = Numbers(decisions, 1, "bB", True)
        cdef list held = []
        cdef const double **from_ = NULL
        cdef int j, width = <int>len(keys), code
        if to.n != self.n or len(columns) != width:
            raise ValueError(f"{len(columns)} columns for {width} metrics, decisions of {to.n} rows; there are {self.n}")
        for column in columns:
            one = Numbers(column, 8, "d")
            if (<Numbers>one).n != self.n:
                raise ValueError(f"a column of {(<Numbers>one).n} numbers for {self.n} rows")
            held.append(one)
        s = of.schemas.get((keys, kinds))
        if s is None:
            s = of.announce(keys, kinds)
            if s is None:
                return start
        if of.strict and s.metric < 0:
            return MISSING_
        if width > of.room:
            grown = <double *>ft_realloc(of.values, width * sizeof(double))
            if grown == NULL:
                raise MemoryError()
            of.values = grown
            of.room = width
        if rows_bytes(1, R_NUMBERED | R_STEPS | R_VALUES | R_TAGS, width) > <Py_ssize_t>of.ring.capacity // 2:
            raise ValueError(f"a report of {width} metrics is too large for a ring of {of.ring.capacity} bytes")
        from_ = <const double **>ft_malloc(max(1, width) * sizeof(double *))
        if from_ == NULL:
            raise MemoryError()
        for j in range(width):
            from_[j] = <const double *>(<Numbers>held[j]).at
        self.failed = 0
        self.last = last
        if start == 0:
            self.answers = 0
        try:
            with nogil:
                while start < self.n:
                    code = self.report_some(of, of.ring, s, from_, <signed char *>to.at, &start)
                    if code <= 0:
                        break
        finally:
            ft_free(from_)
        if self.failed:
            of.rule.refuse(self.failed)
        return start

    cdef int report_some(self, Reporter of, Ring ring, Schema s, const double **columns, signed char *decisions,
                         Py_ssize_t *start) noexcept nogil:
        """One record of rows from ``start`` on, which moves behind them. 0 when the ring is full."""
        cdef int flags, j, decision, rung, failed = 0, judged = 0, held = -1
        cdef Py_ssize_t i, n
        cdef RowLife *life
        cdef Record *r
        cdef double now, v
        cdef double *to
        cdef uint8_t told
        cdef double until
        n = self.stretch(ring.capacity, start[0], s.n, &flags)
        self.width = s.n
        # Room for it is looked for before anything is judged; then nobody else writes.
        if ring.reserve(<uint32_t>rows_bytes(<uint32_t>n, flags | R_VALUES | R_TAGS, s.n)) == NULL:
            return 0
        now = ring_now(ring)
        until = self.decided_from(of, s)
        if ft_load(&ring.h.stop_trial) != 0:
            until = 0.0
        for i in range(start[0], start[0] + n):
            life = &self.lives[i]
            if life.iteration + 1 < until and life.ask_from == NEVER and not life.told:
                judged |= self.report_plain(of, life, i, s.metric, columns, decisions, &held)
                continue
            self.let_go(of, &held)
            self.enter(of, life)
            for j in range(s.n):
                of.values[j] = columns[j][i]
            rung = -1
            decision = of.decide(s, now, life.iteration + 1, True, &rung, &failed)
            told = life.flags | <uint8_t>decision
            self.tags[i] = 0
            if failed:
                self.failed = failed
                failed = 0
            if rung >= 0:
                of.rule.unlock(of.bracket, rung)
                self.tags[i] = tag_of(&of.standing)
                told |= W_JUDGED
                judged = R_TAGS
                of.aim()
            of.iteration = life.iteration + 1
            life.has_last = s.metric >= 0
            if life.has_last:
                life.last_value = of.values[s.metric]
                life.last_t = of.clock(of.clock_kind, s.clock, now, of.iteration)
            if decision == 1 or (self.last and decision == 0):
                told |= W_STOPPED if decision == 1 else W_ENDED
                if self.judge_end(of, life, &self.tags[i]):
                    told |= W_END_JUDGED
                    judged = R_TAGS
            life.next_t = of.next_t
            life.standing = of.standing
            self.flags[i] = told
            decisions[i] = <signed char>decision
            self.answers |= 1 << decision
        self.let_go(of, &held)
        flags |= R_VALUES | judged
        r = ring.reserve(<uint32_t>rows_bytes(<uint32_t>n, flags, s.n))
        to = <double *>self.put(r, start[0], <uint32_t>n, flags, s.number, 1, now)
        for j in range(s.n):
            memcpy(to, columns[j] + start[0], n * sizeof(double))
            to += n
        if judged:
            memcpy(to, self.tags + start[0], n * sizeof(uint64_t))
        ring.publish(False)
        for i in range(start[0], start[0] + n):
            self.lives[i].iteration += 1
            self.lives[i].flags = 0
        of.reports += n
        start[0] += n
        return 1

    cdef int report_plain(self, Reporter of, RowLife *life, Py_ssize_t i, int metric, const double **columns, signed char *decisions,
                          int *held) noexcept nogil:
        """Row i, about which at most the rule's next milestone decides. R_TAGS if that has judged it."""
        cdef int rung = -1, decision = 0, judged = 0
        cdef double step = life.iteration + 1
        cdef uint8_t told = life.flags
        self.tags[i] = 0
        life.has_last = metric >= 0
        if metric >= 0:
            life.last_value, life.last_t = columns[metric][i], step
        if step >= life.next_t:
            rung = of.rule.reached(life.bracket, life.standing.rung, step)
        if rung >= 0:
            decision = self.judge_row(of, life, rung, held)
            if decision < 0:
                self.failed = decision
                decision = 1
            else:
                self.tags[i] = tag_of(&life.standing)
                told |= W_JUDGED
                judged = R_TAGS
                rung = life.standing.rung + 1 if life.standing.rung + 1 > life.bracket else life.bracket
                life.next_t = of.rule.milestones[rung] if rung < of.rule.rungs else INFINITY
        if decision == 1 or self.last:
            told |= W_STOPPED if decision == 1 else W_ENDED
            if self.judges_end(of, life):
                self.let_go(of, held)
                self.enter(of, life)
                if self.judge_end(of, life, &self.tags[i]):
                    told |= W_END_JUDGED
                    judged = R_TAGS
                life.standing = of.standing
        self.flags[i] = told | <uint8_t>decision
        decisions[i] = <signed char>decision
        self.answers |= 1 << decision
        return judged

    cdef int judge_row(self, Reporter of, RowLife *life, int rung, int *held) noexcept nogil:
        """Judge a row at a rung. Its lock stays ``held`` for the rows behind: those of a record are mostly at the same rung, and taking
        a lock costs as much as judging. CONTINUE, STOP, or why it cannot be."""
        cdef int code = 0, at = life.bracket * of.rule.rungs + rung
        if held[0] != at:
            self.let_go(of, held)
            code = of.rule.lock(life.bracket, rung)
        elif of.rule.rung_at(life.bracket, rung).n >= of.rule.levels[at].room:
            code = of.rule.entered(life.bracket, rung)
        held[0] = at if code == 0 else -1
        if code == 0:
            code = of.rule.judge_locked(life.bracket, rung, &life.standing, of.rule.seen(&life.standing, life.last_value), True)
            of.rule.settle(life.bracket, rung)
        return code

    cdef void let_go(self, Reporter of, int *held) noexcept nogil:
        """The rung whose lock is held, if there is one, is anybody's again."""
        if held[0] >= 0:
            of.rule.unlock(held[0] // of.rule.rungs, held[0] % of.rule.rungs)
            held[0] = -1

    cdef double decided_from(self, Reporter of, Schema s) noexcept nogil:
        """The step from which on each row's report has to be looked at, whatever its next milestone. Where steps do not tell: 0."""
        if of.n_limits or s.done >= 0:
            return 0.0
        if of.rule is None or s.metric < 0:
            return INFINITY
        if of.clock_kind != 0 or s.clock >= 0 or of.rule.smooth:
            return 0.0
        return of.rule.max_t if of.rule.stop_last_trials else INFINITY

    cdef bint judges_end(self, Reporter of, const RowLife *life) noexcept nogil:
        """Whether a trial that ends here is recorded at a rung that it reached."""
        return of.rule is not None and life.has_last and life.ask_from == NEVER and (
            of.rule.reached(life.bracket, life.standing.rung, life.last_t) >= 0)

    cdef bint judge_end(self, Reporter of, RowLife *life, uint64_t *tag) noexcept nogil:
        """The trial that runs is over: record its last value at the highest rung that it reached, if it is not there yet."""
        cdef int rung, code
        if of.rule is None or not life.has_last or life.ask_from != NEVER:
            return False
        rung = of.rule.reached(of.bracket, of.standing.rung, life.last_t)
        if rung < 0 or of.rule.lock(of.bracket, rung) != 0:
            return False
        code = of.rule.judge_locked(of.bracket, rung, &of.standing, of.rule.seen(&of.standing, life.last_value), False)
        of.rule.unlock(of.bracket, rung)
        if code < 0:
            return False
        tag[0] = tag_of(&of.standing)
        return True

    def end(self, ends, Py_ssize_t start=0):
        """Rows end that have not by a report: ``ends`` has per row 0 (it does not), 1 (it was told to stop) or 2 (by itself).
        How many rows were looked at, fewer than there are when the ring is full."""
        cdef Reporter of = self.reporter
        cdef Numbers how = Numbers(ends, 1, "bB")
        cdef Py_ssize_t n, i
        cdef int flags
        cdef Record *r
        cdef RowLife *life
        cdef double now = ring_now(of.ring)
        if how.n != self.n:
            raise ValueError(f"ends of {how.n} rows, and there are {self.n}")
        self.width = 0
        while start < self.n:
            if how.at[start] == 0:
                start += 1
                continue
            life = &self.lives[start]
            if self.judges_end(of, life):
                self.enter(of, life)                       # it is judged by its end: a record of its own says by which value
                of.has_last, of.last_value, of.last_t = True, life.last_value, life.last_t
                if not of.end(1 if how.at[start] == 1 else 0):
                    return start
                start += 1
                continue
            n = 0
            flags = 0
            while n < MOST_ROWS and start + n < self.n and how.at[start + n] and (
                    n == 0 or self.lives[start + n].trial > self.lives[start + n - 1].trial):
                life = &self.lives[start + n]
                if self.judges_end(of, life):
                    break
                if life.flags & W_BEGAN and not self.begins_with(life, &flags):
                    break
                self.flags[start + n] = (W_STOPPED if how.at[start + n] == 1 else W_ENDED) | life.flags
                if n and life.trial != self.lives[start + n - 1].trial + 1:
                    flags |= R_NUMBERED
                if life.iteration != self.lives[start].iteration:
                    flags |= R_STEPS
                n += 1
            r = of.ring.reserve(<uint32_t>rows_bytes(<uint32_t>n, flags, 0))
            if r == NULL:
                return start
            self.put(r, start, <uint32_t>n, flags, 0, 0, now)
            of.ring.publish(False)
            for i in range(n):
                self.lives[start + i].flags = 0
            start += n
        return self.n

    # -- which rows there are -----------------------------------------------------------------------------------------

    def keep(self, rows):
        """Only these rows (int64, growing) go on, as rows 0, 1, ..."""
        cdef Numbers which = Numbers(rows, 8, "lq")
        cdef const int64_t *at = <const int64_t *>which.at
        cdef Py_ssize_t i
        cdef int64_t before = -1
        for i in range(which.n):
            if not before < at[i] < self.n:
                raise ValueError(f"rows must grow and be below {self.n}; row {at[i]} comes behind {before}")
            before = at[i]
        for i in range(which.n):
            self.lives[i] = self.lives[at[i]]
        self.n = which.n

    def life(self, Py_ssize_t row):
        """What :meth:`put_back` needs to have the trial of this row go on, however long it is away."""
        if not 0 <= row < self.n:
            raise IndexError(f"row {row} of {self.n}")
        return PyBytes_FromStringAndSize(<const char *>&self.lives[row], sizeof(RowLife))

    def put_back(self, bytes life not None, double away, uint32_t ask_from):
        """A paused trial goes on, as the last row; see :meth:`go_on`. False when the ring is full."""
        if self.n >= self.size:
            raise ValueError(f"all {self.size} rows are taken")
        if len(life) != sizeof(RowLife):
            raise ValueError(f"a row's life has {sizeof(RowLife)} bytes, got {len(life)}")
        memcpy(&self.lives[self.n], <const char *>life, sizeof(RowLife))
        self.n += 1
        if not self.go_on(self.n - 1, away, ask_from):
            self.n -= 1
            return False
        return True

    def go_on(self, Py_ssize_t row, double away, uint32_t ask_from):
        """The trial of this row, which is paused, goes on: it was ``away`` for so many seconds, which are none of its own, and is
        asked about from the step ``ask_from`` on. False when the ring is full."""
        if not 0 <= row < self.n:
            raise IndexError(f"row {row} of {self.n}")
        cdef RowLife *life = &self.lives[row]
        if not self.reporter.ring.write(K_RESUMED, life.trial, life.iteration, b"", 0, False):
            return False
        life.started += away
        life.ask_from = ask_from
        life.told = False
        return True

    def told(self, Py_ssize_t row):
        """(trial, steps so far) of a row."""
        if not 0 <= row < self.n:
            raise IndexError(f"row {row} of {self.n}")
        return self.lives[row].trial, self.lives[row].iteration

    def numbers(self, str what):
        """Of all rows: "trial" or "step", as uint32."""
        cdef bytearray made = room_for(self.n * sizeof(uint32_t))
        cdef uint32_t *to = <uint32_t *>PyByteArray_AS_STRING(made)
        cdef Py_ssize_t i
        if what not in ("trial", "step"):
            raise ValueError(f'what must be "trial" or "step", got {what!r}')
        cdef bint trials = what == "trial"
        for i in range(self.n):
            to[i] = self.lives[i].trial if trials else self.lives[i].iteration
        return made

    def ask_stop(self, Py_ssize_t row):
        """The trial of this row ends with its next report."""
        if not 0 <= row < self.n:
            raise IndexError(f"row {row} of {self.n}")
        self.lives[row].told = True

    def ask_again_from(self, Py_ssize_t row, uint32_t step):
        """The loop wants to be asked about this row from this step on."""
        if not 0 <= row < self.n:
            raise IndexError(f"row {row} of {self.n}")
        self.lives[row].ask_from = step

    def fail(self, Py_ssize_t row, bytes text, bytes pickled=b""):
        """The trial of this row has failed. False when the ring is full (perhaps the exception is told by then)."""
        if not 0 <= row < self.n:
            raise IndexError(f"row {row} of {self.n}")
        cdef RowLife *life = &self.lives[row]
        if pickled and not self.reporter.ring.write(K_EXCEPTION, life.trial, life.iteration, pickled, 0, False):
            return False
        return self.reporter.ring.write(K_ERROR, life.trial, life.iteration, text, 0, True)
