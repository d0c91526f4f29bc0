"""Distances between all pairs of rows of two matrices.

In: (..., P, M) and (..., R, M). Out: (..., P, R).
"""

from __future__ import annotations

from math import inf
from typing import Any

from .primitive import primitive
from .products import transposed
from .shape import array_dtype, sum_to


@primitive
def cdist(xp, x, y, /, p=2.0, by_product=False):
    """The ``p``-norms of the differences of all rows of ``x`` and ``y``; Euclidean ones by a product of matrices if asked to."""
    return xp.cdist(x, y, p, by_product)


def _weights(xp: Any, g: Any, out: Any, power: float) -> Any:
    """g · out^power, 0 where the distance is 0."""
    zero = out == 0
    return xp.where(zero, xp.zeros_like(out), g * xp.where(zero, xp.ones_like(out), out) ** power)


def _cdist_back(xp: Any, g: Any, x: Any, y: Any, out: Any, p: float) -> Any:
    """The gradient of the first of two sets of rows."""
    if p == 0:
        return xp.zeros_like(x)
    if p == 2:
        w = _weights(xp, g, out, -1)
        return x * xp.sum(w, w.ndim - 1, True) - xp.matmul(w, y)
    away = xp.expand_dims(x, x.ndim - 1) - xp.expand_dims(y, y.ndim - 2)
    g, out = xp.expand_dims(g, g.ndim), xp.expand_dims(out, out.ndim)
    size = xp.abs(away)
    if p == 1:
        each = xp.sgn(away) * g
    elif p == inf:
        each = xp.sgn(away) * xp.astype(xp.equal(size, out), array_dtype(g)) * g
    else:
        zero = size == 0
        steep = xp.where(zero, xp.zeros_like(size), xp.where(zero, xp.ones_like(size), size) ** (p - 1))
        each = xp.sgn(away) * steep * _weights(xp, g, out, 1 - p)
    return xp.sum(each, each.ndim - 2)


cdist.derivative(
    x=lambda xp, g, x, y, out, x_shape, p: sum_to(xp, _cdist_back(xp, g, x, y, out, p), x_shape),
    y=lambda xp, g, x, y, out, y_shape, p: sum_to(
        xp, _cdist_back(xp, transposed(xp, g), y, x, transposed(xp, out), p), y_shape
    ),
)


@cdist.batching
def _cdist_batched(apply, size, arrays, dims, p, by_product):
    x, y = (a.expand((size, *a.shape)) if d is None else a.movedim(d, 0) for a, d in zip(arrays, dims))
    n = max(x.ndim, y.ndim)
    x, y = (a if a.ndim == n else a.reshape((size,) + (1,) * (n - a.ndim) + tuple(a.shape[1:])) for a in (x, y))
    return apply(x, y, p, by_product), 0
