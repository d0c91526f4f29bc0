"""`ctc_loss`, with the signatures of ``torch`` and ``torch.nn.functional``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.dispatch import apply, wrap
from ..ops import ctc as ops
from .loss import not_implemented, reduction_code
from .register import FUNCTIONS
from .shape import values_of


def _lengths(given: Any, name: str, size: int) -> Any:
    a = given._a if isinstance(given, dispatch.Tensor) else np.asarray(given)
    if a.dtype.kind not in "iu" and a.size:
        raise RuntimeError(f"{name} must be integral")
    a = a.astype(np.int64).reshape(-1)
    if a.size != size:
        raise RuntimeError(f"{name} must be of size batch_size")
    if (a < 0).any():
        raise RuntimeError(
            f"Expected {name} to have value at least 0, but got value {a.min()} (while checking arguments for "
            "ctc_loss_allocate_outputs)"
        )
    return a


def _padded(targets: Any, lengths: Any) -> Any:
    """Targets as (N, S): concatenated ones are taken apart; what lies beyond each length is made 0."""
    longest = int(lengths.max()) if lengths.size else 0
    where = "(while checking arguments for ctc_loss_allocate_outputs)"
    made = np.zeros((lengths.size, longest), np.int64)
    inside = np.arange(longest) < lengths[:, None]
    if targets.ndim == 1:
        if targets.size != lengths.sum():
            raise RuntimeError(
                f"Expected tensor to have size {lengths.sum()} at dimension 0, but got size {targets.size} for "
                f"argument #2 'targets' {where}"
            )
        made[inside] = targets
        return made
    if targets.ndim != 2:
        raise RuntimeError(
            f"Expected 1 to 2 dimensions, but got {targets.ndim}-dimensional tensor for argument #2 'targets' {where}"
        )
    if targets.shape[0] != lengths.size:
        raise RuntimeError(
            f"Expected tensor to have size {lengths.size} at dimension 0, but got size {targets.shape[0]} for "
            f"argument #2 'targets' {where}"
        )
    if targets.shape[1] < longest:
        raise RuntimeError(
            f"Expected tensor to have size at least {longest} at dimension 1, but got size {targets.shape[1]} for "
            f"argument #2 'targets' {where}"
        )
    made[inside] = targets[:, :longest][inside]
    return made


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """Minus the log-likelihood of label sequences, summed over all alignments with the input (Graves et al. 2006).

    Shape: log_probs (T, N, C) or (T, C); targets (N, S) or all in a row; the lengths (N,). The mean divides each loss
    by its target's length first. Gradients suppose that ``log_probs`` come out of a log-softmax.
    """
    return _ctc(log_probs, targets, input_lengths, target_lengths, blank, reduction_code(reduction), zero_infinity)


def _ctc(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int, code: int, zero_infinity: bool
) -> Any:
    p = log_probs._a
    single = p.ndim == 2
    if single:
        log_probs = log_probs.unsqueeze(1)
        p = log_probs._a
        if targets._a.ndim == 1:
            targets = targets.unsqueeze(0)
    if p.ndim != 3:
        raise RuntimeError(
            f"Expected 3-dimensional tensor, but got {p.ndim}-dimensional tensor for argument #1 'log_probs'"
        )
    if p.dtype.char not in "fd":
        raise not_implemented("ctc_loss_cpu", log_probs)
    steps, size, classes = p.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    long, short = _lengths(input_lengths, "input_lengths", size), _lengths(target_lengths, "target_lengths", size)
    if long.size and long.max() > steps:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {steps}, but got value {long.max()} (while checking "
            "arguments for "
            "ctc_loss_allocate_outputs)"
        )
    if values_of(targets) is None and targets._a.ndim == 2:  # inside vmap
        longest = int(short.max()) if short.size else 0
        labels = targets[:, :longest] * wrap((np.arange(longest) < short[:, None]).astype(np.int64))
    else:
        numbers = _padded(targets._a, short)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= classes):
            raise RuntimeError("ctc_loss: the targets must be class numbers")
        labels = wrap(numbers)
    loss, _ = apply(ops.ctc_loss, (log_probs, labels, wrap(long), wrap(short)), (blank, bool(zero_infinity)))
    if zero_infinity:
        loss = loss.where(loss != float("inf"), loss.new_zeros(()))
    if code == 1:
        return (loss / wrap(np.maximum(short, 1).astype(p.dtype))).mean()
    return loss.sum() if code == 2 else loss.squeeze(0) if single else loss


FUNCTIONS["ctc_loss"] = (
    lambda log_probs, targets, input_lengths, target_lengths, blank=0, reduction=1, zero_infinity=False: _ctc(
        log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity
    )
)
