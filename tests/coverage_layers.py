"""Samples of what networks are made of: softmax, losses, normalisations, attention, convolutions, poolings, grids.

A part of the table of `coverage_samples`, whose page says how it is read.
"""

from __future__ import annotations

import numpy as np
from coverage_draws import S, along, first, unary, without

from bibun.backends import cpu
from bibun.ops.primitive import REGISTRY

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


CROSSES = [
    dict(weight=weight, ignore=ignore, reduction=reduction, smoothing=smoothing)
    for weight, ignore, reduction, smoothing in (
        (False, -100, 1, 0.0), (True, -100, 1, 0.0), (True, 1, 2, 0.0), (False, 1, 1, 0.3), (False, -100, 0, 0.3), (True, 0, 0, 0.0),
    )
]  # fmt: skip


def crosses(kind):
    """Samples of the cross-entropy of logits, and of its gradient as a function of (grad, x) alone."""
    return [lambda d, case=case: kind(d, **case) for case in CROSSES]


def _cross(d, weight, ignore, reduction, smoothing):
    given = dict(ignore_index=ignore, reduction=reduction, smoothing=smoothing, real=True)
    weights = d.real(4, low=0.5, high=1.5) if weight else None
    return S(d(3, 4), np.array([1, 2, 0]), weights, **given, around=first, fixed="weight")


def _cross_gradient(d, weight, ignore, reduction, smoothing):
    x, target = d(3, 4), np.array([1, 2, 0])
    weights = d.real(4, low=0.5, high=1.5) if weight else None
    static = (ignore, reduction, smoothing)
    sums = REGISTRY["cross_entropy"](cpu, x, target, weights, *static)[1]

    def around(f):
        from bibun.autograd.dispatch import apply

        def call(grad, x, target, *rest):
            again = apply(REGISTRY["cross_entropy"], (x, target, rest[0] if weight else None), static)
            return f(grad, x, target, *rest[:-1], again[1])

        return call

    given = dict(ignore_index=ignore, reduction=reduction, smoothing=smoothing, real=True)
    return S(d(*(() if reduction else (3,))), x, target, weights, sums, **given, around=around, fixed="sums weight")


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
    """The kernels as functions of (grad, x) alone, of which the statistics follow."""
    from bibun.autograd.dispatch import apply

    def call(grad, x, stats):
        _, stats = apply(REGISTRY["normalize"], (x, None, None), (shape, axes, (1,), EPS, centered))
        return f(grad, x, stats)

    return call


def _normalize_gradient(d, centered, x, shape, axes, affine, weight):
    a = d(*x)
    _, stats = _plain(a, shape, axes, centered)
    around = lambda f: _given_statistics(f, shape, axes, centered)
    return S(
        d(*x),
        a,
        stats,
        shape=shape,
        axes=axes,
        eps=EPS,
        centered=centered,
        real=True,
        around=around,
        fixed="stats",
    )


def _affine_gradient(d, centered, x, shape, axes, affine, weight):
    a = d(*x)
    _, stats = _plain(a, shape, axes, centered)
    around = lambda f: _given_statistics(f, shape, axes, centered)
    given = dict(shape=shape, axes=axes, affine=affine, size=weight, eps=EPS, centered=centered, dtype=a.dtype)
    return S(d(*x), a, stats, **given, real=True, around=around, fixed="stats")


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


LAYERS = {
    "glu": [unary(2, 4, axis=1, real=True), unary(4, 3, axis=0, real=True)],
    "softmax": along(2, 3, real=True),
    "log_softmax": along(2, 3, real=True),
    "softmax_gradient": [lambda d, axis=axis: S(d(2, 3), d(2, 3), axis=axis, real=True) for axis in (0, 1)],
    "log_softmax_gradient": [lambda d, axis=axis: S(d(2, 3), d(2, 3), axis=axis, real=True) for axis in (0, 1)],
    "mse_loss": pairs(),
    "mse_loss_gradient": pairs(grad=True),
    "nll_loss": likelihoods(False),
    "nll_loss_gradient": likelihoods(True),
    "cross_entropy": crosses(_cross),
    "cross_entropy_gradient": crosses(_cross_gradient),
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
        lambda d: S(d(1, 2, 3), d(4, 3), d(1, 4)),
    ],
    "linear_transpose": [lambda d: S(d(2, 3), d(3, 4)), lambda d: S(d(2, 2, 3), d(3, 4)), lambda d: S(d(3), d(3, 4))],
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
    "flash_attention": [
        lambda d: S(d(2, 1, 3, 2), d(2, 1, 4, 2), d(2, 1, 4, 2), None, scale=0.6, causal=True, real=True),
        lambda d: S(d(1, 2, 3, 2), d(1, 2, 4, 2), d(1, 2, 4, 2), d.mask(3, 4) | np.eye(3, 4, dtype=bool), scale=1.0, causal=False, real=True),
    ],
    "lstm_layer": [
        lambda d: S(d(3, 2, 3), d(8, 3), d(8, 2), d(8), d(8), d(2, 2), d(2, 2), reverse=False, keep=True, sizes=None, real=True),
        lambda d: S(d(2, 1, 2), d(4, 2), d(4, 1), None, None, d(1, 1), d(1, 1), reverse=True, keep=True, sizes=None, real=True),
        lambda d: S(d(4, 2), d(4, 2), d(4, 1), None, d(4), d(2, 1), d(2, 1), reverse=False, keep=True, sizes=(2, 1, 1), real=True, without="batch"),
    ],
    "gru_layer": [
        lambda d: S(d(3, 2, 3), d(6, 3), d(6, 2), d(6), d(6), d(2, 2), reverse=False, keep=True, sizes=None, real=True),
        lambda d: S(d(4, 2), d(3, 2), d(3, 1), None, None, d(2, 1), reverse=True, keep=True, sizes=(2, 2), real=True, without="batch"),
    ],
    "rnn_layer": [
        lambda d: S(d(3, 2, 3), d(2, 3), d(2, 2), d(2), d(2), d(2, 2), reverse=False, keep=True, sizes=None, relu=False, real=True),
        lambda d: S(d(3, 2), d(3, 2), d(3, 3), None, None, d(2, 3), reverse=True, keep=True, sizes=(2, 1), relu=True, real=True, without="batch"),
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
