"""Array kernels of resampling: along each spatial dimension, every output is a weighted sum of a few inputs.

In: arrays (..., *spatial) and for each spatial dimension a rule, or None (unchanged). A rule says which inputs an output
is made of, and with which weights:

- ``("window", n, out, k, stride, padding, dilation)`` and ``("adaptive", n, out)``: the windows of `pooling`, weights 1;
- ``("nearest", n, out, scale)``, ``("nearest-exact", n, out, scale)``: one input;
- ``("linear", n, out, scale, align_corners)``, ``("cubic", ...)``: two and four inputs;
- ``("linear-wide", ...)``, ``("cubic-wide", ...)``, ``("lanczos-wide", ...)``: the kernel is as wide as the outputs are
  apart (antialiasing).

``scale`` is inputs an output. Out: arrays (..., *outputs), or, transposed, from outputs to inputs.

Short dimensions go by a matrix product with the weights, which has no equal in speed; as its zeros times an infinity
would be NaN, results that are not finite are computed again element by element.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .large import LARGE, native
from .pooling import positions, regular
from .reduce import NARROW

__all__ = ["average_windows", "resample"]

F32 = np.dtype(np.float32)
#: How far the widened kernels reach, in outputs.
REACH = {"linear-wide": 1, "cubic-wide": 2, "lanczos-wide": 3}
#: Elements of a matrix of weights, at most.
DENSE = 1 << 18


def _cubic(t: Any, a: float) -> Any:
    """The cubic convolution kernel (Keys 1981) with parameter ``a``."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((t - 5) * t + 8) * t * a - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


@functools.lru_cache(256)
def taps(rule: tuple[Any, ...]) -> Any:
    """(positions (out, k), -1 where there is none, and their weights (out, k)) of a rule."""
    kind, n, out = rule[:3]
    if kind in ("window", "adaptive"):
        found = positions(rule)
        return found, (found >= 0).astype(np.float64)
    at = np.arange(out)
    scale = rule[3]
    if kind.startswith("nearest"):
        # As PyTorch has it: in single precision.
        half = np.float32(0.5 if kind == "nearest-exact" else 0)
        found = np.floor((at.astype(F32) + half) * F32.type(scale)).astype(np.int64)
        return np.minimum(found, n - 1)[:, None], np.ones((out, 1))
    if kind.endswith("wide"):
        return _wide_taps(kind, n, out, scale, rule[4])
    source = at * scale if rule[4] else (at + 0.5) * scale - 0.5
    if kind == "linear":
        source = np.maximum(source, 0)
        low = np.minimum(np.floor(source).astype(np.int64), n - 1)
        part = np.clip(source - low, 0, 1)
        return np.stack([low, np.minimum(low + 1, n - 1)], 1), np.stack([1 - part, part], 1)
    low = np.floor(source).astype(np.int64)
    part = source - low
    weights = np.stack([_cubic(part + 1, -0.75), _cubic(part, -0.75), _cubic(1 - part, -0.75), _cubic(2 - part, -0.75)], 1)
    return np.clip(low[:, None] + np.arange(-1, 3), 0, n - 1), weights


def _wide_taps(kind: str, n: int, out: int, scale: float, align: bool) -> Any:
    reach = REACH[kind] * max(scale, 1.0)
    shrink = 1 / max(scale, 1.0)
    center = scale * (np.arange(out) + 0.5)
    low = np.maximum((center - reach + 0.5).astype(np.int64), 0)
    high = np.minimum((center + reach + 0.5).astype(np.int64), n)
    k = max(int((high - low).max(initial=1)), 1)
    found = low[:, None] + np.arange(k)
    t = (found - center[:, None] + 0.5) * shrink
    if kind == "linear-wide":
        weights = np.maximum(1 - np.abs(t), 0)
    elif kind == "cubic-wide":
        weights = _cubic(t, -0.5)
    else:
        weights = np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0)
    beyond = found >= high[:, None]
    weights[beyond] = 0
    total = weights.sum(1, keepdims=True)
    weights /= np.where(total == 0, 1, total)
    found[beyond] = -1
    return found, weights


@functools.lru_cache(128)
def matrix(rule: tuple[Any, ...], dtype: Any) -> Any:
    """The weights as a matrix (n, out)."""
    found, weights = taps(rule)
    made = np.zeros((rule[2], rule[1]), np.float64)
    row, column = np.nonzero(found >= 0)
    np.add.at(made, (row, found[row, column]), weights[row, column])
    made = np.ascontiguousarray(made.T.astype(dtype))
    made.flags.writeable = False
    return made


def _sparse(x: Any, axis: int, rule: tuple[Any, ...], transposed: bool) -> Any:
    """``x`` resampled along one axis, tap by tap."""
    found, weights = taps(rule)
    x = np.moveaxis(x, axis, 0)
    n = rule[1] if transposed else rule[2]
    made = np.zeros((n, *x.shape[1:]), x.dtype)
    rank = (1,) * (x.ndim - 1)
    for k in range(found.shape[1]):
        at, weight = found[:, k], weights[:, k].astype(x.dtype).reshape(-1, *rank)
        there = at >= 0
        everywhere = there.all()
        if transposed:
            part = x * weight
            if everywhere and len(at) and (np.diff(at) > 0).all():
                made[at] += part
            else:
                np.add.at(made, at[there], part[there])
        elif everywhere:
            made += x[at] * weight
        else:
            made[there] += x[at[there]] * weight[there]
    return np.moveaxis(made, 0, axis)


def _along(x: Any, axis: int, rule: tuple[Any, ...], transposed: bool, dense: bool) -> Any:
    if rule[0].startswith("nearest"):
        at = taps(rule)[0][:, 0]
        if not transposed:
            return x.take(at, axis)
        n, out = rule[1:3]
        many = out // n
        lead = (slice(None),) * axis
        if many * n == out and many < 9 and (at == np.arange(out) // many).all():
            made = x[(*lead, slice(0, None, many))]
            for i in range(1, many):
                made = made + x[(*lead, slice(i, None, many))]
            return made
        if (at[1:] > at[:-1]).all():
            made = np.zeros((*x.shape[:axis], n, *x.shape[axis + 1 :]), x.dtype)
            made[(*lead, at)] = x
            return made
    if not dense or rule[1] * rule[2] > DENSE:
        return _sparse(x, axis, rule, transposed)
    m = matrix(rule, x.dtype)
    if transposed:
        m = m.T
    if axis == x.ndim - 1:
        return np.matmul(x, m) if x.ndim < 3 else x.reshape(-1, x.shape[-1]).dot(m).reshape(*x.shape[:-1], m.shape[1])
    after = x.shape[axis + 1 :]
    flat = x.reshape(*x.shape[: axis + 1], math.prod(after))
    return np.matmul(m.T, flat).reshape(*x.shape[:axis], m.shape[1], *after)


def _bytes_along(x: Any, axis: int, rule: tuple[Any, ...]) -> Any:
    """Bytes resampled along one axis, rounded to bytes: weights of 16 bits with a common power of two, as images' tools do."""
    found, weights = taps(rule)
    if not rule[0].endswith("wide"):  # at the edges several taps meet one element
        weights = weights.copy()
        for k in range(1, found.shape[1]):
            same = found[:, k] == found[:, k - 1]
            weights[same, k] += weights[same, k - 1]
            weights[same, k - 1] = 0
    power = 0
    largest = weights.max(initial=0)
    while power < 22 and int(0.5 + largest * (1 << (power + 1))) < 1 << 15:
        power += 1
    whole = np.trunc(weights * (1 << power) + np.copysign(0.5, weights)).astype(np.int32)
    x = np.moveaxis(x, axis, 0)
    total = np.full((rule[2], *x.shape[1:]), 1 << power >> 1, np.int32)
    for at, weight in zip(found.T, whole.T):
        total += x[at] * weight.reshape(-1, *(1,) * (x.ndim - 1))
    out = np.clip(total >> power, 0, 255).astype(x.dtype)
    return np.ascontiguousarray(np.moveaxis(out, 0, axis))


def resample(x: Any, rules: tuple[Any, ...], transposed: bool) -> Any:
    """``x`` resampled along its last dimensions, one after the other."""
    d = x.dtype
    if d in NARROW:
        return resample(x.astype(F32), rules, transposed).astype(d)
    if all([r is None or r[0].startswith("nearest") for r in rules]) and not transposed:
        return _all_axes(x, rules, transposed, True)
    if d.kind in "iu" and rules and not all([r is None or r[0] in ("window", "adaptive") for r in rules]):
        for axis in range(x.ndim - 1, x.ndim - 1 - len(rules), -1):
            rule = rules[axis - x.ndim]
            x = x if rule is None else _bytes_along(x, axis, rule)
        return x
    out = _all_axes(x, rules, transposed, True)
    if d.kind in "fc" and not np.isfinite(np.add.reduce(out, None)):
        out = _all_axes(x, rules, transposed, False)
    return out


def _all_axes(x: Any, rules: tuple[Any, ...], transposed: bool, dense: bool) -> Any:
    first = x.ndim - len(rules)
    made = np.ascontiguousarray(x)  # a product of an expanded array would go without BLAS
    for axis, rule in enumerate(rules, first):
        if rule is not None:
            made = _along(made, axis, rule, transposed, dense)
    return np.ascontiguousarray(made) if made is not x else x.copy()


@functools.lru_cache(128)
def divisor(rules: tuple[Any, ...], count_padding: bool, override: Any, dtype: Any) -> Any:
    """What the sum of each window is divided by: a number, or an array of them."""
    if override is not None:
        return dtype.type(override)
    total: Any = np.ones((), np.int64)
    for axis, rule in enumerate(rules):
        if rule[0] == "window" and count_padding:
            _, n, out, k, stride, padding, _ = rule
            start = np.arange(out) * stride - padding
            each = np.minimum(start + k, n + padding) - start
        else:
            each = (positions(rule) >= 0).sum(1)
        total = total * each.reshape((-1, *(1,) * (len(rules) - 1 - axis)))
    if total.size and (total == total.flat[0]).all():
        return dtype.type(total.flat[0])
    return total.astype(dtype)


def average_windows(x: Any, rules: tuple[Any, ...], count_padding: bool, override: Any, transposed: bool) -> Any:
    """The mean of each window; transposed, each window's mean shared out again."""
    d = x.dtype
    if d in NARROW:
        return average_windows(x.astype(F32), rules, count_padding, override, transposed).astype(d)
    by = divisor(rules, count_padding, override, d)
    if x.size >= (LARGE // 4 if transposed else LARGE) and native():
        from ..native.kernels import pooling

        made = pooling.mean_pool(x, tuple([regular(r) for r in rules]), by, transposed)
        if made is not NotImplemented:
            return made
    if transposed:
        return resample(x / by, rules, True)
    if d.kind in "iu":
        sums = resample(x, rules, False)
        return np.trunc(sums / by).astype(d)
    return np.divide(resample(x, rules, False), by)
