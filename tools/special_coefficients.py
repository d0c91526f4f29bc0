"""Compute the coefficients in `bibun.backends.special` from the functions' definitions, with mpmath.

    python tools/special_coefficients.py            # prints the constants as Python source

All are Chebyshev interpolants, within a small factor of the best approximation; most are turned into powers.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
from mpmath import mpf

mp.mp.dps = 60


def chebyshev(f: Callable[[mpf], mpf], n: int) -> list[mpf]:
    """The Chebyshev coefficients of the interpolant of f on [-1, 1] in n points."""
    nodes = [mp.cos(mp.pi * (k + mpf(1) / 2) / n) for k in range(n)]
    values = [f(t) for t in nodes]
    return [
        2
        / mpf(n)
        * sum(v * mp.cos(mp.pi * j * (k + mpf(1) / 2) / n) for k, v in enumerate(values))
        / (2 if j == 0 else 1)
        for j in range(n)
    ]


def powers(c: list[mpf]) -> list[mpf]:
    """Chebyshev coefficients as those of a polynomial, constant first."""
    below, at = [mpf(1)], [mpf(0), mpf(1)]
    out = [mpf(0)] * len(c)
    out[0] += c[0]
    for j in range(1, len(c)):
        for i, a in enumerate(at):
            out[i] += c[j] * a
        above = [mpf(0)] + [2 * a for a in at]
        for i, b in enumerate(below):
            above[i] -= b
        below, at = at, above
    return out


def shifted(p: list[mpf], scale: mpf, offset: mpf) -> list[mpf]:
    """The coefficients of v -> p(scale v + offset)."""
    out = [mpf(0)] * len(p)
    for k, c in enumerate(p):
        for j in range(k + 1):
            out[j] += c * mp.binomial(k, j) * scale**j * offset ** (k - j)
    return out


def show(name: str, coefficients: list[mpf], digits: int = 17) -> None:
    print(f"{name} = ({', '.join(mp.nstr(c, digits) for c in coefficients)})")


def erfcx(x: mpf) -> mpf:
    return mp.exp(x * x) * mp.erfc(x)


def giles(w: mpf) -> mpf:
    """erfinv(x) / x as a function of w = -log(1 - x²)."""
    x = mp.sqrt(-mp.expm1(-w))
    if w < 1e-12:
        return mp.sqrt(mp.pi) / 2 + w * mp.pi ** mpf(1.5) / 24
    q = mp.exp(-w) / (1 + x)  # 1 - x without cancellation
    y = mp.sqrt(w) if w > 1 else x * mp.sqrt(mp.pi) / 2
    for _ in range(100):
        step = (mp.erfc(y) - q) / (-2 / mp.sqrt(mp.pi) * mp.exp(-y * y))
        y -= step / (1 + y * step)
        if abs(step) < mpf(10) ** -40:
            break
    return y / x


def main() -> None:
    show(
        "ERF_NEAR_32",
        shifted(powers(chebyshev(lambda u: mp.erf(x := mp.sqrt((u + 1) / 2)) / x - 1, 7)), mpf(2), mpf(-1)),
        10,
    )
    show(
        "ERF_FAR_32",
        shifted(powers(chebyshev(lambda u: mp.log(mp.erfc(1 + mpf("1.5") * (u + 1))), 9)), 2 / mpf(3), mpf(-1)),
        10,
    )
    show("ERF", powers(chebyshev(lambda u: mp.erf(mp.sqrt((u + 1) / 2)) / mp.sqrt((u + 1) / 2), 14)))
    show("ERFCX", powers(chebyshev(lambda t: (1 + 2 * (x := mpf("3.75") * (1 + t) / (1 - t))) * erfcx(x), 28)))
    show("LGAMMA", powers(chebyshev(lambda u: mp.loggamma(2 + u / 2) / (u / 2) if u else mp.digamma(2), 22)))
    show("I0E_SMALL", chebyshev(lambda u: mp.exp(-(x := 4 * (u + 1))) * mp.besseli(0, x), 30))
    show("I0E_LARGE", chebyshev(lambda u: mp.sqrt(x := 16 / (u + 1)) * mp.exp(-x) * mp.besseli(0, x), 26))
    show("I1E_SMALL", chebyshev(lambda u: mp.exp(-(x := 4 * (u + 1))) * mp.besseli(1, x) / x, 30))
    show("I1E_LARGE", chebyshev(lambda u: mp.sqrt(x := 16 / (u + 1)) * mp.exp(-x) * mp.besseli(1, x), 26))
    show("ERFINV_CENTRAL", powers(chebyshev(lambda u: giles(mpf("2.5") * (u + 1)), 12)), 12)
    show("ERFINV_TAIL", powers(chebyshev(lambda u: giles((mpf("2.2") + mpf("2.1") * (u + 1)) ** 2), 12)), 12)
    show("ERFINV_FAR", powers(chebyshev(lambda u: giles((mpf("6.4") + mpf("10.6") * (u + 1)) ** 2), 12)), 12)


if __name__ == "__main__":
    main()
