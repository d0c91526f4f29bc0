"""Array functions that multiply matrices.

In go ndarrays of one dtype; out come new arrays. Transposed views go to BLAS as they are. Narrow floats are multiplied in
float32 and rounded once; integers are multiplied exactly.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from .large import BIG, native
from .reduce import F32, F64, NARROW

__all__ = ["addmm", "cdist", "cross", "dot", "matmul", "mm", "mv", "outer", "vdot"]

_dot, _matmul = np.ndarray.dot, np.matmul  # the method: `np.dot` asks its operands for `__array_function__` first


@cache
def _blas() -> Any:
    from ..native import blas

    return blas


def mm(x: Any, y: Any) -> Any:
    """The product of two matrices."""
    d = x.dtype
    if d is F32 or d is F64:
        if x.ndim == y.ndim == 2 and x.size * y.shape[1] >= BIG and native() and (made := _blas().matmul(x, y)) is not NotImplemented:
            return made
        return _dot(x, y)
    if d in NARROW:
        return mm(x.astype(F32), y.astype(F32)).astype(d)
    return _matmul(x, y)


def mv(x: Any, y: Any) -> Any:
    """A matrix times a vector."""
    return mm(x, y)


def dot(x: Any, y: Any) -> Any:
    """The sum of products of two vectors."""
    return np.asarray(mm(x, y))


def vdot(x: Any, y: Any) -> Any:
    """`dot` of the conjugate of the first."""
    return np.asarray(mm(x.conj(), y))


def matmul(x: Any, y: Any) -> Any:
    """The matrix product of arrays of any dimensions: the last two multiply, those before broadcast."""
    d = x.dtype
    if d in NARROW:
        return matmul(x.astype(F32), y.astype(F32)).astype(d)
    if (d is F32 or d is F64) and y.dtype is d and x.ndim > 1 and y.ndim > 1 and x.size * y.shape[-1] >= BIG and native():
        made = _blas().matmul(x, y)
        if made is not NotImplemented:
            return made
    return _matmul(x, y)


def outer(x: Any, y: Any) -> Any:
    """All products of an element of one vector with one of another."""
    return np.multiply.outer(x, y)


def addmm(x: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    """``beta * x + alpha * (a @ b)``; with ``beta`` 0, whatever ``x`` holds is left out."""
    d = a.dtype
    narrow = d in NARROW
    if narrow:
        a, b, x = a.astype(F32), b.astype(F32), x.astype(F32)
    if a.ndim == 2 and (d is F32 or d is F64 or narrow) and b.ndim == 2 and a.size * b.shape[1] >= BIG and beta == 1 and x.ndim <= 2 and native():
        shape = np.broadcast_shapes(x.shape, (a.shape[0], b.shape[1]))
        out = _blas().addmm(x, a, b, float(alpha)) if shape == (a.shape[0], b.shape[1]) and x.dtype == a.dtype else NotImplemented
        if out is not NotImplemented:
            return out.astype(d) if narrow else out
    out = _dot(a, b) if a.ndim == 2 and (narrow or d is F32 or d is F64) else _matmul(a, b)
    number = out.dtype.type
    if alpha.__class__ is not int or alpha != 1:
        out = np.multiply(out, number(alpha), out=out) if out.ndim else out * number(alpha)
    if beta:
        if beta.__class__ is not int or beta != 1:
            x = x * number(beta)
        shape = out.shape
        if shape and (x.shape == shape[len(shape) - x.ndim :] or shape == np.broadcast_shapes(shape, x.shape)):
            np.add(out, x, out)
        else:
            out = out + x
    return out.astype(d) if narrow else out


def cross(x: Any, y: Any, axis: int) -> Any:
    """The cross product along a dimension of 3, broadcasting the others."""
    x, y = np.broadcast_arrays(x, y)
    (x0, x1, x2), (y0, y1, y2) = (np.moveaxis(a, axis, 0) for a in (x, y))
    return np.stack((x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0), axis)


def cdist(x: Any, y: Any, p: float = 2.0, by_product: bool = False) -> Any:
    """Distances of all pairs of rows; ``by_product`` finds Euclidean ones from |x|² + |y|² - 2 x·y, quick and less exact."""
    from .reduce import vector_norm

    if p == 2 and by_product:
        square = (x * x).sum(-1)[..., :, None] + (y * y).sum(-1)[..., None, :] - 2 * _matmul(x, np.swapaxes(y, -1, -2))
        return np.sqrt(np.maximum(square, 0))
    lead = x.shape[:-2]
    if lead != y.shape[:-2]:
        lead = np.broadcast_shapes(lead, y.shape[:-2])
    rows, columns, m = x.shape[-2], y.shape[-2], x.shape[-1]
    out = np.empty((*lead, rows, columns), x.dtype)
    step = max(1, 2**21 // max(1, columns * m * prod(lead)))  # differences of some megabytes at a time
    for start in range(0, rows, step):
        away = x[..., start : start + step, None, :] - y[..., None, :, :]
        out[..., start : start + step, :] = vector_norm(away, p, away.ndim - 1) if m else 0
    return out
