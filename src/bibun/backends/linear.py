"""Array kernels of the linear layer.

``ndarray.dot`` hands two matrices to BLAS with less ado than ``matmul`` and copies operands that BLAS cannot take as
they lie (``matmul`` would go through them in a loop of its own).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .large import BIG, native
from .products import _blas, mm
from .reduce import F32, F64, NARROW


def linear(x: Any, weight: Any, bias: Any) -> Any:
    """``x @ weight.T + bias`` for x (..., n), weight (m, n), bias broadcasting to the result or None."""
    if weight.dtype in NARROW:
        made = linear(x.astype(F32), weight.astype(F32), None if bias is None else bias.astype(F32))
        return made.astype(weight.dtype)
    if x.ndim > 1 and x.size * weight.shape[0] >= BIG and (made := _native(x, weight, bias)) is not NotImplemented:
        return made
    if x.ndim == 2:
        y = x.dot(weight.T)
    elif x.ndim == 1:
        y = weight.dot(x)
    else:
        shape = x.shape
        y = (
            x.reshape(-1, shape[-1]).dot(weight.T).reshape(*shape[:-1], weight.shape[0])
            if shape[-1]
            else np.zeros((*shape[:-1], weight.shape[0]), x.dtype)
        )
    if bias is not None:
        np.add(y, bias, y)
    return y


def _native(x: Any, weight: Any, bias: Any) -> Any:
    """`linear` of large arrays; NotImplemented where there is no native code for it."""
    d = x.dtype
    if d is not F32 and d is not F64 or weight.dtype is not d or bias is not None and (bias.ndim != 1 or bias.dtype is not d) or not native():
        return NotImplemented
    made = _blas().addmm(bias, x.reshape(-1, x.shape[-1]), weight.T)
    return made if made is NotImplemented or x.ndim == 2 else made.reshape(*x.shape[:-1], weight.shape[0])


def linear_gradients(g: Any, x: Any, weight: Any, wanted: Any, more: Any = None) -> Any:
    """The gradients of a large layer's input, weight and bias that are wanted, in one pass, the first with ``more`` added; NotImplemented where there is none."""
    d = x.dtype
    if d is not F32 or g.dtype is not d or weight.dtype is not d or not wanted[1] or not native():
        return NotImplemented
    if not (g.flags.c_contiguous and x.flags.c_contiguous and weight.flags.c_contiguous and (more is None or more.flags.c_contiguous and more.dtype is d)):
        return NotImplemented
    return _blas().layer_gradients(g.reshape(-1, g.shape[-1]), x.reshape(-1, x.shape[-1]), weight, wanted, x.shape, more)


def linear_transpose(y: Any, weight: Any) -> Any:
    """``y @ weight`` for y (..., m), weight (m, n)."""
    if y.ndim == 2:
        d = y.dtype
        return y.dot(weight) if (d is F32 or d is F64) and y.size * weight.shape[1] < BIG else mm(y, weight)
    return linear(y, weight.T, None)


def outer_sum(y: Any, x: Any) -> Any:
    """The sum over all leading places of ``y[..., :, None] * x[..., None, :]``."""
    if x.dtype in NARROW:
        return outer_sum(y.astype(F32), x.astype(F32)).astype(x.dtype)
    if x.ndim != 2:
        if x.ndim == 1:
            return np.multiply(y[:, None], x)
        rows = x.size // x.shape[-1] if x.shape[-1] else y.size // y.shape[-1] if y.shape[-1] else 0
        y, x = y.reshape(rows, y.shape[-1]), x.reshape(rows, x.shape[-1])
    return mm(y.T, x)
