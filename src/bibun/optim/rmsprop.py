"""RMSprop: the gradient divided by its root mean square.

Tieleman and Hinton, "Lecture 6.5: rmsprop", Neural Networks for Machine Learning (2012); centred: Graves, "Generating
Sequences With Recurrent Neural Networks" (2013).
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .elementwise import Elementwise, at_least_zero, check_lr, counter, zeros_like
from .optimizer import ParamsT

__all__ = ["RMSprop"]


def _rmsprop(x: Any, flags: Any, numbers: Any, p: Any, g: Any, square: Any, *more: Any) -> None:
    """One step: square ← α·square + (1−α)·g², p ← p − lr·g/(√square + ε), with momentum through a velocity."""
    maximize, decay, centered, moving = flags
    keep, new, eps, rate, decay_by, momentum = numbers
    if maximize:
        g = x.neg(g, x.u)
    if decay:
        g = x.add(g, p, decay_by, x.u)
    x.mul_(square, keep)
    x.addcmul_(square, g, g, new)
    if centered:
        mean = more[-1]
        x.lerp_(mean, g, new)
        d = x.minus_square(square, mean, x.d)
        d = x.sqrt(d, x.d)
    else:
        d = x.sqrt(square, x.d)
    d = x.plus(d, eps, x.d)
    if moving:
        velocity = more[0]
        x.mul_(velocity, momentum)
        x.addcdiv_(velocity, g, d)
        x.add_(p, velocity, rate)
    else:
        x.addcdiv_(p, g, d, rate)


class RMSprop(Elementwise):
    """RMSprop (Tieleman and Hinton, 2012).

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: learning rate, a number or a tensor of one element.
        alpha: how much of the running mean square a step keeps.
        eps: added to the denominator.
        weight_decay: multiple of the parameter added to its gradient.
        momentum: how much of the velocity a step keeps.
        centered: divide by the standard deviation of the gradient in place of its root mean square.
        maximize: go up the gradient.
        differentiable: have the step recorded, so that it can be differentiated.
        capturable, foreach: PyTorch's choices of implementation; there is one here.

    >>> import bibun as torch
    >>> x = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.RMSprop([x], lr=0.01)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x
    tensor([0.9000], requires_grad=True)
    """

    _rule = staticmethod(_rmsprop)
    _capturable = ("params and state_steps", "'cuda', 'xpu', 'hpu', 'privateuseone', 'xla'")
    _later = {
        "momentum": 0,
        "centered": False,
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_lr(lr)
        at_least_zero("epsilon value", eps)
        at_least_zero("momentum value", momentum)
        at_least_zero("weight_decay value", weight_decay)
        at_least_zero("alpha value", alpha)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": counter(), "square_avg": zeros_like(p)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros_like(p)
        if group["centered"]:
            state["grad_avg"] = zeros_like(p)
        return state

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
        moving, centered = group["momentum"] > 0, group["centered"]
        names: tuple[str, ...] = ("square_avg",)
        if moving:
            names += ("momentum_buffer",)
        if centered:
            names += ("grad_avg",)
        return names, (group["maximize"], group["weight_decay"] != 0, centered, moving)

    def _scalars(self, group: dict[str, Any], n: float, state: dict[str, Any]) -> tuple[Any, ...]:
        alpha = group["alpha"]
        return alpha, 1 - alpha, group["eps"], -group["lr"], group["weight_decay"], group["momentum"]
