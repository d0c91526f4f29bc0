"""Which vocabulary an array takes, scratch memory for it, blocks of large arrays, threads for very large ones.

In goes a parameter's array; `Scratch.for_array` gives what runs rules on it. Where all parameters together are large,
a native kernel made from the rule takes them in one pass (`Native`). Without native kernels, arrays longer than `BLOCK`
are walked in blocks that stay in cache (`Blocks`). NumPy lets go of the interpreter while it computes, so from `SHARED`
elements on, where a block's work is long beside the wake-up of a thread, threads share them (`finish`).
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from ..autograd.fp import IGNORE, quiet, restore
from ..backends.large import LARGE, native
from ..functions.core import get_num_threads
from .arithmetic import F32, F64, FUSED, Arrays, Halves, Singles

__all__ = ["BLOCK", "Blocks", "Complexes", "Scratch", "finish"]

#: Elements of a block: six float32 arrays of this length fit in a core's second-level cache, and NumPy's cost of a
#: call is small beside the work on one.
BLOCK = 32768
#: From so many elements in one step, threads share the work, in blocks of the second size.
SHARED = 1 << 21
SHARED_BLOCK = 1 << 18
#: From so many elements in all parameters together, a native kernel takes them.
NATIVE = LARGE

#: An executor, once there was work for one: its module is not light.
_pool: Any = None


class Scratch:
    """The vocabularies of one optimizer, and the scratch memory they share: five blocks for each dtype.

    Args:
        deferring: whether large arrays are put off until `finish`, which may share them out among threads.
        elements: of all parameters together.
    """

    def __init__(self, deferring: bool = False, elements: int = 0) -> None:
        self.jobs: list[Any] | None = [] if deferring else None
        self.updates: list[Any] = []  # jobs for the native kernel
        self.native = deferring and elements >= NATIVE and native()
        self.memory: dict[Any, Any] = {}
        self.known: dict[Any, dict[float, Any]] = {}
        self.singles: dict[Any, Singles] = {}
        self.shapes: dict[Any, Arrays] = {}
        self.helpers: list[Scratch] = []  # of the threads that help

    def for_array(self, a: Any) -> Any:
        """The vocabulary for arrays like ``a``."""
        dtype = a.dtype
        kind = dtype.kind
        if kind == "c":
            return Complexes(a, self)
        if kind in "biu":
            raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
        if self.native and (dtype == F32 or dtype == F64):
            order = order_in_memory(a)
            if order is None or a.transpose(order).flags.c_contiguous:
                return Native(a, order, self.updates)
        if a.size == 1 and (dtype == F32 or dtype == F64):
            words = self.singles.get(dtype)
            if words is None:
                words = self.singles[dtype] = Singles(dtype)
            return words
        if a.size > BLOCK:
            return Blocks(a, self)
        return self.words(a.shape, dtype)

    def words(self, shape: tuple[int, ...], dtype: Any) -> Arrays:
        """The vocabulary for arrays of one shape, not larger than a block."""
        words = self.shapes.get((shape, dtype))
        if words is None:
            if len(self.shapes) > 512:
                self.shapes.clear()
            n = math.prod(shape)
            need = max(2 * n if n <= FUSED else n, 64)
            memory = self.memory.get(dtype)
            if memory is None or memory.shape[1] < need:
                memory = self.memory[dtype] = np.empty((5, 1 << (need - 1).bit_length()), dtype)
            kind = Arrays if dtype == F32 or dtype == F64 else Halves
            words = self.shapes[shape, dtype] = kind(shape, memory, self.known.setdefault(dtype, {}))
        return words


class Complexes:
    """A vocabulary for complex arrays: real and imaginary parts take the rule each for itself, as PyTorch has it."""

    __slots__ = ("dense", "dtype", "kind", "scratch", "words")

    def __init__(self, a: Any, scratch: Scratch):
        self.dtype = a.real.dtype
        self.scratch = scratch
        self.dense = a.flags.c_contiguous
        self.words = scratch.for_array(a.reshape(-1).view(self.dtype) if self.dense else a.real)
        self.kind = self.words.kind

    def numbers(self, values: Any) -> Any:
        return self.words.numbers(values)

    def run(self, rule: Any, flags: Any, numbers: Any, *arrays: Any) -> None:
        if self.dense and all(a.flags.c_contiguous for a in arrays):
            self.words.run(rule, flags, numbers, *[a.reshape(-1).view(self.dtype) for a in arrays])
        else:
            words = self.scratch.for_array(arrays[0].real)
            words.run(rule, flags, numbers, *[a.real for a in arrays])
            words.run(rule, flags, numbers, *[a.imag for a in arrays])


def order_in_memory(a: Any) -> Any:
    """The order of an array's dimensions in memory; a dense array becomes flat when they are put in it."""
    return None if a.flags.c_contiguous else tuple(np.argsort([-abs(s) for s in a.strides], kind="stable").tolist())


class Native:
    """A vocabulary for float32 and float64 arrays of any size: jobs are collected for `run_updates`."""

    __slots__ = ("dtype", "order", "shape", "updates")
    kind = "native"

    def __init__(self, a: Any, order: Any, updates: list[Any]):
        self.dtype, self.shape, self.order, self.updates = a.dtype, a.shape, order, updates

    def numbers(self, values: Any) -> Any:
        """Scalars as the kernel's table holds them."""
        return tuple(map(float, values))

    def run(self, rule: Any, flags: Any, numbers: Any, *arrays: Any) -> None:
        """Put parameter, gradient and state on the list."""
        dtype, shape = self.dtype, self.shape
        for a in arrays:
            if a.dtype is not dtype or a.shape != shape or not a.flags.c_contiguous:
                break
        else:
            self.updates.append((rule, flags, numbers, arrays))
            return
        fitting = tuple(self.fitting(a, i == 1) for i, a in enumerate(arrays))
        if any(a is None for a in fitting):  # some strange layout: memory of its own
            memory = np.empty((5, max(math.prod(shape), 1)), dtype)
            words = Arrays(shape, memory, {})
            words.pair = None
            rule(words, flags, words.numbers(numbers), *arrays)
        else:
            self.updates.append((rule, flags, numbers, fitting))

    def fitting(self, a: Any, copy: bool) -> Any:
        """``a`` in this parameter's order in memory; a copy only where allowed, else None."""
        if a.shape != self.shape or a.dtype != self.dtype:
            return None
        if self.order is not None:
            a = a.transpose(self.order)
        if not a.flags.c_contiguous:
            return np.ascontiguousarray(a) if copy else None
        return a


class Blocks:
    """A vocabulary for arrays longer than `BLOCK`."""

    __slots__ = ("kind", "order", "scratch", "shape", "words")

    def __init__(self, a: Any, scratch: Scratch):
        self.shape = a.shape
        self.scratch = scratch
        self.words = scratch.words((BLOCK,), a.dtype)
        self.kind = self.words.kind
        self.order = order_in_memory(a)

    def numbers(self, values: Any) -> Any:
        """Scalars as the rule wants them."""
        return self.words.numbers(values)

    def run(self, rule: Any, flags: Any, numbers: Any, *arrays: Any) -> None:
        """Apply a rule to parameter, gradient and state, now or, where the scratch defers, in `finish`."""
        flat = [self.flattened(a, i == 1) for i, a in enumerate(arrays)]
        if any(f is None for f in flat):
            # Some strange layout: no blocks, memory of its own.
            memory = np.empty((5, math.prod(self.shape)), self.words.dtype)
            rule(type(self.words)(self.shape, memory, {}), flags, numbers, *arrays)
            return
        job = rule, flags, numbers, flat
        if self.scratch.jobs is None:
            walk(job, 0, flat[0].size, self.scratch, BLOCK)
        else:
            self.scratch.jobs.append(job)

    def flattened(self, a: Any, copy: bool) -> Any:
        """``a`` in one dimension, in this parameter's order in memory; a copy only where allowed, else None."""
        if self.order is not None:
            a = a.transpose(self.order)
        if not a.flags.c_contiguous:
            if not copy:
                return None
            a = np.ascontiguousarray(a)
        return a.reshape(-1)


def walk(job: Any, low: int, high: int, scratch: Scratch, block: int) -> None:
    """Apply a job's rule to its elements from ``low`` to ``high``, block by block."""
    rule, flags, numbers, flat = job
    dtype = flat[0].dtype
    for i in range(low, high, block):
        j = min(i + block, high)
        rule(scratch.words((j - i,), dtype), flags, numbers, *[f[i:j] for f in flat])


def finish(scratch: Scratch) -> None:
    """Do what was put off, with several threads where there is enough of it."""
    if scratch.updates:
        from ..native.kernels.updates import run_updates

        updates, scratch.updates[:] = scratch.updates[:], []
        run_updates(updates)
    if not scratch.jobs:
        return
    jobs, scratch.jobs = scratch.jobs, []
    assert jobs is not None
    threads = get_num_threads()
    total = sum(job[3][0].size for job in jobs)
    if total < SHARED or threads == 1:
        for job in jobs:
            walk(job, 0, job[3][0].size, scratch, BLOCK)
        return
    shares: list[list[Any]] = [[] for _ in range(threads)]
    done = 0
    for job in jobs:
        n = job[3][0].size
        for t, share in enumerate(shares):
            low, high = max(0, total * t // threads - done), min(n, total * (t + 1) // threads - done)
            if low < high:
                share.append((job, low, high))
        done += n
    while len(scratch.helpers) < threads - 1:
        scratch.helpers.append(Scratch())
    pool = _workers(threads - 1)
    from concurrent.futures import wait

    others = [pool.submit(_work, share, helper) for share, helper in zip(shares[1:], scratch.helpers)]
    try:
        _work(shares[0], scratch)
    finally:
        wait(others)
    for other in others:
        other.result()


def _work(share: list[Any], scratch: Scratch) -> None:
    token = quiet(IGNORE)
    try:
        for job, low, high in share:
            walk(job, low, high, scratch, SHARED_BLOCK)
    finally:
        restore(token)


def _workers(n: int) -> Any:
    """Threads that wait for work; a forked process starts its own."""
    global _pool
    from concurrent.futures import ThreadPoolExecutor

    if _pool is None or _pool._max_workers < n:
        _pool = ThreadPoolExecutor(n, thread_name_prefix="bibun-optim")
    return _pool


def _forget() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
