"""Modules as PyTorch lays them out, so that it can call those that bibun saved.

In comes a module's state on its way into a pickle; out goes the ``__dict__`` that PyTorch's module of that class would
have: with all its dicts of hooks, in its order, and without what bibun keeps for speed. (The way back needs nothing:
`Module.__setstate__` takes PyTorch's.)
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

__all__ = ["module_state"]

#: A module's first attributes in PyTorch's order; the hooks stand before `_modules`.
_FIRST = (
    "training",
    "_parameters",
    "_buffers",
    "_non_persistent_buffers_set",
    "_backward_pre_hooks",
    "_backward_hooks",
)
_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_MEMBERS = ("_parameters", "_buffers", "_modules")
_OWN = frozenset(("_hooked", "_is_full_backward_hook", *_FIRST, *_HOOKS, *_MEMBERS))


def module_state(obj: Any, state: Any) -> Any:
    """The state to pickle for `obj`: `state` itself, or for a module what PyTorch would have."""
    module = sys.modules.get("bibun.nn.modules.module")
    if module is None or not isinstance(obj, module.Module) or type(state) is not dict or "_parameters" not in state:
        return state
    made: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    for name in _MEMBERS:
        shown.update(state.get(name) or ())
    for name in (*_FIRST, "_is_full_backward_hook", *_HOOKS, "_modules"):
        if name in _MEMBERS:
            made[name] = dict(state.get(name) or ())
        elif name.endswith("hooks") or "_hooks_" in name:
            made[name] = state.get(name) or OrderedDict()
        elif name == "_non_persistent_buffers_set":
            made[name] = state.get(name, set())
        else:
            made[name] = state.get(name, True if name == "training" else None)
    for name, value in state.items():
        if name in _OWN or (name in shown and shown[name] is value):
            continue
        if name == "activation" and type(obj).__name__.startswith("Transformer"):
            made["activation_relu_or_gelu"] = {"relu": 1, "gelu": 2}.get(getattr(value, "__name__", ""), 0)
        if name == "_all_weights" and hasattr(obj, "_flat_weights_names"):
            made["_flat_weights_names"] = list(obj._flat_weights_names)
            made[name] = value
            made["_flat_weights"] = list(obj._flat_weights)
            continue
        made[name] = value
    return made
