"""The arguments of ``Module.to``.

In: what the user wrote. Out: (device, dtype, non_blocking, memory_format), None for what was not asked.
"""

from __future__ import annotations

from typing import Any

from ... import dtypes
from ...tensor import Tensor

__all__ = ["parse_to"]


def parse_to(
    *args: Any,
    device: Any = None,
    dtype: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
    tensor: Any = None,
    memory_format: Any = None,
) -> tuple[Any, Any, bool, Any]:
    """Read ``to(device, dtype, non_blocking)``, ``to(dtype, non_blocking)`` or ``to(tensor, non_blocking)``.

    Raises:
        TypeError: an argument is none of a device, a dtype or a tensor.
    """
    rest = list(args)
    if rest:
        first = rest.pop(0)
        if isinstance(first, Tensor):
            tensor = first
        elif isinstance(first, dtypes.dtype):
            dtype = first
        elif first is None or isinstance(first, (str, dtypes.device, int)):
            device = first
            if rest and (rest[0] is None or isinstance(rest[0], dtypes.dtype)):
                dtype = rest.pop(0)
        else:
            raise TypeError(
                "to() received an invalid combination of arguments - got "
                f"({type(first).__name__}), but expected a device, a dtype or a tensor"
            )
        if rest:
            non_blocking = rest.pop(0)
        if rest and isinstance(rest[0], bool):
            rest.pop(0)  # copy: a module's conversion copies where it must
        if rest:
            raise TypeError(f"to() received {len(rest)} arguments too many: {rest}")
    if tensor is not None:
        device, dtype = tensor.device, tensor.dtype
    if device is not None:
        device = dtypes.device(device)
    return device, dtype, non_blocking, memory_format
