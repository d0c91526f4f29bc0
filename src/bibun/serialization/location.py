"""Where storages go: the location tags of files and `map_location`.

In come a storage, just read into memory, and the tag under which it was saved ("cpu", "cuda:0"); out goes the storage,
which stays where it is, or PyTorch's error for a place that is not there. Programs can register their own places.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Any

from ..placement import device as Device
from ..storage import TypedStorage, UntypedStorage

__all__ = ["default_restore_location", "location_tag", "register_package", "restorer"]

_packages: list[tuple[int, Callable[[Any], str | None], Callable[[Any, str], Any]]] = []


def register_package(
    priority: int, tagger: Callable[[Any], str | None], deserializer: Callable[[Any, str], Any]
) -> None:
    """Have ``tagger(storage)`` name places when saving and ``deserializer(storage, tag)`` find them when loading; both
    return None for what is not theirs. The lowest `priority` is asked first."""
    insort(_packages, (priority, tagger, deserializer), key=lambda package: package[0])


def _cpu_tag(storage: Any) -> str | None:
    return "cpu" if isinstance(storage, (UntypedStorage, TypedStorage)) else None


def _cpu(storage: Any, location: str) -> Any:
    return storage if location == "cpu" else None


_HINT = (
    "If you are running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu') to map your "
    "storages to the CPU."
)


def _absent(storage: Any, location: str) -> Any:
    kind = location.partition(":")[0]
    if kind in ("cuda", "xpu", "mps"):
        raise RuntimeError(
            f"Attempting to deserialize object on a {kind.upper()} device but torch.{kind}.is_available() is False. "
            + _HINT
        )
    if kind in ("hpu", "mtia", "maia", "privateuseone"):
        raise RuntimeError(f"The {kind.upper()} device module is not registered. {_HINT}")
    if kind == "meta":
        raise NotImplementedError("bibun has no device 'meta': load with map_location='cpu'")
    return None


register_package(10, _cpu_tag, _cpu)
register_package(90, lambda storage: None, _absent)


def location_tag(storage: Any) -> str:
    """The tag under which a storage is saved."""
    for _, tagger, _ in _packages:
        tag = tagger(storage)
        if tag:
            return tag
    raise RuntimeError(f"don't know how to determine data location of {type(storage).__qualname__}")


def default_restore_location(storage: Any, location: Any) -> Any:
    """The storage, at the place that its tag names.

    Raises:
        RuntimeError: for a device that is not there, and for tags that nobody knows.
    """
    if isinstance(location, str):
        for _, _, find in _packages:
            found = find(storage, location)
            if found is not None:
                return found
    raise RuntimeError(
        f"don't know how to restore data location of torch.storage.UntypedStorage (tagged with {location})"
    )


def restorer(map_location: Any) -> Callable[[Any, Any], Any]:
    """What `map_location` says, as a function of a storage and its tag."""
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        return lambda storage, location: default_restore_location(storage, map_location.get(location, location))
    if isinstance(map_location, (str, bytes)):
        tag = map_location.decode("ascii") if isinstance(map_location, bytes) else map_location
        return lambda storage, location: default_restore_location(storage, tag)
    if isinstance(map_location, Device):
        return lambda storage, location: default_restore_location(storage, str(map_location))
    if not callable(map_location):
        raise TypeError(
            f"'{type(map_location).__name__}' object is not callable: map_location is a device, a string, a dict of "
            "locations or a function of a storage and its location"
        )

    def restore(storage: Any, location: Any) -> Any:
        found = map_location(storage, location)
        if found is None:
            return default_restore_location(storage, location)
        if isinstance(found, TypedStorage):
            return found.untyped()
        if not isinstance(found, UntypedStorage):
            raise TypeError(
                "TypedStorage.__init__ received an invalid combination of arguments. Argument 'wrap_storage' must be "
                f"UntypedStorage, but got {type(found)}: map_location returns a storage or None"
            )
        return found

    return restore
