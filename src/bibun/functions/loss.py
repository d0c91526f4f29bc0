"""Losses, with the signatures of ``torch.nn.functional``.

In: an input and what it should have been. Out: the loss, each (``reduction="none"``), their ``"mean"`` or their
``"sum"``. ``size_average`` and ``reduce`` are the two arguments that once chose among these.
"""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

from .. import dtypes
from ..autograd import dispatch
from ..autograd.direct import make_many, make_one, make_two
from ..autograd.dispatch import F32, apply, recorder
from ..backends import cpu
from ..backends.large import LARGE, SOME, native, ready
from ..errors import cast_error
from ..ops import activation as activations
from ..ops import elementwise
from ..ops import loss as ops
from .register import FUNCTIONS
from .shape import broadcast_tensors

_DIVIDE = elementwise.divide.named("DivBackward1")
_CODES = {"none": 0, "mean": 1, "sum": 2}
_log_softmax_along = make_one(activations.log_softmax, cpu.log_softmax)
_nll_of = make_many(ops.nll_loss, cpu.nll_loss)
_cross = make_many(ops.cross_entropy, cpu.cross_entropy)  # the two above in one, for large arrays
_logits = make_many(
    ops.binary_cross_entropy_with_logits, functools.partial(ops.binary_cross_entropy_with_logits.run, cpu)
)
_mse = make_two(ops.mse_loss, cpu.mse_loss)


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
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{name}' instead.", stacklevel=3
    )
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
    warnings.warn(
        f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). This will "
        "likely lead to incorrect "
        "results due to broadcasting. Please ensure they have the same size.",
        stacklevel=3,
    )


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


def mse_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None
) -> Any:
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
        return _mse(input, target, code)
    _check_weight(input, weight)
    each = _mse(input, target, 0) * weight
    return each if not code else each.sum() / weight.sum() if code == 1 else each.sum()


def _check_weight(input: Any, weight: Any) -> None:
    if weight._a.shape != input._a.shape:
        raise ValueError("Weights and input must have the same size.")


# Likelihood of classes


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """Minus the log-probability of each target class.

    Shape: input (C,) or (N, C, *), target () or (N, *) of class numbers, weight (C,). The mean divides by the
    weights' sum; targets equal to ``ignore_index`` do not count.
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
    if (
        ndim == 2
        and t.ndim == 1
        and t.shape[0] == x.shape[0]
        and t.dtype.char == "l"
        and weight is None
        and x.dtype.kind not in "biuc"
    ):
        return _nll_of((input, target, None), (ignore_index, code))
    if not ndim:
        raise ValueError(f"Expected 1 or more dimensions (got {ndim})")
    if ndim != 1 and (not t.ndim or x.shape[0] != t.shape[0]):
        raise ValueError(
            f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({t.shape[0] if t.ndim else 0})."
        )
    classes = x.shape[0] if ndim == 1 else x.shape[1]
    if ndim == 1 and (t.ndim > 1 or t.size != 1):
        raise RuntimeError(
            "For 1D input, 1D target must have size 1, but got target size: " + str(t.shape[0])
            if t.ndim == 1
            else "0D or 1D target tensor expected, multi-target not supported"
        )
    if ndim == 2 and t.ndim != 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if ndim > 2 and t.shape[1:] != x.shape[2:]:
        if ndim == 4 and t.ndim == 3:
            raise RuntimeError(f"size mismatch (got input: {list(x.shape)} , target: {list(t.shape)}")
        if ndim == 4:
            raise RuntimeError(
                f"only batches of spatial targets supported (3D tensors) but got targets of dimension: {t.ndim}"
            )
        raise RuntimeError(f"Expected target size {[x.shape[0], *x.shape[2:]]}, got {list(t.shape)}")
    if weight is not None and (weight._a.ndim != 1 or weight._a.size != classes):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
            "shape: "
            f"{list(weight._a.shape)}"
        )
    if x.dtype.kind in "biuc":
        raise not_implemented("nll_loss_out_frame" if ndim < 3 else "nll_loss2d_forward_out_frame", input)
    if weight is not None and weight._a.dtype != x.dtype:
        raise RuntimeError(f"expected scalar type {input.dtype.scalar_name} but found {weight.dtype.scalar_name}")
    if t.dtype.char != "l":
        if t.dtype.char != "B":
            raise RuntimeError(f"expected target dtype to be Long or Byte, but got {target.dtype.scalar_name}")
        target = target.long()
    return apply(ops.nll_loss if ndim < 3 else ops.nll_loss2d, (input, target, weight), (ignore_index, code))


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
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
        if (x.size >= (SOME if ready[0] else LARGE) or recorder[0] is not None) and x.dtype is F32 and not dispatch.transformed() and _together(x, t, weight):
            return _cross((input, target, weight), (ignore_index, code, 0.0))[0]
        logp = _log_softmax_along(input, 1)
        if weight is None and t.shape[0] == x.shape[0]:
            return _nll_of((logp, target, None), (ignore_index, code))
        return _nll(logp, target, weight, ignore_index, code)
    return _cross_entropy(input, target, weight, ignore_index, code, label_smoothing)


def _together(x: Any, t: Any, weight: Any) -> bool:
    """Whether `_cross` takes these: native kernels are there, and nothing is wrong with the shapes."""
    if weight is not None and (weight._a.dtype is not x.dtype or weight._a.shape != x.shape[1:]):
        return False
    return t.shape[0] == x.shape[0] and native()


def _cross_entropy(input: Any, target: Any, weight: Any, ignore_index: int, code: int, smoothing: float) -> Any:
    """Everything but class numbers of a batch of vectors without smoothing."""
    x, t = input._a, target._a
    axis = 1 if x.ndim > 1 else 0
    if x.shape == t.shape:  # probabilities
        if t.dtype.kind in "biu":
            raise RuntimeError(
                f"Expected floating point type for target with class probabilities, got {target.dtype.scalar_name}"
            )
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
        return total if code == 2 else apply(_DIVIDE, (total, math.prod(x.shape[:1] + x.shape[2:] if axis else ())))
    if smoothing:
        _check_smoothing(smoothing)
        if x.ndim == 2 and t.ndim == 1 and t.dtype.char == "l" and x.size >= LARGE and x.dtype is F32 and weight is None:
            if not dispatch.transformed() and _together(x, t, None):
                return _cross((input, target, None), (ignore_index, code, smoothing))[0]
        return _smoothed(input, target, weight, ignore_index, code, smoothing, axis)
    return _nll(_log_softmax(input, axis), target, weight, ignore_index, code)


def _log_softmax(input: Any, axis: int) -> Any:
    if input._a.dtype.kind in "biu":
        raise not_implemented("log_softmax_lastdim_kernel_impl", input)
    return _log_softmax_along(input, axis)


def _check_class_weight(weight: Any, classes: int) -> None:
    if weight is not None and (weight._a.ndim != 1 or weight._a.size != classes):
        raise RuntimeError(
            f"cross_entropy: weight tensor should be defined either for all {classes} classes or no classes but got "
            "weight tensor of "
            f"shape: {list(weight._a.shape)}"
        )


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


# Distances, continued


def l1_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None
) -> Any:
    """|input - target|."""
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    if input._a.shape != target._a.shape:
        unequal(input, target)
    code = reduction_code(reduction)
    each = (input - target).abs()
    if weight is None:
        return reduced(each, code)
    _check_weight(input, weight)
    each = each * weight
    return each if not code else each.sum() / weight.sum() if code == 1 else each.sum()


def smooth_l1_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", beta: float = 1.0
) -> Any:
    """Half the square over β where |input - target| < β, else |input - target| - β/2 (Girshick 2015)."""
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    if input._a.shape != target._a.shape:
        unequal(input, target)
    code = reduction_code(reduction)
    if beta == 0.0:
        return reduced((input - target).abs(), code)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    return apply(ops.smooth_l1_loss, alike("smooth_l1_cpu", input, target), (code, beta))


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """Half the square where |input - target| ≤ δ, else δ(|input - target| - δ/2) (Huber 1964)."""
    if input._a.shape != target._a.shape:
        unequal(input, target)
    code = reduction_code(reduction)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    d = input._a.dtype
    pair = alike("huber_cpu", input, target)
    if weight is None:
        made = apply(ops.huber_loss, pair, (code, delta))
        return made if made._a.dtype == d or d.kind in "biu" else made.to(input.dtype)
    _check_weight(input, weight)
    return reduced(apply(ops.huber_loss, pair, (0, delta)) * weight, code)


# Binary cross-entropy


def _between_0_and_1(x: Any, what: str) -> None:
    a = x._a
    if a.size and not ((a >= 0) & (a <= 1)).all():
        raise RuntimeError(f"all elements of {what} should be between 0 and 1")


def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """-[target·log(input) + (1 - target)·log(1 - input)] of probabilities; the logarithms are held above -100."""
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = reduction_code(reduction)
    if input._a.shape != target._a.shape:
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}) is "
            "deprecated. Please ensure they "
            "have the same size."
        )
    if weight is not None:
        weight = weight.expand(broadcast_tensors(target, weight)[0]._a.shape)
    if input._a.dtype.kind in "biuc":
        raise not_implemented("binary_cross_entropy", input)
    for other in (target, weight):
        if other is not None and other._a.dtype != input._a.dtype:
            raise RuntimeError(f"Found dtype {other.dtype.scalar_name} but expected {input.dtype.scalar_name}")
    if not dispatch.busy[0]:
        _between_0_and_1(input, "input")
        _between_0_and_1(target, "target")
    return apply(ops.binary_cross_entropy, (input, target, weight), (code,))


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """`binary_cross_entropy` of sigmoid(input), without overflow; positive targets weigh ``pos_weight``."""
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = reduction_code(reduction)
    if input._a.shape != target._a.shape:
        raise ValueError(f"Target size ({target.size()}) must be the same as input size ({input.size()})")
    return _bce_with_logits(input, target, weight, pos_weight, code)


def _bce_with_logits(input: Any, target: Any, weight: Any, pos_weight: Any, code: int) -> Any:
    d = input._a.dtype
    if (
        target._a.dtype != d
        or weight is not None
        and weight._a.dtype != d
        or pos_weight is not None
        and pos_weight._a.dtype != d
    ):
        common = dtypes.result_type(
            [(x.dtype, 2 if x._a.ndim else 1) for x in (input, target, weight, pos_weight) if x is not None]
        )
        if target._a.dtype.kind in "biu" and common.np.kind == "f":
            raise cast_error(common, target.dtype)
        input, target, weight, pos_weight = (
            x if x is None else x.to(common) for x in (input, target, weight, pos_weight)
        )
    if input._a.dtype.kind in "biuc":
        raise not_implemented("log_sigmoid_cpu", input)
    if weight is None and pos_weight is None:
        return _logits((input, target, None, None), (code,))
    shape = broadcast_tensors(*[x for x in (input, target, weight, pos_weight) if x is not None])[0]._a.shape
    if input._a.shape != shape:
        input = input.expand(shape)
    if target._a.shape != shape:
        target = target.expand(shape)
    return _logits((input, target, weight, pos_weight), (code,))


def soft_margin_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """log(1 + exp(-target·input)), targets being ±1."""
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    code = reduction_code(reduction)
    if input._a.dtype.kind in "biu":
        raise cast_error(dtypes.float32, input.dtype)
    return apply(ops.soft_margin_loss, alike("soft_margin_loss_cpu", input, target), (code, None))


# Divergences and likelihoods


def kl_div(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Any:
    """The Kullback–Leibler divergence of ``target`` from ``input``, the latter in log-probabilities.

    ``reduction="batchmean"`` divides the sum by the batch size, which is the mathematical definition.
    """
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    batchmean = reduction == "batchmean"
    code = 2 if batchmean else reduction_code(reduction)
    if input._a.dtype.kind in "biu" or target._a.dtype.kind in "biu":
        raise RuntimeError("kl_div: Integral inputs not supported.")
    if log_target:
        each = target.exp() * (target - input)
    else:
        each = _xlogy(target, target) - target * input
    made = reduced(each, code)
    return made / input._a.shape[0] if batchmean and input._a.ndim else made


def _xlogy(x: Any, y: Any) -> Any:
    return FUNCTIONS["xlogy"](x, y)


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: Any = None,
    eps: float = 1e-8,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """Minus the log-likelihood of Poisson counts, given their rate or its logarithm; ``full`` adds Stirling's term."""
    if size_average is not None or reduce is not None:
        reduction = chosen(reduction, size_average, reduce)
    if reduction not in _CODES:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + (target * (2 * math.pi)).log() * 0.5
        loss = loss + stirling.masked_fill(target <= 1, 0)
    return reduced(loss, _CODES[reduction])


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    """Minus the log-likelihood of normal values, given mean and variance (held above ``eps``)."""
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = FUNCTIONS["full_like"](input, var)
    elif dispatch.busy[0] == 0 and (var._a < 0).any():
        raise ValueError("var has negative entry/entries")
    x, v = input._a, var._a
    if v.shape != x.shape:
        if x.shape[:-1] == v.shape:
            var = var.unsqueeze(-1)
        elif x.shape[:-1] != v.shape[:-1] or v.shape[-1] != 1:
            raise ValueError("var is of incorrect size")
    if reduction not in _CODES:
        raise ValueError(f"{reduction} is not valid")
    from ..autograd.modes import no_grad

    var = var.clone()
    with no_grad():
        var.clamp_(min=eps)
    loss = (var.log() + (input - target) ** 2 / var) * 0.5
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, _CODES[reduction])
