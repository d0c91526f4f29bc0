"""RAdam: Adam whose adaptive rate is held back until its variance is small enough.

Liu, Jiang, He, Chen, Liu, Gao and Han, "On the Variance of the Adaptive Learning Rate and Beyond" (2020).
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise, at_least_zero, check_betas, check_lr, counter, zeros_like
from .optimizer import ParamsT

__all__ = ["RAdam"]


def _radam(x: Any, flags: Any, numbers: Any, p: Any, g: Any, mean: Any, square: Any) -> None:
    """One step: p ← p − lr·mean/(1−β₁ⁿ), times r·√(1−β₂ⁿ)/(√square + ε) once the variance is tractable (r > 0)."""
    maximize, decay, decoupled = flags
    new_mean, keep, new_square, eps, lr, correction_mean, correction_square, rectify, minus, decay_by = numbers
    if maximize:
        g = x.neg(g, x.u)
    if decay:
        if decoupled:
            x.mul_(p, decay_by)
        else:
            g = x.add(g, p, decay_by, x.u)
    x.lerp_(mean, g, new_mean)
    x.mul_(square, keep)
    x.addcmul_(square, g, g, new_square)
    step = x.over(mean, correction_mean, x.e)
    step = x.scale(step, lr, x.e)
    if rectify > 0:
        d = x.sqrt(square, x.d)
        d = x.plus(d, eps, x.d)
        d = x.reciprocal(d, x.d)
        d = x.scale(d, correction_square, x.d)
        step = x.mul(step, d, x.e)
        step = x.scale(step, rectify, x.e)
    x.add_(p, step, minus)


class RAdam(Elementwise):
    """RAdam (Liu and others, 2020).

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: learning rate, a number or a tensor of one element.
        betas: how much of the running mean and the running mean square a step keeps.
        eps: added to the denominator.
        weight_decay: multiple of the parameter added to its gradient.
        decoupled_weight_decay: shrink the parameter itself instead of adding to the gradient.
        maximize: go up the gradient.
        differentiable: have the step recorded, so that it can be differentiated.
        foreach, capturable: PyTorch's choices of implementation; there is one here.
    """

    _rule = staticmethod(_radam)
    _capturable = ("params and state_steps", "'cuda', 'xpu', 'hpu', 'privateuseone', 'xla'")
    _later = {
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_lr(lr)
        at_least_zero("epsilon value", eps)
        check_betas(betas)
        at_least_zero("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": counter(), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
        return ("exp_avg", "exp_avg_sq"), (
            group["maximize"],
            group["weight_decay"] != 0,
            group["decoupled_weight_decay"],
        )

    def _scalars(self, group: dict[str, Any], n: float, state: dict[str, Any]) -> tuple[Any, ...]:
        lr, decay = group["lr"], group["weight_decay"]
        beta1, beta2 = group["betas"]
        correction = 1 - beta2**n
        longest = 2 / (1 - beta2) - 1  # ρ∞, the length of the average that β₂ makes
        length = longest - 2 * n * beta2**n / correction
        rectify = 0.0
        if length > 5.0:
            rectify = ((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)) ** 0.5
        return (
            1 - beta1,
            beta2,
            1 - beta2,
            group["eps"],
            lr,
            1 - beta1**n,
            correction**0.5,
            rectify,
            -1.0,
            1 - lr * decay if group["decoupled_weight_decay"] else decay,
        )
