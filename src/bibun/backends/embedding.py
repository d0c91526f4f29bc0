"""Array kernels of table look-ups."""

from __future__ import annotations

from typing import Any

import numpy as np

from .indexing import scatter_add_rows
from .large import LARGE, kernels_of, native


def embedding(weight: Any, index: Any, padding_idx: int, scale: bool) -> Any:
    """The rows of ``weight`` that ``index`` names. (The static arguments matter to the gradient alone.)"""
    # As unsigned numbers the negative ones are large: one pass finds any that is out of range.
    if index.size and np.maximum.reduce(index.view(np.uint64), None) >= weight.shape[0]:
        raise IndexError("index out of range in self")
    if index.size * weight.shape[-1] >= LARGE and native():
        made = kernels_of("kernels.rows").take_rows(weight, index)
        if made is not NotImplemented:
            return made
    return weight.take(index, 0)


def counts(index: Any, n: int) -> Any:
    """How often each of ``n`` rows is named; 1 for those that are not."""
    return np.maximum(np.bincount(index.reshape(-1), minlength=n), 1)


def embedding_gradient(grad: Any, index: Any, shape: Any, padding_idx: int, scale: bool) -> Any:
    """The table's gradient: rows of ``grad`` added up, none at ``padding_idx``, over the counts if ``scale``."""
    out = scatter_add_rows(shape, index, grad)
    if scale:
        out /= counts(index, shape[0])[:, None].astype(out.dtype)
    if padding_idx >= 0:
        out[padding_idx] = 0
    return out


def embedding_rows(x: Any, index: Any, padding_idx: int, scale: bool) -> Any:
    """The transpose of `embedding_gradient`."""
    if scale or padding_idx >= 0:
        x = np.array(x)
        if scale:
            x /= counts(index, x.shape[0])[:, None].astype(x.dtype)
        if padding_idx >= 0:
            x[padding_idx] = 0
    return x.take(index, 0)
