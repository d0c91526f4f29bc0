"""The autograd function that module backward hooks hang on.

In: any tensors. Out: the same values as outputs of one node, through which all their gradients pass together.
"""

from __future__ import annotations

from typing import Any

from ...autograd.function import Function

__all__ = ["BackwardHookFunction"]


class BackwardHookFunction(Function):
    """The identity on several tensors, as a single node."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        ctx.mark_non_differentiable(*[arg for arg in args if not arg.requires_grad])
        return args

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads
