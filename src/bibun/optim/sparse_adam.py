"""SparseAdam: Adam for gradients with few non-zero rows, which no operation of this package makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from .elementwise import check_betas
from .optimizer import Optimizer, ParamsT, run_closure

__all__ = ["SparseAdam"]


class SparseAdam(Optimizer):
    """Lazy Adam over sparse gradients; a dense gradient is refused, as PyTorch's class refuses it.

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: learning rate, above zero.
        betas: how much of the running mean and the running mean square a step keeps.
        eps: added to the denominator, above zero.
        maximize: go up the gradient.

    Raises:
        RuntimeError: at a step over dense gradients.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ):
        if isinstance(lr, Tensor):
            if lr.numel() != 1:
                raise ValueError("Tensor lr must be 1-element")
            lr = lr.item()
        if not 0.0 < lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 < eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Raise where a parameter has a gradient: it is a dense one."""
        loss = None if closure is None else run_closure(closure)
        if any(p.grad is not None for group in self.param_groups for p in group["params"]):
            raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
        return loss
