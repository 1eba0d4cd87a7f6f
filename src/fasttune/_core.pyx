# distutils: language = c
"""The compiled core: one extension, one room per file, lowest first.

Knows nothing above it: no files, no callbacks into user code, no random state that it was not given.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
)
from cpython.bool cimport PyBool_Check
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.contextvars cimport PyContextVar_New, PyContextVar_Set, get_value
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.mem cimport PyMem_Free
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject
from libc.errno cimport EBADF, ENOMEM, errno
from libc.math cimport INFINITY, NAN, fabs
from libc.stdio cimport _IOLBF, setvbuf, stdout
from libc.string cimport memcmp, memcpy, memmove, memset, strerror

import sys as _sys

if _sys.byteorder != "little":  # numbers in records are stored as they lie in memory
    raise ImportError("fasttune's records are little-endian, and this machine is not: it cannot read or write them")

include "_core/memory.pxi"     # where all C memory is from; what the other modules have, too,
include "_core/words.pxi"      # as these words
include "_core/queue.pxi"      # EventQueue: what is ready (FIFO) and what is timed (heap)
include "_core/ledger.pxi"     # Ledger: CPUs and GPUs in integer 1/10,000 units
include "_core/ring.pxi"       # Ring: single-writer single-reader records in shared memory
include "_core/rung.pxi"       # Rung: O(log n) cut-off of a growing set
include "_core/asha.pxi"       # Asha: the stopping rule, shared between processes
include "_core/reporter.pxi"   # Reporter: what report() writes, and the decision it brings back
include "_core/elsewhere.pxi"  # reports that are judged in another process than the one that makes them
include "_core/span.pxi"       # trials of a function, one after the other
include "_core/rows.pxi"       # RowReporter: trials that are evaluated together
include "_core/bits.pxi"       # BitTree: a set of trials that knows its next one at once
include "_core/columns.pxi"    # columns of reports in order, texts of many trials
include "_core/trial_rows.pxi" # a row of the table of trials
include "_core/table.pxi"      # TrialTable: trials as rows, folded from records
include "_core/reports.pxi"    # ReportColumns: all reports, when somebody asks for them
include "_core/foreign.pxi"    # frames of SQLite's log, for readers of any file
