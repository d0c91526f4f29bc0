"""Long short-term memory and gated recurrent units over a whole sequence in one native call: a thread takes some rows of the batch through all steps.

In: see `bibun.ops.recurrent`; float32. Out: the same as its array functions give, to rounding. Rows of a batch do not know of each
other, so threads need not wait for each other between steps, and results do not depend on how many there are. The recurrent weight
is laid out once in panels two vector registers wide, which the product of a step walks (`tiles.multiply`); what is wanted of a
step's gates is computed in one pass over them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import blas, maths, pool
from ..kernel import kernel
from ..lang import (
    Ptr,
    T,
    Vec,
    device,
    f32,
    first_lanes,
    i64,
    load_where,
    minimum,
    spread,
    store_where,
    void,
)
from .tiles import Room, fill, give_back, lanes, multiply, register_rows, take

__all__ = ["gru", "gru_gradients", "lstm", "lstm_gradients"]

F32 = np.dtype(np.float32)
#: Most rows of a batch that a thread takes through the steps at a time.
MOST = 64


@device
def copy(source: Ptr[T], made: Ptr[T], count: i64, W) -> void:  # type: ignore[no-untyped-def]
    for j in range(0, count, W):
        some = first_lanes(count - j, W)
        store_where(made + j, load_where(source + j, Vec[T, W], some), some)


@device(inline=False)
def product(a: Ptr[T], a_row: i64, panels: Ptr[T], made: Ptr[T], tall: i64, wide: i64, count: i64, add, R, W) -> void:  # type: ignore[no-untyped-def]
    """made[i, j] = Σₖ a[i, k] · weight[k, j], or that added, a panel of the weight at a time for all rows."""
    for j in range(0, wide, 2 * W):
        for i in range(0, tall, R):
            multiply(a + i * a_row, a_row, 1, panels + j * count, 2 * W, made + i * wide + j, wide, count, add, R, 2, W)


@kernel(fast="contract")
def forward(  # type: ignore[no-untyped-def]
    x: Ptr[T], x_step: i64, x_row: i64, panels: Ptr[T], b: Ptr[T], h: Ptr[T], c: Ptr[T], out: Ptr[T], last: Ptr[T], cell: Ptr[T], states: Ptr[T],
    cells: Ptr[T], gates: Ptr[T], squashed: Ptr[T], steps: i64, batch: i64, n: i64, wide: i64, block: i64, reverse: i64, memory: Ptr[T],
    slots: Ptr[i64], slot_count: i64, size: i64, R, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    slot = take(slots, slot_count)
    state = memory + slot * size
    for item in range(begin, end):
        i0 = item * block
        rows = minimum(block, batch - i0)
        tall = (rows + (R - 1)) // R * R
        made = state + tall * n
        start = ((steps if reverse != 0 else steps * 0) * batch + i0) * n
        copy(h + i0 * n, state, rows * n, W)
        fill(state + rows * n, (tall - rows) * n, W)
        copy(h + i0 * n, states + start, rows * n, W)
        copy(c + i0 * n, cells + start, rows * n, W)
        for s in range(steps):
            t = steps - 1 - s if reverse != 0 else s
            product(state, n, panels, made, tall, wide, n, False, R, W)
            before = cells + ((t + reverse) * batch + i0) * n
            after = cells + ((t + 1 - reverse) * batch + i0) * n
            around = states + ((t + 1 - reverse) * batch + i0) * n
            for i in range(rows):
                at = (t * batch + i0 + i) * n
                z = made + i * wide
                given = x + t * x_step + (i0 + i) * x_row
                for j in range(0, n, W):
                    some = first_lanes(n - j, W)
                    p = load_where(z + j, Vec[T, W], some) + load_where(b + j, Vec[T, W], some) + load_where(given + j, Vec[T, W], some)
                    q = load_where(z + n + j, Vec[T, W], some) + load_where(b + n + j, Vec[T, W], some) + load_where(given + n + j, Vec[T, W], some)
                    r = load_where(z + 2 * n + j, Vec[T, W], some) + load_where(b + 2 * n + j, Vec[T, W], some) + load_where(given + 2 * n + j, Vec[T, W], some)
                    v = load_where(z + 3 * n + j, Vec[T, W], some) + load_where(b + 3 * n + j, Vec[T, W], some) + load_where(given + 3 * n + j, Vec[T, W], some)
                    p = maths.sigmoid(p)
                    q = maths.sigmoid(q)
                    r = maths.tanh(r)
                    v = maths.sigmoid(v)
                    u = q * load_where(before + i * n + j, Vec[T, W], some) + p * r
                    y = maths.tanh(u)
                    store_where(gates + 4 * at + j, p, some)
                    store_where(gates + 4 * at + n + j, q, some)
                    store_where(gates + 4 * at + 2 * n + j, r, some)
                    store_where(gates + 4 * at + 3 * n + j, v, some)
                    store_where(after + i * n + j, u, some)
                    store_where(squashed + at + j, y, some)
                    y = v * y
                    store_where(out + at + j, y, some)
                    store_where(around + i * n + j, y, some)
                    store_where(state + i * n + j, y, some)
        copy(state, last + i0 * n, rows * n, W)
        end_at = ((steps * 0 if reverse != 0 else steps) * batch + i0) * n
        copy(cells + end_at, cell + i0 * n, rows * n, W)
    give_back(slots, slot)


@kernel(fast="contract")
def backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], g_step: i64, g_row: i64, g_last: Ptr[T], g_cell: Ptr[T], panels: Ptr[T], cells: Ptr[T], gates: Ptr[T], squashed: Ptr[T], dx: Ptr[T],
    dh: Ptr[T], dc: Ptr[T], steps: i64, batch: i64, n: i64, wide: i64, block: i64, reverse: i64, memory: Ptr[T], slots: Ptr[i64],
    slot_count: i64, size: i64, R, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    slot = take(slots, slot_count)
    slopes = memory + slot * size
    for item in range(begin, end):
        i0 = item * block
        rows = minimum(block, batch - i0)
        tall = (rows + (R - 1)) // R * R
        state = slopes + 4 * tall * n
        fill(slopes + 4 * rows * n, 4 * (tall - rows) * n, W)
        copy(g_cell + i0 * n, dc + i0 * n, rows * n, W)
        for i in range(rows):
            copy(g_last + (i0 + i) * n, state + i * wide, n, W)
        for s in range(steps):
            t = s if reverse != 0 else steps - 1 - s
            before = cells + ((t + reverse) * batch + i0) * n
            for i in range(rows):
                at = (t * batch + i0 + i) * n
                given = g + t * g_step + (i0 + i) * g_row
                slope = slopes + 4 * i * n
                kept = dc + (i0 + i) * n
                for j in range(0, n, W):
                    some = first_lanes(n - j, W)
                    one = spread(T(1.0), Vec[T, W])
                    p = load_where(gates + 4 * at + j, Vec[T, W], some)
                    q = load_where(gates + 4 * at + n + j, Vec[T, W], some)
                    r = load_where(gates + 4 * at + 2 * n + j, Vec[T, W], some)
                    v = load_where(gates + 4 * at + 3 * n + j, Vec[T, W], some)
                    y = load_where(squashed + at + j, Vec[T, W], some)
                    d = load_where(state + i * wide + j, Vec[T, W], some) + load_where(given + j, Vec[T, W], some)
                    u = load_where(kept + j, Vec[T, W], some) + d * (v * (one - y * y))
                    in_p = u * (r * p * (one - p))
                    in_q = u * (load_where(before + i * n + j, Vec[T, W], some) * q * (one - q))
                    in_r = u * (p * (one - r * r))
                    in_v = d * (y * v * (one - v))
                    store_where(kept + j, u * q, some)
                    store_where(slope + j, in_p, some)
                    store_where(slope + n + j, in_q, some)
                    store_where(slope + 2 * n + j, in_r, some)
                    store_where(slope + 3 * n + j, in_v, some)
                copy(slope, dx + 4 * at, 4 * n, W)
            product(slopes, 4 * n, panels, state, tall, wide, 4 * n, False, R, W)
        for i in range(rows):
            copy(state + i * wide, dh + (i0 + i) * n, n, W)
    give_back(slots, slot)


@kernel(fast="contract")
def gru_forward(  # type: ignore[no-untyped-def]
    x: Ptr[T], x_step: i64, x_row: i64, panels: Ptr[T], b: Ptr[T], h: Ptr[T], out: Ptr[T], last: Ptr[T], states: Ptr[T], gates: Ptr[T],
    hidden: Ptr[T], steps: i64, batch: i64, n: i64, wide: i64, block: i64, reverse: i64, memory: Ptr[T], slots: Ptr[i64], slot_count: i64,
    size: i64, R, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    slot = take(slots, slot_count)
    state = memory + slot * size
    for item in range(begin, end):
        i0 = item * block
        rows = minimum(block, batch - i0)
        tall = (rows + (R - 1)) // R * R
        made = state + tall * n
        copy(h + i0 * n, state, rows * n, W)
        fill(state + rows * n, (tall - rows) * n, W)
        copy(h + i0 * n, states + ((steps if reverse != 0 else steps * 0) * batch + i0) * n, rows * n, W)
        for s in range(steps):
            t = steps - 1 - s if reverse != 0 else s
            product(state, n, panels, made, tall, wide, n, False, R, W)
            around = states + ((t + 1 - reverse) * batch + i0) * n
            for i in range(rows):
                at = (t * batch + i0 + i) * n
                z = made + i * wide
                given = x + t * x_step + (i0 + i) * x_row
                for j in range(0, n, W):
                    some = first_lanes(n - j, W)
                    p = load_where(z + j, Vec[T, W], some) + load_where(b + j, Vec[T, W], some) + load_where(given + j, Vec[T, W], some)
                    q = load_where(z + n + j, Vec[T, W], some) + load_where(b + n + j, Vec[T, W], some) + load_where(given + n + j, Vec[T, W], some)
                    y = load_where(z + 2 * n + j, Vec[T, W], some) + load_where(b + 2 * n + j, Vec[T, W], some)
                    p = maths.sigmoid(p)
                    q = maths.sigmoid(q)
                    r = maths.tanh(load_where(given + 2 * n + j, Vec[T, W], some) + p * y)
                    v = r + q * (load_where(state + i * n + j, Vec[T, W], some) - r)
                    store_where(gates + 3 * at + j, p, some)
                    store_where(gates + 3 * at + n + j, q, some)
                    store_where(gates + 3 * at + 2 * n + j, r, some)
                    store_where(hidden + at + j, y, some)
                    store_where(out + at + j, v, some)
                    store_where(around + i * n + j, v, some)
                    store_where(state + i * n + j, v, some)
        copy(state, last + i0 * n, rows * n, W)
    give_back(slots, slot)


@kernel(fast="contract")
def gru_backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], g_step: i64, g_row: i64, g_last: Ptr[T], panels: Ptr[T], states: Ptr[T], gates: Ptr[T], hidden: Ptr[T], dx: Ptr[T], dy: Ptr[T],
    dh: Ptr[T], steps: i64, batch: i64, n: i64, wide: i64, block: i64, reverse: i64, memory: Ptr[T], slots: Ptr[i64], slot_count: i64,
    size: i64, R, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    slot = take(slots, slot_count)
    slopes = memory + slot * size
    for item in range(begin, end):
        i0 = item * block
        rows = minimum(block, batch - i0)
        tall = (rows + (R - 1)) // R * R
        state = slopes + 3 * tall * n
        fill(slopes + 3 * rows * n, 3 * (tall - rows) * n, W)
        fill(state, tall * wide, W)
        for i in range(rows):
            copy(g_last + (i0 + i) * n, state + i * wide, n, W)
        for s in range(steps):
            t = s if reverse != 0 else steps - 1 - s
            before = states + ((t + reverse) * batch + i0) * n
            for i in range(rows):
                at = (t * batch + i0 + i) * n
                given = g + t * g_step + (i0 + i) * g_row
                slope = slopes + 3 * i * n
                for j in range(0, n, W):
                    some = first_lanes(n - j, W)
                    one = spread(T(1.0), Vec[T, W])
                    p = load_where(gates + 3 * at + j, Vec[T, W], some)
                    q = load_where(gates + 3 * at + n + j, Vec[T, W], some)
                    r = load_where(gates + 3 * at + 2 * n + j, Vec[T, W], some)
                    y = load_where(hidden + at + j, Vec[T, W], some)
                    d = load_where(state + i * wide + j, Vec[T, W], some) + load_where(given + j, Vec[T, W], some)
                    u = (one - q) * (one - r * r)
                    in_r = d * u
                    in_p = d * (u * y * p * (one - p))
                    in_q = d * ((load_where(before + i * n + j, Vec[T, W], some) - r) * q * (one - q))
                    store_where(state + i * wide + j, d * q, some)
                    store_where(slope + j, in_p, some)
                    store_where(slope + n + j, in_q, some)
                    store_where(slope + 2 * n + j, in_r * p, some)
                    store_where(dx + 3 * at + 2 * n + j, in_r, some)
                copy(slope, dx + 3 * at, 2 * n, W)
                copy(slope, dy + 3 * at, 3 * n, W)
            product(slopes, 3 * n, panels, state, tall, wide, 3 * n, True, R, W)
        for i in range(rows):
            copy(state + i * wide, dh + (i0 + i) * n, n, W)
    give_back(slots, slot)


@kernel(fast="contract")
def column_sums(x: Ptr[T], out: Ptr[T], rows: i64, columns: i64, W, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    """Items are W columns."""
    for item in range(begin, end):
        j = item * W
        some = first_lanes(columns - j, W)
        made = spread(T(0.0), Vec[T, W])
        for i in range(rows):
            made = made + load_where(x + i * columns + j, Vec[T, W], some)
        store_where(out + j, made, some)


def _panels(w: Any) -> Any:
    """(inner, columns) in panels of two registers' width, with zeros where columns are wanting."""
    inner, columns = w.shape
    two = 2 * lanes()
    count = -(-columns // two)
    if columns % two:
        made = np.zeros((count, inner, two), F32)
        for k in range(count):
            part = w[:, k * two : (k + 1) * two]
            made[k, :, : part.shape[1]] = part
        return made
    return np.ascontiguousarray(w.reshape(inner, count, two).swapaxes(0, 1))


def _register(batch: int) -> int:
    """Rows of a register tile: no more than a batch fills."""
    r = register_rows()
    while r > 2 and r // 2 >= batch:
        r //= 2
    return r


def _block(batch: int, r: int) -> int:
    """Rows of the batch for a thread."""
    share = -(-batch // pool.threads())
    return min(-(-share // r) * r, MOST)


def _strides(a: Any) -> Any:
    """(the array with neighbouring numbers in its rows, elements from step to step, from row to row)."""
    if a.shape[-1] > 1 and a.strides[-1] != 4 or any(s % 4 for s in a.strides):
        a = np.ascontiguousarray(a)
    return a, a.strides[0] // 4, a.strides[1] // 4


def lstm(x: Any, w: Any, b: Any, h: Any, c: Any, reverse: bool) -> Any:
    """What `bibun.backends.recurrent.lstm_layer` gives; NotImplemented for what is not float32 with one weight."""
    if x.ndim != 3 or w.ndim != 2 or not x.size or any(a is not None and a.dtype != F32 for a in (x, w, b, h, c)):
        return NotImplemented
    steps, batch, rows = x.shape
    n = rows // 4
    x, x_step, x_row = _strides(x)
    out, squashed = np.empty((steps, batch, n), F32), np.empty((steps, batch, n), F32)
    last, cell = np.empty((batch, n), F32), np.empty((batch, n), F32)
    states, cells = np.empty((steps + 1, batch, n), F32), np.empty((steps + 1, batch, n), F32)
    gates = np.empty((steps, batch, rows), F32)
    panels = _panels(w.T)
    bias = np.zeros(rows, F32) if b is None else np.ascontiguousarray(b)
    r = _register(batch)
    wide, block = panels.shape[0] * panels.shape[2], _block(batch, r)
    room = Room(block * (n + wide))
    forward(T=f32, R=r, W=lanes())(
        x, x_step, x_row, panels, bias, np.ascontiguousarray(h), np.ascontiguousarray(c), out, last, cell, states, cells, gates, squashed, steps, batch,
        n, wide, block, int(reverse), room.memory, room.slots, room.count, room.size, -(-batch // block), 1
    )  # fmt: skip
    room.release()
    return out, last, cell, states, cells, gates, squashed


def lstm_gradients(g: Any, g_last: Any, g_cell: Any, w: Any, states: Any, cells: Any, gates: Any, squashed: Any, reverse: bool) -> Any:
    """What `bibun.backends.recurrent.lstm_layer_gradients` gives; NotImplemented for what is not float32 with one weight."""
    kept = (states, cells, gates, squashed)
    if gates.ndim != 3 or w.ndim != 2 or any(a.dtype != F32 for a in (g, g_last, g_cell, w, *kept)):
        return NotImplemented
    if not all(a.flags.c_contiguous for a in kept):
        return NotImplemented
    steps, batch, rows = gates.shape
    n = rows // 4
    g, g_step, g_row = _strides(g)
    dx, dh, dc = np.empty_like(gates), np.empty((batch, n), F32), np.empty((batch, n), F32)
    panels = _panels(w)
    r = _register(batch)
    wide, block = panels.shape[0] * panels.shape[2], _block(batch, r)
    room = Room(block * (rows + wide))
    backward(T=f32, R=r, W=lanes())(
        g, g_step, g_row, np.ascontiguousarray(g_last), np.ascontiguousarray(g_cell), panels, cells, gates, squashed, dx, dh, dc, steps, batch, n,
        wide, block, int(reverse), room.memory, room.slots, room.count, room.size, -(-batch // block), 1
    )  # fmt: skip
    room.release()
    return [dx, *_shared(dx, states[1:] if reverse else states[:-1]), dh, dc]


def _shared(d: Any, before: Any) -> tuple[Any, Any]:
    """Gradients of the recurrent weight and bias."""
    rows = d.shape[-1]
    flat, before = d.reshape(-1, rows), before.reshape(-1, before.shape[-1])
    dw = blas.matmul(flat.T, before)
    db = np.empty(rows, F32)
    column_sums(T=f32, W=lanes())(flat, db, flat.shape[0], rows, -(-rows // lanes()), 4)
    return flat.T @ before if dw is NotImplemented else dw, db


def gru(x: Any, w: Any, b: Any, h: Any, reverse: bool) -> Any:
    """What `bibun.backends.recurrent.gru_layer` gives; NotImplemented for what is not float32 with one weight."""
    if x.ndim != 3 or w.ndim != 2 or not x.size or any(a is not None and a.dtype != F32 for a in (x, w, b, h)):
        return NotImplemented
    steps, batch, rows = x.shape
    n = rows // 3
    x, x_step, x_row = _strides(x)
    out, hidden, last = np.empty((steps, batch, n), F32), np.empty((steps, batch, n), F32), np.empty((batch, n), F32)
    states, gates = np.empty((steps + 1, batch, n), F32), np.empty((steps, batch, rows), F32)
    panels = _panels(w.T)
    bias = np.zeros(rows, F32) if b is None else np.ascontiguousarray(b)
    r = _register(batch)
    wide, block = panels.shape[0] * panels.shape[2], _block(batch, r)
    room = Room(block * (n + wide))
    gru_forward(T=f32, R=r, W=lanes())(
        x, x_step, x_row, panels, bias, np.ascontiguousarray(h), out, last, states, gates, hidden, steps, batch, n, wide, block, int(reverse),
        room.memory, room.slots, room.count, room.size, -(-batch // block), 1
    )  # fmt: skip
    room.release()
    return out, last, states, gates, hidden


def gru_gradients(g: Any, g_last: Any, w: Any, states: Any, gates: Any, hidden: Any, reverse: bool) -> Any:
    """What `bibun.backends.recurrent.gru_layer_gradients` gives; NotImplemented for what is not float32 with one weight."""
    kept = (states, gates, hidden)
    if gates.ndim != 3 or w.ndim != 2 or any(a.dtype != F32 for a in (g, g_last, w, *kept)):
        return NotImplemented
    if not all(a.flags.c_contiguous for a in kept):
        return NotImplemented
    steps, batch, rows = gates.shape
    n = rows // 3
    g, g_step, g_row = _strides(g)
    dx, dy, dh = np.empty_like(gates), np.empty_like(gates), np.empty((batch, n), F32)
    panels = _panels(w)
    r = _register(batch)
    wide, block = panels.shape[0] * panels.shape[2], _block(batch, r)
    room = Room(block * (rows + wide))
    gru_backward(T=f32, R=r, W=lanes())(
        g, g_step, g_row, np.ascontiguousarray(g_last), panels, states, gates, hidden, dx, dy, dh, steps, batch, n, wide, block, int(reverse),
        room.memory, room.slots, room.count, room.size, -(-batch // block), 1
    )  # fmt: skip
    room.release()
    return [dx, *_shared(dy, states[1:] if reverse else states[:-1]), dh]
