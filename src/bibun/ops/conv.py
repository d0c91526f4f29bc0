"""Convolutions, transposed convolutions, the gradient of a convolution's weight, and windows as columns.

In: images (N, C, *), a weight (O, C / groups, *kernel) (transposed: (C, O / groups, *kernel)), a bias (O,) or None, and
for each spatial dimension stride, padding, dilation, and output padding (transposed only). Out: images (N, O, *).

A convolution is linear in images and in weight. Its transpose in the images is the transposed convolution, and the
other way round; its transpose in the weight is `convolution_weight_gradient`, which is bilinear again: so these two
primitives are all that derivatives of any order need.
"""

from __future__ import annotations

from typing import Any

from .primitive import primitive


def cut_to(xp: Any, x: Any, shape: Any) -> Any:
    """``x`` without what exceeds ``shape``."""
    for axis, n in enumerate(shape):
        if x.shape[axis] != n:
            x = xp.slice_axis(x, axis, 0, n)
    return x


@primitive(grad="Convolution")
def convolution(xp, x, weight, bias, /, stride, padding, dilation, transposed, output_padding, groups):
    """The sum over channels and kernel of window times weight, plus bias."""
    return xp.convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups)


def backward_images(xp, g, weight, x_shape, stride, padding, dilation, transposed, groups):
    """The gradient in the images, (N, C, *)."""
    weight = weight.conj()
    zero = (0,) * len(stride)
    if transposed:
        made = xp.convolution(g, weight, None, stride, padding, dilation, False, zero, groups)
        return cut_to(xp, made, x_shape)
    # What the windows do not reach of the images.
    rest = tuple(
        [
            n - ((o - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, o, k, s, p, d in zip(x_shape[2:], g.shape[2:], weight.shape[2:], stride, padding, dilation)
        ]
    )
    return xp.convolution(g, weight, None, stride, padding, dilation, True, rest, groups)


def _in_weight(xp, g, x, weight_shape, stride, padding, dilation, transposed, groups):
    x = x.conj()
    first, second = (g, x) if transposed else (x, g)
    return xp.convolution_weight_gradient(first, second, weight_shape, stride, padding, dilation, groups)


convolution.derivative(
    x=backward_images,
    weight=_in_weight,
    bias=lambda xp, g: xp.sum(g, axis=(0, *range(2, g.ndim))),
)


@convolution.tangent
def _tangent(xp, t_x, t_weight, t_bias, x, weight, out, stride, padding, dilation, transposed, output_padding, groups):
    static = (stride, padding, dilation, transposed, output_padding, groups)
    total = None if t_x is None else xp.convolution(t_x, weight, None, *static)
    if t_weight is not None:
        part = xp.convolution(x, t_weight, None, *static)
        total = part if total is None else total + part
    if t_bias is not None:
        part = xp.reshape(t_bias, (*t_bias.shape, *(1,) * len(stride)))
        total = xp.broadcast_to(part, tuple(out.shape)) if total is None else total + part
    return total


def in_groups(size: int, x: Any, dim: Any, axis: int) -> Any:
    """``x`` with its batch dimension (made, if there is none) merged into dimension ``axis``, in front of it."""
    x = x.movedim(dim, axis) if dim is not None else x.unsqueeze(axis).expand((*x.shape[:axis], size, *x.shape[axis:]))
    return x.reshape((*x.shape[:axis], size * x.shape[axis + 1], *x.shape[axis + 2 :]))


@convolution.batching
def _batched(apply, size, arrays, dims, stride, padding, dilation, transposed, output_padding, groups):
    x, weight, bias = arrays
    if dims[1] is None and dims[2] is None:
        out = apply(in_groups(size, x, dims[0], 0), weight, bias)
        return out.reshape((size, -1, *out.shape[1:])), 0
    out = apply(
        in_groups(size, x, dims[0], 1),
        in_groups(size, weight, dims[1], 0),
        None if bias is None else in_groups(size, bias, dims[2], 0),
        groups=groups * size,
    )
    return out.reshape((out.shape[0], size, -1, *out.shape[2:])), 1


@primitive(grad="ConvolutionBackward", tangent="multilinear")
def convolution_weight_gradient(xp, x, grad, /, size, stride, padding, dilation, groups):
    """The sum over images and places of window times output gradient: a weight's gradient, of shape ``size``."""
    return xp.convolution_weight_gradient(x, grad, size, stride, padding, dilation, groups)


convolution_weight_gradient.derivative(
    # Bilinear without conjugates: `backward_images` takes g's, so it is handed the conjugate.
    x=lambda xp, g, grad, x_shape, stride, padding, dilation, groups: backward_images(
        xp, grad.conj(), g.conj(), x_shape, stride, padding, dilation, False, groups
    ),
    grad=lambda xp, g, x, grad_shape, stride, padding, dilation, groups: cut_to(
        xp,
        xp.convolution(x.conj(), g, None, stride, padding, dilation, False, (0,) * len(stride), groups),
        grad_shape,
    ),
)


@convolution_weight_gradient.batching
def _weight_batched(apply, size, arrays, dims, shape, stride, padding, dilation, groups):
    x, grad = [in_groups(size, a, d, 1) for a, d in zip(arrays, dims)]
    out = apply(x, grad, size=(size * shape[0], *shape[1:]), groups=groups * size)
    return out.reshape((size, *shape)), 0


# Windows as columns


@primitive(grad="Im2Col", tangent="linear")
def unfold_windows(xp, x, /, kernel, stride, padding, dilation):
    """The windows of (N, C, *) as columns (N, C · ∏kernel, places)."""
    return xp.unfold_windows(x, kernel, stride, padding, dilation)


@primitive(grad="Col2Im", tangent="linear")
def fold_windows(xp, x, /, size, kernel, stride, padding, dilation):
    """Columns added up to images (N, C, *size)."""
    return xp.fold_windows(x, size, kernel, stride, padding, dilation)


unfold_windows.derivative(
    x=lambda xp, g, x_shape, kernel, stride, padding, dilation: xp.fold_windows(
        g, tuple(x_shape[2:]), kernel, stride, padding, dilation
    )
)
fold_windows.derivative(
    x=lambda xp, g, kernel, stride, padding, dilation: xp.unfold_windows(g, kernel, stride, padding, dilation)
)


def _merged(apply, size, arrays, dims, *static):
    x = arrays[0].movedim(dims[0], 0)
    out = apply(x.reshape((size * x.shape[1], *x.shape[2:])))
    return out.reshape((size, -1, *out.shape[1:])) if out.shape[0] else out.reshape((size, 0, *out.shape[1:])), 0


unfold_windows.batching(_merged)
fold_windows.batching(_merged)
