"""`save`: any object into a file that PyTorch reads.

In come an object and a path or a file; out go a pickle in which tensors are windows on numbered storages, and the bytes
of those storages. A path gets its file whole or not at all.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
from typing import Any

import numpy as np

from ..dtypes import dtype as Dtype
from ..storage import CLASSES, TypedStorage, UntypedStorage
from .archive import CHUNK, ArchiveWriter
from .location import location_tag
from .modules import module_state
from .names import to_file
from .settings import settings

__all__ = ["save"]

DEFAULT_PROTOCOL = 2
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


class _Storages:
    """The storages met while pickling: each is given a key, and kept for its bytes."""

    def __init__(self) -> None:
        self.keys: dict[int, str] = {}
        self.found: dict[str, UntypedStorage] = {}
        self.dtypes: dict[int, Any] = {}

    def identifier(self, storage: Any, legacy: bool) -> tuple[Any, ...]:
        """The persistent id that stands for a storage in the pickle."""
        untyped = storage.untyped()
        dtype = storage.dtype if isinstance(storage, TypedStorage) else None
        address = untyped.data_ptr()
        if address and self.dtypes.setdefault(address, dtype) is not dtype:
            raise RuntimeError("Cannot save multiple tensors or storages that view the same data as different types")
        number = id(untyped)
        key = self.keys.get(number)
        if key is None:
            key = self.keys[number] = str(len(self.keys))
            self.found[key] = untyped
        kind = UntypedStorage if dtype is None else CLASSES[dtype]
        count = untyped.nbytes() // (1 if dtype is None else dtype.itemsize)
        identifier = "storage", kind, key, location_tag(untyped), count
        return (*identifier, None) if legacy else identifier


def _pickler(pickle_module: Any, storages: _Storages, legacy: bool) -> type:
    """A pickler that writes PyTorch's names, and storages by their keys.

    It is Python's own in Python, as the one in C offers no way to write another name than a class's own. For other
    pickle modules it is theirs, and they write the names where they are written in Python too.
    """
    base: Any = pickle._Pickler if pickle_module is pickle else pickle_module.Pickler  # type: ignore[attr-defined]

    class Pickler(base):  # type: ignore[misc]
        def persistent_id(self, obj: Any) -> Any:
            kind = obj.__class__
            if kind is TypedStorage or kind is UntypedStorage:
                return storages.identifier(obj, legacy)
            return None

        def save_global(self, obj: Any, name: Any = None) -> None:
            pair = to_file(obj, name)
            if pair is None:
                return base.save_global(self, obj, name)
            if self.proto >= 4:
                self.save(pair[0])
                self.save(pair[1])
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(pickle.GLOBAL + f"{pair[0]}\n{pair[1]}\n".encode())
            self.memoize(obj)
            return None

        def save_reduce(self, func: Any, args: Any, state: Any = None, *more: Any, obj: Any = None, **kw: Any) -> Any:
            return base.save_reduce(self, func, args, module_state(obj, state), *more, obj=obj, **kw)

        if hasattr(base, "dispatch"):
            dispatch = base.dispatch.copy()
            dispatch[type(lambda: 0)] = save_global
            dispatch[Dtype] = save_global

    return Pickler


def save(
    obj: object,
    f: Any,
    pickle_module: Any = pickle,
    pickle_protocol: int = DEFAULT_PROTOCOL,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Save an object to a file, in PyTorch's format: `torch.load` and `bibun.load` read it.

    Tensors that share memory share it when they are loaded, and a storage is written whole, whatever part of it its
    tensors see. A path is replaced only when all is written and has reached the disk: an interrupted save leaves the
    old file as it was.

    Args:
        obj: a tensor, a state dict, or anything else that can be pickled.
        f: a path, or a file-like object that has ``write``.
        pickle_module: what pickles all but the tensors' numbers.
        pickle_protocol: pickle's protocol; PyTorch loads only 2 safely (``weights_only``).

    Raises:
        RuntimeError: for a path whose folder is not there; for tensors that look at the same memory as other dtypes.
        AttributeError: for an `f` that is neither a path nor has ``write``.

    >>> import bibun as torch, io
    >>> file = io.BytesIO()
    >>> torch.save({"w": torch.ones(2)}, file)
    >>> _ = file.seek(0)
    >>> torch.load(file)
    {'w': tensor([1., 1.])}
    """
    path = os.fspath(f) if isinstance(f, (str, os.PathLike)) else None
    if path is None and not hasattr(f, "write"):
        raise AttributeError("expected 'f' to be string, path, or a file-like object with a 'write' attribute")
    if path is not None:
        folder = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(folder):
            raise RuntimeError(f"Parent directory {os.path.dirname(path) or folder} does not exist.")
        if os.path.isdir(path):
            raise IsADirectoryError(f"[Errno 21] Is a directory: {str(path)!r}")
    storages = _Storages()
    legacy = not _use_new_zipfile_serialization
    pickled = io.BytesIO()
    _pickler(pickle_module, storages, legacy)(pickled, protocol=pickle_protocol).dump(obj)

    def write(file: Any, name: str) -> None:
        if legacy:
            _write_legacy(file, pickled.getbuffer(), storages, pickle_module, pickle_protocol)
        else:
            _write_archive(file, name, pickled.getbuffer(), storages)

    if path is None:
        write(f, "archive")
    else:
        name = os.path.splitext(os.path.basename(path))[0]
        _whole(path, lambda file: write(file, name if isinstance(name, str) else os.fsdecode(name)))


def _write_archive(file: Any, name: str, pickled: Any, storages: _Storages) -> None:
    archive = ArchiveWriter(file, name, settings.crc32)
    archive.record("data.pkl", pickled)
    archive.record(".format_version", b"1")
    archive.record(".storage_alignment", b"64")
    archive.record("byteorder", sys.byteorder.encode())
    for key, storage in storages.found.items():
        archive.record(f"data/{key}", storage.nbytes() if settings.skip else storage.bytes)
    archive.finish()


def _write_legacy(file: Any, pickled: Any, storages: _Storages, pickle_module: Any, protocol: int) -> None:
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": PROTOCOL_VERSION, "little_endian": sys.byteorder == "little", "type_sizes": sizes}
    for each in (MAGIC_NUMBER, PROTOCOL_VERSION, system):
        pickle_module.dump(each, file, protocol=protocol)
    file.write(bytes(pickled))
    pickle_module.dump(list(storages.found), file, protocol=protocol)
    for storage in storages.found.values():
        dtype = storages.dtypes.get(storage.data_ptr())
        count = storage.nbytes() // (1 if dtype is None else dtype.itemsize)
        file.write(struct.pack("=q", count))
        data: np.ndarray = storage.bytes
        for at in range(0, data.size, CHUNK):
            file.write(data[at : at + CHUNK].tobytes())


# ------------------------------------------------------------------------------------------------- whole or not at all


def _whole(path: Any, write: Any) -> None:
    """Have `write(file)` make the file at `path`: it takes the old one's place when it is complete and on the disk."""
    target = os.path.realpath(path)  # a link stays one, and its target is replaced
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as file:  # a pipe or a device has no old contents to keep
            write(file)
        return
    folder, name = os.path.split(target)
    hidden = b"." if isinstance(name, bytes) else "."
    mark = f".{os.getpid():x}{os.urandom(4).hex()}.tmp"
    # a name near the system's limit gets no longer
    short = name[:180] if len(name) > 200 else name
    temporary = os.path.join(folder, hidden + short + (mark.encode() if isinstance(name, bytes) else mark))
    try:
        mode = os.stat(target).st_mode & 0o7777
    except OSError:
        mode = None
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except PermissionError:
        if mode is None:
            raise
        with open(target, "r+b") as file:  # a file one may write in a folder one may not: nothing to do but so
            write(file)
            file.truncate()
        return
    try:
        with open(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise
    _sync_folder(folder)


def _sync_folder(folder: Any) -> None:
    """Have the new name reach the disk, where the system lets folders be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
