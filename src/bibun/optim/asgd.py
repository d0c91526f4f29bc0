"""Averaged stochastic gradient descent.

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging" (1992), with the schedules of Bottou's
stochastic gradient code: ηₙ = lr/(1 + λ·lr·n)^α and μₙ = 1/max(1, n − t₀).
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise, at_least_zero, check_lr, counter, zeros_like
from .optimizer import ParamsT

__all__ = ["ASGD"]


def _asgd(x: Any, flags: Any, numbers: Any, p: Any, g: Any, average: Any) -> None:
    """One step: p ← (1 − λη)·p − η·g, average ← average + μ·(p − average)."""
    maximize, decay = flags
    shrink, rate, mu, minus, decay_by = numbers
    if maximize:
        g = x.neg(g, x.u)
    if decay:
        g = x.add(g, p, decay_by, x.u)
    x.mul_(p, shrink)
    x.add_(p, g, rate)
    if mu == 1:
        x.copy_(average, p)
    else:
        d = x.add(p, average, minus, x.d)
        x.add_(average, x.scale(d, mu, x.d))


class ASGD(Elementwise):
    """Averaged stochastic gradient descent (Polyak and Juditsky, 1992); the average is ``state[p]["ax"]``.

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: learning rate, a number or a tensor of one element.
        lambd: decay, of the parameters and of the learning rate.
        alpha: exponent of the learning rate's decay.
        t0: the step from which on parameters are averaged.
        weight_decay: multiple of the parameter added to its gradient.
        maximize: go up the gradient.
        differentiable: have the step recorded, so that it can be differentiated.
        foreach, capturable: PyTorch's choices of implementation; there is one here.
    """

    _rule = staticmethod(_asgd)
    _own_scalars = True
    _capturable = ("params, mus, etas, and state_steps", "'cuda', 'xpu', 'hpu', 'privateuseone', 'xla'")
    _later = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_lr(lr)
        at_least_zero("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": counter(), "eta": counter(float(group["lr"])), "mu": counter(1.0), "ax": zeros_like(p)}

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
        return ("ax",), (group["maximize"], group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], n: float, state: dict[str, Any]) -> tuple[Any, ...]:
        lr, lambd = group["lr"], group["lambd"]
        eta, mu = state["eta"]._a, state["mu"]._a
        now = eta.item()
        result = 1 - lambd * now, -now, mu.item(), -1.0, group["weight_decay"]
        eta.fill(float(lr / (1 + lambd * lr * n) ** group["alpha"]))
        mu.fill(1 / max(1, n - group["t0"]))
        return result
