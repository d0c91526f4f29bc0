"""The roofs of this machine: how many floating-point operations it can do in a second, and how many bytes it can move.

    python benchmarks/roofs.py

`peak` runs nothing but fused multiply-adds on registers, in as many independent chains as hide their latency; `bandwidth` adds up an
array that no cache holds (reading), or also writes one. Both run in bibun's own threads. A workload of f operations and b bytes takes
at least max(f / peak, b / bandwidth) seconds: Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model for
Multicore Architectures" (2009).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bibun.native import build, pool
from bibun.native.kernel import kernel
from bibun.native.lang import Ptr, T, Vec, bundle, f32, fma, i64, load, store, total, unrolled, void


@kernel
def chains(x: Ptr[T], out: Ptr[T], turns: i64, W, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def, valid-type]
    """24 chains of fused multiply-adds for each item."""
    for item in range(begin, end):
        s = bundle(24, load(x, Vec[T, W]))
        a, b = load(x + W, Vec[T, W]), load(x + 2 * W, Vec[T, W])
        for _ in range(turns):
            for j in unrolled(24):
                s[j] = fma(s[j], a, b)
        r = s[0]
        for j in unrolled(23):
            r = r + s[j + 1]
        store(out + item * W, r)


@kernel
def read(x: Ptr[T], out: Ptr[T], size: i64, W, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def, valid-type]
    """The sum of each item's ``size`` elements."""
    for item in range(begin, end):
        at = x + item * size
        s = bundle(8, load(at, Vec[T, W]))
        for i in range(0, size, 8 * W):
            for j in unrolled(8):
                s[j] = s[j] + load(at + i + j * W, Vec[T, W])
        r = s[0]
        for j in unrolled(7):
            r = r + s[j + 1]
        out[item] = total(r)


@kernel
def scale(x: Ptr[T], out: Ptr[T], size: i64, W, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def, valid-type]
    """Each item's elements, doubled."""
    for item in range(begin, end):
        for i in range(0, size, W):
            y = load(x + item * size + i, Vec[T, W])
            store(out + item * size + i, y + y)


def _best(call: Any, rounds: int = 15) -> float:
    """The least seconds of a call."""
    found = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        found = min(found, time.perf_counter() - start)
    return found


def peak() -> float:
    """Float32 operations a second, a fused multiply-add counted as two."""
    width, turns = build.vector_bytes() // 4, 200_000
    made = chains(T=f32, W=width)
    threads = pool.threads()
    x, out = np.full(3 * width, 0.5, np.float32), np.zeros(threads * width, np.float32)
    return 2 * 24 * width * turns * threads / _best(lambda: made(x, out, turns, threads, 1))


def bandwidth(writing: bool = False) -> float:
    """Bytes a second between memory and the processor, read, or read and written."""
    width, items, size = build.vector_bytes() // 4, 64, 1 << 20
    x, out = np.ones(items * size, np.float32), np.zeros(items * size if writing else items, np.float32)
    made = (scale if writing else read)(T=f32, W=width)
    return x.nbytes * (2 if writing else 1) / _best(lambda: made(x, out, size, items, 1))


if __name__ == "__main__":
    fastest = peak()
    print(f"{build.features()[0]}, {pool.threads()} threads, vectors of {build.vector_bytes()} bytes")
    print(f"multiply-adds on registers  {fastest / 1e9:7.1f} GFLOP/s")
    print(f"reading memory              {bandwidth() / 1e9:7.1f} GB/s")
    print(f"reading and writing it      {bandwidth(True) / 1e9:7.1f} GB/s")
