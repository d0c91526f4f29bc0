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


sort.derivative(x=lambda xp, g_values, indices, x_shape, axis: _put_selected(xp, g_values, indices, x_shape, axis, True))
sort.tangent(lambda xp, t_x, indices, axis: _picked(xp, t_x, indices, axis))


@primitive(outputs="values indices", nondiff="indices", axes="axis")
def topk(xp, x, /, k, axis, largest=True):
    """(the k largest or smallest, positions)."""
    return xp.topk(x, k, axis, largest)


topk.derivative(x=lambda xp, g_values, indices, x_shape, axis: _put_selected(xp, g_values, indices, x_shape, axis, True))
topk.tangent(lambda xp, t_x, indices, axis: _picked(xp, t_x, indices, axis))


@primitive
def searchsorted(xp, ordered, values, /, right=False):
    """Where values would stand in sorted sequences."""
    return xp.searchsorted_rows(ordered, values, right)


@primitive
def isin(xp, x, among, /):
    """Whether each element of ``x`` is one of ``among``."""
    return xp.isin(x, among)
