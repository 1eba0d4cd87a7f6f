# distutils: language = c
"""The compiled core: one extension, one room per file, lowest first.

Knows nothing above it: no files, no callbacks into user code, no random state that it was not given.
"""

include "_core/queue.pxi"      # EventQueue: what is ready (FIFO) and what is timed (heap)
include "_core/ledger.pxi"     # Ledger: CPUs and GPUs in integer 1/10,000 units
include "_core/sampling.pxi"   # Sampler: config values as a pure function of (seed, trial index)
include "_core/ring.pxi"       # Ring: single-writer single-reader records in shared memory
include "_core/rung.pxi"       # Rung: O(log n) cut-off of a growing set
include "_core/asha.pxi"       # Asha: the stopping rule, shared between processes
include "_core/reporter.pxi"   # Reporter: what report() writes, and the decision it brings back
include "_core/table.pxi"      # TrialTable: trials as rows, folded from records
