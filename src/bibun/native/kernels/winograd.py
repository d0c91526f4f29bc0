"""Convolutions with 3×3 kernels at stride 1 by Winograd's minimal filtering, F(2×2, 3×3): 16 multiplications where 36 are asked.

In: images (N, C, H, W) and weights (O, C, 3, 3), float32. Out: the convolution, its gradient in the images (the same with the kernel
turned around), its gradient in the weight. An output tile of 2×2 is Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A of an input tile d of 4×4 and a kernel g
(Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, 2016); summed over channels, ⊙ is 16 products of matrices. The
transforms add and halve only, so that results are as near to the true ones as those of the plain sum.

A chunk of work is some rows of tiles, small enough that what is made of them stays in the second-level cache. In there channels lie
side by side, as vectors. Numbers that are not finite would spread to their whole tile: the caller is told, and takes another way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernel import kernel
from ..lang import (
    Ptr,
    T,
    Vec,
    allocate,
    bundle,
    device,
    fma,
    i64,
    load,
    maximum,
    minimum,
    spread,
    store,
    total,
    unrolled,
    void,
)
from .tiles import Room, fill, give_back, lanes, multiply, register_rows, take, turn_in, turn_out

__all__ = ["convolve", "suits", "weight_gradient"]

F32 = np.dtype(np.float32)
#: Numbers of one transformed operand in a chunk, about: 16 planes of tiles × channels.
CHUNK = 1 << 16
#: Numbers that all partial weight gradients together may take, and the most of them.
PARTS_SIZE, PARTS = 1 << 22, 16


@device(inline=False)
def fetch(x: Ptr[T], h: i64, w: i64, channels: i64, c_room: i64, y: i64, x_first: i64, width: i64, made: Ptr[T], row: i64, rows, W) -> void:  # type: ignore[no-untyped-def]
    """Some rows of an image from (y, x_first) on, channels side by side; zeros outside of it."""
    begin = maximum(x_first, 0)
    end = maximum(minimum(x_first + width, w), begin)
    for j in range(rows):
        line = made + j * row
        if y + j >= 0 and y + j < h:
            fill(line, minimum(begin - x_first, width) * c_room, W)
            for c in range(0, c_room, W):
                for k in range(begin, end, W):
                    turn_in(x + (c * h + y + j) * w + k, h * w, channels - c, end - k, line + (k - x_first) * c_room + c, c_room, W)
            if end - x_first < width:
                fill(line + (end - x_first) * c_room, (width - end + x_first) * c_room, W)
        else:
            fill(line, width * c_room, W)


@device(inline=False)
def image_tiles(rows: Ptr[T], row: i64, c_room: i64, many: i64, made: Ptr[T], plane: i64, W) -> void:  # type: ignore[no-untyped-def]
    """Bᵀ d B of the tiles of a row."""
    for q in range(many):
        for c in range(0, c_room, W):
            d = bundle(16, load(rows + 2 * q * c_room + c, Vec[T, W]))
            for j in unrolled(4):
                for i in unrolled(4):
                    d[4 * j + i] = load(rows + j * row + (2 * q + i) * c_room + c, Vec[T, W])
            for i in unrolled(4):
                d0 = d[i]
                d1 = d[4 + i]
                d2 = d[8 + i]
                d3 = d[12 + i]
                d[i] = d0 - d2
                d[4 + i] = d1 + d2
                d[8 + i] = d2 - d1
                d[12 + i] = d1 - d3
            for j in unrolled(4):
                at = made + 4 * j * plane + q * c_room + c
                store(at, d[4 * j] - d[4 * j + 2])
                store(at + plane, d[4 * j + 1] + d[4 * j + 2])
                store(at + 2 * plane, d[4 * j + 2] - d[4 * j + 1])
                store(at + 3 * plane, d[4 * j + 1] - d[4 * j + 3])


@device(inline=False)
def gradient_tiles(rows: Ptr[T], row: i64, c_room: i64, many: i64, made: Ptr[T], plane: i64, W) -> void:  # type: ignore[no-untyped-def]
    """A g Aᵀ of the tiles of a row of output gradients."""
    for q in range(many):
        for c in range(0, c_room, W):
            at = rows + 2 * q * c_room + c
            a = load(at, Vec[T, W])
            b = load(at + c_room, Vec[T, W])
            e = load(at + row, Vec[T, W])
            f = load(at + row + c_room, Vec[T, W])
            left = bundle(4, a)
            right = bundle(4, b)
            left[1] = a + e
            left[2] = a - e
            left[3] = -e
            right[1] = b + f
            right[2] = b - f
            right[3] = -f
            for j in unrolled(4):
                to = made + 4 * j * plane + q * c_room + c
                store(to, left[j])
                store(to + plane, left[j] + right[j])
                store(to + 2 * plane, left[j] - right[j])
                store(to + 3 * plane, -right[j])


@device(inline=False)
def output_tiles(m: Ptr[T], plane: i64, o_room: i64, many: i64, bias: Ptr[T], made: Ptr[T], row: i64, W) -> T:  # type: ignore[no-untyped-def]
    """Aᵀ m A plus bias of the tiles of a row, into two lines of pixels; gives 0, or NaN if any was not finite."""
    seen = spread(T(0), Vec[T, W])
    for q in range(many):
        for c in range(0, o_room, W):
            d = bundle(16, load(m + q * o_room + c, Vec[T, W]))
            for k in unrolled(1, 16):
                d[k] = load(m + k * plane + q * o_room + c, Vec[T, W])
            shift = load(bias + c, Vec[T, W])
            for i in unrolled(4):
                x = d[4 + i] + d[8 + i]
                y = d[4 + i] - d[8 + i]
                d[i] = d[i] + x
                d[4 + i] = y - d[12 + i]
            for j in unrolled(2):
                x = d[4 * j + 1] + d[4 * j + 2]
                y = d[4 * j + 1] - d[4 * j + 2]
                even = d[4 * j] + x + shift
                odd = y - d[4 * j + 3] + shift
                at = made + j * row + 2 * q * o_room + c
                store(at, even)
                store(at + o_room, odd)
                seen = fma(even, T(0), fma(odd, T(0), seen))
    return total(seen)


@kernel(explicit=True)
def _weights(w: Ptr[T], u: Ptr[T], start: i64, lane_step: i64, step: i64, sign: i64, count: i64, outputs: i64, o_room: i64, W, V, begin: i64, end: i64) -> void:
    """G g Gᵀ of all kernels, for input channels from begin to end: (plane, block of outputs, input, output)."""
    taps = allocate(T, 9 * W)
    plane = o_room * count
    for c in range(begin, end):
        for o in range(0, o_room, W):
            if o + W > outputs:
                fill(taps, 9 * W, W)
            for k in range(minimum(W, outputs - o)):
                source = w + start + (o + k) * lane_step + c * step
                for i in unrolled(9):
                    taps[i * W + k] = source[i * sign]
            g = bundle(12, load(taps, Vec[T, W]))
            for i in unrolled(3):
                a = load(taps + i * W, Vec[T, W])
                b = load(taps + (3 + i) * W, Vec[T, W])
                e = load(taps + (6 + i) * W, Vec[T, W])
                half = (a + e) * 0.5
                g[i] = a
                g[3 + i] = fma(b, spread(T(0.5), Vec[T, W]), half)
                g[6 + i] = fma(b, spread(T(-0.5), Vec[T, W]), half)
                g[9 + i] = e
            at = u + (o // (V * W)) * V * W * count + c * V * W + o % (V * W)
            for j in unrolled(4):
                half = (g[3 * j] + g[3 * j + 2]) * 0.5
                store(at + 4 * j * plane, g[3 * j])
                store(at + (4 * j + 1) * plane, fma(g[3 * j + 1], spread(T(0.5), Vec[T, W]), half))
                store(at + (4 * j + 2) * plane, fma(g[3 * j + 1], spread(T(-0.5), Vec[T, W]), half))
                store(at + (4 * j + 3) * plane, g[3 * j + 2])


@kernel(explicit=True)
def _convolve(
    x: Ptr[T], u: Ptr[T], bias: Ptr[T], out: Ptr[T], flag: Ptr[T], room: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64,
    h: i64, w: i64, channels: i64, c_room: i64, outputs: i64, o_room: i64, oh: i64, ow: i64, pad_y: i64, pad_x: i64,
    tile_rows: i64, tile_columns: i64, cut: i64, cuts: i64, row: i64, plane: i64, m_plane: i64, R, V, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    slot = take(slots, slot_count)
    rows = room + slot * size
    v = rows + 4 * row
    m = v + 16 * plane
    tiles = i64(0)
    for item in range(begin, end):
        first = item % cuts * cut
        y = item // cuts % tile_rows
        n = item // cuts // tile_rows
        many = minimum(cut, tile_columns - first)
        fetch(x + n * channels * h * w, h, w, channels, c_room, 2 * y - pad_y, 2 * first - pad_x, 2 * many + 2, rows, row, 4, W)
        image_tiles(rows, row, c_room, many, v + tiles * c_room, plane, W)
        tiles += many
    for k in range(16):
        for o in range(0, o_room, V * W):
            for t in range(0, tiles, R):
                multiply(
                    v + k * plane + t * c_room, c_room, 1, u + (k * o_room + o) * channels, V * W, m + k * m_plane + t * o_room + o, o_room, channels, False, R, V, W
                )
    seen = T(0)
    tiles = i64(0)
    for item in range(begin, end):
        first = item % cuts * cut
        y = item // cuts % tile_rows
        n = item // cuts // tile_rows
        many = minimum(cut, tile_columns - first)
        seen += output_tiles(m + tiles * o_room, m_plane, o_room, many, bias, rows, row, W)
        tiles += many
        width = minimum(2 * many, ow - 2 * first)
        for j in range(minimum(2, oh - 2 * y)):
            for o in range(0, outputs, W):
                to = out + ((n * outputs + o) * oh + 2 * y + j) * ow + 2 * first
                for k in range(0, width, W):
                    turn_out(rows + j * row + k * o_room + o, o_room, to + k, oh * ow, outputs - o, width - k, W)
    if seen != T(0) or seen != seen:
        flag[0] = T(1)
    give_back(slots, slot)


@kernel(explicit=True)
def _weight_parts(
    x: Ptr[T], g: Ptr[T], parts: Ptr[T], room: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64,
    h: i64, w: i64, channels: i64, c_room: i64, outputs: i64, o_room: i64, oh: i64, ow: i64, pad_y: i64, pad_x: i64,
    tile_rows: i64, tile_columns: i64, cut: i64, cuts: i64, row: i64, plane: i64, g_plane: i64, items: i64, each: i64, grain: i64,
    R, V, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """Sums over tiles of (A g Aᵀ) ⊙ (Bᵀ d B), for parts from begin to end of ``each`` rows of tiles: (part, plane, output, input)."""
    slot = take(slots, slot_count)
    rows = room + slot * size
    v = rows + 4 * row
    gradients = v + 16 * plane
    for part in range(begin, end):
        made = parts + part * 16 * o_room * c_room
        fill(made, 16 * o_room * c_room, W)
        last = minimum((part + 1) * each, items)
        for start in range(part * each, last, grain):
            tiles = i64(0)
            for item in range(start, minimum(start + grain, last)):
                first = item % cuts * cut
                y = item // cuts % tile_rows
                n = item // cuts // tile_rows
                many = minimum(cut, tile_columns - first)
                fetch(x + n * channels * h * w, h, w, channels, c_room, 2 * y - pad_y, 2 * first - pad_x, 2 * many + 2, rows, row, 4, W)
                image_tiles(rows, row, c_room, many, v + tiles * c_room, plane, W)
                fetch(g + n * outputs * oh * ow, oh, ow, outputs, o_room, 2 * y, 2 * first, 2 * many, rows, row, 2, W)
                gradient_tiles(rows, row, o_room, many, gradients + tiles * o_room, g_plane, W)
                tiles += many
            for k in range(16):
                for c in range(0, c_room, V * W):
                    for o in range(0, o_room, R):
                        multiply(
                            gradients + k * g_plane + o, 1, o_room, v + k * plane + c, c_room, made + (k * o_room + o) * c_room + c, c_room, tiles, True, R, V, W
                        )
    give_back(slots, slot)


@kernel(explicit=True)
def _weight_total(parts: Ptr[T], made: Ptr[T], count: i64, channels: i64, c_room: i64, o_room: i64, W, begin: i64, end: i64) -> void:
    """Gᵀ s G of the sum s of the parts, for outputs from begin to end."""
    held = allocate(T, 9 * W)
    plane = o_room * c_room
    for o in range(begin, end):
        for c in range(0, channels, W):
            s = bundle(16, spread(T(0), Vec[T, W]))
            for part in range(count):
                at = parts + part * 16 * plane + o * c_room + c
                for k in unrolled(16):
                    s[k] = s[k] + load(at + k * plane, Vec[T, W])
            for i in unrolled(4):
                both = (s[4 + i] + s[8 + i]) * 0.5
                s[i] = s[i] + both
                s[12 + i] = s[12 + i] + both
                s[4 + i] = (s[4 + i] - s[8 + i]) * 0.5
            for j in unrolled(3):
                k = (0, 4, 12)[j]
                both = (s[k + 1] + s[k + 2]) * 0.5
                store(held + (3 * j) * W, s[k] + both)
                store(held + (3 * j + 1) * W, (s[k + 1] - s[k + 2]) * 0.5)
                store(held + (3 * j + 2) * W, s[k + 3] + both)
            for k in range(minimum(W, channels - c)):
                to = made + (o * channels + c + k) * 9
                for i in unrolled(9):
                    to[i] = held[i * W + k]


def suits(size: tuple[int, ...], stride: Any, dilation: Any, groups: int, outputs: Any) -> bool:
    """Whether this is a convolution for these kernels: 3×3, stride 1, enough channels.

    They work on whole tiles of channels; what is multiplied there, and a fifth for the transforms, is weighed against the plain sum.
    """
    if len(size) != 4 or size[2] != 3 or size[3] != 3 or stride != (1, 1) or dilation != (1, 1) or groups != 1 or min(outputs) < 2:
        return False
    o, c = size[:2]
    w = lanes()
    return min(o, c) >= 16 and 4.8 * (-(-o // (2 * w)) * -(-c // (2 * w)) * 4 * w * w) < 9 * c * -(-o // w) * w


class Plan:
    """How the tiles of a convolution are walked."""

    def __init__(self, oh: int, ow: int, channels: int, outputs: int):
        w = self.W = lanes()
        self.V, self.R = 2, register_rows()
        wide = self.V * w
        self.c_room, self.o_room = -(-channels // wide) * wide, -(-outputs // wide) * wide
        self.tile_rows, self.tile_columns = -(-oh // 2), -(-ow // 2)
        most = max(self.R, CHUNK // (16 * max(self.c_room, self.o_room)))
        self.cuts = -(-self.tile_columns // most)
        self.cut = -(-self.tile_columns // self.cuts)
        self.cuts = -(-self.tile_columns // self.cut)
        grains = range(1, max(1, most // self.cut) + 1) if self.cuts == 1 else range(1, 2)
        # Tiles come in multiples of R: the number of rows that wastes least, and the larger of such.
        self.grain = max(grains, key=lambda k: (k * self.cut / (-(-k * self.cut // self.R) * self.R) - 0.3 / k, k))
        tiles = -(-self.grain * self.cut // self.R) * self.R
        # An odd number of cache lines apart, so that the planes do not meet in the same sets of the cache.
        self.plane, self.o_plane = tiles * self.c_room + w, tiles * self.o_room + w
        self.row = (2 * self.cut + 2 + w) * max(self.c_room, self.o_room)
        self.size = 4 * self.row + 16 * (self.plane + self.o_plane)


def convolve(x: Any, weight: Any, bias: Any, padding: Any, turned: bool = False) -> Any:
    """The convolution of images and a weight (O, C, 3, 3); ``turned``: of gradients (N, O, *), with the kernel turned around and its
    channels exchanged. None where a number is not finite."""
    n, channels, h, w = x.shape
    outputs = weight.shape[1 if turned else 0]
    oh, ow = h + 2 * padding[0] - 2, w + 2 * padding[1] - 2
    plan = Plan(oh, ow, channels, outputs)
    width, vectors = plan.W, plan.V
    u = np.empty(16 * plan.o_room * channels, F32)
    steps = (8, 9, 9 * outputs, -1) if turned else (0, 9 * channels, 9, 1)
    _weights(T=F32, W=width, V=vectors)(weight, u, *steps, channels, outputs, plan.o_room, channels, max(1, 2048 // plan.o_room))
    shift = np.zeros(plan.o_room, F32)
    if bias is not None:
        shift[:outputs] = bias
    out, flag, room = np.empty((n, outputs, oh, ow), F32), np.zeros(1, F32), Room(plan.size)
    _convolve(T=F32, R=plan.R, V=vectors, W=width)(
        x, u, shift, out, flag, room.memory, room.slots, room.count, room.size, h, w, channels, plan.c_room, outputs, plan.o_room, oh, ow, *padding,
        plan.tile_rows, plan.tile_columns, plan.cut, plan.cuts, plan.row, plan.plane, plan.o_plane, n * plan.tile_rows * plan.cuts, plan.grain
    )  # fmt: skip
    room.release()
    return None if flag[0] else out


def weight_gradient(x: Any, g: Any, padding: Any) -> Any:
    """The gradient (O, C, 3, 3) of a convolution in its weight. None where a number is not finite."""
    n, channels, h, w = x.shape
    outputs, oh, ow = g.shape[1:]
    plan = Plan(oh, ow, channels, outputs)
    items = n * plan.tile_rows * plan.cuts
    one = 16 * plan.o_room * plan.c_room
    # The parts depend on nothing but shapes: so does the order of sums.
    count = max(1, min(PARTS, items // plan.grain, max(4, PARTS_SIZE // one)))
    each = -(-items // count)
    count = -(-items // each)
    parts, room = np.empty(count * one, F32), Room(plan.size)
    _weight_parts(T=F32, R=plan.R, V=plan.V, W=plan.W)(
        x, g, parts, room.memory, room.slots, room.count, room.size, h, w, channels, plan.c_room, outputs, plan.o_room, oh, ow, *padding,
        plan.tile_rows, plan.tile_columns, plan.cut, plan.cuts, plan.row, plan.plane, plan.o_plane, items, each, plan.grain, count, 1
    )  # fmt: skip
    room.release()
    made = np.empty((outputs, channels, 3, 3), F32)
    _weight_total(T=F32, W=plan.W)(parts, made, count, channels, plan.c_room, plan.o_room, outputs, max(1, 2048 // channels))
    return made if np.isfinite(made).all() else None
