# What the densities of a Parzen estimator are computed with: sums over kernels in single precision, a table of the normal
# distribution, random numbers of a suggestion, and the scales on which dimensions are modelled. See tpe.pxi.

cdef extern from *:
    """
    /* acc[j] += ((x - mu[j]) * inverse[j])^2 */
    static void tpe_add_squares(float *restrict acc, const float *restrict mu, const float *restrict inverse, float x,
                                Py_ssize_t n) {
        for (Py_ssize_t j = 0; j < n; j++) {
            float t = (x - mu[j]) * inverse[j];
            acc[j] += t * t;
        }
    }
    /* acc[j] += penalty where another option was picked */
    static void tpe_add_penalty(float *restrict acc, const float *restrict options, float x, float penalty,
                                Py_ssize_t n) {
        for (Py_ssize_t j = 0; j < n; j++) acc[j] += options[j] != x ? penalty : 0.0f;
    }
    /* exp to seven digits: 2^k times a polynomial on [-ln 2 / 2, ln 2 / 2]; 0 below -87 */
    static inline float tpe_exp(float x) {
        float clipped = x < -87.0f ? -87.0f : x;
        float shifted = clipped * 1.44269504f + 12582912.0f;
        float k = shifted - 12582912.0f;
        float r = (clipped - k * 0.693359375f) + k * 2.12194440e-4f;
        float p = 1.0f + r * (1.0f + r * (0.5f + r * (0.166666667f + r * (0.0416666667f + r * (0.00833333333f
                  + r * 0.00138888889f)))));
        int32_t bits = ((int32_t)k + 127) << 23;
        float scale;
        memcpy(&scale, &bits, 4);
        return x < -87.0f ? 0.0f : p * scale;
    }
    /* log of the sum of exp(heights[j] - acc[j] / 2); acc is used up, and has room up to a multiple of eight */
    static double tpe_log_sum(float *restrict acc, const float *restrict heights, Py_ssize_t n) {
        float top = -INFINITY, tops[8], sums[8];
        double sum = 0.0;
        Py_ssize_t j;
        for (j = 0; j < n; j++) acc[j] = heights[j] - 0.5f * acc[j];
        for (; j % 8; j++) acc[j] = -INFINITY;
        n = j;
        for (int k = 0; k < 8; k++) { tops[k] = -INFINITY; sums[k] = 0.0f; }
        for (j = 0; j < n; j += 8)
            for (int k = 0; k < 8; k++) tops[k] = acc[j + k] > tops[k] ? acc[j + k] : tops[k];
        for (int k = 0; k < 8; k++) top = tops[k] > top ? tops[k] : top;
        for (j = 0; j < n; j += 8)
            for (int k = 0; k < 8; k++) sums[k] += tpe_exp(acc[j + k] - top);
        for (int k = 0; k < 8; k++) sum += sums[k];
        return top + log(sum);
    }
    """
    void tpe_add_squares(float *acc, const float *mu, const float *inverse, float x, Py_ssize_t n) noexcept nogil
    void tpe_add_penalty(float *acc, const float *options, float x, float penalty, Py_ssize_t n) noexcept nogil
    double tpe_log_sum(float *acc, const float *heights, Py_ssize_t n) noexcept nogil

cdef enum:
    TPE_FLOAT = 0
    TPE_INTEGER = 1
    TPE_CATEGORICAL = 2
    TPE_UNIT = 3          # the caller's numbers are units already

cdef enum:
    TPE_PENDING = 0
    TPE_DONE = 1
    TPE_FAILED = 2
    TPE_DROPPED = 3

cdef enum:
    TPE_UNKNOWN = -1      # step of a trial that ended early, at a step that nobody knows
    TPE_WHOLE = 0         # step of a trial that was not ended early: the largest that any trial came to

cdef enum:
    NORMAL_STEPS = 128        # of the table, per standard deviation
    NORMAL_REACH = 6
    NORMAL_SIZE = 2 * NORMAL_REACH * NORMAL_STEPS + 1
    NORMAL_BINS = 1024        # of the index into the table
    TPE_BINS = 128
    TPE_TRIES = 4             # for a config that was not tried yet: pools, of which the last ones are from anywhere

cdef double NORMAL_TABLE[NORMAL_SIZE]         # at -6, -6 + 1 / 128 .. 6
cdef int16_t NORMAL_INDEX[NORMAL_BINS + 1]    # the last place in the table that is at most k / 1024


cdef void make_normal_table() noexcept nogil:
    cdef int k, b = 0
    for k in range(NORMAL_SIZE):
        NORMAL_TABLE[k] = 0.5 * erfc((NORMAL_REACH - <double>k / NORMAL_STEPS) * 0.7071067811865476)
        while b <= NORMAL_BINS and <double>b / NORMAL_BINS < NORMAL_TABLE[k]:
            NORMAL_INDEX[b] = max(0, k - 1)
            b += 1
    while b <= NORMAL_BINS:
        NORMAL_INDEX[b] = NORMAL_SIZE - 2
        b += 1


make_normal_table()


cdef inline double normal_cdf(double z) noexcept nogil:
    """Interpolated: within 2e-6 of the normal distribution function."""
    if z <= -NORMAL_REACH:
        return 0.0
    if z >= NORMAL_REACH:
        return 1.0
    cdef double at = (z + NORMAL_REACH) * NORMAL_STEPS
    cdef int k = <int>at
    return NORMAL_TABLE[k] + (at - k) * (NORMAL_TABLE[k + 1] - NORMAL_TABLE[k])


cdef inline double normal_quantile(double p) noexcept nogil:
    """The inverse of ``normal_cdf``, for 0 <= p <= 1."""
    cdef int b = min(<int>(p * NORMAL_BINS), NORMAL_BINS - 1)
    cdef int low = NORMAL_INDEX[b], high = NORMAL_INDEX[b + 1] + 1, middle
    while high - low > 1:
        middle = (low + high) >> 1
        if NORMAL_TABLE[middle] <= p:
            low = middle
        else:
            high = middle
    cdef double step = NORMAL_TABLE[high] - NORMAL_TABLE[low]
    cdef double part = min(max((p - NORMAL_TABLE[low]) / step, 0.0), 1.0)
    return (low + part) / NORMAL_STEPS - NORMAL_REACH


cdef inline double next_unit(TpeStream *stream) noexcept nogil:
    """The next random number of a suggestion: Philox blocks of (suggestion, block, 3), two numbers each."""
    cdef uint32_t *c = stream.words
    if stream.drawn % 2 == 1:
        stream.drawn += 1
        return unit_interval(<uint64_t>c[2] | <uint64_t>c[3] << 32)
    c[0] = <uint32_t>stream.number
    c[1] = <uint32_t>(stream.number >> 32)
    c[2] = <uint32_t>(stream.drawn // 2)
    c[3] = 3
    philox_block(c, stream.k0, stream.k1)
    stream.drawn += 1
    return unit_interval(<uint64_t>c[0] | <uint64_t>c[1] << 32)


cdef inline double unit_of(const TpeDim *dim, double number) noexcept nogil:
    """The place of a number on its dimension's scale; of an integer the middle of what rounds to it."""
    if dim.kind >= TPE_CATEGORICAL:
        return number
    if dim.kind == TPE_INTEGER:
        number /= dim.q
        number = 0.5 * (log(number) + log(number + 1.0)) if dim.log else number + 0.5
    elif dim.log:
        number = log(number)
    if dim.width <= 0.0:
        return 0.5
    return min(max((number - dim.start) / dim.width, 0.0), 1.0)


cdef inline double number_of(const TpeDim *dim, double unit) noexcept nogil:
    """The number at a place of the scale."""
    cdef double number
    if dim.kind >= TPE_CATEGORICAL:
        return unit
    number = dim.start + unit * dim.width
    if dim.log:
        number = exp(number)
    if dim.kind == TPE_INTEGER:
        number = floor(number) * dim.q
    elif dim.q != 0.0:
        number = rint(number / dim.q) * dim.q
    return min(max(number, dim.low), dim.high)


cdef inline double flat_unit(const TpeDim *dim, double u) noexcept nogil:
    """The place of a value at u, where equal parts of [0, 1] belong to equally likely values."""
    if dim.kind == TPE_CATEGORICAL:
        return min(floor(u * dim.size), dim.size - 1.0)
    return unit_of(dim, number_of(dim, u)) if dim.size < INFINITY else u


cdef inline double unit_at(const TpeDim *dim, double place) noexcept nogil:
    """The place on the scale of the value with this number in their order; of few values."""
    if dim.kind == TPE_CATEGORICAL:
        return place
    return unit_of(dim, number_of(dim, unit_of(dim, dim.low + place * dim.q)))


cdef inline double place_of(const TpeDim *dim, double unit) noexcept nogil:
    """Which one in the order of its values a value is."""
    if dim.kind == TPE_CATEGORICAL:
        return unit
    return rint((number_of(dim, unit) - dim.low) / dim.q) if dim.size > 1.0 else 0.0
