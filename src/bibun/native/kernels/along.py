"""Elements taken and put along a dimension by their numbers, places in sorted sequences, triangles.

In: C-contiguous arrays of float32, float64 or int64, numbers known to be in range. Out: what NumPy gives. An array is seen as (before, n,
after); what is put is in the order of the numbers, as each row (or block of columns) is one thread's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernel import kernel
from ..lang import Ptr, T, i64, minimum, select, void

__all__ = ["gather", "put", "search", "triangle"]

_KINDS = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64))
#: Elements that a thread takes at a time, and columns of a block.
_CHUNK, _COLUMNS = 1 << 12, 256


@kernel(fast="", distinct=True)
def _gather(x: Ptr[T], index: Ptr[i64], out: Ptr[T], n: i64, m: i64, after: i64, begin: i64, end: i64) -> void:
    if after == 1:
        base = begin // m * n
        left = m - begin % m
        for i in range(begin, end):
            out[i] = x[base + index[i]]
            left -= 1
            if left == 0:
                left = m * 1
                base += n
    else:
        for i in range(begin, end):
            row = x + i // m * n * after
            for j in range(after):
                out[i * after + j] = row[index[i * after + j] * after + j]


@kernel(fast="", distinct=True)
def _put(out: Ptr[T], index: Ptr[i64], values: Ptr[T], n: i64, m: i64, after: i64, blocks: i64, added, one, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for item in range(begin, end):
        row = out + item // blocks * n * after
        first = item % blocks * _COLUMNS
        many = minimum(_COLUMNS, after - first)
        for k in range(m):
            at = (item // blocks * m + k) * after + first
            for j in range(many):
                place = row + (index[at + j] * after + first + j)
                value = values[0] if one else values[at + j]
                place[0] = place[0] + value if added else value


@kernel(fast="")
def _search(x: Ptr[T], values: Ptr[T], out: Ptr[i64], n: i64, right, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        v = values[i]
        base = i64(0)
        left = n * 1
        while left > 0:
            half = (left + 1) // 2
            a = x[base + half - 1]
            # NaN stands after all numbers. (In numbers, as a branch would be foretold wrongly every other time.)
            before = (not ((v < a) or ((a != a) and (v == v)))) if right else ((a < v) or ((v != v) and (a == a)))
            base += half & -i64(before)
            left -= half
        out[i] = base


@kernel(fast="", distinct=True)
def _triangle(x: Ptr[T], out: Ptr[T], n: i64, m: i64, k: i64, upper, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for row in range(begin, end):
        edge = minimum(row % n + k + (0 if upper else 1), m)
        edge = select(edge < 0, i64(0), edge)
        for j in range(row * m, row * m + edge):
            out[j] = T(0) if upper else x[j]
        for j in range(row * m + edge, row * m + m):
            out[j] = x[j] if upper else T(0)


def _alike(x: Any, index: Any, axis: int) -> bool:
    """Whether ``index`` has the shape of ``x`` but for the axis."""
    return x.ndim == index.ndim and x.shape[:axis] == index.shape[:axis] and x.shape[axis + 1 :] == index.shape[axis + 1 :]


def gather(x: Any, index: Any, axis: int) -> Any:
    """``numpy.take_along_axis``, or NotImplemented."""
    if x.dtype not in _KINDS or not _alike(x, index, axis) or not x.flags.c_contiguous:
        return NotImplemented
    out = np.empty(index.shape, x.dtype)
    n, m, after = x.shape[axis], index.shape[axis], math.prod(x.shape[axis + 1 :])
    _gather(T=x.dtype)(x, np.ascontiguousarray(index), out, n, m, after, index.size // after, max(1, _CHUNK // after))
    return out


def put(out: Any, index: Any, values: Any, axis: int, added: bool) -> bool:
    """Put ``values`` (of the shape of ``index``, or a number) into ``out``, or add them; False where there is no native way."""
    if out.dtype not in _KINDS or not _alike(out, index, axis) or not out.flags.c_contiguous:
        return False
    values = np.ascontiguousarray(values, out.dtype)
    n, m, after = out.shape[axis], index.shape[axis], math.prod(out.shape[axis + 1 :])
    blocks = -(-after // _COLUMNS)
    one = values.size == 1
    if not one and values.shape != index.shape:
        return False
    _put(T=out.dtype, added=added, one=one)(out, np.ascontiguousarray(index), values, n, m, after, blocks, index.size // (m * after) * blocks, max(1, _CHUNK // (m * min(after, _COLUMNS))))
    return True


def search(x: Any, values: Any, right: bool) -> Any:
    """``numpy.searchsorted``, or NotImplemented."""
    if x.dtype not in _KINDS or x.dtype != values.dtype:
        return NotImplemented
    out = np.empty(values.shape, np.int64)
    _search(T=x.dtype, right=right)(np.ascontiguousarray(x), np.ascontiguousarray(values), out, x.size, values.size, 1024)
    return out


def triangle(x: Any, k: int, upper: bool) -> Any:
    """``numpy.tril`` or ``numpy.triu``, or NotImplemented."""
    if x.dtype not in _KINDS or not x.flags.c_contiguous:
        return NotImplemented
    out = np.empty(x.shape, x.dtype)
    n, m = x.shape[-2:]
    _triangle(T=x.dtype, upper=upper)(x, out, n, m, k, x.size // m, max(1, (_CHUNK << 1) // m))
    return out
