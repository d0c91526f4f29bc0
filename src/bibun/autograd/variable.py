"""`torch.autograd.Variable`: an old name for Tensor. ``Variable(data, requires_grad=True)`` gives a tensor on data's memory."""

from __future__ import annotations

from typing import Any

from . import dispatch
from .running import ExecutionEngine

__all__ = ["Variable"]


class VariableMeta(type):
    """Makes every tensor an instance of `Variable`."""

    def __instancecheck__(cls, other: Any) -> bool:
        return isinstance(other, dispatch.Tensor)

    def __call__(cls, data: Any = None, requires_grad: bool = False, volatile: bool | None = None) -> Any:
        if data is None:
            return dispatch.Tensor().requires_grad_(requires_grad)
        if not isinstance(data, dispatch.Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return data.detach().requires_grad_(requires_grad)


class Variable(metaclass=VariableMeta):
    """A tensor on the memory of ``data``, in no graph; kept for old programs.

    >>> import bibun as torch
    >>> import bibun.autograd
    >>> v = torch.autograd.Variable(torch.ones(2), requires_grad=True)
    >>> isinstance(v, torch.autograd.Variable), isinstance(v, torch.Tensor)
    (True, True)
    """

    _execution_engine = ExecutionEngine()
