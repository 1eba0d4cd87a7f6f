# Fields of the model that suggests: type, meaning, and the invariant that they keep together.

cimport cython
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


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
    cdef bint can_repeat      # some configs have values alone that can be counted
    cdef uint64_t *hashes     # of each row's units, if they can
    cdef int32_t *slots       # row + 1 at the place of its hash or behind it, 0: none
    cdef Py_ssize_t n_slots   # a power of two
    cdef Py_ssize_t n_indexed # of them filled, at most half
    cdef TpeTrial *trials
    cdef int32_t *pending     # rows that were not told yet
    cdef readonly Py_ssize_t n_pending
    cdef int32_t *told        # the others, in the order in which they were
    cdef Py_ssize_t n_told
    cdef Py_ssize_t n_done    # of those: they did not fail
    cdef Py_ssize_t n_whole   # of those: at TPE_WHOLE
    cdef int64_t most_steps   # of those that did not fail
    cdef void *scratch
    cdef Py_ssize_t scratch_size    # of it, in bytes: a pool of configs with their scores, then a model
    cdef bint used_up         # all configs were tried
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
    cdef int grow(self) except -1
    cdef int index_rows(self) except -1
    cdef void index_row(self, Py_ssize_t row) noexcept nogil
    cdef int rewrite(self, Py_ssize_t row) except -1
    cdef Py_ssize_t append(self) except -1
    cdef int write(self, Py_ssize_t row, numbers) except -1
    cdef bint has_place(self, Py_ssize_t k, double unit) noexcept nogil
    cdef int check_whole(self, const double *units) except -1
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
    cdef void pick_pending(self, const TpeGroup *group, TpeSide *side, Py_ssize_t at, Py_ssize_t running) noexcept nogil
    cdef void pick_good(self, const TpeGroup *group, Py_ssize_t n_good, TpeSide *side) noexcept nogil
    cdef void neighbour_widths(self, const float *mu, double *widths, Py_ssize_t n) noexcept nogil
    cdef void shape(self, const int *dims, int n_dims, TpeSide *side, double total) noexcept nogil
    cdef void take_masses(self, TpeSide *side) noexcept nogil
    cdef void shape_dim(self, int k, int i, TpeSide *side, double kernels) noexcept nogil
    cdef double log_density(self, const int *dims, int n_dims, const TpeSide *side, const double *point) noexcept nogil
    cdef void draw(self, const int *dims, int n_dims, const TpeSide *side, TpeStream *stream, double *point) noexcept nogil
    cdef void model_good(self, const int *dims, int n_dims, const TpeGroup *group, TpeModel *made) noexcept nogil
    cdef void model(self, const int *dims, int n_dims, const TpeGroup *group, TpeModel *made) noexcept nogil
    cdef double ratio(self, const int *dims, int n_dims, const TpeModel *made, const double *point) noexcept nogil
    cdef void choose(self, const int *dims, int n_dims, const TpeGroup *group, TpeStream *stream,
                     double *units) noexcept nogil
    cdef uint64_t hash_of(self, const double *units) noexcept nogil
    cdef bint is_known(self, const double *units) noexcept nogil
    cdef bint is_active(self, const TpeGroup *group, const double *units) noexcept nogil
    cdef void fill(self, TpeStream *stream, double *units) noexcept nogil
    cdef bint fill_other(self, TpeStream *stream, double *units) noexcept nogil
    cdef void rate(self, TpeStream *stream, int n, int drawn, int flat) noexcept nogil
    cdef void rate_part(self, const int *dims, int n_dims, const TpeGroup *group, TpeStream *stream, int n, int drawn,
                        int flat) noexcept nogil
    cdef bint take_best(self, int n, double *units) noexcept nogil
    cdef int walk(self, TpeStream *stream, double *here) noexcept nogil
    cdef void restart(self, int first, double *units) noexcept nogil
    cdef void advance(self, double *units) noexcept nogil
    cdef void begin_stream(self, TpeStream *stream, uint64_t number) noexcept nogil
    cdef list numbers_of(self, const double *units)
    cdef void draw_many(self, TpeStream *stream, double *units, Py_ssize_t n) noexcept nogil
    cdef void draw_part(self, const int *dims, int n_dims, const TpeGroup *group, TpeStream *stream, double *units,
                        Py_ssize_t n) noexcept nogil
    cdef int part_many(self, uint64_t number, Py_ssize_t n) except -1


cdef struct QuadRow:
    double loss
    int64_t pattern           # of the options, and of the dimensions that are part of the config


cdef struct QuadModel:        # of m dimensions, fitted to n results; all arrays but the first three lie in `scratch`
    int dims[40]              # QUAD_DIMS: which ones
    int free[40]              # those that are not at a bound
    int rows[128]             # QUAD_MOST: the results, the nearest first
    Py_ssize_t m
    Py_ssize_t n
    double scale              # units to one of the model's
    double deviation          # losses to one of the model's
    double *z                 # m rows of n: places around the best one
    double *k                 # covariances of the results, then their factor
    double *t                 # what the model before leaves of the losses, then its coefficients
    double *weights
    double *far               # squared distances
    double *slope
    double *curve             # second derivatives
    double *part              # those of the free dimensions, then their factor
    double *low               # the box
    double *high
    double *place
    double *grad
    double *step
    double *other


@cython.final
cdef class Quadratic:
    cdef readonly Py_ssize_t n          # results that are known
    cdef Py_ssize_t n_dims
    cdef double *units
    cdef QuadRow *rows
    cdef double *hessian                # second derivatives of the last model, by units
    cdef double *scratch
    cdef uint64_t seed
    cdef double share
    cdef double ridge
    cdef double jitter
    cdef double least
    cdef double span
    cdef readonly double radius         # half the width of the box
    cdef readonly double score
    cdef double base                    # of the last suggestion: the best loss then,
    cdef double expected                # the loss that was expected,
    cdef double reach                   # and how far it went, in its widest dimension
    cdef readonly bint out              # it was not told yet
    cdef tuple given
    cdef dict options

    cdef void judge(self, double loss) noexcept nogil
    cdef void forget_half(self) noexcept nogil
    cdef Py_ssize_t best(self) noexcept nogil
    cdef int take_scratch(self) except -1
    cdef void divide(self, QuadModel *model) noexcept nogil
    cdef bint gather(self, QuadModel *model, Py_ssize_t best) noexcept nogil
    cdef bint fit(self, QuadModel *model, Py_ssize_t best) noexcept nogil
    cdef double value(self, QuadModel *model, const double *z) noexcept nogil
    cdef bint newton(self, QuadModel *model) noexcept nogil
    cdef void minimise(self, QuadModel *model) noexcept nogil
    cdef bint suggest(self, QuadModel *model, TpeStream *stream) noexcept nogil
