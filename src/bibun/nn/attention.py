"""``torch.nn.attention``: the choice among kernels of scaled dot-product attention.

In: the kernels that a program allows. Out: a context manager. There is one kernel here, exact like PyTorch's plain one,
and it runs whatever is allowed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

__all__ = ["WARN_FOR_UNFUSED_KERNELS", "SDPBackend", "sdpa_kernel"]

WARN_FOR_UNFUSED_KERNELS = False


class SDPBackend(IntEnum):
    """The kernels that PyTorch knows."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __repr__(self) -> str:
        return f"<SDPBackend.{self.name}: {self.value}>"


@contextlib.contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[dict[Any, Any]]:
    """Allow these kernels only; here, check that they are kernels.

    Raises:
        AssertionError: they are not.
    """
    given = backends if isinstance(backends, (list, tuple)) else [backends]
    if not all(isinstance(each, SDPBackend) for each in given):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances, "
            f"got {type(backends).__name__}"
        )
    yield {}
