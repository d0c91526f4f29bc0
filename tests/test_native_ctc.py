"""The native recursions of connectionist temporal classification against those on arrays."""

import numpy as np
import pytest

from bibun.backends import ctc
from bibun.backends.large import native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import pool


@pytest.mark.parametrize("steps, many, classes, longest", [(50, 16, 20, 15), (9, 5, 3, 7), (31, 1, 6, 1), (4, 3, 5, 0), (1, 40, 9, 3)])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_losses_and_gradients(monkeypatch, steps, many, classes, longest, zero_infinity):
    rng = np.random.default_rng(steps)
    x = rng.standard_normal((steps, many, classes)).astype(np.float32)
    x -= np.log(np.exp(x).sum(2, keepdims=True))
    x[0, 0, 1] = -np.inf
    targets = rng.integers(1, classes, (many, longest))
    lengths = rng.integers(0, steps + 1, many)
    lengths[-1] = steps
    short = rng.integers(0, longest + 1, many)
    grad = rng.standard_normal(many).astype(np.float32)

    def both():
        loss, forward = ctc.ctc_loss(x, targets, lengths, short, 0)
        return loss, forward, ctc.ctc_gradient(grad, x, targets, loss, forward, lengths, short, 0, zero_infinity)

    with np.errstate(all="ignore"):
        monkeypatch.setattr(ctc, "SOME", 1 << 60)
        expected = both()
        monkeypatch.setattr(ctc, "SOME", 0)
        made = both()
        pool.set_threads(1)
        alone = both()
        pool.set_threads(2)
    for a, b, c in zip(made, expected, alone):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
        np.testing.assert_array_equal(a, c)
