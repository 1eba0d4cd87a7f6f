# Ring: records in shared memory, one writer, one reader.
#
# A record is the unit of everything: what report() writes, what travels, what lies in the journal, what state is folded
# from. All fields are little-endian; every record is a multiple of 8 bytes and never wraps around the ring's end.
#
#   offset  0  uint32  size      whole record, header included
#           4  uint8   kind      K_*
#           5  uint8   flags     what a report was answered, how a trial ended, what follows the values (F_*)
#           6  uint16  schema    the writer's number for a set of metric names (K_SCHEMA tells the names)
#           8  uint32  trial
#          12  uint32  step      training_iteration of the trial
#          16  float64 time      unix seconds on a clock that never jumps (epoch of the run + monotonic)
#          24  payload           float64 values of a report, in the schema's order; then what the flags announce
#
# Positions count bytes since the ring was made and never go back: released <= read <= head <= released + capacity.
#   head      written by the writer: everything below is whole
#   read      written by the reader: everything below has been folded
#   released  written by the reader after the journal's commit: space below may be overwritten
# The file outlives its processes: records between the journal's last position and head are what the dead left behind.
#
# Behind the records lie their seals, where the ring has room for them: one uint32 per 16 bytes of records (no two
# records begin within 16 bytes), a hash of the record, its position and the ring's epoch. A page that the disk never got,
# one of an earlier lap, a flipped bit: none of them is taken for a record by whoever reads the file after a power cut.
# The seals lie apart so that records stay contiguous: the journal gets them as they are. Price: about 12 ns for a report of
# two metrics (`benchmarks/bench_core.py`).

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #include <time.h>
    #include <errno.h>
    #include <math.h>
    #include <sched.h>
    #include <unistd.h>
    #include <pthread.h>
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "records are little-endian, and so must the machine be"
    #endif
    #if defined(__linux__)
    #include <sys/syscall.h>
    #include <linux/futex.h>
    #endif

    static inline double ft_monotonic(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    }
    static inline uint64_t ft_load(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void ft_store(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline void ft_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    static inline void ft_in_order(void) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }   /* binds the compiler only */
    static inline int ft_cas(uint64_t *p, uint64_t old, uint64_t v) {
        return __atomic_compare_exchange_n(p, &old, v, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    static inline void ft_pause(void) {
    #if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
    #endif
    }
    /* Sleep while *word == seen, at most `seconds`. Other systems than Linux nap briefly instead. */
    static void ft_sleep_on(uint64_t *word, uint32_t seen, double seconds) {
    #if defined(__linux__)
        struct timespec t;
        t.tv_sec = (time_t)seconds;
        t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
        syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT, seen, &t, NULL, 0);
    #else
        struct timespec t = {0, 200000};
        nanosleep(&t, NULL);
    #endif
    }
    static void ft_wake(uint64_t *word) {
    #if defined(__linux__)
        syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE, 1, NULL, NULL, 0);
    #endif
    }
    #if defined(__linux__)
    #include <sys/prctl.h>
    #include <signal.h>
    static int ft_die_with_parent(void) { return prctl(PR_SET_PDEATHSIG, SIGKILL); }
    static int ft_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1); }
    #else
    static int ft_die_with_parent(void) { return 0; }
    static int ft_adopt_orphans(void) { return 0; }
    #endif
    static int ft_ring_bell(int fd) { uint64_t one = 1; return (int)write(fd, &one, 8); }

    /* Multiply-and-fold over pairs of words, the step of wyhash (Wang Yi, 2019). `size` is a multiple of 8. Against
       accidents, not against people who mean harm. Never 0: a page of zeros seals nothing. */
    static inline uint64_t ft_fold(uint64_t a, uint64_t b) {
    #if defined(__x86_64__) && defined(__GNUC__)
        uint64_t high;  /* of a 128-bit product GCC writes both halves to memory before it uses them */
        __asm__("mulq %3" : "=a"(a), "=d"(high) : "0"(a), "rm"(b) : "cc");
        return a ^ high;
    #else
        __uint128_t r = (__uint128_t)a * b;
        return (uint64_t)r ^ (uint64_t)(r >> 64);
    #endif
    }
    static inline uint32_t ft_seal(const char *p, uint32_t size, uint64_t position, uint64_t salt) {
        const uint64_t c0 = 0xa0761d6478bd642fULL, c1 = 0xe7037ed1a0b428dbULL;
        uint64_t w[2], h = salt ^ position ^ c0;
        uint32_t i;
        for (i = 0; i + 16 <= size; i += 16) {
            memcpy(w, p + i, 16);
            h = ft_fold(w[0] ^ c1, w[1] ^ h);
        }
        if (i < size) {
            memcpy(w, p + i, 8);
            h = ft_fold(w[0] ^ c1, h ^ c0);
        }
        h = ft_fold(h ^ position, c0 ^ size);
        return (uint32_t)(h ^ h >> 32) ? (uint32_t)(h ^ h >> 32) : 1;
    }
    /* The seals of the records from `at` to `end`; of a pad (`pad` is its kind), which has no contents, the first 8
       bytes are under it. All in registers: what is stored here could be anything else to the compiler. */
    static inline void ft_seal_records(const char *data, uint32_t *seals, uint64_t at, uint64_t end, uint64_t mask,
                                       uint64_t salt, uint8_t pad) {
        while (at < end) {
            const char *r = data + (at & mask);
            uint32_t size;
            memcpy(&size, r, 4);
            seals[(at & mask) >> 4] = ft_seal(r, (uint8_t)r[4] == pad ? 8 : size, at, salt);
            at += size;
        }
    }
    """
    double ft_monotonic() noexcept nogil
    uint64_t ft_load(uint64_t *p) noexcept nogil
    void ft_store(uint64_t *p, uint64_t v) noexcept nogil
    void ft_fence() noexcept nogil
    void ft_in_order() noexcept nogil
    int ft_cas(uint64_t *p, uint64_t old, uint64_t v) noexcept nogil
    void ft_pause() noexcept nogil
    void ft_sleep_on(uint64_t *word, uint32_t seen, double seconds) noexcept nogil
    void ft_wake(uint64_t *word) noexcept nogil
    int ft_ring_bell(int fd) noexcept nogil
    uint32_t ft_seal(const char *p, uint32_t size, uint64_t position, uint64_t salt) noexcept nogil
    void ft_seal_records(const char *data, uint32_t *seals, uint64_t at, uint64_t end, uint64_t mask, uint64_t salt,
                         uint8_t pad) noexcept nogil
    int ft_die_with_parent() noexcept nogil
    int ft_adopt_orphans() noexcept nogil
    int sched_yield() noexcept nogil


cdef enum:
    RING_MAGIC = 0x46545232    # "FTR2": seals behind the records
    RING_HEADER = 4096         # bytes before the records
    RECORD_HEADER = 24
    LARGEST_RING = 1 << 28     # no file that says more is ours

cdef enum:
    K_PAD = 0          # skip to the ring's end
    K_START = 1        # a trial begins: payload uint32 pid, uint32 changes, float64 seconds before
    K_REPORT = 2
    K_SCHEMA = 3       # payload JSON {"keys": [...], "kinds": "fib"}
    K_END = 4          # a trial ended; flags say how
    K_ERROR = 5        # a trial failed; payload UTF-8 text
    K_EXCEPTION = 6    # the pickled exception of the failure that follows; never read from disk
    K_CHECKPOINT = 7   # belongs to the report of the same step; payload UTF-8 path, or the checkpoint itself (F_HELD)
    K_PAUSED = 8
    K_RESUMED = 9
    K_CONFIGS = 10     # `step` trials from number `trial` on were suggested; payload: block of configs
    K_CONFIG = 11      # one trial was suggested; payload JSON
    K_REQUEUED = 12    # a failed or interrupted trial waits for another attempt; payload UTF-8 checkpoint path
    K_META = 13        # payload JSON: about the experiment
    K_DECISION = 14    # the run is ended from outside, whatever schedulers say; payload UTF-8: why
    K_TOLD = 15        # what a user's functions say of one trial; payload JSON {"name", "dirname", "resources"}
    K_CHANGED = 16     # a waiting trial goes on otherwise: another config, another trial's checkpoint; payload JSON
    K_CHOSEN = 17      # a waiting trial was given to an executor; with F_BACK: it did not come to begin
    K_ROWS = 18        # many trials of one process at one moment: which began, reported and ended (see rows.pxi)
    # from the loop to a worker, never stored
    K_RUN = 32         # run `step` trials from number `trial` on
    K_RUN_ONE = 33     # payload: pickled start
    K_ANSWER = 34      # flags: the decision; step: report from which the trial must ask again
    K_CONTINUE = 35    # go on with a paused trial; step: report from which it must ask again
    K_EXIT = 36
    K_SAVE = 37        # a paused class Trainable saves
    K_DISCARD = 38     # a paused trial's code is left for good
    # from a worker whose rungs are elsewhere to where they are, never stored
    K_JUDGE = 39       # the report or end before it has reached a rung (see elsewhere.pxi)

cdef enum:
    F_DECISION = 0x07  # CONTINUE, STOP, ASKED, PAUSE
    F_JUDGED = 0x08    # a rung was asked: uint64 follows the values: rung, sequence number << 8, strikes << 56
    F_EXTRA = 0x10     # uint32 length and JSON text follow: what is no number
    F_FRESH = 0x01     # of a requeued trial: it begins from its start, its checkpoints do not count any more
    F_AGAIN = 0x02     # of a requeued trial: it had ended well, and is to run again because somebody said so
    F_HELD = 0x01      # of a checkpoint: the payload is the checkpoint; `schema` has the number of bytes that pad it (bits
                       # 0-2) and the attempt of the trial that made it (the others; the first is 0). In the journal the
                       # payload is left out: what is kept of it stands elsewhere
    F_BACK = 0x01      # of a chosen trial: it waits again
    F_REMOVED = 0x20   # of an end: the trial was not running
    F_SAVE = 0x08      # of an answer: save first

CONTINUE = 0
STOP = 1
WAIT = 2          # an answer of the loop is needed (stored as ASKED)
TURN = 8          # as CONTINUE; the loop, in the trial's own thread, is due for a turn (stored as CONTINUE)
PAUSE = 3
NOT_PLAIN = -1    # nothing written: a value is not a plain number
FULL = -2         # nothing written: the ring must be drained first
MISSING = -3      # nothing written: the metric of the run is not in the report
GONE = -4         # nothing written: the trial that this thread belongs to does not run (any more)
LATE = -5         # nothing written: the trial had been told to stop before

KIND_START = K_START
KIND_REPORT = K_REPORT
KIND_SCHEMA = K_SCHEMA
KIND_END = K_END
KIND_ERROR = K_ERROR
KIND_EXCEPTION = K_EXCEPTION
KIND_CHECKPOINT = K_CHECKPOINT
KIND_PAUSED = K_PAUSED
KIND_RESUMED = K_RESUMED
KIND_CONFIGS = K_CONFIGS
KIND_CONFIG = K_CONFIG
KIND_REQUEUED = K_REQUEUED
KIND_META = K_META
KIND_DECISION = K_DECISION
KIND_TOLD = K_TOLD
KIND_CHANGED = K_CHANGED
KIND_CHOSEN = K_CHOSEN
KIND_ROWS = K_ROWS
KIND_RUN = K_RUN
KIND_RUN_ONE = K_RUN_ONE
KIND_ANSWER = K_ANSWER
KIND_CONTINUE = K_CONTINUE
KIND_EXIT = K_EXIT
KIND_SAVE = K_SAVE
KIND_DISCARD = K_DISCARD
KIND_JUDGE = K_JUDGE

REMOVED = F_REMOVED
SAVE = F_SAVE
HELD = F_HELD
FRESH = F_FRESH
AGAIN = F_AGAIN
BACK = F_BACK


cdef inline uint32_t padded(Py_ssize_t nbytes) noexcept nogil:
    return <uint32_t>((nbytes + 7) & ~7)


cdef inline uint32_t sealed_bytes(const Record *r) noexcept nogil:
    """What of a record is under its seal: all of it, or of a pad, which has no contents, the first 8 bytes."""
    return 8 if r.kind == K_PAD else r.size


cdef inline uint64_t salt_of(const RingHeader *h) noexcept nogil:
    """Makes the seals of one ring differ from those of another."""
    cdef uint64_t bits
    memcpy(&bits, &h.epoch, 8)
    return bits ^ h.capacity << 32


cdef inline double ring_now(Ring ring) noexcept nogil:
    """Unix time of the run's clock, or the time at which it is held."""
    return ring.held if ring.holds else ring.epoch + ft_monotonic()


cdef inline int padding_of(int kind, int flags, uint32_t size, Py_ssize_t n) noexcept nogil:
    """What a record of our own says in `schema`: for a checkpoint of bytes how many of its last ones are none, and which
    attempt of its trial made it, which stands above the flags' own byte."""
    if kind != K_CHECKPOINT or not flags & F_HELD:
        return 0
    return <int>(size - RECORD_HEADER - n) | (flags >> 8 & 0x1FFF) << 3


cdef inline uint64_t place_of(const Record *r) noexcept nogil:
    """Step and attempt of a checkpoint in memory as one number: no other checkpoint of its trial has it."""
    return <uint64_t>r.step | <uint64_t>(r.schema >> 3) << 32


cdef class Ring:
    """Single-writer single-reader records in a shared buffer.

    ``buffer`` is writable, of 4,096 header bytes plus a power of two, and a quarter of that for seals if the records are to
    be sealed (:meth:`nbytes`); it is kept alive by the ring. ``create=True`` writes a fresh header, ``create=False`` opens
    what is there and raises ValueError if it is no ring.
    One process writes, one process (or the same) reads; neither side ever takes a lock.
    """

    def __cinit__(self, buffer, bint create=False, double epoch=0.0, int bell_fd=-1):
        PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE | PyBUF_SIMPLE)
        self.has_view = True
        cdef Py_ssize_t capacity = self.view.len - RING_HEADER
        cdef bint sealed = capacity > 0 and capacity & (capacity - 1) and capacity % 5 == 0
        if sealed:
            capacity = capacity // 5 * 4
        if capacity < 4096 or capacity & (capacity - 1):
            raise ValueError("a ring's buffer must be 4096 bytes plus a power of two >= 4096, and perhaps a quarter of that "
                             f"for seals, got {self.view.len}")
        self.h = <RingHeader *>self.view.buf
        self.data = self.taken = <char *>self.view.buf + RING_HEADER
        self.bell_fd = bell_fd
        if create:
            memset(self.h, 0, RING_HEADER)
            self.h.capacity = capacity
            self.h.epoch = epoch
            ft_store(&self.h.magic, RING_MAGIC)
        elif self.h.magic != RING_MAGIC or self.h.capacity != <uint64_t>capacity:
            raise ValueError("the buffer is not a ring: its header is damaged or of another size")
        if self.h.head - self.h.released > self.h.capacity or self.h.head - self.h.read > self.h.capacity:
            raise ValueError("the ring's header is damaged: more bytes are held than fit")
        if (self.h.head | self.h.read | self.h.released) & 7:
            raise ValueError("the ring's header is damaged: a position is not between two records")
        self.capacity = self.h.capacity
        self.epoch = self.h.epoch
        if sealed:
            self.seals = <uint32_t *>(self.data + self.capacity)
            self.salt = salt_of(self.h)

    def __dealloc__(self):
        if self.has_view:
            PyBuffer_Release(&self.view)

    HEADER = RING_HEADER

    @staticmethod
    def nbytes(Py_ssize_t capacity):
        """Bytes of the buffer of a ring that holds ``capacity`` bytes of sealed records."""
        return RING_HEADER + capacity + capacity // 4

    # -- the writer's side ------------------------------------------------------------------------------------------

    cdef Record *reserve(self, uint32_t size) noexcept nogil:
        """Room for one record, or NULL when the reader must release some first. Nothing is visible before publish()."""
        return self.reserve_at(self.h.head, size)

    cdef Record *reserve_at(self, uint64_t head, uint32_t size) noexcept nogil:
        """As :meth:`reserve`, behind a record that is reserved but not yet published."""
        cdef uint64_t offset = head & (self.capacity - 1)
        cdef uint64_t tail = self.capacity - offset
        cdef uint64_t need = size if tail >= size else size + tail
        cdef Record *pad
        check(size % 8 == 0)
        check(size >= RECORD_HEADER)
        check(head % 8 == 0)
        if head + need - ft_load(&self.h.released) > self.capacity:
            return NULL
        if tail < size:
            pad = <Record *>(self.data + offset)
            pad.size = <uint32_t>tail
            pad.kind = K_PAD
            head += tail
            offset = 0
        self.pending = head + size
        return <Record *>(self.data + offset)

    cdef void publish(self, bint urgent) noexcept nogil:
        check(self.pending >= self.h.head)
        check(self.pending % 8 == 0)
        check(self.pending - self.h.released <= self.capacity)
        if self.seals != NULL:
            ft_seal_records(self.data, self.seals, self.h.head, self.pending, self.capacity - 1, self.salt, K_PAD)
        ft_store(&self.h.head, self.pending)
        if urgent:
            self.call_reader()

    cdef void call_reader(self) noexcept nogil:
        ft_store(&self.h.urgent, 1)
        ft_fence()
        if ft_load(&self.h.reader_asleep):
            if self.bell_fd >= 0:
                ft_store(&self.h.reader_asleep, 0)
                ft_ring_bell(self.bell_fd)
            else:
                ft_store(&self.h.bell, self.h.bell + 1)
                ft_wake(&self.h.bell)

    def write(self, int kind, uint32_t trial=0, uint32_t step=0, bytes payload=b"", int flags=0, bint urgent=True):
        """Write one record of any kind; False when there is no room now. ValueError if it can never fit."""
        cdef Py_ssize_t n = len(payload)
        cdef uint32_t size = padded(RECORD_HEADER + n)
        if n + RECORD_HEADER > <Py_ssize_t>self.capacity // 2:
            raise ValueError(f"a record of {n} bytes cannot fit a ring of {self.capacity} bytes")
        cdef Record *r = self.reserve(size)
        if r == NULL:
            return False
        fill(r, size, kind, flags, padding_of(kind, flags, size, n), trial, step, ring_now(self))
        memset(<char *>r + size - 8, 0, 8 if n else 0)
        memcpy(<char *>r + RECORD_HEADER, <char *>payload, n)
        self.publish(urgent)
        return True

    def hold(self, double now):
        """The clock stands at ``now`` from here on: virtual time. What is written bears that time."""
        self.held = now
        self.holds = True

    def call(self):
        """Wake the reader: there is something that cannot wait for its next turn."""
        self.call_reader()

    # -- the reader's side ------------------------------------------------------------------------------------------

    def take(self):
        """Everything whole and not yet read, as one memoryview (the rest comes at the next call), or None.

        The view shows the ring's own memory: it is valid until :meth:`release` passes it.
        """
        cdef uint64_t read = self.h.read
        if ft_load(&self.h.head) == read:
            return None
        # First the flag, then the head: what becomes urgent after this look at the head leaves its flag standing.
        ft_store(&self.h.urgent, 0)
        ft_fence()
        cdef uint64_t head = ft_load(&self.h.head)
        cdef uint64_t offset = read & (self.capacity - 1)
        cdef uint64_t n = head - read
        if offset + n > self.capacity:
            n = self.capacity - offset
        self.h.read = read + n
        self.taken = self.data + offset
        self.n_taken = n
        return PyMemoryView_FromObject(self)

    def __getbuffer__(self, Py_buffer *view, int flags):
        """What was taken last, read-only: a view of it keeps the ring's memory."""
        PyBuffer_FillInfo(view, self, self.taken, self.n_taken, 1, flags)

    def release(self):
        """Let the writer reuse everything that was taken so far."""
        ft_store(&self.h.released, self.h.read)

    def sleep_begin(self):
        """Announce that the reader is about to sleep; True if it may, False if it was called since its last turn.

        A call is answered once: after False the reader must look at everything again before it comes back.
        """
        ft_store(&self.h.reader_asleep, 1)
        ft_fence()
        if ft_load(&self.h.urgent):
            ft_store(&self.h.reader_asleep, 0)
            ft_store(&self.h.urgent, 0)
            ft_fence()
            return False
        return True

    def sleep_end(self):
        ft_store(&self.h.reader_asleep, 0)

    def wait(self, double seconds=0.1):
        """Block the reader until something is there, at most ``seconds``: spins a few microseconds, then sleeps."""
        cdef int spin
        cdef uint32_t seen
        with nogil:
            for spin in range(200):
                if ft_load(&self.h.head) != self.h.read:
                    break
                ft_pause()
            else:
                sched_yield()
                seen = <uint32_t>ft_load(&self.h.bell)
                ft_store(&self.h.reader_asleep, 1)
                ft_fence()
                if ft_load(&self.h.head) == self.h.read:
                    ft_sleep_on(&self.h.bell, seen, seconds)
                ft_store(&self.h.reader_asleep, 0)
        return ft_load(&self.h.head) != self.h.read

    # -- trials to run: taken by the worker, given and taken back by the loop -----------------------------------------

    def next_trial(self):
        """The worker's next trial of its span, or -1."""
        return self.take_next()

    cdef int64_t take_next(self) noexcept nogil:
        cdef uint64_t span, first, limit
        while True:
            span = ft_load(&self.h.span)
            first = span >> 32
            limit = span & <uint64_t>0xFFFFFFFF
            if first >= limit:
                return -1
            if ft_cas(&self.h.span, span, (first + 1) << 32 | limit):
                if self.h.low_water and limit - first - 1 == self.h.low_water:
                    self.call_reader()
                return <int64_t>first

    def set_span(self, uint64_t first, uint64_t limit):
        ft_store(&self.h.span, first << 32 | limit)

    def take_back(self):
        """Take the unstarted second half (or the last one) of the worker's span back: (first, limit) or None."""
        cdef uint64_t span, first, limit, middle
        while True:
            span = ft_load(&self.h.span)
            first = span >> 32
            limit = span & 0xFFFFFFFF
            if first >= limit:
                return None
            middle = first + (limit - first) // 2
            if ft_cas(&self.h.span, span, first << 32 | middle):
                return middle, limit

    # -- words that either side may look at ---------------------------------------------------------------------------

    @property
    def head(self): return ft_load(&self.h.head)

    @property
    def position(self): return self.h.read

    @property
    def released(self): return ft_load(&self.h.released)

    @property
    def urgent(self): return ft_load(&self.h.urgent) != 0

    @property
    def left(self):
        """Unstarted trials of the worker's span."""
        cdef uint64_t span = ft_load(&self.h.span)
        return max(0, <int64_t>(span & 0xFFFFFFFF) - <int64_t>(span >> 32))

    @property
    def filled(self):
        """Share of the ring that is held, 0 to 1."""
        return (ft_load(&self.h.head) - ft_load(&self.h.released)) / <double>self.capacity

    @property
    def busy_trial(self):
        """Number of the trial that runs, or -1."""
        return <int64_t>ft_load(&self.h.busy_trial) - 1

    def ask_stop(self, int64_t trial):
        """The trial shall stop at its next report. Forgotten when another trial begins."""
        ft_store(&self.h.stop_trial, <uint64_t>(trial + 1))

    @property
    def orders(self):
        """Orders that the worker has carried out."""
        return ft_load(&self.h.orders)

    def order_done(self):
        ft_store(&self.h.orders, self.h.orders + 1)

    def set_low_water(self, uint64_t n):
        ft_store(&self.h.low_water, n)


cdef inline void fill(Record *r, uint32_t size, int kind, int flags, int schema, uint32_t trial, uint32_t step,
                      double time) noexcept nogil:
    # Two words, not six fields: the seal reads words, and a processor waits when it reads what it wrote in pieces.
    cdef uint64_t words[2]
    words[0] = (<uint64_t>size | <uint64_t>(kind & 0xFF) << 32 | <uint64_t>(flags & 0xFF) << 40
                | <uint64_t>(schema & 0xFFFF) << 48)
    words[1] = <uint64_t>trial | <uint64_t>step << 32
    memcpy(r, words, 16)
    r.time = time


def die_with_parent():
    """The kernel kills this process when its parent ends (Linux; elsewhere nothing happens)."""
    ft_die_with_parent()


def adopt_orphans():
    """This process becomes the parent of descendants whose own parent has ended (Linux; elsewhere nothing happens)."""
    ft_adopt_orphans()


def leave_process(int status=0):
    """End this process without coming back into its Python code. Its streams are flushed; whoever has closed them, or has
    put something there that raises, changes nothing."""
    import os
    import sys
    try:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BaseException:
                pass
    finally:
        os._exit(status)


def write_stdio_by_lines():
    """From now on what C code of this process prints by its standard library is written at the end of each line: into a pipe
    it would be once in 4096 bytes, and what is left when a process is killed, or leaves, would be lost."""
    setvbuf(stdout, NULL, _IOLBF, 0)


def encode(int kind, uint32_t trial=0, uint32_t step=0, bytes payload=b"", int flags=0, double time=0.0):
    """One record as bytes, for the loop's own entries in the journal."""
    cdef Py_ssize_t n = len(payload)
    if n > 0x7FFFFFFF:
        raise ValueError(f"a record holds at most 2 GiB, got {n} bytes")
    cdef uint32_t size = padded(RECORD_HEADER + n)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, size)
    cdef char *p = PyBytes_AS_STRING(out)
    memset(p, 0, size)
    fill(<Record *>p, size, kind, flags, padding_of(kind, flags, size, n), trial, step, time)
    memcpy(p + RECORD_HEADER, PyBytes_AS_STRING(payload), n)
    return out


def decode(data):
    """The records in ``data`` as tuples (kind, flags, schema, trial, step, time, payload): slow, for tests and tools. Of rows
    each is told as the records that it stands for.

    Raises ValueError with the offset where a record is damaged.
    """
    cdef Numbers bytes_of = Numbers(data)
    cdef const unsigned char *view = bytes_of.at
    cdef Py_ssize_t at = 0, n = bytes_of.n
    cdef const Record *r
    out = []
    while at < n:
        r = <const Record *>&view[at]
        check_record(r, at, n)
        if r.kind == K_ROWS:
            decode_rows(r, at, out)
        elif r.kind != K_PAD:
            payload = PyBytes_FromStringAndSize(<const char *>r + RECORD_HEADER, r.size - RECORD_HEADER)
            out.append((r.kind, r.flags, r.schema, r.trial, r.step, r.time, payload))
        at += r.size
    return out


def read_ring(buffer, uint64_t position):
    """What a ring's file holds behind ``position``, for whoever opens it when its writer has gone: ([(position behind, records
    as bytes)], why it ends early or ""). Writes nothing, and trusts nothing: only records whose seal is theirs count.

    ``buffer`` may be read-only and of any length; pads are left out.
    """
    cdef Py_buffer view
    cdef const RingHeader *h
    cdef const char *data
    cdef const uint32_t *seals
    cdef const Record *r
    cdef uint64_t capacity, head, salt, at = position, offset, start, end
    cdef list entries = []
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    try:
        if view.len < RING_HEADER:
            return entries, "it is shorter than its header"
        h = <const RingHeader *>view.buf
        capacity, head, salt = h.capacity, h.head, salt_of(h)
        if h.magic != RING_MAGIC:
            return entries, "its header is damaged, or of another version of fasttune"
        if capacity < 4096 or capacity & (capacity - 1) or capacity > LARGEST_RING:
            return entries, f"its header is damaged: it cannot hold {capacity} bytes"
        if <uint64_t>view.len < RING_HEADER + capacity + capacity // 4:
            return entries, "the file is cut off"
        if head & 7 or position & 7:
            return entries, "its header is damaged: a position is not between two records"
        if head < position:
            return entries, f"it is older than the journal: it ends at {head}, the journal at {position}"
        if head - position > capacity:
            return entries, f"the journal is older than it: what came behind {position} has been overwritten"
        data = <const char *>view.buf + RING_HEADER
        seals = <const uint32_t *>(data + capacity)
        while at < head:
            start = at
            end = at + capacity - (at & (capacity - 1))       # the ring's end
            if end > head:
                end = head
            r = NULL
            while at < end:
                offset = at & (capacity - 1)
                r = <const Record *>(data + offset)
                if not is_whole(r, end - at) or seals[offset >> 4] != ft_seal(<const char *>r, sealed_bytes(r), at, salt):
                    if at > start:
                        entries.append((at, PyBytes_FromStringAndSize(data + (start & (capacity - 1)), at - start)))
                    return entries, f"it is damaged at byte {RING_HEADER + offset}, {head - at} bytes before its end"
                if r.kind == K_PAD:
                    break
                at += r.size
            if at > start:
                entries.append((at, PyBytes_FromStringAndSize(data + (start & (capacity - 1)), at - start)))
            if at < end:                                      # a pad
                at = end
                if entries:
                    entries[len(entries) - 1] = (at, entries[len(entries) - 1][1])
        return entries, ""
    finally:
        PyBuffer_Release(&view)


def without_held(data):
    """(data, []) when no record of ``data`` holds a checkpoint; else a copy without their payloads, and these.

    As (trial, place, bytes), in their order: a place is a step, and attempt << 32. A damaged record ends the looking: what
    follows is left as it is.
    """
    cdef Numbers bytes_of = Numbers(data)
    cdef const unsigned char *view = bytes_of.at
    cdef Py_ssize_t at = 0, n = bytes_of.n, written = 0, copied = 0
    cdef const Record *r
    cdef const char *source
    cdef char *target
    cdef bytes out
    cdef list held = []
    if n == 0:
        return data, held
    source = <const char *>&view[0]
    target = NULL
    while at < n:
        r = <const Record *>(source + at)
        if not is_whole(r, n - at):
            break
        if r.kind == K_CHECKPOINT and r.flags & F_HELD and (
                r.size == RECORD_HEADER or r.size >= <uint32_t>(RECORD_HEADER + (r.schema & 7))):
            if target == NULL:
                out = PyBytes_FromStringAndSize(NULL, n)
                target = PyBytes_AS_STRING(out)
            memcpy(target + written, source + copied, at - copied)
            written += at - copied
            fill(<Record *>(target + written), RECORD_HEADER, K_CHECKPOINT, r.flags, r.schema & ~7, r.trial, r.step,
                 r.time)
            written += RECORD_HEADER
            if r.size > RECORD_HEADER:
                held.append((r.trial, place_of(r), PyBytes_FromStringAndSize(
                    <const char *>r + RECORD_HEADER, r.size - RECORD_HEADER - (r.schema & 7))))
            copied = at + r.size
        at += r.size
    if target == NULL:
        return data, held
    memcpy(target + written, source + copied, n - copied)
    return out[:written + n - copied], held


def ends_of_turns(data):
    """Where in records that one process wrote the loop's turns end, at the finest: a report that asks is followed by nothing but what
    was saved with it before it is answered. The last end, that of ``data``, is not among them; a damaged record ends the looking.
    """
    cdef Numbers bytes_of = Numbers(data)
    cdef Py_ssize_t at = 0, n = bytes_of.n
    cdef const Record *r
    cdef bint asked = False
    cdef list found = []
    while at < n:
        r = <const Record *>(<const char *>&bytes_of.at[0] + at)
        if not is_whole(r, n - at):
            break
        if asked and r.kind != K_CHECKPOINT and r.kind != K_PAD:
            found.append(at)
            asked = False
        if r.kind == K_REPORT and r.flags & F_DECISION == WAIT:
            asked = True
        at += r.size
    return found


cdef inline bint is_whole(const Record *r, Py_ssize_t left) noexcept nogil:
    return left >= 8 and r.size >= 8 and not r.size & 7 and r.size <= left and (r.kind == K_PAD or r.size >= RECORD_HEADER)


cdef inline int check_record(const Record *r, Py_ssize_t at, Py_ssize_t n) except -1:
    if not is_whole(r, n - at):
        raise ValueError(f"damaged record at byte {at} of {n}")
    return 0
