"""Activations, the softmax family and dropout, with the signatures of ``torch`` and ``torch.nn.functional``.

In: a tensor. Out: a tensor of the same shape (half of one dimension for `glu`). ``inplace=True`` writes the result into
the input.
"""

from __future__ import annotations

import warnings
from typing import Any

from .. import dtypes
from ..autograd import dispatch
from ..autograd.direct import make_elementwise, make_one
from ..autograd.dispatch import apply, make_unary
from ..backends import cpu
from ..errors import argument_error, normalize_dim
from ..ops import activation as ops
from .register import FUNCTIONS, METHODS, array_function_of, in_place, inplace_of, with_out

_relu = make_unary(ops.relu, array_function_of(ops.relu), False)
_gelu = make_unary(ops.gelu, array_function_of(ops.gelu), True)
_silu = make_unary(ops.silu, array_function_of(ops.silu), True)
_threshold = make_elementwise(ops.threshold)
_leaky_relu = make_elementwise(ops.leaky_relu)
_hardtanh = make_elementwise(ops.hardtanh)
_elu = make_elementwise(ops.elu)
_celu = make_elementwise(ops.celu)
_gelu_tanh = make_elementwise(ops.gelu_tanh)
_mish = make_elementwise(ops.mish)
_softplus = make_elementwise(ops.softplus)
_hardsigmoid = make_elementwise(ops.hardsigmoid)
_hardswish = make_elementwise(ops.hardswish)
_hardshrink = make_elementwise(ops.hardshrink)
_softshrink = make_elementwise(ops.softshrink)
_log_sigmoid = make_elementwise(ops.log_sigmoid)
_softmax = make_one(ops.softmax, cpu.softmax)
_log_softmax = make_one(ops.log_softmax, cpu.log_softmax)


def _tensor(x: Any, name: str) -> Any:
    if not isinstance(x, dispatch.Tensor):
        raise argument_error(name, "input", 1, "Tensor", x)
    return x


def _floats(x: Any, name: str) -> Any:
    """``x``, refused where the operation has no meaning for its dtype."""
    if x.__class__ is not dispatch.Tensor:
        _tensor(x, name)
    if x._a.dtype.kind in "biu":
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{x.dtype.scalar_name}'")
    return x


def _written(input: Any, plain: Any, inplace: bool, name: str) -> Any:
    """``plain(input)``, written back where asked."""
    return in_place(plain, input) if inplace else plain(input)


def relu(input: Any, inplace: bool = False) -> Any:
    """max(x, 0), elementwise.

    >>> import bibun as torch
    >>> torch.nn.functional.relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return _relu_(input) if inplace else _relu(input)


_relu_ = inplace_of(_relu, "relu_", ops.relu)
METHODS["relu"], METHODS["relu_"] = _relu, _relu_
FUNCTIONS["relu"], FUNCTIONS["relu_"] = _relu, _relu_
_relu.__name__, _relu.__doc__ = "relu", ops.relu.doc


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where x > threshold, else value."""
    return _written(
        input, lambda x: _threshold((_tensor(x, "threshold"),), (threshold, value)), inplace, "threshold"
    )


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x where x > 0, else negative_slope·x."""
    if inplace:
        return in_place(leaky_relu, input, negative_slope)
    return _leaky_relu((_floats(input, "leaky_relu"),), (negative_slope,))


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """x clipped to [min_val, max_val]."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if isinstance(input, dispatch.Tensor) and input._a.dtype.kind in "iu":
        min_val, max_val = int(min_val), int(max_val)
    if inplace:
        return in_place(hardtanh, input, min_val, max_val)
    return _hardtanh((_tensor(input, "hardtanh"),), (min_val, max_val))


def relu6(input: Any, inplace: bool = False) -> Any:
    """x clipped to [0, 6]."""
    return hardtanh(input, 0.0, 6.0, inplace)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x where x > 0, else alpha·(exp(x) - 1)."""
    if inplace:
        return in_place(elu, input, alpha)
    return _elu((_floats(input, "elu"),), (alpha, 1.0, 1.0))


def selu(input: Any, inplace: bool = False) -> Any:
    """The self-normalising ELU (Klambauer et al. 2017)."""
    if inplace:
        return in_place(selu, input)
    return _elu((_floats(input, "selu"),), (ops.SELU_ALPHA, ops.SELU_SCALE, 1.0))


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """max(0, x) + min(0, alpha·(exp(x/alpha) - 1)) (Barron 2017)."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    if inplace:
        return in_place(celu, input, alpha)
    return _celu((_floats(input, "celu"),), (alpha,))


@with_out
def gelu(input: Any, *, approximate: str = "none") -> Any:
    """x·Φ(x); ``approximate="tanh"`` for the tanh form."""
    if approximate == "none":
        return _gelu(_floats(input, "gelu"))
    if approximate != "tanh":
        raise RuntimeError("approximate argument must be either none or tanh.")
    return _gelu_tanh((_floats(input, "gelu"),))


def silu(input: Any, inplace: bool = False) -> Any:
    """x·sigmoid(x)."""
    return _written(_floats(input, "silu"), _silu, inplace, "silu")


def mish(input: Any, inplace: bool = False) -> Any:
    """x·tanh(softplus(x))."""
    if inplace:
        return in_place(mish, input)
    return _mish((_floats(input, "mish"),))


@with_out
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta·x)) / beta; x itself where beta·x > threshold."""
    return _softplus((_floats(input, "softplus"),), (beta, threshold))


def softsign(input: Any) -> Any:
    """x / (1 + |x|)."""
    return input / (input.abs() + 1)


def tanhshrink(input: Any) -> Any:
    """x - tanh(x)."""
    return input - input.tanh()


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """clip(x + 3, 0, 6) / 6."""
    if inplace:
        return in_place(hardsigmoid, input)
    return _hardsigmoid((_floats(input, "hardsigmoid"),))


def hardswish(input: Any, inplace: bool = False) -> Any:
    """x·hardsigmoid(x) (Howard et al. 2019)."""
    if inplace:
        return in_place(hardswish, input)
    return _hardswish((_floats(input, "hardswish"),))


@with_out
def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """x where |x| > lambd, else 0."""
    return _hardshrink((_floats(input, "hardshrink"),), (lambd,))


@with_out
def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """x moved towards 0 by lambd, and 0 within."""
    if lambd < 0:
        limit = f"{dtypes.finfo(input.dtype).max:.6g}"
        raise RuntimeError(
            f"lambda must be in range [0, {limit}] for input dtype {input.dtype.scalar_name}, but found {lambd:g}"
        )
    return _softshrink((_floats(input, "softshrink"),), (lambd,))


@with_out
def logsigmoid(input: Any) -> Any:
    """log(sigmoid(x)), without overflow."""
    return _log_sigmoid((_floats(input, "log_sigmoid"),))


def sigmoid(input: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return input.sigmoid()


def tanh(input: Any) -> Any:
    """The hyperbolic tangent."""
    return input.tanh()


def prelu(input: Any, weight: Any) -> Any:
    """x where x > 0, else weight·x; one weight, or one for each channel (dimension 1).

    Shape: input (N, C, *), weight (C,) or (1,).
    """
    _tensor(input, "prelu")
    n, channels = weight._a.size, input._a.shape[1] if input._a.ndim > 1 else 1
    if weight._a.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight._a.ndim}")
    if n != 1:
        if not input._a.ndim:
            raise RuntimeError("Not allow zero-dim input tensor.")
        if n != channels:
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {n} and channel size = {channels}."
            )
        weight = weight.reshape((1, n, *(1,) * (input._a.ndim - 2)) if input._a.ndim > 1 else (n,))
    elif weight._a.ndim:
        weight = weight.reshape(() if not input._a.ndim else (1,) * input._a.ndim)
    return apply(ops.prelu, (input, weight))


def rrelu(
    input: Any,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
    generator: Any = None,
) -> Any:
    """Leaky ReLU whose slopes are drawn from [lower, upper] in training, and their mean else (Xu et al. 2015)."""
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)

    def run(x: Any) -> Any:
        from .random import rrelu_noise

        return apply(ops.rrelu, (x, rrelu_noise(x, lower, upper, generator)))

    return _written(input, run, inplace, "rrelu")


@with_out
def glu(input: Any, dim: int = -1) -> Any:
    """The first half along ``dim`` times the sigmoid of the second (Dauphin et al. 2016)."""
    a = _floats(input, "glu")._a
    if not a.ndim:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    axis = normalize_dim(dim, a.ndim)
    if a.shape[axis] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {axis} is size {a.shape[axis]}")
    return apply(ops.glu, (input,), (axis,))


# Softmax


def _implicit_dim(name: str, ndim: int, level: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=level,
    )
    return 0 if ndim in (0, 1, 3) else 1


def _softmax_input(input: Any, dtype: Any, name: str) -> Any:
    if input.__class__ is not dispatch.Tensor:
        _tensor(input, name)
    if dtype is not None:
        return input.to(dtype)
    if input._a.dtype.kind in "biu":
        if not input._a.size:
            return input
        raise NotImplementedError(f"\"{name}_lastdim_kernel_impl\" not implemented for '{input.dtype.scalar_name}'")
    return input


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """exp(x) over its sum along ``dim``.

    >>> import bibun as torch
    >>> torch.softmax(torch.zeros(2), 0)
    tensor([0.5000, 0.5000])
    """
    x = _softmax_input(input, dtype, "softmax")
    ndim = x._a.ndim
    if dim is None:
        dim = _implicit_dim("softmax", ndim, _stacklevel)
    return _softmax(x, dim if 0 <= dim < ndim else normalize_dim(dim, ndim))


def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """The logarithm of the softmax along ``dim``, without overflow."""
    x = _softmax_input(input, dtype, "log_softmax")
    ndim = x._a.ndim
    if dim is None:
        dim = _implicit_dim("log_softmax", ndim, _stacklevel)
    return _log_softmax(x, dim if 0 <= dim < ndim else normalize_dim(dim, ndim))


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """The softmax of -x along ``dim``."""
    if dim is None:
        dim = _implicit_dim("softmin", input._a.ndim, _stacklevel)
    return softmax(-input, dim, dtype=dtype)


def _public_softmax(plain: Any, name: str) -> None:
    def public(input: Any, dim: int, dtype: Any = None, *, out: Any = None) -> Any:
        if not isinstance(dim, int):
            raise argument_error(name, "dim", 2, "int", dim)
        result = plain(input, dim, dtype=dtype)
        if out is None:
            return result
        from .register import write_out

        return write_out(out, result)

    def method(self: Any, dim: int, dtype: Any = None) -> Any:
        return plain(self, dim, dtype=dtype)

    for each in (public, method):
        each.__name__, each.__doc__ = name, plain.__doc__
    FUNCTIONS[name] = FUNCTIONS[f"special.{name}"] = public
    METHODS[name] = method


_public_softmax(softmax, "softmax")
_public_softmax(log_softmax, "log_softmax")
FUNCTIONS["special.softmax"] = FUNCTIONS["softmax"]


def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Any:
    """Samples of the Gumbel-softmax distribution (Jang et al. 2016); one-hot with a straight-through gradient if ``hard``."""
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    from .creation import empty_like

    gumbels = -empty_like(logits, memory_format=dtypes.contiguous_format).exponential_().log()
    soft = softmax((logits + gumbels) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    from .creation import zeros_like

    return zeros_like(logits, memory_format=dtypes.contiguous_format).scatter_(dim, index, 1.0) - soft.detach() + soft


# Dropout


def _checked_p(p: float, name: str) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _dropped(input: Any, p: float, inplace: bool, shape: Any) -> Any:
    """``input`` times a mask of ``shape``, scaled by 1/(1-p)."""
    from .random import dropout_mask

    noise = dropout_mask(input, shape, p)
    return input.mul_(noise) if inplace else input * noise


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training, zeroes each element with probability ``p`` and scales the others by 1/(1-p) (Hinton et al. 2012)."""
    if p < 0.0 or p > 1.0:
        _checked_p(p, "dropout")
    if not training or p == 0.0 or not input._a.size:
        return input
    return _dropped(input, p, inplace, input._a.shape)


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Dropout that keeps the mean and variance of self-normalising networks (Klambauer et al. 2017)."""
    _checked_p(p, "alpha_dropout")
    return _alpha(input, p, training, inplace, input._a.shape)


def _alpha(input: Any, p: float, training: bool, inplace: bool, shape: Any) -> Any:
    if not training or p == 0.0 or not input._a.size:
        return input
    if p == 1.0:
        return input.zero_() if inplace else input * 0
    from .random import bernoulli_mask

    alpha = 1.7580993408473766
    a = 1.0 / (((alpha * alpha * p + 1) * (1 - p)) ** 0.5)
    noise = bernoulli_mask(input, shape, 1 - p)
    b = (noise - 1) * (alpha * a) + alpha * a * p
    noise = noise * a
    return input.mul_(noise).add_(b) if inplace else input * noise + b


def _feature_shape(input: Any, name: str) -> Any:
    shape = input._a.shape
    if len(shape) < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return (*shape[:2], *(1,) * (len(shape) - 2))


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """`alpha_dropout` of whole channels."""
    _checked_p(p, "feature_alpha_dropout")
    return _alpha(input, p, training, inplace, _feature_shape(input, "feature_alpha_dropout")) if training else input


def _channels(name: str, unbatched: int, spatial: int) -> Any:
    """Dropout of whole channels; an input of ``unbatched`` dimensions is one without a batch dimension."""
    expected = f"{spatial + 1}D or {spatial + 2}D"
    purpose = (
        f"Note that {name} exists to provide channel-wise dropout on inputs with {spatial} spatial dimension"
        f"{'s' if spatial > 1 else ''}, a channel dimension, and an optional batch dimension (i.e. {expected} inputs)."
    )

    def call(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        _checked_p(p, name)
        ndim = input._a.ndim
        if ndim not in (spatial + 1, spatial + 2):
            if spatial == 1:
                raise RuntimeError(f"{name}: Expected {expected} input, but received a {ndim}D input. {purpose}")
            warnings.warn(
                f"{name}: Received a {ndim}-D input to {name}, which is deprecated and will result in an error in a "
                "future release. To retain the behavior and silence this warning, please use dropout instead. "
                + purpose,
                stacklevel=2,
            )
        elif spatial == 2 and ndim == 3:
            warnings.warn(
                f"{name}: Received a 3D input to {name} and assuming that channel-wise 1D dropout behavior is desired - "
                "input is interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a "
                "future release to interpret the input as one without a batch dimension, i.e. shape (C, H, W). To "
                "maintain the 1D channel-wise dropout behavior, please switch to using dropout1d instead.",
                stacklevel=2,
            )
        if not training or p == 0.0 or not input._a.size:
            return input
        alone = ndim == unbatched or spatial == 3 and ndim != 5  # PyTorch's dropout3d batches 5-d inputs only
        x = input.unsqueeze(0) if alone else input
        out = _dropped(x, p, inplace, _feature_shape(x, name))
        return out.squeeze(0) if alone else out

    call.__name__, call.__doc__ = name, f"Dropout of whole channels of an input with {spatial} spatial dimensions."
    return call


dropout1d = _channels("dropout1d", 2, 1)
dropout2d = _channels("dropout2d", -1, 2)
dropout3d = _channels("dropout3d", 4, 3)


def _train_form(plain: Any, name: str, feature: bool = False) -> None:
    """``torch.dropout(input, p, train)`` and its kin."""

    def public(input: Any, p: float, train: bool) -> Any:
        if feature and train:
            _checked_p(p, name)
            return _dropped(input, p, False, _feature_shape(input, name)) if p else input
        return plain(input, p, train)

    def inplace(input: Any, p: float, train: bool) -> Any:
        if feature and train:
            return _dropped(input, p, True, _feature_shape(input, name)) if p else input
        return plain(input, p, train, True)

    public.__name__, inplace.__name__ = name, name + "_"
    FUNCTIONS[name], FUNCTIONS[name + "_"] = public, inplace


_train_form(dropout, "dropout")
_train_form(alpha_dropout, "alpha_dropout")
_train_form(feature_alpha_dropout, "feature_alpha_dropout")
_train_form(dropout, "feature_dropout", True)


def _torch_name(plain: Any, *names: str, method: bool = False) -> None:
    for name in names:
        FUNCTIONS[name] = plain
        if method:
            METHODS[name] = plain


_torch_name(prelu, "prelu", method=True)
_torch_name(hardshrink, "hardshrink", method=True)
_torch_name(selu, "selu")
_torch_name(celu, "celu")
_torch_name(rrelu, "rrelu")
_torch_name(threshold, "threshold")
for _plain, _name in (
    (selu, "selu_"),
    (celu, "celu_"),
    (rrelu, "rrelu_"),
    (leaky_relu, "nn.functional.leaky_relu_"),
    (elu, "nn.functional.elu_"),
    (hardtanh, "nn.functional.hardtanh_"),
    (threshold, "threshold_"),
):
    FUNCTIONS[_name] = (
        lambda plain: lambda input, *args, **kwargs: plain(input, *args, **{**kwargs, "inplace": True})
    )(_plain)
relu_, selu_, celu_, rrelu_, threshold_ = (FUNCTIONS[n] for n in ("relu_", "selu_", "celu_", "rrelu_", "threshold_"))
leaky_relu_, elu_, hardtanh_ = (FUNCTIONS[f"nn.functional.{n}_"] for n in ("leaky_relu", "elu", "hardtanh"))
