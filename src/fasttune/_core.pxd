# Fields of the core's classes: type, meaning, and the invariant that they keep together.

cimport cython
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef struct RingHeader:       # one cache line per word that another process spins on
    uint64_t magic
    uint64_t capacity
    double epoch              # unix seconds at monotonic zero
    uint64_t pad0[5]
    uint64_t head             # written by the writer: every record below is whole
    uint64_t pad1[7]
    uint64_t read             # written by the reader: every record below was taken
    uint64_t pad2[7]
    uint64_t released         # written by the reader: space below may be overwritten
    uint64_t pad3[7]
    uint64_t reader_asleep    # the reader waits for a bell
    uint64_t urgent           # the writer has something that cannot wait for the next turn
    uint64_t bell             # counts the publications that woke the reader (futex word)
    uint64_t pad4[5]
    uint64_t span             # trials still to run, next << 32 | limit: the loop may take unstarted ones back
    uint64_t stop_trial       # 1 + number of the trial that shall stop at its next report
    uint64_t busy_trial       # 1 + number of the trial that runs, 0 when none
    uint64_t low_water        # ring the loop's bell when no more than this many trials are left to run
    uint64_t orders           # orders that the worker has carried out


cdef struct Record:           # see the head of _core/ring.pxi
    uint32_t size
    uint8_t kind
    uint8_t flags
    uint16_t schema
    uint32_t trial
    uint32_t step
    double time


@cython.final
cdef class Ring:
    cdef Py_buffer view
    cdef bint has_view
    cdef RingHeader *h
    cdef char *data           # capacity bytes of records
    cdef char *taken          # what take() gave last
    cdef Py_ssize_t n_taken
    cdef uint64_t capacity    # power of two
    cdef uint32_t *seals      # one per 16 bytes of records; NULL when they are not sealed
    cdef uint64_t salt        # of the seals
    cdef uint64_t pending     # the writer's head after the reserved record
    cdef readonly double epoch
    cdef bint holds           # the clock stands at `held`
    cdef double held
    cdef public int bell_fd   # written to when the reader sleeps in poll(); -1: it sleeps on the futex word

    cdef Record *reserve(self, uint32_t size) noexcept nogil
    cdef Record *reserve_at(self, uint64_t head, uint32_t size) noexcept nogil
    cdef void publish(self, bint urgent) noexcept nogil
    cdef void call_reader(self) noexcept nogil


cdef struct RungState:        # left == floor(q * (n - 1)) + 1, or n - max(1, floor(n / eta)), whenever n > 0
    uint64_t n                # values held (NaN is not)
    uint64_t capacity
    uint64_t left             # values in the left heap
    double q                  # quantile, as numpy forms it from a percentage
    double eta                # 0, or one of so many goes on by rank, whatever q says
    double *log               # in order of arrival
    double *heap


@cython.final
cdef class Rung:
    cdef RungState s
    cdef readonly uint64_t seen
    cdef int allocate(self, uint64_t capacity) except -1


cdef struct Standing:         # where a trial is among the rungs
    int rung                  # highest rung it was recorded at, -1 none
    int strikes               # judgements in a row that were below the cut-off
    double best               # best value so far in the rule's sign; NaN before the first number
    uint64_t number           # sequence number of its last judgement


cdef struct SharedRung        # see asha.pxi


@cython.final
cdef class Asha:
    cdef Py_buffer view
    cdef bint has_view
    cdef void *base           # SharedRungs, a SharedRung per bracket and rung, then two arrays of `capacity` doubles each
    cdef bint owned           # base is private memory
    cdef readonly uint64_t capacity
    cdef readonly double max_t
    cdef double sign          # +1 when larger is better
    cdef readonly bint stop_last_trials
    cdef uint64_t seed
    cdef readonly int brackets
    cdef readonly int rungs   # of bracket 0; bracket s has the rungs s .. rungs - 1
    cdef double q
    cdef double eta           # as in RungState
    cdef readonly int patience
    cdef readonly bint smooth # a trial is judged by its best value so far
    cdef double milestones[64]
    cdef Standing **standings # of 1,024 trials each, NULL for none; for those who ask judge(), complete() and decide()
    cdef uint64_t n_standings # length of that array
    cdef uint64_t repaired    # of the judgements that were taken back: how many repair() has told of

    cdef SharedRung *rung_at(self, int bracket, int rung) noexcept nogil
    cdef RungState state_of(self, int bracket, int rung) noexcept nogil
    cdef int lock(self, int bracket, int rung) noexcept nogil
    cdef void take_back(self, int bracket, int rung) noexcept nogil
    cdef void unlock(self, int bracket, int rung) noexcept nogil
    cdef int bracket_of(self, uint64_t trial) noexcept nogil
    cdef int reached(self, int bracket, int last, double t) noexcept nogil
    cdef double seen(self, Standing *of, double value) noexcept nogil
    cdef int judge_locked(self, int bracket, int rung, Standing *of, double v, bint decide) noexcept nogil
    cdef int judge_one(self, uint64_t trial, Standing *of, double t, double value) noexcept nogil
    cdef int record_at(self, int bracket, int rung, Standing *of, double v, bint decide) noexcept nogil
    cdef Standing *standing_of(self, uint64_t trial) except NULL
    cdef int refuse_full(self, int decision) except -1


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


@cython.final
cdef class Schema:            # a set of metric names with the kind of each value; pointers are kept alive by `keys`
    cdef readonly tuple keys
    cdef readonly bytes kinds
    cdef readonly int number  # the writer's number, or the table's
    cdef int n
    cdef void **pointers      # the key objects that were last seen
    cdef int metric           # column of the run's metric, -1 absent
    cdef int clock            # column of the rule's time attribute, -1 not a column
    cdef int done             # column of "done"
    cdef int *limits          # column per stop threshold; -1 absent


@cython.final
cdef class Reporter:
    cdef readonly Ring ring
    cdef readonly Asha rule
    cdef public object context          # what session functions need to know of the trial that runs
    cdef readonly uint32_t trial
    cdef readonly uint32_t iteration    # reports so far, those before a restore included
    cdef double started                 # when this attempt began
    cdef double base_total              # seconds that earlier attempts count for
    cdef int bracket
    cdef Standing standing              # of the trial that runs
    cdef double next_t                  # the next milestone
    cdef readonly uint32_t ask_from     # report from which the loop must be asked
    cdef double turn_at                 # unix time from which a report is answered with TURN
    cdef double last_value, last_t      # of the last report that had the metric
    cdef bint has_last
    cdef public bint takes_late         # what the trial reports after it was told from outside to stop counts all the same
    cdef bint muted                     # the trial is being left: nothing is written, reports are answered with STOP
    cdef readonly str metric
    cdef readonly str time_attr
    cdef int clock_kind                 # 0 training_iteration, 1 time_total_s, 2 a reported column
    cdef readonly bint strict           # a report without the metric is an error
    cdef list limit_keys
    cdef double *limit_values
    cdef int *limit_kinds               # as clock_kind; 3 unix time
    cdef int n_limits
    cdef dict schemas                   # (keys, kinds) -> Schema
    cdef Schema schema                  # of the last report
    cdef double *values
    cdef int room                       # length of `values`
    cdef readonly uint64_t reports
    cdef uint64_t lives                 # how often a trial has begun
    cdef uint64_t life                  # of the trial that runs, 0 when none does
    cdef uint32_t forks                 # as ft_get_forks() said in the process that made it
    cdef set away                       # lives of the trials that are left inside a report
    cdef bint told_to_stop              # the last report of the trial that runs was answered with STOP
    cdef readonly bint unasked          # it was another thread's, and the loop would have been asked

    cdef void stand(self, int rung, int strikes, double best) noexcept nogil
    cdef void aim(self) noexcept nogil
    cdef bint matches(self, Schema s, dict metrics) except -1
    cdef Schema learn(self, dict metrics, int *code, bint whole)
    cdef Schema announce(self, tuple keys, bytes kinds)
    cdef int commit(self, Schema s, const char *extra, Py_ssize_t n_extra, bytes checkpoint, int held) except -9
    cdef int decide(self, Schema s, double now, uint32_t step, bint owner, int *judged_rung, int *failed) noexcept nogil
    cdef double clock(self, int kind, int column, double now, uint32_t step) noexcept nogil


cdef struct TrialRow:
    uint8_t status            # index into STATUSES
    uint8_t outcome           # flags of the record that ended it
    uint16_t failures
    uint32_t iteration        # training_iteration of the last report, or where the attempt began that has not reported
    uint32_t base_iteration   # where the current attempt began
    uint32_t attempt          # starts so far
    uint32_t pid
    uint32_t saved            # step of the report that its newest checkpoint belongs to
    int32_t source            # ring that its last start came from
    int32_t schema            # of the last report; -1 before the first
    int32_t held              # values that its place in `pool` can take
    int8_t rung               # highest rung it was recorded at, -1 none
    uint8_t strikes           # judgements in a row that were below the cut-off
    uint16_t changes          # how often it was changed or put back into the queue (the low 16 bits)
    int64_t at                # where the last report's values are in `pool`
    double started            # of the current attempt
    double ended
    double time               # of the last report
    double previous           # of the report before it, or of the start
    double paused             # when it was paused, while it is
    double away               # seconds of this attempt that it was paused, up to its last report
    double away_since         # and those since then: they count from the next report on
    double base_total         # seconds of earlier attempts up to the checkpoint that the current one began at
    double value              # the run's metric in the last report that had it; NaN before
    double low, high          # least and greatest value of it in all reports; NaN before the first number


cdef struct Cursor:           # the record that is being folded
    Py_ssize_t begin
    Py_ssize_t at             # behind it, once its size is known


cdef struct BitTree:          # a set of whole numbers; bit k of a level's word w: word 64 * w + k below is not 0
    uint64_t *levels[6]       # levels[0] holds the numbers themselves, the last level is one word
    Py_ssize_t room           # numbers it can hold
    int depth


@cython.final
cdef class TrialTable:
    cdef TrialRow *rows
    cdef readonly Py_ssize_t n
    cdef Py_ssize_t room
    cdef double *pool
    cdef Py_ssize_t pool_n, pool_room
    cdef readonly list schemas          # Schema, by the table's number
    cdef dict schema_numbers            # (keys, kinds) -> number
    cdef dict maps                      # source -> list of the table's numbers by the writer's
    cdef dict extras                    # trial -> JSON bytes of the last report's values that are no numbers
    cdef set astray                     # (source, trial): what a ring holds of it goes on from what is not known
    cdef dict before                    # trial that has begun again and not reported yet -> see `reported`
    cdef readonly str metric
    cdef int64_t counts_[5]
    cdef BitTree by_status[5]           # the trials of each status
    cdef readonly int64_t reports
    cdef readonly int64_t judgements

    cdef TrialRow *row(self, Py_ssize_t i) except NULL
    cdef int grow(self, Py_ssize_t n) except -1
    cdef int intern(self, int source, int local, bytes payload) except -1
    cdef int move(self, TrialRow *row, uint32_t trial, int kind, int flags=*) except -1
    cdef int keep_values(self, TrialRow *row, int schema, const double *values) except -1
    cdef int fold_records(self, const unsigned char[::1] view, Cursor *place, int source, uint64_t told, uint64_t watch,
                          bint recovered, object announced, list out) except -1
    cdef int fold_report(self, const Record *r, Schema s, int source, Py_ssize_t end) except -1
    cdef int fold_other(self, const Record *r, int source, Py_ssize_t end, bint recovered) except -1


cdef struct Columns:
    int32_t *trial            # where the bytearrays of ReportColumns.memory lie
    int32_t *step
    double *time
    double **values
    Py_ssize_t n
    Py_ssize_t room
    int width


@cython.final
cdef class ReportColumns:
    cdef list schemas
    cdef dict schema_numbers
    cdef dict maps
    cdef list extras                    # per schema: row -> JSON bytes
    cdef list memory                    # per schema: the bytearrays of trial, step, time and each value
    cdef Columns *columns
    cdef int n_columns

    cdef int grow(self, int number, Py_ssize_t room) except -1
    cdef int add_schema(self, int source, int local, bytes payload) except -1
    cdef int append(self, int number, const Record *r) except -1


cdef struct TpeDim:
    int kind                  # TPE_*
    int log
    double low                # least and largest number, both included
    double high
    double q                  # floats: 0, or numbers are multiples of it; integers: the step
    double start              # the scale: unit = (number, or its logarithm - start) / width
    double width
    double size               # how many values, INFINITY when it is continuous
    int parent                # -1, or the dimension whose option this one belongs to
    int option


cdef struct TpeTrial:         # what came of a row
    double loss
    int64_t step
    int state                 # TPE_PENDING, TPE_DONE, TPE_FAILED, TPE_DROPPED


cdef struct TpeGroup:         # dimensions that are part of the same configs
    int parent
    int option
    int *dims
    int n_dims
    int32_t *order            # rows that were told, best first; those that failed come last
    Py_ssize_t n
    Py_ssize_t n_done         # without those that failed


cdef struct TpeSide:          # one mixture; columns of n kernels per dimension
    Py_ssize_t n
    double total              # trials that the kernels stand for
    double prior              # log of the flat component's weight
    int32_t *rows
    double *weights           # of each kernel, in trials
    double *masses            # of each kernel: weight and normalisation, or their part that is not in `heights` yet
    double *widths            # room for the bandwidths of one dimension
    double *same              # of a categorical dimension: mass that a kernel keeps for its own option
    double *penalty           # of a categorical dimension: -2 log of another option's mass / its own's
    float *mu
    float *inverse            # 1 / bandwidth
    float *heights            # log of weight and normalisation
    float *sums


cdef struct TpeModel:
    TpeSide good
    TpeSide bad
    double *points            # room for the candidates


cdef struct TpeStream:        # random numbers of one suggestion
    uint32_t words[4]
    uint32_t k0
    uint32_t k1
    uint64_t number
    uint32_t drawn


@cython.final
cdef class Tpe:               # rows 0 to n - 1 of n_dims units each
    cdef readonly Py_ssize_t n
    cdef Py_ssize_t room
    cdef Py_ssize_t n_dims
    cdef int n_groups
    cdef TpeDim *dims
    cdef TpeGroup *groups     # parents first
    cdef double *units
    cdef uint64_t *hashes     # of each row's units
    cdef TpeTrial *trials
    cdef int32_t *pending     # rows that were not told yet
    cdef readonly Py_ssize_t n_pending
    cdef int32_t *told        # the others, in the order in which they were
    cdef Py_ssize_t n_told
    cdef Py_ssize_t n_done    # of those: they did not fail
    cdef Py_ssize_t n_whole   # of those: at TPE_WHOLE
    cdef int64_t most_steps   # of those that did not fail
    cdef void *scratch
    cdef Py_ssize_t scratch_size
    cdef uint64_t seed
    cdef bint multivariate
    cdef int candidates
    cdef double gamma
    cdef int most_good
    cdef int most_bad
    cdef double prior_weight
    cdef double narrowest
    cdef double magic
    cdef tuple given
    cdef dict options

    cdef int _set_dim(self, Py_ssize_t k, one) except -1
    cdef int make_room(self) except -1
    cdef Py_ssize_t append(self) except -1
    cdef int write(self, Py_ssize_t row, numbers) except -1
    cdef int check_pending(self, Py_ssize_t row) except -1
    cdef void settle(self, Py_ssize_t row) noexcept nogil
    cdef void rank(self, Py_ssize_t row) noexcept nogil
    cdef void rank_again(self) noexcept nogil
    cdef int64_t steps_of(self, const TpeTrial *trial) noexcept nogil
    cdef bint has(self, const TpeGroup *group, const double *units) noexcept nogil
    cdef bint is_before(self, Py_ssize_t a, Py_ssize_t b) noexcept nogil
    cdef void insert(self, TpeGroup *group, Py_ssize_t row) noexcept nogil
    cdef int take_scratch(self) except -1
    cdef Py_ssize_t good_of(self, Py_ssize_t n) noexcept nogil
    cdef Py_ssize_t pick_bad(self, const TpeGroup *group, Py_ssize_t n_good, TpeSide *side) noexcept nogil
    cdef void pick_good(self, const TpeGroup *group, Py_ssize_t n_good, TpeSide *side) noexcept nogil
    cdef void neighbour_widths(self, const float *mu, double *widths, Py_ssize_t n) noexcept nogil
    cdef void shape(self, const int *dims, int n_dims, TpeSide *side, double total) noexcept nogil
    cdef void take_masses(self, TpeSide *side) noexcept nogil
    cdef void shape_dim(self, int k, int i, TpeSide *side, double kernels) noexcept nogil
    cdef double log_density(self, const int *dims, int n_dims, const TpeSide *side, const double *point) noexcept nogil
    cdef void draw(self, const int *dims, int n_dims, const TpeSide *side, TpeStream *stream, double *point) noexcept nogil
    cdef void model(self, const int *dims, int n_dims, const TpeGroup *group, TpeModel *made) noexcept nogil
    cdef double ratio(self, const int *dims, int n_dims, const TpeModel *made, const double *point) noexcept nogil
    cdef void choose(self, const int *dims, int n_dims, const TpeGroup *group, TpeStream *stream,
                     double *units) noexcept nogil
    cdef uint64_t hash_of(self, const double *units) noexcept nogil
    cdef bint is_known(self, const double *units) noexcept nogil
    cdef void fill(self, TpeStream *stream, double *units, bint flat) noexcept nogil
