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

from ..kernel import kernel
from ..lang import Ptr, T, allocate, device, f64, i64, minimum, sqrt, void

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


@device(fast="contract reassoc")
def _sum(x: Ptr[T], n: i64) -> f64:
    made = f64(0.0)
    for k in range(0, n, _BLOCK):
        part = T(0.0)
        for j in range(k, minimum(k + _BLOCK, n)):
            part += x[j]
        made += f64(part)
    return made


@device(fast="contract reassoc")
def _squares(x: Ptr[T], m: T, n: i64) -> f64:
    """The sum of (x - m)²."""
    made = f64(0.0)
    for k in range(0, n, _BLOCK):
        part = T(0.0)
        for j in range(k, minimum(k + _BLOCK, n)):
            d = x[j] - m
            part += d * d
        made += f64(part)
    return made


@device(fast="contract reassoc")
def _moment(g: Ptr[T], x: Ptr[T], m: T, n: i64) -> f64:
    """The sum of g·(x - m)."""
    made = f64(0.0)
    for k in range(0, n, _BLOCK):
        part = T(0.0)
        for j in range(k, minimum(k + _BLOCK, n)):
            part += g[j] * (x[j] - m)
        made += f64(part)
    return made


@device(fast="contract reassoc")
def _weighted_sum(g: Ptr[T], w: Ptr[T], n: i64) -> f64:
    made = f64(0.0)
    for k in range(0, n, _BLOCK):
        part = T(0.0)
        for j in range(k, minimum(k + _BLOCK, n)):
            part += g[j] * w[j]
        made += f64(part)
    return made


@device(fast="contract reassoc")
def _weighted_moment(g: Ptr[T], w: Ptr[T], x: Ptr[T], m: T, n: i64) -> f64:
    made = f64(0.0)
    for k in range(0, n, _BLOCK):
        part = T(0.0)
        for j in range(k, minimum(k + _BLOCK, n)):
            part += g[j] * w[j] * (x[j] - m)
        made += f64(part)
    return made


# Rows


@kernel(distinct=True)
def _rows(  # type: ignore[no-untyped-def]
    x: Ptr[T], weight: Ptr[T], bias: Ptr[T], out: Ptr[T], stats: Ptr[T], rows: i64, n: i64, eps: f64, weighted, biased, centered,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    for i in range(begin, end):
        row = x + i * n
        made = out + i * n
        m = T(0.0)
        if centered:
            m = T(_sum(row, n) / f64(n))
            stats[i] = m
        variance = _squares(row, m, n) / f64(n)
        r = T(1.0 / sqrt(variance + eps))
        stats[rows + i] = T(variance)
        stats[2 * rows + i] = r
        for j in range(n):
            y = (row[j] - m) * r
            if weighted:
                y = y * weight[j]
            if biased:
                y = y + bias[j]
            made[j] = y


@kernel(distinct=True)
def _rows_backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], x: Ptr[T], weight: Ptr[T], stats: Ptr[T], out: Ptr[T], parts: Ptr[T], rows: i64, n: i64, grain: i64,
    weighted, wanted, centered, begin: i64, end: i64,
) -> void:  # fmt: skip
    """``parts`` (chunks, 2, n), with ``wanted``: the sums over a chunk's rows of g·normalised x and of g."""
    scaled = parts + (begin // grain) * 2 * n
    plain = scaled + n
    if wanted:
        for j in range(2 * n):
            scaled[j] = 0.0
    for i in range(begin, end):
        gradient = g + i * n
        row = x + i * n
        made = out + i * n
        r = stats[2 * rows + i]
        m = T(0.0)
        if centered:
            m = stats[i]
        mean = T(0.0)
        if weighted:
            if centered:
                mean = T(_weighted_sum(gradient, weight, n) / f64(n))
            moment = T(_weighted_moment(gradient, weight, row, m, n) / f64(n)) * r
        else:
            if centered:
                mean = T(_sum(gradient, n) / f64(n))
            moment = T(_moment(gradient, row, m, n) / f64(n)) * r
        for j in range(n):
            y = (row[j] - m) * r
            d = gradient[j]
            if wanted:
                scaled[j] = scaled[j] + d * y
                plain[j] = plain[j] + d
            if weighted:
                d = d * weight[j]
            if centered:
                d = d - mean
            made[j] = (d - y * moment) * r


# Groups


@kernel(distinct=True)
def _groups(  # type: ignore[no-untyped-def]
    x: Ptr[T], weight: Ptr[T], bias: Ptr[T], out: Ptr[T], stats: Ptr[T], rows: i64, groups: i64, channels: i64, length: i64,
    eps: f64, weighted, biased, centered, begin: i64, end: i64,
) -> void:  # fmt: skip
    n = channels * length
    for i in range(begin, end):
        row = x + i * n
        m = T(0.0)
        if centered:
            m = T(_sum(row, n) / f64(n))
            stats[i] = m
        variance = _squares(row, m, n) / f64(n)
        r = T(1.0 / sqrt(variance + eps))
        stats[rows + i] = T(variance)
        stats[2 * rows + i] = r
        first = (i % groups) * channels
        for c in range(channels):
            _spread(row + c * length, out + (i * n + c * length), weight, bias, first + c, m, r, length, weighted, biased)


@device
def _spread(  # type: ignore[no-untyped-def]
    x: Ptr[T], out: Ptr[T], weight: Ptr[T], bias: Ptr[T], c: i64, m: T, r: T, n: i64, weighted, biased
) -> void:
    """(x - m)·r·weight + bias of one channel."""
    scale = r
    shift = T(0.0)
    if weighted:
        scale = r * weight[c]
    if biased:
        shift = bias[c]
    for j in range(n):
        y = (x[j] - m) * scale
        if biased:
            y = y + shift
        out[j] = y


@device
def _pull(g: Ptr[T], x: Ptr[T], out: Ptr[T], m: T, scale: T, mean: T, moment: T, n: i64) -> void:
    """g·scale - mean - (x - m)·moment."""
    for j in range(n):
        out[j] = g[j] * scale - mean - (x[j] - m) * moment


@kernel(distinct=True)
def _groups_backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], x: Ptr[T], weight: Ptr[T], stats: Ptr[T], out: Ptr[T], parts: Ptr[T], rows: i64, groups: i64, channels: i64,
    length: i64, weighted, centered, begin: i64, end: i64,
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
            s = _moment(g + at, x + at, m, length) * f64(r)
            p = _sum(g + at, length)
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
            _pull(g + at, x + at, out + at, m, scale, T(mean / f64(n)) * r, T(moment / f64(n)) * r * r, length)


# Channels


@kernel(distinct=True)
def _channels(  # type: ignore[no-untyped-def]
    x: Ptr[T], weight: Ptr[T], bias: Ptr[T], out: Ptr[T], stats: Ptr[T], count: i64, channels: i64, length: i64, eps: f64,
    weighted, biased, centered, begin: i64, end: i64,
) -> void:  # fmt: skip
    """The statistics of each piece that lies together, merged after Chan, Golub and LeVeque (1979)."""
    for c in range(begin, end):
        mean = f64(0.0)
        spread = f64(0.0)
        for i in range(count):
            piece = x + (i * channels + c) * length
            if centered:
                m = _sum(piece, length) / f64(length)
                d = m - mean
                # the squares are taken about a rounded mean, which is put right
                off = m - f64(T(m))
                spread += _squares(piece, T(m), length) - off * off * f64(length) + d * d * f64(length) * f64(i) / f64(i + 1)
                mean += d / f64(i + 1)
            else:
                spread += _squares(piece, T(0.0), length)
        variance = spread / f64(count * length)
        r = T(1.0 / sqrt(variance + eps))
        if centered:
            stats[c] = T(mean)
        stats[channels + c] = T(variance)
        stats[2 * channels + c] = r
        for i in range(count):
            at = (i * channels + c) * length
            _spread(x + at, out + at, weight, bias, c, T(mean), r, length, weighted, biased)


@kernel(distinct=True)
def _channels_backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], x: Ptr[T], weight: Ptr[T], stats: Ptr[T], out: Ptr[T], parts: Ptr[T], count: i64, channels: i64, length: i64,
    weighted, centered, begin: i64, end: i64,
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
            moment += _moment(g + at, x + at, m, length)
            mean += _sum(g + at, length)
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
            _pull(g + at, x + at, out + at, m, scale, less, T(moment / whole) * r * scale, length)


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
    n = shape[-1]
    if way == "rows":
        _rows(**known)(*arrays, x.size // n, n, eps, x.size // n, max(1, CHUNK // n))
    elif way == "groups":
        count, groups, channels, length = shape
        rows = count * groups
        _groups(**known)(
            *arrays, rows, groups, channels, length, eps, rows, max(1, CHUNK // (channels * length))
        )
    elif way == "channels":
        count, channels, length = shape
        _channels(**known)(*arrays, count, channels, length, eps, channels, max(1, CHUNK // (count * length)))
    else:
        _columns(**known)(*arrays, len(x), n, eps, -(-n // _WIDTH), max(1, CHUNK // (len(x) * _WIDTH)))
    return out, stats


def backward(
    g: Any, x: Any, weight: Any, stats: Any, axes: tuple[int, ...], affine: Any, centered: bool, wanted: bool
) -> Any:
    """The gradients of (x, weight, bias), of shapes x, affine and affine; the last two only where ``wanted``."""
    d, shape = x.dtype, x.shape
    way = _way(shape, axes, affine)
    if not way or d not in _KINDS or not x.size or g.dtype != d or weight is not None and weight.dtype != d:
        return NotImplemented
    out = np.empty(shape, d)
    arrays = np.ascontiguousarray(g), np.ascontiguousarray(x), _flat(weight), np.ascontiguousarray(stats), out
    known = {"T": d, "weighted": weight is not None, "centered": centered}
    n = shape[-1]
    if way == "rows":
        rows = x.size // n
        grain = max(1, CHUNK // n)
        if wanted:  # few enough partial sums that they cost less than the rest
            grain = max(grain, 8, -(-rows // _PARTS))
        parts = np.empty((-(-rows // grain) if wanted else 0, 2, n), d)
        _rows_backward(**known, wanted=wanted)(*arrays, parts, rows, n, grain, rows, grain)
        sums = np.add.reduce(parts, 0)
    elif way == "groups":
        count, groups, channels, length = shape
        rows = count * groups
        parts = np.empty((2, count, groups * channels), d)
        _groups_backward(**known)(
            *arrays, parts, rows, groups, channels, length, rows, max(1, CHUNK // (channels * length))
        )
        sums = np.add.reduce(parts, 1)
    elif way == "channels":
        count, channels, length = shape
        sums = np.empty((2, channels), d)
        _channels_backward(**known)(
            *arrays, sums, count, channels, length, channels, max(1, CHUNK // (count * length))
        )
    else:
        sums = np.empty((2, n), d)
        _columns_backward(**known)(*arrays, sums, len(x), n, -(-n // _WIDTH), max(1, CHUNK // (len(x) * _WIDTH)))
    if not wanted:
        return out, None, None
    return out, sums[0].reshape(affine), sums[1].reshape(affine)
