"""Saving and loading, in PyTorch's own file format: `save`, `load`, and what may be loaded safely.

Files written here load in PyTorch, and PyTorch's files load here. `writing` makes them, `reading` reads them, `weights`
is the unpickler that runs no code; `archive` is the container, `names` the correspondence of names, `rebuild` the way
of a tensor into parts and back, `legacy` the format from before PyTorch 1.6, `location` where storages go.
"""

from __future__ import annotations

from typing import Any

from .location import default_restore_location, location_tag, register_package
from .reading import _load_from_bytes, get_unsafe_globals_in_checkpoint, load
from .rebuild import _get_layout, _rebuild_from_type_v2, reduce_tensor
from .safe import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from .settings import (
    LoadEndianness,
    get_crc32_options,
    get_default_load_endianness,
    get_default_mmap_options,
    set_crc32_options,
    set_default_load_endianness,
    set_default_mmap_options,
    skip_data,
)
from .writing import DEFAULT_PROTOCOL, save

__all__ = [
    "LoadEndianness",
    "SourceChangeWarning",
    "add_safe_globals",
    "clear_safe_globals",
    "default_restore_location",
    "get_crc32_options",
    "get_default_load_endianness",
    "get_default_mmap_options",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "location_tag",
    "register_package",
    "safe_globals",
    "save",
    "set_crc32_options",
    "set_default_load_endianness",
    "set_default_mmap_options",
    "skip_data",
]


class SourceChangeWarning(Warning):
    """PyTorch's warning that a class's source differs from the one a file was saved with; never raised here."""


def _is_zipfile(f: Any) -> bool:
    """Whether the file holds an archive where it stands."""
    start = f.tell()
    head = f.read(4)
    f.seek(start)
    return head == b"PK\x03\x04"
