"""Forward mode: how a jvp level runs a primitive.

The value is computed below; the tangent follows from the entry: linear primitives apply themselves to tangents, the
elementwise ones reuse their derivative (conjugated, for complex), multilinear ones go through their operands one by one,
others have a rule, and what has none is derived from the derivative: the vector-Jacobian product is linear in its
vector, and the derivative of that map, applied to the tangent, is the Jacobian-vector product.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.dispatch import apply, wrap
from ..autograd.modes import state
from ..autograd.namespace import xp
from ..autograd.node import Plan, plan_of
from ..ops.primitive import Primitive
from ..tensor import Tensor
from . import levels
from .levels import Dual, Level, bottom, dual, stack, wrapped_dual, wrapped_fresh


def run_dual(level: Level, prim: Primitive, arrays: Any, static: Any) -> Any:
    """Value and tangent of a primitive's output."""
    values = [x.value if isinstance(x, Dual) and x.level is level else x for x in arrays]
    tangents = [x.tangent if isinstance(x, Dual) and x.level is level else None for x in arrays]
    view = prim.family == "view"
    if view and tangents[0] is not None:
        arrays[0].own()         # the view's tangent is to be a view of it
        tangents[0] = arrays[0].tangent
    out = apply(prim, values, static)
    outs = list(out) if prim.several else [out]
    zero = True
    for t in tangents:
        if t is not None:
            zero = False
            break
    if zero or not stack.forward:
        result = [wrapped_fresh(level, o) for o in outs]
        if view and isinstance(arrays[0], Dual):
            dispatch.note_view(prim, arrays[0], static, result)
        return tuple(result) if prim.several else result[0]
    made = tangent_of(prim, values, tangents, static, outs)
    if level.by_hand and state.grad is True:
        keep_duals(level, prim, values, tangents, outs, made)
    result = []
    for o, t in zip(outs, made):
        if t is None:
            result.append(wrapped_fresh(level, o))
            continue
        d = wrapped_dual(level, o, t)
        if view or own_memory(t, (*tangents, *values, *outs)):
            d._owned = True
        result.append(d)
    return tuple(result) if prim.several else result[0]


def own_memory(t: Any, others: Any) -> bool:
    """Whether a tangent just computed shares memory with nothing."""
    a = bottom(t)._a
    if a.base is not None:
        return False
    for x in others:
        if isinstance(x, Tensor) and bottom(x)._a is a:
            return False
    return True


def keep_duals(level: Level, prim: Primitive, values: Any, tangents: Any, outs: list[Any], made: list[Any]) -> None:
    """Have the node just recorded save tensors with their tangents, so that its backward has tangents too."""
    place = next((o._node for o in outs if o._node is not None), None)
    node = getattr(place, "node", place)
    if node is None or not hasattr(node, "plan") or node.saved.__class__ is not tuple or prim.variadic:
        return
    rows = []
    for takes, saved in zip(node.plan.takes, node.saved):
        row = []
        for (category, i), v in zip(takes, saved):
            t = tangents[i] if category == "i" else made[i] if category == "o" else None
            if t is not None and isinstance(v, np.ndarray):
                if category == "i":
                    v = dual(level, values[i], t)
                else:
                    twin = wrap(v)
                    twin._node = outs[i]._node
                    v = dual(level, twin, t)
            row.append(v)
        rows.append(tuple(row))
    level.saved.append((node, node.saved))
    node.saved = tuple(rows)


def tangent_of(prim: Primitive, values: Any, tangents: Any, static: Any, outs: list[Any]) -> list[Any]:
    """The tangents of the outputs; None where zero."""
    if not any(o._a.dtype.kind in dispatch.DIFFERENTIABLE for o in outs):
        return [None] * len(outs)
    kind = prim.tangent_kind
    if kind != "rule" and any(t is not None and name in prim.derivatives and prim.derivatives[name].refuses
                              for name, t in zip(prim.arrays, tangents)):
        raise NotImplementedError(f"Trying to use forward AD with {prim.name} that does not support it because it has not been implemented yet.")
    if kind == "rule":
        made = by_rule(prim, values, tangents, static, outs)
    elif kind == "linear":
        # What is no differentiable input (indices, masks) is the same for tangents.
        names = [prim.arrays[0]] * len(values) if prim.variadic else prim.arrays
        filled = [t if t is not None else v if v is None or name not in prim.derivatives else zero_of(v)
                  for name, v, t in zip(names, values, tangents)]
        made = apply(prim, filled, static)
    elif kind == "multilinear":
        made = None
        for i, t in enumerate(tangents):
            if t is not None:
                part = apply(prim, [*values[:i], t, *values[i + 1:]], static)
                made = part if made is None else made + part
    elif kind == "elementwise":
        made = by_derivative(prim, values, tangents, static, outs[0])
    else:
        return by_double_transpose(prim, values, tangents, static, outs)
    parts = list(made) if prim.several else [made]
    return [fitted(t, o) for t, o in zip(parts, outs)]


def zero_of(v: Any) -> Any:
    return wrap(np.zeros(v._a.shape, v._a.dtype)) if isinstance(v, Tensor) else 0


def fitted(t: Any, out: Any) -> Any:
    """A tangent in its output's shape and dtype."""
    if t is None or out._a.dtype.kind not in dispatch.DIFFERENTIABLE:
        return None
    if t._a.dtype != out._a.dtype:
        if t._a.dtype.kind == "c" and out._a.dtype.kind != "c":
            t = xp.real(t)
        t = xp.astype(t, out._a.dtype)
    return t if t._a.shape == out._a.shape else xp.broadcast_to(t, tuple(out._a.shape))


def as_value(v: Any, out: Any) -> Any:
    """A Python number among the operands as a 0-d tensor."""
    if isinstance(v, (bool, int, float, complex, np.generic)):
        return wrap(np.asarray(v, out._a.dtype if out._a.dtype.kind in "fcV" else None))
    return v


def picked(takes: Any, values: Any, static: Any, outs: Any, variadic: bool) -> list[Any]:
    """The values that a rule takes, as tensors."""
    found = []
    for category, i in takes:
        if category == "i":
            found.append(tuple(values) if variadic else as_value(values[i], outs[0]))
        elif category == "o":
            found.append(outs[i])
        elif category == "s":
            found.append(static[i])
        elif category == "h":
            found.append(tuple(tuple(v._a.shape) for v in values) if variadic else tuple(getattr(values[i], "_a", np.empty(())).shape))
        else:
            found.append(tuple(v._a.dtype for v in values) if variadic else getattr(values[i], "_a", outs[0]._a).dtype)
    return found


def by_rule(prim: Primitive, values: Any, tangents: Any, static: Any, outs: list[Any]) -> Any:
    """The entry's own tangent rule."""
    rule = prim.tangent_rule
    assert rule is not None
    given = []
    for name in rule.needs:
        if name.startswith("t_"):
            given.append(tuple(tangents) if prim.variadic else tangents[prim.arrays.index(name[2:])])
        else:
            given.extend(picked([Plan._locate(prim, name)], values, static, outs, prim.variadic))
    return rule.call(xp, *given)


def by_derivative(prim: Primitive, values: Any, tangents: Any, static: Any, out: Any) -> Any:
    """An elementwise derivative used forward: df·t is the conjugate of the rule applied to conj(t)."""
    made = None
    shape, d = tuple(out._a.shape), out._a.dtype
    for i, (name, t) in enumerate(zip(prim.arrays, tangents)):
        if t is None or name not in prim.derivatives:
            continue
        wanted = tuple(j == i for j in range(len(prim.arrays)))
        plan = plan_of(prim, wanted)
        (_, rule, _), = plan.rules
        given = picked(plan.takes[0], values, static, [out], False)
        complex_in, complex_out = t._a.dtype.kind == "c", d.kind == "c"
        if complex_in and not complex_out:
            part = xp.real(rule(xp, wrap(np.ones(shape, d)), *given).conj() * t)
        elif complex_out and not complex_in:
            # The rule gives two real numbers for each complex direction; the two directions give the two parts.
            real = xp.real(rule(xp, wrap(np.ones(shape, d)), *given))
            imag = xp.real(rule(xp, wrap(np.full(shape, 1j, d)), *given))
            part = xp.astype(real * t, d) + xp.astype(imag * t, d) * 1j
        else:
            if t._a.dtype != d:
                t = xp.astype(t, d)
            part = rule(xp, t.conj(), *given).conj() if complex_in else rule(xp, t, *given)
        part = fitted(part, out)
        made = part if made is None else made + part
    return made


def by_double_transpose(prim: Primitive, values: Any, tangents: Any, static: Any, outs: list[Any]) -> list[Any]:
    """J·t as the derivative, in v, of ⟨Jᵀv, t⟩; conjugates make it right for complex."""
    from .transforms import vjp_of_linear
    differentiable = [i for i, o in enumerate(outs) if o._a.dtype.kind in dispatch.DIFFERENTIABLE
                      and (len(prim.outputs) <= i or prim.outputs[i] not in prim.nondiff)]
    active = [i for i, t in enumerate(tangents) if t is not None and (prim.variadic or prim.arrays[i] in prim.derivatives)]
    if not differentiable or not active:
        return [None] * len(outs)
    wanted = () if prim.variadic else tuple(i in active for i in range(len(prim.arrays)))
    plan = plan_of(prim, wanted)

    def transpose(*vs: Any) -> tuple[Any, ...]:
        full: list[Any] = [wrap(np.zeros(o._a.shape, o._a.dtype)) for o in outs]
        for i, v in zip(differentiable, vs):
            full[i] = v
        g = full if prim.several else full[0]
        grads: list[Any] = [None] * len(values)
        for (i, rule, chosen), takes in zip(plan.rules, plan.takes):
            given = picked(takes, values, static, outs, prim.variadic)
            r = rule(xp, g, *given) if chosen is None else rule(xp, *[full[k] for k in chosen], *given)
            if prim.variadic:
                grads = list(r)
            else:
                grads[i] = r
        return tuple(grads[i] for i in active)

    starts = [outs[i] for i in differentiable]
    made = vjp_of_linear(transpose, starts, [tangents[i] for i in active], [values[i] for i in active])
    result: list[Any] = [None] * len(outs)
    for i, t in zip(differentiable, made):
        result[i] = t
    return result


levels.run_dual = run_dual

__all__ = ["run_dual", "tangent_of"]
