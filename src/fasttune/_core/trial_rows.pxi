# A row of the table of trials, and what more there is to know of some.
#
# A trial that has never begun is all zeros, so that room for a million of them costs what is written into it later, and a
# trial that reports once is a row of 64 bytes, one line of the processor's cache, and its values. What only others need is
# kept apart (MoreOfTrial), and says of which fields it counts (T_*): all else follows from the row.
#
# Trials that did the same at the same moment, a block of them in one record of a vector's rows, have one row for all (`alike`, where
# `attempt` is not 0): the first one's, of which another's is told by where its values are. It is taken apart when one of them does
# something else. All that is written goes to the row that `own_row` gives; who only looks takes `look`.
#
# Price (`benchmarks/bench_vectors.py`): 4,096 that begin, report and end are folded in 12 us, where a row of 136 bytes was written for
# each in 138; room for a million is made in 0.1 ms, where writing their rows took 256.

cdef enum:
    T_VALUE = 0x01        # some report has had the run's metric
    T_ELSEWHERE = 0x02    # the last one had not: `value` has it
    T_EXTREMES = 0x04     # `low` and `high`; else both are the value
    T_REPORTED = 0x08     # this attempt has
    T_LATER = 0x10        # more than once: `previous`; else the report before is the start
    T_AWAY = 0x20         # `away` and `away_since`; else it has not been paused
    T_BASE = 0x40         # `base_total` and `base_iteration`; else it began at 0
    T_HELD = 0x80         # `held`; else its place takes what the last report had

    ALIKE_BITS = 8        # a block is 256 trials: few enough to be found within a call's, whose number is any

cdef MoreOfTrial NOTHING_MORE
memset(&NOTHING_MORE, 0, sizeof(MoreOfTrial))


cdef inline int rung_of(const TrialRow *row) noexcept nogil:
    return <int>row.rungs - 1


cdef inline int source_of(const TrialRow *row) noexcept nogil:
    """-1 of a trial that has never begun."""
    return row.source if row.attempt else -1


cdef inline double previous_of(const TrialRow *row, const MoreOfTrial *more) noexcept nogil:
    return more.previous if row.known & T_LATER else row.started


cdef inline double away_of(const TrialRow *row, const MoreOfTrial *more) noexcept nogil:
    return more.away if row.known & T_AWAY else 0.0


cdef inline double base_total_of(const TrialRow *row, const MoreOfTrial *more) noexcept nogil:
    return more.base_total if row.known & T_BASE else 0.0


cdef inline uint32_t base_iteration_of(const TrialRow *row, const MoreOfTrial *more) noexcept nogil:
    return more.base_iteration if row.known & T_BASE else 0


cdef inline void keep_judgement(TrialRow *row, uint64_t tag) noexcept nogil:
    row.rungs = <uint8_t>((tag & 0xFF) + 1)
    row.strikes = <uint8_t>(tag >> 56)
