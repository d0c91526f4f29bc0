"""Adadelta: steps in the parameter's own unit, from running means of squared gradients and squared steps.

Zeiler, "ADADELTA: An Adaptive Learning Rate Method" (2012).
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise, at_least_zero, check_lr, counter, zeros_like
from .optimizer import ParamsT

__all__ = ["Adadelta"]


def _adadelta(x: Any, flags: Any, numbers: Any, p: Any, g: Any, square: Any, moved: Any) -> None:
    """One step: Δ = √(moved + ε)/√(square + ε)·g, p ← p − lr·Δ, both means running with ρ."""
    maximize, decay = flags
    keep, new, eps, rate, decay_by = numbers
    if maximize:
        g = x.neg(g, x.u)
    if decay:
        g = x.add(g, p, decay_by, x.u)
    x.mul_(square, keep)
    x.addcmul_(square, g, g, new)
    d = x.sqrt(x.plus(square, eps, x.d), x.d)
    step = x.sqrt(x.plus(moved, eps, x.e), x.e)
    step = x.div(step, d, x.e)
    step = x.mul(step, g, x.e)
    x.mul_(moved, keep)
    x.addcmul_(moved, step, step, new)
    x.add_(p, step, rate)


class Adadelta(Elementwise):
    """Adadelta (Zeiler, 2012).

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: factor of the steps, a number or a tensor of one element.
        rho: how much of the running means a step keeps.
        eps: added under both roots.
        weight_decay: multiple of the parameter added to its gradient.
        maximize: go up the gradient.
        differentiable: have the step recorded, so that it can be differentiated.
        foreach, capturable: PyTorch's choices of implementation; there is one here.
    """

    _rule = staticmethod(_adadelta)
    _capturable = ("params and state_steps", "'cuda', 'xpu', 'hpu', 'privateuseone'")
    _later = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        at_least_zero("epsilon value", eps)
        at_least_zero("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": counter(), "square_avg": zeros_like(p), "acc_delta": zeros_like(p)}

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
        return ("square_avg", "acc_delta"), (group["maximize"], group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], n: float, state: dict[str, Any]) -> tuple[Any, ...]:
        rho = group["rho"]
        return rho, 1 - rho, group["eps"], -group["lr"], group["weight_decay"]
