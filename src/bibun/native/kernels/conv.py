"""Convolutions of float32 images by native kernels: which one does what.

In: images (N, C, *) and weights (O, C / groups, *kernel), as `bibun.backends.conv` gets them. Out: images, or NotImplemented where
NumPy's way is the better one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import winograd

__all__ = ["correlate", "spread", "weight_gradient"]

F32 = np.dtype(np.float32)

Sizes = tuple[int, ...]


def correlate(x: Any, weight: Any, bias: Any, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The convolution of images with a weight, plus bias."""
    if winograd.suits(weight.shape, stride, dilation, groups, out):
        made = winograd.convolve(np.ascontiguousarray(x), np.ascontiguousarray(weight), bias, padding)
        if made is not None:
            return made
    return NotImplemented


def spread(g: Any, weight: Any, spatial: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The transpose of `correlate` in its images: from (N, O, *) to (N, C, *spatial)."""
    if winograd.suits(weight.shape, stride, dilation, groups, spatial):
        margins = tuple([2 - p for p in padding])
        if all([n == o + 2 * m - 2 for n, o, m in zip(spatial, g.shape[2:], margins)]):
            made = winograd.convolve(np.ascontiguousarray(g), np.ascontiguousarray(weight), None, margins, True)
            if made is not None:
                return made
    return NotImplemented


def weight_gradient(x: Any, g: Any, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The gradient (of shape ``size``) of a convolution in its weight."""
    if winograd.suits(size, stride, dilation, groups, g.shape[2:]):
        made = winograd.weight_gradient(np.ascontiguousarray(x), np.ascontiguousarray(g), padding)
        if made is not None:
            return made
    return NotImplemented
