# ReportColumns and judgements: every report of a journal, made only when somebody analyses, or goes on.

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
                column = steering_column(metric, keys)
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
    cdef int width = <int>len(keys), j, at = steering_column(metric, keys)
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
