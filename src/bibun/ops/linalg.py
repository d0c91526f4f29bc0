"""Linear algebra: inverses, solutions, factorizations, with their derivatives.

In: batches of matrices in the last two dimensions. Out: the factors or solutions, and for those that can fail an ``info``
array. The rules are the literature's: Giles, "Collected Matrix Derivative Results for Forward and Reverse Mode Algorithmic
Differentiation" (2008); Murray, "Differentiation of the Cholesky Decomposition" (2016); Golub and Pereyra, "The
Differentiation of Pseudo-Inverses" (1973); Townsend, "Differentiating the Singular Value Decomposition" (2016).
"""

from __future__ import annotations

from typing import Any

from .primitive import primitive
from .products import adjoint, transposed
from .shape import array_dtype, sum_to


def _h(xp: Any, x: Any) -> Any:
    return adjoint(xp, x)


def _column(xp: Any, x: Any) -> Any:
    """Values by row, as a column."""
    return xp.expand_dims(x, x.ndim)


def _row(xp: Any, x: Any) -> Any:
    """Values by column, as a row."""
    return xp.expand_dims(x, x.ndim - 1)


def _eye_like(xp: Any, x: Any) -> Any:
    return xp.eye(x.shape[-1], dtype=x.dtype)


def _diagonal(xp: Any, x: Any) -> Any:
    n = x.ndim
    return xp.diagonal(x, 0, n - 2, n - 1)


def _as_diagonal(xp: Any, x: Any) -> Any:
    n = x.ndim
    return xp.diag_embed(x, 0, n - 1, n)


def fronted(apply: Any, size: int, arrays: Any, dims: Any, *static: Any) -> Any:
    """The batching rule: a batch of matrices is a batch more; what is not batched broadcasts."""
    moved = [a if d is None else a.movedim(d, 0) for a, d in zip(arrays, dims)]
    n = max(a.ndim - (d is not None) for a, d in zip(moved, dims))
    lined = [
        a if d is None or a.ndim == n + 1 else a.reshape((size,) + (1,) * (n + 1 - a.ndim) + tuple(a.shape[1:]))
        for a, d in zip(moved, dims)
    ]
    out = apply(*lined, *static)
    return (out, (0,) * len(out)) if isinstance(out, tuple) else (out, 0)


# Inverses, determinants, solutions


@primitive(outputs="inverse info", nondiff="info", grad="LinalgInvEx")
def inv(xp, x, /):
    """(inverse, info)."""
    return xp.inv(x)


def _inverse_back(xp, g_inverse, inverse):
    back = _h(xp, inverse)
    return -xp.matmul(back, xp.matmul(g_inverse, back))


inv.derivative(x=_inverse_back)
inv.tangent(lambda xp, t_x, inverse: (-xp.matmul(inverse, xp.matmul(t_x, inverse)), None))


@primitive(grad="LinalgDet")
def det(xp, x, /):
    """Determinants."""
    return xp.det(x)


det.derivative(
    x=lambda xp, g, x, x_shape: (
        _column(xp, _column(xp, g)) if x_shape[-1] == 1 else _column(xp, _column(xp, g)) * xp.cofactor(x)
    )
)


@primitive
def cofactor(xp, x, /):
    """The gradient of the determinant: conj(det)·A⁻ᴴ, for singular matrices too."""
    return xp.cofactor(x)


def _cofactor_back(xp, g, x, out):
    # out = conj(det)·N with N the conjugate transpose of the inverse.
    inverse = xp.inv(x)[0]
    n = _h(xp, inverse)
    d = xp.det(x)
    through_det = xp.sum(g.conj() * n, (g.ndim - 2, g.ndim - 1))
    wide = _column(xp, _column(xp, d))
    through_inverse = xp.matmul(n, xp.matmul(_h(xp, g * wide), n))
    return _column(xp, _column(xp, through_det)) * out - through_inverse


cofactor.derivative(x=_cofactor_back)


@primitive(outputs="sign logabsdet", grad="LinalgSlogdet")
def slogdet(xp, x, /):
    """(sign, log of the magnitude) of determinants."""
    return xp.slogdet(x)


def _slogdet_back(xp, g_sign, g_logabsdet, x, sign, x_dtype):
    weight = g_logabsdet
    if x_dtype.kind == "c":
        weight = xp.as_complex(weight) - xp.as_complex(xp.imag(g_sign.conj() * sign)) * 1j
    return _column(xp, _column(xp, weight)) * _h(xp, xp.inv(x)[0])


slogdet.derivative(x=_slogdet_back)


@slogdet.tangent
def _slogdet_tangent(xp, t_x, x, sign, x_dtype):
    inner = xp.matmul(xp.inv(x)[0], t_x)
    w = xp.sum(_diagonal(xp, inner), inner.ndim - 2)
    if x_dtype.kind != "c":
        return xp.zeros_like(sign), w
    return sign * xp.as_complex(xp.imag(w)) * 1j, xp.real(w)


@primitive(outputs="result info", nondiff="info", grad="LinalgSolveEx")
def solve(xp, a, b, /):
    """(x with ``a @ x = b``, info)."""
    return xp.solve(a, b)


def _solve_b(xp, g_result, a, b_shape):
    return sum_to(xp, xp.solve(_h(xp, a), g_result)[0], b_shape)


def _solve_a(xp, g_result, a, result, a_shape):
    return sum_to(xp, -xp.matmul(xp.solve(_h(xp, a), g_result)[0], _h(xp, result)), a_shape)


solve.derivative(a=_solve_a, b=_solve_b)


@solve.tangent
def _solve_tangent(xp, t_a, t_b, a, result):
    right = t_b
    if t_a is not None:
        moved = -xp.matmul(t_a, result)
        right = moved if right is None else right + moved
    return xp.solve(a, right)[0], None


@primitive(grad="LinalgSolveTriangular")
def solve_triangular(xp, a, b, /, upper, unitriangular=False):
    """The solution of ``a @ x = b`` for triangular ``a``."""
    return xp.solve_triangular(a, b, upper, unitriangular)


def _triangle(xp: Any, x: Any, upper: bool, unit: bool) -> Any:
    return xp.triu(x, 1 if unit else 0) if upper else xp.tril(x, -1 if unit else 0)


solve_triangular.derivative(
    a=lambda xp, g, a, out, a_shape, upper, unitriangular: sum_to(
        xp,
        _triangle(
            xp,
            -xp.matmul(xp.solve_triangular(_h(xp, a), g, not upper, unitriangular), _h(xp, out)),
            upper,
            unitriangular,
        ),
        a_shape,
    ),
    b=lambda xp, g, a, b_shape, upper, unitriangular: sum_to(
        xp, xp.solve_triangular(_h(xp, a), g, not upper, unitriangular), b_shape
    ),
)


@primitive(grad="LinalgPinv")
def pinv(xp, x, /, atol, rtol, hermitian=False):
    """The pseudo-inverse, for one rank: the derivative takes it as constant."""
    return xp.pinv(x, atol, rtol, hermitian)


def _pinv_back(xp, g, x, out):
    p, ph, gh = out, _h(xp, out), _h(xp, g)
    m, n = x.shape[-2:]
    if m <= n:
        # (1 - A P) g ᴴ P Pᴴ and Pᴴ P gᴴ (1 - P A), multiplied in the order that keeps products small
        left = xp.matmul(gh, xp.matmul(p, ph))
        first = left - xp.matmul(x, xp.matmul(p, left))
        right = xp.matmul(xp.matmul(ph, p), gh)
        second = right - xp.matmul(xp.matmul(right, p), x)
    else:
        left = xp.matmul(xp.matmul(gh, p), ph)
        first = left - xp.matmul(x, xp.matmul(p, left))
        right = xp.matmul(ph, xp.matmul(p, gh))
        second = right - xp.matmul(xp.matmul(right, p), x)
    return first + second - xp.matmul(ph, xp.matmul(g, ph))


pinv.derivative(x=_pinv_back)


# Factorizations


@primitive(outputs="factor info", nondiff="info", grad="LinalgCholeskyEx")
def cholesky(xp, x, /, upper=False):
    """(triangular L with A = L Lᴴ, or U with A = Uᴴ U, info); one triangle of A is read."""
    factor, info = xp.cholesky(xp.permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)).conj() if upper else x)
    return (xp.permute_dims(factor, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)).conj() if upper else factor), info


def _halved(xp: Any, x: Any) -> Any:
    """The lower triangle with half its diagonal."""
    low = xp.tril(x, 0)
    return low - _as_diagonal(xp, _diagonal(xp, low)) * 0.5


def _cholesky_back(xp, g_factor, factor, upper):
    if upper:
        g_factor, factor = _h(xp, g_factor), _h(xp, factor)
    back = _h(xp, factor)
    phi = xp.tril(xp.matmul(back, g_factor), 0)
    phi = (phi + _h(xp, xp.tril(phi, -1))) * 0.5
    s = xp.solve_triangular(back, phi, True, False)  # L⁻ᴴ Φ
    return _h(xp, xp.solve_triangular(back, _h(xp, s), True, False))  # … L⁻¹


cholesky.derivative(x=_cholesky_back)


@cholesky.tangent
def _cholesky_tangent(xp, t_x, factor, upper):
    lower = _h(xp, factor) if upper else factor
    phi = xp.solve_triangular(lower, t_x, False, False)
    moved = xp.matmul(lower, _halved(xp, _h(xp, xp.solve_triangular(lower, _h(xp, phi), False, False))))
    return (_h(xp, moved) if upper else moved), None


@primitive(outputs="Q R", grad="LinalgQr")
def qr(xp, x, /, mode="reduced"):
    """(Q, R)."""
    return xp.qr(x, mode)


def _qr_square(xp: Any, gq: Any, gr: Any, q: Any, r: Any) -> Any:
    """The gradient where R is square: [gQ + Q·(X + Xᴴ - diag X)] R⁻ᴴ with X = triu(gR Rᴴ - Qᴴ gQ)."""
    x = xp.matmul(gr, _h(xp, r)) - xp.matmul(_h(xp, q), gq)
    x = xp.triu(x, 0)
    d = _diagonal(xp, x)
    x = x + _h(xp, x) - _as_diagonal(xp, xp.real(d) if array_dtype(d).kind != "c" else xp.as_complex(xp.real(d)))
    total = gq + xp.matmul(q, x)
    return _h(xp, xp.solve_triangular(r, _h(xp, total), True, False))


def _qr_back(xp, g_Q, g_R, Q, R, x_shape, mode):
    m, n = x_shape[-2:]
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use linalg.qr(A, "
            "mode='reduced') if you are going to require gradients."
        )
    if mode == "complete" and m > n:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols")
    if m >= n:
        return _qr_square(xp, g_Q, g_R, Q, R)
    axis = len(x_shape) - 1
    r1, r2 = xp.slice_axis(R, axis, 0, m, 1), xp.slice_axis(R, axis, m, n, 1)
    g1, g2 = xp.slice_axis(g_R, axis, 0, m, 1), xp.slice_axis(g_R, axis, m, n, 1)
    # The further columns are A₂ = Q R₂.
    first = _qr_square(xp, g_Q + xp.matmul(xp.matmul(Q, r2), _h(xp, g2)), g1, Q, r1)
    return xp.concat((first, xp.matmul(Q, g2)), axis)


qr.derivative(x=_qr_back)


@primitive(outputs="eigenvalues eigenvectors", grad="LinalgEigh")
def eigh(xp, x, /, lower=True):
    """(eigenvalues, eigenvectors) of symmetric or Hermitian matrices."""
    return xp.eigh(x, lower)


def _gaps(xp: Any, w: Any, fill: float) -> Any:
    """w[j] - w[i], with ``fill`` on the diagonal."""
    return _row(xp, w) - _column(xp, w) + _eye_like(xp, w) * fill


def _eigh_back(xp, g_eigenvalues, g_eigenvectors, eigenvalues, eigenvectors):
    v, vh = eigenvectors, _h(xp, eigenvectors)
    inner = xp.matmul(vh, g_eigenvectors)
    inner = (inner - _h(xp, inner)) * 0.5 / _gaps(xp, eigenvalues, 1)  # what moves the vectors is skew
    inner = inner + _as_diagonal(xp, g_eigenvalues)  # (the other part has a diagonal of zeros)
    return xp.matmul(v, xp.matmul(inner, vh))


eigh.derivative(x=_eigh_back)


@eigh.tangent
def _eigh_tangent(xp, t_x, eigenvalues, eigenvectors):
    inner = xp.matmul(_h(xp, eigenvectors), xp.matmul(t_x, eigenvectors))
    d = _diagonal(xp, inner)
    off = inner / _gaps(xp, eigenvalues, 1)
    return xp.real(d), xp.matmul(eigenvectors, off - _as_diagonal(xp, _diagonal(xp, off)))


@primitive(outputs="eigenvalues eigenvectors", grad="LOBPCGAutogradFunction")
def eigh_some(xp, x, /, k, largest=True):
    """The ``k`` largest or smallest (eigenvalues, eigenvectors) of symmetric or Hermitian matrices, the outermost first."""
    w, v = xp.eigh(x, True)
    if largest:
        return w[..., : -k - 1 : -1].copy(), v[..., : -k - 1 : -1].copy()
    return w[..., :k].copy(), v[..., :k].copy()


def _eigh_some_back(xp, g_eigenvalues, g_eigenvectors, x, eigenvalues, eigenvectors):
    """`_eigh_back` among these pairs; what moves a vector v out of their span solves (λ - x) z = g in its complement.

    The gaps among the other eigenvalues do not enter: those may be equal.
    """
    v, vh = eigenvectors, _h(xp, eigenvectors)
    within = xp.matmul(vh, g_eigenvectors)
    inner = (within - _h(xp, within)) * 0.5 / _gaps(xp, eigenvalues, 1) + _as_diagonal(xp, g_eigenvalues)
    away = g_eigenvectors - xp.matmul(v, within)
    span = xp.matmul(v, vh)
    rest = span - x + xp.matmul(v * _row(xp, eigenvalues), vh)  # -x in the complement, 1 in the span
    apart = xp.expand_dims(_eye_like(xp, x) - span, x.ndim - 2) * _column(xp, _column(xp, eigenvalues))
    z = xp.solve(apart + xp.expand_dims(rest, x.ndim - 2), _column(xp, transposed(xp, away)))[0]
    half = xp.matmul(transposed(xp, xp.squeeze(z, (z.ndim - 1,))), vh)
    return xp.matmul(v, xp.matmul(inner, vh)) + (half + _h(xp, half)) * 0.5


eigh_some.derivative(x=_eigh_some_back)


@primitive(grad="LinalgEigh")
def eigvalsh(xp, x, /, lower=True):
    """Eigenvalues of symmetric or Hermitian matrices."""
    return xp.eigh(x, lower)[0]


def _eigvalsh_back(xp, g, x, lower):
    v = xp.eigh(x, lower)[1]
    return xp.matmul(v * _row(xp, g), _h(xp, v))


eigvalsh.derivative(x=_eigvalsh_back)


@primitive(outputs="eigenvalues eigenvectors", grad="LinalgEig")
def eig(xp, x, /):
    """(eigenvalues, eigenvectors), complex."""
    return xp.eig(x)


def _eig_back(xp, g_eigenvalues, g_eigenvectors, eigenvalues, eigenvectors, x_dtype):
    v, vh = eigenvectors, _h(xp, eigenvectors)
    inner = xp.matmul(vh, g_eigenvectors)
    free = xp.matmul(vh, v) * _row(xp, xp.as_complex(xp.real(_diagonal(xp, inner))))  # eigenvectors are normed
    inner = (inner - free) / _gaps(xp, eigenvalues, 1).conj()
    inner = inner + _as_diagonal(xp, g_eigenvalues)
    out = xp.solve(vh, xp.matmul(inner, vh))[0]
    return out if x_dtype.kind == "c" else xp.real(out)


eig.derivative(x=_eig_back)


@primitive(outputs="U S Vh", grad="LinalgSvd")
def svd(xp, x, /, full_matrices=True):
    """(U, S, Vᴴ)."""
    return xp.svd(x, full_matrices)


def _svd_back(xp, g_U, g_S, g_Vh, U, S, Vh, x_shape, x_dtype):
    m, n = x_shape[-2:]
    k = min(m, n)
    axis = len(x_shape) - 1
    if U.shape[-1] > k:  # full_matrices: what is beyond k is not unique, and has no gradient
        U, g_U = xp.slice_axis(U, axis, 0, k, 1), xp.slice_axis(g_U, axis, 0, k, 1)
    if Vh.shape[-2] > k:
        Vh, g_Vh = xp.slice_axis(Vh, axis - 1, 0, k, 1), xp.slice_axis(g_Vh, axis - 1, 0, k, 1)
    uh, gv = _h(xp, U), _h(xp, g_Vh)
    square = S * S
    gaps = _gaps(xp, square, 1)
    u_part = xp.matmul(uh, g_U)
    v_part = xp.matmul(Vh, gv)
    skew_u, skew_v = (u_part - _h(xp, u_part)) / gaps, (v_part - _h(xp, v_part)) / gaps
    off = skew_u * _row(xp, S) + _column(xp, S) * skew_v
    inner = off + _as_diagonal(xp, g_S)  # (on the diagonal the former is zero, where the phases do not matter)
    if x_dtype.kind == "c":
        inner = inner + _as_diagonal(xp, xp.as_complex(xp.imag(_diagonal(xp, u_part)) / S) * 1j)
    out = xp.matmul(U, xp.matmul(inner, Vh))
    if m > k:
        rest = g_U - xp.matmul(U, u_part)
        out = out + xp.matmul(rest / _row(xp, S), Vh)
    if n > k:
        rest = g_Vh - xp.matmul(_h(xp, v_part), Vh)
        out = out + xp.matmul(U, rest / _column(xp, S))
    return out


svd.derivative(x=_svd_back)


@primitive(grad="LinalgSvd")
def svdvals(xp, x, /):
    """Singular values."""
    return xp.svdvals(x)


def _svdvals_back(xp, g, x):
    u, _, vh = xp.svd(x, False)
    return xp.matmul(u * _row(xp, g), vh)


svdvals.derivative(x=_svdvals_back)


@primitive(outputs="LU pivots info", nondiff="pivots info", grad="LinalgLuFactorEx")
def lu_factor(xp, x, /):
    """(L and U in one array, pivots, info)."""
    return xp.lu_factor(x)


@primitive(nondiff="out")
def permutation(xp, pivots, /, n):
    """The permutation matrix of pivots, as bool."""
    return xp.permutation(pivots, n)


def lower_of(xp: Any, lu: Any, m: int, k: int) -> Any:
    """L out of packed factors."""
    n = lu.ndim
    part = lu if lu.shape[-1] == k else xp.slice_axis(lu, n - 1, 0, k, 1)
    return xp.tril(part, -1) + xp.eye(m, k, dtype=lu.dtype)


def upper_of(xp: Any, lu: Any, k: int) -> Any:
    """U out of packed factors."""
    n = lu.ndim
    return xp.triu(lu if lu.shape[-2] == k else xp.slice_axis(lu, n - 2, 0, k, 1), 0)


def _lu_back(xp: Any, p: Any, lower: Any, upper: Any, gl: Any, gu: Any, shape: tuple[int, ...]) -> Any:
    """The gradient through A = P L U, from those of L (strictly lower) and U."""
    m, n = shape[-2:]
    k = min(m, n)
    rows, columns = len(shape) - 2, len(shape) - 1
    l1, u1 = xp.slice_axis(lower, rows, 0, k, 1), xp.slice_axis(upper, columns, 0, k, 1)
    gl1, gu1 = xp.slice_axis(gl, rows, 0, k, 1), xp.slice_axis(gu, columns, 0, k, 1)
    lh, uh = _h(xp, l1), _h(xp, u1)
    further = None
    if n > k:  # U₂ = L⁻¹ A₂
        u2, gu2 = xp.slice_axis(upper, columns, k, n, 1), xp.slice_axis(gu, columns, k, n, 1)
        further = xp.solve_triangular(lh, gu2, True, True)
        gl1 = gl1 - xp.matmul(further, _h(xp, u2))
    elif m > k:  # L₂ = A₂ U⁻¹
        l2, gl2 = xp.slice_axis(lower, rows, k, m, 1), xp.slice_axis(gl, rows, k, m, 1)
        further = _h(xp, xp.solve_triangular(u1, _h(xp, gl2), True, False))
        gu1 = gu1 - xp.matmul(_h(xp, l2), further)
    inner = xp.tril(xp.matmul(lh, gl1), -1) + xp.triu(xp.matmul(gu1, uh), 0)
    inner = xp.solve_triangular(lh, inner, True, True)
    inner = _h(xp, xp.solve_triangular(u1, _h(xp, inner), True, False))
    if further is not None:
        inner = xp.concat((inner, further), columns if n > k else rows)
    return xp.matmul(p, inner)


def _lu_factor_back(xp, g_LU, LU, pivots, x_shape):
    m, n = x_shape[-2:]
    k = min(m, n)
    p = xp.astype(xp.permutation(pivots, m), array_dtype(LU))
    gl = xp.tril(g_LU if n == k else xp.slice_axis(g_LU, g_LU.ndim - 1, 0, k, 1), -1)
    gu = xp.triu(g_LU if m == k else xp.slice_axis(g_LU, g_LU.ndim - 2, 0, k, 1), 0)
    return _lu_back(xp, p, lower_of(xp, LU, m, k), upper_of(xp, LU, k), gl, gu, x_shape)


lu_factor.derivative(x=_lu_factor_back)


@primitive(outputs="P L U", nondiff="P", grad="LinalgLu")
def lu(xp, x, /):
    """(P, L, U)."""
    packed, pivots, _ = xp.lu_factor(x)
    m, n = x.shape[-2:]
    k = min(m, n)
    return xp.permutation(pivots, m).astype(x.dtype), lower_of(xp, packed, m, k), upper_of(xp, packed, k)


lu.derivative(x=lambda xp, g_L, g_U, P, L, U, x_shape: _lu_back(xp, P, L, U, g_L, g_U, x_shape))


# Exponential, reflections


@primitive(grad="LinalgMatrixExp")
def matrix_exp(xp, x, /):
    """The matrix exponential."""
    return xp.matrix_exp(x)


def _exp_along(xp: Any, x: Any, direction: Any) -> Any:
    """The derivative of exp at ``x`` along a direction: the corner of exp([[x, d], [0, x]]).

    Formula: Najfeld and Havel, "Derivatives of the Matrix Exponential and their Computation" (1995).
    """
    n = x.shape[-1]
    rows, columns = x.ndim - 2, x.ndim - 1
    top = xp.concat((x, direction), columns)
    bottom = xp.concat((xp.zeros_like(x), x), columns)
    whole = xp.matrix_exp(xp.concat((top, bottom), rows))
    return xp.slice_axis(xp.slice_axis(whole, rows, 0, n, 1), columns, n, 2 * n, 1)


matrix_exp.derivative(x=lambda xp, g, x: _exp_along(xp, _h(xp, x), g))
matrix_exp.tangent(lambda xp, t_x, x: _exp_along(xp, x, t_x))


@primitive(outputs="a tau", nondiff="a tau")
def geqrf(xp, x, /):
    """LAPACK's form of Q and R."""
    return xp.qr_raw(x)


for _each in (
    inv,
    det,
    cofactor,
    slogdet,
    solve,
    solve_triangular,
    pinv,
    cholesky,
    qr,
    eigh,
    eigh_some,
    eigvalsh,
    eig,
    svd,
    svdvals,
    lu_factor,
    permutation,
    lu,
    matrix_exp,
    geqrf,
):
    _each.batching(fronted)


@solve.batching
def _solve_batched(apply, size, arrays, dims):
    (result, info), _ = fronted(apply, size, arrays, dims)
    # There is one info for each matrix, however many right-hand sides it has.
    each = tuple([n for i, n in enumerate(arrays[0].shape) if i != dims[0]])[:-2]
    return (result, info.expand((size, *each)) if dims[0] is None else info.reshape((size, *each))), (0, 0)

__all__ = ["lower_of", "transposed", "upper_of"]
