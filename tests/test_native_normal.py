"""The native transform to normal numbers gives the bits of the array form."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from bibun.native.kernel import usable

if not usable():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native.kernels import normal
from bibun.random.box_muller import Scratch, box_muller

if not normal.suits():
    pytest.skip("no fused multiply-adds here", allow_module_level=True)


def test_bits():
    words = np.random.default_rng(0).integers(-(2**31), 2**31, 1 << 16).astype(np.int32)
    words[:16], words[16:32] = 0, -1
    made, expected = np.empty(words.size, np.float32), np.empty(words.size, np.float32)
    normal.box_muller(words, made, 0.0, 1.0)
    box_muller(words.copy(), expected, Scratch(words.size // 2))
    assert made.tobytes() == expected.tobytes()
    normal.box_muller(words, made, 0.5, 2.0)
    np.testing.assert_allclose(made, 2.0 * expected.astype(float) + 0.5, rtol=1e-6, atol=1e-6)
