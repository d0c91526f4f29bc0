"""Muon: momentum whose matrix is made orthogonal before the step.

Jordan and others, "Muon: An optimizer for hidden layers in neural networks" (2024); the matching of step sizes to
AdamW's: Liu and others, "Muon is Scalable for LLM Training" (2025). The orthogonal factor is found by Newton–Schulz
iteration in bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from ..autograd.dispatch import user_frame
from ..autograd.fp import IGNORE, quiet, restore
from ..autograd.versions import written
from ..tensor import Tensor, wrap
from .elementwise import check_lr_named
from .optimizer import Optimizer, ParamsT, run_closure
from .scratch import Scratch

__all__ = ["Muon"]

BF16 = np.dtype(ml_dtypes.bfloat16)
F32 = np.dtype(np.float32)


def _rounded(a: Any) -> Any:
    """float32 values rounded to bfloat16's, in float32 arrays."""
    return a.astype(BF16).astype(F32)


def orthogonal(g: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """Newton–Schulz iteration X ← aX + (bXXᵀ + c(XXᵀ)²)X from g/‖g‖: singular values go to about 1.

    Args:
        g: a matrix; it is rounded to bfloat16, as every product is.
        coefficients: a, b and c.

    Raises:
        ValueError: for 100 steps or more, or not three coefficients.
    """
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = map(F32.type, coefficients)
    x = _rounded(g.astype(F32))
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = _rounded(x / np.maximum(_rounded(np.sqrt((x * x).sum())), _rounded(F32.type(eps))))
    for _ in range(steps):
        gram = _rounded(x @ x.T)
        polynomial = _rounded(b * gram + c * (gram @ gram))
        x = _rounded(a * x + polynomial @ x)
    return x.T if tall else x


class Muon(Optimizer):
    """Muon (Jordan and others, 2024), for the matrices of hidden layers; other parameters want another optimizer.

    Args:
        params: matrices, (name, matrix) pairs, or dicts of them with options of their own.
        lr: learning rate.
        weight_decay: factor of the parameter's own shrinking.
        momentum: how much of the running mean gradient a step keeps.
        nesterov: step along the mean that comes after the gradient.
        ns_coefficients, ns_steps, eps: of the Newton–Schulz iteration.
        adjust_lr_fn: ``"original"`` (the default) for a step that grows with √(rows/columns), or ``"match_rms_adamw"``.

    Raises:
        ValueError: for a parameter that is no matrix.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ):
        check_lr_named(lr)
        if not 0.0 <= momentum:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn is not None and adjust_lr_fn not in ("original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}"
                    )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; ``closure`` computes the loss anew and returns it."""
        loss = None if closure is None else run_closure(closure)
        frame = user_frame(2)
        token = quiet(IGNORE)
        scratch = Scratch()
        try:
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    if p.is_complex():
                        raise RuntimeError("Muon does not support complex parameters")
                    self._update(p, group, scratch.for_array(p._a))
                    written(p._a, frame.f_code, frame.f_lasti)
        finally:
            restore(token)
        return loss

    def _update(self, p: Tensor, group: dict[str, Any], words: Any) -> None:
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = wrap(np.zeros_like(p.grad._a))
        a, momentum, nesterov = p._a, group["momentum"], group["nesterov"]
        step = np.array(p.grad._a)
        words.run(
            _mean, nesterov, words.numbers((1 - momentum, momentum)), state["momentum_buffer"]._a, p.grad._a, step
        )
        step = orthogonal(step, group["ns_coefficients"], group["ns_steps"], group["eps"]).astype(a.dtype)
        lr = float(group["lr"])
        rows, columns = a.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            rate = lr * 0.2 * math.sqrt(max(rows, columns))
        else:
            rate = lr * math.sqrt(max(1, rows / columns)) if columns else lr
        words.run(_apply, None, words.numbers((1 - lr * group["weight_decay"], -rate)), a, step)


def _mean(x: Any, nesterov: Any, numbers: Any, mean: Any, g: Any, step: Any) -> None:
    """mean ← mean + (1−μ)·(g − mean); step: that, or g moved by μ towards it."""
    new, momentum = numbers
    x.lerp_(mean, g, new)
    if nesterov:
        x.lerp_(step, mean, momentum)
    else:
        x.copy_(step, mean)


def _apply(x: Any, flags: Any, numbers: Any, p: Any, step: Any) -> None:
    shrink, rate = numbers
    x.mul_(p, shrink)
    x.add_(p, step, rate)
