"""Products of matrices: both operands are packed for the register tiles that multiply them.

In: matrices whose rows or columns are contiguous. Out: their product, with a bias added where there is one. A thread's part of B lies in
panels two vectors wide in its own cache, a strip of A in the nearest one: Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication" (2008). An element's sum goes over its terms in the same order wherever the cuts are.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from .. import build
from ..kernel import kernel
from ..lang import (
    Ptr,
    T,
    Vec,
    bundle,
    device,
    f32,
    first_lanes,
    fma,
    i64,
    load,
    load_where,
    minimum,
    spread,
    store,
    store_where,
    unrolled,
    void,
)
from .tiles import Room, give_back, lanes, take, turn_in

#: Terms that are summed up in registers, and columns of B that are packed, at most.
DEEP, WIDE = 384, 512
#: Rows of a strip, and strips that are packed in one go where the columns of A are contiguous.
ROWS, TALL = 12, 8
#: Places for the terms of a strip or panel: not a power of two, so that neighbours do not want the same lines of the cache.
APART, ROW = DEEP + 1, DEEP + 16


@device(inline=False)
def tile(  # type: ignore[no-untyped-def]
    a: Ptr[T], b: Ptr[T], count: i64, c: Ptr[T], c_row: i64, more: Ptr[T], more_row: i64, rows: i64, columns: i64, a_row, a_step, R, V, W
) -> void:
    """c = a · b (+ more) for a strip of R rows of A and a panel of B, of which ``rows`` and ``columns`` are wanted."""
    sum = bundle(R * V, spread(T(0), Vec[T, W]))
    for _ in range(count):
        v = bundle(V, load(b, Vec[T, W]))
        for j in unrolled(1, V):
            v[j] = load(b + j * W, Vec[T, W])
        for i in unrolled(R):
            x = spread(a[i * a_row], Vec[T, W])
            for j in unrolled(V):
                sum[i * V + j] = fma(x, v[j], sum[i * V + j])
        a = a + a_step
        b = b + V * W
    if rows == R and columns == V * W:
        if i64(more) != 0:
            for i in unrolled(R):
                for j in unrolled(V):
                    store(c + i * c_row + j * W, sum[i * V + j] + load(more + i * more_row + j * W, Vec[T, W]))
        else:
            for i in unrolled(R):
                for j in unrolled(V):
                    store(c + i * c_row + j * W, sum[i * V + j])
    else:
        for i in unrolled(R):
            if i < rows:
                for j in unrolled(V):
                    some = first_lanes(columns - j * W, W)
                    x = sum[i * V + j]
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
def turn_columns(source: Ptr[T], step: i64, count: i64, columns: i64, made: Ptr[T], apart, V, W) -> void:  # type: ignore[no-untyped-def]
    """The same of pieces V·W wide of a matrix that lies the other way round, with zeros behind the last column."""
    for j in range(0, (columns + (V * W - 1)) // (V * W) * V * W, W):
        y = made + j // (V * W) * apart + j % (V * W)
        for k in range(0, count, W):
            turn_in(source + j * step + k, step, columns - j, count - k, y + k * V * W, V * W, W)


@device
def tiles(  # type: ignore[no-untyped-def]
    a: Ptr[T], b: Ptr[T], count: i64, c: Ptr[T], c_row: i64, more: Ptr[T], more_row: i64, rows: i64, columns: i64, a_row, a_step, R, W
) -> void:
    """`tile`, as tall as the rows want."""
    if rows > R // 3 * 2:
        tile(a, b, count, c, c_row, more, more_row, rows, columns, a_row, a_step, R, 2, W)
    elif rows > R // 3:
        tile(a, b, count, c, c_row, more, more_row, rows, columns, a_row, a_step, R // 3 * 2, 2, W)
    else:
        tile(a, b, count, c, c_row, more, more_row, rows, columns, a_row, a_step, R // 3, 2, W)


@kernel(fast="contract", explicit=True)
def product(  # type: ignore[no-untyped-def]
    a: Ptr[T], b: Ptr[T], c: Ptr[T], bias: Ptr[T], m: i64, n: i64, k: i64, lda: i64, ldb: i64, ldc: i64, bias_row: i64, rows: i64, columns: i64,
    inner: i64, a0: i64, a1: i64, b0: i64, b1: i64, memory: Ptr[T], slots: Ptr[i64], slot_count: i64, size: i64, turned_a, turned_b, R, W,
    begin: i64, end: i64,
) -> void:  # fmt: skip
    """Items are parts of ``rows`` x ``columns`` of the products of a batch, whose two dimensions are a0, a1 (b0, b1) elements apart."""
    slot = take(slots, slot_count)
    strips = memory + slot * size
    panels = strips + TALL * R * APART + W
    down = (m + rows - 1) // rows
    across = (n + columns - 1) // columns
    turns = (k + (DEEP - 1)) // DEEP
    depth = ((k + turns - 1) // turns + 7) // 8 * 8
    for item in range(begin, end):
        which = item // (down * across)
        part = item - which * (down * across)
        i_first = part // across * rows
        j_first = (part - part // across * across) * columns
        outer = which // inner
        x = a + (outer * a0 + (which - outer * inner) * a1)
        y = b + (outer * b0 + (which - outer * inner) * b1)
        z = c + which * m * ldc
        i_last = minimum(i_first + rows, m)
        j_last = minimum(j_first + columns, n)
        for j0 in range(j_first, j_last, WIDE):
            wide = minimum(j_last - j0, WIDE)
            for k0 in range(0, k, depth):
                deep = minimum(depth, k - k0)
                if turned_b:
                    turn_columns(y + j0 * ldb + k0, ldb, deep, wide, panels, APART * 2 * W, 2, W)
                else:
                    copy_columns(y + k0 * ldb + j0, ldb, deep, wide, panels, 2 * W, APART * 2 * W, 4, 2, W)
                for i0 in range(i_first, i_last, TALL * R):
                    high = minimum(i_last - i0, TALL * R)
                    if turned_a:
                        copy_columns(x + k0 * lda + i0, lda, deep, high, strips, R, APART * R, TALL, 1, W)
                    for i in range(0, high, R):
                        tall = minimum(high - i, R)
                        strip = strips
                        if turned_a:
                            strip = strips + i * APART
                        else:
                            copy_rows(x + (i0 + i) * lda + k0, lda, tall, deep, strip, ROW, W)
                        for j in range(0, wide, 2 * W):
                            to = z + (i0 + i) * ldc + j0 + j
                            more = to
                            more_row = ldc
                            if k0 == 0:
                                more = bias
                                more_row = bias_row
                                if i64(bias) != 0:
                                    more = bias + (i0 + i) * bias_row + j0 + j
                            panel = panels + j * APART
                            if turned_a:
                                tiles(strip, panel, deep, to, ldc, more, more_row, tall, wide - j, 1, R, R, W)
                            else:
                                tiles(strip, panel, deep, to, ldc, more, more_row, tall, wide - j, ROW, 1, R, W)
    give_back(slots, slot)


def suits(m: int, n: int, k: int, across: bool) -> bool:
    """Whether a product is made faster here than by OpenBLAS, which multiplies small ones without packing them; ``across``: the sums go
    along the rows of both, which it does not like."""
    return build.vector_bytes() == 64 and m >= 48 and n >= 64 and k >= 32 and m * n * k >= (1 << 20 if across else 1 << 22)


@cache
def made(turned_a: bool, turned_b: bool) -> Any:
    """The kernel for matrices whose rows lie together or, where ``turned``, columns."""
    return product(T=f32, turned_a=turned_a, turned_b=turned_b, R=ROWS, W=lanes())


def multiply(call: Any, a: Any, b: Any, out: Any, bias: Any, numbers: Any, items: int) -> None:
    """Have the kernel of `made` write a product; ``numbers`` are its parameters from the rows on."""
    room = Room((TALL * ROWS + WIDE) * APART + 2 * lanes())
    call(a, b, out, bias, *numbers, room.memory, room.slots, room.count, room.size, items, 1)
    room.release()
