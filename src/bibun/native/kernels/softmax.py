"""Softmax, its logarithm and the cross-entropy of class numbers, row by row, with their backwards.

In: float32 matrices whose rows are the distributions. Out: fresh matrices, or for the cross-entropy what its value needs of each row:
the largest element, the sum of exp(x - largest), and for smoothing the sum of x - largest. A row is read from memory once: what follows
its maximum finds it in the cache. Its backward makes the softmax anew from these, so that nothing of the matrix's size is kept.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import maths
from ..build import vector_bytes
from ..kernel import kernel
from ..lang import (
    Ptr,
    Vec,
    allocate,
    bundle,
    device,
    f32,
    f64,
    first_lanes,
    i64,
    load,
    load_where,
    minimum,
    prefetch,
    select,
    spread,
    store,
    store_where,
    stream,
    total,
    unrolled,
    void,
)
from .tiles import Room, give_back, take

__all__ = [
    "class_gradient", "class_losses", "class_spreads", "columns", "columns_gradient", "log_softmax", "log_softmax_gradient", "softmax", "softmax_gradient",
]  # fmt: skip

#: Elements that a thread takes at a time, about.
CHUNK = 1 << 14
#: Elements of a row from which these kernels are worth their call.
LEAST = 4
#: Columns that are worked on beside each other.
COLUMNS = 128
#: Elements that are summed in float32 before the sum goes on in float64.
_BLOCK = 1024
#: How far ahead what is to be read is asked for.
_AHEAD = 2 * _BLOCK
#: Bytes of a result from which it is written past the caches, which it would only sweep.
_FAR = 1 << 25
#: Rows of which one is written while the next is read.
_TOGETHER = 16


@device
def largest(x: Ptr[f32], n: i64, W) -> f32:  # type: ignore[no-untyped-def]
    """The largest element that is not NaN; a NaN shows in the sum of exponentials."""
    made = f32(-math.inf)
    whole = n - n % (4 * W)
    if whole > 0:
        parts = bundle(4, spread(f32(-math.inf), Vec[f32, W]))
        for j in range(0, whole, 4 * W):
            for u in unrolled(4):
                v = load(x + (j + u * W), Vec[f32, W])
                parts[u] = select(v > parts[u], v, parts[u])
        for u in unrolled(1, 4):
            parts[0] = select(parts[u] > parts[0], parts[u], parts[0])
        made = total(parts[0], "max")
    if whole < n:
        rest = spread(f32(-math.inf), Vec[f32, W])
        for j in range(whole, n, W):
            some = first_lanes(n - j, W)
            v = select(some, load_where(x + j, Vec[f32, W], some), spread(f32(-math.inf), Vec[f32, W]))
            rest = select(v > rest, v, rest)
        last = total(rest, "max")
        made = select(last > made, last, made)
    return made


@device
def exponentials(x: Ptr[f32], m: f32, n: i64, W) -> f64:  # type: ignore[no-untyped-def]
    """The sum of exp(x - m)."""
    made = f64(0.0)
    shift = spread(m, Vec[f32, W])
    for k in range(0, n, _BLOCK):
        stop = minimum(k + _BLOCK, n)
        whole = stop - (stop - k) % (4 * W)
        parts = bundle(4, spread(f32(0.0), Vec[f32, W]))
        for j in range(k, whole, 4 * W):
            for u in unrolled(4):
                parts[u] = parts[u] + maths.exp(load(x + (j + u * W), Vec[f32, W]) - shift)
        for j in range(whole, stop, W):
            some = first_lanes(stop - j, W)
            parts[0] = parts[0] + select(some, maths.exp(load_where(x + j, Vec[f32, W], some) - shift), spread(f32(0.0), Vec[f32, W]))
        made += f64(total((parts[0] + parts[1]) + (parts[2] + parts[3])))
    return made


@device
def write_exponentials(x: Ptr[f32], m: f32, factor: f32, less: f32, out: Ptr[f32], n: i64, far, W) -> void:  # type: ignore[no-untyped-def]
    """exp(x - m)·factor - less. ``far``: written past the caches."""
    shift = spread(m, Vec[f32, W])
    scale = spread(factor, Vec[f32, W])
    rest = spread(less, Vec[f32, W])
    first = i64(0)
    if far:
        first = before_line(out, n, W)
        some = first_lanes(first, W)
        store_where(out, maths.exp(load_where(x, Vec[f32, W], some) - shift) * scale - rest, some)
    whole = n - (n - first) % (4 * W)
    for j in range(first, whole, 4 * W):
        made = bundle(4, shift)
        for u in unrolled(4):
            made[u] = maths.exp(load(x + (j + u * W), Vec[f32, W]) - shift)
        for u in unrolled(4):
            if far:
                stream(out + (j + u * W), made[u] * scale - rest)
            else:
                store(out + (j + u * W), made[u] * scale - rest)
    for j in range(whole, n, W):
        some = first_lanes(n - j, W)
        store_where(out + j, maths.exp(load_where(x + j, Vec[f32, W], some) - shift) * scale - rest, some)


@device
def kept_exponentials(x: Ptr[f32], m: f32, out: Ptr[f32], n: i64, W) -> f64:  # type: ignore[no-untyped-def]
    """The sum of exp(x - m), as `exponentials` adds it up for one block, which are written besides. What is read later is asked for: writing
    must not wait behind reading from memory."""
    shift = spread(m, Vec[f32, W])
    whole = n - n % (4 * W)
    parts = bundle(4, spread(f32(0.0), Vec[f32, W]))
    for j in range(0, whole, 4 * W):
        made = bundle(4, shift)
        for u in unrolled(4):
            made[u] = maths.exp(load(x + (j + u * W), Vec[f32, W]) - shift)
        for u in unrolled(4):
            prefetch(x + (j + u * W + _AHEAD))
            store(out + (j + u * W), made[u])
            parts[u] = parts[u] + made[u]
    for j in range(whole, n, W):
        some = first_lanes(n - j, W)
        e = maths.exp(load_where(x + j, Vec[f32, W], some) - shift)
        store_where(out + j, e, some)
        parts[0] = parts[0] + select(some, e, spread(f32(0.0), Vec[f32, W]))
    return f64(total((parts[0] + parts[1]) + (parts[2] + parts[3])))


@device
def before_line(p: Ptr[f32], n: i64, W) -> i64:  # type: ignore[no-untyped-def]
    """How many of n elements lie before the first vector that begins at a multiple of its size."""
    return minimum(n, (W - i64(p) // 4 % W) % W)


@device
def write_scaled(x: Ptr[f32], factor: f32, out: Ptr[f32], n: i64, far, W) -> void:  # type: ignore[no-untyped-def]
    """x·factor. ``far``: written past the caches."""
    scale = spread(factor, Vec[f32, W])
    first = i64(0)
    if far:
        first = before_line(out, n, W)
        some = first_lanes(first, W)
        store_where(out, load_where(x, Vec[f32, W], some) * scale, some)
    whole = n - (n - first) % (4 * W)
    for j in range(first, whole, 4 * W):
        made = bundle(4, scale)
        for u in unrolled(4):
            if far:
                prefetch(x + (j + u * W + _BLOCK))
            made[u] = load(x + (j + u * W), Vec[f32, W]) * scale
        for u in unrolled(4):
            if far:
                stream(out + (j + u * W), made[u])
            else:
                store(out + (j + u * W), made[u])
    for j in range(whole, n, W):
        some = first_lanes(n - j, W)
        store_where(out + j, load_where(x + j, Vec[f32, W], some) * scale, some)


@device(fast="contract reassoc")
def product(x: Ptr[f32], y: Ptr[f32], n: i64) -> f64:
    """The sum of products."""
    total = f64(0.0)
    for k in range(0, n, _BLOCK):
        part = f32(0.0)
        for j in range(k, minimum(k + _BLOCK, n)):
            part += x[j] * y[j]
        total += f64(part)
    return total


@device(fast="contract reassoc")
def plain_sum(x: Ptr[f32], n: i64) -> f64:
    total = f64(0.0)
    for k in range(0, n, _BLOCK):
        part = f32(0.0)
        for j in range(k, minimum(k + _BLOCK, n)):
            part += x[j]
        total += f64(part)
    return total


@device
def subtract_from_logs(x: Ptr[f32], y: Ptr[f32], n: i64, W) -> void:  # type: ignore[no-untyped-def]
    """y becomes log(x) - y."""
    for i in range(0, n, W):
        some = first_lanes(n - i, W)
        store_where(y + i, maths.log(load_where(x + i, Vec[f32, W], some)) - load_where(y + i, Vec[f32, W], some), some)


@kernel
def _softmax(x: Ptr[f32], out: Ptr[f32], n: i64, W, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        row = x + i * n
        made = out + i * n
        m = largest(row, n, W)
        total = f64(0.0)
        for k in range(0, n, _BLOCK):
            stop = minimum(k + _BLOCK, n)
            write_exponentials(row + k, m, 1.0, 0.0, made + k, stop - k, False, W)
            total += plain_sum(made + k, stop - k)
        scale = f32(1.0 / total)
        for j in range(n):
            made[j] = made[j] * scale


@kernel
def _log_softmax(x: Ptr[f32], out: Ptr[f32], n: i64, W, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        row = x + i * n
        made = out + i * n
        m = largest(row, n, W)
        less = maths.log(f32(exponentials(row, m, n, W)))
        for j in range(n):
            made[j] = (row[j] - m) - less


@kernel
def _softmax_gradient(g: Ptr[f32], y: Ptr[f32], out: Ptr[f32], n: i64, begin: i64, end: i64) -> void:
    for i in range(begin, end):
        gradient = g + i * n
        row = y + i * n
        made = out + i * n
        mean = f32(product(gradient, row, n))
        for j in range(n):
            made[j] = (gradient[j] - mean) * row[j]


@kernel
def _log_softmax_gradient(g: Ptr[f32], y: Ptr[f32], out: Ptr[f32], n: i64, begin: i64, end: i64) -> void:
    for i in range(begin, end):
        gradient = g + i * n
        row = y + i * n
        made = out + i * n
        total = f32(plain_sum(gradient, n))
        for j in range(n):
            made[j] = gradient[j] - maths.exp(row[j]) * total


@kernel(explicit=True)
def _class_losses(x: Ptr[f32], target: Ptr[i64], sums: Ptr[f32], each: Ptr[f32], count: i64, n: i64, W, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    """``sums`` (2, count): the largest, Σ exp(x - largest); and each row's loss. A row is read once, from memory; the sum so far is scaled when
    a larger element comes. Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018)."""
    for i in range(begin, end):
        row = x + i * n
        m = f32(-math.inf)
        made = f64(0.0)
        for k in range(0, n, _BLOCK):
            many = minimum(_BLOCK, n - k)
            top = largest(row + k, many, W)
            if k == 0:
                m = top
            elif top > m:
                made *= f64(maths.exp(m - top))
                m = top
            made += exponentials(row + k, select(m == f32(-math.inf), f32(0.0), m), many, W)
        if m == f32(-math.inf):
            made = f64(math.nan)
        sums[i] = m
        sums[count + i] = f32(made)
        each[i] = row[target[i]] - m
    subtract_from_logs(sums + (count + begin), each + begin, end - begin, W)


@kernel(explicit=True)
def _class_losses_and_gradient(  # type: ignore[no-untyped-def]
    x: Ptr[f32], target: Ptr[i64], sums: Ptr[f32], each: Ptr[f32], share: Ptr[f32], out: Ptr[f32], memory: Ptr[f32], slots: Ptr[i64], slot_count: i64,
    size: i64, count: i64, n: i64, far, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """What `_class_losses` and `_class_gradient` give. The exponentials of a row are kept close by until their sum is known, and written while
    those of the next are made, as memory takes its time. ``far``: past the caches."""
    slot = take(slots, slot_count)
    half = size // 2
    factor = f32(0.0)
    m = f32(0.0)
    for i in range(begin, end + 1):  # one more turn, to write the last row
        row = x + i * n
        kept = memory + (slot * size + (i & 1) * half)
        tops = kept + n
        before = memory + (slot * size + half - (i & 1) * half)
        tops_before = before + n
        to = out + (i - 1) * n
        top_before = m
        made = f64(0.0)
        for k in range(0, n, _BLOCK):
            many = minimum(_BLOCK, n - k)
            if i < end:
                top = largest(row + k, many, W)
                if k == 0:
                    m = top
                elif top > m:
                    made *= f64(maths.exp(m - top))
                    m = top
                shift = select(m == f32(-math.inf), f32(0.0), m)
                tops[k // _BLOCK] = shift
                made += kept_exponentials(row + k, shift, kept + k, many, W)
            if i > begin:
                scale = factor
                if tops_before[k // _BLOCK] != top_before:
                    scale *= maths.exp(tops_before[k // _BLOCK] - top_before)
                write_scaled(before + k, select(share[i - 1] == 0.0, f32(0.0), scale), to + k, many, far, W)
        if i > begin:
            t = target[i - 1]
            chosen = before[t] * factor
            if tops_before[t // _BLOCK] != top_before:
                chosen = before[t] * (factor * maths.exp(tops_before[t // _BLOCK] - top_before))
            to[t] = select(share[i - 1] == 0.0, f32(0.0), chosen - share[i - 1])
        if i < end:
            if m == f32(-math.inf):
                made = f64(math.nan)
            sums[i] = m
            sums[count + i] = f32(made)
            each[i] = row[target[i]] - m
            factor = share[i] / f32(made)
    subtract_from_logs(sums + (count + begin), each + begin, end - begin, W)
    give_back(slots, slot)


@kernel(fast="contract reassoc")
def _class_spreads(  # type: ignore[no-untyped-def]
    x: Ptr[f32], sums: Ptr[f32], count: i64, n: i64, W, begin: i64, end: i64
) -> void:
    """``sums`` (3, count): the largest, Σ exp(x - largest), Σ (x - largest)."""
    for i in range(begin, end):
        row = x + i * n
        m = largest(row, n, W)
        sums[i] = m
        whole = f64(0.0)
        differences = f64(0.0)
        for k in range(0, n, _BLOCK):
            part = f32(0.0)
            less = f32(0.0)
            for j in range(k, minimum(k + _BLOCK, n)):
                z = row[j] - m
                part += maths.exp(z)
                less += z
            whole += f64(part)
            differences += f64(less)
        sums[count + i] = f32(whole)
        sums[2 * count + i] = f32(differences)


@kernel(explicit=True)
def _class_gradient(  # type: ignore[no-untyped-def]
    x: Ptr[f32], target: Ptr[i64], sums: Ptr[f32], share: Ptr[f32], out: Ptr[f32], count: i64, n: i64, smoothing: f32,
    far, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """``share``: what multiplies each row."""
    for i in range(begin, end):
        row = x + i * n
        made = out + i * n
        m = sums[i]
        if share[i] == 0.0:
            for j in range(n):
                made[j] = 0.0
        else:
            factor = share[i] / sums[count + i]
            less = share[i] * smoothing / f32(n)
            write_exponentials(row, m, factor, less, made, n, far, W)
            chosen = maths.exp(row[target[i]] - m) * factor - less
            made[target[i]] = chosen - share[i] * (1.0 - smoothing)


# Along a dimension that others follow: columns side by side, as many as stay in the first-level cache with what is known of them


@kernel(distinct=True)
def _columns(x: Ptr[f32], out: Ptr[f32], n: i64, after: i64, blocks: i64, log, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    top = allocate(f32, COLUMNS)
    sums = allocate(f32, COLUMNS)
    for item in range(begin, end):
        skipped = item % blocks * COLUMNS
        given = x + (item // blocks * n * after + skipped)
        made = out + (item // blocks * n * after + skipped)
        many = minimum(COLUMNS, after - skipped)
        for j in range(many):
            top[j] = given[j]
            sums[j] = 0.0
        for k in range(1, n):
            row = given + k * after
            for j in range(many):
                top[j] = select(row[j] > top[j], row[j], top[j])
        for k in range(n):
            row = given + k * after
            to = made + k * after
            for j in range(many):
                e = maths.exp(row[j] - top[j])
                sums[j] = sums[j] + e
                if log:
                    to[j] = row[j] - top[j]
                else:
                    to[j] = e
        for j in range(many):
            if log:
                sums[j] = maths.log(sums[j])
            else:
                sums[j] = f32(1.0) / sums[j]
        for k in range(n):
            to = made + k * after
            for j in range(many):
                if log:
                    to[j] = to[j] - sums[j]
                else:
                    to[j] = to[j] * sums[j]


@kernel(distinct=True)
def _columns_gradient(g: Ptr[f32], y: Ptr[f32], out: Ptr[f32], n: i64, after: i64, blocks: i64, log, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    sums = allocate(f32, COLUMNS)
    for item in range(begin, end):
        start = item // blocks * n * after + item % blocks * COLUMNS
        many = minimum(COLUMNS, after - item % blocks * COLUMNS)
        for j in range(many):
            sums[j] = 0.0
        for k in range(n):
            gradient = g + (start + k * after)
            row = y + (start + k * after)
            for j in range(many):
                if log:
                    sums[j] = sums[j] + gradient[j]
                else:
                    sums[j] = sums[j] + gradient[j] * row[j]
        for k in range(n):
            gradient = g + (start + k * after)
            row = y + (start + k * after)
            made = out + (start + k * after)
            for j in range(many):
                if log:
                    made[j] = gradient[j] - maths.exp(row[j]) * sums[j]
                else:
                    made[j] = (gradient[j] - sums[j]) * row[j]


_F32 = np.dtype(np.float32)


def _parted(shape: Any, axis: int) -> tuple[int, int, int, int, int]:
    """(n, columns, blocks of columns, items, items of a chunk)."""
    n, after = shape[axis], math.prod(shape[axis + 1 :])
    blocks = -(-after // COLUMNS)
    return n, after, blocks, math.prod(shape[:axis]) * blocks, max(1, CHUNK // (n * min(after, COLUMNS)))


def columns(x: Any, axis: int, log: bool) -> Any:
    """`softmax`, or with ``log`` `log_softmax`, along a dimension that is not the last."""
    if x.dtype != _F32 or not x.size or math.prod(x.shape[axis + 1 :]) < 8:
        return NotImplemented
    out = np.empty(x.shape, _F32)
    _columns(log=log)(np.ascontiguousarray(x), out, *_parted(x.shape, axis))
    return out


def columns_gradient(g: Any, y: Any, axis: int, log: bool) -> Any:
    """The vector-Jacobian product of `columns`, from its result."""
    if y.dtype != _F32 or g.dtype != _F32 or g.shape != y.shape or not y.size or math.prod(y.shape[axis + 1 :]) < 8:
        return NotImplemented
    out = np.empty(y.shape, _F32)
    _columns_gradient(log=log)(np.ascontiguousarray(g), np.ascontiguousarray(y), out, *_parted(y.shape, axis))
    return out


def _width() -> int:
    return vector_bytes() // 4


def _grain(n: int) -> int:
    return max(1, CHUNK // n)


def _far(out: Any) -> bool:
    """Whether a matrix is better written past the caches: it is large, and few rows begin within a line."""
    n = out.shape[-1]
    return bool(out.nbytes >= _FAR) and (n % _width() == 0 or n >= 1 << 13)


def softmax(x: Any) -> Any:
    """exp(x) over its sum along the last axis."""
    n = x.shape[-1]
    if n < LEAST or x.dtype != _F32:
        return NotImplemented
    out = np.empty(x.shape, _F32)
    _softmax(W=_width())(np.ascontiguousarray(x), out, n, x.size // n, _grain(n))
    return out


def log_softmax(x: Any) -> Any:
    """The logarithm of `softmax`."""
    n = x.shape[-1]
    if n < LEAST or x.dtype != _F32:
        return NotImplemented
    out = np.empty(x.shape, _F32)
    _log_softmax(W=_width())(np.ascontiguousarray(x), out, n, x.size // n, _grain(n))
    return out


def softmax_gradient(g: Any, y: Any) -> Any:
    """y·(g - Σ g·y) along the last axis."""
    n = y.shape[-1]
    if n < LEAST or y.dtype != _F32 or g.dtype != _F32 or g.shape != y.shape:
        return NotImplemented
    out = np.empty(y.shape, _F32)
    _softmax_gradient()(np.ascontiguousarray(g), np.ascontiguousarray(y), out, n, y.size // n, _grain(n))
    return out


def log_softmax_gradient(g: Any, y: Any) -> Any:
    """g - exp(y)·Σ g along the last axis."""
    n = y.shape[-1]
    if n < LEAST or y.dtype != _F32 or g.dtype != _F32 or g.shape != y.shape:
        return NotImplemented
    out = np.empty(y.shape, _F32)
    _log_softmax_gradient()(np.ascontiguousarray(g), np.ascontiguousarray(y), out, n, y.size // n, _grain(n))
    return out


def class_spreads(x: Any) -> Any:
    """(3, rows): the largest element of each row, Σ exp(x - largest) and Σ (x - largest)."""
    count, n = x.shape
    if x.dtype != _F32:
        return NotImplemented
    sums = np.empty((3, count), _F32)
    _class_spreads(W=_width())(np.ascontiguousarray(x), sums, count, n, count, _grain(n))
    return sums


def class_losses(x: Any, target: Any, share: Any = None) -> Any:
    """(the largest element of each row and Σ exp(x - largest), the loss of each row), and, with what multiplies each row's gradient, that of `class_gradient`. Targets are within bounds."""
    count, n = x.shape
    if x.dtype != _F32 or share is not None and share.dtype != _F32:
        return NotImplemented
    x, target = np.ascontiguousarray(x), np.ascontiguousarray(target)
    sums, each = np.empty((2, count), _F32), np.empty(count, _F32)
    if share is None:
        _class_losses(W=_width())(x, target, sums, each, count, n, count, _grain(n))
        return sums, each
    out = np.empty(x.shape, _F32)
    room = Room(2 * (n + n // _BLOCK + 16))
    _class_losses_and_gradient(W=_width(), far=_far(out))(
        x, target, sums, each, np.ascontiguousarray(share), out, room.memory, room.slots, room.count, room.size, count, n, count, max(_TOGETHER, _grain(n))
    )  # fmt: skip
    room.release()
    return sums, each, out


def class_gradient(x: Any, target: Any, sums: Any, share: Any, smoothing: float) -> Any:
    """(softmax - (1 - smoothing) at each row's target - smoothing / classes)·share; rows whose share is 0 give 0.

    Targets are within bounds.
    """
    count, n = x.shape
    if x.dtype != _F32 or share.dtype != _F32:
        return NotImplemented
    out = np.empty(x.shape, _F32)
    _class_gradient(W=_width(), far=_far(out))(
        np.ascontiguousarray(x), np.ascontiguousarray(target), np.ascontiguousarray(sums), np.ascontiguousarray(share), out,
        count, n, smoothing, count, _grain(n),
    )  # fmt: skip
    return out
