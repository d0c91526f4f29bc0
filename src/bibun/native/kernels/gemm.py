"""Products of matrices: register tiles that read their operands where they lie, or packed copies where those could not be read well.

In: matrices whose rows or columns are contiguous. Out: their product, with a bias added where there is one. A tile multiplies a strip of
A, some rows, with a panel of B, two vectors wide; a thread's panels stay in its second-level cache while strips go by: Goto and van
de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008). Copied are panels of a B whose columns are contiguous, what would
reach over an edge, and what lies so far apart that it falls on the same lines of the cache. An element's sum goes over its terms in the
same order wherever the cuts are.
"""

from __future__ import annotations

from functools import cache
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
    f32,
    first_lanes,
    fma,
    i64,
    load,
    load_where,
    minimum,
    null,
    prefetch,
    spread,
    store,
    store_where,
    unrolled,
    void,
)
from .tiles import Room, give_back, lanes, take, turn_in

#: Terms that are summed up in registers, and columns of B that are multiplied with all strips, at most.
DEEP, WIDE = 384, 512
#: Rows of a strip.
ROWS = 12
#: Places for the terms of a panel or a row: not a power of two, so that neighbours do not want the same lines of the cache.
APART, ROW = DEEP + 1, DEEP + 16
#: Matrices whose rows (or columns) are so many numbers apart, nearly a page of memory, are copied.
FAR = 900


@device(inline=False)
def tile(  # type: ignore[no-untyped-def]
    a: Ptr[T], a_row: i64, a_step: i64, b: Ptr[T], b_step: i64, count: i64, c: Ptr[T], c_row: i64, more: Ptr[T], more_row: i64, rows: i64,
    columns: i64, R, V, W,
) -> void:  # fmt: skip
    """c = a · b (+ more) for a strip of R rows of A and a panel of B, of which ``rows`` and ``columns`` are wanted."""
    sum = bundle(R * V, spread(T(0), Vec[T, W]))
    for _ in range(count):
        v = bundle(V, load(b, Vec[T, W]))
        for j in unrolled(1, V):
            v[j] = load(b + j * W, Vec[T, W])
        for j in unrolled(V):
            prefetch(b + (V + j) * W)
        for i in unrolled(R):
            x = spread(a[i * a_row], Vec[T, W])
            for j in unrolled(V):
                sum[i * V + j] = fma(x, v[j], sum[i * V + j])
        a = a + a_step
        b = b + b_step
    if rows == R and columns == V * W:
        if i64(more) != 0:
            for i in unrolled(R):
                for j in unrolled(V):
                    store(c + i * c_row + j * W, sum[i * V + j] + load(more + i * more_row + j * W, Vec[T, W]))
        else:
            for i in unrolled(R):
                for j in unrolled(V):
                    store(c + i * c_row + j * W, sum[i * V + j])
    else:  # by way of memory, in a loop: an edge is rare, and written out this would be most of the code
        held = allocate(T, R * V * W)
        for i in unrolled(R * V):
            store(held + i * W, sum[i])
        for i in range(rows):
            for j in unrolled(V):
                some = first_lanes(columns - j * W, W)
                x = load(held + (i * V + j) * W, Vec[T, W])
                if i64(more) != 0:
                    x = x + load_where(more + i * more_row + j * W, Vec[T, W], some)
                store_where(c + i * c_row + j * W, x, some)


@device(inline=False)
def copy_rows(source: Ptr[T], step: i64, rows: i64, width: i64, made: Ptr[T], made_step, W) -> void:  # type: ignore[no-untyped-def]
    """Rows of ``width`` numbers, one at a time."""
    whole = width - width % W
    some = first_lanes(width - whole, W)
    for i in range(rows):
        x = source + i * step
        y = made + i * made_step
        for k in range(0, whole, W):
            store(y + k, load(x + k, Vec[T, W]))
        if whole < width:
            store(y + whole, load_where(x + whole, Vec[T, W], some))


@device(inline=False)
def copy_columns(source: Ptr[T], step: i64, count: i64, columns: i64, made: Ptr[T], width, apart, P, V, W) -> void:  # type: ignore[no-untyped-def]
    """Pieces of ``width`` columns (V vectors, the last of which may stand out) come to lie ``apart``, P of them in one go."""
    some = first_lanes(width - (V - 1) * W, W)
    for at in range(0, columns, width * P):
        if columns - at >= width * P:
            x = source + at
            y = made + at // width * apart
            for _ in range(count):
                for p in unrolled(P):
                    for j in unrolled(V):
                        if p == P - 1 and j == V - 1 and width < V * W:
                            store(y + p * apart + j * W, load_where(x + p * width + j * W, Vec[T, W], some))
                        else:
                            store(y + p * apart + j * W, load(x + p * width + j * W, Vec[T, W]))
                x = x + step
                y = y + width
        else:
            for here in range(at, columns, width):
                wide = minimum(columns - here, width)
                there = bundle(V, first_lanes(wide, W))
                for j in unrolled(1, V):
                    there[j] = first_lanes(wide - j * W, W)
                x = source + here
                y = made + here // width * apart
                for _ in range(count):
                    for j in unrolled(V):
                        store(y + j * W, load_where(x + j * W, Vec[T, W], there[j]))
                    x = x + step
                    y = y + width


@device(inline=False)
def turn_columns(source: Ptr[T], step: i64, count: i64, columns: i64, made: Ptr[T], V, W) -> void:  # type: ignore[no-untyped-def]
    """Pieces of V vectors of a matrix that lies the other way round, with zeros behind the last column."""
    for j in unrolled(V):
        for k in range(0, count, W):
            turn_in(source + j * W * step + k, step, columns - j * W, count - k, made + k * V * W + j * W, V * W, W)


@device(inline=False)
def part(  # type: ignore[no-untyped-def]
    x: Ptr[T], y: Ptr[T], z: Ptr[T], bias: Ptr[T], i_first: i64, i_last: i64, j_first: i64, j_last: i64, k: i64, lda: i64, ldb: i64, ldc: i64,
    bias_row: i64, strips: Ptr[T], panels: Ptr[T], turned_a, turned_b, R, W,
) -> void:  # fmt: skip
    """Rows and columns of a product from the first ones to before the last."""
    turns = (k + (DEEP - 1)) // DEEP
    depth = ((k + turns - 1) // turns + 7) // 8 * 8
    for j0 in range(j_first, j_last, WIDE):
        wide = minimum(j_last - j0, WIDE)
        whole = wide - wide % (2 * W) if ldb < FAR else i64(0)
        for k0 in range(0, k, depth):
            deep = minimum(depth, k - k0)
            if turned_b:
                for j in range(0, wide, 2 * W):
                    turn_columns(y + (j0 + j) * ldb + k0, ldb, deep, wide - j, panels + j * APART, 2, W)
            elif whole < wide:
                copy_columns(y + k0 * ldb + j0 + whole, ldb, deep, wide - whole, panels + whole * APART, 2 * W, APART * 2 * W, 4, 2, W)
            for i in range(i_first, i_last, R):
                rows = minimum(i_last - i, R)
                tall = i64(R) if rows > R // 3 * 2 else i64(R // 3 * 2) if rows > R // 3 else i64(R // 3)
                if turned_a:
                    strip = x + k0 * lda + i
                    row = i64(1)
                    step = lda
                    if lda >= FAR or rows != tall:
                        copy_columns(strip, lda, deep, rows, strips, R, APART * R, 1, 1, W)
                        strip = strips
                        step = i64(R)
                else:
                    strip = x + i * lda + k0
                    row = lda
                    step = i64(1)
                    if lda >= FAR or rows != tall:
                        copy_rows(strip, lda, rows, deep, strips, ROW, W)
                        strip = strips
                        row = i64(ROW)
                for j in range(0, wide, 2 * W):
                    panel = panels + j * APART
                    panel_step = i64(2 * W)
                    if not turned_b:
                        if j < whole:
                            panel = y + k0 * ldb + j0 + j
                            panel_step = ldb
                    to = z + i * ldc + j0 + j
                    more = to
                    more_row = ldc
                    if k0 == 0:
                        more = bias
                        more_row = bias_row
                        if i64(bias) != 0:
                            more = bias + i * bias_row + j0 + j
                    if tall == R:
                        tile(strip, row, step, panel, panel_step, deep, to, ldc, more, more_row, rows, wide - j, R, 2, W)
                    elif tall == R // 3 * 2:
                        tile(strip, row, step, panel, panel_step, deep, to, ldc, more, more_row, rows, wide - j, R // 3 * 2, 2, W)
                    else:
                        tile(strip, row, step, panel, panel_step, deep, to, ldc, more, more_row, rows, wide - j, R // 3, 2, W)


@kernel(fast="contract", explicit=True)
def product(  # type: ignore[no-untyped-def]
    a: Ptr[T], b: Ptr[T], c: Ptr[T], bias: Ptr[T], m: i64, n: i64, k: i64, lda: i64, ldb: i64, ldc: i64, bias_row: i64, part_rows: i64,
    part_columns: i64, inner: i64, a0: i64, a1: i64, b0: i64, b1: i64, memory: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64, turned_a, turned_b, R, W,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    """Items are parts of ``part_rows`` x ``part_columns`` of the products of a batch, whose two dimensions are a0, a1 (b0, b1) elements apart."""
    slot = take(slots, slot_count)
    strips = memory + slot * size
    panels = strips + W * ROW
    down = (m + part_rows - 1) // part_rows
    across = (n + part_columns - 1) // part_columns
    for item in range(begin, end):
        which = item // (down * across)
        here = item - which * (down * across)
        i = here // across * part_rows
        j = (here - here // across * across) * part_columns
        outer = which // inner
        x = a + (outer * a0 + (which - outer * inner) * a1)
        y = b + (outer * b0 + (which - outer * inner) * b1)
        z = c + which * m * ldc
        part(x, y, z, bias, i, minimum(i + part_rows, m), j, minimum(j + part_columns, n), k, lda, ldb, ldc, bias_row, strips, panels, turned_a, turned_b, R, W)
    give_back(slots, slot)


@device(inline=False)
def row_sums(x: Ptr[T], step: i64, rows: i64, width: i64, made: Ptr[T], W) -> void:  # type: ignore[no-untyped-def]
    """The sum of rows."""
    for j in range(0, width, 4 * W):
        some = bundle(4, first_lanes(width - j, W))
        for p in unrolled(1, 4):
            some[p] = first_lanes(width - j - p * W, W)
        sums = bundle(4, spread(T(0), Vec[T, W]))
        for i0 in range(0, rows, 64):  # sums of sums lose fewer digits
            parts = bundle(4, spread(T(0), Vec[T, W]))
            for i in range(i0, minimum(i0 + 64, rows)):
                for p in unrolled(4):
                    parts[p] = parts[p] + load_where(x + i * step + j + p * W, Vec[T, W], some[p])
            for p in unrolled(4):
                sums[p] = sums[p] + parts[p]
        for p in unrolled(4):
            store_where(made + j + p * W, sums[p], some[p])


@kernel(fast="contract", explicit=True)
def layer_backward(  # type: ignore[no-untyped-def]
    g: Ptr[T], x: Ptr[T], weight: Ptr[T], before: Ptr[T], dx: Ptr[T], dw: Ptr[T], db: Ptr[T], more: Ptr[T], rows: i64, m: i64, n: i64, part_rows: i64,
    memory: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64, R, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """Items are parts of the rows of g (rows, m) and x (rows, n). The first part's share of the weight's and the bias' gradients comes to
    lie in their places, those of the others in ``more``. ``before``, where there is something, is added to dx."""
    slot = take(slots, slot_count)
    strips = memory + slot * size
    panels = strips + W * ROW
    for item in range(begin, end):
        i = item * part_rows
        tall = minimum(part_rows, rows - i)
        share = dw
        bias_share = db
        if item > 0:
            share = more + (item - 1) * (m * n + m)
            bias_share = share + m * n
        if i64(dx) != 0:
            part(g, weight, dx, before, i, i + tall, 0, n, m, m, n, n, n, strips, panels, False, False, R, W)
        part(g + i * m, x + i * n, share, null(T), 0, m, 0, n, tall, m, n, n, 0, strips, panels, True, False, R, W)
        if i64(db) != 0:
            row_sums(g + i * m, m, tall, m, bias_share, W)
    give_back(slots, slot)


@kernel(fast="contract", explicit=True)
def add_shares(dw: Ptr[T], db: Ptr[T], more: Ptr[T], m: i64, n: i64, shares: i64, W, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    """Items are rows of the weight."""
    for i in range(begin, end):
        for k in range(shares):
            share = more + k * (m * n + m)
            for j in range(0, n, W):
                some = first_lanes(n - j, W)
                at = dw + i * n + j
                store_where(at, load_where(at, Vec[T, W], some) + load_where(share + i * n + j, Vec[T, W], some), some)
            if i64(db) != 0:
                db[i] = db[i] + share[m * n + i]


@cache
def made(turned_a: bool, turned_b: bool) -> Any:
    """The kernel for matrices whose rows lie together or, where ``turned``, columns."""
    return product(T=f32, turned_a=turned_a, turned_b=turned_b, R=ROWS, W=lanes())


def multiply(call: Any, a: Any, b: Any, out: Any, bias: Any, numbers: Any, items: int) -> None:
    """Have the kernel of `made` write a product; ``numbers`` are its parameters from the rows on."""
    room = Room(lanes() * ROW + WIDE * APART)
    call(a, b, out, bias, *numbers, room.memory, room.slots, room.count, room.size, items, 1)
    room.release()


@cache
def _backward() -> tuple[Any, Any]:
    return layer_backward(T=f32, R=ROWS, W=lanes()), add_shares(T=f32, W=lanes())


def gradients(g: Any, x: Any, weight: Any, parts: int, wanted: Any, before: Any = None) -> tuple[Any, Any, Any]:
    """Of a linear layer, g (rows, m), x (rows, n), weight (m, n): the gradients of x (with ``before`` added), the weight and the bias, those that are wanted, made in
    parts of the rows: the thread that made rows of g and x reads them again."""
    rows, m = g.shape
    n = x.shape[1]
    dx = np.empty(x.shape, np.float32) if wanted[0] else None
    dw, db = np.empty((m, n), np.float32), np.empty(m, np.float32) if wanted[2] else None
    each = -(-rows // parts)
    parts = -(-rows // each)
    more = np.empty((parts - 1) * (m * n + m), np.float32)
    room = Room(lanes() * ROW + WIDE * APART)
    backward, add = _backward()
    backward(
        g, x, weight, before, dx, dw, db, more, rows, m, n, each, room.memory, room.slots, room.count, room.size, parts, 1
    )
    room.release()
    if parts > 1:
        add(dw, db, more, m, n, parts - 1, m, max(1, 4096 // n))
    return dx, dw, db
