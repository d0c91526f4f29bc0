"""Gathers, scatters, masks and their kin: functions that read and write by position.

In go tensors, index tensors of int64 and PyTorch's arguments; out come new tensors (and, for the names with an underscore,
the tensor written to).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .. import indexing
from ..autograd import dispatch
from ..autograd.direct import direct, make_two
from ..autograd.dispatch import apply, wrap
from ..backends import cpu
from ..errors import normalize_dim
from ..ops import indexing as ops
from ..ops import masks
from .core import converted
from .register import FUNCTIONS, METHODS, function, method
from .shape import only_tensor, values_of

ndarray = np.ndarray
I64 = np.dtype(np.int64)

METHODS["__getitem__"] = indexing.get_item
METHODS["__setitem__"] = indexing.set_item

_take_along = make_two(ops.take_along_axis, cpu.take_along_axis)
_masked_fill = make_two(masks.masked_fill, partial(masks.masked_fill.run, cpu))
_scatter_add, _index_add = direct(ops.scatter_add), direct(ops.index_add)
_index_select = make_two(ops.index_select, partial(ops.index_select.run, cpu))


# Arguments


def _positions(index: Any, name: str) -> Any:
    """An index tensor, as int64."""
    only_tensor(index, name, "index", 3)
    d = index._a.dtype
    if d == I64:
        return index
    if d == np.int32 or not index._a.size:
        return converted(index, I64)
    raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")


def _same_dtype(x: Any, other: Any, name: str, words: str) -> None:
    if x._a.dtype != other._a.dtype:
        raise RuntimeError(words.format(name=name, a=x.dtype.scalar_name, b=other.dtype.scalar_name))


def _wrapped(a: Any) -> tuple[int, ...]:
    return a.shape or (1,)


def _check_scatter(x: Any, index: Any, src: Any, dim: int, name: str) -> None:
    """PyTorch's conditions on the shapes of a gather or scatter."""
    own, at = _wrapped(x._a), _wrapped(index._a)
    if not index._a.size:
        return
    if len(own) != len(at):
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as "
            + ("input" if name == "gather" else "self")
            + " tensor"
        )
    if src is not None:
        other = _wrapped(src._a)
        if len(other) != len(at):
            raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    for i, m in enumerate(at):
        if name == "gather":
            if i != dim and m > own[i]:
                raise RuntimeError(
                    f"Size does not match at dimension {i} expected index {list(index._a.shape)} to be no larger than self "
                    f"{list(x._a.shape)} apart from dimension {dim}"
                )
        elif i != dim and m > own[i] or src is not None and m > other[i]:
            tail = f" and to be no larger size than src {list(src._a.shape)}" if src is not None else ""
            raise RuntimeError(
                f"Expected index {list(index._a.shape)} to be no larger than self {list(x._a.shape)} apart from dimension {dim}{tail}"
            )


def _bounded(call: Any, index: Any, x: Any, dim: int) -> Any:
    """Run a gather or scatter, with PyTorch's error where an index is out of bounds."""
    try:
        return call()
    except IndexError as error:
        raise _out_of_bounds(index, x, dim) or error from None


def _out_of_bounds(index: Any, x: Any, dim: int) -> RuntimeError | None:
    """PyTorch's error of the first index that is out of bounds, if there is one."""
    n = _wrapped(x._a)[dim]
    a = values_of(index)
    wrong: Any = () if a is None else a[(a >= n) | (a < 0)].reshape(-1)[:1]
    return RuntimeError(f"index {int(wrong[0])} is out of bounds for dimension {dim} with size {n}") if len(wrong) else None


# Element by element


@function()
def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    """``input`` read at ``index`` along a dimension: ``out[i][j] = input[index[i][j]][j]`` for dimension 0.

    >>> import bibun as torch
    >>> torch.gather(torch.tensor([[1, 2], [3, 4]]), 1, torch.tensor([[0, 0], [1, 0]]))
    tensor([[1, 1],
            [4, 3]])
    """
    index = _positions(index, "gather")
    a, at = only_tensor(input, "gather")._a, index._a
    dim = normalize_dim(dim, a.ndim)
    if a.shape[dim + 1 :] != at.shape[dim + 1 :] or a.shape[:dim] != at.shape[:dim] or not a.ndim:
        _check_scatter(input, index, None, dim, "gather")
    try:
        return _take_along(input, index, dim)
    except IndexError as error:
        raise _out_of_bounds(index, input, dim) or error from None


_REDUCTIONS = {"add": "sum", "multiply": "prod"}


def _scattered(input: Any, dim: int, index: Any, src: Any, value: Any, reduce: Any, name: str = "scatter") -> Any:
    index = _positions(index, name)
    dim = normalize_dim(dim, only_tensor(input, name)._a.ndim)
    if src is None:
        src = value
    if src is None:
        raise TypeError(f"{name}() received an invalid combination of arguments")
    if isinstance(src, dispatch.Tensor):
        _same_dtype(input, src, name, "{name}(): Expected self.dtype to be equal to src.dtype")
        _check_scatter(input, index, src, dim, name)
    else:
        _check_scatter(input, index, None, dim, name)
        if isinstance(src, complex) and input._a.dtype.kind != "c":
            raise RuntimeError(f"value cannot be converted to type {input.dtype.name} without overflow")
        src = src.item() if hasattr(src, "item") else src
    if reduce is not None:
        if reduce not in _REDUCTIONS:
            raise RuntimeError(
                "reduce argument must be either add or multiply."
                if reduce not in ("sum", "prod")
                else "reduce argument must be either add or multiply."
            )
        if not isinstance(src, dispatch.Tensor):
            src = wrap(np.full(index._a.shape, src).astype(input._a.dtype))
        return _bounded(
            lambda: apply(ops.scatter_reduce, (input, index, src), (dim, _REDUCTIONS[reduce], True)), index, input, dim
        )
    if isinstance(src, dispatch.Tensor):
        return _bounded(lambda: apply(ops.scatter, (input, index, src), (dim,)), index, input, dim)
    return _bounded(lambda: apply(ops.scatter_fill, (input, index), (dim, src)), index, input, dim)


@function(inplace=True)
def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: Any = None) -> Any:
    """``input`` with values put at ``index`` along a dimension: ``out[index[i][j]][j] = src[i][j]`` for dimension 0.

    >>> import bibun as torch
    >>> torch.zeros(1, 3).scatter(1, torch.tensor([[2]]), 5.0)
    tensor([[0., 0., 5.]])
    """
    return _scattered(input, dim, index, src, value, reduce)


@function(inplace=True)
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """``input`` with the values of ``src`` added at ``index`` along a dimension."""
    index = _positions(index, "scatter_add")
    dim = normalize_dim(dim, only_tensor(input, "scatter_add")._a.ndim)
    _same_dtype(
        input,
        only_tensor(src, "scatter_add", "src", 4),
        "scatter",
        "{name}(): Expected self.dtype to be equal to src.dtype",
    )
    _check_scatter(input, index, src, dim, "scatter_add")
    return _bounded(lambda: _scatter_add(input, index, src, dim), index, input, dim)


_KINDS = ("sum", "prod", "mean", "amax", "amin")


@function(inplace=True)
def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """``input`` with the values of ``src`` reduced (sum, prod, mean, amax, amin) into ``index`` along a dimension.

    With ``include_self=False`` a place that gets values forgets its own. Products have second derivatives also where
    several factors are zero, which PyTorch refuses.
    """
    if reduce not in _KINDS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}.")
    index = _positions(index, "scatter_reduce")
    dim = normalize_dim(dim, only_tensor(input, "scatter_reduce")._a.ndim)
    _same_dtype(input, src, "scatter", "{name}(): Expected self.dtype to be equal to src.dtype")
    _check_scatter(input, index, src, dim, "scatter_reduce")
    return _bounded(
        lambda: apply(ops.scatter_reduce, (input, index, src), (dim, reduce, bool(include_self))), index, input, dim
    )


@function()
def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """``input`` read at ``indices`` along a dimension, both broadcast in the others; without one, from the flattened tensor."""
    only_tensor(input, "take_along_dim")
    if indices._a.dtype != I64:
        raise RuntimeError(
            f"torch.take_along_dim(): dtype of indices should be Long but got {indices.dtype.scalar_name}"
        )
    if dim is None:
        return METHODS["gather"](METHODS["flatten"](input), 0, METHODS["flatten"](indices))
    if input._a.ndim != indices._a.ndim:
        raise RuntimeError(
            f"torch.take_along_dim(): input and indices should have the same number of dimensions, but got {input._a.ndim} "
            f"dimensions for input, and {indices._a.ndim} dimensions for indices"
        )
    dim = normalize_dim(dim, input._a.ndim)
    own, at = list(input._a.shape), list(indices._a.shape)
    for i in range(len(own)):
        if i != dim:
            try:
                own[i] = at[i] = np.broadcast_shapes((own[i],), (at[i],))[0]
            except ValueError:
                from ..errors import broadcast_error

                raise broadcast_error(input._a.shape, indices._a.shape) from None
    wide = input if tuple(own) == input._a.shape else input.expand(own)
    n = own[dim] if own else 1
    chosen = indices if tuple(at) == indices._a.shape else indices.expand(at)
    a = values_of(chosen)
    if a is None or a.size and (a < 0).any():
        chosen = METHODS["remainder"](chosen, n) if n else chosen
    return METHODS["gather"](wide, dim, chosen)


# Slice by slice


def _index_vector(index: Any, name: str) -> Any:
    only_tensor(index, name, "index", 3)
    if index._a.dtype != I64:
        if index._a.dtype != np.int32:
            raise RuntimeError(
                f"{name}(): Expected dtype int32 or int64 for index"
                if name != "index_copy_"
                else f"index_copy_(): Expected a long tensor for index, but got {index.dtype.scalar_name}"
            )
        index = converted(index, I64)
    if index._a.ndim > 1:
        raise IndexError(
            f"{name}(): Index is supposed to be a vector, but got dim: {index._a.ndim}"
            if name != "index_add"
            else f"{name}(): Index is supposed to be a vector"
        )
    return index if index._a.ndim else index.reshape(1)


def _check_range(index: Any, n: int, error: Any, words: str) -> None:
    a = values_of(index)
    if a is not None and a.size and (a.min() < 0 or a.max() >= n):
        raise error(words)


@function()
def index_select(input: Any, dim: int, index: Any) -> Any:
    """The slices of ``input`` at positions ``index`` of a dimension, copied.

    >>> import bibun as torch
    >>> torch.index_select(torch.tensor([[1, 2], [3, 4]]), 0, torch.tensor([1]))
    tensor([[3, 4]])
    """
    dim = normalize_dim(dim, only_tensor(input, "index_select")._a.ndim)
    index = _index_vector(index, "index_select")
    n = _wrapped(input._a)[dim]
    _check_range(index, n, IndexError, "index out of range in self")
    if not input._a.ndim:
        if index._a.size != 1:
            raise RuntimeError(
                "index_select(): Index to scalar can have only 1 value, got " + f"{index._a.size} value(s)"
            )
        return input.clone()
    return _index_select(input, index, dim)


def _slices_fit(input: Any, dim: int, index: Any, source: Any, name: str) -> Any:
    _same_dtype(
        input,
        only_tensor(source, name, "source", 4),
        name,
        "{name}(): self ({a}) and source ({b}) must have the same scalar type",
    )
    n = _wrapped(source._a)[dim] if source._a.ndim else 1
    if index._a.size != n:
        raise RuntimeError(
            f"{name}(): Number of indices ({index._a.size}) should be equal to source.size(dim): ({n}), for dim: {dim}"
            if name != "index_copy_"
            else f"index_copy_(): Number of indices ({index._a.size}) should be equal to source.size(dim) ({n})"
        )
    own, other = _wrapped(input._a), _wrapped(source._a)
    if (
        input._a.ndim
        and source._a.ndim
        and (len(own) != len(other) or any(a != b for i, (a, b) in enumerate(zip(own, other)) if i != dim))
    ):
        raise RuntimeError(
            f"{name}(): Source/destination tensor must have same slice shapes. Destination slice shape: "
            f"{[a for i, a in enumerate(own) if i != dim]} at dimension {dim} and source slice shape: "
            f"{[a for i, a in enumerate(other) if i != dim]} at dimension {dim}."
            if name == "index_copy_"
            else "source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = "
            f"{list(input._a.shape)} source.shape = {list(source._a.shape)}"
        )
    return source


@function(inplace=True)
def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """``input`` with ``alpha`` times the slices of ``source`` added at positions ``index`` of a dimension.

    >>> import bibun as torch
    >>> torch.zeros(3).index_add(0, torch.tensor([0, 2, 0]), torch.tensor([1.0, 2.0, 3.0]))
    tensor([4., 0., 2.])
    """
    dim = normalize_dim(dim, only_tensor(input, "index_add")._a.ndim)
    index = _index_vector(index, "index_add")
    source = _slices_fit(input, dim, index, source, "index_add")
    _check_range(index, _wrapped(input._a)[dim], IndexError, "index out of range in self")
    if not (alpha.__class__ is int and alpha == 1):
        source = source * alpha if source._a.dtype.kind != "b" or alpha not in (True, False) else source & bool(alpha)
    return _index_add(input, index, source, dim)


@function(inplace=True)
def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """``input`` with the slices of ``source`` at positions ``index`` of a dimension."""
    dim = normalize_dim(dim, only_tensor(input, "index_copy_")._a.ndim)
    index = _index_vector(index, "index_copy_")
    source = _slices_fit(input, dim, index, source, "index_copy_")
    n = _wrapped(input._a)[dim]
    _check_range(index, n, IndexError, f"index_copy_(): index is out of bounds for dimension {dim} with size {n}")
    return apply(ops.index_copy, (input, index, source), (dim,))


@function(inplace=True)
def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """``input`` with ``value``, a number or 0-d tensor, at positions ``index`` of a dimension."""
    dim = normalize_dim(dim, only_tensor(input, "index_fill_")._a.ndim)
    if index._a.dtype != I64 and index._a.dtype != np.int32:
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    index = _index_vector(index, "index_fill_")
    n = _wrapped(input._a)[dim]
    a = values_of(index)
    if a is not None and a.size and (a.max() >= n or a.min() < -n):
        raise IndexError(
            f"index {int(a.max() if a.max() >= n else a.min())} is out of bounds for dimension {dim} with size {n}"
        )
    if isinstance(value, dispatch.Tensor):
        if value._a.ndim:
            raise RuntimeError(
                f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value._a.ndim} dimension(s)."
            )
        if value._node is not None or value._view is not None or dispatch.busy[0]:
            return apply(ops.index_fill_with, (input, index, value.to(input.dtype)), (dim,))
        value = value.item()
    if isinstance(value, complex) and input._a.dtype.kind != "c":
        raise RuntimeError("index_fill_(): Converting complex Scalar to non-complex type is not supported")
    return apply(ops.index_fill, (input, index), (dim, value))


@function(inplace=True)
def index_reduce(input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    """``input`` with the slices of ``source`` reduced (prod, mean, amax, amin) into positions ``index`` of a dimension."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    dim = normalize_dim(dim, only_tensor(input, "index_reduce")._a.ndim)
    index = _index_vector(index, "index_reduce")
    source = _slices_fit(input, dim, index, source, "index_reduce")
    _check_range(index, _wrapped(input._a)[dim], IndexError, "index out of range in self")
    return apply(ops.index_reduce, (input, index, source), (dim, reduce, bool(include_self)))


# Between brackets, as functions


def _listed(indices: Any, x: Any) -> tuple[list[Any], tuple[int, ...]]:
    found: dict[int, Any] = {}
    dim = 0
    for k in indices:
        if k is None:
            dim += 1
            continue
        if not isinstance(k, dispatch.Tensor):
            k = indexing._tensor_of(k)
        if k._a.dtype not in (I64, np.dtype(bool), np.dtype(np.uint8), np.dtype(np.int32)):
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        found[dim] = k
        dim += k._a.ndim if k._a.dtype == bool or k._a.dtype == np.uint8 else 1
    if dim > x._a.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x._a.ndim} (got {dim})")
    return indexing.index_arrays(x, found)


@method
def index_put_(self: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """Put (or add) ``values`` where a tuple of index tensors says, in place."""
    found, places = _listed(indices, self)
    if not found:
        raise IndexError("index_put_: at least one index must be a tensor")
    return indexing.put_in_place(self, found, places, only_tensor(values, "index_put_", "values", 2), bool(accumulate))


@function(out=False)
def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """A copy of ``input`` with ``values`` put (or added) where a tuple of index tensors says."""
    found, places = _listed(indices, only_tensor(input, "index_put"))
    _same_dtype(
        input,
        values,
        "index_put",
        "Index put requires the source and destination dtypes match, got {a} for the destination and {b} "
        "for the source.",
    )
    indexing._check_bounds(input, found, places)
    try:
        return apply(ops.index_put(len(found)), (input, values, *found), (places, bool(accumulate)))
    except ValueError:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values._a.shape)} cannot be broadcast to indexing result of shape "
            f"{list(indexing._result_shape(input._a.shape, found, places))}"
        ) from None


FUNCTIONS["index_put_"] = METHODS["index_put_"]


@method
def index_at(self: Any, indices: Any, places: tuple[int, ...]) -> Any:
    """This tensor read with index tensors in dimensions ``places``."""
    return indexing.index_call(self, list(indices), tuple(places))


@method
def index_put_at(self: Any, values: Any, indices: Any, places: tuple[int, ...], accumulate: bool = False) -> Any:
    """A copy of this tensor with ``values`` put (or added) where index tensors in dimensions ``places`` say."""
    return apply(ops.index_put(len(indices)), (self, values, *indices), (tuple(places), accumulate))


# The flattened tensor


@function()
def take(input: Any, index: Any) -> Any:
    """Elements of the flattened ``input``, in the shape of ``index``.

    >>> import bibun as torch
    >>> torch.take(torch.tensor([[4, 3, 5], [6, 7, 8]]), torch.tensor([0, 2, 5]))
    tensor([4, 5, 8])
    """
    if only_tensor(index, "take", "index", 2)._a.dtype != I64:
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype.scalar_name}")
    if not only_tensor(input, "take")._a.size and index._a.size:
        raise IndexError("take(): tried to take from an empty tensor")
    return apply(ops.take_flat, (input, index))


@function(inplace=True, out=False)
def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """A copy of ``input`` with the elements of ``source`` put (or added) at positions of its flattening."""
    if only_tensor(index, "put_", "index", 2)._a.dtype != I64:
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {index.dtype.scalar_name}")
    _same_dtype(
        input,
        source,
        "put_",
        "{name}(): self and source expected to have the same dtype, but got self.dtype = {a} and source.dtype = {b}",
    )
    if index._a.size != source._a.size:
        raise RuntimeError(
            f"put_(): Expected source and index to have the same number of elements, but got source.numel() = {source._a.size}, "
            f"index.numel() = {index._a.size}"
        )
    if not input._a.size and index._a.size:
        raise IndexError("put_(): cannot put elements into an empty tensor")
    return apply(ops.put, (input, index, source), (bool(accumulate),))


# Masks


def _mask(mask: Any, name: str) -> Any:
    only_tensor(mask, name, "mask", 2)
    if mask._a.dtype != bool:
        if name == "masked_fill_":
            raise RuntimeError(
                f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype.scalar_name.lower()}"
            )
        raise RuntimeError(
            f"{name}: expected BoolTensor for mask"
            if name != "masked_scatter_"
            else f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype.scalar_name}"
        )
    return mask


def _broadcasts(x: Any, mask: Any) -> None:
    if x._a.shape == mask._a.shape:
        return
    try:
        np.broadcast_shapes(x._a.shape, mask._a.shape)
    except ValueError:
        from ..errors import broadcast_error

        raise broadcast_error(x._a.shape, mask._a.shape) from None


@function(inplace=True)
def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """``input`` with ``value``, a number or 0-d tensor, where the mask is true.

    >>> import bibun as torch
    >>> torch.ones(3).masked_fill(torch.tensor([True, False, True]), 0)
    tensor([0., 1., 0.])
    """
    mask = _mask(mask, "masked_fill_")
    _broadcasts(only_tensor(input, "masked_fill"), mask)
    if isinstance(value, dispatch.Tensor):
        if value._a.ndim:
            raise RuntimeError(
                f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {value._a.ndim} dimension(s)."
            )
        if value._view is not None:
            dispatch.refresh(value)
        if value._node is not None or dispatch.busy[0]:
            return apply(masks.masked_fill_with, (input, mask, value.to(input.dtype)))
        value = value.item()
    if isinstance(value, complex) and input._a.dtype.kind != "c":
        raise RuntimeError("value cannot be converted to type " + f"{indexing._c_name(input.dtype)} without overflow")
    if not isinstance(value, dispatch.OPERANDS):
        raise TypeError(
            f"masked_fill() received an invalid combination of arguments - got (Tensor, {type(value).__name__}), but expected one of:\n"
            " * (Tensor mask, Tensor value)\n * (Tensor mask, Number value)\n"
        )
    return _masked_fill(input, mask, value)


@function()
def masked_select(input: Any, mask: Any) -> Any:
    """The elements of ``input`` where the mask is true, in a row.

    >>> import bibun as torch
    >>> x = torch.tensor([1, 2, 3])
    >>> torch.masked_select(x, x > 1)
    tensor([2, 3])
    """
    mask = _mask(mask, "masked_select")
    _broadcasts(only_tensor(input, "masked_select"), mask)
    return apply(masks.masked_select, (input, mask))


@function(inplace=True)
def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """``input`` with the elements of ``source``, in order, where the mask is true."""
    mask = _mask(mask, "masked_scatter_")
    _broadcasts(only_tensor(input, "masked_scatter"), mask)
    if source._a.dtype != input._a.dtype:
        raise RuntimeError(
            f"masked_scatter_: expected self and source to have same dtypes but gotself has dtype {input.dtype.scalar_name} and "
            f"source has dtype {source.dtype.scalar_name}"
        )
    shape = np.broadcast_shapes(input._a.shape, mask._a.shape)
    if values_of(mask) is not None and np.count_nonzero(np.broadcast_to(mask._a, shape)) > source._a.size:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    return apply(masks.masked_scatter, (input, mask, source))


# Positions


@function()
def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """Where elements are not zero: a row of positions for each, or a tensor of positions for each dimension.

    >>> import bibun as torch
    >>> torch.nonzero(torch.tensor([1, 0, 2])).tolist()
    [[0], [2]]
    """
    a = only_tensor(input, "nonzero")._a
    if dispatch.busy[0]:
        found: Any = apply(masks.nonzero, (input,))
        return found if as_tuple else FUNCTIONS["stack"](found, 1) if input.ndim else FUNCTIONS["stack"](found, 1)[:, :0]
    at = (a if a.ndim else a.reshape(1)).nonzero()
    if as_tuple:
        return tuple([wrap(i) for i in at])
    return wrap(np.stack(at, 1) if a.ndim else np.zeros((at[0].size, 0), np.int64))


@function(out=False)
def argwhere(input: Any) -> Any:
    """Where elements are not zero: a row of positions for each."""
    return nonzero(input)


@function(method=False, out=False)
def unravel_index(indices: Any, shape: Any) -> Any:
    """Positions of the flattened array as positions in an array of the given shape, a tensor for each dimension.

    >>> import bibun as torch
    >>> torch.unravel_index(torch.tensor(4), (3, 2))
    (tensor(2), tensor(0))
    """
    if indices._a.dtype.kind not in "iu":
        raise ValueError(f"expect 'indices' to be integer dtype, but got {indices.dtype}")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    for n in shape:
        if n < 0:
            raise ValueError(f"'shape' cannot have negative values, but got {shape}")
    rest, out = indices, []
    for n in reversed(shape):
        out.append(rest % n)
        rest = rest // n
    return tuple(out[::-1])


# A view's place filled


def _fits(src: Any, part: Any, name: str) -> None:
    if src._a.shape != part:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src._a.shape)}, slice size = {list(part)}"
        )


@function()
def select_scatter(input: Any, src: Any, dim: int, index: int) -> Any:
    """A copy of ``input`` with ``src`` at one position of a dimension."""
    part = METHODS["select"](input, dim, index)
    _fits(src, part._a.shape, "select_scatter")
    dim = normalize_dim(dim, input._a.ndim)
    return apply(masks.select_scatter, (input, src.to(input.dtype)), (dim, index % input._a.shape[dim]))


@function()
def slice_scatter(input: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """A copy of ``input`` with ``src`` at positions ``start:end:step`` of a dimension."""
    dim = normalize_dim(dim, input._a.ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    first, last, _ = slice(start, end, step).indices(input._a.shape[dim])
    part = list(input._a.shape)
    part[dim] = len(range(first, max(first, last), step))
    _fits(src, tuple(part), "slice_scatter")
    return apply(masks.slice_scatter, (input, src.to(input.dtype)), (dim, first, max(first, last), step))


@function()
def diagonal_scatter(input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """A copy of ``input`` with ``src`` on a diagonal of two dimensions."""
    n = input._a.ndim
    part = METHODS["diagonal"](input, offset, dim1, dim2)
    _fits(src, part._a.shape, "diagonal_scatter")
    return apply(
        masks.diagonal_scatter, (input, src.to(input.dtype)), (offset, normalize_dim(dim1, n), normalize_dim(dim2, n))
    )


@function()
def as_strided_scatter(input: Any, src: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """A copy of ``input`` with ``src`` where `torch.as_strided` would look."""
    made = input.clone()
    part = METHODS["as_strided"](made, size, stride, storage_offset)
    if part._a.shape != src._a.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src._a.shape)}, slice size = "
            f"{list(part._a.shape)}"
        )
    part.copy_(src)
    return made
