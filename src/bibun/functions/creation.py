"""Making tensors: from data, filled, in ranges, like others.

In go Python data, arrays, sizes; out come leaf tensors. dtypes are inferred as PyTorch infers them (Python floats are of
the default dtype, integers int64).
"""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd import dispatch
from ..autograd.dispatch import wrap
from ..autograd.modes import state
from ..dtypes import BY_NUMPY, check_device, check_dtype
from .register import by_example, function, method, write_out

ndarray = np.ndarray
_plain: Any = {"method": False, "out": False}


def checked(dtype: Any, device: Any, layout: Any, name: str) -> Any:
    """The NumPy dtype asked for, or None; the device and layout refused where there is none."""
    if device is not None:
        check_device(device, name)
    if layout is not None and layout is not dtypes.strided:
        raise NotImplementedError(f"{name}(): layout {layout} is not available; tensors here are torch.strided")
    return None if dtype is None else check_dtype(dtype, name).np


def finished(a: ndarray, requires_grad: bool) -> Any:
    """A leaf tensor on ``a``."""
    t = wrap(a)
    if dispatch.busy[0]:
        t = dispatch.created(t)
    if requires_grad:
        t.requires_grad_()
    return t


# From data


_SCALARS = {
    float: lambda: dtypes.default_np,
    int: lambda: np.dtype(np.int64),
    bool: lambda: np.dtype(bool),
    complex: lambda: dtypes.default_complex.np,
}


def infer(data: Any) -> Any:
    """The NumPy dtype PyTorch infers for nested Python data."""
    kind = type(data)
    if kind in _SCALARS:
        return _SCALARS[kind]()
    if isinstance(data, dispatch.Tensor):
        return data._a.dtype
    if isinstance(data, (ndarray, np.generic)):
        return data.dtype
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{kind.__name__}'")
    if (
        isinstance(data, (list, tuple, builtins.range))
        or hasattr(data, "__len__")
        and hasattr(data, "__getitem__")
        and not isinstance(data, dict)
    ):
        found = None
        for x in data:
            d = infer(x)
            found = d if found is None or found is d else dtypes.promote_types(BY_NUMPY[found], BY_NUMPY[d]).np
            if found.kind == "c":
                break
        return dtypes.default_np if found is None else found
    if isinstance(data, bool):
        return np.dtype(bool)
    if isinstance(data, int):
        return np.dtype(np.int64)
    if isinstance(data, float):
        return dtypes.default_np
    if hasattr(data, "__index__"):
        return np.dtype(np.int64)
    if hasattr(data, "__float__"):
        return dtypes.default_np
    raise RuntimeError(f"Could not infer dtype of {kind.__name__}")


def shape_of(data: Any) -> tuple[int, ...]:
    """The shape of nested sequences, read along their first elements."""
    shape: list[int] = []
    while True:
        if isinstance(data, (dispatch.Tensor, ndarray)):
            return (*shape, *(data._a if isinstance(data, dispatch.Tensor) else data).shape)
        if isinstance(data, (str, bytes)) or not hasattr(data, "__len__") or isinstance(data, dict):
            return tuple(shape)
        shape.append(len(data))
        if not len(data):
            return tuple(shape)
        data = data[0]


def check_even(data: Any, shape: tuple[int, ...], level: int = 0) -> None:
    """Raise PyTorch's error where nested sequences are ragged."""
    if level == len(shape):
        if hasattr(data, "__len__") and not isinstance(data, (str, dispatch.Tensor, ndarray)):
            raise TypeError(f"not a sequence of numbers at dim {level}")
        return
    if not hasattr(data, "__len__"):
        raise (
            TypeError(f"must be real number, not {type(data).__name__}")
            if False
            else TypeError(f"expected a sequence at dim {level}, got {type(data).__name__}")
        )
    if len(data) != shape[level]:
        raise ValueError(f"expected sequence of length {shape[level]} at dim {level} (got {len(data)})")
    if isinstance(data, (dispatch.Tensor, ndarray)):
        return
    for x in data:
        check_even(x, shape, level + 1)


def plain(data: Any) -> Any:
    """Nested data with the tensors in it as Python numbers or arrays."""
    if isinstance(data, dispatch.Tensor):
        return data._a if data._a.ndim else data._a[()]
    if isinstance(data, (list, tuple)):
        return [plain(x) for x in data]
    return data


def array_from(data: Any, d: Any, copy: bool = True) -> ndarray:
    """An ndarray of Python data in dtype ``d`` (None: inferred)."""
    kind = type(data)
    if kind in _SCALARS:
        if d is None:
            d = _SCALARS[kind]()
        try:
            return np.array(data, d) if kind is not complex or d.kind in "cW" else _refuse_complex(d)
        except OverflowError:
            if kind is int and d.kind in "iu" and -(2**63) <= data < 2**64:
                if data < 0 or d.itemsize == 8:
                    raise RuntimeError(
                        f"value cannot be converted to type {BY_NUMPY[d].name} without overflow"
                    ) from None
                raise RuntimeError(f"value cannot be converted to type {BY_NUMPY[d].name} without overflow") from None
            raise RuntimeError("Overflow when unpacking long long") from None
    if isinstance(data, dispatch.Tensor):
        a = data._a
        return np.array(a, d if d is not None else a.dtype) if copy or d is not None and a.dtype != d else a
    if isinstance(data, (ndarray, np.generic)):
        a = np.asarray(data)
        BY_NUMPY.get(a.dtype) or dtypes.from_numpy(a.dtype)
        if isinstance(data, ndarray) and not copy and (d is None or a.dtype == d):
            return from_array(a)
        return np.array(a, d if d is not None else a.dtype, order="C")
    if isinstance(data, dict) or isinstance(data, (set, frozenset)):
        raise RuntimeError(f"Could not infer dtype of {kind.__name__}")
    if data is None:
        raise RuntimeError("Could not infer dtype of NoneType")
    if hasattr(data, "__array_interface__") or hasattr(data, "__array__"):
        return array_from(np.asarray(data), d, copy)
    inferred = infer(data) if d is None else d
    shape = shape_of(data)
    if d is not None:
        infer(data)  # for its errors: strings, dictionaries
    try:
        a = np.array(plain(data), inferred)
        if a.shape != shape:
            raise ValueError
    except OverflowError:
        raise RuntimeError("Overflow when unpacking long long") from None
    except (ValueError, TypeError) as error:
        check_even(data, shape)
        if isinstance(error, TypeError):
            raise
        raise ValueError(f"could not make a tensor of shape {list(shape)} of the given data: {error}") from None
    return a


def _refuse_complex(d: Any) -> Any:
    raise RuntimeError(f"value cannot be converted to type {BY_NUMPY[d].name} without overflow")


def from_array(a: ndarray) -> ndarray:
    """The user's array as ours: an exact ndarray on the same memory, refused where PyTorch refuses."""
    dtypes.from_numpy(a.dtype)
    if any(s < 0 for s in a.strides):
        raise ValueError(
            "At least one of the strides in the given numpy array is negative, and tensors with negative strides are not currently "
            "supported. (You can probably work around this by making a copy of your array  with array.copy().) "
        )
    return a if a.__class__ is ndarray else a.view(ndarray)


@function(**_plain)
def tensor(
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    names: Any = None,
) -> Any:
    """A tensor with a copy of ``data``: a number, nested sequences of numbers, an array or a tensor.

    >>> import bibun as torch
    >>> torch.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    if dtype is not None or device is not None:
        dtype = checked(dtype, device, None, "tensor")
    if isinstance(data, dispatch.Tensor):
        import warnings

        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
            UserWarning,
            stacklevel=2,
        )
    t = wrap(array_from(data, dtype))
    if dispatch.busy[0]:
        t = dispatch.created(t)
    if requires_grad:
        t.requires_grad_()
    return t


@function(**_plain)
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """``data`` as a tensor: itself if it is one of that dtype, sharing memory with an array, else a copy."""
    d = checked(dtype, device, None, "as_tensor")
    if isinstance(data, dispatch.Tensor):
        return data if d is None or data._a.dtype == d else data.to(dtype)
    return wrap(array_from(data, d, copy=False))


@function(**_plain)
def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Any:
    """``obj`` as a tensor, sharing memory where that is possible and ``copy`` is not True."""
    if copy:
        t = (
            tensor(obj.detach() if isinstance(obj, dispatch.Tensor) else obj, dtype=dtype, device=device)
            if not isinstance(obj, dispatch.Tensor)
            else obj.detach().clone().to(dtype or obj.dtype)
        )
    else:
        t = as_tensor(obj, dtype, device)
    if isinstance(t, dispatch.Tensor) and t._node is not None and not requires_grad:
        t = t.detach()
    return t.requires_grad_() if requires_grad else t


@function(**_plain)
def scalar_tensor(
    s: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    layout: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """A 0-d tensor of a number, of the default dtype unless told otherwise."""
    d = checked(dtype, device, layout, "scalar_tensor") or dtypes.default_np
    return finished(np.array(s, d), requires_grad)


@function(**_plain)
def from_numpy(ndarray: Any) -> Any:
    """A tensor that shares memory with a NumPy array.

    >>> import bibun as torch, numpy as np
    >>> a = np.zeros(2)
    >>> t = torch.from_numpy(a)
    >>> a[0] = 5
    >>> t
    tensor([5., 0.], dtype=torch.float64)
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    return wrap(from_array(ndarray))


@function(**_plain)
def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Any:
    """A 1-d tensor on the memory of an object with the buffer protocol."""
    d = checked(dtype, None, None, "frombuffer")
    return finished(np.frombuffer(buffer, d, count, offset), requires_grad)


@function(**_plain)
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: Any = None) -> Any:
    """A tensor on the memory of any object with ``__dlpack__``."""
    return wrap(np.from_dlpack(ext_tensor))


@function(**_plain)
def to_dlpack(tensor: Any) -> Any:
    """A DLPack capsule of the tensor's memory."""
    return tensor.__dlpack__()


def legacy_tensor(dtype: Any, args: Any, kwargs: Any) -> Any:
    """What ``torch.Tensor(...)`` and its kin (``torch.FloatTensor``) make."""
    d = dtype.np
    if "data" in kwargs:
        args = (kwargs["data"],)
    if not args:
        return wrap(np.empty(0, d))
    first = args[0]
    if len(args) == 1 and not isinstance(first, (int, np.integer)) or isinstance(first, (dtypes.Size,)):
        if isinstance(first, dispatch.Tensor):
            if first._a.dtype != d:
                raise TypeError(f"expected a tensor of dtype {dtype} (got {first.dtype})")
            return wrap(first._a)
        if isinstance(first, dtypes.Size):
            return wrap(np.empty(tuple(first), d))
        if isinstance(first, (float, str, bool)):
            raise TypeError(f"new(): data must be a sequence (got {type(first).__name__})")
        return wrap(array_from(first, d))
    return wrap(np.empty(tuple(int(n) for n in args), d))


# Filled


def size_from(size: Any, name: str) -> tuple[int, ...]:
    """A size given as numbers or as one sequence."""
    given = size[0] if size and size[0].__class__ is tuple and len(size) == 1 else size
    if given.__class__ is tuple:
        for n in given:
            if n.__class__ is not int or n < 0:
                break
        else:
            return given
    if len(size) == 1 and not isinstance(size[0], (int, np.integer)):
        size = size[0]
        if isinstance(size, dispatch.Tensor):
            size = (int(size),) if not size._a.ndim else size.tolist()
    out = []
    for i, n in enumerate(size):
        try:
            n = n.__index__()
        except (AttributeError, TypeError):
            raise TypeError(
                f"{name}(): argument 'size' (position 1) must be tuple of ints, but found element of type {type(n).__name__} at pos {i}"
            ) from None
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(size)}")
        out.append(n)
    return tuple(out)


def _filled(name: str, make: Any) -> Any:
    def create(
        *size: Any,
        out: Any = None,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        pin_memory: bool = False,
        requires_grad: bool = False,
        memory_format: Any = None,
        names: Any = None,
    ) -> Any:
        if out is not None:
            given = size_from(size or ((),), name)
            return write_out(out, wrap(make(given, out._a.dtype if dtype is None else check_dtype(dtype, name).np)))
        d = (
            dtypes.default_np
            if dtype is None and device is None and layout is None
            else checked(dtype, device, layout, name) or dtypes.default_np
        )
        t = wrap(make(size_from(size, name) if size else (), d))
        if dispatch.busy[0]:
            t = dispatch.created(t)
            if state.watchers:
                t = dispatch.select_made(name, t, (list(t.shape),), {"dtype": t.dtype})
        if requires_grad:
            t.requires_grad_()
        return t

    def public(*size: Any, **kwargs: Any) -> Any:
        if not size and "size" in kwargs:
            size = (kwargs.pop("size"),)
        elif not size:
            raise TypeError(
                f"{name}() received an invalid combination of arguments - got (), but expected (tuple of ints size, ...)"
            )
        return create(*size, **kwargs)

    public.__name__ = public.__qualname__ = name
    return public


zeros = function(_filled("zeros", np.zeros), **_plain)
ones = function(_filled("ones", np.ones), **_plain)
empty = function(_filled("empty", np.empty), **_plain)
zeros.__doc__ = """A tensor of zeros of the given size.

>>> import bibun as torch
>>> torch.zeros(2, 3)
tensor([[0., 0., 0.],
        [0., 0., 0.]])
"""
ones.__doc__ = "A tensor of ones of the given size."
empty.__doc__ = "A tensor of the given size whose elements are whatever the memory holds."


@function(**_plain)
def full(
    size: Any,
    fill_value: Any,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    names: Any = None,
) -> Any:
    """A tensor of the given size, every element ``fill_value``; its dtype follows the value's type."""
    d = checked(dtype, device, layout, "full")
    if isinstance(fill_value, dispatch.Tensor):
        fill_value = fill_value.item()
    if d is None:
        d = (
            out._a.dtype
            if out is not None
            else dtypes.number_dtype(
                bool
                if isinstance(fill_value, (bool, np.bool_))
                else int
                if isinstance(fill_value, (int, np.integer))
                else complex
                if isinstance(fill_value, complex)
                else float
            ).np
        )
    given = size_from((size,) if not isinstance(size, (int, np.integer)) else ((size,),), "full")
    made = finished(np.full(given, fill_value, d), requires_grad)
    if dispatch.busy[0] and state.watchers:
        made = dispatch.select_made("full", made, (list(given), fill_value), {"dtype": made.dtype})
        if requires_grad:
            made.requires_grad_()
    return made if out is None else write_out(out, made)


@function(**_plain)
def empty_strided(
    size: Any,
    stride: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """An uninitialised tensor with the given sizes and strides (in elements)."""
    d = checked(dtype, device, layout, "empty_strided") or dtypes.default_np
    size, stride = tuple(size), tuple(stride)
    span = 1 + sum((n - 1) * s for n, s in zip(size, stride)) if 0 not in size else 0
    root = np.empty(span, d)
    a = np.ndarray(size, d, root, 0, tuple(s * d.itemsize for s in stride)) if span else np.empty(size, d)
    return finished(a, requires_grad)


@function(**_plain)
def empty_permuted(
    size: Any,
    physical_layout: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """An uninitialised tensor whose dimensions lie in memory in the order ``physical_layout``."""
    d = checked(dtype, device, layout, "empty_permuted") or dtypes.default_np
    a = np.empty([size[i] for i in physical_layout], d).transpose(np.argsort(physical_layout))
    return finished(a, requires_grad)


def bottom(x: Any) -> Any:
    """What a tensor of function transforms wraps, all the way down."""
    while hasattr(x, "level"):
        x = x.value
    return x


def _like(name: str, make: Any) -> Any:
    def create(
        input: Any,
        *,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        memory_format: Any = None,
        pin_memory: bool = False,
    ) -> Any:
        if not isinstance(input, dispatch.Tensor):
            raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
        a = input._a
        d = (
            a.dtype
            if dtype is None and device is None and layout is None
            else checked(dtype, device, layout, name) or a.dtype
        )
        if dispatch.busy[0]:
            a = bottom(input)._a
        made = make(a, dtype=d, order="C" if memory_format is dtypes.contiguous_format else "K")
        t = wrap(made)
        if dispatch.busy[0]:
            t = dispatch.created(t, input)
            if state.watchers:
                t = dispatch.select_made(name, t, (input,), {"dtype": t.dtype})
        if memory_format is dtypes.channels_last:
            t = t.to(memory_format=memory_format)
        if requires_grad:
            t.requires_grad_()
        return t

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"As `{name[:-5]}`, with the size and dtype of ``input``."
    return create


zeros_like = function(_like("zeros_like", np.zeros_like), **_plain)
ones_like = function(_like("ones_like", np.ones_like), **_plain)
empty_like = function(_like("empty_like", np.empty_like), **_plain)


@function(**_plain)
def full_like(
    input: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
    pin_memory: bool = False,
) -> Any:
    """As `full`, with the size and dtype of ``input``."""
    a = input._a
    d = checked(dtype, device, layout, "full_like") or a.dtype
    if isinstance(fill_value, dispatch.Tensor):
        fill_value = fill_value.item()
    if dispatch.busy[0]:
        t = dispatch.created(wrap(np.full_like(bottom(input)._a, fill_value, dtype=d)), input)
        if state.watchers:
            t = dispatch.select_made("full_like", t, (input, fill_value), {"dtype": t.dtype})
        return t.requires_grad_() if requires_grad else t
    return finished(np.full_like(a, fill_value, dtype=d), requires_grad)


# Methods: new_*


def _new(name: str, make: Any) -> Any:
    def create(
        self: Any,
        *size: Any,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        layout: Any = None,
        pin_memory: bool = False,
        **more: Any,
    ) -> Any:
        if not size and "size" in more:
            size = (more["size"],)
        d = checked(dtype, device, layout, name) or self._a.dtype
        if dispatch.busy[0]:
            t = dispatch.created_sized(self, size_from(size, name), lambda shape: make(shape, d))
            return t.requires_grad_() if requires_grad else t
        return finished(make(size_from(size, name), d), requires_grad)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"As `torch.{name[4:]}`, with this tensor's dtype."
    return method(create)


_new("new_zeros", np.zeros)
_new("new_ones", np.ones)
_new("new_empty", np.empty)


@method
def new_full(
    self: Any,
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """As `torch.full`, with this tensor's dtype."""
    if dispatch.busy[0] and not isinstance(fill_value, dispatch.Tensor):
        d = checked(dtype, device, layout, "new_full") or self._a.dtype
        t = dispatch.created_sized(self, size_from((size,), "new_full"), lambda shape: np.full(shape, fill_value, d))
        return t.requires_grad_() if requires_grad else t
    return full(size, fill_value, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)


@method
def new_tensor(
    self: Any,
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """As `torch.tensor`, with this tensor's dtype."""
    if isinstance(data, dispatch.Tensor):
        data = data._a
    return tensor(data, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)


@method
def new_empty_strided(
    self: Any,
    size: Any,
    stride: Any,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Any:
    """As `torch.empty_strided`, with this tensor's dtype."""
    if dispatch.busy[0] and hasattr(self, "level"):
        span = 1 + sum((n - 1) * s for n, s in zip(size, stride)) if 0 not in size else 0
        d = checked(dtype, device, layout, "new_empty_strided") or self._a.dtype

        def make(shape: tuple[int, ...]) -> Any:
            outer = shape[: len(shape) - len(size)]
            each = [span]
            for n in reversed(outer[1:]):
                each.insert(0, each[0] * n)
            return empty_strided(shape, (*each[: len(outer)], *stride), dtype=dtypes.from_numpy(np.dtype(d)))._a

        t = dispatch.created_sized(self, tuple(size), make)
        return t.requires_grad_() if requires_grad else t
    return empty_strided(size, stride, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)


@method
def new(self: Any, *args: Any, device: Any = None) -> Any:
    """As ``torch.Tensor(...)``, with this tensor's dtype."""
    return legacy_tensor(self.dtype, args, {})


# Ranges


def number(x: Any) -> Any:
    return x.item() if isinstance(x, (dispatch.Tensor, np.generic)) else x


@function(**_plain)
def arange(
    *args: Any,
    start: Any = None,
    end: Any = None,
    step: Any = None,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Any:
    """Numbers from ``start`` (0) up to, without, ``end``, in steps of ``step`` (1): ``arange([start,] end[, step])``.

    >>> import bibun as torch
    >>> torch.arange(1, 2.5, 0.5)
    tensor([1.0000, 1.5000, 2.0000])
    """
    if len(args) == 1 and end is None:
        (end,) = args
    elif args:
        given = [start, end, step]
        for i, x in enumerate(args):
            given[i] = x
        start, end, step = given
    if end is None:
        raise TypeError(
            "arange() received an invalid combination of arguments - it needs at least an end: arange([start,] end[, step])"
        )
    start, end, step = number(0 if start is None else start), number(end), number(1 if step is None else step)
    d = checked(dtype, device, layout, "arange")
    for x in (start, end, step):
        if isinstance(x, str) or not hasattr(x, "__float__"):
            raise TypeError(f"arange(): arguments must be Numbers, not {type(x).__name__}")
    if d is None:
        d = (
            out._a.dtype
            if out is not None
            else np.dtype(np.int64)
            if all(isinstance(x, int) for x in (start, end, step))
            else dtypes.default_np
        )
    if d.kind == "b":
        raise NotImplementedError("\"arange_cpu\" not implemented for 'Bool'")
    finite = all(math.isfinite(x) for x in (start, end))
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if d.char == "l" and finite:  # int64 alone counts in whole numbers
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise ValueError("step must be nonzero")
    if not finite:
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * (1 if step > 0 else -1) < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if d.kind in "iu":
        a = (
            np.arange(int(start), int(end), int(step))
            if all(isinstance(x, int) for x in (start, end, step))
            else (int(start) + np.arange(math.ceil((end - start) / step)) * int(step))
        )
        a = a.astype(d)
    else:
        count = math.ceil((end - start) / step)
        a = (np.arange(count, dtype=np.float64) * step + start).astype(d)
    made = finished(a, requires_grad)
    return made if out is None else write_out(out, made)


@function(**_plain)
def range(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Numbers from ``start`` to ``end``, both included; deprecated for `arange`."""
    import warnings

    warnings.warn(
        "torch.range is deprecated and will be removed in a future release because its behavior is inconsistent with Python's range builtin. "
        "Instead, use torch.arange, which produces values in [start, end).",
        UserWarning,
        stacklevel=2,
    )
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not all(math.isfinite(x) for x in (start, end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * (1 if step > 0 else -1) < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    d = checked(dtype, device, layout, "range") or dtypes.default_np
    count = int(math.floor((end - start) / step)) + 1
    made = finished((np.arange(count, dtype=np.float64) * step + start).astype(d), requires_grad)
    return made if out is None else write_out(out, made)


def _spaced(start: Any, end: Any, steps: int, d: Any) -> ndarray:
    """``steps`` numbers from start to end, counted from the nearer end, as PyTorch does."""
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    if steps == 1:
        return np.full(1, start).astype(d)
    if d.kind in "iub":
        step = (end - start) / max(steps - 1, 1)
        i = np.arange(steps)
        return np.where(i < steps // 2, start + step * i, end - step * (steps - 1 - i)).astype(d)
    work = np.dtype(np.float32) if d in dispatch.NARROW else d
    t = work.type
    first, last = t(start), t(end)
    step = (last - first) / t(max(steps - 1, 1))
    if work.kind == "f" and steps < 1 << 24:  # whole numbers up to there are floats
        made, half = np.empty(steps, work), steps // 2
        made[:half] = np.arange(half, dtype=work)
        made[half:] = np.arange(steps - 1 - half, -1, -1, dtype=work)
        made *= step
        made[:half] += first
        np.subtract(last, made[half:], out=made[half:])
        return made.astype(d, copy=False)
    i = np.arange(steps).astype(work)
    return np.where(np.arange(steps) < steps // 2, first + step * i, last - step * (t(steps - 1) - i)).astype(d)


def _space_dtype(start: Any, end: Any, dtype: Any, device: Any, layout: Any, out: Any, name: str) -> Any:
    d = checked(dtype, device, layout, name)
    if d is None:
        d = (
            out._a.dtype
            if out is not None
            else dtypes.default_complex.np
            if isinstance(start, complex) or isinstance(end, complex)
            else dtypes.default_np
        )
    return d


@function(**_plain)
@by_example
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Any:
    """``steps`` evenly spaced numbers from ``start`` to ``end``, both included."""
    start, end = number(start), number(end)
    d = _space_dtype(start, end, dtype, device, layout, out, "linspace")
    made = finished(_spaced(start, end, int(steps), d), requires_grad)
    return made if out is None else write_out(out, made)


@function(**_plain)
@by_example
def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: Any = 10.0,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Any:
    """``steps`` numbers from base**start to base**end, evenly spaced on a logarithmic scale."""
    start, end = number(start), number(end)
    d = _space_dtype(start, end, dtype, device, layout, out, "logspace")
    work = np.dtype(np.float64) if d.kind != "c" else np.dtype(np.complex128)
    a = np.power(work.type(number(base)), _spaced(start, end, int(steps), work))
    made = finished(a.astype(d), requires_grad)
    return made if out is None else write_out(out, made)


@function(**_plain)
def eye(
    n: int,
    m: int | None = None,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Any:
    """The n×n (or n×m) identity matrix."""
    d = checked(dtype, device, layout, "eye") or (dtypes.default_np if out is None else out._a.dtype)
    if n < 0 or m is not None and m < 0:
        raise RuntimeError(f"{'n' if n < 0 else 'm'} must be greater or equal to 0, got {n if n < 0 else m}")
    made = finished(np.eye(n, m).astype(d), requires_grad)
    return made if out is None else write_out(out, made)


def _indices(name: str, make: Any) -> Any:
    def create(
        row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, layout: Any = None
    ) -> Any:
        d = checked(dtype, device, layout, name) or np.dtype(np.int64)
        return wrap(np.stack(make(row, offset, col)).astype(d))

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"The indices of the {'lower' if 'l' in name[:4] else 'upper'} triangle of a row×col matrix, 2×N."
    return create


tril_indices = function(_indices("tril_indices", np.tril_indices), **_plain)
triu_indices = function(_indices("triu_indices", np.triu_indices), **_plain)

__all__ = ["array_from", "as_tensor", "finished", "legacy_tensor", "size_from", "tensor"]
