"""What a file may name when it is not trusted: PyTorch's list, and what the program has added to it.

In come classes and functions that a program vouches for (`add_safe_globals`); out go the tables that the restricted
unpickler looks names up in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .names import to_file

__all__ = ["add_safe_globals", "clear_safe_globals", "get_safe_globals", "safe_globals"]

#: Never allowed, whatever a program adds.
BLOCKED = frozenset(("sys", "os", "posix", "nt"))

_added: set[Any] = set()


def add_safe_globals(safe_globals: Iterable[Callable | tuple[Callable, str]]) -> None:
    """Let ``load(weights_only=True)`` make objects of these classes and call these functions.

    An element may be a pair of the object and the full name under which it stands in the file.
    """
    global _added
    _added = _added | set(safe_globals)


def get_safe_globals() -> list[Callable | tuple[Callable, str]]:
    """What was added by `add_safe_globals`."""
    return list(_added)


def clear_safe_globals() -> None:
    """Forget what was added by `add_safe_globals`."""
    global _added
    _added = set()


class safe_globals:
    """`add_safe_globals` for the time of a ``with`` block.

    >>> import bibun as torch, collections, io
    >>> file = io.BytesIO()
    >>> torch.save(collections.deque([1]), file)
    >>> _ = file.seek(0)
    >>> with torch.serialization.safe_globals([collections.deque]):
    ...     torch.load(file)
    deque([1])
    """

    def __init__(self, safe_globals: Iterable[Callable | tuple[Callable, str]]) -> None:
        self.safe_globals = list(safe_globals)

    def __enter__(self) -> None:
        self._new = set(self.safe_globals) - _added
        add_safe_globals(self.safe_globals)

    def __exit__(self, *exception: object) -> None:
        global _added
        _added = _added - self._new


def added_by_name() -> dict[str, Any]:
    """Full name in a file -> the object the program vouches for."""
    table: dict[str, Any] = {}
    for each in _added:
        if isinstance(each, tuple):
            if len(each) != 2:
                raise ValueError(
                    "Expected tuple of length 2 (global, str of callable full path), "
                    f"but got tuple of length: {len(each)}"
                )
            if type(each[1]) is not str:
                raise TypeError(
                    f"Expected second item in tuple to be str of callable full path, but got: {type(each[1])}"
                )
            each, name = each
            table[name] = each
        else:
            pair = to_file(each) or (each.__module__, each.__qualname__)
            table[".".join(pair)] = each
    return table
