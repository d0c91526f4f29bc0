"""The linear layer: rows times a weight matrix plus a bias, and the kernels of its gradients.

In: x (..., n), weight (m, n), bias (m,) or None, of one dtype. Out: (..., m). The three products `linear`, `linear_transpose`
and `outer_sum` are each other's derivatives, so that no order of differentiation transposes a matrix.
"""

from __future__ import annotations

import math

from .primitive import primitive


@primitive(grad="Addmm")
def linear(xp, x, weight, bias):
    """``x @ weight.T + bias``."""
    return xp.linear(x, weight, bias)


@primitive(grad="Mm", tangent="multilinear")
def outer_sum(xp, y, x):
    """The sum of the outer products of ``y``'s rows (m,) and ``x``'s rows (n,): the weight's gradient, (m, n)."""
    return xp.outer_sum(y, x)


@primitive(grad="Mm", tangent="multilinear")
def linear_transpose(xp, y, weight):
    """``y @ weight``, for y (..., m): what the layer's transpose makes of rows."""
    return xp.linear_transpose(y, weight)


outer_sum.derivative(
    y=lambda xp, g, x: xp.linear(x.conj(), g, None),
    x=lambda xp, g, y: xp.linear_transpose(y.conj(), g),
)
linear_transpose.derivative(
    y=lambda xp, g, weight: xp.linear(g, weight.conj(), None),
    weight=lambda xp, g, y: xp.outer_sum(y.conj(), g),
)


def _bias_gradient(xp, g, bias_shape):
    extra = tuple(range(g.ndim - len(bias_shape)))
    if bias_shape != tuple(g.shape[len(extra) :]):
        extra += tuple(i + len(extra) for i, n in enumerate(bias_shape) if n == 1 and g.shape[i + len(extra)] != 1)
    return xp.reshape(xp.sum(g, axis=extra), bias_shape) if extra else g


linear.derivative(
    x=lambda xp, g, weight: xp.linear_transpose(g, weight.conj()),
    weight=lambda xp, g, x: xp.outer_sum(g, x.conj()),
    bias=_bias_gradient,
)


def _large(x, weight, bias):
    return x.ndim > 1 and math.prod(x.shape) * weight.shape[0] >= 1 << 22


@linear.jointly(suits=_large)
def _in_all(xp, wanted, g, x, weight, more=None):
    return xp.linear_gradients(g, x, weight, wanted, more)


@linear.tangent
def _linear_tangent(xp, t_x, t_weight, t_bias, x, weight, out):
    total = None
    for part in (
        None if t_x is None else xp.linear(t_x, weight, None),
        None if t_weight is None else xp.linear(x, t_weight, None),
    ):
        if part is not None:
            total = part if total is None else total + part
    if t_bias is not None:
        total = xp.broadcast_to(t_bias, tuple(out.shape)) if total is None else total + t_bias
    return total


@linear.batching
def _linear_batched(apply, size, arrays, dims):
    x, weight, bias = arrays
    if dims[0] is not None:
        x = x.movedim(dims[0], 0)
    if dims[1] is None and dims[2] is None:
        return apply(x, weight, bias), 0
    if dims[0] is None:
        x = x.expand((size, *x.shape))
    weight = weight.movedim(dims[1], 0) if dims[1] is not None else weight.expand((size, *weight.shape))
    rows = x.reshape((size, -1, x.shape[-1])) @ weight.mT
    if bias is not None:
        one = bias.movedim(dims[2], 0) if dims[2] is not None else bias.unsqueeze(0)
        if one.ndim == 2:
            rows = rows + one.unsqueeze(1)
        else:  # a bias that is no vector broadcasts with the whole
            whole = (*x.shape[:-1], weight.shape[1])
            one = one.reshape((one.shape[0], *(1,) * (len(whole) - one.ndim), *one.shape[1:]))
            return rows.reshape(whole) + one, 0
    return rows.reshape((*x.shape[:-1], weight.shape[1])), 0


@outer_sum.batching
def _outer_sum_batched(apply, size, arrays, dims):
    y, x = [a.movedim(d, 0) if d is not None else a.expand((size, *a.shape)) for a, d in zip(arrays, dims)]
    return y.reshape((size, -1, y.shape[-1])).mT @ x.reshape((size, -1, x.shape[-1])), 0


@linear_transpose.batching
def _linear_transpose_batched(apply, size, arrays, dims):
    y, weight = arrays
    if dims[0] is not None:
        y = y.movedim(dims[0], 0)
    if dims[1] is None:
        return apply(y, weight), 0
    weight = weight.movedim(dims[1], 0)
    if dims[0] is None:
        y = y.expand((size, *y.shape))
    rows = y.reshape((size, -1, y.shape[-1])) @ weight
    return rows.reshape((*y.shape[:-1], weight.shape[-1])), 0
