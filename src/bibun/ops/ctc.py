"""Connectionist temporal classification: minus the log-likelihood of label sequences that are shorter than the input.

In: log-probabilities (T, N, C), class numbers (N, S), the lengths of both (N,). Out: the loss of each example, and
for the backward the probabilities of all beginnings of paths.
"""

from __future__ import annotations

from .elementwise import no_rule
from .primitive import primitive


@primitive(outputs="out forward", nondiff="forward")
def ctc_loss(xp, log_probs, targets, input_lengths, target_lengths, /, blank, zero_infinity):
    """-log of the sum of the probabilities of all paths that collapse to the target."""
    return xp.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank)


@primitive(grad="CtcLossBackwardBackward0", nondiff="loss forward")
def ctc_gradient(xp, grad, log_probs, targets, loss, forward, input_lengths, target_lengths, /, blank, zero_infinity):
    """grad·(probability - occupancy)."""
    return xp.ctc_gradient(grad, log_probs, targets, loss, forward, input_lengths, target_lengths, blank, zero_infinity)


ctc_loss.derivative(
    log_probs=lambda xp, g_out, log_probs, targets, out, forward, input_lengths, target_lengths, blank, zero_infinity: (
        xp.ctc_gradient(g_out, log_probs, targets, out, forward, input_lengths, target_lengths, blank, zero_infinity)
    )
)


@ctc_loss.tangent
def _ctc_tangent(
    xp, t_log_probs, log_probs, targets, out, forward, input_lengths, target_lengths, blank, zero_infinity
):
    g = xp.ones_like(out)
    slope = xp.ctc_gradient(
        g, log_probs, targets, out, forward, input_lengths, target_lengths, blank, zero_infinity
    )
    return xp.sum(slope * t_log_probs, (0, 2)), None


ctc_gradient.derivative(grad=no_rule("_ctc_loss_backward"), log_probs=no_rule("_ctc_loss_backward"))


def _side_by_side(size, a, dim, axis):
    """``a`` with the batch dimension merged into ``axis``, that of the examples."""
    a = a.movedim(dim, axis) if dim is not None else a.unsqueeze(axis).expand((*a.shape[:axis], size, *a.shape[axis:]))
    return a.flatten(axis, axis + 1)


@ctc_loss.batching
def _ctc_batched(apply, size, arrays, dims, blank, zero_infinity):
    merged = [_side_by_side(size, a, d, axis) for a, d, axis in zip(arrays, dims, (1, 0, 0, 0))]
    out, forward = apply(*merged)
    return (out.unflatten(0, (size, -1)), forward.unflatten(1, (size, -1))), (0, 1)


@ctc_gradient.batching
def _ctc_gradient_batched(apply, size, arrays, dims, blank, zero_infinity):
    merged = [_side_by_side(size, a, d, axis) for a, d, axis in zip(arrays, dims, (0, 1, 0, 0, 1, 0, 0))]
    return apply(*merged).unflatten(1, (size, -1)), 1
