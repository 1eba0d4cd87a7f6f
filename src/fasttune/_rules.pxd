# Fields of the rules that the loop asks: type, meaning, and the invariant that they keep together.

cimport cython
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef struct PopulationRow:    # of a trial; the tree is ordered by (score, -order), and `size` 0 means: not in it
    double score              # +1 or -1 times the metric, when it was last due
    double perturbed          # time of its last perturbation
    double trained            # time of its score
    uint64_t order            # number of its score in order of arrival
    uint32_t left, right      # rows of the tree, 0 none
    uint32_t size             # rows of the tree from here down
    uint32_t was_upper        # at its last decision


@cython.final
cdef class Population:
    cdef PopulationRow *rows  # by trial + 1; row 0 is nothing, and never changed
    cdef uint32_t room        # rows
    cdef uint32_t root
    cdef uint64_t arrivals    # scores so far
    cdef readonly double quantile_fraction
    cdef readonly double perturbation_interval
    cdef readonly double burn_in
    cdef double sign          # +1 when larger is better

    cdef int reserve(self, int64_t trials) except -1
    cdef uint32_t row_of(self, int64_t trial) except 0
    cdef void insert(self, uint32_t me) noexcept nogil
    cdef void remove(self, uint32_t me) noexcept nogil
    cdef uint32_t rank_of(self, uint32_t me) noexcept nogil
    cdef uint32_t row_at(self, uint32_t rank) noexcept nogil
    cdef uint32_t quantile(self) noexcept nogil
    cdef bint reach_row(self, uint32_t me, double t, double value) noexcept nogil
    cdef int settle_row(self, uint32_t me, double t) noexcept nogil
    cdef int place_of(self, uint32_t me) noexcept nogil


cdef struct HyperTrial:
    int32_t bracket           # -1: never added
    int32_t place             # in its bracket's members
    uint8_t state             # HYPER_*
    uint8_t arrived           # whether its bracket counts it as being at the milestone
    double time               # of its last report; 0 before
    double value              # of its last report, larger is better; NaN is worst


cdef struct HyperBracket:
    int32_t plan              # which bracket of the plan
    int32_t stage             # halvings done
    int64_t band              # rounds of the plan before it
    int64_t size              # trials it has room for in this stage
    int64_t taken             # of these, taken: by live trials, and by those that ended by themselves
    int64_t live
    int64_t arrived
    int64_t choosable
    int64_t n                 # members, gaps included
    int64_t room
    int64_t cursor            # no member before it is choosable
    int32_t *members          # trials in the order they joined; -1 where one has left
    double milestone
    double progress           # time that its trials have run, as far as they told
    double work               # time that the plan gives them
    int64_t at                # place in the heap, -1 not in it
    uint8_t full              # it waits for no further trial
    uint8_t done              # it takes no trial any more


@cython.final
cdef class HyperBand:         # live == members that are not -1; arrived, choosable: how many of them are
    cdef int32_t *first       # per bracket of the plan: where its stages begin in `sizes` and `milestones`
    cdef int64_t *sizes
    cdef double *milestones
    cdef int n_plans
    cdef double sign          # +1 when larger is better
    cdef readonly bint stop_last_trials
    cdef bint fair
    cdef readonly bint closed # nobody waits for further trials
    cdef HyperTrial *trials   # by number
    cdef int64_t room_trials
    cdef HyperBracket *brackets
    cdef int64_t n_brackets, room_brackets
    cdef int64_t current      # bracket that is being filled, -1 before the first
    cdef int64_t *heap        # brackets with choosable trials, next to be served first
    cdef int64_t n_heap
    cdef int32_t *ended       # over by decision, not yet fetched
    cdef int64_t n_ended, room_ended
    cdef readonly int64_t num_stopped
    cdef readonly int64_t halvings

    cdef double completion_of(self, const HyperBracket *b) noexcept nogil
    cdef bint before(self, int64_t i, int64_t j) noexcept nogil
    cdef void put(self, int64_t at, int64_t bracket) noexcept nogil
    cdef void settle(self, int64_t bracket) noexcept nogil
    cdef void sift(self, int64_t at) noexcept nogil
    cdef int open_bracket(self) except -1
    cdef bint last_stage(self, const HyperBracket *b) noexcept nogil
    cdef bint endless(self, const HyperBracket *b) noexcept nogil
    cdef void make_choosable(self, int64_t bracket, int32_t trial, uint8_t state) noexcept nogil
    cdef void leave(self, int64_t bracket, int32_t trial) noexcept nogil
    cdef int end(self, int64_t bracket, int32_t trial, int32_t asking) noexcept nogil
    cdef int process(self, int64_t bracket, int32_t asking) noexcept nogil
    cdef int halve(self, int64_t bracket, int32_t asking) noexcept nogil
    cdef void close_gaps(self, HyperBracket *b) noexcept nogil
    cdef void aim(self, int64_t bracket, int32_t trial, int32_t asking) noexcept nogil
    cdef int grow(self, int32_t trial) except -1
    cdef HyperTrial *known(self, int64_t trial) except NULL
    cdef int decide_one(self, int32_t trial, double time, double value) noexcept nogil


cdef enum:
    TOO_FEW = -1              # a decision: there were too few trials to compare with
    NO_MEMORY = -2
    MOST_TRIALS = 0xFFFFFFF0
    MEMBERS = 128             # trials of a rung that take part in a comparison of all with all


cdef struct Chunks:           # at[j] holds size[j] sorted numbers, and none is above first[j + 1]
    uint32_t n
    uint32_t room
    double **at
    double *first             # smallest number of each chunk
    uint32_t *size
    uint32_t *sums            # Fenwick tree over size, from 1


cdef struct Ordered:          # flat or chunks is NULL; all zeros is the empty set
    uint64_t n
    double *flat
    uint32_t room             # of flat
    Chunks *chunks


cdef struct Stretch:
    uint64_t first            # moments, both included
    uint64_t last
    Ordered values


cdef struct Block:            # the moments low .. high
    uint64_t low
    uint64_t high
    uint32_t left             # 0: a leaf
    uint32_t right
    uint32_t n
    uint32_t room
    Stretch *stretches        # of a leaf: those that cover a part of it
    Ordered cover             # numbers that hold in all of it, and not in all of the block above it
    uint8_t bits              # the block is of 2 ** bits moments


cdef struct Timeline:         # blocks[0] is all of time
    Block *blocks
    uint32_t n
    uint32_t room


cdef struct MedianReport:
    double t
    double value              # larger is better
    double best               # of it and those before, NaN before the first number
    uint32_t step             # in its trial, 0 unknown
    uint32_t strikes          # times in a row that the trial was worse


cdef struct MedianTrial:      # reports are in the order of their times
    MedianReport *reports
    uint32_t n
    uint32_t room
    uint32_t counted          # those from the grace period on
    double high               # high + low is the sum of their values
    double low
    double mean               # of those; NaN when there is none on the timeline at the newest one


@cython.final
cdef class MedianRule:
    cdef Timeline means       # of all trials; each from its first counted report to its last
    cdef MedianTrial *trials
    cdef uint64_t room
    cdef uint64_t min_samples
    cdef double sign          # +1 when larger is better
    cdef readonly double grace_period
    cdef readonly int patience
    cdef readonly bint last
    cdef readonly uint64_t num_stopped

    cdef MedianTrial *trial_of(self, int64_t trial) except NULL
    cdef int absorb(self, MedianTrial *of, uint32_t i) noexcept nogil
    cdef int withdraw(self, MedianTrial *of) noexcept nogil
    cdef int begin_again(self, MedianTrial *of, double t, uint32_t step) noexcept nogil
    cdef MedianReport *append(self, MedianTrial *of) noexcept nogil
    cdef int compare(self, MedianReport *now) noexcept nogil
    cdef int judge_one(self, MedianTrial *of, double t, double value, uint32_t step, bint decide) noexcept nogil


cdef struct PromotionEntry:
    double value              # larger is better
    uint32_t trial
    uint8_t flags


cdef struct PromotionRung:    # n_inside == floor(n / eta), n_inside + n_outside == n
    PromotionEntry *entries   # in order of arrival
    uint32_t n
    uint32_t room             # of entries and of each heap
    uint32_t *inside
    uint32_t *outside
    uint32_t *free
    uint32_t n_inside
    uint32_t n_outside
    uint32_t n_free


cdef struct CurvePoint:
    double t
    double value              # larger is better


cdef struct PromotionTrial:
    int32_t rung              # the highest it entered, -1 none
    uint32_t entry            # its number there
    double value              # there
    double below              # in the rung before; NaN when it was not in that one
    CurvePoint *curve         # all its reports, where the rule looks at curves
    uint32_t points
    uint32_t room


cdef class Promotion:
    cdef PromotionTrial *trials
    cdef uint64_t room
    cdef PromotionRung rungs[64]
    cdef double milestones[64]
    cdef readonly int n_rungs
    cdef readonly int limit   # the highest rung that trials are promoted to
    cdef double factor
    cdef double sign          # +1 when larger is better

    cdef PromotionTrial *trial_of(self, int64_t trial) except NULL
    cdef int reported(self, PromotionTrial *of, double t, double v) noexcept nogil
    cdef int entered(self, uint32_t trial, PromotionTrial *of) noexcept nogil
    cdef int64_t promotable(self, int below, int *rung) noexcept nogil
    cdef void leave(self, PromotionTrial *of) noexcept nogil
    cdef int judge_one(self, uint32_t trial, double t, double value) noexcept nogil


@cython.final
cdef class Pasha(Promotion):
    cdef readonly double epsilon
    cdef uint32_t member[128]     # newest trials of the highest rung, in a ring
    cdef uint32_t members
    cdef uint32_t next_slot
    cdef double *apart            # per two slots, NaN when their curves do not cross twice
    cdef Ordered distances        # those of apart that are numbers, each once

    cdef int join(self, uint32_t trial) noexcept nogil
    cdef void drop(self, uint32_t slot) noexcept nogil
    cdef double percentile(self) noexcept nogil
    cdef bint ranks_higher(self, uint32_t a, uint32_t b, bint by_value) noexcept nogil
    cdef void rank(self, uint32_t *order, bint by_value) noexcept nogil
    cdef bint stable(self) noexcept nogil
