"""Losses under their names in ``torch`` itself, where reductions are numbers: 0 none, 1 the mean, 2 the sum.

In and out: as the functions of the same names in ``torch.nn.functional``, on which these stand.
"""

from __future__ import annotations

from typing import Any

from . import loss
from . import margin as _margin

_REDUCTIONS = ("none", "mean", "sum")


def _said(reduction: int) -> str:
    if reduction not in (0, 1, 2):
        raise RuntimeError(f"Invalid reduction type: {reduction}; 0 is none, 1 the mean, 2 the sum")
    return _REDUCTIONS[reduction]


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Any:
    """`torch.nn.functional.binary_cross_entropy_with_logits`, the reduction a number."""
    return loss.binary_cross_entropy_with_logits(
        input, target, weight, reduction=_said(reduction), pos_weight=pos_weight
    )


def cosine_embedding_loss(input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: int = 1) -> Any:
    """`torch.nn.functional.cosine_embedding_loss`, the reduction a number."""
    return _margin.cosine_embedding_loss(input1, input2, target, margin, reduction=_said(reduction))


def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, reduction: int = 1) -> Any:
    """`torch.nn.functional.hinge_embedding_loss`, the reduction a number."""
    return _margin.hinge_embedding_loss(input, target, margin, reduction=_said(reduction))


def kl_div(input: Any, target: Any, reduction: int = 1, *, log_target: bool = False) -> Any:
    """`torch.nn.functional.kl_div`, the reduction a number; its mean is over all elements."""
    each = loss.kl_div(input, target, reduction="none", log_target=log_target)
    return each.mean() if _said(reduction) == "mean" else each.sum() if reduction else each


def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: int = 1) -> Any:
    """`torch.nn.functional.margin_ranking_loss`, the reduction a number."""
    return _margin.margin_ranking_loss(input1, input2, target, margin, reduction=_said(reduction))


def poisson_nll_loss(input: Any, target: Any, log_input: bool, full: bool, eps: float, reduction: int) -> Any:
    """`torch.nn.functional.poisson_nll_loss`, the reduction a number."""
    return loss.poisson_nll_loss(input, target, log_input, full, eps=eps, reduction=_said(reduction))


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: int = 1,
) -> Any:
    """`torch.nn.functional.triplet_margin_loss`, the reduction a number."""
    return _margin.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, reduction=_said(reduction))
