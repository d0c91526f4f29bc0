"""Elementary functions of kernels in float64 against the true values, at 50 digits or in long double."""

import functools
import math

import numpy as np
import pytest

from bibun.backends.large import native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from native_functions import run as run_function

from bibun.native import build, doubles

WIDE = np.finfo(np.longdouble).nmant > 60
NAMES = "exp exp2 expm1 log log1p log1p_exp tanh sigmoid erf erfc normal_cdf normal_pdf gelu sin cos sin_near cos_near".split()
run = functools.partial(run_function, doubles)


def samples(n=4000):
    """Any bit pattern, and where the functions bend: near 0, near 1, to the ends of the exponential, near multiples of π/2."""
    r = np.random.default_rng(0)
    any_bits = r.integers(0, 1 << 64, n, dtype=np.uint64).view(np.float64)
    sizes = np.exp2(r.uniform(-1074, 4, n)) * r.choice([-1, 1], n)
    quarters = np.round(r.uniform(-6e5, 6e5, n)) * (math.pi / 2)
    ends = [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.0, 1.0, 0.5, 709.78, 709.79, -745.13, -745.14]
    return np.concatenate([
        ends, any_bits, sizes, quarters, r.uniform(-1, 1, n), r.normal(size=n) * 4, r.uniform(-40, 40, n), r.uniform(-760, 760, n), 1 + r.normal(size=n) / 1000,
    ])  # fmt: skip


def in_long_double(name, x):
    """The truth to 64 bits, for what the library of mathematics has so; None for others."""
    if not WIDE:
        return None
    v = x.astype(np.longdouble)
    if name == "sigmoid":
        return np.where(v < 0, np.exp(np.minimum(v, 0)), 1) / (1 + np.exp(-np.abs(v)))
    if name == "log1p_exp":
        return np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v)))
    f = getattr(np, name.removesuffix("_near"), None)
    return None if f is None else f(v)


def off_by(made, wanted):
    """How far each is off in units of the last place of the truth; what is not finite must agree."""
    near = wanted.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(near))
    kept = np.isfinite(near) & np.isfinite(made)
    apart = ~kept & ~np.isnan(near)
    assert (np.sign(made[apart]) == np.sign(near[apart])).all()
    edge = apart & (made != near)  # one is infinite: within reach of the largest number
    assert (np.minimum(np.abs(made[edge]), np.abs(near[edge])) > 1.797e308).all()
    unit = np.ldexp(np.longdouble(1), np.maximum(np.frexp(near)[1] - 53, -1074))
    return np.where(kept, np.abs(np.where(kept, made, 0).astype(np.longdouble) - np.where(kept, wanted, 0)) / unit, 0)


@pytest.mark.parametrize("lanes", [0, build.vector_bytes() // 8])
@pytest.mark.parametrize("name", NAMES)
def test_within_two_units_of_the_last_place(name, lanes):
    x = samples()
    if name.endswith("_near"):
        x = x[~(np.isfinite(x) & (np.abs(x) > doubles.NEAR))]
    with np.errstate(all="ignore"):
        wanted = in_long_double(name, x)
        if wanted is None:
            x = x[::8]
            wanted = exactly(name, x)
        off = off_by(run(name, x, lanes), wanted)
    print(f"{name} {lanes}: {off.max():.2f} ULP at {x[off.argmax()]!r}")
    assert off.max() <= 2, x[off.argmax()]


def exactly(name, x):
    """The truth at 60 digits."""
    mp = pytest.importorskip("mpmath")

    def cdf(v):
        return mp.erfc(-v / mp.sqrt(2)) / 2

    known = {
        "erf": mp.erf, "erfc": mp.erfc, "normal_cdf": cdf, "gelu": lambda v: v * cdf(v), "normal_pdf": lambda v: mp.exp(-v * v / 2) / mp.sqrt(2 * mp.pi),
        "sigmoid": lambda v: 1 / (1 + mp.exp(-v)), "log1p_exp": lambda v: mp.log1p(mp.exp(v)), "exp2": lambda v: mp.mpf(2) ** v,
    }  # fmt: skip
    f = known.get(name) or getattr(mp, name.removesuffix("_near"))
    far = {"erf": (-1, 1), "erfc": (2, 0), "normal_cdf": (0, 1), "gelu": (0, math.inf), "normal_pdf": (0, 0)}
    made = []
    with mp.workdps(60):
        for v in x.tolist():
            if math.isnan(v):
                made.append(np.longdouble(v))
            elif name in far and abs(v) > 50:
                made.append(np.longdouble(v if name == "gelu" and v > 0 else far[name][v > 0]))
            else:
                t = f(mp.mpf(v))
                high = float(t)
                made.append(np.longdouble(high) + np.longdouble(float(t - high)))
    return np.array(made, np.longdouble)


def test_zeros_keep_their_sign():
    x = np.array([0.0, -0.0] * 20)
    for name in ("sin", "sin_near", "tanh", "erf", "expm1", "log1p"):
        assert run(name, x).tobytes() == x.tobytes(), name


def test_powers():
    import bibun as torch

    ends = np.array([0, 1, 2, 0.5, 3, 4, 5, 1e-310, 1e308, 1e-20, 2.5, 7.25, 2.0**53 - 1, 2.0**53, 3e300, np.inf, np.nan])
    ends = np.concatenate([ends, -ends])
    x, y = (np.tile(a.ravel(), 20) for a in np.meshgrid(ends, ends))
    r = np.random.default_rng(0)
    size = np.exp2(r.uniform(-1074, 1024, 40_000))
    x = np.concatenate([x, size, 1 + r.normal(size=40_000) / 100])
    y = np.concatenate([y, r.uniform(-1080, 1030, 40_000) / np.log2(size), r.normal(size=40_000) * 30_000])
    made = torch.pow(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    with np.errstate(all="ignore"):
        if WIDE:
            off = off_by(made, np.power(x.astype(np.longdouble), y.astype(np.longdouble)))
            assert off.max() <= 2, (x[off.argmax()], y[off.argmax()])
        np.testing.assert_allclose(made, np.power(x, y), rtol=1e-15, atol=1e-323)
        for exponent in (3, 2.5, -0.5, 7, -3, 0, 1 / 3):
            np.testing.assert_allclose((torch.from_numpy(x) ** exponent).numpy(), np.power(x, exponent), rtol=1e-15, atol=1e-323)


def test_loops_take_the_long_form_where_they_must():
    import bibun as torch

    for far in (0, 17, 40_000):
        x = np.linspace(-1e6, 1e6, 50_001)
        x[far], x[1], x[2] = 1e300 if far else 3.0, np.inf, np.nan
        for name in ("sin", "cos"):
            with np.errstate(all="ignore"):
                np.testing.assert_allclose(getattr(torch, name)(torch.from_numpy(x)).numpy(), getattr(np, name)(x), rtol=1e-15, atol=0)


def test_gradients_and_compiled_functions_agree_with_small_arrays():
    """Arrays below the bound go through NumPy."""
    import bibun as torch

    F = torch.nn.functional
    x = np.linspace(-39, 9, 50_001)
    functions = [torch.exp, torch.expm1, torch.tanh, torch.sigmoid, F.silu, F.softplus, F.gelu, torch.sin, torch.cos, torch.erf, torch.erfc, lambda t: torch.log(t * t + 0.1)]
    for f in functions:
        whole = torch.from_numpy(x).requires_grad_()
        y = f(whole)
        y.sum().backward()
        for part in (slice(0, 100), slice(40_000, 41_000), slice(49_900, None)):
            t = torch.from_numpy(x[part].copy()).requires_grad_()
            z = f(t)
            z.sum().backward()
            np.testing.assert_allclose(y.detach().numpy()[part], z.detach().numpy(), rtol=2e-15, atol=1e-300)
            np.testing.assert_allclose(whole.grad.numpy()[part], t.grad.numpy(), rtol=1e-13, atol=1e-15)
            with torch.no_grad():
                compiled = torch.compile(f)
                for _ in range(3):
                    made = compiled(t.detach())
            np.testing.assert_allclose(made.numpy(), z.detach().numpy(), rtol=2e-15, atol=1e-300)


def test_gelus_slope():
    mp = pytest.importorskip("mpmath")
    x = np.concatenate([np.linspace(-38.5, 9, 801), -np.exp2(np.linspace(-60, 0, 101))])
    made = run("gelu_slope", x, build.vector_bytes() // 8)
    with mp.workdps(60):
        for v, m in zip(x.tolist(), made.tolist()):
            cdf, part = mp.erfc(-v / mp.sqrt(2)) / 2, v * mp.exp(-v * mp.mpf(v) / 2) / mp.sqrt(2 * mp.pi)
            # the slope has a zero at -0.75, where its two parts cancel in any number of bits
            assert abs(m - (cdf + part)) <= 4 * 2.0**-53 * max(cdf, abs(part)) + 5e-324, v
