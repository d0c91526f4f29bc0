"""Factorizations of matrices: Cholesky, QR, eigenvalues, singular values, LU, LDL, and what is solved with their factors.

In go batches of matrices (the last two dimensions); out come named tuples of factors, or solutions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import return_types
from ..autograd.dispatch import apply, wrap
from ..ops import linalg as ops
from .linalg import _is_vector, _plain, _raise_info, matrices, mh, mt, square
from .register import FUNCTIONS, METHODS, by_example, function
from .shape import only_tensor, values_of

# Cholesky


def _factor(A: Any, upper: bool, name: str) -> tuple[Any, Any]:
    square(A, name)
    return apply(ops.cholesky, (A,), (bool(upper),))


def _check_factor(info: Any, name: str = "linalg.cholesky") -> None:
    _raise_info(
        info,
        (
            f"{name}: ",
            lambda k: (
                "The factorization could not be completed because the input is not positive-definite (the leading "
                f"minor of order {k} is not positive-definite)."
            ),
        ),
    )


@_plain("cholesky_ex")
def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(factor, info): nothing raises where a matrix is not positive definite, unless asked to."""
    made, info = _factor(A, upper, "linalg.cholesky")
    if check_errors:
        _check_factor(info)
    return return_types.linalg_cholesky_ex((made, info))


@_plain("cholesky")
def linalg_cholesky(A: Any, *, upper: bool = False) -> Any:
    """The lower triangular L with A = L Lᴴ, of symmetric or Hermitian positive definite matrices.

    >>> import bibun as torch
    >>> torch.linalg.cholesky(torch.tensor([[4.0, 0.0], [0.0, 9.0]]))
    tensor([[2., 0.],
            [0., 3.]])
    """
    made, info = _factor(A, upper, "linalg.cholesky")
    _check_factor(info)
    return made


@function()
def cholesky(input: Any, upper: bool = False) -> Any:
    """`torch.linalg.cholesky`."""
    made, info = _factor(input, upper, "cholesky")
    _check_factor(info)
    return made


@function()
def cholesky_solve(input: Any, L: Any, upper: bool = False) -> Any:
    """The solution of ``A @ X = input`` from the Cholesky factor of A."""
    matrices(input, "cholesky_solve")
    square(L, "cholesky_solve")
    if input._a.shape[-2] != L._a.shape[-1]:
        raise RuntimeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {L._a.shape[-1]} by {L._a.shape[-1]} but each b matrix "
            f"is {input._a.shape[-2]} by {input._a.shape[-1]}"
        )
    lower = mh(L) if upper else L
    middle = apply(ops.solve_triangular, (lower, input), (False, False))
    return apply(ops.solve_triangular, (mh(lower), middle), (True, False))


@function()
def cholesky_inverse(input: Any, upper: bool = False) -> Any:
    """The inverse of A from its Cholesky factor."""
    square(input, "cholesky_inverse")
    return cholesky_solve(wrap(np.eye(input._a.shape[-1], dtype=input._a.dtype)).expand(input._a.shape), input, upper)


# QR


def _qr(A: Any, mode: str, name: str) -> Any:
    matrices(A, name)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    return apply(ops.qr, (A,), (mode,))


@_plain("qr")
def linalg_qr(A: Any, mode: str = "reduced") -> Any:
    """(Q, R): A = Q R with orthonormal columns in Q and R upper triangular."""
    return return_types.linalg_qr(_qr(A, mode, "linalg.qr"))


@function()
def qr(input: Any, some: bool = True) -> Any:
    """`torch.linalg.qr` by its old name."""
    return return_types.qr(_qr(input, "reduced" if some else "complete", "linalg.qr"))


@function()
def geqrf(input: Any) -> Any:
    """LAPACK's form of Q and R: reflections below the diagonal, R above, and the reflections' factors."""
    return return_types.geqrf(apply(ops.geqrf, (matrices(input, "geqrf"),)))


@_plain("householder_product")
def householder_product(A: Any, tau: Any) -> Any:
    """The first columns of a product of reflections I - τ v vᴴ, as `torch.geqrf` gives them."""
    name = "torch.linalg.householder_product"
    if only_tensor(A, name, "A")._a.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    m, n = A._a.shape[-2:]
    if m < n:
        raise RuntimeError(f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if tau._a.ndim < 1 or n < tau._a.shape[-1]:
        raise RuntimeError(f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    if A._a.ndim - tau._a.ndim != 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal to {tau._a.ndim} and input.ndim is "
            f"equal to {A._a.ndim}"
        )
    return _reflections(A, tau, n)


def _reflections(A: Any, tau: Any, columns: int) -> Any:
    """The first columns of the product, one reflection after another from the last."""
    m = A._a.shape[-2]
    lead = A._a.shape[:-2]
    out = wrap(np.broadcast_to(np.eye(m, columns, dtype=A._a.dtype), (*lead, m, columns)).copy())
    if not tau._a.shape[-1]:  # the identity, and yet in the graph
        return out + METHODS["tril"](A, -m) if columns == A._a.shape[-1] else out
    below = METHODS["tril"](A, -1)
    for k in range(tau._a.shape[-1] - 1, -1, -1):
        unit = np.zeros(m, A._a.dtype)
        unit[k] = 1
        v = below[..., k] + wrap(unit)
        turned = v.conj() if v._a.dtype.kind == "c" else v
        out = out - (tau[..., k, None] * v)[..., :, None] * (turned.unsqueeze(-2) @ out)
    return out


@function()
def orgqr(input: Any, tau: Any) -> Any:
    """`torch.linalg.householder_product`."""
    return FUNCTIONS["linalg.householder_product"](input, tau)


@function()
def ormqr(input: Any, tau: Any, other: Any, left: bool = True, transpose: bool = False) -> Any:
    """A matrix times the full product of reflections that `torch.geqrf` gives, from the left or the right."""
    side = -2 if left else -1
    if other._a.shape[side] < tau._a.shape[-1]:
        raise RuntimeError(f"torch.ormqr: other.shape[{side}] must be greater than or equal to tau.shape[-1]")
    if other._a.shape[side] != input._a.shape[-2]:
        raise RuntimeError(f"torch.ormqr: other.shape[{side}] must be equal to input.shape[-2]")
    q = _reflections(input, tau, input._a.shape[-2])
    if transpose:
        q = mh(q)
    return q @ other if left else other @ q


# Eigenvalues and singular values


def _triangle(UPLO: str, name: str) -> bool:
    if not UPLO or UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return UPLO.upper() == "L"


@_plain("eigh")
def eigh(A: Any, UPLO: str = "L") -> Any:
    """(eigenvalues ascending, eigenvectors as columns) of symmetric or Hermitian matrices; one triangle is read."""
    return return_types.linalg_eigh(apply(ops.eigh, (square(A, "linalg.eigh"),), (_triangle(UPLO, "eigh"),)))


@_plain("eigvalsh")
def eigvalsh(A: Any, UPLO: str = "L") -> Any:
    """The eigenvalues of symmetric or Hermitian matrices, ascending."""
    return apply(ops.eigvalsh, (square(A, "linalg.eigvalsh"),), (_triangle(UPLO, "eigvalsh"),))


@_plain("eig")
def eig(A: Any) -> Any:
    """(eigenvalues, eigenvectors as columns) of square matrices: complex."""
    square(A, "linalg.eig")
    a = values_of(A)
    if a is not None and not np.isfinite(a).all():
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    return return_types.linalg_eig(apply(ops.eig, (A,)))


@_plain("eigvals")
def eigvals(A: Any) -> Any:
    """The eigenvalues of square matrices: complex."""
    square(A, "linalg.eigvals")
    a = values_of(A)
    if a is not None and not np.isfinite(a).all():
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    return apply(ops.eig, (A,))[0]


@_plain("svd")
def linalg_svd(A: Any, full_matrices: bool = True, *, driver: Any = None) -> Any:
    """(U, S, Vᴴ): A = U diag(S) Vᴴ with orthonormal U and V and singular values descending."""
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )
    return return_types.linalg_svd(apply(ops.svd, (matrices(A, "linalg.svd"),), (bool(full_matrices),)))


@_plain("svdvals")
def svdvals(A: Any, *, driver: Any = None) -> Any:
    """The singular values, descending."""
    return apply(ops.svdvals, (matrices(A, "linalg.svd"),))


@function()
def svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V): `torch.linalg.svd` in its old form."""
    matrices(input, "linalg.svd")
    if not compute_uv:
        s = apply(ops.svdvals, (input,))
        lead, (m, n) = input._a.shape[:-2], input._a.shape[-2:]
        return return_types.svd((input.new_zeros((*lead, m, m)), s, input.new_zeros((*lead, n, n))))
    u, s, vh = apply(ops.svd, (input,), (not some,))
    return return_types.svd((u, s, mh(vh)))


# LU


@_plain("lu_factor_ex")
def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """(packed L and U, pivots, info) of the LU factorization with row exchanges."""
    matrices(A, "torch.lu_factor")
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    made = apply(ops.lu_factor, (A,))
    if check_errors:
        _check_lu(made[2])
    return return_types.linalg_lu_factor_ex(made)


def _check_lu(info: Any) -> None:
    a = values_of(info)
    if a is not None and a.any():
        k = int(a.reshape(-1)[np.flatnonzero(a.reshape(-1))[0]])
        raise RuntimeError(
            f"torch.linalg.lu_factor: U[{k},{k}] is zero and using it on lu_solve would result in a division by zero. If you still want "
            "to perform the factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
        )


@_plain("lu_factor")
def lu_factor(A: Any, *, pivot: bool = True) -> Any:
    """(packed L and U, pivots) of the LU factorization with row exchanges."""
    made = lu_factor_ex(A, pivot=pivot)
    _check_lu(made[2])
    return return_types.linalg_lu_factor(made[:2])


@_plain("lu")
def linalg_lu(A: Any, *, pivot: bool = True) -> Any:
    """(P, L, U): A = P L U."""
    matrices(A, "linalg.lu")
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    return return_types.linalg_lu(apply(ops.lu, (A,)))


@function()
def lu(input: Any, pivot: bool = True, get_infos: bool = False) -> Any:
    """(packed L and U, pivots): the old form of `torch.linalg.lu_factor`."""
    made = lu_factor_ex(input, pivot=pivot)
    if get_infos:
        return made[0], made[1], made[2]
    _check_lu(made[2])
    return made[0], made[1]


def _unpacked(LU: Any, pivots: Any) -> tuple[Any, Any, Any]:
    m, n = LU._a.shape[-2:]
    k = min(m, n)
    p = apply(ops.permutation, (pivots,), (m,)).to(LU.dtype)
    lower = METHODS["tril"](LU[..., :k], -1) + wrap(np.eye(m, k, dtype=LU._a.dtype))
    return p, lower, METHODS["triu"](LU[..., :k, :])


@function(method=False)
def lu_unpack(LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """(P, L, U) from packed factors and pivots."""
    if LU_pivots._a.dtype != np.int32:
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\nNote: this function is intended to "
            "be used with the output produced by torch.linalg.lu_factor"
        )
    empty = LU_data.new_zeros((0,))
    p, lower, upper = _unpacked(LU_data, LU_pivots)
    if not unpack_data:
        lower, upper = empty, empty
    return return_types.lu_unpack((p if unpack_pivots else empty, lower, upper))


def _lu_solved(LU: Any, pivots: Any, B: Any, left: bool, adjoint: bool) -> Any:
    p, lower, upper = _unpacked(LU, pivots)
    if not left:  # X A = B is Aᴴ Xᴴ = Bᴴ
        return mh(_lu_solved(LU, pivots, mh(B), True, not adjoint))
    if adjoint:  # Uᴴ Lᴴ Pᴴ X = B
        x = apply(ops.solve_triangular, (mh(upper), B), (False, False))
        return p @ apply(ops.solve_triangular, (mh(lower), x), (True, True))
    x = apply(ops.solve_triangular, (lower, mt(p) @ B), (False, True))
    return apply(ops.solve_triangular, (upper, x), (True, False))


@_plain("lu_solve")
def linalg_lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """The solution of ``A @ X = B`` from the factors of A; of ``X @ A = B``, or with the adjoint of A, where asked."""
    square(LU, "linalg.lu_solve")
    matrices(B, "linalg.lu_solve", letter="B")
    if pivots._a.dtype != np.int32:
        raise RuntimeError("linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32.")
    n, m = LU._a.shape[-1], B._a.shape[-2 if left else -1]
    if n != m:
        raise RuntimeError(
            f"linalg.lu_solve: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} ({n}x{n} and "
            f"{B._a.shape[-2]}x{B._a.shape[-1]})"
        )
    return _lu_solved(LU, pivots, B, left, adjoint)


@function()
def lu_solve(input: Any, LU_data: Any, LU_pivots: Any) -> Any:
    """`torch.linalg.lu_solve` by its old name."""
    return _lu_solved(LU_data, LU_pivots, input, True, False)


# Least squares


@_plain("lstsq")
def lstsq(A: Any, B: Any, rcond: Any = None, *, driver: str | None = None) -> Any:
    """(solution, residuals, rank, singular values) of least squares problems: X with the least ‖A X - B‖, itself least."""
    matrices(A, "torch.linalg.lstsq")
    if only_tensor(B, "linalg_lstsq", "B")._a.ndim < 1:
        raise RuntimeError("torch.linalg.lstsq: other must have at least 1 dimension.")
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError("torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    driver = driver or "gelsy"
    a, b = A._a, B._a
    vector = _is_vector(a, b) and a.ndim - 1 == b.ndim
    columns = B.unsqueeze(-1) if vector else B
    if a.shape[-2] != columns._a.shape[-2]:
        raise RuntimeError(
            "torch.linalg.lstsq: input.size(-2) should match other.size(-2)"
            if not vector
            else "torch.linalg.lstsq: input.size(-2) should match other.size(-1)"
        )
    if a.dtype != b.dtype:
        raise RuntimeError(
            "torch.linalg.lstsq: Expected input and other to have the same dtype, but got input's dtype "
            f"{A.dtype.scalar_name} and other's dtype {B.dtype.scalar_name}"
        )
    m, n = a.shape[-2:]
    cut = np.finfo(a.dtype).eps * max(m, n) if rcond is None else float(rcond)
    solution = FUNCTIONS["linalg.pinv"](A, rtol=cut) @ columns
    s = FUNCTIONS["linalg.svdvals"](A.detach())
    rank = (s > cut * s.amax(-1, keepdim=True)).sum(-1) if min(m, n) else s.sum(-1).long()
    residuals = A.new_zeros((0,)).real if a.dtype.kind == "c" else A.new_zeros((0,))
    ranks = values_of(rank)  # (inside vmap they cannot be looked at)
    if m > n and driver != "gelsy" and (ranks is None or (ranks == n).all()):
        away = METHODS["matmul"](A, solution) - columns
        residuals = METHODS["sum"](METHODS["abs"](away) ** 2, -2)
    empty = wrap(np.zeros(0, np.int64))
    return return_types.linalg_lstsq(
        (
            (solution.squeeze(-1) if vector else solution),
            residuals,
            empty if driver == "gels" else rank,
            s if driver in ("gelsd", "gelss") else wrap(np.zeros(0, a.real.dtype)),
        )
    )


# LDL


def _scipy(name: str) -> Any:
    from ..errors import require

    return require("scipy.linalg", "all", f"torch.linalg.{name}")


@_plain("ldl_factor_ex")
@by_example
def ldl_factor_ex(A: Any, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """(packed L and D, pivots, info) of A = L D Lᵀ (or Lᴴ), for symmetric or Hermitian matrices, definite or not."""
    square(A, "torch.linalg.ldl_factor_ex")
    a = A._a
    (routine,) = _scipy("ldl_factor").get_lapack_funcs(
        ("hetrf",) if hermitian and a.dtype.kind == "c" else ("sytrf",), (a,)
    )
    out, pivots, info = np.empty_like(a), np.empty(a.shape[:-1], np.int32), np.zeros(a.shape[:-2], np.int32)
    n = a.shape[-1]
    if a.size:
        for i, m in enumerate(a.reshape(-1, n, n)):
            factored, at, code = routine(m, lower=1)
            out.reshape(-1, n, n)[i] = np.tril(factored)
            pivots.reshape(-1, n)[i] = at
            info.reshape(-1)[i] = code
    if check_errors and info.any():
        raise RuntimeError(
            "torch.linalg.ldl_factor_ex: the factorization could not be completed: the matrix is singular"
        )
    return return_types.linalg_ldl_factor_ex((wrap(out), wrap(pivots), wrap(info)))


@_plain("ldl_factor")
@by_example
def ldl_factor(A: Any, *, hermitian: bool = False) -> Any:
    """(packed L and D, pivots) of A = L D Lᵀ (or Lᴴ)."""
    made = FUNCTIONS["linalg.ldl_factor_ex"](A, hermitian=hermitian)
    if made[2]._a.any():
        raise RuntimeError(
            "torch.linalg.ldl_factor_ex: the factorization could not be completed: the matrix is singular"
        )
    return return_types.linalg_ldl_factor(made[:2])


@_plain("ldl_solve")
@by_example
def ldl_solve(LD: Any, pivots: Any, B: Any, *, hermitian: bool = False) -> Any:
    """The solution of ``A @ X = B`` from the factors of `torch.linalg.ldl_factor`."""
    square(LD, "torch.linalg.ldl_solve")
    a = LD._a
    lead = np.broadcast_shapes(a.shape[:-2], B._a.shape[:-2])
    n, k = B._a.shape[-2:]
    count = math.prod(lead)
    factors = np.broadcast_to(a, (*lead, n, n)).reshape(count, n, n)
    at = np.broadcast_to(pivots._a, (*lead, n)).reshape(count, n)
    right = np.broadcast_to(B._a, (*lead, n, k)).reshape(count, n, k)
    out = np.empty(right.shape, a.dtype)
    for i in range(len(factors)):
        out[i] = _ldl_substitute(factors[i], at[i], right[i], hermitian and a.dtype.kind == "c")
    return wrap(out.reshape((*lead, n, k)))


def _ldl_substitute(ld: Any, pivots: Any, b: Any, hermitian: bool) -> Any:
    """Solve with the lower factors that LAPACK's sytrf (or hetrf) packs, 2 × 2 blocks and exchanges included."""
    x, n = np.array(b), len(ld)
    k = 0
    steps = []
    while k < n:  # P₁ L₁ P₂ L₂ … D: forward
        if pivots[k] > 0:
            p = pivots[k] - 1
            if p != k:
                x[[k, p]] = x[[p, k]]
            x[k + 1 :] -= np.outer(ld[k + 1 :, k], x[k])
            x[k] = x[k] / (ld[k, k].real if hermitian else ld[k, k])
            steps.append((k, 1, p))
            k += 1
        else:
            p = -pivots[k] - 1
            if p != k + 1:
                x[[k + 1, p]] = x[[p, k + 1]]
            x[k + 2 :] -= ld[k + 2 :, k : k + 2] @ x[k : k + 2]
            e = ld[k + 1, k]
            block = np.array([[ld[k, k], e.conj() if hermitian else e], [e, ld[k + 1, k + 1]]])
            x[k : k + 2] = np.linalg.solve(block, x[k : k + 2])
            steps.append((k, 2, p))
            k += 2
    for k, size, p in reversed(steps):  # … L₂ᵀ P₂ L₁ᵀ P₁: backward
        below = ld[k + size :, k : k + size]
        x[k : k + size] -= (below.conj() if hermitian else below).T @ x[k + size :]
        last = k + size - 1
        if p != last:
            x[[last, p]] = x[[p, last]]
    return x


# Low rank


def _basis(A: Any, q: int, niter: int) -> Any:
    """Orthonormal columns that span about what A spans.

    Formula: Halko, Martinsson and Tropp, "Finding Structure with Randomness" (2011), algorithm 4.4.
    """
    start = FUNCTIONS["randn"](A._a.shape[-1], q, dtype=A.dtype)
    q_ = apply(ops.qr, (A @ start,), ("reduced",))[0]
    for _ in range(niter):
        q_ = apply(ops.qr, (mh(A) @ q_,), ("reduced",))[0]
        q_ = apply(ops.qr, (A @ q_,), ("reduced",))[0]
    return q_


@function(method=False, out=False)
def svd_lowrank(A: Any, q: int = 6, niter: int = 2, M: Any = None) -> Any:
    """(U, S, V) of a matrix of rank about ``q``, from a random sketch of it (less ``M``, where given)."""
    if M is not None:
        A = A - M.expand(A._a.shape)
    m, n = A._a.shape[-2:]
    if m < n:
        A = mh(A)
    basis = _basis(A, 6 if q is None else q, niter)
    u, s, vh = apply(ops.svd, (mh(basis) @ A,), (False,))
    u, v = basis @ u, mh(vh)
    return (v, s, u) if m < n else (u, s, v)


@function(method=False, out=False)
def pca_lowrank(A: Any, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """(U, S, V) of the principal components of a matrix's rows, from a random sketch."""
    m, n = A._a.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - METHODS["mean"](A, -2, True) if center else A, q, niter)


@function(method=False, out=False)
def lobpcg(
    A: Any,
    k: int | None = None,
    B: Any = None,
    X: Any = None,
    n: int | None = None,
    iK: Any = None,
    niter: int | None = None,
    tol: float | None = None,
    largest: bool | None = None,
    method: str | None = None,
    tracker: Any = None,
    ortho_iparams: Any = None,
    ortho_fparams: Any = None,
    ortho_bparams: Any = None,
) -> tuple[Any, Any]:
    """The ``k`` largest or smallest (eigenvalues, eigenvectors) of ``A x = λ B x``, differentiable in ``A`` and ``B``.

    The pairs are computed directly, to the dtype's precision, and not by iterations: the first guess ``X`` only says how
    many there are where ``k`` is not given, and what steers iterations (``iK``, ``niter``, ``tol``, ``method``,
    ``ortho_*``) changes nothing.

    Args:
        A: (..., m, m), symmetric or Hermitian. B: of that shape, positive definite; None is the identity.
        k: how many pairs, 1 unless ``X`` (..., m, n) is given; ``m`` must be three times that or more.
        largest: whether the largest eigenvalues are meant (the default), in falling order; else the smallest, rising.

    Raises:
        AssertionError: where shapes do not fit.
        ValueError: where ``m`` is too small for so many pairs.
        NotImplementedError: where a ``tracker`` is given, as there are no iterations to follow.

    >>> import bibun as torch
    >>> torch.lobpcg(torch.diag(torch.tensor([1.0, 4.0, 9.0, 3.0, 2.0, 5.0])), k=2)[0]
    tensor([9., 5.])
    """
    shape = only_tensor(A, "lobpcg")._a.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise AssertionError(f"A must be square, got shape {A.shape}")
    m = shape[-1]
    if B is not None and B._a.shape != shape:
        raise AssertionError(f"A and B must have same shape, got {A.shape} vs {B.shape}")
    if iK is not None and iK._a.shape != shape:
        raise AssertionError(f"A and iK must have same shape, got {A.shape} vs {iK.shape}")
    if X is not None and (X._a.ndim < 2 or X._a.shape[-2] != m):
        raise AssertionError(f"X shape mismatch: got {X.shape}, expected {(m, n or k or 1)}")
    if k is None:
        k = 1 if X is None else X._a.shape[-1]
    n = X._a.shape[-1] if X is not None else k if n is None else n
    if m < 3 * n:
        raise ValueError(
            f"LOBPCG algorithm is not applicable when the number of A rows (={m}) is smaller than 3 x the number of requested "
            f"eigenpairs (={n})"
        )
    k = min(k, n)
    if k < 1:
        raise ValueError(f"lobpcg: expected at least one pair to be asked for, but k is {k}")
    if tracker is not None:
        raise NotImplementedError("lobpcg: eigenpairs are computed directly, there are no iterations for a tracker to follow")
    A = (A + mh(A)) / 2
    if B is not None:  # x = L⁻ᴴ y turns the problem into one without B, where B = L Lᴴ
        lower = linalg_cholesky((B + mh(B)) / 2)
        half = apply(ops.solve_triangular, (lower, A), (False, False))
        A = apply(ops.solve_triangular, (lower, mh(half)), (False, False))
        A = (A + mh(A)) / 2
    values, vectors = apply(ops.eigh_some, (A,), (int(k), largest is None or bool(largest)))
    return values, vectors if B is None else apply(ops.solve_triangular, (mh(lower), vectors), (True, False))
