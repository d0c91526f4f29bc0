"""``torch.cuda``: what PyTorch's builds without CUDA answer. Asking is fine, using it raises as it does there."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NoReturn

default_generators: tuple[Any, ...] = ()


def is_available() -> bool:
    return False


def is_initialized() -> bool:
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    return False


def is_tf32_supported() -> bool:
    return False


def is_current_stream_capturing() -> bool:
    return False


def device_count() -> int:
    return 0


def get_arch_list() -> list[str]:
    return []


def get_gencode_flags() -> str:
    return ""


def manual_seed(seed: int) -> None:
    """Nothing to seed; the seed must be a number all the same."""
    int(seed)


manual_seed_all = manual_seed


def seed() -> None:
    """Nothing to seed."""


seed_all = empty_cache = seed


def get_rng_state_all() -> list[Any]:
    return []


def memory_allocated(device: Any = None) -> int:
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated
memory_cached = max_memory_cached = memory_allocated


def memory_stats(device: Any = None) -> OrderedDict[str, Any]:
    return OrderedDict()


def reset_peak_memory_stats(device: Any = None) -> None:
    """There are no figures to reset."""


reset_max_memory_allocated = reset_max_memory_cached = reset_accumulated_memory_stats = reset_peak_memory_stats


def _no_cuda(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError("Torch not compiled with CUDA enabled")


init = current_device = set_device = synchronize = ipc_collect = initial_seed = _no_cuda
get_device_name = get_device_properties = get_device_capability = can_device_access_peer = _no_cuda
current_stream = default_stream = set_stream = current_blas_handle = cudart = mem_get_info = _no_cuda
get_rng_state = set_rng_state = memory_summary = memory_snapshot = utilization = _no_cuda
set_per_process_memory_fraction = get_per_process_memory_fraction = get_sync_debug_mode = set_sync_debug_mode = _no_cuda


class device:
    """A context manager that chooses a CUDA device: possible only where it chooses none (a negative index)."""

    def __init__(self, device: Any) -> None:
        kind = getattr(device, "type", device.partition(":")[0] if isinstance(device, str) else "cuda")
        if kind != "cuda":
            raise ValueError(f"Expected a cuda device, but got: {device}")
        self.idx = device if isinstance(device, int) else getattr(device, "index", None)

    def __enter__(self) -> None:
        if self.idx is None or self.idx >= 0:
            raise RuntimeError("PyTorch was compiled without CUDA support (bibun computes on the cpu)")

    def __exit__(self, *exception: Any) -> None:
        pass


class stream:
    """A context manager that chooses a stream: possible only where it chooses none (None)."""

    def __init__(self, stream: Any) -> None:
        if stream is not None:
            _no_cuda()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        pass


StreamContext = stream


class _Unusable:
    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"torch.cuda.{cls.__name__} requires CUDA support, which bibun does not have")


class Event(_Unusable):
    """No CUDA, no events."""


class Stream(_Unusable):
    """No CUDA, no streams."""


class CUDAGraph(_Unusable):
    """No CUDA, no graphs."""


def __getattr__(name: str) -> Any:
    if name == "amp":
        import importlib
        return importlib.import_module("bibun.cuda.amp")
    if name == "OutOfMemoryError":
        import bibun
        return bibun.OutOfMemoryError
    if name.endswith("Tensor"):
        def legacy(*args: Any, **kwargs: Any) -> NoReturn:
            raise TypeError(f"type torch.cuda.{name} not available. Torch not compiled with CUDA enabled.")
        return legacy
    raise AttributeError(f"module 'torch.cuda' has no attribute {name!r}")
