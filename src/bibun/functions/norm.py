"""Normalisations, with the signatures of ``torch`` and ``torch.nn.functional``.

In: an input and, as the case may be, a weight, a bias and running statistics. Out: a tensor of the input's shape.
Running statistics are updated in place.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd import dispatch
from ..autograd.direct import make_many
from ..autograd.dispatch import apply, busy
from ..autograd.modes import no_grad
from ..autograd.versions import written
from ..backends import cpu
from ..errors import argument_error
from ..ops import norm as ops
from .register import FUNCTIONS, function

_layer = make_many(ops.normalize, cpu.normalize)
_group_call = make_many(ops.normalize.named("NativeGroupNormBackward0"), cpu.normalize)
_batch_call = make_many(ops.normalize.named("NativeBatchNormBackward0"), cpu.normalize)
_rms = make_many(ops.normalize.named("MulBackward0"), cpu.normalize)
_rms_narrow = make_many(ops.normalize.named("ToCopyBackward0"), cpu.normalize)


def _floating(x: Any, name: str, kinds: str = "biuc") -> None:
    if x._a.dtype.kind in kinds:
        raise NotImplementedError(f"\"{name}\" not implemented for '{x.dtype.scalar_name}'")


def _shape_argument(shape: Any, name: str) -> tuple[int, ...]:
    if isinstance(shape, int):
        raise argument_error(name, "normalized_shape", 2, "tuple of ints", shape)
    return tuple(shape)


def _check_trailing(x: Any, shape: tuple[int, ...], weight: Any, bias: Any, star: str) -> None:
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            "normalized_shape = []"
        )
    for name, each in (("weight", weight), ("bias", bias)):
        if each is not None and each._a.shape != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(each._a.shape)} and "
                f"normalized_shape = {list(shape)}"
            )
    if x.shape[-len(shape) :] != shape or len(shape) > x.ndim:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*{star}{', '.join(map(str, shape))}], "
            "but got input of "
            f"size{list(x.shape)}"
        )


def _check_dtypes(input: Any, *others: Any) -> None:
    """Weights of a narrow input may be float32; all else is of one dtype."""
    d = input._a.dtype
    for each in others:
        if each is not None and each._a.dtype != d and not (d in cpu.NARROW and each._a.dtype == np.float32):
            raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")


def _trailing(call: Any, input: Any, shape: tuple[int, ...], weight: Any, bias: Any, eps: float, centered: bool) -> Any:
    """Normalisation over the last dimensions."""
    x = input._a
    if len(shape) == 1:
        work, axes = None, (x.ndim - 1,)
    else:
        work = (*x.shape[: x.ndim - len(shape)], math.prod(shape))
        axes = (len(work) - 1,)
    return call((input, weight, bias), (work, axes, (math.prod(shape),), eps, centered))


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """(x - mean)/√(variance + eps)·weight + bias over the last dimensions, whose sizes ``normalized_shape`` names
    (Ba, Kiros and Hinton 2016).

    >>> import bibun as torch
    >>> torch.nn.functional.layer_norm(torch.tensor([1.0, 3.0]), (2,))
    tensor([-1.0000,  1.0000])
    """
    shape = normalized_shape if normalized_shape.__class__ is tuple else _shape_argument(normalized_shape, "layer_norm")
    x = input._a
    if (
        not shape
        or x.shape[-len(shape) :] != shape
        or weight is not None
        and weight._a.shape != shape
        or bias is not None
        and bias._a.shape != shape
    ):
        _check_trailing(x, shape, weight, bias, ", ")
    d = x.dtype
    if d.kind != "f" or weight is not None and weight._a.dtype is not d or bias is not None and bias._a.dtype is not d:
        _floating(input, "LayerNormKernelImpl")
        _check_dtypes(input, weight, bias)
    return _trailing(_layer, input, shape, weight, bias, eps, True)[0]


def native_layer_norm(input: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float) -> Any:
    """`layer_norm`, with the mean and 1/√(variance + eps) of each group."""
    shape = _shape_argument(normalized_shape, "native_layer_norm")
    _check_trailing(input._a, shape, weight, bias, ", ")
    _floating(input, "LayerNormKernelImpl")
    _check_dtypes(input, weight, bias)
    out, stats = _trailing(_layer, input, shape, weight, bias, eps, True)
    size = (*input._a.shape[: input._a.ndim - len(shape)], *(1,) * len(shape))
    wide = weight.dtype if weight is not None else input.dtype
    return out, stats[0].reshape(size).to(wide), stats[2].reshape(size).to(wide)


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """x/√(mean(x²) + eps)·weight over the last dimensions (Zhang and Sennrich 2019)."""
    shape = _shape_argument(normalized_shape, "rms_norm")
    x = input._a
    _check_trailing(x, shape, weight, None, "")
    _floating(input, "rms_norm", "biu")
    narrow = x.dtype in cpu.NARROW
    if eps is None:
        eps = float(np.finfo(np.float32 if narrow else x.dtype).eps)
    if x.dtype.kind == "c":  # by the mean of squares, not of squared magnitudes
        axes = tuple(range(x.ndim - len(shape), x.ndim))
        made = input * ((input * input).mean(axes, keepdim=True) + eps).rsqrt()
        return made if weight is None else made * weight
    if weight is not None and weight._a.dtype != x.dtype:
        made = _trailing(_rms, input, shape, None, None, eps, False)[0]
        return made * weight
    return _trailing(_rms_narrow if narrow else _rms, input, shape, weight, None, eps, False)[0]


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalisation of the channels (dimension 1) in ``num_groups`` groups with their places (Wu and He 2018)."""
    x = input._a
    if x.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {x.ndim}")
    per_group = x.shape[0] * x.shape[1] // num_groups if num_groups > 0 else 0
    if per_group * math.prod(x.shape[2:]) == 1 and x.shape[1] % num_groups == 0:
        raise ValueError(
            "Expected more than 1 value per channel when training, got input size "
            f"{[per_group, num_groups, *x.shape[2:]]}"
        )
    return _group(input, num_groups, weight, bias, eps)[0]


def _group(input: Any, groups: int, weight: Any, bias: Any, eps: float) -> Any:
    x = input._a
    channels = x.shape[1]
    if groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {groups}")
    if channels % groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(x.shape)} and num_groups={groups}"
        )
    for name, each in (("weight", weight), ("bias", bias)):
        if each is not None and (each._a.ndim != 1 or each._a.size != channels):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of "
                "shape "
                f"{list(each._a.shape)} and input of shape {list(x.shape)}"
            )
    _floating(input, "GroupNormKernelImpl")
    _check_dtypes(input, weight, bias)
    work = (x.shape[0], groups, channels // groups, math.prod(x.shape[2:]))
    return _group_call((input, weight, bias), (work, (2, 3), (groups, channels // groups, 1), eps, True))


def native_group_norm(input: Any, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float) -> Any:
    """`group_norm`, with the mean and 1/√(variance + eps) of each group."""
    wide = weight.dtype if weight is not None else input.dtype
    groups = input.reshape((N, group, C // group * HxW)).to(wide)
    mean = groups.mean(-1)  # these two are differentiable, unlike those of the other normalisations
    scale = (groups.var(-1, correction=0) + eps).rsqrt()
    return _group(input, group, weight, bias, eps)[0], mean, scale


# Batch normalisation


def _check_channels(channels: int, **tensors: Any) -> None:
    for name, each in tensors.items():
        if each is not None and each._a.size != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {each._a.size}")


def _update(running: Any, value: Any, momentum: float, factor: float) -> None:
    """running ← (1 - momentum)·running + momentum·factor·value, counted as a write."""
    if busy[0]:
        def write(running: Any, value: Any) -> None:
            with no_grad():
                running.mul_(1 - momentum).add_(value.reshape(running.shape).to(running.dtype) * (momentum * factor))

        dispatch.captured_write(running, (value,), write)
        return
    a = running._a
    a *= 1 - momentum
    a += value.reshape(a.shape) * (momentum * factor)
    f = sys._getframe(2)
    written(a, f.f_code, f.f_lasti)


def _batch(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float
) -> Any:
    """(out, [mean, variance, 1/√(variance + eps)] or None)."""
    x = input._a
    channels = x.shape[1] if x.ndim > 1 else 0
    if not training:
        for name, each in (("running_mean", running_mean), ("running_var", running_var)):
            if each is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
    _check_channels(channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if x.dtype.kind in "biuc":
        _floating(input, "batch_norm")
    _check_dtypes(input, weight, bias, running_mean, running_var)
    if not training:
        if not busy[0]:  # copies, so that a later update of the statistics leaves this call's backward alone
            running_mean, running_var = dispatch.wrap(running_mean._a.copy()), dispatch.wrap(running_var._a.copy())
        return apply(ops.batch_norm_given, (input, weight, bias, running_mean, running_var), (eps,)), None
    count = x.size // channels if channels else 0
    work: Any
    axes: tuple[int, ...]
    affine: tuple[int, ...]
    if x.ndim == 2:
        work, axes, affine = None, (0,), (channels,)
    else:
        work, axes, affine = (
            (x.shape[0], channels, math.prod(x.shape[2:])) if x.ndim != 3 else None,
            (0, 2),
            (channels, 1),
        )
    out, stats = _batch_call((input, weight, bias), (work, axes, affine, eps, True))
    if running_mean is not None and count:
        _update(running_mean, stats[0] if busy[0] else stats._a[0], momentum, 1.0)
    if running_var is not None and count:
        _update(
            running_var, stats[1] if busy[0] else stats._a[1], momentum, count / (count - 1) if count > 1 else math.nan
        )
    return out, stats


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Normalisation of each channel (dimension 1) over all else (Ioffe and Szegedy 2015).

    In training by the batch's own statistics, which ``running_mean`` and ``running_var`` follow in place; else by
    these.
    """
    if training:
        shape = input._a.shape
        n = shape[0] if shape else 1
        for each in shape[2:]:
            n *= each
        if n == 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size {dtypes.Size(shape)}"
            )
    return _batch(input, weight, bias, running_mean, running_var, training, momentum, eps)[0]


def _public_batch_norm(
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """`torch.nn.functional.batch_norm` with other places of the arguments."""
    return _batch(input, weight, bias, running_mean, running_var, training, momentum, eps)[0]


def native_batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float
) -> Any:
    """`batch_norm`, with the mean and 1/√(variance + eps) of each channel (empty where they were given)."""
    out, stats = _batch(input, weight, bias, running_mean, running_var, training, momentum, eps)
    wide = weight.dtype if weight is not None else input.dtype
    if stats is None:
        empty = dispatch.wrap(np.empty(0, wide.np))
        return out, empty, dispatch.wrap(np.empty(0, wide.np))
    return out, stats[0].flatten().to(wide), stats[2].flatten().to(wide)


def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Normalisation of each channel of each example over its places (Ulyanov et al. 2016)."""
    if use_input_stats:
        shape = input._a.shape
        if math.prod(shape[2:]) == 1:
            raise ValueError(f"Expected more than 1 spatial element when training, got input size {dtypes.Size(shape)}")
    return _public_instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, False)


def _public_instance_norm(
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """`torch.nn.functional.instance_norm` with other places of the arguments."""
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
    n, channels = input._a.shape[:2]

    def each(a: Any) -> Any:
        return None if a is None else a.repeat(n)

    mean, variance = each(running_mean), each(running_var)
    flat = input.contiguous().view((1, n * channels, *input._a.shape[2:]))
    out, _ = _batch(flat, each(weight), each(bias), mean, variance, use_input_stats, momentum, eps)
    if use_input_stats:  # the statistics kept are the examples' average

        def write(running: Any, value: Any) -> None:
            with no_grad():
                running.copy_(value.view((n, channels)).mean(0))

        for running, value in ((running_mean, mean), (running_var, variance)):
            if running is not None and busy[0]:
                dispatch.captured_write(running, (value,), write)
            elif running is not None:
                write(running, value)
    return out.view(input._a.shape)


def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """x/(k + alpha·mean of x² over ``size`` neighbouring channels)^beta (Krizhevsky et al. 2012)."""
    x = input._a
    if x.ndim < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality                          input (got {x.ndim} dimensions)"
        )
    if not x.size:
        return input
    squares = FUNCTIONS["constant_pad_nd"](input * input, (*(0, 0) * (x.ndim - 2), size // 2, (size - 1) // 2))
    windows = squares.unfold(1, size, 1)
    means = windows.mean(-1) if x.dtype.kind not in "iu" else windows.sum(-1) // size
    return input / (means * alpha + k) ** beta


def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> Any:
    """``input`` over its p-norm along ``dim``, which is held above ``eps``."""
    denominator = input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    if out is None:
        return input / denominator
    return FUNCTIONS["div"](input, denominator, out=out)


for _plain in (native_layer_norm, native_group_norm, native_batch_norm):
    function(_plain, method=False)
FUNCTIONS["rms_norm"] = rms_norm
FUNCTIONS["layer_norm"] = lambda input, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True: (
    layer_norm(input, normalized_shape, weight, bias, eps)
)
FUNCTIONS["group_norm"] = lambda input, num_groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True: _group(
    input, num_groups, weight, bias, eps
)[0]
FUNCTIONS["batch_norm"], FUNCTIONS["instance_norm"] = _public_batch_norm, _public_instance_norm
