"""Adam: steps along the mean gradient, scaled by its root mean square.

Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015); the maximum of AMSGrad: Reddi, Kale and Kumar, "On
the Convergence of Adam and Beyond" (2018).
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise, at_least_zero, check_betas, check_implementation, check_lr, counter, zeros_like
from .optimizer import ParamsT

__all__ = ["Adam"]


def _adam(x: Any, flags: Any, numbers: Any, p: Any, g: Any, mean: Any, square: Any, largest: Any = None) -> None:
    """One step: mean ← β₁·mean + (1−β₁)·g, square ← β₂·square + (1−β₂)·g²,
    p ← p − lr/(1−β₁ⁿ)·mean/(√square/√(1−β₂ⁿ) + ε).
    """
    maximize, decay, decoupled, amsgrad = flags
    new_mean, keep, new_square, correction, eps, rate, decay_by = numbers
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
    if amsgrad:
        x.maximum_(largest, square)
        square = largest
    d = x.sqrt(square, x.d)
    d = x.over(d, correction, d)
    d = x.plus(d, eps, d)
    x.addcdiv_(p, mean, d, rate)


class Adam(Elementwise):
    """Adam (Kingma and Ba, 2015).

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: learning rate, a number or a tensor of one element.
        betas: how much of the running mean and the running mean square a step keeps.
        eps: added to the denominator.
        weight_decay: multiple of the parameter added to its gradient.
        amsgrad: divide by the largest root mean square so far.
        maximize: go up the gradient.
        differentiable: have the step recorded, so that it can be differentiated.
        decoupled_weight_decay: shrink the parameter itself instead of adding to the gradient (`AdamW`).
        foreach, capturable, fused: PyTorch's choices of implementation; there is one here.

    >>> import bibun as torch
    >>> x = torch.tensor([1.0, -1.0], requires_grad=True)
    >>> optimizer = torch.optim.Adam([x], lr=0.1)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x
    tensor([ 0.9000, -0.9000], requires_grad=True)
    """

    _rule = staticmethod(_adam)
    _later = {
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "fused": None,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check_lr(lr)
        at_least_zero("epsilon value", eps)
        check_betas(betas)
        at_least_zero("weight_decay value", weight_decay)
        if not (
            isinstance(betas[0], float)
            and isinstance(betas[1], float)
            or isinstance(betas[0], Tensor)
            and isinstance(betas[1], Tensor)
        ):
            raise ValueError("betas must be either both floats or both Tensors")
        for i, beta in enumerate(betas):
            if isinstance(beta, Tensor):
                if foreach and not capturable:
                    raise ValueError(f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True")
                if beta.numel() != 1:
                    raise ValueError(f"Tensor betas[{i}] must be 1-element")
        check_implementation(foreach, fused, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": counter(), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_like(p)
        return state

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
        amsgrad = group["amsgrad"]
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if amsgrad else ("exp_avg", "exp_avg_sq")
        return names, (group["maximize"], group["weight_decay"] != 0, group["decoupled_weight_decay"], amsgrad)

    def _scalars(self, group: dict[str, Any], n: float, state: dict[str, Any]) -> tuple[Any, ...]:
        lr, decay = group["lr"], group["weight_decay"]
        beta1, beta2 = group["betas"]
        return (
            1 - beta1,
            beta2,
            1 - beta2,
            (1 - beta2**n) ** 0.5,
            group["eps"],
            -(lr / (1 - beta1**n)),
            1 - lr * decay if group["decoupled_weight_decay"] else decay,
        )
