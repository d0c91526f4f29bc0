"""Products of matrices and vectors.

In: arrays of one dtype. Out: their product. Rules multiply by conjugate transposes, which are views: nothing is copied.
"""

from __future__ import annotations

from typing import Any

from .primitive import primitive
from .shape import sum_to


def transposed(xp: Any, x: Any) -> Any:
    """The last two dimensions exchanged."""
    n = x.ndim
    return xp.permute_dims(x, (1, 0) if n == 2 else (*range(n - 2), n - 1, n - 2))


def adjoint(xp: Any, x: Any) -> Any:
    """The conjugate transpose of the last two dimensions."""
    return transposed(xp, x).conj()


def _front(x: Any, d: Any) -> Any:
    return x.movedim(d, 0) if d else x


@primitive(tangent="multilinear")
def mm(xp, x, y, /):
    """Matrix times matrix."""
    return xp.mm(x, y)


mm.derivative(
    x=lambda xp, g, y: xp.mm(g, xp.permute_dims(y, (1, 0)).conj()),
    y=lambda xp, g, x: xp.mm(xp.permute_dims(x, (1, 0)).conj(), g),
)


@primitive(tangent="multilinear")
def bmm(xp, x, y, /):
    """Matrices times matrices, pair by pair."""
    return xp.matmul(x, y)


bmm.derivative(
    x=lambda xp, g, y: xp.bmm(g, xp.permute_dims(y, (0, 2, 1)).conj()),
    y=lambda xp, g, x: xp.bmm(xp.permute_dims(x, (0, 2, 1)).conj(), g),
)


@primitive(tangent="multilinear")
def mv(xp, x, y, /):
    """Matrix times vector."""
    return xp.mv(x, y)


mv.derivative(x=lambda xp, g, y: xp.outer(g, y.conj()), y=lambda xp, g, x: xp.mv(xp.permute_dims(x, (1, 0)).conj(), g))


@primitive(tangent="multilinear")
def dot(xp, x, y, /):
    """The sum of products of two vectors."""
    return xp.dot(x, y)


dot.derivative(x=lambda g, y: g * y.conj(), y=lambda g, x: g * x.conj())


@primitive
def vdot(xp, x, y, /):
    """`dot` of the conjugate of the first."""
    return xp.vdot(x, y)


vdot.derivative(x=lambda g, y: g.conj() * y, y=lambda g, x: g * x)
vdot.tangent(
    lambda xp, t_x, t_y, x, y: (
        xp.vdot(t_x, y) if t_y is None else xp.vdot(x, t_y) if t_x is None else xp.vdot(t_x, y) + xp.vdot(x, t_y)
    )
)


@primitive(tangent="multilinear", grad="Mul")
def outer(xp, x, y, /):
    """All products of an element of one vector with one of another."""
    return xp.outer(x, y)


outer.derivative(x=lambda xp, g, y: xp.mv(g, y.conj()), y=lambda xp, g, x: xp.mv(xp.permute_dims(g, (1, 0)), x.conj()))


@primitive(tangent="multilinear")
def matmul(xp, x, y, /):
    """The product of arrays of any dimensions, for rules: the last two multiply, those before broadcast."""
    return xp.matmul(x, y)


def _matmul_x(xp, g, y, x_shape):
    if y.ndim == 1:
        return g * y.conj() if len(x_shape) == 1 else sum_to(xp, xp.expand_dims(g, g.ndim) * y.conj(), x_shape)
    if len(x_shape) == 1:
        g = xp.expand_dims(g, g.ndim - 1)
    made = xp.matmul(g, adjoint(xp, y))
    if len(x_shape) > 1:
        return sum_to(xp, made, x_shape)
    return xp.reshape(sum_to(xp, made, (1, *x_shape)), x_shape)


def _matmul_y(xp, g, x, y_shape):
    if len(y_shape) == 1:
        if x.ndim == 1:
            return g * x.conj()
        return sum_to(xp, xp.expand_dims(g, g.ndim) * x.conj(), y_shape)
    if x.ndim == 1:
        return sum_to(xp, xp.expand_dims(x.conj(), 1) * xp.expand_dims(g, g.ndim - 1), y_shape)
    return sum_to(xp, xp.matmul(adjoint(xp, x), g), y_shape)


matmul.derivative(x=_matmul_x, y=_matmul_y)


# Products added to something


def _scaled(g: Any, by: Any) -> Any:
    return g if by.__class__ is int and by == 1 else g * by


@primitive
def addmm(xp, x, a, b, /, beta=1, alpha=1):
    """``beta * x + alpha * (a @ b)`` of matrices."""
    return xp.addmm(x, a, b, beta, alpha)


@primitive
def baddbmm(xp, x, a, b, /, beta=1, alpha=1):
    """``beta * x + alpha * (a @ b)`` of batches of matrices."""
    return xp.addmm(x, a, b, beta, alpha)


def _conjugate(number: Any) -> Any:
    return number.conjugate() if isinstance(number, complex) else number


def _added_rules(prim: Any) -> None:
    prim.derivative(
        x=lambda xp, g, x_shape, beta: sum_to(xp, _scaled(g, _conjugate(beta)), x_shape),
        a=lambda xp, g, b, alpha: _scaled(xp.matmul(g, adjoint(xp, b)), _conjugate(alpha)),
        b=lambda xp, g, a, alpha: _scaled(xp.matmul(adjoint(xp, a), g), _conjugate(alpha)),
    )

    def tangent(xp, t_x, t_a, t_b, a, b, out, beta, alpha):
        total = None
        for part in (
            (_scaled(t_x, beta) if t_x is not None else None),
            (_scaled(xp.matmul(t_a, b), alpha) if t_a is not None else None),
            (_scaled(xp.matmul(a, t_b), alpha) if t_b is not None else None),
        ):
            if part is not None:
                total = part if total is None else total + part
        return total

    prim.tangent(tangent)


_added_rules(addmm)
_added_rules(baddbmm)


@primitive
def addbmm(xp, x, a, b, /, beta=1, alpha=1):
    """``beta * x + alpha * Σ (a[i] @ b[i])``."""
    n, p = a.shape[0] * a.shape[2], a.shape[1]
    left = xp.reshape(xp.permute_dims(a, (1, 0, 2)), (p, n))
    return xp.addmm(x, left, xp.reshape(b, (n, b.shape[2])), beta, alpha)


addbmm.derivative(
    x=lambda xp, g, x_shape, beta: sum_to(xp, _scaled(g, _conjugate(beta)), x_shape),
    a=lambda xp, g, b, alpha: _scaled(xp.matmul(g, adjoint(xp, b)), _conjugate(alpha)),
    b=lambda xp, g, a, alpha: _scaled(xp.matmul(adjoint(xp, a), g), _conjugate(alpha)),
)


@primitive
def addmv(xp, x, a, b, /, beta=1, alpha=1):
    """``beta * x + alpha * (a @ b)`` of a matrix and a vector."""
    return xp.addmm(x, a, b, beta, alpha)


addmv.derivative(
    x=lambda xp, g, x_shape, beta: sum_to(xp, _scaled(g, _conjugate(beta)), x_shape),
    a=lambda xp, g, b, alpha: _scaled(xp.outer(g, b.conj()), _conjugate(alpha)),
    b=lambda xp, g, a, alpha: _scaled(xp.mv(adjoint(xp, a), g), _conjugate(alpha)),
)


@primitive
def addr(xp, x, a, b, /, beta=1, alpha=1):
    """``beta * x + alpha * outer(a, b)``."""
    product = xp.outer(a, b)
    if alpha.__class__ is not int or alpha != 1:
        product = product * product.dtype.type(alpha)
    if not beta:
        return product if product.shape == xp.broadcast_shape(product.shape, x.shape) else product + xp.zeros_like(x)
    return (x if beta.__class__ is int and beta == 1 else x * product.dtype.type(beta)) + product


addr.derivative(
    x=lambda xp, g, x_shape, beta: sum_to(xp, _scaled(g, _conjugate(beta)), x_shape),
    a=lambda xp, g, b, alpha: _scaled(xp.mv(g, b.conj()), _conjugate(alpha)),
    b=lambda xp, g, a, alpha: _scaled(xp.mv(xp.permute_dims(g, (1, 0)), a.conj()), _conjugate(alpha)),
)


# Batching: every product of batches is a product of arrays of more dimensions


def _as_matmul(apply: Any, size: int, arrays: Any, dims: Any) -> Any:
    x, y = arrays
    # One factor for all examples: one product of matrices.
    if dims[1] is None:
        if y.ndim < 3:
            return _front(x, dims[0]) @ y, 0
    elif dims[0] is None and x.ndim == 2:
        if y.ndim == 2:
            return (y.t() if dims[1] else y) @ x.t(), 0
        if y.ndim == 3:
            y = y if dims[1] == 1 else y.movedim(dims[1], 1)
            return (x @ y.reshape((y.shape[0], -1))).reshape((x.shape[0], *y.shape[1:])) if y.numel() else x @ y.movedim(1, 0), 1 if y.numel() else 0
    elif dims[0] is None and x.ndim == 1 and y.ndim == 2:
        return (y.t() if dims[1] else y) @ x, 0
    x, y = (_front(a, d) for a, d in zip(arrays, dims))
    vector_x, vector_y = (a.ndim - (d is not None) == 1 for a, d in zip(arrays, dims))
    if vector_x and dims[0] is not None:
        x = x.unsqueeze(-2)
    if vector_y and dims[1] is not None:
        y = y.unsqueeze(-1)
    nx, ny = (a.ndim - (d is not None) for a, d in zip((x, y), dims))
    n = max(nx, ny)
    if dims[0] is not None and nx < n:
        x = x.reshape((size,) + (1,) * (n - nx) + tuple(x.shape[1:]))
    if dims[1] is not None and ny < n:
        y = y.reshape((size,) + (1,) * (n - ny) + tuple(y.shape[1:]))
    out = x @ y
    if vector_y and dims[1] is not None:
        out = out.squeeze(-1)
    if vector_x and dims[0] is not None:
        out = out.squeeze(-1 if vector_y else -2)
    return out, 0


for _product in (mm, bmm, mv, dot, matmul):
    _product.batching(_as_matmul)


@vdot.batching
def _vdot_batched(apply, size, arrays, dims):
    return _as_matmul(apply, size, (arrays[0].conj(), arrays[1]), dims)


@outer.batching
def _outer_batched(apply, size, arrays, dims):
    x, y = (_front(a, d) for a, d in zip(arrays, dims))
    return x.unsqueeze(-1) * y.unsqueeze(-2), 0


def _added_batched(product: Any) -> Any:
    def rule(apply: Any, size: int, arrays: Any, dims: Any, beta: Any, alpha: Any) -> Any:
        x, a, b = (_front(each, d) for each, d in zip(arrays, dims))
        made = product(a, b) * alpha
        if made.ndim and dims[1] is None and dims[2] is None:
            made = made.unsqueeze(0)
        if not beta:
            return made.expand((size, *made.shape[1:])), 0
        if dims[0] is not None and x.ndim < made.ndim:
            x = x.reshape((size,) + (1,) * (made.ndim - x.ndim) + tuple(x.shape[1:]))
        return x * beta + made, 0

    return rule


addmm.batching(_added_batched(lambda a, b: a @ b))
baddbmm.batching(_added_batched(lambda a, b: a @ b))
addbmm.batching(_added_batched(lambda a, b: (a @ b).sum(-3)))
addmv.batching(_added_batched(lambda a, b: (a @ b.unsqueeze(-1)).squeeze(-1)))
addr.batching(_added_batched(lambda a, b: a.unsqueeze(-1) * b.unsqueeze(-2)))


# Further bilinear forms


@primitive(grad="LinalgCross", tangent="multilinear", axes="axis")
def cross(xp, x, y, /, axis):
    """The cross product along a dimension of 3."""
    return xp.cross(x, y, axis)


cross.derivative(
    x=lambda xp, g, y, x_shape, axis: sum_to(xp, xp.cross(y.conj(), g, axis), x_shape),
    y=lambda xp, g, x, y_shape, axis: sum_to(xp, xp.cross(g, x.conj(), axis), y_shape),
)
