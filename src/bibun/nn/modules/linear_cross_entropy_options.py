"""The wishes that `LinearCrossEntropyLoss` takes.

In: how PyTorch should cut the batch into chunks. Out: a record of it; nothing is cut here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["LinearCrossEntropyOptions"]


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How to compute the cross-entropy of a linear layer in chunks; accepted, and without effect."""

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None
