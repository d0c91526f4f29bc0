"""Native running sums, products and extremes have the bits of NumPy's."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from bibun.native.kernel import usable

if not usable():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native.kernels import running


@pytest.mark.parametrize("how", ["add", "multiply", "maximum", "minimum"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7, 33), (3, 5, 700), (2, 9, 1), (1, 1, 3)])
def test_accumulate(how, dtype, shape):
    x = np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(dtype)
    x.reshape(-1)[x.size // 2] = np.nan
    for axis in range(len(shape)):
        expected = getattr(np, how).accumulate(x, axis)
        assert np.array_equal(running.accumulate(x, axis, how), expected, equal_nan=True)
