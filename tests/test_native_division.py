"""Remainders and casts of large arrays by native loops, against NumPy."""

import numpy as np
import pytest

import bibun as torch
from bibun.backends.large import native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native.kernels import casts

EDGES = [0.0, -0.0, 1, -1, 3, -3, np.inf, -np.inf, np.nan, 1e-40, -1e-42, 1e30, -1e30, 5e7, 0.1, -0.1, 2.5, 0.3]
PAIRS = [
    (torch.remainder, np.remainder),
    (torch.fmod, np.fmod),
    (torch.floor_divide, lambda x, y: np.where(y == 0, x / y, np.floor_divide(x, y))),
]


def operands(dtype):
    rng = np.random.default_rng(1)
    x, y = np.meshgrid(*[np.array(EDGES).astype(dtype)] * 2)
    whole = rng.integers(-50, 50, 9000).astype(dtype)
    far = [(rng.standard_normal(9000) * s).astype(dtype) for s in (1, 100, 1e6, 1e12)]
    return (
        np.concatenate([x.ravel(), whole * dtype(0.1), whole * 3, *far]),
        np.concatenate([y.ravel(), np.full(9000, 0.1, dtype), np.full(9000, 3, dtype), *[rng.standard_normal(9000).astype(dtype) for _ in far]]),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ours, numpys", PAIRS)
def test_what_is_left_is_exact(ours, numpys, dtype):
    x, y = operands(dtype)
    with np.errstate(all="ignore"):
        expected = numpys(x, y)
        third = numpys(x, dtype(-0.3))
    for made, right in ((ours(torch.from_numpy(x), torch.from_numpy(y)), expected), (ours(torch.from_numpy(x), -0.3), third)):
        np.testing.assert_array_equal(made.numpy(), right)
        np.testing.assert_array_equal(np.signbit(made.numpy())[~np.isnan(right)], np.signbit(right)[~np.isnan(right)])


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_far_arguments_written_over(name):
    x = torch.linspace(-1e6, 1e6, 50_000)
    expected = getattr(torch, name)(x)
    assert torch.equal(getattr(x, name + "_")(), expected)


@pytest.mark.parametrize("d", casts._TYPES)
def test_casts_are_numpys(d):
    x = np.random.default_rng(0).standard_normal((33, 41, 17)) * 100
    with np.errstate(all="ignore"):
        x = x.astype(d)
    if d.kind == "f":
        x.flat[:6] = [np.nan, np.inf, -np.inf, 1e10, -0.0, 1e30]
    for e in casts._TYPES:
        for view in (x, x.transpose(2, 0, 1), x[:, :1]):
            made = casts.cast(view, e)
            if made is not NotImplemented:
                with np.errstate(all="ignore"):
                    expected = view.astype(e)
                assert made.strides == expected.strides
                np.testing.assert_array_equal(made, expected)
        assert casts.cast(x[::2], e) is NotImplemented


@pytest.mark.parametrize("name", ["add_", "sub_", "mul_", "div_"])
def test_large_in_place(name):
    rng = np.random.default_rng(2)
    x, y = (rng.standard_normal((150, 200)).astype(np.float32) for _ in range(2))
    plain = {"add_": np.add, "sub_": np.subtract, "mul_": np.multiply, "div_": np.divide}[name]
    for other in (y, y[0], y[:, :1], 3.0):
        t = torch.from_numpy(x.copy())
        assert getattr(t, name)(other if isinstance(other, float) else torch.from_numpy(other)) is t
        np.testing.assert_array_equal(t.numpy(), plain(x, np.float32(other) if isinstance(other, float) else other))
    t = torch.from_numpy(x.copy())
    getattr(t[1:], name)(t[:-1])  # what overlaps is read before it is written
    np.testing.assert_array_equal(t.numpy()[1:], plain(x[1:], x[:-1]))
    with pytest.raises(RuntimeError):
        getattr(torch.from_numpy(x.copy()), name)(torch.ones(7))


def test_broadcast_where_the_second_is_large():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((64, 1, 20)).astype(np.float32), rng.standard_normal((1, 1000, 20)).astype(np.float32)
    x, y = torch.from_numpy(a).requires_grad_(), torch.from_numpy(b).requires_grad_()
    made = x * y
    np.testing.assert_array_equal(made.detach().numpy(), a * b)
    made.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(b, made.shape).sum(1, keepdims=True), rtol=1e-4, atol=1e-3)
