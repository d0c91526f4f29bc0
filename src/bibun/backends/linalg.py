"""Array functions of linear algebra: factorizations, inverses, solutions.

In go batches of matrices (the last two dimensions) of float32, float64 or complex numbers; out come new arrays. NumPy's
LAPACK does what it can; pivoted LU factors, triangular systems, products of reflections and exponentials are here. Nothing
raises where a matrix is singular: an ``info`` array says where it went wrong, as LAPACK's does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "cholesky",
    "cofactor",
    "det",
    "eig",
    "eigh",
    "householder_product",
    "inv",
    "lu_factor",
    "matrix_exp",
    "permutation",
    "pinv",
    "qr",
    "qr_raw",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
]

_swap = np.matrix_transpose if hasattr(np, "matrix_transpose") else lambda x: np.swapaxes(x, -1, -2)


def _flat(x: Any) -> Any:
    return x.reshape((-1, *x.shape[-2:]))


# Pivoted LU


def _lu_one(a: Any, pivots: Any) -> int:
    """Factor one matrix in place, by blocks of columns; gives LAPACK's info.

    Formula: Golub and Van Loan, "Matrix Computations", algorithm 3.4.1, right-looking.
    """
    m, n = a.shape
    k = min(m, n)
    info, block = 0, 32
    for start in range(0, k, block):
        stop = min(start + block, k)
        for j in range(start, stop):
            column = a[j:, j]  # LAPACK measures complex numbers by |re| + |im|
            p = j + int(
                np.argmax(np.abs(column) if column.dtype.kind != "c" else np.abs(column.real) + np.abs(column.imag))
            )
            pivots[j] = p + 1
            if p != j:
                a[[j, p]] = a[[p, j]]
            d = a[j, j]
            if d != 0:
                a[j + 1 :, j] /= d
                if j + 1 < stop:
                    a[j + 1 :, j + 1 : stop] -= np.outer(a[j + 1 :, j], a[j, j + 1 : stop])
            elif not info:
                info = j + 1
        if stop < n:
            a[start:stop, stop:] = solve_triangular(a[start:stop, start:stop], a[start:stop, stop:], False, True)
            if stop < m:
                a[stop:, stop:] -= a[stop:, start:stop] @ a[start:stop, stop:]
    return info


def lu_factor(x: Any) -> tuple[Any, Any, Any]:
    """(L and U in one array, pivots counted from 1, info) of the factorization with row exchanges."""
    out = np.array(x, order="C")
    m, n = x.shape[-2:]
    pivots = np.zeros((*x.shape[:-2], min(m, n)), np.int32)
    info = np.zeros(x.shape[:-2], np.int32)
    flat, rows, infos = (
        _flat(out) if out.size else [],
        pivots.reshape(-1, min(m, n)) if pivots.size else [],
        info.reshape(-1),
    )
    for i, a in enumerate(flat):
        infos[i] = _lu_one(a, rows[i])
    return out, pivots, info


def permutation(pivots: Any, n: int) -> Any:
    """The permutation matrix P of a factorization A = P L U from its pivots."""
    shape = pivots.shape[:-1]
    out = np.zeros((*shape, n, n), bool)
    for place in np.ndindex(shape):
        order = list(range(n))
        for i, p in enumerate(pivots[place].tolist()):
            order[i], order[p - 1] = order[p - 1], order[i]
        out[place][order, range(n)] = True
    return out


# Triangular systems


def solve_triangular(a: Any, b: Any, upper: bool, unitriangular: bool = False) -> Any:
    """The solution of ``a @ x = b`` for triangular ``a``; the other triangle is not looked at. Zeros on the diagonal divide."""
    shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    n = a.shape[-1]
    x = np.array(np.broadcast_to(b, (*shape, *b.shape[-2:])))
    if n and x.size:
        _substitute(a, x, upper, unitriangular)
    return x


def _substitute(a: Any, x: Any, upper: bool, unit: bool) -> None:
    """Solve in place by halves: one half, a product, the other half."""
    n = a.shape[-1]
    if n <= 16:
        for i in range(n - 1, -1, -1) if upper else range(n):
            done = slice(i + 1, n) if upper else slice(0, i)
            row = x[..., i, :]
            if done.stop > done.start:
                row = row - np.matmul(a[..., i : i + 1, done], x[..., done, :])[..., 0, :]
            x[..., i, :] = row if unit else row / a[..., i, i, None]
        return
    h = n // 2
    first, second = (slice(h, n), slice(0, h)) if upper else (slice(0, h), slice(h, n))
    _substitute(a[..., first, first], x[..., first, :], upper, unit)
    x[..., second, :] -= np.matmul(a[..., second, first], x[..., first, :])
    _substitute(a[..., second, second], x[..., second, :], upper, unit)


# Inverses and solutions


def _singular(x: Any) -> Any:
    """LAPACK's info for each matrix."""
    return lu_factor(x)[2]


def _each(x: Any, info: Any, call: Any, out: Any) -> Any:
    """Apply a function matrix by matrix where ``info`` says all is well; leave NaN elsewhere."""
    flat, rows, infos = _flat(x), _flat(out), np.asarray(info).reshape(-1)
    for i, a in enumerate(flat):
        if not infos[i]:
            try:
                rows[i] = call(a, i)
            except np.linalg.LinAlgError:
                infos[i] = a.shape[-1]
    return out


def inv(x: Any) -> tuple[Any, Any]:
    """(inverse, info)."""
    info = np.zeros(x.shape[:-2], np.int32)
    try:
        out = np.linalg.inv(x)
        if np.isfinite(out).all():
            return out, info
    except np.linalg.LinAlgError:
        out = None
    info = np.asarray(_singular(x))
    if out is None:
        out = _each(x, info, lambda a, i: np.linalg.inv(a), np.full(x.shape, np.inf, x.dtype))
    return out, info


def solve(a: Any, b: Any) -> tuple[Any, Any]:
    """(x with ``a @ x = b``, info); ``b`` holds columns."""
    info = np.zeros(a.shape[:-2], np.int32)
    try:
        out = np.linalg.solve(a, b)
        if np.isfinite(out).all():
            return out, info
    except np.linalg.LinAlgError:
        out = None
    info = np.asarray(_singular(a))
    if out is None:
        shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        wide_a, wide_b = np.broadcast_to(a, (*shape, *a.shape[-2:])), np.broadcast_to(b, (*shape, *b.shape[-2:]))
        wide_info = np.broadcast_to(info, shape).copy()
        columns = _flat(wide_b)
        out = _each(
            wide_a, wide_info, lambda m, i: np.linalg.solve(m, columns[i]), np.full(wide_b.shape, np.inf, b.dtype)
        )
    return out, info


def det(x: Any) -> Any:
    """Determinants."""
    return np.asarray(np.linalg.det(x), x.dtype)


def slogdet(x: Any) -> tuple[Any, Any]:
    """(sign, log of the magnitude) of determinants."""
    sign, log = np.linalg.slogdet(x)
    return np.asarray(sign, x.dtype), np.asarray(log, x.real.dtype)


def cofactor(x: Any) -> Any:
    """The gradient of the determinant: conj(det) times the conjugate transpose of the inverse, singular matrices included.

    Where a matrix is singular the product of all singular values but one stands for det / value:
    for A = U S Vᴴ it is conj(det U · det Vᴴ) · U diag(∏_{j≠i} s_j) Vᴴ.
    """
    u, s, vh = np.linalg.svd(x)
    n = s.shape[-1]
    ones = np.ones((*s.shape[:-1], 1), s.dtype)
    before = np.cumprod(np.concatenate((ones, s[..., :-1]), -1), -1) if n else s
    after = np.cumprod(np.concatenate((ones, s[..., :0:-1]), -1), -1)[..., ::-1] if n else s
    turn = np.conj(np.linalg.det(u) * np.linalg.det(vh))
    return np.asarray((u * (before * after)[..., None, :]) @ vh * np.asarray(turn)[..., None, None], x.dtype)


def pinv(x: Any, atol: Any, rtol: Any, hermitian: bool = False) -> Any:
    """The pseudo-inverse; singular values up to max(``atol``, ``rtol`` · the largest) count as zero."""
    if not x.size:
        return np.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
    if hermitian:
        w, v = np.linalg.eigh(x)
        size = np.abs(w)
        kept = size > np.maximum(atol[..., None], rtol[..., None] * size.max(-1, keepdims=True))
        inverse = np.where(kept, 1 / np.where(w == 0, 1, w), 0).astype(w.dtype)
        return np.asarray(v * inverse[..., None, :] @ _swap(v).conj(), x.dtype)
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    cut = np.maximum(atol[..., None], rtol[..., None] * s.max(-1, keepdims=True))
    inverse = np.where(s > cut, 1 / np.where(s == 0, 1, s), 0).astype(s.dtype)
    return np.asarray(_swap(vh).conj() * inverse[..., None, :] @ _swap(u).conj(), x.dtype)


# Factorizations


def cholesky(x: Any) -> tuple[Any, Any]:
    """(lower factor, info): info is the order of the first minor that is not positive."""
    info = np.zeros(x.shape[:-2], np.int32)
    try:
        return np.linalg.cholesky(x), info
    except np.linalg.LinAlgError:
        pass
    out = np.array(np.tril(x))
    rows, infos = _flat(out), info.reshape(-1)
    for i, a in enumerate(rows):
        try:
            rows[i] = np.linalg.cholesky(a)
        except np.linalg.LinAlgError:
            infos[i] = _first_bad_minor(a)
    return out, info


def _first_bad_minor(a: Any) -> int:
    n = a.shape[-1]
    for k in range(1, n + 1):
        try:
            np.linalg.cholesky(a[:k, :k])
        except np.linalg.LinAlgError:
            return k
    return n


def qr(x: Any, mode: str = "reduced") -> tuple[Any, Any]:
    """(Q, R); with mode ``r`` Q is empty."""
    if mode == "r":
        return np.zeros(0, x.dtype), np.linalg.qr(x, "r")
    q, r = np.linalg.qr(x, mode)
    return q, r


def qr_raw(x: Any) -> tuple[Any, Any]:
    """LAPACK's form of Q and R: reflections below the diagonal, R on and above it, and the reflections' factors."""
    h, tau = np.linalg.qr(x, "raw")
    return np.ascontiguousarray(_swap(h)), tau


def eigh(x: Any, lower: bool = True) -> tuple[Any, Any]:
    """(eigenvalues ascending, eigenvectors) of symmetric or Hermitian matrices, of which one triangle is read."""
    w, v = np.linalg.eigh(x, "L" if lower else "U")
    return w, v


def eig(x: Any) -> tuple[Any, Any]:
    """(eigenvalues, eigenvectors), complex."""
    w, v = np.linalg.eig(x)
    d = np.complex64 if x.dtype in (np.float32, np.complex64) else np.complex128
    return np.asarray(w, d), np.asarray(v, d)


def svd(x: Any, full_matrices: bool = True) -> tuple[Any, Any, Any]:
    """(U, S, Vᴴ)."""
    u, s, vh = np.linalg.svd(x, full_matrices)
    return u, s, vh


def svdvals(x: Any) -> Any:
    """Singular values, descending."""
    return np.linalg.svd(x, compute_uv=False)


def householder_product(x: Any, tau: Any) -> Any:
    """The first columns of the product of reflections I - τ v vᴴ, v below the diagonal of ``x``."""
    m, n = x.shape[-2:]
    out = np.zeros(x.shape, x.dtype)
    for j in range(n):
        out[..., j, j] = 1
    for k in range(tau.shape[-1] - 1, -1, -1):
        v = np.array(x[..., k])
        v[..., :k] = 0
        v[..., k] = 1
        row = np.matmul(v.conj()[..., None, :], out)
        out -= (tau[..., k, None] * v)[..., :, None] * row
    return out


# Exponential

#: Coefficients of the Padé approximant of order 13, and the norm up to which it is exact to double precision.
#: Formula: Higham, "The Scaling and Squaring Method for the Matrix Exponential Revisited" (2005).
_PADE = (
    64764752532480000.0,
    32382376266240000.0,
    7771770303897600.0,
    1187353796428800.0,
    129060195264000.0,
    10559470521600.0,
    670442572800.0,
    33522128640.0,
    1323241920.0,
    40840800.0,
    960960.0,
    16380.0,
    182.0,
    1.0,
)
_THETA = 5.371920351148152


def matrix_exp(x: Any) -> Any:
    """The matrix exponential, by scaling, a Padé approximant and repeated squaring."""
    if not x.size:
        return np.array(x)
    n = x.shape[-1]
    d = x.dtype
    flat = _flat(x).astype(np.complex128 if d.kind == "c" else np.float64)
    out = np.empty_like(flat)
    norms = np.abs(flat).sum(-2).max(-1)
    squarings = np.where(
        np.isfinite(norms), np.maximum(0, np.ceil(np.log2(np.maximum(norms, 1e-300) / _THETA))), 0
    ).astype(int)
    one = np.eye(n)
    for s in np.unique(squarings):
        chosen = squarings == s
        a = flat[chosen] / 2.0**s
        a2 = a @ a
        a4 = a2 @ a2
        a6 = a4 @ a2
        b = _PADE
        u = a @ (a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one)
        v = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * one
        if np.isfinite(u).all() and np.isfinite(v).all():
            r = np.linalg.solve(v - u, v + u)
        else:
            r = np.full_like(u, np.nan)
        for _ in range(int(s)):
            r = r @ r
        out[chosen] = r
    return out.reshape(x.shape).astype(d)
