"""Convolutions in which each channel has kernels of its own (depthwise), over one or two dimensions.

In: images (N, C, *) and weights (C · m, 1, *kernel), float32. Out: the convolution, its gradient in the images, its gradient in the
weight. An image's plane is laid out with its margins in memory of the thread's own, columns taken apart by stride, and worked on while
it is in the first-level cache. The gradient in the images is a convolution too, of output gradients with zeros between them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ..kernel import kernel
from ..lang import (
    Ptr,
    T,
    Vec,
    bundle,
    device,
    first_lanes,
    fma,
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
from .tiles import Room, fill, give_back, lanes, take

__all__ = ["convolve", "images_gradient", "suits", "weight_gradient"]

F32 = np.dtype(np.float32)
#: Sums that are worked on beside each other; places of the kernel whose gradients are.
SUMS, PLACES = 8, 9

Sizes = tuple[int, ...]


@device(inline=False)
def lay(x: Ptr[T], ny: i64, nx: i64, py: i64, px: i64, ey: i64, ex: i64, made: Ptr[T], rows: i64, row: i64, sx: i64, W) -> void:  # type: ignore[no-untyped-def]
    """A plane whose element (y, x) goes to (py + y·ey, px + x·ex), zeros elsewhere; column c to part c % sx, place c // sx, of parts
    of ``rows`` rows. One of ex and sx is 1."""
    fill(made, sx * rows * row, W)
    for y in range(ny):
        at = py + y * ey
        if at >= 0 and at < rows:
            source = x + y * nx
            to = made + at * row
            if sx == 1 and ex == 1:
                low = maximum(0, -px)
                high = minimum(nx, row - px)
                for i in range(low, high, W):
                    rest = first_lanes(high - i, W)
                    store_where(to + px + i, load_where(source + i, Vec[T, W], rest), rest)
            elif ex == 1:
                low = maximum(0, -px)
                high = minimum(nx, sx * row - px)
                for k in range(sx):
                    first = low + (k + sx - (low + px) % sx) % sx
                    part = to + k * rows * row + (first + px) // sx
                    for i in range((high - first + sx - 1) // sx):
                        part[i] = source[first + i * sx]
            else:  # zeros between: backwards, where nothing is taken apart
                low = (maximum(0, -px) + ex - 1) // ex
                high = minimum(nx, (row - px + ex - 1) // ex)
                for i in range(low, high):
                    to[px + i * ex] = source[i]


@kernel(explicit=True)
def _convolve(
    x: Ptr[T], weight: Ptr[T], bias: Ptr[T], out: Ptr[T], shifts: Ptr[i64], room: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64, taps: i64, kernels: i64,
    channels: i64, each: i64, plane_step: i64, sum_step: i64, ny: i64, nx: i64, py: i64, px: i64, ey: i64, ex: i64, rows: i64, row: i64, sy: i64, sx: i64,
    oy: i64, ox: i64, add, V, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """For planes of outputs; each is the sum over ``each`` planes of x, from ``plane_step`` times its number on (over several kernels of a
    channel, backwards), ``kernels`` outputs sharing a plane."""
    slot = take(slots, slot_count)
    laid = room + slot * size
    R = SUMS // V
    for item in range(begin, end):
        made = out + item * oy * ox
        for e in range(each):
            plane = item // kernels * plane_step + e
            lay(x + plane * ny * nx, ny, nx, py, px, ey, ex, laid, rows, row, sx, W)
            w = weight + (item % channels * sum_step + e) * taps
            for y in range(0, oy, R):
                for c in range(0, ox, V * W):
                    sums = bundle(SUMS, spread(bias[item % channels], Vec[T, W]))
                    at = bundle(R, laid)
                    for i in unrolled(R):
                        at[i] = laid + minimum(y + i, oy - 1) * sy * row + c
                    for k in range(taps):
                        s = spread(w[k], Vec[T, W])
                        shift = shifts[k]
                        for i in unrolled(R):
                            for j in unrolled(V):
                                sums[i * V + j] = fma(load(at[i] + shift + j * W, Vec[T, W]), s, sums[i * V + j])
                    for i in unrolled(R):
                        if y + i < oy:
                            for j in unrolled(V):
                                to = made + (y + i) * ox + c + j * W
                                rest = first_lanes(ox - c - j * W, W)
                                value = sums[i * V + j] + spread(T(0), Vec[T, W])
                                if add:
                                    if e > 0:
                                        value = value + load_where(to, Vec[T, W], rest)
                                store_where(to, value, rest)
    give_back(slots, slot)


@kernel(explicit=True)
def _weights(
    x: Ptr[T], g: Ptr[T], made: Ptr[T], shifts: Ptr[i64], room: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64, taps: i64, n: i64, kernels: i64, channels: i64,
    ny: i64, nx: i64, py: i64, px: i64, rows: i64, row: i64, sy: i64, sx: i64, oy: i64, ox: i64, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """The gradient of the weights of channels from begin to end, images in order."""
    slot = take(slots, slot_count)
    held = room + slot * size
    sums_at = kernels * taps
    laid = held + (sums_at + PLACES) * W
    for c in range(begin, end):
        fill(held, (sums_at + PLACES) * W, W)
        for i in range(n):
            lay(x + (i * channels + c) * ny * nx, ny, nx, py, px, 1, 1, laid, rows, row, sx, W)
            for m in range(kernels):
                gradient = g + ((i * channels + c) * kernels + m) * oy * ox
                for k in range(0, taps, PLACES):
                    sums = bundle(PLACES, spread(T(0), Vec[T, W]))
                    at = bundle(PLACES, laid)
                    for j in unrolled(PLACES):
                        at[j] = laid + shifts[k + j]
                    for y in range(oy):
                        for q in range(0, ox, W):
                            v = load_where(gradient + y * ox + q, Vec[T, W], first_lanes(ox - q, W))
                            for j in unrolled(PLACES):
                                sums[j] = fma(load(at[j] + y * sy * row + q, Vec[T, W]), v, sums[j])
                    for j in unrolled(PLACES):
                        if k + j < taps:
                            to = held + (m * taps + k + j) * W
                            store(to, load(to, Vec[T, W]) + sums[j])
        for k in range(sums_at):
            made[c * sums_at + k] = total(load(held + k * W, Vec[T, W]))
    give_back(slots, slot)


def pair(sizes: Any, missing: int) -> tuple[int, int]:
    return (missing, *sizes) if len(sizes) == 1 else tuple(sizes)  # type: ignore[return-value]


def suits(channels: int, each: int, groups: int, spatial: Sizes) -> bool:
    """Whether each channel has kernels of its own, and its plane fits the second-level cache."""
    return each == 1 and channels == groups and len(spatial) < 3 and math.prod(spatial) <= 1 << 17


@lru_cache(256)
def table(kernel: tuple[int, int], dilation: tuple[int, int], rows: int, row: int, sx: int, turned: bool) -> Any:
    """Where the windows' places begin in a plane that was laid out, with spare zeros behind."""
    made = [
        b * dilation[1] % sx * rows * row + a * dilation[0] * row + b * dilation[1] // sx for a in range(kernel[0]) for b in range(kernel[1])
    ]
    return np.array((made[::-1] if turned else made) + [0] * PLACES, np.int64)


def frame(out: Any, kernel: Any, stride: Any, dilation: Any) -> tuple[int, int, int]:
    """(rows, columns of a part, numbers) of a plane that holds all windows; vectors read beyond the last."""
    rows = (out[0] - 1) * stride[0] + dilation[0] * (kernel[0] - 1) + 1
    row = -(-((out[1] - 1) * stride[1] + dilation[1] * (kernel[1] - 1) + 1) // stride[1])
    return rows, row, rows * row * stride[1] + 4 * lanes()


def run(x: Any, weight: Any, bias: Any, made: Any, out: Any, kernel: Any, low: Any, stuffed: Any, stride: Any, dilation: Any, turned: bool) -> Any:
    n, channels = made.shape[:2]
    ny, nx = pair(x.shape[2:], 1)
    planes = x.shape[1]
    rows, row, size = frame(out, kernel, stride, dilation)
    room = Room(size)
    W = lanes()
    V = 1 if out[1] <= W else 2
    each = planes // channels if turned else 1
    kernels = 1 if turned else channels // planes
    if bias is None:
        bias = np.zeros(channels, F32)
    _convolve(T=F32, add=each > 1, V=V, W=W)(
        np.ascontiguousarray(x), np.ascontiguousarray(weight), np.ascontiguousarray(bias), made, table(kernel, dilation, rows, row, stride[1], turned), room.memory,
        room.slots, room.count, room.size, math.prod(kernel), kernels, channels, each, each, each, ny, nx, *low, *stuffed, rows, row, *stride, *out, n * channels,
        max(1, (1 << 12) // (out[0] * out[1])),
    )  # fmt: skip
    room.release()
    return made


def convolve(x: Any, weight: Any, bias: Any, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """The convolution of images with a weight, plus bias."""
    made = np.empty((len(x), len(weight), *out), F32)
    return run(x, weight, bias, made, pair(out, 1), pair(weight.shape[2:], 1), pair(padding, 0), (1, 1), pair(stride, 1), pair(dilation, 1), False)


def images_gradient(g: Any, weight: Any, spatial: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The transpose of `convolve` in its images: from (N, O, *) to (N, C, *spatial)."""
    made = np.empty((len(g), groups, *spatial), F32)
    kernel, d, p = pair(weight.shape[2:], 1), pair(dilation, 1), pair(padding, 0)
    low = tuple([b * (k - 1) - a for a, b, k in zip(p, d, kernel)])
    return run(g, weight, None, made, pair(spatial, 1), kernel, low, pair(stride, 1), (1, 1), d, True)


def weight_gradient(x: Any, g: Any, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """The gradient (of shape ``size``) of `convolve` in its weight."""
    kernel, d, s, out = pair(size[2:], 1), pair(dilation, 1), pair(stride, 1), pair(g.shape[2:], 1)
    n, channels = x.shape[:2]
    rows, row, need = frame(out, kernel, s, d)
    W, taps, kernels = lanes(), math.prod(kernel), g.shape[1] // channels
    room = Room(need + (kernels * taps + PLACES) * W)
    made = np.empty(size, F32)
    _weights(T=F32, W=W)(
        np.ascontiguousarray(x), np.ascontiguousarray(g), made, table(kernel, d, rows, row, s[1], False), room.memory, room.slots, room.count, room.size, taps,
        n, kernels, channels, *pair(x.shape[2:], 1), *pair(padding, 0), rows, row, *s, *out, channels, 1
    )  # fmt: skip
    room.release()
    return made
