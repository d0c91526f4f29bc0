"""Adamax: Adam with the largest recent gradient in place of the root mean square.

Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), section 7.1.
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise, at_least_zero, check_betas, check_lr, counter, zeros_like
from .optimizer import ParamsT

__all__ = ["Adamax"]


def _adamax(x: Any, flags: Any, numbers: Any, p: Any, g: Any, mean: Any, largest: Any) -> None:
    """One step: mean ← β₁·mean + (1−β₁)·g, largest ← max(β₂·largest, |g| + ε), p ← p − lr/(1−β₁ⁿ)·mean/largest."""
    maximize, decay = flags
    new_mean, keep, eps, rate, decay_by = numbers
    if maximize:
        g = x.neg(g, x.u)
    if decay:
        g = x.add(g, p, decay_by, x.u)
    x.lerp_(mean, g, new_mean)
    x.mul_(largest, keep)
    x.maximum_(largest, x.plus(x.abs(g, x.d), eps, x.d))
    x.addcdiv_(p, mean, largest, rate)


class Adamax(Elementwise):
    """Adamax (Kingma and Ba, 2015).

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: learning rate, a number or a tensor of one element.
        betas: how much of the running mean and of the largest gradient a step keeps.
        eps: added to the gradient's magnitude.
        weight_decay: multiple of the parameter added to its gradient.
        maximize: go up the gradient.
        differentiable: have the step recorded, so that it can be differentiated.
        foreach, capturable: PyTorch's choices of implementation; there is one here.
    """

    _rule = staticmethod(_adamax)
    _capturable = ("params and state_steps", "'cuda', 'xpu', 'hpu', 'privateuseone', 'xla'")
    _later = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
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
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": counter(), "exp_avg": zeros_like(p), "exp_inf": zeros_like(p)}

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
        return ("exp_avg", "exp_inf"), (group["maximize"], group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], n: float, state: dict[str, Any]) -> tuple[Any, ...]:
        beta1, beta2 = group["betas"]
        return 1 - beta1, beta2, group["eps"], -(group["lr"] / (1 - beta1**n)), group["weight_decay"]
