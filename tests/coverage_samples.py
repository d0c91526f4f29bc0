"""What `test_coverage` calls each primitive with: for every one that is not elementwise, arrays and static arguments.

`drawn(prim, seed, complex)` gives the samples of a primitive. An elementwise entry says itself from which intervals its
arguments are drawn (`Primitive.drawn_from`); its static arguments stand in `STATIC`. The others stand in `TABLE`: name ->
functions of a `Draw`, each of which gives a `Sample`. A primitive that has neither is an error: it would go untested.
"""

from __future__ import annotations

from math import inf, nan

import numpy as np

from bibun.backends import cpu
from bibun.ops.indexing import index_add_n, index_get, index_put
from bibun.ops.primitive import REGISTRY


class Draw:
    """Random arrays; those of ``draw(...)`` are complex where complex numbers are on trial."""

    def __init__(self, seed, complex=False):
        self.random, self.complex = np.random.default_rng(seed), complex

    def real(self, *shape, low=-2.0, high=2.0):
        return np.asarray(self.random.uniform(low, high, shape))

    def complexes(self, *shape, low=-2.0, high=2.0):
        return self.real(*shape, low=low, high=high) + 1j * self.real(*shape, low=-1.5, high=1.5)

    def __call__(self, *shape, low=-2.0, high=2.0):
        return (self.complexes if self.complex else self.real)(*shape, low=low, high=high)

    def integers(self, *shape, below):
        return self.random.integers(0, below, shape)

    def order(self, *shape, n):
        """Different numbers below ``n`` along the first axis."""
        flat = [self.random.permutation(n)[: shape[0]] for _ in range(int(np.prod(shape[1:])))]
        return np.stack(flat, 1).reshape(shape) if len(shape) > 1 else flat[0]

    def mask(self, *shape):
        return self.random.random(shape) < 0.5

    def definite(self, n, lead=()):
        a = self(*lead, n, n)
        return a @ np.swapaxes(a.conj(), -1, -2) + 2 * np.eye(n)


class Sample:
    """Arguments of one call, and what is particular about it.

    Attributes:
        arrays, static: the call's; ``fixed``: names of arrays that vmap leaves alone.
        real: there is no such call with complex numbers. dense: it depends on how its input lies in memory.
        around: a function of the call that gives the function to be looked at instead, of the same arrays: for outputs
            that are determined up to a sign or a phase, or inputs that must be symmetric.
        once: whether there is no second derivative. without: names of checks that do not apply.
    """

    def __init__(self, *arrays, real=False, dense=False, around=None, once=False, without="", fixed="", **static):
        self.arrays, self.given = arrays, static
        self.real, self.dense, self.around, self.once = real, dense, around, once
        self.without, self.fixed = without.split(), fixed.split()


S = Sample


def unary(*shape, **options):
    """A sample of one array of a shape."""
    return lambda d: S(d(*shape), **options)


def first(f):
    """The first output alone."""
    return lambda *arrays: f(*arrays)[0]


def symmetric(f):
    return lambda x, *rest: f((x + x.mH) / 2, *rest)


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
for _name in ("leaky_relu", "hardtanh", "elu", "celu", "softplus"):
    STATIC[f"{_name}_gradient"] = STATIC[_name]

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
    "broadcast_to": [unary(3, 1, shape=(2, 3, 4)), unary(3, shape=(3,)), unary(shape=(2,)), unary(1, shape=(2, 3))],
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
    + [lambda d: S(zeroed(d(3)), d.integers(5, below=3), zeroed(d(5), 0, 3), axis=0, reduce="prod", without="second")],
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


def zeroed(x, *places):
    """``x`` with zeros at some places of its flattening."""
    x = x.copy()
    for k in places or (0,):
        x.reshape(-1)[k] = 0
    return x


def reductions(*shapes, axes=(None, 0, (0,), (0, 2)), **options):
    """Samples over axes, with the dimensions kept and not."""
    return [
        lambda d, axis=axis, kept=kept: S(d(2, 3, 2), axis=axis, keepdims=kept, **options)
        for axis, kept in zip((*axes, axes[-1]), (False, False, True, False, True))
    ]


def along(*shape, **options):
    return [
        lambda d: S(d(*shape), axis=1, **options),
        lambda d: S(d(*shape), axis=0, **options),
        lambda d: S(d(), axis=0, **options),
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
    "argmax": [unary(2, 3, real=True), unary(2, 3, axis=1, real=True), unary(2, 3, axis=0, keepdims=True, real=True)],
    "argmin": [unary(2, 3, real=True), unary(2, 3, axis=1, real=True), unary(2, 3, axis=0, keepdims=True, real=True)],
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


# Softmax, losses, normalisations

REDUCTIONS = (0, 1, 2)


def pairs(*more, low=-2.0, high=2.0, target=(-2.0, 2.0), grad=False, shape=(2, 3), **options):
    """Samples (grad,) x, target of a loss, under each reduction."""
    return [
        lambda d, r=r: S(
            *((d(*(() if r else shape)),) if grad else ()),
            d.real(*shape, low=low, high=high),
            d.real(*shape, low=target[0], high=target[1]),
            *[m(d) if m else None for m in more],
            reduction=r,
            real=True,
            **options,
        )
        for r in REDUCTIONS
    ]


def classes(*shape, weight, gradient, c=4, **options):
    """Samples of the likelihood of classes."""

    def sample(r):
        def make(d):
            target = d.integers(*shape, below=c)
            if options.get("ignore_index", -100) >= 0 and target.ndim:
                target.reshape(-1)[0] = options["ignore_index"]
            w = d.real(c, low=0.5, high=1.5) if weight else None
            given = dict(ignore_index=-100, reduction=r, real=True, fixed="weight") | options
            size = (*shape[:1], c, *shape[1:])
            if gradient:
                return S(d(*(() if r else shape)), target, w, shape=size, **given)
            return S(d(*size), target, w, **given)

        return make

    return [sample(r) for r in REDUCTIONS]


LIKELIHOODS = [
    dict(shape=(3,), weight=False),
    dict(shape=(3,), weight=True),
    dict(shape=(2, 3), weight=True, ignore_index=1),
    dict(shape=(), weight=True),
]


def likelihoods(gradient):
    made = []
    for case in LIKELIHOODS:
        given = dict(case)
        made += classes(*given.pop("shape"), gradient=gradient, **given)
    return made


NORMS = {
    "layer": dict(x=(2, 4), shape=None, axes=(1,), affine=(4,), weight=(4,)),
    "trailing": dict(x=(2, 2, 3), shape=(2, 6), axes=(1,), affine=(6,), weight=(2, 3)),
    "group": dict(x=(2, 4, 3), shape=(2, 2, 2, 3), axes=(2, 3), affine=(2, 2, 1), weight=(4,)),
    "batch": dict(x=(3, 2, 2), shape=None, axes=(0, 2), affine=(2, 1), weight=(2,)),
    "batch rows": dict(x=(4, 3), shape=None, axes=(0,), affine=(3,), weight=(3,)),
}
EPS = 1e-2


def norms(kind):
    """Samples of normalisation and of its two backward kernels."""
    made = []
    for case in NORMS.values():
        for centered in (True, False):
            made.append(lambda d, case=case, centered=centered: kind(d, centered, **case))
    return made


def _normalize(d, centered, x, shape, axes, affine, weight):
    given = dict(shape=shape, axes=axes, affine=affine, eps=EPS, centered=centered, real=True)
    if not centered:  # (whose statistics have no mean: that memory is never written)
        return S(d(*x), d(*weight), None, **given, around=first)
    return S(d(*x), d(*weight), d(*weight), **given)


def _plain(x, shape, axes, centered):
    return REGISTRY["normalize"](cpu, x, None, None, shape, axes, (1,), EPS, centered)


def _given_statistics(f, shape, axes, centered):
    """The kernels as functions of (grad, x) alone, of which what was normalised and the statistics follow."""
    from bibun.autograd.dispatch import apply

    def call(grad, x, made, stats):
        _, made, stats = apply(REGISTRY["normalize"], (x, None, None), (shape, axes, (1,), EPS, centered))
        return f(grad, x, made, stats)

    return call


def _normalize_gradient(d, centered, x, shape, axes, affine, weight):
    a = d(*x)
    _, made, stats = _plain(a, shape, axes, centered)
    around = lambda f: _given_statistics(f, shape, axes, centered)
    return S(
        d(*x),
        a,
        made,
        stats,
        shape=shape,
        axes=axes,
        eps=EPS,
        centered=centered,
        real=True,
        around=around,
        fixed="made stats",
    )


def _affine_gradient(d, centered, x, shape, axes, affine, weight):
    a = d(*x)
    _, made, stats = _plain(a, shape, axes, centered)
    around = lambda f: _given_statistics(f, shape, axes, centered)
    given = dict(shape=shape, axes=axes, affine=affine, size=weight, eps=EPS, centered=centered, dtype=a.dtype)
    return S(d(*x), a, made, stats, **given, real=True, around=around, fixed="made stats")


def margins(gradient):
    """Samples of multi_margin_loss."""
    return [
        lambda d, p=p, weight=weight, r=r: S(
            *((d(*(() if r else (3,))),) if gradient else ()),
            d(3, 4),
            d.integers(3, below=4),
            d.real(4, low=0.5, high=1.5) if weight else None,
            p=p,
            margin=0.7,
            reduction=r,
            real=True,
        )
        for p in (1, 2)
        for weight, r in ((True, 0), (False, 1), (True, 2))
    ] + [
        lambda d: S(
            *((d(),) if gradient else ()), d(4), d.integers(below=4), None, p=2, margin=1.0, reduction=0, real=True
        )
    ]


def multilabel(gradient):
    lists = np.array([[0, 2, -1, 1], [3, -1, 0, 0]])
    return [
        lambda d, r=r: S(*((d(*(() if r else (2,))),) if gradient else ()), d(2, 4), lists, reduction=r, real=True)
        for r in REDUCTIONS
    ] + [lambda d: S(*((d(),) if gradient else ()), d(4), lists[0], reduction=0, real=True)]


def _ctc(d):
    targets = np.array([[1, 2, 2], [3, 1, 0]])
    lengths, target_lengths = np.array([6, 5]), np.array([3, 2])
    return d.real(6, 2, 4), targets, lengths, target_lengths


def ctc(d):
    around = lambda f: lambda log_probs, *rest: f(log_probs.log_softmax(2), *rest)[0]
    return S(*_ctc(d), blank=0, zero_infinity=False, real=True, around=around, once=True)


def ctc_gradient(d):
    x, targets, lengths, target_lengths = _ctc(d)
    x = x - np.log(np.exp(x).sum(2, keepdims=True))
    loss, forward = REGISTRY["ctc_loss"](cpu, x, targets, lengths, target_lengths, 0, False)
    given = (d(2), x, targets, loss, forward, lengths, target_lengths)
    return S(*given, blank=0, zero_infinity=False, real=True)


def embeddings(kind, **options):
    def make(d):
        index = d.integers(2, 3, below=4)
        if kind == "embedding_gradient":
            return S(d(2, 3, 2), index, shape=(4, 2), **options)
        return S(d(4, 2), index, **options)

    return make


def bags(samples, factor, scaling):
    def make(d):
        return S(
            d(4, 2),
            d(5) if samples else None,
            d.integers(5, below=4),
            np.array([0, 0, 1, 2, 2]),
            d.real(5, 1, low=0.5, high=1) if factor else None,
            d.real(4, 1, low=0.5, high=1) if scaling else None,
            bags=3,
            real=True,
        )

    return make


def without(sample, names):
    sample.without = names.split()
    return sample


def attention(mask, **options):
    return lambda d: S(
        d(2, 3, 4), mask(d) if mask else None, **dict(dict(scale=0.6, causal=False, real=True), **options)
    )


def convolving(stride, padding, dilation, transposed=False, output_padding=None, groups=1):
    given = dict(stride=stride, padding=padding, dilation=dilation, transposed=transposed, groups=groups)
    return given | dict(output_padding=output_padding or (0,) * len(stride))


def windowed(stride, padding, dilation, groups):
    return dict(stride=stride, padding=padding, dilation=dilation, groups=groups)


#: (size of the images, a pooling's rule for each of their last dimensions)
POOLS = [
    ((2, 6), (("window", 6, 3, 2, 2, 0, 1),)),
    ((1, 2, 5, 6), (("window", 5, 3, 3, 2, 1, 1), ("window", 6, 4, 2, 1, 0, 2))),
    ((2, 5, 7), (("adaptive", 5, 3), ("adaptive", 7, 2))),
]


def outputs(size, rules):
    """The size that pooling gives."""
    return (*size[: len(size) - len(rules)], *[r[2] for r in rules])


def pooled(d, size, rules, gradient):
    """A call of one of the kernels that know where each window's largest element was."""
    where = REGISTRY["max_pool"](cpu, d.real(*size), rules)[1]
    return S(d(*(outputs(size, rules) if gradient else size)), where, rules=rules, real=True)


def gridded(make, size=(4, 5), mode="bilinear", padding="zeros", align=False):
    """A sample of what takes a grid of points, of which some lie outside the image."""
    given = dict(size=size, mode=mode, padding=padding, align=align, real=True)
    return lambda d: make(
        d, d.real(2, *(3, 1, 1)[: len(size)], len(size), low=-1.2, high=1.2), d.real(2, 2, *size), given
    )


TABLE |= {
    "glu": [unary(2, 4, axis=1, real=True), unary(4, 3, axis=0, real=True)],
    "softmax": along(2, 3, real=True),
    "log_softmax": along(2, 3, real=True),
    "softmax_gradient": [lambda d, axis=axis: S(d(2, 3), d(2, 3), axis=axis, real=True) for axis in (0, 1)],
    "log_softmax_gradient": [lambda d, axis=axis: S(d(2, 3), d(2, 3), axis=axis, real=True) for axis in (0, 1)],
    "mse_loss": pairs(),
    "mse_loss_gradient": pairs(grad=True),
    "nll_loss": likelihoods(False),
    "nll_loss_gradient": likelihoods(True),
    **{
        f"{name}{suffix}": pairs(grad=bool(suffix), target=target, parameter=parameter)
        for name, parameter, target in (
            ("smooth_l1_loss", 0.8, (-2, 2)),
            ("huber_loss", 0.8, (-2, 2)),
            ("soft_margin_loss", None, (0.5, 1)),
        )
        for suffix in ("", "_gradient")
    },
    **{
        f"binary_cross_entropy{suffix}": pairs(more, low=0.1, high=0.9, target=(0, 1), grad=bool(suffix))[
            :: 1 if more else 2
        ]
        for suffix in ("", "_gradient")
        for more in (lambda d: d.real(3, low=0.5, high=1.5),)
    },
    **{
        f"binary_cross_entropy_with_logits{suffix}": [
            *pairs(None, None, target=(0, 1), grad=bool(suffix)),
            *pairs(
                lambda d: d.real(2, 1, low=0.5, high=1.5),
                lambda d: d.real(3, low=0.5, high=1.5),
                target=(0, 1),
                grad=bool(suffix),
            ),
        ]
        for suffix in ("", "_gradient")
    },
    "normalize": norms(_normalize),
    "normalize_gradient": norms(_normalize_gradient),
    "affine_gradient": norms(_affine_gradient),
    "batch_norm_given": [
        lambda d: S(d(2, 3, 2), d(3), d(3), d(3), d.real(3, low=0.5, high=1.5), eps=EPS, real=True),
        lambda d: S(d(4, 3), None, None, d(3), d.real(3, low=0.5, high=1.5), eps=EPS, real=True),
    ],
    "multi_margin_loss": margins(False),
    "multi_margin_gradient": margins(True),
    "multilabel_margin_loss": multilabel(False),
    "multilabel_margin_gradient": multilabel(True),
    "ctc_loss": [ctc],
    "ctc_gradient": [ctc_gradient],
    # Layers
    "linear": [
        lambda d: S(d(2, 3), d(4, 3), d(4)),
        lambda d: S(d(2, 2, 3), d(4, 3), None),
        lambda d: S(d(3), d(4, 3), d(4)),
        lambda d: S(d(2, 3), d(4, 3), d(2, 4)),
    ],
    "outer_sum": [lambda d: S(d(2, 3), d(2, 4)), lambda d: S(d(2, 2, 3), d(2, 2, 4))],
    "embedding": [
        embeddings("embedding", padding_idx=-1, scale=False),
        # (That the row padding_idx has no gradient, and that counts divide it, is no derivative of anything.)
        embeddings("embedding", padding_idx=1, scale=True, without="difference dual batch"),
    ],
    "embedding_gradient": [
        embeddings("embedding_gradient", padding_idx=-1, scale=False),
        embeddings("embedding_gradient", padding_idx=1, scale=False),
        embeddings("embedding_gradient", padding_idx=-1, scale=True),
    ],
    "embedding_rows": [
        embeddings("embedding_rows", padding_idx=-1, scale=False),
        embeddings("embedding_rows", padding_idx=1, scale=False),
        embeddings("embedding_rows", padding_idx=-1, scale=True),
    ],
    "embedding_bag": [
        bags(True, False, False),
        bags(False, True, False),
        bags(True, True, False),
        lambda d: without(bags(False, True, True)(d), "difference dual second"),
    ],
    "embedding_bag_max": [
        lambda d: S(d(4, 2), d.integers(5, below=4), np.array([0, 0, 2, 2, 2]), bags=3, padding_idx=-1, real=True),
        lambda d: S(d(4, 2), d.integers(5, below=4), np.array([0, 0, 2, 2, 2]), bags=3, padding_idx=1, real=True),
    ],
    "attention_scores": [lambda d: S(d(2, 3, 4), d(2, 5, 4), real=True)],
    "attention_weights": [
        attention(None, causal=True),
        attention(lambda d: d.mask(3, 4) | np.eye(3, 4, dtype=bool)),
        attention(lambda d: d(3, 4)),
        attention(lambda d: d(2, 1, 4)),
    ],
    "attention_weights_gradient": [lambda d: S(d(2, 3, 4), d(2, 3, 4), scale=0.6, real=True)],
    "convolution": [
        lambda d: S(d(2, 4, 6), d(2, 2, 3), d(2), **convolving((2,), (1,), (1,), groups=2)),
        lambda d: S(d(2, 2, 5), d(3, 2, 2), None, **convolving((1,), (0,), (2,))),
        lambda d: S(d(1, 2, 5, 4), d(3, 2, 3, 2), d(3), **convolving((2, 1), (1, 0), (1, 2))),
        lambda d: S(d(2, 2, 4), d(2, 3, 3), d(3), **convolving((2,), (1,), (1,), True, (1,))),
        lambda d: S(d(1, 4, 3, 3), d(4, 1, 2, 3), None, **convolving((1, 2), (0, 1), (2, 1), True, (0, 0), 2)),
        lambda d: S(d(1, 1, 3, 3, 3), d(1, 1, 2, 2, 2), d(1), **convolving((1,) * 3, (0,) * 3, (1,) * 3)),
    ],
    "convolution_weight_gradient": [
        lambda d: S(d(2, 4, 6), d(2, 2, 3), size=(2, 2, 3), **windowed((2,), (1,), (1,), 2)),
        lambda d: S(d(2, 2, 5), d(2, 3, 3), size=(3, 2, 2), **windowed((1,), (0,), (2,), 1)),
        lambda d: S(d(1, 2, 5, 4), d(1, 3, 3, 2), size=(3, 2, 3, 2), **windowed((2, 1), (1, 0), (1, 2), 1)),
    ],
    "unfold_windows": [unary(2, 2, 4, 5, kernel=(2, 3), stride=(2, 1), padding=(1, 0), dilation=(1, 2))],
    "fold_windows": [unary(2, 12, 3, size=(4, 5), kernel=(2, 3), stride=(2, 1), padding=(1, 0), dilation=(1, 2))],
    "fft_c2c": [
        lambda d, k=k, forward=forward: S(d.complexes(3, 4), axes=axes, scale=k, forward=forward)
        for k, forward, axes in ((0, True, (1,)), (1, False, (0, 1)), (2, True, (0,)))
    ],
    "fft_r2c": [
        lambda d, k=k, n=n, axes=axes, half=half: S(d.real(3, n), axes=axes, scale=k, onesided=half)
        for k, n, axes, half in ((0, 4, (1,), True), (1, 5, (0, 1), True), (2, 4, (1, 0), True), (1, 4, (1,), False))
    ],
    "fft_c2r": [
        lambda d, k=k, n=n, axes=axes: S(d.complexes(3, n // 2 + 1), axes=axes, scale=k, n=n)
        for k, n, axes in ((0, 4, (1,)), (1, 5, (0, 1)), (2, 6, (1,)))
    ],
    "scale_middle": [lambda d, n=n: S(d.complexes(2, 3), axis=1, n=n, by=0.5) for n in (4, 5)],
    "max_pool": [lambda d, rules=rules, size=size: S(d(*size), rules=rules, real=True) for size, rules in POOLS],
    "max_pool_gradient": [lambda d, rules=rules, size=size: pooled(d, size, rules, True) for size, rules in POOLS],
    "max_pool_taken": [lambda d, rules=rules, size=size: pooled(d, size, rules, False) for size, rules in POOLS],
    "flat_positions": [
        lambda d, rules=rules, size=size: S(pooled(d, size, rules, False).arrays[1], rules=rules)
        for size, rules in POOLS
    ],
    "put_windows": [
        lambda d: S(d(2, 3), d.order(3, 2, n=6).T.copy(), size=(6,), real=True),
        lambda d: S(d(1, 2, 2), d.integers(1, 2, 2, below=6), size=(2, 3), added=True, real=True),
    ],
    "take_windows": [
        lambda d: S(d(2, 6), d.integers(2, 3, below=6), rank=1, real=True),
        lambda d: S(d(1, 2, 3), d.integers(1, 2, 2, below=6), rank=2, real=True),
    ],
    "average_windows": [
        lambda d, rules=rules, size=size, count=count, by=by, back=back: S(
            d(*(outputs(size, rules) if back else size)),
            rules=rules,
            count_padding=count,
            override=by,
            transposed=back,
            real=True,
        )
        for size, rules in POOLS
        for count, by, back in ((False, None, False), (True, None, True), (False, 3, True))
    ],
    "fractional_places": [
        lambda d: S(d(2, 6, 5), d.real(2, 2, low=0, high=1), kernel=(2, 2), size=(3, 2), real=True),
    ],
    "sample_places": [gridded(lambda d, grid, x, given: S(grid, **given))],
    "sample_weights": [
        gridded(lambda d, grid, x, given, orders=orders: S(grid, orders=orders, **given), **options)
        for orders, options in (
            ((0, 0), {}),
            ((1, 0), dict(mode="bicubic")),
            ((0, 0), dict(padding="reflection", align=True)),
        )
    ],
    "grid_gather": [lambda d: S(d(2, 3, 6), d.integers(2, 4, 5, below=7), d(2, 4, 5), real=True)],
    "grid_scatter": [lambda d: S(d(2, 3, 5), d.integers(2, 4, 5, below=7), d(2, 4, 5), count=6, real=True)],
    "grid_match": [lambda d: S(d(2, 3, 5), d(2, 3, 6), d.integers(2, 4, 5, below=6), real=True)],
    "grid_sample": [
        gridded(lambda d, grid, x, given: S(x, grid, **{k: v for k, v in given.items() if k != "size"}), **options)
        for options in (
            {},
            dict(mode="bicubic", padding="border"),
            dict(padding="reflection", align=True),
            dict(mode="nearest"),
            dict(padding="border"),
            dict(size=(3, 2, 4)),
        )
    ],
    "affine_grid_generator": [
        lambda d: S(d(2, 2, 3), size=(3, 4), align=False, real=True),
        lambda d: S(d(2, 3, 4), size=(2, 3, 2), align=True, real=True),
        lambda d: S(d(2, 3, 4, 2), size=(3, 4), align=False, transposed=True, real=True),
    ],
    "resample": [
        lambda d, rule=rule, t=t: S(d(2, 3, rule[2] if t else rule[1]), rules=(rule,), transposed=t, real=True)
        for rule in (
            ("nearest", 4, 6, 4 / 6),
            ("nearest-exact", 5, 3, 5 / 3),
            ("linear", 4, 6, 4 / 6, False),
            ("linear", 4, 6, 3 / 5, True),
            ("cubic", 5, 7, 5 / 7, False),
            ("linear-wide", 7, 3, 7 / 3, False),
        )
        for t in (False, True)
    ],
}

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
    return [elementwise(prim, each, static) for each in shapes[:2] for static in statics] + [
        elementwise(prim, each, statics[-1]) for each in shapes[2:]
    ]


def bound(prim, sample):
    """The static arguments of a sample, in order."""
    return tuple(sample.given[name] if name in sample.given else prim.defaults[name] for name in prim.static)
