"""Max and mean pooling and their gradients over one, two or three dimensions, with windows of one size.

In: images (..., *spatial) of float32 or float64, and for each spatial dimension (elements, windows, elements of a window, stride, padding,
dilation). Out: the largest element of each window, and which place in its window it had, row by row, as a byte: the first of equals,
the last NaN; or the mean of each window.

A vector holds windows beside each other; where a window reaches into the margin its lane takes no part.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import build
from ..kernel import kernel
from ..lang import (
    Ptr,
    T,
    Vec,
    boolean,
    device,
    first_lanes,
    gather,
    i8,
    i32,
    i64,
    load_where,
    maximum,
    minimum,
    select,
    shuffle,
    spread,
    store_where,
    u8,
    void,
)
from .tiles import fill

__all__ = ["max_pool", "max_pool_gradient", "mean_pool"]

_KINDS = (np.dtype(np.float32), np.dtype(np.float64))
#: Elements that a thread takes at a time, about.
CHUNK = 1 << 14


def evens(width: int) -> tuple[int, ...]:
    return tuple(range(0, 2 * width, 2))


@device
def quotient_up(a: i64, b: i64) -> i64:
    """⌈a / b⌉, for a positive b; 0 for what is negative."""
    return select(a > 0, (a + b - 1) // b, 0)


@device
def inside(at: i64, n: i64, W) -> Vec[boolean, W]:  # type: ignore[no-untyped-def, name-defined]  # noqa: F821
    """Which of the places from ``at`` on are from 0 to n."""
    return first_lanes(n - at, W) & ~first_lanes(-at, W)


@kernel(explicit=True)
def _max_pool(
    x: Ptr[T], out: Ptr[T], place: Ptr[u8], nz: i64, ny: i64, nx: i64, oz: i64, oy: i64, ox: i64, kz: i64, ky: i64, kx: i64,
    sz: i64, sy: i64, sx: i64, pz: i64, py: i64, px: i64, dz: i64, dy: i64, dx: i64, S, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    for item in range(begin, end):
        image = x + item * nz * ny * nx
        made = out + item * oz * oy * ox
        mark = place + item * oz * oy * ox
        for row in range(oz * oy):
            z0 = row // oy * sz - pz
            y0 = row % oy * sy - py
            for first in range(0, ox, W):
                best = spread(T(-float("inf")), Vec[T, W])
                where = spread(i32(-1), Vec[i32, W])
                number = i32(0)
                for jz in range(kz):
                    for jy in range(ky):
                        z = z0 + jz * dz
                        y = y0 + jy * dy
                        if z >= 0 and z < nz and y >= 0 and y < ny:
                            line = image + (z * ny + y) * nx
                            for jx in range(kx):
                                at = first * sx - px + jx * dx
                                there = first_lanes(quotient_up(nx - at, sx), W) & ~first_lanes(quotient_up(-at, sx), W) & first_lanes(ox - first, W)
                                v = best
                                if S == 1:
                                    v = load_where(line + at, Vec[T, W], there)
                                elif S == 2:
                                    low = load_where(line + at, Vec[T, W], inside(at, nx, W))
                                    v = shuffle(low, load_where(line + at + W, Vec[T, W], inside(at + W, nx, W)), evens(W))
                                else:
                                    v = gather(line + at, sx, Vec[T, W], there)
                                better = there & ((v > best) | (v != v) | (where < 0))
                                best = select(better, v, best)
                                where = select(better, spread(number, Vec[i32, W]), where)
                                number += 1
                        else:
                            number += i32(kx)
                rest = first_lanes(ox - first, W)
                store_where(made + row * ox + first, best, rest)
                store_where(mark + row * ox + first, i8(where), rest)


@kernel(explicit=True)
def _max_pool_gradient(
    g: Ptr[T], place: Ptr[u8], out: Ptr[T], shift: Ptr[i64], n: i64, ny: i64, nx: i64, oz: i64, oy: i64, ox: i64,
    sz: i64, sy: i64, sx: i64, pz: i64, py: i64, px: i64, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    for item in range(begin, end):
        image = out + item * n
        fill(image, n, W)
        for row in range(oz * oy):
            at = ((row // oy * sz - pz) * ny + row % oy * sy - py) * nx - px
            source = (item * oz * oy + row) * ox
            for i in range(ox):
                to = at + i * sx + shift[i64(place[source + i])]
                image[to] = image[to] + g[source + i]


def numbers(rules: tuple[Any, ...]) -> list[list[int]]:
    """(elements, windows, window, stride, padding, dilation), each of three numbers."""
    filled = [(1, 1, 1, 1, 0, 1)] * (3 - len(rules)) + [r[1:] for r in rules]
    return [list(column) for column in zip(*filled)]


def suits(d: Any, rules: tuple[Any, ...]) -> bool:
    return d in _KINDS and len(rules) <= 3 and all([r[0] == "window" for r in rules]) and math.prod([r[3] for r in rules]) <= 256


def max_pool(x: Any, rules: tuple[Any, ...]) -> Any:
    """(the largest element of each window, its place), or NotImplemented."""
    d = x.dtype
    if not suits(d, rules):
        return NotImplemented
    n, o, k, s, p, t = numbers(rules)
    shape = (*x.shape[: -len(rules)], *[r[2] for r in rules])
    out, where = np.empty(shape, d), np.empty(shape, np.uint8)
    images = math.prod(shape[: -len(rules)])
    kind = s[2] if s[2] < 3 else 0
    _max_pool(T=d, S=kind, W=build.vector_bytes() // d.itemsize)(
        np.ascontiguousarray(x), out, where, *n, *o, *k, *s, *p, *t, images, max(1, CHUNK // max(1, math.prod(o)))
    )
    return out, where


def max_pool_gradient(g: Any, where: Any, rules: tuple[Any, ...]) -> Any:
    """Each window's gradient added where its largest element was, or NotImplemented."""
    d = g.dtype
    if not suits(d, rules) or where.dtype != np.uint8:
        return NotImplemented
    n, o, k, s, p, t = numbers(rules)
    steps = [n[1] * n[2], n[2], 1]
    shifts = sum(np.arange(a).reshape(-1, *(1,) * (2 - i)) * (b * c) for i, (a, b, c) in enumerate(zip(k, t, steps)))
    shape = (*g.shape[: -len(rules)], *[r[1] for r in rules])
    out = np.empty(shape, d)
    images = math.prod(shape[: -len(rules)])
    _max_pool_gradient(T=d, W=build.vector_bytes() // d.itemsize)(
        np.ascontiguousarray(g), np.ascontiguousarray(where), out, np.ascontiguousarray(shifts, np.int64).reshape(-1), math.prod(n), n[1], n[2], *o, *s, *p,
        images, max(1, CHUNK // max(1, math.prod(n)))
    )  # fmt: skip
    return out


@kernel(explicit=True)
def _mean_pool(
    x: Ptr[T], by: Ptr[T], out: Ptr[T], nz: i64, ny: i64, nx: i64, oz: i64, oy: i64, ox: i64, kz: i64, ky: i64, kx: i64,
    sz: i64, sy: i64, sx: i64, pz: i64, py: i64, px: i64, S, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    for item in range(begin, end):
        image = x + item * nz * ny * nx
        made = out + item * oz * oy * ox
        for row in range(oz * oy):
            z0 = row // oy * sz - pz
            y0 = row % oy * sy - py
            for first in range(0, ox, W):
                rest = first_lanes(ox - first, W)
                sums = spread(T(0), Vec[T, W])
                for z in range(maximum(z0, 0), minimum(z0 + kz, nz)):
                    for y in range(maximum(y0, 0), minimum(y0 + ky, ny)):
                        line = image + (z * ny + y) * nx
                        for jx in range(kx):
                            at = first * sx - px + jx
                            if S == 1:
                                sums = sums + load_where(line + at, Vec[T, W], rest & inside(at, nx, W))
                            elif S == 2:
                                low = load_where(line + at, Vec[T, W], inside(at, nx, W))
                                sums = sums + shuffle(low, load_where(line + at + W, Vec[T, W], inside(at + W, nx, W)), evens(W))
                            else:
                                there = first_lanes(quotient_up(nx - at, sx), W) & ~first_lanes(quotient_up(-at, sx), W) & rest
                                sums = sums + gather(line + at, sx, Vec[T, W], there)
                store_where(made + row * ox + first, sums / load_where(by + row * ox + first, Vec[T, W], rest), rest)


@kernel(explicit=True)
def _mean_pool_gradient(
    g: Ptr[T], by: Ptr[T], out: Ptr[T], nz: i64, ny: i64, nx: i64, oz: i64, oy: i64, ox: i64, kz: i64, ky: i64, kx: i64,
    sz: i64, sy: i64, sx: i64, pz: i64, py: i64, px: i64, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    for item in range(begin, end):
        image = out + item * nz * ny * nx
        fill(image, nz * ny * nx, W)
        source = g + item * oz * oy * ox
        for row in range(oz * oy):
            z0 = row // oy * sz - pz
            y0 = row % oy * sy - py
            for z in range(maximum(z0, 0), minimum(z0 + kz, nz)):
                for y in range(maximum(y0, 0), minimum(y0 + ky, ny)):
                    line = image + (z * ny + y) * nx
                    for jx in range(kx):
                        first = quotient_up(px - jx, sx)
                        last = minimum(ox, quotient_up(nx + px - jx, sx))
                        to = line + jx - px
                        if sx == 1:
                            for i in range(first, last, W):
                                rest = first_lanes(last - i, W)
                                share = load_where(source + row * ox + i, Vec[T, W], rest) / load_where(by + row * ox + i, Vec[T, W], rest)
                                store_where(to + i, load_where(to + i, Vec[T, W], rest) + share, rest)
                        else:
                            for i in range(first, last):
                                to[i * sx] = to[i * sx] + source[row * ox + i] / by[row * ox + i]


def mean_pool(x: Any, rules: tuple[Any, ...], by: Any, transposed: bool) -> Any:
    """The sum of each window over ``by``; transposed, each window's number over ``by`` shared out to it. Or NotImplemented."""
    d = x.dtype
    if d not in _KINDS or len(rules) > 3 or not all([r[0] == "window" and r[6] == 1 for r in rules]):
        return NotImplemented
    n, o, k, s, p, _ = numbers(rules)
    lead = x.shape[: -len(rules)]
    by = np.array(np.broadcast_to(by, [r[2] for r in rules]), d)
    out = np.empty((*lead, *[r[1 if transposed else 2] for r in rules]), d)
    images, x = math.prod(lead), np.ascontiguousarray(x)
    width = build.vector_bytes() // d.itemsize
    chunk = max(1, CHUNK // max(1, math.prod(n)))
    if transposed:
        _mean_pool_gradient(T=d, W=width)(x, by, out, *n, *o, *k, *s, *p, images, chunk)
    else:
        _mean_pool(T=d, S=s[2] if s[2] < 3 else 0, W=width)(x, by, out, *n, *o, *k, *s, *p, images, chunk)
    return out
