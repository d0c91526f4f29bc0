"""The recursions of connectionist temporal classification, an example to a thread.

In: what `bibun.backends.ctc` works with, in float32. Out: the same as its array functions give, up to rounding: three probabilities are
added in one logarithm instead of two.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import maths
from ..kernel import kernel
from ..lang import Ptr, T, device, f32, i64, maximum, select, void

__all__ = ["beginnings", "slope"]


@device(fast="contract")
def _added(a: T, b: T, c: T) -> T:
    """log(exp(a) + exp(b) + exp(c))."""
    most = maximum(maximum(a, b), c)
    most = select(most == T(-math.inf), T(0), most)
    return maths.log(maths.exp(a - most) + maths.exp(b - most) + maths.exp(c - most)) + most


@kernel
def _beginnings(given: Ptr[T], labels: Ptr[i64], skip: Ptr[T], out: Ptr[T], short: Ptr[i64], steps: i64, many: i64, size: i64, classes: i64, begin: i64, end: i64) -> void:
    for n in range(begin, end):
        label, barred = labels + n * size, skip + n * size
        now, row = out + n * size, given + n * classes
        for j in range(size):
            now[j] = T(-math.inf)
        now[0] = row[label[0]]
        if size > 1 and short[n] > 0:
            now[1] = row[label[1]]
        for t in range(1, steps):
            before = out + ((t - 1) * many + n) * size
            now = out + (t * many + n) * size
            row = given + (t * many + n) * classes
            now[0] = before[0] + row[label[0]]
            if size > 1:
                now[1] = _added(before[1], before[0], T(-math.inf)) + row[label[1]]
            for j in range(2, size):
                now[j] = _added(before[j], before[j - 1], before[j - 2] + barred[j])
            for j in range(2, size):
                now[j] += row[label[j]]


@kernel
def _slope(grad: Ptr[T], given: Ptr[T], labels: Ptr[i64], skip: Ptr[T], loss: Ptr[T], forward: Ptr[T], ends: Ptr[T], out: Ptr[T], long: Ptr[i64], short: Ptr[i64], steps: i64, many: i64, size: i64, classes: i64, endless: T, begin: i64, end: i64) -> void:
    for n in range(begin, end):
        label, barred = labels + n * size, skip + n * size
        # Two rows in turn, with two places more, where nothing ends.
        rows = ends + n * 2 * (size + 2)
        for j in range(2 * (size + 2)):
            rows[j] = T(-math.inf)
        last = long[n] - 1
        for back in range(steps):
            t = steps - 1 - back
            row, made = given + (t * many + n) * classes, out + (t * many + n) * classes
            if t > last or loss[n] == T(math.inf):
                for c in range(classes):
                    made[c] = select(t > last, T(0), endless)
            else:
                now, after = rows + t % 2 * (size + 2), rows + (t + 1) % 2 * (size + 2)
                if t == last:
                    final = short[n] * 2
                    now[final] = row[label[final]]
                    if final > 0:
                        now[final - 1] = row[label[final - 1]]
                else:
                    for j in range(size):
                        now[j] = _added(after[j], after[j + 1], after[j + 2] + barred[j + 2])
                    for j in range(size):
                        now[j] += row[label[j]]
                for c in range(classes):
                    made[c] = maths.exp(row[c])
                before = forward + (t * many + n) * size
                for j in range(size):
                    both = before[j] + now[j]
                    if both > T(-math.inf):
                        made[label[j]] -= maths.exp(both - row[label[j]] + loss[n])
                for c in range(classes):
                    made[c] *= grad[n]


def _usable(log_probs: Any) -> bool:
    return log_probs.dtype == np.float32 and log_probs.size > 0


def _barred(skip: Any) -> Any:
    """What is added where a path may (0) and may not come from (minus infinity), with two places more."""
    made = np.full(skip.size + 2, -np.inf, np.float32)
    made[: skip.size][skip.reshape(-1)] = 0
    return made


def beginnings(log_probs: Any, labels: Any, skip: Any, target_lengths: Any) -> Any:
    """The log-probability of all beginnings of paths, (T, N, L), or NotImplemented."""
    if not _usable(log_probs):
        return NotImplemented
    steps, many, classes = log_probs.shape
    out = np.empty((steps, many, labels.shape[1]), np.float32)
    given = np.ascontiguousarray(log_probs)
    _beginnings(T=f32)(given, labels, _barred(skip), out, np.ascontiguousarray(target_lengths), steps, many, labels.shape[1], classes, many, 1)
    return out


def slope(grad: Any, log_probs: Any, labels: Any, skip: Any, loss: Any, forward: Any, lengths: Any, target_lengths: Any, zero_infinity: bool) -> Any:
    """The gradient in the log-probabilities, or NotImplemented."""
    if not _usable(log_probs) or forward.dtype != np.float32 or loss.dtype != np.float32 or grad.dtype != np.float32:
        return NotImplemented
    steps, many, classes = log_probs.shape
    size = labels.shape[1]
    out = np.empty(log_probs.shape, np.float32)
    ends = np.empty((many, 2, size + 2), np.float32)
    grad, log_probs, loss, forward, lengths, target_lengths = map(np.ascontiguousarray, (grad, log_probs, loss, forward, lengths, target_lengths))
    endless = 0.0 if zero_infinity else math.nan
    _slope(T=f32)(grad, log_probs, labels, _barred(skip), loss, forward, ends, out, lengths, target_lengths, steps, many, size, classes, endless, many, 1)
    return out
