"""Joining and rearranging: primitives that copy elements to other places, all linear.

In: arrays (`concat` and its kin take a sequence of them). Out: a new array. Each one's derivative is the linear map back.
"""

from __future__ import annotations

from typing import Any

from .primitive import linear
from .shape import sum_to


def _pieces(xp: Any, g: Any, shapes: Any, axis: int) -> list[Any]:
    """``g`` cut back into the arrays that `concat` joined; the old form of an empty array, of shape (0,), gets zeros."""
    if any(len(s) != g.ndim for s in shapes):
        kept = iter(xp.split_with_sizes(g, tuple(s[axis] for s in shapes if len(s) == g.ndim), axis))
        return [next(kept) if len(s) == g.ndim else xp.zeros(s, dtype=g.dtype) for s in shapes]
    return list(xp.split_with_sizes(g, tuple(s[axis] for s in shapes), axis))


@linear(variadic=True, grad="Cat", axes="axis")
def concat(xp, arrays, /, axis=0):
    """The arrays one after another along ``axis``."""
    return xp.concat(arrays, axis)


concat.derivative(arrays=lambda xp, g, arrays_shape, axis: _pieces(xp, g, arrays_shape, axis))


@linear(variadic=True, axes="axis")
def stack(xp, arrays, /, axis=0):
    """The arrays side by side along a new ``axis``."""
    return xp.stack(arrays, axis)


stack.derivative(arrays=lambda xp, g, axis: list(xp.unbind(g, axis)))


@linear(variadic=True)
def block_diag(xp, arrays, /):
    """Matrices along the diagonal of a matrix of zeros."""
    return xp.block_diag(arrays)


def _blocks(xp: Any, g: Any, shapes: Any) -> list[Any]:
    out, row, column = [], 0, 0
    for s in shapes:
        n, m = (1, 1) if not s else (1, s[0]) if len(s) == 1 else s
        out.append(xp.reshape(xp.slice_axis(xp.slice_axis(g, 0, row, row + n, 1), 1, column, column + m, 1), s))
        row, column = row + n, column + m
    return out


block_diag.derivative(arrays=lambda xp, g, arrays_shape: _blocks(xp, g, arrays_shape))


@block_diag.batching
def _block_diag_batched(apply, size, arrays, dims):
    blocks = [a.expand((size, *a.shape)) if d is None else a.movedim(d, 0) for a, d in zip(arrays, dims)]
    blocks = [b.reshape((size, 1, -1)) if b.ndim < 3 else b for b in blocks]
    width = sum(b.shape[2] for b in blocks)
    out = blocks[0].new_zeros((size, sum(b.shape[1] for b in blocks), width))
    row = column = 0
    for b in blocks:
        n, m = b.shape[1:]
        wide = b.new_zeros((size, n, width)).slice_scatter(b, 2, column, column + m)
        out = out.slice_scatter(wide, 1, row, row + n)
        row, column = row + n, column + m
    return out, 0


@linear(axes="axis")
def flip(xp, x, /, axis):
    """The order reversed along the axes given."""
    return xp.flip(x, axis)


flip.derivative(x=lambda xp, g, axis: xp.flip(g, axis))


@linear
def roll(xp, x, /, shift, axis):
    """Elements shifted along axes, those pushed out coming in at the other end; ``axis`` None shifts the flattened array."""
    return xp.roll(x, shift, axis)


roll.derivative(x=lambda xp, g, shift, axis: xp.roll(g, tuple(-s for s in shift), axis))


@roll.batching
def _roll_batched(apply, size, arrays, dims, shift, axis):
    x = arrays[0].movedim(dims[0], 0)
    if axis is not None:
        return apply(x, shift, tuple(a + 1 for a in axis)), 0
    return apply(x.reshape((size, -1)), shift, (1,)).reshape(x.shape), 0


@linear(axes="axes")
def rot90(xp, x, /, k, axes):
    """A quarter turn, k times, from the first towards the second of two axes."""
    return xp.rot90(x, k, axes)


rot90.derivative(x=lambda xp, g, k, axes: xp.rot90(g, -k, axes))


@linear(grad="Repeat")
def tile(xp, x, /, repetitions):
    """``x`` repeated as a whole, ``repetitions`` times along each dimension (leading ones may be new)."""
    return xp.tile(x, repetitions)


def _untile(xp: Any, g: Any, shape: tuple[int, ...], repetitions: tuple[int, ...]) -> Any:
    if 0 in repetitions:
        return xp.zeros(shape, dtype=g.dtype)
    extra = len(repetitions) - len(shape)
    split: list[int] = []
    axes: list[int] = []
    for i, n in enumerate(repetitions):
        size = shape[i - extra] if i >= extra else 1
        axes.append(len(split))
        split += [n, size]
    return xp.reshape(xp.sum(xp.reshape(g, tuple(split)), axis=tuple(axes)), shape)


tile.derivative(x=lambda xp, g, x_shape, repetitions: _untile(xp, g, x_shape, repetitions))
tile.batching(
    lambda apply, size, arrays, dims, repetitions: (
        apply(_padded(arrays[0].movedim(dims[0], 0), len(repetitions) + 1), repetitions=(1, *repetitions)),
        0,
    )
)


def _padded(x: Any, ndim: int) -> Any:
    """``x`` with dimensions of size 1 after the first, up to ``ndim``."""
    return x.reshape((x.shape[0],) + (1,) * (ndim - x.ndim) + tuple(x.shape[1:])) if x.ndim < ndim else x


@linear
def tril(xp, x, /, k=0):
    """The lower triangle of the last two dimensions, zeros elsewhere."""
    return xp.tril(x, k)


@linear
def triu(xp, x, /, k=0):
    """The upper triangle of the last two dimensions, zeros elsewhere."""
    return xp.triu(x, k)


tril.derivative(x=lambda xp, g, k: xp.tril(g, k))
triu.derivative(x=lambda xp, g, k: xp.triu(g, k))
for _triangle in (tril, triu):
    _triangle.batching(lambda apply, size, arrays, dims, k: (apply(arrays[0].movedim(dims[0], 0), k=k), 0))


@linear
def trace(xp, x, /):
    """The sum of the diagonal of the last two dimensions."""
    return xp.trace(x)


trace.derivative(
    x=lambda xp, g, x_shape: xp.diagonal_backward(
        xp.broadcast_to(xp.expand_dims(g, g.ndim), (*x_shape[:-2], min(x_shape[-2:]))),
        x_shape,
        0,
        len(x_shape) - 2,
        len(x_shape) - 1,
    )
)
trace.batching(lambda apply, size, arrays, dims: (apply(arrays[0].movedim(dims[0], 0)), 0))


@linear(axes="axis1 axis2")
def diag_embed(xp, x, /, offset=0, axis1=0, axis2=1):
    """Zeros in two dimensions more, with the last dimension of ``x`` on a diagonal of dimensions ``axis1`` and ``axis2``."""
    return xp.diag_embed(x, offset, axis1, axis2)


diag_embed.derivative(x=lambda xp, g, offset, axis1, axis2: xp.diagonal(g, offset, axis1, axis2))


# Padding


def _negative(pad: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    return tuple((-a, -b) for a, b in pad)


def _pad_batched(apply: Any, size: int, arrays: Any, dims: Any, pad: Any, *rest: Any) -> Any:
    return apply(arrays[0].movedim(dims[0], 0), ((0, 0), *pad), *rest), 0


@linear(grad="ConstantPadNd")
def constant_pad(xp, x, /, pad, value=0):
    """``value`` before and after each dimension, as many times as ``pad`` says; a negative number cuts off."""
    return xp.constant_pad(x, pad, value)


constant_pad.derivative(x=lambda xp, g, pad: xp.constant_pad(g, _negative(pad), 0))
# Affine, in truth: the tangent is padded with zeros.
constant_pad.tangent(lambda xp, t_x, pad: xp.constant_pad(t_x, pad, 0))
constant_pad.batching(_pad_batched)


@linear
def pad_from_inside(xp, x, /, pad, mode):
    """Dimensions prolonged by their own elements: ``reflect``ed, the edge ``replicate``d, or ``circular``."""
    return xp.pad_from_inside(x, pad, mode)


pad_from_inside.derivative(x=lambda xp, g, x_shape, pad, mode: xp.pad_back(g, x_shape, pad, mode))
pad_from_inside.batching(_pad_batched)


@linear
def pad_back(xp, g, /, shape, pad, mode):
    """The gradient of `pad_from_inside`: what stands in the margin added to where it came from."""
    return xp.pad_back(g, shape, pad, mode)


pad_back.derivative(g=lambda xp, g, pad, mode: xp.pad_from_inside(g, pad, mode))
pad_back.batching(
    lambda apply, size, arrays, dims, shape, pad, mode: (
        apply(arrays[0].movedim(dims[0], 0), (size, *shape), ((0, 0), *pad), mode),
        0,
    )
)

#: (mode, number of padded dimensions) -> the primitive under the name of PyTorch's node.
PADDING = {("reflect", n): pad_from_inside.named(f"ReflectionPad{n}DBackward0") for n in (1, 2, 3)}
PADDING |= {("replicate", n): pad_from_inside.named(f"ReplicationPad{n}DBackward0") for n in (1, 2, 3)}


# Channels and pixels


@linear
def pixel_shuffle(xp, x, /, factor):
    """(…, C·r², H, W) as (…, C, H·r, W·r)."""
    *lead, c, h, w = x.shape
    n = len(lead)
    x = xp.reshape(x, (*lead, c // (factor * factor), factor, factor, h, w))
    x = xp.permute_dims(x, (*range(n + 1), n + 3, n + 1, n + 4, n + 2))
    return xp.reshape(x, (*lead, c // (factor * factor), h * factor, w * factor))


@linear
def pixel_unshuffle(xp, x, /, factor):
    """(…, C, H·r, W·r) as (…, C·r², H, W)."""
    *lead, c, h, w = x.shape
    n = len(lead)
    x = xp.reshape(x, (*lead, c, h // factor, factor, w // factor, factor))
    x = xp.permute_dims(x, (*range(n + 1), n + 2, n + 4, n + 1, n + 3))
    return xp.reshape(x, (*lead, c * factor * factor, h // factor, w // factor))


pixel_shuffle.derivative(x=lambda xp, g, factor: xp.pixel_unshuffle(g, factor))
pixel_unshuffle.derivative(x=lambda xp, g, factor: xp.pixel_shuffle(g, factor))


@linear(grad="NativeChannelShuffle")
def channel_shuffle(xp, x, /, groups, axis=1):
    """Channels, which stand at ``axis``, dealt out in turn to the groups."""
    shape = x.shape
    c = shape[axis]
    x = xp.reshape(x, (*shape[:axis], groups, c // groups, *shape[axis + 1 :]))
    return xp.reshape(xp.swapaxes(x, axis, axis + 1), shape)


channel_shuffle.derivative(x=lambda xp, g, x_shape, groups, axis: xp.channel_shuffle(g, x_shape[axis] // groups, axis))
channel_shuffle.batching(axes="axis")
for _shuffle in (pixel_shuffle, pixel_unshuffle):
    _shuffle.batching(lambda apply, size, arrays, dims, factor: (apply(arrays[0].movedim(dims[0], 0), factor), 0))

__all__ = [
    "PADDING",
    "block_diag",
    "channel_shuffle",
    "concat",
    "constant_pad",
    "diag_embed",
    "flip",
    "pad_back",
    "pad_from_inside",
    "pixel_shuffle",
    "pixel_unshuffle",
    "roll",
    "rot90",
    "stack",
    "sum_to",
    "tile",
    "trace",
    "tril",
    "triu",
]
