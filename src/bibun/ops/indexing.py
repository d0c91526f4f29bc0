"""Reading and writing by position: indexing with tensors, gathers, scatters, masks.

In: arrays, index arrays of int64 (those between brackets may be negative), masks of bool, normalised axes. Out: a new
array each; nothing is written in place here. Index arrays are inputs like others, without a derivative of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod as product
from typing import Any

from .primitive import REGISTRY, Primitive, linear, primitive
from .shape import array_dtype, sum_to

# Index arrays between brackets: x[i, :, j]


def _written(parameters: str, body: str, **names: Any) -> Callable[..., Any]:
    """A function of so many index arrays as ``parameters`` spells out: a primitive knows its inputs by their names."""
    return eval(f"lambda {parameters}: {body}", {"__name__": __name__, **names})  # (two strings of this file's own)


_made: dict[tuple[str, int], Primitive] = {}


def index_get(n: int) -> Primitive:
    """The primitive that reads with ``n`` index arrays: ``(x, i0, …; places)``, ``places`` the dimensions they stand in."""
    made = _made.get(("get", n))
    if made is None:
        i = ", ".join([f"i{k}" for k in range(n)])
        made = Primitive(
            _written(f"xp, x, {i}, /, places", f"xp.index_get(x, ({i},), places)"), name=f"index_get_{n}", grad="Index"
        )
        made.derivative(
            x=_written(f"xp, g, x_shape, {i}, places", f"add({n}, xp, g, ({i},), x_shape, places)", add=xp_index_add)
        )
        made.tangent(_written(f"xp, t_x, {i}, places", f"get({n}, xp, t_x, ({i},), places)", get=xp_index_get))
        made.batching(lambda apply, size, arrays, dims, places: _get_batched(size, arrays, dims, places))
        REGISTRY[made.name] = _made["get", n] = made
    return made


def index_add_n(n: int) -> Primitive:
    """The transpose of `index_get`: ``(g, i0, …; shape, places)`` gives zeros of a shape with ``g`` added."""
    made = _made.get(("add", n))
    if made is None:
        i = ", ".join([f"i{k}" for k in range(n)])
        made = Primitive(
            _written(f"xp, g, {i}, /, shape, places", f"xp.index_added(shape, g, ({i},), places)"),
            name=f"index_added_{n}",
            grad="IndexPut",
        )
        made.derivative(g=_written(f"xp, g, {i}, places", f"get({n}, xp, g, ({i},), places)", get=xp_index_get))
        made.tangent(
            _written(f"xp, t_g, {i}, shape, places", f"add({n}, xp, t_g, ({i},), shape, places)", add=xp_index_add)
        )
        made.batching(
            lambda apply, size, arrays, dims, shape, places: _add_n_batched(size, arrays, dims, shape, places)
        )
        REGISTRY[made.name] = _made["add", n] = made
    return made


def index_put(n: int) -> Primitive:
    """The primitive that writes with ``n`` index arrays: ``(x, values, i0, …; places, accumulate)``."""
    made = _made.get(("put", n))
    if made is None:
        i = ", ".join([f"i{k}" for k in range(n)])
        made = Primitive(
            _written(
                f"xp, x, values, {i}, /, places, accumulate=False",
                f"xp.index_put(x, values, ({i},), places, accumulate)",
            ),
            name=f"index_put_{n}",
            grad="IndexPut",
        )

        def back(xp: Any, g: Any, indices: Any, places: Any, accumulate: bool) -> Any:
            return (
                g
                if accumulate
                else getattr(xp, f"index_put_{n}")(g, xp.zeros((), dtype=g.dtype), *indices, places, False)
            )

        def values_back(xp: Any, g: Any, shape: Any, indices: Any, places: Any) -> Any:
            return sum_to(xp, xp_index_get(n, xp, g, indices, places), shape)

        def tangent(
            xp: Any,
            t_x: Any,
            t_values: Any,
            x_shape: Any,
            values_shape: Any,
            indices: Any,
            places: Any,
            accumulate: bool,
        ) -> Any:
            some = t_x if t_x is not None else t_values
            t_x = xp.zeros(x_shape, dtype=some.dtype) if t_x is None else t_x
            t_values = xp.zeros(values_shape, dtype=some.dtype) if t_values is None else t_values
            return getattr(xp, f"index_put_{n}")(t_x, t_values, *indices, places, accumulate)

        made.derivative(
            x=_written(f"xp, g, {i}, places, accumulate", f"back(xp, g, ({i},), places, accumulate)", back=back),
            values=_written(
                f"xp, g, values_shape, {i}, places", f"back(xp, g, values_shape, ({i},), places)", back=values_back
            ),
        )
        made.tangent(
            _written(
                f"xp, t_x, t_values, x_shape, values_shape, {i}, places, accumulate",
                f"f(xp, t_x, t_values, x_shape, values_shape, ({i},), places, accumulate)",
                f=tangent,
            )
        )
        made.batching(
            lambda apply, size, arrays, dims, places, accumulate: _put_n_batched(
                apply, size, arrays, dims, places, accumulate
            )
        )
        REGISTRY[made.name] = _made["put", n] = made
    return made


def xp_index_get(n: int, xp: Any, x: Any, indices: Any, places: tuple[int, ...]) -> Any:
    """`index_get` by namespace."""
    index_get(n)
    return getattr(xp, f"index_get_{n}")(x, *indices, places)


def xp_index_add(n: int, xp: Any, g: Any, indices: Any, shape: tuple[int, ...], places: tuple[int, ...]) -> Any:
    """`index_add_n` by namespace."""
    index_add_n(n)
    return getattr(xp, f"index_added_{n}")(g, *indices, shape, places)


def _get_batched(size: int, arrays: Any, dims: Any, places: tuple[int, ...]) -> Any:
    """x[i, :, j] for a batch of x, of indices, or of both."""
    x, *indices = arrays
    d, *index_dims = dims
    ndim = max((i.ndim - (k is not None) for i, k in zip(indices, index_dims)), default=0)
    together = places[-1] - places[0] == len(places) - 1
    if all(k is None for k in index_dims):
        x = x.movedim(d, 0)
        out = x.index_at(indices, tuple(p + 1 for p in places))
        return out, 0 if together else ndim
    lined = [i if k is None else _aligned(i.movedim(k, 0), ndim) for i, k in zip(indices, index_dims)]
    if d is None:
        return x.index_at(lined, places), places[0] if together else 0
    x = x.movedim(d, 0)
    rows = x.new_tensor(range(size), dtype=lined[0].dtype).reshape((size,) + (1,) * ndim)
    out = x.index_at([rows, *lined], (0, *[p + 1 for p in places]))
    # The dimensions of the index arrays now stand first, or together after what was before them.
    if together and places[0] > 0:
        return out.movedim(tuple(range(1, 1 + ndim)), tuple(range(1 + places[0], 1 + places[0] + ndim))), 0
    return out, 0


def _put_n_batched(apply: Any, size: int, arrays: Any, dims: Any, places: tuple[int, ...], accumulate: bool) -> Any:
    """x[i, :, j] = values for a batch of x, of values, of indices: the batch is one more dimension that is indexed whole."""
    x, values, *indices = arrays
    ndim = max((i.ndim - (k is not None) for i, k in zip(indices, dims[2:])), default=0)
    lined = [i if k is None else _aligned(i.movedim(k, 0), ndim) for i, k in zip(indices, dims[2:])]
    x = _moved(x, dims[0], size)
    rows = indices[0].new_tensor(range(size)).reshape((size,) + (1,) * ndim)
    if dims[1] is not None:  # the result of the indexing, of which values has its place: where is the batch?
        rank = ndim + x.ndim - 1 - len(places)
        values = _aligned(values.movedim(dims[1], 0), rank)
        together = places[-1] - places[0] == len(places) - 1
        if (
            together and places[0] > 0
        ):  # here the index dimensions stood after others; with the batch's they stand first
            before = places[0]
            values = values.movedim(tuple(range(1 + before, 1 + before + ndim)), tuple(range(1, 1 + ndim)))
    elif places[0] > 0 and places[-1] - places[0] == len(places) - 1 and values.ndim:
        rank = ndim + x.ndim - 1 - len(places)
        before = places[0]
        values = values.reshape((1,) * (rank - values.ndim) + tuple(values.shape))
        values = values.movedim(tuple(range(before, before + ndim)), tuple(range(ndim)))
    index_put(len(lined) + 1)
    return x.index_put_at(values, (rows, *lined), (0, *[p + 1 for p in places]), accumulate), 0


def _add_n_batched(size: int, arrays: Any, dims: Any, shape: tuple[int, ...], places: tuple[int, ...]) -> Any:
    g, *indices = arrays
    zeros = g.new_zeros((size, *shape))
    return _put_n_batched(None, size, (zeros, g, *indices), (0, *dims), places, True)


def _aligned(i: Any, ndim: int) -> Any:
    """A batch of index arrays with dimensions of size 1 after the batch's, up to ``ndim`` besides it."""
    return i if i.ndim == ndim + 1 else i.reshape((i.shape[0],) + (1,) * (ndim + 1 - i.ndim) + tuple(i.shape[1:]))


# Rows


@linear
def add_rows(xp, values, index, /, shape):
    """Zeros of the given shape to whose rows ``values`` were added: the gradient of reading rows, as an embedding does."""
    return xp.scatter_add_rows(shape, index, values)


add_rows.derivative(values=lambda xp, g, index: xp_index_get(1, xp, g, (index,), (0,)))


@add_rows.batching
def _add_rows_batched(apply, size, arrays, dims, shape):
    values, index = (a.expand((size, *a.shape)) if d is None else a.movedim(d, 0) for a, d in zip(arrays, dims))
    n = shape[0]
    index = index % n + (index.new_tensor(range(size)) * n).reshape((size,) + (1,) * (index.ndim - 1)) if n else index
    return apply(values, index, (size * n, *shape[1:])).reshape((size, *shape)), 0


# Along an axis, element by element


def _moved(a: Any, d: Any, size: int) -> Any:
    return a.expand((size, *a.shape)) if d is None else a.movedim(d, 0)


def _rowwise(apply: Any, size: int, arrays: Any, dims: Any, axis: int, *rest: Any) -> Any:
    """The batching rule of gathers and scatters: everything batched, the axis one further."""
    arrays = [_moved(a, d, size) for a, d in zip(arrays, dims)]
    if arrays[0].ndim == 1 and arrays[1].ndim == 2:  # a 0-d example read or written at several places
        return apply(arrays[0].reshape((size, 1)), *arrays[1:], 1, *rest), 0
    if arrays[0].ndim == 1:  # 0-d examples
        return apply(*[a.reshape((size, 1)) for a in arrays], 1, *rest).reshape((size,)), 0
    if arrays[1].ndim == 1:  # a 0-d index
        out = apply(arrays[0], *[a.reshape((size, 1)) for a in arrays[1:]], 1, *rest)
        return out.reshape((size,)) if apply.primitive == "take_along_axis" else out, 0
    return apply(*arrays, axis + 1, *rest), 0


@primitive(grad="Gather")
def take_along_axis(xp, x, indices, /, axis):
    """``x`` read at ``indices`` along ``axis``."""
    return xp.take_along_axis(x, indices, axis)


take_along_axis.derivative(
    x=lambda xp, g, x_shape, indices, axis: xp.scatter_add(xp.zeros(x_shape, dtype=g.dtype), indices, g, axis)
)
take_along_axis.tangent(lambda xp, t_x, indices, axis: xp.take_along_axis(t_x, indices, axis))


def _source_back(xp: Any, g: Any, shape: tuple[int, ...], indices: Any, axis: int) -> Any:
    """The gradient of scattered values: read where they went; what the index did not reach gets zeros."""
    out = xp.take_along_axis(g, indices, axis)
    own = tuple(out.shape)
    return out if own == shape or not shape else xp.constant_pad(out, tuple((0, n - m) for n, m in zip(shape, own)), 0)


@primitive(grad="ScatterBackward0")
def scatter(xp, x, indices, values, /, axis):
    """``x`` with ``values`` at ``indices`` along ``axis``."""
    return xp.scatter(x, indices, values, axis)


scatter.derivative(
    x=lambda xp, g, indices, axis: xp.scatter_fill(g, indices, axis, 0),
    values=lambda xp, g, values_shape, indices, axis: _source_back(xp, g, values_shape, indices, axis),
)


@primitive(grad="ScatterBackward1")
def scatter_fill(xp, x, indices, /, axis, value):
    """``x`` with one number at ``indices`` along ``axis``."""
    return xp.scatter(x, indices, value, axis)


scatter_fill.derivative(x=lambda xp, g, indices, axis: xp.scatter_fill(g, indices, axis, 0))
scatter_fill.tangent(lambda xp, t_x, indices, axis: xp.scatter_fill(t_x, indices, axis, 0))


@primitive(grad="ScatterAdd")
def scatter_add(xp, x, indices, values, /, axis):
    """``x`` with ``values`` added at ``indices`` along ``axis``."""
    return xp.scatter_add(x, indices, values, axis)


scatter_add.derivative(
    x=lambda g, axis: g,
    values=lambda xp, g, values_shape, indices, axis: _source_back(xp, g, values_shape, indices, axis),
)


def _reduce_back(
    xp: Any, g: Any, x: Any, values: Any, out: Any, put: Any, take: Any, reduce: str, include_self: bool
) -> Any:
    """(gradient of x, gradient of values) of values reduced into x.

    ``put(base, v)`` adds v where values went, ``take(y)`` reads y there; a place that got nothing keeps its own gradient.
    """
    ones = xp.ones(tuple(values.shape), dtype=g.dtype)
    zeros = xp.zeros(tuple(x.shape), dtype=g.dtype)
    touched = put(zeros, ones)
    own = xp.where(touched != 0, xp.zeros_like(g), g) if not include_self else g
    if reduce == "sum":
        return own, take(g)
    if reduce == "mean":
        n = touched + (1 if include_self else 0)
        share = g / xp.where(n == 0, xp.ones_like(n), n)
        return (share if include_self else own), take(share)
    if reduce in ("amax", "amin"):
        best = take(out)
        here = xp.astype(xp.equal(values, best), array_dtype(g))
        self_here = xp.astype(xp.equal(x, out), array_dtype(g))
        if not include_self:
            self_here = xp.where(touched != 0, xp.zeros_like(self_here), self_here)
        n = put(self_here, here)
        share = g / xp.where(n == 0, xp.ones_like(n), n)
        return share * self_here, take(share) * here
    # Products. The product of all factors but one is that of those that are not zero, divided by the one, times the zeros
    # among the others: none (1), exactly one (which enters as itself, being differentiable), or more (0).
    dtype = array_dtype(g)
    base = x if include_self else xp.where(touched != 0, xp.ones_like(x), x)
    value_zero, base_zero = values == 0, base == 0
    filled = xp.where(value_zero, xp.ones_like(values), values)
    base_filled = xp.where(base_zero, xp.ones_like(base), base)
    factors = put.product(base_filled, filled)
    holes = put(xp.astype(base_zero, dtype), xp.astype(value_zero, dtype))
    zeros_sum = put(xp.where(base_zero, base, xp.zeros_like(base)), xp.where(value_zero, values, xp.zeros_like(values)))

    def others(factor: Any, own: Any, zero: Any, products: Any, count: Any, total: Any) -> Any:
        count = count - xp.astype(zero, dtype)
        single = total - xp.where(zero, own, xp.zeros_like(own))
        weight = xp.where(count == 0, xp.ones_like(own), xp.where(count == 1, single, xp.zeros_like(own)))
        return products / factor * weight

    of_self = g * others(base_filled, base, base_zero, factors, holes, zeros_sum).conj()
    if not include_self:
        of_self = xp.where(touched != 0, xp.zeros_like(g), of_self)
    of_values = others(filled, values, value_zero, take(factors), take(holes), take(zeros_sum))
    return of_self, take(g) * of_values.conj()


class _Along:
    """How values reach x in `scatter_reduce`: element by element along an axis."""

    def __init__(self, xp: Any, indices: Any, axis: int):
        self.xp, self.indices, self.axis = xp, indices, axis

    def __call__(self, base: Any, values: Any) -> Any:
        return self.xp.scatter_add(base, self.indices, values, self.axis)

    def product(self, base: Any, values: Any) -> Any:
        return self.xp.scatter_reduce(base, self.indices, values, self.axis, "prod", True)

    def take(self, y: Any) -> Any:
        return self.xp.take_along_axis(y, self.indices, self.axis)


class _Slices(_Along):
    """How values reach x in `index_reduce`: slice by slice."""

    def __call__(self, base: Any, values: Any) -> Any:
        return self.xp.index_add(base, self.indices, values, self.axis)

    def product(self, base: Any, values: Any) -> Any:
        return self.xp.index_reduce(base, self.indices, values, self.axis, "prod", True)

    def take(self, y: Any) -> Any:
        return self.xp.index_select(y, self.indices, self.axis)


def _fitting(xp: Any, values: Any, indices: Any) -> Any:
    """``values`` cut to the shape of the index."""
    for axis, (n, m) in enumerate(zip(tuple(values.shape), tuple(indices.shape))):
        if n != m:
            values = xp.slice_axis(values, axis, 0, m, 1)
    return values


@primitive
def scatter_reduce(xp, x, indices, values, /, axis, reduce, include_self=True):
    """``x`` with ``values`` reduced into ``indices`` along ``axis``."""
    return xp.scatter_reduce(x, indices, values, axis, reduce, include_self)


def _scatter_reduce_back(xp, g, x, indices, values, out, axis, reduce, include_self):
    ways = _Along(xp, indices, axis)
    return _reduce_back(xp, g, x, _fitting(xp, values, indices), out, ways, ways.take, reduce, include_self)


def _padded_to(xp: Any, g: Any, shape: tuple[int, ...]) -> Any:
    own = tuple(g.shape)
    return g if own == shape else xp.constant_pad(g, tuple((0, n - m) for n, m in zip(shape, own)), 0)


scatter_reduce.derivative(
    x=lambda xp, g, x, indices, values, out, axis, reduce, include_self: _scatter_reduce_back(
        xp, g, x, indices, values, out, axis, reduce, include_self
    )[0],
    values=lambda xp, g, x, indices, values, out, axis, reduce, include_self: _padded_to(
        xp, _scatter_reduce_back(xp, g, x, indices, values, out, axis, reduce, include_self)[1], tuple(values.shape)
    ),
)

for _along in (take_along_axis, scatter, scatter_fill, scatter_add, scatter_reduce):
    _along.batching(_rowwise)


# Along an axis, slice by slice


@primitive
def index_select(xp, x, index, /, axis):
    """The slices of ``x`` at positions ``index`` of ``axis``."""
    return xp.index_get(x, (index,), (axis,)) if x.ndim else xp.broadcast_to(x, ()).copy()


index_select.derivative(
    x=lambda xp, g, x_shape, index, axis: xp.index_add(xp.zeros(x_shape, dtype=g.dtype), index, g, axis)
)
index_select.tangent(lambda xp, t_x, index, axis: xp.index_select(t_x, index, axis))


@index_select.batching
def _index_select_batched(apply, size, arrays, dims, axis):
    x, index = arrays
    if dims[1] is None:
        x = x.movedim(dims[0], 0)
        if x.ndim == 1:
            return x, 0
        return apply(x, index, axis + 1), 0
    if x.ndim == (dims[0] is not None):  # of a number, the one position that it has
        return (x if dims[0] is not None else x.expand(size)), 0
    return _get_batched(size, (x, index), dims, (axis,))


@primitive
def index_add(xp, x, index, values, /, axis):
    """``x`` with the slices of ``values`` added at positions ``index`` of ``axis``."""
    return xp.index_add(x, index, values, axis)


index_add.derivative(
    x=lambda g, axis: g,
    values=lambda xp, g, values_shape, index, axis: xp.reshape(_slices(xp, g, index, axis), values_shape),
)


def _slices(xp: Any, g: Any, index: Any, axis: int) -> Any:
    """The slices of ``g`` at ``index``; a 0-d array has one, as often as asked for."""
    if g.ndim:
        return xp.index_select(g, index, axis)
    return xp.broadcast_to(g, tuple(index.shape))


@primitive
def index_copy(xp, x, index, values, /, axis):
    """``x`` with the slices of ``values`` at positions ``index`` of ``axis``."""
    return xp.index_copy(x, index, values, axis)


index_copy.derivative(
    x=lambda xp, g, index, axis: xp.index_fill(g, index, axis, 0),
    values=lambda xp, g, values_shape, index, axis: xp.reshape(_slices(xp, g, index, axis), values_shape),
)


@primitive(grad="IndexFillBackward0")
def index_fill(xp, x, index, /, axis, value):
    """``x`` with one number at positions ``index`` of ``axis``."""
    return xp.index_fill(x, index, axis, value)


index_fill.derivative(x=lambda xp, g, index, axis: xp.index_fill(g, index, axis, 0))
index_fill.tangent(lambda xp, t_x, index, axis: xp.index_fill(t_x, index, axis, 0))


@primitive(grad="IndexFillBackward1")
def index_fill_with(xp, x, index, value, /, axis):
    """``x`` with a 0-d array at positions ``index`` of ``axis``."""
    return xp.index_fill(x, index, axis, value)


index_fill_with.derivative(
    x=lambda xp, g, index, axis: xp.index_fill(g, index, axis, 0),
    value=lambda xp, g, index, axis: xp.sum(g - xp.index_fill(g, index, axis, 0)),
)


@primitive
def index_reduce(xp, x, index, values, /, axis, reduce, include_self=True):
    """``x`` with the slices of ``values`` reduced into positions ``index`` of ``axis``."""
    return xp.index_reduce(x, index, values, axis, reduce, include_self)


def _index_reduce_back(xp, g, x, index, values, out, axis, reduce, include_self):
    ways = _Slices(xp, index, axis)
    return _reduce_back(xp, g, x, values, out, ways, ways.take, reduce, include_self)


index_reduce.derivative(
    x=lambda xp, g, x, index, values, out, axis, reduce, include_self: _index_reduce_back(
        xp, g, x, index, values, out, axis, reduce, include_self
    )[0],
    values=lambda xp, g, x, index, values, out, axis, reduce, include_self: _index_reduce_back(
        xp, g, x, index, values, out, axis, reduce, include_self
    )[1],
)


def _slicewise(apply: Any, size: int, arrays: Any, dims: Any, axis: int, *rest: Any) -> Any:
    """The batching rule of what works slice by slice: with an index for each example, the batch joins the axis."""
    x, index, *values = [
        _moved(a, d, size) if k != 1 or d is not None else a for k, (a, d) in enumerate(zip(arrays, dims))
    ]
    scalar = x.ndim == 1
    if scalar:
        x = x.unsqueeze(1)
        values = [v if v.ndim > 1 else v.unsqueeze(1) for v in values]
        axis = 0
    if dims[1] is None:
        out = apply(x, index, *values, axis + 1, *rest)
        return (out.squeeze(1) if scalar else out), 0
    x = x.movedim(axis + 1, 1)
    n = x.shape[1]
    rows = index + (x.new_tensor(range(size), dtype=index.dtype) * n).unsqueeze(1)
    values = [v.movedim(axis + 1, 1).flatten(0, 1) for v in values]
    out = apply(x.flatten(0, 1), rows.flatten(), *values, 0, *rest)
    out = out.unflatten(0, (size, -1)).movedim(1, axis + 1)
    return (out.squeeze(1) if scalar else out), 0


for _slicing in (index_add, index_copy, index_fill, index_reduce):
    _slicing.batching(_slicewise)


@index_fill_with.batching
def _index_fill_batched(apply, size, arrays, dims, axis):
    x, value = _moved(arrays[0], dims[0], size), _moved(arrays[2], dims[2], size)
    index = _moved(arrays[1], dims[1], size)
    n = x.shape[axis + 1] if x.ndim > 1 else 1
    filled = index.new_zeros((size, n)).scatter(1, index.remainder(n), 1) > 0
    shape = [size] + [1] * (x.ndim - 1)
    if x.ndim > 1:
        shape[axis + 1] = n
    return value.reshape((size,) + (1,) * (x.ndim - 1)).where(filled.reshape(shape), x), 0


# The flattened array


@primitive(name="take_flat", grad="Take")
def take_flat(xp, x, index, /):
    """Elements of the flattened ``x``."""
    return xp.take_flat(x, index)


take_flat.derivative(x=lambda xp, g, x_shape, index: xp.put(xp.zeros(x_shape, dtype=g.dtype), index, g, True))
take_flat.tangent(lambda xp, t_x, index: xp.take_flat(t_x, index))


@primitive
def put(xp, x, index, values, /, accumulate=False):
    """``x`` with ``values`` put, or added, at positions of its flattening."""
    return xp.put(x, index, values, accumulate)


put.derivative(
    x=lambda xp, g, index, accumulate: (
        g if accumulate else xp.put(g, index, xp.zeros(tuple(index.shape), dtype=g.dtype), False)
    ),
    values=lambda xp, g, values_shape, index: xp.reshape(xp.take_flat(g, index), values_shape),
)


@take_flat.batching
def _take_batched(apply, size, arrays, dims):
    x, index = arrays
    if dims[0] is None:
        return apply(x, index.movedim(dims[1], 0)), 0
    x = x.movedim(dims[0], 0).reshape((size, -1))
    if dims[1] is None:
        return x.index_at((index,), (1,)), 0
    index = index.movedim(dims[1], 0)
    rows = x.new_tensor(range(size), dtype=index.dtype).reshape((size,) + (1,) * (index.ndim - 1))
    return x.index_at((rows, index), (0, 1)), 0


@put.batching
def _put_batched(apply, size, arrays, dims, accumulate):
    x, index, values = (_moved(a, d, size) for a, d in zip(arrays, dims))
    n = product(x.shape[1:])
    index = index.reshape((size, -1))
    index = index % n + (index.new_tensor(range(size)) * n).unsqueeze(1) if n else index
    return apply(x, index, values.reshape((size, -1)), accumulate), 0
