"""``torch.mps``: Apple's Metal, on which bibun does not compute."""

from __future__ import annotations

from typing import Any, NoReturn


def is_available() -> bool:
    return False


def device_count() -> int:
    return 0


def manual_seed(seed: int) -> None:
    """Nothing to seed."""


def _none_there(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("Cannot use MPS without the MPS backend: bibun computes on the cpu")


synchronize = empty_cache = seed = get_rng_state = set_rng_state = _none_there
current_allocated_memory = driver_allocated_memory = recommended_max_memory = _none_there
set_per_process_memory_fraction = compile_shader = _none_there
