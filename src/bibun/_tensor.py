"""``torch._tensor``: where PyTorch keeps the class Tensor and what its pickles call for subclasses."""

from __future__ import annotations

from .serialization.rebuild import _rebuild_from_type_v2
from .tensor import Tensor

__all__ = ["Tensor", "_rebuild_from_type_v2"]
