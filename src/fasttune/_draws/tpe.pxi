# Tpe: the tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS, section 4), numbers in and numbers out.
#
# A trial is a row of units: a number's place in [0, 1] on its dimension's own scale, or the index of an option; NaN where
# the dimension is not part of the config. Dimensions under the same condition make a group, which knows the trials that
# had it, best first. A suggestion goes through the groups, parents first, and for each one
#   splits   its trials: the best ones are good; the rest, those that failed and those that still run are bad
#   models   each side as a mixture of one product of kernels per trial and a prior that is flat
#   draws    candidates from the good mixture, and takes the one with the largest ratio good / bad
# Kernels of numbers are normal and cut to [0, 1]; those of options put a share of their mass on all options alike.
# `multivariate` models a group's dimensions together (Watanabe 2023, arXiv 2304.11127, section 3), else one by one.
#
# Of n good trials the k-th best weighs log(n + 1) - log(k). A kernel is as wide as the farther of its neighbours in its
# dimension is away, but at least `narrowest`, (kernels + 1)^-`magic` (magic clipping: Table 6 of that paper), and half of
# what lies between two values. These, gamma and the number of candidates were chosen on 29 functions and confirmed on 26
# others: the ratio of densities decides better when it is sharp.
#
# What a suggestion costs is candidates x kernels x dimensions. So the inner loops are in single precision over columns,
# which compilers turn into vector instructions; the normal distribution is a table; and of more than `most_bad` bad trials
# those next to the good ones count one by one, of the others every k-th for k (`pick_bad`): 64 instead of 256 of them cost
# quality, 500 bring none. Ten mixed parameters on a 2-core machine: 32 us after 100 results, 55 us after 1,000 and more
# (sums over kernels 20, bandwidths and normalisation 24, drawing 8); with all bad trials of 5,000 it would be 610 us.

cdef class Tpe:
    """Suggests rows of numbers from what it was told of others. It is asked and told from one thread.

    ``dims`` has one ``(kind, low, high, log, q, parent, option)`` per dimension: kind 0 float, 1 integer, 2 the index of
    an option (``high`` is the last), 3 a unit; the others as in ``space.dimensions.Dimension``. Of n trials that did not
    fail, ceil(gamma * n) are good, at most ``most_good``.
    """

    def __cinit__(self, dims, seed, *, bint multivariate=True, int candidates=24, double gamma=0.1, int most_good=25,
                  double prior_weight=1.0, int most_bad=256, double magic=1.5, double narrowest=0.01):
        cdef Py_ssize_t k
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must be >= 0 and < 2**64, got {seed}")
        self.n_dims = len(dims)
        self.given = (tuple([tuple(one) for one in dims]), seed)
        self.options = {"multivariate": multivariate, "candidates": candidates, "gamma": gamma, "most_good": most_good,
                        "prior_weight": prior_weight, "most_bad": most_bad, "magic": magic, "narrowest": narrowest}
        self.seed = seed
        self.multivariate = multivariate
        self.candidates = candidates
        self.gamma = gamma
        self.most_good = most_good
        self.prior_weight = prior_weight
        self.most_bad = most_bad
        self.magic = magic
        self.narrowest = narrowest
        if min(candidates, most_good, most_bad) < 1:
            raise ValueError(f"candidates, most_good and most_bad must be >= 1, got {candidates}, {most_good}, {most_bad}")
        if not prior_weight > 0.0:
            raise ValueError(f"prior_weight must be > 0, got {prior_weight}")
        if narrowest * TPE_BINS < 1.0:
            raise ValueError(f"narrowest must be >= 1 / {TPE_BINS}, got {narrowest}")
        self.dims = <TpeDim *>ft_calloc(max(1, self.n_dims), sizeof(TpeDim))
        self.groups = <TpeGroup *>ft_calloc(max(1, self.n_dims), sizeof(TpeGroup))
        if self.dims == NULL or self.groups == NULL:
            raise MemoryError()
        self.can_repeat = True
        for k in range(self.n_dims):
            self._set_dim(k, dims[k])
            if self.dims[k].parent < 0 and self.dims[k].size == INFINITY:
                self.can_repeat = False
        self.most_steps = TPE_UNKNOWN

    FLOAT = TPE_FLOAT
    INTEGER = TPE_INTEGER
    CATEGORICAL = TPE_CATEGORICAL
    UNIT = TPE_UNIT
    WHOLE = TPE_WHOLE
    UNKNOWN = TPE_UNKNOWN

    def __dealloc__(self):
        cdef int g
        if self.groups != NULL:
            for g in range(self.n_groups):
                ft_free(self.groups[g].order)
                ft_free(self.groups[g].dims)
        ft_free(self.groups)
        ft_free(self.dims)
        ft_free(self.units)
        ft_free(self.hashes)
        ft_free(self.slots)
        ft_free(self.trials)
        ft_free(self.pending)
        ft_free(self.told)
        ft_free(self.scratch)

    cdef int _set_dim(self, Py_ssize_t k, one) except -1:
        cdef TpeDim *dim = self.dims + k
        cdef TpeGroup *group = NULL
        cdef int g
        dim.kind, dim.low, dim.high, dim.log, dim.q, dim.parent, dim.option = one
        if not 0 <= dim.kind <= TPE_UNIT:
            raise ValueError(f"dimension {k} must have a kind from 0 to {TPE_UNIT}, got {dim.kind}")
        if dim.parent >= k:
            raise ValueError(f"dimension {k} must come after its parent, which is {dim.parent}")
        dim.size = INFINITY
        dim.start, dim.width = 0.0, 1.0
        if dim.kind == TPE_CATEGORICAL:
            dim.size = dim.high + 1.0
        elif dim.kind == TPE_INTEGER:
            dim.start, dim.width = dim.low / dim.q, dim.high / dim.q + 1.0
            dim.size = dim.width - dim.start
        elif dim.kind == TPE_FLOAT:
            dim.start, dim.width = dim.low, dim.high
            if dim.high == dim.low:
                dim.size = 1.0
            elif dim.q > 0.0:
                dim.size = rint((dim.high - dim.low) / dim.q) + 1.0
        if dim.log:
            dim.start, dim.width = log(dim.start), log(dim.width)
        if dim.kind == TPE_INTEGER or dim.kind == TPE_FLOAT:
            dim.width -= dim.start
        for g in range(self.n_groups):
            if self.groups[g].parent == dim.parent and (dim.parent < 0 or self.groups[g].option == dim.option):
                group = self.groups + g
        if group == NULL:
            group = self.groups + self.n_groups
            group.dims = <int *>ft_calloc(self.n_dims, sizeof(int))
            if group.dims == NULL:
                raise MemoryError()
            self.n_groups += 1
            group.parent, group.option = dim.parent, dim.option
        group.dims[group.n_dims] = <int>k
        group.n_dims += 1
        return 0

    # -- what is known ----------------------------------------------------------------------------------------------------

    cdef int make_room(self) except -1:
        """For one more row."""
        return self.grow() if self.n == self.room else 0

    cdef int grow(self) except -1:
        """Room for twice as many rows."""
        cdef Py_ssize_t room, g
        cdef void *grown
        room = max(64, 2 * self.room)          # powers of two, by which slots are found
        grown = ft_realloc(self.units, room * self.n_dims * sizeof(double))
        if grown == NULL:
            raise MemoryError()
        self.units = <double *>grown
        grown = ft_realloc(self.hashes, room * sizeof(uint64_t))
        if grown == NULL:
            raise MemoryError()
        self.hashes = <uint64_t *>grown
        grown = ft_realloc(self.trials, room * sizeof(TpeTrial))
        if grown == NULL:
            raise MemoryError()
        self.trials = <TpeTrial *>grown
        grown = ft_realloc(self.pending, room * sizeof(int32_t))
        if grown == NULL:
            raise MemoryError()
        self.pending = <int32_t *>grown
        grown = ft_realloc(self.told, room * sizeof(int32_t))
        if grown == NULL:
            raise MemoryError()
        self.told = <int32_t *>grown
        for g in range(self.n_groups):
            grown = ft_realloc(self.groups[g].order, room * sizeof(int32_t))
            if grown == NULL:
                raise MemoryError()
            self.groups[g].order = <int32_t *>grown
        self.room = room
        return self.index_rows() if self.can_repeat else 0

    cdef int index_rows(self) except -1:
        """Anew, with room for twice as many rows as there is for units."""
        cdef Py_ssize_t row
        cdef int32_t *slots = <int32_t *>ft_calloc(4 * self.room, sizeof(int32_t))
        if slots == NULL:
            raise MemoryError()
        ft_free(self.slots)
        self.slots, self.n_slots, self.n_indexed = slots, 4 * self.room, 0
        for row in range(self.n):
            self.index_row(row)
        return 0

    cdef void index_row(self, Py_ssize_t row) noexcept nogil:
        """Make a row that has its hash known to `is_known`. What it was before stays there, and is not found any more."""
        cdef Py_ssize_t at = self.hashes[row] & <uint64_t>(self.n_slots - 1)
        while self.slots[at] != 0:
            at = (at + 1) & (self.n_slots - 1)
        self.slots[at] = <int32_t>row + 1
        self.n_indexed += 1

    cdef Py_ssize_t append(self) except -1:
        """One more row, pending, with the units that were written there."""
        self.make_room()
        cdef Py_ssize_t row = self.n
        self.trials[row].state = TPE_PENDING
        self.pending[self.n_pending] = <int32_t>row
        self.n_pending += 1
        self.n += 1
        self.rewrite(row)
        return row

    cdef int rewrite(self, Py_ssize_t row) except -1:
        """The units of a row have been written."""
        if not self.can_repeat:
            return 0
        self.hashes[row] = self.hash_of(self.units + row * self.n_dims)
        if 2 * self.n_indexed >= self.n_slots:         # of many rows that were changed
            return self.index_rows()
        self.index_row(row)
        return 0

    cdef bint has(self, const TpeGroup *group, const double *units) noexcept nogil:
        return units[group.dims[0]] == units[group.dims[0]]

    cdef int write(self, Py_ssize_t row, numbers) except -1:
        cdef Py_ssize_t k
        if len(numbers) != self.n_dims:
            raise ValueError(f"a row has {self.n_dims} numbers, got {len(numbers)}")
        cdef bytearray room = bytearray(self.n_dims * sizeof(double))
        cdef double *units = <double *><char *>room
        for k in range(self.n_dims):
            units[k] = NAN if numbers[k] is None else unit_of(self.dims + k, numbers[k])
            if numbers[k] is not None and not self.has_place(k, units[k]):
                raise ValueError(f"dimension {k} has no place for {numbers[k]}")
        self.check_whole(units)
        memcpy(self.units + row * self.n_dims, units, self.n_dims * sizeof(double))
        return 0

    cdef bint has_place(self, Py_ssize_t k, double unit) noexcept nogil:
        """Whether a unit is one of dimension k; NaN, which stands for none, is not."""
        cdef const TpeDim *dim = self.dims + k
        if dim.kind == TPE_CATEGORICAL:
            return unit >= 0.0 and unit < dim.size and unit == floor(unit)
        return unit >= 0.0 and unit <= 1.0

    cdef int check_whole(self, const double *units) except -1:
        """A group's numbers are there together, or none of them is."""
        cdef int g, i
        cdef const TpeGroup *group
        for g in range(self.n_groups):
            group = self.groups + g
            for i in range(1, group.n_dims):
                if (units[group.dims[i]] == units[group.dims[i]]) != self.has(group, units):
                    raise ValueError(f"dimensions {group.dims[0]} and {group.dims[i]} are part of the same configs, and one of "
                                     "them is None")
        return 0

    cdef int check_pending(self, Py_ssize_t row) except -1:
        if not 0 <= row < self.n:
            raise ValueError(f"rows are numbered from 0 to {self.n - 1}, got {row}")
        if self.trials[row].state != TPE_PENDING:
            raise ValueError(f"row {row} was told already")
        return 0

    def add(self, numbers):
        """A config that is tried: the number of its row. ``numbers`` has None for what is not part of it."""
        self.make_room()
        self.write(self.n, numbers)
        return self.append()

    def change(self, Py_ssize_t row, numbers):
        """A row that was not told yet is this config."""
        self.check_pending(row)
        self.write(row, numbers)
        self.rewrite(row)

    def tell(self, Py_ssize_t row, int64_t step, double loss, bint failed=False):
        """What came of a row: its last loss, and the step that it came to (or WHOLE, UNKNOWN). Rows rank by their steps,
        the most first, and then by their losses, the least first; of equal ones the one told first."""
        self.check_pending(row)
        cdef TpeTrial *trial = self.trials + row
        self.settle(row)
        trial.state = TPE_FAILED if failed or loss != loss else TPE_DONE
        trial.step = step
        trial.loss = loss
        self.told[self.n_told] = <int32_t>row
        self.n_told += 1
        self.n_done += trial.state == TPE_DONE
        if trial.state == TPE_DONE and step > self.most_steps:
            self.most_steps = step
            if self.n_whole > 0:
                self.rank_again()
                return
        self.n_whole += step == TPE_WHOLE
        self.rank(row)

    def drop(self, Py_ssize_t row):
        """Nothing will be told of a row: it counts for nothing any more."""
        self.check_pending(row)
        self.settle(row)
        self.trials[row].state = TPE_DROPPED

    cdef void settle(self, Py_ssize_t row) noexcept nogil:
        """The row is not pending any more."""
        cdef Py_ssize_t k
        for k in range(self.n_pending):
            if self.pending[k] == row:
                self.n_pending -= 1
                memmove(self.pending + k, self.pending + k + 1, (self.n_pending - k) * sizeof(int32_t))
                break

    cdef void rank(self, Py_ssize_t row) noexcept nogil:
        cdef int g
        for g in range(self.n_groups):
            if self.has(self.groups + g, self.units + row * self.n_dims):
                self.insert(self.groups + g, row)

    cdef void rank_again(self) noexcept nogil:
        """The rows that count as whole have moved."""
        cdef int g
        cdef Py_ssize_t k
        for g in range(self.n_groups):
            self.groups[g].n = self.groups[g].n_done = 0
        for k in range(self.n_told):
            self.rank(self.told[k])

    cdef inline int64_t steps_of(self, const TpeTrial *trial) noexcept nogil:
        return trial.step if trial.step != TPE_WHOLE else self.most_steps

    cdef bint is_before(self, Py_ssize_t a, Py_ssize_t b) noexcept nogil:
        """Whether row a ranks before row b, which was told earlier."""
        cdef const TpeTrial *one = self.trials + a
        cdef const TpeTrial *other = self.trials + b
        if one.state != other.state:
            return one.state == TPE_DONE
        if one.state == TPE_FAILED:
            return False
        if self.steps_of(one) != self.steps_of(other):
            return self.steps_of(one) > self.steps_of(other)
        return one.loss < other.loss

    cdef void insert(self, TpeGroup *group, Py_ssize_t row) noexcept nogil:
        cdef Py_ssize_t low = 0, high = group.n, middle
        while low < high:
            middle = (low + high) >> 1
            if self.is_before(row, group.order[middle]):
                high = middle
            else:
                low = middle + 1
        memmove(group.order + low + 1, group.order + low, (group.n - low) * sizeof(int32_t))
        group.order[low] = <int32_t>row
        group.n += 1
        check(group.n <= self.room)
        group.n_done += self.trials[row].state == TPE_DONE

    # -- the model --------------------------------------------------------------------------------------------------------

    cdef int take_scratch(self) except -1:
        """Room for one model; `model` says of what."""
        cdef Py_ssize_t kernels = self.most_good + self.most_bad + min(self.n_pending, self.most_bad)
        cdef Py_ssize_t doubles = 3 * kernels + (4 + self.candidates) * self.n_dims + self.candidates * (self.n_dims + 1)
        cdef Py_ssize_t floats = (2 * self.n_dims + 2) * kernels + 16
        cdef Py_ssize_t need = doubles * sizeof(double) + floats * sizeof(float) + kernels * sizeof(int32_t)
        if need > self.scratch_size:
            ft_free(self.scratch)
            self.scratch_size = 0
            self.scratch = ft_malloc(2 * need)
            if self.scratch == NULL:
                raise MemoryError()
            self.scratch_size = 2 * need
        return 0

    cdef Py_ssize_t good_of(self, Py_ssize_t n) noexcept nogil:
        if n == 0:
            return 0
        return max(1, min(<Py_ssize_t>ceil(self.gamma * n), min(self.most_good, n)))

    cdef Py_ssize_t pick_bad(self, const TpeGroup *group, Py_ssize_t n_good, TpeSide *side) noexcept nogil:
        """The bad rows and how many each stands for: half of the room for those next to the good ones, the rest evenly
        from the others."""
        cdef Py_ssize_t total = group.n - n_good, k = 0, j, n_near, n_far, first, last
        if total <= self.most_bad:
            for j in range(total):
                side.rows[j] = group.order[n_good + j]
                side.weights[j] = 1.0
            k = total
        else:
            n_near = self.most_bad // 2
            n_far = self.most_bad - n_near
            for j in range(n_near):
                side.rows[j] = group.order[n_good + j]
                side.weights[j] = 1.0
            for j in range(n_far):
                first = j * (total - n_near) // n_far
                last = (j + 1) * (total - n_near) // n_far
                side.rows[n_near + j] = group.order[n_good + n_near + (first + last) // 2]
                side.weights[n_near + j] = <double>(last - first)
            k = self.most_bad
        for j in range(self.n_pending):
            total += self.has(group, self.units + self.pending[j] * self.n_dims)
        self.pick_pending(group, side, k, total - (group.n - n_good))
        return total

    cdef void pick_pending(self, const TpeGroup *group, TpeSide *side, Py_ssize_t at, Py_ssize_t running) noexcept nogil:
        """The rows that still run, or of more than `most_bad` of them evenly as many, behind the other bad ones."""
        cdef Py_ssize_t j, seen = 0, taken = 0, most = min(running, self.most_bad)
        for j in range(self.n_pending):
            if not self.has(group, self.units + self.pending[j] * self.n_dims):
                continue
            if seen * most // running >= taken:
                side.rows[at + taken] = self.pending[j]
                side.weights[at + taken] = <double>running / most
                taken += 1
            seen += 1
        side.n = at + taken

    cdef void pick_good(self, const TpeGroup *group, Py_ssize_t n_good, TpeSide *side) noexcept nogil:
        cdef Py_ssize_t j
        cdef double total = 0.0
        for j in range(n_good):
            side.rows[j] = group.order[j]
            side.weights[j] = log(n_good + 1.0) - log(j + 1.0)
            total += side.weights[j]
        for j in range(n_good):
            side.weights[j] *= n_good / total
        side.n = n_good

    cdef void neighbour_widths(self, const float *mu, double *widths, Py_ssize_t n) noexcept nogil:
        """How far it is from each place to the next ones below and above, whichever is farther. Between places in one
        of TPE_BINS bins it counts as nothing, since no bandwidth is as small as a bin."""
        cdef int32_t first[TPE_BINS]     # the least and the largest place in each bin, -1: it is empty
        cdef int32_t last[TPE_BINS]
        cdef Py_ssize_t j
        cdef int b, below = -1, filled
        for b in range(TPE_BINS):
            first[b] = -1
        for j in range(n):
            b = min(<int>(mu[j] * TPE_BINS), TPE_BINS - 1)
            widths[j] = 0.0
            if first[b] < 0:
                first[b] = last[b] = <int32_t>j
            elif mu[j] < mu[first[b]]:
                first[b] = <int32_t>j
            elif mu[j] >= mu[last[b]]:
                last[b] = <int32_t>j
        for b in range(TPE_BINS):
            if first[b] < 0:
                continue
            if below >= 0:
                widths[first[b]] = max(widths[first[b]], mu[first[b]] - mu[below])
                widths[below] = max(widths[below], mu[first[b]] - mu[below])
            below = last[b]
        if n == 1:
            widths[0] = max(mu[0], 1.0 - mu[0])

    cdef void shape(self, const int *dims, int n_dims, TpeSide *side, double total) noexcept nogil:
        """Columns and heights of a side's kernels, which stand for ``total`` trials."""
        cdef Py_ssize_t j, n = side.n
        cdef int i
        cdef double everything = total + self.prior_weight
        side.prior = log(self.prior_weight / everything)
        side.total = total
        for j in range(n):
            side.masses[j] = side.weights[j] / everything
            side.heights[j] = 0.0
        for i in range(n_dims):
            self.shape_dim(dims[i], i, side, total + 1.0)
            if i % 32 == 31:                  # long before a product of 32 can leave the range of numbers
                self.take_masses(side)
        self.take_masses(side)

    cdef void take_masses(self, TpeSide *side) noexcept nogil:
        cdef Py_ssize_t j
        for j in range(side.n):
            side.heights[j] += log(side.masses[j])
            side.masses[j] = 1.0

    cdef void shape_dim(self, int k, int i, TpeSide *side, double kernels) noexcept nogil:
        """One column of each kind; ``kernels`` counts the prior."""
        cdef const TpeDim *dim = self.dims + k
        cdef Py_ssize_t j, n = side.n
        cdef float *mu = side.mu + i * n
        cdef float *inverse = side.inverse + i * n
        cdef double least, sharp, share, same, low, high
        for j in range(n):
            mu[j] = self.units[side.rows[j] * self.n_dims + k]
        if dim.kind == TPE_CATEGORICAL:
            share = dim.size / (dim.size + kernels)
            same = 1.0 - share + share / dim.size
            side.same[i] = 1.0 - share
            side.penalty[i] = 2.0 * (log(same) - log(share / dim.size))
            for j in range(n):
                side.masses[j] *= same
            return
        least = max(max(self.narrowest, exp(-self.magic * log(min(100.0, kernels + 1.0)))), 0.5 / dim.size)
        self.neighbour_widths(mu, side.widths, n)
        for j in range(n):
            sharp = 1.0 / min(side.widths[j], 1.0) if side.widths[j] > least else 1.0 / least
            low = mu[j] * sharp
            high = sharp - low
            inverse[j] = sharp
            side.masses[j] *= sharp * 0.3989422804014327        # 1 / sqrt(2 pi)
            if low < NORMAL_REACH or high < NORMAL_REACH:
                side.masses[j] /= normal_cdf(high) - normal_cdf(-low)

    cdef double log_density(self, const int *dims, int n_dims, const TpeSide *side, const double *point) noexcept nogil:
        cdef int i
        cdef double kernels = 0.0
        memset(side.sums, 0, side.n * sizeof(float))
        for i in range(n_dims):
            if self.dims[dims[i]].kind == TPE_CATEGORICAL:
                tpe_add_penalty(side.sums, side.mu + i * side.n, point[i], side.penalty[i], side.n)
                kernels -= log(self.dims[dims[i]].size)
            else:
                tpe_add_squares(side.sums, side.mu + i * side.n, side.inverse + i * side.n, point[i], side.n)
        cdef double prior = side.prior + kernels
        if side.n == 0:
            return prior
        kernels = tpe_log_sum(side.sums, side.heights, side.n)
        if kernels > prior:
            return kernels + log1p(exp(prior - kernels))
        return prior + log1p(exp(kernels - prior))

    cdef void draw(self, const int *dims, int n_dims, const TpeSide *side, TpeStream *stream, double *point) noexcept nogil:
        """A candidate from the good mixture."""
        cdef double u = next_unit(stream) * (side.total + self.prior_weight)
        cdef Py_ssize_t kernel = 0
        cdef int i
        cdef double sharp, low, high, mu
        cdef const TpeDim *dim
        while kernel < side.n and u >= side.weights[kernel]:
            u -= side.weights[kernel]
            kernel += 1
        for i in range(n_dims):
            dim = self.dims + dims[i]
            u = next_unit(stream)
            if dim.kind == TPE_CATEGORICAL:
                if kernel < side.n:
                    if u < side.same[i]:
                        point[i] = side.mu[i * side.n + kernel]
                        continue
                    u = (u - side.same[i]) / (1.0 - side.same[i])
            elif kernel < side.n:
                sharp = side.inverse[i * side.n + kernel]
                mu = side.mu[i * side.n + kernel]
                low = normal_cdf(-mu * sharp)
                high = normal_cdf((1.0 - mu) * sharp)
                u = min(max(mu + normal_quantile(low + u * (high - low)) / sharp, 0.0), 1.0)
            point[i] = flat_unit(dim, u)

    cdef void model_good(self, const int *dims, int n_dims, const TpeGroup *group, TpeModel *made) noexcept nogil:
        """The good side of these dimensions, and room for the other one and for candidates; all in `scratch`."""
        cdef TpeSide *good = &made.good
        cdef TpeSide *bad = &made.bad
        cdef Py_ssize_t most_bad = self.most_bad + min(self.n_pending, self.most_bad), most = self.most_good + most_bad
        cdef Py_ssize_t n_good = self.good_of(group.n_done)
        # doubles first, so that everything is aligned; the sums have room up to a multiple of eight
        good.weights = <double *>self.scratch + self.candidates * (self.n_dims + 1)     # behind the pool
        bad.weights = good.weights + self.most_good
        good.masses = bad.masses = bad.weights + most_bad
        good.widths = bad.widths = good.masses + most
        good.same = good.widths + most
        bad.same = good.same + n_dims
        good.penalty = bad.same + n_dims
        bad.penalty = good.penalty + n_dims
        made.points = bad.penalty + n_dims
        good.mu = <float *>(made.points + self.candidates * n_dims)
        good.inverse = good.mu + self.most_good * n_dims
        good.heights = good.inverse + self.most_good * n_dims
        good.sums = good.heights + self.most_good
        bad.mu = good.sums + self.most_good + 8
        bad.inverse = bad.mu + most_bad * n_dims
        bad.heights = bad.inverse + most_bad * n_dims
        bad.sums = bad.heights + most_bad
        good.rows = <int32_t *>(bad.sums + most_bad + 8)
        bad.rows = good.rows + self.most_good
        self.pick_good(group, n_good, good)
        self.shape(dims, n_dims, good, n_good)

    cdef void model(self, const int *dims, int n_dims, const TpeGroup *group, TpeModel *made) noexcept nogil:
        """Both sides of these dimensions, which the group's trials have."""
        self.model_good(dims, n_dims, group, made)
        self.shape(dims, n_dims, &made.bad, self.pick_bad(group, made.good.n, &made.bad))

    cdef double ratio(self, const int *dims, int n_dims, const TpeModel *made, const double *point) noexcept nogil:
        """log (good / bad)."""
        return (self.log_density(dims, n_dims, &made.good, point) - self.log_density(dims, n_dims, &made.bad, point))

    cdef void choose(self, const int *dims, int n_dims, const TpeGroup *group, TpeStream *stream, double *units) noexcept nogil:
        """Units of these dimensions: the best of the candidates, of those that were not tried when they are whole
        configs."""
        cdef TpeModel made
        cdef const double *winner
        cdef double *point
        cdef double score, best = -INFINITY
        cdef int c, i
        cdef bint whole = self.n_groups == 1 and n_dims == self.n_dims
        self.model(dims, n_dims, group, &made)
        winner = made.points
        for c in range(self.candidates):
            point = made.points + c * n_dims
            self.draw(dims, n_dims, &made.good, stream, point)
            score = self.ratio(dims, n_dims, &made, point)
            if score > best and not (whole and self.is_known(point)):
                best = score
                winner = point
        for i in range(n_dims):
            units[dims[i]] = winner[i]

    cdef uint64_t hash_of(self, const double *units) noexcept nogil:
        cdef uint64_t mixed = 0, bits
        cdef double value
        cdef Py_ssize_t k
        for k in range(self.n_dims):
            if units[k] == units[k]:                # NaN has more than one form
                value = units[k] + 0.0              # and so has zero
                memcpy(&bits, &value, sizeof(double))
                mixed = (mixed ^ bits ^ <uint64_t>k) * <uint64_t>0x9E3779B97F4A7C15
                mixed ^= mixed >> 29
        return mixed

    cdef bint is_known(self, const double *units) noexcept nogil:
        """Whether a config of values that can be counted was tried before."""
        cdef Py_ssize_t row, k, at
        cdef const double *other
        cdef uint64_t wanted
        if not self.can_repeat or self.n == 0:
            return False
        for k in range(self.n_dims):
            if units[k] == units[k] and self.dims[k].size == INFINITY:
                return False
        wanted = self.hash_of(units)
        at = wanted & <uint64_t>(self.n_slots - 1)
        while self.slots[at] != 0:
            row = self.slots[at] - 1
            at = (at + 1) & (self.n_slots - 1)
            if self.hashes[row] != wanted:
                continue
            other = self.units + row * self.n_dims
            k = 0
            while k < self.n_dims and (other[k] == units[k] or (other[k] != other[k] and units[k] != units[k])):
                k += 1
            if k == self.n_dims:
                return True
        return False

    cdef bint is_active(self, const TpeGroup *group, const double *units) noexcept nogil:
        """Whether a config that has its earlier dimensions has those of this group."""
        return group.parent < 0 or units[group.parent] == group.option

    cdef void fill(self, TpeStream *stream, double *units) noexcept nogil:
        """The units of a whole config, by the model."""
        cdef int g, i, k
        cdef TpeGroup *group
        for k in range(self.n_dims):
            units[k] = NAN
        for g in range(self.n_groups):
            group = self.groups + g
            if not self.is_active(group, units):
                continue
            if self.multivariate:
                self.choose(group.dims, group.n_dims, group, stream, units)
            else:
                for i in range(group.n_dims):
                    self.choose(group.dims + i, 1, group, stream, units)

    # -- configs that were not tried yet ----------------------------------------------------------------------------------

    cdef bint fill_other(self, TpeStream *stream, double *units) noexcept nogil:
        """The units of a config that was not tried: the model's best of some that it draws, then of some from anywhere, then of
        those behind some place in the order of all configs. False: there is none."""
        cdef int k, tries, drawn
        cdef double *pool = <double *>self.scratch
        if self.used_up:
            return False
        for tries in range(TPE_TRIES):
            drawn = self.candidates if tries == 0 else self.candidates // 2 if tries == 1 else 0
            for k in range(self.candidates * self.n_dims):
                pool[k] = NAN
            self.rate(stream, self.candidates, drawn, self.candidates)
            if self.take_best(self.candidates, units):
                return True
        drawn = self.walk(stream, units)
        if drawn == 0:
            self.used_up = True
            return False
        self.rate(stream, drawn, 0, 0)
        return self.take_best(drawn, units)

    cdef void rate(self, TpeStream *stream, int n, int drawn, int flat) noexcept nogil:
        """Scores of n configs in the pool, of which the first ``drawn`` are drawn by the model, those behind them, up to ``flat``,
        from anywhere, and the rest are there."""
        cdef double *scores = <double *>self.scratch + self.candidates * self.n_dims
        cdef int g, i, c
        cdef TpeGroup *group
        for c in range(n):
            scores[c] = 0.0
        for g in range(self.n_groups):
            group = self.groups + g
            if self.multivariate:
                self.rate_part(group.dims, group.n_dims, group, stream, n, drawn, flat)
            else:
                for i in range(group.n_dims):
                    self.rate_part(group.dims + i, 1, group, stream, n, drawn, flat)

    cdef void rate_part(self, const int *dims, int n_dims, const TpeGroup *group, TpeStream *stream, int n, int drawn,
                        int flat) noexcept nogil:
        cdef TpeModel made
        cdef double *pool = <double *>self.scratch
        cdef double *scores = pool + self.candidates * self.n_dims
        cdef double *units
        cdef int c, i
        self.model(dims, n_dims, group, &made)
        for c in range(n):
            units = pool + c * self.n_dims
            if not self.is_active(group, units):
                continue
            if c < drawn:
                self.draw(dims, n_dims, &made.good, stream, made.points)
            for i in range(n_dims):
                if c < drawn:
                    units[dims[i]] = made.points[i]
                elif c < flat:
                    units[dims[i]] = flat_unit(self.dims + dims[i], next_unit(stream))
                made.points[i] = units[dims[i]]
            scores[c] += self.ratio(dims, n_dims, &made, made.points)

    cdef bint take_best(self, int n, double *units) noexcept nogil:
        """Of n configs in the pool the one with the best score that was not tried."""
        cdef double *pool = <double *>self.scratch
        cdef double *scores = pool + self.candidates * self.n_dims
        cdef double best = -INFINITY
        cdef int c, taken = -1
        for c in range(n):
            if (taken < 0 or scores[c] > best) and not self.is_known(pool + c * self.n_dims):
                best, taken = scores[c], c
        if taken >= 0:
            memcpy(units, pool + taken * self.n_dims, self.n_dims * sizeof(double))
        return taken >= 0

    cdef int walk(self, TpeStream *stream, double *here) noexcept nogil:
        """Into the pool as many configs that were not tried as it holds, of those behind a random place in the order of all: how
        many there are. There is one among as many as there are rows, and one more. ``here`` is room for one."""
        cdef double *pool = <double *>self.scratch
        cdef int k, found = 0
        cdef Py_ssize_t step
        self.restart(0, here)
        for k in range(self.n_dims):
            if here[k] == here[k]:
                here[k] = flat_unit(self.dims + k, next_unit(stream))
                self.restart(k + 1, here)
        for step in range(self.n + 1 + self.candidates):
            if not self.is_known(here):
                memcpy(pool + found * self.n_dims, here, self.n_dims * sizeof(double))
                found += 1
                if found == self.candidates:
                    break
            self.advance(here)
        return found

    cdef void restart(self, int first, double *units) noexcept nogil:
        """The dimensions from ``first`` on have their first values, where they are part of the config."""
        cdef int k
        cdef const TpeDim *dim
        for k in range(first, self.n_dims):
            dim = self.dims + k
            units[k] = NAN
            if dim.parent < 0 or units[dim.parent] == dim.option:
                units[k] = unit_at(dim, 0.0)

    cdef void advance(self, double *units) noexcept nogil:
        """The next config in the order of all, and behind the last one the first."""
        cdef int k
        cdef double place
        for k in range(self.n_dims - 1, -1, -1):
            if units[k] != units[k] or self.dims[k].size == INFINITY:
                continue
            place = place_of(self.dims + k, units[k])
            if place + 1.0 < self.dims[k].size:
                units[k] = unit_at(self.dims + k, place + 1.0)
                self.restart(k + 1, units)
                return
        self.restart(0, units)

    # -- suggestions ------------------------------------------------------------------------------------------------------

    cdef void begin_stream(self, TpeStream *stream, uint64_t number) noexcept nogil:
        stream.k0 = <uint32_t>(self.seed & <uint64_t>0xFFFFFFFF)
        stream.k1 = <uint32_t>(self.seed >> 32)
        stream.number = number
        stream.drawn = 0

    cdef list numbers_of(self, const double *units):
        """With None for what is not part of the config."""
        cdef Py_ssize_t k
        cdef list numbers = PyList_New(self.n_dims)
        cdef double number
        cdef object made
        for k in range(self.n_dims):
            made = None
            if units[k] == units[k]:
                number = number_of(self.dims + k, units[k])
                if self.dims[k].kind == TPE_INTEGER or self.dims[k].kind == TPE_CATEGORICAL:
                    made = PyLong_FromLongLong(<int64_t>number)
                else:
                    made = PyFloat_FromDouble(number)
            Py_INCREF(made)
            PyList_SET_ITEM(numbers, k, made)
        return numbers

    def ask(self, uint64_t number):
        """The next config: its row, and its numbers with None for what is not part of it. A pure function of the seed,
        of ``number`` and of what was told."""
        cdef TpeStream stream
        cdef double *units
        self.begin_stream(&stream, number)
        self.take_scratch()
        self.make_room()
        units = self.units + self.n * self.n_dims
        with nogil:
            self.fill(&stream, units)
            if self.is_known(units):
                self.fill_other(&stream, units)
        cdef Py_ssize_t row = self.append()
        return row, self.numbers_of(self.units + row * self.n_dims)

    def ask_many(self, uint64_t number, Py_ssize_t n):
        """The configs of n suggestions from ``number`` on, made at once: the first one's row, and the numbers of each. They are
        drawn from the densities of the good trials; none is compared with others, which would cost a hundred times as much."""
        cdef Py_ssize_t first = self.n, row
        cdef TpeStream stream
        if n < 0:
            raise ValueError(f"n, how many configs are asked for, must be >= 0, got {n}")
        self.begin_stream(&stream, number)
        while self.room < self.n + n:
            self.grow()
        self.take_scratch()
        with nogil:
            self.draw_many(&stream, self.units + first * self.n_dims, n)
        if self.can_repeat:
            self.part_many(number, n)
        else:
            for row in range(n):
                self.append()
        return first, [self.numbers_of(self.units + row * self.n_dims) for row in range(first, first + n)]

    cdef void draw_many(self, TpeStream *stream, double *units, Py_ssize_t n) noexcept nogil:
        """The units of n configs, a row for each."""
        cdef Py_ssize_t k
        cdef int g, i
        cdef TpeGroup *group
        for k in range(n * self.n_dims):
            units[k] = NAN
        for g in range(self.n_groups):
            group = self.groups + g
            if self.multivariate:
                self.draw_part(group.dims, group.n_dims, group, stream, units, n)
            else:
                for i in range(group.n_dims):
                    self.draw_part(group.dims + i, 1, group, stream, units, n)

    cdef void draw_part(self, const int *dims, int n_dims, const TpeGroup *group, TpeStream *stream, double *units,
                        Py_ssize_t n) noexcept nogil:
        cdef TpeModel made
        cdef Py_ssize_t k
        cdef int i
        self.model_good(dims, n_dims, group, &made)
        for k in range(n):
            if self.is_active(group, units + k * self.n_dims):
                self.draw(dims, n_dims, &made.good, stream, made.points)
                for i in range(n_dims):
                    units[k * self.n_dims + dims[i]] = made.points[i]

    cdef int part_many(self, uint64_t number, Py_ssize_t n) except -1:
        """Rows for n configs that lie behind the others, of which those that were tried are replaced by others."""
        cdef Py_ssize_t k
        cdef TpeStream stream
        for k in range(n):
            if self.is_known(self.units + self.n * self.n_dims):
                self.begin_stream(&stream, number + k)
                stream.drawn = <uint32_t>1 << 31           # others than those that were drawn for all
                self.take_scratch()
                self.fill_other(&stream, self.units + self.n * self.n_dims)
            self.append()
        return 0

    def score(self, numbers):
        """How promising a config is: the log of its density among good trials over that among bad ones, summed over
        what is modelled apart."""
        cdef int g, i
        cdef Py_ssize_t k
        cdef TpeGroup *group
        cdef TpeModel made
        cdef double total = 0.0
        cdef double *units
        self.take_scratch()
        self.make_room()
        self.write(self.n, numbers)
        cdef bytearray room = bytearray(self.n_dims * sizeof(double))
        cdef double *point = <double *><char *>room
        units = self.units + self.n * self.n_dims
        for g in range(self.n_groups):
            group = self.groups + g
            if not self.has(group, units):
                continue
            for i in range(group.n_dims):
                point[i] = units[group.dims[i]]
            if self.multivariate:
                self.model(group.dims, group.n_dims, group, &made)
                total += self.ratio(group.dims, group.n_dims, &made, point)
                continue
            for i in range(group.n_dims):
                self.model(group.dims + i, 1, group, &made)
                total += self.ratio(group.dims + i, 1, &made, point + i)
        return total

    @property
    def n_finished(self):
        """Rows that were told and did not fail."""
        return self.n_done

    def __reduce__(self):
        cdef Py_ssize_t k
        cdef TpeTrial *trial
        ends = []
        for k in range(self.n_told):
            trial = self.trials + self.told[k]
            ends.append((self.told[k], trial.step, trial.loss, trial.state == TPE_FAILED))
        dropped = [k for k in range(self.n) if self.trials[k].state == TPE_DROPPED]
        units = PyBytes_FromStringAndSize(<char *>self.units, self.n * self.n_dims * sizeof(double))
        return restored_tpe, (*self.given, self.options, units, ends, dropped)

    def restore(self, bytes units, ends, dropped=()):
        """Take over the rows of another one with the same dimensions, as ``__reduce__`` wrote them."""
        cdef Py_ssize_t k, row, width = self.n_dims * sizeof(double)
        cdef double *theirs
        for row in range(len(units) // max(1, width)):
            self.make_room()
            theirs = self.units + row * self.n_dims
            memcpy(theirs, PyBytes_AS_STRING(units) + row * width, width)
            for k in range(self.n_dims):
                if theirs[k] == theirs[k] and not self.has_place(k, theirs[k]):
                    raise ValueError(f"row {row} is damaged: dimension {k} has no place {theirs[k]}")
            self.check_whole(theirs)
            self.append()
        for end in ends:
            self.tell(*end)
        for row in dropped:
            self.drop(row)


def restored_tpe(dims, seed, options, units, ends, dropped=()):
    """A ``Tpe`` that goes on where another was when it was pickled."""
    made = Tpe(dims, seed, **options)
    made.restore(units, ends, dropped)
    return made
