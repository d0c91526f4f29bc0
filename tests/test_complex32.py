"""complex32: made, drawn, and seen as pairs of float16."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import bibun

pytestmark = pytest.mark.skipif(not hasattr(ml_dtypes, "complex32"), reason="this ml_dtypes has no complex32")


def test_parts_are_views():
    for x in (
        bibun.tensor([[1 + 2j, 3j], [4, -5 - 6j]], dtype=bibun.complex32),
        bibun.tensor(2 + 3j, dtype=bibun.chalf),
    ):
        for y in (x, x.mT) if x.ndim else (x,):
            pairs = bibun.view_as_real(y)
            whole = bibun.view_as_real(y.to(bibun.complex64))
            assert pairs.dtype == bibun.float16 == y.real.dtype and pairs._base is x and y.imag._base is x
            assert bibun.equal(pairs.float(), whole)
            assert bibun.equal(pairs[..., 0], y.real) and bibun.equal(pairs[..., 1], y.imag)
    x.imag.fill_(7)
    assert complex(x.to(bibun.complex64)) == 2 + 7j
    assert bibun.view_as_real(bibun.tensor([], dtype=bibun.complex32)).shape == (0, 2)


def test_draws_are_pytorchs():
    torch = pytest.importorskip("torch")
    for n in (3, 20):
        for call in (
            lambda m, n: m.randn(n, dtype=m.complex32),
            lambda m, n: m.zeros(n, 2, dtype=m.complex32).T.normal_(),
        ):
            drawn = []
            for m in (bibun, torch):
                m.manual_seed(0)
                drawn.append(m.view_as_real(call(m, n)).float().numpy())
            np.testing.assert_array_equal(*drawn)
