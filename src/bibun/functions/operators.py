"""Python's operators on tensors."""

from __future__ import annotations

from typing import Any

from ..autograd import dispatch
from ..autograd.dispatch import apply
from ..ops import elementwise as ops
from .register import METHODS, inplace_of, operator

add, subtract, multiply, divide = (operator(p) for p in (ops.add, ops.subtract, ops.multiply, ops.divide))


def swapped(forward: Any) -> Any:
    """The reflected form of a commutative operator: the same call."""
    return forward


METHODS["__add__"] = METHODS["__radd__"] = add
METHODS["__mul__"] = METHODS["__rmul__"] = multiply
METHODS["__sub__"] = subtract
METHODS["__truediv__"] = METHODS["__div__"] = divide
METHODS["__neg__"] = lambda self: apply(ops.negative, (self,))


def _inplace(forward: Any, name: str) -> Any:
    call = inplace_of(forward, name)

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, dispatch.OPERANDS):
            return NotImplemented
        return call(self, other)
    method.__name__ = name
    return method


for _name, _forward in (("add", add), ("sub", subtract), ("mul", multiply), ("truediv", divide)):
    METHODS[f"__i{_name}__"] = _inplace(_forward, f"__i{_name}__")
