"""User-written functions (`bibun.autograd.Function`) inside function transforms.

In go a Function subclass and arguments of which some belong to active levels; the highest of these levels deals with the
call: a grad level hangs a node of the Function on what comes out, a jvp level calls the Function's ``jvp``, a vmap level its
``vmap``, or with ``generate_vmap_rule`` runs forward, backward and jvp under vmap themselves. Each calls the Function again
on what lies below, so levels nest.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..autograd import dispatch
from ..autograd.dispatch import user_frame
from ..autograd.function import FORWARD, KEEPS, KEEPS_NOTHING, Function, refuse_as_is
from ..autograd.modes import state
from ..autograd.namespace import xp
from ..autograd.node import LEAF, Output
from ..autograd.versions import tick, version_of
from ..tensor import Tensor
from .levels import (
    Batched,
    Dual,
    Graded,
    Level,
    Wrapper,
    batched,
    ended,
    fresh_above,
    graded,
    highest,
    place_of,
    stack,
    unwrapped,
    wrapped_dual,
    wrapped_fresh,
    zeros_as,
)
from .pytree import broadcast_prefix, structure, tree_flatten, tree_map

GUIDE = "For more details, please see https://pytorch.org/docs/main/notes/extending.func.html"


class VmapInfo(NamedTuple):
    """What a ``vmap`` staticmethod learns of the transform."""

    batch_size: int
    randomness: str


def run_function(function: Any, args: tuple[Any, ...]) -> Any:
    """``function.apply(*args)`` while transforms are active; NotImplemented where none of them wants to know."""
    leaves = tree_flatten(args)[0]
    level = highest(leaves)
    levels = stack.levels
    if level is None:
        if not any(above.wraps for above in levels):
            return NotImplemented
        depth = 0
    else:
        depth = level.depth - 1
        if depth >= len(levels) or levels[depth] is not level:
            return function.apply(*[unwrapped(level, a) for a in ended(level, args)])
        if function.setup_context is Function.setup_context and not level.by_hand:
            raise RuntimeError("In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must override the "
                               "setup_context staticmethod. " + GUIDE)
    cut = levels[depth:]
    del levels[depth:]
    try:
        if level is None:
            out = function.apply(*args)
        elif level.kind == "grad":
            out = run_grad(level, function, args)
        elif level.kind == "jvp":
            out = run_jvp(level, function, args)
        else:
            out = run_vmap(level, function, args)
    finally:
        levels += cut
    above = cut if level is None else cut[1:]
    if not above:
        return out
    given = {id(x) for x in leaves}
    single, outs = as_list(out)
    outs = [o if not isinstance(o, Tensor) or id(o) in given else fresh_above(above, o) for o in outs]
    return outs[0] if single else tuple(outs)


class SavedBelow:
    """Saved tensors of a grad level, held and given as the tensors below."""

    __slots__ = ("tensors",)

    def __init__(self, tensors: tuple[Any, ...]):
        self.tensors = tensors

    def __iter__(self) -> Any:
        return iter(())

    def unpack(self, node: Any) -> tuple[Any, ...]:
        return self.tensors


def mine(level: Level, x: Any) -> bool:
    return isinstance(x, (Graded, Dual, Batched)) and x.level is level


def as_list(out: Any) -> tuple[bool, list[Any]]:
    return (False, list(out)) if isinstance(out, tuple) else (True, [out])


def set_up(function: Any, ctx: Any, args: tuple[Any, ...], output: Any) -> None:
    """``setup_context``, without recording."""
    before, state.grad = state.grad, FORWARD
    try:
        function.setup_context(ctx, args, output)
        if ctx._to_save or ctx._for_forward:
            refuse_as_is(ctx, args, output)
    finally:
        state.grad = before


def run_grad(level: Level, function: Any, args: tuple[Any, ...]) -> Any:
    """Compute below; hang a node of the function on the outputs at this level."""
    places = [place_of(a) if mine(level, a) else None for a in args]
    targets = [a if p is LEAF else p for a, p in zip(args, places)]
    lower = [unwrapped(level, a) for a in args]
    single, outs = as_list(function.apply(*lower))
    same = {id(x): a for x, a in zip(lower, args) if isinstance(a, Tensor)}
    made = [same.get(id(o)) if id(o) in same and mine(level, same[id(o)]) else graded(level, o) if isinstance(o, Tensor) else o for o in outs]
    output = made[0] if single else tuple(made)
    ctx = function._node_class()
    ctx.needs_input_grad = tuple([t is not None for t in targets])
    set_up(function, ctx, args, output)
    dirty = {id(t) for t in ctx._dirty}
    given = {id(a) for a in args}
    fixed = {id(t) for t in ctx._non_differentiable}
    for i, o in enumerate(made):
        if id(o) in given and id(o) not in dirty and isinstance(o, Tensor):
            made[i] = graded(level, o.value.view_as(o.value))       # an input given back unchanged is a view of it
            if id(o) in fixed:
                fixed.add(id(made[i]))
    output = made[0] if single else tuple(made)
    if not state.grad or not any(ctx.needs_input_grad):
        return output
    ctx._level = level
    ctx.next = tuple(targets)
    ctx.metas = [(tuple(a._a.shape), a._a.dtype) if isinstance(a, Tensor) else None for a in args]
    ctx.outs = [(tuple(o._a.shape), o._a.dtype) if isinstance(o, Tensor) else None for o in made]
    ctx.fix = ctx.hooks = None
    f = user_frame(3)
    ctx.code, ctx.lasti, ctx._seq = f.f_code, f.f_lasti, tick()
    for i, o in enumerate(made):
        if isinstance(o, Tensor) and id(o) not in fixed and o._a.dtype.kind in dispatch.DIFFERENTIABLE:
            o._node = ctx if len(made) == 1 else Output(ctx, i)
    keep = ctx._to_save
    ctx.saved = SavedBelow(tuple([unwrapped(level, t) for t in keep])) if keep else ()
    ctx.plan = KEEPS if keep else KEEPS_NOTHING
    for name in ("_to_save", "_dirty", "_non_differentiable", "_for_forward"):
        ctx.__dict__.pop(name, None)
    return output


def run_jvp(level: Level, function: Any, args: tuple[Any, ...]) -> Any:
    """Value below, tangents by the function's own ``jvp``."""
    lower = tuple([unwrapped(level, a) for a in args])
    tangents: list[Any] = [a.tangent if mine(level, a) else None for a in args]
    if function.setup_context is Function.setup_context:
        ctx = function._node_class()
        kept: dict[str, Any] = {}
        single, outs = as_list(function._run(Watched(ctx, kept), lower))
    else:
        single, outs = as_list(function.apply(*lower))
        ctx = function._node_class()
        ctx.needs_input_grad = tuple([t is not None for t in tangents])
        set_up(function, ctx, lower, outs[0] if single else tuple(outs))
        kept = {"_for_forward": ctx._for_forward, "_non_differentiable": ctx._non_differentiable, "_dirty": ctx._dirty}
    if all(t is None for t in tangents):
        outs = [wrapped_fresh(level, o) if isinstance(o, Tensor) else o for o in outs]
        return outs[0] if single else tuple(outs)
    if ctx._materialize:
        tangents = [zeros_as(a) if t is None and isinstance(a, Tensor) and a._a.dtype.kind in dispatch.DIFFERENTIABLE else t
                    for t, a in zip(tangents, lower)]
    ctx._for_forward = kept.get("_for_forward") or ()   # what was saved for backward only is not there
    pushed = {id(x): t for x, t in zip(lower, tangents) if t is not None}
    dirtied = {id(t) for t in kept.get("_dirty", ())}
    before = {k: (t._a, version_of(t._a)) for k, t in pushed.items() if k in dirtied and not isinstance(t, Wrapper)}
    try:
        given = function.jvp(ctx, *tangents)
    finally:
        ctx.__dict__.pop("_for_forward", None)
    made = list(given) if isinstance(given, tuple) else [given]
    if len(made) != len(outs):
        raise RuntimeError(f"{function.__name__}.jvp returned an incorrect number of forward gradients (expected {len(outs)}, got {len(made)})")
    fixed = {id(t) for t in kept.get("_non_differentiable", ())}
    dirty = {id(t) for t in kept.get("_dirty", ())}
    same = {id(x): a for x, a in zip(lower, args) if mine(level, a)}
    result: list[Any] = []
    for i, (o, t) in enumerate(zip(outs, made)):
        if t is not None and isinstance(o, Tensor) and (id(o) in fixed or o._a.dtype.kind not in dispatch.DIFFERENTIABLE):
            raise RuntimeError(f"{function.__name__}'s jvp returned a gradient at position {i}, but the corresponding forward output is not a differentiable "
                               "Tensor. You should return None at that position instead.")
        if t is None or not isinstance(o, Tensor) or id(o) in fixed or o._a.dtype.kind not in dispatch.DIFFERENTIABLE:
            result.append(o)
            continue
        if not isinstance(t, Tensor):
            raise TypeError(f"expected Variable or None (got {type(t).__name__}) from {function.__name__}.jvp at position {i}")
        if tuple(t._a.shape) != tuple(o._a.shape):
            raise RuntimeError(f"{function.__name__}.jvp returned a tangent of shape {tuple(t._a.shape)} for an output of shape {tuple(o._a.shape)}")
        if id(o) in dirty:
            a, version = before.get(id(o), (None, -1))
            if t is not pushed.get(id(o)) or a is not None and version_of(a) == version:
                raise RuntimeError("An inplace custom Function is not modifying the forward mode gradients inplace. If the forward is modifying an input "
                                   "inplace, then the jvp function must modify the corresponding gradient inplace.")
            same[id(o)]._tangent = t
            result.append(same[id(o)])
        else:
            check_view(o, t, lower, pushed)
            result.append(wrapped_dual(level, o, t))
    return result[0] if single else tuple(result)


def check_view(out: Any, tangent: Any, lower: tuple[Any, ...], pushed: dict[int, Any]) -> None:
    """Raise if ``out`` is a view of an input (as an input given back is) and its tangent is not one of that input's tangent."""
    if out._view is None:
        return
    base = out._view[0]
    of = next((x for x in lower if isinstance(x, Tensor) and id(x) in pushed and (x is base or x._view is not None and x._view[0] is base)), None)
    if of is None:
        return
    if tangent._view is None:
        raise RuntimeError("A custom Function's forward is returning a view (or an input as-is) but the jvp is not returning a view.")
    given = pushed[id(of)]
    start = given if given._view is None else given._view[0]
    if tangent._view[0] is not start:
        which = "the given grad input" if given._view is None else "the same base as the given grad input"
        raise RuntimeError(f"A custom Function is returning a view but the jvp is not returning a view of {which}.")


def Watched(ctx: Any, kept: dict[str, Any]) -> Any:
    """``ctx``, which notes what forward told it in ``kept`` before that is cleared away."""
    finish = ctx._finish

    def watched(*args: Any) -> Any:
        kept.update(_for_forward=ctx._for_forward, _non_differentiable=ctx._non_differentiable, _dirty=ctx._dirty)
        del ctx.__dict__["_finish"]
        return finish(*args)
    ctx.__dict__["_finish"] = watched
    return ctx


# vmap


def run_vmap(level: Level, function: Any, args: tuple[Any, ...]) -> Any:
    """The function's own ``vmap``, or one that runs its halves under vmap."""
    name = function.__name__
    written = function.vmap is not Function.vmap
    if function.generate_vmap_rule and written:
        raise RuntimeError(f"You tried to vmap over {name}, but it has both generate_vmap_rule=True and an overridden vmap staticmethod. Please set "
                           "generate_vmap_rule=False or delete the overridden vmap staticmethod to avoid ambiguity. " + GUIDE)
    if not function.generate_vmap_rule and not written:
        raise RuntimeError(f"You tried to vmap over {name}, but it does not have vmap support. Please override and implement the vmap staticmethod or set "
                           "generate_vmap_rule=True. " + GUIDE)
    lower = tree_map(lambda a: unwrapped(level, a), args)
    in_dims = tree_map(lambda a: a.bdim if mine(level, a) else None, args)
    if written:
        made = function.vmap(VmapInfo(level.size, level.randomness), in_dims, *lower)
        if not isinstance(made, tuple) or len(made) != 2:
            raise RuntimeError("Expected the vmap staticmethod to have two returns, an output and out_dims with pytree structure compatible with the output. "
                               f"Got a {type(made)} instead")
        output, out_dims = made
    else:
        generated = batched_function(function, level.size, level.randomness, in_dims)
        output = generated.apply(*lower)
        out_dims = tuple(generated.out_dims) if isinstance(output, tuple) else generated.out_dims[0]
    leaves, build = tree_flatten(output)
    dims = broadcast_prefix(out_dims, build)
    if dims is None:
        raise RuntimeError(f"The vmap staticmethod of {name} returned an incompatible (out_dims, output) tuple. Expected out_dims={structure(out_dims)} to be "
                           f"compatible with the structure of `output`: {build}")
    return build([batched(level, o, d % o._a.ndim) if isinstance(o, Tensor) and d is not None else o for o, d in zip(leaves, dims)])


def batched_function(function: Any, size: int, randomness: str, in_dims: Any) -> Any:
    """A Function on whole batches whose forward, backward and jvp are those of ``function`` under vmap."""

    def under(level: Level, values: Any, dims: Any) -> list[Any]:
        return [batched(level, v, d) if d is not None and isinstance(v, Tensor) else v for v, d in zip(values, dims)]

    def taken(level: Level, values: Any) -> tuple[list[Any], list[Any]]:
        """(tensors below, their batch dimensions)."""
        return ([unwrapped(level, v) for v in values], [v.bdim if mine(level, v) else None for v in values])

    class Generated(Function):
        generate_vmap_rule = True
        out_dims: list[Any] = []

        @staticmethod
        def forward(*args: Any) -> Any:
            with Level("vmap", size, randomness) as level:
                single, outs = as_list(function.forward(*under(level, args, in_dims)))
                values, Generated.out_dims = taken(level, outs)
            return values[0] if single else tuple(values)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            inner = ctx.inner = function._node_class()
            inner.needs_input_grad = ctx.needs_input_grad
            single, outs = as_list(output)
            with Level("vmap", size, randomness) as level:
                made = under(level, outs, Generated.out_dims)
                function.setup_context(inner, tuple(under(level, inputs, in_dims)), made[0] if single else tuple(made))
                back, ctx.saved_dims = taken(level, inner._to_save)
                forth, ctx.forward_dims = taken(level, inner._for_forward or ())
                fixed = {id(t) for t in inner._non_differentiable}
                ctx.mark_non_differentiable(*[o for o, m in zip(outs, made) if id(m) in fixed])
            inner.__dict__.pop("_to_save", None)
            inner.__dict__.pop("_for_forward", None)
            ctx.save_for_backward(*back)
            if inner.__dict__.pop("_dirty", None):
                raise RuntimeError(f"NYI: {function.__name__} calls mark_dirty, which is not supported with generate_vmap_rule=True")
            ctx.save_for_forward(*forth)
            ctx.set_materialize_grads(inner._materialize)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            saved = ctx.saved_tensors
            with Level("vmap", size, randomness) as level:
                inner = ctx.inner
                inner._to_save = tuple(under(level, saved, ctx.saved_dims))
                given = [batched(level, g, d) if g is not None and d is not None else g for g, d in zip(grads, Generated_dims(ctx))]
                made = function._call_backward(inner, given)
                inner.__dict__.pop("_to_save", None)
                found = list(made) if isinstance(made, (tuple, list)) else [made]
                return tuple([reduced(level, g, d) for g, d in zip(found, in_dims)] + found[len(in_dims):])

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            saved = ctx.saved_tensors
            with Level("vmap", size, randomness) as level:
                inner = ctx.inner
                inner._for_forward = tuple(under(level, saved, ctx.forward_dims))
                single, made = as_list(function.jvp(inner, *under(level, tangents, in_dims)))
                inner.__dict__.pop("_for_forward", None)
                found = [None if t is None else shaped(level, t, d) for t, d in zip(made, Generated_dims(ctx))]
                return found[0] if single else tuple(found)

    def Generated_dims(ctx: Any) -> list[Any]:
        return Generated.out_dims

    def shaped(level: Level, x: Any, dim: Any) -> Any:
        """``x`` with its batch dimension at ``dim``, none where that is None."""
        if not isinstance(x, Tensor):
            return x
        v, at = unwrapped(level, x), x.bdim if mine(level, x) else None
        if dim is None:
            return v if at is None else xp.sum(v, axis=(at,), keepdims=False)
        if at is None:
            v, at = xp.broadcast_to(xp.expand_dims(v, 0), (size, *v._a.shape)), 0
        order = [i for i in range(v._a.ndim) if i != at]
        order.insert(dim, at)
        return v if order == sorted(order) else xp.permute_dims(v, tuple(order))

    def reduced(level: Level, g: Any, dim: Any) -> Any:
        """A gradient as the whole input has it: summed over the batch where the input is the same for all."""
        if g is None or not isinstance(g, Tensor):
            return g
        if dim is None and not mine(level, g):
            return g
        return shaped(level, g, dim)

    Generated.__name__ = Generated.__qualname__ = f"Vmapped{function.__name__}"
    Generated._node_class.__name__ = f"Vmapped{function.__name__}Backward"
    return Generated


__all__ = ["VmapInfo", "run_function"]
