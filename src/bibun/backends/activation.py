"""Array kernels of activations, where a plain composition of NumPy functions would be slow or would overflow."""

from __future__ import annotations

from typing import Any

import numpy as np

from .large import LARGE, native

_maximum, _add = np.maximum.reduce, np.add.reduce


class _Zeros(dict[Any, Any]):
    """0 of each dtype as a 0-d array, which NumPy's functions take faster than a Python number."""

    def __missing__(self, dtype: Any) -> Any:
        zero = self[dtype] = np.zeros((), dtype)
        zero.flags.writeable = False
        return zero


ZEROS = _Zeros()


def relu(x: Any) -> Any:
    """max(x, 0)."""
    if x.size >= LARGE and native():
        from ..native.kernels import rectify

        made = rectify.rectified(x)
        if made is not NotImplemented:
            return made
    return np.maximum(x, ZEROS[x.dtype], out=...)


def rectified_gradient(grad: Any, result: Any) -> Any:
    """``grad`` where ``result`` is not ``<= 0``, else 0."""
    if grad.size >= LARGE and native():
        from ..native.kernels import rectify

        made = rectify.rectified_gradient(grad, result)
        if made is not NotImplemented:
            return made
    zero = ZEROS[grad.dtype]
    return np.where(np.less_equal(result, zero), zero, grad)


def stepwise(made: Any, x: Any) -> Any:
    """``made`` itself."""
    return made


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
