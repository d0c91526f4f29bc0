"""Joining, repeating, reversing and building by position: functions that copy elements to other places.

In go tensors (or sequences of them) and PyTorch's arguments; out come new tensors.
"""

from __future__ import annotations

import operator
from itertools import combinations as _combinations
from itertools import combinations_with_replacement as _with_replacement
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd import dispatch
from ..autograd.direct import direct, make_joint
from ..autograd.dispatch import apply, wrap
from ..backends import cpu
from ..errors import normalize_dim, normalize_dims, unsupported_dtype
from ..ops import joining as ops
from ..ops import shape as views
from ..ops.primitive import REGISTRY
from .register import METHODS, function, method
from .shape import only_tensor, sizes_of, tensors_of

ndarray = np.ndarray
_concat = make_joint(ops.concat, cpu.concat)
_stack = make_joint(ops.stack, cpu.stack)
_tile = direct(ops.tile)


def promoted(tensors: Any) -> Any:
    """The tensors in their common dtype; themselves where that is one."""
    first = tensors[0]._a.dtype
    for x in tensors:
        if x._a.dtype is not first and x._a.dtype != first:
            break
    else:
        return tensors
    common = dispatch.common_dtype([x._a for x in tensors])
    astype = REGISTRY["astype"]
    return [x if x._a.dtype == common else apply(astype, (x,), (common,)) for x in tensors]


# Joining


def _check_joint(tensors: Any, dim: int) -> None:
    """Say what is wrong with tensors that cannot be concatenated."""
    shapes = [t._a.shape for t in tensors]
    reference = None
    for i, s in enumerate(shapes):
        if not s:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
        if s == (0,):
            continue
        if reference is None:
            reference = s
        elif len(s) != len(reference):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(reference)} and {len(s)}")
        else:
            for d, (n, m) in enumerate(zip(reference, s)):
                if d != dim and n != m:
                    raise RuntimeError(
                        f"Sizes of tensors must match except in dimension {dim}. Expected size {n} but got size {m} for tensor "
                        f"number {i} in the list."
                    )


@function(method=False, aliases="concat concatenate")
def cat(tensors: Any, dim: Any = 0, *, axis: Any = None) -> Any:
    """The tensors one after another along a dimension.

    >>> import bibun as torch
    >>> torch.cat([torch.zeros(1, 2), torch.ones(2, 2)])
    tensor([[0., 0.],
            [1., 1.],
            [1., 1.]])
    """
    if (tensors.__class__ is tuple or tensors.__class__ is list) and dim.__class__ is int and axis is None:
        try:
            first = tensors[0]._a  # what is common: tensors of one dtype and as many dimensions
            n, d = first.ndim, first.dtype
            if 0 <= dim < n or -n <= dim < 0:
                for x in tensors:
                    if x._a.ndim != n or x._a.dtype is not d or x._a.shape == (0,):
                        break
                else:
                    return _concat(tensors, dim if dim >= 0 else dim + n)
        except (AttributeError, IndexError, ValueError):
            pass  # which the long way words
    tensors = tensors_of(tensors, "cat")
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    if axis is not None:
        dim = axis
    n = 0
    for x in tensors:
        if not x._a.ndim:
            _check_joint(tensors, 0)
        if x._a.shape != (0,) or not n:
            n = max(n, x._a.ndim)
    dim = normalize_dim(dim, n)
    try:
        return _concat(promoted(tensors), dim)
    except (ValueError, IndexError):
        _check_joint(tensors, dim)
        raise


@function(method=False)
def stack(tensors: Any, dim: Any = 0, *, axis: Any = None) -> Any:
    """The tensors, of one shape, side by side along a new dimension.

    >>> import bibun as torch
    >>> torch.stack([torch.tensor([1, 2]), torch.tensor([3, 4])], 1)
    tensor([[1, 3],
            [2, 4]])
    """
    tensors = tensors_of(tensors, "stack")
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = tensors[0]._a.shape
    for i, x in enumerate(tensors):
        if x._a.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and {list(x._a.shape)} at entry {i}"
            )
    return _stack(promoted(tensors), normalize_dim(dim if axis is None else axis, len(shape) + 1))


def _each(tensors: Any, change: Any, name: str) -> Any:
    tensors = tensors_of(tensors, name)
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return [change(x) for x in tensors]


@function(method=False)
def hstack(tensors: Any) -> Any:
    """The tensors beside one another: along the second dimension, vectors along the first."""
    parts = _each(tensors, at_least(1), "hstack")
    return cat(parts, 0 if parts[0]._a.ndim == 1 else 1)


@function(method=False, aliases="row_stack")
def vstack(tensors: Any) -> Any:
    """The tensors above one another: along the first dimension, vectors as rows."""
    return cat(_each(tensors, at_least(2), "vstack"), 0)


@function(method=False)
def dstack(tensors: Any) -> Any:
    """The tensors behind one another: along the third dimension."""
    return cat(_each(tensors, at_least(3), "dstack"), 2)


@function(method=False)
def column_stack(tensors: Any) -> Any:
    """The tensors beside one another, vectors as columns."""
    return hstack(_each(tensors, lambda x: x if x._a.ndim > 1 else x.reshape(x._a.size, 1), "column_stack"))


@function(method=False, out=False)
def block_diag(*tensors: Any) -> Any:
    """Matrices along the diagonal of a matrix of zeros; vectors count as rows, numbers as 1 × 1."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    for i, x in enumerate(tensors_of(tensors, "block_diag")):
        if x._a.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {x._a.ndim} dimensions"
            )
    if not tensors:
        return wrap(np.empty((1, 0), dtypes.default_np))
    return apply(ops.block_diag, promoted(tensors))


# At least so many dimensions


def _raised(x: Any, least: int) -> Any:
    n = x._a.ndim
    if n >= least:
        return x
    if not n:
        return x.reshape((1,) * least)
    if n == 1 and least > 1:
        x = x.unsqueeze(0)
    return x.unsqueeze(-1) if least == 3 else x


def at_least(least: int) -> Any:
    """The change to a tensor of at least so many dimensions."""
    return lambda x: _raised(x, least)


def _at_least(least: int) -> None:
    def raised(*tensors: Any) -> Any:
        if len(tensors) == 1:
            if isinstance(tensors[0], dispatch.Tensor):
                return _raised(tensors[0], least)
            tensors = tuple(tensors[0])
        return tuple([_raised(x, least) for x in tensors_of(tensors, f"atleast_{least}d")])

    raised.__name__ = raised.__qualname__ = f"atleast_{least}d"
    raised.__doc__ = f"The tensor (or each of several) as one of at least {least} dimensions."
    function(raised, method=False, out=False)


for _n in (1, 2, 3):
    _at_least(_n)


# Reversing and shifting


@function(method=False, out=False)
def flip(input: Any, dims: Any) -> Any:
    """The order reversed along the given dimensions, as a copy.

    >>> import bibun as torch
    >>> torch.tensor([1, 2, 3]).flip(0)
    tensor([3, 2, 1])
    """
    return apply(ops.flip, (only_tensor(input, "flip"),), (_flip_dims(input, sizes_of((dims,), "flip", "dims")),))


def _flip_dims(x: Any, dims: tuple[int, ...]) -> tuple[int, ...]:
    found = normalize_dims(dims, x._a.ndim)
    return found if x._a.ndim else ()


@method(name="flip")
def flip_method(self: Any, *dims: Any, **kwargs: Any) -> Any:
    """See `torch.flip`."""
    if not dims:
        if "dims" not in kwargs:
            raise TypeError('flip() missing 1 required positional arguments: "dims"')
        dims = (kwargs["dims"],)
    return apply(ops.flip, (self,), (_flip_dims(self, sizes_of(dims, "flip", "dims")),))


@function(out=False)
def fliplr(input: Any) -> Any:
    """The columns in reverse order."""
    if input._a.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return apply(ops.flip, (input,), ((1,),))


@function(out=False)
def flipud(input: Any) -> Any:
    """The rows in reverse order."""
    if input._a.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return apply(ops.flip, (input,), ((0,),))


@function(out=False)
def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """Elements shifted along dimensions, those pushed out coming in at the other end; without ``dims``, as one row.

    >>> import bibun as torch
    >>> torch.tensor([1, 2, 3, 4]).roll(1)
    tensor([4, 1, 2, 3])
    """
    only_tensor(input, "roll")
    shifts = sizes_of((shifts,), "roll", "shifts")
    dims = () if dims is None else sizes_of((dims,), "roll", "dims")
    if not shifts:
        raise RuntimeError("`shifts` required")
    if len(shifts) != len(dims) and not (not dims and len(shifts) == 1):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    if dims and not input._a.ndim:
        raise IndexError(f"Dimension specified as {dims[0]} but tensor has no dimensions")
    if not dims:
        return apply(ops.roll, (input,), (shifts, None))
    return apply(ops.roll, (input,), (shifts, tuple([normalize_dim(d, input._a.ndim) for d in dims])))


@function(out=False)
def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """A quarter turn, ``k`` times, from the first towards the second of two dimensions."""
    n = only_tensor(input, "rot90")._a.ndim
    dims = sizes_of((dims,), "rot90", "dims")
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if n < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {n}")
    first, second = (normalize_dim(d, n) for d in dims)
    if first == second:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    return apply(ops.rot90, (input,), (k % 4, (first, second)))


# Repeating


@method
def repeat(self: Any, *repeats: Any, **kwargs: Any) -> Any:
    """The whole tensor repeated so many times along each dimension; there may be new leading dimensions.

    >>> import bibun as torch
    >>> torch.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    times = sizes_of(repeats or (kwargs["repeats"],), "repeat", "repeats")
    shape = self._a.shape
    if len(times) < len(shape):
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(n < 0 for n in times):
        sizes = [n * m for n, m in zip(times, (1,) * (len(times) - len(shape)) + shape)]
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(sizes)}: {sizes}")
    return _tile(self, times)


@function(method=False, out=False)
def tile(input: Any, dims: Any) -> Any:
    """The whole tensor repeated so many times along the last dimensions.

    >>> import bibun as torch
    >>> torch.tile(torch.tensor([1, 2]), (2,))
    tensor([1, 2, 1, 2])
    """
    times = sizes_of((dims,), "tile", "dims")
    return METHODS["repeat"](only_tensor(input, "tile"), (1,) * (input._a.ndim - len(times)) + times)


@method(name="tile")
def tile_method(self: Any, *dims: Any, **kwargs: Any) -> Any:
    """See `torch.tile`."""
    return tile(self, sizes_of(dims or (kwargs["dims"],), "tile", "dims"))


@function(out=False)
def repeat_interleave(
    input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Any:
    """Each element (or each part along ``dim``) repeated so many times.

    >>> import bibun as torch
    >>> torch.tensor([1, 2]).repeat_interleave(2)
    tensor([1, 1, 2, 2])
    """
    only_tensor(input, "repeat_interleave")
    if repeats is None:  # how often each index occurs
        counts = input._a
        if counts.ndim != 1:
            raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
        return wrap(np.repeat(np.arange(counts.size), _counts(input)))
    x = input if dim is not None else METHODS["flatten"](input)
    dim = 0 if dim is None else normalize_dim(dim, x._a.ndim)
    if not x._a.ndim:
        x = x.reshape(1)
    shape = x._a.shape
    if isinstance(repeats, dispatch.Tensor):
        counts = _counts(repeats)
        if counts.ndim > 1:
            raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
        if counts.ndim == 1 and counts.size != 1 and counts.size != shape[dim]:
            raise RuntimeError(
                "repeats must have the same size as input along dim, but got repeats.size(0) = "
                f"{counts.size} and input.size({dim}) = {shape[dim]}"
            )
        if (counts < 0).any():
            raise RuntimeError("repeats can not be negative")
        at = np.repeat(np.arange(shape[dim]), counts)
        if output_size is not None and at.size != output_size:
            raise RuntimeError("allocated size does not match required size")
        return METHODS["index_select"](x, dim, wrap(at))
    times = operator.index(repeats)
    if times < 0:
        raise RuntimeError("Repeats must be non-negative")
    if output_size is not None and output_size != shape[dim] * times:
        raise RuntimeError(
            "repeat_interleave: Invalid output_size, expected " + f"{shape[dim] * times} but got {output_size}"
        )
    wide = x.unsqueeze(dim + 1).expand((*shape[: dim + 1], times, *shape[dim + 1 :]))
    return apply(
        views.view_, (apply(views.rowmajor, (wide,)),), ((*shape[:dim], shape[dim] * times, *shape[dim + 1 :]),)
    )


def _counts(x: Any) -> Any:
    if x._a.dtype.kind not in "iu" or x._a.dtype.itemsize < 4:
        raise unsupported_dtype("repeat_interleave_cpu", x.dtype)
    return x._a


# Triangles and diagonals


def _triangle(name: str, prim: Any) -> None:
    call = direct(prim)

    def part(input: Any, diagonal: int = 0, *, k: int | None = None) -> Any:
        if only_tensor(input, name)._a.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        return call(input, operator.index(diagonal if k is None else k))

    part.__name__ = part.__qualname__ = name
    part.__doc__ = f"""The {"lower" if name == "tril" else "upper"} triangle of the last two dimensions; zeros elsewhere.

    >>> import bibun as torch
    >>> torch.{name}(torch.ones(2, 2))
    tensor({"[[1., 0.]," if name == "tril" else "[[1., 1.],"}
            {"[1., 1.]])" if name == "tril" else "[0., 1.]])"}
    """
    function(part, inplace=True)


_triangle("tril", ops.tril)
_triangle("triu", ops.triu)


@function()
def trace(input: Any) -> Any:
    """The sum of a matrix's diagonal."""
    a = only_tensor(input, "trace")._a
    if a.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {a.ndim}")
    return apply(ops.trace, (input.to(dtypes.int64) if a.dtype.kind in "biu" and a.dtype != np.int64 else input,))


@function(out=False)
def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Zeros with the last dimension of ``input`` on a diagonal of two new dimensions.

    >>> import bibun as torch
    >>> torch.diag_embed(torch.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    n = only_tensor(input, "diag_embed")._a.ndim + 1
    first, second = normalize_dim(dim1, n), normalize_dim(dim2, n)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    if first > second:  # the roles of rows and columns change with the order of the dimensions
        offset, first, second = -offset, second, first
    return apply(ops.diag_embed, (input,), (offset, first, second))


@function()
def diag(input: Any, diagonal: int = 0) -> Any:
    """A matrix with ``input`` on its diagonal, or the diagonal of a matrix, as a copy.

    >>> import bibun as torch
    >>> torch.diag(torch.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    n = only_tensor(input, "diag")._a.ndim
    if n == 1:
        return METHODS["diag_embed"](input, diagonal)
    if n == 2:
        return apply(views.diagonal_copy, (input,), (diagonal, 0, 1))
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {n}D")


@function(out=False)
def diagflat(input: Any, offset: int = 0) -> Any:
    """A matrix with all elements of ``input`` on its diagonal."""
    return METHODS["diag_embed"](METHODS["flatten"](input), offset)


# Grids and combinations


@function(method=False, out=False)
def meshgrid(*tensors: Any, indexing: str | None = None) -> Any:
    """The coordinates of a grid: each vector, expanded over the sizes of all.

    >>> import bibun as torch
    >>> torch.meshgrid(torch.tensor([1, 2]), torch.tensor([3, 4]), indexing="ij")[0]
    tensor([[1, 1],
            [2, 2]])
    """
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    given = tensors_of(tensors, "meshgrid")
    for x in given:
        if x._a.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {x}")
        if x._a.dtype != given[0]._a.dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    if indexing is None:
        import warnings

        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.",
            UserWarning,
            stacklevel=3,
        )
        indexing = "ij"
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    order = list(range(len(given)))
    if indexing == "xy" and len(given) > 1:
        order[0], order[1] = 1, 0
    shape = [given[i]._a.size for i in order]
    out = []
    for i, x in enumerate(given):
        at = order[i]
        out.append(x.reshape((1,) * at + (x._a.size,) + (1,) * (len(shape) - at - 1)).expand(shape))
    return tuple(out)


@function(method=False, out=False)
def cartesian_prod(*tensors: Any) -> Any:
    """All tuples of one element from each vector, as rows."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    for x in tensors_of(tensors, "cartesian_prod"):
        if x._a.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(x._a.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    grids = meshgrid(*tensors, indexing="ij")
    return stack([METHODS["flatten"](g) for g in grids], 1)


@function(out=False)
def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """All choices of ``r`` elements of a vector, as rows.

    >>> import bibun as torch
    >>> torch.combinations(torch.tensor([1, 2, 3]))
    tensor([[1, 2],
            [1, 3],
            [2, 3]])
    """
    if only_tensor(input, "combinations")._a.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input._a.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if not r:
        return wrap(np.empty(0, input._a.dtype))
    make = _with_replacement if with_replacement else _combinations
    at = np.array(list(make(range(input._a.size), r)), np.int64).reshape(-1, r)
    return METHODS["index_select"](input, 0, wrap(at.reshape(-1))).view(at.shape)


@function(method=False)
def vander(x: Any, N: int | None = None, *, increasing: bool = False) -> Any:
    """The Vandermonde matrix of a vector: its powers as columns, falling unless ``increasing``."""
    if only_tensor(x, "vander", "x")._a.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x._a.size if N is None else N
    if n < 0:
        raise RuntimeError(f"N must be non-negative, got {n}")
    x = x.to(dtypes.int64) if x._a.dtype.kind in "b" else x
    columns = [x.new_ones(x._a.shape)]
    for _ in range(1, n):
        columns.append(columns[-1] * x)
    columns = columns[:n]
    if not columns:
        return x.new_empty((x._a.size, 0))
    return stack(columns if increasing else columns[::-1], 1)


# Channels and pixels


@function(method=False, out=False)
def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """Elements of a (*, C·r², H, W) tensor as one of (*, C, H·r, W·r).

    Formula: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel CNN" (2016).
    """
    shape = only_tensor(input, "pixel_shuffle")._a.shape
    if len(shape) < 3:
        raise RuntimeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {len(shape)} dimension(s)"
        )
    if upscale_factor <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {upscale_factor}")
    if shape[-3] % (upscale_factor * upscale_factor):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but "
            f"input.size(-3)={shape[-3]} is not divisible by {upscale_factor * upscale_factor}"
        )
    return apply(ops.pixel_shuffle, (input,), (upscale_factor,))


@function(method=False, out=False)
def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """The inverse of `torch.pixel_shuffle`."""
    shape = only_tensor(input, "pixel_unshuffle")._a.shape
    if len(shape) < 3:
        raise RuntimeError(
            f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {len(shape)} dimension(s)"
        )
    if downscale_factor <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {downscale_factor}")
    for axis, word in ((-2, "height"), (-1, "width")):
        if shape[axis] % downscale_factor:
            raise RuntimeError(
                f"pixel_unshuffle expects {word} to be divisible by downscale_factor, but input.size({axis})={shape[axis]} is "
                f"not divisible by {downscale_factor}"
            )
    return apply(ops.pixel_unshuffle, (input,), (downscale_factor,))


@function(method=False, out=False, aliases="native_channel_shuffle")
def channel_shuffle(input: Any, groups: int) -> Any:
    """The channels (dimension 1) dealt out in turn to ``groups`` groups."""
    shape = only_tensor(input, "channel_shuffle")._a.shape
    if len(shape) < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(shape)}")
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    if shape[1] % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {shape[1]} channels and {groups} groups."
        )
    return apply(ops.channel_shuffle, (input,), (groups, 1))
