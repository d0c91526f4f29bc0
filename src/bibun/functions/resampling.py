"""Resizing images, with the signatures of ``torch.nn.functional``: nearest elements, (bi-, tri-)linear, cubic and Lanczos
interpolation, means of areas.

In: an input (N, C, L), (N, C, H, W) or (N, C, D, H, W). Out: the same with other spatial sizes. This subject is loaded
when one of its names is first asked for.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..autograd.direct import make_one
from ..backends import resampling
from ..ops import pooling as ops
from . import pooling
from .grid import affine_grid, affine_grid_generator, grid_sample, grid_sampler, grid_sampler_2d, grid_sampler_3d  # noqa: F401

_DEPTHS = "nearest | linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact"
#: (mode, rank, antialias) -> (kind of rule, name of the node).
_KINDS: dict[tuple[str, int, bool], tuple[str, str]] = {
    **{("nearest", rank, False): ("nearest", f"UpsampleNearest{rank}D") for rank in (1, 2, 3)},
    **{("nearest-exact", rank, False): ("nearest-exact", f"UpsampleNearestExact{rank}D") for rank in (1, 2, 3)},
    ("linear", 1, False): ("linear", "UpsampleLinear1D"),
    ("bilinear", 2, False): ("linear", "UpsampleBilinear2D"),
    ("trilinear", 3, False): ("linear", "UpsampleTrilinear3D"),
    ("bicubic", 2, False): ("cubic", "UpsampleBicubic2D"),
    ("bilinear", 2, True): ("linear-wide", "UpsampleBilinear2DAa"),
    ("bicubic", 2, True): ("cubic-wide", "UpsampleBicubic2DAa"),
    ("lanczos", 2, True): ("lanczos-wide", "UpsampleLanczos2DAa"),
}
#: Kinds that leave a dimension alone if its size stays, whatever the factor.
SAME = frozenset(["linear", "linear-wide", "cubic-wide", "lanczos-wide"])
_calls: dict[str, Any] = {}
#: What PyTorch's refusals of dtypes name, by kind of rule.
_KERNELS = {
    "nearest": "compute_indices_weights_nearest",
    "nearest-exact": "compute_indices_weights_nearest",
    "linear": "compute_indices_weights_linear",
    "cubic": "compute_indices_weights_cubic",
    "linear-wide": "compute_index_ranges_weights",
    "cubic-wide": "compute_index_ranges_weights",
    "lanczos-wide": "compute_index_ranges_weights",
}
_NEEDS = {"linear": 3, "bilinear": 4, "trilinear": 5}


def _sizes(input: Any, size: Any, scale_factor: Any) -> tuple[list[int] | None, list[float] | None]:
    """The output's size or the factors, one for each spatial dimension."""
    spatial = list(input._a.shape[2:])
    rank = len(spatial)
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    form = "Please provide input tensor in (N, C, d1, d2, ...,dK) format and"
    if size is not None:
        if not isinstance(size, (list, tuple)):
            return [_whole(size)] * rank, None
        if len(size) != rank:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input with spatial "
                f"dimensions of {spatial} and output size of {size}. {form} output size in (o1, o2, ...,oK) format."
            )
        return [_whole(n, size) for n in size], None
    if scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if not isinstance(scale_factor, (list, tuple)):
        return None, [float(scale_factor)] * rank
    if len(scale_factor) != rank:
        raise ValueError(
            "Input and scale_factor must have the same number of spatial dimensions, but got input with spatial "
            f"dimensions of {spatial} and scale_factor of shape {scale_factor}. {form} scale_factor in (s1, s2, ...,sK) "
            "format."
        )
    return None, [float(s) for s in scale_factor]


def _whole(n: Any, sizes: Any = None) -> int:
    try:
        return n.__index__()
    except (AttributeError, TypeError):
        given = [type(v) for v in (sizes if sizes is not None else [n])]
        raise TypeError(
            "expected size to be one of int or Tuple[int] or Tuple[int, int] or Tuple[int, int, int], but got size with "
            f"types {given}"
        ) from None


def _check_sizes(input: Any, out: list[int], kind: str) -> None:
    shape = input._a.shape
    spatial = shape[2:]
    rank = len(spatial)
    if min(spatial) <= 0 or min(out) <= 0:
        letters = ("D", "H", "W")[-rank:]
        before, after = (", ".join(f"{c}: {n}" for c, n in zip(letters, sizes)) for sizes in (spatial, out))
        between = "and output" if rank == 1 else "output"
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input ({before}) {between} ({after})"
        )
    if not shape[1]:
        raise RuntimeError(f"Non-empty {rank + 2}D data tensor expected but got a tensor with sizes {list(shape)}")


def interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    """The input resized to ``size``, or by ``scale_factor`` (its size then rounded down).

    Shape: input (N, C, *), with one to three spatial dimensions *; output (N, C, *size).

    ``mode`` is ``nearest``, ``nearest-exact`` or ``area`` (the mean of what an output covers) for any number of
    dimensions; ``linear`` for one, ``bilinear``, ``bicubic`` and ``lanczos`` for two, ``trilinear`` for three. With
    ``align_corners`` the centres of the outermost elements stay where they are, else their outer edges do. With
    ``antialias`` the kernel becomes as wide as the outputs are apart.

    >>> import bibun as torch
    >>> torch.nn.functional.interpolate(torch.tensor([[[1.0, 2.0]]]), scale_factor=2, mode="linear")
    tensor([[[1.0000, 1.2500, 1.7500, 2.0000]]])
    """
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
            )
    elif align_corners is None:
        align_corners = False
    x = input._a
    rank = x.ndim - 2
    out, factors = _sizes(input, size, scale_factor)
    if recompute_scale_factor and factors is None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    if antialias and (rank != 2 or mode not in ("bilinear", "bicubic", "lanczos")):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input"
        )
    if mode == "lanczos" and not antialias:
        raise ValueError("Lanczos mode requires antialias=True")
    if out is None:
        assert factors is not None
        out = [math.floor(float(n) * f) for n, f in zip(x.shape[2:], factors)]
        if recompute_scale_factor:
            factors = None
    if mode == "area" and 1 <= rank <= 3:
        means = (pooling.adaptive_avg_pool1d, pooling.adaptive_avg_pool2d, pooling.adaptive_avg_pool3d)
        return means[rank - 1](input, out)
    found = _KINDS.get((mode, rank, antialias))
    if found is None:
        if mode in _NEEDS and 1 <= rank <= 3:
            raise NotImplementedError(f"Got {rank + 2}D input, but {mode} mode needs {_NEEDS[mode]}D input")
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {rank + 2}D) for the modes: {_DEPTHS} "
            f"(got {mode})"
        )
    kind, name = found
    _check_sizes(input, out, kind)
    if x.dtype.kind in "biuc" and (x.dtype.char != "B" or kind == "linear" and rank != 2):
        raise NotImplementedError(f"\"{_KERNELS[kind]}\" not implemented for '{input.dtype.scalar_name}'")
    rules = tuple(
        [
            _rule(kind, n, o, f, bool(align_corners), rank)
            for n, o, f in zip(x.shape[2:], out, factors or (None,) * rank)
        ]
    )
    call = _calls.get(name)
    if call is None:
        call = _calls[name] = make_one(ops.resample.named(f"{name}Backward0"), resampling.resample)
    return call(input, rules, False)


def _rule(kind: str, n: int, out: int, factor: float | None, align: bool, rank: int) -> tuple[Any, ...] | None:
    """How one dimension is resized: the kind, the sizes, inputs an output. None where it stays as it is."""
    if n == out and (factor is None or factor == 1 or kind in SAME or kind == "nearest" and rank == 2):
        return None
    if align:
        return kind, n, out, (n - 1) / (out - 1) if out > 1 else 0.0, True
    scale = 1 / factor if factor is not None and factor > 0 else n / out
    if kind == "nearest" and rank == 2 and out == 2 * n:
        scale = 0.5
    return (kind, n, out, scale) if kind.startswith("nearest") else (kind, n, out, scale, False)


def _told(name: str) -> None:
    warnings.warn(
        f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", UserWarning, stacklevel=3
    )


def upsample(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Any:
    """`interpolate`, by its old name."""
    _told("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` by nearest elements, by its old name."""
    _told("upsample_nearest")
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` bilinearly with aligned corners, by its old name."""
    _told("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)
