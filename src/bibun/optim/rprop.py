"""Rprop: steps whose size grows while the gradient keeps its sign and shrinks when it turns.

Riedmiller and Braun, "A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP Algorithm" (1993).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .elementwise import Elementwise, check_lr, counter, zeros_like
from .optimizer import ParamsT

__all__ = ["Rprop"]


def _rprop(x: Any, flags: Any, numbers: Any, p: Any, g: Any, last: Any, size: Any) -> None:
    """One step: size·η⁺ where the gradient kept its sign, size·η⁻ and no step where it turned; p ← p − size·sign(g)."""
    (maximize,) = flags
    shrink, grow, smallest, largest, one, zero, minus = numbers
    if maximize:
        g = x.neg(g, x.u)
    turned = x.mul(g, last, x.d)
    x.mul_(size, x.by_sign(turned, grow, shrink, one, x.e))
    x.clamp_(size, smallest, largest)
    g = x.unless_negative(g, turned, x.u)
    x.addcmul_(p, x.by_sign(g, one, minus, zero, x.e), size, minus)
    x.copy_(last, g)


class Rprop(Elementwise):
    """Resilient backpropagation (Riedmiller and Braun, 1993).

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: the first step's size, a number or a tensor of one element.
        etas: by how much step sizes shrink and grow.
        step_sizes: the smallest and the largest step.
        maximize: go up the gradient.
        differentiable: have the step recorded, so that it can be differentiated.
        foreach, capturable: PyTorch's choices of implementation; there is one here.
    """

    _rule = staticmethod(_rprop)
    _capturable = ("params and state_steps", "'cuda', 'xpu', 'hpu', 'privateuseone', 'xla'")
    _later = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        size = float(group["lr"])
        return {
            "step": counter(),
            "prev": zeros_like(p),
            "step_size": wrap(np.full_like(p._a, complex(size, size) if p.is_complex() else size)),
        }

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
        return ("prev", "step_size"), (group["maximize"],)

    def _scalars(self, group: dict[str, Any], n: float, state: dict[str, Any]) -> tuple[Any, ...]:
        return *group["etas"], *group["step_sizes"], 1.0, 0.0, -1.0
