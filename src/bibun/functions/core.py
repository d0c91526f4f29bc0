"""Conversions, copies, fills and questions: what every tensor answers whatever it holds."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd import dispatch
from ..autograd.dispatch import apply, user_frame, wrap
from ..autograd.inplace import assign, check_of_inference, check_writable, unwatched, written_by
from ..autograd.modes import state
from ..autograd.node import NarrowFix
from ..autograd.versions import count_together, root_of, written
from ..backends.strides import offset_in, strided
from ..dtypes import BY_NUMPY, check_device, check_dtype
from ..errors import expand_error
from ..ops import inplace as ops
from ..ops.primitive import REGISTRY
from .register import FUNCTIONS, METHODS, function, method

ndarray = np.ndarray


def tensor_argument(x: Any, name: str, argument: str = "input", position: int = 1) -> Any:
    """``x``, or PyTorch's error where it is no tensor."""
    if not isinstance(x, dispatch.Tensor):
        raise TypeError(f"{name}(): argument '{argument}' (position {position}) must be Tensor, not {type(x).__name__}")
    return x


# Conversions


def converted(x: Any, d: Any) -> Any:
    """``x`` in NumPy dtype ``d``, recorded."""
    return apply(REGISTRY["astype"], (x,), (d,))


def _order(x: Any, memory_format: Any) -> Any:
    """``x`` with its elements in the order in memory that ``memory_format`` names."""
    if memory_format is None or memory_format is dtypes.preserve_format:
        return x
    if memory_format is dtypes.contiguous_format:
        return x.contiguous()
    a = x._a
    n = 4 if memory_format is dtypes.channels_last else 5
    if a.ndim != n:
        if a.__class__ is not ndarray:
            x.is_contiguous(memory_format=memory_format)  # refuses, whatever the rank
        raise RuntimeError(f"required rank {n} tensor to use channels_last{'_3d' if n == 5 else ''} format")
    if x.is_contiguous(memory_format=memory_format):
        return x
    last = (0, *range(2, n), 1)
    return x.permute(last).contiguous().permute((0, n - 1, *range(1, n - 1)))


@method
def to(
    self: Any,
    *args: Any,
    device: Any = None,
    dtype: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,
) -> Any:
    """This tensor in another dtype (or of another tensor's); itself where nothing changes.

    >>> import bibun as torch
    >>> torch.tensor([1.7, -1.7]).to(torch.int64)
    tensor([ 1, -1])
    """
    rest = list(args)
    while rest:
        x = rest.pop(0)
        if isinstance(x, dtypes.dtype):
            dtype = x
        elif isinstance(x, dispatch.Tensor):
            dtype = x.dtype
        elif isinstance(x, (str, dtypes.device)):
            device = x
        elif isinstance(x, bool):
            rest, flags = [], [x, *rest]
            copy = flags[1] if len(flags) > 1 else copy
        elif x is None:
            continue
        elif isinstance(x, dtypes.memory_format):
            memory_format = x
        else:
            raise TypeError(
                f"to() received an invalid combination of arguments - got ({type(x).__name__}), but expected a dtype, a device or a Tensor"
            )
    if device is not None:
        check_device(device, "to")
    t = self
    if dtype is not None:
        d = check_dtype(dtype, "to").np
        if d is not self._a.dtype and d != self._a.dtype:
            t = converted(self, d)
            copy = False
    if copy and t is self:
        t = self.clone()
    return t if memory_format is None else _order(t, memory_format)


@method
def contiguous(self: Any, memory_format: Any = dtypes.contiguous_format) -> Any:
    """This tensor with its elements in memory in order; itself where they are already."""
    if memory_format is dtypes.contiguous_format:
        if self.is_contiguous() if dispatch.busy[0] else self._a.flags.c_contiguous:
            return self
        return apply(REGISTRY["rowmajor"], (self,))
    if memory_format is dtypes.preserve_format:
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    return _order(self, memory_format)


def _caster(name: str, d: Any) -> None:
    def cast(self: Any, memory_format: Any = None) -> Any:
        t = self if self._a.dtype == d.np else converted(self, d.np)
        return t if memory_format is None else _order(t, memory_format)

    cast.__name__ = name
    cast.__doc__ = f"This tensor as {d}."
    METHODS[name] = cast


for _name, _d in (
    ("double", dtypes.float64),
    ("float", dtypes.float32),
    ("half", dtypes.float16),
    ("bfloat16", dtypes.bfloat16),
    ("long", dtypes.int64),
    ("int", dtypes.int32),
    ("short", dtypes.int16),
    ("char", dtypes.int8),
    ("byte", dtypes.uint8),
    ("bool", dtypes.bool_),
    ("cfloat", dtypes.complex64),
    ("cdouble", dtypes.complex128),
):
    _caster(_name, _d)


@method
def cpu(self: Any, memory_format: Any = None) -> Any:
    """This tensor: it is on the processor already."""
    return self


@method
def cuda(self: Any, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Any:
    """Refused: there is no such device here."""
    check_device("cuda" if device is None else device if not isinstance(device, int) else f"cuda:{device}", "cuda")


@method
def type_as(self: Any, other: Any) -> Any:
    """This tensor in the dtype of ``other``."""
    return self.to(tensor_argument(other, "type_as", "other").dtype)


_LEGACY = {
    f"torch.{d.scalar_name}Tensor": d
    for d in dtypes.DTYPES
    if d.name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bfloat16")
}


@method(name="type")
def type_(self: Any, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, or the tensor in the dtype named."""
    if dtype is None:
        return f"torch.{self.dtype.scalar_name}Tensor"
    if isinstance(dtype, str):
        if dtype not in _LEGACY:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = _LEGACY[dtype]
    dtype = getattr(dtype, "dtype", dtype)
    return self.to(dtype)


# Copies and fills


def _quiet_write(self: Any, source: Any) -> Any:
    """Copy values without history."""
    a = self._a
    if not a.flags.writeable:
        return None
    try:
        if source.dtype is a.dtype:
            a[...] = source
        else:
            np.copyto(a, source, casting="unsafe")
    except ValueError:
        from ..errors import broadcast_error

        raise RuntimeError(str(broadcast_error(a.shape, source.shape))) from None
    written_by(a, 2)
    return self


@method
def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """Overwrite this tensor with the values of ``src``, broadcast and converted; history follows."""
    if not isinstance(src, dispatch.Tensor):
        if not isinstance(src, dispatch.OPERANDS):
            raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {src.__class__.__name__}")
        src = wrap(np.asarray(src))
    if unwatched(self, (src,)) and self._a.shape == src._a.shape and self._a.flags.carray:
        return self if self is src else _quiet_write(self, src._a)
    check_writable(self)
    if self is src:
        return self
    if src._a.ndim > self._a.ndim:
        raise expand_error(self._a.shape, src._a.shape)
    if src._view is not None:
        dispatch.refresh(src)
    if not dispatch.busy[0] and (
        not state.grad
        or self._node is None
        and src._node is None
        and (self._view is None or self._view[0]._node is None)
    ) and 0 not in self._a.strides:
        if _quiet_write(self, src._a) is not None:
            return self
    a, b = self._a, src._a
    if a.shape != b.shape:
        try:
            np.broadcast_to(b, a.shape)
        except ValueError:
            from ..errors import broadcast_error

            raise RuntimeError(str(broadcast_error(a.shape, b.shape))) from None
    result = apply(ops.copy_into, (self, src))
    node = result._node
    if node is not None and node.fix is None:
        fix = ((a.shape, a.dtype), (b.shape, b.dtype))
        if a.shape != b.shape or a.dtype != b.dtype:
            node.fix = NarrowFix(fix) if node.fix.__class__ is NarrowFix else fix
    return assign(self, result, checked=False)


@method
def fill_(self: Any, value: Any) -> Any:
    """Overwrite every element with ``value``, a number or 0-d tensor."""
    a = self._a
    if value.__class__ is float and a.dtype.kind == "f" and a.flags.writeable and unwatched(self):
        a.fill(value)
        written_by(a, 1)
        return self
    check_writable(self)
    if isinstance(value, dispatch.Tensor):
        if value._a.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value._a.ndim} dimensions."
            )
        if (
            dispatch.busy[0]
            or state.grad
            and (self._node is not None or value._node is not None or self._view is not None)
        ):
            return assign(self, apply(ops.fill, (self, value)), checked=False)
        value = value._a
    elif not isinstance(value, dispatch.OPERANDS):
        raise TypeError(
            f"fill_(): argument 'value' (position 1) must be Number or Tensor, not {value.__class__.__name__}"
        )
    if isinstance(value, complex) and self._a.dtype.kind != "c":
        raise RuntimeError(f"value cannot be converted to type {self.dtype.name} without overflow")
    if (
        dispatch.busy[0]
        or state.grad
        and (self._node is not None or self._view is not None and self._view[0]._node is not None)
    ):
        filler = wrap(np.asarray(value).astype(self._a.dtype))
        return assign(self, apply(ops.fill, (self, filler)), checked=False)
    return (
        _quiet_write(self, np.asarray(value))
        if self._a.flags.writeable
        else assign(self, wrap(np.full_like(self._a, value)))
    )


def _zero(self: Any) -> Any:
    """Overwrite every element with 0."""
    a = self._a
    if unwatched(self) and a.flags.writeable:
        a.fill(0)
        written_by(a, 1)
        return self
    check_writable(self)
    if (
        dispatch.busy[0]
        or state.grad
        and (self._node is not None or self._view is not None and self._view[0]._node is not None)
    ):
        return assign(self, apply(ops.zero, (self,)), checked=False)
    if not self._a.flags.writeable:
        return assign(self, wrap(np.zeros_like(self._a)))
    a.fill(0)
    written_by(a, 1)
    return self


METHODS["zero_"] = _zero


@function(out=False, name="fill")
def fill(input: Any, value: Any) -> Any:
    """A tensor like ``input``, every element ``value``."""
    return input.clone().fill_(value)


@function(out=False, method=False, name="zero_")
def zero_(input: Any) -> Any:
    """Overwrite every element of ``input`` with 0."""
    return input.zero_()


FUNCTIONS["fill_"] = METHODS["fill_"]


@function(out=False, method=False)
def detach(input: Any) -> Any:
    """``input`` out of its graph, sharing its memory."""
    return tensor_argument(input, "detach").detach()


@method
def set_(self: Any, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None) -> Any:
    """Have this tensor look at the memory of another tensor or storage."""
    if source is None:
        self._a = np.empty(0, self._a.dtype)
        return self
    a = (
        source._a
        if isinstance(source, dispatch.Tensor)
        else np.asarray(source.array(self._a.dtype) if hasattr(source, "array") else source)
    )
    if size is not None:
        if stride is None:
            stride = []
            step = 1
            for n in reversed(tuple(size)):
                stride.insert(0, step)
                step *= n
        a = np.ndarray(tuple(size), a.dtype, a, storage_offset * a.itemsize, tuple(s * a.itemsize for s in stride))
    self._a = a
    self._view = None
    return self


@method
def resize_(self: Any, *sizes: Any, memory_format: Any = None) -> Any:
    """Change the size in place; new elements are whatever the memory holds."""
    from .creation import size_from

    return _resized(self, size_from(sizes, "resize_"), memory_format)


def _strides_in(shape: tuple[int, ...], memory_format: Any) -> tuple[int, ...]:
    """The strides, in elements, of a dense tensor of this shape in the order that ``memory_format`` names."""
    order = list(range(len(shape)))
    if memory_format is dtypes.channels_last or memory_format is dtypes.channels_last_3d:
        rank = 4 if memory_format is dtypes.channels_last else 5
        if len(shape) != rank:
            raise RuntimeError(f"required rank {rank} tensor to use {'channels_last' if rank == 4 else 'channels_last_3d'} format")
        order = [0, *order[2:], 1]
    strides, step = [0] * len(shape), 1
    for i in reversed(order):
        strides[i] = step
        step *= max(shape[i], 1)
        if step >= 1 << 63:
            raise RuntimeError("Stride calculation overflowed")
    return tuple(strides)


def _resized(self: Any, shape: tuple[int, ...], memory_format: Any) -> Any:
    """Have the tensor look at as much of its memory, from its first element on, as ``shape`` takes; more is taken where it ends."""
    if self._node is not None and state.grad:
        raise RuntimeError("cannot resize variables that require grad")
    check_of_inference(self)
    if memory_format is dtypes.preserve_format:
        raise RuntimeError("Unsupported memory formatPreserve")
    a = self._a
    if a.shape == shape and memory_format is None:
        return self
    size = math.prod(shape)
    if any(n < 0 for n in shape) or size >= 1 << 63:
        raise RuntimeError("numel: integer multiplication overflow")
    if size and size * a.itemsize >= 1 << 63:
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)}")
    strides = tuple([n * a.itemsize for n in _strides_in(shape, memory_format)])
    source = a
    try:
        made = strided(a, shape, strides)
    except (ValueError, TypeError):  # beyond the end
        root = root_of(a)
        old = root.ravel(order="K").view(np.uint8)[offset_in(a, root) :] if root.flags.forc else a.ravel().view(np.uint8)
        source = np.empty(size, a.dtype)
        n = min(old.size, source.nbytes)
        source.view(np.uint8)[:n] = old[:n]
        made = strided(source, shape, strides)
        count_together(a, source)
    f = user_frame(2)
    written(source, f.f_code, f.f_lasti)
    self._a = made
    return self


@method
def resize_as_(self: Any, the_template: Any, memory_format: Any = None) -> Any:
    """Change the size in place to that of ``the_template``; with ``torch.preserve_format``, the order of its dimensions too."""
    b = the_template._a
    if memory_format is dtypes.preserve_format:
        for each in (dtypes.channels_last, dtypes.channels_last_3d):
            if not b.flags.c_contiguous and the_template.is_contiguous(memory_format=each):
                return _resized(self, b.shape, each)
        memory_format = None
    return _resized(self, b.shape, memory_format)


FUNCTIONS["resize_as_"] = resize_as_


# Questions


@function(method=False, out=False)
def is_tensor(obj: Any) -> bool:
    """Whether ``obj`` is a tensor."""
    return isinstance(obj, dispatch.Tensor)


@function(method=False, out=False)
def is_storage(obj: Any) -> bool:
    """Whether ``obj`` is a storage."""
    storage = sys.modules.get("bibun.storage")
    return storage is not None and isinstance(obj, (storage.UntypedStorage, storage.TypedStorage))


@function(method=False, out=False)
def numel(input: Any) -> int:
    """The number of elements."""
    return tensor_argument(input, "numel")._a.size


@function(method=False, out=False)
def is_floating_point(input: Any) -> bool:
    """Whether the dtype is a floating one."""
    return tensor_argument(input, "is_floating_point").is_floating_point()


@function(method=False, out=False)
def is_complex(input: Any) -> bool:
    """Whether the dtype is complex."""
    return tensor_argument(input, "is_complex").is_complex()


@function(method=False, out=False)
def is_conj(input: Any) -> bool:
    """Whether the tensor is conjugated lazily: never here."""
    return False


@function(method=False, out=False)
def is_signed(input: Any) -> bool:
    """Whether the dtype has negative numbers."""
    return input.is_signed()


@function(method=False, out=False)
def is_inference(input: Any) -> bool:
    """Whether the tensor was made in inference mode."""
    return input.is_inference()


@function(out=False)
def is_nonzero(input: Any) -> bool:
    """Whether the one element is not zero."""
    if input._a.size != 1:
        raise RuntimeError(
            "Boolean value of Tensor with no values is ambiguous"
            if not input._a.size
            else "Boolean value of Tensor with more than one value is ambiguous"
        )
    return bool(input)


@function(out=False)
def is_same_size(input: Any, other: Any) -> bool:
    """Whether two tensors have the same size."""
    return input._a.shape == other._a.shape


@method
def is_set_to(self: Any, tensor: Any) -> bool:
    """Whether both look at the same memory in the same way."""
    return (
        self.data_ptr() == tensor.data_ptr()
        and self._a.shape == tensor._a.shape
        and self._a.strides == tensor._a.strides
    )


@function(out=False)
def equal(input: Any, other: Any) -> bool:
    """Whether two tensors have the same size and elements."""
    tensor_argument(input, "equal")
    tensor_argument(other, "equal", "other", 2)
    return bool(input._a.shape == other._a.shape and (input._a == other._a).all())


@function(method=False, out=False)
def typename(obj: Any) -> str:
    """The full name of an object's type."""
    if isinstance(obj, dispatch.Tensor):
        return obj.type()
    cls = obj.__class__
    return cls.__qualname__ if cls.__module__ in ("builtins", "") else f"{cls.__module__}.{cls.__qualname__}"


@function(method=False, out=False)
def result_type(tensor1: Any, tensor2: Any) -> Any:
    """The dtype of an operation on two tensors or numbers.

    >>> import bibun as torch
    >>> torch.result_type(torch.tensor([1, 2], dtype=torch.int32), 1.0)
    torch.float32
    """
    return BY_NUMPY[dispatch.common_dtype([x._a if isinstance(x, dispatch.Tensor) else x for x in (tensor1, tensor2)])]


# Settings that programs make and that need no more than being remembered

_settings: dict[str, Any] = {
    "interop": 1,
    "deterministic": False,
    "precision": "highest",
    "warn": False,
}


@function(method=False, out=False)
def set_num_threads(int: int) -> None:
    """Have large array work use so many threads."""
    if not isinstance(int, __import__("builtins").int):
        raise RuntimeError(f"set_num_threads expects an int, but got {int.__class__.__name__}")
    if int <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    import sys

    from .. import native

    native.wanted_threads = int
    if "bibun.native.pool" in sys.modules:  # else it begins with so many
        from ..native import pool

        pool.follow()


@function(method=False, out=False)
def get_num_threads() -> int:
    """How many threads large array work uses."""
    from ..native import default_threads

    return default_threads()


@function(method=False, out=False)
def set_num_interop_threads(int: int) -> None:
    """Remembered; operations run one after another."""
    _settings["interop"] = int


@function(method=False, out=False)
def get_num_interop_threads() -> int:
    """What was set."""
    return _settings["interop"]


@function(method=False, out=False)
def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Remembered; every operation here is deterministic."""
    _settings["deterministic"], _settings["warn"] = bool(mode), warn_only


@function(method=False, out=False)
def are_deterministic_algorithms_enabled() -> bool:
    """What was set."""
    return _settings["deterministic"]


@function(method=False, out=False)
def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What was set."""
    return _settings["warn"]


@function(method=False, out=False)
def set_float32_matmul_precision(precision: str) -> None:
    """Remembered; float32 products are always computed in float32."""
    if precision not in ("highest", "high", "medium"):
        raise ValueError(f"precision must be one of highest, high, medium, not {precision!r}")
    _settings["precision"] = precision


@function(method=False, out=False)
def get_float32_matmul_precision() -> str:
    """What was set."""
    return _settings["precision"]


@function(method=False, out=False)
def set_default_device(device: Any) -> None:
    """Accepts the processor."""
    if device is not None:
        check_device(device, "set_default_device")


@function(method=False, out=False)
def get_default_device() -> Any:
    """The processor."""
    return dtypes.device("cpu")


@function(method=False, out=False)
def set_default_tensor_type(t: Any) -> None:
    """Set the default dtype by a tensor type (deprecated)."""
    if isinstance(t, str):
        if t not in _LEGACY:
            raise TypeError(f"invalid type object: {t!r}")
        t = _LEGACY[t]
    dtypes.set_default_dtype(getattr(t, "dtype", t))


@function(method=False, out=False)
def set_flush_denormal(mode: bool) -> bool:
    """False: denormal numbers are kept."""
    return False


@function(method=False, out=False)
def compiled_with_cxx11_abi() -> bool:
    """True, as in current builds of PyTorch."""
    return True


__all__ = ["converted", "tensor_argument"]
