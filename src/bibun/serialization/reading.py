"""`load`: objects out of files that PyTorch or bibun saved.

In comes a path or a seekable file; out comes the object, its tensors on storages that are read straight into memory of
their own, or mapped. Unless told to trust the file, `load` runs no code that the file names (`weights`).
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import numpy as np

from ..storage import CLASSES, TypedStorage, UntypedStorage, swapped
from .archive import ArchiveReader
from .location import restorer
from .names import of_file
from .settings import LoadEndianness, settings
from .weights import Unknown, WeightsUnpickler, shown, unsafe_names

__all__ = ["get_unsafe_globals_in_checkpoint", "load"]

_DTYPE_OF = {id(kind): dtype for dtype, kind in CLASSES.items()}
_LARGEST = 2**62


def storage_type(kind: Any) -> Any:
    """The dtype of a storage class that a file mentions; None for `UntypedStorage`."""
    if kind is UntypedStorage or kind is TypedStorage:
        return None
    found = _DTYPE_OF.get(id(kind))
    if found is None:
        if isinstance(kind, Unknown):
            raise NotImplementedError(f"the file holds a {kind}, and bibun has no quantized tensors")
        raise UnpicklingError(f"a storage's type is a storage class, not {shown(kind)}")
    return found


def size_in_bytes(count: Any, dtype: Any) -> int:
    """The bytes of so many elements, checked."""
    n = 1 if dtype is None else dtype.itemsize
    if type(count) is not int or not 0 <= count <= _LARGEST // n:
        raise UnpicklingError(f"a storage's size is a number of elements, not {shown(count)}")
    return count * n


def new_memory(nbytes: int, dtype: Any) -> np.ndarray:
    """Fresh memory, with the dtype its first tensor will have."""
    np_dtype = np.dtype(np.uint8) if dtype is None else dtype.np
    return np.empty(nbytes // np_dtype.itemsize, np_dtype)


def _text(value: Any, what: str) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii")
    if type(value) is not str:
        raise UnpicklingError(f"a storage's {what} is text, not {type(value).__name__}")
    return value


class _Archive:
    """The storages of an archive, each read when the pickle first speaks of it."""

    def __init__(self, file: Any, start: int, restore: Callable[[Any, Any], Any], path: Any, mapped: bool) -> None:
        self.reader = ArchiveReader(file, start)
        self.restore = restore
        self.loaded: dict[str, UntypedStorage] = {}
        if "version" not in self.reader and ".data/version" not in self.reader:
            raise RuntimeError('Expected hasRecord("version") to be true, but got false: the file is no saved object')
        if "constants.pkl" in self.reader:
            raise RuntimeError(
                "the file is a TorchScript archive, saved by torch.jit.save; bibun loads what torch.save saved"
            )
        self.swap = self._order() != sys.byteorder
        self.memory = self._map(path) if mapped else None

    def _order(self) -> str:
        if "byteorder" in self.reader:
            order = self.reader.read("byteorder")
            if order not in (b"little", b"big"):
                raise ValueError(f"Unknown endianness type: {order[:20].decode(errors='replace')}")
            return order.decode()
        default = settings.endianness
        return sys.byteorder if default in (None, LoadEndianness.NATIVE) else default.name.lower()

    def _map(self, path: Any) -> Any:
        import mmap

        if self.swap:
            raise RuntimeError("a file of the other byte order cannot be mapped: load it without mmap")
        private = settings.mmap_flags == 2
        with open(path, "rb" if private else "r+b") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE)

    def persistent_load(self, identifier: Any) -> Any:
        """The storage that a persistent id stands for."""
        if type(identifier) is not tuple or len(identifier) != 5 or _text(identifier[0], "kind") != "storage":
            raise UnpicklingError(
                f"Unknown typename for persistent_load, expected 'storage' but got {shown(identifier)}"
            )
        _, kind, key, location, count = identifier
        dtype = storage_type(kind)
        key, location = _text(key, "key"), _text(location, "location")
        nbytes = size_in_bytes(count, dtype)
        untyped = self.loaded.get(key)
        if untyped is None:
            untyped = self.loaded[key] = self._read(f"data/{key}", nbytes, dtype, location)
        return untyped if dtype is None else TypedStorage._of(untyped, dtype)

    def _read(self, name: str, nbytes: int, dtype: Any, location: str) -> UntypedStorage:
        there = self.reader.size(name)
        if there != nbytes:
            raise RuntimeError(f"record size ({there} bytes) does not match expected size ({nbytes} bytes) for {name}")
        root = None
        if settings.skip:
            root = new_memory(nbytes, dtype)
        elif self.memory is not None and nbytes:
            place = self.reader.place(name)
            if place is not None:
                np_dtype = np.dtype(np.uint8) if dtype is None else dtype.np
                root = np.frombuffer(self.memory, np_dtype, nbytes // np_dtype.itemsize, place)
        if root is None:
            root = new_memory(nbytes, dtype)
            if nbytes:
                self.reader.read_into(name, root.view(np.uint8))
            if self.swap and dtype is not None:
                root = swapped(root)
        found = self.restore(UntypedStorage._of(root), location)
        return found.untyped()


class _Unpickler:
    """Makes unpicklers, of whatever module, that read names as ours and storages by their ids."""

    def __new__(cls, module: Any, file: Any, persistent_load: Callable[[Any], Any], **arguments: Any) -> Any:
        class Unpickler(module.Unpickler):  # type: ignore[misc,name-defined]
            def find_class(self, mod_name: str, name: str) -> Any:
                if mod_name == "torch" or mod_name.startswith("torch."):
                    return of_file(mod_name, name)
                return super().find_class(mod_name, name)

            def persistent_load(self, pid: Any) -> Any:
                return persistent_load(pid)

        return Unpickler(file, **arguments)


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Load an object that `save`, bibun's or PyTorch's, wrote.

    Args:
        f: a path, or a file-like object with ``read``, ``readline``, ``seek`` and ``tell``.
        map_location: where storages go: None (where they were), a device, a string, a dict of such, or a function of
            the storage and its tag. Files saved on a GPU need ``map_location="cpu"``.
        pickle_module: what unpickles; only without `weights_only`.
        weights_only: True, the default, makes only tensors, plain containers and numbers, and what
            `serialization.add_safe_globals` lists: no code that the file names is run. False trusts the file with
            everything that the program may do.
        mmap: map the file's numbers into memory instead of reading them.

    Raises:
        pickle.UnpicklingError: for what is not on the list, and for data that make no sense.
        RuntimeError: for a file that is damaged, or whose tensors were on devices that are not there.
        EOFError: for a file that is empty or ends early.
    """
    trusting = os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0").lower() in ("1", "y", "yes", "true")
    strict = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0").lower() in ("1", "y", "yes", "true")
    if trusting and strict:
        raise RuntimeError(
            "Only one of `TORCH_FORCE_WEIGHTS_ONLY_LOAD` or `TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD` should be set, "
            "but both were set."
        )
    unsaid = weights_only is None
    if strict:
        weights_only = True
    elif unsaid:
        weights_only = not trusting and pickle_module is None
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    if mmap and not isinstance(f, (str, os.PathLike)):
        raise ValueError("f must be a file path in order to use the mmap argument")
    restore = restorer(map_location)
    encoding = pickle_load_args.setdefault("encoding", "utf-8")
    if weights_only and set(pickle_load_args) - {"encoding"}:
        warnings.warn("pickle_load_args only works if `weights_only=False`.")

    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return _load(file, f, restore, pickle_module, bool(weights_only), unsaid, bool(mmap), pickle_load_args)
    for needed in ("seek", "tell", "read", "readline"):
        if not hasattr(f, needed):
            raise AttributeError(
                f"'{type(f).__name__}' object has no attribute '{needed}'. You can only torch.load from a file that is "
                "seekable. Please pre-load the data into a buffer like io.BytesIO and try to load from it instead."
            )
    try:
        f.tell()
    except io.UnsupportedOperation as error:
        raise io.UnsupportedOperation(
            f"{error}. You can only torch.load from a file that is seekable. Please pre-load the data into a buffer "
            "like io.BytesIO and try to load from it instead."
        ) from None
    assert encoding is not None
    return _load(f, None, restore, pickle_module, bool(weights_only), unsaid, False, pickle_load_args)


def _load(
    file: Any,
    path: Any,
    restore: Callable[[Any, Any], Any],
    pickle_module: Any,
    weights_only: bool,
    unsaid: bool,
    mapped: bool,
    arguments: dict[str, Any],
) -> Any:
    from .legacy import load_legacy

    start = file.tell()
    head = file.read(4)
    file.seek(start)
    if isinstance(head, str):
        raise TypeError("load takes a file opened in binary mode ('rb')")
    zipped = head == b"PK\x03\x04"
    if mapped and not zipped:
        raise RuntimeError(
            f"mmap can only be used with files saved with `torch.save({path}, _use_new_zipfile_serialization=True), "
            "please torch.save your checkpoint with this option in order to use mmap."
        )
    try:
        if not zipped:
            return load_legacy(file, restore, pickle_module or pickle, weights_only, arguments)
        archive = _Archive(file, start, restore, path, mapped)
        data = archive.reader.read("data.pkl")
        if weights_only:
            return WeightsUnpickler(data, archive.persistent_load, arguments["encoding"]).load()
        stream = io.BytesIO(data)
        return _Unpickler(pickle_module or pickle, stream, archive.persistent_load, **arguments).load()
    except UnpicklingError as error:
        if not weights_only:
            raise
        raise UnpicklingError(_explained(str(error), unsaid)) from None


def _explained(what: str, unsaid: bool) -> str:
    """A refusal, with PyTorch's advice."""
    default = (
        "In PyTorch 2.6, we changed the default value of the `weights_only` argument in `torch.load` from `False` to "
        "`True`. Re-running `torch.load` with `weights_only` set to `False` will likely succeed, but it can result in "
        "arbitrary code execution. Do it only if you got the file from a trusted source."
        if unsaid
        else "Re-running `torch.load` with `weights_only` set to `False` will likely succeed, but it can result in "
        "arbitrary code execution. Do it only if you got the file from a trusted source."
    )
    end = (
        "\n\nCheck the documentation of torch.load to learn more about types accepted by default with weights_only "
        "https://pytorch.org/docs/stable/generated/torch.load.html."
    )
    if "Unsupported global" in what:
        return (
            "Weights only load failed. This file can still be loaded, to do so you have two options, do those steps "
            f"only if you trust the source of the checkpoint. \n\t(1) {default}\n\t(2) Alternatively, to load with "
            "`weights_only=True` please check the recommended steps in the following error message.\n\t"
            f"WeightsUnpickler error: {what}{end}"
        )
    return f"Weights only load failed. {default}\nWeightsUnpickler error: {what}{end}"


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """The full names in a saved file that ``load(weights_only=True)`` would refuse, found without loading it."""
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return get_unsafe_globals_in_checkpoint(file)
    start = f.tell()
    head = f.read(4)
    f.seek(start)
    if head != b"PK\x03\x04":
        raise ValueError("Expected input to be a checkpoint returned by torch.save")
    return sorted(unsafe_names(ArchiveReader(f, start).read("data.pkl")))


def _load_from_bytes(data: bytes) -> Any:
    """What plain pickles of PyTorch's storages call."""
    return load(io.BytesIO(data), weights_only=False)


