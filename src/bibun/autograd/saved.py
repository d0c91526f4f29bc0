"""Saved values seen as tensors: for rules that must be differentiable themselves, and for the user who looks.

A node saves raw arrays. With ``create_graph`` its rules run on tensors; here each saved input is given back its place in
the graph (the target that the node keeps for it), and each saved output the node itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.primitive import REGISTRY
from . import dispatch
from .node import LEAF, Freed, Output


def _tensor(value: Any, target: Any) -> Any:
    if isinstance(value, dispatch.Tensor):
        return value
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    if target is not None and not target._seq:
        if target._a is value:
            return target
        t = dispatch.wrap(value)  # the leaf's memory was exchanged (x.data = …) after it was saved
        t._node = LEAF
        return t
    t = dispatch.wrap(value)
    t._node = target
    return t


def _converted(value: Any, target: Any, own: Any) -> Any:
    """A saved operand that the call had converted from dtype ``own``: a tensor behind a conversion of the operand."""
    made = dispatch.wrap(value)
    holder = target
    if target._seq:
        holder = dispatch.wrap(np.empty(value.shape, own))
        holder._node = target
    dispatch.record(REGISTRY["astype"], (holder,), [np.empty((), own)], (value.dtype,), [made], None)
    return made


def as_tensors(node: Any) -> tuple[tuple[Any, ...], ...]:
    """The node's saved values with arrays as tensors that stand where they stood in the graph."""
    plan, prim = node.plan, node.primitive
    fix = node.fix
    result = []
    for takes, values in zip(plan.takes, node.saved):
        row = []
        for (category, index), value in zip(takes, values):
            if category == "i" and prim.variadic:
                row.append(tuple(_tensor(v, t) for v, t in zip(value, node.next)))
            elif category == "i":
                target = node.next[index]
                own = None if fix is None or target is None or not isinstance(value, np.ndarray) else fix[index][1]
                if own is not None and own != value.dtype:  # (a dtype compared with None is compared with float64)
                    row.append(_converted(value, target, own))
                else:
                    row.append(_tensor(value, target))
            elif category == "o":
                output: Any = node
                if prim.several:
                    output = Output(node, index) if prim.outputs[index] not in prim.nondiff else None
                row.append(_tensor(value, output))
            else:
                row.append(value)
        result.append(tuple(row))
    return tuple(result)


def saved_names(node: Any) -> dict[str, Any]:
    """Saved values by PyTorch-like names: inputs, ``result`` for the output, statics."""
    prim = node.primitive
    found: dict[str, Any] = {}
    for takes, values in zip(node.plan.takes, as_tensors(node)):
        for (category, index), value in zip(takes, values):
            if category == "o":
                name = prim.outputs[index] if prim.several else "result"
            elif category == "s":
                name = prim.static[index]
            else:
                name = prim.arrays[index] + {"i": "", "h": "_sym_sizes", "d": "_scalar_type"}[category]
            found[name] = value
    return found


#: PyTorch's names for the first and second operand.
ALIASES = {
    "self": ("x", "input", "a"),
    "other": ("y", "other", "b"),
    "exponent": ("y", "exponent"),
    "result": ("out",),
    "mat1": ("x", "a"),
    "mat2": ("y", "b"),
}


def saved_attribute(node: Any, name: str) -> Any:
    """``node._saved_<name>``."""
    if getattr(node, "primitive", None) is None or not hasattr(type(node), "plans"):
        raise AttributeError(f"{type(node).__name__!r} object has no attribute '_saved_{name}'")
    if node.saved.__class__ is Freed:
        from .complaints import second_backward

        raise second_backward(node)
    found = saved_names(node)
    for candidate in (name, *ALIASES.get(name, ())):
        if candidate in found:
            return found[candidate]
    raise AttributeError(f"{type(node).__name__!r} object has no attribute '_saved_{name}'; it saved {sorted(found)}")


def raw_saved_attribute(node: Any, name: str) -> Any:
    """``node._raw_saved_<name>``: the saved value, on which saved-tensor hooks could be registered."""
    return saved_attribute(node, name)
