"""Linear and bilinear layers, with the signatures of ``torch.nn.functional``."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import dispatch
from ..autograd.direct import make_many
from ..autograd.dispatch import apply
from ..backends import cpu
from ..errors import argument_error, expand_error
from ..ops import linear as ops
from .register import FUNCTIONS, write_out

#: By the rank of the input and whether there is a bias: the call, whose node bears the name that PyTorch's last step
#: has.
_addmm = make_many(ops.linear, cpu.linear)
_mm = make_many(ops.linear.named("MmBackward0"), cpu.linear)
_view = make_many(ops.linear.named("ViewBackward0"), cpu.linear)
_unsafe_view = make_many(ops.linear.named("UnsafeViewBackward0"), cpu.linear)
_vector = make_many(ops.linear.named("SqueezeBackward4"), cpu.linear)


#: Scalar types as that one message names them.
_SCALARS = {
    "Float": "float",
    "Double": "double",
    "Long": "long int",
    "Int": "int",
    "Short": "short int",
    "Char": "signed char",
    "Byte": "unsigned char",
    "Bool": "bool",
    "BFloat16": "c10::BFloat16",
    "Half": "c10::Half",
    "ComplexFloat": "c10::complex<float>",
    "ComplexDouble": "c10::complex<double>",
}


def linear(input: Any, weight: Any, bias: Any = None, *, out: Any = None) -> Any:
    """``input @ weight.T + bias``.

    Shape: input (*, n), weight (m, n) or (n,), bias (m,); output (*, m), or (*) for a weight vector.

    >>> import bibun as torch
    >>> torch.nn.functional.linear(torch.tensor([1.0, 2.0]), torch.eye(2), torch.tensor([0.0, 1.0]))
    tensor([1., 3.])
    """
    if out is not None:
        return write_out(out, linear(input, weight, bias))
    try:
        x, w = input._a, weight._a
        if bias is None:
            if x.dtype is w.dtype and w.ndim == 2 and x.ndim and x.shape[-1] == w.shape[1] and x.dtype.kind != "b":
                return (_mm if x.ndim == 2 else _unsafe_view if x.ndim > 2 else _vector)((input, weight, None), ())
        else:
            b = bias._a
            if (
                x.dtype is w.dtype
                and b.dtype is w.dtype
                and w.ndim == 2
                and x.ndim
                and x.shape[-1] == w.shape[1]
                and b.shape == w.shape[:1]
                and x.dtype.kind != "b"
            ):
                return (_addmm if x.ndim == 2 else _view)((input, weight, bias), ())
    except AttributeError:
        pass
    return _unusual(input, weight, bias)


def _unusual(input: Any, weight: Any, bias: Any) -> Any:
    """A weight vector, a bias of another shape, or the error."""
    for position, (name, each) in enumerate((("input", input), ("weight", weight), ("bias", bias)), 1):
        if not isinstance(each, dispatch.Tensor) and (each is not None or position < 3):
            raise argument_error("linear", name, position, "Tensor", each)
    x, w = input._a, weight._a
    if not x.ndim or not w.ndim:
        raise RuntimeError(f"both arguments to linear need to be at least 1D, but they are {x.ndim}D and {w.ndim}D")
    if w.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {w.ndim}D")
    if w.ndim == 1 and bias is not None:
        raise RuntimeError("mat2 must be a matrix, got 1-D tensor")
    if x.dtype != w.dtype and bias is None:
        raise RuntimeError(
            "expected m1 and m2 to have the same dtype, but got: "
            f"{_SCALARS.get(input.dtype.scalar_name, input.dtype)} != "
            f"{_SCALARS.get(weight.dtype.scalar_name, weight.dtype)}"
        )
    if x.dtype != w.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {input.dtype.scalar_name} and {weight.dtype.scalar_name}"
        )
    if w.ndim == 1:
        return FUNCTIONS["matmul"](input, weight)
    rows = math.prod(x.shape[:-1])
    if x.shape[-1] != w.shape[1]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x.shape[-1]} and {w.shape[1]}x{w.shape[0]})"
        )
    if x.dtype.kind == "b":
        raise NotImplementedError("\"addmm_impl_cpu_\" not implemented for 'Bool'")
    if bias is not None:
        b = bias._a
        if b.dtype != w.dtype:
            raise RuntimeError(
                f"self and mat2 must have the same dtype, but got {bias.dtype.scalar_name} and "
                f"{weight.dtype.scalar_name}"
            )
        shape = (rows, w.shape[0])
        if b.ndim > 2 or any(have not in (1, want) for have, want in zip(b.shape[::-1], shape[::-1])):
            raise expand_error(shape, b.shape)
        if x.ndim != 2 and b.ndim == 2:
            return apply(ops.linear, (input.reshape((rows, x.shape[-1])), weight, bias)).reshape(
                (*x.shape[:-1], w.shape[0])
            )
    return apply(ops.linear, (input, weight, bias))


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """``input1[..., i] weight[k, i, j] input2[..., j]`` summed over i and j, plus ``bias[k]``.

    Shape: input1 (*, n), input2 (*, m), weight (k, n, m), bias (k,); output (*, k).
    """
    x, y, w = input1._a, input2._a, weight._a
    if x.ndim != y.ndim:
        raise RuntimeError(f"bilinear(): input dimensions do not match: got {x.ndim} and {y.ndim}")
    for dim, (m, n) in enumerate(zip(x.shape[:-1], y.shape[:-1])):
        if m != n:
            raise RuntimeError(f"bilinear(): input batch dimensions do not match at dim {dim}: got {m} and {n}")
    for position, (have, want) in enumerate(((x.shape[-1], w.shape[1]), (y.shape[-1], w.shape[2])), 1):
        if have != want:
            raise RuntimeError(
                f"bilinear(): input{position} size does not match weight size: got {have} but expected {want}"
            )
    if bias is not None and bias._a.shape[0] != w.shape[0]:
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {bias._a.shape[0]} but expected {w.shape[0]}"
        )
    k, n, m = w.shape
    rows = math.prod(x.shape[:-1])
    spread = linear(input1.reshape((rows, n)), weight.permute(0, 2, 1).reshape((k * m, n))).reshape((rows, k, m))
    made = (spread * input2.reshape((rows, 1, m))).sum(-1).reshape((*x.shape[:-1], k))
    return made if bias is None else made + bias


def linear_cross_entropy(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Any:
    """`cross_entropy` of `linear`; weights of more than two dimensions give logits (N, C, *).

    Shape: input (N, n) or (n,), linear_weight (C, n) or (C, *, n), linear_bias (C,) or (C, *) as the weight.
    """
    from .loss import cross_entropy

    x, w = input._a, linear_weight._a
    if x.ndim not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {x.ndim}")
    if w.ndim < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {w.ndim}")
    if x.shape[-1] != w.shape[-1]:
        raise RuntimeError(
            f"expected equal input and linear_weight last dimensions (in_features), got {x.shape[-1]} and {w.shape[-1]}, "
            "respectively"
        )
    if w.ndim > 2 and x.ndim == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {w.shape} requires batched input, (N, {x.shape[0]}), got "
            f"unbatched input with shape {x.shape}"
        )
    if linear_bias is not None and linear_bias._a.shape != w.shape[:-1]:
        raise RuntimeError(f"expected linear_bias shape {w.shape[:-1]}, got {linear_bias._a.shape}")
    if ignore_index is not None and target._a.shape == (*x.shape[:-1], *w.shape[:-1]):
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    logits = linear(
        input, linear_weight.reshape((-1, w.shape[-1])), None if linear_bias is None else linear_bias.reshape(-1)
    )
    if w.ndim > 2:
        logits = logits.reshape((*input._a.shape[:-1], *w.shape[:-1]))
    return cross_entropy(
        logits,
        target,
        weight,
        reduction=reduction,
        ignore_index=-100 if ignore_index is None else ignore_index,
        label_smoothing=label_smoothing,
    )


FUNCTIONS["bilinear"] = bilinear
