"""Reading and writing under masks, and views' places filled as new arrays.

In: arrays, masks of bool that broadcast with them, normalised axes. Out: a new array each.
"""

from __future__ import annotations

from math import prod as product
from typing import Any

from .indexing import _aligned, _moved
from .primitive import Primitive, linear, primitive
from .shape import sum_to

# Masks


@primitive(grad="MaskedFillBackward0")
def masked_fill(xp, x, mask, /, value):
    """``x`` with one number where the mask is true."""
    return xp.where(mask, xp.asarray(value, dtype=x.dtype), x)


masked_fill.derivative(x=lambda xp, g, x_shape, mask: sum_to(xp, xp.masked_fill(g, mask, 0), x_shape))
masked_fill.tangent(lambda xp, t_x, mask: xp.masked_fill(t_x, mask, 0))


@primitive(grad="MaskedFillBackward1")
def masked_fill_with(xp, x, mask, value, /):
    """``x`` with a 0-d array where the mask is true."""
    return xp.where(mask, xp.astype(value, x.dtype), x)


masked_fill_with.derivative(
    x=lambda xp, g, x_shape, mask: sum_to(xp, xp.masked_fill(g, mask, 0), x_shape),
    value=lambda xp, g, mask: xp.sum(xp.where(mask, g, xp.zeros_like(g))),
)


def _aligned_pair(size: int, arrays: Any, dims: Any) -> Any:
    """Operands that broadcast, with batch dimensions first and sizes of 1 between them and the rest."""
    moved = [a if d is None else a.movedim(d, 0) for a, d in zip(arrays, dims)]
    n = max(a.ndim - (d is not None) for a, d in zip(moved, dims))
    return [a if d is None else _aligned(a, n) for a, d in zip(moved, dims)]


masked_fill.batching(lambda apply, size, arrays, dims, value: (apply(*_aligned_pair(size, arrays, dims), value), 0))


@masked_fill_with.batching
def _masked_fill_with_batched(apply, size, arrays, dims):
    if dims[2] is None:
        return apply(*_aligned_pair(size, arrays[:2], dims[:2]), arrays[2]), 0
    x, mask, value = arrays
    x, mask = _moved(x, dims[0], size), _moved(mask, dims[1], size)
    n = max(x.ndim, mask.ndim) - 1
    x, mask, value = (_aligned(a, n) for a in (x, mask, value.movedim(dims[2], 0)))
    return value.to(x.dtype).where(mask, x), 0


@primitive
def masked_select(xp, x, mask, /):
    """The elements of ``x`` where the mask is true, in a row."""
    shape = mask.shape
    if x.shape != shape:
        shape = xp.broadcast_shape(x.shape, shape)
        x, mask = xp.broadcast_to(x, shape), xp.broadcast_to(mask, shape)
    return x[mask]


masked_select.derivative(
    x=lambda xp, g, x_shape, mask: sum_to(xp, xp.masked_put(g, _mask_over(xp, mask, x_shape)), x_shape)
)
masked_select.tangent(lambda xp, t_x, mask: xp.masked_select(t_x, mask))


@masked_select.batching
def _masked_select_batched(apply, size, arrays, dims):
    if dims[1] is not None:
        raise RuntimeError(
            "vmap: Attempted to vmap over `mask` in torch.masked_select(self, mask) We cannot support this because for "
            "each batch this would return a differently shaped Tensor."
        )
    x, mask = _aligned_pair(size, arrays, dims)
    whole = x.shape[1:]  # as many dimensions as the mask at least
    lined = (1,) * (len(whole) - mask.ndim) + tuple(mask.shape)
    mask = mask.expand((size, *[m if n == 1 else n for n, m in zip(whole, lined)]))
    return apply(x, mask).reshape((size, -1)), 0


def _mask_over(xp: Any, mask: Any, shape: tuple[int, ...]) -> Any:
    """The mask broadcast together with ``shape``."""
    own = tuple(mask.shape)
    n = max(len(own), len(shape))
    a, b = (1,) * (n - len(own)) + own, (1,) * (n - len(shape)) + shape
    return xp.broadcast_to(mask, tuple([i if j == 1 else j for i, j in zip(a, b)]))


@linear
def masked_put(xp, g, mask, /):
    """Zeros of the shape of the mask with the elements of ``g``, in order, where it is true."""
    return xp.masked_put(g, mask)


masked_put.derivative(g=lambda xp, g, mask: xp.masked_select(g, mask))
# (Each example has as many elements as its mask has places, so that a row of all is in order.)
masked_put.batching(
    lambda apply, size, arrays, dims: (
        apply(_moved(arrays[0], dims[0], size).reshape((-1,)), _moved(arrays[1], dims[1], size)),
        0,
    )
)


@primitive
def masked_scatter(xp, x, mask, source, /):
    """``x`` with the first elements of ``source``, in order, where the mask is true."""
    shape = xp.broadcast_shape(x.shape, mask.shape)
    return xp.masked_scatter(xp.broadcast_to(x, shape), xp.broadcast_to(mask, shape), source)


def _masked_source_back(xp, g, mask, source_shape):
    got = xp.masked_select(g, mask)
    n, want = got.shape[0], product(source_shape)
    if n < want:
        got = xp.constant_pad(got, ((0, want - n),), 0)
    return xp.reshape(got, source_shape)


masked_scatter.derivative(
    x=lambda xp, g, x_shape, mask: sum_to(xp, xp.masked_fill(g, mask, 0), x_shape), source=_masked_source_back
)


@masked_scatter.batching
def _masked_scatter_batched(apply, size, arrays, dims):
    x, mask = _aligned_pair(size, arrays[:2], dims[:2])
    x, mask = x + x.new_zeros(mask.shape), mask | mask.new_zeros(x.shape)  # both in full shape
    if dims[0] is None and dims[1] is None:
        x, mask = (a.expand((size, *a.shape)) for a in (x, mask))
    source = _moved(arrays[2], dims[2], size).reshape((size, -1))
    flat = mask.reshape((size, -1))
    nth = (flat.cumsum(1) - 1).clamp(min=0)
    picked = source.gather(1, nth.clamp(max=max(source.shape[1] - 1, 0))).reshape(x.shape) if source.shape[1] else x
    return picked.where(mask, x), 0


@primitive(several=True, nondiff="out")
def nonzero(xp, x, /):
    """The positions of elements that are not zero, an array for each dimension."""
    return xp.nonzero(x if x.ndim else x.reshape(1))


@nonzero.batching
def _nonzero_batched(apply, size, arrays, dims):
    raise RuntimeError(
        "vmap: We do not support batching operators that can output dynamic shape. Attempted to vmap over aten::nonzero."
    )


# A view's place filled, as a new array


def _scatter_into(name: str, run: Any, grad: str, zero: Any, part: Any) -> Primitive:
    """A primitive that gives ``x`` with ``source`` where a view would look: ``zero`` and ``part`` are the rules."""
    made = linear(run, name=name, grad=grad, axes="axis axis1 axis2")
    made.derivative(x=zero, source=part)
    made.tangent_kind = "derived"
    return made


def _select_scatter(xp, x, source, /, axis, index):
    out = xp.rowmajor(x)
    xp.select(out, axis, index)[...] = source
    return out


def _slice_scatter(xp, x, source, /, axis, start, stop, step):
    out = xp.rowmajor(x)
    xp.slice_axis(out, axis, start, stop, step)[...] = source
    return out


def _diagonal_scatter(xp, x, source, /, offset, axis1, axis2):
    out = xp.rowmajor(x)
    xp.diagonal(out, offset, axis1, axis2)[...] = source
    return out


def _zeros_in(g: Any, xp: Any, shape: Any) -> Any:
    return xp.zeros(shape, dtype=g.dtype)


select_scatter = _scatter_into(
    "select_scatter",
    _select_scatter,
    "SelectScatter",
    lambda xp, g, source_shape, axis, index: xp.select_scatter(g, _zeros_in(g, xp, source_shape), axis, index),
    lambda xp, g, axis, index: xp.select(g, axis, index),
)
slice_scatter = _scatter_into(
    "slice_scatter",
    _slice_scatter,
    "SliceScatter",
    lambda xp, g, source_shape, axis, start, stop, step: xp.slice_scatter(
        g, _zeros_in(g, xp, source_shape), axis, start, stop, step
    ),
    lambda xp, g, axis, start, stop, step: xp.slice_axis(g, axis, start, stop, step),
)
diagonal_scatter = _scatter_into(
    "diagonal_scatter",
    _diagonal_scatter,
    "DiagonalScatter",
    lambda xp, g, source_shape, offset, axis1, axis2: xp.diagonal_scatter(
        g, _zeros_in(g, xp, source_shape), offset, axis1, axis2
    ),
    lambda xp, g, offset, axis1, axis2: xp.diagonal(g, offset, axis1, axis2),
)
