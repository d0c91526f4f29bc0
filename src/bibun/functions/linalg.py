"""Linear algebra: ``torch.linalg`` and the older names beside it.

In go batches of matrices (the last two dimensions); out come tensors, or named tuples of factors. Errors say which matrix
of a batch is at fault.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes, return_types
from ..autograd import dispatch
from ..autograd.dispatch import apply, wrap
from ..errors import LinAlgError, normalize_dim, normalize_dims
from ..ops import linalg as ops
from ..ops.primitive import REGISTRY
from .reduction import as_dtype, vector_norm
from .register import FUNCTIONS, METHODS, by_example, function
from .shape import _last_two, only_tensor, sizes_of, values_of

# Arguments


def floating(x: Any, name: str, low: bool = False) -> Any:
    """``x``, of a floating or complex dtype that LAPACK knows."""
    only_tensor(x, name.replace("linalg.", "linalg_"), "A")
    kind = x._a.dtype.kind
    if kind in "biu":
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype.scalar_name}")
    if not low and (kind == "V" or x._a.dtype.itemsize < 4):
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {x.dtype.scalar_name}")
    return x


def matrices(x: Any, name: str, low: bool = False, letter: str = "A") -> Any:
    """``x``, a batch of matrices."""
    floating(x, name, low)
    if x._a.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {letter} must have at least 2 dimensions.")
    return x


def square(x: Any, name: str, low: bool = False) -> Any:
    """``x``, a batch of square matrices."""
    matrices(x, name, low)
    m, n = x._a.shape[-2:]
    if m != n:
        raise RuntimeError(f"{name}: A must be batches of square matrices, but they are {m} by {n} matrices")
    return x


def _raise_info(info: Any, words: Any) -> None:
    """Raise where an info array tells of failure; ``words(number)`` says what failed."""
    a = values_of(info)
    if a is None or not a.any():
        return
    if not a.ndim:
        raise LinAlgError(words[0] + words[1](int(a)))
    place = int(np.flatnonzero(a.reshape(-1))[0])
    raise LinAlgError(f"{words[0]}(Batch element {place}): {words[1](int(a.reshape(-1)[place]))}")


def _plain(name: str, **options: Any) -> Any:
    return function(name=name, method=False, space="linalg", **options)


def mt(x: Any) -> Any:
    """The last two dimensions exchanged."""
    return _last_two(x, "mT")


def mh(x: Any) -> Any:
    """The conjugate transpose of the last two dimensions."""
    made = _last_two(x, "mH")
    return made.conj() if made._a.dtype.kind == "c" else made


# Inverses and determinants


@_plain("inv_ex")
def inv_ex(A: Any, *, check_errors: bool = False) -> Any:
    """(inverse, info) of square matrices; nothing raises where one is singular, unless asked to."""
    inverse, info = apply(ops.inv, (square(A, "linalg.inv"),))
    if check_errors:
        _check_inverse(info)
    return return_types.linalg_inv_ex((inverse, info))


def _check_inverse(info: Any) -> None:
    _raise_info(
        info,
        (
            "linalg.inv: ",
            lambda k: (
                f"The diagonal element {k} is zero, the inversion could not be completed because the input "
                "matrix is singular."
            ),
        ),
    )


def inv(A: Any) -> Any:
    """The inverse of square matrices.

    >>> import bibun as torch
    >>> torch.linalg.inv(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    inverse, info = apply(ops.inv, (square(A, "linalg.inv"),))
    _check_inverse(info)
    return inverse


_plain("inv")(inv)


@function()
def inverse(input: Any) -> Any:
    """`torch.linalg.inv`."""
    return inv(input)


def det(A: Any) -> Any:
    """The determinant of square matrices."""
    return apply(ops.det, (square(A, "linalg.det"),))


_plain("det")(det)


@function(name="det", out=False)
def det_(input: Any) -> Any:
    """`torch.linalg.det`."""
    return det(input)


@_plain("slogdet")
def linalg_slogdet(A: Any) -> Any:
    """(sign, log of the magnitude) of determinants."""
    return return_types.linalg_slogdet(apply(ops.slogdet, (square(A, "linalg.slogdet"),)))


@function(out=False)
def slogdet(input: Any) -> Any:
    """`torch.linalg.slogdet`."""
    return return_types.slogdet(apply(ops.slogdet, (square(input, "linalg.slogdet"),)))


@function(out=False)
def logdet(input: Any) -> Any:
    """The logarithm of determinants: NaN where one is negative."""
    sign, log = apply(ops.slogdet, (square(input, "logdet"),))
    if sign._a.dtype.kind == "c":
        return METHODS["log"](sign) + log
    nan = wrap(np.full((), math.nan, log._a.dtype))
    return apply(REGISTRY["where"], (sign.detach() == -1, nan, log))


# Solutions


def _is_vector(a: Any, b: Any) -> bool:
    """PyTorch's rule: B is one vector, or a batch of them that fits A's batch exactly."""
    return b.ndim == 1 or a.ndim - 1 == b.ndim and b.shape == a.shape[:-1]


def _solved(A: Any, B: Any, left: bool, name: str) -> Any:
    square(A, name)
    floating(B, name)
    a, b = A._a, B._a
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type {A.dtype.scalar_name} and B of type "
            f"{B.dtype.scalar_name} instead"
        )
    vector = _is_vector(a, b)
    columns = B.unsqueeze(-1) if vector else B
    if vector and not left:
        raise RuntimeError(
            f"{name}: Vector broadcasting of the left hand side is not supported for left=False. In this case linalg.solve is "
            "equivalent to B / A.squeeze(-1)"
        )
    n = a.shape[-1]
    m = columns._a.shape[-2 if left else -1]
    if n != m:
        equation = "AX = B" if left else "XA = B"
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {equation} ({n}x{n} and {columns._a.shape[-2]}x"
            f"{columns._a.shape[-1]})"
        )
    try:
        np.broadcast_shapes(a.shape[:-2], columns._a.shape[:-2])
    except ValueError:
        raise RuntimeError(
            f"{name}: The batch dimensions of A ({list(a.shape[:-2])}) and B ({list(columns._a.shape[:-2])}) must be "
            "broadcastable"
        ) from None
    if left:
        made, info = apply(ops.solve, (A, columns))
    else:
        made, info = apply(ops.solve, (mt(A), mt(columns)))
        made = mt(made)
    return (made.squeeze(-1) if vector else made), info


def _check_solution(info: Any) -> None:
    _raise_info(info, ("torch.linalg.solve: ", lambda k: "The solver failed because the input matrix is singular."))


def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """The solution X of ``A @ X = B`` (or, with ``left=False``, of ``X @ A = B``).

    >>> import bibun as torch
    >>> torch.linalg.solve(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([2.0, 2.0]))
    tensor([1.0000, 0.5000])
    """
    made, info = _solved(A, B, left, "linalg.solve")
    _check_solution(info)
    return made


_plain("solve")(solve)


@_plain("solve_ex")
def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> Any:
    """(solution, info): nothing raises where a matrix is singular, unless asked to."""
    made, info = _solved(A, B, left, "linalg.solve")
    if check_errors:
        _check_solution(info)
    return return_types.linalg_solve_ex((made, info))


@_plain("solve_triangular")
def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """The solution X of ``A @ X = B`` (or ``X @ A = B``) for triangular ``A``; its other triangle is not looked at."""
    name = "linalg.solve_triangular"
    square(A, name)
    matrices(B, name, letter="B")
    n, m = A._a.shape[-1], B._a.shape[-2 if left else -1]
    if n != m:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} ({n}x{n} and "
            f"{B._a.shape[-2]}x{B._a.shape[-1]})"
        )
    if left:
        return apply(ops.solve_triangular, (A, B), (bool(upper), bool(unitriangular)))
    return mt(apply(ops.solve_triangular, (mt(A), mt(B)), (not upper, bool(unitriangular))))


@function()
def triangular_solve(
    input: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """(solution of ``A @ X = input``, A) for triangular ``A``: the old form of `torch.linalg.solve_triangular`."""
    name = "triangular_solve"
    for x in (input, A):
        if only_tensor(x, name)._a.ndim < 2:
            raise RuntimeError(
                f"torch.triangular_solve: Expected {'b' if x is input else 'A'} to have at least 2 dimensions, but it has "
                f"{x._a.ndim} dimensions instead"
            )
    square(A, name)
    if A._a.shape[-1] != input._a.shape[-2]:
        raise RuntimeError(
            f"Incompatible matrix sizes for triangular_solve: each A matrix is {A._a.shape[-1]} by {A._a.shape[-1]} but each b matrix "
            f"is {input._a.shape[-2]} by {input._a.shape[-1]}"
        )
    turned = mt(A) if transpose else A
    made = apply(ops.solve_triangular, (turned, input), (upper != transpose, bool(unitriangular)))
    lead = np.broadcast_shapes(A._a.shape[:-2], input._a.shape[:-2])
    return return_types.triangular_solve((made, A.expand((*lead, *A._a.shape[-2:])).clone()))


# Rank, pseudo-inverse, conditions


def _tolerance(x: Any, d: Any, atol: Any, rtol: Any, name: str) -> tuple[Any, Any]:
    """(absolute, relative) tolerances as arrays: the relative one is eps·max(m, n) unless something is given."""
    for value, word in ((atol, "atol"), (rtol, "rtol")):
        if isinstance(value, dispatch.Tensor) and value._a.dtype.kind == "c":
            raise RuntimeError(f"torch.linalg.{name}: {word} tensor of complex type is not supported.")
    a = np.asarray(atol._a if isinstance(atol, dispatch.Tensor) else 0.0 if atol is None else atol, d)
    if rtol is None:
        usual = np.finfo(d).eps * max(x._a.shape[-2:])
        r = np.where(a > 0, np.zeros((), d), np.asarray(usual, d)) if atol is not None else np.asarray(usual, d)
    else:
        r = np.asarray(rtol._a if isinstance(rtol, dispatch.Tensor) else rtol, d)
    return a, r


@_plain("matrix_rank")
@by_example
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """How many singular values (or, of Hermitian matrices, eigenvalues) exceed max(atol, rtol · the largest)."""
    name = "matrix_rank"
    if isinstance(tol, bool):
        tol, hermitian = None, tol
    (square if hermitian else matrices)(A, "linalg.matrix_rank")
    if tol is not None:
        atol, rtol = tol, 0.0
    x = A.detach()
    s = np.abs(np.linalg.eigvalsh(x._a)) if hermitian else np.linalg.svd(x._a, compute_uv=False)
    if not s.shape[-1]:
        return wrap(np.zeros(s.shape[:-1], np.int64))
    top = s.max(-1)
    a, r = _tolerance(x, top.dtype, atol, rtol, name)
    cut = np.maximum(a, r * top)
    return wrap(np.asarray((s > cut[..., None]).sum(-1), np.int64))


@_plain("pinv")
def pinv(A: Any, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """The Moore–Penrose pseudo-inverse; singular values up to max(atol, rtol · the largest) count as zero."""
    if isinstance(rcond, bool):
        rcond, hermitian = None, rcond
    (square if hermitian else matrices)(A, "linalg.pinv")
    if rcond is not None:
        rtol = rcond
    if not A._a.size:
        lead, (m, n) = A._a.shape[:-2], A._a.shape[-2:]
        return A.new_zeros((*lead, n, m)) + A.sum() * 0 if A.requires_grad else A.new_zeros((*lead, n, m))
    a, r = _tolerance(A, A._a.real.dtype, atol, rtol, "pinv")
    return apply(ops.pinv, (A,), (a, r, bool(hermitian)))


@function(out=False)
def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """The pseudo-inverse: `torch.linalg.pinv` by its old name."""
    return FUNCTIONS["linalg.pinv"](input, rcond)


# Norms


def matrix_norm(A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None) -> Any:
    """A norm of matrices: ``fro``, ``nuc``, 1 and -1 (column sums), inf and -inf (row sums), 2 and -2 (singular values).

    >>> import bibun as torch
    >>> torch.linalg.matrix_norm(torch.tensor([[3.0, 4.0]]))
    tensor(5.)
    """
    matrices(A, "linalg.matrix_norm", low=True)
    dims = sizes_of((dim,), "linalg_matrix_norm", "dim")
    if len(dims) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    rows, columns = (normalize_dim(d, A._a.ndim) for d in dims)
    if rows == columns:
        raise RuntimeError("linalg.matrix_norm: dims must be different. Got (" + ", ".join(map(str, dims)) + ")")
    if isinstance(ord, str):
        if ord not in ("fro", "nuc"):
            raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
        if ord == "fro":
            return vector_norm(A, 2, dims, keepdim, dtype=dtype)
    elif abs(ord) not in (1, 2, math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord:g} not supported.")
    A = as_dtype(A, dtype)
    if ord == "nuc" or abs(ord) == 2:
        s = apply(ops.svdvals, (METHODS["movedim"](A, (rows, columns), (-2, -1)),))
        made = METHODS["sum"](s, -1) if ord == "nuc" else METHODS["amax" if ord > 0 else "amin"](s, -1)
        if keepdim:
            for d in sorted((rows, columns)):
                made = made.unsqueeze(d)
        return made
    summed, picked = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = vector_norm(A, 1, summed, keepdim)
    if not keepdim and summed < picked:
        picked -= 1
    return METHODS["amax" if ord > 0 else "amin"](sums, picked, keepdim)


_plain("matrix_norm")(matrix_norm)


@_plain("norm")
def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """A vector or matrix norm: by ``ord`` and the number of dimensions.

    >>> import bibun as torch
    >>> torch.linalg.norm(torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    only_tensor(A, "linalg_norm", "A")
    if dim is not None:
        dims = sizes_of((dim,), "linalg_norm", "dim")
        if len(dims) not in (1, 2):
            raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}")
    else:
        dims = None
        if ord is not None and A._a.ndim not in (1, 2):
            raise RuntimeError(
                f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A._a.ndim}D."
            )
    if ord is not None and (dims is not None and len(dims) == 2 or dims is None and A._a.ndim == 2):
        return matrix_norm(A, ord, (0, 1) if dims is None else dims, keepdim, dtype=dtype)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: If ord is a string, the input must be a matrix. Got ord={ord}")
    return vector_norm(A, 2 if ord is None else ord, dims, keepdim, dtype=dtype)


@_plain("cond")
def cond(A: Any, p: Any = None) -> Any:
    """The condition number in a matrix norm (2 unless given): the norm times that of the inverse."""
    matrices(A, "linalg.cond")
    if p is None or p in (2, -2):
        s = apply(ops.svdvals, (A,))
        if not s._a.shape[-1]:
            return A.new_zeros(A._a.shape[:-2], dtype=s.dtype)
        first, last = s[..., 0], s[..., -1]
        return last / first if p == -2 else first / last
    if p not in ("fro", "nuc", 1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    if A._a.shape[-1] != A._a.shape[-2]:
        raise RuntimeError(
            f"linalg.cond(ord={p}): A must be batches of square matrices, but they are {A._a.shape[-2]} by {A._a.shape[-1]} matrices"
        )
    if not A._a.size:
        return A.new_zeros(A._a.shape[:-2]).real
    inverse_, info = apply(ops.inv, (A,))
    made = matrix_norm(A, p) * matrix_norm(inverse_, p)
    bad = values_of(info)
    if bad is not None and bad.any():
        made = apply(REGISTRY["where"], (wrap(np.asarray(bad != 0)), wrap(np.full((), math.inf, made._a.dtype)), made))
    return made


# Powers, exponentials


def matrix_power(A: Any, n: int) -> Any:
    """The ``n``-th power of square matrices; negative powers are those of the inverse."""
    only_tensor(A, "linalg_matrix_power", "A")
    a = A._a
    if a.ndim < 2:
        raise RuntimeError("linalg.matrix_power: The input tensor A must have at least 2 dimensions.")
    if a.shape[-1] != a.shape[-2]:
        raise RuntimeError(
            f"linalg.matrix_power: A must be batches of square matrices, but they are {a.shape[-2]} by {a.shape[-1]} matrices"
        )
    if n == 0:
        return A.clone().copy_(wrap(np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)))
    if n < 0:
        A, n = inv(A), -n
    if n == 1:
        return A.clone() if A._a is a else A
    made, base = None, A
    while True:
        if n & 1:
            made = base if made is None else made @ base
        n >>= 1
        if not n:
            return made
        base = base @ base


_plain("matrix_power")(matrix_power)


@function(name="matrix_power")
def matrix_power_(input: Any, n: int) -> Any:
    """`torch.linalg.matrix_power`."""
    return matrix_power(input, n)


def matrix_exp(A: Any) -> Any:
    """The exponential of square matrices.

    Formula: Higham, "The Scaling and Squaring Method for the Matrix Exponential Revisited" (2005).
    """
    return apply(ops.matrix_exp, (square(A, "linalg.matrix_exp", low=True),))


_plain("matrix_exp", out=False)(matrix_exp)


@function(name="matrix_exp", out=False)
def matrix_exp_(input: Any) -> Any:
    """`torch.linalg.matrix_exp`."""
    return matrix_exp(input)


# Tensors as matrices


@_plain("tensorinv")
def tensorinv(A: Any, ind: int = 2) -> Any:
    """The inverse of a tensor as a linear map between its first ``ind`` dimensions and the others."""
    shape = only_tensor(A, "linalg_tensorinv", "A")._a.shape
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    first, rest = shape[:ind], shape[ind:]
    if math.prod(first) != math.prod(rest):
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got {math.prod(rest)} != "
            f"{math.prod(first)}"
        )
    made, info = apply(ops.inv, (A.reshape(math.prod(rest), -1),))
    if values_of(info) is not None and info._a.any():
        raise LinAlgError("Failed to invert the input tensor, because it is singular.")
    return made.reshape((*rest, *first))


@_plain("tensorsolve")
def tensorsolve(A: Any, B: Any, dims: Any = None) -> Any:
    """The solution X of ``tensordot(A, X, X.ndim) = B``."""
    n = only_tensor(A, "linalg_tensorsolve", "A")._a.ndim
    if dims is not None:
        moved = normalize_dims(list(dims), n)
        A = METHODS["movedim"](A, moved, tuple(range(n - len(moved), n)))
    shape = A._a.shape[B._a.ndim :]
    if math.prod(shape) != math.prod(A._a.shape[: B._a.ndim]):
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), but got "
            f"{math.prod(shape)} != {math.prod(A._a.shape[: B._a.ndim])}"
        )
    return solve(A.reshape(math.prod(shape), -1), METHODS["flatten"](B)).reshape(shape)


@_plain("diagonal", out=False)
def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonal of the last two dimensions."""
    return METHODS["diagonal"](A, offset, dim1, dim2)


@_plain("vander", out=False)
def vander(x: Any, *, N: int | None = None) -> Any:
    """Vandermonde matrices: the rising powers of the elements of the last dimension, in a new last dimension."""
    if only_tensor(x, "linalg_vander", "x")._a.dtype.kind == "b":
        raise RuntimeError("linalg.vander: bool is not supported")
    x = x if x._a.ndim else x.reshape(1)
    n = x._a.shape[-1] if N is None else N
    if n <= 1:
        raise RuntimeError(f"N must be greater than 1. Got {n}.")
    x = x.to(dtypes.int64) if x._a.dtype.kind in "iu" else x
    powers = METHODS["cumprod"](x.unsqueeze(-1).expand((*x._a.shape, n - 1)), -1)
    return FUNCTIONS["cat"]([x.new_ones((*x._a.shape, 1)), powers], -1)


__all__ = ["LinAlgError", "matrix_norm"]
