"""Array functions that read and write by position: gathers, scatters, and sums of what falls on one place.

In go ndarrays, index arrays of integers (negative ones count from the end, where PyTorch allows them) and normalised axes;
out come new arrays, the sources unchanged. Positions out of range raise `IndexError`.

Everything that adds at repeated positions goes through `scatter_add_rows` or `add_flat`: NumPy's ``add.at`` is quick for
one-dimensional operands only, so positions are first turned into flat ones.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from .large import LARGE, SOME, kernels_of, native, ready
from .reduce import F32, NARROW, along, largest

#: Up to so many elements what follows from shapes alone is kept for the next call.
_SMALL = 4096

__all__ = [
    "add_at",
    "broadcast_shape",
    "index_add",
    "index_added",
    "index_copy",
    "index_fill",
    "index_get",
    "index_put",
    "index_reduce",
    "masked_put",
    "masked_scatter",
    "positions",
    "put",
    "put_along_axis",
    "put_at",
    "scatter",
    "scatter_add",
    "scatter_add_rows",
    "scatter_reduce",
    "take_along_axis",
    "take_flat",
]

_ALL = slice(None)


def add_flat(out: Any, at: Any, values: Any) -> None:
    """``out[at] += values`` on flat arrays, repeated places summed."""
    if out.dtype.kind == "c":
        part = out.view(out.real.dtype)
        values = np.ascontiguousarray(values, out.dtype).view(part.dtype)
        at = (at[:, None] * 2 + np.arange(2)).reshape(-1)
        np.add.at(part, at, values)
    else:
        np.add.at(out, at, values)


def _unique_rounds(index: Any) -> Any:
    """Groups of positions of ``index`` within which no value occurs twice: first all first occurrences, and so on."""
    n = index.size
    order = np.argsort(index, kind="stable")
    ranked = index[order]
    fresh = np.ones(n, bool)
    np.not_equal(ranked[1:], ranked[:-1], out=fresh[1:])
    nth = np.arange(n) - np.maximum.accumulate(np.where(fresh, np.arange(n), 0))
    counts = np.bincount(nth)
    if len(counts) > max(16, n // 64):
        return None, order, ranked, fresh
    by_round = order[np.argsort(nth, kind="stable")]
    return np.split(by_round, np.cumsum(counts)[:-1]), order, ranked, fresh


def scatter_add_rows(shape: tuple[int, ...], index: Any, values: Any) -> Any:
    """Zeros of the given shape to whose rows ``values`` were added: ``out[index[i]] += values[i]``.

    ``index`` has any shape, ``values`` that shape followed by ``shape[1:]``. Measured: flat ``add.at`` is quickest for
    short rows, adding rounds of distinct rows for long ones, sorted segments where few rows get everything.
    """
    d = values.dtype
    if d in NARROW:
        return scatter_add_rows(shape, index, values.astype(F32)).astype(d)
    width = math.prod(shape[1:])
    n = index.size
    if not n or not width:
        return np.zeros(shape, d)
    lead, index = index.ndim, index.reshape(-1)
    if index.dtype != np.int64:
        index = index.astype(np.int64)
    low, high = index.min(), index.max()
    if low < 0:
        index = np.where(index < 0, index + shape[0], index)
        if low < -shape[0]:
            raise IndexError(f"index {low} is out of bounds for axis 0 with size {shape[0]}")
    if high >= shape[0]:
        raise IndexError(f"index {high} is out of bounds for axis 0 with size {shape[0]}")
    if width > 1 and (n * width >= LARGE or shape[0] * width >= LARGE or ready[0] and n * width >= SOME) and native():
        made = kernels_of("kernels.rows").add_rows(shape, index, values, lead)
        if made is not NotImplemented:
            return made
    out = np.zeros(shape, d)
    if n == 1:
        out[index[0]] = values.reshape(shape[1:])
        return out
    flat, rows = out.reshape(shape[0], width), values.reshape(n, width)
    if width == 1:
        add_flat(flat.reshape(-1), index, rows.reshape(-1))
    elif width < 128 or n * width < 4096:
        add_flat(flat.reshape(-1), (index[:, None] * width + np.arange(width)).reshape(-1), rows.reshape(-1))
    else:
        rounds, order, ranked, fresh = _unique_rounds(index)
        if rounds is not None:
            for part in rounds:
                flat[index[part]] += rows[part]
        else:
            starts = np.flatnonzero(fresh)
            flat[ranked[starts]] = np.add.reduceat(rows[order], starts, axis=0)
    return out


# Indices by dimension: what stands between brackets


def _rows_first(x: Any, places: tuple[int, ...]) -> Any:
    """``x`` with the dimensions ``places`` first."""
    return x.transpose((*places, *[i for i in range(x.ndim) if i not in places]))


def _flat_rows(indices: Any, sizes: Any) -> Any:
    """Several index arrays, one for each of leading dimensions of ``sizes``, as one index into them flattened."""
    total = None
    for i, n in zip(indices, sizes):
        i = np.asarray(i, np.int64)
        if i.size:
            low, high = i.min(), i.max()
            if high >= n or low < -n:
                raise IndexError(f"index {high if high >= n else low} is out of bounds for axis with size {n}")
            if low < 0:
                i = np.where(i < 0, i + n, i)
        total = i if total is None else total * n + i
    return total


def index_get(x: Any, indices: Any, places: tuple[int, ...]) -> Any:
    """``x[..., i, ...]`` with index arrays in the dimensions ``places`` (ascending) and all of the others."""
    if len(places) == 1:
        return x.take(indices[0], places[0])
    key = [_ALL] * x.ndim
    for p, i in zip(places, indices):
        key[p] = i
    out = x[tuple(key)]
    return out if out.flags.c_contiguous else np.ascontiguousarray(out)


def _index_shape(indices: Any) -> tuple[int, ...]:
    return indices[0].shape if len(indices) == 1 else np.broadcast_shapes(*[np.shape(i) for i in indices])


def _advanced_at(places: tuple[int, ...]) -> int:
    """Where the dimensions of the index arrays stand in the result."""
    return places[0] if places[-1] - places[0] == len(places) - 1 else 0


def index_put(x: Any, values: Any, indices: Any, places: tuple[int, ...], accumulate: bool = False) -> Any:
    """A copy of ``x`` with ``values`` (broadcast) put or added where `index_get` would read."""
    key = [_ALL] * x.ndim
    for p, i in zip(places, indices):
        key[p] = i
    if not accumulate:
        out = np.array(x, order="K")
        out[tuple(key)] = values
        return out
    return x + _index_added(x.shape, values, indices, places).astype(x.dtype, copy=False)


def _index_added(shape: tuple[int, ...], values: Any, indices: Any, places: tuple[int, ...]) -> Any:
    """Zeros to which ``values`` were added at the places of `index_get`."""
    ishape = _index_shape(indices)
    if 0 in ishape:
        return np.zeros(shape, values.dtype)
    rest = [i for i in range(len(shape)) if i not in places]
    at = _advanced_at(places)
    before = [i for i in rest if i < at] if at else []
    full = (*[shape[i] for i in before], *ishape, *[shape[i] for i in rest if i not in before])
    values = np.broadcast_to(values, full)
    if before:
        k, m = len(before), len(ishape)
        values = values.transpose((*range(k, k + m), *range(k), *range(k + m, values.ndim)))
    sizes = [shape[p] for p in places]
    rows = np.broadcast_to(_flat_rows(indices, sizes), ishape)
    out = scatter_add_rows((math.prod(sizes), *[shape[i] for i in rest]), rows, np.ascontiguousarray(values))
    out = out.reshape((*sizes, *[shape[i] for i in rest]))
    order = (*places, *rest)
    return out.transpose([order.index(i) for i in range(len(shape))])


def add_at(x: Any, key: Any, values: Any) -> Any:
    """A copy of ``x`` with ``values`` added at the places that NumPy's index ``key`` names, repeated places summed."""
    out = np.array(x)
    np.add.at(out, key, values)
    return out


# Along an axis, element by element


def _fitted(x: Any, shape: tuple[int, ...], axis: int) -> Any:
    """``x`` cut to ``shape`` in every dimension but ``axis``: an index may be smaller than what it indexes."""
    own = x.shape
    if all(n == m or i == axis for i, (n, m) in enumerate(zip(own, shape))):
        return x
    return x[tuple([_ALL if i == axis else slice(m) for i, m in enumerate(shape)])]


def positions(shape: tuple[int, ...], indices: Any, axis: int) -> Any:
    """The flat position in an array of ``shape`` of each element that ``indices`` names along ``axis``."""
    starts = _starts if indices.size <= _SMALL else _starts.__wrapped__
    start, step = starts(shape, indices.shape, axis)
    return start + (indices if step == 1 else indices * step)


@lru_cache(256)
def _starts(shape: tuple[int, ...], at: tuple[int, ...], axis: int) -> tuple[Any, int]:
    """(the flat position of index 0 along ``axis`` for each element of an index of shape ``at``, the distance of the next)."""
    start, step, own = np.zeros(at, np.int64), 1, 1
    for i in range(len(shape) - 1, -1, -1):
        if i == axis:
            own = step
        else:
            start += (np.arange(at[i]) * step).reshape((at[i],) + (1,) * (len(shape) - i - 1))
        step *= shape[i]
    start.flags.writeable = False
    return start, own


def _checked(indices: Any, n: int, axis: int) -> Any:
    if indices.dtype != np.int64:
        indices = indices.astype(np.int64)
    # As unsigned numbers the negative ones are large: one pass finds any that is out of range.
    if indices.size and largest(indices.view(np.uint64)) >= n:
        low, high = indices.min(), indices.max()
        if low < 0 or high >= n:
            raise IndexError(f"index {low if low < 0 else high} is out of bounds for dimension {axis} with size {n}")
    return indices


def take_along_axis(x: Any, indices: Any, axis: int) -> Any:
    """``x`` read at ``indices`` along ``axis``; the index may be smaller than ``x`` in other dimensions."""
    if not x.ndim:
        return np.broadcast_to(x, indices.shape).copy()
    if not indices.ndim:
        return x[indices]
    if not indices.size:
        return np.zeros(indices.shape, x.dtype)
    indices = _checked(indices, x.shape[axis], axis)
    if indices.size >= SOME and native():
        from ..native.kernels.along import gather

        made = gather(x, indices, axis)
        if made is not NotImplemented:
            return made
    x = _fitted(x, indices.shape, axis)
    if x.flags.c_contiguous:
        return x.ravel().take(positions(x.shape, indices, axis))
    return along(x, indices, axis)


def _put_large(out: Any, indices: Any, values: Any, axis: int, added: bool) -> bool:
    """Put many values along ``axis`` by a native kernel, if there is one; numbers of places are in range."""
    if indices.size < SOME or indices.dtype != np.int64 or not native():
        return False
    from ..native.kernels.along import put

    return put(out, indices, values, axis, added)


def put_at(g: Any, indices: Any, shape: tuple[int, ...], axis: int) -> Any:
    """Zeros with ``g`` at ``indices`` along ``axis``."""
    out = np.zeros(shape, g.dtype)
    if _put_large(out, indices, g, axis, False):
        return out
    np.put_along_axis(out, indices, g, axis)
    return out


def put_along_axis(x: Any, indices: Any, values: Any, axis: int) -> Any:
    """A copy of ``x`` with ``values`` at ``indices`` along ``axis`` (the last of equal positions wins)."""
    out = np.array(x)
    np.put_along_axis(out, indices, values, axis)
    return out


def _scatter_parts(x: Any, indices: Any, values: Any, axis: int) -> tuple[Any, Any, Any]:
    """(a flat copy of ``x``, flat positions, flat values) of a scatter."""
    out = np.array(x, order="C")
    if not x.ndim:
        x, indices = x.reshape(1), indices.reshape(-1)
        values = values if values is None else np.asarray(values).reshape(-1)
    elif not indices.ndim:
        indices = indices.reshape((1,) * x.ndim)
    indices = _checked(indices, x.shape[axis], axis)
    at = positions(x.shape, indices, axis).reshape(-1)
    if values is not None and np.ndim(values):
        values = values[tuple([slice(m) for m in indices.shape])].reshape(-1)
    return out, at, values


def scatter(x: Any, indices: Any, values: Any, axis: int) -> Any:
    """A copy of ``x`` with ``values`` (an array, or a number for all) at ``indices`` along ``axis``."""
    if not indices.size:
        return np.array(x, order="C")
    if indices.size >= SOME and np.ndim(x) and np.ndim(indices) and (np.ndim(values) == 0 or np.shape(values) == indices.shape):
        out, indices = np.array(x, order="C"), _checked(indices, x.shape[axis], axis)
        if _put_large(out, indices, values, axis, False):
            return out
    out, at, values = _scatter_parts(x, indices, values, axis)
    out.reshape(-1)[at] = values
    return out


def scatter_add(x: Any, indices: Any, values: Any, axis: int) -> Any:
    """A copy of ``x`` with ``values`` added at ``indices`` along ``axis``."""
    if x.dtype in NARROW:
        return scatter_add(x.astype(F32), indices, values.astype(F32), axis).astype(x.dtype)
    if not indices.size:
        return np.array(x, order="C")
    if indices.size >= SOME and np.ndim(x) and np.shape(values) == indices.shape:
        out, indices = np.array(x, order="C"), _checked(indices, x.shape[axis], axis)
        if _put_large(out, indices, values, axis, True):
            return out
    out, at, values = _scatter_parts(x, indices, values, axis)
    add_flat(out.reshape(-1), at, values)
    return out


_REDUCERS = {
    "sum": np.add,
    "mean": np.add,
    "prod": np.multiply,
    "multiply": np.multiply,
    "amax": np.maximum,
    "amin": np.minimum,
}
_NEUTRAL = {"sum": 0, "mean": 0, "prod": 1}


def _extreme_start(dtype: Any, reduce: str) -> Any:
    """What every number of the dtype replaces as the largest (or smallest)."""
    if dtype.kind == "b":
        return reduce == "amin"
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return info.min if reduce == "amax" else info.max
    return -math.inf if reduce == "amax" else math.inf


def _reduce_at(out: Any, at: Any, values: Any, reduce: str, include_self: bool) -> Any:
    """Reduce flat ``values`` into flat ``out`` at ``at``."""
    if not include_self:
        out[at] = _NEUTRAL[reduce] if reduce in _NEUTRAL else _extreme_start(out.dtype, reduce)
    if reduce in ("sum", "mean"):
        add_flat(out, at, values)
    else:
        _REDUCERS[reduce].at(out, at, values)
    if reduce == "mean":
        counts = np.bincount(at, minlength=out.size) + (1 if include_self else 0)
        counts[counts == 0] = 1
        if out.dtype.kind in "iu":
            np.floor_divide(out, counts.astype(out.dtype), out=out)
        else:
            out /= counts.astype(out.real.dtype)
    return out


def scatter_reduce(x: Any, indices: Any, values: Any, axis: int, reduce: str, include_self: bool = True) -> Any:
    """A copy of ``x`` with ``values`` reduced (``sum``, ``prod``, ``mean``, ``amax``, ``amin``) into ``indices`` along ``axis``."""
    if not indices.size:
        return np.array(x, order="C")
    if x.dtype in NARROW:
        return scatter_reduce(x.astype(F32), indices, values.astype(F32), axis, reduce, include_self).astype(x.dtype)
    out, at, values = _scatter_parts(x, indices, values, axis)
    _reduce_at(out.reshape(-1), at, values, reduce, include_self)
    return out


# Along an axis, whole slices


def _slices_first(x: Any, axis: int) -> Any:
    return np.moveaxis(x, axis, 0) if x.ndim else x.reshape(1)


def index_add(x: Any, index: Any, values: Any, axis: int) -> Any:
    """A copy of ``x`` with the slices of ``values`` added at positions ``index`` of ``axis``."""
    if not x.ndim:
        return x + np.asarray(values.sum()).astype(x.dtype)
    rows = _slices_first(values, axis) if values.ndim else values.reshape((1,) * x.ndim)
    first = _slices_first(x, axis)
    added = scatter_add_rows(first.shape, _checked(index, x.shape[axis], axis), np.ascontiguousarray(rows, x.dtype))
    if x.dtype.kind == "b":
        return x | np.moveaxis(added, 0, axis)
    return x + np.moveaxis(added, 0, axis)


def index_copy(x: Any, index: Any, values: Any, axis: int) -> Any:
    """A copy of ``x`` with the slices of ``values`` at positions ``index`` of ``axis``."""
    out = np.array(x)
    view = _slices_first(out, axis)
    view[_checked(index.reshape(-1), view.shape[0], axis)] = (
        _slices_first(values, axis) if x.ndim else values.reshape(-1)
    )
    return out


def index_fill(x: Any, index: Any, axis: int, value: Any) -> Any:
    """A copy of ``x`` with ``value`` at positions ``index`` of ``axis``."""
    out = np.array(x)
    _slices_first(out, axis)[index] = value
    return out


def index_reduce(x: Any, index: Any, values: Any, axis: int, reduce: str, include_self: bool = True) -> Any:
    """A copy of ``x`` with the slices of ``values`` reduced into positions ``index`` of ``axis``."""
    if not x.ndim:
        return scatter_reduce(x, index.reshape(()), values, 0, reduce, include_self)
    shape = [1] * values.ndim
    shape[axis] = index.size
    return scatter_reduce(x, np.broadcast_to(index.reshape(shape), values.shape), values, axis, reduce, include_self)


# The flattened array


def take_flat(x: Any, index: Any) -> Any:
    """Elements of the flattened ``x``."""
    n = x.size
    if index.size:
        low, high = index.min(), index.max()
        if high >= n or low < -n:
            raise IndexError(
                f"out of range: tried to access index {high if high >= n else low} on a tensor of {n} elements."
            )
    return x.reshape(-1).take(index)


def put(x: Any, index: Any, values: Any, accumulate: bool = False) -> Any:
    """A copy of ``x`` with ``values`` put (or added) at positions of its flattening."""
    n = x.size
    if index.size:
        low, high = index.min(), index.max()
        if high >= n or low < -n:
            raise IndexError(
                f"out of range: tried to access index {high if high >= n else low} on a tensor of {n} elements."
            )
    out = np.array(x, order="C")
    flat, index, values = out.reshape(-1), index.reshape(-1), values.reshape(-1)
    if accumulate:
        wide = flat.astype(F32) if flat.dtype in NARROW else flat
        add_flat(wide, np.where(index < 0, index + n, index), values.astype(wide.dtype, copy=False))
        if wide is not flat:
            flat[...] = wide
    else:
        flat[index] = values
    return out


# Masks


def masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    """A copy of ``x`` whose elements under ``mask`` are, in order, the first of ``source``."""
    out = np.array(x, order="C")
    count = int(np.count_nonzero(mask))
    out[mask] = source.reshape(-1)[:count]
    return out


def masked_put(g: Any, mask: Any) -> Any:
    """Zeros of the shape of ``mask`` with the elements of ``g``, in order, where it is true."""
    out = np.zeros(mask.shape, g.dtype)
    out[mask] = g
    return out


def index_added(shape: tuple[int, ...], values: Any, indices: Any, places: tuple[int, ...]) -> Any:
    """Zeros to which ``values`` were added at the places that `index_get` reads."""
    return _index_added(shape, values, indices, places)


def broadcast_shape(*shapes: Any) -> tuple[int, ...]:
    """The shape that the given ones broadcast to."""
    return np.broadcast_shapes(*shapes)
