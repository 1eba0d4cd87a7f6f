# TrialTable: what records fold into.
#
# The table is the state of all trials: one row each (trial_rows.pxi), plus the last values they reported. It is folded
# while the run goes on, when it is resumed and when it is analysed, by this one function.

STATUSES = ("PENDING", "RUNNING", "PAUSED", "TERMINATED", "ERROR")

cdef enum:
    S_PENDING = 0
    S_RUNNING = 1
    S_PAUSED = 2
    S_TERMINATED = 3
    S_ERROR = 4


class IllegalTransition(ValueError):
    """A record that the trial's status does not allow: ``trial``, ``status``, ``kind``."""

    def __init__(self, trial, status, kind):
        super().__init__(f"trial {trial} is {status}: a record of kind {kind} is not allowed")
        self.trial = trial
        self.status = status
        self.kind = kind


cdef tuple parse_schema(bytes payload):
    import json
    try:
        told = json.loads(payload.rstrip(b"\0"))
        keys, kinds = tuple(told["keys"]), told["kinds"].encode()
        if len(keys) == len(kinds) and not kinds.strip(b"fib") and all([type(key) is str for key in keys]) \
                and (SCORE not in keys or keys.index(SCORE) == len(keys) - 1):
            return keys, kinds
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError("damaged record: it tells no names of metrics")


cdef inline str text_of(const Record *r):
    cdef bytes raw = PyBytes_FromStringAndSize(<const char *>r + RECORD_HEADER, r.size - RECORD_HEADER)
    return raw.rstrip(b"\0").decode("utf-8", "replace")


SCORE = "\0score"  # the last column of a report that breaks a constraint: what it is compared by, beyond every value of the metric


cdef int steering_column(str metric, tuple keys) except -2:
    """Which of these metrics trials are compared by: the run's, or in its place the score that constraints have made of it; -1
    where the run's is not there."""
    if metric not in keys:
        return -1
    return <int>len(keys) - 1 if keys[len(keys) - 1] == SCORE else <int>keys.index(metric)


cdef inline bytes extra_of(const Record *r, int n_values):
    """The JSON of a report's values that are no numbers, or None."""
    if not r.flags & F_EXTRA:
        return None
    cdef Py_ssize_t at = values_end(r, n_values)
    cdef const char *p = <const char *>r + at
    return PyBytes_FromStringAndSize(p + 4, (<const uint32_t *>p)[0])


cdef inline Py_ssize_t values_end(const Record *r, int n_values) noexcept nogil:
    return RECORD_HEADER + 8 * <Py_ssize_t>n_values + (8 if r.flags & F_JUDGED else 0)


cdef int check_report(const Record *r, int n_values, Py_ssize_t end) except -1:
    """Everything that the report's flags announce lies inside it; ``end`` is the byte behind it."""
    cdef Py_ssize_t at = values_end(r, n_values)
    if r.size < at:
        raise ValueError(f"damaged record before byte {end}: too short for {n_values} values")
    if r.flags & F_EXTRA and (
            r.size < at + 4 or r.size < at + 4 + <Py_ssize_t>(<const uint32_t *>(<const char *>r + at))[0]):
        raise ValueError(f"damaged record before byte {end}: its text is longer than the record")
    return 0


cdef uint64_t ALWAYS_TOLD = (<uint64_t>1 << K_ERROR) | (<uint64_t>1 << K_EXCEPTION) | (<uint64_t>1 << K_CHECKPOINT) \
    | (<uint64_t>1 << K_PAUSED) | (<uint64_t>1 << K_CONFIGS) | (<uint64_t>1 << K_CONFIG) \
    | (<uint64_t>1 << K_META) | (<uint64_t>1 << K_REQUEUED) | (<uint64_t>1 << K_CHANGED)

cdef uint64_t OF_A_TRIAL = (<uint64_t>1 << K_START) | (<uint64_t>1 << K_REPORT) | (<uint64_t>1 << K_END) \
    | (<uint64_t>1 << K_ERROR) | (<uint64_t>1 << K_EXCEPTION) | (<uint64_t>1 << K_CHECKPOINT) \
    | (<uint64_t>1 << K_PAUSED) | (<uint64_t>1 << K_RESUMED) | (<uint64_t>1 << K_REQUEUED) \
    | (<uint64_t>1 << K_CHANGED) | (<uint64_t>1 << K_CHOSEN)

cdef enum:
    MOST_AT_ONCE = 1 << 16    # trials that one record of constant configs, which take no bytes, may announce


cdef inline bint is_of_trial(const Record *r) noexcept nogil:
    """The record is about a trial that has to be there."""
    return r.kind < 64 and OF_A_TRIAL >> r.kind & 1


cdef class TrialTable:
    """Trials as rows, folded from records. ``metric`` is the one whose last value is kept in a column."""

    def __cinit__(self, str metric=None):
        self.metric = metric
        self.schemas = []
        self.schema_numbers = {}
        self.maps = {}
        self.extras = {}
        self.astray = set()
        self.before = {}

    def __dealloc__(self):
        cdef int k
        ft_release(self.rows, self.room * sizeof(TrialRow))
        ft_release(self.alike, self.alike_n * sizeof(TrialRow))
        ft_release(self.more, self.more_room * sizeof(MoreOfTrial))
        ft_free(self.widths)
        ft_free(self.metrics)
        ft_release(self.pool, self.pool_room * sizeof(double))
        for k in range(5):
            bits_free(&self.by_status[k])
            bits_free(&self.shown[k])
        bits_free(&self.shown_otherwise)

    def __len__(self):
        return self.n

    cdef TrialRow *row(self, Py_ssize_t i) except NULL:
        if i < 0 or i >= self.n:
            raise IndexError(f"trial {i} of {self.n}")
        return self.own_row(i)

    cdef inline TrialRow *own_row(self, Py_ssize_t i) noexcept nogil:
        """The row of a trial that there is, to be written to."""
        if self.alike_n > i >> ALIKE_BITS and self.alike[i >> ALIKE_BITS].attempt:
            self.part(i >> ALIKE_BITS)
        return &self.rows[i]

    cdef void part(self, Py_ssize_t block) noexcept nogil:
        """From here on each of these trials has a row of its own."""
        cdef TrialRow row = self.alike[block]
        cdef TrialRow *to = &self.rows[block << ALIKE_BITS]
        cdef int i
        self.alike[block].attempt = 0
        for i in range(1 << ALIKE_BITS):
            to[i] = row
            row.at += self.widths[row.schema - 1]

    cdef inline const TrialRow *look(self, Py_ssize_t i, TrialRow *made) noexcept nogil:
        """The row of a trial that there is, perhaps ``made`` for whoever looks."""
        if self.alike_n <= i >> ALIKE_BITS or not self.alike[i >> ALIKE_BITS].attempt:
            return &self.rows[i]
        made[0] = self.alike[i >> ALIKE_BITS]
        made.at += (i & ((1 << ALIKE_BITS) - 1)) * self.widths[made.schema - 1]
        return made

    cdef const TrialRow *seen(self, Py_ssize_t i) except NULL:
        """To be read, until the next one is."""
        if i < 0 or i >= self.n:
            raise IndexError(f"trial {i} of {self.n}")
        return self.look(i, &self.made)

    cdef int grow(self, Py_ssize_t n) except -1:
        """Append n PENDING trials."""
        cdef TrialRow *grown
        cdef Py_ssize_t i, room
        if n <= 0:
            return 0
        if self.n + n > self.room:
            room = max(self.n + n, 2 * self.room, 64)
            for i in range(5):
                bits_reserve(&self.by_status[i], room)
                if self.shows:
                    bits_reserve(&self.shown[i], room)
            if self.shows:
                bits_reserve(&self.shown_otherwise, room)
            grown = <TrialRow *>ft_resize_zeros(self.rows, self.room * sizeof(TrialRow), room * sizeof(TrialRow))
            if grown == NULL:
                raise MemoryError()
            self.rows, self.room = grown, room
        bits_add_all(&self.by_status[S_PENDING], self.n, n)
        if self.shows:
            bits_add_all(&self.shown[S_PENDING], self.n, n)
        self.n += n
        self.counts_[S_PENDING] += n
        check(self.n <= self.room)
        return 0

    cdef int intern(self, int source, int local, bytes payload) except -1:
        keys, kinds = parse_schema(payload)
        number = self.schema_numbers.get((keys, kinds))
        if number is None:
            number = self.add_schema(Schema(keys, kinds, len(self.schemas)))
        numbers = self.maps.setdefault(source, [])
        if local > len(numbers):
            raise ValueError(f"schema {local} of source {source} came before schema {len(numbers)}")
        if local == len(numbers):
            numbers.append(number)
        return 0

    cdef int add_schema(self, Schema schema) except -1:
        """The number of one that is new."""
        cdef int number = <int>len(self.schemas)
        cdef int *widths = <int *>ft_realloc(self.widths, (number + 1) * sizeof(int))
        cdef int *metrics
        if widths == NULL:
            raise MemoryError()
        self.widths = widths
        metrics = <int *>ft_realloc(self.metrics, (number + 1) * sizeof(int))
        if metrics == NULL:
            raise MemoryError()
        self.metrics = metrics
        schema.metric = steering_column(self.metric, schema.keys)
        self.widths[number] = schema.n
        self.metrics[number] = schema.metric
        self.schemas.append(schema)
        self.schema_numbers[(schema.keys, schema.kinds)] = number
        return number

    cdef int move(self, TrialRow *row, uint32_t trial, int kind, int flags=0) except -1:
        """Change the status as a record of this kind does; raises IllegalTransition."""
        cdef int now = row.status, then
        if kind == K_START and (now == S_PENDING or now == S_PAUSED):   # paused: what it had left was put away
            then = S_RUNNING
        elif kind == K_PAUSED and now == S_RUNNING:
            then = S_PAUSED
        elif kind == K_RESUMED and now == S_PAUSED:
            then = S_RUNNING
        elif kind == K_END and now != S_TERMINATED and now != S_ERROR:
            then = S_TERMINATED
        elif kind == K_ERROR and now != S_TERMINATED and now != S_ERROR:
            then = S_ERROR
        elif kind == K_REQUEUED and (now != S_TERMINATED or flags & F_AGAIN):
            then = S_PENDING
        elif kind == K_CHANGED and (now == S_PAUSED or now == S_PENDING):
            then = S_PENDING
        else:
            raise IllegalTransition(trial, STATUSES[now], kind)
        check(self.counts_[now] > 0)
        self.put_status(row, trial, then)
        return 0

    # -- the parts of a row --------------------------------------------------------------------------------------------

    cdef inline const MoreOfTrial *peek(self, const TrialRow *row) noexcept nogil:
        return &self.more[row.more] if row.more else &NOTHING_MORE

    cdef inline MoreOfTrial *more_of(self, TrialRow *row) except NULL:
        """To be written to, until the next one is asked for."""
        if row.more == 0:
            self.make_more(row)
        return &self.more[row.more]

    cdef int make_more(self, TrialRow *row) except -1:
        self.room_for_more(1)
        row.more = <uint32_t>self.more_n
        self.more_n += 1
        return 0

    cdef int room_for_more(self, Py_ssize_t n) except -1:
        """Room for n more; number 0 is nobody's."""
        cdef MoreOfTrial *grown
        cdef Py_ssize_t room
        self.more_n = max(self.more_n, 1)
        if self.more_n + n > self.more_room:
            room = max(self.more_n + n, 2 * self.more_room, 64)
            grown = <MoreOfTrial *>ft_resize_zeros(self.more, self.more_room * sizeof(MoreOfTrial), room * sizeof(MoreOfTrial))
            if grown == NULL:
                raise MemoryError()
            self.more, self.more_room = grown, room
        return 0

    cdef double value_of(self, const TrialRow *row) noexcept nogil:
        """The run's metric in the last report that had it; NaN before."""
        if not row.known & T_VALUE:
            return NAN
        if row.known & T_ELSEWHERE:
            return self.more[row.more].value
        return self.pool[row.at + self.metrics[row.schema - 1]]

    cdef inline int take_report(self, TrialRow *row, int metric, double value, double now) except -1:
        """It reports: ``value`` is that of the run's metric, which is number ``metric`` of the report, -1 none. The row's last values
        are still those of the report before."""
        if row.known:
            self.take_later_report(row, self.more_of(row), metric, value)
        else:
            row.known = T_REPORTED | (T_VALUE if metric >= 0 else 0)
        row.time = now
        return 0

    cdef void take_later_report(self, TrialRow *row, MoreOfTrial *more, int metric, double value) noexcept nogil:
        cdef uint8_t known = row.known
        if metric >= 0:
            if known & T_VALUE:
                if not known & T_EXTREMES:
                    more.low = more.high = self.value_of(row)
                if value < more.low or more.low != more.low:
                    more.low = value
                if value > more.high or more.high != more.high:
                    more.high = value
                known = (known | T_EXTREMES) & ~<uint8_t>T_ELSEWHERE
            known |= T_VALUE
        elif known & (T_VALUE | T_ELSEWHERE) == T_VALUE:
            more.value = self.value_of(row)
            known |= T_ELSEWHERE
        if known & T_REPORTED:
            more.previous = row.time
            known |= T_LATER
        if known & T_AWAY:
            more.away += more.away_since
            more.away_since = 0.0
        row.known = known | T_REPORTED

    cdef int begin_row(self, TrialRow *row, int source, double began, uint32_t iteration, uint32_t pid,
                       double base_total) except -1:
        """An attempt begins."""
        cdef MoreOfTrial *more
        row.known &= ~<uint8_t>(T_REPORTED | T_LATER | T_AWAY | T_BASE)
        if iteration or base_total != 0.0:
            more = self.more_of(row)
            more.base_iteration, more.base_total = iteration, base_total
            row.known |= T_BASE
        row.source = source
        row.started = row.time = began
        row.iteration = iteration
        row.attempt += 1
        row.ended = 0.0
        row.pid = pid
        return 0

    cdef double *pool_for(self, Py_ssize_t n) except NULL:
        """Room for n more values."""
        cdef double *grown
        cdef Py_ssize_t room
        if self.pool_n + n > self.pool_room or self.pool == NULL:
            room = max(self.pool_n + n, 2 * self.pool_room, 256)
            grown = <double *>ft_resize(self.pool, self.pool_room * sizeof(double), room * sizeof(double))
            if grown == NULL:
                raise MemoryError()
            self.pool, self.pool_room = grown, room
        self.pool_n += n
        return self.pool + self.pool_n - n

    cdef inline double *place_for(self, TrialRow *row, int schema) except NULL:
        """Where the values of a trial's last report are kept; one that reports the same keys again reuses its place."""
        return self.pool + row.at if row.schema == schema + 1 else self.other_place_for(row, schema)

    cdef double *other_place_for(self, TrialRow *row, int schema) except NULL:
        cdef int n = self.widths[schema], held = -1
        if row.schema:
            held = self.more[row.more].held if row.known & T_HELD else self.widths[row.schema - 1]
        if held < n:
            row.at = self.pool_for(n) - self.pool
            row.known &= ~<uint8_t>T_HELD
        elif held > n:
            self.more_of(row).held = held
            row.known |= T_HELD
        row.schema = schema + 1
        check(row.at >= 0)
        check(row.at + n <= self.pool_n)
        return self.pool + row.at

    # -- folding -------------------------------------------------------------------------------------------------------

    def apply(self, data, int source, uint64_t watch=0, list unfit=None, bint recovered=False, announced=None):
        """Fold records in. Returns those whose kind is a bit of ``watch``, and all that need somebody's answer.

        As tuples (kind, trial, flags, step, time, detail): for reports detail is (schema number, values, extra JSON
        or None), for texts the text, for the rest the payload. The bit of KIND_CHECKPOINT, whose records are always
        returned, stands for the reports that checkpoints belong to.

        ``source`` is the ring that they come from, 0 the run itself, which alone writes what no trial says. A ring tells of a
        trial from its START there until it is over, or begins elsewhere.

        A record that does not fit changes nothing. Without ``unfit`` it raises IllegalTransition, or ValueError with the
        offset of a damaged record; everything before it has been folded. With it, the record is left out and
        (offset, size, trial or -1, why) is appended; the rest is folded. ``recovered`` records come from a ring whose
        journal may have lost its end: a trial that began on what the journal does not hold does not fit, and with a
        record all that its ring holds of that trial is left out, until it begins again on what is known: no report is
        shown without those before it. ``announced(trial, n, bytes)`` is called before room is made for n trials from
        ``trial`` on whose configs come in so many bytes, and may refuse by an error of its own.
        """
        cdef Numbers bytes_of = Numbers(data)
        cdef const unsigned char *view = bytes_of.at
        cdef Cursor place
        cdef const Record *r
        cdef list out = []
        place.begin = place.at = 0
        while True:
            try:
                self.fold_records(view, bytes_of.n, &place, source, watch | ALWAYS_TOLD, watch, recovered, announced, out)
                return out
            except (ValueError, IndexError) as error:
                if unfit is None:
                    raise
                r = <const Record *>&view[place.begin]
                if place.at == place.begin:          # where the next record begins is not known either
                    place.at = bytes_of.n
                    unfit.append((place.begin, place.at - place.begin, -1, str(error)))
                else:
                    unfit.append((place.begin, place.at - place.begin, <int64_t>r.trial if is_of_trial(r) else -1, str(error)))
                    if recovered and is_of_trial(r):
                        self.astray.add((source, r.trial))

    cdef int fold_records(self, const unsigned char *view, Py_ssize_t n, Cursor *place, int source, uint64_t told, uint64_t watch,
                          bint recovered, object announced, list out) except -1:
        """Fold the records from ``place`` on; at an error ``place.begin`` is the record that does not fit, and has changed
        nothing."""
        cdef const Record *r
        cdef Schema s = None
        cdef int local_of_s = -1
        cdef list numbers = self.maps.setdefault(source, [])
        while place.at < n:
            place.begin = place.at
            r = <const Record *>&view[place.at]
            check_record(r, place.at, n)
            place.at += r.size
            if r.kind == K_PAD:
                continue
            if r.kind > K_ROWS:
                raise ValueError(f"damaged record before byte {place.at}: there is no kind {r.kind}")
            if <Py_ssize_t>r.trial >= self.n and is_of_trial(r):
                raise ValueError(f"damaged record before byte {place.at}: trial {r.trial} of {self.n}")
            if recovered and self.astray and r.kind != K_START and is_of_trial(r) and (source, r.trial) in self.astray:
                raise ValueError(f"it goes on from a record of trial {r.trial} that does not fit")
            if r.kind == K_REPORT:
                if r.schema != local_of_s:
                    if r.schema >= len(numbers):
                        raise ValueError(f"damaged record before byte {place.at}: metric names {r.schema} were never told")
                    s = <Schema>self.schemas[numbers[r.schema]]
                    local_of_s = r.schema
                self.fold_report(r, s, source, place.at)
                if watch >> K_REPORT & 1 or r.flags & F_DECISION == 2 or (
                        watch >> K_CHECKPOINT & 1 and self.peek(self.seen(r.trial)).saved == r.step):
                    values = tuple([(<const double *>(<const char *>r + RECORD_HEADER))[j] for j in range(s.n)])
                    out.append((K_REPORT, r.trial, r.flags, r.step, r.time, (s.number, values, extra_of(r, s.n))))
                continue
            if r.kind == K_ROWS:
                self.fold_rows(r, source, place.at, watch, recovered, out)
                continue
            if r.kind >= K_CONFIGS:
                if source != 0 and r.kind != K_TOLD:
                    raise ValueError(f"damaged record before byte {place.at}: one of kind {r.kind} is the run's to write, and came "
                                     f"from ring {source}")
                if r.kind == K_CONFIGS and announced is not None:
                    announced(r.trial, r.step, r.size - RECORD_HEADER)
            self.fold_other(r, source, place.at, recovered)
            if told >> r.kind & 1:
                out.append((r.kind, r.trial, r.flags, r.step, r.time, detail_of(r)))
        return 0

    cdef int fold_report(self, const Record *r, Schema s, int source, Py_ssize_t end) except -1:
        cdef const double *values = <const double *>(<const char *>r + RECORD_HEADER)
        cdef TrialRow *row = self.row(r.trial)
        check_report(r, s.n, end)
        if row.status != S_RUNNING:
            raise IllegalTransition(r.trial, STATUSES[row.status], r.kind)
        if row.source != source:
            raise ValueError(f"damaged record before byte {end}: trial {r.trial} runs in ring {source_of(row)}, not in {source}")
        self.take_report(row, s.metric, values[s.metric] if s.metric >= 0 else NAN, r.time)
        memcpy(self.place_for(row, s.number), values, s.n * sizeof(double))
        row.iteration = r.step
        if r.flags & F_EXTRA:
            self.extras[r.trial] = extra_of(r, s.n)
        elif self.extras:
            self.extras.pop(r.trial, None)
        if self.before:
            self.before.pop(r.trial, None)
        if r.flags & F_JUDGED:
            keep_judgement(row, (<const uint64_t *>values)[s.n])
            self.judgements += 1
        self.reports += 1
        return 0

    cdef int check_attempt(self, const TrialRow *row, const Record *r, int source, Py_ssize_t end) except -1:
        """What a ring says of a trial it says of the attempt that runs, or is paused, there: not of one that was given up, whose
        trial waits for another attempt or has it elsewhere. A checkpoint may come behind the trial's end: one that was paused, and
        told to save, may be ended meanwhile."""
        if source == 0:
            return 0
        if row.status != S_RUNNING and row.status != S_PAUSED and (row.status != S_TERMINATED or r.kind != K_CHECKPOINT):
            raise IllegalTransition(r.trial, STATUSES[row.status], r.kind)
        if row.source != source:
            raise ValueError(f"damaged record before byte {end}: trial {r.trial} runs in ring {source_of(row)}, not in {source}")
        return 0

    cdef int fold_rows(self, const Record *r, int source, Py_ssize_t end, uint64_t watch, bint recovered, list out) except -1:
        """What trials that are evaluated together did at one moment: for each, as if its records came one by one."""
        cdef list numbers
        cdef Schema s = None
        cdef RowParts of
        cdef uint32_t i
        cdef int width = 0
        if r.flags & R_VALUES:
            numbers = self.maps.setdefault(source, [])
            if r.schema >= len(numbers):
                raise ValueError(f"damaged record before byte {end}: metric names {r.schema} were never told")
            s = <Schema>self.schemas[numbers[r.schema]]
            width = s.n
        read_rows(r, width, end, &of)
        if s is not None and not self.astray and self.are_alike(r, &of, watch):
            self.fold_alike(r, &of, s, source)
        elif s is None or self.astray or self.extras or self.before or watch >> K_REPORT & 1 or (
                not self.go_on_alike(r, &of, s, source, watch >> K_END & 1)):
            for i in range(of.n):
                self.check_row(r, &of, i, source, end, recovered)
            for i in range(of.n):
                self.fold_row(r, &of, i, s, source, watch, out)
        if s is not None:
            self.reports += of.n
        return 0

    cdef bint are_alike(self, const Record *r, const RowParts *of, uint64_t watch) noexcept nogil:
        """All rows are trials that have never begun, one after the other: they begin, report, and end or all go on, and nobody is told
        of each."""
        cdef uint8_t told = of.flags[0]
        if of.trials != NULL or of.steps != NULL or r.step != 1 or told & W_DECISION > 1 or not told & W_BEGAN:
            return False
        if told & (W_JUDGED | W_END_JUDGED) or watch & (1 << K_START | 1 << K_REPORT | 1 << K_END):
            return False
        if self.changed or self.shows or <Py_ssize_t>r.trial + of.n > self.n or not bits_have_all(&self.by_status[S_PENDING], r.trial, of.n):
            return False
        return memcmp(of.flags, of.flags + 1, of.n - 1) == 0

    cdef int fold_alike(self, const Record *r, const RowParts *of, Schema s, int source) except -1:
        cdef double *kept = self.pool_for(s.n * <Py_ssize_t>of.n)
        cdef TrialRow row
        cdef uint32_t i
        cdef int j, ended = end_of_row(of.flags[0])
        memset(&row, 0, sizeof(TrialRow))
        row.status = S_RUNNING if ended < 0 else S_TERMINATED
        row.known = T_REPORTED | (T_VALUE if s.metric >= 0 else 0)
        row.iteration = row.attempt = 1
        row.pid, row.source, row.schema = of.pid, source, s.number + 1
        row.started, row.time = of.began, r.time
        if ended >= 0:
            row.outcome, row.ended = <uint8_t>ended, r.time
        row.at = kept - self.pool
        self.put_alike(&row, r.trial, of.n)
        for j in range(s.n):
            for i in range(of.n):
                kept[i * s.n + j] = of.values[j * <Py_ssize_t>of.n + i]
        bits_drop_all(&self.by_status[S_PENDING], r.trial, of.n)
        bits_add_all(&self.by_status[row.status], r.trial, of.n)
        self.counts_[S_PENDING] -= of.n
        self.counts_[row.status] += of.n
        return 0

    cdef bint go_on_alike(self, const Record *r, const RowParts *of, Schema s, int source, bint told_of_ends) except -1:
        """As rows of trials that run here and report what they did before, all of which fits: in two loops without a call. False, and
        nothing done, for any others."""
        cdef TrialRow *row
        cdef MoreOfTrial *more
        cdef double *kept
        cdef uint32_t i, trial, before = 0
        cdef int j, ended
        cdef uint8_t told
        for i in range(of.n):
            trial, told = trial_of(r, of, i), of.flags[i]
            if <Py_ssize_t>trial >= self.n or (i and trial <= before) or told & W_BEGAN or told & W_DECISION > 1:
                return False
            if (told_of_ends and told & (W_ENDED | W_STOPPED)) or (told & (W_JUDGED | W_END_JUDGED) and of.tags == NULL):
                return False
            row = self.own_row(trial)
            if row.status != S_RUNNING or row.source != source or row.schema != s.number + 1 or row.known == 0:
                return False
            if self.peek(row).saved == step_of(r, of, i):
                return False
            before = trial
        self.room_for_more(of.n)
        for i in range(of.n):
            trial, told = trial_of(r, of, i), of.flags[i]
            row = &self.rows[trial]
            if row.more == 0:
                row.more = <uint32_t>self.more_n
                self.more_n += 1
            more = &self.more[row.more]
            self.take_later_report(row, more, s.metric, of.values[s.metric * <Py_ssize_t>of.n + i] if s.metric >= 0 else NAN)
            row.time = r.time
            row.iteration = step_of(r, of, i)
            kept = self.pool + row.at
            for j in range(s.n):
                kept[j] = of.values[j * <Py_ssize_t>of.n + i]
            if told & (W_JUDGED | W_END_JUDGED):
                keep_judgement(row, of.tags[i])
                self.judgements += (1 if told & W_JUDGED else 0) + (1 if told & W_END_JUDGED else 0)
            ended = end_of_row(told)
            if ended >= 0:
                self.put_status(row, trial, S_TERMINATED)
                row.ended = r.time
                row.outcome = <uint8_t>ended
        return True

    cdef int put_alike(self, TrialRow *row, Py_ssize_t i, Py_ssize_t n) except -1:
        """This is the row of n trials from i on, each with the values behind those of the one before; it moves there."""
        cdef int width = self.widths[row.schema - 1]
        cdef Py_ssize_t last = i + n, blocks = last >> ALIKE_BITS
        cdef TrialRow *grown
        if blocks > self.alike_n:
            grown = <TrialRow *>ft_resize_zeros(self.alike, self.alike_n * sizeof(TrialRow),
                                                (self.room >> ALIKE_BITS) * sizeof(TrialRow))
            if grown == NULL:
                raise MemoryError()
            self.alike, self.alike_n = grown, self.room >> ALIKE_BITS
        while i < last:
            if i & ((1 << ALIKE_BITS) - 1) == 0 and i + (1 << ALIKE_BITS) <= last:
                self.alike[i >> ALIKE_BITS] = row[0]
                row.at += <Py_ssize_t>width << ALIKE_BITS
                i += 1 << ALIKE_BITS
            else:
                self.rows[i] = row[0]
                row.at += width
                i += 1
        return 0

    cdef int fold_row(self, const Record *r, const RowParts *of, uint32_t i, Schema s, int source, uint64_t watch, list out) except -1:
        """One row, which fits."""
        cdef uint32_t trial = trial_of(r, of, i), step = step_of(r, of, i)
        cdef uint8_t told = of.flags[i]
        cdef int j, ended = end_of_row(told)
        cdef TrialRow *row = self.own_row(trial)
        cdef double *kept
        if told & W_BEGAN:
            if self.astray:
                self.astray.discard((source, trial))
            if row.schema and trial not in self.before:
                self.before[trial] = self.last_of(trial)
            self.begin_row(row, source, of.began, step - 1 if s is not None else step, of.pid, 0.0)
            if ended < 0:
                self.put_status(row, trial, S_RUNNING)
            if watch >> K_START & 1:
                out.append((K_START, trial, 0, row.iteration, of.began, b""))
        if s is not None:
            self.take_report(row, s.metric, of.values[s.metric * <Py_ssize_t>of.n + i] if s.metric >= 0 else NAN, r.time)
            kept = self.place_for(row, s.number)
            for j in range(s.n):
                kept[j] = of.values[j * <Py_ssize_t>of.n + i]
            row.iteration = step
            if self.extras:
                self.extras.pop(trial, None)
            if self.before:
                self.before.pop(trial, None)
            if told & W_JUDGED:
                keep_judgement(row, of.tags[i])
                self.judgements += 1
            if watch >> K_REPORT & 1 or told & W_DECISION == 2 or (watch >> K_CHECKPOINT & 1 and self.peek(row).saved == step):
                out.append((K_REPORT, trial, (told & W_DECISION) | (told & W_JUDGED), step, r.time,
                            (s.number, tuple([kept[j] for j in range(s.n)]), None)))
        if ended >= 0:
            self.put_status(row, trial, S_TERMINATED)
            row.ended = r.time
            row.outcome = <uint8_t>ended
            if told & W_END_JUDGED:
                keep_judgement(row, of.tags[i])
                self.judgements += 1
            if watch >> K_END & 1:
                out.append((K_END, trial, ended, step, r.time, b""))
        return 0

    cdef int check_row(self, const Record *r, const RowParts *of, uint32_t i, int source, Py_ssize_t end, bint recovered) except -1:
        """What row i says fits what is known."""
        cdef uint32_t trial = trial_of(r, of, i)
        cdef uint8_t told = of.flags[i]
        cdef TrialRow *row
        if <Py_ssize_t>trial >= self.n or (i and of.trials != NULL and trial <= of.trials[i - 1]):
            raise ValueError(f"damaged record before byte {end}: row {i} is of trial {trial} of {self.n}")
        if told & W_DECISION == 3 or (told & (W_JUDGED | W_END_JUDGED) and of.tags == NULL):
            raise ValueError(f"damaged record before byte {end}: row {i} says {told:#x}")
        row = self.own_row(trial)
        if told & W_BEGAN:
            if row.changes:
                raise ValueError(f"before byte {end}: trial {trial} began as one that had never been put back or changed, and it has "
                                 f"been {row.changes} times")
            if row.status != S_PENDING:
                raise IllegalTransition(trial, STATUSES[row.status], K_START)
            return 0
        if recovered and self.astray and (source, trial) in self.astray:
            raise ValueError(f"it goes on from a record of trial {trial} that does not fit")
        if row.status != S_RUNNING:
            raise IllegalTransition(trial, STATUSES[row.status], K_REPORT if of.values != NULL else K_END)
        if row.source != source:
            raise ValueError(f"damaged record before byte {end}: trial {trial} runs in ring {source_of(row)}, not in {source}")
        return 0

    cdef void put_status(self, TrialRow *row, uint32_t trial, int then) noexcept nogil:
        cdef int now = row.status
        self.counts_[now] -= 1
        self.counts_[then] += 1
        bits_drop(&self.by_status[now], trial)
        bits_add(&self.by_status[then], trial)
        if self.shows and not bits_has(&self.shown_otherwise, trial):
            bits_drop(&self.shown[now], trial)
            bits_add(&self.shown[then], trial)
        row.status = <uint8_t>then

    cdef int fold_other(self, const Record *r, int source, Py_ssize_t end, bint recovered) except -1:
        """Any record but a report."""
        cdef const char *payload = <const char *>r + RECORD_HEADER
        cdef TrialRow *row
        if r.kind == K_START:
            row = self.row(r.trial)
            if r.size >= RECORD_HEADER + 16 and (<const uint32_t *>payload)[1] & 0xFFFF != row.changes:
                if recovered:
                    raise ValueError(f"trial {r.trial} began on what is not in the journal")
                raise ValueError(f"before byte {end}: trial {r.trial} began as one that had been put back or changed "
                                 f"{(<const uint32_t *>payload)[1] & 0xFFFF} times, and it has been {row.changes} times")
            if recovered and row.status == S_PAUSED and r.step > row.iteration:   # at its own checkpoint of that step
                raise ValueError(f"trial {r.trial} began at step {r.step}, but only {row.iteration} are known")
            self.move(row, r.trial, r.kind)
            if self.astray:
                self.astray.discard((source, r.trial))
            if row.schema and r.trial not in self.before:
                self.before[r.trial] = self.last_of(r.trial)
            if r.size >= RECORD_HEADER + 16:
                self.begin_row(row, source, r.time, r.step, (<const uint32_t *>payload)[0], (<const double *>payload)[1])
            else:
                self.begin_row(row, source, r.time, r.step, row.pid, 0.0)
        elif r.kind == K_END:
            if r.flags & F_JUDGED and r.size < RECORD_HEADER + 16:
                raise ValueError(f"damaged record before byte {end}: too short for a judgement")
            row = self.row(r.trial)
            if row.source != source or row.status != S_RUNNING:
                self.check_attempt(row, r, source, end)
            self.move(row, r.trial, r.kind)
            row.ended = r.time
            row.outcome = r.flags
            if r.flags & F_JUDGED:
                keep_judgement(row, (<const uint64_t *>payload)[1])
                self.judgements += 1
        elif r.kind == K_ERROR:
            row = self.row(r.trial)
            self.check_attempt(row, r, source, end)
            self.move(row, r.trial, r.kind)
            row.ended = r.time
            self.more_of(row).failures += 1
        elif r.kind == K_CHECKPOINT or r.kind == K_EXCEPTION:
            row = self.row(r.trial)
            self.check_attempt(row, r, source, end)
            if r.kind == K_CHECKPOINT:
                self.more_of(row).saved = r.step
        elif r.kind == K_PAUSED or r.kind == K_RESUMED:
            row = self.row(r.trial)
            self.check_attempt(row, r, source, end)
            self.move(row, r.trial, r.kind)
            if r.kind == K_PAUSED:
                self.more_of(row).paused = r.time
            else:
                self.come_back(row, r.time)
        elif r.kind == K_REQUEUED or r.kind == K_CHANGED:
            row = self.row(r.trial)
            self.move(row, r.trial, r.kind, r.flags)
            row.changes += 1
            self.changed += 1
        elif r.kind == K_SCHEMA:
            try:
                self.intern(source, r.schema, PyBytes_FromStringAndSize(payload, r.size - RECORD_HEADER))
            except ValueError as error:
                raise ValueError(f"before byte {end}: {error}") from None
        elif r.kind == K_CONFIGS:
            if r.trial != self.n:
                raise ValueError(f"before byte {end}: configs of trials from {r.trial} on came when there were {self.n} trials")
            if r.step > MOST_AT_ONCE and r.step > r.size:
                raise ValueError(f"before byte {end}: a record of {r.size} bytes announces {r.step} trials")
            self.grow(r.step)
        elif r.kind == K_CONFIG:
            if r.trial != self.n:
                raise ValueError(f"before byte {end}: the config of trial {r.trial} came when there were {self.n} trials")
            self.grow(1)
        return 0

    cdef int come_back(self, TrialRow *row, double now) except -1:
        """A paused trial goes on."""
        cdef MoreOfTrial *more = self.more_of(row)
        if not row.known & T_AWAY:
            row.known |= T_AWAY
            more.away = more.away_since = 0.0
        more.away_since += now - more.paused
        return 0

    # -- looking ----------------------------------------------------------------------------------------------------

    def counts(self):
        """Number of trials by status."""
        return {STATUSES[i]: self.counts_[i] for i in range(5)}

    @property
    def finished(self):
        return self.counts_[S_TERMINATED] + self.counts_[S_ERROR]

    @property
    def pending(self): return self.counts_[S_PENDING]

    @property
    def running(self): return self.counts_[S_RUNNING]

    @property
    def paused(self): return self.counts_[S_PAUSED]

    def status(self, Py_ssize_t i): return STATUSES[self.seen(i).status]
    def iteration(self, Py_ssize_t i): return self.seen(i).iteration
    def failures(self, Py_ssize_t i): return self.peek(self.seen(i)).failures
    def attempt(self, Py_ssize_t i): return self.seen(i).attempt
    def changes(self, Py_ssize_t i): return self.seen(i).changes
    def rung(self, Py_ssize_t i): return rung_of(self.seen(i))
    def strikes(self, Py_ssize_t i): return self.seen(i).strikes
    def source(self, Py_ssize_t i): return source_of(self.seen(i))
    def pid(self, Py_ssize_t i): return self.seen(i).pid
    def value(self, Py_ssize_t i): return self.value_of(self.seen(i))

    def extremes(self, Py_ssize_t i):
        """Least and greatest value of the run's metric in all reports; NaN before the first number."""
        cdef const TrialRow *r = self.seen(i)
        if r.known & T_EXTREMES:
            return self.more[r.more].low, self.more[r.more].high
        value = self.value_of(r)
        return value, value

    def times(self, Py_ssize_t i):
        """(started, ended, last report, report before, seconds of earlier attempts, base iteration).

        Time that the trial was paused does not count: ``started`` is moved by it.
        """
        cdef const TrialRow *r = self.seen(i)
        cdef const MoreOfTrial *more = self.peek(r)
        return (r.started + away_of(r, more), r.ended, r.time, previous_of(r, more), base_total_of(r, more),
                base_iteration_of(r, more))

    def reported(self, Py_ssize_t i):
        """(step, started, time, report before, seconds of earlier attempts, base iteration, pid) of the report that
        ``last`` gives: until another one comes those of its own attempt, however many have begun since."""
        return self.before.get(i) or self.last_of(i)

    cdef tuple last_of(self, Py_ssize_t i):
        """What ``reported`` gives of a trial that has not begun again since its last report."""
        cdef const TrialRow *r = self.seen(i)
        cdef const MoreOfTrial *more = self.peek(r)
        return (r.iteration, r.started + away_of(r, more), r.time, previous_of(r, more), base_total_of(r, more),
                base_iteration_of(r, more), r.pid)

    def was_stopped(self, Py_ssize_t i):
        """True when the trial was told to stop, False when it ended by itself."""
        return self.seen(i).status == S_TERMINATED and self.seen(i).outcome & F_DECISION == 1

    def last(self, Py_ssize_t i):
        """(schema number, values, extra JSON or None) of the last report, or None."""
        cdef const TrialRow *r = self.seen(i)
        if r.schema == 0:
            return None
        cdef int n = self.widths[r.schema - 1]
        return r.schema - 1, tuple([self.pool[r.at + j] for j in range(n)]), self.extras.get(i)

    def of_status(self, str status, Py_ssize_t most=-1, Py_ssize_t start=0):
        """Numbers of the first ``most`` trials of a status, from trial ``start`` on."""
        cdef int wanted = STATUSES.index(status)
        cdef Py_ssize_t i = bits_next(&self.by_status[wanted], start)
        out = []
        while i >= 0 and (most < 0 or len(out) < most):
            out.append(i)
            i = bits_next(&self.by_status[wanted], i + 1)
        return out

    def show(self, Py_ssize_t i, str status=None):
        """Show trial i in a status that its records do not say, whatever they say from here on; None: in its own again."""
        cdef int k
        cdef int then = self.seen(i).status
        if status is not None:
            then = STATUSES.index(status)
        if not self.shows:
            if status is None:
                return
            for k in range(5):
                bits_copy(&self.shown[k], &self.by_status[k])
            bits_reserve(&self.shown_otherwise, self.room)
            self.shows = True
        for k in range(5):
            bits_drop(&self.shown[k], i)
        bits_add(&self.shown[then], i)
        if status is None:
            bits_drop(&self.shown_otherwise, i)
        else:
            bits_add(&self.shown_otherwise, i)

    def shown_in(self, str status, Py_ssize_t most=-1):
        """Numbers of the first ``most`` trials that are shown in a status: see `show`."""
        if not self.shows:
            return self.of_status(status, most)
        cdef int wanted = STATUSES.index(status)
        cdef Py_ssize_t i = bits_next(&self.shown[wanted], 0)
        out = []
        while i >= 0 and (most < 0 or len(out) < most):
            out.append(i)
            i = bits_next(&self.shown[wanted], i + 1)
        return out

    def first_of(self, str status, Py_ssize_t start=0):
        """The first trial of a status, from trial ``start`` on, or -1."""
        return bits_next(&self.by_status[STATUSES.index(status)], start)

    def best(self, bint maximise):
        """The trial with the best last value of the metric that is finite, or -1. Ties keep the first."""
        cdef TrialRow made
        cdef Py_ssize_t i, found = -1
        cdef double v, top = 0.0
        with nogil:
            for i in range(self.n):
                v = self.value_of(self.look(i, &made))
                if v - v != 0.0:
                    continue
                if found < 0 or (v > top if maximise else v < top):
                    found = i
                    top = v
        return found

    def export(self, str field, Py_ssize_t first=0, Py_ssize_t n=-1):
        """A field of trials as an array.array.

        status, iteration, failures, attempt, started, ended, value, total; schema (of the last report, -1 before the first
        one); and of the report that ``reported`` gives: began (its ``started``), time, previous, base_total,
        base_iteration, pid. ``iteration`` is that of this report, too.
        """
        import array
        cdef Py_ssize_t i
        cdef int which
        cdef bytearray made
        cdef char *to
        if n < 0:
            n = self.n - first
        if first < 0 or first + n > self.n:
            raise IndexError(f"trials {first} to {first + n} of {self.n}")
        if field not in EXPORTED:
            raise ValueError(f"unknown column {field!r}")
        code, which = EXPORTED[field]
        out = array.array(code)
        made = room_for(n * out.itemsize)
        to = PyByteArray_AS_STRING(made)
        for i in range(n):
            self.put_field(to, i, first + i, which)
        out.frombytes(made)
        if self.before and which >= X_ITERATION:
            for i in self.before:
                if first <= i < first + n:
                    out[i - first] = self.before[i][which - X_ITERATION]
        return out

    cdef void put_field(self, char *to, Py_ssize_t at, Py_ssize_t i, int which) noexcept nogil:
        cdef TrialRow made
        cdef const TrialRow *r = self.look(i, &made)
        cdef const MoreOfTrial *more = self.peek(r)
        if which == X_STATUS:
            (<uint8_t *>to)[at] = r.status
        elif which == X_FAILURES:
            (<uint16_t *>to)[at] = more.failures
        elif which == X_ATTEMPT:
            (<uint32_t *>to)[at] = r.attempt
        elif which == X_STARTED:
            (<double *>to)[at] = r.started
        elif which == X_ENDED:
            (<double *>to)[at] = r.ended
        elif which == X_VALUE:
            (<double *>to)[at] = self.value_of(r)
        elif which == X_TOTAL:
            (<double *>to)[at] = base_total_of(r, more) + r.time - r.started - away_of(r, more)
        elif which == X_SCHEMA:
            (<int32_t *>to)[at] = r.schema - 1
        elif which == X_ITERATION:
            (<uint32_t *>to)[at] = r.iteration
        elif which == X_BEGAN:
            (<double *>to)[at] = r.started + away_of(r, more)
        elif which == X_TIME:
            (<double *>to)[at] = r.time
        elif which == X_PREVIOUS:
            (<double *>to)[at] = previous_of(r, more)
        elif which == X_BASE_TOTAL:
            (<double *>to)[at] = base_total_of(r, more)
        elif which == X_BASE_ITERATION:
            (<uint32_t *>to)[at] = base_iteration_of(r, more)
        else:
            (<uint32_t *>to)[at] = r.pid

    def lasts(self, int schema):
        """(trials, columns): the int32 numbers of the trials whose last report has this schema, and a float64 column of
        what they reported for each of its keys."""
        cdef int width = (<Schema>self.schemas[schema]).n
        cdef Py_ssize_t i, n = 0
        cdef int j
        cdef TrialRow made
        cdef const TrialRow *row
        cdef bytearray trials
        cdef list values
        for i in range(self.n):
            n += self.look(i, &made).schema == schema + 1
        trials = room_for(n * sizeof(int32_t))
        values = [room_for(n * sizeof(double)) for j in range(width)]
        n = 0
        for i in range(self.n):
            row = self.look(i, &made)
            if row.schema == schema + 1:
                (<int32_t *>PyByteArray_AS_STRING(trials))[n] = <int32_t>i
                for j in range(width):
                    (<double *>PyByteArray_AS_STRING(<bytearray>values[j]))[n] = self.pool[row.at + j]
                n += 1
        return trials, values

    def with_extras(self):
        """Trials whose last report has values that are no numbers."""
        return sorted(self.extras)


cdef enum:
    X_STATUS, X_FAILURES, X_ATTEMPT, X_STARTED, X_ENDED, X_VALUE, X_TOTAL, X_SCHEMA
    X_ITERATION, X_BEGAN, X_TIME, X_PREVIOUS, X_BASE_TOTAL, X_BASE_ITERATION, X_PID      # in the order of last_of

cdef dict EXPORTED = {
    "status": ("B", X_STATUS), "failures": ("H", X_FAILURES), "attempt": ("I", X_ATTEMPT), "started": ("d", X_STARTED),
    "ended": ("d", X_ENDED), "value": ("d", X_VALUE), "total": ("d", X_TOTAL), "schema": ("i", X_SCHEMA),
    "iteration": ("I", X_ITERATION), "began": ("d", X_BEGAN), "time": ("d", X_TIME), "previous": ("d", X_PREVIOUS),
    "base_total": ("d", X_BASE_TOTAL), "base_iteration": ("I", X_BASE_ITERATION), "pid": ("I", X_PID),
}


cdef object detail_of(const Record *r):
    if r.kind == K_CHECKPOINT and r.flags & F_HELD:
        return place_of(r)
    if (r.kind == K_ERROR or r.kind == K_CHECKPOINT or r.kind == K_REQUEUED or r.kind == K_META or r.kind == K_CONFIG
            or r.kind == K_CHANGED):
        return text_of(r)
    return PyBytes_FromStringAndSize(<const char *>r + RECORD_HEADER, r.size - RECORD_HEADER)
