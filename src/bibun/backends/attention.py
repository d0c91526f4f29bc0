"""Array kernels of scaled dot-product attention: the products of queries and keys, and their softmax under a mask."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

__all__ = ["attention_scores", "attention_weights", "attention_weights_gradient"]

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
