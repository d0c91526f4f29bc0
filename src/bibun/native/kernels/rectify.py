"""max(x, 0) of large arrays, and its gradient.

In: C-contiguous arrays of float32 or float64, of equal size. Out: new arrays; NotImplemented for anything else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import build
from ..kernel import kernel
from ..lang import Ptr, T, Vec, first_lanes, i64, load, load_where, select, store, store_where, void

__all__ = ["rectified", "rectified_gradient"]

_KINDS = (np.dtype(np.float32), np.dtype(np.float64))
#: Elements that a thread takes at a time.
CHUNK = 1 << 15


@kernel(explicit=True)
def _rectified(value: Ptr[T], result: Ptr[T], out: Ptr[T], W, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    """``value`` where ``result`` is not ``<= 0``, else 0."""
    for i in range(begin, end, W):
        if i + W <= end:
            store(out + i, select(load(result + i, Vec[T, W]) <= 0, 0, load(value + i, Vec[T, W])))
        else:
            rest = first_lanes(end - i, W)
            r = load_where(result + i, Vec[T, W], rest)
            store_where(out + i, select(r <= 0, 0, load_where(value + i, Vec[T, W], rest)), rest)


def rectified_gradient(grad: Any, result: Any) -> Any:
    d = result.dtype
    if d not in _KINDS or grad.dtype != d or grad.shape != result.shape or not grad.flags.c_contiguous or not result.flags.c_contiguous:
        return NotImplemented
    out = np.empty(result.shape, d)
    _rectified(T=d, W=build.vector_bytes() // d.itemsize)(grad, result, out, out.size, CHUNK)
    return out


def rectified(x: Any) -> Any:
    return rectified_gradient(x, x)
