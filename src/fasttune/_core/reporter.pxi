# Reporter: what report() writes, and the decision that it brings back.
#
# One reporter for each thread that runs trials (a worker process has one such), and one trial at a time. A report of the
# same keys as the last one costs ~0.1 us: the key objects are compared by pointer, the values are copied to the ring, the rule is a comparison unless a
# milestone is reached. Nothing here blocks: when the ring is full or an answer is needed, the code returned says so.
#
# Threads. Each time a trial begins it gets a life, a number that no other one has. The thread that calls the trial's
# function is the reporter's own, whatever runs; a thread that a trial starts is lent the reporter for the life that it was
# started in, and for no other. What a report changes is changed without a look at bytecode, an allocation that the garbage
# collector may use, or a release of the GIL, from the copy of its values to the record's publication: the GIL is the
# lock, at no price. (Without a GIL this module asks for one: `freethreading_compatible` is False.)
#
# Tasks. Where trials are tasks of an event loop, thousands run in one thread, and each has a reporter of its own, all of
# them on one ring. A thread that has none finds it by a context variable: so the tasks that a trial makes, and what it has
# called in threads (asyncio.to_thread), report for it. While a trial's own task makes a step, its thread is the reporter's:
# that is who can be asked to wait.
#
# Forks. The child of a trial's fork has no reporter: the ring has one writer. If it comes back into the code that runs
# trials, it ends there.

cdef extern from *:
    """
    static __thread void *ft_current;     /* the reporter of this thread; not owned */
    static __thread uint64_t ft_life;     /* 0: whichever trial it runs; else only the one of this life */
    static void *ft_default;              /* the reporter of threads that somebody else than threading has started in a worker */
    static int ft_forked;                 /* this process is the child of one that ran a trial at that moment */
    static uint32_t ft_forks;             /* forks between this process and the one that loaded the module */
    static inline void *ft_get_current(void) { return ft_current; }
    static inline void *ft_get_default(void) { return ft_default; }
    static inline uint64_t ft_get_life(void) { return ft_life; }
    static inline int ft_is_forked(void) { return ft_forked; }
    static inline uint32_t ft_get_forks(void) { return ft_forks; }
    static inline void ft_set_current(void *p, uint64_t life) { ft_current = p; ft_life = life; }
    static inline void ft_set_default(void *p) { ft_default = p; }
    static void ft_forget(void *p) { if (ft_current == p) ft_current = 0; if (ft_default == p) ft_default = 0; }
    static void ft_in_child(void) {
        ft_forked |= ft_current || ft_default;
        ft_current = ft_default = 0;
        ft_forks++;
    }
    """
    void *ft_get_current() noexcept nogil
    void *ft_get_default() noexcept nogil
    uint64_t ft_get_life() noexcept nogil
    int ft_is_forked() noexcept nogil
    uint32_t ft_get_forks() noexcept nogil
    void ft_set_current(void *p, uint64_t life) noexcept nogil
    void ft_set_default(void *p) noexcept nogil
    void ft_forget(void *p) noexcept nogil
    void ft_in_child() noexcept nogil

cdef uint32_t NEVER = 0xFFFFFFFF
cdef double LARGEST_EXACT = 9007199254740992.0    # 2**53: integers above are not floats exactly

NEVER_ASK = <uint32_t>NEVER


NO_TRIAL = 0      # this thread belongs to no trial
OVER = 1          # the trial that it was started in is over
AWAY = 2          # that trial is left inside its report, and another one runs
FORKED = 3        # this process was forked by a trial


cdef object task_reporter = PyContextVar_New("fasttune_trial", NULL)  # the reporter of the trial that a context belongs to
cdef bint has_tasks = False   # trials have been tasks in this process


cdef Reporter reporter_of_task():
    cdef Reporter found = <Reporter>get_value(task_reporter, None) if has_tasks else None  # only `enter` sets it
    return None if found is not None and found.forks != ft_get_forks() else found


cdef Reporter reporter_of_thread():
    """The reporter that this thread is bound to, or lent, or that its context has; None if there is none. A thread in a
    worker process that threading does not know belongs to the trial during which it asks first."""
    cdef void *p = ft_get_current()
    cdef uint64_t life
    cdef Reporter found
    if p == NULL:
        found = reporter_of_task()
        if found is not None:
            return found
        p = ft_get_default()
        if p == NULL:
            return None
        life = (<Reporter><PyObject *>p).life
        if life == 0:
            return None
        ft_set_current(p, life)
    return <Reporter><PyObject *>p


def current():
    """The reporter of the trial that this thread belongs to, or None when no trial of its own runs (see
    :func:`absence`)."""
    cdef void *p = ft_get_current()
    cdef Reporter found
    cdef uint64_t life
    if p == NULL:
        found = reporter_of_thread()
        if found is None or (found.is_task and found.life == 0):
            return None
    else:
        found = <Reporter><PyObject *>p
    life = ft_get_life()
    return found if life == 0 or life == found.life else None


def absence():
    """Why :func:`current` gives None: NO_TRIAL, OVER, AWAY or FORKED."""
    cdef Reporter found = <Reporter>get_value(task_reporter, None) if has_tasks else None
    if ft_is_forked() or (found is not None and found.forks != ft_get_forks()):
        return FORKED
    found = reporter_of_thread()
    if found is not None and found.is_task:
        return AWAY if found.away else OVER
    if found is None or ft_get_life() == 0:
        return NO_TRIAL
    return AWAY if ft_get_life() in found.away else OVER


def binding():
    """What this thread is bound to, for :func:`rebind`: (reporter, life, 0 for whichever trial it runs), or None."""
    cdef void *p = ft_get_current()
    return None if p == NULL else (<object><PyObject *>p, ft_get_life())


def rebind(bound):
    """Bind this thread as :func:`binding` has told. The caller keeps the reporter alive as long as that holds."""
    if bound is None:
        ft_set_current(NULL, 0)
    else:
        ft_set_current(<void *><Reporter?>bound[0], bound[1])


def loan():
    """What a thread that is started here is to be bound to, by :func:`rebind`; None outside trials."""
    cdef Reporter found = reporter_of_thread()
    if found is None:
        return None
    cdef uint64_t life = ft_get_life()
    if life == 0:
        life = found.life
    return (found, life) if life else None


def forget_in_child():
    """Behind a fork, in the child: no thread has a reporter any more."""
    ft_in_child()


cdef class Schema:
    def __cinit__(self, tuple keys, bytes kinds, int number):
        self.keys = keys
        self.kinds = kinds
        self.number = number
        self.n = <int>len(keys)
        self.metric = self.clock = self.done = -1
        self.pointers = <void **>ft_malloc(max(1, self.n) * sizeof(void *))
        if self.pointers == NULL:
            raise MemoryError()
        for i in range(self.n):
            self.pointers[i] = <void *>keys[i]
        if "done" in keys:
            self.done = keys.index("done")

    def __dealloc__(self):
        ft_free(self.pointers)
        ft_free(self.limits)


cdef class Reporter:
    """Writes one trial's reports into ``ring`` and answers each with a decision.

    ``metric`` is the run's metric; with ``strict`` a report without it is refused (MISSING). ``rule`` is the compiled
    scheduler rule that decides here, ``time_attr`` the clock it runs on; with ``elsewhere`` its rungs are another process's, and a
    report that reaches one waits (see elsewhere.pxi). ``limits`` maps result keys to the value at
    which a trial stops. Every thread of a trial may report; all else is for the thread that runs the trials.
    """

    def __cinit__(self, Ring ring not None, *, str metric=None, bint strict=False, Asha rule=None,
                  str time_attr="training_iteration", dict limits=None, bint elsewhere=False):
        self.ring = ring
        self.metric = metric
        self.strict = strict and metric is not None
        self.rule = rule
        self.elsewhere = elsewhere and rule is not None
        self.time_attr = time_attr
        self.clock_kind = clock_kind(time_attr)
        self.schemas = {}
        self.away = set()
        self.forks = ft_get_forks()
        self.room = 16
        self.values = <double *>ft_malloc(self.room * sizeof(double))
        self.limits = limits
        self.limit_keys = list(limits or ())
        self.n_limits = <int>len(self.limit_keys)
        self.limit_values = <double *>ft_malloc(max(1, self.n_limits) * sizeof(double))
        self.limit_kinds = <int *>ft_malloc(max(1, self.n_limits) * sizeof(int))
        if self.values == NULL or self.limit_values == NULL or self.limit_kinds == NULL:
            raise MemoryError()
        for i, key in enumerate(self.limit_keys):
            self.limit_values[i] = limits[key]
            self.limit_kinds[i] = clock_kind(key)
        self.ask_from = NEVER
        self.turn_at = INFINITY

    def __dealloc__(self):
        ft_forget(<void *>self)
        ft_free(self.values)
        ft_free(self.limit_values)
        ft_free(self.limit_kinds)

    def bind(self, bint whole_process=False):
        """Make the calling thread the one that runs this reporter's trials; with ``whole_process`` no other does."""
        ft_set_current(<void *>self, 0)
        if whole_process:
            ft_set_default(<void *>self)

    @staticmethod
    def unbind():
        ft_set_current(NULL, 0)

    def for_task(self):
        """Another one on the same ring, for one trial that is a task: the trial that is begun with it has no other."""
        global has_tasks
        cdef Reporter made = Reporter(self.ring, metric=self.metric, strict=self.strict, rule=self.rule,
                                      time_attr=self.time_attr, limits=self.limits, elsewhere=self.elsewhere)
        made.schemas = self.schemas
        made.is_task = has_tasks = True
        return made

    def enter(self):
        """The context that this is called in, and all that are copied from it, belong to the trial."""
        PyContextVar_Set(task_reporter, self)

    def step_in(self):
        """The trial's own task makes a step: until :meth:`step_out` this thread is the reporter's."""
        self.below = ft_get_current()
        self.life_below = ft_get_life()
        ft_set_current(<void *>self, 0)

    def step_out(self):
        ft_set_current(self.below, self.life_below)

    @property
    def is_foreign(self):
        """Whether this process is the child of the one that made the reporter: only that one may write."""
        return self.forks != ft_get_forks()

    def leave_child(self, int status=0):
        """End this process if a trial has forked it: it has come back from the trial's code."""
        if self.forks != ft_get_forks():
            leave_process(status)

    def retire(self):
        """No trial runs any more: what threads of trials report from here on is dropped."""
        self.life = 0
        self.away.clear()

    # -- a trial's life ---------------------------------------------------------------------------------------------

    def begin(self, uint32_t trial, uint32_t iteration=0, double base_total=0.0, int rung=-1, uint32_t ask_from=0xFFFFFFFF,
              uint32_t pid=0, uint32_t changes=0, int strikes=0, double best=NAN):
        """A trial starts; ``rung``, ``strikes`` and ``best`` are where its earlier attempts left it, ``changes`` is how
        often the journal had changed or requeued it (`TrialTable.changes`) when it was handed out. False when the ring is
        full."""
        return self.begin_at(trial, iteration, base_total, rung, ask_from, pid, changes, strikes, best, ring_now(self.ring))

    cdef bint begin_at(self, uint32_t trial, uint32_t iteration, double base_total, int rung, uint32_t ask_from, uint32_t pid,
                       uint32_t changes, int strikes, double best, double now) except -1:
        if self.forks != ft_get_forks():
            self.leave_child()
        cdef Record *r = self.ring.reserve(RECORD_HEADER + 16)
        if r == NULL:
            return False
        self.lives += 1
        self.life = self.lives
        self.told_to_stop = self.unasked = False
        self.trial = trial
        self.iteration = iteration
        self.base_total = base_total
        self.ask_from = ask_from
        self.has_last = False
        self.stand(rung, strikes, best)
        self.next_t = INFINITY
        if self.rule is not None:
            self.bracket = self.rule.bracket_of(trial)
            self.aim()
        self.started = now
        fill(r, RECORD_HEADER + 16, K_START, 0, 0, trial, iteration, self.started)
        (<uint32_t *>(<char *>r + RECORD_HEADER))[0] = pid
        (<uint32_t *>(<char *>r + RECORD_HEADER))[1] = changes
        (<double *>(<char *>r + RECORD_HEADER))[1] = base_total
        ft_store(&self.ring.h.busy_trial, <uint64_t>trial + 1)
        self.ring.publish(False)
        return True

    cdef void stand(self, int rung, int strikes, double best) noexcept nogil:
        self.standing.rung = rung
        self.standing.strikes = strikes
        self.standing.best = best if self.rule is None else self.rule.sign * best
        self.standing.number = 0

    cdef void aim(self) noexcept nogil:
        cdef int k = self.standing.rung + 1 if self.standing.rung + 1 > self.bracket else self.bracket
        self.next_t = self.rule.milestones[k] if k < self.rule.rungs else INFINITY

    def end(self, int flags=0, bint urgent=False):
        """The trial ended by itself or was stopped (``flags`` STOP). False when the ring is full. One that is only being
        left (:meth:`mute`) leaves no word of that."""
        return self.end_at(flags, urgent, ring_now(self.ring))

    cdef bint end_at(self, int flags, bint urgent, double now) except -1:
        cdef int rung = -1
        cdef uint32_t size = RECORD_HEADER
        cdef double v
        cdef bint locked
        if self.forks != ft_get_forks():
            self.leave_child()
        if self.muted:
            return True
        if self.rule is not None and self.has_last and self.ask_from == NEVER:
            rung = self.rule.reached(self.bracket, self.standing.rung, self.last_t)
            if rung >= 0:
                size += 16
        cdef Record *r = self.ring.reserve(size)
        if r == NULL:
            return False
        fill(r, size, K_END, flags | (F_JUDGED if rung >= 0 else 0), 0, self.trial, self.iteration, now)
        if rung >= 0 and self.elsewhere:
            v = self.rule.seen(&self.standing, self.last_value)
            (<double *>(<char *>r + RECORD_HEADER))[0] = self.rule.sign * v
            if self.ask_elsewhere(rung, v, RECORD_HEADER + 8) == NULL:
                return False
            (<uint64_t *>(<char *>r + RECORD_HEADER))[1] = 0
            self.ring.publish(urgent)
        elif rung >= 0:
            v = self.rule.seen(&self.standing, self.last_value)
            locked = self.rule.lock(self.bracket, rung) == 0
            if not locked or self.rule.judge_locked(self.bracket, rung, &self.standing, v, False) < 0:
                # The rung is full or cannot grow, or its lock is lost: the trial ends as if it had not reached it.
                self.ring.pending -= 16
                r.size = RECORD_HEADER
                r.flags = <uint8_t>flags
            else:
                (<double *>(<char *>r + RECORD_HEADER))[0] = self.rule.sign * v
                (<uint64_t *>(<char *>r + RECORD_HEADER))[1] = tag_of(&self.standing)
            self.ring.publish(False)
            if locked:
                self.rule.unlock(self.bracket, rung)
            if urgent:
                self.ring.call_reader()
        else:
            self.ring.publish(urgent)
        # Behind the record: whoever finds this process dead in between finds the trial's end in the ring.
        ft_store(&self.ring.h.busy_trial, 0)
        self.life = 0
        return True

    def note(self, int kind, bytes payload=b"", bint urgent=False, int flags=0):
        """A record of another kind about the trial that runs. False when the ring is full."""
        if self.forks != ft_get_forks():
            self.leave_child()
        if not self.ring.write(kind, self.trial, self.iteration, payload, flags, urgent):
            return False
        if kind == K_ERROR:
            ft_store(&self.ring.h.busy_trial, 0)
            self.life = 0
        return True

    def resume(self, uint32_t trial, uint32_t iteration, double started, double base_total, int rung, int strikes,
               double best, uint64_t life, uint32_t ask_from, bint runs=True):
        """Make a suspended trial the one that runs again: its counters as they were, the next report to ask at.

        With ``runs=False`` it is only left for good: nobody is told that it runs here.
        """
        self.life = life
        self.away.discard(life)
        self.told_to_stop = False
        self.trial = trial
        self.iteration = iteration
        self.started = started
        self.base_total = base_total
        self.stand(rung, strikes, best)
        self.ask_from = ask_from
        self.has_last = False
        if self.rule is not None:
            self.bracket = self.rule.bracket_of(trial)
            self.aim()
        if runs:
            ft_store(&self.ring.h.busy_trial, <uint64_t>trial + 1)

    def suspend(self):
        """(trial, iteration, started, base_total, rung, strikes, best, life): what :meth:`resume` needs to make it run
        again."""
        if self.forks != ft_get_forks():
            self.leave_child()
        ft_store(&self.ring.h.busy_trial, 0)
        cdef double sign = 1.0 if self.rule is None else self.rule.sign
        told = (self.trial, self.iteration, self.started, self.base_total, self.standing.rung, self.standing.strikes,
                sign * self.standing.best, self.life)
        if self.life:
            self.away.add(self.life)
        self.life = 0
        return told

    def mute(self, bint on):
        """While this is on, nothing is written and every report is answered with STOP: a trial is being left."""
        self.muted = on
        if not on:
            self.life = 0

    def turn_in(self, double seconds):
        """The first report after this time is answered with TURN."""
        self.turn_at = ring_now(self.ring) + seconds

    def ask_again_from(self, uint32_t step):
        """The loop wants to be asked from this training_iteration on (NEVER_ASK: not any more)."""
        self.ask_from = step

    def judged(self, uint64_t tag, int decision):
        """The report that waits was judged elsewhere: where its trial stands now, as its record has it, and what it is told."""
        self.told_to_stop = decision == 1
        self.standing.rung = <int>(tag & 0xFF)
        self.standing.strikes = <int>(tag >> 56)
        if self.rule is not None:
            self.aim()

    cdef Record *ask_elsewhere(self, int rung, double v, uint32_t at) noexcept nogil:
        """A record behind the one that is reserved, published with it: that one has reached a rung, and its judgement is to be put
        ``at`` so many bytes. NULL when there is no room; then neither is to be published."""
        cdef Record *q = self.ring.reserve_at(self.ring.pending, RECORD_HEADER + 16)
        cdef char *p
        if q == NULL:
            return NULL
        fill(q, RECORD_HEADER + 16, K_JUDGE, 0, 0, self.trial, self.iteration, 0.0)
        p = <char *>q + RECORD_HEADER
        (<double *>p)[0] = v
        (<uint32_t *>(p + 8))[0] = at
        (<uint32_t *>(p + 8))[1] = <uint32_t>rung | <uint32_t>self.standing.strikes << 8
        return q

    # -- reports ----------------------------------------------------------------------------------------------------

    def report(self, dict metrics not None):
        """Write one report of plain numbers. CONTINUE, STOP, WAIT, TURN, or NOT_PLAIN, FULL, MISSING, GONE, LATE
        (nothing written)."""
        cdef Schema s = self.schema
        cdef int code = NOT_PLAIN_
        if s is None or not self.matches(s, metrics):
            s = self.learn(metrics, &code, False)
            if s is None:
                return code
        return self.commit(s, NULL, 0, None, 0)

    def report_extra(self, dict numbers not None, extra, bytes extra_json not None, checkpoint=None):
        """As :meth:`report`, with ``extra_json`` for what is no number and a checkpoint: the path of its directory as
        text, or the checkpoint itself as bytes.

        The checkpoint's record and the report's become visible together or not at all.
        """
        cdef int code = NOT_PLAIN_
        cdef bytes saved = checkpoint.encode() if type(checkpoint) is str else checkpoint
        cdef int held = held_by(self.context) if type(checkpoint) is bytes else 0
        cdef bint has_extra = bool(extra)
        cdef Schema s = self.learn(numbers, &code, True)
        if s is None:
            return code
        return self.commit(s, PyBytes_AS_STRING(extra_json) if has_extra else NULL, len(extra_json) if has_extra else 0,
                           saved, held)

    cdef bint matches(self, Schema s, dict metrics) except -1:
        """Copy the values if the keys are the very objects of ``s`` in its order and the kinds are the same."""
        cdef Py_ssize_t position = 0
        cdef PyObject *key
        cdef PyObject *value
        cdef int j = 0, overflow = 0
        cdef char kind
        cdef long long whole
        if PyDict_Size(metrics) != s.n:
            return False
        while PyDict_Next(metrics, &position, &key, &value):
            if <void *>key != s.pointers[j]:
                return False
            kind = PyBytes_AS_STRING(s.kinds)[j]
            if kind == c"f":
                if not PyFloat_Check(<object>value):
                    return False
                self.values[j] = PyFloat_AS_DOUBLE(<object>value)
            elif kind == c"i":
                if not PyLong_CheckExact(<object>value):
                    return False
                whole = PyLong_AsLongLongAndOverflow(<object>value, &overflow)
                if overflow or whole > 9007199254740992 or whole < -9007199254740992:
                    return False
                self.values[j] = <double>whole
            else:
                if not PyBool_Check(<object>value):
                    return False
                self.values[j] = 1.0 if <object>value is True else 0.0
            j += 1
        return True

    cdef Schema learn(self, dict metrics, int *code, bint whole):
        """The schema of ``metrics``, made and announced if it is new; None with a code if they are not plain.

        Steps and episodes of an iteration add up to totals, which only ``whole`` reports have beside them: such a schema
        is never taken for that of the next report, so that all others need not be looked at for them. So it is with what
        constraints make of a report.
        """
        cdef Schema s
        cdef bint apart = TIMESTEPS in metrics or EPISODES in metrics
        if apart and not whole:
            code[0] = NOT_PLAIN_
            return None
        kinds = bytearray()
        for key, value in metrics.items():
            if type(key) is not str:
                code[0] = NOT_PLAIN_
                return None
            if (<str>key).startswith(CONSTRAINTS) or key == CONSTRAINTS[:-1]:
                apart = True
                if not whole:
                    code[0] = NOT_PLAIN_
                    return None
            if PyFloat_Check(value):
                kinds.append(b"f"[0])
            elif PyBool_Check(value):
                kinds.append(b"b"[0])
            elif PyLong_CheckExact(value) and -9007199254740992 <= value <= 9007199254740992:
                kinds.append(b"i"[0])
            else:
                code[0] = NOT_PLAIN_
                return None
        keys = tuple(metrics)
        s = self.schemas.get((keys, bytes(kinds)))
        if s is None:
            s = self.announce(keys, bytes(kinds))
            if s is None:
                code[0] = FULL_
                return None
        for j in range(s.n):                       # equal keys may be other objects: remember these
            s.pointers[j] = <void *>keys[j]
        s.keys = keys
        if s.n > self.room:
            grown = <double *>ft_realloc(self.values, s.n * sizeof(double))
            if grown == NULL:
                raise MemoryError()
            self.values = grown
            self.room = s.n
        self.schema = None if apart else s
        if not self.matches(s, metrics):           # another thread has changed the dict meanwhile
            return self.learn(metrics, code, whole)
        return s

    cdef Schema announce(self, tuple keys, bytes kinds):
        """Give a set of metric names a number and tell the reader. None when the ring is full."""
        if len(self.schemas) > 65000:
            raise ValueError("more than 65,000 different sets of metric names were reported; are keys made up per step?")
        cdef Schema s = Schema(keys, kinds, 0)
        cdef tuple names = (keys, kinds)
        cdef bytes payload = ('{"keys":[' + ",".join([quoted(k) for k in keys]) + '],"kinds":"' + kinds.decode() + '"}').encode()
        cdef Record *r
        cdef uint32_t size = padded(RECORD_HEADER + len(payload))
        if size > self.ring.capacity // 2:
            raise ValueError(f"the names of the metrics take {size} bytes; the most is {self.ring.capacity // 2}")
        s.metric = steering_column(self.metric, keys)
        if self.time_attr in keys:
            s.clock = keys.index(self.time_attr)
        s.limits = <int *>ft_malloc(max(1, self.n_limits) * sizeof(int))
        if s.limits == NULL:
            raise MemoryError()
        for i, key in enumerate(self.limit_keys):
            s.limits[i] = keys.index(key) if key in keys else -1
        # From here on no other thread has a turn: each number is told once, and known to all as soon as it is told.
        if names in self.schemas:
            return self.schemas[names]
        r = self.ring.reserve(size)
        if r == NULL:
            return None
        s.number = <int>len(self.schemas)
        memset(r, 0, size)
        fill(r, size, K_SCHEMA, 0, s.number, self.trial, self.iteration, 0.0)
        memcpy(<char *>r + RECORD_HEADER, PyBytes_AS_STRING(payload), len(payload))
        self.ring.publish(False)
        self.schemas[names] = s
        return s

    cdef double clock(self, int kind, int column, double now, uint32_t step) noexcept nogil:
        """The value of training_iteration, time_total_s or a column; NaN if it was not reported."""
        if column >= 0:
            return self.values[column]
        if kind == 0:
            return <double>step
        if kind == 1:
            return self.base_total + now - self.started
        if kind == 3:
            return now
        return NAN

    cdef int commit(self, Schema s, const char *extra, Py_ssize_t n_extra, bytes checkpoint, int held) except -9:
        """Write the report whose values are in ``self.values``; the order of the checks is Ray's: stop, then rule."""
        cdef Ring ring = self.ring
        cdef uint32_t tail = padded(4 + n_extra) if extra != NULL else 0
        cdef uint32_t size = RECORD_HEADER + 8 * <uint32_t>s.n + 8 + tail
        cdef uint32_t step = self.iteration + 1
        cdef uint32_t first = 0                    # size of the checkpoint's record
        cdef uint32_t at = 0                       # where the judgement stands in the report's record
        cdef const char *path = NULL
        cdef Py_ssize_t n_path = 0
        cdef Record *r
        cdef char *p
        cdef double now
        cdef int decision, rung = -1, failed = 0, flags
        cdef uint64_t life = ft_get_life()
        cdef bint urgent, owner = life == 0
        if life != 0 and life != self.life:        # its trial has ended since this thread looked
            return GONE_
        if self.muted:
            return 1
        if self.is_task:
            if self.life == 0:
                return GONE_
            owner = owner and ft_get_current() == <void *>self
        if not self.takes_late and (self.stopped or ft_load(&self.ring.h.stop_trial) == <uint64_t>self.trial + 1):
            return LATE_
        if self.forks != ft_get_forks():
            self.leave_child()
        if self.strict and s.metric < 0:
            return MISSING_
        if checkpoint is not None:
            path = PyBytes_AS_STRING(checkpoint)
            n_path = len(checkpoint)
            first = padded(RECORD_HEADER + n_path)
        if n_extra + n_path + 8 * s.n + 96 > <Py_ssize_t>ring.capacity // 2:
            raise ValueError(f"one report of {n_extra + n_path + 8 * s.n} bytes is too large; "
                             f"the most is {ring.capacity // 2 - 96} bytes")
        if path != NULL:
            r = ring.reserve(first)
            if r == NULL:
                return FULL_
            memset(<char *>r + first - 8, 0, 8 if n_path else 0)
            memcpy(<char *>r + RECORD_HEADER, path, n_path)
            fill(r, first, K_CHECKPOINT, held, padding_of(K_CHECKPOINT, held, first, n_path), self.trial, step,
                 ring_now(ring))
            r = ring.reserve_at(ring.pending, size)
        else:
            r = ring.reserve(size)
        if r == NULL:
            return FULL_
        now = ring_now(ring)
        decision = self.decide(s, now, step, owner, &rung, &failed)
        p = <char *>r + RECORD_HEADER
        check(s.n <= self.room)
        memcpy(p, self.values, 8 * s.n)
        p += 8 * s.n
        flags = decision | (F_JUDGED if rung >= 0 else 0) | (F_EXTRA if extra != NULL else 0)
        if rung >= 0:
            (<uint64_t *>p)[0] = tag_of(&self.standing)    # of one that is judged elsewhere it is put right there
            at = <uint32_t>(p - <char *>r)
            p += 8
        else:
            size -= 8
            ring.pending -= 8
        if extra != NULL:
            memset(p + tail - 8, 0, 8)
            (<uint32_t *>p)[0] = <uint32_t>n_extra
            memcpy(p + 4, extra, n_extra)
        check(p + tail == <char *>r + size)
        fill(r, size, K_REPORT, flags, s.number, self.trial, step, now)
        if rung >= 0 and self.elsewhere and self.ask_elsewhere(
                rung, self.rule.seen(&self.standing, self.values[s.metric]), at) == NULL:
            return FULL_                           # nothing is visible, and nothing was decided
        urgent = decision == 2 or ring.pending - ring.h.released > ring.capacity >> 1
        ring.publish(False)
        if rung >= 0 and not self.elsewhere:
            self.rule.unlock(self.bracket, rung)
            self.aim()
        if urgent:
            ring.call_reader()
        self.iteration = step
        self.reports += 1
        self.told_to_stop = decision == 1
        self.has_last = s.metric >= 0
        if self.has_last:
            self.last_value = self.values[s.metric]
            self.last_t = self.clock(self.clock_kind, s.clock, now, step)
        if decision == 0 and (owner or self.is_task) and now >= self.turn_at:
            return TURN_
        if failed:
            self.rule.refuse(failed)
        return decision

    cdef int decide(self, Schema s, double now, uint32_t step, bint owner, int *judged, int *failed) noexcept nogil:
        """CONTINUE, STOP or WAIT; STOP if it ``failed`` for a reason of the rule. With ``judged`` >= 0 that rung's lock is held until the record is published.

        A trial that was told to stop, in whatever thread, is told so again. Only the ``owner`` can wait for an answer of
        the loop, which may be to leave the trial here for a while: other threads' reports wait for its next one.
        """
        cdef int i, rung, decision
        cdef double t, v = 0.0
        if self.rule is not None and s.metric >= 0:
            v = self.rule.seen(&self.standing, self.values[s.metric])
        if self.told_to_stop:
            return 1
        for i in range(self.n_limits):
            if self.clock(self.limit_kinds[i], s.limits[i], now, step) >= self.limit_values[i]:
                return 1
        if s.done >= 0 and self.values[s.done] != 0.0:
            return 1
        if ft_load(&self.ring.h.stop_trial) == <uint64_t>self.trial + 1:
            return 1
        if step >= self.ask_from:
            self.unasked = not owner
            return 2 if owner else 0
        if self.rule is None or s.metric < 0:
            return 0
        t = self.clock(self.clock_kind, s.clock, now, step)
        if t >= self.rule.max_t and self.rule.stop_last_trials:
            return 1
        if not t >= self.next_t:
            return 0
        rung = self.rule.reached(self.bracket, self.standing.rung, t)
        if rung < 0:
            return 0
        if self.elsewhere:
            if owner:
                judged[0] = rung
                return 2
            self.unasked = True                    # its next report is judged there
            return 0
        decision = self.rule.lock(self.bracket, rung)
        if decision != 0:
            failed[0] = decision
            return 1
        decision = self.rule.judge_locked(self.bracket, rung, &self.standing, v, True)
        if decision < 0:
            self.rule.unlock(self.bracket, rung)
            failed[0] = decision
            return 1
        judged[0] = rung
        return decision


TIMESTEPS = "timesteps_this_iter"
EPISODES = "episodes_this_iter"
DEADLINE = "\0deadline"  # the limit on the clock itself: no metric can bear this name
CONSTRAINTS = "constraints/"  # what begins so is no plain metric: at most 0 where a constraint holds

# C constants of the codes that Python sees as module attributes
cdef enum:
    TURN_ = 8
    NOT_PLAIN_ = -1
    FULL_ = -2
    MISSING_ = -3
    GONE_ = -4
    LATE_ = -5


cdef int clock_kind(str key):
    if key == "training_iteration":
        return 0
    if key == "time_total_s":
        return 1
    if key == DEADLINE:
        return 3
    return 2


cdef str quoted(str text):
    """JSON string; json is imported only for names that need escaping."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return '"' + text + '"'
    import json
    return json.dumps(text)


cdef int held_by(object context) except -1:
    """The flags of a checkpoint in memory, with the attempt that makes it above their own byte."""
    return F_HELD | (0 if context is None else <int>context.attempt) << 8
