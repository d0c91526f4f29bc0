"""Recurrent layers over a whole sequence in one native call: a thread takes some rows of the batch through all steps, and back.

In: see `bibun.backends.recurrent`, whose layers these are; float32 or float64. Out: the same, to rounding. Rows of a batch do not know
of each other, so threads wait for each other neither between steps nor between products: a thread multiplies inputs and states of its
rows with the weights, which are laid out once in panels two vector registers wide, and on the way back adds up its rows' part of the
weights' gradients. The groups of rows depend on the machine, not on how many threads there are, and so does no result.
"""

from __future__ import annotations

import math
import os
from functools import cache
from typing import Any

import numpy as np

from .. import build, maths
from ..kernel import kernel
from ..lang import (
    Ptr,
    T,
    Vec,
    bits,
    copysign,
    device,
    fabs,
    first_lanes,
    fma,
    i32,
    i64,
    load_where,
    maximum,
    minimum,
    rint,
    select,
    spread,
    store,
    store_where,
    unrolled,
    void,
)
from .tiles import Room, fill, give_back, multiply, register_rows, take, turn_in

__all__ = ["gradients", "layer", "step", "step_gradients"]

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
#: Most rows of the batch in a group.
MOST = 64
#: Rows of a group, over steps, whose parts of the weights' gradients are added up at a time: what is read for it stays in the second cache.
CHUNK = 128
#: States that a thread makes at least in a step alone.
ROOM = 1 << 12
_CORES = os.cpu_count() or 1


# Gates. Their exponentials have arguments of one sign and need no denormals, so they take two thirds of the steps of `maths`.

_LOG2E = math.log2(math.e)
#: By "in float64?": ln 2 in two parts, of which the first times a whole number is exact; 1/k! down to k = 1; where exp(x) is as good as 0.
_HIGH, _LOW = {False: maths._LN2_HIGH, True: 0.693147180559663}, {False: maths._LN2_LOW, True: 2.8235290563031577e-13}
_FIRST, _SECOND = ({False: 1 / math.factorial(7 - k), True: 1 / math.factorial(13 - k)} for k in (0, 1))
_TERMS = {double: tuple(1 / math.factorial(k) for k in range(11 if double else 5, 0, -1)) for double in (False, True)}
_LEAST = {False: -87.0, True: -708.0}


@device
def series(r: T, double) -> T:  # type: ignore[no-untyped-def]
    """(exp(r) - 1) / r for small r."""
    p = fma(r, _FIRST[double], _SECOND[double])
    for term in _TERMS[double]:
        p = fma(p, r, term)
    return p


@device
def rest(x: T, n: T, double) -> T:  # type: ignore[no-untyped-def]
    return fma(n, -_LOW[double], fma(n, -_HIGH[double], x))


@device
def two_to(n: T, double) -> T:  # type: ignore[no-untyped-def]
    if double:
        return bits((i64(n) + 1023) << 52, T)
    return bits((i32(n) + 127) << 23, T)


@device
def sigmoid(x: T, double) -> T:  # type: ignore[no-untyped-def]
    a = maximum(-fabs(x), _LEAST[double])
    n = rint(a * _LOG2E)
    r = rest(a, n, double)
    e = fma(series(r, double), r, 1.0) * two_to(n, double)
    return select(x < 0.0, e, T(1.0)) / (1.0 + e)


@device
def tanh(x: T, double) -> T:  # type: ignore[no-untyped-def]
    """By exp(-2|x|) - 1, which is exact near 0."""
    a = maximum(-2.0 * fabs(x), _LEAST[double])
    n = rint(a * _LOG2E)
    r = rest(a, n, double)
    scale = two_to(n, double)
    e = fma(series(r, double) * r, scale, scale - 1.0)
    return copysign(e / (2.0 + e), x)


@device
def copy(source: Ptr[T], made: Ptr[T], count: i64, W) -> void:  # type: ignore[no-untyped-def]
    for j in range(0, count, W):
        some = first_lanes(count - j, W)
        store_where(made + j, load_where(source + j, Vec[T, W], some), some)


@device(inline=False)
def product(a: Ptr[T], a_row: i64, a_step: i64, panels: Ptr[T], high: i64, made: Ptr[T], made_row: i64, tall: i64, wide: i64, count: i64, add, R, W) -> void:  # type: ignore[no-untyped-def]
    """made[i, j] = Σₖ a[i·a_row + k·a_step] · weight[k, j], or that added; a panel (``high`` rows of it) at a time for all rows."""
    for j in range(0, wide, 2 * W):
        i = tall * 0
        p = panels + j * high
        while i + R <= tall:
            multiply(a + i * a_row, a_row, a_step, p, 2 * W, made + i * made_row + j, made_row, count, add, R, 2, W)
            i += R
        if R > 4:
            if i + 4 <= tall:
                multiply(a + i * a_row, a_row, a_step, p, 2 * W, made + i * made_row + j, made_row, count, add, 4, 2, W)
                i += 4
        if i + 2 <= tall:
            multiply(a + i * a_row, a_row, a_step, p, 2 * W, made + i * made_row + j, made_row, count, add, 2, 2, W)
            i += 2
        if i < tall:
            multiply(a + i * a_row, a_row, a_step, p, 2 * W, made + i * made_row + j, made_row, count, add, 1, 2, W)


@device
def pack(source: Ptr[T], made: Ptr[T], count: i64, high: i64, W) -> void:  # type: ignore[no-untyped-def]
    """A row into panels of so many rows."""
    for j in range(0, count, 2 * W):
        v = load_where(source + j, Vec[T, W], first_lanes(count - j, W))
        store(made + j * high, v)
        v = load_where(source + j + W, Vec[T, W], first_lanes(count - j - W, W))
        store(made + j * high + W, v)


@kernel(fast="contract", explicit=True)
def panels(w: Ptr[T], made: Ptr[T], inner: i64, columns: i64, W, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for k in range(begin, end):
        pack(w + k * columns, made + k * (2 * W), columns, inner, W)


@kernel(fast="contract", explicit=True)
def turned_panels(w: Ptr[T], made: Ptr[T], inner: i64, columns: i64, high: i64, W, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for item in range(begin, end):
        panel = made + item * high * (2 * W)
        for half in unrolled(2):
            j = item * (2 * W) + half * W
            for k in range(0, inner, W):
                turn_in(w + j * inner + k, inner, maximum(columns - j, 0), inner - k, panel + k * (2 * W) + half * W, 2 * W, W)


# One step of a row: what the products made of it lies at z, and for gated units what they made of the state at y


@device
def lstm_step(z: Ptr[T], b: Ptr[T], h: Ptr[T], c: Ptr[T], before: Ptr[T], cells: Ptr[T], gates: Ptr[T], squashed: Ptr[T], out: Ptr[T], n: i64, keep, double, W) -> void:  # type: ignore[no-untyped-def]
    for j in range(0, n, W):
        some = first_lanes(n - j, W)
        p = sigmoid(load_where(z + j, Vec[T, W], some) + load_where(b + j, Vec[T, W], some), double)
        q = sigmoid(load_where(z + n + j, Vec[T, W], some) + load_where(b + n + j, Vec[T, W], some), double)
        r = tanh(load_where(z + 2 * n + j, Vec[T, W], some) + load_where(b + 2 * n + j, Vec[T, W], some), double)
        v = sigmoid(load_where(z + 3 * n + j, Vec[T, W], some) + load_where(b + 3 * n + j, Vec[T, W], some), double)
        cell = load_where(c + j, Vec[T, W], some)
        u = q * cell + p * r
        y = tanh(u, double)
        if keep:
            store_where(before + j, load_where(h + j, Vec[T, W], some), some)
            store_where(cells + j, cell, some)
            store_where(gates + j, p, some)
            store_where(gates + n + j, q, some)
            store_where(gates + 2 * n + j, r, some)
            store_where(gates + 3 * n + j, v, some)
            store_where(squashed + j, y, some)
        y = v * y
        store_where(c + j, u, some)
        store_where(h + j, y, some)
        store_where(out + j, y, some)


@device
def gru_step(z: Ptr[T], y: Ptr[T], b: Ptr[T], h: Ptr[T], before: Ptr[T], gates: Ptr[T], hidden: Ptr[T], out: Ptr[T], n: i64, keep, double, W) -> void:  # type: ignore[no-untyped-def]
    """The bias has four parts: of the two gates, of the state's part of the new state, of the input's part."""
    for j in range(0, n, W):
        some = first_lanes(n - j, W)
        p = sigmoid(load_where(z + j, Vec[T, W], some) + load_where(y + j, Vec[T, W], some) + load_where(b + j, Vec[T, W], some), double)
        q = sigmoid(load_where(z + n + j, Vec[T, W], some) + load_where(y + n + j, Vec[T, W], some) + load_where(b + n + j, Vec[T, W], some), double)
        u = load_where(y + 2 * n + j, Vec[T, W], some) + load_where(b + 2 * n + j, Vec[T, W], some)
        r = tanh(load_where(z + 2 * n + j, Vec[T, W], some) + load_where(b + 3 * n + j, Vec[T, W], some) + p * u, double)
        state = load_where(h + j, Vec[T, W], some)
        if keep:
            store_where(before + j, state, some)
            store_where(gates + j, p, some)
            store_where(gates + n + j, q, some)
            store_where(gates + 2 * n + j, r, some)
            store_where(hidden + j, u, some)
        v = r + q * (state - r)
        store_where(h + j, v, some)
        store_where(out + j, v, some)


@device
def plain_step(z: Ptr[T], b: Ptr[T], h: Ptr[T], before: Ptr[T], after: Ptr[T], out: Ptr[T], n: i64, relu, keep, double, W) -> void:  # type: ignore[no-untyped-def]
    for j in range(0, n, W):
        some = first_lanes(n - j, W)
        v = load_where(z + j, Vec[T, W], some) + load_where(b + j, Vec[T, W], some)
        if relu:
            v = select(v < 0.0, spread(T(0), Vec[T, W]), v)  # NaN stays
        else:
            v = tanh(v, double)
        if keep:
            store_where(before + j, load_where(h + j, Vec[T, W], some), some)
            store_where(after + j, v, some)
        store_where(h + j, v, some)
        store_where(out + j, v, some)


# Back: d(what the products made) of a row, added to the biases' gradients as well; the gradient of the row's state is at dh


@device
def lstm_slopes(g: Ptr[T], dh: Ptr[T], dc: Ptr[T], cells: Ptr[T], gates: Ptr[T], squashed: Ptr[T], d: Ptr[T], db: Ptr[T], n: i64, W) -> void:  # type: ignore[no-untyped-def]
    one = spread(T(1.0), Vec[T, W])
    for j in range(0, n, W):
        some = first_lanes(n - j, W)
        p = load_where(gates + j, Vec[T, W], some)
        q = load_where(gates + n + j, Vec[T, W], some)
        r = load_where(gates + 2 * n + j, Vec[T, W], some)
        v = load_where(gates + 3 * n + j, Vec[T, W], some)
        y = load_where(squashed + j, Vec[T, W], some)
        in_h = load_where(dh + j, Vec[T, W], some) + load_where(g + j, Vec[T, W], some)
        u = load_where(dc + j, Vec[T, W], some) + in_h * (v * (one - y * y))
        in_p = u * (r * p * (one - p))
        in_q = u * (load_where(cells + j, Vec[T, W], some) * q * (one - q))
        in_r = u * (p * (one - r * r))
        in_v = in_h * (y * v * (one - v))
        store_where(dc + j, u * q, some)
        store_where(d + j, in_p, some)
        store_where(d + n + j, in_q, some)
        store_where(d + 2 * n + j, in_r, some)
        store_where(d + 3 * n + j, in_v, some)
        store_where(db + j, load_where(db + j, Vec[T, W], some) + in_p, some)
        store_where(db + n + j, load_where(db + n + j, Vec[T, W], some) + in_q, some)
        store_where(db + 2 * n + j, load_where(db + 2 * n + j, Vec[T, W], some) + in_r, some)
        store_where(db + 3 * n + j, load_where(db + 3 * n + j, Vec[T, W], some) + in_v, some)


@device
def gru_slopes(g: Ptr[T], dh: Ptr[T], before: Ptr[T], gates: Ptr[T], hidden: Ptr[T], d: Ptr[T], db: Ptr[T], n: i64, W) -> void:  # type: ignore[no-untyped-def]
    """In four parts, as the bias of `gru_step`; what goes to the state past the products is left at dh."""
    one = spread(T(1.0), Vec[T, W])
    for j in range(0, n, W):
        some = first_lanes(n - j, W)
        p = load_where(gates + j, Vec[T, W], some)
        q = load_where(gates + n + j, Vec[T, W], some)
        r = load_where(gates + 2 * n + j, Vec[T, W], some)
        y = load_where(hidden + j, Vec[T, W], some)
        in_h = load_where(dh + j, Vec[T, W], some) + load_where(g + j, Vec[T, W], some)
        u = (one - q) * (one - r * r)
        in_r = in_h * u
        in_p = in_h * (u * y * p * (one - p))
        in_q = in_h * ((load_where(before + j, Vec[T, W], some) - r) * q * (one - q))
        in_y = in_r * p
        store_where(dh + j, in_h * q, some)
        store_where(d + j, in_p, some)
        store_where(d + n + j, in_q, some)
        store_where(d + 2 * n + j, in_y, some)
        store_where(d + 3 * n + j, in_r, some)
        store_where(db + j, load_where(db + j, Vec[T, W], some) + in_p, some)
        store_where(db + n + j, load_where(db + n + j, Vec[T, W], some) + in_q, some)
        store_where(db + 2 * n + j, load_where(db + 2 * n + j, Vec[T, W], some) + in_y, some)
        store_where(db + 3 * n + j, load_where(db + 3 * n + j, Vec[T, W], some) + in_r, some)


@device
def plain_slopes(g: Ptr[T], dh: Ptr[T], after: Ptr[T], d: Ptr[T], db: Ptr[T], n: i64, relu, W) -> void:  # type: ignore[no-untyped-def]
    for j in range(0, n, W):
        some = first_lanes(n - j, W)
        v = load_where(after + j, Vec[T, W], some)
        made = load_where(dh + j, Vec[T, W], some) + load_where(g + j, Vec[T, W], some)
        if relu:
            made = select(v > 0.0, made, spread(T(0), Vec[T, W]))
        else:
            made = made * (1.0 - v * v)
        store_where(d + j, made, some)
        store_where(db + j, load_where(db + j, Vec[T, W], some) + made, some)


# One step alone, between products that others make


@kernel(fast="contract", explicit=True)
def gates_of_step(  # type: ignore[no-untyped-def]
    z: Ptr[T], y: Ptr[T], zeros: Ptr[T], h: Ptr[T], c: Ptr[T], before: Ptr[T], cells: Ptr[T], gates: Ptr[T], squashed: Ptr[T], out: Ptr[T], n: i64,
    mode, keep, double, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    for i in range(begin, end):
        at = i * n
        if mode == "LSTM":
            lstm_step(z + 4 * at, y + 4 * at, h + at, c + at, before + at, cells + at, gates + 4 * at, squashed + at, out + at, n, keep, double, W)
        elif mode == "GRU":
            gru_step(z + 3 * at, y + 3 * at, zeros, h + at, before + at, gates + 3 * at, squashed + at, out + at, n, keep, double, W)
        else:
            plain_step(z + at, y + at, h + at, before + at, squashed + at, out + at, n, mode == "RNN_RELU", keep, double, W)


@kernel(fast="contract", explicit=True)
def slopes_of_step(  # type: ignore[no-untyped-def]
    g: Ptr[T], dh: Ptr[T], dc: Ptr[T], before: Ptr[T], cells: Ptr[T], gates: Ptr[T], squashed: Ptr[T], d: Ptr[T], db: Ptr[T], n: i64, mode, W,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    for i in range(begin, end):
        at = i * n
        if mode == "LSTM":
            lstm_slopes(g + at, dh + at, dc + at, cells + at, gates + 4 * at, squashed + at, d + 4 * at, db, n, W)
        elif mode == "GRU":
            gru_slopes(g + at, dh + at, before + at, gates + 3 * at, squashed + at, d + 4 * at, db, n, W)
        else:
            plain_slopes(g + at, dh + at, squashed + at, d + at, db, n, mode == "RNN_RELU", W)


# The runs. Step t of x, out and their gradients lies at turn[t] steps, of what is kept at turn[t]·kept_step rows; the first alive[t]
# sequences reach it. Row i of a group is sequence i0 + i·apart.


@kernel(fast="contract", explicit=True)
def forward(  # type: ignore[no-untyped-def]
    x: Ptr[T], x_step: i64, x_row: i64, out: Ptr[T], out_step: i64, out_row: i64, panels_x: Ptr[T], panels_h: Ptr[T], b: Ptr[T], h: Ptr[T], c: Ptr[T],
    last: Ptr[T], cell: Ptr[T], before: Ptr[T], cells: Ptr[T], gates: Ptr[T], squashed: Ptr[T], turn: Ptr[i64], alive: Ptr[i64], kept_step: i64,
    steps: i64, batch: i64, inner: i64, n: i64, wide: i64, block: i64, apart: i64, reverse: i64, memory: Ptr[T], slots: Ptr[i64], slot_count: i64,
    size: i64, mode, keep, double, R, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    slot = take(slots, slot_count)
    state = memory + slot * size
    high_x = (inner + (W - 1)) // W * W
    high_h = (n + (W - 1)) // W * W
    for item in range(begin, end):
        i0 = item if apart > 1 else item * block
        rows = minimum(block, (batch - i0 + apart - 1) // apart)
        cell_state = state + block * n
        z = cell_state + block * n
        y = z + block * wide
        for i in range(rows):
            copy(h + (i0 + i * apart) * n, state + i * n, n, W)
            if mode == "LSTM":
                copy(c + (i0 + i * apart) * n, cell_state + i * n, n, W)
        for s in range(steps):
            t = steps - 1 - s if reverse != 0 else s
            some = minimum(rows, maximum((alive[t] - i0 + apart - 1) // apart, 0))
            product(x + turn[t] * x_step + i0 * x_row, apart * x_row, 1, panels_x, high_x, z, wide, some, wide, inner, False, R, W)
            if mode == "GRU":
                product(state, n, 1, panels_h, high_h, y, wide, some, wide, n, False, R, W)
            else:
                product(state, n, 1, panels_h, high_h, z, wide, some, wide, n, True, R, W)
            for i in range(some):
                row = i0 + i * apart
                at = (turn[t] * kept_step + row) * n
                made = out + turn[t] * out_step + row * out_row
                if mode == "LSTM":
                    lstm_step(z + i * wide, b, state + i * n, cell_state + i * n, before + at, cells + at, gates + 4 * at, squashed + at, made, n, keep, double, W)
                elif mode == "GRU":
                    gru_step(z + i * wide, y + i * wide, b, state + i * n, before + at, gates + 3 * at, squashed + at, made, n, keep, double, W)
                else:
                    plain_step(z + i * wide, b, state + i * n, before + at, squashed + at, made, n, mode == "RNN_RELU", keep, double, W)
        for i in range(rows):
            copy(state + i * n, last + (i0 + i * apart) * n, n, W)
            if mode == "LSTM":
                copy(cell_state + i * n, cell + (i0 + i * apart) * n, n, W)
    give_back(slots, slot)


@kernel(fast="contract", explicit=True)
def backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], g_step: i64, g_row: i64, g_last: Ptr[T], g_cell: Ptr[T], x: Ptr[T], x_step: i64, x_row: i64, dx: Ptr[T], dx_step: i64, dx_row: i64,
    panels_x: Ptr[T], panels_h: Ptr[T], before: Ptr[T], cells: Ptr[T], gates: Ptr[T], squashed: Ptr[T], dh: Ptr[T], dc: Ptr[T], parts: Ptr[T],
    part: i64, turn: Ptr[i64], alive: Ptr[i64], kept_step: i64, steps: i64, batch: i64, inner: i64, n: i64, wide_x: i64, wide_h: i64, d_row: i64,
    chunk: i64, block: i64, apart: i64, reverse: i64, memory: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64, mode, inputs, weights, R, W,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    slot = take(slots, slot_count)
    d = memory + slot * size
    parts_of = 4 if mode == "LSTM" else (3 if mode == "GRU" else 1)
    for item in range(begin, end):
        i0 = item if apart > 1 else item * block
        rows = minimum(block, (batch - i0 + apart - 1) // apart)
        state = d + chunk * d_row
        spare = state + block * wide_h
        packed_h = spare + block * wide_x
        packed_x = packed_h + chunk * wide_h
        dw = parts + item * part
        du = dw + parts_of * n * wide_h
        db = du + parts_of * n * wide_x
        fill(dw, part, W)
        for i in range(rows):
            row = (i0 + i * apart) * n
            copy(g_last + row, state + i * wide_h, n, W)
            if mode == "LSTM":
                copy(g_cell + row, dc + row, n, W)
        filled = rows * 0
        for s in range(steps):
            t = s if reverse != 0 else steps - 1 - s
            some = minimum(rows, maximum((alive[t] - i0 + apart - 1) // apart, 0))
            now = d + filled * d_row
            for i in range(some):
                row = i0 + i * apart
                at = (turn[t] * kept_step + row) * n
                given = g + turn[t] * g_step + row * g_row
                if mode == "LSTM":
                    lstm_slopes(given, state + i * wide_h, dc + row * n, cells + at, gates + 4 * at, squashed + at, now + i * d_row, db, n, W)
                elif mode == "GRU":
                    gru_slopes(given, state + i * wide_h, before + at, gates + 3 * at, squashed + at, now + i * d_row, db, n, W)
                else:
                    plain_slopes(given, state + i * wide_h, squashed + at, now + i * d_row, db, n, mode == "RNN_RELU", W)
                if weights:
                    pack(before + at, packed_h + (filled + i) * (2 * W), n, chunk, W)
                    pack(x + turn[t] * x_step + row * x_row, packed_x + (filled + i) * (2 * W), inner, chunk, W)
            product(now, d_row, 1, panels_h, parts_of * n, state, wide_h, some, wide_h, parts_of * n, mode == "GRU", R, W)
            if inputs:
                if mode == "GRU":
                    product(now, d_row, 1, panels_x, 3 * n, spare, wide_x, some, wide_x, 2 * n, False, R, W)
                    product(now + 3 * n, d_row, 1, panels_x + 2 * n * (2 * W), 3 * n, spare, wide_x, some, wide_x, n, True, R, W)
                else:
                    product(now, d_row, 1, panels_x, parts_of * n, spare, wide_x, some, wide_x, parts_of * n, False, R, W)
                for i in range(some):
                    copy(spare + i * wide_x, dx + turn[t] * dx_step + (i0 + i * apart) * dx_row, inner, W)
            if weights:
                filled += some
                if filled + rows > chunk or s == steps - 1:
                    product(d, 1, d_row, packed_h, chunk, dw, wide_h, parts_of * n, wide_h, filled, True, R, W)
                    if mode == "GRU":
                        product(d, 1, d_row, packed_x, chunk, du, wide_x, 2 * n, wide_x, filled, True, R, W)
                        product(d + 3 * n, 1, d_row, packed_x, chunk, du + 2 * n * wide_x, wide_x, n, wide_x, filled, True, R, W)
                    else:
                        product(d, 1, d_row, packed_x, chunk, du, wide_x, parts_of * n, wide_x, filled, True, R, W)
                    filled = rows * 0
        for i in range(rows):
            copy(state + i * wide_h, dh + (i0 + i * apart) * n, n, W)
    give_back(slots, slot)


@device
def add_row(parts: Ptr[T], count: i64, part: i64, columns: i64, out: Ptr[T], W) -> void:  # type: ignore[no-untyped-def]
    for j in range(0, columns, W):
        some = first_lanes(columns - j, W)
        v = load_where(parts + j, Vec[T, W], some)
        for k in range(1, count):
            v = v + load_where(parts + k * part + j, Vec[T, W], some)
        store_where(out + j, v, some)


@kernel(fast="contract", explicit=True)
def added(  # type: ignore[no-untyped-def]
    parts: Ptr[T], count: i64, part: i64, rows: i64, wide_h: i64, n: i64, dw: Ptr[T], wide_x: i64, inner: i64, du: Ptr[T], slopes: i64, db: Ptr[T],
    W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """The groups' parts of the gradients, added up in order and without what pads their rows; items are rows, the last one the biases'."""
    for i in range(begin, end):
        if i < rows:
            add_row(parts + i * wide_h, count, part, n, dw + i * n, W)
            add_row(parts + rows * wide_h + i * wide_x, count, part, inner, du + i * inner, W)
        else:
            add_row(parts + rows * (wide_h + wide_x), count, part, slopes, db, W)


def _lanes(d: Any) -> int:
    return build.vector_bytes() // d.itemsize


def _panels(w: Any, turned: bool) -> Any:
    """A weight, or with ``turned`` its transpose, in panels two registers wide; their height is a multiple of a register's then."""
    w, d = np.ascontiguousarray(w), w.dtype
    size = _lanes(d)
    inner, columns = w.shape[::-1] if turned else w.shape
    high, wide = -(-inner // size) * size if turned else inner, -(-columns // (2 * size))
    made = np.empty((wide, high, 2 * size), d)
    if turned:
        turned_panels(T=d, W=size)(w, made, inner, columns, high, wide, max(1, 4096 // high))
    else:
        panels(T=d, W=size)(w, made, inner, columns, inner, max(1, 65536 // columns))
    return made


def _groups(batch: int, sizes: Any) -> tuple[int, int, int]:
    """(groups of sequences, how many are in one, how far apart they are): of packed sequences each group has long and short ones."""
    block = min(-(-batch // (4 * _CORES)) * 4, MOST, batch)
    groups = -(-batch // block)
    return groups, block, 1 if sizes is None else groups


@cache
def _turns(steps: int, batch: int) -> tuple[Any, Any]:
    return np.arange(steps), np.full(steps, batch)


def _packed_turns(sizes: Any) -> tuple[Any, Any]:
    alive = np.array(sizes)
    return np.cumsum(alive) - alive, alive


def _strides(a: Any) -> tuple[Any, int, int]:
    """(the array with neighbouring numbers in its rows, elements from step to step, from row to row)."""
    item = a.itemsize
    if a.shape[-1] > 1 and a.strides[-1] != item or any(s % item for s in a.strides):
        a = np.ascontiguousarray(a)
    return a, a.strides[0] // item, a.strides[-2] // item


def _alike(x: Any, columns: int) -> Any:
    """Room for a row for each of x's, that lies as x does: batch before time where that is so."""
    if x.ndim == 3 and x.strides[0] < x.strides[1]:
        return np.empty((x.shape[1], x.shape[0], columns), x.dtype).swapaxes(0, 1)
    return np.empty((*x.shape[:-1], columns), x.dtype)


def _bias(mode: str, bu: Any, bw: Any, rows: int, d: Any) -> Any:
    """The biases as the steps take them."""
    zeros = np.zeros(rows, d) if bu is None or bw is None else None
    bu, bw = zeros if bu is None else bu, zeros if bw is None else bw
    if mode != "GRU":
        return bu + bw
    n = rows // 3
    return np.concatenate([bu[: 2 * n] + bw[: 2 * n], bw[2 * n :], bu[2 * n :]])


_PARTS = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def layer(mode: str, x: Any, u: Any, w: Any, bu: Any, bw: Any, h: Any, c: Any, reverse: bool, keep: bool, sizes: Any) -> Any:
    """(outputs, last state, last cell, states before, cells before, gates, the last array); NotImplemented for what has several weights."""
    d = x.dtype
    if w.ndim != 2 or not x.size or d not in (F32, F64) or any(a is not None and a.dtype != d for a in (u, w, bu, bw, h, c)):
        return NotImplemented
    batch, n = h.shape
    inner, parts = x.shape[-1], _PARTS[mode]
    x, x_step, x_row = _strides(x)
    out = _alike(x, n)
    _, out_step, out_row = _strides(out)
    turn, alive = _turns(len(x), batch) if sizes is None else _packed_turns(sizes)
    kept = x.shape[:-1] if keep else (0,)
    last, cell = np.empty((batch, n), d), np.empty((batch, n), d) if mode == "LSTM" else None
    before, squashed = np.empty((*kept, n), d), np.empty((*kept, n), d)
    cells = np.empty((*kept, n), d) if mode == "LSTM" else None
    gates = np.empty((*kept, parts * n), d) if parts > 1 else None
    panels_x, panels_h = _panels(u, True), _panels(w, True)
    wide = panels_h.shape[0] * panels_h.shape[2]
    groups, block, apart = _groups(batch, sizes)
    room = Room(block * (2 * n + 2 * wide) * (d.itemsize // 4))
    forward(T=d, mode=mode, keep=keep, double=d == F64, R=register_rows(), W=_lanes(d))(
        x, x_step, x_row, out, out_step, out_row, panels_x, panels_h, _bias(mode, bu, bw, parts * n, d), np.ascontiguousarray(h),
        None if c is None else np.ascontiguousarray(c), last, cell, before, cells, gates, squashed, turn, alive, batch if sizes is None else 1,
        len(turn), batch, inner, n, wide, block, apart, int(reverse), room.memory, room.slots, room.count, room.size // (d.itemsize // 4), groups, 1
    )  # fmt: skip
    room.release()
    return out, last, cell, before, cells, gates, squashed


def gradients(
    mode: str, g: Any, g_last: Any, g_cell: Any, x: Any, u: Any, w: Any, before: Any, cells: Any, gates: Any, squashed: Any, reverse: bool,
    sizes: Any, wanted: Any,
) -> Any:  # fmt: skip
    """Gradients of (x, its weight, the recurrent weight, their biases, first state, first cell), None where not wanted."""
    kept = [a for a in (before, cells, gates, squashed) if a is not None]
    d = x.dtype
    if w.ndim != 2 or not x.size or d not in (F32, F64) or any(a.dtype != d or not a.flags.c_contiguous for a in kept):
        return NotImplemented
    if any(a is not None and a.dtype != d for a in (g, g_last, g_cell, u, w)):
        return NotImplemented
    batch, n = g_last.shape
    inner, parts = x.shape[-1], _PARTS[mode]
    x, x_step, x_row = _strides(x)
    g, g_step, g_row = _strides(g)
    turn, alive = _turns(len(x), batch) if sizes is None else _packed_turns(sizes)
    inputs, weights = wanted[0], any(wanted[1:5])
    dx, dx_step, dx_row = _strides(_alike(x, inner)) if inputs else (None, 0, 0)
    dh, dc = np.empty((batch, n), d), np.empty((batch, n), d) if mode == "LSTM" else None
    two = 2 * _lanes(d)
    wide_x, wide_h = -(-inner // two) * two, -(-n // two) * two
    slopes = 4 * n if mode == "GRU" else parts * n
    d_row = -(-slopes // 16) * 16 + 16  # no power of two, whose multiples would all lie in a few places of the cache
    groups, block, apart = _groups(batch, sizes)
    chunk = max(CHUNK, block) if weights else block
    part = parts * n * (wide_x + wide_h) + slopes
    made = np.empty((groups, part), d)
    room = Room((chunk * (d_row + wide_x + wide_h) + block * (wide_x + wide_h)) * (d.itemsize // 4))
    backward(T=d, mode=mode, inputs=inputs, weights=weights, R=register_rows(), W=_lanes(d))(
        g, g_step, g_row, np.ascontiguousarray(g_last), None if g_cell is None else np.ascontiguousarray(g_cell), x, x_step, x_row, dx, dx_step,
        dx_row, _panels(u, False) if inputs else None, _panels(w, False), before, cells, gates, squashed, dh, dc, made, part, turn, alive,
        batch if sizes is None else 1, len(turn), batch, inner, n, wide_x, wide_h, d_row, chunk, block, apart, int(reverse), room.memory,
        room.slots, room.count, room.size // (d.itemsize // 4), groups, 1
    )  # fmt: skip
    room.release()
    du = dw = dbu = dbw = None
    if weights:
        dw, du, db = np.empty(w.shape, d), np.empty(u.shape, d), np.empty(slopes, d)
        rows = parts * n
        added(T=d, W=_lanes(d))(made, groups, part, rows, wide_h, n, dw, wide_x, inner, du, slopes, db, rows + 1, max(1, 16384 // (n + inner)))
        dbw, dbu = db[:rows].copy(), np.concatenate([db[: 2 * n], db[3 * n :]]) if mode == "GRU" else db
    return [dx, du, dw, dbu, dbw, dh, dc]


@cache
def _gates_of_step(mode: str, d: Any, keep: bool) -> Any:
    return gates_of_step(T=d, mode=mode, keep=keep, double=d == F64, W=_lanes(d))


@cache
def _slopes_of_step(mode: str, d: Any) -> Any:
    return slopes_of_step(T=d, mode=mode, W=_lanes(d))


def step(mode: str, z: Any, y: Any, h: Any, c: Any, keep: bool) -> Any:
    """What `layer` gives, of one step, given what was made of the inputs and of the states (B, gates · H)."""
    batch, n = h.shape
    d, rows = z.dtype, batch if keep else 0
    out, last, cell = np.empty((batch, n), d), np.array(h, order="C"), None if c is None else np.array(c, order="C")
    before, squashed = np.empty((rows, n), d), np.empty((rows, n), d)
    cells = None if c is None else np.empty((rows, n), d)
    gates = np.empty((rows, _PARTS[mode] * n), d) if _PARTS[mode] > 1 else None
    _gates_of_step(mode, d, keep)(
        z, y, np.zeros(4 * n, d) if mode == "GRU" else None, last, cell, before, cells, gates, squashed, out, n, batch, max(1, ROOM // n)
    )
    return out, last, cell, before, cells, gates, squashed


def step_gradients(mode: str, g: Any, g_last: Any, g_cell: Any, before: Any, cells: Any, gates: Any, squashed: Any) -> Any:
    """Gradients of (what was made of the inputs, of the states, both biases, the state past its product, the cell)."""
    batch, n = g_last.shape
    d, slopes = squashed.dtype, 4 * n if mode == "GRU" else _PARTS[mode] * n
    dh, dc = np.array(g_last, order="C"), None if g_cell is None else np.array(g_cell, order="C")
    made, db = np.empty((batch, slopes), d), np.zeros(slopes, d)
    _slopes_of_step(mode, d)(np.ascontiguousarray(g), dh, dc, before, cells, gates, squashed, made, db, n, batch, batch)
    if mode != "GRU":
        return made, made, db, db.copy(), dh, dc
    return np.concatenate([made[:, : 2 * n], made[:, 3 * n :]], 1), made[:, : 3 * n], np.concatenate([db[: 2 * n], db[3 * n :]]), db[: 3 * n].copy(), dh, dc
