"""Sums and extremes over leading and middle dimensions held to NumPy's in float64."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from bibun.backends import reduce
from bibun.native import pool
from bibun.native.kernel import usable
from bibun.native.kernels import sums

if not usable():
    pytest.skip("no native kernels here", allow_module_level=True)

SHAPES = [(4, 70, 65), (1, 1000, 700), (9, 3, 64), (5, 129, 17), (64, 1, 130)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_columns(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    wide = x.astype(float)
    np.testing.assert_allclose(sums.column_sums(x, *shape), wide.sum(1), rtol=1e-5, atol=1e-4 if dtype == np.float32 else 1e-12)
    x[0, shape[1] // 2, 3] = np.nan
    np.testing.assert_array_equal(sums.column_sums(x, *shape, "maximum"), x.max(1))
    np.testing.assert_array_equal(sums.column_sums(x, *shape, "minimum"), x.min(1))
    before = pool.threads()
    many = sums.column_sums(x, *shape)
    pool.set_threads(1)
    try:
        assert sums.column_sums(x, *shape).tobytes() == many.tobytes()
    finally:
        pool.set_threads(before)


def test_axes():
    x = np.random.default_rng(0).standard_normal((8, 9, 30, 40)).astype(np.float32)
    for axis in (0, 1, 2, (0, 1), (1, 2), (0, 1, 2), (0, 2), 3):
        for keep in (False, True):
            made = reduce.sum(x, axis, keep)
            expected = x.astype(float).sum(axis, keepdims=keep)
            assert made.shape == expected.shape
            np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)
            np.testing.assert_array_equal(reduce.max(x, axis, keep), x.max(axis, keepdims=keep))
            np.testing.assert_array_equal(reduce.min(x, axis, keep), x.min(axis, keepdims=keep))
