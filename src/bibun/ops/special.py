"""Special functions: error functions, gamma functions, Bessel functions; elementwise, integers become floats.

The kernels are the backend's. What it has no kernel of its own for comes from SciPy, imported when first called.
"""

from __future__ import annotations

from typing import Any

from ..errors import require
from .primitive import elementwise, refusal

PI = 3.141592653589793
TWO_OVER_ROOT_PI = 1.1283791670955126
ROOT_PI_OVER_TWO = 0.886226925452758


def from_scipy(name: str, label: str) -> Any:
    """A function of `scipy.special`, imported now that it is needed."""
    return getattr(require("scipy.special", "all", f"torch.{label}"), name)


# Error functions


@elementwise(kind="float", refuses="c")
def erf(xp, x):
    """The error function."""
    return xp.erf(x)


@elementwise(kind="float", refuses="c")
def erfc(xp, x):
    """``1 - erf(x)``, accurate for large ``x``."""
    return xp.erfc(x)


@elementwise(kind="float", refuses="c")
def erfinv(xp, x):
    """The inverse of the error function."""
    return xp.erfinv(x)


@elementwise(kind="float", grad="SpecialErfcx")
def erfcx(xp, x):
    """``exp(x²) erfc(x)``."""
    return xp.erfcx(x)


@elementwise(kind="float", grad="SpecialNdtri")
def ndtri(xp, x):
    """The quantile function of the normal distribution."""
    return xp.ndtri(x)


@elementwise(kind="float", grad="SpecialLogNdtr")
def log_ndtr(xp, x):
    """The logarithm of the normal distribution function."""
    return xp.log_ndtr(x)


erf.derivative(x=lambda xp, g, x: g * (xp.exp(-(x * x)) * TWO_OVER_ROOT_PI))
erf.drawn_from((-3, 3))
erfc.derivative(x=lambda xp, g, x: g * (xp.exp(-(x * x)) * -TWO_OVER_ROOT_PI))
erfc.drawn_from((-3, 3))
erfinv.derivative(x=lambda xp, g, out: g * (xp.exp(out * out) * ROOT_PI_OVER_TWO))
erfinv.drawn_from((-0.8, 0.8))
erfcx.derivative(x=lambda g, x, out: g * (x * out * 2 - TWO_OVER_ROOT_PI))
erfcx.drawn_from((-1.5, 2))
ndtri.derivative(x=lambda xp, g, out: g * (xp.exp(out * out / 2) * (2 * PI) ** 0.5))
ndtri.drawn_from((0.1, 0.9))
log_ndtr.derivative(x=lambda xp, g, x: g / (xp.erfcx(x * -(0.5**0.5)) * (PI / 2) ** 0.5))
log_ndtr.drawn_from((-3, 2))


# Gamma functions


@elementwise(kind="float", refuses="c")
def lgamma(xp, x):
    """``log |Γ(x)|``."""
    return xp.lgamma(x)


@elementwise(kind="float", refuses="c")
def digamma(xp, x):
    """The derivative of `lgamma`."""
    return xp.digamma(x)


@elementwise(kind="float")
def polygamma(xp, x, /, n):
    """The n-th derivative of `digamma`, n >= 1."""
    return xp.polygamma(x, n)


@elementwise(kind="float")
def mvlgamma(xp, x, /, p):
    """The logarithm of the multivariate gamma function of dimension ``p``."""
    total = p * (p - 1) / 4 * 1.1447298858494002  # log π
    for i in range(p):
        total = total + xp.lgamma(x - i / 2)
    return total


def _mvlgamma_derivative(xp: Any, g: Any, x: Any, p: int) -> Any:
    total = xp.digamma(x)
    for i in range(1, p):
        total = total + xp.digamma(x - i / 2)
    return g * total


lgamma.derivative(x=lambda xp, g, x: g * xp.digamma(x))
lgamma.drawn_from((0.3, 4))
digamma.derivative(x=lambda xp, g, x: g * xp.polygamma(x, 1))
digamma.drawn_from((0.3, 4))
polygamma.derivative(x=lambda xp, g, x, n: g * xp.polygamma(x, n + 1))
polygamma.drawn_from((0.5, 3))
mvlgamma.derivative(x=_mvlgamma_derivative)
mvlgamma.drawn_from((2, 5))


def unknown(name: str) -> Any:
    """The derivative in a parameter for which none is known in closed form."""
    return refusal(NotImplementedError, f"the derivative for '{name}' is not implemented.")


def _gamma_density(xp: Any, g: Any, x: Any, y: Any) -> Any:
    """d/dy of the regularised incomplete gamma function P(x, y): the density of the gamma distribution."""
    return g * xp.exp((x - 1) * xp.log(y) - y - xp.lgamma(x))


@elementwise(kind="float", refuses="biuc")
def igamma(xp, x, y):
    """The regularised lower incomplete gamma function P(x, y)."""
    return from_scipy("gammainc", "igamma")(x, y).astype(x.dtype)


@elementwise(kind="float", refuses="biuc")
def igammac(xp, x, y):
    """The regularised upper incomplete gamma function Q(x, y)."""
    return from_scipy("gammaincc", "igammac")(x, y).astype(x.dtype)


igamma.derivative(x=unknown("igamma: input"), y=_gamma_density)
igamma.drawn_from((0.5, 3))
igammac.derivative(x=unknown("igammac: input"), y=lambda xp, g, x, y: -_gamma_density(xp, g, x, y))
igammac.drawn_from((0.5, 3))


@elementwise(kind="float", grad="SpecialZeta")
def zeta(xp, s, q):
    """Hurwitz's zeta function, the sum of ``(q + k)**-s``."""
    return xp.zeta(s, q)


zeta.derivative(s=unknown("zeta"), q=lambda xp, g, s, q: g * -s * xp.zeta(s + 1, q))
zeta.drawn_from((1.5, 4), (0.5, 3))
zeta_of_number, zeta_at_number = zeta.named("SpecialZetaBackward1"), zeta.named("SpecialZetaBackward2")


# Bessel functions of imaginary argument


@elementwise(kind="float", refuses="c")
def i0(xp, x):
    """The modified Bessel function of order 0."""
    return xp.i0(x)


@elementwise(kind="float", grad="SpecialI1")
def i1(xp, x):
    """The modified Bessel function of order 1."""
    return xp.i1(x)


@elementwise(kind="float", grad="SpecialI0E")
def i0e(xp, x):
    """``exp(-|x|) i0(x)``."""
    return xp.i0e(x)


@elementwise(kind="float", grad="SpecialI1E")
def i1e(xp, x):
    """``exp(-|x|) i1(x)``."""
    return xp.i1e(x)


def _over_x(xp: Any, out: Any, x: Any, at_zero: float) -> Any:
    """``out / x``, and its limit near 0."""
    flat = xp.abs(x) <= 1e-10
    return xp.where(flat, at_zero, out / xp.where(flat, 1, x))


i0.derivative(x=lambda xp, g, x: g * xp.i1(x))
i0.drawn_from((-3, 3))
i1.derivative(x=lambda xp, g, x, out: g * (xp.i0(x) - _over_x(xp, out, x, 0.5)))
i1.drawn_from((-3, 3))
i0e.derivative(x=lambda xp, g, x, out: g * (xp.i1e(x) - xp.sgn(x) * out))
i0e.drawn_from((-3, 3))
i1e.derivative(x=lambda xp, g, x, out: g * (xp.i0e(x) - _over_x(xp, out, x, 0.5) - xp.sgn(x) * out))
i1e.drawn_from((-3, 3))


# From SciPy, and not differentiable in PyTorch


def _by_scipy(name: str, scipy_name: str, doc: str) -> Any:
    def run(xp: Any, x: Any) -> Any:
        return from_scipy(scipy_name, f"special.{name}")(x).astype(x.dtype)

    run.__name__, run.__doc__ = name, doc
    return elementwise(run, kind="float", nondiff="out").drawn_from((0.3, 5))


BESSEL = {
    name: _by_scipy(name, scipy_name, doc)
    for name, scipy_name, doc in (
        ("bessel_j0", "j0", "The Bessel function of the first kind of order 0."),
        ("bessel_j1", "j1", "The Bessel function of the first kind of order 1."),
        ("bessel_y0", "y0", "The Bessel function of the second kind of order 0."),
        ("bessel_y1", "y1", "The Bessel function of the second kind of order 1."),
        ("modified_bessel_k0", "k0", "The modified Bessel function of the second kind of order 0."),
        ("modified_bessel_k1", "k1", "The modified Bessel function of the second kind of order 1."),
        ("scaled_modified_bessel_k0", "k0e", "``exp(x)`` times `modified_bessel_k0`."),
        ("scaled_modified_bessel_k1", "k1e", "``exp(x)`` times `modified_bessel_k1`."),
    )
}


@elementwise(kind="float", nondiff="out")
def airy_ai(xp, x):
    """Airy's function Ai."""
    return from_scipy("airy", "special.airy_ai")(x)[0].astype(x.dtype)


airy_ai.drawn_from((-3, 3))


@elementwise(kind="float", nondiff="out")
def spherical_bessel_j0(xp, x):
    """``sin(x) / x``, 1 at 0."""
    flat = x == 0
    return xp.where(xp.isinf(x), 0, xp.where(flat, 1, xp.sin(x) / xp.where(flat, 1, x))).astype(x.dtype)


spherical_bessel_j0.drawn_from((-3, 3))


# Orthogonal polynomials, by their recurrences


#: name -> (p_1 as a function of x, the step from p_(k-1) and p_k to p_(k+1))
RECURRENCES: dict[str, tuple[Any, Any]] = {
    "chebyshev_polynomial_t": (lambda x: x, lambda k, x, below, at: 2 * x * at - below),
    "chebyshev_polynomial_u": (lambda x: 2 * x, lambda k, x, below, at: 2 * x * at - below),
    "chebyshev_polynomial_v": (lambda x: 2 * x - 1, lambda k, x, below, at: 2 * x * at - below),
    "chebyshev_polynomial_w": (lambda x: 2 * x + 1, lambda k, x, below, at: 2 * x * at - below),
    "hermite_polynomial_h": (lambda x: 2 * x, lambda k, x, below, at: 2 * x * at - 2 * k * below),
    "hermite_polynomial_he": (lambda x: x, lambda k, x, below, at: x * at - k * below),
    "laguerre_polynomial_l": (lambda x: 1 - x, lambda k, x, below, at: ((2 * k + 1 - x) * at - k * below) / (k + 1)),
    "legendre_polynomial_p": (lambda x: x, lambda k, x, below, at: ((2 * k + 1) * x * at - k * below) / (k + 1)),
}


def polynomial(xp: Any, name: str, x: Any, n: Any) -> Any:
    """The polynomials of degrees ``n`` (0 for negative degrees) at ``x``."""
    first, step = RECURRENCES[name]
    shape = xp.broadcast_shapes(x.shape, n.shape)
    x, n = xp.broadcast_to(x, shape), xp.trunc(xp.broadcast_to(n, shape))
    out = xp.where(n == 0, 1, 0).astype(x.dtype)
    below, at = xp.ones_like(x), first(x)
    highest = int(n.max()) if n.size else 0
    for k in range(1, highest + 1):
        out = xp.where(n == k, at, out)
        below, at = at, step(k, x, below, at)
    return out.astype(x.dtype)


def _polynomial(name: str) -> Any:
    plain = name.removeprefix("shifted_")

    def run(xp: Any, x: Any, n: Any) -> Any:
        return polynomial(xp, plain, x if plain is name else 2 * x - 1, n)

    run.__name__, run.__doc__ = name, f"The {name.replace('_', ' ')} of degree ``n``."
    return elementwise(run, kind="float", nondiff="out").drawn_from((-0.9, 0.9), (0, 5))


POLYNOMIALS = {
    name: _polynomial(name) for name in (*RECURRENCES, *(f"shifted_chebyshev_polynomial_{x}" for x in "tuvw"))
}
