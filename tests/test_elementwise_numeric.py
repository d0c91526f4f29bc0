"""Derivatives of elementwise functions against finite differences, and values against NumPy: needs no PyTorch."""

import math

import numpy as np
import pytest

import bibun as torch

UNARY = {
    **dict.fromkeys("neg abs sgn exp exp2 expm1 sin cos tan sinh cosh tanh atan asinh sinc deg2rad square sigmoid erf erfc "
                    "i0 frac".split(), (-1.4, 1.4)),
    **dict.fromkeys("sqrt rsqrt reciprocal log log2 log10 log1p lgamma digamma acosh".split(), (1.1, 3.0)),
    **dict.fromkeys("asin acos atanh erfinv".split(), (-0.8, 0.8)),
    **dict.fromkeys("special.i0e special.i1 special.i1e special.log_ndtr special.erfcx".split(), (0.2, 2.0)),
    "logit": (0.2, 0.8), "special.ndtri": (0.2, 0.8), "special.entr": (0.2, 2.0),
}
BINARY = "add sub mul div pow atan2 hypot maximum minimum logaddexp xlogy remainder fmod copysign ldexp".split()


def find(name):
    module = torch
    for part in name.split("."):
        module = getattr(module, part)
    return module


def drawn(low, high, shape=(2, 3), seed=0):
    return torch.tensor(np.random.default_rng(seed).uniform(low, high, shape), requires_grad=True)


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    x = drawn(*UNARY[name])
    assert torch.autograd.gradcheck(find(name), (x,))
    assert torch.autograd.gradgradcheck(find(name), (x,))


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    x, y = drawn(0.5, 2), drawn(0.5, 2, (3,), seed=1)
    assert torch.autograd.gradcheck(find(name), (x, y))
    assert torch.autograd.gradgradcheck(find(name), (x, y))


@pytest.mark.parametrize("name", "exp log sin tanh sqrt reciprocal asin atan acosh abs sgn angle conj sigmoid square".split())
def test_complex(name):
    x = torch.tensor((drawn(0.3, 0.9).detach() + 1j * drawn(0.2, 0.8, seed=1).detach()).numpy(), requires_grad=True)
    assert torch.autograd.gradcheck(find(name), (x,))


def test_values():
    x = np.linspace(-3, 3, 101)
    t = torch.tensor(x)
    with np.errstate(all="ignore"):
        for name, truth in (("exp", np.exp), ("log", np.log), ("sqrt", np.sqrt), ("floor", np.floor), ("sinc", np.sinc), ("sign", np.sign),
                            ("isnan", np.isnan), ("trunc", np.trunc), ("square", np.square), ("deg2rad", np.deg2rad)):
            np.testing.assert_allclose(find(name)(t).numpy(), truth(x), rtol=1e-14)
    np.testing.assert_allclose(torch.erf(t).numpy(), [math.erf(v) for v in x], rtol=1e-14)
    np.testing.assert_allclose(torch.lgamma(t[t > 0]).numpy(), [math.lgamma(v) for v in x if v > 0], rtol=1e-13, atol=1e-15)


def test_a_missing_extra_says_how_to_get_it(monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "bibun\[all\]"'):
        torch.special.bessel_j0(torch.ones(2))
