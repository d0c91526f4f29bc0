"""Pieces that the kernels of convolutions share: products of register tiles, blocks turned around, room for each thread.

In: addresses and steps. Out: what they are used for is said with each.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .. import build, pool
from ..lang import (
    Ptr,
    T,
    Vec,
    atomic_set,
    atomic_swap,
    bundle,
    device,
    first_lanes,
    fma,
    i64,
    load,
    load_where,
    pause,
    select,
    shuffle,
    spread,
    store,
    store_where,
    unrolled,
    void,
)

__all__ = ["Room", "fill", "give_back", "lanes", "multiply", "register_rows", "take", "turn_in", "turn_out"]


@cache
def lanes() -> int:
    """How many float32 a vector register holds."""
    return build.vector_bytes() // 4


def register_rows() -> int:
    """Rows of a register tile that is two vectors wide."""
    return 8 if build.vector_bytes() == 64 else 4


# Room for each thread


class Room:
    """Memory for the threads of one call to work in: ``size`` numbers for each, taken by `take`."""

    kept: Room | None = None

    def __init__(self, size: int):
        self.size = -(-size // 32) * 32
        self.count = count = pool.threads()
        held, Room.kept = Room.kept, None  # another thread that comes now makes its own
        if held is None or held.memory.size < self.size * count or held.count < count:
            self.memory, self.slots = np.empty(self.size * count, np.float32), np.zeros(16 * count, np.int64)
        else:
            self.memory, self.slots = held.memory, held.slots

    def release(self) -> None:
        Room.kept = self


@device
def take(slots: Ptr[i64], count: i64) -> i64:
    """The number of a place that no other thread has; there are as many as threads."""
    while True:
        for k in range(count):
            if atomic_swap(slots + k * 16, 1) == 0:
                return k
        pause()


@device
def give_back(slots: Ptr[i64], k: i64) -> void:
    atomic_set(slots + k * 16, 0)


# Products


@device(inline=False)
def multiply(a: Ptr[T], a_row: i64, a_step: i64, b: Ptr[T], b_step: i64, c: Ptr[T], c_row: i64, count: i64, add, R, V, W) -> void:  # type: ignore[no-untyped-def]
    """R rows of V vectors: c[i, j] = Σₖ a[i·a_row + k·a_step] · b[k·b_step + j], or that added to c."""
    total = bundle(R * V, spread(T(0), Vec[T, W]))
    for _ in range(count):
        v = bundle(V, load(b, Vec[T, W]))
        for j in unrolled(1, V):
            v[j] = load(b + j * W, Vec[T, W])
        for i in unrolled(R):
            x = spread(a[i * a_row], Vec[T, W])
            for j in unrolled(V):
                total[i * V + j] = fma(x, v[j], total[i * V + j])
        a = a + a_step
        b = b + b_step
    for i in unrolled(R):
        for j in unrolled(V):
            at = c + i * c_row + j * W
            if add:
                store(at, load(at, Vec[T, W]) + total[i * V + j])
            else:
                store(at, total[i * V + j])


# Blocks turned around: images have their channels apart, register tiles want them side by side


def stages(width: int) -> tuple[int, ...]:
    return tuple(1 << s for s in range(width.bit_length() - 1))


def lower(width: int, h: int) -> tuple[int, ...]:
    """Of rows i and i + h, what belongs in row i after bit h of rows and columns is exchanged."""
    return tuple(k if not k & h else width + k - h for k in range(width))


def upper(width: int, h: int) -> tuple[int, ...]:
    return tuple(k + h if not k & h else width + k for k in range(width))


@device(inline=False)
def turn_in(source: Ptr[T], step: i64, rows: i64, columns: i64, made: Ptr[T], made_step: i64, W) -> void:  # type: ignore[no-untyped-def]
    """made[j·made_step + i] = source[i·step + j] for i, j < W; zeros beyond the rows and columns that there are."""
    r = bundle(W, spread(T(0), Vec[T, W]))
    if rows >= W and columns >= W:
        for i in unrolled(W):
            r[i] = load(source + i * step, Vec[T, W])
    else:
        some = first_lanes(columns, W)
        none = first_lanes(0, W)
        for i in unrolled(W):
            r[i] = load_where(source + i * step, Vec[T, W], select(i < rows, some, none))
    for h in stages(W):
        for i in unrolled(W):
            if i & h == 0:
                x = r[i]
                y = r[i + h]
                r[i] = shuffle(x, y, lower(W, h))
                r[i + h] = shuffle(x, y, upper(W, h))
    for j in unrolled(W):
        store(made + j * made_step, r[j])


@device(inline=False)
def turn_out(source: Ptr[T], step: i64, made: Ptr[T], made_step: i64, rows: i64, columns: i64, W) -> void:  # type: ignore[no-untyped-def]
    """made[j·made_step + i] = source[i·step + j], for j < rows and i < columns alone."""
    r = bundle(W, spread(T(0), Vec[T, W]))
    for i in unrolled(W):
        r[i] = load(source + i * step, Vec[T, W])
    for h in stages(W):
        for i in unrolled(W):
            if i & h == 0:
                x = r[i]
                y = r[i + h]
                r[i] = shuffle(x, y, lower(W, h))
                r[i + h] = shuffle(x, y, upper(W, h))
    if rows >= W and columns >= W:
        for j in unrolled(W):
            store(made + j * made_step, r[j])
    else:
        some = first_lanes(columns, W)
        for j in unrolled(W):
            if j < rows:
                store_where(made + j * made_step, r[j], some)


@device(inline=False)
def fill(p: Ptr[T], count: i64, W) -> void:  # type: ignore[no-untyped-def]
    """Zeros."""
    whole = count - count % W
    for i in range(0, whole, W):
        store(p + i, spread(T(0), Vec[T, W]))
    for i in range(whole, count):
        p[i] = T(0)
