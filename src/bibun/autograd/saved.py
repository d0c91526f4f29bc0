"""Saved values seen as tensors: for rules that must be differentiable themselves, and for the user who looks.

A node saves raw arrays. With ``create_graph`` its rules run on tensors; here each saved input is given back its place in
the graph (the target that the node keeps for it), and each saved output the node itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import cpu
from ..ops.primitive import REGISTRY
from . import dispatch
from .modes import state
from .node import ALIASES, LEAF, Freed, NarrowFix, Output, widened

ndarray = np.ndarray
new = object.__new__


def _tensor(value: Any, target: Any, packed: bool = False) -> Any:
    if isinstance(value, dispatch.Tensor):
        return value
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    if target is not None and not target._seq:
        if target._a is value:
            return target
        if packed:  # a copy of the leaf came back from the user's hooks: it leads to the leaf
            made = dispatch.wrap(value)
            dispatch.record(REGISTRY["alias"], (target,), [value], (), [made], None)
            return made
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


def placed(node: Any, places: tuple[int, ...], values: tuple[Any, ...]) -> Any:
    """The values that a rule takes, as tensors where ``places`` (see `Plan`) says that they stand in the graph."""
    nexts, fix = node.next, node.fix
    row = []
    for place, value in zip(places, values):
        if place != -2:
            target = nexts[place] if place >= 0 else node
            if value.__class__ is not ndarray:
                value = _tensor(value, target)
            elif fix is not None and place >= 0 and target is not None and (own := fix[place][1]) is not None and own != value.dtype:
                value = _converted(value, target, own)
            elif target is not None and not target._seq:
                value = target if target._a is value else _tensor(value, target)
            else:
                t = new(dispatch.Tensor)
                t._a = value
                t._node = target
                t._grad = t._view = t._story = None
                value = t
        row.append(value)
    return row


def as_tensors(node: Any, only: Any = None) -> tuple[tuple[Any, ...], ...]:
    """The node's saved values with arrays as tensors that stand where they stood in the graph; of the rules of ``only`` some inputs."""
    plan, prim = node.plan, node.primitive
    fix = node.fix
    result = []
    held = node.saved
    packed = hasattr(held, "packed")
    for rule, takes, values in zip(plan.rules, plan.takes, held if held.__class__ is tuple or not hasattr(held, "unpack") else held.unpack(node)):
        row: list[Any] = []
        if only is not None and not only[rule[0]]:
            result.append(())
            continue
        for (category, index), value in zip(takes, values):
            if category == "i" and prim.variadic:
                row.append(tuple(_tensor(v, t, packed) for v, t in zip(value, node.next)))
            elif category == "i":
                target = node.next[index]
                value = widened(value) if fix.__class__ is NarrowFix else value
                own = None if fix is None or target is None or not isinstance(value, np.ndarray) else fix[index][1]
                if own is not None and own != value.dtype:  # (a dtype compared with None is compared with float64)
                    row.append(_converted(value, target, own))
                else:
                    row.append(_tensor(value, target, packed))
            elif category == "o":
                output: Any = node
                if prim.several:
                    output = Output(node, index) if prim.outputs[index] not in prim.nondiff else None
                row.append(_tensor(value, output))
            else:
                row.append(value)
        result.append(tuple(row))
    return tuple(result)


def recorded_jointly(node: Any, g: Any, more: Any = None) -> Any:
    """The gradients by the rule for all inputs, as one step of the recording in progress; NotImplemented where there is none."""
    r = dispatch.recording()
    held = node.saved
    if r is None or state.grad or state.strict or dispatch.transformed() or held.__class__ is not tuple or isinstance(node.fix, NarrowFix):
        return NotImplemented
    plan = node.plan
    call, chosen, places = plan.joint
    grads = [g[k] for k in chosen] or [g]
    args = (plan.wanted, *[None if x is None else x._a for x in grads], *[held[i][j] for i, j in places])
    if more is not None:
        args = (*args, more._a)
    made = call(cpu, *args)
    if made is NotImplemented:
        return made
    r.note_rule(call, args, made)
    return [None if x is None else dispatch.wrap(x) for x in made]


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
    if "i0" in found and "places" in found:  # reading or writing by index arrays: one for each dimension, None where there is none
        found["indices"] = tuple([None if name is None else found[name] for name in index_names(found["places"])])
    return found


def index_names(places: tuple[int, ...]) -> list[str | None]:
    """The operand that indexes each dimension, up to the last that has one."""
    return [f"i{places.index(d)}" if d in places else None for d in range(max(places) + 1)]


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
    """``node._raw_saved_<name>``: the saved value, on which saved-tensor hooks can be registered."""
    if node.saved.__class__ is Freed and hasattr(type(node), "plans"):
        return saved_tensor(node, name)  # which says so when it is used
    value = saved_attribute(node, name)
    if name == "indices" and value.__class__ is tuple:
        return tuple([saved_tensor(node, one) for one in index_names(saved_attribute(node, "places"))])
    if not isinstance(value, dispatch.Tensor):
        raise AttributeError(f"{type(node).__name__!r} object has no attribute '_raw_saved_{name}': it is no tensor")
    return saved_tensor(node, name)


def saved_tensor(node: Any, name: Any) -> SavedTensor:
    """The value that ``node`` saved under ``name`` (None for a value that is None)."""
    made = SavedTensor.__new__(SavedTensor)
    made._node, made._name = node, name
    return made


def raw_saved_tensors(node: Any) -> tuple[Any, ...]:
    """``node._raw_saved_tensors`` of a user's function: one `SavedTensor` for each argument of ``save_for_backward``."""
    saved = getattr(node, "saved", ())
    if saved.__class__ is Freed:
        from .complaints import second_backward

        raise second_backward(node)
    made = []
    for i in range(len(getattr(saved, "entries", ()))):
        one = SavedOfFunction.__new__(SavedOfFunction)
        one._node, one._name = node, i
        made.append(one)
    return tuple(made)


def check_hooks(hooks: tuple[Any, ...]) -> None:
    """Raise unless ``hooks`` are two functions."""
    if len(hooks) != 2 or not all(map(callable, hooks)):
        raise TypeError("register_hooks(): incompatible function arguments. It takes two functions, pack_hook and unpack_hook, not "
                        f"({', '.join(type(h).__name__ for h in hooks)})")


FREED = ("Calling register_hooks on a saved tensor after it has been freed. Saved intermediate values of the graph are freed when you call .backward() or "
         "autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or if you need to access saved variables after "
         "calling backward.")
ALREADY = "Calling register_hooks on a saved tensor whose hooks have already been set. Hint: only one pair of hooks is allowed at a time."


class SavedTensor:
    """A tensor that a node has saved."""

    __slots__ = ("_name", "_node")
    _name: Any
    _node: Any

    def __init__(self) -> None:
        raise RuntimeError("Trying to create a SavedTensor object from Python is forbidden.")

    @property
    def data(self) -> Any:
        """The tensor itself."""
        return None if self._name is None else saved_attribute(self._node, self._name)

    def register_hooks(self, *hooks: Any) -> None:
        """``register_hooks(pack_hook, unpack_hook)``: pack this one saved tensor now, and unpack it when backward needs it."""
        from .graph import PackedSaved, pack_one

        check_hooks(hooks)
        pack_hook, unpack_hook = hooks

        node = self._node
        if self._name is None:
            raise RuntimeError("Calling register_hooks on a saved tensor with value None is forbidden")
        if node.saved.__class__ is Freed:
            raise RuntimeError(FREED)
        names = {self._name, *ALIASES.get(self._name, ())}
        tensors = as_tensors(node)
        rows = []
        for takes, values, seen in zip(node.plan.takes, node.saved, tensors):
            row = []
            for (category, index), v, t in zip(takes, values, seen):
                own = "result" if category == "o" and not node.primitive.several else node.primitive.outputs[index] if category == "o" else \
                    node.primitive.arrays[index] if category == "i" else None
                if own in names:
                    if not isinstance(v, np.ndarray):
                        raise RuntimeError(ALREADY)
                    v = pack_one(t, pack_hook, unpack_hook)
                row.append(v)
            rows.append(tuple(row))
        node.saved = PackedSaved(rows)


class SavedOfFunction(SavedTensor):
    """A tensor that a user's function has saved."""

    __slots__ = ()

    @property
    def data(self) -> Any:
        """The tensor itself, or None."""
        return self._node.saved_tensors[self._name]

    def register_hooks(self, *hooks: Any) -> None:
        """As that of `SavedTensor`."""
        check_hooks(hooks)
        if self._node.saved.__class__ is Freed:
            raise RuntimeError(FREED)
        self._node.saved.pack(self._node, self._name, hooks)
