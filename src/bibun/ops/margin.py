"""Margin losses over classes: how far the scores of the right classes stand above the others'.

In: scores (N, C) or (C,), class numbers as int64, a weight (C,) or None. Out: the loss. What the backward multiplies
is a matrix of coefficients that are constant almost everywhere (or linear in the scores, for squared margins).
"""

from __future__ import annotations

from typing import Any

from .loss import reduced, share, wide
from .primitive import primitive


def _rows(x: Any, target: Any) -> tuple[Any, Any]:
    return (
        (x, target)
        if x.ndim == 2
        else (x[None], target.reshape((1, -1)) if target.size == x.shape[-1] else target.reshape((1,)))
    )


def _gaps(xp: Any, x: Any, target: Any, margin: float) -> Any:
    """margin - x[target] + x[j] where it is positive and j is not the target, else 0; with the mask of the targets."""
    own = xp.arange(x.shape[1]) == target[:, None]
    gap = margin - xp.take_along_axis(x, target[:, None], 1) + x
    return xp.where(own | (gap <= 0), xp.zeros_like(gap), gap), own


@primitive(nondiff="weight")
def multi_margin_loss(xp, x, target, weight, /, p, margin, reduction):
    """The mean over classes of max(0, margin - x[target] + x[j])^p."""
    d = x.dtype
    rows, numbers = wide(xp, x).reshape((-1, x.shape[-1])), target.reshape((-1,))
    gap, _ = _gaps(xp, rows, numbers, margin)
    loss = gap if p == 1 else gap * gap
    if weight is not None:
        loss = loss * wide(xp, weight)[numbers][:, None]
    loss = xp.sum(loss, 1) / rows.shape[1]
    return xp.asarray(reduced(xp, loss if x.ndim == 2 or reduction else loss.reshape(()), reduction)).astype(d)


@primitive(grad="MultiMarginLossBackward", nondiff="weight")
def multi_margin_gradient(xp, grad, x, target, weight, /, p, margin, reduction):
    """The coefficient of each score, times the gradient."""
    rows, numbers = x.reshape((-1, x.shape[-1])), target.reshape((-1,))
    gap, own = _gaps(xp, rows, numbers, margin)
    slope = xp.sign(gap) if p == 1 else gap * 2
    if weight is not None:
        slope = slope * weight[numbers][:, None]
    slope = slope / rows.shape[1]
    slope = xp.where(own, -xp.sum(slope, 1)[:, None], slope)
    g = share(grad, numbers.shape, reduction)
    return (slope * (g if reduction else g.reshape((-1, 1)))).astype(x.dtype).reshape(x.shape)


def _multi_margin_in_grad(xp, g, x, target, weight, p, margin, reduction, grad_shape):
    slope = xp.multi_margin_gradient(xp.ones(grad_shape, dtype=x.dtype), x, target, weight, p, margin, reduction)
    return xp.reshape(xp.sum(g * slope) if reduction else xp.sum(g * slope, axis=(g.ndim - 1,)), grad_shape)


def _multi_margin_in_x(xp, g, grad, x, target, weight, p, margin, reduction):
    """Of squared margins: each row's slopes 2·gap, differentiated once more."""
    if p == 1:
        return xp.zeros_like(x)
    rows, v = xp.reshape(x, (-1, x.shape[-1])), xp.reshape(g, (-1, x.shape[-1]))
    numbers = xp.reshape(target, (-1,))
    at = xp.expand_dims(numbers, 1)
    gap = margin - xp.take_along_axis(rows, at, 1) + rows
    own = xp.equal(xp.arange(rows.shape[1]), at)
    factor = xp.where(own | (gap <= 0), xp.zeros_like(rows), xp.full_like(rows, 2 / rows.shape[1]))
    if weight is not None:
        factor = factor * xp.expand_dims(xp.index_select(weight, numbers, 0), 1)
    spread = factor * (v - xp.take_along_axis(v, at, 1))
    again = xp.where(own, -xp.sum(spread, axis=(1,), keepdims=True), spread)
    h = share(grad, tuple(numbers.shape), reduction)
    return xp.reshape(again * (h if reduction else xp.reshape(h, (-1, 1))), tuple(x.shape))


multi_margin_loss.derivative(
    x=lambda xp, g, x, target, weight, p, margin, reduction: xp.multi_margin_gradient(
        g, x, target, weight, p, margin, reduction
    )
)
multi_margin_gradient.derivative(grad=_multi_margin_in_grad, x=_multi_margin_in_x)


def _all_rows(size: int, arrays: Any, dims: Any) -> tuple[Any, Any, tuple[int, ...]]:
    """(the rows of all examples, their targets, the shape of one example's losses)."""
    x, target = [a.movedim(d, 0) if d is not None else a.expand((size, *a.shape)) for a, d in zip(arrays, dims)]
    return x.reshape((-1, x.shape[-1])), target, tuple(x.shape[1:-1])


def _reduced_rows(each: Any, reduction: int) -> Any:
    return each if not reduction or each.ndim < 2 else each.mean(1) if reduction == 1 else each.sum(1)


def _spread_rows(size: int, grad: Any, dim: Any, lead: tuple[int, ...], reduction: int) -> Any:
    """The gradient of each row's loss, given those of the examples' reduced losses."""
    grad = grad.movedim(dim, 0) if dim is not None else grad.expand((size, *grad.shape))
    if reduction and lead:
        grad = share(grad, lead, reduction).unsqueeze(1).expand((size, *lead))
    return grad.reshape((-1,))


def _weights_of(size: int, weight: Any, dim: Any, target: Any, lead: tuple[int, ...]) -> Any:
    """The weight of each row's target."""
    numbers = target.reshape((size, -1))
    rows = weight.movedim(dim, 0) if dim is not None else weight.expand((size, *weight.shape))
    return rows.gather(1, numbers).reshape((-1,))


@multi_margin_loss.batching
def _multi_margin_batched(apply, size, arrays, dims, p, margin, reduction):
    rows, target, lead = _all_rows(size, arrays[:2], dims[:2])
    each = apply(rows, target.reshape((-1,)), None, reduction=0)
    if arrays[2] is not None:
        each = each * _weights_of(size, arrays[2], dims[2], target, lead)
    return _reduced_rows(each.reshape((size, *lead)), reduction), 0


@multi_margin_gradient.batching
def _multi_margin_gradient_batched(apply, size, arrays, dims, p, margin, reduction):
    rows, target, lead = _all_rows(size, arrays[1:3], dims[1:3])
    grad = _spread_rows(size, arrays[0], dims[0], lead, reduction)
    if arrays[3] is not None:
        grad = grad * _weights_of(size, arrays[3], dims[3], target, lead)
    return apply(grad, rows, target.reshape((-1,)), None, reduction=0).reshape((size, *lead, -1)), 0


def _labels(xp: Any, x: Any, target: Any) -> tuple[Any, Any]:
    """(mask of the target classes, which of the listed entries count): those before the first -1."""
    counts = xp.cumulative_sum((target < 0).astype(xp.int64), 1) == 0
    is_target = xp.zeros(x.shape, dtype=xp.bool_)
    rows, places = xp.nonzero(counts)
    is_target[rows, target[rows, places]] = True
    return is_target, counts


def _pair_gaps(xp: Any, x: Any, target: Any) -> tuple[Any, Any]:
    """1 - x[target k] + x[j] as (N, K, C); the mask of the positive ones of listed k and other classes j."""
    is_target, counts = _labels(xp, x, target)
    scores = xp.take_along_axis(x, xp.where(counts, target, 0), 1)
    gap = 1 - scores[:, :, None] + x[:, None, :]
    on = counts[:, :, None] & ~is_target[:, None, :] & (gap > 0)
    return gap, on


@primitive
def multilabel_margin_loss(xp, x, target, /, reduction):
    """The sum over targets k and other classes j of max(0, 1 - x[k] + x[j]), over the number of classes."""
    d = x.dtype
    rows, lists = _rows(wide(xp, x), target)
    gap, on = _pair_gaps(xp, rows, lists)
    loss = xp.sum(xp.where(on, gap, xp.zeros_like(gap)), (1, 2)) / rows.shape[1]
    return xp.asarray(reduced(xp, loss if x.ndim == 2 or reduction else loss.reshape(()), reduction)).astype(d)


@primitive(grad="MultilabelMarginLossBackward")
def multilabel_margin_gradient(xp, grad, x, target, /, reduction):
    """The coefficient of each score, times the gradient."""
    rows, lists = _rows(x, target)
    _, on = _pair_gaps(xp, rows, lists)
    slope = xp.sum(on, 1).astype(rows.dtype)
    lost = xp.sum(on, 2).astype(rows.dtype)
    numbers = xp.where(lists < 0, 0, lists)
    for k in range(lists.shape[1]):
        n = xp.arange(rows.shape[0])
        slope[n, numbers[:, k]] -= lost[:, k]
    g = share(grad, rows.shape[:1], reduction)
    return (slope / rows.shape[1] * (g if reduction else g.reshape((-1, 1)))).astype(x.dtype).reshape(x.shape)


def _multilabel_in_grad(xp, g, x, target, reduction, grad_shape):
    slope = xp.multilabel_margin_gradient(xp.ones(grad_shape, dtype=x.dtype), x, target, reduction)
    return xp.reshape(xp.sum(g * slope) if reduction else xp.sum(g * slope, axis=(g.ndim - 1,)), grad_shape)


multilabel_margin_loss.derivative(
    x=lambda xp, g, x, target, reduction: xp.multilabel_margin_gradient(g, x, target, reduction)
)
multilabel_margin_gradient.derivative(grad=_multilabel_in_grad, x=lambda xp, g, x: xp.zeros_like(x))


@multilabel_margin_loss.batching
def _multilabel_batched(apply, size, arrays, dims, reduction):
    rows, target, lead = _all_rows(size, arrays, dims)
    each = apply(rows, target.reshape((-1, target.shape[-1])), reduction=0)
    return _reduced_rows(each.reshape((size, *lead)), reduction), 0


@multilabel_margin_gradient.batching
def _multilabel_gradient_batched(apply, size, arrays, dims, reduction):
    rows, target, lead = _all_rows(size, arrays[1:], dims[1:])
    grad = _spread_rows(size, arrays[0], dims[0], lead, reduction)
    return apply(grad, rows, target.reshape((-1, target.shape[-1])), reduction=0).reshape((size, *lead, -1)), 0
