"""The order in which PyTorch fills a tensor, and the checks all samplers share.

In comes the array of any strides that is to be filled; out goes a vector to fill in the order of the stream. PyTorch's
loops run through an array's memory, not its indices: in `x.t().uniform_()` the draws follow x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

bfloat16 = np.dtype(ml_dtypes.bfloat16)
float16 = np.dtype(np.float16)
float32 = np.dtype(np.float32)
float64 = np.dtype(np.float64)
int64 = np.dtype(np.int64)

# PyTorch's C++ names of dtypes, by the forms in which its messages have them
SCALAR_TYPE = {
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
    "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64", "float16": "Half", "bfloat16": "BFloat16",
    "float32": "Float", "float64": "Double", "complex64": "ComplexFloat", "complex128": "ComplexDouble",
}  # fmt: skip
C_TYPE = {
    "bool": "bool", "uint8": "unsigned char", "int8": "signed char", "int16": "short", "int32": "int",
    "int64": "long int", "uint16": "short unsigned int", "uint32": "unsigned int",
    "uint64": "long unsigned int",
    "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float", "float64": "double",
    "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}  # fmt: skip


def not_implemented(kernel: str, dtype: np.dtype) -> NotImplementedError:
    return NotImplementedError(f"\"{kernel}\" not implemented for '{SCALAR_TYPE.get(dtype.name, dtype.name)}'")


def in_memory_order(out: np.ndarray) -> np.ndarray:
    """A view of `out` whose last axis is the one with the smallest steps in memory.

    Raises:
        RuntimeError: two elements lie in one place.
    """
    axes = [axis for axis in range(out.ndim) if out.shape[axis] != 1]
    strides = out.strides
    if out.size > 1 and any(strides[axis] == 0 for axis in axes):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )
    axes.sort(key=lambda axis: -abs(strides[axis]))
    axes += [axis for axis in range(out.ndim) if out.shape[axis] == 1]
    return out.transpose(axes)


def fill(out: np.ndarray, draw: Callable[[np.ndarray], None]) -> np.ndarray:
    """Let `draw` fill a vector, which becomes `out` in PyTorch's order."""
    if out.flags.c_contiguous:
        draw(out.reshape(-1))
        return out
    ordered = in_memory_order(out)
    if ordered.flags.c_contiguous:
        draw(ordered.reshape(-1))
    else:
        buffer = np.empty(out.size, out.dtype)
        draw(buffer)
        ordered[...] = buffer.reshape(ordered.shape)
    return out


def parts(out: np.ndarray) -> np.ndarray:
    """Real and imaginary parts of a complex array as a last axis: they follow each other in the stream."""
    if out.dtype.kind == "W":  # complex32, which NumPy does not take apart
        return np.expand_dims(out, -1).view(float16)
    real = out.real
    return np.lib.stride_tricks.as_strided(real, (*out.shape, 2), (*out.strides, real.itemsize))


def store_doubles(out: np.ndarray, values: Any) -> None:
    """out = doubles, rounded as PyTorch rounds them: to the 16-bit types by way of float32."""
    if out.dtype is float32 or out.dtype is float64 or out.dtype.itemsize != 2:
        out[...] = values
    else:
        with np.errstate(over="ignore"):
            out[...] = np.asarray(values, np.float64).astype(np.float32)


def number(value: float) -> str:
    """A double as C++ prints it."""
    value = float(value)
    if math.isnan(value) or math.isinf(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return f"{value:.6g}"
