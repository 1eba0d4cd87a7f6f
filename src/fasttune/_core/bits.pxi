# BitTree: a set of whole numbers that finds its next member in a few steps.
#
# Level 0 has a bit per number, each level above a bit per word of the one below, so a million trials are four levels and
# the next trial of a status costs four look-ups wherever it is; scanning a table of 100,000 rows for it cost 100 us.

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    static inline int ft_lowest_bit(unsigned long long word) { return __builtin_ctzll(word); }
    """
    int ft_lowest_bit(unsigned long long word) noexcept nogil


cdef int bits_reserve(BitTree *tree, Py_ssize_t n) except -1:
    """Room for the numbers below n; those that are in stay in. n is at most 64 ** 6."""
    cdef Py_ssize_t room = 64, old = tree.room, at, words, had
    cdef int depth = 1, level
    cdef uint64_t *grown
    if n <= old:
        return 0
    while room < n:
        room *= 64
        depth += 1
    for level in range(depth):
        words = ((n - 1) >> (6 * (level + 1))) + 1
        had = 0
        if level < tree.depth:
            had = ((old - 1) >> (6 * (level + 1))) + 1
        grown = <uint64_t *>ft_realloc(tree.levels[level], words * sizeof(uint64_t))
        if grown == NULL:
            raise MemoryError()
        tree.levels[level] = grown
        memset(grown + had, 0, (words - had) * sizeof(uint64_t))
        if level >= tree.depth and level > 0:         # a new top: it knows the one word that was the top before
            if tree.levels[level - 1][0]:
                grown[0] = 1
    tree.depth = depth
    tree.room = n
    return 0


cdef int bits_copy(BitTree *tree, const BitTree *other) except -1:
    """Make an empty set hold what another one holds."""
    cdef int level
    bits_reserve(tree, other.room)
    for level in range(other.depth):
        memcpy(tree.levels[level], other.levels[level], (((other.room - 1) >> (6 * (level + 1))) + 1) * sizeof(uint64_t))
    return 0


cdef bint bits_has(const BitTree *tree, Py_ssize_t i) noexcept nogil:
    check(0 <= i)
    return i < tree.room and tree.levels[0][i >> 6] >> (i & 63) & 1


cdef void bits_free(BitTree *tree) noexcept:
    cdef int level
    for level in range(tree.depth):
        ft_free(tree.levels[level])
    tree.depth = 0
    tree.room = 0


cdef void bits_add(BitTree *tree, Py_ssize_t i) noexcept nogil:
    cdef int level
    cdef uint64_t *word
    cdef uint64_t before
    check(0 <= i)
    check(i < tree.room)
    for level in range(tree.depth):
        word = &tree.levels[level][i >> 6]
        before = word[0]
        word[0] = before | <uint64_t>1 << (i & 63)
        if before:
            return
        i >>= 6


cdef void bits_drop(BitTree *tree, Py_ssize_t i) noexcept nogil:
    cdef int level
    cdef uint64_t *word
    check(0 <= i)
    check(i < tree.room)
    for level in range(tree.depth):
        word = &tree.levels[level][i >> 6]
        word[0] &= ~(<uint64_t>1 << (i & 63))
        if word[0]:
            return
        i >>= 6


cdef inline uint64_t bits_within(Py_ssize_t at, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """The bits of word ``at`` that stand for numbers from first to last."""
    cdef uint64_t word = <uint64_t>0xFFFFFFFFFFFFFFFF
    if at == first >> 6:
        word &= <uint64_t>0xFFFFFFFFFFFFFFFF << (first & 63)
    if at == last >> 6:
        word &= <uint64_t>0xFFFFFFFFFFFFFFFF >> (63 - (last & 63))
    return word


cdef void bits_add_all(BitTree *tree, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """The n > 0 numbers from ``first`` on."""
    cdef int level
    cdef Py_ssize_t at, last = first + n - 1
    check(0 <= first)
    check(last < tree.room)
    for level in range(tree.depth):
        for at in range(first >> 6, (last >> 6) + 1):
            tree.levels[level][at] |= bits_within(at, first, last)
        first >>= 6
        last >>= 6


cdef void bits_drop_all(BitTree *tree, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """The n > 0 numbers from ``first`` on."""
    cdef int level
    cdef Py_ssize_t at, last = first + n - 1
    check(0 <= first)
    check(last < tree.room)
    for at in range(first >> 6, (last >> 6) + 1):
        tree.levels[0][at] &= ~bits_within(at, first, last)
    for level in range(1, tree.depth):                # a bit goes whose word below is empty now
        first >>= 6
        last >>= 6
        for at in range(first, last + 1):
            if tree.levels[level - 1][at] == 0:
                tree.levels[level][at >> 6] &= ~(<uint64_t>1 << (at & 63))


cdef bint bits_have_all(const BitTree *tree, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Whether all of the n > 0 numbers from ``first`` on are in."""
    cdef Py_ssize_t at, last = first + n - 1
    cdef uint64_t wanted
    for at in range(first >> 6, (last >> 6) + 1):
        wanted = bits_within(at, first, last)
        if tree.levels[0][at] & wanted != wanted:
            return False
    return True


cdef Py_ssize_t bits_next(const BitTree *tree, Py_ssize_t i) noexcept nogil:
    """The smallest member >= i, or -1."""
    cdef int level = 0
    cdef uint64_t word
    if i < 0:
        i = 0
    # up, until a word has a member at or behind our place
    while True:
        if level >= tree.depth or (i >> 6) > ((tree.room - 1) >> (6 * (level + 1))):
            return -1
        word = tree.levels[level][i >> 6] & (<uint64_t>0xFFFFFFFFFFFFFFFF << (i & 63))
        if word:
            break
        i = (i >> 6) + 1
        level += 1
    i = (i >> 6 << 6) + ft_lowest_bit(word)
    # and down to the first member below it
    while level > 0:
        level -= 1
        i = (i << 6) + ft_lowest_bit(tree.levels[level][i])
    return i
