"""A module's dicts of parameters, buffers and submodules, each also readable as plain attributes of the module.

In: writes to ``module._parameters``, ``_buffers`` or ``_modules`` by whatever road (registration, attribute
assignment, direct use of the dict). Out: the same names in the module's ``__dict__``, so that ``self.weight`` is an
ordinary attribute read and `Module` needs no ``__getattr__``. The dict knows its modules (more than one after
``copy.copy``) weakly.
"""

from __future__ import annotations

import weakref
from typing import Any

__all__ = ["LazyHooks", "Members"]

from collections import OrderedDict

_missing: Any = object()


class Members(dict[str, Any]):
    """A dict that repeats its entries in the ``__dict__`` of the modules it belongs to."""

    __slots__ = ("_owners",)
    _owners: tuple[Any, ...]

    def __init__(self, items: Any = (), owner: Any = None):
        dict.__init__(self, items)
        self._owners = ()
        if owner is not None:
            self.adopt(owner)

    def adopt(self, owner: Any) -> None:
        """Serve `owner` too: its attributes show the entries from now on."""
        if not any(ref() is owner for ref in self._owners):
            self._owners = (*(ref for ref in self._owners if ref() is not None), weakref.ref(owner))
        if self:
            owner.__dict__.update(self)

    def disown(self, owner: Any) -> None:
        """Serve `owner` no longer: its attributes lose the entries."""
        self._owners = tuple(ref for ref in self._owners if ref() is not owner)
        attributes = owner.__dict__
        for name, value in self.items():
            if attributes.get(name, _missing) is value:
                del attributes[name]

    def _forget(self, name: str, value: Any) -> None:
        for ref in self._owners:
            owner = ref()
            if owner is not None and owner.__dict__.get(name, _missing) is value:
                del owner.__dict__[name]

    def __setitem__(self, name: str, value: Any) -> None:
        dict.__setitem__(self, name, value)
        for ref in self._owners:
            owner = ref()
            if owner is not None:
                owner.__dict__[name] = value

    def __delitem__(self, name: str) -> None:
        value = self[name]
        dict.__delitem__(self, name)
        self._forget(name, value)

    def pop(self, name: str, *default: Any) -> Any:
        if name not in self:
            return dict.pop(self, name, *default)
        value = dict.pop(self, name)
        self._forget(name, value)
        return value

    def popitem(self) -> tuple[str, Any]:
        name, value = dict.popitem(self)
        self._forget(name, value)
        return name, value

    def clear(self) -> None:
        for name in list(self):
            del self[name]

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *args: Any, **kwargs: Any) -> None:
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __ior__(self, other: Any) -> Members:  # type: ignore[override,misc]
        self.update(other)
        return self

    def copy(self) -> dict[str, Any]:
        return dict(self)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Members:
        from copy import deepcopy

        made = memo[id(self)] = Members()
        for name, value in self.items():
            dict.__setitem__(made, name, deepcopy(value, memo))
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A pickle holds a plain dict, as PyTorch's does.
        return dict, (), None, None, iter(self.items())


class LazyHooks:
    """A module's dict of hooks, made when first touched; a touched dict of `calls` hooks sends calls the careful way.

    A non-data descriptor: the made dict hides it in the instance.
    """

    def __init__(self, calls: bool = False):
        self.calls = calls

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, module: Any, owner: Any = None) -> Any:
        if module is None:
            return self
        if "_parameters" not in module.__dict__:
            raise AttributeError(f"{type(module).__name__!r} object has no attribute {self.name!r}")
        made = module.__dict__[self.name] = OrderedDict[int, Any]()
        if self.calls:
            module.__dict__["_hooked"] = True
        return made
