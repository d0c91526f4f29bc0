"""``torch.functional``: public functions that PyTorch also offers under this name."""

from __future__ import annotations

from typing import Any

from .functions import lazy
from .functions.register import FUNCTIONS

__all__ = (
    "atleast_1d atleast_2d atleast_3d block_diag broadcast_shapes broadcast_tensors cartesian_prod cdist chain_matmul einsum istft meshgrid norm "
    "split stft tensordot unique unique_consecutive unravel_index"
).split()


def __getattr__(name: str) -> Any:
    found = FUNCTIONS.get(name) or lazy.find(name) if name in __all__ else None
    if found is None:
        raise AttributeError(f"module 'torch.functional' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
