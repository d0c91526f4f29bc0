"""Products of vectors and matrices, in all the shapes that `matmul` takes.

In go tensors of one dtype; out come tensors. `matmul` is composed of the products of definite shapes as PyTorch composes
it, so graphs look the same: two matrices make an ``MmBackward0``, batches an expanded ``BmmBackward0``.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.direct import make_many, make_two
from ..autograd.dispatch import apply
from ..backends import cpu
from ..errors import broadcast_error, normalize_dim, unsupported_dtype
from ..ops import products as ops
from ..ops import shape as views
from .register import METHODS, function
from .shape import _broadcast, _expand_dims, _permute, _reshaped, only_tensor, sizes_of

_mm = make_two(ops.mm, cpu.mm)
_mv = make_two(ops.mv, cpu.mv)
_bmm = make_two(ops.bmm, cpu.matmul)
_dot = make_two(ops.dot, cpu.dot)

_NAMES = {
    "float32": "float",
    "float64": "double",
    "int64": "long int",
    "int32": "int",
    "int16": "short int",
    "int8": "signed char",
    "uint8": "unsigned char",
    "bool": "bool",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "complex64": "c10::complex<float>",
    "complex128": "c10::complex<double>",
}


def _pair(x: Any, y: Any, name: str, second: str) -> None:
    only_tensor(x, name)
    only_tensor(y, name, second, 2)


def same_dtypes(x: Any, y: Any) -> None:
    """Refuse factors of two dtypes."""
    if x._a.dtype != y._a.dtype:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {_NAMES.get(x.dtype.name, x.dtype.name)} != "
            f"{_NAMES.get(y.dtype.name, y.dtype.name)}"
        )
    if x._a.dtype.kind == "b":
        raise unsupported_dtype("addmm_impl_cpu_", x.dtype)


def _check_examples(x: Any, y: Any, name: str, m: int, n: int) -> None:
    """The error about ranks where an operand is one example of a batch: what it is outside vmap has a dimension more."""
    a, b = x._a, y._a
    if a.__class__ is not np.ndarray or b.__class__ is not np.ndarray:
        raise RuntimeError(
            f"Shape mismatch: Got incorrect dims for {name}(a, b). a has dim {a.ndim} and b has dim {b.ndim} "
            f"but expected them to have dim {m} and dim {n}"
        )


def _times(x: Any, y: Any) -> Any:
    """Matrix times matrix, checked."""
    a, b = x._a, y._a
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]})"
        )
    if a.dtype is not b.dtype or a.dtype.kind == "b":
        same_dtypes(x, y)
    return _mm(x, y)


@function()
def mm(input: Any, mat2: Any, out_dtype: Any = None) -> Any:
    """The product of two matrices.

    >>> import bibun as torch
    >>> torch.mm(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    _pair(input, mat2, "mm", "mat2")
    if input._a.ndim != 2 or mat2._a.ndim != 2:
        _check_examples(input, mat2, "mm", 2, 2)
    if input._a.ndim != 2:
        raise RuntimeError("self must be a matrix")
    if mat2._a.ndim != 2:
        raise RuntimeError("mat2 must be a matrix")
    return _times(input, mat2)


@function()
def bmm(input: Any, mat2: Any, out_dtype: Any = None) -> Any:
    """The products of two batches of matrices, pair by pair."""
    _pair(input, mat2, "bmm", "mat2")
    a, b = input._a, mat2._a
    if a.ndim != 3 or b.ndim != 3:
        _check_examples(input, mat2, "bmm", 3, 3)
    if a.ndim != 3:
        raise RuntimeError("batch1 must be a 3D tensor")
    if b.ndim != 3:
        raise RuntimeError("batch2 must be a 3D tensor")
    if b.shape[:2] != (a.shape[0], a.shape[2]):
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{a.shape[0]}, {a.shape[2]}] but got: "
            f"[{b.shape[0]}, {b.shape[1]}]."
        )
    if a.dtype is not b.dtype or a.dtype.kind == "b":
        same_dtypes(input, mat2)
    return _bmm(input, mat2)


def _matrix_vector(x: Any, y: Any) -> Any:
    a, b = x._a, y._a
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({a.shape[0]}), mat ({a.shape[0]}x{a.shape[1]}), vec ({b.shape[0]})"
        )
    if a.dtype is not b.dtype or a.dtype.kind == "b":
        same_dtypes(x, y)
    return _mv(x, y)


@function()
def mv(input: Any, vec: Any) -> Any:
    """A matrix times a vector."""
    _pair(input, vec, "mv", "vec")
    if input._a.ndim != 2 or vec._a.ndim != 1:
        _check_examples(input, vec, "mv", 2, 1)
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input._a.ndim}, {vec._a.ndim}")
    return _matrix_vector(input, vec)


def _check_dot(x: Any, y: Any, name: str) -> None:
    a, b = x._a, y._a
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name} : expected both vectors to have same dtype, but found {x.dtype.scalar_name} and {y.dtype.scalar_name}"
        )
    if a.size != b.size:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{a.size}] and src [{b.size}] to have the same number of elements, but got "
            f"{a.size} and {b.size} elements respectively"
        )
    if a.dtype.kind == "b":
        raise unsupported_dtype(name, x.dtype)


@function()
def dot(input: Any, tensor: Any) -> Any:
    """The sum of products of two vectors.

    >>> import bibun as torch
    >>> torch.dot(torch.tensor([2, 3]), torch.tensor([2, 1]))
    tensor(7)
    """
    _pair(input, tensor, "dot", "tensor")
    _check_dot(input, tensor, "dot")
    return _dot(input, tensor)


@function()
def vdot(input: Any, other: Any) -> Any:
    """`torch.dot` of the conjugate of the first vector."""
    _pair(input, other, "vdot", "other")
    _check_dot(input, other, "vdot")
    return apply(ops.vdot, (input, other))


def _folds(x: Any, y: Any) -> bool:
    """Whether a batch of matrices times one matrix (or vector) is one product of matrices: PyTorch's rule."""
    wide, narrow = (x, y) if x._a.ndim >= y._a.ndim else (y, x)
    a = wide._a
    if a.ndim < 3 or narrow._a.ndim > 2:
        return False
    if narrow._node is not None or narrow._view is not None and narrow.requires_grad:
        return True
    if x._a.ndim == 2:
        return False
    if not a.size:
        return True
    shape, strides = a.shape, a.strides
    for i in range(a.ndim - 2):
        if strides[i] != strides[i + 1] * shape[i + 1]:
            return False
    return True


def _unsafe_view(x: Any, shape: tuple[int, ...]) -> Any:
    return apply(views.reshape, (x,), (shape,))


@function(space="linalg")
def matmul(input: Any, other: Any) -> Any:
    """The matrix product: of vectors a number, of a matrix and a vector a vector, of batches pair by pair, broadcast.

    >>> import bibun as torch
    >>> torch.matmul(torch.ones(2, 3), torch.ones(3)).shape, torch.matmul(torch.ones(5, 2, 3), torch.ones(3, 4)).shape
    (torch.Size([2]), torch.Size([5, 2, 4]))
    """
    try:
        n, m = input._a.ndim, other._a.ndim
    except AttributeError:
        _pair(input, other, "matmul", "other")
        raise
    if n == 2 and m == 2:
        return _times(input, other)
    if n == 1 and m == 1:
        _check_dot(input, other, "dot")
        return _dot(input, other)
    if not n or not m:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {n}D and {m}D")
    if n == 2 and m == 1:
        return _matrix_vector(input, other)
    if n == 1 and m == 2:
        return apply(_SQUEEZE, (_times(_expand_dims(input, 0), other),), (0,))
    if _folds(input, other):
        return _folded(input, other, n, m)
    return _batched(input, other, n, m)


_SQUEEZE = views.squeeze.named("SqueezeBackward4")


def _folded(x: Any, y: Any, n: int, m: int) -> Any:
    """A batch and one matrix or vector: the batch as rows of one matrix."""
    turned = n < m  # the smaller stands first: work on transposes, and turn the result back
    if turned:
        wide = METHODS["transpose"](y, -2, -1)
        narrow = METHODS["t"](x) if n == 2 else x
    else:
        wide, narrow = x, y
    shape = wide._a.shape
    k = shape[-1]
    rows = _reshaped(wide, (prod(shape[:-1]), k))
    if narrow._a.ndim == 2:
        made = _unsafe_view(_times(rows, narrow), (*shape[:-1], narrow._a.shape[1]))
        return METHODS["transpose"](made, -2, -1).contiguous() if turned else made
    return _unsafe_view(_matrix_vector(rows, narrow), shape[:-1])


def _batched(x: Any, y: Any, n: int, m: int) -> Any:
    """Batches, broadcast against each other and multiplied pair by pair."""
    a, b = x._a.shape, y._a.shape
    p = a[-2] if n > 1 else 1
    k, q = (b[-2] if m > 1 else b[-1]), (b[-1] if m > 1 else 1)
    lead_x, lead_y = a[:-2] if n > 1 else (), b[:-2] if m > 1 else ()
    try:
        lead = lead_x if lead_x == lead_y else np.broadcast_shapes(lead_x, lead_y)
    except ValueError:
        raise broadcast_error(lead_x, lead_y) from None
    size = prod(lead)
    left = x if lead_x == lead else _broadcast(x if n > 1 else _expand_dims(x, 0), (*lead, p, a[-1]))
    if m == 1:
        y = _expand_dims(y, 1)
    right = y if lead_y == lead else _broadcast(y, (*lead, k, q))
    three = left if len(lead) == 1 else _reshaped(left, (size, p, a[-1]))
    other = right if len(lead) == 1 else _reshaped(right, (size, k, q))
    if three._a.shape[2] != k:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{size}, {a[-1]}] but got: [{size}, {k}]."
        )
    if three._a.dtype is not other._a.dtype or three._a.dtype.kind == "b":
        same_dtypes(three, other)
    out = (*lead, p, q) if n > 1 and m > 1 else (*lead, q) if m > 1 else (*lead, p) if n > 1 else lead
    return _unsafe_view(_bmm(three, other), out)


matmul_method = METHODS["matmul"] = matmul.__wrapped__


def _operator(self: Any, other: Any) -> Any:
    if not isinstance(other, dispatch.Tensor):
        return NotImplemented
    return matmul_method(self, other)


def _reflected(self: Any, other: Any) -> Any:
    if not isinstance(other, dispatch.Tensor):
        return NotImplemented
    return matmul_method(other, self)


METHODS["__matmul__"], METHODS["__rmatmul__"] = _operator, _reflected
function(matmul_method, name="matmul")


# Products added to something


def _check_factors(x: Any, a: Any, b: Any, name: str) -> None:
    for y in (a, b):
        if x._a.dtype != y._a.dtype:
            raise RuntimeError(
                f"self and mat2 must have the same dtype, but got {x.dtype.scalar_name} and {y.dtype.scalar_name}"
            )
    if x._a.dtype.kind == "b" and name != "addr":
        raise unsupported_dtype("addmm_impl_cpu_" if name == "addmm" else name, x.dtype)


def _scale(value: Any, x: Any, name: str, argument: str) -> Any:
    """A factor in the kind of the dtype it multiplies."""
    value = value.item() if hasattr(value, "item") else value
    kind = x._a.dtype.kind
    if kind in "iu":
        if isinstance(value, float) and name == "addr":
            raise RuntimeError(f"For integral input tensors, argument {argument} must not be a floating point number.")
        return int(value)
    return bool(value) if kind == "b" else value


def _expands(x: Any, shape: tuple[int, ...]) -> None:
    own = x._a.shape
    if own != shape and own != shape[len(shape) - len(own) :]:
        try:
            if np.broadcast_shapes(own, shape) == shape:
                return
        except ValueError:
            pass
        from ..errors import expand_error

        raise expand_error(shape, own)


def _legacy(args: tuple[Any, ...], beta: Any, alpha: Any, count: int) -> tuple[Any, Any, Any]:
    """(tensors, beta, alpha) of PyTorch's old positional order: ``addmm(beta, input, alpha, mat1, mat2)``."""
    if len(args) <= count:
        return args, beta, alpha
    found = [a for a in args if isinstance(a, dispatch.Tensor)]
    numbers = [a for a in args if not isinstance(a, dispatch.Tensor)]
    if len(numbers) == 2:
        return tuple(found), numbers[0], numbers[1]
    return tuple(found), *((numbers[0], alpha) if not isinstance(args[0], dispatch.Tensor) else (beta, numbers[0]))


def _adder(name: str, prim: Any, shape_of: Any, doc: str, words: tuple[str, str]) -> None:
    first, second = words
    call = make_many(prim, partial(prim.run, cpu))

    def add(input: Any, *args: Any, beta: Any = 1, alpha: Any = 1, **kwargs: Any) -> Any:
        (x, *rest), beta, alpha = _legacy((input, *args), beta, alpha, 3)
        if len(rest) < 2:
            rest = [*rest, *[kwargs.pop(w) for w in words[len(rest) :] if w in kwargs]]
        if len(rest) != 2 or kwargs:
            raise TypeError(
                f"{name}() received an invalid combination of arguments: expected (Tensor input, Tensor {first}, Tensor {second}, *, "
                "Number beta = 1, Number alpha = 1)"
            )
        a, b = only_tensor(rest[0], name, first, 2), only_tensor(rest[1], name, second, 3)
        only_tensor(x, name)
        shape = shape_of(a, b)
        _check_factors(x, a, b, name)
        _expands(x, shape)
        return call((x, a, b), (_scale(beta, x, name, "beta"), _scale(alpha, x, name, "alpha")))

    add.__name__ = add.__qualname__ = name
    add.__doc__ = doc
    function(add, inplace=True)


def _mm_shape(a: Any, b: Any) -> tuple[int, ...]:
    if a._a.ndim != 2:
        raise RuntimeError(f"mat1 must be a matrix, got {a._a.ndim}-D tensor")
    if b._a.ndim != 2:
        raise RuntimeError(f"mat2 must be a matrix, got {b._a.ndim}-D tensor")
    (p, k), (l, q) = a._a.shape, b._a.shape
    if k != l:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({p}x{k} and {l}x{q})")
    return p, q


def _bmm_shape(a: Any, b: Any) -> tuple[int, ...]:
    if a._a.ndim != 3:
        raise RuntimeError("batch1 must be a 3D tensor")
    if b._a.ndim != 3:
        raise RuntimeError("batch2 must be a 3D tensor")
    s, p, k = a._a.shape
    if b._a.shape[:2] != (s, k):
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{s}, {k}] but got: [{b._a.shape[0]}, {b._a.shape[1]}]."
        )
    return s, p, b._a.shape[2]


def _mv_shape(a: Any, b: Any) -> tuple[int, ...]:
    if a._a.ndim != 2 or b._a.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {a._a.ndim}, {b._a.ndim}")
    if a._a.shape[1] != b._a.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({a._a.shape[0]}), mat ({a._a.shape[0]}x{a._a.shape[1]}), vec ({b._a.shape[0]})"
        )
    return (a._a.shape[0],)


def _outer_shape(a: Any, b: Any) -> tuple[int, ...]:
    if a._a.ndim != 1 or b._a.ndim != 1:
        raise RuntimeError(
            f"addr: Expected 1-D argument {'vec1' if a._a.ndim != 1 else 'vec2'}, but got "
            f"{a._a.ndim if a._a.ndim != 1 else b._a.ndim}-D"
        )
    return a._a.shape[0], b._a.shape[0]


_adder("addmm", ops.addmm, _mm_shape, "``beta * input + alpha * (mat1 @ mat2)``.", ("mat1", "mat2"))
_adder(
    "baddbmm",
    ops.baddbmm,
    _bmm_shape,
    "``beta * input + alpha * (batch1 @ batch2)``, pair by pair.",
    ("batch1", "batch2"),
)
_adder(
    "addbmm",
    ops.addbmm,
    lambda a, b: _bmm_shape(a, b)[1:],
    "``beta * input + alpha * Σ (batch1[i] @ batch2[i])``.",
    ("batch1", "batch2"),
)
_adder("addmv", ops.addmv, _mv_shape, "``beta * input + alpha * (mat @ vec)``.", ("mat", "vec"))
_adder("addr", ops.addr, _outer_shape, "``beta * input + alpha * outer(vec1, vec2)``.", ("vec1", "vec2"))


# Further products


@function(aliases="ger")
def outer(input: Any, vec2: Any) -> Any:
    """All products of an element of one vector with one of another.

    >>> import bibun as torch
    >>> torch.outer(torch.tensor([1, 2]), torch.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    _pair(input, vec2, "outer", "vec2")
    for x, word in ((input, "self"), (vec2, "vec2")):
        if x._a.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {word}, but got {x._a.ndim}-D")
    return _reshaped(input, (input._a.shape[0], 1)) * vec2


@function()
def inner(input: Any, other: Any) -> Any:
    """The dot products of the vectors in the last dimensions."""
    _pair(input, other, "inner", "other")
    a, b = input._a.shape, other._a.shape
    if not a or not b:
        return input * other
    if a[-1] != b[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(a)} and {list(b)}"
        )
    return tensordot(input, other, ([-1], [-1]))


@function(method=False)
def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """The sum of products over several dimensions: the last ``dims`` of ``a`` and first of ``b``, or those listed for each.

    >>> import bibun as torch
    >>> torch.tensordot(torch.ones(2, 3, 4), torch.ones(3, 4, 5), dims=2).shape
    torch.Size([2, 5])
    """
    _pair(a, b, "tensordot", "other")
    if isinstance(dims, dispatch.Tensor):
        dims = dims.tolist()
    if isinstance(dims, (int, np.integer)):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a._a.ndim, b._a.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        first, second = list(range(-dims, 0)), list(range(dims))
    else:
        first, second = (list(sizes_of((d,), "tensordot", "dims")) for d in dims)
    if len(first) != len(second):
        raise RuntimeError("both dimension lists should have same length")
    if a._a.dtype != b._a.dtype:
        raise RuntimeError("both inputs should have same dtype")
    n, m = a._a.shape, b._a.shape
    first, second = [normalize_dim(d, len(n)) for d in first], [normalize_dim(d, len(m)) for d in second]
    for i, (d, e) in enumerate(zip(first, second)):
        if n[d] == 1 and m[e] != 1:
            b = METHODS["sum"](b, e, True)
        elif m[e] == 1 and n[d] != 1:
            a = METHODS["sum"](a, d, True)
        elif n[d] != m[e]:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {n[d]} in dim {d if dims.__class__ is not int else first[i] - len(n)} "
                f"and second has size {m[e]} in dim {e}"
            )
    n, m = a._a.shape, b._a.shape
    keep_a = [d for d in range(len(n)) if d not in first]
    keep_b = [d for d in range(len(m)) if d not in second]
    k = prod([n[d] for d in first])
    left = _reshaped(_permute(a, (*keep_a, *first)), (prod([n[d] for d in keep_a]), k))
    right = _reshaped(_permute(b, (*second, *keep_b)), (k, prod([m[d] for d in keep_b])))
    return _reshaped(_times(left, right), (*[n[d] for d in keep_a], *[m[d] for d in keep_b]))


@function()
def kron(input: Any, other: Any) -> Any:
    """The Kronecker product: every element of ``input`` times all of ``other``, in blocks.

    >>> import bibun as torch
    >>> torch.kron(torch.tensor([1, 10]), torch.tensor([1, 2]))
    tensor([ 1,  2, 10, 20])
    """
    _pair(input, other, "kron", "other")
    n = max(input._a.ndim, other._a.ndim)
    a = (1,) * (n - input._a.ndim) + input._a.shape
    b = (1,) * (n - other._a.ndim) + other._a.shape
    left = _reshaped(input, tuple([m for s in a for m in (s, 1)]))
    right = _reshaped(other, tuple([m for s in b for m in (1, s)]))
    return _unsafe_view(left * right, tuple([s * r for s, r in zip(a, b)]))


def _crossed(x: Any, y: Any, dim: Any, name: str) -> Any:
    a, b = x._a, y._a
    if a.ndim != b.ndim:
        raise RuntimeError(f"{name}: inputs must have the same number of dimensions.")
    dim = normalize_dim(dim, a.ndim)
    if a.shape[dim] != 3 or b.shape[dim] != 3:
        raise RuntimeError(f"{name}: inputs dimension {dim} must have length 3. Got {a.shape[dim]} and {b.shape[dim]}")
    from .joining import promoted

    return apply(ops.cross, promoted((x, y)), (dim,))


def linalg_cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """The cross products of vectors of 3 along a dimension, broadcasting the others."""
    _pair(input, other, "linalg_cross", "other")
    return _crossed(input, other, dim, "linalg.cross")


function(linalg_cross, name="cross", method=False, space="linalg")


@function()
def cross(input: Any, other: Any, dim: int | None = None) -> Any:
    """The cross products of vectors of 3 along a dimension (the first of size 3, where none is given)."""
    _pair(input, other, "cross", "other")
    if dim is None:
        if input._a.ndim != other._a.ndim:
            raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
        dim = next((i for i, n in enumerate(input._a.shape) if n == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    return _crossed(input, other, dim, "linalg.cross")


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """The dot products of vectors along a dimension, the first conjugated."""
    if x._a.dtype.kind == "c":
        x = x.conj()
    return METHODS["sum"](x * y, dim)


function(vecdot, method=False, space="linalg")


def _cost_order(sizes: list[int]) -> list[list[int]]:
    """Where to split each chain of matrix products so that the fewest multiplications are done.

    Formula: Cormen et al., "Introduction to Algorithms", section 15.2.
    """
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            best = None
            for k in range(i, j):
                c = cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1]
                if best is None or c < best:
                    best, split[i][j] = c, k
            cost[i][j] = best or 0
    return split


def multi_dot(tensors: Any) -> Any:
    """The product of several matrices (the first and last may be vectors), in the order that costs least."""
    given = list(tensors)
    if len(given) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(given)}")
    shapes = [g._a.shape for g in given]
    for i, s in enumerate(shapes):
        last = i in (0, len(shapes) - 1)
        if len(s) != 2 and not (last and len(s) == 1):
            what = (
                "the first tensor must be 1D or 2D"
                if not i
                else "the last tensor must be 1D or 2D"
                if last
                else f"tensor {i} must be 2D"
            )
            raise RuntimeError(f"multi_dot(): {what} but got {len(s)}D")
        if given[i]._a.dtype != given[0]._a.dtype:
            raise RuntimeError(
                f"multi_dot(): all tensors must have be the same dtype but tensor 0 is {given[0].dtype.scalar_name} and tensor {i} "
                f"{given[i].dtype.scalar_name}"
            )
    out: list[int] = []
    if len(shapes[0]) == 1:
        given[0] = _expand_dims(given[0], 0)
    else:
        out.append(shapes[0][0])
    if len(shapes[-1]) == 1:
        given[-1] = _expand_dims(given[-1], 1)
    else:
        out.append(shapes[-1][1])
    for i, (x, y) in enumerate(zip(given, given[1:])):
        if x._a.shape[1] != y._a.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(shapes[i])} and {list(shapes[i + 1])} cannot be multiplied"
            )
    split = _cost_order([g._a.shape[0] for g in given] + [given[-1]._a.shape[1]])

    def chain(i: int, j: int) -> Any:
        if i == j:
            return given[i]
        k = split[i][j]
        return _times(chain(i, k), chain(k + 1, j))

    return _reshaped(chain(0, len(given) - 1), tuple(out))


function(multi_dot, method=False, space="linalg")


@function(method=False)
def chain_matmul(*matrices: Any) -> Any:
    """The product of several matrices: `torch.linalg.multi_dot` by its old name."""
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)
