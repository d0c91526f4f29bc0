"""Normalisation and its backward: by rows, by groups of channels, by channels, by columns.

In: float32 or float64 arrays, row by row in memory, in the shape that is worked on; a weight and a bias or None. Out: the result and
the statistics (mean, variance, 1/√(variance + eps)); backwards the gradients of input, weight and bias in one go, from the
input and the statistics alone. Memory is read once forward and once backward where what shares statistics fits into a
processor's cache. Sums go on in float64 every thousand elements.

=========  ==============  ======  =================================
           shape           axes    weight and bias
=========  ==============  ======  =================================
rows       (..., n)        last    (n,): one for each element
groups     (N, G, C, L)    2, 3    (G, C, 1): one for each channel
channels   (N, C, L)       0, 2    (C, 1)
columns    (N, C)          0       (C,)
=========  ==============  ======  =================================
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..build import vector_bytes
from ..kernel import kernel
from ..lang import (
    Ptr,
    T,
    U,
    Vec,
    allocate,
    bundle,
    device,
    f64,
    first_lanes,
    fma,
    i64,
    load,
    load_where,
    minimum,
    select,
    spread,
    sqrt,
    store,
    store_where,
    total,
    unrolled,
    void,
)
from .tiles import fill

__all__ = ["backward", "forward"]

_KINDS = (np.dtype(np.float32), np.dtype(np.float64))
#: Elements that a thread takes at a time, about.
CHUNK = 1 << 14
#: Elements that are summed before the sum goes on in float64.
_BLOCK = 1024
#: Columns that are worked on beside each other, and rows after which their sums go on in float64.
_WIDTH, _TALL = 64, 128
#: The most partial sums of a weight's gradient.
_PARTS = 64


# Sums over what lies together


@device(fast="contract")
def _with_term(  # type: ignore[no-untyped-def]
    sum: U, g: Ptr[T], w: Ptr[T], x: Ptr[T], m: U, left: i64, whole, weighted, term, W
) -> U:
    """A sum with the terms of a vector of elements (``whole``), or of the first ``left`` of them."""
    some = first_lanes(left, W)
    if term == "squares":
        d = (load(x, Vec[T, W]) if whole else load_where(x, Vec[T, W], some)) - m
        if not whole:
            d = select(some, d, spread(T(0), Vec[T, W]))
        return fma(d, d, sum)
    y = (load(g, Vec[T, W]) if whole else load_where(g, Vec[T, W], some))
    if weighted:
        y = y * (load(w, Vec[T, W]) if whole else load_where(w, Vec[T, W], some))
    if term == "moment":
        return fma(y, (load(x, Vec[T, W]) if whole else load_where(x, Vec[T, W], some)) - m, sum)
    return sum + y


@device(fast="contract reassoc")
def _sum(g: Ptr[T], w: Ptr[T], x: Ptr[T], m: T, n: i64, weighted, term, W) -> f64:  # type: ignore[no-untyped-def]
    """The sum of (x - m)² ("squares"), or of g·(x - m) ("moment") or g, with ``weighted`` times w."""
    made = f64(0.0)
    middle = spread(m, Vec[T, W])
    for k in range(0, n, _BLOCK):
        stop = minimum(k + _BLOCK, n)
        fours = stop - (stop - k) % (4 * W)
        part = bundle(4, spread(T(0), Vec[T, W]))
        for j in range(k, fours, 4 * W):
            for i in unrolled(4):
                at = j + i * W
                part[i] = _with_term(part[i], g + at, w + at, x + at, middle, W, whole=True, weighted=weighted, term=term, W=W)
        for j in range(fours, stop, W):
            part[0] = _with_term(part[0], g + j, w + j, x + j, middle, stop - j, whole=False, weighted=weighted, term=term, W=W)
        made += f64(total((part[0] + part[1]) + (part[2] + part[3])))
    return made


# Rows


@device(fast="contract")
def _normal(  # type: ignore[no-untyped-def]
    x: Ptr[T], out: Ptr[T], weight: Ptr[T], bias: Ptr[T], m: U, r: U, left: i64, whole, weighted, biased, W
) -> void:
    some = first_lanes(left, W)
    y = ((load(x, Vec[T, W]) if whole else load_where(x, Vec[T, W], some)) - m) * r
    if weighted:
        y = y * (load(weight, Vec[T, W]) if whole else load_where(weight, Vec[T, W], some))
    if biased:
        y = y + (load(bias, Vec[T, W]) if whole else load_where(bias, Vec[T, W], some))
    if whole:
        store(out, y)
    else:
        store_where(out, y, some)


@kernel(distinct=True, explicit=True)
def _rows(  # type: ignore[no-untyped-def]
    x: Ptr[T], weight: Ptr[T], bias: Ptr[T], out: Ptr[T], stats: Ptr[T], rows: i64, n: i64, eps: f64, weighted, biased, centered, W,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    whole = n - n % W
    for i in range(begin, end):
        row = x + i * n
        made = out + i * n
        m = T(0.0)
        if centered:
            m = T(_sum(row, row, row, m, n, weighted=False, term="", W=W) / f64(n))
            stats[i] = m
        variance = _sum(row, row, row, m, n, weighted=False, term="squares", W=W) / f64(n)
        r = T(1.0 / sqrt(variance + eps))
        stats[rows + i] = T(variance)
        stats[2 * rows + i] = r
        middle = spread(m, Vec[T, W])
        scale = spread(r, Vec[T, W])
        for j in range(0, whole, W):
            _normal(row + j, made + j, weight + j, bias + j, middle, scale, n - whole, whole=True, weighted=weighted, biased=biased, W=W)
        if whole < n:
            _normal(row + whole, made + whole, weight + whole, bias + whole, middle, scale, n - whole, whole=False, weighted=weighted, biased=biased, W=W)


@device(fast="contract")
def _normal_backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], x: Ptr[T], out: Ptr[T], weight: Ptr[T], scaled: Ptr[T], plain: Ptr[T], more: Ptr[T], m: U, r: U, mean: U, moment: U, left: i64,
    whole, weighted, wanted, centered, added, W,
) -> void:  # fmt: skip
    some = first_lanes(left, W)
    y = ((load(x, Vec[T, W]) if whole else load_where(x, Vec[T, W], some)) - m) * r
    d = (load(g, Vec[T, W]) if whole else load_where(g, Vec[T, W], some))
    if wanted:
        if whole:
            store(scaled, load(scaled, Vec[T, W]) + d * y)
            store(plain, load(plain, Vec[T, W]) + d)
        else:
            store_where(scaled, load_where(scaled, Vec[T, W], some) + d * y, some)
            store_where(plain, load_where(plain, Vec[T, W], some) + d, some)
    if weighted:
        d = d * (load(weight, Vec[T, W]) if whole else load_where(weight, Vec[T, W], some))
    if centered:
        d = d - mean
    d = (d - y * moment) * r
    if added:
        d = d + (load(more, Vec[T, W]) if whole else load_where(more, Vec[T, W], some))
    if whole:
        store(out, d)
    else:
        store_where(out, d, some)


@kernel(distinct=True, explicit=True)
def _rows_backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], x: Ptr[T], weight: Ptr[T], stats: Ptr[T], out: Ptr[T], parts: Ptr[T], more: Ptr[T], rows: i64, n: i64, grain: i64,
    weighted, wanted, centered, added, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """``parts`` (chunks, 2, n), with ``wanted``: the sums over a chunk's rows of g·normalised x and of g. ``more`` is ``added`` to the result."""
    scaled = parts + (begin // grain) * 2 * n
    plain = scaled + n
    if wanted:
        fill(scaled, 2 * n, W)
    whole = n - n % W
    for i in range(begin, end):
        gradient = g + i * n
        row = x + i * n
        made = out + i * n
        r = stats[2 * rows + i]
        m = T(0.0)
        if centered:
            m = stats[i]
        mean = T(0.0)
        if centered:
            mean = T(_sum(gradient, weight, row, m, n, weighted=weighted, term="", W=W) / f64(n))
        moment = T(_sum(gradient, weight, row, m, n, weighted=weighted, term="moment", W=W) / f64(n)) * r
        middle = spread(m, Vec[T, W])
        scale = spread(r, Vec[T, W])
        means = spread(mean, Vec[T, W])
        moments = spread(moment, Vec[T, W])
        for j in range(0, whole, W):
            _normal_backward(
                gradient + j, row + j, made + j, weight + j, scaled + j, plain + j, more + (i * n + j), middle, scale, means, moments, n - whole,
                whole=True, weighted=weighted, wanted=wanted, centered=centered, added=added, W=W
            )  # fmt: skip
        if whole < n:
            j = whole
            _normal_backward(
                gradient + j, row + j, made + j, weight + j, scaled + j, plain + j, more + (i * n + j), middle, scale, means, moments, n - whole,
                whole=False, weighted=weighted, wanted=wanted, centered=centered, added=added, W=W
            )  # fmt: skip


# Groups


@kernel(distinct=True, explicit=True)
def _groups(  # type: ignore[no-untyped-def]
    x: Ptr[T], weight: Ptr[T], bias: Ptr[T], out: Ptr[T], stats: Ptr[T], rows: i64, groups: i64, channels: i64, length: i64,
    eps: f64, weighted, biased, centered, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    n = channels * length
    for i in range(begin, end):
        row = x + i * n
        m = T(0.0)
        if centered:
            m = T(_sum(row, row, row, m, n, weighted=False, term="", W=W) / f64(n))
            stats[i] = m
        variance = _sum(row, row, row, m, n, weighted=False, term="squares", W=W) / f64(n)
        r = T(1.0 / sqrt(variance + eps))
        stats[rows + i] = T(variance)
        stats[2 * rows + i] = r
        first = (i % groups) * channels
        for c in range(channels):
            _spread(row + c * length, out + (i * n + c * length), weight, bias, first + c, m, r, length, weighted, biased, W)


@device
def _spread(  # type: ignore[no-untyped-def]
    x: Ptr[T], out: Ptr[T], weight: Ptr[T], bias: Ptr[T], c: i64, m: T, r: T, n: i64, weighted, biased, W
) -> void:
    """(x - m)·r·weight + bias of one channel."""
    scale = r
    shift = T(0.0)
    if weighted:
        scale = r * weight[c]
    if biased:
        shift = bias[c]
    middle = spread(m, Vec[T, W])
    scales = spread(scale, Vec[T, W])
    shifts = spread(shift, Vec[T, W])
    whole = n - n % W
    for j in range(0, whole, W):
        y = (load(x + j, Vec[T, W]) - middle) * scales
        if biased:
            y = y + shifts
        store(out + j, y)
    if whole < n:
        some = first_lanes(n - whole, W)
        y = (load_where(x + whole, Vec[T, W], some) - middle) * scales
        if biased:
            y = y + shifts
        store_where(out + whole, y, some)


@device
def _pull(g: Ptr[T], x: Ptr[T], out: Ptr[T], m: T, scale: T, mean: T, moment: T, n: i64, W) -> void:  # type: ignore[no-untyped-def]
    """g·scale - mean - (x - m)·moment."""
    middle = spread(m, Vec[T, W])
    scales = spread(scale, Vec[T, W])
    means = spread(mean, Vec[T, W])
    moments = spread(moment, Vec[T, W])
    whole = n - n % W
    for j in range(0, whole, W):
        store(out + j, load(g + j, Vec[T, W]) * scales - means - (load(x + j, Vec[T, W]) - middle) * moments)
    if whole < n:
        some = first_lanes(n - whole, W)
        store_where(out + whole, load_where(g + whole, Vec[T, W], some) * scales - means - (load_where(x + whole, Vec[T, W], some) - middle) * moments, some)


@kernel(distinct=True, explicit=True)
def _groups_backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], x: Ptr[T], weight: Ptr[T], stats: Ptr[T], out: Ptr[T], parts: Ptr[T], rows: i64, groups: i64, channels: i64,
    length: i64, weighted, centered, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """``parts`` (2, rows, channels): for each the sums over its places of g·normalised x and of g."""
    n = channels * length
    for i in range(begin, end):
        r = stats[2 * rows + i]
        m = T(0.0)
        if centered:
            m = stats[i]
        first = (i % groups) * channels
        scaled = parts + i * channels
        plain = parts + (rows + i) * channels
        mean = f64(0.0)
        moment = f64(0.0)
        for c in range(channels):
            at = i * n + c * length
            s = _sum(g + at, g, x + at, m, length, weighted=False, term="moment", W=W) * f64(r)
            p = _sum(g + at, g, x + at, m, length, weighted=False, term="", W=W)
            scaled[c] = T(s)
            plain[c] = T(p)
            if weighted:
                s = s * f64(weight[first + c])
                p = p * f64(weight[first + c])
            moment += s
            if centered:
                mean += p
        for c in range(channels):
            at = i * n + c * length
            scale = r
            if weighted:
                scale = r * weight[first + c]
            _pull(g + at, x + at, out + at, m, scale, T(mean / f64(n)) * r, T(moment / f64(n)) * r * r, length, W)


# Channels


@kernel(distinct=True, explicit=True)
def _channels(  # type: ignore[no-untyped-def]
    x: Ptr[T], weight: Ptr[T], bias: Ptr[T], out: Ptr[T], stats: Ptr[T], count: i64, channels: i64, length: i64, eps: f64,
    weighted, biased, centered, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """The statistics of each piece that lies together, merged after Chan, Golub and LeVeque (1979)."""
    for c in range(begin, end):
        mean = f64(0.0)
        spread_out = f64(0.0)
        for i in range(count):
            piece = x + (i * channels + c) * length
            if centered:
                m = _sum(piece, piece, piece, T(0.0), length, weighted=False, term="", W=W) / f64(length)
                d = m - mean
                # the squares are taken about a rounded mean, which is put right
                off = m - f64(T(m))
                squares = _sum(piece, piece, piece, T(m), length, weighted=False, term="squares", W=W)
                spread_out += squares - off * off * f64(length) + d * d * f64(length) * f64(i) / f64(i + 1)
                mean += d / f64(i + 1)
            else:
                spread_out += _sum(piece, piece, piece, T(0.0), length, weighted=False, term="squares", W=W)
        variance = spread_out / f64(count * length)
        r = T(1.0 / sqrt(variance + eps))
        if centered:
            stats[c] = T(mean)
        stats[channels + c] = T(variance)
        stats[2 * channels + c] = r
        for i in range(count):
            at = (i * channels + c) * length
            _spread(x + at, out + at, weight, bias, c, T(mean), r, length, weighted, biased, W)


@kernel(distinct=True, explicit=True)
def _channels_backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], x: Ptr[T], weight: Ptr[T], stats: Ptr[T], out: Ptr[T], parts: Ptr[T], count: i64, channels: i64, length: i64,
    weighted, centered, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """``parts`` (2, channels): the gradients of weight and bias."""
    for c in range(begin, end):
        r = stats[2 * channels + c]
        m = T(0.0)
        if centered:
            m = stats[c]
        moment = f64(0.0)
        mean = f64(0.0)
        for i in range(count):
            at = (i * channels + c) * length
            moment += _sum(g + at, g, x + at, m, length, weighted=False, term="moment", W=W)
            mean += _sum(g + at, g, x + at, m, length, weighted=False, term="", W=W)
        moment *= f64(r)
        parts[c] = T(moment)
        parts[channels + c] = T(mean)
        scale = r
        if weighted:
            scale = r * weight[c]
        whole = f64(count * length)
        less = T(0.0)
        if centered:
            less = T(mean / whole) * scale
        for i in range(count):
            at = (i * channels + c) * length
            _pull(g + at, x + at, out + at, m, scale, less, T(moment / whole) * r * scale, length, W)


# Columns: items are `_WIDTH` of them


@kernel(distinct=True, fast="contract reassoc")
def _columns(  # type: ignore[no-untyped-def]
    x: Ptr[T], weight: Ptr[T], bias: Ptr[T], out: Ptr[T], stats: Ptr[T], rows: i64, n: i64, eps: f64, weighted, biased, centered,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    sums = allocate(f64, _WIDTH)
    part = allocate(T, _WIDTH)
    for k in range(begin, end):
        at = k * _WIDTH
        width = minimum(n - at, _WIDTH)
        means = stats + at
        scales = stats + (2 * n + at)
        if centered:
            for j in range(width):
                sums[j] = 0.0
            for b in range(0, rows, _TALL):
                for j in range(width):
                    part[j] = 0.0
                for i in range(b, minimum(b + _TALL, rows)):
                    row = x + (i * n + at)
                    for j in range(width):
                        part[j] = part[j] + row[j]
                for j in range(width):
                    sums[j] = sums[j] + f64(part[j])
            for j in range(width):
                means[j] = T(sums[j] / f64(rows))
        for j in range(width):
            sums[j] = 0.0
        for b in range(0, rows, _TALL):
            for j in range(width):
                part[j] = 0.0
            for i in range(b, minimum(b + _TALL, rows)):
                row = x + (i * n + at)
                for j in range(width):
                    d = row[j]
                    if centered:
                        d = d - means[j]
                    part[j] = part[j] + d * d
            for j in range(width):
                sums[j] = sums[j] + f64(part[j])
        variances = stats + (n + at)
        for j in range(width):
            variance = sums[j] / f64(rows)
            variances[j] = T(variance)
            scales[j] = T(1.0 / sqrt(variance + eps))
        for i in range(rows):
            row = x + (i * n + at)
            made = out + (i * n + at)
            for j in range(width):
                y = row[j]
                if centered:
                    y = y - means[j]
                y = y * scales[j]
                if weighted:
                    y = y * weight[at + j]
                if biased:
                    y = y + bias[at + j]
                made[j] = y


@kernel(distinct=True, fast="contract reassoc")
def _columns_backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], x: Ptr[T], weight: Ptr[T], stats: Ptr[T], out: Ptr[T], parts: Ptr[T], rows: i64, n: i64, weighted, centered,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    """``parts`` (2, n): the gradients of weight and bias."""
    moments = allocate(f64, _WIDTH)
    sums = allocate(f64, _WIDTH)
    moment = allocate(T, _WIDTH)
    part = allocate(T, _WIDTH)
    means = allocate(T, _WIDTH)
    for k in range(begin, end):
        at = k * _WIDTH
        width = minimum(n - at, _WIDTH)
        scales = stats + (2 * n + at)
        for j in range(width):
            means[j] = 0.0
            if centered:
                means[j] = stats[at + j]
            moments[j] = 0.0
            sums[j] = 0.0
        for b in range(0, rows, _TALL):
            for j in range(width):
                moment[j] = 0.0
                part[j] = 0.0
            for i in range(b, minimum(b + _TALL, rows)):
                gradient = g + (i * n + at)
                row = x + (i * n + at)
                for j in range(width):
                    part[j] = part[j] + gradient[j]
                    moment[j] = moment[j] + gradient[j] * (row[j] - means[j])
            for j in range(width):
                moments[j] = moments[j] + f64(moment[j])
                sums[j] = sums[j] + f64(part[j])
        for j in range(width):
            s = moments[j] * f64(scales[j])
            parts[at + j] = T(s)
            parts[n + at + j] = T(sums[j])
            moment[j] = T(s / f64(rows)) * scales[j]
            part[j] = 0.0
            if centered:
                part[j] = T(sums[j] / f64(rows))
        for i in range(rows):
            gradient = g + (i * n + at)
            row = x + (i * n + at)
            made = out + (i * n + at)
            for j in range(width):
                d = (gradient[j] - part[j] - (row[j] - means[j]) * moment[j]) * scales[j]
                if weighted:
                    d = d * weight[at + j]
                made[j] = d


# From Python

_WAYS = {(4, (2, 3)): "groups", (3, (0, 2)): "channels", (2, (0,)): "columns"}


def _way(shape: tuple[int, ...], axes: tuple[int, ...], affine: Any) -> str:
    """Which kernels work on a shape; "" for none. ``affine`` may be None where there is no weight."""
    ndim = len(shape)
    if affine is None:
        return _WAYS.get((ndim, axes), "rows" if axes == (ndim - 1,) else "")
    if axes == (ndim - 1,) and tuple(affine) == shape[-1:]:
        return "rows"
    if ndim == 4 and axes == (2, 3) and tuple(affine) == (shape[1], shape[2], 1):
        return "groups"
    if ndim == 3 and axes == (0, 2) and tuple(affine) == (shape[1], 1):
        return "channels"
    if ndim == 2 and axes == (0,) and tuple(affine) == shape[1:]:
        return "columns"
    return ""


def _flat(a: Any) -> Any:
    return None if a is None else np.ascontiguousarray(a)


def forward(
    x: Any, weight: Any, bias: Any, axes: tuple[int, ...], affine: tuple[int, ...], eps: float, centered: bool
) -> Any:
    """(out, [mean, variance, 1/√(variance + eps)]), the statistics with the dimensions ``axes`` kept as 1."""
    d, shape = x.dtype, x.shape
    way = _way(shape, axes, affine)
    if not way or d not in _KINDS or not x.size or any(a is not None and a.dtype != d for a in (weight, bias)):
        return NotImplemented
    out = np.empty(shape, d)
    stats = np.empty((3, *[1 if i in axes else n for i, n in enumerate(shape)]), d)
    arrays = np.ascontiguousarray(x), _flat(weight), _flat(bias), out, stats
    known = {"T": d, "weighted": weight is not None, "biased": bias is not None, "centered": centered}
    vectors = {**known, "W": vector_bytes() // d.itemsize}
    n = shape[-1]
    if way == "rows":
        _rows(**vectors)(*arrays, x.size // n, n, eps, x.size // n, max(1, CHUNK // n))
    elif way == "groups":
        count, groups, channels, length = shape
        rows = count * groups
        _groups(**vectors)(
            *arrays, rows, groups, channels, length, eps, rows, max(1, CHUNK // (channels * length))
        )
    elif way == "channels":
        count, channels, length = shape
        _channels(**vectors)(*arrays, count, channels, length, eps, channels, max(1, CHUNK // (count * length)))
    else:
        _columns(**known)(*arrays, len(x), n, eps, -(-n // _WIDTH), max(1, CHUNK // (len(x) * _WIDTH)))
    return out, stats


def backward(
    g: Any, x: Any, weight: Any, stats: Any, axes: tuple[int, ...], affine: Any, centered: bool, wanted: bool, more: Any = None
) -> Any:
    """The gradients of (x, weight, bias), of shapes x, affine and affine, the first with ``more`` added; the last two only where ``wanted``."""
    d, shape = x.dtype, x.shape
    way = _way(shape, axes, affine)
    if not way or d not in _KINDS or not x.size or g.dtype != d or weight is not None and weight.dtype != d:
        return NotImplemented
    out = np.empty(shape, d)
    arrays = np.ascontiguousarray(g), np.ascontiguousarray(x), _flat(weight), np.ascontiguousarray(stats), out
    known = {"T": d, "weighted": weight is not None, "centered": centered}
    vectors = {**known, "W": vector_bytes() // d.itemsize}
    n = shape[-1]
    if way == "rows":
        rows = x.size // n
        grain = max(1, CHUNK // n)
        if wanted:  # few enough partial sums that they cost less than the rest
            grain = max(grain, 8, -(-rows // _PARTS))
        parts = np.empty((-(-rows // grain) if wanted else 0, 2, n), d)
        added = more is not None
        _rows_backward(**vectors, wanted=wanted, added=added)(
            *arrays, parts, np.ascontiguousarray(more, d) if added else None, rows, n, grain, rows, grain
        )
        sums = np.add.reduce(parts, 0)
    elif way == "groups":
        count, groups, channels, length = shape
        rows = count * groups
        parts = np.empty((2, count, groups * channels), d)
        _groups_backward(**vectors)(
            *arrays, parts, rows, groups, channels, length, rows, max(1, CHUNK // (channels * length))
        )
        sums = np.add.reduce(parts, 1)
    elif way == "channels":
        count, channels, length = shape
        sums = np.empty((2, channels), d)
        _channels_backward(**vectors)(
            *arrays, sums, count, channels, length, channels, max(1, CHUNK // (count * length))
        )
    else:
        sums = np.empty((2, n), d)
        _columns_backward(**known)(*arrays, sums, len(x), n, -(-n // _WIDTH), max(1, CHUNK // (len(x) * _WIDTH)))
    if more is not None and way != "rows":
        out += more
    if not wanted:
        return out, None, None
    return out, sums[0].reshape(affine), sums[1].reshape(affine)
