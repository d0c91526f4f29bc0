"""Operators of ``torch.ops.aten`` that no public function is: what programs that work beneath PyTorch's surface call by name."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ..autograd.dispatch import apply
from ..autograd.namespace import xp
from ..functions.register import FUNCTIONS
from ..ops import shape
from ..ops.conv import convolution
from ..tensor import Tensor

__all__ = ["BENEATH"]


def convolution_backward(grad_output: Tensor, input: Tensor, weight: Tensor, bias_sizes: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
                         output_padding: Any, groups: int, output_mask: Any) -> tuple[Any, Any, Any]:
    """The gradients of a convolution in its input, weight and bias; None for those that ``output_mask`` does not ask for."""
    n = input.ndim - 2
    sizes = {name: tuple(v) * (n if len(v) == 1 else 1) for name, v in (("stride", stride), ("padding", padding), ("dilation", dilation))}
    values = {"x": input, "weight": weight, "x_shape": tuple(input.shape), "weight_shape": tuple(weight.shape), "transposed": transposed, "groups": groups, **sizes}

    def gradient(name: str) -> Any:
        rule = convolution.derivatives[name]
        return rule.call(xp, grad_output, *[values[n] for n in rule.needs if n != "g"])

    made = [gradient(name) if asked else None for name, asked in zip(("x", "weight", "bias"), output_mask)]
    return made[0], made[1], made[2]


def _new_zeros_with_same_feature_meta(self: Tensor, other: Tensor, *, self_num_batch_dims: int = 0) -> Any:
    """Zeros that lie in memory as ``other`` does, storage and all, once for each index of the first dimensions of ``self``."""
    batch = tuple(self.shape)[:self_num_batch_dims]
    each = other.untyped_storage().nbytes() // other.element_size()
    strides: tuple[int, ...] = tuple(each * prod(batch[i + 1:]) for i in range(len(batch)))
    memory = FUNCTIONS["zeros"](each * prod(batch), dtype=other.dtype)
    return memory.as_strided((*batch, *other.shape), (*strides, *other.stride()), other.storage_offset())


def alias(self: Tensor) -> Any:
    """A view of all of a tensor."""
    return apply(shape.alias, (self,))


#: Name -> function.
BENEATH: dict[str, Callable[..., Any]] = {f.__name__: f for f in (alias, convolution_backward, _new_zeros_with_same_feature_meta)}
