"""Running sums, products and extremes along a dimension.

In: a C-contiguous array of float32 or float64, seen as (before, n, after). Out: an array of its shape, with the bits that NumPy's
``accumulate`` gives.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernel import kernel
from ..lang import Ptr, T, i64, minimum, select, void
from .sums import joined

__all__ = ["accumulate", "extremes"]

_KINDS = (np.dtype(np.float32), np.dtype(np.float64))
#: Columns that are walked together.
_COLUMNS = 512


@kernel(fast="", distinct=True)
def _rows(x: Ptr[T], out: Ptr[T], n: i64, how, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for row in range(begin, end):
        so_far = x[row * n]
        out[row * n] = so_far
        for i in range(row * n + 1, row * n + n):
            so_far = joined(so_far, x[i], how)
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
                made[j] = joined(made[j - after], given[j], how)


@kernel(fast="", distinct=True)
def _places(x: Ptr[T], out: Ptr[T], at: Ptr[i64], n: i64, after: i64, blocks: i64, largest, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for item in range(begin, end):
        first = item // blocks * n * after + item % blocks * _COLUMNS
        many = minimum(_COLUMNS, after - item % blocks * _COLUMNS)
        if after == 1:
            best, place = x[first], i64(0)
            for k in range(n):
                value = x[first + k]
                better = ((value >= best) if largest else (value <= best)) or (value != value)
                best = select(better, value, best)
                place = select(better, k, place)
                out[first + k] = best
                at[first + k] = place
            many = i64(0)
        for j in range(first, first + many):
            out[j] = x[j]
            at[j] = 0
        for k in range(1, n):
            base = first + k * after
            for j in range(base, base + many):
                so_far, new = out[j - after], x[j]
                taken = ((new >= so_far) if largest else (new <= so_far)) or (new != new)
                out[j] = select(taken, new, so_far)
                at[j] = select(taken, k, at[j - after])


def extremes(x: Any, axis: int, largest: bool) -> Any:
    """(running extremes, the last place of each; a NaN is the extreme from where it stands), or NotImplemented."""
    d = x.dtype
    if d not in _KINDS or not x.size:
        return NotImplemented
    x = np.ascontiguousarray(x)
    out, at = np.empty(x.shape, d), np.empty(x.shape, np.int64)
    before, n, after = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    blocks = -(-after // _COLUMNS)
    _places(T=d, largest=largest)(x, out, at, n, after, blocks, before * blocks, max(1, 4096 // (n * min(after, _COLUMNS))))
    return out, at


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
