"""What an in-place write leaves of the old value in the graph: fills and copies as primitives of the tensor written to.

The old value's gradient is zero; the new value's passes. The write itself is done by the floor above.
"""

from __future__ import annotations

from .primitive import primitive
from .shape import array_dtype, recast, sum_to


@primitive(tangent="linear")
def zero(xp, x):
    """Zeros in the shape of ``x``."""
    return xp.zeros_like(x)


zero.derivative(x=lambda xp, g: xp.zeros_like(g))
zero.batching(lambda apply, size, arrays, dims: (apply(arrays[0]), dims[0]))


@primitive
def fill(xp, x, value):
    """``value``, a 0-d array, in the shape of ``x``."""
    return xp.full_like(x, xp.astype(value, x.dtype)) if value is not None else xp.zeros_like(x)


fill.derivative(x=lambda xp, g: xp.zeros_like(g), value=lambda xp, g: xp.sum(g))
fill.tangent(lambda xp, x, t_value, x_shape: None if t_value is None else xp.broadcast_to(t_value, x_shape))


def _in_front(size, a, d):
    return a.expand((size, *a.shape)) if d is None else a.movedim(d, 0)


@fill.batching
def _fill_batched(apply, size, arrays, dims):
    x, value = arrays
    if dims[1] is None:
        return apply(x, value), dims[0]
    x = _in_front(size, x, dims[0])
    return value.reshape((size,) + (1,) * (x.ndim - 1)).to(x.dtype).expand(x.shape).clone(), 0


@primitive(grad="CopyBackwards0")
def copy_into(xp, x, source):
    """``source`` broadcast to the shape of ``x``, in its dtype."""
    return xp.copy(xp.broadcast_to(source, x.shape)).astype(x.dtype, copy=False)


copy_into.grad_name = "CopyBackwards"


def _source_back(xp, g, source_shape, source_dtype):
    g = sum_to(xp, g, source_shape)
    return g if array_dtype(g) == source_dtype else recast(xp, g, source_dtype)


copy_into.derivative(x=lambda xp, g: xp.zeros_like(g), source=_source_back)
copy_into.tangent(lambda xp, t_source, x_shape: None if t_source is None else xp.broadcast_to(t_source, x_shape))


@copy_into.batching
def _copy_into_batched(apply, size, arrays, dims):
    x, source = _in_front(size, arrays[0], dims[0]), arrays[1]
    if dims[1] is not None:
        source = source.movedim(dims[1], 0)
        source = source.reshape((size, *(1,) * (x.ndim - source.ndim), *source.shape[1:]))
    return apply(x, source), 0


@primitive(grad="Bernoulli", nondiff="draw")
def drawn_from(xp, x, draw):
    """``draw``, random numbers whose distribution depends on ``x``: no gradient passes."""
    return xp.copy(draw)


drawn_from.derivative(x=lambda xp, g: xp.zeros_like(g))
drawn_from.batching(
    lambda apply, size, arrays, dims: (apply(*[_in_front(size, a, d) for a, d in zip(arrays, dims)]), 0)
)
