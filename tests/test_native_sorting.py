"""Native sorts held to NumPy's stable ones."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from bibun.native.kernel import usable

if not usable():
    pytest.skip("no native kernels here", allow_module_level=True)

import bibun as torch
from bibun.native.kernels import sorting

RNG = np.random.default_rng(0)
ROWS = {
    "normal": RNG.standard_normal((9, 300)).astype(np.float32),
    "ties": RNG.integers(-3, 4, (9, 300)).astype(np.float32),
    "special": RNG.choice(np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45, 1], np.float32), (9, 300)),
    "whole": RNG.integers(-(2**62), 2**62, (9, 300)),
    "small": RNG.integers(-5, 500, (2, 3000)),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("down", [False, True])
def test_rows(name, down):
    x = ROWS[name]
    if down:
        order = x.shape[1] - 1 - np.argsort(x[:, ::-1], 1, kind="stable")[:, ::-1]
    else:
        order = np.argsort(x, 1, kind="stable")
    values, at = sorting.argsort(x, down)
    np.testing.assert_array_equal(at, order)
    np.testing.assert_array_equal(values, np.take_along_axis(x, order, 1))
    values, at = sorting.largest(x, 7, down)
    np.testing.assert_array_equal(at, order[:, :7])
    np.testing.assert_array_equal(values, np.take_along_axis(x, order, 1)[:, :7])


def test_functions():
    x = torch.randn(40, 6, 700)
    for dim in (-1, 0, 1):
        values, at = x.sort(dim, descending=True)
        np.testing.assert_array_equal(values.numpy(), -np.sort(-x.numpy(), dim))
        np.testing.assert_array_equal(np.take_along_axis(x.numpy(), at.numpy(), dim), values.numpy())
    values, at = x.topk(5)
    np.testing.assert_array_equal(values.numpy(), -np.sort(-x.numpy(), -1)[..., :5])
    np.testing.assert_array_equal(x.kthvalue(9).values.numpy(), np.sort(x.numpy(), -1)[..., 8])
    np.testing.assert_array_equal(x.median(2).values.numpy(), np.sort(x.numpy(), -1)[..., 349])
    assert x.median().item() == np.sort(x.numpy().reshape(-1))[(x.numel() - 1) // 2]
