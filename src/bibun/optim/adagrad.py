"""Adagrad: the gradient divided by the root of the sum of its squares so far.

Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization" (2011).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .elementwise import Elementwise, at_least_zero, check_implementation, check_lr, counter
from .optimizer import ParamsT

__all__ = ["Adagrad"]


def _adagrad(x: Any, flags: Any, numbers: Any, p: Any, g: Any, total: Any) -> None:
    """One step: total ← total + g², p ← p − lr/(1 + (n−1)·lr_decay)·g/(√total + ε)."""
    maximize, decay = flags
    eps, rate, decay_by = numbers
    if maximize:
        g = x.neg(g, x.u)
    if decay:
        g = x.add(g, p, decay_by, x.u)
    x.addcmul_(total, g, g)
    d = x.sqrt(total, x.d)
    d = x.plus(d, eps, x.d)
    x.addcdiv_(p, g, d, rate)


class Adagrad(Elementwise):
    """Adagrad (Duchi, Hazan and Singer, 2011).

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: learning rate, a number or a tensor of one element.
        lr_decay: how fast the learning rate falls with the number of steps.
        weight_decay: multiple of the parameter added to its gradient.
        initial_accumulator_value: what the sums of squares start from.
        eps: added to the denominator.
        maximize: go up the gradient.
        differentiable: have the step recorded, so that it can be differentiated.
        foreach, fused: PyTorch's choices of implementation; there is one here.

    >>> import bibun as torch
    >>> x = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.Adagrad([x], lr=0.1)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x
    tensor([0.9000], requires_grad=True)
    """

    _rule = staticmethod(_adagrad)
    _later = {"foreach": None, "maximize": False, "differentiable": False, "fused": None}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_lr(lr)
        at_least_zero("lr_decay value", lr_decay)
        at_least_zero("weight_decay value", weight_decay)
        at_least_zero("initial_accumulator_value value", initial_accumulator_value)
        at_least_zero("epsilon value", eps)
        check_implementation(foreach, fused, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = self._start(p, group)

    def share_memory(self) -> None:
        """Move the sums of squares to memory that other processes see."""
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["sum"].share_memory_()

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        value = group["initial_accumulator_value"]
        return {"step": counter(), "sum": wrap(np.full_like(p._a, complex(value, value) if p.is_complex() else value))}

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
        return ("sum",), (group["maximize"], group["weight_decay"] != 0)

    def _scalars(self, group: dict[str, Any], n: float, state: dict[str, Any]) -> tuple[Any, ...]:
        return group["eps"], -(group["lr"] / (1 + (n - 1) * group["lr_decay"])), group["weight_decay"]
