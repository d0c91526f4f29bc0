"""Fast calls of views: what `dispatch.apply` does for a view primitive of one array, in line.

In go a primitive of the view family whose rule saves no array, and the array function it runs; out comes a function
``call(tensor, *static)``. A view computes nothing, so there are no floating-point warnings to silence and no dtypes to meet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.primitive import Primitive
from . import dispatch
from .dispatch import apply, busy, frame_at, internal, new
from .modes import state
from .node import LEAF, make_node_class, plan_of
from .versions import tick

__all__ = ["make_view"]


def make_view(prim: Primitive, array_function: Callable[..., Any]) -> Callable[..., Any]:
    """The call of a view primitive: ``call(input, *static)``."""
    cls = make_node_class(prim)
    plan = plan_of(prim, (True,))
    takes = plan.takes[0]
    if plan.keeps or prim.several or len(prim.arrays) != 1:
        raise TypeError(f"{prim.name} is not a view of one array whose rule saves no array")
    #: Which of shape and statics the rule takes; the common cases are told apart below.
    picks = tuple([i for category, i in takes if category == "s"])
    shape_first = bool(takes) and takes[0][0] == "h"
    usual = [c for c, _ in takes] == ["h"] * shape_first + ["s"] * len(picks)
    if not usual or len(picks) and picks != tuple(range(len(prim.static))):
        raise TypeError(f"the rule of {prim.name} takes {takes}: expected the shape, if at all, and then all statics, if any")
    form = (2 if picks else 1) if shape_first else (3 if picks else 0)
    Tensor = dispatch.Tensor  # noqa: N806

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
        n = input._node
        if n is None or not state.grad:
            t._node = None
            return t
        node = new(cls)
        node.plan = plan
        node.fix = node.hooks = None
        node.next = (input if n is LEAF else n,)
        if form == 1:
            node.saved = ((a.shape,),)
        elif form == 2:
            node.saved = ((a.shape, *static),)
        elif form == 3:
            node.saved = (static,)
        else:
            node.saved = ((),)
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
