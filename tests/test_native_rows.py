"""Rows of tables by native kernels, held to NumPy's."""

import numpy as np
import pytest

import bibun
from bibun.backends import arrange, embedding, indexing
from bibun.backends.large import native

pytestmark = pytest.mark.skipif(not native(), reason="no native kernels here")

SIZES = [(1, 1, 1), (5, 3, 0), (7, 5, 1), (300, 64, 1000), (50_000, 17, 300), (3, 100, 5000), (1000, 129, 1), (1, 16, 50), (9, 1, 40)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("height", "width", "count"), SIZES)
def test_rows_taken_and_added(height, width, count, dtype):
    from bibun.native import pool
    from bibun.native.kernels import rows

    rng = np.random.default_rng(height + count)
    table = rng.standard_normal((height, width)).astype(dtype)
    index = rng.integers(0, height, count)
    given = rng.standard_normal((count, width)).astype(dtype)
    if count > 20:
        given[3, 0], given[7, -1], given[11, 0] = np.nan, np.inf, 1e-40
    wanted = np.zeros_like(table)
    np.add.at(wanted, index, given)
    before = pool.threads()
    try:
        for n in (1, 2):
            pool.set_threads(n)
            np.testing.assert_array_equal(rows.take_rows(table, index), table[index])
            np.testing.assert_array_equal(rows.add_rows(table.shape, index, given), wanted)
    finally:
        pool.set_threads(before)


def test_what_the_kernels_leave_to_numpy():
    from bibun.native.kernels import rows

    table, index = np.ones((4, 6), np.float32), np.array([1, 2])
    assert rows.take_rows(table[:, ::2], index) is NotImplemented
    assert rows.take_rows(table.astype(np.complex64), index) is NotImplemented
    assert rows.take_rows(table, index.astype(np.int32)) is NotImplemented
    assert rows.add_rows((4, 6), index, table[:2].astype(np.complex64)) is NotImplemented


@pytest.mark.parametrize("lead", [1, 2, 3])
def test_rows_are_added_where_they_lie(lead):
    from bibun.native.kernels import rows

    rng = np.random.default_rng(lead)
    shape = (4, 5, 6)[:lead]
    whole = rng.standard_normal((*shape, 3, 8)).astype(np.float32)
    views = [whole, whole[::-1], whole[..., ::2, :], whole[..., ::2], np.broadcast_to(whole[:1], whole.shape), np.broadcast_to(whole[..., :1, :1, :], whole.shape)]
    views += [np.swapaxes(whole, 0, lead - 1), np.broadcast_to(whole[(0,) * lead], whole.shape)]
    for values in views:
        lying = values.shape[:lead]
        index = rng.integers(0, 7, lying).reshape(-1)
        wanted = np.zeros((7, *values.shape[lead:]), np.float32)
        np.add.at(wanted, index.reshape(lying), values)
        np.testing.assert_array_equal(rows.add_rows(wanted.shape, index, values, lead), wanted)


@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("scale", [False, True])
def test_a_large_embedding_learns_as_pytorchs(padding, scale):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((2000, 40)).astype(np.float32)
    index = rng.integers(0, 2000, (30, 40))
    index[0] = 3
    gradient = rng.standard_normal((30, 40, 40)).astype(np.float32)
    found = []
    for t in (torch, bibun):
        w = t.from_numpy(weight).requires_grad_()
        out = t.nn.functional.embedding(t.from_numpy(index), w, padding, scale_grad_by_freq=scale)
        out.backward(t.from_numpy(gradient))
        found.append((out.detach().numpy(), w.grad.numpy()))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5, atol=1e-5)


def test_numbers_out_of_range_are_refused_before_any_kernel():
    weight = bibun.zeros(1000, 100)
    with pytest.raises(IndexError):
        bibun.nn.functional.embedding(bibun.full((1000,), 1000), weight)
    with pytest.raises(IndexError):
        bibun.nn.functional.embedding(bibun.full((1000,), -1), weight)
    with pytest.raises(IndexError):
        indexing.scatter_add_rows((1000, 100), np.array([1000] * 400), np.ones((400, 100), np.float32))
    made = indexing.scatter_add_rows((1000, 100), np.array([-1] * 400), np.ones((400, 100), np.float32))
    assert made[999, 0] == 400 and made[:999].sum() == 0
    assert embedding.embedding(np.ones((1000, 0), np.float32), np.zeros(20000, np.int64), -1, False).shape == (20000, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_rows_side_by_side(dtype):
    from bibun.native import pool

    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 99, (3, 50, w, 7)).astype(dtype) for w in (20, 1, 0, 33)]
    before = pool.threads()
    try:
        for n in (1, 2):
            pool.set_threads(n)
            for axis in (0, 1, 2, 3):
                parts = arrays if axis == 2 else [arrays[0], arrays[0][::-1]] if axis == 1 else [arrays[0], arrays[0] + 1]
                np.testing.assert_array_equal(arrange.concat(parts, axis), np.concatenate(parts, axis))
    finally:
        pool.set_threads(before)
    with pytest.raises(ValueError):
        arrange.concat([arrays[0], arrays[1]], 1)
