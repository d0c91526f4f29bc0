"""Parameters of distributions: brought to one shape, and turned from probabilities to log odds and back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from numbers import Number
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd.modes import enable_grad
from ..functions.creation import tensor
from ..functions.register import FUNCTIONS
from ..tensor import Tensor

__all__ = ["broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits"]


def broadcast_all(*values: Any) -> Any:
    """Tensors and numbers as tensors of one shape.

    Raises:
        ValueError: a value that is neither.
    """
    if not all(isinstance(v, (Tensor, Number)) for v in values):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or objects implementing __torch_function__."
        )
    if not all(isinstance(v, Tensor) for v in values):
        dtype = next((v.dtype for v in values if isinstance(v, Tensor)), dtypes.get_default_dtype())
        values = tuple(v if isinstance(v, Tensor) else tensor(v, dtype=dtype) for v in values)
    return FUNCTIONS["broadcast_tensors"](*values)


def standard_normal(shape: Any, dtype: Any, device: Any = None) -> Any:
    """Standard normal numbers, drawn as `torch.normal` of tensors draws them."""
    return FUNCTIONS["normal"](FUNCTIONS["zeros"](shape, dtype=dtype), FUNCTIONS["ones"](shape, dtype=dtype))


def sum_rightmost(value: Any, dims: int) -> Any:
    """The sum over the last ``dims`` dimensions."""
    return value if not dims else value.reshape(tuple(value.shape[:-dims]) + (-1,)).sum(-1)


def clamp_probs(probs: Any) -> Any:
    """Probabilities kept off 0 and 1 by the dtype's precision."""
    eps = dtypes.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def logits_to_probs(logits: Any, is_binary: bool = False) -> Any:
    """Log odds to probabilities: by the sigmoid, or by softmax over the last dimension."""
    return logits.sigmoid() if is_binary else FUNCTIONS["softmax"](logits, -1)


def probs_to_logits(probs: Any, is_binary: bool = False) -> Any:
    """Probabilities to log odds, or to logarithms."""
    clamped = clamp_probs(probs)
    return clamped.log() - (-clamped).log1p() if is_binary else clamped.log()


class lazy_property:
    """An attribute computed when first asked for."""

    def __init__(self, wrapped: Callable[[Any], Any]):
        self.wrapped = wrapped
        functools.update_wrapper(self, wrapped)  # type: ignore[arg-type]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


def infinite_like(x: Any) -> Any:
    """Infinity in the shape of ``x``."""
    return FUNCTIONS["full_like"](x, np.inf)
