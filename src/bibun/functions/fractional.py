"""Fractional max pooling (Graham, 2014), with the signatures of ``torch.nn.functional``: windows at random places.

In: an input (N, C, H, W) or (N, C, D, H, W), or without N. Out: the largest element of each window, and if asked for its
flat position. This subject is loaded when one of its names is first asked for.
"""

from __future__ import annotations

from typing import Any

from ..autograd.dispatch import apply
from ..ops import pooling as ops
from . import pooling  # noqa: F401  (its kernels join the array functions)
from .random import rand

_taken = {rank: ops.take_windows.named(f"FractionalMaxPool{rank}DBackward0") for rank in (2, 3)}
_NAMES = ("time", "height", "width")


def _numbers(name: str, what: str, value: Any, rank: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * rank
    values = tuple([int(v) for v in value])
    if len(values) != rank:
        raise RuntimeError(f"{name}: {what} must either be a single Int or tuple of Ints")
    return values


def _fractional(
    rank: int, input: Any, kernel_size: Any, output_size: Any, output_ratio: Any, indices: bool, samples: Any
) -> Any:
    name = f"fractional_max_pool{rank}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    shape = input.shape
    if output_size is None:
        if len(output_ratio) > rank:
            raise ValueError(f"{name} requires output_ratio to either be a single Int or tuple of Ints.")
        output_size = tuple([int(n * r) for n, r in zip(shape[-rank:], output_ratio)])
    if samples is None:
        batch = shape[0] if len(shape) == rank + 2 else 1
        samples = rand(batch, input.size(-rank - 1), rank, dtype=input.dtype)
    kernel = _numbers(name, "kernel_size", kernel_size, rank)
    size = _numbers(name, "output_size", output_size, rank)
    if len(shape) not in (rank + 1, rank + 2):
        raise RuntimeError(f"{name}(): Expected {rank + 1}D or {rank + 2}D tensor, but got: {list(shape)}")
    for d in range(len(shape) - rank - 1, len(shape)):
        if not shape[d]:
            raise RuntimeError(
                f"{name}(): Expected input to have non-zero size for non-batch dimensions, but got{list(shape)} with "
                f"dimension {d} being empty."
            )
    for what, n, k, o in zip(_NAMES[-rank:], shape[-rank:], kernel, size):
        if o + k - 1 > n:
            raise RuntimeError(f"{name}(): pool {what} {k} too large relative to input {what} {n}")
    wanted = (shape[0] if len(shape) == rank + 2 else 1, shape[-rank - 1], rank)
    for d, (have, need) in enumerate(zip(samples.shape, wanted)):
        if d and have != need or have < need:
            relation = "equals to" if d else "greater then or equal to"
            raise RuntimeError(f"Expect _random_samples.size({d}) {relation} {need}; got {have}.")
    if samples.dtype != input.dtype:
        raise RuntimeError("Expect _random_samples to have the same dtype as input")
    where = apply(ops.fractional_places, (input, samples), (kernel, size))
    out = apply(_taken[rank], (input, where), (rank,))
    return (out, where) if indices else out


def fractional_max_pool2d(
    input: Any,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:
    """The largest element of each of ``output_size`` windows (or ``output_ratio`` times the input's size) at random places.

    Shape: input (N, C, H, W) or (C, H, W); output the same with other H, W; with ``return_indices`` also the positions.

    >>> import bibun as torch
    >>> torch.nn.functional.fractional_max_pool2d(torch.rand(1, 9, 9), 2, output_size=5).shape
    torch.Size([1, 5, 5])
    """
    return _fractional(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool2d_with_indices(
    input: Any,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:
    """`fractional_max_pool2d` and the positions."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, True, _random_samples)


def fractional_max_pool3d(
    input: Any,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:
    """`fractional_max_pool2d` over three dimensions."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool3d_with_indices(
    input: Any,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:
    """`fractional_max_pool3d` and the positions."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, True, _random_samples)
