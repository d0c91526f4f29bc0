"""Losses: how far an input is from a target, reduced to a number, and the kernels of their backwards.

In: input and target of one shape and dtype (class numbers as int64 for the likelihood of classes), a weight or None, and
``reduction`` (0: none, 1: mean, 2: sum). Out: the loss. Every backward kernel is a primitive, so that it can be
differentiated again.
"""

from __future__ import annotations

from typing import Any

from .primitive import primitive


def reduced(xp: Any, loss: Any, reduction: int) -> Any:
    """Each loss, their mean or their sum."""
    return loss if not reduction else xp.mean(loss) if reduction == 1 else xp.sum(loss)


def share(g: Any, shape: Any, reduction: int) -> Any:
    """The gradient of each loss, given that of the reduced one."""
    if reduction != 1:
        return g
    n = 1
    for each in shape:
        n *= each
    return g / max(n, 1)


def wide(xp: Any, x: Any) -> Any:
    """``x``, as float32 where it is of a narrow float."""
    return x.astype(xp.float32) if x is not None and x.dtype in xp.NARROW else x


def batched(apply: Any, size: int, arrays: Any, dims: Any, *static: Any) -> Any:
    """The batching rule of elementwise losses that take (arrays; reduction, ...)."""
    rank = max(a.ndim - (d is not None) for a, d in zip(arrays, dims) if a is not None)
    aligned = []
    for a, d in zip(arrays, dims):
        if d is not None:
            a = a.movedim(d, 0)
            a = a.reshape((size, *(1,) * (rank + 1 - a.ndim), *a.shape[1:]))
        aligned.append(a)
    shape = (size, *(next(a for a, d in zip(aligned, dims) if a is not None and d is not None).shape[1:]))
    aligned[:2] = [a.expand(shape) for a in aligned[:2]]
    loss = apply(*aligned, 0, *static[1:])
    axes = tuple(range(1, loss.ndim))
    if static[0] and axes:
        loss = loss.mean(axes) if static[0] == 1 else loss.sum(axes)
    return loss, 0


# Squared error


@primitive
def mse_loss(xp, x, target, /, reduction):
    """(x - target)²."""
    if x.dtype in xp.NARROW:
        return xp.asarray(xp.mse_loss(wide(xp, x), wide(xp, target), reduction)).astype(x.dtype)
    return xp.mse_loss(x, target, reduction)


@primitive(grad="MseLossBackward")
def mse_loss_gradient(xp, grad, x, target, /, reduction):
    """2·grad·(x - target)."""
    return xp.mse_loss_gradient(grad, x, target, reduction)


mse_loss.derivative(x=lambda xp, g, x, target, reduction: xp.mse_loss_gradient(g, x, target, reduction),
                    target=lambda xp, g, x, target, reduction: xp.mse_loss_gradient(g, target, x, reduction))
mse_loss.batching(batched)


def _mse_again(xp, g, grad, x_shape, reduction):
    return g * share(grad * 2, x_shape, reduction)


mse_loss_gradient.derivative(
    grad=lambda xp, g, x, target, reduction: share(
        xp.sum(g * (x - target)) * 2 if reduction else g * (x - target) * 2, tuple(x.shape), reduction),
    x=_mse_again, target=lambda xp, g, grad, x_shape, reduction: -_mse_again(xp, g, grad, x_shape, reduction))


# Likelihood of classes


@primitive
def nll_loss(xp, x, target, weight, /, ignore_index, reduction):
    """Minus the weighted log-probability at each target class; linear in x."""
    if x.dtype in xp.NARROW:
        return xp.asarray(xp.nll_loss(wide(xp, x), target, wide(xp, weight), ignore_index, reduction)).astype(x.dtype)
    return xp.nll_loss(x, target, weight, ignore_index, reduction)


@primitive(grad="NllLossBackward")
def nll_loss_gradient(xp, grad, target, weight, /, shape, ignore_index, reduction):
    """The transpose of `nll_loss`."""
    return xp.nll_loss_gradient(grad, target, wide(xp, weight) if weight is not None and weight.dtype != grad.dtype else weight,
                                shape, ignore_index, reduction)


nll_loss.derivative(x=lambda xp, g, x_shape, target, weight, ignore_index, reduction: xp.nll_loss_gradient(
    g, target, weight, x_shape, ignore_index, reduction))
nll_loss.tangent(lambda xp, t_x, target, weight, ignore_index, reduction: xp.nll_loss(t_x, target, weight, ignore_index, reduction))
nll_loss_gradient.derivative(grad=lambda xp, g, target, weight, ignore_index, reduction: xp.nll_loss(g, target, weight, ignore_index, reduction))
nll_loss2d = nll_loss.named("NllLoss2DBackward0")
