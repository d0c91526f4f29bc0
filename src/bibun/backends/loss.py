"""Array kernels of the losses that training loops call at every step: squared error and negative log-likelihood.

In: arrays of one dtype, class numbers as int64, ``reduction`` (0: none, 1: mean, 2: sum). Out: the loss, or what its
backward multiplies up. Narrow floats are worked on in float32 by the entries.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .reduce import largest
from .reduce import sum as total

F32 = np.dtype(np.float32)
_SMALL = 4096


def mse_loss(x: Any, target: Any, reduction: int) -> Any:
    """(x - target)², each, their mean or their sum."""
    d = np.subtract(x, target, out=...)
    if not reduction:
        return np.multiply(d, d, out=d)
    n = d.size
    if n <= _SMALL:
        d = d.ravel()
        s = d.dot(d)  # a dot product of small arrays is the fastest sum of squares
    else:
        s = total(np.multiply(d, d, out=d))
    return s / d.dtype.type(n) if reduction == 1 else s


def mse_loss_gradient(grad: Any, x: Any, target: Any, reduction: int) -> Any:
    """2·grad·(x - target), over the count for the mean."""
    d = np.subtract(x, target, out=...)
    d *= grad * d.dtype.type(2 / d.size if reduction == 1 and d.size else 2)
    return d


def out_of_bounds(target: Any, classes: int, ignore_index: int) -> IndexError | None:
    """The error of a class number that is none, if there is one."""
    wrong = target[((target < 0) | (target >= classes)) & (target != ignore_index)]
    return IndexError(f"Target {int(wrong.flat[0])} is out of bounds.") if wrong.size else None


@lru_cache(64)
def _starts(rows: int, classes: int) -> Any:
    """Where the rows of a matrix begin."""
    made = np.arange(0, rows * classes, classes)
    made.flags.writeable = False
    return made


def counting(classes: int, target: Any, ignore_index: int) -> Any:
    """The mask of class numbers that count, or None for all; IndexError for one that is none."""
    # As unsigned numbers the negative ones are large: one pass finds any that is out of range.
    if target.size and (largest(target.view(np.uint64)) >= classes or 0 <= ignore_index < classes):
        error = out_of_bounds(target, classes, ignore_index)
        if error is not None:
            raise error
        return target != ignore_index
    return None


def flat_places(shape: tuple[int, ...], target: Any) -> Any:
    """Flat positions of the target classes in an array of ``shape``, whose class axis is 1, or 0 of a one-dimensional array."""
    if len(shape) == 1:
        return target.reshape(())
    classes = shape[1]
    if len(shape) == 2:
        return target + _starts(shape[0], classes)
    inner = int(np.prod(shape[2:]))
    base = np.arange(0, shape[0] * classes * inner, classes * inner)[:, None] + np.arange(inner)
    return target * inner + base.reshape(target.shape)


def places(shape: tuple[int, ...], target: Any, ignore_index: int) -> tuple[Any, Any]:
    """(`flat_places`, where an ignored target gets the position of class 0; `counting`)."""
    keep = counting(shape[1] if len(shape) > 1 else shape[0], target, ignore_index)
    return flat_places(shape, target if keep is None else np.where(keep, target, 0)), None if keep is None else keep.reshape(()) if len(shape) == 1 else keep


def weights(target: Any, keep: Any, weight: Any, dtype: Any) -> Any:
    """The weight of each target; None where all are 1."""
    if weight is None:
        return None if keep is None else keep.astype(dtype)
    if keep is None:
        return weight[target]
    return np.where(keep, weight[np.where(keep, target, 0)], dtype.type(0))


def nll_loss(x: Any, target: Any, weight: Any, ignore_index: int, reduction: int) -> Any:
    """Minus the target classes' log-probabilities, weighted; the mean divides by the weights' sum."""
    if target.size == 1 and weight is None and x.ndim == 2:  # one example: plain indexing costs a third
        k = target.item()
        if 0 <= k < x.shape[1] and k != ignore_index:
            return -x[0, k] if reduction else np.negative(x[0, k : k + 1])
    at, keep = places(x.shape, target, ignore_index)
    if keep is None and weight is None and reduction:
        s = -total(x.ravel().take(at))
        return s if reduction == 2 else s / x.dtype.type(at.size)
    if x.ndim == 1:
        target = target.reshape(())
    picked = np.negative(x.ravel().take(at), out=...)
    w = weights(target, keep, weight, x.dtype)
    if w is not None:
        # Multiplying would let an infinity at an ignored place through.
        picked = np.where(keep, picked * w, x.dtype.type(0)) if keep is not None else picked * w
    if not reduction:
        return picked
    s = np.add.reduce(picked, None)
    if reduction == 1:
        s = s / x.dtype.type(at.size if w is None else w.sum() if w.ndim else w)
    return s


def nll_loss_gradient(grad: Any, target: Any, weight: Any, shape: Any, ignore_index: int, reduction: int) -> Any:
    """The transpose of `nll_loss`: minus ``grad`` times the weight at each target's class, 0 elsewhere."""
    out = np.zeros(shape, grad.dtype)
    if target.size == 1 and weight is None and len(shape) == 2:
        k = target.item()
        if 0 <= k < shape[1] and k != ignore_index:
            out[0, k] = -grad if reduction else -grad[0]
            return out
    at, keep = places(shape, target, ignore_index)
    if len(shape) == 1:
        target = target.reshape(())
    w = weights(target, keep, weight, grad.dtype)
    value = -grad if reduction or len(shape) > 1 else -grad.reshape(())
    if reduction == 1:
        value = value / grad.dtype.type(at.size if w is None else w.sum())
    if w is not None:  # where all are ignored, the mean's divisor is 0
        value = value * w if keep is None else np.where(keep, value * w, grad.dtype.type(0))
    out.ravel()[at] = value
    return out
