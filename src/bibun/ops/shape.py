"""Views: primitives whose output looks at their input's memory, and the linear maps that are their derivatives.

In: arrays, with axes as non-negative integers and slices already clipped (the public functions check and normalise).
Out: views (family ``view``), or for the ``…_backward`` maps arrays of zeros with the gradient put in its place.
"""

from __future__ import annotations

from math import prod as product
from typing import Any

from ..errors import check_strided_example
from .primitive import linear, primitive, view


def inverse_permutation(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that undo a permutation."""
    back = [0] * len(axes)
    for i, a in enumerate(axes):
        back[a] = i
    return tuple(back)


def sum_to(xp: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """``g``, the gradient of a broadcast array, summed down to the shape it was broadcast from."""
    extra = g.ndim - len(shape)
    axes = (*range(extra), *[i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1])
    if not axes:
        return g
    g = xp.sum(g, axis=axes)
    return g if tuple(g.shape) == shape else xp.reshape(g, shape)


def array_dtype(x: Any) -> Any:
    """The array dtype of an array, or of a tensor, which knows its dtype under another name."""
    d = x.dtype
    return getattr(d, "np", d)


def recast(xp: Any, g: Any, dtype: Any) -> Any:
    """``g`` in the dtype of the input it is the gradient of: the real part where that is real."""
    dtype = getattr(dtype, "np", dtype)
    return xp.astype(xp.real(g) if array_dtype(g).kind == "c" and dtype.kind != "c" else g, dtype)


# One shape as another


@view(grad="Expand", shapes="shape")
def broadcast_to(xp, x, /, shape):
    """``x`` repeated along new leading dimensions and along dimensions of size 1."""
    return xp.broadcast_to(x, shape)


broadcast_to.derivative(x=lambda xp, g, x_shape: sum_to(xp, g, x_shape))


@broadcast_to.batching
def _broadcast_batched(apply, size, arrays, dims, shape):
    x, d = arrays[0], dims[0]
    if d:
        x = x.movedim(d, 0)
    missing = len(shape) - (x.ndim - 1)
    if missing:
        x = x.reshape((size,) + (1,) * missing + tuple(x.shape[1:]))
    return apply(x, shape=(size, *shape)), 0


@view(name="view", shapes="shape")
def view_(xp, x, /, shape):
    """``x`` in another shape, of the same memory; an error where that cannot be."""
    return xp.view(x, shape)


view_.derivative(x=lambda xp, g, x_shape: xp.reshape(g, x_shape))
#: `reshape` of what is not contiguous and can be a view all the same.
reshape_alias = view_.named("ReshapeAliasBackward0")


@linear(grad="UnsafeView", shapes="shape")
def reshape(xp, x, /, shape):
    """``x`` in another shape; what rules use, who need not know whether memory is shared."""
    return xp.reshape(x, shape)


reshape.derivative(x=lambda xp, g, x_shape: xp.reshape(g, x_shape))


@view(grad="Permute", axes="axes")
def permute_dims(xp, x, /, axes):
    """The dimensions in the order ``axes``."""
    return xp.permute_dims(x, axes)


permute_dims.derivative(x=lambda xp, g, axes: xp.permute_dims(g, inverse_permutation(axes)))


#: The same with two dimensions exchanged, under the names of PyTorch's nodes.
transpose = permute_dims.named("TransposeBackward0")
transpose_2d = permute_dims.named("TBackward0")


@view(grad="Unsqueeze", axes="axis")
def expand_dims(xp, x, /, axis):
    """A new dimension of size 1 at ``axis``."""
    return xp.expand_dims(x, axis)


expand_dims.derivative(x=lambda xp, g, axis: xp.squeeze(g, axis))


@view
def squeeze(xp, x, /, axis=None):
    """Without the dimensions of size 1 (None: all; an integer or a tuple: those, where they are of size 1)."""
    return xp.squeeze(x, axis)


squeeze.derivative(x=lambda xp, g, x_shape: xp.reshape(g, x_shape))


@squeeze.batching
def _squeeze_batched(apply, size, arrays, dims, axis):
    d, shape = dims[0], arrays[0].shape
    asked = range(len(shape) - 1) if axis is None else (axis,) if isinstance(axis, int) else axis
    gone = tuple(a for a in (a + (a >= d) for a in asked) if shape[a] == 1)
    return apply(arrays[0], axis=gone), d - sum(a < d for a in gone)


squeeze_one = squeeze.named("SqueezeBackward1")
squeeze_some = squeeze.named("SqueezeBackward2")


# Parts


@view(axes="axis")
def select(xp, x, /, axis, index):
    """The part of ``x`` at one position of ``axis``, which disappears."""
    return xp.select(x, axis, index)


select.derivative(x=lambda xp, g, x_shape, axis, index: xp.select_backward(g, x_shape, axis, index))


@linear(shapes="shape", axes="axis")
def select_backward(xp, g, /, shape, axis, index):
    """Zeros of the given shape with ``g`` at one position of ``axis``."""
    return xp.select_backward(g, shape, axis, index)


select_backward.derivative(g=lambda xp, g, axis, index: xp.select(g, axis, index))


@view(grad="Slice", axes="axis")
def slice_axis(xp, x, /, axis, start, stop, step=1):
    """Positions ``start:stop:step`` of one axis."""
    return xp.slice_axis(x, axis, start, stop, step)


slice_axis.derivative(
    x=lambda xp, g, x_shape, axis, start, stop, step: xp.slice_backward(g, x_shape, axis, start, stop, step)
)


@linear(shapes="shape", axes="axis")
def slice_backward(xp, g, /, shape, axis, start, stop, step):
    """Zeros of the given shape with ``g`` at positions ``start:stop:step`` of ``axis``."""
    return xp.slice_backward(g, shape, axis, start, stop, step)


slice_backward.derivative(g=lambda xp, g, axis, start, stop, step: xp.slice_axis(g, axis, start, stop, step))


@view(axes="axis1 axis2")
def diagonal(xp, x, /, offset=0, axis1=0, axis2=1):
    """The diagonal of two dimensions, as a last dimension in their place."""
    return xp.diagonal(x, offset, axis1, axis2)


diagonal.derivative(
    x=lambda xp, g, x_shape, offset, axis1, axis2: xp.diagonal_backward(g, x_shape, offset, axis1, axis2)
)


@linear(grad="DiagonalBackward0_copy0", axes="axis1 axis2")
def diagonal_copy(xp, x, /, offset=0, axis1=0, axis2=1):
    """A copy of the diagonal of two dimensions: `torch.diag` of a matrix."""
    return xp.rowmajor(xp.diagonal(x, offset, axis1, axis2))


diagonal_copy.grad_name = "DiagonalBackward0_copy"
diagonal_copy.derivative(
    x=lambda xp, g, x_shape, offset, axis1, axis2: xp.diagonal_backward(g, x_shape, offset, axis1, axis2)
)


@linear(shapes="shape", axes="axis1 axis2")
def diagonal_backward(xp, g, /, shape, offset, axis1, axis2):
    """Zeros of the given shape with ``g`` on the diagonal of two dimensions."""
    return xp.diagonal_backward(g, shape, offset, axis1, axis2)


diagonal_backward.derivative(g=lambda xp, g, offset, axis1, axis2: xp.diagonal(g, offset, axis1, axis2))


@view
def unfold(xp, x, /, axis, size, step):
    """Windows along ``axis``; the place in the window is a new last dimension."""
    return xp.unfold(x, axis, size, step)


@unfold.batching
def _unfold_batched(apply, size, arrays, dims, axis, window, step):
    x = arrays[0].movedim(dims[0], 0)
    return (x.unsqueeze(1).narrow(1, 0, window) if x.ndim == 1 else apply(x, axis + 1, window, step)), 0


unfold.derivative(x=lambda xp, g, x_shape, axis, size, step: xp.unfold_backward(g, x_shape, axis, size, step))


@linear
def unfold_backward(xp, g, /, shape, axis, size, step):
    """Windows added back to where `unfold` took them from."""
    return xp.unfold_backward(g, shape, axis, size, step)


@unfold_backward.batching
def _unfold_back_batched(apply, size, arrays, dims, shape, axis, window, step):
    g = arrays[0].movedim(dims[0], 0)
    return (apply(g, (size, *shape), axis + 1, window, step) if shape else g.sum(1)), 0


unfold_backward.derivative(g=lambda xp, g, axis, size, step: xp.unfold(g, axis, size, step))


@view
def as_strided(xp, x, /, shape, strides, offset, own_strides):
    """The memory of ``x`` with given strides, in elements; the offset counts from the first element of ``x``, whose own
    strides stand in ``own_strides``."""
    return xp.as_strided(x, shape, strides, offset)


as_strided.derivative(
    x=lambda xp, g, x_shape, shape, strides, offset, own_strides: xp.restride(
        g, x_shape, shape, strides, offset, own_strides
    )
)


@as_strided.batching
def _as_strided_batched(apply, size, arrays, dims, shape, strides, offset, own_strides):
    own = tuple(arrays[0].stride())
    d = dims[0]
    sizes = arrays[0].shape[:d] + arrays[0].shape[d + 1 :]
    check_strided_example(shape, strides, offset, sizes, own_strides, arrays[0].storage_offset())
    if all(s == t or n == 1 for s, t, n in zip(own[:d] + own[d + 1 :], own_strides, sizes)):  # memory as the program saw it
        return apply(arrays[0], (size, *shape), (own[d], *strides), offset, own), 0
    n = product(arrays[0].shape) // max(size, 1)
    x = laid_out(arrays[0].movedim(dims[0], 0).clone(), (n, *own_strides))  # each example in memory of its own
    return apply(x, (size, *shape), (n, *strides), offset, (n, *own_strides)), 0


def laid_out(x: Any, strides: tuple[int, ...]) -> Any:
    """``x`` (of tensors) with its dimensions in memory in the order of these strides, without gaps; itself where it is so."""
    order = sorted(range(x.ndim), key=lambda i: -strides[i])
    back = tuple(sorted(range(x.ndim), key=order.__getitem__))
    return x.permute(tuple(order)).contiguous().permute(back)


@as_strided.tangent
def _as_strided_tangent(xp, t_x, shape, strides, offset, own_strides):
    """The tangent's elements lie in memory as those of ``x``."""
    if tuple(t_x.stride()) != own_strides:
        t_x = laid_out(t_x, own_strides)
    return xp.as_strided(t_x, shape, strides, offset, tuple(t_x.stride()))


@linear
def restride(xp, g, /, to_shape, shape, strides, offset, to_strides):
    """The gradient through memory: ``g``, laid out by (shape, strides, offset), added into memory and read with the layout
    (to_shape, to_strides, 0); a place that the second layout names n times gives each 1/n of what it holds."""
    return xp.restride(g, to_shape, shape, strides, offset, to_strides)


restride.derivative(
    g=lambda xp, g, to_shape, shape, strides, offset, to_strides: xp.restride_backward(
        g, to_shape, shape, strides, offset, to_strides
    )
)


@linear
def restride_backward(xp, g, /, to_shape, shape, strides, offset, to_strides):
    """The transpose of `restride`."""
    return xp.restride_backward(g, to_shape, shape, strides, offset, to_strides)


def _restride_batched(
    apply: Any, size: int, arrays: Any, dims: Any, to_shape: Any, shape: Any, strides: Any, offset: int, to_strides: Any
) -> Any:
    """Memory for each example, one after another."""
    high = max(
        offset + sum([(n - 1) * s for n, s in zip(shape, strides)]),
        sum([(n - 1) * s for n, s in zip(to_shape, to_strides)]),
    )
    n = max(high, 0) + 1 + max(-offset, 0)
    g = arrays[0].movedim(dims[0], 0)
    return apply(g, (size, *to_shape), (size, *shape), (n, *strides), offset, (n, *to_strides)), 0


restride.batching(_restride_batched)
restride_backward.batching(_restride_batched)
restride_backward.derivative(
    g=lambda xp, g, to_shape, shape, strides, offset, to_strides: xp.restride(
        g, to_shape, shape, strides, offset, to_strides
    )
)


# Several parts


@view(several=True, axes="axis")
def unbind(xp, x, /, axis):
    """All parts along ``axis``, which disappears."""
    return xp.unbind(x, axis)


unbind.derivative(x=lambda xp, g, axis: xp.stack(g, axis))


@view(several=True, axes="axis")
def split_with_sizes(xp, x, /, sizes, axis):
    """Consecutive parts of the given sizes along ``axis``."""
    return xp.split_with_sizes(x, sizes, axis)


split_with_sizes.derivative(x=lambda xp, g, axis: xp.concat(g, axis))
#: Parts of one size.
split = split_with_sizes.named("SplitBackward0")


# Complex and real


@view
def view_as_real(xp, x, /):
    """Complex numbers as pairs of reals in a new last dimension."""
    return xp.view_as_real(x)


view_as_real.derivative(x=lambda xp, g: xp.complex_from_pairs(g))


@view
def view_as_complex(xp, x, /):
    """Pairs of reals in the last dimension as complex numbers."""
    return xp.view_as_complex(x)


view_as_complex.derivative(x=lambda xp, g: xp.view_as_real(g))


@linear
def complex_from_pairs(xp, x, /):
    """`view_as_complex` for memory of any layout."""
    return xp.view_as_complex(xp.contiguous(x))


complex_from_pairs.derivative(x=lambda xp, g: xp.view_as_real(g))


@linear
def real(xp, x, /):
    """The real part; a real array itself."""
    return x.real if x.dtype.kind == "c" else x


real.derivative(x=lambda xp, g, x_dtype: xp.as_complex(g) if x_dtype.kind == "c" else g)


@linear
def imag(xp, x, /):
    """The imaginary part; zeros for a real array."""
    return x.imag if x.dtype.kind == "c" else xp.zeros_like(x)


imag.derivative(x=lambda xp, g, x_dtype: xp.as_complex(g) * 1j if x_dtype.kind == "c" else xp.zeros_like(g))


@linear
def as_complex(xp, x, /):
    """Real numbers as complex ones of the same precision."""
    return xp.astype(x, xp.complex128 if x.dtype == xp.float64 else xp.complex64) if x.dtype.kind != "c" else x


as_complex.derivative(x=lambda xp, g, x_dtype: xp.real(g) if x_dtype.kind != "c" else g)

for _unary in (view_as_real, view_as_complex, complex_from_pairs, real, imag, as_complex):
    _unary.batching(lambda apply, size, arrays, dims: (apply(arrays[0]), dims[0]))
# The pair of reals stays behind a batch dimension wherever that stands, but for the last place.
complex_from_pairs.batching(lambda apply, size, arrays, dims: (apply(arrays[0].movedim(dims[0], 0)), 0))


def _complex_examples(apply, size, arrays, dims):
    """A view where the numbers of each pair stand side by side; of a batch that stands between them, a copy."""
    x = arrays[0].movedim(dims[0], 0)
    *strides, last = x.stride()
    return apply(x if last == 1 and not any(s % 2 for s in strides) else x.contiguous()), 0


view_as_complex.batching(_complex_examples)


@view
def alias(xp, x, /):
    """``x`` itself."""
    return x.view()


alias.derivative(x=lambda g: g)
alias.batching(lambda apply, size, arrays, dims: (apply(arrays[0]), dims[0]))


@primitive(name="view_dtype", nondiff="out")
def view_dtype(xp, x, /, dtype):
    """The same bytes as another dtype: not differentiable."""
    return xp.view_dtype(x, dtype)


view_dtype.family = "view"
view_dtype.batching(
    lambda apply, size, arrays, dims, dtype: (apply(arrays[0].movedim(dims[0], 0).contiguous(), dtype), 0)
)


@linear(grad="Clone")
def rowmajor(xp, x, /):
    """A copy in row-major memory."""
    return xp.rowmajor(x)


rowmajor.derivative(x=lambda g: g)
rowmajor.batching(lambda apply, size, arrays, dims: (apply(arrays[0].movedim(dims[0], 0)), 0))
