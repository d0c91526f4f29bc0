"""From which size on arrays are worked on by native kernels.

A backend function whose arrays are larger asks `native()`, and where that says yes calls the kernel's wrapper in
``bibun.native``; otherwise it goes on with NumPy, whose result is the reference for the kernel's.
"""

from __future__ import annotations

from functools import cache

__all__ = ["LARGE", "native"]

#: Elements from which a native kernel is worth its call.
LARGE = 1 << 14


@cache
def native() -> bool:
    """Whether there are native kernels; the first call looks for LLVM and starts the worker threads."""
    try:
        from ..native.kernel import usable
    except ImportError:
        return False
    return usable()
