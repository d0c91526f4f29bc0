"""Storages: the memory under tensors, as bytes (`UntypedStorage`) or as numbers (`TypedStorage`, `FloatStorage`, …).

In come tensors and the ndarrays they look at; out go objects that stand for the whole memory that a tensor and all its
views share, of which there is one per memory as long as somebody holds it. Saving and loading see tensors as windows
on storages.

What a storage cannot do here: grow under the tensors that look at it. `resize_` gives the storage new memory, and
tensors keep the old.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import dtypes
from .autograd.versions import root_of, span
from .dtypes import BY_NUMPY
from .dtypes import dtype as Dtype

__all__ = ["TypedStorage", "UntypedStorage"]

ndarray = np.ndarray
U8 = np.dtype(np.uint8)


class _Window:
    """Bytes of another array's memory, for NumPy to look at; `owner` keeps that array alive and names it."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, owner: ndarray, start: int, nbytes: int) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "data": (start, not owner.flags.writeable),
            "shape": (nbytes,),
            "typestr": "|u1",
            "version": 3,
        }


def memory_of(a: ndarray) -> ndarray:
    """The array that owns the memory `a` looks at, through views and through `Tensor.data`."""
    root = root_of(a)
    while (owner := _owner(root.base)).__class__ is ndarray:
        root = root_of(owner)
    return root


def _owner(base: Any) -> Any:
    """The array whose memory is looked at through an object that names it: `Tensor.data`'s, which NumPy keeps in a tuple, or a `_Window`."""
    return getattr(base[0] if base.__class__ is tuple else base, "owner", None)


def bytes_of(root: ndarray) -> ndarray:
    """The memory that `root` spans as a one-dimensional array of bytes, which is a view of `root` where it can be."""
    if not root.size:
        return np.empty(0, U8)
    flat = root
    if not root.flags.c_contiguous:
        flat = root.transpose(sorted(range(root.ndim), key=lambda d: -root.strides[d]))
        if not flat.flags.c_contiguous:  # memory with holes, such as another library may hand over
            low, high = span(root)
            return np.asarray(_Window(root, low, high - low))
    return flat.reshape(-1).view(U8)


def like_view(a: ndarray, root: ndarray, fresh: ndarray) -> ndarray:
    """What `a` is to `root`, on `fresh`, a copy of `root` in the same order."""
    if fresh.strides != root.strides or not root.size:
        return np.array(a, order="K")  # the copy closed holes, so that places differ
    return np.ndarray(a.shape, a.dtype, bytes_of(fresh), _address(a) - span(root)[0], a.strides)


def _address(a: ndarray) -> int:
    return a.__array_interface__["data"][0]


def _number(value: Any) -> Any:
    """A NumPy scalar as a Python number, bfloat16 and float8 ones too."""
    found = value.item()
    return float(value) if found.__class__ not in (bool, int, float, complex) else found


def _no_other_device(device: Any) -> None:
    dtypes.check_device(device, "storage")


_known: weakref.WeakValueDictionary[int, UntypedStorage] = weakref.WeakValueDictionary()


class UntypedStorage:
    """The bytes that a tensor and its views look at.

    ``UntypedStorage(nbytes)`` and ``UntypedStorage([byte, …])`` make new ones, ``tensor.untyped_storage()`` gives a
    tensor's.

    >>> import bibun as torch
    >>> x = torch.arange(4, dtype=torch.uint8)
    >>> x[1:].untyped_storage() is x.untyped_storage(), x[1:].untyped_storage().tolist()
    (True, [0, 1, 2, 3])
    """

    __slots__ = ("__weakref__", "_flat", "_root", "_shared")
    _root: ndarray
    _flat: ndarray | None
    _shared: bool
    is_cuda = is_hpu = is_sparse = is_sparse_csr = False

    def __new__(cls, *args: Any, device: Any = None, **unknown: Any) -> UntypedStorage:
        _no_other_device(device)
        if unknown or len(args) > 1:
            raise TypeError(
                "torch.UntypedStorage(): expected (*, torch.device device), (int size, *, torch.device device) or "
                f"(Sequence data, *, torch.device device), got {len(args)} arguments {sorted(unknown) or ''}"
            )
        given = args[0] if args else 0
        if isinstance(given, Sequence) and not isinstance(given, str):
            return cls._of(np.array([_byte(v) for v in given], U8))
        if isinstance(given, bool) or not hasattr(given, "__index__"):
            raise TypeError(f"torch.UntypedStorage() takes a size or a sequence of bytes, not {type(given).__name__}")
        if (size := int(given)) < 0:  # type: ignore[arg-type]
            raise RuntimeError(f"Storage size must not be negative, got {size}")
        return cls._of(np.empty(size, U8))

    @classmethod
    def _of(cls, root: ndarray) -> UntypedStorage:
        """The storage of the memory that `root` owns: the same object as long as one is alive."""
        found = _known.get(id(root))
        if found is None:
            found = object.__new__(cls)
            found._root, found._flat, found._shared = root, None, False
            _known[id(root)] = found
        return found

    @classmethod
    def from_buffer(
        cls, buffer: Any, count: int = -1, offset: int = 0, *, dtype: Any = None, byte_order: str | None = None
    ) -> UntypedStorage:
        """A copy of a buffer's bytes, from order ``byte_order`` ("native", "little", "big") into the machine's."""
        np_dtype = U8 if dtype is None else dtype.np
        values = np.frombuffer(buffer, np_dtype, count, offset)
        order = byte_order or "native"
        if order not in ("native", "little", "big"):
            raise ValueError(f"invalid byte_order '{order}' (expected 'big', 'little', or 'native')")
        if order not in ("native", sys.byteorder):
            values = swapped(values)
        return cls._of(np.array(values))

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The bytes of a file, mapped: ``shared`` has writes reach the file, which is made or grown as needed."""
        import mmap
        import os

        if shared:
            with open(filename, "r+b" if os.path.exists(filename) else "w+b") as file:
                if os.fstat(file.fileno()).st_size < nbytes:
                    file.truncate(nbytes)
                mapped = mmap.mmap(file.fileno(), nbytes, access=mmap.ACCESS_WRITE) if nbytes else b""
        else:
            with open(filename, "rb") as file:
                if (there := os.fstat(file.fileno()).st_size) < nbytes:
                    raise RuntimeError(f"file {filename} holds {there} bytes, {nbytes} were asked for")
                mapped = mmap.mmap(file.fileno(), nbytes, access=mmap.ACCESS_COPY) if nbytes else b""
        made = cls._of(np.frombuffer(mapped, U8))
        made._shared = shared
        return made

    @property
    def bytes(self) -> ndarray:
        """The memory as a one-dimensional array of bytes."""
        if self._flat is None:
            self._flat = bytes_of(self._root)
        return self._flat

    def array(self, np_dtype: Any = U8) -> ndarray:
        """The memory as a one-dimensional array of that NumPy dtype; odd bytes at the end are left out."""
        root = self._root
        if root.dtype == np_dtype and root.ndim == 1 and root.flags.c_contiguous:
            return root
        n = np.dtype(np_dtype).itemsize
        flat = self.bytes
        return flat[: flat.size // n * n].view(np_dtype)

    # what it is

    @property
    def device(self) -> Any:
        """The processor."""
        return dtypes.CPU

    @property
    def _cdata(self) -> int:
        return id(self._root)

    def nbytes(self) -> int:
        """The number of bytes."""
        return self.bytes.size

    size = nbytes
    __len__ = nbytes

    def element_size(self) -> int:
        """1: elements are bytes here."""
        return 1

    def data_ptr(self) -> int:
        """The address of the first byte; 0 where there is none."""
        return _address(self.bytes) if self.bytes.size else 0

    def get_device(self) -> int:
        """-1, PyTorch's number for the processor."""
        return -1

    def untyped(self) -> UntypedStorage:
        """The storage itself."""
        return self

    def resizable(self) -> bool:
        """Whether `resize_` works."""
        return self._root.flags.owndata

    def is_pinned(self, device: Any = None) -> bool:
        return False

    def pin_memory(self, device: Any = None) -> UntypedStorage:
        return self

    def is_shared(self) -> bool:
        """Whether other processes see this memory."""
        return self._shared

    def share_memory_(self) -> UntypedStorage:
        """Move the bytes to memory that processes started later share. Tensors that look at the old stay there; a
        tensor moves by its own `share_memory_`."""
        if not self._shared:
            import mmap

            memory = np.frombuffer(mmap.mmap(-1, max(1, self.nbytes())), U8)[: self.nbytes()]
            memory[:] = self.bytes
            self._become(root_of(memory) if memory.size else memory)
            self._shared = True
        return self

    # bytes

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, step = index.indices(self.nbytes())
            if step != 1:
                raise RuntimeError(f"Trying to slice with a step of {step}, but only a step of 1 is supported")
            part = object.__new__(UntypedStorage)
            part._root = part._flat = self.bytes[start:stop]
            part._shared = self._shared
            return part
        return int(self.bytes[_index(index, self.nbytes())])

    def __setitem__(self, index: Any, value: Any) -> None:
        if type(value) is not int and not hasattr(value, "untyped_storage"):
            raise RuntimeError(f"can only set storage content with a int types, but got {type(value).__name__} instead")
        self.bytes[index if isinstance(index, slice) else _index(index, self.nbytes())] = _byte(value)

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def __bytes__(self) -> Any:
        return self.bytes.tobytes()

    def tolist(self) -> list[int]:
        """The bytes as Python ints."""
        return self.bytes.tolist()

    def fill_(self, value: Any) -> UntypedStorage:
        """Set every byte to `value`."""
        self.bytes[...] = _byte(value)
        return self

    def copy_(self, source: Any, non_blocking: bool | None = None) -> UntypedStorage:
        """Overwrite the bytes with those of another storage, of the same size."""
        if source.nbytes() != self.nbytes():
            raise RuntimeError(
                f"size does not match, self was {self.nbytes()} bytes but src was {source.nbytes()} bytes"
            )
        self.bytes[...] = source.untyped().bytes
        return self

    def clone(self) -> UntypedStorage:
        """A copy."""
        return UntypedStorage._of(self.bytes.copy())

    def new(self) -> UntypedStorage:
        """An empty storage."""
        return UntypedStorage(0)

    def resize_(self, size: int) -> UntypedStorage:
        """Give the storage `size` bytes, the first of which are the old ones. Tensors keep the old memory."""
        fresh = np.empty(size, U8)
        n = min(size, self.nbytes())
        fresh[:n] = self.bytes[:n]
        self._become(fresh)
        return self

    def _become(self, root: ndarray) -> None:
        if _known.get(id(self._root)) is self:
            del _known[id(self._root)]
        self._root, self._flat = root, None
        _known[id(root)] = self

    def byteswap(self, dtype: Dtype) -> None:
        """Reverse the bytes of every element of `dtype`, in place."""
        values = self.array(dtype.np)
        values[...] = swapped(values)

    def cpu(self) -> UntypedStorage:
        """The storage itself."""
        return self

    def to(self, *, device: Any, non_blocking: bool = False) -> UntypedStorage:
        """The storage itself, as the processor is the only device."""
        _no_other_device(device)
        return self

    def cuda(self, device: Any = None, non_blocking: bool = False) -> UntypedStorage:
        """Refused: tensors live on the processor."""
        _no_other_device("cuda")
        return self

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The class's name; with a dtype or a storage's name, a `TypedStorage` of it."""
        return "torch.storage.UntypedStorage" if dtype is None else self._to(_named_dtype(dtype))

    def _to(self, dtype: Dtype) -> TypedStorage:
        return TypedStorage(wrap_storage=self, dtype=dtypes.uint8)._to(dtype)

    def __copy__(self) -> UntypedStorage:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> UntypedStorage:
        from copy import deepcopy

        # the array is what copies of tensors meet at: theirs and this one share the new memory too
        roots = memo.setdefault("bibun.roots", {})  # type: ignore[call-overload]
        fresh = roots.get(id(self._root))
        if fresh is None:
            fresh = roots[id(self._root)] = deepcopy(self._root)
            memo[id(self._root)] = self._root
        return UntypedStorage._of(fresh)

    def __reduce__(self) -> tuple[Any, ...]:
        return _storage_of_array, (self._root,)

    def __repr__(self) -> str:
        return _lines(self.bytes[:1000].tolist()) + (
            f"\n[torch.storage.UntypedStorage(device=cpu) of size {len(self)}]"
        )


def _storage_of_array(root: ndarray) -> UntypedStorage:
    """A storage out of a plain pickle."""
    return UntypedStorage._of(root)


def _lines(values: list[Any]) -> str:
    return " " + "\n ".join(str(v) for v in values)


def _byte(value: Any) -> Any:
    if isinstance(value, float):
        raise TypeError(f"a storage of bytes takes ints, not {type(value).__name__}")
    return int(value) & 255


def _index(index: Any, size: int) -> int:
    if not hasattr(index, "__index__"):
        raise TypeError(f"can't index a torch.storage.UntypedStorage with {type(index).__name__}")
    i = index.__index__()
    if not -size <= i < size:
        raise IndexError(f"index {i} out of range for storage of size {size}")
    return i % size


def swapped(values: ndarray) -> ndarray:
    """A copy with the bytes of each element (of each part of a complex one) reversed."""
    if values.dtype.kind == "c":
        half = np.dtype(f"f{values.itemsize // 2}")
        return values.view(half).byteswap().view(values.dtype)
    return values.view(f"u{values.itemsize}").byteswap().view(values.dtype)


# ------------------------------------------------------------------------------------------------------------ typed

_told = False


def _warn_once() -> None:
    global _told
    if not _told:
        _told = True
        warnings.warn(
            "TypedStorage is deprecated. It will be removed in the future and UntypedStorage will be the only storage "
            "class. This should only matter to you if you are using storages directly.  To access UntypedStorage "
            "directly, use tensor.untyped_storage() instead of tensor.storage()",
            UserWarning,
            stacklevel=4,
        )


class TypedStorage:
    """The elements of the memory that a tensor and its views look at, in their order in memory.

    ``TypedStorage(size_or_values, dtype=…)`` makes a new one, ``TypedStorage(wrap_storage=untyped, dtype=…)`` reads
    the bytes of another, and ``FloatStorage(…)`` and its fellows are the same with the dtype given.

    >>> import bibun as torch
    >>> torch.TypedStorage([1, 2], dtype=torch.int64)
     1
     2
    [torch.storage.TypedStorage(dtype=torch.int64, device=cpu) of size 2]
    """

    __slots__ = ("_untyped_storage", "dtype")
    _untyped_storage: UntypedStorage
    dtype: Dtype
    is_cuda = is_hpu = is_sparse = False

    def __new__(
        cls, *args: Any, wrap_storage: Any = None, dtype: Any = None, device: Any = None, _internal: bool = False
    ) -> TypedStorage:
        _no_other_device(device)
        if wrap_storage is not None:
            if not isinstance(wrap_storage, UntypedStorage):
                raise TypeError(
                    "TypedStorage.__init__ received an invalid combination of arguments. Argument 'wrap_storage' must "
                    f"be UntypedStorage, but got {type(wrap_storage)}"
                )
            if args or not isinstance(dtype, Dtype):
                raise TypeError("TypedStorage(wrap_storage=…) takes a dtype and no other argument")
            return cls._of(wrap_storage, dtype)
        dtype = dtypes.default if dtype is None else dtype
        if not isinstance(dtype, Dtype):
            raise TypeError(f"Argument 'dtype' must be torch.dtype, not {type(dtype)}")
        if len(args) > 1:
            raise TypeError(f"TypedStorage takes one size or sequence, got {len(args)} arguments")
        given = args[0] if args else 0
        if hasattr(given, "__index__") and not isinstance(given, bool):
            return cls._of(UntypedStorage._of(np.empty(given.__index__(), dtype.np)), dtype)
        if not isinstance(given, (Sequence, UntypedStorage, TypedStorage)):
            raise TypeError(f"Argument type not recognized: {type(given)}")
        return cls._of(UntypedStorage._of(np.array(list(given)).astype(dtype.np)), dtype)

    @classmethod
    def _of(cls, untyped: UntypedStorage, dtype: Dtype) -> TypedStorage:
        made = object.__new__(TypedStorage)
        made._untyped_storage, made.dtype = untyped, dtype
        return made

    @classmethod
    def from_buffer(cls, *args: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> TypedStorage:
        """A copy of a buffer's elements; see `UntypedStorage.from_buffer`."""
        _no_other_device(device)
        dtype = dtype or dtypes.default
        return cls._of(UntypedStorage.from_buffer(*args, dtype=dtype, **kwargs), dtype)

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, size: int = 0, dtype: Any = None) -> TypedStorage:
        """The elements of a file, mapped; see `UntypedStorage.from_file`."""
        dtype = dtype or dtypes.default
        return cls._of(UntypedStorage.from_file(filename, shared, size * dtype.itemsize), dtype)

    def array(self, np_dtype: Any = None) -> ndarray:
        """The elements as a one-dimensional array."""
        return self._untyped_storage.array(self.dtype.np)

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        return self._untyped_storage

    @property
    def device(self) -> Any:
        """The processor."""
        return dtypes.CPU

    @property
    def _cdata(self) -> int:
        return self._untyped_storage._cdata

    def size(self) -> int:
        """The number of elements."""
        return self.nbytes() // self.dtype.itemsize

    __len__ = size
    _size = size

    def nbytes(self) -> int:
        """The number of bytes."""
        return self._untyped_storage.nbytes()

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def data_ptr(self) -> int:
        """The address of the first element; 0 where there is none."""
        return self._untyped_storage.data_ptr()

    def get_device(self) -> int:
        """-1, PyTorch's number for the processor."""
        return -1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        return _number(self.array()[_index(index, self.size())])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.array()[index if isinstance(index, slice) else _index(index, self.size())] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> ndarray:
        a = self.array()
        return a.astype(dtype) if dtype is not None and a.dtype != dtype else a.copy() if copy else a

    def tolist(self) -> list[Any]:
        """The elements as Python numbers."""
        a = self.array()
        return a.tolist() if a.dtype.kind != "V" and a.dtype.num < 256 else a.astype(np.float64).tolist()

    def fill_(self, value: Any) -> TypedStorage:
        """Set every element to `value`."""
        self.array()[...] = value
        return self

    def copy_(self, source: Any, non_blocking: bool | None = None) -> TypedStorage:
        """Overwrite the elements with those of another storage of as many, converted."""
        if len(source) != len(self):
            raise RuntimeError(f"size does not match, self was {len(self)} elements but src was {len(source)} elements")
        self.array()[...] = source.array()
        return self

    def clone(self) -> TypedStorage:
        """A copy."""
        return self._of(self._untyped_storage.clone(), self.dtype)

    __copy__ = clone

    def __deepcopy__(self, memo: dict[int, Any]) -> TypedStorage:
        return self._of(self._untyped_storage.__deepcopy__(memo), self.dtype)

    def resize_(self, size: int) -> None:
        """Give the storage `size` elements; see `UntypedStorage.resize_`."""
        self._untyped_storage.resize_(size * self.dtype.itemsize)

    def is_shared(self) -> bool:
        """Whether other processes see this memory."""
        return self._untyped_storage.is_shared()

    def share_memory_(self) -> TypedStorage:
        """Move to shared memory; see `UntypedStorage.share_memory_`."""
        self._untyped_storage.share_memory_()
        return self

    def cpu(self) -> TypedStorage:
        """The storage itself."""
        return self

    def pickle_storage_type(self) -> str:
        """The name of the class that stands for the dtype in files: "FloatStorage"."""
        found = CLASSES.get(self.dtype)
        if found is None:
            raise KeyError(f"dtype {self.dtype} is not recognized")
        return found.__name__

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The class's name ("torch.FloatStorage"); with a dtype or such a name, a converted copy."""
        if dtype is None:
            known = self.dtype in CLASSES
            return f"torch.{CLASSES[self.dtype].__name__}" if known else "torch.storage.TypedStorage"
        return self._to(_named_dtype(dtype))

    def _to(self, dtype: Dtype) -> TypedStorage:
        if dtype is self.dtype:
            return self
        return self._of(UntypedStorage._of(self.array().astype(dtype.np)), dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return _typed_storage, (self._untyped_storage, self.dtype)

    def __repr__(self) -> str:
        return (
            _lines([_number(v) for v in self.array()[:1000]])
            + f"\n[torch.storage.TypedStorage(dtype={self.dtype}, device=cpu) of size {len(self)}]"
        )


def _typed_storage(untyped: UntypedStorage, dtype: Dtype) -> TypedStorage:
    """A typed storage out of a plain pickle."""
    return TypedStorage._of(untyped, dtype)


def _named_dtype(given: Any) -> Dtype:
    if isinstance(given, Dtype):
        return given
    name = given.rpartition(".")[2] if isinstance(given, str) else getattr(given, "__name__", "")
    for dtype, found in CLASSES.items():
        if found.__name__ == name:
            return dtype
    raise TypeError(f"no storage has the type {given!r}")


class _StorageKind(type):
    """What the classes of one dtype are instances of: theirs are the `TypedStorage`s of that dtype."""

    dtype: Dtype

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TypedStorage) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any, **kwargs: Any) -> TypedStorage:
        return TypedStorage(*args, **kwargs, dtype=cls.dtype)


def _kind(dtype: Dtype) -> type:
    def from_buffer(*args: Any, **kwargs: Any) -> TypedStorage:
        return TypedStorage.from_buffer(*args, **kwargs, dtype=dtype)

    def from_file(filename: Any, shared: bool = False, size: int = 0) -> TypedStorage:
        return TypedStorage.from_file(filename, shared, size, dtype)

    return _StorageKind(
        dtype.scalar_name + "Storage",
        (),
        {
            "__doc__": f"The `TypedStorage`s of dtype {dtype}.",
            "__module__": __name__,
            "dtype": dtype,
            "from_buffer": staticmethod(from_buffer),
            "from_file": staticmethod(from_file),
        },
    )


CLASSES: dict[Dtype, type] = {
    each: _kind(each)
    for each in (
        dtypes.BY_NAME[name]
        for name in "float64 float32 float16 int64 int32 int16 int8 uint8 bool bfloat16 complex128 complex64".split()
    )
}
"""The class that names a dtype in files. Younger dtypes have none: their tensors are kept as bytes and a dtype."""

for _class in CLASSES.values():
    globals()[_class.__name__] = _class
__all__ += [_class.__name__ for _class in CLASSES.values()]


def _add_conversions() -> None:
    """``storage.float()`` and its fellows: a typed storage with the elements converted."""
    for dtype in CLASSES:
        name = dtype.scalar_name.replace("Complex", "Complex_").lower()
        for owner in (UntypedStorage, TypedStorage):

            def convert(self: Any, dtype: Dtype = dtype) -> TypedStorage:
                return self._to(dtype)

            convert.__name__ = name
            setattr(owner, name, convert)


_add_conversions()


def storage_of(tensor: Any) -> UntypedStorage:
    """``tensor.untyped_storage()``."""
    return UntypedStorage._of(memory_of(tensor._a))


def typed_storage_of(tensor: Any) -> TypedStorage:
    """``tensor.storage()``."""
    _warn_once()
    return TypedStorage._of(storage_of(tensor), BY_NUMPY[tensor._a.dtype])


def offset_of(a: ndarray) -> int:
    """Bytes from the start of the storage to the first element of `a`."""
    root = memory_of(a)
    return _address(a) - span(root)[0] if a.size and root is not a else 0


def _load_from_bytes(data: bytes) -> Any:
    """What plain pickles of PyTorch's storages call: the object that the bytes, a saved file, hold."""
    from importlib import import_module  # the files' module lies above

    return import_module("bibun.serialization")._load_from_bytes(data)
