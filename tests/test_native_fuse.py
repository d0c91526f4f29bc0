"""Loops over arrays that lie in all manner of ways give what NumPy gives, and lie as its results do."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from bibun.native.kernel import usable

if not usable():
    pytest.skip("no native kernels here", allow_module_level=True)

import bibun as torch
from bibun.native import fuse

RNG = np.random.default_rng(0)


def made(*shape):
    return RNG.standard_normal(shape)


def channels_last(*shape):
    return np.moveaxis(made(shape[0], *shape[2:], shape[1]), -1, 1)


IMAGES, ROWS = made(4, 6, 20, 30), made(50, 100)
CASES = {
    "channels": (IMAGES, made(6, 1, 1), made(1, 6, 1, 1)),
    "few channels last": (channels_last(4, 3, 20, 30), made(3, 1, 1), made(1, 3, 1, 1)),
    "channels last": (channels_last(4, 32, 20, 30), made(4, 32, 1, 1), channels_last(4, 32, 20, 30)),
    "slices": (ROWS[:, :60], ROWS[:, 40:], made(60)),
    "transposed": (ROWS.T, ROWS.T, made(50)),
    "transposed and not": (ROWS.T, made(100, 50), ROWS.T),
    "every other row": (ROWS[::2], ROWS[1::2], made(25, 1)),
    "every other column": (ROWS[:, ::2], ROWS[:, 1::2], made(50, 1)),
    "turned around": (ROWS[::-1], ROWS[:, ::-1], ROWS),
    "broadcast both ways": (made(64, 1, 200), made(1, 100, 200), made(100, 1)),
    "cut out of the middle": (made(8, 50, 60)[:, 3:40], made(37, 1), made(8, 1, 60)),
    "four dimensions": (np.swapaxes(made(3, 9, 4, 32), 1, 2), made(3, 4, 9, 32), made(4, 1, 1)),
    "narrow": (made(300, 3), made(3), made(300, 1)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_lying(case, dtype):
    arrays = [a.astype(dtype) for a in CASES[case]]
    shape = np.broadcast_shapes(*[a.shape for a in arrays])
    got = fuse.evaluate("test", lambda xp, a, b, c: xp.add(xp.multiply(a, b), c), arrays, shape)
    expected = arrays[0] * arrays[1] + arrays[2]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert got.strides == expected.strides
    got = fuse.evaluate("test", lambda xp, a, b, c: xp.add(xp.multiply(a, b), c), arrays, shape, "all")
    np.testing.assert_allclose(got, expected.sum(dtype=float), rtol=1e-4, atol=1e-2)


def test_too_many_dimensions_are_numpys():
    a = made(12, 12, 12, 12, 12).astype(np.float32)[::2, ::2, ::2, ::2, ::2]
    assert fuse.evaluate("test", lambda xp, a: xp.negative(a), [a], a.shape) is NotImplemented
    np.testing.assert_array_equal(torch.from_numpy(a).neg().numpy(), -a)


def test_gradients_of_broadcast_channels():
    x, w = torch.randn(8, 16, 20, 20, requires_grad=True), torch.randn(1, 16, 1, 1, requires_grad=True)
    (x * w).square().sum().backward()
    a, b = x.detach().double().numpy(), w.detach().double().numpy()
    np.testing.assert_allclose(w.grad.numpy(), (2 * a * a * b).sum((0, 2, 3), keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(x.grad.numpy(), 2 * a * b * b, rtol=1e-4)


def test_bfloat16_is_rounded_as_numpy_does():
    """Of all kinds of numbers: denormals, NaN, infinities, and what lies between two neighbours."""
    b = np.arange(0, 1 << 16, dtype=np.uint32).astype(np.uint16).view(torch.bfloat16.np)
    for factor in (1.0, 1.00390625, 0.501953125, 2.0**-20, 3.1e-38, 2.0**100):
        with np.errstate(all="ignore"):
            wanted = (b.astype(np.float32) * np.float32(factor)).astype(b.dtype)
        made = fuse.evaluate(("rounded", factor), lambda xp, x, k=factor: xp.multiply(x, k), (b,), b.shape, "", b.dtype)
        none = np.isnan(wanted.astype(np.float32))  # of NaN there are many, and NumPy makes them one
        np.testing.assert_array_equal(np.isnan(made.astype(np.float32)), none)
        np.testing.assert_array_equal(made.view(np.uint16)[~none], wanted.view(np.uint16)[~none])
