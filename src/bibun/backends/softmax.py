"""Array kernels of the softmax family, of the cross-entropy of class numbers, and of their backwards.

In: an array and an axis. Out: an array of the same shape and dtype; narrow floats are worked on in float32. Large rows of
float32 go to native kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .large import LARGE, SOME, kernels_of, native, ready
from .loss import counting, flat_places, weights
from .reduce import is_few, square_of_ones
from .reduce import sum as total_of

_maximum, _add = np.maximum.reduce, np.add.reduce
#: The exponentials of numbers no farther from 0, and sums of a few of them, are far from overflow and underflow.
_SAFE = 60.0


def _natively(name: str, *arrays: Any) -> Any:
    """What the native kernel of that name gives for rows along the last axis; NotImplemented where there is none."""
    if not native():
        return NotImplemented
    kernels = kernels_of("kernels.softmax")
    return getattr(kernels, name)(*arrays)


def _row_sums(x: Any) -> Any:
    """In place of each element the sum of its row."""
    return x.dot(square_of_ones(x.dtype, x.shape[-1]))


def softmax(x: Any, axis: int) -> Any:
    """exp(x) over its sum along ``axis``; nothing overflows."""
    if x.size >= LARGE:
        made = _natively("softmax", x) if axis == x.ndim - 1 else _natively("columns", x, axis, False)
        if made is not NotImplemented:
            return made
    if not x.ndim:
        return np.ones_like(x)
    if is_few(x, axis):
        row = x.ravel()
        if row[row.argmax()] <= _SAFE and row[row.argmin()] >= -_SAFE:
            e = np.exp(x)
            return np.divide(e, _row_sums(e), e)
    work = x if x.dtype.kind == "f" and x.dtype.itemsize > 2 or x.dtype.kind == "c" else x.astype(np.float32)
    if not x.shape[axis]:
        return np.empty_like(x)
    e = np.subtract(work, _maximum(work, axis, keepdims=True))
    np.exp(e, out=e)
    e /= total_of(e, axis, True)
    return e if work is x else e.astype(x.dtype)


def log_softmax(x: Any, axis: int) -> Any:
    """The logarithm of `softmax`."""
    if x.size >= LARGE:
        made = _natively("log_softmax", x) if axis == x.ndim - 1 else _natively("columns", x, axis, True)
        if made is not NotImplemented:
            return made
    if not x.ndim:
        return np.zeros_like(x)
    if is_few(x, axis):
        s = np.subtract(x, _maximum(x, axis, None, None, True))
        total = _row_sums(np.exp(s))
        return np.subtract(s, np.log(total, total), s)
    work = x if x.dtype.kind == "f" and x.dtype.itemsize > 2 or x.dtype.kind == "c" else x.astype(np.float32)
    if not x.shape[axis]:
        return np.empty_like(x)
    s = np.subtract(work, _maximum(work, axis, keepdims=True))
    total = total_of(np.exp(s), axis, True)
    s -= np.log(total, out=total)
    return s if work is x else s.astype(x.dtype)


def softmax_gradient(grad: Any, result: Any, axis: int) -> Any:
    """result·(grad - Σ grad·result)."""
    if result.size >= LARGE:
        made = _natively("softmax_gradient", grad, result) if axis == result.ndim - 1 else _natively("columns_gradient", grad, result, axis, False)
        if made is not NotImplemented:
            return made
    if not result.ndim:
        return np.zeros_like(result)
    made = np.multiply(grad, result)
    if is_few(made, axis):
        np.subtract(grad, _row_sums(made), made)
        return np.multiply(made, result, made)
    total = total_of(made, axis, True)
    np.subtract(grad, total, out=made)
    made *= result
    return made


def log_softmax_gradient(grad: Any, result: Any, axis: int) -> Any:
    """grad - exp(result)·Σ grad."""
    if result.size >= LARGE:
        made = _natively("log_softmax_gradient", grad, result) if axis == result.ndim - 1 else _natively("columns_gradient", grad, result, axis, True)
        if made is not NotImplemented:
            return made
    if not result.ndim:
        return np.zeros_like(result)
    made = np.exp(result)
    if is_few(made, axis) and grad.dtype is made.dtype and grad.shape == made.shape:
        np.multiply(made, _row_sums(grad), made)
        return np.subtract(grad, made, made)
    made *= total_of(grad, axis, True)
    return np.subtract(grad, made, out=made)


# Cross-entropy of class numbers, without the logarithms in between


def _sums(x: Any, spread: bool) -> Any:
    """(3, rows): the largest element of each row, Σ exp(x - largest) and, with ``spread``, Σ (x - largest)."""
    if spread and x.size >= LARGE and native():
        made = kernels_of("kernels.softmax").class_spreads(x)
        if made is not NotImplemented:
            return made
    sums = np.empty((3 if spread else 2, len(x)), x.dtype)
    _maximum(x, 1, out=sums[0])
    less = x - sums[0][:, None]
    if spread:
        _add(less, 1, out=sums[2])
    _add(np.exp(less, out=less), 1, out=sums[1])
    return sums


def _losses(x: Any, target: Any, keep: Any, spread: bool, share: Any = None) -> Any:
    """(`_sums`, the loss of each row) of rows without smoothing, and with a share of each the gradient, by the native kernel; else NotImplemented."""
    if spread or not (native() if x.size >= LARGE else x.size >= SOME and ready[0]):
        return NotImplemented
    kernels = kernels_of("kernels.softmax")
    return kernels.class_losses(x, target if keep is None else np.where(keep, target, 0), share)


def cross_entropy(
    x: Any, target: Any, weight: Any, ignore_index: int, reduction: int, smoothing: float
) -> tuple[Any, Any]:
    """(the loss of each row of ``x``, their weighted mean or their sum; `_sums` for the backward)."""
    keep = counting(x.shape[1], target, ignore_index)
    made = _losses(x, target, keep, smoothing > 0)
    if made is NotImplemented:
        sums = _sums(x, smoothing > 0)
        log = np.log(sums[1])
        at = flat_places(x.shape, target if keep is None else np.where(keep, target, 0))
        each = log - (x.ravel().take(at) - sums[0])
        if smoothing:
            each *= 1 - smoothing
            each += (log * x.shape[1] - sums[2]) * (smoothing / x.shape[1])
    else:
        sums, each = made
    return _reduced(each, weights(target, keep, weight, x.dtype), keep, reduction), sums


def _reduced(each: Any, w: Any, keep: Any, reduction: int) -> Any:
    """The losses of rows, weighted, as an array, their mean or their sum."""
    count = len(each)
    if w is not None:  # multiplying would let an infinity at an ignored place through
        each = each * w if keep is None else np.where(keep, each * w, each.dtype.type(0))
    if reduction:
        each = _add(each, None)
    if reduction == 1:
        each = each / each.dtype.type(count if w is None else w.sum())
    return np.asarray(each)


def _share(grad: Any, count: int, w: Any, keep: Any, reduction: int, d: Any) -> Any:
    """What multiplies the gradient of each row."""
    if reduction == 1:
        grad = grad / d.type(count if w is None else w.sum())
    share = np.empty(count, d)
    share[...] = grad if w is None else grad * w
    if keep is not None:  # where all are ignored, the mean's divisor is 0
        share[~keep] = 0
    return share


def cross_entropy_with_gradient(
    x: Any, target: Any, weight: Any, grad: Any, ignore_index: int, reduction: int, smoothing: float
) -> tuple[Any, Any, Any]:
    """What `cross_entropy` and `cross_entropy_gradient` give, where the loss's gradient is known before: the matrix is read once."""
    keep = counting(x.shape[1], target, ignore_index)
    w = weights(target, keep, weight, x.dtype)
    made = _losses(x, target, keep, smoothing > 0, _share(grad, len(x), w, keep, reduction, x.dtype))
    if made is NotImplemented:
        loss, sums = cross_entropy(x, target, weight, ignore_index, reduction, smoothing)
        return loss, sums, cross_entropy_gradient(grad, x, target, weight, sums, ignore_index, reduction, smoothing)
    sums, each, gradient = made
    return _reduced(each, w, keep, reduction), sums, gradient


def cross_entropy_gradient(
    grad: Any, x: Any, target: Any, weight: Any, sums: Any, ignore_index: int, reduction: int, smoothing: float
) -> Any:
    """The gradient of `cross_entropy` in ``x``: softmax minus the wanted distribution, times weights and ``grad``."""
    count, classes = x.shape
    d = x.dtype
    keep = counting(classes, target, ignore_index)
    chosen = target if keep is None else np.where(keep, target, 0)
    share = _share(grad, count, weights(target, keep, weight, d), keep, reduction, d)
    if native() if x.size >= LARGE else x.size >= SOME and ready[0]:
        kernels = kernels_of("kernels.softmax")
        made = kernels.class_gradient(x, chosen, sums, share, smoothing)
        if made is not NotImplemented:
            return made
    made = np.subtract(x, sums[0][:, None], order="C")
    np.exp(made, out=made)
    made *= (share / sums[1])[:, None]
    if smoothing:
        made -= (share * (smoothing / classes))[:, None]
    made.ravel()[flat_places(x.shape, chosen)] -= share * (1 - smoothing)
    if keep is not None:
        made[~keep] = 0
    return made
