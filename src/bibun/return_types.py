"""The named tuples of functions with several results: ``torch.return_types``.

Each behaves as PyTorch's: a tuple whose fields have names, made from one sequence, printed with a field on each line.
"""

from __future__ import annotations

import sys
from typing import Any


class _Named(tuple):
    """A tuple with named fields."""

    __slots__ = ()
    fields: tuple[str, ...] = ()

    def __new__(cls, values: Any, unnamed: Any = None) -> Any:
        made = tuple.__new__(cls, values)
        if len(made) != len(cls.fields):
            raise TypeError(
                f"torch.return_types.{cls.__name__}() takes a {len(cls.fields)}-sequence ({len(made)}-sequence given)"
            )
        return made

    def __repr__(self) -> str:
        inner = ",\n".join(f"{name}={value!r}" for name, value in zip(self.fields, self))
        return f"torch.return_types.{type(self).__name__}(\n{inner})"

    def __reduce__(self) -> Any:
        return type(self), (tuple(self),)


def _field(i: int) -> property:
    return property(lambda self: self[i])


def _make(name: str, fields: str) -> Any:
    names = tuple(fields.split())
    body: dict[str, Any] = {
        "__slots__": (),
        "fields": names,
        "__module__": "torch.return_types",
        "__doc__": f"({', '.join(names)})",
    }
    body |= {"n_fields": len(names), "n_sequence_fields": len(names), "n_unnamed_fields": 0}
    body |= {field: _field(i) for i, field in enumerate(names)}
    return type(name, (_Named,), body)


for _names, _fields in (
    ("max min median nanmedian mode kthvalue cummax cummin sort topk", "values indices"),
    ("aminmax", "min max"),
    ("histogram", "hist bin_edges"),
    ("histogramdd", "hist bin_edges"),
    ("frexp", "mantissa exponent"),
    ("slogdet linalg_slogdet", "sign logabsdet"),
    ("qr linalg_qr", "Q R"),
    ("svd", "U S V"),
    ("linalg_svd", "U S Vh"),
    ("linalg_eig", "eigenvalues eigenvectors"),
    ("linalg_eigh", "eigenvalues eigenvectors"),
    ("linalg_cholesky_ex", "L info"),
    ("linalg_inv_ex", "inverse info"),
    ("linalg_lstsq", "solution residuals rank singular_values"),
    ("linalg_lu", "P L U"),
    ("linalg_lu_factor", "LU pivots"),
    ("linalg_lu_factor_ex", "LU pivots info"),
    ("linalg_ldl_factor", "LD pivots"),
    ("linalg_ldl_factor_ex", "LD pivots info"),
    ("linalg_solve_ex", "result info"),
    ("triangular_solve", "solution cloned_coefficient"),
    ("geqrf", "a tau"),
    ("lu_unpack", "P L U"),
    ("unpack_dual", "primal tangent"),
):
    for _name in _names.split():
        setattr(sys.modules[__name__], _name, _make(_name, _fields))

del _names, _fields, _name


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'torch.return_types' has no attribute {name!r}")
