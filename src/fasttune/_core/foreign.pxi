# What readers need of files that they may not write: the whole frames of SQLite's write-ahead log (SQLite itself would
# make an index beside it).
#
# A frame is 24 bytes of header, all big-endian (page, pages of the database after a commit or 0, two salts, two
# checksums), and a page. The checksums run on from frame to frame, over the first 8 bytes of the header and the page,
# as two sums over 32-bit words in the byte order that the log's magic number names: 8,192 frames take 15 ms.

cdef inline uint32_t ft_big32(const unsigned char *p) noexcept nogil:
    return <uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | <uint32_t>p[3]


cdef inline uint32_t ft_little32(const unsigned char *p) noexcept nogil:
    return <uint32_t>p[3] << 24 | <uint32_t>p[2] << 16 | <uint32_t>p[1] << 8 | <uint32_t>p[0]


cdef void wal_sum(const unsigned char *p, Py_ssize_t n, bint big, uint32_t *s) noexcept nogil:
    cdef uint32_t s0 = s[0], s1 = s[1]
    cdef Py_ssize_t i
    if big:
        for i in range(0, n, 8):
            s0 += ft_big32(p + i) + s1
            s1 += ft_big32(p + i + 4) + s0
    else:
        for i in range(0, n, 8):
            s0 += ft_little32(p + i) + s1
            s1 += ft_little32(p + i + 4) + s0
    s[0] = s0
    s[1] = s1


def wal_checksum(data, bint big, uint32_t s0=0, uint32_t s1=0):
    """The two sums over ``data``, whose length is a multiple of 8, going on from (s0, s1)."""
    cdef Numbers bytes_of = Numbers(data)
    cdef const unsigned char *view = bytes_of.at
    cdef uint32_t[2] s
    if bytes_of.n & 7:
        raise ValueError(f"a checksum of SQLite's log is over a multiple of 8 bytes, got {bytes_of.n}")
    s[0] = s0
    s[1] = s1
    if bytes_of.n:
        wal_sum(&view[0], bytes_of.n, big, s)
    return s[0], s[1]


def wal_frames(data, Py_ssize_t page_size, bint big, uint32_t salt0, uint32_t salt1, uint32_t s0, uint32_t s1):
    """([(page, pages of the database after this commit, or 0)], s0, s1) of the whole frames that ``data`` begins with."""
    cdef Numbers bytes_of = Numbers(data)
    cdef const unsigned char *view = bytes_of.at
    cdef Py_ssize_t at = 0, n = bytes_of.n, frame = page_size + 24
    cdef const unsigned char *p
    cdef uint32_t[2] s
    cdef list out = []
    if page_size < 512 or page_size & 7:
        raise ValueError(f"a page of a database cannot have {page_size} bytes")
    s[0] = s0
    s[1] = s1
    while n - at >= frame:
        p = &view[at]
        if ft_big32(p) == 0 or ft_big32(p + 8) != salt0 or ft_big32(p + 12) != salt1:
            break
        s0, s1 = s[0], s[1]
        wal_sum(p, 8, big, s)
        wal_sum(p + 24, page_size, big, s)
        if ft_big32(p + 16) != s[0] or ft_big32(p + 20) != s[1]:
            return out, s0, s1
        out.append((ft_big32(p), ft_big32(p + 4)))
        at += frame
    return out, s[0], s[1]


def overflow_run(data, Py_ssize_t page_size, Py_ssize_t usable, uint32_t number, Py_ssize_t left):
    """The rest of a row, as far as its pages follow each other: (content, next page, how many pages it was).

    ``data`` holds pages from page ``number`` on, each of which begins with the number of the next one; ``left`` bytes of
    the row are looked for. Reading a journal of 500 MB takes 0.56 s of CPU so, page by page in Python 0.71 s.
    """
    cdef Numbers bytes_of = Numbers(data)
    cdef const unsigned char *view = bytes_of.at
    cdef Py_ssize_t here = bytes_of.n // page_size, k = 0, at = 0, size
    cdef const unsigned char *page
    cdef uint32_t next_page = number
    cdef bytes content
    cdef char *to
    if page_size < 8 or usable < 8 or usable > page_size:
        raise ValueError(f"a page of {page_size} bytes cannot have {usable} usable ones")
    content = PyBytes_FromStringAndSize(NULL, max(0, min(left, here * (usable - 4))))
    to = PyBytes_AS_STRING(content)
    while k < here and left > 0 and next_page == number + k:
        page = &view[k * page_size]
        size = min(left, usable - 4)
        memcpy(to + at, page + 4, size)
        at += size
        left -= size
        next_page = ft_big32(page)
        k += 1
    return content if at == len(content) else content[:at], next_page, k
