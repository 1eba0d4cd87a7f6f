# All C memory of the compiled modules is taken here, and what they take for granted is checked by `check`.
#
# In a release these are PyMem_Raw*, by macros, and a check is nothing. In a debug build (`make debug`) a block has a head of
# 16 bytes, the blocks and bytes that live are counted, for the tests to see that all come back, and mistakes show: what is
# fresh, or was given back, is filled with a pattern, a block moves whenever its size changes, and one that is not ours, or
# comes back twice, ends the process, as a check that fails does.
#
# Arrays that grow to many megabytes (`ft_resize`, `ft_release`) have a mapping of their own in a release on Linux: what they hold
# moves with its pages, which are of 2 MB where the system has such, and is never copied. Price of a row of the table of trials,
# from the system's hands to its first use: 85 ns where realloc took 240 (`benchmarks/bench_vectors.py -k announce`).

cdef extern from *:
    """
    #ifdef FASTTUNE_DEBUG
    #ifdef NDEBUG
    #error "a debug build is one with assertions: -UNDEBUG must come behind Python's own flags"
    #endif
    #include <assert.h>
    #include <stdint.h>
    #include <string.h>
    #define FT_DEBUG 1
    #define ft_check(holds) assert(holds)
    typedef struct { uint64_t size, state; } ft_block;
    #define FT_LIVES 0x6576696c65766966ULL
    #define FT_GONE 0x656e6f67656e6f67ULL
    static int64_t ft_blocks, ft_bytes;
    static void ft_count(int64_t blocks, int64_t bytes) {
        __atomic_add_fetch(&ft_blocks, blocks, __ATOMIC_RELAXED);
        __atomic_add_fetch(&ft_bytes, bytes, __ATOMIC_RELAXED);
    }
    static void *ft_filled(size_t size, int with) {
        ft_block *block = size > PY_SSIZE_T_MAX - sizeof(ft_block) ? NULL : PyMem_RawMalloc(sizeof(ft_block) + size);
        if (block == NULL) return NULL;
        block->size = size;
        block->state = FT_LIVES;
        ft_count(1, (int64_t)size);
        return memset(block + 1, with, size);
    }
    static void *ft_malloc(size_t size) { return ft_filled(size, 0xcb); }
    static void *ft_calloc(size_t n, size_t size) {
        return size != 0 && n > PY_SSIZE_T_MAX / size ? NULL : ft_filled(n * size, 0);
    }
    static void ft_free(void *p) {
        ft_block *block;
        if (p == NULL) return;
        block = (ft_block *)p - 1;
        assert(block->state == FT_LIVES);
        block->state = FT_GONE;
        ft_count(-1, -(int64_t)block->size);
        memset(p, 0xdb, block->size);
        PyMem_RawFree(block);
    }
    static void *ft_realloc(void *p, size_t size) {
        ft_block *block;
        void *moved = ft_malloc(size);
        if (moved == NULL || p == NULL) return moved;
        block = (ft_block *)p - 1;
        assert(block->state == FT_LIVES);
        memcpy(moved, p, size < block->size ? size : block->size);
        ft_free(p);
        return moved;
    }
    #else
    #define FT_DEBUG 0
    #define ft_check(holds) ((void)0)
    #define ft_blocks 0
    #define ft_bytes 0
    #define ft_count(blocks, bytes) ((void)0)
    #define ft_malloc PyMem_RawMalloc
    #define ft_calloc PyMem_RawCalloc
    #define ft_realloc PyMem_RawRealloc
    #define ft_free PyMem_RawFree
    #endif

    #if defined(__linux__) && !FT_DEBUG
    #include <stdint.h>
    #include <string.h>
    #include <sys/mman.h>
    #define FT_PAGE ((size_t)1 << 21)
    #define FT_LARGE (2 * FT_PAGE)
    static inline size_t ft_paged(size_t size) { return (size + FT_PAGE - 1) & ~(FT_PAGE - 1); }
    static inline void ft_release(void *p, size_t size) {
        if (size < FT_LARGE) ft_free(p);
        else munmap(p, ft_paged(size));
    }
    static inline void *ft_resize(void *p, size_t had, size_t size) {
        size_t room = ft_paged(size);
        char *found, *begin;
        if (size < FT_LARGE) return ft_realloc(p, size);
        found = (char *)mmap(NULL, room + FT_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (found == (char *)MAP_FAILED) return NULL;
        begin = (char *)ft_paged((size_t)found);
        if (begin > found) munmap(found, begin - found);
        if (begin < found + FT_PAGE) munmap(begin + room, found + FT_PAGE - begin);
    #ifdef MADV_HUGEPAGE
        madvise(begin, room, MADV_HUGEPAGE);
    #endif
        if (had >= FT_LARGE) {
            if (mremap(p, ft_paged(had), ft_paged(had), MREMAP_MAYMOVE | MREMAP_FIXED, begin) != (void *)begin) {
                memcpy(begin, p, had);
                munmap(p, ft_paged(had));
            }
        } else if (p != NULL) {
            memcpy(begin, p, had);
            ft_free(p);
        }
        return begin;
    }
    #define ft_is_fresh(size) ((size) >= FT_LARGE)
    #else
    #include <string.h>
    #define ft_release(p, size) ft_free(p)
    #define ft_resize(p, had, size) ft_realloc(p, size)
    #define ft_is_fresh(size) 0
    #endif

    /* As ft_resize, for what is zero where nobody has written yet: a mapping is by itself, and takes pages only where it is. */
    static inline void *ft_resize_zeros(void *p, size_t had, size_t size) {
        char *grown = (char *)ft_resize(p, had, size);
        if (grown != NULL && !ft_is_fresh(size)) memset(grown + had, 0, size - had);
        return grown;
    }
    """
    const bint FT_DEBUG
    const int64_t ft_blocks, ft_bytes
    void check "ft_check" (bint holds) noexcept nogil
    void ft_count(int64_t blocks, int64_t bytes) noexcept nogil      # of memory that is not from here: mappings
    void *ft_malloc(size_t size) noexcept nogil
    void *ft_calloc(size_t n, size_t size) noexcept nogil
    void *ft_realloc(void *p, size_t size) noexcept nogil
    void ft_free(void *p) noexcept nogil
    void *ft_resize(void *p, size_t had, size_t size) noexcept nogil
    void *ft_resize_zeros(void *p, size_t had, size_t size) noexcept nogil
    void ft_release(void *p, size_t size) noexcept nogil


if FT_DEBUG:
    def _allocated():
        """(blocks, bytes) that live."""
        return ft_blocks, ft_bytes

    def _check(bint holds):
        """For tests: ends the process unless it ``holds``."""
        check(holds)
