"""Native pooling and sums for channels held to NumPy's way."""

import math
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from bibun.backends import large, pooling, reduce, resampling
from bibun.native.kernel import usable

if not usable():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import pool
from bibun.native.kernels import pooling as kernels
from bibun.native.kernels import sums

#: size of images, window, stride, padding, dilation
WINDOWS = [
    ((3, 5, 24, 24), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((2, 3, 17, 35), (3, 3), (2, 2), (1, 1), (1, 1)),
    ((2, 3, 17, 35), (3, 2), (1, 3), (1, 1), (1, 2)),
    ((1, 2, 40, 67), (2, 5), (3, 1), (1, 2), (3, 2)),
    ((4, 1, 9, 7), (5, 7), (5, 1), (2, 3), (1, 1)),
    ((2, 2, 33), (4,), (2,), (2,), (1,)),
    ((2, 2, 100), (3,), (4,), (0,), (3,)),
    ((2, 3, 5, 9, 11), (2, 3, 2), (1, 2, 2), (1, 0, 1), (2, 1, 1)),
    ((0, 3, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
]

#: shape and the dimensions summed
SUMS = [((3, 5, 4, 7), (0, 2, 3)), ((2, 2, 8), (0, 2)), ((7, 3, 1000), (0, 2)), ((1, 64, 9, 100), (0, 2, 3)), ((0, 3, 8), (0, 2))]


def rules(shape, window, stride, padding, dilation):
    sizes = shape[-len(window) :]
    return tuple(
        ("window", n, (n + 2 * p - d * (k - 1) - 1) // s + 1, k, s, p, d)
        for n, k, s, p, d in zip(sizes, window, stride, padding, dilation)
    )


def images(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 5, shape).astype(dtype)  # with equals
    flat = x.reshape(-1)
    for value in (np.nan, -np.inf, np.inf):
        flat[rng.integers(0, max(flat.size, 1), flat.size // 23)] = value
    return x


def check_pooling(shape, window, stride, padding, dilation, dtype):
    how = rules(shape, window, stride, padding, dilation)
    x = images(shape, dtype)
    expected, places = without_native(pooling.max_pool, x, how)
    out, where = kernels.max_pool(x, how)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(where, places)
    g = np.random.default_rng(1).standard_normal(out.shape).astype(dtype)
    made = kernels.max_pool_gradient(g, where, how)
    np.testing.assert_allclose(made, without_native(pooling.max_pool_gradient, g, places, how), rtol=1e-6, atol=1e-6)
    assert made.dtype == dtype and out.dtype == dtype and where.dtype == np.uint8


def check_means(shape, window, stride, padding, dtype):
    how = rules(shape, window, stride, padding, (1,) * len(window))
    x = np.random.default_rng(3).standard_normal(shape).astype(dtype)
    for count, override in ((True, None), (False, None), (False, 3)):
        by = resampling.divisor(how, count, override, x.dtype)
        out = kernels.mean_pool(x, how, by, False)
        np.testing.assert_allclose(out, without_native(resampling.average_windows, x, how, count, override, False), rtol=1e-5, atol=1e-5)
        made = kernels.mean_pool(out, how, by, True)
        np.testing.assert_allclose(made, without_native(resampling.average_windows, out, how, count, override, True), rtol=1e-5, atol=1e-5)


def check_sums(shape, axes, dtype):
    x = np.random.default_rng(4).standard_normal(shape).astype(dtype)
    kept = [n for i, n in enumerate(shape) if i not in axes]
    first = next(i for i, a in enumerate(axes) if i != a)
    made = sums.channel_sums(x, math.prod(shape[:first]), math.prod(kept), math.prod(shape[first + len(kept) :])).reshape(kept)
    exact = x.astype(np.longdouble).sum(axes)
    np.testing.assert_allclose(made, exact, rtol=1e-6, atol=1e-6 * np.sqrt(x.size))
    assert made.dtype == dtype


def without_native(call, *args):
    """The call with NumPy alone."""
    before = [(m, m.native) for m in (pooling, resampling, reduce)]
    for m, _ in before:
        m.native = lambda: False
    try:
        return call(*args)
    finally:
        for m, native in before:
            m.native = native


def check_all():
    for case in WINDOWS:
        check_pooling(*case, np.float32)
        if max(case[4]) == 1:
            check_means(*case[:4], np.float32)
    for case in SUMS:
        check_sums(*case, np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", WINDOWS)
def test_max_pool(case, dtype):
    check_pooling(*case, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", [c[:4] for c in WINDOWS if max(c[4]) == 1])
def test_mean_pool(case, dtype):
    check_means(*case, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", SUMS)
def test_sums_of_channels(case, dtype):
    check_sums(*case, dtype)


def test_sums_that_keep_what_is_between():
    x = np.random.default_rng(5).standard_normal((9, 4, 5, 11, 13)).astype(np.float32)
    for axes in ((0, 3, 4), (0, 4), (0, 1, 4), (0, 2, 4), (1, 2), (4, 0)):
        for keep in (False, True):
            made = reduce.sum(x, axes, keep)
            np.testing.assert_allclose(made, x.sum(axes, keepdims=keep, dtype=float), rtol=1e-5, atol=1e-4)
            assert made.shape == x.sum(axes, keepdims=keep).shape


def test_infinities_stay_in_their_windows():
    x = np.zeros((1, 1, 9, 9), np.float32)
    x[0, 0, 4, 4] = np.inf
    how = rules(x.shape, (3, 3), (3, 3), (0, 0), (1, 1))
    out = kernels.mean_pool(x, how, np.float32(9), False)
    assert np.isinf(out[0, 0, 1, 1]) and np.isfinite(out).sum() == 8


def test_what_is_not_contiguous():
    x = images((4, 6, 40, 50), np.float32).transpose(1, 0, 3, 2)[:, :, ::2, 1:]
    how = rules(x.shape, (3, 3), (2, 2), (1, 1), (1, 1))
    for a, b in zip(kernels.max_pool(x, how), without_native(pooling.max_pool, x, how)):
        np.testing.assert_array_equal(a, b)


def test_the_backend_asks_for_kernels():
    assert large.native()
    how = rules((8, 8, 32, 32), (2, 2), (2, 2), (0, 0), (1, 1))
    x = images((8, 8, 32, 32), np.float32)
    for a, b in zip(pooling.max_pool(x, how), without_native(pooling.max_pool, x, how)):
        np.testing.assert_array_equal(a, b)


def test_the_number_of_threads_changes_nothing():
    x = np.random.default_rng(0).standard_normal((64, 16, 24, 24)).astype(np.float32)
    how = rules(x.shape, (3, 3), (2, 2), (1, 1), (1, 1))
    before, made = pool.threads(), []
    try:
        for n in (1, 2):
            pool.set_threads(n)
            out, where = kernels.max_pool(x, how)
            mean = kernels.mean_pool(x, how, np.float32(9), False)
            back = kernels.mean_pool(mean, how, np.float32(9), True)
            made.append((out, where, kernels.max_pool_gradient(out, where, how), mean, back, sums.channel_sums(x, 64, 16, 576)))
    finally:
        pool.set_threads(before)
    for a, b in zip(*made):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="for this processor")
def test_other_processors(processor):
    said = f"import runpy; runpy.run_path({__file__!r})['check_all']()"
    run = subprocess.run([sys.executable, "-c", said], env={**os.environ, "BIBUN_CPU": processor}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
