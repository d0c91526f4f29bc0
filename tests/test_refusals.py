"""Calls that PyTorch refuses, refused in its words."""

from __future__ import annotations

import numpy as np
import pytest
from side_by_side import compare

import bibun

torch = pytest.importorskip("torch")
D = np.random.default_rng(0).standard_normal
ARRAYS = {"a": D((3,)), "i": D((2, 3)), "w": D((4, 3)), "y": D((1, 2, 4, 4)), "z": D((1, 2, 4, 4, 4)), "x": D((1, 2, 4)), "s": np.array(1.0), "t": np.array([0, 1])}


@pytest.mark.parametrize(
    "call",
    [
        "F.adaptive_avg_pool1d(x, ())",
        "F.adaptive_max_pool1d(x, (1, 2))",
        "F.adaptive_avg_pool2d(y, (3,))",
        "F.adaptive_max_pool2d(y, (1, 2, 3))",
        "F.adaptive_max_pool1d(x, -1)",
        "F.adaptive_avg_pool1d(x, -1)",
        "F.adaptive_max_pool3d(z, (-1, 0, 2))",
        "F.adaptive_avg_pool2d(y[0, 0], (2, 2))",
        "F.adaptive_avg_pool2d(y[0, 0], 2)",
        "F.adaptive_max_pool2d(y[0, 0], (2, None))",
        "F.avg_pool3d(z[0, 0], 2)",
        "F.avg_pool2d(y[0, 0, 0], 2)",
        "F.max_pool3d(z[:, :0], 2)",
        "F.max_pool1d(x, 2, 2, -1, return_indices=True)",
        "F.max_pool1d(x, 2, 2, 4, return_indices=True)",
        "F.max_pool1d(x, 2, 0, return_indices=True)",
        "F.max_pool1d(x, 20, return_indices=True)",
        "F.max_pool1d(x, 2, 2, -1)",
        "F.max_pool1d(x, 20)",
        "F.conv1d(x, x[0])",
        "F.linear_cross_entropy(i[None], w, t)",
        "F.linear_cross_entropy(i, w[0], t)",
        "F.linear_cross_entropy(i, w[:, :2], t)",
        "F.linear_cross_entropy(i, w, t, linear_bias=a)",
        "F.linear_cross_entropy(i[0], w.reshape(2, 2, 3), t)",
        "F.linear_cross_entropy(i, w, i @ w.T, ignore_index=1)",
        "F.linear_cross_entropy(i, w, w[:2], ignore_index=1)",
        "torch.roll(s, 0, 0)",
        "torch.isclose(y, y, -1, -1)",
        "torch.allclose(y, y, atol=-0.4)",
        "torch.isclose(y, 1)",
        "torch.heaviside(y, 1)",
        "torch.fft.fft2(s)",
        "torch.fft.irfftn(s, dim=0)",
    ],
)
def test_refused(call):
    compare(torch, bibun, ARRAYS, call)
