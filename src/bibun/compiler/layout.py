"""Where the values of a recording lie, and how: what of its arrays a program is made from."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Layout", "Recorded", "layouts"]


class Layout:
    """An array without its contents.

    Attributes:
        root: the number of the memory that it looks at; offset: where in it it begins, in bytes.
    """

    __slots__ = ("dtype", "nbytes", "ndim", "offset", "root", "shape", "size", "strides")

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any, root: int, offset: int):
        self.shape, self.strides, self.dtype, self.root, self.offset = shape, strides, dtype, root, offset
        self.ndim = len(shape)
        self.size: int = math.prod(shape)
        self.nbytes: int = self.size * dtype.itemsize

    @property
    def order(self) -> list[int]:
        """Its dimensions from the one that moves the most to the one that moves the least."""
        return sorted(range(self.ndim), key=lambda k: -self.strides[k])

    @property
    def dense(self) -> bool:
        """Whether it fills its memory without gaps, in some order of its dimensions."""
        step = self.dtype.itemsize
        for s, n in sorted(((s, n) for s, n in zip(self.strides, self.shape) if n != 1)):
            if s != step:
                return False
            step = n * step
        return True

    @property
    def contiguous(self) -> bool:
        """Whether it fills its memory in the order of its dimensions."""
        step = self.dtype.itemsize
        for s, n in zip(reversed(self.strides), reversed(self.shape)):
            if n != 1:
                if s != step:
                    return False
                step = n * step
        return True


def _address(a: Any) -> int:
    return a.__array_interface__["data"][0]


def layouts(arrays: list[Any]) -> list[Layout]:
    """Of each array; those that share memory have one root."""
    roots: dict[int, tuple[int, int]] = {}
    made = []
    for a in arrays:
        root = a
        while isinstance(root.base, np.ndarray):
            root = root.base
        number, start = roots.setdefault(id(root), (len(roots), _address(root)))
        made.append(Layout(a.shape, a.strides, a.dtype, number, _address(a) - start))
    return made


class Recorded(NamedTuple):
    """The values of a recording: arrays, for trials, and how they lie."""

    arrays: list[Any]
    layouts: list[Layout]
