"""``torch.accelerator``: the accelerator bibun computes on, of which there is none: tensors live on the cpu."""

from __future__ import annotations

from typing import Any, NoReturn


def is_available() -> bool:
    return False


def device_count() -> int:
    return 0


def current_accelerator(check_available: bool = False) -> None:
    return None


def _none_there(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("Cannot access accelerator device when none is available.")


current_device_index = current_device_idx = set_device_index = set_device_idx = _none_there
current_stream = set_stream = synchronize = get_memory_info = _none_there
memory_stats = memory_allocated = memory_reserved = max_memory_allocated = max_memory_reserved = _none_there
reset_accumulated_memory_stats = reset_peak_memory_stats = empty_cache = _none_there
