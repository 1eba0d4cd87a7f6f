# Timeline: numbers that hold over stretches of time; how many of those that hold at t are at most v?
#
# Times are doubles mapped to integers in the same order, so that "just after t" is the next integer and a stretch is
# the integers first .. last. A binary tree halves the integers. A stretch is kept at the largest blocks that it covers
# as a whole; at its two ends, in the leaves that it covers in part. A leaf keeps up to LEAF different stretches, and
# equal ones as one set, so trials that report at the same steps share leaves that never split. A question walks from
# the root to one leaf: O(log) sets of O(log n) each. Never more than 64 levels.

cdef enum:
    LEAF = 24


cdef inline uint64_t moment(double t) noexcept nogil:
    """The double as an integer of the same order. t is not NaN."""
    cdef uint64_t bits
    t += 0.0                                    # -0.0 is 0.0
    memcpy(&bits, &t, sizeof(double))
    if bits >> 63:
        return ~bits
    return bits | (<uint64_t>1 << 63)


cdef void timeline_free(Timeline *s) noexcept nogil:
    cdef uint32_t i, k
    for i in range(s.n):
        ordered_free(&s.blocks[i].cover)
        for k in range(s.blocks[i].n):
            ordered_free(&s.blocks[i].stretches[k].values)
        ft_free(s.blocks[i].stretches)
    ft_free(s.blocks)
    memset(s, 0, sizeof(Timeline))


cdef int timeline_grow(Timeline *s, uint32_t more) noexcept nogil:
    cdef uint32_t room
    cdef void *grown
    if s.n + more > s.room:
        room = 2 * s.room if s.room else 16
        grown = ft_realloc(s.blocks, room * sizeof(Block))
        if grown == NULL:
            return -1
        s.blocks = <Block *>grown
        s.room = room
    return 0


cdef uint32_t timeline_block(Timeline *s, uint64_t low, int bits) noexcept nogil:
    """A new, empty leaf; there is room for it."""
    cdef Block *block = s.blocks + s.n
    check(s.n < s.room)
    memset(block, 0, sizeof(Block))
    block.low = low
    block.high = low + ((<uint64_t>1 << bits) - 1) if bits < 64 else <uint64_t>0xFFFFFFFFFFFFFFFF
    block.bits = bits
    s.n += 1
    return s.n - 1


cdef Stretch *stretch_of(Block *block, uint64_t first, uint64_t last) noexcept nogil:
    """The leaf's stretch of these ends, made if it is not there. NULL when there is no memory."""
    cdef uint32_t k, room
    cdef void *grown
    for k in range(block.n):
        if block.stretches[k].first == first and block.stretches[k].last == last:
            return block.stretches + k
    if block.n == block.room:
        room = 2 * block.room if block.room else 4
        grown = ft_realloc(block.stretches, room * sizeof(Stretch))
        if grown == NULL:
            return NULL
        block.stretches = <Stretch *>grown
        block.room = room
    memset(block.stretches + block.n, 0, sizeof(Stretch))
    block.stretches[block.n].first = first
    block.stretches[block.n].last = last
    block.n += 1
    return block.stretches + block.n - 1


cdef int hand_down(Block *block, Stretch *stretch, bint keep) noexcept nogil:
    """Give a half of a split leaf what holds in it; the values move, unless the other half needs them too."""
    cdef Ordered *into
    cdef Stretch *found
    if stretch.first <= block.low and block.high <= stretch.last:
        into = &block.cover
    else:
        found = stretch_of(block, stretch.first, stretch.last)
        if found == NULL:
            return -1
        into = &found.values
    if into.n == 0 and not keep:
        ordered_free(into)
        into[0] = stretch.values
        memset(&stretch.values, 0, sizeof(Ordered))
        return 0
    return ordered_merge(into, &stretch.values)


cdef int timeline_split(Timeline *s, uint32_t at) noexcept nogil:
    """A leaf that is too full becomes a block with two halves."""
    cdef uint32_t left, right, k
    cdef uint64_t middle
    cdef Stretch *one
    cdef bint low, high
    if timeline_grow(s, 2) != 0:
        return -1
    middle = s.blocks[at].low + (<uint64_t>1 << (s.blocks[at].bits - 1))
    left = timeline_block(s, s.blocks[at].low, s.blocks[at].bits - 1)
    right = timeline_block(s, middle, s.blocks[at].bits - 1)
    for k in range(s.blocks[at].n):
        one = s.blocks[at].stretches + k
        low = one.first < middle
        high = one.last >= middle
        if low and hand_down(s.blocks + left, one, high) != 0:
            return -1
        if high and hand_down(s.blocks + right, one, False) != 0:
            return -1
        ordered_free(&one.values)
    ft_free(s.blocks[at].stretches)
    s.blocks[at].stretches = NULL
    s.blocks[at].n = s.blocks[at].room = 0
    s.blocks[at].left = left
    s.blocks[at].right = right
    for k in range(left, right + 1):
        if s.blocks[k].n > LEAF and s.blocks[k].bits > 0 and timeline_split(s, k) != 0:
            return -1
    return 0


cdef int change_in(Timeline *s, uint32_t at, uint64_t first, uint64_t last, double v, bint add) noexcept nogil:
    cdef Block *block = s.blocks + at
    cdef Stretch *one
    cdef uint32_t left = block.left, right = block.right
    if first <= block.low and block.high <= last:
        if add:
            return ordered_add(&block.cover, v)
        ordered_remove(&block.cover, v)
        return 0
    if left:
        if first <= s.blocks[left].high and change_in(s, left, first, last, v, add) != 0:
            return -1
        if last >= s.blocks[right].low:
            return change_in(s, right, first, last, v, add)
        return 0
    one = stretch_of(block, first, last)
    if one == NULL:
        return -1
    if not add:
        ordered_remove(&one.values, v)
        if one.values.n == 0:                   # the last one takes its place
            ordered_free(&one.values)
            block.n -= 1
            one[0] = block.stretches[block.n]
        return 0
    if ordered_add(&one.values, v) != 0:
        return -1
    return timeline_split(s, at) if block.n > LEAF else 0


cdef int timeline_change(Timeline *s, uint64_t first, uint64_t last, double v, bint add) noexcept nogil:
    """v holds from ``first`` to ``last``, both included; or, if not ``add``, does not any more. -1: no memory."""
    if s.n == 0:
        if timeline_grow(s, 1) != 0:
            return -1
        timeline_block(s, 0, 64)
    return change_in(s, 0, first, last, v, add)


cdef uint64_t timeline_up_to(const Timeline *s, uint64_t t, double v, uint64_t *holding, double *below,
                             double *above) noexcept nogil:
    """How many of the ``holding`` numbers that hold at t are at most v; their neighbours as in ``ordered_up_to``."""
    cdef uint64_t n = 0
    cdef uint32_t at = 0, k
    cdef const Block *block
    cdef const Stretch *one
    holding[0] = 0
    below[0] = -INFINITY
    above[0] = INFINITY
    if s.n == 0:
        return 0
    while True:
        block = s.blocks + at
        holding[0] += block.cover.n
        n += ordered_up_to(&block.cover, v, below, above)
        if not block.left:
            break
        at = block.right if t >= s.blocks[block.right].low else block.left
    for k in range(block.n):
        one = block.stretches + k
        if one.first <= t <= one.last:
            holding[0] += one.values.n
            n += ordered_up_to(&one.values, v, below, above)
    return n
