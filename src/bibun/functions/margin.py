"""Losses of margins and of distances between embeddings, with the signatures of ``torch.nn.functional``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.dispatch import apply
from ..ops import margin as ops
from .loss import chosen, not_implemented, reduced, reduction_code
from .shape import values_of


def hinge_embedding_loss(
    input: Any, target: Any, margin: float = 1.0, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """``input`` where the target is 1, max(0, margin - input) where it is -1."""
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = reduction_code(reduction)
    zero = input.new_zeros(())
    return reduced((margin - input).clamp_min(0).where(target != 1, zero) + input.where(target != -1, zero), code)


def margin_ranking_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """max(0, -target·(input1 - input2) + margin)."""
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = reduction_code(reduction)
    if not input1._a.ndim == input2._a.ndim == target._a.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{input1.size()}, input2: "
            f"{input2.size()}, target: {target.size()} "
        )
    return reduced((-target * (input1 - input2) + margin).clamp_min(0), code)


def cosine_embedding_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """1 - cos(x₁, x₂) where the target is 1, max(0, cos - margin) where it is -1."""
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = reduction_code(reduction)
    n = target._a.ndim
    if n > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if input1._a.ndim != n + 1 or input2._a.ndim != n + 1:
        raise RuntimeError(
            f"{n}D target tensor expects {n + 1}D input tensors, but found inputs with sizes {list(input1._a.shape)} "
            "and "
            f"{list(input2._a.shape)}."
        )
    eps = 1e-12
    dot = (input1 * input2).sum(n)
    cosine = dot / (((input1 * input1).sum(n) + eps) * ((input2 * input2).sum(n) + eps)).sqrt()
    zero = cosine.new_zeros(())
    return reduced(
        (1 - cosine).where(target == 1, zero) + (cosine - margin).clamp_min(0).where(target == -1, zero), code
    )


def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """The mean over the other classes j of max(0, margin - x[target] + x[j])^p.

    Shape: input (N, C) or (C,), target (N,) or ().
    """
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = reduction_code(reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    x, t = input._a, target._a
    if weight is not None and weight._a.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    if x.ndim > 2 or not x.size and (x.ndim != 2 or not x.shape[1]):
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(x.shape)}"
        )
    n, classes = (x.shape[0], x.shape[1]) if x.ndim == 2 else (1, x.size)
    if t.ndim > 1 or t.size != n:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input samples (batch "
            "size). Expected target "
            f"size [{n}], but got {list(t.shape)}. Input has shape {list(x.shape)}."
        )
    if weight is not None and weight._a.size != classes:
        raise RuntimeError(f"inconsistent weight size, expected {classes} but got {list(weight._a.shape)}")
    if x.dtype.kind in "biuc":
        raise not_implemented("multi_margin_loss", input)
    if t.dtype.char != "l":
        raise RuntimeError(f"expected scalar type Long but found {target.dtype.scalar_name}")
    if t.size and values_of(target) is not None and ((t < 0) | (t >= classes)).any():
        raise RuntimeError("target out of range")
    if not x.ndim:
        input = input.reshape((1,))
    return apply(ops.multi_margin_loss, (input, target, weight), (p, margin, code))


def multilabel_margin_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """The sum over targets k and other classes j of max(0, 1 - x[k] + x[j]), over the number of classes.

    Shape: input and target (N, C) or (C,); a target row lists class numbers, ended by -1.
    """
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = reduction_code(reduction)
    x, t = input._a, target._a
    if x.ndim > 2 or x.ndim == 2 and not x.shape[1]:
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(x.shape)}"
        )
    if t.shape != x.shape:
        raise RuntimeError(f"inconsistent target size: {list(t.shape)} for input of size: {list(x.shape)}")
    if x.dtype.kind in "biuc":
        raise not_implemented("multilabel_margin_loss_forward_out_frame", input)
    if t.dtype.char != "l":
        raise RuntimeError(f"expected scalar type Long but found {target.dtype.scalar_name}")
    classes = x.shape[-1] if x.ndim else 1
    if t.size and values_of(target) is not None and (np.max(t) >= classes or np.min(t) < -1):
        raise RuntimeError("argument #2 'target' is out of range")
    if not x.ndim:
        return apply(ops.multilabel_margin_loss, (input.reshape((1,)), target.reshape((1,))), (code,)).reshape(())
    return apply(ops.multilabel_margin_loss, (input, target), (code,))


def multilabel_soft_margin_loss(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """Binary cross-entropy of each class's logit, averaged over the classes (the last dimension)."""
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    from .activation import logsigmoid

    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    dim = input._a.ndim - 1
    return reduced(loss.sum(dim) / (input._a.shape[dim] if input._a.ndim else 1), reduction_code(reduction))


# Triplets


def _triplet_checks(anchor: Any, positive: Any, negative: Any, margin: float) -> None:
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    a, p, n = anchor._a.ndim, positive._a.ndim, negative._a.ndim
    if not a == p == n:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {a}D, positive {p}D, and negative {n}D inputs"
        )


def _triplet(distance: Any, anchor: Any, positive: Any, negative: Any, margin: float, swap: bool, code: int) -> Any:
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((near - far + margin).clamp_min(0), code)


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """max(0, |anchor - positive| - |anchor - negative| + margin), in p-norms (Balntas et al. 2016)."""
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = reduction_code(reduction)
    _triplet_checks(anchor, positive, negative, margin)
    from .distance import pairwise_distance

    return _triplet(lambda x, y: pairwise_distance(x, y, p, eps), anchor, positive, negative, margin, swap, code)


def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Any = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    """`triplet_margin_loss` with a distance of one's own."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    from .distance import pairwise_distance

    _triplet_checks(anchor, positive, negative, margin)
    return _triplet(
        distance_function or pairwise_distance, anchor, positive, negative, margin, swap, reduction_code(reduction)
    )
