"""Rows of tables: taken by their numbers, added up at their numbers, put side by side.

In: float32 or float64 tables whose rows lie one after another, int64 numbers of rows that are known to be in range. Out: new
arrays. Sums are in the order of the numbers, whatever thread does them: each thread has rows of the table to itself.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..build import vector_bytes
from ..kernel import kernel
from ..lang import (
    Ptr,
    T,
    Vec,
    external,
    f32,
    f64,
    first_lanes,
    i32,
    i64,
    load,
    load_where,
    store,
    store_where,
    type_size,
    u8,
    void,
)

__all__ = ["add_rows", "join_rows", "take_rows"]

_TYPES = {np.dtype(np.float32): f32, np.dtype(np.float64): f64}
#: Elements of a table that a thread takes at a time, at least; and the most parts there are.
PART, PARTS = 1 << 14, 16

_fill = external("memset", Ptr[u8], Ptr[u8], i32, i64)


@kernel(fast="", explicit=True)
def take(table: Ptr[T], index: Ptr[i64], out: Ptr[T], width: i64, lanes, begin: i64, end: i64) -> void:
    for i in range(begin, end):
        row = table + index[i] * width
        place = out + i * width
        whole = width // lanes
        for k in range(whole):
            store(place + k * lanes, load(row + k * lanes, Vec[T, lanes]))
        left = width - whole * lanes
        if left > 0:
            some = first_lanes(left, lanes)
            store_where(place + whole * lanes, load_where(row + whole * lanes, Vec[T, lanes], some), some)


@kernel(fast="", explicit=True)
def put(rows: Ptr[T], out: Ptr[T], width: i64, step: i64, start: i64, lanes, begin: i64, end: i64) -> void:
    whole = width - width % lanes
    for i in range(begin, end):
        row = rows + i * width
        place = out + i * step + start
        for k in range(0, whole, lanes):
            store(place + k, load(row + k, Vec[T, lanes]))
        if whole < width:
            some = first_lanes(width - whole, lanes)
            store_where(place + whole, load_where(row + whole, Vec[T, lanes], some), some)


@kernel(fast="", explicit=True)
def add(out: Ptr[T], index: Ptr[i64], rows: Ptr[T], width: i64, count: i64, inner: i64, outer_step: i64, step: i64, lanes, begin: i64, end: i64) -> void:
    """``rows`` of two dimensions, of which the second has ``inner``, that lie outer_step and step apart."""
    _fill(Ptr[u8](out + begin * width), i32(0), (end - begin) * width * type_size(T))
    whole = width // lanes
    for i in range(count):
        to = index[i]
        if to >= begin and to < end:
            row = rows + (i // inner * outer_step + i % inner * step)
            place = out + to * width
            for k in range(whole):
                store(place + k * lanes, load(place + k * lanes, Vec[T, lanes]) + load(row + k * lanes, Vec[T, lanes]))
            left = width - whole * lanes
            if left > 0:
                some = first_lanes(left, lanes)
                here = place + whole * lanes
                store_where(here, load_where(here, Vec[T, lanes], some) + load_where(row + whole * lanes, Vec[T, lanes], some), some)


def _usable(a: Any) -> bool:
    return a.dtype in _TYPES and a.flags.c_contiguous


def take_rows(table: Any, index: Any) -> Any:
    """``table.take(index, 0)``, for numbers from 0 to the number of rows."""
    if not _usable(table) or index.dtype != np.int64 or not index.flags.c_contiguous or table.ndim < 1:
        return NotImplemented
    t = _TYPES[table.dtype]
    out = np.empty(index.shape + table.shape[1:], table.dtype)
    width = out.size // max(index.size, 1)
    if width:
        lanes = vector_bytes() // table.itemsize
        take(T=t, lanes=lanes)(table, index, out, width, index.size, max(1, PART // width))
    return out


def add_rows(shape: tuple[int, ...], index: Any, values: Any, lead: int = 1) -> Any:
    """Zeros of a shape to which ``values[i]`` was added at ``index[i]``, for numbers from 0 to ``shape[0]``; i goes over the first ``lead``
    dimensions of ``values``. Rows are read where they lie, so that repeated ones are not copied."""
    if values.dtype not in _TYPES or index.dtype != np.int64 or not index.flags.c_contiguous:
        return NotImplemented
    lying = _steps(values, lead) if values.size else (1, 0, 0)
    if lying is None:
        values = np.ascontiguousarray(values)
        lying = _steps(values, lead)
    out = np.empty(shape, values.dtype)
    if out.size:
        width = out.size // shape[0]
        part = max(-(-shape[0] // PARTS), -(-PART // width))
        lanes = vector_bytes() // values.itemsize
        add(T=_TYPES[values.dtype], lanes=lanes)(out, index, values, width, index.size, *lying, shape[0], part)
    return out


def _steps(values: Any, lead: int) -> Any:
    """(rows of the inner of two dimensions, elements from one row to the next of the outer, and of the inner) for the leading dimensions of an
    array; None where there are more, or rows that do not lie in one piece."""
    item, wanted = values.itemsize, values.itemsize
    for n, s in zip(reversed(values.shape[lead:]), reversed(values.strides[lead:])):
        if n != 1 and s != wanted:
            return None
        wanted *= n
    merged: list[tuple[int, int]] = []
    for n, s in zip(values.shape[:lead], values.strides[:lead]):
        if merged and merged[-1][1] == s * n:
            merged[-1] = (merged[-1][0] * n, s)
        elif n != 1:
            merged.append((n, s))
    if len(merged) > 2 or any(s % item for _, s in merged):
        return None
    (_, outer), (inner, step) = ([(1, 0), (1, 0)] + merged)[-2:]
    return inner, outer // item, step // item


def join_rows(arrays: Any, axis: int) -> Any:
    """``numpy.concatenate`` of arrays of one dtype along an axis that is not the first."""
    first = arrays[0]
    if not all(_usable(a) and a.dtype is first.dtype and a.shape[:axis] == first.shape[:axis] and a.shape[axis + 1 :] == first.shape[axis + 1 :] for a in arrays):
        return NotImplemented
    out = np.empty((*first.shape[:axis], sum([a.shape[axis] for a in arrays]), *first.shape[axis + 1 :]), first.dtype)
    count = prod(first.shape[:axis])
    step, start = out.size // count, 0
    lanes = vector_bytes() // out.itemsize
    call = put(T=_TYPES[first.dtype], lanes=lanes)
    for a in arrays:
        width = a.size // count
        call(a, out, width, step, start, count, max(1, PART // max(width, 1)))
        start += width
    return out
