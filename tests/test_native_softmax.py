"""Native softmax, its logarithm and cross-entropy against NumPy's and PyTorch's; and the same to the bit by threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bibun
from bibun.backends import softmax as plain
from bibun.backends.large import LARGE, native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import pool
from bibun.native.kernels import softmax as kernels

SHAPES = [(1, 20_000), (4000, 4), (3001, 7), (333, 65), (129, 1031), (2, 3, 5000), (0, 9)]


def rows(shape, seed=0, scale=5.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_is_numpys_in_float64(shape):
    x, g = rows(shape), rows(shape, 1, 1.0)
    wide, axis = x.astype(np.float64), x.ndim - 1
    y = plain.softmax(wide, axis)
    np.testing.assert_allclose(kernels.softmax(x), y, rtol=5e-6, atol=1e-44)
    logs = plain.log_softmax(wide, axis)
    np.testing.assert_allclose(kernels.log_softmax(x), logs, rtol=1e-6, atol=5e-6)
    y32, logs32 = y.astype(np.float32), logs.astype(np.float32)
    wanted = plain.softmax_gradient(g.astype(np.float64), y32.astype(np.float64), axis)
    np.testing.assert_allclose(kernels.softmax_gradient(g, y32), wanted, rtol=5e-6, atol=1e-6)
    wanted = plain.log_softmax_gradient(g.astype(np.float64), logs32.astype(np.float64), axis)
    np.testing.assert_allclose(kernels.log_softmax_gradient(g, logs32), wanted, rtol=5e-6, atol=1e-4)


def test_special_values():
    x = np.zeros((6, 50), np.float32)
    x[0, 3], x[1, 49], x[2, :], x[3, 7], x[4, 5] = np.nan, np.inf, -np.inf, -np.inf, 1e-40
    x[5] = np.linspace(-200, 0, 50)
    with np.errstate(all="ignore"):
        for name in ("softmax", "log_softmax"):
            wanted = getattr(plain, name)(x, 1)
            made = getattr(kernels, name)(x)
            np.testing.assert_array_equal(np.isnan(made), np.isnan(wanted))
            np.testing.assert_allclose(made[3:], wanted[3:], rtol=5e-6, atol=3e-45)


def test_layouts():
    x = rows((600, 64))
    for view in (x[::2], x[:, ::2], x.T, np.asfortranarray(x), x[::-1]):
        np.testing.assert_array_equal(kernels.softmax(view), kernels.softmax(np.array(view, order="C")))
        np.testing.assert_array_equal(
            kernels.softmax_gradient(np.broadcast_to(np.float32(2), view.shape), view),
            kernels.softmax_gradient(np.full(view.shape, 2, np.float32), view.copy()),
        )


def test_threads_do_not_change_bits():
    x = rows((257, 333))
    target = np.arange(257)
    before = pool.threads()
    found = []
    try:
        for n in (1, 2):
            pool.set_threads(n)
            sums = kernels.class_spreads(x)
            share = np.linspace(0, 1, 257).astype(np.float32)
            gradient = kernels.class_gradient(x, target, sums, share, 0.1)
            found.append([a.tobytes() for a in (kernels.softmax(x), kernels.log_softmax(x), sums, gradient, *kernels.class_losses(x, target, share))])
    finally:
        pool.set_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(512, 40), (40, 512), (3, 9000), (20_000, 1), (1, 30_000)])
def test_cross_entropy_is_pytorchs(shape, reduction):
    torch = pytest.importorskip("torch")
    n, c = shape
    rng = np.random.default_rng(3)
    z, y, w = rows(shape, 2), rng.integers(0, c, n), rng.random(c).astype(np.float32) + 0.1
    for ignore, smoothing, weight in itertools.product((-100, 0), (0.0, 0.2), (None, w)):
        found = []
        for t in (bibun, torch):
            float_ = np.float64 if t is torch else np.float32
            x = t.tensor(z.astype(float_)).requires_grad_()
            given = None if weight is None else t.tensor(weight.astype(float_))
            loss = t.nn.functional.cross_entropy(
                x, t.tensor(y), weight=given, ignore_index=ignore, reduction=reduction, label_smoothing=smoothing
            )
            assert loss.grad_fn.name() in ("NllLossBackward0", "AddBackward0")
            g = t.ones_like(loss) if reduction != "none" else t.tensor(np.linspace(0, 1, n).astype(float_))
            (gradient,) = t.autograd.grad(loss, x, g, create_graph=True)
            (second,) = t.autograd.grad((gradient * gradient * 1000).sum(), x)
            found.append([a.detach().numpy() for a in (loss, gradient, second)])
        for a, b in zip(*found):
            scale = np.nanmax(np.abs(b)) if not np.isnan(b).all() else 1.0
            np.testing.assert_allclose(a, b, rtol=3e-5, atol=2e-6 * max(1, scale))


@pytest.mark.parametrize("shape", [(70, 9), (1, 4000), (33, 1024), (18, 1025), (5, 3001), (40, 1), (0, 9)])
@pytest.mark.parametrize("far", [False, True])
def test_losses_and_gradient_in_one_pass(shape, far, monkeypatch):
    monkeypatch.setattr(kernels, "_far", lambda out: far)
    n, c = shape
    x, share = rows(shape, 4, 20.0), np.linspace(0, 1, n).astype(np.float32)
    x.sort()  # the largest so far grows from block to block
    target = np.random.default_rng(5).integers(0, c, n)
    if n > 4:
        x[2], x[3, 0], x[4, -1] = -np.inf, np.nan, -np.inf
    sums, each, gradient = kernels.class_losses(x, target, share)
    plain_sums, plain_each = kernels.class_losses(x, target)
    np.testing.assert_array_equal(plain_sums, sums)
    np.testing.assert_array_equal(plain_each, each)
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        wanted = -plain.log_softmax(wide, 1)[np.arange(n), target]
    np.testing.assert_allclose(each, wanted, rtol=1e-6, atol=3e-6)
    np.testing.assert_allclose(gradient, kernels.class_gradient(x, target, sums, share, 0.0), rtol=2e-5, atol=1e-38)


def test_a_compiled_step_makes_loss_and_gradient_in_one_pass():
    x, y = bibun.randn(64, 700, requires_grad=True), bibun.randint(0, 700, (64,))
    y[::7] = -100
    weight = bibun.rand(700)

    def step(reduction, smoothing, scale):
        x.grad = None
        loss = bibun.nn.functional.cross_entropy(x * 3, y, weight, reduction=reduction, label_smoothing=smoothing)
        (loss * scale).sum().backward()
        return loss

    for reduction in ("mean", "sum", "none"):
        for smoothing in (0.0, 0.1):
            wanted = step(reduction, smoothing, 2.0), x.grad
            fast = bibun.compile(step)
            for _ in range(4):
                loss = fast(reduction, smoothing, 2.0)
            assert bibun.allclose(loss, wanted[0], rtol=1e-5, atol=1e-6) and bibun.allclose(x.grad, wanted[1], rtol=1e-5, atol=1e-7)


def test_a_loss_that_decides_its_own_gradient_is_compiled_in_two_steps():
    x, y = bibun.randn(64, 700, requires_grad=True), bibun.randint(0, 700, (64,))

    def step():
        x.grad = None
        (bibun.nn.functional.cross_entropy(x, y) ** 2).backward()
        return x.grad.sum()

    step()
    wanted = x.grad
    fast = bibun.compile(step)
    for _ in range(4):
        fast()
    assert bibun.allclose(x.grad, wanted, rtol=1e-5, atol=1e-8)


def test_cross_entropy_complains_as_ever():
    x = bibun.randn(300, 100, requires_grad=True)
    assert x.numel() >= LARGE
    with pytest.raises(IndexError, match="Target 100 is out of bounds."):
        bibun.nn.functional.cross_entropy(x, bibun.full((300,), 100))
    with pytest.raises(ValueError, match="batch_size"):
        bibun.nn.functional.cross_entropy(x, bibun.zeros(299, dtype=bibun.int64))
    x = bibun.full((300, 100), float("-inf"))
    y = bibun.zeros(300, dtype=bibun.int64)
    y[0] = -100
    x[1:] = 0.0
    assert abs(bibun.nn.functional.cross_entropy(x, y).item() - np.log(100)) < 1e-5


def test_cross_entropy_under_transforms():
    x, y = bibun.randn(200, 100), bibun.randint(0, 100, (200,))
    given = bibun.func.grad(lambda z: bibun.nn.functional.cross_entropy(z, y))(x)
    x.requires_grad_()
    bibun.nn.functional.cross_entropy(x, y).backward()
    assert bibun.allclose(given, x.grad, atol=1e-7)


@pytest.mark.parametrize("shape, axis", [((3, 7, 130), 1), ((21, 40, 9), 0), ((2, 3, 5, 257), 2)])
def test_columns(shape, axis):
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, *shape)).astype(np.float32) * 4
    x[(0,) * len(shape)], x[(-1,) * len(shape)] = -np.inf, np.nan
    wide, slope = x.astype(float), g.astype(float)
    for log, forward, backward in (
        (False, plain.softmax, plain.softmax_gradient),
        (True, plain.log_softmax, plain.log_softmax_gradient),
    ):
        made, expected = kernels.columns(x, axis, log), forward(wide, axis)
        np.testing.assert_allclose(made, expected, rtol=2e-6, atol=2e-6)
        back = kernels.columns_gradient(g, made, axis, log)
        np.testing.assert_allclose(back, backward(slope, expected, axis), rtol=1e-4, atol=1e-4)


def test_what_is_no_array_is_refused():
    x = np.ones((16, 1000), np.float32)
    out = np.empty_like(x)
    call = kernels._softmax(W=kernels._width())
    for wrong in (3, np.float32(3), "abc", [1.0], object()):
        with pytest.raises(TypeError):
            call(wrong, out, 1000, 16, 16)
    for few in ((), (x, out, 1000, 16), (x, out, 1000, 16, 16, 16)):
        with pytest.raises(TypeError):
            call(*few)
    call(x.view(np.recarray), out, 1000, 16, 16)
    assert np.allclose(out, 1e-3)
