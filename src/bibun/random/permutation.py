"""Random permutations, by Fisher and Yates' swaps: drawn as PyTorch draws them, done without a loop over the elements.

In come a generator (None: the default one) and a number; out comes an array of that many integers.
"""

from __future__ import annotations

import numpy as np

from ..backends.large import ready
from .engine import Generator, default_generator
from .filling import bfloat16, float16, float32, float64, int64, not_implemented

_PERMUTED_MOST = {float16: ("Half", 2049, "2049"), bfloat16: ("BFloat16", 257, "257"),
                  float32: ("Float", 2**24 + 1, "2^24+1"), float64: ("Double", 2**53 + 1, "2^53+1")}  # fmt: skip
_SHORT_TYPE = {"uint8": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int", "int64": "int64_t"}


def randperm(generator: Generator | None, n: int, dtype: np.dtype = int64) -> np.ndarray:
    """0, 1, …, n - 1 in random order (Fisher and Yates, forward).

    Raises:
        RuntimeError: n is negative, or more than the dtype can count.
        NotImplementedError: a dtype PyTorch leaves out.
    """
    generator = default_generator if generator is None else generator
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if dtype is int64:
        pass
    elif dtype.name in _SHORT_TYPE:
        if n > int(np.iinfo(dtype).max) + 1:
            raise RuntimeError(f"value cannot be converted to type {_SHORT_TYPE[dtype.name]} without overflow")
    elif dtype in _PERMUTED_MOST:
        name, most, said = _PERMUTED_MOST[dtype]
        if n > most:
            raise RuntimeError(f"n cannot be greater than {said} for {name} type.")
    else:
        raise not_implemented("randperm", dtype)
    if n < 2:
        return np.zeros(n, dtype)
    found = generator.near(n - 1) if n < 64 and not (n > 24 and ready[0]) else None
    if found is not None:
        block, start = found
        order = list(range(n))
        i = 0
        for word in block.words[start : start + n - 1].tolist():
            k = i + word % (n - i)
            order[i], order[k] = order[k], order[i]
            i += 1
        return np.array(order, dtype)
    if n >= _MANY:
        return _permute_many(generator, n).astype(dtype, copy=False)
    twister = generator.kernels(n)
    if twister is not None:
        with generator.lock:
            return twister.permuted(generator._memory, n).astype(dtype, copy=False)
    targets = generator.words(n - 1)
    targets %= np.arange(n, 1, -1, dtype=np.uint32)
    targets += np.arange(n - 1, dtype=np.uint32)
    if n < 700:
        order = list(range(n))
        for i, k in enumerate(targets.tolist()):
            order[i], order[k] = order[k], order[i]
        return np.array(order, dtype)
    return _swapped(targets.astype(np.int64), n).astype(dtype, copy=False)


# From here on (2^32 / 20) PyTorch takes 64-bit words.
_MANY = (2**32 - 1) // 20


def _previous(targets: np.ndarray, n: int) -> np.ndarray:
    """For each step the latest step before it with the same target, or itself if there is none."""
    step = np.arange(len(targets))
    previous = step.copy()
    step = step[::-1]  # backwards, so that of an assignment to one place the first step stays
    target = targets[::-1]
    seen = np.empty(n, np.int64)
    # Round r finds each target's r-th step. What is left halves from round to round.
    while True:
        seen[target] = step
        first = seen.take(target)
        rest = np.flatnonzero(first != step)
        if not len(rest):
            return previous
        step, target = step.take(rest), target.take(rest)
        previous[step] = first.take(rest)


def _roots(parent: np.ndarray) -> np.ndarray:
    """Where following `parent` ends: at elements that are their own."""
    while True:
        further = parent.take(parent)
        if np.array_equal(further, parent):
            return parent
        parent = further


def _swapped(targets: np.ndarray, n: int) -> np.ndarray:
    """What is left of 0 … n - 1 after swapping i with targets[i] ≥ i for i = 0, 1, …, without a loop over i.

    Place t is read by every step i whose target is t. The first of them finds t itself there (unless t is i: then what
    was put there before); each later one finds what the step before it put there: that step's own element at the time.
    Call V(k) what lies at place k as step k begins: k, if nothing was put there, else V(m) for the last m < k with
    target k. So V follows a chain of such m to its root, in about log log n doublings, and so does the answer.
    """
    previous = _previous(targets, n)
    parent = np.arange(n)
    again = np.flatnonzero(previous != parent[:-1])
    moved = np.flatnonzero(targets != parent[:-1])
    parent[targets.take(moved)] = moved  # of several the last stays, which is the latest
    found = _roots(parent)
    order = np.empty(n, np.int64)
    order[:-1] = targets
    order[again] = found.take(previous.take(again))
    order[-1] = found[-1]
    return order


def _permute_many(generator: Generator, n: int) -> np.ndarray:
    """Fisher and Yates from the inside out: step i = 0, 1, … puts at place i what lies at t ≤ i, and i at place t."""
    targets = np.empty(n, np.int64)
    for start in range(0, n, 1 << 20):
        stop = min(start + (1 << 20), n)
        targets[start:stop] = generator.long_words(stop - start) % np.arange(start + 1, stop + 1, dtype=np.uint64)
    return _inside_out(targets)


def _inside_out(targets: np.ndarray) -> np.ndarray:
    n = len(targets)
    # What step k finds at its target t: the step before it with that target; else, if t is k, itself; else what step t
    # found, and so on.
    order = _previous(targets, n)
    steps = np.arange(n)
    parent = np.where(order == steps, targets, steps)
    order = order[_roots(parent)]
    order[targets] = steps  # of several the last stays, which is the latest
    return order
