"""Distances and similarities between vectors, with the signatures of ``torch.nn.functional``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..autograd.dispatch import apply, wrap
from ..ops.reduction import vector_norm
from .register import FUNCTIONS

_NORM = vector_norm.named("NormBackward1")


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """The p-norm of x1 - x2 + eps along the last dimension."""
    difference = x1 - x2 + eps
    return (
        apply(_NORM, (difference,), (p, max(difference._a.ndim - 1, 0), keepdim))
        if difference._a.dtype.kind in "fcV"
        else difference.norm(p)
    )


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1·x2 / (max(|x1|, eps)·max(|x2|, eps)) along ``dim``."""
    if x1._a.dtype != x2._a.dtype:
        common = dtypes.promote_types(x1.dtype, x2.dtype)
        x1, x2 = x1.to(common), x2.to(common)
    if x1._a.dtype.kind in "biu":
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {x1.dtype.scalar_name}")
    x1, x2 = FUNCTIONS["broadcast_tensors"](x1, x2)

    def unit(x: Any) -> Any:
        size = x.norm(2, dim, True)
        held = size.detach().clamp_min(eps)  # below eps the norm counts as constant
        return x / size.where(size.detach() >= eps, held)

    return (unit(x1) * unit(x2)).sum(dim)


def pdist(input: Any, p: float = 2.0) -> Any:
    """The p-norm distances between all pairs of rows, in the order (0, 1), (0, 2), …, (1, 2), …

    Shape: input (n, m); output (n(n - 1)/2,).
    """
    a = input._a
    if a.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {a.ndim}D")
    if a.dtype.kind != "f":
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    i, j = np.triu_indices(a.shape[0], 1)
    return (input.index_select(0, wrap(i)) - input.index_select(0, wrap(j))).norm(p, 1)


FUNCTIONS.update(pairwise_distance=pairwise_distance, cosine_similarity=cosine_similarity, pdist=pdist)
