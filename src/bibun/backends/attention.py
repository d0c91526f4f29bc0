"""Array kernels of scaled dot-product attention: the products of queries and keys, and their softmax under a mask; or all of it in
one step, which natively never holds the matrix of all weights.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .large import kernels_of, native
from .reduce import along

__all__ = [
    "attention_scores",
    "attention_weights",
    "attention_weights_gradient",
    "flash_attention",
    "flash_attention_gradients",
]

_maximum: Any = np.maximum.reduce
_add: Any = np.add.reduce


def attention_scores(q: Any, k: Any) -> Any:
    """``q @ k.mT``."""
    return np.matmul(q, k.swapaxes(-1, -2))


@functools.lru_cache(16)
def later(rows: int, columns: int, dtype: Any) -> Any:
    """-inf where a key comes after its query, else 0."""
    made = np.zeros((rows, columns), dtype)
    made[~np.tri(rows, columns, dtype=bool)] = -np.inf
    made.flags.writeable = False
    return made


def attention_weights(scores: Any, mask: Any, scale: float, causal: bool) -> Any:
    """softmax(scores · scale + mask) along the last dimension; rows with all of it masked are 0."""
    made = np.multiply(scores, scores.dtype.type(scale))
    if not made.size:
        return made
    if causal:
        made += later(*made.shape[-2:], made.dtype)
    if mask is not None:
        if mask.dtype.kind == "b":
            np.copyto(made, -np.inf, where=~mask)
        else:
            made += mask
    most = _maximum(made, -1, None, None, True)
    if mask is not None:
        most[np.isneginf(most)] = 0
    made -= most
    np.exp(made, out=made)
    total = _add(made, -1, None, None, True)
    if mask is not None:
        total[total == 0] = 1
    made /= total
    return made


def attention_weights_gradient(g: Any, weights: Any, scale: float) -> Any:
    """The vector-Jacobian product of `attention_weights` in the scores."""
    made = np.multiply(g, weights)
    total = _add(made, -1, None, None, True)
    np.subtract(g, total, out=made)
    made *= weights
    if scale != 1:
        made *= made.dtype.type(scale)
    return made


def flash_attention(q: Any, k: Any, v: Any, mask: Any, scale: float, causal: bool) -> tuple[Any, Any]:
    """(softmax(q @ k.mT · scale + mask) @ v, the logarithm of each row's sum of exponentials)."""
    if native():
        attention = kernels_of("kernels.attention")
        if attention.suits(q, k, v):
            return attention.attention(q, k, v, mask, scale, causal)
    scores = attention_scores(q, k)
    weights = attention_weights(scores, mask, scale, causal)
    # A weight is exp(score - sum): the largest tells the sum best.
    place = weights.argmax(-1)[..., None]
    largest = along(scores, place, -1) * scores.dtype.type(scale)
    if mask is not None and mask.dtype.kind != "b":
        largest += along(np.broadcast_to(mask, scores.shape), place, -1)
    top = along(weights, place, -1)
    sums = np.where(top == 0, np.inf, largest - np.log(top))[..., 0]
    return np.matmul(weights, v), sums.astype(scores.dtype, copy=False)


def flash_attention_gradients(
    g: Any, q: Any, k: Any, v: Any, mask: Any, out: Any, sums: Any, scale: float, causal: bool
) -> list[Any]:
    """The gradients of queries, keys and values."""
    if native():
        attention = kernels_of("kernels.attention")
        if attention.suits(q, k, v):
            return attention.attention_gradient(g, q, k, v, mask, out, sums, scale, causal)
    weights = attention_weights(attention_scores(q, k), mask, scale, causal)
    d_scores = attention_weights_gradient(np.matmul(g, v.swapaxes(-1, -2)), weights, scale)
    turned = d_scores.swapaxes(-1, -2)
    return [np.matmul(d_scores, k), np.matmul(turned, q), np.matmul(weights.swapaxes(-1, -2), g)]
