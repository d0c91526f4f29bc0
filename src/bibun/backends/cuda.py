"""``torch.backends.cuda``: there is no CUDA; its switches hold what they are given and change nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


class _Matmul:
    """``torch.backends.cuda.matmul``."""

    __slots__ = (
        "allow_bf16_reduced_precision_reduction", "allow_fp16_accumulation", "allow_fp16_reduced_precision_reduction",
        "allow_tf32", "fp32_precision",
    )

    def __init__(self) -> None:
        self.allow_tf32 = self.allow_fp16_accumulation = False
        self.allow_fp16_reduced_precision_reduction = self.allow_bf16_reduced_precision_reduction = True
        self.fp32_precision = "none"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"Unknown attribute {name}")


matmul = _Matmul()
_attention = {"flash": True, "math": True, "mem_efficient": True, "cudnn": True}


def is_built() -> bool:
    return False


def is_flash_attention_available() -> bool:
    return False


def flash_sdp_enabled() -> bool:
    return _attention["flash"]


def math_sdp_enabled() -> bool:
    return _attention["math"]


def mem_efficient_sdp_enabled() -> bool:
    return _attention["mem_efficient"]


def cudnn_sdp_enabled() -> bool:
    return _attention["cudnn"]


def enable_flash_sdp(enabled: bool) -> None:
    _attention["flash"] = bool(enabled)


def enable_math_sdp(enabled: bool) -> None:
    _attention["math"] = bool(enabled)


def enable_mem_efficient_sdp(enabled: bool) -> None:
    _attention["mem_efficient"] = bool(enabled)


def enable_cudnn_sdp(enabled: bool) -> None:
    _attention["cudnn"] = bool(enabled)


@contextlib.contextmanager
def sdp_kernel(
    enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True, enable_cudnn: bool = True
) -> Iterator[None]:
    """The attention switches as given, for the length of a ``with`` block."""
    former = dict(_attention)
    _attention.update(flash=enable_flash, math=enable_math, mem_efficient=enable_mem_efficient, cudnn=enable_cudnn)
    try:
        yield
    finally:
        _attention.update(former)
