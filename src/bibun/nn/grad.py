"""Gradients of convolutions as functions of their own.

In: the gradient of a convolution's output, with one of its operands and the size of the other. Out: the gradient of
that other. A convolution is linear in each operand, so its value there does not matter: zeros stand in.
"""

from __future__ import annotations

from typing import Any

from ..autograd import enable_grad
from ..autograd import grad as _gradient
from . import functional as F
from .tensors import zeros

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]


def _input(
    convolve: Any, size: Any, weight: Any, grad: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    with enable_grad():
        x = zeros(tuple(size), dtype=grad.dtype, requires_grad=True)
        y = convolve(x, weight, None, stride, padding, dilation, groups)
    return _gradient(y, x, grad)[0]


def _weight(
    convolve: Any, input: Any, size: Any, grad: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    with enable_grad():
        w = zeros(tuple(size), dtype=grad.dtype, requires_grad=True)
        y = convolve(input, w, None, stride, padding, dilation, groups)
    return _gradient(y, w, grad)[0]


def conv1d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """The gradient of `conv1d` in its input."""
    return _input(F.conv1d, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv1d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """The gradient of `conv1d` in its weight."""
    return _weight(F.conv1d, input, weight_size, grad_output, stride, padding, dilation, groups)


def conv2d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """The gradient of `conv2d` in its input."""
    return _input(F.conv2d, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv2d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """The gradient of `conv2d` in its weight."""
    return _weight(F.conv2d, input, weight_size, grad_output, stride, padding, dilation, groups)


def conv3d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """The gradient of `conv3d` in its input."""
    return _input(F.conv3d, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv3d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """The gradient of `conv3d` in its weight."""
    return _weight(F.conv3d, input, weight_size, grad_output, stride, padding, dilation, groups)
