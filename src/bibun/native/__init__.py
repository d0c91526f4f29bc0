"""Native code without a compiler of C: kernels for large arrays, worker threads, memory that is used again, and BLAS.

No module of this package is imported by ``import bibun``; the first large array brings them in. Without llvmlite everything still works, on NumPy.
"""

from typing import Any

#: The entries of elementwise operations by name, for formulas that use others: they are put here from above, as they are made.
formulas: dict[str, Any] = {}
