"""Scaled dot-product attention without the matrix of all weights: blocks of it live in a core's cache, forward and backward.

In: float32 queries, keys and values (N, H, L or S, E) with rows of neighbouring numbers, their other dimensions anywhere; perhaps a
mask. Out: new arrays laid out as (N, L, H, E), which is what comes next in most models, and for the backward the logarithm of each
row's sum of exponentials. Dao and others, "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness" (2022);
Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018).

A block has `BLOCK` queries and as many keys. Forward, a thread takes blocks of queries and walks the keys; backward it takes a head,
walks blocks of keys, and for each those of queries. Results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import maths
from ..kernel import kernel
from ..lang import (
    Ptr,
    T,
    Vec,
    device,
    f32,
    first_lanes,
    i64,
    load,
    load_where,
    maximum,
    minimum,
    select,
    spread,
    store,
    store_where,
    total,
    u8,
    void,
)
from .tiles import Room, fill, give_back, lanes, multiply, register_rows, take, turn_in

__all__ = ["attention", "attention_gradient", "suits"]

BLOCK = 64
#: Longest rows of queries and values.
LONGEST = 256


@device(inline=False)
def pack(source: Ptr[T], step: i64, rows: i64, padded: i64, width: i64, made: Ptr[T], room: i64, W) -> void:  # type: ignore[no-untyped-def]
    """Rows of ``width`` numbers into rows of ``room``, with zeros behind them; zeros for the rows up to ``padded``."""
    for i in range(rows):
        for j in range(0, room, W):
            store(made + i * room + j, load_where(source + i * step + j, Vec[T, W], first_lanes(width - j, W)))
    fill(made + rows * room, (padded - rows) * room, W)


@device(inline=False)
def unpack(source: Ptr[T], room: i64, rows: i64, width: i64, made: Ptr[T], step: i64, add: i64, W) -> void:  # type: ignore[no-untyped-def]
    """Rows out of a block, written or added."""
    for i in range(rows):
        for j in range(0, width, W):
            x = load(source + i * room + j, Vec[T, W])
            some = first_lanes(width - j, W)
            at = made + i * step + j
            if add != 0:
                x = x + load_where(at, Vec[T, W], some)
            store_where(at, x, some)


@device(inline=False)
def turn(source: Ptr[T], step: i64, rows: i64, width: i64, made: Ptr[T], W) -> void:  # type: ignore[no-untyped-def]
    """made[j·BLOCK + i] = source[i·step + j]."""
    for i in range(0, rows, W):
        for j in range(0, width, W):
            turn_in(source + i * step + j, step, rows - i, width - j, made + j * BLOCK + i, BLOCK, W)


@device(inline=False)
def scores(  # type: ignore[no-untyped-def]
    a: Ptr[T], a_row: i64, turned: Ptr[T], made: Ptr[T], rows: i64, columns: i64, width: i64, offset: i64, causal, R, W
) -> void:
    """The block a · turned, of which a causal mask leaves row i the first i + offset + 1 columns."""
    for i in range(0, rows, R):
        wide = minimum(columns, offset + i + R) if causal else columns
        for j in range(0, wide, 2 * W):
            multiply(a + i * a_row, a_row, 1, turned + j, BLOCK, made + i * BLOCK + j, BLOCK, width, False, R, 2, W)


@device(inline=False)
def scale_and_mask(  # type: ignore[no-untyped-def]
    row: Ptr[T], columns: i64, scale: T, mask: Ptr[T], place: i64, masked, W
) -> void:
    """A row of scores times ``scale``, plus the mask's row, or -inf where a mask of booleans says no."""
    if masked == 1:
        allowed = Ptr[u8](mask) + place
        for j in range(columns):
            row[j] = select(allowed[j] != 0, row[j] * scale, T(-math.inf))
    else:
        more = mask + place
        for j in range(columns):
            row[j] = row[j] * scale + more[j]


@kernel(fast="contract")
def forward(  # type: ignore[no-untyped-def]
    q: Ptr[T], k: Ptr[T], v: Ptr[T], mask: Ptr[T], out: Ptr[T], sums: Ptr[T], places: Ptr[i64], heads: i64, length: i64, sources: i64, width: i64,
    scale: T, memory: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64, room, causal, masked, R, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    slot = take(slots, slot_count)
    queries = memory + slot * size
    keys = queries + BLOCK * room
    values = keys + BLOCK * room
    made = values + BLOCK * room
    weights = made + BLOCK * room
    tops = weights + BLOCK * BLOCK
    lows = tops + BLOCK
    blocks = (length + (BLOCK - 1)) // BLOCK
    for item in range(begin, end):
        at = item // blocks
        i0 = (item - at * blocks) * BLOCK
        n = at // heads
        h = at - n * heads
        rows = minimum(length - i0, BLOCK)
        tall = (rows + (R - 1)) // R * R
        pack(q + (n * places[0] + h * places[1] + i0 * places[2]), places[2], rows, tall, width, queries, room, W)
        key = k + (n * places[3] + h * places[4])
        value = v + (n * places[6] + h * places[7])
        for i in range(tall):
            tops[i] = T(-math.inf)
            lows[i] = T(0.0)
        fill(made, tall * room, W)
        last = minimum(sources, i0 + rows) if causal else sources
        for j0 in range(0, last, BLOCK):
            columns = minimum(sources - j0, BLOCK)
            offset = i0 - j0
            turn(key + j0 * places[5], places[5], columns, width, keys, W)
            pack(value + j0 * places[8], places[8], columns, columns, width, values, room, W)
            scores(queries, room, keys, weights, tall, columns, width, offset, causal, R, W)
            for i in range(rows):
                row = weights + i * BLOCK
                count = minimum(columns, offset + i + 1) if causal else columns
                wide = minimum(columns, offset + i // R * R + R) if causal else columns
                factor = scale
                if masked != 0:
                    scale_and_mask(row, count, scale, mask, n * places[12] + h * places[13] + (i0 + i) * places[14] + j0, masked, W)
                    factor = T(1.0)
                most = spread(T(-math.inf), Vec[T, W])
                for j in range(0, wide, W):
                    x = select(first_lanes(count - j, W), load(row + j, Vec[T, W]) * factor, spread(T(-math.inf), Vec[T, W]))
                    store(row + j, x)
                    most = maximum(most, x)
                top = maximum(tops[i], total(most, "max"))
                base = select(top == -math.inf, T(0.0), top)
                some = spread(T(0.0), Vec[T, W])
                for j in range(0, wide, W):
                    x = maths.exp(load(row + j, Vec[T, W]) - base)
                    store(row + j, x)
                    some = some + x
                old = maths.exp(tops[i] - base)
                lows[i] = lows[i] * old + total(some)
                tops[i] = top
                if old != 1.0:
                    for j in range(0, room, W):
                        store(made + i * room + j, load(made + i * room + j, Vec[T, W]) * old)
            for i in range(0, tall, R):
                wide = minimum(columns, offset + i + R) if causal else columns
                for j in range(0, width, 2 * W):
                    multiply(weights + i * BLOCK, BLOCK, 1, values + j, room, made + i * room + j, room, wide, True, R, 2, W)
        for i in range(rows):
            low = lows[i]
            none = low == 0.0
            sums[at * length + i0 + i] = select(none, T(math.inf), tops[i] + maths.log(low))
            share = select(none, T(0.0), 1.0 / low)
            for j in range(0, room, W):
                store(made + i * room + j, load(made + i * room + j, Vec[T, W]) * share)
        unpack(made, room, rows, width, out + (n * places[9] + h * places[10] + i0 * places[11]), places[11], 0, W)
    give_back(slots, slot)


@kernel(fast="contract")
def backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], q: Ptr[T], k: Ptr[T], v: Ptr[T], out: Ptr[T], sums: Ptr[T], mask: Ptr[T], dq: Ptr[T], dk: Ptr[T], dv: Ptr[T], places: Ptr[i64], heads: i64,
    length: i64, sources: i64, width: i64, scale: T, memory: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64, room, causal, masked, R, W,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    slot = take(slots, slot_count)
    queries = memory + slot * size
    given = queries + BLOCK * room
    keys = given + BLOCK * room
    turned_keys = keys + BLOCK * room
    turned_values = turned_keys + BLOCK * room
    d_queries = turned_values + BLOCK * room
    d_keys = d_queries + BLOCK * room
    d_values = d_keys + BLOCK * room
    weights = d_values + BLOCK * room
    slopes = weights + BLOCK * BLOCK
    for at in range(begin, end):
        n = at // heads
        h = at - n * heads
        key = k + (n * places[3] + h * places[4])
        value = v + (n * places[6] + h * places[7])
        for j0 in range(0, sources, BLOCK):
            columns = minimum(sources - j0, BLOCK)
            padded = (columns + (R - 1)) // R * R
            turn(key + j0 * places[5], places[5], columns, width, turned_keys, W)
            turn(value + j0 * places[8], places[8], columns, width, turned_values, W)
            pack(key + j0 * places[5], places[5], columns, columns, width, keys, room, W)
            fill(d_keys, padded * room, W)
            fill(d_values, padded * room, W)
            first = i64(0)
            if causal:
                first = j0
            for i0 in range(first, length, BLOCK):
                rows = minimum(length - i0, BLOCK)
                tall = (rows + (R - 1)) // R * R
                offset = i0 - j0
                gradient = g + (n * places[15] + h * places[16] + i0 * places[17])
                result = out + (n * places[9] + h * places[10] + i0 * places[11])
                pack(q + (n * places[0] + h * places[1] + i0 * places[2]), places[2], rows, tall, width, queries, room, W)
                pack(gradient, places[17], rows, tall, width, given, room, W)
                scores(queries, room, turned_keys, weights, tall, columns, width, offset, causal, R, W)
                scores(given, room, turned_values, slopes, tall, columns, width, offset, causal, R, W)
                for i in range(rows):
                    row = weights + i * BLOCK
                    slope = slopes + i * BLOCK
                    count = minimum(columns, offset + i + 1) if causal else columns
                    wide = minimum(columns, offset + i // R * R + R) if causal else columns
                    factor = scale
                    if masked != 0:
                        scale_and_mask(row, count, scale, mask, n * places[12] + h * places[13] + (i0 + i) * places[14] + j0, masked, W)
                        factor = T(1.0)
                    joint = spread(T(0.0), Vec[T, W])
                    for j in range(0, width, W):
                        there = load_where(result + i * places[11] + j, Vec[T, W], first_lanes(width - j, W))
                        joint = joint + load(given + i * room + j, Vec[T, W]) * there
                    mean = total(joint)
                    low = sums[at * length + i0 + i]
                    for j in range(0, wide, W):
                        some = first_lanes(count - j, W)
                        none = spread(T(0.0), Vec[T, W])
                        p = select(some, maths.exp(load(row + j, Vec[T, W]) * factor - low), none)
                        store(row + j, p)
                        store(slope + j, select(some, p * (load(slope + j, Vec[T, W]) - mean) * scale, none))
                for j in range(0, padded, R):
                    start = i64(0)
                    if causal:
                        start = maximum(j - offset, start)
                    for c in range(0, width, 2 * W):
                        multiply(weights + start * BLOCK + j, 1, BLOCK, given + start * room + c, room, d_values + j * room + c, room, rows - start, True, R, 2, W)
                        multiply(slopes + start * BLOCK + j, 1, BLOCK, queries + start * room + c, room, d_keys + j * room + c, room, rows - start, True, R, 2, W)
                for i in range(0, tall, R):
                    wide = minimum(columns, offset + i + R) if causal else columns
                    for c in range(0, width, 2 * W):
                        multiply(slopes + i * BLOCK, BLOCK, 1, keys + c, room, d_queries + i * room + c, room, wide, False, R, 2, W)
                unpack(d_queries, room, rows, width, dq + (n * places[18] + h * places[19] + i0 * places[20]), places[20], j0, W)
            unpack(d_keys, room, columns, width, dk + (n * places[21] + h * places[22] + j0 * places[23]), places[23], 0, W)
            unpack(d_values, room, columns, width, dv + (n * places[24] + h * places[25] + j0 * places[26]), places[26], 0, W)
    give_back(slots, slot)


def suits(q: Any, k: Any, v: Any) -> bool:
    """Whether the kernels take these arrays."""
    if not (q.dtype == k.dtype == v.dtype == np.float32 and q.ndim == 4 and q.size and k.size and q.shape[-1] == v.shape[-1] <= LONGEST):
        return False
    return q.shape[-1] == 1 or q.strides[-1] == k.strides[-1] == v.strides[-1] == 4


def _places(*arrays: Any) -> Any:
    """Where batches, heads and rows of each array begin, in elements."""
    return np.array([s // a.itemsize for a in arrays for s in a.strides[:3]], np.int64)


def _spread_mask(mask: Any, q: Any, k: Any) -> tuple[Any, int]:
    """(a mask of shape (N, H, L, S), whose rows lie together; its kind): 1 of booleans, 2 of numbers; 0 for none."""
    if mask is None:
        return q, 0
    if mask.shape[-1] != k.shape[-2] or mask.strides[-1] != mask.itemsize:
        mask = np.ascontiguousarray(np.broadcast_to(mask, (*mask.shape[:-1], k.shape[-2])))
    return np.broadcast_to(mask, (*q.shape[:-1], k.shape[-2])), 1 if mask.dtype == np.bool_ else 2


def _rows_first(shape: Any) -> Any:
    """Fresh memory for an array (N, H, L, E), laid out as (N, L, H, E)."""
    n, h, length, e = shape
    return np.empty((n, length, h, e), np.float32).transpose(0, 2, 1, 3)


def _room(width: int) -> int:
    two = 2 * lanes()
    return -(-width // two) * two


def attention(q: Any, k: Any, v: Any, mask: Any, scale: float, causal: bool) -> tuple[Any, Any]:
    """(softmax(q @ k.mT · scale + mask) @ v, what the backward wants of the sums); see `suits`."""
    n, heads, length, width = q.shape
    out, sums = _rows_first(q.shape), np.empty((n, heads, length), np.float32)
    mask, masked = _spread_mask(mask, q, k)
    wide = _room(width)
    room = Room(BLOCK * (4 * wide + BLOCK + 2))
    forward(T=f32, room=wide, causal=causal, masked=masked, R=register_rows(), W=lanes())(
        q, k, v, mask, out, sums, _places(q, k, v, out, mask), heads, length, k.shape[2], width, scale, room.memory, room.slots, room.count, room.size,
        n * heads * -(-length // BLOCK), 1
    )  # fmt: skip
    room.release()
    return out, sums


def attention_gradient(g: Any, q: Any, k: Any, v: Any, mask: Any, out: Any, sums: Any, scale: float, causal: bool) -> list[Any]:
    """The gradients of queries, keys and values."""
    n, heads, length, width = q.shape
    if width > 1 and g.strides[-1] != 4 or g.dtype != np.float32:
        g = np.ascontiguousarray(g, np.float32)
    made = [_rows_first(a.shape) for a in (q, k, v)]
    if causal and k.shape[2] > length:  # keys that no query sees
        for a in made[1:]:
            a[:, :, length:] = 0
    mask, masked = _spread_mask(mask, q, k)
    wide = _room(width)
    room = Room(BLOCK * (8 * wide + 2 * BLOCK))
    backward(T=f32, room=wide, causal=causal, masked=masked, R=register_rows(), W=lanes())(
        g, q, k, v, out, sums, mask, *made, _places(q, k, v, out, mask, g, *made), heads, length, k.shape[2], width, scale, room.memory, room.slots,
        room.count, room.size, n * heads, 1
    )  # fmt: skip
    room.release()
    return made
