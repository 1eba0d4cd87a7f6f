# What several of the compiled modules say alike.

cdef enum:
    MAX_RUNGS = 64


cdef inline uint64_t mix64(uint64_t x) noexcept nogil:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a good hash of one integer."""
    x += <uint64_t>0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)
