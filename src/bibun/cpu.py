"""``torch.cpu``: the device there always is, in the form in which programs ask for any device."""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    return True


def is_initialized() -> bool:
    return True


def device_count() -> int:
    return 1


def current_device() -> str:
    return "cpu"


def set_device(device: Any) -> None:
    """There is one device: nothing to choose."""


def synchronize(device: Any = None) -> None:
    """Nothing runs behind the program's back: nothing to wait for."""
