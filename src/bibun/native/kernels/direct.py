"""Convolutions over one to three dimensions, of any kernel, stride, dilation and number of groups, without copies of windows.

In: images (N, C, *) and weights (O, C / groups, *kernel), float32. Out: the convolution, its gradient in the images, its gradient in
the weight.

The images are laid out with their margins, taken apart by stride: what then belongs to one place in the kernel is one run of memory,
shifted. So a register tile, some outputs × some vectors of pixels, sums over a list of shifts, one for each channel and place, whatever
the kernel's form. Pixels are numbered along the laid out image; those between two rows, which are no outputs, are computed and dropped.

The gradient in the images is the same sum over the output's gradients, for each remainder of a pixel's position by the stride apart.
That in the weight sums over pixels, with the output's gradients turned so that channels lie side by side.
"""

from __future__ import annotations

import itertools
import math
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
    unrolled,
    void,
)
from . import implicit
from .implicit import vectors
from .tiles import Room, fill, give_back, lanes, register_rows, take, turn_in

__all__ = ["convolve", "images_gradient", "weight_gradient"]

F32 = np.dtype(np.float32)
#: Vectors of pixels in a tile, at most.
PANEL = 3
#: Numbers of output gradients, turned, that are summed over at a time.
BLOCK = 1 << 16
#: Numbers that all partial weight gradients together may take, and the most of them.
PARTS_SIZE, PARTS = 1 << 22, 16

Sizes = tuple[int, ...]


@kernel(explicit=True)
def _lay(
    x: Ptr[T], made: Ptr[T], nz: i64, ny: i64, nx: i64, pz: i64, py: i64, px: i64, sz: i64, sy: i64, sx: i64, qz: i64, qy: i64, qx: i64, W,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    """Planes with margins, taken apart by stride: position (z, y, x) in the margined plane is in part (z % sz, y % sy, x % sx)."""
    part = qz * qy * qx
    for item in range(begin, end):
        plane = made + item * part * sz * sy * sx
        fill(plane, part * sz * sy * sx, W)
        for z in range(maximum(0, -pz), minimum(nz, sz * qz - pz)):
            for y in range(maximum(0, -py), minimum(ny, sy * qy - py)):
                source = x + ((item * nz + z) * ny + y) * nx
                row = plane + ((z + pz) % sz * sy + (y + py) % sy) * sx * part + ((z + pz) // sz * qy + (y + py) // sy) * qx
                low = maximum(0, -px)
                high = minimum(nx, sx * qx - px)
                if sx == 1:
                    for i in range(low, high, W):
                        rest = first_lanes(high - i, W)
                        store_where(row + i + px, load_where(source + i, Vec[T, W], rest), rest)
                else:
                    for k in range(sx):
                        first = low + (k + sx - (low + px) % sx) % sx
                        to = row + k * part + (first + px) // sx
                        for i in range((high - first + sx - 1) // sx):
                            to[i] = source[first + i * sx]


@kernel(explicit=True)
def _pack(
    w: Ptr[T], made: Ptr[T], taps: Ptr[i64], tap_count: i64, group_step: i64, row_step: i64, channel_step: i64, rows: i64, blocks: i64, channels: i64,
    R, begin: i64, end: i64,
) -> void:  # fmt: skip
    """Weights for register tiles: (group, block of R outputs, channel, place, output); zeros where there is no output."""
    for item in range(begin, end):
        group = item // blocks
        first = item % blocks * R
        to = made + item * channels * tap_count * R
        for c in range(channels):
            for t in range(tap_count):
                source = w + group * group_step + first * row_step + c * channel_step + taps[t]
                for i in unrolled(R):
                    to[i] = T(0)
                    if first + i < rows:
                        to[i] = source[i * row_step]
                to = to + R


@device(inline=False)
def tile(a: Ptr[T], b: Ptr[T], shifts: Ptr[i64], bias: Ptr[T], c: Ptr[T], count: i64, R, V, W) -> void:  # type: ignore[no-untyped-def]
    """R outputs of V vectors of pixels: bias plus the sum over ``count`` shifts of weight times what is there."""
    sums = bundle(R * V, spread(T(0), Vec[T, W]))
    for i in unrolled(R):
        for j in unrolled(V):
            sums[i * V + j] = spread(bias[i], Vec[T, W])
    for k in range(count):
        at = b + shifts[k]
        v = bundle(V, load(at, Vec[T, W]))
        for j in unrolled(1, V):
            v[j] = load(at + j * W, Vec[T, W])
        for i in unrolled(R):
            x = spread(a[i], Vec[T, W])
            for j in unrolled(V):
                sums[i * V + j] = fma(x, v[j], sums[i * V + j])
        a = a + R
    for i in unrolled(R):
        for j in unrolled(V):
            store(c + (i * V + j) * W, sums[i * V + j])


@kernel(explicit=True)
def _convolve(
    laid: Ptr[T], weights: Ptr[T], shifts: Ptr[i64], bias: Ptr[T], out: Ptr[T], count: i64, image: i64, group_image: i64, groups: i64, rows: i64, blocks: i64,
    length: i64, panels: i64, qy: i64, qx: i64, oy: i64, ox: i64, out_image: i64, out_plane: i64, step_z: i64, step_y: i64, step_x: i64, R, V, W,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    held = allocate(T, R * V * W)
    for item in range(begin, end):
        panel = item % panels
        group = item // panels % groups
        n = item // panels // groups
        first = minimum(panel * V * W, maximum(length - V * W, 0))
        last = minimum(first + V * W, length)
        for block in range(blocks):
            number = group * blocks + block
            tile(weights + number * count * R, laid + n * image + group * group_image + first, shifts, bias + number * R, held, count, R, V, W)
            made = out + n * out_image + (group * rows + block * R) * out_plane
            some = minimum(R, rows - block * R)
            at = first + 0
            while at < last:  # the rows that these pixels are of
                x = at % qx
                y = at // qx % qy
                run = minimum(qx - x, last - at)
                if x < ox and y < oy:
                    to = made + at // qx // qy * step_z + y * step_y + x * step_x
                    many = minimum(run, ox - x)
                    source = held + (at - first)
                    for _ in range(some):
                        if step_x == 1:
                            for k in range(0, many, W):
                                if k + W <= many:
                                    store(to + k, load(source + k, Vec[T, W]))
                                else:
                                    rest = first_lanes(many - k, W)
                                    store_where(to + k, load_where(source + k, Vec[T, W], rest), rest)
                        else:
                            for k in range(many):
                                to[k * step_x] = source[k]
                        to = to + out_plane
                        source = source + V * W
                at += run


@device(inline=False)
def weight_tile(
    laid: Ptr[T], shifts: Ptr[i64], g: Ptr[T], g_step: i64, spots: Ptr[i64], pixels: i64, made: Ptr[T], made_row: i64, R, V, W,
) -> void:  # type: ignore[no-untyped-def]  # fmt: skip
    """R places of V vectors of outputs, the sum over some pixels added to ``made``."""
    sums = bundle(R * V, spread(T(0), Vec[T, W]))
    at = bundle(R, laid)
    for i in unrolled(R):
        at[i] = laid + shifts[i]
    for k in range(pixels):
        spot = spots[k]
        v = bundle(V, load(g, Vec[T, W]))
        for j in unrolled(1, V):
            v[j] = load(g + j * W, Vec[T, W])
        for i in unrolled(R):
            p = at[i]
            s = spread(p[spot], Vec[T, W])
            for j in unrolled(V):
                sums[i * V + j] = fma(s, v[j], sums[i * V + j])
        g = g + g_step
    for i in unrolled(R):
        for j in unrolled(V):
            to = made + i * made_row + j * W
            store(to, load(to, Vec[T, W]) + sums[i * V + j])


@kernel(explicit=True)
def _weight_parts(
    laid: Ptr[T], g: Ptr[T], shifts: Ptr[i64], spots: Ptr[i64], parts: Ptr[T], room: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64, count: i64,
    image: i64, group_image: i64, groups: i64, rows: i64, row_room: i64, pixels: i64, blocks: i64, block: i64, items: i64, each: i64, R, V, W,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    """Sums over some blocks of pixels: (part, group, channel and place, output)."""
    slot = take(slots, slot_count)
    turned = room + slot * size
    for part in range(begin, end):
        mine = parts + part * groups * count * row_room
        fill(mine, groups * count * row_room, W)
        for item in range(part * each, minimum((part + 1) * each, items)):
            n = item // blocks
            first = item % blocks * block
            some = minimum(block, pixels - first)
            for group in range(groups):
                for o in range(0, row_room, W):
                    for k in range(0, some, W):
                        source = g + ((n * groups + group) * rows + o) * pixels + first + k
                        turn_in(source, pixels, rows - o, some - k, turned + k * row_room + o, row_room, W)
                for k in range(0, count, R):
                    for o in range(0, row_room, V * W):
                        weight_tile(
                            laid + n * image + group * group_image, shifts + k, turned + o, row_room, spots + first, some,
                            mine + (group * count + k) * row_room + o, row_room, R, V, W,
                        )  # fmt: skip
    give_back(slots, slot)


@kernel(explicit=True)
def _weight_total(parts: Ptr[T], made: Ptr[T], part_count: i64, part: i64, count: i64, real: i64, rows: i64, row_room: i64, W, begin: i64, end: i64) -> void:
    """The sum of the parts, for places from begin to end of all groups', as a weight."""
    held = allocate(T, W)
    for item in range(begin, end):
        group = item // real
        k = item % real
        for o in range(0, rows, W):
            sums = spread(T(0), Vec[T, W])
            for p in range(part_count):
                sums = sums + load(parts + p * part + (group * count + k) * row_room + o, Vec[T, W])
            store(held, sums)
            for i in range(minimum(W, rows - o)):
                made[(group * rows + o + i) * real + k] = held[i]


# The way round


def triple(sizes: Any, missing: int) -> list[int]:
    return [missing] * (3 - len(sizes)) + list(sizes)


class Laid:
    """Images with margins, taken apart by stride. ``at(position)`` is where a position in the margined image lies in its first window."""

    def __init__(self, x: Any, low: Any, size: Any, stride: Any, spare: int):
        n, channels = x.shape[:2]
        spatial, low, size, s = triple(x.shape[2:], 1), triple(low, 0), triple(size, 1), triple(stride, 1)
        self.stride = s
        if max(s) == 1:
            size = [max(a, b + c) for a, b, c in zip(size, low, spatial)]
        self.q = q = [-(-a // b) for a, b in zip(size, s)]
        self.part = math.prod(q)
        self.plane = self.part * math.prod(s)
        x = np.ascontiguousarray(x)
        if not any(low) and size == spatial and math.prod(s) == 1 and not spare:
            self.memory = x
            return
        self.memory = np.empty(n * channels * self.plane + spare, F32)
        self.memory[n * channels * self.plane :] = 0
        _lay(T=F32, W=lanes())(x, self.memory, *spatial, *low, *s, *q, n * channels, max(1, (1 << 14) // self.plane))

    def at(self, position: Any) -> int:
        phase, place = 0, 0
        for p, s, q in zip(position, self.stride, self.q):
            phase, place = phase * s + p % s, place * q + p // s
        return phase * self.part + place

    def steps(self, stride: Any) -> list[int]:
        """How far windows that are ``stride`` apart lie apart, where the images were not taken apart."""
        return [stride[0] * self.q[1] * self.q[2], stride[1] * self.q[2], stride[2]]

    def length(self, out: Any) -> int:
        """From the first to the last pixel."""
        return ((out[0] - 1) * self.q[1] + out[1] - 1) * self.q[2] + out[2]


def run(
    laid: Laid, weight: Any, steps: Any, taps: Any, shifts: Any, bias: Any, made: Any, origin: int, groups: int, channels: int, rows: int, out: Any, out_steps: Any,
    apart: Any = None,
) -> None:
    """One sum over shifts: ``taps`` are the places' numbers in the weight, ``shifts`` where their pixels begin in the laid out images;
    with ``apart`` the windows' strides in images that were not taken apart, for `implicit`."""
    width = lanes()
    if apart is not None:
        R, V = register_rows(), vectors(rows, width)
        many = V * width
    else:
        R, V = (1, 2) if rows == 1 else (register_rows(), PANEL if width == 16 else 2)
        many = R
    blocks = -(-rows // many)
    n, count = len(made), channels * len(taps)
    table = np.add.outer(np.arange(channels) * laid.plane, np.array(shifts, np.int64)).reshape(-1).astype(np.int64)
    packed = np.empty(groups * blocks * count * many, F32)
    _pack(T=F32, R=many)(
        weight, packed, np.array(taps, np.int64), len(taps), *steps, rows, blocks, channels, groups * blocks, max(1, 8192 // max(1, count * many))
    )
    shift = np.zeros((groups, blocks * many), F32)
    if bias is not None:
        shift[:, :rows] = bias.reshape(groups, rows)
    if apart is not None:
        spots, targets = (implicit.places(tuple(out), tuple(each)) for each in (laid.steps(apart), out_steps))
        implicit.run(laid.memory, packed, table, shift, made, origin, spots, targets, channels * groups * laid.plane, groups, rows, R, V, width)
        return
    length = laid.length(out)
    panels = -(-length // (V * width))
    plane = made[0, 0].size
    grain = max(1, min(panels, n * groups * panels // 16))
    _convolve(T=F32, R=R, V=V, W=width)(
        laid.memory, packed, table, shift, made.reshape(-1)[origin:], count, channels * groups * laid.plane, channels * laid.plane, groups, rows, blocks,
        length, panels, *laid.q[1:], *out[1:], groups * rows * plane, plane, *out_steps, n * groups * panels, grain
    )  # fmt: skip


def by_outputs(n: int, out: Any, row: int, rows: int) -> bool:
    """Whether `implicit` has less to do for images of shape ``out`` than tiles of runs of pixels, laid out ``row`` apart."""
    if rows < 8:
        return False
    width, R = lanes(), register_rows()
    many = (PANEL if width == 16 else 2) * width
    runs = n * -(-(((out[0] - 1) * out[1] + out[1] - 1) * row + out[2]) // many) * many * -(-rows // R) * R // width
    return implicit.cost(n, math.prod(out), rows, width, R) < runs


def numbered(kernel: Any) -> Any:
    return itertools.product(*[range(k) for k in kernel])


def convolve(x: Any, weight: Any, bias: Any, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The convolution of images with a weight, plus bias."""
    made = np.empty((len(x), len(weight), *out), F32)
    kernel, d, outs, s = triple(weight.shape[2:], 1), triple(dilation, 1), triple(out, 1), triple(stride, 1)
    size = [(o - 1) * t + e * (k - 1) + 1 for o, t, e, k in zip(outs, s, d, kernel)]
    low = triple(padding, 0)
    rows = len(weight) // groups
    apart = s if max(s) > 1 and rows >= lanes() // 2 or by_outputs(len(x), outs, size[2], rows) else None
    # Tiles read whole panels: images with fewer pixels than one need room behind them.
    pixels = ((outs[0] - 1) * size[1] + outs[1] - 1) * size[2] + outs[2]
    plain = apart is not None or not any(low) and max(s) == 1 and pixels >= PANEL * lanes()
    laid = Laid(x, low, size, s if apart is None else (1, 1, 1), 0 if plain else PANEL * lanes())
    shifts = [laid.at([a * b for a, b in zip(place, d)]) for place in numbered(kernel)]
    each, taps = weight.shape[1], math.prod(kernel)
    weight = np.ascontiguousarray(weight)
    run(
        laid, weight, (rows * each * taps, each * taps, taps), range(taps), shifts, bias, made, 0, groups, each, rows, outs, (outs[1] * outs[2], outs[2], 1), apart
    )
    return made


def images_gradient(g: Any, weight: Any, spatial: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The transpose of `convolve` in its images: from (N, O, *) to (N, C, *spatial)."""
    outputs, each = weight.shape[:2]
    channels, rows = outputs // groups, each
    made = np.empty((len(g), each * groups, *spatial), F32)
    kernel, d, s, p = triple(weight.shape[2:], 1), triple(dilation, 1), triple(stride, 1), triple(padding, 0)
    n, outs = triple(spatial, 1), triple(g.shape[2:], 1)
    # Pixel r + s·j is met by place k at output j + (r + p - d·k) / s, where that is whole.
    ways: list[list[Any]] = []
    for a in range(3):
        ways.append([[(k, (r + p[a] - d[a] * k) // s[a]) for k in range(kernel[a]) if (r + p[a] - d[a] * k) % s[a] == 0] for r in range(min(s[a], n[a]))])
    low, size = [], []
    for a in range(3):
        reach = [shift for way in ways[a] for _, shift in way]
        ends = [-(-(n[a] - r) // s[a]) - 1 + shift for r, way in enumerate(ways[a]) for _, shift in way]
        low.append(max(0, -min(reach, default=0)))
        # As wide as the windows of every remainder are together.
        size.append(max(outs[a] + low[a], max(ends, default=0) + low[a] + 1, -(-n[a] // s[a])))
    first = [-(-a // b) for a, b in zip(n, s)]
    apart = (1, 1, 1) if by_outputs(len(g), first, size[2], rows) else None
    laid = Laid(g, low, size, (1, 1, 1), 0 if apart else PANEL * lanes())
    weight, taps = np.ascontiguousarray(weight), math.prod(kernel)
    whole = [n[1] * n[2], n[2], 1]
    for r in numbered([len(w) for w in ways]):
        met = [[*zip(*three)] for three in itertools.product(*[ways[a][r[a]] for a in range(3)])]
        numbers = [(k[0] * kernel[1] + k[1]) * kernel[2] + k[2] for k, _ in met]
        shifts = [laid.at([b + e for b, e in zip(shift, low)]) for _, shift in met]
        outer = [-(-(n[a] - r[a]) // s[a]) for a in range(3)]
        origin = sum(b * e for b, e in zip(r, whole))
        run(
            laid, weight, (channels * each * taps, taps, each * taps), numbers, shifts, None, made, origin, groups, channels, rows, outer,
            [b * e for b, e in zip(whole, s)], apart,
        )  # fmt: skip
    return made


def weight_gradient(x: Any, g: Any, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The gradient (of shape ``size``) of `convolve` in its weight."""
    kernel, d, outs, s = triple(size[2:], 1), triple(dilation, 1), triple(g.shape[2:], 1), triple(stride, 1)
    need = [(o - 1) * t + e * (k - 1) + 1 for o, t, e, k in zip(outs, s, d, kernel)]
    low = triple(padding, 0)
    width = lanes()
    each, rows, n = size[1], size[0] // groups, len(x)
    laid = Laid(x, low, need, (1, 1, 1), 0)
    g = np.ascontiguousarray(g)
    made = np.empty(size, F32)
    places = [laid.at([a * b for a, b in zip(place, d)]) for place in numbered(kernel)]
    real = each * len(places)
    table = np.add.outer(np.arange(each) * laid.plane, np.array(places, np.int64)).reshape(-1).astype(np.int64)
    if rows <= width // 2:
        width //= 2
    R, V = register_rows(), vectors(rows, width)
    count, row_room = -(-real // R) * R, -(-rows // (V * width)) * V * width
    table = np.concatenate([table, np.zeros(count - real, np.int64)])
    pixels = math.prod(outs)
    spots = implicit.places(tuple(outs), tuple(laid.steps(s)))
    block = min(pixels, max(width, BLOCK // row_room))
    blocks = -(-pixels // block)
    items, one = n * blocks, groups * count * row_room
    parts_count = max(1, min(PARTS, items, max(4, PARTS_SIZE // one)))
    part_items = -(-items // parts_count)
    parts_count = -(-items // part_items)
    parts, room = np.empty(parts_count * one, F32), Room((block + width) * row_room)
    _weight_parts(T=F32, R=R, V=V, W=width)(
        laid.memory, g, table, spots, parts, room.memory, room.slots, room.count, room.size, count, groups * each * laid.plane, each * laid.plane, groups, rows,
        row_room, pixels, blocks, block, items, part_items, parts_count, 1
    )  # fmt: skip
    room.release()
    _weight_total(T=F32, W=width)(parts, made, parts_count, one, count, real, rows, row_room, groups * real, max(1, 4096 // rows))
    return made
