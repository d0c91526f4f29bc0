"""Padding layers: each keeps how much to add at each end of the last dimensions, and calls ``F.pad`` with its mode."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from .module import Module
from .utils import _ntuple

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _PadNd(Module):
    """Keeps the padding: (before, after) of the last dimension, then of the one before it, and so on."""

    _mode: str
    _ends: int
    padding: Any

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _ntuple(self._ends)(padding)

    def forward(self, input: Any) -> Any:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPadNd(_PadNd):
    _mode = "circular"

    def _check_input_dim(self, input: Any) -> None:
        n = self._ends // 2 + 1
        if input.dim() not in (n, n + 1):
            raise ValueError(f"expected {n}D or {n + 1}D input (got {input.dim()}D input)")

    def forward(self, input: Any) -> Any:
        self._check_input_dim(input)
        return F.pad(input, self.padding, "circular")


class _ConstantPadNd(_PadNd):
    value: float

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Any:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPadNd(_ConstantPadNd):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPadNd(_PadNd):
    _mode = "reflect"


class _ReplicationPadNd(_PadNd):
    _mode = "replicate"


class CircularPad1d(_CircularPadNd):
    """Continues the last dimension as if the input were repeated."""

    _ends = 2


class CircularPad2d(_CircularPadNd):
    """Continues the last two dimensions as if the input were repeated."""

    _ends = 4


class CircularPad3d(_CircularPadNd):
    """Continues the last three dimensions as if the input were repeated."""

    _ends = 6


class ConstantPad1d(_ConstantPadNd):
    """Puts one value around the last dimension."""

    _ends = 2


class ConstantPad2d(_ConstantPadNd):
    """Puts one value around the last two dimensions."""

    _ends = 4


class ConstantPad3d(_ConstantPadNd):
    """Puts one value around the last three dimensions."""

    _ends = 6


class ReflectionPad1d(_ReflectionPadNd):
    """Continues the last dimension by its mirror image."""

    _ends = 2


class ReflectionPad2d(_ReflectionPadNd):
    """Continues the last two dimensions by their mirror image."""

    _ends = 4


class ReflectionPad3d(_ReflectionPadNd):
    """Continues the last three dimensions by their mirror image."""

    _ends = 6


class ReplicationPad1d(_ReplicationPadNd):
    """Continues the last dimension by the outermost elements."""

    _ends = 2


class ReplicationPad2d(_ReplicationPadNd):
    """Continues the last two dimensions by the outermost elements."""

    _ends = 4


class ReplicationPad3d(_ReplicationPadNd):
    """Continues the last three dimensions by the outermost elements."""

    _ends = 6


class ZeroPad1d(_ZeroPadNd, ConstantPad1d):
    """Puts zeros around the last dimension."""

    _ends = 2


class ZeroPad2d(_ZeroPadNd, ConstantPad2d):
    """Puts zeros around the last two dimensions."""

    _ends = 4


class ZeroPad3d(_ZeroPadNd, ConstantPad3d):
    """Puts zeros around the last three dimensions."""

    _ends = 6
