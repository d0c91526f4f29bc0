"""Scaled dot-product attention without the matrix of all weights: blocks of it live in a core's cache, forward and backward.

In: float32 queries, keys and values (N, H, L or S, E) with rows of neighbouring numbers, their other dimensions anywhere; perhaps a
mask. Out: new arrays laid out as (N, L, H, E), which is what comes next in most models, and for the backward the logarithm of each
row's sum of exponentials. Dao and others, "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness" (2022);
Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018).

A block has `BLOCK` queries and as many keys. Forward, a thread takes blocks of queries and walks the keys; backward it takes a head,
walks blocks of keys, and for each those of queries. A vector holds queries side by side, so that their maxima and sums are found
without looking across it; keys and values are read where they lie if their sizes allow. Results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
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
from .tiles import Room, fill, give_back, lanes, multiply, register_rows, take, turn_in, turn_out

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
def add_mask(  # type: ignore[no-untyped-def]
    block: Ptr[T], step: i64, count: i64, scale: T, mask: Ptr[T], place: i64, mask_row: i64, rows: i64, columns: i64, rough: Ptr[T], masked, W
) -> void:
    """``count`` keys' scores of W queries times ``scale``, plus the mask, or -inf where a mask of booleans says no."""
    turned = rough + W * W
    for j in range(0, count, W):
        for i in range(minimum(rows, W)):
            some = first_lanes(columns - j, W)
            if masked == 1:
                allowed = load_where(Ptr[u8](mask) + (place + i * mask_row + j), Vec[u8, W], some)
                store(rough + i * W, select(allowed != 0, spread(T(0.0), Vec[T, W]), spread(T(-math.inf), Vec[T, W])))
            else:
                store(rough + i * W, load_where(mask + (place + i * mask_row + j), Vec[T, W], some))
        turn_in(rough, W, rows, W, turned, W, W)
        for k in range(minimum(count - j, W)):
            at = block + (j + k) * step
            store(at, load(at, Vec[T, W]) * scale + load(turned + k * W, Vec[T, W]))


@kernel(fast="contract", explicit=True)
def forward(  # type: ignore[no-untyped-def]
    q: Ptr[T], k: Ptr[T], v: Ptr[T], mask: Ptr[T], out: Ptr[T], sums: Ptr[T], places: Ptr[i64], heads: i64, length: i64, sources: i64, width: i64,
    scale: T, memory: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64, room, causal, masked, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    slot = take(slots, slot_count)
    queries = memory + slot * size
    keys = queries + BLOCK * room
    values = keys + BLOCK * room
    made = values + BLOCK * room
    weights = made + BLOCK * room
    tops = weights + BLOCK * W
    lows = tops + BLOCK
    rough = lows + BLOCK
    blocks = (length + (BLOCK - 1)) // BLOCK
    low_most = spread(T(-math.inf), Vec[T, W])
    none = spread(T(0.0), Vec[T, W])
    for item in range(begin, end):
        at = item // blocks
        i0 = (item - at * blocks) * BLOCK
        n = at // heads
        h = at - n * heads
        rows = minimum(length - i0, BLOCK)
        turn(q + (n * places[0] + h * places[1] + i0 * places[2]), places[2], rows, width, queries, W)
        for i in range(0, BLOCK, W):
            store(tops + i, low_most)
            store(lows + i, none)
        fill(made, BLOCK * room, W)
        last = minimum(sources, i0 + rows) if causal else sources
        for j0 in range(0, last, BLOCK):
            columns = minimum(sources - j0, BLOCK)
            offset = i0 - j0
            key = k + (n * places[3] + h * places[4] + j0 * places[5])
            key_row = places[5]
            value = v + (n * places[6] + h * places[7] + j0 * places[8])
            value_row = places[8]
            if columns % W != 0:
                pack(key, key_row, columns, (columns + (W - 1)) // W * W, width, keys, room, W)
                key = keys
                key_row = i64(room)
            if width % W != 0:
                pack(value, value_row, columns, columns, width, values, room, W)
                value = values
                value_row = i64(room)
            for i in range(0, rows, W):
                count = minimum(columns, offset + i + W) if causal else columns
                for j in range(0, count, W):
                    multiply(key + j * key_row, key_row, 1, queries + i, BLOCK, weights + j * W, W, width, False, W, 1, W)
                factor = scale
                if masked != 0:
                    add_mask(weights, W, count, scale, mask, n * places[12] + h * places[13] + (i0 + i) * places[14] + j0, places[14], rows - i, columns, rough, masked, W)
                    factor = T(1.0)
                before = load(tops + i, Vec[T, W])
                most = before
                for j in range(count):
                    x = load(weights + j * W, Vec[T, W]) * factor
                    if causal:
                        x = select(first_lanes(j - offset - i, W), low_most, x)
                    store(weights + j * W, x)
                    most = select(x > most, x, most)
                base = select(most == -math.inf, none, most)
                some = none
                for j in range(count):
                    x = maths.exp(load(weights + j * W, Vec[T, W]) - base)
                    store(weights + j * W, x)
                    some = some + x
                old = maths.exp(before - base)
                store(lows + i, load(lows + i, Vec[T, W]) * old + some)
                store(tops + i, most)
                if j0 > 0:
                    for e in range(width):
                        there = made + e * BLOCK + i
                        store(there, load(there, Vec[T, W]) * old)
                for e in range(0, width, W):
                    multiply(value + e, 1, value_row, weights, W, made + e * BLOCK + i, BLOCK, count, True, W, 1, W)
        for i in range(0, rows, W):
            low = load(lows + i, Vec[T, W])
            empty = low == 0.0
            sum = select(empty, spread(T(math.inf), Vec[T, W]), load(tops + i, Vec[T, W]) + maths.log(low))
            store_where(sums + (at * length + i0 + i), sum, first_lanes(rows - i, W))
            share = select(empty, none, 1.0 / low)
            for e in range(width):
                there = made + e * BLOCK + i
                store(there, load(there, Vec[T, W]) * share)
            to = out + (n * places[9] + h * places[10] + (i0 + i) * places[11])
            for e in range(0, width, W):
                turn_out(made + e * BLOCK + i, BLOCK, to + e, places[11], rows - i, width - e, W)
    give_back(slots, slot)


@kernel(fast="contract", explicit=True)
def backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], q: Ptr[T], k: Ptr[T], v: Ptr[T], out: Ptr[T], sums: Ptr[T], mask: Ptr[T], dq: Ptr[T], dk: Ptr[T], dv: Ptr[T], places: Ptr[i64], heads: i64,
    length: i64, sources: i64, width: i64, scale: T, memory: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64, room, causal, masked, R, W,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    slot = take(slots, slot_count)
    queries = memory + slot * size
    turned_queries = queries + BLOCK * room
    given = turned_queries + BLOCK * room
    turned_given = given + BLOCK * room
    keys = turned_given + BLOCK * room
    values = keys + BLOCK * room
    d_queries = values + BLOCK * room
    d_keys = d_queries + BLOCK * room
    d_values = d_keys + BLOCK * room
    weights = d_values + BLOCK * room
    slopes = weights + BLOCK * BLOCK
    means = slopes + BLOCK * BLOCK
    rough = means + BLOCK
    none = spread(T(0.0), Vec[T, W])
    for at in range(begin, end):
        n = at // heads
        h = at - n * heads
        for j0 in range(0, sources, BLOCK):
            columns = minimum(sources - j0, BLOCK)
            padded = (columns + (R - 1)) // R * R
            key = k + (n * places[3] + h * places[4] + j0 * places[5])
            key_row = places[5]
            value = v + (n * places[6] + h * places[7] + j0 * places[8])
            value_row = places[8]
            if columns % W != 0 or width % (2 * W) != 0:
                pack(key, key_row, columns, (columns + (W - 1)) // W * W, width, keys, room, W)
                key = keys
                key_row = i64(room)
                pack(value, value_row, columns, (columns + (W - 1)) // W * W, width, values, room, W)
                value = values
                value_row = i64(room)
            fill(d_keys, padded * room, W)
            fill(d_values, padded * room, W)
            first = i64(0)
            if causal:
                first = j0
            for i0 in range(first, length, BLOCK):
                rows = minimum(length - i0, BLOCK)
                offset = i0 - j0
                gradient = g + (n * places[15] + h * places[16] + i0 * places[17])
                gradient_row = places[17]
                result = out + (n * places[9] + h * places[10] + i0 * places[11])
                query = q + (n * places[0] + h * places[1] + i0 * places[2])
                query_row = places[2]
                for i in range(rows):
                    joint = none
                    for j in range(0, width, W):
                        some = first_lanes(width - j, W)
                        there = load_where(result + i * places[11] + j, Vec[T, W], some)
                        joint = joint + load_where(gradient + i * gradient_row + j, Vec[T, W], some) * there
                    means[i] = total(joint)
                turn(query, query_row, rows, width, turned_queries, W)
                turn(gradient, gradient_row, rows, width, turned_given, W)
                if width % (2 * W) != 0:
                    pack(query, query_row, rows, rows, width, queries, room, W)
                    query = queries
                    query_row = i64(room)
                    pack(gradient, gradient_row, rows, rows, width, given, room, W)
                    gradient = given
                    gradient_row = i64(room)
                for i in range(0, rows, W):
                    count = minimum(columns, offset + i + W) if causal else columns
                    for j in range(0, count, W):
                        multiply(key + j * key_row, key_row, 1, turned_queries + i, BLOCK, weights + j * BLOCK + i, BLOCK, width, False, W, 1, W)
                        multiply(value + j * value_row, value_row, 1, turned_given + i, BLOCK, slopes + j * BLOCK + i, BLOCK, width, False, W, 1, W)
                    factor = scale
                    if masked != 0:
                        add_mask(weights + i, BLOCK, count, scale, mask, n * places[12] + h * places[13] + (i0 + i) * places[14] + j0, places[14], rows - i, columns, rough, masked, W)
                        factor = T(1.0)
                    some = first_lanes(rows - i, W)
                    low = load_where(sums + (at * length + i0 + i), Vec[T, W], some)
                    mean = load_where(means + i, Vec[T, W], some)
                    for j in range(count):
                        p = maths.exp(load(weights + j * BLOCK + i, Vec[T, W]) * factor - low)
                        slope = p * (load(slopes + j * BLOCK + i, Vec[T, W]) - mean) * scale
                        if causal:
                            later = first_lanes(j - offset - i, W)
                            p = select(later, none, p)
                            slope = select(later, none, slope)
                        store(weights + j * BLOCK + i, p)
                        store(slopes + j * BLOCK + i, slope)
                for j in range(0, padded, R):
                    start = i64(0)
                    if causal:
                        start = maximum(j - offset, start)
                    for c in range(0, width, 2 * W):
                        multiply(weights + j * BLOCK + start, BLOCK, 1, gradient + start * gradient_row + c, gradient_row, d_values + j * room + c, room, rows - start, True, R, 2, W)
                        multiply(slopes + j * BLOCK + start, BLOCK, 1, query + start * query_row + c, query_row, d_keys + j * room + c, room, rows - start, True, R, 2, W)
                for i in range(0, rows, R):
                    count = minimum(columns, offset + i + R) if causal else columns
                    for c in range(0, width, 2 * W):
                        multiply(slopes + i, 1, BLOCK, key + c, key_row, d_queries + i * room + c, room, count, False, R, 2, W)
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
    return _steps(*[(a.strides, a.itemsize) for a in arrays])


@lru_cache(256)
def _steps(*lies: Any) -> Any:
    return np.array([s // size for strides, size in lies for s in strides[:3]], np.int64)


@cache
def _made(backwards: bool, room: int, causal: bool, masked: int) -> Any:
    if backwards:
        return backward(T=f32, room=room, causal=causal, masked=masked, R=register_rows(), W=lanes())
    return forward(T=f32, room=room, causal=causal, masked=masked, W=lanes())


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
    room = Room(BLOCK * (4 * wide + lanes() + 2) + 2 * lanes() ** 2)
    _made(False, wide, causal, masked)(
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
    room = Room(BLOCK * (9 * wide + 2 * BLOCK + 1) + 2 * lanes() ** 2)
    _made(True, wide, causal, masked)(
        g, q, k, v, out, sums, mask, *made, _places(q, k, v, out, mask, g, *made), heads, length, k.shape[2], width, scale, room.memory, room.slots,
        room.count, room.size, n * heads, 1
    )  # fmt: skip
    room.release()
    return made
