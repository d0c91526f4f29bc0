"""Order along rows: sorts by digits (stable), and the largest few.

In: float32 or int64 numbers, C-contiguous, seen as rows of ``n``. Out: positions in a row as int64, and the numbers there. Equal numbers
keep their order, NaN is larger than all, -0 equals 0. Numbers are turned into keys whose order as unsigned integers is the one wanted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernel import kernel
from ..lang import Ptr, T, U, allocate, bits, device, i32, i64, maximum, select, u32, u64, unrolled, void
from .tiles import Room, give_back, take

__all__ = ["MOST", "argsort", "largest"]

#: The most that `largest` looks for.
MOST = 64
_BITS = {np.dtype(np.float32): 4, np.dtype(np.int64): 8}


@device
def key_of(x: T, down, float32) -> i64:  # type: ignore[no-untyped-def]
    """Its order among float32 or int64 numbers, as bits of an unsigned number."""
    if float32:
        b = bits(x + T(0.0), i32)
        key = i64(select(x != x, u32(0xFFFFFFFF), u32(b ^ ((b >> 31) | i32(-2147483648)))))
        if down:
            key = key ^ 0xFFFFFFFF
    else:
        key = i64(x) ^ (-9223372036854775807 - 1)
        if down:
            key = ~key
    return key


@kernel(fast="")
def _argsort(
    x: Ptr[T], values: Ptr[T], order: Ptr[i64], room: Ptr[U], slots: Ptr[i64], slot_count: i64, size: i64, n: i64, digits, down, begin: i64, end: i64
) -> void:  # type: ignore[no-untyped-def]  # fmt: skip
    slot = take(slots, slot_count)
    keys = room + slot * size
    counts = allocate(i64, 256 * digits)
    for row in range(begin, end):
        source = x + row * n
        for k in range(256 * digits):
            counts[k] = 0
        here = keys
        there = keys + 2 * n
        for i in range(n):
            key = key_of(source[i], down, digits == 4)
            here[2 * i] = U(key)
            here[2 * i + 1] = U(i)
            for d in unrolled(digits):
                at = d * 256 + ((key >> (8 * d)) & 255)
                counts[at] = counts[at] + 1
        for d in unrolled(digits):
            most = i64(0)
            begun = i64(0)
            for k in range(256):
                many = counts[d * 256 + k]
                counts[d * 256 + k] = begun
                begun += many
                most = maximum(most, many)
            if most < n:  # otherwise all have this digit
                for i in range(n):
                    key = i64(here[2 * i])
                    at = d * 256 + ((key >> (8 * d)) & 255)
                    to = counts[at]
                    counts[at] = to + 1
                    there[2 * to] = here[2 * i]
                    there[2 * to + 1] = here[2 * i + 1]
                other = here
                here = there
                there = other
        for i in range(n):
            at = i64(here[2 * i + 1])
            order[row * n + i] = at
            values[row * n + i] = source[at]
    give_back(slots, slot)


@kernel(fast="")
def _largest(x: Ptr[T], values: Ptr[T], order: Ptr[i64], n: i64, k: i64, down, float32, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    """The first ``k`` of each row in order, by insertion."""
    kept = allocate(u64, MOST)
    places = allocate(i64, MOST)
    for row in range(begin, end):
        source = x + row * n
        many = i64(0)
        for i in range(n):
            key = u64(key_of(source[i], down, float32))
            at = many
            if many == k:
                at = k - 1
                if key >= kept[k - 1]:
                    at = k
            else:
                many += 1
            if at < k:
                going = at > 0
                while going:
                    last = kept[at - 1]
                    if last > key:
                        kept[at] = last
                        places[at] = places[at - 1]
                        at -= 1
                        going = at > 0
                    else:
                        going = at < 0
                kept[at] = key
                places[at] = i
        for i in range(k):
            order[row * k + i] = places[i]
            values[row * k + i] = source[places[i]]


def argsort(x: Any, down: bool) -> Any:
    """(sorted rows, positions) along the last dimension, or NotImplemented."""
    d, n = x.dtype, x.shape[-1]
    if d not in _BITS or not 48 <= n < 1 << 31:
        return NotImplemented
    digits = _BITS[d]
    room = Room(4 * n * digits // 4)
    memory = room.memory.view(np.int32 if digits == 4 else np.int64)
    values, order = np.empty(x.shape, d), np.empty(x.shape, np.int64)
    _argsort(T=d if digits == 4 else i64, U=u32 if digits == 4 else u64, digits=digits, down=down)(
        np.ascontiguousarray(x), values, order, memory, room.slots, room.count, room.size * 4 // digits, n, x.size // n, max(1, 4096 // n)
    )
    room.release()
    return values, order


def largest(x: Any, k: int, down: bool) -> Any:
    """(the first ``k`` of each row in ascending or descending order, their positions), or NotImplemented."""
    d, n = x.dtype, x.shape[-1]
    if d not in _BITS or not 0 < k <= min(n, MOST):
        return NotImplemented
    shape = (*x.shape[:-1], k)
    values, order = np.empty(shape, d), np.empty(shape, np.int64)
    _largest(T=d if d == np.float32 else i64, down=down, float32=d == np.float32)(np.ascontiguousarray(x), values, order, n, k, x.size // n, max(1, 8192 // n))
    return values, order
