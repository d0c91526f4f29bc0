"""Parts of tensors: slices, diagonals, windows, splits, real and imaginary parts; and tensors that change their own view.

In go tensors and PyTorch's arguments; out come views of the same memory (or, for the names ending in ``_copy``, copies).
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd import dispatch, inplace
from ..autograd.direct import make_views
from ..autograd.dispatch import apply
from ..autograd.inplace import check_writable
from ..autograd.modes import state
from ..autograd.views import like
from ..backends import cpu
from ..errors import normalize_dim
from ..ops import shape as ops
from .register import METHODS, function, method
from .shape import _select, _slice, only_tensor, sizes_of

ndarray = np.ndarray

_unbind = make_views(ops.unbind, cpu.unbind)
_split_sizes = make_views(ops.split_with_sizes, cpu.split_with_sizes)
_split_even = make_views(ops.split, cpu.split_with_sizes)


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
    >>> torch.as_strided(torch.arange(6), (2, 3), (1, 2), 0)
    tensor([[0, 2, 4],
            [1, 3, 5]])
    """
    size, stride = sizes_of((size,), "as_strided"), sizes_of((stride,), "as_strided", "stride")
    if len(size) != len(stride):
        if input._a.__class__ is not ndarray:
            raise RuntimeError(
                "Tensor.as_strided(size, stride, ...): size and stride must have the same length! "
                f"Got size {list(size)} and stride {list(stride)}"
            )
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in stride):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}")
    if any(n < 0 for n in size):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {list(size)}")
    if input._a.__class__ is not ndarray:  # an example of a batch, in the memory of all
        below = input
        while isinstance(below, inplace.Wrapper):
            below = below.value
        offset = 0 if storage_offset is None else storage_offset - below.storage_offset()
        return apply(ops.as_strided, (input,), (size, stride, offset, tuple(input.stride())))
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
            raise RuntimeError(
                f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {storage_offset}, and itemsize "
                f"{a.itemsize} requiring a storage size of {need} are out of bounds for storage of size {room}"
            )
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
            raise RuntimeError(
                f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={list(sizes)}"
            )
        if sum(sizes) != n:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {dim}), but got "
                f"split_sizes={list(sizes)}"
            )
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


def _unguarded(parts: Any) -> Any:
    """Parts that autograd does not know to be views, so that each may be written in place."""
    for t in parts:
        t._view = None
    return parts


@function(out=False)
def unsafe_split(input: Any, split_size: int, dim: int = 0) -> Any:
    """`torch.split`, of which parts may be written in place by whoever does not need the others, nor the whole, any more."""
    return _unguarded(_split(input, split_size, dim))


@function(out=False)
def unsafe_split_with_sizes(input: Any, split_sizes: Any, dim: int = 0) -> Any:
    """`torch.split_with_sizes`, in the way of `unsafe_split`."""
    return _unguarded(_split(input, tuple(split_sizes), dim))


@function(out=False)
def unsafe_chunk(input: Any, chunks: int, dim: int = 0) -> Any:
    """`torch.chunk`, in the way of `unsafe_split`."""
    return _unguarded(chunk(input, chunks, dim))


@function(out=False)
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
def tensor_split(
    input: Any,
    indices_or_sections: Any = None,
    dim: int = 0,
    *,
    indices: Any = None,
    sections: Any = None,
    tensor_indices_or_sections: Any = None,
) -> Any:
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
            raise RuntimeError(
                f"tensor_split expected tensor_indices_or_sections to have dtype of long, but got {given.dtype.scalar_name}"
            )
        if given._a.ndim > 1:
            raise RuntimeError(
                f"tensor_split expected tensor_indices_or_sections to be a zero-dimensional or one-dimensional tensor, but got "
                f"a tensor with {given._a.ndim} dims"
            )
        given = given.tolist()
    if isinstance(given, (tuple, list)):
        return _cut(input, list(sizes_of((given,), "tensor_split", "indices")), dim)
    parts = operator.index(given)
    if parts <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {parts}")
    size, extra = divmod(shape[dim], parts)
    return _cut(input, [i * size + min(i, extra) for i in range(1, parts)], dim)


#: Which dimension each of the named splits cuts.
cut_along = {"hsplit": "columns", "vsplit": "rows", "dsplit": "depth"}


def _even_split(name: str, least: int, pick: Any) -> None:
    def cut(input: Any, indices_or_sections: Any = None, *, indices: Any = None, sections: Any = None) -> Any:
        given = next((g for g in (indices_or_sections, indices, sections) if g is not None), None)
        n = only_tensor(input, name)._a.ndim
        if n < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with {n} dimensions!"
            )
        dim = pick(n)
        if isinstance(given, int):
            if given <= 0 or input._a.shape[dim] % given:
                raise RuntimeError(
                    f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
                    f"{input._a.shape[dim]} is not divisible by the split_size {given}!"
                )
        return METHODS["tensor_split"](input, given, dim)

    cut.__name__ = cut.__qualname__ = name
    cut.__doc__ = f"`torch.tensor_split` along {cut_along[name]}, in equal parts."
    function(cut, out=False)


_even_split("hsplit", 1, lambda n: 0 if n == 1 else 1)
_even_split("vsplit", 2, lambda n: 0)
_even_split("dsplit", 3, lambda n: 2)


# Complex and real


@function(out=False)
def view_as_real(input: Any) -> Any:
    """Complex numbers as pairs of reals in a new last dimension."""
    if input._a.dtype.kind not in "cW":
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
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: "
            f"{input.dtype.scalar_name}"
        )
    if not a.ndim:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if a.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    # (An example of a batch has no memory of its own.)
    unit = a.itemsize if a.__class__ is ndarray else 1
    *strides, last = a.strides if a.__class__ is ndarray else input.stride()
    if last != unit:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % (2 * unit) for s in strides):
        raise RuntimeError(
            f"Tensor must have a stride divisible by 2 for all but last dimension, got {list(input.stride())}"
        )
    return apply(ops.view_as_complex, (input,))


@function(method=False, out=False)
def real(input: Any) -> Any:
    """The real part: a view of a complex tensor, a real tensor itself."""
    if input._a.dtype.kind not in "cW":
        return input
    pairs = apply(ops.view_as_real, (input,))
    return _select(pairs, pairs._a.ndim - 1, 0)


@function(method=False, out=False)
def imag(input: Any) -> Any:
    """The imaginary part of a complex tensor, a view."""
    if input._a.dtype.kind not in "cW":
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
    if dispatch.busy[0] and isinstance(x, inplace.Wrapper):
        inplace.become_wrapped(x, made)
    x._a = made._a
    if state.grad:
        x._node = made._node
    if x._view is not None:
        x._view = like(x._view, made._view)
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


def _dense(x: Any) -> Any:
    return x.clone(memory_format=dtypes.contiguous_format)


def _copying(name: str) -> None:
    def copied(input: Any, *args: Any, **kwargs: Any) -> Any:
        made = METHODS[name](input, *args, **kwargs)
        return tuple([_dense(m) for m in made]) if isinstance(made, tuple) else _dense(made)

    copied.__name__ = copied.__qualname__ = name + "_copy"
    copied.__doc__ = f"A copy of what `{name}` gives."
    function(copied, method=False)


for _name in (
    "expand",
    "permute",
    "squeeze",
    "unsqueeze",
    "transpose",
    "t",
    "select",
    "diagonal",
    "unbind",
    "split",
    "split_with_sizes",
    "view",
    "view_as_real",
    "view_as_complex",
    "unfold",
    "as_strided",
):
    _copying(_name)


@function(method=False)
def alias_copy(input: Any) -> Any:
    """A copy."""
    return input.clone()


@function(method=False)
def slice_copy(input: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    """A copy of positions ``start:end:step`` of a dimension."""
    dim = normalize_dim(dim, input._a.ndim)
    first, last, _ = slice(start, end, step).indices(input._a.shape[dim])
    return _dense(_slice(input, dim, first, max(first, last), step))
