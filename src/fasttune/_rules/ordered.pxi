# Ordered: a multiset of numbers that says how many of them are at most v, and which stand next to v.
#
# Up to FLAT numbers are one sorted array. Beyond, they lie in sorted chunks of at most CHUNK; a directory holds the
# smallest of each chunk, and a Fenwick tree (Fenwick 1994) over the chunks' sizes adds up those before one of them.
# Price: an insertion 40-120 ns from 10^2 to 10^6 numbers. A sorted array needs 79 us at 10^6; a balanced tree has its
# nodes all over memory, several times as many bytes, and rotations to get right.

cdef enum:
    FLAT = 512
    CHUNK = 512


cdef inline uint64_t places_up_to(const double *a, uint64_t n, double v) noexcept nogil:
    """How many of the sorted numbers are at most v."""
    cdef uint64_t low = 0, half
    while n > 0:
        half = n >> 1
        if a[low + half] <= v:
            low += half + 1
            n -= half + 1
        else:
            n = half
    return low


cdef inline void insert_at(double *a, uint64_t n, uint64_t i, double v) noexcept nogil:
    memmove(a + i + 1, a + i, (n - i) * sizeof(double))
    a[i] = v


cdef inline void delete_at(double *a, uint64_t n, uint64_t i) noexcept nogil:
    memmove(a + i, a + i + 1, (n - i - 1) * sizeof(double))


cdef void chunks_free(Chunks *c) noexcept nogil:
    cdef uint32_t j
    for j in range(c.n):
        ft_free(c.at[j])
    ft_free(c.at)
    ft_free(c.first)
    ft_free(c.size)
    ft_free(c.sums)
    ft_free(c)


cdef void ordered_free(Ordered *s) noexcept nogil:
    ft_free(s.flat)
    if s.chunks != NULL:
        chunks_free(s.chunks)
    memset(s, 0, sizeof(Ordered))


cdef void chunks_sum(Chunks *c) noexcept nogil:
    """Make the Fenwick tree anew: after a chunk came or went, so once in some hundred insertions."""
    cdef uint32_t j, up
    for j in range(c.n):
        c.sums[j + 1] = c.size[j]
    for j in range(1, c.n + 1):
        up = j + (j & (0 - j))
        if up <= c.n:
            c.sums[up] += c.sums[j]


cdef inline void chunks_count(Chunks *c, uint32_t j, int32_t change) noexcept nogil:
    c.size[j] += change
    check(c.size[j] <= CHUNK)
    j += 1
    while j <= c.n:
        c.sums[j] += change
        j += j & (0 - j)


cdef int chunks_grow(Chunks *c) noexcept nogil:
    """Room for one chunk more."""
    cdef uint32_t room = 2 * c.room if c.room else 8
    if c.n < c.room:
        return 0
    cdef void *at = ft_realloc(c.at, room * sizeof(double *))
    if at == NULL:
        return -1
    c.at = <double **>at
    at = ft_realloc(c.first, room * sizeof(double))
    if at == NULL:
        return -1
    c.first = <double *>at
    at = ft_realloc(c.size, room * sizeof(uint32_t))
    if at == NULL:
        return -1
    c.size = <uint32_t *>at
    at = ft_realloc(c.sums, (room + 1) * sizeof(uint32_t))
    if at == NULL:
        return -1
    c.sums = <uint32_t *>at
    c.room = room
    return 0


cdef int chunks_split(Chunks *c, uint32_t j) noexcept nogil:
    """The upper half of chunk j becomes a chunk of its own, behind it."""
    cdef uint32_t half = c.size[j] >> 1, tail = c.n - j - 1
    cdef double *upper
    if chunks_grow(c) != 0:
        return -1
    upper = <double *>ft_malloc(CHUNK * sizeof(double))
    if upper == NULL:
        return -1
    memcpy(upper, c.at[j] + half, (c.size[j] - half) * sizeof(double))
    memmove(c.at + j + 2, c.at + j + 1, tail * sizeof(double *))
    memmove(c.first + j + 2, c.first + j + 1, tail * sizeof(double))
    memmove(c.size + j + 2, c.size + j + 1, tail * sizeof(uint32_t))
    c.at[j + 1] = upper
    c.first[j + 1] = upper[0]
    c.size[j + 1] = c.size[j] - half
    c.size[j] = half
    c.n += 1
    chunks_sum(c)
    return 0


cdef int ordered_unfold(Ordered *s) noexcept nogil:
    """From one array to a directory of chunks; the array becomes the first of them."""
    cdef Chunks *c = <Chunks *>ft_calloc(1, sizeof(Chunks))
    if c == NULL:
        return -1
    if chunks_grow(c) != 0:
        chunks_free(c)
        return -1
    c.at[0] = s.flat
    c.first[0] = s.flat[0]
    c.size[0] = <uint32_t>s.n
    c.n = 1
    chunks_sum(c)
    s.flat = NULL
    s.room = 0
    s.chunks = c
    return 0


cdef inline uint32_t chunk_of(const Chunks *c, double v) noexcept nogil:
    """The last chunk that begins at or below v; the first, if none does."""
    check(c.n > 0)
    cdef uint64_t j = places_up_to(c.first, c.n, v)
    return <uint32_t>(j - 1) if j > 0 else 0


cdef int ordered_add(Ordered *s, double v) noexcept nogil:
    """Add v, which is not NaN. -1 when there is no memory."""
    cdef uint32_t j, room
    cdef void *grown
    check(v == v)
    if s.chunks == NULL and s.n == FLAT and ordered_unfold(s) != 0:
        return -1
    if s.chunks == NULL:
        if s.n == s.room:
            room = 2 * s.room if s.room else 2
            grown = ft_realloc(s.flat, room * sizeof(double))
            if grown == NULL:
                return -1
            s.flat = <double *>grown
            s.room = room
        insert_at(s.flat, s.n, places_up_to(s.flat, s.n, v), v)
        s.n += 1
        return 0
    j = chunk_of(s.chunks, v)
    if s.chunks.size[j] == CHUNK:
        if chunks_split(s.chunks, j) != 0:
            return -1
        j = chunk_of(s.chunks, v)
    insert_at(s.chunks.at[j], s.chunks.size[j], places_up_to(s.chunks.at[j], s.chunks.size[j], v), v)
    s.chunks.first[j] = s.chunks.at[j][0]
    chunks_count(s.chunks, j, 1)
    s.n += 1
    return 0


cdef void ordered_remove(Ordered *s, double v) noexcept nogil:
    """Take one v out; nothing happens if there is none."""
    cdef uint32_t j
    cdef uint64_t i
    cdef Chunks *c = s.chunks
    if c == NULL:
        i = places_up_to(s.flat, s.n, v)
        if i > 0 and s.flat[i - 1] == v:
            delete_at(s.flat, s.n, i - 1)
            s.n -= 1
        return
    if c.n == 0:
        return
    j = chunk_of(c, v)
    i = places_up_to(c.at[j], c.size[j], v)
    if i == 0 or c.at[j][i - 1] != v:
        return
    delete_at(c.at[j], c.size[j], i - 1)
    chunks_count(c, j, -1)
    s.n -= 1
    if c.size[j] > 0:
        c.first[j] = c.at[j][0]
        return
    if c.n == 1:
        s.flat = c.at[0]
        s.room = CHUNK
        c.n = 0
        chunks_close(s)
        return
    ft_free(c.at[j])
    memmove(c.at + j, c.at + j + 1, (c.n - j - 1) * sizeof(double *))
    memmove(c.first + j, c.first + j + 1, (c.n - j - 1) * sizeof(double))
    memmove(c.size + j, c.size + j + 1, (c.n - j - 1) * sizeof(uint32_t))
    c.n -= 1
    chunks_sum(c)


cdef void chunks_close(Ordered *s) noexcept nogil:
    """Back to one array, which the set has again already."""
    cdef double *flat = s.flat
    cdef uint32_t room = s.room
    s.flat = NULL
    ordered_free(s)
    s.flat = flat
    s.room = room


cdef uint64_t ordered_up_to(const Ordered *s, double v, double *below, double *above) noexcept nogil:
    """How many numbers are at most v. ``below`` is raised to the largest of them, ``above`` lowered to the smallest of
    the others."""
    cdef const Chunks *c = s.chunks
    cdef const double *a = s.flat
    cdef uint64_t n = s.n, before = 0, i
    cdef uint32_t j, k
    if n == 0:
        return 0
    if c != NULL:
        j = chunk_of(c, v)
        a = c.at[j]
        n = c.size[j]
        if j + 1 < c.n and c.first[j + 1] < above[0]:
            above[0] = c.first[j + 1]
        k = j
        while k > 0:
            before += c.sums[k]
            k &= k - 1
    i = places_up_to(a, n, v)
    if i > 0 and a[i - 1] > below[0]:
        below[0] = a[i - 1]
    if i < n and a[i] < above[0]:
        above[0] = a[i]
    return before + i


cdef int ordered_merge(Ordered *s, const Ordered *other) noexcept nogil:
    """Add all numbers of another set."""
    cdef uint64_t i
    cdef uint32_t j
    if other.chunks == NULL:
        for i in range(other.n):
            if ordered_add(s, other.flat[i]) != 0:
                return -1
        return 0
    for j in range(other.chunks.n):
        for i in range(other.chunks.size[j]):
            if ordered_add(s, other.chunks.at[j][i]) != 0:
                return -1
    return 0
