"""Poolings, with the signatures of ``torch.nn.functional``: the largest, the mean or a power mean of windows.

In: an input (N, C, *) or (C, *). Out: the same with other sizes *; from the max poolings also, if asked for, the flat
position of each largest element in its image. This subject is loaded when one of its names is first asked for.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.direct import make_many, make_one
from ..autograd.dispatch import apply, busy, wrap
from ..autograd.modes import state
from ..backends import cpu, resampling
from ..backends import pooling as kernels
from ..errors import argument_error
from ..ops import pooling as ops
from .register import write_out

for _module in (kernels, resampling):  # they join the array functions with this subject
    for _name in _module.__all__:
        setattr(cpu, _name, getattr(_module, _name))


def _calls(prim: Any, run: Any, names: dict[int, str], make: Any = make_one) -> dict[int, Any]:
    return {rank: make(prim.named(f"{name}Backward{'1' if name == 'Squeeze' else '0'}"), run) for rank, name in names.items()}


_SQUEEZE = {1: "Squeeze"}
_max = _calls(
    ops.max_pool,
    kernels.max_pool,
    {**_SQUEEZE, 2: "MaxPool2DWithIndices", 3: "MaxPool3DWithIndices"},
    make_many,
)
_adaptive_max = _calls(
    ops.max_pool, kernels.max_pool, {**_SQUEEZE, 2: "AdaptiveMaxPool2D", 3: "AdaptiveMaxPool3D"}, make_many
)
_average = _calls(ops.average_windows, resampling.average_windows, {**_SQUEEZE, 2: "AvgPool2D", 3: "AvgPool3D"})
_adaptive = _calls(
    ops.average_windows, resampling.average_windows, {**_SQUEEZE, 2: "AdaptiveAvgPool2D", 3: "AdaptiveAvgPool3D"}
)
_unpool = {
    rank: ops.put_windows.named(f"MaxUnpool{max(rank, 2)}DBackward0" if rank > 1 else "SqueezeBackward1")
    for rank in (1, 2, 3)
}
_WORDS = {1: "one int", 2: "two ints", 3: "three ints"}


def _tuple(value: Any, rank: int, name: str, what: str, omitted: bool = False) -> tuple[int, ...]:
    if value.__class__ is int:
        return (value,) * rank
    try:
        values = tuple([int(v) for v in value])
    except TypeError:
        values = (int(value),)
    if len(values) == 1:
        return values * rank
    if len(values) != rank:
        if rank == 1:
            raise RuntimeError(f"{name}() argument '{what}' should contain one int (got {len(values)})")
        either = "either be omitted, a single int," if omitted else "either be a single int,"
        raise RuntimeError(f"{name}: {what} must {either} or a tuple of {_WORDS[rank]}")
    return values


def _outputs(
    name: str, shape: Any, rank: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> list[int]:
    """How many windows there are in each dimension."""
    made = []
    for n, k, s, p, d in zip(shape[-rank:], kernel, stride, padding, dilation):
        span = n + 2 * p - d * (k - 1) - 1
        out = (span + s - 1 if ceil_mode else span) // s + 1
        if ceil_mode and (out - 1) * s >= n + p:
            out -= 1  # the last window must begin in the image, or in the margin before it
        made.append(out)
    return made


def _letters(rank: int) -> tuple[str, ...]:
    return ("T", "H", "W")[-rank:]


def _windows(
    name: str,
    rank: int,
    shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
) -> tuple[Any, ...]:
    """The rules of a pooling, once they are found to make sense."""
    kernel = _tuple(kernel_size, rank, name, "kernel_size")
    strides = (
        kernel if stride is None or stride.__class__ in (tuple, list) and not stride else _tuple(stride, rank, name, "stride", True)
    )
    pads = _tuple(padding, rank, name, "padding")
    dilations = _tuple(dilation, rank, name, "dilation")
    if name == "max_pool1d":
        for what, (value,) in (("kernel_size", kernel), ("stride", strides), ("dilation", dilations)):
            if value < 1:
                raise RuntimeError(f"max_pool1d() {what} must be greater than zero, but got {value}")
        if pads[0] < 0:
            raise RuntimeError(f"max_pool1d() padding must be non-negative, but got {pads[0]}")
        if pads[0] > kernel[0] // 2:
            raise RuntimeError(
                "max_pool1d() padding should be at most half of kernel size, but got "
                f"padding={pads[0]} and kernel_size={kernel[0]}"
            )
    else:
        if 0 in strides:
            raise RuntimeError("stride should not be zero")
        for p, k, d in zip(pads, kernel, dilations):
            if p < 0:
                raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
            if p > (d * (k - 1) + 1) // 2:
                raise RuntimeError(
                    "pad should be at most half of effective kernel size, but got "
                    f"pad={p}, kernel_size={k} and dilation={d}"
                )
        for what, values, key in (
            ("kernel size", kernel, "k{}"),
            ("stride", strides, "d{}"),
            ("dilation", dilations, "dilation{}"),
        ):
            if min(values) < 1:
                said = " ".join(f"{key.format(c)}: {v}" for c, v in zip(_letters(rank), values))
                raise RuntimeError(f"{what} should be greater than zero, but got {said}")
    out = _outputs(name, shape, rank, kernel, strides, pads, dilations, ceil_mode)
    if not all(shape[-rank:]) or len(shape) >= rank + 1 and not shape[-rank - 1]:
        if name.startswith("max_pool3d"):
            empty = shape[-rank - 1 :].index(0)
            raise RuntimeError(
                "max_pool3d_with_indices_out_cpu_template(): Expected input's non-batch dimensions to have positive length, "
                f"but input has a shape of {list(shape)} and non-batch dimension {empty} has length zero!"
            )
        raise RuntimeError(
            f"Expected {rank + 1}D or {rank + 2}D (batch mode) tensor with optional 0 dim batch size for input, but got:"
            f"{list(shape)}"
        )
    if min(out) < 1:
        if name == "max_pool1d":
            raise RuntimeError(f"max_pool1d() Invalid computed output size: {out[0]}")
        channels = shape[-rank - 1]
        before = "x".join(map(str, (channels, *((1,) if rank == 1 else ()), *shape[-rank:])))
        after = "x".join(map(str, (channels, *((1,) if rank == 1 else ()), *[max(n, 0) for n in out])))
        raise RuntimeError(
            f"Given input size: ({before}). Calculated output size: ({after}). Output size is too small"
        )
    return tuple(
        [
            ("window", n, o, k, s, p, d)
            for n, o, k, s, p, d in zip(shape[-rank:], out, kernel, strides, pads, dilations)
        ]
    )


_remembered = lru_cache(256)(_windows)


def _rules(*given: Any) -> tuple[Any, ...]:
    """`_windows`, remembered."""
    try:
        return _remembered(*given)
    except TypeError:  # lists
        return _windows(*given)


def _tensor(input: Any, name: str, rank: int) -> Any:
    if not isinstance(input, dispatch.Tensor):
        raise argument_error(name, "input", 1, "Tensor", input)
    x = input._a
    if x.ndim not in (rank + 1, rank + 2):
        if name == "max_pool1d":
            raise RuntimeError(
                "max_pool1d: Expected 2D or 3D (batch mode) tensor with optional 0 dim batch size for input, but got:"
                f"{list(x.shape)}"
            )
        if rank == 1:
            raise RuntimeError(
                f"Expected 2 to 3 dimensions, but got {x.ndim}-dimensional tensor for argument #1 'self' "
                f"(while checking arguments for {name})"
            )
        if name.startswith("adaptive"):
            colon = ":" if "max" in name else ""
            raise RuntimeError(f"{name}(): Expected {rank + 1}D or {rank + 2}D tensor, but got{colon} {list(x.shape)}")
        raise RuntimeError(f"non-empty {rank + 1}D or {rank + 2}D (batch mode) tensor expected for input")
    return x


def _refuse(input: Any, name: str, kinds: str) -> None:
    if input._a.dtype.kind in kinds:
        raise NotImplementedError(f"\"{name}\" not implemented for '{input.dtype.scalar_name}'")


# The largest


def _largest(calls: Any, rank: int, input: Any, rules: Any, indices: bool) -> Any:
    if not indices and not busy[0] and (input._node is None and input._view is None or not state.grad):
        return wrap(kernels.max_pool(input._a, rules, False)[0])
    out, where = calls[rank]((input,), (rules,))
    if not indices:
        return out
    if busy[0]:
        return out, apply(ops.flat_positions, (where,), (rules,))
    return out, wrap(kernels.flat_positions(where._a, rules))


def _max_pool(
    name: str,
    rank: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    indices: bool,
) -> Any:
    x = _tensor(input, name, rank)
    told = f"{name}_with_indices" if indices else name
    rules = _rules(told, rank, x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    if x.dtype.kind in "bc":
        _refuse(input, name, "bc")
    return _largest(_max, rank, input, rules, indices)


def max_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of ``kernel_size`` elements, ``stride`` (its size) apart.

    Shape: input (N, C, L) or (C, L); output with L' = (L + 2·padding - dilation·(kernel_size - 1) - 1) / stride + 1,
    rounded down (up with ``ceil_mode``); with ``return_indices`` also the positions.

    >>> import bibun as torch
    >>> torch.nn.functional.max_pool1d(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)
    tensor([[3., 2.]])
    """
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool1d` over two dimensions: input (N, C, H, W) or (C, H, W)."""
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool1d` over three dimensions: input (N, C, D, H, W) or (C, D, H, W)."""
    return _max_pool("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d_with_indices(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool1d` and the positions."""
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_with_indices(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool2d` and the positions."""
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d_with_indices(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool3d` and the positions."""
    return _max_pool("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, True)


# The mean


def _avg_pool(
    name: str,
    rank: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: Any,
) -> Any:
    if rank == 2 and isinstance(input, dispatch.Tensor) and input._a.ndim < rank + 1:
        n = max(input._a.ndim, 1)
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {-rank - 1})")
    x = _tensor(input, name, rank)
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    rules = _rules(name, rank, x.shape, kernel_size, stride, padding, 1, ceil_mode)
    if x.dtype.kind in "biuc" and x.dtype.char != "l":
        _refuse(input, "avg_pool2d" if rank < 3 else "avg_pool3d_out_frame", "biuc")
    return _average[rank](input, rules, count_include_pad, divisor_override, False)


def avg_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """The mean of each window; margins of zeros count unless ``count_include_pad`` is False. Shapes as `max_pool1d`'s.

    >>> import bibun as torch
    >>> torch.nn.functional.avg_pool1d(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)
    tensor([[2., 1.]])
    """
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
    *,
    out: Any = None,
) -> Any:
    """`avg_pool1d` over two dimensions; ``divisor_override`` divides the sums instead of the windows' sizes."""
    made = _avg_pool(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return made if out is None else write_out(out, made)


def avg_pool3d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
    *,
    out: Any = None,
) -> Any:
    """`avg_pool2d` over three dimensions."""
    made = _avg_pool(
        "avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return made if out is None else write_out(out, made)


# As many windows as are wanted


def _adaptive_rules(name: str, rank: int, input: Any, output_size: Any) -> tuple[Any, ...]:
    if output_size is None or output_size.__class__ is int:
        wanted: tuple[Any, ...] = (output_size,) * rank
    else:
        wanted = tuple(output_size)
        if rank > 1 and isinstance(input, dispatch.Tensor) and input._a.ndim <= len(wanted):
            raise ValueError(f"Input dimension should be at least {len(wanted) + 1}")
    x = _tensor(input, name, rank)
    if len(wanted) != rank:
        if rank == 1:
            raise RuntimeError(f"{name}() argument 'output_size' should contain one int (got {len(wanted)})")
        said = f"{name}: output_size" if "avg" in name else f"{name}(): internal error: output_size.size()"
        raise RuntimeError(f"{said} must be {rank}")
    size = tuple([n if w is None else int(w) for n, w in zip(x.shape[-rank:], wanted)])
    if min(size) < 0:
        two = (1, *size) if rank == 1 else size
        if "max" in name:
            shape = [*x.shape[:-rank], *two]
            raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {shape}")
        shown = ", ".join(map(str, two))
        raise RuntimeError(
            f"adaptive_avg_pool{max(rank, 2)}d: elements of output_size must be greater than or equal to 0 but received "
            f"{{{shown}}}"
        )
    if not all(x.shape[x.ndim - rank - (x.ndim > rank + 1) :]):
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
            f"{list(x.shape)} with dimension {x.shape.index(0)} being empty"
        )
    return tuple([("adaptive", n, o) for n, o in zip(x.shape[-rank:], size)])


def _adaptive_avg(name: str, rank: int, input: Any, output_size: Any) -> Any:
    rules = _adaptive_rules(name, rank, input, output_size)
    if rank > 1 and all([r[2] == 1 for r in rules]):
        return input.mean(tuple(range(-rank, 0)), keepdim=True)
    if all([r[2] for r in rules]):
        _refuse(input, f"adaptive_avg_pool{max(rank, 2)}d", "biuc")
    return _adaptive[rank](input, rules, False, None, False)


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Any:
    """The means of ``output_size`` windows that share the last dimension as evenly as can be.

    >>> import bibun as torch
    >>> torch.nn.functional.adaptive_avg_pool1d(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)
    tensor([[2., 1.]])
    """
    return _adaptive_avg("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """`adaptive_avg_pool1d` over two dimensions; a size None is the input's."""
    return _adaptive_avg("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input: Any, output_size: Any) -> Any:
    """`adaptive_avg_pool2d` over three dimensions."""
    return _adaptive_avg("adaptive_avg_pool3d", 3, input, output_size)


def _adaptive_largest(name: str, rank: int, input: Any, output_size: Any, indices: bool) -> Any:
    rules = _adaptive_rules(name, rank, input, output_size)
    _refuse(input, f"adaptive_max_pool{max(rank, 2)}d", "biuc")
    return _largest(_adaptive_max, rank, input, rules, indices)


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of ``output_size`` windows that share the last dimension as evenly as can be."""
    return _adaptive_largest("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool1d` over two dimensions; a size None is the input's."""
    return _adaptive_largest("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` over three dimensions."""
    return _adaptive_largest("adaptive_max_pool3d", 3, input, output_size, return_indices)


def adaptive_max_pool1d_with_indices(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool1d` and the positions."""
    return _adaptive_largest("adaptive_max_pool1d", 1, input, output_size, True)


def adaptive_max_pool2d_with_indices(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` and the positions."""
    return _adaptive_largest("adaptive_max_pool2d", 2, input, output_size, True)


def adaptive_max_pool3d_with_indices(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool3d` and the positions."""
    return _adaptive_largest("adaptive_max_pool3d", 3, input, output_size, True)


# Power means


def _lp_pool(average: Any, rank: int, input: Any, norm_type: Any, kernel_size: Any, stride: Any, ceil: bool) -> Any:
    kernel = _tuple(kernel_size, rank, f"lp_pool{rank}d", "kernel_size")
    if norm_type == math.inf:
        return _max_pool(f"max_pool{rank}d", rank, input, kernel_size, stride, 0, 1, ceil, False)
    out = average(input.pow(norm_type), kernel_size, stride, 0, ceil)
    return (out.sign() * out.abs().relu()).mul(math.prod(kernel)).pow(1.0 / norm_type)


def lp_pool1d(input: Any, norm_type: Any, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
    """The ``norm_type``-norm of each window: the root of the sum of powers."""
    return _lp_pool(avg_pool1d, 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input: Any, norm_type: Any, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
    """`lp_pool1d` over two dimensions."""
    return _lp_pool(avg_pool2d, 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input: Any, norm_type: Any, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
    """`lp_pool1d` over three dimensions."""
    return _lp_pool(avg_pool3d, 3, input, norm_type, kernel_size, stride, ceil_mode)


# Back to where the largest were


def _max_unpool(
    rank: int, input: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Any:
    name = f"max_unpool{rank}d"
    kernel = _tuple(kernel_size, rank, name, "kernel_size")
    strides = kernel if stride is None else _tuple(stride, rank, name, "stride")
    pads = _tuple(padding, rank, name, "padding")
    x, at = input._a, indices._a
    if x.ndim not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"Input to max_unpooling{max(rank, 2)}d should be a {rank + 1}d or {rank + 2}d Tensor, but got a tensor with "
            f"{x.ndim} dimensions."
        )
    least = [(n - 1) * s + k - 2 * p for n, k, s, p in zip(x.shape[-rank:], kernel, strides, pads)]
    if output_size is None:
        size = tuple(least)
    else:
        size = tuple([int(n) for n in output_size])
        if len(size) == rank + 2:
            size = size[2:]
        if len(size) != rank:
            raise ValueError(
                f"output_size should be a sequence containing {rank} or {rank + 2} elements, but it has a length of "
                f"'{len(size)}'"
            )
        for d, (n, m, s) in enumerate(zip(size, least, strides)):
            if not m - s < n < m + s:
                raise ValueError(f'invalid output_size "{size}" (dim {d} must be between {m - s} and {m + s})')
    if at.dtype != np.int64:
        raise RuntimeError(f"elements in indices should be type int64 but got: {indices.dtype.scalar_name}")
    if at.shape != x.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(x.shape)}) but got indices tensor "
            f"with shape: {list(at.shape)}"
        )
    total = math.prod(size)
    if not busy[0] and at.size and (at.min() < 0 or at.max() >= total):
        wrong = at[(at < 0) | (at >= total)].flat[0]
        shown = "x".join(map(str, (*size, 1) if rank == 1 else size))
        raise RuntimeError(f"Found an invalid max index: {wrong} (output volumes are of size {shown})")
    return apply(_unpool[rank], (input, indices), (size, False))


def max_unpool1d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """Zeros, with the elements of ``input`` at the positions that `max_pool1d` gave.

    >>> import bibun as torch
    >>> F = torch.nn.functional
    >>> F.max_unpool1d(*F.max_pool1d(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), 2, return_indices=True), 2)
    tensor([[0., 3., 2., 0.]])
    """
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """`max_unpool1d` over two dimensions."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """`max_unpool1d` over three dimensions."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)
