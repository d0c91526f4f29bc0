"""What `test_coverage` calls each primitive with: for every one that is not elementwise, arrays and static arguments.

`drawn(prim, seed, complex)` gives the samples of a primitive. An elementwise entry says itself from which intervals its
arguments are drawn (`Primitive.drawn_from`); its static arguments stand in `STATIC`. The others stand in `TABLE`: name ->
functions of a `Draw`, each of which gives a `Sample`. A primitive that has neither is an error: it would go untested.
"""

from __future__ import annotations

from math import inf, nan

import numpy as np
from coverage_draws import Draw as Draw
from coverage_draws import S, along, symmetric, unary, zeroed
from coverage_layers import LAYERS

from bibun.ops.indexing import index_add_n, index_get, index_put
from bibun.ops.primitive import REGISTRY

# Static arguments of elementwise primitives

STATIC = {
    "add_scaled": [dict(alpha=1.5), dict(alpha=-2)],
    "pow_scalar": [dict(exponent=3), dict(exponent=2), dict(exponent=0), dict(exponent=-1.5), dict(exponent=0.5)],
    "addcmul": [dict(value=1), dict(value=-1.5)],
    "addcdiv": [dict(value=1), dict(value=-1.5)],
    "lerp_scalar": [dict(weight=0.3), dict(weight=0.8)],
    "logit": [dict(eps=None), dict(eps=0.3)],
    "round_decimals": [dict(decimals=1), dict(decimals=-1)],
    "nan_to_num": [dict(nan=0.0, posinf=1.0, neginf=-1.0)],
    "clamp": [dict(low=-1.0, high=0.5), dict(low=None, high=0.5), dict(low=-1.0, high=None)],
    "polygamma": [dict(n=1), dict(n=2)],
    "mvlgamma": [dict(p=1), dict(p=3)],
    "isclose": [dict(rtol=1e-5, atol=1e-8, equal_nan=False)],
    "threshold": [dict(threshold=0.5, value=-3.0)],
    "leaky_relu": [dict(negative_slope=0.1)],
    "hardtanh": [dict(min_val=-1.0, max_val=0.5)],
    "hardshrink": [dict(lambd=0.5)],
    "softshrink": [dict(lambd=0.5)],
    "elu": [dict(alpha=1.3, scale=0.7, input_scale=1.5)],
    "celu": [dict(alpha=1.3)],
    "softplus": [dict(beta=2.0, threshold=3.0)],
}
for _name in ("leaky_relu", "hardtanh", "hardshrink", "softshrink", "elu", "celu", "softplus"):
    STATIC[f"{_name}_gradient"] = STATIC[_name]
STATIC["threshold_gradient"] = [dict(threshold=0.5)]

#: Elementwise primitives that have no meaning for complex numbers, though their entries do not say so.
REAL = set(
    """complex polar divide_floor divide_trunc sign hypot logaddexp2 xlogy xlog1py entr floor ceil trunc round
    round_decimals frac heaviside nan_to_num clamp_between copysign ldexp
    erfcx ndtri log_ndtr polygamma mvlgamma zeta i1 i0e i1e less less_equal greater greater_equal signbit
    rectified_gradient stepwise hardsigmoid hardswish prelu gelu gelu_tanh softplus mish log_sigmoid
    chebyshev_polynomial_t chebyshev_polynomial_u chebyshev_polynomial_v chebyshev_polynomial_w hermite_polynomial_h
    hermite_polynomial_he laguerre_polynomial_l legendre_polynomial_p shifted_chebyshev_polynomial_t
    shifted_chebyshev_polynomial_u shifted_chebyshev_polynomial_v shifted_chebyshev_polynomial_w
    bessel_j0 bessel_j1 bessel_y0 bessel_y1 modified_bessel_k0 modified_bessel_k1 scaled_modified_bessel_k0
    scaled_modified_bessel_k1 airy_ai spherical_bessel_j0 isposinf isneginf isclose""".split()
)


# Views, and what joins and rearranges

VIEW_STEPS = ((REGISTRY["select"], (1, 2), None), (REGISTRY["slice_axis"], (0, 1, 3, 1), None))

TABLE = {
    "copy_slices": [lambda d: S(d(4, 3), d(2), steps=VIEW_STEPS)],
    "replay": [lambda d: S(d(4, 3), steps=VIEW_STEPS)],
    "zero": [unary(2, 3)],
    "fill": [lambda d: S(d(2, 3), d())],
    "copy_into": [lambda d: S(d(2, 3), d(3)), lambda d: S(d(2, 3), d(2, 1)), lambda d: S(d(2, 3), d())],
    "drawn_from": [lambda d: S(d(2, 3), d(2, 3))],
    "astype": [
        unary(2, 3, dtype=np.dtype(np.complex128)),
        lambda d: S(d.complexes(2, 3), dtype=np.dtype(np.complex128)),
        lambda d: S(d(2, 3), dtype=np.dtype(np.float64), real=True),
    ],
    "copy": [unary(2, 3), unary()],
    "nextafter": [lambda d: S(d(2, 3), d(3), real=True), lambda d: S(d(2, 1), d(3), real=True)],
    "frexp": [lambda d: S(d(2, 3), real=True)],
    "broadcast_to": [
        unary(3, 1, shape=(2, 3, 4)),
        unary(3, shape=(3,)),
        unary(shape=(2,)),
        unary(1, shape=(2, 3)),
        unary(1, shape=(1, 3)),
    ],
    "view": [unary(2, 6, shape=(3, 4), dense=True), unary(2, 3, shape=(6,), dense=True)],
    "reshape": [unary(2, 6, shape=(3, 4)), unary(shape=(1, 1)), unary(1, shape=())],
    "permute_dims": [unary(2, 3, 4, axes=(2, 0, 1)), unary(2, 3, axes=(1, 0))],
    "expand_dims": [unary(2, 3, axis=1), unary(2, 3, axis=2), unary(axis=0)],
    "squeeze": [unary(2, 1, 3, 1), unary(2, 1, 3, axis=1), unary(2, 1, 3, axis=0), unary(1, 2, 1, axis=(0, 1))],
    "select": [unary(2, 3, 4, axis=1, index=2), unary(3, axis=0, index=0)],
    "select_backward": [unary(2, 4, shape=(2, 3, 4), axis=1, index=2)],
    "slice_axis": [unary(5, 3, axis=0, start=1, stop=5, step=2), unary(2, 4, axis=1, start=1, stop=3)],
    "slice_backward": [unary(2, 3, shape=(5, 3), axis=0, start=1, stop=5, step=2)],
    "diagonal": [unary(3, 4), unary(2, 3, 4, offset=1, axis1=1, axis2=2), unary(3, 2, 4, offset=-1, axis1=2, axis2=0)],
    "diagonal_copy": [unary(3, 4), unary(3, 4, offset=1), unary(2, 3, 4, offset=-1, axis1=1, axis2=2)],
    "diagonal_backward": [unary(3, shape=(3, 4), offset=1, axis1=0, axis2=1)],
    "unfold": [unary(5, 2, axis=0, size=3, step=1), unary(2, 6, axis=1, size=2, step=3)],
    "unfold_backward": [unary(3, 2, 3, shape=(5, 2), axis=0, size=3, step=1)],
    "as_strided": [
        unary(4, 3, shape=(2, 2), strides=(3, 2), offset=1, own_strides=(3, 1), dense=True),
        unary(4, 3, shape=(3, 2), strides=(1, 1), offset=2, own_strides=(3, 1), dense=True),
    ],
    "restride": [
        unary(4, 3, to_shape=(4, 3), shape=(4, 3), strides=(3, 1), offset=0, to_strides=(3, 1)),
        unary(3, 2, to_shape=(4, 3), shape=(3, 2), strides=(1, 1), offset=2, to_strides=(3, 1)),
        unary(2, 2, to_shape=(2, 3), shape=(2, 2), strides=(2, 1), offset=0, to_strides=(0, 1)),
    ],
    "restride_backward": [
        unary(4, 3, to_shape=(4, 3), shape=(3, 2), strides=(1, 1), offset=2, to_strides=(3, 1)),
        unary(2, 3, to_shape=(2, 3), shape=(2, 2), strides=(2, 1), offset=0, to_strides=(0, 1)),
    ],
    "unbind": [unary(2, 3, axis=1), unary(3, axis=0)],
    "split_with_sizes": [unary(2, 5, sizes=(1, 3, 1), axis=1)],
    "view_as_real": [lambda d: S(d.complexes(2, 3))],
    "view_as_complex": [lambda d: S(d.real(2, 3, 2), dense=True)],
    "complex_from_pairs": [lambda d: S(d.real(2, 3, 2))],
    "real": [unary(2, 3), lambda d: S(d.complexes(2, 3))],
    "imag": [unary(2, 3), lambda d: S(d.complexes(2, 3))],
    "as_complex": [unary(2, 3)],
    "alias": [unary(2, 3)],
    "view_dtype": [lambda d: S(d.real(2, 3), dtype=np.dtype(np.int64), real=True)],
    "rowmajor": [unary(2, 3)],
    "concat": [
        lambda d: S(d(2, 3), d(2, 1), d(2, 2), axis=1),
        lambda d: S(d(2, 3), d(0), d(1, 3), axis=0, without="batch"),
    ],
    "stack": [lambda d: S(d(2, 3), d(2, 3), axis=1), lambda d: S(d(2), d(2), d(2), axis=0)],
    "block_diag": [lambda d: S(d(2, 3), d(2), d(), d(1, 2))],
    "flip": [unary(2, 3, axis=(1,)), unary(2, 3, 2, axis=(0, 2))],
    "roll": [unary(3, 4, shift=(1, -2), axis=(0, 1)), unary(3, 4, shift=(5,), axis=None)],
    "rot90": [unary(2, 3, k=1, axes=(0, 1)), unary(2, 3, 2, k=3, axes=(2, 0)), unary(2, 3, k=2, axes=(0, 1))],
    "tile": [unary(2, 3, repetitions=(2, 2)), unary(3, repetitions=(2, 1, 3)), unary(2, repetitions=(0,))],
    "tril": [unary(3, 4), unary(2, 3, 3, k=-1)],
    "triu": [unary(3, 4), unary(2, 3, 3, k=1)],
    "trace": [unary(3, 4), unary(2, 4, 3)],
    "diag_embed": [unary(2, 3, offset=1, axis1=1, axis2=2), unary(2, 3, offset=-1, axis1=0, axis2=2)],
    "constant_pad": [unary(2, 3, pad=((1, 0), (0, 2)), value=3.0), unary(4, 3, pad=((-1, 1), (1, -1)))],
    "pad_from_inside": [
        unary(2, 4, pad=((0, 0), (2, 1)), mode="reflect"),
        unary(3, 4, pad=((1, 2), (3, 1)), mode="replicate"),
        unary(3, 4, pad=((1, 2), (3, 1)), mode="circular"),
        unary(2, 5, pad=((0, 0), (-1, 2)), mode="replicate"),
    ],
    "pad_back": [
        unary(2, 7, shape=(2, 4), pad=((0, 0), (2, 1)), mode="reflect"),
        unary(6, 8, shape=(3, 4), pad=((1, 2), (3, 1)), mode="circular"),
    ],
    "pixel_shuffle": [unary(2, 4, 2, 3, factor=2)],
    "pixel_unshuffle": [unary(2, 1, 4, 6, factor=2)],
    "channel_shuffle": [unary(2, 6, 3, groups=3)],
    # Positions and masks
    "add_rows": [lambda d: S(d(4, 2), d.integers(4, below=3), shape=(3, 2))],
    "take_along_axis": [
        lambda d: S(d(4, 3), d.integers(2, 3, below=4), axis=0),
        lambda d: S(d(), np.array(0), axis=0, without="batch"),
    ],
    "scatter": [lambda d: S(d(4, 3), d.order(2, 2, n=4), d(2, 3), axis=0)],
    "scatter_fill": [lambda d: S(d(4, 3), d.integers(2, 2, below=4), axis=0, value=1.5)],
    "scatter_add": [lambda d: S(d(4, 3), d.integers(3, 2, below=4), d(3, 3), axis=0)],
    "scatter_reduce": [
        lambda d, reduce=reduce, keep=keep: S(
            d(4, 3), d.integers(5, 2, below=4), d(6, 3), axis=0, reduce=reduce, include_self=keep, real=reduce[0] == "a"
        )
        for reduce in ("sum", "mean", "prod", "amax", "amin")
        for keep in (True, False)
    ]
    + [lambda d: S(zeroed(d(3)), d.integers(5, below=3), zeroed(d(5), 0, 3), axis=0, reduce="prod")],
    "index_select": [
        lambda d: S(d(4, 3), d.integers(5, below=4), axis=0),
        lambda d: S(d(2, 3), d.integers(2, below=3), axis=1),
    ],
    "index_add": [lambda d: S(d(4, 3), d.integers(5, below=4), d(5, 3), axis=0)],
    "index_copy": [lambda d: S(d(4, 3), d.order(2, n=4), d(2, 3), axis=0)],
    "index_fill": [lambda d: S(d(4, 3), d.integers(2, below=4), axis=0, value=1.5)],
    "index_fill_with": [lambda d: S(d(4, 3), d.integers(2, below=4), d(), axis=0)],
    "index_reduce": [
        lambda d, reduce=reduce, keep=keep: S(
            d(4, 3), d.integers(5, below=4), d(5, 3), axis=0, reduce=reduce, include_self=keep, real=True
        )
        for reduce in ("mean", "prod", "amax", "amin")
        for keep in (True, False)
    ],
    "take_flat": [lambda d: S(d(3, 4), d.integers(2, 3, below=12))],
    "put": [
        lambda d: S(d(3, 4), d.order(5, n=12), d(5)),
        lambda d: S(d(3, 4), d.integers(2, 3, below=12), d(2, 3), accumulate=True),
    ],
    "index_get_1": [
        lambda d: S(d(4, 3), d.integers(2, 2, below=4), places=(0,)),
        lambda d: S(d(2, 4, 3), d.integers(3, below=4), places=(1,)),
    ],
    "index_get_2": [
        lambda d: S(d(4, 2, 3), d.integers(2, 1, below=4), d.integers(3, below=3), places=(0, 2)),
        lambda d: S(d(2, 4, 3), d.integers(5, below=4), d.integers(5, below=3), places=(1, 2)),
    ],
    "index_added_1": [lambda d: S(d(5, 3), d.integers(5, below=4), shape=(4, 3), places=(0,))],
    "index_added_2": [
        lambda d: S(d(5, 2), d.integers(5, below=4), d.integers(5, below=3), shape=(4, 2, 3), places=(0, 2)),
        lambda d: S(d(2, 5), d.integers(5, below=4), d.integers(5, below=3), shape=(2, 4, 3), places=(1, 2)),
    ],
    "index_put_1": [
        lambda d: S(d(4, 3), d(2, 3), d.order(2, n=4), places=(0,)),
        lambda d: S(d(4, 3), d(3), d.integers(5, below=4), places=(0,), accumulate=True),
        lambda d: S(d(2, 4, 3), d(2, 2, 3), d.order(2, n=4), places=(1,)),
        lambda d: S(d(2, 4, 3), d(3), d.order(2, n=4), places=(1,)),
    ],
    "index_put_2": [
        lambda d: S(d(4, 2, 3), d(3, 2), d.order(3, n=4), d.order(3, n=3), places=(0, 2)),
        lambda d: S(d(2, 4, 3), d(), d.integers(3, below=4), d.integers(3, below=3), places=(1, 2), accumulate=True),
    ],
    "masked_fill": [lambda d: S(d(2, 3), d.mask(3), value=1.5), lambda d: S(d(3), d.mask(2, 3), value=1.5)],
    "masked_fill_with": [lambda d: S(d(2, 3), d.mask(2, 1), d()), lambda d: S(d(3), d.mask(2, 3), d())],
    "masked_select": [
        lambda d: S(d(3, 4), d.mask(3, 4), fixed="mask"),
        lambda d: S(d(3, 1), d.mask(4), fixed="mask"),
        lambda d: S(d(3), d.mask(2, 3), fixed="mask"),
    ],
    "masked_put": [lambda d: S(d(3), np.array([[True, False, True], [False, True, False]]), fixed="mask")],
    "masked_scatter": [lambda d: S(d(2, 3), d.mask(2, 3), d(7)), lambda d: S(d(3), d.mask(2, 3), d(2, 3))],
    "nonzero": [
        lambda d: S(np.array([[0.0, 1, 2], [3, 0, 0]]), without="batch"),
        lambda d: S(d.mask(5), without="batch"),
    ],
    "select_scatter": [lambda d: S(d(2, 3), d(2), axis=1, index=1)],
    "slice_scatter": [lambda d: S(d(5, 3), d(2, 3), axis=0, start=1, stop=5, step=2)],
    "diagonal_scatter": [lambda d: S(d(3, 4), d(3), offset=1, axis1=0, axis2=1)],
}


def reductions(*shapes, axes=(None, 0, (0,), (0, 2)), **options):
    """Samples over axes, with the dimensions kept and not."""
    return [
        lambda d, axis=axis, kept=kept: S(d(2, 3, 2), axis=axis, keepdims=kept, **options)
        for axis, kept in zip((*axes, axes[-1]), (False, False, True, False, True))
    ]


TABLE |= {
    "sum": reductions(dtype=None) + [unary(2, 3, axis=1, dtype=np.dtype(np.complex128))],
    "mean": reductions(dtype=None) + [unary(2, 3, axis=1, dtype=np.dtype(np.complex128))],
    "nansum": reductions(real=True)
    + [lambda d: S(np.where(d.mask(2, 3), nan, d(2, 3)), axis=1, real=True, without="difference")],
    "prod": [
        unary(2, 3),
        unary(2, 3, axis=1),
        unary(2, 3, axis=0, keepdims=True),
        lambda d: S(zeroed(d(2, 3)), axis=1),
        lambda d: S(zeroed(d(2, 3), 0, 2), axis=1),
        unary(),
    ],
    "prod_others": [unary(2, 3, axis=1), lambda d: S(zeroed(d(4), 1), axis=0), lambda d: S(zeroed(d(4), 1, 2), axis=0)],
    "cumulative_prod": along(2, 4) + [lambda d: S(zeroed(d(2, 4), 1, 3, 5), axis=1)],
    "scan": [lambda d: S(d(2, 4), d(2, 4), axis=1), lambda d: S(d(3, 2), d(3, 2), axis=0)],
    "cumulative_sum": along(2, 4) + [unary(2, 3, axis=1, dtype=np.dtype(np.complex128))],
    "max": reductions(real=True),
    "min": reductions(real=True),
    "max_all": [unary(2, 3, real=True)],
    "min_all": [unary(2, 3, real=True)],
    "median_all": [unary(2, 3, real=True)],
    "nanmedian_all": [unary(2, 3, real=True), lambda d: S(np.append(d(4), nan), real=True, without="difference")],
    "put_at": [
        lambda d: S(d(2, 1), d.integers(2, 1, below=3), shape=(2, 3), axis=1),
        lambda d: S(d(2, 3), d.order(2, 3, n=4), shape=(4, 3), axis=0),
    ],
    "kthvalue": [
        unary(2, 4, k=2, axis=1, real=True),
        unary(3, 2, k=3, axis=0, keepdims=True, real=True),
        unary(k=1, axis=0, real=True),
    ],
    "aminmax": [
        unary(2, 3, real=True),
        unary(2, 3, axis=1, real=True),
        unary(2, 3, axis=0, keepdims=True, real=True),
    ],
    "cumulative_max": along(2, 4, real=True),
    "cumulative_min": along(2, 4, real=True),
    "argmax": [
        unary(2, 3, real=True),
        unary(2, 3, keepdims=True, real=True),
        unary(2, 3, axis=1, real=True),
        unary(2, 3, axis=0, keepdims=True, real=True),
    ],
    "argmin": [
        unary(2, 3, real=True),
        unary(2, 3, keepdims=True, real=True),
        unary(2, 3, axis=1, real=True),
        unary(2, 3, axis=0, keepdims=True, real=True),
    ],
    "all": [lambda d, axis=axis: S(d.mask(2, 3), axis=axis) for axis in (None, 1, (0, 1))],
    "any": [lambda d, axis=axis: S(d.mask(2, 3), axis=axis) for axis in (None, 1, (0, 1))],
    "count_nonzero": [lambda d, axis=axis: S(d.integers(2, 3, below=2), axis=axis) for axis in (None, 1, (0, 1))],
    **{
        name: [
            unary(2, 4, axis=1, real=True),
            unary(3, 2, axis=0, keepdims=True, real=True),
            unary(axis=0, real=True),
        ]
        for name in ("max_at", "min_at", "median_at", "nanmedian_at", "mode")
    },
    **{
        name: [
            unary(2, 3, 2),
            unary(2, 3, 2, axis=(0, 2), keepdims=True, correction=0),
            unary(2, 3, axis=(1,), correction=2),
            unary(2, 3, axis=(0,)),
        ]
        for name in ("var", "std", "var_mean", "std_mean")
    },
    "logsumexp": [
        unary(2, 3, axis=(1,)),
        unary(2, 3, axis=(0, 1), keepdims=True),
        unary(2, 3, axis=(0,)),
        unary(axis=()),
    ],
    "cumulative_logsumexp": along(2, 4),
    "vector_norm": [
        unary(2, 3, ord=ord, axis=axis, keepdims=kept)
        for ord in (2, 1, 3, 0.5, 1.5, inf, -inf, 0)
        for axis, kept in (((1,), False), (None, False), ((0, 1), True))
    ],
    "sort": [
        unary(2, 4, axis=1, real=True),
        unary(3, 2, axis=0, descending=True, real=True),
        unary(axis=0, real=True),
    ],
    "topk": [
        unary(2, 4, k=2, axis=1, real=True),
        unary(3, 2, k=2, axis=0, largest=False, real=True),
        unary(k=1, axis=0, real=True),
    ],
    "searchsorted": [
        lambda d: S(np.sort(d.real(2, 5)), d.real(2, 3)),
        lambda d: S(np.sort(d.real(5)), d.real(2, 3), right=True),
    ],
    "isin": [lambda d: S(d.integers(2, 3, below=5), d.integers(3, below=5))],
    # Products
    "mm": [lambda d: S(d(2, 3), d(3, 4))],
    "bmm": [lambda d: S(d(2, 2, 3), d(2, 3, 4))],
    "mv": [lambda d: S(d(2, 3), d(3))],
    "dot": [lambda d: S(d(3), d(3))],
    "vdot": [lambda d: S(d(3), d(3))],
    "outer": [lambda d: S(d(2), d(3))],
    "matmul": [
        lambda d: S(d(2, 3), d(3, 4)),
        lambda d: S(d(3), d(3)),
        lambda d: S(d(3), d(3, 2)),
        lambda d: S(d(2, 3), d(3)),
        lambda d: S(d(2, 1, 2, 3), d(4, 3, 2)),
        lambda d: S(d(3), d(2, 3, 4)),
        lambda d: S(d(2, 4, 3), d(3)),
    ],
    **{
        name: [
            lambda d, a=a, b=b: S(d(2, 4), d(*a), d(*b)),
            lambda d, a=a, b=b: S(d(4), d(*a), d(*b), beta=0.5, alpha=-2),
        ]
        for name, a, b in (
            ("addmm", (2, 3), (3, 4)),
            ("addbmm", (2, 2, 3), (2, 3, 4)),
            ("addr", (2,), (4,)),
        )
    },
    "baddbmm": [
        lambda d: S(d(2, 2, 4), d(2, 2, 3), d(2, 3, 4)),
        lambda d: S(d(2, 1), d(2, 2, 3), d(2, 3, 4), beta=0.5, alpha=-2),
    ],
    "addmv": [lambda d: S(d(2), d(2, 3), d(3)), lambda d: S(d(), d(2, 3), d(3), beta=0.5, alpha=-2)],
    "cross": [lambda d: S(d(3, 2), d(3, 2), axis=0), lambda d: S(d(1, 3), d(2, 3), axis=1)],
    # Linear algebra
    "inv": [lambda d: S(d.definite(3)), lambda d: S(d.definite(2, (2,)))],
    "det": [unary(3, 3), unary(2, 2, 2), unary(1, 1), lambda d: S(singular(d), without="second")],
    "cofactor": [unary(3, 3), unary(2, 2, 2)],
    "slogdet": [unary(3, 3), unary(2, 2, 2)],
    "solve": [
        lambda d: S(d.definite(3), d(3, 2)),
        lambda d: S(d.definite(2, (2,)), d(2, 3)),
        lambda d: S(d.definite(2), d(2, 2, 1)),
    ],
    "solve_triangular": [
        lambda d, upper=upper, unit=unit: S(
            np.tril(d.definite(3)) + np.triu(d(3, 3)) * upper, d(3, 2), upper=upper, unitriangular=unit
        )
        for upper in (False, True)
        for unit in (False, True)
    ]
    + [lambda d: S(np.tril(d.definite(2, (2,))), d(2, 1), upper=False)],
    "pinv": [
        unary(2, 4, atol=np.array(0.0), rtol=np.array(1e-10)),
        unary(4, 2, atol=np.array(0.0), rtol=np.array(1e-10)),
        lambda d: S(d.definite(3), atol=np.array(0.0), rtol=np.array(1e-10), hermitian=True, around=symmetric),
    ],
    "cholesky": [
        lambda d: S(d.definite(3), around=symmetric),
        lambda d: S(d.definite(3), upper=True, around=symmetric),
        lambda d: S(d.definite(2, (2,)), around=symmetric),
    ],
    "qr": [unary(4, 3), unary(3, 3), unary(2, 4), unary(3, 3, mode="complete"), unary(2, 3, 2)],
    "eigh": [
        lambda d: S(d.definite(3), around=lambda f: symmetric(lambda x: rebuilt(*f(x)))),
        lambda d: S(d.definite(3), lower=False, around=lambda f: symmetric(lambda x: rebuilt(*f(x)))),
        lambda d: S(d.definite(2, (2,)), around=lambda f: symmetric(lambda x: rebuilt(*f(x)))),
    ],
    "eigh_some": [
        lambda d: S(d.definite(4), k=2, around=lambda f: symmetric(lambda x: rebuilt(*f(x)))),
        lambda d: S(d.definite(3, (2,)), k=2, largest=False, around=lambda f: symmetric(lambda x: rebuilt(*f(x)))),
    ],
    "eigvalsh": [
        lambda d: S(d.definite(3), around=symmetric),
        lambda d: S(d.definite(2, (2,)), lower=False, around=symmetric),
    ],
    "eig": [
        lambda d: S(np.diag([1.0, 3, 6]) + 0.3 * d(3, 3), around=lambda f: lambda x: sizes(*f(x))),
        lambda d: S(np.array([[0.5, -2], [2, 1]]) + 0.1 * d(2, 2), around=lambda f: lambda x: sizes(*f(x))),
    ],
    "svd": [
        lambda d, shape=shape, full=full: S(d(*shape), full_matrices=full, around=lambda f: lambda x: decomposed(*f(x)))
        for shape, full in (
            ((3, 3), True),
            ((4, 2), False),
            ((2, 4), False),
            ((2, 4), True),
            ((4, 2), True),
            ((2, 2, 2), False),
        )
    ],
    "svdvals": [unary(3, 3), unary(2, 4), unary(2, 3, 2)],
    "lu_factor": [unary(3, 3), unary(4, 2), unary(2, 4), unary(2, 2, 2)],
    "permutation": [lambda d: S(np.array([2, 3, 3], np.int32), n=3)],
    "lu": [unary(3, 3), unary(4, 2), unary(2, 4), unary(2, 2, 2)],
    "matrix_exp": [lambda d: S(d(3, 3) * 0.5), lambda d: S(d(2, 2, 2) * 0.5)],
    "geqrf": [unary(3, 2)],
    "cdist": [lambda d, p=p: S(d(3, 2), d(4, 2), p=p, real=True) for p in (2.0, 1.0, 0.0, 3.0, inf, 1.5)]
    + [lambda d: S(d(2, 3, 2), d(4, 2), p=2.0, by_product=True, real=True)],
}


def singular(d):
    a = d(3, 3)
    a[2] = a[0] - a[1]
    return a


def rebuilt(values, vectors):
    """What does not depend on the vectors' phases."""
    return values, vectors.abs(), (vectors * (values.cos())[..., None, :]) @ vectors.mH


def sizes(values, vectors):
    return values, vectors.abs()


def decomposed(u, s, vh):
    k = s.shape[-1]
    u, vh = u[..., :k], vh[..., :k, :]
    return u.abs(), s, vh.abs(), (u * s.cos()[..., None, :]) @ vh


TABLE |= LAYERS

for _n in (1, 2):  # of these families there is one primitive for each number of index arrays, made when first asked for
    index_get(_n), index_add_n(_n), index_put(_n)


def elementwise(prim, shapes, static):
    """A sample of an elementwise primitive, drawn from its domain."""

    def make(d):
        arrays = []
        for i, shape in enumerate(shapes):
            low, high = prim.domain[min(i, len(prim.domain) - 1)]
            if prim.kind == "choose" and not i:
                arrays.append(d.mask(*shape))
            elif prim.kind == "integer":
                arrays.append(d.integers(*shape, below=high - low) + low)
            elif prim.kind in ("compare", "order", "logical"):
                arrays.append(np.round(d(*shape, low=low, high=high)))
            else:
                arrays.append(d(*shape, low=low, high=high))
        real = prim.name in REAL or "c" in prim.refuses or prim.kind == "integer"
        return S(*arrays, real=real, **static)

    return make


#: Where a formula has a case of its own, though the function is smooth there.
SPECIAL = {
    "sinc": [lambda d: S(zeroed(d(4), 1))],
    "i1": [lambda d: S(zeroed(d(4), 1), real=True)],
    "xlogy": [lambda d: S(zeroed(d(4), 1), d(4, low=0.3, high=2), real=True)],
    "xlog1py": [lambda d: S(zeroed(d(4), 1), d(4, low=0.3, high=2), real=True)],
    "pow_scalar": [lambda d: S(zeroed(d(4), 1), exponent=3)],
}


def recipes(prim):
    """The functions of a `Draw` that give a primitive's samples; an error where there are none."""
    if prim.name in TABLE:
        return TABLE[prim.name]
    if prim.family != "elementwise" or not prim.domain:
        raise LookupError(f"{prim.name} has no samples: say in its entry what it is `drawn_from`, or add it to TABLE")
    statics = STATIC.get(prim.name, [{}])
    n = len(prim.arrays)
    shapes = [[(2, 3)] * n, [()] * n]
    if n > 1:  # what broadcasts
        shapes += [[(2, 3), (3,), (2, 1)][:n], [(1, 3), (2, 1), ()][:n], [(), (2,), (3, 2)][:n]]
    special = SPECIAL.get(prim.name, [])
    return (
        special
        + [elementwise(prim, each, static) for each in shapes[:2] for static in statics]
        + [elementwise(prim, each, statics[-1]) for each in shapes[2:]]
    )


def bound(prim, sample):
    """The static arguments of a sample, in order."""
    return tuple(sample.given[name] if name in sample.given else prim.defaults[name] for name in prim.static)
