"""Brackets: ``x[key]`` and ``x[key] = value``, with PyTorch's rules.

In goes a tensor and whatever stands between the brackets: integers, slices, None, Ellipsis, booleans, tensors, lists,
arrays, alone or in a tuple. A key is taken in two steps, as in PyTorch. The *basic* part (integers, slices, None,
Ellipsis) makes a view, one dimension after another; an integer removes its dimension at once. What index arrays remain
then stand in dimensions of that view and read (`index_get`) or write (`index_put`) it together.
"""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

import numpy as np

from .autograd import dispatch
from .autograd.direct import chain, chained, make_many, make_two
from .autograd.dispatch import apply, busy, user_frame, wrap
from .autograd.inplace import assign, check_writable, stand_in
from .autograd.modes import inference_users, of_inference, state
from .autograd.versions import written
from .backends import cpu
from .errors import index_error
from .functions.shape import _alias, _expand_dims, _select, _slice
from .ops import indexing as ops
from .ops import shape as views

__all__ = ["get_item", "index_call", "parts_of", "set_item"]

ndarray = np.ndarray
I64 = np.dtype(np.int64)
BOOL = np.dtype(bool)
VALID = "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices"
_one = ops.index_get(1)
_index_one = make_two(_one, lambda x, i, places: x.take(i, places[0]))
_indexed: dict[int, Any] = {}
_SELECT, _SLICE, _EXPAND = chained(views.select), chained(views.slice_axis), chained(views.expand_dims)
_TRUE, _FALSE = np.zeros(1, np.int64), np.zeros(0, np.int64)


# Reading keys


def _is_nested(key: list[Any]) -> bool:
    """Whether a list is taken as a tuple of indices: PyTorch's old rule for short lists that hold no plain numbers only."""
    if len(key) >= 32:
        return False
    return any(k is None or k is Ellipsis or isinstance(k, (slice, list, tuple, dispatch.Tensor)) for k in key)


def _warn_nested() -> None:
    import warnings

    warnings.warn(
        "Using a non-tuple sequence for multidimensional indexing is deprecated and will be changed in pytorch 2.9; use "
        "x[tuple(seq)] instead of x[seq]. In pytorch 2.9 this will be interpreted as tensor index, x[torch.tensor(seq)], which will "
        "result either in an error or a different result",
        UserWarning,
        stacklevel=4,
    )


def _tensor_of(key: Any) -> Any:
    """A list, range or array as a tensor of indices."""
    if isinstance(key, ndarray):
        return wrap(key)
    if isinstance(key, (list, tuple, range)) and len(key) == 0:
        return wrap(np.zeros(0, np.int64))
    from .functions.creation import tensor

    return tensor(key)


def _numbered(shape: tuple[int, ...], key: tuple[Any, ...]) -> int:
    """How many dimensions a key speaks for."""
    n = 0
    for k in key:
        if isinstance(k, dispatch.Tensor):
            n += k._a.ndim if k._a.dtype == BOOL or k._a.dtype == np.uint8 else 1
        elif k is not None and k is not Ellipsis and not isinstance(k, bool):
            n += 1
    if n > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    return n


def _sliced(x: Any, dim: int, key: slice, whole: bool) -> Any:
    """One slice; ``whole``: even a slice of everything makes a view of its own."""
    n = x._a.shape[dim]
    step = key.step
    if step is not None:
        step = operator.index(step)
        if step < 0:
            raise ValueError("step must be greater than zero")
    start, stop, step = key.indices(n)
    if not whole and start == 0 and stop == n and step == 1:
        return x
    return _slice(x, dim, start, stop if stop > start else start, step)


def _picked(x: Any, dim: int, at: int) -> Any:
    """One position of a dimension."""
    n = x._a.shape[dim]
    i = at + n if at < 0 else at
    if not 0 <= i < n:
        if -(2**63) <= at < 2**63:
            raise index_error(at, dim, n)
        raise ValueError("Overflow when unpacking long long")
    return _select(x, dim, i)


def _flag(x: Any, dim: int, value: bool, indices: dict[int, Any]) -> Any:
    """True keeps everything, False nothing, in a new dimension."""
    indices[dim] = wrap(_TRUE if value else _FALSE)
    return _expand_dims(x, dim)


def parts_of(x: Any, key: Any) -> tuple[Any, dict[int, Any]]:
    """The view that the basic part of ``key`` makes of ``x``, and the index tensors left, by dimension of that view.

    Masks are still masks here; each stands at its first dimension and speaks for as many as it has.
    """
    if key.__class__ is not tuple:
        if isinstance(key, list) and _is_nested(key):
            _warn_nested()
            key = tuple(key)
        else:
            key = tuple(key) if isinstance(key, tuple) else (key,)
    plain = []
    for k in key:
        if isinstance(k, (list, range, ndarray)) or isinstance(k, tuple):
            k = _tensor_of(k)
        plain.append(k)
    speaks = _numbered(x._a.shape, tuple(plain))
    if len(plain) == 1 and plain[0].__class__ is slice:
        return _sliced(x, 0, plain[0], True), {}
    indices: dict[int, Any] = {}
    view, dim, dims = x, 0, x._a.ndim
    for position, k in enumerate(plain):
        kind = k.__class__
        if kind is int:
            view = _picked(view, dim, k)
        elif kind is slice:
            view = _sliced(view, dim, k, False)
            dim += 1
        elif k is None:
            view = _expand_dims(view, dim)
            dim += 1
        elif k is Ellipsis:
            dim += dims - speaks
            if any(later is Ellipsis for later in plain[position + 1 :]):
                dims = speaks  # a second ellipsis stands for nothing
        elif kind is bool:
            view = _flag(view, dim, k, indices)
            dim += 1
        elif isinstance(k, dispatch.Tensor):
            a = k._a
            if not a.ndim and a.dtype.kind in "biu" and a.__class__ is ndarray:
                if a.dtype == BOOL or a.dtype == np.uint8:
                    view = _flag(view, dim, bool(a), indices)
                    dim += 1
                else:
                    view = _picked(view, dim, int(a))
                continue
            if a.dtype != I64 and a.dtype != BOOL and a.dtype != np.int32 and a.dtype != np.uint8:
                raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
            if a.dtype == np.uint8:
                import warnings

                warnings.warn(
                    "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.",
                    UserWarning,
                    stacklevel=3,
                )
            indices[dim] = k
            dim += a.ndim if a.dtype == BOOL or a.dtype == np.uint8 else 1
        elif isinstance(k, np.integer) or hasattr(k, "__index__") and not isinstance(k, np.bool_):
            view = _picked(view, dim, operator.index(k))
        elif isinstance(k, str):
            raise TypeError(f"new(): invalid data type '{type(k).__name__}'")
        else:
            word = "numpy.bool" if isinstance(k, np.bool_) else type(k).__name__
            raise IndexError(f"{VALID} (got {word})")
    return view, indices


def index_arrays(view: Any, indices: dict[int, Any]) -> tuple[list[Any], tuple[int, ...]]:
    """(index tensors, the dimensions they stand in): masks as the positions where they are true."""
    found, places = [], []
    shape = view._a.shape
    for dim, k in sorted(indices.items()):
        a = k._a
        if a.dtype == BOOL or a.dtype == np.uint8:
            for i, n in enumerate(a.shape):
                if n != shape[dim + i]:
                    raise IndexError(
                        f"The shape of the mask {list(a.shape)} at index {i} does not match the shape of the indexed tensor "
                        f"{list(shape)} at index {dim + i}"
                    )
            for i, at in enumerate(a.nonzero()):
                found.append(wrap(at))
                places.append(dim + i)
        else:
            found.append(k if a.dtype == I64 else wrap(a.astype(np.int64)))
            places.append(dim)
    if len(found) > 1:
        shapes = [f._a.shape for f in found]
        try:
            np.broadcast_shapes(*shapes)
        except ValueError:
            listed = ", ".join(str(list(s)) for s in shapes)
            raise IndexError(
                f"shape mismatch: indexing tensors could not be broadcast together with shapes {listed}"
            ) from None
    return found, tuple(places)


def _check_bounds(view: Any, found: list[Any], places: tuple[int, ...]) -> None:
    """Say which index is out of bounds, where one is."""
    shape = view._a.shape
    for f, dim in zip(found, places):
        a, n = f._a, shape[dim]
        if a.__class__ is not ndarray:
            continue
        if a.size and not n:
            raise IndexError("index is out of bounds for dimension with size 0")
        for bad in a[(a >= n) | (a < -n)].reshape(-1)[:1]:
            raise index_error(int(bad), dim, n)


def index_call(view: Any, found: list[Any], places: tuple[int, ...]) -> Any:
    """``view`` read with index tensors."""
    try:
        if len(found) == 1:
            return _index_one(view, found[0], places)
        call = _indexed.get(len(found))
        if call is None:
            prim = ops.index_get(len(found))
            call = _indexed[len(found)] = make_many(prim, partial(prim.run, cpu))
        return call((view, *found), (places,))
    except IndexError:
        _check_bounds(view, found, places)
        raise


def _whole(key: slice) -> bool:
    return key.start is None and key.stop is None and key.step is None


def _looked_at(x: Any, key: tuple[Any, ...]) -> Any:
    """``x[key]`` where the key is of integers, slices, None and one Ellipsis, and within bounds; else None."""
    a = x._a
    dim = 0
    steps: list[Any] = []
    for position, k in enumerate(key):
        kind = k.__class__
        if kind is int:
            if dim >= a.ndim:
                return None
            n = a.shape[dim]
            i = k + n if k < 0 else k
            if not 0 <= i < n:
                return None
            a = cpu.select(a, dim, i)
            steps.append((_SELECT, (dim, i), a))
        elif kind is slice:
            if dim >= a.ndim:
                return None
            if not _whole(k):
                if k.step is not None and k.step.__class__ is not int or k.step is not None and k.step < 1:
                    return None
                start, stop, step = k.indices(a.shape[dim])
                if start or stop != a.shape[dim] or step != 1:
                    static = (dim, start, stop if stop > start else start, step)
                    a = cpu.slice_axis(a, *static)
                    steps.append((_SLICE, static, a))
            dim += 1
        elif k is None:
            a = cpu.expand_dims(a, dim)
            steps.append((_EXPAND, (dim,), a))
            dim += 1
        elif k is Ellipsis:
            before, dim = dim, a.ndim
            for later in key[position + 1 :]:
                if later is Ellipsis:
                    return None
                if later is not None:
                    dim -= 1
            if dim < before:
                return None  # too many indices
        else:
            return None
    return chain(x, steps) if steps else None


def _read_quietly(x: Any, key: tuple[Any, ...]) -> Any:
    """``x[key]`` where the key is of index tensors and masks only, and nothing is recorded; else None."""
    arrays = []
    for k in key:
        if k.__class__ is not dispatch.Tensor:
            return None
        i = k._a
        if i.dtype is not I64 and i.dtype is not BOOL or not i.ndim:
            return None
        arrays.append(i)
    if x._view is not None:
        dispatch.refresh(x)
    if state.grad and x._node is not None:
        return None
    try:
        r = x._a[tuple(arrays)]
        t = wrap(r if r.flags.c_contiguous else np.ascontiguousarray(r))
    except IndexError:
        return None  # the long way words the error
    t._story = x._story if x._node is None else state.grad
    return t


def get_item(self: Any, key: Any) -> Any:
    """``self[key]``."""
    kind = key.__class__
    if kind is tuple and len(key) > 1 and not busy[0]:
        made = _read_quietly(self, key) if key[0].__class__ is dispatch.Tensor else _looked_at(self, key)
        if made is not None:
            return made
    if kind is int:
        shape = self._a.shape
        if shape:
            n = shape[0]
            if 0 <= key < n:
                return _select(self, 0, key)
            return _picked(self, 0, key)
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor "
            "to a number"
        )
    if kind is slice and self._a.ndim:
        return _sliced(self, 0, key, True)
    if (kind is dispatch.Tensor or kind is dispatch.Parameter) and self._a.ndim:
        a = key._a
        if a.dtype is I64 and a.ndim:
            return index_call(self, [key], (0,))
        if a.dtype is BOOL and not busy[0]:
            made = _read_quietly(self, (key,))
            if made is not None:
                return made
    if key is None:
        return _expand_dims(self, 0)
    if key is Ellipsis:
        return _alias(self)
    if not self._a.ndim and _is_position(key):
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor "
            "to a number"
        )
    view, indices = parts_of(self, key)
    if indices:
        found, places = index_arrays(view, indices)
        return index_call(view, found, places)
    return _alias(self) if view is self else view


def _is_position(key: Any) -> bool:
    if isinstance(key, dispatch.Tensor):
        return not key._a.ndim and key._a.dtype.kind in "iu" and key._a.dtype != np.uint8
    return not isinstance(key, (bool, ndarray, np.bool_)) and hasattr(key, "__index__")


# Writing


def _number(value: Any, x: Any) -> Any:
    """A number as a 0-d array in the dtype of ``x``."""
    d = x._a.dtype
    if isinstance(value, (complex, np.complexfloating)) and d.kind != "c":
        raise RuntimeError(f"value cannot be converted to type {_c_name(x.dtype)} without overflow")
    return np.asarray(value).astype(d)


def _c_name(dtype: Any) -> str:
    return {
        "float32": "float",
        "float64": "double",
        "int64": "int64_t",
        "int32": "int",
        "int16": "int16_t",
        "int8": "int8_t",
        "uint8": "uint8_t",
        "bool": "bool",
        "float16": "at::Half",
        "bfloat16": "at::BFloat16",
    }.get(dtype.name, dtype.name)


def _source(value: Any, x: Any) -> Any:
    """What is assigned, as a tensor."""
    if isinstance(value, dispatch.Tensor):
        return value
    if isinstance(value, (bool, int, float, complex, np.number, np.bool_)):
        return wrap(_number(value, x))
    raise TypeError(f"can't assign a {_python_name(value)} to a {x.type()}")


def _python_name(value: Any) -> str:
    cls = type(value)
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _without_leading_ones(value: Any) -> Any:
    shape = value._a.shape
    n = 0
    while n < len(shape) and shape[n] == 1:
        n += 1
    return value.reshape(shape[n:]) if n else value


def _copy_into(view: Any, value: Any) -> None:
    """``view.copy_(value)`` with PyTorch's broadcasting of assignments."""
    if value._a.shape != view._a.shape:
        value = _without_leading_ones(value)
        if value._a.ndim:
            value = value.expand(view._a.shape)
    view.copy_(value)


#: Python's numbers that may be assigned.
NUMBERS = frozenset((float, int, bool))


def _quiet(self: Any) -> bool:
    """Whether a write to ``self`` leaves no trace in a graph."""
    return not busy[0] and (
        not state.grad or self._node is None and (self._view is None or self._view[0]._node is None)
    ) and not (inference_users[0] and not state.inference and of_inference(self._a))


def set_item(self: Any, key: Any, value: Any) -> None:
    """``self[key] = value``."""
    kind = key.__class__
    simple = kind is int or kind is slice
    if not simple:
        if kind is tuple:
            simple = True
            for k in key:
                if k.__class__ is not int and k.__class__ is not slice:
                    simple = False
                    break
        if not simple and value.__class__ in NUMBERS and _quiet(self) and _fill_quietly(self, key if kind is tuple else (key,), value):
            return
    if simple and _quiet(self) and _write_quietly(self, key if kind is tuple else (key,), value):
        return
    if kind is bool and not key:
        return
    if kind is int and not self._a.ndim:
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor "
            "to a number"
        )
    view, indices = parts_of(self, key)
    source = _source(value, self)
    if indices:
        _put_into(view, indices, source)
    else:
        _copy_into(view, source)


def _write_quietly(self: Any, key: tuple[Any, ...], value: Any) -> bool:
    """Assign through NumPy where its rules are PyTorch's: a basic key, a number or a tensor outside every graph."""
    a = self._a
    cls = value.__class__
    if cls is float or cls is int or cls is bool:
        source: Any = value
        if cls is not bool and a.dtype.kind in "bu" or cls is float and a.dtype.kind == "i":
            return False
    elif cls is dispatch.Tensor and value._node is None and value._view is None:
        source = value._a
        if source.dtype is not a.dtype:
            return False
    else:
        return False
    for k in key:
        if k.__class__ is slice and k.step is not None and k.step != 1:
            return False
    if not a.flags.writeable:
        return False
    try:
        part = a[(*key, ...)]
        part[...] = source
    except (ValueError, IndexError, OverflowError, TypeError):
        return False  # the long way words the error
    f = user_frame(3)
    written(part, f.f_code, f.f_lasti)
    return True


def _fill_quietly(self: Any, key: tuple[Any, ...], value: Any) -> bool:
    """Assign a number through NumPy at what index tensors, masks, integers and slices name: which places these are does not
    depend on the rules in which PyTorch and NumPy differ."""
    a = self._a
    d = a.dtype.kind
    if not a.flags.writeable or value.__class__ is not bool and (d in "bu" or value.__class__ is float and d == "i"):
        return False
    places: list[Any] = []
    for k in key:
        kind = k.__class__
        if kind is dispatch.Tensor:
            k = k._a
            if k.dtype is not I64 and k.dtype is not BOOL or not k.ndim:
                return False
        elif kind is slice:
            if not _whole(k):
                return False
        elif kind is not int:
            return False
        places.append(k)
    try:
        a[tuple(places)] = value
    except (ValueError, IndexError, OverflowError, TypeError):
        return False  # the long way words the error
    f = user_frame(3)
    written(a, f.f_code, f.f_lasti)
    return True


def _put_into(view: Any, indices: dict[int, Any], source: Any) -> None:
    """``view.index_put_(indices, source)`` for an assignment."""
    if len(indices) == 1:
        ((dim, k),) = indices.items()
        if (
            not dim
            and k._a.dtype == BOOL
            and k._a.shape == view._a.shape[: k._a.ndim]
            and source._a.size == 1
            and k._a.ndim
        ):
            mask = k
            extra = view._a.ndim - k._a.ndim
            if extra:
                mask = wrap(k._a.reshape(k._a.shape + (1,) * extra))
            view.masked_fill_(mask, source.reshape(()) if source._a.ndim else source)
            return
    found, places = index_arrays(view, indices)
    put_in_place(view, found, places, _without_leading_ones(source), False)


def _result_shape(shape: tuple[int, ...], found: list[Any], places: tuple[int, ...]) -> tuple[int, ...]:
    own = np.broadcast_shapes(*[f._a.shape for f in found])
    at = places[0] if places[-1] - places[0] == len(places) - 1 else 0
    rest = [i for i in range(len(shape)) if i not in places]
    before = [i for i in rest if i < at]
    return (*[shape[i] for i in before], *own, *[shape[i] for i in rest if i not in before])


def put_in_place(x: Any, found: list[Any], places: tuple[int, ...], values: Any, accumulate: bool) -> Any:
    """``x.index_put_`` with index tensors in dimensions ``places``."""
    a, b = x._a, values._a
    if b.dtype != a.dtype:
        if b.ndim:
            raise RuntimeError(
                f"Index put requires the source and destination dtypes match, got {x.dtype.scalar_name} for the destination and "
                f"{values.dtype.scalar_name} for the source."
            )
        values = values.to(x.dtype)
        b = values._a
    shape = _result_shape(a.shape, found, places)
    if b.shape != shape:
        try:
            fits = np.broadcast_shapes(b.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise RuntimeError(
                f"shape mismatch: value tensor of shape {list(b.shape)} cannot be broadcast to indexing result of shape "
                f"{list(shape)}"
            )
    check_writable(x)
    _check_bounds(x, found, places)
    if _quiet(x) and values._node is None and a.flags.writeable:
        if values._view is not None:
            dispatch.refresh(values)
        if values._node is None:
            if accumulate:
                a[...] = cpu.index_put(a, b, [f._a for f in found], places, True)
            else:
                key: list[Any] = [slice(None)] * a.ndim
                for p, f in zip(places, found):
                    key[p] = f._a
                a[tuple(key)] = b
            frame = user_frame(2)
            written(a, frame.f_code, frame.f_lasti)
            return x
    source = stand_in(x) if state.grad and (x._node is not None or busy[0] and hasattr(x, "level")) else x
    return assign(x, apply(ops.index_put(len(found)), (source, values, *found), (places, accumulate)))
