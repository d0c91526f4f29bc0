"""Array functions that order: sorts, the largest k, positions in sorted sequences.

In go ndarrays and a non-negative axis; out come new arrays. NaN counts as larger than every number. Equal elements keep
their order, ascending and descending.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .large import LARGE, SOME, native
from .reduce import F32, NARROW, along
from .strides import _LEADING

__all__ = ["argsort_stable", "searchsorted_rows", "sort_at", "topk"]


def _native_sort(x: Any, axis: int, descending: bool) -> Any:
    """(sorted, positions) of a large array by a native kernel, or NotImplemented."""
    if x.size < LARGE or not native():
        return NotImplemented
    from ..native.kernels import sorting

    made = sorting.argsort(np.moveaxis(x, axis, -1), descending)
    return made if made is NotImplemented else tuple([np.ascontiguousarray(np.moveaxis(a, -1, axis)) for a in made])


def argsort_stable(x: Any, axis: int, descending: bool = False) -> Any:
    """Positions in sorted order along ``axis``."""
    if not x.ndim:
        return np.zeros((), np.int64)
    if (made := _native_sort(x, axis, descending)) is not NotImplemented:
        return made[1]
    if x.dtype in NARROW:
        x = x.astype(F32)
    if descending:
        lead = _LEADING[axis]
        back = x[(*lead, slice(None, None, -1))]
        order = np.argsort(back, axis, kind="stable")
        return np.ascontiguousarray((x.shape[axis] - 1 - order)[(*lead, slice(None, None, -1))])
    n = x.shape[axis]
    if n > 4096 and x.dtype.kind == "f":  # the quick sort is several times quicker, and right where no two are equal
        order = np.argsort(x, axis)
        ranked = along(x, order, axis)
        lead = _LEADING[axis]
        if (
            not (ranked[(*lead, slice(1, None))] == ranked[(*lead, slice(None, -1))]).any()
            and not np.isnan(ranked[(*lead, n - 1)]).any()
        ):
            return order
    return np.argsort(x, axis, kind="stable")


def sort_at(x: Any, axis: int, descending: bool = False) -> tuple[Any, Any]:
    """(sorted, positions in ``x``) along ``axis``."""
    if x.ndim and (made := _native_sort(x, axis, descending)) is not NotImplemented:
        return made
    order = argsort_stable(x, axis, descending)
    return (np.array(x), order) if not x.ndim else (along(x, order, axis), order)


def topk(x: Any, k: int, axis: int, largest: bool = True) -> tuple[Any, Any]:
    """(the k largest or smallest in order, their positions) along ``axis``."""
    if not x.ndim:
        return np.array(x)[()] if not k else np.array(x), np.zeros((), np.int64)
    n, lead = x.shape[axis], _LEADING[axis]
    if x.size >= LARGE and axis == x.ndim - 1 and native():
        from ..native.kernels import sorting

        if (made := sorting.largest(x, k, largest)) is not NotImplemented:
            return made
    wide = x.astype(F32) if x.dtype in NARROW else x
    if n > 256 and k < n // 4 and wide.dtype.kind in "fiu" and k:
        if not largest:
            some = np.argpartition(wide, k - 1, axis)[(*lead, slice(0, k))]
        else:
            some = np.argpartition(wide, n - k, axis)[(*lead, slice(n - k, n))]
        some = np.sort(some, axis)  # equal ones in the order of their positions
        order = argsort_stable(along(wide, some, axis), axis, largest)
        at = along(some, order, axis)
    else:
        at = argsort_stable(wide, axis, largest)[(*lead, slice(0, k))]
    return along(x, at, axis), np.ascontiguousarray(at)


def searchsorted_rows(ordered: Any, values: Any, right: bool) -> Any:
    """Where ``values`` would stand in sorted sequences: one for all, or one for each row of ``values``."""
    side = "right" if right else "left"
    if ordered.ndim <= 1:
        if values.size >= SOME and native():
            from ..native.kernels.along import search

            made = search(ordered, values, right)
            if made is not NotImplemented:
                return made
        return np.searchsorted(ordered.reshape(-1), values, side)
    rows = ordered.reshape(math.prod(ordered.shape[:-1]), ordered.shape[-1])
    asked = values.reshape(rows.shape[0], values.shape[-1])
    out = np.empty(asked.shape, np.int64)
    for i in range(rows.shape[0]):
        out[i] = np.searchsorted(rows[i], asked[i], side)
    return out.reshape(values.shape)
