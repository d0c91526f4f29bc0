"""Native normalisation against the formula in float64, all three gradients together against one by one; the same by threads."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bibun as torch
from bibun.backends import norm as plain
from bibun.backends.large import native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import pool
from bibun.native.kernels import norm as kernels

F = torch.nn.functional

#: shape, axes, shape of weight and bias
CASES = {
    "rows": ((64, 768), (1,), (768,)),
    "short rows": ((3, 5, 7), (2,), (7,)),
    "long rows": ((2, 4001), (1,), (4001,)),
    "groups": ((4, 2, 6, 50), (2, 3), (2, 6, 1)),
    "groups of one place": ((4, 3, 5, 1), (2, 3), (3, 5, 1)),
    "channels": ((16, 6, 49), (0, 2), (6, 1)),
    "channels of one piece": ((1, 6, 1000), (0, 2), (6, 1)),
    "columns": ((500, 130), (0,), (130,)),
    "few columns": ((5, 3), (0,), (3,)),
}
EPS = 1e-3


def drawn(case, d, weighted, biased, seed=0):
    shape, _, affine = CASES[case]
    rng = np.random.default_rng(seed)
    x, g = (rng.standard_normal(shape).astype(d) * 2 + 3, rng.standard_normal(shape).astype(d))
    weight = (rng.random(math.prod(affine)) + 0.5).astype(d) if weighted else None
    bias = rng.standard_normal(math.prod(affine)).astype(d) if biased else None
    return x, g, weight, bias


def wide(a, shape=None):
    return None if a is None else a.astype(np.float64) if shape is None else a.astype(np.float64).reshape(shape)


def formula(x, g, weight, bias, axes, affine, centered):
    x, g, weight, bias = wide(x), wide(g), wide(weight, affine), wide(bias, affine)
    mean = x.mean(axes, keepdims=True) if centered else 0
    variance = np.square(x - mean).mean(axes, keepdims=True)
    r = 1 / np.sqrt(variance + EPS)
    y = (x - mean) * r
    out = (y if weight is None else y * weight) + (0 if bias is None else bias)
    gw = g if weight is None else g * weight
    dx = r * (gw - (gw.mean(axes, keepdims=True) if centered else 0) - y * (gw * y).mean(axes, keepdims=True))
    extra = x.ndim - len(affine)
    shared = tuple(i for i in range(x.ndim) if i < extra or affine[i - extra] == 1 and x.shape[i] != 1)
    return out, variance, r, dx, (g * y).sum(shared).reshape(affine), g.sum(shared).reshape(affine)


def near(made, wanted, d, factor=1.0):
    assert made.dtype == d and made.shape == wanted.shape
    scale = max(1.0, np.abs(wanted).max())
    assert np.abs(made - wanted).max() <= factor * scale * (2e-6 if d == np.float32 else 1e-14)


@pytest.mark.parametrize("d", [np.float32, np.float64])
@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("given", [(1, 1), (1, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize("case", CASES)
def test_as_the_formula_says(case, given, centered, d):
    _, axes, affine = CASES[case]
    x, g, weight, bias = drawn(case, d, *given)
    out, stats = kernels.forward(x, weight, bias, axes, affine, EPS, centered)
    wanted = formula(x, g, weight, bias, axes, affine, centered)
    near(out, wanted[0], d, 4)
    near(stats[1], wanted[1], d, 4)
    near(stats[2], wanted[2], d, 4)
    dx, dw, db = kernels.backward(g, x, weight, stats, axes, affine, centered, True)
    near(dx, wanted[3], d, 10)
    near(dw, wanted[4], d, 20)
    near(db, wanted[5], d, 20)
    alone = kernels.backward(g, x, weight, stats, axes, affine, centered, False)
    more = kernels.backward(g, x, weight, stats, axes, affine, centered, False, np.asarray(g)[::-1])[0]
    np.testing.assert_allclose(more, alone[0] + g[::-1], rtol=1e-5 if x.dtype == np.float32 else 1e-13, atol=1e-5 if x.dtype == np.float32 else 1e-13)
    near(alone[0], wanted[3], d, 10)
    assert alone[1:] == (None, None)


@pytest.mark.parametrize("case", CASES)
def test_as_numpys_where_values_are_special(case):
    _, axes, affine = CASES[case]
    x, _, weight, bias = drawn(case, np.float32, 1, 1)
    x.flat[0] = np.nan
    x.flat[-1] = np.inf
    shape, before = None, plain._LARGE
    try:
        plain._LARGE = 1 << 60
        with np.errstate(all="ignore"):
            wanted, _ = plain.normalize(x, weight, bias, shape, axes, affine, EPS, True)
    finally:
        plain._LARGE = before
    out, _ = kernels.forward(x, weight, bias, axes, affine, EPS, True)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(wanted))
    fine = ~np.isnan(wanted)
    np.testing.assert_allclose(out[fine], wanted[fine], rtol=1e-4, atol=1e-5)


def test_means_far_from_zero():
    rng = np.random.default_rng(0)
    for case in CASES:
        shape, axes, affine = CASES[case]
        x = (rng.standard_normal(shape) + 1000).astype(np.float32)
        out, stats = kernels.forward(x, None, None, axes, affine, EPS, True)
        wanted = formula(x, x, None, None, axes, affine, True)
        np.testing.assert_allclose(stats[1], wanted[1], rtol=1e-4)
        np.testing.assert_allclose(out, wanted[0], atol=2e-3)


@pytest.mark.parametrize("case", ["rows", "groups", "channels", "columns"])
def test_threads_do_not_change_bits(case):
    _, axes, affine = CASES[case]
    x, g, weight, bias = (None if a is None else np.concatenate([a] * 40) if a.ndim > 1 else a for a in drawn(case, np.float32, 1, 1))
    before, found = pool.threads(), []
    try:
        for n in (1, 2):
            pool.set_threads(n)
            out, stats = kernels.forward(x, weight, bias, axes, affine, EPS, True)
            gradients = kernels.backward(g, x, weight, stats, axes, affine, True, True)
            found.append([a.tobytes() for a in (out, stats, *gradients)])
    finally:
        pool.set_threads(before)
    assert found[0] == found[1]


PROGRAMS = {
    "layer_norm": ((64, 96), 96, lambda x, w, b: F.layer_norm(x, (96,), w, b)),
    "layer_norm of two dimensions": ((40, 8, 16), (8, 16), lambda x, w, b: F.layer_norm(x, (8, 16), w, b)),
    "group_norm": ((8, 12, 7, 9), 12, lambda x, w, b: F.group_norm(x, 3, w, b)),
    "batch_norm": ((8, 12, 7, 9), 12, lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
    "batch_norm of vectors": ((90, 70), 70, lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
    "instance_norm": ((8, 12, 7, 9), 12, lambda x, w, b: F.instance_norm(x, None, None, w, b)),
    "rms_norm": ((64, 96), 96, lambda x, w, b: F.rms_norm(x, (96,), w) + b),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_together_are_those_one_by_one(name, size, dtype):
    shape, features, program = PROGRAMS[name]
    if size == "small":
        shape = (4, *shape[1:])
    torch.manual_seed(0)
    x = (torch.randn(shape) * 2 + 1).to(dtype).requires_grad_()
    w, b = ((torch.rand(features) + 0.5).to(dtype).requires_grad_() for _ in range(2))
    g = torch.randn(shape).to(dtype)
    out = program(x, w, b)
    together = torch.autograd.grad(out, (x, w, b), g, retain_graph=True)
    again = torch.autograd.grad(out, (x, w, b), g, create_graph=True)
    for i, t in enumerate((x, w, b)):
        free = [t if t is u else u.detach() for u in (x, w, b)]
        (alone,) = torch.autograd.grad(program(*free), (t,), g)
        tolerance = {"torch.float64": 1e-12, "torch.float32": 2e-5}.get(str(dtype), 4e-2)
        scale = max(1.0, alone.abs().max().item())
        for each in (together[i], again[i]):
            assert each.dtype == t.dtype and each.shape == t.shape
            assert (each.detach() - alone).abs().max().item() <= tolerance * scale


def test_layouts():
    torch.manual_seed(0)
    x = torch.randn(8, 9, 7, 12).permute(0, 3, 1, 2)
    w, b = torch.rand(12), torch.rand(12)
    for f in (lambda x: F.batch_norm(x, None, None, w, b, True), lambda x: F.group_norm(x, 3, w, b)):
        assert torch.equal(f(x), f(x.contiguous()))


def test_what_is_normalised_may_not_be_overwritten():
    x = torch.randn(64, 96, requires_grad=True)
    y = x * 1
    out = F.layer_norm(y, (96,), torch.ones(96))
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
