"""Losses, with the signatures of ``torch.nn.functional``.

In: an input and what it should have been. Out: the loss, each (``reduction="none"``), their ``"mean"`` or their ``"sum"``.
``size_average`` and ``reduce`` are the two arguments that once chose among these.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from .. import dtypes
from ..autograd import dispatch
from ..autograd.dispatch import apply
from ..ops import activation as activations
from ..ops import loss as ops
from .register import FUNCTIONS
from .shape import broadcast_tensors

_CODES = {"none": 0, "mean": 1, "sum": 2}
_LOG_SOFTMAX, _NLL, _NLL2D, _MSE = activations.log_softmax, ops.nll_loss, ops.nll_loss2d, ops.mse_loss


# Arguments


def reduction_code(reduction: Any) -> int:
    """0, 1 or 2 for ``none``, ``mean`` or ``sum``.

    Raises:
        ValueError: another name.
    """
    code = _CODES.get(reduction)
    if code is not None:
        return code
    if reduction == "elementwise_mean":
        warnings.warn("reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.", stacklevel=3)
        return 1
    raise ValueError(f"{reduction} is not a valid value for reduction")


def chosen(reduction: Any, size_average: Any, reduce: Any) -> Any:
    """The reduction that the old arguments mean, where one was given."""
    if size_average is None and reduce is None:
        return reduction
    name = "none" if reduce is not None and not reduce else "mean" if size_average is None or size_average else "sum"
    warnings.warn(f"size_average and reduce args will be deprecated, please use reduction='{name}' instead.", stacklevel=3)
    return name


def reduced(loss: Any, code: int) -> Any:
    """Each loss, their mean or their sum."""
    return loss if not code else loss.mean() if code == 1 else loss.sum()


def size(x: Any) -> Any:
    """The shape of a tensor, as messages print it."""
    return dtypes.Size(x._a.shape)


def not_implemented(name: str, x: Any) -> NotImplementedError:
    return NotImplementedError(f"\"{name}\" not implemented for '{x.dtype.scalar_name}'")


def unequal(input: Any, target: Any) -> None:
    """Warn of a target that only broadcasting makes fit."""
    warnings.warn(f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). This will likely lead to incorrect "
                  "results due to broadcasting. Please ensure they have the same size.", stacklevel=3)


def alike(name: str, input: Any, target: Any) -> tuple[Any, Any]:
    """Input and target of one shape and one floating dtype."""
    x, y = input._a, target._a
    if x.dtype != y.dtype:
        common = dtypes.result_type([(input.dtype, 2 if x.ndim else 1), (target.dtype, 2 if y.ndim else 1)])
        input, target = input.to(common), target.to(common)
    if input._a.dtype.kind in "biuc":
        raise not_implemented(name, input)
    return (input, target) if x.shape == y.shape else broadcast_tensors(input, target)


# Distances


def mse_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None) -> Any:
    """(input - target)², of any shape.

    >>> import bibun as torch
    >>> torch.nn.functional.mse_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(2.)
    """
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = _CODES.get(reduction)
    x, y = input._a, target.size().__class__ and target._a
    if x.shape != y.shape:
        unequal(input, target)
    if code is None:
        code = reduction_code(reduction)
    if x.shape != y.shape or x.dtype != y.dtype or x.dtype.kind in "biuc":
        input, target = alike("mse_cpu", input, target)
    if weight is None:
        return apply(_MSE, (input, target), (code,))
    _check_weight(input, weight)
    each = apply(_MSE, (input, target), (0,)) * weight
    return each if not code else each.sum() / weight.sum() if code == 1 else each.sum()


def _check_weight(input: Any, weight: Any) -> None:
    if weight._a.shape != input._a.shape:
        raise ValueError("Weights and input must have the same size.")


# Likelihood of classes


def nll_loss(input: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
             reduction: str = "mean") -> Any:
    """Minus the log-probability of each target class.

    Shape: input (C,) or (N, C, *), target () or (N, *) of class numbers, weight (C,). The mean divides by the weights' sum;
    targets equal to ``ignore_index`` do not count.
    """
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = _CODES.get(reduction)
    if code is None:
        code = reduction_code(reduction)
    return _nll(input, target, weight, ignore_index, code)


def _nll(input: Any, target: Any, weight: Any, ignore_index: int, code: int) -> Any:
    x, t = input._a, target._a
    ndim = x.ndim
    if ndim == 2 and t.ndim == 1 and t.shape[0] == x.shape[0] and t.dtype.char == "l" and weight is None and x.dtype.kind != "c":
        return apply(_NLL, (input, target, None), (ignore_index, code))
    if not ndim:
        raise ValueError(f"Expected 1 or more dimensions (got {ndim})")
    if ndim != 1 and (not t.ndim or x.shape[0] != t.shape[0]):
        raise ValueError(f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({t.shape[0] if t.ndim else 0}).")
    classes = x.shape[0] if ndim == 1 else x.shape[1]
    if ndim == 1 and (t.ndim > 1 or t.size != 1):
        raise RuntimeError("For 1D input, 1D target must have size 1, but got target size: " + str(t.shape[0]) if t.ndim == 1 else
                           "0D or 1D target tensor expected, multi-target not supported")
    if ndim == 2 and t.ndim != 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if ndim > 2 and t.shape[1:] != x.shape[2:]:
        if ndim == 4 and t.ndim == 3:
            raise RuntimeError(f"size mismatch (got input: {list(x.shape)} , target: {list(t.shape)}")
        if ndim == 4:
            raise RuntimeError(f"only batches of spatial targets supported (3D tensors) but got targets of dimension: {t.ndim}")
        raise RuntimeError(f"Expected target size {[x.shape[0], *x.shape[2:]]}, got {list(t.shape)}")
    if weight is not None and (weight._a.ndim != 1 or weight._a.size != classes):
        raise RuntimeError(f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of shape: "
                           f"{list(weight._a.shape)}")
    if x.dtype.kind in "biuc":
        raise not_implemented("nll_loss_out_frame" if ndim < 3 else "nll_loss2d_forward_out_frame", input)
    if weight is not None and weight._a.dtype != x.dtype:
        raise RuntimeError(f"expected scalar type {input.dtype.scalar_name} but found {weight.dtype.scalar_name}")
    if t.dtype.char != "l":
        if t.dtype.char != "B":
            raise RuntimeError(f"expected target dtype to be Long or Byte, but got {target.dtype.scalar_name}")
        target = target.long()
    return apply(_NLL if ndim < 3 else _NLL2D, (input, target, weight), (ignore_index, code))


def cross_entropy(input: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Any:
    """Cross-entropy of logits with class numbers or class probabilities.

    Shape: input (C,) or (N, C, *); target () or (N, *) of class numbers, or probabilities of input's shape.

    >>> import bibun as torch
    >>> torch.nn.functional.cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
    tensor(1.3863)
    """
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = _CODES.get(reduction)
    if code is None:
        code = reduction_code(reduction)
    x, t = input._a, target._a
    if x.ndim == 2 and t.ndim == 1 and t.dtype.char == "l" and x.dtype.kind not in "biuc" and not label_smoothing:
        logp = apply(_LOG_SOFTMAX, (input,), (1,))
        if weight is None and t.shape[0] == x.shape[0]:
            return apply(_NLL, (logp, target, None), (ignore_index, code))
        return _nll(logp, target, weight, ignore_index, code)
    return _cross_entropy(input, target, weight, ignore_index, code, label_smoothing)


def _cross_entropy(input: Any, target: Any, weight: Any, ignore_index: int, code: int, smoothing: float) -> Any:
    """Everything but class numbers of a batch of vectors without smoothing."""
    x, t = input._a, target._a
    axis = 1 if x.ndim > 1 else 0
    if x.shape == t.shape:      # probabilities
        if t.dtype.kind in "biu":
            raise RuntimeError(f"Expected floating point type for target with class probabilities, got {target.dtype.scalar_name}")
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        _check_class_weight(weight, x.shape[axis])
        _check_smoothing(smoothing)
        if smoothing:
            target = target * (1 - smoothing) + smoothing / x.shape[axis]
        each = _log_softmax(input, axis) * target
        if weight is not None:
            each = each * weight.reshape((1, -1, *(1,) * (x.ndim - 2)) if axis else (-1,))
        if not code:
            return -each.sum(axis)
        total = -each.sum()
        return total if code == 2 else total / math.prod(x.shape[:1] + x.shape[2:] if axis else ())
    if smoothing:
        _check_smoothing(smoothing)
        return _smoothed(input, target, weight, ignore_index, code, smoothing, axis)
    return _nll(_log_softmax(input, axis), target, weight, ignore_index, code)


def _log_softmax(input: Any, axis: int) -> Any:
    if input._a.dtype.kind in "biu":
        raise not_implemented("log_softmax_lastdim_kernel_impl", input)
    return apply(_LOG_SOFTMAX, (input,), (axis,))


def _check_class_weight(weight: Any, classes: int) -> None:
    if weight is not None and (weight._a.ndim != 1 or weight._a.size != classes):
        raise RuntimeError(f"cross_entropy: weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
                           f"shape: {list(weight._a.shape)}")


def _check_smoothing(smoothing: float) -> None:
    if not 0.0 <= smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {smoothing}")


def _smoothed(input: Any, target: Any, weight: Any, ignore_index: int, code: int, smoothing: float, axis: int) -> Any:
    """Of the class numbers (1 - smoothing), of all classes alike the rest."""
    classes = input._a.shape[axis]
    _check_class_weight(weight, classes)
    logp = _log_softmax(input, axis)
    nll = _nll(logp, target, weight, ignore_index, code)
    if weight is None:
        spread = -logp.sum(axis)
    else:
        spread = -(logp * weight.reshape((1, -1, *(1,) * (logp.ndim - 2)) if axis else (-1,))).sum(axis)
    target = target.reshape(spread._a.shape) if not axis else target
    ignored = target == ignore_index
    spread = spread.masked_fill(ignored, 0.0)
    if code == 1:
        if weight is None:
            spread = spread.sum() / (~ignored).sum()
        else:
            counted = weight.gather(0, target.masked_fill(ignored, 0).flatten()).masked_fill(ignored.flatten(), 0.0)
            spread = spread.sum() / counted.sum()
    elif code == 2:
        spread = spread.sum()
    return nll * (1 - smoothing) + spread * (smoothing / classes)
