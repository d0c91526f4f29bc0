"""Array kernels of the softmax family and of their backwards.

In: an array and an axis. Out: an array of the same shape and dtype; narrow floats are worked on in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_maximum, _add = np.maximum.reduce, np.add.reduce


def softmax(x: Any, axis: int) -> Any:
    """exp(x) over its sum along ``axis``; nothing overflows."""
    if not x.ndim:
        return np.ones_like(x)
    work = x if x.dtype.kind == "f" and x.dtype.itemsize > 2 or x.dtype.kind == "c" else x.astype(np.float32)
    if not x.shape[axis]:
        return np.empty_like(x)
    e = np.subtract(work, _maximum(work, axis, keepdims=True))
    np.exp(e, out=e)
    e /= _add(e, axis, keepdims=True)
    return e if work is x else e.astype(x.dtype)


def log_softmax(x: Any, axis: int) -> Any:
    """The logarithm of `softmax`."""
    if not x.ndim:
        return np.zeros_like(x)
    work = x if x.dtype.kind == "f" and x.dtype.itemsize > 2 or x.dtype.kind == "c" else x.astype(np.float32)
    if not x.shape[axis]:
        return np.empty_like(x)
    s = np.subtract(work, _maximum(work, axis, keepdims=True))
    total = _add(np.exp(s), axis, keepdims=True)
    s -= np.log(total, out=total)
    return s if work is x else s.astype(x.dtype)


def softmax_gradient(grad: Any, result: Any, axis: int) -> Any:
    """result·(grad - Σ grad·result)."""
    if not result.ndim:
        return np.zeros_like(result)
    made = np.multiply(grad, result)
    total = _add(made, axis, keepdims=True)
    np.subtract(grad, total, out=made)
    made *= result
    return made


def log_softmax_gradient(grad: Any, result: Any, axis: int) -> Any:
    """grad - exp(result)·Σ grad."""
    if not result.ndim:
        return np.zeros_like(result)
    made = np.exp(result)
    made *= _add(grad, axis, keepdims=True)
    return np.subtract(grad, made, out=made)
