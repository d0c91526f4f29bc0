"""Normalisation: zero mean and unit variance over chosen axes, then a scale and a shift; and the kernels of its
backward.

In: x, a weight and a bias or None. The array is worked on in ``shape`` (None: its own), where ``axes`` are those over
which mean and variance are taken and ``affine`` is the shape of weight and bias; ``centered=False`` divides by the
root of the mean square alone. Out: the result, and for the backward the statistics: mean, variance and
1/√(variance + eps). From these and x the backward makes what was normalised anew.

With ŷ the normalised array, r that last factor and Pg = r(g - mean(g) - ŷ·mean(ŷg)), the vector-Jacobian product of
normalisation is P, which is symmetric; its own derivative in x, for a second vector v, is
-[mean(vg) - mean(v)mean(g) - mean(vŷ)mean(gŷ)] r²ŷ - r·P(v·mean(gŷ) + g·mean(vŷ)).
"""

from __future__ import annotations

from typing import Any

from .primitive import primitive


def held(d: Any) -> Any:
    """A dtype as arrays hold it; a rule on tensors is handed the tensors' own."""
    return getattr(d, "np", d)


def working(xp: Any, x: Any, shape: Any) -> Any:
    return x if shape is None else xp.reshape(x, shape)


def standard(xp: Any, x: Any, axes: Any, eps: float, centered: bool) -> Any:
    """(normalised x, 1/√(variance + eps)) in differentiable steps."""
    if centered:
        x = x - xp.mean(x, axes, True)
    scale = 1 / xp.sqrt(xp.mean(x * x, axes, True) + eps)
    return x * scale, scale


@primitive(grad="NativeLayerNorm", outputs="out stats", nondiff="stats")
def normalize(xp, x, weight, bias, /, shape, axes, affine, eps, centered=True):
    """(x - mean)/√(variance + eps)·weight + bias."""
    return xp.normalize(x, weight, bias, shape, axes, affine, eps, centered)


def _in_x(xp, g_out, x, weight, stats, shape, axes, affine, eps, centered):
    if weight is not None:
        d = held(stats.dtype)  # float32 where x is narrow: its mean is about to be subtracted
        if held(g_out.dtype) != d:
            g_out = xp.astype(g_out, d)
        if held(weight.dtype) != d:
            weight = xp.astype(weight, d)
        g_out = working(xp, g_out, shape) * xp.reshape(weight, affine)
    return xp.normalize_gradient(g_out, x, stats, shape, axes, eps, centered)


def _in_weight(xp, g_out, x, stats, weight_shape, weight_dtype, shape, axes, affine, eps, centered):
    return xp.affine_gradient(
        g_out, x, stats, shape, axes, affine, weight_shape, eps, centered, held(weight_dtype)
    )


def _in_bias(xp, g_out, bias_shape, bias_dtype, x_dtype, shape, affine):
    g = working(xp, g_out, shape)
    g = _shared_sum(xp, g if held(bias_dtype) == held(x_dtype) else xp.astype(g, held(bias_dtype)), affine)
    return xp.reshape(g, bias_shape)


def _shared_sum(xp, g, affine):
    """``g`` summed over the axes along which the shape ``affine`` broadcasts."""
    extra = g.ndim - len(affine)
    shared = tuple([i for i, n in enumerate(g.shape) if i < extra or affine[i - extra] == 1 and n != 1])
    return xp.sum(g, axis=shared) if shared else g


normalize.derivative(x=_in_x, weight=_in_weight, bias=_in_bias)


@normalize.jointly
def _in_all(xp, wanted, g_out, x, weight, stats, shape, axes, affine, eps, centered, more=None):
    if weight is None:
        return NotImplemented
    made = xp.normalize_backward(g_out, x, weight, stats, shape, axes, affine, centered, more)
    return [r if w else None for r, w in zip(made, wanted)]


@primitive(grad="NativeLayerNormBackward", nondiff="stats")
def normalize_gradient(xp, grad, x, stats, /, shape, axes, eps, centered):
    """The gradient of normalisation without weight and bias, P·grad."""
    return xp.normalize_gradient(grad, x, stats, shape, axes, eps, centered)


def _again_in_grad(xp, g, x, stats, shape, axes, eps, centered, grad_shape):
    return xp.reshape(xp.normalize_gradient(g, x, stats, shape, axes, eps, centered), grad_shape)


def _again_in_x(xp, g, grad, x, x_shape, shape, axes, eps, centered):
    x, v, grad = working(xp, x, shape), working(xp, g, shape), working(xp, grad, shape)
    made, scale = standard(xp, x, axes, eps, centered)

    def mean(a: Any) -> Any:
        return xp.mean(a, axes, True)

    mean_v, mean_g = mean(v * made), mean(grad * made)
    joint = mean(v * grad) - mean_v * mean_g
    if centered:
        joint = joint - mean(v) * mean(grad)
    crossed = v * mean_g + grad * mean_v
    part = crossed - made * mean(crossed * made)
    if centered:
        part = part - mean(crossed)
    return xp.reshape((joint * made + part) * scale * scale * -1, x_shape)


normalize_gradient.derivative(grad=_again_in_grad, x=_again_in_x)


@primitive(grad="NativeLayerNormBackward", nondiff="stats")
def affine_gradient(xp, grad, x, stats, /, shape, axes, affine, size, eps, centered, dtype):
    """The sum of grad·normalised x over what shares a weight."""
    return xp.affine_gradient(grad, x, stats, shape, axes, affine, size, eps, centered, dtype)


def _affine_in_grad(xp, g, x, grad_shape, shape, axes, affine, eps, centered):
    made, _ = standard(xp, working(xp, x, shape), axes, eps, centered)
    return xp.reshape(made * xp.reshape(g, affine), grad_shape)


def _affine_in_x(xp, g, grad, x, stats, shape, axes, affine, eps, centered):
    spread = working(xp, grad, shape) * xp.reshape(g, affine)
    return xp.normalize_gradient(spread, x, stats, shape, axes, eps, centered)


affine_gradient.derivative(grad=_affine_in_grad, x=_affine_in_x)


# With the batch dimension in front


def _batched_parts(size: int, arrays: Any, dims: Any, count: int, shape: Any, axes: Any) -> Any:
    """(arrays with the batch dimension first, shape and axes with it)."""
    lined = []
    for i, (a, d) in enumerate(zip(arrays, dims)):
        if a is not None and i < count:
            a = a.movedim(d, 0) if d is not None else a.expand((size, *a.shape))
        lined.append(a)
    return lined, None if shape is None else (size, *shape), tuple([a + 1 for a in axes])


@normalize.batching
def _normalize_batched(apply, size, arrays, dims, shape, axes, affine, eps, centered):
    lined, shape, axes = _batched_parts(size, arrays, dims, 1, shape, axes)
    rank = len(shape) if shape is not None else lined[0].ndim
    padded = (1,) * (rank - 1 - len(affine)) + tuple(affine)
    if dims[1] is not None or dims[2] is not None:
        lined[1:] = [
            a if a is None else a.movedim(d, 0) if d is not None else a.expand((size, *a.shape))
            for a, d in zip(lined[1:], dims[1:])
        ]
        padded = (size, *padded)
    return apply(*lined, shape=shape, axes=axes, affine=padded), (0, 1)


@normalize_gradient.batching
def _gradient_batched(apply, size, arrays, dims, shape, axes, eps, centered):
    lined, shape, axes = _batched_parts(size, arrays, dims, 2, shape, axes)
    lined[2] = arrays[2].movedim(dims[2], 1) if dims[2] is not None else arrays[2].unsqueeze(1)
    return apply(*lined, shape=shape, axes=axes), 0


@affine_gradient.batching
def _affine_batched(apply, size, arrays, dims, shape, axes, affine, weight_size, eps, centered, dtype):
    lined, shape, axes = _batched_parts(size, arrays, dims, 2, shape, axes)
    lined[2] = arrays[2].movedim(dims[2], 1) if dims[2] is not None else arrays[2].unsqueeze(1)
    rank = lined[2].ndim - 1  # the statistics have the dimensions that are worked on, and one of their own
    return apply(
        *lined,
        shape=shape,
        axes=axes,
        affine=(size, *(1,) * (rank - 1 - len(affine)), *affine),
        size=(size, *weight_size),
    ), 0


# Batch normalisation by given statistics


def per_channel(xp: Any, a: Any, ndim: int) -> Any:
    """(C,) as (C, 1, ...), which broadcasts along dimension 1 of ``ndim``."""
    return xp.reshape(a, (tuple(a.shape) + (1,) * (ndim - 2)) if ndim > 1 else tuple(a.shape))


@primitive(grad="NativeBatchNorm", nondiff="mean variance")
def batch_norm_given(xp, x, weight, bias, mean, variance, /, eps):
    """(x - mean)/√(variance + eps)·weight + bias, channel by channel (dimension 1)."""
    d = x.dtype
    work, statistic = (x.astype(xp.float32), variance.astype(xp.float32)) if d in xp.NARROW else (x, variance)
    scale = 1 / xp.sqrt(statistic + work.dtype.type(eps))
    if weight is not None:
        scale = scale * weight.astype(work.dtype)
    shift = -mean.astype(work.dtype) * scale
    if bias is not None:
        shift = shift + bias.astype(work.dtype)
    scale, shift = per_channel(xp, scale, x.ndim), per_channel(xp, shift, x.ndim)
    out = xp.one_loop("scale and shift", lambda xp, x, scale, shift: x * scale + shift, (work, scale, shift))
    if out is NotImplemented:
        out = work * scale
        out += shift
    return out if out.dtype == d else out.astype(d)


def _given_scale(xp, weight, variance, eps, ndim):
    scale = 1 / xp.sqrt(variance + eps)
    return per_channel(xp, scale if weight is None else scale * weight, ndim)


def _channel_sum(xp, g, d):
    if held(g.dtype) != held(d):
        g = xp.astype(g, held(d))
    return xp.sum(g, axis=(0, *range(2, g.ndim)))


def _given_in_x(xp, g, weight, variance, eps, x_dtype):
    made = g * _given_scale(xp, weight, variance, eps, g.ndim)
    return made if held(made.dtype) == held(x_dtype) else xp.astype(made, held(x_dtype))


@batch_norm_given.batching
def _given_batched(apply, size, arrays, dims, eps):
    x, *parameters = arrays
    if dims[1:] == [None] * 4:
        x = x.movedim(dims[0], 0)
        return apply(x.flatten(0, 1), *parameters).unflatten(0, (size, -1)), 0
    # The channels of all examples side by side.
    x = x.movedim(dims[0], 1) if dims[0] is not None else x.unsqueeze(1).expand((x.shape[0], size, *x.shape[1:]))
    wide = [
        a if a is None else (a.movedim(d, 0) if d is not None else a.expand((size, *a.shape))).flatten()
        for a, d in zip(parameters, dims[1:])
    ]
    return apply(x.flatten(1, 2), *wide).unflatten(1, (size, -1)), 1


batch_norm_given.derivative(
    x=_given_in_x,
    weight=lambda xp, g, x, mean, variance, eps, weight_dtype: _channel_sum(
        xp, g * (x - per_channel(xp, mean, x.ndim)) * _given_scale(xp, None, variance, eps, x.ndim), weight_dtype
    ),
    bias=lambda xp, g, bias_dtype: _channel_sum(xp, g, bias_dtype),
)
