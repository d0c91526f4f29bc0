"""``torch._utils``: where PyTorch keeps what its pickles call, and what carries an error out of a worker process.

Plain pickles of PyTorch's tensors name this module; here the names lead to `serialization.rebuild` and `utils.data`.
"""

from __future__ import annotations

from typing import Any

from .nn.parameter import _rebuild_parameter, _rebuild_parameter_with_state
from .serialization.rebuild import (
    _rebuild_device_tensor_from_cpu_tensor,
    _rebuild_device_tensor_from_numpy,
    _rebuild_meta_tensor_no_storage,
    _rebuild_nested_tensor,
    _rebuild_qtensor,
    _rebuild_sparse_tensor,
    _rebuild_tensor,
    _rebuild_tensor_v2,
    _rebuild_tensor_v3,
    _rebuild_wrapper_subclass,
)
from .utils.data.errors import ExceptionWrapper, KeyErrorMessage


def _element_size(dtype: Any) -> int:
    """Bytes of an element of that dtype."""
    return dtype.itemsize


__all__ = [
    "ExceptionWrapper",
    "KeyErrorMessage",
    "_rebuild_device_tensor_from_cpu_tensor",
    "_rebuild_device_tensor_from_numpy",
    "_rebuild_meta_tensor_no_storage",
    "_rebuild_nested_tensor",
    "_rebuild_parameter",
    "_rebuild_parameter_with_state",
    "_rebuild_qtensor",
    "_rebuild_sparse_tensor",
    "_rebuild_tensor",
    "_rebuild_tensor_v2",
    "_rebuild_tensor_v3",
    "_rebuild_wrapper_subclass",
]
