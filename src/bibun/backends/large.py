"""From which size on arrays are worked on by native kernels.

A backend function whose arrays are larger asks `native()`, and where that says yes calls the kernel's wrapper in
``bibun.native``; otherwise it goes on with NumPy, whose result is the reference for the kernel's.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

__all__ = ["BIG", "LARGE", "SOME", "kernels_of", "native", "one_loop", "ready"]

#: Multiplications from which a product of matrices is worth more than NumPy's call.
BIG = 1 << 18
#: Elements from which a native kernel is worth its call.
LARGE = 1 << 14
#: The same where NumPy needs much more for an element: numbers of places looked up, sorted or put.
SOME = 1 << 11


#: Whether `native` was asked and said yes: small work that would gain asks this, and loads nothing.
ready = [False]


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
    ready[0] = True
    return True


@cache
def kernels_of(name: str) -> Any:
    """A module under ``bibun.native``, which is loaded when it is first asked for. An import statement in a function, between two large
    products that have emptied the cache, costs several microseconds each time."""
    return import_module("..native." + name, __package__)


def one_loop(key: Any, expression: Any, arrays: Any, summed: bool = False, out: Any = None) -> Any:
    """``expression(xp, *elements)`` for every element of large arrays that are broadcast, or the sum of all that, by a native loop;
    NotImplemented where arrays are small or there is no such loop. ``key`` tells the expression from others; ``out`` is where the
    result goes, if that is given."""
    if arrays[0].size < LARGE or not native():
        return NotImplemented
    fuse = kernels_of("fuse")
    arrays = [a if a.__class__ is np.ndarray else np.asarray(a) for a in arrays]  # kernels take no NumPy scalars
    shape = arrays[0].shape
    for a in arrays:
        if a.shape != shape and a.ndim:
            shape = np.broadcast_shapes(*[a.shape for a in arrays])
            break
    try:
        return fuse.evaluate(key, expression, arrays, shape, "all" if summed else "", out=out)
    except TypeError:  # a key that has no hash
        return NotImplemented
