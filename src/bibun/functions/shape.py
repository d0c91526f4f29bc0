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
from ..autograd.direct import make_view, make_views
from ..autograd.dispatch import apply
from ..autograd.inplace import check_writable
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
_unbind = make_views(ops.unbind, cpu.unbind)
_split_sizes = make_views(ops.split_with_sizes, cpu.split_with_sizes)
_split_even = make_views(ops.split, cpu.split_with_sizes)


# Arguments


def sizes_of(given: tuple[Any, ...], name: str, argument: str = "size") -> tuple[int, ...]:
    """Sizes (or dims) given one by one or as one sequence, as a tuple of ints."""
    if len(given) == 1:
        first = given[0]
        if first.__class__ is int:
            return given
        if isinstance(first, (tuple, list)):
            given = tuple(first)
        elif isinstance(first, ndarray) and first.ndim:
            given = tuple(first.tolist())
        elif isinstance(first, dispatch.Tensor) and first._a.ndim:
            given = tuple(first.tolist())
        elif isinstance(first, (float, str, bool)) or first is None:
            raise TypeError(f"{name}(): argument '{argument}' (position 1) must be tuple of ints, not {type(first).__name__}")
    for n in given:
        if n.__class__ is not int:
            break
    else:
        return given
    out = []
    for i, n in enumerate(given):
        if isinstance(n, (bool, float)) or not hasattr(n, "__index__"):
            raise TypeError(f"{name}(): argument '{argument}' must be tuple of ints, but found element of type "
                            f"{type(n).__name__} at pos {i}")
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
        raise TypeError(f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not {type(tensors).__name__}")
    for i, t in enumerate(tensors):
        if not isinstance(t, dispatch.Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
    return tensors


def inferred(shape: tuple[int, ...], numel: int) -> tuple[int, ...]:
    """``shape`` with a -1 replaced by what it must be; errors for shapes that ``numel`` elements cannot have."""
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
        raise RuntimeError(f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size -1 "
                           "can be any value and is ambiguous")
    if not rest or numel % rest:
        raise reshape_error(shape, numel)
    return (*shape[:at], numel // rest, *shape[at + 1:])


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
        raise RuntimeError("view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
                           f"contiguous subspaces). Use .reshape(...) instead. (The tensor has shape {list(x._a.shape)} and strides "
                           f"{list(x.stride())}; asked for was {list(shape)}.)") from None


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
        if isinstance(first, dtypes.dtype):
            return _view_dtype(self, first)
        if isinstance(first, (float, str, bool)):
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
    if a.dtype == d:
        return _alias(x)
    if d.itemsize != a.itemsize:
        words = f"to view {x.dtype.scalar_name} as {dtype.scalar_name} (different element sizes)"
        if not a.ndim:
            raise RuntimeError(f"self.dim() cannot be 0 {words}")
        if d.itemsize > a.itemsize:
            factor = d.itemsize // a.itemsize
            if a.shape[-1] % factor:
                raise RuntimeError(f"self.size(-1) must be divisible by {factor} {words}, but got {a.shape[-1]}")
            for i, stride in enumerate(x.stride()[:-1]):
                if stride % factor and a.shape[i] > 1:
                    raise RuntimeError(f"self.stride({i}) must be divisible by {factor} {words}, but got {stride}")
        if a.strides[-1] != a.itemsize and a.shape[-1] > 1:
            raise RuntimeError(f"self.stride(-1) must be 1 {words}, but got {a.strides[-1] // a.itemsize}")
    return apply(ops.view_dtype, (x,), (d,))


def _reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    """A view of a checked shape, or the view of a copy."""
    try:
        return _view(x, shape) if x._a.flags.c_contiguous else _reshape_alias(x, shape)
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
    return _reshaped(input, (*shape[:first], prod(shape[first:last + 1]), *shape[last + 1:]))


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
        raise RuntimeError(f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} ({shape[dim]}) "
                           "in the input tensor") from None
    return _viewed(input, (*shape[:dim], *sizes, *shape[dim + 1:]))


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
        return _alias(input)
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
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self._a.ndim}-D tensor."
                           + (" For batches of matrices, consider using tensor.mH" if self._a.ndim > 2 else ""))
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
        raise RuntimeError("permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering "
                           f"of dimensions i.e. input.dim() = {n} is not equal to len(dims) = {len(dims)}")
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
    given = [(source,) if isinstance(source, int) else tuple(source), (destination,) if isinstance(destination, int) else tuple(destination)]
    if len(given[0]) != len(given[1]):
        raise RuntimeError(f"movedim: Invalid source or destination dims: source ({list(given[0])} dims) should contain the same number of "
                           f"dims as destination ({list(given[1])} dims)")
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
    if extra < 0:
        raise RuntimeError(f"expand({x.type()}{{{list(shape)}}}, size={list(sizes)}): the number of sizes provided ({len(sizes)}) must be "
                           f"greater or equal to the number of dimensions in the tensor ({len(shape)})")
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
                raise RuntimeError(f"Attempting to broadcast a dimension of length {m} at {i - n}! Mismatching argument at index {position} "
                                   f"had {tuple(s)}; but expected shape should be broadcastable to {out}")
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
    return tuple([_expanded(x, shape) for x in tensors])


# Parts


@function(out=False)
def select(input: Any, dim: int, index: Any) -> Any:
    """The part of ``input`` at one position of dimension ``dim``, which disappears.

    >>> import bibun as torch
    >>> torch.select(torch.tensor([[1, 2], [3, 4]]), 1, 0)
    tensor([1, 3])
    """
    shape = only_tensor(input, "select")._a.shape
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim, at = normalize_dim(dim, len(shape)), operator.index(index)
    n = shape[dim]
    if at < 0:
        at += n
    if not 0 <= at < n:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {dim}")
    return _select(input, dim, at)


@function(out=False)
def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """Positions ``start`` to ``start + length`` of dimension ``dim``.

    >>> import bibun as torch
    >>> torch.arange(5).narrow(0, 1, 3)
    tensor([1, 2, 3])
    """
    shape = only_tensor(input, "narrow")._a.shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    length = operator.index(length)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if isinstance(start, dispatch.Tensor) and (start._a.ndim or start._a.dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    dim, first = normalize_dim(dim, len(shape)), operator.index(start)
    n = shape[dim]
    if not -n <= first <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {first})")
    if first < 0:
        first += n
    if first + length > n:
        raise RuntimeError(f"start ({first}) + length ({length}) exceeds dimension size ({n}).")
    return _slice(input, dim, first, first + length, 1)


@function()
def narrow_copy(input: Any, dim: int, start: int, length: int) -> Any:
    """A copy of what `torch.narrow` gives."""
    return METHODS["narrow"](input, dim, start, length).clone()


@function(out=False)
def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal of two dimensions, as the last dimension of a view.

    >>> import bibun as torch
    >>> torch.diagonal(torch.arange(9).view(3, 3), 1)
    tensor([1, 5])
    """
    n = only_tensor(input, "diagonal")._a.ndim
    first, second = normalize_dim(dim1, n), normalize_dim(dim2, n)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return apply(ops.diagonal, (input,), (offset, first, second))


@method(name="unfold")
def unfold(self: Any, dimension: int, size: int, step: int) -> Any:
    """All windows of ``size`` along a dimension, ``step`` apart; the place in the window is a new last dimension.

    >>> import bibun as torch
    >>> torch.arange(1.0, 6).unfold(0, 2, 2)
    tensor([[1., 2.],
            [3., 4.]])
    """
    shape = self._a.shape
    dim = normalize_dim(dimension, len(shape))
    n = shape[dim] if shape else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {dim} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return apply(ops.unfold, (self,), (dim, size, step))


@function(out=False)
def as_strided(input: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """A view of the tensor's storage with the given sizes, strides and offset, all counted in elements.

    >>> import bibun as torch
    >>> torch.as_strided(torch.arange(5), (2, 3), (1, 2), 0)
    tensor([[0, 2, 4],
            [1, 3, 5]])
    """
    size, stride = sizes_of((size,), "as_strided"), sizes_of((stride,), "as_strided", "stride")
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in stride):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}")
    if any(n < 0 for n in size):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {list(size)}")
    own = input.storage_offset()
    if storage_offset is None:
        storage_offset = own
    if storage_offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {storage_offset}")
    a = input._a
    from ..autograd.versions import root_of
    room = root_of(a).nbytes
    if 0 not in size:
        need = (storage_offset + sum([(n - 1) * s for n, s in zip(size, stride)]) + 1) * a.itemsize
        if need > room:
            raise RuntimeError(f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {storage_offset}, and itemsize "
                               f"{a.itemsize} requiring a storage size of {need} are out of bounds for storage of size {room}")
    return apply(ops.as_strided, (input,), (size, stride, storage_offset - own, input.stride()))


@method
def as_strided_(self: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """Have this tensor itself look at its storage in the given way."""
    return _become(self, METHODS["as_strided"](self, size, stride, storage_offset))


# Several parts


@function(out=False)
def unbind(input: Any, dim: int = 0, *, axis: int | None = None) -> Any:
    """All parts along a dimension, which disappears, as a tuple.

    >>> import bibun as torch
    >>> torch.tensor([[1, 2], [3, 4]]).unbind()
    (tensor([1, 2]), tensor([3, 4]))
    """
    n = only_tensor(input, "unbind")._a.ndim
    dim = dim if axis is None else axis
    if not n:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return _unbind(input, normalize_dim(dim, n))


def _pieces(n: int, size: int) -> tuple[int, ...]:
    whole, rest = divmod(n, size) if size else (0, 0)
    sizes = (size,) * whole
    return (*sizes, rest) if rest else sizes or (0,)


def _split(x: Any, sizes: Any, dim: int, name: str = "split") -> Any:
    shape = only_tensor(x, name, "tensor")._a.shape
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    dim = normalize_dim(dim, len(shape))
    n = shape[dim]
    if isinstance(sizes, (tuple, list)) or isinstance(sizes, dispatch.Tensor) and sizes._a.ndim:
        sizes = sizes_of((sizes,), "split_with_sizes", "split_sizes")
        if any(s < 0 for s in sizes):
            raise RuntimeError(f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={list(sizes)}")
        if sum(sizes) != n:
            raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {dim}), but got "
                               f"split_sizes={list(sizes)}")
        return _split_sizes(x, sizes, dim)
    size = operator.index(sizes)
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if not size and n:
        raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
    return _split_even(x, _pieces(n, size), dim)


@function(method=False, out=False)
def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    """Consecutive parts of one size (the last may be smaller), or of given sizes, as a tuple of views.

    >>> import bibun as torch
    >>> torch.arange(5).split([1, 4])
    (tensor([0]), tensor([1, 2, 3, 4]))
    """
    return _split(tensor, split_size_or_sections, dim)


@method(name="split")
def split_method(self: Any, split_size: Any, dim: int = 0) -> Any:
    """See `torch.split`."""
    return _split(self, split_size, dim)


@function(out=False)
def split_with_sizes(input: Any, split_sizes: Any, dim: int = 0) -> Any:
    """Consecutive parts of the given sizes."""
    return _split(input, tuple(split_sizes), dim)


@function(out=False)
def unsafe_split(input: Any, split_size: int, dim: int = 0) -> Any:
    """`torch.split`."""
    return _split(input, split_size, dim)


@function(out=False)
def unsafe_split_with_sizes(input: Any, split_sizes: Any, dim: int = 0) -> Any:
    """`torch.split_with_sizes`."""
    return _split(input, tuple(split_sizes), dim)


@function(out=False, aliases="unsafe_chunk")
def chunk(input: Any, chunks: int, dim: int = 0) -> Any:
    """At most ``chunks`` parts of one size (the last may be smaller).

    >>> import bibun as torch
    >>> [len(part) for part in torch.arange(11).chunk(6)]
    [2, 2, 2, 2, 2, 1]
    """
    shape = only_tensor(input, "chunk")._a.shape
    if not shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = normalize_dim(dim, len(shape))
    n = shape[dim]
    if not n:
        return _split_sizes(input, (0,) * chunks, dim)
    return _split_even(input, _pieces(n, -(-n // chunks)), dim)


def _cut(x: Any, bounds: list[int], dim: int) -> Any:
    """The parts between the given positions, clipped as Python's slices are."""
    n = x._a.shape[dim]
    parts, start = [], 0
    for stop in (*bounds, n):
        first = min(max(start + n if start < 0 else start, 0), n)
        last = max(min(max(stop + n if stop < 0 else stop, 0), n), first)
        parts.append(_slice(x, dim, first, last, 1))
        start = stop
    return tuple(parts)


@function(out=False)
def tensor_split(input: Any, indices_or_sections: Any = None, dim: int = 0, *, indices: Any = None, sections: Any = None,
                 tensor_indices_or_sections: Any = None) -> Any:
    """Parts of nearly equal size, or those between the given positions.

    >>> import bibun as torch
    >>> [len(part) for part in torch.tensor_split(torch.arange(8), 3)]
    [3, 3, 2]
    """
    for other in (indices, sections, tensor_indices_or_sections):
        indices_or_sections = other if indices_or_sections is None else indices_or_sections
    shape = only_tensor(input, "tensor_split")._a.shape
    if not shape:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    dim = normalize_dim(dim, len(shape))
    given = indices_or_sections
    if isinstance(given, dispatch.Tensor):
        if given._a.dtype != np.int64:
            raise RuntimeError(f"tensor_split expected tensor_indices_or_sections to have dtype of long, but got {given.dtype.scalar_name}")
        if given._a.ndim > 1:
            raise RuntimeError(f"tensor_split expected tensor_indices_or_sections to be a zero-dimensional or one-dimensional tensor, but got "
                               f"a tensor with {given._a.ndim} dims")
        given = given.tolist()
    if isinstance(given, (tuple, list)):
        return _cut(input, list(sizes_of((given,), "tensor_split", "indices")), dim)
    parts = operator.index(given)
    if parts <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {parts}")
    size, extra = divmod(shape[dim], parts)
    return _cut(input, [i * size + min(i, extra) for i in range(1, parts)], dim)


def _even_split(name: str, least: int, pick: Any) -> None:
    def cut(input: Any, indices_or_sections: Any = None, *, indices: Any = None, sections: Any = None) -> Any:
        given = next((g for g in (indices_or_sections, indices, sections) if g is not None), None)
        n = only_tensor(input, name)._a.ndim
        if n < least:
            raise RuntimeError(f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with {n} dimensions!")
        dim = pick(n)
        if isinstance(given, int):
            if given <= 0 or input._a.shape[dim] % given:
                raise RuntimeError(f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
                                   f"{input._a.shape[dim]} is not divisible by the split_size {given}!")
        return METHODS["tensor_split"](input, given, dim)
    cut.__name__ = cut.__qualname__ = name
    cut.__doc__ = f"`torch.tensor_split` along {dict(hsplit='columns', vsplit='rows', dsplit='depth')[name]}, in equal parts."
    function(cut, out=False)


_even_split("hsplit", 1, lambda n: 0 if n == 1 else 1)
_even_split("vsplit", 2, lambda n: 0)
_even_split("dsplit", 3, lambda n: 2)


# Complex and real


@function(out=False)
def view_as_real(input: Any) -> Any:
    """Complex numbers as pairs of reals in a new last dimension."""
    if input._a.dtype.kind != "c":
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return apply(ops.view_as_real, (input,))


@function(out=False)
def view_as_complex(input: Any) -> Any:
    """Pairs of reals in the last dimension as complex numbers.

    >>> import bibun as torch
    >>> torch.view_as_complex(torch.tensor([[1.0, 2.0]]))
    tensor([1.+2.j])
    """
    a = input._a
    if a.dtype.kind != "f" or a.itemsize < 4:
        raise RuntimeError("view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: "
                           f"{input.dtype.scalar_name}")
    if not a.ndim:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if a.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if a.__class__ is not ndarray:          # an example of a batch: its memory is not its own
        return apply(ops.view_as_complex, (input,))
    if a.strides[-1] != a.itemsize:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % (2 * a.itemsize) for s in a.strides[:-1]):
        raise RuntimeError(f"Tensor must have a stride divisible by 2 for all but last dimension, got {list(input.stride())}")
    return apply(ops.view_as_complex, (input,))


@function(method=False, out=False)
def real(input: Any) -> Any:
    """The real part: a view of a complex tensor, a real tensor itself."""
    if input._a.dtype.kind != "c":
        return input
    pairs = apply(ops.view_as_real, (input,))
    return _select(pairs, pairs._a.ndim - 1, 0)


@function(method=False, out=False)
def imag(input: Any) -> Any:
    """The imaginary part of a complex tensor, a view."""
    if input._a.dtype.kind != "c":
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    pairs = apply(ops.view_as_real, (input,))
    return _select(pairs, pairs._a.ndim - 1, 1)


def _part(read: Any) -> property:
    def write(self: Any, value: Any) -> None:
        read(self).copy_(value)
    return property(read, write, doc=read.__doc__)


METHODS["real"], METHODS["imag"] = _part(real), _part(imag)


# Changing the tensor's own view


def _become(x: Any, made: Any) -> Any:
    """Have ``x`` itself look at memory as ``made``, a view of it, does, with its history."""
    check_writable(x)
    x._a, x._node = made._a, made._node
    if x._view is not None:
        x._view = made._view
    return x


def _own(name: str, source: str) -> None:
    def change(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _become(self, METHODS[source](self, *args, **kwargs))
    change.__name__ = change.__qualname__ = name
    change.__doc__ = f"`{source}`, applied to this tensor itself."
    METHODS[name] = change


for _name in ("t", "transpose", "swapaxes", "swapdims", "squeeze", "unsqueeze"):
    _own(_name + "_", _name)


# Copying forms


def _copying(name: str) -> None:
    def copied(input: Any, *args: Any, **kwargs: Any) -> Any:
        made = METHODS[name](input, *args, **kwargs)
        return tuple([m.clone() for m in made]) if isinstance(made, tuple) else made.clone()
    copied.__name__ = copied.__qualname__ = name + "_copy"
    copied.__doc__ = f"A copy of what `{name}` gives."
    function(copied, method=False)


for _name in ("expand", "permute", "squeeze", "unsqueeze", "transpose", "t", "select", "diagonal", "unbind", "split", "split_with_sizes",
              "view", "view_as_real", "view_as_complex", "unfold", "as_strided"):
    _copying(_name)


@function(method=False, out=False)
def alias_copy(input: Any) -> Any:
    """A copy."""
    return input.clone()


@function(method=False)
def slice_copy(input: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    """A copy of positions ``start:end:step`` of a dimension."""
    dim = normalize_dim(dim, input._a.ndim)
    first, last, _ = slice(start, end, step).indices(input._a.shape[dim])
    return _slice(input, dim, first, max(first, last), step).clone()
