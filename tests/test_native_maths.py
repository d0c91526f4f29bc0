"""Elementary functions of kernels against the true values, over float32 numbers of every exponent.

BIBUN_EXPLORE=1 asks for every float32 there is (minutes for each function).
"""

import functools
import math
import os

import numpy as np
import pytest

from bibun.backends.large import native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from native_functions import run as run_function

from bibun.native import build, maths

#: Every so many bit patterns: a number without small factors, so that all mantissas occur.
STEP = 1 if os.environ.get("BIBUN_EXPLORE") else 10_007
NAMES = "exp exp2 expm1 log log1p log1p_exp tanh sigmoid erf erfc normal_cdf normal_pdf sin cos".split()
run = functools.partial(run_function, maths)


def _scipy(name):
    return getattr(pytest.importorskip("scipy.special"), name)


def truth(name, x):
    """In float64, where NumPy and SciPy are right to far more bits than float32 has."""
    x = x.astype(np.float64)
    if name == "sigmoid":
        return np.where(x < 0, np.exp(np.minimum(x, 0)), 1.0) / (1.0 + np.exp(-np.abs(x)))
    if name == "log1p_exp":
        return np.logaddexp(0, x)
    if name == "normal_cdf":
        return 0.5 * _scipy("erfc")(-x * math.sqrt(0.5))
    if name == "normal_pdf":
        return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    if name in ("erf", "erfc"):
        return _scipy(name)(x)
    return getattr(np, name)(x)


def grid(begin=0, end=1 << 32, step=STEP):
    return np.arange(begin, end, step, np.int64).astype(np.uint32).view(np.float32)


def ulps(made, wanted):
    """How far each is off, in units of the last place of the float32 nearest to the truth; what is not finite must agree."""
    with np.errstate(all="ignore"):
        near = wanted.astype(np.float32)
    ends = ~np.isfinite(near)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(near))
    over = ends & ~np.isnan(near) & np.isfinite(made)  # within reach of the largest
    assert (np.abs(made[over]) >= 3.4028e38).all() and (np.isinf(wanted[over]) == 0).all()
    both = ~ends & np.isinf(made)
    assert (np.abs(near[both]) >= 3.4028e38).all()
    made, near, wanted = made[~ends & ~both], near[~ends & ~both], wanted[~ends & ~both]
    unit = np.ldexp(1.0, np.maximum(np.frexp(near.astype(np.float64))[1] - 24, -149))
    return np.abs(made.astype(np.float64) - wanted) / unit, ~ends & ~both


@pytest.mark.parametrize("lanes", [0, build.vector_bytes() // 4])
@pytest.mark.parametrize("name", NAMES)
def test_within_two_units_of_the_last_place(name, lanes):
    width = 1 << 32 if STEP > 1 else 1 << 26
    worst, where = 0.0, 0.0
    for begin in range(0, 1 << 32, width):
        x = grid(begin, begin + width)
        with np.errstate(all="ignore"):
            off, kept = ulps(run(name, x, lanes), truth(name, x))
        if off.size and off.max() > worst:
            worst, where = off.max(), x[kept][off.argmax()]
    print(f"{name} {lanes}: {worst:.2f} ULP at {where!r}")
    assert worst <= 2.0, where


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_short_forms_near_zero(name):
    x = grid()
    x = x[~(np.abs(x) > maths.NEAR)]
    with np.errstate(all="ignore"):
        off, kept = ulps(run(name + "_near", x), truth(name, x))
    assert off.max() <= 2.0, x[kept][off.argmax()]
    near = (np.arange(1, 63_000) * (math.pi / 2)).astype(np.float32)  # where the other of the two has its zeros
    off, kept = ulps(run(name + "_near", near), truth(name, near))
    assert off.max() <= 2.0, near[kept][off.argmax()]


def test_loops_take_the_long_form_where_they_must():
    import bibun as torch

    for far in (0, 17, 40_000):
        x = np.linspace(-1e5, 1e5, 50_001, dtype=np.float32)
        x[far], x[1], x[2] = 3e38 if far else 3.0, np.inf, np.nan
        for name in ("sin", "cos"):
            with np.errstate(all="ignore"):
                off, _ = ulps(getattr(torch, name)(torch.from_numpy(x)).numpy(), truth(name, x))
            assert off.max() <= 2.0
        rows = torch.from_numpy(np.ascontiguousarray(np.nan_to_num(x, posinf=0.0)[:50_000].reshape(100, 500)))
        made = torch.sin(rows).sum(0).numpy()
        np.testing.assert_allclose(made, np.sin(rows.numpy().astype(np.float64)).sum(0), atol=1e-4)


def test_an_element_gives_the_same_wherever_it_lies():
    import bibun as torch

    x = torch.linspace(-9, 9, 40_009)
    for f in (torch.exp, torch.erf, torch.sin, torch.nn.functional.gelu):
        whole = f(x)
        for at in (1, 3, 16, 12_345):
            assert f(x[at:].clone()).equal(whole[at:])
    rows = x[:40_000].view(400, 100)
    assert (rows * rows[0]).exp().equal((rows * rows[0].expand(400, 100).clone()).exp())


def test_powers():
    import bibun as torch

    ends = np.array([0, 1, 2, 0.5, 3, 4, 5, 1e-40, 3e38, 1e-20, 2.5, 7.25, 16777215, 16777216, 3e9, np.inf, np.nan], np.float32)
    ends = np.concatenate([ends, -ends])
    x, y = (np.tile(a.ravel(), 20) for a in np.meshgrid(ends, ends))
    r = np.random.default_rng(0)
    size = np.exp2(r.uniform(-149, 128, 200_000)).astype(np.float32)
    x = np.concatenate([x, size, 1 + r.normal(size=100_000).astype(np.float32) / 100])
    y = np.concatenate([y, (r.uniform(-150, 130, 200_000) / np.log2(size.astype(np.float64))).astype(np.float32), r.normal(size=100_000).astype(np.float32) * 5000])
    with np.errstate(all="ignore"):
        off, kept = ulps(torch.pow(torch.from_numpy(x), torch.from_numpy(y)).numpy(), np.power(x.astype(np.float64), y))
    assert off.max() <= 2, (x[kept][off.argmax()], y[kept][off.argmax()])
    for exponent in (3, 2.5, -0.5, 7, -3, 0, 1 / 3):
        with np.errstate(all="ignore"):
            wanted = np.power(x.astype(np.float64), np.float32(exponent))
            off, kept = ulps((torch.from_numpy(x) ** exponent).numpy(), wanted)
        assert off.max() <= 2, (exponent, x[kept][off.argmax()])


def test_zeros_keep_their_sign():
    x = np.array([0.0, -0.0] * 20, np.float32)
    for name in ("sin", "sin_near", "tanh", "erf", "expm1", "log1p"):
        assert run(name, x).tobytes() == x.tobytes(), name


def test_gelu_and_its_gradient_do_not_cancel():
    erfc = _scipy("erfc")
    import bibun as torch

    x = np.linspace(-14.5, 6, 40_001, dtype=np.float32)
    t = torch.from_numpy(x).requires_grad_()
    y = torch.nn.functional.gelu(t)
    y.sum().backward()
    d = x.astype(np.float64)
    cdf, pdf = 0.5 * erfc(-d * math.sqrt(0.5)), np.exp(-0.5 * d * d) / math.sqrt(2 * math.pi)
    assert ulps(y.detach().numpy(), d * cdf)[0].max() <= 2
    off = np.abs(t.grad.numpy() - (cdf + d * pdf))
    # the slope has a zero at -0.75, where its two parts cancel in any number of bits
    assert (off <= 4 * 2.0**-24 * np.maximum(np.abs(d) * pdf, cdf) + 1.5e-45).all()
