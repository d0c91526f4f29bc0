"""Sums and extremes over some dimensions of an array, where what is summed does not lie side by side.

`channel_sums`: over the first and the last dimensions, with those between them kept: a gradient for each channel of images. In: a
C-contiguous array of float32 or float64, seen as (before, kept, after). Out: (kept,). `column_sums`: over the dimension in the middle.
In: (before, n, after). Out: (before, after).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import build
from ..kernel import kernel
from ..lang import (
    Ptr,
    T,
    Vec,
    bundle,
    device,
    first_lanes,
    i64,
    load,
    load_where,
    maximum,
    minimum,
    spread,
    store,
    store_where,
    total,
    unrolled,
    void,
)

__all__ = ["channel_sums", "column_sums", "joined"]

_KINDS = (np.dtype(np.float32), np.dtype(np.float64))


@device
def joined(x: T, y: T, how) -> T:  # type: ignore[no-untyped-def]
    """x + y, x · y, or the larger or smaller of them: how is "add", "multiply", "maximum" or "minimum"."""
    if how == "add":
        made = x + y
    elif how == "multiply":
        made = x * y
    elif how == "maximum":
        made = maximum(x, y)
    else:
        made = minimum(x, y)
    return made


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


#: Vectors of columns that are worked on beside each other; rows after which a sum goes on in a larger one, which loses fewer digits.
_BESIDE, _TALL = 4, 64


@kernel(explicit=True)
def _column_sums(x: Ptr[T], out: Ptr[T], n: i64, after: i64, blocks: i64, how, W, begin: i64, end: i64) -> void:
    """Items are blocks of columns: how is "add", "maximum" or "minimum"."""
    for item in range(begin, end):
        first = item % blocks * (_BESIDE * W)
        rows = x + item // blocks * n * after + first
        made = out + item // blocks * after + first
        if first + _BESIDE * W <= after:
            totals = bundle(_BESIDE, spread(T(0), Vec[T, W]))
            if how != "add":
                for j in unrolled(_BESIDE):
                    totals[j] = load(rows + j * W, Vec[T, W])
            for k in range(0, n, _TALL):
                parts = bundle(_BESIDE, load(rows + k * after, Vec[T, W]))
                for j in unrolled(1, _BESIDE):
                    parts[j] = load(rows + k * after + j * W, Vec[T, W])
                for i in range(k + 1, minimum(k + _TALL, n)):
                    for j in unrolled(_BESIDE):
                        v = load(rows + i * after + j * W, Vec[T, W])
                        parts[j] = joined(parts[j], v, how)
                for j in unrolled(_BESIDE):
                    totals[j] = joined(totals[j], parts[j], how)
            for j in unrolled(_BESIDE):
                store(made + j * W, totals[j])
        else:
            for c in range(0, after - first, W):
                some = first_lanes(after - first - c, W)
                whole = load_where(rows + c, Vec[T, W], some)
                if how == "add":
                    whole = spread(T(0), Vec[T, W])
                for k in range(0, n, _TALL):
                    part = load_where(rows + k * after + c, Vec[T, W], some)
                    for i in range(k + 1, minimum(k + _TALL, n)):
                        v = load_where(rows + i * after + c, Vec[T, W], some)
                        part = joined(part, v, how)
                    whole = joined(whole, part, how)
                store_where(made + c, whole, some)


def column_sums(x: Any, before: int, n: int, after: int, how: str = "add") -> Any:
    """The sums (or "maximum", "minimum") over the dimension in the middle, (before, after); NotImplemented where there are too few columns."""
    d = x.dtype
    if d not in _KINDS or not x.flags.c_contiguous or not n:
        return NotImplemented
    W = build.vector_bytes() // d.itemsize
    blocks = -(-after // (_BESIDE * W))
    if after < W or before * blocks < 4:
        return NotImplemented
    out = np.empty((before, after), d)
    _column_sums(T=d, how=how, W=W)(x, out, n, after, blocks, before * blocks, max(1, (1 << 14) // (n * _BESIDE * W)))
    return out


def channel_sums(x: Any, before: int, kept: int, after: int) -> Any:
    """The sums over the first and last of the three, or NotImplemented."""
    d = x.dtype
    if d not in _KINDS or not x.flags.c_contiguous or after < 8 or kept < 2:
        return NotImplemented
    out = np.empty(kept, d)
    _channel_sums(T=d, W=build.vector_bytes() // d.itemsize)(x, out, before, kept, after, kept, max(1, (1 << 15) // max(1, before * after)))
    return out
