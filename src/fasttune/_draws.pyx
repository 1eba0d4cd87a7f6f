# distutils: language = c
"""What is drawn, compiled: configs as a function of (seed, trial), and suggestions of TPE.

Knows nothing above it, as ``_core``, and no random state that it was not given.
"""

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.float cimport PyFloat_FromDouble
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_FromLongLong
from cpython.ref cimport Py_INCREF
from libc.math cimport INFINITY, NAN, ceil, erfc, exp, fabs, floor, log, log1p, rint, sqrt
from libc.string cimport memcpy, memmove, memset

include "_core/memory.pxi"      # where all C memory is from; what the other modules have, too,
include "_core/words.pxi"       # as these words
include "_draws/sampling.pxi"   # Sampler: config values as a pure function of (seed, trial index)
include "_draws/parzen.pxi"     # sums over kernels, the normal distribution, scales of dimensions
include "_draws/tpe.pxi"        # Tpe: suggestions from densities of good and of bad trials
include "_draws/quadratic.pxi"  # Quadratic: suggestions from a quadratic model around the best result
