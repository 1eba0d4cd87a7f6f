# Quadratic: a quadratic model of the results around the best one, and the point within reach that it promises most of.
#
# A model of m dimensions has (m + 1)(m + 2) / 2 coefficients. It is fitted to the results nearest to the best one, at most
# `share` times as many, better ones counting for more. Where there are fewer results than coefficients, the second derivatives
# change as little as possible from those of the model before (the least Frobenius norm of Powell 2004, Least Frobenius Norm
# Updating of Quadratic Models That Satisfy Interpolation Conditions, Mathematical Programming 100); so it is solved for the
# results, not for the coefficients: n equations, whose matrix has c0 + c1 z.z' + (z.z')^2 / 2 for each pair of results.
# The suggestion is the least value in a box around the best point (a trust region: Conn, Gould, Toint 2000) that grows when a
# suggestion brought what was expected and shrinks when it did not, moved a little at random: points on a line teach nothing
# of the other directions. How often it is asked follows from how often it was right (`ask`).
#
# Results with other options, or of which other dimensions are part, are not looked at: they have another `pattern`.
# 10 dimensions, 105 results: 0.1 ms.

cdef extern from *:
    """
    static void quad_add(double *restrict y, const double *restrict x, double a, Py_ssize_t n) {
        for (Py_ssize_t i = 0; i < n; i++) y[i] += a * x[i];
    }
    /* row i of covariances from i on: c0 + c1 s + s^2 / 2, where s has the products of points */
    static void quad_curve(double *restrict s, double c0, double c1, Py_ssize_t n) {
        for (Py_ssize_t i = 0; i < n; i++) s[i] = c0 + s[i] * (c1 + 0.5 * s[i]);
    }
    """
    void quad_add(double *y, const double *x, double a, Py_ssize_t n) noexcept nogil
    void quad_curve(double *s, double c0, double c1, Py_ssize_t n) noexcept nogil

cdef enum:
    QUAD_ROWS = 1024          # results that are kept; then the better half of them
    QUAD_MOST = 128           # results that a model is fitted to
    QUAD_DIMS = 40            # dimensions of a model
    QUAD_STEPS = 12           # of Newton, to the least value in the box
    QUAD_SWEEPS = 5           # through the dimensions, one by one, after that
    QUAD_STREAM = 0x5155        # apart from the draws of Tpe, which may have the same seed

cdef double QUAD_CONSTANT = 1e3           # variances of the value and of the slopes at the best point, beside the second
cdef double QUAD_SLOPE = 1e2              # derivatives', in deviations of the results and of the points
cdef double QUAD_NARROWEST = 1e-7         # and widest box: half its width
cdef double QUAD_WIDEST = 0.5
cdef double QUAD_MEMORY = 0.8             # of the score, for the suggestions before
cdef double QUAD_LEAST = 0.05             # weight of the worst result of a model, that of the best being 1


cdef bint quad_factor(double *a, Py_ssize_t n, double shift) noexcept nogil:
    """Cholesky factor of a + shift on the diagonal, in place; column by column, each from its diagonal on. False: there is none."""
    cdef Py_ssize_t j, k
    cdef double pivot
    for j in range(n):
        pivot = a[j * n + j] + shift
        if not (pivot > 0.0 and pivot < INFINITY):
            return False
        pivot = 1.0 / sqrt(pivot)
        a[j * n + j] = 1.0 / pivot
        for k in range(j + 1, n):
            a[j * n + k] *= pivot
        for k in range(j + 1, n):
            quad_add(a + k * n + k, a + j * n + k, -a[j * n + k], n - k)
    return True


cdef void quad_solve(const double *factor, double *b, Py_ssize_t n) noexcept nogil:
    """b becomes the solution, of the factor's matrix."""
    cdef Py_ssize_t j, k
    cdef double left
    for j in range(n):
        b[j] /= factor[j * n + j]
        quad_add(b + j + 1, factor + j * n + j + 1, -b[j], n - j - 1)
    for j in range(n - 1, -1, -1):
        left = b[j]
        for k in range(j + 1, n):
            left -= factor[j * n + k] * b[k]
        b[j] = left / factor[j * n + j]


cdef class Quadratic:
    """Suggests points of the unit cube from the results that it was told. It is asked and told from one thread.

    Args:
        n_dims: how many dimensions there are; a model is made of those that a result has, if they are at most 40.
        seed: with the number of a suggestion, of all that is random in it.
        share: results of a model, in coefficients. ridge: how far the model may pass beside them.
        jitter: how far suggestions are moved, in steps. radius: half the width of the first box.
        least, span: it is asked in a share of ``least + span * score`` of the turns; the score is the share of its suggestions
        that became the best, the last ones counting most.
    """

    def __cinit__(self, Py_ssize_t n_dims, seed, *, double share=1.6, double ridge=1e-8, double jitter=0.1, double radius=0.3,
                  double least=0.05, double span=0.45):
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must be >= 0 and < 2**64, got {seed}")
        if n_dims < 1:
            raise ValueError(f"n_dims must be >= 1, got {n_dims}")
        self.n_dims = n_dims
        self.given = (n_dims, seed)
        self.options = {"share": share, "ridge": ridge, "jitter": jitter, "radius": radius, "least": least, "span": span}
        self.seed = seed
        self.share = share
        self.ridge = ridge
        self.jitter = jitter
        self.radius = radius
        self.least = least
        self.span = span
        self.score = 0.5
        self.units = <double *>ft_malloc(QUAD_ROWS * n_dims * sizeof(double))
        self.rows = <QuadRow *>ft_malloc(QUAD_ROWS * sizeof(QuadRow))
        self.hessian = <double *>ft_calloc(n_dims * n_dims, sizeof(double))
        if self.units == NULL or self.rows == NULL or self.hessian == NULL:
            raise MemoryError()

    def __dealloc__(self):
        ft_free(self.units)
        ft_free(self.rows)
        ft_free(self.hessian)
        ft_free(self.scratch)

    # -- what is known ----------------------------------------------------------------------------------------------------

    def tell(self, units, double loss, int64_t pattern, bint suggested=False):
        """A result: its place (None for what is not part of the config), its finite loss, and a number for its options.
        ``suggested``: it is the last suggestion, which is judged by it."""
        cdef Py_ssize_t k
        if len(units) != self.n_dims:
            raise ValueError(f"a result has {self.n_dims} units, got {len(units)}")
        cdef list places = [NAN if one is None else one for one in units]
        if not -INFINITY < loss < INFINITY:
            raise ValueError(f"loss must be finite, got {loss}")
        if suggested:
            self.judge(loss)
        if self.n == QUAD_ROWS:
            self.forget_half()
        for k in range(self.n_dims):
            self.units[self.n * self.n_dims + k] = places[k]
        self.rows[self.n].loss = loss
        self.rows[self.n].pattern = pattern
        self.n += 1

    def miss(self, bint out=True):
        """The last suggestion came to nothing; ``out`` False: it was of no use at all, being known."""
        self.out = False
        self.score *= QUAD_MEMORY
        if out:
            self.radius = max(0.5 * min(self.radius, self.reach), QUAD_NARROWEST)

    def clear(self):
        """Forget all results: others are to be compared."""
        self.n = 0
        self.out = False

    cdef void judge(self, double loss) noexcept nogil:
        cdef double hope = self.base - self.expected, came = self.base - loss
        self.out = False
        if came > 0.2 * hope:
            self.radius = min(max(self.radius, 2.0 * self.reach), QUAD_WIDEST)
        elif came < 0.1 * hope:
            self.radius = max(0.5 * min(self.radius, self.reach), QUAD_NARROWEST)
        self.score = QUAD_MEMORY * self.score + (1.0 - QUAD_MEMORY) * (came > 0.0)

    cdef void forget_half(self) noexcept nogil:
        """The worse half, by the median of the losses; of equal ones the older half stays."""
        cdef Py_ssize_t k, kept = 0
        cdef double low = INFINITY, high = -INFINITY, middle
        cdef Py_ssize_t below
        cdef int tries
        for k in range(self.n):
            low = min(low, self.rows[k].loss)
            high = max(high, self.rows[k].loss)
        for tries in range(200):
            middle = low + 0.5 * (high - low)
            below = 0
            for k in range(self.n):
                below += self.rows[k].loss <= middle
            if below > QUAD_ROWS // 2:
                high = middle
            else:
                low = middle
            if not low < low + 0.5 * (high - low) < high:
                break
        for k in range(self.n):
            if self.rows[k].loss <= high and kept < QUAD_ROWS // 2:
                self.rows[kept] = self.rows[k]
                memmove(self.units + kept * self.n_dims, self.units + k * self.n_dims, self.n_dims * sizeof(double))
                kept += 1
        self.n = kept

    # -- the model --------------------------------------------------------------------------------------------------------

    cdef Py_ssize_t best(self) noexcept nogil:
        cdef Py_ssize_t k, best = 0
        for k in range(1, self.n):
            if self.rows[k].loss < self.rows[best].loss:
                best = k
        return best

    cdef int take_scratch(self) except -1:
        cdef Py_ssize_t m = min(self.n_dims, <Py_ssize_t>QUAD_DIMS)
        if self.scratch == NULL:
            self.scratch = <double *>ft_malloc((QUAD_MOST * (m + QUAD_MOST + 4) + m * (2 * m + 8)) * sizeof(double))
            if self.scratch == NULL:
                raise MemoryError()
        return 0

    cdef void divide(self, QuadModel *model) noexcept nogil:
        """`scratch` among the model's arrays."""
        cdef Py_ssize_t m = model.m
        model.z = self.scratch
        model.k = model.z + QUAD_MOST * m
        model.t = model.k + QUAD_MOST * QUAD_MOST
        model.weights = model.t + QUAD_MOST
        model.far = model.weights + QUAD_MOST
        model.slope = model.far + 2 * QUAD_MOST
        model.curve = model.slope + m
        model.part = model.curve + m * m
        model.low = model.part + m * m
        model.high = model.low + m
        model.place = model.high + m
        model.grad = model.place + m
        model.step = model.grad + m
        model.other = model.step + m

    cdef bint gather(self, QuadModel *model, Py_ssize_t best) noexcept nogil:
        """The results nearest to the best one, in its pattern. False: too few."""
        cdef Py_ssize_t j, k, at, n = 0, most, m = model.m
        cdef const double *centre = self.units + best * self.n_dims
        cdef const double *row
        cdef double distance, off
        most = min(<Py_ssize_t>(self.share * 0.5 * (m + 1) * (m + 2)), <Py_ssize_t>QUAD_MOST)
        for j in range(self.n):
            if self.rows[j].pattern != self.rows[best].pattern:
                continue
            row = self.units + j * self.n_dims
            distance = 0.0
            for k in range(m):
                off = row[model.dims[k]] - centre[model.dims[k]]
                distance += off * off
            if n == most and not distance < model.far[n - 1]:
                continue
            at = n if n < most else n - 1
            n = at + 1
            while at > 0 and distance < model.far[at - 1]:
                model.far[at] = model.far[at - 1]
                model.rows[at] = model.rows[at - 1]
                at -= 1
            model.far[at] = distance
            model.rows[at] = <int>j
        model.n = n
        return n >= m + 2

    cdef bint fit(self, QuadModel *model, Py_ssize_t best) noexcept nogil:
        """Slope and curvature at the best point, in units of `scale` and of `deviation`. False: there is nothing to see."""
        cdef Py_ssize_t i, j, k, n = model.n, m = model.m, rank
        cdef const double *centre = self.units + best * self.n_dims
        cdef double mean = 0.0, squares = 0.0, bent, top
        for j in range(n):
            squares += model.far[j]
            model.t[j] = self.rows[model.rows[j]].loss - self.rows[best].loss
            mean += model.t[j] / n
        model.scale = sqrt(squares / (n * m))
        squares = 0.0
        for j in range(n):
            squares += (model.t[j] - mean) * (model.t[j] - mean) / n
        model.deviation = sqrt(squares)
        if not (model.scale > 0.0 and model.deviation > 0.0 and model.deviation < INFINITY):
            return False
        for i in range(m):                    # the model before, in the units of this one
            for k in range(m):
                model.curve[i * m + k] = (self.hessian[model.dims[i] * self.n_dims + model.dims[k]]
                                          * model.scale * model.scale / model.deviation)
        for j in range(n):
            for k in range(m):
                model.z[k * n + j] = (self.units[model.rows[j] * self.n_dims + model.dims[k]] - centre[model.dims[k]]) / model.scale
            rank = 0
            for i in range(n):
                rank += (self.rows[model.rows[i]].loss < self.rows[model.rows[j]].loss
                         or (self.rows[model.rows[i]].loss == self.rows[model.rows[j]].loss and i < j))
            model.weights[j] = 1.0 - (1.0 - QUAD_LEAST) * rank / n
        for j in range(n):
            bent = 0.0
            for i in range(m):
                for k in range(m):
                    bent += model.curve[i * m + k] * model.z[i * n + j] * model.z[k * n + j]
            model.t[j] = model.t[j] / model.deviation - 0.5 * bent
        memset(model.k, 0, n * n * sizeof(double))
        for j in range(n):
            for k in range(m):
                quad_add(model.k + j * n + j, model.z + k * n + j, model.z[k * n + j], n - j)
            quad_curve(model.k + j * n + j, QUAD_CONSTANT, QUAD_SLOPE, n - j)
            model.k[j * n + j] += self.ridge * n / model.weights[j]
        if not quad_factor(model.k, n, 0.0):
            memset(self.hessian, 0, self.n_dims * self.n_dims * sizeof(double))
            return False
        quad_solve(model.k, model.t, n)
        top = 0.0
        for i in range(m):
            model.slope[i] = 0.0
            for j in range(n):
                model.slope[i] += QUAD_SLOPE * model.t[j] * model.z[i * n + j]
            for k in range(m):
                for j in range(n):
                    model.curve[i * m + k] += model.t[j] * model.z[i * n + j] * model.z[k * n + j]
                top += model.curve[i * m + k] * model.curve[i * m + k]
            top += model.slope[i] * model.slope[i]
        if not top < INFINITY:
            memset(self.hessian, 0, self.n_dims * self.n_dims * sizeof(double))
            return False
        for i in range(m):
            for k in range(m):
                self.hessian[model.dims[i] * self.n_dims + model.dims[k]] = (
                    model.curve[i * m + k] * model.deviation / (model.scale * model.scale))
        return True

    # -- its least value --------------------------------------------------------------------------------------------------

    cdef double value(self, QuadModel *model, const double *z) noexcept nogil:
        cdef Py_ssize_t i, k, m = model.m
        cdef double out = 0.0, row
        for i in range(m):
            row = model.slope[i]
            for k in range(m):
                row += 0.5 * model.curve[i * m + k] * z[k]
            out += row * z[i]
        return out

    cdef bint newton(self, QuadModel *model) noexcept nogil:
        """One step of Newton in the dimensions that are not at a bound, cut to the box. False: none goes down."""
        cdef Py_ssize_t i, k, m = model.m, n = 0
        cdef double shift, now, most = 0.0
        cdef int tries
        for i in range(m):
            model.grad[i] = model.slope[i]
            for k in range(m):
                model.grad[i] += model.curve[i * m + k] * model.place[k]
        for i in range(m):
            if (model.place[i] <= model.low[i] and model.grad[i] > 0.0) or (model.place[i] >= model.high[i] and model.grad[i] < 0.0):
                continue
            model.free[n] = <int>i
            most = max(most, fabs(model.curve[i * m + i]))
            n += 1
        if n == 0:
            return False
        shift = 0.0
        for tries in range(40):
            for i in range(n):
                model.step[i] = -model.grad[model.free[i]]
                for k in range(n):
                    model.part[i * n + k] = model.curve[model.free[i] * m + model.free[k]]
            if quad_factor(model.part, n, shift):
                break
            shift = max(4.0 * shift, 1e-3 * most + 1e-12)
        else:
            return False
        quad_solve(model.part, model.step, n)
        now = self.value(model, model.place)
        shift = 1.0
        for tries in range(QUAD_STEPS):
            memcpy(model.other, model.place, m * sizeof(double))
            for i in range(n):
                k = model.free[i]
                model.other[k] = min(max(model.place[k] + shift * model.step[i], model.low[k]), model.high[k])
            if self.value(model, model.other) < now - 1e-14 * fabs(now):
                memcpy(model.place, model.other, m * sizeof(double))
                return True
            shift *= 0.5
        return False

    cdef void minimise(self, QuadModel *model) noexcept nogil:
        """`place` becomes the least point of the box: by Newton, then dimension by dimension, which finds the bounds where it is
        no bowl."""
        cdef Py_ssize_t i, k, m = model.m
        cdef double slope, curve, low, high
        cdef int turn
        memset(model.place, 0, m * sizeof(double))
        for turn in range(QUAD_STEPS):
            if not self.newton(model):
                break
        for turn in range(QUAD_SWEEPS):
            for i in range(m):
                curve = model.curve[i * m + i]
                slope = model.slope[i] - curve * model.place[i]
                for k in range(m):
                    slope += model.curve[i * m + k] * model.place[k]
                low, high = model.low[i], model.high[i]
                if curve > 1e-12:
                    model.place[i] = min(max(-slope / curve, low), high)
                elif slope * low + 0.5 * curve * low * low < slope * high + 0.5 * curve * high * high:
                    model.place[i] = low
                else:
                    model.place[i] = high

    cdef bint suggest(self, QuadModel *model, TpeStream *stream) noexcept nogil:
        """Whether there is a point of which something is expected: then it is in `place`, as units."""
        cdef Py_ssize_t k, best = self.best()
        cdef double centre, gain
        model.m = 0
        for k in range(self.n_dims):
            centre = self.units[best * self.n_dims + k]
            if centre == centre:
                if model.m == QUAD_DIMS:
                    return False
                model.dims[model.m] = <int>k
                model.m += 1
        if model.m == 0:
            return False
        self.divide(model)
        if not self.gather(model, best) or not self.fit(model, best):
            return False
        for k in range(model.m):
            centre = self.units[best * self.n_dims + model.dims[k]]
            model.low[k] = max(-self.radius, -centre) / model.scale
            model.high[k] = min(self.radius, 1.0 - centre) / model.scale
        self.minimise(model)
        gain = -self.value(model, model.place) * model.deviation
        if not (gain > 0.0 and gain < INFINITY):
            return False
        self.base = self.rows[best].loss
        self.expected = self.base - gain
        self.reach = 0.0
        for k in range(model.m):
            self.reach = max(self.reach, fabs(model.place[k]) * model.scale)
        for k in range(model.m):
            centre = self.units[best * self.n_dims + model.dims[k]]
            gain = centre + model.place[k] * model.scale + self.jitter * self.reach * normal_quantile(next_unit(stream))
            model.place[k] = min(max(gain, 0.0), 1.0)
        return True

    def ask(self, uint64_t number):
        """The pattern of the next config and its units, None for what is not part of it; or None: it is not its turn, a suggestion
        is still out, or there is nothing to say. A function of the seed, of ``number``, and of what was asked and told."""
        cdef TpeStream stream
        cdef QuadModel model
        cdef Py_ssize_t k
        cdef bint found
        stream.k0 = <uint32_t>(self.seed & 0xFFFFFFFF)
        stream.k1 = <uint32_t>(self.seed >> 32) ^ QUAD_STREAM
        stream.number = number
        stream.drawn = 0
        if self.out or self.n == 0 or next_unit(&stream) >= self.least + self.span * self.score:
            return None
        self.take_scratch()
        with nogil:
            found = self.suggest(&model, &stream)
        if not found:
            return None
        self.out = True
        cdef list units = [None] * self.n_dims
        for k in range(model.m):
            units[model.dims[k]] = model.place[k]
        return self.rows[self.best()].pattern, units

    def __reduce__(self):
        rows = [(self.rows[k].loss, self.rows[k].pattern) for k in range(self.n)]
        numbers = (self.radius, self.score, self.base, self.expected, self.reach, self.out)
        units = PyBytes_FromStringAndSize(<char *>self.units, self.n * self.n_dims * sizeof(double))
        hessian = PyBytes_FromStringAndSize(<char *>self.hessian, self.n_dims * self.n_dims * sizeof(double))
        return restored_quadratic, (*self.given, self.options, units, rows, hessian, numbers)

    def restore(self, bytes units, rows, bytes hessian, numbers):
        """Take over what another one with as many dimensions knew, as ``__reduce__`` wrote it."""
        cdef Py_ssize_t k, n = len(rows), width = self.n_dims * sizeof(double)
        if n > QUAD_ROWS or len(units) != n * width or len(hessian) != self.n_dims * width:
            raise ValueError(f"{n} results of {self.n_dims} dimensions are damaged: {len(units)} and {len(hessian)} bytes")
        memcpy(self.units, PyBytes_AS_STRING(units), n * width)
        memcpy(self.hessian, PyBytes_AS_STRING(hessian), self.n_dims * width)
        for k in range(n):
            self.rows[k].loss, self.rows[k].pattern = rows[k]
        self.n = n
        self.radius, self.score, self.base, self.expected, self.reach, self.out = numbers


def restored_quadratic(n_dims, seed, options, units, rows, hessian, numbers):
    """A ``Quadratic`` that goes on where another was when it was pickled."""
    made = Quadratic(n_dims, seed, **options)
    made.restore(units, rows, hessian, numbers)
    return made
