"""Elements taken, put, chosen and looked up by native kernels, against NumPy."""

import numpy as np
import pytest

import bibun as torch
from bibun.backends import arrange, cpu, indexing, reduce, sorting
from bibun.backends.large import native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import pool

DTYPES = [np.float32, np.float64, np.int64]


def numbers(dtype, *shape):
    return (np.random.default_rng(len(shape)).standard_normal(shape) * 50).astype(dtype)


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request):
    pool.set_threads(request.param)
    yield
    pool.set_threads(2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, axis, m", [((37, 211), 1, 90), ((211, 37), 0, 90), ((5, 31, 301), 1, 7), ((9000,), 0, 5000), ((3, 7, 1500), 2, 1)])
def test_taken_and_put(dtype, shape, axis, m):
    x = numbers(dtype, *shape)
    small = (*shape[:axis], m, *shape[axis + 1 :])
    index = np.random.default_rng(0).integers(0, shape[axis], small)
    values = numbers(dtype, *small)
    np.testing.assert_array_equal(indexing.take_along_axis(x, index, axis), np.take_along_axis(x, index, axis))
    np.testing.assert_array_equal(indexing.take_along_axis(x.T, index.T, x.ndim - 1 - axis), np.take_along_axis(x, index, axis).T)
    places = list(np.indices(small))
    places[axis] = index
    added = x.copy()
    np.add.at(added, tuple(places), values)
    np.testing.assert_array_equal(indexing.scatter_add(x, index, values, axis), added)
    for given in (values, dtype(3)):
        put = x.copy()
        np.put_along_axis(put, index, given, axis)
        np.testing.assert_array_equal(indexing.scatter(x, index, given, axis), put)
    if index.size >= indexing.SOME:
        for bad in (-1, shape[axis]):
            index.flat[7] = bad
            with pytest.raises(IndexError, match="out of bounds"):
                indexing.take_along_axis(x, index, axis)
            with pytest.raises(IndexError, match="out of bounds"):
                indexing.scatter_add(x, index, values, axis)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 50, 1023])
def test_places_in_sorted_sequences(dtype, right, n):
    line = numbers(dtype, n)
    asked = np.concatenate([numbers(dtype, 3000), line])
    if dtype is not np.int64:
        line[-1:] = np.nan
        asked[:3] = [np.nan, np.inf, -np.inf]
    line.sort()
    np.testing.assert_array_equal(sorting.searchsorted_rows(line, asked, right), np.searchsorted(line, asked, "right" if right else "left"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(170, 110), (3, 50, 133), (20000, 1), (1, 20000)])
@pytest.mark.parametrize("k", [0, 3, -2, 1000, -1000])
def test_triangles(dtype, shape, k):
    x = numbers(dtype, *shape)
    np.testing.assert_array_equal(arrange.tril(x, k), np.tril(x, k))
    np.testing.assert_array_equal(arrange.triu(x, k), np.triu(x, k))


@pytest.mark.parametrize("dtype", DTYPES[:2])
@pytest.mark.parametrize("shape, axis", [((130, 140), 1), ((140, 130), 0), ((3, 60, 101), 1), ((20000,), 0)])
def test_running_extremes(dtype, shape, axis):
    x = np.round(numbers(dtype, *shape) / 20)
    x.flat[::3001] = np.nan
    for made, top in ((reduce.cumulative_max(x, axis), np.maximum), (reduce.cumulative_min(x, axis), np.minimum)):
        values = top.accumulate(x, axis)
        line = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        np.testing.assert_array_equal(made[0], values)
        np.testing.assert_array_equal(made[1], np.maximum.accumulate(np.where((x == values) | (x != x), line, 0), axis))


@pytest.mark.parametrize("dtype", [*DTYPES, np.int8])
def test_chosen(dtype):
    x, mask = numbers(dtype, 150, 130), numbers(np.float32, 150, 130) > 0
    for other in (np.zeros((), dtype), x[0], x * 2):
        np.testing.assert_array_equal(cpu.where(mask, other, x), np.where(mask, other, x))
    t = torch.from_numpy(x).masked_fill(torch.from_numpy(mask), 7)
    np.testing.assert_array_equal(t.numpy(), np.where(mask, dtype(7), x))


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 1000, 100_001])
def test_evenly_spaced(steps):
    for dtype, kind in ((torch.float32, np.float32), (torch.float64, np.float64)):
        made = torch.linspace(-3, 10, steps, dtype=dtype).numpy()
        np.testing.assert_allclose(made, np.linspace(-3, 10, steps, dtype=kind), rtol=1e-5, atol=1e-5)
        assert steps < 2 or made[0] == -3 and made[-1] == 10
