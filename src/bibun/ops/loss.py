"""Losses: how far an input is from a target, reduced to a number, and the kernels of their backwards.

In: input and target of one shape and dtype (class numbers as int64 for the likelihood of classes), a weight or None,
and ``reduction`` (0: none, 1: mean, 2: sum). Out: the loss. Every backward kernel is a primitive, so that it can be
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
    shape = tuple([n for i, n in enumerate(arrays[0].shape) if i != dims[0]])
    aligned[:2] = [a.expand((size, *shape)) for a in aligned[:2]]
    loss = apply(*aligned, reduction=0)
    axes = tuple(range(1, loss.ndim))
    if static[0] and axes:
        loss = loss.mean(axes) if static[0] == 1 else loss.sum(axes)
    return loss, 0


def batched_gradient(apply: Any, size: int, arrays: Any, dims: Any, *static: Any) -> Any:
    """The batching rule of their backward kernels, which take (grad, x, target, ...; reduction, ...)."""
    shape = next(
        tuple(n for i, n in enumerate(a.shape) if i != d) for a, d in zip(arrays[1:], dims[1:]) if a is not None
    )
    aligned = []
    for a, d in zip(arrays, dims):
        if a is not None and d is not None:
            a = a.movedim(d, 0)
            a = a.reshape((size, *(1,) * (len(shape) + 1 - a.ndim), *a.shape[1:]))
        aligned.append(a)
    aligned[0] = share(aligned[0], shape, static[0])
    aligned[1:3] = [a.expand((size, *shape)) for a in aligned[1:3]]
    return apply(*aligned, reduction=0), 0


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


mse_loss.derivative(
    x=lambda xp, g, x, target, reduction: xp.mse_loss_gradient(g, x, target, reduction),
    target=lambda xp, g, x, target, reduction: xp.mse_loss_gradient(g, target, x, reduction),
)
mse_loss.batching(batched)
mse_loss_gradient.batching(batched_gradient)


def _mse_again(xp, g, grad, x_shape, reduction):
    return g * share(grad * 2, x_shape, reduction)


mse_loss_gradient.derivative(
    grad=lambda xp, g, x, target, reduction: share(
        xp.sum(g * (x - target)) * 2 if reduction else g * (x - target) * 2, tuple(x.shape), reduction
    ),
    x=_mse_again,
    target=lambda xp, g, grad, x_shape, reduction: -_mse_again(xp, g, grad, x_shape, reduction),
)


# Likelihood of classes


@primitive(nondiff="weight")
def nll_loss(xp, x, target, weight, /, ignore_index, reduction):
    """Minus the weighted log-probability at each target class; linear in x."""
    if x.dtype in xp.NARROW:
        return xp.asarray(xp.nll_loss(wide(xp, x), target, wide(xp, weight), ignore_index, reduction)).astype(x.dtype)
    return xp.nll_loss(x, target, weight, ignore_index, reduction)


@primitive(grad="NllLossBackward", nondiff="weight")
def nll_loss_gradient(xp, grad, target, weight, /, shape, ignore_index, reduction):
    """The transpose of `nll_loss`."""
    return xp.nll_loss_gradient(
        grad,
        target,
        wide(xp, weight) if weight is not None and weight.dtype != grad.dtype else weight,
        shape,
        ignore_index,
        reduction,
    )


nll_loss.derivative(
    x=lambda xp, g, x_shape, target, weight, ignore_index, reduction: xp.nll_loss_gradient(
        g, target, weight, x_shape, ignore_index, reduction
    )
)
nll_loss.tangent(
    lambda xp, t_x, target, weight, ignore_index, reduction: xp.nll_loss(t_x, target, weight, ignore_index, reduction)
)
nll_loss_gradient.derivative(
    grad=lambda xp, g, target, weight, ignore_index, reduction: xp.nll_loss(g, target, weight, ignore_index, reduction)
)


def _total_weight(target: Any, weight: Any, ignore_index: int) -> Any:
    """For each example of a batch, the sum of its targets' weights."""
    keep = target != ignore_index
    axes = tuple(range(1, target.ndim))
    if weight is None:
        return keep.sum(axes) if axes else keep
    chosen = weight.gather(0, target.masked_fill(~keep, 0).flatten()).reshape(target.shape).masked_fill(~keep, 0)
    return chosen.sum(axes) if axes else chosen


def _weights_of_targets(size: int, arrays: Any, dims: Any, ignore_index: int) -> Any:
    """The weight of each target, of examples that have weights of their own; 0 for what is left out."""
    target = arrays[1].movedim(dims[1], 0) if dims[1] is not None else arrays[1].expand((size, *arrays[1].shape))
    left_out = target == ignore_index
    at = target.masked_fill(left_out, 0).reshape((size, -1))
    return arrays[2].movedim(dims[2], 0).gather(1, at).reshape(target.shape).masked_fill(left_out, 0)


def _nll_batched(apply, size, arrays, dims, ignore_index, reduction):
    if dims[2] is not None:
        chosen = _weights_of_targets(size, arrays, dims, ignore_index)
        each, _ = _nll_batched(apply, size, (*arrays[:2], None), (*dims[:2], None), ignore_index, 0)
        each = each * chosen
        axes = tuple(range(1, each.ndim))
        if reduction:
            each, chosen = (each.sum(axes), chosen.sum(axes)) if axes else (each, chosen)
        return each / chosen if reduction == 1 else each, 0
    x, target = [a.movedim(d, 0) if d is not None else a.expand((size, *a.shape)) for a, d in zip(arrays, dims[:2])]
    lead = x.shape[1:2] if x.ndim > 2 else ()
    each = apply(
        x.reshape((-1, *x.shape[1 + len(lead) :])),
        target.reshape((-1, *target.shape[1 + len(lead) :])) if lead else target.reshape((-1,)),
        arrays[2],
        reduction=0,
    ).reshape(target.shape)
    axes = tuple(range(1, each.ndim))
    if reduction:
        each = each.sum(axes) if axes else each
    return each / _total_weight(target, arrays[2], ignore_index) if reduction == 1 else each, 0


nll_loss.batching(_nll_batched)


def _nll_gradient_batched(apply, size, arrays, dims, shape, ignore_index, reduction):
    if dims[2] is not None:
        chosen = _weights_of_targets(size, arrays, dims, ignore_index)
        axes = tuple(range(1, chosen.ndim))
        g = arrays[0].movedim(dims[0], 0) if dims[0] is not None else arrays[0].expand((size, *arrays[0].shape))
        if reduction:
            total = chosen.sum(axes) if axes else chosen
            g = (g / total if reduction == 1 else g).reshape((size, *(1,) * len(axes)))
        return _nll_gradient_batched(apply, size, (g * chosen, arrays[1], None), (0, dims[1], None), shape, ignore_index, 0)
    g, target = [a.movedim(d, 0) if d is not None else a.expand((size, *a.shape)) for a, d in zip(arrays, dims[:2])]
    if reduction == 1:
        g = g / _total_weight(target, arrays[2], ignore_index)
    if reduction:
        g = g.reshape((size, *(1,) * (target.ndim - 1))).expand(target.shape)
    flat = (size * shape[0], *shape[1:]) if len(shape) > 1 else (size, *shape)
    target = target.reshape((flat[0], *flat[2:]))
    return apply(g.reshape(target.shape), target, arrays[2], shape=flat, reduction=0).reshape((size, *shape)), 0


nll_loss_gradient.batching(_nll_gradient_batched)
nll_loss2d = nll_loss.named("NllLoss2DBackward0")


# The same of logits, in one step


@primitive(grad="NllLoss", outputs="out sums", nondiff="sums weight")
def cross_entropy(xp, x, target, weight, /, ignore_index, reduction, smoothing):
    """The negative log-likelihood of softmax(x), of x (N, C), and each row's largest element and sums for the backward.

    Of the target's class the share 1 - smoothing, of all classes alike the rest (only without a weight).
    """
    return xp.cross_entropy(x, target, weight, ignore_index, reduction, smoothing)


@primitive(grad="NllLossBackward", nondiff="weight sums")
def cross_entropy_gradient(xp, grad, x, target, weight, sums, /, ignore_index, reduction, smoothing):
    """Softmax minus the wanted distribution, times weights and grad."""
    return xp.cross_entropy_gradient(grad, x, target, weight, sums, ignore_index, reduction, smoothing)


@cross_entropy.with_gradient(cross_entropy_gradient)
def cross_entropy_with_gradient(xp, x, target, weight, grad, /, ignore_index, reduction, smoothing):
    """Both, reading x once."""
    return xp.cross_entropy_with_gradient(x, target, weight, grad, ignore_index, reduction, smoothing)


cross_entropy.derivative(
    x=lambda xp, g_out, x, target, weight, sums, ignore_index, reduction, smoothing: xp.cross_entropy_gradient(
        g_out, x, target, weight, sums, ignore_index, reduction, smoothing
    )
)


def _cross_in_grad(xp, g, grad, x, target, weight, sums, ignore_index, reduction, smoothing):
    each = g * xp.cross_entropy_gradient(
        xp.ones_like(grad), x, target, weight, sums, ignore_index, reduction, smoothing
    )
    return xp.sum(each) if reduction else xp.sum(each, axis=1)


def _cross_in_x(xp, g, grad, x, target, weight, ignore_index, reduction, smoothing):
    # The softmax is multiplied by each row's whole weight, which smoothing only spreads over the classes.
    share = -xp.sum(
        xp.nll_loss_gradient(grad, target, weight, tuple(x.shape), ignore_index, reduction), axis=1, keepdims=True
    )
    return xp.softmax_gradient(g, xp.softmax(x, 1), 1) * share


cross_entropy_gradient.derivative(grad=_cross_in_grad, x=_cross_in_x)


def _in_front(size: int, arrays: Any, dims: Any) -> list[Any]:
    """Arrays with the batch dimension, made if there is none, first."""
    return [a.movedim(d, 0) if d is not None else a.expand((size, *a.shape)) for a, d in zip(arrays, dims)]


@cross_entropy.batching
def _cross_batched(apply, size, arrays, dims, ignore_index, reduction, smoothing):
    if dims[2] is not None:
        raise NotImplementedError("vmap of cross_entropy over its weight")
    x, target = _in_front(size, arrays[:2], dims)
    each, sums = apply(x.reshape((-1, x.shape[-1])), target.reshape((-1,)), arrays[2], reduction=0)
    each = each.reshape(tuple(target.shape))
    if reduction:
        each = each.sum(1)
    if reduction == 1:
        each = each / _total_weight(target, arrays[2], ignore_index)
    return (each, sums.reshape((sums.shape[0], *target.shape))), (0, 1)


@cross_entropy_gradient.batching
def _cross_gradient_batched(apply, size, arrays, dims, ignore_index, reduction, smoothing):
    if dims[3] is not None:
        raise NotImplementedError("vmap of cross_entropy over its weight")
    g, x, target = _in_front(size, arrays[:3], dims)
    sums = arrays[4]
    sums = sums.movedim(dims[4], 1) if dims[4] is not None else sums.unsqueeze(1).expand((-1, *target.shape))
    if reduction == 1:
        g = g / _total_weight(target, arrays[3], ignore_index)
    if reduction:
        g = g.reshape((size, 1)).expand(target.shape)
    flat = target.reshape((-1,))
    made = apply(
        g.reshape((-1,)), x.reshape((-1, x.shape[-1])), flat, arrays[3], sums.reshape((sums.shape[0], -1)), reduction=0
    )
    return made.reshape(tuple(x.shape)), 0


# Elementwise losses, by value, slope and curvature
#
# Each declares the loss and the kernel of its backward, grad·slope, which knows its own derivatives from the curvature;
# ``parameter`` is the loss's one static number. Of a loss of the difference x - target alone the slope in the target
# is the negative one.


def declare_elementwise(name: str, grad: str, value: Any, slope: Any, curvature: Any, difference: bool = True) -> Any:
    """The primitive of a loss of (xp, x, target, parameter), given it and its first two derivatives in x."""

    def run(xp, x, target, /, reduction, parameter=None):
        made = xp.one_loop(("loss", name, parameter), lambda xp, x, target: value(xp, x, target, parameter), (x, target), bool(reduction))
        if made is not NotImplemented:
            return made / x.dtype.type(x.size) if reduction == 1 else made
        loss = reduced(xp, value(xp, wide(xp, x), wide(xp, target), parameter), reduction)
        return xp.asarray(loss).astype(x.dtype) if x.dtype in xp.NARROW else loss

    def run_gradient(xp, grad, x, target, /, reduction, parameter=None):
        each = share(grad, x.shape, reduction)
        made = xp.one_loop(("loss slope", name, parameter), lambda xp, x, target, g: slope(xp, x, target, parameter) * g, (x, target, each))
        return slope(xp, x, target, parameter) * each if made is NotImplemented else made

    run.__doc__ = value.__doc__
    nondiff = () if difference else ("target",)
    loss = primitive(run, name=name, grad=grad, nondiff=nondiff)
    gradient = primitive(run_gradient, name=f"{name}_gradient", grad=f"{grad}Backward", nondiff=nondiff)

    def in_x(xp, g, x, target, reduction, parameter):
        return getattr(xp, gradient.name)(g, x, target, reduction, parameter)

    def again(xp, g, grad, x, target, reduction, parameter):
        return g * curvature(xp, x, target, parameter) * share(grad, tuple(x.shape), reduction)

    def in_grad(xp, g, x, target, reduction, parameter):
        each = g * slope(xp, x, target, parameter)
        return share(xp.sum(each) if reduction else each, tuple(x.shape), reduction)

    loss.derivative(x=in_x)
    gradient.derivative(grad=in_grad, x=again)
    if difference:
        loss.derivative(
            target=lambda xp, g, x, target, reduction, parameter: -in_x(xp, g, x, target, reduction, parameter)
        )
        gradient.derivative(
            target=lambda xp, g, grad, x, target, reduction, parameter: (
                -again(xp, g, grad, x, target, reduction, parameter)
            )
        )
    gradient.batching(batched_gradient)
    return loss.batching(batched)


def _smooth_l1(xp, x, target, beta):
    """Half the square over β where |x - target| < β, else |x - target| - β/2."""
    d = xp.abs(x - target)
    return xp.where(d < beta, d * d * (0.5 / beta), d - 0.5 * beta)


def _smooth_l1_slope(xp, x, target, beta):
    d = x - target
    return xp.where(xp.abs(d) < beta, d / beta, xp.sgn(d))


def _smooth_l1_curvature(xp, x, target, beta):
    return xp.where(xp.abs(x - target) < beta, xp.full_like(x, 1 / beta), xp.zeros_like(x))


smooth_l1_loss = declare_elementwise(
    "smooth_l1_loss", "SmoothL1Loss", _smooth_l1, _smooth_l1_slope, _smooth_l1_curvature
)


def _huber(xp, x, target, delta):
    """Half the square where |x - target| ≤ δ, else δ(|x - target| - δ/2) (Huber 1964)."""
    d = xp.abs(x - target)
    return xp.where(d <= delta, d * d * 0.5, (d - 0.5 * delta) * delta)


def _huber_slope(xp, x, target, delta):
    d = x - target
    return xp.where(xp.abs(d) <= delta, d, xp.sgn(d) * delta)


huber_loss = declare_elementwise(
    "huber_loss",
    "HuberLoss",
    _huber,
    _huber_slope,
    lambda xp, x, target, delta: xp.where(xp.abs(x - target) < delta, xp.ones_like(x), xp.zeros_like(x)),
)


def _soft_margin(xp, x, target, _):
    """log(1 + exp(-target·x))."""
    z = -target * x
    return xp.maximum(z, xp.zeros_like(z)) + xp.log1p(xp.exp(-xp.abs(z)))


def _soft_margin_curvature(xp, x, target, _):
    s = xp.sigmoid(target * x)
    return target * target * s * (1 - s)


soft_margin_loss = declare_elementwise(
    "soft_margin_loss",
    "SoftMarginLoss",
    _soft_margin,
    lambda xp, x, target, _: -target * xp.sigmoid(-target * x),
    _soft_margin_curvature,
    False,
)


# Binary cross-entropy


LOG_FLOOR = -100.0  # logarithms are held above it, so that a sure and wrong probability has a finite loss


def _log_held(xp: Any, x: Any) -> Any:
    return xp.maximum(xp.log(x), xp.full_like(x, LOG_FLOOR))


def weighted(each: Any, weight: Any) -> Any:
    return each if weight is None else each * weight


@primitive(nondiff="weight")
def binary_cross_entropy(xp, x, target, weight, /, reduction):
    """-[target·log x + (1 - target)·log(1 - x)], the logarithms held above -100."""
    d = x.dtype
    x, target, weight = wide(xp, x), wide(xp, target), wide(xp, weight)
    rest = xp.log1p(-x)
    rest = xp.maximum(rest, xp.full_like(x, LOG_FLOOR))
    loss = reduced(xp, weighted((target - 1) * rest - target * _log_held(xp, x), weight), reduction)
    return xp.asarray(loss).astype(d) if d in xp.NARROW else loss


def _bce_slope(xp, x, target):
    scale = (1 - x) * x
    return (x - target) / xp.maximum(scale, xp.full_like(scale, 1e-12))


def _bce_curvature(xp, x, target):
    scale = (1 - x) * x
    scale = xp.maximum(scale, xp.full_like(scale, 1e-12))
    return (x * x - x * target * 2 + target) / (scale * scale)


@primitive(grad="BinaryCrossEntropyBackward", nondiff="weight")
def binary_cross_entropy_gradient(xp, grad, x, target, weight, /, reduction):
    """grad·(x - target)/(x(1 - x)), the denominator held above 1e-12."""
    return weighted(_bce_slope(xp, x, target), weight) * share(grad, x.shape, reduction)


def _bce_target(xp, g, x, weight, reduction):
    rest = xp.log1p(-x)
    rest = xp.maximum(rest, xp.full_like(rest, LOG_FLOOR))
    return weighted(rest - _log_held(xp, x), weight) * share(g, tuple(x.shape), reduction)


binary_cross_entropy.derivative(
    x=lambda xp, g, x, target, weight, reduction: xp.binary_cross_entropy_gradient(g, x, target, weight, reduction),
    target=_bce_target,
)
binary_cross_entropy.batching(batched)
binary_cross_entropy_gradient.batching(batched_gradient)
binary_cross_entropy_gradient.derivative(
    grad=lambda xp, g, x, target, weight, reduction: share(
        xp.sum(g * weighted(_bce_slope(xp, x, target), weight))
        if reduction
        else g * weighted(_bce_slope(xp, x, target), weight),
        tuple(x.shape),
        reduction,
    ),
    x=lambda xp, g, grad, x, target, weight, reduction: (
        g * weighted(_bce_curvature(xp, x, target), weight) * share(grad, tuple(x.shape), reduction)
    ),
    target=lambda xp, g, grad, x, weight, reduction: (
        -g
        * weighted(1 / xp.maximum((1 - x) * x, xp.full_like(x, 1e-12)), weight)
        * share(grad, tuple(x.shape), reduction)
    ),
)


@primitive(nondiff="weight pos_weight")
def binary_cross_entropy_with_logits(xp, x, target, weight, pos_weight, /, reduction):
    """`binary_cross_entropy` of sigmoid(x), without overflow; positive targets weigh ``pos_weight``."""
    d = x.dtype
    x, target, weight, pos_weight = wide(xp, x), wide(xp, target), wide(xp, weight), wide(xp, pos_weight)
    soft = xp.log1p(xp.exp(-xp.abs(x)))
    if pos_weight is None:  # max(x, 0) - x·target + log(1 + exp(-|x|))
        loss = xp.maximum(x, xp.zeros_like(x)) - x * target + soft
    else:
        loss = (1 - target) * x + ((pos_weight - 1) * target + 1) * (xp.maximum(-x, xp.zeros_like(x)) + soft)
    loss = reduced(xp, weighted(loss, weight), reduction)
    return xp.asarray(loss).astype(d) if d in xp.NARROW else loss


def _logits_slope(xp, x, target, pos_weight):
    if pos_weight is None:
        return xp.sigmoid(x) - target
    return 1 - target - ((pos_weight - 1) * target + 1) * xp.sigmoid(-x)


@primitive(grad="BinaryCrossEntropyWithLogitsBackward", nondiff="weight pos_weight")
def binary_cross_entropy_with_logits_gradient(xp, grad, x, target, weight, pos_weight, /, reduction):
    """grad·(sigmoid(x) - target), weighted."""
    return weighted(_logits_slope(xp, x, target, pos_weight), weight) * share(grad, x.shape, reduction)


def _logits_target(xp, g, x, weight, pos_weight, reduction):
    slope = -x
    if pos_weight is not None:
        slope = slope + (pos_weight - 1) * (xp.maximum(-x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x))))
    return weighted(slope, weight) * share(g, tuple(x.shape), reduction)


def _logits_again(xp, g, grad, x, target, weight, pos_weight, reduction):
    s = xp.sigmoid(x)
    curvature = s * (1 - s)
    if pos_weight is not None:
        curvature = ((pos_weight - 1) * target + 1) * curvature
    return g * weighted(curvature, weight) * share(grad, tuple(x.shape), reduction)


def _logits_again_target(xp, g, grad, x, weight, pos_weight, reduction):
    slope = -xp.ones_like(x) if pos_weight is None else -1 - (pos_weight - 1) * xp.sigmoid(-x)
    return g * weighted(slope, weight) * share(grad, tuple(x.shape), reduction)


def _logits_again_grad(xp, g, x, target, weight, pos_weight, reduction):
    each = g * weighted(_logits_slope(xp, x, target, pos_weight), weight)
    return share(xp.sum(each) if reduction else each, tuple(x.shape), reduction)


binary_cross_entropy_with_logits.derivative(
    x=lambda xp, g, x, target, weight, pos_weight, reduction: xp.binary_cross_entropy_with_logits_gradient(
        g, x, target, weight, pos_weight, reduction
    ),
    target=_logits_target,
)
binary_cross_entropy_with_logits.batching(batched)
binary_cross_entropy_with_logits_gradient.batching(batched_gradient)
binary_cross_entropy_with_logits_gradient.derivative(
    grad=_logits_again_grad, x=_logits_again, target=_logits_again_target
)
