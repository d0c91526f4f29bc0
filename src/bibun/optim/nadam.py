"""NAdam: Adam with Nesterov's look ahead.

Dozat, "Incorporating Nesterov Momentum into Adam" (2016), with its warming schedule of the momentum.
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise, at_least_zero, check_betas, check_lr, counter, zeros_like
from .optimizer import ParamsT

__all__ = ["NAdam"]


def _nadam(x: Any, flags: Any, numbers: Any, p: Any, g: Any, mean: Any, square: Any) -> None:
    """One step along the gradient and the mean after it, each with its own rate, over √(square/(1−β₂ⁿ)) + ε."""
    maximize, decay, decoupled = flags
    new_mean, keep, new_square, correction, eps, rate_gradient, rate_mean, decay_by = numbers
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
    d = x.over(square, correction, x.d)
    d = x.sqrt(d, x.d)
    d = x.plus(d, eps, x.d)
    x.addcdiv_(p, g, d, rate_gradient)
    x.addcdiv_(p, mean, d, rate_mean)


class NAdam(Elementwise):
    """NAdam (Dozat, 2016).

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: learning rate, a number or a tensor of one element.
        betas: how much of the running mean and the running mean square a step keeps.
        eps: added to the denominator.
        weight_decay: multiple of the parameter added to its gradient.
        momentum_decay: how fast the momentum reaches its final value.
        decoupled_weight_decay: shrink the parameter itself instead of adding to the gradient.
        maximize: go up the gradient.
        differentiable: have the step recorded, so that it can be differentiated.
        foreach, capturable: PyTorch's choices of implementation; there is one here.
    """

    _rule = staticmethod(_nadam)
    _own_scalars = True
    _capturable = ("params, mu_products and state_steps", "'cuda', 'xpu', 'hpu', 'privateuseone', 'xla'")
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
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        at_least_zero("momentum_decay value", momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": counter(), "mu_product": counter(1.0), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
        return ("exp_avg", "exp_avg_sq"), (
            group["maximize"],
            group["weight_decay"] != 0,
            group["decoupled_weight_decay"],
        )

    def _scalars(self, group: dict[str, Any], n: float, state: dict[str, Any]) -> tuple[Any, ...]:
        lr, decay, fall = group["lr"], group["weight_decay"], group["momentum_decay"]
        beta1, beta2 = group["betas"]
        mu = beta1 * (1.0 - 0.5 * 0.96 ** (n * fall))
        next_mu = beta1 * (1.0 - 0.5 * 0.96 ** ((n + 1) * fall))
        so_far = state["mu_product"]._a
        so_far *= so_far.dtype.type(float(mu))
        product = so_far.item()
        return (
            1 - beta1,
            beta2,
            1 - beta2,
            1 - beta2**n,
            group["eps"],
            -lr * (1.0 - mu) / (1.0 - product),
            -lr * next_mu / (1.0 - product * next_mu),
            1 - lr * decay if group["decoupled_weight_decay"] else decay,
        )
