"""``torch.FloatTensor`` and its kin: the old names of dtypes, which make tensors and recognise them.

``torch.LongTensor([1, 2])`` is a tensor of int64, ``torch.FloatTensor(2, 3)`` one of that size with values left open, and
``isinstance(t, torch.FloatTensor)`` asks for the dtype.
"""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..autograd import dispatch
from .creation import legacy_tensor

__all__ = ["NAMES", "TensorType"]

NAMES = {
    "DoubleTensor": "float64",
    "FloatTensor": "float32",
    "HalfTensor": "float16",
    "BFloat16Tensor": "bfloat16",
    "LongTensor": "int64",
    "IntTensor": "int32",
    "ShortTensor": "int16",
    "CharTensor": "int8",
    "ByteTensor": "uint8",
    "BoolTensor": "bool",
}


class TensorType(type):
    """The class of these classes: calling one makes a tensor, `isinstance` compares dtypes."""

    dtype: Any
    is_cuda = False
    is_sparse = False

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return legacy_tensor(cls.dtype, args, kwargs)

    def __instancecheck__(cls, other: Any) -> bool:
        return isinstance(other, dispatch.Tensor) and other.dtype is cls.dtype


for _name, _dtype in NAMES.items():
    globals()[_name] = TensorType(_name, (), {"dtype": dtypes.BY_NAME[_dtype], "__module__": "torch", "__doc__": f"Tensors of {_dtype}, by their old name."})
