"""Convolutions of float32 images by native kernels: which one does what.

In: images (N, C, *) and weights (O, C / groups, *kernel), as `bibun.backends.conv` gets them. Out: images, or NotImplemented where
NumPy's way is the better one. Kernels of 3×3 at stride 1 go by Winograd's algorithm,
kernels of a channel's own by `depthwise`, all else, and numbers that are not finite, by the plain sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import depthwise, direct, winograd

__all__ = ["correlate", "spread", "weight_gradient"]

F32 = np.dtype(np.float32)

Sizes = tuple[int, ...]


def correlate(x: Any, weight: Any, bias: Any, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The convolution of images with a weight, plus bias."""
    if winograd.suits(weight.shape, stride, dilation, groups, out):
        made = winograd.convolve(np.ascontiguousarray(x), np.ascontiguousarray(weight), bias, padding)
        if made is not None:
            return made
    if depthwise.suits(x.shape[1], weight.shape[1], groups, x.shape[2:]):
        return depthwise.convolve(x, weight, bias, out, stride, padding, dilation)
    return direct.convolve(x, weight, bias, out, stride, padding, dilation, groups)


def spread(g: Any, weight: Any, spatial: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The transpose of `correlate` in its images: from (N, O, *) to (N, C, *spatial)."""
    if winograd.suits(weight.shape, stride, dilation, groups, spatial):
        margins = tuple([2 - p for p in padding])
        if all([n == o + 2 * m - 2 for n, o, m in zip(spatial, g.shape[2:], margins)]):
            made = winograd.convolve(np.ascontiguousarray(g), np.ascontiguousarray(weight), None, margins, True)
            if made is not None:
                return made
    if depthwise.suits(weight.shape[1] * groups, weight.shape[1], groups, spatial):
        return depthwise.images_gradient(g, weight, spatial, stride, padding, dilation, groups)
    return direct.images_gradient(g, weight, spatial, stride, padding, dilation, groups)


def weight_gradient(x: Any, g: Any, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The gradient (of shape ``size``) of a convolution in its weight."""
    if winograd.suits(size, stride, dilation, groups, g.shape[2:]):
        made = winograd.weight_gradient(np.ascontiguousarray(x), np.ascontiguousarray(g), padding)
        if made is not None:
            return made
    if depthwise.suits(x.shape[1], size[1], groups, x.shape[2:]):
        return depthwise.weight_gradient(x, g, size, stride, padding, dilation)
    return direct.weight_gradient(x, g, size, stride, padding, dilation, groups)
