"""Convolutions, with the signatures of ``torch`` and ``torch.nn.functional``, and sliding blocks as columns.

In: an input (N, C, *) or one image (C, *), a weight, perhaps a bias. Out: a tensor (N, C_out, *), without N as the input.
This subject is loaded when one of its names is first asked for.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any

from ..autograd import dispatch
from ..autograd.direct import make_many, make_one
from ..backends import conv as kernels
from ..backends import cpu
from ..errors import argument_error
from ..ops import conv as ops

for _name in kernels.__all__:  # they join the array functions with this subject
    setattr(cpu, _name, getattr(kernels, _name))

_call = make_many(ops.convolution, kernels.convolution)
_unfold = make_one(ops.unfold_windows, kernels.unfold_windows)
_fold = make_one(ops.fold_windows, kernels.fold_windows)

_ONES = {n: (1,) * n for n in (1, 2, 3)}
_ZEROS = {n: (0,) * n for n in (1, 2, 3)}
#: Scalar types as the message on biases names them.
_SCALARS = {"Float": "float", "Double": "double", "BFloat16": "c10::BFloat16", "Half": "c10::Half"}


def _tuple(value: Any, n: int, name: str) -> tuple[int, ...]:
    """One number for each of ``n`` dimensions, from such numbers or one for all."""
    if value.__class__ is int:
        return (value,) * n
    try:
        values = tuple([int(v) for v in value])
    except TypeError:
        values = (int(value),)
    if len(values) == 1:
        return values * n
    if len(values) != n:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {n} values to match the convolution dimensions, "
            f"but got {name}={list(values)}"
        )
    return values


@lru_cache(512)
def _check(
    shape: tuple[int, ...],
    size: tuple[int, ...],
    bias: tuple[int, ...] | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    transposed: bool,
    output_padding: tuple[int, ...],
    groups: int,
) -> None:
    """PyTorch's refusals, in its order, of an input of ``shape``, a weight of ``size`` and a ``bias`` of a shape."""
    for values, least, what in (
        (padding, 0, "negative padding is not supported"),
        (output_padding, 0, "negative output_padding is not supported"),
        (stride, 1, "non-positive stride is not supported"),
        (dilation, 1, f"dilation should be greater than zero, but got {list(dilation)}"),
        ((groups,), 1, "non-positive groups is not supported"),
    ):
        for v in values:
            if v < least:
                raise RuntimeError(what)
    rank = len(stride)
    if size[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size "
            f"{list(size)} instead"
        )
    if size[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of size "
            f"[{list(size)}] instead"
        )
    channels, outputs = (size[0], size[1] * groups) if transposed else (size[1] * groups, size[0])
    given = "transposed=1" if transposed else f"groups={groups}"
    if shape[1] != channels:
        raise RuntimeError(
            f"Given {given}, weight of size {list(size)}, expected input{list(shape)} to have {channels} channels, "
            f"but got {shape[1]} channels instead"
        )
    if bias is not None and bias != (outputs,):
        raise RuntimeError(
            f"Given {'transposed=1, ' if transposed else ''}weight of size {list(size)}, expected bias to be "
            f"1-dimensional with {outputs} elements, but got bias of size {list(bias)} instead"
        )
    if transposed:
        for o, s, d in zip(output_padding, stride, dilation):
            if o >= s and o >= d:
                names = ("depth", "height", "width")[-max(rank, 2) :]
                said = [
                    f"{what}_{name}: {v}"
                    for what, values in (
                        ("output_padding", output_padding),
                        ("stride", stride),
                        ("dilation", dilation),
                    )
                    for name, v in zip(names, (1,) * (len(names) - rank) + values if rank == 1 else values)
                ]
                raise RuntimeError(
                    f"output padding must be smaller than either stride or dilation, but got {' '.join(said)}"
                )
        made = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1 + o
            for n, k, s, p, d, o in zip(shape[2:], size[2:], stride, padding, dilation, output_padding)
        ]
        if any([n < 1 for n in made]):
            raise RuntimeError(
                f"Given input size per channel: ({' x '.join(map(str, shape[2:]))}). Calculated output size per channel: "
                f"({' x '.join(map(str, made))}). Output size is too small"
            )
        return
    padded = [n + 2 * p for n, p in zip(shape[2:], padding)]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, size[2:])]
    if any([n < k for n, k in zip(padded, reach)]):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({' x '.join(map(str, padded))}). Kernel size: "
            f"({' x '.join(map(str, reach))}). Kernel size can't be greater than actual input size"
        )


def _convolve(
    name: str,
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    transposed: bool = False,
    output_padding: Any = 0,
) -> Any:
    try:
        x, w = input._a, weight._a
        b = None if bias is None else bias._a
    except AttributeError:
        for position, (argument, each) in enumerate((("input", input), ("weight", weight), ("bias", bias)), 1):
            if not isinstance(each, dispatch.Tensor) and (each is not None or position < 3):
                raise argument_error(name, argument, position, "Tensor", each) from None
        raise
    if x.ndim not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {name}, but got input of size: "
            f"{list(x.shape)}"
        )
    spatial = w.ndim - 2
    if spatial < 1:
        raise RuntimeError("weight should have at least three dimensions")
    single = x.ndim == rank + 1
    if single:
        input = input.unsqueeze(0)
        x = input._a
    if spatial != rank:
        _tuple(stride if isinstance(stride, (tuple, list)) else (stride,) * rank, spatial, "stride")
    stride = _tuple(stride, rank, "stride")
    dilation = _tuple(dilation, rank, "dilation")
    if padding.__class__ is str:
        input, padding = _named_padding(input, padding, w.shape[2:], stride, dilation)
        x = input._a
    else:
        padding = _tuple(padding, rank, "padding")
    output_padding = _tuple(output_padding, rank, "output_padding") if transposed else _ZEROS[rank]
    _check(x.shape, w.shape, None if b is None else b.shape, stride, padding, dilation, transposed, output_padding, groups)
    d = x.dtype
    if w.dtype is not d or b is not None and b.dtype is not d or d.kind == "b":
        _check_dtypes(input, weight, bias)
    out = _call((input, weight, bias), (stride, padding, dilation, transposed, output_padding, groups))
    return out.squeeze(0) if single else out


def _check_dtypes(input: Any, weight: Any, bias: Any) -> None:
    d = input._a.dtype
    if bias is not None and bias._a.dtype != d:
        have, other = [_SCALARS.get(t.dtype.scalar_name, t.dtype.scalar_name) for t in (input, bias)]
        raise RuntimeError(f"Input type ({have}) and bias type ({other}) should be the same")
    if weight._a.dtype != d:
        raise RuntimeError(f"expected scalar type {input.dtype.scalar_name} but found {weight.dtype.scalar_name}")
    if d.kind == "b":
        raise NotImplementedError("\"slow_conv2d_cpu\" not implemented for 'Bool'")


def _named_padding(
    input: Any, padding: str, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Any:
    """The input, with the margins that are not alike on both sides, and the padding, of ``"valid"`` or ``"same"``."""
    if padding == "valid":
        return input, (0,) * len(stride)
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if any([s != 1 for s in stride]):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = [d * (k - 1) for d, k in zip(dilation, kernel)]
    if any([t % 2 for t in total]):
        warnings.warn(
            "Using padding='same' with even kernel lengths and odd dilation may require a zero-padded copy of the input "
            "be created",
            UserWarning,
            stacklevel=4,
        )
        from .padding import constant_pad_nd

        input = constant_pad_nd(input, [n for t in reversed(total) for n in (0, t % 2)])
    return input, tuple([t // 2 for t in total])


def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """The cross-correlation of ``input`` with the kernels of ``weight``, over one dimension.

    Shape: input (N, C, L) or (C, L), weight (O, C / groups, k), bias (O,); output (N, O, L') or (O, L') with
    L' = (L + 2·padding - dilation·(k - 1) - 1) // stride + 1. ``padding`` may be ``"valid"`` (none) or ``"same"``.

    >>> import bibun as torch
    >>> torch.nn.functional.conv1d(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[[-1.0, 1.0]]]))
    tensor([[1., 2.]])
    """
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """The cross-correlation of ``input`` with the kernels of ``weight``, over two dimensions.

    Shape: input (N, C, H, W) or (C, H, W), weight (O, C / groups, kh, kw), bias (O,); output (N, O, H', W'), as
    `conv1d`'s.

    >>> import bibun as torch
    >>> torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """The cross-correlation of ``input`` with the kernels of ``weight``, over three dimensions; as `conv2d`."""
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The transpose of `conv1d`: each element of ``input`` spreads a kernel over the output.

    Shape: input (N, C, L) or (C, L), weight (C, O / groups, k), bias (O,); output (N, O, L') with
    L' = (L - 1)·stride - 2·padding + dilation·(k - 1) + output_padding + 1.

    >>> import bibun as torch
    >>> torch.nn.functional.conv_transpose1d(torch.tensor([[1.0, 2.0]]), torch.tensor([[[1.0, 3.0]]]), stride=2)
    tensor([[1., 3., 2., 6.]])
    """
    return _convolve(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, dilation, groups, True, output_padding
    )


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The transpose of `conv2d`; as `conv_transpose1d`, over two dimensions."""
    return _convolve(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, dilation, groups, True, output_padding
    )


def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The transpose of `conv3d`; as `conv_transpose1d`, over three dimensions."""
    return _convolve(
        "conv_transpose3d", 3, input, weight, bias, stride, padding, dilation, groups, True, output_padding
    )


def convolution(
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Any:
    """`conv1d` to `conv3d` and their transposes, as the weight's dimensions and ``transposed`` say; batched."""
    rank = weight._a.ndim - 2
    if input._a.ndim != rank + 2:
        raise RuntimeError(
            f"Expected {rank + 2}D (batched) input to convolution, but got input of size: {list(input._a.shape)}"
        )
    return _convolve(
        "convolution", rank, input, weight, bias, stride, padding, dilation, groups, transposed, output_padding
    )


def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    """`conv1d` of (time, batch, channels) with (k, C, O); output (time', batch, O)."""
    out = conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, 1, pad)
    return out.permute(2, 0, 1)


# Sliding blocks as columns


def _pair(value: Any, name: str) -> tuple[int, int]:
    if value.__class__ is int:
        return (value, value)
    values = tuple([int(v) for v in value])
    if len(values) == 1:
        values *= 2
    if len(values) != 2:
        raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(values)}")
    return values  # type: ignore[return-value]


def _check_blocks(kernel: Any, dilation: Any, padding: Any, stride: Any) -> None:
    for (h, w), what, name, least in (
        (kernel, "kernel size should be greater than zero", "kernel", 1),
        (dilation, "dilation should be greater than zero", "dilation", 1),
        (padding, "padding should be non-negative", "pad", 0),
        (stride, "stride should be greater than zero", "stride", 1),
    ):
        if h < least or w < least:
            raise RuntimeError(f"{what}, but got {name}_height: {h} {name}_width: {w}")


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """The sliding blocks of images as columns.

    Shape: input (N, C, H, W) or (C, H, W); output (N, C·kh·kw, number of blocks), or without N.

    >>> import bibun as torch
    >>> torch.nn.functional.unfold(torch.arange(4.0).reshape(1, 2, 2), (1, 2))
    tensor([[0., 2.],
            [1., 3.]])
    """
    kernel, dilation, padding, stride = (
        _pair(kernel_size, "kernel_size"),
        _pair(dilation, "dilation"),
        _pair(padding, "padding"),
        _pair(stride, "stride"),
    )
    x = input._a
    _check_blocks(kernel, dilation, padding, stride)
    if x.ndim not in (3, 4) or not all(x.shape[-3:]):
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, "
            f"but got: {list(x.shape)}"
        )
    if x.dtype.kind in "iu":
        raise NotImplementedError(f"\"im2col_out_cpu\" not implemented for '{input.dtype.scalar_name}'")
    blocks = kernels.places(x.shape[-2:], kernel, stride, padding, dilation)
    if min(blocks) < 1:
        raise RuntimeError(
            f"Given input with spatial size {x.shape[-2:]}, kernel_size={kernel}, dilation={dilation}, "
            f"padding={padding}, calculated shape of the array of sliding blocks as {blocks}, but its components must be "
            "at least one."
        )
    if x.ndim == 3:
        return _unfold(input.unsqueeze(0), kernel, stride, padding, dilation).squeeze(0)
    return _unfold(input, kernel, stride, padding, dilation)


def fold(
    input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    """Columns of blocks, as `unfold` gives them, added up to images.

    Shape: input (N, C·kh·kw, number of blocks), or without N; output (N, C, *output_size), or without N.

    >>> import bibun as torch
    >>> torch.nn.functional.fold(torch.ones(2, 2), (1, 3), (1, 2))
    tensor([[[1., 2., 1.]]])
    """
    size = _pair(output_size, "output_size")
    kernel, dilation, padding, stride = (
        _pair(kernel_size, "kernel_size"),
        _pair(dilation, "dilation"),
        _pair(padding, "padding"),
        _pair(stride, "stride"),
    )
    x = input._a
    _check_blocks(kernel, dilation, padding, stride)
    if x.ndim not in (2, 3) or not all(x.shape[-2:]):
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for "
            f"input, but got: {list(x.shape)}"
        )
    axis = x.ndim - 2
    if x.shape[axis] % math.prod(kernel):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={x.shape[axis]} and kernel_size={kernel}."
        )
    blocks = [max(n, 0) for n in kernels.places(size, kernel, stride, padding, dilation)]
    if x.shape[axis + 1] != math.prod(blocks):
        raise RuntimeError(
            f"Given output_size={size}, kernel_size={kernel}, dilation={dilation}, padding={padding}, stride={stride}, "
            "expected size of input's dimension 2 to match the calculated number of sliding blocks "
            f"{blocks[0]} * {blocks[1]} = {math.prod(blocks)}, but got input.size(2)={x.shape[axis + 1]}."
        )
    if x.dtype.kind in "iu":
        raise NotImplementedError(f"\"col2im_out_cpu\" not implemented for '{input.dtype.scalar_name}'")
    if x.ndim == 2:
        return _fold(input.unsqueeze(0), size, kernel, stride, padding, dilation).squeeze(0)
    return _fold(input, size, kernel, stride, padding, dilation)
