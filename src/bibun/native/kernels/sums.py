"""Sums over the first and the last dimensions of an array, with those between them kept: a gradient for each channel of images.

In: a C-contiguous array of float32 or float64, seen as (before, kept, after). Out: (kept,).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import build
from ..kernel import kernel
from ..lang import Ptr, T, Vec, bundle, first_lanes, i64, load, load_where, spread, total, unrolled, void

__all__ = ["channel_sums"]

_KINDS = (np.dtype(np.float32), np.dtype(np.float64))


@kernel(explicit=True)
def _channel_sums(x: Ptr[T], out: Ptr[T], before: i64, kept: i64, after: i64, W, begin: i64, end: i64) -> void:
    for c in range(begin, end):
        sums = spread(T(0), Vec[T, W])
        for n in range(before):
            row = x + (n * kept + c) * after
            # The sum of a row first: sums of sums lose fewer digits.
            part = bundle(4, spread(T(0), Vec[T, W]))
            whole = after - after % (4 * W)
            for i in range(0, whole, 4 * W):
                for j in unrolled(4):
                    part[j] = part[j] + load(row + i + j * W, Vec[T, W])
            for i in range(whole, after, W):
                part[0] = part[0] + load_where(row + i, Vec[T, W], first_lanes(after - i, W))
            sums = sums + ((part[0] + part[1]) + (part[2] + part[3]))
        out[c] = total(sums)


def channel_sums(x: Any, before: int, kept: int, after: int) -> Any:
    """The sums over the first and last of the three, or NotImplemented."""
    d = x.dtype
    if d not in _KINDS or not x.flags.c_contiguous or after < 8 or kept < 2:
        return NotImplemented
    out = np.empty(kept, d)
    _channel_sums(T=d, W=build.vector_bytes() // d.itemsize)(x, out, before, kept, after, kept, max(1, (1 << 15) // max(1, before * after)))
    return out
