"""Views: reshapes, transposes, slices, splits, expansions.

In go tensors and PyTorch's arguments, checked and normalised here; out come tensors that look at the same memory.
"""

from __future__ import annotations

import operator
from math import prod
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd import dispatch
from ..autograd.direct import make_view
from ..autograd.dispatch import apply
from ..backends import cpu
from ..backends.cpu import NotAView
from ..errors import combination_error, dim_error, expand_error, normalize_dim, normalize_dims, reshape_error
from ..ops import shape as ops
from .register import METHODS, function, method, prop

ndarray = np.ndarray
index = operator.index

# The calls of the views, without the generality of `apply`.
_view = make_view(ops.view_, cpu.view)
_reshape_alias = make_view(ops.reshape_alias, cpu.view)
_broadcast = make_view(ops.broadcast_to, cpu.broadcast_to)
_permute = make_view(ops.permute_dims, cpu.permute_dims)
_transpose = make_view(ops.transpose, cpu.permute_dims)
_transpose_2d = make_view(ops.transpose_2d, cpu.permute_dims)
_expand_dims = make_view(ops.expand_dims, cpu.expand_dims)
_squeeze = make_view(ops.squeeze, cpu.squeeze)
_squeeze_one = make_view(ops.squeeze_one, cpu.squeeze)
_squeeze_some = make_view(ops.squeeze_some, cpu.squeeze)
_select = make_view(ops.select, cpu.select)
_slice = make_view(ops.slice_axis, cpu.slice_axis)
_alias = make_view(ops.alias, ndarray.view)


# Arguments


def sizes_of(given: tuple[Any, ...], name: str, argument: str = "size") -> tuple[int, ...]:
    """Sizes (or dims) given one by one or as one sequence, as a tuple of ints."""
    if len(given) == 1:
        first = given[0]
        if first.__class__ is int:
            return given
        if first.__class__ is tuple:
            given = first
        elif isinstance(first, (tuple, list)):
            given = tuple(first)
        elif isinstance(first, ndarray) and first.ndim:
            given = tuple(first.tolist())
        elif isinstance(first, dispatch.Tensor) and first._a.ndim:
            given = tuple(first.tolist())
        elif isinstance(first, (float, str, bool)) or first is None:
            raise TypeError(
                f"{name}(): argument '{argument}' (position 1) must be tuple of ints, not {type(first).__name__}"
            )
    for n in given:
        if n.__class__ is not int:
            break
    else:
        return given
    out = []
    for i, n in enumerate(given):
        if isinstance(n, (bool, float)) or not hasattr(n, "__index__"):
            raise TypeError(
                f"{name}(): argument '{argument}' must be tuple of ints, but found element of type "
                f"{type(n).__name__} at pos {i}"
            )
        out.append(index(n))
    return tuple(out)


def only_tensor(x: Any, name: str, argument: str = "input", position: int = 1) -> Any:
    """``x``; PyTorch's error where it is no tensor."""
    if not isinstance(x, dispatch.Tensor):
        raise TypeError(f"{name}(): argument '{argument}' (position {position}) must be Tensor, not {type(x).__name__}")
    return x


def tensors_of(tensors: Any, name: str) -> Any:
    """A sequence of tensors, checked."""
    if isinstance(tensors, dispatch.Tensor) or not isinstance(tensors, (tuple, list)):
        raise TypeError(
            f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not {type(tensors).__name__}"
        )
    for i, t in enumerate(tensors):
        if not isinstance(t, dispatch.Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
    return tensors


def inferred(shape: tuple[int, ...], numel: int) -> tuple[int, ...]:
    """``shape`` with a -1 replaced by what it must be; errors for shapes that ``numel`` elements cannot have."""
    if prod(shape) == numel and (not shape or min(shape) >= 0):
        return shape
    rest, at = 1, -1
    for i, n in enumerate(shape):
        if n >= 0:
            rest *= n
        elif n != -1:
            raise RuntimeError(f"invalid shape dimension {n} at index {i} of shape {list(shape)}")
        elif at >= 0:
            raise RuntimeError("only one dimension can be inferred")
        else:
            at = i
    if at < 0:
        if rest != numel:
            raise reshape_error(shape, numel)
        return shape
    if not rest and not numel:
        raise RuntimeError(
            f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size -1 "
            "can be any value and is ambiguous"
        )
    if not rest or numel % rest:
        raise reshape_error(shape, numel)
    return (*shape[:at], numel // rest, *shape[at + 1 :])


def values_of(x: Any) -> Any:
    """The array of a tensor where its values may be looked at: None for one example of a batch under way."""
    a = x._a
    return a if a.__class__ is ndarray else None


# One shape as another


def _viewed(x: Any, shape: tuple[int, ...]) -> Any:
    """`Tensor.view` of a checked shape."""
    try:
        return _view(x, shape)
    except NotAView:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            f"contiguous subspaces). Use .reshape(...) instead. (The tensor has shape {list(x._a.shape)} and strides "
            f"{list(x.stride())}; asked for was {list(shape)}.)"
        ) from None


@method(name="view")
def view(self: Any, *shape: Any, dtype: Any = None, size: Any = None) -> Any:
    """The same memory in another shape, or read as another dtype; an error where that would need a copy.

    >>> import bibun as torch
    >>> torch.arange(6).view(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    if len(shape) == 1:
        first = shape[0]
        if first.__class__ is tuple or first.__class__ is int:
            pass
        elif isinstance(first, dtypes.dtype):
            return _view_dtype(self, first)
        elif isinstance(first, (float, str, bool)):
            raise combination_error("view", shape, {}, ("torch.dtype dtype", "tuple of ints size"))
    elif not shape:
        if dtype is not None:
            return _view_dtype(self, dtype)
        if size is None:
            raise combination_error("view", (), {}, ("torch.dtype dtype", "tuple of ints size"))
        shape = (size,)
    shape = sizes_of(shape, "view")
    return _viewed(self, inferred(shape, self._a.size))


def _view_dtype(x: Any, dtype: Any) -> Any:
    a, d = x._a, dtype.np
    x = x.detach()  # as in PyTorch, whose view of another dtype has no derivative
    if a.dtype == d:
        return _alias(x)
    if d.itemsize != a.itemsize:
        words = f"to view {x.dtype.scalar_name} as {dtype.scalar_name} (different element sizes)"
        if not a.ndim:
            raise RuntimeError(f"self.dim() cannot be 0 {words}")
        strides = x.stride()
        if strides[-1] != 1 and a.shape[-1] > 1:
            raise RuntimeError(f"self.stride(-1) must be 1 {words}, but got {strides[-1]}")
        if d.itemsize > a.itemsize:
            factor = d.itemsize // a.itemsize
            if a.shape[-1] % factor:
                raise RuntimeError(f"self.size(-1) must be divisible by {factor} {words}, but got {a.shape[-1]}")
            if x.storage_offset() % factor:
                raise RuntimeError(f"self.storage_offset() must be divisible by {factor} {words}, but got {x.storage_offset()}")
            for i, stride in enumerate(strides[:-1]):
                if stride % factor and a.shape[i] > 1:
                    raise RuntimeError(f"self.stride({i}) must be divisible by {factor} {words}, but got {stride}")
    return apply(ops.view_dtype, (x,), (d,))


def _reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    """A view of a checked shape, or the view of a copy."""
    try:
        return (_view if x._a.flags.c_contiguous else _reshape_alias)(x, shape)
    except NotAView:
        return apply(ops.reshape, (apply(ops.rowmajor, (x,)),), (shape,))


@function(method=False, out=False)
def reshape(input: Any, shape: Any) -> Any:
    """``input`` in another shape: a view where its memory allows, else a copy.

    >>> import bibun as torch
    >>> torch.reshape(torch.arange(4.0), (2, 2))
    tensor([[0., 1.],
            [2., 3.]])
    """
    only_tensor(input, "reshape")
    return _reshaped(input, inferred(sizes_of((shape,), "reshape", "shape"), input._a.size))


@method(name="reshape")
def reshape_method(self: Any, *shape: Any, **kwargs: Any) -> Any:
    """See `torch.reshape`."""
    if not shape:
        shape = (kwargs["shape"],) if "shape" in kwargs else _missing("reshape", "shape")
    return _reshaped(self, inferred(sizes_of(shape, "reshape", "shape"), self._a.size))


def _missing(name: str, argument: str) -> Any:
    raise TypeError(f'{name}() missing 1 required positional arguments: "{argument}"')


@method
def view_as(self: Any, other: Any) -> Any:
    """``self.view(other.size())``."""
    return _viewed(self, inferred(other._a.shape, self._a.size))


@method
def reshape_as(self: Any, other: Any) -> Any:
    """``self.reshape(other.shape)``."""
    return _reshaped(self, inferred(other._a.shape, self._a.size))


@function(out=False)
def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions ``start_dim`` to ``end_dim`` as one.

    >>> import bibun as torch
    >>> torch.flatten(torch.zeros(2, 3, 4), 1).shape
    torch.Size([2, 12])
    """
    a = only_tensor(input, "flatten")._a
    first, last = normalize_dim(start_dim, a.ndim), normalize_dim(end_dim, a.ndim)
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not a.ndim:
        return _reshaped(input, (1,))
    if first == last:
        return input
    shape = a.shape
    return _reshaped(input, (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :]))


@function(out=False)
def ravel(input: Any) -> Any:
    """``input`` as one row: a view where its memory allows."""
    return _reshaped(input if input._a.flags.c_contiguous else apply(ops.rowmajor, (input,)), (input._a.size,))


@function(out=False)
def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    """One dimension as several.

    >>> import bibun as torch
    >>> torch.unflatten(torch.zeros(3, 8), 1, (2, -1)).shape
    torch.Size([3, 2, 4])
    """
    if not hasattr(dim, "__index__"):
        raise TypeError(f"unflatten(): argument 'dim' (position 1) must be int, not {type(dim).__name__}")
    shape = input._a.shape
    dim = normalize_dim(dim, len(shape))
    sizes = sizes_of((sizes,), "unflatten", "sizes")
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    if not shape:
        raise RuntimeError("unflatten: a 0-d tensor has no dimension to unflatten")
    try:
        sizes = inferred(sizes, shape[dim])
    except RuntimeError as error:
        if "is invalid" not in str(error):
            raise
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} ({shape[dim]}) "
            "in the input tensor"
        ) from None
    return _viewed(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))


# Order of dimensions


@function(out=False)
def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions exchanged.

    >>> import bibun as torch
    >>> torch.transpose(torch.zeros(2, 3), 0, 1).shape
    torch.Size([3, 2])
    """
    n = only_tensor(input, "transpose")._a.ndim
    if n == 2 and (dim0, dim1) in _PLAIN_PAIRS:
        return _transpose(input, (1, 0))
    dim0, dim1 = normalize_dim(dim0, n), normalize_dim(dim1, n)
    if not n:
        return _alias(input) if input._a.__class__ is ndarray else input
    axes = list(range(n))
    axes[dim0], axes[dim1] = dim1, dim0
    return _transpose(input, tuple(axes))


_PLAIN_PAIRS = frozenset([(0, 1), (1, 0), (-2, -1), (-1, -2), (0, -1), (-1, 0)])


@function(out=False)
def swapaxes(input: Any, axis0: int, axis1: int) -> Any:
    """`torch.transpose` under NumPy's name."""
    return METHODS["transpose"](input, axis0, axis1)


@function(out=False)
def swapdims(input: Any, dim0: int, dim1: int) -> Any:
    """`torch.transpose`."""
    return METHODS["transpose"](input, dim0, dim1)


@function(out=False)
def t(input: Any) -> Any:
    """The transpose of a matrix; a vector or number as it is."""
    n = only_tensor(input, "t")._a.ndim
    if n == 2:
        return _transpose_2d(input, (1, 0))
    if n > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {n}D")
    return _alias(input)


@prop
def T(self: Any) -> Any:
    """The dimensions in reverse order."""
    return _permute(self, tuple(range(self._a.ndim - 1, -1, -1)))


def _last_two(x: Any, name: str) -> Any:
    n = x._a.ndim
    if n < 2:
        if n:
            raise RuntimeError(f"{name} is only supported on matrices or batches of matrices. Got {n}-D tensor.")
        return _alias(x)
    return _transpose(x, (*range(n - 2), n - 1, n - 2))


@prop
def mT(self: Any) -> Any:
    """The last two dimensions exchanged."""
    return _last_two(self, "tensor.mT")


@prop
def H(self: Any) -> Any:
    """The conjugate transpose of a matrix."""
    if self._a.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {self._a.ndim}-D tensor."
            + (" For batches of matrices, consider using tensor.mH" if self._a.ndim > 2 else "")
        )
    return _conjugated(_last_two(self, "tensor.H"))


@prop
def mH(self: Any) -> Any:
    """The last two dimensions exchanged, conjugated."""
    return _conjugated(_last_two(self, "tensor.mH"))


def _conjugated(x: Any) -> Any:
    return x.conj() if x._a.dtype.kind == "c" else x


@function(out=False)
def adjoint(input: Any) -> Any:
    """The last two dimensions exchanged, conjugated."""
    return _conjugated(_last_two(input, "adjoint()"))


def _permuted(x: Any, dims: tuple[int, ...]) -> Any:
    n = x._a.ndim
    if len(dims) != n:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering "
            f"of dimensions i.e. input.dim() = {n} is not equal to len(dims) = {len(dims)}"
        )
    axes = tuple([normalize_dim(d, n) for d in dims])
    if len(set(axes)) != n:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _permute(x, axes)


@function(method=False, out=False)
def permute(input: Any, dims: Any) -> Any:
    """The dimensions in the order ``dims``.

    >>> import bibun as torch
    >>> torch.permute(torch.zeros(2, 3, 5), (2, 0, 1)).shape
    torch.Size([5, 2, 3])
    """
    return _permuted(only_tensor(input, "permute"), sizes_of((dims,), "permute", "dims"))


@method(name="permute")
def permute_method(self: Any, *dims: Any, **kwargs: Any) -> Any:
    """See `torch.permute`."""
    if not dims:
        dims = (kwargs.get("dims", ()),)
    return _permuted(self, sizes_of(dims, "permute", "dims"))


@function(out=False)
def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dimensions moved from ``source`` to ``destination``; the others keep their order.

    >>> import bibun as torch
    >>> torch.movedim(torch.zeros(3, 2, 1), 1, 0).shape
    torch.Size([2, 3, 1])
    """
    n = only_tensor(input, "movedim")._a.ndim
    given = [
        (source,) if isinstance(source, int) else tuple(source),
        (destination,) if isinstance(destination, int) else tuple(destination),
    ]
    if len(given[0]) != len(given[1]):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(given[0])} dims) should contain the same number of "
            f"dims as destination ({list(given[1])} dims)"
        )
    placed = []
    for dims, word in zip(given, ("source", "destination")):
        normal = [normalize_dim(d, n) for d in dims]
        if len(set(normal)) != len(normal):
            raise RuntimeError(f"movedim: repeated dim in `{word}` ({list(dims)})")
        placed.append(normal)
    if not n:
        return _alias(input)
    axes = [-1] * n
    for s, d in zip(*placed):
        axes[d] = s
    rest = iter([d for d in range(n) if d not in placed[0]])
    return _permute(input, tuple([next(rest) if a < 0 else a for a in axes]))


@function(out=False)
def moveaxis(input: Any, source: Any, destination: Any) -> Any:
    """`torch.movedim` under NumPy's name."""
    return METHODS["movedim"](input, source, destination)


# Dimensions of size 1


@function(out=False)
def unsqueeze(input: Any, dim: Any = None, *, axis: Any = None) -> Any:
    """A new dimension of size 1 before dimension ``dim``.

    >>> import bibun as torch
    >>> torch.tensor([1, 2]).unsqueeze(-1)
    tensor([[1],
            [2]])
    """
    n = only_tensor(input, "unsqueeze")._a.ndim + 1
    if dim.__class__ is not int:
        if dim is None:
            dim = axis if axis is not None else _missing("unsqueeze", "dim")
        dim = normalize_dim(dim, n)
    if dim < 0:
        dim += n
    if not 0 <= dim < n:
        raise dim_error(dim if dim >= 0 else dim - n, n)
    return _expand_dims(input, dim)


@function(out=False)
def squeeze(input: Any, dim: Any = None, *, axis: Any = None) -> Any:
    """Without dimensions of size 1: all of them, or those that ``dim`` names.

    >>> import bibun as torch
    >>> torch.zeros(2, 1, 3, 1).squeeze().shape
    torch.Size([2, 3])
    """
    if dim is None:
        dim = axis
    n = only_tensor(input, "squeeze")._a.ndim
    if dim is None:
        return _squeeze(input, None)
    if isinstance(dim, (tuple, list)):
        return _squeeze_some(input, normalize_dims(dim, n) if n else _none_of(dim))
    if not n and input._a.__class__ is not ndarray and dim not in (0, -1):
        raise RuntimeError(f"Dimension is out of range (expected to be in range of [-1, 0], but got {dim})")
    dim = normalize_dim(dim, n)
    return _squeeze_one(input, dim if n else ())


def _none_of(dims: Any) -> tuple[int, ...]:
    """Dimensions named of a 0-d tensor: checked, and then there are none."""
    for d in dims:
        normalize_dim(d, 0)
    return ()


# Expansion


def _expanded(x: Any, sizes: tuple[int, ...]) -> Any:
    shape = x._a.shape
    extra = len(sizes) - len(shape)
    if extra >= 0 and sizes[extra:] == shape and (not extra or min(sizes) >= 0):
        return _broadcast(x, sizes)
    if extra < 0:
        raise RuntimeError(
            f"expand({x.type()}{{{list(shape)}}}, size={list(sizes)}): the number of sizes provided ({len(sizes)}) must be "
            f"greater or equal to the number of dimensions in the tensor ({len(shape)})"
        )
    wanted = list(sizes)
    for i, n in enumerate(shape):
        m = sizes[extra + i]
        if m == -1:
            wanted[extra + i] = n
        elif m != n and n != 1 or m < 0:
            raise expand_error(sizes, shape)
    for m in wanted[:extra]:
        if m < 0:
            raise expand_error(sizes, shape)
    return _broadcast(x, tuple(wanted))


@method
def expand(self: Any, *size: Any, implicit: bool = False, **kwargs: Any) -> Any:
    """A view in which dimensions of size 1, and new leading ones, are repeated; -1 keeps a size.

    >>> import bibun as torch
    >>> torch.tensor([[1], [2]]).expand(-1, 3)
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """
    if not size:
        size = (kwargs["size"],) if "size" in kwargs else _missing("expand", "size")
    return _expanded(self, sizes_of(size, "expand"))


@method
def expand_as(self: Any, other: Any) -> Any:
    """``self.expand(other.size())``."""
    return _expanded(self, only_tensor(other, "expand_as", "other")._a.shape)


@function(method=False, out=False)
def broadcast_to(input: Any, size: Any) -> Any:
    """``input`` broadcast to a shape: `Tensor.expand`."""
    return _expanded(only_tensor(input, "broadcast_to"), sizes_of((size,), "broadcast_to"))


@method(name="broadcast_to")
def broadcast_to_method(self: Any, *size: Any, **kwargs: Any) -> Any:
    """See `torch.broadcast_to`."""
    return _expanded(self, sizes_of(size or (kwargs["size"],), "broadcast_to"))


def broadcast_shape(*shapes: Any) -> tuple[int, ...]:
    """The shape that the given ones broadcast to, with PyTorch's error."""
    n = max(map(len, shapes), default=0)
    out = [1] * n
    for position, s in enumerate(shapes):
        for i, m in enumerate(s, n - len(s)):
            if m == 1 or m == out[i]:
                continue
            if out[i] != 1:
                raise RuntimeError(
                    f"Attempting to broadcast a dimension of length {m} at {i - n}! Mismatching argument at index {position} "
                    f"had {tuple(s)}; but expected shape should be broadcastable to {out}"
                )
            out[i] = m
    return tuple(out)


@function(method=False, out=False)
def broadcast_shapes(*shapes: Any) -> Any:
    """The shape that the given ones broadcast to.

    >>> import bibun as torch
    >>> torch.broadcast_shapes((2,), (3, 1), (1, 1, 1))
    torch.Size([1, 3, 2])
    """
    checked = []
    for s in shapes:
        s = (s,) if isinstance(s, int) else tuple(s)
        for m in s:
            if m < 0:
                raise RuntimeError(f"Trying to create tensor with negative dimension ({m}): ({m})")
        checked.append(s)
    return dtypes.size_of(broadcast_shape(*checked))


@function(method=False, out=False)
def broadcast_tensors(*tensors: Any) -> Any:
    """The tensors, expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    shape: tuple[int, ...] = ()
    for i, x in enumerate(tensors):
        own = only_tensor(x, "broadcast_tensors", "tensors", i + 1)._a.shape
        if own != shape:
            try:
                shape = np.broadcast_shapes(shape, own)
            except ValueError:
                from ..errors import broadcast_error

                raise broadcast_error(shape, own) from None
    return tuple([x if x._a.shape == shape else _expanded(x, shape) for x in tensors])
