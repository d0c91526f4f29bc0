"""`grid_sample` and `affine_grid`, with the signatures of ``torch`` and ``torch.nn.functional``: images sampled at any points.

In: images (N, C, H, W) or (N, C, D, H, W) and a grid of coordinates, -1 to 1 from edge to edge, of which the first runs
along the last dimension. Out: (N, C, *points).
"""

from __future__ import annotations

import warnings
from typing import Any

from ..autograd.dispatch import apply
from ..backends import cpu
from ..backends import grid as kernels
from ..ops import grid as ops

for _name in kernels.__all__:  # they join the array functions with this subject
    setattr(cpu, _name, getattr(kernels, _name))

_sample = {2: ops.grid_sample, 3: ops.grid_sample.named("GridSampler3DBackward0")}
_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


def _unsaid(align_corners: bool | None) -> bool:
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
            "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details.",
            UserWarning,
            stacklevel=3,
        )
        return False
    return bool(align_corners)


def grid_sample(
    input: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Any:
    """The input at the points of ``grid``, interpolated.

    Shape: input (N, C, H, W), grid (N, H', W', 2), output (N, C, H', W'); or (N, C, D, H, W), (N, D', H', W', 3). Outside
    the image there are zeros, its ``border`` or its ``reflection``; ``align_corners`` says whether -1 and 1 are the centres
    of the outermost elements or their outer edges.

    >>> import bibun as torch
    >>> x, grid = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[-1.0, 0.0], [0.5, 0.0]]]])
    >>> torch.nn.functional.grid_sample(x, grid, align_corners=True)
    tensor([[[[1.0000, 2.5000]]]])
    """
    if mode not in _MODES:
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in _PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    return _sampled(input, grid, mode, padding_mode, _unsaid(align_corners))


def _sampled(input: Any, grid: Any, mode: str, padding: str, align: bool) -> Any:
    x, points = input._a, grid._a
    rank = x.ndim - 2
    if x.shape[:1] != points.shape[:1]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{list(x.shape)} and grid with sizes {list(points.shape)}"
        )
    if points.shape[-1] != rank:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {rank} in last dimension, but got grid with sizes "
            f"{list(points.shape)}"
        )
    for d, n in enumerate(x.shape[2:], 2):
        if not n:
            raise RuntimeError(
                "grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
                f"{list(x.shape)} with dimension {d} being empty"
            )
    if rank not in (2, 3) or points.ndim != x.ndim:
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes "
            f"{list(x.shape)} and grid with sizes {list(points.shape)}"
        )
    if mode == "bicubic" and rank == 3:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if x.dtype.kind in "biuc":
        kernel = "grid_sampler_2d_cpu_kernel_impl" if rank == 2 else "grid_sampler3d_cpu"
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{input.dtype.scalar_name}'")
    if x.dtype != points.dtype:
        raise RuntimeError(f"expected scalar type {input.dtype.scalar_name} but found {grid.dtype.scalar_name}")
    return apply(_sample[rank], (input, grid), (mode, padding, align))


def grid_sampler(input: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Any:
    """`torch.nn.functional.grid_sample` with the numbers of its modes: bilinear, nearest, bicubic; zeros, border, reflection."""
    return _sampled(input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], bool(align_corners))


def grid_sampler_2d(input: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Any:
    """`grid_sampler` over two dimensions."""
    if input.dim() != 4:
        raise RuntimeError(
            f"grid_sampler_2d(): expected 4D input and grid with same number of dimensions, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)


def grid_sampler_3d(input: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Any:
    """`grid_sampler` over three dimensions."""
    if input.dim() != 5:
        raise RuntimeError(
            f"grid_sampler_3d(): expected 5D input and grid with same number of dimensions, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)


def affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> Any:
    """The grid for `grid_sample` that maps images by affine maps.

    Shape: theta (N, 2, 3) for size (N, C, H, W), output (N, H, W, 2); (N, 3, 4) and (N, C, D, H, W), (N, D, H, W, 3).

    >>> import bibun as torch
    >>> half = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]])
    >>> torch.nn.functional.affine_grid(half, (1, 1, 1, 2), align_corners=True)
    tensor([[[[-0.5000,  0.0000],
              [ 0.5000,  0.0000]]]])
    """
    align = _unsaid(align_corners)
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    rank = len(size) - 2
    if rank not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{size}."
        )
    if theta.dim() != 3 or tuple(theta.shape[-2:]) != (rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape Nx{rank}x{rank + 1} for size {size}. Got {theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    return affine_grid_generator(theta, size, align)


def affine_grid_generator(theta: Any, size: Any, align_corners: bool) -> Any:
    """`torch.nn.functional.affine_grid` without its checks."""
    n = int(size[0])
    if theta.shape[0] != n:
        columns = theta.shape[2]
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{n}, {columns}] but got: "
            f"[{theta.shape[0]}, {columns}]."
        )
    return apply(ops.affine_grid_generator, (theta,), (tuple([int(s) for s in size[2:]]), bool(align_corners), False))
