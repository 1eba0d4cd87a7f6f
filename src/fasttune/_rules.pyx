# distutils: language = c
"""The rules that the loop asks, compiled: one module, one room per file, lowest first. ASHA, which is decided where reports are made,
is in ``_core``.

Knows nothing above it, as ``_core``. ValueError, IndexError and MemoryError, as each class says.
"""

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport INFINITY, NAN, ceil, fabs, floor, fma, pow
from libc.string cimport memcpy, memmove, memset

include "_core/memory.pxi"      # where all C memory is from; what the other modules have, too,
include "_core/words.pxi"       # as these words
include "_rules/population.pxi" # Population: quantiles of scores that keep changing
include "_rules/hyperband.pxi"  # HyperBand: synchronous halving, bracket by bracket
include "_rules/ordered.pxi"    # Ordered: how many numbers are at most v, and its neighbours
include "_rules/timeline.pxi"   # Timeline: the same of the numbers that hold at a time
include "_rules/median.pxi"     # MedianRule: worse than the median of running means
include "_rules/promotion.pxi"  # Promotion: pause at rungs, promote the best
include "_rules/pasha.pxi"      # Pasha: promotion that opens rungs while ranks are not stable
