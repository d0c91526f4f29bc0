"""From which size on arrays are worked on by native kernels.

A backend function whose arrays are larger asks `native()`, and where that says yes calls the kernel's wrapper in
``bibun.native``; otherwise it goes on with NumPy, whose result is the reference for the kernel's.
"""

from __future__ import annotations

from functools import cache

__all__ = ["BIG", "LARGE", "native"]

#: Multiplications from which a product of matrices is worth more than NumPy's call.
BIG = 1 << 18
#: Elements from which a native kernel is worth its call.
LARGE = 1 << 14


@cache
def native() -> bool:
    """Whether there are native kernels; the first call looks for LLVM, starts the worker threads and has large blocks of memory kept."""
    try:
        from ..native.kernel import usable
    except ImportError:
        return False
    if not usable():
        return False
    from ..native.memory import install

    install()
    return True
