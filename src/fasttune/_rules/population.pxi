# Population: who is among the best and the worst of a population whose scores keep changing, in O(log n).
#
# One search tree holds the trials that have a score, balanced by priorities that are a hash of the trial's number (a
# treap: Seidel and Aragon 1996), so that its form depends on what is in it and on nothing else. Each node counts what
# lies below it, which gives ranks and the trial of a rank on the way down. Rows are numbered by trial plus one; row 0
# stands for nothing.

cdef extern from "math.h":
    double ceil(double) noexcept nogil

NOT_DUE = 0
MIDDLE = 1
LOWER = 2
UPPER = 3

cdef enum:
    C_NOT_DUE = 0
    C_MIDDLE = 1
    C_LOWER = 2
    C_UPPER = 3


cdef inline bint ranks_below(const PopulationRow *rows, uint32_t a, uint32_t b) noexcept nogil:
    """Whether row a is worse than row b; of equal scores the one that came later is worse."""
    if rows[a].score != rows[b].score:
        return rows[a].score < rows[b].score
    return rows[a].order > rows[b].order


cdef inline void count_below(PopulationRow *rows, uint32_t x) noexcept nogil:
    rows[x].size = rows[rows[x].left].size + rows[rows[x].right].size + 1


cdef void split_at(PopulationRow *rows, uint32_t x, uint32_t at, uint32_t *low, uint32_t *high) noexcept nogil:
    """Part the tree x into what ranks below row ``at`` and the rest."""
    if x == 0:
        low[0] = 0
        high[0] = 0
    elif ranks_below(rows, x, at):
        split_at(rows, rows[x].right, at, &rows[x].right, high)
        low[0] = x
        count_below(rows, x)
    else:
        split_at(rows, rows[x].left, at, low, &rows[x].left)
        high[0] = x
        count_below(rows, x)


cdef uint32_t join(PopulationRow *rows, uint32_t low, uint32_t high) noexcept nogil:
    """One tree of two, all of ``low`` ranking below all of ``high``."""
    if low == 0:
        return high
    if high == 0:
        return low
    if mix64(low) > mix64(high):
        rows[low].right = join(rows, rows[low].right, high)
        count_below(rows, low)
        return low
    rows[high].left = join(rows, low, rows[high].left)
    count_below(rows, high)
    return high


cdef class Population:
    """The quantiles of population based training (Jaderberg et al. 2017, section 4), kept while scores change.

    Of n trials with a score, k = ceil(n * quantile_fraction) are the lower and as many the upper quantile; when k is
    more than half of them it is floor(n / 2), and a single trial is in neither. Of equal scores the one that was
    reported later ranks lower, so that trials in lock step still exploit each other. A score that is NaN has no rank.

    A trial is due when its time is at least ``burn_in`` and ``perturbation_interval`` past its last perturbation (0
    at first). Times are in any unit.
    """

    def __cinit__(self, double quantile_fraction, double perturbation_interval, double burn_in=0.0, bint maximise=True):
        if not 0.0 <= quantile_fraction <= 0.5:
            raise ValueError(f"quantile_fraction must be from 0 to 0.5, got {quantile_fraction}")
        if not perturbation_interval > 0.0:
            raise ValueError(f"perturbation_interval must be > 0, got {perturbation_interval}")
        self.quantile_fraction = quantile_fraction
        self.perturbation_interval = perturbation_interval
        self.burn_in = burn_in
        self.sign = 1.0 if maximise else -1.0
        self.reserve(64)

    def __dealloc__(self):
        ft_free(self.rows)

    def __len__(self):
        return self.rows[self.root].size

    cdef int reserve(self, int64_t trials) except -1:
        """Room for the trials 0 .. trials - 1."""
        if trials < self.room:
            return 0
        if trials >= 0xFFFFFFFF:
            raise OverflowError(f"a population has room for trials up to number {0xFFFFFFFE}, got {trials - 1}")
        cdef uint64_t room = max(2 * <uint64_t>self.room, <uint64_t>trials + 1)
        cdef PopulationRow *rows = <PopulationRow *>ft_realloc(self.rows, room * sizeof(PopulationRow))
        if rows == NULL:
            raise MemoryError()
        memset(rows + self.room, 0, (room - self.room) * sizeof(PopulationRow))
        self.rows = rows
        self.room = room
        return 0

    cdef uint32_t row_of(self, int64_t trial) except 0:
        if trial < 0:
            raise ValueError(f"a trial's number must be >= 0, got {trial}")
        self.reserve(trial + 1)
        return <uint32_t>trial + 1

    cdef void insert(self, uint32_t me) noexcept nogil:
        cdef PopulationRow *rows = self.rows
        cdef uint32_t *link = &self.root
        cdef uint64_t priority = mix64(me)
        while link[0] != 0 and mix64(link[0]) >= priority:
            rows[link[0]].size += 1
            link = &rows[link[0]].right if ranks_below(rows, link[0], me) else &rows[link[0]].left
        split_at(rows, link[0], me, &rows[me].left, &rows[me].right)
        link[0] = me
        count_below(rows, me)

    cdef void remove(self, uint32_t me) noexcept nogil:
        cdef PopulationRow *rows = self.rows
        cdef uint32_t *link = &self.root
        if rows[me].size == 0:
            return
        while link[0] != me:
            check(link[0] != 0)
            rows[link[0]].size -= 1
            link = &rows[link[0]].right if ranks_below(rows, link[0], me) else &rows[link[0]].left
        link[0] = join(rows, rows[me].left, rows[me].right)
        rows[me].left = rows[me].right = rows[me].size = 0

    cdef uint32_t rank_of(self, uint32_t me) noexcept nogil:
        """How many rank below a row that is in the tree."""
        cdef PopulationRow *rows = self.rows
        cdef uint32_t x = self.root, below = 0
        while x != me:
            check(x != 0)
            if ranks_below(rows, x, me):
                below += rows[rows[x].left].size + 1
                x = rows[x].right
            else:
                x = rows[x].left
        return below + rows[rows[me].left].size

    cdef uint32_t row_at(self, uint32_t rank) noexcept nogil:
        cdef PopulationRow *rows = self.rows
        cdef uint32_t x = self.root, left
        check(rank < rows[x].size)
        while True:
            left = rows[rows[x].left].size
            if rank == left:
                return x
            if rank < left:
                x = rows[x].left
            else:
                rank -= left + 1
                x = rows[x].right

    cdef uint32_t quantile(self) noexcept nogil:
        """Size of each quantile now."""
        cdef uint32_t n = self.rows[self.root].size
        cdef uint32_t k = <uint32_t>ceil(n * self.quantile_fraction)
        if n <= 1:
            return 0
        return n // 2 if 2 * k > n else k

    cdef bint reach_row(self, uint32_t me, double t, double value) noexcept nogil:
        cdef PopulationRow *row = &self.rows[me]
        if not (t >= self.burn_in and t - row.perturbed >= self.perturbation_interval):
            return False
        self.remove(me)
        row.trained = t
        row.score = self.sign * value
        self.arrivals += 1
        row.order = self.arrivals
        if value == value:
            self.insert(me)
        return True

    cdef int settle_row(self, uint32_t me, double t) noexcept nogil:
        cdef int place = self.place_of(me)
        self.rows[me].perturbed = t
        self.rows[me].was_upper = place == C_UPPER
        return place

    cdef int place_of(self, uint32_t me) noexcept nogil:
        cdef uint32_t k = self.quantile(), rank
        if k == 0 or self.rows[me].size == 0:
            return C_MIDDLE
        rank = self.rank_of(me)
        if rank < k:
            return C_LOWER
        return C_UPPER if rank >= self.rows[self.root].size - k else C_MIDDLE

    # -- decisions ----------------------------------------------------------------------------------------------------

    def judge(self, int64_t trial, double t, double value):
        """NOT_DUE, and nothing is kept; or the trial's score and time are, and it is LOWER, MIDDLE or UPPER."""
        cdef uint32_t me = self.row_of(trial)
        if not self.reach_row(me, t, value):
            return C_NOT_DUE
        return self.settle_row(me, t)

    def decide(self, trials, times, values, decisions):
        """:meth:`judge` for one report after the other, without the GIL."""
        cdef Batch batch = Batch(trials, times, values, decisions)
        cdef Py_ssize_t i
        cdef uint32_t me
        self.reserve(batch.highest + 1)
        with nogil:
            for i in range(batch.n):
                me = <uint32_t>batch.trials[i] + 1
                batch.decisions[i] = C_NOT_DUE
                if self.reach_row(me, batch.times[i], batch.values[i]):
                    batch.decisions[i] = <signed char>self.settle_row(me, batch.times[i])

    def reach(self, int64_t trial, double t, double value):
        """Keep the score and time of a trial that is due. Whether it was; :meth:`settle` decides, now or later."""
        return self.reach_row(self.row_of(trial), t, value)

    def settle(self, int64_t trial, double t):
        """Decide on what is known now: LOWER, MIDDLE or UPPER. The trial counts as perturbed at ``t``."""
        return self.settle_row(self.row_of(trial), t)

    def take_over(self, int64_t trial, int64_t donor):
        """The trial goes on where the donor was: it has the donor's times. Its score stays until its next one."""
        cdef uint32_t me = self.row_of(trial), other = self.row_of(donor)
        self.rows[me].perturbed = self.rows[other].perturbed
        self.rows[me].trained = self.rows[other].trained

    def forget(self, int64_t trial):
        """The trial is over, or begins anew: nothing is known of it."""
        cdef uint32_t me = self.row_of(trial)
        self.remove(me)
        memset(&self.rows[me], 0, sizeof(PopulationRow))

    # -- what is known ------------------------------------------------------------------------------------------------

    @property
    def quantile_size(self):
        return self.quantile()

    def place(self, int64_t trial):
        """LOWER, MIDDLE or UPPER, by the scores known now."""
        return self.place_of(self.row_of(trial))

    def rank(self, int64_t trial):
        """How many trials rank below it; -1 when it has no rank."""
        cdef uint32_t me = self.row_of(trial)
        return self.rank_of(me) if self.rows[me].size else -1

    def at(self, int64_t rank):
        """The trial of a rank, 0 the worst. IndexError when there is none."""
        if not 0 <= rank < self.rows[self.root].size:
            raise IndexError(f"rank must be from 0 to {<int64_t>self.rows[self.root].size - 1}, got {rank}")
        return <int64_t>self.row_at(<uint32_t>rank) - 1

    def was_upper(self, int64_t trial):
        """Whether the trial was in the upper quantile when it was last decided."""
        return self.rows[self.row_of(trial)].was_upper != 0

    def trained(self, int64_t trial):
        """Time of the trial's last score, 0 before it."""
        return self.rows[self.row_of(trial)].trained

    def due(self, int64_t trial):
        """The earliest time at which the trial is decided next."""
        return max(self.burn_in, self.rows[self.row_of(trial)].perturbed + self.perturbation_interval)
