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
ctc_gradient.derivative(grad=no_rule("_ctc_loss_backward"), log_probs=no_rule("_ctc_loss_backward"))
