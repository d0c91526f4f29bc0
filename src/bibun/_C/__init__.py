"""``torch._C``: what programs reach into PyTorch's own core for, as far as it has a meaning here.

Modes, the backward in progress, weak references to tensors; `_C._functions` and `_C._autograd` have the rest. No part of
bibun imports this.
"""

from __future__ import annotations

import weakref
from typing import Any

from ..autograd.modes import inference_mode, is_grad_enabled, set_grad_enabled, state
from ..autograd.running import current_node as _current_autograd_node
from ..autograd.running import execution_order as _current_graph_task_execution_order
from ..autograd.running import run_number as _current_graph_task_id
from ..autograd.running import will_execute as _will_engine_execute_node
from ..functions.random import Generator
from ..overrides import DisableTorchFunction, DisableTorchFunctionSubclass, _is_torch_function_mode_enabled
from ..placement import device, layout, memory_format
from ..size import Size
from ..tensor import _disabled_torch_function_impl
from . import _autograd, _functions

__all__ = ["DisableTorchFunction", "DisableTorchFunctionSubclass", "Generator", "Size", "_autograd", "_functions", "device", "has_lapack", "inference_mode", "is_grad_enabled", "layout", "memory_format"]

has_lapack = has_mkl = True
has_cuda = has_mps = has_openmp = _has_cuda = False


class _WeakTensorRef:
    """A weak reference to a tensor that can be asked whether the tensor is gone."""

    __slots__ = ("_ref",)

    def __init__(self, tensor: Any):
        self._ref = weakref.ref(tensor)

    def expired(self) -> bool:
        """Whether the tensor is gone."""
        return self._ref() is None


def _set_grad_enabled(mode: bool) -> None:
    set_grad_enabled(mode)


def _set_fwd_grad_enabled(mode: bool) -> None:
    from ..func import forward_ad

    forward_ad._set_fwd_grad_enabled(mode)


def _is_fwd_grad_enabled() -> bool:
    from ..func import forward_ad

    return forward_ad._is_fwd_grad_enabled()


def _get_tracing_state() -> None:
    """None: nothing is ever traced."""
    return


def _is_multithreading_enabled() -> bool:
    return state.multithreaded


def _set_multithreading_enabled(mode: bool) -> None:
    state.multithreaded = mode


def _stash_obj_in_tls(key: str, value: Any) -> None:
    """Keep an object for this thread."""
    vars(state)[f"stash {key}"] = value


def _get_obj_in_tls(key: str) -> Any:
    return vars(state)[f"stash {key}"]


def _is_key_in_tls(key: str) -> bool:
    return f"stash {key}" in vars(state)


_NAMES = (_disabled_torch_function_impl, _is_torch_function_mode_enabled, _current_autograd_node, _current_graph_task_execution_order, _current_graph_task_id, _will_engine_execute_node)
