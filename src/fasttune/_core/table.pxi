# TrialTable and ReportColumns: what records fold into.
#
# The table is the state of all trials: one row of ~100 bytes each, plus the last values they reported. It is folded
# while the run goes on, when it is resumed and when it is analysed, by this one function. Report columns are made only
# when somebody analyses.

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
        if len(keys) == len(kinds) and not kinds.strip(b"fib") and all([type(key) is str for key in keys]):
            return keys, kinds
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError("damaged record: it tells no names of metrics")


cdef inline str text_of(const Record *r):
    cdef bytes raw = PyBytes_FromStringAndSize(<const char *>r + RECORD_HEADER, r.size - RECORD_HEADER)
    return raw.rstrip(b"\0").decode("utf-8", "replace")


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


cdef inline void keep_judgement(TrialRow *row, uint64_t tag) noexcept nogil:
    row.rung = <int8_t>(tag & 0xFF)
    row.strikes = <uint8_t>(tag >> 56)


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
        return &self.rows[i]

    cdef int grow(self, Py_ssize_t n) except -1:
        """Append n PENDING trials."""
        cdef TrialRow *grown
        cdef TrialRow *row
        cdef Py_ssize_t i, room
        if self.n + n > self.room:
            room = max(self.n + n, 2 * self.room, 64)
            for i in range(5):
                bits_reserve(&self.by_status[i], room)
                if self.shows:
                    bits_reserve(&self.shown[i], room)
            if self.shows:
                bits_reserve(&self.shown_otherwise, room)
            grown = <TrialRow *>ft_resize(self.rows, self.room * sizeof(TrialRow), room * sizeof(TrialRow))
            if grown == NULL:
                raise MemoryError()
            self.rows, self.room = grown, room
        for i in range(self.n, self.n + n):
            bits_add(&self.by_status[S_PENDING], i)
            if self.shows:
                bits_add(&self.shown[S_PENDING], i)
            row = &self.rows[i]
            memset(row, 0, sizeof(TrialRow))
            row.schema = row.rung = row.source = -1
            row.value = row.low = row.high = NAN
        self.n += n
        self.counts_[S_PENDING] += n
        check(self.n <= self.room)
        return 0

    cdef int intern(self, int source, int local, bytes payload) except -1:
        keys, kinds = parse_schema(payload)
        number = self.schema_numbers.get((keys, kinds))
        if number is None:
            number = len(self.schemas)
            schema = Schema(keys, kinds, number)
            if self.metric in keys:
                schema.metric = keys.index(self.metric)
            self.schemas.append(schema)
            self.schema_numbers[(keys, kinds)] = number
        numbers = self.maps.setdefault(source, [])
        if local > len(numbers):
            raise ValueError(f"schema {local} of source {source} came before schema {len(numbers)}")
        if local == len(numbers):
            numbers.append(number)
        return 0

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

    cdef double *place_for(self, TrialRow *row, int schema) except NULL:
        """Where the values of a trial's last report are kept; one that reports the same keys again reuses its place."""
        cdef int n = (<Schema>self.schemas[schema]).n
        cdef double *grown
        cdef Py_ssize_t room
        if row.schema < 0 or row.held < n or self.pool == NULL:
            if self.pool_n + n > self.pool_room or self.pool == NULL:
                room = max(self.pool_n + n, 2 * self.pool_room, 256)
                grown = <double *>ft_resize(self.pool, self.pool_room * sizeof(double), room * sizeof(double))
                if grown == NULL:
                    raise MemoryError()
                self.pool, self.pool_room = grown, room
            row.at = self.pool_n
            row.held = n
            self.pool_n += n
        row.schema = schema
        check(row.at >= 0)
        check(row.at + n <= self.pool_n)
        return self.pool + row.at

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
                        watch >> K_CHECKPOINT & 1 and self.rows[r.trial].saved == r.step):
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
        cdef double value
        check_report(r, s.n, end)
        if row.status != S_RUNNING:
            raise IllegalTransition(r.trial, STATUSES[row.status], r.kind)
        if row.source != source:
            raise ValueError(f"damaged record before byte {end}: trial {r.trial} runs in ring {row.source}, not in {source}")
        memcpy(self.place_for(row, s.number), values, s.n * sizeof(double))
        row.iteration = r.step
        row.previous = row.time
        row.time = r.time
        row.away += row.away_since
        row.away_since = 0.0
        if s.metric >= 0:
            row.value = value = values[s.metric]
            if value < row.low or row.low != row.low:
                row.low = value
            if value > row.high or row.high != row.high:
                row.high = value
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
            raise ValueError(f"damaged record before byte {end}: trial {r.trial} runs in ring {row.source}, not in {source}")
        return 0

    cdef int fold_rows(self, const Record *r, int source, Py_ssize_t end, uint64_t watch, bint recovered, list out) except -1:
        """What trials that are evaluated together did at one moment: for each, as if its records came one by one."""
        cdef list numbers
        cdef Schema s = None
        cdef RowParts of
        cdef TrialRow *row
        cdef uint32_t i, trial, step
        cdef int j, ended, metric = -1, width = 0
        cdef double *kept
        cdef double value
        cdef uint8_t told
        if r.flags & R_VALUES:
            numbers = self.maps.setdefault(source, [])
            if r.schema >= len(numbers):
                raise ValueError(f"damaged record before byte {end}: metric names {r.schema} were never told")
            s = <Schema>self.schemas[numbers[r.schema]]
            width, metric = s.n, s.metric
        read_rows(r, width, end, &of)
        for i in range(of.n):
            self.check_row(r, &of, i, source, end, recovered)
        for i in range(of.n):
            trial, step, told = trial_of(r, &of, i), step_of(r, &of, i), of.flags[i]
            row = &self.rows[trial]
            ended = end_of_row(told)
            if told & W_BEGAN:
                if self.astray:
                    self.astray.discard((source, trial))
                if row.schema >= 0 and trial not in self.before:
                    self.before[trial] = last_of(row)
                row.source = source
                row.pid = of.pid
                row.started = row.time = row.previous = of.began
                row.iteration = row.base_iteration = step - 1 if s is not None else step
                row.attempt += 1
                row.ended = row.base_total = row.away = row.away_since = 0.0
                if ended < 0:
                    self.put_status(row, trial, S_RUNNING)
                if watch >> K_START & 1:
                    out.append((K_START, trial, 0, row.iteration, of.began, b""))
            if s is not None:
                kept = self.place_for(row, s.number)
                for j in range(width):
                    kept[j] = of.values[j * <Py_ssize_t>of.n + i]
                row.iteration = step
                row.previous = row.time
                row.time = r.time
                if metric >= 0:
                    row.value = value = kept[metric]
                    if value < row.low or row.low != row.low:
                        row.low = value
                    if value > row.high or row.high != row.high:
                        row.high = value
                if self.extras:
                    self.extras.pop(trial, None)
                if self.before:
                    self.before.pop(trial, None)
                if told & W_JUDGED:
                    keep_judgement(row, of.tags[i])
                    self.judgements += 1
                if watch >> K_REPORT & 1 or told & W_DECISION == 2 or (watch >> K_CHECKPOINT & 1 and row.saved == step):
                    out.append((K_REPORT, trial, (told & W_DECISION) | (told & W_JUDGED), step, r.time,
                                (s.number, tuple([kept[j] for j in range(width)]), None)))
            if ended >= 0:
                self.put_status(row, trial, S_TERMINATED)
                row.ended = r.time
                row.outcome = <uint8_t>ended
                if told & W_END_JUDGED:
                    keep_judgement(row, of.tags[i])
                    self.judgements += 1
                if watch >> K_END & 1:
                    out.append((K_END, trial, ended, step, r.time, b""))
        if s is not None:
            self.reports += of.n
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
        row = &self.rows[trial]
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
            raise ValueError(f"damaged record before byte {end}: trial {trial} runs in ring {row.source}, not in {source}")
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
            if row.schema >= 0 and r.trial not in self.before:
                self.before[r.trial] = last_of(row)
            row.source = source
            row.started = row.time = row.previous = r.time
            row.iteration = row.base_iteration = r.step
            row.attempt += 1
            row.ended = 0.0
            row.base_total = row.away = row.away_since = 0.0
            if r.size >= RECORD_HEADER + 16:
                row.pid = (<const uint32_t *>payload)[0]
                row.base_total = (<const double *>payload)[1]
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
            row.failures += 1
        elif r.kind == K_CHECKPOINT or r.kind == K_EXCEPTION:
            row = self.row(r.trial)
            self.check_attempt(row, r, source, end)
            if r.kind == K_CHECKPOINT:
                row.saved = r.step
        elif r.kind == K_PAUSED or r.kind == K_RESUMED:
            row = self.row(r.trial)
            self.check_attempt(row, r, source, end)
            self.move(row, r.trial, r.kind)
            if r.kind == K_PAUSED:
                row.paused = r.time
            else:
                row.away_since += r.time - row.paused
        elif r.kind == K_REQUEUED or r.kind == K_CHANGED:
            row = self.row(r.trial)
            self.move(row, r.trial, r.kind, r.flags)
            row.changes += 1
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

    def status(self, Py_ssize_t i): return STATUSES[self.row(i).status]
    def iteration(self, Py_ssize_t i): return self.row(i).iteration
    def failures(self, Py_ssize_t i): return self.row(i).failures
    def attempt(self, Py_ssize_t i): return self.row(i).attempt
    def changes(self, Py_ssize_t i): return self.row(i).changes
    def rung(self, Py_ssize_t i): return self.row(i).rung
    def strikes(self, Py_ssize_t i): return self.row(i).strikes
    def extremes(self, Py_ssize_t i): return self.row(i).low, self.row(i).high
    def source(self, Py_ssize_t i): return self.row(i).source
    def pid(self, Py_ssize_t i): return self.row(i).pid
    def value(self, Py_ssize_t i): return self.row(i).value

    def times(self, Py_ssize_t i):
        """(started, ended, last report, report before, seconds of earlier attempts, base iteration).

        Time that the trial was paused does not count: ``started`` is moved by it.
        """
        cdef TrialRow *r = self.row(i)
        return r.started + r.away, r.ended, r.time, r.previous, r.base_total, r.base_iteration

    def reported(self, Py_ssize_t i):
        """(step, started, time, report before, seconds of earlier attempts, base iteration, pid) of the report that
        ``last`` gives: until another one comes those of its own attempt, however many have begun since."""
        return self.before.get(i) or last_of(self.row(i))

    def was_stopped(self, Py_ssize_t i):
        """True when the trial was told to stop, False when it ended by itself."""
        return self.row(i).status == S_TERMINATED and self.row(i).outcome & F_DECISION == 1

    def last(self, Py_ssize_t i):
        """(schema number, values, extra JSON or None) of the last report, or None."""
        cdef TrialRow *r = self.row(i)
        if r.schema < 0:
            return None
        cdef int n = (<Schema>self.schemas[r.schema]).n
        return r.schema, tuple([self.pool[r.at + j] for j in range(n)]), self.extras.get(i)

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
        cdef int then = self.row(i).status
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
        cdef Py_ssize_t i, found = -1
        cdef double v, top = 0.0
        with nogil:
            for i in range(self.n):
                v = self.rows[i].value
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
            put_field(to, i, &self.rows[first + i], which)
        out.frombytes(made)
        if self.before and which >= X_ITERATION:
            for i in self.before:
                if first <= i < first + n:
                    out[i - first] = self.before[i][which - X_ITERATION]
        return out

    def lasts(self, int schema):
        """(trials, columns): the int32 numbers of the trials whose last report has this schema, and a float64 column of
        what they reported for each of its keys."""
        cdef int width = (<Schema>self.schemas[schema]).n
        cdef Py_ssize_t i, n = 0
        cdef int j
        cdef bytearray trials
        cdef list values
        for i in range(self.n):
            n += self.rows[i].schema == schema
        trials = room_for(n * sizeof(int32_t))
        values = [room_for(n * sizeof(double)) for j in range(width)]
        n = 0
        for i in range(self.n):
            if self.rows[i].schema == schema:
                (<int32_t *>PyByteArray_AS_STRING(trials))[n] = <int32_t>i
                for j in range(width):
                    (<double *>PyByteArray_AS_STRING(<bytearray>values[j]))[n] = self.pool[self.rows[i].at + j]
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


cdef inline void put_field(char *to, Py_ssize_t i, const TrialRow *r, int which) noexcept nogil:
    if which == X_STATUS:
        (<uint8_t *>to)[i] = r.status
    elif which == X_FAILURES:
        (<uint16_t *>to)[i] = <uint16_t>r.failures
    elif which == X_ATTEMPT:
        (<uint32_t *>to)[i] = r.attempt
    elif which == X_STARTED:
        (<double *>to)[i] = r.started
    elif which == X_ENDED:
        (<double *>to)[i] = r.ended
    elif which == X_VALUE:
        (<double *>to)[i] = r.value
    elif which == X_TOTAL:
        (<double *>to)[i] = r.base_total + r.time - r.started - r.away
    elif which == X_SCHEMA:
        (<int32_t *>to)[i] = r.schema
    elif which == X_ITERATION:
        (<uint32_t *>to)[i] = r.iteration
    elif which == X_BEGAN:
        (<double *>to)[i] = r.started + r.away
    elif which == X_TIME:
        (<double *>to)[i] = r.time
    elif which == X_PREVIOUS:
        (<double *>to)[i] = r.previous
    elif which == X_BASE_TOTAL:
        (<double *>to)[i] = r.base_total
    elif which == X_BASE_ITERATION:
        (<uint32_t *>to)[i] = r.base_iteration
    else:
        (<uint32_t *>to)[i] = r.pid


cdef tuple last_of(const TrialRow *r):
    """What ``reported`` gives of a trial that has not begun again since its last report."""
    return r.iteration, r.started + r.away, r.time, r.previous, r.base_total, r.base_iteration, r.pid


cdef object detail_of(const Record *r):
    if r.kind == K_CHECKPOINT and r.flags & F_HELD:
        return place_of(r)
    if (r.kind == K_ERROR or r.kind == K_CHECKPOINT or r.kind == K_REQUEUED or r.kind == K_META or r.kind == K_CONFIG
            or r.kind == K_CHANGED):
        return text_of(r)
    return PyBytes_FromStringAndSize(<const char *>r + RECORD_HEADER, r.size - RECORD_HEADER)


cdef class ReportColumns:
    """Every report as columns, one set per set of metric names: what data frames are made of."""

    def __cinit__(self):
        self.schemas = []
        self.schema_numbers = {}
        self.maps = {}
        self.extras = []
        self.memory = []

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_columns):
            ft_free(self.columns[i].values)
        ft_free(self.columns)

    cdef int add_schema(self, int source, int local, bytes payload) except -1:
        cdef Columns *grown
        keys, kinds = parse_schema(payload)
        number = self.schema_numbers.get((keys, kinds))
        if number is None:
            number = len(self.schemas)
            grown = <Columns *>ft_realloc(self.columns, (number + 1) * sizeof(Columns))
            if grown == NULL:
                raise MemoryError()
            self.columns = grown
            memset(&self.columns[number], 0, sizeof(Columns))
            self.columns[number].values = <double **>ft_calloc(max(1, len(keys)), sizeof(double *))
            if self.columns[number].values == NULL:
                raise MemoryError()
            self.columns[number].width = <int>len(keys)
            self.n_columns = number + 1
            self.memory.append([bytearray() for _ in range(3 + len(keys))])
            self.schemas.append((keys, kinds.decode()))
            self.schema_numbers[(keys, kinds)] = number
            self.extras.append({})
        numbers = self.maps.setdefault(source, [])
        if local > len(numbers):
            raise ValueError(f"schema {local} of source {source} came before schema {len(numbers)}")
        if local == len(numbers):
            numbers.append(number)
        return 0

    cdef int grow(self, int number, Py_ssize_t room) except -1:
        """Columns of ``room`` rows: more, or as many as there are."""
        cdef Columns *c = &self.columns[number]
        cdef list memory = self.memory[number]
        cdef int j
        for j in range(3 + c.width):
            PyByteArray_Resize(<bytearray>memory[j], room * (sizeof(int32_t) if j < 2 else sizeof(double)))
        c.trial = <int32_t *>PyByteArray_AS_STRING(<bytearray>memory[0])
        c.step = <int32_t *>PyByteArray_AS_STRING(<bytearray>memory[1])
        c.time = <double *>PyByteArray_AS_STRING(<bytearray>memory[2])
        for j in range(c.width):
            c.values[j] = <double *>PyByteArray_AS_STRING(<bytearray>memory[3 + j])
        c.room = room
        return 0

    cdef int append(self, int number, const Record *r) except -1:
        cdef Columns *c = &self.columns[number]
        cdef const double *values = <const double *>(<const char *>r + RECORD_HEADER)
        cdef int j
        if c.n == c.room:
            self.grow(number, max(2 * c.room, 256))
        c.trial[c.n] = <int32_t>r.trial
        c.step[c.n] = <int32_t>r.step
        c.time[c.n] = r.time
        for j in range(c.width):
            c.values[j][c.n] = values[j]
        c.n += 1
        return 0

    def add(self, data, int source, int64_t only_trial=-1):
        """Fold the reports of ``data`` in (of one trial only, if given)."""
        cdef Numbers bytes_of = Numbers(data)
        cdef const unsigned char *view = bytes_of.at
        cdef Py_ssize_t at = 0, n = bytes_of.n
        cdef const Record *r
        cdef list numbers = self.maps.setdefault(source, [])
        cdef int local = -1, number = 0
        while at < n:
            r = <const Record *>&view[at]
            check_record(r, at, n)
            at += r.size
            if r.kind == K_SCHEMA:
                self.add_schema(source, r.schema, PyBytes_FromStringAndSize(
                    <const char *>r + RECORD_HEADER, r.size - RECORD_HEADER))
            elif r.kind == K_REPORT and (only_trial < 0 or r.trial == only_trial):
                if r.schema != local:
                    if r.schema >= len(numbers):
                        raise ValueError(f"damaged record before byte {at}: metric names {r.schema} were never told")
                    number = numbers[r.schema]
                    local = r.schema
                check_report(r, self.columns[number].width, at)
                self.append(number, r)
                if r.flags & F_EXTRA:
                    self.extras[number][self.columns[number].n - 1] = extra_of(r, self.columns[number].width)
            elif r.kind == K_ROWS and r.flags & R_VALUES:
                if r.schema >= len(numbers):
                    raise ValueError(f"damaged record before byte {at}: metric names {r.schema} were never told")
                self.append_rows(numbers[r.schema], r, at, only_trial)

    cdef int append_rows(self, int number, const Record *r, Py_ssize_t end, int64_t only_trial) except -1:
        cdef Columns *c = &self.columns[number]
        cdef RowParts of
        cdef uint32_t i
        cdef int j
        read_rows(r, c.width, end, &of)
        if c.n + of.n > c.room:
            self.grow(number, max(2 * c.room, c.n + of.n, 256))
        for i in range(of.n):
            if only_trial >= 0 and trial_of(r, &of, i) != only_trial:
                continue
            c.trial[c.n] = <int32_t>trial_of(r, &of, i)
            c.step[c.n] = <int32_t>step_of(r, &of, i)
            c.time[c.n] = r.time
            for j in range(c.width):
                c.values[j][c.n] = of.values[j * <Py_ssize_t>of.n + i]
            c.n += 1
        return 0

    def blocks(self):
        """[(keys, kinds, trial, step, time, values, extras)]: int32, int32 and float64 columns. They are handed out, not
        copied: what is added from here on comes into others."""
        cdef int i
        out = []
        for i in range(self.n_columns):
            self.grow(i, self.columns[i].n)
            keys, kinds = self.schemas[i]
            trial, step, time, *values = self.memory[i]
            out.append((keys, kinds, trial, step, time, values, self.extras[i]))
            self.memory[i] = [bytearray() for _ in range(3 + len(keys))]
            self.extras[i] = {}
            self.columns[i].n = self.columns[i].room = 0
        return out


def judgements(data, table_maps=None, str metric=None, int smooth=0, dict so_far=None):
    """(sequence, trial, rung, names, values, decided) of every judgement in ``data``, for replaying a rule's rungs.

    ``values`` are those of the report, float64 as bytes, and ``names`` their (keys, kinds); with names None it is the one
    value that was judged, and decided is -1 for the end of a trial. ``table_maps`` is the list of names by the writer's
    schema number, carried from call to call. With ``smooth`` (1 to maximise, -1 to minimise) a report is judged by the
    best value of ``metric`` that its trial has reported so far, which ``so_far`` carries. Only records of one source.
    """
    cdef Numbers bytes_of = Numbers(data)
    cdef const unsigned char *view = bytes_of.at
    cdef Py_ssize_t at = 0, n = bytes_of.n
    cdef const Record *r
    cdef const char *p
    cdef uint64_t tag
    cdef double value
    cdef int column
    out = []
    columns = table_maps if table_maps is not None else []
    while at < n:
        r = <const Record *>&view[at]
        check_record(r, at, n)
        at += r.size
        p = <const char *>r + RECORD_HEADER
        if r.kind == K_SCHEMA and r.schema == len(columns):
            columns.append(parse_schema(PyBytes_FromStringAndSize(p, r.size - RECORD_HEADER)))
        elif r.kind == K_REPORT and (smooth or r.flags & F_JUDGED):
            if r.schema >= len(columns):
                raise ValueError(f"damaged record before byte {at}: metric names {r.schema} were never told")
            names = columns[r.schema]
            keys = names[0]
            check_report(r, <int>len(keys), at)
            values = None
            if smooth and metric in keys:
                column = keys.index(metric)
                value = (<const double *>p)[column]
                best = so_far.get(r.trial, NAN)
                if smooth * value > smooth * best or best != best:
                    so_far[r.trial] = best = value
                value = best
                names, values = None, PyBytes_FromStringAndSize(<const char *>&value, 8)
            if r.flags & F_JUDGED:
                if values is None:
                    values = PyBytes_FromStringAndSize(p, 8 * len(keys))
                tag = (<const uint64_t *>p)[len(keys)]
                out.append((tag >> 8 & TAG_NUMBER, r.trial, tag & 0xFF, names, values, r.flags & F_DECISION))
        elif r.kind == K_ROWS and r.flags & R_VALUES and (smooth or r.flags & R_TAGS):
            if r.schema >= len(columns):
                raise ValueError(f"damaged record before byte {at}: metric names {r.schema} were never told")
            judgements_of_rows(r, at, columns[r.schema], metric, smooth, so_far, out)
        elif r.kind == K_END and r.flags & F_JUDGED:
            if r.size < RECORD_HEADER + 16:
                raise ValueError(f"damaged record before byte {at}: too short for a judgement")
            tag = (<const uint64_t *>p)[1]
            out.append((tag >> 8 & TAG_NUMBER, r.trial, tag & 0xFF, None, PyBytes_FromStringAndSize(p, 8), -1))
    return out


cdef int judgements_of_rows(const Record *r, Py_ssize_t end, tuple names, str metric, int smooth, dict so_far, list out) except -1:
    """As ``judgements``, of one record."""
    cdef tuple keys = names[0]
    cdef int width = <int>len(keys), j, at = keys.index(metric) if metric in keys else -1
    cdef RowParts of
    cdef uint32_t i, trial
    cdef double value = 0.0
    cdef bytearray row = bytearray(8 * width)
    read_rows(r, width, end, &of)
    for i in range(of.n):
        trial = trial_of(r, &of, i)
        if at >= 0:
            value = of.values[at * <Py_ssize_t>of.n + i]
            if smooth:
                best = so_far.get(trial, NAN)
                if smooth * value > smooth * best or best != best:
                    so_far[trial] = best = value
                value = best
        if of.tags == NULL or not of.flags[i] & (W_JUDGED | W_END_JUDGED):
            continue
        tag = of.tags[i]
        if of.flags[i] & W_END_JUDGED or (smooth and at >= 0):
            told, values = None, PyBytes_FromStringAndSize(<const char *>&value, 8)
        else:
            for j in range(width):
                (<double *>PyByteArray_AS_STRING(row))[j] = of.values[j * <Py_ssize_t>of.n + i]
            told, values = names, bytes(row)
        out.append((tag >> 8 & TAG_NUMBER, trial, tag & 0xFF, told, values,
                    -1 if of.flags[i] & W_END_JUDGED else of.flags[i] & W_DECISION))
    return 0
