"""Native code without a compiler of C: kernels for large arrays, worker threads, memory that is used again, and BLAS.

No module of this package is imported by ``import bibun``; the first large array brings them in. Without llvmlite everything still works, on NumPy.
"""

import os
from typing import Any

#: The entries of elementwise operations by name, for formulas that use others: they are put here from above, as they are made.
formulas: dict[str, Any] = {}
#: How many threads the program has asked for; 0 where it has not.
wanted_threads = 0


def default_threads() -> int:
    """How many threads to use: what the program asked for, ``OMP_NUM_THREADS``, or the processors this process may run on."""
    try:
        said = wanted_threads or int(os.environ.get("OMP_NUM_THREADS", "0").split(",")[0])
    except ValueError:
        said = 0
    if said > 0:
        return said
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
