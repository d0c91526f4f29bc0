"""Native max pooling and rectifying held to NumPy's way."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from bibun.backends import activation, large, pooling
from bibun.native.kernel import usable

if not usable():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import pool
from bibun.native.kernels import pooling as kernels
from bibun.native.kernels import rectify

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


def check_rectifying(size, dtype):
    x = images((size,), dtype)
    g = images((size,), dtype, 2)
    np.testing.assert_array_equal(rectify.rectified(x), without_native(activation.relu, x))
    np.testing.assert_array_equal(rectify.rectified_gradient(g, x), without_native(activation.rectified_gradient, g, x))


def without_native(call, *args):
    """The call with NumPy alone."""
    before = [(m, m.native) for m in (pooling, activation)]
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
    for size in (0, 1, 15, 16, 17, 1000):
        check_rectifying(size, np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", WINDOWS)
def test_max_pool(case, dtype):
    check_pooling(*case, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 7, 16, 33, 70001])
def test_rectified(size, dtype):
    check_rectifying(size, dtype)


def test_what_is_not_contiguous():
    x = images((4, 6, 40, 50), np.float32).transpose(1, 0, 3, 2)[:, :, ::2, 1:]
    how = rules(x.shape, (3, 3), (2, 2), (1, 1), (1, 1))
    for a, b in zip(kernels.max_pool(x, how), without_native(pooling.max_pool, x, how)):
        np.testing.assert_array_equal(a, b)
    assert rectify.rectified(x) is NotImplemented  # and `relu` goes to NumPy
    big = images((400, 400), np.float32).T
    np.testing.assert_array_equal(activation.relu(big), without_native(activation.relu, big))


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
            made.append((out, where, kernels.max_pool_gradient(out, where, how), rectify.rectified(x)))
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
