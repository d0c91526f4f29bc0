"""Native convolutions held to NumPy's in float64."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from bibun.backends import conv
from bibun.native.kernel import usable

if not usable():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import pool
from bibun.native.kernels import conv as kernels
from bibun.native.kernels import direct, winograd

#: images, size, outputs, kernel, stride, padding, dilation, groups, output padding (of the transpose)
CASES = [
    ((3, 16, 9, 5), 19, (3, 3), (1, 1), (1, 1), (1, 1), 1, (0, 0)),
    ((2, 17, 12, 40), 35, (3, 3), (1, 1), (0, 2), (1, 1), 1, (0, 0)),
    ((1, 32, 7, 150), 16, (3, 3), (1, 1), (3, 3), (1, 1), 1, (0, 0)),
    ((2, 1, 28, 28), 5, (3, 3), (1, 1), (0, 0), (1, 1), 1, (0, 0)),
    ((1, 3, 11, 13), 9, (5, 2), (2, 3), (4, 1), (1, 2), 1, (1, 2)),
    ((2, 6, 10, 9), 4, (4, 3), (3, 1), (5, 2), (2, 1), 2, (2, 0)),
    ((2, 8, 17, 18), 8, (3, 3), (1, 1), (1, 1), (1, 1), 8, (0, 0)),
    ((2, 8, 17, 18), 16, (3, 3), (2, 2), (1, 1), (1, 1), 8, (1, 1)),
    ((2, 24, 6, 7), 40, (1, 1), (1, 1), (0, 0), (1, 1), 1, (0, 0)),
    ((2, 24, 6, 7), 10, (1, 1), (2, 3), (0, 0), (1, 1), 1, (1, 0)),
    ((1, 4, 30, 30), 6, (2, 2), (3, 4), (0, 0), (1, 1), 1, (0, 2)),
    ((2, 5, 50), 7, (4,), (2,), (3,), (3,), 1, (1,)),
    ((2, 3, 5, 6, 7), 10, (3, 2, 3), (1, 2, 1), (1, 0, 2), (1, 1, 2), 1, (0, 1, 0)),
    ((1, 2, 1, 1), 3, (1, 1), (1, 1), (0, 0), (1, 1), 1, (0, 0)),
    ((1, 2, 2, 2), 3, (2, 2), (1, 1), (0, 0), (1, 1), 1, (0, 0)),
    ((5, 7, 3, 3), 33, (3, 3), (1, 1), (1, 1), (1, 1), 1, (0, 0)),
    ((3, 10, 7, 9), 50, (4, 4), (2, 2), (1, 1), (1, 1), 1, (1, 0)),
    ((3, 12, 5, 5), 24, (3, 2), (2, 1), (1, 0), (1, 2), 3, (0, 0)),
    ((2, 5, 19, 37), 10, (5, 3), (2, 3), (2, 1), (1, 2), 5, (1, 0)),
    ((2, 4, 40), 12, (5,), (3,), (4,), (2,), 4, (2,)),
    ((1, 3, 4, 70), 3, (4, 3), (1, 1), (0, 2), (1, 1), 3, (0, 0)),
    ((4, 6, 4, 3), 9, (4, 3), (1, 1), (0, 0), (1, 1), 1, (0, 0)),
    ((4, 6, 5, 4), 9, (4, 3), (2, 2), (0, 0), (1, 1), 1, (0, 0)),
]  # fmt: skip


def near(made, expected, terms):
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=2e-7 * np.sqrt(terms) * max(scale, 1e-30) + 1e-30)
    assert made.dtype == np.float32


def check(shape, outputs, kernel, stride, padding, dilation, groups, more):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    weight = rng.standard_normal((outputs, shape[1] // groups, *kernel)).astype(np.float32)
    bias = rng.standard_normal(outputs).astype(np.float32)
    out = conv.places(shape[2:], kernel, stride, padding, dilation)
    terms = weight[0].size
    X, W = x.astype(float), weight.astype(float)
    for b in (bias, None):
        made = kernels.correlate(x, weight, b, out, stride, padding, dilation, groups)
        near(made, conv.correlate(X, W, b, stride, padding, dilation, groups), terms)
    g = rng.standard_normal(made.shape).astype(np.float32)
    G = g.astype(float)
    near(
        kernels.weight_gradient(x, g, weight.shape, stride, padding, dilation, groups),
        conv.convolution_weight_gradient(X, G, weight.shape, stride, padding, dilation, groups),
        g[:, 0].size,
    )
    for spatial in (
        shape[2:],
        tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 + o for n, k, s, p, d, o in zip(out, kernel, stride, padding, dilation, more)),
    ):
        near(
            kernels.spread(g, weight, spatial, stride, padding, dilation, groups),
            conv.spread(G, W, spatial, stride, padding, dilation, groups),
            outputs * terms,
        )


def check_all():
    for case in CASES:
        check(*case)


@pytest.mark.parametrize("case", CASES)
def test_convolution(case):
    check(*case)


def test_drawn():
    rng = np.random.default_rng(3)
    for _ in range(40):
        rank = int(rng.integers(1, 4))
        kernel, stride, dilation = (tuple(int(v) for v in rng.integers(1, 4, rank)) for _ in range(3))
        padding = tuple(int(v) for v in rng.integers(0, 4, rank))
        groups = int(rng.choice([1, 1, 2, 3]))
        least = [max(d * (k - 1) + 1 - 2 * p, 1) for d, k, p in zip(dilation, kernel, padding)]
        spatial = [int(v) + int(rng.integers(0, 14)) for v in least]
        shape = (int(rng.integers(1, 4)), groups * int(rng.integers(1, 20)), *spatial)
        more = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation))
        check(shape, groups * int(rng.integers(1, 20)), kernel, stride, padding, dilation, groups, more)


def test_both_ways_agree():
    """Winograd's algorithm and the plain sum, on the same convolution."""
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((2, 20, 13, 10), (18, 20, 3, 3)))
    near(winograd.convolve(x, w, None, (1, 1)), direct.convolve(x, w, None, (13, 10), (1, 1), (1, 1), (1, 1), 1), 180)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_what_is_not_finite_stays_in_its_windows(value):
    rng = np.random.default_rng(2)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((2, 16, 12, 12), (16, 16, 3, 3)))
    x[1, 3, 5, 6] = value
    one, where = ((1, 1),) * 3, np.s_[1, :, 4:7, 5:8]
    made = kernels.correlate(x, w, None, (12, 12), *one, 1)
    with np.errstate(all="ignore"):
        expected = conv.correlate(x.astype(float), w.astype(float), None, *one, 1).astype(np.float32)
    plain = np.ones(made.shape, bool)
    plain[where] = False
    np.testing.assert_allclose(made[plain], expected[plain], rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(np.isfinite(made), np.isfinite(expected))
    g = rng.standard_normal(made.shape).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = conv.convolution_weight_gradient(x.astype(float), g.astype(float), w.shape, *one, 1)
        made = kernels.weight_gradient(x, g, w.shape, *one, 1)
        np.testing.assert_array_equal(np.isnan(made), np.isnan(expected.astype(np.float32)))
    back = kernels.spread(x, w, (12, 12), *one, 1)
    assert np.isfinite(back[0]).all()


def test_what_is_not_contiguous():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((14, 18, 16, 3)).astype(np.float32).transpose(3, 2, 0, 1)
    for outputs, k in ((16, 3), (5, 2)):
        w = rng.standard_normal((k, k, 16, outputs)).astype(np.float32).transpose(3, 2, 0, 1)
        one = ((1, 1), (1, 1), (1, 1))
        out = conv.places(x.shape[2:], (k, k), *one)
        near(kernels.correlate(x, w, None, out, *one, 1), conv.correlate(x.astype(float), w.astype(float), None, *one, 1), 144)
        g = rng.standard_normal((*out, outputs, 3)).astype(np.float32).transpose(3, 2, 0, 1)
        near(kernels.spread(g, w, x.shape[2:], *one, 1), conv.spread(g.astype(float), w.astype(float), x.shape[2:], *one, 1), 144)
        expected = conv.convolution_weight_gradient(x.astype(float), g.astype(float), w.shape, *one, 1)
        near(kernels.weight_gradient(x, g, w.shape, *one, 1), expected, 800)


def test_through_the_public_functions():
    """Nothing empty reaches a kernel; large and small go the same way."""
    import bibun as torch

    F = torch.nn.functional
    assert F.conv2d(torch.zeros(0, 16, 40, 40), torch.zeros(16, 16, 3, 3), padding=1).shape == (0, 16, 40, 40)
    torch.manual_seed(0)
    x = torch.randn(4, 16, 20, 20, requires_grad=True)
    w, b = torch.randn(16, 16, 3, 3, requires_grad=True), torch.randn(16, requires_grad=True)
    for stride in (1, 2):
        x.grad = w.grad = b.grad = None
        F.conv2d(x, w, b, padding=1, stride=stride).square().sum().backward()
        held = [t.double().detach().requires_grad_() for t in (x, w, b)]
        F.conv2d(*held, padding=1, stride=stride).square().sum().backward()
        for t, h in zip((x, w, b), held):
            near(t.grad.numpy(), h.grad.numpy(), 1000)


def test_the_number_of_threads_changes_nothing():
    rng = np.random.default_rng(5)
    before, made = pool.threads(), []
    x = rng.standard_normal((6, 16, 22, 23)).astype(np.float32)
    try:
        for n in (1, 2, 3):
            pool.set_threads(n)
            said = []
            for k, s in ((3, 1), (3, 2), (1, 1)):
                w = np.random.default_rng(6).standard_normal((20, 16, k, k)).astype(np.float32)
                how = ((s, s), (1, 1), (1, 1))
                out = conv.places(x.shape[2:], (k, k), *how)
                y = kernels.correlate(x, w, None, out, *how, 1)
                said += [y, kernels.spread(y, w, x.shape[2:], *how, 1), kernels.weight_gradient(x, y, w.shape, *how, 1)]
            made.append(said)
    finally:
        pool.set_threads(before)
    for other in made[1:]:
        for a, b in zip(made[0], other):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="for this processor")
def test_other_processors(processor):
    said = f"import runpy; runpy.run_path({__file__!r})['check_all']()"
    run = subprocess.run([sys.executable, "-c", said], env={**os.environ, "BIBUN_CPU": processor}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
