"""The array functions of the processor backend: NumPy under the names of the Python array API standard.

This module is the ``xp`` that primitives' forward runs and derivative rules receive for ordinary (untracked) work. In and
out go ``ndarray``s (a NumPy scalar may stand for a 0-d array on the way out). Where NumPy's own function differs from
what rules rely on (accumulation in half precision, warnings, missing functions) a wrapper stands here. Every function
that a *derivative* rule uses must also be a primitive of the same name and signature, so that the rule runs on tensors.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy import (  # noqa: F401  (re-exported: this module is the namespace)
    abs,
    acos,
    acosh,
    add,
    arange,
    argsort,
    asarray,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    broadcast_shapes,
    ceil,
    copysign,
    cos,
    cosh,
    count_nonzero,
    cumprod,
    deg2rad,
    divide,
    einsum,
    empty,
    empty_like,
    equal,
    exp,
    exp2,
    expm1,
    eye,
    floor,
    fmax,
    fmin,
    fmod,
    frexp,
    full,
    full_like,
    gcd,
    greater,
    greater_equal,
    heaviside,
    hypot,
    imag,
    isfinite,
    isin,
    isinf,
    isnan,
    lcm,
    ldexp,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logaddexp2,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    moveaxis,
    multiply,
    nan_to_num,
    negative,
    nextafter,
    nonzero,
    not_equal,
    ones,
    ones_like,
    positive,
    pow,
    rad2deg,
    real,
    reciprocal,
    remainder,
    repeat,
    rint,
    searchsorted,
    sign,
    signbit,
    sin,
    sinh,
    sort,
    sqrt,
    square,
    subtract,
    take,
    tan,
    tanh,
    trunc,
    unique,
    zeros,
    zeros_like,
)
from numpy._core.umath import clip as _clip  # type: ignore[attr-defined]

from .activation import rectified_gradient, relu, sigmoid_gradient, stepwise, tanh_gradient  # noqa: F401
from .arrange import (  # noqa: F401
    block_diag,
    concat,
    constant_pad,
    diag_embed,
    diagonal_backward,
    flip,
    pad_back,
    pad_from_inside,
    restride,
    restride_backward,
    roll,
    rot90,
    rowmajor,
    select_backward,
    slice_backward,
    stack,
    tile,
    trace,
    tril,
    triu,
    unfold_backward,
)
from .ctc import ctc_gradient, ctc_loss  # noqa: F401
from .elementwise import astype, complex, conj, floor_divide, inf, logit, pow_scalar, sgn, sigmoid, where  # noqa: F401
from .embedding import embedding, embedding_gradient, embedding_rows  # noqa: F401
from .indexing import (  # noqa: F401
    add_at,
    broadcast_shape,
    index_add,
    index_added,
    index_copy,
    index_fill,
    index_get,
    index_put,
    index_reduce,
    masked_put,
    masked_scatter,
    positions,
    put,
    put_along_axis,
    put_at,
    scatter,
    scatter_add,
    scatter_add_rows,
    scatter_reduce,
    take_along_axis,
    take_flat,
)
from .large import LARGE, one_loop
from .linalg import (  # noqa: F401
    cholesky,
    cofactor,
    det,
    eig,
    eigh,
    householder_product,
    inv,
    lu_factor,
    matrix_exp,
    permutation,
    pinv,
    qr,
    qr_raw,
    slogdet,
    solve,
    solve_triangular,
    svd,
    svdvals,
)
from .linear import linear, linear_gradients, linear_transpose, outer_sum  # noqa: F401
from .loss import mse_loss, mse_loss_gradient, nll_loss, nll_loss_gradient  # noqa: F401
from .norm import affine_gradient, normalize, normalize_backward, normalize_gradient  # noqa: F401
from .products import addmm, cdist, cross, dot, matmul, mm, mv, outer, vdot  # noqa: F401
from .reduce import (  # noqa: F401
    F32,
    F64,
    NARROW,
    cumulative_logsumexp,
    cumulative_max,
    cumulative_min,
    cumulative_prod,
    cumulative_sum,
    kthvalue,
    logsumexp,
    max,
    max_at,
    mean,
    median_all,
    median_at,
    min,
    min_at,
    mode,
    number_of,
    prod,
    prod_others,
    scan,
    std,
    sum,
    var,
    vector_norm,
)
from .softmax import (  # noqa: F401
    cross_entropy,
    cross_entropy_gradient,
    cross_entropy_with_gradient,
    log_softmax,
    log_softmax_gradient,
    softmax,
    softmax_gradient,
)
from .sorting import argsort_stable, searchsorted_rows, sort_at, topk  # noqa: F401
from .special import (  # noqa: F401
    digamma,
    erf,
    erfc,
    erfcx,
    erfinv,
    i0,
    i0e,
    i1,
    i1e,
    lgamma,
    log_ndtr,
    ndtri,
    polygamma,
    zeta,
)
from .strides import (  # noqa: F401
    NotAView,
    as_strided,
    broadcast_to,
    diagonal,
    expand_dims,
    permute_dims,
    reshape,
    select,
    slice_axis,
    split_with_sizes,
    squeeze,
    swapaxes,
    unbind,
    unfold,
    view,
    view_as_complex,
    view_as_real,
    view_dtype,
)

ndarray = np.ndarray
newaxis = None
_or, _and = np.logical_or.reduce, np.logical_and.reduce

bool_, int64, float32, float64 = np.dtype(bool), np.dtype(np.int64), np.dtype(np.float32), np.dtype(np.float64)
bfloat16, float16 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)
complex64, complex128 = np.dtype(np.complex64), np.dtype(np.complex128)

def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether any element over ``axis`` is true."""
    return _or(x, axis, None, None, keepdims)


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether all elements over ``axis`` are."""
    return _and(x, axis, None, None, keepdims)


def argmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The position of the first largest element."""
    return np.argmax(x, axis, None, keepdims=True) if keepdims else x.argmax(axis)


def argmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The position of the first smallest element."""
    return np.argmin(x, axis, None, keepdims=True) if keepdims else x.argmin(axis)


def clip(x: Any, low: Any, high: Any) -> Any:
    """``minimum(maximum(x, low), high)``; either bound may be None; NaN passes."""
    d = x.dtype
    if d is F32 or d is F64:  # a Python number costs NumPy as much again
        if low.__class__ is float or low.__class__ is int:
            low = number_of(d, low) if low else np.array(low, d)
        if high.__class__ is float or high.__class__ is int:
            high = number_of(d, high) if high else np.array(high, d)
    if low is not None and high is not None:
        return _clip(x, low, high)
    if low is not None:
        x = np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _itself(xp: Any, x: Any) -> Any:
    return x


def contiguous(x: Any) -> Any:
    """``x`` in row-major memory, itself where it already is."""
    if x.size >= LARGE and not x.flags.c_contiguous and x.dtype.kind == "f":
        out = np.empty(x.shape, x.dtype)
        if one_loop("copy", _itself, (x,), out=out) is not NotImplemented:
            return out
    return np.ascontiguousarray(x) if x.ndim else x


def copy(x: Any) -> Any:
    """A fresh array equal to ``x``, with its memory order."""
    if x.size >= LARGE and (made := one_loop("copy", _itself, (x,))) is not NotImplemented:
        return made
    return np.array(x, order="K")
