# All C memory of the compiled modules is taken here, and what they take for granted is checked by `check`.
#
# In a release these are PyMem_Raw*, by macros, and a check is nothing. In a debug build (`make debug`) a block has a head of
# 16 bytes, the blocks and bytes that live are counted, for the tests to see that all come back, and mistakes show: what is
# fresh, or was given back, is filled with a pattern, a block moves whenever its size changes, and one that is not ours, or
# comes back twice, ends the process, as a check that fails does.

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
    """
    const bint FT_DEBUG
    const int64_t ft_blocks, ft_bytes
    void check "ft_check" (bint holds) noexcept nogil
    void ft_count(int64_t blocks, int64_t bytes) noexcept nogil      # of memory that is not from here: mappings
    void *ft_malloc(size_t size) noexcept nogil
    void *ft_calloc(size_t n, size_t size) noexcept nogil
    void *ft_realloc(void *p, size_t size) noexcept nogil
    void ft_free(void *p) noexcept nogil


if FT_DEBUG:
    def _allocated():
        """(blocks, bytes) that live."""
        return ft_blocks, ft_bytes

    def _check(bint holds):
        """For tests: ends the process unless it ``holds``."""
        check(holds)
