"""Scaled dot-product attention, in two steps before the last product: scores, and weights; and in one.

In: queries (..., L, E) and keys (..., S, E) with the same dimensions before; a mask that broadcasts to (..., L, S), of
booleans or numbers to add, or None. Out: scores (..., L, S), and from them weights whose rows sum to 1. Or all in one step,
`flash_attention`, from (N, H, L, E), (N, H, S, E) and values (N, H, S, E) to (N, H, L, E).
"""

from __future__ import annotations

from .primitive import primitive
from .products import transposed
from .shape import sum_to


@primitive(grad="UnsafeView", tangent="multilinear")
def attention_scores(xp, q, k):
    """The dot products of each query with each key."""
    return xp.attention_scores(q, k)


attention_scores.derivative(
    q=lambda xp, g, k: xp.matmul(g, k),
    k=lambda xp, g, q: xp.matmul(transposed(xp, g), q),
)


@attention_scores.batching
def _in_front(apply, size, arrays, dims):
    q, k = [a.movedim(d, 0) if d is not None else a.expand((size, *a.shape)) for a, d in zip(arrays, dims)]
    return apply(q, k), 0


@primitive(grad="SafeSoftmax")
def attention_weights(xp, scores, mask, /, scale, causal):
    """softmax(scores · scale + mask)."""
    return xp.attention_weights(scores, mask, scale, causal)


@primitive(grad="SoftmaxBackwardData")
def attention_weights_gradient(xp, grad, weights, /, scale):
    """weights · (grad - Σ grad · weights) · scale."""
    return xp.attention_weights_gradient(grad, weights, scale)


attention_weights.derivative(
    scores=lambda xp, g, out, scale: xp.attention_weights_gradient(g, out, scale),
    mask=lambda xp, g, out, mask_shape: sum_to(xp, xp.attention_weights_gradient(g, out, 1.0), mask_shape),
)
attention_weights_gradient.derivative(
    grad=lambda xp, g, weights, scale: xp.attention_weights_gradient(g, weights, scale),
    weights=lambda xp, g, grad, weights, scale: (
        (g * (grad - xp.sum(grad * weights, (grad.ndim - 1,), True)) - grad * xp.sum(g * weights, (g.ndim - 1,), True))
        * scale
    ),
)


@primitive(grad="ScaledDotProductFlashAttentionForCpu", outputs="out sums", nondiff="sums mask")
def flash_attention(xp, query, key, value, mask, /, scale, causal):
    """softmax(query @ key.mT · scale + mask) @ value, and the logarithm of each row's sum of exponentials."""
    return xp.flash_attention(query, key, value, mask, scale, causal)


def _weights(xp, query, key, mask, scale, causal):
    return xp.attention_weights(xp.attention_scores(query, key), mask, scale, causal)


def _score_gradient(xp, g, query, key, value, mask, scale, causal):
    weights = _weights(xp, query, key, mask, scale, causal)
    return xp.attention_weights_gradient(xp.matmul(g, transposed(xp, value)), weights, scale)


def _in_query(xp, g_out, query, key, value, mask, out, sums, scale, causal):
    """On arrays in one step; on tensors in differentiable ones."""
    if hasattr(xp, "flash_attention_gradients"):
        return xp.flash_attention_gradients(g_out, query, key, value, mask, out, sums, scale, causal)[0]
    return xp.matmul(_score_gradient(xp, g_out, query, key, value, mask, scale, causal), key)


def _in_key(xp, g_out, query, key, value, mask, out, sums, scale, causal):
    if hasattr(xp, "flash_attention_gradients"):
        return xp.flash_attention_gradients(g_out, query, key, value, mask, out, sums, scale, causal)[1]
    return xp.matmul(transposed(xp, _score_gradient(xp, g_out, query, key, value, mask, scale, causal)), query)


def _in_value(xp, g_out, query, key, value, mask, out, sums, scale, causal):
    if hasattr(xp, "flash_attention_gradients"):
        return xp.flash_attention_gradients(g_out, query, key, value, mask, out, sums, scale, causal)[2]
    return xp.matmul(transposed(xp, _weights(xp, query, key, mask, scale, causal)), g_out)


flash_attention.derivative(query=_in_query, key=_in_key, value=_in_value)


@flash_attention.jointly
def _in_all(xp, wanted, g_out, query, key, value, mask, out, sums, scale, causal):
    made = xp.flash_attention_gradients(g_out, query, key, value, mask, out, sums, scale, causal)
    return [*[r if w else None for r, w in zip(made, wanted)], None]


@flash_attention.batching
def _flash_batched(apply, size, arrays, dims, scale, causal):
    """The new dimension joins the first one."""
    made = []
    for a, d in zip(arrays, dims):
        if a is not None:
            a = a.movedim(d, 0) if d is not None else a.expand((size, *a.shape))
            a = a.reshape((size, *(1,) * (5 - a.ndim), *a.shape[1:]))
            a = a.expand((size, arrays[0].shape[0 if dims[0] != 0 else 1], *a.shape[2:])).flatten(0, 1)
        made.append(a)
    return tuple([o.unflatten(0, (size, -1)) for o in apply(*made)]), (0, 0)


def _lined(size, arrays, dims):
    rank = max(a.ndim - (d is not None) for a, d in zip(arrays, dims) if a is not None)
    lined = []
    for a, d in zip(arrays, dims):
        if a is not None and d is not None:
            a = a.movedim(d, 0)
            a = a.reshape((size, *(1,) * (rank + 1 - a.ndim), *a.shape[1:]))
        lined.append(a)
    if dims[0] is None:
        lined[0] = lined[0].expand((size, *lined[0].shape))
    return lined


@attention_weights.batching
def _weights_batched(apply, size, arrays, dims, scale, causal):
    return apply(*_lined(size, arrays, dims)), 0


@attention_weights_gradient.batching
def _gradient_batched(apply, size, arrays, dims, scale):
    lined = _lined(size, arrays, dims)
    if dims[1] is None:
        lined[1] = lined[1].expand((size, *lined[1].shape))
    return apply(*lined), 0
