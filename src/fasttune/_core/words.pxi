# What several of the compiled modules say alike.

cdef enum:
    MAX_RUNGS = 64

cdef int64_t MOST_NUMBERED = 0xFFFFFFF0  # the highest number that a trial can have

cdef inline uint64_t mix64(uint64_t x) noexcept nogil:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a good hash of one integer."""
    x += <uint64_t>0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


@cython.internal
@cython.final
cdef class Numbers:
    """The numbers in a buffer of one dimension, where they lie, as long as this lives. ValueError for a buffer of others.

    A typed memoryview says the same, and each module that has one carries 100 KB of machine code for it.
    """
    cdef Py_buffer view
    cdef bint held
    cdef const unsigned char *at
    cdef Py_ssize_t n

    def __cinit__(self, given, Py_ssize_t size=1, str kinds="", bint written=False):
        cdef int flags = PyBUF_ND | PyBUF_FORMAT
        if written:
            flags |= PyBUF_WRITABLE
        PyObject_GetBuffer(given, &self.view, flags)
        self.held = True
        kind = (<bytes>self.view.format).decode("latin-1") if self.view.format != NULL else "B"
        if self.view.ndim != 1 or self.view.itemsize != size or (kinds and kind.lstrip("@=<") not in kinds):
            raise ValueError(f"a buffer of one dimension and {size} bytes a number ({kinds or 'any'}) is wanted, got "
                             f"{self.view.ndim} of {self.view.itemsize} ({kind})")
        self.at = <const unsigned char *>self.view.buf
        self.n = self.view.shape[0]

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


@cython.internal
@cython.final
cdef class Batch:
    """Reports that a rule decides about one after the other, and room for its decisions. ValueError unless the four columns are of
    one length, and all trials from 0 to ``most``."""
    cdef tuple held
    cdef const int64_t *trials
    cdef const double *times
    cdef const double *values
    cdef signed char *decisions
    cdef Py_ssize_t n
    cdef int64_t highest                 # trial; -1: there is none

    def __cinit__(self, trials, times, values, decisions, int64_t most=MOST_NUMBERED):
        cdef Numbers a = Numbers(trials, 8, "lq"), b = Numbers(times, 8, "d"), c = Numbers(values, 8, "d")
        cdef Numbers d = Numbers(decisions, 1, "b", True)
        cdef Py_ssize_t i
        if b.n != a.n or c.n != a.n or d.n != a.n:
            raise ValueError(f"decide() takes columns of one length, got {a.n} trials, {b.n} times, {c.n} values and room for "
                             f"{d.n} decisions")
        self.held = (a, b, c, d)
        self.trials = <const int64_t *>a.at
        self.times = <const double *>b.at
        self.values = <const double *>c.at
        self.decisions = <signed char *>d.at
        self.n = a.n
        self.highest = -1
        for i in range(a.n):
            if not 0 <= self.trials[i] <= most:
                raise ValueError(f"row {i} is of trial {self.trials[i]}: trials are numbered from 0 to {most}")
            self.highest = max(self.highest, self.trials[i])
