"""Native draws give the bits of the array form, and leave the stream where it does, whatever is drawn after what."""

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from bibun.native.kernel import usable

if not usable():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun import random as R
from bibun.native.kernels import normal

if not normal.suits():
    pytest.skip("no fused multiply-adds here", allow_module_level=True)

F32, F64, BF16, I64 = (np.dtype(t) for t in (np.float32, np.float64, ml_dtypes.bfloat16, np.int64))
DRAWS = {
    "rand": lambda g, n: R.rand(g, (n,)),
    "rand64": lambda g, n: R.rand(g, (n,), F64),
    "uniform": lambda g, n: R.uniform_(g, np.empty(n, F32), 0.3, 2.0),
    "uniform_even": lambda g, n: R.uniform_(g, np.empty(n, F32), -0.7, 0.7),
    "uniform64": lambda g, n: R.uniform_(g, np.empty(n), 0.3, 2.0),
    "randn": lambda g, n: R.randn(g, (n,)),
    "normal": lambda g, n: R.normal_(g, np.empty(n, F32), 1.0, 0.7),
    "randn64": lambda g, n: R.randn(g, (n,), F64),
    "normal64": lambda g, n: R.normal_(g, np.empty(n), 1.0, 0.7),
    "randn16": lambda g, n: R.randn(g, (n,), BF16),
    "columns": lambda g, n: R.normal_(g, np.empty((n, 3), F32)[:, 1]),
    "randint": lambda g, n: R.randint(g, (n,), -3, 7),
    "randint_wide": lambda g, n: R.randint(g, (n,), 0, 2**28 - 5),
    "randint_wider": lambda g, n: R.randint(g, (n,), 0, 2**40),
    "keep": lambda g, n: R.keep_mask(g, (n,), 0.3),
    "bernoulli": lambda g, n: R.bernoulli_(g, np.empty(n, F32), np.linspace(0, 1, n)),
    "exponential": lambda g, n: R.exponential_(g, np.empty(n, F32), 2.0),
    "randperm": lambda g, n: R.randperm(g, n),
}  # fmt: skip
SIZES = (1, 2, 15, 16, 17, 64, 100, 255, 256, 311, 312, 313, 511, 512, 623, 624, 625, 1300, 5001, 30011)


@pytest.fixture
def without(monkeypatch):
    """Draw by arrays alone."""

    def run(call, *args):
        with monkeypatch.context() as m:
            m.setattr(R.Generator, "kernels", lambda self, n: None)
            m.setattr("bibun.random.uniform.ready", [False])
            m.setattr("bibun.random.normal.ready", [False])
            m.setattr("bibun.random.permutation.ready", [False])
            return call(*args)

    return run


@pytest.mark.parametrize("seed", range(6))
def test_bits_of_mixed_draws(without, seed):
    from bibun.backends.large import native

    native()
    choose = np.random.default_rng(seed)
    a, b = R.Generator().manual_seed(seed), R.Generator().manual_seed(seed)
    for _ in range(150):
        name, n = choose.choice(list(DRAWS)), int(choose.choice(SIZES))
        made, expected = DRAWS[name](a, n), without(DRAWS[name], b, n)
        assert made.tobytes() == expected.tobytes(), (name, n)
        state = a.state_bytes()
        assert np.array_equal(state, b.state_bytes()), (name, n)
        if not choose.integers(8):  # somewhere else and back
            a.manual_seed(int(choose.integers(9)))
            DRAWS[name](a, 3)
            a.set_state_bytes(state)


def test_transform_of_extreme_words(without):
    """Radii of 0, and the largest."""
    g = R.Generator().manual_seed(0)
    state = g.state_bytes()
    fields = state[24:5016].view(np.uint64)
    fields[:] = 0
    fields[::3] = 0xFFFFFFFF
    state[8:12].view(np.int32)[:] = 624  # left
    state[16:24].view(np.uint64)[:] = 1  # next
    for n in (16, 600):
        g.set_state_bytes(state)
        expected = without(R.randn, g, (n,))
        g.set_state_bytes(state)
        assert R.randn(g, (n,)).tobytes() == expected.tobytes()
