"""The functions of ``torch.special``: second names of functions of the package, and the rarer ones.

In: tensors, and numbers beside them where PyTorch takes them. Out: tensors of floats. Loaded when ``torch.special`` is
first touched. Functions without a kernel of our own need SciPy (``pip install "bibun[all]"``).
"""

from __future__ import annotations

from typing import Any

from ..autograd.dispatch import apply, make_binary
from ..ops import exponential
from ..ops import special as ops
from .core import tensor_argument
from .pointwise import is_tensor, xlog1py
from .register import FUNCTIONS, array_function_of, binary, function, number_check, unary

#: torch.special name -> the package's function of another or the same name.
SHARED = {
    "digamma": "digamma",
    "psi": "digamma",
    "erf": "erf",
    "erfc": "erfc",
    "erfinv": "erfinv",
    "exp2": "exp2",
    "expit": "sigmoid",
    "expm1": "expm1",
    "gammaln": "lgamma",
    "i0": "i0",
    "log1p": "log1p",
    "logit": "logit",
    "multigammaln": "mvlgamma",
    "polygamma": "polygamma",
    "round": "round",
    "sinc": "sinc",
    "xlogy": "xlogy",
    "gammainc": "igamma",
    "gammaincc": "igammac",
    "logsumexp": "logsumexp",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
}
for _name, _source in SHARED.items():
    if _source in FUNCTIONS:
        FUNCTIONS[f"special.{_name}"] = FUNCTIONS[_source]

for _prim in (
    ops.erfcx,
    ops.ndtri,
    ops.log_ndtr,
    ops.i0e,
    ops.i1,
    ops.i1e,
    exponential.entr,
    ops.airy_ai,
    ops.spherical_bessel_j0,
    *ops.BESSEL.values(),
):
    unary(_prim, method=False, space="special")
unary(ops.i0, name="modified_bessel_i0", method=False, space="special")
unary(ops.i1, name="modified_bessel_i1", method=False, space="special")
for _prim in ops.POLYNOMIALS.values():
    binary(_prim, method=False, space="special", numbers="one")
function(xlog1py, method=False, space="special")

_zeta = [make_binary(p, array_function_of(p), True) for p in (ops.zeta, ops.zeta_of_number, ops.zeta_at_number)]


_refuse_zeta: Any = number_check("special_zeta", "one")


@function(method=False, space="special")
def zeta(input: Any, other: Any) -> Any:
    """Hurwitz's zeta function, the sum of ``(other + k)**-input`` over k."""
    if not is_tensor(input):
        _refuse_zeta(input, other)
    return _zeta[0 if is_tensor(input) and is_tensor(other) else 2 if is_tensor(input) else 1](input, other)


@function(method=False, space="special")
def ndtr(input: Any) -> Any:
    """The normal distribution function.

    >>> import bibun as torch
    >>> torch.special.ndtr(torch.tensor([0.0, 1.0]))
    tensor([0.5000, 0.8413])
    """
    x = tensor_argument(input, "ndtr") * -(0.5**0.5)
    return apply(ops.erfc, (x,)) * 0.5
