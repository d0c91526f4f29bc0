"""What an array is: `cpu` (NumPy). The other modules here are what programs ask PyTorch's ``torch.backends`` about:
switches of libraries that bibun does not drive. They can be set, answer truthfully, and load when first touched.
"""

from __future__ import annotations

from types import ModuleType

_SWITCHES = frozenset(("cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp", "opt_einsum"))


def __getattr__(name: str) -> ModuleType:
    if name in _SWITCHES:
        import importlib
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.backends' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SWITCHES})
