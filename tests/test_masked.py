"""torch.masked beside PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from side_by_side import compare

import bibun

torch = pytest.importorskip("torch")
rng = np.random.default_rng(3)
ARRAYS = {
    "gx": rng.standard_normal((3, 4)), "gy": rng.standard_normal((3, 4)), "i": rng.integers(-5, 5, (3, 4)), "c": rng.standard_normal((3, 4)) + 1j,
    "m": np.array([[True, False, True, True], [False, True, False, True], [True, True, True, True]]), "n": np.array([[True], [False], [True]]),
    "b": rng.integers(0, 2, (3, 4)).astype(bool), "u": np.arange(12, dtype=np.uint8).reshape(3, 4),
}
REDUCTIONS = "sum prod amax amin mean var std logsumexp norm".split()


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("rest", ["dim=1, mask=m", "dim=0, keepdim=True, mask=m", "dim=1", "mask=m", "dim=(0, 1), keepdim=True"])
def test_reductions(name, rest):
    compare(torch, bibun, ARRAYS, f"torch.masked.{name}(gx, {rest})")


@pytest.mark.parametrize("x", ["i", "c", "b", "u"])
@pytest.mark.parametrize("name", [n for n in REDUCTIONS if n != "norm"])
def test_dtypes(name, x):
    if (name, x) in (("var", "b"), ("std", "b"), ("amax", "c"), ("amin", "c")) or name == "logsumexp" and x == "u":
        pytest.skip("PyTorch refuses, or wraps around, where bibun does not")
    compare(torch, bibun, ARRAYS, f"torch.masked.{name}({x}, 1, mask=m)")


@pytest.mark.parametrize(
    "call",
    [
        "softmax(gx, 1, mask=m)",
        "log_softmax(gx, 0, mask=m)",
        "softmin(gx, 1, mask=m)",
        "normalize(gx, 2.0, 1, mask=m)",
        "norm(gx, -inf, 1, mask=m)",
        "norm(gx, 0.5, 1, mask=m)",
        "cumsum(gx, 1, mask=m)",
        "cumprod(gx, 0, mask=m)",
        "cumsum(i, 0, mask=n)",
        "median(gx, 1, mask=m)",
        "median(i, 1, mask=m)",
        "median(i, 1, mask=n)",
        "argmax(gx.detach(), 1, mask=m)",
        "argmin(i, mask=m)",
        "logaddexp(gx, gy, input_mask=m, other_mask=~m)",
        "sum(gx, 1, mask=m[0])",
        "sum(gx, 1, mask=m[None])",
        "sum(gx, 1, mask=m[:, :2])",
        "mean(i, 1)",
        "amax(b, 1, mask=m)",
        "var(gx, 1, True, mask=m)",
        "std(gx, 1, correction=0, mask=m)",
        "std(gx, 1, True, correction=0)",
        "sum(i, 1, dtype=torch.float32, mask=m)",
    ],
)
def test_calls(call):
    compare(torch, bibun, ARRAYS, f"torch.masked.{call}")
