"""``torch._C._functions``: nodes with a name of their own, two of them made for tests of backward."""

from __future__ import annotations

from typing import Any

from ..autograd.api import AccumulateGrad
from ..autograd.function import Function
from ..autograd.node import Node

__all__ = ["AccumulateGrad", "DelayedError", "UndefinedGrad"]


class _Undefined(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        outs = tuple(x.view_as(x) for x in inputs)
        return outs[0] if len(outs) == 1 else outs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (None,) * len(grads)


class _Error(Function):
    @staticmethod
    def forward(ctx: Any, message: str, *inputs: Any) -> Any:
        ctx.message = message
        outs = tuple(x.view_as(x) for x in inputs)
        return outs[0] if len(outs) == 1 else outs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(ctx.message)


class UndefinedGrad(Node):
    """Hands its inputs on, and no gradient back."""

    def __call__(self, *inputs: Any) -> Any:
        return _Undefined.apply(*inputs)


class DelayedError(Node):
    """Hands its inputs on, and raises an error with the given message in backward."""

    def __init__(self, message: str, num_inputs: int):
        self.message, self.count = message, num_inputs

    def __call__(self, *inputs: Any) -> Any:
        if len(inputs) != self.count:
            raise RuntimeError(f"DelayedError takes {self.count} inputs (got {len(inputs)})")
        return _Error.apply(self.message, *inputs)
