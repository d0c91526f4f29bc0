"""Direct calls: what `dispatch.apply` does, in line, for primitives of one or two arrays that are called often.

In go a primitive that is not elementwise (those have fast calls of their own) and the array function it runs; out comes a
function ``call(*tensors, *static)``. Whatever is not common (narrow floats, integers, transforms in progress, hooks on
saved tensors) goes to `apply`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np

from ..backends import cpu
from ..ops.primitive import Primitive
from . import dispatch
from .dispatch import F32, F64, apply, busy, frame_at, internal, new, saved_hooks
from .fp import IGNORE, quiet, restore
from .modes import inference_users, state
from .node import LEAF, Output, make_node_class, plan_of
from .versions import last_write, tick
from .views import OneOfSeveral, Unrecorded, like, unrecorded

__all__ = ["direct", "make_joint", "make_many", "make_one", "make_two", "make_view", "make_views"]

ndarray = np.ndarray


def _one_of(place: int) -> Callable[[Any], Any]:
    return lambda env: (env[place],)


def _getters(takes: Any, first: dict[str, int], static: int) -> tuple[Callable[[Any], Any], ...]:
    """For each rule of a plan, what picks the values it takes from a flat tuple; ``first`` says where each category starts."""
    made: list[Callable[[Any], Any]] = []
    for row in takes:
        places = [first[category] + i if category != "s" else static + i for category, i in row]
        if not places:
            made.append(lambda env: ())
        elif len(places) == 1:
            made.append(_one_of(places[0]))
        else:
            made.append(itemgetter(*places))
    return tuple(made)


def make_view(prim: Primitive, array_function: Callable[..., Any]) -> Callable[..., Any]:
    """The call of a view primitive: ``call(input, *static)``. It computes nothing, so any dtype will do."""
    cls = make_node_class(prim)
    plan = plan_of(prim, (True,))
    if plan.keeps or prim.several or len(prim.arrays) != 1:
        raise TypeError(f"{prim.name} is not a view of one array whose rule saves no array")
    pick = _getters(plan.takes, {"h": 0, "d": 1}, 2)[0]
    Tensor = dispatch.Tensor

    def call(input: Any, *static: Any) -> Any:
        if busy[0]:
            return apply(prim, (input,), static)
        a = input._a
        t = new(Tensor)
        t._a = array_function(a, *static)
        t._grad = None
        v = input._view
        if v is None:
            t._view = (input, input._node, ((prim, static, None),))
        else:
            dispatch.refresh(input)
            v = input._view
            t._view = (v[0], v[1], (*v[2], (prim, static, None)))
            if v.__class__ is not tuple:
                t._view = like(v, t._view)
        n = input._node
        grad = state.grad
        if n is None or not grad:
            if not grad:
                if inference_users[0]:
                    t._view = unrecorded(t._view)
                else:  # `unrecorded` in line
                    v = t._view = Unrecorded(t._view)
                    if v[1] is not None:
                        v.time = last_write[0]
            t._node = None
            t._story = grad if n is not None else input._story
            return t
        node = new(cls)
        node.plan = plan
        node.fix = node.hooks = None
        node.next = (input if n is LEAF else n,)
        node.saved = (pick((a.shape, a.dtype, *static)),)
        f = frame_at(1)
        c = f.f_code
        while internal[c.co_filename] and f.f_back is not None:
            f = f.f_back
            c = f.f_code
        node.code = c
        node.lasti = f.f_lasti
        node._seq = tick()
        t._node = node
        return t

    call.__name__ = call.__qualname__ = prim.name
    return call


def make_one(prim: Primitive, array_function: Callable[..., Any]) -> Callable[..., Any]:
    """The call of a primitive of one array with one output: ``call(input, *static)``."""
    cls = make_node_class(prim)
    plan = plan_of(prim, (True,))
    keeps = plan.keeps
    pick = _getters(plan.takes, {"i": 0, "o": 1, "h": 2, "d": 3}, 4)[0]
    Tensor = dispatch.Tensor

    def call(input: Any, *static: Any) -> Any:
        try:
            a = input._a
            d = a.dtype
        except AttributeError:
            return apply(prim, (input,), static)
        if d is not F32 and d is not F64 or busy[0] or keeps and saved_hooks[0]:
            return apply(prim, (input,), static)
        token = quiet(IGNORE)
        try:
            r = array_function(a, *static)
        finally:
            restore(token)
        if r.__class__ is not ndarray:
            r = np.asarray(r)
        t = new(Tensor)
        t._a = r
        t._grad = t._view = None
        if input._view is not None:
            dispatch.refresh(input)
        n = input._node
        grad = state.grad
        if n is None or not grad:
            t._node = None
            t._story = grad if n is not None else input._story
            return t
        node = new(cls)
        node.plan = plan
        node.fix = node.hooks = None
        node.next = (input if n is LEAF else n,)
        node.saved = (pick((a, r, a.shape, d, *static)),)
        f = frame_at(1)
        c = f.f_code
        while internal[c.co_filename] and f.f_back is not None:
            f = f.f_back
            c = f.f_code
        node.code = c
        node.lasti = f.f_lasti
        node._seq = tick()
        t._node = node
        return t

    call.__name__ = call.__qualname__ = prim.name
    return call


def make_two(prim: Primitive, array_function: Callable[..., Any]) -> Callable[..., Any]:
    """The call of a primitive of two arrays with one output: ``call(a, b, *static)``.

    The arrays are of one dtype, unless the second is one that no gradient goes to (an index, a mask).
    """
    cls = make_node_class(prim)
    first = {"i": 0, "o": 2, "h": 3, "d": 5}
    if prim.arrays[1] not in prim.derivatives:
        return _make_indexed(prim, array_function, cls, first)
    plans = {wanted: plan_of(prim, wanted) for wanted in ((True, False), (False, True), (True, True))}
    picks = {wanted: _getters(plan.takes, first, 7) for wanted, plan in plans.items()}
    plan_a, plan_b, plan_ab = plans[True, False], plans[False, True], plans[True, True]
    (pick_a,), (pick_b,), (pick_1, pick_2) = picks[True, False], picks[False, True], picks[True, True]
    Tensor = dispatch.Tensor

    def call(x: Any, y: Any, *static: Any) -> Any:
        a, b = x._a, y._a
        d = a.dtype
        if d is not F32 and d is not F64 or b.dtype is not d or busy[0] or saved_hooks[0]:
            return apply(prim, (x, y), static)
        token = quiet(IGNORE)
        try:
            r = array_function(a, b, *static)
        finally:
            restore(token)
        if r.__class__ is not ndarray:
            r = np.asarray(r)
        t = new(Tensor)
        t._a = r
        t._grad = t._view = None
        if x._view is not None:
            dispatch.refresh(x)
        if y._view is not None:
            dispatch.refresh(y)
        n, m = x._node, y._node
        grad = state.grad
        if n is None and m is None or not grad:
            t._node = None
            t._story = grad if n is not None or m is not None else x._story if x._story is not None else y._story
            return t
        node = new(cls)
        env = (a, b, r, a.shape, b.shape, d, d, *static)
        if m is None:
            node.plan = plan_a
            node.next = (x if n is LEAF else n, None)
            node.saved = (pick_a(env),)
        elif n is None:
            node.plan = plan_b
            node.next = (None, y if m is LEAF else m)
            node.saved = (pick_b(env),)
        else:
            node.plan = plan_ab
            node.next = (x if n is LEAF else n, y if m is LEAF else m)
            node.saved = (pick_1(env), pick_2(env))
        node.fix = node.hooks = None
        f = frame_at(1)
        c = f.f_code
        while internal[c.co_filename] and f.f_back is not None:
            f = f.f_back
            c = f.f_code
        node.code = c
        node.lasti = f.f_lasti
        node._seq = tick()
        t._node = node
        return t

    call.__name__ = call.__qualname__ = prim.name
    return call


def make_many(prim: Primitive, array_function: Callable[..., Any]) -> Callable[..., Any]:
    """The call of a primitive of several arrays, some of them None or not differentiable: ``call((a, b, c), static)``.

    The outputs may be several, all of them arrays. The caller has seen to it that the differentiable ones are of one dtype.
    """
    cls = make_node_class(prim)
    n, several = len(prim.arrays), prim.several
    k = len(prim.outputs)
    first = {"i": 0, "o": n, "h": n + k, "d": 2 * n + k}
    takes_dtypes = 3 * n + k
    differentiable_outputs = tuple([i for i, name in enumerate(prim.outputs) if name not in prim.nondiff])
    able = tuple([name in prim.derivatives for name in prim.arrays])
    plans: dict[tuple[bool, ...], Any] = {}
    Tensor = dispatch.Tensor

    def call(arrays: Any, static: tuple[Any, ...]) -> Any:
        d = arrays[0]._a.dtype
        if d is not F32 and d is not F64 or busy[0] or saved_hooks[0]:
            return apply(prim, arrays, static)
        raw = [None if t is None else t._a for t in arrays]
        token = quiet(IGNORE)
        try:
            r = array_function(*raw, *static)
        finally:
            restore(token)
        if several:
            outs = []
            for each in r:
                made = new(Tensor)
                made._a = each
                made._node = made._grad = made._view = None
                outs.append(made)
            result: Any = tuple(outs)
        else:
            if r.__class__ is not ndarray:
                r = np.asarray(r)
            result = made = new(Tensor)
            made._a = r
            made._node = made._grad = made._view = None
            r = (r,)
        if not state.grad:
            return result
        targets: list[Any] = []
        wanted = []
        for t, differentiable in zip(arrays, able):
            node = None
            if t is not None:
                if t._view is not None:
                    dispatch.refresh(t)
                if differentiable:
                    node = t._node
                    if node is LEAF:
                        node = t
            targets.append(node)
            wanted.append(node is not None)
        if True not in wanted:
            return result
        key = tuple(wanted)
        found = plans.get(key)
        if found is None:
            plan = plan_of(prim, key)
            found = plans[key] = plan, _getters(plan.takes, first, takes_dtypes)
        env = (
            *raw,
            *r,
            *[None if a is None else a.shape for a in raw],
            *[None if a is None else a.dtype for a in raw],
            *static,
        )
        node = new(cls)
        node.plan = found[0]
        node.fix = node.hooks = None
        node.next = tuple(targets)
        node.saved = tuple([pick(env) for pick in found[1]])
        f = frame_at(1)
        c = f.f_code
        while internal[c.co_filename] and f.f_back is not None:
            f = f.f_back
            c = f.f_code
        node.code = c
        node.lasti = f.f_lasti
        node._seq = tick()
        if several:
            node.outs = [(each.shape, each.dtype) for each in r]
            for i in differentiable_outputs:
                outs[i]._node = Output(node, i)
        else:
            made._node = node
        return result

    call.__name__ = call.__qualname__ = prim.name
    return call


def _make_indexed(
    prim: Primitive, array_function: Callable[..., Any], cls: Any, first: dict[str, int]
) -> Callable[..., Any]:
    """`make_two` where only the first array is differentiable, and the second of any dtype."""
    plan = plan_of(prim, (True, False))
    pick = _getters(plan.takes, first, 7)[0]
    Tensor = dispatch.Tensor

    def call(x: Any, y: Any, *static: Any) -> Any:
        a, b = x._a, y._a
        d = a.dtype
        if d is not F32 and d is not F64 or busy[0] or saved_hooks[0]:
            return apply(prim, (x, y), static)
        r = array_function(a, b, *static)
        if r.__class__ is not ndarray:
            r = np.asarray(r)
        t = new(Tensor)
        t._a = r
        t._grad = t._view = None
        if x._view is not None:
            dispatch.refresh(x)
        n = x._node
        grad = state.grad
        if n is None or not grad:
            t._node = None
            t._story = grad if n is not None else x._story
            return t
        node = new(cls)
        node.plan = plan
        node.next = (x if n is LEAF else n, None)
        node.saved = (pick((a, b, r, a.shape, b.shape, d, b.dtype, *static)),)
        node.fix = node.hooks = None
        f = frame_at(1)
        c = f.f_code
        while internal[c.co_filename] and f.f_back is not None:
            f = f.f_back
            c = f.f_code
        node.code = c
        node.lasti = f.f_lasti
        node._seq = tick()
        t._node = node
        return t

    call.__name__ = call.__qualname__ = prim.name
    return call


def direct(prim: Primitive) -> Callable[..., Any]:
    """The direct call ``call(*tensors, *static)`` of a primitive that runs as its entry says."""
    run = partial(prim.run, cpu)
    if len(prim.arrays) == 1 and not prim.several:
        return make_one(prim, run)
    many, n = make_many(prim, run), len(prim.arrays)
    if n == 1:
        return lambda x, *static: many((x,), static)
    return lambda *args: many(args[:n], args[n:])


def make_joint(prim: Primitive, array_function: Callable[..., Any]) -> Callable[..., Any]:
    """The call of a primitive of a sequence of arrays of one dtype: ``call(tensors, *static)``."""
    cls = make_node_class(prim)
    plan = plan_of(prim, ())
    if plan.keeps:
        raise TypeError(f"the rule of {prim.name} keeps arrays")
    pick = _getters(plan.takes, {"h": 0, "d": 1}, 2)[0]
    Tensor = dispatch.Tensor

    def call(tensors: Any, *static: Any) -> Any:
        raw = [t._a for t in tensors]
        d = raw[0].dtype
        if d is not F32 and d is not F64 or busy[0]:
            return apply(prim, tensors, static)
        t = new(Tensor)
        t._a = array_function(raw, *static)
        t._grad = t._view = t._node = None
        if not state.grad:
            return t
        targets: list[Any] = []
        some = False
        for x in tensors:
            if x._view is not None:
                dispatch.refresh(x)
            n = x._node
            if n is not None:
                some = True
                if n is LEAF:
                    n = x
            targets.append(n)
        if not some:
            return t
        node = new(cls)
        node.plan = plan
        node.fix = node.hooks = None
        node.next = tuple(targets)
        node.saved = (pick((tuple([a.shape for a in raw]), (d,) * len(raw), *static)),)
        f = frame_at(1)
        c = f.f_code
        while internal[c.co_filename] and f.f_back is not None:
            f = f.f_back
            c = f.f_code
        node.code = c
        node.lasti = f.f_lasti
        node._seq = tick()
        t._node = node
        return t

    call.__name__ = call.__qualname__ = prim.name
    return call


def make_views(prim: Primitive, array_function: Callable[..., Any]) -> Callable[..., Any]:
    """The call of a primitive that gives several views of one array: ``call(input, *static)``."""
    cls = make_node_class(prim)
    plan = plan_of(prim, (True,))
    if plan.keeps:
        raise TypeError(f"the rule of {prim.name} keeps arrays")
    pick = _getters(plan.takes, {"h": 0, "d": 1}, 2)[0]
    Tensor = dispatch.Tensor

    def call(input: Any, *static: Any) -> Any:
        if busy[0]:
            return apply(prim, (input,), static)
        a = input._a
        if input._view is not None:
            dispatch.refresh(input)
            base, history, steps = input._view
        else:
            base, history, steps = input, input._node, ()
        outs = []
        grad = state.grad
        guard = OneOfSeveral if grad else unrecorded
        for i, part in enumerate(array_function(a, *static)):
            t = new(Tensor)
            t._a = part
            t._grad = t._node = None
            t._view = guard((base, history, (*steps, (prim, static, i))))
            outs.append(t)
        n = input._node
        if n is None or not grad:
            return tuple(outs)
        node = new(cls)
        node.plan = plan
        node.fix = node.hooks = None
        node.next = (input if n is LEAF else n,)
        node.saved = (pick((a.shape, a.dtype, *static)),)
        f = frame_at(1)
        c = f.f_code
        while internal[c.co_filename] and f.f_back is not None:
            f = f.f_back
            c = f.f_code
        node.code = c
        node.lasti = f.f_lasti
        node._seq = tick()
        d = a.dtype
        node.outs = [(t._a.shape, d) for t in outs]
        for i, t in enumerate(outs):
            t._node = Output(node, i)
        return tuple(outs)

    call.__name__ = call.__qualname__ = prim.name
    return call
