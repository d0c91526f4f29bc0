"""Ordering: sort, the largest k, positions in sorted sequences.

In: an array and an axis. Out: values with the positions they came from; the gradient goes back to those positions.
"""

from __future__ import annotations

from typing import Any

from .primitive import primitive
from .reduction import _put_selected


def _picked(xp: Any, t: Any, indices: Any, axis: int) -> Any:
    return (t if not t.ndim else xp.take_along_axis(t, indices, axis)), None


@primitive(outputs="values indices", nondiff="indices", axes="axis")
def sort(xp, x, /, axis, descending=False):
    """(sorted along ``axis``, positions); equal elements keep their order, NaN is larger than all."""
    return xp.sort_at(x, axis, descending)


sort.derivative(
    x=lambda xp, g_values, indices, x_shape, axis: _put_selected(xp, g_values, indices, x_shape, axis, True)
)
sort.tangent(lambda xp, t_x, indices, axis: _picked(xp, t_x, indices, axis))


@primitive(outputs="values indices", nondiff="indices", axes="axis")
def topk(xp, x, /, k, axis, largest=True):
    """(the k largest or smallest, positions)."""
    return xp.topk(x, k, axis, largest)


topk.derivative(
    x=lambda xp, g_values, indices, x_shape, axis: _put_selected(xp, g_values, indices, x_shape, axis, True)
)
topk.tangent(lambda xp, t_x, indices, axis: _picked(xp, t_x, indices, axis))


@primitive(nondiff="out")
def searchsorted(xp, ordered, values, /, right=False):
    """Where values would stand in sorted sequences."""
    return xp.searchsorted_rows(ordered, values, right)


@primitive(nondiff="out")
def isin(xp, x, among, /):
    """Whether each element of ``x`` is one of ``among``."""
    return xp.isin(x, among)


@searchsorted.batching
def _searchsorted_batched(apply, size, arrays, dims, right):
    ordered, values = arrays
    if dims[0] is None and ordered.ndim == 1:
        return apply(ordered, values.movedim(dims[1], 0), right), 0
    ordered, values = (a.expand((size, *a.shape)) if d is None else a.movedim(d, 0) for a, d in zip(arrays, dims))
    if ordered.ndim == 2:  # one sequence for each example, whatever the shape of the values
        return apply(ordered, values.reshape((size, -1)), right).reshape(values.shape), 0
    return apply(ordered, values, right), 0


@isin.batching
def _isin_batched(apply, size, arrays, dims):
    x, among = arrays
    if dims[1] is None:
        return apply(x.movedim(dims[0], 0), among), 0
    x = x.expand((size, *x.shape)) if dims[0] is None else x.movedim(dims[0], 0)
    among = among.movedim(dims[1], 0).reshape((size,) + (1,) * (x.ndim - 1) + (-1,))
    return (x.unsqueeze(-1) == among).any(-1), 0
