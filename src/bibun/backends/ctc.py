"""Array kernels of connectionist temporal classification (Graves et al. 2006), in logarithms.

In: log-probabilities (T, N, C), class numbers (N, S) padded to one length, the lengths of both. The labels are
extended by a blank before, between and after them, and the recursions go over all examples and extended labels at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .large import native

#: Log-probabilities of beginnings from which native code is worth its call.
SOME = 1 << 10


def extended(targets: Any, blank: int) -> tuple[Any, Any]:
    """(labels with blanks, (N, 2S + 1); where a path may come from two labels before)."""
    n, s = targets.shape
    labels = np.full((n, 2 * s + 1), blank, np.int64)
    labels[:, 1::2] = targets
    skip = np.zeros(labels.shape, bool)
    skip[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    return labels, skip


def _emissions(log_probs: Any, labels: Any) -> Any:
    """The log-probability of each extended label at each time, (T, N, L)."""
    return log_probs[:, np.arange(labels.shape[0])[:, None], labels]


def _ends(lengths: Any, target_lengths: Any) -> tuple[Any, Any, Any]:
    """(last time, last extended label, the one before it or 0) of each example."""
    return np.maximum(lengths - 1, 0), 2 * target_lengths, np.maximum(2 * target_lengths - 1, 0)


def ctc_loss(log_probs: Any, targets: Any, lengths: Any, target_lengths: Any, blank: int) -> tuple[Any, Any]:
    """(minus the log-likelihood of each example, (N,); the log-probability of all beginnings of paths, (T, N, L))."""
    labels, skip = extended(targets, blank)
    forward = _native_beginnings(log_probs, labels, skip, target_lengths)
    if forward is NotImplemented:
        forward = _beginnings(log_probs, labels, skip, target_lengths)
    n = np.arange(labels.shape[0])
    if not len(forward):
        return np.where(target_lengths > 0, np.inf, 0).astype(log_probs.dtype), forward
    last, end, other = _ends(lengths, target_lengths)
    total = forward[last, n, end]
    total = np.where(target_lengths > 0, np.logaddexp(total, forward[last, n, other]), total)
    total = np.where(lengths > 0, total, np.where(target_lengths > 0, -np.inf, 0))
    return -total.astype(log_probs.dtype), forward


def _native_beginnings(log_probs: Any, labels: Any, skip: Any, target_lengths: Any) -> Any:
    if log_probs.shape[0] * labels.size < SOME or not native():
        return NotImplemented
    from ..native.kernels.ctc import beginnings

    return beginnings(log_probs, labels, skip, target_lengths)


def _beginnings(log_probs: Any, labels: Any, skip: Any, target_lengths: Any) -> Any:
    """The log-probability of all beginnings of paths, (T, N, L)."""
    emitted = _emissions(log_probs, labels)
    forward = np.full(emitted.shape, -np.inf, log_probs.dtype)
    if len(forward):
        forward[0, :, 0] = emitted[0, :, 0]
        if labels.shape[1] > 1:
            forward[0, :, 1] = np.where(target_lengths > 0, emitted[0, :, 1], -np.inf)
    for t in range(1, len(forward)):
        before, now = forward[t - 1], forward[t]
        now[:] = before
        np.logaddexp(now[:, 1:], before[:, :-1], out=now[:, 1:])
        np.logaddexp(now[:, 2:], np.where(skip[:, 2:], before[:, :-2], -np.inf), out=now[:, 2:])
        now += emitted[t]
    return forward


def ctc_gradient(
    grad: Any,
    log_probs: Any,
    targets: Any,
    loss: Any,
    forward: Any,
    lengths: Any,
    target_lengths: Any,
    blank: int,
    zero_infinity: bool,
) -> Any:
    """grad·(probability - occupancy): the gradient in log-probabilities that a log-softmax made."""
    labels, skip = extended(targets, blank)
    if forward.size >= SOME and native():
        from ..native.kernels.ctc import slope

        made = slope(grad, log_probs, labels, skip, loss, forward, lengths, target_lengths, zero_infinity)
        if made is not NotImplemented:
            return made
    emitted = _emissions(log_probs, labels)
    steps, size, _ = emitted.shape
    n = np.arange(size)
    last, end, other = _ends(lengths, target_lengths)
    backward = np.full(emitted.shape, -np.inf, log_probs.dtype)
    for t in range(steps - 1, -1, -1):
        now = backward[t]
        if t + 1 < steps:
            after = backward[t + 1]
            now[:] = after
            np.logaddexp(now[:, :-1], after[:, 1:], out=now[:, :-1])
            np.logaddexp(now[:, :-2], np.where(skip[:, 2:], after[:, 2:], -np.inf), out=now[:, :-2])
            now += emitted[t]
        starting = np.flatnonzero((last == t) & (lengths > 0))
        now[starting, other[starting]] = emitted[t, starting, other[starting]]
        now[starting, end[starting]] = emitted[t, starting, end[starting]]
    occupancy = np.exp(forward + backward - emitted + loss[:, None])
    occupancy[np.isneginf(forward + backward)] = 0
    out = np.exp(log_probs)
    for place in range(labels.shape[1]):
        out[:, n, labels[:, place]] -= occupancy[:, :, place]
    out[:, np.isinf(loss)] = 0 if zero_infinity else np.nan
    out *= grad[:, None]
    out[np.arange(steps)[:, None] >= lengths] = 0
    if zero_infinity:
        out[:, np.isinf(loss)] = 0
    return out
