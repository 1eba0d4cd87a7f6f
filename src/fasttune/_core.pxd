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
    cdef int64_t take_next(self) noexcept nogil


cdef struct RungLevels:       # a rung's values, as this process sees them: for each level of an array the address that its
    uint64_t log[33]          # value 0 would have if all of it lay there in one piece. In order of arrival;
    uint64_t left[33]         # heap of the smaller ones;
    uint64_t right[33]        # heap of the larger ones, negated
    int n                     # levels that there are here
    uint64_t room             # values for which there is memory, on these levels


cdef struct RungState:        # left == floor(q * (n - 1)) + 1, or n - max(1, floor(n / eta)), whenever n > 0
    uint64_t n                # values held (NaN is not); n <= at.room
    uint64_t capacity         # and at most so many
    uint64_t left             # values in the left heap
    double q                  # quantile, as numpy forms it from a percentage
    double eta                # 0, or one of so many goes on by rank, whatever q says
    RungLevels *at


@cython.final
cdef class Rung:
    cdef RungState s
    cdef RungLevels levels
    cdef readonly uint64_t seen


cdef struct Standing:         # where a trial is among the rungs
    int rung                  # highest rung it was recorded at, -1 none
    int strikes               # judgements in a row that were below the cut-off
    double best               # best value so far in the rule's sign; NaN before the first number
    uint64_t number           # sequence number of its last judgement


cdef struct SharedRung        # see asha.pxi


@cython.final
cdef class Asha:
    cdef bint shared          # its memory is the file `fd`, else private
    cdef int fd
    cdef uint64_t device, inode   # of that file
    cdef void *base           # SharedRungs, then a SharedRung per bracket and rung
    cdef uint64_t base_bytes
    cdef RungLevels *levels   # per bracket and rung; as those say who has the rung's lock
    cdef int failure          # why a rung could not grow, as errno says it
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
    cdef int map_levels(self, uint64_t i, uint64_t n) noexcept nogil
    cdef int back(self, uint64_t i, int array, uint64_t begin, uint64_t end) noexcept nogil
    cdef int grow(self, uint64_t i, uint64_t n) noexcept nogil
    cdef int entered(self, int bracket, int rung) noexcept nogil
    cdef RungState looked_at(self, int bracket, int rung) except *
    cdef int share(self, int fd, bint create) except -1
    cdef int lock(self, int bracket, int rung) noexcept nogil
    cdef void take_back(self, int bracket, int rung) noexcept nogil
    cdef void settle(self, int bracket, int rung) noexcept nogil
    cdef void unlock(self, int bracket, int rung) noexcept nogil
    cdef int bracket_of(self, uint64_t trial) noexcept nogil
    cdef int reached(self, int bracket, int last, double t) noexcept nogil
    cdef double seen(self, Standing *of, double value) noexcept nogil
    cdef int judge_locked(self, int bracket, int rung, Standing *of, double v, bint decide) noexcept nogil
    cdef int judge_one(self, uint64_t trial, Standing *of, double t, double value) noexcept nogil
    cdef int record_at(self, int bracket, int rung, Standing *of, double v, bint decide) noexcept nogil
    cdef Standing *standing_of(self, uint64_t trial) except NULL
    cdef int refuse(self, int decision) except -1


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
    cdef readonly bint elsewhere        # the rule's rungs are another process's: it is asked there, and only the milestones are known here
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
    cdef dict limits
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
    cdef readonly bint is_task          # its trial is a task: found by context, and no other trial's
    cdef public bint stopped            # the trial was told from outside to stop; the ring has one word for that, for one trial
    cdef void *below                    # what its thread was bound to before the step that the trial's task makes; not owned
    cdef uint64_t life_below
    cdef readonly bint unasked          # it was another thread's, and the loop would have been asked

    cdef bint begin_at(self, uint32_t trial, uint32_t iteration, double base_total, int rung, uint32_t ask_from, uint32_t pid,
                       uint32_t changes, int strikes, double best, double now) except -1
    cdef bint end_at(self, int flags, bint urgent, double now) except -1
    cdef void stand(self, int rung, int strikes, double best) noexcept nogil
    cdef void aim(self) noexcept nogil
    cdef Record *ask_elsewhere(self, int rung, double v, uint32_t at) noexcept nogil
    cdef bint matches(self, Schema s, dict metrics) except -1
    cdef Schema learn(self, dict metrics, int *code, bint whole)
    cdef Schema announce(self, tuple keys, bytes kinds)
    cdef int commit(self, Schema s, const char *extra, Py_ssize_t n_extra, bytes checkpoint, int held) except -9
    cdef int decide(self, Schema s, double now, uint32_t step, bint owner, int *judged_rung, int *failed) noexcept nogil
    cdef double clock(self, int kind, int column, double now, uint32_t step) noexcept nogil


cdef struct RowLife       # see rows.pxi
cdef struct RowParts


@cython.final
cdef class RowReporter:
    cdef readonly Reporter reporter
    cdef RowLife *lives
    cdef uint8_t *flags                 # per row, of the record that is being made
    cdef uint64_t *tags
    cdef Py_ssize_t n                   # rows in use
    cdef readonly Py_ssize_t size
    cdef readonly uint32_t pid
    cdef int width                      # metrics of that record
    cdef readonly int answers           # of the last report: bit k where somebody was told k
    cdef int failed                     # why a rung took no value, 0: all did
    cdef bint last                      # who goes on does not: it ends by itself
    cdef double began                   # when those began that it says begin

    cdef void enter(self, Reporter of, const RowLife *life) noexcept nogil
    cdef void leave(self, Reporter of, RowLife *life) noexcept nogil
    cdef Py_ssize_t stretch(self, uint64_t capacity, Py_ssize_t start, int width, int *flags) noexcept nogil
    cdef bint begins_with(self, const RowLife *life, int *flags) noexcept nogil
    cdef char *put(self, Record *r, Py_ssize_t start, uint32_t n, int flags, int schema, uint32_t more, double now) noexcept nogil
    cdef int report_some(self, Reporter of, Ring ring, Schema s, const double **columns, signed char *decisions,
                         Py_ssize_t *start) noexcept nogil
    cdef int report_plain(self, Reporter of, RowLife *life, Py_ssize_t i, int metric, const double **columns, signed char *decisions,
                          int *held) noexcept nogil
    cdef int judge_row(self, Reporter of, RowLife *life, int rung, int *held) noexcept nogil
    cdef void let_go(self, Reporter of, int *held) noexcept nogil
    cdef double decided_from(self, Reporter of, Schema s) noexcept nogil
    cdef bint judges_end(self, Reporter of, const RowLife *life) noexcept nogil
    cdef bint judge_end(self, Reporter of, RowLife *life, uint64_t *tag) noexcept nogil


cdef struct TrialRow:         # what each record of a trial looks at; all zeros for one that has never begun
    uint8_t status            # index into STATUSES
    uint8_t outcome           # flags of the record that ended it
    uint8_t rungs             # highest rung it was recorded at + 1, 0 none
    uint8_t strikes           # judgements in a row that were below the cut-off
    uint16_t changes          # how often it was changed or put back into the queue (the low 16 bits)
    uint8_t known             # T_*: what of its MoreOfTrial counts
    uint8_t unused
    uint32_t iteration        # training_iteration of the last report, or where the attempt began that has not reported
    uint32_t attempt          # starts so far
    uint32_t pid
    int32_t source            # ring that its last start came from
    int32_t schema            # of the last report, + 1; 0 before the first
    uint32_t more             # number of its MoreOfTrial, 0: it has none
    int64_t at                # where the last report's values are in `pool`
    double started            # of the current attempt
    double ended
    double time               # of the last report


cdef struct MoreOfTrial:      # what few trials need, or only behind their first report; see T_* in trial_rows.pxi
    double previous           # time of the report before the last one
    double low, high          # least and greatest value of the run's metric in all reports
    double value              # of the run's metric, where the last report did not have it
    double paused             # when it was paused, while it is
    double away               # seconds of this attempt that it was paused, up to its last report
    double away_since         # and those since then: they count from the next report on
    double base_total         # seconds of earlier attempts up to the checkpoint that the current one began at
    uint32_t base_iteration   # where the current attempt began
    uint32_t saved            # step of the report that its newest checkpoint belongs to
    int32_t held              # values that its place in `pool` can take, where these are more than those of its last report
    uint16_t failures
    uint16_t unused


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
    cdef MoreOfTrial *more              # number 0 is nobody's
    cdef TrialRow *alike                # of the first `alike_n` blocks of trials: the row of all, see trial_rows.pxi
    cdef Py_ssize_t alike_n
    cdef TrialRow made                  # what `seen` shows
    cdef readonly Py_ssize_t n
    cdef Py_ssize_t room, more_n, more_room
    cdef double *pool
    cdef Py_ssize_t pool_n, pool_room
    cdef readonly list schemas          # Schema, by the table's number
    cdef int *widths                    # of each: how many values it has,
    cdef int *metrics                   # and which of them is the run's metric, -1 none
    cdef dict schema_numbers            # (keys, kinds) -> number
    cdef dict maps                      # source -> list of the table's numbers by the writer's
    cdef dict extras                    # trial -> JSON bytes of the last report's values that are no numbers
    cdef set astray                     # (source, trial): what a ring holds of it goes on from what is not known
    cdef dict before                    # trial that has begun again and not reported yet -> see `reported`
    cdef readonly str metric
    cdef int64_t counts_[5]
    cdef BitTree by_status[5]           # the trials of each status
    cdef bint shows                     # some trial was to be shown in another status: the next two hold what they should
    cdef BitTree shown[5]               # the trials that are shown in each status
    cdef BitTree shown_otherwise        # those for which it is not their own, whatever it becomes
    cdef readonly int64_t reports
    cdef readonly int64_t judgements
    cdef int64_t changed                # records that put a trial back, or changed it

    cdef TrialRow *row(self, Py_ssize_t i) except NULL
    cdef TrialRow *own_row(self, Py_ssize_t i) noexcept nogil
    cdef void part(self, Py_ssize_t block) noexcept nogil
    cdef const TrialRow *look(self, Py_ssize_t i, TrialRow *made) noexcept nogil
    cdef const TrialRow *seen(self, Py_ssize_t i) except NULL
    cdef int grow(self, Py_ssize_t n) except -1
    cdef int intern(self, int source, int local, bytes payload) except -1
    cdef int move(self, TrialRow *row, uint32_t trial, int kind, int flags=*) except -1
    cdef int add_schema(self, Schema schema) except -1
    cdef const MoreOfTrial *peek(self, const TrialRow *row) noexcept nogil
    cdef int make_more(self, TrialRow *row) except -1
    cdef int room_for_more(self, Py_ssize_t n) except -1
    cdef MoreOfTrial *more_of(self, TrialRow *row) except NULL
    cdef double value_of(self, const TrialRow *row) noexcept nogil
    cdef int take_report(self, TrialRow *row, int metric, double value, double now) except -1
    cdef void take_later_report(self, TrialRow *row, MoreOfTrial *more, int metric, double value) noexcept nogil
    cdef int begin_row(self, TrialRow *row, int source, double began, uint32_t iteration, uint32_t pid,
                       double base_total) except -1
    cdef double *pool_for(self, Py_ssize_t n) except NULL
    cdef double *place_for(self, TrialRow *row, int schema) except NULL
    cdef double *other_place_for(self, TrialRow *row, int schema) except NULL
    cdef int come_back(self, TrialRow *row, double now) except -1
    cdef int put_alike(self, TrialRow *row, Py_ssize_t i, Py_ssize_t n) except -1
    cdef tuple last_of(self, Py_ssize_t i)
    cdef void put_field(self, char *to, Py_ssize_t at, Py_ssize_t i, int which) noexcept nogil
    cdef bint are_alike(self, const Record *r, const RowParts *of, uint64_t watch) noexcept nogil
    cdef int fold_alike(self, const Record *r, const RowParts *of, Schema s, int source) except -1
    cdef bint go_on_alike(self, const Record *r, const RowParts *of, Schema s, int source, bint told_of_ends) except -1
    cdef int fold_row(self, const Record *r, const RowParts *of, uint32_t i, Schema s, int source, uint64_t watch, list out) except -1
    cdef void put_status(self, TrialRow *row, uint32_t trial, int then) noexcept nogil
    cdef int fold_records(self, const unsigned char *view, Py_ssize_t n, Cursor *place, int source, uint64_t told, uint64_t watch,
                          bint recovered, object announced, list out) except -1
    cdef int fold_report(self, const Record *r, Schema s, int source, Py_ssize_t end) except -1
    cdef int check_attempt(self, const TrialRow *row, const Record *r, int source, Py_ssize_t end) except -1
    cdef int fold_other(self, const Record *r, int source, Py_ssize_t end, bint recovered) except -1
    cdef int check_row(self, const Record *r, const RowParts *of, uint32_t i, int source, Py_ssize_t end, bint recovered) except -1
    cdef int fold_rows(self, const Record *r, int source, Py_ssize_t end, uint64_t watch, bint recovered, list out) except -1


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
    cdef int append_rows(self, int number, const Record *r, Py_ssize_t end, int64_t only_trial) except -1
