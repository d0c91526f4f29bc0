"""Tensors into parts and back: what pickles call.

`reduce_tensor` takes a tensor apart into its storage, offset, sizes and strides; the ``_rebuild_*`` functions, which
have PyTorch's names and arguments, put one together again. Nothing they are given is trusted: a tensor that would reach
beyond its storage is refused, whatever the file says.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd.dispatch import wrap
from ..dtypes import BY_NUMPY, Size
from ..dtypes import dtype as Dtype
from ..storage import CLASSES, TypedStorage, UntypedStorage, bytes_of, memory_of, offset_of
from ..tensor import Tensor, contiguous_strides

#: What the engine keeps in a tensor's ``__dict__``: no part of its value.
ENGINE = frozenset(
    ("_backward_hooks_", "_post_accumulate_hooks_", "_has_hooks", "_accumulate_grad_", "_inference", "_shared")
)

# ------------------------------------------------------------------------------------------------------------- apart


def parts(a: np.ndarray) -> tuple[UntypedStorage, int, tuple[int, ...], tuple[int, ...]]:
    """An array's storage, and its offset, sizes and strides there, counted in elements."""
    n = a.itemsize
    strides = a.strides
    if not a.size:
        return UntypedStorage._of(np.empty(0, a.dtype)), 0, a.shape, contiguous_strides(a.shape)
    offset = offset_of(a)
    if offset % n or any(s < 0 or s % n for s in strides) or not a.dtype.isnative:
        a = a.astype(a.dtype.newbyteorder("="), order="C")  # only NumPy's arrays can look like that
        return UntypedStorage._of(a), 0, a.shape, contiguous_strides(a.shape)
    return UntypedStorage._of(memory_of(a)), offset // n, a.shape, tuple([s // n for s in strides])


def reduce_tensor(tensor: Any, protocol: Any = 2) -> tuple[Any, ...]:
    """``Tensor.__reduce_ex__``: the function and arguments that make the tensor again, on the same storage."""
    from ..utils.hooks import warn_if_has_hooks

    if "_backward_hooks_" in tensor.__dict__:
        warn_if_has_hooks(tensor)
    storage, offset, size, stride = parts(tensor._a)
    dtype = BY_NUMPY[tensor._a.dtype]
    hooks: OrderedDict[int, Any] = OrderedDict()
    function: Any
    args: tuple[Any, ...]
    if dtype in CLASSES:
        function = _rebuild_tensor_v2
        args = (TypedStorage._of(storage, dtype), offset, size, stride, tensor.requires_grad, hooks)
    else:
        function = _rebuild_tensor_v3
        args = (storage, offset, size, stride, tensor.requires_grad, hooks, dtype)
    kind = type(tensor)
    state: Any = {k: v for k, v in tensor.__dict__.items() if k not in ENGINE}
    slots = _own_slots(kind)
    if slots:
        values = {name: getattr(tensor, name) for name in slots if hasattr(tensor, name)}
        state = (state, values) if values else state
    if kind is Tensor and not state:
        return function, args
    return _rebuild_from_type_v2, (function, kind, args, state)


def _own_slots(kind: type) -> list[str]:
    """Slots that subclasses added to Tensor's own."""
    found: list[str] = []
    for each in kind.__mro__[: kind.__mro__.index(Tensor)]:
        slots = each.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else slots
    return [name for name in found if name not in ("__dict__", "__weakref__")]


# ---------------------------------------------------------------------------------------------------------- together


def _sizes(given: Any, what: str) -> tuple[int, ...]:
    if not isinstance(given, (tuple, list)):
        raise TypeError(f"a tensor's {what} is a tuple of ints, not {type(given).__name__}")
    if len(given) > 64:
        raise RuntimeError(f"a tensor of {len(given)} dimensions; bibun's have at most 64")
    for each in given:
        if type(each) is not int:
            raise TypeError(f"a tensor's {what} is a tuple of ints, got {each.__class__.__name__} in it")
        if not -(2**63) <= each < 2**63:
            raise RuntimeError(f"a tensor's {what} is out of range: {each}")
    return tuple(given)


def window(storage: Any, dtype: Dtype, offset: Any, size: Any, stride: Any) -> np.ndarray:
    """The array that a tensor looks through at its storage, checked.

    Raises:
        TypeError: for arguments of other types.
        RuntimeError: where sizes, strides and offset are negative or reach beyond the storage.
    """
    if not isinstance(storage, (UntypedStorage, TypedStorage)):
        raise TypeError(f"a tensor is made on a storage, not on {type(storage).__name__}")
    if dtype.np is None:
        raise NotImplementedError(f"bibun has no tensors of {dtype}")
    size, stride = _sizes(size, "size"), _sizes(stride, "stride")
    if type(offset) is not int:
        raise TypeError(f"a tensor's storage offset is an int, not {type(offset).__name__}")
    if len(size) != len(stride):
        raise RuntimeError(f"mismatch in length of strides and shape: {list(size)} and {list(stride)}")
    if any(n < 0 for n in size):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {list(size)}")
    untyped = storage.untyped()
    root = untyped._root
    if 0 in size:
        return np.empty(size, dtype.np)
    if offset < 0 or any(s < 0 for s in stride):
        raise RuntimeError(f"storage offset {offset} and strides {list(stride)} must not be negative")
    n = dtype.itemsize
    need = (offset + sum([(m - 1) * s for m, s in zip(size, stride)]) + 1) * n
    room = untyped.nbytes()
    if need > room:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize {n} "
            f"requiring a storage size of {need} are out of bounds for storage of size {room}"
        )
    if not offset and need == room and root.dtype == dtype.np:  # the usual case: the tensor is its storage
        if root.shape == size and root.strides == tuple([s * n for s in stride]):
            return root
        if stride == contiguous_strides(size) and root.flags.c_contiguous:
            return root.reshape(size)
    try:
        return np.ndarray(size, dtype.np, bytes_of(root), offset * n, tuple([s * n for s in stride]))
    except ValueError as error:  # more elements than an array can count, all on the same few bytes
        raise RuntimeError(f"a tensor of sizes {list(size)} is too large: {error}") from None


def _made(a: np.ndarray, requires_grad: Any, metadata: Any = None, storage: Any = None) -> Tensor:
    if metadata:
        a = _bits(a, metadata, storage)
    tensor = wrap(a)
    if requires_grad:
        tensor.requires_grad_(True)
    return tensor


def _bits(a: np.ndarray, metadata: Any, storage: Any) -> np.ndarray:
    """Carry out a conjugation or negation that PyTorch had put off, on a copy of the storage: a tensor that looks at a
    few bytes very often costs no more than those bytes."""
    if not isinstance(metadata, dict) or not {"conj", "neg"}.issuperset(metadata):
        raise RuntimeError(f"a tensor with metadata {list(metadata) if type(metadata) is dict else type(metadata)}, of which bibun knows 'conj' and 'neg' only")
    if not a.size:
        return a
    flat = storage.untyped().array(a.dtype)
    start = (a.__array_interface__["data"][0] - storage.data_ptr()) // a.itemsize
    if metadata.get("conj"):
        flat = np.conj(flat)
    if metadata.get("neg"):
        flat = np.negative(flat)
    return np.ndarray(a.shape, a.dtype, bytes_of(flat), start * a.itemsize, a.strides)


def _rebuild_tensor(storage: Any, storage_offset: Any, size: Any, stride: Any) -> Tensor:
    """A tensor that looks at `storage`: the oldest form."""
    return _made(window(storage, _dtype_of(storage), storage_offset, size, stride), False)


def _rebuild_tensor_v2(
    storage: Any,
    storage_offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    metadata: Any = None,
) -> Tensor:
    """A tensor that looks at a typed `storage`."""
    a = window(storage, _dtype_of(storage), storage_offset, size, stride)
    return _made(a, requires_grad, metadata, storage)


def _rebuild_tensor_v3(
    storage: Any,
    storage_offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Tensor:
    """A tensor of a dtype that looks at an untyped `storage`."""
    if not isinstance(dtype, Dtype):
        raise TypeError(f"a tensor's dtype is a torch.dtype, not {type(dtype).__name__}")
    return _made(window(storage, dtype, storage_offset, size, stride), requires_grad, metadata, storage)


def _dtype_of(storage: Any) -> Dtype:
    if isinstance(storage, TypedStorage):
        return storage.dtype
    if isinstance(storage, UntypedStorage):
        return dtypes.uint8
    raise TypeError(f"a tensor is made on a storage, not on {type(storage).__name__}")


_PLAIN = (_rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3)


def _rebuild_from_type_v2(func: Any, new_type: Any, args: Any, state: Any) -> Any:
    """A tensor with attributes of its own, or of a subclass, that `func(*args)` makes the plain part of."""
    made = func(*args)
    if not isinstance(new_type, type) or not issubclass(new_type, Tensor):
        raise TypeError(f"a tensor's class is a subclass of Tensor, not {type(new_type).__name__}")
    if type(made) is not new_type:
        if not isinstance(made, Tensor):
            raise TypeError(f"{new_type.__name__} is made of a tensor, not of {type(made).__name__}")
        plain, made = made, object.__new__(new_type)
        made._a, made._node = plain._a, plain._node
        made._grad = made._view = made._story = None
    own = new_type.__dict__.get("__setstate__")
    if own is not None and new_type is not Tensor:
        made.__setstate__(state)
    elif isinstance(made, Tensor):
        set_state(made, state)
    return made


def set_state(tensor: Any, state: Any) -> None:
    """Give a tensor its attributes back; those that belong to the engine are left out."""
    values, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    for each in (values, slots):
        if each is not None and (not isinstance(each, dict) or not all(type(k) is str for k in each)):
            raise TypeError(f"a tensor's attributes are a dict of names, not {type(each).__name__}")
    if values:
        tensor.__dict__.update({k: v for k, v in values.items() if k not in ENGINE})
    for name in slots or ():
        if name in _own_slots(type(tensor)):
            setattr(tensor, name, slots[name])  # type: ignore[index]


def _rebuild_device_tensor_from_cpu_tensor(data: Any, dtype: Any, device: Any, requires_grad: Any) -> Tensor:
    """A tensor of another device that was saved through the processor's memory: it stays there."""
    if not isinstance(data, Tensor) or not isinstance(dtype, Dtype):
        raise TypeError("expected a tensor and a dtype")
    if dtype is not data.dtype and data.numel() > data.untyped_storage().nbytes():
        raise RuntimeError("a tensor that shows its storage more than once cannot be converted while loading")
    tensor = data.detach().to(dtype)
    return tensor.requires_grad_() if requires_grad else tensor


def _rebuild_device_tensor_from_numpy(data: Any, dtype: Any, device: Any, requires_grad: Any) -> Tensor:
    """A tensor of another device that was saved as an ndarray."""
    if not isinstance(data, np.ndarray):
        raise TypeError(f"expected an ndarray, got {type(data).__name__}")
    return _rebuild_device_tensor_from_cpu_tensor(wrap(data), dtype, device, requires_grad)


def _get_layout(name: Any) -> Any:
    """A layout by its printed name."""
    from .. import placement

    found = getattr(placement, str(name).removeprefix("torch."), None)
    if not isinstance(found, placement.layout):
        raise KeyError(name)
    return found


def _unknown(kind: str) -> Any:
    def refuse(*args: Any) -> Any:
        raise NotImplementedError(f"the file holds {kind}, which bibun has not; convert it with PyTorch before saving")

    return refuse


_rebuild_meta_tensor_no_storage = _unknown("a tensor on the device 'meta'")
_rebuild_sparse_tensor = _unknown("a sparse tensor")
_rebuild_qtensor = _unknown("a quantized tensor")
_rebuild_nested_tensor = _unknown("a nested tensor")
_rebuild_wrapper_subclass = _unknown("a tensor of a wrapper subclass")

SAFE: dict[str, Any] = {
    **{
        f"torch._utils.{name}": value
        for name, value in list(globals().items())
        if name.startswith("_rebuild_") and name != "_rebuild_from_type_v2"
    },
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type_v2,
    "torch.serialization._get_layout": _get_layout,
    "torch.Size": Size,
    "torch.Tensor": Tensor,
    "torch.device": dtypes.device,
}
"""What a file may call without being trusted."""
