"""Running sums, products and extremes along a dimension.

In: a C-contiguous array of float32 or float64, seen as (before, n, after). Out: an array of its shape, with the bits that NumPy's
``accumulate`` gives.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernel import kernel
from ..lang import Ptr, T, i64, maximum, minimum, void

__all__ = ["accumulate"]

_KINDS = (np.dtype(np.float32), np.dtype(np.float64))
#: Columns that are walked together.
_COLUMNS = 512


@kernel(fast="", distinct=True)
def _rows(x: Ptr[T], out: Ptr[T], n: i64, how, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for row in range(begin, end):
        so_far = x[row * n]
        out[row * n] = so_far
        for i in range(row * n + 1, row * n + n):
            if how == "add":
                so_far = so_far + x[i]
            elif how == "multiply":
                so_far = so_far * x[i]
            elif how == "maximum":
                so_far = maximum(so_far, x[i])
            else:
                so_far = minimum(so_far, x[i])
            out[i] = so_far


@kernel(fast="", distinct=True)
def _columns(x: Ptr[T], out: Ptr[T], n: i64, after: i64, blocks: i64, how, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for item in range(begin, end):
        first = item // blocks * n * after + item % blocks * _COLUMNS
        many = minimum(_COLUMNS, after - item % blocks * _COLUMNS)
        for j in range(first, first + many):
            out[j] = x[j]
        for k in range(1, n):
            given = x + first + k * after
            made = out + first + k * after
            for j in range(many):
                if how == "add":
                    made[j] = made[j - after] + given[j]
                elif how == "multiply":
                    made[j] = made[j - after] * given[j]
                elif how == "maximum":
                    made[j] = maximum(made[j - after], given[j])
                else:
                    made[j] = minimum(made[j - after], given[j])


def accumulate(x: Any, axis: int, how: str) -> Any:
    """``numpy.<how>.accumulate(x, axis)`` for "add", "multiply", "maximum" and "minimum", or NotImplemented."""
    d = x.dtype
    if d not in _KINDS or not x.size:
        return NotImplemented
    x = np.ascontiguousarray(x)
    out = np.empty(x.shape, d)
    before, n, after = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    if after == 1:
        _rows(T=d, how=how)(x, out, n, before, max(1, 4096 // n))
    else:
        blocks = -(-after // _COLUMNS)
        _columns(T=d, how=how)(x, out, n, after, blocks, before * blocks, max(1, 4096 // (n * min(after, _COLUMNS))))
    return out
